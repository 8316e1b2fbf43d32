/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layers.h - the worker that notes what this host's image layers hold
 */
#pragma once

struct rb_err;
struct rb_node;

/**
 * rb_layers_run - bring the index of layers up to date (image/image.h: rb_image_index()), as idle
 * work: it gets processor and disk that nobody else wants, ends as soon as a migration is under way
 * here, and with the daemon
 */
int rb_layers_run(const struct rb_node *node, int cancel_fd, struct rb_err *err);
