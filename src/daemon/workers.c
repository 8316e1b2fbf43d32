// SPDX-License-Identifier: Apache-2.0
/*
 * workers.c - the daemon's worker processes
 */
#include "workers.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "cleanup.h"
#include "config.h"
#include "err.h"
#include "forwards.h"
#include "io.h"
#include "journal.h"
#include "json.h"
#include "lock.h"
#include "log.h"
#include "migration.h"
#include "proc.h"
#include "pushes.h"
#include "wait.h"

#define MAX_WORKERS   256
#define RETRY_MS      2000
#define UPKEEP_MS     2000
#define AGENTS_END_MS 2000
#define UPKEEP	      "forwards" /* migrate/ports.h; one at a time */
#define LAYERS	      "layers"	 /* layers.h; one at a time */
#define LAYERS_MS     30000

/* always one of each, see network/agent.h */
static const char *const agents[] = { RB_AGENT_PLUGIN, RB_AGENT_MESH };

struct worker {
	struct rb_child child;
	char id[RB_ID_LEN + 1]; /* "" for one that serves a peer, or plans */
	int answer_fd;		/* question: file that gets the answer */
	void (*done)(void *arg, json_t *plan, const struct rb_err *why);
	bool (*gone)(void *arg);
	void *arg;
};

struct rb_workers {
	const struct rb_config *config;
	struct worker workers[MAX_WORKERS];
	size_t n;
	/* recovery is not tried again at once: ring of (id, when) */
	struct {
		char id[RB_ID_LEN + 1];
		int64_t not_before_ms;
	} tried[64];
	size_t next_tried;
	int64_t upkeep_ms; /* when it is due */
	int64_t layers_ms;
};

/* They hold the journal open, and may be of an older program than the daemon that comes next. */
static void end_agents(const struct rb_node *node)
{
	int64_t until = rb_now_ms() + AGENTS_END_MS;

	for (size_t i = 0; i < ARRAY_SIZE(agents); i++) {
		int pid = rb_lock_holder(node, agents[i]);

		if (pid > 0)
			kill(pid, SIGTERM);
	}
	for (size_t i = 0; i < ARRAY_SIZE(agents); i++)
		while (rb_lock_holder(node, agents[i]) && rb_now_ms() < until)
			rb_wait_ms(5, NULL, NULL);
}

int rb_workers_new(const struct rb_config *config, struct rb_workers **ret, struct rb_err *err)
{
	struct rb_workers *workers = calloc(1, sizeof(*workers));

	if (!workers)
		return rb_err_set(err, -ENOMEM, "set up workers");
	workers->config = config;
	end_agents(&config->node);
	*ret = workers;
	return 0;
}

void rb_workers_free(struct rb_workers *workers)
{
	if (workers)
		end_agents(&workers->config->node);
	for (size_t i = 0; workers && i < workers->n; i++)
		rb_close_fd(&workers->workers[i].child.pidfd);
	free(workers);
}

static int start(struct rb_workers *workers, const char *kind, const char *id, int stdin_fd,
		 int stdout_fd, struct worker **ret, struct rb_err *err)
{
	const char *argv[] = {
		"/proc/self/exe", "--config", workers->config->path, "--worker", kind, id, NULL
	};
	struct rb_spawn spec = {
		.argv = argv,
		.stdin_fd = stdin_fd,
		.stdout_fd = stdout_fd,
		.new_session = true,
		/* a cancel right after the start waits until it is looked for */
		.term_blocked = true,
	};
	struct worker *worker = &workers->workers[workers->n];
	int r;

	if (workers->n == MAX_WORKERS)
		return rb_err_code(err, RB_E_CONFLICT, -EBUSY,
				   "this host has %d conversations already: try again later",
				   MAX_WORKERS);
	*worker = (struct worker){ .answer_fd = -EBADF };
	r = rb_spawn(&spec, &worker->child, err);
	if (r < 0)
		return r;
	snprintf(worker->id, sizeof(worker->id), "%s", id ? id : "");
	workers->n++;
	if (ret)
		*ret = worker;
	return 0;
}

int rb_workers_start_source(struct rb_workers *workers, const char *id, struct rb_err *err)
{
	return start(workers, "source", id, 0, 0, NULL, err);
}

int rb_workers_start_push(struct rb_workers *workers, const char *id, struct rb_err *err)
{
	return start(workers, "push", id, 0, 0, NULL, err);
}

int rb_workers_start_serve(struct rb_workers *workers, int fd, struct rb_err *err)
{
	/* strangers at the port must not keep our own work from being done */
	if (workers->n >= MAX_WORKERS / 2)
		return rb_err_code(err, RB_E_CONFLICT, -EBUSY,
				   "there are %zu conversations already", workers->n);
	return start(workers, "serve", NULL, fd, 0, NULL, err);
}

/* question and answer of such a worker are files without a name: nobody blocks on a pipe */
static int memory_file(const char *text, struct rb_err *err)
{
	_cleanup_close_ int fd = memfd_create("reberth-question", MFD_CLOEXEC);

	if (fd < 0 || rb_write_all(fd, text, strlen(text)) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return rb_err_set(err, -errno, "hand a request to a worker");
	return TAKE_FD(fd);
}

int rb_workers_start_question(struct rb_workers *workers, const char *kind, const json_t *request,
			      void (*done)(void *arg, json_t *answer, const struct rb_err *why),
			      bool (*gone)(void *arg), void *arg, struct rb_err *err)
{
	_cleanup_free_ char *text = json_dumps(request, JSON_COMPACT);
	_cleanup_close_ int question = memory_file(text ? text : "{}", err);
	_cleanup_close_ int answer = memory_file("", err);
	struct worker *worker;
	int r;

	if (question < 0 || answer < 0)
		return question < 0 ? question : answer;
	r = start(workers, kind, NULL, question, answer, &worker, err);
	if (r < 0)
		return r;
	worker->answer_fd = TAKE_FD(answer);
	worker->done = done;
	worker->gone = gone;
	worker->arg = arg;
	return 0;
}

static void finish_question(struct worker *worker)
{
	_cleanup_json_ json_t *answer = NULL;
	_cleanup_free_ char *text = calloc(1, 1 << 20);
	struct rb_err why = {};
	ssize_t len;

	len = text ? pread(worker->answer_fd, text, (1 << 20) - 1, 0) : -1;
	rb_close_fd(&worker->answer_fd);
	if (len <= 0 || rb_json_parse(text, (size_t)len, &answer, NULL) < 0) {
		rb_err_code(&why, RB_E_INTERNAL, -EIO, "the worker ended without an answer");
		worker->done(worker->arg, NULL, &why);
		return;
	}
	if (json_object_get(answer, "answer")) {
		worker->done(worker->arg, json_incref(json_object_get(answer, "answer")), NULL);
		return;
	}
	rb_err_code(&why, rb_code_parse(rb_json_str(answer, "code", "")),
		    -(int)rb_json_int(answer, "errno", EIO), "%s",
		    rb_json_str(answer, "message", "?"));
	worker->done(worker->arg, NULL, &why);
}

pid_t rb_workers_pid(const struct rb_workers *workers, const char *id)
{
	for (size_t i = 0; i < workers->n; i++)
		if (strcmp(workers->workers[i].id, id) == 0)
			return workers->workers[i].child.pid;
	return 0;
}

void rb_workers_reap(struct rb_workers *workers)
{
	for (size_t i = 0; i < workers->n;) {
		struct worker worker = workers->workers[i];
		int status;

		if (waitpid(worker.child.pid, &status, WNOHANG) != worker.child.pid) {
			i++;
			continue;
		}
		rb_close_fd(&worker.child.pidfd);
		if (WIFSIGNALED(status))
			rb_warn("%s worker %d was ended by signal %d", worker.id,
				(int)worker.child.pid, WTERMSIG(status));
		if (worker.done)
			finish_question(&worker);
		workers->workers[i] = workers->workers[--workers->n];
	}
}

static bool tried_lately(struct rb_workers *workers, const char *id)
{
	int64_t now = rb_now_ms();

	for (size_t i = 0; i < ARRAY_SIZE(workers->tried); i++)
		if (strcmp(workers->tried[i].id, id) == 0) {
			if (now < workers->tried[i].not_before_ms)
				return true;
			workers->tried[i].not_before_ms = now + RETRY_MS;
			return false;
		}
	snprintf(workers->tried[workers->next_tried].id, RB_ID_LEN + 1, "%s", id);
	workers->tried[workers->next_tried].not_before_ms = now + RETRY_MS;
	workers->next_tried = (workers->next_tried + 1) % ARRAY_SIZE(workers->tried);
	return false;
}

static int tend_one(void *arg, const struct rb_entry *entry)
{
	struct rb_workers *workers = arg;
	struct rb_err why = {};

	for (size_t i = 0; i < workers->n; i++)
		if (strcmp(workers->workers[i].id, entry->id) == 0)
			return 0;
	/* an entry that still names this daemon lost its worker before that could say its name */
	if (entry->worker != getpid() && rb_pid_alive(entry->worker, entry->worker_start))
		return 0;
	if (tried_lately(workers, entry->id))
		return 0;
	rb_info("%s has no worker (state %s): starting one that recovers", entry->id,
		rb_state_name(entry->state));
	if (start(workers, "recover", entry->id, 0, 0, NULL, &why) < 0)
		rb_error("%s: %s", entry->id, why.msg);
	return 0;
}

static void tend_agents(struct rb_workers *workers)
{
	struct rb_err why = {};

	for (size_t i = 0; i < ARRAY_SIZE(agents); i++) {
		/* one that was just started has no lock yet, and ours has no child of an old daemon
		 */
		if (rb_workers_pid(workers, agents[i]) ||
		    rb_lock_holder(&workers->config->node, agents[i]) ||
		    tried_lately(workers, agents[i]))
			continue;
		if (start(workers, agents[i], agents[i], 0, 0, NULL, &why) < 0)
			rb_error("network: %s", why.msg);
	}
}

/* What this host forwards for containers that moved is looked after, where there is any. */
static void tend_forwards(struct rb_workers *workers)
{
	_cleanup_json_ json_t *rows = NULL;
	struct rb_err why = {};
	int r = 0;

	if (rb_now_ms() < workers->upkeep_ms || rb_workers_pid(workers, UPKEEP))
		return;
	workers->upkeep_ms = rb_now_ms() + UPKEEP_MS;
	r = rb_forwards_list(workers->config->node.journal, NULL, &rows, &why);
	if (r >= 0 && json_array_size(rows))
		r = start(workers, UPKEEP, UPKEEP, 0, 0, NULL, &why);
	if (r < 0)
		rb_error("forwards: %s", why.msg);
}

/* What images brought since the last look is noted while nothing else is to do. */
static void tend_layers(struct rb_workers *workers)
{
	struct rb_err why = {};

	if (rb_now_ms() < workers->layers_ms || rb_workers_pid(workers, LAYERS))
		return;
	workers->layers_ms = rb_now_ms() + LAYERS_MS;
	if (start(workers, LAYERS, LAYERS, 0, 0, NULL, &why) < 0)
		rb_error("layers: %s", why.msg);
}

static void end_unwanted(struct rb_workers *workers)
{
	for (size_t i = 0; i < workers->n; i++) {
		struct worker *worker = &workers->workers[i];

		if (worker->gone && worker->gone(worker->arg)) {
			kill(worker->child.pid, SIGTERM);
			worker->gone = NULL; /* once is enough */
		}
	}
}

void rb_workers_tend(struct rb_workers *workers)
{
	struct rb_err why = {};

	end_unwanted(workers);
	tend_agents(workers);
	tend_forwards(workers);
	tend_layers(workers);

	if (rb_journal_each(workers->config->node.journal, true, tend_one, workers, &why) < 0)
		rb_error("%s", why.msg);
	rb_migration_sweep(&workers->config->node);
	rb_pushes_sweep(&workers->config->node);
}
