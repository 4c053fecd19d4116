/* picture_options -- the options that a picture has on any command line: its seeds, and all that
 * its recipe says. `generate` and `render` read them here and add their own. */
#ifndef CLIENT_PICTURE_OPTIONS_H
#define CLIENT_PICTURE_OPTIONS_H

#include "client/command.h"
#include "client/seeds.h"
#include "client/target.h"
#include "proto/recipe.h"

#include <getopt.h>

/* For a command's help, between its first options and its last. */
#define PICTURE_OPTIONS_HELP                                                                       \
    "  --seed N             one picture; N is 0..4294967295\n"                                     \
    "  --seeds LIST         several, such as 0-9,12\n"                                             \
    "  --psi P              truncation, -2..2 with at most six places; default 1 (none)\n"         \
    "  --cutoff N           rows of w that truncation reaches; default all\n"                      \
    "  --class N            class of a conditional model\n"                                        \
    "  --noise-mode MODE    const; none; random, drawn from --noise-seed; stream, drawn from\n"    \
    "                       the picture's seed as the TensorFlow tool does; default const\n"       \
    "                       where the model has noise\n"                                           \
    "  --noise-seed N       with --noise-mode random; 0..4294967295\n"                             \
    "  --translate X,Y      StyleGAN 3: shift, in widths and heights of the picture\n"             \
    "  --rotate DEG         StyleGAN 3: turn, in degrees\n"                                        \
    "  --transform M        StyleGAN 3: in their place the whole matrix that goes into\n"          \
    "                       synthesis.input.transform: m00,m01,m02,m10,...,m22\n"                  \
    "  --quality Q          of the JPEG, 1..100; default 90\n"                                     \
    "  --mark WORD          what the file says of itself: none; xmp, the recipe; c2pa, that and\n" \
    "                       a signed C2PA manifest; default xmp\n"

struct picture_options {
    const char *seed, *seeds;       /* as given; NULL: not */
    const char *output;             /* -o; NULL: not given */
    struct recipe_request wish;     /* its seed is filled in for each picture */
};

/* What a command has beside them. */
enum {
    PICTURE_OPTIONS_OWN = 512,      /* the first value of a command's own options */
    PICTURE_OWN_MAX = 24,           /* how many it may have */
};
struct picture_own {
    const struct option *options;   /* the last row is all zero */
    /* Takes one, with its value in optarg. */
    enum err_code (*take)(void *command, int opt, struct err *e);
    void *command;
    const char *letters;            /* its own, as getopt writes them, such as "f:"; NULL: none */
};

/* Reads argv. False: it cannot be meant so; that has been said, and *code is the exit code. */
bool picture_options_read(const struct command_context *ctx, int argc, char **argv,
                          const struct picture_own *own, struct picture_options *out, int *code);

/* What only all options together show: which seeds, whether their pictures fit target, and whether
 * noise and its seed belong together. On true *seeds is the caller's to release; false as above. */
bool picture_options_settle(const struct command_context *ctx, const char *command,
                            const struct picture_options *self, const struct target *target,
                            struct seeds *seeds, int *code);

#endif
