// SPDX-License-Identifier: Apache-2.0
/*
 * tree_write.c - write entries of a hostile archive below a folder
 *
 * What must always hold: nothing outside of the root is opened, made, changed or removed. A path is
 * checked as text (relative, no "." and ".."), its folder is then opened by openat2(2) below the
 * root without following links, and only the last component is acted upon, through that
 * descriptor, with calls that do not follow links. Thus neither a link that the stream itself
 * made before nor somebody who changes the tree at the same time can lead outside.
 *
 * What is replaced is unlinked first: other names of the old inode keep their content, and the
 * sender resends all names of a changed inode.
 *
 * A tree that is a single file has one path, TREE_FILE, which stands for the descriptor that we
 * were given: no path is opened at all. It is written in place, since it is mounted somewhere.
 *
 * Owner before attributes before mode: chown(2) takes away setuid and file capabilities.
 */
#include "tree_write.h"

#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "beneath.h"
#include "cleanup.h"
#include "err.h"
#include "tree_stream.h"
#include "xattr.h"

#define MAX_FOLDER_BYTES ((size_t)512 << 20) /* of paths: millions of folders */
#define MAX_DEPTH	 (PATH_MAX / 2)

struct folder_times {
	size_t path; /* offset in folder_paths */
	struct timespec times[2];
};

int tree_writer_open(struct tree_writer *w, const char *root, struct rb_err *err)
{
	w->root = root;
	w->err = err;
	w->parent_fd = -EBADF;
	w->root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->root_fd < 0)
		return rb_err_set(err, -errno, "open folder '%s'", root);
	return 0;
}

int tree_writer_open_file(struct tree_writer *w, int fd, const char *name, struct rb_err *err)
{
	w->root = name;
	w->err = err;
	w->parent_fd = -EBADF;
	w->is_file = true;
	w->root_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return w->root_fd < 0 ? rb_err_set(err, -errno, "open '%s'", name) : 0;
}

void tree_writer_release(struct tree_writer *w)
{
	for (size_t i = 0; i < w->n_unsynced; i++)
		close(w->unsynced[i]);
	rb_close_fd(&w->root_fd);
	rb_close_fd(&w->parent_fd);
	rb_buf_free(&w->folder_paths);
	free(w->folders);
}

static int refuse(struct tree_writer *w, const char *path, const char *why)
{
	return rb_err_code(w->err, RB_E_PROTOCOL, -EPROTO, "refused '%s' from the peer: %s", path,
			   why);
}

/* The first part of a path, before anything is made there. Entries of a folder come together. */
static int note_name(struct tree_writer *w, const char *path)
{
	size_t len = strcspn(path, "/");
	int r;

	if (w->names_fd < 0 || (strncmp(w->last_name, path, len) == 0 && !w->last_name[len]))
		return 0;
	memcpy(w->last_name, path, len);
	w->last_name[len] = '\0';
	r = rb_write_all(w->names_fd, w->last_name, len + 1);
	return r < 0 ? rb_err_set(w->err, r, "write down what comes to '%s'", w->root) : 0;
}

int tree_writer_path(struct tree_writer *w, const char *path, char ret[PATH_MAX])
{
	size_t len = strlen(path);

	if (w->is_file && strcmp(path, TREE_FILE) != 0)
		return refuse(w, path, "one file is to come");
	if (w->is_file) {
		ret[0] = '\0';
		return 0;
	}
	while (len > 1 && path[len - 1] == '/')
		len--;
	if (len >= PATH_MAX)
		return refuse(w, path, "the path is too long");
	memcpy(ret, path, len);
	ret[len] = '\0';
	if (strcmp(ret, ".") == 0) {
		ret[0] = '\0';
		return 0;
	}
	for (const char *part = ret;;) {
		size_t n = strcspn(part, "/");

		if (n == 0 || n > NAME_MAX || (n == 1 && part[0] == '.') ||
		    (n == 2 && part[0] == '.' && part[1] == '.'))
			return refuse(w, path, "the path is absolute, or holds '.', '..' or '//'");
		if (part[n] == '\0')
			return note_name(w, ret);
		part += n + 1;
	}
}

/*
 * The folder that holds @path, and the last component of @path. Return: borrowed descriptor, or
 * negative errno without an error filled.
 */
static int find_parent(struct tree_writer *w, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;

	*ret_name = slash ? slash + 1 : path;
	if (w->parent_fd >= 0 && strlen(w->parent) == len && memcmp(w->parent, path, len) == 0)
		return w->parent_fd;
	rb_close_fd(&w->parent_fd);
	memcpy(w->parent, path, len);
	w->parent[len] = '\0';
	w->parent_fd = open_beneath(w->root_fd, w->parent, O_PATH | O_DIRECTORY);
	return w->parent_fd;
}

static int refuse_root(struct tree_writer *w)
{
	return refuse(w, ".",
		      w->is_file ? "one file is to come"
				 : "the root of a tree can only be a folder");
}

static int open_parent(struct tree_writer *w, const char *path, const char **ret_name)
{
	int fd;

	if (!*path)
		return refuse_root(w);
	fd = find_parent(w, path, ret_name);
	if (fd == -ELOOP || fd == -EXDEV)
		return refuse(w, path, "it leads through a symbolic link or into another mount");
	return fd < 0 ? rb_err_set(w->err, fd, "open the folder of '%s/%s'", w->root, path) : fd;
}

static int remove_at(int parent_fd, const char *name, int depth);

static int remove_content(int parent_fd, const char *name, int depth)
{
	_cleanup_close_ int fd =
		openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *d;

	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir)
		return -errno;
	TAKE_FD(fd);
	while ((d = readdir(dir))) {
		int r;

		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		r = remove_at(dirfd(dir), d->d_name, depth + 1);
		if (r < 0)
			return r;
	}
	return 0;
}

static int remove_at(int parent_fd, const char *name, int depth)
{
	struct stat st;
	int r;

	if (unlinkat(parent_fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	r = -errno;
	/* a folder is EISDIR on Linux and EPERM by POSIX; an immutable file is EPERM too */
	if (fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
		return r;
	if (unlinkat(parent_fd, name, AT_REMOVEDIR) == 0)
		return 0;
	if ((errno != ENOTEMPTY && errno != EEXIST) || depth > MAX_DEPTH)
		return -errno;
	r = remove_content(parent_fd, name, depth);
	if (r < 0)
		return r;
	return unlinkat(parent_fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

static int clear_way(struct tree_writer *w, int parent_fd, const char *name, const char *path)
{
	int r;

	if (unlinkat(parent_fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	r = remove_at(parent_fd, name, 0);
	return r < 0 ? rb_err_set(w->err, r, "remove '%s/%s'", w->root, path) : 0;
}

int tree_writer_remove(struct tree_writer *w, const char *path)
{
	const char *name;
	int parent_fd;

	if (!*path)
		return refuse_root(w);
	parent_fd = find_parent(w, path, &name);
	/* its folder is not there (any more), or is no folder */
	if (parent_fd == -ENOENT || parent_fd == -ENOTDIR || parent_fd == -ELOOP)
		return 0;
	if (parent_fd < 0)
		return rb_err_set(w->err, parent_fd, "remove '%s/%s'", w->root, path);
	return clear_way(w, parent_fd, name, path);
}

int tree_writer_link(struct tree_writer *w, const char *path, const char *to)
{
	_cleanup_close_ int to_fd = -EBADF;
	char folder[PATH_MAX];
	const char *name, *slash = strrchr(to, '/');
	int parent_fd, r;

	if (!*to || strcmp(path, to) == 0)
		return refuse(w, path, "a hard link to itself or to the root");
	parent_fd = open_parent(w, path, &name);
	if (parent_fd < 0)
		return parent_fd;
	snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - to) : 0, to);
	to_fd = open_beneath(w->root_fd, folder, O_PATH | O_DIRECTORY);
	if (to_fd < 0)
		return refuse(w, path, "a hard link to something that is not in the tree");
	r = clear_way(w, parent_fd, name, path);
	if (r < 0)
		return r;
	if (linkat(to_fd, slash ? slash + 1 : to, parent_fd, name, 0) < 0)
		return rb_err_set(w->err, -errno, "link '%s/%s' to '%s'", w->root, path, to);
	return 0;
}

int tree_writer_create(struct tree_writer *w, const char *path)
{
	const char *name;
	int parent_fd, fd, r;

	if (w->is_file) {
		fd = ftruncate(w->root_fd, 0) < 0 ? -1 : fcntl(w->root_fd, F_DUPFD_CLOEXEC, 3);
		return fd < 0 ? rb_err_set(w->err, -errno, "write '%s'", w->root) : fd;
	}
	parent_fd = open_parent(w, path, &name);
	if (parent_fd < 0)
		return parent_fd;
	r = clear_way(w, parent_fd, name, path);
	if (r < 0)
		return r;
	fd = openat(parent_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? rb_err_set(w->err, -errno, "create '%s/%s'", w->root, path) : fd;
}

int tree_writer_reopen(struct tree_writer *w, const char *path)
{
	_cleanup_close_ int path_fd = open_beneath(w->root_fd, path, O_PATH | O_NOFOLLOW);
	char buf[FD_PATH_SIZE];
	struct stat st;
	int fd;

	/* its type is looked at before anything is opened for writing, which can have effects */
	if (path_fd >= 0 && fstat(path_fd, &st) < 0)
		return rb_err_set(w->err, -errno, "look at '%s/%s'", w->root, path);
	if (path_fd < 0 || !S_ISREG(st.st_mode))
		return refuse(w, path, "there is no such file in the tree");
	/* not by the path: it cannot lead elsewhere, nor into a mount */
	fd = open(fd_path(path_fd, buf), O_RDWR | O_CLOEXEC);
	return fd < 0 ? rb_err_set(w->err, -errno, "open '%s/%s'", w->root, path) : fd;
}

static void entry_times(struct archive_entry *entry, struct timespec times[2])
{
	times[1] = (struct timespec){ archive_entry_mtime(entry), archive_entry_mtime_nsec(entry) };
	times[0] = times[1];
	if (archive_entry_atime_is_set(entry))
		times[0] = (struct timespec){ archive_entry_atime(entry),
					      archive_entry_atime_nsec(entry) };
}

/*
 * One fsync after the other would wait for a commit of the file system's journal each. So writing
 * is started at once, and the waiting comes at the end, where the first fsync commits for all.
 */
static int sync_all(struct tree_writer *w)
{
	int r = 0;

	for (size_t i = 0; i < w->n_unsynced; i++) {
		if (fsync(w->unsynced[i]) < 0 && r == 0)
			r = rb_err_set(w->err, -errno, "write '%s' to disk", w->root);
		close(w->unsynced[i]);
	}
	w->n_unsynced = 0;
	return r;
}

static int sync_later(struct tree_writer *w, int fd)
{
	int copy, r = w->n_unsynced == TREE_UNSYNCED_MAX ? sync_all(w) : 0;

	if (r < 0)
		return r;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (copy < 0)
		return rb_err_set(w->err, -errno, "write '%s' to disk", w->root);
	sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	w->unsynced[w->n_unsynced++] = copy;
	return 0;
}

int tree_writer_finish(struct tree_writer *w, int fd, const char *path, struct archive_entry *entry)
{
	struct timespec times[2];
	int r;

	if (fchown(fd, (uid_t)archive_entry_uid(entry), (gid_t)archive_entry_gid(entry)) < 0)
		return rb_err_set(w->err, -errno, "set the owner of '%s/%s'", w->root, path);
	r = xattr_store(fd, path, entry, w->err);
	if (r < 0)
		return r;
	entry_times(entry, times);
	if (fchmod(fd, archive_entry_perm(entry)) < 0 || futimens(fd, times) < 0)
		return rb_err_set(w->err, -errno, "set mode and times of '%s/%s'", w->root, path);
	return w->durable ? sync_later(w, fd) : 0;
}

static int make_node(struct tree_writer *w, int parent_fd, const char *name, const char *path,
		     struct archive_entry *entry)
{
	mode_t type = archive_entry_filetype(entry);
	dev_t dev = makedev(archive_entry_rdevmajor(entry), archive_entry_rdevminor(entry));
	const char *target = archive_entry_symlink(entry), *name_of_attr;
	const void *value;
	size_t size;
	int r;

	if (type == AE_IFLNK) {
		if (!target || !*target)
			return refuse(w, path, "a symbolic link to nothing");
		r = symlinkat(target, parent_fd, name);
	} else if (type == AE_IFCHR || type == AE_IFBLK) {
		r = mknodat(parent_fd, name, type | 0600, dev);
	} else if (type == AE_IFIFO) {
		archive_entry_xattr_reset(entry);
		while (archive_entry_xattr_next(entry, &name_of_attr, &value, &size) == 0)
			if (name_of_attr && strcmp(name_of_attr, TREE_SOCKET) == 0)
				type = S_IFSOCK;
		r = mknodat(parent_fd, name, type | 0600, 0);
	} else {
		return refuse(w, path, "a kind of file that does not exist");
	}
	return r < 0 ? rb_err_set(w->err, -errno, "create '%s/%s'", w->root, path) : 0;
}

static int make_folder(struct tree_writer *w, int parent_fd, const char *name, const char *path)
{
	struct stat st;
	int r;

	if (mkdirat(parent_fd, name, 0700) == 0)
		return 0;
	if (errno != EEXIST)
		return rb_err_set(w->err, -errno, "make folder '%s/%s'", w->root, path);
	if (fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
		return 0;
	r = clear_way(w, parent_fd, name, path);
	if (r == 0 && mkdirat(parent_fd, name, 0700) < 0)
		return rb_err_set(w->err, -errno, "make folder '%s/%s'", w->root, path);
	return r;
}

/* The content of a folder comes after it and moves its times: they are set at the end. */
static int remember_times(struct tree_writer *w, const char *path, struct archive_entry *entry)
{
	struct folder_times *last;

	if (w->n_folders == w->size_folders) {
		size_t size = w->size_folders ? w->size_folders * 2 : 64;
		struct folder_times *folders = reallocarray(w->folders, size, sizeof(*folders));

		if (!folders)
			return rb_err_set(w->err, -ENOMEM, "write '%s/%s'", w->root, path);
		w->folders = folders;
		w->size_folders = size;
	}
	if (w->folder_paths.len + w->n_folders * sizeof(*last) > MAX_FOLDER_BYTES)
		return refuse(w, path, "too many folders");
	last = &w->folders[w->n_folders];
	last->path = w->folder_paths.len;
	entry_times(entry, last->times);
	if (rb_buf_add(&w->folder_paths, path, strlen(path) + 1) < 0)
		return rb_err_set(w->err, -ENOMEM, "write '%s/%s'", w->root, path);
	w->n_folders++;
	return 0;
}

/* Owner, attributes, mode and times of what is behind an O_PATH descriptor. */
static int finish_other(struct tree_writer *w, int fd, const char *path,
			struct archive_entry *entry)
{
	mode_t type = archive_entry_filetype(entry);
	struct timespec times[2];
	char buf[FD_PATH_SIZE];
	int r;

	if (fchownat(fd, "", (uid_t)archive_entry_uid(entry), (gid_t)archive_entry_gid(entry),
		     AT_EMPTY_PATH) < 0)
		return rb_err_set(w->err, -errno, "set the owner of '%s/%s'", w->root, path);
	r = xattr_store(fd, path, entry, w->err);
	if (r < 0)
		return r;
	if (type != AE_IFLNK && chmod(fd_path(fd, buf), archive_entry_perm(entry)) < 0)
		return rb_err_set(w->err, -errno, "set the mode of '%s/%s'", w->root, path);
	if (type == AE_IFDIR)
		return remember_times(w, path, entry);
	entry_times(entry, times);
	if (utimensat(fd, "", times, AT_EMPTY_PATH) < 0)
		return rb_err_set(w->err, -errno, "set the times of '%s/%s'", w->root, path);
	return 0;
}

int tree_writer_other(struct tree_writer *w, const char *path, struct archive_entry *entry)
{
	bool is_folder = archive_entry_filetype(entry) == AE_IFDIR;
	_cleanup_close_ int fd = -EBADF;
	const char *name;
	int parent_fd, r;

	if (w->is_file)
		return refuse_root(w);
	if (is_folder && !*path)
		return finish_other(w, w->root_fd, path, entry);
	parent_fd = open_parent(w, path, &name);
	if (parent_fd < 0)
		return parent_fd;
	if (is_folder) {
		r = make_folder(w, parent_fd, name, path);
	} else {
		r = clear_way(w, parent_fd, name, path);
		if (r == 0)
			r = make_node(w, parent_fd, name, path, entry);
	}
	if (r < 0)
		return r;
	fd = openat(parent_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return rb_err_set(w->err, -errno, "open '%s/%s'", w->root, path);
	return finish_other(w, fd, path, entry);
}

int tree_writer_close(struct tree_writer *w)
{
	int r = sync_all(w);

	for (size_t i = 0; r == 0 && i < w->n_folders; i++) {
		const char *path = w->folder_paths.data + w->folders[i].path;
		_cleanup_close_ int fd = open_beneath(w->root_fd, path, O_RDONLY | O_DIRECTORY);

		/* only a stream that contradicts itself replaces a folder that it has sent */
		if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
			continue;
		if (fd < 0 || futimens(fd, w->folders[i].times) < 0)
			return rb_err_set(w->err, fd < 0 ? fd : -errno, "set the times of '%s/%s'",
					  w->root, path);
		/* what came and went in it */
		if (w->durable && fsync(fd) < 0)
			return rb_err_set(w->err, -errno, "write '%s/%s' to disk", w->root, path);
	}
	return r;
}
