/* test_identity.c - the name of a certificate's holder, also when somebody tries to be clever. */
#include "base/cx.h"
#include "secure/identity.h"
#include "tests/unit/unit.h"
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#define T(text) text, sizeof(text) - 1
#define X10(s)  s s s s s s s s s s
#define LONG_URI                                                                                   \
    "urn:" X10("1234567890") X10("1234567890") "1234567890123456789012345678901234567890123456789" \
                                               "01"

struct name {
    int type; /* GEN_…, 0: the end */
    const char *p;
    size_t n;
};
static const struct {
    const char *title;
    struct name san[4];
    struct name cn[3];
    const char *want; /* NULL: UNAUTHENTICATED */
} cases[] = {
    {"a URI", {{GEN_URI, T("urn:shop:1")}}, {{0}}, "urn:shop:1"},
    {"a DNS name", {{GEN_DNS, T("shop-1.example")}}, {{0}}, "shop-1.example"},
    {"a DNS name is one name in any case",
     {{GEN_DNS, T("Shop-1.EXAMPLE")}},
     {{0}},
     "shop-1.example"},
    {"a URI keeps its case", {{GEN_URI, T("urn:Shop:A")}}, {{0}}, "urn:Shop:A"},
    {"no SAN: the CN", {{0}}, {{1, T("Shop 1")}}, "Shop 1"},
    {"URI before DNS before CN",
     {{GEN_DNS, T("b.example")}, {GEN_URI, T("urn:a")}},
     {{1, T("c")}},
     "urn:a"},
    {"DNS before CN", {{GEN_DNS, T("b.example")}}, {{1, T("c")}}, "b.example"},
    {"several URIs: the first", {{GEN_URI, T("urn:a")}, {GEN_URI, T("urn:b")}}, {{0}}, "urn:a"},
    {"several DNS names: the first", {{GEN_DNS, T("a")}, {GEN_DNS, T("b")}}, {{0}}, "a"},
    {"a SAN of other sorts: the CN", {{GEN_EMAIL, T("a@b")}}, {{1, T("c")}}, "c"},
    {"an underscore", {{GEN_DNS, T("core_switch_1")}}, {{0}}, "core_switch_1"},
    {"a URI of 255", {{GEN_URI, T(LONG_URI)}}, {{0}}, LONG_URI},

    {"nobody", {{0}}, {{0}}, NULL},
    {"an address only", {{GEN_IPADD, T("\x7f\0\0\1")}}, {{0}}, NULL},
    {"several CNs", {{0}}, {{1, T("a")}, {1, T("b")}}, NULL},
    {"NUL in a URI", {{GEN_URI, T("urn:shop:1\0.evil")}}, {{0}}, NULL},
    {"NUL in a DNS name", {{GEN_DNS, T("shop.example\0.evil.example")}}, {{0}}, NULL},
    {"NUL at the end of a DNS name", {{GEN_DNS, T("shop.example\0")}}, {{0}}, NULL},
    {"NUL in a CN", {{0}}, {{1, T("shop\0evil")}}, NULL},
    {"a bad URI is not passed over",
     {{GEN_URI, T("urn:a b")}, {GEN_URI, T("urn:b")}, {GEN_DNS, T("c")}},
     {{1, T("d")}},
     NULL},
    {"a bad DNS name is not passed over", {{GEN_DNS, T("*.example")}}, {{1, T("d")}}, NULL},
    {"an empty URI", {{GEN_URI, T("")}}, {{1, T("d")}}, NULL},
    {"an empty DNS name", {{GEN_DNS, T("")}}, {{1, T("d")}}, NULL},
    {"a URI without a scheme", {{GEN_URI, T("shop")}}, {{0}}, NULL},
    {"a URI without more", {{GEN_URI, T("urn:")}}, {{0}}, NULL},
    {"a URI that begins with a digit", {{GEN_URI, T("1rn:a")}}, {{0}}, NULL},
    {"a URI of 256", {{GEN_URI, T(LONG_URI "1")}}, {{0}}, NULL},
    {"a line feed in a URI", {{GEN_URI, T("urn:a\nev=fake")}}, {{0}}, NULL},
    {"bytes above ASCII in a URI", {{GEN_URI, T("urn:\xd8\xa3")}}, {{0}}, NULL},
    {"two dots", {{GEN_DNS, T("a..b")}}, {{0}}, NULL},
    {"a dot at the front", {{GEN_DNS, T(".a")}}, {{0}}, NULL},
    {"a dot at the end", {{GEN_DNS, T("a.")}}, {{0}}, NULL},
    {"a hyphen at the front of a label", {{GEN_DNS, T("a.-b")}}, {{0}}, NULL},
    {"a hyphen at the end of a label", {{GEN_DNS, T("a-.b")}}, {{0}}, NULL},
    {"a label of 64",
     {{GEN_DNS, T("1234567890123456789012345678901234567890123456789012345678901234")}},
     {{0}},
     NULL},
    {"Arabic in a CN: looks like another", {{0}}, {{1, T("\xd9\x85\xd8\xad\xd9\x84")}}, NULL},
    {"an escape in a CN", {{0}}, {{1, T("a\x1b[2J")}}, NULL},
    {"a CN that ends in a space", {{0}}, {{1, T("a ")}}, NULL},
};

static void add_san(X509 *x, const struct name *san)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();

    for (; san->type; san++) {
        GENERAL_NAME *name = GENERAL_NAME_new();
        ASN1_STRING *s = san->type == GEN_IPADD ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
        ck_assert_int_eq(ASN1_STRING_set(s, san->p, (int)san->n), 1);
        GENERAL_NAME_set0_value(name, san->type, s);
        ck_assert_int_gt(sk_GENERAL_NAME_push(names, name), 0);
    }
    ck_assert_int_eq(X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, 0), 1);
    GENERAL_NAMES_free(names);
}

static X509 *certificate(const struct name *san, const struct name *cn)
{
    X509 *x = X509_new();

    if (san->type)
        add_san(x, san);
    for (; cn->type; cn++)
        ck_assert_int_eq(X509_NAME_add_entry_by_NID(X509_get_subject_name(x), NID_commonName,
                                                    V_ASN1_UTF8STRING, (const unsigned char *)cn->p,
                                                    (int)cn->n, -1, 0),
                         1);
    return x;
}

START_TEST(the_name)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    X509 *x = certificate(cases[_i].san, cases[_i].cn);
    char name[IDENTITY_MAX + 1] = "untouched";
    rc r = identity_of(&cx, x, name);

    ck_assert_msg(r == (cases[_i].want ? OK : E_UNAUTHENTICATED), "case: %s: %d %s",
                  cases[_i].title, r, cx_words(&cx, r));
    ck_assert_msg(strcmp(name, cases[_i].want ? cases[_i].want : "untouched") == 0,
                  "case: %s: '%s'", cases[_i].title, name);
    ck_assert_int_eq(ERR_peek_error(), 0);
    X509_free(x);
}
END_TEST

static void add_raw(X509 *x, const char *der, int n)
{
    ASN1_OCTET_STRING *s = ASN1_OCTET_STRING_new();

    ck_assert_int_eq(ASN1_OCTET_STRING_set(s, (const unsigned char *)der, n), 1);
    X509_EXTENSION *e = X509_EXTENSION_create_by_NID(NULL, NID_subject_alt_name, 0, s);
    ck_assert_int_eq(X509_add_ext(x, e, -1), 1);
    X509_EXTENSION_free(e);
    ASN1_OCTET_STRING_free(s);
}

/* Alternative names that cannot be read are no reason to believe the CN. */
static const struct {
    const char *title, *der[2];
    int n;
    const char *want;
} raws[] = {
    {"as it should be", {"\x30\x03\x82\x01\x61"}, 5, "a"},
    {"an empty list is none", {"\x30\x00"}, 2, "cn"},
    {"torn", {"\x30\x05\x82\x09\x61"}, 5, NULL},
    {"twice", {"\x30\x03\x82\x01\x61", "\x30\x03\x82\x01\x62"}, 5, NULL},
};

START_TEST(names_that_cannot_be_read)
{
    static const struct name none[] = {{0}}, cn[] = {{1, T("cn")}, {0}};
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    X509 *x = certificate(none, cn);
    char name[IDENTITY_MAX + 1] = "";

    for (int i = 0; i < 2 && raws[_i].der[i]; i++)
        add_raw(x, raws[_i].der[i], raws[_i].n);
    rc r = identity_of(&cx, x, name);
    ck_assert_msg(r == (raws[_i].want ? OK : E_UNAUTHENTICATED), "case: %s: %d", raws[_i].title, r);
    ck_assert_str_eq(name, raws[_i].want ? raws[_i].want : "");
    X509_free(x);
}
END_TEST

UNIT(identity, {"the name", the_name, COUNT(cases)},
     {"names that cannot be read", names_that_cannot_be_read, COUNT(raws)})
