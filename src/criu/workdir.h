/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workdir.h - what a move keeps in its work folder for runc and CRIU
 *
 *   images/          CRIU's images
 *   work/            CRIU's and runc's logs
 *   runc/<id>/       private copy of the container's runc state (source only)
 *   criu.conf        CRIU's configuration of this dump or restore
 *   action.sh        CRIU's action script: hands the actions that matter to `reberth-runtime
 *                    criu-action <socket>`
 *   action.list      the same for CRIU's filter, which does without the script (criu_quick.c)
 *   bin/tar          reberth-tar, which CRIU finds in place of tar
 *   bin/criu         reberth-criu, which starts CRIU with our library, as
 *   bin/criu.start   says (cmd/reberth-runtime/criu_start.c)
 *   skip/<pid>       memory of this process that CRIU does not see (source only)
 *   skip/<pid>.smaps what it reads in place of /proc/<pid>/smaps (smaps.h)
 *   skip/lock, skip/complete   whether it has to wait for these (criu_smaps.c)
 *   skip/shared, skip/sysv, skip/tmpfs   shared memory that CRIU does not see (criu_shared.c,
 *                    criu_sysv.c, tmpfs_save.c)
 *   shared/, ipc, tmpfs/   where what has arrived of it is (target only)
 *   masked/          an empty folder, see masked.h (target only)
 *   dump.sock        the dump server's socket (source only), see dump.c
 *
 * A path goes into a shell script and into CRIU's configuration file, so only plain ones are taken.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct rb_buf;
struct rb_err;

/** rb_criu_id_valid - 1 to 64 lower-case hexadecimal digits: safe as part of a path */
bool rb_criu_id_valid(const char *id);

/** rb_criu_path_valid - absolute, short enough, and of letters, digits and "/._-+:@" only */
bool rb_criu_path_valid(const char *path);

/** rb_criu_run_dir - REBERTH_RUN_DIR of the environment, or /run/reberth */
const char *rb_criu_run_dir(void);

/** rb_criu_env_path - "PATH=<work_dir>/bin:/opt/reberth/bin:<our PATH>", so that runc finds the
 * CRIU that works, and CRIU our tar; @work_dir may be NULL */
const char *rb_criu_env_path(const char *work_dir, char *ret, size_t size);

/** rb_criu_find_program - @name in /opt/reberth/bin, then in PATH; our own program under another
 * name is passed over */
int rb_criu_find_program(const char *name, char *ret, size_t size, struct rb_err *err);

/** rb_criu_runtime_path - where reberth-runtime is: REBERTH_RUNTIME of the environment, beside our
 * own program, else in PATH */
int rb_criu_runtime_path(char *ret, size_t size, struct rb_err *err);

/**
 * rb_criu_write_script - <work_dir>/action.sh; the other end of @socket decides
 * @actions: space-separated, handed on always
 * @fault_actions: handed on only when fault points are armed, as each costs some ms
 * @resumed: file that is made when restored tasks run; NULL: none
 */
int rb_criu_write_script(const char *work_dir, const char *actions, const char *fault_actions,
			 const char *socket, const char *resumed, struct rb_err *err);

/** rb_criu_write_config - bin/, and <work_dir>/criu.conf: what every dump and restore has, then
 * @extra */
int rb_criu_write_config(const char *work_dir, const char *extra, struct rb_err *err);

/** rb_criu_write_wrapper - <work_dir>/bin/criu, which starts CRIU with our library, that hides
 * memory from a dump (criu_filter.c), has a restore wait for its images (criu_hold.c), and gives
 * it shared memory (criu_shared.c); none where that is not installed. Takes as long as CRIU's
 * start.
 * @env: lines NAME=VALUE, what the library is told */
int rb_criu_write_wrapper(const char *work_dir, const char *env, struct rb_err *err);

/** rb_criu_can_skip - is that library there? */
bool rb_criu_can_skip(void);

/** rb_criu_connect_at - connect to a socket in a folder whose path may be too long for an address.
 * Return: descriptor, negative errno. */
int rb_criu_connect_at(const char *dir, const char *name, struct rb_err *err);

/** rb_criu_listen_at - likewise, listening, mode 0600 */
int rb_criu_listen_at(const char *dir, const char *name, struct rb_err *err);

/**
 * rb_criu_explain - fill @err with why runc failed: CRIU's own error line, else runc's last one
 * @criu_log: "dump.log" or "restore.log", in <work_dir>/work beside runc.log
 * @status: wait status of runc
 *
 * Return: -EIO; -EAGAIN when the same may succeed a moment later.
 */
int rb_criu_explain(const char *work_dir, const char *criu_log, int status, struct rb_err *err);

/** rb_criu_remove_scratch - the empty mount point in /tmp that a restore leaves whose CRIU was
 * killed; its log tells the name. Only when that CRIU is gone. */
void rb_criu_remove_scratch(const char *work_dir);
