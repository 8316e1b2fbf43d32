// SPDX-License-Identifier: Apache-2.0
/*
 * state.c - names of the states and roles
 */
#include "state.h"

#include <assert.h>
#include <string.h>

static const char *const role_names[] = { [RB_SOURCE] = "source", [RB_TARGET] = "target" };
static_assert(sizeof(role_names) / sizeof(role_names[0]) == RB_ROLE_MAX, "a role lacks its name");

static const char *const state_names[] = {
	[RB_PREPARING] = "preparing", [RB_FROZEN] = "frozen",	[RB_COMMIT] = "commit",
	[RB_READY] = "ready",	      [RB_GO] = "go",		[RB_ABORT] = "abort",
	[RB_DONE] = "done",	      [RB_ABORTED] = "aborted",
};
static_assert(sizeof(state_names) / sizeof(state_names[0]) == RB_STATE_MAX,
	      "a state lacks its name");

const char *rb_role_name(enum rb_role role)
{
	return role_names[role];
}

const char *rb_state_name(enum rb_state state)
{
	return state_names[state];
}

enum rb_state rb_state_parse(const char *name)
{
	for (int i = 0; i < RB_STATE_MAX; i++)
		if (name && strcmp(state_names[i], name) == 0)
			return (enum rb_state)i;
	return RB_STATE_MAX;
}
