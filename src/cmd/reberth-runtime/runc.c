// SPDX-License-Identifier: Apache-2.0
/*
 * runc.c - become runc, and fail the way runc fails
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "runtime.h"
#include "workdir.h"

int runtime_exec_runc(const struct runtime_call *call, struct rb_err *err)
{
	char path[PATH_MAX], env[8192];
	int r = rb_criu_find_program("runc", path, sizeof(path), err);

	if (r < 0)
		return r;
	rb_criu_env_path(NULL, env, sizeof(env));
	setenv("PATH", env + strlen("PATH="), 1);
	call->argv[0] = path;
	execv(path, call->argv);
	return rb_err_set(err, -errno, "execute '%s'", path);
}

/* containerd shows the last line of the log file whose level is "error". */
int runtime_fail(const struct runtime_call *call, const struct rb_err *err)
{
	_cleanup_json_ json_t *line = NULL;
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = -EBADF;
	char stamp[40] = "";
	time_t now = time(NULL);
	struct tm tm;

	fprintf(stderr, "reberth-runtime: %s\n", err->msg);
	if (!call->log)
		return 1;
	fd = open(call->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return 1;
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
	line = json_pack("{s:s, s:s, s:s}", "level", "error", "msg", err->msg, "time", stamp);
	text = line ? json_dumps(line, JSON_COMPACT) : NULL;
	if (text)
		dprintf(fd, "%s\n", call->log_json ? text : err->msg);
	return 1;
}
