// SPDX-License-Identifier: Apache-2.0
/*
 * explain.c - why a dump or restore failed, from what CRIU and runc left in their logs
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "cleanup.h"
#include "dump.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "workdir.h"

/* CRIU calls some things errors that stop nothing: it may not raise its own limits, say. */
static bool is_harmless(const char *line)
{
	static const char *const harmless[] = {
		"rlimit: Can't setup RLIMIT_NOFILE for self", "One of more action scripts failed",
		": exited, status=", /* the line after says what */
	};

	for (size_t i = 0; i < ARRAY_SIZE(harmless); i++)
		if (strstr(line, harmless[i]))
			return true;
	return false;
}

void rb_criu_log_error(const char *log_path, char *ret, int size)
{
	_cleanup_fclose_ FILE *file = fopen(log_path, "re");
	_cleanup_free_ char *line = NULL;
	size_t line_size = 0;

	ret[0] = '\0';
	while (file && getline(&line, &line_size, file) > 0) {
		char *at = strstr(line, "Error (");

		if (!at || is_harmless(at))
			continue;
		at[strcspn(at, "\n")] = '\0';
		snprintf(ret, (size_t)size, "CRIU: %s", at);
		return;
	}
}

/* The message of runc's last line: JSON, or "time=... level=error msg=\"...\"". */
static void runc_message(const char *log_path, char *ret, size_t size)
{
	_cleanup_buf_ struct rb_buf text = {};
	_cleanup_json_ json_t *json = NULL;
	const char *line, *msg;

	ret[0] = '\0';
	if (rb_read_file(log_path, 0, &text, NULL) < 0 || text.len < 2)
		return;
	if (text.data[text.len - 1] == '\n')
		text.data[text.len - 1] = '\0';
	line = strrchr(text.data, '\n') ? strrchr(text.data, '\n') + 1 : text.data;
	msg = strstr(line, "msg=\"");
	if (rb_json_parse(line, strlen(line), &json, NULL) == 0)
		snprintf(ret, size, "%s", rb_json_str(json, "msg", line));
	else if (msg)
		snprintf(ret, size, "%.*s", (int)strcspn(msg + 5, "\""), msg + 5);
	else
		snprintf(ret, size, "%s", line);
}

int rb_criu_explain(const char *work_dir, const char *criu_log, int status, struct rb_err *err)
{
	char path[PATH_MAX], text[400] = "";

	if (rb_path(path, sizeof(path), "%s/work/%s", work_dir, criu_log) == 0)
		rb_criu_log_error(path, text, sizeof(text));
	if (*text)
		return rb_err_code(err, RB_E_CRIU,
				   strstr(text, "In-flight connection") ? -EAGAIN : -EIO, "%s",
				   text);
	if (WIFSIGNALED(status))
		return rb_err_code(err, RB_E_CRIU, -EIO, "runc was killed by signal %d",
				   WTERMSIG(status));
	if (rb_path(path, sizeof(path), "%s/work/runc.log", work_dir) == 0)
		runc_message(path, text, sizeof(text));
	/* this is how runc puts it that CRIU is gone without a word */
	if (!*text || strstr(text, "EOF"))
		return rb_err_code(err, RB_E_CRIU, -EIO, "CRIU was killed");
	return rb_err_code(err, RB_E_CRIU, -EIO, "runc: %s", text);
}
