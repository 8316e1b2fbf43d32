// SPDX-License-Identifier: Apache-2.0
/*
 * test_pager.c - processes get their pages, whatever they do with their memory meanwhile
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "pager_rig.h"
#include "tap.h"
#include "wait.h"

#define MIB ((uint64_t)1 << 20)

static struct rig rig;

static uint64_t resident(uint64_t pages)
{
	unsigned char map[8192];
	uint64_t n = 0;

	if (pages > sizeof(map) || mincore((void *)RIG_BASE, pages * RIG_PAGE, map) < 0)
		return UINT64_MAX;
	for (uint64_t i = 0; i < pages; i++)
		n += map[i] & 1;
	return n;
}

/* --- faults and unasked placing ------------------------------------------------------------- */

/* Ten pages far from each other; then ten more, then all. */
static void touches_ten(struct victim *victim)
{
	struct victim_report *report = victim->report;

	for (uint64_t i = 0; i < 20; i++) {
		if (i == 10)
			report->extra = resident(victim->pages);
		while (i == 10 && report->go)
			rig_nap();
		victim_check(victim, page_at(i * 90), page_value(victim->task, i * 90));
	}
	report->extra = resident(victim->pages);
	while (!report->go)
		rig_nap();
	victim_reads_all(victim);
}

static void only_faults_before_the_release(void)
{
	CHECK(rig_open(&rig, false));
	for (int task = 101; task <= 103; task++)
		CHECK(rig_fill(&rig, task, 2000));
	CHECK(rig_fill(&rig, 777, 100));
	CHECK(rig_fill(&rig, 888, 100));
	CHECK_INT(rig_start(&rig), 0);
	CHECK(rig_connect(&rig));
	CHECK(rig_victim(&rig, 101, 2000, touches_ten));
	CHECK(rig_send(&rig, (uint32_t)-777));
	CHECK(rig_victim(&rig, 102, 2000, touches_ten));
	CHECK(rig_victim(&rig, 103, 2000, touches_ten));
	rig_go(&rig);
	for (int i = 0; i < 3; i++) {
		CHECK(rig_until(rig.victims[i].report->extra));
		CHECK_INT(rig.victims[i].report->extra, 10);
	}
	CHECK(rig_finish(&rig));
	for (int i = 0; i < 3; i++) {
		rig.victims[i].report->go = false;
		CHECK(rig_until(rig.victims[i].report->extra != 10));
		CHECK_INT(rig.victims[i].report->extra, 20);
	}
	CHECK_INT(rig_registered(rig.victims[0].pid), 1);
	/* the store still has all for another attempt, in this process's eyes too */
	CHECK(rb_store_memory(rig.store) > 6000 * RIG_PAGE * 6 / 7);
	CHECK(rig_release(&rig));
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	for (int i = 0; i < 3; i++)
		CHECK_INT(rig_registered(rig.victims[i].pid), 0);
	CHECK(rb_store_memory(rig.store) <= MIB);
	CHECK(rig_lock_free(&rig));
	rig_go(&rig);
	CHECK(rig_done(&rig));
	for (int i = 0; i < 3; i++)
		CHECK_INT(rig.victims[i].report->seen, 2020);
	rig_close(&rig);
}

static void released_before_finished(void)
{
	CHECK(rig_open(&rig, false));
	CHECK(rig_fill(&rig, 5, 3000));
	CHECK(rig_release(&rig));
	CHECK_INT(rig_start(&rig), 0);
	CHECK(rig_connect(&rig));
	CHECK(rig_victim(&rig, 5, 3000, victim_reads_all));
	rig_go(&rig);
	CHECK(rig_done(&rig));
	/* everything is placed, but more tasks might come */
	CHECK_INT(rig_registered(rig.victims[0].pid), 1);
	CHECK(rig_finish(&rig));
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	CHECK_INT(rig_registered(rig.victims[0].pid), 0);
	rig_close(&rig);
}

static void nothing_to_place(void)
{
	CHECK(rig_open(&rig, false));
	CHECK_INT(rig_start(&rig), 0);
	CHECK(rig_connect(&rig));
	CHECK(rig_victim(&rig, 5, 10, victim_reads_all));
	CHECK(rig_finish(&rig));
	CHECK(rig_release(&rig));
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	rig_close(&rig);
}

/* A page for which nothing is registered is no reason to wait for ever; but it is told. */
static void pages_without_a_mapping(void)
{
	static uint64_t page[RIG_PAGE / 8] = { 1 };

	CHECK(rig_open(&rig, false));
	CHECK(rig_fill(&rig, 5, 1000));
	CHECK_INT(rb_store_put(rig.store, 5, RIG_BASE / 2, page, 1, &rig.err), 0);
	/* in one run with pages that have one */
	CHECK_INT(rb_store_put(rig.store, 5, RIG_BASE + 1000 * RIG_PAGE, page, 1, &rig.err), 0);
	CHECK_INT(rig_start(&rig), 0);
	CHECK(rig_connect(&rig));
	CHECK(rig_victim(&rig, 5, 1000, victim_reads_all));
	CHECK(rig_finish(&rig));
	CHECK(rig_release(&rig));
	CHECK_INT(rig_farewell(&rig), RB_PAGER_UNPLACED);
	rig_go(&rig);
	CHECK(rig_done(&rig));
	rig_close(&rig);
}

/* --- events ---------------------------------------------------------------------------------- */

enum { SLOTS = 3000, STEPS = 400, READERS = 3 };

/* What a process that plays with its memory expects: of each page of its area where it is now. */
struct area {
	uint64_t *at;
	uint64_t pages;
	uint64_t want[SLOTS];
};

static void check_area(struct victim *victim, const struct area *area, uint64_t first,
		       uint64_t step)
{
	for (uint64_t i = first; i < area->pages; i += step)
		victim_check(victim, area->at + i * RIG_PAGE / 8, area->want[i]);
}

/* Moves all of it elsewhere, or its tail away for good. */
static void remap(struct area *area, uint64_t pages)
{
	void *at;

	if (pages < area->pages) {
		munmap(area->at + pages * RIG_PAGE / 8, (area->pages - pages) * RIG_PAGE);
		area->pages = pages;
		return;
	}
	at = mmap(NULL, area->pages * RIG_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	at = mremap(area->at, area->pages * RIG_PAGE, area->pages * RIG_PAGE,
		    MREMAP_MAYMOVE | MREMAP_FIXED, at);
	if (at == MAP_FAILED)
		_exit(7);
	area->at = at;
}

static void forks(struct victim *victim, const struct area *area, unsigned int depth)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (depth)
			forks(victim, area, depth - 1);
		check_area(victim, area, (uint64_t)random() % 11, 11);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status != 0)
		victim->report->wrong++;
}

static void plays_alone(struct victim *victim)
{
	static struct area area;
	uint64_t page, n;

	area = (struct area){ .at = page_at(0), .pages = SLOTS };
	for (uint64_t i = 0; i < SLOTS; i++)
		area.want[i] = page_value(victim->task, i);
	srandom((unsigned int)victim->task * 31 + (unsigned int)victim->report->extra);
	for (int step = 0; step < STEPS; step++) {
		page = (uint64_t)random() % area.pages;
		n = 1 + (uint64_t)random() % 60;
		n = n > area.pages - page ? area.pages - page : n;
		switch (random() % 16) {
		case 0:
			remap(&area, step % 2 ? area.pages : area.pages - 1);
			break;
		case 1:
			forks(victim, &area, 2);
			break;
		case 2:
		case 3:
			madvise(area.at + page * RIG_PAGE / 8, n * RIG_PAGE, MADV_DONTNEED);
			memset(&area.want[page], 0, n * 8);
			break;
		case 4:
			for (uint64_t i = page; i < page + n; i++) {
				area.want[i] = (uint64_t)step << 32 | (i + 1);
				for (size_t w = 0; w < RIG_PAGE / 8; w++)
					area.at[i * RIG_PAGE / 8 + w] = area.want[i];
			}
			break;
		default:
			for (uint64_t i = page; i < page + n / 10; i++)
				victim_check(victim, area.at + i * RIG_PAGE / 8, area.want[i]);
		}
	}
	check_area(victim, &area, 0, 1);
}

/*
 * The pages behind the area stay as they are, and threads read them all the time: several wait for
 * the same page, and for pages at the moments when the mappings change.
 */
static void *reads_behind(void *arg)
{
	struct victim *victim = arg;

	for (uint64_t i = 0; i < SLOTS; i++) {
		uint64_t page = SLOTS + i * 7 % SLOTS;

		victim_check(victim, page_at(page), page_value(victim->task, page));
	}
	return NULL;
}

static void plays(struct victim *victim)
{
	pthread_t readers[READERS];

	for (int i = 0; i < READERS; i++)
		if (pthread_create(&readers[i], NULL, reads_behind, victim) != 0)
			_exit(8);
	plays_alone(victim);
	for (int i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
}

static void memory_changes_meanwhile(void)
{
	unsigned int seed = (unsigned int)rb_now_us() % 1000000;

	printf("# seed %u\n", seed);
	CHECK(rig_open(&rig, false));
	for (int task = 1; task <= 4; task++)
		CHECK(rig_fill(&rig, task, 2 * SLOTS));
	CHECK_INT(rig_start(&rig), 0);
	CHECK(rig_connect(&rig));
	for (int task = 1; task <= 4; task++) {
		struct victim *victim = rig_victim(&rig, task, 2 * SLOTS, plays);

		CHECK(victim);
		victim->report->extra = seed;
	}
	/* two of them begin before anything is placed unasked, two as it begins */
	rig.victims[0].report->go = true;
	rig.victims[1].report->go = true;
	CHECK(rig_finish(&rig));
	CHECK(rig_until(rig.victims[0].report->seen > 20 && rig.victims[1].report->seen > 20));
	CHECK(rig_release(&rig));
	rig_go(&rig);
	CHECK(rig_done(&rig));
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	for (int i = 0; i < rig.n; i++)
		CHECK_INT(rig_registered(rig.victims[i].pid), 0);
	CHECK(rb_store_memory(rig.store) <= MIB);
	rig_close(&rig);
}

/* The same with nothing placed unasked: each page comes by a fault, or not at all. */
static void memory_changes_before_the_release(void)
{
	CHECK(rig_open(&rig, false));
	CHECK(rig_fill(&rig, 1, 2 * SLOTS));
	CHECK(rig_fill(&rig, 2, 2 * SLOTS));
	CHECK_INT(rig_start(&rig), 0);
	CHECK(rig_connect(&rig));
	CHECK(rig_victim(&rig, 1, 2 * SLOTS, plays));
	CHECK(rig_victim(&rig, 2, 2 * SLOTS, plays));
	CHECK(rig_finish(&rig));
	rig_go(&rig);
	CHECK(rig_done(&rig));
	CHECK(rig_release(&rig));
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	rig_close(&rig);
}

enum { LONE_PAGES = 40000, MOVES = 3000 };

/* Moves its memory to and fro, as realloc(3) does, while it is being placed. */
static void moves(struct victim *victim)
{
	static struct area area;

	area = (struct area){ .at = page_at(0), .pages = victim->pages };
	for (int i = 0; i < MOVES; i++)
		remap(&area, area.pages);
	for (uint64_t i = 0; i < area.pages; i += 2)
		victim_check(victim, area.at + i * RIG_PAGE / 8, i + 1);
}

/* A page that the kernel finds no mapping for may only have moved: alone, so that it is asked for
 * once. */
static void no_page_is_lost_on_the_move(void)
{
	static uint64_t words[RIG_PAGE / 8];

	CHECK(rig_open(&rig, false));
	for (uint64_t i = 0; i < LONE_PAGES; i += 2) {
		for (size_t w = 0; w < RIG_PAGE / 8; w++)
			words[w] = i + 1;
		CHECK_INT(rb_store_put(rig.store, 1, RIG_BASE + i * RIG_PAGE, words, 1, &rig.err),
			  0);
	}
	CHECK_INT(rig_start(&rig), 0);
	CHECK(rig_connect(&rig));
	CHECK(rig_victim(&rig, 1, LONE_PAGES, moves));
	CHECK(rig_finish(&rig));
	rig_go(&rig);
	CHECK(rig_release(&rig));
	CHECK(rig_done(&rig));
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	rig_close(&rig);
}

static void ends(struct victim *victim)
{
	victim_check(victim, page_at(0), page_value(victim->task, 0));
	victim->report->done = true;
	_exit(0);
}

static void processes_end_meanwhile(void)
{
	CHECK(rig_open(&rig, false));
	for (int task = 1; task <= 4; task++)
		CHECK(rig_fill(&rig, task, 2 * SLOTS));
	CHECK_INT(rig_start(&rig), 0);
	CHECK(rig_connect(&rig));
	CHECK(rig_victim(&rig, 1, 2 * SLOTS, ends));
	CHECK(rig_victim(&rig, 2, 2 * SLOTS, victim_reads_all));
	/* one before CRIU is done with the others */
	rig.victims[0].report->go = true;
	CHECK_INT(waitpid(rig.victims[0].pid, NULL, 0), rig.victims[0].pid);
	rig.victims[0].pid = 0;
	CHECK(rig_victim(&rig, 3, 2 * SLOTS, ends));
	CHECK(rig_victim(&rig, 4, 2 * SLOTS, victim_reads_all));
	CHECK(rig_finish(&rig));
	CHECK(rig_release(&rig));
	rig_go(&rig);
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	CHECK(rig_done(&rig));
	rig_close(&rig);
}

static void check_wiped(struct victim *victim)
{
	for (uint64_t i = 0; i < victim->pages; i++)
		victim_check(victim, page_at(i),
			     i >= 100 && i < 150 ? 0 : page_value(victim->task, i));
}

/* A child finds its parent's memory but for what is wiped, and so does its own child. */
static void wipes_on_fork(struct victim *victim)
{
	pid_t pid;
	int status;

	if (madvise(page_at(100), 50 * RIG_PAGE, MADV_WIPEONFORK) < 0)
		_exit(9);
	/* one of the pages is in place already */
	victim_check(victim, page_at(120), page_value(victim->task, 120));
	pid = fork();
	if (pid == 0) {
		pid = fork();
		if (pid && (waitpid(pid, &status, 0) != pid || status != 0))
			victim->report->wrong++;
		check_wiped(victim);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status != 0)
		victim->report->wrong++;
	victim_reads_all(victim);
}

static void wiped_memory_is_not_a_childs(void)
{
	int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	struct victim *victim;

	CHECK(rig_open(&rig, false));
	CHECK(rig_fill(&rig, 1, 1000));
	CHECK_INT(rig_start(&rig), 0);
	CHECK(rig_connect(&rig));
	/* found by its number, which it really has */
	CHECK_INT(unshare(CLONE_NEWPID), 0);
	victim = rig_victim(&rig, 1, 1000, wipes_on_fork);
	CHECK_INT(setns(own, CLONE_NEWPID), 0);
	close(own);
	CHECK(victim);
	CHECK(rig_finish(&rig));
	rig_go(&rig);
	CHECK(rig_done(&rig));
	CHECK_INT(rig.victims[0].report->seen, 1 + 3 * 1000);
	CHECK(rig_release(&rig));
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	rig_close(&rig);
}

/* --- figures --------------------------------------------------------------------------------- */

enum { BENCH_PAGES = 262144, TOUCHES = 4000 };

static uint64_t times_ns[TOUCHES];

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void touches_at_random(struct victim *victim)
{
	size_t n = 0;

	for (int tries = 0; n < TOUCHES && tries < 10 * TOUCHES; tries++) {
		const volatile uint64_t *page = page_at((uint64_t)random() % victim->pages);
		uint64_t start_ns = now_ns();

		(void)*page;
		times_ns[n] = now_ns() - start_ns;
		n += times_ns[n] > 1500; /* else it was there */
	}
	qsort(times_ns, n, sizeof(*times_ns), by_value);
	printf("# %zu faults: median %llu ns, 95 %% %llu ns, longest %llu ns\n", n,
	       (unsigned long long)times_ns[n / 2], (unsigned long long)times_ns[n * 95 / 100],
	       (unsigned long long)times_ns[n - 1]);
	fflush(stdout);
}

/* `test_memory_pager bench` */
static void how_fast(void)
{
	int64_t start_us;

	for (int during = 0; during <= 1; during++) {
		CHECK(rig_open(&rig, false));
		CHECK(rig_fill(&rig, 1, BENCH_PAGES));
		CHECK_INT(rig_start(&rig), 0);
		CHECK(rig_connect(&rig));
		CHECK(rig_victim(&rig, 1, BENCH_PAGES, touches_at_random));
		CHECK(rig_finish(&rig));
		if (!during) {
			printf("# nothing placed unasked:\n");
			rig_go(&rig);
			CHECK(rig_done(&rig));
		} else {
			printf("# while all is being placed:\n");
			rig_go(&rig);
		}
		start_us = rb_now_us();
		CHECK(rig_release(&rig));
		CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
		printf("# placed 1 GiB (6/7 of it) in %lld us\n",
		       (long long)(rb_now_us() - start_us));
		rig_close(&rig);
	}
}

int main(int argc, char **argv)
{
	const char *why_not = rig_why_not();

	if (why_not) {
		TAP_SKIP(only_faults_before_the_release, why_not);
		return tap_done();
	}
	if (argc > 1 && strcmp(argv[1], "bench") == 0) {
		TAP_RUN(how_fast);
		return tap_done();
	}
	TAP_RUN(only_faults_before_the_release);
	TAP_RUN(released_before_finished);
	TAP_RUN(nothing_to_place);
	TAP_RUN(pages_without_a_mapping);
	TAP_RUN(memory_changes_before_the_release);
	TAP_RUN(memory_changes_meanwhile);
	TAP_RUN(no_page_is_lost_on_the_move);
	TAP_RUN(processes_end_meanwhile);
	TAP_RUN(wiped_memory_is_not_a_childs);
	rig_close(&rig);
	/* the same with most pages still at the source */
	rig_far(true);
	TAP_RUN(released_before_finished);
	TAP_RUN(nothing_to_place);
	TAP_RUN(pages_without_a_mapping);
	TAP_RUN(memory_changes_before_the_release);
	TAP_RUN(memory_changes_meanwhile);
	TAP_RUN(no_page_is_lost_on_the_move);
	TAP_RUN(processes_end_meanwhile);
	TAP_RUN(wiped_memory_is_not_a_childs);
	rig_close(&rig);
	return tap_done();
}
