/* nodes.h - the nodes of a cluster and the map of its slots; what the files of the cluster share.
 *
 * A struct node lives as long as its cluster, its connection not: a node that is on no map any more
 * loses it as soon as nobody waits there. */
#pragma once
#include "redis/slots.h"
#include "redis/wire.h"
#include "rt/waitq.h"

struct node {
    struct cluster *cluster;
    size_t place; /* among the cluster's */
    char *host;
    int port;
    struct wire *wire;    /* NULL: not opened, or let go */
    bool listed;          /* on the last map */
    int64_t down_mono_ms; /* since when it cannot be reached; 0: it can, or nobody tried */
    uint64_t before;      /* connections made by wires that were let go */
};

struct lane;
struct cluster {
    struct redis_url url;
    void (*ready)(void *);
    void *arg;
    struct node **nodes;
    size_t nnodes;
    uint16_t of[SLOTS];     /* 1 + the place of its node; 0: nobody has it, as far as we know */
    bool mapped;            /* a map was read */
    bool refreshing, stale; /* a refresh is under way, and another one is wanted behind it */
    struct waitq refreshed;
    size_t refs; /* fibers that are inside; the last one frees a closed cluster */
    bool closed;
    struct lane **lanes;
    size_t nlanes, turn;
    struct waitq takers;
    size_t ntakers;
    char why[200]; /* no map: the last failure */
};

struct node *node_of(struct cluster *c, const char *host, int port); /* made at the first call */
struct node *node_of_slot(const struct cluster *c, int slot); /* NULL: nobody, as far as we know */
void node_takes_slot(struct node *n, int slot);
/* A new connection to a node that nobody else uses. */
rc node_wire_new(struct cx *cx, const struct node *n, void (*ready)(void *), void *arg,
                 struct wire **ret);
/* Its shared connection. */
rc node_wire(struct cx *cx, struct node *n, struct wire **ret);
bool node_gone(const struct node *n); /* away for longer than anybody waits */
/* It could not be reached by a command. */
void node_missed(struct node *n);

/* The map is asked for in the background, soon; many wishes are one. */
void nodes_refresh(struct cluster *c);
/* The same, and waits until it is there, or until one more could not be had. Parks. */
rc nodes_refresh_now(struct cx *cx, struct cluster *c) MW_PARKS;
void nodes_free(struct cluster *c);

void cluster_enter(struct cluster *c); /* keeps it while a fiber is inside */
void cluster_leave(struct cluster *c);

/* One command over a lane's own connection (lane.c); lane NULL: over the nodes' shared ones. */
rc cluster_call_by(struct cx *cx, struct cluster *c, struct lane *lane, const char *resp,
                   size_t len, size_t n, redisReply **replies, bool patience) MW_PARKS;
/* The lane's connection, to this node. */
rc lane_wire(struct cx *cx, struct lane *l, struct node *n, struct wire **ret);
void lanes_free(struct cluster *c);
