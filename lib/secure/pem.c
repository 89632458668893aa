/* pem.c - see pem.h. A file is replaced by way of a new one beside it:
 *
 *   PATH.XXXXXX  0600, written, synced  --rename-->  PATH     then the folder is synced */
#include "secure/pem.h"
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const char *openssl_reason(void)
{
    unsigned long e = ERR_peek_error();
    const char *words =
        ERR_SYSTEM_ERROR(e) ? strerror(ERR_GET_REASON(e)) : ERR_reason_error_string(e);

    ERR_clear_error();
    return words ? words : "OpenSSL does not say why";
}

/* A passphrase would be asked for on a terminal that nobody watches. */
static int no_passphrase(char *to, int size, int writing, void *arg)
{
    return -1;
}

static rc open_file(struct cx *cx, const char *path, BIO **ret)
{
    ERR_clear_error();
    *ret = BIO_new_file(path, "re");
    return *ret ? OK : fail(cx, CONFIG, "%s cannot be read: %s", path, openssl_reason());
}

/* Behind the last PEM block of its sort: is it the end, or was one broken? */
static rc at_end(struct cx *cx, const char *path, int n, const char *what)
{
    unsigned long e = ERR_peek_last_error();

    if (ERR_GET_LIB(e) != ERR_LIB_PEM || ERR_GET_REASON(e) != PEM_R_NO_START_LINE)
        return fail(cx, CONFIG, "%s cannot be read: %s", path, openssl_reason());
    ERR_clear_error();
    return n > 0 ? OK : fail(cx, CONFIG, "there is no %s in %s", what, path);
}

rc pem_read_certs(struct cx *cx, const char *path, STACK_OF(X509) * *ret)
{
    _cleanup_(certs_freep) STACK_OF(X509) *all = sk_X509_new_null();
    _cleanup_(bio_freep) BIO *file = NULL;

    try(open_file(cx, path, &file));
    for (X509 *c; (c = PEM_read_bio_X509(file, NULL, no_passphrase, NULL));)
        sk_X509_push(all, c);
    try(at_end(cx, path, sk_X509_num(all), "certificate"));
    *ret = TAKE_PTR(all);
    return OK;
}

rc pem_read_crls(struct cx *cx, const char *path, STACK_OF(X509_CRL) * *ret)
{
    _cleanup_(crls_freep) STACK_OF(X509_CRL) *all = sk_X509_CRL_new_null();
    _cleanup_(bio_freep) BIO *file = NULL;

    try(open_file(cx, path, &file));
    for (X509_CRL *c; (c = PEM_read_bio_X509_CRL(file, NULL, no_passphrase, NULL));)
        sk_X509_CRL_push(all, c);
    try(at_end(cx, path, sk_X509_CRL_num(all), "revocation list"));
    *ret = TAKE_PTR(all);
    return OK;
}

rc pem_read_key(struct cx *cx, const char *path, EVP_PKEY **ret)
{
    _cleanup_(bio_freep) BIO *file = NULL;

    try(open_file(cx, path, &file));
    *ret = PEM_read_bio_PrivateKey(file, NULL, no_passphrase, NULL);
    if (!*ret)
        return fail(cx, CONFIG, "there is no key in %s that can be read without a passphrase: %s",
                    path, openssl_reason());
    return OK;
}

/* ---------------------------------------------------------------- writing */

static bool write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno != EINTR)
            return false;
        if (done > 0) {
            p += done;
            n -= (size_t)done;
        }
    }
    return true;
}

static bool sync_folder_of(const char *path)
{
    _cleanup_(freep) char *copy = xstrdup(path);
    _cleanup_(closep) int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd >= 0 && fsync(fd) == 0;
}

rc file_replace(struct cx *cx, const char *path, mode_t mode, const void *p, size_t n)
{
    _cleanup_(freep) char *beside = xasprintf("%s.XXXXXX", path);
    _cleanup_(closep) int fd = mkostemp(beside, O_CLOEXEC);

    if (fd < 0)
        return fail(cx, OS, "%s cannot be written: %s", path, strerror(errno));
    if (!write_all(fd, p, n) || fchmod(fd, mode) != 0 || fsync(fd) != 0 ||
        rename(beside, path) != 0) {
        int why = errno;
        unlink(beside);
        return fail(cx, OS, "%s cannot be written: %s", path, strerror(why));
    }
    if (!sync_folder_of(path))
        return fail(cx, OS, "the folder of %s cannot be synced: %s", path, strerror(errno));
    return OK;
}

static rc write_pem(struct cx *cx, const char *path, mode_t mode, BIO *text, bool ok)
{
    char *p;

    if (!ok)
        return fail(cx, INTERNAL, "%s cannot be written as PEM: %s", path, openssl_reason());
    long n = BIO_get_mem_data(text, &p);
    return file_replace(cx, path, mode, p, (size_t)n);
}

rc pem_write_cert(struct cx *cx, const char *path, const X509 *cert)
{
    _cleanup_(bio_freep) BIO *text = BIO_new(BIO_s_mem());

    return write_pem(cx, path, 0644, text, text && PEM_write_bio_X509(text, cert) == 1);
}

rc pem_write_crl(struct cx *cx, const char *path, const X509_CRL *crl)
{
    _cleanup_(bio_freep) BIO *text = BIO_new(BIO_s_mem());

    return write_pem(cx, path, 0644, text, text && PEM_write_bio_X509_CRL(text, crl) == 1);
}

rc pem_write_key(struct cx *cx, const char *path, const EVP_PKEY *key)
{
    _cleanup_(bio_freep) BIO *text = BIO_new(BIO_s_secmem()); /* wiped when it is freed */

    return write_pem(cx, path, 0600, text,
                     text &&
                         PEM_write_bio_PKCS8PrivateKey(text, key, NULL, NULL, 0, NULL, NULL) == 1);
}

/* ---------------------------------------------------------------- small things */

int64_t asn1_ms(const ASN1_TIME *t)
{
    struct tm tm;

    return t && ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) * 1000 : INT64_MAX;
}

void certs_freep(STACK_OF(X509) * *p)
{
    sk_X509_pop_free(*p, X509_free);
}

void crls_freep(STACK_OF(X509_CRL) * *p)
{
    sk_X509_CRL_pop_free(*p, X509_CRL_free);
}

void cert_freep(X509 **p)
{
    X509_free(*p);
}

void crl_freep(X509_CRL **p)
{
    X509_CRL_free(*p);
}

void key_freep(EVP_PKEY **p)
{
    EVP_PKEY_free(*p);
}

void bio_freep(BIO **p)
{
    BIO_free(*p);
}
