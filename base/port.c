#include "base/port.h"

#include "proto/number.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PORT_MAX = 65535 };

/* "127.0.0.1:7703" into its halves, without a name's look-up. */
static enum err_code read_address(const struct port_options *o, struct addrinfo **out,
                                  struct err *e)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                                    .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE };
    const char *colon = strrchr(o->listen, ':'), *from = o->listen;
    char host[64], port_text[8];
    size_t len = colon ? (size_t)(colon - from) : 0;
    int64_t port;

    if (len > 2 && from[0] == '[' && from[len - 1] == ']') {
        from++;
        len -= 2;
    }
    if (len == 0 || len >= sizeof host || !number_parse(colon + 1, strlen(colon + 1), &port) ||
        port < 0 || (port > 0 ? port + o->offset : port) > PORT_MAX)
        goto bad;
    snprintf(host, sizeof host, "%.*s", (int)len, from);
    snprintf(port_text, sizeof port_text, "%d", (int)(port > 0 ? port + o->offset : 0));
    if (getaddrinfo(host, port_text, &hints, out) == 0)
        return ERR_OK;
bad:
    return err_set(e, ERR_INVALID, "%s \"%.60s\" is no address in digits and port, such as "
                                   "127.0.0.1:7703", o->setting, o->listen);
}

enum err_code port_listen(const struct port_options *o, int *fd, struct err *e)
{
    struct addrinfo *address;
    enum err_code rc = read_address(o, &address, e);
    int opened, on = 1;

    *fd = -1;
    if (rc)
        return rc;
    opened = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (opened >= 0 && setsockopt(opened, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        bind(opened, address->ai_addr, address->ai_addrlen) == 0 &&
        listen(opened, o->backlog) == 0) {
        *fd = opened;
    } else {
        rc = errno == EADDRINUSE ? ERR_CONFLICT : errno == EACCES ? ERR_DENIED : ERR_INVALID;
        err_set(e, rc, "could not listen on \"%.60s\": %s; choose another %s%s", o->listen,
                strerror(errno), o->setting, o->remedy);
        if (opened >= 0)
            close(opened);
    }
    freeaddrinfo(address);
    return rc;
}

void port_name(int fd, char out[PORT_NAME_MAX])
{
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    char host[INET6_ADDRSTRLEN] = "", port[8] = "";

    getsockname(fd, (struct sockaddr *)&address, &len);
    getnameinfo((struct sockaddr *)&address, len, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(out, PORT_NAME_MAX, address.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}
