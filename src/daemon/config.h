/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - /etc/reberth/reberth.json
 *
 *   "node"          this host's name; the certificate's subject CN must be the same
 *   "listen"        "address:port" for the other nodes
 *   "nodes"         {"name": "address:port", ...} of all nodes
 *   "tls"           {"ca", "cert", "key"}: paths of PEM files
 *   "docker"        socket of the engine           /var/run/docker.sock
 *   "runtime_root"  runc's --root of the engine    /run/docker/runtime-runc/moby
 *   "state_dir"                                    /var/lib/reberth
 *   "run_dir"                                      /run/reberth
 *   "allow_bind"    [folder, ...]: where peers may bring bind mounts to; absent: anywhere but in
 *                   folders of the kernel, of Docker and of ours; []: nowhere
 */
#pragma once

#include <jansson.h>

#include "node.h"

struct rb_err;

struct rb_config {
	json_t *json; /* owner of all texts */
	const char *path;
	const char *listen;
	const char *docker;
	const char *ca, *cert, *key;
	struct rb_node node; /* names, folders and peers; opened by rb_config_open_node() */
};

int rb_config_load(const char *path, struct rb_config *ret, struct rb_err *err);

/** rb_config_open_node - make the folders, open journal, engine and TLS for this process */
int rb_config_open_node(struct rb_config *config, struct rb_err *err);
void rb_config_close(struct rb_config *config);
