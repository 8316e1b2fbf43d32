// SPDX-License-Identifier: Apache-2.0
/*
 * test_judge.c - what the witness has to find, and what it must not complain about
 */
#include "tap.h"

#include <stdlib.h>

#include "witness.h"

#define NONCE 0xaau
#define OTHER 0xbbu

static struct judge *judge;

static void start(bool allow_restart, bool allow_rollback)
{
	for (int i = 0; judge && i < judge->life_count; i++)
		free(judge->lives[i].seen);
	free(judge);
	judge = calloc(1, sizeof(*judge));
	judge->allow_restart = allow_restart;
	judge->allow_rollback = allow_rollback;
}

static enum judge_verdict answer(uint64_t id, uint64_t counter, uint64_t nonce, int64_t now_ms)
{
	int64_t age_ms;

	return judge_answer(judge, id, counter, nonce, now_ms, &age_ms);
}

static void test_order(void)
{
	start(false, false);
	for (uint64_t id = 1; id <= 4; id++)
		judge_send(judge, id, 10);
	/* all four on their way at once: any order is fine */
	CHECK_INT(answer(3, 1, NONCE, 20), JUDGE_FINE);
	CHECK_INT(answer(1, 4, NONCE, 20), JUDGE_FINE);
	CHECK_INT(answer(4, 2, NONCE, 30), JUDGE_FINE);
	CHECK_INT(answer(9, 5, NONCE, 30), JUDGE_UNKNOWN);
	judge_send(judge, 5, 40);
	CHECK_INT(answer(2, 3, NONCE, 500), JUDGE_FINE); /* late */
	CHECK_INT(answer(5, 5, NONCE, 500), JUDGE_FINE);
	CHECK_INT(judge->answers, 5);
	CHECK_INT(judge->late, 2);
	CHECK_INT(judge->longest_gap_ms, 470);
	CHECK(!judge_guilty(judge));
}

/* both copies run and answer in turn */
static void test_two_copies(void)
{
	start(false, false);
	judge_send(judge, 1, 1);
	judge_send(judge, 2, 1);
	CHECK_INT(answer(1, 7, NONCE, 2), JUDGE_FINE);
	CHECK_INT(answer(2, 7, NONCE, 2), JUDGE_REPEAT);
	CHECK(judge_guilty(judge));
}

/* the source went on after the state was taken, then the target took over */
static void test_stale_copy(void)
{
	start(false, false);
	judge_send(judge, 1, 1);
	CHECK_INT(answer(1, 50, NONCE, 2), JUDGE_FINE);
	judge_send(judge, 2, 3);
	CHECK_INT(answer(2, 31, NONCE, 4), JUDGE_STEP_BACK);
	CHECK(judge_guilty(judge));
}

static void test_doubled_frames(void)
{
	start(false, false);
	judge_send(judge, 1, 1);
	CHECK_INT(answer(1, 1, NONCE, 2), JUDGE_FINE);
	CHECK_INT(answer(1, 1, NONCE, 2), JUDGE_DOUBLE); /* the answer came twice */
	CHECK_INT(answer(1, 2, NONCE, 2), JUDGE_DOUBLE); /* the request did */
	judge_send(judge, 2, 3);
	CHECK_INT(answer(2, 2, NONCE, 4), JUDGE_STEP_BACK); /* but 2 is taken now */
	CHECK_INT(judge->answers, 2);
}

static void test_restart(void)
{
	start(true, false);
	judge_send(judge, 1, 1);
	judge_send(judge, 2, 1);
	CHECK_INT(answer(1, 10, NONCE, 2), JUDGE_FINE);
	judge_send(judge, 3, 3);
	CHECK_INT(answer(3, 1, OTHER, 4), JUDGE_RESTART);
	CHECK_INT(answer(2, 11, NONCE, 5), JUDGE_FINE); /* was sent before */
	CHECK(!judge_guilty(judge));
	judge->allow_restart = false;
	CHECK(judge_guilty(judge));
	judge->allow_restart = true;
	judge_send(judge, 4, 6);
	CHECK_INT(answer(4, 12, NONCE, 7), JUDGE_OLD_COPY);
	CHECK(judge_guilty(judge));
}

static void test_rollback(void)
{
	start(false, true);
	judge_send(judge, 1, 1);
	CHECK_INT(answer(1, 50, NONCE, 2), JUDGE_FINE);
	judge_send(judge, 2, 3);
	CHECK_INT(answer(2, 31, NONCE, 4), JUDGE_ROLLBACK);
	judge_send(judge, 3, 5);
	CHECK_INT(answer(3, 32, NONCE, 6), JUDGE_FINE);
	judge_send(judge, 4, 7);
	CHECK_INT(answer(4, 50, NONCE, 8), JUDGE_FINE); /* seen before the return only */
	CHECK(!judge_guilty(judge));
	CHECK_INT(judge->rollbacks, 1);
	judge_send(judge, 5, 9);
	judge_send(judge, 6, 9);
	CHECK_INT(answer(5, 51, NONCE, 10), JUDGE_FINE);
	CHECK_INT(answer(6, 51, NONCE, 10), JUDGE_REPEAT);
}

static void test_nothing_heard(void)
{
	start(true, true);
	judge_send(judge, 1, 1);
	CHECK(judge_guilty(judge));
}

int main(void)
{
	TAP_RUN(test_order);
	TAP_RUN(test_two_copies);
	TAP_RUN(test_stale_copy);
	TAP_RUN(test_doubled_frames);
	TAP_RUN(test_restart);
	TAP_RUN(test_rollback);
	TAP_RUN(test_nothing_heard);
	start(false, false);
	free(judge);
	return tap_done();
}
