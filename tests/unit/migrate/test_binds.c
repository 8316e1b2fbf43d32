// SPDX-License-Identifier: Apache-2.0
/*
 * test_binds.c - folders that are made on the target, and taken back: never what was there before
 */
#include "binds_rig.h"

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

int main(void)
{
	if (!rig_open())
		return 99;
	TAP_RUN(what_was_made_goes_with_the_folders_above);
	TAP_RUN(folders_above_that_are_used_by_now_stay);
	TAP_RUN(an_empty_folder_is_used_and_given_back);
	TAP_RUN(what_others_put_there_meanwhile_stays);
	TAP_RUN(what_has_something_in_it_is_refused_and_stays);
	TAP_RUN(what_was_not_made_is_not_removed);
	TAP_RUN(disks_may_have_other_numbers_after_a_reboot);
	TAP_RUN(single_files);
	TAP_RUN(links_lead_nowhere);
	TAP_RUN(what_is_inside_of_another_is_made_with_it);
	TAP_RUN(paths_of_hostile_peers);
	TAP_RUN(only_where_the_configuration_lets_it);
	rig_close();
	return tap_done();
}
