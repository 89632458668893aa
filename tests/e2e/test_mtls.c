/* test_mtls.c - the mTLS door: who comes in, who does not and hears why; HTTP through TLS as curl speaks it.
 *
 *   openssl s_client, curl ──TLS──► hub     a hub of its own, two processes; certificates by `mihwar ca`'s code and by
 *                                           openssl itself (another CA's work) */
#include "tests/e2e/mtls.h"

static struct mtls m;
static struct folder theirs; /* another CA of the same name */

#define ASK      "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
#define DIR_SIZE 256

/* ---------------------------------------------------------------- certificates by openssl */

static void openssl(const char *const *words)
{
    const char *argv[32] = {"/usr/bin/openssl"};
    size_t n = 1;

    while (*words)
        argv[n++] = *words++;
    if (proc_run(&(struct proc_opts){.name = "openssl", .argv = argv}, NULL, LONG_MS, NULL, NULL) !=
        0)
        support_die("openssl %s failed", argv[1]);
}
#define OPENSSL(...) openssl((const char *const[]){__VA_ARGS__, NULL})

/* issued/NAME.crt as our CA's, but with what only openssl would write. */
static void issue_odd(const char *name, const char *subject, const char *extensions)
{
    const char *csr = folder_path(&m.ca, "odd.csr"), *ext = folder_path(&m.ca, "odd.ext");
    FILE *f = fopen(ext, "we");

    if (!f)
        support_die("%s cannot be written", ext);
    fputs(extensions, f);
    fclose(f);
    OPENSSL("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", mtls_key(&m.ca, name), "-subj", subject, "-out", csr);
    OPENSSL("x509", "-req", "-in", csr, "-CA", folder_path(&m.ca, "ca.crt"), "-CAkey",
            folder_path(&m.ca, "ca.key"), "-set_serial", "4711", "-days", "5", "-extfile", ext,
            "-out", mtls_crt(&m.ca, name));
}

static void make_certificates(void)
{
    folder_issue_at(&m.ca, "old", CA_CLIENT, -10, -1);
    folder_issue_at(&m.ca, "early", CA_CLIENT, 1, 10);
    folder_issue(&m.ca, "gone", CA_CLIENT);
    folder_issue(&m.ca, "cpe-1", CA_AGENT);
    folder_revoke(&m.ca, "gone");
    issue_odd("foreign", "/CN=By openssl", "extendedKeyUsage=clientAuth\n");
    issue_odd("plain", "/CN=no-extensions", "subjectAltName=URI:urn:shop:plain\n");
    issue_odd("nameless", "/O=Nobody", "extendedKeyUsage=clientAuth\n");
    issue_odd("spaced", "/CN=x", "subjectAltName=URI:urn:two words\nextendedKeyUsage=clientAuth\n");
    issue_odd("wild", "/CN=x", "subjectAltName=DNS:*.example.net\nextendedKeyUsage=clientAuth\n");
    theirs = folder_new();
    folder_init(&theirs, "Test CA");
    folder_issue(&theirs, "shop-1", CA_CLIENT);
}

/* ---------------------------------------------------------------- let in, or not */

static const struct {
    const char *title, *name; /* NULL: no certificate */
    bool theirs;
    const char *version;
    const char *heard;  /* by openssl; NULL: it is let in */
    const char *logged; /* why, in the hub's log; NULL: not said */
    const char *claims;
} callers[] = {
    {"1.3", "shop-1", false, "-tls1_3", NULL, NULL, NULL},
    {"1.2", "shop-1", false, "-tls1_2", NULL, NULL, NULL},
    {"an agent", "cpe-1", false, "-tls1_3", NULL, NULL, NULL},
    {"made by openssl", "foreign", false, "-tls1_3", NULL, NULL, NULL},
    {"any usage", "plain", false, "-tls1_3", NULL, NULL, NULL},
    {"none, 1.3", NULL, false, "-tls1_3", "alert certificate required",
     "did not return a certificate", ""},
    {"none, 1.2", NULL, false, "-tls1_2", "alert handshake failure", "did not return a certificate",
     ""},
    {"another CA's", "shop-1", true, "-tls1_3", "alert unknown ca", "local issuer certificate",
     "shop-1"},
    {"another CA's, 1.2", "shop-1", true, "-tls1_2", "alert unknown ca", "local issuer certificate",
     "shop-1"},
    {"expired", "old", false, "-tls1_3", "alert certificate expired", "certificate has expired",
     "old"},
    {"expired, 1.2", "old", false, "-tls1_2", "alert certificate expired",
     "certificate has expired", "old"},
    {"not yet valid", "early", false, "-tls1_3", "alert bad certificate", "not yet valid", "early"},
    {"revoked", "gone", false, "-tls1_3", "alert certificate revoked", "certificate revoked",
     "gone"},
    {"revoked, 1.2", "gone", false, "-tls1_2", "alert certificate revoked", "certificate revoked",
     "gone"},
    {"for servers only", "hub", false, "-tls1_3", "alert unsupported certificate", "purpose",
     "localhost"},
    {"without a name", "nameless", false, "-tls1_3", "", "the certificate names nobody", ""},
    {"a name with a space", "spaced", false, "-tls1_3", "", "the URI in the certificate", ""},
    {"a name with a star", "wild", false, "-tls1_2", "", "the DNS name in the certificate", ""},
    {"TLS 1.1", "shop-1", false, "-tls1_1", "alert protocol version", "unsupported protocol", ""},
    {"TLS 1.0", "shop-1", false, "-tls1", "alert protocol version", "unsupported protocol", ""},
};

/* The log tells why, and whom the certificate names. */
static bool refusal_logged(int i)
{
    _cleanup_(freep) char *claims =
        xasprintf(*callers[i].claims ? "claims=%s " : "claims=%s\"\" ", callers[i].claims);

    return mtls_logged("hub", "ev=handshake.refused", callers[i].logged) > 0 &&
           mtls_logged("hub", callers[i].logged, claims) > 0;
}

START_TEST(caller)
{
    struct folder *f = callers[_i].theirs ? &theirs : &m.ca;
    const char *words[16] = {callers[_i].version, "-quiet", "-cipher", "DEFAULT@SECLEVEL=0"};
    double refused = mtls_metric(&m, "mihwar_hub_handshakes_refused_total");
    int status;

    if (callers[_i].name) {
        words[4] = "-cert";
        words[5] = mtls_crt(f, callers[_i].name);
        words[6] = "-key";
        words[7] = mtls_key(f, callers[_i].name);
    }
    _cleanup_(freep) char *out =
        mtls_s_client(m.port, folder_path(&m.ca, "ca.crt"), ASK, &status, words);
    bool in = !callers[_i].heard;
    ck_assert_msg(!!strstr(out, "HTTP/1.1 200 OK\r\n") == in && !!strstr(out, "HTTP/1.") == in,
                  "case: %s: %d %s", callers[_i].title, status, out);
    if (in) {
        ck_assert_msg(status == 0, "case: %s: %d %s", callers[_i].title, status, out);
        return;
    }
    ck_assert_msg(strstr(out, callers[_i].heard) != NULL, "case: %s: %s", callers[_i].title, out);
    ck_assert_msg(wait_until(refusal_logged(_i), LONG_MS), "case: %s: not in the log",
                  callers[_i].title);
    ck_assert_msg(mtls_metric(&m, "mihwar_hub_handshakes_refused_total") == refused + 1,
                  "case: %s: not counted", callers[_i].title);
}
END_TEST

/* ---------------------------------------------------------------- odd callers */

START_TEST(renegotiation)
{
    int status;
    const char *const words[] = {
        "-tls1_2", "-cert", mtls_crt(&m.ca, "shop-1"), "-key", mtls_key(&m.ca, "shop-1"), NULL};
    _cleanup_(freep) char *out =
        mtls_s_client(m.port, folder_path(&m.ca, "ca.crt"), "R\n", &status, words);

    ck_assert_msg(strstr(out, "RENEGOTIATING") && strstr(out, "no renegotiation"), "%s", out);
    struct tls_wire w = tls_wire_open(&m, &m.ca, "shop-1");
    ck_assert(tls_wire_asks(&w));
    tls_wire_close(&w);
}
END_TEST

/* Not TLS at all: no word of HTTP comes back. */
static const struct {
    const char *title, *text, *logged;
} strangers[] = {
    {"plain HTTP", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "plain HTTP on the mTLS door"},
    {"plain POST", "POST /v1/orders HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
     "plain HTTP on the mTLS door"},
    {"SSH", "SSH-2.0-OpenSSH_9.2\r\n", "wrong version number"},
};

START_TEST(stranger)
{
    char answer[4096] = "";
    int fd = wire_open(m.port);

    wire_send(fd, strangers[_i].text, strlen(strangers[_i].text));
    ck_assert_msg(wire_read(fd, answer, sizeof answer, NULL, LONG_MS), "case: %s: it stays",
                  strangers[_i].title);
    close(fd);
    ck_assert_msg(!strstr(answer, "HTTP"), "case: %s: %s", strangers[_i].title, answer);
    ck_assert_msg(
        wait_until(mtls_logged("hub", "ev=handshake.refused", strangers[_i].logged) > 0, LONG_MS),
        "case: %s: not in the log", strangers[_i].title);
}
END_TEST

START_TEST(tls_on_the_web_door)
{
    int status;
    const char *const words[] = {
        "-quiet", "-cert", mtls_crt(&m.ca, "shop-1"), "-key", mtls_key(&m.ca, "shop-1"), NULL};
    _cleanup_(freep) char *out =
        mtls_s_client(m.house.hub_port, folder_path(&m.ca, "ca.crt"), ASK, &status, words);

    ck_assert_msg(status != 0 && strstr(out, "wrong version number"), "%s", out);
    _cleanup_(web_reply_release) struct web_reply r = house_get(&m.house, "/healthz");
    ck_assert_int_eq(r.status, 200);
}
END_TEST

/* A port check by a load balancer is no refusal. */
START_TEST(who_says_nothing_is_not_refused)
{
    double refused = mtls_metric(&m, "mihwar_hub_handshakes_refused_total");

    for (int i = 0; i < 20; i++)
        close(wire_open(m.port));
    ck_wait(mtls_metric(&m, "mihwar_hub_handshakes_open") == 0, LONG_MS);
    ck_assert(mtls_metric(&m, "mihwar_hub_handshakes_refused_total") == refused);
}
END_TEST

/* ---------------------------------------------------------------- HTTP through TLS, by curl */

static const char *make_file(const char *name, size_t n)
{
    const char *path = folder_path(&m.ca, name);
    _cleanup_(freep) char *text = xmalloc(n);
    FILE *f = fopen(path, "we");

    memset(text, 'x', n);
    ck_assert(f && fwrite(text, 1, n, f) == n && fclose(f) == 0);
    return path;
}

START_TEST(keep_alive)
{
    int status;
    const char *url = mtls_url(&m, "/healthz");
    const char *const words[] = {"-w", "\n%{http_code} %{num_connects}\n", url, url, url, NULL};
    _cleanup_(freep) char *out = mtls_curl(&m, "shop-1", &status, words);

    ck_assert_int_eq(status, 0);
    ck_assert_str_eq(out, "{\"status\":\"ok\"}\n200 1\n{\"status\":\"ok\"}\n200 0\n"
                          "{\"status\":\"ok\"}\n200 0\n");
}
END_TEST

START_TEST(head)
{
    int status;
    const char *url = mtls_url(&m, "/healthz");
    const char *const words[] = {"-I", "-w", "%{http_code} %{num_connects}\n", url, url, NULL};
    _cleanup_(freep) char *out = mtls_curl(&m, "shop-1", &status, words);

    ck_assert_int_eq(status, 0);
    ck_assert_msg(strstr(out, "Content-Length: 15\r\n") && strstr(out, "200 1\n") &&
                      strstr(out, "200 0\n") && !strstr(out, "status"),
                  "%s", out);
}
END_TEST

/* The whole is sent before the answer is read. A path that takes no POST answers 405 when it has read all of it. */
static const struct {
    const char *title;
    size_t n;
    const char *how;
    const char *path;
    int status;
} bodies[] = {
    {"100 bytes", 100, "Expect:", "/healthz", 405},
    {"one record", 16384, "Expect:", "/healthz", 405},
    {"1 MiB", MiB(1), "Expect:", "/healthz", 405},
    {"1 MiB in chunks", MiB(1), "Transfer-Encoding: chunked", "/healthz", 405},
    {"1 MiB, asked for", MiB(1), "Expect: 100-continue", "/healthz", 405},
    {"a byte more", MiB(1) + 1, "Expect:", "/v1/orders", 413},
    {"a byte more in chunks", MiB(1) + 1, "Transfer-Encoding: chunked", "/v1/orders", 413},
    {"4 MiB", MiB(4), "Expect:", "/v1/orders", 413},
    {"10 MiB", MiB(10), "Expect:", "/v1/orders", 413},
};

START_TEST(body)
{
    int status;
    const char *file = arena_printf(&m.ca.cx.arena, "@%s", make_file("body", bodies[_i].n));
    const char *const words[] = {"-X",
                                 "POST",
                                 "-H",
                                 "Content-Type: application/json",
                                 "-H",
                                 bodies[_i].how,
                                 "--data-binary",
                                 file,
                                 "-w",
                                 "\n%{http_code}\n",
                                 mtls_url(&m, bodies[_i].path),
                                 NULL};
    _cleanup_(freep) char *out = mtls_curl(&m, "shop-1", &status, words);
    _cleanup_(freep) char *want = xasprintf("\n%d\n", bodies[_i].status);

    ck_assert_msg(status == 0 && strstr(out, want), "case: %s: %d %s", bodies[_i].title, status,
                  out);
    ck_assert_msg(strstr(out, "\"request_id\""), "case: %s: %s", bodies[_i].title, out);
}
END_TEST

START_TEST(an_answer_of_many_records)
{
    int status;
    const char *const large[] = {mtls_url(&m, "/openapi.json"), NULL};
    _cleanup_(freep) char *out = mtls_curl(&m, "shop-1", &status, large);
    _cleanup_(web_reply_release) struct web_reply same = house_get(&m.house, "/openapi.json");

    ck_assert_int_eq(status, 0);
    ck_assert_msg(strlen(out) > 16384 && strcmp(out, same.body) == 0, "%zu bytes", strlen(out));
}
END_TEST

/* What evhttp would have said in its own words. */
START_TEST(a_request_that_is_none)
{
    struct tls_wire w = tls_wire_open(&m, &m.ca, "shop-1");
    char text[8192] = "";

    ck_assert_int_gt(SSL_write(w.ssl, "what is this\r\n\r\n", 16), 0);
    ck_assert_msg(tls_wire_read(&w, text, sizeof text, NULL), "%s", text);
    ck_assert_msg(strstr(text, "HTTP/1.1 400 ") && strstr(text, "application/problem+json") &&
                      !strcasestr(text, "<html"),
                  "%s", text);
    tls_wire_close(&w);
}
END_TEST

/* The end of an answer cannot be forged: close_notify comes first. */
START_TEST(a_connection_is_closed_in_words)
{
    struct tls_wire w = tls_wire_open(&m, &m.ca, "shop-1");
    char text[8192] = "";

    ck_assert_int_gt(SSL_write(w.ssl, ASK, sizeof ASK - 1), 0);
    ck_assert_msg(tls_wire_read(&w, text, sizeof text, NULL), "%s", text);
    ck_assert_msg(strstr(text, "HTTP/1.1 200 ") && strstr(text, "Connection: close"), "%s", text);
    ck_assert(SSL_get_shutdown(w.ssl) & SSL_RECEIVED_SHUTDOWN);
    tls_wire_close(&w);
}
END_TEST

/* ---------------------------------------------------------------- settings */

static const struct {
    const char *title, *set[2];
    const char *words;
} settings[] = {
    {"no certificate", {"--mtls-cert", ""}, "mtls_cert is not; the mTLS door needs"},
    {"no key", {"--mtls-key", ""}, "mtls_key is not"},
    {"no CA", {"--mtls-ca", ""}, "mtls_ca is not"},
    {"a file that is not there", {"--mtls-ca", "/nowhere/ca.crt"}, "/nowhere/ca.crt"},
    {"a list that is none", {"--mtls-crl", "/etc/hostname"}, "/etc/hostname"},
    {"a key that is another's", {"--mtls-key", "$issued/shop-1.key"}, "cannot be used together"},
    {"an address that is none", {"--mtls-listen", "here"}, "mtls_listen: 'here' is not an address"},
    {"a web address that is none", {"--hub-listen", "there"}, "hub_listen: 'there' is not"},
    {"all right", {"--mtls-crl", "$ca.crl"}, NULL},
    {"no list", {"--mtls-crl", ""}, NULL},
    {"no door", {"--mtls-listen", ""}, NULL},
};

START_TEST(setting)
{
    const char *value = settings[_i].set[1];
    const char *argv[] = {built("hub/mihwar-hub"), "--check-config", settings[_i].set[0],
                          *value == '$' ? folder_path(&m.ca, value + 1) : value, NULL};
    char *out = NULL, *err = NULL;
    int status = proc_run(&(struct proc_opts){.name = "check", .argv = argv, .env = m.house.env},
                          NULL, LONG_MS, &out, &err);

    ck_assert_msg(status == (settings[_i].words ? 2 : 0), "case: %s: %d %s%s", settings[_i].title,
                  status, out, err);
    if (settings[_i].words)
        ck_assert_msg(strstr(err, settings[_i].words) != NULL, "case: %s: %s", settings[_i].title,
                      err);
    free(out);
    free(err);
}
END_TEST

int main(void)
{
    const struct unit_row rows[] = {
        {"caller", caller, COUNT(callers), 0},
        {"renegotiation", renegotiation, 0, 0},
        {"stranger", stranger, COUNT(strangers), 0},
        {"TLS on the web door", tls_on_the_web_door, 0, 0},
        {"a port check", who_says_nothing_is_not_refused, 0, 0},
        {"keep-alive", keep_alive, 0, 0},
        {"HEAD", head, 0, 0},
        {"body", body, COUNT(bodies), 0},
        {"a large answer", an_answer_of_many_records, 0, 0},
        {"no request", a_request_that_is_none, 0, 0},
        {"close_notify", a_connection_is_closed_in_words, 0, 0},
        {"setting", setting, COUNT(settings), 0},
    };

    mtls_open(&m, NULL);
    make_certificates();
    house_down(&m.house, HUB); /* its list is older than what was revoked since */
    house_up(&m.house, HUB);
    m.port = port_from_file(folder_path(&m.ca, "port"), m.house.procs[HUB], LONG_MS);
    int failed = unit_run("mtls", rows, COUNT(rows));
    folder_release(&theirs);
    failed += mtls_close(&m);
    return support_end(failed);
}
