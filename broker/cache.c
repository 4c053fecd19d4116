#include "broker/cache.h"

#include "broker/block.h"
#include "broker/hashed.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum {
    COUNTER_BYTES = 64,             /* libzmq's, before a file that it holds */
    BUCKET_BYTES = 32,              /* an entry's share of the hash table, which doubles */
    ENTRY_SHARE = 8,                /* no file is larger than this part of the bound */
};

void cache_init(struct cache *self, size_t bytes_max, int64_t now_ms)
{
    *self = (struct cache){ .bytes_max = bytes_max, .trusted_ms = now_ms };
    if (bytes_max > 0)
        self->seen = calloc(CACHE_SEEN, sizeof *self->seen);     /* NULL: bulk is never kept */
}

void cache_release(struct cache *self)
{
    cache_empty(self);
    free(self->seen);
    *self = (struct cache){ .bytes_max = 0 };
}

static size_t entry_bytes(size_t text_len, size_t file_len)
{
    return block_bytes(sizeof(struct cache_entry) + text_len) +
           block_bytes(COUNTER_BYTES + file_len) + BUCKET_BYTES;
}

static void drop(struct cache *self, struct cache_entry *entry)
{
    self->bytes -= entry->bytes;
    HASH_DEL(self->by_key, entry);
    DL_DELETE(self->recent, entry);
    frame_release(&entry->file);
    free(entry->map);
    free(entry);
}

void cache_empty(struct cache *self)
{
    while (self->recent)
        drop(self, self->recent);
}

/* ---- trust ---- */

bool cache_is_trusted(const struct cache *self, int64_t now_ms)
{
    return now_ms <= self->trusted_ms + CACHE_TRUST_MS;
}

void cache_trust(struct cache *self, int64_t now_ms)
{
    if (!cache_is_trusted(self, now_ms))
        cache_empty(self);
    self->trusted_ms = now_ms;
}

/* ---- pictures ---- */

static struct cache_entry *entry_of(const struct cache *self, const struct digest *key)
{
    struct cache_entry *entry = NULL;

    HASH_FIND(hh, self->by_key, key, sizeof *key, entry);
    return entry;
}

static bool is_what_it_says(struct cache_entry *entry)
{
    struct digest sha;

    if (!entry->is_checked) {
        sha = digest_of(frame_data(&entry->file), frame_len(&entry->file));
        entry->is_checked = digest_equal(&sha, &entry->file_sha);
    }
    return entry->is_checked;
}

struct cache_entry *cache_find(struct cache *self, const struct digest *key, int64_t now_ms)
{
    struct cache_entry *entry = cache_is_trusted(self, now_ms) ? entry_of(self, key) : NULL;

    if (entry && !is_what_it_says(entry)) {
        drop(self, entry);
        return NULL;
    }
    if (entry && entry != self->recent) {
        DL_DELETE(self->recent, entry);
        DL_PREPEND(self->recent, entry);
    }
    return entry;
}

/* True the second time, unless others have taken its place meanwhile. */
static bool was_seen(struct cache *self, const struct digest *key)
{
    uint64_t part, place;

    if (!self->seen)
        return false;
    memcpy(&part, key->bytes, sizeof part);
    memcpy(&place, key->bytes + sizeof part, sizeof place);
    place %= CACHE_SEEN;
    if (self->seen[place] == part)
        return true;
    self->seen[place] = part;
    return false;
}

/* The one asked for last stays; alone it fits. */
static void make_room(struct cache *self)
{
    while (self->bytes > self->bytes_max && self->recent != self->recent->prev)
        drop(self, self->recent->prev);
}

static struct cache_entry *entry_create(const struct picture *picture, size_t class_len,
                                        size_t encoder_len)
{
    struct cache_entry *entry = malloc(sizeof *entry + class_len + encoder_len);

    if (!entry)
        return NULL;
    if (frame_len(picture->jpeg) >= CACHE_SHARED_MIN) {
        frame_init_share(&entry->file, picture->jpeg);
    } else if (!frame_init_copy(&entry->file, frame_data(picture->jpeg),
                                frame_len(picture->jpeg))) {
        free(entry);
        return NULL;
    }
    entry->key = picture->key;
    entry->file_sha = picture->file_sha;
    entry->core_sha = picture->core_sha;
    entry->recipe = *picture->recipe;
    entry->run = picture->run;
    entry->batch = picture->batch;
    entry->is_checked = false;
    entry->map = NULL;
    entry->map_len = 0;
    memcpy(entry->texts, picture->numerics_class, class_len);
    memcpy(entry->texts + class_len, picture->encoder, encoder_len);
    return entry;
}

void cache_put(struct cache *self, const struct picture *picture, enum cache_interest interest)
{
    size_t class_len = strlen(picture->numerics_class) + 1;
    size_t encoder_len = strlen(picture->encoder) + 1;
    size_t bytes = entry_bytes(class_len + encoder_len, frame_len(picture->jpeg));
    struct cache_entry *entry = NULL;

    if (bytes > self->bytes_max / ENTRY_SHARE || entry_of(self, &picture->key))
        return;
    if (interest == CACHE_ASKED || was_seen(self, &picture->key))
        entry = entry_create(picture, class_len, encoder_len);
    if (!entry)
        return;
    entry->bytes = bytes;
    self->bytes += bytes;
    HASH_ADD(hh, self->by_key, key, sizeof entry->key, entry);
    DL_PREPEND(self->recent, entry);
    make_room(self);
}

struct picture cache_picture(struct cache_entry *entry)
{
    return (struct picture){
        .recipe = &entry->recipe, .key = entry->key, .file_sha = entry->file_sha,
        .core_sha = entry->core_sha, .numerics_class = entry->texts,
        .encoder = entry->texts + strlen(entry->texts) + 1, .run = entry->run,
        .batch = entry->batch, .source = MESSAGE_SOURCE_MEMORY,
        .bytes = (int64_t)frame_len(&entry->file), .jpeg = &entry->file,
    };
}

void cache_put_map(struct cache *self, struct cache_entry *entry, const struct frame *map)
{
    size_t len = frame_len(map), bytes = block_bytes(len);

    if (entry->map || len > CACHE_MAP_MAX || !(entry->map = malloc(len)))
        return;
    memcpy(entry->map, frame_data(map), len);
    entry->map_len = len;
    entry->bytes += bytes;
    self->bytes += bytes;
    make_room(self);
}

void cache_remove(struct cache *self, const struct digest *key)
{
    struct cache_entry *entry = entry_of(self, key);

    if (entry)
        drop(self, entry);
}
