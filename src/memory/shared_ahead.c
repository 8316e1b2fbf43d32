// SPDX-License-Identifier: Apache-2.0
/*
 * shared_ahead.c - threads that hash shared memory from its end on
 *
 * The last look at shared memory is taken while the container stands still, and hashing gigabytes
 * is what it consists of. Comparing them needs an order, one after the other, from the beginning;
 * so others begin at the end, and all are done when they meet.
 *
 * A piece is one's who takes it first:
 *
 *   FREE --a thread takes it--> TAKEN --it is hashed--> DONE
 *   FREE --who compares takes it--> LEFT
 *
 * A thread that finds a hole, or what cannot be read, makes LEFT of TAKEN.
 */
#include "shared_ahead.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { HELPERS_MAX = 3, PIECES_MIN = 32 };

enum { FREE, TAKEN, DONE, LEFT };

struct part {
	const struct rb_shared_object *object;
	size_t pieces;
	_Atomic unsigned char *states;
	XXH128_hash_t *hashes; /* of each page; untouched memory where nobody was */
};

struct rb_ahead {
	const struct rb_shared *shared;
	struct part parts[RB_SHARED_MAX];
	size_t n;
	atomic_bool stop;
	pthread_t threads[HELPERS_MAX];
	int helpers;
};

static size_t pieces_of(const struct rb_shared_object *object)
{
	return (object->pages + RB_AHEAD_PAGES - 1) / RB_AHEAD_PAGES;
}

/* Holes are not read: reading them through the mapping would fill them. */
static bool hash_piece(const struct rb_shared *shared, const struct part *part, size_t piece)
{
	size_t first = piece * RB_AHEAD_PAGES, count = part->object->pages - first;
	off_t from = (off_t)(first * RB_PAGE_SIZE), hole;

	if (count > RB_AHEAD_PAGES)
		count = RB_AHEAD_PAGES;
	hole = lseek(part->object->fd, from, SEEK_HOLE);
	/* the end is one, too, and may be within the last page */
	if (hole <= from + (off_t)((count - 1) * RB_PAGE_SIZE) ||
	    madvise(part->object->map + from, count * RB_PAGE_SIZE, MADV_POPULATE_READ) < 0)
		return false;
	for (size_t i = first; i < first + count; i++)
		part->hashes[i] = rb_shared_hash(shared, part->object->map + i * RB_PAGE_SIZE);
	return true;
}

static bool take(struct part *part, size_t piece, unsigned char as)
{
	unsigned char free_state = FREE;

	return atomic_compare_exchange_strong(&part->states[piece], &free_state, as);
}

static void *helper_main(void *arg)
{
	struct rb_ahead *ahead = arg;

	for (size_t n = ahead->n; n > 0; n--) {
		struct part *part = &ahead->parts[n - 1];

		for (size_t piece = part->pieces; piece > 0; piece--) {
			if (atomic_load(&ahead->stop))
				return NULL;
			if (take(part, piece - 1, TAKEN))
				atomic_store(&part->states[piece - 1],
					     hash_piece(ahead->shared, part, piece - 1) ? DONE
											: LEFT);
		}
	}
	return NULL;
}

static int add_part(struct rb_ahead *ahead, const struct rb_shared_object *object)
{
	struct part *part = &ahead->parts[ahead->n];

	if (!object->map || !object->sent || object->fd < 0)
		return 0;
	*part = (struct part){ .object = object, .pieces = pieces_of(object) };
	part->states = calloc(part->pieces, sizeof(*part->states));
	part->hashes = calloc(object->pages, sizeof(*part->hashes));
	ahead->n++;
	return part->states && part->hashes ? (int)part->pieces : -ENOMEM;
}

/* One processor is for who compares. */
static int count_helpers(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) < 0 ? 1 : CPU_COUNT(&set);

	return n - 1 > HELPERS_MAX ? HELPERS_MAX : n - 1;
}

/* Signals are for the thread that there always is. */
static void start_helpers(struct rb_ahead *ahead, int wanted)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (ahead->helpers < wanted &&
	       pthread_create(&ahead->threads[ahead->helpers], NULL, helper_main, ahead) == 0)
		ahead->helpers++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

struct rb_ahead *rb_ahead_start(struct rb_shared *shared)
{
	struct rb_ahead *ahead = NULL;
	int wanted = count_helpers(), r = 0;
	size_t pieces = 0;

	for (size_t i = 0; i < shared->n; i++)
		pieces += shared->list[i]->map ? pieces_of(shared->list[i]) : 0;
	if (wanted > 0 && pieces >= PIECES_MIN)
		ahead = calloc(1, sizeof(*ahead));
	if (!ahead)
		return NULL;
	ahead->shared = shared;
	for (size_t i = 0; r >= 0 && i < shared->n; i++)
		r = add_part(ahead, shared->list[i]);
	if (r < 0) {
		rb_ahead_end(ahead);
		return NULL;
	}
	start_helpers(ahead, wanted);
	return ahead;
}

void rb_ahead_end(struct rb_ahead *ahead)
{
	if (!ahead)
		return;
	atomic_store(&ahead->stop, true);
	for (int i = 0; i < ahead->helpers; i++)
		pthread_join(ahead->threads[i], NULL);
	for (size_t i = 0; i < ahead->n; i++) {
		free(ahead->parts[i].states);
		free(ahead->parts[i].hashes);
	}
	free(ahead);
}

const XXH128_hash_t *rb_ahead_hashes(struct rb_ahead *ahead, const struct rb_shared_object *object,
				     size_t piece)
{
	struct part *part = NULL;
	unsigned char state;

	for (size_t i = 0; ahead && !part && i < ahead->n; i++)
		if (ahead->parts[i].object == object)
			part = &ahead->parts[i];
	if (!part || piece >= part->pieces || take(part, piece, LEFT))
		return NULL;
	/* less than a millisecond */
	while ((state = atomic_load(&part->states[piece])) == TAKEN)
		sched_yield();
	return state == DONE ? part->hashes + piece * RB_AHEAD_PAGES : NULL;
}
