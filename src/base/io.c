// SPDX-License-Identifier: Apache-2.0
/*
 * io.c - whole reads and writes, small files, paths
 */
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "wait.h"

#define FILE_MAX_BYTES ((size_t)16 << 20)

void rb_buf_free(struct rb_buf *buf)
{
	free(buf->data);
	*buf = (struct rb_buf){};
}

static int buf_reserve(struct rb_buf *buf, size_t more)
{
	size_t need = buf->len + more + 1, size = buf->size ? buf->size : 256;
	char *data;

	if (need <= buf->size)
		return 0;
	while (size < need)
		size *= 2;
	data = realloc(buf->data, size);
	if (!data)
		return -ENOMEM;
	buf->data = data;
	buf->size = size;
	return 0;
}

int rb_buf_add(struct rb_buf *buf, const void *data, size_t len)
{
	int r = buf_reserve(buf, len);

	if (r < 0)
		return r;
	if (len)
		memcpy(buf->data + buf->len, data, len);
	buf->len += len;
	buf->data[buf->len] = '\0';
	return 0;
}

int rb_buf_addf(struct rb_buf *buf, const char *fmt, ...)
{
	va_list ap;
	int len, r;

	va_start(ap, fmt);
	len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	r = buf_reserve(buf, (size_t)len);
	if (r < 0)
		return r;
	va_start(ap, fmt);
	vsnprintf(buf->data + buf->len, (size_t)len + 1, fmt, ap);
	va_end(ap);
	buf->len += (size_t)len;
	return 0;
}

int rb_write_all(int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int rb_pwrite_all(int fd, const void *data, size_t len, off_t offset)
{
	const char *at = data;

	while (len) {
		ssize_t n = pwrite(fd, at, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		len -= (size_t)n;
		offset += n;
	}
	return 0;
}

ssize_t rb_read_all(int fd, void *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, (char *)data + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int rb_read_file(const char *path, size_t max_bytes, struct rb_buf *ret, struct rb_err *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_buf_ struct rb_buf buf = {};
	char chunk[16384];

	if (fd < 0)
		return rb_err_set(err, -errno, "open '%s'", path);
	if (max_bytes == 0)
		max_bytes = FILE_MAX_BYTES;
	if (rb_buf_add(&buf, "", 0) < 0)
		return rb_err_set(err, -ENOMEM, "read '%s'", path);
	for (;;) {
		ssize_t n = rb_read_all(fd, chunk, sizeof(chunk));

		if (n < 0)
			return rb_err_set(err, (int)n, "read '%s'", path);
		if (n == 0)
			break;
		if (buf.len + (size_t)n > max_bytes)
			return rb_err_set(err, -EFBIG, "read '%s'", path);
		if (rb_buf_add(&buf, chunk, (size_t)n) < 0)
			return rb_err_set(err, -ENOMEM, "read '%s'", path);
	}
	*ret = buf;
	buf = (struct rb_buf){};
	return 0;
}

static int sync_parent(const char *path)
{
	char copy[PATH_MAX];
	_cleanup_close_ int fd = -EBADF;

	snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

int rb_write_file(const char *path, const void *data, size_t len, mode_t mode, bool sync,
		  struct rb_err *err)
{
	char tmp[PATH_MAX];
	_cleanup_close_ int fd = -EBADF;
	int r;

	r = rb_path(tmp, sizeof(tmp), "%s.tmp.%d", path, (int)getpid());
	if (r < 0)
		return rb_err_set(err, r, "write '%s'", path);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return rb_err_set(err, -errno, "create '%s'", tmp);
	r = rb_write_all(fd, data, len);
	if (r == 0 && sync && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && rename(tmp, path) < 0)
		r = -errno;
	if (r < 0) {
		unlink(tmp);
		return rb_err_set(err, r, "write '%s'", path);
	}
	if (sync) {
		r = sync_parent(path);
		if (r < 0)
			return rb_err_set(err, r, "sync the folder of '%s'", path);
	}
	return 0;
}

int rb_write_knob(const char *path, const char *text, struct rb_err *err)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return rb_err_set(err, -errno, "open '%s'", path);
	if (write(fd, text, strlen(text)) < 0)
		return rb_err_set(err, -errno, "write '%s' to '%s'", text, path);
	return 0;
}

int rb_mkdir_p(const char *path, mode_t mode, struct rb_err *err)
{
	char copy[PATH_MAX];
	int r;

	r = rb_path(copy, sizeof(copy), "%s", path);
	if (r < 0)
		return rb_err_set(err, r, "make folder '%s'", path);
	for (char *p = copy + 1;; p++) {
		char saved = *p;

		if (saved != '/' && saved != '\0')
			continue;
		*p = '\0';
		if (mkdir(copy, mode) < 0 && errno != EEXIST)
			return rb_err_set(err, -errno, "make folder '%s'", copy);
		if (saved == '\0')
			return 0;
		*p = saved;
	}
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

int rb_rm_rf(const char *path, struct rb_err *err)
{
	if (nftw(path, remove_entry, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) < 0 && errno != ENOENT)
		return rb_err_set(err, -errno, "remove '%s'", path);
	return 0;
}

int rb_path(char *ret, size_t size, const char *fmt, ...)
{
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(ret, size, fmt, ap);
	va_end(ap);
	return len < 0 || (size_t)len >= size ? -ENAMETOOLONG : 0;
}

static int unix_address(const char *path, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(ret->sun_path))
		return -ENAMETOOLONG;
	strcpy(ret->sun_path, path);
	return 0;
}

int rb_unix_listen(const char *path, mode_t mode, struct rb_err *err)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr;
	int r = unix_address(path, &addr);

	if (fd < 0)
		return rb_err_set(err, -errno, "make a socket");
	if (r < 0)
		return rb_err_set(err, r, "listen on '%s'", path);
	unlink(path);
	/* nobody can connect before listen(), so the mode is in force before anybody could. A
	 * client that does not block fails when the queue is full, instead of waiting */
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || chmod(path, mode) < 0 ||
	    listen(fd, SOMAXCONN) < 0)
		return rb_err_set(err, -errno, "listen on '%s'", path);
	return TAKE_FD(fd);
}

int rb_unix_connect(const char *path, struct rb_err *err)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr;
	int r = unix_address(path, &addr);

	if (fd < 0)
		return rb_err_set(err, -errno, "make a socket");
	if (r < 0)
		return rb_err_set(err, r, "connect to '%s'", path);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return rb_err_set(err, -errno, "connect to '%s'", path);
	return TAKE_FD(fd);
}

ssize_t rb_read_line(int fd, char *line, size_t size, const struct rb_wait *wait,
		     struct rb_err *err)
{
	size_t len = 0;

	for (;;) {
		char c;
		ssize_t n;
		int r = rb_wait_fd(fd, POLLIN, wait, err);

		if (r < 0)
			return r;
		n = read(fd, &c, 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return rb_err_set(err, -errno, "read a line");
		if (n == 0 || c == '\n') {
			line[len] = '\0';
			return n == 0 && len == 0 ? 0 : (ssize_t)(len ? len : 1);
		}
		if (len + 1 >= size)
			return rb_err_set(err, -EMSGSIZE, "read a line");
		line[len++] = c;
	}
}
