// SPDX-License-Identifier: Apache-2.0
/*
 * pager_conn.c - what CRIU says to a server of lazy pages (criu/uffd.c)
 *
 * A stream without answers, of messages in the host's byte order:
 *
 *   int32 > 0   pid of a task (in its namespace); its userfaultfd follows, with a byte of its own
 *   int32 < 0   minus the pid of a zombie; nothing follows
 *   0x52535446  all tasks were handed over, and have registered their memory
 *
 * An end without the last one means that the restore failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "pager_internal.h"
#include "store.h"

#define FINISHED 0x52535446
#define PID_MAX	 4194304

int rb_pager_accept(struct rb_pager *p)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = &p->conn_fd };

	p->conn_fd = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (p->conn_fd < 0)
		return errno == EAGAIN || errno == EINTR || errno == ECONNABORTED ? 0 : -errno;
	/* our parent may have it for another moment: by closing alone it would stay in the epoll */
	epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, p->listen_fd, NULL);
	rb_close_fd(&p->listen_fd);
	return epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, p->conn_fd, &event) < 0 ? -errno : 0;
}

/* Reads at most @size bytes and one descriptor. Return: bytes, 0 at the end, negative errno. */
static ssize_t receive(int fd, void *data, size_t size, int *ret_fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { data, size };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	const struct cmsghdr *cmsg;
	ssize_t n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);

	*ret_fd = -EBADF;
	if (n < 0)
		return -errno;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS &&
	    cmsg->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(ret_fd, CMSG_DATA(cmsg), sizeof(int));
	return n;
}

static bool is_userfaultfd(int fd)
{
	char path[64], target[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = '\0';
	return strcmp(target, "anon_inode:[userfaultfd]") == 0;
}

static int take_task(struct rb_pager *p, int fd)
{
	_cleanup_close_ int own = fd;
	int flags = own >= 0 ? fcntl(own, F_GETFL) : -1, pid = p->handing;

	p->handing = 0;
	if (flags < 0 || !is_userfaultfd(own))
		return -EPROTO;
	if (rb_pager_find_task(p, pid))
		return -EPROTO;
	/* poll(2) reports only those that do not block */
	if (!(flags & O_NONBLOCK) && fcntl(own, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	p->ever++;
	return rb_pager_add_task(p, pid, TAKE_FD(own));
}

/* Pages of what was not handed over belong to nobody. */
static void forget_others(struct rb_pager *p)
{
	int number;

	for (size_t n = 0; rb_store_task(p->store, n, &number);) {
		if (rb_pager_find_task(p, number))
			n++;
		else
			rb_store_forget_task(p->store, number);
	}
}

static int take_word(struct rb_pager *p, int fd)
{
	int32_t word;

	if (fd >= 0) {
		close(fd);
		return -EPROTO;
	}
	if (p->word_bytes < sizeof(word))
		return 0;
	memcpy(&word, p->word, sizeof(word));
	p->word_bytes = 0;
	if (word == FINISHED) {
		p->finished = true;
		forget_others(p);
		rb_close_fd(&p->conn_fd);
	} else if (word > 0 && word <= PID_MAX) {
		p->handing = word;
	} else if (word < 0 && word >= -PID_MAX) {
		rb_store_forget_task(p->store, -word);
	} else {
		return -EPROTO;
	}
	return 0;
}

int rb_pager_receive(struct rb_pager *p)
{
	while (p->conn_fd >= 0) {
		bool handing = p->handing > 0;
		uint8_t byte;
		int fd, r;
		ssize_t n = handing ? receive(p->conn_fd, &byte, 1, &fd)
				    : receive(p->conn_fd, p->word + p->word_bytes,
					      sizeof(p->word) - p->word_bytes, &fd);

		if (n == -EAGAIN)
			return 0;
		if (n == -EINTR)
			continue;
		if (n <= 0) {
			p->broken = true;
			return 0;
		}
		if (!handing)
			p->word_bytes += (size_t)n;
		r = handing ? take_task(p, fd) : take_word(p, fd);
		if (r < 0)
			return r;
	}
	return 0;
}
