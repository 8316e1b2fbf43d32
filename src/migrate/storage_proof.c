// SPDX-License-Identifier: Apache-2.0
/*
 * storage_proof.c - shared storage on the source: have the target prove that it has the same
 *
 * Neither what mountinfo says nor the user's word is enough: the storage may not be mounted there
 * yet, and then the container would find an empty folder, and write to it. So there is a token
 * (fs/same.h) in each folder that the container may write to, from before the target is asked what
 * stands in the way until its container has been started, when Docker has mounted there what it
 * only mounts then. Its name has the migration's id. It is in the journal, as "token" of its entry,
 * before it is made. A dry run, which is in no journal, makes none: there the inode has to do.
 *
 * "seen" of each entry is what rb_same_look() says.
 */
#include <string.h>

#include "cleanup.h"
#include "conn.h"
#include "err.h"
#include "json.h"
#include "log.h"
#include "migration.h"
#include "same.h"
#include "source.h"
#include "storage.h"

#define CALL_MS 60000

static const struct kind {
	const char *list, *what, *name;
} kinds[] = {
	{ "volumes", "volume", "name" },
	{ "binds", "bind", "source" },
};

/* One after the other of what is shared; begins with zeros. */
struct shared {
	size_t member, kind, next;
	json_t *entry;
	const char *path;
};

static bool next_shared(struct rb_migration *m, struct shared *at)
{
	for (; at->member < m->members_count; at->member++, at->kind = 0)
		for (; at->kind < ARRAY_SIZE(kinds); at->kind++, at->next = 0) {
			const json_t *list =
				json_object_get(m->members[at->member].facts, kinds[at->kind].list);

			while (at->next < json_array_size(list)) {
				at->entry = json_array_get(list, at->next++);
				at->path = rb_json_str(at->entry, "source", "");
				if (rb_storage_is_shared(at->entry))
					return true;
			}
		}
	return false;
}

/* What is only read is left as it is; and beside a single file there may be anything. */
static int plan_tokens(struct rb_migration *m, struct rb_err *err)
{
	for (struct shared at = {}; next_shared(m, &at);)
		if (strcmp(rb_json_str(at.entry, "kind", "folder"), "folder") == 0 &&
		    rb_json_bool(at.entry, "rw", true))
			json_object_set_new(at.entry, "token",
					    json_sprintf("." RB_SAME_TOKEN "%s", m->entry.id));
	return rb_migration_save(m, err);
}

int rb_storage_put_tokens(struct rb_migration *m, bool tokens, struct rb_err *err)
{
	int r = tokens ? plan_tokens(m, err) : 0;

	if (r < 0)
		return r;
	for (struct shared at = {}; next_shared(m, &at);) {
		const char *token = rb_json_str(at.entry, "token", NULL);
		json_t *seen;

		r = token ? rb_same_put_token(at.path, token) : 0;
		if (r < 0) {
			rb_info("check: nothing can be made in '%s', which both hosts share: %s",
				at.path, strerror(-r));
			json_object_del(at.entry, "token");
		}
		/* the token has changed the folder */
		seen = rb_same_look(at.path);
		if (seen)
			json_object_set_new(at.entry, "seen", seen);
	}
	return 0;
}

static int prove(struct rb_migration *m, const struct shared *at, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, CALL_MS);
	_cleanup_json_ json_t *args = rb_member_args(m, &m->members[at->member]);
	const struct kind *kind = &kinds[at->kind];
	int r;

	json_object_set_new(args, "what", json_string(kind->what));
	json_object_set_new(args, "name", json_string(rb_json_str(at->entry, kind->name, "")));
	json_object_set_new(args, "seen", rb_same_look(at->path) ?: json_null());
	r = rb_conn_call(m->conn, "shared", args, &wait, err);
	return r < 0 ? r : rb_conn_reply(m->conn, NULL, &wait, err);
}

int rb_storage_prove(struct rb_migration *m, struct rb_err *err)
{
	int r = 0;

	for (struct shared at = {}; r >= 0 && next_shared(m, &at);)
		r = prove(m, &at, err);
	return r;
}

void rb_storage_remove_tokens(struct rb_migration *m)
{
	for (struct shared at = {}; next_shared(m, &at);) {
		const char *token = rb_json_str(at.entry, "token", NULL);
		int r = token ? rb_same_remove_token(at.path, token) : 0;

		if (r < 0)
			rb_warn("'%s' stays in '%s': %s", token, at.path, strerror(-r));
		else
			json_object_del(at.entry, "token");
	}
}
