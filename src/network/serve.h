/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve.h - what nodes ask each other about networks
 */
#pragma once

#include <jansson.h>

struct rb_err;
struct rb_node;

/**
 * rb_network_serve - answer a request of another node
 * @from: its name, from its certificate
 *
 *   {"op":"probe", "spec"}             rb_mesh_probe()
 *   {"op":"make", "spec", "chunks"}    be part of it, until further notice; again is fine
 *   {"op":"update", "spec", "gone", "heir"}  other members; a node left, and who has its chunks
 *   {"op":"confirm", "network"}        all members have it
 *   {"op":"unmake", "network"}         no longer; absent is fine
 *   {"op":"use", "network"}            {"containers": [name, ...]}
 *   {"op":"status", "network"}         rb_mesh_status()
 *   {"op":"query", "network"}          {"state"}: "" when it is not known here
 *   {"op":"names", "network", "list"}  who is in it there; {"list"}: who is in it here
 *   claim, withdraw, borrow, return, held: rb_ipam_answer()
 */
int rb_network_serve(const struct rb_node *node, const char *from, const json_t *request,
		     json_t **ret, struct rb_err *err);

/** rb_network_make_here - "make" */
int rb_network_make_here(const struct rb_node *node, const json_t *spec, const json_t *chunks,
			 struct rb_err *err);

/** rb_network_unmake_here - "unmake" */
int rb_network_unmake_here(const struct rb_node *node, const char *network, struct rb_err *err);

/** rb_network_use_here - "use" */
int rb_network_use_here(const struct rb_node *node, const char *network, json_t **ret,
			struct rb_err *err);
