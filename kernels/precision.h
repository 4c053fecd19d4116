/* precision -- what multiplies: a part of the numerics class. */
#ifndef KERNELS_PRECISION_H
#define KERNELS_PRECISION_H

#include "proto/err.h"

enum precision {
    PRECISION_AUTO,                 /* the backend's choice: fp32 on the CPU, fp16 on a GPU */
    PRECISION_FP16,                 /* half-precision factors, float32 sums */
    PRECISION_TF32,                 /* factors of float32's range with fp16's mantissa */
    PRECISION_FP32,                 /* float32 throughout: on a GPU, to check the others */
    PRECISION_COUNT
};

/* The precision that a word names ("auto", "fp16", "tf32", "fp32"); ERR_INVALID. And its word. */
enum err_code precision_of(const char *word, enum precision *out, struct err *e);
const char *precision_word(enum precision precision);

#endif
