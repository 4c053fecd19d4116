/* kit_pickle -- writes pickles: opcode by opcode, and tiny official networks of a few KB (4 x 4
 * pixels: StyleGAN 2 of PyTorch, StyleGAN 1 and 2 of TensorFlow) with one thing spoiled: what tests
 * of the reader and its fuzzer's corpus are made of. Aborts when there is no memory. */
#ifndef TESTS_KIT_PICKLE_H
#define TESTS_KIT_PICKLE_H

#include <stddef.h>
#include <stdint.h>

struct kit_pickle {                 /* all zero: empty */
    uint8_t *bytes;                 /* free() it */
    size_t len, room;
};

/* Opcodes as they are: a string literal without its NUL. */
#define KIT_OPS(self, literal) kit_pickle_raw(self, literal, sizeof(literal) - 1)

void kit_pickle_raw(struct kit_pickle *self, const void *bytes, size_t len);
void kit_pickle_text(struct kit_pickle *self, const char *text);
void kit_pickle_bytes(struct kit_pickle *self, const void *bytes, size_t len);
void kit_pickle_int(struct kit_pickle *self, int64_t value);
void kit_pickle_float(struct kit_pickle *self, double value);
void kit_pickle_global(struct kit_pickle *self, const char *module, const char *name);

/* How one tensor is written instead of the way it should be. Empty members mean: as it should. */
struct kit_tensor {
    const char *name;               /* which: "synthesis.b4.conv1.weight", "synthesis/noise0" */
    const char *storage;            /* "HalfStorage"; numpy: "f2" */
    const char *order;              /* numpy: ">" */
    int rank;                       /* of shape and stride; 0: as it should be */
    int64_t shape[6], stride[6];
    int64_t offset;
    const void *data;               /* [len]: the numbers' bytes; NULL: as they should be */
    size_t len;
    int64_t numbers_said;           /* in the storage's id; 0: the truth */
    int latin1;                     /* numpy: bytes are written as text, as protocol 2 does */
    int columns;                    /* numpy: Fortran's order */
    const void *ops;                /* [ops_len]: opcodes in the tensor's place; NULL: a tensor */
    size_t ops_len;
};

struct kit_net {
    const char *dict;               /* the one that is spoiled, of those below */
    const char *without;            /* this key of it is left out */
    const void *ops;                /* [ops_len]: more keys and values of it, as opcodes */
    size_t ops_len;
    struct kit_tensor tensor;
    int version;                    /* of persistence or of networks; 0: 6; 3 or 5 */
    const char *class_name;         /* of conv1; NULL: SynthesisLayer */
    int c_dim;                      /* TensorFlow only */
};

/* {'G_ema': a StyleGAN 2}. Dicts: root, G_ema, modules and kwargs (of G_ema), mapping,
 * mapping_kwargs, synthesis, synthesis_kwargs, b4, conv1, torgb, affine, fc0. */
struct kit_pickle kit_pickle_torch(const struct kit_net *net);
/* (G, D, Gs). Dicts: Gs, kwargs (static_kwargs), components, mapping, synthesis. */
struct kit_pickle kit_pickle_stylegan1(const struct kit_net *net);
struct kit_pickle kit_pickle_stylegan2(const struct kit_net *net);

#endif
