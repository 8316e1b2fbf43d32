// SPDX-License-Identifier: Apache-2.0
/*
 * test_smaps.c - what is put together for CRIU is what the kernel says, and what is not known is
 * not made up
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "smaps.h"
#include "tap.h"
#include "vmflags.h"

static struct rb_smaps *smaps;
static char path[] = "/tmp/rb-test-smaps-XXXXXX";
static pid_t victim;

enum { MIB = 1 << 20, MSEAL = 462 };

/* A process with mappings of all kinds, standing still. */
static void start_victim(void)
{
	static const int advice[] = { MADV_NORMAL,   MADV_RANDOM,   MADV_SEQUENTIAL, MADV_DONTFORK,
				      MADV_DONTDUMP, MADV_HUGEPAGE, MADV_NOHUGEPAGE };

	victim = fork();
	if (victim)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (size_t i = 0; i < ARRAY_SIZE(advice); i++) {
		char *at = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE,
				(i % 2 ? MAP_PRIVATE : MAP_SHARED) | MAP_ANONYMOUS, -1, 0);

		memset(at, 1, 2 * MIB);
		madvise(at + MIB, MIB, advice[i]);
		mprotect(at + 3 * MIB, MIB, i % 3 ? PROT_NONE : PROT_READ | PROT_EXEC);
	}
	raise(SIGSTOP);
	for (;;)
		pause();
}

/* of the kernel's file, what CRIU looks at */
static void reduce(char *text)
{
	char *save = NULL, *out = text;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		size_t len = strlen(line);

		if (strncmp(line, "VmFlags:", 8) != 0 && !strchr("0123456789abcdef", line[0]))
			continue;
		memmove(out, line, len);
		out += len;
		*out++ = '\n';
	}
	*out = '\0';
}

static void same_as_the_kernels(void)
{
	_cleanup_buf_ struct rb_buf ours = {}, kernels = {};
	char name[64];

	snprintf(name, sizeof(name), "/proc/%d/smaps", (int)victim);
	CHECK_INT(rb_smaps_write(smaps, victim, path, NULL), 0);
	CHECK_INT(rb_read_file(path, 0, &ours, NULL), 0);
	CHECK_INT(rb_read_file(name, 0, &kernels, NULL), 0);
	reduce(kernels.data);
	CHECK(strstr(kernels.data, " rr "));
	CHECK_STR(ours.data, kernels.data);
}

/* A flag that was in no mapping to learn from: sealed, which is for ever. */
static void unknown_flag(void)
{
	pid_t sealed = fork();

	if (sealed == 0) {
		void *at = mmap(NULL, MIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (syscall(MSEAL, at, MIB, 0) < 0)
			_exit(errno);
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(sealed, NULL, WUNTRACED);
	unlink(path);
	CHECK_INT(rb_smaps_write(smaps, sealed, path, NULL), -ENOTSUP);
	CHECK(access(path, F_OK) < 0);
	kill(sealed, SIGKILL);
	waitpid(sealed, NULL, 0);
}

static bool can_seal(void)
{
	return syscall(MSEAL, NULL, 0, 0) == 0 || errno != ENOSYS;
}

static void nobody(void)
{
	pid_t gone = fork();

	if (gone == 0)
		_exit(0);
	waitpid(gone, NULL, 0);
	unlink(path);
	CHECK(rb_smaps_write(smaps, gone, path, NULL) < 0);
	CHECK(access(path, F_OK) < 0);
}

static void by_address(void)
{
	_cleanup_close_ int program = rb_vmflags_open(NULL);
	_cleanup_free_ struct rb_vmflags *list = NULL;
	size_t n = 0;
	bool found = false;

	CHECK(program >= 0);
	CHECK_INT(rb_vmflags_read(program, getpid(), &list, &n, NULL), 0);
	for (size_t i = 0; i < n; i++)
		found = found ||
			(list[i].start <= (uintptr_t)path && (uintptr_t)path < list[i].end);
	CHECK(found);
}

int main(void)
{
	struct rb_err err = {};
	int fd = mkstemp(path);

	rb_close_fd(&fd);
	if (rb_smaps_new(&smaps, &err) < 0) {
		printf("1..0 # SKIP no BPF iterators here: %s\n", err.msg);
		return 0;
	}
	start_victim();
	waitpid(victim, NULL, WUNTRACED);
	TAP_RUN(same_as_the_kernels);
	if (can_seal())
		TAP_RUN(unknown_flag);
	else
		TAP_SKIP(unknown_flag, "no mseal(2)");
	TAP_RUN(nobody);
	TAP_RUN(by_address);
	kill(victim, SIGKILL);
	rb_smaps_free(smaps);
	unlink(path);
	return tap_done();
}
