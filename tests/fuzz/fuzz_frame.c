// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_frame.c - what a peer sends: frames with headers, payloads and their JSON
 *
 * The input is the byte stream of a connection, past TLS. Besides not crashing, this must hold:
 *   - a header that is taken encodes to the same 16 bytes, and its length is within the limits
 *   - a failure returns a negative errno and comes with a code and a message, printable and valid
 *     UTF-8 whatever of the input it quotes
 *   - an error from a peer is an error, whatever it says
 *   - a call that is taken can be sent on, and means the same there
 */
#include <jansson.h>
#include <stdbool.h>
#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "frame.h"
#include "fuzz.h"
#include "json.h"
#include "message.h"

static bool printable(const char *text)
{
	_cleanup_json_ json_t *value = json_string(text);

	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return false;
	return value != NULL;
}

static void need_failure(int r, const struct rb_err *err)
{
	FUZZ_NEED(r < 0 && r >= -4095);
	FUZZ_NEED(err->code > RB_OK && err->code < RB_CODE_MAX);
	FUZZ_NEED(memchr(err->msg, '\0', sizeof(err->msg)) && err->msg[0]);
	FUZZ_NEED(printable(err->msg));
}

static void feed_hello(const uint8_t *payload, size_t len)
{
	struct rb_hello hello = {};
	struct rb_err err = {};
	int r = rb_hello_decode(payload, len, &hello, &err);

	if (r != 0) {
		need_failure(r, &err);
		return;
	}
	FUZZ_NEED(memchr(hello.node, '\0', sizeof(hello.node)) && hello.node[0]);
	FUZZ_NEED(memchr(hello.boot_id, '\0', sizeof(hello.boot_id)) && hello.boot_id[0]);
	FUZZ_NEED(memchr(hello.version, '\0', sizeof(hello.version)) && hello.version[0]);
	FUZZ_NEED(printable(hello.node) && printable(hello.boot_id) && printable(hello.version));
}

static void feed_call(const uint8_t *payload, size_t len)
{
	_cleanup_json_ json_t *args = NULL, *again = NULL;
	_cleanup_free_ char *text = NULL;
	const char *verb = NULL, *verb_again = NULL;
	struct rb_err err = {};
	int r = rb_call_decode(payload, len, &verb, &args, &err);

	if (r != 0) {
		need_failure(r, &err);
		FUZZ_NEED(!verb && !args);
		return;
	}
	FUZZ_NEED(verb[0]);
	verb = strdupa(verb);
	FUZZ_NEED(json_object_del(args, "do") == 0);
	FUZZ_NEED(rb_call_encode(verb, args, &text, NULL) == 0);
	FUZZ_NEED(rb_call_decode(text, strlen(text), &verb_again, &again, NULL) == 0);
	FUZZ_NEED(strcmp(verb, verb_again) == 0);
	FUZZ_NEED(json_object_size(again) == json_object_size(args) + 1);
}

static void feed_reply(const uint8_t *payload, size_t len)
{
	_cleanup_json_ json_t *body = NULL;
	struct rb_err err = {};
	int r = rb_reply_decode(payload, len, &body, &err);

	if (r != 0)
		need_failure(r, &err);
	else
		FUZZ_NEED(json_is_object(body));
}

static void feed_error(const uint8_t *payload, size_t len)
{
	_cleanup_free_ char *text = NULL;
	struct rb_err err = {}, again = {};
	int r = rb_error_decode(payload, len, "h2", &err);

	need_failure(r, &err);
	FUZZ_NEED(memchr(err.stage, '\0', sizeof(err.stage)));
	FUZZ_NEED(printable(err.stage));
	/* a node may hand on what it heard */
	FUZZ_NEED(rb_error_encode(&err, &text, NULL) == 0);
	need_failure(rb_error_decode(text, strlen(text), "h1", &again), &again);
	FUZZ_NEED(err.code == again.code);
	FUZZ_NEED(strcmp(err.stage, again.stage) == 0);
}

static void feed(enum rb_frame_type type, const uint8_t *payload, size_t len)
{
	switch (type) {
	case RB_FRAME_HELLO:
		feed_hello(payload, len);
		break;
	case RB_FRAME_CALL:
		feed_call(payload, len);
		break;
	case RB_FRAME_REPLY:
		feed_reply(payload, len);
		break;
	case RB_FRAME_ERROR:
		feed_error(payload, len);
		break;
	case RB_FRAME_DATA:
		FUZZ_NEED(len > 0 && len <= RB_FRAME_DATA_MAX);
		break;
	case RB_FRAME_END:
		FUZZ_NEED(len == 0);
		break;
	default:
		FUZZ_NEED(!"a type that does not exist");
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	while (len >= RB_FRAME_HEADER) {
		_cleanup_free_ uint8_t *payload = NULL;
		uint8_t header[RB_FRAME_HEADER];
		enum rb_frame_type type;
		struct rb_err err = {};
		size_t want;
		int r = rb_frame_decode_header(data, &type, &want, &err);

		if (r != 0) {
			need_failure(r, &err);
			return 0;
		}
		FUZZ_NEED(want <= RB_FRAME_MAX);
		rb_frame_encode_header(header, type, want);
		FUZZ_NEED(memcmp(header, data, sizeof(header)) == 0);
		data += RB_FRAME_HEADER;
		len -= RB_FRAME_HEADER;
		if (want > len)
			return 0;
		/* in a block of its own, so that a sanitizer sees where it ends */
		payload = malloc(want ? want : 1);
		FUZZ_NEED(payload);
		if (want)
			memcpy(payload, data, want);
		feed(type, payload, want);
		data += want;
		len -= want;
	}
	return 0;
}
