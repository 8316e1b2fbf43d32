// SPDX-License-Identifier: Apache-2.0
/*
 * main.c - reberthd: the daemon of a host, and its worker processes
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "daemon.h"
#include "err.h"
#include "log.h"
#include "worker.h"

#define DEFAULT_CONFIG "/etc/reberth/reberth.json"
#define TOOLS_PATH     "/opt/reberth/bin"

static const char usage[] =
	"usage: reberthd [--config FILE] [--debug] [--json-log]\n"
	"\n"
	"The daemon of reberth: moves running containers to and from this host.\n"
	"See reberthd(8).\n";

/* a CRIU of our own, where there is one, before the system's */
static void put_tools_first(void)
{
	const char *path = getenv("PATH");
	char value[4096];

	if (path && strncmp(path, TOOLS_PATH ":", strlen(TOOLS_PATH) + 1) == 0)
		return;
	snprintf(value, sizeof(value), "%s:%s", TOOLS_PATH,
		 path && *path ? path
			       : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	setenv("PATH", value, 1);
}

int main(int argc, char **argv)
{
	enum { OPT_WORKER = 256, OPT_DEBUG, OPT_JSON_LOG, OPT_VERSION };
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "worker", required_argument, NULL, OPT_WORKER },
		{ "debug", no_argument, NULL, OPT_DEBUG },
		{ "json-log", no_argument, NULL, OPT_JSON_LOG },
		{ "version", no_argument, NULL, OPT_VERSION },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	const char *path = DEFAULT_CONFIG, *worker = NULL;
	bool debug = getenv("REBERTH_DEBUG"), json = getenv("REBERTH_JSON_LOG");
	struct rb_config config = {};
	struct rb_err err = {};
	int opt;

	while ((opt = getopt_long(argc, argv, "c:h", options, NULL)) >= 0) {
		switch (opt) {
		case 'c':
			path = optarg;
			break;
		case OPT_WORKER:
			worker = optarg;
			break;
		case OPT_DEBUG:
			debug = true;
			setenv("REBERTH_DEBUG", "1", 1); /* for the workers */
			break;
		case OPT_JSON_LOG:
			json = true;
			setenv("REBERTH_JSON_LOG", "1", 1);
			break;
		case OPT_VERSION:
			puts("reberthd " RB_VERSION);
			return 0;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	rb_log_setup(debug ? RB_LOG_DEBUG : RB_LOG_INFO, json);
	put_tools_first();
	if (rb_config_load(path, &config, &err) < 0) {
		rb_error("%s", err.msg);
		return rb_code_exit(RB_E_USAGE);
	}
	return worker ? rb_worker_main(&config, worker, argv[optind]) : rb_daemon_main(&config);
}
