// SPDX-License-Identifier: Apache-2.0
/*
 * legacy.c - which layer a folder of an archive of Docker <= 24 holds
 *
 * There a layer's archive is "<v1 id>/layer.tar". The v1 ID is no hash of the layer: it is the
 * SHA-256 of a made-up image configuration of Docker 1.9, to which the layer's chain ID and the v1
 * ID of the layer below were added as "layer_id" and "parent" (moby image/v1/imagev1.go CreateID(),
 * image/tarexport/save.go saveImage()). manifest.json, which maps layers to folders, comes last in
 * the archive, too late to leave anything out.
 *
 * That configuration is no constant: it has the date 0 in dockerd's time zone and all the fields of
 * that version's container.Config. But it is in the folder, as the file "json", and comes before
 * "layer.tar". So the ID is not predicted but checked: put the chain ID in question into "json", as
 * Docker did, and if the hash is the folder's name, it is that layer's folder. Whoever fails this
 * check is sent along, which is never wrong. (The image's last layer has the real configuration, in
 * Go's way of writing text, which we do not imitate; so it always fails.)
 */
#include "legacy.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "json.h"

#define HEX_SIZE 65

static bool sha256_hex(const char *text, size_t len, char ret[HEX_SIZE])
{
	unsigned char digest[32];
	size_t digest_len = 0;

	if (!EVP_Q_digest(NULL, "SHA256", NULL, text, len, digest, &digest_len) ||
	    digest_len != sizeof(digest))
		return false;
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(ret + 2 * i, 3, "%02x", digest[i]);
	return true;
}

/* chain ID of the first layer: its diff ID; of others: hash of "<chain ID below> <diff ID>" */
json_t *rb_layer_chain(const json_t *diff_ids)
{
	_cleanup_json_ json_t *out = json_array();
	char chain[512] = "", both[1024], hex[HEX_SIZE];
	json_t *diff_id;
	size_t i;

	json_array_foreach (diff_ids, i, diff_id) {
		const char *text = json_string_value(diff_id);

		if (!text || strlen(text) >= sizeof(chain))
			return NULL;
		if (i == 0) {
			snprintf(chain, sizeof(chain), "%s", text);
		} else {
			snprintf(both, sizeof(both), "%s %s", chain, text);
			if (!sha256_hex(both, strlen(both), hex))
				return NULL;
			snprintf(chain, sizeof(chain), "sha256:%s", hex);
		}
		if (json_array_append_new(out, json_string(chain)))
			return NULL;
	}
	return TAKE_PTR(out);
}

static int compare_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* as Go writes a map: keys sorted (on the first level only, the values were taken over as text) */
static char *dump_sorted(const json_t *object)
{
	_cleanup_free_ const char **keys = calloc(json_object_size(object) + 1, sizeof(*keys));
	_cleanup_json_ json_t *sorted = json_object();
	const char *key;
	json_t *value;
	size_t n = 0;

	if (!keys || !sorted)
		return NULL;
	json_object_foreach ((json_t *)object, key, value)
		keys[n++] = key;
	qsort(keys, n, sizeof(*keys), compare_text);
	for (size_t i = 0; i < n; i++)
		if (json_object_set(sorted, keys[i], json_object_get(object, keys[i])))
			return NULL;
	return json_dumps(sorted, JSON_COMPACT);
}

bool rb_legacy_is_layer(const char *name, const char *text, size_t len, const char *chain_id)
{
	_cleanup_json_ json_t *config = NULL;
	_cleanup_free_ char *dump = NULL;
	const char *parent;
	char hex[HEX_SIZE];

	if (rb_json_parse(text, len, &config, NULL) < 0 || !json_is_object(config))
		return false;
	parent = rb_json_str(config, "parent", NULL);
	if (parent && json_object_set_new(config, "parent", json_sprintf("sha256:%s", parent)))
		return false;
	/* these two were added after the hash */
	json_object_del(config, "id");
	json_object_del(config, "os");
	if (json_object_set_new(config, "layer_id", json_string(chain_id)))
		return false;
	dump = dump_sorted(config);
	return dump && sha256_hex(dump, strlen(dump), hex) && strcmp(hex, name) == 0;
}
