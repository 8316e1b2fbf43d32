// SPDX-License-Identifier: Apache-2.0
/* test_neighbours.c - whom one namespace knows another one knows, too */
#include "neighbours.h"

#include <jansson.h>

#include "json.h"
#include "testnet.h"

static struct testnet net;
static struct rb_err err;

static void test_read_and_write(void)
{
	_cleanup_json_ json_t *list = NULL, *none = json_array();
	size_t found = 0, i;
	json_t *entry;

	CHECK_INT(sh(net.inside,
		     "ip neigh add 10.9.0.7 lladdr 02:00:00:00:00:07 dev c0 nud stale; "
		     "ip neigh add fd09::7 lladdr 02:00:00:00:00:67 dev c0 nud reachable; "
		     "ip neigh add 10.9.0.8 dev c0 nud failed"),
		  0);
	CHECK_OK(rb_neighbours_read(net.inside, &list, &err));
	json_array_foreach (list, i, entry) {
		const char *ip = rb_json_str(entry, "ip", "");

		CHECK(strcmp(ip, "10.9.0.8") != 0);
		if (strcmp(ip, "10.9.0.7") == 0 || strcmp(ip, "fd09::7") == 0) {
			CHECK_STR(rb_json_str(entry, "dev", ""), "c0");
			found++;
		}
	}
	CHECK_INT((int)found, 2);
	CHECK_INT(sh(net.inside, "ip neigh flush all"), 0);
	/* what a peer might send is left out, and keeps nothing else out */
	json_array_insert_new(list, 0,
			      json_pack("{s:s, s:s, s:s}", "dev", "none", "ip", "10.9.0.9", "mac",
					"02:00:00:00:00:09"));
	json_array_insert_new(
		list, 0,
		json_pack("{s:s, s:s, s:s}", "dev", "c0", "ip", "nonsense", "mac", "nonsense"));
	json_array_insert_new(list, 0, json_integer(7));
	CHECK_OK(rb_neighbours_write(net.inside, list, &err));
	CHECK_INT(sh(net.inside,
		     "ip neigh show 10.9.0.7 | grep -qi 'lladdr 0*2:0*0:0*0:0*0:0*0:0*7 '"),
		  0);
	CHECK_INT(sh(net.inside, "ip -6 neigh show fd09::7 | grep -qi 'lladdr 0*2:.*67 '"), 0);
	CHECK_OK(rb_neighbours_write(net.inside, none, &err));
}

int main(void)
{
	if (geteuid() != 0 || testnet_up(&net) < 0) {
		printf("1..0 # SKIP needs root, iproute2 and network namespaces\n");
		return 0;
	}
	NET_RUN(net, test_read_and_write);
	testnet_down(&net);
	return tap_done();
}
