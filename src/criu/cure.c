// SPDX-License-Identifier: Apache-2.0
/*
 * cure.c - give tasks back what a killed CRIU took from them
 *
 * Both directions hold all threads by ptrace while the cgroup is thawed for a moment: a frozen
 * thread reaches a ptrace stop only when it is thawed, and then reaches it before it runs anything
 * else (CRIU relies on the same). Before letting go the cgroup is frozen again; ptrace-stopped
 * threads count as frozen.
 *
 * What CRIU leaves behind, and how it is found:
 *   registers, signal mask, a pending trap   compared with the snapshot, thread by thread
 *   code that a system call was written over  first bytes of every executable mapping
 *   the parasite's mapping                   a file called "memfd:CRIUMFD"
 *   protection changed to read pages         mappings that had no read permission
 *   sockets and log files of the parasite    descriptors that were not there before
 */
#include "cure.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "freezer.h"
#include "proc.h"
#include "tracee.h"
#include "wait.h"

enum {
	PROCS_MAX = 4096,
	THREADS_MAX = 65536,
	CODE_BYTES = 64, /* CRIU writes 16 */
};

/* Start of an executable mapping. */
struct code {
	uint64_t addr;
	unsigned char bytes[CODE_BYTES];
};

/* A mapping that could not be read. */
struct hidden {
	uint64_t start, end;
	int prot;
};

struct process {
	pid_t pid;
	unsigned long long starttime;
	struct rb_thread *threads;
	size_t thread_count;
	struct code *codes;
	size_t code_count;
	struct hidden *hidden;
	size_t hidden_count;
	int *fds;
	size_t fd_count;
};

struct rb_cure {
	struct process *procs;
	size_t count;
};

/* Make room for one more element of an array. */
static void *grow(void *array, size_t count, size_t size)
{
	/* doubled at each power of two, so that no capacity has to be kept */
	if (count & (count - 1))
		return array;
	return realloc(array, (count ? count * 2 : 1) * size);
}

#define ADD(array, count, value)                                       \
	({                                                             \
		void *_new = grow((array), (count), sizeof(*(array))); \
		if (_new) {                                            \
			(array) = _new;                                \
			(array)[(count)++] = (value);                  \
		}                                                      \
		_new ? 0 : -ENOMEM;                                    \
	})

static void free_process(struct process *proc)
{
	for (size_t i = 0; i < proc->thread_count; i++)
		rb_tracee_free(&proc->threads[i]);
	free(proc->threads);
	free(proc->codes);
	free(proc->hidden);
	free(proc->fds);
}

void rb_cure_free(struct rb_cure *cure)
{
	if (!cure)
		return;
	for (size_t i = 0; i < cure->count; i++)
		free_process(&cure->procs[i]);
	free(cure->procs);
	free(cure);
}

/* Calls @fn with each number that names an entry of /proc/PID/<what>. */
static int each_number(pid_t pid, const char *what, int (*fn)(int number, void *arg), void *arg)
{
	char path[64];
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *entry;
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? -ESRCH : -errno;
	while (r == 0 && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			r = fn(atoi(entry->d_name), arg);
	return r;
}

static int add_thread(int number, void *arg)
{
	struct process *proc = arg;
	struct rb_thread thread = { .tid = number };

	return proc->thread_count == THREADS_MAX ? -E2BIG
						 : ADD(proc->threads, proc->thread_count, thread);
}

static int add_fd(int number, void *arg)
{
	struct process *proc = arg;

	return ADD(proc->fds, proc->fd_count, number);
}

struct mapping {
	uint64_t start, end;
	int prot;
	char name[256];
};

static int each_mapping(pid_t pid, int (*fn)(const struct mapping *map, void *arg), void *arg)
{
	char path[64];
	_cleanup_fclose_ FILE *file = NULL;
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return errno == ENOENT ? -ESRCH : -errno;
	while (r == 0 && getline(&line, &size, file) > 0) {
		struct mapping map = {};
		char perms[8];

		if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %255[^\n]", &map.start, &map.end, perms,
			   map.name) < 3)
			continue;
		map.prot = (perms[0] == 'r' ? PROT_READ : 0) | (perms[1] == 'w' ? PROT_WRITE : 0) |
			   (perms[2] == 'x' ? PROT_EXEC : 0);
		r = fn(&map, arg);
	}
	return r;
}

static int add_mapping(const struct mapping *map, void *arg)
{
	struct process *proc = arg;
	struct hidden hidden = { map->start, map->end, map->prot };
	struct code code = { .addr = map->start };

	if (!(map->prot & PROT_READ) && map->name[0] != '[')
		return ADD(proc->hidden, proc->hidden_count, hidden);
	if ((map->prot & PROT_EXEC) &&
	    rb_mem_read(proc->pid, map->start, code.bytes, sizeof(code.bytes)) == 0)
		return ADD(proc->codes, proc->code_count, code);
	return 0;
}

/* Threads that die, or are zombies already, drop out. */
static int seize_process(struct process *proc, struct rb_err *err)
{
	size_t kept = 0;

	for (size_t i = 0; i < proc->thread_count; i++) {
		int r = rb_tracee_seize(&proc->threads[i], err);

		if (r < 0 && r != -ESRCH)
			return r;
		if (r == 0)
			proc->threads[kept++] = proc->threads[i];
	}
	proc->thread_count = kept;
	return 0;
}

/* All threads of @cure that were seized come to a stop while the cgroup is thawed. */
static int stop_all(struct rb_cure *cure, const char *freezer_path, const struct rb_wait *wait,
		    struct rb_err *err)
{
	int r = rb_freezer_thaw(freezer_path, err);

	for (size_t i = 0; r == 0 && i < cure->count; i++) {
		struct process *proc = &cure->procs[i];

		for (size_t k = 0; r == 0 && k < proc->thread_count; k++)
			r = rb_tracee_wait_stop(&proc->threads[k], wait, err);
		if (r == -ESRCH)
			r = 0;
	}
	return r;
}

/* Frozen again, and let go. What cannot be frozen is not let go of before it is killed with us. */
static int release_all(struct rb_cure *cure, const char *freezer_path, const struct rb_wait *wait,
		       struct rb_err *err)
{
	int r = rb_freezer_freeze(freezer_path, wait, err);

	for (size_t i = 0; i < cure->count; i++)
		for (size_t k = 0; k < cure->procs[i].thread_count; k++)
			rb_tracee_detach(&cure->procs[i].threads[k]);
	return r;
}

static int list_process(struct process *proc, bool details, struct rb_err *err)
{
	int r = each_number(proc->pid, "task", add_thread, proc);

	proc->starttime = rb_pid_starttime(proc->pid);
	if (r == 0 && details)
		r = each_number(proc->pid, "fd", add_fd, proc);
	if (r == 0 && details)
		r = each_mapping(proc->pid, add_mapping, proc);
	return r < 0 && r != -ESRCH ? rb_err_set(err, r, "look at process %d", (int)proc->pid) : r;
}

/* Everybody in the cgroup, seized. */
static int seize_cgroup(const char *freezer_path, bool details, struct rb_cure **ret,
			struct rb_err *err)
{
	_cleanup_free_ pid_t *pids = calloc(PROCS_MAX, sizeof(*pids));
	struct rb_cure *cure = calloc(1, sizeof(*cure));
	int count, r;

	if (!pids || !cure) {
		free(cure);
		return rb_err_set(err, -ENOMEM, "look at the container's processes");
	}
	count = r = rb_freezer_pids(freezer_path, pids, PROCS_MAX, err);
	for (int i = 0; r >= 0 && i < count && i < PROCS_MAX; i++) {
		struct process proc = { .pid = pids[i] };

		r = list_process(&proc, details, err);
		if (r == 0)
			r = seize_process(&proc, err);
		if (r == -ESRCH || (r == 0 && proc.thread_count == 0)) {
			free_process(&proc);
			r = 0;
			continue;
		}
		if (ADD(cure->procs, cure->count, proc) < 0) {
			free_process(&proc);
			r = rb_err_set(err, -ENOMEM, "look at the container's processes");
		}
	}
	*ret = cure;
	return r < 0 ? r : 0;
}

int rb_cure_snapshot(const char *freezer_path, const struct rb_wait *wait, struct rb_cure **ret,
		     struct rb_err *err)
{
	struct rb_cure *cure = NULL;
	int r = seize_cgroup(freezer_path, true, &cure, err), released;

	if (!cure)
		return r;
	if (r == 0)
		r = stop_all(cure, freezer_path, wait, err);
	for (size_t i = 0; r == 0 && i < cure->count; i++)
		for (size_t k = 0; r == 0 && k < cure->procs[i].thread_count; k++)
			r = rb_tracee_save(&cure->procs[i].threads[k], err);
	released = release_all(cure, freezer_path, wait, r < 0 ? NULL : err);
	if (r == 0)
		r = released;
	if (r < 0) {
		rb_cure_free(cure);
		return r;
	}
	*ret = cure;
	return 0;
}

static const struct process *find_process(const struct rb_cure *cure, const struct process *now)
{
	for (size_t i = 0; i < cure->count; i++)
		if (cure->procs[i].pid == now->pid && cure->procs[i].starttime == now->starttime)
			return &cure->procs[i];
	return NULL;
}

static const struct rb_thread *find_thread(const struct process *proc, pid_t tid)
{
	for (size_t i = 0; i < proc->thread_count; i++)
		if (proc->threads[i].tid == tid)
			return &proc->threads[i];
	return NULL;
}

/* What is to be undone in one process by system calls of its own. */
struct undo {
	const struct process *saved;
	struct process *now;
	const struct rb_wait *wait;
	struct rb_err *err;
	int calls;
};

static int call(struct undo *undo, long nr, uint64_t a, uint64_t b, uint64_t c)
{
	const uint64_t args[3] = { a, b, c };
	long result = 0;

	if (undo->saved->code_count == 0)
		return 0;
	undo->calls++;
	return rb_tracee_syscall(&undo->now->threads[0], undo->saved->codes[0].addr, nr, args,
				 &result, undo->wait, undo->err);
}

static int close_foreign_fd(int number, void *arg)
{
	struct undo *undo = arg;

	for (size_t i = 0; i < undo->saved->fd_count; i++)
		if (undo->saved->fds[i] == number)
			return 0;
	return ADD(undo->now->fds, undo->now->fd_count, number);
}

static int note_foreign_mapping(const struct mapping *map, void *arg)
{
	struct undo *undo = arg;
	struct hidden gone = { map->start, map->end, -1 };

	if (strstr(map->name, "memfd:CRIUMFD"))
		return ADD(undo->now->hidden, undo->now->hidden_count, gone);
	for (size_t i = 0; i < undo->saved->hidden_count; i++) {
		struct hidden *was = &undo->saved->hidden[i];

		if (was->start <= map->start && map->end <= was->end && was->prot != map->prot) {
			gone.prot = was->prot;
			return ADD(undo->now->hidden, undo->now->hidden_count, gone);
		}
	}
	return 0;
}

/* First look, then act: the lists change while one acts. */
static int undo_mappings_and_fds(struct undo *undo)
{
	struct process *now = undo->now;
	int r = each_number(now->pid, "fd", close_foreign_fd, undo);

	if (r == 0)
		r = each_mapping(now->pid, note_foreign_mapping, undo);
	if (r < 0)
		return rb_err_set(undo->err, r, "look at process %d", (int)now->pid);
	for (size_t i = 0; r == 0 && i < now->fd_count; i++)
		r = call(undo, SYS_close, (uint64_t)now->fds[i], 0, 0);
	for (size_t i = 0; r == 0 && i < now->hidden_count; i++) {
		const struct hidden *map = &now->hidden[i];
		uint64_t len = map->end - map->start;

		r = map->prot < 0 ? call(undo, SYS_munmap, map->start, len, 0)
				  : call(undo, SYS_mprotect, map->start, len, (uint64_t)map->prot);
	}
	return r;
}

static int undo_code(const struct process *saved)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < saved->code_count; i++) {
		const struct code *code = &saved->codes[i];
		unsigned char bytes[CODE_BYTES];

		if (rb_mem_read(saved->pid, code->addr, bytes, sizeof(bytes)) == 0 &&
		    memcmp(bytes, code->bytes, sizeof(bytes)) != 0)
			r = rb_mem_write(saved->pid, code->addr, code->bytes, sizeof(code->bytes));
	}
	return r;
}

/* All threads of the process are at a ptrace stop. Return: number of threads that differed. */
static int cure_process(const struct process *saved, struct process *now,
			const struct rb_wait *wait, struct rb_err *err)
{
	struct undo undo = { .saved = saved, .now = now, .wait = wait, .err = err };
	int changed = 0, r;

	for (size_t i = 0; i < now->thread_count; i++) {
		const struct rb_thread *thread = find_thread(saved, now->threads[i].tid);

		r = thread ? rb_tracee_restore(&now->threads[i], thread, wait, err) : 0;
		if (r < 0 && r != -ESRCH)
			return r;
		changed += r > 0;
	}
	r = undo_mappings_and_fds(&undo);
	if (r == 0 && undo.calls > 0) {
		const struct rb_thread *thread = find_thread(saved, now->threads[0].tid);

		r = thread ? rb_tracee_restore(&now->threads[0], thread, wait, err) : 0;
	}
	if (r >= 0)
		r = undo_code(saved);
	return r < 0 ? r : changed + undo.calls;
}

int rb_cure_apply(const struct rb_cure *cure, const char *freezer_path, const struct rb_wait *wait,
		  struct rb_err *err)
{
	struct rb_cure *now = NULL;
	int r = seize_cgroup(freezer_path, false, &now, err), changed = 0, released;

	if (!now)
		return r;
	if (r == 0)
		r = stop_all(now, freezer_path, wait, err);
	for (size_t i = 0; r >= 0 && i < now->count; i++) {
		const struct process *saved = find_process(cure, &now->procs[i]);

		r = saved ? cure_process(saved, &now->procs[i], wait, err) : 0;
		changed += r > 0 ? r : 0;
	}
	released = release_all(now, freezer_path, wait, r < 0 ? NULL : err);
	rb_cure_free(now);
	return r < 0 ? r : released < 0 ? released : changed;
}
