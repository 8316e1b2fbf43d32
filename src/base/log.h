/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - log lines "<id> <stage>: message" to standard error, as text or JSON
 *
 * Only commands and the tops of workers and daemons log; library code returns errors.
 */
#pragma once

#include <stdbool.h>

enum rb_log_level { RB_LOG_ERROR, RB_LOG_WARN, RB_LOG_INFO, RB_LOG_DEBUG };

/** rb_log_setup - level and form for this process; until then INFO as text */
void rb_log_setup(enum rb_log_level level, bool json);

/** rb_log_context - what every following line starts with: a migration's id, or NULL */
void rb_log_context(const char *id);

void rb_log(enum rb_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define rb_error(...) rb_log(RB_LOG_ERROR, __VA_ARGS__)
#define rb_warn(...)  rb_log(RB_LOG_WARN, __VA_ARGS__)
#define rb_info(...)  rb_log(RB_LOG_INFO, __VA_ARGS__)
#define rb_debug(...) rb_log(RB_LOG_DEBUG, __VA_ARGS__)
