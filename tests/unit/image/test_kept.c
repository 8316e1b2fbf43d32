// SPDX-License-Identifier: Apache-2.0
/*
 * test_kept.c - images that are a user's: marks, who holds an image, and what a roll-back removes
 */
#include "kept.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "cleanup.h"
#include "engine.h"
#include "err.h"
#include "fake_docker.h"
#include "io.h"
#include "json.h"
#include "node.h"
#include "tap.h"
#include "wait.h"

#define ONE   "sha256:1d9c50e25d43a29a5bd6756e5a08e872d16f9d2300ab739c35d91ecc2d3a3897"
#define OTHER "sha256:5bb54ac28f621d711d58012bb8a2448d298bc61b05be2042542747fe64359f91"

static char dir[] = "/tmp/test_kept.XXXXXX";
static struct rb_node node;
static json_t *one, *other; /* as a peer describes them */

static json_t *described(const char *id, const char *layer)
{
	return json_pack("{s:s, s:[s,s], s:[s,s]}", "id", id, "layers", "sha256:base", layer,
			 "tags", "app:1", "app:latest");
}

/* an image that came with the names of its description */
static void bring(const char *id)
{
	fake_add_image(id, json_pack("{s:[s,s]}", "RepoTags", "app:1", "app:latest"));
}

static void start_over(void)
{
	char path[PATH_MAX];

	rb_path(path, sizeof(path), "%s/images", dir);
	rb_rm_rf(path, NULL);
	fake_clear();
}

static int take_away(const json_t *description)
{
	struct rb_wait wait = rb_wait_within(NULL, 20000);

	return rb_image_take_away(&node, description, &wait, NULL);
}

/* while somebody holds it */
static int try_to_take_away(const json_t *description)
{
	struct rb_wait wait = rb_wait_within(NULL, 100);

	return rb_image_take_away(&node, description, &wait, NULL);
}

/* --- marks --- */

static void marks_are_by_id(void)
{
	start_over();
	CHECK(!rb_image_is_kept(&node, ONE));
	CHECK_INT(rb_image_keep(&node, one, ONE, NULL), 0);
	CHECK_INT(rb_image_keep(&node, one, ONE, NULL), 0);
	CHECK(rb_image_is_kept(&node, ONE));
	CHECK(!rb_image_is_kept(&node, OTHER));
}

/* a peer says what the ID is */
static void ids_that_are_paths_are_refused(void)
{
	static const char *const wrong[] = {
		"", "sha256:", "../../x", "sha256:../../../etc/passwd", ONE "0", "sha256:1D9c"
	};

	start_over();
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct rb_err err = {};

		CHECK_INT(rb_image_keep(&node, one, wrong[i], &err), -EPROTO);
		CHECK_INT(err.code, RB_E_PROTOCOL);
		CHECK(!rb_image_is_kept(&node, wrong[i]));
	}
}

static void marks_go_with_their_images(void)
{
	int hold;

	start_over();
	CHECK_INT(rb_images_forget(&node, NULL, NULL), 0);
	CHECK_INT(fake_calls("GET"), 0); /* there are none */
	bring(ONE);
	CHECK_INT(rb_image_keep(&node, one, ONE, NULL), 0);
	CHECK_INT(rb_image_keep(&node, other, OTHER, NULL), 0);
	/* just being loaded once more: its mark may be of that push */
	hold = rb_image_hold(&node, other, NULL, NULL);
	CHECK(hold >= 0);
	CHECK_INT(rb_images_forget(&node, NULL, NULL), 0);
	CHECK(rb_image_is_kept(&node, OTHER));
	close(hold);
	CHECK_INT(rb_images_forget(&node, NULL, NULL), 0);
	CHECK(rb_image_is_kept(&node, ONE));
	CHECK(!rb_image_is_kept(&node, OTHER));
}

static void marks_stay_when_docker_does_not_tell(void)
{
	start_over();
	CHECK_INT(rb_image_keep(&node, one, ONE, NULL), 0);
	fake_set("broken", json_pack("[s]", "/images"));
	CHECK(rb_images_forget(&node, NULL, NULL) < 0);
	CHECK(rb_image_is_kept(&node, ONE));
	/* the list works, and the second look does not */
	fake_set("broken", json_pack("[s]", "/images/sha256"));
	CHECK_INT(rb_images_forget(&node, NULL, NULL), 0);
	CHECK(rb_image_is_kept(&node, ONE));
}

/* --- the hold --- */

static void several_hold_one_image(void)
{
	int first, second;

	start_over();
	bring(ONE);
	first = rb_image_hold(&node, one, NULL, NULL);
	second = rb_image_hold(&node, one, NULL, NULL);
	CHECK(first >= 0 && second >= 0);
	close(first);
	CHECK_INT(try_to_take_away(one), -EBUSY);
	CHECK(fake_has_image(ONE));
	close(second);
	CHECK_INT(take_away(one), 0);
	CHECK(!fake_has_image(ONE));
}

/* the same image under another ID, from a source whose store is of another kind */
static void a_hold_is_of_the_layers(void)
{
	_cleanup_json_ json_t *foreign = described(OTHER, "sha256:1");
	int hold;

	start_over();
	bring(ONE);
	hold = rb_image_hold(&node, foreign, NULL, NULL);
	CHECK(hold >= 0);
	CHECK_INT(try_to_take_away(one), -EBUSY);
	close(hold);
	hold = rb_image_hold(&node, other, NULL, NULL);
	CHECK(hold >= 0);
	CHECK_INT(take_away(one), 0);
	close(hold);
}

static void waiting_can_be_cancelled(void)
{
	int hold = rb_image_hold(&node, one, NULL, NULL), pipe_fds[2] = { -1, -1 };
	struct rb_wait wait = {};

	CHECK(hold >= 0 && pipe(pipe_fds) == 0);
	wait.cancel_fd = pipe_fds[0];
	CHECK_INT(write(pipe_fds[1], "c", 1), 1);
	CHECK_INT(rb_image_take_away(&node, one, &wait, NULL), -ECANCELED);
	close(hold);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

/* --- removal --- */

static void what_was_brought_is_taken_away(void)
{
	start_over();
	CHECK_INT(take_away(one), 0); /* nothing came */
	bring(ONE);
	CHECK_INT(take_away(one), 0);
	CHECK(!fake_has_image(ONE));
	CHECK(!fake_has_image("app:1"));
}

static void what_is_kept_stays(void)
{
	start_over();
	bring(ONE);
	CHECK_INT(rb_image_keep(&node, one, ONE, NULL), 0);
	CHECK_INT(take_away(one), 0);
	CHECK(fake_has_image("app:1"));
	CHECK(fake_has_image("app:latest"));
}

/* all its names stay, also those that Docker would let go */
static void what_a_container_has_stays_with_its_names(void)
{
	start_over();
	bring(ONE);
	fake_set("in_use", json_pack("[s]", ONE));
	CHECK_INT(take_away(one), 0);
	CHECK(fake_has_image("app:1"));
	CHECK(fake_has_image("app:latest"));
	CHECK_INT(fake_calls("DELETE"), 0);
}

static void what_somebody_has_named_stays(void)
{
	start_over();
	fake_add_image(ONE, json_pack("{s:[s,s]}", "RepoTags", "app:1", "mine:1"));
	CHECK_INT(take_away(one), 0);
	CHECK(fake_has_image("app:1"));
	CHECK(fake_has_image("mine:1"));
}

static void names_of_another_image_stay(void)
{
	start_over();
	fake_add_image(ONE, json_pack("{s:[s]}", "RepoTags", "app:1"));
	fake_add_image(OTHER, json_pack("{s:[s]}", "RepoTags", "app:latest"));
	CHECK_INT(take_away(one), 0);
	CHECK(!fake_has_image(ONE));
	CHECK(fake_has_image("app:latest"));
}

/* who hears of it tries again; "nothing is left" would be untrue */
static void what_does_not_work_is_an_error(void)
{
	static const char *const broken[] = { ("/images/" ONE), "/containers", "/images/app:1" };

	for (size_t i = 0; i < ARRAY_SIZE(broken); i++) {
		start_over();
		bring(ONE);
		fake_set("broken", json_pack("[s]", broken[i]));
		CHECK_INT(take_away(one), -EIO);
		CHECK(fake_has_image(ONE));
		fake_set("broken", json_array());
		CHECK_INT(take_away(one), 0);
		CHECK(!fake_has_image(ONE));
	}
}

int main(void)
{
	if (!mkdtemp(dir) || rb_engine_open(fake_start(), &node.engine, NULL) < 0)
		return 1;
	node.run_dir = dir;
	node.state_dir = dir;
	one = described(ONE, "sha256:1");
	other = described(OTHER, "sha256:2");
	TAP_RUN(marks_are_by_id);
	TAP_RUN(ids_that_are_paths_are_refused);
	TAP_RUN(marks_go_with_their_images);
	TAP_RUN(marks_stay_when_docker_does_not_tell);
	TAP_RUN(several_hold_one_image);
	TAP_RUN(a_hold_is_of_the_layers);
	TAP_RUN(waiting_can_be_cancelled);
	TAP_RUN(what_was_brought_is_taken_away);
	TAP_RUN(what_is_kept_stays);
	TAP_RUN(what_a_container_has_stays_with_its_names);
	TAP_RUN(what_somebody_has_named_stays);
	TAP_RUN(names_of_another_image_stay);
	TAP_RUN(what_does_not_work_is_an_error);
	json_decref(one);
	json_decref(other);
	rb_engine_close(node.engine);
	fake_stop();
	rb_rm_rf(dir, NULL);
	return tap_done();
}
