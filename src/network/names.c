// SPDX-License-Identifier: Apache-2.0
/*
 * names.c - names of containers, known on all nodes of their network
 *
 * Docker's name server in each container knows the containers of its own host, and passes on what
 * it does not know: to the host's name servers, from within the container. Packets of a network's
 * bridge to these, and to no others, are led to a dnsmasq of that network on the bridge's own
 * address (net/mesh_rules.c). It knows the containers of all nodes, and asks the host's name
 * servers for everything else. So an answer is one of DNS, also for `nslookup`.
 *
 * Each node tells the others who is in the network there (agent.c), whenever that changes, and all
 * of it now and then. A file per node in a folder is what dnsmasq reads; what it reads again on
 * SIGHUP. All of that is in run_dir and is told again after a reboot.
 *
 * Where the host has loopback name servers only (systemd-resolved's 127.0.0.53), Docker asks from
 * the host's namespace, where a question of one network looks like that of another: there this does
 * not work, and inspect says so.
 */
#include "names.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "engine.h"
#include "err.h"
#include "io.h"
#include "journal.h"
#include "json.h"
#include "node.h"
#include "proc.h"
#include "spec.h"
#include "wait.h"

#define LIST_MAX  16384
#define NAMES_MAX 64
#define GONE_MS	  5000
#define UPSTREAMS 3 /* as many as libc asks */

static const char name_characters[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_.-";

/* run_dir/names/ID: a folder, and beside it ID.pid */
static const char *path_of(char ret[512], const struct rb_node *node, const json_t *spec,
			   const char *rest)
{
	rb_path(ret, 512, "%s/names/%s%s", node->run_dir, rb_json_str(spec, "id", ""), rest);
	return ret;
}

/* --- who is here --- */

/* While it arrives, a container has a name of its migration's; its own it gets in the end. */
static json_t *real_name(const struct rb_node *node, const char *name)
{
	_cleanup_entry_ struct rb_entry entry = {};

	if (strncmp(name, "reberth-", 8) == 0 && strlen(name) == 8 + RB_ID_LEN &&
	    rb_journal_get(node->journal, name + 8, &entry, NULL) >= 0)
		return json_string(entry.container);
	return json_string(name);
}

static json_t *names_of(const struct rb_node *node, const json_t *spec, const char *id,
			const char *name, const struct rb_wait *wait)
{
	_cleanup_json_ json_t *inspect = NULL;
	json_t *names = json_array(), *alias;
	const json_t *endpoint;
	size_t i;

	json_array_append_new(names, real_name(node, name));
	json_array_append_new(names, json_stringn(id, 12));
	if (rb_engine_inspect(node->engine, id, &inspect, wait, NULL) < 0)
		return names;
	endpoint = json_object_get(rb_json_path(inspect, "NetworkSettings.Networks"),
				   rb_json_str(spec, "name", ""));
	json_array_foreach (json_object_get(endpoint, "Aliases"), i, alias)
		json_array_append(names, alias);
	return names;
}

static const json_t *find(const json_t *list, const char *key)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (list, i, entry)
		if (strcmp(rb_json_str(entry, "key", ""), key) == 0)
			return entry;
	return NULL;
}

static void keep_gone(json_t *list, const json_t *before)
{
	json_t *entry;
	size_t i;

	json_array_foreach (before, i, entry) {
		int64_t gone = rb_json_int(entry, "gone_ms", rb_now_ms());

		if (find(list, rb_json_str(entry, "key", "")) || rb_now_ms() - gone > GONE_MS)
			continue;
		json_object_set_new(entry, "gone_ms", json_integer(gone));
		json_array_append(list, entry);
	}
}

json_t *rb_names_here(const struct rb_node *node, const json_t *spec, const json_t *containers,
		      const json_t *before, const struct rb_wait *wait)
{
	json_t *list = json_array(), *container, *entry;
	const char *id;

	json_object_foreach ((json_t *)containers, id, container) {
		const char *address = rb_json_str(container, "IPv4Address", "");
		const char *name = rb_json_str(container, "Name", "");
		char key[256];

		snprintf(key, sizeof(key), "%.64s %.64s %.100s", id,
			 rb_json_str(container, "EndpointID", ""), name);
		entry = json_incref((json_t *)find(before, key));
		if (!entry)
			entry = json_pack("{s:s, s:s%, s:o}", "key", key, "ip", address,
					  strcspn(address, "/"), "names",
					  names_of(node, spec, id, name, wait));
		json_object_del(entry, "gone_ms");
		json_array_append_new(list, entry);
	}
	keep_gone(list, before);
	return list;
}

/* --- what is known of a node --- */

/* "10.20.0.5 cache db", for what is an address and names */
static int add_line(struct rb_buf *text, const json_t *entry)
{
	const char *ip = rb_json_str(entry, "ip", "");
	const json_t *names = json_object_get(entry, "names"), *name;
	struct in_addr in;
	size_t i;
	int r;

	if (inet_pton(AF_INET, ip, &in) != 1)
		return 0;
	r = rb_buf_addf(text, "%s", ip);
	json_array_foreach (names, i, name) {
		const char *word = json_string_value(name);
		size_t len = word ? strlen(word) : 0;

		if (len && len < 254 && i < NAMES_MAX && strspn(word, name_characters) == len)
			r |= rb_buf_addf(text, " %s", word);
	}
	return r | rb_buf_addf(text, "\n");
}

int rb_names_store(const struct rb_node *node, const json_t *spec, const char *from,
		   const json_t *list, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf text = {}, old = {};
	const json_t *entry;
	char dir[512], path[600];
	size_t i;
	int r;

	r = rb_mkdir_p(path_of(dir, node, spec, ""), 0755, err);
	if (r < 0)
		return r;
	json_array_foreach (list, i, entry)
		if (i < LIST_MAX && add_line(&text, entry) < 0)
			return rb_err_set(err, -ENOMEM, "note names");
	rb_path(path, sizeof(path), "%s/%s", dir, from);
	if (rb_read_file(path, 0, &old, NULL) >= 0 && old.len == text.len &&
	    (text.len == 0 || memcmp(old.data, text.data, text.len) == 0))
		return 0;
	r = rb_write_file(path, text.data ? text.data : "", text.len, 0644, false, err);
	return r < 0 ? r : 1;
}

json_t *rb_names_stored(const struct rb_node *node, const json_t *spec, const char *from)
{
	_cleanup_buf_ struct rb_buf text = {};
	char dir[512], path[600], *save = NULL;
	json_t *list = json_array();

	rb_path(path, sizeof(path), "%s/%s", path_of(dir, node, spec, ""), from);
	if (rb_read_file(path, 0, &text, NULL) < 0 || !text.data)
		return list;
	for (char *line = strtok_r(text.data, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		char *words = NULL, *ip = strtok_r(line, " ", &words), *word;
		json_t *names = json_array();

		while ((word = strtok_r(NULL, " ", &words)))
			json_array_append_new(names, json_string(word));
		json_array_append_new(list,
				      json_pack("{s:s, s:o}", "ip", ip ? ip : "", "names", names));
	}
	return list;
}

/* --- the name server --- */

json_t *rb_names_resolvers(void)
{
	_cleanup_fclose_ FILE *file = fopen("/etc/resolv.conf", "re");
	json_t *list = json_array();
	char line[256], text[64];
	struct in_addr in;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, " nameserver %63s", text) == 1 &&
		    inet_pton(AF_INET, text, &in) == 1 && ntohl(in.s_addr) >> 24 != 127 &&
		    json_array_size(list) < UPSTREAMS)
			json_array_append_new(list, json_string(text));
	return list;
}

/* Its pid, if the process is what we would start: its arguments are in @args, as /proc has them. */
static pid_t running(const struct rb_node *node, const json_t *spec, const struct rb_buf *args)
{
	_cleanup_buf_ struct rb_buf text = {}, have = {};
	char path[512];
	long pid;

	if (rb_read_file(path_of(path, node, spec, ".pid"), 64, &text, NULL) < 0)
		return 0;
	pid = strtol(text.data, NULL, 10);
	snprintf(path, sizeof(path), "/proc/%ld/cmdline", pid);
	if (pid <= 1 || rb_read_file(path, 0, &have, NULL) < 0 || have.len < 8 ||
	    strcmp(have.data, "dnsmasq") != 0)
		return 0;
	if (args && (have.len != args->len || memcmp(have.data, args->data, args->len) != 0))
		return 0;
	return (pid_t)pid;
}

static void stop(const struct rb_node *node, const json_t *spec)
{
	pid_t pid = running(node, spec, NULL);

	if (pid > 0)
		kill(pid, SIGTERM);
	for (int i = 0; pid > 0 && i < 200 && running(node, spec, NULL) == pid; i++) {
		/* ours, or an earlier agent's */
		waitpid(pid, NULL, WNOHANG);
		rb_wait_ms(10, NULL, NULL);
	}
}

void rb_names_reap(void)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

void rb_names_reload(const struct rb_node *node, const json_t *spec)
{
	pid_t pid = running(node, spec, NULL);

	if (pid > 0)
		kill(pid, SIGHUP);
}

void rb_names_stop(const struct rb_node *node, const json_t *spec)
{
	char path[512];

	stop(node, spec);
	rb_rm_rf(path_of(path, node, spec, ""), NULL);
	unlink(path_of(path, node, spec, ".pid"));
	/* while there is another network it stays */
	rb_path(path, sizeof(path), "%s/names", node->run_dir);
	rmdir(path);
}

static int start(const char *const *argv, struct rb_err *err)
{
	struct rb_spawn spec = { .argv = argv, .new_session = true };
	struct rb_child child;
	int r = rb_spawn(&spec, &child, err);

	if (r == -ENOENT)
		return rb_err_code(err, RB_E_NOT_FOUND, r,
				   "names of containers on other nodes are not known: dnsmasq is "
				   "not installed (Debian's dnsmasq-base)");
	if (r < 0)
		return r;
	rb_close_fd(&child.pidfd);
	return 1;
}

int rb_names_tend(const struct rb_node *node, const json_t *spec, uint32_t address,
		  struct rb_err *err)
{
	char listen[64], port[32], hosts[600], pid_file[600], folder[512], upstream[UPSTREAMS][64];
	_cleanup_json_ json_t *resolvers = rb_names_resolvers();
	_cleanup_buf_ struct rb_buf args = {};
	/* one name server asks the next: it may not know the containers' plain names, or tell them
	 * apart from its own */
	const char *argv[9 + 4 + UPSTREAMS + 1] = {
		"dnsmasq",	   "--keep-in-foreground", "--conf-file=/dev/null",
		"--bind-dynamic",  "--no-hosts",	   "--no-resolv",
		"--domain-needed", "--user=nobody",	   "--group=nogroup"
	};
	char text[RB_ADDRESS_TEXT];
	size_t n = 9;
	int r;

	snprintf(listen, sizeof(listen), "--listen-address=%s", rb_address_text(text, address, 0));
	snprintf(port, sizeof(port), "--port=%d", RB_NAMES_PORT);
	snprintf(hosts, sizeof(hosts), "--addn-hosts=%s", path_of(folder, node, spec, ""));
	snprintf(pid_file, sizeof(pid_file), "--pid-file=%s", path_of(folder, node, spec, ".pid"));
	argv[n++] = listen;
	argv[n++] = port;
	argv[n++] = hosts;
	argv[n++] = pid_file;
	for (size_t i = 0; i < json_array_size(resolvers) && n < ARRAY_SIZE(argv) - 1; i++) {
		snprintf(upstream[i], sizeof(upstream[i]), "--server=%s",
			 json_string_value(json_array_get(resolvers, i)));
		argv[n++] = upstream[i];
	}
	for (size_t i = 0; i < n; i++)
		if (rb_buf_add(&args, argv[i], strlen(argv[i]) + 1) < 0)
			return -ENOMEM;
	if (running(node, spec, &args) > 0)
		return 0;
	stop(node, spec);
	r = rb_mkdir_p(path_of(folder, node, spec, ""), 0755, err);
	return r < 0 ? r : start(argv, err);
}
