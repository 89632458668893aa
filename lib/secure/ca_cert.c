/* ca_cert.c - see ca_cert.h. Names go into the certificate as they are, by way of no configuration
 * language: "DNS:a,IP:…" is text for people only. */
#include "secure/ca_cert.h"
#include "base/text.h"
#include "secure/identity.h"
#include "secure/pem.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <openssl/err.h>
#include <string.h>

#define CRL_KEEP_MS 2592000000 /* 30 days behind the end of what it names */

void ca_pair_release(struct ca_pair *p)
{
    X509_free(p->cert);
    EVP_PKEY_free(p->key);
    *p = (struct ca_pair){0};
}

void ca_names_freep(GENERAL_NAMES **p)
{
    GENERAL_NAMES_free(*p);
}

/* OpenSSL refused what it cannot refuse: memory, or a mistake of ours. */
static rc refused(struct cx *cx, const char *what)
{
    return fail(cx, CRYPTO, "%s cannot be made: %s", what, openssl_reason());
}

/* ---------------------------------------------------------------- names */

static bool push(GENERAL_NAMES *names, int type, const void *p, size_t n)
{
    ASN1_STRING *s = type == GEN_IPADD ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
    GENERAL_NAME *name = GENERAL_NAME_new();

    if (s && name && ASN1_STRING_set(s, p, (int)n) == 1 && sk_GENERAL_NAME_push(names, name) > 0) {
        GENERAL_NAME_set0_value(name, type, s);
        return true;
    }
    GENERAL_NAME_free(name);
    ASN1_STRING_free(s);
    return false;
}

static rc add_dns(struct cx *cx, const struct ca_request *q, char *word, GENERAL_NAMES *names)
{
    const char *plain = q->kind == CA_SERVER && starts_with(word, "*.") ? word + 2 : word;

    for (char *c = word; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    if (!identity_dns_ok(plain, strlen(plain)))
        return fail(cx, USAGE, "'%s' is not a DNS name", word);
    return push(names, GEN_DNS, word, strlen(word)) ? OK : refused(cx, "a name");
}

static rc add_uri(struct cx *cx, const struct ca_request *q, char *word, GENERAL_NAMES *names)
{
    if (!identity_uri_ok(word, strlen(word)))
        return fail(cx, USAGE,
                    "'%s' is not a URI such as urn:shop:1 or spiffe://example.net/shop/1", word);
    return push(names, GEN_URI, word, strlen(word)) ? OK : refused(cx, "a name");
}

static rc add_ip(struct cx *cx, const struct ca_request *q, char *word, GENERAL_NAMES *names)
{
    unsigned char ip[16];
    bool v6 = strchr(word, ':');

    if (inet_pton(v6 ? AF_INET6 : AF_INET, word, ip) != 1)
        return fail(cx, USAGE, "'%s' is not an address such as 10.0.0.1 or fd00::1", word);
    return push(names, GEN_IPADD, ip, v6 ? 16 : 4) ? OK : refused(cx, "a name");
}

typedef rc add_fn(struct cx *cx, const struct ca_request *q, char *word, GENERAL_NAMES *names);

/* "a, b" of one sort; *text grows by "DNS:a,DNS:b". */
static rc add_list(struct cx *cx, const struct ca_request *q, const char *list, const char *sort,
                   add_fn *add, GENERAL_NAMES *names, const char **text)
{
    char *rest = arena_strdup(&cx->arena, list);

    for (char *word; (word = strsep(&rest, ","));) {
        word = str_trim(word);
        try(add(cx, q, word, names));
        *text = arena_printf(&cx->arena, "%s%s%s:%s", *text, **text ? "," : "", sort, word);
    }
    return OK;
}

static rc check_asked(struct cx *cx, const struct ca_request *q)
{
    if (q->kind == CA_SERVER && q->uri)
        return fail(cx, USAGE, "a server is known by DNS names and addresses, not by a URI");
    if (q->kind == CA_SERVER && !q->dns && !q->ip)
        return fail(cx, USAGE, "a server needs a DNS name or an address");
    if (q->kind != CA_SERVER && q->ip)
        return fail(cx, USAGE, "a %s is known by a DNS name or a URI, not by an address",
                    ca_kind_word(q->kind));
    if (q->kind != CA_SERVER && ((q->dns && q->uri) || strchr(q->dns ? q->dns : "", ',') ||
                                 strchr(q->uri ? q->uri : "", ',')))
        return fail(cx, USAGE, "a %s has one identity: either one DNS name or one URI",
                    ca_kind_word(q->kind));
    return OK;
}

rc ca_names(struct cx *cx, const struct ca_request *q, GENERAL_NAMES **ret, const char **ret_text)
{
    _cleanup_(ca_names_freep) GENERAL_NAMES *names = GENERAL_NAMES_new();
    const char *text = "", *dns = q->dns;

    try(check_asked(cx, q));
    if (!names)
        return refused(cx, "a name");
    if (!dns && !q->uri && q->kind != CA_SERVER)
        dns = q->name;
    if (q->uri)
        try(add_list(cx, q, q->uri, "URI", add_uri, names, &text));
    if (dns)
        try(add_list(cx, q, dns, "DNS", add_dns, names, &text));
    if (q->ip)
        try(add_list(cx, q, q->ip, "IP", add_ip, names, &text));
    *ret = TAKE_PTR(names);
    *ret_text = text;
    return OK;
}

/* ---------------------------------------------------------------- certificates */

static bool set_serial(ASN1_INTEGER *to, const char *hex)
{
    BIGNUM *n = NULL;
    bool ok = BN_hex2bn(&n, hex) == CA_SERIAL_LEN && BN_to_ASN1_INTEGER(n, to);

    BN_free(n);
    return ok;
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX v3;

    X509V3_set_ctx(&v3, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &v3, nid, value);
    bool ok = e && X509_add_ext(cert, e, -1) == 1;
    X509_EXTENSION_free(e);
    return ok;
}

/* What all certificates have, unsigned. */
static bool begin(struct ca_pair *p, const char *cn, const char *serial, int64_t from_ms,
                  int64_t until_ms)
{
    p->cert = X509_new();
    p->key = EVP_EC_gen("P-256");
    return p->cert && p->key && X509_set_version(p->cert, X509_VERSION_3) == 1 &&
           set_serial(X509_get_serialNumber(p->cert), serial) &&
           X509_NAME_add_entry_by_NID(X509_get_subject_name(p->cert), NID_commonName, MBSTRING_UTF8,
                                      (const unsigned char *)cn, -1, -1, 0) == 1 &&
           ASN1_TIME_set(X509_getm_notBefore(p->cert), from_ms / 1000) &&
           ASN1_TIME_set(X509_getm_notAfter(p->cert), until_ms / 1000) &&
           X509_set_pubkey(p->cert, p->key) == 1;
}

static bool sign(struct ca_pair *p, const struct ca_pair *by)
{
    return X509_set_issuer_name(p->cert, X509_get_subject_name(by->cert)) == 1 &&
           X509_sign(p->cert, by->key, EVP_sha256()) > 0;
}

rc ca_cert_root(struct cx *cx, const char *cn, const char *serial, int64_t from_ms,
                int64_t until_ms, struct ca_pair *ret)
{
    ERR_clear_error();
    if (begin(ret, cn, serial, from_ms, until_ms) &&
        add_extension(ret->cert, ret->cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
        add_extension(ret->cert, ret->cert, NID_key_usage, "critical,keyCertSign,cRLSign") &&
        add_extension(ret->cert, ret->cert, NID_subject_key_identifier, "hash") && sign(ret, ret))
        return OK;
    return refused(cx, "the CA's certificate");
}

rc ca_cert_leaf(struct cx *cx, const struct ca_pair *ca, const struct ca_request *q,
                GENERAL_NAMES *names, const char *serial, struct ca_pair *ret)
{
    const char *usage = q->kind == CA_SERVER ? "serverAuth" : "clientAuth";

    ERR_clear_error();
    if (begin(ret, q->name, serial, q->from_ms, q->until_ms) &&
        add_extension(ret->cert, ca->cert, NID_basic_constraints, "critical,CA:FALSE") &&
        add_extension(ret->cert, ca->cert, NID_key_usage, "critical,digitalSignature") &&
        add_extension(ret->cert, ca->cert, NID_ext_key_usage, usage) &&
        add_extension(ret->cert, ca->cert, NID_subject_key_identifier, "hash") &&
        add_extension(ret->cert, ca->cert, NID_authority_key_identifier, "keyid:always") &&
        X509_add1_ext_i2d(ret->cert, NID_subject_alt_name, names, 0, 0) == 1 && sign(ret, ca))
        return OK;
    return refused(cx, "the certificate");
}

/* ---------------------------------------------------------------- the revocation list */

static bool add_revoked(X509_CRL *crl, const struct ca_issued *row)
{
    X509_REVOKED *r = X509_REVOKED_new();
    ASN1_INTEGER *serial = ASN1_INTEGER_new();
    ASN1_TIME *at = ASN1_TIME_set(NULL, row->revoked_ms / 1000);
    bool ok = r && serial && at && set_serial(serial, row->serial) &&
              X509_REVOKED_set_serialNumber(r, serial) == 1 &&
              X509_REVOKED_set_revocationDate(r, at) == 1 && X509_CRL_add0_revoked(crl, r) == 1;

    ASN1_INTEGER_free(serial);
    ASN1_TIME_free(at);
    if (!ok)
        X509_REVOKED_free(r);
    return ok;
}

static bool set_crl_times(X509_CRL *crl, int64_t from_ms, int64_t until_ms)
{
    ASN1_TIME *from = ASN1_TIME_set(NULL, from_ms / 1000),
              *until = ASN1_TIME_set(NULL, until_ms / 1000);
    bool ok = from && until && X509_CRL_set1_lastUpdate(crl, from) == 1 &&
              X509_CRL_set1_nextUpdate(crl, until) == 1;

    ASN1_TIME_free(from);
    ASN1_TIME_free(until);
    return ok;
}

/* Grows from list to list: the time, in ms. */
static bool set_crl_number(X509_CRL *crl, int64_t number)
{
    ASN1_INTEGER *n = ASN1_INTEGER_new();
    bool ok = n && ASN1_INTEGER_set_int64(n, number) == 1 &&
              X509_CRL_add1_ext_i2d(crl, NID_crl_number, n, 0, 0) == 1;

    ASN1_INTEGER_free(n);
    return ok;
}

static bool set_crl_issuer(X509_CRL *crl, X509 *ca)
{
    X509V3_CTX v3;

    X509V3_set_ctx(&v3, ca, NULL, NULL, crl, 0);
    X509_EXTENSION *e =
        X509V3_EXT_conf_nid(NULL, &v3, NID_authority_key_identifier, "keyid:always");
    bool ok = e && X509_CRL_add_ext(crl, e, -1) == 1 &&
              X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca)) == 1;
    X509_EXTENSION_free(e);
    return ok;
}

rc ca_cert_crl(struct cx *cx, const struct ca_pair *ca, const struct ca_issued *rows, size_t n,
               int64_t now_ms, int64_t until_ms, X509_CRL **ret, size_t *ret_n)
{
    _cleanup_(crl_freep) X509_CRL *crl = X509_CRL_new();
    size_t named = 0;

    ERR_clear_error();
    bool ok = crl && X509_CRL_set_version(crl, X509_CRL_VERSION_2) == 1 &&
              set_crl_issuer(crl, ca->cert) && set_crl_number(crl, now_ms) &&
              set_crl_times(crl, now_ms - CA_SKEW_MS, until_ms);
    for (size_t i = 0; ok && i < n; i++) {
        if (rows[i].revoked_ms && rows[i].until_ms + CRL_KEEP_MS > now_ms) {
            ok = add_revoked(crl, &rows[i]);
            named++;
        }
    }
    if (!ok || X509_CRL_sort(crl) != 1 || X509_CRL_sign(crl, ca->key, EVP_sha256()) <= 0)
        return refused(cx, "the revocation list");
    *ret = TAKE_PTR(crl);
    *ret_n = named;
    return OK;
}
