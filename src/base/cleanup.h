/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleanup.h - the cleanup vocabulary: variables that release what they hold at the end of scope
 *
 * File descriptors start at -EBADF, pointers at NULL. Ownership moves with TAKE_FD()/TAKE_PTR().
 */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

static inline void rb_close_fd(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -EBADF;
	errno = saved;
}

static inline void rb_free_ptr(void *p)
{
	free(*(void **)p);
}

static inline void rb_fclose_ptr(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void rb_closedir_ptr(DIR **d)
{
	if (*d)
		closedir(*d);
}

#define _cleanup_close_	   _cleanup_(rb_close_fd)
#define _cleanup_free_	   _cleanup_(rb_free_ptr)
#define _cleanup_fclose_   _cleanup_(rb_fclose_ptr)
#define _cleanup_closedir_ _cleanup_(rb_closedir_ptr)

#define TAKE_FD(fd)               \
	({                        \
		int *_fd = &(fd); \
		int _v = *_fd;    \
		*_fd = -EBADF;    \
		_v;               \
	})
#define TAKE_PTR(p)                        \
	({                                 \
		__typeof__(p) *_pp = &(p); \
		__typeof__(p) _v = *_pp;   \
		*_pp = NULL;               \
		_v;                        \
	})

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
