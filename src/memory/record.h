/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - pages of memory on their way from host to host
 *
 * A block (one DATA frame) holds whole records, one after the other; numbers are big-endian:
 *
 * offset size
 *      0    1  kind, enum rb_record_kind
 *      1    1  DATA: enum rb_encoding of the payload, + 0x80 for a difference; others: 0
 *      2    1  1: of an object of shared memory; 0: of a task's own
 *      3    1  must be 0
 *      4    4  task: pid in the container's pid namespace, > 0; or number of the object
 *      8    8  address of the first page, or its offset in the object; 0 for lists, OBJECT, TMPFS
 *     16    4  DATA, ZERO: pages; lists: ranges in the payload; OBJECT, TMPFS: 0
 *     20    4  length of the payload as it travels in bytes, 0 for ZERO
 *     24    8  XXH3 (64 bits) of the payload as it travels, with the byte at 1 as seed
 *     32       payload
 *
 * Pages have 4096 bytes. A payload that is encoded is one block of LZ4 (without a frame), or frames
 * of Zstandard, and shorter than the pages that it becomes. A difference is the exclusive or with
 * the pages that the receiver has there; it must have all of them. There are none of shared memory.
 * Of pages that are encoded, or a difference, a record has no more than RB_PAGES_PER_BLOCK.
 *
 * KEEP says at the end which pages a task has: ranges of 8 + 8 bytes, start and end (exclusive), in
 * order; all others read as zero. A long list is cut into several records, of which only the last
 * is KEEP, the others KEEP_MORE. LATER, before KEEP, is a list like that, of pages that stay at the
 * source: whatever the target has of them is old, and it asks for them (wants.h).
 *
 * OBJECT comes before an object's pages in each round, and says in the last that it is there still;
 * once, or the same over each connection. Its other pages read as zero. What it had, and has not,
 * comes as ZERO. Its payload:
 *
 *      0    8  inode number; of a segment: its id
 *      8    8  size in bytes
 *     16    1  kind, enum rb_object_kind
 *     17    1  is it known: 1: only differences follow, to what the round before has left of it
 *     18       MEMFD: its name, without an end
 *              SEGMENT: 4 bytes each of key, mode, uid, gid, and its creator's uid and gid
 *              FILE: 4 bytes number of the tmpfs
 *
 * A receiver that does not know the object, or knows it already, as is not said, gives up.
 *
 * TMPFS comes before the objects that are files of it, in each round, once, or the same over each
 * connection: 8 bytes number of the device
 * at the source, what it was mounted from, a zero byte, its options, without an end. Its number is
 * that of no object.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ranges.h"

struct rb_err;

#define RB_RECORD_HEADER   32
#define RB_BLOCK_SIZE	   ((size_t)256 << 10) /* RB_FRAME_DATA_MAX */
#define RB_PAGES_PER_BLOCK 60
#define RB_KEEP_PER_BLOCK  15360

enum rb_record_kind {
	RB_RECORD_DATA = 1,
	RB_RECORD_ZERO,
	RB_RECORD_KEEP_MORE,
	RB_RECORD_KEEP,
	RB_RECORD_LATER,
	RB_RECORD_OBJECT = 16,
	RB_RECORD_TMPFS,
	RB_RECORD_KIND_MAX,
};

enum rb_encoding {
	RB_ENCODING_NONE,
	RB_ENCODING_LZ4,
	RB_ENCODING_ZSTD,
	RB_ENCODING_MAX,
};

struct rb_record {
	enum rb_record_kind kind;
	int task;
	uint64_t addr;
	uint32_t count;
	const uint8_t *payload;
	uint32_t len;
	enum rb_encoding encoding; /* of DATA */
	bool delta;		   /* DATA: exclusive or with the pages that the receiver has */
	bool shared;		   /* @task is an object's number */
};

#define RB_OBJECT_NAME_MAX 249 /* of memfd_create(2) */
#define RB_OBJECT_SIZE_MAX (UINT64_C(1) << 40)
#define RB_TMPFS_FILE_MAX  (UINT64_C(1) << 36) /* bytes */
#define RB_OBJECT_PAYLOAD  (18 + RB_OBJECT_NAME_MAX)

enum rb_object_kind {
	RB_OBJECT_MEMFD,   /* anonymous, or of memfd_create(2) */
	RB_OBJECT_SEGMENT, /* of System V */
	RB_OBJECT_FILE,	   /* of a tmpfs */
	RB_OBJECT_KIND_MAX,
};

/** What there is to know of a segment of System V, beside its id and size. */
struct rb_segment {
	int32_t key;
	uint32_t mode; /* the lower nine bits are its permissions */
	uint32_t uid, gid, cuid, cgid;
};

/** An object of shared memory. */
struct rb_object {
	uint64_t inode; /* on its host; of a segment: its id */
	uint64_t size;	/* bytes; at most RB_OBJECT_SIZE_MAX, or RB_TMPFS_FILE_MAX of a FILE */
	enum rb_object_kind kind;
	bool known;			   /* the receiver has it, from the round before */
	char name[RB_OBJECT_NAME_MAX + 1]; /* of a MEMFD */
	struct rb_segment segment;	   /* of a SEGMENT */
	int tmpfs;			   /* number of that which a FILE is one of */
};

#define RB_TMPFS_TEXT	 255 /* bytes of source, and of options */
#define RB_TMPFS_PAYLOAD (8 + RB_TMPFS_TEXT + 1 + RB_TMPFS_TEXT)

/** A tmpfs with files that travel as objects. */
struct rb_tmpfs_record {
	uint64_t device;		 /* at the source */
	char source[RB_TMPFS_TEXT + 1];	 /* what it was mounted from */
	char options[RB_TMPFS_TEXT + 1]; /* "mode=1777,inode64"; never its limits */
};

/** rb_record_encode - header and payload at @out, which has room for them. Return: bytes written */
size_t rb_record_encode(uint8_t *out, const struct rb_record *record);

/**
 * rb_record_decode - the first record of a block; everything that can be checked is checked
 * @ret: its payload points into @block
 *
 * Return: bytes that the record takes; -EPROTO, -EBADMSG for a wrong checksum.
 */
ssize_t rb_record_decode(const uint8_t *block, size_t len, struct rb_record *ret,
			 struct rb_err *err);

/** rb_record_range - the @i-th range of a KEEP, KEEP_MORE or LATER record */
struct rb_range rb_record_range(const struct rb_record *record, uint32_t i);

/** rb_record_put_range - into the payload of a record that is being made */
void rb_record_put_range(uint8_t *payload, uint32_t i, const struct rb_range *range);

/** rb_record_object - what an OBJECT record says */
void rb_record_object(const struct rb_record *record, struct rb_object *ret);

/** rb_record_put_object - into the payload (RB_OBJECT_PAYLOAD bytes) of a record that is being
 * made. Return: bytes */
uint32_t rb_record_put_object(uint8_t *payload, const struct rb_object *object);

/** rb_record_tmpfs, rb_record_put_tmpfs - the same for TMPFS, RB_TMPFS_PAYLOAD */
void rb_record_tmpfs(const struct rb_record *record, struct rb_tmpfs_record *ret);
uint32_t rb_record_put_tmpfs(uint8_t *payload, const struct rb_tmpfs_record *tmpfs);
