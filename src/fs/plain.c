// SPDX-License-Identifier: Apache-2.0
/*
 * plain.c - a folder of plain files travels, as fast as it goes
 */
#include "plain.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "conn.h"
#include "err.h"
#include "io.h"
#include "take.h"

#define COPY_SIZE ((size_t)256 << 10)

/* @file: called for each, with a descriptor to read from; negative ends it */
static int each_file(const char *dir, int flags,
		     int (*file)(void *arg, const char *name, int fd, uint64_t size), void *arg,
		     struct rb_err *err)
{
	_cleanup_closedir_ DIR *folder = opendir(dir);
	struct dirent *entry;
	int r = 0;

	if (!folder)
		return rb_err_set(err, -errno, "open '%s'", dir);
	while (r >= 0 && (errno = 0, entry = readdir(folder))) {
		_cleanup_close_ int fd = -EBADF;
		struct stat st;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		fd = openat(dirfd(folder), entry->d_name, flags | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &st) < 0)
			return rb_err_set(err, -errno, "open '%s/%s'", dir, entry->d_name);
		if (!S_ISREG(st.st_mode))
			return rb_err_set(err, -EINVAL, "send '%s/%s', which is no plain file", dir,
					  entry->d_name);
		r = file(arg, entry->d_name, fd, (uint64_t)st.st_size);
	}
	return r >= 0 && errno ? rb_err_set(err, -errno, "read '%s'", dir) : r;
}

static int add_size(void *arg, const char *name, int fd, uint64_t size)
{
	(void)name;
	(void)fd;
	*(uint64_t *)arg += size;
	return 0;
}

int rb_plain_size(const char *dir, uint64_t *ret_bytes, struct rb_err *err)
{
	*ret_bytes = 0;
	return each_file(dir, O_PATH, add_size, ret_bytes, err);
}

struct sending {
	struct rb_conn *conn;
	char *buf; /* COPY_SIZE; small files wait in it for each other */
	size_t used;
	const struct rb_wait *wait;
	struct rb_err *err;
};

static int flush(struct sending *s)
{
	int r = rb_stream_write(s->conn, s->buf, s->used, s->wait, s->err);

	s->used = 0;
	return r;
}

static int send_head(struct sending *s, const char *name, uint64_t size)
{
	uint8_t len = (uint8_t)strlen(name);
	int r = 0;

	size = htobe64(size);
	if (s->used + 1 + len + sizeof(size) > COPY_SIZE)
		r = flush(s);
	memcpy(s->buf + s->used, &len, 1);
	memcpy(s->buf + s->used + 1, name, len);
	memcpy(s->buf + s->used + 1 + len, &size, sizeof(size));
	s->used += 1 + len + sizeof(size);
	return r;
}

static int send_file(void *arg, const char *name, int fd, uint64_t size)
{
	struct sending *s = arg;
	int r = send_head(s, name, size);

	while (r >= 0 && size) {
		size_t room = COPY_SIZE - s->used;
		ssize_t n = room ? read(fd, s->buf + s->used, size < room ? size : room) : 0;

		if (n < 0 && errno != EINTR)
			return rb_err_set(s->err, -errno, "read '%s'", name);
		if (n == 0 && room)
			return rb_err_set(s->err, -EIO, "read '%s', which is shorter now", name);
		if (n > 0) {
			s->used += (size_t)n;
			size -= (size_t)n;
		}
		if (s->used == COPY_SIZE)
			r = flush(s);
	}
	return r;
}

int rb_plain_send(struct rb_conn *conn, const char *dir, const struct rb_wait *wait,
		  struct rb_err *err)
{
	_cleanup_free_ char *buf = malloc(COPY_SIZE);
	struct sending s = { .conn = conn, .buf = buf, .wait = wait, .err = err };
	int r;

	if (!buf)
		return rb_err_set(err, -ENOMEM, "send '%s'", dir);
	r = each_file(dir, O_RDONLY, send_file, &s, err);
	if (r >= 0 && s.used)
		r = flush(&s);
	return r < 0 ? r : rb_stream_end(conn, wait, err);
}

/* Return: 1, 0 at the end, negative errno */
static int take_head(struct taking *t, char name[NAME_MAX + 1], uint64_t *ret_size)
{
	uint8_t len;
	int r = take_all(t, &len, 1);

	if (r <= 0)
		return r;
	r = take_all(t, name, len);
	if (r > 0)
		r = take_all(t, ret_size, sizeof(*ret_size));
	if (r < 0)
		return r;
	name[len] = '\0';
	*ret_size = be64toh(*ret_size);
	if (r == 0 || !len || strlen(name) != len || strchr(name, '/') || strcmp(name, ".") == 0 ||
	    strcmp(name, "..") == 0)
		return rb_err_code(t->err, RB_E_PROTOCOL, -EPROTO, "the list of images is damaged");
	return 1;
}

static int take_file(struct taking *t, int dir_fd, const char *name, uint64_t size)
{
	_cleanup_close_ int fd = -EBADF;
	int r = 0;

	/* a link that is there is not followed */
	if (unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT)
		return rb_err_set(t->err, -errno, "replace '%s'", name);
	fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return rb_err_set(t->err, -errno, "create '%s'", name);
	while (size) {
		const void *some;
		ssize_t n = take_some(t, &some, size < COPY_SIZE ? size : COPY_SIZE);

		if (n < 0)
			return (int)n;
		if (n == 0)
			return rb_err_code(t->err, RB_E_PROTOCOL, -EPROTO, "'%s' ends too early",
					   name);
		r = rb_write_all(fd, some, (size_t)n);
		if (r < 0)
			return rb_err_set(t->err, r, "write '%s'", name);
		size -= (uint64_t)n;
	}
	return 0;
}

int rb_plain_receive(struct rb_conn *conn, const char *dir, const struct rb_wait *wait,
		     struct rb_err *err)
{
	struct taking t = { .conn = conn, .wait = wait, .err = err };
	_cleanup_close_ int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char name[NAME_MAX + 1];
	uint64_t size;
	int r = dir_fd < 0 ? rb_err_set(err, -errno, "open '%s'", dir) : 1;

	while (r > 0 && (r = take_head(&t, name, &size)) > 0) {
		r = take_file(&t, dir_fd, name, size);
		r = r < 0 ? r : 1;
	}
	if (r < 0)
		take_drain(&t);
	return r;
}
