// SPDX-License-Identifier: Apache-2.0
/*
 * passon.c - what came to an arriving macvlan before it was parked goes on to the source
 *
 * Between Docker's `up` and our rb_park() some milliseconds pass, in which siblings on this host
 * send to the new device what is meant for the container on the source (park.c). A packet socket
 * that was there before sees these frames. With the device parked nobody here has their
 * destination any more, so the device sends them where they belong: out, as their senders would
 * have. At that moment the device must not be silent on layer 2 yet.
 *
 * Only what was for the device alone: what is for many went out by itself.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "devices.h"
#include "err.h"
#include "frames.h"
#include "net.h"

#define SOCKET_BYTES (8 << 20)
#define FRAMES_MAX   65536
#define LAST_MS	     1 /* what a processor has not delivered yet */

/* in the thread that is inside */
static int open_inside(void *arg, struct rb_err *err)
{
	_cleanup_close_ int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const struct sockaddr_ll all = { .sll_family = AF_PACKET,
					 .sll_protocol = htons(ETH_P_ALL) };
	int one = 1, bytes = SOCKET_BYTES;

	(void)arg;
	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) < 0)
		return rb_err_set(err, -errno, "open a packet socket");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	if (bind(fd, (const struct sockaddr *)&all, sizeof(all)) < 0)
		return rb_err_set(err, -errno, "open a packet socket");
	return TAKE_FD(fd);
}

int rb_passon_open(int netns_fd, struct rb_err *err)
{
	return rb_netns_run(netns_fd, open_inside, NULL, err);
}

static bool is_parked(const struct rb_devices *devices, int index, const uint8_t *address)
{
	for (size_t i = 0; i < devices->n; i++)
		if (devices->list[i].index == index)
			return devices->list[i].parked &&
			       memcmp(devices->list[i].address, address, ETH_ALEN) == 0;
	return false;
}

/* in the thread that is inside */
static int pass_on(void *arg, struct rb_err *err)
{
	static uint8_t block[sizeof(struct virtio_net_hdr) + RB_FRAME_MAX_LEN];
	struct rb_devices devices = {};
	struct pollfd pfd = { .fd = *(const int *)arg, .events = POLLIN };
	int r = rb_devices_ask(0, &devices), passed = 0;

	if (r < 0)
		return rb_err_set(err, r, "list a container's network devices");
	for (int i = 0; i < FRAMES_MAX && poll(&pfd, 1, LAST_MS) > 0; i++) {
		struct sockaddr_ll from = {};
		socklen_t len = sizeof(from);
		ssize_t n =
			recvfrom(pfd.fd, block, sizeof(block), 0, (struct sockaddr *)&from, &len);

		if (n < (ssize_t)sizeof(struct virtio_net_hdr) + ETH_HLEN ||
		    from.sll_pkttype != PACKET_HOST ||
		    !is_parked(&devices, from.sll_ifindex, block + sizeof(struct virtio_net_hdr)))
			continue;
		passed += sendto(pfd.fd, block, (size_t)n, 0, (struct sockaddr *)&from, len) >= 0;
	}
	return passed;
}

int rb_passon_end(int netns_fd, int fd, struct rb_err *err)
{
	return rb_netns_run(netns_fd, pass_on, &fd, err);
}
