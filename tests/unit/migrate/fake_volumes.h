/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_volumes.h - an engine in a child process that has volumes, and does with them what Docker
 * does: a volume that is made and exists is handed out as it is
 *
 * Each is a folder below @root. Who asks for one by a name that begins with "late" is told once
 * that there is none: somebody makes it right after that.
 */
#pragma once

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "cleanup.h"
#include "io.h"
#include "json.h"

#define FAKE_API "1.41"

static void fake_answer(int fd, const char *status, const json_t *body)
{
	_cleanup_free_ char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	char head[256];

	snprintf(head, sizeof(head),
		 "HTTP/1.1 %s\r\nApi-Version: " FAKE_API "\r\nContent-Length: %zu\r\n\r\n", status,
		 text ? strlen(text) : 0);
	send(fd, head, strlen(head), MSG_NOSIGNAL);
	if (text)
		send(fd, text, strlen(text), MSG_NOSIGNAL);
}

static void fake_create(int fd, json_t *volumes, const char *root, const char *text)
{
	_cleanup_json_ json_t *body = json_loads(text, 0, NULL);
	const char *name = rb_json_str(body, "Name", "");

	if (!json_object_get(volumes, name)) {
		json_t *volume = json_pack("{s:s, s:s, s:o, s:O*, s:O*}", "Name", name, "Driver",
					   rb_json_str(body, "Driver", ""), "Mountpoint",
					   json_sprintf("%s/%s", root, name), "Labels",
					   json_object_get(body, "Labels"), "Options",
					   json_object_get(body, "DriverOpts"));

		mkdir(rb_json_str(volume, "Mountpoint", ""), 0755);
		json_object_set_new(volumes, name, volume);
	}
	fake_answer(fd, "201 Created", json_object_get(volumes, name));
}

static void fake_serve(int fd, json_t *volumes, json_t *asked, const char *root)
{
	_cleanup_fclose_ FILE *in = fdopen(dup(fd), "r");
	char line[4096], method[16] = "", path[1024] = "", text[4096] = "";
	const char *name;
	size_t len = 0;

	if (!in || !fgets(line, sizeof(line), in))
		return;
	sscanf(line, "%15s %1023s", method, path);
	while (fgets(line, sizeof(line), in) && strcmp(line, "\r\n") != 0)
		if (strncasecmp(line, "Content-Length:", 15) == 0)
			len = strtoul(line + 15, NULL, 10);
	if (len >= sizeof(text) || fread(text, 1, len, in) != len)
		return;
	name = strrchr(path, '/') + 1;
	if (strcmp(path, "/_ping") == 0)
		fake_answer(fd, "200 OK", NULL);
	else if (strcmp(name, "create") == 0)
		fake_create(fd, volumes, root, text);
	else if (!json_object_get(volumes, name) ||
		 (strncmp(name, "late", 4) == 0 && !json_object_get(asked, name)))
		fake_answer(fd, "404 Not Found", NULL);
	else if (strcmp(method, "DELETE") == 0 && json_object_del(volumes, name) == 0)
		fake_answer(fd, "204 No Content", NULL);
	else
		fake_answer(fd, "200 OK", json_object_get(volumes, name));
	json_object_set_new(asked, name, json_true());
}

/* Return: the child; it ends with its parent */
static pid_t fake_volumes_start(const char *socket_path, const char *root)
{
	int listener = rb_unix_listen(socket_path, 0600, NULL);
	json_t *volumes, *asked;
	pid_t pid = fork();

	if (pid) {
		close(listener);
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	volumes = json_object();
	asked = json_object();
	for (;;) {
		_cleanup_close_ int fd = accept(listener, NULL, NULL);

		fake_serve(fd, volumes, asked, root);
	}
}
