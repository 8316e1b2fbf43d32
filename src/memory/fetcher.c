// SPDX-License-Identifier: Apache-2.0
/* fetcher.c - a process that gets pages from the source for a pager */
#include "fetcher.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "log.h"
#include "proc.h"
#include "ranges.h"
#include "record.h"
#include "unpack.h"
#include "wait.h"

enum { AGAIN_MS = 50, AGAIN_MAX_MS = 1000 };

/* A list of wants, and how much of it has come. */
struct order {
	int fd, store_fd;
	bool urgent;
	struct rb_want wants[RB_WANTS_MAX];
	size_t n, at;  /* wants before @at are complete, and of that one */
	uint32_t come; /* pages */
	struct rb_unpacker unpacker;
};

static int tell(const struct order *order, uint32_t slot, uint32_t pages)
{
	struct rb_fetched fetched = { slot, pages };

	return send(order->fd, &fetched, sizeof(fetched), MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* As many pages of the record from @skip on as belong to one want. Return: their number. */
static int take_run(struct order *order, const struct rb_record *record, const uint8_t *data,
		    uint32_t skip, struct rb_err *err)
{
	const struct rb_want *want = &order->wants[order->at];
	uint64_t addr = record->addr + (uint64_t)skip * RB_PAGE_SIZE;
	uint32_t slot, pages;
	int r = 0;

	if (order->at == order->n || record->task != want->task ||
	    addr != want->addr + (uint64_t)order->come * RB_PAGE_SIZE)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "a page came that was not asked for");
	slot = want->slot + order->come;
	pages = want->pages - order->come;
	if (pages > record->count - skip)
		pages = record->count - skip;
	/* a page of zeros is a hole in the file */
	if (data)
		r = rb_pwrite_all(order->store_fd, data + (size_t)skip * RB_PAGE_SIZE,
				  (size_t)pages * RB_PAGE_SIZE, (off_t)slot * RB_PAGE_SIZE);
	if (r >= 0)
		r = tell(order, slot, pages);
	if (r < 0)
		return rb_err_set(err, r, "keep pages that have come");
	order->come += pages;
	if (order->come == want->pages) {
		order->at++;
		order->come = 0;
	}
	return (int)pages;
}

static int take(void *taker, const void *block, size_t len, struct rb_err *err)
{
	struct order *order = taker;
	const uint8_t *at = block;

	while (len) {
		struct rb_record record;
		const uint8_t *data = NULL;
		ssize_t n = rb_record_decode(at, len, &record, err);

		if (n < 0)
			return (int)n;
		if (record.kind != RB_RECORD_DATA && record.kind != RB_RECORD_ZERO)
			return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
					   "the source sends what is no page");
		if (record.kind == RB_RECORD_DATA) {
			int r = rb_unpack(&order->unpacker, NULL, &record, &data, err);

			if (r < 0)
				return r;
		}
		for (uint32_t done = 0; done < record.count;) {
			int r = take_run(order, &record, data, done, err);

			if (r < 0)
				return r;
			done += (uint32_t)r;
		}
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static void forget_what_came(struct order *order)
{
	struct rb_want *first;

	memmove(order->wants, order->wants + order->at,
		(order->n - order->at) * sizeof(order->wants[0]));
	order->n -= order->at;
	order->at = 0;
	first = &order->wants[0];
	first->slot += order->come;
	first->addr += (uint64_t)order->come * RB_PAGE_SIZE;
	first->pages -= order->come;
	order->come = 0;
}

/* Return: 0 when all has come, negative errno when it never will */
static int fetch(const struct rb_page_source *source, struct order *order)
{
	for (int wait_ms = AGAIN_MS;;) {
		struct rb_err why = {};
		int r = source->fetch(source->arg, order->urgent, order->wants, order->n, take,
				      order, &why);

		if (r >= 0 && order->at < order->n)
			r = rb_err_code(&why, RB_E_PROTOCOL, -EPROTO,
					"the source sent less than it was asked for");
		if (r >= 0)
			return 0;
		if (r == -ESRCH) {
			rb_error("fetch: %s", why.msg);
			return r;
		}
		if (order->at || order->come)
			wait_ms = AGAIN_MS;
		if (wait_ms == AGAIN_MS)
			rb_warn("fetch: %s; the container waits for its memory", why.msg);
		forget_what_came(order);
		rb_wait_ms(wait_ms, NULL, NULL);
		wait_ms = wait_ms * 2 < AGAIN_MAX_MS ? wait_ms * 2 : AGAIN_MAX_MS;
	}
}

/* Whatever waits is fetched in one go: each call costs a way there and back. Return: false at the
 * end */
static bool receive(struct order *order)
{
	ssize_t n;

	order->n = order->at = order->come = 0;
	do {
		n = recv(order->fd, order->wants + order->n,
			 sizeof(order->wants) - order->n * sizeof(order->wants[0]),
			 order->n ? MSG_DONTWAIT : 0);
		if (n > 0)
			order->n += (size_t)n / sizeof(order->wants[0]);
	} while (order->urgent &&
		 (n > 0 ? order->n + RB_WANTS_URGENT <= RB_WANTS_MAX : n < 0 && errno == EINTR));
	return order->n > 0 || (n < 0 && errno == EINTR);
}

_Noreturn static void run(const struct rb_page_source *source, bool urgent, int fd, int store_fd)
{
	static struct order order;
	int fds[] = { fd, store_fd };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, urgent ? "reberth-fetch" : "reberth-stream");
	signal(SIGPIPE, SIG_IGN);
	order.fd = fd;
	order.store_fd = store_fd;
	if (rb_close_others(fds, ARRAY_SIZE(fds)) < 0)
		_exit(1);
	order.urgent = urgent;
	while (receive(&order))
		if (order.n && fetch(source, &order) < 0)
			tell(&order, 0, 0);
	_exit(0);
}

int rb_fetcher_start(const struct rb_page_source *source, int store_fd, bool urgent,
		     struct rb_fetcher *ret)
{
	_cleanup_close_ int ours = -EBADF;
	int fds[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	ours = fds[0];
	pid = fork();
	if (pid == 0)
		run(source, urgent, fds[1], store_fd);
	close(fds[1]);
	if (pid < 0)
		return -errno;
	*ret = (struct rb_fetcher){ pid, TAKE_FD(ours) };
	return 0;
}

int rb_fetcher_ask(const struct rb_fetcher *fetcher, const struct rb_want *wants, size_t n)
{
	if (send(fetcher->fd, wants, n * sizeof(*wants), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		return 0;
	return errno == ENOBUFS ? -EAGAIN : -errno;
}

void rb_fetcher_end(struct rb_fetcher *fetcher)
{
	rb_close_fd(&fetcher->fd);
	fetcher->pid = 0;
}
