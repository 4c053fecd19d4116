/* cache -- recent pictures in memory, by recipe key: what an answer says, and the file. Who is
 * asked for again also has the answer's map as it goes over the wire. Bounded in bytes, the least
 * recently asked for goes first.
 *
 * Work that walks over a million seeds does not wash the others out: what only bulk asked for comes
 * in when it is asked for again within the last CACHE_SEEN such pictures.
 *
 * Files below CACHE_SHARED_MIN are copied: libzmq reads 8 KiB at a time, and a small message is a
 * slice of such a buffer (18 KB with its counters) that lives as long as any slice does. Larger
 * messages have memory of their own, which is shared.
 *
 * Whoever fills it knows that the pictures may be given out; withdrawals are the ledger's, so it is
 * trusted only for CACHE_TRUST_MS after the ledger was last seen. */
#ifndef BROKER_CACHE_H
#define BROKER_CACHE_H

#include "base/link.h"
#include "broker/picture.h"
#include "proto/digest.h"
#include "proto/recipe.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uthash.h>

enum {
    CACHE_TRUST_MS = 60000,
    CACHE_SHARED_MIN = 16 << 10,
    CACHE_MAP_MAX = 2048,           /* bytes of an answer's map */
    CACHE_SEEN = 8192,              /* a power of two */
};

struct cache_entry {
    struct digest key, file_sha, core_sha;
    struct recipe recipe;
    int64_t run, batch;
    bool is_checked;                /* the file has that hash */
    struct frame file;
    uint8_t *map;                   /* [map_len]; NULL: nobody has asked again yet */
    size_t map_len;
    size_t bytes;                   /* of memory, the allocator's share and the table's included */
    struct cache_entry *prev, *next;
    UT_hash_handle hh;
    char texts[];                   /* numerics class, encoder, each with its NUL */
};

struct cache {
    struct cache_entry *by_key;
    struct cache_entry *recent;     /* the one asked for last is first */
    size_t bytes, bytes_max;        /* 0: it is off */
    int64_t trusted_ms;             /* when the ledger was last seen */
    uint64_t *seen;                 /* [CACHE_SEEN] what only bulk asked for, a part of each key */
};

void cache_init(struct cache *self, size_t bytes_max, int64_t now_ms);
void cache_release(struct cache *self);

/* The ledger is there, or there is none that could withdraw anything. After a time without trust
 * all entries go: what was withdrawn meanwhile is not known. */
void cache_trust(struct cache *self, int64_t now_ms);
bool cache_is_trusted(const struct cache *self, int64_t now_ms);

/* NULL: not there, or not trusted now, or its file is not what its hash says (checked when it is
 * first found: what nobody asks for again costs no hashing). Lent until the next call that
 * changes the cache. */
struct cache_entry *cache_find(struct cache *self, const struct digest *key, int64_t now_ms);

enum cache_interest { CACHE_ASKED, CACHE_BULK };
/* Keeps the picture's facts and a share or copy of its file. The first picture of a key stays. What
 * does not fit (more than an eighth of the bound, no memory) is not kept, nor what bulk asks for
 * the first time. */
void cache_put(struct cache *self, const struct picture *picture, enum cache_interest interest);
/* What is kept, as made in no time, from memory. Lent as the entry is. */
struct picture cache_picture(struct cache_entry *entry);
/* Keeps a copy of its answer's map, encoded with MESSAGE_ID_BLANK; one that is too long or finds no
 * memory is not kept. */
void cache_put_map(struct cache *self, struct cache_entry *entry, const struct frame *map);
void cache_remove(struct cache *self, const struct digest *key);    /* not there: nothing happens */
void cache_empty(struct cache *self);

#endif
