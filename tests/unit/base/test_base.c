// SPDX-License-Identifier: Apache-2.0
/*
 * test_base.c - errors, waits, files, processes and fault points
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "fault.h"
#include "io.h"
#include "json.h"
#include "proc.h"
#include "tap.h"
#include "wait.h"

static char dir[] = "/tmp/reberth-base-XXXXXX";

static const char *in_dir(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void an_errno_decides_the_code(void)
{
	struct rb_err err = {};

	CHECK_INT(rb_err_set(&err, -ENOSPC, "write '%s'", "x"), -ENOSPC);
	CHECK_INT(err.code, RB_E_NO_SPACE);
	CHECK_STR(err.msg, "write 'x': No space left on device");
	CHECK_INT(rb_err_wrap(&err, -ENOSPC, "receive"), -ENOSPC);
	CHECK_STR(err.msg, "receive: write 'x': No space left on device");
	CHECK_INT(rb_err_set(NULL, -EIO, "nobody listens"), -EIO);
}

static void every_code_has_a_name_that_parses_back(void)
{
	for (int code = 0; code < RB_CODE_MAX; code++)
		CHECK_INT(rb_code_parse(rb_code_name((enum rb_code)code)), code);
	CHECK_INT(rb_code_parse("no such code"), RB_E_INTERNAL);
	CHECK_INT(rb_code_parse(NULL), RB_E_INTERNAL);
}

static void a_wait_ends_at_its_deadline(void)
{
	struct rb_wait wait = rb_wait_within(NULL, 30);
	int64_t began = rb_now_ms();
	struct rb_err err = {};

	CHECK_INT(rb_wait_fd(-1, 0, &wait, &err), -ETIMEDOUT);
	CHECK(rb_now_ms() - began >= 29);
	CHECK_INT(err.code, RB_E_TIMEOUT);
}

static void a_cancelled_wait_ends_at_once_and_stays_cancelled(void)
{
	struct rb_wait wait = { .cancel_fd = -EBADF };
	struct rb_err err = {};
	int fds[2];

	CHECK_INT(pipe(fds), 0);
	CHECK_INT(write(fds[1], "x", 1), 1);
	wait.cancel_fd = fds[0];
	CHECK_INT(rb_wait_fd(-1, 0, &wait, &err), -ECANCELED);
	CHECK_INT(rb_wait_ms(10000, &wait, &err), -ECANCELED);
	CHECK_INT(err.code, RB_E_CANCELED);
	close(fds[0]);
	close(fds[1]);
}

static void the_shorter_of_two_deadlines_counts(void)
{
	struct rb_wait outer = rb_wait_within(NULL, 50);
	struct rb_wait inner = rb_wait_within(&outer, 60000);

	CHECK_INT(inner.deadline_ms, outer.deadline_ms);
	CHECK_INT(rb_wait_ms(0, NULL, NULL), 0);
}

static void a_file_is_replaced_as_a_whole(void)
{
	_cleanup_buf_ struct rb_buf buf = {};

	CHECK_INT(rb_write_file(in_dir("f"), "one", 3, 0600, true, NULL), 0);
	CHECK_INT(rb_write_file(in_dir("f"), "second", 6, 0600, false, NULL), 0);
	CHECK_INT(rb_read_file(in_dir("f"), 0, &buf, NULL), 0);
	CHECK_STR(buf.data, "second");
}

static void a_file_over_its_limit_is_refused(void)
{
	struct rb_buf buf = {};
	struct rb_err err = {};

	CHECK_INT(rb_write_file(in_dir("big"), "0123456789", 10, 0600, false, NULL), 0);
	CHECK_INT(rb_read_file(in_dir("big"), 9, &buf, &err), -EFBIG);
	CHECK_INT(rb_read_file(in_dir("absent"), 9, &buf, &err), -ENOENT);
	CHECK(buf.data == NULL);
}

static void removing_a_tree_spares_what_a_link_points_to(void)
{
	char link_path[128];

	CHECK_INT(rb_mkdir_p(in_dir("keep"), 0700, NULL), 0);
	CHECK_INT(rb_write_file(in_dir("keep/me"), "x", 1, 0600, false, NULL), 0);
	CHECK_INT(rb_mkdir_p(in_dir("tree/a/b"), 0700, NULL), 0);
	snprintf(link_path, sizeof(link_path), "%s", in_dir("tree/a/link"));
	CHECK_INT(symlink(in_dir("keep"), link_path), 0);
	CHECK_INT(rb_rm_rf(in_dir("tree"), NULL), 0);
	CHECK_INT(access(in_dir("tree"), F_OK), -1);
	CHECK_INT(access(in_dir("keep/me"), F_OK), 0);
	CHECK_INT(rb_rm_rf(in_dir("tree"), NULL), 0);
}

static void a_program_that_fails_tells_its_last_words(void)
{
	static const char *const argv[] = { "sh", "-c",
					    "echo first >&2; echo last words >&2; exit 3", NULL };
	struct rb_spawn spec = { .argv = argv };
	struct rb_err err = {};

	CHECK_INT(rb_run(&spec, NULL, NULL, &err), -EIO);
	CHECK(strstr(err.msg, "status 3: last words"));
}

static void a_program_that_does_not_exist_is_told_at_once(void)
{
	static const char *const argv[] = { "/no/such/program", NULL };
	struct rb_spawn spec = { .argv = argv };
	struct rb_err err = {};

	CHECK_INT(rb_run(&spec, NULL, NULL, &err), -ENOENT);
}

static void a_program_that_takes_too_long_is_killed_with_its_children(void)
{
	static const char *const argv[] = { "sh", "-c", "sleep 60 & echo $!; wait", NULL };
	struct rb_spawn spec = { .argv = argv, .new_session = true };
	struct rb_wait wait = rb_wait_within(NULL, 100);
	int64_t began = rb_now_ms();
	struct rb_err err = {};

	CHECK_INT(rb_run(&spec, &wait, NULL, &err), -ETIMEDOUT);
	CHECK(rb_now_ms() - began < 20000);
}

/* a program that has to do something before it can be ended gracefully */
static void a_signal_waits_where_it_is_to(void)
{
	static const char *const argv[] = { "sh", "-c", "kill -TERM $$; echo lives", NULL };
	struct rb_spawn ended = { .argv = argv }, waits = { .argv = argv, .term_blocked = true };
	_cleanup_buf_ struct rb_buf first = {}, second = {};

	CHECK(rb_run(&ended, NULL, &first, NULL) < 0);
	CHECK_INT(first.len, 0);
	CHECK_INT(rb_run(&waits, NULL, &second, NULL), 0);
	CHECK_STR(second.data, "lives\n");
}

static void output_is_collected(void)
{
	static const char *const argv[] = { "sh", "-c", "printf %s \"$GREETING\"", NULL };
	static const char *const env[] = { "GREETING=hello", NULL };
	struct rb_spawn spec = { .argv = argv, .env = env };
	_cleanup_buf_ struct rb_buf out = {};

	CHECK_INT(rb_run(&spec, NULL, &out, NULL), 0);
	CHECK_STR(out.data, "hello");
}

static void a_pid_is_known_by_its_start_time(void)
{
	unsigned long long start = rb_pid_starttime(getpid());
	pid_t child;

	CHECK(start > 0);
	CHECK(rb_pid_alive(getpid(), start));
	CHECK(!rb_pid_alive(getpid(), start + 1));
	child = fork();
	if (child == 0)
		_exit(0);
	start = rb_pid_starttime(child);
	/* a zombie is not alive */
	for (int i = 0; i < 2000 && rb_pid_alive(child, start); i++)
		usleep(1000);
	CHECK(!rb_pid_alive(child, start));
	CHECK(!rb_pid_was_killed(child));
	waitpid(child, NULL, 0);
}

static void a_zombie_tells_whether_it_was_killed(void)
{
	pid_t child = fork();

	if (child == 0)
		for (;;)
			pause();
	CHECK(!rb_pid_was_killed(child));
	kill(child, SIGKILL);
	for (int i = 0; i < 2000 && !rb_pid_was_killed(child); i++)
		usleep(1000);
	CHECK(rb_pid_was_killed(child));
	waitpid(child, NULL, 0);
	CHECK(!rb_pid_was_killed(child));
}

static void a_fault_point_acts_as_often_as_told(void)
{
	struct rb_err err = {};

	CHECK_INT(rb_fault_point("a.b", NULL, &err), 0);
	rb_fault_setup(dir);
	CHECK_INT(rb_fault_point("a.b", NULL, &err), 0);
	CHECK_INT(
		rb_write_file(in_dir("faults"), "x.y fail\na.b enospc 2\n", 22, 0600, false, NULL),
		0);
	CHECK_INT(rb_fault_point("a.b", NULL, &err), -ENOSPC);
	CHECK_INT(rb_fault_point("a.b", NULL, &err), -ENOSPC);
	CHECK_INT(rb_fault_point("a.b", NULL, &err), 0);
	CHECK_INT(rb_fault_point("x.y", NULL, &err), -EIO);
	CHECK_INT(rb_fault_point("x.y", NULL, &err), -EIO);
	CHECK_INT(unlink(in_dir("faults")), 0);
}

static void json_of_a_peer_is_looked_at_carefully(void)
{
	static const char text[] = "{\"a\":{\"b\":[1]},\"n\":7,\"s\":\"\"}";
	_cleanup_json_ json_t *value = NULL, *twice = NULL;
	const char *str;

	CHECK_INT(rb_json_parse(text, sizeof(text) - 1, &value, NULL), 0);
	CHECK(json_is_array(rb_json_path(value, "a.b")));
	CHECK(rb_json_path(value, "a.c.d") == NULL);
	CHECK_INT(rb_json_int(value, "n", 0), 7);
	CHECK_INT(rb_json_int(value, "s", 3), 3);
	CHECK_INT(rb_json_need_str(value, "s", &str, NULL), -EPROTO);
	CHECK_INT(rb_json_parse("{\"a\":1,\"a\":2}", 13, &twice, NULL), -EPROTO);
}

static void a_number_at_the_head_is_found_without_the_rest(void)
{
	static const char text[] = "{ \"text\" : \"n\", \"a\\\"n\": 1, \"in\": {\"n\": 2, \"l\": "
				   "[\"n\", {\"n\": 3}]}, \"n\": -74 , \"big\": 9e9, \"s\": \"5\", "
				   "\"half\": 1.5, \"huge\": 99999999999999999999, \"z\":0}";

	CHECK_INT(rb_json_peek_int(text, "n", 5), -74);
	CHECK_INT(rb_json_peek_int(text, "z", 5), 0);
	CHECK_INT(rb_json_peek_int(text, "s", 5), 5);
	CHECK_INT(rb_json_peek_int(text, "half", 5), 5);
	CHECK_INT(rb_json_peek_int(text, "big", 5), 5);
	CHECK_INT(rb_json_peek_int(text, "huge", 5), 5);
	CHECK_INT(rb_json_peek_int(text, "in", 5), 5);
	CHECK_INT(rb_json_peek_int(text, "l", 5), 5);
	CHECK_INT(rb_json_peek_int(text, "no", 5), 5);
	/* what follows need not be there */
	CHECK_INT(rb_json_peek_int("{\"n\":12,\"rest", "n", 5), 12);
	CHECK_INT(rb_json_peek_int("{\"rest\\", "n", 5), 5);
	CHECK_INT(rb_json_peek_int("[{\"n\":12}]", "n", 5), 5);
	CHECK_INT(rb_json_peek_int("", "n", 5), 5);
}

static void a_socket_has_its_mode_before_anybody_can_connect(void)
{
	struct stat st;
	int fd = rb_unix_listen(in_dir("sock"), 0600, NULL);
	int client;

	CHECK(fd >= 0);
	CHECK_INT(stat(in_dir("sock"), &st), 0);
	CHECK_INT(st.st_mode & 0777, 0600);
	client = rb_unix_connect(in_dir("sock"), NULL);
	CHECK(client >= 0);
	close(client);
	close(fd);
}

static void a_line_is_read_within_its_limit(void)
{
	char line[8];
	int fds[2];

	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	CHECK_INT(write(fds[1], "go\ntoo long a line\n", 19), 19);
	CHECK_INT(rb_read_line(fds[0], line, sizeof(line), NULL, NULL), 2);
	CHECK_STR(line, "go");
	CHECK_INT(rb_read_line(fds[0], line, sizeof(line), NULL, NULL), -EMSGSIZE);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	TAP_RUN(an_errno_decides_the_code);
	TAP_RUN(every_code_has_a_name_that_parses_back);
	TAP_RUN(a_wait_ends_at_its_deadline);
	TAP_RUN(a_cancelled_wait_ends_at_once_and_stays_cancelled);
	TAP_RUN(the_shorter_of_two_deadlines_counts);
	TAP_RUN(a_file_is_replaced_as_a_whole);
	TAP_RUN(a_file_over_its_limit_is_refused);
	TAP_RUN(removing_a_tree_spares_what_a_link_points_to);
	TAP_RUN(a_program_that_fails_tells_its_last_words);
	TAP_RUN(a_program_that_does_not_exist_is_told_at_once);
	TAP_RUN(a_program_that_takes_too_long_is_killed_with_its_children);
	TAP_RUN(a_signal_waits_where_it_is_to);
	TAP_RUN(output_is_collected);
	TAP_RUN(a_pid_is_known_by_its_start_time);
	TAP_RUN(a_zombie_tells_whether_it_was_killed);
	TAP_RUN(a_fault_point_acts_as_often_as_told);
	TAP_RUN(json_of_a_peer_is_looked_at_carefully);
	TAP_RUN(a_number_at_the_head_is_found_without_the_rest);
	TAP_RUN(a_socket_has_its_mode_before_anybody_can_connect);
	TAP_RUN(a_line_is_read_within_its_limit);
	rb_rm_rf(dir, NULL);
	return tap_done();
}
