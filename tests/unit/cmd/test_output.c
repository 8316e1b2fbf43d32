// SPDX-License-Identifier: Apache-2.0
/*
 * test_output.c - sizes, durations, times and tables as a person sees them
 */
#include "output.h"

#include <errno.h>

#include "cleanup.h"
#include "io.h"
#include "tap.h"

static char text[OUT_TEXT_MAX];

static void sizes(void)
{
	CHECK_STR(out_size(text, 0), "0 B");
	CHECK_STR(out_size(text, 1023), "1023 B");
	CHECK_STR(out_size(text, 1024), "1.0 KiB");
	CHECK_STR(out_size(text, 71617740), "68.3 MiB");
	CHECK_STR(out_size(text, (1 << 20) - 1), "1.0 MiB"); /* not 1024.0 KiB */
	CHECK_STR(out_size(text, (int64_t)5 << 40), "5.0 TiB");
	CHECK_STR(out_size(text, INT64_MAX), "8192.0 PiB");
	CHECK_STR(out_size(text, -1), "?");
}

static void durations(void)
{
	CHECK_STR(out_duration(text, 0), "0 ms");
	CHECK_STR(out_duration(text, 143), "143 ms");
	CHECK_STR(out_duration(text, 999), "999 ms");
	CHECK_STR(out_duration(text, 1230), "1.2 s");
	CHECK_STR(out_duration(text, 1250), "1.3 s");
	CHECK_STR(out_duration(text, 59949), "59.9 s");
	CHECK_STR(out_duration(text, 59950), "1 m 0 s"); /* not 60.0 s */
	CHECK_STR(out_duration(text, 125000), "2 m 5 s");
	CHECK_STR(out_duration(text, 3599499), "59 m 59 s");
	CHECK_STR(out_duration(text, 3599500), "1 h 0 m");
	CHECK_STR(out_duration(text, -1), "?");
	CHECK(strlen(out_duration(text, INT64_MAX)) < OUT_TEXT_MAX);
}

static void times_ago(void)
{
	CHECK_STR(out_ago(text, -5), "now");
	CHECK_STR(out_ago(text, 1), "1 second ago");
	CHECK_STR(out_ago(text, 59), "59 seconds ago");
	CHECK_STR(out_ago(text, 119), "1 minute ago");
	CHECK_STR(out_ago(text, 7200), "2 hours ago");
	CHECK_STR(out_ago(text, 47 * 3600), "47 hours ago");
	CHECK_STR(out_ago(text, 49 * 3600), "2 days ago");
}

static void durations_are_parsed(void)
{
	static const char *const wrong[] = {
		"",	"s",	    "abc", "-5s",   " 5s",
		"5 s",	"5s ",	    "5x",  "0",	    "0s",
		"0x10", "inf",	    "nan", "1e400", "1.2.3",
		"+5s",	"0.0001ms", ".",   "800h",  "99999999999999999999h"
	};

	CHECK_INT(out_parse_duration("500ms"), 500);
	CHECK_INT(out_parse_duration("30s"), 30000);
	CHECK_INT(out_parse_duration("30"), 30000);
	CHECK_INT(out_parse_duration("1.5m"), 90000);
	CHECK_INT(out_parse_duration("2h"), 7200000);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		int64_t got = out_parse_duration(wrong[i]);

		if (got != -EINVAL)
			printf("# '%s' was taken\n", wrong[i]);
		CHECK_INT(got, -EINVAL);
	}
}

static void controls_are_replaced(void)
{
	char dirty[] = "a\033[2Jb\nc\x7f\xc3\xbc";

	out_clean(dirty);
	CHECK_STR(dirty, "a?[2Jb c?\xc3\xbc");
	CHECK_INT(out_width(dirty), 10);
}

static void ids_are_shortened(void)
{
	CHECK_STR(out_short_id(text, "0123456789abcdef"), "0123456789ab");
	CHECK_STR(out_short_id(text, "01"), "01");
	CHECK_STR(out_short_id(text, NULL), "-");
}

static void tables_are_aligned(void)
{
	static const char *const headings[] = { "NAME", "STATE" };
	static const char *const first[] = { "z\xc3\xbcrich", "up" },
				 *const second[] = { "a", NULL },
				 *const third[] = { "evil\033[m", "" };
	_cleanup_(out_table_free) struct out_table table = { .headings = headings, .columns = 2 };
	_cleanup_buf_ struct rb_buf buf = {};

	CHECK_INT(out_table_render(&table, &buf), 0);
	CHECK_STR(buf.data, "NAME   STATE\n");
	buf.len = 0;
	CHECK_INT(out_table_row(&table, first), 0);
	CHECK_INT(out_table_row(&table, second), 0);
	CHECK_INT(out_table_row(&table, third), 0);
	CHECK_INT(out_table_render(&table, &buf), 0);
	CHECK_STR(buf.data, "NAME      STATE\n"
			    "z\xc3\xbcrich    up\n"
			    "a         -\n"
			    "evil?[m   -\n");
}

int main(void)
{
	TAP_RUN(sizes);
	TAP_RUN(durations);
	TAP_RUN(times_ago);
	TAP_RUN(durations_are_parsed);
	TAP_RUN(controls_are_replaced);
	TAP_RUN(ids_are_shortened);
	TAP_RUN(tables_are_aligned);
	return tap_done();
}
