// SPDX-License-Identifier: Apache-2.0
/*
 * pager_rig.c - a container of victims, and a test that plays CRIU to its pager
 */
#include "pager_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"
#include "cleanup.h"
#include "fetcher.h"
#include "freezer.h"
#include "io.h"
#include "ranges.h"
#include "record.h"

#define FEATURES                                                                         \
	(UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_UNMAP | \
	 UFFD_FEATURE_EVENT_REMOVE)

void rig_nap(void)
{
	usleep(500);
}

static int open_userfaultfd(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = FEATURES };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

const char *rig_why_not(void)
{
	int fd;

	if (getuid() != 0)
		return "needs root: events of fork, cgroups";
	fd = open_userfaultfd();
	if (fd < 0)
		return "no userfaultfd with events of fork here";
	close(fd);
	return NULL;
}

uint64_t page_value(int task, uint64_t page)
{
	return page % 7 == 3 ? 0 : (uint64_t)task << 40 | (page + 1);
}

uint64_t *page_at(uint64_t page)
{
	return (uint64_t *)(RIG_BASE + page * RIG_PAGE);
}

void victim_check(struct victim *victim, const uint64_t *page, uint64_t want)
{
	const volatile uint64_t *words = page;

	for (size_t i = 0; i < RIG_PAGE / 8; i++) {
		uint64_t got = words[i];

		if (got == want)
			continue;
		victim->report->where = (uintptr_t)page;
		if (got == 0)
			victim->report->zeros++;
		else
			victim->report->wrong++;
		break;
	}
	victim->report->seen++;
}

void victim_reads_all(struct victim *victim)
{
	for (uint64_t i = 0; i < victim->pages; i++)
		victim_check(victim, page_at(i), page_value(victim->task, i));
}

static pid_t fork_keeper(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return pid;
}

static bool make_cgroup(const struct rig *rig)
{
	pid_t pid = fork();
	int status = -1;

	if (pid == 0)
		_exit(rb_cgroup_move(getpid(), rig->cgroup, true, false, NULL) < 0);
	return waitpid(pid, &status, 0) == pid && status == 0;
}

static bool all_far;

void rig_far(bool far)
{
	all_far = far;
}

bool rig_open(struct rig *rig, bool v2)
{
	static int number;

	rig_close(rig);
	*rig = (struct rig){ .open = true, .conn_fd = -EBADF, .alive_fd = -EBADF };
	/* pager and guard become our children when the processes between end */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (all_far) {
		rig->link = mmap(NULL, sizeof(*rig->link), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (rig->link == MAP_FAILED)
			return false;
	}
	strcpy(rig->folder, "/tmp/rb-pager-XXXXXX");
	if (!mkdtemp(rig->folder))
		return false;
	snprintf(rig->cgroup, sizeof(rig->cgroup), "/rb-pager-%d-%d", (int)getpid(), number++);
	snprintf(rig->released, PATH_MAX, "%s/released", rig->folder);
	snprintf(rig->lock, PATH_MAX, "%s/pager.lock", rig->folder);
	snprintf(rig->source, PATH_MAX, "%s/pager.source", rig->folder);
	snprintf(rig->socket, PATH_MAX, "%s/lazy-pages.socket", rig->folder);
	rig->keeper = fork_keeper();
	if (!make_cgroup(rig) ||
	    rb_freezer_path(rig->cgroup, rig->freezer, PATH_MAX, &rig->err) < 0)
		return false;
	if (v2)
		snprintf(rig->freezer, PATH_MAX, "/sys/fs/cgroup/unified%s", rig->cgroup);
	return access(rig->freezer, F_OK) == 0 && rb_store_new(&rig->store, &rig->err) == 0;
}

void rig_close(struct rig *rig)
{
	if (!rig->open)
		return;
	rig->open = false;
	rb_freezer_kill(rig->freezer, NULL, NULL);
	for (int i = 0; i < rig->n; i++) {
		if (rig->victims[i].pid > 0)
			waitpid(rig->victims[i].pid, NULL, 0);
		munmap(rig->victims[i].report, sizeof(struct victim_report));
	}
	/* which ends a pager that is still there */
	kill(rig->keeper, SIGKILL);
	waitpid(rig->keeper, NULL, 0);
	rb_close_fd(&rig->conn_fd);
	if (rig->alive_fd >= 0)
		rig_farewell(rig);
	rb_close_fd(&rig->alive_fd);
	while (waitpid(-1, NULL, 0) > 0)
		;
	rb_cgroup_remove(rig->cgroup);
	rb_rm_rf(rig->folder, NULL);
	rb_store_free(rig->store);
	if (rig->link)
		munmap(rig->link, sizeof(*rig->link));
}

/* One record of pages that follow each other, of which all or none have content. */
static int send_run(const struct rb_want *want, uint32_t first, uint32_t pages, bool delta,
		    int (*take)(void *taker, const void *block, size_t len, struct rb_err *err),
		    void *taker, struct rb_err *err)
{
	static uint8_t block[RB_BLOCK_SIZE];
	static uint64_t words[RB_PAGES_PER_BLOCK][RIG_PAGE / 8];
	uint64_t page = (want->addr - RIG_BASE) / RIG_PAGE + first;
	struct rb_record record = {
		.kind = RB_RECORD_DATA,
		.task = want->task,
		.addr = want->addr + first * RIG_PAGE,
		.count = pages,
		.payload = (const uint8_t *)words,
		.delta = delta,
		.len = pages * (uint32_t)RIG_PAGE,
	};

	for (uint32_t i = 0; i < pages; i++)
		for (size_t word = 0; word < RIG_PAGE / 8; word++)
			words[i][word] = page_value(want->task, page + i);
	return take(taker, block, rb_record_encode(block, &record), err);
}

static int rig_fetch(void *arg, bool urgent, const struct rb_want *wants, size_t n,
		     int (*take)(void *taker, const void *block, size_t len, struct rb_err *err),
		     void *taker, struct rb_err *err)
{
	struct rig_link *link = arg;

	(*(urgent ? &link->urgent : &link->streamed))++;
	if (link->lost)
		return rb_err_set(err, -ESRCH, "ask a source that has lost its pages");
	for (size_t i = 0; i < n; i++)
		for (uint32_t done = 0, pages; done < wants[i].pages; done += pages) {
			int r;

			if (link->broken)
				return rb_err_set(err, -ECONNRESET, "ask over a broken link");
			pages = wants[i].pages - done;
			if (pages > 7)
				pages = 7;
			/* before: the pager may be done, and end us, with the last of them */
			link->pages += pages;
			r = send_run(&wants[i], done, pages, link->nonsense, take, taker, err);
			if (r < 0)
				return r;
		}
	return 0;
}

int rig_start(struct rig *rig)
{
	int fds[2], r;
	struct rb_page_source source = { rig_fetch, rig->link };
	struct rb_pager_options options = {
		.listen_fd = rb_unix_listen(rig->socket, 0600, &rig->err),
		.store = rig->store,
		.freezer_path = rig->freezer,
		.released_path = rig->released,
		.lock_path = rig->lock,
		.keeper = rig->keeper,
		.source = rig->link ? &source : NULL,
		.source_path = rig->source,
	};

	if (options.listen_fd < 0 || pipe2(fds, O_CLOEXEC) < 0)
		return -EIO;
	options.alive_fd = fds[1];
	r = rb_pager_start(&options, &rig->err);
	close(fds[1]);
	if (r < 0) {
		close(fds[0]);
		return r;
	}
	rb_close_fd(&rig->alive_fd);
	rig->alive_fd = fds[0];
	return 0;
}

bool rig_connect(struct rig *rig)
{
	rb_close_fd(&rig->conn_fd);
	rig->conn_fd = rb_unix_connect(rig->socket, &rig->err);
	return rig->conn_fd >= 0;
}

bool rig_fill(struct rig *rig, int task, uint64_t pages)
{
	_cleanup_(rb_ranges_free) struct rb_ranges all = {};
	uint64_t words[RIG_PAGE / 8];

	for (uint64_t i = 0; i < pages; i++) {
		uint64_t addr = RIG_BASE + i * RIG_PAGE;

		if (!page_value(task, i) || rb_ranges_add(&all, addr, addr + RIG_PAGE) < 0)
			continue;
		if (rig->link && i % 5 != 1)
			continue;
		for (size_t word = 0; word < RIG_PAGE / 8; word++)
			words[word] = page_value(task, i);
		if (rb_store_put(rig->store, task, addr, words, 1, &rig->err) < 0)
			return false;
	}
	return !rig->link || rb_store_expect(rig->store, task, &all, &rig->err) == 0;
}

bool rig_send(const struct rig *rig, uint32_t word)
{
	return send(rig->conn_fd, &word, sizeof(word), MSG_NOSIGNAL) == sizeof(word);
}

static bool send_fd(int sock, int fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {};
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	return sendmsg(sock, &msg, MSG_NOSIGNAL) == 1;
}

bool rig_send_fd(const struct rig *rig, int fd)
{
	_cleanup_close_ int own = fd < 0 ? open_userfaultfd() : -EBADF;

	return send_fd(rig->conn_fd, fd < 0 ? own : fd);
}

_Noreturn static void be_victim(const struct rig *rig, struct victim *victim)
{
	struct uffdio_register area = {
		.range = { .start = RIG_BASE, .len = victim->pages * RIG_PAGE },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (rb_cgroup_move(getpid(), rig->cgroup, false, false, NULL) < 0)
		_exit(3);
	if (mmap((void *)RIG_BASE, victim->pages * RIG_PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1,
		 0) == MAP_FAILED)
		_exit(4);
	fd = open_userfaultfd();
	if (fd < 0 || !rig_send(rig, (uint32_t)victim->task) || !send_fd(rig->conn_fd, fd))
		_exit(5);
	if (ioctl(fd, UFFDIO_REGISTER, &area) < 0)
		_exit(6);
	close(fd);
	close(rig->conn_fd);
	close(rig->alive_fd);
	victim->report->ready = true;
	while (!victim->report->go)
		rig_nap();
	victim->run(victim);
	victim->report->done = true;
	for (;;)
		pause();
}

struct victim *rig_victim(struct rig *rig, int task, uint64_t pages, void (*run)(struct victim *))
{
	struct victim *victim = &rig->victims[rig->n++];

	*victim = (struct victim){ .task = task, .pages = pages, .run = run };
	victim->report = mmap(NULL, sizeof(struct victim_report), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (victim->report == MAP_FAILED)
		return NULL;
	victim->pid = fork();
	if (victim->pid == 0)
		be_victim(rig, victim);
	return rig_until(victim->report->ready) ? victim : NULL;
}

bool rig_finish(const struct rig *rig)
{
	return rig_send(rig, 0x52535446);
}

bool rig_release(const struct rig *rig)
{
	return rb_write_file(rig->released, "", 0, 0600, false, NULL) == 0;
}

void rig_go(struct rig *rig)
{
	for (int i = 0; i < rig->n; i++)
		rig->victims[i].report->go = true;
}

static pid_t child_now(pid_t parent, const char *name)
{
	_cleanup_closedir_ DIR *dir = opendir("/proc");
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		_cleanup_fclose_ FILE *file = NULL;
		char path[300], comm[32], state;
		int pid, ppid;

		snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
		file = atoi(entry->d_name) > 0 ? fopen(path, "re") : NULL;
		if (file && fscanf(file, "%d (%31[^)]) %c %d", &pid, comm, &state, &ppid) == 4 &&
		    ppid == parent && state != 'Z' && strcmp(comm, name) == 0)
			return pid;
	}
	return 0;
}

pid_t rig_child(pid_t parent, const char *name)
{
	pid_t pid = 0;

	(void)rig_until((pid = child_now(parent, name)) > 0);
	return pid;
}

static bool saw_no_wrong_page(const struct victim *victim)
{
	if (!victim->report->zeros && !victim->report->wrong)
		return true;
	printf("# task %d: of %llu pages %llu zero and %llu wrong, the last one at %#llx\n",
	       victim->task, (unsigned long long)victim->report->seen,
	       (unsigned long long)victim->report->zeros, (unsigned long long)victim->report->wrong,
	       (unsigned long long)victim->report->where);
	return false;
}

bool rig_done(const struct rig *rig)
{
	for (int i = 0; i < rig->n; i++) {
		const struct victim *victim = &rig->victims[i];

		if (!rig_until(victim->report->done)) {
			printf("# task %d is not done: %llu pages\n", victim->task,
			       (unsigned long long)victim->report->seen);
			return false;
		}
		if (!saw_no_wrong_page(victim))
			return false;
	}
	return true;
}

bool rig_killed(struct rig *rig)
{
	for (int i = 0; i < rig->n; i++) {
		struct victim *victim = &rig->victims[i];
		int status = 0;

		if (!rig_until(waitpid(victim->pid, &status, WNOHANG) == victim->pid)) {
			printf("# task %d lives on\n", victim->task);
			return false;
		}
		victim->pid = 0;
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
			printf("# task %d: status %#x\n", victim->task, (unsigned int)status);
			return false;
		}
		if (!saw_no_wrong_page(victim))
			return false;
	}
	return true;
}

/* Reads a byte. Return: 1, 0 at the end, -1 when neither comes. */
static int next_byte(int fd, char *ret)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	if (poll(&poll_fd, 1, 20000) <= 0) {
		printf("# pager or guard live on\n");
		return -1;
	}
	return (int)read(fd, ret, 1);
}

int rig_farewell(const struct rig *rig)
{
	char said = 0, more = 0;
	int r = next_byte(rig->alive_fd, &said);

	if (r <= 0)
		return r;
	/* and then the end, when the other one is gone too */
	r = next_byte(rig->alive_fd, &more);
	if (r > 0)
		printf("# a second farewell: %d, %d\n", said, more);
	return r == 0 ? said : -1;
}

bool rig_lock_free(const struct rig *rig)
{
	_cleanup_close_ int fd = open(rig->lock, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT;
	return rig_until(flock(fd, LOCK_EX | LOCK_NB) == 0);
}

int rig_source(const struct rig *rig)
{
	_cleanup_close_ int fd = open(rig->source, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return RIG_SOURCE_GONE;
	return flock(fd, LOCK_EX | LOCK_NB) < 0 ? RIG_SOURCE_HELD : RIG_SOURCE_LOST;
}

int rig_registered(pid_t pid)
{
	_cleanup_fclose_ FILE *file = NULL;
	char path[64], line[512];
	int count = 0;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " um"))
			count++;
	return file ? count : -1;
}
