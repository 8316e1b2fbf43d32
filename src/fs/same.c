// SPDX-License-Identifier: Apache-2.0
/*
 * same.c - is what two hosts have mounted the same storage?
 */
#include "same.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "json.h"

#define NS_PER_S   ((int64_t)1000000000)
#define ALLOWED_NS (60 * NS_PER_S)

static int put(int folder, const char *name)
{
	int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return errno == EEXIST ? 0 : -errno;
	return close(fd) < 0 ? -errno : 0;
}

static int has(int folder, const char *name)
{
	struct stat st;

	if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	return S_ISREG(st.st_mode);
}

static int take(int folder, const char *name)
{
	return unlinkat(folder, name, 0) == 0 || errno == ENOENT ? 0 : -errno;
}

/* A server that squashes root takes it for nobody; it trusts us with all other users. */
static int act(const char *path, const char *name, int (*what)(int folder, const char *name))
{
	_cleanup_close_ int folder = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	int r;

	if (folder < 0)
		return -errno;
	r = what(folder, name);
	if ((r != -EACCES && r != -EPERM) || fstat(folder, &st) < 0 || st.st_uid == 0)
		return r;
	setfsgid(st.st_gid);
	setfsuid(st.st_uid);
	r = what(folder, name);
	setfsuid(geteuid());
	setfsgid(getegid());
	return r;
}

int rb_same_put_token(const char *folder, const char *name)
{
	return act(folder, name, put);
}

int rb_same_has_token(const char *folder, const char *name)
{
	return act(folder, name, has);
}

int rb_same_remove_token(const char *folder, const char *name)
{
	return act(folder, name, take);
}

bool rb_same_is_token(const char *name)
{
	return strncmp(name, "." RB_SAME_TOKEN, strlen("." RB_SAME_TOKEN)) == 0 &&
	       !strchr(name, '/') && strlen(name) < 64;
}

static int look(const char *path, int64_t *ret_ino, int64_t *ret_ctime)
{
	struct statx stx;

	if (statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC, STATX_INO | STATX_CTIME, &stx) < 0)
		return -errno;
	*ret_ino = (int64_t)stx.stx_ino;
	*ret_ctime = stx.stx_ctime.tv_sec * NS_PER_S + stx.stx_ctime.tv_nsec;
	return 0;
}

json_t *rb_same_look(const char *path)
{
	int64_t ino, ctime;

	return look(path, &ino, &ctime) < 0 ? NULL
					    : json_pack("{s:I, s:I}", "ino", (json_int_t)ino,
							"ctime", (json_int_t)ctime);
}

bool rb_same_seen(const char *path, const json_t *theirs, bool numbered)
{
	int64_t ino, ctime, since, their_ino = rb_json_int(theirs, "ino", 0);

	if (!json_is_integer(json_object_get(theirs, "ctime")) || look(path, &ino, &ctime) < 0)
		return false;
	if (__builtin_sub_overflow(ctime, (int64_t)rb_json_int(theirs, "ctime", 0), &since))
		return false;
	return (!numbered || ino == their_ino) && since <= ALLOWED_NS && since >= -ALLOWED_NS;
}
