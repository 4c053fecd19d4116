/* verify -- a picture's recipe is rendered again, now, and the result compared with the picture:
 * by a worker through the broker, or here from a model file. */
#include "client/command.h"

#include "base/file.h"
#include "base/mark.h"
#include "client/again.h"
#include "client/contact.h"
#include "client/image.h"
#include "client/offline.h"
#include "kernels/levels.h"

#include <cjson/cJSON.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char cmd_verify_help[] =
    "seedpress verify - render a picture's recipe again and compare\n"
    "\n"
    "usage: seedpress verify FILE\n"
    "       seedpress verify FILE --model-file MODEL [--backend NAME] [--precision WORD]\n"
    "\n"
    "The recipe is the ledger's, found by the file's hash or by that of its picture; else the\n"
    "one that the file names. A worker then renders it anew, also when it is stored.\n"
    "\n"
    "  --model-file MODEL   render here, from a .safetensors or an official .pkl; no broker\n"
    "                       and no ledger are asked: the recipe is the one that FILE names\n"
    "  --backend NAME       with --model-file: auto, cpu or cuda; default auto\n"
    "  --precision WORD     with --model-file: auto, fp16, tf32 or fp32; default auto\n"
    "\n"
    "answers:\n"
    "  identical         the new render is this very file\n"
    "  same pixels       it is this picture; what stands around it differs\n"
    "  within tolerance  PSNR is 40 dB or more: what another numerics class may give (another\n"
    "                    device or precision); a file that was compressed again may fall here\n"
    "  different         the recipe does not make this picture\n"
    "  no record         the ledger does not know it and it names no recipe; `seedpress\n"
    "                    provenance FILE` looks for pictures that look like it\n"
    "\n"
    "exit codes: 0 for identical, same pixels and within tolerance; 1 for different and no\n"
    "record\n"
    "\n"
    "examples:\n"
    "  seedpress verify seed0000.jpg\n"
    "  seedpress verify seed0000.jpg --model-file avatars64.safetensors --backend cpu\n";

enum { RENDER_DEADLINE_MS = 60000 };

/* What two numerics classes' files of one recipe may differ by: measured, kernels/README.md. */
static const double TOLERANCE_DB = 40;

enum verdict { VERDICT_IDENTICAL, VERDICT_SAME_PIXELS, VERDICT_TOLERABLE, VERDICT_DIFFERENT,
               VERDICT_NO_RECORD };
static const char *const VERDICTS[] = { "identical", "same pixels", "within tolerance", "different",
                                        "no record" };

struct options {
    const char *file, *model_file, *backend, *precision;
};

/* The file, what is known of it, and what a new render gave. */
struct check {
    const struct command_context *ctx;
    uint8_t *file;
    size_t len;
    struct digest sha, core;
    bool has_core;                  /* a whole JPEG has one */
    const char *found;              /* how the recipe was found; NULL: it was not. Static */
    struct recipe_text text;
    struct recipe recipe;
    bool is_stored;                 /* the ledger has the recipe */
    char stored_class[64];          /* is_stored */

    struct digest new_sha, new_core;
    char new_class[64];
    int64_t run;                    /* of the worker that rendered; 0: rendered here */
    uint8_t *new_file;              /* NULL: only hashes and off are known */
    size_t new_len;
    bool has_off;                   /* off says how the new pixels differ from the file's */
    struct levels off;
    char note[160];                 /* "" when there is none */
};

/* ---- the command line ---- */

enum { OPT_MODEL_FILE = 256, OPT_BACKEND, OPT_PRECISION };

static const struct option OPTIONS[] = {
    { "model-file", required_argument, NULL, OPT_MODEL_FILE },
    { "backend", required_argument, NULL, OPT_BACKEND },
    { "precision", required_argument, NULL, OPT_PRECISION },
    { NULL, 0, NULL, 0 },
};

static bool read_options(const struct command_context *ctx, int argc, char **argv,
                         struct options *out, int *code)
{
    int opt;

    *out = (struct options){ .file = NULL };
    *code = EXIT_OK;
    optind = 0;                      /* glibc: begin anew, also after another command line */
    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":", OPTIONS, NULL)) != -1) {
        if (opt == '?' || opt == ':') {
            *code = command_bad_option(ctx, argv, opt);
            return false;
        }
        *(opt == OPT_MODEL_FILE ? &out->model_file
                                : opt == OPT_BACKEND ? &out->backend : &out->precision) = optarg;
    }
    if (optind < argc)
        out->file = argv[optind++];
    if (!out->file)
        *code = command_usage(ctx, argv[0], "which picture? Say a FILE");
    else if (optind < argc)
        *code = command_usage(ctx, argv[0], "unexpected argument \"%.40s\"", argv[optind]);
    else if (!out->model_file && (out->backend || out->precision))
        *code = command_usage(ctx, argv[0], "--backend and --precision go with --model-file");
    return *code == EXIT_OK;
}

/* ---- the recipe ---- */

/* Takes the newest row for one hash, unless there is one already. *code is not EXIT_OK when the
 * ledger could not be asked. */
static void find_row(struct check *check, struct seedpress *sp, const struct seedpress_query *query,
                     const char *found, int *code)
{
    const struct seedpress_row *rows;
    struct seedpress_error error;
    size_t count;

    if (*code || check->is_stored)
        return;
    if (seedpress_lookup(sp, query, &rows, &count, &error)) {
        *code = contact_fail(check->ctx, &error);
        return;
    }
    if (count == 0)
        return;
    check->found = found;
    check->is_stored = true;
    check->text.len = strnlen(rows->recipe, sizeof check->text.text - 1);
    memcpy(check->text.text, rows->recipe, check->text.len);
    check->text.text[check->text.len] = '\0';
    memcpy(check->stored_class, rows->numerics_class, sizeof check->stored_class);
}

/* sp NULL: what the file says is all there is. */
static int find_recipe(struct check *check, struct seedpress *sp)
{
    struct digest_hex sha = digest_hex(&check->sha), core = digest_hex(&check->core);
    struct seedpress_query query = { .sha256 = sha.text, .limit = 1 };
    int code = EXIT_OK;
    struct err e;

    if (sp)
        find_row(check, sp, &query, "by the file's hash", &code);
    query = (struct seedpress_query){ .core_sha256 = core.text, .limit = 1 };
    if (sp && check->has_core)
        find_row(check, sp, &query, "by the picture's hash", &code);
    if (!check->found && mark_find(check->file, check->len, &check->text)) {
        struct digest key = digest_of(check->text.text, check->text.len);
        struct digest_hex hex = digest_hex(&key);

        check->found = "in the file's metadata";
        query = (struct seedpress_query){ .recipe_key = hex.text, .limit = 1 };
        if (sp)
            find_row(check, sp, &query, check->found, &code);
    }
    if (!code && check->found &&
        recipe_parse(check->text.text, check->text.len, &check->recipe, &e))
        code = command_fail(check->ctx, &e);
    return code;
}

/* ---- a new render ---- */

static int render_here(struct check *check, const struct options *options)
{
    struct offline offline = { .model_file = options->model_file,
                               .backend = options->backend ? options->backend : "auto" };
    struct picture picture;
    struct err e;

    if (options->precision && precision_of(options->precision, &offline.precision, &e))
        return command_usage(check->ctx, "verify", "%s", e.msg);
    if (offline_render(&offline, &check->recipe, &picture, check->new_class, &e))
        return command_fail(check->ctx, &e);
    check->new_sha = picture.file_sha;
    check->new_core = picture.core_sha;
    check->new_file = picture.file;
    check->new_len = picture.len;
    return EXIT_OK;
}

static bool is_hex(const char *text, struct digest *out)
{
    return digest_parse(text, strlen(text), out);
}

/* The answer is the stored picture where there is one; what the render gave stands beside it. */
static int take_answer(struct check *check, const struct seedpress_image *image)
{
    bool says = is_hex(image->rendered_sha256, &check->new_sha) &&
                is_hex(image->rendered_core_sha256, &check->new_core);
    struct err e;

    if (image->source != SEEDPRESS_SOURCE_RENDER || (check->is_stored && !says)) {
        err_set(&e, ERR_RETRY, "the picture was not rendered anew, so that nothing is verified");
        return command_fail(check->ctx, &e);
    }
    snprintf(check->new_class, sizeof check->new_class, "%s",
             says ? image->rendered_class : image->numerics_class);
    check->run = says ? image->rendered_run : image->run;
    if (!says) {                     /* new to the ledger: the answer is the render */
        is_hex(image->sha256, &check->new_sha);
        is_hex(image->core_sha256, &check->new_core);
    }
    if (!says || strcmp(image->rendered_core_sha256, image->core_sha256) == 0) {
        check->new_file = malloc(image->len);
        if (!check->new_file) {
            err_set(&e, ERR_NOMEM, "no memory for a picture of %zu bytes", image->len);
            return command_fail(check->ctx, &e);
        }
        memcpy(check->new_file, image->data, image->len);
        check->new_len = image->len;
        return EXIT_OK;
    }
    /* Other pixels than the stored ones, of which the file may be a copy. */
    check->has_off = image->rendered_levels >= 0 && check->has_core &&
                     strcmp(image->core_sha256, digest_hex(&check->core).text) == 0;
    check->off = (struct levels){ .max = image->rendered_levels, .mean = -1,
                                  .psnr_db = image->rendered_psnr };
    return EXIT_OK;
}

static int render_by_worker(struct check *check, struct seedpress *sp)
{
    struct seedpress_image image;
    struct seedpress_error error;
    struct again again;

    again_init(&again, &check->recipe);
    again.request.cache = SEEDPRESS_CACHE_BYPASS;
    again.request.deadline_ms = RENDER_DEADLINE_MS;
    /* A question is no reason to fill the ledger with files that nobody asked to keep. */
    if (!check->is_stored)
        again.request.keep = SEEDPRESS_KEEP_PROVENANCE;
    if (seedpress_generate(sp, &again.request, &image, &error))
        return contact_fail(check->ctx, &error);
    return take_answer(check, &image);
}

/* ---- the verdict ---- */

/* Decodes both and fills off, or says in note why that cannot be. */
static void measure(struct check *check)
{
    struct image file = { .rgb = NULL }, render = { .rgb = NULL };
    struct err e;

    if (image_decode(check->file, check->len, &file, &e) ||
        image_decode(check->new_file, check->new_len, &render, &e)) {
        snprintf(check->note, sizeof check->note, "%.150s", e.msg);
    } else {
        check->has_off = file.width == render.width && file.height == render.height;
        if (check->has_off)
            check->off = levels_of(file.rgb, render.rgb,
                                   (size_t)file.width * (size_t)file.height * 3);
        else
            snprintf(check->note, sizeof check->note, "it has %d x %d pixels and the render %d x "
                     "%d; `seedpress provenance` compares scaled and cropped copies", file.width,
                     file.height, render.width, render.height);
    }
    image_release(&file);
    image_release(&render);
}

static enum verdict judge(struct check *check)
{
    if (digest_equal(&check->sha, &check->new_sha))
        return VERDICT_IDENTICAL;
    if (check->has_core && digest_equal(&check->core, &check->new_core))
        return VERDICT_SAME_PIXELS;
    if (!check->has_off && check->new_file)
        measure(check);
    if (!check->has_off)
        return VERDICT_DIFFERENT;
    if (check->off.max == 0)
        return VERDICT_SAME_PIXELS;
    return check->off.psnr_db >= TOLERANCE_DB ? VERDICT_TOLERABLE : VERDICT_DIFFERENT;
}

/* What a reader should know beside the figures. */
static void add_note(struct check *check, enum verdict verdict)
{
    bool other_class = check->is_stored && strcmp(check->stored_class, check->new_class) != 0;

    if (verdict <= VERDICT_SAME_PIXELS || *check->note)
        return;
    if (!check->new_file && other_class)
        snprintf(check->note, sizeof check->note, "the stored picture was made by another numerics "
                 "class, %s", check->stored_class);
    else if (!check->new_file)
        snprintf(check->note, sizeof check->note, "the same numerics class now makes other pixels "
                 "than those stored: an alarm, see the worker's log");
}

static void print_words(const struct check *check, const struct options *options,
                        enum verdict verdict)
{
    printf("%-12s%s%s\n", "answer", VERDICTS[verdict],
           verdict == VERDICT_NO_RECORD ? " (which does not mean that a camera made it)" : "");
    if (verdict == VERDICT_NO_RECORD)
        return;
    if (check->run > 0)
        printf("%-12snow, by run %" PRId64 ", %s\n", "rendered", check->run, check->new_class);
    else
        printf("%-12snow, from %s, %s\n", "rendered", options->model_file, check->new_class);
    if (check->is_stored)
        printf("%-12sby %s\n", "stored", check->stored_class);
    if (check->has_off)
        printf("%-12s%d level%s at most, PSNR %.1f dB\n", "differs", check->off.max,
               check->off.max == 1 ? "" : "s", check->off.psnr_db);
    if (*check->note)
        printf("%-12s%s\n", "note", check->note);
    printf("%-12s%s\n", "file", digest_hex(&check->sha).text);
    if (check->has_core)
        printf("%-12s%s\n", "picture", digest_hex(&check->core).text);
    printf("%-12s%s\n", "new picture", digest_hex(&check->new_core).text);
    printf("%-12sfound %s\n", "recipe", check->found);
    for (const char *line = check->text.text; *line; ) {
        size_t len = strcspn(line, "\n");

        printf("%-12s%.*s\n", "", (int)len, line);
        line += len + (line[len] == '\n');
    }
}

static void print_object(const struct check *check, enum verdict verdict)
{
    cJSON *line = cJSON_CreateObject();

    cJSON_AddStringToObject(line, "answer", VERDICTS[verdict]);
    cJSON_AddStringToObject(line, "sha256", digest_hex(&check->sha).text);
    if (check->has_core)
        cJSON_AddStringToObject(line, "core_sha256", digest_hex(&check->core).text);
    if (verdict != VERDICT_NO_RECORD) {
        cJSON_AddStringToObject(line, "rendered_sha256", digest_hex(&check->new_sha).text);
        cJSON_AddStringToObject(line, "rendered_core_sha256", digest_hex(&check->new_core).text);
        cJSON_AddStringToObject(line, "rendered_class", check->new_class);
        if (check->run > 0)
            cJSON_AddNumberToObject(line, "run", (double)check->run);
        if (check->is_stored)
            cJSON_AddStringToObject(line, "stored_class", check->stored_class);
        if (check->has_off) {
            cJSON_AddNumberToObject(line, "max_levels", check->off.max);
            cJSON_AddNumberToObject(line, "psnr_db", check->off.psnr_db);
        }
        if (*check->note)
            cJSON_AddStringToObject(line, "note", check->note);
        cJSON_AddStringToObject(line, "recipe_found", check->found);
        cJSON_AddStringToObject(line, "recipe", check->text.text);
    }
    command_print(line);
}

/* ---- the run ---- */

static int verify(struct check *check, struct seedpress *sp, const struct options *options)
{
    enum verdict verdict = VERDICT_NO_RECORD;
    int code = find_recipe(check, sp);
    struct image image;
    struct err e;

    /* Of a text one should not say that no camera made it. */
    if (!code && !check->found) {
        if (image_decode(check->file, check->len, &image, &e))
            code = command_fail(check->ctx, &e);
        image_release(&image);
    } else if (!code) {
        code = sp ? render_by_worker(check, sp) : render_here(check, options);
        if (!code)
            verdict = judge(check);
    }
    if (code)
        return code;
    add_note(check, verdict);
    if (check->ctx->json)
        print_object(check, verdict);
    else
        print_words(check, options, verdict);
    return verdict <= VERDICT_TOLERABLE ? EXIT_OK : EXIT_NO;
}

int cmd_verify_run(const struct command_context *ctx, int argc, char **argv)
{
    struct check check = { .ctx = ctx };
    struct seedpress *sp = NULL;
    struct options options;
    struct err e;
    int code;

    if (!read_options(ctx, argc, argv, &options, &code))
        return code;
    if (file_read(options.file, IMAGE_FILE_MAX, &check.file, &check.len, &e))
        return command_fail(ctx, &e);
    check.sha = digest_of(check.file, check.len);
    check.has_core = mark_core_sha256(check.file, check.len, &check.core);
    code = options.model_file ? EXIT_OK : contact_open(ctx, &sp);
    if (!code)
        code = verify(&check, sp, &options);
    seedpress_destroy(&sp);
    free(check.new_file);
    free(check.file);
    return code;
}
