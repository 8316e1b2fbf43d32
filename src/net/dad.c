// SPDX-License-Identifier: Apache-2.0
/*
 * dad.c - no duplicate address detection for addresses that arrive
 *
 * A device that Docker attaches gets its IPv6 link-local address from the kernel, which asks the
 * segment for duplicates first (RFC 4862, section 5.4) and does not use the address for one to two
 * seconds. Of an arriving container nobody would hear the question, as its network is silent; but a
 * quick move is over before the address could be used: sockets that are bound to it could not be
 * restored, and peers that ask for it would get no answer. There is nothing to detect: the address
 * is that of the same device on the source, and nobody else has its hardware address.
 *
 * A new device takes `accept_dad` from conf/default; where conf/all has more, which is not the
 * kernel's default, the detection is on in any case (net/ipv6/addrconf.c: addrconf_dad_begin()).
 */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "net.h"

#define CONF "/proc/sys/net/ipv6/conf"

static void knob_path(char *ret, size_t size, const char *dev)
{
	snprintf(ret, size, CONF "/%s/accept_dad", dev);
}

int rb_dad_suspend(int *ret_was, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf text = {};
	char path[128];

	*ret_was = 0;
	knob_path(path, sizeof(path), "default");
	/* a kernel without IPv6 */
	if (rb_read_file(path, 32, &text, NULL) < 0 || !text.len)
		return 0;
	*ret_was = atoi(text.data);
	return *ret_was > 0 ? rb_write_knob(path, "0", err) : 0;
}

void rb_dad_resume(int was)
{
	struct if_nameindex *devs = was > 0 ? if_nameindex() : NULL;
	char path[128], value[16];

	if (!devs)
		return;
	snprintf(value, sizeof(value), "%d", was);
	knob_path(path, sizeof(path), "default");
	rb_write_knob(path, value, NULL);
	for (const struct if_nameindex *dev = devs; dev->if_index; dev++) {
		knob_path(path, sizeof(path), dev->if_name);
		if (strcmp(dev->if_name, "lo") != 0)
			rb_write_knob(path, value, NULL);
	}
	if_freenameindex(devs);
}
