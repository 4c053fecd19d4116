#include "client/gateway/gallery.h"

#include "base/clock.h"
#include "proto/recipe.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

enum { KINDS_MAX = 256, KIND_SEEDS = 256, READ_AGAIN_MS = 60000, MODELS_A_TURN = 4,
       LATELY_S = 30 * 24 * 3600 };

struct kind {                       /* key.seed is 0 */
    struct permalink_key key;
    uint32_t seed[KIND_SEEDS];      /* [count], a ring from at on once it is full */
    size_t count, at;
    UT_hash_handle hh;              /* in the order of use: what is used goes to the end */
};

struct known {                      /* a model whose stored pictures were read */
    struct digest model;
    int64_t again_ms;               /* INT64_MAX: there were some */
    UT_hash_handle hh;
};

struct gallery {
    pthread_mutex_t lock;
    struct kind *kinds;
    struct known *known;            /* of the thread of gallery_on_news alone */
};

enum err_code gallery_create(struct gallery **out, struct err *e)
{
    struct gallery *self = calloc(1, sizeof *self);

    *out = self;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for the gallery");
    pthread_mutex_init(&self->lock, NULL);
    return ERR_OK;
}

void gallery_destroy(struct gallery **self)
{
    struct kind *kind, *next_kind;
    struct known *known, *next_known;

    if (!*self)
        return;
    HASH_ITER(hh, (*self)->kinds, kind, next_kind) {
        HASH_DEL((*self)->kinds, kind);
        free(kind);
    }
    HASH_ITER(hh, (*self)->known, known, next_known) {
        HASH_DEL((*self)->known, known);
        free(known);
    }
    pthread_mutex_destroy(&(*self)->lock);
    free(*self);
    *self = NULL;
}

/* ---- what is there ---- */

static struct kind *find(struct gallery *self, const struct permalink_key *key)
{
    struct permalink_key wanted = *key;
    struct kind *kind;

    wanted.seed = 0;
    HASH_FIND(hh, self->kinds, &wanted, sizeof wanted, kind);
    return kind;
}

static struct kind *make(struct gallery *self, const struct permalink_key *key)
{
    struct kind *kind = calloc(1, sizeof *kind);

    if (!kind)
        return NULL;
    if (HASH_COUNT(self->kinds) >= KINDS_MAX) {
        struct kind *oldest = self->kinds;

        HASH_DEL(self->kinds, oldest);
        free(oldest);
    }
    kind->key = *key;
    kind->key.seed = 0;
    HASH_ADD(hh, self->kinds, key, sizeof kind->key, kind);
    return kind;
}

static bool has(const struct kind *kind, uint32_t seed)
{
    for (size_t i = 0; i < kind->count; i++)
        if (kind->seed[i] == seed)
            return true;
    return false;
}

void gallery_add(struct gallery *self, const struct permalink_key *key)
{
    struct kind *kind;

    if (key->quality != PERMALINK_QUALITY)
        return;
    pthread_mutex_lock(&self->lock);
    kind = find(self, key);
    if (!kind)
        kind = make(self, key);
    if (kind && !has(kind, key->seed)) {
        kind->seed[kind->at] = key->seed;
        kind->at = (kind->at + 1) % KIND_SEEDS;
        kind->count += kind->count < KIND_SEEDS;
    }
    pthread_mutex_unlock(&self->lock);
}

void gallery_drop(struct gallery *self, const struct permalink_key *key)
{
    struct kind *kind;

    pthread_mutex_lock(&self->lock);
    kind = find(self, key);
    for (size_t i = 0; kind && i < kind->count; i++)
        if (kind->seed[i] == key->seed) {
            kind->seed[i] = kind->seed[--kind->count];
            kind->at = kind->count;
            break;
        }
    pthread_mutex_unlock(&self->lock);
}

bool gallery_pick(struct gallery *self, struct permalink_key *key, uint32_t number)
{
    struct kind *kind;
    bool is_there;

    pthread_mutex_lock(&self->lock);
    kind = find(self, key);
    is_there = kind && kind->count > 0;
    if (is_there) {
        key->seed = kind->seed[number % kind->count];
        HASH_DEL(self->kinds, kind);
        HASH_ADD(hh, self->kinds, key, sizeof kind->key, kind);
    }
    pthread_mutex_unlock(&self->lock);
    return is_there;
}

/* ---- what the ledger has ---- */

/* Only what a permanent URL can name: everything but psi and class at its default. */
static bool read_row(const struct seedpress_row *row, const struct seedpress_model *model,
                     struct permalink_key *out)
{
    int noise = model->noise_modes & 1u << RECIPE_NOISE_CONST ? RECIPE_NOISE_CONST
                                                              : RECIPE_NOISE_NONE;
    struct recipe r;

    if (row->withdrawn || !row->kept || recipe_parse(row->recipe, strlen(row->recipe), &r, NULL))
        return false;
    *out = (struct permalink_key){ .model = r.model, .psi = r.psi, .seed = r.seed,
                                   .class_index = r.class_index, .quality = r.quality };
    return r.cutoff == model->num_ws && (int)r.noise == noise && r.quality == PERMALINK_QUALITY &&
           r.transform.kind == RECIPE_TRANSFORM_NONE && r.mark == RECIPE_MARK_XMP && r.rev == 0;
}

static int64_t read_model(struct gallery *self, struct seedpress *sp,
                          const struct seedpress_model *model)
{
    const struct seedpress_query query = { .model = model->digest, .has_since = true,
                                           .since = clock_wall_ms() / 1000 - LATELY_S,
                                           .limit = SEEDPRESS_ROWS_MAX };
    const struct seedpress_row *rows;
    struct permalink_key key;
    size_t count;

    if (seedpress_lookup(sp, &query, &rows, &count, NULL))
        return clock_ms() + READ_AGAIN_MS;
    for (size_t i = 0; i < count; i++)
        if (read_row(&rows[i], model, &key))
            gallery_add(self, &key);
    return count > 0 ? INT64_MAX : clock_ms() + READ_AGAIN_MS;
}

void gallery_on_news(void *arg, struct seedpress *sp, const struct seedpress_model *models,
                     size_t count)
{
    struct gallery *self = arg;
    int read = 0;

    for (size_t i = 0; i < count && read < MODELS_A_TURN; i++) {
        struct digest digest;
        struct known *known;

        if (!digest_parse(models[i].digest, DIGEST_HEX_LEN, &digest))
            continue;
        HASH_FIND(hh, self->known, &digest, sizeof digest, known);
        if (!known && (known = calloc(1, sizeof *known))) {
            known->model = digest;
            HASH_ADD(hh, self->known, model, sizeof digest, known);
        }
        if (!known || clock_ms() < known->again_ms)
            continue;
        known->again_ms = read_model(self, sp, &models[i]);
        read++;
    }
}
