/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attached.h - a container that is connected to a network during its move does not move
 *
 * The target makes it with the networks that it had when the move began. What is connected or
 * disconnected later would be undone by the move, without a word.
 */
#pragma once

struct rb_err;
struct rb_migration;
struct rb_wait;

/** rb_attached_note - for the other two: which devices there are, as a fact */
int rb_attached_note(struct rb_migration *m, struct rb_err *err);

/** rb_attached_still - are there the same devices? Return: 0, or RB_E_CANCELED */
int rb_attached_still(struct rb_migration *m, struct rb_err *err);

/** rb_attached_networks - the same, and what Docker says, which may have been about to connect it
 * when the move began */
int rb_attached_networks(struct rb_migration *m, const struct rb_wait *wait, struct rb_err *err);
