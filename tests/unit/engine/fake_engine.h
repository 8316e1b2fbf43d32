/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_engine.h - a small HTTP server in a child process that answers as the path tells
 *
 * Behind "/v<api>": fixed answers, and answers that end too early, late or never; see the tables.
 */
#pragma once

#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "cleanup.h"
#include "io.h"

#define BIG ((size_t)8 << 20) /* length of the body of "/big" */

static pid_t server = -1;

static void say(int fd, const char *text)
{
	send(fd, text, strlen(text), MSG_NOSIGNAL);
}

static void answer(int fd, const char *status, const char *body)
{
	char head[256];

	snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n", status,
		 strlen(body));
	say(fd, head);
	say(fd, body);
}

static void chunk(int fd, const void *data, size_t len)
{
	char head[32];

	snprintf(head, sizeof(head), "%zx\r\n", len);
	say(fd, head);
	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		data = (const char *)data + n;
		len -= (size_t)n;
	}
	say(fd, "\r\n");
}

static void until_closed(int fd)
{
	char c[4096];

	while (read(fd, c, sizeof(c)) > 0)
		;
}

/* as Go's server ends a request whose body it does not want: it closes its half and does not read,
 * but lets the client find the answer */
static void refuse(int fd, const char *status, const char *body)
{
	struct pollfd hangup = { .fd = fd };

	answer(fd, status, body);
	shutdown(fd, SHUT_WR);
	poll(&hangup, 1, -1);
}

/* read a chunked body; returns its length and the sum of its bytes */
static size_t read_chunked(FILE *in, uint64_t *ret_sum)
{
	size_t total = 0, len;
	char line[64];

	*ret_sum = 0;
	while (fgets(line, sizeof(line), in) && (len = strtoul(line, NULL, 16)) > 0) {
		total += len;
		while (len--)
			*ret_sum += (unsigned char)getc(in);
		if (!fgets(line, sizeof(line), in))
			break;
	}
	return total;
}

static const struct {
	const char *path, *status, *body;
} fixed[] = {
	{ "/ok", "200 OK", "{\"a\":1}" },
	{ "/empty", "204 No Content", "" },
	{ "/same", "304 Not Modified", "" },
	{ "/missing", "404 Not Found", "{\"message\":\"No such container: x\"}" },
	{ "/busy", "409 Conflict", "{\"message\":\"name is in use\"}" },
	{ "/broken", "500 Internal Server Error", "{\"message\":\"it broke\"}" },
	{ "/full", "500 Internal Server Error",
	  "{\"message\":\"write x: no space left on device\"}" },
	{ "/html", "502 Bad Gateway", "<html>bad</html>" },
	{ "/mute", "500 Internal Server Error", "" },
	{ "/nojson", "200 OK", "hello" },
};

static void serve_stream(int fd, const char *path)
{
	static char block[65536];

	say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	if (strcmp(path, "/chunked") == 0) {
		chunk(fd, "{\"a\":", 5);
		chunk(fd, "[1,2", 4);
		chunk(fd, ",3]}", 4);
	} else if (strcmp(path, "/big") == 0) {
		for (size_t sent = 0; sent < BIG; sent += sizeof(block)) {
			memset(block, (int)(sent / sizeof(block)), sizeof(block));
			chunk(fd, block, sizeof(block));
		}
	} else {
		chunk(fd, "first", 5);
		if (strcmp(path, "/drip") == 0)
			until_closed(fd);
		return; /* "/cut-chunked" */
	}
	say(fd, "0\r\n\r\n");
}

static void serve_upload(int fd, FILE *in, const char *type)
{
	uint64_t sum;
	size_t len = read_chunked(in, &sum);
	char text[512];

	snprintf(text, sizeof(text), "{\"len\":%zu,\"sum\":%llu,\"type\":\"%s\"}", len,
		 (unsigned long long)sum, type);
	answer(fd, "200 OK", text);
}

static void serve_echo(int fd, FILE *in, size_t len)
{
	char body[1024] = "";

	if (len >= sizeof(body) || fread(body, 1, len, in) != len)
		return;
	answer(fd, "200 OK", body);
}

static void serve_path(int fd, FILE *in, const char *path, size_t len, const char *type)
{
	for (size_t i = 0; i < ARRAY_SIZE(fixed); i++) {
		if (strcmp(path, fixed[i].path) == 0) {
			answer(fd, fixed[i].status, fixed[i].body);
			return;
		}
	}
	if (strcmp(path, "/nothing") == 0)
		return;
	if (strcmp(path, "/hang") == 0)
		until_closed(fd);
	else if (strcmp(path, "/cut-length") == 0)
		say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"a\":");
	else if (strcmp(path, "/early") == 0)
		refuse(fd, "400 Bad Request", "{\"message\":\"not a tar\"}");
	else if (strcmp(path, "/upload") == 0)
		serve_upload(fd, in, type);
	else if (strcmp(path, "/echo") == 0)
		serve_echo(fd, in, len);
	else
		serve_stream(fd, path);
}

static void serve_one(int fd, const char *api, int *refusals)
{
	_cleanup_fclose_ FILE *in = fdopen(dup(fd), "r");
	char line[4096], path[4096] = "", type[256] = "", prefix[32];
	size_t len = 0;

	if (!in || !fgets(line, sizeof(line), in))
		return;
	sscanf(line, "%*s %4095s", path);
	while (fgets(line, sizeof(line), in) && strcmp(line, "\r\n") != 0) {
		if (strncasecmp(line, "Content-Length:", 15) == 0)
			len = strtoul(line + 15, NULL, 10);
		if (strncasecmp(line, "Content-Type: ", 14) == 0)
			sscanf(line + 14, "%255s", type);
	}
	if (strcmp(path, "/_ping") == 0) {
		if ((*refusals)-- > 0)
			return;
		snprintf(line, sizeof(line), "200 OK\r\nApi-Version: %s", api);
		answer(fd, line, "OK");
		return;
	}
	snprintf(prefix, sizeof(prefix), "/v%s/", api);
	if (strncmp(path, prefix, strlen(prefix)) != 0)
		answer(fd, "400 Bad Request", "{\"message\":\"wrong version\"}");
	else
		serve_path(fd, in, path + strlen(prefix) - 1, len, type);
}

/* answer as an engine of version @api; the first @refusals pings get no answer */
static void start_server(const char *socket_path, const char *api, int refusals)
{
	int listener = rb_unix_listen(socket_path, 0600, NULL);

	server = fork();
	if (server > 0) {
		close(listener);
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		_cleanup_close_ int fd = accept(listener, NULL, NULL);

		serve_one(fd, api, &refusals);
	}
}

static void stop_server(void)
{
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	server = -1;
}
