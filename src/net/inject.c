// SPDX-License-Identifier: Apache-2.0
/*
 * inject.c - have a network namespace hear frames that were caught elsewhere
 *
 * A veth hears what is sent at the other end of the cable. That end is on the host: its index is
 * IFLA_LINK of the container's device, and that it really is the end of this cable is asked there
 * once more, as the container may have devices of its own making. Into a macvlan a sibling leads
 * (sibling.c); what was for many is sent to it alone, at its own hardware address: its kernel takes
 * that as well.
 *
 * Injected frames have to pass the gate while it is still shut for all others, or what is new would
 * overtake them. Nothing of a packet survives the cable but the frame itself; so each gets a
 * priority tag (IEEE 802.1Q with VLAN 0), which the receiving kernel takes off and heeds no
 * further.
 */
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "devices.h"
#include "err.h"
#include "frames.h"
#include "io.h"
#include "net.h"
#include "sibling.h"

#define TAG_AT	       (2 * ETH_ALEN)
#define TAG_LEN	       4
#define BURST	       32
#define BURST_PAUSE_NS 500000

/* the way into one device */
struct way {
	struct rb_device device;
	int fd, index; /* packet socket, and where to send */
};

struct rb_injector {
	struct way ways[RB_DEVICES_MAX];
	size_t n;
	int fd;
};

static int set_options(int fd)
{
	int one = 1;

	return setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) < 0 ||
			       setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one)) <
				       0
		       ? -errno
		       : 0;
}

static int open_sender(struct rb_err *err)
{
	_cleanup_close_ int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd < 0 || set_options(fd) < 0)
		return rb_err_set(err, -errno, "open a packet socket");
	return TAKE_FD(fd);
}

/* A way that cannot be had is missing; the others may do. */
static void add_way(struct rb_injector *injector, const struct rb_device *device)
{
	struct way way = { *device, -EBADF, 0 };

	if (device->kind == RB_DEVICE_VETH) {
		if (!rb_device_ends_here(device))
			return;
		way.fd = injector->fd;
		way.index = device->peer;
	} else {
		way.fd = rb_sibling_open(device->peer, &way.index, NULL);
		if (way.fd >= 0 && set_options(way.fd) < 0)
			rb_close_fd(&way.fd);
	}
	if (way.fd >= 0)
		injector->ways[injector->n++] = way;
}

static int find_ways(int netns_fd, struct rb_injector *injector, struct rb_err *err)
{
	struct rb_devices devices = {};
	int r = rb_devices_of(netns_fd, &devices, err);

	for (size_t i = 0; r >= 0 && i < devices.n; i++)
		add_way(injector, &devices.list[i]);
	return r;
}

static const struct way *way_of(const struct rb_injector *injector, const uint8_t *address)
{
	for (size_t i = 0; i < injector->n; i++)
		if (memcmp(injector->ways[i].device.address, address, ETH_ALEN) == 0)
			return &injector->ways[i];
	return NULL;
}

/* Return: NULL when there is none */
static const struct way *way_to(const struct rb_injector *injector,
				const struct rb_frame_view *view)
{
	static const uint8_t unknown[ETH_ALEN];

	if (memcmp(view->device, unknown, ETH_ALEN) != 0)
		return way_of(injector, view->device);
	if (view->frame[0] & 1)
		return injector->n == 1 ? &injector->ways[0] : NULL;
	return way_of(injector, view->frame);
}

/* What is counted from the start of the frame lies behind the tag. */
static void shift_offload(struct virtio_net_hdr *offload)
{
	if (offload->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		offload->csum_start = (uint16_t)(offload->csum_start + TAG_LEN);
	if (offload->hdr_len)
		offload->hdr_len = (uint16_t)(offload->hdr_len + TAG_LEN);
}

static int send_one(const struct way *way, const struct rb_frame_view *view)
{
	/* ETH_P_8021Q; priority 5, drop eligible, of no VLAN: as silence.c lets it pass */
	static const uint8_t tag[TAG_LEN] = { 0x81, 0x00, 0xb0, 0x00 };
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = way->index };
	/* a frame for many would go out from a sibling, too */
	bool direct = way->device.kind == RB_DEVICE_MACVLAN;
	struct virtio_net_hdr offload;
	struct iovec parts[] = {
		{ &offload, sizeof(offload) },
		{ direct ? (void *)way->device.address : (void *)view->frame, ETH_ALEN },
		{ (void *)(view->frame + ETH_ALEN), ETH_ALEN },
		{ (void *)tag, sizeof(tag) },
		{ (void *)(view->frame + TAG_AT), view->len - TAG_AT },
	};
	const struct msghdr message = { .msg_name = &to,
					.msg_namelen = sizeof(to),
					.msg_iov = parts,
					.msg_iovlen = ARRAY_SIZE(parts) };

	memcpy(&offload, view->offload, sizeof(offload));
	shift_offload(&offload);
	for (;;) {
		if (sendmsg(way->fd, &message, 0) >= 0)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
}

/* TCP has room for what it asked for, a socket for datagrams has some hundred of them: give the
 * program that reads it time. */
static bool is_datagram(const struct rb_frame_view *view)
{
	const uint8_t *packet = view->frame + ETH_HLEN;

	if (view->len < ETH_HLEN + 20)
		return false;
	return (packet[-2] == 0x08 && packet[-1] == 0x00 && packet[9] == IPPROTO_UDP) ||
	       (packet[-2] == 0x86 && packet[-1] == 0xdd && packet[6] == IPPROTO_UDP);
}

int rb_injector_open(int netns_fd, struct rb_injector **ret, struct rb_err *err)
{
	struct rb_injector *injector = calloc(1, sizeof(*injector));
	int r;

	if (!injector)
		return rb_err_set(err, -ENOMEM, "open a packet socket");
	r = injector->fd = open_sender(err);
	if (r >= 0)
		r = find_ways(netns_fd, injector, err);
	if (r < 0) {
		rb_injector_close(injector);
		return r;
	}
	*ret = injector;
	return 0;
}

void rb_injector_close(struct rb_injector *injector)
{
	if (!injector)
		return;
	for (size_t i = 0; i < injector->n; i++)
		if (injector->ways[i].fd != injector->fd)
			rb_close_fd(&injector->ways[i].fd);
	rb_close_fd(&injector->fd);
	free(injector);
}

int rb_inject(struct rb_injector *injector, const void *data, size_t len, struct rb_err *err)
{
	struct rb_frame_view view;
	int heard = 0, datagrams = 0, r;
	size_t at = 0;

	while ((r = rb_frames_next(data, len, &at, &view)) == 1) {
		const struct way *way = way_to(injector, &view);

		/* a frame that cannot be sent is lost, as frames are; the next one may do */
		if (way && send_one(way, &view) == 0)
			heard++;
		if (is_datagram(&view) && ++datagrams % BURST == 0)
			nanosleep(&(struct timespec){ .tv_nsec = BURST_PAUSE_NS }, NULL);
	}
	return r < 0 ? rb_err_code(err, RB_E_PROTOCOL, r, "the captured frames are malformed")
		     : heard;
}
