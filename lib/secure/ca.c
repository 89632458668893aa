/* ca.c - the folder of a CA: who may write, and in which order. What is in the certificates:
 * ca_cert.c; who has one: ca_index.c. */
#include "secure/ca.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/text.h"
#include "secure/ca_cert.h"
#include "secure/ca_index.h"
#include "secure/identity.h"
#include "secure/pem.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIR_MAX 3000

static const char *const kinds[] = {
    [CA_SERVER] = "server", [CA_CLIENT] = "client", [CA_AGENT] = "agent"};

const char *ca_kind_word(enum ca_kind kind)
{
    return kinds[kind];
}

bool ca_kind_parse(const char *word, enum ca_kind *ret)
{
    for (size_t i = 0; i < COUNT(kinds); i++) {
        if (strcmp(kinds[i], word) == 0) {
            *ret = (enum ca_kind)i;
            return true;
        }
    }
    return false;
}

/* ---------------------------------------------------------------- the folder */

struct ca {
    const char *dir;
    int lock; /* -1: only read */
    struct ca_pair pair;
    struct ca_index index;
};
#define _ca_ _cleanup_(ca_release) struct ca

static void ca_release(struct ca *ca)
{
    ca_pair_release(&ca->pair);
    closep(&ca->lock);
}

static const char *in(struct cx *cx, const struct ca *ca, const char *file)
{
    return arena_printf(&cx->arena, "%s/%s", ca->dir, file);
}

static const char *issued_path(struct cx *cx, const struct ca *ca, const char *name,
                               const char *end)
{
    return arena_printf(&cx->arena, "%s/issued/%s.%s", ca->dir, name, end);
}

/* Until ca_release: others wait, for as long as it takes to write some files. */
static rc lock(struct cx *cx, struct ca *ca)
{
    ca->lock = open(ca->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (ca->lock < 0)
        return fail(cx, OS, "%s cannot be opened: %s", ca->dir, strerror(errno));
    while (flock(ca->lock, LOCK_EX) != 0) {
        if (errno != EINTR)
            return fail(cx, OS, "%s cannot be locked: %s", ca->dir, strerror(errno));
    }
    return OK;
}

static rc must_exist(struct cx *cx, const struct ca *ca)
{
    struct stat st;

    errno = 0;
    if (*ca->dir && strlen(ca->dir) <= DIR_MAX && stat(in(cx, ca, "ca.crt"), &st) == 0)
        return OK;
    if (errno == EACCES)
        return fail(cx, OS, "%s cannot be read: %s", ca->dir, strerror(errno));
    return fail(
        cx, NOT_FOUND,
        "there is no CA in '%.200s'; make one with 'mihwar ca init', or name its folder with --dir",
        ca->dir);
}

/* Locked, with its key and its index. */
static rc open_ca(struct cx *cx, struct ca *ca)
{
    _cleanup_(certs_freep) STACK_OF(X509) *certs = NULL;

    try(must_exist(cx, ca));
    try(lock(cx, ca));
    try(ca_index_read(cx, in(cx, ca, "index"), &ca->index));
    try(pem_read_key(cx, in(cx, ca, "ca.key"), &ca->pair.key));
    try(pem_read_certs(cx, in(cx, ca, "ca.crt"), &certs));
    ca->pair.cert = sk_X509_shift(certs);
    if (X509_check_private_key(ca->pair.cert, ca->pair.key) != 1)
        return fail(cx, CONFIG, "ca.key and ca.crt in %s do not belong together: %s", ca->dir,
                    openssl_reason());
    return OK;
}

static rc save_index(struct cx *cx, const struct ca *ca)
{
    return ca_index_write(cx, in(cx, ca, "index"), &ca->index);
}

static rc save_crl(struct cx *cx, const struct ca *ca, int64_t until_ms, size_t *ret_n)
{
    _cleanup_(crl_freep) X509_CRL *crl = NULL;
    int64_t now_ms = clock_ms();

    if (until_ms <= now_ms)
        return fail(cx, USAGE, "a revocation list must be good for some time");
    try(ca_cert_crl(cx, &ca->pair, ca->index.rows, ca->index.n, now_ms, until_ms, &crl, ret_n));
    return pem_write_crl(cx, in(cx, ca, "ca.crl"), crl);
}

/* Its first byte is not 0, so that everybody writes it with all its digits. */
static void new_serial(char *out)
{
    unsigned char bits[CA_SERIAL_LEN / 2];

    do
        random_bytes(bits, sizeof bits);
    while (bits[0] == 0);
    hex_encode(bits, sizeof bits, out);
}

/* ---------------------------------------------------------------- init */

static rc make_folder(struct cx *cx, const char *path)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return fail(cx, OS, "%s cannot be made: %s", path, strerror(errno));
    return OK;
}

static rc must_be_new(struct cx *cx, const struct ca *ca)
{
    static const char *const files[] = {"ca.key", "ca.crt", "index"};
    struct stat st;

    for (size_t i = 0; i < COUNT(files); i++) {
        if (lstat(in(cx, ca, files[i]), &st) == 0)
            return fail(cx, ALREADY_EXISTS, "there is a CA in %s already (%s); it is left as it is",
                        ca->dir, files[i]);
    }
    return OK;
}

rc ca_init(struct cx *cx, const char *dir, const char *cn, int64_t until_ms, int64_t crl_until_ms,
           struct ca_issued *ret)
{
    _ca_ ca = {.dir = dir, .lock = -1};
    struct ca_issued self = {.issued_ms = clock_ms(), .until_ms = until_ms, .names = ""};
    size_t none;

    if (!identity_cn_ok(cn, strlen(cn)) || strlen(cn) > CA_NAME_MAX)
        return fail(cx, USAGE, "a CA's name has 1 to %d printable ASCII characters", CA_NAME_MAX);
    if (!*dir || strlen(dir) > DIR_MAX)
        return fail(cx, USAGE, "a folder's name has 1 to %d characters", DIR_MAX);
    if (until_ms <= self.issued_ms)
        return fail(cx, USAGE, "a CA must be good for some time");
    try(make_folder(cx, dir));
    try(lock(cx, &ca));
    try(must_be_new(cx, &ca));
    try(make_folder(cx, in(cx, &ca, "issued")));
    new_serial(self.serial);
    try(ca_cert_root(cx, cn, self.serial, self.issued_ms - CA_SKEW_MS, until_ms, &ca.pair));
    try(pem_write_key(cx, in(cx, &ca, "ca.key"), ca.pair.key));
    try(save_index(cx, &ca));
    try(save_crl(cx, &ca, crl_until_ms, &none));
    try(pem_write_cert(cx, in(cx, &ca, "ca.crt"), ca.pair.cert)); /* from now on there is a CA */
    self.name = arena_strdup(&cx->arena, cn);
    *ret = self;
    return OK;
}

/* ---------------------------------------------------------------- issue */

static bool name_ok(const char *s)
{
    size_t n = strlen(s);

    return n >= 1 && n <= CA_NAME_MAX && s[0] != '.' && s[0] != '-' &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

static rc check_times(struct cx *cx, const struct ca *ca, const struct ca_request *q)
{
    int64_t ca_until_ms = asn1_ms(X509_get0_notAfter(ca->pair.cert));
    char until[CLOCK_TEXT_LEN + 1];

    if (q->until_ms <= q->from_ms)
        return fail(cx, USAGE, "a certificate must be good for some time");
    if (q->until_ms > ca_until_ms)
        return fail(cx, CONFLICT, "the CA itself ends at %s: ask for fewer days",
                    clock_format(ca_until_ms, until));
    return OK;
}

static rc check_free(struct cx *cx, const struct ca *ca, const char *name)
{
    const struct ca_issued *old = ca_index_find(&ca->index, name);

    if (old && !old->revoked_ms && old->until_ms > clock_ms())
        return fail(
            cx, ALREADY_EXISTS,
            "'%s' has a certificate that is good still (%s): revoke it first, or renew under "
            "another name with the same --dns or --uri",
            name, old->serial);
    return OK;
}

rc ca_issue(struct cx *cx, const char *dir, const struct ca_request *asked, struct ca_issued *ret)
{
    _cleanup_(ca_names_freep) GENERAL_NAMES *names = NULL;
    _cleanup_(ca_pair_release) struct ca_pair pair = {0};
    _ca_ ca = {.dir = dir, .lock = -1};
    struct ca_request q = *asked;
    struct ca_issued row = {.kind = q.kind, .issued_ms = clock_ms(), .until_ms = q.until_ms};

    if (!name_ok(q.name))
        return fail(
            cx, USAGE,
            "a certificate's name has 1 to %d letters, digits, '.', '_' and '-', and does not "
            "begin with '.' or '-'",
            CA_NAME_MAX);
    q.from_ms = q.from_ms ? q.from_ms : row.issued_ms - CA_SKEW_MS;
    try(ca_names(cx, &q, &names, &row.names));
    try(open_ca(cx, &ca));
    try(check_times(cx, &ca, &q));
    try(check_free(cx, &ca, q.name));
    new_serial(row.serial);
    row.name = arena_strdup(&cx->arena, q.name);
    try(ca_cert_leaf(cx, &ca.pair, &q, names, row.serial, &pair));
    *ca_index_add(cx, &ca.index) = row;
    try(save_index(cx, &ca));
    try(pem_write_key(cx, issued_path(cx, &ca, q.name, "key"), pair.key));
    try(pem_write_cert(cx, issued_path(cx, &ca, q.name, "crt"), pair.cert));
    *ret = row;
    return OK;
}

/* ---------------------------------------------------------------- revoke, list */

rc ca_revoke(struct cx *cx, const char *dir, const char *which, int64_t crl_until_ms,
             struct ca_issued *ret)
{
    _ca_ ca = {.dir = dir, .lock = -1};
    size_t n;

    try(open_ca(cx, &ca));
    struct ca_issued *row = ca_index_find(&ca.index, which);
    if (!row)
        return fail(cx, NOT_FOUND,
                    "this CA has issued nothing called '%.100s'; 'mihwar ca ls' shows what it has",
                    which);
    if (!row->revoked_ms) {
        row->revoked_ms = clock_ms();
        try(save_index(cx, &ca));
    }
    try(save_crl(cx, &ca, crl_until_ms, &n));
    *ret = *row;
    return OK;
}

rc ca_crl(struct cx *cx, const char *dir, int64_t until_ms, size_t *ret_n)
{
    _ca_ ca = {.dir = dir, .lock = -1};
    size_t n;

    try(open_ca(cx, &ca));
    try(save_crl(cx, &ca, until_ms, &n));
    if (ret_n)
        *ret_n = n;
    return OK;
}

rc ca_list(struct cx *cx, const char *dir, struct ca_issued **ret, size_t *ret_n)
{
    _ca_ ca = {.dir = dir, .lock = -1};

    try(must_exist(cx, &ca));
    try(ca_index_read(cx, in(cx, &ca, "index"), &ca.index));
    *ret = ca.index.rows;
    *ret_n = ca.index.n;
    return OK;
}
