/* identity.c - who is it? All that is read here was signed by a CA that we trust, but not written
 * by us: lengths are explicit (a NUL inside is a trick as old as certificates), and the alphabet is
 * small, because the name goes on into tables, logs and answers. */
#include "secure/identity.h"
#include <ctype.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

static bool plain_alnum(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool identity_dns_ok(const char *s, size_t n)
{
    size_t label = 0;

    if (n == 0 || n > 253)
        return false;
    for (size_t i = 0; i < n; i++) {
        bool ends = i + 1 == n || s[i + 1] == '.';
        if (s[i] == '.') {
            if (label == 0 || i + 1 == n)
                return false;
            label = 0;
        } else if (plain_alnum((unsigned char)s[i]) || s[i] == '_' ||
                   (s[i] == '-' && label > 0 && !ends)) {
            if (++label > 63)
                return false;
        } else {
            return false;
        }
    }
    return true;
}

bool identity_uri_ok(const char *s, size_t n)
{
    size_t scheme = 0;

    while (scheme < n &&
           (plain_alnum((unsigned char)s[scheme]) ||
            (scheme > 0 && (s[scheme] == '+' || s[scheme] == '.' || s[scheme] == '-'))))
        scheme++;
    if (n > IDENTITY_MAX || scheme == 0 || (s[0] >= '0' && s[0] <= '9') || scheme + 1 >= n ||
        s[scheme] != ':')
        return false;
    for (size_t i = scheme + 1; i < n; i++) {
        if (s[i] <= ' ' || s[i] > '~' || strchr("\"<>\\^`{|}", s[i]))
            return false;
    }
    return true;
}

bool identity_cn_ok(const char *s, size_t n)
{
    if (n == 0 || n > IDENTITY_MAX || s[0] == ' ' || s[n - 1] == ' ')
        return false;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < ' ' || s[i] > '~')
            return false;
    }
    return true;
}

/* ---------------------------------------------------------------- out of a certificate */

static rc take(struct cx *cx, const char *what, bool (*ok)(const char *, size_t), const void *p,
               int len, char *out)
{
    size_t n = len > 0 ? (size_t)len : 0;

    if (!ok(p, n))
        return fail(
            cx, UNAUTHENTICATED,
            "the %s in the certificate cannot serve as a name: it is empty, too long or has "
            "characters that have no place there",
            what);
    memcpy(out, p, n);
    out[n] = 0;
    return OK;
}

static const ASN1_IA5STRING *first(const GENERAL_NAMES *names, int type)
{
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        int is;
        const ASN1_IA5STRING *s = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &is);
        if (is == type)
            return s;
    }
    return NULL;
}

static void names_freep(GENERAL_NAMES **p)
{
    GENERAL_NAMES_free(*p);
}

static rc from_subject(struct cx *cx, const X509 *cert, char *out)
{
    const X509_NAME *subject = X509_get_subject_name(cert);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    unsigned char *utf8 = NULL;

    if (at < 0)
        return fail(cx, UNAUTHENTICATED, "the certificate names nobody: no URI, DNS name or CN");
    if (X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0)
        return fail(cx, UNAUTHENTICATED, "the certificate has several CNs and no other name");
    int n = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    rc r = take(cx, "CN", identity_cn_ok, utf8, n, out);
    OPENSSL_free(utf8);
    return r;
}

rc identity_of(struct cx *cx, const X509 *cert, char *out)
{
    int found = 0;
    _cleanup_(names_freep) GENERAL_NAMES *names =
        X509_get_ext_d2i(cert, NID_subject_alt_name, &found, NULL);
    const ASN1_IA5STRING *s;

    ERR_clear_error();
    if (!names && found != -1) /* there, but twice or torn */
        return fail(cx, UNAUTHENTICATED, "the certificate's alternative names cannot be read");
    if ((s = first(names, GEN_URI)))
        return take(cx, "URI", identity_uri_ok, ASN1_STRING_get0_data(s), ASN1_STRING_length(s),
                    out);
    if (!(s = first(names, GEN_DNS)))
        return from_subject(cx, cert, out);
    try(take(cx, "DNS name", identity_dns_ok, ASN1_STRING_get0_data(s), ASN1_STRING_length(s),
             out));
    for (char *c = out; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return OK;
}
