// SPDX-License-Identifier: Apache-2.0
/*
 * states_memory.c - memory of all kinds: private, shared by inheritance, memfd, System V
 */
#include "states.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/shm.h>

#define PAGE	      4096
#define REGION	      65536
#define PRIVATE_PAGES 4096 /* 16 MiB in the main process */
#define CHILD_PAGES   1024
#define CHECKED	      64 /* pages a round: all of them within 4 seconds */
#define REWRITTEN     8

static uint8_t *map_need(size_t len, int flags, int fd)
{
	uint8_t *at = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (at == MAP_FAILED)
		states_bad("mmap: %s", strerror(errno));
	return at;
}

static uint8_t *private_data;
static uint32_t generations[PRIVATE_PAGES];
static size_t private_pages;

static uint64_t page_key(size_t page)
{
	return victim_mix(states_key("private") + page) + generations[page];
}

static void setup_private(void)
{
	private_pages = states_self ? CHILD_PAGES : PRIVATE_PAGES;
	private_data = map_need(private_pages * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	for (size_t i = 0; i < private_pages; i++)
		victim_fill(private_data + i * PAGE, PAGE, page_key(i), 0);
}

static void check_private(uint64_t round)
{
	for (size_t i = 0; i < CHECKED; i++) {
		size_t page = (round * CHECKED + i) % private_pages;

		if (victim_check(private_data + page * PAGE, PAGE, page_key(page), 0) >= 0)
			states_bad("private memory: page %zu of generation %u differs", page,
				   generations[page]);
	}
	for (size_t i = 0; i < REWRITTEN; i++) {
		size_t page = victim_mix(round * REWRITTEN + i) % private_pages;

		generations[page]++;
		victim_fill(private_data + page * PAGE, PAGE, page_key(page), 0);
	}
}

/* one page of known content, one of counters that each process keeps moving */
struct shared {
	uint8_t pattern[PAGE];
	_Atomic uint64_t beats[STATES_PROCESSES];
};
static struct shared *shared;
static uint64_t beats_seen[STATES_PROCESSES], beats_quiet[STATES_PROCESSES];

static void before_fork_shared(void)
{
	shared = (void *)map_need(sizeof(*shared), MAP_SHARED | MAP_ANONYMOUS, -1);
	victim_fill(shared->pattern, PAGE, 0x5a, 0);
}

static void check_shared(uint64_t round)
{
	if (victim_check(shared->pattern, PAGE, 0x5a, 0) >= 0)
		states_bad("shared memory: differs");
	if (atomic_exchange(&shared->beats[states_self], round + 1) != round)
		states_bad("shared memory: my counter differs");
	for (int i = 0; i < STATES_PROCESSES; i++) {
		uint64_t beat = atomic_load(&shared->beats[i]);

		if (beat < beats_seen[i])
			states_bad("shared memory: counter of process %d went back", i);
		beats_quiet[i] = beat == beats_seen[i] ? beats_quiet[i] + 1 : 0;
		beats_seen[i] = beat;
		if (beats_quiet[i] > STATES_STUCK)
			states_bad("shared memory: process %d stands still", i);
	}
}

static uint8_t *memfd_data;
static int memfd;

static void setup_memfd(void)
{
	memfd = (int)states_need(memfd_create("states", MFD_ALLOW_SEALING), "memfd_create");
	states_need(ftruncate(memfd, REGION), "memfd: ftruncate");
	memfd_data = map_need(REGION, MAP_SHARED, memfd);
	victim_fill(memfd_data, REGION, states_key("memfd"), 0);
	states_need(fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK), "memfd: seal");
}

static void check_memfd(uint64_t round)
{
	static uint8_t copy[REGION];
	uint64_t mark = round;

	if (victim_check(memfd_data, REGION - 8, states_key("memfd"), 0) >= 0)
		states_bad("memfd: mapped content differs");
	if (fcntl(memfd, F_GET_SEALS) != F_SEAL_SHRINK)
		states_bad("memfd: seals differ");
	/* mapping and file are one */
	memcpy(memfd_data + REGION - 8, &mark, sizeof(mark));
	if (pread(memfd, copy, REGION, 0) != REGION || memcmp(copy, memfd_data, REGION) != 0)
		states_bad("memfd: file and mapping differ");
}

static uint8_t *sysv_data;
static int sysv_id, sysv_owner;

static void remove_sysv(void)
{
	if (getpid() == sysv_owner)
		shmctl(sysv_id, IPC_RMID, NULL);
}

static void before_fork_sysv(void)
{
	sysv_owner = getpid();
	sysv_id = (int)states_need(shmget(IPC_PRIVATE, REGION, IPC_CREAT | 0600), "shmget");
	sysv_data = shmat(sysv_id, NULL, 0);
	states_need((long)(intptr_t)sysv_data, "shmat");
	atexit(remove_sysv);
	victim_fill(sysv_data, REGION, 0x51, 0);
}

static void check_sysv(uint64_t round)
{
	struct shmid_ds info;
	int64_t differs;

	(void)round;
	differs = victim_check(sysv_data, REGION, 0x51, 0);
	if (differs >= 0)
		states_bad("sysv-shm: content differs from byte %lld on (%#x)", (long long)differs,
			   sysv_data[differs]);
	states_need(shmctl(sysv_id, IPC_STAT, &info), "sysv-shm: by its id");
	if (info.shm_segsz != REGION || (info.shm_nattch != STATES_PROCESSES && !states_ending))
		states_bad("sysv-shm: %zu bytes, attached %lu times", info.shm_segsz,
			   (unsigned long)info.shm_nattch);
}

const struct feature states_memory[] = {
	{ "private", NULL, setup_private, check_private },
	{ "shared", before_fork_shared, NULL, check_shared },
	{ "memfd", NULL, setup_memfd, check_memfd },
	{ "sysv-shm", before_fork_sysv, NULL, check_sysv },
	{ NULL, NULL, NULL, NULL },
};
