/* SPDX-License-Identifier: Apache-2.0 */
/*
 * digest.h - SHA-256, of layers and of chunks (internal to image/)
 *
 * A chunk's id is the beginning of its SHA-256: an image must not be able to pass off one chunk as
 * another, so no faster hash will do.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RB_DIGEST_BYTES	  32
#define RB_DIGEST_DIGITS  64
#define RB_CHUNK_ID_BYTES 20

struct rb_digest; /* used by one thread at a time */

/** rb_digest_new - NULL without memory */
struct rb_digest *rb_digest_new(void);
void rb_digest_free(struct rb_digest *digest);

/** rb_digest_start, rb_digest_add, rb_digest_end - SHA-256 of what was added since the start.
 * Return: false when OpenSSL fails */
bool rb_digest_start(struct rb_digest *digest);
bool rb_digest_add(struct rb_digest *digest, const void *data, size_t len);
bool rb_digest_end(struct rb_digest *digest, uint8_t ret[RB_DIGEST_BYTES]);

/** rb_chunk_id - the id of a chunk. Return: false when OpenSSL fails. */
bool rb_chunk_id(struct rb_digest *digest, const void *data, size_t len,
		 uint8_t ret[RB_CHUNK_ID_BYTES]);

/** rb_hex_encode - 64 digits and NUL */
void rb_hex_encode(const uint8_t in[RB_DIGEST_BYTES], char ret[RB_DIGEST_DIGITS + 1]);

/** rb_hex_decode - exactly 64 lower-case digits at the beginning of @text. Return: are they? */
bool rb_hex_decode(const char *text, uint8_t ret[RB_DIGEST_BYTES]);
