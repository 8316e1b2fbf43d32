// SPDX-License-Identifier: Apache-2.0
/*
 * pager.c - gives restored processes their pages when they touch them: the process and its loop
 *
 *   started ---> CRIU connects, hands over tasks ---> finished ---> released ---> all placed
 *                  |  faults are served from the first task on, nothing else         |
 *                  |  is placed, and the store keeps its memory: a restore that      |
 *                  |  fails can be repeated from it                                  |
 *                  `--> connection ends early, or the keeper does: kill, end         `--> end
 *
 * finished (CRIU's last word) and released (a file) come in any order; pages are placed unasked
 * only after both, for before the first a missing mapping may just not be registered yet.
 *
 * One thread: the kernel's events, CRIU, pidfds of keeper and guard, and the folder where the file
 * appears are all in one epoll. When nothing is ready it places a batch of pages, the most recently
 * written first, and looks again.
 *
 * Whatever is wrong here (no memory, a message that makes no sense) ends the pager without a
 * farewell, and the guard (pager_guard.c) kills the container. The worst that can happen is that
 * the container is lost; it never runs on memory that is not its own.
 */
#include "pager.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "log.h"
#include "pager_internal.h"
#include "proc.h"
#include "store.h"
#include "wait.h"

enum {
	EVENTS = 64,
	BUSY_ROUNDS = 16, /* then a batch is placed though there are faults */
	YIELDS = 64,	  /* before a stalled change is waited for by the clock */
	STALLED_MS = 1,
	LOOK_MS = 20, /* for released_path, where inotify fails */
	PROBE_MS = 1000,
};

static int watch_fd(const struct rb_pager *p, int *fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = fd };

	return epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, *fd, &event) < 0 ? -errno : 0;
}

/* Its folder is removed when the migration is over: sooner than we have looked, maybe. Without the
 * tasks having been let go CRIU would not have finished. */
static bool is_released(const struct rb_pager *p)
{
	char folder[PATH_MAX];

	if (access(p->released_path, F_OK) == 0)
		return true;
	memcpy(folder, p->released_path, sizeof(folder));
	return p->finished && !p->broken && access(dirname(folder), F_OK) < 0;
}

static void look_for_release(struct rb_pager *p)
{
	char events[4096] __attribute__((aligned(8)));

	while (p->inotify_fd >= 0 && read(p->inotify_fd, events, sizeof(events)) > 0)
		;
	if (p->released || !is_released(p))
		return;
	p->released = true;
	p->sweeping = rb_pager_fetches(p);
	rb_close_fd(&p->inotify_fd);
	/* nobody will restore from this store again */
	rb_store_hold(p->store, false);
}

static int handle(struct rb_pager *p, void *source)
{
	if (source == &p->listen_fd)
		return p->listen_fd >= 0 ? rb_pager_accept(p) : 0;
	if (source == &p->conn_fd)
		return rb_pager_receive(p);
	if (source == &p->inotify_fd) {
		look_for_release(p);
		return 0;
	}
	if (source == &p->keeper_fd) {
		p->broken = true;
		return 0;
	}
	if (source == &p->guard_fd)
		return rb_pager_guard_start(p);
	for (int i = 0; i < RB_PAGER_FETCHERS; i++)
		if (source == &p->fetchers[i])
			return rb_pager_read_fetcher(p, source);
	return rb_pager_read_task(p, source);
}

/* What comes from the source is placed as it comes, the rest afterwards. */
static bool may_place(const struct rb_pager *p)
{
	return p->finished && p->released && !rb_pager_fetches(p);
}

/* How long to wait for something to happen, in ms. */
static int patience(const struct rb_pager *p)
{
	if (p->stalls > YIELDS)
		return STALLED_MS;
	if (p->stalls) {
		sched_yield();
		return 0;
	}
	if (may_place(p) || p->sweeping)
		return 0;
	if (!p->released && p->inotify_fd < 0)
		return LOOK_MS;
	return rb_pager_fetches(p) ? PROBE_MS : -1;
}

static void remove_tasks(struct rb_pager *p,
			 bool (*which)(const struct rb_pager *p, const struct rb_pager_task *task))
{
	for (size_t i = p->n_tasks; i-- > 0;)
		if (which(p, p->tasks[i]))
			rb_pager_remove_task(p, i);
}

static bool is_gone(const struct rb_pager *p, const struct rb_pager_task *task)
{
	(void)p;
	return task->gone;
}

static bool has_all(const struct rb_pager *p, const struct rb_pager_task *task)
{
	return rb_store_pages(p->store, task->number) == 0;
}

/* A process that ends, or calls exec(2), says nothing of it; commonly that is found out when pages
 * are placed. While they are fetched, which may last, none may be, and what its parent has left at
 * the fork would be kept for a child that is long gone. */
static void probe(struct rb_pager *p)
{
	int64_t now_ms = rb_now_ms();

	if (now_ms - p->probed_ms < PROBE_MS)
		return;
	p->probed_ms = now_ms;
	for (size_t i = 0; i < p->n_tasks; i++)
		p->tasks[i]->gone |= rb_pager_is_gone(p->tasks[i]);
}

/*
 * Lets go of tasks that need nothing any more, so that nothing of us is left in them. An event that
 * was not read yet changes nothing for one that has all: who forks has no less than its child,
 * because nothing is placed between the fork and the reading of its event.
 *
 * Return: true when that were all.
 */
static bool sweep(struct rb_pager *p)
{
	if (rb_pager_fetches(p))
		probe(p);
	remove_tasks(p, is_gone);
	if (!rb_pager_fetches(p) && !p->broken)
		rb_pager_leave_source(p);
	if (!may_place(p))
		return false;
	/* no task, no pages: those of others were forgotten when CRIU was done */
	if (rb_store_total(p->store) == 0)
		rb_pager_all_placed(p);
	remove_tasks(p, has_all);
	return p->n_tasks == 0;
}

static int one_round(struct rb_pager *p, unsigned int *busy)
{
	struct epoll_event events[EVENTS];
	int n = epoll_wait(p->epoll_fd, events, EVENTS, patience(p)), r = 0;
	unsigned int stalls = p->stalls;
	bool later = false;

	if (n < 0 && errno != EINTR)
		return -errno;
	for (int i = 0; i < n && r >= 0; i++)
		r = handle(p, events[i].data.ptr);
	if (!p->released && (n == 0 || p->finished))
		look_for_release(p);
	for (size_t i = 0; i < p->n_tasks && r >= 0; i++) {
		if (p->tasks[i]->faults.n)
			r = rb_pager_serve(p, p->tasks[i]);
		later |= p->tasks[i]->faults.n > 0;
	}
	if (r >= 0)
		r = rb_pager_stream(p);
	*busy = n > 0 ? *busy + 1 : 0;
	if (r >= 0 && may_place(p) && (n <= 0 || *busy > BUSY_ROUNDS)) {
		*busy = 0;
		r = rb_pager_background(p);
		if (r > 0)
			p->stalls = 0;
		later |= r == -EAGAIN;
		r = r == -EAGAIN ? 0 : r;
	}
	/* one that was noted where an event was read stays until the next time */
	if (later)
		p->stalls++;
	else if (p->stalls == stalls)
		p->stalls = 0;
	return r;
}

static int serve(struct rb_pager *p)
{
	unsigned int busy = 0;

	while (!p->broken) {
		int r = one_round(p, &busy);

		if (r < 0) {
			rb_warn("pager: the container is killed, for memory of it cannot be given "
				"to it: %s",
				strerror(-r));
			return r;
		}
		if (sweep(p))
			return 0;
	}
	if (p->ever && !p->lost)
		rb_warn("pager: the container is killed: its restore failed, or its placeholder "
			"ended, before all memory was in place");
	if (p->ever)
		rb_pager_kill(p);
	if (!p->lost)
		rb_pager_leave_source(p);
	rb_pager_all_placed(p);
	return 0;
}

static void settle(void)
{
	static const int deadly[] = { SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE,
				      SIGILL,  SIGABRT, SIGTRAP, SIGSYS };
	struct rlimit limit;
	sigset_t none;

	prctl(PR_SET_NAME, "reberth-pager");
	sigemptyset(&none);
	for (int sig = 1; sig < NSIG; sig++) {
		bool keep = false;

		for (size_t i = 0; i < ARRAY_SIZE(deadly); i++)
			keep |= sig == deadly[i];
		signal(sig, keep || sig == SIGCHLD ? SIG_DFL : SIG_IGN);
	}
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* each process that the container forks has a descriptor here for a while */
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	/* where that is not allowed it has to do without */
	rb_write_knob("/proc/self/oom_score_adj", "-1000", NULL);
	(void)!chdir("/");
}

static void watch_folder(struct rb_pager *p)
{
	char path[PATH_MAX];

	p->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (p->inotify_fd < 0)
		return;
	memcpy(path, p->released_path, sizeof(path));
	if (inotify_add_watch(p->inotify_fd, dirname(path), IN_CREATE | IN_MOVED_TO) < 0 ||
	    watch_fd(p, &p->inotify_fd) < 0)
		rb_close_fd(&p->inotify_fd);
}

static int set_up(struct rb_pager *p, int status_fd, struct rb_err *err)
{
	int fds[] = { p->listen_fd,	     p->keeper_fd, p->lock_fd,	p->alive_fd,
		      rb_store_fd(p->store), status_fd,	   p->source_fd };
	int r;

	settle();
	r = rb_close_others(fds, ARRAY_SIZE(fds));
	if (r < 0)
		return rb_err_set(err, r, "start the pager");
	p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	p->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	p->self_fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (p->epoll_fd < 0 || p->done_fd < 0 || p->self_fd < 0)
		return rb_err_set(err, -errno, "start the pager");
	rb_store_hold(p->store, true);
	r = fcntl(p->listen_fd, F_SETFL, fcntl(p->listen_fd, F_GETFL) | O_NONBLOCK) < 0 ? -errno
											: 0;
	if (r == 0)
		r = watch_fd(p, &p->listen_fd);
	if (r == 0)
		r = watch_fd(p, &p->keeper_fd);
	/* before there is a process whose memory they would have a hold on */
	if (r == 0)
		r = rb_pager_start_fetchers(p);
	if (r == 0)
		r = rb_pager_guard_start(p);
	if (r < 0)
		return rb_err_set(err, r, "start the pager");
	watch_folder(p);
	look_for_release(p);
	return 0;
}

_Noreturn static void run(struct rb_pager *p, int status_fd)
{
	struct rb_err err = {};
	int r = set_up(p, status_fd, &err);

	if (r < 0)
		(void)!write(status_fd, &err, sizeof(err));
	else
		(void)!write(status_fd, "", 1);
	close(status_fd);
	if (r < 0 || serve(p) < 0)
		_exit(1); /* the guard does the rest */
	rb_pager_say_farewell(p);
	rb_pager_all_placed(p);
	_exit(0);
}

/* Its parent ends at once, so nobody has to reap it. */
static void start(struct rb_pager *p, int status_fd)
{
	pid_t pid;

	setsid();
	pid = fork();
	if (pid == 0)
		run(p, status_fd);
	_exit(pid < 0);
}

static int take_lock(const char *path, struct rb_err *err)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat st = {};

	/* again when another pager removed it between open(2) and flock(2) */
	while (st.st_nlink == 0) {
		rb_close_fd(&fd);
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd < 0)
			return rb_err_set(err, -errno, "open '%s'", path);
		if (flock(fd, LOCK_EX | LOCK_NB) < 0)
			return rb_err_set(err, -errno, "lock '%s': another pager is not done",
					  path);
		if (fstat(fd, &st) < 0)
			return rb_err_set(err, -errno, "look at '%s'", path);
	}
	return TAKE_FD(fd);
}

/* Starts it and hears whether it is ready. */
static int fork_pager(struct rb_pager *p, struct rb_err *err)
{
	_cleanup_close_ int status_fd = -EBADF;
	struct rb_err answer;
	int pipe_fds[2];
	ssize_t n;
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return rb_err_set(err, -errno, "start the pager");
	status_fd = pipe_fds[0];
	pid = fork();
	if (pid == 0)
		start(p, pipe_fds[1]);
	close(pipe_fds[1]);
	if (pid < 0)
		return rb_err_set(err, -errno, "start the pager");
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	n = rb_read_all(status_fd, &answer, sizeof(answer));
	if (n == sizeof(answer)) {
		if (err)
			*err = answer;
		return answer.errnum ? -answer.errnum : -EIO;
	}
	return n == 1 ? 0 : rb_err_set(err, -EIO, "the pager ended at once");
}

int rb_pager_start(const struct rb_pager_options *options, struct rb_err *err)
{
	_cleanup_close_ int listen_fd = options->listen_fd, lock_fd = -EBADF, keeper_fd = -EBADF,
			    source_fd = -EBADF;
	struct rb_pager p = {
		.store = options->store,
		.epoll_fd = -EBADF,
		.conn_fd = -EBADF,
		.inotify_fd = -EBADF,
		.guard_fd = -EBADF,
		.done_fd = -EBADF,
		.alive_fd = options->alive_fd,
		.last_number = -1,
		.source_fd = -EBADF,
	};
	int r;

	if (options->released_path[0] != '/' || options->freezer_path[0] != '/')
		return rb_err_set(err, -EINVAL, "start the pager");
	r = rb_path(p.freezer_path, PATH_MAX, "%s", options->freezer_path);
	if (r == 0)
		r = rb_path(p.released_path, PATH_MAX, "%s", options->released_path);
	if (r == 0)
		r = rb_path(p.lock_path, PATH_MAX, "%s", options->lock_path);
	if (r == 0 && options->source)
		r = rb_path(p.source_path, PATH_MAX, "%s", options->source_path);
	if (r < 0)
		return rb_err_set(err, r, "start the pager");
	lock_fd = take_lock(options->lock_path, err);
	if (lock_fd < 0)
		return lock_fd;
	if (options->source) {
		p.source = *options->source;
		source_fd = p.source_fd = take_lock(options->source_path, err);
		if (source_fd < 0)
			return source_fd;
	}
	keeper_fd = (int)syscall(SYS_pidfd_open, options->keeper, 0);
	if (keeper_fd < 0)
		return rb_err_set(err, -errno, "the container's placeholder is gone");
	p.listen_fd = listen_fd;
	p.lock_fd = lock_fd;
	p.keeper_fd = keeper_fd;
	return fork_pager(&p, err);
}
