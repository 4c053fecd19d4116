/* Any bytes as a JPEG with a manifest, and as CBOR: reading stays in bounds, and what is called
 * valid has words, a signer and a recipe that can be shown. */
#include "base/c2pa.h"
#include "base/concise.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_plain(const char *text)
{
    for (; *text; text++)
        if (*text < 0x20 || *text > 0x7e)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct concise_in in = { data, data + len }, value;
    struct c2pa_finding finding;
    struct concise_item item;
    struct recipe recipe;
    struct err e;

    if (c2pa_check(data, len, NULL, &finding, &e))
        abort();
    check_plain(finding.words);
    check_plain(finding.signer);
    if ((finding.verdict != C2PA_VALID && finding.recipe.len > 0) || finding.trusted ||
        (finding.verdict != C2PA_NONE) != (finding.words[0] != '\0') ||
        (finding.recipe.len > 0 &&
         recipe_parse(finding.recipe.text, finding.recipe.len, &recipe, NULL) != ERR_OK))
        abort();

    if (concise_find(in, "alg", &value) && concise_next(&value, &item) && value.at > in.end)
        abort();
    if (concise_skip(&in) && in.at > in.end)
        abort();
    return 0;
}
