// SPDX-License-Identifier: Apache-2.0
/*
 * criu_restart.c - preloaded into CRIU, too: calls that wait for a time go on, and do not end
 *
 * What CRIU reads of a stopped thread's registers says that such a call is to be made anew: why is
 * in criu/restart.h. CRIU writes that into the image, and gives it back after a roll-back.
 */
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "restart.h"

typedef long ptrace_fn(enum __ptrace_request request, pid_t pid, void *addr, void *data);

__attribute__((visibility("default"))) long ptrace(enum __ptrace_request request, ...)
{
	static ptrace_fn *real;
	va_list args;
	void *addr, *data;
	pid_t pid;
	long r;

	va_start(args, request);
	pid = va_arg(args, pid_t);
	addr = va_arg(args, void *);
	data = va_arg(args, void *);
	va_end(args);
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "ptrace");
	r = real(request, pid, addr, data);
	if (r == 0 && request == PTRACE_GETREGSET && (uintptr_t)addr == NT_PRSTATUS) {
		const struct iovec *read = data;

		rb_restart_anew(read->iov_base, read->iov_len);
	}
	return r;
}
