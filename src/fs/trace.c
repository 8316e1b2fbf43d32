// SPDX-License-Identifier: Apache-2.0
/*
 * trace.c - what the kernel says of writes to some inodes, by its tracepoints
 *
 * One ring a CPU, owned by a software event that never fires (PERF_COUNT_SW_DUMMY). Events of
 * tracepoints are added later and write to the ring of their CPU (PERF_EVENT_IOC_SET_OUTPUT). A
 * filter cannot be changed once it is set (EEXIST, kernel/trace/trace_events_filter.c,
 * ftrace_profile_set_filter()), so more inodes take more events.
 *
 * What is lost is counted by the kernel (PERF_FORMAT_LOST, since 6.0): PERF_RECORD_LOST alone comes
 * with the next event that fits, which may be never.
 *
 * An event is in its ring when the system call that caused it is over: perf_output_end() moves
 * the head at once, only the waking of readers is put off. So what was written by tasks that are
 * frozen now is there.
 */
#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"

#define FORMAT_MAX  16384
#define FILTER_MAX  4096	       /* of the kernel: a page */
#define RINGS_BYTES ((size_t)16 << 20) /* of all CPUs; 8 MiB hold 100,000 events */
#define RING_MIN    ((size_t)64 << 10)
#define RING_MAX    ((size_t)2 << 20)
#define RECORD_MAX  512
#define CPUS_MAX    4096
#define ONLINE_MAX  1024
#define MAX_FIELDS  4

struct field {
	const char *name;
	size_t offset, size;
};

struct point {
	const char *path;
	struct field fields[MAX_FIELDS]; /* the first is the inode */
	uint64_t id;
};

struct ring {
	int fd, cpu;
	struct perf_event_mmap_page *head;
	const uint8_t *data;
};

struct trace {
	struct point points[TRACE_KINDS];
	struct ring *rings;
	size_t n_rings, ring_bytes;
	int *events; /* one for each CPU, tracepoint, and call of trace_watch() */
	size_t n_events;
	char online[ONLINE_MAX];
	bool lost;
};

static const struct point points[TRACE_KINDS] = {
	[TRACE_FOLIO] = { .path = "writeback/writeback_dirty_folio",
			  .fields = { { .name = "ino" }, { .name = "index" } } },
	[TRACE_DIO_BEGIN] = { .path = "iomap/iomap_dio_rw_begin",
			      .fields = { { .name = "ino" },
					  { .name = "pos" },
					  { .name = "count" } } },
	[TRACE_DIO_END] = { .path = "iomap/iomap_dio_complete",
			    .fields = { { .name = "ino" }, { .name = "pos" }, { .name = "ret" } } },
	[TRACE_ZERO] = { .path = "ext4/ext4_zero_range",
			 .fields = { { .name = "ino" }, { .name = "offset" }, { .name = "len" } } },
};

static const char online_path[] = "/sys/devices/system/cpu/online";

/* A tracefs of our own, mounted nowhere. */
static int open_tracefs(void)
{
	_cleanup_close_ int fs = (int)syscall(SYS_fsopen, "tracefs", FSOPEN_CLOEXEC);
	int fd;

	if (fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	fd = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static int read_text(int dir_fd, const char *path, char *ret, size_t size)
{
	_cleanup_close_ int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = rb_read_all(fd, ret, size - 1);
	if (n < 0)
		return (int)n;
	ret[n] = '\0';
	return 0;
}

/* "	field:ino_t ino;	offset:40;	size:8;	signed:0;" */
static int find_field(const char *format, struct field *field)
{
	char wanted[64];
	const char *at;

	snprintf(wanted, sizeof(wanted), " %s;\toffset:", field->name);
	at = strstr(format, wanted);
	if (!at ||
	    sscanf(at + strlen(wanted), "%zu;\tsize:%zu;", &field->offset, &field->size) != 2)
		return -EPROTO;
	if ((field->size != 4 && field->size != 8) || field->offset > RECORD_MAX - 8)
		return -EPROTO;
	return 0;
}

static int find_point(int tracefs_fd, struct point *point)
{
	_cleanup_free_ char *format = malloc(FORMAT_MAX);
	char path[128], id[32];
	int r;

	if (!format)
		return -ENOMEM;
	snprintf(path, sizeof(path), "events/%s/id", point->path);
	r = read_text(tracefs_fd, path, id, sizeof(id));
	if (r < 0)
		return r;
	point->id = strtoull(id, NULL, 10);
	snprintf(path, sizeof(path), "events/%s/format", point->path);
	r = read_text(tracefs_fd, path, format, FORMAT_MAX);
	for (size_t i = 0; r == 0 && i < MAX_FIELDS && point->fields[i].name; i++)
		r = find_field(format, &point->fields[i]);
	return r;
}

static int open_event(struct perf_event_attr *attr, int cpu)
{
	long fd = syscall(SYS_perf_event_open, attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);

	return fd < 0 ? -errno : (int)fd;
}

static int open_ring(struct trace *trace, int cpu)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE,
					.size = sizeof(attr),
					.config = PERF_COUNT_SW_DUMMY,
					.sample_type = PERF_SAMPLE_RAW,
					.watermark = 1,
					.wakeup_watermark = UINT32_MAX };
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct ring *ring = &trace->rings[trace->n_rings];
	void *map;

	ring->cpu = cpu;
	ring->fd = open_event(&attr, cpu);
	if (ring->fd < 0)
		return ring->fd;
	trace->n_rings++;
	map = mmap(NULL, page + trace->ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	ring->head = map;
	ring->data = (const uint8_t *)map + page;
	return 0;
}

/* "0-3,5" */
static int open_rings(struct trace *trace)
{
	size_t n = 0;

	for (int pass = 0; pass < 2; pass++) {
		const char *at = trace->online;

		while (*at >= '0' && *at <= '9') {
			long first = strtol(at, (char **)&at, 10), last = first;

			if (*at == '-')
				last = strtol(at + 1, (char **)&at, 10);
			for (long cpu = first; cpu <= last && cpu < CPUS_MAX; cpu++) {
				int r = pass == 0 ? 0 : open_ring(trace, (int)cpu);

				if (r < 0)
					return r;
				n++;
			}
			at += *at == ',';
		}
		if (pass == 1)
			break;
		if (n == 0)
			return -ENODEV;
		trace->rings = calloc(n, sizeof(*trace->rings));
		if (!trace->rings)
			return -ENOMEM;
		trace->ring_bytes = RING_MAX;
		while (trace->ring_bytes > RING_MIN && trace->ring_bytes * n > RINGS_BYTES)
			trace->ring_bytes /= 2;
	}
	return 0;
}

static void close_trace(struct trace **trace)
{
	trace_close(*trace);
}

int trace_open(struct trace **ret, const char **ret_why)
{
	_cleanup_(close_trace) struct trace *trace = calloc(1, sizeof(*trace));
	_cleanup_close_ int tracefs_fd = open_tracefs();
	int r = trace ? 0 : -ENOMEM;

	*ret_why = "memory";
	if (r == 0 && tracefs_fd < 0) {
		*ret_why = "tracefs";
		r = tracefs_fd;
	}
	for (int i = 0; r == 0 && i < TRACE_KINDS; i++) {
		trace->points[i] = points[i];
		*ret_why = points[i].path;
		r = find_point(tracefs_fd, &trace->points[i]);
	}
	if (r == 0) {
		*ret_why = "perf events";
		r = read_text(AT_FDCWD, online_path, trace->online, sizeof(trace->online));
	}
	if (r == 0)
		r = open_rings(trace);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(trace);
	return 0;
}

void trace_close(struct trace *trace)
{
	if (!trace)
		return;
	for (size_t i = 0; i < trace->n_events; i++)
		close(trace->events[i]);
	for (size_t i = 0; i < trace->n_rings; i++) {
		if (trace->rings[i].head)
			munmap(trace->rings[i].head,
			       (size_t)sysconf(_SC_PAGESIZE) + trace->ring_bytes);
		close(trace->rings[i].fd);
	}
	free(trace->events);
	free(trace->rings);
	free(trace);
}

static int make_filter(char filter[FILTER_MAX], const uint64_t *inos, size_t n)
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		int r = snprintf(filter + len, FILTER_MAX - len, "%sino==%llu", i ? "||" : "",
				 (unsigned long long)inos[i]);

		if (r < 0 || (size_t)r >= FILTER_MAX - len)
			return -E2BIG;
		len += (size_t)r;
	}
	return 0;
}

static int watch_one(struct trace *trace, const struct point *point, const struct ring *ring,
		     const char *filter)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_TRACEPOINT,
					.size = sizeof(attr),
					.config = point->id,
					.sample_period = 1,
					.sample_type = PERF_SAMPLE_RAW,
					.read_format = PERF_FORMAT_LOST,
					.disabled = 1,
					.watermark = 1,
					.wakeup_watermark = UINT32_MAX };
	_cleanup_close_ int fd = open_event(&attr, ring->cpu);

	if (fd < 0)
		return fd;
	if (ioctl(fd, PERF_EVENT_IOC_SET_OUTPUT, ring->fd) < 0 ||
	    ioctl(fd, PERF_EVENT_IOC_SET_FILTER, filter) < 0 ||
	    ioctl(fd, PERF_EVENT_IOC_ENABLE, 0) < 0)
		return -errno;
	trace->events[trace->n_events++] = TAKE_FD(fd);
	return 0;
}

int trace_watch(struct trace *trace, const uint64_t *inos, size_t n)
{
	size_t before = trace->n_events, more = trace->n_rings * TRACE_KINDS;
	int *events = reallocarray(trace->events, before + more, sizeof(*events));
	char filter[FILTER_MAX];
	int r = n ? make_filter(filter, inos, n) : -EINVAL;

	if (!events)
		return -ENOMEM;
	trace->events = events;
	for (size_t i = 0; r == 0 && i < more; i++)
		r = watch_one(trace, &trace->points[i % TRACE_KINDS],
			      &trace->rings[i / TRACE_KINDS], filter);
	while (r < 0 && trace->n_events > before)
		close(trace->events[--trace->n_events]);
	return r;
}

static uint64_t value_of(const uint8_t *raw, const struct field *field)
{
	uint64_t wide;
	uint32_t narrow;

	if (field->size == 8) {
		memcpy(&wide, raw + field->offset, sizeof(wide));
		return wide;
	}
	memcpy(&narrow, raw + field->offset, sizeof(narrow));
	return narrow;
}

/*
 * A direct write has moved its position when it is over, by what it wrote; it may have written more
 * than it says when something failed, and then "anywhere" is all that is known. Reads look the
 * same: the flag that tells them apart is not set by every caller (6.18: not by write(2)).
 */
static void parse_direct(struct trace_event *event, const struct point *point, const uint8_t *raw)
{
	uint64_t pos = value_of(raw, &point->fields[1]);
	int64_t len = (int64_t)value_of(raw, &point->fields[2]);

	if (event->kind == TRACE_DIO_BEGIN) {
		event->offset = pos;
		event->len = (uint64_t)len;
	} else if (len > 0) {
		event->offset = pos > (uint64_t)len ? pos - (uint64_t)len : 0;
		event->len = pos - event->offset;
	}
}

/* @raw has RECORD_MAX bytes, and zeros behind what was recorded. */
static bool parse(const struct trace *trace, const uint8_t *raw, struct trace_event *event)
{
	uint16_t type;

	memcpy(&type, raw, sizeof(type)); /* common_type, which is the id */
	for (int i = 0; i < TRACE_KINDS; i++) {
		const struct point *point = &trace->points[i];

		if (point->id != type)
			continue;
		*event = (struct trace_event){ .kind = i, .ino = value_of(raw, &point->fields[0]) };
		if (i == TRACE_DIO_BEGIN || i == TRACE_DIO_END) {
			parse_direct(event, point, raw);
			return true;
		}
		event->offset = value_of(raw, &point->fields[1]);
		event->len = i == TRACE_FOLIO ? 1 : value_of(raw, &point->fields[2]);
		return true;
	}
	return false;
}

static void copy_out(const struct trace *trace, const struct ring *ring, uint64_t at, void *ret,
		     size_t len)
{
	size_t start = at & (trace->ring_bytes - 1);
	size_t first = len < trace->ring_bytes - start ? len : trace->ring_bytes - start;

	memcpy(ret, ring->data + start, first);
	memcpy((uint8_t *)ret + first, ring->data, len - first);
}

static void drain_ring(struct trace *trace, struct ring *ring,
		       void (*each)(void *, const struct trace_event *), void *arg)
{
	uint64_t head = __atomic_load_n(&ring->head->data_head, __ATOMIC_ACQUIRE);
	uint64_t at = ring->head->data_tail;

	while (at < head) {
		uint8_t record[RECORD_MAX + sizeof(uint32_t)] = {};
		struct perf_event_header header;
		struct trace_event event;
		size_t len;

		copy_out(trace, ring, at, &header, sizeof(header));
		if (header.size < sizeof(header) || header.size > head - at) {
			trace->lost = true;
			at = head;
			break;
		}
		len = header.size - sizeof(header);
		copy_out(trace, ring, at + sizeof(header), record,
			 len < sizeof(record) ? len : sizeof(record));
		if (header.type == PERF_RECORD_SAMPLE &&
		    parse(trace, record + sizeof(uint32_t), &event))
			each(arg, &event);
		else if (header.type == PERF_RECORD_LOST)
			trace->lost = true;
		at += header.size;
	}
	__atomic_store_n(&ring->head->data_tail, at, __ATOMIC_RELEASE);
}

void trace_drain(struct trace *trace, void (*each)(void *, const struct trace_event *), void *arg)
{
	for (size_t i = 0; i < trace->n_rings; i++)
		drain_ring(trace, &trace->rings[i], each, arg);
}

bool trace_complete(struct trace *trace)
{
	char online[ONLINE_MAX];

	for (size_t i = 0; !trace->lost && i < trace->n_events; i++) {
		struct {
			uint64_t count, lost;
		} counts;

		trace->lost = read(trace->events[i], &counts, sizeof(counts)) != sizeof(counts) ||
			      counts.lost;
	}
	if (!trace->lost)
		trace->lost = read_text(AT_FDCWD, online_path, online, sizeof(online)) < 0 ||
			      strcmp(online, trace->online) != 0;
	return !trace->lost;
}
