/* link -- CURVE: keys, and the options of a socket that has one. */
#include "base/link_inside.h"

#include <string.h>
#include <zmq.h>

enum { Z85_CHARS = 40, KEY_BYTES = 32 };

bool link_curve_pair(char public_key[LINK_KEY_SIZE], char secret_key[LINK_KEY_SIZE])
{
    return zmq_curve_keypair(public_key, secret_key) == 0;
}

bool link_curve_public(const char *secret_key, char public_key[LINK_KEY_SIZE])
{
    return link_curve_is_key(secret_key) && zmq_curve_public(public_key, secret_key) == 0;
}

/* libzmq 4.3.4 wraps some groups of characters around that stand for no number: only what it writes
 * for the bytes that it read is a key. */
bool link_curve_is_key(const char *text)
{
    uint8_t bytes[KEY_BYTES];
    char again[LINK_KEY_SIZE];

    for (size_t i = 0; text[i]; i++)
        if ((unsigned char)text[i] <= ' ' || (unsigned char)text[i] >= 0x7f || i >= Z85_CHARS)
            return false;
    return strlen(text) == Z85_CHARS && zmq_z85_decode(bytes, text) &&
           zmq_z85_encode(again, bytes, sizeof bytes) && strcmp(again, text) == 0;
}

static bool set_key(void *socket, int option, const char *key)
{
    return zmq_setsockopt(socket, option, key, LINK_KEY_SIZE) == 0;
}

bool link_curve_apply(void *socket, const struct link_curve *curve)
{
    int yes = 1;

    if (!curve->server_key)          /* a server is known by its secret key alone */
        return zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &yes, sizeof yes) == 0 &&
               set_key(socket, ZMQ_CURVE_SECRETKEY, curve->secret_key);
    return set_key(socket, ZMQ_CURVE_SERVERKEY, curve->server_key) &&
           set_key(socket, ZMQ_CURVE_PUBLICKEY, curve->public_key) &&
           set_key(socket, ZMQ_CURVE_SECRETKEY, curve->secret_key);
}
