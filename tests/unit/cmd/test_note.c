// SPDX-License-Identifier: Apache-2.0
/*
 * test_note.c - what is known of a placeholder goes with it, whatever a killed writer has left
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "folder.h"
#include "io.h"
#include "note.h"
#include "tap.h"

static char id[65], other[65];

static const char *file_of(const char *of, const char *suffix)
{
	char name[128];

	snprintf(name, sizeof(name), "placeholders/%s%s", of, suffix);
	return in(name);
}

static bool there(const char *of, const char *suffix)
{
	return access(file_of(of, suffix), F_OK) == 0;
}

static void is_loaded_as_saved(void)
{
	struct note note = { .pid = getpid(), .init = 7, .state = "waiting" }, loaded = {};

	strcpy(note.id, id);
	CHECK_INT(note_save(&note, NULL), 0);
	CHECK_INT(note_load(id, &loaded, NULL), 0);
	CHECK_INT(loaded.init, 7);
	CHECK_STR(loaded.state, "waiting");
}

static void goes_with_what_a_killed_writer_has_left(void)
{
	CHECK_INT(note_set_started(id, NULL), 0);
	CHECK_INT(rb_write_file(file_of(id, ".json.tmp.4711"), "{", 1, 0600, false, NULL), 0);
	CHECK_INT(rb_write_file(file_of(other, ".json"), "{}", 2, 0600, false, NULL), 0);
	note_remove(id);
	CHECK(!there(id, ".json"));
	CHECK(!there(id, ".started"));
	CHECK(!there(id, ".json.tmp.4711"));
	CHECK(there(other, ".json"));
	note_remove("../placeholders");
	note_remove(other);
	CHECK(!there(other, ".json"));
}

int main(void)
{
	if (!mkdtemp(top))
		return 1;
	setenv("REBERTH_RUN_DIR", top, 1);
	memset(id, 'a', 64);
	memset(other, 'a', 63);
	other[63] = 'b';
	TAP_RUN(is_loaded_as_saved);
	TAP_RUN(goes_with_what_a_killed_writer_has_left);
	rmdir(in("placeholders"));
	rmdir(top);
	return tap_done();
}
