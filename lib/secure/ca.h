/* ca.h - a certificate authority for those who have none: one folder, no server.
 *
 *   DIR/            0700
 *     ca.key        0600  EC P-256, PKCS#8: who has it can be anybody; not needed where the doors are
 *     ca.crt              what doors and clients trust
 *     ca.crl              what the doors refuse; good until its next update, afterwards NOBODY is let in
 *     index               one line a certificate ever issued (ca_index.h)
 *     issued/       0700
 *       NAME.key    0600  made here; hand it over with NAME.crt, then it may be removed here
 *       NAME.crt
 *
 * Order of writing: index, then key and certificate. A crash in between leaves a line for a certificate
 * that nobody has; a certificate without a line, which could not be revoked, never exists. Whoever
 * changes something holds a lock on the folder.
 *
 * Everything blocks (files, key generation): for command lines. Times are ms since 1970. */
#pragma once
#include "base/cx.h"

#define CA_SERIAL_LEN 32     /* hex digits: 128 random bits */
#define CA_NAME_MAX   64     /* NAME: letters, digits, '.', '_', '-' */
#define CA_SKEW_MS    300000 /* certificates and lists begin this long ago: clocks differ */

enum ca_kind { CA_SERVER, CA_CLIENT, CA_AGENT };
const char *ca_kind_word(enum ca_kind kind); /* "server" */
bool ca_kind_parse(const char *word, enum ca_kind *ret);

struct ca_issued {
    char serial[CA_SERIAL_LEN + 1]; /* lower-case hex */
    enum ca_kind kind;
    const char *name;  /* of the files, and CN of the subject */
    const char *names; /* subjectAltName: "DNS:a.example,IP:10.0.0.1" */
    int64_t issued_ms, until_ms;
    int64_t revoked_ms; /* 0: it is not */
};

struct ca_request {
    const char *name;
    enum ca_kind kind;
    /* Comma-separated, NULL: none. A server needs a DNS name or an address, and may have many of both
     * ("*.example.net" too); a client or agent has one DNS name or one URI, its identity; left out, the
     * DNS name is `name`. */
    const char *dns, *uri, *ip;
    int64_t from_ms; /* 0: CA_SKEW_MS ago */
    int64_t until_ms;
};

/* Make the CA, and an empty list good until crl_until_ms. cn: its subject. USAGE; ALREADY_EXISTS; OS. */
rc ca_init(struct cx *cx, const char *dir, const char *cn, int64_t until_ms, int64_t crl_until_ms,
           struct ca_issued *ret);

/* A key and a certificate under issued/. USAGE: something in the request will not do; ALREADY_EXISTS: a
 * certificate of this name is good still (revoke it, or renew under another name: the identity is
 * what the certificate says, not what its file is called); CONFLICT: longer than the CA itself;
 * NOT_FOUND: no CA here; OS. Texts in *ret are in cx's arena. */
rc ca_issue(struct cx *cx, const char *dir, const struct ca_request *q, struct ca_issued *ret);

/* By serial, or by name (its newest), and a new list good until crl_until_ms. What was revoked
 * before stays as it was, and the list is written all the same. NOT_FOUND; OS. */
rc ca_revoke(struct cx *cx, const char *dir, const char *which, int64_t crl_until_ms,
             struct ca_issued *ret);

/* The list anew: before its next update. *ret_n (may be NULL): how many it names. NOT_FOUND; OS. */
rc ca_crl(struct cx *cx, const char *dir, int64_t until_ms, size_t *ret_n);

/* All that was issued, oldest first; in cx's arena. NOT_FOUND; CONFIG: the index is torn. */
rc ca_list(struct cx *cx, const char *dir, struct ca_issued **ret, size_t *ret_n);
