/* kit_model -- a tiny model file of a few KB, made in memory, and ways to spoil it: what tests and
 * the fuzzer's corpus are made of. Its weights are small numbers that depend on their place. */
#ifndef TESTS_KIT_MODEL_H
#define TESTS_KIT_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kit_model_options {
    const char *arch;               /* "stylegan1", "stylegan3"; NULL: "stylegan2" */
    int resolution;                 /* 0: 8 pixels */
    int channels;                   /* at up to 8 pixels a side, then halved; 0: 4 */
    int c_dim;
    bool radial;                    /* StyleGAN 3-r and not -t */
    bool half;                      /* F16 and not F32 */
    bool reversed;                  /* tensors in the opposite order, in header and data */
    float scale;                    /* of all weights; 0: 1 */
    const char *notes;              /* more members of __metadata__: ",\"name\":\"x\""; or NULL */
    const char *entries;            /* more tensors, of no values: ",\"x\":{...}"; or NULL */
};

/* The file; free() it. Never NULL: aborts the test when there is no memory. */
uint8_t *kit_model_bytes(const struct kit_model_options *options, size_t *len);

/* Replaces the first `from` in the header by `to` and mends the header's length. False when the
 * header has no such text. *bytes may move. */
bool kit_model_edit(uint8_t **bytes, size_t *len, const char *from, const char *to);

/* Where the data of the tensor called name begin. Aborts the test when there is none. */
uint8_t *kit_model_data(uint8_t *bytes, size_t len, const char *name);

#endif
