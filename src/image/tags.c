// SPDX-License-Identifier: Apache-2.0
/*
 * tags.c - an image's names on the host that it came to
 *
 * No name is taken away from another image: what starts containers by it there goes on with that.
 */
#include "image.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "cleanup.h"
#include "engine.h"
#include "err.h"
#include "io.h"
#include "json.h"

/* "registry:5000/name:tag" -> both parts in place; false without a tag */
static bool split_tag(char *ref, const char **ret_repo, const char **ret_tag)
{
	char *colon = strrchr(ref, ':');

	if (!colon || strchr(colon, '/') || colon == ref || !colon[1])
		return false;
	*colon = '\0';
	*ret_repo = ref;
	*ret_tag = colon + 1;
	return true;
}

static int give(struct rb_engine *engine, const char *id, const char *repo, const char *tag,
		const struct rb_wait *wait, struct rb_err *err)
{
	char where[256], repo_part[1024], tag_part[512], path[2048];
	int r = rb_engine_escape(id, where, sizeof(where));

	if (r == 0)
		r = rb_engine_escape(repo, repo_part, sizeof(repo_part));
	if (r == 0)
		r = rb_engine_escape(tag, tag_part, sizeof(tag_part));
	if (r < 0)
		return rb_err_set(err, r, "the tag '%.100s:%.100s'", repo, tag);
	rb_path(path, sizeof(path), "/images/%s/tag?repo=%s&tag=%s", where, repo_part, tag_part);
	return rb_engine_call(engine, "POST", path, NULL, NULL, wait, err);
}

/* Return: 1 when the name is the image's now, 0 when it is another's, or is none */
static int add_tag(struct rb_engine *engine, const char *id, const char *ref,
		   const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_free_ char *copy = strdup(ref);
	_cleanup_json_ json_t *image = NULL;
	const char *repo, *tag;
	int r;

	if (!copy)
		return rb_err_set(err, -ENOMEM, "name the image");
	if (!split_tag(copy, &repo, &tag))
		return 0;
	r = rb_engine_image_inspect(engine, ref, &image, wait, err);
	if (r >= 0)
		return strcmp(rb_json_str(image, "Id", ""), id) == 0;
	if (r != -ENOENT)
		return r;
	rb_err_clear(err);
	r = give(engine, id, repo, tag, wait, err);
	return r < 0 ? r : 1;
}

int rb_image_add_tags(struct rb_engine *engine, const char *id, const json_t *description,
		      json_t **ret, const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *given = json_array(), *taken = json_array();
	json_t *tag;
	size_t i;

	json_array_foreach (json_object_get(description, "tags"), i, tag) {
		const char *ref = json_string_value(tag);
		int r;

		if (!ref || strcmp(ref, "<none>:<none>") == 0)
			continue;
		r = add_tag(engine, id, ref, wait, err);
		if (r < 0)
			return r;
		json_array_append(r ? given : taken, tag);
	}
	if (ret)
		*ret = json_pack("{s:O, s:O}", "given", given, "taken", taken);
	return 0;
}
