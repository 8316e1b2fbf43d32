// SPDX-License-Identifier: Apache-2.0
/*
 * test_push.c - what two nodes say to each other about an image that is pushed, over a real
 * connection; Docker is fake_docker.h's
 */
#include <errno.h>

#include "cleanup.h"
#include "../wire/peer.h"
#include "engine.h"
#include "fake_docker.h"
#include "image.h"
#include "image_util.h"
#include "kept.h"
#include "node.h"
#include "push.h"
#include "tap.h"

#define ID "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define UP "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static char dir[] = "/tmp/test_push.XXXXXX"; /* the target's */
static const char *docker;		     /* its socket */
static const char *answers[2];		     /* of a peer that says what it likes */

static json_t *describe(void)
{
	return json_pack("{s:s, s:[s,s,s], s:[s,s]}", "id", ID, "layers", "sha256:1", "sha256:2",
			 "sha256:2", "tags", "app:1", "app:latest");
}

/* a target as it is */
static int serve(struct rb_conn *conn)
{
	_cleanup_json_ json_t *args = NULL;
	struct rb_node node = { .run_dir = dir, .state_dir = dir };
	struct rb_wait wait = within(20000);
	const char *verb;
	int r;

	PEER_NEED(rb_engine_open(docker, &node.engine, &peer_err) == 0);
	PEER_NEED(rb_conn_next_call(conn, &verb, &args, &wait, &peer_err) == 1);
	r = rb_image_serve(&node, conn, verb, args, -EBADF, &peer_err);
	if (r < 0)
		rb_conn_answer_error(conn, &peer_err, &wait, NULL);
	rb_engine_close(node.engine);
	return 0;
}

static int say(struct rb_conn *conn)
{
	_cleanup_json_ json_t *args = NULL;
	struct rb_wait wait = within(20000);
	const char *verb;

	PEER_NEED(rb_conn_next_call(conn, &verb, &args, &wait, &peer_err) == 1);
	for (size_t i = 0; i < ARRAY_SIZE(answers) && answers[i]; i++) {
		_cleanup_json_ json_t *answer = json_loads(answers[i], 0, NULL);

		PEER_NEED(rb_conn_answer(conn, answer, &wait, &peer_err) == 0);
	}
	return 0;
}

/* a target that has nothing of any image */
static int compare(struct rb_conn *conn)
{
	_cleanup_json_ json_t *args = NULL, *none = json_pack("{s:i}", "layers_present", 0);
	struct rb_node node = { .run_dir = dir, .state_dir = dir };
	struct rb_wait wait = within(20000);
	const char *verb;

	PEER_NEED(rb_engine_open(docker, &node.engine, &peer_err) == 0);
	PEER_NEED(rb_conn_next_call(conn, &verb, &args, &wait, &peer_err) == 1);
	PEER_NEED(rb_conn_answer(conn, none, &wait, &peer_err) == 0);
	PEER_NEED(rb_image_receive(&node, json_object_get(args, "image"), true, NULL, conn, &wait,
				   &peer_err) == 0);
	PEER_NEED(rb_conn_answer(conn, NULL, &wait, &peer_err) == 0);
	rb_engine_close(node.engine);
	return 0;
}

/* @push: its sizes may be filled; @ret_diff: NULL: a push. Return: of the push or diff */
static int push_to(int (*target)(struct rb_conn *conn), json_t *description,
		   struct rb_image_push *push, json_t **ret_diff, struct rb_err *err)
{
	_cleanup_json_ json_t *peers = NULL;
	struct rb_wait wait = within(20000);
	struct rb_node node = {};
	struct peer peer;
	int r;

	if (!peer_start(&peer, target) || load("h1", "ca", &node.tls, err) < 0)
		return -ENOSYS;
	peers = json_pack("{s:s}", "h2", peer.address);
	node.peers = peers;
	if (rb_engine_open(docker, &node.engine, err) < 0)
		return -ENOSYS;
	push->node = &node;
	push->peer = "h2";
	push->description = description;
	r = ret_diff ? rb_image_diff(push, ret_diff, &wait, err) : rb_image_push(push, &wait, err);
	rb_engine_close(node.engine);
	rb_tls_free(node.tls);
	return peer_end(&peer) == 0 ? r : -ENOTRECOVERABLE;
}

static void start_over(void)
{
	char path[256];

	rb_path(path, sizeof(path), "%s/images", dir);
	rb_rm_rf(path, NULL);
	fake_clear();
}

static const char *text_at(const json_t *array, size_t i)
{
	return json_string_value(json_array_get(array, i));
}

static void what_is_there_is_kept_and_named(void)
{
	_cleanup_json_ json_t *description = describe();
	struct rb_node there = { .run_dir = dir, .state_dir = dir };
	struct rb_image_push push = {};
	struct rb_err err = {};

	fake_clear();
	fake_add_image(ID, json_pack("{s:[]}", "RepoTags"));
	fake_add_image(UP, json_pack("{s:[s]}", "RepoTags", "app:latest"));
	CHECK_ERR(push_to(serve, description, &push, NULL, &err), 0, err);
	CHECK(push.was_there);
	CHECK_INT(push.layers_present, 3);
	CHECK_STR(push.image_id, ID);
	CHECK_STR(text_at(json_object_get(push.tags, "given"), 0), "app:1");
	CHECK_STR(text_at(json_object_get(push.tags, "taken"), 0), "app:latest");
	CHECK_INT(json_array_size(json_object_get(push.tags, "taken")), 1);
	CHECK(rb_image_is_kept(&there, ID));
	rb_image_push_clear(&push);
}

/* somebody removes it between our look and our mark: it is one that is missing, and not one that
 * the source has not */
static void what_has_just_been_removed_is_asked_for(void)
{
	_cleanup_json_ json_t *description = describe();
	struct rb_node there = { .run_dir = dir, .state_dir = dir };
	struct rb_image_push push = {};
	struct rb_err err = {};

	start_over();
	fake_add_image(ID, json_pack("{s:[]}", "RepoTags"));
	fake_set("vanish", json_integer(1));
	/* the source of this test is the same Docker, and has it no more either */
	CHECK_ERR(push_to(serve, description, &push, NULL, &err), -ENOENT, err);
	CHECK(!push.was_there);
	CHECK_INT(push.layers_present, 0);
	CHECK_INT(fake_calls("GET /images/" ID "/get"), 1);
	CHECK(!rb_image_is_kept(&there, ID));
	rb_image_push_clear(&push);
}

static void a_question_changes_nothing(void)
{
	_cleanup_json_ json_t *description = describe(), *diff = NULL;
	struct rb_image_push push = {};
	struct rb_err err = {};

	fake_clear();
	fake_add_image(ID, json_pack("{s:[]}", "RepoTags"));
	CHECK_ERR(push_to(serve, description, &push, &diff, &err), 0, err);
	CHECK(rb_json_bool(diff, "image_present", false));
	CHECK_INT(rb_json_int(diff, "layers_missing", -1), 0);
	CHECK_INT(fake_calls("POST"), 0);
	CHECK(push.tags == NULL);
	rb_image_push_clear(&push);
}

/* of what is there, where a store does not tell how large its layers are */
static void sizes_may_be_unknown(void)
{
	static const struct {
		int sizes[3];
		int64_t bytes;
	} rows[] = { { { 10, 20, 0 }, 30 }, { { 10, -1, 20 }, -1 }, { { -1, -1, -1 }, -1 } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_json_ json_t *description = describe(), *diff = NULL;
		_cleanup_json_ json_t *sizes =
			json_pack("[i,i,i]", rows[i].sizes[0], rows[i].sizes[1], rows[i].sizes[2]);
		struct rb_image_push push = { .sizes = sizes };
		struct rb_err err = {};

		answers[0] = "{\"layers_present\":-1}";
		answers[1] = NULL;
		CHECK_ERR(push_to(say, description, &push, &diff, &err), 0, err);
		CHECK_INT(rb_json_int(diff, "bytes_present", -2), rows[i].bytes);
		CHECK_INT(
			rb_json_int(json_array_get(json_object_get(diff, "layers"), 1), "size", -2),
			rows[i].sizes[1]);
		rb_image_push_clear(&push);
	}
}

/* as `docker save` writes an image whose last two layers are the same, which is there once. Return:
 * its description */
static json_t *save_doubled(size_t *ret_first, size_t *ret_second)
{
	_cleanup_buf_ struct rb_buf archive = {};
	struct rb_buf layers[2] = {};
	struct archive *a = util_tar(&archive);
	char ids[2][80], paths[2][128], hex[RB_DIGEST_DIGITS + 1], manifest[600];

	util_layer(&layers[0], 20, 100000, 1);
	util_layer(&layers[1], 10, 50000, 100);
	for (int i = 0; i < 2; i++) {
		util_sha256(layers[i].data, layers[i].len, hex);
		snprintf(paths[i], sizeof(paths[i]), "blobs/sha256/%s", hex);
		snprintf(ids[i], sizeof(ids[i]), "sha256:%s", hex);
		util_tar_file(a, paths[i], layers[i].data, layers[i].len);
	}
	snprintf(manifest, sizeof(manifest), "[{\"Layers\":[\"%s\",\"%s\",\"%s\"]}]", paths[0],
		 paths[1], paths[1]);
	util_tar_file(a, "manifest.json", manifest, strlen(manifest));
	util_tar_end(a);
	rb_write_file(fake_path("archive"), archive.data, archive.len, 0600, false, NULL);
	*ret_first = layers[0].len;
	*ret_second = layers[1].len;
	rb_buf_free(&layers[0]);
	rb_buf_free(&layers[1]);
	return json_pack("{s:s, s:[s,s,s], s:[]}", "id", ID, "layers", ids[0], ids[1], ids[1],
			 "tags");
}

static int64_t missing_at(const json_t *diff, size_t layer)
{
	return rb_json_int(json_array_get(json_object_get(diff, "layers"), layer), "bytes_missing",
			   -1);
}

static void a_layer_that_comes_twice_is_sent_once(void)
{
	_cleanup_json_ json_t *description = NULL, *diff = NULL;
	struct rb_image_push push = {};
	struct rb_err err = {};
	size_t first, second;

	fake_clear();
	description = save_doubled(&first, &second);
	fake_add_image(ID, json_pack("{s:[]}", "RepoTags"));
	CHECK_ERR(push_to(compare, description, &push, &diff, &err), 0, err);
	CHECK_INT(rb_json_int(diff, "layers_missing", -1), 3);
	/* their files' content; what is around it travels, too, and is no layer's */
	CHECK(missing_at(diff, 0) > 0 && missing_at(diff, 0) <= (int64_t)first);
	CHECK(missing_at(diff, 1) > 0 && missing_at(diff, 1) <= (int64_t)second);
	CHECK_INT(missing_at(diff, 2), 0);
	CHECK(missing_at(diff, 0) + missing_at(diff, 1) <= rb_json_int(diff, "bytes_missing", -1));
	rb_image_push_clear(&push);
}

/* it is shown to a person, who may copy it into a shell */
static void only_what_we_named_is_told(void)
{
	_cleanup_json_ json_t *description = describe();
	struct rb_image_push push = {};
	struct rb_err err = {};

	answers[0] = "{\"layers_present\":-1,\"image_id\":\"sha256:$(reboot)\",\"tags\":{\"given\":"
		     "[\"x\"],\"taken\":[\"\\u001b[2J\",7,\"app:1\",\"b:1\"]}}";
	answers[1] = NULL;
	CHECK_ERR(push_to(say, description, &push, NULL, &err), 0, err);
	CHECK_STR(push.image_id, "");
	CHECK_INT(json_array_size(json_object_get(push.tags, "taken")), 1);
	CHECK_STR(text_at(json_object_get(push.tags, "taken"), 0), "app:1");
	CHECK_INT(json_array_size(json_object_get(push.tags, "given")), 1);
	CHECK_STR(text_at(json_object_get(push.tags, "given"), 0), "app:latest");
	rb_image_push_clear(&push);
}

static void too_much_is_refused(void)
{
	_cleanup_json_ json_t *description = describe();
	struct rb_image_push push = {};
	struct rb_err err = {};

	fake_clear();
	for (int i = 0; i < 1000; i++)
		json_array_append_new(json_object_get(description, "tags"),
				      json_sprintf("app:%d", i));
	CHECK_ERR(push_to(serve, description, &push, NULL, &err), -EPROTO, err);
	CHECK_INT(err.code, RB_E_PROTOCOL);
	CHECK_INT(fake_calls("GET"), 0);
	rb_image_push_clear(&push);
}

static void docker_that_fails_is_told(void)
{
	_cleanup_json_ json_t *description = describe();
	struct rb_node there = { .run_dir = dir, .state_dir = dir };
	struct rb_image_push push = {};
	struct rb_err err = {};

	start_over();
	fake_set("broken", json_pack("[s]", "/images"));
	CHECK_ERR(push_to(serve, description, &push, NULL, &err), -EIO, err);
	CHECK_INT(err.code, RB_E_ENGINE);
	CHECK(!rb_image_is_kept(&there, ID));
	rb_image_push_clear(&push);
}

int main(void)
{
	docker = fake_start();
	if (!docker || !mkdtemp(dir) || !certs_make())
		return 1;
	TAP_RUN(what_is_there_is_kept_and_named);
	TAP_RUN(what_has_just_been_removed_is_asked_for);
	TAP_RUN(a_question_changes_nothing);
	TAP_RUN(sizes_may_be_unknown);
	TAP_RUN(a_layer_that_comes_twice_is_sent_once);
	TAP_RUN(only_what_we_named_is_told);
	TAP_RUN(too_much_is_refused);
	TAP_RUN(docker_that_fails_is_told);
	certs_remove();
	fake_stop();
	rb_rm_rf(dir, NULL);
	return tap_done();
}
