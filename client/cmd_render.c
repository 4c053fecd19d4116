/* render -- pictures from a model file with no broker between: the hand tool for checking pixels.
 * It resolves recipes and encodes files with the same functions as the worker, so the same recipe
 * gives the same file. */
#include "client/command.h"

#include "base/c2pa.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/mark.h"
#include "base/npy.h"
#include "client/picture_options.h"
#include "client/png.h"
#include "client/progress.h"
#include "kernels/backend.h"
#include "kernels/model.h"
#include "kernels/output.h"
#include "kernels/picture.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char cmd_render_help[] =
    "seedpress render - make pictures from a model file, without a broker\n"
    "\n"
    "usage: seedpress render --model-file FILE --seed N|--seeds LIST [OPTIONS]\n"
    "\n"
    "  --model-file FILE    the model, .safetensors or an official .pkl\n"
    PICTURE_OPTIONS_HELP
    "  -o, --output WHERE   a file (.jpg or .png; one seed) or a folder; default: this\n"
    "                       folder; files in folders are named seed0000.jpg and so on\n"
    "  --backend NAME       auto, cpu or cuda; default auto\n"
    "  --device N           which GPU, from 0; default 0\n"
    "  --precision WORD     auto, fp16, tf32 or fp32; default auto: fp16 on a GPU, fp32 on\n"
    "                       the CPU; changes the numerics class, see the summary\n"
    "  --threads N          of the CPU backend; default 0, one for each core\n"
    "  --batch N            pictures rendered together; changes no pixel; default 8\n"
    "  --c2pa-cert FILE     with --mark c2pa: the certificate that signs, PEM, with its chain\n"
    "  --c2pa-key FILE      and its private key, PEM, on P-256, for its owner alone\n"
    "arrays of one seed, as NumPy files:\n"
    "  --dump-z FILE        z, float64 [z_dim]\n"
    "  --dump-ws FILE       w after truncation, float32 [num_ws, w_dim]\n"
    "  --dump-image FILE    the picture before it is made 8-bit, float32 [3, H, W]\n"
    "  --dump-u8 FILE       the picture, uint8 [H, W, 3]\n"
    "\n"
    "examples:\n"
    "  seedpress render --model-file avatars64.safetensors --seed 42 --psi 0.7 -o 42.jpg\n"
    "  seedpress render --model-file avatars64.safetensors --seeds 0-9,12 -o pictures\n"
    "  seedpress render --model-file avatars64.safetensors --seed 0 --dump-image 0.npy\n"
    "  seedpress render --model-file faces3.safetensors --seed 42 --rotate 15 -o 42.png\n"
    "  seedpress render --model-file faces3.safetensors --seed 42 -o 42.png \\\n"
    "      --transform 1,0,0.25,0,1,0,0,0,1\n"
    "  seedpress render --model-file avatars64.safetensors --seed 42 -o 42.jpg \\\n"
    "      --mark c2pa --c2pa-cert maker.pem --c2pa-key maker.key\n";

enum { BATCH_DEFAULT = 8, BATCH_MAX = 256, THREADS_MAX = 256, DEVICE_MAX = 63 };

enum dump { DUMP_Z, DUMP_WS, DUMP_IMAGE, DUMP_U8, DUMP_COUNT };

struct options {
    const char *model_file, *backend;
    const char *c2pa_cert, *c2pa_key;
    const char *dump[DUMP_COUNT];   /* file names; NULL: not wanted */
    struct picture_options picture;
    enum precision precision;
    int device, threads, batch;
    struct target target;           /* what output is; NONE: only arrays are wanted */
};

/* All that one run holds open, in the order in which it was opened. */
struct run {
    const struct command_context *ctx;
    const struct options *options;
    struct seeds seeds;
    struct model *model;
    const struct backend *backend;
    struct engine *engine;
    struct net *net;
    struct jpeg_encoder *encoder;
    struct c2pa_signer *signer;     /* NULL: nothing is to be signed */
    int batch;                      /* samples in one render */
    struct output output;           /* room for batch pictures */
    struct capture capture;         /* for one seed; its arrays are ours */
    struct progress progress;
    uint64_t done;                  /* pictures rendered and written */
};

/* ---- the command line ---- */

enum {
    OPT_MODEL_FILE = PICTURE_OPTIONS_OWN, OPT_BACKEND, OPT_DEVICE, OPT_PRECISION,
    OPT_THREADS, OPT_BATCH, OPT_C2PA_CERT, OPT_C2PA_KEY,
    OPT_DUMP,                       /* + enum dump */
};

static const struct option OPTIONS[] = {
    { "model-file", required_argument, NULL, OPT_MODEL_FILE },
    { "backend", required_argument, NULL, OPT_BACKEND },
    { "device", required_argument, NULL, OPT_DEVICE },
    { "precision", required_argument, NULL, OPT_PRECISION },
    { "threads", required_argument, NULL, OPT_THREADS },
    { "batch", required_argument, NULL, OPT_BATCH },
    { "c2pa-cert", required_argument, NULL, OPT_C2PA_CERT },
    { "c2pa-key", required_argument, NULL, OPT_C2PA_KEY },
    { "dump-z", required_argument, NULL, OPT_DUMP + DUMP_Z },
    { "dump-ws", required_argument, NULL, OPT_DUMP + DUMP_WS },
    { "dump-image", required_argument, NULL, OPT_DUMP + DUMP_IMAGE },
    { "dump-u8", required_argument, NULL, OPT_DUMP + DUMP_U8 },
    { NULL, 0, NULL, 0 },
};

static enum err_code take_option(void *command, int opt, struct err *e)
{
    struct options *out = command;

    switch (opt) {
    case OPT_MODEL_FILE:
        out->model_file = optarg;
        return ERR_OK;
    case OPT_BACKEND:
        out->backend = optarg;
        return ERR_OK;
    case OPT_DEVICE:
        return command_read_int("--device", optarg, 0, DEVICE_MAX, &out->device, e);
    case OPT_PRECISION:
        return precision_of(optarg, &out->precision, e);
    case OPT_THREADS:
        return command_read_int("--threads", optarg, 0, THREADS_MAX, &out->threads, e);
    case OPT_BATCH:
        return command_read_int("--batch", optarg, 1, BATCH_MAX, &out->batch, e);
    case OPT_C2PA_CERT:
        out->c2pa_cert = optarg;
        return ERR_OK;
    case OPT_C2PA_KEY:
        out->c2pa_key = optarg;
        return ERR_OK;
    default:
        out->dump[opt - OPT_DUMP] = optarg;
        return ERR_OK;
    }
}

static enum err_code find_target(struct options *options, struct err *e)
{
    enum err_code rc = target_of(options->picture.output, &options->target, e);

    for (int k = 0; !options->picture.output && k < DUMP_COUNT; k++)
        if (options->dump[k])
            options->target.kind = TARGET_NONE;
    return rc;
}

/* A manifest is signed, and of a JPEG. */
static enum err_code check_signing(const struct options *options, struct err *e)
{
    bool signs = options->picture.wish.mark == RECIPE_MARK_C2PA;

    if (signs && options->target.kind == TARGET_PNG)
        return err_set(e, ERR_INVALID, "--mark c2pa signs .jpg files only");
    if (signs && (!options->c2pa_cert || !options->c2pa_key))
        return err_set(e, ERR_INVALID, "--mark c2pa needs --c2pa-cert FILE and --c2pa-key FILE");
    if (!signs && (options->c2pa_cert || options->c2pa_key))
        return err_set(e, ERR_INVALID, "--c2pa-cert and --c2pa-key go with --mark c2pa only");
    return ERR_OK;
}

/* Reads argv and checks what can be checked with no file open. False: *code is the exit code. */
static bool read_options(const struct command_context *ctx, int argc, char **argv,
                         struct options *out, struct seeds *seeds, int *code)
{
    struct picture_own own = { OPTIONS, take_option, out, NULL };
    struct err e;

    *out = (struct options){ .backend = "auto", .batch = BATCH_DEFAULT };
    if (!picture_options_read(ctx, argc, argv, &own, &out->picture, code))
        return false;
    if (!out->model_file)
        *code = command_usage(ctx, argv[0], "which model? Say --model-file FILE");
    else if (find_target(out, &e) || check_signing(out, &e))
        *code = command_usage(ctx, argv[0], "%s", e.msg);
    else
        picture_options_settle(ctx, argv[0], &out->picture, &out->target, seeds, code);
    for (int k = 0; k < DUMP_COUNT && !*code; k++)
        if (out->dump[k] && seeds->count > 1)
            *code = command_usage(ctx, argv[0], "arrays are dumped of one seed, not of %" PRIu32,
                                  seeds->count);
    return *code == EXIT_OK;
}

/* ---- opening ---- */

static void close_run(struct run *run)
{
    progress_end(&run->progress);
    free(run->capture.image);
    free(run->capture.ws);
    free(run->capture.z);
    output_release(&run->output);
    c2pa_signer_destroy(&run->signer);
    jpeg_encoder_destroy(&run->encoder);
    if (run->net)
        run->backend->unload(&run->net);
    if (run->engine)
        run->backend->close(&run->engine);
    model_destroy(&run->model);
    seeds_release(&run->seeds);
}

/* The recipe of one seed; seeds differ in nothing that can be refused. */
static enum err_code resolve(const struct run *run, uint32_t seed, struct recipe *out,
                             const char **warning, struct err *e)
{
    struct recipe_request request = run->options->picture.wish;

    request.seed = seed;
    return recipe_resolve(&request, model_facts(run->model), out, warning, e);
}

/* Arrays are of pixels; so is a PNG. */
static enum output_kind kind_for(const struct run *run)
{
    const struct options *options = run->options;

    if (options->target.kind == TARGET_PNG)
        return OUTPUT_PIXELS;
    for (int k = 0; k < DUMP_COUNT; k++)
        if (options->dump[k])
            return OUTPUT_PIXELS;
    return output_kind_of(run->backend);
}

static enum err_code take_memory(struct run *run, struct err *e)
{
    const struct model_facts *facts = model_facts(run->model);
    size_t pixels = (size_t)facts->width * facts->height;
    const char *const *dump = run->options->dump;
    enum output_kind kind = kind_for(run);
    enum err_code rc = output_init(&run->output, run->backend, run->engine, kind,
                                   (size_t)run->batch * output_bytes(kind, facts), e);
    bool ok = true;

    if (rc)
        return rc;
    if (dump[DUMP_Z])
        ok &= (run->capture.z = malloc((size_t)facts->z_dim * sizeof(double))) != NULL;
    if (dump[DUMP_WS])
        ok &= (run->capture.ws = malloc((size_t)facts->num_ws * facts->w_dim * sizeof(float))) !=
              NULL;
    if (dump[DUMP_IMAGE])
        ok &= (run->capture.image = malloc(3 * pixels * sizeof(float))) != NULL;
    return ok ? ERR_OK : err_set(e, ERR_NOMEM, "no memory for arrays of %d x %d pixels",
                                 facts->width, facts->height);
}

/* From the model file to a net that is ready; what the user got wrong is said before the engine
 * starts. */
static enum err_code open_run(struct run *run, struct err *e)
{
    const struct options *options = run->options;
    struct backend_options open_options = { .device = options->device,
                                            .precision = options->precision,
                                            .threads = options->threads, .drop_values = true };
    const char *warning;
    struct recipe recipe;
    enum err_code rc = model_open(options->model_file, &run->model, e);

    if (rc)
        rc = command_blame_file(e);
    if (!rc)
        rc = resolve(run, run->seeds.ranges[0].first, &recipe, &warning, e);
    if (!rc && warning)
        command_warn(run->ctx, warning);
    if (!rc && options->c2pa_cert)
        rc = c2pa_signer_create(options->c2pa_cert, options->c2pa_key, &run->signer, e);
    if (!rc)
        rc = target_prepare(&options->target, e);
    if (!rc)
        rc = backend_find(options->backend, &run->backend, e);
    if (!rc)
        rc = run->backend->open(&open_options, &run->engine, e);
    run->batch = run->seeds.count < (uint32_t)options->batch ? (int)run->seeds.count
                                                             : options->batch;
    if (!rc)
        rc = run->backend->load(run->engine, run->model, run->batch, &run->net, e);
    if (!rc)
        rc = jpeg_encoder_create(&run->encoder, e);
    return rc ? rc : take_memory(run, e);
}

/* ---- files ---- */

/* What is said of a file that was written. */
struct written {
    struct target_file file;
    struct digest key, file_sha, core_sha;
    bool has_core;                  /* a JPEG has; a PNG has no such hash */
};

static enum err_code write_png(const struct recipe *recipe, const uint8_t *rgb,
                               struct written *written, struct err *e)
{
    struct recipe_text text = recipe_text(recipe);
    char xmp[MARK_XMP_MAX];
    uint8_t *file = NULL;
    size_t len;
    enum err_code rc;

    bool marked = recipe->mark != RECIPE_MARK_NONE;

    if (marked && !mark_xmp(&text, xmp, sizeof xmp))
        return err_set(e, ERR_BUG, "a recipe of %zu bytes does not fit into its mark", text.len);
    rc = png_encode(rgb, recipe->width, recipe->height, marked ? xmp : NULL, &file, &len, e);
    if (!rc) {
        written->file_sha = digest_of(file, len);
        rc = file_write_atomic(written->file.path, file, len, e);
    }
    free(file);
    return rc;
}

static enum err_code write_jpeg(const struct run *run, const struct recipe *recipe,
                                struct picture_source source, struct written *written,
                                struct err *e)
{
    struct picture picture;
    enum err_code rc = picture_encode(run->encoder, recipe, source, &picture, e);

    if (!rc)
        rc = picture_sign(run->signer, recipe, &picture, e);
    if (rc) {
        picture_release(&picture);
        return rc;
    }
    written->file_sha = picture.file_sha;
    written->core_sha = picture.core_sha;
    written->has_core = true;
    rc = file_write_atomic(written->file.path, picture.file, picture.len, e);
    picture_release(&picture);
    return rc;
}

static void print_written(const struct recipe *recipe, const struct written *written)
{
    cJSON *line = cJSON_CreateObject();

    cJSON_AddNumberToObject(line, "seed", recipe->seed);
    cJSON_AddStringToObject(line, "file", written->file.path);
    cJSON_AddStringToObject(line, "recipe_key", digest_hex(&written->key).text);
    cJSON_AddStringToObject(line, "file_sha256", digest_hex(&written->file_sha).text);
    if (written->has_core)
        cJSON_AddStringToObject(line, "core_sha256", digest_hex(&written->core_sha).text);
    else
        cJSON_AddNullToObject(line, "core_sha256");
    command_print(line);
}

static enum err_code write_picture(struct run *run, const struct recipe *recipe,
                                   struct picture_source source, struct err *e)
{
    const struct options *options = run->options;
    struct written written = { .key = recipe_key(recipe) };
    enum err_code rc;

    if (options->target.kind == TARGET_NONE)
        return ERR_OK;
    rc = target_file_of(&options->target, recipe->seed, &written.file, e);
    if (rc)
        return rc;
    rc = options->target.kind == TARGET_PNG
             ? write_png(recipe, source.rgb, &written, e)
             : write_jpeg(run, recipe, source, &written, e);
    if (!rc && run->ctx->json)
        print_written(recipe, &written);
    return rc;
}

static enum err_code write_dumps(const struct run *run, struct err *e)
{
    const struct model_facts *f = model_facts(run->model);
    const struct npy arrays[DUMP_COUNT] = {
        [DUMP_Z] = { NPY_FLOAT64, 1, { f->z_dim }, run->capture.z, 0 },
        [DUMP_WS] = { NPY_FLOAT32, 2, { f->num_ws, f->w_dim }, run->capture.ws, 0 },
        [DUMP_IMAGE] = { NPY_FLOAT32, 3, { 3, f->height, f->width }, run->capture.image, 0 },
        [DUMP_U8] = { NPY_UINT8, 3, { f->height, f->width, 3 }, run->output.memory, 0 },
    };
    enum err_code rc = ERR_OK;

    for (int k = 0; k < DUMP_COUNT && !rc; k++)
        if (run->options->dump[k])
            rc = npy_write(run->options->dump[k], &arrays[k], e);
    return rc;
}

/* ---- the run ---- */

/* Renders and writes the next seeds of the walk, as many as fit into one render. */
static enum err_code render_batch(struct run *run, struct seeds_walk *walk, struct err *e)
{
    struct sample samples[BATCH_MAX];
    struct recipe recipes[BATCH_MAX];
    int qualities[BATCH_MAX];
    enum err_code rc = ERR_OK;
    uint32_t seed;
    int count = 0;

    while (!rc && count < run->batch && seeds_next(&run->seeds, walk, &seed)) {
        rc = resolve(run, seed, &recipes[count], NULL, e);
        if (!rc) {
            samples[count] = sample_of_recipe(&recipes[count]);
            qualities[count] = recipes[count].quality;
            count++;
        }
    }
    if (!rc) {
        struct output_batch batch = { run->net, model_facts(run->model), samples, qualities,
                                      count };

        rc = output_render(&run->output, &batch, &run->capture, e);
    }
    for (int i = 0; i < count && !rc; i++) {
        rc = write_picture(run, &recipes[i], output_at(&run->output, (size_t)i), e);
        if (!rc)
            progress_show(&run->progress, ++run->done, clock_ms());
    }
    return rc;
}

static enum err_code render_all(struct run *run, struct err *e)
{
    struct seeds_walk walk = { 0 };
    enum err_code rc = ERR_OK;

    while (!rc && run->done < run->seeds.count) {
        if (*run->ctx->interrupted)
            return err_set(e, ERR_CANCELLED, "interrupted after %" PRIu64 " of %" PRIu32
                                             " pictures", run->done, run->seeds.count);
        rc = render_batch(run, &walk, e);
    }
    return rc ? rc : write_dumps(run, e);
}

static void print_summary(const struct run *run, int64_t elapsed_ms)
{
    const char *numerics = run->backend->numerics_class(run->engine);
    double seconds = (double)(elapsed_ms > 0 ? elapsed_ms : 1) / 1000;
    double rate = (double)run->done / seconds;

    if (run->ctx->json) {
        cJSON *line = cJSON_CreateObject();

        cJSON_AddNumberToObject(line, "images", (double)run->done);
        cJSON_AddNumberToObject(line, "seconds", seconds);
        cJSON_AddNumberToObject(line, "images_per_s", rate);
        cJSON_AddStringToObject(line, "numerics_class", numerics);
        cJSON_AddStringToObject(line, "encoder", jpeg_encoder_name());
        command_print(line);
        return;
    }
    printf("%" PRIu64 " picture%s", run->done, run->done == 1 ? "" : "s");
    if (run->options->target.kind != TARGET_NONE)
        printf(" in %s", run->options->target.path);
    printf(": %.2f s, %.1f images/s (%s; %s)\n", seconds, rate, numerics,
           run->backend->device(run->engine));
}

int cmd_render_run(const struct command_context *ctx, int argc, char **argv)
{
    struct options options;
    struct run run = { .ctx = ctx, .options = &options };
    struct err e;
    int64_t start_ms;
    int code = EXIT_OK;

    if (!read_options(ctx, argc, argv, &options, &run.seeds, &code))
        goto done;
    if (open_run(&run, &e)) {
        code = command_fail(ctx, &e);
        goto done;
    }
    start_ms = clock_ms();           /* the model is loaded: the rate is that of pictures */
    progress_init(&run.progress, stderr,
                  ctx->json ? PROGRESS_SILENT : progress_style_of(stderr), run.seeds.count,
                  start_ms);
    if (render_all(&run, &e)) {
        progress_end(&run.progress);
        code = command_fail(ctx, &e);
    } else {
        progress_end(&run.progress);
        print_summary(&run, clock_ms() - start_ms);
    }
done:
    close_run(&run);
    return code;
}
