/* SPDX-License-Identifier: Apache-2.0 */
/*
 * output.h - how sizes, durations, times and tables look to a person
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rb_buf;

#define OUT_TEXT_MAX 32

/** out_size - "512 B", "68.3 MiB"; negative: "?" */
const char *out_size(char ret[OUT_TEXT_MAX], int64_t bytes);

/** out_duration - "143 ms", "1.2 s", "2 m 5 s", "3 h 0 m"; negative: "?" */
const char *out_duration(char ret[OUT_TEXT_MAX], int64_t ms);

/** out_ago - "5 seconds ago", "About a minute ago"; the future counts as now */
const char *out_ago(char ret[OUT_TEXT_MAX], int64_t seconds);

/**
 * out_parse_duration - "500ms", "30s", "1.5m", "2h"; a number alone is seconds
 *
 * Return: ms above 0 and at most 30 days, or -EINVAL.
 */
int64_t out_parse_duration(const char *text);

/** out_parse_rate - "100mbit", "20MiB", "1.5gbit/s"; a number alone is bytes per second. Return:
 * bytes per second, at least 1000; -EINVAL */
int64_t out_parse_rate(const char *text);

/** out_width - columns that a text takes on a terminal, one for each UTF-8 character */
size_t out_width(const char *text);

/** out_clean - replace what could steer a terminal: newlines by blanks, other controls by '?' */
void out_clean(char *text);

/** out_short_id - the first 12 characters, as Docker shows them; "-" for NULL or "" */
const char *out_short_id(char ret[OUT_TEXT_MAX], const char *id);

/** A table like Docker's: headings, three blanks between columns. */
struct out_table {
	const char *const *headings;
	size_t columns;
	char **cells; /* rows * columns */
	size_t rows;
};

/** out_table_row - add a row; cells are copied, NULL shows as "-". Return: 0 or -ENOMEM. */
int out_table_row(struct out_table *table, const char *const *cells);

/** out_table_render - append the table's text. Return: 0 or -ENOMEM. */
int out_table_render(const struct out_table *table, struct rb_buf *buf);

void out_table_free(struct out_table *table);
