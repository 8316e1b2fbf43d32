// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_archive.c - what a peer says is an image's archive, and what Docker gets of it
 *
 * The input is the archive around two objects that are right. Whatever it is, an archive that is
 * taken comes out as one of headers that are ours: each with a name of the few that there are, as a
 * file, a link or a folder, and nothing between them.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "gather.h"
#include "io.h"
#include "recipe.h"
#include "spool.h"
#include "vet.h"
#include "vetted.h"

#define PART 60000

static const char *const texts[] = { "layer", "config" };

static char dir[] = "/tmp/reberth-fuzz.XXXXXX";

static void remove_dir(void)
{
	rb_rm_rf(dir, NULL);
}

static struct rb_spool *the_spool(void)
{
	static struct rb_spool spool;
	static bool is_open;

	if (!is_open) {
		FUZZ_NEED(mkdtemp(dir) && atexit(remove_dir) == 0);
		FUZZ_NEED(rb_spool_open(&spool, dir, NULL, NULL) == 0);
		is_open = true;
	}
	return &spool;
}

static int on_want(void *arg, const uint8_t *record, size_t len, struct rb_err *err)
{
	(void)arg;
	(void)record;
	(void)len;
	(void)err;
	return 0;
}

static int say(struct rb_gather *gather, uint32_t *batch, const struct rb_item *item)
{
	static uint8_t bytes[RB_RECIPE_HEADER + RB_RECIPE_ITEMS_MAX];
	struct rb_recipe_record record = { .kind = RB_RECIPE_ITEMS, .batch = (*batch)++ };

	record.raw_len = (uint32_t)rb_item_encode(bytes + RB_RECIPE_HEADER, item);
	rb_recipe_encode_header(bytes, &record);
	return rb_gather_record(gather, bytes, RB_RECIPE_HEADER + record.raw_len, NULL);
}

static void say_object(struct rb_gather *gather, uint32_t *batch, const char *text)
{
	struct rb_item item = { .kind = RB_ITEM_OBJECT, .size = strlen(text) };
	struct rb_digest *digest = rb_digest_new();
	uint8_t key[RB_DIGEST_BYTES];

	FUZZ_NEED(digest && rb_digest_start(digest) && rb_digest_add(digest, text, strlen(text)) &&
		  rb_digest_end(digest, key));
	rb_digest_free(digest);
	item.bytes = key;
	FUZZ_NEED(say(gather, batch, &item) == 0);
	item = (struct rb_item){ .kind = RB_ITEM_LITERAL,
				 .bytes = (const uint8_t *)text,
				 .len = (uint32_t)strlen(text) };
	FUZZ_NEED(say(gather, batch, &item) == 0);
	item = (struct rb_item){ .kind = RB_ITEM_END };
	FUZZ_NEED(say(gather, batch, &item) == 0);
}

/* as far as names go */
static bool is_known(const char *name)
{
	static const char *const files[] = { "manifest.json", "index.json", "oci-layout" };

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (strcmp(name, files[i]) == 0)
			return true;
	if (strncmp(name, "blobs/", 6) == 0)
		return strlen(name) == 6 || strcmp(name, "blobs/sha256/") == 0 ||
		       strspn(name + 13, "0123456789abcdef") == 64;
	return strspn(name, "0123456789abcdef") == 64;
}

static void check_made(const uint8_t *data, size_t len)
{
	size_t at = 0;

	FUZZ_NEED(len % 512 == 0 && len >= 1024);
	while (data[at]) {
		char name[101] = "";

		FUZZ_NEED(at + 512 <= len - 1024);
		memcpy(name, data + at, 100);
		FUZZ_NEED(is_known(name));
		FUZZ_NEED(memcmp(data + at + 257, "ustar", 6) == 0 && !data[at + 345]);
		FUZZ_NEED(data[at + 156] && strchr("025", data[at + 156]));
		at += 512 + (strtoull((const char *)data + at + 124, NULL, 8) + 511) / 512 * 512;
		FUZZ_NEED(at <= len - 1024);
	}
	FUZZ_NEED(at == len - 1024);
	for (; at < len; at++)
		FUZZ_NEED(!data[at]);
}

static void read_made(struct rb_vetted *vetted)
{
	_cleanup_buf_ struct rb_buf made = {};
	char buf[4096];
	ssize_t n;

	while ((n = rb_vetted_read(vetted, buf, sizeof(buf))) > 0)
		FUZZ_NEED(rb_buf_add(&made, buf, (size_t)n) == 0);
	FUZZ_NEED(n == 0);
	check_made((const uint8_t *)made.data, made.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const struct rb_gather_options options = { .spool = the_spool(), .want = on_want };
	json_t *description = json_pack("{s:s, s:s}", "id", "sha256:1", "store", "containerd");
	struct rb_vetted *vetted = NULL;
	struct rb_gather *gather;
	uint32_t batch = 0;

	FUZZ_NEED(rb_gather_new(&options, &gather, NULL) == 0);
	for (size_t at = 0; at < len; at += PART) {
		struct rb_item item = { .kind = RB_ITEM_LITERAL,
					.bytes = data + at,
					.len = (uint32_t)(len - at < PART ? len - at : PART) };

		FUZZ_NEED(say(gather, &batch, &item) == 0);
	}
	/* behind its end: wherever an object's bytes are, they are found by its digest */
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		say_object(gather, &batch, texts[i]);
	FUZZ_NEED(rb_gather_end(gather, NULL) == 0 && rb_gather_check(gather, NULL) == 0);
	FUZZ_NEED(rb_gather_wrong(gather, NULL) == 0);
	if (rb_vet_archive(gather, description, &vetted, NULL) == 0)
		read_made(vetted);
	rb_vetted_free(vetted);
	rb_gather_forget(gather);
	rb_gather_free(gather);
	rb_spool_sweep(the_spool(), 0);
	json_decref(description);
	return 0;
}
