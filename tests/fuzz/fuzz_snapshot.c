// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_snapshot.c - containerd's answer about a snapshot: a path, or an error that says why
 */
#include <limits.h>

#include "containerd.h"
#include "err.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct rb_err err = {};
	char upper[PATH_MAX] = "";
	int r = rb_containerd_parse(data, len, upper, sizeof(upper), &err);

	FUZZ_NEED(r < 0 ? err.code > RB_OK && err.msg[0] : *upper == '/');
	return 0;
}
