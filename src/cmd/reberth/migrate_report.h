/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate_report.h - what `reberth migrate` prints at the end
 */
#pragma once

#include <jansson.h>

struct cli;

/** migrate_print_plan - the answer to a dry run. Return: exit status, not 0 if it cannot be moved.
 */
int migrate_print_plan(const struct cli *cli, const json_t *plan);

/**
 * migrate_print_result - of a migration that ended
 *
 * In JSON mode the report goes to standard output, with a member "error" unless it completed.
 *
 * Return: exit status.
 */
int migrate_print_result(const struct cli *cli, const json_t *migration);
