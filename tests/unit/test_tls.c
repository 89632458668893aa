/* test_tls.c - both ends of an mTLS connection, in memory: who is let in, and who is not.
 *
 *   foreign client ──BIO pair──► our server         (a client of anybody's make: plain OpenSSL)
 *   our client     ──BIO pair──► our server */
#include "secure/pem.h"
#include "secure/tls.h"
#include "tests/unit/ca_folder.h"
#include <openssl/err.h>
#include <openssl/pem.h>

/* ---------------------------------------------------------------- two ends */

struct end {
    SSL *ssl;
    bool done;
    int reason; /* SSL_R_… of what ended it, 0 */
};
struct meeting {
    struct end server, client;
};

static void meeting_release(struct meeting *m)
{
    SSL_free(m->server.ssl);
    SSL_free(m->client.ssl);
}
#define _meeting_ _cleanup_(meeting_release) struct meeting

static void step(struct end *e)
{
    if (e->done || e->reason)
        return;
    ERR_clear_error();
    int r = SSL_do_handshake(e->ssl), why = SSL_get_error(e->ssl, r);
    e->done = r == 1;
    if (r != 1 && why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
        e->reason = ERR_peek_error() ? ERR_GET_REASON(ERR_peek_error()) : -1;
    ERR_clear_error();
}

static struct meeting meet(SSL_CTX *server, SSL_CTX *client)
{
    struct meeting m = {{SSL_new(server)}, {SSL_new(client)}};
    BIO *a, *b;

    ck_assert(m.server.ssl && m.client.ssl && BIO_new_bio_pair(&a, 0, &b, 0) == 1);
    SSL_set_bio(m.server.ssl, a, a);
    SSL_set_bio(m.client.ssl, b, b);
    SSL_set_accept_state(m.server.ssl);
    SSL_set_connect_state(m.client.ssl);
    return m;
}

static void shake(struct meeting *m)
{
    for (int i = 0; i < 20; i++) {
        step(&m->client);
        step(&m->server);
    }
}

/* A line from client to server and back; false when either does not get it. */
static bool talk(struct meeting *m)
{
    char got[8] = "";

    return SSL_write(m->client.ssl, "ping", 4) == 4 &&
           SSL_read(m->server.ssl, got, sizeof got) == 4 && memcmp(got, "ping", 4) == 0 &&
           SSL_write(m->server.ssl, "pong", 4) == 4 &&
           SSL_read(m->client.ssl, got, sizeof got) == 4 && memcmp(got, "pong", 4) == 0;
}

/* ---------------------------------------------------------------- files and contexts */

static struct tls_files files_of(struct folder *f, const char *name)
{
    return (struct tls_files){
        .cert = folder_path(f, arena_printf(&f->cx.arena, "issued/%s.crt", name)),
        .key = folder_path(f, arena_printf(&f->cx.arena, "issued/%s.key", name)),
        .ca = folder_path(f, "ca.crt"),
        .crl = folder_path(f, "ca.crl")};
}

static struct tls *open_tls(struct folder *f, enum tls_side side, const char *name)
{
    struct tls_files files = files_of(f, name);
    struct tls *t = NULL;

    folder_ok(f, tls_new(&f->cx, side, &files, &t));
    return t;
}

static void tls_freep(struct tls **t)
{
    *t = tls_free(*t);
}
#define _tls_ _cleanup_(tls_freep) struct tls

static void ctx_freep(SSL_CTX **c)
{
    SSL_CTX_free(*c);
}
#define _ctx_ _cleanup_(ctx_freep) SSL_CTX

/* A client that trusts everybody and offers everything up to `version`; name NULL: no certificate. */
static SSL_CTX *foreign(struct folder *f, const char *name, int version)
{
    SSL_CTX *c = SSL_CTX_new(TLS_client_method());

    ck_assert_int_eq(SSL_CTX_set_cipher_list(c, "ALL@SECLEVEL=0"), 1);
    ck_assert_int_eq(SSL_CTX_set_min_proto_version(c, TLS1_VERSION), 1);
    ck_assert_int_eq(SSL_CTX_set_max_proto_version(c, version), 1);
    if (name) {
        struct tls_files files = files_of(f, name);
        ck_assert_int_eq(SSL_CTX_use_certificate_file(c, files.cert, SSL_FILETYPE_PEM), 1);
        ck_assert_int_eq(SSL_CTX_use_PrivateKey_file(c, files.key, SSL_FILETYPE_PEM), 1);
    }
    return c;
}

/* ours: hub, hub-2 (revoked), shop-1, cpe-1, gone (revoked), old, early. theirs: the same names by
 * another CA of the same name. */
struct world {
    struct folder ours, theirs;
};

static struct world world_new(void)
{
    struct world w = {folder_new(), folder_new()};

    folder_init(&w.ours, "Same CA");
    folder_init(&w.theirs, "Same CA");
    folder_issue(&w.ours, "hub", CA_SERVER);
    folder_issue(&w.ours, "hub-2", CA_SERVER);
    folder_issue(&w.ours, "shop-1", CA_CLIENT);
    folder_issue(&w.ours, "cpe-1", CA_AGENT);
    folder_issue(&w.ours, "gone", CA_CLIENT);
    folder_issue_at(&w.ours, "old", CA_CLIENT, -10, -1);
    folder_issue_at(&w.ours, "early", CA_CLIENT, 1, 10);
    folder_revoke(&w.ours, "gone");
    folder_revoke(&w.ours, "hub-2");
    folder_issue(&w.theirs, "shop-1", CA_CLIENT);
    folder_issue(&w.theirs, "hub", CA_SERVER);
    return w;
}

static void world_release(struct world *w)
{
    folder_release(&w->ours);
    folder_release(&w->theirs);
}
#define _world_ _cleanup_(world_release) struct world

/* ---------------------------------------------------------------- who is let in */

static const struct {
    const char *title, *name; /* NULL: shows none */
    bool theirs;
    int later_days; /* the server's clock */
    int version;
    long verify; /* X509_V_… as the server judges */
    int reason;  /* SSL_R_…; 0: let in */
} visitors[] = {
    {"a client, 1.3", "shop-1", false, 0, TLS1_3_VERSION, X509_V_OK, 0},
    {"a client, 1.2", "shop-1", false, 0, TLS1_2_VERSION, X509_V_OK, 0},
    {"an agent", "cpe-1", false, 0, TLS1_3_VERSION, X509_V_OK, 0},
    {"nobody, 1.3", NULL, false, 0, TLS1_3_VERSION, X509_V_OK,
     SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE},
    {"nobody, 1.2", NULL, false, 0, TLS1_2_VERSION, X509_V_OK,
     SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE},
    {"expired", "old", false, 0, TLS1_3_VERSION, X509_V_ERR_CERT_HAS_EXPIRED,
     SSL_R_CERTIFICATE_VERIFY_FAILED},
    {"expired, 1.2", "old", false, 0, TLS1_2_VERSION, X509_V_ERR_CERT_HAS_EXPIRED,
     SSL_R_CERTIFICATE_VERIFY_FAILED},
    {"not yet valid", "early", false, 0, TLS1_3_VERSION, X509_V_ERR_CERT_NOT_YET_VALID,
     SSL_R_CERTIFICATE_VERIFY_FAILED},
    {"revoked", "gone", false, 0, TLS1_3_VERSION, X509_V_ERR_CERT_REVOKED,
     SSL_R_CERTIFICATE_VERIFY_FAILED},
    {"revoked, 1.2", "gone", false, 0, TLS1_2_VERSION, X509_V_ERR_CERT_REVOKED,
     SSL_R_CERTIFICATE_VERIFY_FAILED},
    {"another CA of the same name", "shop-1", true, 0, TLS1_3_VERSION,
     X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, SSL_R_CERTIFICATE_VERIFY_FAILED},
    {"a server's certificate", "hub", false, 0, TLS1_3_VERSION, X509_V_ERR_INVALID_PURPOSE,
     SSL_R_CERTIFICATE_VERIFY_FAILED},
    {"the list has run out", "shop-1", false, 31, TLS1_3_VERSION, X509_V_ERR_CRL_HAS_EXPIRED,
     SSL_R_CERTIFICATE_VERIFY_FAILED},
    {"TLS 1.1", "shop-1", false, 0, TLS1_1_VERSION, X509_V_OK, SSL_R_UNSUPPORTED_PROTOCOL},
    {"TLS 1.0", "shop-1", false, 0, TLS1_VERSION, X509_V_OK, SSL_R_UNSUPPORTED_PROTOCOL},
};

START_TEST(visitor)
{
    const char *title = visitors[_i].title;
    _world_ w = world_new();
    _tls_ *door = open_tls(&w.ours, TLS_SERVER, "hub");
    _ctx_ *c =
        foreign(visitors[_i].theirs ? &w.theirs : &w.ours, visitors[_i].name, visitors[_i].version);
    _meeting_ m = meet(tls_ctx(door), c);
    char who[IDENTITY_MAX + 1] = "";

    if (visitors[_i].later_days)
        X509_VERIFY_PARAM_set_time(SSL_get0_param(m.server.ssl),
                                   time(NULL) + visitors[_i].later_days * (DAY_MS / 1000));
    shake(&m);
    ck_assert_msg(m.server.reason == visitors[_i].reason, "case: %s: %s", title,
                  ERR_reason_error_string(ERR_PACK(ERR_LIB_SSL, 0, m.server.reason)));
    ck_assert_msg(SSL_get_verify_result(m.server.ssl) == visitors[_i].verify, "case: %s: %s", title,
                  X509_verify_cert_error_string(SSL_get_verify_result(m.server.ssl)));
    ck_assert_msg(m.server.done == !visitors[_i].reason, "case: %s", title);
    ck_assert_msg(talk(&m) == !visitors[_i].reason, "case: %s: words from a stranger", title);
    rc r = tls_identity(&w.ours.cx, m.server.ssl, who);
    ck_assert_msg(r == (visitors[_i].reason ? E_UNAUTHENTICATED : OK), "case: %s: %d", title, r);
    ck_assert_str_eq(who, visitors[_i].reason ? "" : visitors[_i].name);

    const struct tls_refusal *no = tls_refusal(m.server.ssl);
    bool judged = visitors[_i].verify != X509_V_OK;
    ck_assert_msg(!!no == judged, "case: %s", title);
    if (no) {
        ck_assert_str_eq(no->why, X509_verify_cert_error_string(visitors[_i].verify));
        ck_assert_str_eq(no->claims, /* a server's names itself by its addresses */
                         strcmp(visitors[_i].name, "hub") == 0 ? "localhost" : visitors[_i].name);
        ck_assert_int_ge((int)strlen(no->serial), 30);
    }
}
END_TEST

/* What shuts TLS 1.1 out is our rule, not the test's client. */
START_TEST(tls_1_1_works_elsewhere)
{
    _world_ w = world_new();
    _ctx_ *c = foreign(&w.ours, NULL, TLS1_1_VERSION), *s = SSL_CTX_new(TLS_server_method());
    struct tls_files files = files_of(&w.ours, "hub");

    ck_assert_int_eq(SSL_CTX_set_cipher_list(s, "ALL@SECLEVEL=0"), 1);
    ck_assert_int_eq(SSL_CTX_set_min_proto_version(s, TLS1_VERSION), 1);
    ck_assert_int_eq(SSL_CTX_use_certificate_file(s, files.cert, SSL_FILETYPE_PEM), 1);
    ck_assert_int_eq(SSL_CTX_use_PrivateKey_file(s, files.key, SSL_FILETYPE_PEM), 1);
    _meeting_ m = meet(s, c);
    shake(&m);
    ck_assert(m.server.done && talk(&m));
    ck_assert_str_eq(SSL_get_version(m.server.ssl), "TLSv1.1");
}
END_TEST

START_TEST(old_ciphers)
{
    _world_ w = world_new();
    _tls_ *door = open_tls(&w.ours, TLS_SERVER, "hub");
    _ctx_ *c = foreign(&w.ours, "shop-1", TLS1_2_VERSION);

    ck_assert_int_eq(SSL_CTX_set_cipher_list(c, "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384:"
                                                "ECDHE-ECDSA-AES128-CCM:aNULL@SECLEVEL=0"),
                     1);
    _meeting_ m = meet(tls_ctx(door), c);
    shake(&m);
    ck_assert_int_eq(m.server.reason, SSL_R_NO_SHARED_CIPHER);
}
END_TEST

START_TEST(no_renegotiation)
{
    _world_ w = world_new();
    _tls_ *door = open_tls(&w.ours, TLS_SERVER, "hub");
    _ctx_ *c = foreign(&w.ours, "shop-1", TLS1_2_VERSION);
    _meeting_ m = meet(tls_ctx(door), c);
    char got[8];

    shake(&m);
    ck_assert(m.server.done && m.client.done && talk(&m));
    ck_assert_int_eq(SSL_renegotiate(m.client.ssl), 1);
    m.client.done = false;
    for (int i = 0; i < 5; i++) {
        step(&m.client);
        SSL_read(m.server.ssl, got, sizeof got);
    }
    ck_assert_int_eq(m.client.reason, SSL_R_NO_RENEGOTIATION);
    ck_assert_int_eq(SSL_num_renegotiations(m.server.ssl), 0);
}
END_TEST

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

/* A ticket would be a second way in, past the revocation list. */
START_TEST(nothing_to_resume)
{
    _world_ w = world_new();
    _tls_ *door = open_tls(&w.ours, TLS_SERVER, "hub");
    _ctx_ *c = foreign(&w.ours, "shop-1", versions[_i]);
    _meeting_ first = meet(tls_ctx(door), c), second = meet(tls_ctx(door), c);

    shake(&first);
    ck_assert(talk(&first));
    SSL_SESSION *session = SSL_get1_session(first.client.ssl);
    ck_assert_int_eq(SSL_SESSION_is_resumable(session), 0);
    ck_assert(!SSL_SESSION_has_ticket(session));
    SSL_set_session(second.client.ssl, session);
    shake(&second);
    ck_assert(talk(&second) && !SSL_session_reused(second.server.ssl));
    SSL_SESSION_free(session);
}
END_TEST

/* ---------------------------------------------------------------- reload */

START_TEST(a_reload)
{
    _world_ w = world_new();
    _tls_ *door = open_tls(&w.ours, TLS_SERVER, "hub");
    _ctx_ *c = foreign(&w.ours, "shop-1", versions[_i]);
    _meeting_ standing = meet(tls_ctx(door), c);
    int64_t until_ms = tls_crl_until_ms(door);

    shake(&standing);
    ck_assert(talk(&standing));
    folder_revoke(&w.ours, "shop-1");
    _meeting_ before = meet(tls_ctx(door), c);
    shake(&before);
    ck_assert_msg(talk(&before), "the list is read at a reload only");

    folder_ok(&w.ours, tls_recheck(&w.ours.cx, door, standing.server.ssl));
    folder_ok(&w.ours, tls_reload(&w.ours.cx, door));
    ck_assert_int_eq(tls_recheck(&w.ours.cx, door, standing.server.ssl), E_UNAUTHENTICATED);
    ck_assert_ptr_nonnull(strstr(cx_words(&w.ours.cx, E_UNAUTHENTICATED), "revoked"));
    _meeting_ after = meet(tls_ctx(door), c);
    shake(&after);
    ck_assert_int_eq(SSL_get_verify_result(after.server.ssl), X509_V_ERR_CERT_REVOKED);
    ck_assert_msg(talk(&standing), "what stands goes on");
    ck_assert_int_ge(tls_crl_until_ms(door), until_ms);
    ck_assert_int_le(tls_crl_since_ms(door), clock_ms() - CA_SKEW_MS);
    ck_assert_int_ge(tls_crl_since_ms(door), clock_ms() - CA_SKEW_MS - 60000);
}
END_TEST

START_TEST(a_reload_that_fails)
{
    _world_ w = world_new();
    _tls_ *door = open_tls(&w.ours, TLS_SERVER, "hub");
    _ctx_ *c = foreign(&w.ours, "shop-1", TLS1_3_VERSION);
    SSL_CTX *was = tls_ctx(door);

    folder_ok(&w.ours,
              file_replace(&w.ours.cx, folder_path(&w.ours, "ca.crl"), 0644, "half a li", 9));
    ck_assert_int_eq(tls_reload(&w.ours.cx, door), E_CONFIG);
    ck_assert_ptr_eq(tls_ctx(door), was);
    _meeting_ m = meet(tls_ctx(door), c);
    shake(&m);
    ck_assert(talk(&m));
}
END_TEST

/* ---------------------------------------------------------------- our client */

static const struct {
    const char *title, *server;
    bool theirs;
    const char *host;
    long verify; /* X509_V_… as the client judges */
} hosts[] = {
    {"by name", "hub", false, "hub.example", X509_V_OK},
    {"by name in any case", "hub", false, "HUB.example", X509_V_OK},
    {"by address", "hub", false, "127.0.0.1", X509_V_OK},
    {"by address, 6", "hub", false, "::1", X509_V_OK},
    {"another name", "hub", false, "bank.example", X509_V_ERR_HOSTNAME_MISMATCH},
    {"its file's name is not its name", "hub", false, "hub", X509_V_ERR_HOSTNAME_MISMATCH},
    {"another address", "hub", false, "127.0.0.2", X509_V_ERR_IP_ADDRESS_MISMATCH},
    {"another CA", "hub", true, "hub.example", X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY},
    {"revoked", "hub-2", false, "hub.example", X509_V_ERR_CERT_REVOKED},
    {"a client that plays the server", "shop-1", false, "shop-1", X509_V_ERR_INVALID_PURPOSE},
};

START_TEST(the_right_server)
{
    _world_ w = world_new();
    _tls_ *client = open_tls(&w.ours, TLS_CLIENT, "shop-1");
    _tls_ *server = NULL;
    struct tls_files files = files_of(hosts[_i].theirs ? &w.theirs : &w.ours, hosts[_i].server);
    char who[IDENTITY_MAX + 1];

    files.ca = folder_path(&w.ours, "ca.crt"); /* it takes our client, whoever it is */
    files.crl = NULL;
    folder_ok(&w.ours, tls_new(&w.ours.cx, TLS_SERVER, &files, &server));
    ck_assert_int_eq(tls_crl_until_ms(server), INT64_MAX);
    _meeting_ m = meet(tls_ctx(server), tls_ctx(client));
    folder_ok(&w.ours, tls_expect(&w.ours.cx, m.client.ssl, hosts[_i].host));
    shake(&m);
    ck_assert_msg(SSL_get_verify_result(m.client.ssl) == hosts[_i].verify, "case: %s: %s",
                  hosts[_i].title,
                  X509_verify_cert_error_string(SSL_get_verify_result(m.client.ssl)));
    ck_assert_msg(m.client.done == (hosts[_i].verify == X509_V_OK), "case: %s", hosts[_i].title);
    ck_assert_int_eq(tls_identity(&w.ours.cx, m.client.ssl, who),
                     hosts[_i].verify == X509_V_OK ? OK : E_UNAUTHENTICATED);
    ck_assert_int_eq(tls_expect(&w.ours.cx, m.client.ssl, "a b"), E_INVALID_FIELD);
    ck_assert_int_eq(tls_expect(&w.ours.cx, m.client.ssl, ""), E_INVALID_FIELD);
}
END_TEST

START_TEST(a_client_without_a_certificate)
{
    _world_ w = world_new();
    struct tls_files files = {.ca = folder_path(&w.ours, "ca.crt"),
                              .crl = folder_path(&w.ours, "ca.crl")};
    _tls_ *door = open_tls(&w.ours, TLS_SERVER, "hub"), *client = NULL;

    folder_ok(&w.ours, tls_new(&w.ours.cx, TLS_CLIENT, &files, &client));
    _meeting_ m = meet(tls_ctx(door), tls_ctx(client));
    shake(&m);
    ck_assert_int_eq(m.server.reason, SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE);
}
END_TEST

/* ---------------------------------------------------------------- files that will not do */

static void write_locked_key(struct folder *f)
{
    _cleanup_(key_freep) EVP_PKEY *key = NULL;
    FILE *to = fopen(folder_path(f, "locked.key"), "we");

    folder_ok(f, pem_read_key(&f->cx, folder_path(f, "issued/hub.key"), &key));
    ck_assert_int_eq(PEM_write_PKCS8PrivateKey(to, key, EVP_aes_256_cbc(), "secret", 6, NULL, NULL),
                     1);
    fclose(to);
}

/* The CA's list as it will be one day: its next update is past. */
static void write_ended_list(struct folder *f)
{
    _cleanup_(crls_freep) STACK_OF(X509_CRL) *all = NULL;
    _cleanup_(key_freep) EVP_PKEY *key = NULL;
    ASN1_TIME *past = ASN1_TIME_set(NULL, time(NULL) - 1);

    folder_ok(f, pem_read_crls(&f->cx, folder_path(f, "ca.crl"), &all));
    folder_ok(f, pem_read_key(&f->cx, folder_path(f, "ca.key"), &key));
    ck_assert_int_eq(X509_CRL_set1_nextUpdate(sk_X509_CRL_value(all, 0), past), 1);
    ck_assert_int_gt(X509_CRL_sign(sk_X509_CRL_value(all, 0), key, EVP_sha256()), 0);
    folder_ok(f, pem_write_crl(&f->cx, folder_path(f, "over.crl"), sk_X509_CRL_value(all, 0)));
    ASN1_TIME_free(past);
}

static void write_files(struct world *w)
{
    struct folder *f = &w->ours;
    _cleanup_(certs_freep) STACK_OF(X509) *ca = NULL;
    _cleanup_(crls_freep) STACK_OF(X509_CRL) *crl = NULL;

    write_locked_key(f);
    folder_ok(f, pem_read_certs(&f->cx, folder_path(&w->theirs, "ca.crt"), &ca));
    folder_ok(f, pem_write_cert(&f->cx, folder_path(f, "theirs.crt"), sk_X509_value(ca, 0)));
    folder_ok(f, pem_read_crls(&f->cx, folder_path(&w->theirs, "ca.crl"), &crl));
    folder_ok(f, pem_write_crl(&f->cx, folder_path(f, "theirs.crl"), sk_X509_CRL_value(crl, 0)));
    write_ended_list(f);
    folder_ok(f, file_replace(&f->cx, folder_path(f, "empty"), 0644, "", 0));
    folder_ok(f, file_replace(&f->cx, folder_path(f, "torn"), 0644,
                              "-----BEGIN CERTIFICATE-----\nMIIB\n", 34));
}

static const struct {
    const char *title, *cert, *key, *ca, *crl;
    const char *says; /* NULL: they will do */
} sets[] = {
    {"good", "issued/hub.crt", "issued/hub.key", "ca.crt", "ca.crl", NULL},
    {"no list", "issued/hub.crt", "issued/hub.key", "ca.crt", NULL, NULL},
    {"no certificate", NULL, NULL, "ca.crt", "ca.crl", "needs a certificate and its key"},
    {"a certificate that is not there", "x", "issued/hub.key", "ca.crt", "ca.crl",
     "x cannot be read: No such file"},
    {"a key that is not there", "issued/hub.crt", "x", "ca.crt", "ca.crl", "No such file"},
    {"another's key", "issued/hub.crt", "issued/shop-1.key", "ca.crt", "ca.crl",
     "cannot be used together"},
    {"a key behind a passphrase", "issued/hub.crt", "locked.key", "ca.crt", "ca.crl",
     "without a passphrase"},
    {"a certificate for a key", "issued/hub.crt", "issued/hub.crt", "ca.crt", "ca.crl",
     "no key in"},
    {"an empty CA", "issued/hub.crt", "issued/hub.key", "empty", "ca.crl", "no certificate in"},
    {"a torn CA", "issued/hub.crt", "issued/hub.key", "torn", "ca.crl", "torn cannot be read"},
    {"a leaf for a CA", "issued/hub.crt", "issued/hub.key", "issued/hub.crt", "ca.crl",
     "is not a CA's"},
    {"no list in the file", "issued/hub.crt", "issued/hub.key", "ca.crt", "ca.crt",
     "no revocation list in"},
    {"a list by another CA of the same name", "issued/hub.crt", "issued/hub.key", "ca.crt",
     "theirs.crl", "not by a CA in"},
    {"a list that has run out", "issued/hub.crt", "issued/hub.key", "ca.crt", "over.crl",
     "nobody could be let in"},
};

START_TEST(a_set_of_files)
{
    _world_ w = world_new();
    struct folder *f = &w.ours;
    struct tls_files files = {.ca = folder_path(f, sets[_i].ca)};
    _tls_ *t = NULL;

    write_files(&w);
    files.cert = sets[_i].cert ? folder_path(f, sets[_i].cert) : NULL;
    files.key = sets[_i].key ? folder_path(f, sets[_i].key) : NULL;
    files.crl = sets[_i].crl ? folder_path(f, sets[_i].crl) : NULL;
    rc r = tls_new(&f->cx, TLS_SERVER, &files, &t);
    ck_assert_msg(r == (sets[_i].says ? E_CONFIG : OK), "case: %s: %s", sets[_i].title,
                  cx_words(&f->cx, r));
    ck_assert_msg(!sets[_i].says || strstr(f->cx.err.text, sets[_i].says), "case: %s: %s",
                  sets[_i].title, f->cx.err.text);
    ck_assert(!t == (r != OK));
    ck_assert_int_eq(ERR_peek_error(), 0);
}
END_TEST

UNIT(tls, {"visitor", visitor, COUNT(visitors)},
     {"TLS 1.1 works elsewhere", tls_1_1_works_elsewhere}, {"old ciphers", old_ciphers},
     {"no renegotiation", no_renegotiation},
     {"nothing to resume", nothing_to_resume, COUNT(versions)},
     {"a reload", a_reload, COUNT(versions)}, {"a reload that fails", a_reload_that_fails},
     {"the right server", the_right_server, COUNT(hosts)},
     {"a client without a certificate", a_client_without_a_certificate},
     {"a set of files", a_set_of_files, COUNT(sets)})
