/* kit_arch -- model files of any architecture, with random weights that a network does something
 * with; and random small architectures of all families. What is random follows from a seed. */
#ifndef TESTS_KIT_ARCH_H
#define TESTS_KIT_ARCH_H

#include "kernels/arch.h"
#include "kernels/model.h"
#include "kernels/stylegan1_arch.h"
#include "kernels/stylegan2_arch.h"
#include "kernels/stylegan3_arch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kit_random {
    uint64_t state;
};

/* A whole number from low to high, both possible; a number between them. */
int kit_random_whole(struct kit_random *self, int low, int high);
double kit_random_real(struct kit_random *self, double low, double high);

struct kit_arch {
    enum model_arch family;
    char notes[1024];               /* members of the file's __metadata__ */
    struct tensor_need need[ARCH_TENSORS_MAX];
    size_t tensors;                 /* 0: no network can be made of the numbers */
    bool supported;                 /* and the engine renders it */
};

/* For numbers that the readers take; StyleGAN 3's layers are planned here. */
void kit_arch_stylegan1(struct kit_arch *out, const struct stylegan1_arch *a);
void kit_arch_stylegan2(struct kit_arch *out, const struct stylegan2_arch *a);
void kit_arch_stylegan3(struct kit_arch *out, struct stylegan3_arch *a);

/* Up to pixels a side: 4, 8, 16 ... Of StyleGAN 3 many are not supported, or are no network at all,
 * unless sound says that all shall be. */
void kit_arch_random(struct kit_arch *out, enum model_arch family, int pixels, bool sound,
                     struct kit_random *random);

/* What the tensors are filled with. */
struct kit_weights {
    float scale;                    /* of the synthesis network's weights; 1: nothing explodes */
    uint32_t seed;
};

/* The file; free() it. Aborts the test when there is no memory. */
uint8_t *kit_arch_bytes(const struct kit_arch *self, const struct kit_weights *weights,
                        size_t *len);

#endif
