// SPDX-License-Identifier: Apache-2.0
/* tmpfs_rig.c - a container with a tmpfs (tmpfs_rig.h) */
#include "tmpfs_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block.h"
#include "cleanup.h"
#include "io.h"
#include "objects.h"
#include "pack.h"
#include "../memory/shuffle.h"

pid_t container;
char container_path[64];
struct rb_shared *shared;
struct rb_receiver *receiver;
struct rb_err err;
uint64_t sent_pages;
unsigned int shuffled;

static const char *tar_path;
static char dir[] = "/tmp/test_arrived.XXXXXX";

int rig_new(const char *tar_program)
{
	tar_path = tar_program;
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return 0;
	return mkdtemp(dir) && mkdir(in("container"), 0700) == 0 && mkdir(in("mnt"), 0700) == 0
		       ? 1
		       : -1;
}

void rig_free(void)
{
	rb_rm_rf(dir, NULL);
}

const char *in(const char *name)
{
	static char paths[4][PATH_MAX];
	static int next;
	char *path = paths[next++ % 4];

	snprintf(path, PATH_MAX, "%s/%s", dir, name);
	return path;
}

const char *there(const char *name)
{
	static char paths[4][PATH_MAX];
	static int next;
	char *path = paths[next++ % 4];

	snprintf(path, PATH_MAX, "%s/%s", container_path, name);
	return path;
}

static int take(void *arg, const void *block, size_t len, const struct rb_wait *wait,
		struct rb_err *why)
{
	(void)arg;
	(void)wait;
	return rb_receiver_take(receiver, block, len, why);
}

int look(void)
{
	int r;

	rb_shared_begin(shared);
	r = rb_shared_add(shared, container, &err);
	rb_shared_end(shared);
	return r;
}

int send_all(bool last)
{
	struct rb_memory_sink sink = { take, NULL };
	static struct rb_packer *packer;
	_cleanup_block_ struct rb_block *block = NULL;
	int r = packer ? 0 : rb_packer_new(&packer, &err);

	shuffle.take = take;
	shuffle.seed = shuffled;
	if (r >= 0)
		r = rb_block_new(shuffled ? &shuffle_sink : &sink, packer, &block, &err);
	rb_receiver_begin(receiver, last);
	if (r >= 0)
		r = rb_shared_send(shared, block, last, NULL, &err);
	if (r >= 0)
		r = rb_block_flush(block, NULL, &err);
	if (r >= 0)
		r = shuffle_end(&err);
	sent_pages = r < 0 ? 0 : rb_block_stats(block)->pages;
	return r < 0 ? r : rb_receiver_end(receiver, &err);
}

int send_round(bool last)
{
	int r = last ? 0 : look();

	return r < 0 ? r : send_all(last);
}

int objects(void)
{
	return rb_objects_count(rb_receiver_objects(receiver));
}

bool begin(const char *options)
{
	int pipes[2];
	char byte;

	rb_err_clear(&err);
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return false;
	container = fork();
	if (container == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!options ||
		    (unshare(CLONE_NEWNS) == 0 &&
		     mount("shm", in("container"), "tmpfs", MS_NOSUID | MS_NODEV, options) == 0))
			(void)!write(pipes[1], "x", 1);
		close(pipes[1]);
		for (;;)
			pause();
	}
	close(pipes[1]);
	snprintf(container_path, sizeof(container_path), "/proc/%d/root%s", (int)container,
		 in("container"));
	if (read(pipes[0], &byte, 1) != 1)
		return false;
	close(pipes[0]);
	return rb_shared_new(&shared, &err) >= 0 && rb_receiver_new(&receiver, &err) >= 0;
}

void end(void)
{
	umount2(in("mnt"), MNT_DETACH);
	kill(container, SIGKILL);
	waitpid(container, NULL, 0);
	rb_shared_free(shared);
	rb_receiver_free(receiver);
	shared = NULL;
	receiver = NULL;
}

bool fill(const char *path, size_t from, size_t count, uint64_t with)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	uint64_t *at;

	if (fd < 0 || ftruncate(fd, SIZE) < 0)
		return false;
	/* not by write(2): nothing but the page itself is another afterwards */
	at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (at == MAP_FAILED)
		return false;
	for (size_t i = from; i < from + count; i++)
		at[i * RB_PAGE_SIZE / sizeof(*at)] = i + with;
	munmap(at, SIZE);
	return true;
}

bool is_same(const char *path, const char *other)
{
	_cleanup_buf_ struct rb_buf a = {}, b = {};

	return rb_read_file(path, 0, &a, NULL) == 0 && rb_read_file(other, 0, &b, NULL) == 0 &&
	       a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

int tar(const char *what, const char *folder)
{
	bool create = strcmp(what, "--create") == 0;
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		int file =
			open(in("archive"), create ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY, 0600);

		dup2(file, create ? STDOUT_FILENO : STDIN_FILENO);
		setenv("REBERTH_SKIP", in("skip"), 1);
		setenv("REBERTH_TMPFS", in("tmpfs"), 1);
		execl(tar_path, "tar", what, "--gzip", "--directory", folder, NULL);
		_exit(99);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int hide(void)
{
	int r = rb_mkdir_p(in("skip"), 0700, &err);

	return r < 0 ? r : rb_shared_hide(shared, in("skip"), &err);
}

int dump(void)
{
	int r = send_round(true);

	if (r >= 0)
		r = hide();
	return r < 0 ? r : tar("--create", container_path);
}

bool mount_as_criu(const char *options)
{
	umount2(in("mnt"), MNT_DETACH);
	return mount("shm", in("mnt"), "tmpfs", MS_NOSUID | MS_NODEV, options) == 0;
}

int restore(const char *options)
{
	if (!mount_as_criu(options) ||
	    rb_objects_offer(rb_receiver_objects(receiver), in("tmpfs"), &err) < 0)
		return -1;
	return tar("--extract", in("mnt"));
}

int in_container(int (*fn)(void))
{
	pid_t pid = fork();
	int status = -1;

	if (pid == 0) {
		char path[64];
		int ns;

		snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)container);
		ns = open(path, O_RDONLY | O_CLOEXEC);
		_exit(ns < 0 || setns(ns, CLONE_NEWNS) < 0 ? 255 : fn());
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
