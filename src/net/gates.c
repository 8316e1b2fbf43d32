// SPDX-License-Identifier: Apache-2.0
/*
 * gates.c - turn the gates of silence.c by netlink
 *
 * A batch is what nfnetlink takes for a transaction: messages between a begin and an end. All of it
 * is done, and all answers wait in the socket, when sendto(2) returns. Each rule asks for one; what
 * fails is answered as well, and a transaction that fails as a whole in the name of its begin. So
 * it came about when there is an answer for each rule, and none says otherwise.
 */
#include "gates.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "netlink.h"

#define BATCH_BYTES   4096
#define REQUEST_BYTES 256
#define TRIES_MAX     8

/* those of silence.c that are not of a gate, but lead there */
enum { INET_RULES = 6, ARP_RULES = 3 };

/* each chain that one of the gates consists of */
static const struct {
	unsigned int gate;
	uint8_t family;
	const char *chain;
	const char *shut_to; /* or NULL: drop */
} chains[] = {
	{ RB_GATE_IN, NFPROTO_NETDEV, "gate_in", RB_GATE_HEARD },
	{ RB_GATE_IN, NFPROTO_INET, "gate_in", NULL },
	{ RB_GATE_IN, NFPROTO_ARP, "gate_in", NULL },
	{ RB_GATE_OUT, NFPROTO_NETDEV, "gate_out", NULL },
	{ RB_GATE_OUT, NFPROTO_INET, "gate_out", NULL },
	{ RB_GATE_OUT, NFPROTO_ARP, "gate_out", NULL },
	{ RB_GATE_LOOPBACK, NFPROTO_INET, "lo_gate", NULL },
};

static struct nlmsghdr *put_message(void *at, uint16_t type, uint16_t flags, uint8_t family,
				    uint16_t resource)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(at);
	struct nfgenmsg *head;

	message->nlmsg_type = type;
	message->nlmsg_flags = NLM_F_REQUEST | flags;
	head = mnl_nlmsg_put_extra_header(message, sizeof(*head));
	head->nfgen_family = family;
	head->version = NFNETLINK_V0;
	head->res_id = htons(resource);
	return message;
}

static struct nlmsghdr *put_request(void *at, unsigned int what, uint16_t flags, uint8_t family)
{
	return put_message(at, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | what), flags, family, 0);
}

/* --- turn --- */

/* the verdict of a rule that has nothing else */
static void put_verdict(struct nlmsghdr *message, int32_t code, const char *chain)
{
	struct nlattr *list = mnl_attr_nest_start(message, NFTA_RULE_EXPRESSIONS);
	struct nlattr *element = mnl_attr_nest_start(message, NFTA_LIST_ELEM);
	struct nlattr *expr, *data, *verdict;

	mnl_attr_put_strz(message, NFTA_EXPR_NAME, "immediate");
	expr = mnl_attr_nest_start(message, NFTA_EXPR_DATA);
	mnl_attr_put_u32(message, NFTA_IMMEDIATE_DREG, htonl(NFT_REG_VERDICT));
	data = mnl_attr_nest_start(message, NFTA_IMMEDIATE_DATA);
	verdict = mnl_attr_nest_start(message, NFTA_DATA_VERDICT);
	mnl_attr_put_u32(message, NFTA_VERDICT_CODE, htonl((uint32_t)code));
	if (chain)
		mnl_attr_put_strz(message, NFTA_VERDICT_CHAIN, chain);
	mnl_attr_nest_end(message, verdict);
	mnl_attr_nest_end(message, data);
	mnl_attr_nest_end(message, expr);
	mnl_attr_nest_end(message, element);
	mnl_attr_nest_end(message, list);
}

static void put_rule(struct nlmsghdr *message, size_t i, bool shut)
{
	const char *to = shut ? chains[i].shut_to : NULL;

	mnl_attr_put_strz(message, NFTA_RULE_TABLE, RB_GATES_TABLE);
	mnl_attr_put_strz(message, NFTA_RULE_CHAIN, chains[i].chain);
	put_verdict(message, to ? NFT_JUMP : shut ? NF_DROP : NF_ACCEPT, to);
}

static int note_answer(const struct nlmsghdr *message, int *answered)
{
	const struct nlmsgerr *answer = mnl_nlmsg_get_payload(message);

	if (message->nlmsg_type != NLMSG_ERROR ||
	    mnl_nlmsg_get_payload_len(message) < sizeof(*answer))
		return -EPROTO;
	(*answered)++;
	return answer->error;
}

/* Return: of the first that failed */
static int read_answers(struct mnl_socket *nl, int expected)
{
	char buffer[NETLINK_BYTES];
	int answered = 0, result = 0;

	for (;;) {
		ssize_t n = recv(mnl_socket_get_fd(nl), buffer, sizeof(buffer), MSG_DONTWAIT);
		const struct nlmsghdr *message = (const struct nlmsghdr *)(void *)buffer;
		int left = (int)n;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n <= 0)
			break;
		for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
			int r = note_answer(message, &answered);

			result = result < 0 ? result : r;
		}
	}
	return result < 0 || answered == expected ? result : -EPROTO;
}

int rb_gates_turn(unsigned int which, bool shut)
{
	_cleanup_(rb_netlink_close) struct mnl_socket *nl = rb_netlink_open(NETLINK_NETFILTER);
	char bytes[BATCH_BYTES];
	struct nlmsghdr *message;
	uint32_t number = 0;
	size_t len;

	if (!nl)
		return -errno;
	message = put_message(bytes, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	len = message->nlmsg_len;
	for (size_t i = 0; i < ARRAY_SIZE(chains); i++) {
		if (!(which & chains[i].gate))
			continue;
		/* without NLM_F_APPEND it goes to the head */
		message = put_request(bytes + len, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_ACK,
				      chains[i].family);
		message->nlmsg_seq = ++number;
		put_rule(message, i, shut);
		len += MNL_ALIGN(message->nlmsg_len);
	}
	message = put_message(bytes + len, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	len += message->nlmsg_len;
	if (mnl_socket_sendto(nl, bytes, len) < 0)
		return -errno;
	return read_answers(nl, (int)number);
}

/* --- read --- */

static const struct nlattr *find(const struct nlattr *nest, uint16_t type)
{
	const struct nlattr *attr;

	if (nest)
		mnl_attr_for_each_nested (attr, nest)
			if (mnl_attr_get_type(attr) == type)
				return attr;
	return NULL;
}

static bool has_string(const struct nlattr *attr, const char *text)
{
	size_t len = strlen(text) + 1;

	return attr && mnl_attr_get_payload_len(attr) == len &&
	       memcmp(mnl_attr_get_payload(attr), text, len) == 0;
}

/* Is it a verdict, and nothing before that?
 * @to: of a jump; NULL: it drops */
static bool decides(const struct nlattr *expressions, const char *to)
{
	const struct nlattr *expr = find(expressions, NFTA_LIST_ELEM), *verdict, *code;

	verdict = find(find(find(expr, NFTA_EXPR_DATA), NFTA_IMMEDIATE_DATA), NFTA_DATA_VERDICT);
	code = find(verdict, NFTA_VERDICT_CODE);
	if (!has_string(find(expr, NFTA_EXPR_NAME), "immediate") || !code ||
	    mnl_attr_get_payload_len(code) != sizeof(uint32_t))
		return false;
	if (!to)
		return ntohl(mnl_attr_get_u32(code)) == NF_DROP;
	return (int32_t)ntohl(mnl_attr_get_u32(code)) == NFT_JUMP &&
	       has_string(find(verdict, NFTA_VERDICT_CHAIN), to);
}

struct look {
	struct rb_gates *gates;
	bool present;		       /* the set of devices is there */
	bool seen[ARRAY_SIZE(chains)]; /* their first rules decide */
	bool shut[ARRAY_SIZE(chains)];
	bool heard;		    /* netdev: there is something in that chain */
	size_t jumps_in, jumps_out; /* netdev: of devices to the gates */
	size_t inet, arp;	    /* rules that lead to gates */
};

/* of no gate */
static void see_other(struct look *look, uint8_t family, const struct nlattr *chain,
		      const struct nlattr *expressions)
{
	look->inet += family == NFPROTO_INET;
	look->arp += family == NFPROTO_ARP;
	if (family != NFPROTO_NETDEV)
		return;
	look->heard |= has_string(chain, RB_GATE_HEARD);
	look->jumps_in += decides(expressions, "gate_in");
	look->jumps_out += decides(expressions, "gate_out");
}

/* the chains' rules come in their order */
static int see_rule(const struct nlmsghdr *message, void *arg)
{
	const struct nfgenmsg *head = mnl_nlmsg_get_payload(message);
	struct look *look = arg;
	const struct nlattr *attr, *chain = NULL, *expressions = NULL;
	bool of_gate = false;

	mnl_attr_for_each (attr, message, sizeof(struct nfgenmsg)) {
		if (mnl_attr_get_type(attr) == NFTA_RULE_CHAIN)
			chain = attr;
		else if (mnl_attr_get_type(attr) == NFTA_RULE_EXPRESSIONS)
			expressions = attr;
	}
	for (size_t i = 0; i < ARRAY_SIZE(chains); i++) {
		if (chains[i].family != head->nfgen_family || !has_string(chain, chains[i].chain))
			continue;
		of_gate = true;
		if (!look->seen[i])
			look->shut[i] = decides(expressions, chains[i].shut_to);
		look->seen[i] = true;
	}
	if (!of_gate)
		see_other(look, head->nfgen_family, chain, expressions);
	return MNL_CB_OK;
}

static int see_elements(const struct nlmsghdr *message, void *arg)
{
	struct look *look = arg;
	struct rb_gates *gates = look->gates;
	const struct nlattr *attr, *element, *key;

	mnl_attr_for_each (attr, message, sizeof(struct nfgenmsg)) {
		if (mnl_attr_get_type(attr) != NFTA_SET_ELEM_LIST_ELEMENTS)
			continue;
		mnl_attr_for_each_nested (element, attr) {
			key = find(find(element, NFTA_SET_ELEM_KEY), NFTA_DATA_VALUE);
			if (!key || mnl_attr_get_payload_len(key) != sizeof(uint32_t))
				continue;
			if (gates->covered_count < RB_GATES_DEVICES_MAX)
				gates->covered[gates->covered_count] = mnl_attr_get_u32(key);
			gates->covered_count++;
		}
	}
	return MNL_CB_OK;
}

/* Without the table there are none. (A dump for all families ends with the first table of a name:
 * nf_tables_dump_rules() of the kernel.) */
static int list_rules(struct mnl_socket *nl, uint8_t family, struct look *look)
{
	char bytes[REQUEST_BYTES];
	struct nlmsghdr *request = put_request(bytes, NFT_MSG_GETRULE, NLM_F_DUMP, family);

	request->nlmsg_seq = family;
	mnl_attr_put_strz(request, NFTA_RULE_TABLE, RB_GATES_TABLE);
	return rb_netlink_ask(nl, request, see_rule, look);
}

/* -ENOENT without the table */
static int list_covered(struct mnl_socket *nl, struct look *look)
{
	char bytes[REQUEST_BYTES];
	struct nlmsghdr *request = put_request(bytes, NFT_MSG_GETSETELEM, NLM_F_DUMP, NFPROTO_INET);

	request->nlmsg_seq = 1000;
	mnl_attr_put_strz(request, NFTA_SET_ELEM_LIST_TABLE, RB_GATES_TABLE);
	mnl_attr_put_strz(request, NFTA_SET_ELEM_LIST_SET, RB_GATES_SET);
	return rb_netlink_ask(nl, request, see_elements, look);
}

/* Devices that the netdev table does not cover pass the hooks of the others: then it has no say. */
static void conclude(const struct look *look)
{
	struct rb_gates *gates = look->gates;
	size_t devices = gates->covered_count ? gates->covered_count - 1 : 0; /* lo is one */
	unsigned int open = 0;

	for (size_t i = 0; i < ARRAY_SIZE(chains); i++) {
		if (look->shut[i])
			gates->shut_some |= chains[i].gate;
		else if (chains[i].family != NFPROTO_NETDEV || devices)
			open |= chains[i].gate;
	}
	gates->shut = gates->shut_some & ~open;
	gates->whole = look->present && look->inet == INET_RULES && look->arp == ARP_RULES;
	if (devices && (!look->heard || look->jumps_in != devices || look->jumps_out != devices))
		gates->whole = false;
}

static int read_once(struct rb_gates *ret)
{
	static const uint8_t families[] = { NFPROTO_NETDEV, NFPROTO_INET, NFPROTO_ARP };
	_cleanup_(rb_netlink_close) struct mnl_socket *nl = rb_netlink_open(NETLINK_NETFILTER);
	struct look look = { .gates = ret };
	int r;

	if (!nl)
		return -errno;
	memset(ret, 0, sizeof(*ret));
	r = list_covered(nl, &look);
	look.present = r >= 0;
	if (r == -ENOENT)
		r = 0;
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(families); i++)
		r = list_rules(nl, families[i], &look);
	if (r >= 0)
		conclude(&look);
	return r;
}

int rb_gates_read(struct rb_gates *ret)
{
	int r = -EINTR;

	/* they may change while they are listed */
	for (int i = 0; r == -EINTR && i < TRIES_MAX; i++)
		r = read_once(ret);
	return r;
}
