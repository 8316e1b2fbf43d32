// SPDX-License-Identifier: Apache-2.0
/*
 * ports_upkeep.c - the rules for containers that moved, as the journal has them
 *
 * Rules live in the kernel's memory and may go at any time: a reboot, somebody who flushes the
 * firewall. The daemon has this look every few seconds, in a process of its own, as long as the
 * journal has a row.
 */
#include "ports.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "cleanup.h"
#include "engine.h"
#include "err.h"
#include "forward.h"
#include "forwards.h"
#include "io.h"
#include "json.h"
#include "log.h"
#include "wait.h"
#include "way_back.h"

#define ENGINE_MS 10000

int rb_ports_lock(const struct rb_node *node, struct rb_err *err)
{
	_cleanup_close_ int fd = -EBADF;
	char path[512];

	rb_path(path, sizeof(path), "%s/forwards.lock", node->run_dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		return rb_err_set(err, -errno, "lock '%s'", path);
	return TAKE_FD(fd);
}

static bool is_forward(const json_t *row)
{
	return strcmp(rb_json_str(row, "kind", ""), "forward") == 0;
}

int rb_ports_apply(const json_t *row, struct rb_err *err)
{
	const char *id = rb_json_str(row, "id", "");
	const json_t *facts = json_object_get(row, "facts");
	const json_t *flows = json_object_get(facts, "flows");
	const char *ip = rb_json_str(facts, "ip", "");
	int r;

	if (!is_forward(row))
		return rb_way_back_on(id, flows, err);
	r = rb_forward_on(id, json_object_get(facts, "ports"), flows, err);
	if (r < 0 || !*ip)
		return r;
	r = rb_forward_let_pass(id, ip, err);
	/* without rules of Docker's nothing is in the way; they may come later */
	return r == -ENOENT ? 0 : r;
}

int rb_ports_drop(const struct rb_node *node, const char *id, const char *kind, struct rb_err *err)
{
	int r;

	if (strcmp(kind, "forward") == 0) {
		r = rb_forward_let_pass_off(id, err);
		if (r >= 0)
			r = rb_forward_off(id, err);
	} else {
		r = rb_way_back_off(id, err);
	}
	return r < 0 ? r : rb_forwards_drop(node->journal, id, kind, err);
}

/* the container is gone, and its connections with it */
static bool is_gone(const struct rb_node *node, const json_t *row)
{
	struct rb_wait wait = rb_wait_within(NULL, ENGINE_MS);
	const char *id = rb_json_str(json_object_get(row, "facts"), "container_id", "");

	return !is_forward(row) &&
	       rb_engine_inspect(node->engine, id, NULL, &wait, NULL) == -ENOENT;
}

static int look_after(const struct rb_node *node, json_t *row, struct rb_err *err)
{
	const char *id = rb_json_str(row, "id", ""), *kind = rb_json_str(row, "kind", "");
	json_t *facts = json_object_get(row, "facts"), *flows = json_object_get(facts, "flows");
	bool moving = strcmp(rb_json_str(facts, "state", ""), "moving") == 0;
	_cleanup_json_ json_t *live = NULL;
	int r;

	if (is_gone(node, row))
		return rb_ports_drop(node, id, kind, err);
	r = is_forward(row) ? rb_forward_flows(id, flows, &live, err)
			    : rb_way_back_flows(id, flows, &live, err);
	if (r == -ENOENT) {
		rb_info("the rules of forward %s are not there: making them", id);
		return rb_ports_apply(row, err);
	}
	if (r < 0)
		return r;
	if (!moving && !json_array_size(live) && !json_array_size(json_object_get(facts, "ports")))
		return rb_ports_drop(node, id, kind, err);
	if (json_array_size(live) != json_array_size(flows)) {
		json_object_set(facts, "flows", live);
		r = rb_forwards_put(node->journal, id, kind, rb_json_str(row, "container", ""),
				    facts, err);
	}
	if (r >= 0 && is_forward(row) && *rb_json_str(facts, "ip", ""))
		r = rb_forward_let_pass(id, rb_json_str(facts, "ip", ""), err);
	return r == -ENOENT ? 0 : r;
}

int rb_ports_upkeep(const struct rb_node *node, struct rb_err *err)
{
	_cleanup_json_ json_t *rows = NULL;
	_cleanup_close_ int lock = rb_ports_lock(node, err);
	json_t *row;
	size_t i;
	int r = lock < 0 ? lock : rb_forwards_list(node->journal, NULL, &rows, err);

	json_array_foreach (rows, i, row) {
		struct rb_err why = {};

		/* one that fails keeps no other from being looked after */
		if (look_after(node, row, &why) < 0) {
			rb_warn("forward %s: %s", rb_json_str(row, "id", ""), why.msg);
			r = -EIO;
			*err = why;
		}
	}
	return r;
}

int rb_ports_list(const struct rb_node *node, json_t **ret, struct rb_err *err)
{
	_cleanup_json_ json_t *rows = NULL;
	json_t *list = json_array();
	const json_t *row;
	size_t i;
	int r = rb_forwards_list(node->journal, "forward", &rows, err);

	json_array_foreach (rows, i, row) {
		const json_t *facts = json_object_get(row, "facts");

		json_array_append_new(
			list, json_pack("{s:s, s:s, s:s, s:s, s:O, s:i, s:I}", "id",
					rb_json_str(row, "id", ""), "container",
					rb_json_str(row, "container", ""), "moved_to",
					rb_json_str(facts, "target", ""), "state",
					rb_json_str(facts, "state", ""), "ports",
					json_object_get(facts, "ports"), "connections",
					(int)json_array_size(json_object_get(facts, "flows")),
					"since", (json_int_t)rb_json_int(row, "since_ms", 0)));
	}
	*ret = list;
	return r;
}

int rb_ports_end(const struct rb_node *node, const char *id, struct rb_err *err)
{
	_cleanup_json_ json_t *row = NULL;
	_cleanup_close_ int lock = rb_ports_lock(node, err);
	int r = lock < 0 ? lock : rb_forwards_get(node->journal, id, "forward", &row, err);

	if (r == 0)
		return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT,
				   "no forward '%.64s' here: see 'reberth forward ls'", id);
	if (r > 0 && strcmp(rb_json_str(json_object_get(row, "facts"), "state", ""), "moving") == 0)
		return rb_err_code(err, RB_E_CONFLICT, -EBUSY,
				   "container '%s' is just being moved: try again after that",
				   rb_json_str(row, "container", ""));
	return r < 0 ? r : rb_ports_drop(node, id, "forward", err);
}
