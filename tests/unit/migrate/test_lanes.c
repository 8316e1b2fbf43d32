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
#include <sys/resource.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "io.h"
#include "journal.h"
#include "json.h"
#include "lane_io.h"
#include "lanes.h"
#include "migration.h"
#include "peer.h"
#include "tap.h"
#include "target.h"
#include "target_lanes.h"

enum { LANES = 3, BLOCKS = 200, SHORT = 1000, NICE_HERE = 3, NICE_THERE = 7 };

#define ID "0011223344556677"

static char run_dir[] = "/tmp/test_lanes.XXXXXX";
static struct peer peer;
static struct rb_tls *tls;
static struct rb_migration m;
static struct rb_node node;
static struct rb_err err;

static int journals; /* each test has one of its own */

static const char *journal_path(void)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/journal.%d", run_dir, journals);
	return path;
}

/* --- h2 --- */

static bool seen[BLOCKS];
static int blocks, twice, announced;
static int stall_ms; /* of the worker's, at the first block */
static bool is_picky;

static int take(void *arg, const void *block, size_t len, struct rb_err *why)
{
	uint32_t number;

	(void)arg;
	if (is_picky)
		return rb_err_code(why, RB_E_PROTOCOL, -EPROTO, "no block is good enough");
	memcpy(&number, block, sizeof(number));
	if (len == SHORT) {
		announced++;
		return 0;
	}
	blocks++;
	if (blocks == 1)
		rb_wait_ms(stall_ms, NULL, NULL);
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
		if (rb_journal_open(journal_path(), &node.journal, NULL) < 0 ||
		    rb_target_serve_lane(&node, conn, args, -EBADF, &peer_err) < 0)
			rb_conn_answer_error(conn, &peer_err, &wait, NULL);
		rb_conn_free(conn);
		_exit(0);
	}
}

static int refuse(struct rb_conn *conn)
{
	struct rb_wait wait = within(20000);

	rb_conn_answer_error(conn, &peer_err, &wait, NULL);
	rb_conn_see_off(conn, &wait);
	return -ECANCELED;
}

static int serve_pages(struct rb_conn *conn)
{
	struct rb_wait wait = within(20000);
	uint64_t before = m.bytes_received;
	json_t *answer;
	const void *block;
	int r;

	memset(seen, 0, sizeof(seen));
	blocks = twice = announced = 0;
	r = rb_target_lanes_take(&m, LANES, take, NULL, &peer_err);
	if (r < 0)
		return refuse(conn);
	rb_target_lanes_nice(&m, NICE_THERE);
	while ((r = (int)rb_stream_read(conn, &block, &wait, &peer_err)) > 0)
		;
	answer = json_pack("{s:i, s:i, s:i, s:I}", "blocks", blocks, "twice", twice, "announced",
			   announced, "bytes", (json_int_t)(m.bytes_received - before));
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
		} else if (json_object_get(args, "member")) {
			m.conn = conn;
			r = rb_target_pages(&m, args, &answer, &peer_err);
			if (r < 0)
				r = refuse(conn);
		} else {
			r = serve_pages(conn);
		}
		json_decref(args);
		json_decref(answer);
	}
	rb_target_lanes_close(&m);
	kill(daemon, SIGKILL);
	return 0;
}

/* --- h1 --- */

/* h2's, as it is to whom a lane's process belongs */
static bool note_migration(const char *source, enum rb_role role)
{
	struct rb_entry entry = {
		.role = role, .id = ID, .container = "web", .facts = json_object()
	};
	struct rb_journal *journal = NULL;
	bool good;

	snprintf(entry.peer, sizeof(entry.peer), "%s", source);
	journals++;
	good = rb_journal_open(journal_path(), &journal, &err) >= 0 &&
	       rb_journal_add(journal, &entry, &err) >= 0;
	rb_journal_close(journal);
	json_decref(entry.facts);
	if (!good)
		printf("# %s\n", err.msg);
	return good;
}

static bool begin_as(int connections, const char *source, enum rb_role role)
{
	struct rb_wait wait = within(10000);

	rb_err_clear(&err);
	if (!note_migration(source, role))
		return false;
	m = (struct rb_migration){ .node = &node, .wait = { .cancel_fd = -EBADF } };
	snprintf(m.entry.id, sizeof(m.entry.id), "%s", ID);
	m.entry.facts = json_pack("{s:i, s:i}", "connections", connections, "pages_bytes", 1 << 30);
	node.run_dir = run_dir;
	if (!peer_listen(&peer))
		return false;
	fflush(NULL);
	peer.pid = fork();
	if (peer.pid == 0) {
		snprintf(m.entry.peer, sizeof(m.entry.peer), "h1");
		_exit(be_target());
	}
	close(peer.listen_fd);
	snprintf(m.entry.peer, sizeof(m.entry.peer), "h2");
	node.peers = json_pack("{s:s}", "h2", peer.address);
	node.tls = tls;
	return rb_conn_connect(tls, peer.address, "h2", &wait, &m.conn, &err) >= 0;
}

static bool begin(int connections)
{
	return begin_as(connections, "h1", RB_TARGET);
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

static size_t mixed(uint32_t i)
{
	return i % 2 ? RB_BLOCK_SIZE : RB_BLOCK_SIZE / 3;
}

static int write_blocks(const json_t *args, int count, size_t (*size)(uint32_t i))
{
	static uint8_t block[RB_BLOCK_SIZE];
	struct rb_wait wait = within(20000);
	int r = rb_conn_call(m.conn, "pages", args, &wait, &err);

	if (r >= 0)
		r = rb_lanes_write_each(&m, block, SHORT, &wait, &err);
	for (uint32_t i = 0; r >= 0 && i < (uint32_t)count; i++) {
		memcpy(block, &i, sizeof(i));
		r = rb_lanes_write(&m, block, size(i), &wait, &err);
	}
	return r < 0 ? r : rb_lanes_end(&m, &wait, &err);
}

static int write_round(int count)
{
	return write_blocks(NULL, count, mixed);
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
	CHECK(begin(LANES));
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
		CHECK(json_integer_value(json_object_get(answer, "bytes")) > (json_int_t)most);
		CHECK(!socket_is_there());
	}
	end();
}

/* only the node that the container comes from has memory of it, and only where it arrives */
static void test_stranger(void)
{
	CHECK(begin_as(LANES, "h3", RB_TARGET));
	CHECK_INT(rb_lanes_open(&m, &err), 0);
	CHECK_INT(rb_lanes_count(&m), 0);
	end();
	CHECK(begin_as(LANES, "h1", RB_SOURCE));
	CHECK_INT(rb_lanes_open(&m, &err), 0);
	CHECK_INT(rb_lanes_count(&m), 0);
	end();
}

/* one that gets at the worker all the same is in nobody's way */
static void test_stranger_inside(void)
{
	_cleanup_json_ json_t *answer = NULL;
	_cleanup_close_ int other = -EBADF, mute = -EBADF;
	char path[128];

	CHECK(begin(LANES));
	CHECK_INT(rb_lanes_open(&m, &err), 0);
	snprintf(path, sizeof(path), "%s/migrations/%s.lanes", run_dir, ID);
	other = rb_unix_connect(path, NULL);
	CHECK(other >= 0 && write(other, "h3\n", 3) == 3);
	mute = rb_unix_connect(path, NULL);
	CHECK(mute >= 0);
	rb_close_fd(&mute);
	CHECK_INT(write_round(BLOCKS), 0);
	CHECK_INT(end_round(&answer), 0);
	CHECK_INT(json_integer_value(json_object_get(answer, "blocks")), BLOCKS);
	end();
}

/* what is refused before any lane is read is heard of, however much is still to be written */
static void test_refused(void)
{
	_cleanup_json_ json_t *args = json_pack("{s:i, s:i}", "member", 9, "lanes", LANES);

	CHECK(begin(LANES));
	CHECK_INT(rb_lanes_open(&m, &err), 0);
	CHECK_INT(write_blocks(args, 20 * BLOCKS, mixed), -EPROTO);
	CHECK(strstr(err.msg, "no such member"));
	end();
}

/* and why, where the end of a lane is noticed first */
static void test_failed(void)
{
	static uint8_t block[RB_BLOCK_SIZE];
	struct rb_wait wait = within(20000);
	int r;

	is_picky = true;
	CHECK(begin(LANES));
	is_picky = false;
	CHECK_INT(rb_lanes_open(&m, &err), 0);
	r = rb_conn_call(m.conn, "pages", NULL, &wait, &err);
	for (int i = 0; r >= 0 && i < 20 * BLOCKS; i++)
		r = rb_lanes_write_each(&m, block, sizeof(block), &wait, &err);
	CHECK_INT(r, -EPROTO);
	CHECK(strstr(err.msg, "no block is good enough"));
	end();
}

static void test_deadline(void)
{
	struct rb_wait over = { .cancel_fd = -EBADF, .deadline_ms = 1 };

	CHECK(begin(LANES));
	CHECK_INT(rb_lanes_open(&m, &err), 0);
	CHECK_INT(rb_lanes_write(&m, "x", 1, &over, &err), -ETIMEDOUT);
	end();
}

/* some of each lane's bytes wait where nobody writes, for longer than the kernel would */
static size_t by_lane(uint32_t i)
{
	return RB_BLOCK_SIZE * (2 + i % LANES) / 4;
}

static void test_stalled(void)
{
	_cleanup_json_ json_t *answer = NULL;

	stall_ms = 10000;
	CHECK(begin(LANES));
	stall_ms = 0;
	CHECK_INT(rb_lanes_open(&m, &err), 0);
	CHECK_INT(write_blocks(NULL, 16 * LANES, by_lane), 0);
	CHECK_INT(end_round(&answer), 0);
	CHECK_INT(json_integer_value(json_object_get(answer, "blocks")), 16 * LANES);
	/* and they are still there */
	json_decref(TAKE_PTR(answer));
	CHECK_INT(write_round(BLOCKS), 0);
	CHECK_INT(end_round(&answer), 0);
	end();
}

/* @niced: those of both sides that are, or -1: the test's own */
static int count_lanes(pid_t *ret_one, int niced)
{
	_cleanup_closedir_ DIR *dir = opendir("/proc");
	struct dirent *entry;
	int n = 0;

	while (dir && (entry = readdir(dir))) {
		char path[64 + sizeof(entry->d_name)];
		_cleanup_buf_ struct rb_buf stat = {};
		int pid, parent;
		char name[32], state;

		snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' ||
		    rb_read_file(path, 4096, &stat, NULL) < 0 ||
		    sscanf(stat.data, "%d (%31[^)]) %c %d", &pid, name, &state, &parent) != 4 ||
		    state == 'Z' || strcmp(name, "reberthd-lane") != 0 ||
		    (niced < 0 ? parent != getpid() : getpriority(PRIO_PROCESS, pid) != niced))
			continue;
		*ret_one = pid;
		n++;
	}
	return n;
}

static void test_nice(void)
{
	_cleanup_json_ json_t *answer = NULL;
	pid_t one;

	CHECK(begin(LANES));
	CHECK_INT(rb_lanes_open(&m, &err), 0);
	rb_lanes_nice(&m, NICE_HERE);
	CHECK_INT(write_round(BLOCKS), 0);
	CHECK_INT(end_round(&answer), 0);
	CHECK_INT(count_lanes(&one, NICE_HERE), LANES);
	CHECK_INT(count_lanes(&one, NICE_THERE), LANES);
	end();
}

/* @niced: whose */
static void lose_one(int niced)
{
	_cleanup_json_ json_t *answer = NULL;
	pid_t one = 0;
	int r;

	CHECK(begin(LANES));
	CHECK_INT(rb_lanes_open(&m, &err), 0);
	CHECK_INT(write_round(BLOCKS), 0);
	CHECK_INT(end_round(&answer), 0);
	CHECK_INT(count_lanes(&one, niced), LANES);
	kill(one, SIGKILL);
	r = write_round(BLOCKS);
	if (r >= 0)
		r = end_round(NULL);
	CHECK_INT(r, -ECONNRESET);
	CHECK(strstr(err.msg, "a connection for memory"));
	end();
	CHECK_INT(count_lanes(&one, -1), 0);
}

static void test_lost(void)
{
	lose_one(-1);
	lose_one(NICE_THERE);
}

/* what is not worth it, or cannot be had, is done without */
static void test_without(void)
{
	CHECK(begin(1));
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
	TAP_RUN(test_stranger_inside);
	TAP_RUN(test_refused);
	TAP_RUN(test_failed);
	TAP_RUN(test_deadline);
	TAP_RUN(test_stalled);
	TAP_RUN(test_nice);
	TAP_RUN(test_lost);
	TAP_RUN(test_without);
	rb_tls_free(tls);
	certs_remove();
	rb_rm_rf(run_dir, NULL);
	return tap_done();
}
