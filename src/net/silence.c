// SPDX-License-Identifier: Apache-2.0
/*
 * silence.c - nothing leaves or enters a container's network namespace
 *
 * Three tables of the name `reberth`, in the namespace itself:
 *
 *   netdev  ingress and egress of every device but lo that exists now: all of layer 2
 *   inet    prerouting and output of all other devices, that is of those that appear later
 *   arp     input and output
 *
 * Each hook jumps to the chain `gate_in` or `gate_out` of its table, whose FIRST rule decides:
 * `drop` is silence, `accept` or nothing lets pass. What a device hears behind a shut gate is not
 * lost: `fwd to "lo"` hands it to whoever captures there (capture.c), each frame exactly once, and
 * a hook on lo's ingress keeps it from going any further. Frames of lo's own have no addresses. The
 * mark says which device it was.
 * What is injected (inject.c) bears a mark and passes the shut gate, so that nothing new overtakes
 * it.
 *
 * The source shuts `gate_in` before it freezes the tasks and `gate_out` after: what they still say
 * is part of what they did, and their peers need not wait for it to be sent again.
 *
 * The gates are turned by inserting a rule at their head, never by
 * deleting one: a transaction that deletes anything makes close(2) of its netlink socket wait for
 * an RCU grace period (8 to 16 ms), and both turns happen while somebody waits for the container.
 *
 * Devices with a netdev chain are members of the set `covered` and pass the inet hooks. A drop at
 * the inet output hook shows in the program as sendto() = EPERM, a drop at netdev egress is like a
 * full queue, which UDP and TCP keep to themselves: between silence and freeze the container still
 * runs, and must see nothing but a network that loses packets.
 *
 * What must always hold: a rebuild (a device is new) never opens a shut gate, as the old chains
 * drop until the new ones replace them all at once; lo's own frames are never touched, as programs
 * inside and CRIU need it.
 *
 * Time: 2.3 ms to silence two devices, 3.0 for 16; lift 1.5, is_on 0.8; off 7 to 20, see above
 * (kernel 6.18, libnftables 1.0.6, two processors; fork included). Of this 0.5 ms are fork and the
 * start of libnftables, so building the tables ahead of time with an open gate saved 0.3 ms only.
 *
 * Where the kernel has no netdev egress (before 5.16) or no netdev family, the inet and arp tables
 * take every device, with netdev ingress if that can be had. What the kernel itself sends (TCP of
 * dying sockets, ARP, neighbour discovery, ICMP) is still silent then; sends through packet sockets
 * are not, and UDP senders see EPERM until they are frozen.
 *
 * Not stopped here, but by the freeze that follows: packet sockets with PACKET_QDISC_BYPASS and
 * AF_XDP, which go around the hooks; frames that wait in a queueing discipline already.
 */
#include "net.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "nft.h"

#define TABLE	     "reberth"
#define PRIORITY     "-500"
#define CRIU_MARK    "0xC114" /* SOCCR_MARK of its soccr/soccr.h */
#define TRIES_MAX    4
#define BUILD_LEVELS 4

#define CAPTURE "fwd to \"lo\""
/* on which device: capture.c reads it from the mark, which nobody else sees */
#define NOTE_DEVICE "meta mark set meta iif map @numbers"
/* what inject.c puts into frames: a priority tag, which the kernel takes off again */
#define INJECTED_PASS "vlan id 0 vlan pcp 5 vlan dei 1 accept"

/* what the kernel may offer, best first; without LEVEL_CAPTURE what is heard is lost */
enum level { LEVEL_CAPTURE, LEVEL_LAYER2, LEVEL_NO_EGRESS, LEVEL_LAYER3 };

enum { IN = 1, OUT = 2, LOOPBACK = 4 }; /* gates */

static const char *const families[] = { "netdev", "inet", "arp" };

static const struct {
	unsigned int gate;
	const char *chain;
} gates[] = { { IN, "chain gate_in {" },
	      { OUT, "chain gate_out {" },
	      { LOOPBACK, "chain lo_gate {" } };

/* what is there now; the inet table stands for all three, as they come and go together */
struct state {
	bool present;
	unsigned int shut;     /* gates */
	struct rb_buf covered; /* members of the set as nft prints them, quoted names mostly */
};

static void free_state(struct state *state)
{
	rb_buf_free(&state->covered);
}

static void free_nameindex(struct if_nameindex **list)
{
	if (*list)
		if_freenameindex(*list);
}

/* Can a netdev chain be made for it? Devices with names that nft's language cannot express are left
 * to the inet and arp tables. */
static bool is_coverable(const struct if_nameindex *dev)
{
	return strcmp(dev->if_name, "lo") != 0 &&
	       rb_nft_word_ok(dev->if_name, strlen(dev->if_name));
}

/* nft prints "chain gate_in {" and then the rules, one a line */
static bool gate_is_shut(const char *listing, const char *chain)
{
	const char *at = strstr(listing, chain);

	if (!at)
		return false;
	at += strlen(chain);
	at += strspn(at, " \t\n");
	return strncmp(at, "drop", 4) == 0;
}

static int read_covered(const char *listing, struct state *state)
{
	const char *at = strstr(listing, "elements = {");
	size_t len;

	if (!at)
		return 0;
	at += strlen("elements = {");
	len = strcspn(at, "}");
	return rb_buf_add(&state->covered, at, len);
}

static int read_state(struct state *ret, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf listing = {};
	int r = rb_nft_run("list table inet " TABLE, &listing, err);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	ret->present = true;
	for (size_t i = 0; listing.data && i < ARRAY_SIZE(gates); i++)
		if (gate_is_shut(listing.data, gates[i].chain))
			ret->shut |= gates[i].gate;
	if (listing.data && read_covered(listing.data, ret) < 0)
		return rb_err_set(err, -ENOMEM, "examine the silence");
	return 0;
}

/* commands that delete those of our tables that are there, whatever state they are in */
static int deletion_commands(struct rb_buf *ret, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf tables = {};
	int r = rb_nft_run("list tables", &tables, err);

	for (size_t i = 0; r == 0 && tables.data && i < ARRAY_SIZE(families); i++) {
		char line[64];

		snprintf(line, sizeof(line), "table %s " TABLE "\n", families[i]);
		if (strstr(tables.data, line) && rb_buf_addf(ret, "delete %s", line) < 0)
			r = rb_err_set(err, -ENOMEM, "write nftables commands");
	}
	return r;
}

/*
 * Are the covered devices exactly those that exist? The set holds interface indices; a device that
 * went away shows as a number.
 */
static bool is_complete(const struct state *state, const struct if_nameindex *devs)
{
	size_t members = 0, found = 0;

	if (!state->present)
		return false;
	for (const char *at = state->covered.data; at && *at; at += strcspn(at, ",")) {
		at += strspn(at, ", \t\n");
		members += *at != '\0';
	}
	for (; devs->if_index; devs++) {
		char quoted[IF_NAMESIZE + 3];

		if (!is_coverable(devs) && strcmp(devs->if_name, "lo") != 0)
			continue;
		snprintf(quoted, sizeof(quoted), "\"%s\"", devs->if_name);
		if (!state->covered.data || !strstr(state->covered.data, quoted))
			return false;
		found++;
	}
	return members == found;
}

static const char *verdict_of(unsigned int shut, unsigned int gate)
{
	return shut & gate ? "drop" : "accept";
}

/* a number from the index: the two are of different types to nft */
static int add_device_map(struct rb_buf *cmd, const struct if_nameindex *devs)
{
	int r = rb_buf_addf(cmd, " map numbers { type iface_index : mark; elements = { \"lo\" : 0");

	for (; devs->if_index; devs++)
		if (is_coverable(devs))
			r |= rb_buf_addf(cmd, ", \"%s\" : %u", devs->if_name, devs->if_index);
	return r | rb_buf_addf(cmd, " }; }\n");
}

static int add_netdev_table(struct rb_buf *cmd, const struct if_nameindex *devs, unsigned int shut,
			    enum level level)
{
	const char *in = verdict_of(shut, IN);
	int r;

	if (level == LEVEL_CAPTURE && shut & IN)
		in = INJECTED_PASS "; " NOTE_DEVICE "; " CAPTURE;
	r = rb_buf_addf(cmd, "table netdev " TABLE " {\n");
	if (level == LEVEL_CAPTURE)
		r |= add_device_map(cmd, devs);
	r |= rb_buf_addf(cmd, " chain gate_in { %s; }\n chain gate_out { %s; }\n", in,
			 verdict_of(shut, OUT));
	if (level == LEVEL_CAPTURE)
		r |= rb_buf_addf(cmd, " chain in_lo { type filter hook ingress device \"lo\" "
				      "priority " PRIORITY "; @ll,0,48 != 0 drop; }\n");
	for (; devs->if_index; devs++) {
		if (!is_coverable(devs))
			continue;
		r |= rb_buf_addf(
			cmd,
			" chain in_%s { type filter hook ingress device \"%s\" priority " PRIORITY
			"; jump gate_in; }\n",
			devs->if_name, devs->if_name);
		if (level <= LEVEL_LAYER2)
			r |= rb_buf_addf(cmd,
					 " chain out_%s { type filter hook egress device \"%s\" "
					 "priority " PRIORITY "; jump gate_out; }\n",
					 devs->if_name, devs->if_name);
	}
	return r | rb_buf_addf(cmd, "}\n");
}

/* the devices that the netdev table takes care of */
static int add_covered(struct rb_buf *cmd, const struct if_nameindex *devs, enum level level)
{
	int r = rb_buf_addf(cmd, " set covered { type iface_index; elements = { \"lo\"");

	for (; level <= LEVEL_LAYER2 && devs->if_index; devs++)
		if (is_coverable(devs))
			r |= rb_buf_addf(cmd, ", \"%s\"", devs->if_name);
	return r | rb_buf_addf(cmd, " }; }\n");
}

static int add_upper_tables(struct rb_buf *cmd, const struct if_nameindex *devs, unsigned int shut,
			    enum level level)
{
	const char *in = verdict_of(shut, IN), *out = verdict_of(shut, OUT);
	int r = rb_buf_addf(cmd, "table inet " TABLE " {\n");

	r |= add_covered(cmd, devs, level);
	r |= rb_buf_addf(cmd,
			 " chain gate_in { %s; }\n chain gate_out { %s; }\n"
			 " chain lo_gate { %s; }\n"
			 " chain pre { type filter hook prerouting priority " PRIORITY ";\n"
			 "  iif @covered accept\n  jump gate_in\n }\n"
			 " chain out { type filter hook output priority " PRIORITY ";\n"
			 "  oif \"lo\" meta mark != " CRIU_MARK " jump lo_gate\n"
			 "  oif @covered accept\n  jump gate_out\n }\n"
			 " chain in { type filter hook input priority " PRIORITY ";\n"
			 "  iif \"lo\" meta mark != " CRIU_MARK " jump lo_gate\n }\n"
			 "}\n"
			 "table arp " TABLE " {\n",
			 in, out, verdict_of(shut, LOOPBACK));
	r |= add_covered(cmd, devs, level);
	return r | rb_buf_addf(cmd,
			       " chain gate_in { %s; }\n chain gate_out { %s; }\n"
			       " chain in { type filter hook input priority " PRIORITY ";\n"
			       "  iif @covered accept\n  jump gate_in\n }\n"
			       " chain out { type filter hook output priority " PRIORITY
			       "; jump gate_out; }\n}\n",
			       in, out);
}

/* one transaction that replaces what is there; -ENOENT: no such device, or no `fwd` */
static int build(const struct if_nameindex *devs, unsigned int shut, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf deletion = {};
	int r = deletion_commands(&deletion, err);

	if (r < 0)
		return r;
	r = -EOPNOTSUPP;
	for (int level = 0; level < BUILD_LEVELS && (r == -EOPNOTSUPP || r == -EAFNOSUPPORT ||
						     (r == -ENOENT && level == LEVEL_CAPTURE + 1));
	     level++) {
		_cleanup_buf_ struct rb_buf cmd = {};

		/* a lost line would be a hole: `|` keeps the failure of any of them */
		r = rb_buf_addf(&cmd, "%s", deletion.len ? deletion.data : "");
		if (level != LEVEL_LAYER3)
			r |= add_netdev_table(&cmd, devs, shut, (enum level)level);
		r |= add_upper_tables(&cmd, devs, shut, (enum level)level);
		if (r < 0)
			return rb_err_set(err, -ENOMEM, "write nftables commands");
		r = rb_nft_run(cmd.data, NULL, err);
	}
	return r;
}

/* @which: gates; @shut: or open them. Each rule goes to the head of its chain. */
static int turn_gates(unsigned int which, bool shut, enum level level, struct rb_err *err)
{
	const char *verdict = shut ? "drop" : "accept";
	bool capture = shut && level == LEVEL_CAPTURE;
	_cleanup_buf_ struct rb_buf cmd = {};
	int r = 0;

	if (which & IN)
		r |= rb_buf_addf(&cmd,
				 "insert rule netdev " TABLE " gate_in %s\n%s"
				 "insert rule inet " TABLE " gate_in %s\n"
				 "insert rule arp " TABLE " gate_in %s\n",
				 capture ? CAPTURE : verdict,
				 capture ? "insert rule netdev " TABLE " gate_in " NOTE_DEVICE "\n"
					   "insert rule netdev " TABLE " gate_in " INJECTED_PASS
					   "\n"
					 : "",
				 verdict, verdict);
	if (which & OUT)
		r |= rb_buf_addf(&cmd,
				 "insert rule netdev " TABLE " gate_out %s\n"
				 "insert rule inet " TABLE " gate_out %s\n"
				 "insert rule arp " TABLE " gate_out %s\n",
				 verdict, verdict, verdict);
	if (which & LOOPBACK)
		r |= rb_buf_addf(&cmd, "insert rule inet " TABLE " lo_gate %s\n", verdict);
	if (r < 0)
		return rb_err_set(err, -ENOMEM, "write nftables commands");
	return rb_nft_run(cmd.data, NULL, err);
}

static int shut_gates(unsigned int which, struct rb_err *err)
{
	int r = turn_gates(which, true, LEVEL_CAPTURE, err);

	return r < 0 && which & IN ? turn_gates(which, true, LEVEL_LAYER2, err) : r;
}

/* -ENOENT: a device went away meanwhile */
static int install_once(unsigned int which, struct rb_err *err)
{
	_cleanup_(free_state) struct state state = {};
	_cleanup_(free_nameindex) struct if_nameindex *devs = if_nameindex();
	int r;

	if (!devs)
		return rb_err_set(err, -errno, "list network devices");
	r = read_state(&state, err);
	if (r < 0)
		return r;
	if (is_complete(&state, devs)) {
		which &= ~state.shut;
		r = which ? shut_gates(which, err) : 0;
		if (r != -ENOENT)
			return r;
		/* not all the tables are there after all */
	}
	return build(devs, which | state.shut, err);
}

static int install(void *arg, struct rb_err *err)
{
	int r = -ENOENT;

	for (int i = 0; r == -ENOENT && i < TRIES_MAX; i++)
		r = install_once(*(unsigned int *)arg, err);
	return r < 0 ? rb_err_wrap(err, r, "silence the container's network") : 0;
}

static int remove_tables(void *arg, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf cmd = {};
	int r = deletion_commands(&cmd, err);

	(void)arg;
	if (r == 0 && cmd.len)
		r = rb_nft_run(cmd.data, NULL, err);
	return r < 0 ? rb_err_wrap(err, r, "end the silence of the container's network") : 0;
}

/* when the gates cannot be turned, tables are missing: they have to go as a whole */
static int lift(void *arg, struct rb_err *err)
{
	return turn_gates(IN | OUT | LOOPBACK, false, LEVEL_CAPTURE, NULL) < 0
		       ? remove_tables(arg, err)
		       : 0;
}

static int let_speak(void *arg, struct rb_err *err)
{
	int r = turn_gates(OUT | LOOPBACK, false, LEVEL_CAPTURE, err);

	(void)arg;
	return r < 0 ? rb_err_wrap(err, r, "let the container's network speak") : 0;
}

static int shut_loopback(void *arg, struct rb_err *err)
{
	int r = turn_gates(LOOPBACK, true, LEVEL_CAPTURE, err);

	(void)arg;
	return r < 0 ? rb_err_wrap(err, r, "stop the container's loopback traffic") : 0;
}

static int is_on(void *arg, struct rb_err *err)
{
	_cleanup_(free_state) struct state state = {};
	int r = read_state(&state, err);

	(void)arg;
	return r < 0 ? r : (state.shut & (IN | OUT)) == (IN | OUT);
}

static bool is_netns_of(pid_t pid, const struct stat *netns)
{
	struct stat st;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	return stat(path, &st) == 0 && st.st_ino == netns->st_ino && st.st_dev == netns->st_dev;
}

/*
 * A host that silences itself can only be helped at its console. Its namespace is that of PID 1 and
 * of our parent; either may be unreadable (PID 1 with more capabilities than we have). Our own may
 * be meant: a placeholder silences the one that it has just made.
 */
static int refuse_host(int netns_fd, struct rb_err *err)
{
	struct stat netns;

	if (fstat(netns_fd, &netns) < 0)
		return rb_err_set(err, -errno, "examine a network namespace");
	if (is_netns_of(1, &netns) || is_netns_of(getppid(), &netns))
		return rb_err_code(err, RB_E_REFUSED, -EINVAL,
				   "this is the host's own network namespace, which must not be "
				   "silenced");
	return 0;
}

static int shut(int netns_fd, unsigned int which, struct rb_err *err)
{
	int r = refuse_host(netns_fd, err);

	return r < 0 ? r : rb_netns_fork(netns_fd, install, &which, err);
}

int rb_silence_on(int netns_fd, struct rb_err *err)
{
	return shut(netns_fd, IN | OUT, err);
}

int rb_silence_hearing(int netns_fd, struct rb_err *err)
{
	return shut(netns_fd, IN, err);
}

int rb_silence_loopback(int netns_fd, struct rb_err *err)
{
	return rb_netns_fork(netns_fd, shut_loopback, NULL, err);
}

int rb_silence_speak(int netns_fd, struct rb_err *err)
{
	return rb_netns_fork(netns_fd, let_speak, NULL, err);
}

int rb_silence_lift(int netns_fd, struct rb_err *err)
{
	return rb_netns_fork(netns_fd, lift, NULL, err);
}

int rb_silence_off(int netns_fd, struct rb_err *err)
{
	return rb_netns_fork(netns_fd, remove_tables, NULL, err);
}

int rb_silence_is_on(int netns_fd, struct rb_err *err)
{
	return rb_netns_fork(netns_fd, is_on, NULL, err);
}
