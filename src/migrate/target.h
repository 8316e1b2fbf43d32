/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target.h - the target's half of a migration: a server of calls over one connection
 */
#pragma once

#include <limits.h>

#include "migration.h"

struct rb_conn;

/**
 * rb_target_serve - answer what a peer calls until it closes the connection
 * @conn: taken over
 *
 * Runs in a process of its own per connection. Serves questions about the journal ("query") and one
 * migration ("prepare" and what follows). When it returns, that migration is in a final state here,
 * or a later rb_target_recover() is needed.
 */
int rb_target_serve(const struct rb_node *node, struct rb_conn *conn, int cancel_fd,
		    struct rb_err *err);

/** rb_target_recover - finish or undo what a killed worker or a reboot left */
int rb_target_recover(struct rb_migration *m, struct rb_err *err);

/** rb_target_resolve_commit - a person vouches that the source is gone for good: READY becomes GO
 */
int rb_target_resolve_commit(const struct rb_node *node, const struct rb_entry *entry,
			     struct rb_err *err);

/** rb_target_resolve_abort - a person ends a READY target; a source that has committed learns of it
 * from our journal and takes the container back. Always safe. */
int rb_target_resolve_abort(const struct rb_node *node, const struct rb_entry *entry,
			    struct rb_err *err);

/* --- shared by the target's files --- */

extern const struct rb_stage rb_target_stages[];

/* target_prepare.c */
int rb_target_prepare(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err);
int rb_target_check(const struct rb_node *node, const json_t *offer, json_t *obstacles,
		    json_t *answer, const struct rb_wait *wait, struct rb_err *err);
int rb_target_image(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err);
int rb_target_image_undo(struct rb_migration *m, struct rb_err *err);
int rb_target_create(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err);
int rb_target_create_undo(struct rb_migration *m, struct rb_err *err);
int rb_target_images(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err);
int rb_target_log(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err);

/* target_storage.c */
int rb_target_tree(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err);
int rb_target_verify(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err);

/* target_shared.c */
int rb_target_shared(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err);

/* target_arm.c */
int rb_target_arm(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err);

/** rb_target_open_rootfs - before files are written to a container's upper folder: its overlay is
 * taken away, if it can be */
int rb_target_open_rootfs(struct rb_member *c, struct rb_err *err);

/** rb_target_note_rootfs - files have come for it; did any change? */
void rb_target_note_rootfs(struct rb_member *c, bool changed);

/** rb_target_close_rootfs - all files and images are here: the overlay shows them. Calls a restore
 * off that has begun with others. */
int rb_target_close_rootfs(struct rb_migration *m, struct rb_member *c, struct rb_err *err);

/** rb_target_images_folder - where images go that have @bytes (0: as those before); made if need be
 */
int rb_target_images_folder(struct rb_migration *m, struct rb_member *c, uint64_t bytes,
			    char ret[PATH_MAX], struct rb_err *err);

/** rb_target_start_restore - runc and CRIU are started, and wait for rb_arrival_images(), unless
 * they do already */
int rb_target_start_restore(struct rb_member *c, const struct rb_wait *wait, struct rb_err *err);

/* target_memory.c */
int rb_target_pages(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err);

/** rb_target_listen_for_memory - before CRIU starts: it connects to the pager's socket */
int rb_target_listen_for_memory(struct rb_member *c, struct rb_err *err);

/** rb_target_hand_over_places - tell CRIU where segments of System V and large files of a tmpfs
 * are; before it makes namespaces and mounts */
int rb_target_hand_over_places(const struct rb_member *c, struct rb_err *err);

/** rb_target_start_pager - all memory is here: CRIU's tasks get it from now on */
int rb_target_start_pager(struct rb_migration *m, struct rb_member *c, struct rb_err *err);

/** rb_target_has_memory - is all that a restore needs of it still here? True also when it is in
 * CRIU's images */
bool rb_target_has_memory(const struct rb_migration *m);

/* target_fetch.c */
struct rb_page_source;
struct rb_remote;

/** rb_remote_new - how memory that is still at the source is fetched from there */
int rb_remote_new(struct rb_migration *m, const struct rb_member *c, struct rb_remote **ret,
		  struct rb_err *err);
void rb_remote_free(struct rb_remote *remote);
void rb_remote_source(struct rb_remote *remote, struct rb_page_source *ret);

int rb_target_fetched(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err);

/** rb_target_wait_fetched - until nothing is needed from the source any more, however long that
 * takes; what was killed because memory was lost there is started afresh */
int rb_target_wait_fetched(struct rb_migration *m, struct rb_err *err);

/** rb_target_forget_lost - it was started afresh, for whatever reason: that memory of what it was
 * before was lost does not matter any more */
void rb_target_forget_lost(const struct rb_migration *m, const struct rb_member *c);

/* target_memory.c */
/** rb_target_check_memory - may it be used once more, after a restore that was lost? -ESTALE when
 * what was restored wrote to shared memory
 * @only: of this member; NULL: of all */
int rb_target_check_memory(struct rb_migration *m, const struct rb_member *only,
			   struct rb_err *err);

/** rb_target_let_go_of_memory - the tasks run: what is theirs is nobody else's any more */
void rb_target_let_go_of_memory(struct rb_migration *m);

/** rb_target_forget_memory - the tasks run, or never will; the pager has its own view */
void rb_target_forget_memory(struct rb_migration *m);

/* target_restore.c */
int rb_target_start(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err);
int rb_target_start_undo(struct rb_migration *m, struct rb_err *err);
int rb_target_restore(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err);
int rb_target_ready(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err);

/**
 * rb_target_restore_again - the held tasks are lost, but never ran: once more from the images
 * @only: this one of several, the others run; not the first, whose network they have. NULL: all
 *
 * Return: 0; -ENODATA when a power loss came before the images were on the disk.
 */
int rb_target_restore_again(struct rb_migration *m, struct rb_member *only, struct rb_err *err);

/** rb_target_prepare_switchover - for what arrives from now on, and what will be carried over; whom
 * the container knows on its segment it knows here, too */
void rb_target_prepare_switchover(struct rb_migration *m);

/** rb_target_unhide - its macvlans, which until then had other hardware addresses (net/park.c),
 * have their own; past GO only: what their siblings send goes to the source before */
int rb_target_unhide(struct rb_migration *m, int netns, struct rb_err *err);

/** rb_target_netns - the container's network namespace, which the placeholder holds */
int rb_target_netns(const struct rb_migration *m, struct rb_err *err);

/** rb_target_begin_sync - the word that a READY target waits for does not come soon: have the
 * images reach the disk, beside */
void rb_target_begin_sync(struct rb_migration *m);

/** rb_target_end_sync - nobody needs the images on the disk any more */
void rb_target_end_sync(struct rb_migration *m);

/* target_go.c */
int rb_target_go(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err);
int rb_target_running(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err);
int rb_target_frames(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err);
int rb_target_settle(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err);

/** rb_target_confirm_running - Docker and runc take them for running, too, or they are started once
 * more. What ends after that has ended. */
int rb_target_confirm_running(struct rb_migration *m, struct rb_err *err);

/**
 * rb_target_start_fresh - as Docker would after a power loss: those that do not run, and that need
 * the network of one that gets a new one
 * @lost: the first that does not run as it was
 * @for_certain: it is ended even if it seems to run
 */
int rb_target_start_fresh(struct rb_migration *m, struct rb_member *lost, bool for_certain,
			  struct rb_err *err);

/** rb_target_end_silence - the new place is announced, and the container hears again */
void rb_target_end_silence(struct rb_migration *m);

int rb_target_finish(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err);
