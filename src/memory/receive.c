// SPDX-License-Identifier: Apache-2.0
/* receive.c - the memory of a container on the target, on its way into the store */
#include "receive.h"

#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"
#include "err.h"
#include "objects.h"
#include "record.h"
#include "ranges.h"
#include "store.h"
#include "unpack.h"

#define TASKS_MAX  65536
#define RANGES_MAX (UINT32_C(1) << 24)

struct task {
	int number;
	bool kept; /* in the last round */
};

struct rb_receiver {
	struct rb_store *store;
	struct rb_objects *objects;
	uint64_t limit; /* pages */
	struct task *tasks;
	size_t n;
	bool last, complete;
	int keeping; /* task whose ranges are being listed, or 0 */
	struct rb_ranges keep;
	struct rb_unpacker unpacker;
};

int rb_receiver_new(struct rb_receiver **ret, struct rb_err *err)
{
	struct rb_receiver *receiver = calloc(1, sizeof(*receiver));
	int r = receiver ? rb_store_new(&receiver->store, err)
			 : rb_err_set(err, -ENOMEM, "receive memory");

	if (r >= 0)
		r = rb_objects_new(&receiver->objects, err);
	if (r < 0) {
		rb_receiver_free(receiver);
		return r;
	}
	receiver->limit = UINT64_MAX;
	*ret = receiver;
	return 0;
}

void rb_receiver_free(struct rb_receiver *receiver)
{
	if (!receiver)
		return;
	rb_store_free(receiver->store);
	rb_objects_free(receiver->objects);
	rb_ranges_free(&receiver->keep);
	rb_unpacker_clear(&receiver->unpacker);
	free(receiver->tasks);
	free(receiver);
}

void rb_receiver_limit(struct rb_receiver *receiver, uint64_t bytes)
{
	receiver->limit = bytes / RB_PAGE_SIZE;
}

void rb_receiver_begin(struct rb_receiver *receiver, bool last)
{
	receiver->last = last;
	receiver->complete = false;
	receiver->keeping = 0;
	rb_ranges_clear(&receiver->keep);
	for (size_t i = 0; i < receiver->n; i++)
		receiver->tasks[i].kept = false;
	rb_objects_begin(receiver->objects);
}

static struct task *find_task(struct rb_receiver *receiver, int number)
{
	struct task *tasks;

	/* records of a task follow each other */
	for (size_t i = receiver->n; i > 0; i--)
		if (receiver->tasks[i - 1].number == number)
			return &receiver->tasks[i - 1];
	if (receiver->n >= TASKS_MAX)
		return NULL;
	tasks = realloc(receiver->tasks, (receiver->n + 1) * sizeof(*tasks));
	if (!tasks)
		return NULL;
	receiver->tasks = tasks;
	tasks[receiver->n] = (struct task){ .number = number };
	return &tasks[receiver->n++];
}

/* @more: pages that are not in the store yet */
static int check_limit(const struct rb_receiver *receiver, uint64_t more, struct rb_err *err)
{
	if (rb_receiver_pages(receiver) + more <= receiver->limit)
		return 0;
	return rb_err_code(err, RB_E_REFUSED, -ENOSPC,
			   "the container's memory has grown beyond what its host announced, "
			   "or what is available here (%llu MiB): try again",
			   (unsigned long long)(receiver->limit * RB_PAGE_SIZE >> 20));
}

static int keep(struct rb_receiver *receiver, struct task *task, const struct rb_record *record,
		struct rb_err *err)
{
	if (!receiver->last || (receiver->keeping && receiver->keeping != task->number) ||
	    receiver->keep.n + record->count > RANGES_MAX)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "a list of pages makes no sense");
	receiver->keeping = task->number;
	for (uint32_t i = 0; i < record->count; i++) {
		struct rb_range range = rb_record_range(record, i);

		if (receiver->keep.n && range.start < receiver->keep.list[receiver->keep.n - 1].end)
			return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
					   "a list of pages is not in order");
		if (rb_ranges_add(&receiver->keep, range.start, range.end) < 0)
			return rb_err_set(err, -ENOMEM, "receive memory");
	}
	if (record->kind == RB_RECORD_KEEP_MORE)
		return 0;
	receiver->keeping = 0;
	task->kept = true;
	if (rb_store_keep_only(receiver->store, task->number, &receiver->keep, err) < 0)
		return -ENOMEM;
	rb_ranges_clear(&receiver->keep);
	return 0;
}

static int expect(struct rb_receiver *receiver, const struct rb_record *record, struct rb_err *err)
{
	_cleanup_(rb_ranges_free) struct rb_ranges later = {};
	int r = 0;

	if (!receiver->last || receiver->keeping)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "a list of pages makes no sense");
	for (uint32_t i = 0; r >= 0 && i < record->count; i++) {
		struct rb_range range = rb_record_range(record, i);

		rb_store_drop(receiver->store, record->task, range.start,
			      (range.end - range.start) / RB_PAGE_SIZE);
		r = rb_ranges_add(&later, range.start, range.end);
	}
	if (r < 0)
		return rb_err_set(err, r, "receive memory");
	/* before: it may be any size */
	r = check_limit(receiver, rb_ranges_bytes(&later) / RB_PAGE_SIZE, err);
	return r < 0 ? r : rb_store_expect(receiver->store, record->task, &later, err);
}

static int put(struct rb_receiver *receiver, const struct rb_record *record, struct rb_err *err)
{
	const uint8_t *pages;
	int r = rb_unpack(&receiver->unpacker, receiver->store, record, &pages, err);

	if (r >= 0)
		r = rb_store_put(receiver->store, record->task, record->addr, pages, record->count,
				 err);
	/* afterwards: what is written over takes nothing */
	return r < 0 ? r : check_limit(receiver, 0, err);
}

static int apply_shared(struct rb_receiver *receiver, const struct rb_record *record,
			struct rb_err *err)
{
	struct rb_record plain = *record;
	int r = 0;

	if (record->kind == RB_RECORD_DATA)
		r = rb_unpack(&receiver->unpacker, NULL, record, &plain.payload, err);
	if (record->kind == RB_RECORD_DATA)
		plain.len = record->count * RB_PAGE_SIZE;
	if (r >= 0)
		r = rb_objects_take(receiver->objects, &plain, err);
	return r < 0 ? r : check_limit(receiver, 0, err);
}

static int apply(struct rb_receiver *receiver, const struct rb_record *record, struct rb_err *err)
{
	struct task *task;

	if (record->shared)
		return apply_shared(receiver, record, err);
	task = find_task(receiver, record->task);
	if (!task)
		return rb_err_set(err, -ENOMEM, "receive memory");
	switch (record->kind) {
	case RB_RECORD_DATA:
		return put(receiver, record, err);
	case RB_RECORD_ZERO:
		rb_store_drop(receiver->store, record->task, record->addr, record->count);
		return 0;
	case RB_RECORD_LATER:
		return expect(receiver, record, err);
	default:
		return keep(receiver, task, record, err);
	}
}

int rb_receiver_take(struct rb_receiver *receiver, const void *block, size_t len,
		     struct rb_err *err)
{
	const uint8_t *at = block;

	while (len) {
		struct rb_record record;
		ssize_t n = rb_record_decode(at, len, &record, err);
		int r = n < 0 ? (int)n : apply(receiver, &record, err);

		if (r < 0)
			return r;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int rb_receiver_end(struct rb_receiver *receiver, struct rb_err *err)
{
	if (receiver->keeping)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "a list of pages is cut short");
	rb_objects_keep(receiver->objects);
	if (!receiver->last)
		return 0;
	for (size_t i = 0; i < receiver->n; i++)
		if (!receiver->tasks[i].kept)
			rb_store_forget_task(receiver->store, receiver->tasks[i].number);
	receiver->complete = true;
	return 0;
}

bool rb_receiver_complete(const struct rb_receiver *receiver)
{
	return receiver->complete;
}

struct rb_store *rb_receiver_store(struct rb_receiver *receiver)
{
	return receiver->store;
}

struct rb_objects *rb_receiver_objects(struct rb_receiver *receiver)
{
	return receiver->objects;
}

uint64_t rb_receiver_pages(const struct rb_receiver *receiver)
{
	return rb_store_total(receiver->store) + rb_objects_pages(receiver->objects);
}
