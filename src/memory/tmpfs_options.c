// SPDX-License-Identifier: Apache-2.0
/*
 * tmpfs_options.c - how a tmpfs may be mounted whose files travel as objects
 *
 * With huge pages a file takes what it has not written, in pieces that are looked at as a whole;
 * such a tmpfs is left to CRIU, and so is one with a memory policy, quotas, or what is still to be
 * invented. A label of SELinux's cannot be asked for, it is there or not.
 */
#include "tmpfs_options.h"

#include <stdio.h>
#include <string.h>

#include "record.h"

static bool is_limit(const char *option)
{
	return strncmp(option, "size=", 5) == 0 || strncmp(option, "nr_inodes=", 10) == 0;
}

static bool is_known(const char *option)
{
	static const char *const known[] = { "mode=", "uid=", "gid=", "inode32", "inode64", NULL };

	for (size_t i = 0; known[i]; i++) {
		size_t len = strlen(known[i]);

		if (strncmp(option, known[i], len) == 0 &&
		    (known[i][len - 1] == '=' || option[len] == '\0'))
			return true;
	}
	return false;
}

static bool is_printable(const char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			return false;
	return true;
}

bool rb_tmpfs_is_plain(const char *source, const char *options)
{
	char text[RB_TMPFS_TEXT + 1], *next = NULL;

	if (!*source || !is_printable(source) || !is_printable(options) ||
	    strlen(options) >= sizeof(text))
		return false;
	strcpy(text, options);
	for (char *word = strtok_r(text, ",", &next); word; word = strtok_r(NULL, ",", &next))
		if (!is_known(word))
			return false;
	return true;
}

bool rb_tmpfs_copy_options(const char *super_options, char *ret, size_t size)
{
	char text[RB_TMPFS_TEXT + 1], *next = NULL;
	bool writable = false;
	size_t used = 0;

	if (strlen(super_options) >= sizeof(text) || size < sizeof(text))
		return false;
	strcpy(text, super_options);
	ret[0] = '\0';
	for (char *word = strtok_r(text, ",", &next); word; word = strtok_r(NULL, ",", &next)) {
		if (strcmp(word, "rw") == 0) {
			writable = true;
			continue;
		}
		if (is_limit(word) || strcmp(word, "seclabel") == 0)
			continue;
		if (!is_known(word))
			return false;
		used += (size_t)snprintf(ret + used, size - used, "%s%s", used ? "," : "", word);
	}
	return writable;
}
