/* SPDX-License-Identifier: Apache-2.0 */
/* criu_sysv.h - of the library that CRIU gets: segments of System V that travel without it */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "criu_handed.h"

/** sysv_has_attached - is the image with a number that of a segment, which CRIU has attached? */
bool sysv_has_attached(unsigned long number);

/** sysv_open_image - open(2) of the image of its pages. Return: as that, with errno */
int sysv_open_image(openat_fn *openat, int images, const char *path, int flags, mode_t mode,
		    unsigned long number);

/** sysv_is_hidden - is a descriptor that CRIU has that of a segment whose pages it must not see? */
bool sysv_is_hidden(int fd);

/** sysv_has_arrived - has CRIU just opened an image that says that the pages are there already?
 * Then it will read none, and need not wait for them. */
bool sysv_has_arrived(void);

/** sysv_join - an image is about to be read: if it is that with which a task begins to restore its
 * IPC namespace, that task goes to the one that has the segments. Return: false with errno */
bool sysv_join(openat_fn *openat, int images, const char *image);
