/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lock.h - which process does what, on this host
 */
#pragma once

struct rb_err;
struct rb_node;

/** rb_lock_take - be the one process of that name. Return: descriptor to keep open; -EBUSY: there
 * is one */
int rb_lock_take(const struct rb_node *node, const char *name, struct rb_err *err);

/** rb_lock_holder - the process of that name. Return: pid, 0: none. Not for the holder itself. */
int rb_lock_holder(const struct rb_node *node, const char *name);

/** rb_lock_forget - remove the file of a name that is not used again */
void rb_lock_forget(const struct rb_node *node, const char *name);
