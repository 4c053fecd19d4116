/* Any bytes as a recipe's text: what is read is written back as the very same bytes. */
#include "proto/recipe.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct recipe recipe;
    struct recipe_text text;
    struct err e = { 0 };

    if (recipe_parse((const char *)data, len, &recipe, &e)) {
        if (e.code != ERR_INVALID || strlen(e.msg) == 0)
            abort();
        return 0;
    }
    text = recipe_text(&recipe);
    if (text.len != len || memcmp(text.text, data, len) != 0)
        abort();
    return 0;
}
