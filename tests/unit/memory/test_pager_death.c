// SPDX-License-Identifier: Apache-2.0
/*
 * test_pager_death.c - whoever dies or talks nonsense: no process runs on memory that is not its
 * own
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "freezer.h"
#include "pager_rig.h"
#include "tap.h"

/* so many that a pager is killed in the middle for certain */
enum { PAGES = 30000, SMALL = 2000 };

static struct rig rig;

static pid_t the_pager(void)
{
	return rig_child(getpid(), "reberth-pager");
}

static pid_t the_guard(void)
{
	return rig_child(the_pager(), "reberth-pguard");
}

/* Reads all pages, and forks again and again: a child must not see a zero either. */
static void reads_and_forks(struct victim *victim)
{
	for (uint64_t i = 0; i < victim->pages; i++) {
		/* from far to near, with as few neighbours as possible */
		uint64_t page = (i * 7919) % victim->pages;

		victim_check(victim, page_at(page), page_value(victim->task, page));
		if (i % 50 == 10 && i < 4000 && fork() == 0) {
			for (uint64_t k = 1; k < 40; k++) {
				page = (page + k * 104729) % victim->pages;
				victim_check(victim, page_at(page), page_value(victim->task, page));
			}
			_exit(0);
		}
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}

/* A container of @n tasks that all run, with CRIU about to say its last word. */
static bool running(bool v2, int n, uint64_t pages, void (*run)(struct victim *))
{
	if (!rig_open(&rig, v2))
		return false;
	for (int task = 1; task <= n; task++)
		if (!rig_fill(&rig, task, pages))
			return false;
	if (rig_start(&rig) != 0 || !rig_connect(&rig))
		return false;
	for (int task = 1; task <= n; task++)
		if (!rig_victim(&rig, task, pages, run))
			return false;
	return true;
}

/* The pager is killed after @delay_us of serving, and @frozen: while the container is. */
static void kill_the_pager(bool v2, useconds_t delay_us, bool frozen)
{
	CHECK(running(v2, 2, PAGES, reads_and_forks));
	CHECK(the_guard() > 0);
	CHECK(rig_finish(&rig));
	rig_go(&rig);
	if (!frozen) /* with faults alone otherwise, so that nobody is far when it comes */
		CHECK(rig_release(&rig));
	CHECK(rig_until(rig.victims[0].report->seen > 100));
	usleep(delay_us);
	if (frozen)
		CHECK_INT(rb_freezer_freeze(rig.freezer, NULL, &rig.err), 0);
	CHECK_INT(kill(the_pager(), SIGKILL), 0);
	CHECK_INT(rig_farewell(&rig), 0);
	CHECK(rig_killed(&rig));
	CHECK(rig_lock_free(&rig));
	rig_close(&rig);
}

static void pager_killed(void)
{
	static const useconds_t delays_us[] = { 0, 500, 2000, 5000, 10000 };

	for (size_t i = 0; tap_ok && i < sizeof(delays_us) / sizeof(*delays_us); i++)
		kill_the_pager(false, delays_us[i], false);
}

static void pager_killed_while_frozen(void)
{
	kill_the_pager(false, 0, true);
}

static void pager_killed_cgroup_2(void)
{
	if (access("/sys/fs/cgroup/unified/cgroup.procs", F_OK) < 0)
		printf("# no cgroup v2 here\n");
	else
		kill_the_pager(true, 1000, false);
}

static void guard_killed(void)
{
	pid_t first, second;

	CHECK(running(false, 2, PAGES, reads_and_forks));
	first = the_guard();
	CHECK(first > 0);
	CHECK_INT(kill(first, SIGKILL), 0);
	CHECK(rig_until((second = the_guard()) > 0 && second != first));
	CHECK(rig_finish(&rig));
	rig_go(&rig);
	CHECK(rig_until(rig.victims[0].report->seen > 100));
	CHECK(rig_release(&rig));
	CHECK_INT(kill(second, SIGKILL), 0);
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	CHECK(rig_done(&rig));
	CHECK_INT(rig_registered(rig.victims[0].pid), 0);
	rig_close(&rig);
}

/* The second guard does what the first would have done. */
static void guard_killed_then_pager(void)
{
	pid_t first;

	CHECK(running(false, 1, PAGES, reads_and_forks));
	first = the_guard();
	CHECK_INT(kill(first, SIGKILL), 0);
	CHECK(rig_until(the_guard() != first));
	rig_go(&rig);
	CHECK(rig_until(rig.victims[0].report->seen > 100));
	CHECK_INT(kill(the_pager(), SIGKILL), 0);
	CHECK_INT(rig_farewell(&rig), 0);
	CHECK(rig_killed(&rig));
	rig_close(&rig);
}

static void both_killed(void)
{
	pid_t guard;

	CHECK(running(false, 1, SMALL, victim_reads_all));
	guard = the_guard();
	/* nobody notices before both are dead */
	CHECK_INT(kill(guard, SIGSTOP), 0);
	CHECK_INT(kill(the_pager(), SIGKILL), 0);
	CHECK_INT(kill(guard, SIGKILL), 0);
	CHECK_INT(rig_farewell(&rig), 0);
	/* that is for the third party to end */
	CHECK(rig_until(rig_registered(rig.victims[0].pid) == 0));
	rig_close(&rig);
}

static void restore_fails_and_is_repeated(void)
{
	uint64_t total;

	CHECK(running(false, 2, SMALL, victim_reads_all));
	rig_go(&rig);
	/* all was placed, by faults, and still nothing may be missing the next time */
	CHECK(rig_done(&rig));
	total = rb_store_total(rig.store);
	shutdown(rig.conn_fd, SHUT_RDWR);
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	CHECK(rig_killed(&rig));
	CHECK(rig_lock_free(&rig));
	/* once more, with the same store */
	CHECK_INT(rb_store_total(rig.store), total);
	CHECK_INT(rig_start(&rig), 0);
	CHECK(rig_connect(&rig));
	rig.n = 0;
	CHECK(rig_victim(&rig, 1, SMALL, victim_reads_all));
	CHECK(rig_victim(&rig, 2, SMALL, victim_reads_all));
	CHECK(rig_finish(&rig));
	CHECK(rig_release(&rig));
	rig_go(&rig);
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	CHECK(rig_done(&rig));
	rig_close(&rig);
}

static void keeper_ends(void)
{
	CHECK(running(false, 2, SMALL, reads_and_forks));
	rig_go(&rig);
	CHECK(rig_until(rig.victims[0].report->seen > 100));
	CHECK_INT(kill(rig.keeper, SIGKILL), 0);
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	CHECK(rig_killed(&rig));
	rig_close(&rig);
}

/* What no CRIU says, with a task already there. */
static void nonsense(void (*say)(void))
{
	CHECK(running(false, 1, SMALL, reads_and_forks));
	rig_go(&rig);
	CHECK(rig_until(rig.victims[0].report->seen > 100));
	say();
	CHECK_INT(rig_farewell(&rig), 0);
	CHECK(rig_killed(&rig));
	rig_close(&rig);
}

static void say_zero(void)
{
	rig_send(&rig, 0);
}

static void say_huge(void)
{
	rig_send(&rig, 0x7fffffff);
}

static void say_twice(void)
{
	rig_send(&rig, 1);
	rig_send_fd(&rig, -1);
}

static void say_without_descriptor(void)
{
	rig_send(&rig, 2);
	(void)!write(rig.conn_fd, "x", 1);
}

static void say_other_descriptor(void)
{
	rig_send(&rig, 2);
	rig_send_fd(&rig, STDERR_FILENO);
}

static void say_descriptor_first(void)
{
	rig_send_fd(&rig, STDERR_FILENO);
}

static void messages_that_make_no_sense(void)
{
	static void (*const all[])(void) = { say_zero,
					     say_huge,
					     say_twice,
					     say_without_descriptor,
					     say_other_descriptor,
					     say_descriptor_first };

	for (size_t i = 0; tap_ok && i < sizeof(all) / sizeof(*all); i++)
		nonsense(all[i]);
}

static void half_a_word_then_the_end(void)
{
	CHECK(running(false, 1, SMALL, reads_and_forks));
	CHECK_INT(write(rig.conn_fd, "FT", 2), 2);
	shutdown(rig.conn_fd, SHUT_RDWR);
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	CHECK(rig_killed(&rig));
	rig_close(&rig);
}

static void connects_and_closes(void)
{
	CHECK(rig_open(&rig, false));
	CHECK(rig_fill(&rig, 1, SMALL));
	CHECK_INT(rig_start(&rig), 0);
	CHECK(rig_connect(&rig));
	close(rig.conn_fd);
	rig.conn_fd = -EBADF;
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	CHECK(rig_lock_free(&rig));
	rig_close(&rig);
}

static void only_one_at_a_time(void)
{
	CHECK(rig_open(&rig, false));
	CHECK_INT(rig_start(&rig), 0);
	CHECK_INT(rig_start(&rig), -EWOULDBLOCK);
	rig_close(&rig);
}

static void no_keeper(void)
{
	CHECK(rig_open(&rig, false));
	kill(rig.keeper, SIGKILL);
	CHECK_INT(waitpid(rig.keeper, NULL, 0), rig.keeper);
	CHECK_INT(rig_start(&rig), -ESRCH);
	CHECK(rig_lock_free(&rig));
	rig_close(&rig);
}

static void signals_are_ignored(void)
{
	static const int all[] = { SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGPIPE,
				   SIGUSR1, SIGUSR2, SIGALRM, SIGTSTP };

	CHECK(running(false, 1, SMALL, victim_reads_all));
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		CHECK_INT(kill(the_guard(), all[i]), 0);
		CHECK_INT(kill(the_pager(), all[i]), 0);
	}
	CHECK(rig_finish(&rig));
	CHECK(rig_release(&rig));
	rig_go(&rig);
	CHECK_INT(rig_farewell(&rig), RB_PAGER_DONE);
	CHECK(rig_done(&rig));
	rig_close(&rig);
}

int main(void)
{
	const char *why_not = rig_why_not();

	if (why_not) {
		TAP_SKIP(pager_killed, why_not);
		return tap_done();
	}
	TAP_RUN(pager_killed);
	TAP_RUN(pager_killed_while_frozen);
	TAP_RUN(pager_killed_cgroup_2);
	TAP_RUN(guard_killed);
	TAP_RUN(guard_killed_then_pager);
	TAP_RUN(both_killed);
	TAP_RUN(restore_fails_and_is_repeated);
	TAP_RUN(keeper_ends);
	TAP_RUN(messages_that_make_no_sense);
	TAP_RUN(half_a_word_then_the_end);
	TAP_RUN(connects_and_closes);
	TAP_RUN(only_one_at_a_time);
	TAP_RUN(no_keeper);
	TAP_RUN(signals_are_ignored);
	rig_close(&rig);
	/* the same with most pages still at the source */
	rig_far(true);
	TAP_RUN(pager_killed);
	TAP_RUN(pager_killed_while_frozen);
	TAP_RUN(guard_killed);
	TAP_RUN(both_killed);
	TAP_RUN(restore_fails_and_is_repeated);
	TAP_RUN(keeper_ends);
	rig_close(&rig);
	return tap_done();
}
