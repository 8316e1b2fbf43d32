// SPDX-License-Identifier: Apache-2.0
/*
 * test_kept.c - marks of images that are a user's, and the lock around them
 */
#include "kept.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "node.h"
#include "tap.h"
#include "wait.h"

#define ONE   "sha256:1d9c50e25d43a29a5bd6756e5a08e872d16f9d2300ab739c35d91ecc2d3a3897"
#define OTHER "sha256:5bb54ac28f621d711d58012bb8a2448d298bc61b05be2042542747fe64359f91"

static char dir[] = "/tmp/test_kept.XXXXXX";
static struct rb_node node;

static void marks_come_and_go(void)
{
	CHECK(!rb_image_is_kept(&node, ONE));
	CHECK_INT(rb_image_keep(&node, ONE, NULL), 0);
	CHECK_INT(rb_image_keep(&node, ONE, NULL), 0);
	CHECK(rb_image_is_kept(&node, ONE));
	CHECK(!rb_image_is_kept(&node, OTHER));
	rb_image_unkeep(&node, ONE);
	rb_image_unkeep(&node, ONE);
	CHECK(!rb_image_is_kept(&node, ONE));
}

/* a peer says what the ID is */
static void ids_that_are_paths_are_refused(void)
{
	static const char *const wrong[] = {
		"", "sha256:", "../../x", "sha256:../../../etc/passwd", ONE "0", "sha256:1D9c"
	};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct rb_err err = {};

		CHECK_INT(rb_image_keep(&node, wrong[i], &err), -EPROTO);
		CHECK_INT(err.code, RB_E_PROTOCOL);
		CHECK(!rb_image_is_kept(&node, wrong[i]));
	}
}

static void marks_that_are_young_stay(void)
{
	struct rb_err err = {};

	/* no engine is asked for them: there is none */
	CHECK_INT(rb_image_keep(&node, ONE, NULL), 0);
	CHECK_INT(rb_images_forget(&node, 60000, NULL, &err), 0);
	CHECK(rb_image_is_kept(&node, ONE));
}

static void one_has_the_lock(void)
{
	struct rb_wait wait = rb_wait_within(NULL, 100);
	int first = rb_images_lock(&node, NULL, NULL), second;

	CHECK(first >= 0);
	CHECK_INT(rb_images_lock(&node, &wait, NULL), -ETIMEDOUT);
	close(first);
	second = rb_images_lock(&node, NULL, NULL);
	CHECK(second >= 0);
	close(second);
}

/* a cancel is heard while somebody else has it */
static void waiting_for_the_lock_can_be_cancelled(void)
{
	int first = rb_images_lock(&node, NULL, NULL), pipe_fds[2] = { -1, -1 };
	struct rb_wait wait = {};

	CHECK(first >= 0 && pipe(pipe_fds) == 0);
	wait.cancel_fd = pipe_fds[0];
	CHECK_INT(write(pipe_fds[1], "c", 1), 1);
	CHECK_INT(rb_images_lock(&node, &wait, NULL), -ECANCELED);
	close(first);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	node.run_dir = dir;
	node.state_dir = dir;
	TAP_RUN(marks_come_and_go);
	TAP_RUN(ids_that_are_paths_are_refused);
	TAP_RUN(marks_that_are_young_stay);
	TAP_RUN(one_has_the_lock);
	TAP_RUN(waiting_for_the_lock_can_be_cancelled);
	rb_rm_rf(dir, NULL);
	return tap_done();
}
