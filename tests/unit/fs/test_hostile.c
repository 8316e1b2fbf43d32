// SPDX-License-Identifier: Apache-2.0
/*
 * test_hostile.c - a peer that wants to write outside of the tree, or to confuse the receiver
 *
 * Streams are made entry by entry with libarchive, which lets everything pass that the sender
 * would never send.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "fake_conn.h"
#include "tap.h"
#include "tree.h"
#include "tree_util.h"

#define MAX_STREAM (1 << 20)

struct peer {
	char root[PATH_MAX];	/* where the stream is received */
	char outside[PATH_MAX]; /* must never change */
	struct rb_buf gone;
	struct archive *archive;
	char *data;
	size_t used;
	struct rb_err err;
};

static void begin(struct peer *p)
{
	*p = (struct peer){};
	tree_folder(p->root, "hostile");
	tree_folder(p->outside, "outside");
	put_file(p->outside, "victim", "untouched", 0600);
	p->data = malloc(MAX_STREAM);
	p->archive = archive_write_new();
	archive_write_set_format_pax(p->archive);
	archive_write_set_options(p->archive, "hdrcharset=BINARY");
	archive_write_set_bytes_in_last_block(p->archive, 1);
	archive_write_open_memory(p->archive, p->data, MAX_STREAM, &p->used);
}

static void finish(struct peer *p)
{
	archive_write_free(p->archive);
	free(p->data);
	rb_buf_free(&p->gone);
}
#define _cleanup_peer_ __attribute__((cleanup(finish)))

static void add(struct peer *p, const char *path, mode_t type, const char *link)
{
	struct archive_entry *entry = archive_entry_new();

	archive_entry_copy_pathname(entry, path);
	archive_entry_set_mode(entry, type | 0755);
	archive_entry_set_size(entry, type == S_IFREG ? 4 : 0);
	if (link && type == S_IFLNK)
		archive_entry_copy_symlink(entry, link);
	else if (link)
		archive_entry_copy_hardlink(entry, link);
	if (archive_write_header(p->archive, entry) != ARCHIVE_OK)
		abort();
	if (type == S_IFREG && !link)
		archive_write_data(p->archive, "evil", 4);
	archive_entry_free(entry);
}

/* Whole stream into *@out. */
static void compose(struct peer *p, struct rb_buf *out)
{
	uint8_t head[16] = "RBTREE1\n";

	archive_write_close(p->archive);
	for (int i = 0; i < 8; i++)
		head[8 + i] = (uint8_t)(p->gone.len >> (56 - 8 * i));
	rb_buf_add(out, head, sizeof(head));
	rb_buf_add(out, p->gone.data, p->gone.len);
	rb_buf_add(out, p->data, p->used);
}

static int deliver(struct peer *p, const struct rb_buf *stream, size_t block)
{
	struct rb_conn *conn = fake_conn_memory(stream->data, stream->len, block);
	int r = rb_tree_receive(conn, p->root, true, NULL, NULL, &p->err);

	fake_conn_free(conn);
	return r;
}

static int send_all(struct peer *p)
{
	_cleanup_buf_ struct rb_buf stream = {};

	compose(p, &stream);
	return deliver(p, &stream, 1000);
}

static bool outside_untouched(const struct peer *p)
{
	_cleanup_buf_ struct rb_buf tree = {}, text = {};

	tree_describe(p->outside, &tree);
	return rb_read_file(at(p->outside, "victim"), 0, &text, NULL) == 0 &&
	       strcmp(text.data, "untouched") == 0 && strstr(tree.data, "/victim mode=100600") &&
	       !strstr(strstr(tree.data, "/victim") + 1, "\n/");
}

#define CHECK_REFUSED(p)                                 \
	do {                                             \
		int _r = send_all(p);                    \
		if (_r != -EPROTO)                       \
			printf("# %s\n", (p)->err.msg);  \
		CHECK_INT(_r, -EPROTO);                  \
		CHECK_INT((p)->err.code, RB_E_PROTOCOL); \
		CHECK(outside_untouched(p));             \
	} while (0)

static void bad_paths(void)
{
	static const char *const paths[] = { "../x",   "/x",   "a/../../x", "..", "a/..", "a/./x",
					     "./../x", "a//x", "//x",	    "/",  "" };

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		_cleanup_peer_ struct peer p;

		begin(&p);
		printf("# path \"%s\"\n", paths[i]);
		add(&p, "a", S_IFDIR, NULL);
		/* libarchive takes no empty path, but a list of vanished ones may hold it */
		if (paths[i][0])
			add(&p, paths[i], S_IFREG, NULL);
		else
			rb_buf_add(&p.gone, "", 1);
		CHECK_REFUSED(&p);
	}
}

static void vanished_outside(void)
{
	static const char *const paths[] = { "../%s/victim", "/%s/victim", "." };

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		_cleanup_peer_ struct peer p;
		char path[PATH_MAX];

		begin(&p);
		CHECK_INT(symlink(p.outside, at(p.root, "link")), 0);
		snprintf(path, sizeof(path), "%s", paths[i]);
		if (strchr(paths[i], '%'))
			snprintf(path, sizeof(path), i == 0 ? "../%s/victim" : "/%s/victim",
				 i == 0 ? strrchr(p.outside, '/') + 1 : p.outside);
		printf("# vanished \"%s\"\n", path);
		rb_buf_add(&p.gone, path, strlen(path) + 1);
		CHECK_REFUSED(&p);
	}
}

/* Through a link there is nothing that could have vanished. */
static void vanished_through_link(void)
{
	_cleanup_peer_ struct peer p;

	begin(&p);
	CHECK_INT(symlink(p.outside, at(p.root, "link")), 0);
	rb_buf_add(&p.gone, "link/victim", 12);
	CHECK_INT(send_all(&p), 0);
	CHECK(outside_untouched(&p));
}

/* A link that the stream itself brings, then something through it. */
static void through_own_link(void)
{
	_cleanup_peer_ struct peer p;

	begin(&p);
	add(&p, "link", S_IFLNK, p.outside);
	add(&p, "link/victim", S_IFREG, NULL);
	CHECK_REFUSED(&p);
}

/* The link is replaced by a folder of the same name, which is what was meant. */
static void folder_over_link(void)
{
	_cleanup_peer_ struct peer p;
	struct stat st;

	begin(&p);
	add(&p, "link", S_IFLNK, p.outside);
	add(&p, "link", S_IFDIR, NULL);
	add(&p, "link/victim", S_IFREG, NULL);
	CHECK_INT(send_all(&p), 0);
	CHECK(outside_untouched(&p));
	CHECK(lstat(at(p.root, "link"), &st) == 0 && S_ISDIR(st.st_mode));
}

/* A folder whose times are due at the end has become a link by then. */
static void folder_becomes_link(void)
{
	_cleanup_peer_ struct peer p;

	begin(&p);
	add(&p, "d", S_IFDIR, NULL);
	add(&p, "d/x", S_IFREG, NULL);
	add(&p, "d", S_IFLNK, p.outside);
	CHECK_INT(send_all(&p), 0);
	CHECK(outside_untouched(&p));
}

static void file_over_link(void)
{
	_cleanup_peer_ struct peer p;

	begin(&p);
	add(&p, "link", S_IFLNK, at(p.outside, "victim"));
	add(&p, "link", S_IFREG, NULL);
	CHECK_INT(send_all(&p), 0);
	CHECK(outside_untouched(&p));
}

static void hard_links_outside(void)
{
	char up[PATH_MAX];

	for (int i = 0; i < 4; i++) {
		_cleanup_peer_ struct peer p;

		begin(&p);
		snprintf(up, sizeof(up), "../%s/victim", strrchr(p.outside, '/') + 1);
		add(&p, "link", S_IFLNK, p.outside);
		if (i == 0)
			add(&p, "h", S_IFREG, at(p.outside, "victim"));
		if (i == 1)
			add(&p, "h", S_IFREG, up);
		if (i == 2)
			add(&p, "h", S_IFREG, "link/victim");
		if (i == 3)
			add(&p, "h", S_IFREG, "h");
		CHECK_REFUSED(&p);
	}
}

static void into_a_mount(void)
{
	_cleanup_peer_ struct peer p;
	int r;

	begin(&p);
	mkdir(at(p.root, "m"), 0700);
	CHECK_INT(mount(p.outside, at(p.root, "m"), NULL, MS_BIND, NULL), 0);
	add(&p, "m/victim", S_IFREG, NULL);
	r = send_all(&p);
	umount(at(p.root, "m"));
	CHECK_INT(r, -EPROTO);
	CHECK(outside_untouched(&p));
}

static void root_is_a_file(void)
{
	_cleanup_peer_ struct peer p;

	begin(&p);
	add(&p, ".", S_IFIFO, NULL);
	CHECK_REFUSED(&p);
}

static void long_names(void)
{
	_cleanup_peer_ struct peer p;
	char path[2 * PATH_MAX];

	begin(&p);
	memset(path, 'n', sizeof(path));
	path[NAME_MAX + 1] = '\0';
	add(&p, path, S_IFREG, NULL);
	CHECK_REFUSED(&p);
}

/* Cut anywhere, the stream is an error, and none of it is read after its end. */
static void cut_short(void)
{
	_cleanup_buf_ struct rb_buf stream = {};
	_cleanup_peer_ struct peer p;
	size_t whole;

	begin(&p);
	rb_buf_add(&p.gone, "old\0older", 10);
	add(&p, "file", S_IFREG, NULL);
	compose(&p, &stream);
	whole = stream.len;
	/* up to the end of the entry; the zeros behind it may be missing */
	for (size_t len = 0; len < whole - 1024 - 508; len++) {
		struct rb_buf part = { .data = stream.data, .len = len };
		int r = deliver(&p, &part, len % 700 + 1);

		if (r == 0 && len == 26)
			continue; /* an archive of no entries */
		CHECK_INT(r, -EPROTO);
	}
	stream.len = whole;
	CHECK_INT(deliver(&p, &stream, 1), 0);
}

static void wrong_heads(void)
{
	_cleanup_peer_ struct peer p;
	struct rb_buf stream;
	char head[] = "RBTREE1\n\xff\xff\xff\xff\xff\xff\xff\xff";
	char endless[2 * PATH_MAX] = "RBTREE1\n\0\0\0\0\0\1";

	begin(&p);
	stream = (struct rb_buf){ .data = head, .len = 16 };
	CHECK_INT(deliver(&p, &stream, 16), -EPROTO);
	memset(endless + 16, 'x', sizeof(endless) - 16);
	stream = (struct rb_buf){ .data = endless, .len = sizeof(endless) };
	CHECK_INT(deliver(&p, &stream, 4096), -EPROTO);
	head[0] = 'X';
	stream = (struct rb_buf){ .data = head, .len = 16 };
	CHECK_INT(deliver(&p, &stream, 16), -EPROTO);
}

/* After a failure the next stream of the same connection can be read. */
static void conversation_goes_on(void)
{
	_cleanup_buf_ struct rb_buf stream = {};
	_cleanup_peer_ struct peer p;
	struct rb_conn *conn;
	uint32_t len, zero = 0;
	int fds[2], r;

	begin(&p);
	add(&p, "a", S_IFREG, NULL);
	add(&p, "../b", S_IFREG, NULL);
	add(&p, "c", S_IFREG, NULL);
	compose(&p, &stream);
	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	len = (uint32_t)stream.len / 2;
	rb_write_all(fds[0], &len, 4);
	rb_write_all(fds[0], stream.data, len);
	len = (uint32_t)stream.len - len;
	rb_write_all(fds[0], &len, 4);
	rb_write_all(fds[0], stream.data + stream.len - len, len);
	rb_write_all(fds[0], &zero, 4);
	rb_write_all(fds[0], "next", 4);
	conn = fake_conn_new(fds[1]);
	r = rb_tree_receive(conn, p.root, true, NULL, NULL, &p.err);
	len = 0;
	CHECK_INT(read(fds[1], &len, 4), 4);
	fake_conn_free(conn);
	close(fds[0]);
	CHECK_INT(r, -EPROTO);
	CHECK_INT(memcmp(&len, "next", 4), 0);
	CHECK(strstr(p.err.msg, "../b"));
}

int main(void)
{
	if (geteuid() != 0) {
		printf("1..0 # SKIP needs root\n");
		return 0;
	}
	TAP_RUN(bad_paths);
	TAP_RUN(vanished_outside);
	TAP_RUN(vanished_through_link);
	TAP_RUN(through_own_link);
	TAP_RUN(folder_over_link);
	TAP_RUN(folder_becomes_link);
	TAP_RUN(file_over_link);
	TAP_RUN(hard_links_outside);
	TAP_RUN(into_a_mount);
	TAP_RUN(root_is_a_file);
	TAP_RUN(long_names);
	TAP_RUN(cut_short);
	TAP_RUN(wrong_heads);
	TAP_RUN(conversation_goes_on);
	return tap_done();
}
