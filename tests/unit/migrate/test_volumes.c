// SPDX-License-Identifier: Apache-2.0
/*
 * test_volumes.c - volumes that are made on the target: what somebody else has made is never taken
 * for ours
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine.h"
#include "err.h"
#include "fake_volumes.h"
#include "io.h"
#include "journal.h"
#include "json.h"
#include "migration.h"
#include "storage.h"
#include "tap.h"

static char top[PATH_MAX] = "/tmp/reberth-volumes-XXXXXX";
static struct rb_node node = { .name = "h2" };
static struct rb_migration m;
static struct rb_member *c;

static const char *in(const char *name)
{
	static char paths[4][PATH_MAX + 256];
	static int next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", top, name);
	return path;
}

static bool exists(const char *name)
{
	struct stat st;

	return lstat(in(name), &st) == 0;
}

/* a move of a container with one volume */
static void begin(const char *volume)
{
	json_decref(m.entry.facts);
	m = (struct rb_migration){ .node = &node, .members_count = 1 };
	m.entry.role = RB_TARGET;
	rb_journal_new_id(m.entry.id);
	strcpy(m.entry.container, m.entry.id);
	strcpy(m.entry.peer, "h1");
	m.entry.facts = json_pack("{s:{s:[{s:s, s:s, s:{s:s}}]}}", "offer", "volumes", "name",
				  volume, "how", "copied", "labels", "theirs", "stays");
	c = &m.members[0];
	c->facts = m.entry.facts;
	rb_journal_add(node.journal, &m.entry, NULL);
}

/* somebody makes one */
static void somebody_makes(const char *name)
{
	_cleanup_json_ json_t *volume = json_pack("{s:s}", "name", name);
	char file[128];

	rb_engine_volume_create(node.engine, volume, NULL, NULL, NULL);
	snprintf(file, sizeof(file), "%s/theirs", name);
	rb_write_file(in(file), "x", 1, 0644, false, NULL);
}

static bool is_there(const char *name)
{
	_cleanup_json_ json_t *there = NULL;

	return rb_engine_volume_inspect(node.engine, name, &there, NULL, NULL) >= 0;
}

/* by a worker that has nothing but the journal */
static int undo(void)
{
	_cleanup_entry_ struct rb_entry entry = {};
	struct rb_member member = {};

	if (rb_journal_get(node.journal, m.entry.id, &entry, NULL) < 0)
		return -ENOENT;
	member.facts = entry.facts;
	return rb_volumes_remove(&m, &member, NULL, NULL);
}

static void one_that_is_made_is_ours(void)
{
	_cleanup_json_ json_t *there = NULL;

	begin("new");
	CHECK_INT(rb_volumes_make(&m, c, NULL, NULL), 0);
	CHECK_STR(rb_volumes_here(c, "new"), in("new"));
	CHECK_INT(rb_engine_volume_inspect(node.engine, "new", &there, NULL, NULL), 0);
	CHECK_STR(rb_json_str(json_object_get(there, "Labels"), "theirs", ""), "stays");
	rb_write_file(in("new/of-the-image"), "x", 1, 0644, false, NULL);
	CHECK_INT(rb_target_empty_storage(&m, c, NULL, NULL), 0);
	CHECK(exists("new"));
	CHECK(!exists("new/of-the-image"));
	CHECK_INT(undo(), 0);
	CHECK(!is_there("new"));
	CHECK_INT(undo(), 0);
}

static void one_that_was_there_is_refused_and_stays(void)
{
	begin("old");
	somebody_makes("old");
	CHECK_INT(rb_volumes_make(&m, c, NULL, NULL), -EEXIST);
	CHECK_INT(rb_target_empty_storage(&m, c, NULL, NULL), 0);
	CHECK_INT(undo(), 0);
	CHECK(is_there("old"));
	CHECK(exists("old/theirs"));
}

/* between our look for it and our call to make it, which hands it out */
static void one_that_comes_meanwhile_is_refused_and_stays(void)
{
	struct rb_err err = {};

	begin("late");
	somebody_makes("late");
	CHECK_INT(rb_volumes_make(&m, c, NULL, &err), -EEXIST);
	CHECK(strstr(err.msg, "volume 'late' appeared here meanwhile"));
	CHECK(!rb_volumes_here(c, "late"));
	CHECK_INT(rb_target_empty_storage(&m, c, NULL, NULL), 0);
	CHECK_INT(undo(), 0);
	CHECK(is_there("late"));
	CHECK(exists("late/theirs"));
}

static void one_that_has_taken_its_place_stays(void)
{
	begin("swapped");
	CHECK_INT(rb_volumes_make(&m, c, NULL, NULL), 0);
	CHECK_INT(rb_engine_volume_remove(node.engine, "swapped", NULL, NULL), 0);
	somebody_makes("swapped");
	CHECK_INT(rb_target_empty_storage(&m, c, NULL, NULL), -EEXIST);
	CHECK(exists("swapped/theirs"));
	CHECK_INT(undo(), 0);
	CHECK(is_there("swapped"));
}

/* an earlier move's label is not this one's */
static void one_that_came_with_another_move_is_not_ours(void)
{
	begin("moved");
	CHECK_INT(rb_volumes_make(&m, c, NULL, NULL), 0);
	rb_journal_new_id(m.entry.id);
	CHECK_INT(rb_volumes_remove(&m, c, NULL, NULL), 0);
	CHECK(is_there("moved"));
}

/* The offer has no say in where a volume is. */
static void volumes_are_where_docker_made_them(void)
{
	begin("mine");
	CHECK_INT(rb_volumes_make(&m, c, NULL, NULL), 0);
	mkdir(in("shared"), 0755);
	mkdir(in("copied"), 0755);
	rb_write_file(in("shared/theirs"), "x", 1, 0644, false, NULL);
	rb_write_file(in("copied/theirs"), "x", 1, 0644, false, NULL);
	rb_write_file(in("mine/of-the-image"), "x", 1, 0644, false, NULL);
	json_object_set_new(json_object_get(c->facts, "offer"), "volumes",
			    json_pack("[{s:s, s:s, s:s}, {s:s, s:s, s:s}, {s:s, s:s, s:s}]", "name",
				      "a", "how", "shared", "here", in("shared"), "name", "b",
				      "how", "copied", "here", in("copied"), "name", "mine", "how",
				      "copied", "here", in("copied")));
	CHECK_INT(rb_target_empty_storage(&m, c, NULL, NULL), 0);
	CHECK(exists("shared/theirs"));
	CHECK(exists("copied/theirs"));
	CHECK(exists("mine"));
	CHECK(!exists("mine/of-the-image"));
}

int main(void)
{
	pid_t engine;

	if (!mkdtemp(top) || rb_journal_open(in("journal.db"), &node.journal, NULL) < 0)
		return 99;
	engine = fake_volumes_start(in("docker.sock"), top);
	if (engine < 0 || rb_engine_open(in("docker.sock"), &node.engine, NULL) < 0)
		return 99;
	TAP_RUN(one_that_is_made_is_ours);
	TAP_RUN(one_that_was_there_is_refused_and_stays);
	TAP_RUN(one_that_comes_meanwhile_is_refused_and_stays);
	TAP_RUN(one_that_has_taken_its_place_stays);
	TAP_RUN(one_that_came_with_another_move_is_not_ours);
	TAP_RUN(volumes_are_where_docker_made_them);
	rb_engine_close(node.engine);
	kill(engine, SIGKILL);
	waitpid(engine, NULL, 0);
	json_decref(m.entry.facts);
	rb_journal_close(node.journal);
	rb_rm_rf(top, NULL);
	return tap_done();
}
