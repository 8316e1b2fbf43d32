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

static const struct {
	const char *list, *what, *name;
} kinds[] = {
	{ "volumes", "volume", "name" },
	{ "binds", "bind", "source" },
};

/* For each that is shared; @fn gets the row of kinds[] as well. Until one fails. */
static int each_shared(struct rb_migration *m,
		       int (*fn)(struct rb_migration *m, struct rb_member *c, size_t kind,
				 json_t *entry, struct rb_err *err),
		       struct rb_err *err)
{
	json_t *entry;
	size_t i;
	int r = 0;

	rb_each_member (c, m)
		for (size_t kind = 0; kind < ARRAY_SIZE(kinds); kind++)
			json_array_foreach (json_object_get(c->facts, kinds[kind].list), i, entry)
				if (r >= 0 && rb_storage_is_shared(entry))
					r = fn(m, c, kind, entry, err);
	return r;
}

static const char *path_of(const json_t *entry)
{
	return rb_json_str(entry, "source", "");
}

/* What is only read is left as it is; and beside a single file there may be anything. */
static int plan_token(struct rb_migration *m, struct rb_member *c, size_t kind, json_t *entry,
		      struct rb_err *err)
{
	bool folder = strcmp(rb_json_str(entry, "kind", "folder"), "folder") == 0;

	(void)c;
	(void)kind;
	(void)err;
	if (folder && rb_json_bool(entry, "rw", true))
		json_object_set_new(entry, "token",
				    json_sprintf("." RB_SAME_TOKEN "%s", m->entry.id));
	return 0;
}

static int put_token(struct rb_migration *m, struct rb_member *c, size_t kind, json_t *entry,
		     struct rb_err *err)
{
	const char *name = rb_json_str(entry, "token", NULL);
	int r = name ? rb_same_put_token(path_of(entry), name) : 0;

	(void)m;
	(void)c;
	(void)kind;
	(void)err;
	if (r < 0) {
		rb_info("check: nothing can be made in '%s', which both hosts share: %s",
			path_of(entry), strerror(-r));
		json_object_del(entry, "token");
	}
	return 0;
}

static int look(struct rb_migration *m, struct rb_member *c, size_t kind, json_t *entry,
		struct rb_err *err)
{
	json_t *seen = rb_same_look(path_of(entry));

	(void)m;
	(void)c;
	(void)kind;
	(void)err;
	if (seen)
		json_object_set_new(entry, "seen", seen);
	return 0;
}

int rb_storage_put_tokens(struct rb_migration *m, bool tokens, struct rb_err *err)
{
	int r = tokens ? each_shared(m, plan_token, err) : 0;

	if (r >= 0 && tokens)
		r = rb_migration_save(m, err);
	if (r >= 0)
		r = each_shared(m, put_token, err);
	/* making it has changed the folder */
	return r < 0 ? r : each_shared(m, look, err);
}

static int prove(struct rb_migration *m, struct rb_member *c, size_t kind, json_t *entry,
		 struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, CALL_MS);
	_cleanup_json_ json_t *args = rb_member_args(m, c);
	int r;

	json_object_set_new(args, "what", json_string(kinds[kind].what));
	json_object_set_new(args, "name", json_string(rb_json_str(entry, kinds[kind].name, "")));
	json_object_set_new(args, "seen", rb_same_look(path_of(entry)) ?: json_null());
	r = rb_conn_call(m->conn, "shared", args, &wait, err);
	return r < 0 ? r : rb_conn_reply(m->conn, NULL, &wait, err);
}

int rb_storage_prove(struct rb_migration *m, struct rb_err *err)
{
	return each_shared(m, prove, err);
}

static int remove_token(struct rb_migration *m, struct rb_member *c, size_t kind, json_t *entry,
			struct rb_err *err)
{
	const char *name = rb_json_str(entry, "token", NULL);
	int r = name ? rb_same_remove_token(path_of(entry), name) : 0;

	(void)m;
	(void)c;
	(void)kind;
	(void)err;
	if (r < 0)
		rb_warn("'%s' stays in '%s': %s", name, path_of(entry), strerror(-r));
	else
		json_object_del(entry, "token");
	return 0;
}

void rb_storage_remove_tokens(struct rb_migration *m)
{
	each_shared(m, remove_token, NULL);
}
