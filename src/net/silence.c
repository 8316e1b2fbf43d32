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
 * lost: the netdev table's gate_in leads to the chain `heard`, where `fwd to "lo"` hands it to
 * whoever captures there (capture.c), each frame exactly once, and a hook on lo's ingress keeps it
 * from going any further. Frames of lo's own have no addresses. The mark says which device it was.
 * What is injected (inject.c) bears a mark and passes the shut gate, so that nothing new overtakes
 * it.
 *
 * The source shuts `gate_in` before it freezes the tasks and `gate_out` after: what they still say
 * is part of what they did, and their peers need not wait for it to be sent again.
 *
 * The gates are turned by inserting a rule at their head, never by deleting one: a transaction that
 * deletes anything makes close(2) of its netlink socket wait for an RCU grace period (8 to 16 ms),
 * and both turns happen while somebody waits for the container. For the same reason the tables are
 * built ahead of time, with open gates (rb_silence_prepare()), and the gates turned without
 * libnftables (gates.c).
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
 * Time: 4 ms to build the tables for two devices, which is nearly all libnftables; to turn gates
 * 0.1 ms, 0.2 with a look at whether the tables are complete; off 7 to 20, see above (kernel 6.18,
 * libnftables 1.0.6, two processors).
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
#include "gates.h"
#include "io.h"
#include "nft.h"

#define TABLE	     RB_GATES_TABLE
#define PRIORITY     "-500"
#define CRIU_MARK    "0xC114" /* SOCCR_MARK of its soccr/soccr.h */
#define TRIES_MAX    4
#define BUILD_LEVELS 4

/* on which device: capture.c reads it from the mark, which nobody else sees */
#define NOTE_DEVICE "meta mark set meta iif map @numbers"
/* what inject.c puts into frames: a priority tag, which the kernel takes off again */
#define INJECTED_PASS "vlan id 0 vlan pcp 5 vlan dei 1 accept"
#define CAPTURE	      INJECTED_PASS "; " NOTE_DEVICE "; fwd to \"lo\""

/* what the kernel may offer, best first; without LEVEL_CAPTURE what is heard is lost */
enum level { LEVEL_CAPTURE, LEVEL_LAYER2, LEVEL_NO_EGRESS, LEVEL_LAYER3 };

static const char *const families[] = { "netdev", "inet", "arp" };

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

static bool is_covered(const struct rb_gates *gates, unsigned int index)
{
	for (size_t i = 0; i < gates->covered_count; i++)
		if (gates->covered[i] == index)
			return true;
	return false;
}

/* Are the covered devices exactly those that exist, and do all tables do what they are for? */
static bool is_complete(const struct rb_gates *gates, const struct if_nameindex *devs)
{
	size_t found = 0;

	if (!gates->whole || gates->covered_count > RB_GATES_DEVICES_MAX)
		return false;
	for (; devs->if_index; devs++) {
		if (!is_coverable(devs) && strcmp(devs->if_name, "lo") != 0)
			continue;
		if (!is_covered(gates, devs->if_index))
			return false;
		found++;
	}
	return gates->covered_count == found;
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
	int r;

	r = rb_buf_addf(cmd, "table netdev " TABLE " {\n");
	if (level == LEVEL_CAPTURE)
		r |= add_device_map(cmd, devs);
	r |= rb_buf_addf(cmd,
			 " chain " RB_GATE_HEARD " { %s; }\n"
			 " chain gate_in { %s; }\n chain gate_out { %s; }\n",
			 level == LEVEL_CAPTURE ? CAPTURE : "drop",
			 shut & RB_GATE_IN ? "jump " RB_GATE_HEARD : "accept",
			 verdict_of(shut, RB_GATE_OUT));
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
	int r = rb_buf_addf(cmd, " set " RB_GATES_SET " { type iface_index; elements = { \"lo\"");

	for (; level <= LEVEL_LAYER2 && devs->if_index; devs++)
		if (is_coverable(devs))
			r |= rb_buf_addf(cmd, ", \"%s\"", devs->if_name);
	return r | rb_buf_addf(cmd, " }; }\n");
}

static int add_upper_tables(struct rb_buf *cmd, const struct if_nameindex *devs, unsigned int shut,
			    enum level level)
{
	const char *in = verdict_of(shut, RB_GATE_IN), *out = verdict_of(shut, RB_GATE_OUT);
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
			 in, out, verdict_of(shut, RB_GATE_LOOPBACK));
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

static int turn_gates(unsigned int which, bool shut, struct rb_err *err)
{
	int r = rb_gates_turn(which, shut);

	return r < 0 ? rb_err_set(err, r, "turn the gates of the silence") : 0;
}

static int look_around(struct rb_gates *gates, struct if_nameindex **devs, struct rb_err *err)
{
	int r;

	*devs = if_nameindex();
	if (!*devs)
		return rb_err_set(err, -errno, "list network devices");
	r = rb_gates_read(gates);
	return r < 0 ? rb_err_set(err, r, "examine the silence") : 0;
}

/* Return: 1, or 0 when the tables have to be built */
static int shut_standing(void *arg, struct rb_err *err)
{
	_cleanup_(free_nameindex) struct if_nameindex *devs = NULL;
	unsigned int which = *(const unsigned int *)arg;
	struct rb_gates gates;
	int r = look_around(&gates, &devs, err);

	if (r < 0)
		return r;
	if (!is_complete(&gates, devs))
		return 0;
	which &= ~gates.shut;
	r = which ? turn_gates(which, true, err) : 0;
	/* not all the tables are there after all */
	return r == -ENOENT ? 0 : r < 0 ? r : 1;
}

/* -ENOENT: a device went away meanwhile */
static int install_once(unsigned int which, struct rb_err *err)
{
	_cleanup_(free_nameindex) struct if_nameindex *devs = NULL;
	struct rb_gates gates;
	int r = look_around(&gates, &devs, err);

	return r < 0 ? r : build(devs, which | gates.shut_some, err);
}

static int install(void *arg, struct rb_err *err)
{
	int r = -ENOENT;

	for (int i = 0; r == -ENOENT && i < TRIES_MAX; i++)
		r = install_once(*(const unsigned int *)arg, err);
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

static int lift(void *arg, struct rb_err *err)
{
	(void)arg;
	return turn_gates(RB_GATE_IN | RB_GATE_OUT | RB_GATE_LOOPBACK, false, err);
}

static int let_speak(void *arg, struct rb_err *err)
{
	int r = turn_gates(RB_GATE_OUT | RB_GATE_LOOPBACK, false, err);

	(void)arg;
	return r < 0 ? rb_err_wrap(err, r, "let the container's network speak") : 0;
}

static int shut_loopback(void *arg, struct rb_err *err)
{
	int r = turn_gates(RB_GATE_LOOPBACK, true, err);

	(void)arg;
	return r < 0 ? rb_err_wrap(err, r, "stop the container's loopback traffic") : 0;
}

static int is_on(void *arg, struct rb_err *err)
{
	const unsigned int both = RB_GATE_IN | RB_GATE_OUT;
	struct rb_gates gates;
	int r = rb_gates_read(&gates);

	(void)arg;
	return r < 0 ? rb_err_set(err, r, "examine the silence")
		     : gates.whole && (gates.shut & both) == both;
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

	if (r >= 0)
		r = rb_netns_run(netns_fd, shut_standing, &which, err);
	if (r < 0)
		return rb_err_wrap(err, r, "silence the container's network");
	return r == 1 ? 0 : rb_netns_fork(netns_fd, install, &which, err);
}

/* Made anew whatever stands there: a container that may do such things can have made tables of the
 * same names, which do nothing. */
int rb_silence_prepare(int netns_fd, struct rb_err *err)
{
	unsigned int none = 0;
	int r = refuse_host(netns_fd, err);

	return r < 0 ? rb_err_wrap(err, r, "silence the container's network")
		     : rb_netns_fork(netns_fd, install, &none, err);
}

int rb_silence_all(int netns_fd, struct rb_err *err)
{
	return shut(netns_fd, RB_GATE_IN | RB_GATE_OUT | RB_GATE_LOOPBACK, err);
}

int rb_silence_on(int netns_fd, struct rb_err *err)
{
	return shut(netns_fd, RB_GATE_IN | RB_GATE_OUT, err);
}

int rb_silence_hearing(int netns_fd, struct rb_err *err)
{
	return shut(netns_fd, RB_GATE_IN, err);
}

int rb_silence_loopback(int netns_fd, struct rb_err *err)
{
	return rb_netns_run(netns_fd, shut_loopback, NULL, err);
}

int rb_silence_speak(int netns_fd, struct rb_err *err)
{
	return rb_netns_run(netns_fd, let_speak, NULL, err);
}

int rb_silence_lift(int netns_fd, struct rb_err *err)
{
	/* when the gates cannot be turned, tables are missing: they have to go as a whole */
	return rb_netns_run(netns_fd, lift, NULL, NULL) < 0 ? rb_silence_off(netns_fd, err) : 0;
}

int rb_silence_off(int netns_fd, struct rb_err *err)
{
	return rb_netns_fork(netns_fd, remove_tables, NULL, err);
}

int rb_silence_is_on(int netns_fd, struct rb_err *err)
{
	return rb_netns_run(netns_fd, is_on, NULL, err);
}
