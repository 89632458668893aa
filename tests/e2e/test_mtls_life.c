/* test_mtls_life.c - the mTLS door over time: files that change under it, callers who are slow or many, a process that
 * comes up to files that will not do, the end. */
#include "tests/e2e/mtls.h"

static struct mtls m;

/* ---------------------------------------------------------------- files */

static void copy_file(const char *from, const char *to)
{
    const char *const argv[] = {"/bin/cp", from, to, NULL};

    ck_assert_int_eq(
        proc_run(&(struct proc_opts){.name = "cp", .argv = argv}, NULL, LONG_MS, NULL, NULL), 0);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");

    ck_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

/* Both processes have said it once more. */
static void hup(const char *event)
{
    int before = mtls_logged("hub", event, "");

    mtls_hup(&m, HUB);
    ck_assert_msg(wait_until(mtls_logged("hub", event, "") >= before + 2, LONG_MS), "no %s", event);
}

static bool let_in(const char *name)
{
    struct tls_wire w = tls_wire_open(&m, &m.ca, name);
    bool in = tls_wire_asks(&w);

    tls_wire_close(&w);
    return in;
}

/* The other side closes it. */
static bool ends(struct tls_wire *w)
{
    char text[64] = "";

    return tls_wire_read(w, text, sizeof text, NULL);
}

/* Two connections of each to either process stand; the revoked ones end, the others do not notice. */
START_TEST(a_new_list)
{
    struct tls_wire stay[8], go[8];

    folder_issue(&m.ca, "leaver", CA_CLIENT);
    for (size_t i = 0; i < COUNT(stay); i++) {
        stay[i] = tls_wire_open(&m, &m.ca, "shop-1");
        go[i] = tls_wire_open(&m, &m.ca, "leaver");
        ck_assert(tls_wire_asks(&stay[i]) && tls_wire_asks(&go[i]));
    }
    double before = mtls_metric(&m, "mihwar_hub_connections_unwelcome_total");
    folder_revoke(&m.ca, "leaver");
    ck_assert_msg(let_in("leaver"), "the list is read at SIGHUP only");
    hup("ev=door.reloaded");
    for (size_t i = 0; i < COUNT(go); i++) {
        ck_assert_msg(ends(&go[i]), "a revoked connection stays");
        tls_wire_close(&go[i]);
    }
    ck_assert(!let_in("leaver"));
    for (size_t i = 0; i < COUNT(stay); i++) {
        ck_assert_msg(tls_wire_asks(&stay[i]), "somebody else's connection was cut");
        tls_wire_close(&stay[i]);
    }
    ck_assert(let_in("shop-1"));
    /* the one that was let in before the reload may still have stood */
    ck_assert_double_ge(mtls_metric(&m, "mihwar_hub_connections_unwelcome_total"),
                        before + (double)COUNT(go));
    ck_assert_int_ge(mtls_logged("hub", "claims=leaver", "certificate revoked"), 1);
}
END_TEST

static const struct {
    const char *title, *file, *text; /* NULL: it is not there */
    const char *words;
} broken[] = {
    {"half a list", "ca.crl", "-----BEGIN X509 CRL-----\nMIIB", "ca.crl"},
    {"no list", "ca.crl", NULL, "ca.crl"},
    {"another's key", "hub.key", "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n",
     "hub.key"},
    {"no CA", "ca.crt", "nothing", "ca.crt"},
};

START_TEST(a_broken_file)
{
    bool own = strncmp(broken[_i].file, "hub", 3) == 0;
    const char *path = own ? mtls_key(&m.ca, "hub") : folder_path(&m.ca, broken[_i].file);
    const char *kept = folder_path(&m.ca, "kept"), *ca = folder_path(&m.ca, "ca.crt");
    struct tls_wire standing = tls_wire_open(&m, &m.ca, "shop-1");
    double failed = mtls_metric(&m, "mihwar_hub_reloads_failed_total");

    copy_file(path, kept);
    if (broken[_i].text)
        write_file(path, broken[_i].text);
    else
        ck_assert_int_eq(remove(path), 0);
    hup("ev=door.reload_failed");
    copy_file(kept, path); /* callers here trust the same file */
    ck_assert_msg(mtls_logged("hub", "ev=door.reload_failed", broken[_i].words) >= 2 &&
                      mtls_logged("hub", "ev=door.reload_failed", "what was read before stays"),
                  "case: %s", broken[_i].title);
    ck_assert(mtls_metric(&m, "mihwar_hub_reloads_failed_total") == failed + 2);
    ck_assert_msg(ca && let_in("shop-1") && tls_wire_asks(&standing), "case: %s", broken[_i].title);
    tls_wire_close(&standing);
    hup("ev=door.reloaded");
    ck_assert(let_in("shop-1"));
}
END_TEST

static void serial_of_hub(char out[80])
{
    struct tls_wire w = tls_wire_open(&m, &m.ca, "shop-1");
    const ASN1_INTEGER *serial;

    ck_assert_ptr_nonnull(w.ssl);
    serial = X509_get0_serialNumber(SSL_get0_peer_certificate(w.ssl));
    out[0] = 0;
    for (int i = 0; i < ASN1_STRING_length(serial); i++)
        sprintf(out + 2 * i, "%02x", ASN1_STRING_get0_data(serial)[i]);
    tls_wire_close(&w);
}

START_TEST(a_new_certificate_of_the_hub)
{
    struct tls_wire standing = tls_wire_open(&m, &m.ca, "shop-1");
    char before[80], after[80];

    folder_issue(&m.ca, "hub-2", CA_SERVER);
    serial_of_hub(before);
    copy_file(mtls_crt(&m.ca, "hub-2"), mtls_crt(&m.ca, "hub"));
    copy_file(mtls_key(&m.ca, "hub-2"), mtls_key(&m.ca, "hub"));
    hup("ev=door.reloaded");
    serial_of_hub(after);
    ck_assert_str_ne(before, after);
    ck_assert_msg(tls_wire_asks(&standing), "who stood was cut");
    tls_wire_close(&standing);
}
END_TEST

START_TEST(the_lists_end_is_told)
{
    double ends_s = mtls_metric(&m, "mihwar_hub_crl_ends_seconds"), now = (double)clock_ms() / 1000;

    ck_assert_msg(ends_s > now + 29 * 86400 && ends_s < now + 31 * 86400, "%f", ends_s - now);
    ck_assert_int_eq(mtls_logged("hub", "ev=door.crl_ends", ""), 0);
}
END_TEST

/* ---------------------------------------------------------------- slow and many */

/* Bytes of a real hello: a handshake that has begun. */
static size_t hello(unsigned char *out, size_t size)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *to = BIO_new(BIO_s_mem());

    SSL_set_bio(ssl, in, to);
    SSL_connect(ssl);
    ERR_clear_error();
    int n = BIO_read(to, out, (int)size);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    ck_assert_int_gt(n, 100);
    return (size_t)n;
}

static bool closed(int fd)
{
    char answer[4096] = "";

    return wire_read(fd, answer, sizeof answer, NULL, LONG_MS);
}

static const struct {
    const char *title;
    int first; /* percent of the hello sent at once */
    bool drip; /* the rest byte by byte */
} slow[] = {
    {"nothing", 0, false},
    {"half a hello", 50, false},
    {"a hello and no more", 100, false},
    {"byte by byte", 0, true},
    {"half, then byte by byte", 50, true},
};

START_TEST(a_slow_handshake)
{
    unsigned char text[2048];
    size_t n = hello(text, sizeof text), i = n * (size_t)slow[_i].first / 100;
    int64_t start = support_now_ms();
    bool open = true;
    int fd = wire_open(m.port);

    wire_send(fd, text, i);
    while (slow[_i].drip && open && support_now_ms() - start < LONG_MS) {
        open = wire_send(fd, i < n ? text + i : text,
                         1); /* 100 ms a byte: the hello alone takes half a minute */
        i++;
        support_nap(100);
    }
    ck_assert_msg(slow[_i].drip ? !open : closed(fd), "case: %s: it stays", slow[_i].title);
    close(fd);
    ck_assert_msg(wait_until(mtls_metric(&m, "mihwar_hub_handshakes_open") == 0, LONG_MS),
                  "case: %s", slow[_i].title);
    ck_assert_int_ge(mtls_logged("hub", "ev=handshake.refused", "the handshake took too long"), 1);
}
END_TEST

/* The same on both doors: a request must be there whole in time, however often a byte of it comes. */
static const struct {
    const char *title;
    bool tls;
    const char *text;
    bool drip;
} dripping[] = {
    {"half a request line", false, "GET /heal", false},
    {"half a request line, TLS", true, "GET /heal", false},
    {"headers without end", false, "GET /healthz HTTP/1.1\r\nX: y", true},
    {"headers without end, TLS", true, "GET /healthz HTTP/1.1\r\nX: y", true},
    {"a body without end", false, "POST /healthz HTTP/1.1\r\nContent-Length: 9000\r\n\r\n", true},
    {"a body without end, TLS", true, "POST /healthz HTTP/1.1\r\nContent-Length: 9000\r\n\r\n",
     true},
    {"nothing, TLS", true, "", false},
    {"nothing", false, "", false},
};

START_TEST(a_slow_request)
{
    bool tls = dripping[_i].tls, open = true;
    struct tls_wire w = {.fd = -1};
    const char *text = dripping[_i].text;
    int64_t start;

    if (tls)
        w = tls_wire_open(&m, &m.ca, "shop-1");
    else
        w.fd = wire_open(m.house.hub_port);
    ck_assert(!tls || w.ssl);
    if (*text)
        ck_assert(tls ? SSL_write(w.ssl, text, (int)strlen(text)) > 0
                      : wire_send(w.fd, text, strlen(text)));
    start = support_now_ms();
    while (dripping[_i].drip && open && support_now_ms() - start < LONG_MS) {
        open = tls ? SSL_write(w.ssl, "x", 1) > 0 : wire_send(w.fd, "x", 1);
        ERR_clear_error();
        support_nap(50);
    }
    if (!dripping[_i].drip)
        open = tls ? !ends(&w) : !closed(w.fd);
    ck_assert_msg(!open, "case: %s: it stays", dripping[_i].title);
    if (tls)
        tls_wire_close(&w);
    else
        close(w.fd);
}
END_TEST

/* More than both processes take at a time, all silent or stopping in the middle; they are cut early, and who comes in
 * earnest meanwhile is served. */
START_TEST(a_flood_of_handshakes)
{
    unsigned char text[2048];
    size_t n = hello(text, sizeof text);
    double paused = mtls_metric(&m, "mihwar_hub_accept_paused_total");
    struct tls_wire standing = tls_wire_open(&m, &m.ca, "shop-1");
    int fds[400];

    for (size_t i = 0; i < COUNT(fds); i++) {
        fds[i] = wire_open(m.port);
        wire_send(fds[i], text, i % 2 ? n / 2 : 0);
    }
    ck_assert(tls_wire_asks(&standing)); /* who is in already does not wait at the door */
    for (int i = 0; i < 8; i++)
        ck_assert(let_in("shop-1"));
    for (size_t i = 0; i < COUNT(fds); i++)
        close(fds[i]);
    tls_wire_close(&standing);
    ck_assert(mtls_metric(&m, "mihwar_hub_accept_paused_total") > paused);
    ck_wait(mtls_metric(&m, "mihwar_hub_handshakes_open") == 0, LONG_MS);
}
END_TEST

/* ---------------------------------------------------------------- processes */

static int children(pid_t ret[8])
{
    return (int)proc_children(proc_pid(m.house.procs[HUB]), ret, 8);
}

/* A child that dies meets a torn list: the web door is open, the mTLS door comes back when the list does. */
START_TEST(a_process_that_finds_a_broken_file)
{
    pid_t was[8], now[8];
    const char *list = folder_path(&m.ca, "ca.crl"), *kept = folder_path(&m.ca, "kept");

    ck_assert_int_eq(children(was), 2);
    copy_file(list, kept);
    write_file(list, "half a li");
    ck_assert_int_eq(kill(was[0], SIGKILL), 0);
    ck_assert_int_eq(kill(was[1], SIGKILL), 0);
    ck_wait(mtls_logged("hub", "ev=door.shut", "ca.crl") >= 2, LONG_MS);
    ck_wait(children(now) == 2 && mtls_metric(&m, "mihwar_hub_requests_in_flight") == 1, LONG_MS);
    ck_assert(!let_in("shop-1"));
    copy_file(kept, list);
    hup("ev=door.opened");
    ck_assert(let_in("shop-1"));
}
END_TEST

/* SIGHUP before a child has its handlers up must not end it. */
START_TEST(a_storm_of_signals)
{
    pid_t was[8], now[8];

    ck_assert_int_eq(children(was), 2);
    kill(was[0], SIGKILL);
    int64_t end = support_now_ms() + 2000;
    while (support_now_ms() < end) {
        mtls_hup(&m, HUB);
        support_nap(1);
    }
    ck_wait(children(now) == 2, LONG_MS);
    ck_assert_int_eq(mtls_logged("hub", "ev=child.died", "signal=1 "), 0);
    ck_assert(let_in("shop-1"));
}
END_TEST

START_TEST(a_door_without_a_list)
{
    int port = m.port;

    folder_issue(&m.ca, "late", CA_CLIENT);
    folder_revoke(&m.ca, "late");
    house_set(&m.house, "MIHWAR_MTLS_CRL=");
    house_set(&m.house, arena_printf(&m.ca.cx.arena, "MIHWAR_MTLS_PORT_FILE=%s/port-b", m.ca.dir));
    house_up(&m.house, HUB_B);
    m.port = port_from_file(folder_path(&m.ca, "port-b"), m.house.procs[HUB_B], LONG_MS);
    ck_assert_msg(let_in("late"), "without a list nobody is revoked");
    m.port = port;
    ck_assert_int_eq(mtls_logged(part_name(HUB_B), "ev=door.no_crl", "lvl=warn"), 1);
    ck_assert(house_down(&m.house, HUB_B));
}
END_TEST

/* Lists begin five minutes ago: a minute and a half is its last quarter. */
START_TEST(a_list_that_ends_soon)
{
    size_t n;

    folder_ok(&m.ca, ca_crl(&m.ca.cx, m.ca.dir, clock_ms() + 90000, &n));
    copy_file(folder_path(&m.ca, "ca.crl"), folder_path(&m.ca, "brief.crl"));
    folder_ok(&m.ca, ca_crl(&m.ca.cx, m.ca.dir, clock_ms() + 30 * DAY_MS, &n));
    house_set(&m.house, arena_printf(&m.ca.cx.arena, "MIHWAR_MTLS_CRL=%s/brief.crl", m.ca.dir));
    house_up(&m.house, HUB_B);
    ck_assert_int_eq(mtls_logged(part_name(HUB_B), "ev=door.crl_ends", "brief.crl"), 1);
    ck_assert(house_down(&m.house, HUB_B));
}
END_TEST

/* SIGTERM among callers: who stands is let go, nobody hangs. */
START_TEST(the_end)
{
    struct tls_wire idle = tls_wire_open(&m, &m.ca, "shop-1");
    int silent = wire_open(m.port);

    ck_assert(tls_wire_asks(&idle));
    ck_assert(house_down(&m.house, HUB));
    ck_assert(ends(&idle));
    tls_wire_close(&idle);
    close(silent);
}
END_TEST

int main(void)
{
    static const char *const env[] = {"MIHWAR_HUB_IDLE_TIMEOUT=2s", "MIHWAR_MTLS_HANDSHAKE=2s",
                                      "MIHWAR_MTLS_HANDSHAKES_MAX=32", NULL};
    const struct {
        const char *title;
        const TTest *test;
        size_t loops;
    } rows[] = {
        {"a new list", a_new_list, 1},
        {"a broken file", a_broken_file, COUNT(broken)},
        {"the hub's certificate", a_new_certificate_of_the_hub, 1},
        {"the list's end", the_lists_end_is_told, 1},
        {"a slow handshake", a_slow_handshake, COUNT(slow)},
        {"a slow request", a_slow_request, COUNT(dripping)},
        {"a flood", a_flood_of_handshakes, 1},
        {"a process that finds a broken file", a_process_that_finds_a_broken_file, 1},
        {"signals", a_storm_of_signals, 1},
        {"without a list", a_door_without_a_list, 1},
        {"a list that ends soon", a_list_that_ends_soon, 1},
        {"the end", the_end, 1},
    };
    Suite *s = suite_create("mtls_life");

    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < COUNT(rows); i++) {
        TCase *tc = tcase_create(rows[i].title);
        tcase_add_loop_test(tc, rows[i].test, 0, (int)rows[i].loops);
        suite_add_tcase(s, tc);
    }
    mtls_open(&m, env);
    int failed = suite_run_unforked(s);
    failed += mtls_close(&m);
    return support_end(failed);
}
