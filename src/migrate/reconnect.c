// SPDX-License-Identifier: Apache-2.0
/* reconnect.c - a move to other addresses (--reconnect) */
#include "reconnect.h"

#include <string.h>

#include "err.h"
#include "freezer.h"
#include "json.h"
#include "log.h"
#include "migration.h"
#include "neighbours.h"
#include "net.h"
#include "readdress.h"
#include "spec.h"

#define MAX_TASKS 4096

bool rb_reconnect_wanted(const struct rb_migration *m)
{
	return rb_json_bool(m->entry.role == RB_SOURCE ? m->entry.facts
						       : json_object_get(m->entry.facts, "offer"),
			    "reconnect", false);
}

/* every address that the container has, but for loopback and link-local ones */
static json_t *addresses_of(const json_t *inspect)
{
	static const char *const keys[] = { "IPAddress", "GlobalIPv6Address" };
	json_t *list = json_array(), *endpoint;
	const char *name;

	json_object_foreach (rb_json_path(inspect, "NetworkSettings.Networks"), name, endpoint)
		for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
			const char *address = rb_json_str(endpoint, keys[i], "");

			if (*address)
				json_array_append_new(list, json_string(address));
		}
	return list;
}

void rb_reconnect_describe(json_t *offer, const json_t *inspect)
{
	json_object_set_new(offer, "reconnect", json_true());
	json_object_set_new(offer, "old_addresses", addresses_of(inspect));
	json_object_set_new(offer, "macs", json_array());
	rb_spec_forget_addresses(json_object_get(offer, "spec"),
				 json_object_get(offer, "more_networks"));
}

static const json_t *old_addresses(const struct rb_migration *m)
{
	return rb_json_path(m->entry.facts, "offer.old_addresses");
}

int rb_reconnect_lend(const struct rb_migration *m, int netns_fd, struct rb_err *err)
{
	return rb_reconnect_wanted(m) ? rb_addresses_lend(netns_fd, old_addresses(m), err) : 0;
}

/* Return: number of connections */
static int each_task(const char *freezer, const json_t *addresses,
		     int (*fn)(int pid, const json_t *addresses, struct rb_err *err),
		     struct rb_err *err)
{
	pid_t pids[MAX_TASKS];
	int count = rb_freezer_pids(freezer, pids, MAX_TASKS, err), sum = 0;

	for (int i = 0; i < count && i < MAX_TASKS; i++) {
		int r = fn(pids[i], addresses, err);

		if (r < 0)
			return r;
		sum += r;
	}
	return count < 0 ? count : sum;
}

int rb_reconnect_reset(const struct rb_migration *m, int init_pid, struct rb_err *err)
{
	char freezer[512];
	int r;

	if (!rb_reconnect_wanted(m))
		return 0;
	r = rb_freezer_find(init_pid, freezer, sizeof(freezer), err);
	if (r >= 0)
		r = each_task(freezer, old_addresses(m), rb_tcp_reset, err);
	if (r >= 0)
		rb_info("reconnect: %d connections were reset", r);
	return r < 0 ? r : 0;
}

int rb_reconnect_return(const struct rb_migration *m, int netns_fd, struct rb_err *err)
{
	return rb_reconnect_wanted(m) ? rb_addresses_return(netns_fd, old_addresses(m), err) : 0;
}

/* Did it get a number that it had? It may be on the same segment. */
static bool has_kept_one(const struct rb_migration *m, const json_t *old)
{
	const json_t *address, *value;
	size_t i, k;

	json_array_foreach (json_object_get(m->entry.facts, "addresses"), i, address)
		json_array_foreach (old, k, value)
			if (strcmp(rb_json_str(address, "ipv4", ""), json_string_value(value)) ==
				    0 ||
			    strcmp(rb_json_str(address, "ipv6", ""), json_string_value(value)) == 0)
				return true;
	return false;
}

/*
 * A RST needs to know its next hop: whom the container knew when it was frozen, it knows again. Who
 * is not among them has to be asked for, so what arrives is heard as well: whatever it is, it is
 * for an address that goes with its holder. But not where the address lives on.
 */
void rb_reconnect_farewell(const struct rb_migration *m, int netns_fd)
{
	_cleanup_json_ json_t *addresses = addresses_of(json_object_get(m->entry.facts, "inspect"));
	struct rb_err why = {};
	int r = 0;

	if (!rb_reconnect_wanted(m))
		return;
	rb_each_member (c, m)
		if (r >= 0)
			r = each_task(rb_json_str(c->facts, "freezer", ""), addresses,
				      rb_tcp_farewell, &why);
	rb_neighbours_write(netns_fd, json_object_get(m->entry.facts, "neighbours"), NULL);
	if (r >= 0 && has_kept_one(m, addresses))
		r = rb_silence_speak(netns_fd, &why);
	else if (r >= 0)
		r = rb_silence_lift(netns_fd, &why);
	if (r < 0)
		rb_warn("reconnect: peers may not hear that their connections have ended: %s",
			why.msg);
}
