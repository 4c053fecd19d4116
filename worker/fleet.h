/* fleet -- "device = all": a worker process for each device, and one that looks after them. Processes
 * and not threads, because a GPU that fails may take the driver's state in its process with it; and
 * so that each has what one worker has: its run in the ledger, its numerics class, its credit, its
 * silence by which a broker knows that it hangs. */
#ifndef WORKER_FLEET_H
#define WORKER_FLEET_H

#include "proto/err.h"

enum { FLEET_MAX = 64, FLEET_ENDED = -1 };

/* Returns several times, as fork does: in a worker's process, with its device in *place, to serve it
 * and exit; and here, with FLEET_ENDED, when no worker is left.
 *
 * count is asked for the number of devices in a process of its own, since a driver that was started
 * does not survive a fork. A worker that ends otherwise than with 0 is started again, first after a
 * second, then after twice as long each time, up to a minute; a minute of service begins that anew.
 * One that ends with 0 was asked to (SIGTERM to it alone) and stays away. SIGTERM or SIGINT here ends
 * all of them as it ends one; when this process dies they end as after SIGTERM.
 *
 * Must be called while the process has one thread. ERR_DEVICE: no worker is left, and the last did
 * not end well: whoever started this program decides. What count returns; ERR_NOMEM. */
enum err_code fleet_run(enum err_code (*count)(void *arg, int *devices, struct err *e), void *arg,
                        int *place, struct err *e);

#endif
