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
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "fake_conn.h"
#include "received.h"
#include "tap.h"
#include "tree.h"
#include "tree_util.h"

#define MAX_STREAM (1 << 20)

struct peer {
	char root[PATH_MAX];	/* where the stream is received */
	char outside[PATH_MAX]; /* must never change */
	struct rb_buf gone, patches;
	struct rb_received *received;
	struct archive *archive;
	char *data;
	size_t used;
	struct rb_err err;
};

static void open_stream(struct peer *p)
{
	p->data = malloc(MAX_STREAM);
	p->archive = archive_write_new();
	archive_write_set_format_pax(p->archive);
	archive_write_set_options(p->archive, "hdrcharset=BINARY,xattrheader=LIBARCHIVE");
	archive_write_set_bytes_in_last_block(p->archive, 1);
	archive_write_open_memory(p->archive, p->data, MAX_STREAM, &p->used);
}

static void begin(struct peer *p)
{
	*p = (struct peer){};
	tree_folder(p->root, "hostile");
	tree_folder(p->outside, "outside");
	put_file(p->outside, "victim", "untouched", 0600);
	if (rb_received_new(&p->received, NULL) < 0)
		abort();
	open_stream(p);
}

static void finish(struct peer *p)
{
	archive_write_free(p->archive);
	free(p->data);
	rb_buf_free(&p->gone);
	rb_buf_free(&p->patches);
	rb_received_free(p->received);
}
#define _cleanup_peer_ __attribute__((cleanup(finish)))

static void add_marked(struct peer *p, const char *path, mode_t type, const char *link,
		       const char *mark)
{
	struct archive_entry *entry = archive_entry_new();

	if (mark)
		archive_entry_xattr_add_entry(entry, mark, "1", 1);

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

static void add(struct peer *p, const char *path, mode_t type, const char *link)
{
	add_marked(p, path, type, link, NULL);
}

static void put_number(struct rb_buf *out, uint64_t value, int len)
{
	for (int i = len - 1; i >= 0; i--)
		rb_buf_add(out, &(uint8_t){ (uint8_t)(value >> (8 * i)) }, 1);
}

static void add_patch(struct peer *p, const char *path, uint64_t size)
{
	put_number(&p->patches, strlen(path), 2);
	rb_buf_add(&p->patches, path, strlen(path));
	put_number(&p->patches, size, 8);
}

/* With 4 bytes of data, whatever @len is. */
static void add_piece(struct peer *p, uint64_t offset, uint64_t len)
{
	put_number(&p->patches, offset, 8);
	put_number(&p->patches, len, 8);
	if (len)
		rb_buf_add(&p->patches, "EVIL", 4);
}

/* Whole stream into *@out. */
static void compose(struct peer *p, struct rb_buf *out)
{
	uint8_t head[16] = "RBTREE2\n";

	archive_write_close(p->archive);
	for (int i = 0; i < 8; i++)
		head[8 + i] = (uint8_t)(p->gone.len >> (56 - 8 * i));
	rb_buf_add(out, head, sizeof(head));
	rb_buf_add(out, p->gone.data, p->gone.len);
	rb_buf_add(out, p->patches.data, p->patches.len);
	rb_buf_add(out, "\0", 2);
	rb_buf_add(out, p->data, p->used);
}

static int deliver(struct peer *p, const struct rb_buf *stream, size_t block)
{
	struct rb_conn *conn = fake_conn_memory(stream->data, stream->len, block);
	int r = rb_tree_receive(conn, p->root, true, p->received, NULL, NULL, &p->err);

	fake_conn_free(conn);
	return r;
}

static int send_all(struct peer *p)
{
	_cleanup_buf_ struct rb_buf stream = {};

	compose(p, &stream);
	return deliver(p, &stream, 1000);
}

/* After a stream: the next one, into the same tree. */
static void next_stream(struct peer *p)
{
	archive_write_free(p->archive);
	free(p->data);
	rb_buf_free(&p->gone);
	rb_buf_free(&p->patches);
	p->err = (struct rb_err){};
	open_stream(p);
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

/* What is at the top of the tree, and in its place, whether the stream then comes to an end or not.
 */
static void names_are_noted(void)
{
	static const char wanted[] = "a\0b\0a\0link\0";
	_cleanup_close_ int fd = open("/tmp", O_RDWR | O_TMPFILE | O_APPEND | O_CLOEXEC, 0600);
	_cleanup_peer_ struct peer p;
	char noted[64] = "";
	ssize_t len;

	begin(&p);
	rb_received_note_names(p.received, fd);
	add(&p, "./", S_IFDIR, NULL);
	add(&p, "a", S_IFDIR, NULL);
	add(&p, "a/x", S_IFREG, NULL);
	add(&p, "a/y", S_IFREG, NULL);
	add(&p, "b", S_IFREG, NULL);
	add(&p, "a/z", S_IFREG, NULL);
	add(&p, "link", S_IFLNK, "/nowhere");
	add(&p, "../x", S_IFREG, NULL);
	CHECK_REFUSED(&p);
	len = pread(fd, noted, sizeof(noted), 0);
	CHECK_INT(len, sizeof(wanted) - 1);
	CHECK(memcmp(noted, wanted, sizeof(wanted) - 1) == 0);
	/* nothing is made that could not be noted */
	rb_received_note_names(p.received, open("/dev/full", O_WRONLY | O_CLOEXEC));
	next_stream(&p);
	add(&p, "c", S_IFDIR, NULL);
	CHECK_INT(send_all(&p), -ENOSPC);
	CHECK(access(at(p.root, "c"), F_OK) < 0);
}

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
	char head[] = "RBTREE2\n\xff\xff\xff\xff\xff\xff\xff\xff";
	char endless[2 * PATH_MAX] = "RBTREE2\n\0\0\0\0\0\1";

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
	r = rb_tree_receive(conn, p.root, true, NULL, NULL, NULL, &p.err);
	len = 0;
	CHECK_INT(read(fds[1], &len, 4), 4);
	fake_conn_free(conn);
	close(fds[0]);
	CHECK_INT(r, -EPROTO);
	CHECK_INT(memcmp(&len, "next", 4), 0);
	CHECK(strstr(p.err.msg, "../b"));
}

/* --- patches --- */

static bool holds(const struct peer *p, const char *name, const char *wanted)
{
	_cleanup_buf_ struct rb_buf text = {};

	return rb_read_file(at(p->root, name), 0, &text, NULL) == 0 &&
	       strcmp(text.data, wanted) == 0;
}

/* "file", which may be patched, with "evil" in it */
static void begin_with_file(struct peer *p)
{
	begin(p);
	add_marked(p, "file", S_IFREG, NULL, "reberth.keep");
	if (send_all(p) != 0)
		abort();
	next_stream(p);
}

static void well_patched(void)
{
	_cleanup_peer_ struct peer p;

	begin_with_file(&p);
	for (int i = 0; i < 3; i++) {
		add_patch(&p, "file", 6);
		add_piece(&p, 2, 4);
		add_piece(&p, 0, 0);
		add_marked(&p, "file", S_IFREG, NULL, "reberth.patched");
		CHECK_INT(send_all(&p), 0);
		CHECK(holds(&p, "file", "evEVIL"));
		next_stream(&p);
	}
}

static void patch_of_what_did_not_come(void)
{
	static const char *const names[] = { "own",    "out/victim", "../victim", "/file", "folder",
					     "device", "nothing",    "",	  "a/b/c", "pipe" };
	char outside[PATH_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_peer_ struct peer p;

		begin_with_file(&p);
		snprintf(outside, sizeof(outside), "%s", p.outside);
		put_file(p.root, "own", "mine", 0600);
		CHECK_INT(symlink(outside, at(p.root, "out")), 0);
		CHECK_INT(mkdir(at(p.root, "folder"), 0700), 0);
		CHECK_INT(mkfifo(at(p.root, "pipe"), 0600), 0);
		CHECK_INT(mknod(at(p.root, "device"), S_IFCHR | 0600, makedev(1, 3)), 0);
		add_patch(&p, names[i], 4);
		add_piece(&p, 0, 4);
		add_piece(&p, 0, 0);
		if (*names[i]) {
			CHECK_REFUSED(&p);
		} else {
			CHECK(send_all(&p) < 0);
			CHECK(outside_untouched(&p));
		}
		CHECK(holds(&p, "own", "mine"));
	}
}

/* A file that came is replaced by, or has another name as, something else. */
static void patch_of_what_came_and_is_another(void)
{
	for (int how = 0; how < 4; how++) {
		_cleanup_peer_ struct peer p;
		char victim[PATH_MAX];

		begin_with_file(&p);
		snprintf(victim, sizeof(victim), "%s", at(p.outside, "victim"));
		if (how == 3) {
			CHECK_INT(link(at(p.root, "file"), at(p.outside, "name")), 0);
		} else {
			CHECK_INT(unlink(at(p.root, "file")), 0);
			CHECK_INT(how == 0   ? symlink(victim, at(p.root, "file"))
				  : how == 1 ? link(victim, at(p.root, "file"))
					     : mkfifo(at(p.root, "file"), 0600),
				  0);
		}
		add_patch(&p, "file", 4);
		add_piece(&p, 0, 4);
		add_piece(&p, 0, 0);
		add_marked(&p, "file", S_IFREG, NULL, "reberth.patched");
		CHECK_INT(send_all(&p), -EPROTO);
		if (how == 3) {
			CHECK(holds(&p, "file", "evil"));
			CHECK_INT(unlink(at(p.outside, "name")), 0);
		} else if (how == 1) {
			CHECK_INT(unlink(at(p.root, "file")), 0);
		}
		CHECK(outside_untouched(&p));
	}
}

/* The earlier reopening for writing crossed mounts. */
static void patch_in_a_mount(void)
{
	_cleanup_peer_ struct peer p;
	pid_t pid;
	int status;

	begin(&p);
	add(&p, "d", S_IFDIR, NULL);
	add_marked(&p, "d/victim", S_IFREG, NULL, "reberth.keep");
	add_marked(&p, "victim", S_IFREG, NULL, "reberth.keep");
	CHECK_INT(send_all(&p), 0);
	next_stream(&p);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		int r;

		if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		    mount(p.outside, at(p.root, "d"), NULL, MS_BIND, NULL) < 0 ||
		    mount(at(p.outside, "victim"), at(p.root, "victim"), NULL, MS_BIND, NULL) < 0)
			_exit(2);
		add_patch(&p, "d/victim", 4);
		add_piece(&p, 0, 4);
		add_piece(&p, 0, 0);
		r = send_all(&p);
		next_stream(&p);
		add_patch(&p, "victim", 4);
		add_piece(&p, 0, 4);
		add_piece(&p, 0, 0);
		_exit(r != -EPROTO || send_all(&p) != -EPROTO);
	}
	waitpid(pid, &status, 0);
	CHECK_INT(status, 0);
	CHECK(outside_untouched(&p));
}

static void patch_without_a_table(void)
{
	_cleanup_peer_ struct peer p;

	begin_with_file(&p);
	rb_received_free(p.received);
	p.received = NULL;
	add_patch(&p, "file", 4);
	add_piece(&p, 0, 4);
	add_piece(&p, 0, 0);
	CHECK_REFUSED(&p);
	CHECK(holds(&p, "file", "evil"));
}

static void senseless_pieces(void)
{
	static const struct {
		uint64_t size, pieces[4];
	} cases[] = {
		{ 4, { 1, 4 } },			 /* beyond the end */
		{ 4, { 5, 4 } },			 /* behind it */
		{ 1 << 20, { 0, 4, 2, 4 } },		 /* over another one */
		{ 1 << 20, { 100, 4, 0, 4 } },		 /* out of order */
		{ 1 << 20, { UINT64_MAX - 2, 4 } },	 /* around the end of numbers */
		{ 1 << 20, { 100, INT64_MAX } },	 /* too long */
		{ 1 << 20, { 100, UINT64_MAX } },	 /* a hole of all there is */
		{ 1 << 20, { 100, UINT64_C(1) << 63 } }, /* a hole of nothing */
		{ 1 << 20, { 0, UINT64_C(1) << 63 } },
		{ 1 << 20, { 100, 0 } },  /* nothing, and not the end */
		{ UINT64_MAX, { 0, 4 } }, /* a negative size */
		{ UINT64_C(1) << 63, { 0, 4 } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_peer_ struct peer p;

		begin_with_file(&p);
		add_patch(&p, "file", cases[i].size);
		add_piece(&p, cases[i].pieces[0], cases[i].pieces[1]);
		if (cases[i].pieces[3])
			add_piece(&p, cases[i].pieces[2], cases[i].pieces[3]);
		add_piece(&p, 0, 0);
		CHECK_REFUSED(&p);
	}
}

/* What was torn is not patched again, but may come whole. */
static void torn(void)
{
	_cleanup_buf_ struct rb_buf stream = {};
	_cleanup_peer_ struct peer p;

	begin_with_file(&p);
	add_patch(&p, "file", 1 << 20);
	add_piece(&p, 0, 4);
	add_piece(&p, 100, 4);
	compose(&p, &stream);
	stream.len = 16 + 2 + 4 + 8 + 16 + 4 + 16 + 2; /* within the data of the second piece */
	CHECK_INT(deliver(&p, &stream, 7), -EPROTO);
	next_stream(&p);
	add_patch(&p, "file", 4);
	add_piece(&p, 0, 4);
	add_piece(&p, 0, 0);
	CHECK_REFUSED(&p);
	next_stream(&p);
	/* nor is it called complete */
	add_marked(&p, "file", S_IFREG, NULL, "reberth.patched");
	CHECK_REFUSED(&p);
	next_stream(&p);
	add_marked(&p, "file", S_IFREG, NULL, "reberth.keep");
	CHECK_INT(send_all(&p), 0);
	CHECK(holds(&p, "file", "evil"));
	next_stream(&p);
	/* without its entry in the archive it is as good as torn */
	add_patch(&p, "file", 4);
	add_piece(&p, 0, 0);
	CHECK_INT(send_all(&p), 0);
	next_stream(&p);
	add_patch(&p, "file", 4);
	add_piece(&p, 0, 0);
	CHECK_REFUSED(&p);
	next_stream(&p);
	add_marked(&p, "file", S_IFREG, NULL, "reberth.patched");
	CHECK_REFUSED(&p);
}

int main(void)
{
	if (geteuid() != 0) {
		printf("1..0 # SKIP needs root\n");
		return 0;
	}
	TAP_RUN(well_patched);
	TAP_RUN(patch_of_what_did_not_come);
	TAP_RUN(patch_of_what_came_and_is_another);
	TAP_RUN(patch_in_a_mount);
	TAP_RUN(patch_without_a_table);
	TAP_RUN(senseless_pieces);
	TAP_RUN(torn);
	TAP_RUN(names_are_noted);
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
