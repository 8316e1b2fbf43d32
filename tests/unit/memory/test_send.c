// SPDX-License-Identifier: Apache-2.0
/*
 * test_send.c - from a running process into a store: rounds, the last look, and what CRIU may not
 * see
 *
 * The victim is a process in a cgroup of its own that writes pages as it is told.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cgroup.h"
#include "err.h"
#include "expected.h"
#include "freezer.h"
#include "frozen.h"
#include "io.h"
#include "ranges.h"
#include "receive.h"
#include "record.h"
#include "send.h"
#include "store.h"
#include "shuffle.h"
#include "tap.h"
#include "tracee.h"
#include "unpack.h"
#include "wait.h"

enum { PAGES = 512, WAIT_MS = 10000, SLOW_NS = 30 };

/* what the victim is told, and says */
struct orders {
	_Atomic int order, done;
	_Atomic uint64_t first, count;
	uint8_t *memory;
};
static struct orders *orders;

enum { WRITE = 1, DROP, ZERO, PROTECT, DIRECT, FORK, END };

static pid_t victim;
static char cgroup[64], freezer[4096];
static struct rb_memory *memory;
static struct rb_receiver *receiver;
static struct rb_memory_stats stats;
static struct rb_err err;
static int64_t shared_us;
static bool slow; /* the link, SLOW_NS for each byte */
static int encoded;
static bool shuffled;

static void obey(int order)
{
	uint8_t *at = orders->memory + orders->first * RB_PAGE_SIZE;
	size_t len = orders->count * RB_PAGE_SIZE;
	static uint8_t fill = 1;

	if (order == WRITE)
		memset(at, fill++, len);
	else if (order == DROP)
		madvise(at, len, MADV_DONTNEED);
	else if (order == ZERO)
		memset(at, 0, len);
	else if (order == PROTECT)
		mprotect(at, len, PROT_NONE);
	else if (order == DIRECT)
		(void)!open("/proc/self/exe", O_RDONLY | O_DIRECT);
	else if (order == FORK && fork() == 0)
		for (;;)
			pause();
}

_Noreturn static void be_victim(void)
{
	orders->memory = mmap(NULL, PAGES * RB_PAGE_SIZE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	madvise(orders->memory, PAGES * RB_PAGE_SIZE, MADV_NOHUGEPAGE);
	orders->done = 1;
	for (;;) {
		int order = atomic_exchange(&orders->order, 0);

		if (order == END)
			_exit(0);
		if (order) {
			obey(order);
			orders->done = 1;
		}
		usleep(200);
	}
}

static bool is_done(void)
{
	for (int i = 0; i < WAIT_MS && !orders->done; i++)
		usleep(1000);
	return orders->done;
}

static bool tell(int order, uint64_t first, uint64_t count)
{
	orders->first = first;
	orders->count = count;
	orders->done = 0;
	orders->order = order;
	return is_done();
}

static bool begin(void)
{
	rb_err_clear(&err);
	snprintf(cgroup, sizeof(cgroup), "/rb-send-%d", (int)getpid());
	memset(orders, 0, sizeof(*orders));
	victim = fork();
	if (victim == 0) {
		if (rb_cgroup_move(getpid(), cgroup, true, false, NULL) < 0)
			_exit(1);
		be_victim();
	}
	return is_done() && rb_freezer_find(victim, freezer, sizeof(freezer), &err) == 0 &&
	       rb_memory_open(freezer, victim, RB_TRACK_AUTO, &memory, &err) == 0 &&
	       rb_receiver_new(&receiver, &err) == 0;
}

static void end(void)
{
	struct rb_wait wait = rb_wait_within(NULL, WAIT_MS);

	rb_memory_free(memory);
	rb_receiver_free(receiver);
	memory = NULL;
	receiver = NULL;
	rb_freezer_kill(freezer, &wait, NULL);
	waitpid(victim, NULL, 0);
	for (int i = 0; i < 100 && rb_freezer_pids(freezer, NULL, 0, NULL) > 0; i++)
		usleep(1000);
	rb_cgroup_remove(cgroup);
}

static void take_time(size_t len)
{
	if (slow)
		nanosleep(&(struct timespec){ 0, (long)len * SLOW_NS }, NULL);
}

static int take(void *arg, const void *block, size_t len, const struct rb_wait *wait,
		struct rb_err *why)
{
	(void)arg;
	(void)wait;
	if (!shuffled)
		take_time(len);
	for (size_t at = 0; at < len;) {
		struct rb_record record;
		ssize_t n = rb_record_decode((const uint8_t *)block + at, len - at, &record, why);

		if (n < 0)
			return (int)n;
		encoded += record.encoding != RB_ENCODING_NONE;
		at += (size_t)n;
	}
	return rb_receiver_take(receiver, block, len, why);
}

static struct rb_memory_sink sink = { take, NULL };

static int one_round(void)
{
	int r;

	rb_receiver_begin(receiver, false);
	r = rb_memory_round(memory, &sink, NULL, &stats, &err);
	if (r >= 0)
		r = shuffle_end(&err);
	return r < 0 ? r : rb_receiver_end(receiver, &err);
}

static int last_round(void)
{
	struct rb_wait wait = rb_wait_within(NULL, WAIT_MS);
	int r = rb_freezer_freeze(freezer, &wait, &err);

	if (r >= 0)
		r = rb_memory_freeze(memory, &err);
	if (r >= 0)
		r = rb_memory_look(memory, &err);
	rb_receiver_begin(receiver, true);
	if (r >= 0)
		r = rb_memory_send_last(memory, &sink, NULL, &stats, &err);
	if (r >= 0)
		r = shuffle_end(&err);
	return r < 0 ? r : rb_receiver_end(receiver, &err);
}

/* the victim's pages, as it has them and as the store has them. Return: the first that differs, -1
 */
static int compare(void)
{
	static uint8_t theirs[RB_PAGE_SIZE], zeros[RB_PAGE_SIZE];

	for (int i = 0; i < PAGES; i++) {
		uint64_t addr = (uint64_t)(uintptr_t)orders->memory + (uint64_t)i * RB_PAGE_SIZE;
		const void *ours;
		size_t run;

		if (rb_mem_read(victim, addr, theirs, sizeof(theirs)) < 0)
			return i;
		ours = rb_store_find(rb_receiver_store(receiver), victim, addr, 1, &run);
		if (memcmp(ours ? ours : zeros, theirs, sizeof(theirs)) != 0)
			return i;
	}
	return -1;
}

#define STEP(cond)                                                                        \
	do {                                                                              \
		if (!(cond)) {                                                            \
			printf("# %s:%d: not true: %s (%s)\n", __FILE__, __LINE__, #cond, \
			       err.msg);                                                  \
			tap_ok = false;                                                   \
			end();                                                            \
			return;                                                           \
		}                                                                         \
	} while (0)

static void test_rounds(void)
{
	uint64_t pending;

	STEP(begin());
	STEP(tell(WRITE, 0, 200));
	STEP(one_round() == 0);
	STEP(stats.pages >= 200);
	STEP(tell(WRITE, 10, 5) && tell(DROP, 100, 20) && tell(ZERO, 150, 10));
	STEP(rb_memory_pending(memory, &pending, &shared_us, &err) == 0);
	STEP(pending >= 15 * RB_PAGE_SIZE && pending < 100 * RB_PAGE_SIZE);
	STEP(one_round() == 0);
	STEP(stats.pages >= 5 && stats.pages < 100);
	STEP(stats.zero_pages >= 10);
	STEP(tell(WRITE, 300, 3) && tell(WRITE, 110, 2));
	STEP(last_round() == 0);
	STEP(stats.pages >= 5 && stats.pages < 100);
	STEP(rb_receiver_complete(receiver));
	STEP(compare() == -1);
	end();
}

static uint64_t pending_pages(void)
{
	uint64_t bytes = 0;

	return rb_memory_pending(memory, &bytes, &shared_us, &err) < 0 ? 0 : bytes / RB_PAGE_SIZE;
}

/* what is written in every round is not sent in every round */
static void test_hot(void)
{
	STEP(begin());
	STEP(tell(WRITE, 0, 300));
	STEP(one_round() == 0);
	for (uint64_t i = 0; i < 6; i++) {
		STEP(tell(WRITE, 0, 100) && tell(WRITE, 100 + 20 * i, 20));
		STEP(one_round() == 0);
		STEP(i < 2 ? stats.pages >= 120 : stats.pages >= 20 && stats.pages < 100);
		STEP(i < 2 ? pending_pages() < 100 : pending_pages() >= 100);
	}
	/* the last round before a freeze leaves nothing */
	STEP(tell(WRITE, 0, 100));
	rb_receiver_begin(receiver, false);
	STEP(rb_memory_round_all(memory, &sink, NULL, &stats, &err) == 0);
	STEP(stats.pages >= 100 && pending_pages() < 100);
	for (int i = 0; i < 3; i++) {
		STEP(tell(WRITE, 0, 100));
		STEP(one_round() == 0);
	}
	STEP(stats.pages < 100);
	/* a part of it is written no more, is dropped, is zero */
	STEP(tell(WRITE, 0, 50) && tell(DROP, 10, 5) && tell(ZERO, 20, 5));
	STEP(one_round() == 0);
	STEP(stats.pages >= 50 && stats.pages < 100);
	STEP(pending_pages() >= 40 && pending_pages() < 90);
	/* and the rest is sent at the end, though nothing was written since */
	STEP(tell(DROP, 30, 5));
	STEP(last_round() == 0);
	STEP(stats.pages >= 35);
	STEP(compare() == -1);
	end();
}

/* everything changes between any two looks */
static void change_all(unsigned int seed)
{

	STEP(begin());
	for (int i = 0; i < 30; i++) {
		for (int k = 0; k < 6; k++) {
			uint64_t first = (uint64_t)rand_r(&seed) % PAGES;
			uint64_t count = 1 + (uint64_t)rand_r(&seed) % (PAGES - first);
			int order = rand_r(&seed) % 5;

			STEP(tell(order < 3    ? WRITE
				  : order == 3 ? DROP
					       : ZERO,
				  first, order < 3 && count > 40 ? 40 : count));
		}
		/* these nearly always */
		STEP(rand_r(&seed) % 8 == 0 || tell(WRITE, 400, 50));
		STEP(one_round() == 0);
	}
	for (int i = 0; i < 3; i++) {
		STEP(tell(WRITE, 400, 50));
		STEP(one_round() == 0);
	}
	STEP(tell(WRITE, 7, 9));
	STEP(last_round() == 0);
	STEP(stats.pages >= 59);
	STEP(compare() == -1);
	end();
}

static void test_random(void)
{
	change_all(4711);
}

static void test_random_slow(void)
{
	slow = true;
	encoded = 0;
	change_all(4712);
	slow = false;
	CHECK(encoded > 30);
}

/* The link takes its time when something is written, whenever it is delivered. */
static int write_shuffled(void *arg, const void *block, size_t len, const struct rb_wait *wait,
			  struct rb_err *why)
{
	take_time(len);
	return shuffle_write(arg, block, len, wait, why);
}

/* blocks of a round overtake each other, as they do on several connections */
static void test_random_shuffled(void)
{
	sink = shuffle_sink;
	sink.write = write_shuffled;
	shuffled = true;
	shuffle.take = take;
	shuffle.seed = 4713;
	shuffle.overtaken = shuffle.last = 0;
	change_all(4713);
	CHECK(shuffle.overtaken > 30);
	CHECK(shuffle.last > 0);
	/* encoded, with differences to what an earlier round brought */
	slow = true;
	encoded = 0;
	change_all(4714);
	slow = false;
	shuffled = false;
	CHECK(encoded > 30);
	sink = (struct rb_memory_sink){ take, NULL };
}

/* a freeze that is given up, and another one later */
static void test_thaw(void)
{
	STEP(begin());
	STEP(tell(WRITE, 0, 50));
	STEP(one_round() == 0);
	STEP(last_round() == 0);
	STEP(rb_freezer_thaw(freezer, &err) == 0);
	STEP(tell(DROP, 0, 10) && tell(WRITE, 60, 10));
	STEP(last_round() == 0);
	STEP(compare() == -1);
	end();
}

/* what the process may not touch itself has content all the same */
static void test_protected(void)
{
	STEP(begin());
	STEP(tell(WRITE, 0, 60) && tell(PROTECT, 10, 20));
	STEP(one_round() == 0);
	STEP(last_round() == 0);
	STEP(compare() == -1);
	end();
}

/* what a device writes no page table tells of: all is sent at the end, whatever was sent before */
static void test_direct(void)
{
	STEP(begin());
	STEP(tell(WRITE, 0, 100));
	STEP(one_round() == 0);
	STEP(tell(DIRECT, 0, 0));
	STEP(one_round() == 0);
	STEP(last_round() == 0);
	STEP(stats.pages >= 100);
	STEP(compare() == -1);
	end();
}

/* a child that appears after the rounds is sent whole in the end */
static void test_late_child(void)
{
	uint64_t total;

	STEP(begin());
	STEP(tell(WRITE, 0, 100));
	STEP(one_round() == 0);
	STEP(tell(FORK, 0, 0));
	STEP(last_round() == 0);
	total = rb_store_total(rb_receiver_store(receiver));
	STEP(total >= 200);
	STEP(compare() == -1);
	end();
}

/* pages that are fetched, into the places that wait for them */
static struct rb_want wants[PAGES];
static size_t n_wants, at_want;
static uint32_t in_want;

static int fill_place(void *arg, const void *block, size_t len, const struct rb_wait *wait,
		      struct rb_err *why)
{
	struct rb_store *store = rb_receiver_store(receiver);
	static struct rb_unpacker unpacker;
	const uint8_t *at = block;

	(void)arg;
	(void)wait;
	while (len) {
		const uint8_t *pages = NULL;
		struct rb_record record;
		ssize_t n = rb_record_decode(at, len, &record, why);

		if (n < 0)
			return (int)n;
		if (record.kind == RB_RECORD_DATA &&
		    rb_unpack(&unpacker, NULL, &record, &pages, why) < 0)
			return -EBADMSG;
		for (uint32_t i = 0; i < record.count; i++) {
			const struct rb_want *want = &wants[at_want];
			uint32_t slot = want->slot + in_want;

			if (at_want == n_wants || record.task != want->task ||
			    record.addr + i * RB_PAGE_SIZE !=
				    want->addr + (uint64_t)in_want * RB_PAGE_SIZE)
				return -EPROTO;
			if (pages &&
			    pwrite(rb_store_fd(store), pages + (size_t)i * RB_PAGE_SIZE,
				   RB_PAGE_SIZE, (off_t)slot * RB_PAGE_SIZE) != RB_PAGE_SIZE)
				return -EIO;
			if (rb_store_come(store, slot, 1) < 0)
				return -EINVAL;
			if (++in_want == want->pages) {
				at_want++;
				in_want = 0;
			}
		}
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static int fetch(struct rb_frozen *frozen)
{
	static const struct rb_memory_sink places = { fill_place, NULL };
	struct rb_expected *expected = rb_store_expected(rb_receiver_store(receiver));
	uint32_t cursor = 0;
	int r = 0;

	while (r >= 0 && (n_wants = rb_expected_next(expected, &cursor, 100, wants, PAGES)) > 0) {
		at_want = in_want = 0;
		r = rb_frozen_send(frozen, wants, n_wants, &places, NULL, &err);
	}
	return r;
}

static int leave(void)
{
	struct rb_wait wait = rb_wait_within(NULL, WAIT_MS);
	int r = rb_freezer_freeze(freezer, &wait, &err);

	if (r >= 0)
		r = rb_memory_freeze(memory, &err);
	if (r >= 0)
		r = rb_memory_look(memory, &err);
	rb_receiver_begin(receiver, true);
	if (r >= 0)
		r = rb_memory_leave(memory, &sink, NULL, &stats, &err);
	if (r >= 0)
		r = shuffle_end(&err);
	return r < 0 ? r : rb_receiver_end(receiver, &err);
}

/* what is left stays, and is fetched from the frozen process; @rounds: what comes before */
static void leave_after(int rounds)
{
	struct rb_frozen *frozen = NULL;
	struct rb_expected *expected;

	STEP(begin());
	STEP(tell(WRITE, 0, 200) && tell(PROTECT, 190, 5));
	for (int i = 0; i < rounds; i++)
		STEP(one_round() == 0);
	STEP(tell(WRITE, 20, 30) && tell(DROP, 100, 20) && tell(ZERO, 150, 10));
	/* once for nothing: thawed, and frozen again with other pages */
	STEP(leave() == 0);
	STEP(rb_freezer_thaw(freezer, &err) == 0);
	STEP(tell(DROP, 0, 10) && tell(WRITE, 60, 10) && tell(WRITE, 300, 10));
	STEP(leave() == 0);
	STEP(stats.pages == 0);
	expected = rb_store_expected(rb_receiver_store(receiver));
	STEP(expected->left >= 50);
	STEP(rounds == 0 || expected->left < 150);
	STEP(rb_memory_left(memory) >= 50 * RB_PAGE_SIZE);
	STEP(rb_frozen_open(freezer, victim, &frozen, &err) == 0);
	STEP(fetch(frozen) == 0);
	STEP(expected->left == 0);
	STEP(compare() == -1);
	/* what it does not have, and what does not stand still, nobody gets */
	n_wants = 0;
	wants[0] = (struct rb_want){ 0, 1, victim, 4096 };
	STEP(rb_frozen_send(frozen, wants, 1, &sink, NULL, NULL) == -ESRCH);
	wants[0].task++;
	STEP(rb_frozen_send(frozen, wants, 1, &sink, NULL, NULL) == -ESRCH);
	STEP(rb_freezer_thaw(freezer, &err) == 0);
	wants[0] = (struct rb_want){ 0, 1, victim, (uint64_t)(uintptr_t)orders->memory };
	STEP(rb_frozen_send(frozen, wants, 1, &sink, NULL, NULL) == -ESRCH);
	rb_frozen_free(frozen);
	end();
}

static void test_leave_all(void)
{
	leave_after(0);
}

static void test_leave_the_rest(void)
{
	leave_after(2);
}

/* CRIU sees nothing of the memory but the page with the stack pointer */
static void test_hide(void)
{
	_cleanup_buf_ struct rb_buf text = {};
	char dir[] = "/tmp/test_send.XXXXXX", path[64];
	const struct rb_range *list;
	uint64_t addr;
	bool hidden = false;
	size_t n;

	STEP(begin());
	STEP(tell(WRITE, 0, 4));
	STEP(one_round() == 0);
	STEP(last_round() == 0);
	STEP(mkdtemp(dir));
	STEP(rb_memory_hide(memory, dir, &err) == 0);
	snprintf(path, sizeof(path), "%s/%d", dir, (int)victim);
	STEP(rb_read_file(path, 0, &text, &err) == 0);
	rb_rm_rf(dir, NULL);
	list = (const struct rb_range *)text.data;
	n = text.len / sizeof(*list);
	addr = (uint64_t)(uintptr_t)orders->memory;
	STEP(n > 1);
	for (size_t i = 0; i < n; i++) {
		STEP(list[i].start < list[i].end);
		STEP(i == 0 || list[i - 1].end <= list[i].start);
		hidden |= list[i].start <= addr && list[i].end >= addr + 4 * RB_PAGE_SIZE;
	}
	STEP(hidden);
	end();
}

int main(void)
{
	if (geteuid() != 0 || !rb_track_supported(RB_TRACK_AUTO)) {
		printf("1..0 # SKIP needs root and a kernel that tells which pages were written\n");
		return 0;
	}
	orders = mmap(NULL, sizeof(*orders), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	TAP_RUN(test_rounds);
	TAP_RUN(test_hot);
	TAP_RUN(test_random);
	TAP_RUN(test_random_slow);
	TAP_RUN(test_random_shuffled);
	TAP_RUN(test_thaw);
	TAP_RUN(test_protected);
	TAP_RUN(test_direct);
	TAP_RUN(test_late_child);
	TAP_RUN(test_leave_all);
	TAP_RUN(test_leave_the_rest);
	TAP_RUN(test_hide);
	return tap_done();
}
