/* pem.h - certificates, keys and revocation lists as PEM files, and OpenSSL's failures in words.
 *
 * Everything here reads and writes files, and so blocks: at the start, at a reload, in the CLI. */
#pragma once
#include "base/cx.h"
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <sys/types.h>

/* Why OpenSSL refused (its first, innermost reason); empties its queue. Static text. */
const char *openssl_reason(void);

/* All certificates of a file, at least one; what else is in it is passed over. CONFIG. */
rc pem_read_certs(struct cx *cx, const char *path, STACK_OF(X509) * *ret);
/* All revocation lists of a file, at least one. CONFIG. */
rc pem_read_crls(struct cx *cx, const char *path, STACK_OF(X509_CRL) * *ret);
/* The private key of a file; one behind a passphrase is refused (nobody is there to type it).
 * CONFIG. */
rc pem_read_key(struct cx *cx, const char *path, EVP_PKEY **ret);

/* Replace a file as a whole: who reads it sees the old text or the new one, also after a crash.
 * mode: its rights. OS. */
rc file_replace(struct cx *cx, const char *path, mode_t mode, const void *p, size_t n);
rc pem_write_cert(struct cx *cx, const char *path, const X509 *cert);   /* 0644 */
rc pem_write_crl(struct cx *cx, const char *path, const X509_CRL *crl); /* 0644 */
rc pem_write_key(struct cx *cx, const char *path, const EVP_PKEY *key); /* 0600 */

/* Milliseconds since 1970, whole seconds; INT64_MAX for NULL or what is no time. */
int64_t asn1_ms(const ASN1_TIME *t);

/* for _cleanup_ */
void certs_freep(STACK_OF(X509) * *p);
void crls_freep(STACK_OF(X509_CRL) * *p);
void cert_freep(X509 **p);
void crl_freep(X509_CRL **p);
void key_freep(EVP_PKEY **p);
void bio_freep(BIO **p);
