// SPDX-License-Identifier: Apache-2.0
/*
 * target_arm.c - a restore begins before the freeze, and waits for its images
 *
 * runc and CRIU take 50 ms until CRIU opens its first image, cgroups and all. So they are started
 * when the source has all but frozen the container (verb "arm"), and stand still there
 * (criu_hold.c). Of the images runc itself reads one, descriptors.json, which is known by then.
 *
 * From then on the container's overlay is mounted where runc works, and cannot be taken away while
 * the last files come. When there are any, or when something else turns out not to be as it was
 * said, what has been started is called off, and begun anew with all that is here.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arrival.h"
#include "cleanup.h"
#include "dump.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "log.h"
#include "overlay.h"
#include "receive.h"
#include "target.h"
#include "wait.h"
#include "workdir.h"

#define ARM_MS	    10000
#define DETACH_MS   1000
#define IMAGES_MAX  (64ULL << 20) /* more goes to the disk at once */
#define IMAGES_ROOM (64ULL << 20) /* that /run keeps for others */

/* --- the overlay: not mounted while its upper folder changes behind its back */

static int detach(struct rb_member *c, struct rb_err *err)
{
	_cleanup_free_ struct rb_overlay *overlay = NULL;
	int r;

	if (c->detached)
		return 0;
	overlay = calloc(1, sizeof(*overlay));
	if (!overlay)
		return rb_err_set(err, -ENOMEM, "detach the overlay");
	r = rb_overlay_find(rb_json_str(c->facts, "merged", ""), overlay, err);
	if (r == -ENOENT)
		return 0; /* not started yet */
	if (r >= 0)
		r = rb_overlay_detach(overlay, err);
	if (r >= 0)
		c->detached = TAKE_PTR(overlay);
	return r;
}

static int attach(struct rb_member *c, struct rb_err *err)
{
	int r;

	if (!c->detached)
		return 0;
	r = rb_overlay_attach(c->detached, err);
	if (r < 0)
		return r;
	rb_overlay_free(c->detached);
	free(TAKE_PTR(c->detached));
	return 0;
}

int rb_target_open_rootfs(struct rb_member *c, struct rb_err *err)
{
	return c->armed ? 0 : detach(c, err);
}

/* Below a mounted overlay, what has changed once has changed for good: a dump may be tried again,
 * and the next round brings none of these files any more. */
void rb_target_note_rootfs(struct rb_member *c, bool changed)
{
	c->rootfs_changed = changed || (c->armed && c->rootfs_changed);
}

/* --- what was started too early */

static int call_off(struct rb_migration *m, struct rb_member *c, const char *why,
		    struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, ARM_MS);

	rb_info("restore: begun anew, for %s", why);
	c->armed = false;
	return rb_arrival_call_off(c->arrival, &wait, err);
}

/* Has runc read what is in the images now? */
static bool has_same_descriptors(const struct rb_member *c)
{
	_cleanup_json_ json_t *now = NULL;
	char path[PATH_MAX];

	return rb_path(path, sizeof(path), "%s/images/descriptors.json", c->work_dir) >= 0 &&
	       rb_json_load(path, &now, NULL) >= 0 && json_equal(now, c->descriptors);
}

/* A CRIU that runc had hardly started, and that nobody could end with it, has the overlay mounted
 * until it notices. */
static int detach_soon(struct rb_migration *m, struct rb_member *c, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, DETACH_MS);
	int r = detach(c, err);

	while (r == -EBUSY && rb_wait_ms(2, &wait, NULL) == 0) {
		rb_err_clear(err);
		r = detach(c, err);
	}
	return r;
}

int rb_target_close_rootfs(struct rb_migration *m, struct rb_member *c, struct rb_err *err)
{
	int r = 0;

	if (c->armed && c->rootfs_changed)
		r = call_off(m, c, "files of it have changed since", err);
	else if (c->armed && !has_same_descriptors(c))
		r = call_off(m, c, "its standard descriptors are others", err);
	/* overlayfs has looked at what has changed */
	if (r >= 0 && c->rootfs_changed && !c->detached)
		r = detach_soon(m, c, err);
	return r < 0 ? r : attach(c, err);
}

/* --- images */

/* Images of @bytes, pages and all, are in memory where there is room for them, and for what else
 * may come meanwhile. */
static bool fits_in_memory(const struct rb_migration *m, uint64_t bytes)
{
	return bytes <= IMAGES_MAX &&
	       rb_criu_has_room_in_memory(m->node->run_dir, bytes + IMAGES_ROOM);
}

static int make_images_folder(struct rb_migration *m, struct rb_member *c, uint64_t bytes,
			      struct rb_err *err)
{
	char memory[PATH_MAX], path[PATH_MAX];
	int r = rb_member_memory_dir(m, c, memory, sizeof(memory), err);

	if (r >= 0 && rb_path(path, sizeof(path), "%s/images", c->work_dir) < 0)
		r = rb_err_set(err, -ENAMETOOLONG, "use work folder '%s'", c->work_dir);
	if (r >= 0 && bytes && fits_in_memory(m, bytes))
		return rb_criu_images_arrive(c->work_dir, memory, err);
	if (r >= 0)
		r = rb_rm_rf(memory, err);
	if (r >= 0)
		r = rb_rm_rf(path, err);
	return r < 0 ? r : rb_mkdir_p(path, 0700, err);
}

int rb_target_images_folder(struct rb_migration *m, struct rb_member *c, uint64_t bytes,
			    char ret[PATH_MAX], struct rb_err *err)
{
	int r = 0;

	if (rb_path(ret, PATH_MAX, "%s/images", c->work_dir) < 0)
		return rb_err_set(err, -ENAMETOOLONG, "use work folder '%s'", c->work_dir);
	if (c->armed && bytes && !fits_in_memory(m, bytes))
		r = call_off(m, c, "its images need the disk", err);
	else if (access(ret, F_OK) == 0)
		return 0;
	return r < 0 ? r : make_images_folder(m, c, bytes, err);
}

/* --- the restore */

int rb_target_start_restore(struct rb_member *c, const struct rb_wait *wait, struct rb_err *err)
{
	/* CRIU's socket is that of the restore that was begun */
	int r = c->armed ? 0 : rb_target_listen_for_memory(c, err);

	c->armed = false;
	return r < 0 ? r : rb_arrival_restore(c->arrival, wait, err);
}

/* Nothing is left of it when it fails: it is made again when the images come. */
static int begin_images(struct rb_migration *m, struct rb_member *c, const json_t *descriptors,
			struct rb_err *err)
{
	char path[PATH_MAX];
	int r = make_images_folder(m, c, IMAGES_MAX, err);

	if (r >= 0)
		r = rb_path(path, sizeof(path), "%s/images/descriptors.json", c->work_dir);
	if (r >= 0)
		r = rb_json_save(path, descriptors, false, err);
	if (r < 0 && rb_path(path, sizeof(path), "%s/images", c->work_dir) >= 0)
		rb_rm_rf(path, NULL);
	return r;
}

static int arm(struct rb_migration *m, struct rb_member *c, const json_t *descriptors,
	       struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, ARM_MS);
	struct rb_err why = {};
	int r = 0;

	/* what changes that often will have changed once more */
	if (c->armed || c->rootfs_changed || !json_is_array(descriptors) ||
	    !fits_in_memory(m, IMAGES_MAX))
		return 0;
	if (!c->receiver)
		r = rb_receiver_new(&c->receiver, err);
	if (r >= 0)
		r = attach(c, err);
	if (r < 0)
		return r;
	if (begin_images(m, c, descriptors, &why) < 0) {
		rb_info("restore: not begun before the freeze: %s", why.msg);
		return 0;
	}
	r = rb_target_start_restore(c, &wait, err);
	if (r < 0)
		return r;
	json_decref(c->descriptors);
	c->descriptors = json_incref((json_t *)descriptors);
	c->armed = true;
	return 0;
}

/* "arm" {"descriptors": of each member what runc will find in descriptors.json}: the strategy is a
 * lazy one, and the freeze is next */
int rb_target_arm(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	const json_t *descriptors = json_object_get(args, "descriptors");
	int r = 0;

	(void)ret;
	/* without our library CRIU does not wait */
	if (!rb_criu_can_skip())
		return 0;
	rb_each_member (c, m)
		if (r >= 0)
			r = arm(m, c, json_array_get(descriptors, rb_member_number(m, c)), err);
	return r;
}
