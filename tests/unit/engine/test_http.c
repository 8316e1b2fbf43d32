// SPDX-License-Identifier: Apache-2.0
/*
 * test_http.c - requests to an engine that answers well, badly, too late or not at all
 */
#include "engine.h"

#include <errno.h>
#include <sys/eventfd.h>

#include "cleanup.h"
#include "err.h"
#include "fake_engine.h"
#include "io.h"
#include "json.h"
#include "tap.h"
#include "wait.h"

static char folder[64] = "/tmp/rb-http-XXXXXX", socket_path[128];

static struct rb_engine *engine_of(const char *api)
{
	struct rb_engine *engine = NULL;

	start_server(socket_path, api, 0);
	rb_engine_open(socket_path, &engine, NULL);
	return engine;
}

static void done(struct rb_engine **engine)
{
	rb_engine_close(*engine);
	stop_server();
}
#define _cleanup_engine_ __attribute__((cleanup(done)))

/* no test should last longer, whatever goes wrong */
static struct rb_wait soon(void)
{
	return rb_wait_within(NULL, 20000);
}

/* --- calls --- */

static void answers_are_parsed(void)
{
	_cleanup_engine_ struct rb_engine *engine = engine_of("1.41");
	_cleanup_json_ json_t *ok = NULL, *chunked = NULL, *empty = NULL, *same = NULL;
	struct rb_wait wait = soon();

	CHECK_INT(rb_engine_call(engine, "GET", "/ok", NULL, &ok, &wait, NULL), 0);
	CHECK_INT(rb_json_int(ok, "a", 0), 1);
	CHECK_INT(rb_engine_call(engine, "GET", "/chunked", NULL, &chunked, &wait, NULL), 0);
	CHECK_INT(json_array_size(json_object_get(chunked, "a")), 3);
	CHECK_INT(rb_engine_call(engine, "DELETE", "/empty", NULL, &empty, &wait, NULL), 0);
	CHECK(json_is_object(empty));
	CHECK_INT(rb_engine_call(engine, "POST", "/same", NULL, &same, &wait, NULL), 0);
	CHECK(json_is_object(same));
}

static void bodies_arrive(void)
{
	_cleanup_engine_ struct rb_engine *engine = engine_of("1.41");
	_cleanup_json_ json_t *sent = json_pack("{s:s}", "k", "\xc3\xa4"), *got = NULL;
	struct rb_wait wait = soon();

	CHECK_INT(rb_engine_call(engine, "POST", "/echo", sent, &got, &wait, NULL), 0);
	CHECK(json_equal(sent, got));
}

static void statuses_become_errors(void)
{
	static const struct {
		const char *path;
		int errnum;
		enum rb_code code;
		const char *msg;
	} cases[] = {
		{ "/missing", -ENOENT, RB_E_NOT_FOUND, "Docker: No such container: x" },
		{ "/busy", -EBUSY, RB_E_CONFLICT, "Docker: name is in use" },
		{ "/broken", -EIO, RB_E_ENGINE, "Docker: it broke (GET /broken, status 500)" },
		{ "/full", -ENOSPC, RB_E_NO_SPACE, "Docker: write x: no space left on device" },
		{ "/html", -EIO, RB_E_ENGINE, "Docker: <html>bad</html> (GET /html, status 502)" },
		{ "/mute", -EIO, RB_E_ENGINE, "Docker: no explanation (GET /mute, status 500)" },
		{ "/nothing", -EIO, RB_E_ENGINE,
		  "Docker closed the connection in the middle of GET /nothing" },
		{ "/cut-length", -EIO, RB_E_ENGINE,
		  "Docker closed the connection in the middle of GET /cut-length" },
		{ "/cut-chunked", -EIO, RB_E_ENGINE,
		  "Docker closed the connection in the middle of GET /cut-chunked" },
	};
	_cleanup_engine_ struct rb_engine *engine = engine_of("1.41");
	struct rb_wait wait = soon();

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct rb_err err = {};
		json_t *got = NULL;

		CHECK_INT(rb_engine_call(engine, "GET", cases[i].path, NULL, &got, &wait, &err),
			  cases[i].errnum);
		CHECK_INT(err.code, cases[i].code);
		CHECK_STR(err.msg, cases[i].msg);
		CHECK(!got);
	}
}

static void other_text_is_no_json(void)
{
	_cleanup_engine_ struct rb_engine *engine = engine_of("1.41");
	struct rb_wait wait = soon();
	struct rb_err err = {};
	json_t *got = NULL;

	CHECK_INT(rb_engine_call(engine, "GET", "/nojson", NULL, &got, &wait, &err), -EPROTO);
	CHECK(strstr(err.msg, "Docker's answer to GET /nojson: not valid JSON"));
	/* nobody asked for it */
	CHECK_INT(rb_engine_call(engine, "GET", "/nojson", NULL, NULL, &wait, &err), 0);
}

static void no_engine_is_said_plainly(void)
{
	struct rb_engine *engine = NULL;
	struct rb_wait wait = soon();
	struct rb_err err = {};
	char longest[200], want[256];

	rb_engine_open("/tmp/rb-http-nowhere", &engine, NULL);
	CHECK_INT(rb_engine_call(engine, "GET", "/ok", NULL, NULL, &wait, &err), -ECONNREFUSED);
	CHECK_INT(err.code, RB_E_ENGINE);
	snprintf(want, sizeof(want),
		 "Docker does not answer at '/tmp/rb-http-nowhere': %s; is dockerd running?",
		 strerror(ENOENT));
	CHECK_STR(err.msg, want);
	rb_engine_close(engine);
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	CHECK_INT(rb_engine_open(longest, &engine, &err), -ENAMETOOLONG);
}

/* --- versions --- */

static void version_is_the_engines_up_to_ours(void)
{
	static const struct {
		const char *engine;
		int want;
	} cases[] = { { "1.41", 41 }, { "1.44", 44 }, { "1.51", 51 } };
	struct rb_wait wait = soon();

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_engine_ struct rb_engine *engine = engine_of(cases[i].engine);

		CHECK_INT(rb_engine_api(engine, &wait, NULL), cases[i].want);
		/* the server refuses any path of another version */
		CHECK_INT(rb_engine_call(engine, "GET", "/ok", NULL, NULL, &wait, NULL), 0);
	}
}

static void newer_versions_are_capped(void)
{
	_cleanup_engine_ struct rb_engine *engine = engine_of("1.99");
	struct rb_wait wait = soon();

	CHECK_INT(rb_engine_api(engine, &wait, NULL), 51);
}

static void older_versions_are_refused(void)
{
	_cleanup_engine_ struct rb_engine *engine = engine_of("1.40");
	struct rb_wait wait = soon();
	struct rb_err err = {};

	CHECK_INT(rb_engine_call(engine, "GET", "/ok", NULL, NULL, &wait, &err), -EOPNOTSUPP);
	CHECK(strstr(err.msg, "too old: 20.10 (API 1.41) or newer is needed"));
}

static void readiness_is_waited_for(void)
{
	struct rb_engine *engine = NULL;
	struct rb_wait wait = soon();

	start_server(socket_path, "1.41", 3);
	rb_engine_open(socket_path, &engine, NULL);
	CHECK_INT(rb_engine_wait_ready(engine, &wait, NULL), 0);
	done(&engine);
}

static void readiness_has_its_deadline(void)
{
	struct rb_engine *engine = NULL;
	struct rb_wait wait = rb_wait_within(NULL, 50);
	struct rb_err err = {};

	rb_engine_open("/tmp/rb-http-nowhere", &engine, NULL);
	CHECK_INT(rb_engine_wait_ready(engine, &wait, &err), -ETIMEDOUT);
	CHECK_INT(err.code, RB_E_TIMEOUT);
	CHECK(strstr(err.msg, "Docker did not become ready in time: Docker does not answer"));
	rb_engine_close(engine);
}

/* --- streams --- */

struct tally {
	size_t len;
	uint64_t sum;
	size_t stop_after; /* 0: never */
	int cancel_fd;	   /* written to at the first block */
};

static int count(void *arg, const void *data, size_t len)
{
	struct tally *tally = arg;
	const unsigned char *byte = data;
	uint64_t one = 1;

	if (tally->cancel_fd > 0 && write(tally->cancel_fd, &one, sizeof(one)) < 0)
		return -errno;
	tally->len += len;
	for (size_t i = 0; i < len; i++)
		tally->sum += byte[i];
	return tally->stop_after && tally->len >= tally->stop_after ? -EXDEV : 0;
}

static uint64_t big_sum(void)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < BIG / 65536; i++)
		sum += (i & 255) * 65536;
	return sum;
}

static void downloads_are_whole(void)
{
	_cleanup_engine_ struct rb_engine *engine = engine_of("1.41");
	struct tally tally = {};
	struct rb_wait wait = soon();

	CHECK_INT(rb_engine_download(engine, "/big", count, &tally, &wait, NULL), 0);
	CHECK_INT(tally.len, BIG);
	CHECK_INT(tally.sum, big_sum());
}

static void download_errors_do_not_reach_the_sink(void)
{
	_cleanup_engine_ struct rb_engine *engine = engine_of("1.41");
	struct tally tally = {};
	struct rb_wait wait = soon();
	struct rb_err err = {};

	CHECK_INT(rb_engine_download(engine, "/missing", count, &tally, &wait, &err), -ENOENT);
	CHECK_STR(err.msg, "Docker: No such container: x");
	CHECK_INT(tally.len, 0);
	CHECK_INT(rb_engine_download(engine, "/cut-chunked", count, &tally, &wait, &err), -EIO);
	CHECK_INT(tally.len, 5);
}

static void sinks_can_end_a_download(void)
{
	_cleanup_engine_ struct rb_engine *engine = engine_of("1.41");
	struct tally tally = { .stop_after = 1 };
	struct rb_wait wait = soon();
	struct rb_err err = {};

	CHECK_INT(rb_engine_download(engine, "/big", count, &tally, &wait, &err), -EXDEV);
	CHECK_INT(err.errnum, EXDEV);
}

static void streams_can_be_pulled(void)
{
	_cleanup_engine_ struct rb_engine *engine = engine_of("1.41");
	struct rb_engine_stream *stream = NULL, *hopeless = NULL;
	struct tally tally = {};
	struct rb_wait wait = soon();
	struct rb_err err = {};
	const void *block;
	ssize_t n;

	CHECK_INT(rb_engine_stream_open(engine, "/big", &wait, &stream, NULL), 0);
	while ((n = rb_engine_stream_read(stream, &block, &wait, NULL)) > 0) {
		CHECK(n <= 2 << 20); /* a slow reader holds Docker back instead of using memory */
		count(&tally, block, (size_t)n);
	}
	CHECK_INT(n, 0);
	CHECK_INT(tally.sum, big_sum());
	rb_engine_stream_close(stream);
	CHECK_INT(rb_engine_stream_open(engine, "/broken", &wait, &hopeless, NULL), 0);
	CHECK_INT(rb_engine_stream_read(hopeless, &block, &wait, &err), -EIO);
	CHECK(strstr(err.msg, "it broke"));
	rb_engine_stream_close(hopeless);
}

/* --- uploads --- */

static ssize_t produce(void *arg, void *buf, size_t size)
{
	struct tally *tally = arg;

	if (tally->stop_after && tally->len >= tally->stop_after)
		return -EXDEV;
	if (size > BIG - tally->len)
		size = BIG - tally->len;
	memset(buf, 3, size);
	tally->len += size;
	return (ssize_t)size;
}

static void uploads_are_whole(void)
{
	_cleanup_engine_ struct rb_engine *engine = engine_of("1.41");
	_cleanup_free_ char *text = NULL;
	struct tally tally = {};
	struct rb_wait wait = soon();
	char want[256];

	CHECK_INT(rb_engine_upload(engine, "/upload", "application/x-tar", produce, &tally, &text,
				   &wait, NULL),
		  0);
	snprintf(want, sizeof(want), "{\"len\":%zu,\"sum\":%zu,\"type\":\"application/x-tar\"}",
		 BIG, BIG * 3);
	CHECK_STR(text, want);
}

static void feeds_can_end_an_upload(void)
{
	_cleanup_engine_ struct rb_engine *engine = engine_of("1.41");
	struct tally tally = { .stop_after = 1 };
	struct rb_wait wait = soon();
	struct rb_err err = {};
	char *text = NULL;

	CHECK_INT(rb_engine_upload(engine, "/upload", "x/y", produce, &tally, &text, &wait, &err),
		  -EXDEV);
	CHECK_INT(err.errnum, EXDEV);
	CHECK(!text);
}

static void refused_uploads_say_why(void)
{
	_cleanup_engine_ struct rb_engine *engine = engine_of("1.41");
	struct tally tally = {};
	struct rb_wait wait = soon();
	struct rb_err err = {};

	CHECK_INT(rb_engine_upload(engine, "/early", "x/y", produce, &tally, NULL, &wait, &err),
		  -EIO);
	CHECK_STR(err.msg, "Docker: not a tar (POST /early, status 400)");
}

/* --- interruption --- */

static void deadlines_end_a_call(void)
{
	_cleanup_engine_ struct rb_engine *engine = engine_of("1.41");
	struct rb_wait wait = soon();
	struct rb_err err = {};

	rb_engine_api(engine, &wait, NULL);
	wait = rb_wait_within(NULL, 50);
	CHECK_INT(rb_engine_call(engine, "GET", "/hang", NULL, NULL, &wait, &err), -ETIMEDOUT);
	CHECK_INT(err.code, RB_E_TIMEOUT);
	CHECK_STR(err.msg, "Docker took longer than allowed for GET /hang");
	/* and the engine is as good as before */
	wait = soon();
	CHECK_INT(rb_engine_call(engine, "GET", "/ok", NULL, NULL, &wait, &err), 0);
}

static void cancelling_ends_a_call(void)
{
	_cleanup_engine_ struct rb_engine *engine = engine_of("1.41");
	_cleanup_close_ int cancel = eventfd(0, EFD_CLOEXEC);
	struct rb_wait wait = soon();
	struct rb_err err = {};
	uint64_t one = 1;

	rb_engine_api(engine, &wait, NULL);
	wait.cancel_fd = cancel;
	CHECK_INT(write(cancel, &one, sizeof(one)), sizeof(one));
	CHECK_INT(rb_engine_call(engine, "GET", "/hang", NULL, NULL, &wait, &err), -ECANCELED);
	CHECK_INT(err.code, RB_E_CANCELED);
}

static void cancelling_ends_a_download(void)
{
	static const char *const paths[] = { "/drip", "/big" }; /* a stalled and a busy one */

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		_cleanup_engine_ struct rb_engine *engine = engine_of("1.41");
		_cleanup_close_ int cancel = eventfd(0, EFD_CLOEXEC);
		struct tally tally = { .cancel_fd = cancel };
		struct rb_wait wait = soon();
		struct rb_err err = {};

		wait.cancel_fd = cancel;
		CHECK_INT(rb_engine_download(engine, paths[i], count, &tally, &wait, &err),
			  -ECANCELED);
		CHECK_INT(err.code, RB_E_CANCELED);
		CHECK(tally.len > 0 && tally.len < BIG);
	}
}

/* --- names --- */

static void names_are_escaped(void)
{
	char out[64];

	CHECK_INT(rb_engine_escape("a/b:c d\xc3\xa4&?%", out, sizeof(out)), 0);
	CHECK_STR(out, "a%2Fb%3Ac%20d%C3%A4%26%3F%25");
	CHECK_INT(rb_engine_escape("abc", out, 4), 0);
	CHECK_INT(rb_engine_escape("abc", out, 3), -ENAMETOOLONG);
	CHECK_INT(rb_engine_escape("ab/", out, 5), -ENAMETOOLONG);
	CHECK_INT(rb_engine_escape("", out, 1), 0);
}

static void empty_names_are_refused(void)
{
	struct rb_engine *engine = NULL;
	json_t *got = NULL;
	struct rb_err err = {};

	rb_engine_open("/tmp/rb-http-nowhere", &engine, NULL);
	CHECK_INT(rb_engine_inspect(engine, "", &got, NULL, &err), -EINVAL);
	CHECK_INT(rb_engine_remove(engine, "", true, true, NULL, &err), -EINVAL);
	rb_engine_close(engine);
}

int main(void)
{
	if (!mkdtemp(folder))
		return 1;
	snprintf(socket_path, sizeof(socket_path), "%s/docker.sock", folder);
	TAP_RUN(answers_are_parsed);
	TAP_RUN(bodies_arrive);
	TAP_RUN(statuses_become_errors);
	TAP_RUN(other_text_is_no_json);
	TAP_RUN(no_engine_is_said_plainly);
	TAP_RUN(version_is_the_engines_up_to_ours);
	TAP_RUN(newer_versions_are_capped);
	TAP_RUN(older_versions_are_refused);
	TAP_RUN(readiness_is_waited_for);
	TAP_RUN(readiness_has_its_deadline);
	TAP_RUN(downloads_are_whole);
	TAP_RUN(download_errors_do_not_reach_the_sink);
	TAP_RUN(sinks_can_end_a_download);
	TAP_RUN(streams_can_be_pulled);
	TAP_RUN(uploads_are_whole);
	TAP_RUN(feeds_can_end_an_upload);
	TAP_RUN(refused_uploads_say_why);
	TAP_RUN(deadlines_end_a_call);
	TAP_RUN(cancelling_ends_a_call);
	TAP_RUN(cancelling_ends_a_download);
	TAP_RUN(names_are_escaped);
	TAP_RUN(empty_names_are_refused);
	rb_rm_rf(folder, NULL);
	return tap_done();
}
