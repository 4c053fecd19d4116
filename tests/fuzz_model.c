/* Model files from hostile hands. What parses is looked at in full: a tensor that is listed must be
 * there, finite, to its last value; and written again it must be the same model. */
#include "kernels/model.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_written_again(const struct model *model)
{
    struct model *again;
    struct err e;
    uint8_t *data;
    size_t len;

    if (model_format(model, &data, &len, &e) || model_parse(data, len, &again, &e) ||
        !digest_equal(&model_facts(again)->digest, &model_facts(model)->digest))
        abort();
    model_destroy(&again);
    free(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model *model;
    struct err e = { 0 };
    enum err_code rc = model_parse(data, size, &model, &e);

    if (rc) {
        if (model || e.code != rc || e.msg[0] == '\0')
            abort();
        return 0;
    }
    for (size_t i = 0; i < model_tensor_count(model); i++) {
        const struct model_tensor *t = model_tensor_at(model, i);

        if (model_tensor_find(model, t->name) != t)
            abort();
        for (size_t k = 0; k < t->count; k++)
            if (!isfinite(t->data[k]))
                abort();
    }
    if (!model_note(model, "arch") ||
        strcmp(model_arch_word(model), model_note(model, "arch")) != 0)
        abort();
    check_written_again(model);
    model_destroy(&model);
    return 0;
}
