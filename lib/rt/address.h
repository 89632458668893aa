/* address.h - which addresses a visitor's URL may lead to (SSRF).
 *
 * Public is what IANA's special-purpose registries leave over: no loopback, private, shared, link-local, multicast,
 * documentation, benchmark or reserved range, and none of them wrapped in IPv6 (mapped, compatible, NAT64, 6to4, Teredo). */
#pragma once
#include <stdbool.h>

struct sockaddr;
bool address_is_public(const struct sockaddr *sa);
/* An address as text ("127.0.0.1", "fe80::1%eth0"); false for what is none. */
bool address_text_is_public(const char *ip);
