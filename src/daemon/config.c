// SPDX-License-Identifier: Apache-2.0
/*
 * config.c - /etc/reberth/reberth.json
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "conn.h"
#include "engine.h"
#include "err.h"
#include "fault.h"
#include "io.h"
#include "journal.h"
#include "json.h"

static bool is_list_of_folders(const json_t *list)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (list, i, entry)
		if (!json_is_string(entry) || json_string_value(entry)[0] != '/')
			return false;
	return json_is_array(list);
}

int rb_config_load(const char *path, struct rb_config *ret, struct rb_err *err)
{
	struct rb_config config = { .path = path };
	const json_t *tls;
	int r = rb_json_load(path, &config.json, err);

	if (r < 0)
		return r;
	tls = json_object_get(config.json, "tls");
	r = rb_json_need_str(config.json, "node", &config.node.name, err);
	if (r >= 0)
		r = rb_json_need_str(config.json, "listen", &config.listen, err);
	if (r >= 0)
		r = rb_json_need_str(tls, "ca", &config.ca, err);
	if (r >= 0)
		r = rb_json_need_str(tls, "cert", &config.cert, err);
	if (r >= 0)
		r = rb_json_need_str(tls, "key", &config.key, err);
	if (r < 0) {
		json_decref(config.json);
		return rb_err_wrap(err, r, "%s", path);
	}
	config.docker = rb_json_str(config.json, "docker", "/var/run/docker.sock");
	config.node.peers = json_object_get(config.json, "nodes");
	config.node.allow_bind = json_object_get(config.json, "allow_bind");
	if (config.node.allow_bind && !is_list_of_folders(config.node.allow_bind)) {
		json_decref(config.json);
		return rb_err_code(
			err, RB_E_USAGE, -EINVAL,
			"%s: \"allow_bind\" must be a list of folders, as absolute paths", path);
	}
	config.node.runtime_root =
		rb_json_str(config.json, "runtime_root", "/run/docker/runtime-runc/moby");
	config.node.state_dir = rb_json_str(config.json, "state_dir", "/var/lib/reberth");
	config.node.run_dir = rb_json_str(config.json, "run_dir", "/run/reberth");
	*ret = config;
	return 0;
}

int rb_config_open_node(struct rb_config *config, struct rb_err *err)
{
	struct rb_node *node = &config->node;
	char path[4096];
	int r;

	rb_fault_setup(node->run_dir);
	r = rb_mkdir_p(node->run_dir, 0755, err);
	if (r >= 0)
		r = rb_path(path, sizeof(path), "%s/pagers", node->run_dir);
	if (r >= 0)
		r = rb_mkdir_p(path, 0700, err);
	if (r >= 0)
		r = rb_mkdir_p(node->state_dir, 0700, err);
	if (r >= 0)
		r = rb_path(path, sizeof(path), "%s/journal.db", node->state_dir);
	if (r >= 0)
		r = rb_journal_open(path, &node->journal, err);
	if (r >= 0)
		r = rb_engine_open(config->docker, &node->engine, err);
	if (r >= 0)
		r = rb_tls_new(config->ca, config->cert, config->key, &node->tls, err);
	if (r >= 0 && strcmp(rb_tls_node(node->tls), node->name) != 0)
		r = rb_err_code(err, RB_E_USAGE, -EINVAL,
				"%s: \"node\" is '%s', but the certificate '%s' is for '%s'",
				config->path, node->name, config->cert, rb_tls_node(node->tls));
	return r;
}

void rb_config_close(struct rb_config *config)
{
	rb_journal_close((struct rb_journal *)config->node.journal);
	rb_engine_close((struct rb_engine *)config->node.engine);
	rb_tls_free((struct rb_tls *)config->node.tls);
	json_decref(config->json);
	*config = (struct rb_config){};
}
