/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kept.h - images that are a user's, although a migration may have brought them
 *
 * A migration that is rolled back takes the image with it that it has brought. One that somebody
 * pushed here is somebody's: also when both brought it at the same time, and when the push found it
 * here because the migration had been faster. So a push leaves a mark, a file with the image's
 * digest as its name in <state_dir>/images/kept, and whoever is about to remove an image looks
 * for it. Mark and removal exclude each other by a lock, or one could fall between the other's
 * look and its deed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct rb_err;
struct rb_node;
struct rb_wait;

/** rb_images_lock - hold while looking for a mark and removing, or for an image and marking it.
 * Return: descriptor to close, or negative errno. */
int rb_images_lock(const struct rb_node *node, const struct rb_wait *wait, struct rb_err *err);

/** rb_image_keep - leave a mark; durable when it returns
 * @id: by which this engine knows the image */
int rb_image_keep(const struct rb_node *node, const char *id, struct rb_err *err);

/** rb_image_unkeep - remove a mark, if there is one */
void rb_image_unkeep(const struct rb_node *node, const char *id);

/** rb_image_is_kept - is there a mark? */
bool rb_image_is_kept(const struct rb_node *node, const char *id);

/** rb_images_forget - remove marks that are older than @age_ms, of images that are not here any
 * more: what brings one again is not that push */
int rb_images_forget(const struct rb_node *node, int64_t age_ms, const struct rb_wait *wait,
		     struct rb_err *err);
