// SPDX-License-Identifier: Apache-2.0
/*
 * restore.c - `runc restore` in the placeholder's name
 *
 * runc reads the bundle that Docker made for this container, with three changes: the network
 * namespace is the placeholder's, hooks that have run already do not run again, and an annotation
 * names this move's CRIU configuration. It runs with the placeholder's standard descriptors, for
 * those are what CRIU puts in place of the source's pipes.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"
#include "cleanup.h"
#include "dump.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "masked.h"
#include "placeholder.h"
#include "proc.h"
#include "wait.h"
#include "workdir.h"

enum { KILL_MS = 10000, ARGS_MAX = 64 };

/*
 * With cgroup version 1 a container sees its own folders of all hierarchies below /sys/fs/cgroup.
 * runc takes the folders that runc itself is in for them, which here are the host's. Of two lines
 * about one mount CRIU believes the later, and the configuration file comes after runc.
 */
static int cgroup_mounts(const struct placeholder *p, const json_t *config, struct rb_buf *lines,
			 struct rb_err *err)
{
	struct rb_cgroup_mount mounts[RB_CGROUP_MAX];
	int count = rb_cgroup_mounts(mounts, err);
	json_t *mount;
	size_t i;

	if (count < 0)
		return count;
	json_array_foreach (json_object_get(config, "mounts"), i, mount) {
		const char *where = rb_json_str(mount, "destination", "");

		if (strcmp(rb_json_str(mount, "type", ""), "cgroup") != 0 ||
		    !rb_criu_path_valid(where) || !rb_criu_path_valid(p->note.cgroup))
			continue;
		for (int k = 0; k < count; k++) {
			const char *point = mounts[k].point;

			if (mounts[k].controllers[0] && rb_criu_path_valid(point) &&
			    rb_buf_addf(lines, "external mnt[%s%s]:%s%s\n", where,
					strrchr(point, '/'), point, p->note.cgroup) < 0)
				return rb_err_set(err, -ENOMEM, "list the cgroup mounts");
		}
	}
	return 0;
}

/* The bundle's configuration, changed; the original is kept once as config.json.reberth. */
static int rewrite_config(const struct placeholder *p, struct rb_err *err)
{
	static const char *const done_hooks[] = { "prestart", "createRuntime", "createContainer",
						  "startContainer", "poststart" };
	_cleanup_json_ json_t *config = NULL;
	_cleanup_buf_ struct rb_buf lines = {};
	char path[PATH_MAX], original[PATH_MAX], text[PATH_MAX];
	json_t *annotations, *ns;
	size_t i;
	int r;

	if (rb_path(path, sizeof(path), "%s/config.json", p->note.bundle) < 0 ||
	    rb_path(original, sizeof(original), "%s/config.json.reberth", p->note.bundle) < 0)
		return rb_err_set(err, -ENAMETOOLONG, "use bundle '%s'", p->note.bundle);
	if (access(original, F_OK) < 0 && rename(path, original) < 0)
		return rb_err_set(err, -errno, "keep '%s'", path);
	r = rb_json_load(original, &config, err);
	if (r < 0)
		return r;
	snprintf(text, sizeof(text), "/proc/%d/ns/net", (int)p->note.pid);
	json_array_foreach (rb_json_path(config, "linux.namespaces"), i, ns) {
		if (strcmp(rb_json_str(ns, "type", ""), "network") == 0)
			json_object_set_new(ns, "path", json_string(text));
	}
	for (i = 0; i < ARRAY_SIZE(done_hooks); i++)
		json_object_del(json_object_get(config, "hooks"), done_hooks[i]);
	annotations = json_object_get(config, "annotations");
	if (!annotations) {
		annotations = json_object();
		json_object_set_new(config, "annotations", annotations);
	}
	r = cgroup_mounts(p, config, &lines, err);
	if (r == 0)
		r = rb_masked_restored(p->work_dir, &lines, err);
	/* somebody waits to give the tasks their memory when they touch it */
	if (r == 0 && rb_path(text, sizeof(text), "%s/work/lazy-pages.socket", p->work_dir) == 0 &&
	    access(text, F_OK) == 0)
		r = rb_buf_addf(&lines, "lazy-pages\n");
	if (r == 0)
		r = rb_criu_write_config(p->work_dir, lines.data ? lines.data : "", err);
	if (r < 0)
		return r;
	r = rb_path(text, sizeof(text), "%s/criu.conf", p->work_dir);
	if (r < 0 || json_object_set_new(annotations, "org.criu.config", json_string(text)) < 0)
		return rb_err_set(err, r < 0 ? r : -ENOMEM, "change the bundle's configuration");
	return rb_json_save(path, config, false, err);
}

static int start_runc(const struct placeholder *p, struct rb_child *ret, struct rb_err *err)
{
	char runc[PATH_MAX], images[PATH_MAX], work[PATH_MAX], log[PATH_MAX], pid_file[PATH_MAX];
	static const char *const words[] = { "released", "resumed", "ended" };
	char restore_log[PATH_MAX], word[PATH_MAX], env_path[8192];
	const char *const env[] = { rb_criu_env_path(p->work_dir, env_path, sizeof(env_path)),
				    NULL };
	const char *const options[] = { "--log",
					log,
					"restore",
					"--detach",
					"--tcp-established",
					"--file-locks",
					"--image-path",
					images,
					"--work-path",
					work,
					"--bundle",
					p->note.bundle,
					"--pid-file",
					pid_file,
					p->note.id };
	const char *argv[ARGS_MAX] = { runc };
	_cleanup_close_ int in = -EBADF, out = -EBADF, errors = -EBADF;
	int argc = 1, r = rb_criu_find_program("runc", runc, sizeof(runc), err);

	if (r < 0)
		return r;
	if (rb_path(images, sizeof(images), "%s/images", p->work_dir) < 0 ||
	    rb_path(work, sizeof(work), "%s/work", p->work_dir) < 0 ||
	    rb_path(log, sizeof(log), "%s/work/runc.log", p->work_dir) < 0 ||
	    rb_path(pid_file, sizeof(pid_file), "%s/work/init.pid", p->work_dir) < 0)
		return rb_err_set(err, -ENAMETOOLONG, "use work folder '%s'", p->work_dir);
	unlink(log);
	unlink(pid_file);
	rb_criu_remove_scratch(p->work_dir);
	if (rb_path(restore_log, sizeof(restore_log), "%s/work/restore.log", p->work_dir) == 0)
		unlink(restore_log);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (rb_path(word, sizeof(word), "%s/%s", p->dir, words[i]) == 0)
			unlink(word);
	/* the global options that containerd gave, then ours: of two --log the later one counts */
	for (int i = 1; i < p->call->verb_at && argc < ARGS_MAX / 2; i++)
		argv[argc++] = p->call->argv[i];
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		argv[argc++] = options[i];
	in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	errors = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	return rb_spawn(
		&(struct rb_spawn){ .argv = argv,
				    .env = env,
				    .stdin_fd = in,
				    .stdout_fd = out,
				    .stderr_fd = errors,
				    .netns_fd = p->host_netns_fd,
				    /* a CRIU that is killed leaves its scratch mounts behind */
				    .private_mounts = true,
				    .die_with_us = true },
		ret, err);
}

int placeholder_restore(struct placeholder *p, int *ret_pid, struct rb_err *err)
{
	struct rb_child child;
	int r = rewrite_config(p, err);

	if (r == 0)
		r = rb_cgroup_return(p->note.pid, &p->home, err);
	if (r < 0)
		return r;
	placeholder_clean_runc(p->call->root, p->note.id);
	r = start_runc(p, &child, err);
	if (r < 0)
		return r;
	/* SIGCHLD tells us of its end */
	rb_close_fd(&child.pidfd);
	*ret_pid = child.pid;
	return 0;
}

void placeholder_unmount_root(const char *root, const char *id)
{
	char path[PATH_MAX];

	if (!rb_criu_id_valid(id) || rb_path(path, sizeof(path), "%s/%s/criu-root", root, id) < 0)
		return;
	while (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		;
}

void placeholder_clean_runc(const char *root, const char *id)
{
	char path[PATH_MAX];

	placeholder_unmount_root(root, id);
	if (rb_criu_id_valid(id) && rb_path(path, sizeof(path), "%s/%s", root, id) == 0)
		rb_rm_rf(path, NULL);
}

static int read_init_pid(const struct placeholder *p, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf text = {};
	char path[PATH_MAX];
	int pid, r = rb_path(path, sizeof(path), "%s/work/init.pid", p->work_dir);

	r = r < 0 ? rb_err_set(err, r, "read init's pid") : rb_read_file(path, 64, &text, err);
	if (r < 0)
		return r;
	pid = atoi(text.data);
	return pid > 1 ? pid : rb_err_code(err, RB_E_CRIU, -EPROTO, "runc wrote no pid");
}

int placeholder_restore_done(struct placeholder *p, int status, struct rb_err *err)
{
	struct rb_wait wait = rb_wait_within(NULL, KILL_MS);
	int pid;

	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		pid = read_init_pid(p, err);
		if (pid > 0)
			return pid;
	} else {
		rb_criu_explain(p->work_dir, "restore.log", status, err);
	}
	/*
	 * A CRIU that was killed leaves tasks standing in the middle of their restore; a runc that
	 * was killed leaves CRIU as well. All of them are in the container's cgroup. Their TCP
	 * sockets are in repair mode, so that nothing goes out when they die.
	 */
	placeholder_kill_container(p->note.cgroup, &wait);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	placeholder_clean_runc(p->call->root, p->note.id);
	return -EIO;
}
