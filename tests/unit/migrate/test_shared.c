// SPDX-License-Identifier: Apache-2.0
/*
 * test_shared.c - storage that both hosts share has to be the same here
 */
#include "binds_rig.h"
#include "same.h"

/* The words of the first obstacle, or "" */
static const char *obstacle(void)
{
	static char what[512];
	_cleanup_json_ json_t *obstacles = check();

	snprintf(what, sizeof(what), "%s", rb_json_str(json_array_get(obstacles, 0), "what", ""));
	return what;
}

static json_t *begin_shared(const char *name, bool declared)
{
	json_t *bind;

	begin_one(name);
	bind = json_array_get(rb_json_path(c->facts, "offer.binds"), 0);
	json_object_set_new(bind, "how", json_string("shared"));
	json_object_set_new(bind, "declared", json_boolean(declared));
	json_object_set_new(
		bind, "place",
		json_pack("{s:s, s:s, s:s}", "type", "nfs", "source", "server:/x", "inside", "/"));
	return bind;
}

static void what_is_shared_must_be_there(void)
{
	json_t *bind = begin_shared("srv/data", false);

	CHECK(strstr(obstacle(), "has no "));
	mkdir(in("srv/data"), 0755);
	write_text("srv/data/file", "x");
	CHECK(strstr(obstacle(),
		     "is on storage of type nfs from 'server:/x', and that of node 'h2' is not"));
	/* whatever the user says: an empty mount point is not what they have */
	json_object_set_new(bind, "declared", json_true());
	CHECK(strstr(obstacle(), "nothing is mounted"));
	/* nothing is made, and nothing removed */
	CHECK_INT(make(NULL), 0);
	CHECK_INT(undo(), 0);
	CHECK(exists("srv/data/file"));
	CHECK_INT(rb_binds_open(c, in("srv/data"), O_PATH, NULL), -EPROTO);
}

static void what_is_shared_must_have_the_token(void)
{
	json_t *bind = begin_shared("srv/data", true);

	mkdir(in("srv/data"), 0755);
	json_object_set_new(bind, "token", json_string(".reberth-0123456789abcdef"));
	/* as on a host that was made from the same image: the inode says nothing then */
	json_object_set_new(bind, "seen", rb_same_look(in("srv/data")));
	CHECK(strstr(obstacle(), "nothing is mounted"));
	json_object_set_new(json_object_get(bind, "place"), "type", json_string("ext4"));
	CHECK(strstr(obstacle(), "is not the one that this host has"));
	write_text("srv/data/.reberth-0123456789abcdef", "");
	CHECK_STR(obstacle(), "");
	json_object_set_new(bind, "token", json_string("../data/.reberth-0123456789abcdef"));
	CHECK(strstr(obstacle(), "is not the one that this host has"));
}

static void without_a_token_the_inode_has_to_be_the_same(void)
{
	json_t *bind = begin_shared("srv/data", true), *other;

	mkdir(in("srv/data"), 0755);
	mkdir(in("srv/other"), 0755);
	other = rb_same_look(in("srv/other"));
	json_object_set_new(bind, "seen", rb_same_look(in("srv/data")));
	CHECK_STR(obstacle(), "");
	json_object_set_new(bind, "seen", other);
	CHECK(strstr(obstacle(), "nothing is mounted"));
	json_object_set_new(json_object_get(bind, "place"), "type", json_string("ext4"));
	CHECK(strstr(obstacle(), "is not the one that this host has"));
	/* what is only read may be a copy on a disk of each */
	json_object_set_new(bind, "rw", json_false());
	CHECK_STR(obstacle(), "");
	json_object_set_new(json_object_get(bind, "place"), "type", json_string("nfs4"));
	CHECK(strstr(obstacle(), "nothing is mounted"));
	/* a folder here, a file there */
	json_object_set_new(bind, "seen", rb_same_look(in("srv/data")));
	json_object_set_new(bind, "kind", json_string("file"));
	CHECK(strstr(obstacle(), "nothing is mounted"));
	/* a socket is a service of each host */
	json_object_set_new(bind, "kind", json_string("other"));
	json_object_del(bind, "seen");
	CHECK_STR(obstacle(), "");
}

int main(void)
{
	if (!rig_open())
		return 99;
	TAP_RUN(what_is_shared_must_be_there);
	TAP_RUN(what_is_shared_must_have_the_token);
	TAP_RUN(without_a_token_the_inode_has_to_be_the_same);
	rig_close();
	return tap_done();
}
