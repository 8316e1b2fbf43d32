/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wants.h - lists of pages that the target asks the source for
 *
 * A list is wants one after the other, each of 16 bytes; numbers are big-endian:
 *
 * offset size
 *      0    4  task: pid in the container's pid namespace, > 0
 *      4    4  pages, > 0
 *      8    8  address of the first page
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "expected.h"

struct rb_err;

#define RB_WANT_BYTES 16

/** rb_want_encode - into RB_WANT_BYTES bytes at @out; the slot stays here */
void rb_want_encode(uint8_t *out, const struct rb_want *want);

/** rb_want_decode - everything that can be checked is checked. Return: 0, -EPROTO */
int rb_want_decode(const uint8_t *in, struct rb_want *ret, struct rb_err *err);
