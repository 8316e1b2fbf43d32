/* SPDX-License-Identifier: Apache-2.0 */
/*
 * certs.h - authorities and node certificates made at run time, in a folder that goes away
 *
 * CERTS_DIR holds, after certs_make():
 *   ca.pem              the authority of all but:
 *   evil.pem            an authority with the same name and another key
 *   h1 h2 h3            good certificates, <name>.pem and <name>.key
 *   evil-h1 evil-h2     called h1 and h2, signed by the other authority
 *   old-h1 old-h2       expired
 *   odd                 its CN is no node name
 */
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "err.h"
#include "io.h"

static char certs_dir[] = "/tmp/reberth-test-wire.XXXXXX";
static char certs_paths[8][128];

#define DAY 86400

/* <dir>/<name>.<suffix>; the last eight stay valid */
static inline const char *certs_path(const char *name, const char *suffix)
{
	static unsigned int turn;
	char *path = certs_paths[turn++ % 8];

	snprintf(path, sizeof(certs_paths[0]), "%s/%s.%s", certs_dir, name, suffix);
	return path;
}

static inline bool certs_extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *extension;
	bool good;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	good = extension && X509_add_ext(cert, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return good;
}

static inline bool certs_save(const char *file, X509 *cert, EVP_PKEY *key)
{
	FILE *cert_file = fopen(certs_path(file, "pem"), "we");
	FILE *key_file = fopen(certs_path(file, "key"), "we");
	bool good = cert_file && key_file && PEM_write_X509(cert_file, cert) == 1 &&
		    PEM_write_PrivateKey(key_file, key, NULL, NULL, 0, NULL, NULL) == 1;

	if (cert_file)
		fclose(cert_file);
	if (key_file)
		fclose(key_file);
	return good;
}

/* @ca, @ca_key: NULL for an authority, which signs itself */
static inline bool certs_one(const char *file, const char *cn, X509 *ca, EVP_PKEY *ca_key,
			     long valid_s, X509 **ret, EVP_PKEY **ret_key)
{
	static long serial = 100;
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new(), *issuer = ca ? ca : cert;
	X509_NAME *subject = X509_get_subject_name(cert);
	char san[128];
	bool good;

	snprintf(san, sizeof(san), "DNS:%s", cn);
	X509_set_version(cert, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++);
	X509_gmtime_adj(X509_getm_notBefore(cert), -10L * DAY);
	X509_gmtime_adj(X509_getm_notAfter(cert), valid_s);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1,
				   0);
	X509_set_issuer_name(cert, X509_get_subject_name(issuer));
	X509_set_pubkey(cert, key);
	good = certs_extend(cert, issuer, NID_basic_constraints,
			    ca ? "critical,CA:FALSE" : "critical,CA:TRUE") &&
	       (!ca || certs_extend(cert, issuer, NID_subject_alt_name, san)) &&
	       (!ca || certs_extend(cert, issuer, NID_ext_key_usage, "serverAuth,clientAuth")) &&
	       X509_sign(cert, ca_key ? ca_key : key, EVP_sha256()) > 0 &&
	       certs_save(file, cert, key);
	if (ret) {
		*ret = cert;
		*ret_key = key;
		return good;
	}
	X509_free(cert);
	EVP_PKEY_free(key);
	return good;
}

static inline void certs_remove(void)
{
	rb_rm_rf(certs_dir, NULL);
}

static inline bool certs_make(void)
{
	X509 *ca = NULL, *evil = NULL;
	EVP_PKEY *ca_key = NULL, *evil_key = NULL;
	bool good;

	if (!mkdtemp(certs_dir))
		return false;
	good = certs_one("ca", "test authority", NULL, NULL, DAY, &ca, &ca_key) &&
	       certs_one("evil", "test authority", NULL, NULL, DAY, &evil, &evil_key) &&
	       certs_one("h1", "h1", ca, ca_key, DAY, NULL, NULL) &&
	       certs_one("h2", "h2", ca, ca_key, DAY, NULL, NULL) &&
	       certs_one("h3", "h3", ca, ca_key, DAY, NULL, NULL) &&
	       certs_one("old-h1", "h1", ca, ca_key, -DAY, NULL, NULL) &&
	       certs_one("old-h2", "h2", ca, ca_key, -DAY, NULL, NULL) &&
	       certs_one("odd", "h2 or h3", ca, ca_key, DAY, NULL, NULL) &&
	       certs_one("evil-h1", "h1", evil, evil_key, DAY, NULL, NULL) &&
	       certs_one("evil-h2", "h2", evil, evil_key, DAY, NULL, NULL);
	X509_free(ca);
	X509_free(evil);
	EVP_PKEY_free(ca_key);
	EVP_PKEY_free(evil_key);
	return good;
}
