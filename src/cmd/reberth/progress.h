/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress.h - how a migration or a push under way is shown
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROGRESS_LINE_MAX 512

/** What the line says; texts are borrowed. Numbers below 0, empty and NULL texts are left out. */
struct progress {
	const char *container;
	const char *stage;
	const char *message;
	int percent;
	int64_t bytes_done;
	int64_t bytes_total;
	int64_t rate_bytes_s;
	int64_t eta_ms;
};

/** progress_parse - from the API's migration or push; texts are borrowed from it */
void progress_parse(const json_t *migration, struct progress *ret);

/**
 * progress_format - one line of at most @width columns
 * @color: with the escape sequences for bold and dim, which take no columns
 *
 * What matters least is left out first when it gets narrow: bar, message, rate, time left, bytes.
 */
void progress_format(const struct progress *p, size_t width, bool color,
		     char ret[PROGRESS_LINE_MAX]);

enum progress_mode {
	PROGRESS_QUIET, /* nothing */
	PROGRESS_PLAIN, /* a line when the stage changes */
	PROGRESS_LIVE,	/* one line that is redrawn; for terminals */
};

/** The display on standard error; zero-initialise and set the mode. */
struct progress_display {
	enum progress_mode mode;
	bool color;
	bool drawn; /* the cursor stands behind a live line */
	char stage[64];
};

/** progress_setup - choose mode and colour for this terminal or pipe */
void progress_setup(struct progress_display *display, bool json);

/** progress_show - show a migration's state */
void progress_show(struct progress_display *display, const json_t *migration);

/** progress_clear - remove the live line, before something else is written */
void progress_clear(struct progress_display *display);
