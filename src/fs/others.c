// SPDX-License-Identifier: Apache-2.0
/* others.c - processes that do not move, and may write unseen to trees that do */
#include "others.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "tree_source.h"

#define FIRST_SIZE 64

static int add(struct rb_others *others, pid_t pid)
{
	if (others->n == others->size) {
		size_t size = others->size ? others->size * 2 : FIRST_SIZE;
		pid_t *pids = reallocarray(others->pids, size, sizeof(*pids));

		if (!pids)
			return -ENOMEM;
		others->pids = pids;
		others->size = size;
	}
	others->pids[others->n++] = pid;
	return 0;
}

int rb_others_find(struct rb_others *others, struct rb_tree_source *const *sources,
		   size_t n_sources, const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_closedir_ DIR *proc = opendir("/proc");
	struct dirent *d;
	int r = 0;

	if (!proc)
		return rb_err_set(err, -errno, "open /proc");
	others->n = 0;
	while (r >= 0 && (d = readdir(proc))) {
		pid_t pid = (pid_t)atoi(d->d_name);

		if (pid <= 0 || pid == getpid())
			continue;
		r = rb_tree_sources_look(sources, n_sources, &pid, 1, wait, err);
		if (r > 0 && add(others, pid) < 0)
			r = rb_err_set(err, -ENOMEM, "remember who writes to volumes");
	}
	return r < 0 ? r : 0;
}

void rb_others_free(struct rb_others *others)
{
	free(others->pids);
	*others = (struct rb_others){};
}
