/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.h - mappings of a process are registered with a userfaultfd, and no write stays unseen
 */
#pragma once

#include <sys/types.h>

#include "ranges.h"

struct rb_pages;

/**
 * rb_watch - register what is mapped in @region for write-protection (WP_ASYNC)
 * @uffd: of the memory of @pid
 * @pages: of the same memory
 * @written: a part of it: all its pages shall count as written, whatever is protected there
 *
 * The region should reach from a mapping of another kind to the next one: a mapping that is
 * registered to one half becomes two, which mremap(2) refuses. After it, pages that lay in a
 * mapping which was not registered before, or may not have been, are not protected, and so count as
 * written. On failure nothing is registered that was not before, or that could hide a write.
 *
 * Return: 0; -EINVAL, -EPERM, -EBUSY: something in the region cannot be registered, or is
 * another's; -ESRCH or -ENOMEM: the memory has ended (which of the two depends on the kernel); or
 * another error.
 */
int rb_watch(int uffd, pid_t pid, struct rb_pages *pages, struct rb_range region,
	     struct rb_range written);

/** rb_unwatch - the opposite; protection is taken off, too */
void rb_unwatch(int uffd, struct rb_range region);
