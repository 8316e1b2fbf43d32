/* SPDX-License-Identifier: Apache-2.0 */
/*
 * message.h - the JSON inside HELLO, CALL and ERROR frames; internal to the layer
 *
 * Nothing here touches a socket, so that the fuzzer can reach all that a peer can size or spell.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct rb_err;

#define RB_PROTOCOL	8  /* of the conversation: verbs and their arguments */
#define RB_NODE_MAX	63 /* bytes of a node name */
#define RB_VERSION_TEXT 32

struct rb_hello {
	char node[RB_NODE_MAX + 1];
	char boot_id[37];
	char version[RB_VERSION_TEXT];
};

/** rb_node_valid - may this be a node's name? Letters, digits, '.', '-' and '_', 1 to 63 of them */
bool rb_node_valid(const char *name);

/** rb_hello_encode - HELLO of this program. Return: 0, or -ENOMEM; free(*ret_text) then. */
int rb_hello_encode(const char *node, const char *boot_id, char **ret_text, struct rb_err *err);

/** rb_hello_decode - check a HELLO. Return: 0, or -EPROTO with both protocol numbers in @err when
 * these differ. */
int rb_hello_decode(const void *payload, size_t len, struct rb_hello *ret, struct rb_err *err);

/** rb_call_encode - {"do": @verb, ...@args}; @args may be NULL, and must not bring a "do" */
int rb_call_encode(const char *verb, const json_t *args, char **ret_text, struct rb_err *err);

/** rb_call_decode - the object of a CALL. @ret_verb points into *@ret_args, which the caller owns.
 */
int rb_call_decode(const void *payload, size_t len, const char **ret_verb, json_t **ret_args,
		   struct rb_err *err);

/** rb_reply_decode - the object of a REPLY */
int rb_reply_decode(const void *payload, size_t len, json_t **ret, struct rb_err *err);

/** rb_error_encode - an error as the peer gets it; bytes that are not UTF-8 become '?' */
int rb_error_encode(const struct rb_err *what, char **ret_text, struct rb_err *err);

/**
 * rb_error_decode - the peer's error becomes ours
 * @node: stands in front of the message
 *
 * Return: always a negative errno: the peer's own, -EREMOTEIO when it sent none, -EPROTO when what
 * it sent was no error.
 */
int rb_error_decode(const void *payload, size_t len, const char *node, struct rb_err *err);
