/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err.h - the error object that crosses modules, processes and hosts
 *
 * Functions return 0 or a positive number for success and a negative errno for failure. Those
 * that a person may hear of take a `struct rb_err *` as last argument and fill it when they fail;
 * it may be NULL. The object has a fixed size and holds no pointers, so that it can be written to
 * a pipe as it is. One table (err.c) maps a code to its name, exit status and HTTP status.
 */
#pragma once

#include <stddef.h>

enum rb_code {
	RB_OK = 0,
	RB_E_INTERNAL,	/* anything that has no better name */
	RB_E_USAGE,	/* the request itself is wrong */
	RB_E_NOT_FOUND, /* no such container, node, migration */
	RB_E_CONFLICT,	/* the state forbids it: not running, busy, name taken */
	RB_E_REFUSED,	/* this container cannot be moved, or not there */
	RB_E_DENIED,	/* not allowed: wrong certificate, wrong user */
	RB_E_PROTOCOL,	/* the peer said something that makes no sense */
	RB_E_PEER,	/* the peer cannot be reached, or went away */
	RB_E_ENGINE,	/* Docker failed or cannot be reached */
	RB_E_CRIU,	/* CRIU or runc failed */
	RB_E_NO_SPACE,	/* disk or memory full */
	RB_E_TIMEOUT,
	RB_E_CANCELED,
	RB_E_IN_DOUBT, /* both sides stand still until the peer's journal or a person decides */
	RB_CODE_MAX,
};

struct rb_err {
	enum rb_code code;
	int errnum;	/* positive errno, 0 when there is none */
	char stage[24]; /* stage of the migration, may be empty */
	char msg[600];	/* one sentence: what happened, and what to do where one can know it */
};

/**
 * rb_err_set - fill an error and hand its number back
 * @err: error to fill, may be NULL
 * @negerr: negative errno; decides the code where one follows from it (ENOSPC, ETIMEDOUT, ...)
 * @fmt: what was attempted; ": <strerror>" is added
 *
 * Return: @negerr, so that callers can write `return rb_err_set(...)`.
 */
int rb_err_set(struct rb_err *err, int negerr, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/**
 * rb_err_code - fill an error that has a code of its own and no strerror() to add
 *
 * Return: @negerr.
 */
int rb_err_code(struct rb_err *err, enum rb_code code, int negerr, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/**
 * rb_err_wrap - put "<context>: " before the message of an error that is already filled
 *
 * Return: @negerr.
 */
int rb_err_wrap(struct rb_err *err, int negerr, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/** rb_err_clear - make it RB_OK again; NULL is allowed */
void rb_err_clear(struct rb_err *err);

/** rb_code_name - "no-space"; never NULL */
const char *rb_code_name(enum rb_code code);

/** rb_code_parse - the code of a name; RB_E_INTERNAL when it is unknown */
enum rb_code rb_code_parse(const char *name);

/** rb_code_exit - exit status of the command line for a code */
int rb_code_exit(enum rb_code code);

/** rb_code_http - HTTP status of the local API for a code */
unsigned int rb_code_http(enum rb_code code);
