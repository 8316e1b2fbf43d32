// SPDX-License-Identifier: Apache-2.0
/*
 * test_missing.c - how much of an image is missing, by what the peer says of its layers
 */
#include "sizes.h"

#include "cleanup.h"
#include "json.h"
#include "tap.h"

static void check(const char *text, int present, uint64_t missing)
{
	_cleanup_json_ json_t *description = json_loads(text, 0, NULL);

	printf("# %s, %d present\n", text, present);
	CHECK_INT(rb_image_bytes_missing(description, present), missing);
}

static void what_is_there_does_not_count(void)
{
	const char *text =
		"{\"layers\":[\"a\",\"b\",\"c\"],\"size\":700,\"layer_bytes\":[400,200,100]}";

	check(text, -1, 0);
	check(text, 0, 700);
	check(text, 1, 300);
	check(text, 3, 0);
	check(text, 9, 0);
}

static void without_sizes_all_of_it_counts(void)
{
	check("{\"layers\":[\"a\",\"b\"],\"size\":700}", 1, 700);
	check("{\"layers\":[\"a\",\"b\"],\"size\":700,\"layer_bytes\":[700]}", 1, 700);
	check("{\"layers\":[\"a\",\"b\"],\"size\":700,\"layer_bytes\":[600,-1]}", 1, 700);
	check("{\"layers\":[\"a\",\"b\"],\"size\":700,\"layer_bytes\":[600,\"1\"]}", 1, 700);
	check("{\"layers\":[],\"size\":700,\"layer_bytes\":[]}", 0, 700);
	check("{\"layers\":[\"a\",\"b\"],\"size\":-7,\"layer_bytes\":[1,2]}", 0, 0);
	/* nor more, whatever the peer says */
	check("{\"layers\":[\"a\",\"b\"],\"size\":700,\"layer_bytes\":[600,600]}", 0, 700);
	check("{\"layers\":[\"a\",\"b\"],\"size\":700,\"layer_bytes\":[9000000000000000000,1]}", 1,
	      700);
}

int main(void)
{
	TAP_RUN(what_is_there_does_not_count);
	TAP_RUN(without_sizes_all_of_it_counts);
	return tap_done();
}
