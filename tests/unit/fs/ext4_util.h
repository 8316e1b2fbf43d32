/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ext4_util.h - an ext4 of one's own, in a file, mounted where only this process sees it
 */
#pragma once

/**
 * ext4_mount - make one of 512 MiB, and mount it; all is gone with the process
 * @options: of mount(8), may be ""
 * @ret: where; PATH_MAX bytes
 *
 * Needs root, a loop device, mkfs.ext4. Return: NULL, or why this cannot be.
 */
const char *ext4_mount(const char *options, char *ret);
