/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forward.h - a host that a container has left goes on taking its connections to it
 *
 * All of it is in the host's own network namespace, under names that follow from the migration's
 * id, and may be repeated. Needs CAP_NET_ADMIN.
 */
#pragma once

#include <jansson.h>

struct rb_err;

/** A published port of a container. */
struct rb_port {
	int protocol;
	char host_ip[16]; /* "" for every address of the host */
	char ip[16];	  /* the container's */
	int host_port, port;
};

/** rb_port_parse - from {"proto","host_ip","host_port","ip","port"}. Return: 0 or -EPROTO. */
int rb_port_parse(const json_t *value, struct rb_port *ret, struct rb_err *err);

/**
 * rb_forward_on - lead new connections of @ports to the container, wherever it is on the segment,
 * and translate @flows on their way to it and back
 * @ports: array for rb_port_parse()
 * @flows: array, see flow.h; those that are not translated are left out
 *
 * Replaces what is there under this id, in one transaction. The container sees the host's address
 * on the segment as the peer of new connections, so that its answers come back by themselves.
 */
int rb_forward_on(const char *id, const json_t *ports, const json_t *flows, struct rb_err *err);

/** rb_forward_off - no trace is left; absent is fine */
int rb_forward_off(const char *id, struct rb_err *err);

/** rb_forward_flows - those of @flows that are not over yet, as a new array
 * Return: 0, or -ENOENT when somebody flushed the rules. */
int rb_forward_flows(const char *id, const json_t *flows, json_t **ret, struct rb_err *err);

/**
 * rb_forward_let_pass - have Docker's firewall let through what rb_forward_on() leads to @ip
 *
 * One rule in chain DOCKER-USER, behind those of the host's user. Docker leaves it alone.
 *
 * Return: 0, or -ENOENT when Docker has made no rules here (yet).
 */
int rb_forward_let_pass(const char *id, const char *ip, struct rb_err *err);

/** rb_forward_let_pass_off - absent is fine */
int rb_forward_let_pass_off(const char *id, struct rb_err *err);
