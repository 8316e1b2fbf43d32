// SPDX-License-Identifier: Apache-2.0
/*
 * logfile_receive.c - what becomes of the lines of a log that arrive
 *
 * Before Docker opens the file they are appended to it as they are. Later Docker keeps an account
 * of its size (moby, daemon/logger/loggerutils/logfile.go, struct logPos), and what it does not
 * know of is never shown, or shown torn. So then what the container said is said again, through
 * the pipes that Docker reads from.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "conn.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "logfile.h"
#include "wait.h"

#define MAX_LINE ((size_t)4 << 20) /* Docker cuts at 16 KiB; what is longer is damage */

struct sink {
	/* @text: whole lines; or without a newline, when it is damage */
	int (*put)(struct sink *sink, const char *text, size_t len, struct rb_err *err);
	const struct rb_wait *wait;
	const char *path;
	int fd;	   /* of the file */
	int voice; /* pid */
	int out, err;
};

/* Hand on what is complete of @rest and @data, keep the remainder in @rest. */
static int put_lines(struct sink *sink, struct rb_buf *rest, const char *data, size_t len,
		     struct rb_err *err)
{
	const char *newline = memrchr(data, '\n', len);
	size_t whole = newline ? (size_t)(newline - data) + 1 : 0;
	int r;

	if (!whole && rest->len + len > MAX_LINE)
		whole = len;
	r = rb_buf_add(rest, data, whole ? whole : len);
	if (r < 0)
		return rb_err_set(err, r, "receive a log");
	if (!whole)
		return 0;
	r = sink->put(sink, rest->data, rest->len, err);
	rest->len = 0;
	return r < 0 ? r : rb_buf_add(rest, data + whole, len - whole);
}

static int receive(struct rb_conn *conn, struct sink *sink, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf rest = {};
	int r = 0;

	while (r == 0) {
		const void *data;
		ssize_t n = rb_stream_read(conn, &data, sink->wait, err);

		if (n <= 0)
			return (int)n;
		r = put_lines(sink, &rest, data, (size_t)n, err);
	}
	return r;
}

static int put_to_file(struct sink *sink, const char *text, size_t len, struct rb_err *err)
{
	int r = rb_write_all(sink->fd, text, len);

	return r < 0 ? rb_err_set(err, r, "write the log '%s'", sink->path) : 0;
}

int rb_logfile_receive(struct rb_conn *conn, const char *path, const struct rb_wait *wait,
		       struct rb_err *err)
{
	_cleanup_close_ int fd =
		open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0640);
	struct sink sink = { .put = put_to_file, .wait = wait, .path = path, .fd = fd };
	int r = fd < 0 ? rb_err_set(err, -errno, "open the log '%s'", path)
		       : receive(conn, &sink, err);

	if (r < 0)
		rb_stream_drain(conn, wait, NULL);
	return r;
}

/* The pipe is another opening of it, and so does not wait when somebody else's does. */
static int say(int fd, const char *text, size_t len, const struct rb_wait *wait, struct rb_err *err)
{
	while (len > 0) {
		ssize_t n = write(fd, text, len);
		int r;

		if (n > 0) {
			text += n;
			len -= (size_t)n;
			continue;
		}
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return rb_err_set(err, -errno, "hand earlier lines to Docker's log");
		r = rb_wait_fd(fd, POLLOUT, wait, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int say_line(struct sink *sink, const char *line, size_t len, struct rb_err *err)
{
	_cleanup_json_ json_t *entry = json_loadb(line, len, JSON_ALLOW_NUL, NULL);
	const json_t *text = json_object_get(entry, "log");
	bool error = strcmp(rb_json_str(entry, "stream", ""), "stderr") == 0;

	return say(error ? sink->err : sink->out, json_string_value(text), json_string_length(text),
		   sink->wait, err);
}

static int put_to_voice(struct sink *sink, const char *text, size_t len, struct rb_err *err)
{
	const char *newline;
	int r = 0;

	for (; r >= 0 && (newline = memchr(text, '\n', len)); text = newline + 1) {
		size_t n = (size_t)(newline - text) + 1;

		r = say_line(sink, text, n, err);
		len -= n;
	}
	return r;
}

static int open_voice(int pid, int n, struct rb_err *err)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, n);
	fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? rb_err_set(err, -errno, "open the output of process %d", pid) : fd;
}

int rb_logfile_replay(struct rb_conn *conn, int pid, const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_close_ int out = open_voice(pid, STDOUT_FILENO, err);
	_cleanup_close_ int error = out < 0 ? out : open_voice(pid, STDERR_FILENO, err);
	struct sink sink = { .put = put_to_voice, .wait = wait, .out = out, .err = error };
	int r = error < 0 ? error : receive(conn, &sink, err);

	if (r < 0)
		rb_stream_drain(conn, wait, NULL);
	return r;
}
