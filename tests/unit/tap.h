/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tap.h - tests that print TAP, with both values when they differ
 *
 * A test program is a main() that calls TAP_RUN() on each test function and ends with
 * `return tap_done();`. A failed check ends its test function.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int tap_number, tap_failures;
static bool tap_ok;

#define TAP_RUN(fn)                                                                \
	do {                                                                       \
		tap_ok = true;                                                     \
		fn();                                                              \
		printf("%sok %d - %s\n", tap_ok ? "" : "not ", ++tap_number, #fn); \
		fflush(stdout);                                                    \
		tap_failures += !tap_ok;                                           \
	} while (0)

#define TAP_SKIP(fn, why)                                                 \
	do {                                                              \
		printf("ok %d - %s # SKIP %s\n", ++tap_number, #fn, why); \
		fflush(stdout);                                           \
	} while (0)

#define CHECK(cond)                                                                   \
	do {                                                                          \
		if (!(cond)) {                                                        \
			printf("# %s:%d: not true: %s\n", __FILE__, __LINE__, #cond); \
			tap_ok = false;                                               \
			return;                                                       \
		}                                                                     \
	} while (0)

#define CHECK_INT(got, want)                                                                    \
	do {                                                                                    \
		long long _g = (long long)(got), _w = (long long)(want);                        \
		if (_g != _w) {                                                                 \
			printf("# %s:%d: %s is %lld, not %lld\n", __FILE__, __LINE__, #got, _g, \
			       _w);                                                             \
			tap_ok = false;                                                         \
			return;                                                                 \
		}                                                                               \
	} while (0)

#define CHECK_STR(got, want)                                                                    \
	do {                                                                                    \
		const char *_g = (got), *_w = (want);                                           \
		if (!_g || strcmp(_g, _w) != 0) {                                               \
			printf("# %s:%d: %s is \"%s\", not \"%s\"\n", __FILE__, __LINE__, #got, \
			       _g ? _g : "(null)", _w);                                         \
			tap_ok = false;                                                         \
			return;                                                                 \
		}                                                                               \
	} while (0)

static inline int tap_done(void)
{
	printf("1..%d\n", tap_number);
	return tap_failures ? 1 : 0;
}
