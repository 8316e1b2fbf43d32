// SPDX-License-Identifier: Apache-2.0
/*
 * test_store.c - the page store, by itself and against a simple model of it
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "err.h"
#include "ranges.h"
#include "store.h"
#include "tap.h"
#include "wait.h"

#define MIB   ((uint64_t)1 << 20)
#define PAGE  ((uint64_t)RB_PAGE_SIZE)
#define BASE  UINT64_C(0x7f0000000000)
#define STEPS 20000

static struct rb_err err;
static uint64_t words[2048 * RB_PAGE_SIZE / 8];

/* @n pages that say who they are; the same in every word of a page. */
static const void *filled(uint64_t value, size_t n)
{
	for (size_t i = 0; i < n * PAGE / 8; i++)
		words[i] = value + i / (PAGE / 8);
	return words;
}

/* What a page says; 0 when it is not there, all ones when it is torn. */
static uint64_t value_at(const struct rb_store *store, int task, uint64_t addr)
{
	const uint64_t *page = rb_store_find(store, task, addr, 1, NULL);

	for (size_t i = 1; page && i < PAGE / 8; i++)
		if (page[i] != page[0])
			return UINT64_MAX;
	return page ? page[0] : 0;
}

static uint64_t blocks_bytes(const struct rb_store *store)
{
	struct stat st;

	return fstat(rb_store_fd(store), &st) == 0 ? (uint64_t)st.st_blocks * 512 : UINT64_MAX;
}

static void ranges_join(void)
{
	struct rb_ranges ranges = {};

	CHECK_INT(rb_ranges_add(&ranges, 0x1000, 0x3000), 0);
	CHECK_INT(rb_ranges_add(&ranges, 0x3000, 0x4000), 0);
	CHECK_INT(rb_ranges_add(&ranges, 0x5000, 0x5000), 0);
	CHECK_INT(ranges.n, 1);
	for (uint64_t i = 0; i < 1000; i++)
		CHECK_INT(rb_ranges_add(&ranges, 0x10000 + i * 0x2000, 0x11000 + i * 0x2000), 0);
	CHECK_INT(ranges.n, 1001);
	CHECK_INT(rb_ranges_bytes(&ranges), 0x3000 + 1000 * 0x1000);
	rb_ranges_clear(&ranges);
	CHECK_INT(rb_ranges_bytes(&ranges), 0);
	rb_ranges_free(&ranges);
	CHECK(!ranges.list);
}

static void puts_and_finds(void)
{
	struct rb_store *store = NULL;
	size_t run = 0;

	CHECK_INT(rb_store_new(&store, &err), 0);
	CHECK(!rb_store_find(store, 1, BASE, 1, &run));
	CHECK_INT(rb_store_put(store, 1, BASE + PAGE, filled(100, 200), 200, &err), 0);
	CHECK(!rb_store_find(store, 1, BASE, 1, &run));
	CHECK(!rb_store_find(store, 2, BASE + PAGE, 1, &run));
	CHECK(rb_store_find(store, 1, BASE + PAGE, 1000, &run) != NULL);
	CHECK_INT(run, 200);
	CHECK(rb_store_find(store, 1, BASE + 101 * PAGE, 7, &run) != NULL);
	CHECK_INT(run, 7);
	for (uint64_t i = 0; i < 200; i++)
		CHECK_INT(value_at(store, 1, BASE + (1 + i) * PAGE), 100 + i);
	CHECK_INT(rb_store_put(store, 1, BASE + 50 * PAGE, filled(7000, 100), 100, &err), 0);
	CHECK_INT(rb_store_pages(store, 1), 200);
	CHECK_INT(value_at(store, 1, BASE + 49 * PAGE), 148);
	CHECK_INT(value_at(store, 1, BASE + 50 * PAGE), 7000);
	CHECK_INT(value_at(store, 1, BASE + 149 * PAGE), 7099);
	CHECK_INT(value_at(store, 1, BASE + 150 * PAGE), 249);
	/* written over in place: no more memory than before */
	CHECK_INT(blocks_bytes(store), 200 * PAGE);
	CHECK_INT(rb_store_memory(store), 200 * PAGE);
	rb_store_free(store);
	rb_store_free(NULL);
}

static void next_is_the_most_recent(void)
{
	struct rb_store *store = NULL;
	uint64_t addr = 0;

	CHECK_INT(rb_store_new(&store, &err), 0);
	CHECK_INT(rb_store_next(store, 1, 64, &addr), 0);
	for (uint64_t i = 0; i < 100; i++)
		CHECK_INT(rb_store_put(store, 1, BASE + i * MIB, filled(i + 1, 3), 3, &err), 0);
	CHECK_INT(rb_store_put(store, 1, BASE + 10 * MIB + PAGE, filled(500, 1), 1, &err), 0);
	CHECK_INT(rb_store_next(store, 1, 64, &addr), 3);
	CHECK_INT(addr, BASE + 10 * MIB);
	CHECK_INT(rb_store_next(store, 1, 2, &addr), 2);
	rb_store_drop(store, 1, addr, 2);
	CHECK_INT(rb_store_next(store, 1, 64, &addr), 1);
	CHECK_INT(addr, BASE + 10 * MIB + 2 * PAGE);
	rb_store_drop(store, 1, addr, 1);
	CHECK_INT(rb_store_clone(store, 1, 2, &err), 0);
	for (uint64_t i = 100; i-- > 0;) {
		if (i == 10)
			continue;
		CHECK_INT(rb_store_next(store, 1, 64, &addr), 3);
		CHECK_INT(addr, BASE + i * MIB);
		rb_store_drop(store, 1, addr, 3);
	}
	CHECK_INT(rb_store_next(store, 1, 64, &addr), 0);
	/* the child's order is its parent's */
	CHECK_INT(rb_store_next(store, 2, 64, &addr), 3);
	CHECK_INT(addr, BASE + 99 * MIB);
	rb_store_free(store);
}

static void memory_is_given_back(void)
{
	struct rb_store *store = NULL;
	uint64_t full;

	CHECK_INT(rb_store_new(&store, &err), 0);
	for (uint64_t i = 0; i < 64; i++)
		CHECK_INT(rb_store_put(store, 1, BASE + i * 8 * MIB, filled(1, 2048), 2048, &err),
			  0);
	full = blocks_bytes(store);
	CHECK_INT(full, 512 * MIB);
	for (uint64_t i = 0; i < 32; i++)
		rb_store_drop(store, 1, BASE + i * 8 * MIB, 2048);
	CHECK_INT(rb_store_total(store), 32 * 2048);
	CHECK(blocks_bytes(store) <= 257 * MIB);
	/* reused: no more than before, and what stayed is whole */
	for (uint64_t i = 0; i < 32; i++)
		CHECK_INT(rb_store_put(store, 2, BASE + i * 8 * MIB, filled(9, 2048), 2048, &err),
			  0);
	CHECK_INT(blocks_bytes(store), full);
	CHECK_INT(value_at(store, 1, BASE + 40 * 8 * MIB), 1);
	rb_store_forget_task(store, 1);
	rb_store_forget_task(store, 2);
	CHECK_INT(rb_store_total(store), 0);
	CHECK(blocks_bytes(store) <= MIB);
	rb_store_free(store);
}

static void a_process_keeps_its_few_pages(void)
{
	struct rb_store *store = NULL;

	/* unmaps 100 TiB of which 3 pages were touched; also in many steps, fast */
	CHECK_INT(rb_store_new(&store, &err), 0);
	for (uint64_t i = 0; i < 4; i++)
		CHECK_INT(rb_store_put(store, 1, 0x10000 + (i << 44), filled(i + 1, 1), 1, &err),
			  0);
	rb_store_drop(store, 1, 0x10000, (3ULL << 44) / PAGE);
	CHECK_INT(rb_store_pages(store, 1), 1);
	CHECK_INT(value_at(store, 1, 0x10000 + (3ULL << 44)), 4);
	CHECK_INT(rb_store_move(store, 1, 3ULL << 44, 1ULL << 44, (1ULL << 43) / PAGE, &err), 0);
	CHECK_INT(value_at(store, 1, 0x10000 + (1ULL << 44)), 4);
	CHECK_INT(value_at(store, 1, 0x10000 + (3ULL << 44)), 0);
	rb_store_free(store);
}

static void clones_share(void)
{
	struct rb_store *store = NULL;

	CHECK_INT(rb_store_new(&store, &err), 0);
	CHECK_INT(rb_store_put(store, 1, BASE, filled(1, 2000), 2000, &err), 0);
	CHECK_INT(rb_store_clone(store, 1, -2, &err), 0);
	CHECK_INT(rb_store_clone(store, -2, -3, &err), 0);
	CHECK_INT(rb_store_total(store), 6000);
	CHECK_INT(blocks_bytes(store), 2000 * PAGE);
	rb_store_drop(store, 1, BASE, 2000);
	rb_store_drop(store, -3, BASE, 2000);
	CHECK_INT(blocks_bytes(store), 2000 * PAGE);
	for (uint64_t i = 0; i < 2000; i++)
		CHECK_INT(value_at(store, -2, BASE + i * PAGE), 1 + i);
	/* written by one, the other does not see it */
	CHECK_INT(rb_store_clone(store, -2, 1, &err), 0);
	CHECK_INT(rb_store_put(store, 1, BASE, filled(5000, 10), 10, &err), 0);
	CHECK_INT(value_at(store, 1, BASE + 9 * PAGE), 5009);
	CHECK_INT(value_at(store, -2, BASE + 9 * PAGE), 10);
	rb_store_forget_task(store, 1);
	rb_store_forget_task(store, -2);
	CHECK(blocks_bytes(store) <= MIB);
	rb_store_free(store);
}

/* Another process drops all; under hold nothing of it is lost for this one. */
static int in_child(struct rb_store *store, bool hold)
{
	pid_t pid = fork();
	int status = -1;

	if (pid == 0) {
		rb_store_hold(store, true);
		rb_store_drop(store, 1, BASE, 2048);
		if (!hold)
			rb_store_hold(store, false);
		_exit(rb_store_total(store) == 0 ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	return status;
}

static void held_pages_stay_for_others(void)
{
	struct rb_store *store = NULL;

	CHECK_INT(rb_store_new(&store, &err), 0);
	CHECK_INT(rb_store_put(store, 1, BASE, filled(1, 2048), 2048, &err), 0);
	CHECK_INT(in_child(store, true), 0);
	CHECK_INT(rb_store_pages(store, 1), 2048);
	CHECK_INT(blocks_bytes(store), 8 * MIB);
	CHECK_INT(value_at(store, 1, BASE + 2047 * PAGE), 2048);
	/* the same store serves once more; now it ends well */
	CHECK_INT(in_child(store, false), 0);
	CHECK_INT(blocks_bytes(store), 0);
	rb_store_free(store);
}

/* The model: task, page -> value, for a small part of the address space at chunk borders. */
enum { TASKS = 3, PAGES = 640 };

static uint64_t model[TASKS][PAGES];

static uint64_t addr_of(size_t page)
{
	/* three stretches, each over a border of 256 KiB, the last one far away */
	return (page < 400 ? BASE : BASE + ((uint64_t)1 << 40)) + page * PAGE;
}

static bool model_agrees(const struct rb_store *store)
{
	for (int task = 0; task < TASKS; task++) {
		uint64_t pages = 0;

		for (size_t i = 0; i < PAGES; i++) {
			uint64_t got = value_at(store, task, addr_of(i));

			pages += model[task][i] != 0;
			if (got != model[task][i]) {
				printf("# task %d page %zu: %llu, not %llu\n", task, i,
				       (unsigned long long)got, (unsigned long long)model[task][i]);
				return false;
			}
		}
		if (rb_store_pages(store, task) != pages) {
			printf("# task %d: %llu pages, not %llu\n", task,
			       (unsigned long long)rb_store_pages(store, task),
			       (unsigned long long)pages);
			return false;
		}
	}
	return true;
}

static size_t below(size_t n)
{
	return (size_t)random() % n;
}

static void keep_some(struct rb_store *store, int task)
{
	struct rb_ranges ranges = {};

	for (size_t i = 0; i < PAGES;) {
		size_t keep = 1 + below(200), skip = below(30), end;

		end = i + keep < PAGES ? i + keep : PAGES;
		for (; i < end; i++)
			rb_ranges_add(&ranges, addr_of(i), addr_of(i) + PAGE);
		for (end = i + skip; i < end && i < PAGES; i++)
			model[task][i] = 0;
	}
	rb_store_keep_only(store, task, &ranges, NULL);
	rb_ranges_free(&ranges);
}

static void move_some(struct rb_store *store, int task)
{
	size_t n = 1 + below(150), from = below(400 - n), to = 400 + below(PAGES - 400 - n);

	if (below(2)) {
		size_t other = from;

		from = to;
		to = other;
	}
	rb_store_move(store, task, addr_of(from), addr_of(to), n, NULL);
	memcpy(&model[task][to], &model[task][from], n * 8);
	memset(&model[task][from], 0, n * 8);
}

static void one_step(struct rb_store *store, uint64_t step)
{
	int task = (int)below(TASKS);
	size_t start = below(2) ? below(400) : 400 + below(PAGES - 400);
	size_t room = (start < 400 ? 400 : PAGES) - start, n = 1 + below(room < 90 ? room : 90);
	int other = (task + 1) % TASKS;

	switch (below(12)) {
	case 0:
		rb_store_drop(store, task, addr_of(start), n);
		memset(&model[task][start], 0, n * 8);
		break;
	case 1:
		keep_some(store, task);
		break;
	case 2:
		move_some(store, task);
		break;
	case 3:
		if (below(4))
			break;
		rb_store_clone(store, task, other, NULL);
		memcpy(model[other], model[task], sizeof(model[task]));
		break;
	case 4:
		if (below(10))
			break;
		rb_store_forget_task(store, task);
		memset(model[task], 0, sizeof(model[task]));
		break;
	case 5: {
		uint64_t addr;
		size_t run = rb_store_next(store, task, 1 + below(64), &addr);

		rb_store_drop(store, task, addr, run);
		for (size_t i = 0; run && i < PAGES; i++)
			if (addr_of(i) >= addr && addr_of(i) < addr + run * PAGE)
				model[task][i] = 0;
		break;
	}
	default:
		rb_store_put(store, task, addr_of(start), filled(step * 1000, n), n, NULL);
		for (size_t i = 0; i < n; i++)
			model[task][start + i] = step * 1000 + i;
	}
}

static void agrees_with_a_model(void)
{
	struct rb_store *store = NULL;
	unsigned int seed = (unsigned int)rb_now_us();

	printf("# seed %u\n", seed);
	srandom(seed);
	CHECK_INT(rb_store_new(&store, &err), 0);
	for (uint64_t step = 1; step <= STEPS; step++) {
		one_step(store, step);
		if (step % 50 == 0 && !model_agrees(store)) {
			printf("# step %llu\n", (unsigned long long)step);
			CHECK(false);
		}
	}
	CHECK(rb_store_memory(store) <= (TASKS * PAGES + 256) * PAGE);
	for (int task = 0; task < TASKS; task++)
		rb_store_forget_task(store, task);
	CHECK_INT(rb_store_total(store), 0);
	CHECK(rb_store_memory(store) <= 256 * PAGE);
	rb_store_free(store);
}

/* Figures for a reader: `test_memory_store bench` */
static void how_fast(void)
{
	struct rb_store *store = NULL;
	uint64_t total = 1024 * MIB / PAGE, addr = 0, start_us;
	size_t n;

	CHECK_INT(rb_store_new(&store, &err), 0);
	filled(1, 2048);
	for (int round = 1; round <= 2; round++) {
		start_us = (uint64_t)rb_now_us();
		for (uint64_t i = 0; i < total; i += 64)
			CHECK_INT(rb_store_put(store, 1, BASE + i * PAGE, words, 64, &err), 0);
		printf("# put 1 GiB in runs of 64, round %d: %llu us\n", round,
		       (unsigned long long)((uint64_t)rb_now_us() - start_us));
	}
	start_us = (uint64_t)rb_now_us();
	CHECK_INT(rb_store_clone(store, 1, 2, &err), 0);
	printf("# clone 262144 pages: %llu us\n",
	       (unsigned long long)((uint64_t)rb_now_us() - start_us));
	rb_store_forget_task(store, 2);
	start_us = (uint64_t)rb_now_us();
	while ((n = rb_store_next(store, 1, 64, &addr)) > 0)
		rb_store_drop(store, 1, addr, n);
	printf("# next and drop of 1 GiB: %llu us\n",
	       (unsigned long long)((uint64_t)rb_now_us() - start_us));
	rb_store_free(store);
}

int main(int argc, char **argv)
{
	TAP_RUN(ranges_join);
	TAP_RUN(puts_and_finds);
	TAP_RUN(next_is_the_most_recent);
	TAP_RUN(memory_is_given_back);
	TAP_RUN(a_process_keeps_its_few_pages);
	TAP_RUN(clones_share);
	TAP_RUN(held_pages_stay_for_others);
	TAP_RUN(agrees_with_a_model);
	if (argc > 1 && strcmp(argv[1], "bench") == 0)
		TAP_RUN(how_fast);
	return tap_done();
}
