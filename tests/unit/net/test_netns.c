// SPDX-License-Identifier: Apache-2.0
/*
 * test_netns.c - functions in other namespaces: results, errors and deaths come back
 */
#include "testnet.h"

#include <signal.h>
#include <sys/stat.h>

static struct testnet net;
static struct rb_err err;

static int own_inode(void *arg, struct rb_err *e)
{
	struct stat st;

	(void)arg;
	(void)e;
	return stat("/proc/self/ns/net", &st) < 0 ? -errno : (int)(st.st_ino & 0x7fffffff);
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
}

static void test_death_is_an_error(void)
{
	CHECK_INT(rb_netns_run(net.inside, die, NULL, &err), -EIO);
}

static void test_bad_descriptor(void)
{
	CHECK_INT(rb_netns_run(-EBADF, own_inode, NULL, &err), -EBADF);
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
	NET_RUN(net, test_error_comes_back);
	NET_RUN(net, test_death_is_an_error);
	NET_RUN(net, test_bad_descriptor);
	NET_RUN(net, test_open_by_pid);
	testnet_down(&net);
	return tap_done();
}
