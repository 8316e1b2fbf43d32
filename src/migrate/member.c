// SPDX-License-Identifier: Apache-2.0
/*
 * member.c - the containers that a migration moves: one, or with --group several
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "err.h"
#include "io.h"
#include "json.h"
#include "migration.h"
#include "target_lanes.h"

static int bind_first(struct rb_migration *m, struct rb_member *c)
{
	c->facts = m->entry.facts;
	snprintf(c->name, sizeof(c->name), "%s", m->entry.container);
	snprintf(c->container_id, sizeof(c->container_id), "%s", m->entry.container_id);
	return rb_path(c->work_dir, sizeof(c->work_dir), "%s", m->work_dir);
}

static int bind_other(struct rb_migration *m, struct rb_member *c, json_t *facts)
{
	const char *id = m->entry.role == RB_SOURCE ? "container_id" : "new_id";

	c->facts = facts;
	snprintf(c->name, sizeof(c->name), "%s", rb_json_str(facts, "container", ""));
	snprintf(c->container_id, sizeof(c->container_id), "%s", rb_json_str(facts, id, ""));
	return rb_path(c->work_dir, sizeof(c->work_dir), "%s/%zu", m->work_dir,
		       rb_member_number(m, c));
}

int rb_members_bind(struct rb_migration *m, struct rb_err *err)
{
	json_t *others = json_object_get(m->entry.facts, "members"), *facts;
	size_t i;
	int r = bind_first(m, &m->members[0]);

	m->members_count = 1;
	if (json_array_size(others) >= RB_MEMBERS_MAX)
		return rb_err_code(err, RB_E_REFUSED, -E2BIG,
				   "a group of more than %d containers cannot be moved",
				   RB_MEMBERS_MAX);
	json_array_foreach (others, i, facts) {
		if (r >= 0)
			r = bind_other(m, &m->members[m->members_count], facts);
		m->members_count++;
	}
	return r < 0 ? rb_err_set(err, r, "name the work folders") : 0;
}

size_t rb_member_number(const struct rb_migration *m, const struct rb_member *c)
{
	return (size_t)(c - m->members);
}

void rb_member_fact(struct rb_member *c, const char *key, json_t *value)
{
	json_object_set_new(c->facts, key, value);
}

json_t *rb_member_args(const struct rb_migration *m, const struct rb_member *c)
{
	return json_pack("{s:I}", "member", (json_int_t)rb_member_number(m, c));
}

const json_t *rb_member_answer(const struct rb_migration *m, const struct rb_member *c,
			       const json_t *answer)
{
	size_t number = rb_member_number(m, c);

	return number ? json_array_get(json_object_get(answer, "members"), number - 1) : answer;
}

struct rb_member *rb_member_asked(struct rb_migration *m, const json_t *args)
{
	int64_t number = rb_json_int(args, "member", 0);

	return number >= 0 && number < (int64_t)m->members_count ? &m->members[number] : NULL;
}

static json_t *list_one(const json_t *facts, const char *name, const char *container_id)
{
	return json_pack("{s:s, s:s, s:s}", "container", name, "container_id",
			 rb_json_str(facts, "source_id", container_id), "new_id",
			 rb_json_str(facts, "new_id", ""));
}

json_t *rb_members_list(const struct rb_entry *entry)
{
	const json_t *others = json_object_get(entry->facts, "members"), *facts;
	json_t *list;
	size_t i;

	if (!json_array_size(others))
		return NULL;
	list = json_array();
	json_array_append_new(list, list_one(entry->facts, entry->container, entry->container_id));
	json_array_foreach (others, i, facts)
		json_array_append_new(list, list_one(facts, rb_json_str(facts, "container", ""),
						     rb_json_str(facts, "container_id", "")));
	return list;
}

/* Named by the migration, so that whoever comes after a worker that was killed removes them. */
int rb_member_memory_dir(const struct rb_migration *m, const struct rb_member *c, char *ret,
			 size_t size, struct rb_err *err)
{
	size_t number = rb_member_number(m, c);
	char suffix[24] = "";

	if (number)
		snprintf(suffix, sizeof(suffix), ".%zu", number);
	if (rb_path(ret, size, "%s/migrations/%s.images%s", m->node->run_dir, m->entry.id, suffix) <
	    0)
		return rb_err_set(err, -ENAMETOOLONG, "make room for CRIU's images");
	return 0;
}

int rb_migration_remove_work(struct rb_migration *m, struct rb_err *err)
{
	char memory[PATH_MAX];
	int r = 0;

	/* what it leads to goes before the way there */
	rb_each_member (c, m) {
		if (r >= 0)
			r = rb_member_memory_dir(m, c, memory, sizeof(memory), err);
		if (r >= 0)
			r = rb_rm_rf(memory, err);
	}
	rb_target_lanes_remove(m->node, m->entry.id);
	return r < 0 ? r : rb_rm_rf(m->work_dir, err);
}
