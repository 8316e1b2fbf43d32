// SPDX-License-Identifier: Apache-2.0
/*
 * states_sysv.c - segments of System V shared memory that are large enough to travel in rounds, and
 * are written all the time: one with a key, an owner and a mapping that may only be read, and one
 * that is removed as soon as the last has detached it; and one that is not attached, but to be
 * looked at
 */
#include "states.h"

#include <sys/shm.h>

#define PAGE		4096
#define PAGES		512
#define SIZE		(PAGES * PAGE - 100)
#define OWN_PAGES	(PAGES / STATES_PROCESSES)
#define CHECKED		16 /* pages a round */
#define REWRITTEN	4
#define ATTACHED_ROUNDS 40
#define DETACHED	(960 << 10)
#define KEY		0x51a7e5
#define OWNER		1000
#define GROUP		1001
#define PERMISSIONS	0640

struct segment {
	const char *name;
	int id;
	uint8_t *data;
	const uint8_t *same; /* the other mapping, or NULL */
	uint32_t generations[OWN_PAGES];
};

static struct segment keyed = { .name = "sysv-keyed" }, removed = { .name = "sysv-removed" };

/* Each process has every so many pages. */
static size_t page_of(size_t i)
{
	return i * STATES_PROCESSES + (size_t)states_self;
}

static uint64_t key_of(const struct segment *segment, size_t i)
{
	return victim_mix(states_key(segment->name) + i) + segment->generations[i];
}

static void make(struct segment *segment, int key)
{
	segment->id = (int)states_need(shmget(key, SIZE, IPC_CREAT | PERMISSIONS), "shmget");
	segment->data = shmat(segment->id, NULL, 0);
	states_need((long)(intptr_t)segment->data, "shmat");
}

static void before_fork_keyed(void)
{
	struct shmid_ds info;

	make(&keyed, KEY);
	states_need(shmctl(keyed.id, IPC_STAT, &info), "sysv-keyed: its owner");
	info.shm_perm.uid = OWNER;
	info.shm_perm.gid = GROUP;
	states_need(shmctl(keyed.id, IPC_SET, &info), "sysv-keyed: another owner");
	keyed.same = shmat(keyed.id, NULL, SHM_RDONLY);
	states_need((long)(intptr_t)keyed.same, "sysv-keyed: to read");
}

static void before_fork_removed(void)
{
	make(&removed, IPC_PRIVATE);
	states_need(shmctl(removed.id, IPC_RMID, NULL), "sysv-removed: remove it");
}

static void fill(struct segment *segment)
{
	for (size_t i = 0; i < OWN_PAGES; i++)
		victim_fill(segment->data + page_of(i) * PAGE, PAGE, key_of(segment, i), 0);
}

static void setup_keyed(void)
{
	fill(&keyed);
}

static void setup_removed(void)
{
	fill(&removed);
}

static void check(struct segment *segment, uint64_t round)
{
	for (size_t k = 0; k < CHECKED; k++) {
		size_t i = (round * CHECKED + k) % OWN_PAGES, page = page_of(i);

		if (victim_check(segment->data + page * PAGE, PAGE, key_of(segment, i), 0) >= 0)
			states_bad("%s: page %zu of generation %u differs", segment->name, page,
				   segment->generations[i]);
		if (segment->same &&
		    memcmp(segment->data + page * PAGE, segment->same + page * PAGE, PAGE) != 0)
			states_bad("%s: two mappings of page %zu differ", segment->name, page);
	}
	for (size_t k = 0; k < REWRITTEN; k++) {
		size_t i = victim_mix(round * REWRITTEN + k) % OWN_PAGES;

		segment->generations[i]++;
		victim_fill(segment->data + page_of(i) * PAGE, PAGE, key_of(segment, i), 0);
	}
}

static void check_keyed(uint64_t round)
{
	struct shmid_ds info;

	check(&keyed, round);
	if (shmget(KEY, 0, 0) != keyed.id)
		states_bad("sysv-keyed: its key is another's");
	states_need(shmctl(keyed.id, IPC_STAT, &info), "sysv-keyed: by its id");
	if (info.shm_segsz != SIZE || (info.shm_nattch != 2 * STATES_PROCESSES && !states_ending))
		states_bad("sysv-keyed: %zu bytes, attached %lu times", info.shm_segsz,
			   (unsigned long)info.shm_nattch);
	if (info.shm_perm.uid != OWNER || info.shm_perm.gid != GROUP ||
	    info.shm_perm.mode != PERMISSIONS)
		states_bad("sysv-keyed: of %u:%u, mode %o", info.shm_perm.uid, info.shm_perm.gid,
			   info.shm_perm.mode);
}

/* Where it moved to somebody else has it attached, until it runs. */
static void check_removed(uint64_t round)
{
	static uint64_t since;
	struct shmid_ds info;

	check(&removed, round);
	states_need(shmctl(removed.id, IPC_STAT, &info), "sysv-removed: by its id");
	if (info.shm_segsz != SIZE || info.shm_perm.mode != (SHM_DEST | PERMISSIONS))
		states_bad("sysv-removed: %zu bytes, mode %o", info.shm_segsz, info.shm_perm.mode);
	if (info.shm_nattch == STATES_PROCESSES)
		since = round;
	else if (round > since + ATTACHED_ROUNDS)
		states_bad("sysv-removed: attached %lu times", (unsigned long)info.shm_nattch);
}

/* too small to travel in rounds */
static int detached_id;

static void before_fork_detached(void)
{
	uint8_t *at;

	detached_id = (int)states_need(shmget(IPC_PRIVATE, DETACHED, PERMISSIONS), "shmget");
	at = shmat(detached_id, NULL, 0);
	states_need((long)(intptr_t)at, "shmat");
	victim_fill(at, DETACHED, DETACHED, 0);
	shmdt(at);
}

static void check_detached(uint64_t round)
{
	uint8_t *at;
	int64_t differs;

	if (round % 10)
		return;
	at = shmat(detached_id, NULL, SHM_RDONLY);
	states_need((long)(intptr_t)at, "sysv-detached: by its id");
	differs = victim_check(at, DETACHED, DETACHED, 0);
	if (differs >= 0)
		states_bad("sysv-detached: differs from byte %lld on", (long long)differs);
	shmdt(at);
}

const struct feature states_sysv[] = {
	{ "sysv-keyed", before_fork_keyed, setup_keyed, check_keyed },
	{ "sysv-removed", before_fork_removed, setup_removed, check_removed },
	{ "sysv-detached", before_fork_detached, NULL, check_detached },
	{ NULL, NULL, NULL, NULL },
};
