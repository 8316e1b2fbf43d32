// SPDX-License-Identifier: Apache-2.0
/*
 * progress.c - what a worker shows of its progress
 *
 * A small JSON file below run_dir, replaced in one step a few times a second. A file and not a
 * pipe, so that a restarted daemon shows the progress of workers that outlived the old one.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "conn.h"
#include "io.h"
#include "json.h"
#include "log.h"
#include "migration.h"

#define PROGRESS_EVERY_MS 100
#define ENERGY_EVERY_MS	  10000

static void write_progress(struct rb_migration *m)
{
	_cleanup_json_ json_t *value = NULL;
	uint64_t done = m->bytes_sent + (m->conn ? rb_conn_bytes_sent(m->conn) : 0);
	uint64_t total = m->bytes_total > done ? m->bytes_total : done;
	int64_t now = rb_now_ms();
	char path[512];
	double eta_ms = -1;

	if (m->progress_ms && now > m->progress_ms) {
		double rate =
			(double)(done - m->bytes_last) * 1000.0 / (double)(now - m->progress_ms);

		m->rate = m->rate > 0 ? 0.7 * m->rate + 0.3 * rate : rate;
	}
	if (m->rate > 1)
		eta_ms = (double)(total - done) * 1000.0 / m->rate;
	m->progress_ms = now;
	if (now - m->energy.last_ms >= ENERGY_EVERY_MS)
		rb_energy_look(&m->energy);
	m->bytes_last = done;
	value = json_pack("{s:s, s:o, s:I, s:I, s:I, s:I, s:i}", "stage", m->shown ? m->shown : "",
			  "message", rb_json_text(m->message), "bytes_done", (json_int_t)done,
			  "bytes_total", (json_int_t)total, "rate_bytes_s", (json_int_t)m->rate,
			  "eta_ms", (json_int_t)eta_ms, "percent",
			  total ? (int)(done * 99 / total) : 0);
	if (rb_path(path, sizeof(path), "%s/migrations/%s.progress", m->node->run_dir,
		    m->entry.id) == 0)
		rb_json_save(path, value, false, NULL);
}

void rb_progress_stage(struct rb_migration *m, const char *stage)
{
	m->shown = stage;
	m->message[0] = '\0';
	write_progress(m);
}

void rb_progress_bytes(struct rb_migration *m)
{
	if (rb_now_ms() - m->progress_ms >= PROGRESS_EVERY_MS)
		write_progress(m);
}

void rb_progress_say(struct rb_migration *m, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(m->message, sizeof(m->message), format, args);
	va_end(args);
	write_progress(m);
}

void rb_migration_doubt(struct rb_migration *m, const char *format, ...)
{
	bool first = !m->message[0];
	va_list args;

	va_start(args, format);
	vsnprintf(m->message, sizeof(m->message), format, args);
	va_end(args);
	if (first)
		rb_warn("%s", m->message);
	write_progress(m);
}

json_t *rb_progress_read(const struct rb_node *node, const char *id)
{
	json_t *value = NULL;
	char path[512];

	if (rb_path(path, sizeof(path), "%s/migrations/%s.progress", node->run_dir, id) < 0 ||
	    rb_json_load(path, &value, NULL) < 0)
		return NULL;
	return value;
}
