// SPDX-License-Identifier: Apache-2.0
/*
 * dirtier.c - memory that changes all the time, and whose content is known all the time
 *
 * usage: dirtier [-f file] [-h hot percent] [-s seed] MEBIBYTES PAGES_PER_SECOND
 *
 * Page i holds the byte stream named by (seed, i, generation of i). A rewrite takes a random page
 * to its next generation; with -h, only among the first so many percent. What time is left is used
 * to verify pages in turn. The generations are kept in a table, which is memory, too: table and
 * page from different moments do not match. With -f the pages are those of a file that is mapped
 * (MAP_SHARED), and verified by what the file of that name has. Every 200 ms "ok <rewritten>
 * <verified>" is printed;
 * at SIGTERM all pages are verified before "end ...". At a mismatch "BAD ..." and exit status 1.
 */
#include <fcntl.h>
#include <sys/mman.h>

#include "victim.h"

#define PAGE	  4096
#define TICK_US	  10000
#define REPORT_US 200000

struct memory {
	const char *file; /* NULL: it is the process's own */
	uint8_t *data;
	uint32_t *generations;
	size_t pages;
	size_t hot_pages;
	uint64_t seed;
	uint64_t rewritten;
	uint64_t verified;
};

static uint64_t page_key(const struct memory *mem, size_t page)
{
	return victim_mix(mem->seed + page) + mem->generations[page];
}

static void page_write(struct memory *mem, size_t page)
{
	victim_fill(mem->data + page * PAGE, PAGE, page_key(mem, page), 0);
}

/* Whoever opens the file has to see what was written by the mapping. */
static const uint8_t *page_read(const struct memory *mem, size_t page)
{
	static uint8_t copy[PAGE];
	int fd;

	if (!mem->file)
		return mem->data + page * PAGE;
	fd = open(mem->file, O_RDONLY);
	if (fd < 0 || pread(fd, copy, PAGE, (off_t)(page * PAGE)) != PAGE) {
		printf("BAD page %zu cannot be read from %s\n", page, mem->file);
		exit(1);
	}
	close(fd);
	return copy;
}

static void page_verify(struct memory *mem, size_t page)
{
	const uint8_t *data = page_read(mem, page);
	int64_t at = victim_check(data, PAGE, page_key(mem, page), 0);

	if (at >= 0) {
		printf("BAD page %zu generation %u byte %lld is %02x\n", page,
		       mem->generations[page], (long long)at, data[at]);
		exit(1);
	}
	mem->verified++;
}

/* @file: NULL: of this process's own */
static void *allocate(size_t len, const char *file)
{
	int fd = file ? open(file, O_RDWR | O_CREAT | O_TRUNC, 0600) : -1;
	void *at = MAP_FAILED;

	if (!file || (fd >= 0 && ftruncate(fd, (off_t)len) == 0))
		at = mmap(NULL, len, PROT_READ | PROT_WRITE,
			  file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, fd, 0);
	if (at == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	if (fd >= 0)
		close(fd);
	return at;
}

static void memory_make(struct memory *mem)
{
	mem->data = allocate(mem->pages * PAGE, mem->file);
	mem->generations = allocate(mem->pages * sizeof(*mem->generations), NULL);
	for (size_t i = 0; i < mem->pages; i++)
		page_write(mem, i);
}

/* as many rewrites as are due since @start_us, at most what fits into a tenth of a second: after a
 * freeze nothing is made up for */
static void rewrite_due(struct memory *mem, uint64_t per_s, int64_t now_us, int64_t *last_us)
{
	uint64_t due = (uint64_t)(now_us - *last_us) * per_s / 1000000;

	if (!due)
		return;
	*last_us = now_us;
	if (due > per_s / 10 + 1)
		due = per_s / 10 + 1;
	for (; due; due--) {
		size_t page = victim_mix(mem->seed ^ ++mem->rewritten) % mem->hot_pages;

		mem->generations[page]++;
		page_write(mem, page);
	}
}

static void run(struct memory *mem, uint64_t per_s)
{
	int64_t last_us = victim_now_us(), report_us = last_us + REPORT_US;
	size_t next = 0;

	while (!victim_stop) {
		int64_t tick_us = victim_now_us();

		rewrite_due(mem, per_s, tick_us, &last_us);
		/* at most a third of the processor for verifying */
		while (victim_now_us() - tick_us < TICK_US / 3)
			page_verify(mem, next++ % mem->pages);
		if (tick_us >= report_us) {
			printf("ok %llu %llu\n", (unsigned long long)mem->rewritten,
			       (unsigned long long)mem->verified);
			fflush(stdout);
			report_us = tick_us + REPORT_US;
		}
		victim_sleep_us(tick_us + TICK_US - victim_now_us());
	}
}

int main(int argc, char **argv)
{
	struct memory mem = { .seed = 1 };
	long hot_percent = 100, per_s;
	int option;

	while ((option = getopt(argc, argv, "f:h:s:")) > 0) {
		if (option == 'h')
			hot_percent = victim_number(optarg, "hot percent", 1, 100);
		else if (option == 'f')
			mem.file = optarg;
		else if (option == 's')
			mem.seed = (uint64_t)victim_number(optarg, "seed", 0, INT64_MAX);
		else
			return 2;
	}
	if (argc - optind != 2) {
		fprintf(stderr,
			"usage: %s [-f file] [-h percent] [-s seed] MEBIBYTES PAGES_PER_SECOND\n",
			argv[0]);
		return 2;
	}
	mem.pages = (size_t)victim_number(argv[optind], "size", 1, 1 << 20) * 256;
	per_s = victim_number(argv[optind + 1], "rate", 0, 10000000);
	mem.hot_pages = mem.pages * (size_t)hot_percent / 100;
	mem.hot_pages += !mem.hot_pages;
	victim_catch_stop();
	memory_make(&mem);
	run(&mem, (uint64_t)per_s);
	for (size_t i = 0; i < mem.pages; i++)
		page_verify(&mem, i);
	printf("end %llu %llu\n", (unsigned long long)mem.rewritten,
	       (unsigned long long)mem.verified);
	return 0;
}
