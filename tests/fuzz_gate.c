/* Any frames as a question to the gate: what is understood is within its fields' bounds. */
#include "base/key.h"
#include "base/link_gate.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FRAMES_MAX = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* A frame is a byte, its length, and so many bytes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct link_gate_frame frames[FRAMES_MAX];
    struct link_gate_ask ask;
    size_t count = 0;

    while (count < FRAMES_MAX && len > 0) {
        size_t body = data[0] < len - 1 ? data[0] : len - 1;

        frames[count++] = (struct link_gate_frame){ data + 1, body };
        data += 1 + body;
        len -= 1 + body;
    }
    memset(&ask, 'x', sizeof ask);
    if (!link_gate_read(frames, count, &ask))
        return 0;
    if (ask.domain >= LINK_DOMAINS || !memchr(ask.address, '\0', sizeof ask.address) ||
        !memchr(ask.key, '\0', sizeof ask.key))
        abort();
    if (ask.key[0] && !key_is_valid(ask.key, strlen(ask.key)))
        abort();
    return 0;
}
