// SPDX-License-Identifier: Apache-2.0
/* test_pagemap.c - the lazy mark is taken away, and nothing else is changed */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "dump.h"
#include "io.h"
#include "tap.h"

/* as CRIU 4.2 writes it: the head, and two pages at 0x4000 that are there and lazy */
enum { FLAGS_AT = 25 };
static const uint8_t image[] = {
	0x19, 0x43, 0x56, 0x54, 0x25, 0x40, 0x08, 0x56, /* magics */
	2,    0,    0,	  0,	0x08, 1,		/* pages_id */
	10,   0,    0,	  0,	0x08, 0x80, 0x80, 0x01, /* vaddr */
	0x10, 2,    0x20, 6,	0x28, 2,		/* pages, flags, pages */
};

static void test_lazy(void)
{
	_cleanup_buf_ struct rb_buf out = {};
	uint8_t bytes[sizeof(image)];
	bool changed;

	memcpy(bytes, image, sizeof(image));
	CHECK_INT(rb_criu_pagemap_unlazy((char *)bytes, sizeof(image), &out, &changed), 0);
	CHECK(changed);
	CHECK_INT(out.len, sizeof(image));
	bytes[FLAGS_AT] = 4;
	CHECK_INT(memcmp(out.data, bytes, out.len), 0);
}

static void test_present(void)
{
	_cleanup_buf_ struct rb_buf out = {};
	uint8_t bytes[sizeof(image)];
	bool changed;

	memcpy(bytes, image, sizeof(image));
	bytes[FLAGS_AT] = 4;
	CHECK_INT(rb_criu_pagemap_unlazy((char *)bytes, sizeof(image), &out, &changed), 0);
	CHECK(!changed);
	CHECK_INT(memcmp(out.data, bytes, out.len), 0);
}

static void test_damage(void)
{
	uint8_t bytes[sizeof(image)];
	bool changed;

	memcpy(bytes, image, sizeof(image));
	for (size_t len = 0; len < sizeof(image); len++) {
		_cleanup_buf_ struct rb_buf out = {};
		int r = rb_criu_pagemap_unlazy((char *)bytes, len, &out, &changed);

		/* the ends of records are ends of images, too */
		CHECK_INT(r, len == 8 || len == 14 ? 0 : -EPROTO);
	}
	bytes[0] ^= 1;
	{
		_cleanup_buf_ struct rb_buf out = {};

		CHECK_INT(rb_criu_pagemap_unlazy((char *)bytes, sizeof(image), &out, &changed),
			  -EPROTO);
	}
}

int main(void)
{
	TAP_RUN(test_lazy);
	TAP_RUN(test_present);
	TAP_RUN(test_damage);
	return tap_done();
}
