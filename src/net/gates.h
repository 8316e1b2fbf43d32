/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gates.h - private to net/: turn the gates of silence.c, in the namespace that we are in
 *
 * By netlink alone: libnftables needs milliseconds for what takes the kernel 50 us, and a child of
 * its own. Needs CAP_NET_ADMIN.
 */
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RB_GATES_TABLE "reberth"
#define RB_GATES_SET   "covered"
#define RB_GATE_HEARD  "heard" /* netdev: where frames go that are not heard */

enum { RB_GATE_IN = 1, RB_GATE_OUT = 2, RB_GATE_LOOPBACK = 4 };

enum { RB_GATES_DEVICES_MAX = 1024 };

/* What is there now. The tables are made together; but anyone may take some of it away. */
struct rb_gates {
	bool whole;		/* all tables, and what leads to their gates */
	unsigned int shut;	/* RB_GATE_*: in each table */
	unsigned int shut_some; /* in any of them */

	uint32_t covered[RB_GATES_DEVICES_MAX]; /* indices of devices, lo among them */
	size_t covered_count;			/* may be more than there is room for */
};

/** rb_gates_read - look at them. Return: 0, also when there are none; or a negative errno. */
int rb_gates_read(struct rb_gates *ret);

/**
 * rb_gates_turn - one transaction: a rule at the head of each chain of these gates
 * @which: RB_GATE_*
 *
 * Return: 0, or a negative errno as the kernel gave it: -ENOENT when a table or chain is missing.
 */
int rb_gates_turn(unsigned int which, bool shut);
