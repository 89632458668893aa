/* book.h - the provider's own books: orders, the dealers' money, and the ledger of physical
 * deliveries.
 *
 *     accepted(1) --approve--> delivered(2)      one line in the ledger: a code left the house, or
 *              |                                 a player was loaded
 *              `--cancel----> cancelled(3)       the dealer gets back exactly the cost
 *                 2 <--operator--> 3             a late change of mind; 3 -> 2 delivers, 2 -> 3
 *                                                cannot take the goods back
 *
 * With a file, each event is appended and synced before anybody is told, and read back at the next
 * start: the provider does not forget because its process was killed. The ledger is the oracle for
 * double purchases: it counts what left the house, whatever the clients believe. */
#pragma once
#include "base/buf.h"
#include "base/util.h"

struct book;
struct event;

struct order {
    int64_t seq; /* the provider's own number */
    char *dealer, *ref, *product, *player, *extra;
    int64_t cost; /* in 1/10000 */
    int64_t quantity;
    int status; /* 1, 2, 3 */
    char *pin, *text;
    int64_t created_ms, ended_ms;
    int64_t polls;       /* status calls since it was accepted */
    struct order *older; /* of the same reference, where duplicates are accepted */
    /* how it will end, decided when it was placed */
    bool cancels;
    int64_t settle_ms;    /* after its acceptance; -1: not by time */
    int64_t settle_polls; /* after so many questions; 0: by time only */
    int64_t flip_ms;      /* 0: never; after the end, to the other one */
    bool without_pin;
    int ends; /* how often it reached an end */
    struct event *timer;
    struct book *book;
    struct order *next; /* all of them, oldest first */
};

/* A reference that was heard of, whether or not an order came of it. */
struct ref {
    char *dealer, *ref;
    int places, polls;   /* calls */
    struct order *order; /* the newest, or NULL */
};

struct book *book_new(void);
struct book *book_free(struct book *b);
/* Reads the events back and appends to the file from now on. False with a sentence on stderr. */
bool book_open(struct book *b, const char *file);

struct ref *book_ref(struct book *b, const char *dealer, const char *ref); /* made when new */
const struct ref *book_find(struct book *b, const char *dealer, const char *ref);

/* Takes the order and the money. The strings are copied; `o` brings ref, product, player, extra,
 * cost, quantity, the end. */
struct order *book_accept(struct book *b, const struct order *o);
/* Ends or flips an order; pin and text may be NULL (then made here). */
void book_end(struct order *o, int status, const char *pin, const char *text);
/* Counts a question; ends the order if it was to end after so many. */
void book_polled(struct order *o);
/* Every open order at once, as each was to end. Returns how many. */
int book_settle_all(struct book *b);

struct order *book_orders(struct book *b); /* the oldest; follow next */

int64_t book_balance(struct book *b, const char *dealer);
void book_set_balance(struct book *b, const char *dealer, int64_t amount);
/* Forgets orders, ledger and money; empties the file. */
void book_reset(struct book *b);

/* 1/10000 as a decimal with 2 or 4 places; and back (a valid decimal). */
void money_print(struct buf *out, int64_t amount, int places, char point);
int64_t money_read(const char *s);

void book_ledger_json(const struct book *b, struct buf *out);
void book_orders_json(const struct book *b, struct buf *out);
