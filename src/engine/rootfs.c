// SPDX-License-Identifier: Apache-2.0
/*
 * rootfs.c - where a container's file system is
 *
 * Docker's own driver overlay2 says it in `docker inspect`. Where Docker keeps images and
 * containers in containerd's store (from Docker 24 on by choice, in new installations from 29 on),
 * containerd has to be asked (containerd.h). There Docker mounts at <its
 * folder>/rootfs/<snapshotter>/<id> (moby, daemon/snapshotter/mount.go), when the container starts.
 *
 * Which containerd Docker uses is in /info from Docker 27 on. Before, it is one of two: the host's,
 * which Docker's service is started with by all packages, or the one that dockerd has started
 * itself.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "containerd.h"
#include "engine.h"
#include "err.h"
#include "io.h"
#include "json.h"

#define NAME_SPACE  "moby"
#define SNAPSHOTTER "overlayfs"

static const char *const sockets[] = {
	"/run/docker/containerd/containerd.sock",
	"/run/containerd/containerd.sock",
};

bool rb_engine_uses_containerd(const json_t *info)
{
	json_t *pair;
	size_t i;

	json_array_foreach (json_object_get(info, "DriverStatus"), i, pair) {
		const char *key = json_string_value(json_array_get(pair, 0));
		const char *value = json_string_value(json_array_get(pair, 1));

		if (key && value && strcmp(key, "driver-type") == 0 &&
		    strncmp(value, "io.containerd.snapshotter", 25) == 0)
			return true;
	}
	return false;
}

static int not_overlay(const char *driver, struct rb_err *err)
{
	return rb_err_code(err, RB_E_REFUSED, -ENOTSUP,
			   "Docker's storage driver '%s' here is neither overlay2 nor containerd's "
			   "overlayfs, which reberth needs",
			   driver);
}

/* in each containerd that may be Docker's */
static int ask_containerd(struct rb_snapshot *snapshot, const char *address, char *ret, size_t size,
			  const struct rb_wait *wait, struct rb_err *err)
{
	int r = -ENOENT;

	if (address) {
		snapshot->socket_path = address;
		return rb_containerd_upper(snapshot, ret, size, wait, err);
	}
	for (size_t i = 0; i < sizeof(sockets) / sizeof(*sockets); i++) {
		snapshot->socket_path = sockets[i];
		rb_err_clear(err);
		r = rb_containerd_upper(snapshot, ret, size, wait, err);
		if (r != -ENOENT && r != -ECONNREFUSED)
			break;
	}
	return r;
}

static int from_containerd(const json_t *inspect, const json_t *info, struct rb_rootfs *ret,
			   const struct rb_wait *wait, struct rb_err *err)
{
	const json_t *containerd = json_object_get(info, "Containerd");
	const char *driver = rb_json_str(inspect, "Driver", "?");
	const char *address = rb_json_str(containerd, "Address", NULL);
	struct rb_snapshot snapshot = {
		.name_space = rb_json_str(rb_json_path(containerd, "Namespaces"), "Containers",
					  NAME_SPACE),
		.snapshotter = driver,
		.key = rb_json_str(inspect, "Id", ""),
	};
	int r;

	if (strcmp(driver, SNAPSHOTTER) != 0)
		return not_overlay(driver, err);
	r = ask_containerd(&snapshot, address, ret->upper, sizeof(ret->upper), wait, err);
	if (r == 0)
		r = rb_path(ret->merged, sizeof(ret->merged), "%s/rootfs/%s/%s",
			    rb_json_str(info, "DockerRootDir", "/var/lib/docker"), driver,
			    snapshot.key);
	return r < 0 ? rb_err_wrap(err, r, "where the container's files are") : 0;
}

int rb_engine_rootfs(const json_t *inspect, const json_t *info, struct rb_rootfs *ret,
		     const struct rb_wait *wait, struct rb_err *err)
{
	const json_t *driver = rb_json_path(inspect, "GraphDriver.Data");
	const char *upper = rb_json_str(driver, "UpperDir", NULL);
	const char *merged = rb_json_str(driver, "MergedDir", NULL);

	if (rb_engine_uses_containerd(info))
		return from_containerd(inspect, info, ret, wait, err);
	if (!upper || !merged || rb_path(ret->upper, sizeof(ret->upper), "%s", upper) < 0 ||
	    rb_path(ret->merged, sizeof(ret->merged), "%s", merged) < 0)
		return not_overlay(rb_json_str(inspect, "Driver", "?"), err);
	return 0;
}
