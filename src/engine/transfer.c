// SPDX-License-Identifier: Apache-2.0
/*
 * transfer.c - one HTTP request over libcurl's multi interface
 *
 * drive() is the only place that waits: curl_multi_poll() for the socket, libcurl's own timers, the
 * cancel descriptor and the deadline. Callbacks only copy; the feed of an upload is the exception,
 * it may block within the same rb_wait by its owner's care.
 *
 * A body can be taken as a whole (at most ANSWER_MAX) or block by block. In the second case the
 * reader sets the pace: above STREAM_AHEAD bytes that nobody fetched libcurl is paused, and with it
 * Docker, as its socket fills up.
 */
#include "transfer.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "err.h"
#include "json.h"
#include "wait.h"

#define ANSWER_MAX	((size_t)64 << 20) /* images/json of a host with thousands of images */
#define ERROR_MAX	((size_t)64 << 10)
#define STREAM_AHEAD	((size_t)1 << 20)
#define TRANSFER_BUFFER 262144L /* bytes; libcurl's default of 16 KiB costs speed */

static long http_status(struct rb_transfer *t)
{
	long status = 0;

	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

/* --- libcurl's callbacks --- */

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
	struct rb_transfer *t = arg;
	size_t len = size * count, max = ANSWER_MAX;
	int r = -EMSGSIZE;

	if (http_status(t) >= 300) {
		max = ERROR_MAX;
	} else if (t->streaming && t->body.len >= STREAM_AHEAD) {
		t->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	if (t->body.len + len <= max)
		r = rb_buf_add(&t->body, data, len);
	if (r < 0) {
		t->callback_error = r;
		return CURL_WRITEFUNC_ERROR;
	}
	return len;
}

static size_t on_upload(char *data, size_t size, size_t count, void *arg)
{
	struct rb_transfer *t = arg;
	ssize_t n = t->feed(t->feed_arg, data, size * count);

	if (n < 0) {
		t->callback_error = (int)n;
		return CURL_READFUNC_ABORT;
	}
	return (size_t)n;
}

static size_t on_header(char *line, size_t size, size_t count, void *arg)
{
	static const char name[] = "api-version:";
	struct rb_transfer *t = arg;
	size_t len = size * count;
	char copy[64];
	int major, minor;

	if (len >= sizeof(copy) || len < sizeof(name) ||
	    strncasecmp(line, name, sizeof(name) - 1) != 0)
		return len;
	memcpy(copy, line, len);
	copy[len] = '\0';
	if (sscanf(copy + sizeof(name) - 1, " %d.%d", &major, &minor) == 2 && major == 1)
		t->api_minor = minor;
	return len;
}

/* --- set up and tear down --- */

int rb_transfer_header(struct rb_transfer *t, const char *line)
{
	struct curl_slist *more = curl_slist_append(t->headers, line);

	if (!more)
		return -ENOMEM;
	t->headers = more;
	return 0;
}

static void set_options(struct rb_transfer *t)
{
	curl_easy_setopt(t->easy, CURLOPT_URL, t->url);
	curl_easy_setopt(t->easy, CURLOPT_UNIX_SOCKET_PATH, t->socket_path);
	curl_easy_setopt(t->easy, CURLOPT_PROXY, ""); /* http_proxy is not meant for us */
	curl_easy_setopt(t->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(t->easy, CURLOPT_FRESH_CONNECT, 1L);
	curl_easy_setopt(t->easy, CURLOPT_FORBID_REUSE, 1L);
	curl_easy_setopt(t->easy, CURLOPT_BUFFERSIZE, TRANSFER_BUFFER);
	curl_easy_setopt(t->easy, CURLOPT_UPLOAD_BUFFERSIZE, TRANSFER_BUFFER);
	curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(t->easy, CURLOPT_READFUNCTION, on_upload);
	curl_easy_setopt(t->easy, CURLOPT_READDATA, t);
	curl_easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
}

int rb_transfer_init(struct rb_transfer *t, const char *socket_path, const char *method,
		     int api_minor, const char *path, struct rb_err *err)
{
	int r;

	*t = (struct rb_transfer){ .socket_path = socket_path,
				   .method = method,
				   .path = path,
				   .peer = "Docker",
				   .daemon = "dockerd" };
	if (api_minor)
		r = rb_path(t->url, sizeof(t->url), "http://docker/v1.%d%s", api_minor, path);
	else
		r = rb_path(t->url, sizeof(t->url), "http://docker%s", path);
	if (r < 0)
		return rb_err_set(err, r, "%s to Docker", method);
	t->multi = curl_multi_init();
	t->easy = curl_easy_init();
	/* Expect: 100-continue costs a round trip, and Docker never refuses before the body */
	if (!t->multi || !t->easy || rb_transfer_header(t, "Expect:") < 0)
		return rb_err_set(err, -ENOMEM, "prepare a request to Docker");
	set_options(t);
	return 0;
}

void rb_transfer_free(struct rb_transfer *t)
{
	if (t->multi && t->easy)
		curl_multi_remove_handle(t->multi, t->easy);
	if (t->easy)
		curl_easy_cleanup(t->easy);
	if (t->multi)
		curl_multi_cleanup(t->multi);
	curl_slist_free_all(t->headers);
	rb_buf_free(&t->body);
	*t = (struct rb_transfer){};
}

/* --- what went wrong --- */

/* why libcurl gave up */
static int transport_error(struct rb_transfer *t, struct rb_err *err)
{
	long os_errno = 0;

	if (t->callback_error) {
		/* a feed knows best what is wrong with it, and may have filled the same error */
		if (err && err->code == RB_OK)
			rb_err_set(err, t->callback_error, "%s %s", t->method, t->path);
		return t->callback_error;
	}
	curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &os_errno);
	switch (t->code) {
	case CURLE_COULDNT_CONNECT:
		if (os_errno == 0)
			os_errno = ECONNREFUSED;
		/* never -ENOENT, which is Docker's "no such container": while it is not there yet,
		 * nothing is gone */
		return rb_err_code(err, RB_E_ENGINE, -ECONNREFUSED,
				   "%s does not answer at '%s': %s; is %s running?", t->peer,
				   t->socket_path, strerror((int)os_errno), t->daemon);
	case CURLE_PARTIAL_FILE:
	case CURLE_GOT_NOTHING:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
		return rb_err_code(err, RB_E_ENGINE, -EIO,
				   "%s closed the connection in the middle of %s %s", t->peer,
				   t->method, t->path);
	case CURLE_OUT_OF_MEMORY:
		return rb_err_set(err, -ENOMEM, "%s %s", t->method, t->path);
	default:
		return rb_err_code(err, RB_E_ENGINE, -EIO, "%s %s: %s", t->method, t->path,
				   curl_easy_strerror(t->code));
	}
}

/* an HTTP status that is not success, with Docker's own words */
static int status_error(struct rb_transfer *t, long status, struct rb_err *err)
{
	_cleanup_json_ json_t *body = NULL;
	const char *text = NULL;

	if (t->body.len && rb_json_parse(t->body.data, t->body.len, &body, NULL) == 0)
		text = rb_json_str(body, "message", NULL);
	if (!text)
		text = t->body.len ? t->body.data : "no explanation";
	if (status == 404)
		return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT, "Docker: %s", text);
	if (status == 409)
		return rb_err_code(err, RB_E_CONFLICT, -EBUSY, "Docker: %s", text);
	if (strstr(text, "no space left on device"))
		return rb_err_code(err, RB_E_NO_SPACE, -ENOSPC, "Docker: %s", text);
	return rb_err_code(err, RB_E_ENGINE, -EIO, "Docker: %s (%s %s, status %ld)", text,
			   t->method, t->path, status);
}

static int outcome(struct rb_transfer *t, struct rb_err *err)
{
	long status = http_status(t);

	/* An engine that refuses an upload may close before it has read all: its answer counts. */
	if (t->code != CURLE_OK && !(t->code == CURLE_SEND_ERROR && status >= 400))
		return transport_error(t, err);
	if (status >= 300 && status != 304)
		return status_error(t, status, err);
	return 0;
}

/* --- motion --- */

static int start(struct rb_transfer *t, struct rb_err *err)
{
	curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
	if (curl_multi_add_handle(t->multi, t->easy) != CURLM_OK)
		return rb_err_set(err, -ENOMEM, "prepare a request to Docker");
	return 0;
}

/* libcurl has nothing more to do: note how it ended */
static void finish(struct rb_transfer *t)
{
	int queued;
	const CURLMsg *msg = curl_multi_info_read(t->multi, &queued);

	t->done = true;
	t->code = msg && msg->msg == CURLMSG_DONE ? msg->data.result : CURLE_RECV_ERROR;
}

static bool has_block(struct rb_transfer *t)
{
	return t->streaming && t->body.len && http_status(t) < 300;
}

/* go on until it is over, a block of a streaming body is there, cancelled, or out of time */
static int drive(struct rb_transfer *t, const struct rb_wait *wait, struct rb_err *err)
{
	struct curl_waitfd cancel = { .fd = wait ? wait->cancel_fd : -1,
				      .events = CURL_WAIT_POLLIN };

	while (!t->done) {
		int running = 1, left = rb_wait_left_ms(wait), nap = left < 0 ? 60000 : left;
		CURLMcode m = curl_multi_perform(t->multi, &running);

		if (m == CURLM_OK && !running) {
			finish(t);
			break;
		}
		if (has_block(t)) /* do not wait, but see to it that a cancel counts */
			nap = 0;
		cancel.revents = 0;
		if (m == CURLM_OK)
			m = curl_multi_poll(t->multi, &cancel, cancel.fd >= 0, nap, NULL);
		if (m != CURLM_OK)
			return rb_err_code(err, RB_E_ENGINE, -EIO, "%s %s: %s", t->method, t->path,
					   curl_multi_strerror(m));
		if (cancel.revents)
			return rb_err_code(err, RB_E_CANCELED, -ECANCELED, "cancelled");
		if (left == 0)
			return rb_err_code(err, RB_E_TIMEOUT, -ETIMEDOUT,
					   "Docker took longer than allowed for %s %s", t->method,
					   t->path);
		if (has_block(t))
			break;
	}
	return 0;
}

int rb_transfer_run(struct rb_transfer *t, const struct rb_wait *wait, struct rb_err *err)
{
	int r = start(t, err);

	if (r == 0)
		r = drive(t, wait, err);
	return r < 0 ? r : outcome(t, err);
}

ssize_t rb_transfer_fetch(struct rb_transfer *t, const void **ret_block, const struct rb_wait *wait,
			  struct rb_err *err)
{
	int r = 0;

	if (!t->streaming) {
		t->streaming = true;
		r = start(t, err);
	}
	t->body.len = 0;
	if (t->paused) {
		t->paused = false;
		curl_easy_pause(t->easy, CURLPAUSE_CONT);
	}
	if (r == 0)
		r = drive(t, wait, err);
	if (r < 0)
		return r;
	if (has_block(t)) {
		*ret_block = t->body.data;
		return (ssize_t)t->body.len;
	}
	return outcome(t, err);
}
