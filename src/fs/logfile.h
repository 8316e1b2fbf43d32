/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logfile.h - the earlier lines of `docker logs` (json-file driver, its rotated files too)
 *
 * Stream: the lines, oldest first, as they are in the files (DATA frames, then END).
 */
#pragma once

#include <stdint.h>

struct rb_conn;
struct rb_err;
struct rb_wait;

/**
 * struct rb_log_position - how far the log was sent; zero-initialised: nothing yet
 *
 * A place in one file, which is recognised wherever rotation has moved it to, and also when it was
 * compressed meanwhile, by its first line (Docker's lines bear a time in ns).
 */
struct rb_log_position {
	uint64_t first_line; /* hash of the first line of the file; 0: nothing was sent */
	uint64_t offset;     /* bytes of whole lines of that file that were sent */
	uint64_t before;     /* first line of the next older file; 0: there was none */
};

/**
 * rb_logfile_send - stream the complete lines of @path and its rotated files from @from on
 * @path: live file; rotated ones are @path.N ... @path.1, also as @path.N.gz. None: empty stream.
 * @from: of the last send, or NULL
 * @ret_to: for the next send; may point to what @from points to, may be NULL
 *
 * An incomplete last line is left for the next send. Rotation between two sends, and during one,
 * loses and repeats nothing that Docker has kept: when the file that @from is in was removed or
 * emptied by somebody, everything newer than the file before it is sent. Of the rotated files
 * the newest 511 are looked at.
 *
 * Return: 0 or negative errno.
 */
int rb_logfile_send(struct rb_conn *conn, const char *path, const struct rb_log_position *from,
		    struct rb_log_position *ret_to, const struct rb_wait *wait, struct rb_err *err);

/**
 * rb_logfile_receive - append the stream to @path (made with mode 0640 when absent)
 *
 * Only whole lines are written, also when the stream breaks off. The stream is read to its END
 * also when this fails, unless the connection is what failed.
 *
 * Return: 0 or negative errno.
 */
int rb_logfile_receive(struct rb_conn *conn, const char *path, const struct rb_wait *wait,
		       struct rb_err *err);

/**
 * rb_logfile_replay - have the lines of the stream said once more, by a container's own voice
 * @pid: process whose stdout and stderr are the container's
 *
 * For lines that come when Docker has opened the file: from version 23 on it reads no further than
 * it believes to have written, so that behind its back nothing may be appended. They get the time
 * of now, and go wherever the log driver puts them. What is no line of Docker's is left out. The
 * stream is read to its END also when this fails. Needs CAP_SYS_PTRACE or root.
 *
 * Return: 0 or negative errno.
 */
int rb_logfile_replay(struct rb_conn *conn, int pid, const struct rb_wait *wait,
		      struct rb_err *err);

/**
 * rb_logfile_settle - wait until nothing that the frozen tasks wrote is still on its way
 * @path: live file; may be absent
 * @max_ms: at most this long
 *
 * Until the pipes that are stdout and stderr of @init_pid are empty, and then the file has the same
 * size three times, 2 ms apart: behind the pipe there are containerd's shim, its fifo, and dockerd,
 * which cannot be asked. Needs CAP_SYS_PTRACE or root.
 *
 * Return: 0, 1 when @max_ms went by first, or negative errno.
 */
int rb_logfile_settle(const char *path, int init_pid, int max_ms, const struct rb_wait *wait,
		      struct rb_err *err);
