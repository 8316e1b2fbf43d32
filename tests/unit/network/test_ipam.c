// SPDX-License-Identifier: Apache-2.0
/*
 * test_ipam.c - chunks and leases of three nodes
 */
#include "three.h"

static struct rb_err err;

static int request(int node, const char *wanted, uint32_t *ret)
{
	rb_err_clear(&err);
	return rb_ipam_request(&three.node[node], three.spec, *wanted ? ip(wanted) : 0, ret, &err);
}

static int hold(int node, const char *wanted)
{
	uint32_t address;

	return request(node, wanted, &address);
}

static int release(int node, const char *address)
{
	return rb_ipam_release(&three.node[node], three.spec, ip(address), &err);
}

static void each_node_has_its_own(void)
{
	uint32_t got[NODES], gateway[NODES];

	begin("10.20.0.0/24", NODES); /* 16 chunks of 16 */
	for (int i = 0; i < NODES; i++) {
		CHECK_INT(rb_ipam_gateway(&three.node[i], three.spec, &gateway[i], &err), 0);
		CHECK_INT(request(i, "", &got[i]), 0);
	}
	/* .0 is the subnet, .1 every node's gateway */
	CHECK_INT(gateway[0], ip("10.20.0.2"));
	CHECK_INT(got[0], ip("10.20.0.3"));
	CHECK_INT(gateway[1], ip("10.20.0.16"));
	CHECK_INT(got[2], ip("10.20.0.33"));
	/* again: the same */
	CHECK_INT(rb_ipam_gateway(&three.node[1], three.spec, &got[1], &err), 0);
	CHECK_INT(got[1], gateway[1]);
	/* Docker asks for these by name when it makes its network */
	CHECK_INT(hold(1, "10.20.0.16"), 0);
	CHECK_INT(hold(1, "10.20.0.1"), 0);
	CHECK_INT(hold(1, "10.20.0.255"), -EINVAL);
	CHECK_INT(hold(1, "10.21.0.5"), -EINVAL);
	end();
}

static void no_address_twice(void)
{
	static bool seen[256];
	int taken = 0;

	begin("10.20.0.0/24", NODES);
	memset(seen, 0, sizeof(seen));
	/* all of it, by whoever wants */
	for (int i = 0; i < 400; i++) {
		uint32_t got;

		if (request(i % NODES, "", &got) < 0)
			continue;
		CHECK(!seen[got & 255]);
		seen[got & 255] = true;
		taken++;
	}
	CHECK_INT(taken, 253);
	CHECK_INT(hold(0, ""), -EADDRNOTAVAIL);
	CHECK_INT(release(0, "10.20.0.5"), 0);
	CHECK_INT(hold(0, ""), 0);
	end();
}

static void a_chunk_needs_all(void)
{
	uint32_t got;
	int n = 0;

	begin("10.20.0.0/24", NODES);
	three.cut[2] = true;
	while (request(0, "", &got) == 0)
		n++;
	CHECK_INT(n, 14);
	CHECK_INT(err.code, RB_E_PEER);
	/* what h2 has noted was taken back, and h1 itself got nothing */
	CHECK_INT(hold(1, "10.20.0.200"), -EHOSTUNREACH);
	three.cut[2] = false;
	CHECK_INT(request(0, "", &got), 0);
	end();
}

static void a_lost_answer_costs_no_chunk(void)
{
	uint32_t got;

	begin("10.20.0.0/24", NODES);
	while (request(0, "", &got) == 0 && got != ip("10.20.0.15"))
		;
	three.deaf = true;
	CHECK_INT(request(0, "", &got), -ECONNRESET);
	three.deaf = false;
	/* noted, and it could not be taken back: begun again with that one */
	CHECK_INT(request(0, "", &got), 0);
	/* 13 of 16 were nobody's, one is h1's now; all the others can be had */
	for (int i = 0; i < 12; i++)
		CHECK_INT(rb_ipam_claim(&three.node[1], three.spec, -1, &err), 0);
	CHECK_INT(rb_ipam_claim(&three.node[1], three.spec, -1, &err), -EADDRNOTAVAIL);
	end();
}

static void refused_by_one(void)
{
	char owner[64];
	uint32_t got;

	begin("10.20.0.0/28", NODES); /* 4 chunks of 4 */
	/* h3 has claimed the last one, and only h3 knows yet */
	rb_chunk_claim(three.node[2].journal, "0123456789abcdef", 3, "h3", owner, NULL);
	CHECK_INT(rb_ipam_claim(&three.node[0], three.spec, -1, &err), -EADDRNOTAVAIL);
	/* nothing of it stays with h2 */
	rb_chunk_owner(three.node[1].journal, "0123456789abcdef", 3, owner, NULL);
	CHECK_STR(owner, "");
	CHECK_INT(rb_ipam_claim(&three.node[2], three.spec, -1, &err), 0);
	CHECK_INT(request(2, "10.20.0.12", &got), 0);
	end();
}

static void an_address_of_another_chunk(void)
{
	begin("10.20.0.0/24", NODES);
	CHECK_INT(hold(0, "10.20.0.20"), 0);
	CHECK_STR(row(1, "10.20.0.20", "h1"), "lent");
	CHECK_INT(hold(1, "10.20.0.20"), -EADDRINUSE);
	CHECK(strstr(err.msg, "h1"));
	CHECK_INT(hold(2, "10.20.0.20"), -EADDRINUSE);
	CHECK_STR(row(2, "10.20.0.20", "h3"), "");
	/* h2 cannot be told: it stays reserved */
	three.cut[1] = true;
	CHECK_INT(release(0, "10.20.0.20"), 0);
	rb_ipam_deliver(&three.node[0], three.spec);
	CHECK_STR(row(0, "10.20.0.20", "h1"), "releasing");
	CHECK_STR(row(1, "10.20.0.20", "h1"), "lent");
	three.cut[1] = false;
	rb_ipam_deliver(&three.node[0], three.spec);
	CHECK_STR(row(1, "10.20.0.20", "h1"), "");
	CHECK_INT(hold(1, "10.20.0.20"), 0);
	end();
}

/* from h1 to h2, for an address of h3's or of one of the two; @turned_back: before COMMIT */
static void travel(const char *address, bool turned_back)
{
	begin("10.20.0.0/24", NODES);
	CHECK_INT(hold(0, address), 0);
	CHECK_INT(rb_ipam_arriving(&three.node[1], three.spec, ip(address), "m1", "h1", &err), 0);
	/* nothing is given away yet, and the target's Docker may ask, stop, and ask again */
	CHECK_INT(hold(1, address), 0);
	CHECK_INT(release(1, address), 0);
	rb_ipam_deliver(&three.node[1], three.spec);
	CHECK_INT(hold(1, address), 0);
	CHECK_STR(row(0, address, "h1"), "held");
	if (turned_back) {
		CHECK_INT(release(1, address), 0);
		CHECK_INT(rb_ipam_not_arriving(&three.node[1], three.spec, ip(address), "m1", &err),
			  0);
		CHECK_INT(rb_ipam_not_leaving(&three.node[0], three.spec, ip(address), &err), 0);
		CHECK_STR(row(0, address, "h1"), "held");
		CHECK_STR(row(1, address, "h2"), "");
	} else {
		CHECK_INT(rb_ipam_leaving(&three.node[0], three.spec, ip(address), "h2", &err), 0);
		CHECK_INT(release(0, address), 0);
		CHECK_INT(rb_ipam_settled(&three.node[1], three.spec, ip(address), "m1", &err), 0);
		rb_ipam_deliver(&three.node[0], three.spec);
		CHECK_STR(row(0, address, "h1"), "");
		CHECK_STR(row(1, address, "h2"), "held");
	}
	for (int i = 0; i < NODES; i++)
		CHECK_INT(hold(i, address), -EADDRINUSE);
	/* the one who has it gives it back: it is free */
	CHECK_INT(release(turned_back ? 0 : 1, address), 0);
	rb_ipam_deliver(&three.node[turned_back ? 0 : 1], three.spec);
	CHECK_INT(hold(2, address), 0);
	end();
}

static void travel_of_the_source(void)
{
	travel("10.20.0.5", false);
	travel("10.20.0.5", true);
}

static void travel_of_the_target(void)
{
	travel("10.20.0.20", false);
	travel("10.20.0.20", true);
}

static void travel_of_a_third(void)
{
	travel("10.20.0.40", false);
	travel("10.20.0.40", true);
}

/* moved on, and removed there, while the owner knows only the first place */
static void owner_away_for_long(void)
{
	const char *address = "10.20.0.40";

	begin("10.20.0.0/24", NODES);
	CHECK_INT(hold(0, address), 0);
	three.cut[2] = true;
	rb_ipam_arriving(&three.node[1], three.spec, ip(address), "m1", "h1", &err);
	CHECK_INT(hold(1, address), 0);
	rb_ipam_leaving(&three.node[0], three.spec, ip(address), "h2", &err);
	release(0, address);
	rb_ipam_settled(&three.node[1], three.spec, ip(address), "m1", &err);
	/* back to h1, which has not got rid of its old word yet */
	CHECK_INT(rb_ipam_arriving(&three.node[0], three.spec, ip(address), "m2", "h2", &err),
		  -EADDRINUSE);
	release(1, address);
	three.cut[2] = false;
	/* the second word comes first: the address is h2's for the owner, and held by nobody */
	rb_ipam_deliver(&three.node[1], three.spec);
	rb_ipam_deliver(&three.node[0], three.spec);
	CHECK_STR(row(2, address, "h2"), "lent");
	CHECK_INT(hold(2, address), -EADDRINUSE);
	rb_ipam_audit(&three.node[2], three.spec, 0);
	usleep(2000);
	rb_ipam_audit(&three.node[2], three.spec, 0);
	CHECK_INT(hold(2, address), 0);
	end();
}

static void audit_leaves_what_is_held(void)
{
	begin("10.20.0.0/24", NODES);
	CHECK_INT(hold(0, "10.20.0.20"), 0);
	usleep(2000);
	rb_ipam_audit(&three.node[1], three.spec, 0);
	CHECK_STR(row(1, "10.20.0.20", "h1"), "lent");
	three.cut[0] = true;
	rb_address_drop(three.node[0].journal, "0123456789abcdef", ip("10.20.0.20"), "h1", NULL,
			NULL);
	rb_ipam_audit(&three.node[1], three.spec, 0);
	CHECK_STR(row(1, "10.20.0.20", "h1"), "lent");
	three.cut[0] = false;
	rb_ipam_audit(&three.node[1], three.spec, 0);
	CHECK_STR(row(1, "10.20.0.20", "h1"), "");
	end();
}

static void strangers_are_refused(void)
{
	_cleanup_json_ json_t *claim = json_pack("{s:s, s:s, s:i}", "op", "claim", "network",
						 "0123456789abcdef", "chunk", 9);
	_cleanup_json_ json_t *far = json_pack("{s:s, s:s, s:i}", "op", "claim", "network",
					       "0123456789abcdef", "chunk", 16);
	_cleanup_json_ json_t *other = json_pack("{s:s}", "op", "dance"), *answer = NULL;

	begin("10.20.0.0/24", NODES);
	CHECK_INT(rb_ipam_answer(&three.node[0], "h9", claim, &answer, &err), -EACCES);
	CHECK_INT(rb_ipam_answer(&three.node[0], "h2", far, &answer, &err), -EPROTO);
	CHECK_INT(rb_ipam_answer(&three.node[0], "h2", other, &answer, &err), 1);
	end();
}

int main(void)
{
	TAP_RUN(each_node_has_its_own);
	TAP_RUN(no_address_twice);
	TAP_RUN(a_chunk_needs_all);
	TAP_RUN(a_lost_answer_costs_no_chunk);
	TAP_RUN(refused_by_one);
	TAP_RUN(an_address_of_another_chunk);
	TAP_RUN(travel_of_the_source);
	TAP_RUN(travel_of_the_target);
	TAP_RUN(travel_of_a_third);
	TAP_RUN(owner_away_for_long);
	TAP_RUN(audit_leaves_what_is_held);
	TAP_RUN(strangers_are_refused);
	return tap_done();
}
