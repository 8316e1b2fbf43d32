/* SPDX-License-Identifier: Apache-2.0 */
/*
 * criu_hold.h - CRIU waits for what a restore needs (criu_hold.c)
 */
#pragma once

#include <stdbool.h>

/* from CRIU's folder of images to the host's root, whatever root we see: more folders than the
 * path has; more than are there do no harm */
#define CRIU_UP8  "../../../../../../../../"
#define CRIU_HOST CRIU_UP8 CRIU_UP8 CRIU_UP8 CRIU_UP8

/** criu_await_word - until the worker has left a file of this name in @dir. Return: false when it
 * has left "abort", when the folder is gone, or runc is: nobody wants this restore any more */
bool criu_await_word(const char *dir, const char *word);

/** criu_await_images - if @image is the first that CRIU opens, and it was started before the images
 * came, wait for them. Return: false when there will be none. */
bool criu_await_images(const char *image);

/** criu_await_pages - if @image is one with pages, wait until they are all here
 * @images: CRIU's folder of images. Return: false when nobody wants this restore any more */
bool criu_await_pages(int images, const char *image);
