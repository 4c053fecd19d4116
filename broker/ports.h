/* ports -- where clients and workers connect: two ROUTERs, the broker's key, the keyring that says
 * who may enter, and the gate that asks it. */
#ifndef BROKER_PORTS_H
#define BROKER_PORTS_H

#include "base/keyring.h"
#include "base/link.h"
#include "base/link_gate.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>

struct ports_options {
    const char *listen, *worker_listen;     /* endpoints */
    const char *key_file, *keyring; /* paths; "": keys are not in use */
    const char *ipc_mode;           /* octal, of an ipc path's file */
    bool allow_plain;               /* beyond this machine without keys */
    int handshake_ms;
    size_t connections_max;         /* a port */
    size_t address_max;             /* a port and IP address; 0: no bound of its own */
};

/* Where the ports really are, so that a broker that is started again is found there. All zero: it
 * has not been started yet. */
struct ports_memory {
    char clients[256], workers[256];
};

struct ports {
    struct link_context *context;
    struct link *clients, *workers;
    struct keyring *keyring;        /* NULL: keys are not in use */
    struct link_gate *gate;
};
/* memory is read, and written when both are bound. On failure nothing is open. ERR_INVALID,
 * ERR_FILE, ERR_DENIED, ERR_CONFLICT, ERR_NOMEM. */
enum err_code ports_open(struct ports *self, const struct ports_options *options,
                         struct ports_memory *memory, struct err *e);
void ports_close(struct ports *self);

/* Reads the keyring again and logs what came of it; false: the old one stays. */
bool ports_reload(struct ports *self);

/* Raises the limit of open files as far as it goes, and logs when it holds fewer connections than
 * asked for. Returns how many a port may have. */
size_t ports_raise_limit(size_t connections_max);

#endif
