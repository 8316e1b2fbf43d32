// SPDX-License-Identifier: Apache-2.0
/*
 * verify.c - do two trees hold the same?
 */
#include "verify.h"

#include <archive_entry.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "beneath.h"
#include "cleanup.h"
#include "conn.h"
#include "err.h"
#include "manifest.h"
#include "take.h"
#include "wait.h"
#include "xattr.h"

#define READ_SIZE ((size_t)256 << 10)

struct digests {
	XXH128_canonical_t shape, content;
};

/* One tree, entry by entry. */
struct look {
	const char *root;
	int root_fd;
	struct rb_manifest *m;
	size_t *first; /* of each group of names of one inode: index of the first one, plus 1 */
	char *buf;     /* READ_SIZE */
	uint64_t bytes;
	const struct rb_wait *wait;
	struct rb_err *err;
};

static void look_close(struct look *look)
{
	rb_manifest_free(look->m);
	free(look->first);
	free(look->buf);
}

static int look_open(struct look *look)
{
	struct rb_buf gone = {};
	uint64_t n_gone = 0;
	int r;

	look->buf = malloc(READ_SIZE);
	if (!look->buf)
		return rb_err_set(look->err, -ENOMEM, "compare '%s'", look->root);
	r = manifest_scan(look->root_fd, look->root, NULL, &look->m, look->wait, look->err);
	if (r < 0)
		return r;
	/* numbers the groups */
	r = manifest_diff(look->m, NULL, &gone, &n_gone);
	rb_buf_free(&gone);
	look->first = r < 0 ? NULL : calloc(look->m->groups + 1, sizeof(*look->first));
	if (!look->first)
		return rb_err_set(look->err, -ENOMEM, "compare '%s'", look->root);
	for (size_t i = 0; i < look->m->n; i++) {
		size_t *first = &look->first[look->m->entries[i].group];

		if (*first == 0)
			*first = i + 1;
	}
	return 0;
}

static int failed(const struct look *look, const char *path, int r)
{
	return rb_err_set(look->err, r, "read '%s/%s'", look->root, path);
}

/* in whatever order the file system lists them */
static int add_attributes(const struct look *look, int fd, const char *path, XXH3_state_t *state)
{
	struct archive_entry *entry = archive_entry_new();
	XXH128_hash_t sum = {};
	const char *name;
	const void *value;
	size_t size;
	int r;

	if (!entry)
		return rb_err_set(look->err, -ENOMEM, "compare '%s'", look->root);
	r = xattr_load(fd, path, entry, look->err);
	archive_entry_xattr_reset(entry);
	while (r >= 0 && archive_entry_xattr_next(entry, &name, &value, &size) == 0) {
		XXH128_hash_t one =
			XXH3_128bits_withSeed(value, size, XXH3_64bits(name, strlen(name)));

		sum.low64 ^= one.low64;
		sum.high64 += one.high64;
	}
	archive_entry_free(entry);
	XXH3_128bits_update(state, &sum, sizeof(sum));
	return r;
}

static int shape_of(const struct look *look, const struct manifest_entry *e, int fd,
		    const struct stat *st, XXH128_canonical_t *ret)
{
	const char *path = manifest_path(look->m, e);
	uint64_t numbers[] = { st->st_mode,
			       st->st_uid,
			       st->st_gid,
			       S_ISBLK(st->st_mode) || S_ISCHR(st->st_mode) ? st->st_rdev : 0,
			       (uint64_t)st->st_mtim.tv_sec,
			       (uint64_t)st->st_mtim.tv_nsec };
	XXH3_state_t state;
	int r;

	XXH3_128bits_reset(&state);
	XXH3_128bits_update(&state, numbers, sizeof(numbers));
	/* other names may be outside of the tree */
	if (e->group && &look->m->entries[look->first[e->group] - 1] != e) {
		const char *name =
			manifest_path(look->m, &look->m->entries[look->first[e->group] - 1]);

		XXH3_128bits_update(&state, name, strlen(name));
	}
	r = add_attributes(look, fd, path, &state);
	XXH128_canonicalFromHash(ret, XXH3_128bits_digest(&state));
	return r;
}

static int add_file(struct look *look, const char *path, XXH3_state_t *state)
{
	_cleanup_close_ int fd = open_beneath(
		look->root_fd, path, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_NONBLOCK | O_NOCTTY);
	int r = fd < 0 ? failed(look, path, fd) : 0;

	while (r >= 0) {
		ssize_t n = read(fd, look->buf, READ_SIZE);

		if (n < 0 && errno != EINTR)
			return failed(look, path, -errno);
		if (n == 0)
			return 0;
		if (n < 0)
			continue;
		XXH3_128bits_update(state, look->buf, (size_t)n);
		look->bytes += (uint64_t)n;
		r = rb_wait_ms(0, look->wait, look->err);
	}
	return r;
}

/* Only what the manifest says is a regular file is opened: a FIFO or a device is not. */
static int digest(struct look *look, const struct manifest_entry *e, struct digests *ret)
{
	const char *path = manifest_path(look->m, e);
	_cleanup_close_ int fd = open_beneath(look->root_fd, path, O_PATH | O_NOFOLLOW);
	XXH3_state_t state;
	struct stat st;
	int r = fd < 0 ? failed(look, path, fd) : 0;

	if (r >= 0 && fstat(fd, &st) < 0)
		r = failed(look, path, -errno);
	if (r >= 0)
		r = shape_of(look, e, fd, &st, &ret->shape);
	if (r < 0)
		return r;
	XXH3_128bits_reset(&state);
	if (S_ISREG(st.st_mode)) {
		r = add_file(look, path, &state);
	} else if (S_ISLNK(st.st_mode)) {
		ssize_t n = readlinkat(fd, "", look->buf, READ_SIZE);

		r = n < 0 ? failed(look, path, -errno) : 0;
		XXH3_128bits_update(&state, look->buf, n > 0 ? (size_t)n : 0);
	}
	XXH128_canonicalFromHash(&ret->content, XXH3_128bits_digest(&state));
	return r;
}

int rb_verify_send(struct rb_conn *conn, int root_fd, const char *root, const struct rb_wait *wait,
		   struct rb_err *err)
{
	_cleanup_(look_close) struct look look = {
		.root = root, .root_fd = root_fd, .wait = wait, .err = err
	};
	int r = look_open(&look);

	for (size_t i = 0; r >= 0 && i < look.m->n; i++) {
		const char *path = manifest_path(look.m, &look.m->entries[i]);
		uint16_t len = htobe16((uint16_t)strlen(path));
		struct digests digests;

		r = digest(&look, &look.m->entries[i], &digests);
		if (r >= 0)
			r = rb_stream_write(conn, &len, sizeof(len), wait, err);
		if (r >= 0)
			r = rb_stream_write(conn, path, strlen(path), wait, err);
		if (r >= 0)
			r = rb_stream_write(conn, &digests, sizeof(digests), wait, err);
	}
	return r < 0 ? r : rb_stream_end(conn, wait, err);
}

/* --- the other side --- */

struct compare {
	struct look look;
	struct taking t;
	uint64_t files, differing;
	char first[PATH_MAX + 64]; /* what differs first, and how */
};

/* Return: 1, 0 at the end, negative errno */
static int take_record(struct compare *c, char path[PATH_MAX], struct digests *ret)
{
	uint16_t len;
	int r = take_all(&c->t, &len, sizeof(len));

	if (r <= 0)
		return r;
	len = be16toh(len);
	if (len >= PATH_MAX)
		return rb_err_code(c->look.err, RB_E_PROTOCOL, -EPROTO,
				   "the list of files has a path of %d bytes", len);
	r = take_all(&c->t, path, len);
	path[len] = '\0';
	if (r > 0)
		r = take_all(&c->t, ret, sizeof(*ret));
	if (r == 0 || (r > 0 && strlen(path) != len))
		return rb_err_code(c->look.err, RB_E_PROTOCOL, -EPROTO,
				   "the list of files is damaged");
	return r;
}

static void note(struct compare *c, const char *path, const char *how)
{
	if (c->differing++ == 0)
		snprintf(c->first, sizeof(c->first), "'%s' %s", path, how);
}

static int compare_one(struct compare *c, size_t index, const struct digests *theirs)
{
	const struct manifest_entry *e = &c->look.m->entries[index];
	struct digests ours;
	int r = digest(&c->look, e, &ours);

	if (r < 0)
		return r;
	c->files++;
	if (memcmp(&ours.content, &theirs->content, sizeof(ours.content)) != 0)
		note(c, manifest_path(c->look.m, e), "has another content");
	else if (memcmp(&ours.shape, &theirs->shape, sizeof(ours.shape)) != 0)
		note(c, manifest_path(c->look.m, e), "has another owner, mode, time or attribute");
	return 0;
}

/* Both lists are in the same order. */
static int compare_all(struct compare *c)
{
	char path[PATH_MAX], last[PATH_MAX] = "";
	struct digests theirs;
	size_t i = 0;
	int r;

	while ((r = take_record(c, path, &theirs)) > 0) {
		if (*last && strcmp(path, last) <= 0)
			return rb_err_code(c->look.err, RB_E_PROTOCOL, -EPROTO,
					   "the list of files is not in order");
		snprintf(last, sizeof(last), "%s", path);
		for (; i < c->look.m->n &&
		       strcmp(manifest_path(c->look.m, &c->look.m->entries[i]), path) < 0;
		     i++)
			note(c, manifest_path(c->look.m, &c->look.m->entries[i]),
			     "is not on the source");
		if (i == c->look.m->n ||
		    strcmp(manifest_path(c->look.m, &c->look.m->entries[i]), path) != 0) {
			note(c, path, "is missing");
			continue;
		}
		r = compare_one(c, i++, &theirs);
		if (r < 0)
			return r;
	}
	for (; r >= 0 && i < c->look.m->n; i++)
		note(c, manifest_path(c->look.m, &c->look.m->entries[i]), "is not on the source");
	return r;
}

int rb_verify_receive(struct rb_conn *conn, int root_fd, const char *root,
		      struct rb_verify_stats *stats, const struct rb_wait *wait, struct rb_err *err)
{
	struct compare c = { .look = { .root = root, .root_fd = root_fd, .wait = wait, .err = err },
			     .t = { .conn = conn, .wait = wait, .err = err } };
	int r = look_open(&c.look);

	if (r >= 0)
		r = compare_all(&c);
	if (r >= 0 && c.differing)
		r = rb_err_code(
			err, RB_E_CONFLICT, -EUCLEAN,
			"verified, and not the same: %s, below '%s' (%llu of %llu differ)", c.first,
			root, (unsigned long long)c.differing,
			(unsigned long long)(c.files > c.differing ? c.files : c.differing));
	if (r < 0)
		take_drain(&c.t);
	*stats = (struct rb_verify_stats){ .files = c.files, .bytes = c.look.bytes };
	look_close(&c.look);
	return r;
}
