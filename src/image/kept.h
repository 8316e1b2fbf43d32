/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kept.h - images that are a user's, although a migration may have brought them
 *
 * A migration that is rolled back takes the image with it that it has brought. One that somebody
 * pushed here is somebody's: also when both brought it at the same time, and when the push found it
 * here because the migration had been faster. So a push leaves a mark once the image is here, a
 * file with the image's digest as its name in <state_dir>/images/kept, and whoever is about to
 * remove an image looks for it.
 *
 * A push holds the image from before Docker loads it until there is the mark, and who removes it
 * waits for that: between the two the image is here and nothing tells whose it is. The hold ends
 * with its process. It is of the image's layers, not of its ID, by which a source knows it whose
 * store is of another kind; one that differs in its configuration only waits, too.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

struct rb_err;
struct rb_node;
struct rb_wait;

/** rb_image_hold - keep the image from being removed until the descriptor is closed; several may
 * @description: of rb_image_describe()
 *
 * Return: descriptor, or negative errno. */
int rb_image_hold(const struct rb_node *node, const json_t *description, const struct rb_wait *wait,
		  struct rb_err *err);

/** rb_image_keep - leave a mark; durable when it returns. Who holds the image and has found it does
 * @id: by which this engine knows it */
int rb_image_keep(const struct rb_node *node, const json_t *description, const char *id,
		  struct rb_err *err);

/** rb_image_is_kept - is there a mark? */
bool rb_image_is_kept(const struct rb_node *node, const char *id);

/**
 * rb_image_take_away - remove an image that came for a migration that is rolled back
 *
 * It stays, with all its names, when it is kept, when a container has it, or when somebody has
 * given it a name of his own.
 *
 * Return: 0 when it is gone or stays for good; -EBUSY/RB_E_CONFLICT when somebody holds it, or
 * another negative errno: it has to be tried again.
 */
int rb_image_take_away(const struct rb_node *node, const json_t *description,
		       const struct rb_wait *wait, struct rb_err *err);

/** rb_images_forget - remove marks of images that are not here any more: what brings one again is
 * not that push. Costs one call on Docker where there is any mark */
int rb_images_forget(const struct rb_node *node, const struct rb_wait *wait, struct rb_err *err);
