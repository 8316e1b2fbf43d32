// SPDX-License-Identifier: Apache-2.0
/*
 * progress.c - how a migration under way is shown
 *
 *   web: transfer  [=======>            ]  43%  29.3 MiB of 68.3 MiB  112.4 MiB/s  1.2 s left
 *
 * The line is made of parts with a rank. It is put together with all of them, and as long as it is
 * too wide the part with the highest rank goes; the bar takes what the others leave.
 */
#include "progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cleanup.h"
#include "json.h"
#include "output.h"

#define BAR_MIN	      12
#define BAR_MAX	      42
#define GAP	      2
#define WIDTH_DEFAULT 80
#define PART_MAX      160

#define BOLD  "\033[1m"
#define DIM   "\033[2m"
#define RESET "\033[0m"

enum part {
	PART_HEAD,
	PART_BAR,
	PART_PERCENT,
	PART_BYTES,
	PART_RATE,
	PART_LEFT,
	PART_MESSAGE,
	PARTS
};

/* Which goes first: the highest. The head stays. */
static const int ranks[PARTS] = {
	[PART_HEAD] = 0, [PART_PERCENT] = 1, [PART_BYTES] = 2, [PART_LEFT] = 3,
	[PART_RATE] = 4, [PART_MESSAGE] = 5, [PART_BAR] = 6,
};

void progress_parse(const json_t *migration, struct progress *ret)
{
	const json_t *progress = json_object_get(migration, "progress");

	*ret = (struct progress){
		/* of a push: the image */
		.container =
			rb_json_str(migration, "container", rb_json_str(migration, "image", "")),
		.stage = rb_json_str(migration, "stage", ""),
		.message = rb_json_str(progress, "message", ""),
		.percent = (int)rb_json_int(progress, "percent", -1),
		.bytes_done = rb_json_int(progress, "bytes_done", -1),
		.bytes_total = rb_json_int(progress, "bytes_total", -1),
		.rate_bytes_s = rb_json_int(progress, "rate_bytes_s", -1),
		.eta_ms = rb_json_int(progress, "eta_ms", -1),
	};
}

static void fill_parts(const struct progress *p, char parts[PARTS][PART_MAX])
{
	const char *stage = p->stage && *p->stage ? p->stage : "starting";
	char done[OUT_TEXT_MAX], total[OUT_TEXT_MAX], text[OUT_TEXT_MAX];

	snprintf(parts[PART_HEAD], PART_MAX, "%.100s: %.40s", p->container ? p->container : "",
		 stage);
	if (p->percent >= 0)
		snprintf(parts[PART_PERCENT], PART_MAX, "%3d%%",
			 p->percent > 100 ? 100 : p->percent);
	if (p->bytes_done > 0 && p->bytes_total > 0)
		snprintf(parts[PART_BYTES], PART_MAX, "%s of %s", out_size(done, p->bytes_done),
			 out_size(total, p->bytes_total));
	else if (p->bytes_done > 0)
		snprintf(parts[PART_BYTES], PART_MAX, "%s", out_size(done, p->bytes_done));
	if (p->rate_bytes_s > 0)
		snprintf(parts[PART_RATE], PART_MAX, "%s/s", out_size(text, p->rate_bytes_s));
	if (p->eta_ms > 0)
		snprintf(parts[PART_LEFT], PART_MAX, "%s left", out_duration(text, p->eta_ms));
	if (p->message)
		snprintf(parts[PART_MESSAGE], PART_MAX, "%.100s", p->message);
}

static size_t parts_width(char parts[PARTS][PART_MAX])
{
	size_t width = 0;

	for (int i = 0; i < PARTS; i++)
		if (*parts[i])
			width += (width ? GAP : 0) + out_width(parts[i]);
	return width;
}

/* Remove the least important part that is there. Return: false when only the head is left. */
static bool drop_part(char parts[PARTS][PART_MAX])
{
	int least = PART_HEAD;

	for (int i = 0; i < PARTS; i++)
		if (*parts[i] && ranks[i] > ranks[least])
			least = i;
	if (least == PART_HEAD)
		return false;
	parts[least][0] = '\0';
	return true;
}

static void make_bar(char ret[PART_MAX], size_t columns, int percent)
{
	size_t inner = columns - 2, filled = inner * (size_t)(percent > 100 ? 100 : percent) / 100;

	memset(ret, ' ', columns);
	ret[0] = '[';
	memset(ret + 1, '=', filled);
	if (filled > 0 && filled < inner)
		ret[filled] = '>';
	ret[columns - 1] = ']';
	ret[columns] = '\0';
}

/* Cut a text to so many columns, between characters. */
static void cut(char *text, size_t width)
{
	size_t columns = 0;

	for (; *text; text++) {
		if (((unsigned char)*text & 0xc0) == 0x80)
			continue;
		if (columns++ == width) {
			*text = '\0';
			return;
		}
	}
}

static void join_parts(char parts[PARTS][PART_MAX], bool color, char ret[PROGRESS_LINE_MAX])
{
	size_t len = 0;

	ret[0] = '\0';
	for (int i = 0; i < PARTS; i++) {
		const char *style = !color		? ""
				    : i == PART_HEAD	? BOLD
				    : i == PART_MESSAGE ? DIM
							: "";

		if (!*parts[i] || len >= PROGRESS_LINE_MAX)
			continue;
		len += (size_t)snprintf(ret + len, PROGRESS_LINE_MAX - len, "%*s%s%s%s",
					len ? GAP : 0, "", style, parts[i], *style ? RESET : "");
	}
}

void progress_format(const struct progress *p, size_t width, bool color,
		     char ret[PROGRESS_LINE_MAX])
{
	char parts[PARTS][PART_MAX] = {};
	size_t used;

	fill_parts(p, parts);
	for (int i = 0; i < PARTS; i++)
		out_clean(parts[i]);
	while (parts_width(parts) > width && drop_part(parts))
		;
	cut(parts[PART_HEAD], width);
	used = parts_width(parts) + GAP;
	if (*parts[PART_PERCENT] && used + BAR_MIN <= width)
		make_bar(parts[PART_BAR], width - used < BAR_MAX ? width - used : BAR_MAX,
			 p->percent);
	join_parts(parts, color, ret);
}

static bool is_dumb(void)
{
	const char *term = getenv("TERM");

	return !term || !*term || strcmp(term, "dumb") == 0;
}

void progress_setup(struct progress_display *display, bool json)
{
	const char *no_color = getenv("NO_COLOR");

	*display = (struct progress_display){ .mode = json ? PROGRESS_QUIET : PROGRESS_PLAIN };
	if (!isatty(STDERR_FILENO) || is_dumb())
		return;
	display->mode = PROGRESS_LIVE;
	display->color = !no_color || !*no_color;
}

/* One column less than the terminal has: some wrap when the last one is written. */
static size_t line_width(void)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;
	long width = 0;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		width = size.ws_col;
	else if (columns)
		width = strtol(columns, NULL, 10);
	return width > 1 ? (size_t)width - 1 : WIDTH_DEFAULT - 1;
}

static void show_plain(struct progress_display *display, const struct progress *p)
{
	char message[PART_MAX], stage[sizeof(display->stage)];

	snprintf(stage, sizeof(stage), "%s", p->stage ? p->stage : "");
	if (!*stage || strcmp(stage, display->stage) == 0)
		return;
	memcpy(display->stage, stage, sizeof(stage));
	snprintf(message, sizeof(message), "%s", p->message ? p->message : "");
	out_clean(stage);
	out_clean(message);
	fprintf(stderr, "%s: %s%s%s%s\n", p->container, stage, *message ? " (" : "", message,
		*message ? ")" : "");
}

void progress_show(struct progress_display *display, const json_t *migration)
{
	char line[PROGRESS_LINE_MAX];
	struct progress p;

	progress_parse(migration, &p);
	switch (display->mode) {
	case PROGRESS_QUIET:
		break;
	case PROGRESS_PLAIN:
		show_plain(display, &p);
		break;
	case PROGRESS_LIVE:
		progress_format(&p, line_width(), display->color, line);
		fprintf(stderr, "\r%s\033[K", line);
		fflush(stderr);
		display->drawn = true;
		break;
	}
}

void progress_clear(struct progress_display *display)
{
	if (!display->drawn)
		return;
	fputs("\r\033[K", stderr);
	fflush(stderr);
	display->drawn = false;
}
