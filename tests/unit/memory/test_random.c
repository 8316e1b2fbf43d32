// SPDX-License-Identifier: Apache-2.0
/*
 * test_random.c - a copy that is kept up to date from what a tracker reports
 *
 * A victim does at random to its memory whatever changes mappings or pages, and does not stop while
 * the test scans and reads. Now and then it is frozen, a last scan is made, and the copy is
 * compared with all of its memory, byte by byte. `test_memory_random [SEED [ROUNDS]]`.
 */
#include <setjmp.h>
#include <stdatomic.h>

#include "err.h"
#include "tap.h"
#include "track.h"
#include "victim.h"
#include "vmas.h"
#include "wait.h"

enum {
	ROUNDS = 200,
	COMPARE_EVERY = 10,
	ARENA_PAGES = 4096,
	SLOT_BITS = 18,
	SLOTS = 1 << SLOT_BITS,
	STEPS = 30, /* at least so many between two scans */
};

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE  103
#endif

static struct rb_err err;
static struct victim victim;
static uint64_t seed = 1;
static long rounds = ROUNDS;

/* --- the victim */

static const uint64_t arena = UINT64_C(0x200000000000);
static const uint64_t arena_size = (uint64_t)ARENA_PAGES * PAGE;
static _Atomic unsigned long *steps_done; /* shared */

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * UINT64_C(2685821657736338717) >> 16;
}

/* Pages that cannot be written give SIGSEGV, which jumps out of the step. */
static sigjmp_buf out;

static void on_fault(int signal)
{
	(void)signal;
	siglongjmp(out, 1);
}

static void write_pages(uint64_t start, uint64_t len)
{
	/* volatile: not merged into something that is called */
	volatile uint64_t *words;

	for (uint64_t at = start; at < start + len; at += PAGE)
		for (int i = 0; i < 3; i++) {
			words = (volatile uint64_t *)(at + rnd() % (PAGE / 8) * 8);
			*words = rnd();
		}
}

static void fork_and_write(uint64_t start, uint64_t len)
{
	pid_t pid = fork();

	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		write_pages(start, len);
		_exit(0);
	}
	/* while the pages are shared with the child */
	if (pid > 0 && sigsetjmp(out, 1) == 0)
		write_pages(start, len);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static void change_mapping(uint64_t start, uint64_t len, uint64_t to)
{
	static const int protections[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE,
					   PROT_READ | PROT_WRITE };
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;

	switch (rnd() % 9) {
	case 0:
	case 1:
		mmap((void *)start, len, PROT_READ | PROT_WRITE, flags, -1, 0);
		break;
	case 2:
		munmap((void *)start, len / 2 + PAGE / 2);
		break;
	case 3:
	case 4:
		mremap((void *)start, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)to);
		break;
	case 5: /* in place, or not at all */
		mremap((void *)start, len, len + 8 * PAGE, 0);
		break;
	case 6:
		mremap((void *)start, len, len, MREMAP_MAYMOVE | MREMAP_FIXED | 4, (void *)to);
		break;
	case 7:
		mprotect((void *)start, len, protections[rnd() % 4]);
		break;
	default:
		if (rnd() % 3 == 0)
			syscall(SYS_mlock, (void *)start, len);
		else
			syscall(SYS_munlock, (void *)arena, arena_size);
	}
}

static void change_pages(uint64_t start, uint64_t len)
{
	volatile char *bytes = (volatile char *)start;
	char sum = 0;

	switch (rnd() % 12) {
	case 0:
	case 1:
		madvise((void *)start, len, MADV_DONTNEED);
		break;
	case 2:
		for (uint64_t i = 0; i < len; i += PAGE)
			sum = (char)(sum + bytes[i]);
		break;
	case 3:
		madvise((void *)start, len, MADV_GUARD_INSTALL);
		break;
	case 4:
		madvise((void *)arena, arena_size, MADV_GUARD_REMOVE);
		break;
	case 5:
		madvise((void *)start, len, rnd() % 2 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
		break;
	case 6:
		if (rnd() % 4 == 0)
			fork_and_write(start, len);
		break;
	default:
		write_pages(start, len);
	}
}

static void step(void)
{
	/* now and then as long as huge pages are */
	uint64_t pages = rnd() % 16 == 0 ? 1 + rnd() % 1200 : 1 + rnd() % 40;
	uint64_t start = rnd() % (ARENA_PAGES - pages), to = rnd() % (ARENA_PAGES - pages);

	start = arena + start * PAGE;
	to = arena + to * PAGE;
	if (rnd() % 40 == 0)
		(void)!sbrk(rnd() % 2 ? 5 * PAGE : -2 * PAGE);
	if (rnd() % 4 == 0)
		change_mapping(start, pages * PAGE, to);
	else
		change_pages(start, pages * PAGE);
}

static void live(void)
{
	struct sigaction action = { .sa_handler = on_fault };

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	mmap((void *)arena, arena_size, PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

/* --- the copy */

struct slot {
	uint64_t addr;
	unsigned char *data; /* NULL: not there any more */
};

static struct slot *slots;
static unsigned long compared_pages;

static struct slot *find_slot(uint64_t addr)
{
	size_t i = (addr / PAGE * UINT64_C(0x9E3779B97F4A7C15)) >> (64 - SLOT_BITS);

	while (slots[i].addr && slots[i].addr != addr)
		i = (i + 1) % SLOTS;
	return &slots[i];
}

static void store_page(uint64_t addr, const unsigned char *data)
{
	struct slot *slot = find_slot(addr);

	slot->addr = addr;
	if (!slot->data)
		slot->data = malloc(PAGE);
	memcpy(slot->data, data, PAGE);
}

/* What is not there any more by now is found out later. */
static void store_ranges(int mem, const struct rb_ranges *ranges)
{
	unsigned char data[PAGE];

	for (size_t i = 0; i < ranges->n; i++)
		for (uint64_t at = ranges->list[i].start; at < ranges->list[i].end; at += PAGE)
			if (pread(mem, data, PAGE, (off_t)at) == PAGE)
				store_page(at, data);
}

static bool is_in(const struct rb_ranges *ranges, uint64_t addr)
{
	size_t low = 0, high = ranges->n;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (addr >= ranges->list[middle].end)
			low = middle + 1;
		else
			high = middle;
	}
	return low < ranges->n && addr >= ranges->list[low].start;
}

static void keep_only(const struct rb_ranges *ranges)
{
	for (size_t i = 0; i < SLOTS; i++)
		if (slots[i].data && !is_in(ranges, slots[i].addr)) {
			free(slots[i].data);
			slots[i].data = NULL;
		}
}

/* Return: pages that differ. */
static int compare_range(int mem, uint64_t start, uint64_t end)
{
	static const unsigned char zero[PAGE];
	unsigned char data[PAGE];
	int wrong = 0;

	for (uint64_t at = start; at < end; at += PAGE) {
		const struct slot *slot = find_slot(at);

		/* guard pages cannot be read */
		if (pread(mem, data, PAGE, (off_t)at) != PAGE)
			continue;
		compared_pages++;
		if (memcmp(slot->data ? slot->data : zero, data, PAGE) != 0 && wrong++ < 5)
			printf("# page %lx differs, %s\n", at,
			       slot->data ? "as it was" : "not in the copy");
	}
	return wrong;
}

/* Everything that has content, and all pages of the mappings that are ours: what is not in the copy
 * is zero there. But for address space that is reserved only, as AddressSanitizer does. */
static int compare(int mem, const struct rb_ranges *populated)
{
	struct rb_vma *vmas = NULL;
	int count = rb_vmas_read(victim.pid, &vmas, &err), wrong = 0;

	for (size_t i = 0; i < populated->n; i++)
		wrong += compare_range(mem, populated->list[i].start, populated->list[i].end);
	for (int i = 0; i < count; i++)
		if (vmas[i].ours && vmas[i].end - vmas[i].start <= 2 * arena_size)
			wrong += compare_range(mem, vmas[i].start, vmas[i].end);
	free(vmas);
	return count < 0 ? count : wrong;
}

static void free_copy(void)
{
	for (size_t i = 0; i < SLOTS; i++)
		free(slots[i].data);
	free(slots);
}

/* --- rounds */

static struct rb_tracker *tracker;
static struct rb_ranges ranges;
static unsigned long dirty_pages;

static void wait_steps(void)
{
	unsigned long until = atomic_load(steps_done) + STEPS;

	for (int i = 0; i < 100000 && atomic_load(steps_done) < until; i++)
		usleep(200);
}

static int round_running(int mem)
{
	int r;

	rb_ranges_clear(&ranges);
	r = rb_tracker_scan(tracker, true, &ranges, &err);
	store_ranges(mem, &ranges);
	dirty_pages += rb_ranges_bytes(&ranges) / PAGE;
	return r;
}

static bool same(const struct rb_ranges *a, const struct rb_ranges *b)
{
	return a->n == b->n && (!a->n || memcmp(a->list, b->list, a->n * sizeof(*a->list)) == 0);
}

/* both lists at once are those that come one by one */
static int look(struct rb_ranges *written, struct rb_ranges *populated)
{
	_cleanup_(rb_ranges_free) struct rb_ranges all = {}, some = {};
	struct rb_vma *vmas = NULL;
	int count = rb_vmas_read(victim.pid, &vmas, &err);
	int r = count < 0 ? count
			  : rb_tracker_look(tracker, victim.pid, vmas, count, written, populated,
					    &err);

	free(vmas);
	if (r == 0)
		r = rb_tracker_scan(tracker, false, &some, &err);
	if (r == 0)
		r = rb_populated(victim.pid, &all, &err);
	return r == 0 && !(same(written, &some) && same(populated, &all)) ? -EBADE : r;
}

static int round_frozen(int mem)
{
	_cleanup_(rb_ranges_free) struct rb_ranges populated = {};
	int r = rb_freezer_freeze(victim_freezer, NULL, &err);

	rb_ranges_clear(&ranges);
	if (r == 0)
		r = look(&ranges, &populated);
	store_ranges(mem, &ranges);
	keep_only(&populated);
	if (r == 0)
		r = compare(mem, &populated);
	if (rb_freezer_thaw(victim_freezer, &err) < 0)
		return -EIO;
	return r;
}

static void not_one_wrong_byte(void)
{
	char path[64];
	int mem, r = 0;

	slots = calloc(SLOTS, sizeof(*slots));
	steps_done = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	printf("# seed %lu\n", seed);
	victim = victim_start(live);
	CHECK(victim.pid > 0);
	/* an order that never ends */
	victim_tell(&victim, (struct order){ .kind = DO_CALL });
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)victim.pid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(mem >= 0);
	CHECK_INT(rb_tracker_arm(victim.pid, RB_TRACK_UFFD_WP, &tracker, NULL, &err), 0);
	for (long i = 0; r == 0 && i < rounds; i++) {
		wait_steps();
		r = i % COMPARE_EVERY == COMPARE_EVERY - 1 ? round_frozen(mem) : round_running(mem);
		if (r != 0)
			printf("# round %ld: %d %s\n", i, r, err.msg);
	}
	printf("# %lu steps, %lu dirty pages, %lu compared\n", atomic_load(steps_done), dirty_pages,
	       compared_pages);
	CHECK_INT(r, 0);
	CHECK(dirty_pages > 0 && compared_pages > 0);
	CHECK_INT(kill(victim.pid, 0), 0);
	rb_tracker_free(tracker);
	CHECK_INT(count_watched(victim.pid), 0);
	close(mem);
	victim_end(&victim);
}

static void never_ending(void)
{
	for (;;) {
		/* what sigsetjmp() returns after a fault: the step is over */
		if (sigsetjmp(out, 1) == 0)
			step();
		atomic_fetch_add(steps_done, 1);
	}
}

int main(int argc, char **argv)
{
	const char *why;

	if (argc > 1)
		seed = strtoul(argv[1], NULL, 0);
	if (argc > 2)
		rounds = strtol(argv[2], NULL, 0);
	victim_call = never_ending;
	why = victim_setup("random");
	if (!why && !rb_track_supported(RB_TRACK_UFFD_WP))
		why = "needs userfaultfd write-protection and PAGEMAP_SCAN";
	if (why) {
		printf("1..0 # SKIP %s\n", why);
		return 0;
	}
	TAP_RUN(not_one_wrong_byte);
	free_copy();
	rb_ranges_free(&ranges);
	victim_teardown();
	return tap_done();
}
