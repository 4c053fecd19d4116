#include "kernels/precision.h"

#include <string.h>

static const char *const PRECISIONS[PRECISION_COUNT] = {
    [PRECISION_AUTO] = "auto", [PRECISION_FP16] = "fp16", [PRECISION_TF32] = "tf32",
    [PRECISION_FP32] = "fp32",
};

enum err_code precision_of(const char *word, enum precision *out, struct err *e)
{
    for (int i = 0; i < PRECISION_COUNT; i++)
        if (strcmp(word, PRECISIONS[i]) == 0) {
            *out = (enum precision)i;
            return ERR_OK;
        }
    return err_set(e, ERR_INVALID, "\"%.40s\" is no precision; auto, fp16, tf32 or fp32", word);
}

const char *precision_word(enum precision precision)
{
    return PRECISIONS[precision];
}
