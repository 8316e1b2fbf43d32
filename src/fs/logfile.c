// SPDX-License-Identifier: Apache-2.0
/*
 * logfile.c - send the earlier lines of `docker logs`
 *
 * Docker appends to ID-json.log. Above max-size it renames .1 to .2 and so on (oldest first), the
 * live file to .1, and opens a new one; with compress, .1 then becomes .1.gz in the background,
 * and .1 is removed when that is complete (moby, daemon/logger/loggerutils/logfile.go). So a file
 * only ever moves to a higher number and to another inode, but its first line stays.
 *
 * The files are opened from the newest to the oldest. A rotation that begins meanwhile moves files
 * the same way, so that one may be met twice, which its first line tells, but none is missed.
 * When it also ends meanwhile, a newer file than the live one of before may turn up among the
 * rotated ones: then all is opened anew. N is tried before N.gz, since a .gz next to its source
 * is not complete. Opening stops at the file that the position of the last send is in.
 */
#include "logfile.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "conn.h"
#include "err.h"
#include "io.h"
#include "wait.h"

#define BLOCK	      ((size_t)256 << 10)
#define MAX_FILES     512 /* the live and the newest rotated ones; each takes a descriptor */
#define MAX_GAP	      3	  /* numbers missing in a row: rotation leaves one free for a moment */
#define MAX_TRIES     20  /* to open all files without a rotation in between */
#define MAX_LINE      ((size_t)4 << 20) /* Docker cuts at 16 KiB; what is longer is damage */
#define SETTLE_LOOKS  3
#define SETTLE_GAP_MS 2

struct source {
	int fd;
	bool compressed;
	uint64_t first_line;
	uint64_t consumed; /* bytes of whole lines */
};

struct sender {
	struct rb_conn *conn;
	const struct rb_wait *wait;
	struct rb_err *err;
	const char *path;

	struct source sources[MAX_FILES]; /* newest first, each with at least one whole line */
	int n;
	int live_fd; /* keeps the inode number of the live file from being used again */
	char *block;
	struct rb_buf rest; /* start of a line whose end was not read yet */
};

/* One pass over a source, decompressed. */
struct reader {
	const struct source *source;
	struct archive *archive;
};

static void close_sources(struct sender *s)
{
	for (int i = 0; i < s->n; i++)
		close(s->sources[i].fd);
	s->n = 0;
	rb_close_fd(&s->live_fd);
}

static void sender_free(struct sender **s)
{
	if (!*s)
		return;
	close_sources(*s);
	free((*s)->block);
	rb_buf_free(&(*s)->rest);
	free(*s);
}

static void reader_close(struct reader *reader)
{
	archive_read_free(reader->archive);
}

static int reader_open(struct reader *reader, const struct source *source)
{
	struct archive_entry *entry;

	*reader = (struct reader){ .source = source };
	if (lseek(source->fd, 0, SEEK_SET) < 0)
		return -errno;
	if (!source->compressed)
		return 0;
	reader->archive = archive_read_new();
	if (!reader->archive)
		return -ENOMEM;
	if (archive_read_support_filter_gzip(reader->archive) != ARCHIVE_OK ||
	    archive_read_support_format_raw(reader->archive) != ARCHIVE_OK ||
	    archive_read_open_fd(reader->archive, source->fd, BLOCK) != ARCHIVE_OK ||
	    archive_read_next_header(reader->archive, &entry) != ARCHIVE_OK)
		return -EILSEQ;
	return 0;
}

/* Return: bytes, 0 at the end, negative errno (-EILSEQ: no gzip) */
static ssize_t reader_read(struct reader *reader, char *data, size_t len)
{
	ssize_t n;

	if (!reader->archive)
		return rb_read_all(reader->source->fd, data, len);
	n = archive_read_data(reader->archive, data, len);
	return n < 0 ? -EILSEQ : n;
}

/* Hash of the first line into the source. Return: 1, 0 when there is no whole line, or errno. */
static int look_at_first_line(struct sender *s, struct source *source)
{
	_cleanup_(reader_close) struct reader reader;
	uint64_t hash = 14695981039346656037ULL; /* FNV-1a: tells lines apart, not enemies */
	int r = reader_open(&reader, source);
	size_t length = 0;

	while (r == 0) {
		ssize_t n = reader_read(&reader, s->block, BLOCK);

		if (n <= 0)
			return (int)n;
		for (ssize_t i = 0; i < n; i++) {
			hash = (hash ^ (uint8_t)s->block[i]) * 1099511628211ULL;
			if (s->block[i] != '\n' && ++length < MAX_LINE)
				continue;
			source->first_line = hash ? hash : 1;
			return 1;
		}
	}
	return r;
}

static bool is_known(const struct sender *s, uint64_t first_line)
{
	for (int i = 0; i < s->n; i++)
		if (s->sources[i].first_line == first_line)
			return true;
	return false;
}

/* Return: 1 when @name is there, 0 when not, or negative errno. */
static int add_source(struct sender *s, const char *name, bool compressed)
{
	_cleanup_close_ int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct source source = { .fd = fd, .compressed = compressed };
	struct stat st;
	int r;

	if (fd < 0)
		return errno == ENOENT ? 0 : rb_err_set(s->err, -errno, "open '%s'", name);
	if (fstat(fd, &st) < 0)
		return rb_err_set(s->err, -errno, "look at '%s'", name);
	if (!S_ISREG(st.st_mode))
		return rb_err_set(s->err, -EINVAL, "read the log '%s'", name);
	r = look_at_first_line(s, &source);
	if (r == -EILSEQ && compressed)
		return 1; /* damaged, or just being written: Docker cannot show it either */
	if (r < 0)
		return rb_err_set(s->err, r, "read '%s'", name);
	if (r > 0 && !is_known(s, source.first_line)) {
		s->sources[s->n++] = source;
		TAKE_FD(fd);
	}
	return 1;
}

/* N, or else N.gz; 0 is the live file. */
static int add_number(struct sender *s, int number)
{
	char name[PATH_MAX];
	int r;

	if (number == 0)
		return add_source(s, s->path, false);
	r = rb_path(name, sizeof(name), "%s.%d.gz", s->path, number);
	if (r < 0)
		return rb_err_set(s->err, r, "read '%s'", s->path);
	name[strlen(name) - strlen(".gz")] = '\0';
	r = add_source(s, name, false);
	if (r != 0)
		return r;
	name[strlen(name)] = '.';
	return add_source(s, name, true);
}

static bool is_last(const struct sender *s, uint64_t first_line)
{
	return first_line && s->n > 0 && s->sources[s->n - 1].first_line == first_line;
}

/* Return: 1 when @path was rotated away since it was opened, 0, or negative errno */
static int was_rotated(const struct sender *s)
{
	struct stat then, now;

	if (s->live_fd < 0)
		return access(s->path, F_OK) == 0;
	if (fstat(s->live_fd, &then) < 0)
		return rb_err_set(s->err, -errno, "look at '%s'", s->path);
	return stat(s->path, &now) < 0 || now.st_ino != then.st_ino || now.st_dev != then.st_dev;
}

static int try_open_sources(struct sender *s, const struct rb_log_position *from, bool *ret_found)
{
	int gap = 0;

	*ret_found = false;
	s->live_fd = open(s->path, O_PATH | O_CLOEXEC);
	for (int number = 0; gap < MAX_GAP && s->n < MAX_FILES; number++) {
		int r = add_number(s, number);

		if (r < 0)
			return r;
		gap = r > 0 || number == 0 ? 0 : gap + 1;
		*ret_found = is_last(s, from->first_line);
		if (*ret_found)
			return 0;
		if (is_last(s, from->before)) {
			/* removed or emptied; this one was sent before it */
			close(s->sources[--s->n].fd);
			return 0;
		}
	}
	return 0;
}

/* Open what has to be sent. *@ret_found: the last one is the file that @from is in. */
static int open_sources(struct sender *s, const struct rb_log_position *from, bool *ret_found)
{
	for (int i = 0; i < MAX_TRIES; i++) {
		int r = try_open_sources(s, from, ret_found);

		if (r == 0)
			r = was_rotated(s);
		if (r <= 0)
			return r;
		if (i < MAX_TRIES - 1)
			close_sources(s);
	}
	return 0; /* rather lines out of order than none */
}

static int send_lines(struct sender *s, struct source *source, const char *data, size_t len)
{
	const char *newline = memrchr(data, '\n', len);
	size_t whole = newline ? (size_t)(newline - data) + 1 : 0;
	int r = 0;

	if (!whole && s->rest.len + len > MAX_LINE)
		whole = len; /* no line of Docker's: pass it on in pieces */
	if (whole) {
		if (s->rest.len)
			r = rb_stream_write(s->conn, s->rest.data, s->rest.len, s->wait, s->err);
		if (r == 0)
			r = rb_stream_write(s->conn, data, whole, s->wait, s->err);
		source->consumed += s->rest.len + whole;
		s->rest.len = 0;
	}
	if (r == 0 && rb_buf_add(&s->rest, data + whole, len - whole) < 0)
		return rb_err_set(s->err, -ENOMEM, "send the log '%s'", s->path);
	return r;
}

static int send_source(struct sender *s, struct source *source, uint64_t skip)
{
	_cleanup_(reader_close) struct reader reader;
	int r = reader_open(&reader, source);

	source->consumed = skip;
	s->rest.len = 0;
	if (r == 0 && !source->compressed && lseek(source->fd, (off_t)skip, SEEK_SET) < 0)
		r = -errno;
	if (r < 0)
		return rb_err_set(s->err, r, "read the log '%s'", s->path);
	if (!source->compressed)
		skip = 0;
	for (;;) {
		ssize_t n = reader_read(&reader, s->block, BLOCK);
		size_t drop;

		if (n == -EILSEQ)
			return 0; /* damaged in the middle: what could be read is sent */
		if (n < 0)
			return rb_err_set(s->err, (int)n, "read the log '%s'", s->path);
		if (n == 0)
			return 0;
		drop = skip < (uint64_t)n ? (size_t)skip : (size_t)n;
		skip -= drop;
		r = send_lines(s, source, s->block + drop, (size_t)n - drop);
		if (r < 0)
			return r;
	}
}

/* The position at the end of the newest source. */
static void move_position(const struct sender *s, bool found, struct rb_log_position *to)
{
	if (s->n > 1)
		to->before = s->sources[1].first_line;
	else if (s->n == 1 && !found)
		to->before = 0;
	if (s->n > 0) {
		to->first_line = s->sources[0].first_line;
		to->offset = s->sources[0].consumed;
	}
}

int rb_logfile_send(struct rb_conn *conn, const char *path, const struct rb_log_position *from,
		    struct rb_log_position *ret_to, const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_(sender_free) struct sender *s = calloc(1, sizeof(*s));
	struct rb_log_position to = {};
	bool found;
	int r;

	if (!s)
		return rb_err_set(err, -ENOMEM, "send the log '%s'", path);
	s->live_fd = -EBADF;
	s->block = malloc(BLOCK);
	if (!s->block)
		return rb_err_set(err, -ENOMEM, "send the log '%s'", path);
	s->conn = conn;
	s->wait = wait;
	s->err = err;
	s->path = path;
	if (from)
		to = *from;
	r = open_sources(s, &to, &found);
	for (int i = s->n - 1; r == 0 && i >= 0; i--)
		r = send_source(s, &s->sources[i], found && i == s->n - 1 ? to.offset : 0);
	if (r == 0)
		r = rb_stream_end(conn, wait, err);
	move_position(s, found, &to);
	if (r == 0 && ret_to)
		*ret_to = to;
	return r;
}

/* Bytes in the pipe that is descriptor @n of @pid; 0 when it is none, or nobody is there. */
static int pipe_fill(int pid, int n)
{
	_cleanup_close_ int fd = -EBADF;
	char path[64];
	struct stat st;
	int bytes = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, n);
	if (stat(path, &st) < 0 || !S_ISFIFO(st.st_mode))
		return 0;
	/* another reader of the pipe, but one that never reads */
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	return ioctl(fd, FIONREAD, &bytes) < 0 ? -errno : bytes;
}

static int64_t file_size(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? -1 : (int64_t)st.st_size;
}

int rb_logfile_settle(const char *path, int init_pid, int max_ms, const struct rb_wait *wait,
		      struct rb_err *err)
{
	int64_t until = rb_now_ms() + max_ms, size = -1;
	int same = 0;

	for (;;) {
		int64_t now = file_size(path);
		int out = pipe_fill(init_pid, STDOUT_FILENO);
		int more = pipe_fill(init_pid, STDERR_FILENO);
		int r;

		if (out < 0 || more < 0)
			return rb_err_set(err, out < 0 ? out : more,
					  "look into the pipes of process %d", init_pid);
		if (out > 0 || more > 0)
			same = 0;
		else
			same = now == size ? same + 1 : 1;
		size = now;
		if (same == SETTLE_LOOKS)
			return 0;
		if (rb_now_ms() >= until)
			return 1;
		r = rb_wait_ms(SETTLE_GAP_MS, wait, err);
		if (r < 0)
			return r;
	}
}
