// SPDX-License-Identifier: Apache-2.0
/*
 * test_energy.c - joules from a folder that looks like /sys/class/powercap
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "energy.h"
#include "io.h"
#include "json.h"
#include "tap.h"
#include "wait.h"

static char top[] = "/tmp/reberth-energy-XXXXXX";

static void set(const char *domain, const char *file, const char *text)
{
	char path[256];

	rb_path(path, sizeof(path), "%s/%s", top, domain);
	mkdir(path, 0755);
	rb_path(path, sizeof(path), "%s/%s/%s", top, domain, file);
	rb_write_file(path, text, strlen(text), 0644, false, NULL);
}

static void domain(const char *name, const char *what, const char *energy_uj)
{
	set(name, "name", what);
	set(name, "energy_uj", energy_uj);
	set(name, "max_energy_range_uj", "262143328850\n");
}

static void begin(struct rb_energy *energy)
{
	rb_rm_rf(top, NULL);
	mkdir(top, 0755);
	domain("intel-rapl:0", "package-0\n", "1000000\n");
	domain("intel-rapl:1", "package-1\n", "262143000000\n");
	domain("intel-rapl:0:0", "core\n", "0\n");
	domain("intel-rapl:2", "psys\n", "0\n");
	domain("intel-rapl-mmio:0", "package-0\n", "0\n");
	rb_energy_begin(energy, top);
}

static void packages_are_added_up_and_nothing_else(void)
{
	struct rb_energy energy;
	_cleanup_json_ json_t *value = NULL;

	begin(&energy);
	set("intel-rapl:0", "energy_uj", "3500000\n");
	set("intel-rapl:0:0", "energy_uj", "99000000\n");
	set("intel-rapl:2", "energy_uj", "99000000\n");
	set("intel-rapl-mmio:0", "energy_uj", "99000000\n");
	value = rb_energy_json(&energy);
	CHECK_INT(energy.n, 2);
	CHECK_STR(rb_json_str(value, "why", NULL), "");
	CHECK_INT(json_real_value(json_object_get(value, "joules")) * 1000, 2500);
}

static void counters_go_round(void)
{
	struct rb_energy energy;

	begin(&energy);
	set("intel-rapl:1", "energy_uj", "671150\n");
	rb_energy_look(&energy);
	CHECK_INT(energy.used_uj, 1000000);
	set("intel-rapl:1", "energy_uj", "1671150\n");
	rb_energy_look(&energy);
	CHECK_INT(energy.used_uj, 2000000);
}

static void one_that_may_have_gone_round_unseen_says_nothing(void)
{
	struct rb_energy energy;
	_cleanup_json_ json_t *value = NULL;

	begin(&energy);
	energy.last_ms -= 430000; /* 258 kJ at most */
	rb_energy_look(&energy);
	CHECK_STR(energy.why, "");
	energy.last_ms -= 440000;
	value = rb_energy_json(&energy);
	CHECK(json_is_null(json_object_get(value, "joules")));
	CHECK_STR(rb_json_str(value, "why", NULL),
		  "a RAPL counter of this host may have gone round unseen");
}

static void a_host_without_counters_says_why(void)
{
	_cleanup_json_ json_t *none = NULL, *gone = NULL;
	struct rb_energy energy;
	char path[256];

	rb_energy_begin(&energy, "/nonexistent");
	none = rb_energy_json(&energy);
	CHECK(json_is_null(json_object_get(none, "joules")));
	CHECK_STR(rb_json_str(none, "why", NULL),
		  "this host has no RAPL counters (no package in /nonexistent)");
	begin(&energy);
	rb_path(path, sizeof(path), "%s/intel-rapl:1/energy_uj", top);
	CHECK_INT(unlink(path), 0);
	gone = rb_energy_json(&energy);
	CHECK(json_is_null(json_object_get(gone, "joules")));
	CHECK_STR(rb_json_str(gone, "why", NULL),
		  "the RAPL counters of this host cannot be read any more: No such file or "
		  "directory");
	rb_energy_begin(&energy, top);
	CHECK_STR(energy.why,
		  "the RAPL counters of this host cannot be read: No such file or directory");
}

static void the_first_reason_stands(void)
{
	struct rb_energy energy;

	begin(&energy);
	rb_energy_spoil(&energy, "one");
	rb_energy_spoil(&energy, "two");
	CHECK_STR(energy.why, "one");
}

int main(void)
{
	if (!mkdtemp(top))
		return 99;
	TAP_RUN(packages_are_added_up_and_nothing_else);
	TAP_RUN(counters_go_round);
	TAP_RUN(one_that_may_have_gone_round_unseen_says_nothing);
	TAP_RUN(a_host_without_counters_says_why);
	TAP_RUN(the_first_reason_stands);
	rb_rm_rf(top, NULL);
	return tap_done();
}
