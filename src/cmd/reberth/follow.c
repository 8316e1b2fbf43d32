// SPDX-License-Identifier: Apache-2.0
/*
 * follow.c - watch a migration, or a push, to its end, and let the user cancel it
 *
 * It lives in reberthd; whatever happens to this program, it goes on. States and what moves between
 * them:
 *
 *   WATCHING   Ctrl-C on a terminal -> ASKING, where the kind asks; otherwise, and on SIGTERM
 *		-> CANCELING
 *   ASKING     y or Ctrl-C -> CANCELING, anything else -> WATCHING. The migration may end meanwhile
 *   CANCELING  the cancel was sent; waits for the rollback. SIGINT or SIGTERM again -> LEAVING.
 *              Refused (past the point of no return) -> WATCHING, where they now lead to LEAVING
 *   LEAVING    SIGHUP leads here from everywhere: the terminal is gone, nobody said cancel
 *
 * A reberthd that does not answer is waited for: one that is started again finishes or undoes what
 * it finds in its journal, and knows of pushes what their workers have written.
 */
#include "follow.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli.h"
#include "client.h"
#include "err.h"
#include "json.h"
#include "progress.h"
#include "wait.h"

#define POLL_MS		  100
#define ANSWER_TIMEOUT_MS 10000
#define SILENCE_MAX_MS	  30000
#define REPORT_MAX_MS	  3000

enum follow_state { WATCHING, ASKING, CANCELING, LEAVING };

struct follow {
	const struct follow_kind *kind;
	struct client *client;
	const char *id;
	enum follow_state state;
	bool refused; /* it cannot be cancelled any more: the next signal leaves */
	struct progress_display display;
	int64_t silent_since_ms; /* rb_now_ms() of the first request without answer; 0: answers */
	int64_t inactive_since_ms;
	json_t *seen; /* as the API last gave it */
};

static int migration_lost(const char *id, struct rb_err *err)
{
	return rb_err_code(
		err, RB_E_PEER, -ECONNREFUSED,
		"reberthd went away during the migration: start it again, it finishes or "
		"undoes migration %s ('reberth migration inspect %s' tells)",
		id, id);
}

static int migration_left(const char *id, struct rb_err *err)
{
	return rb_err_code(
		err, RB_E_CANCELED, -ECANCELED,
		"left before the end: reberthd goes on with migration %s, 'reberth migration "
		"inspect %s' tells what came of it",
		id, id);
}

const struct follow_kind follow_migration = {
	.path = client_migration_path,
	.question = "Cancel and roll back? [y/N] (again Ctrl-C: yes) ",
	.canceling = "canceling, waiting for the rollback",
	.lost = migration_lost,
	.left = migration_left,
};

static int push_lost(const char *id, struct rb_err *err)
{
	return rb_err_code(err, RB_E_PEER, -ECONNREFUSED,
			   "reberthd went away during the push: start it again, 'reberth image "
			   "pushes' tells what becomes of %s",
			   id);
}

static int push_left(const char *id, struct rb_err *err)
{
	return rb_err_code(err, RB_E_CANCELED, -ECANCELED,
			   "left before the end: reberthd goes on with push %s, 'reberth image "
			   "pushes' tells what came of it",
			   id);
}

/* what was sent is not lost: no question, as with docker push */
const struct follow_kind follow_push = {
	.path = client_push_path,
	.canceling = "canceling",
	.lost = push_lost,
	.left = push_left,
};

int follow_block_signals(struct rb_err *err)
{
	struct sigaction action;
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP); /* ignored under nohup, and then never delivered */
	/* A shell without job control ignores SIGINT for what it starts in the background. */
	if (sigaction(SIGINT, NULL, &action) < 0 || action.sa_handler != SIG_IGN)
		sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return rb_err_set(err, -errno, "block signals");
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? rb_err_set(err, -errno, "wait for signals") : fd;
}

static void start_cancel(struct follow *f)
{
	_cleanup_json_ json_t *answer = NULL;
	char path[CLIENT_PATH_MAX];
	struct rb_err err = {};
	int r;

	progress_clear(&f->display);
	r = f->kind->path(path, f->id, "/cancel", &err);
	if (r == 0)
		r = client_request(f->client, "POST", path, NULL, ANSWER_TIMEOUT_MS, &answer, &err);
	f->state = r < 0 ? WATCHING : CANCELING;
	f->refused = r < 0;
	if (r < 0)
		cli_say("cannot cancel: %s (Ctrl-C again: leave it to reberthd)", err.msg);
	else
		cli_say("%s (Ctrl-C: leave it to reberthd)", f->kind->canceling);
}

static void start_asking(struct follow *f)
{
	progress_clear(&f->display);
	tcflush(STDIN_FILENO, TCIFLUSH); /* what was typed before is no answer to this */
	fputs(f->kind->question, stderr);
	fflush(stderr);
	f->state = ASKING;
}

static void handle_signal(struct follow *f, uint32_t number)
{
	bool hangup = number == SIGHUP;

	switch (f->state) {
	case WATCHING:
		if (hangup || f->refused)
			f->state = LEAVING;
		else if (number == SIGINT && f->kind->question && cli_interactive())
			start_asking(f);
		else
			start_cancel(f);
		break;
	case ASKING:
		fputc('\n', stderr);
		if (hangup)
			f->state = LEAVING;
		else
			start_cancel(f);
		break;
	case CANCELING:
	case LEAVING:
		f->state = LEAVING;
		break;
	}
}

static void handle_answer(struct follow *f)
{
	char line[64];
	ssize_t n = read(STDIN_FILENO, line, sizeof(line) - 1);

	if (n > 0 && (line[0] == 'y' || line[0] == 'Y')) {
		start_cancel(f);
		return;
	}
	if (n <= 0)
		fputc('\n', stderr);
	f->state = WATCHING;
}

/* Let the interval pass, and see what the user does meanwhile. */
static void wait_for_user(struct follow *f, int signal_fd)
{
	struct pollfd fds[] = { { signal_fd, POLLIN, 0 }, { STDIN_FILENO, POLLIN, 0 } };
	struct signalfd_siginfo info;
	int ready = poll(fds, f->state == ASKING ? 2 : 1, POLL_MS);

	if (ready <= 0)
		return;
	if (fds[0].revents && read(signal_fd, &info, sizeof(info)) == sizeof(info))
		handle_signal(f, info.ssi_signo);
	else if (f->state == ASKING && fds[1].revents)
		handle_answer(f);
}

/* No answer is an error only when it lasts. */
static int handle_silence(struct follow *f, int r, struct rb_err *err)
{
	if (err->code != RB_E_PEER && err->code != RB_E_TIMEOUT)
		return r;
	if (f->silent_since_ms == 0) {
		f->silent_since_ms = rb_now_ms();
		progress_clear(&f->display);
		cli_say("reberthd does not answer, waiting for it");
	}
	if (rb_now_ms() - f->silent_since_ms < SILENCE_MAX_MS)
		return 0;
	return f->kind->lost(f->id, err);
}

/*
 * The report is written after the final state, and a worker may be killed in between: then the
 * state has to do.
 */
static bool has_ended(struct follow *f)
{
	if (rb_json_bool(f->seen, "active", true))
		return false;
	if (rb_json_str(f->seen, "result", NULL))
		return true;
	if (f->inactive_since_ms == 0)
		f->inactive_since_ms = rb_now_ms();
	return rb_now_ms() - f->inactive_since_ms >= REPORT_MAX_MS;
}

/* Return: 1 when it has ended, 0 when it goes on, or negative errno. */
static int update(struct follow *f, struct rb_err *err)
{
	_cleanup_json_ json_t *seen = NULL;
	char path[CLIENT_PATH_MAX];
	int r;

	r = f->kind->path(path, f->id, "", err);
	if (r < 0)
		return r;
	r = client_request(f->client, "GET", path, NULL, ANSWER_TIMEOUT_MS, &seen, err);
	if (r < 0)
		return handle_silence(f, r, err);
	f->silent_since_ms = 0;
	json_decref(f->seen);
	f->seen = TAKE_PTR(seen);
	if (has_ended(f))
		return 1;
	if (f->state != ASKING)
		progress_show(&f->display, f->seen);
	return 0;
}

static int follow_run(struct follow *f, int signal_fd, struct rb_err *err)
{
	for (;;) {
		int r = update(f, err);

		if (r != 0) {
			if (f->state == ASKING)
				fputc('\n', stderr);
			progress_clear(&f->display);
			return r < 0 ? r : 0;
		}
		wait_for_user(f, signal_fd);
		if (f->state == LEAVING) {
			progress_clear(&f->display);
			return f->kind->left(f->id, err);
		}
	}
}

int follow(const struct follow_kind *kind, struct client *client, const char *id, int signal_fd,
	   bool json, json_t **ret, struct rb_err *err)
{
	struct follow f = { .kind = kind, .client = client, .id = id };
	int r;

	progress_setup(&f.display, json);
	r = follow_run(&f, signal_fd, err);
	*ret = f.seen;
	return r;
}
