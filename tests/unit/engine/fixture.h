/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fixture.h - what real engines' inspect returned, and how to look into JSON
 *
 * fixtures/NAME.inspect.json is the inspect of a container of Docker NAME; NAME.create.json the
 * body that was made of it and read by a person. Such bodies have made the same container on
 * Docker 20.10 and 28.5 (and 26.1, but for the mount of an image).
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "spec.h"

#ifndef FIXTURES
#define FIXTURES "tests/unit/engine/fixtures"
#endif

static inline json_t *load(const char *name, const char *kind)
{
	char path[512];
	json_t *out = NULL;
	struct rb_err err = {};

	rb_path(path, sizeof(path), "%s/%s.%s.json", FIXTURES, name, kind);
	if (rb_json_load(path, &out, &err) < 0)
		printf("# %s\n", err.msg);
	return out;
}

static inline json_t *body_of(const json_t *inspect)
{
	json_t *out = NULL;
	struct rb_err err = {};

	if (rb_spec_from_inspect(inspect, "reberth-runtime", &out, &err) < 0)
		printf("# %s\n", err.msg);
	return out;
}

/* the value at a path as compact JSON; "(absent)"; valid until the next but three calls */
static inline const char *at(const json_t *object, const char *path)
{
	static char texts[4][4096];
	static int turn;
	const json_t *value = rb_json_path(object, path);
	_cleanup_free_ char *dump =
		value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS) : NULL;

	turn = (turn + 1) % 4;
	snprintf(texts[turn], sizeof(texts[turn]), "%s", dump ? dump : "(absent)");
	return texts[turn];
}

/* set a member that is some levels deep; takes the value over */
static inline void put(json_t *object, const char *path, const char *key, json_t *value)
{
	json_object_set_new(*path ? rb_json_path(object, path) : object, key, value);
}
