// SPDX-License-Identifier: Apache-2.0
/*
 * arrival.c - the worker's side of an arrival (arrival.h has the lines spoken)
 *
 * Two listening sockets and at most one connection on each: the placeholder's and the action
 * script's. Both come again after the worker that listened before was killed, and both say at once
 * how things stand, so a worker that recovers knows as much as its predecessor.
 */
#include "arrival.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "dump.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "masked.h"
#include "wait.h"
#include "workdir.h"

enum { LINE_MS = 2000, LOOK_MS = 1, NONE = -EBADF };

enum state { UNKNOWN, WAITING, RESTORING, RESTORED, FAILED };

static const char *const state_names[] = {
	[WAITING] = "waiting",
	[RESTORING] = "restoring",
	[RESTORED] = "restored",
	[FAILED] = "failed",
};

struct rb_arrival {
	char dir[PATH_MAX]; /* <run_dir>/arrivals/<id> */
	int control_listen_fd, control_fd, placeholder_pidfd;
	int hold_listen_fd, hold_fd;
	int placeholder_pid, init_pid;
	enum state state;
	bool asked; /* "restore" was said; until it is answered, an old "failed" means nothing */
	char message[512];
};

static int arrival_dir(const char *run_dir, const char *container_id, char *ret, size_t size,
		       struct rb_err *err)
{
	if (!rb_criu_id_valid(container_id) || !rb_criu_path_valid(run_dir))
		return rb_err_code(err, RB_E_USAGE, -EINVAL, "'%s' is not a container id",
				   container_id);
	if (rb_path(ret, size, "%s/arrivals/%s", run_dir, container_id) < 0)
		return rb_err_set(err, -ENAMETOOLONG, "name the folder of arrival %s",
				  container_id);
	return 0;
}

static int write_ticket(const char *dir, const char *migration, const char *work_dir,
			struct rb_err *err)
{
	_cleanup_json_ json_t *ticket = json_pack("{s:s, s:s, s:i}", "migration", migration,
						  "work_dir", work_dir, "pid", (int)getpid());
	char path[PATH_MAX];

	if (!ticket)
		return rb_err_set(err, -ENOMEM, "write the arrival ticket");
	if (rb_path(path, sizeof(path), "%s/ticket.json", dir) < 0)
		return rb_err_set(err, -ENAMETOOLONG, "write the arrival ticket");
	return rb_json_save(path, ticket, false, err);
}

static int write_config(const char *dir, const char *work_dir, struct rb_err *err)
{
	char socket[PATH_MAX], work[PATH_MAX], resumed[PATH_MAX], env[6 * PATH_MAX];
	int r = rb_path(socket, sizeof(socket), "%s/hold.sock", dir);

	if (r == 0)
		r = rb_path(work, sizeof(work), "%s/work", work_dir);
	if (r == 0)
		r = rb_path(resumed, sizeof(resumed), "%s/resumed", dir);
	if (r == 0)
		r = rb_path(env, sizeof(env),
			    "REBERTH_SHARED=%s/shared\nREBERTH_IPC=%s/ipc\n"
			    "REBERTH_TMPFS=%s/tmpfs\n"
			    "REBERTH_MASKED=%s/" RB_MASKED "\n"
			    "REBERTH_IMAGES=%s/images\n",
			    work_dir, work_dir, work_dir, work_dir, dir);
	if (r < 0)
		return rb_err_set(err, r, "use work folder '%s'", work_dir);
	r = rb_mkdir_p(work, 0700, err);
	if (r == 0)
		r = rb_criu_write_config(work_dir, "", err);
	if (r == 0)
		r = rb_criu_write_wrapper(work_dir, env, err);
	return r < 0 ? r
		     : rb_criu_write_script(work_dir, "post-setup-namespaces post-restore",
					    "pre-restore pre-resume", socket, resumed, err);
}

int rb_arrival_open(const char *run_dir, const char *migration, const char *container_id,
		    const char *work_dir, struct rb_arrival **ret, struct rb_err *err)
{
	struct rb_arrival *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return rb_err_set(err, -ENOMEM, "open an arrival");
	a->control_listen_fd = a->control_fd = a->placeholder_pidfd = NONE;
	a->hold_listen_fd = a->hold_fd = NONE;
	r = arrival_dir(run_dir, container_id, a->dir, sizeof(a->dir), err);
	if (r == 0 && !rb_criu_path_valid(work_dir))
		r = rb_err_code(err, RB_E_USAGE, -EINVAL,
				"'%s' cannot be a work folder: its path must be plain", work_dir);
	if (r == 0)
		r = rb_mkdir_p(a->dir, 0700, err);
	if (r == 0)
		r = write_config(a->dir, work_dir, err);
	if (r == 0)
		r = a->control_listen_fd = rb_criu_listen_at(a->dir, "control.sock", err);
	if (r >= 0)
		r = a->hold_listen_fd = rb_criu_listen_at(a->dir, "hold.sock", err);
	/* a ticket is used once: none for a placeholder that is there already */
	if (r >= 0)
		r = rb_criu_placeholder_pid(run_dir, container_id) > 0
			    ? 0
			    : write_ticket(a->dir, migration, work_dir, err);
	if (r < 0) {
		rb_arrival_close(a, false);
		return r;
	}
	*ret = a;
	return 0;
}

void rb_arrival_close(struct rb_arrival *a, bool forget)
{
	if (!a)
		return;
	rb_close_fd(&a->control_fd);
	rb_close_fd(&a->control_listen_fd);
	rb_close_fd(&a->placeholder_pidfd);
	rb_close_fd(&a->hold_fd);
	rb_close_fd(&a->hold_listen_fd);
	if (forget)
		rb_rm_rf(a->dir, NULL);
	free(a);
}

void rb_arrival_forget(const char *run_dir, const char *container_id)
{
	char dir[PATH_MAX];

	if (arrival_dir(run_dir, container_id, dir, sizeof(dir), NULL) == 0)
		rb_rm_rf(dir, NULL);
}

static int accept_and_read(int listen_fd, char *line, size_t size)
{
	struct rb_wait wait = rb_wait_within(NULL, LINE_MS);
	_cleanup_close_ int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0 || rb_read_line(fd, line, size, &wait, NULL) <= 0)
		return NONE;
	return TAKE_FD(fd);
}

static void accept_control(struct rb_arrival *a)
{
	char line[64], state[16];
	_cleanup_close_ int fd = accept_and_read(a->control_listen_fd, line, sizeof(line));
	int pid;

	if (fd < 0 || sscanf(line, "hello %d %15s", &pid, state) != 2 || pid <= 1)
		return;
	rb_close_fd(&a->control_fd);
	if (pid != a->placeholder_pid) {
		rb_close_fd(&a->placeholder_pidfd);
		a->placeholder_pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	}
	a->control_fd = TAKE_FD(fd);
	a->placeholder_pid = pid;
	a->state = UNKNOWN;
	for (size_t i = WAITING; i < ARRAY_SIZE(state_names); i++)
		if (strcmp(state, state_names[i]) == 0)
			a->state = (enum state)i;
}

static void accept_hold(struct rb_arrival *a)
{
	char line[64];
	_cleanup_close_ int fd = accept_and_read(a->hold_listen_fd, line, sizeof(line));
	int pid;

	if (fd < 0 || sscanf(line, "held %d", &pid) != 1 || pid <= 1)
		return;
	rb_close_fd(&a->hold_fd);
	a->hold_fd = TAKE_FD(fd);
	a->init_pid = pid;
}

/* A line from the placeholder. "restored" and "failed" repeat the greeting, with details. */
static void read_control(struct rb_arrival *a)
{
	struct rb_wait wait = rb_wait_within(NULL, LINE_MS);
	char line[640];
	int pid;

	if (rb_read_line(a->control_fd, line, sizeof(line), &wait, NULL) <= 0) {
		rb_close_fd(&a->control_fd);
	} else if (strcmp(line, "restoring") == 0) {
		a->state = RESTORING;
		a->asked = false;
	} else if (sscanf(line, "restored %d", &pid) == 1) {
		a->state = RESTORED;
		a->asked = false;
		a->init_pid = pid;
	} else if (strncmp(line, "failed ", 7) == 0) {
		a->state = FAILED;
		snprintf(a->message, sizeof(a->message), "%.511s", line + 7);
	}
}

/* Wait for the next thing to happen and take note of it. */
static int pump(struct rb_arrival *a, const struct rb_wait *wait, struct rb_err *err)
{
	struct pollfd fds[] = {
		{ .fd = a->control_listen_fd, .events = POLLIN },
		{ .fd = a->control_fd, .events = POLLIN },
		{ .fd = a->hold_listen_fd, .events = POLLIN },
		{ .fd = a->hold_fd, .events = POLLIN },
		{ .fd = a->placeholder_pidfd, .events = POLLIN },
		{ .fd = wait ? wait->cancel_fd : NONE, .events = POLLIN },
	};
	int r = poll(fds, ARRAY_SIZE(fds), rb_wait_left_ms(wait));

	if (r < 0 && errno != EINTR)
		return rb_err_set(err, -errno, "wait for the placeholder");
	if (r == 0)
		return rb_err_set(err, -ETIMEDOUT, "wait for the restored container");
	if (fds[5].revents)
		return rb_err_set(err, -ECANCELED, "wait for the restored container");
	if (fds[1].revents)
		read_control(a);
	if (fds[0].revents)
		accept_control(a);
	/* all the script ever says comes first, so this is its end */
	if (fds[3].revents)
		rb_close_fd(&a->hold_fd);
	if (fds[2].revents)
		accept_hold(a);
	if (fds[4].revents)
		return rb_err_code(err, RB_E_CRIU, -EIO,
				   "the placeholder process of the container was killed");
	return 0;
}

int rb_arrival_wait_placeholder(struct rb_arrival *a, int *ret_pid, const struct rb_wait *wait,
				struct rb_err *err)
{
	while (a->control_fd < 0) {
		int r = pump(a, wait, err);

		if (r < 0)
			return r;
	}
	*ret_pid = a->placeholder_pid;
	return 0;
}

/* what the placeholder has said meanwhile */
static void catch_up(struct rb_arrival *a)
{
	struct rb_wait now = rb_wait_within(NULL, 0);

	while (pump(a, &now, NULL) == 0)
		;
}

/* the words of a restore before */
static void take_back_words(const struct rb_arrival *a)
{
	static const char *const words[] = { "images", "pages", "abort" };
	char path[PATH_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (rb_path(path, sizeof(path), "%s/%s", a->dir, words[i]) == 0)
			unlink(path);
}

int rb_arrival_restore(struct rb_arrival *a, const struct rb_wait *wait, struct rb_err *err)
{
	int pid, r = rb_arrival_wait_placeholder(a, &pid, wait, err);

	if (r < 0)
		return r;
	catch_up(a);
	if (a->asked || a->state == RESTORING)
		return 0;
	take_back_words(a);
	a->asked = true;
	a->message[0] = '\0';
	r = rb_write_all(a->control_fd, "restore\n", 8);
	return r < 0 ? rb_err_set(err, r, "speak to the placeholder") : 0;
}

static int failure(const struct rb_arrival *a, struct rb_err *err)
{
	return rb_err_code(err, RB_E_CRIU, -EIO, "%s",
			   *a->message ? a->message : "the container could not be restored");
}

int rb_arrival_wait_held(struct rb_arrival *a, int *ret_init_pid, const struct rb_wait *wait,
			 struct rb_err *err)
{
	while (a->hold_fd < 0) {
		int r;

		if (a->state == FAILED && !a->asked && *a->message)
			return failure(a, err);
		r = pump(a, wait, err);
		if (r < 0)
			return r;
	}
	*ret_init_pid = a->init_pid;
	return 0;
}

/* a file that CRIU's action script looks for */
static int leave_word(const struct rb_arrival *a, const char *name, struct rb_err *err)
{
	char path[PATH_MAX];
	int r = rb_path(path, sizeof(path), "%s/%s", a->dir, name);

	return r < 0 ? rb_err_set(err, r, "name '%s'", name)
		     : rb_write_file(path, "", 0, 0600, false, err);
}

int rb_arrival_images(struct rb_arrival *a, struct rb_err *err)
{
	return leave_word(a, "images", err);
}

int rb_arrival_pages(struct rb_arrival *a, struct rb_err *err)
{
	return leave_word(a, "pages", err);
}

int rb_arrival_call_off(struct rb_arrival *a, const struct rb_wait *wait, struct rb_err *err)
{
	bool told = false;
	int r = 0;

	catch_up(a);
	while (r >= 0 && (a->asked || a->state == RESTORING)) {
		/* said again to one that comes anew */
		if (a->control_fd < 0)
			told = false;
		else if (!told && rb_write_all(a->control_fd, "stop\n", 5) < 0)
			rb_close_fd(&a->control_fd);
		else
			told = true;
		r = pump(a, wait, err);
	}
	/* to a CRIU that runc had not yet put among the container's processes */
	return r < 0 ? r : leave_word(a, "abort", err);
}

int rb_arrival_release(struct rb_arrival *a, bool go, const struct rb_wait *wait,
		       struct rb_err *err)
{
	const char *word = go ? "go\n" : "abort\n";
	int pid, r;

	/* a CRIU that still waits for pages is not held yet */
	if (!go)
		leave_word(a, "abort", NULL);
	r = rb_arrival_wait_held(a, &pid, wait, err);

	if (r < 0)
		return r;
	if (send(a->hold_fd, word, strlen(word), MSG_NOSIGNAL) < 0)
		return rb_err_set(err, -errno, "speak to CRIU's action script");
	return 0;
}

bool rb_arrival_lost(struct rb_arrival *a)
{
	struct pollfd fd = { .fd = a->hold_fd, .events = POLLIN };

	/* all the script ever says comes first, so this is its end */
	if (a->hold_fd < 0 || poll(&fd, 1, 0) <= 0)
		return false;
	rb_close_fd(&a->hold_fd);
	return true;
}

static bool has_word(const char *dir, const char *name)
{
	char path[PATH_MAX];

	return rb_path(path, sizeof(path), "%s/%s", dir, name) >= 0 && access(path, F_OK) == 0;
}

bool rb_arrival_was_released(const char *run_dir, const char *container_id)
{
	char dir[PATH_MAX];

	return arrival_dir(run_dir, container_id, dir, sizeof(dir), NULL) >= 0 &&
	       has_word(dir, "released");
}

bool rb_arrival_has_ended(const char *run_dir, const char *container_id)
{
	char dir[PATH_MAX];

	return arrival_dir(run_dir, container_id, dir, sizeof(dir), NULL) >= 0 &&
	       has_word(dir, "ended");
}

int rb_arrival_wait_resumed(struct rb_arrival *a, const struct rb_wait *wait, struct rb_err *err)
{
	while (a->state != RESTORED && !has_word(a->dir, "resumed")) {
		struct rb_wait look = rb_wait_within(wait, LOOK_MS);
		struct rb_err why = {};
		int r;

		if (a->state == FAILED && !a->asked && *a->message)
			return failure(a, err);
		r = pump(a, &look, &why);
		if (r < 0 && (r != -ETIMEDOUT || rb_wait_left_ms(wait) == 0)) {
			*err = why;
			return r;
		}
	}
	return 0;
}

int rb_arrival_wait_running(struct rb_arrival *a, int *ret_init_pid, const struct rb_wait *wait,
			    struct rb_err *err)
{
	while (a->state != RESTORED || a->init_pid <= 0) {
		int r;

		if (a->state == FAILED && !a->asked && *a->message)
			return failure(a, err);
		r = pump(a, wait, err);
		if (r < 0)
			return r;
	}
	*ret_init_pid = a->init_pid;
	return 0;
}

/*
 * runc writes its state before CRIU holds the tasks, and the action script leaves the file
 * "released" behind when it has let them go. An arrival that was forgotten is long running.
 */
int rb_arrival_probe(const char *run_dir, const char *runtime_root, const char *container_id,
		     struct rb_err *err)
{
	char dir[PATH_MAX];
	struct rb_err why = {};
	int pid, r = arrival_dir(run_dir, container_id, dir, sizeof(dir), err);

	if (r < 0)
		return r;
	r = rb_criu_init_pid(runtime_root, container_id, &pid, &why);
	if (r == -ENOENT || r == -ESRCH)
		return 0;
	if (r < 0) {
		if (err)
			*err = why;
		return r;
	}
	return access(dir, F_OK) < 0 || rb_arrival_was_released(run_dir, container_id) ? 2 : 1;
}
