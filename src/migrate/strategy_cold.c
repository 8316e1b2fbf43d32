// SPDX-License-Identifier: Apache-2.0
/*
 * strategy_cold.c - memory travels in CRIU's images while the container is frozen
 *
 * Nothing but rounds of files, and the stages themselves: CRIU writes the pages to images in stage
 * dump, they travel in stage transfer, and CRIU reads them before it lets anything run. Works with
 * every kernel; the downtime grows with the memory.
 */
#include "rounds.h"
#include "strategy.h"

const struct rb_strategy rb_strategy_cold = { .name = "cold", .rounds = rb_rounds_files_only };
