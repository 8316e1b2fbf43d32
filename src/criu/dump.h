/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dump.h - checkpoint a container that Docker runs, without Docker's help, and leave it frozen
 *
 * `runc checkpoint --leave-running` is run on a private copy of the container's runc state, whose
 * label org.criu.config names a CRIU configuration file of this one dump: nothing that Docker or
 * runc own is changed. CRIU thaws the cgroup and holds the tasks by ptrace alone, so a post-dump
 * action script writes FROZEN again and reads it back before CRIU lets go (ARCHITECTURE.md, rule
 * 1).
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct rb_buf;
struct rb_err;
struct rb_wait;

struct rb_dump {
	const char *runtime_root; /* runc's --root of the engine: "/run/docker/runtime-runc/moby" */
	const char *container_id; /* 64 hex digits */
	const char *work_dir; /* ours alone; gets images/, work/ (CRIU's logs), runc/, criu.conf */
	const char *memory_dir;	  /* for the images, or NULL: in the work folder */
	const char *freezer_path; /* rb_freezer_find() of the container's init */
	int init_pid;		  /* the container's real init (runc's state), not a placeholder */
};

/** rb_criu_has_room_in_memory - is the folder in memory (tmpfs), with so much room, and may we use
 * it? */
bool rb_criu_has_room_in_memory(const char *dir, unsigned long long need_bytes);

/** rb_criu_images_to_memory - make work_dir/images lead to @memory_dir, which is made anew, and the
 * images of pages back to work_dir/pages */
int rb_criu_images_to_memory(const char *work_dir, const char *memory_dir, struct rb_err *err);

/** rb_criu_images_arrive - the same on the target, for images and pages alike */
int rb_criu_images_arrive(const char *work_dir, const char *memory_dir, struct rb_err *err);

/** rb_criu_images_to_disk - copy images that are in memory to work_dir/images, which is there all
 * the time; not synced. Nothing to do where they are there already. */
int rb_criu_images_to_disk(const char *work_dir, struct rb_err *err);

/** rb_criu_restore_all_dumped - what CRIU dumped it shall restore, in a lazy restore too: takes the
 * lazy mark from the pagemap images in a folder. -EPROTO/RB_E_CRIU: not such images. */
int rb_criu_restore_all_dumped(const char *images, struct rb_err *err);

/** rb_criu_pagemap_unlazy - of these, one image; @ret_changed: was anything marked? -EPROTO */
int rb_criu_pagemap_unlazy(const char *image, size_t len, struct rb_buf *ret, bool *ret_changed);

/** rb_criu_descriptors - what the container's standard descriptors are, as runc notes it:
 * "pipe:[1]"; `runc checkpoint` writes the same list to descriptors.json. Its start reads that.
 * @ret: array of strings, may be empty */
int rb_criu_descriptors(const char *runtime_root, const char *container_id, json_t **ret,
			struct rb_err *err);

/** rb_criu_init_pid - init's pid from runc's state.json; Docker's State.Pid may be a placeholder */
int rb_criu_init_pid(const char *runtime_root, const char *container_id, int *ret_pid,
		     struct rb_err *err);

/** rb_criu_placeholder_pid - pid of the placeholder of a container that arrived here before, or 0
 */
int rb_criu_placeholder_pid(const char *run_dir, const char *container_id);

/** rb_criu_placeholder_freezer - rb_freezer_path() of such a container's cgroup */
int rb_criu_placeholder_freezer(const char *run_dir, const char *container_id, char *ret,
				size_t size, struct rb_err *err);

/** rb_criu_check - is there a runc and a CRIU that works here? @ret_version e.g. "criu 4.1.1" */
int rb_criu_check(char *ret_version, int size, const struct rb_wait *wait, struct rb_err *err);

/** rb_criu_dump_prepare - everything that can be done before the freeze (state copy, configuration,
 * action script, a first CRIU start so that its kernel probe is cached) */
int rb_criu_dump_prepare(const struct rb_dump *dump, const struct rb_wait *wait,
			 struct rb_err *err);

/**
 * rb_criu_dump_begin / rb_criu_dump_end - dump the frozen container; it is frozen by its cgroup
 * when the second returns. Between them its files may be read: the tasks stand still.
 * @dump_fd: what rb_criu_dump_begin() returned; released
 *
 * The cgroup must be frozen already. On failure, too, the caller decides whether to thaw; @err has
 * CRIU's own error line ("CRIU: Error (criu/...): ..."). A killed CRIU's leftovers are not mended
 * here (rb_criu_mend(), rb_net_mend(), rb_tcp_repair_off()).
 */
int rb_criu_dump_begin(const struct rb_dump *dump, struct rb_err *err);
int rb_criu_dump_end(int dump_fd, const struct rb_wait *wait, struct rb_err *err);

/**
 * rb_criu_dump_hold - before rb_criu_dump_begin(): CRIU shall go on only up to where it would look
 * at mappings and memory for the first time, and not touch a task before that. Until then it reads
 * what there is of files, sockets and credentials.
 *
 * Return: a descriptor for rb_criu_dump_let_go(); as long as this process has it CRIU waits.
 */
int rb_criu_dump_hold(const struct rb_dump *dump, struct rb_err *err);

/** rb_criu_dump_let_go - @go_on: the lists of what it need not see are complete; or the dump fails,
 * as it does when this process is killed. @hold_fd: released */
int rb_criu_dump_let_go(const struct rb_dump *dump, int hold_fd, bool go_on, struct rb_err *err);

/** rb_criu_mend - after a CRIU that was killed while it held the tasks: kill a CRIU of this dump
 * that is still there, wait until no task of the cgroup is traced any more, cure parasites */
int rb_criu_mend(const struct rb_dump *dump, const struct rb_wait *wait, struct rb_err *err);

/** rb_criu_log_error - first "Error (" line of a CRIU log into @ret ("" when there is none) */
void rb_criu_log_error(const char *log_path, char *ret, int size);
