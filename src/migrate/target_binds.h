/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target_binds.h - what becomes of the path of a bind mount (inside of migrate/ only)
 */
#pragma once

#include <jansson.h>
#include <limits.h>
#include <sys/stat.h>

#include "tree.h"

struct rb_node;
struct rb_wait;

enum bind_fate {
	BIND_ABSENT,  /* nothing is there */
	BIND_EMPTY,   /* a folder or file with nothing in it */
	BIND_LEFT,    /* what the same container had left, and nobody has changed since */
	BIND_REFUSED, /* nothing may be brought there */
};

struct bind_judged {
	char path[PATH_MAX];	   /* without links */
	struct stat st;		   /* of what is there */
	char stamp[RB_STAMP_SIZE]; /* of what was left */
	char what[PATH_MAX + 300];
	const char *remedy; /* or NULL */
};

/**
 * bind_judge - may a bind mount be brought here?
 * @container: its name
 * @bind: of the offer
 * @j: zero-initialised; of one that is refused it has the words
 */
enum bind_fate bind_judge(const struct rb_node *node, const char *container, const json_t *bind,
			  const char *docker_root, const struct rb_wait *wait,
			  struct bind_judged *j);
