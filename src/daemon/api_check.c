// SPDX-License-Identifier: Apache-2.0
/*
 * api_check.c - who and what the local API lets in
 */
#include "api_check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "json.h"

#define PEER_GROUPS_MAX 65536 /* NGROUPS_MAX of the kernel */

static const char id_characters[] = "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789_-";

bool rb_api_match(const char *pattern, const char *path, char *ret_id)
{
	const char *id = NULL;
	size_t id_len = 0;

	while (*pattern) {
		if (strncmp(pattern, "{id}", 4) == 0) {
			id = path;
			id_len = strspn(path, id_characters);
			if (id_len == 0 || id_len > RB_API_ID_MAX)
				return false;
			pattern += 4;
			path += id_len;
		} else if (*pattern++ != *path++) {
			return false;
		}
	}
	if (*path)
		return false;
	if (id) {
		memcpy(ret_id, id, id_len);
		ret_id[id_len] = '\0';
	}
	return true;
}

static bool peer_in_group(int fd, gid_t gid)
{
	socklen_t size = PEER_GROUPS_MAX * sizeof(gid_t);
	_cleanup_free_ gid_t *groups = malloc(size);

	if (!groups || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
		return false;
	for (size_t i = 0; i < size / sizeof(gid_t); i++)
		if (groups[i] == gid)
			return true;
	return false;
}

bool rb_api_peer_allowed(int fd, gid_t gid)
{
	struct ucred cred;
	socklen_t size = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
		return false;
	/* A daemon that is not root can do nothing for its own user that he cannot do himself. */
	if (cred.uid == 0 || cred.uid == geteuid())
		return true;
	return gid != (gid_t)-1 && (cred.gid == gid || peer_in_group(fd, gid));
}

int rb_api_parse_body(const char *text, size_t len, json_t **ret, struct rb_err *err)
{
	_cleanup_json_ json_t *value = NULL;
	struct rb_err why = {};

	if (rb_json_parse(text, len, &value, &why) < 0)
		return rb_err_code(err, RB_E_USAGE, -EINVAL, "the request is %s", why.msg);
	if (!json_is_object(value))
		return rb_err_code(err, RB_E_USAGE, -EINVAL, "the request is not a JSON object");
	*ret = TAKE_PTR(value);
	return 0;
}

enum member_type { MEMBER_TEXT, MEMBER_BOOL, MEMBER_POSITIVE, MEMBER_TEXTS };

struct member {
	const char *name;
	enum member_type type;
	bool required;
};

static const char *const member_type_names[] = {
	[MEMBER_TEXT] = "a text that is not empty",
	[MEMBER_BOOL] = "true or false",
	[MEMBER_POSITIVE] = "an integer above 0",
	[MEMBER_TEXTS] = "a list of texts that are not empty",
};

static bool are_texts(const json_t *list)
{
	const json_t *value;
	size_t i;

	json_array_foreach (list, i, value)
		if (json_string_length(value) == 0)
			return false;
	return json_array_size(list) > 0;
}

static bool has_type(const json_t *value, enum member_type type)
{
	switch (type) {
	case MEMBER_TEXT:
		return json_is_string(value) && json_string_length(value) > 0;
	case MEMBER_BOOL:
		return json_is_boolean(value);
	case MEMBER_POSITIVE:
		return json_is_integer(value) && json_integer_value(value) > 0;
	case MEMBER_TEXTS:
		return are_texts(value);
	}
	return false;
}

/*
 * Members that nobody knows are refused: who misspells "timeout_ms" should hear of it before the
 * migration, not wonder after it.
 */
static int check_members(const json_t *body, const struct member *members, size_t count,
			 struct rb_err *err)
{
	const char *name;
	json_t *value;

	for (size_t i = 0; i < count; i++)
		if (members[i].required && !json_object_get(body, members[i].name))
			return rb_err_code(err, RB_E_USAGE, -EINVAL, "the request lacks '%s'",
					   members[i].name);
	json_object_foreach ((json_t *)body, name, value) {
		size_t i = 0;

		while (i < count && strcmp(members[i].name, name) != 0)
			i++;
		if (i == count)
			return rb_err_code(err, RB_E_USAGE, -EINVAL,
					   "the request has a member '%.100s' that is not known",
					   name);
		if (!has_type(value, members[i].type))
			return rb_err_code(err, RB_E_USAGE, -EINVAL, "'%s' must be %s", name,
					   member_type_names[members[i].type]);
	}
	return 0;
}

int rb_api_check_migrate(const json_t *body, struct rb_err *err)
{
	static const struct member members[] = {
		{ "container", MEMBER_TEXT, true },
		{ "target", MEMBER_TEXT, true },
		{ "strategy", MEMBER_TEXT, false },
		{ "dry_run", MEMBER_BOOL, false },
		{ "keep_source", MEMBER_BOOL, false },
		{ "reconnect", MEMBER_BOOL, false },
		{ "no_forward", MEMBER_BOOL, false },
		{ "group", MEMBER_BOOL, false },
		{ "timeout_ms", MEMBER_POSITIVE, false },
		{ "bandwidth", MEMBER_POSITIVE, false },
		{ "connections", MEMBER_POSITIVE, false },
		{ "max_downtime_ms", MEMBER_POSITIVE, false },
		{ "on_no_convergence", MEMBER_TEXT, false },
		{ "allow_post_copy", MEMBER_BOOL, false },
		{ "verify", MEMBER_BOOL, false },
		{ "with_bind", MEMBER_BOOL, false },
		{ "binds_wanted", MEMBER_TEXTS, false },
		{ "shared_volumes", MEMBER_TEXTS, false },
		{ "volume_in_use", MEMBER_TEXT, false },
	};

	return check_members(body, members, ARRAY_SIZE(members), err);
}

int rb_api_check_network(const json_t *body, struct rb_err *err)
{
	static const struct member members[] = {
		{ "name", MEMBER_TEXT, true },	   { "subnet", MEMBER_TEXT, true },
		{ "driver", MEMBER_TEXT, false },  { "parent", MEMBER_TEXT, false },
		{ "gateway", MEMBER_TEXT, false }, { "nodes", MEMBER_TEXTS, false },
		{ "mtu", MEMBER_POSITIVE, false },
	};

	return check_members(body, members, ARRAY_SIZE(members), err);
}

int rb_api_check_network_rm(const json_t *body, struct rb_err *err)
{
	static const struct member members[] = { { "force", MEMBER_BOOL, false } };

	return check_members(body, members, ARRAY_SIZE(members), err);
}

int rb_api_check_network_node(const json_t *body, struct rb_err *err)
{
	static const struct member members[] = { { "node", MEMBER_TEXT, true },
						 { "force", MEMBER_BOOL, false } };

	return check_members(body, members, ARRAY_SIZE(members), err);
}

int rb_api_check_push(const json_t *body, struct rb_err *err)
{
	static const struct member members[] = { { "image", MEMBER_TEXT, true },
						 { "nodes", MEMBER_TEXTS, true } };

	return check_members(body, members, ARRAY_SIZE(members), err);
}

int rb_api_check_image_diff(const json_t *body, struct rb_err *err)
{
	static const struct member members[] = { { "image", MEMBER_TEXT, true },
						 { "node", MEMBER_TEXT, true } };

	return check_members(body, members, ARRAY_SIZE(members), err);
}

int rb_api_check_resolve(const json_t *body, const char **ret_decision, struct rb_err *err)
{
	static const struct member members[] = { { "decision", MEMBER_TEXT, true } };
	int r = check_members(body, members, ARRAY_SIZE(members), err);
	const char *decision;

	if (r < 0)
		return r;
	decision = rb_json_str(body, "decision", "");
	if (strcmp(decision, "commit") != 0 && strcmp(decision, "abort") != 0)
		return rb_err_code(err, RB_E_USAGE, -EINVAL,
				   "'decision' must be \"commit\" or \"abort\"");
	*ret_decision = decision;
	return 0;
}

json_t *rb_api_error_json(const struct rb_err *err)
{
	return json_pack("{s:{s:s, s:i, s:o, s:o}}", "error", "code", rb_code_name(err->code),
			 "errno", err->errnum, "stage", rb_json_text(err->stage), "message",
			 rb_json_text(err->msg));
}
