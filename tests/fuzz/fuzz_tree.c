// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_tree.c - what a peer sends as a tree of files
 *
 * The input is a stream as described in src/fs/tree.h, after one byte that says how large the
 * blocks are that it comes in, and whether it is for a folder or for a single file. Checksums of
 * tar headers are set right first, since nothing that is changed would get past them otherwise.
 * Besides not crashing, this must hold:
 *   - nothing outside of the folder is made, changed or removed
 *   - a failure returns a negative errno and comes with a code and a message
 *   - the stream has been read to its end
 *
 * Needs root, as the receiver does, and a folder in memory: /dev/shm.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../unit/fs/fake_conn.h"
#include "cleanup.h"
#include "conn.h"
#include "err.h"
#include "fuzz.h"
#include "io.h"
#include "received.h"
#include "tree.h"

#define TAR_BLOCK    512
#define TAR_CHECKSUM 148
#define TAR_MAGIC    257
#define HEAD	     16
#define MAX_STREAM   (1 << 20)

static char outside[64], inside[80], victim[80];

static void clean_up(void)
{
	rb_rm_rf(outside, NULL);
}

static void set_up(void)
{
	snprintf(outside, sizeof(outside), "/dev/shm/rbfuzz-XXXXXX");
	FUZZ_NEED(mkdtemp(outside));
	atexit(clean_up);
	snprintf(inside, sizeof(inside), "%s/in", outside);
	snprintf(victim, sizeof(victim), "%s/victim", outside);
	FUZZ_NEED(rb_write_file(victim, "untouched", 9, 0600, false, NULL) == 0);
}

static void set_checksum(uint8_t *block)
{
	unsigned int sum = 0;
	char text[8] = ""; /* its last byte counts, too */

	memset(block + TAR_CHECKSUM, ' ', sizeof(text));
	for (int i = 0; i < TAR_BLOCK; i++)
		sum += block[i];
	snprintf(text, sizeof(text), "%06o", sum & 0777777);
	memcpy(block + TAR_CHECKSUM, text, sizeof(text));
}

/* The archive starts somewhere behind the patches. */
static void mend_checksums(uint8_t *data, size_t len)
{
	for (size_t at = HEAD; at + TAR_BLOCK <= len; at++)
		if (memcmp(data + at + TAR_MAGIC, "ustar", 5) == 0)
			set_checksum(data + at);
}

/* A file that came earlier, and may be patched. */
static void put_kept(struct rb_received *received, const char *name, size_t size)
{
	_cleanup_close_ int fd = -EBADF;
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", inside, name);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	FUZZ_NEED(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	FUZZ_NEED(rb_pwrite_all(fd, "content", 7, 4000) == 0);
	FUZZ_NEED(received_add(received, fd) == 0);
}

/* And one that has a name outside. */
static void put_linked(struct rb_received *received)
{
	_cleanup_close_ int fd = open(victim, O_RDONLY | O_CLOEXEC);
	char path[128];

	snprintf(path, sizeof(path), "%s/linked", inside);
	FUZZ_NEED(fd >= 0 && received_add(received, fd) == 0);
	FUZZ_NEED(link(victim, path) == 0);
}

static void need_outside_untouched(void)
{
	_cleanup_buf_ struct rb_buf text = {};
	struct stat folder, file;

	FUZZ_NEED(rb_read_file(victim, 0, &text, NULL) == 0);
	FUZZ_NEED(text.len == 9 && memcmp(text.data, "untouched", 9) == 0);
	FUZZ_NEED(lstat(victim, &file) == 0 && file.st_mode == (S_IFREG | 0600));
	FUZZ_NEED(file.st_nlink == 1 && file.st_uid == geteuid());
	FUZZ_NEED(stat(outside, &folder) == 0 && folder.st_nlink == 2);
}

/* Into one that came earlier, and is the same file afterwards. */
static int receive_file(struct rb_conn *conn, struct rb_received *received, struct rb_err *err)
{
	_cleanup_close_ int fd = -EBADF;
	struct rb_tree_stats stats;
	struct stat before, after;
	char path[128];
	int r;

	snprintf(path, sizeof(path), "%s/kept", inside);
	fd = open(path, O_RDWR | O_CLOEXEC);
	FUZZ_NEED(fd >= 0 && fstat(fd, &before) == 0);
	r = rb_tree_receive_file(conn, fd, path, false, received, &stats, NULL, err);
	FUZZ_NEED(lstat(path, &after) == 0 && after.st_ino == before.st_ino);
	FUZZ_NEED(S_ISREG(after.st_mode) && after.st_nlink == 1);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	_cleanup_free_ uint8_t *copy = NULL;
	struct rb_tree_stats stats;
	struct rb_received *received;
	struct rb_err err = {};
	struct rb_conn *conn;
	const void *rest;
	char folder[128];
	int r;

	if (len < 1 || len > MAX_STREAM)
		return 0;
	if (!outside[0])
		set_up();
	copy = malloc(len);
	FUZZ_NEED(copy);
	memcpy(copy, data + 1, len - 1);
	mend_checksums(copy, len - 1);
	FUZZ_NEED(mkdir(inside, 0700) == 0);
	FUZZ_NEED(rb_received_new(&received, NULL) == 0);
	snprintf(folder, sizeof(folder), "%s/d", inside);
	FUZZ_NEED(mkdir(folder, 0700) == 0);
	put_kept(received, "kept", 70000);
	put_kept(received, "d/kept", 10000);
	put_linked(received);
	conn = fake_conn_memory(copy, len - 1, (size_t)data[0] * data[0] + 1);
	r = data[0] & 2 ? receive_file(conn, received, &err)
			: rb_tree_receive(conn, inside, data[0] & 1, received, &stats, NULL, &err);
	FUZZ_NEED(rb_stream_read(conn, &rest, NULL, NULL) == 0);
	fake_conn_free(conn);
	FUZZ_NEED(r <= 0 && r >= -4095);
	if (r < 0)
		FUZZ_NEED(err.code > RB_OK && err.code < RB_CODE_MAX && err.msg[0]);
	rb_received_free(received);
	FUZZ_NEED(rb_rm_rf(inside, NULL) == 0);
	need_outside_untouched();
	return 0;
}
