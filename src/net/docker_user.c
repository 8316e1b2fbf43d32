// SPDX-License-Identifier: Apache-2.0
/*
 * docker_user.c - one rule in Docker's firewall for what a host forwards
 *
 * Docker drops what is forwarded to its networks and not meant for one of its containers. An
 * accepting chain of our own would not help: every chain of a hook has to accept. DOCKER-USER is
 * there for such rules, and Docker leaves it as it is, over restarts too. The rule goes behind
 * those of the host's user, who may have put limits there, and before the final RETURN that older
 * versions of Docker end the chain with. It is made by the program that Docker makes its own by, so
 * that both speak to the same variant of iptables.
 */
#include "forward.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "nft.h"
#include "proc.h"
#include "wait.h"

#define CHAIN	   "DOCKER-USER"
#define TIMEOUT_MS 10000

static int iptables(const char *const *argv, struct rb_buf *ret_out, struct rb_err *err)
{
	struct rb_wait wait = rb_wait_within(NULL, TIMEOUT_MS);
	const struct rb_spawn spec = { .argv = argv };

	return rb_run(&spec, &wait, ret_out, err);
}

static int list(struct rb_buf *ret)
{
	static const char *const argv[] = { "iptables", "-w", "5", "-S", CHAIN, NULL };

	return iptables(argv, ret, NULL) < 0 ? -ENOENT : 0;
}

static int comment_of(const char *id, char *ret, size_t size, struct rb_err *err)
{
	snprintf(ret, size, "reberth_fwd_%s", id);
	return rb_nft_word_ok(ret, strlen(ret))
		       ? 0
		       : rb_err_code(err, RB_E_USAGE, -EINVAL, "'%.40s' cannot name a rule", id);
}

/* Number of the rule (from 1 on) that has @comment, or 0; @ret_place: where a new one belongs. */
static int find(const char *listing, const char *comment, int *ret_place)
{
	int number = 0, found = 0, place = 1;

	for (const char *line = listing; line && *line;) {
		const char *end = strchrnul(line, '\n');
		size_t len = (size_t)(end - line);

		if (strncmp(line, "-A ", 3) == 0) {
			number++;
			if (memmem(line, len, comment, strlen(comment)))
				found = number;
			if (len != strlen("-A " CHAIN " -j RETURN") ||
			    strncmp(line, "-A " CHAIN " -j RETURN", len) != 0)
				place = number + 1;
		}
		line = *end ? end + 1 : end;
	}
	if (ret_place)
		*ret_place = place;
	return found;
}

int rb_forward_let_pass(const char *id, const char *ip, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf listing = {};
	char comment[64], number[16];
	struct in_addr address;
	int place, r = comment_of(id, comment, sizeof(comment), err);
	const char *argv[] = { "iptables", "-w",	"5",	     "-I",
			       CHAIN,	   number,	"-d",	     ip,
			       "-m",	   "conntrack", "--ctstate", "DNAT,UNTRACKED",
			       "-m",	   "comment",	"--comment", comment,
			       "-j",	   "ACCEPT",	NULL };

	if (r < 0)
		return r;
	if (inet_pton(AF_INET, ip, &address) != 1)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "'%.40s' is no address", ip);
	r = list(&listing);
	if (r < 0 || find(listing.data, comment, &place))
		return r;
	snprintf(number, sizeof(number), "%d", place);
	r = iptables(argv, NULL, err);
	return r < 0 ? rb_err_wrap(err, r, "let connections through Docker's firewall") : 0;
}

int rb_forward_let_pass_off(const char *id, struct rb_err *err)
{
	char comment[64], number[16];
	const char *argv[] = { "iptables", "-w", "5", "-D", CHAIN, number, NULL };
	int at, r = comment_of(id, comment, sizeof(comment), err);

	while (r >= 0) {
		_cleanup_buf_ struct rb_buf listing = {};

		if (list(&listing) < 0)
			return 0;
		at = find(listing.data, comment, NULL);
		if (!at)
			return 0;
		snprintf(number, sizeof(number), "%d", at);
		r = iptables(argv, NULL, err);
	}
	return r;
}
