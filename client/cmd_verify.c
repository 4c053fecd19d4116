/* verify -- a picture's recipe is rendered again, now, and the result compared with the picture:
 * by a worker through the broker, or here from a model file. */
#include "client/command.h"

#include "base/file.h"
#include "client/contact.h"
#include "client/image.h"
#include "client/offline.h"
#include "client/verdict.h"

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

struct options {
    const char *file, *model_file, *backend, *precision;
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

/* ---- the run ---- */

static int render_here(const struct command_context *ctx, struct verdict *verdict,
                       const struct options *options)
{
    struct offline offline = { .model_file = options->model_file,
                               .backend = options->backend ? options->backend : "auto" };
    struct picture picture;
    struct err e;

    if (options->precision && precision_of(options->precision, &offline.precision, &e))
        return command_usage(ctx, "verify", "%s", e.msg);
    if (offline_render(&offline, &verdict->recipe, &picture, verdict->new_class, &e))
        return command_fail(ctx, &e);
    verdict->new_sha = picture.file_sha;
    verdict->new_core = picture.core_sha;
    verdict->new_file = picture.file;
    verdict->new_len = picture.len;
    return EXIT_OK;
}

static void print_words(const struct verdict *verdict, const struct options *options)
{
    bool has_record = verdict->answer != VERDICT_NO_RECORD;

    printf("%-12s%s%s\n", "answer", verdict_answer_name(verdict->answer),
           has_record ? "" : " (which does not mean that a camera made it)");
    if (!has_record)
        return;
    if (verdict->run > 0)
        printf("%-12snow, by run %" PRId64 ", %s\n", "rendered", verdict->run, verdict->new_class);
    else
        printf("%-12snow, from %s, %s\n", "rendered", options->model_file, verdict->new_class);
    if (verdict->is_stored)
        printf("%-12sby %s\n", "stored", verdict->stored_class);
    if (verdict->has_off)
        printf("%-12s%d level%s at most, PSNR %.1f dB\n", "differs", verdict->off.max,
               verdict->off.max == 1 ? "" : "s", verdict->off.psnr_db);
    if (*verdict->note)
        printf("%-12s%s\n", "note", verdict->note);
    printf("%-12s%s\n", "file", digest_hex(&verdict->sha).text);
    if (verdict->has_core)
        printf("%-12s%s\n", "picture", digest_hex(&verdict->core).text);
    printf("%-12s%s\n", "new picture", digest_hex(&verdict->new_core).text);
    printf("%-12sfound %s\n", "recipe", verdict->found);
    for (const char *line = verdict->text.text; *line; ) {
        size_t len = strcspn(line, "\n");

        printf("%-12s%.*s\n", "", (int)len, line);
        line += len + (line[len] == '\n');
    }
}

static bool go_on(void *arg)
{
    const struct command_context *ctx = arg;

    return !*ctx->interrupted;
}

static int verify(const struct command_context *ctx, struct verdict *verdict,
                  struct seedpress *sp, const struct options *options)
{
    struct seedpress_error error;
    int code = EXIT_OK;

    if (verdict_find(verdict, sp, &error) ||
        (sp && verdict->found && verdict_render(verdict, sp, &error)))
        return contact_fail(ctx, &error);
    if (!sp && verdict->found)
        code = render_here(ctx, verdict, options);
    if (code)
        return code;
    verdict_conclude(verdict);
    if (ctx->json)
        command_print(verdict_object(verdict));
    else
        print_words(verdict, options);
    return verdict->answer <= VERDICT_TOLERABLE ? EXIT_OK : EXIT_NO;
}

int cmd_verify_run(const struct command_context *ctx, int argc, char **argv)
{
    struct verdict verdict;
    struct seedpress *sp = NULL;
    struct options options;
    uint8_t *file;
    size_t len;
    struct err e;
    int code;

    if (!read_options(ctx, argc, argv, &options, &code))
        return code;
    if (file_read(options.file, IMAGE_FILE_MAX, &file, &len, &e))
        return command_fail(ctx, &e);
    verdict_init(&verdict, file, len);
    verdict.go_on = go_on;
    verdict.arg = (void *)ctx;
    code = options.model_file ? EXIT_OK : contact_open(ctx, &sp);
    if (!code)
        code = verify(ctx, &verdict, sp, &options);
    seedpress_destroy(&sp);
    verdict_release(&verdict);
    free(file);
    return code;
}
