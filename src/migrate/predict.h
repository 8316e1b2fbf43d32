/* SPDX-License-Identifier: Apache-2.0 */
/*
 * predict.h - how long a freeze would take
 *
 * A freeze takes what it takes without any memory (CRIU, both hosts' journals, the way there and
 * back), and the time in which the last memory travels, as far as that is longer than the dump
 * beside which it travels. The first part is learned from earlier moves to the same node, which
 * have it in their reports as "fixed_ms".
 */
#pragma once

#include <stdint.h>

struct rb_migration;

/** rb_predict_fixed_ms - the first part, by the median of the last moves to this node */
double rb_predict_fixed_ms(const struct rb_migration *m);

/** rb_predict_beside_ms - of the time in which memory travels, what prolongs the freeze */
double rb_predict_beside_ms(double memory_ms);
