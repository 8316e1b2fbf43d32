// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * vmflags.c - the flags of the mappings of a process, by a BPF iterator
 *
 * The program has eleven instructions and is written down here; where the fields are that it reads,
 * and which number the iterator has, is in the kernel's own description of its types (BTF).
 * Nothing is attached to anything: the program runs when the iterator's descriptor is read.
 */
#include "vmflags.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/btf.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"

#define TYPES	  "/sys/kernel/btf/vmlinux"
#define TYPES_MAX ((size_t)64 << 20)

enum { DEPTH_MAX = 4, PIECE = 4096, MAPPINGS_MAX = 1 << 20 };

/* union bpf_iter_link_info, of which older headers have only a part */
struct of_task {
	uint32_t tid, pid, pid_fd;
};

/* --- the kernel's types --- */

struct types {
	const char *strings;
	size_t strings_len;
	const struct btf_type **list; /* by number, which begin with 1 */
	size_t n;
};

static const char *name_at(const struct types *types, uint32_t off)
{
	return off < types->strings_len ? types->strings + off : "";
}

/* Bytes behind a type's head. */
static ssize_t tail_of(const struct btf_type *type)
{
	size_t n = BTF_INFO_VLEN(type->info);

	switch (BTF_INFO_KIND(type->info)) {
	case BTF_KIND_INT:
	case BTF_KIND_VAR:
	case 17: /* declaration tag */
		return 4;
	case BTF_KIND_ARRAY:
		return sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
	case BTF_KIND_DATASEC:
	case 19: /* enumeration of 64 bits */
		return (ssize_t)(n * 12);
	case BTF_KIND_ENUM:
	case BTF_KIND_FUNC_PROTO:
		return (ssize_t)(n * 8);
	case BTF_KIND_PTR:
	case BTF_KIND_FWD:
	case BTF_KIND_TYPEDEF:
	case BTF_KIND_VOLATILE:
	case BTF_KIND_CONST:
	case BTF_KIND_RESTRICT:
	case BTF_KIND_FUNC:
	case 16: /* floating point number */
	case 18: /* type tag */
		return 0;
	}
	return -1;
}

static int index_types(const struct rb_buf *btf, struct types *ret)
{
	const struct btf_header *head = (const void *)btf->data;
	const char *at, *end;
	size_t room = 0;

	if (btf->len < sizeof(*head) || head->magic != BTF_MAGIC || head->hdr_len > btf->len ||
	    head->type_off > btf->len || head->type_len > btf->len || head->str_off > btf->len ||
	    head->str_len > btf->len ||
	    (size_t)head->hdr_len + head->type_off + head->type_len > btf->len ||
	    (size_t)head->hdr_len + head->str_off + head->str_len > btf->len)
		return -EPROTO;
	ret->strings = btf->data + head->hdr_len + head->str_off;
	ret->strings_len = head->str_len;
	at = btf->data + head->hdr_len + head->type_off;
	end = at + head->type_len;
	for (ret->n = 1; (size_t)(end - at) >= sizeof(struct btf_type); ret->n++) {
		const struct btf_type *type = (const void *)at;
		ssize_t tail = tail_of(type);

		if (tail < 0 || (size_t)(end - at) < sizeof(*type) + (size_t)tail)
			return -EPROTO;
		if (ret->n >= room) {
			const struct btf_type **list;

			room = room ? room * 2 : 1 << 16;
			list = reallocarray(ret->list, room, sizeof(const struct btf_type *));
			if (!list)
				return -ENOMEM;
			ret->list = list;
		}
		ret->list[ret->n] = type;
		at += sizeof(*type) + (size_t)tail;
	}
	return 0;
}

/* Return: its number, 0 when there is none */
static uint32_t find_type(const struct types *types, uint32_t kind, const char *name)
{
	for (size_t i = 1; i < types->n; i++)
		if (BTF_INFO_KIND(types->list[i]->info) == kind &&
		    strcmp(name_at(types, types->list[i]->name_off), name) == 0)
			return (uint32_t)i;
	return 0;
}

/* Where a field is, in bits; in the anonymous structures of @number as well. Return: negative when
 * there is none. */
static long find_field(const struct types *types, uint32_t number, const char *name, int depth)
{
	const struct btf_type *type = number && number < types->n ? types->list[number] : NULL;
	const struct btf_member *member = (const void *)(type + 1);
	uint32_t kind = type ? BTF_INFO_KIND(type->info) : 0;

	if ((kind != BTF_KIND_STRUCT && kind != BTF_KIND_UNION) || depth > DEPTH_MAX)
		return -1;
	for (uint32_t i = 0; i < BTF_INFO_VLEN(type->info); i++) {
		const char *called = name_at(types, member[i].name_off);
		long off = BTF_INFO_KFLAG(type->info)
				   ? (long)BTF_MEMBER_BIT_OFFSET(member[i].offset)
				   : (long)member[i].offset;
		long inner = *called ? -1 : find_field(types, member[i].type, name, depth + 1);

		if (strcmp(called, name) == 0)
			return off;
		if (inner >= 0)
			return off + inner;
	}
	return -1;
}

struct places {
	uint32_t iterator;
	long start, end, flags; /* of struct vm_area_struct, in bytes */
};

static int find_places(struct places *ret, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf btf = {};
	struct types types = {};
	int r = rb_read_file(TYPES, TYPES_MAX, &btf, err);
	uint32_t vma;

	if (r < 0)
		return r;
	r = index_types(&btf, &types);
	if (r == 0) {
		vma = find_type(&types, BTF_KIND_STRUCT, "vm_area_struct");
		ret->iterator = find_type(&types, BTF_KIND_FUNC, "bpf_iter_task_vma");
		ret->start = find_field(&types, vma, "vm_start", 0);
		ret->end = find_field(&types, vma, "vm_end", 0);
		ret->flags = find_field(&types, vma, "vm_flags", 0);
		if (!ret->iterator || ret->start < 0 || ret->end < 0 || ret->flags < 0 ||
		    (ret->start | ret->end | ret->flags) % 64)
			r = -ENOTSUP;
		ret->start /= 8;
		ret->end /= 8;
		ret->flags /= 8;
	}
	free(types.list);
	return r < 0 ? rb_err_set(err, r, "find mappings among the kernel's types") : 0;
}

/* --- the program --- */

static long bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

#define LOAD(to, from, at)                                                              \
	(struct bpf_insn)                                                               \
	{                                                                               \
		.code = BPF_LDX | BPF_MEM | BPF_DW, .dst_reg = (to), .src_reg = (from), \
		.off = (short)(at)                                                      \
	}
#define STORE(at, from)                                                                       \
	(struct bpf_insn)                                                                     \
	{                                                                                     \
		.code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_10, .src_reg = (from), \
		.off = (short)(at)                                                            \
	}
#define SET(to, number)                                                               \
	(struct bpf_insn)                                                             \
	{                                                                             \
		.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = (to), .imm = (number) \
	}

int rb_vmflags_open(struct rb_err *err)
{
	struct places at = {};
	int r = find_places(&at, err), fd;
	/* its argument has three pointers: to struct bpf_iter_meta, which begins with the file that
	 * is read, to the task, and to a mapping, at the end none */
	const struct bpf_insn program[] = {
		LOAD(BPF_REG_6, BPF_REG_1, 16),
		{ .code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = BPF_REG_6, .off = 12 },
		LOAD(BPF_REG_2, BPF_REG_6, at.start),
		STORE(-24, BPF_REG_2),
		LOAD(BPF_REG_2, BPF_REG_6, at.end),
		STORE(-16, BPF_REG_2),
		LOAD(BPF_REG_2, BPF_REG_6, at.flags),
		STORE(-8, BPF_REG_2),
		LOAD(BPF_REG_1, BPF_REG_1, 0),
		LOAD(BPF_REG_1, BPF_REG_1, 0),
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X,
		  .dst_reg = BPF_REG_2,
		  .src_reg = BPF_REG_10 },
		{ .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = BPF_REG_2, .imm = -24 },
		SET(BPF_REG_3, sizeof(struct rb_vmflags)),
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_seq_write },
		SET(BPF_REG_0, 0),
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_TRACING,
		.expected_attach_type = BPF_TRACE_ITER,
		.insns = (uintptr_t)program,
		.insn_cnt = ARRAY_SIZE(program),
		/* the kernel's types are for programs under its own licence, as this file is */
		.license = (uintptr_t) "GPL v2",
		.attach_btf_id = at.iterator,
	};

	if (r < 0)
		return r;
	fd = (int)bpf(BPF_PROG_LOAD, &attr);
	return fd < 0 ? rb_err_set(err, -errno, "load a BPF iterator") : fd;
}

/* A descriptor that lists the mappings of one process. */
static int begin(int program, pid_t pid, struct rb_err *err)
{
	struct of_task task = { .tid = (uint32_t)pid };
	_cleanup_close_ int link = -EBADF;
	int fd;

	link = (int)bpf(BPF_LINK_CREATE, &(union bpf_attr){ .link_create = {
								    .prog_fd = (uint32_t)program,
								    .attach_type = BPF_TRACE_ITER,
								    .iter_info = (uintptr_t)&task,
								    .iter_info_len = sizeof(task),
							    } });
	if (link < 0)
		return rb_err_set(err, -errno, "list the mappings of process %d", (int)pid);
	fd = (int)bpf(BPF_ITER_CREATE,
		      &(union bpf_attr){ .iter_create = { .link_fd = (uint32_t)link } });
	return fd < 0 ? rb_err_set(err, -errno, "list the mappings of process %d", (int)pid) : fd;
}

static bool plausible(const struct rb_vmflags *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].start >= list[i].end || (i > 0 && list[i].start < list[i - 1].end))
			return false;
	return true;
}

int rb_vmflags_read(int program, pid_t pid, struct rb_vmflags **ret, size_t *ret_n,
		    struct rb_err *err)
{
	const size_t one = sizeof(struct rb_vmflags);
	_cleanup_buf_ struct rb_buf out = {};
	_cleanup_close_ int fd = begin(program, pid, err);
	char piece[PIECE];
	ssize_t n;

	if (fd < 0)
		return fd;
	while ((n = read(fd, piece, sizeof(piece))) > 0 || (n < 0 && errno == EAGAIN)) {
		if (n > 0 && rb_buf_add(&out, piece, (size_t)n) < 0)
			return rb_err_set(err, -ENOMEM, "list mappings");
		if (out.len / one > MAPPINGS_MAX)
			return rb_err_set(err, -E2BIG, "list mappings");
	}
	if (n < 0)
		return rb_err_set(err, -errno, "list the mappings of process %d", (int)pid);
	if (out.len == 0)
		return -ESRCH;
	if (out.len % one || !plausible((const void *)out.data, out.len / one))
		return rb_err_set(err, -EIO, "list the mappings of process %d", (int)pid);
	*ret_n = out.len / one;
	*ret = (struct rb_vmflags *)TAKE_PTR(out.data);
	return 0;
}
