/* link_gate -- who may connect to a program's links: libzmq asks it before the first message of a
 * connection (ZAP), and it counts the connections that are open. A thread of its own answers, since
 * libzmq's cannot.
 *
 * With keys: whose key is on the keyring, with a role that the domain admits. Plain: who comes from
 * this machine (ipc, loopback), all others only if that was allowed. */
#ifndef BASE_LINK_GATE_H
#define BASE_LINK_GATE_H

#include "base/keyring.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct link_context;

/* A port with its own admission. */
enum link_domain {
    LINK_CLIENTS,                   /* clients, proxies, admins */
    LINK_WORKERS,                   /* workers */
    LINK_DOMAINS
};
bool link_domain_admits(enum link_domain domain, enum keyring_role role);

struct link_gate_options {
    const struct keyring *keyring;  /* borrowed; NULL: no key opens */
    bool allow_plain;
    size_t connections_max;         /* of a domain, counted from the first byte on; 0: no bound */
    size_t per_address_max;         /* of a domain and an IP address; 0: no bound */
};

struct link_gate;
/* One a context, before its first link that is bound. ERR_NOMEM, ERR_CONFLICT: it has one. */
enum err_code link_gate_create(struct link_context *context,
                               const struct link_gate_options *options, struct link_gate **out,
                               struct err *e);
/* After its links: libzmq's thread would wait for who reads their news. */
void link_gate_destroy(struct link_gate **self);

struct link_gate_counts {
    size_t open[LINK_DOMAINS];      /* connections now, handshakes that are under way too */
    int64_t refused;                /* connections, since the start */
    int64_t failed;                 /* handshakes that were none, or ended early */
};
struct link_gate_counts link_gate_counts(const struct link_gate *self);

/* What libzmq asks, in its frames: version, request, domain, address, identity, mechanism and what
 * the mechanism proves. */
struct link_gate_frame {
    const void *data;
    size_t len;
};
struct link_gate_ask {
    enum link_domain domain;
    char address[64];               /* an IP address; "ipc" */
    char key[41];                   /* Z85; "": plain */
};
/* False: nobody who may enter asks like this. */
bool link_gate_read(const struct link_gate_frame *frames, size_t count, struct link_gate_ask *out);

#endif
