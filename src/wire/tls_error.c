// SPDX-License-Identifier: Apache-2.0
/*
 * tls_error.c - why TLS failed, in people's words
 *
 * Who found fault tells which words fit:
 *   the socket       the link or the peer's process is gone
 *   our verification the peer's certificate is wrong: the fault is over there, or in our authority
 *   an alert         the peer refuses ours. In TLS 1.3 a client's handshake ends before the server
 *                    has seen the client's certificate, so that this comes with the first read.
 *   OpenSSL itself   what came was no TLS 1.3, or was damaged
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "conn_internal.h"
#include "err.h"

/* OpenSSL's reasons above this are alerts of the peer: SSL_AD_REASON_OFFSET in ssl/ssl_local.h,
 * visible in the values of SSL_R_TLSV1_ALERT_* */
#define ALERT_REASON (SSL_R_TLSV1_ALERT_UNKNOWN_CA - SSL_AD_UNKNOWN_CA)
#define ALERT_MAX    255 /* reasons with flags (ERR_R_BIO_LIB and the like) are far above */

int rb_tls_setup_failure(struct rb_err *err, const char *fmt, ...)
{
	unsigned long e = ERR_peek_error();
	const char *reason = ERR_reason_error_string(e);
	char what[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	ERR_clear_error();
	/* a file that cannot be opened comes as the system's error */
	if (ERR_SYSTEM_ERROR(e))
		return rb_err_set(err, -ERR_GET_REASON(e), "%s", what);
	return rb_err_code(err, RB_E_INTERNAL, -EINVAL, "%s: %s", what,
			   reason ? reason : "OpenSSL gives no reason");
}

static int verify_failure(struct rb_conn *conn, long result, struct rb_err *err)
{
	switch (result) {
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE:
		return rb_err_code(err, RB_E_DENIED, -EACCES,
				   "%s shows a certificate that is not signed by our authority "
				   "('%s'); all nodes need certificates of the same one",
				   conn->label, conn->tls->ca_path);
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return rb_err_code(err, RB_E_DENIED, -EACCES,
				   "%s shows a certificate that has expired, or whose authority's "
				   "has; make it a new one",
				   conn->label);
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return rb_err_code(err, RB_E_DENIED, -EACCES,
				   "%s shows a certificate that is not valid yet; are the clocks "
				   "of both hosts right?",
				   conn->label);
	default:
		return rb_err_code(err, RB_E_DENIED, -EACCES,
				   "%s shows a certificate that is not accepted: %s", conn->label,
				   X509_verify_cert_error_string(result));
	}
}

static int refused_by_peer(struct rb_conn *conn, const char *why, struct rb_err *err)
{
	return rb_err_code(err, RB_E_DENIED, -EACCES, "%s refuses our certificate ('%s'): %s",
			   conn->label, conn->tls->node, why);
}

static int alert_failure(struct rb_conn *conn, int alert, struct rb_err *err)
{
	switch (alert) {
	case SSL_AD_UNKNOWN_CA:
	case SSL_AD_DECRYPT_ERROR: /* another authority of the same name */
		return refused_by_peer(
			conn, "it is not signed by the authority that the peer knows", err);
	case SSL_AD_CERTIFICATE_EXPIRED:
		return refused_by_peer(
			conn, "it has expired, or is not valid yet by the peer's clock", err);
	case SSL_AD_CERTIFICATE_REVOKED:
		return refused_by_peer(conn, "it is revoked", err);
	case SSL_AD_CERTIFICATE_REQUIRED:
		return rb_err_code(err, RB_E_DENIED, -EACCES,
				   "%s wants a certificate, and we showed none", conn->label);
	case SSL_AD_BAD_CERTIFICATE:
	case SSL_AD_UNSUPPORTED_CERTIFICATE:
	case SSL_AD_CERTIFICATE_UNKNOWN:
	case SSL_AD_ACCESS_DENIED:
		return refused_by_peer(conn, SSL_alert_desc_string_long(alert), err);
	default:
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "%s ended the connection with the TLS alert \"%s\"", conn->label,
				   SSL_alert_desc_string_long(alert));
	}
}

static int socket_failure(struct rb_conn *conn, struct rb_err *err)
{
	const char *when = conn->ready ? "" : " during the handshake";

	/* the number is always the same: -ETIMEDOUT, say, would look like the caller's deadline */
	if (conn->sock_errno)
		return rb_err_code(err, RB_E_PEER, -ECONNRESET,
				   "the connection to %s was lost%s: %s", conn->label, when,
				   strerror(conn->sock_errno));
	return rb_err_code(err, RB_E_PEER, -ECONNRESET,
			   "%s went away%s: it closed the connection without a word", conn->label,
			   when);
}

int rb_tls_failure(struct rb_conn *conn, int ssl_error, struct rb_err *err)
{
	unsigned long e = ERR_peek_error();
	int reason = ERR_GET_LIB(e) == ERR_LIB_SSL ? ERR_GET_REASON(e) : 0;
	long verified = SSL_get_verify_result(conn->ssl);
	const char *text = ERR_reason_error_string(e);

	ERR_clear_error();
	if (conn->sock_errno ||
	    (conn->sock_eof && (!reason || reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)))
		return socket_failure(conn, err);
	if (reason > ALERT_REASON && reason <= ALERT_REASON + ALERT_MAX)
		return alert_failure(conn, reason - ALERT_REASON, err);
	if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
		return rb_err_code(err, RB_E_DENIED, -EACCES, "%s shows no certificate",
				   conn->label);
	if (!conn->ready && verified != X509_V_OK)
		return verify_failure(conn, verified, err);
	if (!conn->ready)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "%s does not speak TLS 1.3 as reberth does: %s", conn->label,
				   text ? text : "no reason");
	return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
			   "what came from %s is damaged: %s (OpenSSL error %d)", conn->label,
			   text ? text : "no reason", ssl_error);
}
