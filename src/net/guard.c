// SPDX-License-Identifier: Apache-2.0
/*
 * guard.c - keep an arriving container's hardware address off the target's bridges
 *
 * Docker (28 and later) attaches the network between `create` and `start` and announces it with a
 * gratuitous ARP sent through a packet socket, before anybody could have silenced the device inside
 * the new namespace. If that frame reached the bridge, every switch of the segment would send the
 * traffic of the container, which still runs on the source, here. The bridge family's prerouting
 * hook is passed before the bridge learns a source address and before it forwards
 * (net/bridge/br_input.c: br_handle_frame(), then br_handle_frame_finish()).
 *
 * Only frames that come from a local container are dropped: those of the same container on the
 * source come in through an uplink, and have to pass to its peers on this host. Docker names the
 * bridge's end of a container's cable "veth" and hex digits (libnetwork's constant vethPrefix), so
 * that is how containers are told from uplinks. An uplink that is a veth, too (a lab's), must not
 * have such a name.
 *
 * Needed until rb_silence_on() has covered the container's devices. Siblings on a macvlan share no
 * bridge with us and see past this; what such a gratuitous ARP says is what they know already, and
 * park.c sees to what they send.
 */
#include "net.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "err.h"
#include "io.h"
#include "nft.h"

#define ID_LEN_MAX 31
#define MACS_MAX   256

static int is_mac(const char *text)
{
	int octets = 0;

	for (; text && octets < 6; octets++, text += 3) {
		if (!isxdigit((unsigned char)text[0]) || !isxdigit((unsigned char)text[1]))
			return false;
		if (text[2] != (octets < 5 ? ':' : '\0'))
			return false;
	}
	return octets == 6;
}

static int check_id(const char *id, struct rb_err *err)
{
	if (!id || !rb_nft_word_ok(id, strlen(id)))
		return rb_err_code(err, RB_E_USAGE, -EINVAL, "'%s' cannot name an nftables table",
				   id ? id : "");
	return 0;
}

/* "aa:.., bb:.." */
static int list_macs(const json_t *macs, struct rb_buf *ret, struct rb_err *err)
{
	size_t count = json_array_size(macs);

	if (count > MACS_MAX)
		return rb_err_code(err, RB_E_USAGE, -E2BIG, "more than %d hardware addresses",
				   MACS_MAX);
	for (size_t i = 0; i < count; i++) {
		const char *mac = json_string_value(json_array_get(macs, i));

		if (!is_mac(mac))
			return rb_err_code(err, RB_E_USAGE, -EINVAL,
					   "'%s' is not a hardware address", mac ? mac : "");
		if (rb_buf_addf(ret, "%s%s", i ? ", " : "", mac) < 0)
			return rb_err_set(err, -ENOMEM, "list hardware addresses");
	}
	return 0;
}

static int run(void *arg, struct rb_err *err)
{
	return rb_nft_run(arg, NULL, err);
}

/*
 * `add` before `delete`, so that both an old table and none are fine. There is no older bridge
 * hook than "dstnat" (-300) in the kernel's own list of priorities.
 */
int rb_guard_on(const char *id, const json_t *macs, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf list = {}, cmd = {};
	int r = check_id(id, err);

	if (r == 0)
		r = list_macs(macs, &list, err);
	if (r < 0)
		return r;
	if (!list.len)
		return 0;
	r = rb_buf_addf(&cmd,
			"add table bridge reberth_%s\n"
			"delete table bridge reberth_%s\n"
			"table bridge reberth_%s {\n"
			" set macs { type ether_addr; elements = { %s }; }\n"
			" chain pre { type filter hook prerouting priority -300;\n"
			"  iifname \"veth*\" ether saddr @macs drop\n }\n}\n",
			id, id, id, list.data);
	if (r < 0)
		return rb_err_set(err, r, "write nftables commands");
	r = rb_netns_fork(RB_NETNS_OWN, run, cmd.data, err);
	return r < 0 ? rb_err_wrap(err, r, "guard the bridges") : 0;
}

int rb_guard_off(const char *id, struct rb_err *err)
{
	char cmd[160];
	int r = check_id(id, err);

	if (r < 0)
		return r;
	snprintf(cmd, sizeof(cmd),
		 "add table bridge reberth_%s\n"
		 "delete table bridge reberth_%s\n",
		 id, id);
	r = rb_netns_fork(RB_NETNS_OWN, run, cmd, err);
	return r < 0 ? rb_err_wrap(err, r, "take the guard off the bridges") : 0;
}
