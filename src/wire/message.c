// SPDX-License-Identifier: Apache-2.0
/*
 * message.c - the JSON inside HELLO, CALL and ERROR frames
 *
 * HELLO  {"protocol": 1, "version": "0.1.0", "node": "h1", "boot_id": "<uuid>"}
 * CALL   {"do": "<verb>", ...arguments}
 * REPLY  {...}
 * ERROR  {"code": "no-space", "errno": 28, "stage": "images", "message": "..."}
 *
 * Unknown members are ignored, so that a later version can add some; what is needed must be there
 * with its type. Text of the peer ends up on people's terminals: control characters become '?'.
 */
#include "message.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "json.h"

#define ERRNO_MAX 4095 /* as the kernel's MAX_ERRNO */

bool rb_node_valid(const char *name)
{
	size_t len = strlen(name);

	return len >= 1 && len <= RB_NODE_MAX &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
		       len;
}

static void no_foreign_bytes(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text >= 0x80)
			*text = '?';
}

static bool valid_utf8(const char *text)
{
	_cleanup_json_ json_t *value = json_string(text);

	return value != NULL;
}

/* drop what snprintf() left of a character that did not fit as a whole */
static void trim_cut_character(char *text)
{
	size_t len = strlen(text), at = len;

	while (at > 0 && len - at < 4 && ((unsigned char)text[at - 1] & 0xc0) == 0x80)
		at--;
	if (at > 0 && (unsigned char)text[at - 1] >= 0xc0) {
		unsigned char lead = (unsigned char)text[at - 1];
		size_t need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;

		if (len - (at - 1) < need)
			text[at - 1] = '\0';
	}
}

/* for text that holds what a peer wrote: one line of valid UTF-8 without control characters */
static void make_printable(char *text)
{
	trim_cut_character(text);
	if (!valid_utf8(text))
		no_foreign_bytes(text);
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

/* takes over @obj */
static int encode(json_t *obj, char **ret_text, struct rb_err *err)
{
	char *text = obj ? json_dumps(obj, JSON_COMPACT) : NULL;

	json_decref(obj);
	if (!text)
		return rb_err_set(err, -ENOMEM, "encode a message");
	*ret_text = text;
	return 0;
}

static int decode_object(const char *what, const void *payload, size_t len, json_t **ret,
			 struct rb_err *err)
{
	json_t *obj;
	int r = rb_json_parse(payload, len, &obj, err);

	if (r < 0) {
		rb_err_wrap(err, r, "%s", what);
		if (err) /* it quotes where the text went wrong */
			make_printable(err->msg);
		return r;
	}
	if (!json_is_object(obj)) {
		json_decref(obj);
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "%s: not a JSON object", what);
	}
	*ret = obj;
	return 0;
}

int rb_hello_encode(const char *node, const char *boot_id, char **ret_text, struct rb_err *err)
{
	return encode(json_pack("{s:i, s:s, s:s, s:s}", "protocol", RB_PROTOCOL, "version",
				RB_VERSION, "node", node, "boot_id", boot_id),
		      ret_text, err);
}

static int copy_text(const json_t *obj, const char *key, char *ret, size_t size, struct rb_err *err)
{
	const char *text;
	int r = rb_json_need_str(obj, key, &text, err);

	if (r < 0)
		return rb_err_wrap(err, r, "HELLO");
	if (strlen(text) >= size || strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUV"
						 "WXYZ0123456789._-+~") != strlen(text))
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "HELLO: '%s' is too long or has strange characters", key);
	strcpy(ret, text);
	return 0;
}

int rb_hello_decode(const void *payload, size_t len, struct rb_hello *ret, struct rb_err *err)
{
	_cleanup_json_ json_t *obj = NULL;
	struct rb_hello hello = {};
	int64_t protocol;
	int r;

	r = decode_object("HELLO", payload, len, &obj, err);
	if (r < 0)
		return r;
	protocol = rb_json_int(obj, "protocol", -1);
	if (protocol != RB_PROTOCOL)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "it speaks protocol %" PRId64 ", this node speaks %d; install "
				   "the same version of reberth on both",
				   protocol, RB_PROTOCOL);
	r = copy_text(obj, "node", hello.node, sizeof(hello.node), err);
	if (r == 0)
		r = copy_text(obj, "boot_id", hello.boot_id, sizeof(hello.boot_id), err);
	if (r == 0)
		r = copy_text(obj, "version", hello.version, sizeof(hello.version), err);
	if (r < 0)
		return r;
	*ret = hello;
	return 0;
}

int rb_call_encode(const char *verb, const json_t *args, char **ret_text, struct rb_err *err)
{
	json_t *obj;

	if (args && (!json_is_object(args) || json_object_get(args, "do")))
		return rb_err_code(err, RB_E_INTERNAL, -EINVAL,
				   "arguments of '%s' are not an object, or bring a 'do'", verb);
	obj = json_pack("{s:s}", "do", verb);
	/* jansson wants a non-const pointer, but only takes references */
	if (obj && args && json_object_update(obj, (json_t *)args) < 0) {
		json_decref(obj);
		obj = NULL;
	}
	return encode(obj, ret_text, err);
}

int rb_call_decode(const void *payload, size_t len, const char **ret_verb, json_t **ret_args,
		   struct rb_err *err)
{
	json_t *obj;
	int r = decode_object("CALL", payload, len, &obj, err);

	if (r < 0)
		return r;
	r = rb_json_need_str(obj, "do", ret_verb, err);
	if (r < 0) {
		json_decref(obj);
		return rb_err_wrap(err, r, "CALL");
	}
	*ret_args = obj;
	return 0;
}

int rb_reply_decode(const void *payload, size_t len, json_t **ret, struct rb_err *err)
{
	return decode_object("REPLY", payload, len, ret, err);
}

int rb_error_encode(const struct rb_err *what, char **ret_text, struct rb_err *err)
{
	return encode(json_pack("{s:s, s:i, s:o, s:o}", "code", rb_code_name(what->code), "errno",
				what->errnum, "stage", rb_json_text(what->stage), "message",
				rb_json_text(what->msg)),
		      ret_text, err);
}

int rb_error_decode(const void *payload, size_t len, const char *node, struct rb_err *err)
{
	_cleanup_json_ json_t *obj = NULL;
	enum rb_code code;
	int64_t errnum;
	int r;

	r = decode_object("ERROR", payload, len, &obj, err);
	if (r < 0)
		return rb_err_wrap(err, r, "%s", node);
	code = rb_code_parse(rb_json_str(obj, "code", NULL));
	if (code == RB_OK) /* an error it is, whatever it says */
		code = RB_E_INTERNAL;
	errnum = rb_json_int(obj, "errno", 0);
	if (errnum <= 0 || errnum > ERRNO_MAX)
		errnum = 0;
	r = rb_err_code(err, code, errnum ? (int)-errnum : -EREMOTEIO, "%s: %s", node,
			rb_json_str(obj, "message", "it failed without saying why"));
	if (!err)
		return r;
	err->errnum = (int)errnum;
	snprintf(err->stage, sizeof(err->stage), "%s", rb_json_str(obj, "stage", ""));
	make_printable(err->stage);
	make_printable(err->msg);
	return r;
}
