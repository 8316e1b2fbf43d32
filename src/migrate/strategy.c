// SPDX-License-Identifier: Apache-2.0
/* strategy.c - the strategies that there are, and which one it is */
#include "strategy.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "cleanup.h"
#include "err.h"
#include "facts.h"
#include "freezer.h"
#include "io.h"
#include "json.h"
#include "log.h"
#include "migration.h"
#include "obstacles.h"
#include "pager.h"
#include "reconnect.h"
#include "tasks.h"
#include "track.h"
#include "workdir.h"

#define POLL_MS 20

enum { PROCESSES_MAX = 4096 };

static const struct rb_strategy *const strategies[] = {
	&rb_strategy_cold,
	&rb_strategy_precopy,
	&rb_strategy_postcopy,
	&rb_strategy_hybrid,
};

static const struct rb_strategy *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(strategies); i++)
		if (strcmp(strategies[i]->name, name) == 0)
			return strategies[i];
	return NULL;
}

bool rb_strategy_known(const char *name)
{
	return strcmp(name, "auto") == 0 || find(name);
}

bool rb_lazy_restore_works(void)
{
	return rb_pager_supported() && rb_criu_can_skip();
}

int rb_placing_lock(const char *run_dir, const char *container_id, char *ret, size_t size,
		    struct rb_err *err)
{
	char dir[PATH_MAX];
	int r = rb_path(dir, sizeof(dir), "%s/pagers", run_dir);

	if (r >= 0)
		r = rb_path(ret, size, "%s/%s", dir, container_id);
	return r < 0 ? rb_err_set(err, r, "name a lock") : rb_mkdir_p(dir, 0700, err);
}

int rb_fetching_lock(const char *run_dir, const char *container_id, char *ret, size_t size,
		     struct rb_err *err)
{
	char placing[PATH_MAX];
	int r = rb_placing_lock(run_dir, container_id, placing, sizeof(placing), err);

	return r < 0 ? r : rb_path(ret, size, "%s.source", placing);
}

static int wait_placed(struct rb_migration *m, const struct rb_member *c,
		       const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_close_ int fd = -EBADF;
	char path[PATH_MAX];
	int r = rb_placing_lock(m->node->run_dir, c->container_id, path, sizeof(path), err);

	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : rb_err_set(err, -errno, "open '%s'", path);
	while (r >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0)
		r = rb_wait_ms(POLL_MS, wait, err);
	return r;
}

int rb_wait_placed(struct rb_migration *m, const struct rb_member *only, const struct rb_wait *wait,
		   struct rb_err *err)
{
	int r = 0;

	rb_each_member (c, m)
		if (r >= 0 && (!only || c == only))
			r = wait_placed(m, c, wait, err);
	return r;
}

static bool has_shadow_stacks(struct rb_migration *m)
{
	_cleanup_free_ pid_t *pids = calloc(PROCESSES_MAX, sizeof(*pids));
	bool shadow = false;

	rb_each_member (c, m) {
		int n = !pids ? 0
			      : rb_freezer_pids(rb_json_str(c->facts, "freezer", ""), pids,
						PROCESSES_MAX, NULL);

		for (int i = 0; i < n && i < PROCESSES_MAX && !shadow; i++)
			rb_task_is_special(pids[i], &shadow);
	}
	return shadow;
}

/* why memory has to travel while the container is frozen, or NULL */
static const char *why_cold(struct rb_migration *m, const struct rb_strategy *wanted,
			    bool peer_lazy)
{
	if (wanted != &rb_strategy_postcopy && !rb_track_supported(RB_TRACK_AUTO))
		return "the kernel here cannot tell which pages were written (userfaultfd "
		       "write-protection, Linux 6.7 or later, or soft-dirty bits)";
	if (!rb_criu_can_skip())
		return "reberth-criu and reberth-criu.so are not installed beside reberth-runtime "
		       "here";
	if (!peer_lazy)
		return "the target cannot restore without memory (userfaultfd, or reberth-criu.so, "
		       "is missing there)";
	/* nobody has tried whether CRIU's lazy restore can do that */
	if (has_shadow_stacks(m))
		return "the container's processes have shadow stacks (CET)";
	return NULL;
}

static struct rb_memory_size measured(const struct rb_migration *m)
{
	return (struct rb_memory_size){
		.private = (uint64_t)rb_json_int(m->entry.facts, "pages_bytes", 0),
		.once = (uint64_t)rb_json_int(m->entry.facts, "once_bytes", 0),
	};
}

/* why auto takes cold, though rounds are possible, or NULL */
static const char *why_rather_cold(const struct rb_migration *m)
{
	struct rb_memory_size size = measured(m);

	return rb_memory_would_grow(&size) ? "its processes share much memory since they were "
					     "forked, and on the target each would have its own"
					   : NULL;
}

int rb_strategy_choose(struct rb_migration *m, bool peer_lazy, struct rb_err *err)
{
	const char *wanted = rb_json_str(m->entry.facts, "strategy", "auto");
	const char *obstacle = why_cold(m, find(wanted), peer_lazy);
	bool any = strcmp(wanted, "auto") == 0;
	const struct rb_strategy *strategy;

	if (any && !obstacle)
		obstacle = why_rather_cold(m);
	strategy = !any ? find(wanted) : obstacle ? &rb_strategy_cold : &rb_strategy_precopy;
	if (!strategy)
		return rb_err_code(err, RB_E_USAGE, -EINVAL, "strategy '%.40s' is not known",
				   wanted);
	if (strategy->lazy && obstacle)
		return rb_err_code(err, RB_E_REFUSED, -ENOTSUP, "strategy '%s' is not possible: %s",
				   strategy->name, obstacle);
	if (any && obstacle)
		rb_info("memory: it travels while the container is frozen: %s", obstacle);
	rb_migration_fact(m, "strategy", json_string(strategy->name));
	return 0;
}

const char *rb_strategy_hoped(struct rb_migration *m)
{
	const char *wanted = rb_json_str(m->entry.facts, "strategy", "auto");

	if (strcmp(wanted, "auto") != 0)
		return wanted;
	return why_cold(m, NULL, true) || why_rather_cold(m) ? rb_strategy_cold.name
							     : rb_strategy_precopy.name;
}

bool rb_strategy_may_fetch(struct rb_migration *m)
{
	const char *hoped = rb_strategy_hoped(m);

	return strcmp(hoped, rb_strategy_postcopy.name) == 0 ||
	       strcmp(hoped, rb_strategy_hybrid.name) == 0 ||
	       rb_json_bool(m->entry.facts, "allow_post_copy", false) ||
	       strcmp(rb_json_str(m->entry.facts, "on_no_convergence", ""), "post-copy") == 0;
}

bool rb_strategy_lets_stay(const char *name)
{
	return strcmp(name, rb_strategy_postcopy.name) == 0;
}

/* It is the one thing that can be lost without any host of the move having failed before. */
static void warn_of_post_copy(struct rb_migration *m, json_t *obstacles)
{
	if (!rb_strategy_may_fetch(m))
		return;
	if (rb_reconnect_wanted(m))
		rb_obstacle_add(obstacles, "warning", "--strategy pre-copy does without that",
				"peers of connections that do not move along hear of it when all "
				"memory has arrived");
	rb_obstacle_add(obstacles, "warning", "--strategy pre-copy does without that",
			"until all of its memory has arrived the container depends on both hosts: "
			"it waits while they cannot reach each other, and starts afresh on the "
			"target if this host is lost");
}

static void warn_of_growth(struct rb_migration *m, json_t *obstacles)
{
	bool any = strcmp(rb_json_str(m->entry.facts, "strategy", "auto"), "auto") == 0;
	struct rb_memory_size size = measured(m);

	if (!why_rather_cold(m) || (!any && strcmp(rb_strategy_hoped(m), "cold") == 0))
		return;
	rb_obstacle_add(obstacles, "warning",
			any ? "--strategy pre-copy has it travel before, and takes that much"
			    : "--strategy cold keeps it shared",
			"its processes share memory since they were forked: %llu MiB here %s %llu "
			"MiB on the target%s",
			(unsigned long long)(size.once >> 20), any ? "would be" : "will be",
			(unsigned long long)(size.private >> 20),
			any ? " if it travelled in rounds, so it travels while the container is "
			      "frozen"
			    : "");
}

void rb_strategy_warn(struct rb_migration *m, json_t *obstacles)
{
	warn_of_post_copy(m, obstacles);
	warn_of_growth(m, obstacles);
}

const struct rb_strategy *rb_strategy_of(const struct rb_migration *m)
{
	const struct rb_strategy *strategy =
		find(rb_json_str(m->entry.facts, "strategy", rb_strategy_cold.name));

	return strategy ? strategy : &rb_strategy_cold;
}
