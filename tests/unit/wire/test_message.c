// SPDX-License-Identifier: Apache-2.0
/*
 * test_message.c - the JSON of HELLO, CALL, REPLY and ERROR
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "json.h"
#include "message.h"
#include "tap.h"

#define BOOT "01234567-89ab-cdef-0123-456789abcdef"

static int hello(const char *text, struct rb_hello *ret, struct rb_err *err)
{
	return rb_hello_decode(text, strlen(text), ret, err);
}

static void test_hello_golden(void)
{
	_cleanup_free_ char *text = NULL;
	struct rb_hello back = {};

	CHECK_INT(rb_hello_encode("h1", BOOT, &text, NULL), 0);
	CHECK_STR(text, "{\"protocol\":8,\"version\":\"" RB_VERSION "\",\"node\":\"h1\","
			"\"boot_id\":\"" BOOT "\"}");
	CHECK_INT(hello(text, &back, NULL), 0);
	CHECK_STR(back.node, "h1");
	CHECK_STR(back.boot_id, BOOT);
	CHECK_STR(back.version, RB_VERSION);
}

static void test_hello_of_a_later_version(void)
{
	struct rb_hello back = { .node = "untouched" };
	struct rb_err err = {};

	CHECK_INT(hello("{\"protocol\":9,\"something\":\"new\"}", &back, &err), -EPROTO);
	CHECK_INT(err.code, RB_E_PROTOCOL);
	CHECK_STR(err.msg, "it speaks protocol 9, this node speaks 8; install the same version of "
			   "reberth on both");
	CHECK_STR(back.node, "untouched");
	/* members that we do not know are no reason to refuse */
	CHECK_INT(hello("{\"protocol\":8,\"version\":\"9\",\"node\":\"h1\",\"boot_id\":\"b\","
			"\"more\":[1]}",
			&back, NULL),
		  0);
}

static void test_hello_refused(void)
{
	static const char *const bad[] = {
		"",
		"[]",
		"{}",
		"null",
		"{\"protocol\":\"1\"}",
		"{\"protocol\":8,\"protocol\":8,\"version\":\"1\",\"node\":\"a\",\"boot_id\":"
		"\"b\"}",
		"{\"protocol\":8,\"version\":\"1\",\"node\":\"a\"}",
		"{\"protocol\":8,\"version\":\"1\",\"node\":7,\"boot_id\":\"b\"}",
		"{\"protocol\":8,\"version\":\"1\",\"node\":\"a\\u001b[2J\",\"boot_id\":\"b\"}",
		"{\"protocol\":8,\"version\":\"1\",\"node\":\"a\",\"boot_id\":\"" BOOT "0\"}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct rb_hello back;
		struct rb_err err = {};
		int r = hello(bad[i], &back, &err);

		if (r != -EPROTO)
			printf("# %s\n", bad[i]);
		CHECK_INT(r, -EPROTO);
		CHECK_INT(err.code, RB_E_PROTOCOL);
	}
}

static void test_call(void)
{
	_cleanup_json_ json_t *args = json_pack("{s:s, s:i}", "id", "m1", "round", 3);
	_cleanup_json_ json_t *back = NULL;
	_cleanup_free_ char *text = NULL, *plain = NULL;
	const char *verb = NULL;

	CHECK_INT(rb_call_encode("prepare", args, &text, NULL), 0);
	CHECK_STR(text, "{\"do\":\"prepare\",\"id\":\"m1\",\"round\":3}");
	CHECK_INT(rb_call_decode(text, strlen(text), &verb, &back, NULL), 0);
	CHECK_STR(verb, "prepare");
	CHECK_INT(rb_json_int(back, "round", 0), 3);
	/* the caller's object is as it was */
	CHECK_INT(json_object_size(args), 2);
	CHECK_INT(rb_call_encode("ping", NULL, &plain, NULL), 0);
	CHECK_STR(plain, "{\"do\":\"ping\"}");
}

static void test_call_refused(void)
{
	static const char *const bad[] = { "{}", "[\"do\"]", "{\"do\":1}", "{\"do\":\"\"}", "{" };
	_cleanup_json_ json_t *with_do = json_pack("{s:s}", "do", "evil");
	_cleanup_json_ json_t *list = json_array();
	char *text = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		json_t *args = NULL;
		const char *verb = NULL;

		CHECK_INT(rb_call_decode(bad[i], strlen(bad[i]), &verb, &args, NULL), -EPROTO);
		CHECK(args == NULL);
	}
	CHECK_INT(rb_call_encode("x", with_do, &text, NULL), -EINVAL);
	CHECK_INT(rb_call_encode("x", list, &text, NULL), -EINVAL);
}

static void test_error_golden(void)
{
	const struct rb_err what = { .code = RB_E_NO_SPACE,
				     .errnum = ENOSPC,
				     .stage = "images",
				     .msg = "the disk is full" };
	_cleanup_free_ char *text = NULL;
	struct rb_err back = {};

	CHECK_INT(rb_error_encode(&what, &text, NULL), 0);
	CHECK_STR(text, "{\"code\":\"no-space\",\"errno\":28,\"stage\":\"images\","
			"\"message\":\"the disk is full\"}");
	CHECK_INT(rb_error_decode(text, strlen(text), "h2", &back), -ENOSPC);
	CHECK_INT(back.code, RB_E_NO_SPACE);
	CHECK_INT(back.errnum, ENOSPC);
	CHECK_STR(back.stage, "images");
	CHECK_STR(back.msg, "h2: the disk is full");
	CHECK_INT(rb_error_decode(text, strlen(text), "h2", NULL), -ENOSPC);
}

static int error_of(const char *text, struct rb_err *ret)
{
	*ret = (struct rb_err){};
	return rb_error_decode(text, strlen(text), "h2", ret);
}

/* whatever comes, the result is an error with a code and a message */
static void test_error_strange(void)
{
	struct rb_err err;

	CHECK_INT(error_of("{}", &err), -EREMOTEIO);
	CHECK_INT(err.code, RB_E_INTERNAL);
	CHECK_STR(err.msg, "h2: it failed without saying why");
	CHECK_INT(error_of("{\"code\":\"ok\",\"errno\":0,\"message\":\"fine\"}", &err), -EREMOTEIO);
	CHECK_INT(err.code, RB_E_INTERNAL);
	CHECK_INT(err.errnum, 0);
	CHECK_INT(error_of("{\"errno\":-5}", &err), -EREMOTEIO);
	CHECK_INT(error_of("{\"errno\":4294967297}", &err), -EREMOTEIO);
	CHECK_INT(error_of("{\"message\":\"a\\u001b[31m\\nb\"}", &err), -EREMOTEIO);
	CHECK_STR(err.msg, "h2: a?[31m?b");
	CHECK_INT(error_of("{\"stage\":\"0123456789012345678901234567\"}", &err), -EREMOTEIO);
	CHECK_STR(err.stage, "01234567890123456789012");
	CHECK_INT(error_of("oops", &err), -EPROTO);
	CHECK_INT(err.code, RB_E_PROTOCOL);
}

static void test_error_text_is_cut_between_characters(void)
{
	struct rb_err what = { .code = RB_E_CRIU }, back = {};
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json_t *value = NULL;
	size_t at = 0;

	/* 2-byte characters after an odd number of bytes: the end falls inside one */
	what.msg[at++] = 'x';
	while (at + 2 < sizeof(what.msg)) {
		what.msg[at++] = (char)0xc3;
		what.msg[at++] = (char)0xa4;
	}
	for (int round = 0; round < 2; round++) {
		free(TAKE_PTR(text));
		CHECK_INT(rb_error_encode(&what, &text, NULL), 0);
		/* "h2: " makes it too long */
		rb_error_decode(text, strlen(text), round ? "h22" : "h2", &back);
		value = json_string(back.msg);
		CHECK(value != NULL);
		CHECK(strlen(back.msg) >= sizeof(back.msg) - 3);
		json_decref(TAKE_PTR(value));
	}
}

static void test_error_with_bytes_that_are_no_text(void)
{
	const struct rb_err what = { .code = RB_E_INTERNAL, .msg = "open '/a\xff\xfe': gone" };
	_cleanup_free_ char *text = NULL;

	CHECK_INT(rb_error_encode(&what, &text, NULL), 0);
	CHECK_STR(text, "{\"code\":\"internal\",\"errno\":0,\"stage\":\"\","
			"\"message\":\"open '/a?"
			"?': gone\"}");
}

static void test_reply(void)
{
	json_t *body = NULL;

	CHECK_INT(rb_reply_decode("[]", 2, &body, NULL), -EPROTO);
	CHECK_INT(rb_reply_decode("{}x", 3, &body, NULL), -EPROTO);
	CHECK(body == NULL);
	CHECK_INT(rb_reply_decode("{}", 2, &body, NULL), 0);
	CHECK_INT(json_object_size(body), 0);
	json_decref(body);
}

/* jansson quotes the place where it gave up */
static void test_quoted_input_is_printable(void)
{
	struct rb_err err = {};
	json_t *body = NULL;

	CHECK_INT(rb_reply_decode("{\"a\":\033[2J}", 10, &body, &err), -EPROTO);
	CHECK_STR(err.msg, "REPLY: not valid JSON: invalid token near '?' (line 1)");
}

static void test_node_names(void)
{
	char longest[RB_NODE_MAX + 2];

	memset(longest, 'a', sizeof(longest));
	longest[RB_NODE_MAX + 1] = '\0';
	CHECK_INT(rb_node_valid(longest), false);
	longest[RB_NODE_MAX] = '\0';
	CHECK_INT(rb_node_valid(longest), true);
	CHECK_INT(rb_node_valid("h-1.example_x"), true);
	CHECK_INT(rb_node_valid(""), false);
	CHECK_INT(rb_node_valid("a b"), false);
	CHECK_INT(rb_node_valid("a/b"), false);
}

int main(void)
{
	TAP_RUN(test_hello_golden);
	TAP_RUN(test_hello_of_a_later_version);
	TAP_RUN(test_hello_refused);
	TAP_RUN(test_call);
	TAP_RUN(test_call_refused);
	TAP_RUN(test_error_golden);
	TAP_RUN(test_error_strange);
	TAP_RUN(test_error_text_is_cut_between_characters);
	TAP_RUN(test_error_with_bytes_that_are_no_text);
	TAP_RUN(test_reply);
	TAP_RUN(test_quoted_input_is_printable);
	TAP_RUN(test_node_names);
	return tap_done();
}
