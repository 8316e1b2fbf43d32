/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inject_fixture.h - injections with fault points, and the state of a process as text
 */
#pragma once

#include "err.h"
#include "fault.h"
#include "inject.h"
#include "io.h"
#include "tap.h"
#include "tracee.h"
#include "tracee_call.h"
#include "victim.h"
#include "wait.h"

static const char *const steps[] = {
	"memory.inject.stopped", "memory.inject.noted", "memory.open.ready",  "memory.open.entry",
	"memory.open.armed",	 "memory.open.exit",	"memory.close.ready", "memory.close.entry",
	"memory.close.armed",	 "memory.close.exit",	"memory.inject.back",
};

/* Of the two versions of the freezer, those that are here. */
static char freezers[2][PATH_MAX];
static int freezer_count;
static char run_dir[64];
static struct rb_err err;
static struct rb_wait wait_limit;

static void arm_faults(const char *text)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/faults", run_dir);
	rb_write_file(path, text, strlen(text), 0600, false, NULL);
}

static size_t add_registers(pid_t tid, char *text, size_t size)
{
	struct rb_thread thread = { .tid = tid };
	size_t len = 0;

	if (rb_tracee_seize(&thread, &err) < 0 || rb_tracee_await(&thread, &wait_limit, &err) < 0 ||
	    rb_tracee_note(&thread, &err) < 0)
		return (size_t)snprintf(text, size, "no registers: %s\n", err.msg);
	for (size_t i = 0; i < thread.regs_len && len < size; i++)
		len += (size_t)snprintf(text + len, size - len, "%02x%s", thread.regs[i],
					i % 8 == 7 ? " " : "");
	len += (size_t)snprintf(text + len, size - len, "mask %lx rseq %lx\n", thread.sigmask,
				thread.rseq_cs);
	rb_tracee_detach(&thread);
	return len;
}

static size_t add_signals(pid_t pid, char *text, size_t size)
{
	char path[64], line[256];
	size_t len = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if ((strstr(line, "Sig") && !strstr(line, "SigQ")) || strstr(line, "Pnd") ||
		    strstr(line, "Tracer") || strstr(line, "State") || strstr(line, "Seccomp"))
			len += (size_t)snprintf(text + len, size - len, "%s", line);
	if (file)
		fclose(file);
	return len;
}

/* Until it sleeps in a system call. */
static void wait_rest(pid_t pid)
{
	char path[64], state = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	for (int i = 0; i < 10000 && state != 'S'; i++) {
		FILE *file = fopen(path, "re");

		if (i)
			usleep(100);
		if (!file || fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
			i = 10000;
		if (file)
			fclose(file);
	}
}

/* @tid: 0, or the one whose registers count, at rest in a system call */
static const char *state_text(pid_t pid, pid_t tid, char *text, size_t size)
{
	size_t len;

	/* also after we looked */
	wait_rest(pid);
	len = tid ? add_registers(tid, text, size) : 0;
	wait_rest(pid);
	len += add_signals(pid, text + len, size - len);
	fd_text(pid, text + len, size - len);
	return text;
}

static int inject(pid_t pid, const char *freezer)
{
	int fd = -EBADF, r = 0;

	/* a virtual machine may stand still for longer than the limit */
	for (int i = 0; i < 5; i++) {
		rb_err_clear(&err);
		r = rb_inject_userfaultfd(pid, freezer, &fd, &wait_limit, &err);
		if (r != -ETIMEDOUT)
			break;
	}
	if (r == 0)
		close(fd);
	return r;
}

/* Whoever stands at the fault point, or -1. */
static pid_t wait_reached(void)
{
	char path[PATH_MAX];
	pid_t pid = -1;

	snprintf(path, sizeof(path), "%s/fault.reached", run_dir);
	for (int i = 0; i < 5000 && pid < 0; i++) {
		FILE *file = fopen(path, "re");

		if (file && fscanf(file, "%*s %d", &pid) != 1)
			pid = -1;
		if (file)
			fclose(file);
		usleep(1000);
	}
	return pid;
}

static void let_go(void)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/fault.reached", run_dir);
	unlink(path);
}

static void find_freezers(void)
{
	struct rb_cgroup_mount mounts[RB_CGROUP_MAX];
	int count = rb_cgroup_mounts(mounts, NULL);

	snprintf(freezers[0], sizeof(freezers[0]), "%s", victim_freezer);
	freezer_count = 1;
	for (int i = 0; i < count; i++) {
		char path[PATH_MAX], knob[PATH_MAX + 16];

		if (mounts[i].controllers[0])
			continue;
		snprintf(path, sizeof(path), "%s%s", mounts[i].point, victim_cgroup);
		snprintf(knob, sizeof(knob), "%s/cgroup.freeze", path);
		if (access(knob, F_OK) == 0 && strcmp(path, victim_freezer) != 0)
			strcpy(freezers[freezer_count++], path);
	}
	printf("# %d freezers\n", freezer_count);
}

/* Why the tests cannot run here, or NULL. */
static const char *setup(const char *name)
{
	const char *why = victim_setup(name);
	struct victim first;

	wait_limit = rb_wait_within(NULL, 600000);
	if (why)
		return why;
	snprintf(run_dir, sizeof(run_dir), "/tmp/rb-test-inject-XXXXXX");
	if (!mkdtemp(run_dir))
		return "cannot make a folder";
	/* makes the cgroup */
	first = victim_start(NULL);
	victim_end(&first);
	find_freezers();
	rb_fault_setup(run_dir);
	return NULL;
}

static int teardown(void)
{
	victim_teardown();
	rb_rm_rf(run_dir, NULL);
	return tap_done();
}
