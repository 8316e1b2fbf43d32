// SPDX-License-Identifier: Apache-2.0
/*
 * shifter.c - memory whose mappings change all the time, and whose content is known all the time
 *
 * usage: shifter [-s seed] [-r steps_per_second] MEBIBYTES
 *
 * Up to AREAS mappings come and go: a step writes some pages, maps an area, unmaps one, grows,
 * shrinks or moves one (mremap), drops pages of one (MADV_DONTNEED), moves the end of the heap, or
 * forks a child that verifies all it has inherited, writes to it, verifies again and exits. A page
 * holds the stream named by (seed, identity of the page, its generation), or zeros when it was
 * dropped or never written. Identities move along with mremap. The tables are memory, too.
 *
 * Pages are verified in turn all the time. Every 200 ms "ok <steps> <verified>" is printed; on
 * SIGUSR1 all pages are verified, and "all <steps> <pages>" follows; at SIGTERM "end ...". At a
 * mismatch "BAD ..." and exit status 1.
 */
#include <malloc.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "victim.h"

#define PAGE	  4096
#define AREAS	  48
#define TICK_US	  5000
#define REPORT_US 200000
#define HEAP_MAX  512 /* pages */

struct area {
	uint8_t *data;	       /* NULL: free */
	uint32_t *generations; /* of each page, 0: zeros */
	uint64_t *identities;
	size_t pages;
};

static struct {
	struct area areas[AREAS], heap;
	size_t pages, pages_max, area_pages_max;
	uint64_t seed, random, steps, verified, next_identity;
	size_t at_area, at_page; /* to be verified next */
} shifter;

static volatile sig_atomic_t verify_all;

static void on_verify(int sig)
{
	(void)sig;
	verify_all = 1;
}

static uint64_t draw(uint64_t below)
{
	shifter.random = victim_mix(shifter.random);
	return below ? shifter.random % below : 0;
}

static _Noreturn void bad(const char *what, const struct area *area, size_t page)
{
	printf("BAD %s: area of %zu pages at %p, page %zu, generation %u, begins with %02x\n", what,
	       area->pages, (void *)area->data, page, area->generations[page],
	       area->data[page * PAGE]);
	fflush(stdout);
	_exit(1);
}

static void verify_page(const struct area *area, size_t page)
{
	const uint8_t *data = area->data + page * PAGE;
	uint64_t key = victim_mix(shifter.seed + area->identities[page]) + area->generations[page];

	if (area->generations[page] == 0) {
		for (size_t i = 0; i < PAGE; i++)
			if (data[i])
				bad("not zero", area, page);
	} else if (victim_check(data, PAGE, key, 0) >= 0) {
		bad("wrong content", area, page);
	}
	shifter.verified++;
}

static void write_page(struct area *area, size_t page)
{
	area->generations[page]++;
	victim_fill(area->data + page * PAGE, PAGE,
		    victim_mix(shifter.seed + area->identities[page]) + area->generations[page], 0);
}

static void must(bool good, const char *what)
{
	if (good)
		return;
	printf("BAD %s: %s\n", what, strerror(errno));
	fflush(stdout);
	_exit(1);
}

/* tables for so many pages; new ones get identities of their own, and are zero */
static void resize_tables(struct area *area, size_t pages)
{
	area->generations = realloc(area->generations, pages * sizeof(*area->generations));
	area->identities = realloc(area->identities, pages * sizeof(*area->identities));
	must(area->generations && area->identities, "realloc");
	for (size_t i = area->pages; i < pages; i++) {
		area->generations[i] = 0;
		area->identities[i] = ++shifter.next_identity;
	}
	shifter.pages += pages - area->pages;
	area->pages = pages;
}

static struct area *pick(bool used)
{
	for (size_t tries = 0; tries < AREAS * 4; tries++) {
		struct area *area = &shifter.areas[draw(AREAS)];

		if (!!area->data == used)
			return area;
	}
	return NULL;
}

static void step_map(void)
{
	struct area *area = pick(false);
	size_t pages = 1 + draw(shifter.area_pages_max);
	void *at;

	if (!area || shifter.pages + pages > shifter.pages_max)
		return;
	at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(at != MAP_FAILED, "mmap");
	if (draw(4) == 0)
		madvise(at, pages * PAGE, MADV_HUGEPAGE);
	area->data = at;
	resize_tables(area, pages);
	for (size_t i = 0; i < pages; i++)
		if (draw(4))
			write_page(area, i);
}

static void step_unmap(void)
{
	struct area *area = pick(true);

	if (!area || shifter.pages < shifter.pages_max / 2)
		return;
	must(munmap(area->data, area->pages * PAGE) == 0, "munmap");
	shifter.pages -= area->pages;
	free(area->generations);
	free(area->identities);
	*area = (struct area){};
}

static void step_remap(void)
{
	struct area *area = pick(true);
	size_t pages = 1 + draw(shifter.area_pages_max);
	void *at;

	if (!area || shifter.pages + pages > shifter.pages_max)
		return;
	/* to another place half of the time, also when it would fit */
	if (draw(2)) {
		void *place =
			mmap(NULL, pages * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		must(place != MAP_FAILED, "mmap");
		at = mremap(area->data, area->pages * PAGE, pages * PAGE,
			    MREMAP_MAYMOVE | MREMAP_FIXED, place);
	} else {
		at = mremap(area->data, area->pages * PAGE, pages * PAGE, MREMAP_MAYMOVE);
	}
	must(at != MAP_FAILED, "mremap");
	area->data = at;
	resize_tables(area, pages);
}

static void step_drop(void)
{
	struct area *area = pick(true);
	size_t first, count;

	if (!area)
		return;
	first = draw(area->pages);
	count = 1 + draw(area->pages - first);
	must(madvise(area->data + first * PAGE, count * PAGE, MADV_DONTNEED) == 0, "madvise");
	memset(area->generations + first, 0, count * sizeof(*area->generations));
	/* what comes next must differ from what was there before */
	for (size_t i = first; i < first + count; i++)
		area->identities[i] = ++shifter.next_identity;
}

static void step_heap(void)
{
	struct area *heap = &shifter.heap;
	size_t pages = 1 + draw(HEAP_MAX);

	/* the C library moves the end of the heap, too: ours lies above it, and stays the last */
	if (sbrk(0) != heap->data + heap->pages * PAGE)
		return;
	if (pages < heap->pages)
		must(sbrk(-(intptr_t)((heap->pages - pages) * PAGE)) != (void *)-1, "sbrk");
	else
		must(sbrk((intptr_t)((pages - heap->pages) * PAGE)) != (void *)-1, "sbrk");
	resize_tables(heap, pages);
	write_page(heap, pages - 1);
}

static void step_write(void)
{
	struct area *area = draw(8) ? pick(true) : &shifter.heap;

	for (size_t n = area ? 1 + draw(16) : 0; n; n--)
		write_page(area, draw(area->pages));
}

static size_t verify_everything(void)
{
	size_t pages = 0;

	for (size_t i = 0; i <= AREAS; i++) {
		const struct area *area = i < AREAS ? &shifter.areas[i] : &shifter.heap;

		for (size_t k = 0; k < area->pages; k++)
			verify_page(area, k);
		pages += area->pages;
	}
	return pages;
}

static void step_fork(void)
{
	int status;
	pid_t pid = fork();

	must(pid >= 0, "fork");
	if (pid == 0) {
		verify_everything();
		for (int i = 0; i < 200; i++) {
			step_write();
			step_drop();
		}
		verify_everything();
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0)
		must(errno == EINTR, "waitpid");
	must(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child");
}

static void step(void)
{
	uint64_t what = draw(1000);

	if (what < 700)
		step_write();
	else if (what < 770)
		step_map();
	else if (what < 820)
		step_unmap();
	else if (what < 890)
		step_remap();
	else if (what < 950)
		step_drop();
	else if (what < 998)
		step_heap();
	else
		step_fork();
	shifter.steps++;
}

static void verify_some(int64_t until_us)
{
	while (victim_now_us() < until_us && !victim_stop && !verify_all) {
		const struct area *area = shifter.at_area < AREAS ? &shifter.areas[shifter.at_area]
								  : &shifter.heap;

		if (shifter.at_page >= area->pages) {
			shifter.at_area = (shifter.at_area + 1) % (AREAS + 1);
			shifter.at_page = 0;
			continue;
		}
		verify_page(area, shifter.at_page++);
	}
}

static void begin(size_t mebibytes)
{
	struct sigaction action = { .sa_handler = on_verify };

	sigaction(SIGUSR1, &action, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	shifter.pages_max = mebibytes * 256;
	shifter.area_pages_max = shifter.pages_max / AREAS * 2;
	shifter.random = shifter.seed;
	/* tables come from mmap(2): the heap is ours alone */
	mallopt(M_MMAP_THRESHOLD, 1 << 20);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	free(malloc(8 << 20));
	shifter.heap.data = sbrk(0);
	must(sbrk(PAGE) != (void *)-1, "sbrk");
	resize_tables(&shifter.heap, 1);
	while (shifter.pages < shifter.pages_max / 2)
		step_map();
}

int main(int argc, char **argv)
{
	int64_t next_us, report_us;
	size_t per_second = 2000;
	int option;

	while ((option = getopt(argc, argv, "s:r:")) != -1) {
		if (option == 's')
			shifter.seed = strtoull(optarg, NULL, 0);
		else if (option == 'r')
			per_second = strtoul(optarg, NULL, 0);
		else
			return 2;
	}
	if (optind != argc - 1 || atoi(argv[optind]) <= 0) {
		fprintf(stderr, "usage: shifter [-s seed] [-r steps_per_second] MEBIBYTES\n");
		return 2;
	}
	victim_catch_stop();
	begin((size_t)atoi(argv[optind]));
	next_us = report_us = victim_now_us();
	while (!victim_stop) {
		for (size_t i = 0; i < per_second * TICK_US / 1000000 && !victim_stop; i++)
			step();
		next_us += TICK_US;
		/* verifies for half of its time, so that others get on, too */
		verify_some(next_us - TICK_US / 2);
		if (verify_all) {
			verify_all = 0;
			printf("all %llu %zu\n", (unsigned long long)shifter.steps,
			       verify_everything());
		}
		if (victim_now_us() >= report_us) {
			printf("ok %llu %llu\n", (unsigned long long)shifter.steps,
			       (unsigned long long)shifter.verified);
			report_us = victim_now_us() + REPORT_US;
		}
		if (victim_now_us() > next_us + REPORT_US)
			next_us = victim_now_us();
		victim_sleep_us(next_us - victim_now_us());
	}
	printf("end %llu %zu\n", (unsigned long long)shifter.steps, verify_everything());
	return 0;
}
