/* mtls.h - the hub's mTLS door from outside: a CA in a folder, a hub with both doors, and three kinds of callers: curl,
 * `openssl s_client`, and TLS as bytes. */
#pragma once
#include "base/buf.h"
#include "secure/tls.h"
#include "tests/e2e/wire.h"
#include "tests/unit/ca_folder.h"
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>

#define LONG_MS 60000 /* what must happen, on a busy machine */

struct mtls {
    struct house house;
    struct folder ca;
    int port;
    char env_text[16][128];
    const char *env[24];
};

static inline const char *mtls_crt(struct folder *f, const char *name)
{
    return arena_printf(&f->cx.arena, "%s/issued/%s.crt", f->dir, name);
}

static inline const char *mtls_key(struct folder *f, const char *name)
{
    return arena_printf(&f->cx.arena, "%s/issued/%s.key", f->dir, name);
}

/* A house whose hub has an mTLS door, with what `more` says besides. */
static inline void mtls_open(struct mtls *m, const char *const *more)
{
    const struct {
        const char *name, *file;
    } files[] = {{"CERT", "issued/hub.crt"},
                 {"KEY", "issued/hub.key"},
                 {"CA", "ca.crt"},
                 {"CRL", "ca.crl"},
                 {"PORT_FILE", "port"}};
    size_t n = 0;

    m->ca = folder_new();
    folder_init(&m->ca, "Test CA");
    folder_issue(&m->ca, "hub", CA_SERVER);
    folder_issue(&m->ca, "shop-1", CA_CLIENT);
    m->env[n++] = "MIHWAR_MTLS_LISTEN=127.0.0.1:0";
    for (size_t i = 0; i < COUNT(files); i++) {
        snprintf(m->env_text[i], sizeof m->env_text[i], "MIHWAR_MTLS_%s=%s/%s", files[i].name,
                 m->ca.dir, files[i].file);
        m->env[n++] = m->env_text[i];
    }
    for (; more && *more; more++)
        m->env[n++] = *more;
    house_open(&m->house, NULL, m->env);
    m->port = port_from_file(folder_path(&m->ca, "port"), m->house.procs[HUB], LONG_MS);
}

static inline int mtls_close(struct mtls *m)
{
    int failed = house_stop(&m->house);

    folder_release(&m->ca);
    return failed;
}

/* ---------------------------------------------------------------- what the hub says */

static inline double mtls_metric(struct mtls *m, const char *name)
{
    _cleanup_(web_reply_release) struct web_reply r = house_get(&m->house, "/metrics");
    _cleanup_(freep) char *line = xasprintf("\n%s ", name);
    const char *at = strstr(r.body, line);

    return at ? atof(at + strlen(line)) : -1;
}

/* How many lines of a hub's log have all of these words. */
static inline int mtls_logged(const char *log_name, const char *a, const char *b)
{
    _cleanup_(freep) char *log = support_log(log_name);
    int n = 0;

    for (char *rest = log, *line; (line = strsep(&rest, "\n"));)
        n += strstr(line, a) && strstr(line, b);
    return n;
}

static inline void mtls_hup(struct mtls *m, enum part hub)
{
    proc_signal(m->house.procs[hub], SIGHUP);
}

/* ---------------------------------------------------------------- callers */

/* `openssl s_client` with these words (NULL-terminated); both outputs together, freed by the caller. */
static inline char *mtls_s_client(int port, const char *ca, const char *in, int *ret_status,
                                  const char *const *words)
{
    char to[32];
    const char *argv[40] = {"/usr/bin/openssl",    "s_client", "-connect", to, "-CAfile", ca,
                            "-verify_return_error"};
    char *out = NULL, *err = NULL;
    size_t n = 7;

    snprintf(to, sizeof to, "127.0.0.1:%d", port);
    while (*words && n + 1 < COUNT(argv))
        argv[n++] = *words++;
    *ret_status =
        proc_run(&(struct proc_opts){.name = "s_client", .argv = argv}, in, LONG_MS, &out, &err);
    char *all = xasprintf("%s%s", out, err);
    free(out);
    free(err);
    return all;
}

/* curl with somebody's certificate and these words (NULL-terminated); its stdout, freed by the caller. Not inlined: gcc 12 takes
 * what it points to for the pointer itself, and a caller's use of it for one of a dead variable. */
static __attribute__((noinline, unused)) char *mtls_curl(struct mtls *m, const char *name,
                                                         int *ret_status, const char *const *words)
{
    const char *argv[40] = {"/usr/bin/curl", "-sS",
                            "--max-time",    "60",
                            "--noproxy",     "*",
                            "--cacert",      folder_path(&m->ca, "ca.crt"),
                            "--cert",        mtls_crt(&m->ca, name),
                            "--key",         mtls_key(&m->ca, name)};
    char *out = NULL;
    size_t n = 12;

    while (*words && n + 1 < COUNT(argv))
        argv[n++] = *words++;
    *ret_status =
        proc_run(&(struct proc_opts){.name = "curl", .argv = argv}, NULL, LONG_MS, &out, NULL);
    return out;
}

static inline char *mtls_url(struct mtls *m, const char *path)
{
    return arena_printf(&m->ca.cx.arena, "https://127.0.0.1:%d%s", m->port, path);
}

/* TLS as bytes: a connection that stays as long as the test wants. */
struct tls_wire {
    int fd;
    SSL *ssl;
};

/* ssl NULL: the handshake failed, or nobody listens. */
static inline struct tls_wire tls_wire_open(struct mtls *m, struct folder *f, const char *name)
{
    struct tls_files files = {
        .cert = mtls_crt(f, name), .key = mtls_key(f, name), .ca = folder_path(&m->ca, "ca.crt")};
    struct timeval limit = {.tv_sec = LONG_MS / 1000};
    struct tls_wire w = {.fd = wire_try(m->port)};
    struct tls *t = NULL;

    if (w.fd < 0)
        return w;
    folder_ok(f, tls_new(&f->cx, TLS_CLIENT, &files, &t));
    w.ssl = SSL_new(tls_ctx(t));
    tls_free(t);
    setsockopt(w.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    SSL_set_fd(w.ssl, w.fd);
    if (SSL_connect(w.ssl) != 1) {
        SSL_free(w.ssl);
        w.ssl = NULL;
    }
    ERR_clear_error();
    return w;
}

static inline void tls_wire_close(struct tls_wire *w)
{
    SSL_free(w->ssl);
    if (w->fd >= 0)
        close(w->fd);
    w->ssl = NULL;
}

/* Reads until `enough` came (NULL: until the other side closes); false at the end, or after LONG_MS, without it. */
static inline bool tls_wire_read(struct tls_wire *w, char *text, size_t size, const char *enough)
{
    for (;;) {
        size_t have = strlen(text);
        if (enough && strstr(text, enough))
            return true;
        if (have + 1 >= size)
            return false;
        int k = SSL_read(w->ssl, text + have, (int)(size - have - 1));
        int why = SSL_get_error(w->ssl, k);
        ERR_clear_error();
        if (k <= 0)
            return !enough && why != SSL_ERROR_WANT_READ;
        text[have + (size_t)k] = 0;
    }
}

/* GET /healthz: is it answered? */
static inline bool tls_wire_asks(struct tls_wire *w)
{
    static const char ask[] = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    char text[4096] = "";

    if (!w->ssl)
        return false;
    int sent = SSL_write(w->ssl, ask, sizeof ask - 1);
    ERR_clear_error();
    return sent > 0 && tls_wire_read(w, text, sizeof text, "{\"status\":\"ok\"}") &&
           strstr(text, "HTTP/1.1 200");
}
