// SPDX-License-Identifier: Apache-2.0
/*
 * receive.c - take an image from a peer, and have Docker load it
 *
 * Nothing is loaded before all of it is here and every digest is right. A layer that was left out
 * but is gone here by now (somebody removed the other image meanwhile) fails the load. What fails
 * after that leaves the layers in the spool: they are right, and the next attempt uses them.
 *
 * Docker unpacks the whole archive to its own folder for temporary files before it looks at any of
 * it (image/tarexport/load.go), and unpacks the layers from there. So where there is no room for
 * three copies, ours goes as Docker takes it, and what fails then has to come again.
 */
#include "image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "cleanup.h"
#include "conn.h"
#include "engine.h"
#include "err.h"
#include "fault.h"
#include "gather.h"
#include "incoming.h"
#include "json.h"
#include "kept.h"
#include "layer_index.h"
#include "log.h"
#include "node.h"
#include "spool.h"
#include "vet.h"
#include "vetted.h"
#include "wait.h"

#define INDEX_BUDGET_MS 3000  /* before a transfer, for layers that are new */
#define ENGINE_MS	60000 /* once it has loaded */
#define SIZE_TIMES	3
#define SIZE_MORE	((uint64_t)1 << 30)

static ssize_t feed(void *arg, void *buf, size_t size)
{
	return rb_vetted_read(arg, buf, size);
}

/* `docker load` answers 200 before it starts; what went wrong is a line of its output */
static int check_output(const char *text, struct rb_err *err)
{
	while (text && *text) {
		_cleanup_json_ json_t *line = NULL;
		size_t len = strcspn(text, "\n");
		const char *what;

		if (rb_json_parse(text, len, &line, NULL) == 0) {
			what = rb_json_str(line, "error", NULL);
			if (what && strstr(what, "no space left on device"))
				return rb_err_code(err, RB_E_NO_SPACE, -ENOSPC, "docker load: %s",
						   what);
			if (what)
				return rb_err_code(err, RB_E_ENGINE, -EIO, "docker load: %s", what);
		}
		text += len + (text[len] == '\n');
	}
	return 0;
}

/* @wait, which is cancelled as well when the peer hangs up. Return: descriptor to close, it is
 * @ret's cancel_fd */
static int mind_hangup(struct rb_conn *conn, const struct rb_wait *wait, struct rb_wait *ret,
		       struct rb_err *err)
{
	struct epoll_event hangup = { .events = EPOLLRDHUP }, cancel = { .events = EPOLLIN };
	_cleanup_close_ int fd = epoll_create1(EPOLL_CLOEXEC);
	int cancel_fd = wait ? wait->cancel_fd : -EBADF;

	if (fd < 0 || epoll_ctl(fd, EPOLL_CTL_ADD, rb_conn_fd(conn), &hangup) < 0 ||
	    (cancel_fd >= 0 && epoll_ctl(fd, EPOLL_CTL_ADD, cancel_fd, &cancel) < 0))
		return rb_err_set(err, -errno, "watch node '%s'", rb_conn_peer(conn));
	ret->deadline_ms = wait ? wait->deadline_ms : 0;
	ret->cancel_fd = fd;
	return TAKE_FD(fd);
}

/*
 * Docker may take minutes, and may not answer at all: where nobody waits for the outcome any more
 * it is left alone with it. The image may appear later then, so who would have to remove it again,
 * a migration, waits.
 */
static int upload(const struct rb_node *node, struct rb_vetted *vetted, bool minded,
		  struct rb_conn *conn, char **ret_output, const struct rb_wait *wait,
		  struct rb_err *err)
{
	_cleanup_close_ int watch_fd = -EBADF;
	struct rb_wait until_hangup;
	int r;

	if (minded) {
		watch_fd = mind_hangup(conn, wait, &until_hangup, err);
		if (watch_fd < 0)
			return watch_fd;
	}
	r = rb_engine_upload(node->engine, "/images/load?quiet=1", "application/x-tar", feed,
			     vetted, ret_output, minded ? &until_hangup : wait, err);
	if (r == -ECANCELED && minded && rb_wait_ms(0, wait, NULL) != -ECANCELED)
		return rb_err_code(err, RB_E_PEER, -ECONNRESET,
				   "node '%s' hung up while Docker loaded the image",
				   rb_conn_peer(conn));
	return r;
}

static int load(const struct rb_node *node, const json_t *description, int *ret_hold,
		struct rb_vetted *vetted, struct rb_conn *conn, const struct rb_wait *wait,
		struct rb_err *err)
{
	_cleanup_free_ char *output = NULL;
	char id[RB_IMAGE_ID_SIZE];
	struct rb_wait engine;
	int r;

	if (ret_hold) {
		*ret_hold = rb_image_hold(node, description, wait, err);
		if (*ret_hold < 0)
			return *ret_hold;
	}
	r = upload(node, vetted, ret_hold != NULL, conn, &output, wait, err);
	if (r == 0)
		r = check_output(output, err);
	engine = rb_wait_within(wait, ENGINE_MS);
	if (r == 0)
		r = rb_image_find(node->engine, description, id, &engine, err);
	if (r == -ENOENT)
		return rb_err_code(err, RB_E_ENGINE, -EIO,
				   "docker load succeeded, but image %.19s is not there",
				   rb_json_str(description, "id", ""));
	if (r < 0)
		return r;
	return rb_image_add_tags(node->engine, id, description, NULL, &engine, err);
}

/* Docker's folder, or NULL: where its layers are not folders. @info owns it. */
static const char *docker_root(const json_t *info)
{
	if (strcmp(rb_json_str(info, "Driver", ""), "overlay2") != 0)
		return NULL;
	return rb_json_str(info, "DockerRootDir", "/var/lib/docker");
}

/* Without an index nothing is found, and all is sent: no reason to fail. NULL then. */
static struct rb_layer_index *open_index(const struct rb_node *node, const json_t *info,
					 struct rb_err *err)
{
	struct rb_layer_index *index = NULL;

	if (docker_root(info))
		rb_layer_index_open(node->state_dir, docker_root(info), &index, err);
	return index;
}

static void scan_new(void *arg, const struct rb_wait *wait)
{
	struct rb_layer_scan scan = { .budget_ms = INDEX_BUDGET_MS };
	struct rb_err why = {};
	int r = rb_layer_index_scan(arg, &scan, wait, &why);

	if (r < 0 && r != -EBUSY && r != -EAGAIN && r != -ECANCELED)
		rb_warn("%s", why.msg);
}

/* what files of an image can come to that was described with that size: headers have none there,
 * and an engine may keep layers packed as well */
static uint64_t bytes_at_most(const json_t *description)
{
	int64_t size = rb_json_int(description, "size", 0);

	return SIZE_TIMES * (uint64_t)(size > 0 ? size : 0) + SIZE_MORE;
}

static int receive(struct rb_incoming *incoming, struct rb_gather_options *options,
		   struct rb_conn *conn, struct rb_gather **ret, const struct rb_wait *wait,
		   struct rb_err *err)
{
	int r = rb_incoming_run(incoming, conn, ret, wait, err);

	if (r <= 0)
		return r;
	rb_warn("%u files of an image have not the digests that they should have: they are asked "
		"for as a whole",
		incoming->wrong_count);
	options->whole = (const uint8_t(*)[RB_DIGEST_BYTES])incoming->wrong;
	options->whole_count = incoming->wrong_count;
	incoming->last = true;
	if (options->spool)
		options->spool->announced = 0;
	r = rb_incoming_run(incoming, conn, ret, wait, err);
	free(TAKE_PTR(incoming->wrong));
	return r;
}

/* with a spool, or in a dry run without */
static int receive_archive(const struct rb_node *node, const json_t *description,
			   const json_t *info, struct rb_spool *spool, int *ret_hold,
			   struct rb_conn *conn, const struct rb_wait *wait, struct rb_err *err)
{
	struct rb_gather_options options = { .spool = spool,
					     .bytes_max = bytes_at_most(description),
					     .layers = json_object_get(description, "layers") };
	struct rb_incoming incoming = { .options = &options };
	struct rb_gather *gather = NULL;
	struct rb_vetted *vetted = NULL;
	struct rb_err why = {};
	int r;

	options.index = open_index(node, info, &why);
	if (why.code != RB_OK)
		rb_warn("%s; whatever is here already is sent all the same", why.msg);
	if (options.index) {
		incoming.prepare = scan_new;
		incoming.arg = options.index;
	}
	r = receive(&incoming, &options, conn, &gather, wait, err);
	if (r == 0 && spool)
		r = rb_vet_archive(gather, description, &vetted, err);
	/* all of it is here, and right */
	if (r == 0)
		r = rb_fault_point("image.load", wait, err);
	if (r == 0 && spool && rb_spool_must_give(spool))
		rb_gather_give(gather);
	if (r == 0 && spool)
		r = load(node, description, ret_hold, vetted, conn, wait, err);
	/* Docker has it, or there is no room for it */
	if ((r == 0 || r == -ENOSPC) && gather)
		rb_gather_forget(gather);
	rb_vetted_free(vetted);
	rb_gather_free(gather);
	rb_layer_index_close(options.index);
	return r;
}

int rb_image_receive(const struct rb_node *node, const json_t *description, bool dry_run,
		     int *ret_hold, struct rb_conn *conn, const struct rb_wait *wait,
		     struct rb_err *err)
{
	_cleanup_json_ json_t *info = NULL;
	struct rb_spool spool;
	int r = rb_engine_info(node->engine, &info, wait, err);

	if (r < 0 || dry_run)
		return r < 0 ? r
			     : receive_archive(node, description, info, NULL, NULL, conn, wait,
					       err);
	r = rb_spool_open(&spool, node->state_dir,
			  rb_json_str(info, "DockerRootDir", "/var/lib/docker"), err);
	if (r == 0)
		r = receive_archive(node, description, info, &spool, ret_hold, conn, wait, err);
	rb_spool_close(&spool);
	return r;
}

struct idle {
	struct rb_spool spool;
	bool (*hold)(void *arg);
	void *arg;
};

/* an image that comes is looked for in the index, and written to the disk that is read here */
static bool is_held(void *arg)
{
	struct idle *idle = arg;

	return (idle->hold && idle->hold(idle->arg)) || rb_spool_is_receiving(&idle->spool);
}

static int index_layers(const struct rb_node *node, struct rb_layer_scan *scan,
			const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *info = NULL;
	struct rb_layer_index *index;
	struct rb_err why = {};
	int r = rb_engine_info(node->engine, &info, wait, err);

	if (r < 0)
		return r;
	index = open_index(node, info, &why);
	if (why.code != RB_OK) {
		if (err)
			*err = why;
		return why.errnum ? -why.errnum : -EIO;
	}
	if (index)
		r = rb_layer_index_scan(index, scan, wait, err);
	rb_layer_index_close(index);
	return r;
}

int rb_image_index(const struct rb_node *node, int64_t budget_ms, bool (*hold)(void *arg),
		   void *arg, const struct rb_wait *wait, struct rb_err *err)
{
	struct idle idle = { .hold = hold, .arg = arg };
	struct rb_layer_scan scan = { .budget_ms = budget_ms, .hold = is_held, .arg = &idle };
	int r;

	r = rb_spool_open(&idle.spool, node->state_dir, NULL, err);
	if (r == 0) {
		rb_spool_tidy(&idle.spool);
		r = index_layers(node, &scan, wait, err);
	}
	rb_spool_close(&idle.spool);
	if (r == 0 && scan.layers + scan.gone)
		rb_info("layers: %u taken into the index (%llu MiB read), %u forgotten",
			scan.layers, (unsigned long long)(scan.bytes >> 20), scan.gone);
	return r;
}
