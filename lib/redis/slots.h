/* slots.h - which of a cluster's 16384 slots a command belongs to. Pure functions; of lib/redis, and of those who choose keys by it
 * (lib/queue/keys.c).
 *
 *   "*3 $7 EVALSHA $40 … $1 2 $… mw:{orders}:jobs …"  --key-->  "orders"  --CRC16 mod 16384-->  slot */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#define SLOTS    16384
#define SLOT_ANY (-1) /* of a command without a key: each node can answer it */

/* Of {tag} in the key if there is one that is not empty, else of all of it. */
int slot_of_key(const char *key, size_t len);

/* The command at the head of len bytes of RESP (as hiredis formats it): its length in bytes and its
 * slot, by its first key. False when there is no whole command. */
bool slot_of_command(const char *resp, size_t len, size_t *ret_len, int *ret_slot);
