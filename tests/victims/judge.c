// SPDX-License-Identifier: Apache-2.0
/*
 * judge.c - the judgement over seqd's answers, see witness.h
 */
#include "witness.h"

#include <stdlib.h>
#include <string.h>

#define LATE_MS		50
#define COUNTER_MAX	(1ull << 32)
#define SEEN_STEP_BYTES (1ull << 20)

void judge_send(struct judge *judge, uint64_t id, int64_t now_ms)
{
	int life = judge->life_count - 1;

	judge->requests[id % JUDGE_IN_FLIGHT] = (struct judge_request){
		.id = id,
		.sent_ms = now_ms,
		.floor = life < 0 ? 0 : judge->lives[life].highest,
		.life = life,
		.epoch = (int)judge->rollbacks,
	};
	judge->sent++;
	if (!judge->started_ms)
		judge->started_ms = judge->heard_ms = now_ms;
}

static int find_life(struct judge *judge, uint64_t nonce)
{
	for (int i = 0; i < judge->life_count; i++)
		if (judge->lives[i].nonce == nonce)
			return i;
	if (judge->life_count == JUDGE_NONCES_MAX)
		return -1;
	judge->lives[judge->life_count].nonce = nonce;
	return judge->life_count++;
}

/* set the bit of @counter. Return: was it set before? */
static bool test_and_set(struct judge_life *life, uint64_t counter)
{
	uint64_t byte = counter / 8;
	uint8_t bit = (uint8_t)(1 << counter % 8);
	bool was;

	if (counter >= COUNTER_MAX)
		return true;
	if (byte >= life->seen_size) {
		uint64_t size = byte + SEEN_STEP_BYTES;
		uint8_t *seen = realloc(life->seen, size);

		if (!seen)
			abort();
		memset(seen + life->seen_size, 0, size - life->seen_size);
		life->seen = seen;
		life->seen_size = size;
	}
	was = life->seen[byte] & bit;
	life->seen[byte] |= bit;
	return was;
}

static enum judge_verdict roll_back(struct judge *judge, struct judge_life *life, uint64_t counter)
{
	if (!judge->allow_rollback) {
		judge->steps_back++;
		return JUDGE_STEP_BACK;
	}
	judge->rollbacks++;
	memset(life->seen, 0, life->seen_size);
	life->highest = counter;
	test_and_set(life, counter);
	return JUDGE_ROLLBACK;
}

static enum judge_verdict judge_counter(struct judge *judge, const struct judge_request *request,
					int index, uint64_t counter)
{
	struct judge_life *life = &judge->lives[index];

	/* an answer from before a rollback says nothing about what came after it */
	if (request->epoch != (int)judge->rollbacks)
		return JUDGE_FINE;
	if (request->life == index && counter <= request->floor)
		return roll_back(judge, life, counter);
	if (test_and_set(life, counter)) {
		judge->repeats++;
		return JUDGE_REPEAT;
	}
	if (counter > life->highest)
		life->highest = counter;
	return JUDGE_FINE;
}

/* The counters of one life tell in which order requests came. */
static bool overtook(const struct judge *judge, uint64_t id, int life, uint64_t counter)
{
	const struct judge_request *before = &judge->requests[(id - 1) % JUDGE_IN_FLIGHT];
	const struct judge_request *after = &judge->requests[(id + 1) % JUDGE_IN_FLIGHT];

	return (before->id == id - 1 && before->answered && before->answered_by == life &&
		before->counter > counter) ||
	       (after->id == id + 1 && after->answered && after->answered_by == life &&
		after->counter < counter);
}

enum judge_verdict judge_answer(struct judge *judge, uint64_t id, uint64_t counter, uint64_t nonce,
				int64_t now_ms, int64_t *ret_age_ms)
{
	struct judge_request *request = &judge->requests[id % JUDGE_IN_FLIGHT];
	int known = judge->life_count, index;
	enum judge_verdict verdict;

	*ret_age_ms = -1;
	if (request->id != id || !judge->sent)
		return JUDGE_UNKNOWN;
	*ret_age_ms = now_ms - request->sent_ms;
	judge->late += *ret_age_ms > LATE_MS;
	index = find_life(judge, nonce);
	if (index < 0 || (index < request->life)) {
		judge->old_copies++;
		return JUDGE_OLD_COPY;
	}
	if (request->answered && request->counter == counter) {
		judge->doubles++;
		return JUDGE_DOUBLE;
	}
	/* a doubled request is answered twice, with two counters: judged, but not an answer more */
	verdict = judge_counter(judge, request, index, counter);
	if (request->answered) {
		judge->doubles++;
		return verdict == JUDGE_FINE ? JUDGE_DOUBLE : verdict;
	}
	judge->overtaken += overtook(judge, id, index, counter);
	request->answered = true;
	request->answered_by = index;
	request->counter = counter;
	judge->answers++;
	if (now_ms - judge->heard_ms > judge->longest_gap_ms)
		judge->longest_gap_ms = now_ms - judge->heard_ms;
	judge->heard_ms = now_ms;
	if (index == known && known > 0) {
		judge->restarts++;
		return JUDGE_RESTART;
	}
	return verdict;
}

const char *judge_name(enum judge_verdict verdict)
{
	static const char *const names[] = {
		[JUDGE_FINE] = "fine",		 [JUDGE_REPEAT] = "REPEAT",
		[JUDGE_STEP_BACK] = "STEP-BACK", [JUDGE_OLD_COPY] = "OLD-COPY",
		[JUDGE_RESTART] = "restart",	 [JUDGE_ROLLBACK] = "rollback",
		[JUDGE_DOUBLE] = "double",	 [JUDGE_UNKNOWN] = "unknown",
	};

	return names[verdict];
}

bool judge_guilty(const struct judge *judge)
{
	return judge->repeats || judge->steps_back || judge->old_copies || !judge->answers ||
	       (judge->restarts && !judge->allow_restart);
}
