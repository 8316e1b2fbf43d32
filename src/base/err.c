// SPDX-License-Identifier: Apache-2.0
/*
 * err.c - the error object and the one table of its codes
 */
#include "err.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	int exit_status;
	unsigned int http_status;
} codes[] = {
	[RB_OK] = { "ok", 0, 200 },
	[RB_E_INTERNAL] = { "internal", 1, 500 },
	[RB_E_USAGE] = { "usage", 2, 400 },
	[RB_E_NOT_FOUND] = { "not-found", 3, 404 },
	[RB_E_CONFLICT] = { "conflict", 4, 409 },
	[RB_E_REFUSED] = { "refused", 5, 422 },
	[RB_E_DENIED] = { "denied", 6, 403 },
	[RB_E_PROTOCOL] = { "protocol", 7, 502 },
	[RB_E_PEER] = { "peer", 8, 502 },
	[RB_E_ENGINE] = { "engine", 9, 502 },
	[RB_E_CRIU] = { "criu", 10, 500 },
	[RB_E_NO_SPACE] = { "no-space", 11, 507 },
	[RB_E_TIMEOUT] = { "timeout", 12, 504 },
	[RB_E_CANCELED] = { "canceled", 13, 409 },
	[RB_E_IN_DOUBT] = { "in-doubt", 14, 409 },
};
static_assert(sizeof(codes) / sizeof(codes[0]) == RB_CODE_MAX, "a code lacks its row");

static enum rb_code code_from_errno(int errnum)
{
	switch (errnum) {
	case ENOSPC:
	case EDQUOT:
	case ENOMEM:
		return RB_E_NO_SPACE;
	case ETIMEDOUT:
		return RB_E_TIMEOUT;
	case ECANCELED:
		return RB_E_CANCELED;
	case ECONNREFUSED:
	case ECONNRESET:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EPIPE:
		return RB_E_PEER;
	case EPROTO:
	case EMSGSIZE:
		return RB_E_PROTOCOL;
	default:
		return RB_E_INTERNAL;
	}
}

int rb_err_set(struct rb_err *err, int negerr, const char *fmt, ...)
{
	va_list ap;
	size_t len;

	if (!err)
		return negerr;
	err->code = code_from_errno(-negerr);
	err->errnum = -negerr;
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	len = strlen(err->msg);
	snprintf(err->msg + len, sizeof(err->msg) - len, ": %s", strerror(-negerr));
	return negerr;
}

int rb_err_code(struct rb_err *err, enum rb_code code, int negerr, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return negerr;
	err->code = code;
	err->errnum = -negerr;
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	return negerr;
}

int rb_err_wrap(struct rb_err *err, int negerr, const char *fmt, ...)
{
	char old[sizeof(err->msg)];
	va_list ap;
	size_t len;

	if (!err)
		return negerr;
	memcpy(old, err->msg, sizeof(old));
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	len = strlen(err->msg);
	snprintf(err->msg + len, sizeof(err->msg) - len, ": %.*s", (int)sizeof(old) - 1, old);
	if (err->code == RB_OK)
		err->code = code_from_errno(-negerr);
	return negerr;
}

void rb_err_clear(struct rb_err *err)
{
	if (err)
		memset(err, 0, sizeof(*err));
}

const char *rb_code_name(enum rb_code code)
{
	return (unsigned int)code < RB_CODE_MAX ? codes[code].name : codes[RB_E_INTERNAL].name;
}

enum rb_code rb_code_parse(const char *name)
{
	for (int i = 0; i < RB_CODE_MAX; i++)
		if (name && strcmp(codes[i].name, name) == 0)
			return (enum rb_code)i;
	return RB_E_INTERNAL;
}

int rb_code_exit(enum rb_code code)
{
	return codes[(unsigned int)code < RB_CODE_MAX ? code : RB_E_INTERNAL].exit_status;
}

unsigned int rb_code_http(enum rb_code code)
{
	return codes[(unsigned int)code < RB_CODE_MAX ? code : RB_E_INTERNAL].http_status;
}
