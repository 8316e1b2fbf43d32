/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_conn.h - streams without a wire: over a socket between two processes, or out of memory
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct rb_conn;

/** fake_conn_new - blocks over @fd (taken over), each after its length, an empty one is the end */
struct rb_conn *fake_conn_new(int fd);

/** fake_conn_fork - fork(2), with a connection to the other one for both. Return: as fork(2) */
pid_t fake_conn_fork(struct rb_conn **ret);

/** fake_conn_memory - read only: @data in blocks of @block bytes, then the end */
struct rb_conn *fake_conn_memory(const void *data, size_t len, size_t block);

void fake_conn_free(struct rb_conn *conn);
