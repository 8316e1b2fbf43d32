// SPDX-License-Identifier: Apache-2.0
/*
 * pagemap.c - the pages that CRIU dumped are restored by CRIU
 *
 * CRIU marks pages of private anonymous memory as lazy in its pagemap images (`pagemap-<id>.img`),
 * whether it dumped their content or not, and a lazy restore leaves all of them to the pager. But
 * those that it dumped although we move such memory (a thread's stack page, a process that is too
 * young to be followed) are in its images alone. So the mark is taken away from them.
 *
 * The image, little-endian: u32 0x54564319, u32 0x56084025, then records, each a u32 with its
 * length and a protobuf message: first pagemap_head, then pagemap_entry for each run of pages.
 */
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "dump.h"
#include "err.h"
#include "io.h"
#include "pagemap.pb-c.h"

enum {
	LAZY = 1 << 1, /* PE_LAZY of CRIU's include/pagemap.h */
	ENTRY_MAX = 256,
};

#define COMMON_MAGIC  0x54564319U
#define PAGEMAP_MAGIC 0x56084025U
#define IMAGE_MAX     ((size_t)256 << 20)

static uint32_t read_u32(const char *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return le32toh(value);
}

static int add_record(struct rb_buf *out, const void *data, size_t len)
{
	uint32_t size = htole32((uint32_t)len);
	int r = rb_buf_add(out, &size, sizeof(size));

	return r < 0 ? r : rb_buf_add(out, data, len);
}

static int add_entry(struct rb_buf *out, const char *data, size_t len, bool *ret_changed)
{
	RbPagemapEntry *entry = rb_pagemap_entry__unpack(NULL, len, (const uint8_t *)data);
	uint8_t packed[ENTRY_MAX];
	int r;

	if (!entry)
		return -EPROTO;
	if (!entry->has_flags || !(entry->flags & LAZY)) {
		r = add_record(out, data, len);
	} else {
		*ret_changed = true;
		entry->flags &= ~(uint32_t)LAZY;
		r = rb_pagemap_entry__get_packed_size(entry) > sizeof(packed)
			    ? -EPROTO
			    : add_record(out, packed, rb_pagemap_entry__pack(entry, packed));
	}
	rb_pagemap_entry__free_unpacked(entry, NULL);
	return r;
}

int rb_criu_pagemap_unlazy(const char *image, size_t len, struct rb_buf *ret, bool *ret_changed)
{
	size_t at = 8;
	int r;

	*ret_changed = false;
	if (len < at || read_u32(image) != COMMON_MAGIC || read_u32(image + 4) != PAGEMAP_MAGIC)
		return -EPROTO;
	r = rb_buf_add(ret, image, at);
	for (bool head = true; r >= 0 && at < len; head = false) {
		size_t left = len - at, size = left < 4 ? 0 : read_u32(image + at);

		if (left < 4 || size > left - 4)
			return -EPROTO;
		r = head ? add_record(ret, image + at + 4, size)
			 : add_entry(ret, image + at + 4, size, ret_changed);
		at += 4 + size;
	}
	return r;
}

static int rewrite(const char *dir, const char *name, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf image = {}, out = {};
	char path[PATH_MAX];
	bool changed;
	int r = rb_path(path, sizeof(path), "%s/%s", dir, name);

	r = r < 0 ? rb_err_set(err, r, "open '%s'", name)
		  : rb_read_file(path, IMAGE_MAX, &image, err);
	if (r < 0)
		return r;
	/* CRIU leaves an empty image where there is nothing to say */
	if (image.len == 0)
		return 0;
	r = rb_criu_pagemap_unlazy(image.data, image.len, &out, &changed);
	if (r < 0)
		return rb_err_code(err, RB_E_CRIU, r, "'%s' is not a pagemap image of CRIU's",
				   name);
	return changed ? rb_write_file(path, out.data, out.len, 0600, false, err) : 0;
}

int rb_criu_restore_all_dumped(const char *images, struct rb_err *err)
{
	_cleanup_closedir_ DIR *dir = opendir(images);
	struct dirent *entry;

	if (!dir)
		return rb_err_set(err, -errno, "open '%s'", images);
	while ((entry = readdir(dir))) {
		int id, end = 0, r;

		if (sscanf(entry->d_name, "pagemap-%d.img%n", &id, &end) != 1 || end == 0 ||
		    entry->d_name[end])
			continue;
		r = rewrite(images, entry->d_name, err);
		if (r < 0)
			return r;
	}
	return 0;
}
