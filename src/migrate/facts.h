/* SPDX-License-Identifier: Apache-2.0 */
/*
 * facts.h - what hosts tell each other of themselves, and how big a container is
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct rb_err;
struct rb_wait;

/** rb_host_facts - {"os","kernel","architecture","criu","cpu_model","cpu_flags","memory_bytes"} */
int rb_host_facts(json_t **ret, const struct rb_wait *wait, struct rb_err *err);

/** What a container has in memory, in bytes. */
struct rb_memory_size {
	uint64_t resident; /* of all processes */
	uint64_t private;  /* anonymous, of each process: what travels in rounds */
	uint64_t once;	   /* the same, what processes share since a fork counted once */
	uint64_t shared;   /* shared memory, some of which is in CRIU's images in any case */
	uint64_t locked;   /* of all that is private or shared; in the images, too, if private */
};

/** rb_memory_measure - add what the processes of a container have; unknown things are 0
 * @freezer_path: rb_freezer_find() of its init */
void rb_memory_measure(const char *freezer_path, struct rb_memory_size *size);

/** rb_memory_would_grow - would it take much more on the target if it travelled in rounds? What
 * processes share since a fork then comes once for each */
bool rb_memory_would_grow(const struct rb_memory_size *size);

/** rb_memory_available - bytes that processes of this host can still get, without swap; 0 when
 * unknown */
uint64_t rb_memory_available(void);

/** rb_memory_allowed - bytes that the limits of our own cgroups, and of those above, still let us
 * have; UINT64_MAX without any */
uint64_t rb_memory_allowed(void);

/** rb_disk_free - bytes that can still be written on the file system of @path (or of its nearest
 * parent that exists), without those that are kept for root: they are not ours to fill */
uint64_t rb_disk_free(const char *path);

/** rb_missing_words - words of @have that @other lacks, separated by blanks, cut to @size */
void rb_missing_words(const char *have, const char *other, char *ret, size_t size);
