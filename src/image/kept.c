// SPDX-License-Identifier: Apache-2.0
/*
 * kept.c - images that are a user's, although a migration may have brought them
 *
 * Who holds an image has a byte of <run_dir>/images.lock, shared; who removes it or its mark has
 * that byte alone. Which one follows from the chain ID of its last layer, and a mark contains that:
 * of an image that is gone nobody else tells. The locks are those of open files (F_OFD_SETLK).
 */
#include "kept.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "digest.h"
#include "engine.h"
#include "err.h"
#include "image.h"
#include "io.h"
#include "json.h"
#include "legacy.h"
#include "node.h"
#include "wait.h"

#define LOCK_EVERY_MS 20
#define LOCK_MS	      5000 /* Docker may load for minutes: then it is tried again later */
#define KEY_MAX	      512

/* --- the lock --- */

/* what an image's byte follows from: the chain ID of its last layer */
static int key_of(const json_t *description, char ret[KEY_MAX])
{
	_cleanup_json_ json_t *chain = rb_layer_chain(json_object_get(description, "layers"));
	size_t count = json_array_size(chain);
	const char *text = count ? json_string_value(json_array_get(chain, count - 1))
				 : rb_json_str(description, "id", "");

	if (!chain || strlen(text) >= KEY_MAX)
		return -EPROTO;
	memcpy(ret, text, strlen(text) + 1);
	return 0;
}

static int byte_of(const char *key, off_t *ret)
{
	struct rb_digest *digest = rb_digest_new();
	uint8_t bytes[RB_DIGEST_BYTES];
	uint64_t number;
	bool done = digest && rb_digest_start(digest) && rb_digest_add(digest, key, strlen(key)) &&
		    rb_digest_end(digest, bytes);

	rb_digest_free(digest);
	if (!done)
		return -ENOMEM;
	memcpy(&number, bytes, sizeof(number));
	*ret = (off_t)(be64toh(number) >> 2);
	return 0;
}

/* @type: F_RDLCK or F_WRLCK. Return: descriptor to close, or negative errno */
static int lock_key(const struct rb_node *node, const char *key, short type,
		    const struct rb_wait *wait, struct rb_err *err)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_len = 1 };
	_cleanup_close_ int fd = -EBADF;
	char path[PATH_MAX];
	int r = byte_of(key, &lock.l_start);

	if (r < 0)
		return rb_err_set(err, r, "lock an image");
	rb_path(path, sizeof(path), "%s/images.lock", node->run_dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return rb_err_set(err, -errno, "open '%s'", path);
	while (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
		r = errno == EAGAIN || errno == EACCES ? rb_wait_ms(LOCK_EVERY_MS, wait, err)
						       : rb_err_set(err, -errno, "lock '%s'", path);
		if (r < 0)
			return r;
	}
	return TAKE_FD(fd);
}

static int lock_image(const struct rb_node *node, const json_t *description, short type,
		      const struct rb_wait *wait, struct rb_err *err)
{
	char key[KEY_MAX];

	if (key_of(description, key) < 0)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "an image without layers");
	return lock_key(node, key, type, wait, err);
}

int rb_image_hold(const struct rb_node *node, const json_t *description, const struct rb_wait *wait,
		  struct rb_err *err)
{
	return lock_image(node, description, F_RDLCK, wait, err);
}

/* --- marks --- */

/* "sha256:..." -> the digits; NULL where it is nothing of that kind */
static const char *digest_of(const char *id)
{
	const char *digits = strncmp(id, "sha256:", 7) == 0 ? id + 7 : id;

	return strlen(digits) == RB_DIGEST_DIGITS &&
			       strspn(digits, "0123456789abcdef") == RB_DIGEST_DIGITS
		       ? digits
		       : NULL;
}

static int mark_path(const struct rb_node *node, const char *id, char ret[PATH_MAX])
{
	const char *digest = digest_of(id);

	return digest ? rb_path(ret, PATH_MAX, "%s/images/kept/%s", node->state_dir, digest)
		      : -EINVAL;
}

int rb_image_keep(const struct rb_node *node, const json_t *description, const char *id,
		  struct rb_err *err)
{
	char path[PATH_MAX], dir[PATH_MAX], key[KEY_MAX];
	int r = mark_path(node, id, path);

	if (r < 0 || key_of(description, key) < 0)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "'%.80s' is no image's ID", id);
	rb_path(dir, sizeof(dir), "%s/images/kept", node->state_dir);
	r = rb_mkdir_p(dir, 0700, err);
	return r < 0 ? r : rb_write_file(path, key, strlen(key), 0600, true, err);
}

bool rb_image_is_kept(const struct rb_node *node, const char *id)
{
	char path[PATH_MAX];

	return mark_path(node, id, path) >= 0 && access(path, F_OK) == 0;
}

static bool is_listed(const json_t *images, const char *digest)
{
	json_t *image;
	size_t i;

	json_array_foreach (images, i, image) {
		const char *id = digest_of(rb_json_str(image, "Id", ""));

		if (id && strcmp(id, digest) == 0)
			return true;
	}
	return false;
}

/* A mark whose image was not in the list: under the lock it is looked for once more, since a push
 * may just have brought it. One that is held is somebody's. */
static void forget(const struct rb_node *node, int dir_fd, const char *name,
		   const struct rb_wait *wait)
{
	struct rb_wait now = rb_wait_within(wait, 1);
	_cleanup_buf_ struct rb_buf key = {};
	_cleanup_json_ json_t *image = NULL;
	_cleanup_close_ int lock = -EBADF;
	char path[PATH_MAX], id[RB_IMAGE_ID_SIZE];

	rb_path(id, sizeof(id), "sha256:%s", name);
	if (mark_path(node, id, path) < 0 || rb_read_file(path, KEY_MAX, &key, NULL) < 0)
		return;
	lock = lock_key(node, key.data ? key.data : "", F_WRLCK, &now, NULL);
	if (lock >= 0 && rb_engine_image_inspect(node->engine, id, &image, wait, NULL) == -ENOENT)
		unlinkat(dir_fd, name, 0);
}

int rb_images_forget(const struct rb_node *node, const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *images = NULL;
	_cleanup_closedir_ DIR *dir = NULL;
	char path[PATH_MAX];
	struct dirent *one;
	int r = 0;

	rb_path(path, sizeof(path), "%s/images/kept", node->state_dir);
	dir = opendir(path);
	while (dir && r >= 0 && (one = readdir(dir))) {
		if (!digest_of(one->d_name))
			continue;
		if (!images)
			r = rb_engine_call(node->engine, "GET", "/images/json?all=1", NULL, &images,
					   wait, err);
		if (r >= 0 && !is_listed(images, one->d_name))
			forget(node, dirfd(dir), one->d_name, wait);
	}
	return r < 0 ? r : 0;
}

/* --- removal --- */

/* Return: 1 when a container has the image, whether it runs or not */
static int is_in_use(struct rb_engine *engine, const char *id, const struct rb_wait *wait,
		     struct rb_err *err)
{
	_cleanup_json_ json_t *containers = NULL;
	char filters[128], escaped[384], path[512];
	int r;

	rb_path(filters, sizeof(filters), "{\"ancestor\":[\"%s\"]}", id);
	r = rb_engine_escape(filters, escaped, sizeof(escaped));
	if (r < 0)
		return rb_err_set(err, r, "the image ID '%.80s'", id);
	rb_path(path, sizeof(path), "/containers/json?all=1&filters=%s", escaped);
	r = rb_engine_call(engine, "GET", path, NULL, &containers, wait, err);
	return r < 0 ? r : json_array_size(containers) > 0;
}

/* @ref: ID or name. Gone already is as good, and in use it stays: somebody was faster */
static int delete_ref(struct rb_engine *engine, const char *ref, const struct rb_wait *wait,
		      struct rb_err *err)
{
	char escaped[900], path[1024];
	int r = rb_engine_escape(ref, escaped, sizeof(escaped));

	if (r < 0)
		return 0; /* no name that we could have given */
	rb_path(path, sizeof(path), "/images/%s", escaped);
	r = rb_engine_call(engine, "DELETE", path, NULL, NULL, wait, err);
	if (r != -ENOENT && r != -EBUSY)
		return r;
	rb_err_clear(err);
	return 0;
}

static bool is_tag_of(const json_t *description, const json_t *name)
{
	json_t *tag;
	size_t i;

	json_array_foreach (json_object_get(description, "tags"), i, tag)
		if (json_equal(tag, name))
			return true;
	return false;
}

static int delete_image(struct rb_engine *engine, const json_t *description, const char *id,
			const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *image = NULL;
	const json_t *names;
	json_t *name;
	size_t i;
	int r = rb_engine_image_inspect(engine, id, &image, wait, err);

	names = json_object_get(image, "RepoTags");
	json_array_foreach (names, i, name)
		if (r >= 0 && !is_tag_of(description, name))
			return 0; /* somebody has named it */
	json_array_foreach (names, i, name)
		if (r >= 0 && json_is_string(name))
			r = delete_ref(engine, json_string_value(name), wait, err);
	if (r >= 0)
		r = delete_ref(engine, id, wait, err);
	if (r != -ENOENT)
		return r < 0 ? r : 0;
	rb_err_clear(err);
	return 0;
}

int rb_image_take_away(const struct rb_node *node, const json_t *description,
		       const struct rb_wait *wait, struct rb_err *err)
{
	struct rb_wait a_while = rb_wait_within(wait, LOCK_MS);
	_cleanup_close_ int lock = lock_image(node, description, F_WRLCK, &a_while, err);
	char id[RB_IMAGE_ID_SIZE];
	int r;

	if (lock == -ETIMEDOUT)
		return rb_err_code(err, RB_E_CONFLICT, -EBUSY,
				   "image %.19s is just being loaded for somebody else",
				   rb_json_str(description, "id", ""));
	if (lock < 0)
		return lock;
	r = rb_image_find(node->engine, description, id, wait, err);
	if (r == -ENOENT) {
		rb_err_clear(err);
		return 0;
	}
	if (r < 0 || rb_image_is_kept(node, id))
		return r;
	/* Docker refuses to remove the last name only of one in use, but all are its user's */
	r = is_in_use(node->engine, id, wait, err);
	return r < 0 ? r : r > 0 ? 0 : delete_image(node->engine, description, id, wait, err);
}
