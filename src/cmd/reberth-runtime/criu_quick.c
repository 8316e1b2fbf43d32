// SPDX-License-Identifier: Apache-2.0
/*
 * criu_quick.c - preloaded into CRIU, too: what costs time while the container stands still, and
 * does nothing
 *
 * Action scripts: CRIU forks for each of a dozen. What the script would do is done where it would
 * fork (criu_act.c), and its wait for that process is told the outcome.
 *
 * tar: CRIU starts it for each tmpfs. What its process can do by itself (tmpfs.c) it does.
 *
 * A place for a mount: to see a tmpfs without what is mounted inside of it, CRIU makes a folder in
 * the container's /tmp, or its root, binds the tmpfs there, opens it, and takes both away. That is
 * a change of the container's files, which are copied at this very moment: the folder's time, and
 * where /tmp was the image's, all of it. A folder that every container has will do: what it hides
 * for that moment nobody reads, for the tasks stand still.
 *
 * Connection tracking: CRIU has the kernel walk its table twice, which is one for all network
 * namespaces: 15 ms each where it has 262144 buckets. The namespace of a container is made by
 * Docker on the target, with rules of its own; entries from the source must not get there (those
 * of Docker's name server name ports that only it knows). So a dump is answered that there are
 * none, without asking.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "criu_act.h"
#include "tmpfs.h"

#define EXPORT __attribute__((visibility("default")))

/* --- action scripts --- */

/* of no process: the kernel's limit is 2^22 */
enum { ACTED = 0x7ffffffe };

static int acted_status;

EXPORT pid_t fork(void)
{
	static pid_t (*real)(void);
	int status = act();

	if (status != ACT_NOT_OURS) {
		acted_status = status;
		return ACTED;
	}
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "fork");
	return real();
}

EXPORT pid_t waitpid(pid_t pid, int *status, int options)
{
	static pid_t (*real)(pid_t, int *, int);

	if (pid == ACTED) {
		*status = acted_status << 8; /* exited with it */
		return pid;
	}
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "waitpid");
	return real(pid, status, options);
}

/* --- tar --- */

/* What tar would have done. Does not return when it is done. */
static void save_tmpfs(char *const argv[])
{
	int start = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int status = start < 0 ? TMPFS_NOT_OURS : tmpfs_tar(argv);

	if (status != TMPFS_NOT_OURS)
		_exit(status);
	if (start >= 0 && fchdir(start) < 0)
		_exit(1);
}

EXPORT int execvp(const char *file, char *const argv[])
{
	static int (*real)(const char *, char *const[]);

	if (strcmp(file, "tar") == 0)
		save_tmpfs(argv);
	*(void **)&real = dlsym(RTLD_NEXT, "execvp");
	return real(file, argv);
}

/* --- a place for a mount --- */

static const char place[] = "/proc";

/* In a dump alone: when it restores, CRIU makes such a folder in a tree of its own, and keeps it.
 */
static bool is_place_wanted(const char *template)
{
	static const char wanted[] = "/tmp/cr-tmpfs.XXXXXX";
	struct stat st;

	return strcmp(template, wanted) == 0 && getenv("REBERTH_SKIP") && stat(place, &st) == 0 &&
	       S_ISDIR(st.st_mode);
}

EXPORT char *mkdtemp(char *template)
{
	static char *(*real)(char *);

	if (is_place_wanted(template))
		return strcpy(template, place);
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "mkdtemp");
	return real(template);
}

/* Nobody else could remove this one. */
EXPORT int rmdir(const char *path)
{
	static int (*real)(const char *);

	if (strcmp(path, place) == 0)
		return 0;
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "rmdir");
	return real(path);
}

/* --- connection tracking --- */

static bool is_netfilter(int fd)
{
	int value = 0;
	socklen_t len = sizeof(value);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &value, &len) < 0 || value != AF_NETLINK)
		return false;
	len = sizeof(value);
	return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &value, &len) == 0 &&
	       value == NETLINK_NETFILTER;
}

/* Not of another one, which the container has inside of its own. */
static bool is_containers_netns(void)
{
	const char *inode = getenv("REBERTH_NETNS");
	struct stat st;

	return inode && stat("/proc/thread-self/ns/net", &st) == 0 &&
	       st.st_ino == strtoul(inode, NULL, 10);
}

static bool is_conntrack_dump(int fd, const struct msghdr *msg)
{
	const struct nlmsghdr *request = msg->msg_iovlen ? msg->msg_iov[0].iov_base : NULL;
	int subsystem;

	if (msg->msg_iovlen != 1 || msg->msg_iov[0].iov_len < sizeof(*request))
		return false;
	subsystem = request->nlmsg_type >> 8;
	return (subsystem == NFNL_SUBSYS_CTNETLINK || subsystem == NFNL_SUBSYS_CTNETLINK_EXP) &&
	       (request->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP && is_netfilter(fd) &&
	       is_containers_netns();
}

/* In place of the kernel, at the other end of the descriptor, somebody who has said all. */
static bool answer_nothing(int fd, const struct nlmsghdr *request)
{
	struct {
		struct nlmsghdr header;
		int length;
	} done = { .header = { .nlmsg_len = sizeof(done),
			       .nlmsg_type = NLMSG_DONE,
			       .nlmsg_flags = NLM_F_MULTI,
			       .nlmsg_seq = request->nlmsg_seq } };
	int pair[2];
	bool done_it;

	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) < 0)
		return false;
	done_it = write(pair[1], &done, sizeof(done)) == sizeof(done) &&
		  dup3(pair[0], fd, O_CLOEXEC) >= 0;
	close(pair[0]);
	close(pair[1]);
	return done_it;
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	static ssize_t (*real)(int, const struct msghdr *, int);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "sendmsg");
	if (is_conntrack_dump(fd, msg) && answer_nothing(fd, msg->msg_iov[0].iov_base))
		return (ssize_t)msg->msg_iov[0].iov_len;
	return real(fd, msg, flags);
}
