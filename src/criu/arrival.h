/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arrival.h - how the target's worker, the placeholder and the action script talk
 *
 * `docker start` of an arriving container runs reberth-runtime, which finds an arrival ticket and
 * leaves a placeholder process M in place of the container's init: M holds stdio, console, network
 * namespace and cgroup membership. Files and sockets:
 *
 *   <run_dir>/placeholders/<container id>.json	{"pid","starttime","init"} while M lives
 *
 * and in <run_dir>/arrivals/<container id>/
 *
 *   ticket.json	{"migration","work_dir","pid"}; used once
 *   control.sock	M connects: "hello <pid> <state>\n", state waiting, restoring, restored or
 *			failed. The worker says "restore\n", or "stop\n" (that restore is no good).
 *			M says "restoring\n", "restored <init pid>\n" or "failed <message>\n".
 *   hold.sock		CRIU's post-restore script connects: "held <init pid>\n", and waits for
 *			"go\n" (exit 0) or "abort\n" (exit 1, CRIU kills the tasks)
 *   images		a word to CRIU before its first image: they are here
 *   pages		to its post-setup-namespaces script: the pages are here
 *   abort		to both: give up
 *   released, resumed	from the scripts: the tasks may run; they do
 *   ended		from M: the container has come to its end by itself
 *
 * M and the script connect again and again while nobody listens: a worker that was killed is
 * followed by one that recovers, and until then the tasks stay held.
 */
#pragma once

#include <stdbool.h>

struct rb_arrival;
struct rb_err;
struct rb_wait;

/** rb_arrival_open - write the ticket and listen (also again, by a worker that recovers)
 * @work_dir: has images/ when restoring starts; gets work/ (CRIU's logs) and criu.conf */
int rb_arrival_open(const char *run_dir, const char *migration, const char *container_id,
		    const char *work_dir, struct rb_arrival **ret, struct rb_err *err);

/** rb_arrival_close - stop listening; @forget: remove the ticket and all files of this arrival */
void rb_arrival_close(struct rb_arrival *arrival, bool forget);

/** rb_arrival_forget - the same without an open arrival (clean-up by id) */
void rb_arrival_forget(const char *run_dir, const char *container_id);

/** rb_arrival_wait_placeholder - until M said hello; its network namespace is that of @ret_pid */
int rb_arrival_wait_placeholder(struct rb_arrival *arrival, int *ret_pid,
				const struct rb_wait *wait, struct rb_err *err);

/** rb_arrival_restore - let M run `runc restore`; returns at once. images/descriptors.json must be
 * there; CRIU is started, and waits for rb_arrival_images() where our library is in it
 * (rb_criu_can_skip(); else all images must be there). Does nothing while such a restore goes on.
 */
int rb_arrival_restore(struct rb_arrival *arrival, const struct rb_wait *wait, struct rb_err *err);

/** rb_arrival_call_off - end a restore that waits for its images; then another one can begin */
int rb_arrival_call_off(struct rb_arrival *arrival, const struct rb_wait *wait, struct rb_err *err);

/** rb_arrival_images - of the images everything but the pages is there; CRIU makes namespaces and
 * mounts, and waits for rb_arrival_pages() */
int rb_arrival_images(struct rb_arrival *arrival, struct rb_err *err);

/** rb_arrival_pages - the files with the pages are complete, too */
int rb_arrival_pages(struct rb_arrival *arrival, struct rb_err *err);

/** rb_arrival_wait_held - until the restored tasks are held by the action script. When the restore
 * failed or M died: -EIO/RB_E_CRIU with CRIU's own error line. */
int rb_arrival_wait_held(struct rb_arrival *arrival, int *ret_init_pid, const struct rb_wait *wait,
			 struct rb_err *err);

/** rb_arrival_lost - has the script that held the tasks gone away (CRIU was killed)? Looks, does
 * not wait; false also when none came yet */
bool rb_arrival_lost(struct rb_arrival *arrival);

/** rb_arrival_was_released - from when this is true the tasks may have run, in this boot */
bool rb_arrival_was_released(const char *run_dir, const char *container_id);

/** rb_arrival_has_ended - the tasks ran, and the container has ended by itself since. Who was
 * killed by SIGKILL does not count: its memory may have been lost. */
bool rb_arrival_has_ended(const char *run_dir, const char *container_id);

/** rb_arrival_release - let the held tasks run (go) or have CRIU kill them */
int rb_arrival_release(struct rb_arrival *arrival, bool go, const struct rb_wait *wait,
		       struct rb_err *err);

/** rb_arrival_wait_resumed - until CRIU says that the tasks run; it and runc have some more to do
 */
int rb_arrival_wait_resumed(struct rb_arrival *arrival, const struct rb_wait *wait,
			    struct rb_err *err);

/** rb_arrival_wait_running - until M reports that the container runs */
int rb_arrival_wait_running(struct rb_arrival *arrival, int *ret_init_pid,
			    const struct rb_wait *wait, struct rb_err *err);

/** rb_arrival_probe - is the restored container still held (1), running (2), or gone (0)? Works
 * for a worker that recovers, too: looks at the processes, not at what this one remembers. */
int rb_arrival_probe(const char *run_dir, const char *runtime_root, const char *container_id,
		     struct rb_err *err);
