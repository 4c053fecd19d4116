/* models -- what the broker knows of models: the facts that workers announced or that the ledger
 * has of earlier ones, by digest, and the names that the ledger binds. Facts stay when the last
 * worker goes: a request can wait for the next one, and stored pictures need none. */
#ifndef BROKER_MODELS_H
#define BROKER_MODELS_H

#include "proto/message.h"
#include "sql/ledger.h"

#include <uthash.h>

struct model_entry {
    struct digest digest;           /* the key */
    int index;                      /* 0..MESSAGE_MODELS_MAX - 1, its own for ever */
    struct model_facts facts;
    char name[RECIPE_NAME_MAX + 1]; /* proposed by the worker's file */
    char arch[33], licence[129];
    int64_t served_ms;              /* when a live worker was last seen to have it; of what only the
                                       ledger knows: since when a worker may be on its way */
    UT_hash_handle hh;
};

/* Models by their index. */
struct model_set {
    uint64_t bits[MESSAGE_MODELS_MAX / 64];
};
void model_set_add(struct model_set *self, const struct model_entry *model);
bool model_set_has(const struct model_set *self, const struct model_entry *model);

enum { MODELS_STORED_MAX = MESSAGE_MODELS_MAX / 2 };

struct models {
    struct model_entry *by_digest;
    struct ledger_name *names;      /* owned, [name_count], as the ledger last said */
    size_t name_count;
};

/* Adds what is new of a worker's announcement. At most MESSAGE_MODELS_MAX are remembered. */
void models_put(struct models *self, const struct message_model *models, size_t count,
                int64_t now_ms);
/* Adds what is new of the ledger's models; those of workers are not touched, and keep at least half
 * of the room. True: there was something new. */
bool models_put_stored(struct models *self, const struct ledger_model_row *rows, size_t count,
                       int64_t served_ms);
/* Takes names (malloc'ed). */
void models_take_names(struct models *self, struct ledger_name *names, size_t count);
void models_release(struct models *self);

/* spec: "cats", "cats@1a2b3c4d" or 64 hex digits. ERR_UNKNOWN_MODEL lists what is known;
 * ERR_NO_WORKER: the ledger knows the name, but there was no room for its model. */
enum err_code models_resolve(const struct models *self, struct text spec,
                             const struct model_entry **out, struct err *e);
/* The digest alone, which a name of the ledger or 64 hex digits give even when no worker has been
 * here with the model. */
enum err_code models_digest_of(const struct models *self, struct text spec, struct digest *out,
                               struct err *e);
/* The one known model whose digest begins with prefix (hex). ERR_UNKNOWN_MODEL, ERR_CONFLICT. */
enum err_code models_find_prefix(const struct models *self, struct text prefix,
                                 const struct model_entry **out, struct err *e);
/* Says that no worker has the model: name ("" is fine) and digest, since a name may be bound to
 * another model than the user thinks. Gives ERR_NO_WORKER. */
enum err_code models_no_worker(const char *name, const struct digest *digest, struct err *e);
const struct model_entry *models_find(const struct models *self, const struct digest *digest);
/* A name that the ledger binds to the digest, else the one its file proposed, else "". */
const char *models_name_of(const struct models *self, const struct digest *digest);
bool models_is_bound(const struct models *self, const char *name, const struct digest *digest);

#endif
