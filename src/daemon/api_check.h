/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_check.h - who and what the local API lets in (used by api.c and api_routes.c only)
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

struct rb_err;

#define RB_API_ID_MAX 64

/**
 * rb_api_match - does a path follow a pattern?
 * @pattern: "/v1/things/{id}/verb"; "{id}" stands for one segment of at most RB_API_ID_MAX
 *	characters of [A-Za-z0-9_-]
 * @ret_id: RB_API_ID_MAX + 1 bytes; untouched where it does not match
 */
bool rb_api_match(const char *pattern, const char *path, char *ret_id);

/**
 * rb_api_peer_allowed - may the process that made this unix connection use the API?
 * @gid: group that may, (gid_t)-1 for none
 *
 * Its credentials are those at the time of its connect(2).
 */
bool rb_api_peer_allowed(int fd, gid_t gid);

/** rb_api_parse_body - a body that must be a JSON object. Return: 0 or -EINVAL with RB_E_USAGE. */
int rb_api_parse_body(const char *text, size_t len, json_t **ret, struct rb_err *err);

/** rb_api_check_migrate - members of POST /v1/migrations; NULL: no body. Return: as above. */
int rb_api_check_migrate(const json_t *body, struct rb_err *err);

/** rb_api_check_network, rb_api_check_network_rm, rb_api_check_network_node - members of POST
 * /v1/networks, of .../rm, and of .../join and .../leave */
int rb_api_check_network(const json_t *body, struct rb_err *err);
int rb_api_check_network_rm(const json_t *body, struct rb_err *err);
int rb_api_check_network_node(const json_t *body, struct rb_err *err);

/** rb_api_check_push, rb_api_check_image_diff - members of POST /v1/pushes, and of
 * POST /v1/images/diff */
int rb_api_check_push(const json_t *body, struct rb_err *err);
int rb_api_check_image_diff(const json_t *body, struct rb_err *err);

/** rb_api_check_resolve - members of POST .../resolve. @ret_decision is borrowed from @body. */
int rb_api_check_resolve(const json_t *body, const char **ret_decision, struct rb_err *err);

/** rb_api_error_json - {"error":{"code","errno","stage","message"}}, new; NULL: no memory */
json_t *rb_api_error_json(const struct rb_err *err);
