/* SPDX-License-Identifier: Apache-2.0 */
/*
 * energy.h - what the processors of this host use, by their own counters (RAPL)
 *
 * Linux shows them below /sys/class/powercap, of Intel and (since 5.11, by the same driver) of AMD:
 * a folder "intel-rapl:<n>" per domain with "name", "energy_uj" and "max_energy_range_uj", at which
 * the counter begins anew (Documentation/power/powercap/powercap.rst). Only packages are counted:
 * their subzones (core, dram, ...) are in them or not, by model, and "psys" has the packages in it.
 * Virtual machines have none. Only root may read them.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#define RB_POWERCAP	"/sys/class/powercap"
#define RB_PACKAGES_MAX 16

struct rb_energy {
	struct {
		char path[256]; /* of its energy_uj */
		uint64_t last_uj, range_uj;
	} packages[RB_PACKAGES_MAX];
	int n;
	uint64_t used_uj;
	int64_t last_ms; /* rb_now_ms() */
	char why[160];	 /* nothing can be said, since ...; "": it can */
};

/** rb_energy_begin - count from now on
 * @powercap: RB_POWERCAP */
void rb_energy_begin(struct rb_energy *energy, const char *powercap);

/**
 * rb_energy_look - add up what was used since the last look; cheap to call often
 *
 * A counter that could have gone round unseen since then ends the count: of Intel's that takes
 * seven minutes, of AMD's two, at more watts than a package has.
 */
void rb_energy_look(struct rb_energy *energy);

/** rb_energy_spoil - nothing can be said any more, since ... */
void rb_energy_spoil(struct rb_energy *energy, const char *why);

/** rb_energy_json - look, and say {"joules": number, "why": ""} or {"joules": null, "why": reason}
 */
json_t *rb_energy_json(struct rb_energy *energy);
