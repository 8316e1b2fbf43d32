// SPDX-License-Identifier: Apache-2.0
/*
 * test_binds.c - folders that are made on the target, and taken back: never what was there before
 */
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
#include "same.h"
#include "storage.h"
#include "tap.h"
#include "tree.h"

static char top[PATH_MAX] = "/var/tmp/reberth-binds-XXXXXX";
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

static void write_text(const char *name, const char *text)
{
	rb_write_file(in(name), text, strlen(text), 0644, false, NULL);
}

static bool exists(const char *name)
{
	struct stat st;

	return lstat(in(name), &st) == 0;
}

/* a move of container "web" here, with these bind mounts; all is empty before */
static void begin(const char *const *names, const char *kind)
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

static void begin_one(const char *name)
{
	begin((const char *const[]){ name, NULL }, "folder");
}

/* what a stream writes down before it makes it */
static void note_name(const char *source, const char *name)
{
	_cleanup_close_ int fd = -EBADF;

	CHECK_INT(rb_binds_names(c, in(source), &fd, NULL), 0);
	CHECK(fd >= 0);
	CHECK_INT(rb_write_all(fd, name, strlen(name) + 1), 0);
}

static int make(struct rb_err *err)
{
	return rb_binds_make(&m, c, "/var/lib/docker", NULL, err);
}

/* by a worker that has nothing but the journal */
static int undo(void)
{
	_cleanup_entry_ struct rb_entry entry = {};
	struct rb_member member = {};

	if (rb_journal_get(node.journal, m.entry.id, &entry, NULL) < 0)
		return -ENOENT;
	member.facts = entry.facts;
	strcpy(member.work_dir, c->work_dir);
	return rb_binds_undo(&m, &member, NULL);
}

static json_t *check(void)
{
	json_t *obstacles = json_array();

	rb_binds_check(&node, json_object_get(c->facts, "offer"), "/var/lib/docker", obstacles,
		       NULL);
	return obstacles;
}

static bool is_refused(const char *why)
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

static void what_was_made_goes_with_the_folders_above(void)
{
	_cleanup_json_ json_t *obstacles = NULL;
	int fd;

	begin_one("srv/a/b/data");
	obstacles = check();
	CHECK_INT(json_array_size(obstacles), 0);
	CHECK_INT(make(NULL), 0);
	CHECK(exists("srv/a/b/data"));
	fd = rb_binds_open(c, in("srv/a/b/data"), O_PATH | O_DIRECTORY, NULL);
	CHECK(fd >= 0);
	close(fd);
	write_text("srv/a/b/data/file", "x");
	CHECK_INT(undo(), 0);
	CHECK(!exists("srv/a"));
	CHECK(exists("srv"));
	CHECK_INT(undo(), 0);
}

static void folders_above_that_are_used_by_now_stay(void)
{
	begin_one("srv/a/b/data");
	CHECK_INT(make(NULL), 0);
	write_text("srv/a/other", "x");
	CHECK_INT(undo(), 0);
	CHECK(!exists("srv/a/b"));
	CHECK(exists("srv/a/other"));
}

static void an_empty_folder_is_used_and_given_back(void)
{
	struct timespec times[] = { { 1, 0 }, { 2, 3 } };
	struct stat st;

	begin_one("srv/data");
	mkdir(in("srv/data"), 0755);
	CHECK_INT(chmod(in("srv/data"), 01711), 0);
	CHECK_INT(chown(in("srv/data"), 3, 4), 0);
	CHECK_INT(utimensat(AT_FDCWD, in("srv/data"), times, 0), 0);
	CHECK_INT(make(NULL), 0);
	note_name("srv/data", "sub");
	note_name("srv/data", "not-made-yet");
	note_name("srv/data", "sub");
	mkdir(in("srv/data/sub"), 0755);
	write_text("srv/data/sub/file", "x");
	chown(in("srv/data"), 0, 0);
	chmod(in("srv/data"), 0700);
	CHECK_INT(undo(), 0);
	CHECK(!exists("srv/data/sub"));
	CHECK_INT(stat(in("srv/data"), &st), 0);
	CHECK_INT(st.st_mode & 07777, 01711);
	CHECK_INT(st.st_uid, 3);
	CHECK_INT(st.st_gid, 4);
	CHECK_INT(st.st_mtim.tv_nsec, 3);
}

static void what_others_put_there_meanwhile_stays(void)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat st;

	begin_one("srv/data");
	mkdir(in("srv/data"), 0755);
	CHECK_INT(chmod(in("srv/data"), 01711), 0);
	CHECK_INT(make(NULL), 0);
	note_name("srv/data", "came");
	note_name("srv/data", "..");
	note_name("srv/data", "../beside");
	write_text("srv/data/came", "x");
	write_text("srv/data/theirs", "x");
	write_text("srv/beside", "x");
	chmod(in("srv/data"), 0700);
	CHECK_INT(undo(), 0);
	CHECK(!exists("srv/data/came"));
	CHECK(exists("srv/data/theirs"));
	CHECK(exists("srv/beside"));
	CHECK_INT(stat(in("srv/data"), &st), 0);
	CHECK_INT(st.st_mode & 07777, 01711);
	/* one that we have made goes as a whole */
	begin_one("srv/new");
	CHECK_INT(make(NULL), 0);
	CHECK_INT(rb_binds_names(c, in("srv/new"), &fd, NULL), 0);
	CHECK_INT(fd, -EBADF);
}

static void what_has_something_in_it_is_refused_and_stays(void)
{
	begin_one("srv/data");
	mkdir(in("srv/data"), 0755);
	write_text("srv/data/mine", "x");
	CHECK(is_refused("with something in it"));
	CHECK_INT(undo(), 0);
	CHECK(exists("srv/data/mine"));
	begin((const char *const[]){ "srv/file", NULL }, "file");
	write_text("srv/file", "mine");
	CHECK(is_refused("with something in it"));
	CHECK_INT(undo(), 0);
	CHECK(exists("srv/file"));
	begin_one("srv/file");
	write_text("srv/file", "mine");
	CHECK(is_refused("that is no folder"));
}

/* The worker was killed between writing down and making, and somebody else was faster. */
static void what_was_not_made_is_not_removed(void)
{
	struct stat st;

	begin_one("srv/data");
	CHECK_INT(make(NULL), 0);
	json_object_del(json_array_get(json_object_get(c->facts, "binds_made"), 0), "ino");
	CHECK_INT(rb_migration_save(&m, NULL), 0);
	write_text("srv/data/theirs", "x");
	CHECK_INT(undo(), 0);
	CHECK(exists("srv/data/theirs"));
	/* what was made, and nothing came of it */
	CHECK_INT(unlink(in("srv/data/theirs")), 0);
	CHECK_INT(undo(), 0);
	CHECK(!exists("srv/data"));
	/* another one has the path by now */
	begin_one("srv/data");
	CHECK_INT(make(NULL), 0);
	CHECK_INT(rename(in("srv/data"), in("srv/moved")), 0);
	mkdir(in("srv/data"), 0755);
	write_text("srv/data/theirs", "x");
	CHECK_INT(rb_binds_open(c, in("srv/data"), O_PATH | O_DIRECTORY, NULL), -ESTALE);
	CHECK_INT(undo(), 0);
	CHECK(exists("srv/data/theirs"));
	CHECK_INT(stat(in("srv/moved"), &st), 0);
}

static json_t *first_made(void)
{
	return json_array_get(json_object_get(c->facts, "binds_made"), 0);
}

/* as after a reboot: the disk has another number */
static void change_number(const char *key)
{
	json_object_set_new(first_made(), key, json_integer(rb_json_int(first_made(), key, 0) + 1));
	rb_migration_save(&m, NULL);
}

static void disks_may_have_other_numbers_after_a_reboot(void)
{
	begin_one("srv/data");
	CHECK_INT(make(NULL), 0);
	if (!rb_json_int(first_made(), "born", 0)) {
		printf("# the file system does not tell when inodes came to be\n");
		return;
	}
	write_text("srv/data/came", "x");
	change_number("dev");
	CHECK_INT(rb_binds_open(c, in("srv/data"), O_PATH | O_DIRECTORY, NULL), -ESTALE);
	CHECK_INT(undo(), 0);
	CHECK(!exists("srv/data"));
	/* one that was there */
	begin_one("srv/data");
	mkdir(in("srv/data"), 0755);
	CHECK_INT(make(NULL), 0);
	note_name("srv/data", "came");
	write_text("srv/data/came", "x");
	change_number("dev");
	CHECK_INT(undo(), 0);
	CHECK(exists("srv/data"));
	CHECK(!exists("srv/data/came"));
	/* another inode that has the same number by now */
	begin_one("srv/data");
	CHECK_INT(make(NULL), 0);
	write_text("srv/data/theirs", "x");
	change_number("born");
	CHECK_INT(undo(), 0);
	CHECK(exists("srv/data/theirs"));
}

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

static void single_files(void)
{
	struct stat st;

	begin((const char *const[]){ "srv/etc/conf", "srv/empty", NULL }, "file");
	write_text("srv/empty", "");
	CHECK_INT(make(NULL), 0);
	CHECK_INT(stat(in("srv/etc/conf"), &st), 0);
	CHECK(S_ISREG(st.st_mode));
	for (int i = 0; i < 2; i++) {
		const char *name = i ? "srv/empty" : "srv/etc/conf";
		int fd = rb_binds_open(c, in(name), O_WRONLY, NULL);

		CHECK(fd >= 0);
		CHECK_INT(write(fd, "x", 1), 1);
		close(fd);
	}
	CHECK_INT(undo(), 0);
	CHECK(!exists("srv/etc"));
	CHECK_INT(stat(in("srv/empty"), &st), 0);
	CHECK_INT(st.st_size, 0);
}

static void links_lead_nowhere(void)
{
	struct rb_err err = {};

	/* those that are there before are followed once, and judged by where they lead */
	begin_one("srv/link/data");
	CHECK_INT(symlink("/proc", in("srv/link")), 0);
	CHECK(is_refused("made by the kernel"));
	begin_one("srv/link/data");
	mkdir(in("srv/real"), 0755);
	CHECK_INT(symlink(in("srv/real"), in("srv/link")), 0);
	CHECK_INT(make(NULL), 0);
	CHECK(exists("srv/real/data"));
	CHECK_INT(undo(), 0);
	CHECK(!exists("srv/real/data"));
	CHECK(exists("srv/link"));
	/* one that leads to nothing that exists */
	begin_one("srv/dangling/data");
	CHECK_INT(symlink("/nonexistent", in("srv/dangling")), 0);
	CHECK(make(&err) < 0);
	CHECK_INT(undo(), 0);
	CHECK(exists("srv/dangling"));
	/* those that come later are not followed */
	begin_one("srv/sub/data");
	CHECK_INT(make(NULL), 0);
	mkdir(in("srv/trap"), 0755);
	mkdir(in("srv/trap/data"), 0755);
	write_text("srv/trap/data/theirs", "x");
	CHECK_INT(rename(in("srv/sub"), in("srv/away")), 0);
	CHECK_INT(symlink(in("srv/trap"), in("srv/sub")), 0);
	CHECK_INT(rb_binds_open(c, in("srv/sub/data"), O_PATH | O_DIRECTORY, NULL), -ELOOP);
	CHECK_INT(undo(), 0);
	CHECK(exists("srv/trap/data/theirs"));
}

static void what_is_inside_of_another_is_made_with_it(void)
{
	struct stat st;
	json_t *binds, *inside;

	begin((const char *const[]){ "srv/data", "srv/data/a/conf", NULL }, "folder");
	binds = rb_json_path(c->facts, "offer.binds");
	inside = json_array_get(binds, 1);
	json_object_set_new(inside, "how", json_string("inside"));
	json_object_set_new(inside, "kind", json_string("file"));
	CHECK_INT(make(NULL), 0);
	CHECK(!exists("srv/data/a"));
	CHECK_INT(rb_binds_make_inside(&m, "/var/lib/docker", NULL, NULL), 0);
	CHECK_INT(stat(in("srv/data/a/conf"), &st), 0);
	CHECK(S_ISREG(st.st_mode));
	CHECK_INT(undo(), 0);
	CHECK(!exists("srv/data"));
	/* also where the folder was there before, and empty */
	begin((const char *const[]){ "srv/data", "srv/data/a/conf", NULL }, "folder");
	json_object_set_new(json_array_get(rb_json_path(c->facts, "offer.binds"), 1), "how",
			    json_string("inside"));
	mkdir(in("srv/data"), 0755);
	CHECK_INT(make(NULL), 0);
	CHECK_INT(rb_binds_make_inside(&m, "/var/lib/docker", NULL, NULL), 0);
	CHECK(exists("srv/data/a/conf"));
	CHECK_INT(undo(), 0);
	CHECK(!exists("srv/data/a"));
	CHECK(exists("srv/data"));
	/* what is in none is nothing that would ever be removed again */
	begin((const char *const[]){ "srv/data", "srv/other", NULL }, "folder");
	binds = rb_json_path(c->facts, "offer.binds");
	json_object_set_new(json_array_get(binds, 1), "how", json_string("inside"));
	CHECK_INT(make(NULL), 0);
	CHECK_INT(rb_binds_make_inside(&m, "/var/lib/docker", NULL, NULL), -EPROTO);
	CHECK(!exists("srv/other"));
	CHECK_INT(undo(), 0);
}

static void paths_of_hostile_peers(void)
{
	static const char *const paths[] = { "srv/../../etc/x", "srv//x", "srv/./x", "srv/x/", "" };

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		printf("# %s\n", paths[i]);
		begin_one(paths[i]);
		CHECK(is_refused("no path that can be mounted"));
	}
	begin_one("x");
	json_object_set_new(json_array_get(rb_json_path(c->facts, "offer.binds"), 0), "source",
			    json_string("relative"));
	CHECK(is_refused("no path that can be mounted"));
	json_object_set_new(json_array_get(rb_json_path(c->facts, "offer.binds"), 0), "source",
			    json_integer(7));
	CHECK(is_refused("no path that can be mounted"));
	json_object_set_new(json_array_get(rb_json_path(c->facts, "offer.binds"), 0), "source",
			    json_string("/var/lib/docker/x"));
	CHECK(is_refused("Docker's own files"));
}

static void only_where_the_configuration_lets_it(void)
{
	_cleanup_json_ json_t *there = json_pack("[s]", in("srv/ok")), *nowhere = json_array();
	_cleanup_json_ json_t *obstacles = NULL;

	begin_one("srv/data");
	node.allow_bind = nowhere;
	CHECK(is_refused("does not let anybody bring something"));
	node.allow_bind = there;
	CHECK(is_refused("does not let anybody bring something"));
	begin_one("srv/okay");
	CHECK(is_refused("does not let anybody bring something"));
	begin_one("srv/ok/data");
	for (int k = 0; k < 3; k++) {
		/* with a slash, and by way of a link */
		const char *const names[] = { "srv/ok", "srv/ok/", "srv/link" };

		if (k == 2)
			CHECK_INT(symlink(in("srv/ok"), in("srv/link")), 0);
		mkdir(in("srv/ok"), 0755);
		json_array_set_new(there, 0, json_string(in(names[k])));
		json_decref(obstacles);
		obstacles = check();
		CHECK_INT(json_array_size(obstacles), 0);
	}
	/* the configuration is refused with these; if it were not, they allow nothing */
	json_array_set_new(there, 0, json_string(""));
	CHECK(is_refused("does not let anybody bring something"));
	json_array_set_new(there, 0, json_integer(7));
	CHECK(is_refused("does not let anybody bring something"));
	node.allow_bind = NULL;
	CHECK_INT(json_array_size(obstacles), 0);
}

/* The words of the first obstacle, or "" */
static const char *obstacle(void)
{
	static char what[512];
	_cleanup_json_ json_t *obstacles = check();

	snprintf(what, sizeof(what), "%s", rb_json_str(json_array_get(obstacles, 0), "what", ""));
	return what;
}

static json_t *begin_shared(const char *name, bool declared)
{
	json_t *bind;

	begin_one(name);
	bind = json_array_get(rb_json_path(c->facts, "offer.binds"), 0);
	json_object_set_new(bind, "how", json_string("shared"));
	json_object_set_new(bind, "declared", json_boolean(declared));
	json_object_set_new(
		bind, "place",
		json_pack("{s:s, s:s, s:s}", "type", "nfs", "source", "server:/x", "inside", "/"));
	return bind;
}

static void what_is_shared_must_be_there(void)
{
	json_t *bind = begin_shared("srv/data", false);

	CHECK(strstr(obstacle(), "has no "));
	mkdir(in("srv/data"), 0755);
	write_text("srv/data/file", "x");
	CHECK(strstr(obstacle(),
		     "is on storage of type nfs from 'server:/x', and that of node 'h2' is not"));
	/* whatever the user says: an empty mount point is not what they have */
	json_object_set_new(bind, "declared", json_true());
	CHECK(strstr(obstacle(), "nothing is mounted"));
	/* nothing is made, and nothing removed */
	CHECK_INT(make(NULL), 0);
	CHECK_INT(undo(), 0);
	CHECK(exists("srv/data/file"));
	CHECK_INT(rb_binds_open(c, in("srv/data"), O_PATH, NULL), -EPROTO);
}

static void what_is_shared_must_have_the_token(void)
{
	json_t *bind = begin_shared("srv/data", true);

	mkdir(in("srv/data"), 0755);
	json_object_set_new(bind, "token", json_string(".reberth-0123456789abcdef"));
	/* as on a host that was made from the same image: the inode says nothing then */
	json_object_set_new(bind, "seen", rb_same_look(in("srv/data")));
	CHECK(strstr(obstacle(), "nothing is mounted"));
	json_object_set_new(json_object_get(bind, "place"), "type", json_string("ext4"));
	CHECK(strstr(obstacle(), "is not the one that this host has"));
	write_text("srv/data/.reberth-0123456789abcdef", "");
	CHECK_STR(obstacle(), "");
	json_object_set_new(bind, "token", json_string("../data/.reberth-0123456789abcdef"));
	CHECK(strstr(obstacle(), "is not the one that this host has"));
}

static void without_a_token_the_inode_has_to_be_the_same(void)
{
	json_t *bind = begin_shared("srv/data", true), *other;

	mkdir(in("srv/data"), 0755);
	mkdir(in("srv/other"), 0755);
	other = rb_same_look(in("srv/other"));
	json_object_set_new(bind, "seen", rb_same_look(in("srv/data")));
	CHECK_STR(obstacle(), "");
	json_object_set_new(bind, "seen", other);
	CHECK(strstr(obstacle(), "nothing is mounted"));
	json_object_set_new(json_object_get(bind, "place"), "type", json_string("ext4"));
	CHECK(strstr(obstacle(), "is not the one that this host has"));
	/* what is only read may be a copy on a disk of each */
	json_object_set_new(bind, "rw", json_false());
	CHECK_STR(obstacle(), "");
	json_object_set_new(json_object_get(bind, "place"), "type", json_string("nfs4"));
	CHECK(strstr(obstacle(), "nothing is mounted"));
	/* a folder here, a file there */
	json_object_set_new(bind, "seen", rb_same_look(in("srv/data")));
	json_object_set_new(bind, "kind", json_string("file"));
	CHECK(strstr(obstacle(), "nothing is mounted"));
	/* a socket is a service of each host */
	json_object_set_new(bind, "kind", json_string("other"));
	json_object_del(bind, "seen");
	CHECK_STR(obstacle(), "");
}

int main(void)
{
	if (!mkdtemp(top) || rb_journal_open(in("journal.db"), &node.journal, NULL) < 0)
		return 99;
	TAP_RUN(what_was_made_goes_with_the_folders_above);
	TAP_RUN(folders_above_that_are_used_by_now_stay);
	TAP_RUN(an_empty_folder_is_used_and_given_back);
	TAP_RUN(what_others_put_there_meanwhile_stays);
	TAP_RUN(what_has_something_in_it_is_refused_and_stays);
	TAP_RUN(what_was_not_made_is_not_removed);
	TAP_RUN(disks_may_have_other_numbers_after_a_reboot);
	TAP_RUN(what_it_had_left_makes_way_and_comes_back);
	TAP_RUN(what_is_changed_under_its_other_name_stays);
	TAP_RUN(what_was_changed_since_stays);
	TAP_RUN(a_file_that_looks_unchanged_stays);
	TAP_RUN(what_was_changed_aside_is_not_what_it_left);
	TAP_RUN(moves_travel_along);
	TAP_RUN(single_files);
	TAP_RUN(links_lead_nowhere);
	TAP_RUN(what_is_inside_of_another_is_made_with_it);
	TAP_RUN(paths_of_hostile_peers);
	TAP_RUN(only_where_the_configuration_lets_it);
	TAP_RUN(what_is_shared_must_be_there);
	TAP_RUN(what_is_shared_must_have_the_token);
	TAP_RUN(without_a_token_the_inode_has_to_be_the_same);
	json_decref(m.entry.facts);
	rb_journal_close(node.journal);
	rb_rm_rf(top, NULL);
	return tap_done();
}
