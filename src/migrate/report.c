// SPDX-License-Identifier: Apache-2.0
/*
 * report.c - the account of a migration that ended
 */
#include "report.h"

#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "conn.h"
#include "err.h"
#include "json.h"
#include "migration.h"
#include "predict.h"
#include "reconnect.h"

/* the downtime, but for what the last memory and files prolonged it by */
static json_int_t fixed_ms(const struct rb_migration *m)
{
	double beside_ms = (double)rb_json_int(m->entry.facts, "last_ms", 0) +
			   (double)rb_json_int(m->entry.facts, "files_ms", 0);
	int64_t ms = m->downtime_ms - (int64_t)rb_predict_beside_ms(beside_ms);

	return ms > 1 ? ms : 1;
}

/* Of one host; without a number it has the reason. */
static void add_energy(json_t *report, const char *joules, const char *why, const json_t *energy)
{
	json_t *value = json_object_get(energy, "joules");

	json_object_set_new(report, joules,
			    json_is_number(value) ? json_incref(value) : json_null());
	if (!json_is_number(value))
		json_object_set_new(report, why, rb_json_text(rb_json_str(energy, "why", "")));
}

/* Of all that ran on both hosts meanwhile: nothing tells whose it was. */
static json_t *energy_of(struct rb_migration *m)
{
	bool source = m->entry.role == RB_SOURCE;
	_cleanup_json_ json_t *ours = rb_energy_json(&m->energy);
	_cleanup_json_ json_t *unknown =
		json_pack("{s:o}", "why", json_sprintf("node '%s' has not said", m->entry.peer));
	const json_t *theirs = m->their_energy ? m->their_energy : unknown;
	json_t *energy = json_object();

	add_energy(energy, "source_j", "source_why", source ? ours : theirs);
	add_energy(energy, "target_j", "target_why", source ? theirs : ours);
	return energy;
}

int rb_report_save(struct rb_migration *m, const char *result, const struct rb_err *why,
		   struct rb_err *err)
{
	static const char *const copied[] = { "addresses",	"rounds",     "predicted_ms",
					      "last_ms",	"last_bytes", "files",
					      "files_ms",	"left_bytes", "fetch_ms",
					      "verified_files", "storage",    "image_sent",
					      "stays" };
	bool source = m->entry.role == RB_SOURCE;
	_cleanup_json_ json_t *report = NULL;

	report = json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:s, s:s, s:O}", "id",
		m->entry.id, "container", m->entry.container, "source",
		source ? m->node->name : m->entry.peer, "target",
		source ? m->entry.peer : m->node->name, "strategy",
		rb_json_str(m->entry.facts, "strategy", "cold"), "result", result, "reason",
		rb_json_text(why ? why->msg : ""), "downtime_ms",
		m->downtime_ms >= 0 ? json_integer(m->downtime_ms) : json_null(), "total_ms",
		(json_int_t)(rb_now_ms() - m->began_ms), "bytes_sent",
		(json_int_t)(m->bytes_sent + (m->conn ? rb_conn_bytes_sent(m->conn) : 0)),
		"bytes_received",
		(json_int_t)(m->bytes_received + (m->conn ? rb_conn_bytes_received(m->conn) : 0)),
		"old_id", rb_json_str(m->entry.facts, "source_id", m->entry.container_id), "new_id",
		rb_json_str(m->entry.facts, "new_id", ""), "stages", m->timings);
	if (!report)
		return rb_err_set(err, -ENOMEM, "write the report");
	json_object_set_new(report, "energy", energy_of(m));
	if (m->members_count > 1)
		json_object_set_new(report, "members", rb_members_list(&m->entry));
	if (rb_reconnect_wanted(m))
		json_object_set_new(report, "reconnected",
				    json_boolean(strcmp(result, "completed") == 0));
	for (size_t i = 0; i < ARRAY_SIZE(copied); i++)
		if (json_object_get(m->entry.facts, copied[i]))
			json_object_set(report, copied[i],
					json_object_get(m->entry.facts, copied[i]));
	if (m->downtime_ms > 0 && json_object_get(m->entry.facts, "last_ms"))
		json_object_set_new(report, "fixed_ms", json_integer(fixed_ms(m)));
	if (source)
		json_object_set_new(report, "frames", json_integer(m->frames));
	if (source)
		json_object_set_new(report, "connections",
				    json_integer(rb_json_int(m->entry.facts, "lanes", 1)));
	if (why)
		json_object_set_new(report, "error",
				    json_pack("{s:s, s:s}", "code", rb_code_name(why->code),
					      "stage", why->stage));
	return rb_journal_report(m->node->journal, m->entry.id, report, err);
}
