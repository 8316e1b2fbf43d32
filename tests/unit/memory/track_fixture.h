/* SPDX-License-Identifier: Apache-2.0 */
/*
 * track_fixture.h - a victim with an area of 16 pages, and a tracker
 */
#pragma once

#include "err.h"
#include "tap.h"
#include "track.h"
#include "victim.h"
#include "wait.h"

enum { PAGES = 16 };

static struct rb_err err;
static struct rb_wait wait_limit;
static struct victim victim;
static struct rb_tracker *tracker;
static struct rb_ranges dirty;
static uint64_t area;
static char fds_before[4096];

static int scan(bool rearm)
{
	rb_ranges_clear(&dirty);
	return rb_tracker_scan(tracker, rearm, &dirty, &err);
}

/* What is dirty of the area, or why it could not be asked. */
static const char *scan_map(bool rearm)
{
	int r = scan(rearm);

	return r < 0 ? strerror(-r) : page_map(&dirty, area, PAGES);
}

static inline const char *populated_map(void)
{
	rb_ranges_clear(&dirty);
	return rb_populated(victim.pid, &dirty, &err) < 0 ? err.msg : page_map(&dirty, area, PAGES);
}

/* A victim with an area of 16 pages, none touched, and a tracker. */
static bool begin_with(void (*prepare)(void))
{
	victim = victim_start(prepare);
	if (victim.pid < 0)
		return false;
	area = (uint64_t)DO(&victim, DO_MMAP, .len = 64 * PAGE, .arg = PROT_NONE);
	DO(&victim, DO_MUNMAP, .addr = area, .len = 64 * PAGE);
	/* by itself in the middle: it merges with nothing */
	area += 24 * PAGE;
	DO(&victim, DO_MMAP, .addr = area, .len = PAGES * PAGE, .arg = PROT_READ | PROT_WRITE);
	fd_text(victim.pid, fds_before, sizeof(fds_before));
	tracker = NULL;
	if (rb_tracker_arm(victim.pid, RB_TRACK_UFFD_WP, &tracker, &wait_limit, &err) < 0)
		printf("# %s\n", err.msg);
	return tracker != NULL;
}

static bool begin(void)
{
	return begin_with(NULL);
}

static void end(void)
{
	rb_tracker_free(tracker);
	victim_end(&victim);
}

/* Why the tests cannot run here, or NULL. */
static const char *setup(const char *name)
{
	const char *why = victim_setup(name);

	wait_limit = rb_wait_within(NULL, 600000);
	if (!why && !rb_track_supported(RB_TRACK_UFFD_WP))
		why = "needs userfaultfd write-protection and PAGEMAP_SCAN";
	return why;
}

static int teardown(void)
{
	if (err.code != RB_OK)
		printf("# %s\n", err.msg);
	rb_ranges_free(&dirty);
	victim_teardown();
	return tap_done();
}
