/* identity.h - the name by which a certificate's holder is known.
 *
 *   the first URI of subjectAltName      urn:mihwar:agent:core-switch-1     as it is
 *   else its first DNS name              shop-7.example.net                 in lower case
 *   else the one CN of the subject       Shop 7                             as it is
 *
 * A name that breaks the rules is refused; it is never passed over for the next one. */
#pragma once
#include "base/cx.h"
#include <openssl/x509.h>

#define IDENTITY_MAX 255

/* out holds IDENTITY_MAX + 1 bytes. UNAUTHENTICATED: it has no name, or one that must not be used. */
rc identity_of(struct cx *cx, const X509 *cert, char *out);

/* Labels of 1 to 63 letters, digits, '-' and '_', no '-' at their ends, at most 253 in all; no
 * "*". */
bool identity_dns_ok(const char *s, size_t n);
/* "scheme:" and more of what RFC 3986 allows, 255 at most. */
bool identity_uri_ok(const char *s, size_t n);
/* Printable ASCII, a space only between other characters, 255 at most. */
bool identity_cn_ok(const char *s, size_t n);
