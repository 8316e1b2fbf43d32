// SPDX-License-Identifier: Apache-2.0
/*
 * test_pager_fetch.c - pages that are still at the source, and a link to it that fails
 */
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "expected.h"
#include "pager_rig.h"
#include "tap.h"

#define MIB ((uint64_t)1 << 20)

enum { PAGES = 6000 };

static struct rig rig;

static bool running(int n, void (*run)(struct victim *))
{
	if (!rig_open(&rig, false))
		return false;
	for (int task = 1; task <= n; task++)
		if (!rig_fill(&rig, task, PAGES))
			return false;
	if (rig_start(&rig) != 0 || !rig_connect(&rig))
		return false;
	for (int task = 1; task <= n; task++)
		if (!rig_victim(&rig, task, PAGES, run))
			return false;
	return true;
}

/* Nobody touches them: they come all the same, each once, and no more than that is kept. */
static void all_come(void)
{
	uint64_t expected;

	CHECK(running(3, victim_reads_all));
	expected = rb_store_expected(rig.store)->left;
	CHECK(expected > 3 * PAGES / 2);
	CHECK(rig_finish(&rig));
	CHECK_INT(rig_source(&rig), RIG_SOURCE_HELD);
	CHECK_INT(rig.link->streamed, 0);
	CHECK(rig_release(&rig));
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	CHECK_INT(rig_source(&rig), RIG_SOURCE_GONE);
	CHECK_INT(rig.link->pages, expected);
	CHECK_INT(rig.link->urgent, 0);
	CHECK(rb_store_memory(rig.store) <= MIB);
	for (int i = 0; i < 3; i++)
		CHECK_INT(rig_registered(rig.victims[i].pid), 0);
	rig_go(&rig);
	CHECK(rig_done(&rig));
	rig_close(&rig);
}

/* Before the release only what is touched, and what is near it. */
static void touches_few(struct victim *victim)
{
	for (uint64_t i = 0; i < 10; i++)
		victim_check(victim, page_at(500 * i + 2), page_value(victim->task, 500 * i + 2));
	victim->report->extra = 1;
	while (!victim->report->go || victim->report->extra == 1)
		rig_nap();
	victim_reads_all(victim);
}

static void only_what_is_touched_before_the_release(void)
{
	CHECK(running(1, touches_few));
	CHECK(rig_finish(&rig));
	rig_go(&rig);
	CHECK(rig_until(rig.victims[0].report->extra == 1));
	CHECK_INT(rig.link->streamed, 0);
	CHECK_INT(rig.link->urgent, 9); /* the tenth has no content */
	CHECK(rig.link->pages >= 9 && rig.link->pages <= 9 * 16);
	CHECK(rig_release(&rig));
	rig.victims[0].report->extra = 2;
	CHECK(rig_done(&rig));
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	rig_close(&rig);
}

/* Who needs a page waits, without end, and gets it when the link is back. */
static void the_link_breaks(void)
{
	uint64_t seen;

	CHECK(running(2, victim_reads_all));
	rig.link->broken = true;
	CHECK(rig_finish(&rig));
	CHECK(rig_release(&rig));
	rig_go(&rig);
	CHECK(rig_until(rig.link->urgent > 3 && rig.link->streamed > 1));
	seen = rig.victims[0].report->seen;
	CHECK(seen < 20);
	CHECK_INT(rig_source(&rig), RIG_SOURCE_HELD);
	rig.link->broken = false;
	CHECK(rig_done(&rig));
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	CHECK_INT(rig_source(&rig), RIG_SOURCE_GONE);
	rig_close(&rig);
}

static void the_link_flaps(void)
{
	CHECK(running(2, victim_reads_all));
	CHECK(rig_finish(&rig));
	CHECK(rig_release(&rig));
	rig_go(&rig);
	for (int i = 0; i < 50 && !rig.victims[1].report->done; i++) {
		rig.link->broken = i % 2 == 0;
		usleep(1000 + (useconds_t)(rand() % 3000));
	}
	rig.link->broken = false;
	CHECK(rig_done(&rig));
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	rig_close(&rig);
}

/* Killed rather than run on zeros; and the file says why. */
static void the_source_is_lost(void)
{
	CHECK(running(2, victim_reads_all));
	rig.link->broken = true;
	CHECK(rig_finish(&rig));
	CHECK(rig_release(&rig));
	rig_go(&rig);
	CHECK(rig_until(rig.link->urgent > 0));
	rig.link->lost = true;
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	CHECK(rig_killed(&rig));
	CHECK(rig_lock_free(&rig));
	CHECK_INT(rig_source(&rig), RIG_SOURCE_LOST);
	rig_close(&rig);
}

static pid_t the_fetcher(const char *name)
{
	pid_t pager = rig_child(getpid(), "reberth-pager");

	return pager ? rig_child(pager, name) : 0;
}

static void fetchers_are_killed(void)
{
	static const char *const names[] = { "reberth-fetch", "reberth-stream" };

	CHECK(running(2, victim_reads_all));
	rig.link->broken = true;
	CHECK(rig_finish(&rig));
	CHECK(rig_release(&rig));
	rig_go(&rig);
	CHECK(rig_until(rig.link->urgent > 0 && rig.link->streamed > 0));
	for (int i = 0; i < 2; i++) {
		pid_t first = the_fetcher(names[i]), second;

		CHECK(first > 0);
		CHECK_INT(kill(first, SIGKILL), 0);
		CHECK(rig_until((second = the_fetcher(names[i])) > 0 && second != first));
	}
	rig.link->broken = false;
	CHECK(rig_done(&rig));
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	CHECK_INT(rig_source(&rig), RIG_SOURCE_GONE);
	rig_close(&rig);
}

/* What children that are long gone had of their parent's pages is not kept for them. */
static void forks_and_reads(struct victim *victim)
{
	for (int i = 0; i < 60; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		waitpid(pid, NULL, 0);
	}
	victim->report->extra = 1;
	while (victim->report->extra == 1)
		rig_nap();
	victim_reads_all(victim);
}

static int descriptors(pid_t pid)
{
	char path[64];
	DIR *dir;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static void children_that_are_gone(void)
{
	pid_t pager;
	int before;

	CHECK(running(1, forks_and_reads));
	pager = rig_child(getpid(), "reberth-pager");
	before = descriptors(pager);
	rig.link->broken = true;
	CHECK(rig_finish(&rig));
	CHECK(rig_release(&rig));
	rig_go(&rig);
	CHECK(rig_until(rig.victims[0].report->extra == 1));
	CHECK(rig_until(descriptors(pager) <= before + 2));
	rig.link->broken = false;
	rig.victims[0].report->extra = 2;
	CHECK(rig_done(&rig));
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	rig_close(&rig);
}

/* Pages that are here are placed while others are still to come; also those of a child. */
static void forks_and_waits(struct victim *victim)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	victim->report->extra = 1;
	while (victim->report->extra == 1)
		rig_nap();
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	victim_reads_all(victim);
}

static void what_is_here_is_placed(void)
{
	CHECK(running(1, forks_and_waits));
	rig.link->broken = true;
	CHECK(rb_store_memory(rig.store) >= PAGES / 6 * RIG_PAGE);
	rig_go(&rig);
	CHECK(rig_until(rig.victims[0].report->extra == 1));
	CHECK(rig_finish(&rig));
	CHECK(rig_release(&rig));
	CHECK(rig_until(rb_store_memory(rig.store) <= MIB));
	rig.link->broken = false;
	rig.victims[0].report->extra = 2;
	CHECK(rig_done(&rig));
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	rig_close(&rig);
}

/* A thread that waits for a page that another one gives away finds zeros, at once. */
static void *waits_for_a_page(void *arg)
{
	struct victim *victim = arg;

	victim_check(victim, page_at(100), 0);
	victim->report->extra = 2;
	return NULL;
}

static void gives_away(struct victim *victim)
{
	pthread_t thread;

	pthread_create(&thread, NULL, waits_for_a_page, victim);
	while (victim->report->extra == 0)
		rig_nap();
	madvise(page_at(100), RIG_PAGE, MADV_DONTNEED);
	pthread_join(thread, NULL);
}

static uint64_t ticks(pid_t pid)
{
	unsigned long user = 0, kernel = 0;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	(void)!fscanf(file, "%*d %*s %*c %*d %*d %*d %*d %*d %*d %*d %*d %*d %*d %lu %lu", &user,
		      &kernel);
	fclose(file);
	return user + kernel;
}

static void a_page_that_nobody_needs(void)
{
	uint64_t before;
	pid_t pager;

	CHECK(running(1, gives_away));
	pager = rig_child(getpid(), "reberth-pager");
	rig.link->broken = true;
	CHECK(rig_finish(&rig));
	CHECK(rig_release(&rig));
	rig_go(&rig);
	CHECK(rig_until(rig.link->urgent > 0));
	rig.victims[0].report->extra = 1;
	CHECK(rig_until(rig.victims[0].report->extra == 2));
	/* with nothing to do it does nothing */
	before = ticks(pager);
	for (int i = 0; i < 1000; i++)
		rig_nap();
	CHECK(ticks(pager) - before < 15);
	rig.link->broken = false;
	CHECK(rig_done(&rig));
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	rig_close(&rig);
}

/* The last task is killed while it waits, and only then its page comes. */
static void killed_while_it_waits(void)
{
	CHECK(running(1, victim_reads_all));
	rig.link->broken = true;
	CHECK(rig_finish(&rig));
	CHECK(rig_release(&rig));
	rig_go(&rig);
	CHECK(rig_until(rig.link->urgent > 0));
	CHECK_INT(kill(rig.victims[0].pid, SIGKILL), 0);
	CHECK_INT(waitpid(rig.victims[0].pid, NULL, 0), rig.victims[0].pid);
	rig.victims[0].pid = 0;
	rig.link->broken = false;
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	CHECK_INT(rig_source(&rig), RIG_SOURCE_GONE);
	rig_close(&rig);
}

/* Differences are for those who know the page. */
static void nonsense_from_the_source(void)
{
	CHECK(running(1, victim_reads_all));
	rig.link->nonsense = true;
	CHECK(rig_finish(&rig));
	CHECK(rig_release(&rig));
	rig_go(&rig);
	CHECK(rig_until(rig.link->urgent > 2 && rig.link->streamed > 2));
	rig.link->nonsense = false;
	CHECK(rig_done(&rig));
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	rig_close(&rig);
}

/* It needs nothing of a container that its user has ended. */
static void the_container_ends(void)
{
	CHECK(running(2, victim_reads_all));
	rig.link->broken = true;
	CHECK(rig_finish(&rig));
	CHECK(rig_release(&rig));
	rig_go(&rig);
	CHECK(rig_until(rig.link->urgent > 0));
	CHECK_INT(kill(rig.keeper, SIGKILL), 0);
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	CHECK(rig_killed(&rig));
	CHECK_INT(rig_source(&rig), RIG_SOURCE_GONE);
	rig_close(&rig);
}

int main(void)
{
	const char *why_not = rig_why_not();

	if (why_not) {
		TAP_SKIP(all_come, why_not);
		return tap_done();
	}
	rig_far(true);
	TAP_RUN(all_come);
	TAP_RUN(only_what_is_touched_before_the_release);
	TAP_RUN(the_link_breaks);
	TAP_RUN(the_link_flaps);
	TAP_RUN(the_source_is_lost);
	TAP_RUN(fetchers_are_killed);
	TAP_RUN(children_that_are_gone);
	TAP_RUN(what_is_here_is_placed);
	TAP_RUN(a_page_that_nobody_needs);
	TAP_RUN(killed_while_it_waits);
	TAP_RUN(nonsense_from_the_source);
	TAP_RUN(the_container_ends);
	rig_close(&rig);
	return tap_done();
}
