/* SPDX-License-Identifier: Apache-2.0 */
/*
 * receive.h - the memory of a container on the target, on its way into the store
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rb_err;
struct rb_objects;
struct rb_receiver;
struct rb_store;

/** rb_receiver_new - with a store of its own */
int rb_receiver_new(struct rb_receiver **ret, struct rb_err *err);
void rb_receiver_free(struct rb_receiver *receiver); /* NULL is allowed */

/** rb_receiver_limit - how many bytes of pages it may have at once, from now on; at first there is
 * no limit */
void rb_receiver_limit(struct rb_receiver *receiver, uint64_t bytes);

/** rb_receiver_begin - a round begins; @last: tasks that it does not say KEEP of are gone */
void rb_receiver_begin(struct rb_receiver *receiver, bool last);

/** rb_receiver_take - a block as it came (record.h); hostile input. -EPROTO, -EBADMSG; -ENOSPC also
 * beyond the limit, then with RB_E_REFUSED */
int rb_receiver_take(struct rb_receiver *receiver, const void *block, size_t len,
		     struct rb_err *err);

/** rb_receiver_end - the round is over */
int rb_receiver_end(struct rb_receiver *receiver, struct rb_err *err);

/** rb_receiver_complete - has the last round come? */
bool rb_receiver_complete(const struct rb_receiver *receiver);

struct rb_store *rb_receiver_store(struct rb_receiver *receiver);

/** rb_receiver_objects - the shared memory that came along (objects.h) */
struct rb_objects *rb_receiver_objects(struct rb_receiver *receiver);

/** rb_receiver_pages - that take memory here, of both */
uint64_t rb_receiver_pages(const struct rb_receiver *receiver);
