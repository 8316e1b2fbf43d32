// SPDX-License-Identifier: Apache-2.0
/*
 * test_api.c - the local API: routes, errors, limits, garbage
 */
#include "fake_api.h"

#include <sys/socket.h>

static struct server server;

static void routes_reach_their_operations(void)
{
	_cleanup_answer_ struct answer a = {}, b = {}, c = {}, d = {}, e = {}, f = {};

	ask("POST", "/v1/migrations", "{\"container\":\"web\",\"target\":\"h2\",\"timeout_ms\":5}",
	    &a);
	CHECK_INT(a.status, 202);
	CHECK_STR(json_string_value(rb_json_path(a.body, "request.target")), "h2");
	ask("POST", "/v1/migrations", "{\"container\":\"web\",\"target\":\"h2\",\"dry_run\":true}",
	    &b);
	CHECK_INT(b.status, 200);
	ask("GET", "/v1/migrations", NULL, &c);
	CHECK_INT(c.status, 200);
	CHECK_STR(json_string_value(json_array_get(c.body, 0)), "context");
	ask("GET", "/v1/migrations/12ab-_Z", NULL, &d);
	CHECK_INT(d.status, 200);
	CHECK_STR(rb_json_str(d.body, "id", NULL), "12ab-_Z");
	ask("GET", "/v1/node", NULL, &e);
	CHECK_STR(rb_json_str(e.body, "name", NULL), "h1");
	ask("GET", "/v1/version", NULL, &f);
	CHECK_STR(rb_json_str(f.body, "version", NULL), RB_VERSION);
}

static void images_have_routes(void)
{
	_cleanup_answer_ struct answer a = {}, b = {}, c = {}, d = {}, e = {}, f = {};

	ask("POST", "/v1/pushes", "{\"image\":\"app:1\",\"nodes\":[\"h2\",\"h3\"]}", &a);
	CHECK_INT(a.status, 202);
	CHECK_STR(rb_json_str(a.body, "op", NULL), "push");
	CHECK_STR(json_string_value(json_array_get(rb_json_path(a.body, "request.nodes"), 1)),
		  "h3");
	ask("GET", "/v1/pushes", NULL, &b);
	CHECK_STR(json_string_value(json_array_get(b.body, 0)), "pushes");
	ask("GET", "/v1/pushes/12ab", NULL, &c);
	CHECK_STR(rb_json_str(c.body, "op", NULL), "push_inspect");
	CHECK_STR(rb_json_str(c.body, "id", NULL), "12ab");
	ask("POST", "/v1/pushes/12ab/cancel", "", &d);
	CHECK_INT(d.status, 202);
	ask("POST", "/v1/pushes/gone/cancel", "", &e);
	CHECK_INT(e.status, 404);
	ask("POST", "/v1/images/diff", "{\"image\":\"app:1\",\"node\":\"h2\"}", &f);
	CHECK_INT(f.status, 200);
	CHECK_STR(json_string_value(rb_json_path(f.body, "request.node")), "h2");
}

static void bad_requests_about_images_are_refused(void)
{
	static const struct {
		const char *path, *body;
	} bad[] = {
		{ "/v1/pushes", "" },
		{ "/v1/pushes", "{\"image\":\"app\"}" },
		{ "/v1/pushes", "{\"image\":\"app\",\"nodes\":[]}" },
		{ "/v1/pushes", "{\"image\":\"app\",\"nodes\":[\"\"]}" },
		{ "/v1/pushes", "{\"image\":\"app\",\"nodes\":\"h2\"}" },
		{ "/v1/pushes", "{\"image\":\"\",\"nodes\":[\"h2\"]}" },
		{ "/v1/pushes", "{\"image\":\"app\",\"nodes\":[\"h2\"],\"force\":true}" },
		{ "/v1/images/diff", "{\"image\":\"app\"}" },
		{ "/v1/images/diff", "{\"image\":\"app\",\"node\":2}" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_answer_ struct answer a = {};

		ask("POST", bad[i].path, bad[i].body, &a);
		CHECK_INT(a.status, 400);
		CHECK_STR(error_text(&a, "code"), "usage");
	}
}

static void cancel_needs_no_body(void)
{
	_cleanup_answer_ struct answer a = {}, b = {};

	ask("POST", "/v1/migrations/abc/cancel", "", &a);
	CHECK_INT(a.status, 202);
	CHECK(json_is_object(a.body));
	ask("POST", "/v1/migrations/abc/cancel", "{}", &b);
	CHECK_INT(b.status, 202);
}

static void errors_keep_their_parts(void)
{
	_cleanup_answer_ struct answer a = {}, b = {}, c = {};

	ask("POST", "/v1/migrations/late/cancel", "", &a);
	CHECK_INT(a.status, 409);
	CHECK_STR(error_text(&a, "code"), "conflict");
	CHECK_STR(error_text(&a, "stage"), "commit");
	CHECK_STR(error_text(&a, "message"), "it is too late to cancel");
	CHECK_INT(rb_json_int(json_object_get(a.body, "error"), "errno", 0), EBUSY);
	ask("POST", "/v1/migrations", "{\"container\":\"gone\",\"target\":\"h2\"}", &b);
	CHECK_INT(b.status, 404);
	CHECK_STR(error_text(&b, "code"), "not-found");
	ask("POST", "/v1/migrations/abc/resolve", "{\"decision\":\"commit\"}", &c);
	CHECK_INT(c.status, 409);
	CHECK_STR(error_text(&c, "code"), "in-doubt");
	CHECK_STR(error_text(&c, "message"), "abc commit");
}

static void odd_operations_still_give_an_answer(void)
{
	_cleanup_answer_ struct answer a = {}, b = {}, c = {};

	ask("GET", "/v1/migrations/silent", NULL, &a);
	CHECK_INT(a.status, 504);
	CHECK_STR(error_text(&a, "code"), "timeout");
	ask("GET", "/v1/migrations/nothing", NULL, &b);
	CHECK_INT(b.status, 500);
	CHECK_STR(error_text(&b, "code"), "internal");
	ask("GET", "/v1/migrations/binary", NULL, &c);
	CHECK_INT(c.status, 500);
	CHECK_STR(error_text(&c, "message"), "criu said ??");
}

/* The server does not listen while it has as many connections as it takes. */
static void it_listens_again_after_a_crowd(void)
{
	CURL *curl = curl_easy_init();
	int fds[70];

	for (int round = 0; round < 5; round++) {
		_cleanup_answer_ struct answer a = {}, b = {}, c = {};

		ask_with(curl, "GET", "/v1/node", NULL, &a);
		for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
			fds[i] = rb_unix_connect(sock, NULL);
		ask_with(curl, "GET", "/v1/node", NULL, &b); /* it has seen them now */
		for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
			close(fds[i]);
		ask("GET", "/v1/node", NULL, &c);
		CHECK_INT(b.status, 200);
		CHECK_INT(c.status, 200);
	}
	curl_easy_cleanup(curl);
}

/* Send a request that the server answers only when another asks for the node. */
static CURLM *ask_and_wait(CURL *curl, const char *path, struct rb_buf *buf)
{
	CURLM *multi = curl_multi_init();
	char url[128];
	int running;

	snprintf(url, sizeof(url), "http://localhost/v1/migrations/%s", path);
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, sock);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, buf);
	curl_multi_add_handle(multi, curl);
	for (int i = 0; i < 5; i++) {
		curl_multi_perform(multi, &running);
		curl_multi_poll(multi, NULL, 0, 20, NULL);
	}
	return multi;
}

static void answers_may_come_later(void)
{
	_cleanup_answer_ struct answer a = {}, b = {}, c = {};
	_cleanup_buf_ struct rb_buf buf = {};
	CURL *curl = curl_easy_init();
	CURLM *multi = ask_and_wait(curl, "waits", &buf);
	int running = 1;

	CHECK_INT(buf.len, 0);
	ask("GET", "/v1/migrations/at-once", NULL, &a);
	CHECK_STR(json_string_value(json_array_get(a.body, 0)), "at once");
	ask("GET", "/v1/migrations/waits-in-vain", NULL, &b);
	CHECK_INT(b.status, 409);
	ask("GET", "/v1/node", NULL, &c);
	CHECK_INT(c.status, 200);
	CHECK_STR(rb_json_str(c.body, "waited", ""), "here");
	while (running && curl_multi_perform(multi, &running) == CURLM_OK && running)
		curl_multi_poll(multi, NULL, 0, 1000, NULL);
	CHECK_STR(buf.data, "[\"was late\"]");
	curl_multi_remove_handle(multi, curl);
	curl_multi_cleanup(multi);
	curl_easy_cleanup(curl);
}

/* A client that leaves, and one that still waits when the server stops. */
static void waiting_requests_do_no_harm(void)
{
	_cleanup_answer_ struct answer a = {};
	_cleanup_buf_ struct rb_buf buf = {}, late = {};
	CURL *curl = curl_easy_init();
	CURLM *multi = ask_and_wait(curl, "waits", &buf);
	int running = 1;

	curl_multi_remove_handle(multi, curl);
	curl_multi_cleanup(multi);
	curl_easy_cleanup(curl);
	ask("GET", "/v1/node", NULL, &a);
	CHECK_INT(a.status, 200);
	CHECK_STR(rb_json_str(a.body, "waited", ""), "gone");

	curl = curl_easy_init();
	multi = ask_and_wait(curl, "waits", &late);
	CHECK_INT(server_stop(&server), 0);
	while (running && curl_multi_perform(multi, &running) == CURLM_OK && running)
		curl_multi_poll(multi, NULL, 0, 1000, NULL);
	curl_multi_remove_handle(multi, curl);
	curl_multi_cleanup(multi);
	curl_easy_cleanup(curl);
	CHECK(strstr(late.data ? late.data : "", "reberthd stops") != NULL);
}

static void unknown_paths_and_methods(void)
{
#define TEN "0123456789"
	static const char *const absent[] = {
		"/",
		"/v1",
		"/v1/migrations/",
		"/v1/migrations/a/",
		"/v1/migrations/a/b",
		"/v1/migrations/../node",
		"/v1/migrations/a%20b",
		("/v1/migrations/" TEN TEN TEN TEN TEN TEN "01234"), /* 65 */
	};
	_cleanup_answer_ struct answer a = {}, b = {}, c = {};

	for (size_t i = 0; i < ARRAY_SIZE(absent); i++) {
		_cleanup_answer_ struct answer none = {};

		ask("GET", absent[i], NULL, &none);
		CHECK_INT(none.status, 404);
		CHECK_STR(error_text(&none, "code"), "not-found");
	}
	ask("DELETE", "/v1/migrations/abc", NULL, &a);
	CHECK_INT(a.status, 405);
	CHECK_STR(a.allow, "GET");
	CHECK_STR(error_text(&a, "code"), "usage");
	ask("GET", "/v1/migrations/abc/cancel", NULL, &b);
	CHECK_INT(b.status, 405);
	CHECK_STR(b.allow, "POST");
	ask("PUT", "/v1/migrations", "{}", &c);
	CHECK_STR(c.allow, "POST, GET");
}

static void bad_requests_are_refused(void)
{
	static const struct {
		const char *path, *body, *message;
	} bad[] = {
		{ "/v1/migrations", "", "the request lacks 'container'" },
		{ "/v1/migrations", "[]", "the request is not a JSON object" },
		{ "/v1/migrations", "{}", "the request lacks 'container'" },
		{ "/v1/migrations", "{\"container\":\"a\"}", "the request lacks 'target'" },
		{ "/v1/migrations", "{\"container\":1,\"target\":\"b\"}",
		  "'container' must be a text that is not empty" },
		{ "/v1/migrations", "{\"container\":\"\",\"target\":\"b\"}",
		  "'container' must be a text that is not empty" },
		{ "/v1/migrations", "{\"container\":\"a\",\"target\":\"b\",\"timeout\":3}",
		  "the request has a member 'timeout' that is not known" },
		{ "/v1/migrations", "{\"container\":\"a\",\"target\":\"b\",\"timeout_ms\":-3}",
		  "'timeout_ms' must be an integer above 0" },
		{ "/v1/migrations", "{\"container\":\"a\",\"target\":\"b\",\"dry_run\":\"yes\"}",
		  "'dry_run' must be true or false" },
		{ "/v1/migrations/a/resolve", "{\"decision\":\"maybe\"}",
		  "'decision' must be \"commit\" or \"abort\"" },
		{ "/v1/migrations/a/resolve", "", "the request lacks 'decision'" },
	};
	static const char *const garbage[] = { "{", "{\"container\":", "\x01\x02",
					       "{\"container\":\"a\",\"container\":\"b\"}",
					       "{\"container\":\"a\\u0000b\",\"target\":\"c\"}" };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_answer_ struct answer a = {};

		ask("POST", bad[i].path, bad[i].body, &a);
		CHECK_STR(error_text(&a, "message"), bad[i].message);
		CHECK_STR(error_text(&a, "code"), "usage");
		CHECK_INT(a.status, 400);
	}
	for (size_t i = 0; i < ARRAY_SIZE(garbage); i++) {
		_cleanup_answer_ struct answer a = {};

		ask("POST", "/v1/migrations", garbage[i], &a);
		CHECK_INT(a.status, 400);
		CHECK(strncmp(error_text(&a, "message"), "the request is not valid JSON: ", 31) ==
		      0);
	}
}

/* A request that is padded with blanks to @len bytes. */
static char *padded_request(size_t len)
{
	static const char text[] = "{\"container\":\"web\",\"target\":\"h2\"}";
	char *body = malloc(len + 1);

	memset(body, ' ', len);
	memcpy(body, text, sizeof(text) - 1);
	body[len] = '\0';
	return body;
}

static void bodies_are_limited(void)
{
	_cleanup_free_ char *fits = padded_request(1 << 20), *large = padded_request((1 << 20) + 1);
	struct curl_slist *chunked = curl_slist_append(NULL, "Transfer-Encoding: chunked");
	_cleanup_answer_ struct answer a = {}, b = {}, c = {};
	CURL *curl = curl_easy_init();

	ask("POST", "/v1/migrations", fits, &a);
	CHECK_INT(a.status, 202);
	ask("POST", "/v1/migrations", large, &b);
	CHECK_INT(b.status, 413);
	CHECK_STR(error_text(&b, "message"), "the request is larger than 1048576 bytes");
	/* nothing announces the length of this one */
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, chunked);
	ask_with(curl, "POST", "/v1/migrations", large, &c);
	curl_easy_cleanup(curl);
	curl_slist_free_all(chunked);
	CHECK_INT(c.status, 413);
}

static void connections_serve_many_requests(void)
{
	CURL *curl = curl_easy_init();
	long opened = 0;

	for (int i = 0; i < 100; i++) {
		_cleanup_answer_ struct answer a = {};
		long count = 0;

		ask_with(curl, "GET", "/v1/node", NULL, &a);
		CHECK_INT(a.status, 200);
		curl_easy_getinfo(curl, CURLINFO_NUM_CONNECTS, &count);
		opened += count;
	}
	curl_easy_cleanup(curl);
	CHECK_INT(opened, 1);
}

static void idle_and_broken_connections_do_no_harm(void)
{
#define POST "POST /v1/migrations HTTP/1.1\r\nHost: x\r\n"
	static const char *const pieces[] = {
		"\xff\xff\xff\xff\r\n\r\n",
		"GET /v1/node HTTP/1.1\r\nHost: x\r\n",
		(POST "Content-Length: 100\r\n\r\n{"),
		(POST "Content-Length: -1\r\n\r\n{}"),
		(POST "Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
	};
	_cleanup_answer_ struct answer a = {};
	int fds[80];

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = rb_unix_connect(sock, NULL);
	for (size_t i = 0; i < 40; i++) /* more of them than the server accepts stay silent */
		send(fds[i], pieces[i % ARRAY_SIZE(pieces)], strlen(pieces[i % ARRAY_SIZE(pieces)]),
		     MSG_NOSIGNAL);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	ask("GET", "/v1/node", NULL, &a);
	CHECK_INT(a.status, 200);
}

int main(void)
{
	if (!make_dir() || !server_start(&server))
		return 1;
	TAP_RUN(routes_reach_their_operations);
	TAP_RUN(images_have_routes);
	TAP_RUN(bad_requests_about_images_are_refused);
	TAP_RUN(cancel_needs_no_body);
	TAP_RUN(errors_keep_their_parts);
	TAP_RUN(odd_operations_still_give_an_answer);
	TAP_RUN(answers_may_come_later);
	TAP_RUN(unknown_paths_and_methods);
	TAP_RUN(bad_requests_are_refused);
	TAP_RUN(bodies_are_limited);
	TAP_RUN(connections_serve_many_requests);
	TAP_RUN(idle_and_broken_connections_do_no_harm);
	TAP_RUN(it_listens_again_after_a_crowd);
	TAP_RUN(waiting_requests_do_no_harm); /* the last: stops the server */
	rb_rm_rf(dir, NULL);
	return tap_done();
}
