// SPDX-License-Identifier: Apache-2.0
/*
 * filer.c - what the benchmark of files moves: a writable layer, and who goes on changing it
 *
 *   filer large MIB FILE_MIB KIB_PER_S    MIB in all, FILE_MIB of it in one file, in which then
 * blocks of 4 KiB are written, anywhere, so many KiB per second filer small FILES PER_S so many
 * files of 100 bytes, 100 in a folder; then so many of them are written anew per second
 *
 * Nothing in the files compresses. Says "ready" when all are there, and ends with a message when
 * something cannot be written.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

enum { BLOCK_BYTES = 4096, MIB_BYTES = 1 << 20, PER_FOLDER = 100, SMALL_BYTES = 100, TICK_MS = 10 };

static uint64_t next_random(void)
{
	static uint64_t state;

	while (state == 0)
		if (getrandom(&state, sizeof(state), 0) < 0)
			bench_die("getrandom");
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void fill(void *data, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += sizeof(uint64_t)) {
		uint64_t word = next_random();
		size_t n = bytes - at < sizeof(word) ? bytes - at : sizeof(word);

		memcpy((char *)data + at, &word, n);
	}
}

static int make_file(const char *path, uint64_t mib)
{
	static char block[MIB_BYTES];
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		bench_die(path);
	for (uint64_t i = 0; i < mib; i++) {
		fill(block, sizeof(block));
		if (write(fd, block, sizeof(block)) != (ssize_t)sizeof(block))
			bench_die(path);
	}
	return fd;
}

static void say_ready(void)
{
	puts("ready");
	fflush(stdout);
}

/* @per_s: how often; several in one tick, if they must */
static void at_rate(uint64_t per_s, void (*act)(void *arg), void *arg)
{
	struct timespec began, now;
	uint64_t done = 0;

	clock_gettime(CLOCK_MONOTONIC, &began);
	for (;;) {
		const struct timespec tick = { .tv_nsec = TICK_MS * 1000000L };
		uint64_t ms;

		clock_gettime(CLOCK_MONOTONIC, &now);
		ms = (uint64_t)(now.tv_sec - began.tv_sec) * 1000 +
		     (uint64_t)((now.tv_nsec - began.tv_nsec) / 1000000);
		/* no haste to make up for a time in which it stood still */
		if (ms * per_s / 1000 > done + per_s) {
			began = now;
			done = 0;
			ms = 0;
		}
		for (; done < ms * per_s / 1000; done++)
			act(arg);
		nanosleep(&tick, NULL);
	}
}

struct large {
	int fd;
	uint64_t blocks;
};

static void write_block(void *arg)
{
	const struct large *large = arg;
	char block[BLOCK_BYTES];

	fill(block, sizeof(block));
	if (pwrite(large->fd, block, sizeof(block),
		   (off_t)(next_random() % large->blocks * BLOCK_BYTES)) != (ssize_t)sizeof(block))
		bench_die("pwrite");
}

static void be_large(uint64_t mib, uint64_t file_mib, uint64_t kib_per_s)
{
	struct large large = { .blocks = file_mib * MIB_BYTES / BLOCK_BYTES };

	mkdir("/layer", 0755);
	if (mib > file_mib)
		close(make_file("/layer/rest", mib - file_mib));
	large.fd = make_file("/layer/changing", file_mib);
	say_ready();
	at_rate(kib_per_s * 1024 / BLOCK_BYTES, write_block, &large);
}

static void small_path(uint64_t i, char *ret, size_t size)
{
	snprintf(ret, size, "/layer/%llu/%llu", (unsigned long long)(i / PER_FOLDER),
		 (unsigned long long)i);
}

static void write_small(void *arg)
{
	char path[64], data[SMALL_BYTES];
	int fd;

	small_path(next_random() % *(const uint64_t *)arg, path, sizeof(path));
	fill(data, sizeof(data));
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, data, sizeof(data)) != (ssize_t)sizeof(data))
		bench_die(path);
	close(fd);
}

static void be_small(uint64_t files, uint64_t per_s)
{
	char path[64], data[SMALL_BYTES];

	mkdir("/layer", 0755);
	for (uint64_t i = 0; i < files; i++) {
		int fd;

		if (i % PER_FOLDER == 0) {
			snprintf(path, sizeof(path), "/layer/%llu",
				 (unsigned long long)(i / PER_FOLDER));
			mkdir(path, 0755);
		}
		small_path(i, path, sizeof(path));
		fill(data, sizeof(data));
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		if (fd < 0 || write(fd, data, sizeof(data)) != (ssize_t)sizeof(data))
			bench_die(path);
		close(fd);
	}
	say_ready();
	at_rate(per_s, write_small, &files);
}

int main(int argc, char **argv)
{
	uint64_t number[3] = {};

	for (int i = 2; i < argc && i < 5; i++)
		number[i - 2] = strtoull(argv[i], NULL, 10);
	if (argc == 5 && strcmp(argv[1], "large") == 0 && number[1] && number[2])
		be_large(number[0], number[1], number[2]);
	if (argc == 4 && strcmp(argv[1], "small") == 0 && number[0] && number[1])
		be_small(number[0], number[1]);
	fputs("usage: filer large MIB FILE_MIB KIB_PER_S | small FILES PER_S\n", stderr);
	return 2;
}
