// SPDX-License-Identifier: Apache-2.0
/*
 * test_place.c - which file system a path is on, told by a text like /proc/PID/mountinfo
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"
#include "json.h"
#include "place.h"
#include "tap.h"

static const char TABLE[] =
	"21 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
	"22 21 0:20 / /proc rw - proc proc rw\n"
	"30 21 0:45 /exports/a /mnt/a\\040b rw - nfs4 server:/ rw,vers=4.2\n"
	"31 21 0:46 / /mnt/c rw - ceph 10.0.0.1,10.0.0.2:/vol rw\n"
	"32 21 254:0 /srv/real /mnt/bound rw - ext4 /dev/vda rw\n"
	"33 21 0:47 / /mnt/twice rw - tmpfs tmpfs rw\n"
	"34 33 0:48 / /mnt/twice rw - fuse.glusterfs gluster:/v rw\n"
	"35 21 0:49 / /mnt/long rw - tmpfs tmpfs rw\n"
	"36 21 0:50 / /var/lib/docker/volumes/nfs/_data rw - nfs :/x rw,addr=10.0.0.9\n";

static char table[] = "/tmp/reberth-place-XXXXXX";

static bool find(const char *path, struct rb_place *ret)
{
	return rb_place_find(table, path, ret, NULL) == 0;
}

static void the_mount_that_a_path_is_on_is_found(void)
{
	static const struct {
		const char *path, *type, *source, *inside;
		bool shared;
	} cases[] = {
		{ "/", "ext4", "/dev/vda", "/", false },
		{ "/srv/data", "ext4", "/dev/vda", "/srv/data", false },
		{ "/mnt/a b", "nfs4", "server:/", "/exports/a", true },
		{ "/mnt/a b/c/d", "nfs4", "server:/", "/exports/a/c/d", true },
		{ "/mnt/a b c", "ext4", "/dev/vda", "/mnt/a b c", false },
		{ "/mnt/c/x", "ceph", "10.0.0.1,10.0.0.2:/vol", "/x", true },
		{ "/mnt/bound/x", "ext4", "/dev/vda", "/srv/real/x", false },
		{ "/mnt/twice/x", "fuse.glusterfs", "gluster:/v", "/x", true },
		{ "/mnt/longer", "ext4", "/dev/vda", "/mnt/longer", false },
		{ "/proc", "proc", "proc", "/", false },
		{ "/var/lib/docker/volumes/nfs/_data", "nfs", ":/x", "/", true },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rb_place place;

		printf("# %s\n", cases[i].path);
		CHECK(find(cases[i].path, &place));
		CHECK_STR(place.type, cases[i].type);
		CHECK_STR(place.source, cases[i].source);
		CHECK_STR(place.inside, cases[i].inside);
		CHECK_INT(rb_place_is_shared(&place), cases[i].shared);
	}
}

static void what_is_mounted_is_told_from_what_has_its_path(void)
{
	struct rb_place place;

	CHECK(find("/srv/real", &place));
	CHECK_INT(rb_place_is_mounted(table, &place), 1);
	CHECK(find("/srv/real2", &place));
	CHECK_INT(rb_place_is_mounted(table, &place), 0);
	CHECK_INT(rb_place_is_mounted("/nonexistent", &place), -ENOENT);
}

/* the other side's answer for @path */
static bool same(const char *path, const char *type, const char *source, const char *inside)
{
	_cleanup_json_ json_t *theirs =
		json_pack("{s:s, s:s, s:s}", "type", type, "source", source, "inside", inside);
	struct rb_place place;

	return find(path, &place) && rb_place_is_same(&place, theirs);
}

static void the_same_storage_on_both_sides_is_told(void)
{
	_cleanup_json_ json_t *own = NULL;
	struct rb_place place;

	CHECK(same("/mnt/a b/c", "nfs4", "server:/", "/exports/a/c"));
	/* the version of the protocol is each host's own affair */
	CHECK(same("/mnt/a b/c", "nfs", "server:/", "/exports/a/c"));
	CHECK(!same("/mnt/a b/c", "nfs4", "server2:/", "/exports/a/c"));
	CHECK(!same("/mnt/a b/c", "nfs4", "server:/", "/exports/a/d"));
	CHECK(!same("/mnt/a b/c", "cifs", "server:/", "/exports/a/c"));
	/* both hosts have a /dev/vda */
	CHECK(!same("/srv", "ext4", "/dev/vda", "/srv"));
	CHECK(find("/mnt/c", &place));
	own = rb_place_json(&place);
	CHECK(rb_place_is_same(&place, own));
	CHECK_STR(rb_json_str(own, "device", NULL), "0:46");
}

static void nothing_is_found_where_nothing_is_mounted(void)
{
	struct rb_place place;

	CHECK_INT(rb_place_find("/dev/null", "/x", &place, NULL), -ENOENT);
	CHECK_INT(rb_place_find("/nonexistent", "/x", &place, NULL), -ENOENT);
}

/* a server may have several file systems; each appears as its folder is entered */
#define NESTED                                                        \
	"1 0 8:1 / / rw - ext4 /dev/vda rw\n"                         \
	"2 1 0:40 /vol /data rw - nfs4 server:/ rw\n"                 \
	"3 2 0:41 / /data/crossed rw - nfs4 server:/vol/crossed rw\n" \
	"4 2 8:1 /srv /data/disk rw - ext4 /dev/vda rw\n"             \
	"5 1 0:40 /vol/part /part rw - nfs4 server:/ rw\n"            \
	"6 1 0:40 /vol2 /data2 rw - nfs4 server:/ rw\n"               \
	"7 1 0:40 / /all rw - nfs4 server:/ rw\n"

static void parts_of_it_and_what_is_mounted_in_it_count(void)
{
	const struct rb_place place = { .device = "0:40", .inside = "/vol" };
	char path[] = "/tmp/reberth-nested-XXXXXX";
	_cleanup_close_ int fd = mkstemp(path);
	int ids[2];

	CHECK_INT(rb_write_all(fd, NESTED, strlen(NESTED)), 0);
	CHECK_INT(rb_place_mount_ids(path, &place, ids, 2), 3);
	CHECK_INT(ids[0], 2);
	CHECK_INT(ids[1], 3);
	unlink(path);
}

int main(void)
{
	int fd = mkstemp(table);

	if (fd < 0 || rb_write_all(fd, TABLE, strlen(TABLE)) < 0)
		return 99;
	TAP_RUN(the_mount_that_a_path_is_on_is_found);
	TAP_RUN(what_is_mounted_is_told_from_what_has_its_path);
	TAP_RUN(the_same_storage_on_both_sides_is_told);
	TAP_RUN(parts_of_it_and_what_is_mounted_in_it_count);
	TAP_RUN(nothing_is_found_where_nothing_is_mounted);
	close(fd);
	unlink(table);
	return tap_done();
}
