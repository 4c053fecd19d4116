/* visitor -- whom an HTTP request comes from, as one short text: an IPv4 address, or the /64 of an
 * IPv6 address, which one person can have whole. What a trusted proxy says counts in its place. */
#ifndef GATEWAY_VISITOR_H
#define GATEWAY_VISITOR_H

#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VISITOR_MAX = 65, VISITOR_PROXIES_MAX = 32 };

struct sockaddr;

struct visitor_net {
    uint8_t address[16];            /* IPv4 as ::ffff:a.b.c.d */
    int bits;                       /* of 128 */
};

struct visitor_proxies {
    struct visitor_net net[VISITOR_PROXIES_MAX];
    size_t count;
};

/* "127.0.0.1, 10.0.0.0/8, fd00::/8"; "" is nobody. ERR_INVALID names what is none. */
enum err_code visitor_read_proxies(const char *list, struct visitor_proxies *out, struct err *e);

/* forwarded: the X-Forwarded-For header, or NULL; its last entry counts when peer is a proxy. */
void visitor_name(const struct visitor_proxies *proxies, const struct sockaddr *peer,
                  const char *forwarded, char out[VISITOR_MAX]);

#endif
