#include "kernels/checkpoint_inside.h"

#include <float.h>
#include <math.h>
#include <string.h>

static const size_t TYPE_BYTES[] = {
    [CHECKPOINT_F16] = 2, [CHECKPOINT_BF16] = 2, [CHECKPOINT_F32] = 4,
    [CHECKPOINT_F64] = 8, [CHECKPOINT_I32] = 4,  [CHECKPOINT_I64] = 8,
};

size_t checkpoint_type_bytes(enum checkpoint_type type)
{
    return TYPE_BYTES[type];
}

bool tensor_lay_rows(struct checkpoint_tensor *self)
{
    int64_t step = 1;

    for (int i = self->rank; i-- > 0;) {
        self->stride[i] = step;
        if (__builtin_mul_overflow(step, self->shape[i], &step))
            return false;
    }
    return true;
}

bool tensor_lay_columns(struct checkpoint_tensor *self)
{
    int64_t step = 1;

    for (int i = 0; i < self->rank; i++) {
        self->stride[i] = step;
        if (__builtin_mul_overflow(step, self->shape[i], &step))
            return false;
    }
    return true;
}

const char *tensor_check(struct checkpoint_tensor *self)
{
    int64_t count = 1, first = self->start, last = self->start, reach;

    for (int i = 0; i < self->rank; i++) {
        if (self->shape[i] < 0)
            return "has a negative size";
        if (__builtin_mul_overflow(count, self->shape[i], &count))
            return "has too many values";
    }
    self->count = (size_t)count;
    if (count == 0)
        return NULL;
    for (int i = 0; i < self->rank; i++) {
        int64_t *end = self->stride[i] < 0 ? &first : &last;

        if (__builtin_mul_overflow(self->shape[i] - 1, self->stride[i], &reach) ||
            __builtin_add_overflow(*end, reach, end))
            return "has strides that are too large";
    }
    if (first < 0 || last < 0 || (uint64_t)last >= self->numbers)
        return "reaches beyond its storage";
    if ((uint64_t)count > self->numbers)
        return "has more values than its storage";
    return NULL;
}

void tensor_permute(struct checkpoint_tensor *self, const int *order)
{
    struct checkpoint_tensor from = *self;

    for (int i = 0; i < self->rank; i++) {
        self->shape[i] = from.shape[order[i]];
        self->stride[i] = from.stride[order[i]];
    }
}

void tensor_flip(struct checkpoint_tensor *self, int axis)
{
    self->start += (self->shape[axis] - 1) * self->stride[axis];
    self->stride[axis] = -self->stride[axis];
}

void tensor_drop(struct checkpoint_tensor *self, int axes)
{
    self->rank -= axes;
    memmove(self->shape, self->shape + axes, (size_t)self->rank * sizeof self->shape[0]);
    memmove(self->stride, self->stride + axes, (size_t)self->rank * sizeof self->stride[0]);
}

/* IEEE 754 binary16: exact. */
static float widen(uint64_t half)
{
    int exponent = half >> 10 & 31;
    float fraction = (float)(half & 1023), value;

    if (exponent == 31)
        value = fraction > 0.0f ? NAN : INFINITY;
    else if (exponent == 0)
        value = ldexpf(fraction, -24);
    else
        value = ldexpf(fraction + 1024.0f, exponent - 25);
    return half >> 15 ? -value : value;
}

static float float_of_bits(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Number `index` of self's numbers. */
static float read_number(const struct checkpoint_tensor *self, int64_t index)
{
    size_t bytes = TYPE_BYTES[self->type];
    const uint8_t *p = self->data + (size_t)index * bytes;
    uint64_t bits = 0;
    double wide;

    for (size_t i = 0; i < bytes; i++)
        bits |= (uint64_t)p[self->big_endian ? bytes - 1 - i : i] << 8 * i;
    switch (self->type) {
    case CHECKPOINT_F16:
        return widen(bits);
    case CHECKPOINT_BF16:
        return float_of_bits((uint32_t)bits << 16);
    case CHECKPOINT_F32:
        return float_of_bits((uint32_t)bits);
    case CHECKPOINT_F64:
        memcpy(&wide, &bits, sizeof wide);
        return fabs(wide) <= FLT_MAX ? (float)wide : INFINITY;     /* beyond: undefined in C */
    case CHECKPOINT_I32:
        return (float)(int32_t)(uint32_t)bits;
    case CHECKPOINT_I64:
        return (float)(int64_t)bits;
    }
    return NAN;
}

enum err_code checkpoint_floats(const struct checkpoint_tensor *tensor, float *out, struct err *e)
{
    /* Four axes always: those that are missing come first and have the size 1. */
    int64_t shape[CHECKPOINT_RANK_MAX], stride[CHECKPOINT_RANK_MAX];
    int missing = CHECKPOINT_RANK_MAX - tensor->rank;

    for (int i = 0; i < CHECKPOINT_RANK_MAX; i++) {
        shape[i] = i < missing ? 1 : tensor->shape[i - missing];
        stride[i] = i < missing ? 0 : tensor->stride[i - missing];
    }
    if (tensor->count == 0)
        return ERR_OK;
    for (int64_t i = 0; i < shape[0]; i++)
        for (int64_t j = 0; j < shape[1]; j++)
            for (int64_t k = 0; k < shape[2]; k++) {
                int64_t at = tensor->start + i * stride[0] + j * stride[1] + k * stride[2];

                for (int64_t l = 0; l < shape[3]; l++, out++) {
                    *out = read_number(tensor, at + l * stride[3]);
                    if (tensor->plus != 0.0f)
                        *out += tensor->plus;
                    if (!isfinite(*out))
                        return err_set(e, ERR_INVALID,
                                       "tensor \"%s\" holds a value that is not finite",
                                       tensor->name);
                }
            }
    return ERR_OK;
}
