/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plugin.h - Docker asks for addresses: libnetwork's remote IPAM protocol
 */
#pragma once

#include <jansson.h>

struct rb_err;
struct rb_ipam;

/**
 * rb_plugin_answer - one request of Docker's
 * @path: "/IpamDriver.RequestAddress" and the like
 * @body: what came with it, or NULL
 *
 * Return: the answer, new reference; {"Error": text} where it failed. NULL: no such request, or no
 * memory.
 */
json_t *rb_plugin_answer(const struct rb_ipam *ipam, const char *path, const json_t *body);

/**
 * rb_plugin_serve - answer Docker on a unix socket until @stop_fd is readable
 *
 * One request at a time: they are short, but for those that have to ask another node.
 */
int rb_plugin_serve(const struct rb_ipam *ipam, const char *socket_path, int stop_fd,
		    struct rb_err *err);
