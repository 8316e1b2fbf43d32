// SPDX-License-Identifier: Apache-2.0
/*
 * test_shared_criu.c - shared memory past a real CRIU: it neither dumps nor reads any of it, the
 * processes find all of it, and without what has arrived they are not restored
 *
 * `test_shared_criu LIBRARY VICTIM`. The processes go through all of it: rounds while they run, a
 * last one when they stand still, a dump, restores.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block.h"
#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "objects.h"
#include "proc.h"
#include "pack.h"
#include "receive.h"
#include "shared.h"
#include "sysv.h"
#include "tap.h"
#include "wait.h"
#include "workdir.h"

enum { CHILDREN = 2, OBJECTS = 2, SEGMENTS = 2, WAIT_MS = 60000, PATH = 600 };

static const char *library, *victim;
static char criu[4096], dir[] = "/tmp/test_shared_criu.XXXXXX";
static pid_t tasks[1 + CHILDREN];
static struct rb_shared *shared;
static struct rb_receiver *receiver;
static struct rb_sysv segments; /* as they were */
static struct rb_err err;

static int take(void *arg, const void *block, size_t len, const struct rb_wait *wait,
		struct rb_err *why)
{
	(void)arg;
	(void)wait;
	return rb_receiver_take(receiver, block, len, why);
}

static int send_round(bool last)
{
	struct rb_memory_sink sink = { take, NULL };
	static struct rb_packer *packer;
	_cleanup_block_ struct rb_block *block = NULL;
	int r = packer ? 0 : rb_packer_new(&packer, &err);

	if (r >= 0)
		r = rb_block_new(&sink, packer, &block, &err);

	rb_receiver_begin(receiver, last);
	rb_shared_begin(shared);
	for (int i = 0; r >= 0 && i <= CHILDREN; i++)
		r = rb_shared_add(shared, tasks[i], &err);
	rb_shared_end(shared);
	if (r >= 0)
		r = rb_shared_send(shared, block, last, NULL, &err);
	if (r >= 0)
		r = rb_block_flush(block, NULL, &err);
	return r < 0 ? r : rb_receiver_end(receiver, &err);
}

static const char *in_dir(const char *name)
{
	static char paths[8][PATH];
	static int next;
	char *path = paths[next++ % 8];

	snprintf(path, PATH, "%s/%s", dir, name);
	return path;
}

static bool comes(const char *name)
{
	for (int i = 0; i < WAIT_MS && access(in_dir(name), F_OK) < 0; i++)
		usleep(1000);
	return access(in_dir(name), F_OK) == 0;
}

/* "1 2 3 \n" */
static bool find_children(void)
{
	_cleanup_buf_ struct rb_buf text = {};
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)tasks[0], (int)tasks[0]);
	return rb_read_file(path, 0, &text, NULL) == 0 &&
	       sscanf(text.data, "%d %d", &tasks[1], &tasks[2]) == CHILDREN;
}

static bool start_victim(void)
{
	pid_t middle = fork();

	/* CRIU restores it under its own pid, so nobody but init, or who stands in, may know it */
	if (middle == 0) {
		int fd = open("/dev/null", O_RDWR);
		pid_t pid = fork();

		if (pid > 0)
			_exit(rb_write_file(in_dir("pid"), &pid, sizeof(pid), 0600, false, NULL) <
			      0);
		for (int i = 0; i < 3; i++)
			dup2(fd, i);
		close_range(3, ~0U, 0);
		execl(victim, victim, dir, NULL);
		_exit(1);
	}
	return waitpid(middle, NULL, 0) == middle && comes("ready");
}

static bool read_pid(void)
{
	_cleanup_buf_ struct rb_buf text = {};

	if (rb_read_file(in_dir("pid"), 0, &text, NULL) < 0 || text.len != sizeof(tasks[0]))
		return false;
	memcpy(&tasks[0], text.data, sizeof(tasks[0]));
	return find_children();
}

static void signal_all(int sig)
{
	for (int i = 0; i <= CHILDREN; i++)
		kill(tasks[i], sig);
}

static bool are_gone(void)
{
	for (int i = 0; i <= CHILDREN; i++)
		if (kill(tasks[i], 0) == 0 || errno != ESRCH)
			return false;
	return true;
}

/* those whose parents ended are ours */
static bool reap(void)
{
	for (int i = 0; i < WAIT_MS && !are_gone(); i++) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		usleep(1000);
	}
	return are_gone();
}

static int run_criu(const char *verb, const char *const env[], const char *log)
{
	struct rb_wait wait = rb_wait_within(NULL, WAIT_MS);
	bool dump = strcmp(verb, "dump") == 0;
	char pid[16];
	const char *argv[] = { criu,
			       verb,
			       "-D",
			       in_dir("images"),
			       "-o",
			       log,
			       "-v4",
			       dump ? "-t" : "-d",
			       dump ? pid : NULL,
			       NULL };

	snprintf(pid, sizeof(pid), "%d", (int)tasks[0]);
	return rb_run(&(struct rb_spawn){ .argv = argv, .env = env }, &wait, NULL, &err);
}

static uint64_t images_bytes(int *ret_shared, int *ret_sysv)
{
	_cleanup_closedir_ DIR *images = opendir(in_dir("images"));
	struct dirent *entry;
	uint64_t sum = 0;

	*ret_shared = *ret_sysv = 0;
	while (images && (entry = readdir(images))) {
		struct stat st;

		if (strstr(entry->d_name, ".img") &&
		    fstatat(dirfd(images), entry->d_name, &st, 0) == 0)
			sum += (uint64_t)st.st_size;
		*ret_shared += strncmp(entry->d_name, "shared-", 7) == 0;
		*ret_sysv += strncmp(entry->d_name, "sysv-", 5) == 0;
	}
	return sum;
}

static void test_dump(void)
{
	char preload[PATH], skip[PATH];
	const char *const env[] = { preload, skip, NULL };
	int count, sysv;
	uint64_t bytes;

	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", library);
	snprintf(skip, sizeof(skip), "REBERTH_SKIP=%s", in_dir("skip"));
	for (int i = 0; i < 5; i++) {
		CHECK_INT(send_round(false), 0);
		usleep(20000);
	}
	signal_all(SIGSTOP);
	CHECK_INT(rb_sysv_read(tasks[0], &segments, &err), 0);
	CHECK_INT(rb_shared_hide(shared, in_dir("skip"), &err), 0);
	CHECK_INT(send_round(true), 0);
	CHECK_INT(rb_objects_count(rb_receiver_objects(receiver)), OBJECTS + SEGMENTS);
	CHECK_INT(run_criu("dump", env, "dump.log"), 0);
	CHECK(reap());
	bytes = images_bytes(&count, &sysv);
	CHECK_INT(count, OBJECTS);
	CHECK_INT(sysv, SEGMENTS);
	/* the same once more as private memory */
	CHECK(rb_shared_bytes(shared) > 0);
	CHECK(bytes < rb_shared_bytes(shared) + rb_shared_bytes(shared) / 2);
}

/* Neither a CRIU without the library nor one without the objects restores anything. */
static void test_restore_without(void)
{
	char preload[PATH], nowhere[PATH];
	const char *const with[] = { preload, nowhere, NULL };

	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", library);
	snprintf(nowhere, sizeof(nowhere), "REBERTH_SHARED=%s", in_dir("nowhere"));
	CHECK(run_criu("restore", NULL, "without.log") < 0);
	CHECK(reap());
	CHECK(run_criu("restore", with, "nowhere.log") < 0);
	CHECK(reap());
}

/* of the segments, those that travelled and the one that CRIU has made */
static void check_segments(void)
{
	struct rb_sysv now = {};

	CHECK_INT(rb_sysv_read(tasks[0], &now, &err), 0);
	CHECK_INT(now.n, segments.n);
	CHECK_INT(now.n, SEGMENTS + 1);
	for (size_t i = 0; i < segments.n && tap_ok; i++) {
		const struct rb_sysv_entry *was = &segments.list[i];
		const struct rb_sysv_entry *is = rb_sysv_find(&now, was->is.inode);

		CHECK(is);
		CHECK_INT(is->is.size, was->is.size);
		CHECK_INT(is->is.segment.key, was->is.segment.key);
		CHECK_INT(is->is.segment.mode, was->is.segment.mode);
		CHECK_INT(is->is.segment.uid, was->is.segment.uid);
		CHECK_INT(is->is.segment.gid, was->is.segment.gid);
	}
	rb_sysv_clear(&now);
}

static int restore(const char *log, const char *ipc)
{
	char preload[PATH], arrived[PATH], where[PATH];
	const char *const env[] = { preload, arrived, where, NULL };

	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", library);
	snprintf(arrived, sizeof(arrived), "REBERTH_SHARED=%s", in_dir("shared"));
	snprintf(where, sizeof(where), "REBERTH_IPC=%s", ipc);
	if (rb_objects_publish(rb_receiver_objects(receiver), in_dir("shared"), &err) < 0 ||
	    rb_objects_publish_segments(rb_receiver_objects(receiver), in_dir("ipc"), &err) < 0)
		return 1;
	return run_criu("restore", env, log);
}

/* All but the segments are there. */
static void test_restore_without_segments(void)
{
	CHECK(restore("nowhere-ipc.log", in_dir("nowhere")) < 0);
	CHECK(reap());
}

static void test_restore(void)
{
	char link[64], target[64] = "";

	CHECK_INT(restore("restore.log", in_dir("ipc")), 0);
	CHECK_INT(rb_objects_check(rb_receiver_objects(receiver), &err), 0);
	/* as CRIU would have made it */
	snprintf(link, sizeof(link), "/proc/%d/fd/3", (int)tasks[0]);
	CHECK(readlink(link, target, sizeof(target) - 1) > 0);
	CHECK_STR(target, "/memfd:kept (deleted)");
	check_segments();
}

/* What was restored is lost before it ran. */
static void test_restore_again(void)
{
	signal_all(SIGKILL);
	CHECK(reap());
	CHECK_INT(rb_objects_check(rb_receiver_objects(receiver), &err), 0);
	test_restore();
}

static bool copy(DIR *images, const char *from, const char *to)
{
	_cleanup_close_ int in = openat(dirfd(images), from, O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int out =
		openat(dirfd(images), to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	char data[4096];
	ssize_t len = in < 0 || out < 0 ? -1 : read(in, data, sizeof(data));

	return len > 0 && write(out, data, (size_t)len) == len;
}

/* An object and a segment may have one number. Then there is an image of each kind: that of the one
 * which travelled, and CRIU's, of the other. */
static void test_restore_with_namesakes(void)
{
	_cleanup_closedir_ DIR *images = opendir(in_dir("images"));
	struct dirent *entry;
	int count = 0;

	CHECK(images);
	while ((entry = readdir(images))) {
		unsigned long number;
		char name[64];

		if (sscanf(entry->d_name, "shared-%lu.img", &number) != 1 &&
		    sscanf(entry->d_name, "sysv-%lu.img", &number) != 1)
			continue;
		snprintf(name, sizeof(name), "pagemap-shmem-%lu.img", number);
		CHECK(copy(images, entry->d_name, name));
		count++;
	}
	CHECK_INT(count, OBJECTS + SEGMENTS);
	test_restore_again();
}

static void test_content(void)
{
	signal_all(SIGUSR1);
	signal_all(SIGCONT);
	for (int i = 0; i < CHILDREN; i++) {
		char name[] = { (char)('0' + i), '\0' };
		_cleanup_buf_ struct rb_buf text = {};

		CHECK(comes(name));
		CHECK_INT(rb_read_file(in_dir(name), 0, &text, NULL), 0);
		CHECK_STR(text.data, "good\n");
	}
}

static bool begin(void)
{
	rb_shared_free(shared);
	rb_receiver_free(receiver);
	shared = NULL;
	receiver = NULL;
	unlink(in_dir("0"));
	unlink(in_dir("1"));
	return rb_rm_rf(in_dir("images"), &err) == 0 && mkdir(in_dir("images"), 0700) == 0 &&
	       rb_shared_new(&shared, &err) == 0 && rb_receiver_new(&receiver, &err) == 0;
}

/* What was anonymous is a memfd now, as it is for CRIU alone. */
static void test_once_more(void)
{
	CHECK(begin());
	test_dump();
	if (tap_ok)
		test_restore();
	if (tap_ok)
		test_content();
}

static const char *why_not(void)
{
	struct rb_wait wait = rb_wait_within(NULL, WAIT_MS);
	const char *const argv[] = { criu, "check", NULL };

	if (geteuid() != 0)
		return "needs root";
	if (rb_criu_find_program("criu", criu, sizeof(criu), &err) < 0)
		return err.msg;
	if (rb_run(&(struct rb_spawn){ .argv = argv }, &wait, NULL, &err) < 0)
		return err.msg;
	return NULL;
}

static void show_log(const char *name)
{
	_cleanup_fclose_ FILE *file = NULL;
	char path[PATH], line[512];

	snprintf(path, sizeof(path), "%s/images/%s", dir, name);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (strstr(line, "Error ("))
			printf("# %s: %s", name, line);
}

int main(int argc, char **argv)
{
	const char *why = argc == 3 ? why_not() : "no library was named";

	if (why) {
		printf("1..0 # SKIP CRIU cannot be run: %s\n", why);
		return 0;
	}
	library = realpath(argv[1], NULL);
	victim = realpath(argv[2], NULL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (!mkdtemp(dir) || mkdir(in_dir("skip"), 0700) < 0 || !start_victim() || !read_pid() ||
	    !begin())
		return 1;
	TAP_RUN(test_dump);
	TAP_RUN(test_restore_without);
	TAP_RUN(test_restore_without_segments);
	TAP_RUN(test_restore);
	TAP_RUN(test_restore_again);
	TAP_RUN(test_restore_with_namesakes);
	TAP_RUN(test_content);
	TAP_RUN(test_once_more);
	if (tap_failures > 0) {
		printf("# %s\n", err.msg);
		show_log("dump.log");
		show_log("restore.log");
	}
	signal_all(SIGKILL);
	reap();
	rb_shared_free(shared);
	rb_receiver_free(receiver);
	rb_sysv_clear(&segments);
	rb_rm_rf(dir, NULL);
	return tap_done();
}
