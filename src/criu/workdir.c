// SPDX-License-Identifier: Apache-2.0
/*
 * workdir.c - paths, CRIU's configuration and action script in a work folder
 */
#include "workdir.h"

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
#include "io.h"
#include "proc.h"
#include "wait.h"

#define VERSION_MS 10000

#define PRIVATE_BIN "/opt/reberth/bin"
#define LOG_MAX	    ((size_t)4 << 20)

bool rb_criu_id_valid(const char *id)
{
	size_t len = strspn(id, "0123456789abcdef");

	return len >= 1 && len <= 64 && id[len] == '\0';
}

bool rb_criu_path_valid(const char *path)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789/._-+:@";
	size_t len = strspn(path, plain);

	return path[0] == '/' && path[len] == '\0' && len < PATH_MAX - 128;
}

const char *rb_criu_run_dir(void)
{
	const char *dir = getenv("REBERTH_RUN_DIR");

	return dir && rb_criu_path_valid(dir) ? dir : "/run/reberth";
}

const char *rb_criu_env_path(const char *work_dir, char *ret, size_t size)
{
	const char *path = getenv("PATH");

	snprintf(ret, size, "PATH=%s%s%s:%s", work_dir ? work_dir : "", work_dir ? "/bin:" : "",
		 PRIVATE_BIN, path && *path ? path : "/usr/sbin:/usr/bin:/sbin:/bin");
	return ret;
}

static bool runs(const char *path)
{
	return rb_criu_path_valid(path) && access(path, X_OK) == 0;
}

static bool is_this_program(const char *path)
{
	struct stat self, that;

	return stat("/proc/self/exe", &self) == 0 && stat(path, &that) == 0 &&
	       self.st_dev == that.st_dev && self.st_ino == that.st_ino;
}

int rb_criu_find_program(const char *name, char *ret, size_t size, struct rb_err *err)
{
	char dirs[8192];
	const char *at = rb_criu_env_path(NULL, dirs, sizeof(dirs)) + strlen("PATH=");

	while (*at) {
		size_t len = strcspn(at, ":");

		if (rb_path(ret, size, "%.*s/%s", (int)len, at, name) == 0 && runs(ret) &&
		    !is_this_program(ret))
			return 0;
		at += len + (at[len] == ':');
	}
	return rb_err_code(err, RB_E_CRIU, -ENOENT, "there is no program '%s' in PATH", name);
}

int rb_criu_runtime_path(char *ret, size_t size, struct rb_err *err)
{
	const char *given = getenv("REBERTH_RUNTIME");
	char self[PATH_MAX], *slash;
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (given && runs(given))
		return rb_path(ret, size, "%s", given);
	self[len < 0 ? 0 : len] = '\0';
	slash = strrchr(self, '/');
	if (slash) {
		*slash = '\0';
		if (rb_path(ret, size, "%s/reberth-runtime", self) == 0 && runs(ret))
			return 0;
	}
	return rb_criu_find_program("reberth-runtime", ret, size, err);
}

/* the same for a CRIU that needs no script for it, see cmd/reberth-runtime/criu_act.c */
static int write_list(const char *work_dir, const char *actions, const char *socket,
		      const char *resumed, struct rb_err *err)
{
	char text[4 * PATH_MAX], path[PATH_MAX];
	int r = rb_path(path, sizeof(path), "%s/action.list", work_dir);

	if (r == 0)
		r = rb_path(text, sizeof(text), " %s \n%s/faults\n%s\n%s\n", actions,
			    rb_criu_run_dir(), socket, resumed ? resumed : "");
	return r < 0 ? rb_err_set(err, r, "write CRIU's action script")
		     : rb_write_file(path, text, strlen(text), 0600, false, err);
}

int rb_criu_write_script(const char *work_dir, const char *actions, const char *fault_actions,
			 const char *socket, const char *resumed, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf text = {};
	char runtime[PATH_MAX], path[PATH_MAX];
	int r = rb_criu_runtime_path(runtime, sizeof(runtime), err);

	if (r < 0)
		return r;
	/* the actions that do not matter must cost no more than a shell's start */
	r = rb_buf_addf(&text,
			"#!/bin/sh\n"
			"actions=' %s '\n"
			"[ ! -e \"${REBERTH_RUN_DIR:-/run/reberth}/faults\" ] || "
			"actions=\"${actions}%s \"\n"
			"case $actions in\n"
			"*\" $CRTOOLS_SCRIPT_ACTION \"*) exec '%s' criu-action '%s' ;;\n"
			"esac\n",
			actions, fault_actions, runtime, socket);
	if (r == 0 && resumed)
		r = rb_buf_addf(&text, "[ \"$CRTOOLS_SCRIPT_ACTION\" != post-resume ] || : >'%s'\n",
				resumed);
	if (r == 0)
		r = rb_path(path, sizeof(path), "%s/action.sh", work_dir);
	if (r < 0)
		return rb_err_set(err, r, "write CRIU's action script");
	r = write_list(work_dir, actions, socket, resumed, err);
	if (r < 0)
		return r;
	return rb_write_file(path, text.data, text.len, 0700, false, err);
}

/* where a program or library of ours is that stands beside reberth-runtime */
static int find_beside(const char *name, char *ret, size_t size)
{
	char runtime[PATH_MAX], *slash;
	int r = rb_criu_runtime_path(runtime, sizeof(runtime), NULL);

	if (r < 0)
		return r;
	slash = strrchr(runtime, '/');
	*slash = '\0';
	r = rb_path(ret, size, "%s/%s", runtime, name);
	return r < 0 ? r : access(ret, R_OK) < 0 ? -errno : 0;
}

/* Without our tar everything works, but slower: it may be missing. */
static void link_tar(const char *work_dir)
{
	char tar[PATH_MAX], link[PATH_MAX];

	if (find_beside("reberth-tar", tar, sizeof(tar)) < 0 ||
	    rb_path(link, sizeof(link), "%s/bin", work_dir) < 0 ||
	    rb_mkdir_p(link, 0700, NULL) < 0 ||
	    rb_path(link, sizeof(link), "%s/bin/tar", work_dir) < 0)
		return;
	unlink(link);
	(void)!symlink(tar, link);
}

bool rb_criu_can_skip(void)
{
	char filter[PATH_MAX];

	return find_beside("reberth-criu.so", filter, sizeof(filter)) == 0 &&
	       find_beside("reberth-criu", filter, sizeof(filter)) == 0;
}

/* "4.2.1"; "" when it has a git id as well, which runc counts as the next version. */
static void find_version(const char *criu, char *ret, size_t size)
{
	const char *const argv[] = { criu, "--version", NULL };
	struct rb_wait wait = rb_wait_within(NULL, VERSION_MS);
	_cleanup_buf_ struct rb_buf out = {};
	static const char mark[] = "Version: ";
	const char *at;

	ret[0] = '\0';
	if (rb_run(&(struct rb_spawn){ .argv = argv }, &wait, &out, NULL) < 0 || !out.data ||
	    strstr(out.data, "GitID"))
		return;
	at = strstr(out.data, mark);
	if (at)
		snprintf(ret, size, "%.*s", (int)strcspn(at + strlen(mark), "\n"),
			 at + strlen(mark));
}

static int write_start(const char *work_dir, const char *filter, const char *env,
		       struct rb_err *err)
{
	char criu[PATH_MAX], path[PATH_MAX], version[32];
	_cleanup_buf_ struct rb_buf text = {};
	int r = rb_criu_find_program("criu", criu, sizeof(criu), err);

	if (r < 0)
		return r;
	find_version(criu, version, sizeof(version));
	r = rb_buf_addf(&text, "%s\n%s\nLD_PRELOAD=%s\nREBERTH_ACTIONS=%s/action.list\n%s", criu,
			version, filter, work_dir, env);
	if (r == 0)
		r = rb_path(path, sizeof(path), "%s/bin/criu.start", work_dir);
	return r < 0 ? rb_err_set(err, r, "use work folder '%s'", work_dir)
		     : rb_write_file(path, text.data, text.len, 0600, false, err);
}

int rb_criu_write_wrapper(const char *work_dir, const char *env, struct rb_err *err)
{
	char starter[PATH_MAX], filter[PATH_MAX], path[PATH_MAX];
	int r;

	if (find_beside("reberth-criu.so", filter, sizeof(filter)) < 0 ||
	    find_beside("reberth-criu", starter, sizeof(starter)) < 0)
		return 0;
	if (rb_path(path, sizeof(path), "%s/bin", work_dir) < 0)
		return rb_err_set(err, -ENAMETOOLONG, "use work folder '%s'", work_dir);
	r = rb_mkdir_p(path, 0700, err);
	if (r == 0)
		r = write_start(work_dir, filter, env, err);
	if (r < 0)
		return r;
	rb_path(path, sizeof(path), "%s/bin/criu", work_dir);
	unlink(path);
	return symlink(starter, path) < 0 ? rb_err_set(err, -errno, "create '%s'", path) : 0;
}

int rb_criu_write_config(const char *work_dir, const char *extra, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf text = {};
	char path[PATH_MAX];
	int r;

	/*
	 * manage-cgroups needs the "=": with a space CRIU takes it for `soft`. Our own silence is
	 * on layer 2 and older than CRIU's network lock would be, so that is left out.
	 */
	r = rb_buf_addf(&text,
			"tcp-established\n"
			"file-locks\n"
			"ghost-limit 4294967295\n"
			"manage-cgroups=ignore\n"
			"network-lock skip\n"
			"action-script %s/action.sh\n"
			"%s",
			work_dir, extra);
	if (r == 0)
		r = rb_path(path, sizeof(path), "%s/criu.conf", work_dir);
	if (r < 0)
		return rb_err_set(err, r, "write CRIU's configuration");
	link_tar(work_dir);
	return rb_write_file(path, text.data, text.len, 0600, false, err);
}

/* A short name for a folder: the address of a unix socket has room for 107 bytes only. */
static int short_name(const char *dir, const char *name, int *ret_dir_fd, char *ret, size_t size)
{
	*ret_dir_fd = open(dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*ret_dir_fd < 0)
		return -errno;
	return rb_path(ret, size, "/proc/self/fd/%d/%s", *ret_dir_fd, name);
}

int rb_criu_connect_at(const char *dir, const char *name, struct rb_err *err)
{
	_cleanup_close_ int dir_fd = -EBADF;
	char path[108];
	int r = short_name(dir, name, &dir_fd, path, sizeof(path));

	return r < 0 ? rb_err_set(err, r, "open '%s'", dir) : rb_unix_connect(path, err);
}

int rb_criu_listen_at(const char *dir, const char *name, struct rb_err *err)
{
	_cleanup_close_ int dir_fd = -EBADF;
	char path[108];
	int r = short_name(dir, name, &dir_fd, path, sizeof(path));

	return r < 0 ? rb_err_set(err, r, "open '%s'", dir) : rb_unix_listen(path, 0600, err);
}

void rb_criu_remove_scratch(const char *work_dir)
{
	static const char prefix[] = "/tmp/.criu.mntns.";
	_cleanup_buf_ struct rb_buf log = {};
	char path[PATH_MAX], scratch[sizeof(prefix) + 6];
	const char *found;

	if (rb_path(path, sizeof(path), "%s/work/restore.log", work_dir) < 0 ||
	    rb_read_file(path, LOG_MAX, &log, NULL) < 0)
		return;
	found = memmem(log.data, log.len, prefix, strlen(prefix));
	if (!found || log.len - (size_t)(found - log.data) < sizeof(scratch))
		return;
	snprintf(scratch, sizeof(scratch), "%s", found);
	if (strspn(scratch + strlen(prefix), "abcdefghijklmnopqrstuvwxyz"
					     "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == 6)
		rmdir(scratch);
}
