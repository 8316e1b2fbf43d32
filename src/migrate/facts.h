/* SPDX-License-Identifier: Apache-2.0 */
/*
 * facts.h - what hosts tell each other of themselves, and how big a container is
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

struct rb_err;
struct rb_wait;

/** rb_host_facts - {"os","kernel","architecture","criu","cpu_model","cpu_flags","memory_bytes"} */
int rb_host_facts(json_t **ret, const struct rb_wait *wait, struct rb_err *err);

/** rb_container_memory - resident bytes of all tasks below the container's init; 0 when unknown */
uint64_t rb_container_memory(const json_t *inspect);

/** rb_disk_free - bytes that root can still write on the file system of @path (or of its nearest
 * parent that exists) */
uint64_t rb_disk_free(const char *path);

/** rb_missing_words - words of @have that @other lacks, separated by blanks, cut to @size */
void rb_missing_words(const char *have, const char *other, char *ret, size_t size);
