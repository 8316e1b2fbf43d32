// SPDX-License-Identifier: Apache-2.0
/*
 * test_readdress.c - old addresses lent and taken back, connections from them reset
 */
#include "testnet.h"

#include <jansson.h>

#include "json.h"
#include "readdress.h"

#define OLD	"10.99.0.5"
#define OLD6	"fd99::5"
#define FAR	"192.0.2.1"
#define PORT	7001
#define WAIT_MS 3000

static struct testnet net;
static struct rb_err err;

/* can a socket of the inside be bound to @from and get a route to a host that is far away? */
static int speaks_from(const char *from)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in local = addr4(from, 0), far = addr4(FAR, 9);

	if (bind(fd, (struct sockaddr *)&local, sizeof(local)) < 0 ||
	    connect(fd, (struct sockaddr *)&far, sizeof(far)) < 0)
		return -errno;
	return 0;
}

static void addresses_are_lent_and_taken_back(void)
{
	_cleanup_json_ json_t *old = json_pack("[s, s, s]", OLD, OLD6, INSIDE);

	go_to(net.inside);
	CHECK_INT(speaks_from(OLD), -EADDRNOTAVAIL);
	CHECK_INT(speaks_from(INSIDE), -ENETUNREACH);
	/* twice: a restore that failed is followed by another */
	for (int i = 0; i < 2; i++)
		CHECK_OK(rb_addresses_lend(net.inside, old, &err));
	CHECK_INT(speaks_from(OLD), 0);
	CHECK_INT(speaks_from(INSIDE), 0);
	CHECK_INT(sh(net.inside, "ip -6 addr show lo | grep -q ' " OLD6 "/128 '"), 0);
	CHECK_INT(sh(net.inside, "ip -6 route get 2001:db8::1 from " OLD6 " >/dev/null"), 0);
	/* one that is there already stays where it is */
	CHECK_INT(sh(net.inside, "! ip addr show lo | grep -q ' " INSIDE "/'"), 0);
	for (int i = 0; i < 2; i++)
		CHECK_OK(rb_addresses_return(net.inside, old, &err));
	CHECK_INT(speaks_from(OLD), -EADDRNOTAVAIL);
	CHECK_INT(speaks_from(INSIDE), -ENETUNREACH);
	CHECK_INT(sh(net.inside, "! ip addr show lo | grep -q -e " OLD " -e " OLD6), 0);
	CHECK_INT(sh(net.inside, "ip addr show c0 | grep -q ' " INSIDE "/'"), 0);
	CHECK_INT(sh(net.inside, "! { ip route; ip -6 route; } | grep -q default"), 0);
}

/* a connection to the peer, and one over loopback */
struct pairs {
	int listener, local_listener;
	int out, out_peer;
	int local, local_peer;
};

static bool open_pairs(struct pairs *p)
{
	go_to(net.peer);
	p->listener = tcp_listen(PORT);
	go_to(net.inside);
	p->local_listener = tcp_listen(PORT);
	p->out = tcp_connect(PEER, PORT);
	p->local = tcp_connect("127.0.0.1", PORT);
	p->out_peer = accept(p->listener, NULL, NULL);
	p->local_peer = accept(p->local_listener, NULL, NULL);
	return p->out >= 0 && p->out_peer >= 0 && p->local >= 0 && p->local_peer >= 0;
}

static void close_pairs(struct pairs *p)
{
	int *fds[] = { &p->listener, &p->local_listener, &p->out,
		       &p->out_peer, &p->local,		 &p->local_peer };

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		rb_close_fd(fds[i]);
}

/* what read(2) says, once there is something to be said; ETIMEDOUT when that does not come */
static int read_error(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	char byte;
	ssize_t n;

	if (poll(&pfd, 1, WAIT_MS) != 1)
		return ETIMEDOUT;
	n = recv(fd, &byte, 1, MSG_DONTWAIT);
	return n < 0 ? errno : 0;
}

static void connections_from_the_address_are_reset(void)
{
	_cleanup_json_ json_t *old = json_pack("[s, s]", INSIDE6, INSIDE);
	struct pairs p;
	int again;

	CHECK_INT(open_pairs(&p), true);
	CHECK_INT(rb_tcp_reset((int)getpid(), old, &err), 1);
	CHECK_INT(read_error(p.out), ECONNRESET);
	CHECK_INT(read_error(p.out_peer), ECONNRESET);
	/* but not those over loopback, nor who listens */
	CHECK_INT(send(p.local, "hello", 5, 0), 5);
	CHECK_INT(receives(p.local_peer, "hello", WAIT_MS), true);
	again = tcp_connect(INSIDE, PORT);
	CHECK_INT(again >= 0, true);
	rb_close_fd(&again);
	CHECK_INT(rb_tcp_reset((int)getpid(), old, &err), 0);
	close_pairs(&p);
}

/* as restored by CRIU: in repair mode, where a reset would be told as ECONNABORTED */
static void also_in_repair_mode(void)
{
	_cleanup_json_ json_t *old = json_pack("[s]", INSIDE);
	int on = 1, value = -1;
	socklen_t len = sizeof(value);
	struct pairs p;

	CHECK_INT(open_pairs(&p), true);
	CHECK_INT(setsockopt(p.out, IPPROTO_TCP, 19 /* TCP_REPAIR */, &on, sizeof(on)), 0);
	CHECK_INT(rb_tcp_reset((int)getpid(), old, &err), 1);
	CHECK_INT(read_error(p.out), ECONNRESET);
	CHECK_INT(getsockopt(p.out, IPPROTO_TCP, 19, &value, &len), 0);
	CHECK_INT(value, 0);
	close_pairs(&p);
}

static void a_farewell_is_a_reset_at_the_end(void)
{
	_cleanup_json_ json_t *old = json_pack("[s]", INSIDE);
	struct pairs p;

	CHECK_INT(open_pairs(&p), true);
	CHECK_INT(rb_tcp_farewell((int)getpid(), old, &err), 1);
	/* nothing yet: a roll-back would be possible */
	CHECK_INT(send(p.out, "hello", 5, 0), 5);
	CHECK_INT(receives(p.out_peer, "hello", WAIT_MS), true);
	rb_close_fd(&p.out);
	rb_close_fd(&p.local);
	CHECK_INT(read_error(p.out_peer), ECONNRESET);
	CHECK_INT(read_error(p.local_peer), 0);
	close_pairs(&p);
}

int main(void)
{
	if (testnet_up(&net) < 0) {
		printf("Bail out! no test network\n");
		return 1;
	}
	NET_RUN(net, addresses_are_lent_and_taken_back);
	NET_RUN(net, connections_from_the_address_are_reset);
	NET_RUN(net, also_in_repair_mode);
	NET_RUN(net, a_farewell_is_a_reset_at_the_end);
	testnet_down(&net);
	return tap_done();
}
