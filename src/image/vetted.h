/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vetted.h - the archive that Docker reads: of what was vetted, and made by us (internal to image/)
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "digest.h"
#include "recipe.h"

struct rb_err;
struct rb_gather;
struct rb_vetted;

#define RB_VETTED_TEXTS ((size_t)16 << 20) /* bytes of all texts */

/** rb_vetted_new - Return: NULL without memory */
struct rb_vetted *rb_vetted_new(struct rb_gather *gather);
void rb_vetted_free(struct rb_vetted *vetted);

/* Each adds an entry; the path is copied. Return: 0, -ENOMEM; texts: -E2BIG as well */
int rb_vetted_add_folder(struct rb_vetted *vetted, const char *path);
int rb_vetted_add_link(struct rb_vetted *vetted, const char *path, const char *to);
int rb_vetted_add_text(struct rb_vetted *vetted, const char *path, const void *text, size_t len);

/** rb_vetted_add_object - Return: also -ENOENT: no such object has the digest that it should have
 */
int rb_vetted_add_object(struct rb_vetted *vetted, const char *path, enum rb_object_form form,
			 const uint8_t key[RB_DIGEST_BYTES]);

/** rb_vetted_read - next bytes of the archive. Return: their number, 0 at the end, negative errno.
 */
ssize_t rb_vetted_read(struct rb_vetted *vetted, void *buf, size_t size);
