// SPDX-License-Identifier: Apache-2.0
/*
 * smaps.c - what CRIU reads in /proc/PID/smaps, put together from what is had faster
 *
 * A mapping's first line is the same in /proc/PID/maps, and its flags are a number in the kernel
 * (vmflags.h). What is missing is how this kernel prints the number, as "VmFlags: rd wr mr mw ".
 * Nothing is assumed about the meaning of bits. The kernel prints one word for each bit that is
 * set, the lowest first, and none for a few that it keeps to itself; so in a mapping of ours, of
 * which both are known, and which has as many words as bits, each bit has its word. We make
 * mappings with all sorts of flags and look at them. A flag that was never seen this way is none
 * that we can tell of, and CRIU shall read the kernel's own file.
 */
#include "smaps.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "vmflags.h"

#define MAPS_MAX ((size_t)256 << 20)

enum { BITS = 64, WORD = 8 };

struct rb_smaps {
	int program;
	char words[BITS][WORD]; /* as the kernel prints them; "": not known */
	char *gate;		/* the line of a mapping that all have and none owns, or NULL */
	char *gate_flags;
};

/* --- mappings to learn from --- */

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif

static const struct sample {
	int map, advice;
} samples[] = {
	{ MAP_PRIVATE, 0 },
	{ MAP_SHARED, 0 },
	{ MAP_PRIVATE | MAP_GROWSDOWN, 0 },
	{ MAP_PRIVATE | MAP_NORESERVE, 0 },
	{ MAP_PRIVATE | MAP_LOCKED, 0 },
	{ MAP_PRIVATE | MAP_HUGETLB | MAP_NORESERVE, 0 },
	{ MAP_DROPPABLE, 0 },
	{ MAP_PRIVATE, MADV_RANDOM },
	{ MAP_PRIVATE, MADV_SEQUENTIAL },
	{ MAP_PRIVATE, MADV_DONTFORK },
	{ MAP_PRIVATE, MADV_DONTDUMP },
	{ MAP_PRIVATE, MADV_MERGEABLE },
	{ MAP_PRIVATE, MADV_HUGEPAGE },
	{ MAP_PRIVATE, MADV_NOHUGEPAGE },
	{ MAP_PRIVATE, MADV_WIPEONFORK },
};

#define HUGE_BYTES ((size_t)2 << 20)

struct made {
	void *at[ARRAY_SIZE(samples) + 1];
	size_t len[ARRAY_SIZE(samples) + 1];
	int uffd;
};

/* as the memory of the container is, which is followed (memory/track.h) */
static void watch(struct made *made, void *at, size_t len)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .range = { (uintptr_t)at, len },
				       .mode = UFFDIO_REGISTER_MODE_WP };

	made->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (made->uffd >= 0 && ioctl(made->uffd, UFFDIO_API, &api) == 0)
		ioctl(made->uffd, UFFDIO_REGISTER, &reg);
}

/* One that cannot be made teaches nothing. Neighbours could become one: they have gaps. */
static void make_samples(struct made *made)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);

	*made = (struct made){ .uffd = -EBADF };
	for (size_t i = 0; i <= ARRAY_SIZE(samples); i++) {
		struct sample sample = { MAP_PRIVATE, 0 };
		int prot = PROT_READ | PROT_WRITE;
		size_t len = 3 * page;
		char *at;

		if (i < ARRAY_SIZE(samples))
			sample = samples[i];
		if (sample.map & MAP_HUGETLB)
			len = HUGE_BYTES;
		at = mmap(NULL, len, prot, sample.map | MAP_ANONYMOUS, -1, 0);
		if (at == MAP_FAILED)
			continue;
		made->at[i] = at;
		made->len[i] = len;
		if (sample.map & MAP_HUGETLB)
			continue;
		mprotect(at, page, PROT_NONE);
		mprotect(at + 2 * page, page, PROT_NONE);
		if (sample.advice)
			madvise(at + page, page, sample.advice);
		if (i == ARRAY_SIZE(samples))
			watch(made, at + page, page);
	}
}

static void unmake_samples(struct made *made)
{
	rb_close_fd(&made->uffd);
	for (size_t i = 0; i < ARRAY_SIZE(made->at); i++)
		if (made->at[i])
			munmap(made->at[i], made->len[i]);
}

/* --- learning --- */

static bool parse_range(const char *line, uint64_t *ret_start, uint64_t *ret_end)
{
	unsigned long start, end;
	int at = 0;

	if (sscanf(line, "%lx-%lx %n", &start, &end, &at) < 2 || !at)
		return false;
	*ret_start = start;
	*ret_end = end;
	return true;
}

static int by_start(const void *key, const void *element)
{
	const uint64_t *start = key;
	const struct rb_vmflags *vma = element;

	return (*start > vma->start) - (*start < vma->start);
}

static const struct rb_vmflags *find(const struct rb_vmflags *list, size_t n, uint64_t start,
				     uint64_t end)
{
	const struct rb_vmflags *vma = bsearch(&start, list, n, sizeof(*list), by_start);

	return vma && vma->end == end ? vma : NULL;
}

/* Return: 0, also when nothing can be learned from it; -EIO: a bit with two words */
static int learn_words(struct rb_smaps *smaps, uint64_t flags, char *text)
{
	char *words[BITS], *save = NULL;
	int n = 0;

	for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		if (n == BITS || strlen(word) >= WORD)
			return 0;
		words[n++] = word;
	}
	if (n != __builtin_popcountll(flags))
		return 0;
	for (int i = 0; flags; i++, flags &= flags - 1) {
		char *known = smaps->words[__builtin_ctzll(flags)];

		if (*known && strcmp(known, words[i]) != 0)
			return -EIO;
		strcpy(known, words[i]);
	}
	return 0;
}

/* Both lists of flags, from before and after, must agree. */
static int learn_from(struct rb_smaps *smaps, char *text, const struct rb_vmflags *before,
		      size_t n_before, const struct rb_vmflags *after, size_t n_after)
{
	static const char mark[] = "VmFlags: ";
	char *save = NULL, *header = NULL;
	uint64_t start = 0, end = 0;
	int r = 0;

	for (char *line = strtok_r(text, "\n", &save); r == 0 && line;
	     line = strtok_r(NULL, "\n", &save)) {
		const struct rb_vmflags *a, *b;

		if (parse_range(line, &start, &end))
			header = line;
		if (!header || strncmp(line, mark, strlen(mark)) != 0)
			continue;
		a = find(before, n_before, start, end);
		b = find(after, n_after, start, end);
		if (a && b && a->flags == b->flags) {
			r = learn_words(smaps, a->flags, line + strlen(mark));
		} else if (!a && !b && !smaps->gate && strstr(header, " [vsyscall]")) {
			smaps->gate = strdup(header);
			smaps->gate_flags = strdup(line);
			if (!smaps->gate || !smaps->gate_flags)
				r = -ENOMEM;
		}
	}
	return r;
}

static int learn(struct rb_smaps *smaps, struct rb_err *err)
{
	_cleanup_free_ struct rb_vmflags *before = NULL, *after = NULL;
	_cleanup_buf_ struct rb_buf text = {};
	size_t n_before = 0, n_after = 0;
	struct made made;
	int r;

	make_samples(&made);
	r = rb_vmflags_read(smaps->program, getpid(), &before, &n_before, err);
	if (r == 0)
		r = rb_read_file("/proc/self/smaps", MAPS_MAX, &text, err);
	if (r == 0)
		r = rb_vmflags_read(smaps->program, getpid(), &after, &n_after, err);
	unmake_samples(&made);
	if (r < 0)
		return r;
	r = learn_from(smaps, text.data, before, n_before, after, n_after);
	return r < 0 ? rb_err_set(err, r, "learn the flags of mappings") : 0;
}

int rb_smaps_new(struct rb_smaps **ret, struct rb_err *err)
{
	struct rb_smaps *smaps = calloc(1, sizeof(*smaps));
	int r;

	if (!smaps)
		return rb_err_set(err, -ENOMEM, "learn the flags of mappings");
	smaps->program = rb_vmflags_open(err);
	r = smaps->program < 0 ? smaps->program : learn(smaps, err);
	if (r < 0) {
		rb_smaps_free(smaps);
		return r;
	}
	*ret = smaps;
	return 0;
}

void rb_smaps_free(struct rb_smaps *smaps)
{
	if (!smaps)
		return;
	rb_close_fd(&smaps->program);
	free(smaps->gate);
	free(smaps->gate_flags);
	free(smaps);
}

/* --- writing --- */

static int add_flags(const struct rb_smaps *smaps, uint64_t flags, struct rb_buf *out)
{
	int r = rb_buf_addf(out, "VmFlags: ");

	for (; r == 0 && flags; flags &= flags - 1) {
		const char *word = smaps->words[__builtin_ctzll(flags)];

		r = *word ? rb_buf_addf(out, "%s ", word) : -ENOTSUP;
	}
	return r < 0 ? r : rb_buf_add(out, "\n", 1);
}

/* Each line must be of the next mapping, and each mapping have its line. */
static int put_together(const struct rb_smaps *smaps, char *maps, const struct rb_vmflags *list,
			size_t n, struct rb_buf *out)
{
	char *save = NULL;
	size_t k = 0;
	int r = 0;

	for (char *line = strtok_r(maps, "\n", &save); r == 0 && line;
	     line = strtok_r(NULL, "\n", &save)) {
		uint64_t start, end;

		r = rb_buf_addf(out, "%s\n", line);
		if (r < 0)
			break;
		if (!parse_range(line, &start, &end))
			r = -EAGAIN;
		else if (k < n && list[k].start == start && list[k].end == end)
			r = add_flags(smaps, list[k++].flags, out);
		else if (k == n && smaps->gate && strcmp(line, smaps->gate) == 0)
			r = rb_buf_addf(out, "%s\n", smaps->gate_flags);
		else
			r = -EAGAIN;
	}
	return r == 0 && k < n ? -EAGAIN : r;
}

int rb_smaps_write(const struct rb_smaps *smaps, pid_t pid, const char *path, struct rb_err *err)
{
	_cleanup_free_ struct rb_vmflags *list = NULL;
	_cleanup_buf_ struct rb_buf maps = {}, out = {};
	char maps_path[64];
	size_t n = 0;
	int r = rb_vmflags_read(smaps->program, pid, &list, &n, err);

	snprintf(maps_path, sizeof(maps_path), "/proc/%d/maps", (int)pid);
	if (r == 0)
		r = rb_read_file(maps_path, MAPS_MAX, &maps, err);
	if (r == 0 && maps.len == 0)
		r = -ESRCH;
	if (r < 0)
		return r;
	r = put_together(smaps, maps.data, list, n, &out);
	return r < 0 ? rb_err_set(err, r, "list the mappings of process %d", (int)pid)
		     : rb_write_file(path, out.data, out.len, 0600, false, err);
}
