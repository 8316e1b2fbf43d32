/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarsplit.h - which bytes of a tar stream are files' content (internal to image/)
 *
 * Every byte comes out again, in its order: nothing is made anew, so the stream can be put together
 * exactly as it was. libarchive cannot do that. What is not understood counts as content, to the
 * stream's end: that costs nothing but chunks that are found less often.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RB_TAR_BLOCK   512
#define RB_TAR_PAX_MAX ((size_t)64 << 10) /* of a pax header's text that is looked at */

enum rb_tar_part {
	RB_TAR_META,	/* headers, padding, the end */
	RB_TAR_CONTENT, /* of a file */
};

struct rb_tarsplit {
	uint8_t header[RB_TAR_BLOCK];
	size_t have;	   /* of the header */
	uint64_t content;  /* left of the file's content */
	uint64_t meta;	   /* left until the next header: an extension's data, padding */
	uint64_t padding;  /* behind the content */
	uint64_t pax_size; /* size that the extension says, of the next file */
	bool has_pax_size;
	bool in_pax;	   /* the meta data under way is a pax header's */
	uint64_t pax_left; /* of its text */
	char pax[RB_TAR_PAX_MAX];
	size_t pax_len;
	bool given_up; /* all is content */
};

/** Takes a piece. @end: content, and the file's last. Return: 0, or a negative errno that ends it.
 */
typedef int (*rb_tar_sink)(void *arg, enum rb_tar_part part, const void *data, size_t len,
			   bool end);

void rb_tarsplit_init(struct rb_tarsplit *split);

/** rb_tarsplit_feed - more of the stream; any length. Return: 0, or what @sink returned. */
int rb_tarsplit_feed(struct rb_tarsplit *split, const void *data, size_t len, rb_tar_sink sink,
		     void *arg);

/** rb_tarsplit_end - the stream ends: hands out a header that was cut. Return: as above. */
int rb_tarsplit_end(struct rb_tarsplit *split, rb_tar_sink sink, void *arg);
