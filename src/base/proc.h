/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proc.h - start other programs and wait for them within a deadline
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct rb_buf;
struct rb_err;
struct rb_wait;

struct rb_child {
	pid_t pid;
	int pidfd; /* readable when it ended */
};

/** What a child gets that differs from us; zero-initialise, then fill what is wanted. */
struct rb_spawn {
	const char *const *argv; /* NULL-terminated; argv[0] is looked up in PATH */
	const char *const
		*env;	 /* NULL-terminated "NAME=value" put on top of our environment, or NULL */
	int stdin_fd;	 /* 0: /dev/null */
	int stdout_fd;	 /* 0: /dev/null */
	int stderr_fd;	 /* 0: ours */
	int netns_fd;	 /* 0: ours; else joined before exec */
	const char *cwd; /* NULL: ours */
	bool private_mounts; /* a mount namespace of its own: what it mounts goes with it */
	bool new_session;    /* setsid(): it and its children can be killed as a group */
	bool die_with_us;    /* PR_SET_PDEATHSIG SIGKILL */
	bool term_blocked; /* SIGTERM waits until the program unblocks it; else no signal is blocked
			    */
};

/** rb_spawn - start a program; only descriptors 0 to 2 are passed on */
int rb_spawn(const struct rb_spawn *spec, struct rb_child *ret, struct rb_err *err);

/**
 * rb_child_wait - wait for it to end and release the pidfd
 *
 * When the wait is cancelled or times out, the child (its whole session if new_session) is killed
 * with SIGKILL and reaped before this returns.
 *
 * Return: wait status as of waitpid(2) (0 or positive), or negative errno.
 */
int rb_child_wait(struct rb_child *child, const struct rb_wait *wait, struct rb_err *err);

/**
 * rb_run - run a program to its end, collecting what it prints
 * @spec: stdout_fd and stderr_fd are ignored
 * @ret_out: standard output, or NULL
 *
 * A status other than 0 is an error whose message ends with the last line of standard error.
 *
 * Return: 0 or negative errno (-EIO when the program failed).
 */
int rb_run(const struct rb_spawn *spec, const struct rb_wait *wait, struct rb_buf *ret_out,
	   struct rb_err *err);

/** rb_pid_starttime - field 22 of /proc/PID/stat in clock ticks; tells a pid's owner from a later
 * one with the same number. Return: value, or 0 when there is no such process. */
unsigned long long rb_pid_starttime(pid_t pid);

/** rb_pid_alive - is it still the process that was started at @starttime (and not a zombie)? */
bool rb_pid_alive(pid_t pid, unsigned long long starttime);

/** rb_pid_was_killed - is it a zombie that a signal has ended? Needs the rights of ptrace(2). */
bool rb_pid_was_killed(pid_t pid);

/** rb_pid_is_stopped - does it stand still by SIGSTOP or the like (job control)? Not told of one
 * that is frozen as well */
bool rb_pid_is_stopped(pid_t pid);

/** rb_boot_id - the running kernel's boot id (36 characters and NUL into @ret) */
int rb_boot_id(char ret[37], struct rb_err *err);

/** rb_pid_parent - 0 when it is gone */
pid_t rb_pid_parent(pid_t pid);

/** rb_raise_files_limit - as many descriptors as are allowed; programs that rb_spawn() starts have
 * what we had */
void rb_raise_files_limit(void);

/** rb_pid_is_gone - is it proved that the process with that start time has ended? Other than with
 * rb_pid_alive(), what cannot be read proves nothing */
bool rb_pid_is_gone(pid_t pid, unsigned long long starttime);

/** rb_close_others - keep @fds alone (in any order; that list is sorted) and standard error; input
 * and output are /dev/null. For a process that goes on without an exec: others wait for the end of
 * pipes and sockets that it has only inherited. */
int rb_close_others(int *fds, size_t n);
