// SPDX-License-Identifier: Apache-2.0
/*
 * test_logfile.c - lines of a log arrive once each, in order, whatever Docker does to its files
 */
#include "logfile.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "fake_conn.h"
#include "tap.h"
#include "tree_util.h"
#include "wait.h"

struct log {
	char root[PATH_MAX];
	char path[PATH_MAX];   /* live file on the source */
	char target[PATH_MAX]; /* where it arrives */
	struct rb_log_position position;
	int written; /* lines so far */
	struct rb_err err;
};

static void start(struct log *log)
{
	*log = (struct log){};
	tree_folder(log->root, "log");
	strcpy(log->path, at(log->root, "ID-json.log"));
	strcpy(log->target, at(log->root, "target.log"));
}

static void append(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);

	if (fd < 0 || rb_write_all(fd, text, strlen(text)) < 0)
		abort();
	close(fd);
}

static void put_lines(struct log *log, int n)
{
	char line[128];

	while (n--) {
		snprintf(line, sizeof(line), "{\"log\":\"x\\n\",\"time\":\"%09d\"}\n",
			 log->written++);
		append(log->path, line);
	}
}

static void rename_number(struct log *log, int from, const char *ext, int to)
{
	char a[32], b[32];

	snprintf(a, sizeof(a), "ID-json.log.%d%s", from, ext);
	snprintf(b, sizeof(b), "ID-json.log.%d%s", to, ext);
	if (from == 0)
		snprintf(a, sizeof(a), "ID-json.log");
	rename(at(log->root, a), at(log->root, b));
}

/* as Docker does it */
static void rotate(struct log *log, int max_files, const char *ext)
{
	char oldest[32];

	snprintf(oldest, sizeof(oldest), "ID-json.log.%d%s", max_files - 1, ext);
	unlink(at(log->root, oldest));
	for (int i = max_files - 1; i > 1; i--)
		rename_number(log, i - 1, ext, i);
	rename_number(log, 0, "", 1);
	append(log->path, "");
}

static void compress_first(struct log *log)
{
	_cleanup_buf_ struct rb_buf text = {};
	struct archive *archive = archive_write_new();
	struct archive_entry *entry = archive_entry_new();

	if (rb_read_file(at(log->root, "ID-json.log.1"), 0, &text, NULL) < 0)
		abort();
	archive_write_add_filter_gzip(archive);
	archive_write_set_format_raw(archive);
	archive_write_open_filename(archive, at(log->root, "ID-json.log.1.gz"));
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_write_header(archive, entry);
	archive_write_data(archive, text.data, text.len);
	archive_entry_free(entry);
	archive_write_free(archive);
	unlink(at(log->root, "ID-json.log.1"));
}

static int move(struct log *log)
{
	struct rb_conn *conn;
	int status, r;
	pid_t pid;

	pid = fake_conn_fork(&conn);
	if (pid == 0) {
		r = rb_logfile_receive(conn, log->target, NULL, NULL);
		fake_conn_free(conn);
		_exit(r < 0 ? 1 : 0);
	}
	r = rb_logfile_send(conn, log->path, &log->position, &log->position, NULL, &log->err);
	fake_conn_free(conn);
	waitpid(pid, &status, 0);
	return r < 0 ? r : -status;
}

/* Every line from the first on, once. Return: their number, or -1 - number of the first wrong */
static int lines_arrived(struct log *log)
{
	_cleanup_buf_ struct rb_buf text = {};
	char want[128];
	int n = 0;

	if (rb_read_file(log->target, 0, &text, NULL) < 0)
		return 0;
	for (const char *line = text.data; *line; n++) {
		snprintf(want, sizeof(want), "{\"log\":\"x\\n\",\"time\":\"%09d\"}\n", n);
		if (strncmp(line, want, strlen(want)) != 0)
			return -1 - n;
		line += strlen(want);
	}
	return n;
}

#define CHECK_MOVE(log)                                        \
	do {                                                   \
		int _r = move(log);                            \
		if (_r < 0)                                    \
			printf("# %s\n", (log)->err.msg);      \
		CHECK_INT(_r, 0);                              \
		CHECK_INT(lines_arrived(log), (log)->written); \
	} while (0)

static void no_log(void)
{
	struct log log;

	start(&log);
	CHECK_MOVE(&log);
	put_lines(&log, 3);
	CHECK_MOVE(&log);
}

static void one_file(void)
{
	struct stat st;
	struct log log;

	start(&log);
	put_lines(&log, 20000); /* more than a block */
	CHECK_MOVE(&log);
	CHECK_MOVE(&log);
	put_lines(&log, 5);
	CHECK_MOVE(&log);
	CHECK_INT(stat(log.target, &st), 0);
	CHECK_INT(st.st_mode & 0777, 0640);
}

static void half_a_line(void)
{
	struct log log;

	start(&log);
	put_lines(&log, 2);
	append(log.path, "{\"log\":\"x\\n\",\"time\":");
	CHECK_MOVE(&log);
	append(log.path, "\"000000002\"}\n");
	log.written++;
	CHECK_MOVE(&log);
}

static void rotated(void)
{
	struct log log;

	start(&log);
	for (int i = 0; i < 4; i++) {
		put_lines(&log, 10);
		rotate(&log, 5, "");
	}
	CHECK_MOVE(&log); /* the live file is empty */
	CHECK_MOVE(&log);
	put_lines(&log, 10);
	CHECK_MOVE(&log);
	put_lines(&log, 10);
	rotate(&log, 5, "");
	CHECK_MOVE(&log);
	put_lines(&log, 10);
	rotate(&log, 5, "");
	put_lines(&log, 10);
	rotate(&log, 5, "");
	put_lines(&log, 10);
	CHECK_MOVE(&log);
}

static void compressed(void)
{
	struct log log;

	start(&log);
	for (int i = 0; i < 3; i++) {
		put_lines(&log, 5000);
		rotate(&log, 9, ".gz");
		compress_first(&log);
	}
	put_lines(&log, 10);
	CHECK_MOVE(&log);
	put_lines(&log, 10);
	rotate(&log, 9, ".gz"); /* compression is still under way: a .gz of nothing yet */
	append(at(log.root, "ID-json.log.1.gz"), "");
	CHECK_MOVE(&log);
	compress_first(&log);
	put_lines(&log, 10);
	rotate(&log, 9, ".gz");
	compress_first(&log);
	CHECK_MOVE(&log);
	put_lines(&log, 1);
	CHECK_MOVE(&log);
}

/* The position's file was rotated away altogether: all that is left is new. */
static void rotated_away(void)
{
	struct log log;

	start(&log);
	put_lines(&log, 10);
	CHECK_MOVE(&log);
	rotate(&log, 2, "");
	put_lines(&log, 10);
	rotate(&log, 2, "");
	put_lines(&log, 10);
	CHECK_MOVE(&log);
}

/* Somebody empties the live file; what was rotated before was sent and stays sent. */
static void emptied(void)
{
	struct log log;

	start(&log);
	put_lines(&log, 10);
	rotate(&log, 3, "");
	put_lines(&log, 10);
	CHECK_MOVE(&log);
	CHECK_INT(truncate(log.path, 0), 0);
	CHECK_MOVE(&log);
	put_lines(&log, 10);
	CHECK_MOVE(&log);
	put_lines(&log, 10);
	CHECK_MOVE(&log);
}

/* A writer and rotations while the log is sent again and again. */
static void write_and_rotate(struct log *log, const char *ext)
{
	for (int i = 0; i < 300; i++) {
		put_lines(log, 20);
		rotate(log, 400, ext);
		if (*ext)
			compress_first(log);
		rb_wait_ms(1, NULL, NULL); /* Docker is slower still */
	}
}

static void send_meanwhile(const char *ext)
{
	struct log log;
	int status = 0;
	pid_t pid;

	start(&log);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		write_and_rotate(&log, ext);
		_exit(0);
	}
	while (waitpid(pid, &status, WNOHANG) == 0) {
		int moved = move(&log), lines = lines_arrived(&log);

		if (moved < 0 || lines < 0) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
			CHECK_INT(moved, 0);
			CHECK_INT(lines, 0);
		}
	}
	log.written = 6000;
	CHECK_MOVE(&log);
}

static void all_at_once(void)
{
	send_meanwhile("");
}

static void all_at_once_compressed(void)
{
	send_meanwhile(".gz");
}

static void only_whole_lines_arrive(void)
{
	struct rb_conn *conn = fake_conn_memory("one\ntwo\nthr", 11, 3);
	_cleanup_buf_ struct rb_buf text = {};
	struct log log;

	start(&log);
	CHECK_INT(rb_logfile_receive(conn, log.target, NULL, &log.err), 0);
	fake_conn_free(conn);
	CHECK_INT(rb_read_file(log.target, 0, &text, NULL), 0);
	CHECK_STR(text.data, "one\ntwo\n");
}

static pid_t start_writer(int pipe_fds[2], int out)
{
	int ready[2];
	pid_t pid;
	char byte;

	if (pipe(ready) < 0)
		abort();
	pid = fork();
	if (pid == 0) {
		dup2(out, STDOUT_FILENO);
		close(pipe_fds[0]);
		close(pipe_fds[1]);
		(void)!write(ready[1], "r", 1);
		pause();
		_exit(0);
	}
	(void)!read(ready[0], &byte, 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void settle(void)
{
	int fds[2], null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	struct log log;
	char byte;
	pid_t pid;

	start(&log);
	put_lines(&log, 1);
	CHECK_INT(pipe(fds), 0);
	pid = start_writer(fds, fds[1]);
	CHECK_INT(write(fds[1], "x", 1), 1);
	CHECK_INT(rb_logfile_settle(log.path, pid, 20, NULL, &log.err), 1);
	CHECK_INT(read(fds[0], &byte, 1), 1);
	CHECK_INT(byte, 'x'); /* looking has not taken it */
	CHECK_INT(rb_logfile_settle(log.path, pid, 10000, NULL, &log.err), 0);
	CHECK_INT(rb_logfile_settle("/nowhere", pid, 10000, NULL, &log.err), 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	CHECK_INT(rb_logfile_settle(log.path, pid, 10000, NULL, &log.err), 0);
	close(fds[0]);
	close(fds[1]);
	close(null);
}

static void settle_cancelled(void)
{
	int fds[2], cancel[2];
	struct rb_wait wait;
	struct log log;

	start(&log);
	CHECK_INT(pipe(fds), 0);
	CHECK_INT(pipe(cancel), 0);
	wait = (struct rb_wait){ .cancel_fd = cancel[0] };
	CHECK_INT(write(cancel[1], "c", 1), 1);
	CHECK_INT(rb_logfile_settle(log.path, 1, 10000, &wait, &log.err), -ECANCELED);
}

/* what the log is said again with, by a process that has pipes for voices */
static int replay(struct log *log, const int *out, const int *error)
{
	struct rb_conn *conn;
	int fds[2], status, r;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		abort();
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		close(fds[0]);
		dup2(out[1], STDOUT_FILENO);
		dup2(error[1], STDERR_FILENO);
		conn = fake_conn_new(fds[1]);
		r = rb_logfile_replay(conn, (int)getpid(), NULL, NULL);
		fake_conn_free(conn);
		_exit(r < 0 ? 1 : 0);
	}
	close(fds[1]);
	conn = fake_conn_new(fds[0]);
	r = rb_logfile_send(conn, log->path, &log->position, &log->position, NULL, &log->err);
	fake_conn_free(conn);
	waitpid(pid, &status, 0);
	return r < 0 ? r : -status;
}

static void said_again(void)
{
	static const char want[] = "one\ntwo \"quoted\" \xc3\xa9 \ttail without end, and its end\n";
	_cleanup_close_ int out_end = -EBADF, error_end = -EBADF;
	int out[2], error[2];
	char heard[200] = "";
	struct log log;

	start(&log);
	append(log.path, "{\"log\":\"one\\n\",\"stream\":\"stdout\",\"time\":\"1\"}\n"
			 "{\"log\":\"no good\\n\",\"stream\":\"stderr\",\"time\":\"2\"}\n"
			 "this is no line of Docker's\n"
			 "{\"log\":\"two \\\"quoted\\\" \\u00e9 \\t\",\"stream\":\"stdout\"}\n"
			 "{\"log\":\"tail without end, \",\"stream\":\"stdout\"}\n"
			 "{\"log\":\"and its end\\n\",\"stream\":\"stdout\",\"time\":\"3\"}\n"
			 "{\"log\":\"not yet compl");
	CHECK_INT(pipe2(out, O_CLOEXEC) | pipe2(error, O_CLOEXEC), 0);
	out_end = out[0];
	error_end = error[0];
	CHECK_INT(replay(&log, out, error), 0);
	close(out[1]);
	close(error[1]);
	CHECK_INT(rb_read_all(out[0], heard, sizeof(heard)), strlen(want));
	CHECK_STR(heard, want);
	memset(heard, 0, sizeof(heard));
	CHECK_INT(rb_read_all(error[0], heard, sizeof(heard)), 8);
	CHECK_STR(heard, "no good\n");
}

/* nobody reads what is said: an error, not a signal, and the stream is read to its end */
static void said_to_nobody(void)
{
	int out[2], error[2];
	struct log log;

	start(&log);
	put_lines(&log, 2000);
	CHECK_INT(pipe2(out, O_CLOEXEC) | pipe2(error, O_CLOEXEC), 0);
	close(out[0]);
	signal(SIGPIPE, SIG_IGN);
	CHECK_INT(replay(&log, out, error), -256);
	signal(SIGPIPE, SIG_DFL);
	close(out[1]);
	close(error[0]);
	close(error[1]);
}

int main(void)
{
	umask(022);
	setenv("TMPDIR", "/dev/shm", 0); /* thousands of small files */
	TAP_RUN(no_log);
	TAP_RUN(one_file);
	TAP_RUN(half_a_line);
	TAP_RUN(rotated);
	TAP_RUN(compressed);
	TAP_RUN(rotated_away);
	TAP_RUN(emptied);
	TAP_RUN(all_at_once);
	TAP_RUN(all_at_once_compressed);
	TAP_RUN(only_whole_lines_arrive);
	TAP_RUN(said_again);
	TAP_RUN(said_to_nobody);
	TAP_RUN(settle);
	TAP_RUN(settle_cancelled);
	return tap_done();
}
