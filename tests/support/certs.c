/* certs.c - two key pairs, two certificates: the CA's own, and a server's. */
#include "tests/support/certs.h"
#include "tests/support/proc.h"
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>

static void must(bool ok, const char *what)
{
    if (!ok)
        support_die("certificates: %s", what);
}

static void extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    must(e && X509_add_ext(cert, e, -1), value);
    X509_EXTENSION_free(e);
}

/* ca NULL: it signs itself and may sign others. */
static X509 *make_cert(const char *name, EVP_PKEY *key, X509 *ca, EVP_PKEY *ca_key)
{
    X509 *cert = X509_new();
    X509_NAME *subject = X509_get_subject_name(cert);

    must(X509_set_version(cert, 2) && ASN1_INTEGER_set(X509_get_serialNumber(cert), ca ? 2 : 1),
         "serial");
    must(X509_gmtime_adj(X509_getm_notBefore(cert), -3600) &&
             X509_gmtime_adj(X509_getm_notAfter(cert), 86400),
         "dates");
    must(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1,
                                    -1, 0),
         "name");
    must(X509_set_issuer_name(cert, ca ? X509_get_subject_name(ca) : subject) &&
             X509_set_pubkey(cert, key),
         "issuer");
    if (ca) {
        extend(cert, ca, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1,IP:::1");
    } else {
        extend(cert, cert, NID_basic_constraints, "critical,CA:TRUE");
        extend(cert, cert, NID_key_usage, "critical,keyCertSign");
    }
    must(X509_sign(cert, ca_key, EVP_sha256()) > 0, "signature");
    return cert;
}

static FILE *file_in(const char *dir, const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    must(f != NULL, path);
    return f;
}

static void write_cert(const char *dir, const char *name, X509 *cert, char path[128])
{
    FILE *f = file_in(dir, name, path);

    must(PEM_write_X509(f, cert) == 1, path);
    fclose(f);
}

void certs_make(struct certs *c, const char *dir)
{
    EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");

    must(ca_key && key, "keys");
    X509 *ca = make_cert("test CA", ca_key, NULL, ca_key);
    X509 *cert = make_cert("localhost", key, ca, ca_key);
    write_cert(dir, "ca.pem", ca, c->ca);
    write_cert(dir, "cert.pem", cert, c->cert);
    FILE *f = file_in(dir, "key.pem", c->key);
    must(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1, c->key);
    fclose(f);
    X509_free(ca);
    X509_free(cert);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(key);
}
