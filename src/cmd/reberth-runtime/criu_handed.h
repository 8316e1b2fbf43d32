/* SPDX-License-Identifier: Apache-2.0 */
/* criu_handed.h - of the library that CRIU gets: descriptors that the worker has for it */
#pragma once

typedef int openat_fn(int dir, const char *path, int flags, ...);

/**
 * criu_open_handed - open what a process of the host's has open
 * @images: CRIU's folder of images, from which upwards is the host, whatever root we see
 * @path: a file "<pid> <descriptor> <inode>\n"
 *
 * Return: a descriptor; negative errno: -ENODATA when the file or what it names is not there,
 * -ESTALE when it is something else.
 */
int criu_open_handed(openat_fn *openat, int images, const char *path, int flags);
