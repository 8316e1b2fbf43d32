// SPDX-License-Identifier: Apache-2.0
/*
 * test_filter.c - layers taken out of archives that real engines saved
 *
 * The fixtures are one image of four layers, saved by Docker 20.10, by 20.10 in another time zone
 * (which changes all v1 IDs) and by 28.5. Its third layer has the content of the first: 20.10 saves
 * that as a symbolic link, 28.5 as one blob for both.
 */
#include "filter.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "legacy.h"
#include "tap.h"

#ifndef FIXTURES
#define FIXTURES "tests/unit/image/fixtures"
#endif

#define LAYERS 4

static const char *const diff_ids[LAYERS] = {
	"sha256:1d9c50e25d43a29a5bd6756e5a08e872d16f9d2300ab739c35d91ecc2d3a3897",
	"sha256:5bb54ac28f621d711d58012bb8a2448d298bc61b05be2042542747fe64359f91",
	"sha256:1d9c50e25d43a29a5bd6756e5a08e872d16f9d2300ab739c35d91ecc2d3a3897",
	"sha256:b34239120b431c7b40f9625aac1b7464f473fd0f80c4b1b40e3eca66d5005e0b",
};

static const struct {
	const char *name;
	int dropped[LAYERS + 1]; /* files, by number of layers to skip */
} archives[] = {
	{ "save-20.10", { 0, 0, 1, 3, 4 } },
	{ "save-20.10-kolkata", { 0, 0, 1, 3, 4 } },
	{ "save-28.5", { 0, 0, 1, 2, 3 } },
};

/* an archive goes in by @step bytes, and what comes out is collected */
struct pipe {
	struct rb_buf in, out;
	size_t pos, step;
	size_t fail_read_at, fail_write_at; /* bytes; 0: never */
	char *block; /* a copy of its own, so that ASan sees who reads beyond it */
};

static void pipe_free(struct pipe *p)
{
	rb_buf_free(&p->in);
	rb_buf_free(&p->out);
	free(p->block);
}
#define _cleanup_pipe_ __attribute__((cleanup(pipe_free)))

static ssize_t pull(void *arg, const void **ret_block, struct rb_err *err)
{
	struct pipe *p = arg;
	size_t len = p->step;

	if (p->fail_read_at && p->pos >= p->fail_read_at)
		return rb_err_set(err, -EXDEV, "pull");
	if (len > p->in.len - p->pos)
		len = p->in.len - p->pos;
	free(p->block);
	p->block = malloc(len + !len);
	memcpy(p->block, p->in.data + p->pos, len);
	p->pos += len;
	*ret_block = p->block;
	return (ssize_t)len;
}

static int push(void *arg, const void *data, size_t len, struct rb_err *err)
{
	struct pipe *p = arg;

	if (p->fail_write_at && p->out.len + len >= p->fail_write_at)
		return rb_err_code(err, RB_E_PEER, -EPIPE, "the peer is gone");
	return rb_buf_add(&p->out, data, len);
}

static int open_pipe(struct pipe *p, const char *name, size_t step)
{
	char path[512];

	*p = (struct pipe){ .step = step };
	rb_path(path, sizeof(path), "%s/%s.tar", FIXTURES, name);
	return rb_read_file(path, 0, &p->in, NULL);
}

static json_t *layers(void)
{
	json_t *out = json_array();

	for (size_t i = 0; i < LAYERS; i++)
		json_array_append_new(out, json_string(diff_ids[i]));
	return out;
}

static int run(struct pipe *p, int skip, int *ret_dropped, struct rb_err *err)
{
	_cleanup_json_ json_t *list = layers();
	struct rb_image_filter filter = {
		.layers = list, .skip_layers = skip, .read = pull, .write = push, .arg = p
	};
	int r = rb_image_filter_run(&filter, err);

	if (ret_dropped)
		*ret_dropped = filter.dropped_files;
	return r;
}

/* {path: content or "-> target"} of an archive; NULL when it is damaged */
static json_t *contents(const struct rb_buf *buf)
{
	struct archive *a = archive_read_new();
	_cleanup_json_ json_t *out = json_object();
	struct archive_entry *entry;
	int r = ARCHIVE_FATAL;

	archive_read_support_format_tar(a);
	if (archive_read_open_memory(a, buf->data, buf->len) == ARCHIVE_OK) {
		while ((r = archive_read_next_header(a, &entry)) == ARCHIVE_OK) {
			static char data[65536];
			const char *link = archive_entry_symlink(entry);
			la_ssize_t len = archive_read_data(a, data, sizeof(data));
			char *hex = calloc(1, 2 * sizeof(data) + 1);

			for (la_ssize_t i = 0; i < len; i++)
				snprintf(hex + 2 * i, 3, "%02x", (unsigned char)data[i]);
			json_object_set_new(out, archive_entry_pathname(entry),
					    json_sprintf("%o %s%s", archive_entry_mode(entry),
							 link ? link : "", hex));
			free(hex);
		}
	}
	archive_read_free(a);
	return r == ARCHIVE_EOF ? TAKE_PTR(out) : NULL;
}

/* paths of @before that @after lacks; -1 when something else differs */
static int missing(const json_t *before, const json_t *after)
{
	const char *path;
	json_t *value;
	int count = 0;

	json_object_foreach ((json_t *)before, path, value) {
		if (!json_object_get(after, path))
			count++;
		else if (!json_equal(value, json_object_get(after, path)))
			return -1;
	}
	return json_object_size(after) + (size_t)count == json_object_size(before) ? count : -1;
}

static void layers_are_dropped_and_nothing_else(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(archives); i++) {
		for (int skip = 0; skip <= LAYERS; skip++) {
			_cleanup_pipe_ struct pipe p;
			_cleanup_json_ json_t *before = NULL, *after = NULL;
			struct rb_err err = {};
			int dropped;

			CHECK_INT(open_pipe(&p, archives[i].name, 65536), 0);
			CHECK_INT(run(&p, skip, &dropped, &err), 0);
			CHECK_INT(dropped, archives[i].dropped[skip]);
			before = contents(&p.in);
			after = contents(&p.out);
			CHECK(before && after);
			CHECK_INT(missing(before, after), dropped);
			CHECK(json_object_get(after, "manifest.json"));
		}
	}
}

static void wanted_layers_stay(void)
{
	/* skipping two: the first has the content of the third, so only the second goes */
	_cleanup_pipe_ struct pipe oci, old;
	_cleanup_json_ json_t *blobs = NULL, *folders = NULL;
	int dropped;

	open_pipe(&oci, "save-28.5", 65536);
	CHECK_INT(run(&oci, 2, &dropped, NULL), 0);
	blobs = contents(&oci.out);
	CHECK(json_object_get(blobs, "blobs/sha256/1d9c50e25d43a29a5bd6756e5a08e872"
				     "d16f9d2300ab739c35d91ecc2d3a3897"));
	CHECK(!json_object_get(blobs, "blobs/sha256/5bb54ac28f621d711d58012bb8a2448d"
				      "298bc61b05be2042542747fe64359f91"));
	open_pipe(&old, "save-20.10", 65536);
	CHECK_INT(run(&old, 2, &dropped, NULL), 0);
	folders = contents(&old.out);
	CHECK_INT(json_object_size(folders), 18 - 1);
}

static void block_sizes_do_not_matter(void)
{
	static const size_t steps[] = { 1, 7, 512, 513, 10240 };

	for (size_t i = 0; i < ARRAY_SIZE(archives); i++) {
		_cleanup_pipe_ struct pipe whole;

		open_pipe(&whole, archives[i].name, 1 << 20);
		CHECK_INT(run(&whole, 3, NULL, NULL), 0);
		for (size_t j = 0; j < ARRAY_SIZE(steps); j++) {
			_cleanup_pipe_ struct pipe p;

			open_pipe(&p, archives[i].name, steps[j]);
			CHECK_INT(run(&p, 3, NULL, NULL), 0);
			CHECK_INT(p.out.len, whole.out.len);
			CHECK(memcmp(p.out.data, whole.out.data, p.out.len) == 0);
			CHECK_INT(p.pos, p.in.len); /* or the transfer would not end */
		}
	}
}

static void silly_numbers_are_limits(void)
{
	static const struct {
		int skip, dropped;
	} cases[] = { { -1, 0 }, { 99, 4 } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_pipe_ struct pipe p;
		int dropped;

		open_pipe(&p, "save-20.10", 4096);
		CHECK_INT(run(&p, cases[i].skip, &dropped, NULL), 0);
		CHECK_INT(dropped, cases[i].dropped);
	}
}

static void unknown_layers_are_sent(void)
{
	/* as with compressed blobs, or folders that a hash does not prove */
	_cleanup_json_ json_t *other =
		json_pack("[s, s, s, s]", "sha256:1", "sha256:2", "sha256:3", "sha256:4");

	for (size_t i = 0; i < ARRAY_SIZE(archives); i++) {
		_cleanup_pipe_ struct pipe p;
		struct rb_image_filter filter = {
			.layers = other, .skip_layers = 3, .read = pull, .write = push, .arg = &p
		};

		open_pipe(&p, archives[i].name, 4096);
		CHECK_INT(rb_image_filter_run(&filter, NULL), 0);
		CHECK_INT(filter.dropped_files, 0);
	}
}

static void cut_archives_are_noticed(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(archives); i++) {
		_cleanup_pipe_ struct pipe whole;
		size_t len;

		open_pipe(&whole, archives[i].name, 4096);
		for (len = 0; len < whole.in.len; len += 256) {
			_cleanup_pipe_ struct pipe p;
			_cleanup_json_ json_t *after = NULL;
			struct rb_err err = {};

			open_pipe(&p, archives[i].name, 4096);
			p.in.len = len;
			if (run(&p, 0, NULL, &err) < 0) {
				CHECK_INT(err.code, RB_E_ENGINE);
				continue;
			}
			/* between two entries a cut cannot be seen here, but Docker's load
			 * needs nothing that comes after manifest.json, and HTTP tells too */
			after = contents(&p.out);
			CHECK(after && json_object_get(after, "manifest.json"));
		}
	}
}

static void dockers_late_errors_are_noticed(void)
{
	static const char message[] = "{\"errorDetail\":{\"message\":\"unexpected EOF\"}}\r\n";

	for (size_t i = 0; i < ARRAY_SIZE(archives); i++) {
		for (size_t len = 0; len < 16384; len += 512) {
			_cleanup_pipe_ struct pipe p;
			struct rb_err err = {};

			open_pipe(&p, archives[i].name, 4096);
			p.in.len = len;
			CHECK_INT(rb_buf_add(&p.in, message, strlen(message)), 0);
			CHECK_INT(run(&p, 0, NULL, &err), -EIO);
			CHECK_INT(err.code, RB_E_ENGINE);
		}
	}
}

static void other_data_is_refused(void)
{
	_cleanup_pipe_ struct pipe empty = { .step = 512 }, noise = { .step = 512 };
	struct rb_err err = {};

	rb_buf_add(&empty.in, "", 0);
	CHECK_INT(run(&empty, 0, NULL, &err), -EIO);
	for (unsigned int i = 0, x = 1; i < 8192; i++) {
		char c = (char)(x >> 16);

		rb_buf_add(&noise.in, &c, 1);
		x = x * 1103515245 + 12345;
	}
	CHECK_INT(run(&noise, 0, NULL, &err), -EIO);
	CHECK(strstr(err.msg, "damaged or incomplete"));
}

static void errors_of_both_ends_come_through(void)
{
	for (size_t at = 1; at < 24576; at += 500) {
		_cleanup_pipe_ struct pipe reading, writing;
		struct rb_err err = {};

		open_pipe(&reading, "save-20.10", 100);
		reading.fail_read_at = at;
		CHECK_INT(run(&reading, 1, NULL, &err), -EXDEV);
		CHECK_INT(err.errnum, EXDEV);
		open_pipe(&writing, "save-20.10", 100);
		writing.fail_write_at = at;
		rb_err_clear(&err);
		CHECK_INT(run(&writing, 1, NULL, &err), -EPIPE);
		CHECK_STR(err.msg, "the peer is gone");
		CHECK_INT(err.code, RB_E_PEER);
	}
}

/* --- objects --- */

struct objects {
	struct pipe pipe;
	struct rb_buf object;
	int count, wrong;
	uint64_t size;
	uint8_t key[RB_DIGEST_BYTES];
	enum rb_object_form form;
};

static ssize_t pull_object(void *arg, const void **ret_block, struct rb_err *err)
{
	return pull(&((struct objects *)arg)->pipe, ret_block, err);
}

static int push_around(void *arg, const void *data, size_t len, struct rb_err *err)
{
	return push(&((struct objects *)arg)->pipe, data, len, err);
}

static int begin_object(void *arg, enum rb_object_form form, const uint8_t *key, uint64_t size,
			struct rb_err *err)
{
	struct objects *o = arg;

	(void)err;
	o->object.len = 0;
	o->form = form;
	o->size = size;
	memcpy(o->key, key, RB_DIGEST_BYTES);
	return 0;
}

static int add_object(void *arg, const void *data, size_t len, struct rb_err *err)
{
	struct objects *o = arg;
	int r = push(&o->pipe, data, len, err);

	return r < 0 ? r : rb_buf_add(&o->object, data, len);
}

static int end_object(void *arg, struct rb_err *err)
{
	struct objects *o = arg;
	struct rb_digest *digest = rb_digest_new();
	uint8_t sum[RB_DIGEST_BYTES];
	char text[80] = "sha256:";

	(void)err;
	rb_digest_start(digest);
	rb_digest_add(digest, o->object.data, o->object.len);
	rb_digest_end(digest, sum);
	rb_digest_free(digest);
	rb_hex_encode(sum, text + strlen(text));
	o->count++;
	o->wrong += o->object.len != o->size;
	if (o->form == RB_OBJECT_BLOB)
		o->wrong += memcmp(sum, o->key, sizeof(sum)) != 0;
	else
		o->wrong += strcmp(text, diff_ids[0]) && strcmp(text, diff_ids[1]) &&
			    strcmp(text, diff_ids[3]);
	return 0;
}

/* What is handed out and what is around it is the archive, and the parts are what they say. */
static void objects_are_handed_out(void)
{
	/* 28.5: three layers, and what belongs to OCI: blobs, too */
	static const int counts[] = { 3, 3, 9 };

	for (size_t i = 0; i < ARRAY_SIZE(archives); i++) {
		_cleanup_json_ json_t *list = layers(), *before = NULL, *after = NULL;
		struct objects o = {};
		struct rb_image_filter filter = { .layers = list,
						  .read = pull_object,
						  .write = push_around,
						  .object = begin_object,
						  .object_data = add_object,
						  .object_end = end_object,
						  .arg = &o };
		struct rb_err err = {};

		CHECK_INT(open_pipe(&o.pipe, archives[i].name, 1000), 0);
		CHECK_INT(rb_image_filter_run(&filter, &err), 0);
		CHECK_INT(o.count, counts[i]);
		CHECK_INT(o.wrong, 0);
		before = contents(&o.pipe.in);
		after = contents(&o.pipe.out);
		CHECK(before && after);
		CHECK_INT(missing(before, after), 0);
		CHECK_INT(json_array_size(
				  json_object_get(json_array_get(filter.manifest, 0), "Layers")),
			  LAYERS);
		json_decref(filter.manifest);
		rb_buf_free(&o.object);
		pipe_free(&o.pipe);
	}
}

static void chain_ids_are_dockers(void)
{
	_cleanup_json_ json_t *list = layers(), *chain = rb_layer_chain(list), *none = json_array();
	_cleanup_json_ json_t *wrong = json_pack("[i]", 1), *empty = NULL;

	CHECK_INT(json_array_size(chain), LAYERS);
	CHECK_STR(json_string_value(json_array_get(chain, 0)), diff_ids[0]);
	/* printf '%s %s' ID1 ID2 | sha256sum */
	CHECK_STR(json_string_value(json_array_get(chain, 1)),
		  "sha256:c77721ddd7278002b8331506aee788b8b4a840976dac5c921e011cdb0fa24b11");
	CHECK_STR(json_string_value(json_array_get(chain, 3)),
		  "sha256:7e5e0020344a09c56c6c497bd9eb21402c1db0d0c5927a091624590af8e4fc12");
	CHECK(!rb_layer_chain(wrong));
	empty = rb_layer_chain(none);
	CHECK_INT(json_array_size(empty), 0);
}

static void folders_are_proven_by_their_hash(void)
{
	static const char name[] =
		"26b357bfacb7f10181284575e07ca7374432e5697f3aa7015fbe1d444065a998";
	static const char text[] =
		"{\"id\":\"26b357bfacb7f10181284575e07ca7374432e5697f3aa7015fbe1d444065a998\","
		"\"created\":\"1970-01-01T05:30:00+05:30\",\"container_config\":{\"Hostname\":\"\","
		"\"Domainname\":\"\",\"User\":\"\",\"AttachStdin\":false,\"AttachStdout\":false,"
		"\"AttachStderr\":false,\"Tty\":false,\"OpenStdin\":false,\"StdinOnce\":false,"
		"\"Env\":null,\"Cmd\":null,\"Image\":\"\",\"Volumes\":null,\"WorkingDir\":\"\","
		"\"Entrypoint\":null,\"OnBuild\":null,\"Labels\":null},\"os\":\"linux\"}";

	CHECK(rb_legacy_is_layer(name, text, strlen(text), diff_ids[0]));
	CHECK(!rb_legacy_is_layer(name, text, strlen(text), diff_ids[1]));
	CHECK(!rb_legacy_is_layer("26", text, strlen(text), diff_ids[0]));
	CHECK(!rb_legacy_is_layer(name, text, strlen(text) - 1, diff_ids[0]));
	CHECK(!rb_legacy_is_layer(name, "[]", 2, diff_ids[0]));
	CHECK(!rb_legacy_is_layer(name, "", 0, diff_ids[0]));
}

int main(void)
{
	TAP_RUN(layers_are_dropped_and_nothing_else);
	TAP_RUN(wanted_layers_stay);
	TAP_RUN(block_sizes_do_not_matter);
	TAP_RUN(silly_numbers_are_limits);
	TAP_RUN(unknown_layers_are_sent);
	TAP_RUN(cut_archives_are_noticed);
	TAP_RUN(dockers_late_errors_are_noticed);
	TAP_RUN(other_data_is_refused);
	TAP_RUN(errors_of_both_ends_come_through);
	TAP_RUN(objects_are_handed_out);
	TAP_RUN(chain_ids_are_dockers);
	TAP_RUN(folders_are_proven_by_their_hash);
	return tap_done();
}
