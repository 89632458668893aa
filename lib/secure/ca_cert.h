/* ca_cert.h - the certificates and revocation lists that ca.c files: X.509 and nothing else.
 *
 *   CA      CA:TRUE, pathlen:0 (it signs no other CA)   keyCertSign, cRLSign
 *   leaf    CA:FALSE   digitalSignature   serverAuth or clientAuth   names as asked
 *   all     EC P-256, SHA-256, key identifiers */
#pragma once
#include "secure/ca.h"
#include <openssl/x509v3.h>

struct ca_pair {
    X509 *cert;
    EVP_PKEY *key;
};
void ca_pair_release(struct ca_pair *p); /* for _cleanup_ */

/* The names of a request, checked: for the certificate, and as text for the index (arena). USAGE. */
rc ca_names(struct cx *cx, const struct ca_request *q, GENERAL_NAMES **ret, const char **ret_text);
void ca_names_freep(GENERAL_NAMES **p);

rc ca_cert_root(struct cx *cx, const char *cn, const char *serial, int64_t from_ms,
                int64_t until_ms, struct ca_pair *ret);
rc ca_cert_leaf(struct cx *cx, const struct ca_pair *ca, const struct ca_request *q,
                GENERAL_NAMES *names, const char *serial, struct ca_pair *ret);

/* Rows that are revoked and ended less than 30 days ago; a verifier needs no other. */
rc ca_cert_crl(struct cx *cx, const struct ca_pair *ca, const struct ca_issued *rows, size_t n,
               int64_t now_ms, int64_t until_ms, X509_CRL **ret, size_t *ret_n);
