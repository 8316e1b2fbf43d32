// SPDX-License-Identifier: Apache-2.0
/*
 * track_softdirty.c - dirty pages by soft-dirty bits
 *
 * For kernels without PAGEMAP_SCAN (before 6.7) that have CONFIG_MEM_SOFT_DIRTY
 * (Documentation/admin-guide/mm/soft-dirty.rst). Reading the bits and clearing them are two steps,
 * and what is written between them would be lost: so the process is stopped for both, by a child
 * that holds all threads by ptrace and changes nothing in them. Should it be killed, or a thread
 * not stop, all is dirty. A process that shares the memory without being a thread (between vfork(2)
 * and exec(2)) is not held, but its parent's thread does not stop as long as it is there.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "pages.h"
#include "ranges.h"
#include "stop.h"
#include "track_ops.h"
#include "vmas.h"
#include "wait.h"

enum { STOP_MS = 2000 };

struct state {
	pid_t pid;
	bool cleared; /* the bits count from a time that we know */
};

/* A child that holds all threads of a process. */
struct holder {
	pid_t child;
	int sock;
};

static void hold(pid_t pid, int sock)
{
	struct rb_wait wait = rb_wait_within(NULL, STOP_MS);
	struct rb_stop stop = {};
	char byte = 'n';

	if (rb_stop_process(pid, NULL, &stop, &wait, NULL) == 0 && rb_stop_is_complete(&stop))
		byte = 'y';
	if (send(sock, &byte, 1, MSG_NOSIGNAL) == 1 && read(sock, &byte, 1) == 1)
		(void)!send(sock, "y", 1, MSG_NOSIGNAL);
	_exit(0);
}

static bool says_yes(int sock)
{
	char byte = 0;

	return read(sock, &byte, 1) == 1 && byte == 'y';
}

/* Return: does it hold the process? */
static bool start_holding(pid_t pid, struct holder *ret)
{
	int sock[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock) < 0)
		return false;
	ret->child = fork();
	if (ret->child == 0) {
		close(sock[0]);
		hold(pid, sock[1]);
	}
	close(sock[1]);
	ret->sock = sock[0];
	return ret->child > 0 && says_yes(ret->sock);
}

/* Return: did it hold the process until now? */
static bool end_holding(struct holder *holder)
{
	bool held = holder->child > 0 && send(holder->sock, "e", 1, MSG_NOSIGNAL) == 1 &&
		    says_yes(holder->sock);

	rb_close_fd(&holder->sock);
	if (holder->child > 0)
		waitpid(holder->child, NULL, 0);
	return held;
}

static int clear_bits(pid_t pid)
{
	char path[64];
	_cleanup_close_ int fd = -EBADF;

	snprintf(path, sizeof(path), "/proc/%d/clear_refs", (int)pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 || write(fd, "4", 1) < 0 ? -errno : 0;
}

static int list(pid_t pid, struct rb_ranges *ret, struct rb_err *err)
{
	_cleanup_free_ struct rb_vma *vmas = NULL;
	_cleanup_(rb_pages_close) struct rb_pages pages = { .fd = -EBADF };
	int r = rb_pages_open(pid, &pages, err), count;

	if (r < 0)
		return r;
	count = rb_vmas_read(pid, &vmas, err);
	if (count < 0)
		return count;
	for (int i = 0; r == 0 && i < count; i++) {
		uint64_t pos = vmas[i].start;

		if (vmas[i].ours)
			r = rb_pages_list(&pages, RB_PAGES_SOFT_DIRTY, &pos, vmas[i].end, ret);
	}
	return r < 0 && r != -ESRCH ? rb_err_set(err, r, "list the pages of process %d", (int)pid)
				    : r;
}

static int soft_dirty_arm(pid_t pid, void **ret, const struct rb_wait *wait, struct rb_err *err)
{
	struct state *state = malloc(sizeof(*state));

	(void)wait;
	if (!state)
		return rb_err_set(err, -ENOMEM, "follow process %d", (int)pid);
	*state = (struct state){ .pid = pid };
	*ret = state;
	return 0;
}

static int soft_dirty_scan(void *data, bool rearm, struct rb_ranges *ret_dirty, struct rb_err *err)
{
	_cleanup_(rb_ranges_free) struct rb_ranges written = {};
	struct holder holder = { .sock = -EBADF };
	struct state *state = data;
	bool held;
	int r;

	if (!rearm)
		return state->cleared ? list(state->pid, ret_dirty, err)
				      : rb_populated(state->pid, ret_dirty, err);
	held = start_holding(state->pid, &holder);
	r = held && state->cleared ? list(state->pid, &written, err) : 0;
	if (r == 0 && held)
		r = clear_bits(state->pid);
	held = end_holding(&holder) && held;
	if (r == -ESRCH)
		return r;
	if (r < 0 || !held || !state->cleared) {
		state->cleared = r == 0 && held;
		return rb_populated(state->pid, ret_dirty, err);
	}
	for (size_t i = 0; r == 0 && i < written.n; i++)
		r = rb_ranges_add(ret_dirty, written.list[i].start, written.list[i].end);
	return r;
}

static int soft_dirty_look(void *data, const struct rb_vma *vmas, int count,
			   struct rb_ranges *ret_dirty, struct rb_ranges *ret_populated,
			   struct rb_err *err)
{
	_cleanup_(rb_pages_close) struct rb_pages pages = { .fd = -EBADF };
	struct state *state = data;
	int r;

	if (!state->cleared)
		return rb_tracker_look(NULL, state->pid, vmas, count, ret_dirty, ret_populated,
				       err);
	r = rb_pages_open(state->pid, &pages, err);
	if (r < 0)
		return r;
	for (int i = 0; r == 0 && i < count; i++) {
		uint64_t pos = vmas[i].start;

		if (vmas[i].ours)
			r = rb_pages_list_both(&pages, RB_PAGES_SOFT_DIRTY, &pos, vmas[i].end,
					       ret_dirty, ret_populated);
	}
	return r < 0 && r != -ESRCH
		       ? rb_err_set(err, r, "list the pages of process %d", (int)state->pid)
		       : r;
}

/* The bit of a page that was written just now; without the option it is never set. */
static bool soft_dirty_supported(void)
{
	const size_t size = (size_t)sysconf(_SC_PAGESIZE);
	_cleanup_(rb_pages_close) struct rb_pages pages = { .fd = -EBADF };
	_cleanup_(rb_ranges_free) struct rb_ranges ranges = {};
	volatile unsigned char *page =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t pos = (uint64_t)(uintptr_t)page;
	bool good;

	if (page == MAP_FAILED)
		return false;
	*page = 1;
	good = rb_pages_open(getpid(), &pages, NULL) == 0 &&
	       rb_pages_list(&pages, RB_PAGES_SOFT_DIRTY, &pos, pos + size, &ranges) == 0 &&
	       rb_ranges_bytes(&ranges) == size;
	munmap((void *)page, size);
	return good;
}

const struct rb_tracker_ops rb_track_soft_dirty = {
	.name = "soft-dirty",
	.supported = soft_dirty_supported,
	.arm = soft_dirty_arm,
	.scan = soft_dirty_scan,
	.look = soft_dirty_look,
	.free = free,
};
