/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal_internal.h - what the files of the journal share
 */
#pragma once

#include <jansson.h>
#include <sqlite3.h>
#include <stdint.h>

struct rb_err;

struct rb_journal {
	sqlite3 *db;
	char boot_id[37];
};

/** tables of networks.c, created with the others */
extern const char rb_networks_schema[];

/** table of forwards.c, created with the others */
extern const char rb_forwards_schema[];

/** rb_journal_error - what SQLite says, as an error. Return: -ENOSPC or -EIO. */
int rb_journal_error(struct rb_journal *journal, struct rb_err *err, const char *what);
