// SPDX-License-Identifier: Apache-2.0
/*
 * test_netns.c - functions in other namespaces: results, errors and deaths come back
 */
#include "testnet.h"

#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>

#include "thread.h"

static struct testnet net;
static struct rb_err err;

static int own_inode(void *arg, struct rb_err *e)
{
	struct stat st;

	(void)arg;
	(void)e;
	return stat("/proc/thread-self/ns/net", &st) < 0 ? -errno : (int)(st.st_ino & 0x7fffffff);
}

static int fail(void *arg, struct rb_err *e)
{
	return rb_err_code(e, RB_E_REFUSED, -EXDEV, "no %s", (const char *)arg);
}

static int die(void *arg, struct rb_err *e)
{
	(void)arg;
	(void)e;
	raise(SIGKILL);
	return 0;
}

static void test_runs_inside(void)
{
	unsigned long inside, host;

	CHECK_OK(rb_netns_inode(net.inside, &inside, &err));
	CHECK_OK(rb_netns_inode(net.host, &host, &err));
	CHECK(inside != host);
	CHECK_INT(rb_netns_run(net.inside, own_inode, NULL, &err), inside & 0x7fffffff);
	CHECK_INT(rb_netns_run(RB_NETNS_OWN, own_inode, NULL, &err), host & 0x7fffffff);
	CHECK_INT(own_inode(NULL, NULL), host & 0x7fffffff);
	CHECK_INT(rb_netns_fork(net.inside, own_inode, NULL, &err), inside & 0x7fffffff);
	CHECK_INT(rb_netns_fork(RB_NETNS_OWN, own_inode, NULL, &err), host & 0x7fffffff);
}

static int open_socket(void *arg, struct rb_err *e)
{
	(void)e;
	*(int *)arg = (int)gettid();
	return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

/* one process: what it writes to memory and what it opens is ours */
static void test_thread_shares(void)
{
	int tid = 0, fd = rb_netns_run(net.inside, open_socket, &tid, &err);
	struct sockaddr_in to = addr4(INSIDE, 9);
	char text[32];

	CHECK(fd >= 0);
	CHECK(tid != 0 && tid != (int)gettid());
	/* an address that only the namespace inside has */
	CHECK_INT(bind(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	rb_thread_close(fd);
	snprintf(text, sizeof(text), "/proc/self/fd/%d", fd);
	for (int i = 0; i < 1000 && access(text, F_OK) == 0; i++)
		rb_wait_ms(1, NULL, NULL);
	CHECK_INT(access(text, F_OK), -1);
	tid = 0;
	fd = rb_netns_fork(net.inside, open_socket, &tid, &err);
	CHECK_INT(tid, 0);
}

static int note_signals(void *arg, struct rb_err *e)
{
	sigset_t blocked;

	(void)arg;
	(void)e;
	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	return sigismember(&blocked, SIGTERM) && sigismember(&blocked, SIGCHLD);
}

static void test_signals_are_ours(void)
{
	sigset_t blocked;

	CHECK_INT(rb_netns_run(net.inside, note_signals, NULL, &err), 1);
	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	CHECK_INT(sigismember(&blocked, SIGTERM), 0);
}

static int vanish(void *arg, struct rb_err *e)
{
	(void)arg;
	(void)e;
	pthread_exit(NULL);
}

static void test_error_comes_back(void)
{
	struct rb_err e = { .stage = "freeze" };

	CHECK_INT(rb_netns_run(net.inside, fail, (char *)"way", &e), -EXDEV);
	CHECK_STR(e.msg, "no way");
	CHECK_INT(e.code, RB_E_REFUSED);
	CHECK_INT(e.errnum, EXDEV);
	CHECK_STR(e.stage, "freeze");
	CHECK_INT(rb_netns_run(net.inside, fail, (char *)"way", NULL), -EXDEV);
	e = (struct rb_err){ .stage = "freeze" };
	CHECK_INT(rb_netns_fork(net.inside, fail, (char *)"way", &e), -EXDEV);
	CHECK_STR(e.msg, "no way");
	CHECK_INT(e.code, RB_E_REFUSED);
	CHECK_STR(e.stage, "freeze");
}

static void test_death_is_an_error(void)
{
	CHECK_INT(rb_netns_fork(net.inside, die, NULL, &err), -EIO);
	CHECK_INT(rb_netns_run(net.inside, vanish, NULL, &err), -EIO);
	CHECK_INT(err.code, RB_E_INTERNAL);
}

static void test_bad_descriptor(void)
{
	CHECK_INT(rb_netns_run(-EBADF, own_inode, NULL, &err), -EBADF);
	CHECK_INT(rb_netns_fork(-EBADF, own_inode, NULL, &err), -EBADF);
	CHECK(rb_silence_on(-EBADF, &err) < 0);
	CHECK(rb_netns_open(0x7ffffff0, &err) < 0);
}

static void test_open_by_pid(void)
{
	_cleanup_close_ int fd = rb_netns_open(getpid(), &err);
	unsigned long one, other;

	CHECK(fd >= 0);
	CHECK_OK(rb_netns_inode(fd, &one, &err));
	CHECK_OK(rb_netns_inode(net.host, &other, &err));
	CHECK_INT(one, other);
}

int main(void)
{
	if (geteuid() != 0 || testnet_up(&net) < 0) {
		printf("1..0 # SKIP needs root, iproute2 and network namespaces\n");
		return 0;
	}
	NET_RUN(net, test_runs_inside);
	NET_RUN(net, test_thread_shares);
	NET_RUN(net, test_signals_are_ours);
	NET_RUN(net, test_error_comes_back);
	NET_RUN(net, test_death_is_an_error);
	NET_RUN(net, test_bad_descriptor);
	NET_RUN(net, test_open_by_pid);
	testnet_down(&net);
	return tap_done();
}
