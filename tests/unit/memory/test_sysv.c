// SPDX-License-Identifier: Apache-2.0
/*
 * test_sysv.c - segments of System V shared memory in rounds: they arrive in a namespace of their
 * own, with ids, keys, owners and content; what changed after the last look is left out
 *
 * A child has the segments, in an IPC namespace of its own, and does what it is told. This process
 * writes to them by the child's mappings.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block.h"
#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "objects.h"
#include "pack.h"
#include "receive.h"
#include "record.h"
#include "segments.h"
#include "shared.h"
#include "shared_internal.h"
#include "shuffle.h"
#include "sysv.h"
#include "tap.h"
#include "thread.h"
#include "wait.h"

enum {
	PAGES = 512,
	SIZE = PAGES * RB_PAGE_SIZE - 1000,
	SUMS = PAGES * 8 / RB_PAGE_SIZE, /* pages for what is known of one that has some */
	KEY = 0x5eed,
	UID = 1234,
};

struct told {
	int keyed, private, later; /* ids */
	void *at;		   /* where the first one is */
};

static pid_t child;
static int orders, answers;
static struct told told;
static uint8_t *mine; /* the first one, here */
static struct rb_shared *shared;
static struct rb_receiver *receiver;
static struct rb_err err;
static uint64_t sent_pages;
static char dir[] = "/tmp/test_sysv.XXXXXX";

static int take(void *arg, const void *block, size_t len, const struct rb_wait *wait,
		struct rb_err *why)
{
	(void)arg;
	(void)wait;
	return rb_receiver_take(receiver, block, len, why);
}

static int look(void)
{
	int r;

	rb_shared_begin(shared);
	r = rb_shared_add(shared, child, &err);
	rb_shared_end(shared);
	return r;
}

static struct rb_memory_sink sink = { take, NULL };

static int send_round(bool last)
{
	static struct rb_packer *packer;
	_cleanup_block_ struct rb_block *block = NULL;
	int r = packer ? 0 : rb_packer_new(&packer, &err);

	if (r >= 0)
		r = rb_block_new(&sink, packer, &block, &err);
	rb_receiver_begin(receiver, last);
	if (r >= 0)
		r = rb_shared_send(shared, block, last, NULL, &err);
	if (r >= 0)
		r = rb_block_flush(block, NULL, &err);
	if (r >= 0)
		r = shuffle_end(&err);
	sent_pages = rb_block_stats(block)->pages;
	return r < 0 ? r : rb_receiver_end(receiver, &err);
}

static void set_owner(int id, uid_t uid)
{
	struct shmid_ds ds;

	shmctl(id, IPC_STAT, &ds);
	ds.shm_perm.uid = uid;
	shmctl(id, IPC_SET, &ds);
}

static void obey(struct told *is, char order)
{
	if (order == 'o')
		set_owner(is->keyed, UID + 1);
	if (order == 'r')
		shmctl(is->keyed, IPC_RMID, NULL);
	if (order == 'd')
		shmdt(is->at);
	if (order == 'l') {
		is->later = shmget(IPC_PRIVATE, SIZE, 0600);
		shmat(is->later, NULL, 0);
	}
	if (order == 'n') {
		is->keyed = shmget(KEY, SIZE, IPC_CREAT | 0600);
		is->at = shmat(is->keyed, NULL, 0);
	}
}

/* one with a key, one without, one that is too small, and one that nobody has attached */
static void be_child(int in, int out)
{
	struct told is;
	char order;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (unshare(CLONE_NEWIPC) < 0)
		_exit(1);
	shmget(IPC_PRIVATE, SIZE, 0600);
	shmat(shmget(IPC_PRIVATE, RB_PAGE_SIZE, 0600), NULL, 0);
	is.keyed = shmget(KEY, SIZE, IPC_CREAT | 0640);
	is.private = shmget(IPC_PRIVATE, SIZE, 0600);
	set_owner(is.keyed, UID);
	is.at = shmat(is.keyed, NULL, 0);
	shmat(is.private, NULL, SHM_RDONLY);
	do {
		(void)!write(out, &is, sizeof(is));
		if (read(in, &order, 1) != 1)
			_exit(0);
		obey(&is, order);
	} while (order);
}

static bool hear(void)
{
	return read(answers, &told, sizeof(told)) == sizeof(told);
}

static bool tell(char order)
{
	return write(orders, &order, 1) == 1 && hear();
}

static bool map_mine(void)
{
	size_t len = (size_t)PAGES * RB_PAGE_SIZE;
	char path[96];
	int fd;

	if (mine)
		munmap(mine, len);
	snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", (int)child,
		 (unsigned long)told.at, (unsigned long)told.at + len);
	fd = open(path, O_RDWR | O_CLOEXEC);
	mine = fd < 0 ? MAP_FAILED : mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	return mine != MAP_FAILED;
}

static bool begin(void)
{
	int in[2], out[2];

	rb_err_clear(&err);
	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		return false;
	child = fork();
	if (child == 0)
		be_child(in[0], out[1]);
	close(in[0]);
	close(out[1]);
	orders = in[1];
	answers = out[0];
	return hear() && map_mine() && rb_shared_new(&shared, &err) >= 0 &&
	       rb_receiver_new(&receiver, &err) >= 0;
}

static void end_child(void)
{
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	child = 0;
}

static void end(void)
{
	end_child();
	close(orders);
	close(answers);
	rb_shared_free(shared);
	rb_receiver_free(receiver);
	shared = NULL;
	receiver = NULL;
}

static void fill(size_t from, size_t count, int with)
{
	memset(mine + from * RB_PAGE_SIZE, with, count * RB_PAGE_SIZE);
}

/* --- what has arrived */

struct arrived {
	int ipcns, id;
	struct shmid_ds ds;
	int same;  /* as ours */
	int count; /* of segments */
};

static int visit(void *arg, struct rb_err *why)
{
	struct arrived *is = arg;
	struct shm_info info;
	void *at;

	(void)why;
	if (setns(is->ipcns, CLONE_NEWIPC) < 0 || shmctl(0, SHM_INFO, (void *)&info) < 0)
		return -errno;
	is->count = info.used_ids;
	if (shmctl(is->id, IPC_STAT, &is->ds) < 0)
		return -errno;
	at = shmat(is->id, NULL, SHM_RDONLY);
	is->same = at != (void *)-1 && memcmp(at, mine, (size_t)PAGES * RB_PAGE_SIZE) == 0;
	shmdt(at);
	return 0;
}

static int go_and_see(int id, struct arrived *ret)
{
	_cleanup_buf_ struct rb_buf text = {};
	char path[64];
	int pid;

	snprintf(path, sizeof(path), "%s/ipc", dir);
	*ret = (struct arrived){ .id = id };
	if (rb_objects_publish_segments(rb_receiver_objects(receiver), path, &err) < 0 ||
	    rb_read_file(path, 0, &text, &err) < 0 ||
	    sscanf(text.data, "%d %d", &pid, &ret->ipcns) != 2 || pid != getpid())
		return -EIO;
	return rb_thread_run(visit, ret, &err);
}

static void test_rounds(void)
{
	struct arrived is;
	uint64_t bytes;

	CHECK(begin());
	fill(3, 100, 1);
	fill(PAGES - 1, 1, 7); /* and what is behind its end */
	CHECK_INT(look(), 0);
	CHECK_INT(rb_shared_bytes(shared), 101 * RB_PAGE_SIZE);
	CHECK_INT(send_round(false), 0);
	CHECK_INT(sent_pages, 101);
	CHECK_INT(rb_objects_count(rb_receiver_objects(receiver)), 2);
	fill(50, 1, 2);
	fill(60, 1, 0);
	CHECK_INT(rb_shared_pending(shared, &bytes, &err), 0);
	CHECK_INT(bytes, 2 * RB_PAGE_SIZE);
	CHECK_INT(look(), 0);
	CHECK_INT(send_round(false), 0);
	CHECK_INT(sent_pages, 1);
	CHECK_INT(send_round(true), 0);
	CHECK_INT(rb_receiver_pages(receiver), 100 + SUMS);
	CHECK_INT(go_and_see(told.keyed, &is), 0);
	CHECK_INT(is.count, 2);
	CHECK(is.same);
	CHECK_INT(is.ds.shm_segsz, SIZE);
	CHECK_INT(is.ds.shm_perm.__key, KEY);
	CHECK_INT(is.ds.shm_perm.mode, 0640);
	CHECK_INT(is.ds.shm_perm.uid, UID);
	CHECK_INT(is.ds.shm_perm.cuid, 0);
	CHECK_INT(is.ds.shm_nattch, 0);
	CHECK_INT(rb_objects_check(rb_receiver_objects(receiver), &err), 0);
	CHECK_INT(go_and_see(told.private, &is), 0);
	CHECK_INT(is.ds.shm_perm.__key, IPC_PRIVATE);
	end();
}

/* one with another owner, then another one with the same key */
static void test_changes(void)
{
	struct arrived is;

	CHECK(begin());
	fill(0, 10, 1);
	CHECK_INT(look(), 0);
	CHECK_INT(send_round(false), 0);
	CHECK(tell('o'));
	CHECK_INT(look(), 0);
	CHECK_INT(send_round(false), 0);
	CHECK_INT(sent_pages, 10);
	CHECK(tell('r'));
	CHECK_INT(look(), 0);
	CHECK_INT(send_round(false), 0);
	CHECK_INT(go_and_see(told.keyed, &is), 0);
	CHECK(is.same);
	CHECK_INT(is.ds.shm_perm.mode, SHM_DEST | 0640);
	CHECK_INT(is.ds.shm_perm.uid, UID + 1);
	CHECK_INT(is.ds.shm_nattch, 1);
	CHECK_INT(is.count, 2);
	CHECK(tell('d'));
	CHECK(tell('n'));
	CHECK(map_mine());
	fill(0, 20, 2);
	CHECK_INT(look(), 0);
	CHECK_INT(send_round(false), 0);
	CHECK_INT(send_round(true), 0);
	CHECK_INT(rb_objects_count(rb_receiver_objects(receiver)), 2);
	CHECK_INT(go_and_see(told.keyed, &is), 0);
	CHECK_INT(is.count, 2);
	CHECK(is.same);
	CHECK_INT(is.ds.shm_perm.uid, 0);
	end();
}

struct attaching {
	int ipcns, id;
	void *at;
};

static int attach(void *arg, struct rb_err *why)
{
	struct attaching *is = arg;

	(void)why;
	if (setns(is->ipcns, CLONE_NEWIPC) < 0)
		return -errno;
	is->at = shmat(is->id, NULL, 0);
	return is->at == (void *)-1 ? -errno : 0;
}

/* One that ends with its last user ends with the container's, not with ours. */
static void test_let_go(void)
{
	struct attaching user;
	struct arrived is;

	CHECK(begin());
	CHECK(tell('r'));
	CHECK_INT(look(), 0);
	CHECK_INT(send_round(true), 0);
	CHECK_INT(go_and_see(told.keyed, &is), 0);
	user = (struct attaching){ .ipcns = is.ipcns, .id = told.keyed };
	CHECK_INT(rb_thread_run(attach, &user, &err), 0);
	CHECK_INT(go_and_see(told.keyed, &is), 0);
	CHECK_INT(is.ds.shm_nattch, 2);
	rb_objects_let_go(rb_receiver_objects(receiver));
	CHECK_INT(go_and_see(told.keyed, &is), 0);
	CHECK_INT(is.ds.shm_nattch, 1);
	CHECK_INT(is.count, 2);
	CHECK_INT(shmdt(user.at), 0);
	CHECK(go_and_see(told.keyed, &is) < 0);
	CHECK_INT(is.count, 1);
	end();
}

static bool is_listed(uint64_t id)
{
	_cleanup_buf_ struct rb_buf list = {};
	char path[64];
	bool found = false;

	snprintf(path, sizeof(path), "%s/sysv", dir);
	if (rb_shared_hide(shared, dir, &err) < 0 || rb_read_file(path, 0, &list, &err) < 0)
		return false;
	for (size_t i = 0; i + 16 <= list.len; i += 16)
		found = found || memcmp(list.data + i + 8, &id, sizeof(id)) == 0;
	return found;
}

/* after the last look, before the container stands still */
static void test_too_late(void)
{
	CHECK(begin());
	CHECK_INT(look(), 0);
	CHECK_INT(send_round(false), 0);
	CHECK(is_listed((uint64_t)told.keyed));
	CHECK(tell('o'));
	CHECK(!is_listed((uint64_t)told.keyed));
	CHECK(is_listed((uint64_t)told.private));
	CHECK_INT(send_round(true), 0);
	CHECK_INT(rb_objects_count(rb_receiver_objects(receiver)), 1);
	end();
}

/* Who detaches a segment does not change it, and who makes one is too late. */
static void test_moments_too_late(void)
{
	struct arrived is;

	CHECK(begin());
	fill(3, 50, 1);
	CHECK_INT(look(), 0);
	CHECK_INT(send_round(false), 0);
	fill(3, 1, 2);
	CHECK(tell('d'));
	CHECK(tell('l'));
	CHECK(is_listed((uint64_t)told.keyed));
	CHECK(!is_listed((uint64_t)told.later));
	CHECK_INT(send_round(true), 0);
	CHECK_INT(rb_objects_count(rb_receiver_objects(receiver)), 2);
	CHECK_INT(go_and_see(told.keyed, &is), 0);
	CHECK(is.same);
	end();
}

/* Others of the container may have the segments still. */
static void test_process_ends(void)
{
	struct arrived is;

	CHECK(begin());
	fill(3, 50, 1);
	CHECK_INT(look(), 0);
	CHECK_INT(send_round(false), 0);
	end_child();
	CHECK(is_listed((uint64_t)told.keyed));
	CHECK(is_listed((uint64_t)told.private));
	CHECK_INT(send_round(true), 0);
	CHECK_INT(go_and_see(told.keyed, &is), 0);
	CHECK(is.same);
	end();
}

/* A process that ends while we look at it cannot be asked. */
static int look_untold(bool further)
{
	int r;

	rb_shared_begin(shared);
	r = rb_shared_consider_segment(shared, INT_MAX, "/nowhere", (uint64_t)told.keyed, &err);
	if (r >= 0 && further)
		r = rb_shared_add(shared, child, &err);
	rb_shared_end(shared);
	return r;
}

/* What cannot be told is not a change; what can be told later in the same look is. */
static void test_untold(void)
{
	CHECK(begin());
	CHECK_INT(look(), 0);
	CHECK_INT(send_round(false), 0);
	CHECK_INT(look_untold(false), 0);
	CHECK_INT(send_round(false), 0);
	CHECK_INT(rb_objects_count(rb_receiver_objects(receiver)), 1);
	CHECK_INT(look_untold(true), 0);
	CHECK_INT(send_round(false), 0);
	CHECK_INT(rb_objects_count(rb_receiver_objects(receiver)), 2);
	CHECK(is_listed((uint64_t)told.keyed));
	CHECK(tell('o'));
	CHECK_INT(look_untold(true), 0);
	CHECK_INT(send_round(true), 0);
	CHECK_INT(rb_objects_count(rb_receiver_objects(receiver)), 1);
	CHECK(!is_listed((uint64_t)told.keyed));
	CHECK(is_listed((uint64_t)told.private));
	end();
}

static int scribble(void *arg, struct rb_err *why)
{
	const struct arrived *is = arg;
	uint8_t *at;

	(void)why;
	if (setns(is->ipcns, CLONE_NEWIPC) < 0)
		return -errno;
	at = shmat(is->id, NULL, 0);
	if (at == (void *)-1)
		return -errno;
	at[PAGES / 2 * RB_PAGE_SIZE] = 1;
	return shmdt(at) < 0 ? -errno : 0;
}

/* what tasks that were held and killed wrote is seen */
static void test_check(void)
{
	struct arrived is;

	CHECK(begin());
	fill(3, 50, 1);
	CHECK_INT(look(), 0);
	CHECK_INT(send_round(true), 0);
	CHECK_INT(go_and_see(told.keyed, &is), 0);
	CHECK_INT(rb_objects_check(rb_receiver_objects(receiver), &err), 0);
	CHECK_INT(rb_thread_run(scribble, &is, &err), 0);
	CHECK_INT(rb_objects_check(rb_receiver_objects(receiver), &err), -ESTALE);
	end();
}

/* Blocks of a round overtake each other, and that there is a segment is said more than once: when a
 * new one has the key of one that is gone, too. */
static void test_shuffled(void)
{
	struct arrived is;

	CHECK(begin());
	sink = shuffle_sink;
	shuffle.take = take;
	shuffle.seed = 4716;
	shuffle.overtaken = shuffle.first = 0;
	for (int i = 1; i < 6; i++) {
		fill((size_t)i * 20, 300, i);
		fill((size_t)i * 30, 10, 0);
		CHECK_INT(look(), 0);
		CHECK_INT(send_round(false), 0);
	}
	CHECK(tell('r'));
	CHECK(tell('d'));
	CHECK(tell('n'));
	CHECK(map_mine());
	fill(0, 400, 9);
	CHECK_INT(look(), 0);
	CHECK_INT(send_round(false), 0);
	fill(100, 50, 3);
	CHECK_INT(send_round(true), 0);
	CHECK_INT(sent_pages, 50);
	CHECK(shuffle.first >= 7);
	CHECK(shuffle.overtaken > 10);
	sink = (struct rb_memory_sink){ take, NULL };
	CHECK_INT(go_and_see(told.keyed, &is), 0);
	CHECK_INT(is.count, 2);
	CHECK(is.same);
	end();
}

/* a peer that lies about segments */
static void test_hostile(void)
{
	static uint8_t block[RB_BLOCK_SIZE];
	struct rb_object object = { .inode = 7,
				    .size = SIZE,
				    .kind = RB_OBJECT_SEGMENT,
				    .segment = { KEY, 0600, 0, 0, 0, 0 } };
	struct rb_record name = { RB_RECORD_OBJECT, 1, 0, 0, block + RB_RECORD_HEADER, 0,
				  .shared = true };
	size_t len;

	CHECK(begin());
	rb_receiver_begin(receiver, true);
	object.size = 0;
	name.len = rb_record_put_object(block + RB_RECORD_HEADER, &object);
	len = rb_record_encode(block, &name);
	CHECK(rb_receiver_take(receiver, block, len, NULL) < 0);
	object.size = SIZE;
	name.len = rb_record_put_object(block + RB_RECORD_HEADER, &object);
	len = rb_record_encode(block, &name);
	CHECK_INT(rb_receiver_take(receiver, block, len, &err), 0);
	/* two with one key; the same one with another size */
	name.task = 2;
	object.inode = 8;
	rb_record_put_object(block + RB_RECORD_HEADER, &object);
	rb_record_encode(block, &name);
	CHECK_INT(rb_receiver_take(receiver, block, len, NULL), -EEXIST);
	name.task = 1;
	object.inode = 7;
	object.size++;
	rb_record_put_object(block + RB_RECORD_HEADER, &object);
	rb_record_encode(block, &name);
	CHECK_INT(rb_receiver_take(receiver, block, len, NULL), -EPROTO);
	CHECK_INT(rb_objects_count(rb_receiver_objects(receiver)), 1);
	end();
}

static int take_name(int number, uint64_t id, int key, bool known)
{
	static uint8_t block[RB_BLOCK_SIZE];
	struct rb_object object = { .inode = id,
				    .size = SIZE,
				    .kind = RB_OBJECT_SEGMENT,
				    .known = known,
				    .segment = { key, 0600, 0, 0, 0, 0 } };
	struct rb_record name = { RB_RECORD_OBJECT, number, 0, 0, block + RB_RECORD_HEADER, 0,
				  .shared = true };

	name.len = rb_record_put_object(block + RB_RECORD_HEADER, &object);
	return rb_receiver_take(receiver, block, rb_record_encode(block, &name), &err);
}

static int take_page(int number, uint8_t with)
{
	static uint8_t block[RB_BLOCK_SIZE];
	static uint8_t page[RB_PAGE_SIZE];
	struct rb_record data = {
		RB_RECORD_DATA, number, 0, 1, page, sizeof(page), .shared = true
	};

	memset(page, with, sizeof(page));
	return rb_receiver_take(receiver, block, rb_record_encode(block, &data), &err);
}

/* An id says where a segment stands, in its lower bits. At the source a removed one has left that
 * to one with another id; the target hears of both in the same round. */
static void test_places(void)
{
	struct arrived is;

	CHECK(begin());
	rb_receiver_begin(receiver, false);
	CHECK_INT(take_name(1, 0x8000 + 7, KEY, false), 0);
	CHECK_INT(take_name(2, 9, KEY + 1, false), 0);
	CHECK_INT(take_page(2, 1), 0);
	CHECK_INT(rb_receiver_end(receiver, &err), 0);
	rb_receiver_begin(receiver, true);
	CHECK_INT(take_name(3, 7, IPC_PRIVATE, false), 0);
	/* that of others, which are named later, is kept */
	CHECK_INT(take_name(2, 9, KEY + 1, true), 0);
	/* one that is not here any more would have the differences alone */
	CHECK_INT(take_name(1, 0x8000 + 7, KEY, true), -EPROTO);
	CHECK_INT(rb_receiver_end(receiver, &err), 0);
	CHECK_INT(rb_objects_count(rb_receiver_objects(receiver)), 2);
	CHECK_INT(go_and_see(7, &is), 0);
	CHECK_INT(is.count, 2);
	fill(0, 1, 1);
	CHECK_INT(go_and_see(9, &is), 0);
	CHECK(is.same);
	end();
}

static const char *why_not(void)
{
	struct rb_segments *segments;

	if (access("/proc/sys/kernel/shm_next_id", W_OK) < 0)
		return "ids cannot be asked for";
	if (rb_segments_new(&segments, &err) < 0)
		return err.msg;
	rb_segments_free(segments);
	return NULL;
}

int main(void)
{
	const char *why = why_not();

	if (why) {
		printf("1..0 # SKIP no segments can be made here: %s\n", why);
		return 0;
	}
	if (!mkdtemp(dir))
		return 1;
	TAP_RUN(test_rounds);
	TAP_RUN(test_changes);
	TAP_RUN(test_shuffled);
	TAP_RUN(test_let_go);
	TAP_RUN(test_too_late);
	TAP_RUN(test_moments_too_late);
	TAP_RUN(test_process_ends);
	TAP_RUN(test_untold);
	TAP_RUN(test_check);
	TAP_RUN(test_hostile);
	TAP_RUN(test_places);
	rb_rm_rf(dir, NULL);
	return tap_done();
}
