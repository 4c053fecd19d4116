/* Any bytes as a message: what is accepted must encode, and from then on be the same bytes for
 * ever. The first byte chooses who sends it. */
#include "proto/message.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void *encoded(const struct message *m, size_t *len)
{
    struct err e;
    void *out;

    if (message_encode(m, &out, len, &e))
        abort();
    return out;
}

/* A look at any bytes ends well; at what was encoded here it sees what the decoder sees. */
static void look(const void *data, size_t len, const struct message *decoded)
{
    struct message_peek peeks[] = { { .key = "id" }, { .key = "type" }, { .key = "seed" } };
    bool whole = message_peek(data, len, peeks, 3);

    if (decoded && (!whole || peeks[0].number != decoded->id ||
                    !text_is(peeks[1].text, message_word(decoded->type))))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const enum message_sender SENDERS[] = { MESSAGE_FROM_CLIENT, MESSAGE_FROM_BROKER,
                                                   MESSAGE_FROM_WORKER };
    struct message m, again;
    enum message_sender from;
    size_t first_len, second_len;
    void *first, *second;
    struct err e = { 0 };

    if (len == 0)
        return 0;
    from = SENDERS[data[0] % 3];
    look(data + 1, len - 1, NULL);
    if (message_decode(data + 1, len - 1, from, &m, &e)) {
        if (e.code == ERR_OK || strlen(e.msg) == 0)
            abort();                 /* a refusal has a code and words */
        message_release(&m);
        return 0;
    }
    first = encoded(&m, &first_len);
    look(first, first_len, &m);
    if (message_decode(first, first_len, from, &again, &e) || again.type != m.type ||
        again.id != m.id)
        abort();
    second = encoded(&again, &second_len);
    if (first_len != second_len || memcmp(first, second, first_len) != 0)
        abort();
    message_release(&m);
    message_release(&again);
    free(first);
    free(second);
    return 0;
}
