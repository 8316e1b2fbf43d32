// SPDX-License-Identifier: Apache-2.0
/*
 * capture.c - catch what a silenced network namespace hears
 *
 * The shut gate of silence.c forwards each frame to lo, where a packet socket reads it. The socket
 * is made by a thread that visits the namespace, and stays in it.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "devices.h"
#include "err.h"
#include "frames.h"
#include "io.h"
#include "net.h"

#define SOCKET_BYTES (64 << 20)
#define DRAIN_MAX    65536

static_assert(4 + sizeof(struct virtio_net_hdr) + ETH_ALEN == RB_FRAME_RECORD,
	      "a part of the wire format");

struct rb_capture {
	int fd;
	unsigned int lost;
	struct rb_devices devices;
	uint8_t block[RB_FRAME_RECORD + RB_FRAME_MAX_LEN]; /* one record */
};

/* A frame of lo's own has zeros for addresses. Return: what the kernel keeps of it. */
static const struct sock_filter not_of_lo[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),	     BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2),
	BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 4),	     BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
	BPF_STMT(BPF_RET | BPF_K, RB_FRAME_MAX_LEN), BPF_STMT(BPF_RET | BPF_K, 0),
};

static int set_up(int fd)
{
	const struct sock_fprog filter = { ARRAY_SIZE(not_of_lo), (struct sock_filter *)not_of_lo };
	const struct sockaddr_ll lo = { .sll_family = AF_PACKET,
					.sll_protocol = htons(ETH_P_ALL),
					.sll_ifindex = (int)if_nametoindex("lo") };
	int one = 1, bytes = SOCKET_BYTES;

	/* nothing comes before bind(2): the socket was made for no protocol */
	if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) < 0)
		return -errno;
	/* before Linux 5.19 nobody knows which device heard a frame */
	setsockopt(fd, SOL_SOCKET, SO_RCVMARK, &one, sizeof(one));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	return bind(fd, (const struct sockaddr *)&lo, sizeof(lo)) < 0 ? -errno : 0;
}

/* in the thread that is inside */
static int open_inside(void *arg, struct rb_err *err)
{
	_cleanup_close_ int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r = fd < 0 ? -errno : set_up(fd);

	(void)arg;
	return r < 0 ? rb_err_set(err, r, "open a packet socket") : TAKE_FD(fd);
}

int rb_capture_open(int netns_fd, struct rb_capture **ret, struct rb_err *err)
{
	int fd = rb_netns_run(netns_fd, open_inside, NULL, err);
	struct rb_capture *capture;

	if (fd < 0)
		return rb_err_wrap(err, fd, "catch what the container's network hears");
	capture = calloc(1, sizeof(*capture));
	if (!capture) {
		close(fd);
		return rb_err_set(err, -ENOMEM, "catch what the container's network hears");
	}
	capture->fd = fd;
	rb_devices_of(netns_fd, &capture->devices, NULL);
	*ret = capture;
	return 0;
}

void rb_capture_close(struct rb_capture *capture)
{
	if (!capture)
		return;
	rb_close_fd(&capture->fd);
	free(capture);
}

int rb_capture_fd(const struct rb_capture *capture)
{
	return capture->fd;
}

/* One that came since; the socket is in its namespace. */
static void ask_device(const struct rb_capture *capture, uint32_t index, uint8_t *ret)
{
	struct ifreq request = { .ifr_ifindex = (int)index };

	if (index && ioctl(capture->fd, SIOCGIFNAME, &request) == 0 &&
	    ioctl(capture->fd, SIOCGIFHWADDR, &request) == 0)
		memcpy(ret, request.ifr_hwaddr.sa_data, ETH_ALEN);
}

/* The hardware address of the device whose index is the mark; zeros when that is not known. */
static void note_device(const struct rb_capture *capture, struct msghdr *message, uint8_t *ret)
{
	uint32_t mark = 0;

	for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head; head = CMSG_NXTHDR(message, head))
		if (head->cmsg_level == SOL_SOCKET && head->cmsg_type == SO_MARK)
			memcpy(&mark, CMSG_DATA(head), sizeof(mark));
	memset(ret, 0, ETH_ALEN);
	for (size_t i = 0; i < capture->devices.n; i++)
		if ((uint32_t)capture->devices.list[i].index == mark) {
			memcpy(ret, capture->devices.list[i].address, ETH_ALEN);
			return;
		}
	ask_device(capture, mark, ret);
}

/* Offload and frame, to their places in capture->block. Return: length of both, as recvmsg(2). */
static ssize_t receive(struct rb_capture *capture)
{
	uint8_t *offload = capture->block + 4, *frame = capture->block + RB_FRAME_RECORD;
	struct iovec parts[] = { { offload, sizeof(struct virtio_net_hdr) },
				 { frame, RB_FRAME_MAX_LEN } };
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(uint32_t))];
	} control;
	struct msghdr message = { .msg_iov = parts,
				  .msg_iovlen = ARRAY_SIZE(parts),
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(capture->fd, &message, MSG_TRUNC);

	if (n >= 0)
		note_device(capture, &message, frame - ETH_ALEN);
	return n;
}

/* one record into capture->block; Return: its length, 0 when there is none now */
static size_t read_record(struct rb_capture *capture)
{
	for (;;) {
		ssize_t n = receive(capture);
		size_t head = sizeof(struct virtio_net_hdr);
		size_t len = n < (ssize_t)head ? 0 : (size_t)n - head;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EINVAL)
			return 0;
		/* EINVAL: of a kind that struct virtio_net_hdr has no word for */
		if (n < 0 || len < RB_FRAME_MIN_LEN || len > RB_FRAME_MAX_LEN) {
			capture->lost++;
			continue;
		}
		for (int i = 0; i < 4; i++)
			capture->block[i] = (uint8_t)(len >> (24 - 8 * i));
		return RB_FRAME_RECORD + len;
	}
}

int rb_capture_drain(struct rb_capture *capture, bool unicast, struct rb_buf *ret)
{
	int count = 0;
	size_t len;

	/* not for ever, if more comes than we can take */
	for (int i = 0; i < DRAIN_MAX && (len = read_record(capture)) > 0; i++) {
		if (unicast && capture->block[RB_FRAME_RECORD] & 1)
			continue;
		if (ret->len + len > RB_FRAMES_MAX || rb_buf_add(ret, capture->block, len) < 0)
			capture->lost++;
		else
			count++;
	}
	return count;
}

unsigned int rb_capture_lost(struct rb_capture *capture)
{
	struct tpacket_stats stats = {};
	socklen_t size = sizeof(stats);
	unsigned int lost = capture->lost;

	if (getsockopt(capture->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &size) == 0)
		lost += stats.tp_drops;
	capture->lost = 0;
	return lost;
}
