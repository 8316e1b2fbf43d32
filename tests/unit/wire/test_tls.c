// SPDX-License-Identifier: Apache-2.0
/*
 * test_tls.c - who may connect: certificates, names, and clients that are no nodes
 */
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>

#include "cleanup.h"
#include "peer.h"
#include "sock.h"
#include "tap.h"

static int report_fd = -1;

/* what the accepting side of the running test is */
static struct identity server;
static int64_t server_within_ms;

/* accept, and tell the test in which words that failed */
static int accept_and_report(int fd)
{
	struct rb_wait wait = within(server_within_ms);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	int r;

	PEER_NEED(load(server.cert, server.ca, &tls, &peer_err) == 0);
	r = rb_conn_accept(tls, fd, &wait, &conn, &peer_err);
	PEER_NEED(write(report_fd, &peer_err, sizeof(peer_err)) == sizeof(peer_err));
	rb_conn_free(conn);
	rb_tls_free(tls);
	return r == 0 ? 0 : 1;
}

static bool serve(struct peer *peer, const char *cert, const char *ca, int64_t ms, int *ret_report)
{
	int fds[2];
	bool good;

	if (pipe(fds) < 0)
		return false;
	server = (struct identity){ cert, ca };
	server_within_ms = ms;
	report_fd = fds[1];
	good = peer_start_raw(peer, accept_and_report);
	close(fds[1]);
	*ret_report = fds[0];
	return good;
}

static bool heard(int report, struct rb_err *ret)
{
	bool good = read(report, ret, sizeof(*ret)) == sizeof(*ret);

	close(report);
	return good;
}

/* One meeting of two nodes that must fail: what each side says about it. */
struct meeting {
	struct identity client, server;
	const char *node; /* whom the client expects */
	enum rb_code client_code, server_code;
	const char *client_says, *server_says;
};

static const struct meeting meetings[] = {
	/* each has another authority: the client sees the server's certificate first */
	{ { "h1", "ca" },
	  { "evil-h2", "evil" },
	  "h2",
	  RB_E_DENIED,
	  RB_E_DENIED,
	  "shows a certificate that is not signed by our authority",
	  "refuses our certificate ('h2'): it is not signed by the authority" },
	/* the client believes in the server, but not the other way round: comes with the read */
	{ { "evil-h1", "ca" },
	  { "h2", "ca" },
	  "h2",
	  RB_E_DENIED,
	  RB_E_DENIED,
	  "refuses our certificate ('h1'): it is not signed by the authority",
	  "shows a certificate that is not signed by our authority" },
	{ { "old-h1", "ca" },
	  { "h2", "ca" },
	  "h2",
	  RB_E_DENIED,
	  RB_E_DENIED,
	  "refuses our certificate ('h1'): it has expired",
	  "shows a certificate that has expired" },
	{ { "h1", "ca" },
	  { "old-h2", "ca" },
	  "h2",
	  RB_E_DENIED,
	  RB_E_DENIED,
	  "shows a certificate that has expired",
	  "refuses our certificate ('h2'): it has expired" },
	{ { "h1", "ca" },
	  { "h3", "ca" },
	  "h2",
	  RB_E_DENIED,
	  RB_E_PEER,
	  "is not 'h2': its certificate says 'h3'",
	  "closed the connection instead of greeting" },
};

static bool meet(const struct meeting *m, struct rb_err *ret_client, struct rb_err *ret_server)
{
	struct rb_wait wait = within(50000);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct peer peer;
	int report, r;

	if (!serve(&peer, m->server.cert, m->server.ca, 50000, &report) ||
	    load(m->client.cert, m->client.ca, &tls, ret_client) < 0)
		return false;
	r = rb_conn_connect(tls, peer.address, m->node, &wait, &conn, ret_client);
	leave(tls, conn);
	return heard(report, ret_server) && r == (ret_client->code == RB_E_DENIED ? -EACCES : 0) &&
	       peer_end(&peer) == 1;
}

static void test_certificates_that_are_refused(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(meetings); i++) {
		const struct meeting *m = &meetings[i];
		struct rb_err client = {}, other = {};
		bool good = meet(m, &client, &other);

		printf("# client: %s\n# server: %s\n", client.msg, other.msg);
		CHECK(good);
		CHECK_INT(client.code, m->client_code);
		CHECK_INT(other.code, m->server_code);
		CHECK_HAS(client.msg, m->client_says);
		CHECK_HAS(other.msg, m->server_says);
		CHECK_HAS(client.msg, "h2 (127.0.0.1:");
	}
}

/* The race of TLS 1.3 the other way: the server has refused us and is gone before we write. */
static void test_refusal_is_told_also_when_the_write_fails(void)
{
	struct rb_wait wait = within(50000);
	struct rb_tls *tls = NULL;
	struct rb_conn conn = { .fd = -EBADF, .user_timeout_ms = RB_SOCK_USER_TIMEOUT_MS };
	struct rb_err err = {}, other = {};
	struct peer peer;
	int report, r;

	CHECK(serve(&peer, "h2", "ca", 50000, &report));
	CHECK_ERR(load("old-h1", "ca", &tls, &err), 0, err);
	conn.fd = rb_sock_connect(peer.address, "h2", &wait, &err);
	CHECK(conn.fd >= 0);
	conn.tls = tls;
	conn.rx = malloc(RB_FRAME_HEADER + RB_FRAME_MAX);
	strcpy(conn.label, "h2");
	CHECK_ERR(rb_tls_io_open(&conn, false, &err), 0, err);
	CHECK_ERR(rb_tls_io_handshake(&conn, &wait, &err), 0, err);
	CHECK(heard(report, &other));
	CHECK_INT(peer_end(&peer), 1);
	/* the first write provokes the reset, the second finds it */
	r = rb_conn_send(&conn, RB_FRAME_END, NULL, 0, &wait, &err);
	for (int i = 0; i < 100 && r == 0; i++) {
		rb_wait_ms(10, NULL, NULL);
		r = rb_conn_send(&conn, RB_FRAME_END, NULL, 0, &wait, &err);
	}
	CHECK_ERR(r, -EACCES, err);
	CHECK_INT(err.code, RB_E_DENIED);
	CHECK_HAS(err.msg, "h2 refuses our certificate ('h1'): it has expired");
	SSL_free(conn.ssl);
	BIO_meth_free(conn.method);
	close(conn.fd);
	free(conn.ahead);
	free(conn.rx);
	rb_tls_free(tls);
}

static void test_client_without_certificate(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	struct rb_wait wait = within(50000);
	struct rb_err err = {}, other = {};
	struct peer peer;
	int report, fd;
	char byte;
	SSL *ssl;

	CHECK(serve(&peer, "h2", "ca", 50000, &report));
	fd = rb_sock_connect(peer.address, "h2", &wait, &err);
	CHECK(fd >= 0);
	fcntl(fd, F_SETFL, 0);
	ssl = SSL_new(ctx);
	SSL_set_fd(ssl, fd);
	CHECK_INT(SSL_connect(ssl), 1);
	CHECK(SSL_read(ssl, &byte, 1) <= 0);
	CHECK_INT(ERR_GET_REASON(ERR_peek_error()), SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED);
	CHECK(heard(report, &other));
	CHECK_INT(peer_end(&peer), 1);
	CHECK_INT(other.code, RB_E_DENIED);
	CHECK_HAS(other.msg, "127.0.0.1:");
	CHECK_HAS(other.msg, " shows no certificate");
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd);
}

static void test_older_tls_is_refused(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	struct rb_wait wait = within(50000);
	struct rb_err err = {}, other = {};
	struct peer peer;
	int report, fd;
	SSL *ssl;

	CHECK(serve(&peer, "h2", "ca", 50000, &report));
	fd = rb_sock_connect(peer.address, "h2", &wait, &err);
	CHECK(fd >= 0);
	fcntl(fd, F_SETFL, 0);
	SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	ssl = SSL_new(ctx);
	SSL_set_fd(ssl, fd);
	CHECK_INT(SSL_connect(ssl), -1);
	CHECK(heard(report, &other));
	CHECK_INT(peer_end(&peer), 1);
	CHECK_INT(other.code, RB_E_PROTOCOL);
	CHECK_HAS(other.msg, "does not speak TLS 1.3 as reberth does: unsupported protocol");
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd);
}

/* It has sent more than anybody reads, and still finds an end and not a reset, which would throw
 * away an alert that is on its way. */
static void test_client_that_speaks_something_else(void)
{
	static const char request[65536] = "GET / HTTP/1.1\r\nHost: h2\r\n\r\n";
	struct rb_wait wait = within(50000);
	struct rb_err err = {}, other = {};
	struct peer peer;
	int report, fd;
	ssize_t n;
	char answer[256];

	CHECK(serve(&peer, "h2", "ca", 50000, &report));
	fd = rb_sock_connect(peer.address, "h2", &wait, &err);
	CHECK(fd >= 0);
	fcntl(fd, F_SETFL, 0);
	CHECK_INT(write(fd, request, sizeof(request)), sizeof(request));
	do
		n = read(fd, answer, sizeof(answer));
	while (n > 0);
	CHECK_INT(n < 0 ? -errno : 0, 0);
	close(fd);
	CHECK(heard(report, &other));
	CHECK_INT(peer_end(&peer), 1);
	CHECK_INT(other.code, RB_E_PROTOCOL);
	CHECK_HAS(other.msg, "does not speak TLS 1.3 as reberth does: http request");
}

static void test_client_that_leaves(void)
{
	struct rb_wait wait = within(50000);
	struct rb_err err = {}, other = {};
	struct peer peer;
	int report, fd;

	CHECK(serve(&peer, "h2", "ca", 50000, &report));
	fd = rb_sock_connect(peer.address, "h2", &wait, &err);
	CHECK(fd >= 0);
	close(fd);
	CHECK(heard(report, &other));
	CHECK_INT(peer_end(&peer), 1);
	CHECK_INT(other.code, RB_E_PEER);
	CHECK_HAS(other.msg, "went away during the handshake");
}

/* one byte now and then keeps a connection open, but not beyond the deadline */
static void test_client_that_is_slow(void)
{
	struct rb_wait wait = within(50000);
	struct rb_err err = {}, other = {};
	struct peer peer;
	int64_t begin = rb_now_ms(), took;
	int report, fd;

	CHECK(serve(&peer, "h2", "ca", 500, &report));
	fd = rb_sock_connect(peer.address, "h2", &wait, &err);
	CHECK(fd >= 0);
	/* the start of a record of 512 bytes, which would be a ClientHello */
	for (int i = 0; i < 100; i++) {
		static const char start[] = { 0x16, 0x03, 0x01, 0x02, 0x00, 0x01 };
		struct pollfd p = { .fd = report, .events = POLLIN };

		if (send(fd, start + (i < 6 ? i : 5), 1, MSG_NOSIGNAL) < 0 || poll(&p, 1, 50) > 0)
			break;
	}
	CHECK(heard(report, &other));
	took = rb_now_ms() - begin;
	close(fd);
	CHECK_INT(peer_end(&peer), 1);
	CHECK_INT(other.code, RB_E_TIMEOUT);
	CHECK_HAS(other.msg, "127.0.0.1:");
	if (took < 500 || took > 20000)
		CHECK_INT(took, 500);
}

static void test_nobody_listens(void)
{
	struct rb_wait wait = within(50000);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;
	char want[128];

	CHECK(peer_listen(&peer));
	close(peer.listen_fd);
	CHECK_ERR(load("h1", "ca", &tls, &err), 0, err);
	CHECK_INT(rb_conn_connect(tls, peer.address, "h2", &wait, &conn, &err), -ECONNREFUSED);
	CHECK_INT(err.code, RB_E_PEER);
	snprintf(want, sizeof(want),
		 "h2 (%s) cannot be reached: Connection refused; is reberthd running there?",
		 peer.address);
	CHECK_STR(err.msg, want);
	rb_tls_free(tls);
}

static void test_addresses(void)
{
	static const char *const bad[] = {
		"",
		"10.0.0.1",
		"10.0.0.1:",
		"localhost:7480",
		"10.0.0.1:http",
		"::1:7480",
		"[::1:7480",
		"[]:7480",
		":7480",
		"[::1]7480",
		"10.0.0.1:65536",
		"10.0.0.1:0",
		"10.0.0.1:-1",
		"10.0.0.1:99999999999",
		"10.0.0.1: 80",
	};
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};

	CHECK_ERR(load("h1", "ca", &tls, &err), 0, err);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct rb_wait wait = within(1000);
		int r = rb_conn_connect(tls, bad[i], "h2", &wait, &conn, &err);

		if (r != -EINVAL)
			printf("# address '%s': %s\n", bad[i], err.msg);
		CHECK_INT(r, -EINVAL);
		CHECK_INT(err.code, RB_E_USAGE);
		CHECK_HAS(err.msg, "is not a numeric address with a port");
	}
	rb_tls_free(tls);
}

static void test_v6_address(void)
{
	struct sockaddr_in6 addr = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	socklen_t len = sizeof(addr);
	_cleanup_close_ int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	_cleanup_close_ int fd = -EBADF;
	struct rb_wait wait = within(1000);
	struct rb_err err = {};
	char address[64], text[64];

	if (listener < 0 || bind(listener, (struct sockaddr *)&addr, len) < 0) {
		printf("# not tested: no IPv6 loopback here\n");
		return;
	}
	CHECK_INT(listen(listener, 1), 0);
	getsockname(listener, (struct sockaddr *)&addr, &len);
	snprintf(address, sizeof(address), "[::1]:%d", ntohs(addr.sin6_port));
	fd = rb_sock_connect(address, "h2", &wait, &err);
	CHECK(fd >= 0);
	rb_sock_peer_text(fd, text, sizeof(text));
	CHECK_STR(text, address);
}

/* a listener whose queue is full leaves a SYN without answer */
static void test_connect_ends_with_deadline_and_cancel(void)
{
	struct rb_wait soon = within(300);
	struct rb_err err = {};
	struct peer peer = {};
	int fillers[16], cancel[2], r;

	CHECK(peer_listen(&peer));
	CHECK_INT(listen(peer.listen_fd, 0), 0);
	for (size_t i = 0; i < ARRAY_SIZE(fillers); i++) {
		struct rb_wait moment = within(100);

		fillers[i] = rb_sock_connect(peer.address, "h2", &moment, NULL);
	}
	CHECK_INT(fillers[ARRAY_SIZE(fillers) - 1], -ETIMEDOUT);
	r = rb_sock_connect(peer.address, "h2", &soon, &err);
	CHECK_INT(r, -ETIMEDOUT);
	CHECK_INT(err.code, RB_E_TIMEOUT);
	CHECK_STR(err.msg, "h2 cannot be reached: it took longer than allowed");
	CHECK_INT(pipe(cancel), 0);
	soon = (struct rb_wait){ .cancel_fd = cancel[0] };
	CHECK_INT(write(cancel[1], "", 1), 1);
	CHECK_INT(rb_sock_connect(peer.address, "h2", &soon, &err), -ECANCELED);
	CHECK_INT(err.code, RB_E_CANCELED);
	for (size_t i = 0; i < ARRAY_SIZE(fillers); i++)
		rb_close_fd(&fillers[i]);
	close(peer.listen_fd);
	close(cancel[0]);
	close(cancel[1]);
}

static int try_load(const char *ca, const char *cert, const char *key, struct rb_err *err)
{
	struct rb_tls *tls = NULL;
	int r = rb_tls_new(ca, cert, key, &tls, err);

	rb_tls_free(tls);
	return r;
}

static void test_files(void)
{
	const char *ca = certs_path("ca", "pem"), *cert = certs_path("h1", "pem");
	const char *key = certs_path("h1", "key"), *other_key = certs_path("h2", "key");
	struct rb_tls *tls = NULL;
	struct rb_err err = {};

	CHECK_ERR(rb_tls_new(ca, cert, key, &tls, &err), 0, err);
	CHECK_STR(rb_tls_node(tls), "h1");
	rb_tls_free(tls);
	CHECK_INT(try_load(ca, cert, "/no/key", &err), -ENOENT);
	CHECK_HAS(err.msg, "key '/no/key' of certificate '");
	CHECK_HAS(err.msg, "No such file or directory");
	CHECK_INT(try_load(ca, "/no/cert", key, &err), -ENOENT);
	CHECK_STR(err.msg, "certificate '/no/cert': No such file or directory");
	CHECK_INT(try_load("/no/ca", cert, key, &err), -ENOENT);
	CHECK_STR(err.msg, "authority's certificate '/no/ca': No such file or directory");
	CHECK_INT(try_load(ca, cert, other_key, &err), -EINVAL);
	CHECK_HAS(err.msg, "key values mismatch");
	CHECK_INT(try_load(ca, key, key, &err), -EINVAL);
	CHECK_INT(try_load(ca, certs_path("odd", "pem"), certs_path("odd", "key"), &err), -EINVAL);
	CHECK_INT(err.code, RB_E_DENIED);
	CHECK_HAS(err.msg, "its subject has no CN that is a node name");
}

int main(void)
{
	if (!certs_make()) {
		printf("Bail out! cannot make certificates\n");
		return 1;
	}
	TAP_RUN(test_files);
	TAP_RUN(test_certificates_that_are_refused);
	TAP_RUN(test_refusal_is_told_also_when_the_write_fails);
	TAP_RUN(test_client_without_certificate);
	TAP_RUN(test_older_tls_is_refused);
	TAP_RUN(test_client_that_speaks_something_else);
	TAP_RUN(test_client_that_leaves);
	TAP_RUN(test_client_that_is_slow);
	TAP_RUN(test_nobody_listens);
	TAP_RUN(test_addresses);
	TAP_RUN(test_v6_address);
	TAP_RUN(test_connect_ends_with_deadline_and_cancel);
	certs_remove();
	return tap_done();
}
