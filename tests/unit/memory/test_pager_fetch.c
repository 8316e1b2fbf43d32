// SPDX-License-Identifier: Apache-2.0
/*
 * test_pager_fetch.c - pages that are still at the source, and a link to it that fails
 */
#include <signal.h>
#include <stdlib.h>
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
	TAP_RUN(the_container_ends);
	rig_close(&rig);
	return tap_done();
}
