/* door.h - one listener: an address, and how one speaks there.
 *
 *   web    plain HTTP; API keys                                    hub_listen
 *   mtls   TLS 1.2 and 1.3, a certificate on both ends             mtls_listen, mtls_cert, mtls_key, mtls_ca, mtls_crl
 *
 * Behind either: evhttp, with the same ceilings, and its visitors (visitors.h).
 *
 * The mTLS door reads its files at the start and at door_reload: all anew, or all as it was. After a reload that went
 * well, who could not come in now is not in any more: each connection's certificate is checked again, a few at a time,
 * and it is closed if it was revoked, or if its CA is no longer trusted. Certificates that have expired end their
 * connections within a minute.
 *
 * If a process finds files that will not do when it is started anew (a list that has run out), its mTLS door stays shut and is tried again
 * every minute; the web door is open meanwhile. */
#pragma once
#include "base/settings.h"
#include "hub/request.h"

struct door;
struct evhttp_connection;
struct metrics;
struct visitor;

#define DOOR_KINDS 2
struct door_address {
    int fd; /* -1: there is no such door */
    int port;
};

/* Is there such a door, and would it open? CONFIG, in words for who wrote the settings. Reads the files. */
rc door_check(struct cx *cx, const struct settings *s, enum door_kind kind);
/* "127.0.0.1:8080", "[::1]:0": reserves the address for all children (SO_REUSEPORT) without listening on it; ret->port is
 * the port bound. CONFIG for an address that is none or taken. In the parent; the descriptor stays open. */
rc door_reserve(struct cx *cx, const struct settings *s, enum door_kind kind,
                struct door_address *ret);

struct door_opts {
    enum door_kind kind;
    int reserved_fd;
    const struct settings *settings;
    struct metrics *metrics;
    bool warns; /* of a list that will end: one process of all */
    void (*on_request)(struct door *d, struct evhttp_request *ev, void *arg);
    /* Somebody was refused on the mTLS door, or is let in no more. ip: "" if it is gone already; name: whom the certificate
     * names, "" if nobody (not proven: the certificate may be anybody's); why: words. NULL: nobody wants to know. */
    void (*on_refused)(void *arg, const char *ip, const char *name, const char *why);
    void *arg;
};
/* In a child: listens on the reserved address. OS. */
rc door_open(struct cx *cx, const struct door_opts *o, struct door **ret);
enum door_kind door_kind(const struct door *d);
/* Takes no more connections. */
void door_stop(struct door *d);
/* SIGHUP: soon, and once for all that came together. Logs how it went. Nothing to do on the web door. */
void door_reload(struct door *d);

/* A complete request came. The name in its certificate, "" on the web door; good until the connection ends. */
const char *door_asked(struct door *d, struct evhttp_connection *conn);
/* visitors.h */
struct visitor *door_detach(struct door *d, struct evhttp_connection *conn,
                            void (*on_unwelcome)(void *arg), void *arg);
void door_watch(struct door *d, struct evhttp_connection *conn, void (*on_hangup)(void *arg),
                void *arg);
void door_unwatch(struct door *d, struct evhttp_connection *conn);
void door_write(struct door *d, struct evhttp_connection *conn);
/* Does any connection have bytes of a reply that are not written yet? */
bool door_unsent(const struct door *d);
/* No request may be under way, no connection detached, no fiber be left. NULL in, NULL out. */
struct door *door_free(struct door *d);
