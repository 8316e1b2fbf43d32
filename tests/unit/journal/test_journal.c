// SPDX-License-Identifier: Apache-2.0
/*
 * test_journal.c - states change only as they may, and what was written is still there
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "err.h"
#include "io.h"
#include "journal.h"
#include "tap.h"

static char dir[] = "/tmp/reberth-journal-XXXXXX";
static char path[64];

static struct rb_journal *open_journal(void)
{
	struct rb_journal *journal = NULL;
	struct rb_err err = {};

	if (rb_journal_open(path, &journal, &err) < 0)
		printf("# %s\n", err.msg);
	return journal;
}

static struct rb_entry new_entry(const char *name, enum rb_role role)
{
	struct rb_entry entry = { .role = role, .facts = json_pack("{s:s}", "k", "v") };

	rb_journal_new_id(entry.id);
	snprintf(entry.container, sizeof(entry.container), "%s", name);
	snprintf(entry.peer, sizeof(entry.peer), "h2");
	return entry;
}

static void an_entry_survives_reopening(void)
{
	struct rb_journal *journal = open_journal();
	_cleanup_entry_ struct rb_entry entry = new_entry("web", RB_SOURCE), back = {};

	CHECK(journal);
	CHECK_INT(rb_journal_add(journal, &entry, NULL), 0);
	CHECK_INT(rb_journal_stage(journal, entry.id, "sync", entry.facts, NULL), 0);
	rb_journal_close(journal);
	journal = open_journal();
	CHECK_INT(rb_journal_get(journal, entry.id, &back, NULL), 0);
	CHECK_STR(back.container, "web");
	CHECK_STR(back.stage, "sync");
	CHECK_STR(json_string_value(json_object_get(back.facts, "k")), "v");
	CHECK_INT(back.state, RB_PREPARING);
	CHECK_INT(back.worker, getpid());
	CHECK_INT(rb_journal_move(journal, entry.id, RB_IN(RB_PREPARING), RB_ABORT, NULL), 0);
	CHECK_INT(rb_journal_move(journal, entry.id, RB_IN(RB_ABORT), RB_ABORTED, NULL), 0);
	rb_journal_close(journal);
}

static void commit_and_abort_exclude_each_other(void)
{
	struct rb_journal *journal = open_journal();
	_cleanup_entry_ struct rb_entry entry = new_entry("db", RB_SOURCE);
	struct rb_err err = {};

	CHECK_INT(rb_journal_add(journal, &entry, NULL), 0);
	CHECK_INT(rb_journal_move(journal, entry.id, RB_IN(RB_PREPARING), RB_FROZEN, NULL), 0);
	CHECK_INT(rb_journal_move(journal, entry.id, RB_IN(RB_FROZEN), RB_COMMIT, NULL), 0);
	CHECK_INT(rb_journal_move(journal, entry.id, RB_IN(RB_FROZEN) | RB_IN(RB_PREPARING),
				  RB_ABORT, &err),
		  -ESTALE);
	CHECK_INT(err.code, RB_E_CONFLICT);
	CHECK_INT(rb_journal_move(journal, entry.id, RB_IN(RB_FROZEN), RB_COMMIT, NULL), 0);
	CHECK_INT(rb_journal_move(journal, entry.id, RB_IN(RB_COMMIT), RB_DONE, NULL), 0);
	rb_journal_close(journal);
}

/* the fact of this name */
static void k_of(struct rb_journal *journal, const char *id, char ret[8])
{
	_cleanup_entry_ struct rb_entry entry = {};

	snprintf(ret, 8, "none");
	CHECK_INT(rb_journal_get(journal, id, &entry, NULL), 0);
	snprintf(ret, 8, "%s", json_string_value(json_object_get(entry.facts, "k")) ?: "");
}

static void a_state_and_its_facts_are_one(void)
{
	struct rb_journal *journal = open_journal();
	_cleanup_entry_ struct rb_entry entry = new_entry("one", RB_TARGET);
	json_t *facts = json_pack("{s:s}", "k", "new"), *late = json_pack("{s:s}", "k", "late");
	enum rb_state state = RB_STATE_MAX;
	char k[8];

	CHECK_INT(rb_journal_add(journal, &entry, NULL), 0);
	CHECK_INT(
		rb_journal_move_with(journal, entry.id, RB_IN(RB_PREPARING), RB_READY, facts, NULL),
		0);
	CHECK_INT(rb_journal_state(journal, entry.id, &state, NULL), 0);
	CHECK_INT(state, RB_READY);
	k_of(journal, entry.id, k);
	CHECK_STR(k, "new");
	/* not where the state is another one, nor where it is that already, nor without any */
	CHECK_INT(
		rb_journal_move_with(journal, entry.id, RB_IN(RB_PREPARING), RB_ABORT, late, NULL),
		-ESTALE);
	k_of(journal, entry.id, k);
	CHECK_STR(k, "new");
	CHECK_INT(
		rb_journal_move_with(journal, entry.id, RB_IN(RB_PREPARING), RB_READY, late, NULL),
		0);
	k_of(journal, entry.id, k);
	CHECK_STR(k, "new");
	CHECK_INT(rb_journal_move(journal, entry.id, RB_IN(RB_READY), RB_ABORT, NULL), 0);
	k_of(journal, entry.id, k);
	CHECK_STR(k, "new");
	CHECK_INT(rb_journal_move(journal, entry.id, RB_IN(RB_ABORT), RB_ABORTED, NULL), 0);
	json_decref(facts);
	json_decref(late);
	rb_journal_close(journal);
}

static void one_migration_of_a_container_at_a_time(void)
{
	struct rb_journal *journal = open_journal();
	_cleanup_entry_ struct rb_entry a = new_entry("x", RB_SOURCE),
					b = new_entry("x", RB_SOURCE);
	struct rb_err err = {};

	CHECK_INT(rb_journal_add(journal, &a, NULL), 0);
	CHECK_INT(rb_journal_add(journal, &b, &err), -EBUSY);
	CHECK_INT(err.code, RB_E_CONFLICT);
	CHECK_INT(rb_journal_move(journal, a.id, RB_IN(RB_PREPARING), RB_ABORT, NULL), 0);
	CHECK_INT(rb_journal_add(journal, &b, &err), -EBUSY);
	CHECK_INT(rb_journal_move(journal, a.id, RB_IN(RB_ABORT), RB_ABORTED, NULL), 0);
	CHECK_INT(rb_journal_add(journal, &b, &err), 0);
	rb_journal_close(journal);
}

static struct rb_entry new_group(const char *name, const char *member)
{
	struct rb_entry entry = new_entry(name, RB_SOURCE);

	json_object_set_new(entry.facts, "members", json_pack("[{s:s}]", "container", member));
	return entry;
}

static void one_migration_of_each_member_at_a_time(void)
{
	struct rb_journal *journal = open_journal();
	_cleanup_entry_ struct rb_entry group = new_group("leader", "side"),
					alone = new_entry("side", RB_SOURCE),
					there = new_entry("side", RB_TARGET),
					other = new_group("more", "side"), back = {};
	struct rb_err err = {};

	CHECK_INT(rb_journal_add(journal, &group, NULL), 0);
	CHECK_INT(rb_journal_add(journal, &alone, &err), -EBUSY);
	CHECK(strstr(err.msg, "'side'"));
	CHECK_INT(rb_journal_add(journal, &other, &err), -EBUSY);
	CHECK_INT(err.code, RB_E_CONFLICT);
	CHECK(strstr(err.msg, "'side'"));
	/* nothing of what was refused is left */
	CHECK_INT(rb_journal_get(journal, other.id, &back, NULL), -ENOENT);
	CHECK(rb_entry_shares(&group, &alone));
	CHECK(rb_entry_shares(&other, &group));
	CHECK_INT(rb_journal_add(journal, &there, NULL), 0);
	CHECK_INT(rb_journal_move(journal, group.id, RB_IN(RB_PREPARING), RB_ABORT, NULL), 0);
	CHECK_INT(rb_journal_add(journal, &alone, &err), -EBUSY);
	CHECK_INT(rb_journal_move(journal, group.id, RB_IN(RB_ABORT), RB_ABORTED, NULL), 0);
	CHECK_INT(rb_journal_add(journal, &alone, NULL), 0);
	CHECK_INT(rb_journal_add(journal, &group, &err), -EBUSY);
	rb_journal_close(journal);
}

static void unknown_and_malformed_ids_are_told(void)
{
	struct rb_journal *journal = open_journal();
	struct rb_entry entry = {};
	struct rb_err err = {};

	CHECK_INT(rb_journal_get(journal, "00ff", &entry, &err), -ENOENT);
	CHECK_INT(rb_journal_get(journal, "*", &entry, &err), -ENOENT);
	CHECK_INT(rb_journal_get(journal, "", &entry, &err), -ENOENT);
	CHECK_INT(err.code, RB_E_NOT_FOUND);
	rb_journal_close(journal);
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/journal.db", dir);
	TAP_RUN(an_entry_survives_reopening);
	TAP_RUN(commit_and_abort_exclude_each_other);
	TAP_RUN(a_state_and_its_facts_are_one);
	TAP_RUN(one_migration_of_a_container_at_a_time);
	TAP_RUN(one_migration_of_each_member_at_a_time);
	TAP_RUN(unknown_and_malformed_ids_are_told);
	rb_rm_rf(dir, NULL);
	return tap_done();
}
