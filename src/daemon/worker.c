// SPDX-License-Identifier: Apache-2.0
/*
 * worker.c - what a worker process does
 */
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "agent.h"
#include "cleanup.h"
#include "cluster.h"
#include "config.h"
#include "conn.h"
#include "err.h"
#include "io.h"
#include "journal.h"
#include "json.h"
#include "layers.h"
#include "log.h"
#include "ports.h"
#include "proc.h"
#include "pushes.h"
#include "source.h"
#include "target.h"

#define HANDSHAKE_MS 10000

/* Never read from: once SIGTERM has come it stays readable, and every wait ends. */
static int cancel_descriptor(struct rb_err *err)
{
	sigset_t signals;
	int fd;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? rb_err_set(err, -errno, "make a signal descriptor") : fd;
}

static int work_on(struct rb_config *config, const char *id, bool recover, int cancel_fd,
		   struct rb_err *err)
{
	struct rb_migration m = { .lock_fd = -EBADF };
	_cleanup_entry_ struct rb_entry entry = {};
	int64_t timeout_ms;
	int r;

	r = rb_journal_get(config->node.journal, id, &entry, err);
	if (r < 0)
		return r;
	if (rb_state_is_final(entry.state))
		return 0;
	r = rb_migration_open(&m, &config->node, &entry, recover ? -EBADF : cancel_fd, err);
	/* the lock first: only its owner may sign as the worker, and what its last owner did is
	 * known only now */
	if (r >= 0)
		r = rb_migration_reload_all(&m, err);
	if (r >= 0 && rb_state_is_final(m.entry.state)) {
		rb_migration_close(&m);
		return 0;
	}
	if (r >= 0)
		r = rb_journal_worker(config->node.journal, id, err);
	timeout_ms = rb_json_int(m.entry.facts, "timeout_ms", 0);
	if (!recover && timeout_ms > 0)
		m.wait.deadline_ms = rb_now_ms() + timeout_ms;
	if (r >= 0 && !recover)
		r = rb_source_run(&m, err);
	else if (r >= 0)
		r = m.entry.role == RB_SOURCE ? rb_source_recover(&m, err)
					      : rb_target_recover(&m, err);
	rb_migration_close(&m);
	return r;
}

static int serve(struct rb_config *config, int cancel_fd, struct rb_err *err)
{
	struct rb_wait wait = rb_wait_within(NULL, HANDSHAKE_MS);
	int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	struct rb_conn *conn = NULL;
	int r;

	if (fd < 0)
		return rb_err_set(err, -errno, "take over the connection");
	close(STDIN_FILENO);
	open("/dev/null", O_RDONLY);
	r = rb_conn_accept(config->node.tls, fd, &wait, &conn, err);
	return r < 0 ? r : rb_target_serve(&config->node, conn, cancel_fd, err);
}

/* a request on standard input, its answer, or why there is none, on standard output */
static int question(struct rb_config *config,
		    int (*answer)(const struct rb_node *node, const json_t *request, int cancel_fd,
				  json_t **ret, struct rb_err *err),
		    int cancel_fd, struct rb_err *err)
{
	_cleanup_free_ char *text = calloc(1, 1 << 20);
	_cleanup_json_ json_t *request = NULL, *value = NULL, *outcome = NULL;
	_cleanup_free_ char *out = NULL;
	ssize_t len;
	int r;

	if (!text)
		return rb_err_set(err, -ENOMEM, "read the request");
	len = rb_read_all(STDIN_FILENO, text, (1 << 20) - 1);
	r = len < 0 ? (int)len : rb_json_parse(text, (size_t)len, &request, err);
	if (r >= 0)
		r = answer(&config->node, request, cancel_fd, &value, err);
	outcome = r >= 0 ? json_pack("{s:O}", "answer", value)
			 : json_pack("{s:s, s:i, s:o}", "code", rb_code_name(err->code), "errno",
				     err->errnum, "message", rb_json_text(err->msg));
	out = json_dumps(outcome, JSON_COMPACT);
	if (out)
		rb_write_all(STDOUT_FILENO, out, strlen(out));
	return r;
}

/* these have limits of their own, and are not cancelled */

static int plan(const struct rb_node *node, const json_t *request, int cancel_fd, json_t **ret,
		struct rb_err *err)
{
	(void)cancel_fd;
	return rb_source_plan(node, request, ret, err);
}

static int network(const struct rb_node *node, const json_t *request, int cancel_fd, json_t **ret,
		   struct rb_err *err)
{
	(void)cancel_fd;
	return rb_network_command(node, request, ret, err);
}

static int end_forward(const struct rb_node *node, const json_t *request, int cancel_fd,
		       json_t **ret, struct rb_err *err)
{
	(void)cancel_fd;
	*ret = json_object();
	return rb_ports_end(node, rb_json_str(request, "id", ""), err);
}

static bool is_question(const char *kind)
{
	return strcmp(kind, "plan") == 0 || strcmp(kind, "network") == 0 ||
	       strcmp(kind, "forward-rm") == 0 || strcmp(kind, "diff") == 0;
}

int rb_worker_main(struct rb_config *config, const char *kind, const char *id)
{
	struct rb_err err = {};
	int cancel_fd, r;

	/* one for each process that is followed, and each object of shared memory */
	rb_raise_files_limit();
	cancel_fd = cancel_descriptor(&err);
	r = cancel_fd < 0 ? cancel_fd : rb_config_open_node(config, &err);
	if (r >= 0 && strcmp(kind, "serve") == 0)
		r = serve(config, cancel_fd, &err);
	else if (r >= 0 && strcmp(kind, "plan") == 0)
		r = question(config, plan, cancel_fd, &err);
	else if (r >= 0 && strcmp(kind, "network") == 0)
		r = question(config, network, cancel_fd, &err);
	else if (r >= 0 && strcmp(kind, RB_AGENT_PLUGIN) == 0)
		r = rb_agent_plugin(&config->node, cancel_fd, &err);
	else if (r >= 0 && strcmp(kind, RB_AGENT_MESH) == 0)
		r = rb_agent_mesh(&config->node, cancel_fd, &err);
	else if (r >= 0 && strcmp(kind, "forward-rm") == 0)
		r = question(config, end_forward, cancel_fd, &err);
	else if (r >= 0 && strcmp(kind, "diff") == 0)
		r = question(config, rb_push_diff, cancel_fd, &err);
	else if (r >= 0 && id && strcmp(kind, "push") == 0)
		r = rb_push_run(&config->node, id, cancel_fd, &err);
	else if (r >= 0 && strcmp(kind, "layers") == 0)
		r = rb_layers_run(&config->node, cancel_fd, &err);
	else if (r >= 0 && strcmp(kind, "forwards") == 0)
		r = rb_ports_upkeep(&config->node, &err);
	else if (r >= 0 && id && strcmp(kind, "source") == 0)
		r = work_on(config, id, false, cancel_fd, &err);
	else if (r >= 0 && id && strcmp(kind, "recover") == 0)
		r = work_on(config, id, true, cancel_fd, &err);
	else if (r >= 0)
		r = rb_err_code(&err, RB_E_USAGE, -EINVAL, "unknown kind of worker '%s'", kind);
	if (r < 0 && !is_question(kind))
		rb_error("%s: %s", err.stage[0] ? err.stage : kind, err.msg);
	rb_config_close(config);
	return rb_code_exit(r < 0 ? err.code : RB_OK);
}
