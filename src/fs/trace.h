/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace.h - what the kernel says of writes to some inodes, by its tracepoints (inside of fs/ only)
 *
 * perf_event_open(2) on each CPU, for all processes, filtered by inode number in the kernel. All of
 * it is held by descriptors: nothing is left when they are closed, by whoever or whatever.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum trace_kind {
	TRACE_FOLIO,	 /* writeback:writeback_dirty_folio: a clean folio became dirty */
	TRACE_DIO_BEGIN, /* iomap:iomap_dio_rw_begin: a direct write, or read, starts */
	TRACE_DIO_END,	 /* iomap:iomap_dio_complete: it is over, maybe in part, maybe failed */
	TRACE_ZERO,	 /* ext4:ext4_zero_range: FALLOC_FL_ZERO_RANGE or FALLOC_FL_WRITE_ZEROES */
	TRACE_KINDS,
};

struct trace_event {
	enum trace_kind kind;
	uint64_t ino; /* of whichever file system: numbers are not unique */
	/* bytes; of TRACE_FOLIO: index of its first page, and 1; 0 of TRACE_DIO_END: anywhere */
	uint64_t offset, len;
};

struct trace;

/**
 * trace_open - find the tracepoints, and make a ring for each CPU
 * @ret_why: set to what is missing when this fails
 *
 * tracefs need not be mounted: an instance without a place is opened. Needs CAP_PERFMON and
 * CAP_SYS_ADMIN, a kernel with tracepoints, of 6.6 or later (iomap's), not locked down.
 *
 * Return: 0 or negative errno.
 */
int trace_open(struct trace **ret, const char **ret_why);

/** trace_close - NULL is allowed */
void trace_close(struct trace *trace);

/**
 * trace_watch - have what happens to @inos recorded, besides those that are watched already
 * @n: up to TRACE_INOS
 *
 * Return: 0 or negative errno (-EMFILE: a descriptor is needed for each CPU and tracepoint).
 */
#define TRACE_INOS 128
int trace_watch(struct trace *trace, const uint64_t *inos, size_t n);

/** trace_drain - call @each for all that has been recorded until now */
void trace_drain(struct trace *trace, void (*each)(void *arg, const struct trace_event *event),
		 void *arg);

/**
 * trace_complete - is nothing lost?
 *
 * False from then on when a ring was full once, or a CPU was plugged in or out. Ask *after*
 * trace_drain(): a ring can be full without room for a record that says so.
 */
bool trace_complete(struct trace *trace);
