/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thread.h - a moment in a task of its own, for what changes a task for good
 *
 * Network namespace and, after unshare(CLONE_FS), working folder are a task's own, so a thread does
 * where a child would copy page tables: for milliseconds in a worker that has gigabytes mapped. It
 * is waited for, so that no two run at once, and what is not made for threads need not be. It gets
 * no signals. A crash in it is one of the program.
 */
#pragma once

struct rb_err;

/**
 * rb_thread_run - call a function in a thread, and wait for it
 * @fn: returns 0 or positive for success, or a negative errno with @err filled; does not fork: a
 * child that is to end with its parent (PR_SET_PDEATHSIG) would end with the thread
 *
 * Return: what @fn returned, -EIO when it did not return.
 */
int rb_thread_run(int (*fn)(void *arg, struct rb_err *err), void *arg, struct rb_err *err);

/** rb_thread_close - close a descriptor, and do not wait for it: with a packet socket it takes an
 * RCU grace period (10 ms) */
void rb_thread_close(int fd);
