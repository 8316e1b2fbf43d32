// SPDX-License-Identifier: Apache-2.0
/*
 * test_hostile.c - peers with a good certificate that send nonsense
 */
#include <stdint.h>

#include "cleanup.h"
#include "peer.h"
#include "tap.h"

/* One thing that a peer sends instead of a REPLY, after which it hangs up. */
static const struct nonsense {
	const char *what;
	size_t len;
	uint8_t bytes[40];
	int want;
	enum rb_code code;
	const char *says;
} nonsense[] = {
	{ "magic", 16, "GARBAGE.GARBAGE", -EPROTO, RB_E_PROTOCOL, "h2 sent: a frame starts with" },
	{ "version", 16, "RBTH\2\3", -EPROTO, RB_E_PROTOCOL, "a frame of version 2" },
	{ "flags", 16, "RBTH\1\3\0\1", -EPROTO, RB_E_PROTOCOL, "unknown flags 0001" },
	{ "size", 16, "RBTH\1\3\0\0\377\377\377\377", -EMSGSIZE, RB_E_PROTOCOL,
	  "a REPLY frame of 4294967295 bytes; 4194304 are allowed" },
	{ "half a header", 7, "RBTH\1\3", -ECONNRESET, RB_E_PEER, "in the middle of a frame" },
	{ "half a payload", 20, "RBTH\1\3\0\0\0\0\0\11\0\0\0\0{}  ", -ECONNRESET, RB_E_PEER,
	  "in the middle of a frame" },
	{ "no JSON", 18, "RBTH\1\3\0\0\0\0\0\2\0\0\0\0{]", -EPROTO, RB_E_PROTOCOL,
	  "h2: REPLY: not valid JSON" },
	{ "no object", 18, "RBTH\1\3\0\0\0\0\0\2\0\0\0\0[]", -EPROTO, RB_E_PROTOCOL,
	  "h2: REPLY: not a JSON object" },
	{ "a call", 18, "RBTH\1\2\0\0\0\0\0\2\0\0\0\0{}", -EPROTO, RB_E_PROTOCOL,
	  "h2 sent CALL where REPLY was expected" },
	{ "an end", 16, "RBTH\1\6", -EPROTO, RB_E_PROTOCOL,
	  "h2 sent END where REPLY was expected" },
};
static const struct nonsense *said;

static int say_nonsense(struct rb_conn *conn)
{
	struct rb_wait wait = within(50000);

	PEER_NEED(rb_tls_io_write(conn, said->bytes, said->len, &wait, &peer_err) == 0);
	return 0;
}

static void test_nonsense(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(nonsense); i++) {
		struct rb_wait wait = within(50000);
		struct rb_tls *tls = NULL;
		struct rb_conn *conn = NULL;
		struct rb_err err = {};
		struct peer peer;
		int r;

		said = &nonsense[i];
		CHECK(peer_start(&peer, say_nonsense));
		CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
		r = rb_conn_reply(conn, NULL, &wait, &err);
		leave(tls, conn);
		if (r != said->want)
			printf("# %s\n", said->what);
		CHECK_ERR(r, said->want, err);
		CHECK_INT(err.code, said->code);
		CHECK_HAS(err.msg, said->says);
		CHECK_INT(peer_end(&peer), 0);
	}
}

/* What a peer sends as its HELLO. */
static const struct greeting {
	const char *hello;
	int want;
	enum rb_code code;
	const char *says;
} greetings[] = {
	{ "{\"protocol\":9}", -EPROTO, RB_E_PROTOCOL, "it speaks protocol 9, this node speaks 8" },
	{ "{\"protocol\":8,\"version\":\"1\",\"node\":\"h3\",\"boot_id\":\"b\"}", -EACCES,
	  RB_E_DENIED, "calls itself 'h3', but its certificate says 'h2'" },
	{ "{\"protocol\":8,\"version\":\"1\",\"node\":\"h2\"}", -EPROTO, RB_E_PROTOCOL,
	  "HELLO: 'boot_id' is missing" },
	{ NULL, -EPROTO, RB_E_PROTOCOL, "sent END where HELLO was expected" },
};
static const struct greeting *greeting;

static int greet_badly(int fd)
{
	uint8_t out[256];
	size_t len = greeting->hello ? strlen(greeting->hello) : 0, got;
	struct rb_tls *tls = NULL;
	SSL *ssl;

	PEER_NEED(load("h2", "ca", &tls, &peer_err) == 0);
	ssl = SSL_new(tls->ctx);
	SSL_set_fd(ssl, fd);
	PEER_NEED(SSL_accept(ssl) == 1);
	rb_frame_encode_header(out, len ? RB_FRAME_HELLO : RB_FRAME_END, len);
	if (len)
		memcpy(out + RB_FRAME_HEADER, greeting->hello, len);
	PEER_NEED(SSL_write_ex(ssl, out, RB_FRAME_HEADER + len, &got) == 1);
	/* until the other side hangs up */
	while (SSL_read_ex(ssl, out, sizeof(out), &got) == 1)
		;
	SSL_free(ssl);
	rb_tls_free(tls);
	return 0;
}

static void test_bad_greetings(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(greetings); i++) {
		struct rb_tls *tls = NULL;
		struct rb_conn *conn = NULL;
		struct rb_err err = {};
		struct peer peer;

		greeting = &greetings[i];
		CHECK(peer_start_raw(&peer, greet_badly));
		CHECK_ERR(join(&peer, &tls, &conn, &err), greeting->want, err);
		CHECK_INT(err.code, greeting->code);
		CHECK_HAS(err.msg, greeting->says);
		CHECK(conn == NULL);
		leave(tls, conn);
		CHECK_INT(peer_end(&peer), 0);
	}
}

int main(void)
{
	if (!certs_make()) {
		printf("Bail out! cannot make certificates\n");
		return 1;
	}
	TAP_RUN(test_nonsense);
	TAP_RUN(test_bad_greetings);
	certs_remove();
	return tap_done();
}
