/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ops.h - the operations of the local API
 */
#pragma once

#include "api.h"

struct rb_config;
struct rb_workers;

struct rb_ops_context {
	struct rb_config *config;
	struct rb_workers *workers;
	struct rb_api *api;
};

/** rb_ops - to be given to rb_api_start() with a struct rb_ops_context */
extern const struct rb_api_ops rb_ops;
