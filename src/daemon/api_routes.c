// SPDX-License-Identifier: Apache-2.0
/*
 * api_routes.c - what can be asked of the local API
 */
#include "api_routes.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "api_check.h"
#include "cleanup.h"
#include "err.h"
#include "json.h"

/* A handler sets *ret, or fails, or leaves the answer to rb_api_answer(). */
#define HANDLER(name) static int name(struct rb_api_call *call, json_t **ret, struct rb_err *err)

HANDLER(post_migration)
{
	int r = rb_api_check_migrate(call->body, err);

	if (r < 0)
		return r;
	if (rb_json_bool(call->body, "dry_run", false))
		call->status = MHD_HTTP_OK;
	return call->ops->migrate(call->ctx, call->body, ret, err);
}

HANDLER(get_migrations)
{
	return call->ops->list(call->ctx, ret, err);
}

HANDLER(get_migration)
{
	return call->ops->inspect(call->ctx, call->id, ret, err);
}

HANDLER(post_cancel)
{
	*ret = json_object();
	return call->ops->cancel(call->ctx, call->id, err);
}

HANDLER(post_resolve)
{
	const char *decision;
	int r = rb_api_check_resolve(call->body, &decision, err);

	if (r < 0)
		return r;
	*ret = json_object();
	return call->ops->resolve(call->ctx, call->id, decision, err);
}

HANDLER(get_node)
{
	return call->ops->node(call->ctx, ret, err);
}

/* @command with the id as the network's name, and what the body has */
static int network_command(const struct rb_api_call *call, const char *command, const json_t *body,
			   json_t **ret, struct rb_err *err)
{
	_cleanup_json_ json_t *request = body ? json_copy((json_t *)body) : json_object();

	json_object_set_new(request, "command", json_string(command));
	if (call->id[0])
		json_object_set_new(request, "name", json_string(call->id));
	return call->ops->network(call->ctx, request, ret, err);
}

HANDLER(post_network)
{
	int r = rb_api_check_network(call->body, err);

	return r < 0 ? r : network_command(call, "create", call->body, ret, err);
}

HANDLER(get_networks)
{
	return network_command(call, "ls", NULL, ret, err);
}

HANDLER(get_network)
{
	return network_command(call, "inspect", NULL, ret, err);
}

HANDLER(post_network_rm)
{
	int r = rb_api_check_network_rm(call->body, err);

	return r < 0 ? r : network_command(call, "rm", call->body, ret, err);
}

HANDLER(get_forwards)
{
	return call->ops->forwards(call->ctx, ret, err);
}

HANDLER(delete_forward)
{
	(void)ret;
	return call->ops->forward_rm(call->ctx, call->id, err);
}

HANDLER(post_network_join)
{
	int r = rb_api_check_network_node(call->body, err);

	return r < 0 ? r : network_command(call, "join", call->body, ret, err);
}

HANDLER(post_network_leave)
{
	int r = rb_api_check_network_node(call->body, err);

	return r < 0 ? r : network_command(call, "leave", call->body, ret, err);
}

HANDLER(post_push)
{
	int r = rb_api_check_push(call->body, err);

	return r < 0 ? r : call->ops->push(call->ctx, call->body, ret, err);
}

HANDLER(get_pushes)
{
	return call->ops->pushes(call->ctx, ret, err);
}

HANDLER(get_push)
{
	return call->ops->push_inspect(call->ctx, call->id, ret, err);
}

HANDLER(post_push_cancel)
{
	*ret = json_object();
	return call->ops->push_cancel(call->ctx, call->id, err);
}

HANDLER(post_image_diff)
{
	int r = rb_api_check_image_diff(call->body, err);

	return r < 0 ? r : call->ops->image_diff(call->ctx, call->body, ret, err);
}

HANDLER(get_version)
{
	(void)call, (void)err;
	*ret = json_pack("{s:s, s:i}", "version", RB_VERSION, "api", 1);
	return 0;
}

static const struct rb_api_route routes[] = {
	{ "POST", "/v1/migrations", MHD_HTTP_ACCEPTED, post_migration },
	{ "GET", "/v1/migrations", MHD_HTTP_OK, get_migrations },
	{ "GET", "/v1/migrations/{id}", MHD_HTTP_OK, get_migration },
	{ "POST", "/v1/migrations/{id}/cancel", MHD_HTTP_ACCEPTED, post_cancel },
	{ "POST", "/v1/migrations/{id}/resolve", MHD_HTTP_ACCEPTED, post_resolve },
	{ "POST", "/v1/networks", MHD_HTTP_CREATED, post_network },
	{ "GET", "/v1/networks", MHD_HTTP_OK, get_networks },
	{ "GET", "/v1/networks/{id}", MHD_HTTP_OK, get_network },
	{ "POST", "/v1/networks/{id}/rm", MHD_HTTP_OK, post_network_rm },
	{ "POST", "/v1/networks/{id}/join", MHD_HTTP_OK, post_network_join },
	{ "POST", "/v1/networks/{id}/leave", MHD_HTTP_OK, post_network_leave },
	{ "POST", "/v1/pushes", MHD_HTTP_ACCEPTED, post_push },
	{ "GET", "/v1/pushes", MHD_HTTP_OK, get_pushes },
	{ "GET", "/v1/pushes/{id}", MHD_HTTP_OK, get_push },
	{ "POST", "/v1/pushes/{id}/cancel", MHD_HTTP_ACCEPTED, post_push_cancel },
	{ "POST", "/v1/images/diff", MHD_HTTP_OK, post_image_diff },
	{ "GET", "/v1/node", MHD_HTTP_OK, get_node },
	{ "GET", "/v1/forwards", MHD_HTTP_OK, get_forwards },
	{ "DELETE", "/v1/forwards/{id}", MHD_HTTP_OK, delete_forward },
	{ "GET", "/v1/version", MHD_HTTP_OK, get_version },
};

const struct rb_api_route *rb_api_route(const char *method, const char *url, char *ret_id,
					char ret_allowed[RB_API_ALLOWED_MAX])
{
	size_t len = 0;

	ret_allowed[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
		if (!rb_api_match(routes[i].path, url, ret_id))
			continue;
		if (strcmp(routes[i].method, method) == 0)
			return &routes[i];
		len += (size_t)snprintf(ret_allowed + len, RB_API_ALLOWED_MAX - len, "%s%s",
					len ? ", " : "", routes[i].method);
	}
	return NULL;
}
