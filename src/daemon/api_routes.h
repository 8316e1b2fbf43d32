/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_routes.h - what can be asked of the local API (used by api.c only)
 */
#pragma once

#include <jansson.h>

struct rb_api_ops;
struct rb_err;

#define RB_API_ALLOWED_MAX 32

/** A request whose body has been read. */
struct rb_api_call {
	const struct rb_api_ops *ops;
	void *ctx;
	const char *id;	     /* of the path; "" where it has none */
	const json_t *body;  /* NULL: there was none */
	unsigned int status; /* of an answer that is no error: the route's, or another */
};

struct rb_api_route {
	const char *method;
	const char *path; /* "{id}" stands for one segment */
	unsigned int status;
	int (*handle)(struct rb_api_call *call, json_t **ret, struct rb_err *err);
};

/**
 * rb_api_route - the row for a request
 * @ret_id: RB_API_ID_MAX + 1 bytes; untouched where the path has none
 * @ret_allowed: methods that its path has, as in an Allow header; empty where it is unknown
 *
 * Return: row, or NULL.
 */
const struct rb_api_route *rb_api_route(const char *method, const char *url, char *ret_id,
					char ret_allowed[RB_API_ALLOWED_MAX]);
