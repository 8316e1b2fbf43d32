// SPDX-License-Identifier: Apache-2.0
/*
 * image_push.c - `reberth image push`: bring an image to other nodes
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "cli.h"
#include "client.h"
#include "err.h"
#include "follow.h"
#include "json.h"
#include "output.h"

#define NODES_MAX 64

enum { OPT_JSON = CLI_LONG };

static const struct cli_option options[] = {
	{ 'd', "detach", NULL, "print the push's ID and leave it to reberthd" },
	{ OPT_JSON, "json", NULL, "print the report, or what went wrong, as JSON" },
	{},
};

static const struct cli_usage usage = {
	.verb = "image push",
	.operands = "IMAGE NODE...",
	.options = options,
	.text = "Only what a node lacks is sent. There the image gets those of its names that "
		"nothing\n"
		"else has. The nodes are served one after the other; one that fails does not stop "
		"the\n"
		"others, and is told by the exit status.\n"
		"\n"
		"Ctrl-C cancels. What has arrived by then is not sent again when the push is "
		"repeated.\n"
		"Closing the terminal or killing this command detaches: see 'reberth image "
		"pushes'.\n",
};

static void print_node(const json_t *push, const json_t *node)
{
	const char *image = rb_json_str(push, "image", "?"), *name = rb_json_str(node, "node", "?");
	const json_t *layers = json_object_get(node, "layers");
	int sent = (int)rb_json_int(layers, "sent", 0);
	int present = (int)rb_json_int(layers, "present", 0);
	char bytes[OUT_TEXT_MAX], time[OUT_TEXT_MAX];

	if (rb_json_bool(node, "image_present", false)) {
		printf("%s was on %s already\n", image, name);
		return;
	}
	printf("%s pushed to %s: %d of %d layers sent, %s in %s\n", image, name, sent,
	       sent + present, out_size(bytes, rb_json_int(node, "bytes_sent", -1)),
	       out_duration(time, rb_json_int(node, "ms", -1)));
}

/* the image is there, but who starts a container by that name gets another one */
static void say_taken(const json_t *node)
{
	const char *name = rb_json_str(node, "node", "?");
	const char *id = rb_json_str(node, "image_id", "sha256:");
	char short_id[OUT_TEXT_MAX];
	json_t *tag;
	size_t i;

	if (strncmp(id, "sha256:", 7) == 0)
		id += 7;
	json_array_foreach (rb_json_path(node, "tags.taken"), i, tag)
		cli_say("on %s '%s' is another image, and stays it: 'docker tag %s %s' there "
			"changes that",
			name, json_string_value(tag), out_short_id(short_id, id),
			json_string_value(tag));
}

static void say_failure(const json_t *push, const json_t *node)
{
	struct rb_err err = {};

	client_error(json_object_get(node, "error"), &err);
	cli_say("%s was not pushed to %s: %s", rb_json_str(push, "image", "?"),
		rb_json_str(node, "node", "?"), err.msg);
}

/* Return: exit status */
static int print_result(const struct cli *cli, const json_t *push)
{
	bool completed = strcmp(rb_json_str(push, "result", ""), "completed") == 0;
	struct rb_err err = {};
	bool told = false;
	json_t *node;
	size_t i;

	json_array_foreach (json_object_get(push, "nodes"), i, node) {
		bool has_it = strcmp(rb_json_str(node, "state", ""), "completed") == 0;

		if (json_object_get(node, "error")) {
			say_failure(push, node);
			told = true;
		} else if (has_it) {
			if (!cli->json)
				print_node(push, node);
			say_taken(node);
		}
	}
	if (!completed)
		client_error(json_object_get(push, "error"), &err);
	/* what concerns no node alone: there is no such image, its worker was killed */
	if (!completed && !told)
		cli_say("%s was not pushed: %s", rb_json_str(push, "image", "?"), err.msg);
	if (cli->json && cli_print_json(push))
		return 1;
	return completed ? 0 : rb_code_exit(err.code);
}

static int push(const struct cli *cli, struct client *client, const json_t *body, bool detach)
{
	_cleanup_json_ json_t *started = NULL, *pushed = NULL;
	_cleanup_close_ int signal_fd = -EBADF;
	struct rb_err err = {};
	const char *id;

	signal_fd = follow_block_signals(&err);
	if (signal_fd < 0)
		return cli_fail(cli, &err);
	if (client_request(client, "POST", "/v1/pushes", body, CLIENT_TIMEOUT_MS, &started, &err) <
		    0 ||
	    rb_json_need_str(started, "id", &id, &err) < 0)
		return cli_fail(cli, &err);
	if (detach)
		return cli_print_id(cli, id);
	if (follow(&follow_push, client, id, signal_fd, cli->json, &pushed, &err) < 0)
		return cli_fail(cli, &err);
	return print_result(cli, pushed);
}

int verb_image_push(struct cli *cli, int argc, char **argv)
{
	_cleanup_json_ json_t *nodes = json_array(), *body = NULL;
	_cleanup_client_ struct client *client = NULL;
	struct rb_err err = {};
	bool detach = false;
	int id, r;

	while ((id = cli_option(cli, &usage, argc, argv)) != CLI_END) {
		if (id == CLI_STOP)
			return cli->status;
		detach |= id == 'd';
		cli->json |= id == OPT_JSON;
	}
	r = cli_operands(cli, &usage, argc, argv, 2, 1 + NODES_MAX);
	if (r != 0)
		return r;
	for (int i = optind + 1; i < argc; i++)
		r |= json_array_append_new(nodes, json_string(argv[i]));
	body = json_pack("{s:s, s:O}", "image", argv[optind], "nodes", nodes);
	if (r < 0 || !body) {
		rb_err_code(&err, RB_E_USAGE, -EINVAL,
			    "the image or a node is not text in UTF-8: correct it");
		return cli_fail(cli, &err);
	}
	client = client_new(cli->socket);
	return client ? push(cli, client, body, detach) : 1;
}
