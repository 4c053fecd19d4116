/* recipe -- what was asked for, in one canonical text; its SHA-256 is the recipe key: cache key,
 * join key, primary key. The key is known before anything is rendered.
 *
 * The text (PROTOCOL.md, "The recipe"): ASCII, one line each, LF after every line, this order;
 * integers without '+', leading zeros or "-0":
 *     seedpress-recipe/1
 *     model=<64 hex>
 *     latent=seed:<u32>
 *     psi=<millionths, -2000000..2000000>
 *     cutoff=<0..num_ws>
 *     class=none|<n>
 *     noise=none|const|random:<u32>|stream
 *     transform=none|tr:<tx>,<ty>,<degrees> (millionths)|m:<nine float32, 8 hex digits each, ','>
 *     size=<W>x<H>:native
 *     format=jpeg:q<1..100>:420:baseline
 *     mark=none|xmp|c2pa
 *     rev=<n>
 */
#ifndef PROTO_RECIPE_H
#define PROTO_RECIPE_H

#include "proto/digest.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    RECIPE_TEXT_MAX = 640,          /* bytes of the longest text, NUL included */
    RECIPE_PSI_MAX = 2000000,       /* millionths; psi is -2..2 */
    RECIPE_WS_MAX = 64,             /* num_ws of any model */
    RECIPE_CLASS_MAX = 65535,
    RECIPE_SIZE_MAX = 4096,         /* pixels a side */
    RECIPE_SHIFT_MAX = 1000000000,  /* millionths; translations and degrees are -1000..1000 */
    RECIPE_NAME_MAX = 64,           /* bytes of a model's name: [A-Za-z0-9._-], not '.' first */
};

enum recipe_noise { RECIPE_NOISE_NONE, RECIPE_NOISE_CONST, RECIPE_NOISE_RANDOM,
                    RECIPE_NOISE_STREAM, RECIPE_NOISE_COUNT };
enum recipe_mark { RECIPE_MARK_NONE, RECIPE_MARK_XMP, RECIPE_MARK_C2PA, RECIPE_MARK_COUNT };
enum recipe_transform_kind { RECIPE_TRANSFORM_NONE, RECIPE_TRANSFORM_TR, RECIPE_TRANSFORM_MATRIX };

struct recipe_transform {
    enum recipe_transform_kind kind;
    int64_t tx, ty, degrees;        /* kind TR: millionths; what gen_images.py of StyleGAN 3 takes
                                       as --translate and --rotate: its inverse is the matrix */
    float m[9];                     /* kind MATRIX: row by row, what the official code puts into
                                       synthesis.input.transform; finite, may be singular */
};

/* What a recipe has to know of a model; a worker announces it with the model. */
struct model_facts {
    struct digest digest;           /* over canonical tensors and architecture */
    int width, height;              /* pixels */
    int num_ws;                     /* rows of w; a cutoff reaches 0..num_ws of them */
    int z_dim, w_dim;
    int c_dim;                      /* classes; 0 = unconditional */
    unsigned noise_modes;           /* bit (1 << enum recipe_noise) for each that the engine does;
                                       only bit NONE: the model has no noise inputs */
    bool has_transform;
};

/* A request as it was asked: what was not given is -1 or the value said. */
struct recipe_request {
    uint32_t seed;
    int64_t psi;                    /* millionths; 1000000 when not given */
    int cutoff;                     /* -1: not given, all rows */
    int class_index;                /* -1: not given */
    int noise;                      /* enum recipe_noise; -1: const where the model has noise */
    int64_t noise_seed;             /* -1: not given; needed with random only */
    struct recipe_transform transform;
    int quality;                    /* JPEG, 1..100; 90 when not given */
    int mark;                       /* enum recipe_mark; -1: xmp */
    uint32_t rev;
};
#define RECIPE_REQUEST_DEFAULT                                                                     \
    ((struct recipe_request){ .psi = 1000000, .cutoff = -1, .class_index = -1, .noise = -1,        \
                              .noise_seed = -1, .quality = 90, .mark = -1 })

/* A request made whole: no default is open any more. */
struct recipe {
    struct digest model;
    uint32_t seed;
    int32_t psi;                    /* millionths */
    int cutoff;
    int class_index;                /* -1: none */
    enum recipe_noise noise;
    uint32_t noise_seed;            /* for random; else 0 */
    struct recipe_transform transform;
    int width, height;
    int quality;
    enum recipe_mark mark;
    uint32_t rev;
};

struct recipe_text {
    char text[RECIPE_TEXT_MAX];     /* ends in NUL */
    size_t len;                     /* without the NUL */
};

/* The one place where defaults are filled in and a request is made canonical: cutoff at or above
 * num_ws, or psi = 1, becomes num_ws; a model without noise inputs has noise none; a transform that
 * moves nothing becomes none, and -0 in a matrix 0; an option that the model does not have is an
 * error. psi = 0 stays as it is: the file names its seed. A class for an unconditional model, and
 * noise mode random or stream for one without noise inputs, are dropped, as the official tools do,
 * and *warning (NULL is fine) then points to static words, else to NULL.
 * ERR_INVALID, ERR_RANGE, ERR_CLASS_REQUIRED, ERR_UNSUPPORTED; *out is then undefined. */
enum err_code recipe_resolve(const struct recipe_request *request, const struct model_facts *facts,
                             struct recipe *out, const char **warning, struct err *e);

struct recipe_text recipe_text(const struct recipe *self);
struct digest recipe_key(const struct recipe *self);

/* Reads a canonical text; anything that recipe_text would write otherwise is ERR_INVALID. */
enum err_code recipe_parse(const char *text, size_t len, struct recipe *out, struct err *e);

/* SHA-256 over model, latent and class: the picture whatever its psi and encoding; what a
 * withdrawal names. Over the text "seedpress-subject/1", model=, latent=, class= lines as above. */
struct digest recipe_subject(const struct recipe *self);

/* True when both make the same line of a recipe. */
bool recipe_transform_is_same(const struct recipe_transform *a, const struct recipe_transform *b);

/* psi as the engine's arithmetic takes it: the float32 nearest to millionths/1e6. */
float recipe_psi_float(int32_t millionths);

/* True for a model name that may appear in messages, files and URLs. */
bool recipe_name_is_valid(const char *name, size_t len);

#endif
