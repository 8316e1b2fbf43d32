/* SPDX-License-Identifier: Apache-2.0 */
/*
 * binds_rig.h - a target with a journal, and moves with bind mounts to it; no engine
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "journal.h"
#include "json.h"
#include "migration.h"
#include "obstacles.h"
#include "storage.h"
#include "tap.h"
#include "tree.h"

static char top[PATH_MAX] = "/var/tmp/reberth-binds-XXXXXX";
static struct rb_node node = { .name = "h2" };
static struct rb_migration m;
static struct rb_member *c;

static inline const char *in(const char *name)
{
	static char paths[4][PATH_MAX + 256];
	static int next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", top, name);
	return path;
}

static inline void write_text(const char *name, const char *text)
{
	rb_write_file(in(name), text, strlen(text), 0644, false, NULL);
}

static inline bool exists(const char *name)
{
	struct stat st;

	return lstat(in(name), &st) == 0;
}

/* a move of container "web" here, with these bind mounts; all is empty before */
static inline void begin(const char *const *names, const char *kind)
{
	json_t *binds = json_array();

	rb_rm_rf(in("srv"), NULL);
	mkdir(in("srv"), 0755);
	json_decref(m.entry.facts);
	m = (struct rb_migration){ .node = &node, .members_count = 1 };
	m.entry.role = RB_TARGET;
	rb_journal_new_id(m.entry.id);
	strcpy(m.entry.container, m.entry.id); /* one at a time has a name */
	strcpy(m.entry.peer, "h1");
	for (; *names; names++)
		json_array_append_new(binds, json_pack("{s:s, s:s, s:s}", "source", in(*names),
						       "how", "copied", "kind", kind));
	m.entry.facts = json_pack("{s:{s:s, s:o}}", "offer", "container", "web", "binds", binds);
	c = &m.members[0];
	c->facts = m.entry.facts;
	strcpy(c->name, "web");
	snprintf(c->work_dir, sizeof(c->work_dir), "%.400s/work", top);
	rb_rm_rf(c->work_dir, NULL);
	rb_journal_add(node.journal, &m.entry, NULL);
}

static inline void begin_one(const char *name)
{
	begin((const char *const[]){ name, NULL }, "folder");
}

/* what a stream writes down before it makes it */
static inline void note_name(const char *source, const char *name)
{
	_cleanup_close_ int fd = -EBADF;

	CHECK_INT(rb_binds_names(c, in(source), &fd, NULL), 0);
	CHECK(fd >= 0);
	CHECK_INT(rb_write_all(fd, name, strlen(name) + 1), 0);
}

static inline int make(struct rb_err *err)
{
	return rb_binds_make(&m, c, "/var/lib/docker", NULL, err);
}

/* by a worker that has nothing but the journal */
static inline int undo(void)
{
	_cleanup_entry_ struct rb_entry entry = {};
	struct rb_member member = {};

	if (rb_journal_get(node.journal, m.entry.id, &entry, NULL) < 0)
		return -ENOENT;
	member.facts = entry.facts;
	strcpy(member.work_dir, c->work_dir);
	return rb_binds_undo(&m, &member, NULL);
}

static inline json_t *check(void)
{
	json_t *obstacles = json_array();

	rb_binds_check(&node, json_object_get(c->facts, "offer"), "/var/lib/docker", obstacles,
		       NULL);
	return obstacles;
}

static inline bool is_refused(const char *why)
{
	_cleanup_json_ json_t *obstacles = check();
	struct rb_err err = {};
	int r = make(&err);
	bool both = json_array_size(obstacles) == 1 &&
		    strstr(rb_json_str(json_array_get(obstacles, 0), "what", ""), why) && r < 0 &&
		    strstr(err.msg, why);

	if (!both)
		printf("# %d '%s', '%s'\n", r, err.msg,
		       rb_json_str(json_array_get(obstacles, 0), "what", ""));
	return both;
}

static inline json_t *first_made(void)
{
	return json_array_get(json_object_get(c->facts, "binds_made"), 0);
}

static inline bool rig_open(void)
{
	return mkdtemp(top) && rb_journal_open(in("journal.db"), &node.journal, NULL) >= 0;
}

static inline void rig_close(void)
{
	json_decref(m.entry.facts);
	rb_journal_close(node.journal);
	rb_rm_rf(top, NULL);
}
