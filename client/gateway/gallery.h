/* gallery -- which pictures exist already, some of each kind (model, psi, class): what random.jpg
 * shares when a new one would come too late. From any thread. */
#ifndef GATEWAY_GALLERY_H
#define GATEWAY_GALLERY_H

#include "client/gateway/permalink.h"
#include "client/seedpress.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stdint.h>

struct gallery;
enum err_code gallery_create(struct gallery **out, struct err *e);
void gallery_destroy(struct gallery **self);

/* The oldest of its kind leaves, and of too many kinds the one not used for longest. Only pictures
 * of the usual quality are kept. */
void gallery_add(struct gallery *self, const struct permalink_key *key);
/* It is not stored any more, or withdrawn. */
void gallery_drop(struct gallery *self, const struct permalink_key *key);
/* Puts the seed of one of the same kind into key, whichever number falls on. False: there is
 * none. */
bool gallery_pick(struct gallery *self, struct permalink_key *key, uint32_t number);
/* As catalogue_options.on_news of a gallery: reads what the ledger stored lately of models that
 * nobody has asked for yet. */
void gallery_on_news(void *self, struct seedpress *sp, const struct seedpress_model *models,
                     size_t count);

#endif
