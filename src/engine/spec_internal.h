/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec_internal.h - what the parts of spec*.c share
 *
 * They return 0 or -ENOMEM and leave the message to the public function.
 */
#pragma once

#include <jansson.h>

/** rb_spec_apply_mounts - make HostConfig's Binds and Mounts cover every mount of the container */
int rb_spec_apply_mounts(const json_t *inspect, json_t *host);

/** rb_spec_apply_network - HostConfig.NetworkMode and PortBindings, NetworkingConfig, MacAddress */
int rb_spec_apply_network(const json_t *inspect, json_t *body, json_t *host);

/** rb_spec_sorted_keys - a sorted, owned array of the keys of @object */
json_t *rb_spec_sorted_keys(const json_t *object);
