// SPDX-License-Identifier: Apache-2.0
/* thread.c - a moment in a task of its own */
#include "thread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <unistd.h>

#include "err.h"

struct call {
	int (*fn)(void *arg, struct rb_err *err);
	void *arg;
	int result;
	struct rb_err err;
};

static void *call_main(void *arg)
{
	struct call *call = arg;

	call->result = call->fn(call->arg, &call->err);
	return NULL;
}

/* Signals are for the thread that there always is. */
static int start(pthread_t *ret, void *(*fn)(void *arg), void *arg)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(ret, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

int rb_thread_run(int (*fn)(void *arg, struct rb_err *err), void *arg, struct rb_err *err)
{
	struct call call = { .fn = fn, .arg = arg };
	pthread_t thread;
	int r;

	/* what stays when the function does not return */
	call.result = rb_err_code(&call.err, RB_E_INTERNAL, -EIO, "a thread ended early");
	r = start(&thread, call_main, &call);
	if (r < 0)
		return rb_err_set(err, r, "start a thread");
	pthread_join(thread, NULL);
	if (call.result < 0)
		rb_err_code(err, call.err.code, call.result, "%s", call.err.msg);
	return call.result;
}

static void *close_main(void *arg)
{
	close((int)(intptr_t)arg);
	return NULL;
}

void rb_thread_close(int fd)
{
	pthread_t thread;

	if (start(&thread, close_main, (void *)(intptr_t)fd) < 0)
		close(fd);
	else
		pthread_detach(thread);
}
