// SPDX-License-Identifier: Apache-2.0
/*
 * energy.c - what the processors of this host use, by their own counters (RAPL)
 */
#include "energy.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "io.h"
#include "wait.h"

#define WATTS_MAX 600 /* of a package: more than any has */

/* Return: 0 or negative errno */
static int read_number(const char *path, uint64_t *ret)
{
	_cleanup_buf_ struct rb_buf text = {};
	int r = rb_read_file(path, 0, &text, NULL);

	if (r < 0)
		return r;
	return text.data && sscanf(text.data, "%" SCNu64, ret) == 1 ? 0 : -EPROTO;
}

/* "intel-rapl:0", not "intel-rapl:0:1", nor "intel-rapl-mmio:0", which is the same once more */
static bool is_domain(const char *name)
{
	static const char prefix[] = "intel-rapl:";

	return strncmp(name, prefix, strlen(prefix)) == 0 && !strchr(name + strlen(prefix), ':');
}

static bool is_package(const char *powercap, const char *domain)
{
	_cleanup_buf_ struct rb_buf text = {};
	char path[512];

	return rb_path(path, sizeof(path), "%s/%s/name", powercap, domain) == 0 &&
	       rb_read_file(path, 0, &text, NULL) >= 0 && text.data &&
	       strncmp(text.data, "package-", strlen("package-")) == 0;
}

static int add_package(struct rb_energy *energy, const char *powercap, const char *domain)
{
	__typeof__(&energy->packages[0]) package = &energy->packages[energy->n];
	char path[512];
	int r;

	r = rb_path(package->path, sizeof(package->path), "%s/%s/energy_uj", powercap, domain);
	if (r >= 0)
		r = read_number(package->path, &package->last_uj);
	if (r >= 0)
		r = rb_path(path, sizeof(path), "%s/%s/max_energy_range_uj", powercap, domain);
	if (r >= 0)
		r = read_number(path, &package->range_uj);
	if (r >= 0)
		energy->n++;
	return r;
}

void rb_energy_begin(struct rb_energy *energy, const char *powercap)
{
	_cleanup_closedir_ DIR *dir = opendir(powercap);
	const struct dirent *entry;
	int r = 0;

	*energy = (struct rb_energy){ .last_ms = rb_now_ms() };
	while (r >= 0 && dir && (entry = readdir(dir)))
		if (energy->n < RB_PACKAGES_MAX && is_domain(entry->d_name) &&
		    is_package(powercap, entry->d_name))
			r = add_package(energy, powercap, entry->d_name);
	if (r < 0)
		snprintf(energy->why, sizeof(energy->why),
			 "the RAPL counters of this host cannot be read: %s", strerror(-r));
	else if (energy->n == 0)
		snprintf(energy->why, sizeof(energy->why),
			 "this host has no RAPL counters (no package in %.80s)", powercap);
}

void rb_energy_spoil(struct rb_energy *energy, const char *why)
{
	if (!energy->why[0])
		snprintf(energy->why, sizeof(energy->why), "%s", why);
}

void rb_energy_look(struct rb_energy *energy)
{
	int64_t now_ms = rb_now_ms(), gone_ms = now_ms - energy->last_ms;

	for (int i = 0; i < energy->n && !energy->why[0]; i++) {
		__typeof__(&energy->packages[0]) package = &energy->packages[i];
		uint64_t now_uj;
		int r = read_number(package->path, &now_uj);

		if (r < 0) {
			snprintf(energy->why, sizeof(energy->why),
				 "the RAPL counters of this host cannot be read any more: %s",
				 strerror(-r));
			return;
		}
		/* microjoules are watts by milliseconds by 1000 */
		if ((uint64_t)gone_ms * 1000 * WATTS_MAX > package->range_uj)
			rb_energy_spoil(energy, "a RAPL counter of this host may have gone round "
						"unseen");
		energy->used_uj += now_uj >= package->last_uj
					   ? now_uj - package->last_uj
					   : package->range_uj - package->last_uj + now_uj;
		package->last_uj = now_uj;
	}
	energy->last_ms = now_ms;
}

json_t *rb_energy_json(struct rb_energy *energy)
{
	rb_energy_look(energy);
	return json_pack("{s:o, s:s}", "joules",
			 energy->why[0] ? json_null()
					: json_real((double)(energy->used_uj / 1000) / 1000.0),
			 "why", energy->why);
}
