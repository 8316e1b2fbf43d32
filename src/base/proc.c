// SPDX-License-Identifier: Apache-2.0
/*
 * proc.c - start other programs and wait for them within a deadline
 */
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "wait.h"

#define OUTPUT_MAX_BYTES ((size_t)16 << 20)

/* what we had before rb_raise_files_limit(); rlim_max 0: we never said that */
static struct rlimit files_limit;

void rb_raise_files_limit(void)
{
	struct rlimit limit;

	if (files_limit.rlim_max || getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	files_limit = limit;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void child_exec(const struct rb_spawn *spec, int null_fd, int report_fd)
{
	int fds[3] = { spec->stdin_fd > 0 ? spec->stdin_fd : null_fd,
		       spec->stdout_fd > 0 ? spec->stdout_fd : null_fd,
		       spec->stderr_fd > 0 ? spec->stderr_fd : STDERR_FILENO };
	sigset_t blocked;
	int failed;

	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&blocked);
	if (spec->term_blocked)
		sigaddset(&blocked, SIGTERM);
	sigprocmask(SIG_SETMASK, &blocked, NULL);
	if (spec->die_with_us)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (spec->new_session)
		setsid();
	if (spec->netns_fd > 0 && setns(spec->netns_fd, CLONE_NEWNET) < 0)
		goto fail;
	if (spec->private_mounts &&
	    (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0))
		goto fail;
	if (spec->cwd && chdir(spec->cwd) < 0)
		goto fail;
	/* first out of the way of 0..2, then into place; report_fd is close-on-exec */
	for (int i = 0; i < 3; i++) {
		fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		if (fds[i] < 0)
			goto fail;
	}
	for (int i = 0; i < 3; i++)
		if (dup2(fds[i], i) < 0)
			goto fail;
	for (size_t i = 0; spec->env && spec->env[i]; i++)
		putenv((char *)spec->env[i]);
	if (files_limit.rlim_max)
		setrlimit(RLIMIT_NOFILE, &files_limit);
	execvp(spec->argv[0], (char *const *)spec->argv);
fail:
	failed = errno;
	if (write(report_fd, &failed, sizeof(failed)) < 0)
		_exit(126);
	_exit(127);
}

int rb_spawn(const struct rb_spawn *spec, struct rb_child *ret, struct rb_err *err)
{
	_cleanup_close_ int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	_cleanup_close_ int report_rd = -EBADF, report_wr = -EBADF;
	int report[2], failed = 0;
	struct rb_child child = { .pidfd = -EBADF };

	if (null_fd < 0 || pipe2(report, O_CLOEXEC) < 0)
		return rb_err_set(err, -errno, "start '%s'", spec->argv[0]);
	report_rd = report[0];
	report_wr = fcntl(report[1], F_DUPFD_CLOEXEC, 3);
	close(report[1]);
	child.pid = fork();
	if (child.pid < 0)
		return rb_err_set(err, -errno, "start '%s'", spec->argv[0]);
	if (child.pid == 0)
		child_exec(spec, null_fd, report_wr);
	rb_close_fd(&report_wr);
	/* end of file here means that exec succeeded */
	if (rb_read_all(report_rd, &failed, sizeof(failed)) == sizeof(failed)) {
		waitpid(child.pid, NULL, 0);
		return rb_err_set(err, -failed, "start '%s'", spec->argv[0]);
	}
	child.pidfd = (int)syscall(SYS_pidfd_open, child.pid, 0);
	if (child.pidfd < 0) {
		int saved = -errno;

		kill(child.pid, SIGKILL);
		waitpid(child.pid, NULL, 0);
		return rb_err_set(err, saved, "watch '%s'", spec->argv[0]);
	}
	*ret = child;
	return 0;
}

static int reap(struct rb_child *child)
{
	int status = 0;

	while (waitpid(child->pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	rb_close_fd(&child->pidfd);
	return status;
}

int rb_child_wait(struct rb_child *child, const struct rb_wait *wait, struct rb_err *err)
{
	int r = rb_wait_fd(child->pidfd, POLLIN, wait, err);

	if (r < 0) {
		/* its own session's group, when it has one, holds its children too */
		if (getpgid(child->pid) == child->pid)
			kill(-child->pid, SIGKILL);
		kill(child->pid, SIGKILL);
		reap(child);
		return r;
	}
	r = reap(child);
	return r < 0 ? rb_err_set(err, r, "wait for process %d", (int)child->pid) : r;
}

/* reads both pipes until both have ended */
static int collect(int out_fd, int err_fd, struct rb_buf *out, struct rb_buf *errtext,
		   const struct rb_wait *wait, struct rb_err *err)
{
	struct pollfd fds[3] = { { .fd = out_fd, .events = POLLIN },
				 { .fd = err_fd, .events = POLLIN },
				 { .fd = wait ? wait->cancel_fd : -1, .events = POLLIN } };
	struct rb_buf *bufs[2] = { out, errtext };

	while (fds[0].fd >= 0 || fds[1].fd >= 0) {
		int n = poll(fds, 3, rb_wait_left_ms(wait));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return rb_err_set(err, -errno, "poll");
		if (n == 0)
			return rb_err_code(err, RB_E_TIMEOUT, -ETIMEDOUT,
					   "it took longer than allowed");
		if (fds[2].revents)
			return rb_err_code(err, RB_E_CANCELED, -ECANCELED, "cancelled");
		for (int i = 0; i < 2; i++) {
			char chunk[16384];
			ssize_t got;

			if (!fds[i].revents)
				continue;
			got = read(fds[i].fd, chunk, sizeof(chunk));
			if (got <= 0) {
				fds[i].fd = -1;
				continue;
			}
			if (bufs[i]->len < OUTPUT_MAX_BYTES &&
			    rb_buf_add(bufs[i], chunk, (size_t)got) < 0)
				return rb_err_set(err, -ENOMEM, "collect output");
		}
	}
	return 0;
}

static const char *last_line(struct rb_buf *text)
{
	char *nl;

	while (text->len && (text->data[text->len - 1] == '\n' || text->data[text->len - 1] == ' '))
		text->data[--text->len] = '\0';
	if (!text->len)
		return "it printed no reason";
	nl = memrchr(text->data, '\n', text->len);
	return nl ? nl + 1 : text->data;
}

int rb_run(const struct rb_spawn *spec, const struct rb_wait *wait, struct rb_buf *ret_out,
	   struct rb_err *err)
{
	_cleanup_close_ int out_rd = -EBADF, out_wr = -EBADF, err_rd = -EBADF, err_wr = -EBADF;
	_cleanup_buf_ struct rb_buf out = {}, errtext = {};
	struct rb_wait at_once = { .cancel_fd = -EBADF, .deadline_ms = 1 };
	struct rb_spawn piped = *spec;
	struct rb_child child;
	int out_pipe[2], err_pipe[2], r, status;

	if (pipe2(out_pipe, O_CLOEXEC) < 0)
		return rb_err_set(err, -errno, "run '%s'", spec->argv[0]);
	out_rd = out_pipe[0], out_wr = out_pipe[1];
	if (pipe2(err_pipe, O_CLOEXEC) < 0)
		return rb_err_set(err, -errno, "run '%s'", spec->argv[0]);
	err_rd = err_pipe[0], err_wr = err_pipe[1];
	piped.stdout_fd = out_wr;
	piped.stderr_fd = err_wr;
	r = rb_spawn(&piped, &child, err);
	if (r < 0)
		return r;
	rb_close_fd(&out_wr);
	rb_close_fd(&err_wr);
	r = collect(out_rd, err_rd, &out, &errtext, wait, err);
	if (r < 0) {
		rb_child_wait(&child, &at_once, NULL);
		return rb_err_wrap(err, r, "run '%s'", spec->argv[0]);
	}
	status = rb_child_wait(&child, wait, err);
	if (status < 0)
		return rb_err_wrap(err, status, "run '%s'", spec->argv[0]);
	if (status != 0) {
		if (WIFSIGNALED(status))
			return rb_err_code(err, RB_E_INTERNAL, -EIO,
					   "'%s' was ended by signal %d (%s)", spec->argv[0],
					   WTERMSIG(status), strsignal(WTERMSIG(status)));
		return rb_err_code(err, RB_E_INTERNAL, -EIO, "'%s' failed with status %d: %s",
				   spec->argv[0], WEXITSTATUS(status), last_line(&errtext));
	}
	if (ret_out) {
		*ret_out = out;
		out = (struct rb_buf){};
	}
	return 0;
}

/* the fields behind the command name, which may hold spaces and brackets itself */
static const char *stat_fields(pid_t pid, struct rb_buf *buf)
{
	char path[64];
	const char *end;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (rb_read_file(path, 0, buf, NULL) < 0)
		return NULL;
	end = strrchr(buf->data, ')');
	return end ? end + 2 : NULL;
}

/* a number of /proc/PID/stat; 0: there is none */
static unsigned long long stat_number(pid_t pid, int field)
{
	_cleanup_buf_ struct rb_buf buf = {};
	const char *at = stat_fields(pid, &buf);

	/* field 3 (state) comes first here */
	for (int i = 3; at && i < field; i++) {
		at = strchr(at, ' ');
		if (at)
			at++;
	}
	return at ? strtoull(at, NULL, 10) : 0;
}

unsigned long long rb_pid_starttime(pid_t pid)
{
	return stat_number(pid, 22);
}

pid_t rb_pid_parent(pid_t pid)
{
	return (pid_t)stat_number(pid, 4);
}

bool rb_pid_was_killed(pid_t pid)
{
	_cleanup_buf_ struct rb_buf buf = {};
	const char *fields = stat_fields(pid, &buf);

	return fields && fields[0] == 'Z' && WIFSIGNALED((int)stat_number(pid, 52));
}

bool rb_pid_is_stopped(pid_t pid)
{
	_cleanup_buf_ struct rb_buf buf = {};
	const char *fields = stat_fields(pid, &buf);

	return fields && fields[0] == 'T';
}

bool rb_pid_alive(pid_t pid, unsigned long long starttime)
{
	_cleanup_buf_ struct rb_buf buf = {};
	const char *fields;

	if (pid <= 0 || starttime == 0 || rb_pid_starttime(pid) != starttime)
		return false;
	fields = stat_fields(pid, &buf);
	return fields && fields[0] != 'Z' && fields[0] != 'X';
}

bool rb_pid_is_gone(pid_t pid, unsigned long long starttime)
{
	unsigned long long now;

	if (kill(pid, 0) < 0 && errno == ESRCH)
		return true;
	now = rb_pid_starttime(pid);
	return now != 0 && (now != starttime || !rb_pid_alive(pid, now));
}

int rb_boot_id(char ret[37], struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf buf = {};
	int r = rb_read_file("/proc/sys/kernel/random/boot_id", 128, &buf, err);

	if (r < 0)
		return r;
	if (buf.len < 36)
		return rb_err_code(err, RB_E_INTERNAL, -EIO, "the kernel's boot id is too short");
	memcpy(ret, buf.data, 36);
	ret[36] = '\0';
	return 0;
}

static int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

int rb_close_others(int *fds, size_t n)
{
	unsigned int from = 3;
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null_fd < 0)
		return -errno;
	dup2(null_fd, STDIN_FILENO);
	dup2(null_fd, STDOUT_FILENO);
	qsort(fds, n, sizeof(*fds), compare);
	for (size_t i = 0; i < n; i++) {
		if (fds[i] < (int)from)
			continue;
		if (fds[i] > (int)from)
			syscall(SYS_close_range, from, (unsigned int)fds[i] - 1, 0);
		from = (unsigned int)fds[i] + 1;
	}
	syscall(SYS_close_range, from, ~0U, 0);
	return 0;
}
