// SPDX-License-Identifier: Apache-2.0
/*
 * test_progress.c - the progress line at different widths
 */
#include "progress.h"

#include "json.h"
#include "output.h"
#include "tap.h"

static const struct progress transfer = {
	.container = "web",
	.stage = "transfer",
	.message = "round 2",
	.percent = 43,
	.bytes_done = 30723277,
	.bytes_total = 71617740,
	.rate_bytes_s = 117859942,
	.eta_ms = 347,
};

static char line[PROGRESS_LINE_MAX];

static const char *at_width(const struct progress *p, size_t width)
{
	progress_format(p, width, false, line);
	return line;
}

static void wide_lines_have_it_all(void)
{
	CHECK_STR(at_width(&transfer, 130),
		  "web: transfer  [================>                       ]   43%  "
		  "29.3 MiB of 68.3 MiB  112.4 MiB/s  347 ms left  round 2");
}

static void narrow_lines_lose_the_least_important(void)
{
	CHECK_STR(at_width(&transfer, 79),
		  "web: transfer   43%  29.3 MiB of 68.3 MiB  112.4 MiB/s  347 ms left  round 2");
	CHECK_STR(at_width(&transfer, 70),
		  "web: transfer   43%  29.3 MiB of 68.3 MiB  112.4 MiB/s  347 ms left");
	CHECK_STR(at_width(&transfer, 60),
		  "web: transfer   43%  29.3 MiB of 68.3 MiB  347 ms left");
	CHECK_STR(at_width(&transfer, 45), "web: transfer   43%  29.3 MiB of 68.3 MiB");
	CHECK_STR(at_width(&transfer, 30), "web: transfer   43%");
	CHECK_STR(at_width(&transfer, 15), "web: transfer");
	CHECK_STR(at_width(&transfer, 7), "web: tr");
}

static void no_line_is_too_wide(void)
{
	struct progress p = transfer;

	p.container = "z\xc3\xbcrich-with-a-name-that-is-longer-than-many-a-terminal-is-wide-"
		      "and-then-some-more-and-more-and-more-and-more-and-more-and-more";
	p.message = "\xc3\xbc\xc3\xbc\xc3\xbc";
	p.bytes_total = INT64_MAX;
	p.eta_ms = INT64_MAX;
	for (size_t width = 1; width < 300; width++) {
		CHECK(out_width(at_width(&p, width)) <= width);
		CHECK(out_width(at_width(&transfer, width)) <= width);
	}
}

static void what_is_unknown_is_left_out(void)
{
	const struct progress early = { .container = "web",
					.percent = -1,
					.bytes_done = -1,
					.bytes_total = -1,
					.rate_bytes_s = -1,
					.eta_ms = -1 };
	struct progress p = early;

	CHECK_STR(at_width(&early, 100), "web: starting");
	p.stage = "prepare";
	p.percent = 0;
	CHECK_STR(at_width(&p, 32), "web: prepare  [          ]    0%");
	p.percent = 200;
	CHECK_STR(at_width(&p, 33), "web: prepare  [===========]  100%");
	p.bytes_done = 2048;
	CHECK_STR(at_width(&p, 30), "web: prepare  100%  2.0 KiB");
}

static void colours_take_no_columns(void)
{
	progress_format(&transfer, 79, true, line);
	CHECK(strstr(line, "\033[1mweb: transfer\033[0m") == line);
	CHECK(strstr(line, "\033[2mround 2\033[0m") != NULL);
}

static void controls_never_reach_the_terminal(void)
{
	struct progress p = transfer;

	p.message = "\033]0;title\a";
	p.stage = "a\nb";
	CHECK(strpbrk(at_width(&p, 200), "\033\n\a") == NULL);
}

static void the_api_is_read(void)
{
	_cleanup_json_ json_t *full = json_pack("{s:s, s:s, s:{s:i, s:i, s:s}}", "container", "web",
						"stage", "sync", "progress", "percent", 7,
						"bytes_done", 5, "message", "x");
	_cleanup_json_ json_t *empty = json_object();
	struct progress p;

	progress_parse(full, &p);
	CHECK_STR(p.container, "web");
	CHECK_STR(p.stage, "sync");
	CHECK_STR(p.message, "x");
	CHECK_INT(p.percent, 7);
	CHECK_INT(p.bytes_done, 5);
	CHECK_INT(p.eta_ms, -1);
	progress_parse(empty, &p);
	CHECK_INT(p.percent, -1);
	progress_parse(NULL, &p);
	CHECK_STR(at_width(&p, 50), ": starting");
}

int main(void)
{
	TAP_RUN(wide_lines_have_it_all);
	TAP_RUN(narrow_lines_lose_the_least_important);
	TAP_RUN(no_line_is_too_wide);
	TAP_RUN(what_is_unknown_is_left_out);
	TAP_RUN(colours_take_no_columns);
	TAP_RUN(controls_never_reach_the_terminal);
	TAP_RUN(the_api_is_read);
	return tap_done();
}
