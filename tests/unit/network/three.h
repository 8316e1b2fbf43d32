/* SPDX-License-Identifier: Apache-2.0 */
/*
 * three.h - three nodes with a journal each, that ask each other by calling; some can be cut off
 */
#pragma once

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "ipam.h"
#include "journal.h"
#include "json.h"
#include "networks.h"
#include "spec.h"
#include "subnet.h"
#include "tap.h"

#define NODES 3

struct three {
	char dir[32];
	struct rb_ipam node[NODES];
	bool cut[NODES];
	bool deaf; /* a request is carried out, and its answer lost */
	json_t *spec;
};

static struct three three;
static const char *const names[NODES] = { "h1", "h2", "h3" };

static inline int ask_by_calling(void *arg, const char *peer, const json_t *request, json_t **ret,
				 struct rb_err *err)
{
	size_t from = (size_t)(arg == &three.node[1]) + 2 * (size_t)(arg == &three.node[2]), to = 0;
	int r;

	while (strcmp(names[to], peer) != 0)
		to++;
	if (three.cut[from] || three.cut[to])
		return rb_err_code(err, RB_E_PEER, -EHOSTUNREACH, "%s cannot be reached", peer);
	r = rb_ipam_answer(&three.node[to], names[from], request, ret, err);
	if (three.deaf)
		return rb_err_code(err, RB_E_PEER, -ECONNRESET, "%s went away", peer);
	return r;
}

/* a chunk each to the first @dealt nodes, all with the same description */
static inline void begin(const char *subnet, int dealt)
{
	char path[64], owner[64];
	struct rb_err err = {};

	three = (struct three){};
	snprintf(three.dir, sizeof(three.dir), "/tmp/reberth-ipam-XXXXXX");
	if (!mkdtemp(three.dir))
		exit(1);
	three.spec = json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:[s,s,s], s:s}", "id",
			       "0123456789abcdef", "name", "net", "driver", "vxlan", "subnet",
			       subnet, "mtu", 1450, "vni", 7, "nodes", "h1", "h2", "h3", "by",
			       "h1");
	for (int i = 0; i < NODES; i++) {
		snprintf(path, sizeof(path), "%s/%s.db", three.dir, names[i]);
		three.node[i] = (struct rb_ipam){ .node = names[i], .ask = ask_by_calling };
		three.node[i].arg = &three.node[i];
		if (rb_journal_open(path, &three.node[i].journal, &err) < 0 ||
		    rb_network_add(three.node[i].journal, three.spec, "ready", &err) < 0) {
			printf("Bail out! %s\n", err.msg);
			exit(1);
		}
		for (int c = 0; c < dealt; c++) {
			rb_chunk_claim(three.node[i].journal, "0123456789abcdef", (uint32_t)c,
				       names[c], owner, NULL);
			if (c == i)
				rb_chunk_settle(three.node[i].journal, "0123456789abcdef",
						(uint32_t)c, NULL);
		}
	}
}

static inline void end(void)
{
	for (int i = 0; i < NODES; i++)
		rb_journal_close(three.node[i].journal);
	json_decref(three.spec);
	rb_rm_rf(three.dir, NULL);
}

static inline uint32_t ip(const char *text)
{
	uint32_t address = 0;

	rb_address_parse(text, &address);
	return address;
}

/* the node's row for an address: its state, "" for none */
static inline const char *row(int node, const char *address, const char *holder)
{
	static char state[32];
	json_t *rows = NULL;
	const json_t *at;
	size_t i;

	state[0] = '\0';
	rb_address_list(three.node[node].journal, "0123456789abcdef", ip(address), ip(address),
			&rows, NULL);
	json_array_foreach (rows, i, at)
		if (strcmp(rb_json_str(at, "node", ""), holder) == 0)
			snprintf(state, sizeof(state), "%s", rb_json_str(at, "state", ""));
	json_decref(rows);
	return state;
}
