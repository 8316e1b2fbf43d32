// SPDX-License-Identifier: Apache-2.0
/*
 * vetted.c - the archive that Docker reads: of what was vetted, and made by us
 *
 * What one parser of tar files sees is not what another one does: there are headers that replace
 * each other, sizes in several notations, and compressed streams that begin like a name. So what
 * libarchive has seen in the peer's archive is a list of names here; and Docker, which has Go's
 * parser, gets headers that libarchive has written from that. A file that is an object has the
 * bytes whose digest was checked, and no others, wherever in the peer's archive they are.
 */
#include "vetted.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "gather.h"
#include "io.h"

#define PART ((size_t)128 << 10)

struct entry {
	struct entry *next;
	char *path, *link;
	char *text;
	int object; /* or -1 */
	uint64_t size;
	mode_t type;
};

struct rb_vetted {
	struct rb_gather *gather;
	struct entry *first, **last;
	size_t texts; /* bytes */

	struct archive *out;
	struct entry *now; /* under way, or the next one */
	bool begun, ended;
	uint64_t offset;
	struct rb_buf made; /* and not read yet, from `taken` on */
	size_t taken;
	uint8_t part[PART];
};

static la_ssize_t on_write(struct archive *a, void *arg, const void *data, size_t len)
{
	(void)a;
	return rb_buf_add(arg, data, len) < 0 ? -1 : (la_ssize_t)len;
}

struct rb_vetted *rb_vetted_new(struct rb_gather *gather)
{
	struct rb_vetted *vetted = calloc(1, sizeof(*vetted));

	if (!vetted)
		return NULL;
	vetted->gather = gather;
	vetted->last = &vetted->first;
	vetted->out = archive_write_new();
	if (!vetted->out) {
		rb_vetted_free(vetted);
		return NULL;
	}
	archive_write_set_format_pax_restricted(vetted->out);
	archive_write_set_bytes_per_block(vetted->out, 0);
	archive_write_open(vetted->out, &vetted->made, NULL, on_write, NULL);
	return vetted;
}

static void free_entry(struct entry *entry)
{
	free(entry->path);
	free(entry->link);
	free(entry->text);
	free(entry);
}

void rb_vetted_free(struct rb_vetted *vetted)
{
	struct entry *next;

	if (!vetted)
		return;
	for (struct entry *entry = vetted->first; entry; entry = next) {
		next = entry->next;
		free_entry(entry);
	}
	if (vetted->out)
		archive_write_free(vetted->out); /* it writes its end */
	rb_buf_free(&vetted->made);
	free(vetted);
}

/* Return: NULL without memory */
static struct entry *add(struct rb_vetted *vetted, const char *path, mode_t type)
{
	struct entry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return NULL;
	*entry = (struct entry){ .path = strdup(path), .type = type, .object = -1 };
	if (!entry->path) {
		free_entry(entry);
		return NULL;
	}
	*vetted->last = entry;
	vetted->last = &entry->next;
	if (!vetted->now)
		vetted->now = entry;
	return entry;
}

int rb_vetted_add_folder(struct rb_vetted *vetted, const char *path)
{
	return add(vetted, path, AE_IFDIR) ? 0 : -ENOMEM;
}

int rb_vetted_add_link(struct rb_vetted *vetted, const char *path, const char *to)
{
	struct entry *entry = add(vetted, path, AE_IFLNK);

	if (entry)
		entry->link = strdup(to);
	return entry && entry->link ? 0 : -ENOMEM;
}

int rb_vetted_add_text(struct rb_vetted *vetted, const char *path, const void *text, size_t len)
{
	struct entry *entry;

	if (len > RB_VETTED_TEXTS - vetted->texts)
		return -E2BIG;
	vetted->texts += len;
	entry = add(vetted, path, AE_IFREG);
	if (!entry)
		return -ENOMEM;
	entry->text = malloc(len + 1);
	if (!entry->text)
		return -ENOMEM;
	memcpy(entry->text, text, len);
	entry->size = len;
	return 0;
}

int rb_vetted_add_object(struct rb_vetted *vetted, const char *path, enum rb_object_form form,
			 const uint8_t key[RB_DIGEST_BYTES])
{
	uint64_t size = 0;
	int object = rb_gather_object(vetted->gather, form, key, &size);
	struct entry *entry;

	if (object < 0)
		return object;
	entry = add(vetted, path, AE_IFREG);
	if (!entry)
		return -ENOMEM;
	entry->object = object;
	entry->size = size;
	return 0;
}

/* --- reading --- */

static int write_header(struct rb_vetted *vetted, const struct entry *entry)
{
	struct archive_entry *header = archive_entry_new();
	int a;

	if (!header)
		return -ENOMEM;
	archive_entry_set_pathname(header, entry->path);
	archive_entry_set_filetype(header, entry->type);
	archive_entry_set_perm(header, entry->type == AE_IFDIR ? 0755 : 0644);
	archive_entry_set_mtime(header, 0, 0);
	archive_entry_set_size(header, (la_int64_t)entry->size);
	if (entry->link)
		archive_entry_set_symlink(header, entry->link);
	a = archive_write_header(vetted->out, header);
	archive_entry_free(header);
	return a == ARCHIVE_OK ? 0 : -EIO;
}

static int write_part(struct rb_vetted *vetted, const struct entry *entry)
{
	uint64_t left = entry->size - vetted->offset;
	const void *from = vetted->part;
	ssize_t n = left < PART ? (ssize_t)left : (ssize_t)PART;

	if (entry->text)
		from = entry->text + vetted->offset;
	else
		n = rb_gather_pread(vetted->gather, entry->object, vetted->part, (size_t)n,
				    vetted->offset);
	if (n <= 0)
		return n < 0 ? (int)n : -EIO;
	vetted->offset += (uint64_t)n;
	return archive_write_data(vetted->out, from, (size_t)n) == n ? 0 : -EIO;
}

/* make some more of it */
static int step(struct rb_vetted *vetted)
{
	struct entry *entry = vetted->now;
	int r = 0;

	if (!entry) {
		vetted->ended = true;
		return archive_write_close(vetted->out) == ARCHIVE_OK ? 0 : -EIO;
	}
	if (!vetted->begun)
		r = write_header(vetted, entry);
	else if (vetted->offset < entry->size)
		r = write_part(vetted, entry);
	vetted->begun = true;
	if (r == 0 && vetted->offset == entry->size) {
		if (archive_write_finish_entry(vetted->out) != ARCHIVE_OK)
			return -EIO;
		vetted->begun = false;
		vetted->offset = 0;
		vetted->now = entry->next;
	}
	return r;
}

ssize_t rb_vetted_read(struct rb_vetted *vetted, void *buf, size_t size)
{
	size_t len;

	while (vetted->taken == vetted->made.len) {
		int r;

		if (vetted->ended)
			return 0;
		vetted->made.len = vetted->taken = 0;
		r = step(vetted);
		if (r < 0)
			return r;
	}
	len = vetted->made.len - vetted->taken;
	if (len > size)
		len = size;
	memcpy(buf, vetted->made.data + vetted->taken, len);
	vetted->taken += len;
	return (ssize_t)len;
}
