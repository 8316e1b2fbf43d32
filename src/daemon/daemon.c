// SPDX-License-Identifier: Apache-2.0
/*
 * daemon.c - the loop of reberthd: peers that connect, local callers, workers that end
 *
 * One thread that never waits for anybody: what takes time is done by worker processes. The
 * daemon holds no state that the journal does not have, so it may be killed at any time.
 */
#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api.h"
#include "cleanup.h"
#include "config.h"
#include "err.h"
#include "io.h"
#include "log.h"
#include "ops.h"
#include "wait.h"
#include "workers.h"

#define TEND_MS 1000

/* "10.0.0.1:7480" or "[::1]:7480" */
static int listen_on(const char *address, struct rb_err *err)
{
	struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV,
				  .ai_socktype = SOCK_STREAM };
	_cleanup_close_ int fd = -EBADF;
	struct addrinfo *found = NULL;
	const char *colon = strrchr(address, ':');
	char host[128];
	int one = 1, r;

	if (!colon || (size_t)(colon - address) >= sizeof(host))
		return rb_err_code(err, RB_E_USAGE, -EINVAL,
				   "'%s' is not an address:port to listen on", address);
	snprintf(host, sizeof(host), "%.*s", (int)(colon - address), address);
	if (host[0] == '[') {
		memmove(host, host + 1, strlen(host));
		host[strcspn(host, "]")] = '\0';
	}
	r = getaddrinfo(host, colon + 1, &hints, &found);
	if (r)
		return rb_err_code(err, RB_E_USAGE, -EINVAL,
				   "'%s' is not an address to listen on: %s", address,
				   gai_strerror(r));
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) < 0 || listen(fd, 64) < 0)
		r = rb_err_set(err, -errno, "listen on %s", address);
	freeaddrinfo(found);
	return r < 0 ? r : TAKE_FD(fd);
}

static int only_one(const struct rb_config *config, struct rb_err *err)
{
	_cleanup_close_ int fd = -EBADF;
	char path[4096];

	rb_path(path, sizeof(path), "%s/reberthd.lock", config->node.run_dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return rb_err_set(err, -errno, "open '%s'", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return rb_err_code(err, RB_E_CONFLICT, -EBUSY,
				   "reberthd runs on this host already");
	return TAKE_FD(fd);
}

static void accept_peer(int listen_fd, struct rb_workers *workers)
{
	struct rb_err why = {};
	_cleanup_close_ int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd >= 0 && rb_workers_start_serve(workers, fd, &why) < 0)
		rb_warn("a peer's connection is refused: %s", why.msg);
}

static int signal_descriptor(struct rb_err *err)
{
	sigset_t signals;
	int fd;

	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? rb_err_set(err, -errno, "make a signal descriptor") : fd;
}

/* Return: false when the daemon shall end */
static bool read_signals(int fd, struct rb_workers *workers)
{
	struct signalfd_siginfo info;
	bool go_on = true;

	while (read(fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			rb_workers_reap(workers);
		else
			go_on = false;
	}
	return go_on;
}

static void loop(int listen_fd, int signal_fd, struct rb_api *api, struct rb_workers *workers)
{
	int64_t tended_ms = 0;

	for (;;) {
		struct pollfd fds[] = { { .fd = listen_fd, .events = POLLIN },
					{ .fd = signal_fd, .events = POLLIN },
					{ .fd = rb_api_fd(api), .events = POLLIN } };
		int timeout = rb_api_timeout_ms(api);

		if (rb_now_ms() - tended_ms >= TEND_MS) {
			rb_workers_tend(workers);
			tended_ms = rb_now_ms();
		}
		poll(fds, ARRAY_SIZE(fds), timeout < 0 || timeout > TEND_MS ? TEND_MS : timeout);
		if (fds[0].revents)
			accept_peer(listen_fd, workers);
		if (fds[1].revents) {
			if (!read_signals(signal_fd, workers))
				return;
			tended_ms = 0; /* whoever ended may have left work */
		}
		rb_api_run(api);
	}
}

int rb_daemon_main(struct rb_config *config)
{
	_cleanup_close_ int lock = -EBADF, listen_fd = -EBADF, signal_fd = -EBADF;
	struct rb_ops_context ops = { .config = config };
	struct rb_err err = {};
	char path[4096];
	int r;

	r = rb_config_open_node(config, &err);
	if (r >= 0)
		r = lock = only_one(config, &err);
	if (r >= 0)
		r = signal_fd = signal_descriptor(&err);
	if (r >= 0)
		r = rb_workers_new(config, &ops.workers, &err);
	if (r >= 0)
		r = listen_fd = listen_on(config->listen, &err);
	if (r >= 0)
		r = rb_path(path, sizeof(path), "%s/api.sock", config->node.run_dir);
	if (r >= 0)
		r = rb_api_start(path, &rb_ops, &ops, &ops.api, &err);
	if (r >= 0) {
		rb_info("node '%s' listens on %s", config->node.name, config->listen);
		loop(listen_fd, signal_fd, ops.api, ops.workers);
		rb_info("node '%s' ends; migrations under way go on", config->node.name);
	} else {
		rb_error("%s", err.msg);
	}
	rb_api_stop(ops.api);
	rb_workers_free(ops.workers);
	rb_config_close(config);
	return rb_code_exit(r < 0 ? err.code : RB_OK);
}
