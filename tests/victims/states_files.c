// SPDX-License-Identifier: Apache-2.0
/*
 * states_files.c - open files: positions, deleted ones, mappings and locks
 */
#include "states.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define SIZE	 65536
#define POSITION 1234
#define NAME_LEN 64

/* Return: descriptor of a new file "states-<kind>-<process>" */
static int make_file(const char *kind, char ret_name[NAME_LEN])
{
	snprintf(ret_name, NAME_LEN, "states-%s-%d", kind, states_self);
	unlink(ret_name);
	return (int)states_need(open(ret_name, O_RDWR | O_CREAT | O_EXCL, 0600), ret_name);
}

static void write_content(int fd, const char *kind)
{
	static _Thread_local uint8_t content[SIZE];

	victim_fill(content, SIZE, states_key(kind), 0);
	if (pwrite(fd, content, SIZE, 0) != SIZE)
		states_bad("%s: write: %s", kind, strerror(errno));
}

static void check_content(int fd, const char *kind)
{
	static _Thread_local uint8_t content[SIZE];

	if (pread(fd, content, SIZE, 0) != SIZE ||
	    victim_check(content, SIZE, states_key(kind), 0) >= 0)
		states_bad("%s: content differs", kind);
}

static int deleted_fd;

static void setup_deleted(void)
{
	char name[NAME_LEN];

	deleted_fd = make_file("deleted", name);
	write_content(deleted_fd, "deleted");
	states_need(lseek(deleted_fd, POSITION, SEEK_SET), "lseek");
	states_need(unlink(name), "unlink");
}

static void check_deleted(uint64_t round)
{
	struct stat st;

	(void)round;
	check_content(deleted_fd, "deleted");
	states_need(fstat(deleted_fd, &st), "deleted: fstat");
	if (lseek(deleted_fd, 0, SEEK_CUR) != POSITION || st.st_size != SIZE || st.st_nlink != 0)
		states_bad("deleted: position, size or links differ");
}

static int log_fd, log_reader;
static char log_name[NAME_LEN];

static void setup_file(void)
{
	close(make_file("log", log_name));
	log_fd = (int)states_need(open(log_name, O_WRONLY | O_APPEND), log_name);
	log_reader = (int)states_need(open(log_name, O_RDONLY), log_name);
}

/* one writer that appends, one reader that follows, each with its own position */
static void check_file(uint64_t round)
{
	uint64_t got = 0;
	struct stat by_fd, by_name;

	if (write(log_fd, &round, sizeof(round)) != (ssize_t)sizeof(round))
		states_bad("file: append: %s", strerror(errno));
	if (read(log_reader, &got, sizeof(got)) != (ssize_t)sizeof(got) || got != round)
		states_bad("file: read %llu in round %llu", (unsigned long long)got,
			   (unsigned long long)round);
	states_need(fstat(log_fd, &by_fd), "file: fstat");
	states_need(stat(log_name, &by_name), "file: stat");
	if (by_fd.st_ino != by_name.st_ino || by_fd.st_size != (off_t)((round + 1) * 8))
		states_bad("file: another file, or of another size");
	if (!(fcntl(log_fd, F_GETFL) & O_APPEND))
		states_bad("file: no longer appends");
}

static int mapped_fd;
static uint8_t *mapped;

static void setup_mmap_file(void)
{
	char name[NAME_LEN];

	mapped_fd = make_file("mapped", name);
	write_content(mapped_fd, "mapped");
	mapped = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, mapped_fd, 0);
	if (mapped == MAP_FAILED)
		states_bad("mmap-file: %s", strerror(errno));
}

static void check_mmap_file(uint64_t round)
{
	uint64_t got = 0;

	if (victim_check(mapped + 8, SIZE - 8, states_key("mapped"), 8) >= 0)
		states_bad("mmap-file: content differs");
	memcpy(mapped, &round, sizeof(round));
	if (pread(mapped_fd, &got, sizeof(got), 0) != (ssize_t)sizeof(got) || got != round)
		states_bad("mmap-file: file and mapping differ");
}

static int flock_fd;
static char flock_name[NAME_LEN];

static void setup_flock(void)
{
	flock_fd = make_file("flock", flock_name);
	states_need(flock(flock_fd, LOCK_EX), "flock");
}

static void check_flock(uint64_t round)
{
	int other = open(flock_name, O_RDWR | O_CLOEXEC);

	(void)round;
	states_need(other, flock_name);
	if (flock(other, LOCK_EX | LOCK_NB) == 0)
		states_bad("flock: the lock is gone");
	close(other);
}

/* the main process holds it, the children see it */
static int posix_fd;

static void before_fork_posix(void)
{
	struct flock lock = { .l_type = F_WRLCK, .l_start = 10, .l_len = 20 };
	char name[NAME_LEN];

	posix_fd = make_file("posix", name);
	states_need(fcntl(posix_fd, F_SETLK, &lock), "posix-lock");
}

static void check_posix(uint64_t round)
{
	struct flock lock = { .l_type = F_RDLCK };

	(void)round;
	if (states_self == 0)
		return;
	states_need(fcntl(posix_fd, F_GETLK, &lock), "posix-lock");
	if (lock.l_type != F_WRLCK || lock.l_start != 10 || lock.l_len != 20)
		states_bad("posix-lock: the lock is gone");
	if (lock.l_pid != getppid())
		states_bad("posix-lock: held by %d, not by %d", lock.l_pid, getppid());
}

const struct feature states_files[] = {
	{ "deleted", NULL, setup_deleted, check_deleted },
	{ "file", NULL, setup_file, check_file },
	{ "mmap-file", NULL, setup_mmap_file, check_mmap_file },
	{ "flock", NULL, setup_flock, check_flock },
	{ "posix-lock", before_fork_posix, NULL, check_posix },
	{ NULL, NULL, NULL, NULL },
};
