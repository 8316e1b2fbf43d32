// SPDX-License-Identifier: Apache-2.0
/*
 * test_spec_mounts.c - the mounts of create bodies, and the lists of what must travel
 */
#include "spec.h"

#include <string.h>

#include "fixture.h"
#include "tap.h"

static void anonymous_volumes_are_bound_by_name(void)
{
	_cleanup_json_ json_t *inspect = load("20.10-everything", "inspect"), *body = NULL;
	json_t *mounts = json_object_get(inspect, "Mounts"), *mount;
	char want[512];
	size_t i;

	/* "-v /anon2" reaches us by Config.Volumes; API users may write it to Binds */
	json_array_append_new(rb_json_path(inspect, "HostConfig.Binds"), json_string("/anon2/"));
	body = body_of(inspect);
	json_array_foreach (mounts, i, mount) {
		const char *name = rb_json_str(mount, "Name", "");
		const char *destination = rb_json_str(mount, "Destination", "");

		if (strcmp(destination, "/anon2") == 0) {
			snprintf(want, sizeof(want), "\"%s:/anon2/\"", name);
			CHECK(strstr(at(body, "HostConfig.Binds"), want));
			CHECK(!strstr(at(body, "HostConfig.Mounts"), "/anon2"));
		} else if (strcmp(destination, "/anon3") == 0) {
			snprintf(want, sizeof(want),
				 "\"Source\":\"%s\",\"Target\":\"/anon3\",\"Type\":\"volume\"",
				 name);
			CHECK(strstr(at(body, "HostConfig.Mounts"), want));
		} else if (strcmp(destination, "/data") == 0) {
			snprintf(want, sizeof(want), "\"Source\":\"%s\",\"Target\":\"/data\"",
				 name);
			CHECK(strstr(at(body, "HostConfig.Mounts"), want));
		}
	}
}

static void volumes_from_is_written_out(void)
{
	_cleanup_json_ json_t *inspect = load("20.10-volumes-from", "inspect");
	_cleanup_json_ json_t *body = body_of(inspect);

	CHECK_STR(at(inspect, "HostConfig.VolumesFrom"), "[\"binder:ro\"]");
	CHECK_STR(at(body, "HostConfig.VolumesFrom"), "(absent)");
	CHECK(strstr(at(body, "HostConfig.Mounts"),
		     "{\"BindOptions\":{\"Propagation\":\"rprivate\"},\"ReadOnly\":true,"
		     "\"Source\":\"/etc\",\"Target\":\"/eh\",\"Type\":\"bind\"}"));
	CHECK(strstr(at(body, "HostConfig.Mounts"), "\"Source\":\"named\",\"Target\":\"/nn\""));
}

static void options_of_other_types_go(void)
{
	_cleanup_json_ json_t *inspect = load("20.10-dynamic", "inspect"), *body = NULL;

	put(inspect, "HostConfig", "Mounts",
	    json_pack("[{s:s, s:s, s:s, s:{}, s:{}}]", "Type", "volume", "Source", "v", "Target",
		      "/v", "VolumeOptions", "TmpfsOptions"));
	body = body_of(inspect);
	CHECK(strstr(at(body, "HostConfig.Mounts"), "VolumeOptions"));
	CHECK(!strstr(at(body, "HostConfig.Mounts"), "TmpfsOptions"));
}

static void paths_are_compared_clean(void)
{
	_cleanup_json_ json_t *inspect = load("20.10-dynamic", "inspect"), *body = NULL;

	put(inspect, "HostConfig", "Binds", json_pack("[s]", "mine:/x/..//data/./:ro"));
	body = body_of(inspect);
	CHECK(!strstr(at(body, "HostConfig.Mounts"), "/data"));
}

static void what_others_have_too_is_not_filled_from_the_image(void)
{
	_cleanup_json_ json_t *inspect = load("20.10-dynamic", "inspect"), *body = NULL;

	put(inspect, "HostConfig", "Binds",
	    json_pack("[s, s, s, s, s]", "v:/a", "v:/b:ro", "v:/c:nocopy", "vv:/d", "/v:/e"));
	put(inspect, "HostConfig", "Mounts",
	    json_pack("[{s:s, s:s, s:s}, {s:s, s:s, s:s, s:{s:{}}}, {s:s, s:s, s:s}]", "Type",
		      "volume", "Source", "v", "Target", "/f", "Type", "volume", "Source", "v",
		      "Target", "/g", "VolumeOptions", "Labels", "Type", "bind", "Source", "v",
		      "Target", "/h"));
	body = body_of(inspect);
	for (int i = 0; i < 2; i++) {
		CHECK_INT(rb_spec_forbid_copy(body, "v", NULL), 0);
		CHECK(strstr(at(body, "HostConfig.Binds"),
			     "[\"v:/a:nocopy\",\"v:/b:ro,nocopy\",\"v:/c:nocopy\",\"vv:/d\","
			     "\"/v:/e\"]"));
		CHECK(strstr(at(body, "HostConfig.Mounts"),
			     "\"Target\":\"/f\",\"Type\":\"volume\",\"VolumeOptions\":"
			     "{\"NoCopy\":true}"));
		CHECK(strstr(at(body, "HostConfig.Mounts"),
			     "\"Target\":\"/g\",\"Type\":\"volume\",\"VolumeOptions\":"
			     "{\"Labels\":{},\"NoCopy\":true}"));
		CHECK(strstr(at(body, "HostConfig.Mounts"),
			     "\"Target\":\"/h\",\"Type\":\"bind\"}"));
	}
}

static void volumes_and_binds_are_listed(void)
{
	_cleanup_json_ json_t *inspect = load("20.10-everything", "inspect"), *volumes = NULL;
	_cleanup_json_ json_t *binds = NULL, *labelled = NULL;
	_cleanup_json_ json_t *new = load("28.5-networks", "inspect");
	const json_t *named;

	CHECK_INT(rb_spec_binds(inspect, &binds, NULL), 0);
	CHECK_STR(at(binds, ""),
		  "[{\"destination\":\"/host-etc\",\"rw\":false,\"source\":\"/etc\"}]");
	CHECK_INT(rb_spec_volumes(inspect, &volumes, NULL), 0);
	CHECK_INT(json_array_size(volumes), 4);
	CHECK_STR(at(json_array_get(volumes, 0), "destination"), "\"/anon2\"");
	CHECK_STR(at(json_array_get(volumes, 0), "anonymous"), "true");
	named = json_array_get(volumes, 3);
	CHECK_STR(at(named, ""), "{\"anonymous\":false,\"destination\":\"/n\",\"driver\":\"local\","
				 "\"labels\":{},\"name\":\"named\",\"options\":{},\"rw\":false,"
				 "\"source\":\"/var/lib/docker/volumes/named/_data\"}");
	CHECK_INT(rb_spec_volumes(new, &labelled, NULL), 0);
	CHECK_STR(at(json_array_get(labelled, 1), "name"), "\"named\"");
	CHECK_STR(at(json_array_get(labelled, 1), "labels"), "{\"a\":\"b\"}");
}

int main(void)
{
	TAP_RUN(anonymous_volumes_are_bound_by_name);
	TAP_RUN(volumes_from_is_written_out);
	TAP_RUN(options_of_other_types_go);
	TAP_RUN(paths_are_compared_clean);
	TAP_RUN(what_others_have_too_is_not_filled_from_the_image);
	TAP_RUN(volumes_and_binds_are_listed);
	return tap_done();
}
