/* test_ca.c - a CA in a folder: what it makes, what it refuses, and what is on disk afterwards. */
#include "base/text.h"
#include "secure/ca.h"
#include "secure/identity.h"
#include "secure/pem.h"
#include "tests/unit/ca_folder.h"
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <sys/wait.h>

static X509 *read_cert(struct folder *f, const char *file)
{
    STACK_OF(X509) *all = NULL;

    folder_ok(f, pem_read_certs(&f->cx, folder_path(f, file), &all));
    ck_assert_int_eq(sk_X509_num(all), 1);
    X509 *x = sk_X509_shift(all);
    certs_freep(&all);
    return x;
}
#define _x509_ _cleanup_(cert_freep) X509

static X509_CRL *read_crl(struct folder *f)
{
    STACK_OF(X509_CRL) *all = NULL;

    folder_ok(f, pem_read_crls(&f->cx, folder_path(f, "ca.crl"), &all));
    X509_CRL *crl = sk_X509_CRL_shift(all);
    crls_freep(&all);
    return crl;
}

static unsigned rights(struct folder *f, const char *file)
{
    struct stat st;

    ck_assert_msg(stat(folder_path(f, file), &st) == 0, "%s is not there", file);
    return st.st_mode & 07777;
}

/* X.509's own judgement, as strict as it gets: X509_V_OK or the reason. */
static int verify(struct folder *f, const char *file, int purpose)
{
    _x509_ *ca = read_cert(f, "ca.crt"), *leaf = read_cert(f, file);
    _cleanup_(crl_freep) X509_CRL *crl = read_crl(f);
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *v = X509_STORE_CTX_new();

    X509_STORE_add_cert(store, ca);
    X509_STORE_add_crl(store, crl);
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_X509_STRICT);
    ck_assert_int_eq(X509_STORE_CTX_init(v, store, leaf, NULL), 1);
    X509_STORE_CTX_set_purpose(v, purpose);
    int good = X509_verify_cert(v), why = X509_STORE_CTX_get_error(v);
    ck_assert((good == 1) == (why == X509_V_OK));
    X509_STORE_CTX_free(v);
    X509_STORE_free(store);
    return why;
}

START_TEST(what_is_made)
{
    _folder_ f = folder_new();
    folder_init(&f, "Shop CA");
    struct ca_issued c = folder_issue(&f, "shop-1", CA_CLIENT);
    _x509_ *ca = read_cert(&f, "ca.crt"), *leaf = read_cert(&f, "issued/shop-1.crt");
    char serial[2 * CA_SERIAL_LEN], name[IDENTITY_MAX + 1];

    ck_assert_uint_eq(rights(&f, "ca.key"), 0600);
    ck_assert_uint_eq(rights(&f, "issued/shop-1.key"), 0600);
    ck_assert_uint_eq(rights(&f, "index"), 0600);
    ck_assert_uint_eq(rights(&f, "issued"), 0700);
    ck_assert_uint_eq(rights(&f, "ca.crt"), 0644);

    ck_assert_int_eq(X509_check_ca(ca), 1);
    ck_assert_int_eq(X509_get_pathlen(ca), 0);
    ck_assert_uint_eq(X509_get_key_usage(ca), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
    ck_assert_ptr_nonnull(X509_get0_subject_key_id(ca));

    ck_assert_int_eq(X509_check_ca(leaf), 0);
    ck_assert_uint_eq(X509_get_key_usage(leaf), KU_DIGITAL_SIGNATURE);
    ck_assert_uint_eq(X509_get_extended_key_usage(leaf), XKU_SSL_CLIENT);
    ck_assert_int_eq(
        ASN1_OCTET_STRING_cmp(X509_get0_authority_key_id(leaf), X509_get0_subject_key_id(ca)), 0);
    const ASN1_INTEGER *n = X509_get0_serialNumber(leaf);
    ck_assert(ASN1_STRING_length(n) == CA_SERIAL_LEN / 2 && n->type == V_ASN1_INTEGER);
    hex_encode(ASN1_STRING_get0_data(n), CA_SERIAL_LEN / 2, serial);
    ck_assert_str_eq(serial, c.serial);
    ck_assert_int_eq(asn1_ms(X509_get0_notAfter(leaf)) / 1000, c.until_ms / 1000);
    ck_assert_int_le(asn1_ms(X509_get0_notBefore(leaf)), clock_ms() - CA_SKEW_MS);
    folder_ok(&f, identity_of(&f.cx, leaf, name));
    ck_assert_str_eq(name, "shop-1");
}
END_TEST

/* Names as asked; whoever issues is held to what the doors will accept. */
static const struct {
    const char *title, *name;
    enum ca_kind kind;
    const char *dns, *uri, *ip;
    int days;
    rc want;
    const char *names; /* or a part of the words */
} asked[] = {
    {"a server", "hub", CA_SERVER, "Hub.example, localhost", NULL, "10.0.0.1,::1", 9, OK,
     "DNS:hub.example,DNS:localhost,IP:10.0.0.1,IP:::1"},
    {"a server by a wildcard", "hub", CA_SERVER, "*.hub.example", NULL, NULL, 9, OK,
     "DNS:*.hub.example"},
    {"a server by its address", "hub", CA_SERVER, NULL, NULL, "10.0.0.1", 9, OK, "IP:10.0.0.1"},
    {"a client by its name", "shop-1", CA_CLIENT, NULL, NULL, NULL, 9, OK, "DNS:shop-1"},
    {"a client by a URI", "shop-1", CA_CLIENT, NULL, "urn:shop:1", NULL, 9, OK, "URI:urn:shop:1"},
    {"an agent by DNS", "a", CA_AGENT, "cpe-7.example", NULL, NULL, 9, OK, "DNS:cpe-7.example"},
    {"no name for a server", "hub", CA_SERVER, NULL, NULL, NULL, 9, E_USAGE, "needs a DNS name"},
    {"a URI for a server", "hub", CA_SERVER, "a", "urn:a", NULL, 9, E_USAGE, "not by a URI"},
    {"an address for a client", "s", CA_CLIENT, NULL, NULL, "10.0.0.1", 9, E_USAGE, "address"},
    {"two identities", "s", CA_CLIENT, "a", "urn:a", NULL, 9, E_USAGE, "one identity"},
    {"two DNS names", "s", CA_AGENT, "a,b", NULL, NULL, 9, E_USAGE, "one identity"},
    {"two URIs", "s", CA_AGENT, NULL, "urn:a,urn:b", NULL, 9, E_USAGE, "one identity"},
    {"a wildcard for a client", "s", CA_CLIENT, "*.a", NULL, NULL, 9, E_USAGE, "not a DNS name"},
    {"an empty name in the list", "s", CA_SERVER, "a,,b", NULL, NULL, 9, E_USAGE, "not a DNS name"},
    {"no DNS name", "s", CA_SERVER, "a b", NULL, NULL, 9, E_USAGE, "'a b' is not a DNS name"},
    {"the language of openssl.cnf", "s", CA_SERVER, "a\nURI:urn:b", NULL, NULL, 9, E_USAGE, "DNS"},
    {"no URI", "s", CA_CLIENT, NULL, "shop 1", NULL, 9, E_USAGE, "is not a URI"},
    {"no address", "s", CA_SERVER, NULL, NULL, "10.0.0.256", 9, E_USAGE, "is not an address"},
    {"a name that leaves the folder", "../x", CA_CLIENT, "a", NULL, NULL, 9, E_USAGE, "letters"},
    {"a name with a slash", "a/b", CA_CLIENT, "a", NULL, NULL, 9, E_USAGE, "letters"},
    {"a name that hides", ".a", CA_CLIENT, "a", NULL, NULL, 9, E_USAGE, "letters"},
    {"a name with a tab", "a\tb", CA_CLIENT, "a", NULL, NULL, 9, E_USAGE, "letters"},
    {"no name", "", CA_CLIENT, "a", NULL, NULL, 9, E_USAGE, "letters"},
    {"no time", "s", CA_CLIENT, "a", NULL, NULL, -1, E_USAGE, "for some time"},
    {"longer than the CA", "s", CA_CLIENT, "a", NULL, NULL, 3651, E_CONFLICT, "fewer days"},
};

START_TEST(what_is_asked)
{
    _folder_ f = folder_new();
    folder_init(&f, "Test CA");
    struct ca_request q = {.name = asked[_i].name,
                           .kind = asked[_i].kind,
                           .dns = asked[_i].dns,
                           .uri = asked[_i].uri,
                           .ip = asked[_i].ip,
                           .until_ms = clock_ms() + asked[_i].days * DAY_MS};
    struct ca_issued c = {0}, *all;
    size_t n;

    rc r = ca_issue(&f.cx, f.dir, &q, &c);
    ck_assert_msg(r == asked[_i].want, "case: %s: %d %s", asked[_i].title, r, cx_words(&f.cx, r));
    folder_ok(&f, ca_list(&f.cx, f.dir, &all, &n));
    ck_assert_uint_eq(n, r == OK);
    if (r != OK) {
        ck_assert_msg(strstr(cx_words(&f.cx, r), asked[_i].names), "case: %s: %s", asked[_i].title,
                      cx_words(&f.cx, r));
        return;
    }
    ck_assert_str_eq(c.names, asked[_i].names);
    ck_assert_str_eq(all[0].names, asked[_i].names);
    ck_assert_str_eq(all[0].serial, c.serial);
    bool server = q.kind == CA_SERVER;
    const char *crt = arena_printf(&f.cx.arena, "issued/%s.crt", q.name);
    ck_assert_int_eq(verify(&f, crt, server ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT),
                     X509_V_OK);
    ck_assert_int_eq(verify(&f, crt, server ? X509_PURPOSE_SSL_CLIENT : X509_PURPOSE_SSL_SERVER),
                     X509_V_ERR_INVALID_PURPOSE);
}
END_TEST

START_TEST(init_spares_what_is_there)
{
    _folder_ f = folder_new();
    struct ca_issued self;
    char before[CA_SERIAL_LEN / 2 + 64] = "";

    folder_init(&f, "First");
    _x509_ *first = read_cert(&f, "ca.crt");
    rc r = ca_init(&f.cx, f.dir, "Second", clock_ms() + DAY_MS, clock_ms() + DAY_MS, &self);
    ck_assert_int_eq(r, E_ALREADY_EXISTS);
    unlink(folder_path(&f, "ca.crt")); /* a key alone is worth keeping too */
    r = ca_init(&f.cx, f.dir, "Second", clock_ms() + DAY_MS, clock_ms() + DAY_MS, &self);
    ck_assert_int_eq(r, E_ALREADY_EXISTS);
    folder_ok(&f, pem_write_cert(&f.cx, folder_path(&f, "ca.crt"), first));
    folder_issue(&f, "still-works", CA_CLIENT);
    X509_NAME_get_text_by_NID(X509_get_subject_name(first), NID_commonName, before, sizeof before);
    ck_assert_str_eq(before, "First");
}
END_TEST

START_TEST(revoked)
{
    _folder_ f = folder_new();
    folder_init(&f, "Test CA");
    struct ca_issued a = folder_issue(&f, "a", CA_CLIENT), b = folder_issue(&f, "b", CA_CLIENT), c;
    int64_t until_ms = clock_ms() + 7 * DAY_MS;
    size_t n;

    ck_assert_int_eq(verify(&f, "issued/a.crt", X509_PURPOSE_SSL_CLIENT), X509_V_OK);
    folder_ok(&f, ca_revoke(&f.cx, f.dir, "a", until_ms, &c));
    ck_assert_str_eq(c.serial, a.serial);
    ck_assert_int_gt(c.revoked_ms, 0);
    ck_assert_int_eq(verify(&f, "issued/a.crt", X509_PURPOSE_SSL_CLIENT), X509_V_ERR_CERT_REVOKED);
    ck_assert_int_eq(verify(&f, "issued/b.crt", X509_PURPOSE_SSL_CLIENT), X509_V_OK);

    _cleanup_(crl_freep) X509_CRL *crl = read_crl(&f);
    ck_assert_int_eq(asn1_ms(X509_CRL_get0_nextUpdate(crl)) / 1000, until_ms / 1000);

    struct ca_issued again; /* as it was, and the list anew */
    folder_ok(&f, ca_revoke(&f.cx, f.dir, "a", until_ms, &again));
    ck_assert_int_eq(again.revoked_ms, c.revoked_ms);
    for (char *p = b.serial; *p; p++)
        *p = (char)(*p >= 'a' ? *p - 32 : *p);
    folder_ok(&f, ca_revoke(&f.cx, f.dir, b.serial, until_ms, &c)); /* as openssl writes it */
    ck_assert_str_eq(c.name, "b");
    folder_ok(&f, ca_crl(&f.cx, f.dir, until_ms, &n));
    ck_assert_uint_eq(n, 2);
    ck_assert_int_eq(verify(&f, "issued/a.crt", X509_PURPOSE_SSL_CLIENT), X509_V_ERR_CERT_REVOKED);
    ck_assert_int_eq(verify(&f, "issued/b.crt", X509_PURPOSE_SSL_CLIENT), X509_V_ERR_CERT_REVOKED);
    ck_assert_int_eq(ca_revoke(&f.cx, f.dir, "nobody", until_ms, &c), E_NOT_FOUND);
    ck_assert_int_eq(ca_crl(&f.cx, f.dir, clock_ms() - 1, &n), E_USAGE);
}
END_TEST

START_TEST(a_name_again)
{
    _folder_ f = folder_new();
    folder_init(&f, "Test CA");
    struct ca_request q = {.name = "a", .kind = CA_CLIENT, .until_ms = clock_ms() + DAY_MS};
    struct ca_issued first = folder_issue(&f, "a", CA_CLIENT), second, *all;
    size_t n;

    ck_assert_int_eq(ca_issue(&f.cx, f.dir, &q, &second), E_ALREADY_EXISTS);
    ck_assert_ptr_nonnull(strstr(f.cx.err.text, first.serial));
    folder_revoke(&f, "a");
    folder_ok(&f, ca_issue(&f.cx, f.dir, &q, &second));
    ck_assert_str_ne(first.serial, second.serial);
    ck_assert_int_eq(verify(&f, "issued/a.crt", X509_PURPOSE_SSL_CLIENT), X509_V_OK);
    folder_revoke(&f, "a"); /* the newest of the name */
    folder_ok(&f, ca_list(&f.cx, f.dir, &all, &n));
    ck_assert(n == 2 && all[0].revoked_ms && all[1].revoked_ms);

    folder_issue_at(&f, "old", CA_CLIENT, -10, -1); /* what has ended is in nobody's way */
    folder_issue(&f, "old", CA_CLIENT);
}
END_TEST

/* The list need not carry for ever what has ended long ago. */
START_TEST(old_ones_leave_the_list)
{
    _folder_ f = folder_new();
    folder_init(&f, "Test CA");
    size_t n;

    folder_issue_at(&f, "lately", CA_CLIENT, -60, -29);
    folder_revoke(&f, "lately");
    folder_issue_at(&f, "long-ago", CA_CLIENT, -60, -31);
    folder_revoke(&f, "long-ago");
    folder_ok(&f, ca_crl(&f.cx, f.dir, clock_ms() + DAY_MS, &n));
    ck_assert_uint_eq(n, 1);
}
END_TEST

static void put(struct folder *f, const char *file, const char *text)
{
    folder_ok(f, file_replace(&f->cx, folder_path(f, file), 0600, text, strlen(text)));
}

#define ROW "00112233445566778899aabbccddeeff\tclient\ta\t2026-01-05T10:11:12.000Z\t"
static const struct {
    const char *title, *text, *says; /* says NULL: it is read */
} indexes[] = {
    {"empty", "", NULL},
    {"a row", ROW "2027-01-05T10:11:12.000Z\t-\tDNS:a\n", NULL},
    {"half a row", ROW "2027-01", "torn"},
    {"a row cut at its end", ROW "2027-01-05T10:11:12.000Z\t-\n", "line 1 of"},
    {"a field too many", "# x\n" ROW "2027-01-05T10:11:12.000Z\t-\tDNS:a\tmore\n", "line 2 of"},
    {"no time", ROW "soon\t-\tDNS:a\n", "line 1 of"},
    {"no kind", "00112233445566778899aabbccddeeff\tking\ta\t2026-01-05T10:11:12Z\t-\tx\ty\n",
     "line 1"},
    {"an empty line", "\n", "line 1"},
};

START_TEST(an_index_that_was_touched)
{
    _folder_ f = folder_new();
    folder_init(&f, "Test CA");
    struct ca_request q = {.name = "b", .kind = CA_CLIENT, .until_ms = clock_ms() + DAY_MS};
    struct ca_issued c;

    put(&f, "index", indexes[_i].text);
    rc r = ca_issue(&f.cx, f.dir, &q, &c);
    ck_assert_msg(r == (indexes[_i].says ? E_CONFIG : OK), "case: %s: %s", indexes[_i].title,
                  cx_words(&f.cx, r));
    ck_assert_msg(!indexes[_i].says || strstr(f.cx.err.text, indexes[_i].says), "case: %s: %s",
                  indexes[_i].title, f.cx.err.text);
    ck_assert_int_eq(access(folder_path(&f, "issued/b.crt"), F_OK), indexes[_i].says ? -1 : 0);
}
END_TEST

START_TEST(a_folder_that_is_none)
{
    _folder_ f = folder_new(), other = folder_new();
    struct ca_issued c, *all;
    size_t n;

    ck_assert_int_eq(ca_list(&f.cx, f.dir, &all, &n), E_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(f.cx.err.text, "mihwar ca init"));
    ck_assert_int_eq(ca_crl(&f.cx, "/nowhere/ca", clock_ms() + 1000, &n), E_NOT_FOUND);
    ck_assert_int_eq(ca_crl(&f.cx, "", clock_ms() + 1000, &n), E_NOT_FOUND);
    ck_assert_int_eq(
        ca_init(&f.cx, "/nowhere/ca", "x", clock_ms() + DAY_MS, clock_ms() + DAY_MS, &c), E_OS);
    ck_assert_int_eq(ca_init(&f.cx, f.dir, "a\nb", clock_ms() + DAY_MS, clock_ms() + DAY_MS, &c),
                     E_USAGE);
    folder_init(&f, "Test CA");
    folder_init(&other, "Test CA");
    ck_assert_int_eq(rename(folder_path(&other, "ca.key"), folder_path(&f, "ca.key")), 0);
    ck_assert_int_eq(ca_crl(&f.cx, f.dir, clock_ms() + DAY_MS, &n), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(f.cx.err.text, "do not belong together"));
}
END_TEST

/* Several at once: nobody's line is lost. */
START_TEST(many_hands)
{
    _folder_ f = folder_new();
    folder_init(&f, "Test CA");
    pid_t pids[4];
    struct ca_issued *all;
    size_t n;

    for (int i = 0; i < 4; i++) {
        if ((pids[i] = fork()) == 0) {
            for (int k = 0; k < 5; k++)
                folder_issue(&f, arena_printf(&f.cx.arena, "c-%d-%d", i, k), CA_AGENT);
            _exit(0);
        }
    }
    for (int i = 0; i < 4; i++) {
        int status;
        ck_assert(waitpid(pids[i], &status, 0) == pids[i] && status == 0);
    }
    folder_ok(&f, ca_list(&f.cx, f.dir, &all, &n));
    ck_assert_uint_eq(n, 20);
}
END_TEST

UNIT(ca, {"what is made", what_is_made}, {"what is asked", what_is_asked, COUNT(asked)},
     {"init spares what is there", init_spares_what_is_there}, {"revoked", revoked},
     {"a name again", a_name_again}, {"old ones leave the list", old_ones_leave_the_list},
     {"an index that was touched", an_index_that_was_touched, COUNT(indexes)},
     {"a folder that is none", a_folder_that_is_none}, {"many hands", many_hands})
