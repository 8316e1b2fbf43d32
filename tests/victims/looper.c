// SPDX-License-Identifier: Apache-2.0
/*
 * looper.c - print 0, 1, 2, ..., one a line: the smallest program whose move can be seen
 *
 * usage: looper [interval in ms, default 1000]
 */
#include "victim.h"

int main(int argc, char **argv)
{
	long interval_ms = argc > 1 ? victim_number(argv[1], "interval", 0, 3600000) : 1000;

	victim_catch_stop();
	for (unsigned long long i = 0; !victim_stop; i++) {
		printf("%llu\n", i);
		fflush(stdout);
		victim_sleep_us(interval_ms * 1000);
	}
	return 0;
}
