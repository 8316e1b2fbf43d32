/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transfer.h - one HTTP request over libcurl's multi interface (internal to engine/)
 */
#pragma once

#include <curl/curl.h>
#include <stdbool.h>

#include "engine.h"
#include "io.h"

struct rb_err;
struct rb_wait;

struct rb_transfer {
	CURLM *multi; /* its own: several transfers of one engine may be under way */
	CURL *easy;
	struct curl_slist *headers;
	const char *socket_path, *method, *path; /* borrowed */
	const char *peer, *daemon;		 /* who answers, in messages: "Docker", "dockerd" */
	char url[4096];
	rb_engine_feed feed;
	void *feed_arg;
	bool streaming; /* the body is fetched block by block */
	bool paused;	/* libcurl holds back a block until the body so far was fetched */
	bool done;
	CURLcode code;	    /* once done */
	struct rb_buf body; /* the answer, or the part that was not fetched yet */
	int callback_error; /* negative errno that a callback ended the transfer with */
	int api_minor;	    /* from the Api-Version header, 0 without */
};

/**
 * rb_transfer_init - prepare a request
 * @api_minor: 0 for a path that has no version ("/_ping")
 *
 * @socket_path, @method and @path must outlive the transfer. Free with rb_transfer_free() also when
 * this fails.
 */
int rb_transfer_init(struct rb_transfer *t, const char *socket_path, const char *method,
		     int api_minor, const char *path, struct rb_err *err);

/** rb_transfer_free - end it where it is, close the connection; fine on a zeroed one */
void rb_transfer_free(struct rb_transfer *t);
#define _cleanup_transfer_ __attribute__((cleanup(rb_transfer_free)))

/** rb_transfer_header - add a header line. Return: 0 or -ENOMEM. */
int rb_transfer_header(struct rb_transfer *t, const char *line);

/** rb_transfer_run - to the end. Return: 0 with the answer in @t->body, or why it failed. */
int rb_transfer_run(struct rb_transfer *t, const struct rb_wait *wait, struct rb_err *err);

/** rb_transfer_fetch - next block of a streaming transfer, valid until the next fetch. Return: its
 * length, 0 at the end, negative errno. */
ssize_t rb_transfer_fetch(struct rb_transfer *t, const void **ret_block, const struct rb_wait *wait,
			  struct rb_err *err);
