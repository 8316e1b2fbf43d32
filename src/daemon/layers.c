// SPDX-License-Identifier: Apache-2.0
/*
 * layers.c - the worker that notes what this host's image layers hold
 *
 * The daemon starts one every half minute. With nothing new it reads Docker's list of layers and
 * ends. What it could not finish the next one goes on with.
 */
#include "layers.h"

#include <errno.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "err.h"
#include "image.h"
#include "journal.h"
#include "kept.h"
#include "node.h"
#include "wait.h"

#define LOOK_MS 200 /* for migrations */

struct look {
	const struct rb_node *node;
	int64_t next_ms;
	bool busy;
};

static int note_entry(void *arg, const struct rb_entry *entry)
{
	struct look *look = arg;

	/* later ones may wait for a person, for days */
	if (entry->state == RB_PREPARING || entry->state == RB_FROZEN)
		look->busy = true;
	return 0;
}

/* is a migration under way here? */
static bool is_busy(void *arg)
{
	struct look *look = arg;
	int64_t now = rb_now_ms();

	if (now < look->next_ms)
		return look->busy;
	look->next_ms = now + LOOK_MS;
	look->busy = false;
	if (rb_journal_each(look->node->journal, true, note_entry, look, NULL) < 0)
		look->busy = true;
	return look->busy;
}

static void become_idle(void)
{
	struct sched_param none = {};

	setpriority(PRIO_PROCESS, 0, 19);
	sched_setscheduler(0, SCHED_IDLE, &none);
	syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
}

int rb_layers_run(const struct rb_node *node, int cancel_fd, struct rb_err *err)
{
	const struct rb_wait wait = { .cancel_fd = cancel_fd };
	struct look look = { .node = node };
	int r;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	become_idle();
	rb_images_forget(node, &wait, NULL);
	r = rb_image_index(node, 0, is_busy, &look, &wait, err);
	/* somebody else is at it, this shall end, or Docker is just not there: another time */
	return r == -EBUSY || r == -EAGAIN || r == -ECANCELED || r == -ECONNREFUSED ? 0 : r;
}
