/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slowdown.h - a container that writes its memory faster than it travels gets less processor time
 */
#pragma once

struct rb_err;
struct rb_migration;

/** rb_slowdown_more - one step: a third less than it used since the last call (in the first one:
 * than what it uses within a moment). What it had is in the journal before. -ENOTSUP: no CPU quota
 */
int rb_slowdown_more(struct rb_migration *m, struct rb_err *err);

/** rb_slowdown_end - it has again what it had; works from the journal alone, and twice */
int rb_slowdown_end(struct rb_migration *m, struct rb_err *err);
