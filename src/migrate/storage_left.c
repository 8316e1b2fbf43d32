// SPDX-License-Identifier: Apache-2.0
/*
 * storage_left.c - what of a container's storage stays on a host that it leaves, and is told of it
 *
 * Volumes are the container's: they are removed. A folder of the host is the host's, and its
 * content stays, though it is of no use any more. That it may be replaced when the container comes
 * back, its state is noted in the journal's entry of the move: who has changed anything in it since
 * keeps it.
 *
 * Names are used again, and so a container that comes says which moves have brought it where it is:
 * their ids, the newest last (fact "moves", in the offer). Only what it left in one of these is its
 * own. Each host knows them from its journal: the move that the container came with has them in its
 * offer, and is the next of them.
 */
#include <errno.h>
#include <stdio.h>
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

/* --- who it is --- */

struct arrival {
	const char *container_id;
	json_t *moves; /* NULL: it did not come from elsewhere */
};

static int find_arrival(void *arg, const struct rb_entry *entry)
{
	struct arrival *arrival = arg;
	const json_t *facts = NULL, *member, *moves;
	size_t i;

	if (entry->role != RB_TARGET || entry->state != RB_DONE)
		return 0;
	if (strcmp(entry->container_id, arrival->container_id) == 0)
		facts = entry->facts;
	json_array_foreach (json_object_get(entry->facts, "members"), i, member)
		if (strcmp(rb_json_str(member, "new_id", ""), arrival->container_id) == 0)
			facts = member;
	if (!facts)
		return 0;
	moves = rb_json_path(facts, "offer.moves");
	arrival->moves = json_is_array(moves) ? json_copy((json_t *)moves) : json_array();
	json_array_append_new(arrival->moves, json_string(entry->id));
	while (json_array_size(arrival->moves) > RB_MOVES_MAX)
		json_array_remove(arrival->moves, 0);
	return 1;
}

void rb_storage_note_moves(struct rb_migration *m, struct rb_member *c)
{
	struct arrival arrival = { .container_id = c->container_id };

	if (m->node->journal)
		rb_journal_each(m->node->journal, false, find_arrival, &arrival, NULL);
	rb_member_fact(c, "moves", arrival.moves ?: json_array());
}

/* --- was it this one? --- */

static bool has_left(const json_t *facts, const char *source, const char *stamp)
{
	const json_t *left;
	size_t i;

	json_array_foreach (json_object_get(facts, "left"), i, left)
		if (strcmp(rb_json_str(left, "path", ""), source) == 0 &&
		    strcmp(rb_json_str(left, "stamp", ""), stamp) == 0)
			return true;
	return false;
}

/* One that a container left by. Return: 1, 0 (also when it is not known here), or negative errno */
static int find_move(const struct rb_node *node, const char *move, struct rb_entry *ret,
		     struct rb_err *err)
{
	int r = strlen(move) == RB_ID_LEN ? rb_journal_get(node->journal, move, ret, err) : -ENOENT;

	if (r == -ENOENT)
		rb_err_clear(err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	return ret->role == RB_SOURCE && ret->state == RB_DONE;
}

/* Return: as find_move() */
static int was_left_by(const struct rb_node *node, const char *move, const char *source,
		       const char *stamp, struct rb_err *err)
{
	_cleanup_entry_ struct rb_entry entry = {};
	const json_t *member;
	size_t i;
	int r;

	r = find_move(node, move, &entry, err);
	if (r <= 0)
		return r;
	if (has_left(entry.facts, source, stamp))
		return 1;
	json_array_foreach (json_object_get(entry.facts, "members"), i, member)
		if (has_left(member, source, stamp))
			return 1;
	return 0;
}

int rb_storage_was_left(const struct rb_node *node, const json_t *moves, const char *source,
			const char *path, char *stamp, const struct rb_wait *wait,
			struct rb_err *err)
{
	size_t n = json_array_size(moves);
	int r;

	if (!node->journal || !n || n > RB_MOVES_MAX)
		return 0;
	r = rb_tree_stamp(path, stamp, wait, err);
	if (r < 0)
		return r;
	while (n-- > 0) {
		r = was_left_by(node, json_string_value(json_array_get(moves, n)) ?: "", source,
				stamp, err);
		if (r)
			return r;
	}
	return 0;
}

static bool left_again(json_t *facts, const char *source, const char *stamp, const char *now)
{
	json_t *left;
	size_t i;

	json_array_foreach (json_object_get(facts, "left"), i, left)
		if (strcmp(rb_json_str(left, "path", ""), source) == 0 &&
		    strcmp(rb_json_str(left, "stamp", ""), stamp) == 0) {
			json_object_set_new(left, "stamp", json_string(now));
			return true;
		}
	return false;
}

void rb_storage_left_again(const struct rb_node *node, const json_t *moves, const char *source,
			   const char *stamp, const char *now)
{
	const json_t *move;
	json_t *member;
	size_t i, k;

	json_array_foreach (moves, i, move) {
		_cleanup_entry_ struct rb_entry entry = {};
		bool found;

		if (find_move(node, json_string_value(move) ?: "", &entry, NULL) <= 0)
			continue;
		found = left_again(entry.facts, source, stamp, now);
		json_array_foreach (json_object_get(entry.facts, "members"), k, member)
			found |= left_again(member, source, stamp, now);
		if (found)
			rb_journal_stage(node->journal, entry.id, entry.stage, entry.facts, NULL);
	}
}

/* --- what is told of it --- */

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
