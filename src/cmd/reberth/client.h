/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - requests to the local reberthd
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

struct client;
struct rb_err;

#define CLIENT_SOCKET	  "/run/reberth/api.sock"
#define CLIENT_TIMEOUT_MS 30000
#define CLIENT_PATH_MAX	  128

/** client_new - for a socket (borrowed); connects with the first request. Return: NULL: no memory.
 */
struct client *client_new(const char *socket_path);

/** client_free - NULL is allowed */
void client_free(struct client *client);

static inline void client_free_ptr(struct client **client)
{
	client_free(*client);
}
#define _cleanup_client_ __attribute__((cleanup(client_free_ptr)))

/**
 * client_request - ask and wait for the answer
 * @body: borrowed; NULL for none
 * @timeout_ms: for all of it; ends with RB_E_TIMEOUT
 * @ret: the answer of a request that succeeded, new reference
 *
 * Return: 0 or negative errno. RB_E_PEER: reberthd does not run or went away. RB_E_DENIED: not for
 * this user. Errors that reberthd reports arrive as it gave them, with its stage.
 */
int client_request(struct client *client, const char *method, const char *path, const json_t *body,
		   int64_t timeout_ms, json_t **ret, struct rb_err *err);

/**
 * client_migration_path - "/v1/migrations/<id>" + @suffix
 *
 * Return: 0, or -EINVAL with RB_E_USAGE when @id cannot be an id.
 */
int client_migration_path(char ret[CLIENT_PATH_MAX], const char *id, const char *suffix,
			  struct rb_err *err);

/** client_push_path - "/v1/pushes/<id>" + @suffix. Return: as above. */
int client_push_path(char ret[CLIENT_PATH_MAX], const char *id, const char *suffix,
		     struct rb_err *err);

/** client_network_path - "/v1/networks/<name>" + @suffix. Return: as above. */
int client_network_path(char ret[CLIENT_PATH_MAX], const char *name, const char *suffix,
			struct rb_err *err);

/** client_forward_path - "/v1/forwards/<id>". Return: 0 or -EPROTO. */
int client_forward_path(char ret[CLIENT_PATH_MAX], const char *id, struct rb_err *err);

/** client_error - fill @err from {"code","errno","stage","message"} */
void client_error(const json_t *error, struct rb_err *err);
