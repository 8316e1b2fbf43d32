// SPDX-License-Identifier: Apache-2.0
/*
 * create.c - `create` of a container that arrives: start a placeholder instead of an init
 *
 * The arrival ticket says that this container is to be filled by a migration. It is used once, by
 * renaming it away first: a later `docker restart` finds none and gets an ordinary container.
 *
 *   create                     placeholder (child, adopted by containerd's shim when we end)
 *   take the ticket
 *   fork  ------------------>  session, network namespace, silence, sysctls; or the namespace of
 *				the container whose network it joins, which is silent
 *         <------------------  ready
 *   hooks (pid of the placeholder), cgroup
 *   pid file, note
 *   end                        waits for the worker
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"
#include "cleanup.h"
#include "err.h"
#include "fault.h"
#include "freezer.h"
#include "io.h"
#include "json.h"
#include "net.h"
#include "placeholder.h"
#include "proc.h"
#include "runtime.h"
#include "wait.h"
#include "workdir.h"

/* Take the ticket. Return: 1 when there was one, 0 when not, negative errno. */
static int take_ticket(struct placeholder *p, struct rb_err *err)
{
	_cleanup_json_ json_t *ticket = NULL;
	char path[PATH_MAX], used[PATH_MAX];
	struct stat st;
	const char *work_dir;
	int r;

	if (rb_path(p->dir, sizeof(p->dir), "%s/arrivals/%s", rb_criu_run_dir(), p->note.id) < 0 ||
	    rb_path(path, sizeof(path), "%s/ticket.json", p->dir) < 0 ||
	    rb_path(used, sizeof(used), "%s/ticket.used", p->dir) < 0)
		return rb_err_set(err, -ENAMETOOLONG, "look for an arrival ticket");
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : rb_err_set(err, -errno, "look for '%s'", path);
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid())
		return rb_err_code(err, RB_E_DENIED, -EPERM, "'%s' is not ours", path);
	if (rename(path, used) < 0)
		return rb_err_set(err, -errno, "take the arrival ticket '%s'", path);
	r = rb_json_load(used, &ticket, err);
	if (r == 0)
		r = rb_json_need_str(ticket, "work_dir", &work_dir, err);
	if (r < 0)
		return r;
	if (!rb_criu_path_valid(work_dir) ||
	    rb_path(p->work_dir, sizeof(p->work_dir), "%s", work_dir) < 0)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "the arrival ticket names no usable work folder");
	return 1;
}

/*
 * "/docker/ID" as it is; systemd's "system.slice:docker:ID" stands for the scope docker-ID.scope in
 * a slice whose dashes are folders: "a-b.slice" is /a.slice/a-b.slice.
 */
static int cgroup_path(const char *path, const char *id, char *ret, size_t size)
{
	char slice[256], prefix[128], name[128], dirs[1024] = "";

	if (path[0] == '/')
		return rb_path(ret, size, "%s", path);
	if (sscanf(path, "%255[^:]:%127[^:]:%127s", slice, prefix, name) != 3)
		return rb_path(ret, size, "/%s", *path ? path : id);
	for (char *dash = strchr(slice, '-'); dash; dash = strchr(dash + 1, '-')) {
		size_t len = strlen(dirs);

		snprintf(dirs + len, sizeof(dirs) - len, "/%.*s.slice", (int)(dash - slice), slice);
	}
	return rb_path(ret, size, "%s/%s/%s-%s.scope", dirs, slice, prefix, name);
}

/* What the configuration asks for and we cannot do is said now, not after the source is frozen. */
static int check_config(struct placeholder *p, const json_t *config, struct rb_err *err)
{
	json_t *list = rb_json_path(config, "linux.namespaces"), *ns;
	bool netns = false;
	size_t i;

	if (rb_json_bool(rb_json_path(config, "process"), "terminal", false))
		return rb_err_code(err, RB_E_REFUSED, -EOPNOTSUPP,
				   "containers with a terminal (docker run -t) cannot arrive");
	json_array_foreach (list, i, ns) {
		if (strcmp(rb_json_str(ns, "type", ""), "network") != 0)
			continue;
		netns = true;
		if (rb_path(p->shared_netns, sizeof(p->shared_netns), "%s",
			    rb_json_str(ns, "path", "")) < 0)
			return rb_err_set(err, -ENAMETOOLONG, "find the network namespace");
	}
	if (!netns)
		return rb_err_code(err, RB_E_REFUSED, -EOPNOTSUPP,
				   "containers in the host's network cannot arrive");
	if (cgroup_path(rb_json_str(rb_json_path(config, "linux"), "cgroupsPath", ""), p->note.id,
			p->note.cgroup, sizeof(p->note.cgroup)) < 0)
		return rb_err_set(err, -ENAMETOOLONG, "find the container's cgroup");
	return 0;
}

/* argv and environment of a hook, NULL-terminated; the texts stay the JSON's. */
static char **text_array(const json_t *array)
{
	char **ret = calloc(json_array_size(array) + 1, sizeof(*ret));

	for (size_t i = 0; ret && i < json_array_size(array); i++) {
		const char *text = json_string_value(json_array_get(array, i));

		ret[i] = (char *)(text ? text : "");
	}
	return ret;
}

_Noreturn static void exec_hook(const json_t *hook, int stdin_fd)
{
	char **argv = text_array(json_object_get(hook, "args"));
	char **env = text_array(json_object_get(hook, "env"));
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	dup2(stdin_fd, STDIN_FILENO);
	dup2(STDERR_FILENO, STDOUT_FILENO);
	/* argv[0] may differ from the path: Docker's own hook is dockerd by another name */
	if (argv && env && argv[0])
		execve(rb_json_str(hook, "path", ""), argv, env);
	_exit(127);
}

/* A hook reads the container's state on its standard input. */
static int run_hook(const json_t *hook, const char *state, struct rb_err *err)
{
	_cleanup_close_ int rd = -EBADF, wr = -EBADF;
	int pipe_fds[2], status;
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return rb_err_set(err, -errno, "run a hook");
	rd = pipe_fds[0];
	wr = pipe_fds[1];
	pid = fork();
	if (pid < 0)
		return rb_err_set(err, -errno, "run a hook");
	if (pid == 0)
		exec_hook(hook, rd);
	rb_close_fd(&rd);
	/* shorter than a pipe's buffer, so this does not block; a hook need not read it */
	(void)!write(wr, state, strlen(state));
	rb_close_fd(&wr);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return rb_err_set(err, -errno, "wait for a hook");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return rb_err_code(err, RB_E_ENGINE, -EIO, "hook '%s' failed with status %d",
			   rb_json_str(hook, "path", "?"),
			   WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static int run_hooks(const struct placeholder *p, const json_t *config, struct rb_err *err)
{
	static const char *const kinds[] = { "prestart", "createRuntime" };
	_cleanup_json_ json_t *state = json_pack("{s:s, s:s, s:s, s:i, s:s}", "ociVersion", "1.0.2",
						 "id", p->note.id, "status", "creating", "pid",
						 (int)p->note.pid, "bundle", p->note.bundle);
	_cleanup_free_ char *text = state ? json_dumps(state, JSON_COMPACT) : NULL;

	if (!text)
		return rb_err_set(err, -ENOMEM, "run hooks");
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		json_t *list = json_object_get(json_object_get(config, "hooks"), kinds[k]), *hook;
		size_t i;

		json_array_foreach (list, i, hook) {
			int r = run_hook(hook, text, err);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* Start the placeholder and wait until its namespaces are there. */
static int start_placeholder(struct placeholder *p, struct rb_err *err)
{
	char message[600] = "";
	int ready[2];
	ssize_t n;

	if (pipe2(ready, O_CLOEXEC) < 0)
		return rb_err_set(err, -errno, "start the placeholder");
	p->note.pid = fork();
	if (p->note.pid < 0)
		return rb_err_set(err, -errno, "start the placeholder");
	if (p->note.pid == 0) {
		close(ready[0]);
		placeholder_run(p, ready[1]);
	}
	close(ready[1]);
	n = rb_read_all(ready[0], message, sizeof(message) - 1);
	close(ready[0]);
	if (n == 1 && message[0] == '\n') {
		p->note.starttime = rb_pid_starttime(p->note.pid);
		return 0;
	}
	return rb_err_code(err, RB_E_INTERNAL, -EIO, "%s",
			   n > 0 ? message : "the placeholder died while it started");
}

/* As runc does it: under a temporary name first, for those who watch the file. */
static int write_pid_file(const char *path, pid_t pid, struct rb_err *err)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", (int)pid);

	return path ? rb_write_file(path, text, (size_t)len, 0644, false, err) : 0;
}

/* Docker attaches the devices in a hook. Macvlans are parked as soon as can be; the worker does it
 * once more, and says what is wrong. */
static int attach(const struct placeholder *p, const json_t *config, struct rb_err *err)
{
	_cleanup_close_ int netns = *p->shared_netns ? -EBADF : rb_netns_open(p->note.pid, NULL);
	_cleanup_close_ int seen = netns < 0 ? -EBADF : rb_passon_open(netns, NULL);
	int r = run_hooks(p, config, err);

	if (r >= 0 && netns >= 0 && rb_park(netns, NULL) > 0 && seen >= 0)
		rb_passon_end(netns, seen, NULL);
	return r;
}

static int create(struct placeholder *p, struct rb_err *err)
{
	_cleanup_json_ json_t *config = NULL;
	char path[PATH_MAX];
	int r = rb_fault_point("target.runtime.create", NULL, err);

	if (r < 0)
		return r;
	if (!realpath(p->call->bundle, p->note.bundle))
		return rb_err_set(err, -errno, "find bundle '%s'", p->call->bundle);
	if (rb_path(path, sizeof(path), "%s/config.json", p->note.bundle) < 0)
		return rb_err_set(err, -ENAMETOOLONG, "find bundle '%s'", p->call->bundle);
	r = rb_json_load(path, &config, err);
	if (r == 0)
		r = check_config(p, config, err);
	if (r == 0)
		r = rb_cgroup_place(getpid(), &p->home, err);
	if (r == 0)
		r = start_placeholder(p, err);
	if (r == 0)
		r = attach(p, config, err);
	if (r == 0)
		r = rb_cgroup_move(p->note.pid, p->note.cgroup, true, true, err);
	if (r == 0)
		r = note_save(&p->note, err);
	if (r == 0)
		r = write_pid_file(p->call->pid_file, p->note.pid, err);
	return r;
}

int runtime_create(const struct runtime_call *call)
{
	struct placeholder *p = calloc(1, sizeof(*p));
	struct rb_err err = {};
	int r;

	if (!p || !rb_criu_id_valid(call->id))
		return -1;
	p->call = call;
	rb_fault_setup(rb_criu_run_dir());
	snprintf(p->note.id, sizeof(p->note.id), "%s", call->id);
	snprintf(p->note.state, sizeof(p->note.state), "waiting");
	r = take_ticket(p, &err);
	if (r == 0)
		return -1;
	if (r > 0)
		r = create(p, &err);
	if (r >= 0)
		return 0;
	if (p->note.pid > 0) {
		kill(p->note.pid, SIGKILL);
		waitpid(p->note.pid, NULL, 0);
		rb_cgroup_remove(p->note.cgroup);
	}
	note_remove(call->id);
	return runtime_fail(call, &err);
}
