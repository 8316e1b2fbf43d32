// SPDX-License-Identifier: Apache-2.0
/*
 * shared_victim.c - processes with shared memory that they know by heart
 *
 * `shared_victim FOLDER`: a parent and two children have an anonymous object, a memfd, and two
 * segments of System V, one of which the parent may only read, in an IPC namespace of their own.
 * Beside these there is what CRIU has to restore there: a segment that nobody has attached,
 * messages and semaphores. Each child writes pages of its own, at random, and keeps what it wrote
 * last in private memory. On SIGUSR1 it compares, and writes "good" or what is wrong into
 * FOLDER/<number>. The parent only has them.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 4096, CHILDREN = 2, OBJECTS = 4, KEY = 0x4711 };

static volatile sig_atomic_t asked;
static uint64_t *objects[OBJECTS], *written[OBJECTS];

static void ask(int sig)
{
	(void)sig;
	asked = 1;
}

/* Each has every other page; those of the last quarter nobody writes. */
static int is_mine(int number, int page)
{
	return page % CHILDREN == number && page < PAGES - PAGES / 4;
}

static void scribble(int number)
{
	int k = rand() % OBJECTS, page = rand() % PAGES, at = page * PAGE / 8 + rand() % (PAGE / 8);

	if (!is_mine(number, page))
		return;
	written[k][at] = objects[k][at] = (uint64_t)rand() << 16 | (uint64_t)number;
}

static void tell(int number)
{
	char text[64] = "good\n", draft[16], name[16];
	FILE *file;

	for (int k = 0; k < OBJECTS; k++)
		for (int page = 0; page < PAGES; page++)
			if ((is_mine(number, page) || page >= PAGES - PAGES / 4) &&
			    memcmp(objects[k] + page * PAGE / 8, written[k] + page * PAGE / 8,
				   PAGE) != 0)
				snprintf(text, sizeof(text), "object %d, page %d\n", k, page);
	snprintf(draft, sizeof(draft), "%d.new", number);
	snprintf(name, sizeof(name), "%d", number);
	file = fopen(draft, "w");
	if (!file || fputs(text, file) < 0 || fclose(file) != 0 || rename(draft, name) < 0)
		_exit(1);
}

static void be_child(int number)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	srand((unsigned int)number + 1);
	/* calloc() touches all of it where the tests want to see what is used before it is set */
	for (int k = 0; k < OBJECTS; k++)
		written[k] = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (;;) {
		for (int i = 0; i < 50; i++)
			scribble(number);
		usleep(500);
		if (asked) {
			asked = 0;
			tell(number);
		}
	}
}

/* What a segment has that is not what it would have by default. */
static void *attach(key_t key, size_t size, int mode, uid_t uid)
{
	int id = shmget(key, size, IPC_CREAT | mode);
	struct shmid_ds ds;

	if (shmctl(id, IPC_STAT, &ds) < 0)
		return (void *)-1;
	ds.shm_perm.uid = uid;
	ds.shm_perm.gid = uid + 1;
	return shmctl(id, IPC_SET, &ds) < 0 ? (void *)-1 : shmat(id, NULL, 0);
}

static int make_more(void)
{
	struct {
		long type;
		char text[8];
	} message = { 1, "message" };
	int queue = msgget(KEY, IPC_CREAT | 0600);

	return semget(KEY, 3, IPC_CREAT | 0600) < 0 ||
			       shmget(KEY + 1, PAGE, IPC_CREAT | 0600) < 0 ||
			       msgsnd(queue, &message, sizeof(message.text), 0) < 0
		       ? -1
		       : 0;
}

/* a hole in its ids, and what is attached is one to a child, too */
static int make_segments(size_t size)
{
	int first = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600);

	objects[2] = attach(KEY, size - 100, 0640, 1000);
	objects[3] = attach(IPC_PRIVATE, size, 0600, 0);
	shmctl(first, IPC_RMID, NULL);
	return first < 0 || objects[2] == (void *)-1 || objects[3] == (void *)-1 ? -1 : make_more();
}

static void read_only(void)
{
	shmdt(objects[3]);
	shmdt(objects[2]);
	objects[2] = shmat(shmget(KEY, 0, 0), NULL, SHM_RDONLY);
	if (objects[2] == (void *)-1)
		_exit(1);
}

int main(int argc, char **argv)
{
	size_t size = (size_t)PAGES * PAGE;
	int fd = memfd_create("kept", MFD_ALLOW_SEALING);

	if (argc != 2 || chdir(argv[1]) < 0 || setsid() < 0 || ftruncate(fd, (off_t)size) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_GROW) < 0)
		return 1;
	objects[0] = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	objects[1] = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (objects[0] == MAP_FAILED || objects[1] == MAP_FAILED || unshare(CLONE_NEWIPC) < 0 ||
	    make_segments(size) < 0)
		return 1;
	signal(SIGUSR1, ask);
	for (int i = 0; i < CHILDREN; i++)
		if (fork() == 0)
			be_child(i);
	signal(SIGUSR1, SIG_IGN);
	read_only();
	close(open("ready", O_CREAT | O_WRONLY, 0600));
	for (;;)
		pause();
}
