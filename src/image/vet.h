/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vet.h - is an archive nothing but the image that was described? (internal to image/)
 */
#pragma once

#include <jansson.h>

struct rb_err;
struct rb_gather;
struct rb_vetted;

/**
 * rb_vet_archive - read all of it that is around the objects, before Docker does
 * @description: of rb_image_describe()
 * @ret: the same for Docker, in an archive of our own making; rb_vetted_free()
 *
 * Return: 0, -EBADMSG/RB_E_PROTOCOL when it is more, or something else.
 */
int rb_vet_archive(struct rb_gather *gather, const json_t *description, struct rb_vetted **ret,
		   struct rb_err *err);
