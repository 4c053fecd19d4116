/* guard -- a program that outlives its own crash: this process looks after one that serves, and
 * starts it again when a signal or an assertion has killed it. libzmq aborts the whole process for
 * some things that a peer can send; whoever waits for an answer asks again. */
#ifndef BASE_GUARD_H
#define BASE_GUARD_H

#include "proto/err.h"

enum guard_side {
    GUARD_SERVES,                   /* this is the process that serves */
    GUARD_ENDED                     /* it has ended for good, with *exit_code */
};

/* Returns twice, as fork does: GUARD_SERVES in a new process, each time that one is started, and at
 * last GUARD_ENDED here.
 *
 * Killed by a signal it is started again: at once, then after 100 ms and twice as long each time,
 * up to 5 s; a minute of service begins that anew. An end with a code is an end: configuration that
 * is wrong does not get better. SIGTERM, SIGINT and SIGHUP are passed on; after the first two it is
 * not started again, however it ends. When this process dies the other is killed.
 *
 * Must be called while the process has one thread. ERR_NOMEM: no process, no descriptor. */
enum err_code guard_run(enum guard_side *side, int *exit_code, struct err *e);

#endif
