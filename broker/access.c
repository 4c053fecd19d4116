#include "broker/access.h"

#include <string.h>

void access_update(struct access *self, const struct keyring *keyring,
                   const struct parcel *parcel)
{
    int64_t generation = keyring ? keyring_generation(keyring) : 0;

    if (!self->is_known) {
        parcel_user(parcel, self->user);
        self->is_known = true;
        self->is_chosen = address_is_chosen(&parcel->from);
        self->is_plain = !keyring || strlen(self->user) != LINK_KEY_SIZE - 1;
    } else if (self->generation == generation)
        return;
    self->generation = generation;
    self->role = keyring && !self->is_plain ? keyring_find(keyring, self->user, NULL)
                                            : KEYRING_NONE;
}

enum err_code access_check_port(const struct access *self, enum link_domain port, struct err *e)
{
    if (self->is_chosen)
        return err_set(e, ERR_DENIED,
                       "set no ZMQ_ROUTING_ID (ZMQ_IDENTITY): the broker gives each connection "
                       "its own");
    if (self->is_plain || link_domain_admits(port, self->role))
        return ERR_OK;
    if (self->role == KEYRING_NONE)
        return err_set(e, ERR_DENIED, "this key is not on the broker's keyring any more");
    return err_set(e, ERR_DENIED, "a key with the role %s may not do this",
                   keyring_role_word(self->role));
}

enum err_code access_check_message(const struct access *self, const struct message *message,
                                   struct err *e)
{
    enum err_code rc = access_check_port(self, LINK_CLIENTS, e);

    if (rc)
        return rc;
    if (message->type == MESSAGE_GENERATE && message->generate.on_behalf.len > 0 &&
        !access_may_speak_for(self))
        return err_set(e, ERR_DENIED, "\"for\" needs a key with the role proxy or admin");
    if (message->type == MESSAGE_MODEL_USE && !access_may_administer(self))
        return err_set(e, ERR_DENIED, "\"model_use\" needs a key with the role admin");
    if (message->type == MESSAGE_WITHDRAW && !access_may_administer(self))
        return err_set(e, ERR_DENIED, "\"withdraw\" needs a key with the role admin");
    return ERR_OK;
}

bool access_may_speak_for(const struct access *self)
{
    return self->is_plain || self->role == KEYRING_PROXY || self->role == KEYRING_ADMIN;
}

bool access_may_administer(const struct access *self)
{
    return self->is_plain || self->role == KEYRING_ADMIN;
}
