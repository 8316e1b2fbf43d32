// SPDX-License-Identifier: Apache-2.0
/*
 * witness.c - asks seqd all the time, and tells from the answers whether it ran in one place only
 *
 * usage: witness [-t] [-c] [-R] [-B] [-i interval ms] [-l log] [-s seconds] ADDRESS PORT
 *   ADDRESS  of IPv4, or of IPv6, also link-local: fe80::1%eth0
 *   -t  TCP, one request after the other's answer (default: UDP, a request each interval)
 *   -c  with -t: connect again after a reset (default: a reset is a failure)
 *   -R  restarts are allowed      -B  so are returns to a checkpoint
 *
 * Each request has a number of its own and is sent once. Until SIGTERM or so many seconds; then a
 * summary as JSON, and exit status 1 if anything was wrong. One log line per answer:
 * <ms since start> <request> <counter> <nonce> <host> <hardware address> <age in ms> <verdict>
 * The hardware address is the neighbour table's (IPv4 only), looked up once a second; a container
 * keeps it when it moves, so the host is told apart by what seqd reads from its file.
 */
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "victim.h"
#include "witness.h"

#define HOSTS_MAX    32
#define LAST_MS	     500 /* for answers still on their way at the end */
#define RECONNECT_MS 100

static struct {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} to;
	socklen_t to_len;
	const char *address;
	bool tcp, reconnect;
	long interval_ms;
	FILE *log;
	int fd; /* -1: none, TCP only */
	uint64_t next_id;
	bool waiting; /* TCP: for an answer */
	int64_t start_ms, mac_ms;
	char mac[24];
	char hosts[HOSTS_MAX][64]; /* in the order of appearance, a return counts again */
	int host_count;
	uint64_t refused, resets;
	char line[512]; /* TCP: what came in so far */
	size_t line_len;
} witness = { .interval_ms = 10, .fd = -1, .next_id = 1, .mac = "-" };

static struct judge judge;

static void look_up_mac(int64_t now_ms)
{
	char line[256], ip[64], mac[24];
	FILE *arp;

	if (now_ms < witness.mac_ms + 1000 && witness.mac_ms)
		return;
	witness.mac_ms = now_ms;
	arp = fopen("/proc/net/arp", "re");
	while (arp && fgets(line, sizeof(line), arp))
		if (sscanf(line, "%63s %*s %*s %23s", ip, mac) == 2 &&
		    strcmp(ip, witness.address) == 0)
			strcpy(witness.mac, mac);
	if (arp)
		fclose(arp);
}

static void note_host(const char *host)
{
	int last = witness.host_count - 1;

	if ((last >= 0 && strcmp(witness.hosts[last], host) == 0) || last == HOSTS_MAX - 1)
		return;
	strcpy(witness.hosts[witness.host_count++], host);
}

static void take_answer(const char *line)
{
	unsigned long long id, counter, nonce;
	int64_t now_ms = victim_now_ms(), age_ms;
	enum judge_verdict verdict;
	char host[64];

	if (sscanf(line, "%llu %llu %llx %63s", &id, &counter, &nonce, host) != 4) {
		fprintf(stderr, "not an answer: %s\n", line);
		return;
	}
	verdict = judge_answer(&judge, id, counter, nonce, now_ms, &age_ms);
	if (id + 1 == witness.next_id)
		witness.waiting = false;
	note_host(host);
	look_up_mac(now_ms);
	if (verdict == JUDGE_REPEAT || verdict == JUDGE_STEP_BACK || verdict == JUDGE_OLD_COPY)
		fprintf(stderr, "%s: request %llu counter %llu nonce %016llx host %s\n",
			judge_name(verdict), id, counter, nonce, host);
	if (witness.log)
		fprintf(witness.log, "%lld %llu %llu %016llx %s %s %lld %s\n",
			(long long)(now_ms - witness.start_ms), id, counter, nonce, host,
			witness.mac, (long long)age_ms, judge_name(verdict));
}

static int open_socket(void)
{
	int fd = socket(witness.to.any.sa_family,
			(witness.tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
	int on = 1;

	if (connect(fd, &witness.to.any, witness.to_len) < 0) {
		perror("connect");
		close(fd);
		return -1;
	}
	if (witness.tcp)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static void connection_lost(const char *why)
{
	fprintf(stderr, "connection lost: %s\n", why);
	witness.resets++;
	witness.line_len = 0;
	witness.waiting = false;
	close(witness.fd);
	witness.fd = -1;
	if (!witness.reconnect)
		victim_stop = 1;
}

/* UDP: an ICMP error for an earlier datagram ends a send without effect; it is tried at the next
 * interval */
static void send_request(void)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "%llu\n", (unsigned long long)witness.next_id);

	judge_send(&judge, witness.next_id++, victim_now_ms());
	if (send(witness.fd, text, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT) == len) {
		witness.waiting = true;
		return;
	}
	if (witness.tcp)
		connection_lost(strerror(errno));
	else
		witness.refused++;
}

static void receive_tcp(void)
{
	ssize_t n = recv(witness.fd, witness.line + witness.line_len,
			 sizeof(witness.line) - 1 - witness.line_len, 0);
	char *end;

	if (n <= 0) {
		connection_lost(n ? strerror(errno) : "closed by the peer");
		return;
	}
	witness.line_len += (size_t)n;
	witness.line[witness.line_len] = '\0';
	while ((end = strchr(witness.line, '\n'))) {
		*end = '\0';
		take_answer(witness.line);
		witness.line_len -= (size_t)(end + 1 - witness.line);
		memmove(witness.line, end + 1, witness.line_len + 1);
	}
}

static void receive_udp(void)
{
	char line[512];
	ssize_t n = recv(witness.fd, line, sizeof(line) - 1, 0);

	if (n < 0) {
		witness.refused++;
		return;
	}
	line[n] = '\0';
	take_answer(line);
}

/* take what comes until @until_ms */
static void receive_until(int64_t until_ms)
{
	for (;;) {
		struct pollfd pfd = { .fd = witness.fd, .events = POLLIN };
		int64_t left_ms = until_ms - victim_now_ms();

		if (poll(&pfd, 1, left_ms > 0 ? (int)left_ms : 0) <= 0)
			return;
		if (witness.tcp)
			receive_tcp();
		else
			receive_udp();
		if (witness.fd < 0)
			return;
	}
}

static void run(long seconds)
{
	int64_t next_ms = victim_now_ms();

	witness.start_ms = next_ms;
	while (!victim_stop && (!seconds || victim_now_ms() < witness.start_ms + seconds * 1000)) {
		if (witness.fd < 0)
			witness.fd = open_socket();
		if (witness.fd < 0 && !witness.reconnect)
			return;
		if (witness.fd < 0) {
			victim_sleep_us(RECONNECT_MS * 1000);
			continue;
		}
		if (!witness.tcp || !witness.waiting)
			send_request();
		next_ms += witness.interval_ms;
		if (next_ms < victim_now_ms())
			next_ms = victim_now_ms();
		if (witness.fd >= 0)
			receive_until(next_ms);
	}
}

static int summary(void)
{
	int64_t end_gap_ms = victim_now_ms() - LAST_MS - judge.heard_ms;

	if (end_gap_ms > judge.longest_gap_ms)
		judge.longest_gap_ms = end_gap_ms;
	printf("{\"requests\": %llu, \"answers\": %llu, \"late\": %llu, \"doubles\": %llu, "
	       "\"overtaken\": %llu, \"nonces\": %d, \"restarts\": %llu, \"rollbacks\": %llu, "
	       "\"repeats\": %llu, "
	       "\"steps_back\": %llu, \"old_copies\": %llu, \"resets\": %llu, \"refused\": %llu, "
	       "\"longest_gap_ms\": %lld, \"hosts\": [",
	       (unsigned long long)judge.sent, (unsigned long long)judge.answers,
	       (unsigned long long)judge.late, (unsigned long long)judge.doubles,
	       (unsigned long long)judge.overtaken, judge.life_count,
	       (unsigned long long)judge.restarts, (unsigned long long)judge.rollbacks,
	       (unsigned long long)judge.repeats, (unsigned long long)judge.steps_back,
	       (unsigned long long)judge.old_copies, (unsigned long long)witness.resets,
	       (unsigned long long)witness.refused, (long long)judge.longest_gap_ms);
	for (int i = 0; i < witness.host_count; i++)
		printf("%s\"%s\"", i ? ", " : "", witness.hosts[i]);
	printf("]}\n");
	return judge_guilty(&judge) || (witness.resets && !witness.reconnect);
}

/* Sets witness.to. Not by getaddrinfo(3), which is not for static programs. */
static bool read_address(const char *text, uint16_t port)
{
	char plain[INET6_ADDRSTRLEN] = "";
	size_t len = strcspn(text, "%");

	if (inet_pton(AF_INET, text, &witness.to.v4.sin_addr) == 1) {
		witness.to.v4.sin_family = AF_INET;
		witness.to.v4.sin_port = htons(port);
		witness.to_len = sizeof(witness.to.v4);
		return true;
	}
	if (len >= sizeof(plain))
		return false;
	memcpy(plain, text, len);
	witness.to.v6.sin6_family = AF_INET6;
	witness.to.v6.sin6_port = htons(port);
	witness.to.v6.sin6_scope_id = text[len] ? if_nametoindex(text + len + 1) : 0;
	witness.to_len = sizeof(witness.to.v6);
	return inet_pton(AF_INET6, plain, &witness.to.v6.sin6_addr) == 1;
}

int main(int argc, char **argv)
{
	long seconds = 0;
	int option;

	while ((option = getopt(argc, argv, "tcRBi:l:s:")) > 0) {
		if (option == 't')
			witness.tcp = true;
		else if (option == 'c')
			witness.reconnect = true;
		else if (option == 'R')
			judge.allow_restart = true;
		else if (option == 'B')
			judge.allow_rollback = true;
		else if (option == 'i')
			witness.interval_ms = victim_number(optarg, "interval", 1, 60000);
		else if (option == 's')
			seconds = victim_number(optarg, "seconds", 0, 86400);
		else if (option != 'l' || !(witness.log = fopen(optarg, "we")))
			return 2;
	}
	if (argc - optind != 2 ||
	    !read_address(argv[optind],
			  (uint16_t)victim_number(argv[optind + 1], "port", 1, 65535))) {
		fprintf(stderr, "usage: %s [-tcRB] [-i ms] [-l log] [-s seconds] ADDRESS PORT\n",
			argv[0]);
		return 2;
	}
	witness.address = argv[optind];
	victim_catch_stop();
	run(seconds);
	if (witness.fd >= 0)
		receive_until(victim_now_ms() + LAST_MS);
	return summary();
}
