/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fds.h - private to net/: the sockets that a process has open, as our own descriptors
 */
#pragma once

#include <stdbool.h>

struct rb_err;

/**
 * rb_each_socket - call a function with each socket that a process has open
 * @fn: gets a copy of the descriptor, which is closed afterwards, and the number it has there;
 * returns 0 or positive, or a negative errno, which ends the walk
 *
 * Through pidfd_getfd(2); needs CAP_SYS_PTRACE. Return: sum of what @fn returned, or negative
 * errno.
 */
int rb_each_socket(int pid, int (*fn)(int fd, int number, void *arg, struct rb_err *err), void *arg,
		   struct rb_err *err);

/** rb_is_tcp - a TCP socket of IPv4 or IPv6? */
bool rb_is_tcp(int fd);
