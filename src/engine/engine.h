/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.h - the Docker Engine API over its unix socket
 *
 * Works with Docker 20.10 to 29: /_ping tells the engine's own API version, which is used up
 * to 1.51 (Docker 28.5, which 29 still speaks). Needs access to the socket, that is, root. A handle
 * belongs to one process and one thread. An HTTP status of 404 becomes -ENOENT/RB_E_NOT_FOUND, 409
 * -EBUSY/RB_E_CONFLICT, 304 is success, others -EIO/RB_E_ENGINE; the message is Docker's own.
 */
#pragma once

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct rb_engine;
struct rb_err;
struct rb_wait;

int rb_engine_open(const char *socket_path, struct rb_engine **ret, struct rb_err *err);
void rb_engine_close(struct rb_engine *engine);

/** rb_engine_api - the API version in use. Return: 41 for "1.41", or negative errno. */
int rb_engine_api(struct rb_engine *engine, const struct rb_wait *wait, struct rb_err *err);

/** rb_engine_call - one request; @path starts behind the version ("/containers/json"); @body and
 * @ret may be NULL; an empty answer becomes {} */
int rb_engine_call(struct rb_engine *engine, const char *method, const char *path,
		   const json_t *body, json_t **ret, const struct rb_wait *wait,
		   struct rb_err *err);

/** rb_engine_escape - percent-encode one path or query component into @ret */
int rb_engine_escape(const char *text, char *ret, size_t size);

/** Called with each block of a body that arrives; non-zero ends the transfer with that errno. It
 * may fill the very @err that the transfer was given: that is kept. */
typedef int (*rb_engine_sink)(void *arg, const void *data, size_t len);
/** Fills @buf; returns its length, 0 at the end, negative errno to end the transfer. It may block,
 * then within the same rb_wait by its own care. */
typedef ssize_t (*rb_engine_feed)(void *arg, void *buf, size_t size);

/** rb_engine_download - GET a body of any length */
int rb_engine_download(struct rb_engine *engine, const char *path, rb_engine_sink sink, void *arg,
		       const struct rb_wait *wait, struct rb_err *err);
/** rb_engine_upload - POST a body of unknown length; @ret_text gets what Docker answered (malloc'd)
 */
int rb_engine_upload(struct rb_engine *engine, const char *path, const char *content_type,
		     rb_engine_feed feed, void *arg, char **ret_text, const struct rb_wait *wait,
		     struct rb_err *err);

/** rb_engine_stream_open - the same by pulling: read until 0, then close; closing earlier ends the
 * transfer. Nothing is sent before the first read. */
struct rb_engine_stream;
int rb_engine_stream_open(struct rb_engine *engine, const char *path, const struct rb_wait *wait,
			  struct rb_engine_stream **ret, struct rb_err *err);
/** rb_engine_stream_read - next block, valid until the next read. Return: its length, 0 at the end,
 * negative errno. */
ssize_t rb_engine_stream_read(struct rb_engine_stream *stream, const void **ret_block,
			      const struct rb_wait *wait, struct rb_err *err);
void rb_engine_stream_close(struct rb_engine_stream *stream);

/* containers; @name is a name or id (or its unique beginning, as Docker has it) */
int rb_engine_inspect(struct rb_engine *engine, const char *name, json_t **ret,
		      const struct rb_wait *wait, struct rb_err *err);
/** rb_engine_create - @body from rb_spec_from_inspect(); it is fitted to this engine's API version
 */
int rb_engine_create(struct rb_engine *engine, const char *name, const json_t *body,
		     char ret_id[65], const struct rb_wait *wait, struct rb_err *err);
int rb_engine_start(struct rb_engine *engine, const char *id, const struct rb_wait *wait,
		    struct rb_err *err);
int rb_engine_kill(struct rb_engine *engine, const char *id, const char *signal,
		   const struct rb_wait *wait, struct rb_err *err);
/** rb_engine_remove - force: also when it runs; volumes: its anonymous ones too. Absent: success.
 */
int rb_engine_remove(struct rb_engine *engine, const char *id, bool force, bool volumes,
		     const struct rb_wait *wait, struct rb_err *err);
int rb_engine_rename(struct rb_engine *engine, const char *id, const char *new_name,
		     const struct rb_wait *wait, struct rb_err *err);
/** rb_engine_policy_restarts - does a restart policy have Docker start the container by itself? */
bool rb_engine_policy_restarts(const json_t *policy);

/** rb_engine_restart_policy - @policy as HostConfig.RestartPolicy {"Name","MaximumRetryCount"}
 *
 * Nothing is sent when it is so already. Otherwise, on a *running* container, Docker also has the
 * runtime update its cgroup with empty limits: a frozen one stays frozen (seen with runc 1.1.5
 * and 1.3), but an arriving container's runtime must take "update" in good part.
 */
int rb_engine_restart_policy(struct rb_engine *engine, const char *id, const json_t *policy,
			     const struct rb_wait *wait, struct rb_err *err);
/** rb_engine_wait_stopped - until the container no longer runs (State.Running false) or is gone */
int rb_engine_wait_stopped(struct rb_engine *engine, const char *id, const struct rb_wait *wait,
			   struct rb_err *err);
/**
 * rb_engine_connect_missing - connect a created container to those networks that it lacks
 * @more: from rb_spec_more_networks()
 *
 * Does nothing from API 1.44 on, where create takes all networks. Older engines give eth1, eth2,
 * ... in the order of connecting to a *running* container, in random order to one that is started
 * later. They derive the MAC from the IPv4 address; another one cannot be asked for.
 */
int rb_engine_connect_missing(struct rb_engine *engine, const char *id, const json_t *more,
			      const struct rb_wait *wait, struct rb_err *err);
/** rb_engine_network_connect - @endpoint: EndpointConfig, may be NULL */
int rb_engine_network_connect(struct rb_engine *engine, const char *network, const char *id,
			      const json_t *endpoint, const struct rb_wait *wait,
			      struct rb_err *err);
int rb_engine_network_disconnect(struct rb_engine *engine, const char *network, const char *id,
				 bool force, const struct rb_wait *wait, struct rb_err *err);
/** rb_engine_wait_ready - until the engine answers /_ping (it may just be starting) */
int rb_engine_wait_ready(struct rb_engine *engine, const struct rb_wait *wait, struct rb_err *err);
int rb_engine_network_inspect(struct rb_engine *engine, const char *network, json_t **ret,
			      const struct rb_wait *wait, struct rb_err *err);

/** rb_engine_use_image - make a create body use the image of that ID: Config.Image keeps the name
 * that the user wrote if it means @image_id here, and becomes the ID if it means another one or
 * nothing */
int rb_engine_use_image(struct rb_engine *engine, json_t *body, const char *image_id,
			const struct rb_wait *wait, struct rb_err *err);
int rb_engine_image_inspect(struct rb_engine *engine, const char *ref, json_t **ret,
			    const struct rb_wait *wait, struct rb_err *err);

int rb_engine_volume_inspect(struct rb_engine *engine, const char *name, json_t **ret,
			     const struct rb_wait *wait, struct rb_err *err);
/** rb_engine_describe_volumes - fill "options" and "labels" of rb_spec_volumes()' entries, which no
 * container's inspect tells */
int rb_engine_describe_volumes(struct rb_engine *engine, json_t *volumes,
			       const struct rb_wait *wait, struct rb_err *err);
/** rb_engine_volume_create - @volume as in rb_spec_volumes(); one that exists is no error, see
 * "Mountpoint" and "CreatedAt" in @ret (may be NULL) */
int rb_engine_volume_create(struct rb_engine *engine, const json_t *volume, json_t **ret,
			    const struct rb_wait *wait, struct rb_err *err);
/** rb_engine_volume_remove - absent: success; in use: -EBUSY */
int rb_engine_volume_remove(struct rb_engine *engine, const char *name, const struct rb_wait *wait,
			    struct rb_err *err);

/** rb_engine_info - GET /info */
int rb_engine_info(struct rb_engine *engine, json_t **ret, const struct rb_wait *wait,
		   struct rb_err *err);

/** rb_engine_uses_containerd - are images and containers in containerd's store, by Docker's /info?
 */
bool rb_engine_uses_containerd(const json_t *info);

/** Where a container's file system is on this host. */
struct rb_rootfs {
	char upper[PATH_MAX];  /* the writable layer */
	char merged[PATH_MAX]; /* where Docker mounts it while the container runs */
};

/**
 * rb_engine_rootfs - where the file system of a container is, whether it runs or not
 * @inspect: rb_engine_inspect()
 * @info: rb_engine_info() of the same engine
 *
 * With containerd's store asks containerd over its socket, so needs root. Return: 0;
 * -ENOTSUP/RB_E_REFUSED: it is on no overlay; -ECONNREFUSED, -EIO, -EPROTO (RB_E_ENGINE).
 */
int rb_engine_rootfs(const json_t *inspect, const json_t *info, struct rb_rootfs *ret,
		     const struct rb_wait *wait, struct rb_err *err);
