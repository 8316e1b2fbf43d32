// SPDX-License-Identifier: Apache-2.0
/*
 * test_pushes.c - the files of images on their way: made, found, forgotten
 */
#include "pushes.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "node.h"
#include "proc.h"
#include "tap.h"

static char dir[] = "/tmp/test_pushes.XXXXXX";
static struct rb_node node = { .name = "h1" };

/* Return: as rb_pushes_begin() */
static int begin(const char *nodes, char id[RB_ID_LEN + 1], struct rb_err *err)
{
	_cleanup_json_ json_t *request =
		json_pack("{s:s, s:o}", "image", "app:1", "nodes", json_loads(nodes, 0, NULL));

	return rb_pushes_begin(&node, request, id, err);
}

static int count_one(void *arg, const char *id)
{
	(void)id;
	++*(int *)arg;
	return 0;
}

static int count(void)
{
	int n = 0;

	rb_pushes_each(&node, count_one, &n);
	return n;
}

static void set_age(const char *name, int seconds)
{
	struct timespec times[2] = { { .tv_sec = time(NULL) - seconds },
				     { .tv_sec = time(NULL) - seconds } };
	char path[PATH_MAX];

	rb_path(path, sizeof(path), "%s/pushes/%s", dir, name);
	utimensat(AT_FDCWD, path, times, 0);
}

static void change_age(const char *id, int seconds)
{
	char name[64];

	snprintf(name, sizeof(name), "%s.json", id);
	set_age(name, seconds);
}

static void a_request_becomes_a_file(void)
{
	_cleanup_json_ json_t *push = NULL;
	char id[RB_ID_LEN + 1], found[RB_ID_LEN + 1];
	struct rb_err err = {};

	CHECK_INT(count(), 0);
	CHECK_INT(begin("[\"h2\",\"h3\"]", id, &err), 0);
	CHECK_INT(count(), 1);
	CHECK_INT(rb_pushes_load(&node, id, &push, &err), 0);
	CHECK_STR(rb_json_str(push, "image", NULL), "app:1");
	CHECK_STR(rb_json_str(json_array_get(json_object_get(push, "nodes"), 1), "node", NULL),
		  "h3");
	CHECK_STR(rb_json_str(json_array_get(json_object_get(push, "nodes"), 1), "state", NULL),
		  "waiting");
	CHECK(rb_json_str(push, "result", NULL) == NULL);
	CHECK_INT(rb_pushes_worker(push), 0);
	id[5] = '\0';
	CHECK_INT(rb_pushes_find(&node, id, found, &err), 0);
	CHECK_STR(found, rb_json_str(push, "id", ""));
	CHECK_INT(rb_pushes_find(&node, "x", found, &err), -ENOENT);
	CHECK_INT(err.code, RB_E_NOT_FOUND);
	CHECK_INT(rb_pushes_load(&node, "0123456789abcdef", &push, &err), -ENOENT);
	CHECK_INT(err.code, RB_E_NOT_FOUND);
}

static void a_beginning_of_two_is_refused(void)
{
	char id[RB_ID_LEN + 1];
	struct rb_err err = {};

	CHECK_INT(begin("[\"h2\"]", id, &err), 0);
	CHECK_INT(rb_pushes_find(&node, "", id, &err), -EEXIST);
	CHECK_INT(err.code, RB_E_CONFLICT);
}

static void nodes_are_looked_at(void)
{
	static const struct {
		const char *nodes, *message;
		enum rb_code code;
	} wrong[] = {
		{ "[\"h2\",\"h1\"]", "node 'h1' is this host", RB_E_USAGE },
		{ "[\"h2\",\"h9\"]", "node 'h9' is not known here", RB_E_NOT_FOUND },
		{ "[\"h2\",\"h3\",\"h2\"]", "node 'h2' is named twice", RB_E_USAGE },
	};
	int before = count();

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		char id[RB_ID_LEN + 1];
		struct rb_err err = {};

		CHECK(begin(wrong[i].nodes, id, &err) < 0);
		CHECK_INT(err.code, wrong[i].code);
		CHECK(strncmp(err.msg, wrong[i].message, strlen(wrong[i].message)) == 0);
	}
	CHECK_INT(count(), before);
}

/* Return: id of a push that a process works on, or whose worker has ended */
static void make_one_with_worker(pid_t pid, unsigned long long start, char id[RB_ID_LEN + 1])
{
	_cleanup_json_ json_t *push = NULL;

	begin("[\"h2\"]", id, NULL);
	rb_pushes_load(&node, id, &push, NULL);
	json_object_set_new(push, "worker", json_integer(pid));
	json_object_set_new(push, "worker_start", json_integer((json_int_t)start));
	rb_pushes_save(&node, push, NULL);
}

static void only_what_ended_long_ago_is_forgotten(void)
{
	unsigned long long start = rb_pid_starttime(getpid());
	char alive[RB_ID_LEN + 1], dead[RB_ID_LEN + 1], found[RB_ID_LEN + 1];
	_cleanup_json_ json_t *push = NULL;

	make_one_with_worker(getpid(), start, alive);
	make_one_with_worker(getpid(), start + 1, dead); /* an earlier process of that number */
	rb_pushes_load(&node, alive, &push, NULL);
	CHECK_INT(rb_pushes_worker(push), getpid());
	change_age(dead, 3000);
	rb_pushes_sweep(&node);
	CHECK_INT(rb_pushes_find(&node, dead, found, NULL), 0);
	change_age(dead, 4000);
	change_age(alive, 4000);
	rb_pushes_sweep(&node);
	CHECK_INT(rb_pushes_find(&node, dead, found, NULL), -ENOENT);
	CHECK_INT(rb_pushes_find(&node, alive, found, NULL), 0);
	/* and that is over now */
	json_object_set_new(push, "result", json_string("completed"));
	rb_pushes_save(&node, push, NULL);
	change_age(alive, 4000);
	rb_pushes_sweep(&node);
	CHECK_INT(rb_pushes_find(&node, alive, found, NULL), -ENOENT);
}

static const char *state_of(const json_t *push, size_t node_number)
{
	return rb_json_str(json_array_get(json_object_get(push, "nodes"), node_number), "state",
			   "");
}

/* nobody sends any more: no node is left as if somebody did */
static void nodes_end_with_their_push(void)
{
	_cleanup_json_ json_t *push =
		json_loads("{\"nodes\":[{\"state\":\"completed\"},{\"state\":\"canceled\"},"
			   "{\"state\":\"sending\"},{\"state\":\"waiting\"}]}",
			   0, NULL);

	rb_pushes_end_nodes(push, "failed");
	CHECK_STR(state_of(push, 0), "completed");
	CHECK_STR(state_of(push, 1), "canceled");
	CHECK_STR(state_of(push, 2), "failed");
	CHECK_STR(state_of(push, 3), "failed");
}

static void what_a_killed_worker_left_goes(void)
{
	char path[PATH_MAX], id[RB_ID_LEN + 1], name[64];

	CHECK_INT(begin("[\"h2\"]", id, NULL), 0);
	snprintf(name, sizeof(name), "%s.json.tmp.4711", id);
	rb_path(path, sizeof(path), "%s/pushes/%s", dir, name);
	CHECK_INT(rb_write_file(path, "{", 1, 0600, false, NULL), 0);
	rb_pushes_sweep(&node);
	CHECK_INT(access(path, F_OK), 0);
	snprintf(name, sizeof(name), "%s.json.tmp.4711", id);
	set_age(name, 4000);
	rb_pushes_sweep(&node);
	CHECK_INT(access(path, F_OK), -1);
	CHECK_INT(rb_pushes_find(&node, id, name, NULL), 0);
	rb_pushes_remove(&node, id);
	CHECK_INT(rb_pushes_find(&node, id, name, NULL), -ENOENT);
}

static void there_is_a_limit(void)
{
	char id[RB_ID_LEN + 1], old[RB_ID_LEN + 1], unsigned_id[RB_ID_LEN + 1];
	_cleanup_json_ json_t *push = NULL;
	struct rb_err err = {};
	int r = 0, n = 0;

	make_one_with_worker(getpid(), rb_pid_starttime(getpid()), old);
	for (n = count(); n < 1000 && r >= 0; n++)
		r = begin("[\"h2\"]", id, &err);
	CHECK_INT(r, -EBUSY);
	CHECK_INT(err.code, RB_E_CONFLICT);
	n = count();
	/* one whose worker has not signed yet does not make room */
	rb_pushes_find(&node, id, id, NULL);
	change_age(id, 60);
	change_age(old, 60);
	CHECK_INT(begin("[\"h2\"]", unsigned_id, &err), -EBUSY);
	CHECK_INT(rb_pushes_find(&node, id, unsigned_id, NULL), 0);
	/* those that have ended do, also before their hour is over */
	rb_pushes_load(&node, id, &push, NULL);
	json_object_set_new(push, "result", json_string("completed"));
	rb_pushes_save(&node, push, NULL);
	change_age(id, 60);
	CHECK_INT(begin("[\"h2\"]", id, &err), 0);
	CHECK_INT(count(), n);
	CHECK_INT(rb_pushes_find(&node, old, id, NULL), 0);
}

int main(void)
{
	_cleanup_json_ json_t *peers =
		json_pack("{s:s, s:s, s:s}", "h1", "10.0.0.1:1", "h2", "10.0.0.2:1", "h3", "x:1");

	if (!mkdtemp(dir))
		return 1;
	node.run_dir = dir;
	node.peers = peers;
	TAP_RUN(a_request_becomes_a_file);
	TAP_RUN(a_beginning_of_two_is_refused);
	TAP_RUN(nodes_are_looked_at);
	TAP_RUN(only_what_ended_long_ago_is_forgotten);
	TAP_RUN(nodes_end_with_their_push);
	TAP_RUN(what_a_killed_worker_left_goes);
	TAP_RUN(there_is_a_limit);
	rb_rm_rf(dir, NULL);
	return tap_done();
}
