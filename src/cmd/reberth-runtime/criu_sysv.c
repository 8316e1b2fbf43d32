// SPDX-License-Identifier: Apache-2.0
/*
 * criu_sysv.c - of the library that CRIU gets: segments of System V that travel without it
 *
 * CRIU dumps and restores an IPC namespace from within (its criu/ipc_ns.c): the images ipcns-*.img
 * have variables, semaphores, messages, and the segments but for their pages. These it reads and
 * writes while it has the segment attached, and their images have the same names as those of other
 * shared memory (criu_shared.c); whose they are, shmat(2) tells.
 *
 * Dump: a segment that travels without CRIU has an image sysv-<id>.img, and in it there is nothing,
 * as lseek(2) finds no pages. These segments stand in
 *
 *	$REBERTH_SKIP/sysv	as in criu_shared.c; the second number of a pair is the id
 *
 * Restore: the worker has an IPC namespace in which they are. Before CRIU's first task reads the
 * first of these images it goes there (setns(2)), and all other tasks are its children. What is
 * there and has no sysv-<id>.img is removed: segments that are CRIU's after all, and whatever an
 * earlier restore has left. Where CRIU makes a segment that is there, shmget(2) finds it and makes
 * it what CRIU wants. The namespace is named in a file, which is missing when there are none:
 *
 *	$REBERTH_IPC		"<pid> <descriptor> <inode>\n"
 *
 * What must always hold: a segment whose pages CRIU has not dumped is never restored as zeros. An
 * image sysv-<id>.img is only opened for a segment that was found there; a CRIU without this
 * library looks for one of another name, and fails.
 */
#include "criu_sysv.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXPORT	    __attribute__((visibility("default")))
#define NEXT_ID	    "/proc/sys/kernel/shm_next_id"
#define PERMISSIONS 0777

enum { SEGMENTS_MAX = 1024, NONE = -1 };

typedef int shmget_fn(key_t key, size_t size, int flags);

static struct {
	int id;	      /* that CRIU has attached, or NONE */
	bool hidden;  /* and it writes the image in which nothing is, */
	bool arrived; /* or reads that */
} attached = { .id = NONE };

/* of the namespace that this task went to */
static struct {
	int ids[SEGMENTS_MAX];
	size_t n;
	int taken; /* that CRIU made last, as it believes */
} there = { .taken = NONE };

static void name_image(char ret[32], unsigned long id)
{
	snprintf(ret, 32, "sysv-%lu.img", id);
}

/* --- dump --- */

static bool is_listed(openat_fn *openat, unsigned long id)
{
	static uint64_t pairs[SEGMENTS_MAX][2];
	static ssize_t len = -1;
	const char *dir = getenv("REBERTH_SKIP");
	char path[PATH_MAX];
	int fd;

	if (len < 0 && dir && snprintf(path, sizeof(path), "%s/sysv", dir) < (int)sizeof(path)) {
		fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
		len = fd < 0 ? 0 : read(fd, pairs, sizeof(pairs));
		if (fd >= 0)
			close(fd);
	}
	for (size_t i = 0; len > 0 && i < (size_t)len / sizeof(pairs[0]); i++)
		if (pairs[i][1] == id)
			return true;
	return false;
}

bool sysv_has_attached(unsigned long number)
{
	return attached.id != NONE && number == (unsigned long)attached.id;
}

bool sysv_is_hidden(int fd)
{
	struct stat st;

	return attached.hidden && fstat(fd, &st) == 0 && st.st_ino == (ino_t)attached.id;
}

bool sysv_has_arrived(void)
{
	return attached.arrived;
}

/* An image of the usual name may be that of an object with the same number. */
int sysv_open_image(openat_fn *openat, int images, const char *path, int flags, mode_t mode,
		    unsigned long number)
{
	char other[32];
	int fd;

	name_image(other, number);
	if (flags & O_CREAT) {
		attached.hidden = is_listed(openat, number);
		return openat(images, attached.hidden ? other : path, flags, mode);
	}
	fd = openat(images, other, flags);
	if (fd < 0)
		return errno == ENOENT ? openat(images, path, flags) : -1;
	attached.arrived = there.taken == attached.id;
	if (attached.arrived)
		return fd;
	close(fd);
	errno = ESTALE;
	return -1;
}

EXPORT void *shmat(int id, const void *addr, int flags)
{
	static void *(*real)(int, const void *, int);
	void *at;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "shmat");
	at = real(id, addr, flags);
	attached.id = at == (void *)-1 ? NONE : id;
	attached.hidden = attached.arrived = false;
	return at;
}

EXPORT int shmdt(const void *addr)
{
	static int (*real)(const void *);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "shmdt");
	attached.id = NONE;
	attached.hidden = attached.arrived = false;
	return real(addr);
}

/* --- restore --- */

/* "ipcns-var-9.img" */
static bool is_first_image(const char *image)
{
	unsigned int number;
	int end = 0;

	return sscanf(image, "ipcns-var-%u.img%n", &number, &end) == 1 && end > 0 &&
	       image[end] == '\0';
}

static void remove_semaphores(void)
{
	union {
		struct seminfo *info;
		struct semid_ds *ds;
	} arg;
	struct seminfo info;
	struct semid_ds ds;
	int max;

	arg.info = &info;
	max = semctl(0, 0, SEM_INFO, arg);
	arg.ds = &ds;
	for (int i = 0; i <= max; i++) {
		int id = semctl(i, 0, SEM_STAT, arg);

		if (id >= 0)
			semctl(id, 0, IPC_RMID);
	}
}

static void remove_messages(void)
{
	struct msginfo info;
	struct msqid_ds ds;
	int max = msgctl(0, MSG_INFO, (struct msqid_ds *)&info);

	for (int i = 0; i <= max; i++) {
		int id = msgctl(i, MSG_STAT, &ds);

		if (id >= 0)
			msgctl(id, IPC_RMID, NULL);
	}
}

/* Those that have arrived are noted, and others removed. */
static void sort_segments(int images)
{
	struct shm_info info;
	struct shmid_ds ds;
	int max = shmctl(0, SHM_INFO, (struct shmid_ds *)&info);

	for (int i = 0; i <= max; i++) {
		int id = shmctl(i, SHM_STAT, &ds);
		char image[32];

		if (id < 0)
			continue;
		name_image(image, (unsigned long)id);
		if (faccessat(images, image, F_OK, 0) == 0 && there.n < SEGMENTS_MAX)
			there.ids[there.n++] = id;
		else
			shmctl(id, IPC_RMID, NULL);
	}
}

bool sysv_join(openat_fn *openat, int images, const char *image)
{
	const char *path = getenv("REBERTH_IPC");
	int fd;

	if (!path || !is_first_image(image))
		return true;
	fd = criu_open_handed(openat, images, path, O_RDONLY);
	/* if there has to be one, its segments will be missing */
	if (fd == -ENODATA)
		return true;
	if (fd < 0) {
		errno = -fd;
		return false;
	}
	if (setns(fd, CLONE_NEWIPC) < 0) {
		close(fd);
		return false;
	}
	close(fd);
	there.n = 0;
	remove_semaphores();
	remove_messages();
	sort_segments(images);
	return true;
}

/* CRIU has written it to where the kernel looks for it. */
static int wanted_id(void)
{
	FILE *file = fopen(NEXT_ID, "re");
	int id = NONE;

	if (file) {
		if (fscanf(file, "%d", &id) != 1)
			id = NONE;
		fclose(file);
	}
	return id;
}

static bool is_there(int id)
{
	for (size_t i = 0; i < there.n; i++)
		if (there.ids[i] == id)
			return true;
	return false;
}

/* The id that CRIU has asked for is there already, and would be in force for whoever makes a
 * segment next. It cannot be taken back, but used up, by one that gets another place, and is
 * removed. */
static void forget_wanted(shmget_fn *real)
{
	int id = real(IPC_PRIVATE, 1, 0600);

	if (id >= 0)
		shmctl(id, IPC_RMID, NULL);
}

/* Owners CRIU sets itself. */
static int take(shmget_fn *real, int id, key_t key, size_t size, int flags)
{
	struct shmid_ds ds;

	if (shmctl(id, IPC_STAT, &ds) < 0)
		return -1;
	if (ds.shm_segsz != size || ds.shm_perm.__key != key) {
		errno = ESTALE;
		return -1;
	}
	ds.shm_perm.mode = (unsigned short)(flags & PERMISSIONS);
	if (shmctl(id, IPC_SET, &ds) < 0)
		return -1;
	forget_wanted(real);
	there.taken = id;
	return id;
}

EXPORT int shmget(key_t key, size_t size, int flags)
{
	static shmget_fn *real;
	int id;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "shmget");
	if (there.n == 0 || !(flags & IPC_CREAT))
		return real(key, size, flags);
	id = wanted_id();
	return is_there(id) ? take(real, id, key, size, flags) : real(key, size, flags);
}
