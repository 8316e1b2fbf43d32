// SPDX-License-Identifier: Apache-2.0
/* test_capture.c - what arrives behind the shut gate is caught, each frame once, and heard later */
#include <sys/wait.h>

#include "frames.h"
#include "json.h"
#include "testnet.h"

#define PORT 7777
#define MANY 2000
#define BIG  (256 * 1024)

static struct testnet net;
static struct rb_err err;

/* a UDP socket in the namespace `inside` with room for all that a test sends */
static int listen_udp(void)
{
	struct sockaddr_in any = addr4("0.0.0.0", PORT);
	int bytes = 8 << 20, fd;

	go_to(net.inside);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	if (bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0)
		printf("# bind: %s\n", strerror(errno));
	go_to(net.host);
	return fd;
}

static int inject(const void *data, size_t len, struct rb_err *e)
{
	struct rb_injector *injector = NULL;
	int r = rb_injector_open(net.inside, &injector, e);

	if (r >= 0)
		r = rb_inject(injector, data, len, e);
	rb_injector_close(injector);
	return r;
}

static int open_peer(int type)
{
	struct sockaddr_in to = addr4(INSIDE, PORT);
	int fd;

	go_to(net.peer);
	fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		printf("# connect: %s\n", strerror(errno));
	go_to(net.host);
	return fd;
}

/* numbers that came, in their order? */
static int next_number(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	uint32_t number;

	poll(&pfd, 1, 100); /* a busy kernel delivers later */
	return recv(fd, &number, sizeof(number), 0) == sizeof(number) ? (int)number : -1;
}

static void send_numbers(int fd, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++)
		if (send(fd, &i, sizeof(i), 0) < 0)
			printf("# send: %s\n", strerror(errno));
}

/* Frames that are caught until @want of them are numbers, or nothing more comes; the peer's kernel
 * may say something of its own at any time. Return: how many numbers. */
static int catch_numbers(struct rb_capture *capture, int want, struct rb_buf *ret)
{
	struct pollfd pfd = { .fd = rb_capture_fd(capture), .events = POLLIN };
	struct rb_frame_view view;
	size_t at = ret->len;
	int n = 0;

	do {
		if (rb_capture_drain(capture, false, ret) < 0)
			return -1;
		while (rb_frames_next(ret->data, ret->len, &at, &view) == 1)
			n += kind_of(view.frame, (ssize_t)view.len) == SAW_UDP;
	} while (n < want && poll(&pfd, 1, 1000) > 0);
	return n;
}

/* how many of a kind came in */
static int frames_counted(int fd, int kind)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	uint8_t frame[2048];
	int n = 0;

	while (poll(&pfd, 1, 100) > 0) {
		ssize_t len = recv(fd, frame, sizeof(frame), 0);

		n += len > 0 && kind_of(frame, len) == kind;
	}
	return n;
}

static void test_caught_and_heard(void)
{
	_cleanup_close_ int server = listen_udp(), client = open_peer(SOCK_DGRAM);
	_cleanup_buf_ struct rb_buf caught = {}, again = {};
	struct rb_capture *capture = NULL;
	int i = 0, n;

	send_numbers(client, 0, 10);
	CHECK_OK(rb_capture_open(net.inside, &capture, &err));
	send_numbers(client, 10, 20);
	for (; (n = next_number(server)) >= 0; i++)
		CHECK_INT(n, i);
	CHECK_INT(i, 20);
	CHECK_OK(rb_silence_hearing(net.inside, &err));
	send_numbers(client, 20, 30);
	CHECK_INT(catch_numbers(capture, 10, &caught), 10);
	CHECK_INT(catch_numbers(capture, 0, &again), 0);
	CHECK_INT((int)rb_capture_lost(capture), 0);
	CHECK_INT(next_number(server), -1);

	/* through the shut gate, and nothing is caught again */
	go_to(net.peer); /* where the other end of the cable is */
	CHECK(inject(caught.data, caught.len, &err) >= 10);
	go_to(net.host);
	for (; (n = next_number(server)) >= 0; i++)
		CHECK_INT(n, i);
	CHECK_INT(i, 30);
	CHECK_INT(catch_numbers(capture, 0, &again), 0);
	rb_capture_close(capture);
	CHECK_OK(rb_silence_off(net.inside, &err));
}

/* while a stream of datagrams flows, the gate is shut: no number is lost, none is there twice */
static void test_each_frame_once(void)
{
	_cleanup_close_ int server = listen_udp(), client = open_peer(SOCK_DGRAM);
	_cleanup_buf_ struct rb_buf caught = {};
	struct rb_capture *capture = NULL;
	int heard = 0, n;
	pid_t pid;

	CHECK_OK(rb_capture_open(net.inside, &capture, &err));
	pid = fork();
	if (pid == 0) {
		for (uint32_t i = 0; i < MANY; i++) {
			send_numbers(client, i, i + 1);
			if (i % 8 == 0)
				rb_wait_ms(1, NULL, NULL);
		}
		_exit(0);
	}
	rb_wait_ms(20, NULL, NULL);
	CHECK_OK(rb_silence_hearing(net.inside, &err));
	waitpid(pid, NULL, 0);
	CHECK(rb_capture_drain(capture, false, &caught) > 0);
	go_to(net.peer);
	CHECK(inject(caught.data, caught.len, &err) > 0);
	go_to(net.host);
	CHECK_OK(rb_silence_lift(net.inside, &err));
	while ((n = next_number(server)) >= 0) {
		CHECK_INT(n, heard);
		heard = n + 1;
	}
	CHECK_INT(heard, MANY);
	rb_capture_close(capture);
	CHECK_OK(rb_silence_off(net.inside, &err));
}

static int tcp_pair(int *ret_server, int *ret_client)
{
	struct sockaddr_in any = addr4("0.0.0.0", PORT);
	_cleanup_close_ int fd = -EBADF;

	go_to(net.inside);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
	if (bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0 || listen(fd, 1) < 0)
		return -errno;
	*ret_client = open_peer(SOCK_STREAM);
	*ret_server = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	return *ret_server < 0 ? -errno : 0;
}

static size_t read_for(int fd, int ms)
{
	int64_t end = rb_now_ms() + ms;
	char block[4096];
	size_t sum = 0;

	while (rb_now_ms() < end) {
		ssize_t n = recv(fd, block, sizeof(block), 0);

		if (n > 0)
			sum += (size_t)n;
		else
			rb_wait_ms(1, NULL, NULL);
	}
	return sum;
}

/* Segments larger than any frame, without checksums, as they are between containers of one host.
 * They are heard before the sender's timer would have them sent again. */
static void test_unsegmented(void)
{
	static char data[BIG];
	_cleanup_close_ int server = -EBADF, client = -EBADF;
	_cleanup_buf_ struct rb_buf caught = {};
	struct rb_capture *capture = NULL;
	struct rb_frame_view view;
	size_t at = 0, largest = 0;

	CHECK_INT(tcp_pair(&server, &client), 0);
	CHECK_OK(rb_capture_open(net.inside, &capture, &err));
	CHECK_OK(rb_silence_hearing(net.inside, &err));
	CHECK(send(client, data, sizeof(data), MSG_DONTWAIT) > 4096);
	CHECK_INT((int)read_for(server, 20), 0);
	CHECK(rb_capture_drain(capture, false, &caught) > 0);
	while (rb_frames_next(caught.data, caught.len, &at, &view) == 1)
		largest = view.len > largest ? view.len : largest;
	CHECK(largest > 1514);
	CHECK_OK(rb_silence_speak(net.inside, &err));
	go_to(net.peer);
	CHECK(inject(caught.data, caught.len, &err) > 0);
	go_to(net.host);
	CHECK(read_for(server, 50) > 4096);
	rb_capture_close(capture);
	CHECK_OK(rb_silence_off(net.inside, &err));
}

/* what is said before the second half of the silence is heard by others */
static void test_speaks_until_it_is_silenced(void)
{
	_cleanup_close_ int server = -EBADF, client = -EBADF;

	CHECK_INT(tcp_pair(&server, &client), 0);
	CHECK_OK(rb_silence_hearing(net.inside, &err));
	CHECK_INT(rb_silence_is_on(net.inside, &err), 0);
	CHECK_INT((int)send(server, "last words", 10, 0), 10);
	CHECK_INT((int)recv(client, (char[10]){}, 10, 0), 10);
	CHECK_OK(rb_silence_on(net.inside, &err));
	CHECK_INT(rb_silence_is_on(net.inside, &err), 1);
	CHECK_INT((int)send(server, "too late", 8, 0), 8);
	fcntl(client, F_SETFL, O_NONBLOCK);
	CHECK_INT((int)read_for(client, 30), 0);
	CHECK_OK(rb_silence_off(net.inside, &err));
}

/* the answer to a question that was asked behind the shut gate passes it, too, when it is injected
 */
static void test_neighbours(void)
{
	_cleanup_buf_ struct rb_buf caught = {};
	struct rb_capture *capture = NULL;
	struct sockaddr_in to = addr4(PEER, 9);
	_cleanup_close_ int fd = -EBADF;

	CHECK_OK(rb_capture_open(net.inside, &capture, &err));
	CHECK_OK(rb_silence_hearing(net.inside, &err));
	CHECK_INT(sh(net.inside, "ip neigh flush dev c0"), 0);
	go_to(net.inside);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK_INT((int)sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)), 1);
	go_to(net.host);
	rb_wait_ms(20, NULL, NULL);
	CHECK(rb_capture_drain(capture, false, &caught) > 0);
	CHECK(sh(net.inside, "ip neigh show " PEER " | grep -q lladdr") < 0);
	go_to(net.peer);
	CHECK(inject(caught.data, caught.len, &err) > 0);
	go_to(net.host);
	rb_wait_ms(20, NULL, NULL);
	CHECK_INT(sh(net.inside, "ip neigh show " PEER " | grep -q lladdr"), 0);
	rb_capture_close(capture);
	CHECK_OK(rb_silence_off(net.inside, &err));
}

/* lo's own frames are not caught, and work */
static void test_loopback_is_not_caught(void)
{
	static const uint8_t nobody[6];
	_cleanup_buf_ struct rb_buf caught = {};
	struct rb_capture *capture = NULL;
	struct rb_frame_view view;
	size_t at = 0;

	CHECK_OK(rb_capture_open(net.inside, &capture, &err));
	CHECK_OK(rb_silence_hearing(net.inside, &err));
	CHECK_INT(sh(net.inside, "python3 -c 'import socket as s; a = s.socket(2, 2); "
				 "a.bind((\"127.0.0.1\", 5)); a.settimeout(2); "
				 "s.socket(2, 2).sendto(b\"x\", (\"127.0.0.1\", 5)); a.recv(1)'"),
		  0);
	/* the peer may say something of its own at any time */
	CHECK(rb_capture_drain(capture, false, &caught) >= 0);
	while (rb_frames_next(caught.data, caught.len, &at, &view) == 1)
		CHECK(memcmp(view.frame, nobody, sizeof(nobody)) != 0);
	rb_capture_close(capture);
	CHECK_OK(rb_silence_off(net.inside, &err));
}

/* The format itself: who changes it breaks moves between versions. */
static void test_golden(void)
{
	static const uint8_t golden[] = {
		0,    0,    0,	  15,				       /* length */
		1,    0,    0,	  0,	0,    0,    34, 0, 6, 0,       /* offload */
		0x02, 0x42, 0x0a, 0x58, 0x01, 0x02,		       /* device */
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,	0, 0, 0, 0, 1, /* frame */
		0x08, 0x06, 0x99,
	};
	struct rb_frame_view view;
	size_t at = 0;

	CHECK_INT(rb_frames_next(golden, sizeof(golden), &at, &view), 1);
	CHECK_INT((int)at, (int)sizeof(golden));
	CHECK_INT((int)view.len, 15);
	CHECK_INT(view.offload[0], 1);
	CHECK_INT(view.offload[6], 34);
	CHECK_INT(view.device[0], 0x02);
	CHECK_INT(view.device[5], 0x02);
	CHECK_INT(view.frame[0], 0xff);
	CHECK_INT(view.frame[14], 0x99);
}

/* Each device of two has its own broadcasts back, also those that look alike.
 * @later: one of them came when all was prepared */
static void two_devices(bool later)
{
	_cleanup_buf_ struct rb_buf caught = {};
	struct rb_capture *capture = NULL;
	struct rb_frame_view view;
	int c0, d0, broadcasts = 0;
	size_t at = 0;

	if (!later)
		CHECK_INT(add_cable(&net, "d0", "q0"), 0);
	CHECK_OK(rb_capture_open(net.inside, &capture, &err));
	CHECK_OK(rb_silence_prepare(net.inside, &err));
	if (later)
		CHECK_INT(add_cable(&net, "d0", "q0"), 0);
	CHECK_OK(rb_silence_hearing(net.inside, &err));
	go_to(net.peer);
	send_raw("q0");
	send_raw("p0");
	send_raw("q0");
	for (int i = 0; i < 100 && broadcasts < 3; i++) {
		rb_wait_ms(10, NULL, NULL);
		CHECK(rb_capture_drain(capture, false, &caught) >= 0);
		while (rb_frames_next(caught.data, caught.len, &at, &view) == 1)
			broadcasts += kind_of(view.frame, (ssize_t)view.len) == SAW_OTHER;
	}
	CHECK_INT(broadcasts, 3);
	go_to(net.inside);
	c0 = sniff("c0");
	d0 = sniff("d0");
	go_to(net.peer);
	drain(c0);
	drain(d0);
	CHECK(inject(caught.data, caught.len, &err) >= 3);
	CHECK_INT(frames_counted(d0, SAW_OTHER), 2);
	CHECK_INT(frames_counted(c0, SAW_OTHER), 1);
	go_to(net.host);
	rb_capture_close(capture);
	close(c0);
	close(d0);
	CHECK_OK(rb_silence_off(net.inside, &err));
	CHECK_INT(sh(net.inside, "ip link del d0"), 0);
}

static void test_many_devices(void)
{
	two_devices(false);
}

static void test_a_device_that_comes_later(void)
{
	two_devices(true);
}

/* what the host has put there, and nothing that is only inside */
static void test_cables(void)
{
	_cleanup_json_ json_t *before = NULL, *more = NULL, *again = NULL;

	go_to(net.peer); /* where the cables' other ends are */
	CHECK_OK(rb_cables_of(net.inside, &before, &err));
	CHECK_INT(json_array_size(before), 1);
	CHECK_INT(sh(net.inside, "ip link add own0 type veth peer name own1"), 0);
	CHECK_OK(rb_cables_of(net.inside, &again, &err));
	CHECK(json_equal(before, again));
	json_decref(TAKE_PTR(again));
	CHECK_INT(add_cable(&net, "d0", "q0"), 0);
	CHECK_OK(rb_cables_of(net.inside, &more, &err));
	CHECK_INT(json_array_size(more), 2);
	CHECK_INT(sh(net.inside, "ip link del d0"), 0);
	CHECK_OK(rb_cables_of(net.inside, &again, &err));
	CHECK(json_equal(before, again));
	json_decref(TAKE_PTR(again));
	/* another one of the same name */
	CHECK_INT(add_cable(&net, "d0", "q0"), 0);
	CHECK_OK(rb_cables_of(net.inside, &again, &err));
	CHECK(!json_equal(more, again));
	CHECK_INT(sh(net.inside, "ip link del d0 && ip link del own0"), 0);
	go_to(net.host);
}

static void test_malformed(void)
{
	static const uint8_t good[RB_FRAME_RECORD + 14] = { 0, 0, 0, 14 };
	struct rb_frame_view view;
	uint8_t bad[sizeof(good)];
	size_t at = 0;

	CHECK_INT(rb_frames_next(good, sizeof(good), &at, &view), 1);
	CHECK_INT((int)view.len, 14);
	CHECK(view.offload == good + 4 && view.frame == good + RB_FRAME_RECORD);
	CHECK_INT((int)at, (int)sizeof(good));
	CHECK_INT(rb_frames_next(good, sizeof(good), &at, &view), 0);
	for (size_t len = 1; len < sizeof(good); len++) {
		at = 0;
		CHECK_INT(rb_frames_next(good, len, &at, &view), -EAGAIN);
	}
	for (int i = 0; i < 4; i++) {
		memcpy(bad, good, sizeof(bad));
		bad[i] = i == 3 ? 13 : 255;
		at = 0;
		CHECK_INT(rb_frames_next(bad, sizeof(bad), &at, &view), i == 2 ? -EAGAIN : -EPROTO);
	}
	go_to(net.peer);
	CHECK_INT(inject(bad, sizeof(bad), &err), -EPROTO);
	/* for nobody here: left out */
	CHECK_INT(inject(good, sizeof(good), &err), 0);
	go_to(net.host);
}

static void test_waiting_datagrams(void)
{
	_cleanup_close_ int server = listen_udp(), client = open_peer(SOCK_DGRAM);
	unsigned long before, full;

	go_to(net.inside); /* whose tables are ours now */
	before = rb_udp_waiting((int)getpid());
	send_numbers(client, 0, 5);
	rb_wait_ms(5, NULL, NULL);
	full = rb_udp_waiting((int)getpid());
	while (next_number(server) >= 0)
		;
	CHECK_INT((int)before, 0);
	CHECK(full >= 5 * sizeof(uint32_t));
	CHECK_INT((int)rb_udp_waiting((int)getpid()), 0);
	go_to(net.host);
	CHECK_INT((int)rb_udp_waiting(INT_MAX), 0);
}

static void put_frame(struct rb_buf *frames, uint8_t fill)
{
	uint8_t record[RB_FRAME_RECORD + 20] = { 0, 0, 0, 20 };

	memset(record + RB_FRAME_RECORD, fill, 20);
	CHECK_INT(rb_buf_add(frames, record, sizeof(record)), 0);
}

/* what was heard at two places is there once, as often as it was said */
static void test_subtract(void)
{
	static const char here[] = "abcabbd", there[] = "bbbe", left[] = "acad";
	_cleanup_buf_ struct rb_buf mine = {}, others = {};
	struct rb_frame_view view;
	size_t at = 0, i = 0;

	CHECK_INT(rb_frames_subtract(&mine, &others), 0);
	for (const char *c = here; *c; c++)
		put_frame(&mine, (uint8_t)*c);
	CHECK_INT(rb_frames_subtract(&mine, &others), 0);
	for (const char *c = there; *c; c++)
		put_frame(&others, (uint8_t)*c);
	CHECK_INT(rb_frames_subtract(&mine, &others), 3);
	while (rb_frames_next(mine.data, mine.len, &at, &view) == 1)
		CHECK_INT(view.frame[7], left[i++]);
	CHECK_INT((int)i, 4);
}

int main(void)
{
	if (geteuid() != 0 || testnet_up(&net) < 0) {
		printf("1..0 # SKIP needs root, iproute2 and network namespaces\n");
		return 0;
	}
	NET_RUN(net, test_caught_and_heard);
	NET_RUN(net, test_each_frame_once);
	NET_RUN(net, test_unsegmented);
	NET_RUN(net, test_speaks_until_it_is_silenced);
	NET_RUN(net, test_neighbours);
	NET_RUN(net, test_loopback_is_not_caught);
	NET_RUN(net, test_golden);
	NET_RUN(net, test_many_devices);
	NET_RUN(net, test_a_device_that_comes_later);
	NET_RUN(net, test_cables);
	NET_RUN(net, test_malformed);
	NET_RUN(net, test_subtract);
	NET_RUN(net, test_waiting_datagrams);
	testnet_down(&net);
	return tap_done();
}
