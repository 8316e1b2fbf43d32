// SPDX-License-Identifier: Apache-2.0
/*
 * redis_load.c - write and read a Redis over one connection, and remember what was acknowledged
 *
 *   redis_load HOST PORT [--seconds N] [--keys N] [--size BYTES] [--pause-us N] [--keep]
 *
 * Empties it first, unless --keep is given. Never reconnects and never retries: the first error
 * ends it. When the time is over, or on SIGTERM or SIGINT, every key is read back and compared with
 * the last value that Redis acknowledged. The summary is one line of JSON on standard output; the
 * exit status is 1 when anything was wrong. SIGUSR1 prints a line with the figures so far to
 * standard error.
 */
#include <errno.h>
#include <getopt.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t stop, show;

static void on_signal(int sig)
{
	if (sig == SIGUSR1)
		show = 1;
	else
		stop = 1;
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

struct load {
	redisContext *redis;
	uint64_t *acked; /* per key: number of the last acknowledged write, 0: none */
	size_t keys, size;
	char *value;
	uint64_t requests, failed, wrong;
	double longest_ms, longest_at_ms, began_ms;
};

/* the value that write @number puts into a key: its number, then filling that depends on it */
static void fill_value(struct load *load, uint64_t number)
{
	int len = snprintf(load->value, load->size + 1, "%llu:", (unsigned long long)number);

	for (size_t i = (size_t)len; i < load->size; i++)
		load->value[i] = (char)('a' + (number * 31 + i) % 26);
	load->value[load->size] = '\0';
}

static redisReply *timed(struct load *load, const char *fmt, ...)
{
	double began = now_ms(), took;
	redisReply *reply;
	va_list ap;

	va_start(ap, fmt);
	reply = redisvCommand(load->redis, fmt, ap);
	va_end(ap);
	took = now_ms() - began;
	if (took > load->longest_ms) {
		load->longest_ms = took;
		load->longest_at_ms = began - load->began_ms;
	}
	load->requests++;
	if (!reply || reply->type == REDIS_REPLY_ERROR) {
		fprintf(stderr, "redis_load: %s\n", reply ? reply->str : load->redis->errstr);
		load->failed++;
		stop = 1;
	}
	return reply;
}

static void write_key(struct load *load, size_t key, uint64_t number)
{
	redisReply *reply;

	fill_value(load, number);
	reply = timed(load, "SET key:%lu %b", (unsigned long)key, load->value, load->size);
	if (reply && reply->type == REDIS_REPLY_STATUS)
		load->acked[key] = number;
	freeReplyObject(reply);
}

/* Return: does the key hold what was acknowledged last? */
static bool check_key(struct load *load, size_t key)
{
	redisReply *reply = timed(load, "GET key:%lu", (unsigned long)key);
	bool right = false;

	if (reply && load->acked[key] == 0) {
		right = reply->type == REDIS_REPLY_NIL;
	} else if (reply && reply->type == REDIS_REPLY_STRING) {
		fill_value(load, load->acked[key]);
		right = reply->len == load->size &&
			memcmp(reply->str, load->value, load->size) == 0;
	}
	if (!right && reply)
		fprintf(stderr, "redis_load: key:%zu should hold write %llu, and holds '%.40s'\n",
			key, (unsigned long long)load->acked[key],
			reply->str ? reply->str : "nothing");
	freeReplyObject(reply);
	return right;
}

static int local_port(const struct load *load)
{
	struct sockaddr_in addr = {};
	socklen_t len = sizeof(addr);

	if (getsockname(load->redis->fd, (struct sockaddr *)&addr, &len) < 0)
		return -1;
	return ntohs(addr.sin_port);
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "seconds", required_argument, NULL, 's' },
						 { "keys", required_argument, NULL, 'k' },
						 { "size", required_argument, NULL, 'z' },
						 { "pause-us", required_argument, NULL, 'p' },
						 { "keep", no_argument, NULL, 'e' },
						 { 0 } };
	struct load load = { .keys = 10000, .size = 100 };
	struct sigaction action = { .sa_handler = on_signal };
	double seconds = 1e9;
	useconds_t pause_us = 0;
	size_t lost = 0, checked = 0;
	int opt, port_before;
	bool keep = false;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (opt == 's')
			seconds = atof(optarg);
		else if (opt == 'k')
			load.keys = strtoul(optarg, NULL, 10);
		else if (opt == 'z')
			load.size = strtoul(optarg, NULL, 10);
		else if (opt == 'p')
			pause_us = (useconds_t)strtoul(optarg, NULL, 10);
		else if (opt == 'e')
			keep = true;
		else
			return 2;
	}
	if (argc - optind != 2 || load.keys == 0 || load.size < 24) {
		fprintf(stderr,
			"usage: redis_load HOST PORT [--seconds N] [--keys N] [--size BYTES >= 24]"
			" [--pause-us N] [--keep]\n");
		return 2;
	}
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGUSR1, &action, NULL);
	load.acked = calloc(load.keys, sizeof(*load.acked));
	load.value = malloc(load.size + 1);
	load.redis = redisConnectWithTimeout(argv[optind], atoi(argv[optind + 1]),
					     (struct timeval){ 5, 0 });
	if (!load.acked || !load.value || !load.redis || load.redis->err) {
		fprintf(stderr, "redis_load: %s\n",
			load.redis ? load.redis->errstr : "out of memory");
		return 1;
	}
	redisSetTimeout(load.redis, (struct timeval){ 120, 0 });
	if (!keep)
		freeReplyObject(redisCommand(load.redis, "FLUSHALL"));
	port_before = local_port(&load);
	load.began_ms = now_ms();
	for (uint64_t number = 1; !stop && now_ms() - load.began_ms < seconds * 1e3; number++) {
		size_t key = (size_t)(number * 2654435761u % load.keys);

		write_key(&load, key, number);
		if (!stop && number % 4 == 0)
			load.wrong += !check_key(&load, (size_t)(number * 40503u % load.keys));
		if (pause_us)
			usleep(pause_us);
		if (show) {
			show = 0;
			fprintf(stderr, "requests=%llu failed=%llu longest_ms=%.1f\n",
				(unsigned long long)load.requests, (unsigned long long)load.failed,
				load.longest_ms);
		}
	}
	stop = 0;
	for (size_t key = 0; load.failed == 0 && key < load.keys; key++, checked++)
		lost += !check_key(&load, key);
	printf("{\"requests\":%llu,\"failed\":%llu,\"wrong_reads\":%llu,\"longest_stall_ms\":%.1f,"
	       "\"longest_stall_at_ms\":%.0f,\"reconnects\":0,\"same_local_port\":%s,"
	       "\"keys_checked\":%zu,\"keys_lost\":%zu}\n",
	       (unsigned long long)load.requests, (unsigned long long)load.failed,
	       (unsigned long long)load.wrong, load.longest_ms, load.longest_at_ms,
	       local_port(&load) == port_before ? "true" : "false", checked, lost);
	return load.failed || load.wrong || lost || checked != load.keys;
}
