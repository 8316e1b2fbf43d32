// SPDX-License-Identifier: Apache-2.0
/*
 * test_tree_races.c - a tree that changes while it is sent
 *
 * Whatever a container does meanwhile: sending goes on, the last send (when it stands still) makes
 * both sides the same, and nothing but what is in the tree ever arrives.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "fake_conn.h"
#include "tap.h"
#include "tree.h"
#include "tree_util.h"
#include "wait.h"

#define ROUNDS	   20
#define SEEDS	   5
#define NAMES	   24
#define GROWS	   (48 << 20)
#define SECRET	   "this file is not in the tree"
#define N_CANCELED 1500

static pid_t start_child(void (*fn)(const char *root), const char *root)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			fn(root);
	}
	return pid;
}

static void stop_child(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* @ROUNDS sends while @fn runs, one after it has ended. */
static int move_in_rounds(void (*fn)(const char *root), const char *a, const char *b,
			  struct rb_err *err)
{
	struct rb_manifest *last = NULL;
	pid_t pid = start_child(fn, a);
	int r = 0;

	for (int i = 0; i <= ROUNDS && r == 0; i++) {
		struct rb_manifest *now = NULL;

		if (i == ROUNDS)
			stop_child(pid);
		r = tree_move(a, b, last, &now, NULL, err);
		rb_manifest_free(last);
		last = now;
	}
	rb_manifest_free(last);
	if (r < 0) {
		stop_child(pid);
		printf("# %s\n", err->msg);
	}
	return r;
}

#define CHECK_ROUNDS(fn, a, b)                                 \
	do {                                                   \
		struct rb_err _err = {};                       \
		const char *_d;                                \
		CHECK_INT(move_in_rounds(fn, a, b, &_err), 0); \
		_d = tree_difference(a, b);                    \
		if (_d)                                        \
			printf("# %s\n", _d);                  \
		CHECK(!_d);                                    \
	} while (0)

static const char *some_name(char *buf)
{
	static const char *const folders[] = { "", "d/", "d/e/", "f/", "d/e/g/" };

	sprintf(buf, "%s%c", folders[rand() % 5], 'a' + rand() % NAMES);
	return buf;
}

/* One random thing; names clash with folders on purpose. */
static void churn(const char *root)
{
	char x[64], y[64];
	const char *p = at(root, some_name(x)), *q = at(root, some_name(y));
	int fd;

	switch (rand() % 12) {
	case 0:
		mkdir(p, 0755);
		break;
	case 1:
	case 2:
	case 3:
		fd = open(p, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
		if (fd >= 0 && ftruncate(fd, rand() % 100000) == 0)
			pwrite(fd, x, 8, rand() % 200000);
		if (fd >= 0)
			close(fd);
		break;
	case 4:
	case 5:
		rename(p, q);
		break;
	case 6:
		link(p, q);
		break;
	case 7:
		unlink(p);
		break;
	case 8:
		rmdir(p);
		break;
	case 9:
		symlink(y, p);
		break;
	case 10:
		mkfifo(p, 0600);
		break;
	case 11:
		chmod(p, rand() & 07777);
		break;
	}
}

static void everything_changes_from(unsigned int seed)
{
	char a[PATH_MAX], b[PATH_MAX];

	srand(seed);
	tree_folder(a, "churn-a");
	tree_folder(b, "churn-b");
	mkdir(at(a, "d"), 0755);
	mkdir(at(a, "d/e"), 0755);
	mkdir(at(a, "d/e/g"), 0755);
	mkdir(at(a, "f"), 0755);
	for (int i = 0; i < 5000; i++)
		churn(a);
	CHECK_ROUNDS(churn, a, b);
}

static void everything_changes(void)
{
	for (unsigned int seed = 0; seed < SEEDS && tap_ok; seed++)
		everything_changes_from(seed);
}

static char secret[PATH_MAX];

/* A folder turns into a link to the host's files and back, a file into a link to one of them. */
static void swap(const char *root)
{
	symlink(secret, at(root, "link"));
	rename(at(root, "folder"), at(root, "away"));
	rename(at(root, "link"), at(root, "folder"));
	unlink(at(root, "folder"));
	rename(at(root, "away"), at(root, "folder"));
	symlink(at(secret, "passwd"), at(root, "folder/link"));
	rename(at(root, "folder/link"), at(root, "folder/shadow"));
	put_file(root, "folder/tmp", "harmless", 0600);
	rename(at(root, "folder/tmp"), at(root, "folder/shadow"));
}

static void links_to_the_host(void)
{
	char a[PATH_MAX], b[PATH_MAX], command[PATH_MAX * 2];

	tree_folder(a, "swap-a");
	tree_folder(b, "swap-b");
	tree_folder(secret, "secret");
	put_file(secret, "passwd", SECRET, 0600);
	put_file(secret, "shadow", SECRET, 0600);
	mkdir(at(a, "folder"), 0700);
	put_file(a, "folder/passwd", "harmless", 0600);
	for (int i = 0; i < 20; i++) {
		pid_t pid = start_child(swap, a);
		struct rb_err err = {};
		int r = 0;

		for (int k = 0; k < ROUNDS && r == 0; k++)
			r = tree_move(a, b, NULL, NULL, NULL, &err);
		stop_child(pid);
		if (r < 0)
			printf("# %s\n", err.msg);
		CHECK_INT(r, 0);
		snprintf(command, sizeof(command), "grep -rq '%s' %s", SECRET, b);
		CHECK(system(command) != 0);
	}
}

/* Longer and shorter again, so that the size of fstat(2) is wrong while it is read. */
static void grow_and_shrink(const char *root)
{
	int fd = open(at(root, "file"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, 5) < 0)
		abort();
	for (int i = 0; i < 100; i++)
		if (pwrite(fd, "some text", 9, rand() % GROWS) < 0)
			abort();
	posix_fallocate(fd, 0, rand() % GROWS);
	close(fd);
}

static void size_changes(void)
{
	char a[PATH_MAX], b[PATH_MAX];

	tree_folder(a, "size-a");
	tree_folder(b, "size-b");
	grow_and_shrink(a);
	put_file(a, "last", "comes after it", 0600);
	CHECK_ROUNDS(grow_and_shrink, a, b);
}

static void canceled(void)
{
	int cancel[2], null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	struct rb_conn *conn = fake_conn_new(null);
	struct rb_err err = {};
	struct rb_wait wait;
	char a[PATH_MAX], name[32];

	tree_folder(a, "cancel");
	for (int i = 0; i < N_CANCELED; i++) {
		snprintf(name, sizeof(name), "%d", i);
		put_file(a, name, "", 0600);
	}
	CHECK_INT(pipe2(cancel, O_CLOEXEC), 0);
	wait = (struct rb_wait){ .cancel_fd = cancel[0] };
	CHECK_INT(rb_tree_send(conn, a, NULL, NULL, NULL, NULL, &wait, &err), 0);
	CHECK_INT(write(cancel[1], "c", 1), 1);
	CHECK_INT(rb_tree_send(conn, a, NULL, NULL, NULL, NULL, &wait, &err), -ECANCELED);
	CHECK_INT(err.code, RB_E_CANCELED);
	fake_conn_free(conn);
	close(cancel[0]);
	close(cancel[1]);
}

int main(void)
{
	if (geteuid() != 0) {
		printf("1..0 # SKIP needs root\n");
		return 0;
	}
	setenv("TMPDIR", "/dev/shm", 0); /* what counts is how often, not the disk */
	TAP_RUN(everything_changes);
	TAP_RUN(links_to_the_host);
	TAP_RUN(size_changes);
	TAP_RUN(canceled);
	return tap_done();
}
