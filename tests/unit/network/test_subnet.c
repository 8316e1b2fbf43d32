// SPDX-License-Identifier: Apache-2.0
/*
 * test_subnet.c - subnets and their chunks
 */
#include "subnet.h"

#include <errno.h>

#include "err.h"
#include "tap.h"

static struct rb_err err;

static int parses(const char *text)
{
	struct rb_subnet subnet;

	return rb_subnet_parse(text, &subnet, &err);
}

static void what_is_a_subnet(void)
{
	CHECK_INT(parses("10.20.0.0/16"), 0);
	CHECK_INT(parses("10.0.0.0/8"), 0);
	CHECK_INT(parses("10.20.30.240/28"), 0);
	CHECK_INT(parses("10.20.0.0"), -EINVAL);
	CHECK_INT(parses("10.20.0.0/7"), -EINVAL);
	CHECK_INT(parses("10.20.0.0/29"), -EINVAL);
	CHECK_INT(parses("10.20.0.0/16x"), -EINVAL);
	CHECK_INT(parses("10.20.0.0/-1"), -EINVAL);
	CHECK_INT(parses("10.20.0.0/"), -EINVAL);
	CHECK_INT(parses("10.20.0/16"), -EINVAL);
	CHECK_INT(parses("fd00::/64"), -EINVAL);
	CHECK_INT(parses(""), -EINVAL);
	CHECK_INT(parses("10.20.0.1/16"), -EINVAL);
	CHECK(strstr(err.msg, "10.20.0.0/16"));
}

static void chunks(void)
{
	static const struct {
		const char *subnet;
		uint32_t chunks, size;
	} rows[] = { { "10.20.0.0/28", 4, 4 },
		     { "10.20.0.0/24", 16, 16 },
		     { "10.20.0.0/23", 32, 16 },
		     { "10.20.0.0/16", 256, 256 },
		     { "10.0.0.0/8", 65536, 256 } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct rb_subnet subnet;
		uint32_t first, last, all;

		CHECK_INT(rb_subnet_parse(rows[i].subnet, &subnet, &err), 0);
		all = rb_subnet_chunks(&subnet);
		CHECK_INT(all, rows[i].chunks);
		rb_subnet_chunk(&subnet, 0, &first, &last);
		CHECK_INT(first, subnet.base);
		CHECK_INT(last - first + 1, rows[i].size);
		rb_subnet_chunk(&subnet, all - 1, &first, &last);
		CHECK_INT(last, rb_subnet_last(&subnet));
		CHECK_INT(rb_subnet_chunk_of(&subnet, first), all - 1);
		CHECK_INT(rb_subnet_chunk_of(&subnet, last), all - 1);
		CHECK(!rb_subnet_usable(&subnet, last));
		CHECK(!rb_subnet_usable(&subnet, subnet.base));
		CHECK(!rb_subnet_usable(&subnet, rb_subnet_gateway(&subnet)));
		CHECK(rb_subnet_usable(&subnet, last - 1));
		CHECK(!rb_subnet_has(&subnet, last + 1));
	}
}

static void overlaps(void)
{
	CHECK(rb_subnet_overlap("10.20.0.0/16", "10.20.3.0/24"));
	CHECK(rb_subnet_overlap("10.20.3.0/24", "10.20.0.0/16"));
	CHECK(rb_subnet_overlap("10.20.3.0/24", "10.20.3.7"));
	CHECK(rb_subnet_overlap("10.20.3.0/24", "0.0.0.0/0"));
	CHECK(!rb_subnet_overlap("10.20.0.0/16", "10.21.0.0/16"));
	CHECK(!rb_subnet_overlap("10.20.0.0/24", "10.20.1.0/24"));
	CHECK(!rb_subnet_overlap("10.20.0.0/24", "fd00::/8"));
	CHECK(!rb_subnet_overlap("10.20.0.0/24", ""));
}

static void texts(void)
{
	char text[RB_ADDRESS_TEXT];
	uint32_t address;

	CHECK_STR(rb_address_text(text, 0x0a140005, 0), "10.20.0.5");
	CHECK_STR(rb_address_text(text, 0xffffffff, 32), "255.255.255.255/32");
	CHECK_INT(rb_address_parse("10.20.0.5", &address), 0);
	CHECK_INT(address, 0x0a140005);
	CHECK_INT(rb_address_parse("10.20.0.5/16", &address), -EINVAL);
}

int main(void)
{
	TAP_RUN(what_is_a_subnet);
	TAP_RUN(chunks);
	TAP_RUN(overlaps);
	TAP_RUN(texts);
	return tap_done();
}
