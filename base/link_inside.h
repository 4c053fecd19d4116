/* link_inside -- what the files of link share. Nobody else includes it. */
#ifndef BASE_LINK_INSIDE_H
#define BASE_LINK_INSIDE_H

#include "base/link.h"
#include "base/link_gate.h"

#include <stdatomic.h>
#include <sys/types.h>

struct link_context {
    void *zmq;
    atomic_uint watches;            /* made so far */
};

struct link {
    void *socket;
    void *watch;                    /* hears of its broken connections; NULL: nobody asked */
    int fd, watch_fd;               /* readable when libzmq has something to tell about them */
    bool is_dry, watch_is_dry;      /* all that it had to tell was taken: fd tells of what comes */
    bool is_quiet;                  /* the last link_poll found nothing, and nothing was sent */
    enum link_kind kind;
    bool allow_plain, is_encrypted;
    bool is_refused;                /* by the other side, when it last tried */
    bool is_paused;                 /* listens no more: no descriptor was left for who came */
    int64_t again_ms;               /* when it tries to listen again */
    mode_t ipc_mode;
    int lock_fd;                    /* of an ipc path; -1: none */
    int64_t malformed;
    char endpoint[256];
};

/* link_curve.c: what a socket needs before it is bound or connected. False: the keys are none, or
 * the library knows no encryption. */
bool link_curve_apply(void *socket, const struct link_curve *curve);

/* link_gate.c: puts the gate before a socket that is not bound yet. *watch gets its own end of the
 * gate's news: the events that matter to a link, as libzmq's monitor writes them. */
bool link_gate_guard(struct link_gate *self, void *socket, enum link_domain domain, void **watch);

#endif
