// SPDX-License-Identifier: Apache-2.0
/*
 * test_lanes.c - memory over several connections: all blocks arrive, each once; what breaks is seen
 *
 * The test is the source's worker. A forked h2 is the target's worker, and another one its daemon,
 * which forks for each connection.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "io.h"
#include "json.h"
#include "lane_io.h"
#include "lanes.h"
#include "migration.h"
#include "peer.h"
#include "tap.h"
#include "target_lanes.h"

enum { LANES = 3, BLOCKS = 200, SHORT = 1000 };

#define ID "0011223344556677"

static char run_dir[] = "/tmp/test_lanes.XXXXXX";
static struct peer peer;
static struct rb_tls *tls;
static struct rb_migration m;
static struct rb_node node;
static struct rb_err err;

/* --- h2 --- */

static bool seen[BLOCKS];
static int blocks, twice, announced;

static int take(void *arg, const void *block, size_t len, struct rb_err *why)
{
	uint32_t number;

	(void)arg;
	(void)why;
	memcpy(&number, block, sizeof(number));
	if (len == SHORT) {
		announced++;
		return 0;
	}
	blocks++;
	if (number >= BLOCKS || seen[number])
		twice++;
	else
		seen[number] = true;
	/* the announcement has come over each lane before anything else */
	return announced ? 0 : -EPROTO;
}

/* the daemon: whoever connects gets a process */
static void be_daemon(struct rb_tls *h2)
{
	for (;;) {
		int fd = accept4(peer.listen_fd, NULL, NULL, SOCK_CLOEXEC);
		struct rb_wait wait = within(10000);
		struct rb_conn *conn = NULL;
		json_t *args = NULL;
		const char *verb;

		if (fork() != 0) {
			close(fd);
			continue;
		}
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(peer.listen_fd);
		if (rb_conn_accept(h2, fd, &wait, &conn, NULL) < 0 ||
		    rb_conn_next_call(conn, &verb, &args, &wait, NULL) <= 0 ||
		    strcmp(verb, "lane") != 0)
			_exit(1);
		rb_target_serve_lane(&node, conn, args, -EBADF, NULL);
		rb_conn_free(conn);
		_exit(0);
	}
}

static int serve_pages(struct rb_conn *conn, const json_t *args)
{
	struct rb_wait wait = within(20000);
	json_t *answer;
	const void *block;
	int r;

	(void)args;
	memset(seen, 0, sizeof(seen));
	blocks = twice = announced = 0;
	r = rb_target_lanes_take(&m, LANES, take, NULL, &peer_err);
	if (r < 0) {
		rb_conn_answer_error(conn, &peer_err, &wait, NULL);
		rb_conn_see_off(conn, &wait);
		return r;
	}
	while ((r = (int)rb_stream_read(conn, &block, &wait, &peer_err)) > 0)
		;
	answer = json_pack("{s:i, s:i, s:i}", "blocks", blocks, "twice", twice, "announced",
			   announced);
	if (r >= 0)
		r = rb_conn_answer(conn, answer, &wait, &peer_err);
	json_decref(answer);
	return r;
}

static int be_target(void)
{
	int fd = accept4(peer.listen_fd, NULL, NULL, SOCK_CLOEXEC), r = 0;
	struct rb_wait wait = within(20000);
	struct rb_conn *conn = NULL;
	struct rb_tls *h2 = NULL;
	const char *verb;
	pid_t daemon;

	alarm(60);
	if (load("h2", "ca", &h2, &peer_err) < 0 ||
	    rb_conn_accept(h2, fd, &wait, &conn, &peer_err) < 0)
		return __LINE__;
	daemon = fork();
	if (daemon == 0) {
		rb_conn_abandon(conn);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		be_daemon(h2);
	}
	while (r >= 0) {
		json_t *args = NULL, *answer = NULL;

		if (rb_conn_next_call(conn, &verb, &args, &wait, NULL) <= 0)
			break;
		if (strcmp(verb, "lanes") == 0) {
			r = rb_target_lanes(&m, args, &answer, &peer_err);
			if (r >= 0)
				r = rb_conn_answer(conn, answer, &wait, &peer_err);
		} else {
			r = serve_pages(conn, args);
		}
		json_decref(args);
		json_decref(answer);
	}
	rb_target_lanes_close(&m);
	kill(daemon, SIGKILL);
	return 0;
}

/* --- h1 --- */

static bool begin(int connections, const char *source)
{
	struct rb_wait wait = within(10000);

	rb_err_clear(&err);
	m = (struct rb_migration){ .node = &node, .wait = { .cancel_fd = -EBADF } };
	snprintf(m.entry.id, sizeof(m.entry.id), "%s", ID);
	m.entry.facts = json_pack("{s:i, s:i}", "connections", connections, "pages_bytes", 1 << 30);
	node.run_dir = run_dir;
	if (!peer_listen(&peer))
		return false;
	fflush(NULL);
	peer.pid = fork();
	if (peer.pid == 0) {
		snprintf(m.entry.peer, sizeof(m.entry.peer), "%s", source);
		_exit(be_target());
	}
	close(peer.listen_fd);
	snprintf(m.entry.peer, sizeof(m.entry.peer), "h2");
	node.peers = json_pack("{s:s}", "h2", peer.address);
	node.tls = tls;
	return rb_conn_connect(tls, peer.address, "h2", &wait, &m.conn, &err) >= 0;
}

static void end(void)
{
	rb_lanes_close(&m);
	CHECK_INT(rb_lanes_count(&m), 0);
	rb_conn_free(m.conn);
	waitpid(peer.pid, NULL, 0);
	/* the lanes have been waited for, too */
	CHECK_INT(waitpid(-1, NULL, WNOHANG), -1);
	json_decref(m.entry.facts);
	json_decref((json_t *)node.peers);
}

static bool socket_is_there(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/migrations/%s.lanes", run_dir, ID);
	return access(path, F_OK) == 0;
}

static int write_round(int count)
{
	static uint8_t block[RB_BLOCK_SIZE];
	struct rb_wait wait = within(20000);
	int r = rb_conn_call(m.conn, "pages", NULL, &wait, &err);

	if (r >= 0)
		r = rb_lanes_write_each(&m, block, SHORT, &wait, &err);
	for (uint32_t i = 0; r >= 0 && i < (uint32_t)count; i++) {
		memcpy(block, &i, sizeof(i));
		r = rb_lanes_write(&m, block, i % 2 ? sizeof(block) : sizeof(block) / 3, &wait,
				   &err);
	}
	return r < 0 ? r : rb_lanes_end(&m, &wait, &err);
}

static int end_round(json_t **ret)
{
	struct rb_wait wait = within(20000);
	int r = rb_stream_end(m.conn, &wait, &err);

	if (r >= 0)
		r = rb_conn_reply(m.conn, ret, &wait, &err);
	return r < 0 ? r : rb_lanes_settle(&m, &wait, &err);
}

static void test_rounds(void)
{
	CHECK(begin(LANES, "h1"));
	CHECK_INT(rb_lanes_open(&m, &err), 0);
	CHECK_INT(rb_lanes_count(&m), LANES);
	CHECK(socket_is_there());
	for (int i = 0; i < 3; i++) {
		uint64_t before = m.bytes_sent, most = 2 * BLOCKS * RB_BLOCK_SIZE / 3;
		_cleanup_json_ json_t *answer = NULL;

		CHECK_INT(write_round(BLOCKS), 0);
		CHECK_INT(end_round(&answer), 0);
		CHECK_INT(json_integer_value(json_object_get(answer, "blocks")), BLOCKS);
		CHECK_INT(json_integer_value(json_object_get(answer, "twice")), 0);
		CHECK_INT(json_integer_value(json_object_get(answer, "announced")), LANES);
		/* and what TLS adds, which is little */
		CHECK(m.bytes_sent - before > most);
		CHECK(m.bytes_sent - before < most + most / 50);
		CHECK(!socket_is_there());
	}
	end();
}

/* only the node that the container comes from has memory of it */
static void test_stranger(void)
{
	CHECK(begin(LANES, "h3"));
	CHECK_INT(rb_lanes_open(&m, &err), 0);
	CHECK_INT(rb_lanes_count(&m), LANES);
	CHECK(write_round(BLOCKS) < 0);
	CHECK(strstr(err.msg, "has no memory of this container"));
	end();
}

static int count_lanes(pid_t *ret_one)
{
	_cleanup_closedir_ DIR *dir = opendir("/proc");
	struct dirent *entry;
	int n = 0;

	while (dir && (entry = readdir(dir))) {
		char path[64 + sizeof(entry->d_name)];
		_cleanup_buf_ struct rb_buf stat = {};
		int pid, parent;
		char name[32];

		snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' ||
		    rb_read_file(path, 4096, &stat, NULL) < 0 ||
		    sscanf(stat.data, "%d (%31[^)]) %*c %d", &pid, name, &parent) != 3 ||
		    parent != getpid() || strcmp(name, "reberthd-lane") != 0)
			continue;
		*ret_one = pid;
		n++;
	}
	return n;
}

static void test_lost(void)
{
	_cleanup_json_ json_t *answer = NULL;
	pid_t one = 0;
	int r;

	CHECK(begin(LANES, "h1"));
	CHECK_INT(rb_lanes_open(&m, &err), 0);
	CHECK_INT(write_round(BLOCKS), 0);
	CHECK_INT(end_round(&answer), 0);
	CHECK_INT(count_lanes(&one), LANES);
	kill(one, SIGKILL);
	r = write_round(BLOCKS);
	if (r >= 0)
		r = end_round(NULL);
	CHECK_INT(r, -ECONNRESET);
	CHECK(strstr(err.msg, "a connection for memory"));
	end();
	CHECK_INT(count_lanes(&one), 0);
}

/* what is not worth it, or cannot be had, is done without */
static void test_without(void)
{
	CHECK(begin(1, "h1"));
	CHECK_INT(rb_lanes_open(&m, &err), 0);
	CHECK(!m.lanes);
	json_object_set_new(m.entry.facts, "connections", json_integer(LANES));
	json_object_set_new(m.entry.facts, "pages_bytes", json_integer(1 << 20));
	CHECK_INT(rb_lanes_open(&m, &err), 0);
	CHECK(!m.lanes);
	json_object_set_new(m.entry.facts, "pages_bytes", json_integer(1 << 30));
	json_object_set_new((json_t *)node.peers, "h2", json_string("127.0.0.1:1"));
	CHECK_INT(rb_lanes_open(&m, &err), 0);
	CHECK(!m.lanes);
	end();
	CHECK(!socket_is_there());
}

int main(void)
{
	char path[64];

	signal(SIGPIPE, SIG_IGN);
	if (!certs_make() || !mkdtemp(run_dir))
		return 1;
	snprintf(path, sizeof(path), "%s/migrations", run_dir);
	if (mkdir(path, 0700) < 0 || load("h1", "ca", &tls, &err) < 0)
		return 1;
	TAP_RUN(test_rounds);
	TAP_RUN(test_stranger);
	TAP_RUN(test_lost);
	TAP_RUN(test_without);
	rb_tls_free(tls);
	certs_remove();
	rb_rm_rf(run_dir, NULL);
	return tap_done();
}
