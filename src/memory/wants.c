// SPDX-License-Identifier: Apache-2.0
/* wants.c - lists of pages that the target asks the source for */
#include "wants.h"

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "err.h"
#include "ranges.h"

#define PAGES_MAX (UINT32_C(1) << 20)

struct wire {
	uint32_t task, pages;
	uint64_t addr;
};

_Static_assert(sizeof(struct wire) == RB_WANT_BYTES, "as wants.h says");

void rb_want_encode(uint8_t *out, const struct rb_want *want)
{
	struct wire wire = { htobe32((uint32_t)want->task), htobe32(want->pages),
			     htobe64(want->addr) };

	memcpy(out, &wire, sizeof(wire));
}

int rb_want_decode(const uint8_t *in, struct rb_want *ret, struct rb_err *err)
{
	struct wire wire;
	uint32_t task, pages;
	uint64_t addr;

	memcpy(&wire, in, sizeof(wire));
	task = be32toh(wire.task);
	pages = be32toh(wire.pages);
	addr = be64toh(wire.addr);
	if (task == 0 || task > INT_MAX || pages == 0 || pages > PAGES_MAX || addr % RB_PAGE_SIZE ||
	    addr >= UINT64_MAX - (uint64_t)pages * RB_PAGE_SIZE)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "a list of pages that are wanted makes no sense");
	*ret = (struct rb_want){ .task = (int)task, .pages = pages, .addr = addr };
	return 0;
}
