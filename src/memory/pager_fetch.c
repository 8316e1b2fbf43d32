// SPDX-License-Identifier: Apache-2.0
/*
 * pager_fetch.c - pages that are still at the source, where the container stands frozen
 *
 * One fetcher gets what threads wait for, another one all the rest, so that neither has to wait
 * for the other's list. The rest is asked for in portions, from where the last fault was on. What
 * has come is placed at once: the store holds little more than what is on its way.
 *
 * A page may come twice, by both. Its slot is not used for anything else, so that does no harm;
 * the second copy is given back.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "log.h"
#include "pager_internal.h"
#include "ranges.h"
#include "store.h"
#include "wait.h"

enum {
	NEAR_PAGES = 16, /* that are fetched with one that is waited for; behind it most of them */
	BEFORE_PAGES = 2,
	PORTION_PAGES = 4096,
	TELL_PAGES = 2048,
	REPLACE_MS = 100,
};

static const char *const names[] = { "urgent", "stream" };

bool rb_pager_fetches(const struct rb_pager *p)
{
	return p->source_fd >= 0 && rb_store_expected(p->store)->left > 0;
}

static int start_one(struct rb_pager *p, int which)
{
	struct rb_fetcher *fetcher = &p->fetchers[which];
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = fetcher };
	int r;

	/* its copies would cost memory with every page that is placed */
	rb_store_dontfork(p->store);
	r = rb_fetcher_start(&p->source, rb_store_fd(p->store), which == RB_PAGER_URGENT, fetcher);
	if (r >= 0 && epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, fetcher->fd, &event) < 0) {
		r = -errno;
		rb_fetcher_end(fetcher);
	}
	if (r < 0)
		fetcher->pid = 0;
	return r;
}

int rb_pager_start_fetchers(struct rb_pager *p)
{
	int r = 0;

	if (!rb_pager_fetches(p))
		return 0;
	for (int i = 0; r >= 0 && i < RB_PAGER_FETCHERS; i++)
		r = start_one(p, i);
	return r;
}

static void end_one(struct rb_pager *p, struct rb_fetcher *fetcher)
{
	epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, fetcher->fd, NULL);
	rb_fetcher_end(fetcher);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

static int retry_waits(struct rb_pager *p)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < p->n_tasks; i++)
		r = rb_pager_retry_waits(p->tasks[i]);
	return r;
}

/* One that died is followed by another one, which is asked for all of it again. */
static int bury(struct rb_pager *p, struct rb_fetcher *fetcher)
{
	rb_warn("pager: the process that fetches memory (%s) ended", names[fetcher - p->fetchers]);
	end_one(p, fetcher);
	rb_expected_forget_asked(rb_store_expected(p->store));
	p->streaming = 0;
	return retry_waits(p);
}

/* Not at once: whatever it dies of may last. */
static void replace_dead(struct rb_pager *p)
{
	int64_t now_ms = rb_now_ms();

	for (int i = 0; i < RB_PAGER_FETCHERS; i++) {
		if (p->fetchers[i].pid || now_ms - p->replaced_ms[i] < REPLACE_MS)
			continue;
		p->replaced_ms[i] = now_ms;
		/* what cannot be now is tried again */
		start_one(p, i);
	}
}

static int ask(struct rb_pager *p, int which, const struct rb_want *wants, size_t n)
{
	int r = !n			 ? 0
		: p->fetchers[which].pid ? rb_fetcher_ask(&p->fetchers[which], wants, n)
					 : -EAGAIN;

	if (r < 0)
		rb_expected_give_back(rb_store_expected(p->store), wants, n);
	/* its end is heard of by the epoll */
	return r == -EPIPE || r == -ECONNRESET ? -EAGAIN : r;
}

int rb_pager_fetch(struct rb_pager *p, struct rb_pager_task *task, uint64_t addr)
{
	struct rb_expected *expected = rb_store_expected(p->store);
	struct rb_want wants[RB_WANTS_URGENT];
	uint32_t slot, from;
	size_t n;
	int r;

	if (rb_store_missing(p->store, task->number, addr, 1, &slot) == 0)
		return -EAGAIN;
	/* the page itself before all others */
	n = rb_expected_urgent(expected, slot, 1, wants, 1);
	from = slot - expected->first < BEFORE_PAGES ? expected->first : slot - BEFORE_PAGES;
	if (n)
		n += rb_expected_urgent(expected, from, NEAR_PAGES, wants + 1, RB_WANTS_URGENT - 1);
	r = ask(p, RB_PAGER_URGENT, wants, n);
	if (r < 0)
		return r;
	if (n)
		p->stream_next = from + NEAR_PAGES;
	return rb_pager_note(&task->waits, addr);
}

/* Where they were at the source; what was moved since, or belongs to a child as well, is placed
 * when more is here. */
static void place(struct rb_pager *p, uint32_t slot, uint32_t pages)
{
	struct rb_want at;

	for (; pages && rb_expected_origin(rb_store_expected(p->store), slot, pages, &at);
	     slot += at.pages, pages -= at.pages) {
		struct rb_pager_task *task = rb_pager_find_task(p, at.task);
		uint32_t done = 0;

		while (task && done < at.pages) {
			int r = rb_pager_place(p, task, at.addr + (uint64_t)done * RB_PAGE_SIZE,
					       at.pages - done);

			/* what is wrong shows up again */
			if (r < 0)
				break;
			done += r ? (uint32_t)r : 1;
		}
	}
}

static int have_come(struct rb_pager *p, const struct rb_fetcher *fetcher,
		     const struct rb_fetched *fetched)
{
	if (fetched->pages == 0) {
		rb_warn("pager: the container is killed: memory of it was lost with its source");
		p->lost = p->broken = true;
		return 0;
	}
	if (rb_store_come(p->store, fetched->slot, fetched->pages) < 0)
		return -EPROTO;
	if (fetcher == &p->fetchers[RB_PAGER_STREAM])
		p->streaming -= fetched->pages < p->streaming ? fetched->pages : p->streaming;
	if (p->released && p->finished) {
		place(p, fetched->slot, fetched->pages);
		p->unswept += fetched->pages;
	}
	return 0;
}

int rb_pager_read_fetcher(struct rb_pager *p, struct rb_fetcher *fetcher)
{
	for (;;) {
		struct rb_fetched fetched;
		ssize_t n = recv(fetcher->fd, &fetched, sizeof(fetched), MSG_DONTWAIT);
		int r;

		if (n < 0 && errno == EAGAIN)
			return retry_waits(p);
		if (n < 0 && errno == EINTR)
			continue;
		if (n != sizeof(fetched))
			return bury(p, fetcher);
		r = have_come(p, fetcher, &fetched);
		if (r < 0 || p->lost)
			return r;
	}
}

static void tell_left(struct rb_pager *p)
{
	uint64_t left = rb_store_expected(p->store)->left;
	char text[32];

	if (p->told_left && left < p->told_left && p->told_left - left < TELL_PAGES)
		return;
	p->told_left = left;
	snprintf(text, sizeof(text), "%-20llu\n", (unsigned long long)left * RB_PAGE_SIZE);
	(void)!pwrite(p->source_fd, text, strlen(text), 0);
}

void rb_pager_leave_source(struct rb_pager *p)
{
	if (p->source_fd < 0)
		return;
	for (int i = 0; i < RB_PAGER_FETCHERS; i++)
		if (p->fetchers[i].pid)
			end_one(p, &p->fetchers[i]);
	unlink(p->source_path);
	flock(p->source_fd, LOCK_UN);
	rb_close_fd(&p->source_fd);
}

int rb_pager_stream(struct rb_pager *p)
{
	static struct rb_want wants[RB_WANTS_MAX];
	int r = 0;

	if (p->source_fd < 0 || p->broken)
		return 0;
	if (!rb_pager_fetches(p)) {
		rb_pager_leave_source(p);
		return 0;
	}
	tell_left(p);
	replace_dead(p);
	if (p->released && p->finished && (p->sweeping || p->unswept >= PORTION_PAGES)) {
		p->unswept = 0;
		r = rb_pager_place_here(p);
		p->sweeping = r > 0;
	}
	while (p->released && p->finished && r >= 0 && p->streaming < PORTION_PAGES) {
		uint32_t pages = 0;
		size_t n = rb_expected_next(rb_store_expected(p->store), &p->stream_next,
					    PORTION_PAGES, wants, RB_WANTS_MAX);

		if (!n)
			return 0;
		r = ask(p, RB_PAGER_STREAM, wants, n);
		for (size_t i = 0; r >= 0 && i < n; i++)
			pages += wants[i].pages;
		p->streaming += pages;
	}
	return r == -EAGAIN ? 0 : r;
}
