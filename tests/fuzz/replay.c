// SPDX-License-Identifier: Apache-2.0
/*
 * replay.c - feed files to a fuzzer's entry without libFuzzer
 *
 * usage: replay_<name> FILE|FOLDER...
 *
 * For a corpus as a unit test, and for a crash in a debugger. A fuzzer's own checks abort.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "err.h"
#include "fuzz.h"
#include "io.h"

/* Return: number of files fed, or negative errno */
static int replay_file(const char *path)
{
	_cleanup_buf_ struct rb_buf buf = {};
	_cleanup_free_ uint8_t *copy = NULL;
	struct rb_err err = {};
	int r = rb_read_file(path, 0, &buf, &err);

	if (r < 0) {
		fprintf(stderr, "%s\n", err.msg);
		return r;
	}
	/* exactly as large as the input, so that a sanitizer sees a read beyond it */
	copy = malloc(buf.len ? buf.len : 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, buf.data, buf.len);
	LLVMFuzzerTestOneInput(copy, buf.len);
	return 1;
}

static int replay_folder(const char *path)
{
	_cleanup_closedir_ DIR *dir = opendir(path);
	const struct dirent *entry;
	int count = 0;

	if (!dir) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -errno;
	}
	while ((entry = readdir(dir))) {
		char file[PATH_MAX];
		int r;

		if (entry->d_name[0] == '.')
			continue;
		r = rb_path(file, sizeof(file), "%s/%s", path, entry->d_name);
		if (r == 0)
			r = replay_file(file);
		if (r < 0)
			return r;
		count += r;
	}
	return count;
}

int main(int argc, char **argv)
{
	int count = 0;

	for (int i = 1; i < argc; i++) {
		struct stat st;
		int r = stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode) ? replay_folder(argv[i])
								       : replay_file(argv[i]);

		if (r < 0)
			return 1;
		count += r;
	}
	printf("%d inputs replayed\n", count);
	return count > 0 ? 0 : 1;
}
