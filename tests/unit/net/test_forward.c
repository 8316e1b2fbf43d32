// SPDX-License-Identifier: Apache-2.0
/*
 * test_forward.c - connections outlive the translation that they were made by
 *
 *   inside: b0 10.19.1.1/16 --- veth0, in br0 10.19.0.1/16    the container, and what the host
 * knows peer:   p9 10.7.0.3/24 --- out0 10.7.0.1/24 (host's)    the world beyond
 *
 * Docker's part is a table "docker" with what matters of its rules. That it forgets the container
 * is played by removing the table and all entries of connection tracking.
 */
#include "testnet.h"

#include <signal.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>

#include "conntrack.h"
#include "flow.h"
#include "forward.h"
#include "json.h"
#include "segment.h"
#include "way_back.h"

#define ID	"00112233445566aa"
#define BOX	"10.19.1.1"
#define SEG	"10.19.0.1"
#define HOST	"10.7.0.1"
#define PEER_IP "10.7.0.3"
#define PORT	8080
#define WAIT_MS 3000

static struct testnet net;
static struct rb_err err;

static int wire(void)
{
	int pid = getpid();

	return sh(net.host,
		  "set -e; ip link set lo up; ip link add br0 type bridge; ip link set br0 up\n"
		  "ip link add veth0 type veth peer name b0 netns /proc/%d/fd/%d\n"
		  "ip link add out0 type veth peer name p9 netns /proc/%d/fd/%d\n"
		  "ip link set veth0 master br0 up; ip link set out0 up\n"
		  "ip addr add " SEG "/16 dev br0; ip addr add " HOST "/24 dev out0\n"
		  "sysctl -qw net.ipv4.ip_forward=1",
		  pid, net.inside, pid, net.peer) < 0 ||
			       sh(net.inside,
				  "set -e; ip link set lo up; ip link set b0 up; ip addr add " BOX
				  "/16 dev b0; ip route add default via " SEG) < 0 ||
			       sh(net.peer, "set -e; ip link set lo up; ip link set p9 up; ip addr "
					    "add " PEER_IP "/24 dev p9") < 0
		       ? -EIO
		       : 0;
}

static int docker_rules(void)
{
	return sh(net.host,
		  "nft add table ip docker\n"
		  "nft 'add chain ip docker pre { type nat hook prerouting priority -100; }'\n"
		  "nft 'add chain ip docker out { type nat hook output priority -100; }'\n"
		  "nft 'add chain ip docker post { type nat hook postrouting priority 100; }'\n"
		  "nft add rule ip docker pre fib daddr type local tcp dport %d dnat to " BOX
		  ":80\n"
		  "nft add rule ip docker out ip daddr != 127.0.0.0/8 fib daddr type local tcp "
		  "dport %d dnat to " BOX ":80\n"
		  "nft add rule ip docker post ip saddr 10.19.0.0/16 oifname != br0 masquerade",
		  PORT, PORT);
}

/* Docker removes a container */
static void forget(void)
{
	struct nfct_handle *handle = nfct_open(CONNTRACK, 0);
	uint32_t family = AF_INET;

	sh(net.host, "nft delete table ip docker");
	if (!handle || nfct_query(handle, NFCT_Q_FLUSH, &family) < 0)
		printf("# flush: %s\n", strerror(errno));
	nfct_close(handle);
}

static int in(int netns_fd, int (*fn)(const char *, uint16_t), const char *ip, uint16_t port)
{
	int fd;

	go_to(netns_fd);
	fd = fn(ip, port);
	go_to(net.host);
	return fd;
}

static int listen_on(const char *ip, uint16_t port)
{
	(void)ip;
	return tcp_listen(port);
}

/* one connection: @at[0] is the side that made it */
struct pair {
	int at[2];
};

static struct pair join(int from, int to, const char *ip, uint16_t port, uint16_t listen_port)
{
	_cleanup_close_ int listener = in(to, listen_on, "", listen_port);
	struct pair pair = { { in(from, tcp_connect, ip, port), -EBADF } };

	if (pair.at[0] >= 0)
		pair.at[1] = accept(listener, NULL, NULL);
	return pair;
}

static bool talks(const struct pair *pair)
{
	for (int i = 0; i < 2; i++)
		if (send(pair->at[i], "hello", 6, MSG_NOSIGNAL) != 6 ||
		    !receives(pair->at[!i], "hello", WAIT_MS))
			return false;
	return true;
}

/* by a reset: nothing of it is sent again later, when the kernel would take it for something new */
static void hang_up(struct pair *pair)
{
	struct linger now = { .l_onoff = 1 };

	for (int i = 0; i < 2; i++)
		setsockopt(pair->at[i], SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	rb_close_fd(&pair->at[0]);
	rb_close_fd(&pair->at[1]);
}

static struct rb_conntrack *open_conntrack(void)
{
	struct rb_conntrack *ct = NULL;
	struct in_addr ip;

	inet_pton(AF_INET, BOX, &ip);
	if (rb_conntrack_open(&ip, 1, &ct, &err) < 0)
		printf("# %s\n", err.msg);
	return ct;
}

/* what is translated; packets of tests before may have left other entries */
static json_t *translated(struct rb_conntrack *ct)
{
	json_t *flows = json_array();

	if (!ct || rb_conntrack_flows(ct, flows, &err) < 0)
		printf("# %s\n", err.msg);
	for (size_t i = json_array_size(flows); i-- > 0;)
		if (!json_object_get(json_array_get(flows, i), "host"))
			json_array_remove(flows, i);
	return flows;
}

static json_t *tracked(void)
{
	struct rb_conntrack *ct = open_conntrack();
	json_t *flows = translated(ct);

	rb_conntrack_close(ct);
	return flows;
}

static json_t *ports(void)
{
	return json_pack("[{s:s, s:s, s:i, s:s, s:i}]", "proto", "tcp", "host_ip", "", "host_port",
			 PORT, "ip", BOX, "port", 80);
}

static void test_flow_json(void)
{
	static const char *const bad[] = {
		"{}",
		"{\"proto\":\"sctp\",\"peer\":\"1.2.3.4\",\"peer_port\":1,\"ip\":\"1.2.3.4\","
		"\"port\":1,"
		"\"mac\":\"02:00:00:00:00:01\"}",
		"{\"proto\":\"tcp\",\"peer\":\"1.2.3.4 "
		"}\",\"peer_port\":1,\"ip\":\"1.2.3.4\",\"port\":1,"
		"\"mac\":\"02:00:00:00:00:01\"}",
		"{\"proto\":\"tcp\",\"peer\":\"1.2.3.4\",\"peer_port\":70000,\"ip\":\"1.2.3.4\","
		"\"port\":1,"
		"\"mac\":\"02:00:00:00:00:01\"}",
		"{\"proto\":\"tcp\",\"peer\":\"1.2.3.4\",\"peer_port\":1,\"ip\":\"1.2.3.4\","
		"\"port\":1,"
		"\"mac\":\"; flush ruleset\"}",
		"{\"proto\":\"tcp\",\"peer\":\"1.2.3.4\",\"peer_port\":1,\"ip\":\"1.2.3.4\","
		"\"port\":1,"
		"\"host\":\"x\",\"mac\":\"02:00:00:00:00:01\"}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_json_ json_t *value = json_loads(bad[i], 0, NULL);
		struct rb_flow flow;

		CHECK(value != NULL);
		CHECK_INT(rb_flow_parse(value, &flow, &err), -EPROTO);
	}
}

static void test_published(void)
{
	struct pair pair;
	struct rb_flow flow;
	_cleanup_json_ json_t *flows = NULL, *live = NULL, *none = json_array();
	char key[RB_FLOW_KEY_SIZE];

	CHECK_INT(docker_rules(), 0);
	pair = join(net.peer, net.inside, HOST, PORT, 80);
	CHECK(talks(&pair));
	flows = tracked();
	CHECK_INT(json_array_size(flows), 1);
	CHECK_OK(rb_flow_parse(json_array_get(flows, 0), &flow, &err));
	CHECK_INT(flow.host_port, PORT);
	CHECK_INT(flow.port, 80);
	CHECK(strncmp(rb_flow_outer(&flow, " ", key), PEER_IP " ", strlen(PEER_IP) + 1) == 0);

	CHECK_OK(rb_forward_on(ID, none, flows, &err));
	forget();
	CHECK(talks(&pair));
	CHECK(talks(&pair));
	/* and made once more, as after a flush of ours */
	CHECK_OK(rb_forward_on(ID, none, flows, &err));
	CHECK(talks(&pair));
	CHECK_OK(rb_forward_flows(ID, flows, &live, &err));
	CHECK_INT(json_array_size(live), 1);
	/* nothing but these rules keeps it */
	CHECK_OK(rb_forward_off(ID, &err));
	CHECK_INT(rb_forward_flows(ID, flows, &live, NULL), -ENOENT);
	CHECK(!talks(&pair));
	hang_up(&pair);
}

/* Who listens does not ask for all connections again: he still knows one that the kernel forgot,
 * and hears of one that is new. */
static void test_listening(void)
{
	_cleanup_json_ json_t *first = NULL, *second = NULL, *fresh = NULL;
	struct rb_conntrack *ct;
	struct pair before, after;

	CHECK_INT(docker_rules(), 0);
	ct = open_conntrack();
	CHECK(ct != NULL);
	rb_conntrack_listen(ct);
	before = join(net.peer, net.inside, HOST, PORT, 80);
	CHECK(talks(&before));
	first = translated(ct);
	CHECK_INT(json_array_size(first), 1);
	hang_up(&before);
	forget();
	CHECK_INT(docker_rules(), 0);
	after = join(net.peer, net.inside, HOST, PORT, 80);
	CHECK(talks(&after));
	second = translated(ct);
	CHECK_INT(json_array_size(second), 2);
	CHECK(json_equal(json_array_get(second, 1), json_array_get(first, 0)));
	fresh = tracked();
	CHECK_INT(json_array_size(fresh), 1);
	CHECK(json_equal(json_array_get(second, 0), json_array_get(fresh, 0)));
	rb_conntrack_close(ct);
	hang_up(&after);
}

/* from the host itself, by its own address: its packets are translated on their way out and in */
static void test_from_the_host(void)
{
	_cleanup_json_ json_t *flows = NULL, *none = json_array();
	struct pair pair;

	CHECK_INT(docker_rules(), 0);
	pair = join(net.host, net.inside, HOST, PORT, 80);
	CHECK(talks(&pair));
	flows = tracked();
	CHECK_INT(json_array_size(flows), 1);
	CHECK_OK(rb_forward_on(ID, none, flows, &err));
	forget();
	CHECK(talks(&pair));
	CHECK_OK(rb_forward_off(ID, &err));
	hang_up(&pair);
}

/* what the container made to the world, with the host's address */
static void test_masqueraded(void)
{
	_cleanup_json_ json_t *flows = NULL, *none = json_array();
	struct pair pair;
	struct rb_flow flow;

	CHECK_INT(docker_rules(), 0);
	pair = join(net.inside, net.peer, PEER_IP, 7100, 7100);
	CHECK(talks(&pair));
	flows = tracked();
	CHECK_INT(json_array_size(flows), 1);
	CHECK_OK(rb_flow_parse(json_array_get(flows, 0), &flow, &err));
	CHECK_INT(flow.peer_port, 7100);
	CHECK_INT(flow.translated, true);
	CHECK_OK(rb_forward_on(ID, none, flows, &err));
	forget();
	CHECK(talks(&pair));
	CHECK_OK(rb_forward_off(ID, &err));
	hang_up(&pair);
}

/* A client whose port was in use before gets a new connection, not the old one's rules. */
static void test_same_numbers(void)
{
	struct sockaddr_in from = addr4(PEER_IP, 5555);
	_cleanup_json_ json_t *flows = NULL, *live = NULL, *list = ports();
	_cleanup_close_ int listener = in(net.inside, listen_on, "", 80);
	struct sockaddr_in to = addr4(HOST, PORT), seen = {};
	struct pair pair = { { -EBADF, -EBADF } };
	socklen_t len = sizeof(seen);

	flows = json_pack("[{s:s, s:s, s:i, s:s, s:i, s:s, s:i, s:s}]", "proto", "tcp", "peer",
			  PEER_IP, "peer_port", 5555, "host", HOST, "host_port", PORT, "ip", BOX,
			  "port", 80, "mac", "02:00:00:00:00:01");
	CHECK_OK(rb_forward_on(ID, list, flows, &err));
	go_to(net.peer);
	pair.at[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK_INT(bind(pair.at[0], (struct sockaddr *)&from, sizeof(from)), 0);
	CHECK_INT(connect(pair.at[0], (struct sockaddr *)&to, sizeof(to)), 0);
	go_to(net.host);
	pair.at[1] = accept(listener, (struct sockaddr *)&seen, &len);
	CHECK(talks(&pair));
	/* it came by the rules for new ones */
	CHECK_STR(inet_ntoa(seen.sin_addr), SEG);
	CHECK_OK(rb_forward_flows(ID, flows, &live, &err));
	CHECK_INT(json_array_size(live), 0);
	CHECK_OK(rb_forward_off(ID, &err));
	hang_up(&pair);
}

static void test_new(void)
{
	_cleanup_json_ json_t *list = ports(), *none = json_array(), *flows = NULL;
	struct pair pair;

	CHECK_OK(rb_forward_on(ID, list, none, &err));
	pair = join(net.peer, net.inside, HOST, PORT, 80);
	CHECK(talks(&pair));
	/* it finds its way by itself */
	flows = tracked();
	CHECK_INT(json_array_size(flows), 0);
	hang_up(&pair);
	pair = join(net.host, net.inside, HOST, PORT, 80);
	CHECK(talks(&pair));
	hang_up(&pair);
	CHECK_OK(rb_forward_off(ID, &err));
	pair = join(net.peer, net.inside, HOST, PORT, 80);
	CHECK_INT(pair.at[0], -ECONNREFUSED);
	CHECK_INT(rb_forward_on("no/id", list, none, &err), -EINVAL);
	CHECK_INT(rb_forward_off(ID, &err), 0);
}

/* The container's answers carry another hardware address than that of its gateway. */
static void test_way_back(void)
{
	_cleanup_json_ json_t *flows = NULL, *live = NULL;
	_cleanup_close_ int fd = -EBADF;
	uint8_t frame[64] = {};
	int seen;

	flows = json_pack("[{s:s, s:s, s:i, s:s, s:i, s:s}]", "proto", "udp", "peer", PEER_IP,
			  "peer_port", 9, "ip", BOX, "port", 4444, "mac", "02:00:00:00:00:99");
	CHECK_INT(sh(net.host,
		     "ip link add lan0 type veth peer name l0 netns /proc/%d/fd/%d && ip "
		     "link set lan0 master br0 up",
		     (int)getpid(), net.peer),
		  0);
	CHECK_INT(sh(net.peer, "ip link set l0 up"), 0);
	CHECK_OK(rb_way_back_on(ID, flows, &err));
	go_to(net.peer);
	fd = sniff("l0");
	CHECK_INT(sh(net.inside, "bash -c 'exec 3<>/dev/udp/10.19.0.1/1; echo >&3' ; true"), 0);
	drain(fd);
	go_to(net.inside);
	{
		struct sockaddr_in own = addr4(BOX, 4444), to = addr4(PEER_IP, 9);
		_cleanup_close_ int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

		CHECK_INT(bind(udp, (struct sockaddr *)&own, sizeof(own)), 0);
		CHECK_INT(sendto(udp, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)), 1);
	}
	go_to(net.host);
	seen = frames_seen(fd, WAIT_MS, SAW_UDP, frame, sizeof(frame));
	CHECK(seen & SAW_UDP);
	CHECK_INT(frame[5], 0x99);
	CHECK_OK(rb_way_back_flows(ID, flows, &live, &err));
	CHECK_INT(json_array_size(live), 1);
	CHECK_OK(rb_way_back_off(ID, &err));
	CHECK_OK(rb_way_back_off(ID, &err));
	CHECK_INT(rb_way_back_flows(ID, flows, &live, NULL), -ENOENT);
}

/* The rule goes behind those of the user, and before the RETURN that ends the chain. */
static void test_let_pass(void)
{
	CHECK_INT(rb_forward_let_pass(ID, BOX, &err), -ENOENT);
	CHECK_INT(sh(net.host, "iptables -N DOCKER-USER && iptables -A DOCKER-USER -s 10.66.0.0/16 "
			       "-j DROP && iptables -A DOCKER-USER -j RETURN"),
		  0);
	CHECK_OK(rb_forward_let_pass(ID, BOX, &err));
	CHECK_OK(rb_forward_let_pass(ID, BOX, &err));
	CHECK_INT(sh(net.host,
		     "iptables -S DOCKER-USER | tr '\\n' '~' | grep -q -- '-j "
		     "DROP~-A DOCKER-USER -d 10.19.1.1/32[^~]*-j ACCEPT~-A DOCKER-USER -j "
		     "RETURN~$'"),
		  0);
	CHECK_OK(rb_forward_let_pass_off(ID, &err));
	CHECK_OK(rb_forward_let_pass_off(ID, &err));
	CHECK_INT(sh(net.host, "test $(iptables -S DOCKER-USER | wc -l) = 3"), 0);
	CHECK_INT(rb_forward_let_pass(ID, "; rm", &err), -EPROTO);
}

static void test_many(void)
{
	_cleanup_json_ json_t *flows = json_array(), *live = NULL, *none = json_array();
	int64_t began_ms;

	for (int i = 0; i < 1000; i++)
		json_array_append_new(flows,
				      json_pack("{s:s, s:s, s:i, s:s, s:i, s:s, s:i, s:s}", "proto",
						"tcp", "peer", PEER_IP, "peer_port", 2000 + i,
						"host", HOST, "host_port", PORT, "ip", BOX, "port",
						80, "mac", "02:00:00:00:00:99"));
	began_ms = rb_now_ms();
	CHECK_OK(rb_way_back_on(ID, flows, &err));
	printf("# ways back of 1000 connections: %d ms\n", (int)(rb_now_ms() - began_ms));
	began_ms = rb_now_ms();
	CHECK_OK(rb_forward_on(ID, none, flows, &err));
	printf("# translation of 1000 connections: %d ms\n", (int)(rb_now_ms() - began_ms));
	CHECK_OK(rb_forward_flows(ID, flows, &live, &err));
	CHECK_INT(json_array_size(live), 1000);
	CHECK_OK(rb_forward_off(ID, &err));
	CHECK_OK(rb_way_back_off(ID, &err));
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	if (geteuid() != 0 || testnet_up(&net) < 0 || wire() < 0) {
		printf("1..0 # SKIP needs root, iproute2, bridges and network namespaces\n");
		return 0;
	}
	NET_RUN(net, test_flow_json);
	NET_RUN(net, test_published);
	NET_RUN(net, test_listening);
	NET_RUN(net, test_from_the_host);
	NET_RUN(net, test_masqueraded);
	NET_RUN(net, test_same_numbers);
	NET_RUN(net, test_new);
	NET_RUN(net, test_way_back);
	NET_RUN(net, test_let_pass);
	NET_RUN(net, test_many);
	testnet_down(&net);
	return tap_done();
}
