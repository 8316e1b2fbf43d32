// SPDX-License-Identifier: Apache-2.0
/* neighbours.c - whom a container knows on its segment */
#include "neighbours.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "err.h"
#include "json.h"
#include "net.h"
#include "netlink.h"

#define NEIGHBOURS_MAX 4096
#define REQUEST_BYTES  512
#define KNOWN	       (NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE)

static int add_neighbour(const struct nlmsghdr *message, void *arg)
{
	const struct ndmsg *neighbour = mnl_nlmsg_get_payload(message);
	const void *ip = NULL, *mac = NULL;
	char dev[IF_NAMESIZE], ip_text[INET6_ADDRSTRLEN], mac_text[24];
	const struct nlattr *attr;
	size_t ip_len = 0, mac_len = 0;
	json_t *list = arg;

	mnl_attr_for_each (attr, message, sizeof(*neighbour)) {
		if (mnl_attr_get_type(attr) == NDA_DST) {
			ip = mnl_attr_get_payload(attr);
			ip_len = mnl_attr_get_payload_len(attr);
		} else if (mnl_attr_get_type(attr) == NDA_LLADDR) {
			mac = mnl_attr_get_payload(attr);
			mac_len = mnl_attr_get_payload_len(attr);
		}
	}
	if (!(neighbour->ndm_state & KNOWN) || !ip || mac_len != ETH_ALEN ||
	    ip_len != (neighbour->ndm_family == AF_INET ? 4 : 16) ||
	    json_array_size(list) >= NEIGHBOURS_MAX ||
	    !if_indextoname((unsigned int)neighbour->ndm_ifindex, dev) ||
	    !inet_ntop(neighbour->ndm_family, ip, ip_text, sizeof(ip_text)))
		return MNL_CB_OK;
	ether_ntoa_r(mac, mac_text);
	json_array_append_new(
		list, json_pack("{s:s, s:s, s:s}", "dev", dev, "ip", ip_text, "mac", mac_text));
	return MNL_CB_OK;
}

static int list_family(struct mnl_socket *nl, int family, json_t *list)
{
	char buffer[REQUEST_BYTES];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct ndmsg *neighbour;

	request->nlmsg_type = RTM_GETNEIGH;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	request->nlmsg_seq = (uint32_t)family;
	neighbour = mnl_nlmsg_put_extra_header(request, sizeof(*neighbour));
	neighbour->ndm_family = (uint8_t)family;
	return rb_netlink_ask(nl, request, add_neighbour, list);
}

/* in the thread that is inside */
static int read_inside(void *arg, struct rb_err *err)
{
	struct mnl_socket *nl = rb_netlink_open(NETLINK_ROUTE);
	json_t *list = arg;
	int r;

	if (!nl)
		return rb_err_set(err, -errno, "open a netlink socket");
	r = list_family(nl, AF_INET, list);
	/* without IPv6 in the kernel the list is what it is */
	list_family(nl, AF_INET6, list);
	mnl_socket_close(nl);
	return r < 0 ? rb_err_set(err, r, "list a container's neighbours") : 0;
}

int rb_neighbours_read(int netns_fd, json_t **ret, struct rb_err *err)
{
	_cleanup_json_ json_t *list = json_array();
	int r = list ? rb_netns_run(netns_fd, read_inside, list, err)
		     : rb_err_set(err, -ENOMEM, "list a container's neighbours");

	if (r >= 0)
		*ret = TAKE_PTR(list);
	return r;
}

static int write_one(struct mnl_socket *nl, const json_t *entry, uint32_t number)
{
	const char *ip = rb_json_str(entry, "ip", "");
	struct ether_addr mac;
	char buffer[REQUEST_BYTES];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	int family = strchr(ip, ':') ? AF_INET6 : AF_INET;
	struct ndmsg *neighbour;
	uint8_t address[16];

	if (inet_pton(family, ip, address) != 1 ||
	    !ether_aton_r(rb_json_str(entry, "mac", ""), &mac))
		return -EPROTO;
	request->nlmsg_type = RTM_NEWNEIGH;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
	request->nlmsg_seq = number;
	neighbour = mnl_nlmsg_put_extra_header(request, sizeof(*neighbour));
	neighbour->ndm_family = (uint8_t)family;
	neighbour->ndm_ifindex = (int)if_nametoindex(rb_json_str(entry, "dev", ""));
	neighbour->ndm_state = NUD_STALE;
	if (neighbour->ndm_ifindex == 0)
		return -ENODEV;
	mnl_attr_put(request, NDA_DST, family == AF_INET ? 4 : 16, address);
	mnl_attr_put(request, NDA_LLADDR, sizeof(mac), &mac);
	return rb_netlink_ask(nl, request, NULL, NULL);
}

/* in the thread that is inside */
static int write_inside(void *arg, struct rb_err *err)
{
	struct mnl_socket *nl = rb_netlink_open(NETLINK_ROUTE);
	const json_t *list = arg, *entry;
	size_t i;

	if (!nl)
		return rb_err_set(err, -errno, "open a netlink socket");
	json_array_foreach (list, i, entry)
		if (i < NEIGHBOURS_MAX)
			write_one(nl, entry, (uint32_t)i + 1);
	mnl_socket_close(nl);
	return 0;
}

int rb_neighbours_write(int netns_fd, const json_t *list, struct rb_err *err)
{
	return json_array_size(list) ? rb_netns_run(netns_fd, write_inside, (void *)list, err) : 0;
}
