// SPDX-License-Identifier: Apache-2.0
/*
 * criu_start.c - what runc finds as `criu` during a move: starts the real one with our library
 *
 * runc starts CRIU twice, the first time only to ask for its version: that takes as long as the
 * second, and on the target the container stands still meanwhile. So that question is answered
 * here, by what was found before. Linked statically, or starting it would take longer.
 *
 * Beside the link that this is started by stands, in a file "criu.start",
 *
 *	line 1		the real CRIU
 *	line 2		what it says to `--version`, "4.2.1", or nothing: then it is asked itself
 *	further ones	NAME=VALUE for its environment
 *
 * With REBERTH_MASKED among these, a folder, an empty tmpfs is mounted there that only CRIU sees
 * (criu/masked.h). It lasts as long as a container that CRIU has given it to.
 *
 * The question is a message of CRIU's RPC (its images/rpc.proto) on the socket that is the argument
 * of `swrk`; whatever else is there stays for CRIU.
 */
#include <limits.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

enum { VERSION = 10 }; /* enum criu_req_type */

static char text[16384];

/* 7 bits a byte, the last one without the eighth */
static uint8_t *put_number(uint8_t *at, uint32_t number)
{
	for (; number >= 0x80; number >>= 7)
		*at++ = (uint8_t)(number | 0x80);
	*at++ = (uint8_t)number;
	return at;
}

/* Return: 0 when the question was that, and is answered */
static int answer_version(int fd, const char *version)
{
	unsigned int major = 0, minor = 0, sub = 0;
	uint8_t inner[32], out[64], request[64], *end = inner, *at = out;
	ssize_t n;

	if (sscanf(version, "%u.%u.%u", &major, &minor, &sub) < 2)
		return -1;
	n = recv(fd, request, sizeof(request), MSG_PEEK);
	if (n < 2 || n == sizeof(request) || request[0] != 1 << 3 || request[1] != VERSION)
		return -1;
	(void)!recv(fd, request, sizeof(request), 0);
	*end++ = 1 << 3; /* criu_version.major_number */
	end = put_number(end, major);
	*end++ = 2 << 3; /* .minor_number */
	end = put_number(end, minor);
	*end++ = 4 << 3; /* .sublevel */
	end = put_number(end, sub);
	*at++ = 1 << 3; /* criu_resp.type */
	*at++ = VERSION;
	*at++ = 2 << 3; /* .success */
	*at++ = 1;
	*at++ = 10 << 3 | 2; /* .version, a message */
	*at++ = (uint8_t)(end - inner);
	memcpy(at, inner, (size_t)(end - inner));
	at += end - inner;
	return send(fd, out, (size_t)(at - out), MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/* Shared, for a mount that it stands for may have been the slave of another one. A CRIU that finds
 * no mount there binds the folder itself, which is as empty. */
static void mount_masked(const char *dir)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
	    mount("tmpfs", dir, "tmpfs", MS_RDONLY, NULL) < 0 ||
	    mount(NULL, dir, NULL, MS_SHARED, NULL) < 0)
		perror(dir);
}

int main(int argc, char **argv)
{
	const char *name = (const char *)getauxval(AT_EXECFN);
	char path[PATH_MAX], *lines = text, *program, *version, *line;
	FILE *file;
	size_t n;

	snprintf(path, sizeof(path), "%s.start", name ? name : "");
	file = fopen(path, "re");
	n = file ? fread(text, 1, sizeof(text) - 1, file) : 0;
	text[n] = '\0';
	program = strsep(&lines, "\n");
	version = strsep(&lines, "\n");
	if (!n || !version) {
		fprintf(stderr, "reberth-criu: there is no '%s'\n", path);
		return 127;
	}
	if (argc == 3 && strcmp(argv[1], "swrk") == 0 &&
	    answer_version(atoi(argv[2]), version) == 0)
		return 0;
	while ((line = strsep(&lines, "\n")) && *line)
		putenv(line);
	if (getenv("REBERTH_MASKED"))
		mount_masked(getenv("REBERTH_MASKED"));
	argv[0] = program;
	execv(program, argv);
	perror(program);
	return 127;
}
