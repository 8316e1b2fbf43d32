// SPDX-License-Identifier: Apache-2.0
/*
 * test_forwards.c - what a host goes on doing for containers that moved is still there
 */
#include <errno.h>
#include <stdlib.h>

#include "err.h"
#include "forwards.h"
#include "io.h"
#include "journal.h"
#include "json.h"
#include "tap.h"

static char dir[] = "/tmp/reberth-forwards-XXXXXX";
static char path[64];
static struct rb_err err;

static struct rb_journal *open_journal(void)
{
	struct rb_journal *journal = NULL;

	if (rb_journal_open(path, &journal, &err) < 0)
		printf("# %s\n", err.msg);
	return journal;
}

static size_t count(struct rb_journal *journal, const char *kind)
{
	_cleanup_json_ json_t *rows = NULL;

	return rb_forwards_list(journal, kind, &rows, &err) < 0 ? 999 : json_array_size(rows);
}

static void rows_survive_reopening(void)
{
	struct rb_journal *journal = open_journal();
	_cleanup_json_ json_t *facts = json_pack("{s:s}", "ip", "10.0.0.1"), *row = NULL;

	CHECK_INT(rb_forwards_put(journal, "aa", "forward", "web", facts, &err), 0);
	CHECK_INT(rb_forwards_put(journal, "aa", "back", "web", facts, &err), 0);
	rb_journal_close(journal);
	journal = open_journal();
	CHECK_INT(count(journal, NULL), 2);
	CHECK_INT(count(journal, "back"), 1);
	CHECK_INT(rb_forwards_get(journal, "aa", "forward", &row, &err), 1);
	CHECK_STR(rb_json_str(row, "container", ""), "web");
	CHECK_STR(rb_json_str(json_object_get(row, "facts"), "ip", ""), "10.0.0.1");
	CHECK(rb_json_int(row, "since_ms", 0) > 0);
	rb_journal_close(journal);
}

static void a_row_is_replaced_and_dropped(void)
{
	struct rb_journal *journal = open_journal();
	_cleanup_json_ json_t *facts = json_pack("{s:s}", "ip", "10.0.0.2"), *row = NULL;

	CHECK_INT(rb_forwards_put(journal, "aa", "forward", "web", facts, &err), 0);
	CHECK_INT(count(journal, "forward"), 1);
	CHECK_INT(rb_forwards_get(journal, "aa", "forward", &row, &err), 1);
	CHECK_STR(rb_json_str(json_object_get(row, "facts"), "ip", ""), "10.0.0.2");
	CHECK_INT(rb_forwards_drop(journal, "aa", "forward", &err), 0);
	CHECK_INT(rb_forwards_drop(journal, "aa", "forward", &err), 0);
	CHECK_INT(count(journal, NULL), 1);
	json_decref(row);
	row = NULL;
	CHECK_INT(rb_forwards_get(journal, "aa", "forward", &row, &err), 0);
	rb_journal_close(journal);
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/journal.db", dir);
	TAP_RUN(rows_survive_reopening);
	TAP_RUN(a_row_is_replaced_and_dropped);
	rb_rm_rf(dir, NULL);
	return tap_done();
}
