/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cdc.h - cut data into chunks where its content says so (internal to image/)
 *
 * The same bytes are cut in the same places wherever they stand, so what was inserted or changed in
 * a file changes the chunks around it and no others. Both hosts must cut alike: the constants in
 * cdc.c are part of the conversation.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RB_CHUNK_MIN ((size_t)8 << 10)
#define RB_CHUNK_AVG ((size_t)32 << 10)
#define RB_CHUNK_MAX ((size_t)128 << 10)

/** One chunk under way; begins as {}, and is that again behind each cut. */
struct rb_cdc {
	uint64_t hash;
	size_t len; /* bytes of the chunk so far */
};

/**
 * rb_cdc_feed - more bytes of one file
 * @ret_cut: does the chunk end behind the bytes that were taken? The file's end is one, too, and
 * the caller's to know: *cdc = {} there
 *
 * Return: how many bytes were taken; less than @len only behind a cut.
 */
size_t rb_cdc_feed(struct rb_cdc *cdc, const void *data, size_t len, bool *ret_cut);
