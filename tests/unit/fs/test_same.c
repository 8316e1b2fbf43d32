// SPDX-License-Identifier: Apache-2.0
/*
 * test_same.c - what proves that two hosts have mounted the same storage
 */
#include "same.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"
#include "json.h"
#include "tap.h"

#define TOKEN ".reberth-0123456789abcdef"

static char top[PATH_MAX] = "/tmp/reberth-same-XXXXXX";

static const char *in(const char *name)
{
	static char paths[4][PATH_MAX + 256];
	static int next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", top, name);
	return path;
}

static void a_token_is_seen_until_it_is_removed(void)
{
	struct stat st;

	mkdir(in("shared"), 0755);
	mkdir(in("other"), 0755);
	CHECK_INT(rb_same_has_token(in("shared"), TOKEN), 0);
	CHECK_INT(rb_same_put_token(in("shared"), TOKEN), 0);
	CHECK_INT(rb_same_has_token(in("shared"), TOKEN), 1);
	CHECK_INT(rb_same_has_token(in("other"), TOKEN), 0);
	CHECK_INT(stat(in("shared/" TOKEN), &st), 0);
	CHECK_INT(st.st_size, 0);
	CHECK_INT(st.st_mode & 07777, 0600);
	/* by two volumes on one folder */
	CHECK_INT(rb_same_put_token(in("shared"), TOKEN), 0);
	CHECK_INT(rb_same_remove_token(in("shared"), TOKEN), 0);
	CHECK_INT(rb_same_has_token(in("shared"), TOKEN), 0);
	CHECK_INT(rb_same_remove_token(in("shared"), TOKEN), 0);
	/* nothing but a file is one */
	mkdir(in("shared/" TOKEN), 0755);
	CHECK_INT(rb_same_has_token(in("shared"), TOKEN), 0);
	CHECK_INT(rmdir(in("shared/" TOKEN)), 0);
	CHECK_INT(rb_same_put_token(in("nowhere"), TOKEN), -ENOENT);
	CHECK_INT(rb_same_has_token(in("nowhere"), TOKEN), -ENOENT);
}

/* root is nobody, as with root_squash; but it may be whoever it wants to */
static void squash(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2] = { { .effective = 1 << CAP_SETUID | 1 << CAP_SETGID,
						    .permitted = 1 << CAP_SETUID |
								 1 << CAP_SETGID } };

	if (syscall(SYS_capset, &head, caps) < 0)
		_exit(99);
}

static void where_root_may_nothing_the_owner_does_it(void)
{
	struct stat st = {};
	int status = -1;
	pid_t child;

	mkdir(in("theirs"), 0700);
	chmod(top, 0755);
	CHECK_INT(chown(in("theirs"), 1000, 1001), 0);
	child = fork();
	if (child == 0) {
		squash();
		if (access(in("theirs/x"), F_OK) == 0 || errno != EACCES)
			_exit(1);
		if (rb_same_put_token(in("theirs"), TOKEN) < 0)
			_exit(2);
		if (rb_same_has_token(in("theirs"), TOKEN) != 1)
			_exit(3);
		/* it is itself again */
		if (open(in("theirs/x"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600) >= 0)
			_exit(4);
		_exit(0);
	}
	waitpid(child, &status, 0);
	CHECK_INT(status, 0);
	CHECK_INT(stat(in("theirs/" TOKEN), &st), 0);
	CHECK_INT(st.st_uid, 1000);
	CHECK_INT(st.st_gid, 1001);
	CHECK_INT(rb_same_remove_token(in("theirs"), TOKEN), 0);
}

static void names_that_a_peer_may_ask_for(void)
{
	CHECK(rb_same_is_token(TOKEN));
	CHECK(!rb_same_is_token(""));
	CHECK(!rb_same_is_token("."));
	CHECK(!rb_same_is_token("passwd"));
	CHECK(!rb_same_is_token(".reberth-../../etc/passwd"));
	CHECK(!rb_same_is_token("/.reberth-x"));
	CHECK(!rb_same_is_token(
		".reberth-"
		"0123456789012345678901234567890123456789012345678901234567890123"));
}

static void change(json_t *seen, const char *key, json_int_t by)
{
	json_object_set_new(seen, key, json_integer(rb_json_int(seen, key, 0) + by));
}

static void an_inode_is_known_by_number_and_time(void)
{
	const json_int_t minute = 60 * 1000000000LL;
	_cleanup_json_ json_t *seen = NULL, *file = NULL, *none = json_object();

	mkdir(in("shared"), 0755);
	mkdir(in("other"), 0755);
	seen = rb_same_look(in("shared"));
	CHECK(seen);
	CHECK(!rb_same_look(in("nowhere")));
	CHECK(rb_same_seen(in("shared"), seen, true));
	CHECK(!rb_same_seen(in("other"), seen, true));
	CHECK(!rb_same_seen(in("nowhere"), seen, true));
	CHECK(!rb_same_seen(in("shared"), NULL, true));
	CHECK(!rb_same_seen(in("shared"), none, false));
	/* it was changed since */
	rb_write_file(in("shared/new"), "x", 1, 0644, false, NULL);
	CHECK(rb_same_seen(in("shared"), seen, true));
	/* its client makes numbers up */
	change(seen, "ino", 1);
	CHECK(!rb_same_seen(in("shared"), seen, true));
	CHECK(rb_same_seen(in("shared"), seen, false));
	/* the number is right, as that of a root often is, the time is not */
	change(seen, "ino", -1);
	change(seen, "ctime", -2 * minute);
	CHECK(!rb_same_seen(in("shared"), seen, true));
	change(seen, "ctime", 4 * minute);
	CHECK(!rb_same_seen(in("shared"), seen, true));
	json_object_set_new(seen, "ctime", json_integer(INT64_MIN));
	CHECK(!rb_same_seen(in("shared"), seen, true));
	file = rb_same_look(in("shared/new"));
	CHECK(rb_same_seen(in("shared/new"), file, true));
}

int main(void)
{
	if (!mkdtemp(top))
		return 99;
	TAP_RUN(a_token_is_seen_until_it_is_removed);
	TAP_RUN(where_root_may_nothing_the_owner_does_it);
	TAP_RUN(names_that_a_peer_may_ask_for);
	TAP_RUN(an_inode_is_known_by_number_and_time);
	rb_rm_rf(top, NULL);
	return tap_done();
}
