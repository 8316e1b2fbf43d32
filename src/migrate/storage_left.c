// SPDX-License-Identifier: Apache-2.0
/*
 * storage_left.c - what of a container's storage stays on a host that it leaves, and is told of it
 *
 * Volumes are the container's: they are removed. A folder of the host is the host's, and its
 * content stays, though it is of no use any more. That it may be replaced when the container comes
 * back, its state is noted in the journal's entry of the move: who has changed anything in it since
 * keeps it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "json.h"
#include "log.h"
#include "migration.h"
#include "storage.h"
#include "sync.h"
#include "tree.h"

void rb_storage_note_left(struct rb_migration *m)
{
	const json_t *bind;
	size_t i;

	rb_each_member (c, m) {
		json_t *left;

		/* what an earlier worker noted, or did not, stands */
		if (!c->sync)
			continue;
		left = json_array();

		json_array_foreach (json_object_get(c->facts, "binds"), i, bind) {
			const char *source = rb_json_str(bind, "source", "");
			struct rb_err why = {};
			char stamp[RB_STAMP_SIZE];

			if (!rb_storage_is_copied(bind))
				continue;
			if (rb_sync_stamp(m, c, source, stamp, &why) < 0)
				rb_warn("finish: '%s' stays here, and is in the way of coming "
					"back: %s",
					source, why.msg);
			else
				json_array_append_new(left, json_pack("{s:s, s:s}", "path", source,
								      "stamp", stamp));
		}
		rb_member_fact(c, "left", left);
	}
}

struct search {
	const char *container, *source;
	char stamp[RB_STAMP_SIZE];
};

static bool has_left(const json_t *facts, const char *container, const struct search *search)
{
	const json_t *left;
	size_t i;

	if (strcmp(container, search->container) != 0)
		return false;
	json_array_foreach (json_object_get(facts, "left"), i, left)
		if (strcmp(rb_json_str(left, "path", ""), search->source) == 0 &&
		    strcmp(rb_json_str(left, "stamp", ""), search->stamp) == 0)
			return true;
	return false;
}

static int find_left(void *arg, const struct rb_entry *entry)
{
	const struct search *search = arg;
	const json_t *member;
	size_t i;

	if (entry->role != RB_SOURCE || entry->state != RB_DONE)
		return 0;
	if (has_left(entry->facts, entry->container, search))
		return 1;
	json_array_foreach (json_object_get(entry->facts, "members"), i, member)
		if (has_left(member, rb_json_str(member, "container", ""), search))
			return 1;
	return 0;
}

bool rb_storage_was_left(const struct rb_node *node, const char *container, const char *source,
			 const char *path, char *stamp, const struct rb_wait *wait)
{
	struct search search = { .container = container, .source = source };

	if (!node->journal || rb_tree_stamp(path, search.stamp, wait, NULL) < 0)
		return false;
	memcpy(stamp, search.stamp, RB_STAMP_SIZE);
	return rb_journal_each(node->journal, false, find_left, &search, NULL) == 1;
}

static void add(json_t *list, const struct rb_member *c, const char *kind, const char *name,
		const json_t *entry)
{
	const char *how = rb_json_str(entry, "how", "");
	const char *type = rb_json_str(json_object_get(entry, "place"), "type", NULL);

	if (*how)
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s*, s:b}", kind, name,
						      "container", c->name, "destination",
						      rb_json_str(entry, "destination", ""), "how",
						      how, "file_system", type, "declared",
						      rb_json_bool(entry, "declared", false)));
}

json_t *rb_storage_list(const struct rb_migration *m)
{
	json_t *list = json_array();
	const json_t *entry;
	size_t i;

	rb_each_member (c, m) {
		json_array_foreach (json_object_get(c->facts, "volumes"), i, entry)
			add(list, c, "volume", rb_json_str(entry, "name", ""), entry);
		json_array_foreach (json_object_get(c->facts, "binds"), i, entry)
			add(list, c, "bind", rb_json_str(entry, "source", ""), entry);
	}
	return list;
}
