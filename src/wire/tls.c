// SPDX-License-Identifier: Apache-2.0
/*
 * tls.c - certificates and the settings of TLS
 *
 * One context serves both directions: TLS 1.3 only, both sides show a certificate, both verify the
 * other's against the same authority. Tickets are off, since every connection is to prove itself
 * with a certificate; compression and renegotiation do not exist in TLS 1.3. The cipher is what
 * both OpenSSLs like best, which is AES-256-GCM.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "conn.h"
#include "conn_internal.h"
#include "err.h"

/* a node certificate below one authority, and room for two in between */
#define CHAIN_DEPTH 3

void rb_tls_free(struct rb_tls *tls)
{
	if (!tls)
		return;
	SSL_CTX_free(tls->ctx);
	free(tls);
}

static void free_tls_ptr(struct rb_tls **tls)
{
	rb_tls_free(*tls);
}

const char *rb_tls_node(const struct rb_tls *tls)
{
	return tls->node;
}

int rb_tls_certificate_name(const X509 *cert, char ret[RB_NODE_MAX + 1], struct rb_err *err)
{
	const X509_NAME *subject = X509_get_subject_name(cert);
	int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	unsigned char *text = NULL;
	int len = -1;
	bool good;

	/* two names would be one for the authority to check and one for us to believe */
	if (at >= 0 && X509_NAME_get_index_by_NID(subject, NID_commonName, at) < 0)
		len = ASN1_STRING_to_UTF8(
			&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
	good = len > 0 && len <= RB_NODE_MAX && memchr(text, '\0', (size_t)len) == NULL;
	if (good) {
		memcpy(ret, text, (size_t)len);
		ret[len] = '\0';
		good = rb_node_valid(ret);
	}
	OPENSSL_free(text);
	if (!good)
		return rb_err_code(err, RB_E_DENIED, -EINVAL,
				   "its subject has no CN that is a node name (letters, digits, "
				   "'.', '-', '_'; at most %d)",
				   RB_NODE_MAX);
	return 0;
}

/* a key with a passphrase is an error, not a question on some terminal */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
	(void)buf;
	(void)size;
	(void)writing;
	(void)arg;
	return -1;
}

static int configure(SSL_CTX *ctx, struct rb_err *err)
{
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_verify_depth(ctx, CHAIN_DEPTH);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
	if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_num_tickets(ctx, 0) != 1)
		return rb_tls_setup_failure(err, "set up TLS 1.3");
	return 0;
}

static int load(struct rb_tls *tls, const char *cert_path, const char *key_path, struct rb_err *err)
{
	int r;

	if (SSL_CTX_load_verify_file(tls->ctx, tls->ca_path) != 1)
		return rb_tls_setup_failure(err, "authority's certificate '%s'", tls->ca_path);
	if (SSL_CTX_use_certificate_chain_file(tls->ctx, cert_path) != 1)
		return rb_tls_setup_failure(err, "certificate '%s'", cert_path);
	/* says also when it does not belong to the certificate */
	if (SSL_CTX_use_PrivateKey_file(tls->ctx, key_path, SSL_FILETYPE_PEM) != 1)
		return rb_tls_setup_failure(err, "key '%s' of certificate '%s'", key_path,
					    cert_path);
	r = rb_tls_certificate_name(SSL_CTX_get0_certificate(tls->ctx), tls->node, err);
	return r < 0 ? rb_err_wrap(err, r, "certificate '%s'", cert_path) : 0;
}

int rb_tls_new(const char *ca_path, const char *cert_path, const char *key_path,
	       struct rb_tls **ret, struct rb_err *err)
{
	_cleanup_(free_tls_ptr) struct rb_tls *tls = calloc(1, sizeof(*tls));
	int r;

	if (!tls)
		return rb_err_set(err, -ENOMEM, "set up TLS");
	if (strlen(ca_path) >= sizeof(tls->ca_path))
		return rb_err_set(err, -ENAMETOOLONG, "authority's certificate '%s'", ca_path);
	strcpy(tls->ca_path, ca_path);
	ERR_clear_error();
	tls->ctx = SSL_CTX_new(TLS_method());
	if (!tls->ctx)
		return rb_tls_setup_failure(err, "set up TLS");
	r = configure(tls->ctx, err);
	if (r == 0)
		r = load(tls, cert_path, key_path, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(tls);
	return 0;
}
