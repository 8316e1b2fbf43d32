// SPDX-License-Identifier: Apache-2.0
/*
 * test_names.c - what nodes say of who is in a network, as files for a name server
 */
#include "names.h"

#include <stdlib.h>
#include <unistd.h>

#include "err.h"
#include "io.h"
#include "json.h"
#include "node.h"
#include "tap.h"

static char dir[] = "/tmp/reberth-names-XXXXXX";
static struct rb_node node = { .name = "h1" };
static struct rb_err err;

static json_t *spec(void)
{
	return json_pack("{s:s, s:s}", "id", "0123456789abcdef", "name", "net");
}

static int store(const char *from, json_t *list)
{
	_cleanup_json_ json_t *owned = list, *net = spec();

	return rb_names_store(&node, net, from, owned, &err);
}

static void stored_and_given(void)
{
	_cleanup_json_ json_t *net = spec(), *got = NULL, *none = NULL;
	const json_t *entry;

	CHECK_INT(store("h2", json_pack("[{s:s, s:[s,s]}]", "ip", "10.20.0.5", "names", "db",
					"db.prod_1")),
		  1);
	/* the same is no news */
	CHECK_INT(store("h2", json_pack("[{s:s, s:[s,s]}]", "ip", "10.20.0.5", "names", "db",
					"db.prod_1")),
		  0);
	got = rb_names_stored(&node, net, "h2");
	CHECK_INT(json_array_size(got), 1);
	entry = json_array_get(got, 0);
	CHECK_STR(rb_json_str(entry, "ip", ""), "10.20.0.5");
	CHECK_STR(json_string_value(json_array_get(json_object_get(entry, "names"), 1)),
		  "db.prod_1");
	none = rb_names_stored(&node, net, "h3");
	CHECK_INT(json_array_size(none), 0);
	CHECK_INT(store("h2", json_array()), 1);
}

static void a_peer_cannot_write_lines(void)
{
	_cleanup_buf_ struct rb_buf text = {};
	char path[128];

	CHECK_INT(store("h2", json_pack("[{s:s, s:[s,s,s,i]}, {s:s, s:[s]}, {s:s}, s]", "ip",
					"10.20.0.6", "names", "ok", "two words", "line\n10.0.0.1 x",
					7, "ip", "10.20.0.7\n1.2.3.4", "names", "evil", "ip",
					"10.20.0.8", "text")),
		  1);
	snprintf(path, sizeof(path), "%s/names/0123456789abcdef/h2", dir);
	CHECK_INT(rb_read_file(path, 0, &text, &err), 0);
	CHECK_STR(text.data, "10.20.0.6 ok\n10.20.0.8\n");
}

static void those_that_are_gone_stay_a_while(void)
{
	_cleanup_json_ json_t *net = spec(), *nobody = json_object(), *first = NULL, *then = NULL;
	_cleanup_json_ json_t *before = json_pack("[{s:s, s:s, s:[s]}]", "key", "id endpoint name",
						  "ip", "10.20.0.5", "names", "db");
	_cleanup_json_ json_t *long_gone = json_pack("[{s:s, s:s, s:[s], s:i}]", "key",
						     "id endpoint name", "ip", "10.20.0.5", "names",
						     "db", "gone_ms", 1);

	first = rb_names_here(&node, net, nobody, before, NULL);
	CHECK_INT(json_array_size(first), 1);
	then = rb_names_here(&node, net, nobody, long_gone, NULL);
	CHECK_INT(json_array_size(then), 0);
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	node.run_dir = dir;
	TAP_RUN(stored_and_given);
	TAP_RUN(a_peer_cannot_write_lines);
	TAP_RUN(those_that_are_gone_stay_a_while);
	rb_rm_rf(dir, NULL);
	return tap_done();
}
