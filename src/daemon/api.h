/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.h - the local HTTP API of reberthd on a unix socket
 *
 * There are no threads here: the owner polls rb_api_fd() for POLLIN, for at most
 * rb_api_timeout_ms(), and then calls rb_api_run() (calling it too often does no harm). Operations
 * are called from within rb_api_run(), one at a time; while one runs nobody else is answered, so
 * they should start work rather than do it: see rb_api_later(). SIGPIPE should be ignored in the
 * process.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

struct rb_api;
struct rb_api_request;
struct rb_err;

/**
 * struct rb_api_ops - what the daemon does for its callers
 *
 * Return of each: 0, or negative errno with the error filled; its code decides the HTTP status.
 * *ret is a new reference that the API releases. The request of migrate() is borrowed; it is an
 * object that has "container" and "target" as non-empty texts and whose other members, where they
 * are there, have the right types: "strategy", "on_no_convergence" (text), "bandwidth" (bytes per
 * second), "connections", "max_downtime_ms", "dry_run", "keep_source", "no_forward", "group",
 * "verify" and "reconnect" (bool), "timeout_ms" (integer above 0). An id has 1 to 64 characters of
 * [A-Za-z0-9_-] and may be the beginning of one. The request of network() has "command" and, but
 * for "ls", "name"; the other members as network/cluster.h has them, of the right types. That of
 * push() has "image" and the list "nodes", that of image_diff() "image" and "node", as texts that
 * are not empty. A decision is "commit" or "abort".
 */
struct rb_api_ops {
	int (*migrate)(void *ctx, const json_t *request, json_t **ret, struct rb_err *err);
	int (*list)(void *ctx, json_t **ret, struct rb_err *err);
	int (*inspect)(void *ctx, const char *id, json_t **ret, struct rb_err *err);
	int (*cancel)(void *ctx, const char *id, struct rb_err *err);
	int (*resolve)(void *ctx, const char *id, const char *decision, struct rb_err *err);
	int (*node)(void *ctx, json_t **ret, struct rb_err *err);
	int (*network)(void *ctx, const json_t *request, json_t **ret, struct rb_err *err);
	int (*forwards)(void *ctx, json_t **ret, struct rb_err *err);
	int (*forward_rm)(void *ctx, const char *id, struct rb_err *err); /* answers later */
	int (*push)(void *ctx, const json_t *request, json_t **ret, struct rb_err *err);
	int (*pushes)(void *ctx, json_t **ret, struct rb_err *err);
	int (*push_inspect)(void *ctx, const char *id, json_t **ret, struct rb_err *err);
	int (*push_cancel)(void *ctx, const char *id, struct rb_err *err);
	int (*image_diff)(void *ctx, const json_t *request, json_t **ret, struct rb_err *err);
};

/**
 * rb_api_start - listen on a unix socket
 * @socket_path: in a folder that exists; a socket that is there already is replaced, so the caller
 *	makes sure that no other reberthd lives
 * @ops: must outlive the API
 * @ctx: first argument of every operation
 *
 * Callers are allowed in when they are root, the daemon's own user, or have the group "reberth"
 * (as it was when the API started). The socket's mode says the same.
 *
 * Return: 0 or negative errno. Needs root where the group exists (chown of the socket).
 */
int rb_api_start(const char *socket_path, const struct rb_api_ops *ops, void *ctx,
		 struct rb_api **ret, struct rb_err *err);

/** rb_api_stop - close all connections, remove the socket if it is still ours; NULL is allowed */
void rb_api_stop(struct rb_api *api);

/** rb_api_fd - descriptor to poll for POLLIN; stays the same and stays the API's */
int rb_api_fd(const struct rb_api *api);

/** rb_api_timeout_ms - call rb_api_run() after at most this time, -1: only when fd is readable */
int rb_api_timeout_ms(const struct rb_api *api);

/** rb_api_run - do what can be done without waiting: accept, read, call operations, answer */
void rb_api_run(struct rb_api *api);

/**
 * rb_api_later - within an operation: the answer comes later, with rb_api_answer()
 *
 * The operation then returns 0 without setting *ret. If it fails after all, the handle is void and
 * the error is the answer. All handles are void after rb_api_stop(), which answers them with an
 * error. A client that goes away does not void its handle.
 *
 * Return: handle, for one rb_api_answer(); NULL outside of an operation.
 */
struct rb_api_request *rb_api_later(struct rb_api *api);

/** rb_api_is_gone - has the client of a request that waits hung up? It is answered all the same */
bool rb_api_is_gone(const struct rb_api_request *req);

/**
 * rb_api_answer - answer a request that rb_api_later() kept waiting; call rb_api_run() soon after
 * @value: the answer, its reference is taken over; NULL for an error
 * @err: why, where @value is NULL
 */
void rb_api_answer(struct rb_api_request *req, json_t *value, const struct rb_err *err);
