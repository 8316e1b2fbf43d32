// SPDX-License-Identifier: Apache-2.0
/*
 * test_api_peers.c - the local API: who is let in, and the life of its socket
 *
 * Clients that are another user run in children; another /etc/group in a mount namespace.
 */
#include "fake_api.h"

#include <grp.h>
#include <sched.h>
#include <sys/mount.h>

#define NOBODY	   65534
#define TEST_GROUP 54321

/* The status that another user gets, 0 for no answer. */
static long ask_as(uid_t uid, gid_t gid, size_t group_count, const gid_t *groups)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		_cleanup_answer_ struct answer a = {};

		if (setgroups(group_count, groups) < 0 || setresgid(gid, gid, gid) < 0 ||
		    setresuid(uid, uid, uid) < 0)
			_exit(255);
		ask("GET", "/v1/node", NULL, &a);
		_exit((int)(a.status / 100 * 10 + a.status % 10)); /* 403 -> 43 */
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) / 10 * 100 + WEXITSTATUS(status) % 10 : -1;
}

static void strangers_are_refused(void)
{
	struct server server;
	struct stat st;

	CHECK(server_start(&server));
	CHECK_INT(stat(sock, &st), 0);
	CHECK_INT(st.st_mode & 0777, 0660);
	CHECK_INT(ask_as(NOBODY, NOBODY, 0, NULL), 0); /* the mode keeps him out */
	CHECK_INT(chmod(sock, 0666), 0);
	CHECK_INT(ask_as(NOBODY, NOBODY, 0, NULL), 403);
	CHECK_INT(server_stop(&server), 0);
}

/* Give this process a mount namespace whose /etc/group knows the group. */
static bool make_group(void)
{
	char path[96], text[64];

	snprintf(path, sizeof(path), "%s/group", dir);
	snprintf(text, sizeof(text), "root:x:0:\nreberth:x:%d:\n", TEST_GROUP);
	return unshare(CLONE_NEWNS) == 0 &&
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       rb_write_file(path, text, strlen(text), 0644, false, NULL) == 0 &&
	       mount(path, "/etc/group", NULL, MS_BIND, NULL) == 0;
}

static void members_of_the_group_are_let_in(void)
{
	gid_t more[] = { 7, TEST_GROUP }, other[] = { 7, TEST_GROUP + 1 };
	struct server server;
	struct stat st;

	CHECK(make_group());
	snprintf(sock, sizeof(sock), "%s/group.sock", dir);
	CHECK(server_start(&server));
	CHECK_INT(stat(sock, &st), 0);
	CHECK_INT(st.st_gid, TEST_GROUP);
	CHECK_INT(ask_as(NOBODY, TEST_GROUP, 0, NULL), 200);
	CHECK_INT(ask_as(NOBODY, NOBODY, 2, more), 200);
	CHECK_INT(chmod(sock, 0666), 0);
	CHECK_INT(ask_as(NOBODY, NOBODY, 2, other), 403);
	CHECK_INT(server_stop(&server), 0);
}

static void sockets_are_replaced_and_removed(void)
{
	struct server first, second;

	snprintf(sock, sizeof(sock), "%s/two.sock", dir);
	CHECK(server_start(&first));
	CHECK(server_start(&second)); /* as after the first was killed */
	CHECK_INT(server_stop(&first), 0);
	CHECK_INT(access(sock, F_OK), 0);
	CHECK_INT(server_stop(&second), 0);
	CHECK_INT(access(sock, F_OK), -1);
}

static void failures_to_start_are_told(void)
{
	struct rb_api *api = NULL;
	struct rb_err err = {};

	CHECK_INT(rb_api_start("/nonexistent/x/api.sock", &ops, NULL, &api, &err), -ENOENT);
	CHECK(strstr(err.msg, "/nonexistent/x/api.sock") != NULL);
	CHECK(api == NULL);
	rb_api_stop(NULL);
}

int main(void)
{
	if (!make_dir())
		return 1;
	TAP_RUN(sockets_are_replaced_and_removed);
	TAP_RUN(failures_to_start_are_told);
	if (geteuid() == 0) {
		TAP_RUN(strangers_are_refused);
		TAP_RUN(members_of_the_group_are_let_in);
	} else {
		TAP_SKIP(strangers_are_refused, "needs root to become another user");
		TAP_SKIP(members_of_the_group_are_let_in, "needs root to make a group");
	}
	rb_rm_rf(dir, NULL);
	return tap_done();
}
