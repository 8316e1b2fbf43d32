// SPDX-License-Identifier: Apache-2.0
/*
 * test_left.c - what a container has left on a host makes way for it, and nothing else does
 */
#include <sys/eventfd.h>
#include <sys/file.h>

#include "binds_rig.h"
#include "wait.h"

/* An earlier move of container "web" away from here. */
static void leave(const char *name, char ret_id[RB_ID_LEN + 1])
{
	static int number;
	struct rb_entry entry = { .role = RB_SOURCE };
	char stamp[RB_STAMP_SIZE] = "";

	rb_journal_new_id(entry.id);
	snprintf(entry.container, sizeof(entry.container), "web%d", number++);
	strcpy(entry.peer, "h1");
	rb_tree_stamp(in(name), stamp, NULL, NULL);
	entry.facts = json_pack("{s:[{s:s, s:s}], s:[{s:s}]}", "left", "path", in(name), "stamp",
				stamp, "members", "container", "web");
	/* a member of a group has its own list */
	json_object_set(json_array_get(json_object_get(entry.facts, "members"), 0), "left",
			json_object_get(entry.facts, "left"));
	rb_journal_add(node.journal, &entry, NULL);
	rb_journal_move(node.journal, entry.id, RB_IN(RB_PREPARING), RB_FROZEN, NULL);
	rb_journal_move(node.journal, entry.id, RB_IN(RB_FROZEN), RB_COMMIT, NULL);
	rb_journal_move(node.journal, entry.id, RB_IN(RB_COMMIT), RB_DONE, NULL);
	strcpy(ret_id, entry.id);
	rb_entry_release(&entry);
}

/* What cannot be looked at may have been changed. */
static void what_cannot_be_compared_is_an_error(void)
{
	char id[RB_ID_LEN + 1], stamp[RB_STAMP_SIZE];
	_cleanup_json_ json_t *moves = NULL;
	struct rb_err err = {};

	begin_one("srv/data");
	mkdir(in("srv/data"), 0755);
	write_text("srv/data/file", "x");
	leave("srv/data", id);
	moves = json_pack("[s]", id);
	CHECK_INT(rb_storage_was_left(&node, moves, in("srv/data"), in("srv/data"), stamp, NULL,
				      &err),
		  1);
	CHECK_INT(rb_storage_was_left(&node, moves, in("srv/data"), in("srv/none"), stamp, NULL,
				      &err),
		  -ENOENT);
	CHECK(err.msg[0]);
}

/* Another worker looks at what is there, for hours maybe. */
static void who_waits_for_another_move_can_be_called_off(void)
{
	struct rb_wait wait = { .cancel_fd = eventfd(1, EFD_CLOEXEC) };
	const struct rb_node here = { .name = "h2", .run_dir = top };
	_cleanup_close_ int fd = -EBADF;
	struct rb_err err = {};

	begin_one("srv/data");
	fd = open(in("volumes.lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK_INT(flock(fd, LOCK_EX), 0);
	m.node = &here;
	CHECK_INT(rb_target_create_storage(&m, c, &wait, &err), -ECANCELED);
	m.node = &node;
	close(wait.cancel_fd);
}

/* The one that comes was moved like that. */
static void came_by(const char *first, const char *second)
{
	json_object_set_new(json_object_get(c->facts, "offer"), "moves",
			    json_pack("[s, s*]", first, second));
}

/* It left this here, and went on from there to another host. */
static void leave_and_come_back(const char *name)
{
	char id[RB_ID_LEN + 1];

	leave(name, id);
	came_by(id, "00000000deadbeef");
}

static void what_it_had_left_makes_way_and_comes_back(void)
{
	begin_one("srv/data");
	mkdir(in("srv/data"), 0755);
	write_text("srv/data/old", "x");
	leave_and_come_back("srv/data");
	CHECK_INT(make(NULL), 0);
	CHECK(!exists("srv/data/old"));
	write_text("srv/data/new", "x");
	CHECK_INT(undo(), 0);
	CHECK(exists("srv/data/old"));
	CHECK(!exists("srv/data/new"));
	CHECK_INT(undo(), 0);
	CHECK(exists("srv/data/old"));
	/* the next attempt may do the same, and succeed */
	CHECK_INT(make(NULL), 0);
	rb_binds_settle(&m, c);
	CHECK(exists("srv/data"));
	CHECK(!exists("srv/data/old"));
	CHECK_INT(rmdir(in("srv/data")), 0);
	CHECK_INT(rmdir(in("srv")), 0);
}

/* of the first of those that could not be removed */
static const char *stays(const char *key)
{
	return rb_json_str(json_array_get(json_object_get(m.entry.facts, "stays"), 0), key, "");
}

/* by somebody who has it open, or works in it */
static void what_is_changed_under_its_other_name_stays(void)
{
	const char *aside;
	char file[PATH_MAX + 300];
	int fd;

	begin_one("srv/data");
	mkdir(in("srv/data"), 0755);
	write_text("srv/data/old", "x");
	leave_and_come_back("srv/data");
	fd = open(in("srv/data"), O_PATH | O_DIRECTORY | O_CLOEXEC);
	CHECK_INT(make(NULL), 0);
	aside = rb_json_str(first_made(), "aside", "");
	snprintf(file, sizeof(file), "%s/theirs", aside);
	close(openat(fd, "theirs", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	close(fd);
	rb_binds_settle(&m, c);
	CHECK_INT(access(file, F_OK), 0);
	CHECK(exists("srv/data"));
	CHECK(strstr(stays("path"), "srv/data.reberth-"));
	CHECK_STR(stays("why"), "somebody has changed it during the move");
	CHECK(!exists("srv/data/old"));
}

static void what_was_changed_since_stays(void)
{
	char id[RB_ID_LEN + 1];

	begin_one("srv/data");
	mkdir(in("srv/data"), 0755);
	write_text("srv/data/old", "x");
	leave_and_come_back("srv/data");
	write_text("srv/data/old", "changed");
	CHECK(is_refused("or which was changed since"));
	/* and another container's is not this one's, whatever its name */
	begin_one("srv/data");
	mkdir(in("srv/data"), 0755);
	write_text("srv/data/old", "x");
	leave("srv/data", id);
	CHECK(is_refused("which this container has not left there"));
	came_by("0123456789abcdef", NULL);
	CHECK(is_refused("which this container has not left there"));
	/* nor that of a move of which only the beginning is known */
	id[4] = '\0';
	came_by(id, NULL);
	CHECK(is_refused("which this container has not left there"));
}

/* Sets the mode that it has; its ctime moves, sooner or later: clocks of file systems are coarse.
 */
static void touch_ctime(const char *path)
{
	struct stat before, now;

	if (stat(path, &before) < 0)
		abort();
	do {
		if (chmod(path, before.st_mode & 07777) < 0 || stat(path, &now) < 0)
			abort();
	} while (now.st_ctim.tv_sec == before.st_ctim.tv_sec &&
		 now.st_ctim.tv_nsec == before.st_ctim.tv_nsec);
}

/* of the same length, and with the same time again */
static void a_file_that_looks_unchanged_stays(void)
{
	struct timespec times[2];
	struct stat st;
	int fd;

	begin((const char *const[]){ "srv/conf", NULL }, "file");
	write_text("srv/conf", "old");
	leave_and_come_back("srv/conf");
	CHECK_INT(stat(in("srv/conf"), &st), 0);
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	fd = open(in("srv/conf"), O_WRONLY | O_CLOEXEC);
	CHECK_INT(pwrite(fd, "new", 3, 0), 3);
	close(fd);
	CHECK_INT(utimensat(AT_FDCWD, in("srv/conf"), times, 0), 0);
	touch_ctime(in("srv/conf"));
	CHECK(is_refused("or which was changed since"));
}

/* it was put aside, changed, and given its name back */
static void what_was_changed_aside_is_not_what_it_left(void)
{
	char path[PATH_MAX];

	for (int i = 0; i < 2; i++) {
		begin_one("srv/data");
		mkdir(in("srv/data"), 0755);
		write_text("srv/data/old", "x");
		leave_and_come_back("srv/data");
		CHECK_INT(make(NULL), 0);
		snprintf(path, sizeof(path), "%s", rb_json_str(first_made(), "aside", ""));
		/* nothing but the ctime of the folder itself tells of this one */
		if (i)
			touch_ctime(path);
		CHECK_INT(undo(), 0);
		CHECK(exists("srv/data/old"));
		if (i)
			CHECK(is_refused("or which was changed since"));
		else
			CHECK_INT(make(NULL), 0);
	}
}

/* Each host adds the move that the container came to it with. */
static void moves_travel_along(void)
{
	struct rb_migration away = { .node = &node, .members_count = 2 };
	json_t *moves;

	begin_one("srv/data");
	json_object_set_new(m.entry.facts, "members",
			    json_pack("[{s:s, s:s}]", "container", "side", "new_id", "second"));
	came_by("00000000deadbeef", NULL);
	CHECK_INT(rb_migration_save(&m, NULL), 0);
	rb_journal_container_id(node.journal, m.entry.id, "first", NULL);
	away.entry.facts = json_object();
	for (size_t i = 0; i < 2; i++) {
		away.members[i].facts = json_object();
		strcpy(away.members[i].container_id, i ? "second" : "first");
	}
	/* it has not arrived yet */
	rb_storage_note_moves(&away, &away.members[0]);
	CHECK_INT(json_array_size(json_object_get(away.members[0].facts, "moves")), 0);
	rb_journal_move(node.journal, m.entry.id, RB_IN(RB_PREPARING), RB_READY, NULL);
	rb_journal_move(node.journal, m.entry.id, RB_IN(RB_READY), RB_GO, NULL);
	rb_journal_move(node.journal, m.entry.id, RB_IN(RB_GO), RB_DONE, NULL);
	for (size_t i = 0; i < 2; i++) {
		rb_storage_note_moves(&away, &away.members[i]);
		moves = json_object_get(away.members[i].facts, "moves");
		CHECK_INT(json_array_size(moves), i ? 1 : 2);
		CHECK_STR(json_string_value(json_array_get(moves, i ? 0 : 1)) ?: "", m.entry.id);
	}
	/* one that was made here */
	strcpy(away.members[0].container_id, "third");
	rb_storage_note_moves(&away, &away.members[0]);
	CHECK_INT(json_array_size(json_object_get(away.members[0].facts, "moves")), 0);
	for (size_t i = 0; i < 2; i++)
		json_decref(away.members[i].facts);
	json_decref(away.entry.facts);
}

int main(void)
{
	if (!rig_open())
		return 99;
	TAP_RUN(what_it_had_left_makes_way_and_comes_back);
	TAP_RUN(what_is_changed_under_its_other_name_stays);
	TAP_RUN(what_was_changed_since_stays);
	TAP_RUN(a_file_that_looks_unchanged_stays);
	TAP_RUN(what_was_changed_aside_is_not_what_it_left);
	TAP_RUN(moves_travel_along);
	TAP_RUN(what_cannot_be_compared_is_an_error);
	TAP_RUN(who_waits_for_another_move_can_be_called_off);
	rig_close();
	return tap_done();
}
