/* model -- what is known of models. Each word after it is a row in WORDS[]. */
#include "client/command.h"

#include "base/file.h"
#include "client/contact.h"
#include "kernels/backend.h"
#include "kernels/model.h"

#include <cjson/cJSON.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char cmd_model_help[] =
    "seedpress model - what is known of models\n"
    "\n"
    "usage: seedpress model list\n"
    "       seedpress model use NAME@DIGEST\n"
    "       seedpress model inspect FILE\n"
    "       seedpress model convert IN OUT.safetensors\n"
    "\n"
    "  list           models that the broker knows, and how many workers have them; '*'\n"
    "                 stands at the names that the ledger binds\n"
    "  use            binds NAME, for everybody, to the known model whose digest begins with\n"
    "                 DIGEST (4 hex digits or more)\n"
    "  inspect FILE   checks a model file (.safetensors, or an official .pkl of StyleGAN 1, 2,\n"
    "                 2-ADA or 3) and prints its digest, by which recipes name it, its\n"
    "                 architecture, the options it has, and what it says of its licence. A\n"
    "                 .pkl is read, never run\n"
    "  convert IN OUT writes the generator of IN (either kind of file) as a .safetensors file:\n"
    "                 the same model, by the same digest. Workers and render take both kinds;\n"
    "                 this one holds the generator alone, and other programs know it\n"
    "\n"
    "examples:\n"
    "  seedpress model list\n"
    "  seedpress model use cats@1a2b3c4d\n"
    "  seedpress model inspect stylegan3-t-ffhq-1024x1024.pkl\n"
    "  seedpress --json model inspect avatars64.safetensors\n"
    "  seedpress model convert stylegan3-t-ffhq-1024x1024.pkl ffhq.safetensors\n";

/* ---- files ---- */

/* The files after the subcommand's name, of which there are to be so many: *first is the first. */
static int take_files(const struct command_context *ctx, int argc, char **argv, int count,
                      const char *needs, char ***first)
{
    static const struct option NO_OPTIONS[] = { { NULL, 0, NULL, 0 } };

    optind = 0;                      /* glibc: begin anew */
    opterr = 0;
    if (getopt_long(argc, argv, ":", NO_OPTIONS, NULL) != -1)
        return command_usage(ctx, "model", "unknown option \"%.40s\"", argv[optind - 1]);
    if (argc - optind != count)
        return command_usage(ctx, "model", "%s", needs);
    *first = argv + optind;
    return EXIT_OK;
}

static int fail_file(const struct command_context *ctx, struct err *e)
{
    command_blame_file(e);
    return command_fail(ctx, e);
}

/* ---- model inspect ---- */

/* What a file says of itself, in the order in which it is shown. */
static const char *const NOTES[] = { "name", "licence", "dataset", "kimg", "source_sha256" };
enum { NOTE_COUNT = sizeof NOTES / sizeof NOTES[0] };

static const char *const NOISE_WORDS[RECIPE_NOISE_COUNT] = {
    [RECIPE_NOISE_NONE] = "none",
    [RECIPE_NOISE_CONST] = "const",
    [RECIPE_NOISE_RANDOM] = "random",
    [RECIPE_NOISE_STREAM] = "stream",
};

/* Values of the tensors that are used; planes of noise are among them. */
static uint64_t count_parameters(const struct model *model)
{
    uint64_t count = 0;

    for (size_t i = 0; i < model_tensor_count(model); i++)
        count += model_tensor_at(model, i)->count;
    return count;
}

/* A stranger's words: control characters could make a terminal do things. */
static void print_harmless(const char *text)
{
    for (; *text; text++)
        putchar((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text);
}

/* What could render it here. */
static void print_backends(void)
{
    static const char *const NAMES[] = { "cpu", "cuda" };
    const char *between = "";

    printf("%-14s", "backends");
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        const struct backend *backend;
        const char *standing = "not installed";

        if (!backend_find(NAMES[i], &backend, NULL))
            standing = backend->standing;
        printf("%s%s%s%s%s", between, NAMES[i], *standing ? " (" : "", standing,
               *standing ? ")" : "");
        between = ", ";
    }
    putchar('\n');
}

static void print_text(const struct model *model)
{
    const struct model_facts *f = model_facts(model);
    const char *between = "";

    for (int i = 0; i < NOTE_COUNT; i++)
        if (model_note(model, NOTES[i])) {
            printf("%-14s", NOTES[i]);
            print_harmless(model_note(model, NOTES[i]));
            putchar('\n');
        }
    if (!model_note(model, "licence"))
        printf("%-14snot stated in the file; the official StyleGAN weights are for "
               "non-commercial use\n", "licence");
    printf("%-14s%s\n", "digest", digest_hex(&f->digest).text);
    printf("%-14s%s\n", "architecture", model_arch_word(model));
    printf("%-14s%s\n", "format", model_file_word(model));
    printf("%-14s%d x %d pixels\n", "size", f->width, f->height);
    printf("%-14sz_dim %d, w_dim %d, num_ws %d\n", "latents", f->z_dim, f->w_dim, f->num_ws);
    if (f->c_dim > 0)
        printf("%-14s0..%d\n", "classes", f->c_dim - 1);
    else
        printf("%-14snone\n", "classes");
    if (model_arch(model) != MODEL_STYLEGAN1) {
        printf("%-14s", "conv_clamp");
        print_harmless(model_note(model, "conv_clamp"));
        putchar('\n');
    }
    printf("%-14s", "noise modes");
    for (int k = 0; k < RECIPE_NOISE_COUNT; k++)
        if (f->noise_modes & 1u << k) {
            printf("%s%s", between, NOISE_WORDS[k]);
            between = ", ";
        }
    printf("\n%-14s%s\n", "transform", f->has_transform ? "yes" : "none");
    printf("%-14s%zu, %" PRIu64 " parameters\n", "tensors", model_tensor_count(model),
           count_parameters(model));
    print_backends();
}

/* 0: none. */
static float clamp_of(const struct model *model)
{
    if (model_stylegan2(model))
        return model_stylegan2(model)->conv_clamp;
    return model_stylegan3(model) ? model_stylegan3(model)->conv_clamp : 0.0f;
}

static void print_json(const struct model *model)
{
    const struct model_facts *f = model_facts(model);
    cJSON *root = cJSON_CreateObject();
    cJSON *modes;

    for (int i = 0; i < NOTE_COUNT; i++)
        if (model_note(model, NOTES[i]))
            cJSON_AddStringToObject(root, NOTES[i], model_note(model, NOTES[i]));
    cJSON_AddStringToObject(root, "digest", digest_hex(&f->digest).text);
    cJSON_AddStringToObject(root, "architecture", model_arch_word(model));
    cJSON_AddStringToObject(root, "format", model_file_word(model));
    cJSON_AddNumberToObject(root, "width", f->width);
    cJSON_AddNumberToObject(root, "height", f->height);
    cJSON_AddNumberToObject(root, "z_dim", f->z_dim);
    cJSON_AddNumberToObject(root, "w_dim", f->w_dim);
    cJSON_AddNumberToObject(root, "num_ws", f->num_ws);
    cJSON_AddNumberToObject(root, "c_dim", f->c_dim);
    if (clamp_of(model) > 0)
        cJSON_AddNumberToObject(root, "conv_clamp", (double)clamp_of(model));
    else
        cJSON_AddNullToObject(root, "conv_clamp");
    modes = cJSON_AddArrayToObject(root, "noise_modes");
    for (int k = 0; k < RECIPE_NOISE_COUNT; k++)
        if (f->noise_modes & 1u << k)
            cJSON_AddItemToArray(modes, cJSON_CreateString(NOISE_WORDS[k]));
    cJSON_AddBoolToObject(root, "has_transform", f->has_transform);
    cJSON_AddNumberToObject(root, "tensors", (double)model_tensor_count(model));
    cJSON_AddNumberToObject(root, "parameters", (double)count_parameters(model));
    command_print(root);
}

static int inspect(const struct command_context *ctx, int argc, char **argv)
{
    struct model *model = NULL;
    struct err e;
    char **file;
    int code = take_files(ctx, argc, argv, 1, "model inspect needs one file", &file);

    if (code)
        return code;
    if (model_open(file[0], &model, &e))
        return fail_file(ctx, &e);
    if (ctx->json)
        print_json(model);
    else
        print_text(model);
    model_destroy(&model);
    return EXIT_OK;
}

/* ---- model convert ---- */

/* Gives the digest of in, which out has when it is read again. */
static enum err_code convert_file(const char *in, const char *out, struct digest *digest,
                                  struct err *e)
{
    struct model *model = NULL, *written = NULL;
    uint8_t *data = NULL;
    size_t len;
    enum err_code rc = model_open(in, &model, e);

    if (!rc)
        rc = model_format(model, &data, &len, e);
    if (rc)
        goto done;
    *digest = model_facts(model)->digest;
    model_destroy(&model);           /* one of the two in memory at a time */
    rc = file_write_atomic(out, data, len, e);
    free(data);
    data = NULL;
    if (!rc)
        rc = model_open(out, &written, e);
    if (!rc && !digest_equal(digest, &model_facts(written)->digest))
        rc = err_set(e, ERR_FILE, "\"%.90s\" holds another model than was written", out);
done:
    free(data);
    model_destroy(&model);
    model_destroy(&written);
    return rc;
}

static bool ends_in(const char *text, const char *end)
{
    size_t text_len = strlen(text), end_len = strlen(end);

    return text_len > end_len && strcmp(text + text_len - end_len, end) == 0;
}

static int convert(const struct command_context *ctx, int argc, char **argv)
{
    struct digest digest;
    struct err e;
    char **file;
    int code = take_files(ctx, argc, argv, 2, "model convert needs IN and OUT.safetensors", &file);

    if (code)
        return code;
    if (!ends_in(file[1], ".safetensors"))   /* also: IN and OUT are easily swapped */
        return command_usage(ctx, "model", "\"%.90s\" does not end in .safetensors, which is what "
                             "model convert writes", file[1]);
    if (convert_file(file[0], file[1], &digest, &e))
        return fail_file(ctx, &e);
    if (ctx->json) {
        cJSON *line = cJSON_CreateObject();

        cJSON_AddStringToObject(line, "in", file[0]);
        cJSON_AddStringToObject(line, "out", file[1]);
        cJSON_AddStringToObject(line, "digest", digest_hex(&digest).text);
        command_print(line);
    } else
        printf("%s is now %s\ndigest %s\n", file[0], file[1], digest_hex(&digest).text);
    return EXIT_OK;
}

/* ---- model list ---- */

static void print_listed(const struct seedpress_model *m)
{
    char classes[32] = "no classes";

    if (m->c_dim > 0)
        snprintf(classes, sizeof classes, "%d classes", m->c_dim);
    printf("%s%s  %s, %d x %d, %s, %" PRId64 " worker%s", m->bound ? "*" : " ",
           contact_model_of(m->name, m->digest).text, m->arch, m->width, m->height, classes,
           m->workers, m->workers == 1 ? "" : "s");
    if (*m->licence)
        printf(", licence %s", m->licence);
    putchar('\n');
}

static void print_listed_json(const struct seedpress_model *m)
{
    cJSON *line = cJSON_CreateObject();
    cJSON *modes;

    cJSON_AddStringToObject(line, "name", m->name);
    cJSON_AddStringToObject(line, "digest", m->digest);
    cJSON_AddBoolToObject(line, "bound", m->bound);
    cJSON_AddNumberToObject(line, "workers", (double)m->workers);
    cJSON_AddStringToObject(line, "architecture", m->arch);
    cJSON_AddStringToObject(line, "licence", m->licence);
    cJSON_AddNumberToObject(line, "width", m->width);
    cJSON_AddNumberToObject(line, "height", m->height);
    cJSON_AddNumberToObject(line, "z_dim", m->z_dim);
    cJSON_AddNumberToObject(line, "w_dim", m->w_dim);
    cJSON_AddNumberToObject(line, "num_ws", m->num_ws);
    cJSON_AddNumberToObject(line, "c_dim", m->c_dim);
    modes = cJSON_AddArrayToObject(line, "noise_modes");
    for (int k = 0; k < RECIPE_NOISE_COUNT; k++)
        if (m->noise_modes & 1u << k)
            cJSON_AddItemToArray(modes, cJSON_CreateString(NOISE_WORDS[k]));
    cJSON_AddBoolToObject(line, "has_transform", m->has_transform);
    command_print(line);
}

static int list(const struct command_context *ctx, int argc, char **argv)
{
    const struct seedpress_model *models;
    struct seedpress *sp;
    struct seedpress_error error;
    size_t count;
    int code;

    if (argc > 1)
        return command_usage(ctx, "model", "unexpected argument \"%.40s\"", argv[1]);
    code = contact_open(ctx, &sp);
    if (code)
        return code;
    if (seedpress_models(sp, &models, &count, &error))
        code = contact_fail(ctx, &error);
    for (size_t i = 0; i < count; i++)
        (ctx->json ? print_listed_json : print_listed)(&models[i]);
    if (!code && count == 0 && !ctx->json)
        printf("no worker has joined this broker yet\n");
    seedpress_destroy(&sp);
    return code;
}

/* ---- model use ---- */

static int use(const struct command_context *ctx, int argc, char **argv)
{
    char *at = argc == 2 ? strchr(argv[1], '@') : NULL;
    struct seedpress *sp;
    struct seedpress_error error;
    int code;

    if (!at || at == argv[1] || !at[1])
        return command_usage(ctx, "model", "model use needs NAME@DIGEST, such as cats@1a2b3c4d");
    code = contact_open(ctx, &sp);
    if (code)
        return code;
    *at = '\0';
    if (seedpress_model_use(sp, argv[1], at + 1, &error))
        code = contact_fail(ctx, &error);
    else if (ctx->json) {
        cJSON *line = cJSON_CreateObject();

        cJSON_AddStringToObject(line, "name", argv[1]);
        cJSON_AddStringToObject(line, "digest_prefix", at + 1);
        command_print(line);
    } else
        printf("%s is %s from now on\n", argv[1], at + 1);
    seedpress_destroy(&sp);
    return code;
}

/* ---- the words after "model" ---- */

static const struct command_word WORDS[] = {
    { "list", list },
    { "use", use },
    { "inspect", inspect },
    { "convert", convert },
};

int cmd_model_run(const struct command_context *ctx, int argc, char **argv)
{
    return command_run_word(ctx, WORDS, sizeof WORDS / sizeof WORDS[0], argc, argv);
}
