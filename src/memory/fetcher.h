/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetcher.h - a process that gets pages from the source for a pager
 *
 * The pager must not wait for a network, so others do that for it: it sends lists of wants
 * (expected.h) over a socket that keeps their bounds, and hears, over the same one, what has come.
 * The pages are written into the store's file. A link that breaks is the fetcher's affair: it tries
 * again until all is there, or the source says that it is lost.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "expected.h"

struct rb_err;

#define RB_WANTS_MAX	1024 /* in one message */
#define RB_WANTS_URGENT 16   /* the same, where a thread waits */

/** Where pages come from. */
struct rb_page_source {
	/**
	 * fetch - get all of @wants, in their order
	 * @urgent: a thread waits for them
	 * @take: is given blocks of records (record.h) as they come
	 *
	 * Is called in the fetcher's process, which has @arg as it was in the pager's.
	 *
	 * Return: 0; -ESRCH when they are lost for good; another negative errno: may be tried
	 * again.
	 */
	int (*fetch)(void *arg, bool urgent, const struct rb_want *wants, size_t n,
		     int (*take)(void *taker, const void *block, size_t len, struct rb_err *err),
		     void *taker, struct rb_err *err);
	void *arg;
};

/** What a fetcher says. */
struct rb_fetched {
	uint32_t slot, pages; /* have come; no pages: all are lost for good */
};

struct rb_fetcher {
	pid_t pid;
	int fd; /* SOCK_SEQPACKET; its end is the fetcher's end */
};

/**
 * rb_fetcher_start - start one
 * @store_fd: rb_store_fd()
 *
 * It ends with the process that started it. Return: 0, negative errno.
 */
int rb_fetcher_start(const struct rb_page_source *source, int store_fd, bool urgent,
		     struct rb_fetcher *ret);

/** rb_fetcher_ask - hand over @n wants. Return: 0; -EAGAIN when it has too much to do; -EPIPE when
 * it is gone */
int rb_fetcher_ask(const struct rb_fetcher *fetcher, const struct rb_want *wants, size_t n);

/** rb_fetcher_end - let it end; is not waited for */
void rb_fetcher_end(struct rb_fetcher *fetcher);
