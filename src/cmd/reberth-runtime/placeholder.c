// SPDX-License-Identifier: Apache-2.0
/*
 * placeholder.c - the process that stands where an arriving container's init will be
 *
 * It holds what Docker gave to the container it believes to have started: standard descriptors,
 * network namespace, a pid, a place in the cgroup. It speaks to the worker (arrival.h), lets runc
 * restore the container, and from then on only waits: init becomes its child (it is a subreaper),
 * and it ends with init's status, which containerd takes for the container's.
 *
 *   waiting --"restore"--> restoring --runc succeeds--> restored --init ends--> (exit)
 *                ^              | runc fails, or is killed for "stop"
 *                +--"restore"-- failed
 *
 * While runc restores it steps aside to the cgroup that it came from: runc does not restore into a
 * cgroup that has somebody in it. It is never in the v1 freezer's, where CRIU would freeze it, and
 * so with version 2 it does not come back: by then containerd has seen where the cgroup is.
 *
 * Should it be killed, its guard kills the container (guard.c): Docker would take the container
 * for dead.
 */
#include "placeholder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"
#include "cleanup.h"
#include "err.h"
#include "freezer.h"
#include "io.h"
#include "json.h"
#include "net.h"
#include "proc.h"
#include "wait.h"
#include "workdir.h"

enum { RECONNECT_MS = 50, LINE_MS = 2000, WATCH_MS = 100, DEAD_MS = 600 };

struct talk {
	struct placeholder *p;
	int control_fd, signal_fd, guard_fd;
	pid_t runc;	/* while it runs, else 0 */
	int dead_looks; /* how often in a row it had a killed child */
	bool unsaved;	/* the note is older than what we know: there was no room for it */
};

static int loopback_up(struct rb_err *err)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr) < 0)
		return rb_err_set(err, -errno, "bring up the loopback device");
	return 0;
}

/* runc does this for a container that it starts, but not for one that it restores. */
static int set_net_sysctls(const char *bundle, struct rb_err *err)
{
	_cleanup_json_ json_t *config = NULL;
	char path[PATH_MAX];
	const char *name;
	json_t *value;
	int r = rb_path(path, sizeof(path), "%s/config.json", bundle);

	r = r < 0 ? rb_err_set(err, r, "read '%s'", bundle) : rb_json_load(path, &config, err);
	if (r < 0)
		return r;
	json_object_foreach (rb_json_path(config, "linux.sysctl"), name, value) {
		if (strncmp(name, "net.", 4) != 0 || !json_is_string(value))
			continue;
		if (strstr(name, "..") || strchr(name, '/') ||
		    rb_path(path, sizeof(path), "/proc/sys/%s", name) < 0)
			return rb_err_code(err, RB_E_REFUSED, -EINVAL,
					   "'%s' is not a usable sysctl name", name);
		for (char *dot = path; (dot = strchr(dot, '.'));)
			*dot = '/';
		r = rb_write_knob(path, json_string_value(value), err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* That of a container which came before us, and holds it. It is silent already, or about to be
 * heard: none of our business. */
static int join_netns(struct placeholder *p, struct rb_err *err)
{
	_cleanup_close_ int fd = open(p->shared_netns, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		return rb_err_set(err, -errno, "join network namespace '%s'", p->shared_netns);
	return set_net_sysctls(p->note.bundle, err);
}

/* A network namespace that is silent before anything can be put into it. */
static int make_netns(struct placeholder *p, struct rb_err *err)
{
	_cleanup_close_ int netns_fd = -EBADF;
	int r;

	p->host_netns_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (p->host_netns_fd >= 0 && *p->shared_netns)
		return join_netns(p, err);
	if (p->host_netns_fd < 0 || unshare(CLONE_NEWNET) < 0)
		return rb_err_set(err, -errno, "make a network namespace");
	netns_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (netns_fd < 0)
		return rb_err_set(err, -errno, "open the network namespace");
	r = rb_silence_on(netns_fd, err);
	if (r == 0)
		r = loopback_up(err);
	if (r == 0)
		r = set_net_sysctls(p->note.bundle, err);
	return r < 0 ? r : rb_dad_suspend(&p->accept_dad, err);
}

static int settle(struct talk *t, struct rb_err *err)
{
	static const int ignored[] = {
		SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGUSR1, SIGUSR2
	};
	struct placeholder *p = t->p;
	sigset_t mask;
	int r;

	prctl(PR_SET_NAME, "reberth-holder");
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	setsid();
	/* `runc kill --all` and a terminal's hang-up mean the container, not us */
	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		signal(ignored[i], SIG_IGN);
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	t->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC);
	if (t->signal_fd < 0 || chdir("/") < 0)
		return rb_err_set(err, -errno, "start the placeholder");
	p->note.pid = getpid();
	p->note.starttime = rb_pid_starttime(p->note.pid);
	r = make_netns(p, err);
	if (r == 0)
		t->guard_fd = r = placeholder_guard(p, err);
	return r < 0 ? r : 0;
}

static void say(struct talk *t, const char *line)
{
	if (t->control_fd >= 0 && send(t->control_fd, line, strlen(line), MSG_NOSIGNAL) < 0)
		rb_close_fd(&t->control_fd);
}

/* How things stand: after the greeting, and whenever that changes. */
static void tell(struct talk *t)
{
	struct placeholder *p = t->p;
	char line[640];

	if (strcmp(p->note.state, "restored") == 0)
		snprintf(line, sizeof(line), "restored %d\n", (int)p->note.init);
	else if (strcmp(p->note.state, "failed") == 0)
		snprintf(line, sizeof(line), "failed %s\n", p->failure);
	else
		return;
	say(t, line);
}

/* Whoever reads an old note takes a container that runs for one that is still arriving. */
static void save(struct talk *t)
{
	t->unsaved = note_save(&t->p->note, NULL) < 0;
}

static void enter_state(struct talk *t, const char *state)
{
	snprintf(t->p->note.state, sizeof(t->p->note.state), "%s", state);
	save(t);
	tell(t);
}

static void greet(struct talk *t)
{
	struct placeholder *p = t->p;
	char line[64];

	t->control_fd = rb_criu_connect_at(p->dir, "control.sock", NULL);
	snprintf(line, sizeof(line), "hello %d %s\n", (int)p->note.pid, p->note.state);
	say(t, line);
	tell(t);
}

/* so that what it uses is the container's */
static void step_back(const struct placeholder *p)
{
	if (rb_cgroup_has_v1_freezer())
		rb_cgroup_move(p->note.pid, p->note.cgroup, true, true, NULL);
}

static void restore_failed(struct talk *t, const struct rb_err *err)
{
	struct placeholder *p = t->p;

	snprintf(p->failure, sizeof(p->failure), "%.500s", err->msg);
	for (char *c = p->failure; *c; c++)
		if (*c == '\n')
			*c = ' ';
	step_back(p);
	enter_state(t, "failed");
}

static void begin_restore(struct talk *t)
{
	struct rb_err err = {};
	int pid;

	if (t->runc > 0 || strcmp(t->p->note.state, "restored") == 0)
		return;
	/* all devices are there, and the container finds the settings as they were */
	if (!*t->p->shared_netns)
		rb_dad_resume(t->p->accept_dad);
	enter_state(t, "restoring");
	say(t, "restoring\n");
	if (placeholder_restore(t->p, &pid, &err) < 0)
		restore_failed(t, &err);
	else
		t->runc = pid;
}

/* The container's standard descriptors are its own now; we would keep its pipes open. */
static void drop_stdio(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = 0; fd >= 0 && i <= 2; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
}

static void runc_ended(struct talk *t, int status)
{
	struct placeholder *p = t->p;
	struct rb_err err = {};
	int init = placeholder_restore_done(p, status, &err);

	t->runc = 0;
	if (init < 0) {
		restore_failed(t, &err);
		return;
	}
	p->note.init = init;
	placeholder_watch_pager(p);
	drop_stdio();
	step_back(p);
	enter_state(t, "restored");
}

/* A worker that has not seen it run yet is told that it did, and may not be started again. One that
 * was killed may have been so by us, for want of its memory. */
static void leave_word(const struct placeholder *p, int status)
{
	char path[PATH_MAX];

	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return;
	if (access(p->dir, F_OK) == 0 && rb_path(path, sizeof(path), "%s/ended", p->dir) >= 0)
		rb_write_file(path, "", 0, 0600, false, NULL);
}

_Noreturn static void container_ended(struct talk *t, int status)
{
	leave_word(t->p, status);
	(void)!write(t->guard_fd, "x", 1);
	note_remove(t->p->note.id);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/*
 * While runc runs only it is reaped: init may end before runc tells us which process it is, and
 * its status must not be lost.
 */
static void reap(struct talk *t)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	(void)!read(t->signal_fd, &info, sizeof(info));
	if (t->runc > 0) {
		if (waitpid(t->runc, &status, WNOHANG) != t->runc)
			return;
		runc_ended(t, status);
	}
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == t->p->note.init)
			container_ended(t, status);
}

static void read_control(struct talk *t)
{
	struct rb_wait wait = rb_wait_within(NULL, LINE_MS);
	char line[64];

	if (rb_read_line(t->control_fd, line, sizeof(line), &wait, NULL) <= 0)
		rb_close_fd(&t->control_fd);
	else if (strcmp(line, "restore") == 0)
		begin_restore(t);
	/* runc would write to what is the container's standard error that it failed */
	else if (strcmp(line, "stop") == 0 && t->runc > 0)
		kill(t->runc, SIGKILL);
}

/* The worker removes the arrival's folder when it needs us no more. */
static bool is_forgotten(const struct talk *t)
{
	return strcmp(t->p->note.state, "restored") == 0 && access(t->p->dir, F_OK) < 0;
}

/* has this process a child that was killed, and that it does not fetch? */
static bool has_killed_child(pid_t pid)
{
	char path[64];
	_cleanup_closedir_ DIR *tasks = NULL;
	struct dirent *task;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	while (tasks && (task = readdir(tasks))) {
		_cleanup_buf_ struct rb_buf children = {};
		char list[128], *save = NULL;

		snprintf(list, sizeof(list), "/proc/%d/task/%.20s/children", (int)pid,
			 task->d_name);
		if (task->d_name[0] == '.' || rb_read_file(list, 0, &children, NULL) < 0)
			continue;
		for (char *word = strtok_r(children.data, " ", &save); word;
		     word = strtok_r(NULL, " ", &save))
			if (rb_pid_was_killed((pid_t)atoi(word)))
				return true;
	}
	return false;
}

/*
 * A CRIU that is killed while it makes tasks leaves them waiting for it, with its connection to
 * runc open; so runc waits, too, and for ever. We end that.
 */
static void watch_runc(struct talk *t)
{
	if (t->runc <= 0 || !has_killed_child(t->runc)) {
		t->dead_looks = 0;
		return;
	}
	if (++t->dead_looks * WATCH_MS >= DEAD_MS)
		kill(t->runc, SIGKILL);
}

static int patience_ms(const struct talk *t, bool lonely)
{
	if (t->runc > 0 || t->unsaved)
		return WATCH_MS;
	return lonely ? RECONNECT_MS : -1;
}

_Noreturn void placeholder_run(struct placeholder *p, int ready_fd)
{
	struct talk t = { .p = p, .control_fd = -EBADF, .signal_fd = -EBADF, .guard_fd = -EBADF };
	struct rb_err err = {};

	if (settle(&t, &err) < 0) {
		(void)!write(ready_fd, err.msg, strlen(err.msg));
		_exit(1);
	}
	(void)!write(ready_fd, "\n", 1);
	close(ready_fd);
	for (;;) {
		struct pollfd fds[2] = { { .fd = t.signal_fd, .events = POLLIN },
					 { .fd = t.control_fd, .events = POLLIN } };
		bool lonely = t.control_fd < 0 && !is_forgotten(&t);

		if (poll(fds, 2, patience_ms(&t, lonely)) < 0)
			continue;
		watch_runc(&t);
		if (t.unsaved)
			save(&t);
		if (fds[0].revents)
			reap(&t);
		if (fds[1].revents && t.control_fd >= 0)
			read_control(&t);
		else if (t.control_fd < 0 && lonely)
			greet(&t);
	}
}
