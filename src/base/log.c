// SPDX-License-Identifier: Apache-2.0
/*
 * log.c - log lines to standard error
 */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
	enum rb_log_level level;
	bool json;
	char id[40];
} state = { .level = RB_LOG_INFO };

static const char *const level_names[] = { "error", "warn", "info", "debug" };

void rb_log_setup(enum rb_log_level level, bool json)
{
	state.level = level;
	state.json = json;
}

void rb_log_context(const char *id)
{
	snprintf(state.id, sizeof(state.id), "%s", id ? id : "");
}

static void append_escaped(char *out, size_t size, const char *text)
{
	size_t n = strlen(out);

	for (; *text && n + 7 < size; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			n += (size_t)snprintf(out + n, size - n, "\\%c", c);
		else if (c < 0x20)
			n += (size_t)snprintf(out + n, size - n, "\\u%04x", c);
		else
			out[n++] = (char)c;
	}
	out[n] = '\0';
}

void rb_log(enum rb_log_level level, const char *fmt, ...)
{
	char msg[1500], line[3400], stamp[40];
	struct timespec now;
	struct tm tm;
	va_list ap;
	size_t len;

	if (level > state.level)
		return;
	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	len = strlen(stamp);
	snprintf(stamp + len, sizeof(stamp) - len, ".%03ldZ", now.tv_nsec / 1000000);
	if (state.json) {
		snprintf(line, sizeof(line),
			 "{\"time\":\"%s\",\"level\":\"%s\",\"id\":\"%s\",\"msg\":\"", stamp,
			 level_names[level], state.id);
		append_escaped(line, sizeof(line) - 4, msg);
		strcat(line, "\"}\n");
	} else {
		snprintf(line, sizeof(line), "%s %s%s%s%s\n", stamp,
			 level == RB_LOG_INFO ? "" : level_names[level],
			 level == RB_LOG_INFO ? "" : " ", state.id, "");
		len = strlen(line) - 1;
		snprintf(line + len, sizeof(line) - len, "%s%s\n", state.id[0] ? " " : "", msg);
	}
	/* one write, so that lines of several processes do not mix */
	if (write(STDERR_FILENO, line, strlen(line)) < 0)
		return;
}
