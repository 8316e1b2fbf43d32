// SPDX-License-Identifier: Apache-2.0
/*
 * dump.c - the worker's side of a dump
 *
 * `runc checkpoint` and CRIU take about as long to start as to dump, so they are started before
 * the freeze and wait in CRIU's pre-dump action. They belong to a process of their own, the dump
 * server (`reberth-runtime criu-dump`), which outlives nobody: it ends when the worker ends. It
 * listens on <work_dir>/dump.sock for short lines:
 *
 *   from           line                     answer
 *   action script  "<action> <criu pid>"    "go" or "abort", when it may go on
 *   worker         "dump"                   "ok" or "failed <errno> <text>", when CRIU is gone
 *   worker         "stop"                   "ok", when CRIU is gone and the tasks are cured
 *
 *   parked --dump--> dumping --post-dump action--> frozen again --CRIU ends--> done
 *
 * What must always hold: from the answer to post-dump on the tasks are frozen by their cgroup, and
 * a CRIU that is killed leaves them frozen and cured (cure.h).
 */
#include "dump.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "freezer.h"
#include "io.h"
#include "json.h"
#include "masked.h"
#include "proc.h"
#include "wait.h"
#include "workdir.h"

static int state_path(const char *runtime_root, const char *container_id, char *ret, size_t size,
		      struct rb_err *err)
{
	if (!rb_criu_id_valid(container_id))
		return rb_err_code(err, RB_E_USAGE, -EINVAL, "'%s' is not a container id",
				   container_id);
	if (rb_path(ret, size, "%s/%s/state.json", runtime_root, container_id) < 0)
		return rb_err_set(err, -ENAMETOOLONG, "read the state of %s", container_id);
	return 0;
}

static int load_state(const char *runtime_root, const char *container_id, json_t **ret,
		      struct rb_err *err)
{
	char path[PATH_MAX];
	int r = state_path(runtime_root, container_id, path, sizeof(path), err);

	return r < 0 ? r : rb_json_load(path, ret, err);
}

int rb_criu_init_pid(const char *runtime_root, const char *container_id, int *ret_pid,
		     struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf state = {};
	char path[PATH_MAX];
	int64_t pid;
	int r = state_path(runtime_root, container_id, path, sizeof(path), err);

	if (r >= 0)
		r = rb_read_file(path, 0, &state, err);
	if (r < 0)
		return r;
	/* the configuration, which is long, comes behind these */
	pid = rb_json_peek_int(state.data, "init_process_pid", 0);
	if (pid <= 0 || pid > INT_MAX ||
	    rb_pid_starttime((pid_t)pid) !=
		    (unsigned long long)rb_json_peek_int(state.data, "init_process_start", -1))
		return rb_err_code(err, RB_E_CONFLICT, -ESRCH, "container %.12s is not running",
				   container_id);
	*ret_pid = (int)pid;
	return 0;
}

int rb_criu_descriptors(const char *runtime_root, const char *container_id, json_t **ret,
			struct rb_err *err)
{
	_cleanup_json_ json_t *state = NULL;
	json_t *list;
	int r = load_state(runtime_root, container_id, &state, err);

	if (r < 0)
		return r;
	list = json_object_get(state, "external_descriptors");
	*ret = json_is_array(list) ? json_incref(list) : json_array();
	return 0;
}

static int load_note(const char *run_dir, const char *container_id, json_t **ret,
		     struct rb_err *err)
{
	char path[PATH_MAX];

	if (!rb_criu_id_valid(container_id) ||
	    rb_path(path, sizeof(path), "%s/placeholders/%s.json", run_dir, container_id) < 0)
		return rb_err_code(err, RB_E_USAGE, -EINVAL, "'%s' is not a container id",
				   container_id);
	return rb_json_load(path, ret, err);
}

int rb_criu_placeholder_pid(const char *run_dir, const char *container_id)
{
	_cleanup_json_ json_t *note = NULL;
	int64_t pid;

	if (load_note(run_dir, container_id, &note, NULL) < 0)
		return 0;
	pid = rb_json_int(note, "pid", 0);
	if (pid <= 0 || pid > INT_MAX ||
	    !rb_pid_alive((pid_t)pid, (unsigned long long)rb_json_int(note, "starttime", 0)))
		return 0;
	return (int)pid;
}

int rb_criu_placeholder_freezer(const char *run_dir, const char *container_id, char *ret,
				size_t size, struct rb_err *err)
{
	_cleanup_json_ json_t *note = NULL;
	const char *cgroup;
	int r = load_note(run_dir, container_id, &note, err);

	if (r >= 0)
		r = rb_json_need_str(note, "cgroup", &cgroup, err);
	return r < 0 ? r : rb_freezer_path(cgroup, ret, size, err);
}

/* What tells one program from another one that was installed in its place. */
static int add_identity(struct rb_buf *ret, const char *name, char *program, size_t size,
			struct rb_err *err)
{
	int r = rb_criu_find_program(name, program, size, err);
	struct stat st;

	if (r < 0)
		return r;
	if (stat(program, &st) < 0)
		return rb_err_set(err, -errno, "look at '%s'", program);
	return rb_buf_addf(ret, "%s %lu %lu %lld.%09ld\n", program, (unsigned long)st.st_ino,
			   (unsigned long)st.st_size, (long long)st.st_mtim.tv_sec,
			   st.st_mtim.tv_nsec);
}

static int run_checks(const char *runc, const char *criu, char *ret_version, size_t size,
		      const struct rb_wait *wait, struct rb_err *err)
{
	const char *const runc_version[] = { runc, "--version", NULL };
	const char *const version[] = { criu, "--version", NULL };
	const char *const check[] = { criu, "check", NULL };
	_cleanup_buf_ struct rb_buf out = {};
	char *save = NULL;
	int r = rb_run(&(struct rb_spawn){ .argv = runc_version }, wait, NULL, err);

	if (r < 0)
		return rb_err_wrap(err, r, "runc does not start");
	r = rb_run(&(struct rb_spawn){ .argv = version }, wait, &out, err);
	if (r == 0)
		r = rb_run(&(struct rb_spawn){ .argv = check }, wait, NULL, err);
	if (r < 0)
		return rb_err_wrap(err, r,
				   "CRIU does not work here; `tools/setup` fetches one that does");
	for (char *line = strtok_r(out.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (strncmp(line, "Version: ", 9) == 0)
			snprintf(ret_version, size, "criu %s", line + 9);
	return 0;
}

/* The check takes 0.1 s, and says the same until one of them is another, or the kernel. */
int rb_criu_check(char *ret_version, int size, const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf known = {}, now = {};
	char runc[PATH_MAX], criu[PATH_MAX], path[PATH_MAX];
	int r = add_identity(&now, "runc", runc, sizeof(runc), err);

	if (r >= 0)
		r = add_identity(&now, "criu", criu, sizeof(criu), err);
	if (r < 0)
		return r;
	if (rb_path(path, sizeof(path), "%s/criu.checked", rb_criu_run_dir()) < 0 ||
	    rb_read_file(path, 0, &known, NULL) < 0)
		known.len = 0;
	if (known.len > now.len && memcmp(known.data, now.data, now.len) == 0) {
		snprintf(ret_version, (size_t)size, "%.*s", (int)(known.len - now.len),
			 known.data + now.len);
		return 0;
	}
	r = run_checks(runc, criu, ret_version, (size_t)size, wait, err);
	if (r >= 0 && rb_buf_addf(&now, "%s", ret_version) == 0)
		rb_write_file(path, now.data, now.len, 0600, false, NULL);
	return r;
}

/* Does the container have a network namespace that runc made (and so does not declare to CRIU)? */
static bool has_own_netns(const json_t *state)
{
	json_t *list = rb_json_path(state, "config.namespaces"), *ns;
	size_t i;

	json_array_foreach (list, i, ns) {
		if (strcmp(rb_json_str(ns, "type", ""), "NEWNET") == 0)
			return !*rb_json_str(ns, "path", "");
	}
	return false;
}

/* runc's annotations are what its labels say, and this one names CRIU's configuration file. */
static int copy_state(const struct rb_dump *dump, json_t *state, struct rb_err *err)
{
	json_t *labels = rb_json_path(state, "config.labels");
	json_t *config = json_object_get(state, "config");
	char label[PATH_MAX + 32], path[PATH_MAX];
	size_t i = 0;
	int r;

	if (!json_is_array(labels)) {
		labels = json_array();
		if (json_object_set_new(config, "labels", labels) < 0)
			return rb_err_code(err, RB_E_ENGINE, -EPROTO,
					   "runc's state of the container has no configuration");
	}
	while (i < json_array_size(labels)) {
		const char *text = json_string_value(json_array_get(labels, i));

		if (text && strncmp(text, "org.criu.config=", 16) == 0)
			json_array_remove(labels, i);
		else
			i++;
	}
	snprintf(label, sizeof(label), "org.criu.config=%s/criu.conf", dump->work_dir);
	if (json_array_append_new(labels, json_string(label)) < 0)
		return rb_err_set(err, -ENOMEM, "copy runc's state");
	r = rb_path(path, sizeof(path), "%s/runc/%s", dump->work_dir, dump->container_id);
	if (r == 0)
		r = rb_mkdir_p(path, 0700, err);
	if (r == 0)
		r = rb_path(path, sizeof(path), "%s/runc/%s/state.json", dump->work_dir,
			    dump->container_id);
	return r < 0 ? r : rb_json_save(path, state, false, err);
}

static int write_config(const struct rb_dump *dump, const json_t *state, struct rb_err *err)
{
	char path[64], socket[PATH_MAX], env[PATH_MAX + 64];
	_cleanup_buf_ struct rb_buf extra = {};
	struct stat ns;
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", dump->init_pid);
	if (stat(path, &ns) < 0)
		return rb_err_set(err, -errno, "find the container's network namespace");
	if (has_own_netns(state))
		r = rb_buf_addf(&extra, "external net[%lu]:extRootNetNS\n",
				(unsigned long)ns.st_ino);
	if (r < 0)
		return rb_err_set(err, r, "write CRIU's configuration");
	snprintf(env, sizeof(env), "REBERTH_SKIP=%s/skip\nREBERTH_NETNS=%lu\n", dump->work_dir,
		 (unsigned long)ns.st_ino);
	/* a CRIU that is not started by us finds no such mount on the target */
	if (rb_criu_can_skip())
		r = rb_masked_dumped(state, dump->init_pid, &extra, err);
	if (r == 0)
		r = rb_criu_write_config(dump->work_dir, extra.data ? extra.data : "", err);
	if (r == 0)
		r = rb_criu_write_wrapper(dump->work_dir, env, err);
	if (r == 0)
		r = rb_path(socket, sizeof(socket), "%s/dump.sock", dump->work_dir);
	return r < 0 ? r
		     : rb_criu_write_script(dump->work_dir, "pre-dump post-dump", "network-lock",
					    socket, NULL, err);
}

static int make_folders(const char *work_dir, struct rb_err *err)
{
	static const char *const names[] = { "images", "work", "runc", "skip" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		char path[PATH_MAX];
		int r = rb_path(path, sizeof(path), "%s/%s", work_dir, names[i]);

		if (r < 0)
			return rb_err_set(err, r, "make folder '%s/%s'", work_dir, names[i]);
		r = rb_rm_rf(path, err);
		if (r == 0)
			r = rb_mkdir_p(path, 0700, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Of "'reberth-runtime' failed with status 1: CRIU: ..." only the end is of use to anybody. */
static void strip_prefix(struct rb_err *err)
{
	static const char mark[] = "failed with status 1: ";
	char *at = strstr(err->msg, mark);

	if (at)
		memmove(err->msg, at + strlen(mark), strlen(at + strlen(mark)) + 1);
	err->code = RB_E_CRIU;
}

/* The dump server says on standard error what went wrong, and ends in the background. */
static int start_server(const struct rb_dump *dump, const struct rb_wait *wait, struct rb_err *err)
{
	char runtime[PATH_MAX], worker[16];
	const char *argv[] = {
		runtime, "criu-dump", dump->work_dir, dump->container_id, dump->freezer_path,
		worker,	 NULL
	};
	int r = rb_criu_runtime_path(runtime, sizeof(runtime), err);

	snprintf(worker, sizeof(worker), "%d", (int)getpid());
	if (r == 0)
		r = rb_run(&(struct rb_spawn){ .argv = argv }, wait, NULL, err);
	if (r == -EIO && err)
		strip_prefix(err);
	return r;
}

int rb_criu_dump_prepare(const struct rb_dump *dump, const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *state = NULL;
	int r;

	if (!rb_criu_path_valid(dump->work_dir))
		return rb_err_code(err, RB_E_USAGE, -EINVAL,
				   "'%s' cannot be a work folder: its path must be plain",
				   dump->work_dir);
	r = load_state(dump->runtime_root, dump->container_id, &state, err);
	if (r == 0)
		r = rb_criu_mend(dump, wait, err);
	if (r == 0)
		r = make_folders(dump->work_dir, err);
	if (r == 0 && dump->memory_dir)
		r = rb_criu_images_to_memory(dump->work_dir, dump->memory_dir, err);
	if (r == 0)
		r = copy_state(dump, state, err);
	if (r == 0)
		r = write_config(dump, state, err);
	return r < 0 ? r : start_server(dump, wait, err);
}

/* "failed <errno> <text>" */
static int server_failure(const char *line, struct rb_err *err)
{
	int errnum = EIO, at = 0;

	if (sscanf(line, "failed %d %n", &errnum, &at) < 1 || at == 0 || errnum <= 0)
		return rb_err_code(err, RB_E_CRIU, -EIO, "the dump server ended early");
	return rb_err_code(err, errnum == ENOSPC ? RB_E_NO_SPACE : RB_E_CRIU, -errnum, "%s",
			   line + at);
}

int rb_criu_dump_hold(const struct rb_dump *dump, struct rb_err *err)
{
	/* of the process, not of the descriptor: what it forks has no part in it */
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	_cleanup_close_ int fd = -EBADF;
	char path[PATH_MAX];
	int r = rb_path(path, sizeof(path), "%s/skip/lock", dump->work_dir);

	if (r < 0)
		return rb_err_set(err, r, "hold CRIU");
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || fcntl(fd, F_SETLK, &lock) < 0)
		return rb_err_set(err, -errno, "lock '%s'", path);
	return TAKE_FD(fd);
}

int rb_criu_dump_let_go(const struct rb_dump *dump, int hold_fd, bool go_on, struct rb_err *err)
{
	char path[PATH_MAX];
	int r = rb_path(path, sizeof(path), "%s/skip/complete", dump->work_dir);

	if (r < 0)
		rb_err_set(err, r, "let CRIU go on");
	else if (go_on)
		r = rb_write_file(path, "", 0, 0600, false, err);
	rb_close_fd(&hold_fd);
	return r;
}

int rb_criu_dump_begin(const struct rb_dump *dump, struct rb_err *err)
{
	_cleanup_close_ int fd = rb_criu_connect_at(dump->work_dir, "dump.sock", err);
	int r;

	if (fd < 0)
		return rb_err_wrap(err, fd, "CRIU is not there any more; somebody killed it");
	r = rb_write_all(fd, "dump\n", 5);
	if (r < 0)
		return rb_err_set(err, r, "speak to the dump server");
	return TAKE_FD(fd);
}

int rb_criu_dump_end(int dump_fd, const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_close_ int fd = dump_fd;
	char line[1024] = "";
	ssize_t n = rb_read_line(fd, line, sizeof(line), wait, err);

	if (n < 0)
		return (int)n;
	return strcmp(line, "ok") == 0 ? 0 : server_failure(line, err);
}
