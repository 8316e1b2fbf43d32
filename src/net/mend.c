// SPDX-License-Identifier: Apache-2.0
/*
 * mend.c - undo what a CRIU that was killed left in a network namespace and in its sockets
 *
 * What CRIU 4.1 and 4.2 may leave (criu/net.c: network_lock_internal(); criu/netfilter.c):
 *
 *   --network-lock nftables   table `inet CRIU-<run id>`
 *   --network-lock iptables   in table `filter` of ip and ip6: chain `CRIU`, first rule of INPUT
 *                             and OUTPUT `-j CRIU`. With the nft variant of iptables (Debian) these
 *                             are plain nftables objects; with the legacy variant they are not
 *   any                       TCP_REPAIR switched on on the sockets
 *
 * The nftables objects go in one transaction each, without the iptables programs. The legacy
 * variant needs its program, which is started only if the namespace has a legacy filter table:
 * looking at one creates it. The rules for single connections (`-m mark ! --mark 0xc114 ...`) are
 * CRIU's way when the tasks share CRIU's own network namespace; such containers do not move.
 */
#include "net.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <netinet/tcp.h>

#include "cleanup.h"
#include "err.h"
#include "fds.h"
#include "io.h"
#include "nft.h"
#include "proc.h"
#include "wait.h"

#define CHAIN		    "CRIU"
#define TABLE_PREFIX	    "table inet CRIU-"
#define JUMP		    " jump " CHAIN " # handle "
#define JUMPS_MAX	    8
#define IPTABLES_TIMEOUT_MS 10000

/* "table inet CRIU-xyz" lines become "delete" commands */
static int add_table_deletions(const char *tables, struct rb_buf *cmd)
{
	int r = 0;

	for (const char *at = tables; at && r == 0; at = strchr(at, '\n')) {
		const char *name;
		size_t len;

		at += *at == '\n';
		if (strncmp(at, TABLE_PREFIX, strlen(TABLE_PREFIX)) != 0)
			continue;
		name = at + strlen("table inet ");
		len = strcspn(name, "\n");
		if (rb_nft_word_ok(name, len))
			r = rb_buf_addf(cmd, "delete table inet %.*s\n", (int)len, name);
	}
	return r;
}

/* rules that jump to CRIU's chain; nft prints "counter packets 0 bytes 0 jump CRIU # handle 3" */
static int add_jump_deletions(const char *family, const char *chain, struct rb_buf *cmd)
{
	_cleanup_buf_ struct rb_buf listing = {};
	char list[64];
	int r;

	snprintf(list, sizeof(list), "list chain %s filter %s", family, chain);
	r = rb_nft_list_handles(list, &listing, NULL);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	for (const char *at = listing.data; at && (at = strstr(at, JUMP)); at++) {
		unsigned long handle = strtoul(at + strlen(JUMP), NULL, 10);

		r = rb_buf_addf(cmd, "delete rule %s filter %s handle %lu\n", family, chain,
				handle);
		if (r < 0)
			return r;
	}
	return 0;
}

static int add_chain_deletions(const char *family, struct rb_buf *cmd)
{
	char list[64];
	int r;

	snprintf(list, sizeof(list), "list chain %s filter " CHAIN, family);
	r = rb_nft_run(list, NULL, NULL);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = add_jump_deletions(family, "INPUT", cmd);
	if (r == 0)
		r = add_jump_deletions(family, "OUTPUT", cmd);
	if (r == 0)
		r = rb_buf_addf(cmd,
				"flush chain %s filter " CHAIN "\n"
				"delete chain %s filter " CHAIN "\n",
				family, family);
	return r;
}

static int mend_nftables(void *arg, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf tables = {}, cmd = {};
	int r = rb_nft_run("list tables", &tables, err);

	(void)arg;
	if (r == 0 && add_table_deletions(tables.data, &cmd) < 0)
		r = rb_err_set(err, -ENOMEM, "write nftables commands");
	if (r == 0 && tables.data && strstr(tables.data, "table ip filter\n"))
		r = add_chain_deletions("ip", &cmd);
	if (r == 0 && tables.data && strstr(tables.data, "table ip6 filter\n"))
		r = add_chain_deletions("ip6", &cmd);
	if (r < 0)
		return rb_err_wrap(err, r, "look for CRIU's firewall rules");
	r = cmd.len ? rb_nft_run(cmd.data, NULL, err) : 0;
	return r < 0 ? rb_err_wrap(err, r, "remove CRIU's firewall rules") : 0;
}

/* Return: bit 0 for ip, bit 1 for ip6: is there a legacy `filter` table? */
static int find_legacy(void *arg, struct rb_err *err)
{
	static const char *const lists[] = { "/proc/thread-self/net/ip_tables_names",
					     "/proc/thread-self/net/ip6_tables_names" };
	int found = 0;

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		_cleanup_buf_ struct rb_buf text = {};
		int r = rb_read_file(lists[i], 4096, &text, err);

		if (r < 0 && r != -ENOENT)
			return r;
		if (r == 0 && strstr(text.data, "filter\n"))
			found |= 1 << i;
	}
	return found;
}

static int run_iptables(int netns_fd, const char *program, const char *verb, const char *chain,
			const char *target, struct rb_err *err)
{
	struct rb_wait wait = { .cancel_fd = -EBADF,
				.deadline_ms = rb_now_ms() + IPTABLES_TIMEOUT_MS };
	const char *argv[] = { program, "-w", verb, chain, target ? "-j" : NULL, target, NULL };
	struct rb_spawn spec = { .argv = argv, .netns_fd = netns_fd, .die_with_us = true };

	return rb_run(&spec, &wait, NULL, err);
}

/* -S fails when the chain is absent: then there is nothing to mend */
static int mend_legacy(int netns_fd, const char *program, const char *fallback, struct rb_err *err)
{
	static const char *const hooks[] = { "INPUT", "OUTPUT" };
	int r = run_iptables(netns_fd, program, "-S", CHAIN, NULL, NULL);

	/* where there is but one variant, its name has no ending */
	if (r == -ENOENT) {
		program = fallback;
		r = run_iptables(netns_fd, program, "-S", CHAIN, NULL, NULL);
	}
	if (r < 0)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++)
		for (int n = 0; n < JUMPS_MAX; n++)
			if (run_iptables(netns_fd, program, "-D", hooks[i], CHAIN, NULL) < 0)
				break;
	r = run_iptables(netns_fd, program, "-F", CHAIN, NULL, err);
	if (r == 0)
		r = run_iptables(netns_fd, program, "-X", CHAIN, NULL, err);
	return r < 0 ? rb_err_wrap(err, r, "remove CRIU's firewall rules") : 0;
}

int rb_net_mend(int netns_fd, struct rb_err *err)
{
	int legacy, r = rb_netns_fork(netns_fd, mend_nftables, NULL, err);

	if (r < 0)
		return r;
	legacy = rb_netns_run(netns_fd, find_legacy, NULL, err);
	if (legacy < 0)
		return rb_err_wrap(err, legacy, "look for CRIU's firewall rules");
	if (legacy & 1)
		r = mend_legacy(netns_fd, "iptables-legacy", "iptables", err);
	if (r == 0 && legacy & 2)
		r = mend_legacy(netns_fd, "ip6tables-legacy", "ip6tables", err);
	return r;
}

/* an open TCP socket that is in repair mode? */
static bool in_repair(int fd)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return rb_is_tcp(fd) && getsockopt(fd, SOL_TCP, TCP_REPAIR, &value, &len) == 0 &&
	       value == 1;
}

/*
 * Without a window probe, which TCP_REPAIR_OFF would send at once. The probe is for sockets that
 * were built anew and know nothing of their peer's window. These never lost their state: their
 * timers run on and resend what the silence swallowed. And this is called while the container still
 * stands behind the silence; on a mistake, no frame gets out.
 *
 * Repair mode has overwritten SO_REUSEADDR and its end clears it. What it was cannot be known; set,
 * as nearly all servers have it, it only permits: unset, a server that is started again could not
 * bind its port while old connections exist.
 */
static int leave_repair(int fd, struct rb_err *err)
{
	int off = TCP_REPAIR_OFF_NO_WP, on = 1;

	if (setsockopt(fd, SOL_TCP, TCP_REPAIR, &off, sizeof(off)) < 0)
		return rb_err_set(err, -errno, "end TCP repair mode");
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return rb_err_set(err, -errno, "set SO_REUSEADDR");
	return 0;
}

/* Return: 1 when it was mended, 0 when it need not be */
static int mend_socket(int fd, int number, void *arg, struct rb_err *err)
{
	int r;

	(void)number;
	(void)arg;
	if (!in_repair(fd))
		return 0;
	r = leave_repair(fd, err);
	return r < 0 ? r : 1;
}

int rb_tcp_repair_off(int pid, struct rb_err *err)
{
	int r = rb_each_socket(pid, mend_socket, NULL, err);

	return r < 0 ? rb_err_wrap(err, r, "mend the sockets of process %d", pid) : r;
}
