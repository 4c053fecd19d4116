/* Any bytes as a picture file: what is found must be a recipe, and hashing must stay in bounds. */
#include "base/mark.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct recipe_text text;
    struct recipe recipe;
    struct digest core;

    if (mark_find(data, len, &text) &&
        (text.len >= RECIPE_TEXT_MAX || strlen(text.text) != text.len ||
         recipe_parse(text.text, text.len, &recipe, NULL) != ERR_OK))
        abort();
    mark_core_sha256(data, len, &core);
    return 0;
}
