// SPDX-License-Identifier: Apache-2.0
/*
 * output.c - how sizes, durations, times and tables look to a person
 */
#include "output.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cleanup.h"
#include "io.h"

#define RATE_MIN	1e3
#define RATE_MAX	1e12
#define DURATION_MAX_MS (30.0 * 24 * 3600 * 1000)
#define COLUMN_GAP	3
#define SHORT_ID_LEN	12

const char *out_size(char ret[OUT_TEXT_MAX], int64_t bytes)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB" };
	double value = (double)bytes / 1024;
	size_t unit = 0;

	if (bytes < 0)
		snprintf(ret, OUT_TEXT_MAX, "?");
	else if (bytes < 1024)
		snprintf(ret, OUT_TEXT_MAX, "%" PRId64 " B", bytes);
	if (bytes < 1024)
		return ret;
	/* 1023.95 would be printed as 1024.0 */
	while (value >= 1023.95 && unit + 1 < ARRAY_SIZE(units)) {
		value /= 1024;
		unit++;
	}
	snprintf(ret, OUT_TEXT_MAX, "%.1f %s", value, units[unit]);
	return ret;
}

const char *out_duration(char ret[OUT_TEXT_MAX], int64_t ms)
{
	int64_t tenths = ms / 100 + (ms % 100 >= 50), seconds = ms / 1000 + (ms % 1000 >= 500);

	if (ms < 0)
		snprintf(ret, OUT_TEXT_MAX, "?");
	else if (ms < 1000)
		snprintf(ret, OUT_TEXT_MAX, "%" PRId64 " ms", ms);
	else if (tenths < 600)
		snprintf(ret, OUT_TEXT_MAX, "%" PRId64 ".%" PRId64 " s", tenths / 10, tenths % 10);
	else if (seconds < 3600)
		snprintf(ret, OUT_TEXT_MAX, "%" PRId64 " m %" PRId64 " s", seconds / 60,
			 seconds % 60);
	else
		snprintf(ret, OUT_TEXT_MAX, "%" PRId64 " h %" PRId64 " m", seconds / 3600,
			 seconds % 3600 / 60);
	return ret;
}

const char *out_ago(char ret[OUT_TEXT_MAX], int64_t seconds)
{
	static const struct {
		int64_t below, divisor;
		const char *unit;
	} steps[] = {
		{ 60, 1, "second" },
		{ 3600, 60, "minute" },
		{ 48 * (int64_t)3600, 3600, "hour" },
		{ INT64_MAX, 24 * (int64_t)3600, "day" },
	};
	size_t i = 0;
	int64_t count;

	if (seconds < 1) {
		snprintf(ret, OUT_TEXT_MAX, "now");
		return ret;
	}
	while (seconds >= steps[i].below)
		i++;
	count = seconds / steps[i].divisor;
	snprintf(ret, OUT_TEXT_MAX, "%" PRId64 " %s%s ago", count, steps[i].unit,
		 count == 1 ? "" : "s");
	return ret;
}

int64_t out_parse_duration(const char *text)
{
	static const struct {
		const char *name;
		double ms;
	} units[] = { { "ms", 1 }, { "s", 1000 }, { "", 1000 }, { "m", 60000 }, { "h", 3600000 } };
	char *end;
	double value;

	/* strtod() would also take blanks, signs, "inf" and hexadecimal */
	if (strspn(text, "0123456789.") == 0 || (text[0] == '0' && (text[1] | 0x20) == 'x'))
		return -EINVAL;
	value = strtod(text, &end);
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (strcmp(end, units[i].name) != 0)
			continue;
		value = round(value * units[i].ms);
		return value >= 1 && value <= DURATION_MAX_MS ? (int64_t)value : -EINVAL;
	}
	return -EINVAL;
}

int64_t out_parse_rate(const char *text)
{
	/* as tc(8) has them: "bit" is bits, all else bytes */
	static const struct {
		const char *name;
		double bytes;
	} units[] = { { "bit", 0.125 },	  { "kbit", 125 },    { "mbit", 125e3 }, { "gbit", 125e6 },
		      { "b", 1 },	  { "", 1 },	      { "k", 1e3 },	 { "kb", 1e3 },
		      { "m", 1e6 },	  { "mb", 1e6 },      { "g", 1e9 },	 { "gb", 1e9 },
		      { "kib", 1 << 10 }, { "mib", 1 << 20 }, { "gib", 1 << 30 } };
	char *end;
	double value;

	if (strspn(text, "0123456789.") == 0 || (text[0] == '0' && (text[1] | 0x20) == 'x'))
		return -EINVAL;
	value = strtod(text, &end);
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		size_t len = strlen(units[i].name);

		if (strncasecmp(end, units[i].name, len) != 0 ||
		    (end[len] && strcasecmp(end + len, "/s") != 0 &&
		     strcasecmp(end + len, "ps") != 0))
			continue;
		value = round(value * units[i].bytes);
		return value >= RATE_MIN && value <= RATE_MAX ? (int64_t)value : -EINVAL;
	}
	return -EINVAL;
}

size_t out_width(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

void out_clean(char *text)
{
	for (; *text; text++)
		if (*text == '\n' || *text == '\t')
			*text = ' ';
		else if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

const char *out_short_id(char ret[OUT_TEXT_MAX], const char *id)
{
	snprintf(ret, OUT_TEXT_MAX, "%.*s", SHORT_ID_LEN, id && *id ? id : "-");
	return ret;
}

int out_table_row(struct out_table *table, const char *const *cells)
{
	size_t used = table->rows * table->columns;
	char **grown = realloc(table->cells, (used + table->columns) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	table->cells = grown;
	for (size_t i = 0; i < table->columns; i++) {
		grown[used + i] = strdup(cells[i] && *cells[i] ? cells[i] : "-");
		if (!grown[used + i]) {
			while (i > 0)
				free(grown[used + --i]);
			return -ENOMEM;
		}
		out_clean(grown[used + i]);
	}
	table->rows++;
	return 0;
}

static size_t column_width(const struct out_table *table, size_t column)
{
	size_t widest = out_width(table->headings[column]);

	for (size_t row = 0; row < table->rows; row++) {
		size_t width = out_width(table->cells[row * table->columns + column]);

		widest = width > widest ? width : widest;
	}
	return widest;
}

/* The last column is not padded: no blanks at the end of a line. */
static int render_cell(struct rb_buf *buf, const char *text, size_t width, bool last)
{
	size_t pad = last ? 0 : width - out_width(text) + COLUMN_GAP;

	return rb_buf_addf(buf, "%s%*s%s", text, (int)pad, "", last ? "\n" : "");
}

int out_table_render(const struct out_table *table, struct rb_buf *buf)
{
	_cleanup_free_ size_t *widths = calloc(table->columns, sizeof(*widths));
	int r = widths ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < table->columns; i++)
		widths[i] = column_width(table, i);
	for (size_t i = 0; r == 0 && i < table->columns; i++)
		r = render_cell(buf, table->headings[i], widths[i], i + 1 == table->columns);
	for (size_t i = 0; r == 0 && i < table->rows * table->columns; i++) {
		size_t column = i % table->columns;

		r = render_cell(buf, table->cells[i], widths[column], column + 1 == table->columns);
	}
	return r;
}

void out_table_free(struct out_table *table)
{
	for (size_t i = 0; i < table->rows * table->columns; i++)
		free(table->cells[i]);
	free(table->cells);
	table->cells = NULL;
	table->rows = 0;
}
