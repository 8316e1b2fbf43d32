// SPDX-License-Identifier: Apache-2.0
/*
 * kept.c - images that are a user's, although a migration may have brought them
 */
#include "kept.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "engine.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "node.h"
#include "wait.h"

#define DIGEST_LEN    64
#define LOCK_EVERY_MS 20

int rb_images_lock(const struct rb_node *node, const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_close_ int fd = -EBADF;
	char path[PATH_MAX];

	rb_path(path, sizeof(path), "%s/images.lock", node->run_dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return rb_err_set(err, -errno, "open '%s'", path);
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int r = errno == EWOULDBLOCK ? rb_wait_ms(LOCK_EVERY_MS, wait, err)
					     : rb_err_set(err, -errno, "lock '%s'", path);

		if (r < 0)
			return r;
	}
	return TAKE_FD(fd);
}

/* "sha256:..." -> the digits; NULL where it is nothing of that kind */
static const char *digest_of(const char *id)
{
	const char *digits = strncmp(id, "sha256:", 7) == 0 ? id + 7 : id;

	return strlen(digits) == DIGEST_LEN && strspn(digits, "0123456789abcdef") == DIGEST_LEN
		       ? digits
		       : NULL;
}

static int mark_path(const struct rb_node *node, const char *id, char ret[PATH_MAX])
{
	const char *digest = digest_of(id);

	return digest ? rb_path(ret, PATH_MAX, "%s/images/kept/%s", node->state_dir, digest)
		      : -EINVAL;
}

int rb_image_keep(const struct rb_node *node, const char *id, struct rb_err *err)
{
	char path[PATH_MAX], dir[PATH_MAX];
	int r = mark_path(node, id, path);

	if (r < 0)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "'%.80s' is no image's ID", id);
	rb_path(dir, sizeof(dir), "%s/images/kept", node->state_dir);
	r = rb_mkdir_p(dir, 0700, err);
	return r < 0 ? r : rb_write_file(path, "", 0, 0600, true, err);
}

void rb_image_unkeep(const struct rb_node *node, const char *id)
{
	char path[PATH_MAX];

	if (mark_path(node, id, path) >= 0)
		unlink(path);
}

bool rb_image_is_kept(const struct rb_node *node, const char *id)
{
	char path[PATH_MAX];

	return mark_path(node, id, path) >= 0 && access(path, F_OK) == 0;
}

static bool is_here(const json_t *images, const char *digest)
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

int rb_images_forget(const struct rb_node *node, int64_t age_ms, const struct rb_wait *wait,
		     struct rb_err *err)
{
	_cleanup_json_ json_t *images = NULL;
	_cleanup_closedir_ DIR *dir = NULL;
	int64_t now_ms = rb_realtime_ms();
	char path[PATH_MAX];
	struct dirent *one;
	int r = 0;

	rb_path(path, sizeof(path), "%s/images/kept", node->state_dir);
	dir = opendir(path);
	while (dir && r >= 0 && (one = readdir(dir))) {
		struct stat st;

		if (!digest_of(one->d_name) || fstatat(dirfd(dir), one->d_name, &st, 0) < 0 ||
		    now_ms - (int64_t)st.st_mtim.tv_sec * 1000 < age_ms)
			continue;
		if (!images)
			r = rb_engine_call(node->engine, "GET", "/images/json?all=1", NULL, &images,
					   wait, err);
		if (r >= 0 && !is_here(images, one->d_name))
			unlinkat(dirfd(dir), one->d_name, 0);
	}
	return r < 0 ? r : 0;
}
