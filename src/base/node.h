/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node.h - what a worker has of the host it runs on
 */
#pragma once

#include <jansson.h>

struct rb_engine;
struct rb_journal;
struct rb_tls;

struct rb_node {
	const char *name;
	const char *run_dir;	  /* /run/reberth: sockets, locks, progress; gone after a reboot */
	const char *state_dir;	  /* /var/lib/reberth: journal, images of migrations under way */
	const char *runtime_root; /* runc's --root of the engine */
	const json_t *peers;	  /* {"h2": "10.77.0.2:7480", ...} */
	const json_t *allow_bind; /* folders that bind mounts may be brought to; NULL: all */
	struct rb_engine *engine;
	struct rb_journal *journal;
	struct rb_tls *tls;
};
