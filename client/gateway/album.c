#include "client/gateway/album.h"

#include "client/gateway/tally.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

/* Several boards, so that threads seldom wait for one another. */
enum { BOARDS = 16, BOOK_BYTES = 1024 /* entry, response and headers, about */ };

struct entry {
    struct permalink_key key;
    struct picture *picture;
    struct response *ready;
    int64_t trusted_ms;             /* until then */
    size_t bytes;
    struct entry *prev, *next;      /* the one used last comes last */
    UT_hash_handle hh;
};

struct board {
    pthread_mutex_t lock;
    struct entry *by_key, *by_use;
    size_t bytes;
};

struct album {
    struct album_options options;
    struct board board[BOARDS];
};

enum err_code album_create(const struct album_options *options, struct album **out, struct err *e)
{
    struct album *self = calloc(1, sizeof *self);

    *out = self;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for the album");
    self->options = *options;
    for (int i = 0; i < BOARDS; i++)
        pthread_mutex_init(&self->board[i].lock, NULL);
    return ERR_OK;
}

static void remove_entry(struct album *self, struct board *board, struct entry *entry)
{
    HASH_DEL(board->by_key, entry);
    DL_DELETE(board->by_use, entry);
    board->bytes -= entry->bytes;
    metrics_add(self->options.metrics, TALLY_ALBUM_BYTES, 0, -(int64_t)entry->bytes);
    response_unref(&entry->ready);
    picture_unref(&entry->picture);
    free(entry);
}

void album_destroy(struct album **self)
{
    if (!*self)
        return;
    for (int i = 0; i < BOARDS; i++) {
        struct board *board = &(*self)->board[i];

        while (board->by_use)
            remove_entry(*self, board, board->by_use);
        pthread_mutex_destroy(&board->lock);
    }
    free(*self);
    *self = NULL;
}

/* The seed's low bits are spread: consecutive pictures lie on different boards. */
static struct board *enter(struct album *self, const struct permalink_key *key)
{
    struct board *board = &self->board[(key->seed ^ (uint32_t)key->psi) % BOARDS];

    pthread_mutex_lock(&board->lock);
    return board;
}

static void leave(struct board *board)
{
    pthread_mutex_unlock(&board->lock);
}

static struct entry *find(struct board *board, const struct permalink_key *key)
{
    struct entry *entry;

    HASH_FIND(hh, board->by_key, key, sizeof *key, entry);
    return entry;
}

enum album_found album_find(struct album *self, const struct permalink_key *key, int64_t now_ms,
                            struct picture **picture, struct response **ready)
{
    struct board *board = enter(self, key);
    struct entry *entry = find(board, key);
    enum album_found found = ALBUM_NOTHING;

    *picture = NULL;
    if (ready)
        *ready = NULL;
    if (entry) {
        found = now_ms < entry->trusted_ms ? ALBUM_FRESH : ALBUM_OLD;
        *picture = picture_ref(entry->picture);
        if (ready)
            *ready = response_ref(entry->ready);
        if (entry->next) {
            DL_DELETE(board->by_use, entry);
            DL_APPEND(board->by_use, entry);
        }
    }
    leave(board);
    return found;
}

void album_put(struct album *self, struct picture *picture, int64_t now_ms)
{
    size_t most = self->options.bytes_max / BOARDS, bytes = picture->len + BOOK_BYTES;
    struct board *board;
    struct entry *entry;

    if (bytes > most || !(entry = calloc(1, sizeof *entry)))
        return;
    entry->key = picture->key;
    entry->picture = picture_ref(picture);
    entry->ready = self->options.make ? self->options.make(self->options.arg, picture) : NULL;
    entry->trusted_ms = now_ms + self->options.fresh_ms;
    entry->bytes = bytes;
    board = enter(self, &entry->key);
    if (find(board, &entry->key))
        remove_entry(self, board, find(board, &entry->key));
    while (board->by_use && board->bytes + bytes > most)
        remove_entry(self, board, board->by_use);
    HASH_ADD(hh, board->by_key, key, sizeof entry->key, entry);
    DL_APPEND(board->by_use, entry);
    board->bytes += bytes;
    metrics_add(self->options.metrics, TALLY_ALBUM_BYTES, 0, (int64_t)bytes);
    leave(board);
}

void album_trust(struct album *self, const struct permalink_key *key, int64_t now_ms)
{
    struct board *board = enter(self, key);
    struct entry *entry = find(board, key);

    if (entry)
        entry->trusted_ms = now_ms + self->options.fresh_ms;
    leave(board);
}

void album_drop(struct album *self, const struct permalink_key *key)
{
    struct board *board = enter(self, key);
    struct entry *entry = find(board, key);

    if (entry)
        remove_entry(self, board, entry);
    leave(board);
}
