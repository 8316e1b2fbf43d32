/* SPDX-License-Identifier: Apache-2.0 */
/*
 * criu_hold.h - a restore that has begun before there are images (criu_hold.c)
 */
#pragma once

#include <stdbool.h>

/** criu_await_images - if @image is the first that CRIU opens, and it was started before the images
 * came, wait for them. Return: false when there will be none. */
__attribute__((visibility("hidden"))) bool criu_await_images(const char *image);
