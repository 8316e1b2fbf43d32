/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.h - mappings of a process are registered with a userfaultfd, and no write stays unseen
 */
#pragma once

#include <sys/types.h>

struct rb_pages;
struct rb_range;
struct rb_vma;

/**
 * rb_watch - register a mapping in @range for write-protection (WP_ASYNC), and others around it;
 * the first that is not registered yet
 * @uffd: of the memory of @pid
 * @pages: of the same memory
 * @range: where a scan failed
 *
 * Pages of what is registered now are not protected after it, and none in @range, for the scan may
 * have protected some and not have told: they count as written. On failure nothing is registered
 * that was not before; then pages in @range may still be protected.
 *
 * Return: 0; -EINVAL, -EPERM, -EBUSY: it cannot be registered, or is another's; -EAGAIN: mappings
 * change all the time; -ESRCH or -ENOMEM: the memory has ended (which of the two depends on the
 * kernel); or another error.
 */
int rb_watch(int uffd, pid_t pid, struct rb_pages *pages, const struct rb_range *range);

/** rb_unwatch - the opposite, for some mappings that follow each other; protection is taken off */
void rb_unwatch(int uffd, const struct rb_vma *vmas, int count);
