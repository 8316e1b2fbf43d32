/* SPDX-License-Identifier: Apache-2.0 */
/*
 * witness.h - the judgement over seqd's answers, apart from how they were got
 *
 * Each copy of seqd's memory counts on its own. With one copy, the latest, these hold:
 *
 *   no repeat     no two requests get the same counter from one nonce
 *   no step back  a request that was sent after counter C had been seen gets more than C; late and
 *                 overtaken answers are no violation, as only what was known when sending counts
 *   no old copy   once a second nonce was seen (a restart, if that is allowed), no request sent
 *                 after that is answered by an earlier one
 *
 * A return to a checkpoint is a step back by one and the same nonce: with `allow_rollback` it is
 * counted, and what was seen before is forgotten.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define JUDGE_NONCES_MAX 16
#define JUDGE_IN_FLIGHT	 65536

/* a process: one start of seqd */
struct judge_life {
	uint64_t nonce;
	uint64_t highest;
	uint8_t *seen; /* bitmap of counters */
	uint64_t seen_size;
};

struct judge_request {
	uint64_t id;
	int64_t sent_ms;
	uint64_t floor; /* highest counter of the latest life that was known when it was sent */
	int life;	/* that life, -1: none known */
	int epoch;	/* number of rollbacks until then */
	bool answered;
	uint64_t counter; /* of the answer */
	int answered_by;  /* a life */
};

struct judge {
	bool allow_restart, allow_rollback;
	struct judge_life lives[JUDGE_NONCES_MAX];
	int life_count;
	struct judge_request requests[JUDGE_IN_FLIGHT]; /* by id modulo its size */
	uint64_t sent, answers, late, doubles;
	uint64_t repeats, steps_back, old_copies, restarts, rollbacks;
	uint64_t overtaken; /* requests that came before the one sent just before them */
	int64_t started_ms, heard_ms, longest_gap_ms;
};

/* what became of an answer */
enum judge_verdict {
	JUDGE_FINE,
	JUDGE_REPEAT,
	JUDGE_STEP_BACK,
	JUDGE_OLD_COPY,
	JUDGE_RESTART,
	JUDGE_ROLLBACK,
	JUDGE_DOUBLE,  /* a frame was doubled on its way: answered before */
	JUDGE_UNKNOWN, /* no such request, or too long ago */
};

/** judge_send - note that request @id leaves now */
void judge_send(struct judge *judge, uint64_t id, int64_t now_ms);

/** judge_answer - judge an answer; @ret_age_ms: since the request */
enum judge_verdict judge_answer(struct judge *judge, uint64_t id, uint64_t counter, uint64_t nonce,
				int64_t now_ms, int64_t *ret_age_ms);

/** judge_name - "fine", "repeat", ... */
const char *judge_name(enum judge_verdict verdict);

/** judge_guilty - was anything wrong? */
bool judge_guilty(const struct judge *judge);
