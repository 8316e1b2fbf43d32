/* SPDX-License-Identifier: Apache-2.0 */
/*
 * switchover.h - a container that moves misses nothing of what its network hears (net/frames.h)
 *
 * On the source frames are caught from the freeze on, on the target from READY on: peers and
 * switches may learn the new place at any time once the tasks were let go. When the tasks run, the
 * source's frames come over and are heard; then the new place is announced; stragglers follow; then
 * what was caught here, without what is for many and was caught there, too; and then the gate
 * opens. All this is for the peers' comfort: what is lost on the way they send again, and no
 * failure of it is one of the move.
 */
#pragma once

#include <stdbool.h>

struct rb_buf;
struct rb_err;
struct rb_migration;
struct rb_wait;

/** rb_switchover_capture - catch what the silenced namespace hears; to be called before its gate
 * shuts */
void rb_switchover_capture(struct rb_migration *m, int netns_fd);

/** rb_switchover_prepare - find the way in for what was caught */
void rb_switchover_prepare(struct rb_migration *m, int netns_fd);

/** rb_switchover_close - of both */
void rb_switchover_close(struct rb_migration *m);

/** rb_switchover_open - on one host: what was caught is heard, then the gate opens; the tasks run.
 * Return: negative errno when the gate does not open. */
int rb_switchover_open(struct rb_migration *m, int netns_fd, struct rb_err *err);

/* --- the streams behind the calls "frames" and "settle" --- */

/** rb_switchover_send - source: what was caught so far */
int rb_switchover_send(struct rb_migration *m, const struct rb_wait *wait, struct rb_err *err);

/** rb_switchover_send_stragglers - source: what comes while peers and switches learn the new place
 */
int rb_switchover_send_stragglers(struct rb_migration *m, const struct rb_wait *wait,
				  struct rb_err *err);

/** rb_switchover_receive - target: the stream, as it comes; kept in m->carried, too */
void rb_switchover_receive(struct rb_migration *m);
