// SPDX-License-Identifier: Apache-2.0
/*
 * tarsplit.c - which bytes of a tar stream are files' content
 *
 * A stream is a row of entries: a header of 512 bytes, with the content's size in it, the content,
 * and padding to the next 512. An extension is an entry, too, and says something of the next one:
 * "x" (pax) and "L", "K" (GNU). Of these only a pax "size" matters here, which stands there when
 * the header's own has no room for it. Content is what "0", NUL and "7" carry; links, folders and
 * devices have none, whatever their size says (POSIX ustar).
 *
 * A header without the right sum ends all understanding (`given_up`).
 */
#include "tarsplit.h"

#include <stdlib.h>
#include <string.h>

#define SIZE_AT	    124
#define SIZE_LEN    12
#define SUM_AT	    148
#define SUM_LEN	    8
#define TYPE_AT	    156
#define CONTENT_MAX ((uint64_t)1 << 42) /* more than any layer */

void rb_tarsplit_init(struct rb_tarsplit *split)
{
	*split = (struct rb_tarsplit){};
}

/* octal digits, or GNU's binary numbers; false when it is neither, or too large */
static bool read_number(const uint8_t *at, size_t len, uint64_t *ret)
{
	uint64_t value = 0;
	size_t i = 0;

	if (at[0] & 0x80) {
		value = at[0] & 0x7f;
		for (i = 1; i < len; i++) {
			if (value > CONTENT_MAX)
				return false;
			value = value << 8 | at[i];
		}
		*ret = value;
		return value <= CONTENT_MAX;
	}
	while (i < len && at[i] == ' ')
		i++;
	for (; i < len && at[i] >= '0' && at[i] <= '7'; i++)
		value = value << 3 | (uint64_t)(at[i] - '0');
	if (i < len && at[i] != ' ' && at[i] != '\0')
		return false;
	*ret = value;
	return value <= CONTENT_MAX;
}

static bool sum_is_right(const uint8_t *header)
{
	uint64_t want, sum = 0;

	if (!read_number(header + SUM_AT, SUM_LEN, &want))
		return false;
	for (size_t i = 0; i < RB_TAR_BLOCK; i++)
		sum += i >= SUM_AT && i < SUM_AT + SUM_LEN ? ' ' : header[i];
	return sum == want;
}

static bool is_zero(const uint8_t *header)
{
	return header[0] == 0 && memcmp(header, header + 1, RB_TAR_BLOCK - 1) == 0;
}

static uint64_t padding_of(uint64_t size)
{
	return (RB_TAR_BLOCK - size % RB_TAR_BLOCK) % RB_TAR_BLOCK;
}

/* "27 size=10737418240\n" among a pax header's lines: "<length of the line> key=value\n" */
static void read_pax(struct rb_tarsplit *split)
{
	const char *at = split->pax, *end = at + split->pax_len;

	split->pax[split->pax_len] = '\0';
	while (at < end) {
		char *text, *stop;
		unsigned long len = strtoul(at, &text, 10);

		if (len == 0 || *text != ' ' || len > (size_t)(end - at))
			return;
		if (strncmp(text, " size=", 6) == 0) {
			unsigned long long size = strtoull(text + 6, &stop, 10);

			split->has_pax_size = *stop == '\n' && size <= CONTENT_MAX;
			split->pax_size = size;
		}
		at += len;
	}
}

/* The header is complete. Return: is it one? */
static bool read_header(struct rb_tarsplit *split)
{
	const uint8_t *header = split->header;
	uint64_t size;

	if (is_zero(header))
		return true; /* the end, or what follows it */
	if (!sum_is_right(header) || !read_number(header + SIZE_AT, SIZE_LEN, &size))
		return false;
	switch (header[TYPE_AT]) {
	case 'x':
		split->in_pax = true;
		split->pax_len = 0;
		split->pax_left = size;
		/* fallthrough */
	case 'g':
	case 'L':
	case 'K':
		split->meta = size + padding_of(size);
		return true;
	case '0':
	case '\0':
	case '7':
		if (split->has_pax_size)
			size = split->pax_size;
		split->content = size;
		split->padding = padding_of(size);
		break;
	default: /* links, folders, devices */
		break;
	}
	split->has_pax_size = false;
	return true;
}

/* Return: bytes taken, or what the sink returned */
static ssize_t take_header(struct rb_tarsplit *split, const uint8_t *data, size_t len,
			   rb_tar_sink sink, void *arg)
{
	size_t part = RB_TAR_BLOCK - split->have;
	int r;

	if (part > len)
		part = len;
	memcpy(split->header + split->have, data, part);
	split->have += part;
	if (split->have < RB_TAR_BLOCK)
		return (ssize_t)part;
	split->have = 0;
	split->given_up = !read_header(split);
	r = sink(arg, split->given_up ? RB_TAR_CONTENT : RB_TAR_META, split->header, RB_TAR_BLOCK,
		 false);
	return r < 0 ? r : (ssize_t)part;
}

static ssize_t take_meta(struct rb_tarsplit *split, const uint8_t *data, size_t len,
			 rb_tar_sink sink, void *arg)
{
	size_t part = len < split->meta ? len : (size_t)split->meta;
	int r;

	if (split->in_pax) {
		size_t text = part < split->pax_left ? part : (size_t)split->pax_left;
		size_t room = sizeof(split->pax) - 1 - split->pax_len;

		split->pax_left -= text;
		if (text > room)
			text = room;
		memcpy(split->pax + split->pax_len, data, text);
		split->pax_len += text;
	}
	split->meta -= part;
	if (split->meta == 0 && split->in_pax) {
		split->in_pax = false;
		read_pax(split);
	}
	r = sink(arg, RB_TAR_META, data, part, false);
	return r < 0 ? r : (ssize_t)part;
}

static ssize_t take_content(struct rb_tarsplit *split, const uint8_t *data, size_t len,
			    rb_tar_sink sink, void *arg)
{
	size_t part = len < split->content ? len : (size_t)split->content;
	int r;

	split->content -= part;
	if (split->content == 0) {
		split->meta = split->padding;
		split->padding = 0;
	}
	r = sink(arg, RB_TAR_CONTENT, data, part, split->content == 0);
	return r < 0 ? r : (ssize_t)part;
}

int rb_tarsplit_feed(struct rb_tarsplit *split, const void *data, size_t len, rb_tar_sink sink,
		     void *arg)
{
	const uint8_t *at = data;

	while (len) {
		ssize_t n;

		if (split->given_up)
			return sink(arg, RB_TAR_CONTENT, at, len, false);
		if (split->content)
			n = take_content(split, at, len, sink, arg);
		else if (split->meta)
			n = take_meta(split, at, len, sink, arg);
		else
			n = take_header(split, at, len, sink, arg);
		if (n < 0)
			return (int)n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int rb_tarsplit_end(struct rb_tarsplit *split, rb_tar_sink sink, void *arg)
{
	size_t have = split->have;

	split->have = 0;
	return have ? sink(arg, RB_TAR_META, split->header, have, false) : 0;
}
