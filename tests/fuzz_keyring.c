/* Any bytes as a keyring's file: what is read is written as lines that say the same again. */
#include "base/key.h"
#include "base/keyring.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Every word of the text that is a key has a role now, and the same one in the file of its line. */
static void check_word(const struct keyring *ring, const char *word, size_t len)
{
    char key[KEY_SIZE], name[KEYRING_NAME_MAX], line[200];
    struct keyring *again;
    enum keyring_role role;

    if (!key_is_valid(word, len))
        return;
    memcpy(key, word, len);
    key[len] = '\0';
    role = keyring_find(ring, key, name);
    if (role == KEYRING_NONE)
        return;                      /* of a comment, or somebody's name */
    snprintf(line, sizeof line, "%s %s %s\n", keyring_role_word(role), key, name);
    if (keyring_create_text(line, strlen(line), &again, NULL) ||
        keyring_find(again, key, NULL) != role)
        abort();
    keyring_destroy(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const char *text = (const char *)data;
    struct keyring *ring;
    struct err e = { 0 };

    if (keyring_create_text(text, len, &ring, &e)) {
        if (e.code != ERR_INVALID || strncmp(e.msg, "line", 4) != 0)
            abort();
        return 0;
    }
    for (size_t at = 0; at + KEY_SIZE - 1 <= len; at++)
        check_word(ring, text + at, KEY_SIZE - 1);
    keyring_destroy(&ring);
    return 0;
}
