/* ledger check -- whether the ledger holds what it says. */
#include "client/upkeep.h"

#include "base/clock.h"
#include "client/image.h"
#include "sql/ledger_check.h"

#include <cjson/cJSON.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Of the files that are read, one in so many is decoded, unless all are asked for. */
enum { DECODE_ONE_IN = 20 };

#define FILES_PREFIX "files:"

struct options {
    const char *conninfo, *segments, *model;
    int64_t sample;
    bool decode;                    /* every file that is read */
    bool has_from, only_files;      /* only_files: the walk over pictures is over */
    struct digest from;
};

struct run {
    const struct command_context *ctx;
    bool decode;
    int64_t decoded;
    struct ledger_check check;
    struct progress progress;
};

/* ---- the command line ---- */

enum { OPT_SAMPLE = 256, OPT_DECODE, OPT_MODEL, OPT_FROM, OPT_SEGMENTS, OPT_LEDGER };

static const struct option OPTIONS[] = {
    { "sample", required_argument, NULL, OPT_SAMPLE },
    { "decode", no_argument, NULL, OPT_DECODE },
    { "model", required_argument, NULL, OPT_MODEL },
    { "from", required_argument, NULL, OPT_FROM },
    { "segments", required_argument, NULL, OPT_SEGMENTS },
    { "ledger", required_argument, NULL, OPT_LEDGER },
    { NULL, 0, NULL, 0 },
};

static enum err_code take_option(void *arg, int opt, struct err *e)
{
    struct options *out = arg;

    switch (opt) {
    case OPT_SAMPLE:
        return command_read_whole("--sample", optarg, 1, INT64_MAX, &out->sample, e);
    case OPT_DECODE:
        out->decode = true;
        return ERR_OK;
    case OPT_MODEL:
        out->model = optarg;
        return ERR_OK;
    case OPT_FROM:
        out->has_from = true;
        out->only_files = strncmp(optarg, FILES_PREFIX, strlen(FILES_PREFIX)) == 0;
        return upkeep_read_key("--from", optarg + (out->only_files ? strlen(FILES_PREFIX) : 0),
                               &out->from, e);
    case OPT_SEGMENTS:
        out->segments = optarg;
        return ERR_OK;
    default:
        out->conninfo = optarg;
        return ERR_OK;
    }
}

static bool read_options(const struct command_context *ctx, int argc, char **argv,
                         struct options *out, int *code)
{
    *out = (struct options){ .sample = 1 };
    command_read_options(ctx, argc, argv, OPTIONS, take_option, out, code);
    if (!*code && optind < argc)
        *code = command_usage(ctx, argv[0], "unexpected argument \"%.40s\"", argv[optind]);
    if (!*code && out->model && out->only_files)
        *code = command_usage(ctx, argv[0], "--from files: looks for files without a row, which "
                                            "are of no model");
    return *code == EXIT_OK;
}

/* ---- what is found ---- */

static void print_finding(void *arg, const struct ledger_finding *finding)
{
    struct run *self = arg;
    const char *word = ledger_fault_word(finding->fault);
    cJSON *line;

    if (!self->ctx->json) {
        progress_end(&self->progress);
        printf("%s %s %s\n", word, digest_hex(&finding->key).text, finding->words);
        return;
    }
    line = cJSON_CreateObject();
    cJSON_AddStringToObject(line, "finding", word);
    cJSON_AddStringToObject(line, "recipe_key", digest_hex(&finding->key).text);
    cJSON_AddStringToObject(line, "message", finding->words);
    command_print(line);
}

/* A file whose hashes are right, as a picture. */
static void decode(void *arg, const struct ledger_row *row)
{
    struct run *self = arg;
    struct ledger_finding finding = { .fault = LEDGER_UNREADABLE, .key = row->key };
    struct image image;
    struct err e;

    /* The last bytes: the first ones choose the sample of those that are read at all. */
    if (!self->decode && row->key.bytes[DIGEST_LEN - 1] % DECODE_ONE_IN != 0)
        return;
    self->decoded++;
    if (image_decode(row->data, row->len, &image, &e)) {
        snprintf(finding.words, sizeof finding.words, "its file is no picture: %s", e.msg);
    } else if (image.width != row->recipe.width || image.height != row->recipe.height) {
        snprintf(finding.words, sizeof finding.words, "its picture has %d x %d pixels and not "
                 "%d x %d", image.width, image.height, row->recipe.width, row->recipe.height);
        image_release(&image);
    } else {
        image_release(&image);
        return;
    }
    self->check.findings++;
    print_finding(self, &finding);
}

static void print_summary(const struct run *self)
{
    const struct ledger_check *c = &self->check;
    cJSON *line;

    if (!self->ctx->json) {
        printf("%" PRId64 " pictures: %" PRId64 " files read, %" PRId64 " of them decoded; "
               "%" PRId64 " files not kept, %" PRId64 " pictures withdrawn; ", c->pictures,
               c->files, self->decoded, c->not_kept, c->withdrawn);
        if (c->findings == 0)
            puts("nothing is wrong");
        else
            printf("%" PRId64 " finding%s\n", c->findings, c->findings == 1 ? "" : "s");
        return;
    }
    line = cJSON_CreateObject();
    cJSON_AddNumberToObject(line, "pictures", (double)c->pictures);
    cJSON_AddNumberToObject(line, "files", (double)c->files);
    cJSON_AddNumberToObject(line, "decoded", (double)self->decoded);
    cJSON_AddNumberToObject(line, "not_kept", (double)c->not_kept);
    cJSON_AddNumberToObject(line, "withdrawn", (double)c->withdrawn);
    cJSON_AddNumberToObject(line, "findings", (double)c->findings);
    command_print(line);
}

/* ---- the walks ---- */

/* Says where to go on, also after an error. */
static void tell_place(const struct run *self, bool in_files)
{
    char words[160];

    if (!self->check.has_after)
        return;
    snprintf(words, sizeof words, "stopped; to go on: seedpress ledger check --from %s%s",
             in_files ? FILES_PREFIX : "", digest_hex(&self->check.after).text);
    command_warn(self->ctx, words);
}

static int walk(struct run *self, struct ledger *ledger, bool in_files)
{
    struct digest first = self->check.has_after ? self->check.after : (struct digest){ { 0 } };
    struct err e;

    self->check.done = false;
    while (!self->check.done && !*self->ctx->interrupted) {
        if ((in_files ? ledger_check_files : ledger_check_pictures)(ledger, &self->check, &e)) {
            progress_end(&self->progress);
            tell_place(self, in_files);
            return command_fail(self->ctx, &e);
        }
        if (!in_files)
            upkeep_show(&self->progress, &first, &self->check.after, self->check.pictures);
    }
    progress_end(&self->progress);
    if (self->check.done)
        return EXIT_OK;
    tell_place(self, in_files);
    return err_info(ERR_CANCELLED)->exit_code;
}

int cmd_ledger_check_run(const struct command_context *ctx, int argc, char **argv)
{
    struct run self = { .ctx = ctx };
    struct ledger *ledger;
    struct options options;
    struct err e;
    int code;

    if (!read_options(ctx, argc, argv, &options, &code))
        return code;
    code = upkeep_open(ctx, options.conninfo, options.segments, &ledger);
    if (code)
        return code;
    self.decode = options.decode;
    self.check = (struct ledger_check){ .one_model = options.model, .sample = options.sample,
                                        .has_after = options.has_from, .after = options.from,
                                        .found = print_finding, .was_read = decode, .arg = &self };
    progress_init(&self.progress, stderr, ctx->json ? PROGRESS_SILENT : progress_style_of(stderr),
                  0, clock_ms());
    if (options.model && upkeep_model(ledger, options.model, &self.check.model, &e))
        code = command_fail(ctx, &e);
    if (!code && !options.only_files)
        code = walk(&self, ledger, false);
    if (!code && !options.model)
        code = walk(&self, ledger, true);
    ledger_close(&ledger);
    if (code)
        return code;
    print_summary(&self);
    return self.check.findings ? EXIT_NO : EXIT_OK;
}
