#include "client/picture_options.h"

#include "proto/number.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum {                              /* above every character, so that no letter means one of them */
    OPT_SEED = 256, OPT_SEEDS, OPT_PSI, OPT_CUTOFF, OPT_CLASS, OPT_NOISE_MODE, OPT_NOISE_SEED,
    OPT_TRANSLATE, OPT_ROTATE, OPT_TRANSFORM, OPT_QUALITY, OPT_MARK,
};

static const struct option OPTIONS[] = {
    { "seed", required_argument, NULL, OPT_SEED },
    { "seeds", required_argument, NULL, OPT_SEEDS },
    { "psi", required_argument, NULL, OPT_PSI },
    { "cutoff", required_argument, NULL, OPT_CUTOFF },
    { "class", required_argument, NULL, OPT_CLASS },
    { "noise-mode", required_argument, NULL, OPT_NOISE_MODE },
    { "noise-seed", required_argument, NULL, OPT_NOISE_SEED },
    { "translate", required_argument, NULL, OPT_TRANSLATE },
    { "rotate", required_argument, NULL, OPT_ROTATE },
    { "transform", required_argument, NULL, OPT_TRANSFORM },
    { "quality", required_argument, NULL, OPT_QUALITY },
    { "mark", required_argument, NULL, OPT_MARK },
    { "output", required_argument, NULL, 'o' },
};
enum { OPTION_COUNT = sizeof OPTIONS / sizeof OPTIONS[0] };

/* In the order of enum recipe_noise. */
static const char *const NOISE_WORDS[] = { "none", "const", "random", "stream", NULL };
/* In the order of enum recipe_mark. */
static const char *const MARK_WORDS[] = { "none", "xmp", "c2pa", NULL };

/* ---- lists of numbers ---- */

/* One item of a list with ',' between. */
struct item {
    const char *text;
    size_t len;
};

/* Steps to the next item; begins with text NULL. False: that was the last. */
static bool next_item(const char *list, struct item *item)
{
    if (item->text && !item->text[item->len])
        return false;
    item->text = item->text ? item->text + item->len + 1 : list;
    item->len = strcspn(item->text, ",");
    return true;
}

/* needs: "--translate needs two numbers, X,Y". */
static enum err_code check_count(const char *needs, const char *list, int expect, struct err *e)
{
    struct item item = { NULL, 0 };
    int count = 0;

    while (next_item(list, &item))
        count++;
    if (count == expect)
        return ERR_OK;
    return err_set(e, ERR_INVALID, "%s; %d %s given", needs, count, count == 1 ? "was" : "were");
}

static enum err_code refuse_item(const char *needs, const struct item *item, const char *why,
                                 struct err *e)
{
    int shown = item->len < 40 ? (int)item->len : 40;

    return err_set(e, ERR_INVALID, "%s; \"%.*s\" %s", needs, shown, item->text, why);
}

/* ---- values ---- */

static enum err_code read_psi(int64_t *out, struct err *e)
{
    enum err_code rc = command_read_millionths("--psi", optarg, out, e);

    if (!rc && (*out < -RECIPE_PSI_MAX || *out > RECIPE_PSI_MAX))
        rc = err_set(e, ERR_RANGE, "--psi %.40s is out of range: -2..2", optarg);
    return rc;
}

static bool is_shift(int64_t millionths)
{
    return millionths >= -RECIPE_SHIFT_MAX && millionths <= RECIPE_SHIFT_MAX;
}

static enum err_code read_shift(struct recipe_transform *out, struct err *e)
{
    static const char NEEDS[] = "--translate needs two numbers, X,Y";
    int64_t *const axes[] = { &out->tx, &out->ty };
    struct item item = { NULL, 0 };
    enum err_code rc = check_count(NEEDS, optarg, 2, e);

    for (int i = 0; !rc && next_item(optarg, &item); i++)
        if (!number_parse_millionths(item.text, item.len, axes[i]))
            rc = refuse_item(NEEDS, &item, "is no number with at most six places", e);
        else if (!is_shift(*axes[i]))
            rc = refuse_item(NEEDS, &item, "is out of range: -1000..1000", e);
    return rc;
}

static enum err_code read_turn(struct recipe_transform *out, struct err *e)
{
    enum err_code rc = command_read_millionths("--rotate", optarg, &out->degrees, e);

    if (!rc && !is_shift(out->degrees))
        rc = err_set(e, ERR_RANGE, "--rotate %.40s is out of range: -1000..1000", optarg);
    return rc;
}

static enum err_code read_matrix(struct recipe_transform *out, struct err *e)
{
    static const char NEEDS[] = "--transform needs nine numbers, row by row";
    struct item item = { NULL, 0 };
    enum err_code rc = check_count(NEEDS, optarg, 9, e);
    double v;

    for (int i = 0; !rc && next_item(optarg, &item); i++)
        if (!number_parse_double(item.text, item.len, &v))
            rc = refuse_item(NEEDS, &item, "is no number", e);
        else if (fabs(v) > FLT_MAX)
            rc = refuse_item(NEEDS, &item, "is too large for float32", e);
        else
            out->m[i] = (float)v;
    return rc;
}

/* A transform is of one kind. */
static enum err_code set_kind(struct recipe_transform *t, enum recipe_transform_kind kind,
                              struct err *e)
{
    if (t->kind != RECIPE_TRANSFORM_NONE && t->kind != kind)
        return err_set(e, ERR_INVALID, "--transform goes without --translate and --rotate");
    t->kind = kind;
    return ERR_OK;
}

static enum err_code read_transform(struct recipe_transform *out, int opt, struct err *e)
{
    bool is_matrix = opt == OPT_TRANSFORM;
    enum err_code rc =
        set_kind(out, is_matrix ? RECIPE_TRANSFORM_MATRIX : RECIPE_TRANSFORM_TR, e);

    if (rc)
        return rc;
    return is_matrix ? read_matrix(out, e) : opt == OPT_ROTATE ? read_turn(out, e)
                                                               : read_shift(out, e);
}

/* ---- the command line ---- */

static enum err_code take_option(struct picture_options *out, int opt, struct err *e)
{
    struct recipe_request *wish = &out->wish;

    switch (opt) {
    case OPT_SEED:
        out->seed = optarg;
        return ERR_OK;
    case OPT_SEEDS:
        out->seeds = optarg;
        return ERR_OK;
    case 'o':
        out->output = optarg;
        return ERR_OK;
    case OPT_PSI:
        return read_psi(&wish->psi, e);
    case OPT_CUTOFF:
        return command_read_int("--cutoff", optarg, 0, RECIPE_WS_MAX, &wish->cutoff, e);
    case OPT_CLASS:
        return command_read_int("--class", optarg, 0, RECIPE_CLASS_MAX, &wish->class_index, e);
    case OPT_NOISE_MODE:
        return command_read_word("--noise-mode", optarg, NOISE_WORDS, &wish->noise, e);
    case OPT_NOISE_SEED:
        return command_read_whole("--noise-seed", optarg, 0, UINT32_MAX, &wish->noise_seed, e);
    case OPT_QUALITY:
        return command_read_int("--quality", optarg, 1, 100, &wish->quality, e);
    case OPT_MARK:
        return command_read_word("--mark", optarg, MARK_WORDS, &wish->mark, e);
    default:
        return read_transform(&wish->transform, opt, e);
    }
}

static bool is_own(const struct picture_own *own, int opt)
{
    bool is_letter = opt < OPT_SEED;

    return opt >= PICTURE_OPTIONS_OWN || (is_letter && own->letters && strchr(own->letters, opt));
}

bool picture_options_read(const struct command_context *ctx, int argc, char **argv,
                          const struct picture_own *own, struct picture_options *out, int *code)
{
    struct option all[OPTION_COUNT + PICTURE_OWN_MAX + 1] = { { NULL, 0, NULL, 0 } };
    char letters[16];
    struct err e;
    int opt;

    snprintf(letters, sizeof letters, ":o:%s", own->letters ? own->letters : "");
    memcpy(all, OPTIONS, sizeof OPTIONS);
    for (size_t i = 0; i < PICTURE_OWN_MAX && own->options[i].name; i++)
        all[OPTION_COUNT + i] = own->options[i];
    *out = (struct picture_options){ .wish = RECIPE_REQUEST_DEFAULT };
    *code = EXIT_OK;
    optind = 0;                      /* glibc: begin anew, also after another command line */
    opterr = 0;
    while (!*code && (opt = getopt_long(argc, argv, letters, all, NULL)) != -1)
        if (opt == '?' || opt == ':')
            *code = command_bad_option(ctx, argv, opt);
        else if (is_own(own, opt) ? own->take(own->command, opt, &e) : take_option(out, opt, &e))
            *code = command_usage(ctx, argv[0], "%s", e.msg);
    if (!*code && optind < argc)
        *code = command_usage(ctx, argv[0], "unexpected argument \"%.40s\"", argv[optind]);
    return *code == EXIT_OK;
}

static enum err_code check_noise(const struct recipe_request *wish, struct err *e)
{
    bool is_random = wish->noise == RECIPE_NOISE_RANDOM;

    if (is_random && wish->noise_seed == -1)
        return err_set(e, ERR_INVALID,
                       "--noise-mode random needs --noise-seed N, 0..4294967295");
    if (!is_random && wish->noise_seed != -1)
        return err_set(e, ERR_INVALID, "--noise-seed goes with --noise-mode random only");
    return ERR_OK;
}

bool picture_options_settle(const struct command_context *ctx, const char *command,
                            const struct picture_options *self, const struct target *target,
                            struct seeds *seeds, int *code)
{
    struct err e;

    *seeds = (struct seeds){ .ranges = NULL };
    *code = EXIT_OK;
    if (!self->seed == !self->seeds)
        *code = command_usage(ctx, command,
                              "which pictures? Say either --seed N or --seeds LIST");
    else if (check_noise(&self->wish, &e) || seeds_choose(self->seed, self->seeds, seeds, &e) ||
             target_takes(target, seeds->count, &e))
        *code = command_usage(ctx, command, "%s", e.msg);
    if (*code)
        seeds_release(seeds);
    return *code == EXIT_OK;
}
