/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nft.h - private to net/: run nftables commands in the namespace that we are in
 */
#pragma once

struct rb_buf;
struct rb_err;

/**
 * rb_nft_run - run commands in nft's language as one transaction: all of them, or none
 * @commands: lines, NUL-terminated
 * @ret_out: what "list" commands print is appended here; NULL when nothing is wanted
 *
 * To be called in a child of rb_netns_fork() only: libnftables keeps caches of the namespace's
 * devices in static variables. Needs CAP_NET_ADMIN.
 *
 * Return: 0, or a negative errno as the kernel gave it (-ENOENT: no such table, chain or device;
 * -EOPNOTSUPP: the kernel has no such hook or family), -EIO when libnftables did not tell.
 */
int rb_nft_run(const char *commands, struct rb_buf *ret_out, struct rb_err *err);

/** rb_nft_list_handles - the same, and each rule that is listed ends with " # handle <number>" */
int rb_nft_list_handles(const char *commands, struct rb_buf *ret_out, struct rb_err *err);

/** rb_nft_list_json - the same as JSON, see libnftables-json(5) */
int rb_nft_list_json(const char *commands, struct rb_buf *ret_out, struct rb_err *err);

/** rb_nft_word_ok - is it 1 to 31 of A-Z a-z 0-9 . _ - ? Anything else is never put into a
 * command: device and table names inside a container are chosen by the container. */
int rb_nft_word_ok(const char *word, unsigned long len);
