/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz.h - the entry of every fuzzer, and its way to complain
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/** LLVMFuzzerTestOneInput - what libFuzzer and replay.c call. Return: 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* something that must always hold, whatever the input */
#define FUZZ_NEED(cond)                                                                      \
	do {                                                                                 \
		if (!(cond)) {                                                               \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #cond); \
			abort();                                                             \
		}                                                                            \
	} while (0)
