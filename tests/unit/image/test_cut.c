// SPDX-License-Identifier: Apache-2.0
/*
 * test_cut.c - chunks and tar streams are cut where they should be, however they come
 */
#include <errno.h>

#include "cdc.h"
#include "cleanup.h"
#include "image_util.h"
#include "tap.h"
#include "tarsplit.h"

#define DATA ((size_t)4 << 20)

/* Return: number of chunks; their lengths in @ret */
static size_t cut(const uint8_t *data, size_t len, size_t step, uint32_t *ret, size_t max)
{
	struct rb_cdc cdc = {};
	size_t n = 0, chunk = 0;

	while (len) {
		size_t part = len < step ? len : step;
		bool end;
		size_t taken = rb_cdc_feed(&cdc, data, part, &end);

		chunk += taken;
		data += taken;
		len -= taken;
		if (end && n < max) {
			ret[n++] = (uint32_t)chunk;
			chunk = 0;
		}
	}
	if (chunk && n < max)
		ret[n++] = (uint32_t)chunk;
	return n;
}

static uint8_t *random_bytes(size_t len, uint64_t seed)
{
	uint8_t *data = malloc(len);
	uint64_t x = seed;

	for (size_t i = 0; i < len; i++) {
		x = x * 6364136223846793005ULL + 1442695040888963407ULL;
		data[i] = (uint8_t)(x >> 56);
	}
	return data;
}

static void cuts_are_the_same_everywhere(void)
{
	/* another version or host must cut like this, or nothing is found any more */
	static const uint32_t golden[] = { 33351, 33548, 44901, 44446, 43432, 34553 };
	_cleanup_free_ uint8_t *data = random_bytes(DATA, 1);
	uint32_t lens[1024];
	size_t n = cut(data, DATA, DATA, lens, 1024);

	CHECK(n >= ARRAY_SIZE(golden));
	for (size_t i = 0; i < ARRAY_SIZE(golden); i++)
		CHECK_INT(lens[i], golden[i]);
}

static void sizes_are_within_their_limits(void)
{
	_cleanup_free_ uint8_t *data = random_bytes(DATA, 2), *zeros = calloc(1, DATA);
	uint32_t lens[1024];
	size_t n = cut(data, DATA, DATA, lens, 1024);

	CHECK(n > DATA / RB_CHUNK_AVG / 2 && n < DATA / RB_CHUNK_AVG * 2);
	for (size_t i = 0; i + 1 < n; i++)
		CHECK(lens[i] >= RB_CHUNK_MIN && lens[i] <= RB_CHUNK_MAX);
	n = cut(zeros, DATA, DATA, lens, 1024);
	CHECK(n >= DATA / RB_CHUNK_MAX && n <= DATA / RB_CHUNK_MIN + 1);
}

static void pieces_do_not_matter(void)
{
	static const size_t steps[] = { 1, 3, 511, 8127, 8129, 65536 };
	_cleanup_free_ uint8_t *data = random_bytes(DATA / 4, 3);
	uint32_t whole[256], lens[256];
	size_t n = cut(data, DATA / 4, DATA, whole, 256);

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		CHECK_INT(cut(data, DATA / 4, steps[i], lens, 256), n);
		CHECK(memcmp(whole, lens, n * sizeof(lens[0])) == 0);
	}
}

static void an_insertion_changes_chunks_near_it(void)
{
	_cleanup_free_ uint8_t *data = random_bytes(DATA, 4), *more = malloc(DATA + 100);
	uint32_t before[1024], after[1024];
	size_t n, m, same = 0;

	memcpy(more, data, DATA / 2);
	memset(more + DATA / 2, 'x', 100);
	memcpy(more + DATA / 2 + 100, data + DATA / 2, DATA / 2);
	n = cut(data, DATA, DATA, before, 1024);
	m = cut(more, DATA + 100, DATA, after, 1024);
	while (same < n && same < m && before[n - 1 - same] == after[m - 1 - same])
		same++;
	CHECK(same + 4 > n / 2);
}

/* --- tar --- */

struct parts {
	struct rb_buf all, content;
	int files;
};

static int on_part(void *arg, enum rb_tar_part part, const void *data, size_t len, bool end)
{
	struct parts *parts = arg;

	rb_buf_add(&parts->all, data, len);
	if (part == RB_TAR_CONTENT)
		rb_buf_add(&parts->content, data, len);
	parts->files += end;
	return 0;
}

static void split(struct parts *parts, const struct rb_buf *tar, size_t step)
{
	struct rb_tarsplit *s = malloc(sizeof(*s));

	rb_tarsplit_init(s);
	for (size_t at = 0; at < tar->len; at += step)
		rb_tarsplit_feed(s, tar->data + at, tar->len - at < step ? tar->len - at : step,
				 on_part, parts);
	rb_tarsplit_end(s, on_part, parts);
	free(s);
}

static void parts_free(struct parts *parts)
{
	rb_buf_free(&parts->all);
	rb_buf_free(&parts->content);
}

/* all content of a tar, as libarchive reads it */
static void contents_of(const struct rb_buf *tar, struct rb_buf *ret, int *ret_files)
{
	struct archive *a = archive_read_new();
	struct archive_entry *entry;

	archive_read_support_format_tar(a);
	archive_read_open_memory(a, tar->data, tar->len);
	while (archive_read_next_header(a, &entry) == ARCHIVE_OK) {
		char data[4096];
		la_ssize_t n;

		*ret_files += archive_entry_size(entry) > 0;
		while ((n = archive_read_data(a, data, sizeof(data))) > 0)
			rb_buf_add(ret, data, (size_t)n);
	}
	archive_read_free(a);
}

static void content_is_what_libarchive_reads(void)
{
	static const size_t steps[] = { 1, 100, 512, 513, 1 << 20 };
	_cleanup_buf_ struct rb_buf tar = {}, want = {};
	int files = 0;

	util_layer(&tar, 40, 20000, 1);
	contents_of(&tar, &want, &files);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		_cleanup_(parts_free) struct parts parts = {};

		split(&parts, &tar, steps[i]);
		CHECK_INT(parts.all.len, tar.len);
		CHECK(memcmp(parts.all.data, tar.data, tar.len) == 0);
		CHECK_INT(parts.files, files);
		CHECK_INT(parts.content.len, want.len);
		CHECK(memcmp(parts.content.data, want.data, want.len) == 0);
	}
}

/* What is no tar comes out again, too, as content. */
static void other_data_passes(void)
{
	_cleanup_(parts_free) struct parts noise = {}, cut_off = {}, short_one = {};
	struct rb_buf random = { .data = (char *)random_bytes(100000, 5), .len = 100000 };
	_cleanup_buf_ struct rb_buf tar = {};

	split(&noise, &random, 4096);
	CHECK_INT(noise.content.len, random.len);
	CHECK(memcmp(noise.content.data, random.data, random.len) == 0);
	free(random.data);
	util_layer(&tar, 3, 5000, 1);
	tar.len = 600;
	split(&cut_off, &tar, 7);
	CHECK_INT(cut_off.all.len, 600);
	tar.len = 100;
	split(&short_one, &tar, 7);
	CHECK_INT(short_one.all.len, 100);
	CHECK(memcmp(short_one.all.data, tar.data, 100) == 0);
}

/* Content longer than a header can say: "size" in a pax header counts. */
static void a_pax_size_counts(void)
{
	_cleanup_(parts_free) struct parts parts = {};
	_cleanup_free_ struct rb_tarsplit *s = malloc(sizeof(*s));
	struct archive *a = archive_write_new();
	struct archive_entry *entry = archive_entry_new();
	static char tar[8 * RB_TAR_BLOCK]; /* its headers; there is no room for its content */
	size_t len = 0;

	archive_write_set_format_pax_restricted(a);
	archive_write_set_bytes_per_block(a, 0);
	archive_write_open_memory(a, tar, sizeof(tar), &len);
	archive_entry_set_pathname(entry, "large");
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_size(entry, (la_int64_t)9 << 30);
	archive_write_header(a, entry);
	archive_entry_free(entry);
	rb_tarsplit_init(s);
	rb_tarsplit_feed(s, tar, len, on_part, &parts);
	archive_write_free(a);
	CHECK(s->content == (uint64_t)9 << 30);
	CHECK(!s->given_up);
}

int main(void)
{
	TAP_RUN(cuts_are_the_same_everywhere);
	TAP_RUN(sizes_are_within_their_limits);
	TAP_RUN(pieces_do_not_matter);
	TAP_RUN(an_insertion_changes_chunks_near_it);
	TAP_RUN(content_is_what_libarchive_reads);
	TAP_RUN(other_data_passes);
	TAP_RUN(a_pax_size_counts);
	return tap_done();
}
