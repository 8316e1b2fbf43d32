// SPDX-License-Identifier: Apache-2.0
/*
 * test_probe.c - who has an address? asked on a cable
 */
#include "testnet.h"

#include <net/if.h>
#include <sys/ioctl.h>

#include "probe.h"

static struct testnet net;

static void mac_of(const char *dev, uint8_t ret[6])
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {};

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", dev);
	CHECK_INT(ioctl(fd, SIOCGIFHWADDR, &ifr), 0);
	memcpy(ret, ifr.ifr_hwaddr.sa_data, 6);
}

/* asked by the peer, about addresses of the inside and one of nobody */
static void others_are_found_and_the_owner_is_none(void)
{
	static const struct {
		const char *ip;
		bool owned, taken;
	} cases[] = {
		{ INSIDE, false, true },  { INSIDE, true, false },  { NOBODY, false, false },
		{ INSIDE6, false, true }, { INSIDE6, true, false }, { "fd09::77", false, false },
	};
	struct rb_probe probes[ARRAY_SIZE(cases)] = {};
	uint8_t mac[6];

	go_to(net.inside);
	mac_of("c0", mac);
	go_to(net.peer);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		snprintf(probes[i].device, sizeof(probes[i].device), "p0");
		CHECK_INT(rb_ip_parse(cases[i].ip, &probes[i].ip), true);
		if (cases[i].owned)
			memcpy(probes[i].owner, mac, 6);
	}
	rb_probe_all(probes, ARRAY_SIZE(cases), NULL);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		printf("# %s%s\n", cases[i].ip, cases[i].owned ? ", its owner's" : "");
		CHECK_INT(probes[i].taken, cases[i].taken);
		CHECK_INT(memcmp(probes[i].taker, mac, 6) == 0, cases[i].taken);
	}
}

static void no_device_no_answer(void)
{
	struct rb_probe probe = { .device = "nothing0" };
	int64_t began = rb_now_ms();

	rb_ip_parse(INSIDE, &probe.ip);
	rb_probe_all(&probe, 1, NULL);
	CHECK_INT(probe.taken, false);
	rb_probe_all(&probe, 0, NULL);
	/* and nobody waits for it: far less than it listens */
	printf("# %lld ms\n", (long long)(rb_now_ms() - began));
}

/* a question teaches nobody anything: the neighbour tables stay as they are */
static void asking_leaves_no_trace(void)
{
	struct rb_probe probe = { .device = "p0" };

	CHECK_INT(sh(net.inside, "ip neigh flush all"), 0);
	go_to(net.peer);
	rb_ip_parse(INSIDE, &probe.ip);
	rb_probe_all(&probe, 1, NULL);
	CHECK_INT(probe.taken, true);
	CHECK_INT(sh(net.inside, "! ip -4 neigh | grep -q lladdr"), 0);
}

int main(void)
{
	if (testnet_up(&net) < 0) {
		printf("Bail out! no test network\n");
		return 1;
	}
	NET_RUN(net, others_are_found_and_the_owner_is_none);
	NET_RUN(net, no_device_no_answer);
	NET_RUN(net, asking_leaves_no_trace);
	testnet_down(&net);
	return tap_done();
}
