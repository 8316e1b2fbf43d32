// SPDX-License-Identifier: Apache-2.0
/*
 * test_vmas.c - which mappings are ours
 */
#include "err.h"
#include "tap.h"
#include "victim.h"
#include "vmas.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA	     0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

static struct rb_err err;
static struct rb_vma *vmas;
static int count;

static bool read_own(void)
{
	free(vmas);
	vmas = NULL;
	count = rb_vmas_read(getpid(), &vmas, &err);
	return count > 0;
}

/* What is said about an address: 'o' ours, 'l' locked, 's' shared, '-' not ours, ' ' not mapped. */
static int kind_of(const void *at)
{
	uint64_t addr = (uint64_t)(uintptr_t)at;

	for (int i = 0; i < count; i++)
		if (addr >= vmas[i].start && addr < vmas[i].end)
			return vmas[i].ours	? 'o'
			       : vmas[i].locked ? 'l'
			       : vmas[i].shared ? 's'
						: '-';
	return ' ';
}

static char *map(int prot, int flags, int fd)
{
	return mmap(NULL, 4 * PAGE, prot, flags, fd, 0);
}

static void kinds(void)
{
	const int rw = PROT_READ | PROT_WRITE, anon = MAP_PRIVATE | MAP_ANONYMOUS;
	char *plain = map(rw, anon, -1), *none = map(PROT_NONE, anon | MAP_NORESERVE, -1);
	char *named = map(rw, anon, -1), *shared = map(rw, MAP_SHARED | MAP_ANONYMOUS, -1);
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	char *file = map(PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	int memfd = memfd_create(" rw-p 00000000 00:00 0", MFD_CLOEXEC);
	char *odd, local = 0;

	CHECK_INT(ftruncate(memfd, 4 * PAGE), 0);
	odd = map(rw, MAP_PRIVATE, memfd);
	prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, named, 4 * PAGE, "name of it");
	/* a written page of a file's mapping is CRIU's all the same */
	file[0] = 1;
	CHECK(read_own());
	CHECK_INT(kind_of(plain), 'o');
	CHECK_INT(kind_of(none), 'o');
	CHECK_INT(kind_of(named), 'o');
	CHECK_INT(kind_of(&local), 'o');
	CHECK_INT(kind_of(sbrk(0) - 1), 'o');
	CHECK_INT(kind_of(shared), 's');
	CHECK_INT(kind_of(file), '-');
	CHECK_INT(kind_of(odd), '-');
	CHECK_INT(kind_of((void *)(uintptr_t)&kinds), '-');
	CHECK_INT(kind_of(plain + 8 * (size_t)1024 * 1024 * 1024 * 1024), ' ');
	munmap(file, 4 * PAGE);
	munmap(odd, 4 * PAGE);
	munmap(shared, 4 * PAGE);
	close(fd);
	close(memfd);
}

static void of_the_kernel(void)
{
	static const char *const names[] = { "[vdso]", "[vvar]", "[vsyscall]" };
	char line[512], perms[8];
	FILE *file = fopen("/proc/self/maps", "re");
	uint64_t start;
	int found = 0;

	CHECK(read_own());
	while (file && fgets(line, sizeof(line), file))
		for (size_t i = 0; i < ARRAY_SIZE(names); i++)
			if (strstr(line, names[i]) &&
			    sscanf(line, "%lx-%*x %7s", &start, perms) == 2) {
				found++;
				CHECK_INT(kind_of((void *)start), '-');
			}
	fclose(file);
	CHECK(found > 0);
}

static void in_order(void)
{
	CHECK(read_own());
	for (int i = 0; i < count; i++) {
		CHECK(vmas[i].start < vmas[i].end);
		CHECK(i == 0 || vmas[i - 1].end <= vmas[i].start);
	}
}

static void locked(void)
{
	char *area = map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	/* not mlock(), of which AddressSanitizer makes a function that does nothing */
	if (syscall(SYS_mlock, area + PAGE, PAGE) < 0) {
		puts("# mlock is not allowed");
		return;
	}
	CHECK(read_own());
	CHECK_INT(kind_of(area), 'o');
	CHECK_INT(kind_of(area + PAGE), 'l');
	CHECK_INT(kind_of(area + 2 * PAGE), 'o');
	/* the others are told from smaps as from maps */
	CHECK_INT(kind_of((void *)(uintptr_t)&locked), '-');
	syscall(SYS_munlock, area + PAGE, PAGE);
	CHECK(read_own());
	CHECK_INT(kind_of(area + PAGE), 'o');
	munmap(area, 4 * PAGE);
}

static void many(void)
{
	const size_t pages = 4000;
	char *area = mmap(NULL, pages * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int before;

	CHECK(read_own());
	before = count;
	for (size_t i = 0; i < pages; i += 2)
		CHECK_INT(mprotect(area + i * PAGE, PAGE, PROT_READ | PROT_WRITE), 0);
	CHECK(read_own());
	CHECK(count >= before + (int)pages - 2);
	CHECK_INT(kind_of(area + (pages - 1) * PAGE), 'o');
	munmap(area, pages * PAGE);
}

static void of_the_dead(void)
{
	pid_t pid = fork();
	struct rb_vma *none = NULL;

	if (pid == 0)
		_exit(0);
	/* a zombie, then nothing */
	while (rb_vmas_read(pid, &none, &err) > 0) {
		free(none);
		none = NULL;
	}
	CHECK_INT(rb_vmas_read(pid, &none, &err), -ESRCH);
	waitpid(pid, NULL, 0);
	CHECK_INT(rb_vmas_read(pid, &none, &err), -ESRCH);
	CHECK(!none);
}

int main(void)
{
	(void)sbrk(PAGE);
	TAP_RUN(kinds);
	TAP_RUN(of_the_kernel);
	TAP_RUN(in_order);
	TAP_RUN(locked);
	TAP_RUN(many);
	TAP_RUN(of_the_dead);
	free(vmas);
	return tap_done();
}
