// SPDX-License-Identifier: Apache-2.0
/* predict.c - how long a freeze would take */
#include "predict.h"

#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "migration.h"

enum {
	FIRST_MS = 150, /* until a move to this node was seen */
	BESIDE_MS = 50, /* a dump lasts at least that long */
	MOVES = 5,
};

struct seen {
	const char *peer;
	double ms[MOVES];
	int n;
};

static int look(void *arg, const struct rb_entry *entry)
{
	struct seen *seen = arg;
	int64_t ms = rb_json_int(entry->report, "fixed_ms", 0);

	if (entry->role == RB_SOURCE && ms > 0 && strcmp(entry->peer, seen->peer) == 0)
		seen->ms[seen->n++] = (double)ms;
	return seen->n == MOVES;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double rb_predict_fixed_ms(const struct rb_migration *m)
{
	struct seen seen = { .peer = m->entry.peer };

	if (rb_journal_each(m->node->journal, false, look, &seen, NULL) < 0 || seen.n == 0)
		return FIRST_MS;
	qsort(seen.ms, (size_t)seen.n, sizeof(seen.ms[0]), compare);
	return seen.ms[seen.n / 2];
}

double rb_predict_beside_ms(double memory_ms)
{
	return memory_ms > BESIDE_MS ? memory_ms - BESIDE_MS : 0;
}
