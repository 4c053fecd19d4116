/* port -- a TCP port that listens, from text such as "127.0.0.1:7703" or "[::1]:7703"; for the
 * programs that serve HTTP. */
#ifndef BASE_PORT_H
#define BASE_PORT_H

#include "proto/err.h"

#include <stddef.h>

enum { PORT_NAME_MAX = 80 };

struct port_options {
    const char *setting;            /* the setting's name, for errors: "metrics_listen" */
    const char *listen;             /* address in digits and port; port 0: any */
    int offset;                     /* added to a port other than 0 */
    int backlog;
    const char *remedy;             /* what else to do when it is taken; goes into the error */
};

/* *fd is the caller's to close, non-blocking; -1 on failure. ERR_INVALID: no numeric address;
 * ERR_CONFLICT: it is taken; ERR_DENIED. */
enum err_code port_listen(const struct port_options *options, int *fd, struct err *e);
/* Where it listens, with the real port. */
void port_name(int fd, char out[PORT_NAME_MAX]);

#endif
