// SPDX-License-Identifier: Apache-2.0
/*
 * tree_util.c - make trees, move them over a fake connection, tell whether they are the same
 */
#include "tree_util.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cleanup.h"
#include "fake_conn.h"
#include "tree_source.h"
#include "wait.h"
#include "xattr.h"

#define MAX_FOLDERS 256
#define MAX_PATHS   300000

static char folders[MAX_FOLDERS][256];
static int n_folders;

static void remove_folders(void)
{
	for (int i = 0; i < n_folders; i++)
		rb_rm_rf(folders[i], NULL);
}

void tree_folder(char *ret, const char *what)
{
	if (n_folders == 0)
		atexit(remove_folders);
	if (n_folders == MAX_FOLDERS)
		abort();
	snprintf(folders[n_folders], sizeof(folders[0]), "%s/rbtest-%s-XXXXXX",
		 getenv("TMPDIR") ?: "/var/tmp", what);
	if (!mkdtemp(folders[n_folders]))
		abort();
	strcpy(ret, folders[n_folders++]);
}

const char *at(const char *root, const char *name)
{
	static char bufs[8][PATH_MAX];
	static unsigned int next;
	char *buf = bufs[next++ % 8];

	snprintf(buf, PATH_MAX, "%s/%s", root, name);
	return buf;
}

void put_file(const char *root, const char *name, const char *text, mode_t mode)
{
	int fd = open(at(root, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	if (fd < 0 || rb_write_all(fd, text, strlen(text)) < 0 || fchmod(fd, mode) < 0)
		abort();
	close(fd);
}

static struct {
	char *path[MAX_PATHS];
	int n;
} found;

static int collect(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	if (found.n == MAX_PATHS)
		abort();
	found.path[found.n++] = strdup(path);
	return 0;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static uint64_t hash_range(int fd, off_t from, off_t to, uint64_t hash)
{
	static char block[1 << 16];

	while (from < to) {
		size_t want = to - from < (off_t)sizeof(block) ? (size_t)(to - from)
							       : sizeof(block);
		ssize_t n = pread(fd, block, want, from);

		if (n <= 0)
			abort();
		for (ssize_t i = 0; i < n; i++)
			hash = (hash ^ (uint8_t)block[i]) * 1099511628211ULL;
		from += n;
	}
	return hash;
}

static void describe_content(const char *path, off_t size, struct rb_buf *out)
{
	uint64_t hash = 14695981039346656037ULL;
	int fd = open(path, O_RDONLY | O_NOATIME | O_CLOEXEC), pieces = 0;
	off_t data, hole = 0;

	while (hole < size && (data = lseek(fd, hole, SEEK_DATA)) >= 0) {
		hole = lseek(fd, data, SEEK_HOLE);
		hash = hash_range(fd, data, hole, hash);
		if (pieces++ < 50)
			rb_buf_addf(out, " data=%lld-%lld", (long long)data, (long long)hole);
	}
	rb_buf_addf(out, " pieces=%d content=%016llx", pieces, (unsigned long long)hash);
	close(fd);
}

static void describe_xattrs(const char *path, struct rb_buf *out)
{
	static char names[XATTR_LIST_MAX], value[XATTR_SIZE_MAX];
	ssize_t len = llistxattr(path, names, sizeof(names));
	char *sorted[64];
	int n = 0;

	for (char *name = names; len > 0 && name < names + len; name += strlen(name) + 1)
		if (xattr_travels(name) && n < 64)
			sorted[n++] = name;
	qsort(sorted, (size_t)n, sizeof(*sorted), compare);
	for (int i = 0; i < n; i++) {
		ssize_t size = lgetxattr(path, sorted[i], value, sizeof(value));

		rb_buf_addf(out, " %s=", sorted[i]);
		for (ssize_t k = 0; k < size; k++)
			rb_buf_addf(out, "%02x", (uint8_t)value[k]);
	}
}

/* Names of one inode are told by the first of them. */
static void describe_links(int index, const struct stat *st, size_t root_len, struct rb_buf *out)
{
	struct stat other;

	for (int i = 0; i < index; i++)
		if (lstat(found.path[i], &other) == 0 && other.st_ino == st->st_ino &&
		    other.st_dev == st->st_dev) {
			rb_buf_addf(out, " same-as=%s", found.path[i] + root_len);
			return;
		}
}

static void describe_one(int index, size_t root_len, struct rb_buf *out)
{
	const char *path = found.path[index];
	char target[PATH_MAX];
	struct stat st;
	ssize_t n;

	if (lstat(path, &st) < 0)
		abort();
	rb_buf_addf(out, "%s mode=%o owner=%u:%u mtime=%lld.%09ld", path + root_len, st.st_mode,
		    st.st_uid, st.st_gid, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
		rb_buf_addf(out, " device=%u:%u", major(st.st_rdev), minor(st.st_rdev));
	else if (st.st_nlink > 1 && !S_ISDIR(st.st_mode))
		describe_links(index, &st, root_len, out);
	if (S_ISREG(st.st_mode)) {
		rb_buf_addf(out, " size=%lld atime=%lld.%09ld", (long long)st.st_size,
			    (long long)st.st_atim.tv_sec, st.st_atim.tv_nsec);
		describe_content(path, st.st_size, out);
	} else if (S_ISLNK(st.st_mode)) {
		n = readlink(path, target, sizeof(target) - 1);
		rb_buf_addf(out, " to=%.*s", (int)n, target);
	}
	describe_xattrs(path, out);
	rb_buf_add(out, "\n", 1);
}

void tree_describe(const char *root, struct rb_buf *ret)
{
	found.n = 0;
	if (nftw(root, collect, 32, FTW_PHYS) < 0)
		abort();
	qsort(found.path, (size_t)found.n, sizeof(*found.path), compare);
	for (int i = 0; i < found.n; i++)
		describe_one(i, strlen(root), ret);
	for (int i = 0; i < found.n; i++)
		free(found.path[i]);
}

const char *tree_difference(const char *a, const char *b)
{
	static char text[4096];
	_cleanup_buf_ struct rb_buf x = {}, y = {};
	const char *p, *q;

	tree_describe(a, &x);
	tree_describe(b, &y);
	for (p = x.data, q = y.data; *p || *q;) {
		size_t n = strcspn(p, "\n"), m = strcspn(q, "\n");

		if (n != m || memcmp(p, q, n) != 0) {
			snprintf(text, sizeof(text), "source: %.*s\n# target: %.*s", (int)n, p,
				 (int)m, q);
			return text;
		}
		p += n + (p[n] == '\n');
		q += m + (q[m] == '\n');
	}
	return NULL;
}

struct outcome {
	int r;
	struct rb_err err;
};

/* Have a child receive below @to what @send sends. */
static int move_by(int (*send)(struct rb_conn *conn, void *arg, struct rb_err *err), void *arg,
		   const char *to, bool durable, struct rb_err *err)
{
	struct outcome *theirs = mmap(NULL, sizeof(*theirs), PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct rb_conn *conn;
	struct outcome out;
	pid_t pid;
	int r;

	if (theirs == MAP_FAILED)
		abort();
	pid = fake_conn_fork(&conn);
	if (pid == 0) {
		theirs->r = rb_tree_receive(conn, to, durable, NULL, NULL, NULL, &theirs->err);
		fake_conn_free(conn);
		_exit(0);
	}
	r = send(conn, arg, err);
	fake_conn_free(conn);
	waitpid(pid, NULL, 0);
	out = *theirs;
	munmap(theirs, sizeof(*theirs));
	if (r == 0 && out.r < 0 && err)
		*err = out.err;
	return r < 0 ? r : out.r;
}

struct whole {
	const char *from;
	const struct rb_manifest *base;
	struct rb_manifest **ret_now;
	struct rb_tree_stats *sent;
};

static int send_whole(struct rb_conn *conn, void *arg, struct rb_err *err)
{
	struct whole *w = arg;

	return rb_tree_send(conn, w->from, w->base, NULL, w->ret_now, w->sent, NULL, err);
}

int tree_move(const char *from, const char *to, const struct rb_manifest *base,
	      struct rb_manifest **ret_now, struct rb_tree_stats *sent, struct rb_err *err)
{
	struct whole whole = { from, base, ret_now, sent };

	return move_by(send_whole, &whole, to, true, err);
}

struct round {
	struct rb_tree_source *source;
	struct rb_tree_stats *sent;
};

static int send_round(struct rb_conn *conn, void *arg, struct rb_err *err)
{
	struct round *round = arg;

	return rb_tree_source_send(conn, round->source, NULL, round->sent, NULL, err);
}

int tree_round(struct rb_tree_source *source, const char *to, struct rb_tree_stats *sent,
	       struct rb_err *err)
{
	struct round round = { source, sent };

	return move_by(send_round, &round, to, false, err);
}

void let_clock_tick(void)
{
	int64_t until = rb_now_ms() + 60;

	while (rb_now_ms() < until)
		rb_wait_ms(until - rb_now_ms(), NULL, NULL);
}
