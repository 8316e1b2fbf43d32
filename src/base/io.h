/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io.h - whole reads and writes, small files, paths
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct rb_err;
struct rb_wait;

/** A growing byte buffer; data is NUL-terminated beyond len for convenience. */
struct rb_buf {
	char *data;
	size_t len;
	size_t size;
};

void rb_buf_free(struct rb_buf *buf);
int rb_buf_add(struct rb_buf *buf, const void *data, size_t len);
int rb_buf_addf(struct rb_buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define _cleanup_buf_ __attribute__((cleanup(rb_buf_free)))

/** rb_write_all - write @len bytes to a blocking descriptor. Return: 0 or negative errno. */
int rb_write_all(int fd, const void *data, size_t len);

/** rb_pwrite_all - the same at @offset */
int rb_pwrite_all(int fd, const void *data, size_t len, off_t offset);

/** rb_read_all - read until @len bytes or end of file. Return: bytes read or negative errno. */
ssize_t rb_read_all(int fd, void *data, size_t len);

/**
 * rb_read_file - a whole small file
 * @max_bytes: -EFBIG above this; 0 stands for 16 MiB
 *
 * Return: 0, or a negative errno with @err filled.
 */
int rb_read_file(const char *path, size_t max_bytes, struct rb_buf *ret, struct rb_err *err);

/**
 * rb_write_file - replace a file in one step (temporary name, rename)
 * @sync: also make it survive a power loss (fsync of file and folder)
 */
int rb_write_file(const char *path, const void *data, size_t len, mode_t mode, bool sync,
		  struct rb_err *err);

/** rb_write_knob - write @text to an existing file in place (cgroup, sysctl) */
int rb_write_knob(const char *path, const char *text, struct rb_err *err);

/** rb_mkdir_p - make a folder and its parents with @mode. Return: 0 also when it is there. */
int rb_mkdir_p(const char *path, mode_t mode, struct rb_err *err);

/** rb_rm_rf - remove a tree without following symbolic links or crossing mounts; absent is fine */
int rb_rm_rf(const char *path, struct rb_err *err);

/** rb_path - "a/b/c" built with printf into a fixed buffer of PATH_MAX; -ENAMETOOLONG if it does
 * not fit */
int rb_path(char *ret, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** rb_unix_listen - listening AF_UNIX stream socket at @path (an old one is replaced), mode @mode
 */
int rb_unix_listen(const char *path, mode_t mode, struct rb_err *err);

/** rb_unix_connect - connected AF_UNIX stream socket. Return: descriptor or negative errno. */
int rb_unix_connect(const char *path, struct rb_err *err);

/** rb_read_line - one line (without newline) from a socket, within @wait. Return: its length, 0 at
 * end of file, negative errno. Reads byte by byte: for short control lines only. */
ssize_t rb_read_line(int fd, char *line, size_t size, const struct rb_wait *wait,
		     struct rb_err *err);
