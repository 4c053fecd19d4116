/* access -- who a peer is, as its connection proves, and what it may do. Looked up once and again
 * after the keyring was read anew, so that a key that is taken off it ends at the next message. */
#ifndef BROKER_ACCESS_H
#define BROKER_ACCESS_H

#include "base/keyring.h"
#include "base/link.h"
#include "base/link_gate.h"
#include "proto/message.h"

#include <stdbool.h>
#include <stdint.h>

struct access {                     /* all zero: nothing is known yet */
    char user[LINK_USER_MAX];       /* its key, "uid:1000", "" */
    bool is_known;
    bool is_plain;                  /* no key: whom the gate lets in from this machine may all */
    bool is_chosen;                 /* it has set its routing id */
    enum keyring_role role;
    int64_t generation;             /* of the keyring, when role was looked up */
};

/* Brings self up to date with the keyring (NULL: there is none) and, where nothing was known yet,
 * with who sent parcel, which may be NULL otherwise. Cheap where nothing has changed. */
void access_update(struct access *self, const struct keyring *keyring,
                   const struct parcel *parcel);
/* Whether it may speak on that port at all; if not, e says why: ERR_DENIED. */
enum err_code access_check_port(const struct access *self, enum link_domain port, struct err *e);
/* The same and whether it may send that message there, for clients. */
enum err_code access_check_message(const struct access *self, const struct message *message,
                                   struct err *e);
/* In the name of another: `for`. */
bool access_may_speak_for(const struct access *self);
/* What everybody sees: names of models. */
bool access_may_administer(const struct access *self);

#endif
