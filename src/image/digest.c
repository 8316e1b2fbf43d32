// SPDX-License-Identifier: Apache-2.0
/*
 * digest.c - SHA-256, of layers and of chunks
 */
#include "digest.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The algorithm is fetched once: EVP_sha256() would be looked up with each chunk. */
struct rb_digest {
	EVP_MD *sha256;
	EVP_MD_CTX *ctx;
};

struct rb_digest *rb_digest_new(void)
{
	struct rb_digest *digest = calloc(1, sizeof(*digest));

	if (!digest)
		return NULL;
	digest->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	digest->ctx = EVP_MD_CTX_new();
	if (digest->sha256 && digest->ctx)
		return digest;
	rb_digest_free(digest);
	return NULL;
}

void rb_digest_free(struct rb_digest *digest)
{
	if (!digest)
		return;
	EVP_MD_CTX_free(digest->ctx);
	EVP_MD_free(digest->sha256);
	free(digest);
}

bool rb_digest_start(struct rb_digest *digest)
{
	return EVP_DigestInit_ex2(digest->ctx, digest->sha256, NULL) == 1;
}

bool rb_digest_add(struct rb_digest *digest, const void *data, size_t len)
{
	return EVP_DigestUpdate(digest->ctx, data, len) == 1;
}

bool rb_digest_end(struct rb_digest *digest, uint8_t ret[RB_DIGEST_BYTES])
{
	unsigned int len = 0;

	return EVP_DigestFinal_ex(digest->ctx, ret, &len) == 1 && len == RB_DIGEST_BYTES;
}

bool rb_chunk_id(struct rb_digest *digest, const void *data, size_t len,
		 uint8_t ret[RB_CHUNK_ID_BYTES])
{
	uint8_t all[RB_DIGEST_BYTES];

	if (!rb_digest_start(digest) || !rb_digest_add(digest, data, len) ||
	    !rb_digest_end(digest, all))
		return false;
	memcpy(ret, all, RB_CHUNK_ID_BYTES);
	return true;
}

void rb_hex_encode(const uint8_t in[RB_DIGEST_BYTES], char ret[RB_DIGEST_DIGITS + 1])
{
	for (size_t i = 0; i < RB_DIGEST_BYTES; i++)
		snprintf(ret + 2 * i, 3, "%02x", in[i]);
}

bool rb_hex_decode(const char *text, uint8_t ret[RB_DIGEST_BYTES])
{
	for (size_t i = 0; i < RB_DIGEST_DIGITS; i++) {
		const char digits[] = "0123456789abcdef";
		const char *digit = text[i] ? strchr(digits, text[i]) : NULL;

		if (!digit)
			return false;
		if (i % 2)
			ret[i / 2] |= (uint8_t)(digit - digits);
		else
			ret[i / 2] = (uint8_t)((digit - digits) << 4);
	}
	return true;
}
