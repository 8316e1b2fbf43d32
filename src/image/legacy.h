/* SPDX-License-Identifier: Apache-2.0 */
/*
 * legacy.h - which layer a folder of an archive of Docker <= 24 holds (internal to image/)
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

/** rb_layer_chain - chain IDs of diff IDs: an owned array of the same length; NULL without memory
 */
json_t *rb_layer_chain(const json_t *diff_ids);

/**
 * rb_legacy_is_layer - does the folder @name hold the layer with chain ID @chain_id?
 * @text: the folder's file "json", @len bytes
 *
 * Proven by computing the name anew. Never true for an image's last layer, see legacy.c.
 */
bool rb_legacy_is_layer(const char *name, const char *text, size_t len, const char *chain_id);
