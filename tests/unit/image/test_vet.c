// SPDX-License-Identifier: Apache-2.0
/*
 * test_vet.c - archives that are more than the image that was described are refused before Docker
 * sees them
 */
#include "vet.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"
#include "err.h"
#include "filter.h"
#include "gather.h"
#include "image_util.h"
#include "spool.h"
#include "tap.h"
#include "vetted.h"

static char dir[] = "/tmp/reberth-test-vet.XXXXXX";

/* --- an archive, piece by piece, as a peer sends it --- */

struct peer_archive {
	struct rb_spool spool;
	struct rb_gather *gather;
	uint32_t batch;
	int failed;
};

static int on_want(void *arg, const uint8_t *record, size_t len, struct rb_err *err)
{
	(void)arg;
	(void)record;
	(void)len;
	(void)err;
	return 0;
}

static void say(struct peer_archive *p, const struct rb_item *item)
{
	static uint8_t bytes[RB_RECIPE_HEADER + RB_RECIPE_ITEMS_MAX];
	struct rb_recipe_record record = { .kind = RB_RECIPE_ITEMS, .batch = p->batch++ };

	if (item->kind == RB_ITEM_LITERAL && !item->len) {
		p->batch--;
		return;
	}
	record.raw_len = (uint32_t)rb_item_encode(bytes + RB_RECIPE_HEADER, item);
	rb_recipe_encode_header(bytes, &record);
	if (rb_gather_record(p->gather, bytes, RB_RECIPE_HEADER + record.raw_len, NULL) < 0)
		p->failed++;
}

static void say_bytes(struct peer_archive *p, const void *data, size_t len)
{
	say(p, &(struct rb_item){ .kind = RB_ITEM_LITERAL, .bytes = data, .len = (uint32_t)len });
}

enum how {
	AROUND,
	BLOB,
	LEGACY,
};

/* one entry; @link: of a symbolic link, or "hard:" and that of a hard one */
static void add(struct peer_archive *p, const char *path, const char *text, const char *link,
		enum how how)
{
	_cleanup_buf_ struct rb_buf tar = {};
	struct archive *a = util_tar(&tar);
	struct archive_entry *entry = archive_entry_new();
	size_t len = strlen(text), padding = (512 - len % 512) % 512;
	uint8_t key[RB_DIGEST_BYTES] = {};
	char hex[RB_DIGEST_DIGITS + 1];

	archive_entry_set_pathname(entry, path);
	archive_entry_set_filetype(entry, path[strlen(path) - 1] == '/' ? AE_IFDIR
					  : link			? AE_IFLNK
									: AE_IFREG);
	archive_entry_set_perm(entry, 0644);
	archive_entry_set_size(entry, (la_int64_t)len);
	if (link && strncmp(link, "hard:", 5) == 0)
		archive_entry_set_hardlink(entry, link + 5);
	else if (link)
		archive_entry_set_symlink(entry, link);
	archive_write_header(a, entry);
	archive_write_data(a, text, len);
	archive_write_finish_entry(a);
	archive_entry_free(entry);
	say_bytes(p, tar.data, 512);
	if (how != AROUND) {
		if (how == BLOB)
			util_sha256(text, len, hex);
		rb_hex_decode(how == BLOB ? hex : path, key);
		say(p, &(struct rb_item){ .kind = RB_ITEM_OBJECT,
					  .form = how == BLOB ? RB_OBJECT_BLOB : RB_OBJECT_LEGACY,
					  .bytes = key,
					  .size = len });
	}
	say_bytes(p, text, len);
	if (how != AROUND)
		say(p, &(struct rb_item){ .kind = RB_ITEM_END });
	say_bytes(p, tar.data + 512 + len, padding);
	util_tar_end(a);
}

/* a text's digits, as part of a path */
static const char *of(const char *format, const char *text)
{
	static char paths[8][200];
	static unsigned int turn;
	char hex[RB_DIGEST_DIGITS + 1];
	char *path = paths[turn++ % 8];

	util_sha256(text, strlen(text), hex);
	snprintf(path, sizeof(paths[0]), "%s%s", strstr(format, "blobs") ? format : "", hex);
	if (!strstr(format, "blobs"))
		snprintf(path + RB_DIGEST_DIGITS, 100, "%s", format);
	return path;
}

static json_t *legacy_layers;

static void begin(struct peer_archive *p)
{
	char hex[80] = "sha256:";
	struct rb_gather_options options = { .want = on_want };

	*p = (struct peer_archive){};
	util_sha256("layer", 5, hex + 7);
	legacy_layers = json_pack("[s]", hex);
	rb_spool_open(&p->spool, dir, NULL, NULL);
	options.spool = &p->spool;
	options.layers = legacy_layers;
	if (rb_gather_new(&options, &p->gather, NULL) < 0)
		abort();
}

static struct rb_buf made; /* what Docker would get */

static int read_made(struct rb_vetted *vetted)
{
	static const size_t sizes[] = { 1, 511, 70000 };
	char buf[70000];
	ssize_t n;

	rb_buf_free(&made);
	for (int i = 0; (n = rb_vetted_read(vetted, buf, sizes[i % 3])) > 0; i++)
		rb_buf_add(&made, buf, (size_t)n);
	return (int)n;
}

/* byte by byte, as far as it is known: folders, links and files, each with a header of its own */
static void check_made(unsigned int entries)
{
	size_t at = 0;

	while (at + 512 <= made.len && made.data[at]) {
		const char *header = made.data + at;

		CHECK(isalnum(header[0]));
		CHECK(strchr("025", header[156]) && header[156]);
		CHECK(memcmp(header + 257, "ustar", 6) == 0);
		at += 512 + (strtoull(header + 124, NULL, 8) + 511) / 512 * 512;
		entries--;
	}
	CHECK_INT(entries, 0);
	CHECK_INT(made.len - at, 1024);
	for (; at < made.len; at++)
		if (made.data[at])
			CHECK_INT(at, made.len);
}

/* Return: the content of a file in it, NULL */
static const char *file_made(const char *path)
{
	struct archive *a = archive_read_new();
	struct archive_entry *entry;
	static char text[1000];
	const char *found = NULL;

	archive_read_support_format_tar(a);
	archive_read_open_memory(a, made.data, made.len);
	memset(text, 0, sizeof(text));
	while (!found && archive_read_next_header(a, &entry) == ARCHIVE_OK)
		if (strcmp(archive_entry_pathname(entry), path) == 0 &&
		    archive_read_data(a, text, sizeof(text) - 1) >= 0)
			found = text;
	archive_read_free(a);
	return found;
}

/* the archive ends here: what is said of it, for an image with the configuration "config" */
static int finish(struct peer_archive *p, const char *store, struct rb_err *err)
{
	static const char zeros[1024];
	_cleanup_json_ json_t *description = json_pack("{s:o, s:s, s:[s]}", "id",
						       json_sprintf("sha256:%s", of("", "config")),
						       "store", store, "tags", "redis:7");
	struct rb_vetted *vetted = NULL;
	int r = p->failed ? -EPROTO : 0;

	say_bytes(p, zeros, sizeof(zeros));
	if (r == 0)
		r = rb_gather_end(p->gather, err);
	if (r == 0)
		r = rb_gather_check(p->gather, err);
	if (r == 0 && rb_gather_wrong(p->gather, NULL))
		r = -EIO;
	if (r == 0)
		r = rb_vet_archive(p->gather, description, &vetted, err);
	if (r == 0)
		r = read_made(vetted);
	rb_vetted_free(vetted);
	rb_gather_forget(p->gather);
	rb_gather_free(p->gather);
	rb_spool_close(&p->spool);
	json_decref(legacy_layers);
	return r;
}

static const char *manifest(const char *more, const char *config)
{
	static char text[1000];

	snprintf(text, sizeof(text), "[{\"Config\":\"%s\",\"Layers\":[\"%s\"]%s}]", config,
		 of("blobs/sha256/", "layer"), more);
	return text;
}

static void add_blobs(struct peer_archive *p)
{
	add(p, "blobs/", "", NULL, AROUND);
	add(p, "blobs/sha256/", "", NULL, AROUND);
	add(p, of("blobs/sha256/", "layer"), "layer", NULL, BLOB);
	add(p, of("blobs/sha256/", "config"), "config", NULL, BLOB);
}

static void good_ones_pass(void)
{
	struct peer_archive p;
	struct rb_err err = {};
	char link[200];

	begin(&p);
	add_blobs(&p);
	add(&p, "index.json",
	    "{\"schemaVersion\":2,\"manifests\":[{\"digest\":\"sha256:1\",\"annotations\":{}}]}",
	    NULL, AROUND);
	add(&p, "manifest.json", manifest(",\"RepoTags\":null", of("blobs/sha256/", "config")),
	    NULL, AROUND);
	add(&p, "oci-layout", "{}", NULL, AROUND);
	CHECK_INT(finish(&p, "layers", &err), 0);
	CHECK_STR(err.msg, "");
	check_made(7);
	CHECK_STR(file_made(of("blobs/sha256/", "layer")), "layer");
	CHECK_STR(file_made("oci-layout"), "{}");
	begin(&p);
	add(&p, of("/", "v1"), "", NULL, AROUND);
	add(&p, of("/VERSION", "v1"), "1.0", NULL, AROUND);
	add(&p, of("/json", "v1"), "{}", NULL, AROUND);
	add(&p, of("/layer.tar", "v1"), "layer", NULL, LEGACY);
	snprintf(link, sizeof(link), "../%s", of("/layer.tar", "v1"));
	add(&p, of("/layer.tar", "v2"), "", link, AROUND);
	add(&p, of(".json", "config"), "config", NULL, AROUND);
	add(&p, "manifest.json", manifest(",\"RepoTags\":[]", of(".json", "config")), NULL, AROUND);
	CHECK_INT(finish(&p, "layers", &err), 0);
	CHECK_STR(err.msg, "");
	check_made(5);
	CHECK_STR(file_made(of("/layer.tar", "v1")), "layer");
	CHECK_STR(file_made(of(".json", "config")), "config");
	CHECK(!file_made(of("/json", "v1")));
}

/* --- what real engines have saved --- */

struct saved {
	struct peer_archive p;
	struct rb_buf in;
	size_t at;
};

static ssize_t pull(void *arg, const void **ret_block, struct rb_err *err)
{
	struct saved *s = arg;
	size_t len = s->in.len - s->at < 4096 ? s->in.len - s->at : 4096;

	(void)err;
	*ret_block = s->in.data + s->at;
	s->at += len;
	return (ssize_t)len;
}

static int push(void *arg, const void *data, size_t len, struct rb_err *err)
{
	(void)err;
	say_bytes(&((struct saved *)arg)->p, data, len);
	return 0;
}

static int push_object(void *arg, enum rb_object_form form, const uint8_t *key, uint64_t size,
		       struct rb_err *err)
{
	(void)err;
	say(&((struct saved *)arg)->p,
	    &(struct rb_item){ .kind = RB_ITEM_OBJECT, .form = form, .bytes = key, .size = size });
	return 0;
}

static int push_end(void *arg, struct rb_err *err)
{
	(void)err;
	say(&((struct saved *)arg)->p, &(struct rb_item){ .kind = RB_ITEM_END });
	return 0;
}

static void what_docker_saves_passes(void)
{
	static const char *const names[] = { "save-20.10", "save-20.10-kolkata", "save-28.5" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_json_ json_t *layers = json_pack(
			"[s, s, s]",
			"sha256:1d9c50e25d43a29a5bd6756e5a08e872d16f9d2300ab739c35d91ecc2d3a3897",
			"sha256:5bb54ac28f621d711d58012bb8a2448d298bc61b05be2042542747fe64359f91",
			"sha256:b34239120b431c7b40f9625aac1b7464f473fd0f80c4b1b40e3eca66d5005e0b");
		_cleanup_json_ json_t *description = json_pack(
			"{s:s, s:s}", "id",
			"sha256:5f0aad911854245cadf8363e6fe5f09755c3c5b1630852cfb4c16b439703a436",
			"store", "layers");
		struct saved s = {};
		struct rb_gather_options options = { .want = on_want, .layers = layers };
		struct rb_image_filter filter = { .layers = layers,
						  .read = pull,
						  .write = push,
						  .object = push_object,
						  .object_data = push,
						  .object_end = push_end,
						  .arg = &s };
		struct rb_vetted *vetted = NULL;
		struct rb_err err = {};
		char path[512];

		rb_path(path, sizeof(path), "%s/%s.tar", FIXTURES, names[i]);
		CHECK_INT(rb_read_file(path, 0, &s.in, NULL), 0);
		CHECK_INT(rb_spool_open(&s.p.spool, dir, NULL, NULL), 0);
		options.spool = &s.p.spool;
		CHECK_INT(rb_gather_new(&options, &s.p.gather, NULL), 0);
		CHECK_INT(rb_image_filter_run(&filter, &err), 0);
		CHECK_INT(s.p.failed, 0);
		CHECK_INT(rb_gather_end(s.p.gather, &err), 0);
		CHECK_INT(rb_gather_check(s.p.gather, &err), 0);
		CHECK_INT(rb_gather_wrong(s.p.gather, NULL), 0);
		CHECK_INT(rb_vet_archive(s.p.gather, description, &vetted, &err), 0);
		CHECK_STR(err.msg, "");
		CHECK(vetted && read_made(vetted) == 0);
		CHECK(file_made("manifest.json"));
		rb_vetted_free(vetted);
		rb_gather_forget(s.p.gather);
		rb_gather_free(s.p.gather);
		rb_spool_close(&s.p.spool);
		rb_buf_free(&s.in);
		json_decref(filter.manifest);
	}
}

static void strange_manifests_are_refused(void)
{
	/* @config: NULL: @more is the whole text */
	static const struct {
		const char *more, *config, *why;
	} cases[] = {
		{ ",\"RepoTags\":[\"nginx:latest\"]", "config", "names" },
		{ ",\"RepoTags\":\"nginx\"", "config", "names" },
		{ ",\"Parent\":\"sha256:1\"", "config", "more than" },
		{ ",\"repotags\":[\"nginx:latest\"]", "config", "more than" },
		{ ",\"layers\":[]", "config", "more than" },
		{ "", "other", "another image" },
		{ "},{\"Layers\":[]", "config", "one image" },
		{ "[{\"Config\":\"/etc/passwd\"}]", NULL, "elsewhere" },
		{ "[{\"Config\":\"../../etc/passwd.json\"}]", NULL, "elsewhere" },
		{ "{}", NULL, "one image" },
		{ "[]", NULL, "one image" },
		{ "[1]", NULL, "more than" },
		{ "x", NULL, "one image" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct peer_archive p;
		struct rb_err err = {};
		const char *text = cases[i].more;

		if (cases[i].config)
			text = manifest(text, of("blobs/sha256/", cases[i].config));
		begin(&p);
		add_blobs(&p);
		add(&p, "manifest.json", text, NULL, AROUND);
		CHECK_INT(finish(&p, "layers", &err), -EBADMSG);
		CHECK(strstr(err.msg, cases[i].why));
	}
}

static void layers_from_elsewhere_are_refused(void)
{
	struct peer_archive p;
	struct rb_err err = {};
	char text[400];

	snprintf(text, sizeof(text), "[{\"Config\":\"%s\",\"Layers\":[\"../../layer.tar\"]}]",
		 of("blobs/sha256/", "config"));
	begin(&p);
	add_blobs(&p);
	add(&p, "manifest.json", text, NULL, AROUND);
	CHECK_INT(finish(&p, "layers", &err), -EBADMSG);
	CHECK(strstr(err.msg, "elsewhere"));
}

static void other_files_are_refused(void)
{
	static const struct {
		const char *path, *text, *link, *why;
	} cases[] = {
		{ "repositories", "{\"nginx\":{\"latest\":\"1\"}}", NULL, "belongs" },
		{ "../outside", "x", NULL, "belongs" },
		{ "/etc/passwd", "x", NULL, "belongs" },
		{ "some/folder/", "", NULL, "belongs" },
		{ "blobs/sha256/"
		  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		  "x", NULL, "not checked" },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/layer.tar", "x",
		  NULL, "not checked" },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/layer.tar", "",
		  "/etc/shadow", "link" },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.json", "{}",
		  NULL, "digest" },
		{ "oci-layout", "", "/etc/shadow", "link" },
		{ "oci-layout", "", "hard:manifest.json", "link" },
		{ "index.json",
		  "{\"manifests\":[{\"annotations\":{\"io.containerd.image.name\":"
		  "\"docker.io/library/nginx:1\"}}]}",
		  NULL, "name" },
		{ "blobs/", "", NULL, "twice" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct peer_archive p;
		struct rb_err err = {};

		begin(&p);
		add_blobs(&p);
		add(&p, cases[i].path, cases[i].text, cases[i].link, AROUND);
		add(&p, "manifest.json", manifest("", of("blobs/sha256/", "config")), NULL, AROUND);
		CHECK_INT(finish(&p, "layers", &err), -EBADMSG);
		CHECK_INT(err.code, RB_E_PROTOCOL);
		CHECK(strstr(err.msg, cases[i].why));
	}
}

static void an_id_passes_as_a_name(void)
{
	struct peer_archive p;
	struct rb_err err = {};

	begin(&p);
	add_blobs(&p);
	add(&p, "index.json",
	    "{\"manifests\":[{\"annotations\":{\"io.containerd.image.name\":\"sha256:12\"}}]}",
	    NULL, AROUND);
	/* in containerd's store the ID is not the configuration's */
	add(&p, "manifest.json", manifest("", of("blobs/sha256/", "config")), NULL, AROUND);
	CHECK_INT(finish(&p, "containerd", &err), 0);
	begin(&p);
	add_blobs(&p);
	add(&p, "index.json",
	    "{\"manifests\":[{\"Annotations\":{\"io.containerd.image.name\":\"nginx:1\"}}]}", NULL,
	    AROUND);
	add(&p, "manifest.json", manifest("", of("blobs/sha256/", "config")), NULL, AROUND);
	CHECK_INT(finish(&p, "containerd", &err), -EBADMSG);
}

/* An object's bytes are somewhere else than where its name says: it is they that Docker gets. */
static void files_have_the_bytes_that_were_checked(void)
{
	struct peer_archive p;
	struct rb_err err = {};

	begin(&p);
	add(&p, "oci-layout", "layer", NULL, BLOB);
	add(&p, of("blobs/sha256/", "layer"), "other", NULL, AROUND);
	add(&p, of("blobs/sha256/", "config"), "config", NULL, BLOB);
	add(&p, "manifest.json", manifest("", of("blobs/sha256/", "config")), NULL, AROUND);
	CHECK_INT(finish(&p, "layers", &err), 0);
	check_made(4);
	CHECK_STR(file_made(of("blobs/sha256/", "layer")), "layer");
}

/* Docker looks for the beginning of something compressed first: a name may look like one, and be
 * replaced by that of an extended header, which libarchive goes by. */
static void docker_sees_none_of_the_peers_headers(void)
{
	_cleanup_buf_ struct rb_buf tar = {};
	struct archive *a = util_tar(&tar);
	struct peer_archive p;
	struct rb_err err = {};
	unsigned int sum = 0;
	uint8_t *header;

	util_tar_file(a, "x", "18 path=oci-layout\n", 19);
	util_tar_end(a);
	header = (uint8_t *)tar.data;
	memcpy(header, "\x1f\x8b\x08\x04", 4);
	memcpy(tar.data + 512, "19 path=oci-layout\n", 19);
	header[156] = 'x';
	memset(header + 148, ' ', 8);
	for (int i = 0; i < 512; i++)
		sum += header[i];
	snprintf(tar.data + 148, 8, "%06o", sum);
	begin(&p);
	say_bytes(&p, tar.data, 1024);
	add(&p, "any", "{}", NULL, AROUND);
	add_blobs(&p);
	add(&p, "manifest.json", manifest("", of("blobs/sha256/", "config")), NULL, AROUND);
	CHECK_INT(finish(&p, "layers", &err), 0);
	CHECK_STR(err.msg, "");
	check_made(6);
	CHECK_STR(file_made("oci-layout"), "{}");
}

static void texts_have_a_limit(void)
{
	struct rb_vetted *vetted = rb_vetted_new(NULL);
	char *text = calloc(1, RB_VETTED_TEXTS);

	CHECK_INT(rb_vetted_add_text(vetted, "a", text, RB_VETTED_TEXTS - 1), 0);
	CHECK_INT(rb_vetted_add_text(vetted, "b", text, 2), -E2BIG);
	CHECK_INT(rb_vetted_add_text(vetted, "c", text, 1), 0);
	rb_vetted_free(vetted);
	free(text);
}

static void an_archive_without_a_manifest_is_refused(void)
{
	struct peer_archive p;
	struct rb_err err = {};

	begin(&p);
	add_blobs(&p);
	CHECK_INT(finish(&p, "layers", &err), -EBADMSG);
	CHECK(strstr(err.msg, "missing"));
	begin(&p);
	say_bytes(&p, "this is no archive", 18);
	CHECK_INT(finish(&p, "layers", &err), -EBADMSG);
}

int main(void)
{
	char command[100];

	if (!mkdtemp(dir))
		return 1;
	TAP_RUN(good_ones_pass);
	TAP_RUN(what_docker_saves_passes);
	TAP_RUN(strange_manifests_are_refused);
	TAP_RUN(layers_from_elsewhere_are_refused);
	TAP_RUN(other_files_are_refused);
	TAP_RUN(an_id_passes_as_a_name);
	TAP_RUN(files_have_the_bytes_that_were_checked);
	TAP_RUN(docker_sees_none_of_the_peers_headers);
	TAP_RUN(texts_have_a_limit);
	TAP_RUN(an_archive_without_a_manifest_is_refused);
	rb_buf_free(&made);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command) ? 1 : tap_done();
}
