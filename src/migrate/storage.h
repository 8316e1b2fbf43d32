/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage.h - volumes and bind mounts: which are copied, and which are on storage that both sides
 * share
 *
 * A container's facts "volumes" and "binds" are lists (engine/spec.h). What is settled of each
 * entry before anything is changed is noted in it, and travels with the offer:
 *
 * - "how": "copied": its tree travels. "shared": it is on storage that both hosts have, which was
 *   recognised, or declared (--shared-volume). "inside": a bind mount inside of another one, with
 *   which it travels.
 * - "declared": true: shared by the user's word
 * - "place": rb_place_json(); of a volume only if it is shared
 * - "token", "seen": of what is shared: storage_proof.c
 * - "kind": of a bind mount: "folder", "file" or "other"
 * - "dev", "ino": of a bind mount: what had its path then
 * - "bytes": of a bind mount that is copied: on disk
 *
 * Binds are known to both sides by "source", the path of the host, which is the same on both.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct rb_err;
struct rb_member;
struct rb_migration;
struct rb_node;
struct rb_place;
struct rb_wait;

/* --- source (storage.c) --- */

/**
 * rb_storage_check_request - does what the user named exist?
 * @facts: of the entry, with its members
 */
int rb_storage_check_request(const json_t *facts, struct rb_err *err);

/** rb_storage_settle - settle all of the above of a container; what cannot be becomes an obstacle
 */
int rb_storage_settle(struct rb_migration *m, struct rb_member *c, json_t *obstacles,
		      const struct rb_wait *wait, struct rb_err *err);

/** rb_storage_settle_inside - once all are settled: which bind mounts travel with others. Where
 * links lead from one into another, or out of it, that is an obstacle. */
void rb_storage_settle_inside(struct rb_migration *m, json_t *obstacles);

/** rb_storage_mark_spec - what is settled has to be known to Docker there, too
 * @spec: body that makes a container of the migration (engine/spec.h) */
int rb_storage_mark_spec(struct rb_migration *m, json_t *spec, struct rb_err *err);

bool rb_storage_is_copied(const json_t *entry);
bool rb_storage_is_shared(const json_t *entry);

/** rb_storage_is_file - a bind mount of a single file */
bool rb_storage_is_file(const json_t *bind);

#define RB_STORAGE_RESERVE ((uint64_t)64 << 20) /* bytes that are left free on a disk */

/** rb_storage_open - what had the path of a bind mount when it was settled, and nothing else that
 * may have it by now. Return: descriptor for reading, or negative errno */
int rb_storage_open(const json_t *bind, struct rb_err *err);

/** rb_storage_each_shared - call @fn for all volumes and bind mounts that are shared, until it
 * fails. Return: what it returned last, or 0 */
int rb_storage_each_shared(struct rb_migration *m,
			   int (*fn)(struct rb_migration *m, const json_t *entry,
				     struct rb_err *err),
			   struct rb_err *err);

/**
 * rb_storage_flush - have everything that was written to shared storage reach it
 *
 * Called once while the container runs, so that there is little left, and once when it stands
 * still; before the target may go on. See storage.c about what the other host then sees.
 */
int rb_storage_flush(struct rb_migration *m, struct rb_err *err);

/** rb_storage_locked - does a task hold a file lock on shared storage? Nobody else gets it there
 * before that task is gone. Return: 0, or RB_E_REFUSED */
int rb_storage_locked(struct rb_migration *m, struct rb_err *err);

/** rb_storage_task_locks - of these: does a task hold one by way of a mount of that place, or of
 * part of it? Return: 1, 0 (also when it is gone) or negative errno */
int rb_storage_task_locks(pid_t pid, const struct rb_place *place, struct rb_err *err);

/* --- proof that both have the same (storage_proof.c) --- */

/**
 * rb_storage_put_tokens - before the target is asked what stands in the way: a token in each shared
 * folder that the container may write to, and what is seen of each that is shared
 * @tokens: the journal has an entry of the migration, and nothing stands in the way here; else
 * nothing is made
 */
int rb_storage_put_tokens(struct rb_migration *m, bool tokens, struct rb_err *err);

/** rb_storage_prove - the container has been started on the target: what it has mounted there must
 * be the same. Return: 0, or RB_E_REFUSED and others */
int rb_storage_prove(struct rb_migration *m, struct rb_err *err);

/** rb_storage_remove_tokens - those that are there still; from the journal alone, and repeatable */
void rb_storage_remove_tokens(struct rb_migration *m);

/* --- what stays (storage_left.c) --- */

/** rb_storage_list - for reports: [{"volume" | "bind", "container", "destination", "how",
 * "file_system", "declared"}] */
json_t *rb_storage_list(const struct rb_migration *m);

/** rb_storage_note_left - remember what the bind mounts that stay here were like when the last
 * round of files saw them, as the fact "left" of each member, to be saved. What anybody does to
 * them after that is not what the container left. Nothing is noted without the rounds, after a
 * restart. */
void rb_storage_note_left(struct rb_migration *m);

#define RB_MOVES_MAX 256 /* moves of a container that are remembered, the last ones */

/** rb_storage_note_moves - which moves have brought the container here, as the fact "moves": that
 * the target knows it, should it come back there */
void rb_storage_note_moves(struct rb_migration *m, struct rb_member *c);

/**
 * rb_storage_was_left - did the container leave this here, and has nobody changed it since?
 * @moves: those that have brought it, as its host says, or NULL
 * @source: path of the bind mount, as the container knows it
 * @path: the same without symbolic links
 * @stamp: receives that of @path (rb_tree_stamp()), RB_STAMP_SIZE bytes
 *
 * Return: 1, 0, or negative errno when it cannot be told: that is no reason to write there.
 */
int rb_storage_was_left(const struct rb_node *node, const json_t *moves, const char *source,
			const char *path, char *stamp, const struct rb_wait *wait,
			struct rb_err *err);

/**
 * rb_storage_left_again - what the container had left here was renamed, and has its name again
 * @stamp, @now: before and after that
 *
 * So that it is known when the container comes another time.
 */
void rb_storage_left_again(const struct rb_node *node, const json_t *moves, const char *source,
			   const char *stamp, const char *now);

/* --- target (target_storage.c) --- */

/** rb_target_check_storage - obstacles: may volumes and bind mounts of an offer be brought here?
 * @offer: of one container
 * @docker_root: Docker's own folder here */
void rb_target_check_storage(const struct rb_node *node, const json_t *offer,
			     const char *docker_root, json_t *obstacles,
			     const struct rb_wait *wait);

/** rb_target_create_storage - make a container's volumes, and what its bind mounts need */
int rb_target_create_storage(struct rb_migration *m, struct rb_member *c,
			     const struct rb_wait *wait, struct rb_err *err);

/** rb_target_finish_storage - that of all of them: what is inside of others */
int rb_target_finish_storage(struct rb_migration *m, const struct rb_wait *wait,
			     struct rb_err *err);

/** rb_target_empty_storage - Docker fills an empty volume from the image; what the source deleted
 * there must not come back */
int rb_target_empty_storage(struct rb_migration *m, struct rb_member *c, const struct rb_wait *wait,
			    struct rb_err *err);

/** rb_target_sync_storage - what came so far is on disk: of a bind mount whatever disk that is */
int rb_target_sync_storage(const struct rb_member *c, const struct rb_wait *wait,
			   struct rb_err *err);

/** rb_target_remove_storage - undo of the above; the container must be gone */
int rb_target_remove_storage(struct rb_migration *m, struct rb_member *c,
			     const struct rb_wait *wait, struct rb_err *err);

/* --- shared there (target_shared.c) --- */

/**
 * rb_shared_is_same - has this host the same there?
 * @entry: of the offer
 * @seen: what the source has just seen of it, rb_same_look()
 * @path: as it is mounted here, without symbolic links
 */
bool rb_shared_is_same(const json_t *entry, const json_t *seen, const char *path,
		       const struct rb_wait *wait);

/** rb_shared_check_binds - obstacles: those that are shared must be the same here */
void rb_shared_check_binds(const struct rb_node *node, const json_t *binds, json_t *obstacles,
			   const struct rb_wait *wait);

/** rb_shared_check_volume - the same of a volume. What has options is mounted by Docker or its
 * plugin as they say, but not before a container is started.
 * @there: what Docker says of it here */
void rb_shared_check_volume(const struct rb_node *node, const json_t *volume, const json_t *there,
			    json_t *obstacles, const struct rb_wait *wait);

/* --- volumes there (target_volumes.c) --- */

/** rb_volumes_check - obstacles: may the volumes of an offer be made here, or are they here? */
void rb_volumes_check(const struct rb_node *node, const json_t *offer, json_t *obstacles,
		      const struct rb_wait *wait);

/** rb_volumes_make - make those that are not here; each is in the journal before */
int rb_volumes_make(struct rb_migration *m, struct rb_member *c, const struct rb_wait *wait,
		    struct rb_err *err);

/** rb_volumes_here - where a volume is that was made here and is written to, or NULL. Only of those
 * that we made, as Docker said: the offer is the peer's word, and has no say in which folder is
 * emptied and written to. */
const char *rb_volumes_here(const struct rb_member *c, const char *name);

/** rb_volumes_remove - those that were made and are still ours */
int rb_volumes_remove(struct rb_migration *m, const struct rb_member *c, const struct rb_wait *wait,
		      struct rb_err *err);

/* --- bind mounts there (target_binds*.c) --- */

/**
 * rb_binds_check - obstacles: may the bind mounts of an offer be brought here?
 * @offer: of one container
 * @docker_root: Docker's own folder here
 */
void rb_binds_check(const struct rb_node *node, const json_t *offer, const char *docker_root,
		    json_t *obstacles, const struct rb_wait *wait);

/** rb_binds_make - make the files and folders that will be written to; all is in the journal
 * before */
int rb_binds_make(struct rb_migration *m, struct rb_member *c, const char *docker_root,
		  const struct rb_wait *wait, struct rb_err *err);

/** rb_binds_make_inside - those that are inside of others ("how"), once the others are made, of all
 * containers */
int rb_binds_make_inside(struct rb_migration *m, const char *docker_root,
			 const struct rb_wait *wait, struct rb_err *err);

/**
 * rb_binds_names - where it is written down what comes to the top of a folder that was there, and
 * empty: only that is removed from it again (rb_received_note_names())
 * @ret_fd: open for appending; -EBADF: it is no such folder
 */
int rb_binds_names(const struct rb_member *c, const char *source, int *ret_fd, struct rb_err *err);

/** rb_binds_undo - what was there before is so again; what is not becomes part of the fact "stays",
 * [{"path", "why"}]. The container must be gone. */
int rb_binds_undo(struct rb_migration *m, struct rb_member *c, struct rb_err *err);

/** rb_binds_settle - the container runs: what it had left here earlier is of no use any more. What
 * cannot be removed becomes part of the fact "stays". */
void rb_binds_settle(struct rb_migration *m, struct rb_member *c);

/**
 * rb_binds_open - what was made for a bind mount
 * @flags: O_PATH | O_DIRECTORY for a folder, O_RDWR for a file
 *
 * Return: a descriptor of it and of nothing else that may have its path by now, or negative errno.
 */
int rb_binds_open(const struct rb_member *c, const char *source, int flags, struct rb_err *err);

/* --- who else uses it (storage_users.c) --- */

/**
 * rb_storage_user - the first container that has mounted a volume, or part of a folder
 * @running: list of containers, as Docker gives it
 * @volume: name, or NULL
 * @path: of the folder; of a volume: where it is on this host, or NULL
 * @group: of inspects, which do not count
 * @ret_name: its name, which lives as long as @running, or NULL
 *
 * Return: 1, 0 or negative errno.
 */
int rb_storage_user(const json_t *running, const char *volume, const char *path,
		    const json_t *group, const char **ret_name);

/** rb_storage_users - the same, of all that run now */
int rb_storage_users(const struct rb_node *node, const char *volume, const char *path,
		     char *ret_name, size_t size, const struct rb_wait *wait, struct rb_err *err);

/** rb_storage_check_users - obstacles: what is copied must not be used by others that run */
void rb_storage_check_users(struct rb_migration *m, struct rb_member *c, const json_t *group,
			    json_t *obstacles, const struct rb_wait *wait);

/** rb_storage_still_ours - the same short of the freeze. Return: 0, or RB_E_REFUSED */
int rb_storage_still_ours(struct rb_migration *m, const json_t *group, const struct rb_wait *wait,
			  struct rb_err *err);

/** rb_path_within - is @path @folder, or inside of it? */
bool rb_path_within(const char *path, const char *folder);

/** rb_path_forbidden - must this path of a host not travel, whatever anybody says? Return: why not,
 * or NULL
 * @docker_root: Docker's own folder */
const char *rb_path_forbidden(const struct rb_node *node, const char *path,
			      const char *docker_root);
