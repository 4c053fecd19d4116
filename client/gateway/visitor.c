#include "client/gateway/visitor.h"

#include "proto/number.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

enum { ADDRESS_BITS = 128, MAPPED_BITS = 96, PERSON_BITS = 64 };

static const uint8_t MAPPED[12] = { [10] = 0xff, [11] = 0xff };

static bool is_mapped(const uint8_t address[16])
{
    return memcmp(address, MAPPED, sizeof MAPPED) == 0;
}

static bool read_address(const char *text, uint8_t out[16], bool *is_v4)
{
    *is_v4 = false;
    if (inet_pton(AF_INET6, text, out) == 1)
        return true;
    memcpy(out, MAPPED, sizeof MAPPED);
    *is_v4 = true;
    return inet_pton(AF_INET, text, out + sizeof MAPPED) == 1;
}

static bool read_net(const char *text, size_t len, struct visitor_net *out)
{
    char copy[64];
    char *slash;
    int64_t bits = ADDRESS_BITS;
    bool is_v4;

    if (len == 0 || len >= sizeof copy)
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    slash = strchr(copy, '/');
    if (slash)
        *slash = '\0';
    if (!read_address(copy, out->address, &is_v4))
        return false;
    if (slash) {
        if (!number_parse(slash + 1, strlen(slash + 1), &bits) || bits < 0)
            return false;
        bits += is_v4 ? MAPPED_BITS : 0;
    }
    out->bits = (int)bits;
    return bits <= ADDRESS_BITS;
}

enum err_code visitor_read_proxies(const char *list, struct visitor_proxies *out, struct err *e)
{
    out->count = 0;
    for (const char *at = list; *at;) {
        size_t len;

        at += strspn(at, ", ");
        len = strcspn(at, ", ");
        if (len == 0)
            break;
        if (out->count == VISITOR_PROXIES_MAX)
            return err_set(e, ERR_RANGE, "trust_proxy names more than %d addresses",
                           VISITOR_PROXIES_MAX);
        if (!read_net(at, len, &out->net[out->count]))
            return err_set(e, ERR_INVALID, "trust_proxy: \"%.*s\" is no address in digits, such as "
                                           "127.0.0.1 or 10.0.0.0/8", (int)(len < 60 ? len : 60),
                           at);
        out->count++;
        at += len;
    }
    return ERR_OK;
}

static bool is_within(const struct visitor_net *net, const uint8_t address[16])
{
    int bytes = net->bits / 8, rest = net->bits % 8;

    if (memcmp(net->address, address, (size_t)bytes) != 0)
        return false;
    return rest == 0 || ((net->address[bytes] ^ address[bytes]) >> (8 - rest)) == 0;
}

static bool is_proxy(const struct visitor_proxies *proxies, const uint8_t address[16])
{
    for (size_t i = 0; i < proxies->count; i++)
        if (is_within(&proxies->net[i], address))
            return true;
    return false;
}

/* The last entry, with blanks and a port around it: "10.0.0.1, [2001:db8::1]:443". */
static bool read_last_entry(const char *list, uint8_t out[16])
{
    const char *comma = strrchr(list, ',');
    const char *from = comma ? comma + 1 : list;
    char copy[64];
    size_t len;
    bool is_v4;

    from += strspn(from, " \t[");
    len = strcspn(from, " \t]");
    if (len == 0 || len >= sizeof copy)
        return false;
    memcpy(copy, from, len);
    copy[len] = '\0';
    if (strchr(copy, '.') && strchr(copy, ':') && !strstr(copy, "::"))
        *strchr(copy, ':') = '\0';               /* IPv4 with a port */
    return read_address(copy, out, &is_v4);
}

static void read_peer(const struct sockaddr *peer, uint8_t out[16])
{
    memset(out, 0, 16);
    if (peer && peer->sa_family == AF_INET6) {
        memcpy(out, &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr, 16);
    } else if (peer && peer->sa_family == AF_INET) {
        memcpy(out, MAPPED, sizeof MAPPED);
        memcpy(out + sizeof MAPPED, &((const struct sockaddr_in *)(const void *)peer)->sin_addr, 4);
    }
}

void visitor_name(const struct visitor_proxies *proxies, const struct sockaddr *peer,
                  const char *forwarded, char out[VISITOR_MAX])
{
    uint8_t address[16], said[16];
    char text[INET6_ADDRSTRLEN] = "";

    read_peer(peer, address);
    if (forwarded && is_proxy(proxies, address) && read_last_entry(forwarded, said))
        memcpy(address, said, sizeof address);
    if (is_mapped(address)) {
        inet_ntop(AF_INET, address + sizeof MAPPED, out, VISITOR_MAX);
        return;
    }
    memset(address + PERSON_BITS / 8, 0, sizeof address - PERSON_BITS / 8);
    inet_ntop(AF_INET6, address, text, sizeof text);
    snprintf(out, VISITOR_MAX, "%s/%d", text, PERSON_BITS);
}
