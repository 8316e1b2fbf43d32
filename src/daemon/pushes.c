// SPDX-License-Identifier: Apache-2.0
/*
 * pushes.c - the files of images on their way to other nodes
 */
#include "pushes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "node.h"
#include "proc.h"
#include "wait.h"

#define NODES_MAX  64
#define PUSHES_MAX 128 /* that are known at a time */
#define KEPT_S	   3600

static const char digits[] = "0123456789abcdef";

static int file_path(const struct rb_node *node, const char *id, char ret[PATH_MAX])
{
	return rb_path(ret, PATH_MAX, "%s/pushes/%s.json", node->run_dir, id);
}

/* "<id>.json" -> id. Return: false for other files (rb_write_file() has some for a moment) */
static bool id_of(const char *name, char ret_id[RB_ID_LEN + 1])
{
	if (strspn(name, digits) != RB_ID_LEN || strcmp(name + RB_ID_LEN, ".json") != 0)
		return false;
	memcpy(ret_id, name, RB_ID_LEN);
	ret_id[RB_ID_LEN] = '\0';
	return true;
}

int rb_pushes_each(const struct rb_node *node, int (*fn)(void *arg, const char *id), void *arg)
{
	_cleanup_closedir_ DIR *dir = NULL;
	char path[PATH_MAX], id[RB_ID_LEN + 1];
	struct dirent *one;
	int r = 0;

	rb_path(path, sizeof(path), "%s/pushes", node->run_dir);
	dir = opendir(path);
	while (dir && r == 0 && (one = readdir(dir)))
		if (id_of(one->d_name, id))
			r = fn(arg, id);
	return r;
}

struct search {
	const char *beginning;
	char id[RB_ID_LEN + 1];
	int found;
};

static int compare_id(void *arg, const char *id)
{
	struct search *search = arg;

	if (strncmp(id, search->beginning, strlen(search->beginning)) == 0) {
		memcpy(search->id, id, sizeof(search->id));
		search->found++;
	}
	return 0;
}

int rb_pushes_find(const struct rb_node *node, const char *id, char ret_id[RB_ID_LEN + 1],
		   struct rb_err *err)
{
	struct search search = { .beginning = id };

	rb_pushes_each(node, compare_id, &search);
	if (search.found == 0)
		return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT,
				   "there is no push '%s': 'reberth image pushes' lists them", id);
	if (search.found > 1)
		return rb_err_code(err, RB_E_CONFLICT, -EEXIST,
				   "%d pushes begin with '%s': give more of the ID", search.found,
				   id);
	memcpy(ret_id, search.id, sizeof(search.id));
	return 0;
}

int rb_pushes_load(const struct rb_node *node, const char *id, json_t **ret, struct rb_err *err)
{
	char path[PATH_MAX];
	int r = file_path(node, id, path);

	if (r >= 0)
		r = rb_json_load(path, ret, err);
	return r == -ENOENT ? rb_err_code(err, RB_E_NOT_FOUND, -ENOENT,
					  "push %s is not known any more", id)
			    : r;
}

int rb_pushes_save(const struct rb_node *node, const json_t *push, struct rb_err *err)
{
	char path[PATH_MAX];
	int r = file_path(node, rb_json_str(push, "id", ""), path);

	return r < 0 ? r : rb_json_save(path, push, false, err);
}

void rb_pushes_remove(const struct rb_node *node, const char *id)
{
	char path[PATH_MAX];

	if (file_path(node, id, path) >= 0)
		unlink(path);
}

pid_t rb_pushes_worker(const json_t *push)
{
	pid_t pid = (pid_t)rb_json_int(push, "worker", 0);

	return pid > 0 && rb_pid_alive(pid,
				       (unsigned long long)rb_json_int(push, "worker_start", 0))
		       ? pid
		       : 0;
}

void rb_pushes_end_nodes(json_t *push, const char *result)
{
	json_t *node;
	size_t i;

	json_array_foreach (json_object_get(push, "nodes"), i, node) {
		const char *state = rb_json_str(node, "state", "");

		if (strcmp(state, "waiting") == 0 || strcmp(state, "sending") == 0)
			json_object_set_new(node, "state", json_string(result));
	}
}

static int check_nodes(const struct rb_node *node, const json_t *nodes, struct rb_err *err)
{
	json_t *name;
	size_t i;

	if (json_array_size(nodes) > NODES_MAX)
		return rb_err_code(err, RB_E_USAGE, -EINVAL,
				   "an image goes to %d nodes at a time: give the others later",
				   NODES_MAX);
	json_array_foreach (nodes, i, name) {
		const char *text = json_string_value(name);

		if (strcmp(text, node->name) == 0)
			return rb_err_code(err, RB_E_USAGE, -EINVAL,
					   "node '%s' is this host: name nodes that lack the image",
					   text);
		if (!rb_json_str(node->peers, text, NULL))
			return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT,
					   "node '%.100s' is not known here: 'reberth node' lists "
					   "those that are",
					   text);
		for (size_t j = 0; j < i; j++)
			if (json_equal(name, json_array_get(nodes, j)))
				return rb_err_code(err, RB_E_USAGE, -EINVAL,
						   "node '%s' is named twice", text);
	}
	return 0;
}

struct sweep {
	const struct rb_node *node;
	time_t age_s; /* of those that are forgotten */
	int left;
};

static int sweep_one(void *arg, const char *id)
{
	struct sweep *sweep = arg;
	_cleanup_json_ json_t *push = NULL;
	char path[PATH_MAX];
	struct stat st;
	time_t age_s;

	sweep->left++;
	file_path(sweep->node, id, path);
	/* one that is under way writes often, but not while Docker loads at the other end */
	if (stat(path, &st) < 0)
		return 0;
	age_s = time(NULL) - st.st_mtim.tv_sec;
	if (age_s < sweep->age_s || rb_pushes_load(sweep->node, id, &push, NULL) < 0)
		return 0;
	if (!rb_json_str(push, "result", NULL) && rb_pushes_worker(push))
		return 0;
	/* a worker may have been started and not have signed yet: this host may be slow */
	if (!rb_json_str(push, "result", NULL) && !json_object_get(push, "worker") &&
	    age_s < KEPT_S)
		return 0;
	unlink(path);
	sweep->left--;
	return 0;
}

/* rb_write_file() writes beside the file, and the worker may be killed before it renames that */
static void sweep_unfinished(const struct rb_node *node)
{
	_cleanup_closedir_ DIR *dir = NULL;
	char path[PATH_MAX], id[RB_ID_LEN + 1];
	struct dirent *one;

	rb_path(path, sizeof(path), "%s/pushes", node->run_dir);
	dir = opendir(path);
	while (dir && (one = readdir(dir))) {
		struct stat st;

		if (one->d_name[0] != '.' && !id_of(one->d_name, id) &&
		    fstatat(dirfd(dir), one->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    time(NULL) - st.st_mtim.tv_sec >= KEPT_S)
			unlinkat(dirfd(dir), one->d_name, 0);
	}
}

void rb_pushes_sweep(const struct rb_node *node)
{
	struct sweep sweep = { .node = node, .age_s = KEPT_S };

	rb_pushes_each(node, sweep_one, &sweep);
	sweep_unfinished(node);
}

/* room for one more: who pushes by the hundred does not come back to ask */
static int make_room(const struct rb_node *node, struct rb_err *err)
{
	struct sweep sweep = { .node = node, .age_s = KEPT_S };

	for (int i = 0; i < 2; i++) {
		sweep.left = 0;
		rb_pushes_each(node, sweep_one, &sweep);
		if (sweep.left < PUSHES_MAX)
			return 0;
		sweep.age_s = 10;
	}
	return rb_err_code(err, RB_E_CONFLICT, -EBUSY,
			   "%d images are pushed from here already: wait until some have arrived",
			   sweep.left);
}

int rb_pushes_begin(const struct rb_node *node, const json_t *request, char ret_id[RB_ID_LEN + 1],
		    struct rb_err *err)
{
	const json_t *names = json_object_get(request, "nodes");
	_cleanup_json_ json_t *nodes = json_array(), *push = NULL;
	char path[PATH_MAX];
	json_t *name;
	size_t i;
	int r = check_nodes(node, names, err);

	if (r >= 0)
		r = make_room(node, err);
	if (r >= 0)
		r = rb_path(path, sizeof(path), "%s/pushes", node->run_dir);
	if (r >= 0)
		r = rb_mkdir_p(path, 0700, err);
	if (r < 0)
		return r;
	json_array_foreach (names, i, name)
		json_array_append_new(nodes,
				      json_pack("{s:O, s:s}", "node", name, "state", "waiting"));
	rb_journal_new_id(ret_id);
	push = json_pack("{s:s, s:s, s:I, s:O, s:s}", "id", ret_id, "image",
			 rb_json_str(request, "image", ""), "started_ms",
			 (json_int_t)rb_realtime_ms(), "nodes", nodes, "stage", "");
	return push ? rb_pushes_save(node, push, err)
		    : rb_err_set(err, -ENOMEM, "note the request");
}
