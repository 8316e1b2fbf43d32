// SPDX-License-Identifier: Apache-2.0
/*
 * criu_quick.c - preloaded into CRIU, too: what costs time while the container stands still, and
 * does nothing
 *
 * Action scripts: CRIU starts the script for each of a dozen actions, of which we want three. The
 * process that it has forked for that ends at once instead, or becomes the program that the script
 * would have started, or does what that would have done (criu_tell.c). Beside the script stands, in
 *a file "action.list",
 *
 *	line 1	the actions that are wanted, each between blanks
 *	line 2	a file whose presence has the script asked nevertheless (fault points)
 *	line 3	the program, and
 *	line 4	its argument behind "criu-action"
 *	line 5	a file to be made for action "post-resume", or nothing
 *
 * tar: CRIU starts it for each tmpfs. What its process can do by itself (tmpfs.c) it does.
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
#include <unistd.h>

#include "criu_tell.h"
#include "tmpfs.h"

#define EXPORT __attribute__((visibility("default")))

/* --- action scripts --- */

enum { LINES = 5 };

static bool read_list(const char *script, char *text, size_t size, char *ret[LINES])
{
	char path[4096], *at = text;
	size_t len = strlen(script);
	ssize_t n;
	int fd;

	if (len < 10 || strcmp(script + len - 10, "/action.sh") != 0 ||
	    snprintf(path, sizeof(path), "%.*s.list", (int)len - 3, script) >= (int)sizeof(path))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, size - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	for (int i = 0; i < LINES; i++) {
		char *end = strchr(at, '\n');

		if (!end)
			return false;
		*end = '\0';
		ret[i] = at;
		at = end + 1;
	}
	return true;
}

/* Does not return when it has done what the script would have done. */
static void act(char *lines[LINES])
{
	const char *action = getenv("CRTOOLS_SCRIPT_ACTION");
	char word[64];

	if (!action || snprintf(word, sizeof(word), " %s ", action) >= (int)sizeof(word) ||
	    access(lines[1], F_OK) == 0)
		return;
	if (strstr(lines[0], word)) {
		if (strcmp(action, "post-dump") == 0)
			_exit(tell_server(lines[3], action));
		execl(lines[2], lines[2], "criu-action", lines[3], NULL);
		return;
	}
	if (lines[4][0] && strcmp(action, "post-resume") == 0 &&
	    open(lines[4], O_WRONLY | O_CREAT | O_CLOEXEC, 0600) < 0)
		return;
	_exit(0);
}

/* Likewise, of what tar would have done. */
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
	char text[16384], *lines[LINES];

	if (read_list(file, text, sizeof(text), lines))
		act(lines);
	if (strcmp(file, "tar") == 0)
		save_tmpfs(argv);
	*(void **)&real = dlsym(RTLD_NEXT, "execvp");
	return real(file, argv);
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
