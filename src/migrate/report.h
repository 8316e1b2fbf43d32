/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.h - the account of a migration that ended
 */
#pragma once

struct rb_err;
struct rb_migration;

/**
 * rb_report_save - write the report into the journal
 * @result: "completed", "rolled-back" or "failed"
 * @why: reason, NULL when completed
 *
 * Members: id, container, source, target, strategy, result, reason, error {code, stage},
 * downtime_ms, total_ms (ms), bytes_sent, bytes_received (bytes), old_id, new_id, stages [{name,
 * ms}]; of a move with --reconnect "reconnected" (bool) and, on the source, addresses [{network,
 * ipv4, ipv6, mac}]; where something could not be removed or given back here "stays" [{path, why}].
 */
int rb_report_save(struct rb_migration *m, const char *result, const struct rb_err *why,
		   struct rb_err *err);
