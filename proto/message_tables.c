#include "proto/message.h"

#include <inttypes.h>
#include <stdio.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define NAME(word) word, sizeof word - 1
#define AT(record, member) .offset = offsetof(struct record, member)
#define TABLE(record, rows) { .fields = rows, .count = COUNT(rows), .size = sizeof(struct record) }

enum { ABSENT = -1 };
#define U32_MAX ((int64_t)UINT32_MAX)
#define BIG     ((int64_t)1 << 53)  /* the largest integer that every language can hold exactly */

static const char *const NOISE_WORDS[] = { "none", "const", "random", "stream" };
static const char *const MARK_WORDS[] = { "none", "xmp", "c2pa" };
static const char *const PRIORITY_WORDS[] = { "high", "normal", "low" };
static const char *const WANT_WORDS[] = { "image", "receipt" };
static const char *const CACHE_WORDS[] = { "use", "only", "bypass" };
static const char *const KEEP_WORDS[] = { "image", "provenance", "refill" };
static const char *const STATE_WORDS[] = { "running", "paused", "cancelled", "done" };
static const char *const ACTION_WORDS[] = { "pause", "resume", "cancel" };
static const char *const SOURCE_WORDS[] = { "render", "ledger", "memory" };

/* ---- client to broker ---- */

static const struct field GENERATE[] = {
    { NAME("model"), FIELD_TEXT, .required = true, .min = 1, .max = 160,
      AT(message_generate, model),
      .help = "a name (`cats`), name and digest (`cats@1a2b3c4d`), or a digest of 64 hex digits" },
    { NAME("seed"), FIELD_INT, .min = 0, .max = U32_MAX, .def = ABSENT, AT(message_generate, seed),
      .help = "one picture; either this or `seeds`" },
    { NAME("seeds"), FIELD_SEEDS, .min = 0, .max = U32_MAX, .most = MESSAGE_SEEDS_MAX,
      AT(message_generate, seeds),
      .help = "several pictures: a list, or the map `{first, last}`; DEALER only" },
    { NAME("psi"), FIELD_DECIMAL, .min = -RECIPE_PSI_MAX, .max = RECIPE_PSI_MAX, .def = 1000000,
      AT(message_generate, psi), .help = "truncation strength, at most six decimal places" },
    { NAME("cutoff"), FIELD_INT, .min = 0, .max = RECIPE_WS_MAX, .def = ABSENT,
      AT(message_generate, cutoff), .help = "rows of w that truncation reaches; all when absent" },
    { NAME("class"), FIELD_INT, .min = 0, .max = RECIPE_CLASS_MAX, .def = ABSENT,
      AT(message_generate, class_index), .help = "required by conditional models" },
    { NAME("noise_mode"), FIELD_WORD, .max = 3, .def = ABSENT, .words = NOISE_WORDS,
      AT(message_generate, noise_mode), .help = "`const` when absent and the model has noise" },
    { NAME("noise_seed"), FIELD_INT, .min = 0, .max = U32_MAX, .def = ABSENT,
      AT(message_generate, noise_seed), .help = "with `noise_mode` `random`" },
    { NAME("translate"), FIELD_DECIMALS, .min = -RECIPE_SHIFT_MAX, .max = RECIPE_SHIFT_MAX,
      .most = 2,
      AT(message_generate, translate),
      .help = "StyleGAN 3: shift by x and y, in widths and heights of the picture" },
    { NAME("rotate"), FIELD_DECIMAL, .min = -RECIPE_SHIFT_MAX, .max = RECIPE_SHIFT_MAX,
      .def = INT64_MIN, AT(message_generate, rotate), .help = "StyleGAN 3: turn by degrees" },
    { NAME("transform"), FIELD_FLOATS, .most = 9, AT(message_generate, transform),
      .help = "StyleGAN 3: the 3x3 matrix `synthesis.input.transform`, row by row; without "
              "`translate` and `rotate`" },
    { NAME("quality"), FIELD_INT, .min = 1, .max = 100, .def = 90, AT(message_generate, quality),
      .help = "of the JPEG" },
    { NAME("mark"), FIELD_WORD, .max = 2, .def = ABSENT, .words = MARK_WORDS,
      AT(message_generate, mark),
      .help = "metadata inside the file; `xmp` when absent" },
    { NAME("rev"), FIELD_INT, .min = 0, .max = U32_MAX, .def = 0, AT(message_generate, rev),
      .help = "raised by an operator who must make pictures anew" },
    { NAME("priority"), FIELD_WORD, .max = 2, .def = MESSAGE_NORMAL, .words = PRIORITY_WORDS,
      AT(message_generate, priority), .help = "bulk work is `low`" },
    { NAME("deadline_ms"), FIELD_INT, .min = 1, .max = 3600000, .def = 10000,
      AT(message_generate, deadline_ms), .help = "from arrival; the answer after it is an error" },
    { NAME("want"), FIELD_WORD, .max = 1, .def = MESSAGE_WANT_IMAGE, .words = WANT_WORDS,
      AT(message_generate, want), .help = "`receipt`: everything but the JPEG" },
    { NAME("cache"), FIELD_WORD, .max = 2, .def = MESSAGE_CACHE_USE, .words = CACHE_WORDS,
      AT(message_generate, cache),
      .help = "`only`: nothing is rendered; `bypass`: rendered even when stored (the stored "
              "picture still wins)" },
    { NAME("require_class"), FIELD_TEXT, .max = 63, AT(message_generate, require_class),
      .help = "numerics class that must have made the picture" },
    { NAME("trace"), FIELD_TEXT, .max = 64, AT(message_generate, trace),
      .help = "goes into the log" },
    { NAME("for"), FIELD_TEXT, .max = 64, AT(message_generate, on_behalf),
      .help = "from a proxy: whom it speaks for, who then takes turns and has bounds of his own" },
    { NAME("keep"), FIELD_WORD, .max = 2, .def = MESSAGE_KEEP_IMAGE, .words = KEEP_WORDS,
      AT(message_generate, keep),
      .help = "`provenance`: a new picture's file is not stored; `refill`: a file that its row has "
              "lost is put back" },
    { NAME("job"), FIELD_INT, .min = 0, .max = BIG, AT(message_generate, job),
      .help = "bulk job that it belongs to" },
};
static const struct field_table GENERATE_TABLE = TABLE(message_generate, GENERATE);

static const struct field CANCEL[] = {
    { NAME("request"), FIELD_INT, .required = true, .min = 0, .max = BIG,
      AT(message_cancel, request),
      .help = "`id` of the generate, which must come from the same socket" },
};
static const struct field_table CANCEL_TABLE = TABLE(message_cancel, CANCEL);

static const struct field LOOKUP[] = {
    { NAME("recipe_key"), FIELD_DIGEST, AT(message_lookup, recipe_key),
      .help = "SHA-256 of the recipe" },
    { NAME("sha256"), FIELD_DIGEST, AT(message_lookup, sha256), .help = "of the file" },
    { NAME("core_sha256"), FIELD_DIGEST, AT(message_lookup, core_sha256),
      .help = "of the JPEG without APPn and COM segments" },
    { NAME("model"), FIELD_TEXT, .max = 160, AT(message_lookup, model),
      .help = "with `seed` and `since`; any when absent" },
    { NAME("seed"), FIELD_INT, .min = 0, .max = U32_MAX, .def = ABSENT, AT(message_lookup, seed),
      .help = "exactly one of the three digests, `seed`, `job`, `since` and `like` is given" },
    { NAME("psi"), FIELD_DECIMAL, .min = -RECIPE_PSI_MAX, .max = RECIPE_PSI_MAX, .def = INT64_MIN,
      AT(message_lookup, psi), .help = "with `seed`; any when absent" },
    { NAME("job"), FIELD_INT, .min = 0, .max = BIG, AT(message_lookup, job),
      .help = "pictures of a bulk job, in its order" },
    { NAME("first"), FIELD_INT, .min = 0, .max = BIG, AT(message_lookup, first),
      .help = "with `job`: the first item" },
    { NAME("since"), FIELD_INT, .min = 0, .max = BIG, .def = ABSENT, AT(message_lookup, since),
      .help = "pictures stored from then on, seconds since 1970, of `model`" },
    { NAME("like"), FIELD_TEXT, .max = 16 * MESSAGE_LIKE_MAX, AT(message_lookup, like),
      .help = "perceptual hashes of 16 hex digits each: pictures that look alike, likeliest first" },
    { NAME("limit"), FIELD_INT, .min = 1, .max = 100, .def = 10, AT(message_lookup, limit),
      .help = "rows of the answer, newest first" },
};
static const struct field_table LOOKUP_TABLE = TABLE(message_lookup, LOOKUP);

static const struct field FETCH[] = {
    { NAME("recipe_key"), FIELD_DIGEST, AT(message_fetch, recipe_key), .help = "either this" },
    { NAME("sha256"), FIELD_DIGEST, AT(message_fetch, sha256), .help = "or the file's hash" },
};
static const struct field_table FETCH_TABLE = TABLE(message_fetch, FETCH);

static const struct field MODEL_USE[] = {
    { NAME("name"), FIELD_TEXT, .required = true, .min = 1, .max = RECIPE_NAME_MAX,
      AT(message_model_use, name), .help = "letters, digits, `.`, `_`, `-`" },
    { NAME("digest"), FIELD_TEXT, .required = true, .min = 4, .max = DIGEST_HEX_LEN,
      AT(message_model_use, digest), .help = "first hex digits of a known model's digest" },
};
static const struct field_table MODEL_USE_TABLE = TABLE(message_model_use, MODEL_USE);

static const struct field BULK_PART[] = {
    { NAME("model"), FIELD_TEXT, .required = true, .min = 1, .max = 160,
      AT(message_bulk_part, model), .help = "as in `generate`, as are those below" },
    { NAME("first"), FIELD_INT, .required = true, .min = 0, .max = U32_MAX,
      AT(message_bulk_part, first), .help = "seed" },
    { NAME("last"), FIELD_INT, .required = true, .min = 0, .max = U32_MAX,
      AT(message_bulk_part, last), .help = "seed, not below `first`" },
    { NAME("psi"), FIELD_DECIMAL, .min = -RECIPE_PSI_MAX, .max = RECIPE_PSI_MAX, .def = 1000000,
      AT(message_bulk_part, psi), .help = "truncation strength" },
    { NAME("cutoff"), FIELD_INT, .min = 0, .max = RECIPE_WS_MAX, .def = ABSENT,
      AT(message_bulk_part, cutoff), .help = "rows of w that truncation reaches" },
    { NAME("class"), FIELD_INT, .min = 0, .max = RECIPE_CLASS_MAX, .def = ABSENT,
      AT(message_bulk_part, class_index), .help = "one for all seeds" },
    { NAME("class_mod"), FIELD_INT, .min = 0, .max = RECIPE_CLASS_MAX + 1,
      AT(message_bulk_part, class_mod), .help = "or the class is seed modulo this" },
    { NAME("noise_mode"), FIELD_WORD, .max = 3, .def = ABSENT, .words = NOISE_WORDS,
      AT(message_bulk_part, noise_mode), .help = "`const` when absent and the model has noise" },
    { NAME("noise_seed"), FIELD_INT, .min = 0, .max = U32_MAX, .def = ABSENT,
      AT(message_bulk_part, noise_seed), .help = "with `noise_mode` `random`" },
    { NAME("translate"), FIELD_DECIMALS, .min = -RECIPE_SHIFT_MAX, .max = RECIPE_SHIFT_MAX,
      .most = 2, AT(message_bulk_part, translate), .help = "StyleGAN 3" },
    { NAME("rotate"), FIELD_DECIMAL, .min = -RECIPE_SHIFT_MAX, .max = RECIPE_SHIFT_MAX,
      .def = INT64_MIN, AT(message_bulk_part, rotate), .help = "StyleGAN 3" },
    { NAME("transform"), FIELD_FLOATS, .most = 9, AT(message_bulk_part, transform),
      .help = "StyleGAN 3" },
    { NAME("quality"), FIELD_INT, .min = 1, .max = 100, .def = 90, AT(message_bulk_part, quality),
      .help = "of the JPEG" },
    { NAME("mark"), FIELD_WORD, .max = 2, .def = ABSENT, .words = MARK_WORDS,
      AT(message_bulk_part, mark), .help = "`xmp` when absent" },
    { NAME("rev"), FIELD_INT, .min = 0, .max = U32_MAX, .def = 0, AT(message_bulk_part, rev),
      .help = "raised by an operator who must make pictures anew" },
};
static const struct field_table BULK_PART_TABLE = TABLE(message_bulk_part, BULK_PART);

static const struct field BULK_SUBMIT[] = {
    { NAME("name"), FIELD_TEXT, .required = true, .min = 1, .max = RECIPE_NAME_MAX,
      AT(message_bulk_submit, name),
      .help = "letters, digits, `.`, `_`, `-`; one job of a client" },
    { NAME("keep"), FIELD_WORD, .max = 1, .def = MESSAGE_KEEP_IMAGE, .words = KEEP_WORDS,
      AT(message_bulk_submit, keep),
      .help = "`provenance`: files go to an exporter only, rows stay" },
    { NAME("priority"), FIELD_WORD, .max = 2, .def = MESSAGE_LOW, .words = PRIORITY_WORDS,
      AT(message_bulk_submit, priority), .help = "of its pictures" },
    { NAME("chunk"), FIELD_INT, .min = 1, .max = 10000, .def = 1000,
      AT(message_bulk_submit, chunk), .help = "items that a broker leases at once" },
    { NAME("dry"), FIELD_FLAG, AT(message_bulk_submit, dry),
      .help = "only say what it would be; the answer's `job` is 0" },
    { NAME("parts"), FIELD_RECORDS, .required = true, .most = MESSAGE_PARTS_MAX,
      .sub = &BULK_PART_TABLE, AT(message_bulk_submit, parts),
      .help = "its items, counted through them in this order" },
};
static const struct field_table BULK_SUBMIT_TABLE = TABLE(message_bulk_submit, BULK_SUBMIT);

static const struct field BULK_LIST[] = {
    { NAME("job"), FIELD_INT, .min = 0, .max = BIG, AT(message_bulk_list, job),
      .help = "this one only" },
    { NAME("name"), FIELD_TEXT, .max = RECIPE_NAME_MAX, AT(message_bulk_list, name),
      .help = "those of this name only" },
    { NAME("limit"), FIELD_INT, .min = 1, .max = 100, .def = 20, AT(message_bulk_list, limit),
      .help = "jobs of the answer, newest first" },
};
static const struct field_table BULK_LIST_TABLE = TABLE(message_bulk_list, BULK_LIST);

static const struct field BULK_SHOW[] = {
    { NAME("job"), FIELD_INT, .required = true, .min = 1, .max = BIG, AT(message_bulk_show, job),
      .help = "which" },
    { NAME("after"), FIELD_INT, .min = 0, .max = BIG, .def = ABSENT, AT(message_bulk_show, after),
      .help = "failures of later items than this one" },
};
static const struct field_table BULK_SHOW_TABLE = TABLE(message_bulk_show, BULK_SHOW);

static const struct field BULK_CONTROL[] = {
    { NAME("job"), FIELD_INT, .required = true, .min = 1, .max = BIG, AT(message_bulk_control, job),
      .help = "which; the submitter's own, or with the role admin anybody's" },
    { NAME("action"), FIELD_WORD, .required = true, .max = 2, .words = ACTION_WORDS,
      AT(message_bulk_control, action),
      .help = "`resume` also tries failed items of a job that is done again" },
};
static const struct field_table BULK_CONTROL_TABLE = TABLE(message_bulk_control, BULK_CONTROL);

static const struct field BULK_EXPORTED[] = {
    { NAME("job"), FIELD_INT, .required = true, .min = 1, .max = BIG,
      AT(message_bulk_exported, job), .help = "which, with `keep` `provenance`" },
    { NAME("first"), FIELD_INT, .min = 0, .max = BIG, AT(message_bulk_exported, first),
      .help = "item" },
    { NAME("count"), FIELD_INT, .min = 0, .max = 100000, AT(message_bulk_exported, count),
      .help = "items that are safe on the exporter's disk; 0: only a sign of life" },
};
static const struct field_table BULK_EXPORTED_TABLE = TABLE(message_bulk_exported, BULK_EXPORTED);

static const struct field WITHDRAW[] = {
    { NAME("recipe_key"), FIELD_DIGEST, AT(message_withdraw, recipe_key), .help = "either this" },
    { NAME("sha256"), FIELD_DIGEST, AT(message_withdraw, sha256), .help = "or a file's hash" },
    { NAME("reason"), FIELD_TEXT, .required = true, .min = 1, .max = 200,
      AT(message_withdraw, reason), .help = "stays in the ledger" },
};
static const struct field_table WITHDRAW_TABLE = TABLE(message_withdraw, WITHDRAW);

static const struct field_table EMPTY_TABLE = { .fields = NULL, .count = 0,
                                                .size = sizeof(struct message_empty) };

/* ---- broker to client ---- */

static const struct field IMAGE[] = {
    { NAME("seed"), FIELD_INT, .required = true, .min = 0, .max = U32_MAX, AT(message_image, seed),
      .help = "the picture asked for" },
    { NAME("psi"), FIELD_DECIMAL, .required = true, .min = -RECIPE_PSI_MAX, .max = RECIPE_PSI_MAX,
      AT(message_image, psi), .help = "as asked" },
    { NAME("model"), FIELD_DIGEST, .required = true, AT(message_image, model), .help = "digest" },
    { NAME("recipe_key"), FIELD_DIGEST, .required = true, AT(message_image, recipe_key),
      .help = "SHA-256 of `recipe`" },
    { NAME("sha256"), FIELD_DIGEST, .required = true, AT(message_image, sha256),
      .help = "of the file" },
    { NAME("core_sha256"), FIELD_DIGEST, .required = true, AT(message_image, core_sha256),
      .help = "of the file without APPn and COM segments" },
    { NAME("recipe"), FIELD_TEXT, .required = true, .min = 1, .max = RECIPE_TEXT_MAX - 1,
      AT(message_image, recipe), .help = "the recipe's text" },
    { NAME("numerics_class"), FIELD_TEXT, .required = true, .max = 63,
      AT(message_image, numerics_class),
      .help = "the arithmetic that made the pixels" },
    { NAME("encoder"), FIELD_TEXT, .required = true, .max = 63, AT(message_image, encoder),
      .help = "what made the JPEG of the pixels" },
    { NAME("run"), FIELD_INT, .min = 0, .max = BIG, AT(message_image, run),
      .help = "the worker's start in the ledger" },
    { NAME("bytes"), FIELD_INT, .min = 0, .max = MESSAGE_IMAGE_MAX, AT(message_image, bytes),
      .help = "length of the file" },
    { NAME("source"), FIELD_WORD, .required = true, .max = 2, .words = SOURCE_WORDS,
      AT(message_image, source),
      .help = "`ledger`, `memory`: nothing was rendered for this answer" },
    { NAME("queue_ms"), FIELD_INT, .min = 0, .max = BIG, AT(message_image, queue_ms),
      .help = "from arrival to dispatch" },
    { NAME("render_ms"), FIELD_INT, .min = 0, .max = BIG, AT(message_image, render_ms),
      .help = "of the whole batch" },
    { NAME("encode_ms"), FIELD_INT, .min = 0, .max = BIG, AT(message_image, encode_ms),
      .help = "of this picture" },
    { NAME("store_ms"), FIELD_INT, .min = 0, .max = BIG, AT(message_image, store_ms),
      .help = "of the transaction" },
    { NAME("batch"), FIELD_INT, .min = 0, .max = 4096, AT(message_image, batch),
      .help = "pictures rendered together" },
    { NAME("warning"), FIELD_TEXT, .max = 160, AT(message_image, warning),
      .help = "something asked for had no effect" },
    { NAME("rendered_sha256"), FIELD_DIGEST, AT(message_image, rendered_sha256),
      .help = "of what was rendered for this, where a picture was stored before" },
    { NAME("rendered_core_sha256"), FIELD_DIGEST,
      AT(message_image, rendered_core_sha256),
      .help = "of that file without APPn and COM segments" },
    { NAME("rendered_class"), FIELD_TEXT, .max = 63, AT(message_image, rendered_class),
      .help = "the arithmetic that did it" },
    { NAME("rendered_run"), FIELD_INT, .min = 0, .max = BIG, AT(message_image, rendered_run),
      .help = "the start of the worker that did it" },
    { NAME("rendered_levels"), FIELD_INT, .min = 0, .max = 255, .def = ABSENT,
      AT(message_image, rendered_levels),
      .help = "largest difference of its pixels from the stored ones; absent: not compared" },
    { NAME("rendered_psnr"), FIELD_DECIMAL, .min = 0, .max = 99000000, .def = INT64_MIN,
      AT(message_image, rendered_psnr), .help = "of its pixels against the stored ones, in dB" },
};
static const struct field_table IMAGE_TABLE = TABLE(message_image, IMAGE);

static const struct field ERROR[] = {
    { NAME("code"), FIELD_TEXT, .required = true, .min = 1, .max = 32, AT(message_error, code),
      .help = "a word of the table of errors" },
    { NAME("message"), FIELD_TEXT, .max = 256, AT(message_error, message), .help = "for a person" },
    { NAME("retry"), FIELD_FLAG, AT(message_error, retry),
      .help = "the same request may succeed later" },
    { NAME("retry_after_ms"), FIELD_INT, .min = 0, .max = 3600000,
      AT(message_error, retry_after_ms),
      .help = "do not ask again before; 0: no advice" },
    { NAME("seed"), FIELD_INT, .min = 0, .max = U32_MAX, .def = ABSENT, AT(message_error, seed),
      .help = "which of several pictures; absent: the request as a whole" },
};
static const struct field_table ERROR_TABLE = TABLE(message_error, ERROR);

static const struct field DONE[] = {
    { NAME("count"), FIELD_INT, .min = 0, .max = BIG, AT(message_done, count),
      .help = "pictures answered; requests cancelled" },
    { NAME("failed"), FIELD_INT, .min = 0, .max = BIG, AT(message_done, failed),
      .help = "errors among them" },
};
static const struct field_table DONE_TABLE = TABLE(message_done, DONE);

static const struct field ROW[] = {
    { NAME("recipe_key"), FIELD_DIGEST, .required = true, AT(message_row, recipe_key),
      .help = "SHA-256 of `recipe`" },
    { NAME("sha256"), FIELD_DIGEST, .required = true, AT(message_row, sha256),
      .help = "of the file" },
    { NAME("core_sha256"), FIELD_DIGEST, .required = true, AT(message_row, core_sha256),
      .help = "of the file without APPn and COM segments" },
    { NAME("recipe"), FIELD_TEXT, .required = true, .min = 1, .max = RECIPE_TEXT_MAX - 1,
      AT(message_row, recipe), .help = "the recipe's text" },
    { NAME("model"), FIELD_TEXT, .max = RECIPE_NAME_MAX, AT(message_row, model),
      .help = "a name bound to the model now" },
    { NAME("numerics_class"), FIELD_TEXT, .max = 63, AT(message_row, numerics_class),
      .help = "the arithmetic that made the pixels" },
    { NAME("encoder"), FIELD_TEXT, .max = 63, AT(message_row, encoder),
      .help = "what made the JPEG" },
    { NAME("run"), FIELD_INT, .min = 0, .max = BIG, AT(message_row, run),
      .help = "the worker's start in the ledger" },
    { NAME("batch"), FIELD_INT, .min = 0, .max = 4096, AT(message_row, batch),
      .help = "pictures rendered together" },
    { NAME("bytes"), FIELD_INT, .min = 0, .max = MESSAGE_IMAGE_MAX, AT(message_row, bytes),
      .help = "length of the file" },
    { NAME("kept"), FIELD_FLAG, AT(message_row, kept), .help = "`fetch` would give the bytes" },
    { NAME("withdrawn"), FIELD_FLAG, AT(message_row, withdrawn),
      .help = "never answered with bytes again" },
    { NAME("created"), FIELD_TEXT, .max = 40, AT(message_row, created), .help = "ISO 8601, UTC" },
    { NAME("worker"), FIELD_TEXT, .max = 127, AT(message_row, worker),
      .help = "host, process, start" },
    { NAME("version"), FIELD_TEXT, .max = 63, AT(message_row, version), .help = "of seedpress" },
    { NAME("backend"), FIELD_TEXT, .max = 31, AT(message_row, backend), .help = "`cpu` or `cuda`" },
    { NAME("device"), FIELD_TEXT, .max = 127, AT(message_row, device), .help = "the processor" },
    { NAME("driver"), FIELD_TEXT, .max = 63, AT(message_row, driver), .help = "of the device" },
    { NAME("libraries"), FIELD_TEXT, .max = 159, AT(message_row, libraries),
      .help = "and their versions" },
    { NAME("job"), FIELD_INT, .min = 0, .max = BIG, AT(message_row, job),
      .help = "bulk job that had it made" },
    { NAME("distance"), FIELD_INT, .min = 0, .max = 64, .def = ABSENT, AT(message_row, distance),
      .help = "to a `lookup` by `like`: bits that differ" },
};
static const struct field_table ROW_TABLE = TABLE(message_row, ROW);

static const struct field PROVENANCE[] = {
    { NAME("rows"), FIELD_RECORDS, .most = 100, .sub = &ROW_TABLE, AT(message_provenance, rows),
      .help = "newest first; empty when nothing is known" },
};
static const struct field_table PROVENANCE_TABLE = TABLE(message_provenance, PROVENANCE);

static const struct field MODEL[] = {
    { NAME("name"), FIELD_TEXT, .max = RECIPE_NAME_MAX, AT(message_model, name),
      .help = "bound in the ledger, or the name of its file" },
    { NAME("digest"), FIELD_DIGEST, .required = true, AT(message_model, digest),
      .help = "over tensors and architecture" },
    { NAME("arch"), FIELD_TEXT, .max = 32, AT(message_model, arch), .help = "`stylegan2`" },
    { NAME("licence"), FIELD_TEXT, .max = 128, AT(message_model, licence),
      .help = "of the weights" },
    { NAME("width"), FIELD_INT, .min = 0, .max = RECIPE_SIZE_MAX, AT(message_model, width),
      .help = "pixels" },
    { NAME("height"), FIELD_INT, .min = 0, .max = RECIPE_SIZE_MAX, AT(message_model, height),
      .help = "pixels" },
    { NAME("num_ws"), FIELD_INT, .min = 0, .max = RECIPE_WS_MAX, AT(message_model, num_ws),
      .help = "rows of w" },
    { NAME("z_dim"), FIELD_INT, .min = 0, .max = 65536, AT(message_model, z_dim),
      .help = "length of z" },
    { NAME("w_dim"), FIELD_INT, .min = 0, .max = 65536, AT(message_model, w_dim),
      .help = "length of a row of w" },
    { NAME("c_dim"), FIELD_INT, .min = 0, .max = RECIPE_CLASS_MAX + 1, AT(message_model, c_dim),
      .help = "classes; 0 = unconditional" },
    { NAME("noise_modes"), FIELD_INT, .min = 0, .max = 15, .def = 1, AT(message_model, noise_modes),
      .help = "bits: 1 none, 2 const, 4 random, 8 stream" },
    { NAME("has_transform"), FIELD_FLAG, AT(message_model, has_transform), .help = "StyleGAN 3" },
    { NAME("bound"), FIELD_FLAG, AT(message_model, bound),
      .help = "`model_list`: the ledger binds the name to this digest" },
    { NAME("workers"), FIELD_INT, .min = 0, .max = BIG, AT(message_model, workers),
      .help = "`model_list`: live workers that have it" },
};
static const struct field_table MODEL_TABLE = TABLE(message_model, MODEL);

static const struct field MODEL_LIST[] = {
    { NAME("models"), FIELD_RECORDS, .most = MESSAGE_MODELS_MAX, .sub = &MODEL_TABLE,
      AT(message_model_list, models), .help = "all that the broker has heard of" },
};
static const struct field_table MODEL_LIST_TABLE = TABLE(message_model_list, MODEL_LIST);

static const struct field WORKER[] = {
    { NAME("worker"), FIELD_TEXT, .max = 127, AT(message_worker, worker),
      .help = "host, process, start" },
    { NAME("numerics_class"), FIELD_TEXT, .max = 63, AT(message_worker, numerics_class),
      .help = "the arithmetic that it does" },
    { NAME("device"), FIELD_TEXT, .max = 127, AT(message_worker, device), .help = "its processor" },
    { NAME("run"), FIELD_INT, .min = 0, .max = BIG, AT(message_worker, run),
      .help = "its start in the ledger" },
    { NAME("credit"), FIELD_INT, .min = 0, .max = 4096, AT(message_worker, credit),
      .help = "leases that it takes" },
    { NAME("leased"), FIELD_INT, .min = 0, .max = 4096, AT(message_worker, leased),
      .help = "leases that it has" },
    { NAME("rendered"), FIELD_INT, .min = 0, .max = BIG, AT(message_worker, rendered),
      .help = "pictures since its start" },
    { NAME("backlog_ms"), FIELD_INT, .min = 0, .max = BIG, AT(message_worker, backlog_ms),
      .help = "work before a new picture" },
    { NAME("silent_ms"), FIELD_INT, .min = 0, .max = BIG, AT(message_worker, silent_ms),
      .help = "since its last message" },
    { NAME("draining"), FIELD_FLAG, AT(message_worker, draining), .help = "it takes nothing new" },
};
static const struct field_table WORKER_TABLE = TABLE(message_worker, WORKER);

static const struct field STATUS_REPORT[] = {
    { NAME("version"), FIELD_TEXT, .max = 63, AT(message_status_report, version),
      .help = "of seedpress" },
    { NAME("uptime_ms"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, uptime_ms),
      .help = "since the broker's start" },
    { NAME("ledger_up"), FIELD_FLAG, AT(message_status_report, ledger_up),
      .help = "the broker reaches the ledger" },
    { NAME("draining"), FIELD_FLAG, AT(message_status_report, draining),
      .help = "the broker takes nothing new" },
    { NAME("looking_up"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, looking_up),
      .help = "renders, by state" },
    { NAME("queued_high"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, queued_high),
      .help = "requests in the queue, by priority" },
    { NAME("queued_normal"), FIELD_INT, .min = 0, .max = BIG,
      AT(message_status_report, queued_normal),
      .help = "as above" },
    { NAME("queued_low"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, queued_low),
      .help = "as above" },
    { NAME("held"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, held),
      .help = "renders leased and not started" },
    { NAME("rendering"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, rendering),
      .help = "renders under way" },
    { NAME("committing"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, committing),
      .help = "renders on their way to the ledger" },
    { NAME("waiters"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, waiters),
      .help = "pictures asked for and not yet answered" },
    { NAME("submitted"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, submitted),
      .help = "pictures asked for since the start" },
    { NAME("answered"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, answered),
      .help = "with a picture" },
    { NAME("failed"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, failed),
      .help = "with an error" },
    { NAME("cancelled"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, cancelled),
      .help = "by the client, or because it left" },
    { NAME("joined"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, joined),
      .help = "requests that shared a render in flight" },
    { NAME("ledger_hits"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, ledger_hits),
      .help = "answered from the ledger, nothing rendered" },
    { NAME("retried"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, retried),
      .help = "renders given to another worker" },
    { NAME("late"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, late),
      .help = "results of leases that had ended" },
    { NAME("memory_hits"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, memory_hits),
      .help = "answered from the memory cache, nothing rendered" },
    { NAME("memory_bytes"), FIELD_INT, .min = 0, .max = BIG,
      AT(message_status_report, memory_bytes),
      .help = "of pictures in the memory cache" },
    { NAME("refused"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, refused),
      .help = "pictures refused at once, by a bound or because they would be late" },
    { NAME("expired"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, expired),
      .help = "pictures whose deadline came first" },
    { NAME("poison"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, poison),
      .help = "renders given up after failing on every attempt" },
    { NAME("workers_lost"), FIELD_INT, .min = 0, .max = BIG,
      AT(message_status_report, workers_lost),
      .help = "workers that died, fell silent or hung" },
    { NAME("clients"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, clients),
      .help = "connections that ask" },
    { NAME("clients_dropped"), FIELD_INT, .min = 0, .max = BIG,
      AT(message_status_report, clients_dropped),
      .help = "that did not read their answers" },
    { NAME("denied"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, denied),
      .help = "messages and connections that were not allowed" },
    { NAME("malformed"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, malformed),
      .help = "messages that could not be read" },
    { NAME("oldest_ms"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, oldest_ms),
      .help = "how long the oldest queued picture has waited" },
    { NAME("wait_p50_ms"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, wait_p50_ms),
      .help = "from arrival to dispatch, of the last minute: the median" },
    { NAME("wait_p99_ms"), FIELD_INT, .min = 0, .max = BIG, AT(message_status_report, wait_p99_ms),
      .help = "as above: one in a hundred waited longer" },
    { NAME("workers"), FIELD_RECORDS, .most = 1024, .sub = &WORKER_TABLE,
      AT(message_status_report, workers), .help = "those that are alive" },
};
static const struct field_table STATUS_REPORT_TABLE = TABLE(message_status_report, STATUS_REPORT);

static const struct field BULK_JOB[] = {
    { NAME("job"), FIELD_INT, .min = 0, .max = BIG, AT(message_bulk_job, job),
      .help = "its number; 0: it was only tried" },
    { NAME("name"), FIELD_TEXT, .max = RECIPE_NAME_MAX, AT(message_bulk_job, name),
      .help = "the submitter's" },
    { NAME("state"), FIELD_WORD, .required = true, .max = 3, .words = STATE_WORDS,
      AT(message_bulk_job, state), .help = "`done`: every item has its row or its failure" },
    { NAME("keep"), FIELD_WORD, .max = 1, .def = MESSAGE_KEEP_IMAGE, .words = KEEP_WORDS,
      AT(message_bulk_job, keep), .help = "as submitted" },
    { NAME("priority"), FIELD_WORD, .max = 2, .def = MESSAGE_LOW, .words = PRIORITY_WORDS,
      AT(message_bulk_job, priority), .help = "as submitted" },
    { NAME("chunk"), FIELD_INT, .min = 0, .max = 10000, AT(message_bulk_job, chunk),
      .help = "as submitted" },
    { NAME("total"), FIELD_INT, .min = 0, .max = BIG, AT(message_bulk_job, total),
      .help = "items" },
    { NAME("done"), FIELD_INT, .min = 0, .max = BIG, AT(message_bulk_job, done),
      .help = "items that have their row" },
    { NAME("failed"), FIELD_INT, .min = 0, .max = BIG, AT(message_bulk_job, failed),
      .help = "items that ended in an error" },
    { NAME("rendering"), FIELD_INT, .min = 0, .max = BIG, AT(message_bulk_job, rendering),
      .help = "items under lease and not yet counted" },
    { NAME("exporter_ms"), FIELD_INT, .min = 0, .max = BIG, .def = ABSENT,
      AT(message_bulk_job, exporter_ms), .help = "since an exporter was heard" },
    { NAME("picture_us"), FIELD_INT, .min = 0, .max = BIG, AT(message_bulk_job, picture_us),
      .help = "what one more takes, by what those who serve it took lately; 0: unknown" },
    { NAME("picture_bytes"), FIELD_INT, .min = 0, .max = BIG, AT(message_bulk_job, picture_bytes),
      .help = "mean of recent files of its first model; 0: unknown" },
    { NAME("created"), FIELD_TEXT, .max = 40, AT(message_bulk_job, created),
      .help = "ISO 8601, UTC" },
    { NAME("finished"), FIELD_TEXT, .max = 40, AT(message_bulk_job, finished),
      .help = "as above" },
};
static const struct field_table BULK_JOB_TABLE = TABLE(message_bulk_job, BULK_JOB);

static const struct field BULK_REPORT[] = {
    { NAME("jobs"), FIELD_RECORDS, .most = 100, .sub = &BULK_JOB_TABLE,
      AT(message_bulk_report, jobs), .help = "newest first" },
    { NAME("is_new"), FIELD_FLAG, AT(message_bulk_report, is_new),
      .help = "to `bulk_submit`: it was not there before" },
};
static const struct field_table BULK_REPORT_TABLE = TABLE(message_bulk_report, BULK_REPORT);

static const struct field BULK_RANGE[] = {
    { NAME("item"), FIELD_INT, .min = 0, .max = BIG, AT(message_bulk_range, item),
      .help = "number of its first one" },
    { NAME("first"), FIELD_INT, .min = 0, .max = U32_MAX, AT(message_bulk_range, first),
      .help = "seed" },
    { NAME("last"), FIELD_INT, .min = 0, .max = U32_MAX, AT(message_bulk_range, last),
      .help = "seed" },
    { NAME("class_mod"), FIELD_INT, .min = 0, .max = RECIPE_CLASS_MAX + 1,
      AT(message_bulk_range, class_mod), .help = "the class is seed modulo this; 0: the recipe's" },
    { NAME("recipe"), FIELD_TEXT, .required = true, .min = 1, .max = RECIPE_TEXT_MAX - 1,
      AT(message_bulk_range, recipe), .help = "of the first seed" },
};
static const struct field_table BULK_RANGE_TABLE = TABLE(message_bulk_range, BULK_RANGE);

static const struct field BULK_FAILURE[] = {
    { NAME("item"), FIELD_INT, .min = 0, .max = BIG, AT(message_bulk_failure, item),
      .help = "which" },
    { NAME("seed"), FIELD_INT, .min = 0, .max = U32_MAX, AT(message_bulk_failure, seed),
      .help = "its seed" },
    { NAME("code"), FIELD_TEXT, .max = 32, AT(message_bulk_failure, code),
      .help = "a word of the table of errors" },
    { NAME("message"), FIELD_TEXT, .max = 256, AT(message_bulk_failure, message),
      .help = "for a person" },
};
static const struct field_table BULK_FAILURE_TABLE = TABLE(message_bulk_failure, BULK_FAILURE);

static const struct field BULK_PLAN[] = {
    { NAME("jobs"), FIELD_RECORDS, .required = true, .most = 1, .sub = &BULK_JOB_TABLE,
      AT(message_bulk_plan, jobs), .help = "the job" },
    { NAME("parts"), FIELD_RECORDS, .required = true, .most = MESSAGE_PARTS_MAX,
      .sub = &BULK_RANGE_TABLE, AT(message_bulk_plan, parts), .help = "its items, in order" },
    { NAME("failures"), FIELD_RECORDS, .most = MESSAGE_FAILURES_MAX, .sub = &BULK_FAILURE_TABLE,
      AT(message_bulk_plan, failures), .help = "in order; ask for those after the last one" },
};
static const struct field_table BULK_PLAN_TABLE = TABLE(message_bulk_plan, BULK_PLAN);

static const struct field WITHDRAWAL[] = {
    { NAME("subject"), FIELD_DIGEST, .required = true, AT(message_withdrawal, subject),
      .help = "SHA-256 over model, latent and class: what is withdrawn" },
    { NAME("pictures"), FIELD_INT, .min = 0, .max = BIG, AT(message_withdrawal, pictures),
      .help = "rows of the subject" },
    { NAME("files"), FIELD_INT, .min = 0, .max = BIG, AT(message_withdrawal, files),
      .help = "files that were removed" },
    { NAME("rows"), FIELD_RECORDS, .most = 100, .sub = &ROW_TABLE, AT(message_withdrawal, rows),
      .help = "the newest of them" },
};
static const struct field_table WITHDRAWAL_TABLE = TABLE(message_withdrawal, WITHDRAWAL);

/* ---- worker to broker ---- */

static const struct field READY[] = {
    { NAME("worker"), FIELD_TEXT, .required = true, .min = 1, .max = 127, AT(message_ready, worker),
      .help = "host, process, start; unique" },
    { NAME("run"), FIELD_INT, .min = 0, .max = BIG, AT(message_ready, run),
      .help = "in the ledger" },
    { NAME("version"), FIELD_TEXT, .max = 63, AT(message_ready, version), .help = "of seedpress" },
    { NAME("numerics_class"), FIELD_TEXT, .required = true, .min = 1, .max = 63,
      AT(message_ready, numerics_class), .help = "the arithmetic that it does" },
    { NAME("encoder"), FIELD_TEXT, .max = 63, AT(message_ready, encoder),
      .help = "what makes its JPEGs" },
    { NAME("device"), FIELD_TEXT, .max = 127, AT(message_ready, device), .help = "its processor" },
    { NAME("credit"), FIELD_INT, .required = true, .min = 0, .max = 4096, AT(message_ready, credit),
      .help = "leases this broker may have out here" },
    { NAME("batch_max"), FIELD_INT, .min = 1, .max = 4096, .def = 1, AT(message_ready, batch_max),
      .help = "pictures rendered together at most" },
    { NAME("dummy"), FIELD_FLAG, AT(message_ready, dummy),
      .help = "makes bytes, not pictures: only brokers without a ledger take it, to be measured" },
    { NAME("models"), FIELD_RECORDS, .required = true, .most = MESSAGE_MODELS_MAX,
      .sub = &MODEL_TABLE,
      AT(message_ready, models), .help = "all that it can render" },
};
static const struct field_table READY_TABLE = TABLE(message_ready, READY);

static const struct field CREDIT[] = {
    { NAME("credit"), FIELD_INT, .required = true, .min = 0, .max = 4096,
      AT(message_credit, credit),
      .help = "leases this broker may have out here from now on" },
};
static const struct field_table CREDIT_TABLE = TABLE(message_credit, CREDIT);

static const struct field HEARTBEAT[] = {
    { NAME("credit"), FIELD_INT, .min = 0, .max = 4096, AT(message_heartbeat, credit),
      .help = "as in `credit`, so that a lost one does no harm" },
    { NAME("held"), FIELD_INT, .min = 0, .max = 4096, AT(message_heartbeat, held),
      .help = "leases of this broker here now" },
    { NAME("started"), FIELD_INT, .min = 0, .max = BIG, AT(message_heartbeat, started),
      .help = "pictures since the worker's start, by stage: the sums show progress" },
    { NAME("rendered"), FIELD_INT, .min = 0, .max = BIG, AT(message_heartbeat, rendered),
      .help = "as above" },
    { NAME("stored"), FIELD_INT, .min = 0, .max = BIG, AT(message_heartbeat, stored),
      .help = "as above" },
    { NAME("backlog_ms"), FIELD_INT, .min = 0, .max = BIG, AT(message_heartbeat, backlog_ms),
      .help = "work of all brokers before a new picture" },
    { NAME("ledger_up"), FIELD_FLAG, AT(message_heartbeat, ledger_up),
      .help = "the worker reaches the ledger" },
    { NAME("demand"), FIELD_INT, .min = 0, .max = BIG, AT(message_heartbeat, demand),
      .help = "from a broker: pictures queued that this worker could make" },
};
static const struct field_table HEARTBEAT_TABLE = TABLE(message_heartbeat, HEARTBEAT);

static const struct field LEASES[] = {
    { NAME("leases"), FIELD_NUMBERS, .required = true, .min = 1, .max = BIG, .most = 4096,
      AT(message_leases, leases), .help = "which" },
};
static const struct field_table LEASES_TABLE = TABLE(message_leases, LEASES);

static const struct field RESULT[] = {
    { NAME("lease"), FIELD_INT, .required = true, .min = 1, .max = BIG, AT(message_result, lease),
      .help = "which" },
    { NAME("recipe_key"), FIELD_DIGEST, .required = true, AT(message_result, recipe_key),
      .help = "must be the lease's" },
    { NAME("sha256"), FIELD_DIGEST, .required = true, AT(message_result, sha256),
      .help = "of the file that won" },
    { NAME("core_sha256"), FIELD_DIGEST, .required = true, AT(message_result, core_sha256),
      .help = "of that file without APPn and COM segments" },
    { NAME("numerics_class"), FIELD_TEXT, .required = true, .min = 1, .max = 63,
      AT(message_result, numerics_class), .help = "the winner's" },
    { NAME("encoder"), FIELD_TEXT, .required = true, .max = 63, AT(message_result, encoder),
      .help = "the winner's" },
    { NAME("run"), FIELD_INT, .min = 0, .max = BIG, AT(message_result, run),
      .help = "the winner's" },
    { NAME("render_us"), FIELD_INT, .min = 0, .max = BIG, AT(message_result, render_us),
      .help = "of the batch" },
    { NAME("encode_us"), FIELD_INT, .min = 0, .max = BIG, AT(message_result, encode_us),
      .help = "of this picture" },
    { NAME("store_us"), FIELD_INT, .min = 0, .max = BIG, AT(message_result, store_us),
      .help = "of the transaction" },
    { NAME("batch"), FIELD_INT, .min = 0, .max = 4096, AT(message_result, batch),
      .help = "pictures rendered together" },
    { NAME("bytes"), FIELD_INT, .required = true, .min = 1, .max = MESSAGE_IMAGE_MAX,
      AT(message_result, bytes), .help = "length of its file" },
    { NAME("want"), FIELD_WORD, .max = 1, .def = MESSAGE_WANT_IMAGE, .words = WANT_WORDS,
      AT(message_result, want), .help = "`receipt`: its file is not in the frame" },
    { NAME("rendered_sha256"), FIELD_DIGEST, AT(message_result, rendered_sha256),
      .help = "of what was rendered for this, where a picture was stored before" },
    { NAME("rendered_core_sha256"), FIELD_DIGEST,
      AT(message_result, rendered_core_sha256),
      .help = "of that file without APPn and COM segments" },
    { NAME("rendered_class"), FIELD_TEXT, .max = 63, AT(message_result, rendered_class),
      .help = "the arithmetic that did it" },
    { NAME("rendered_run"), FIELD_INT, .min = 0, .max = BIG, AT(message_result, rendered_run),
      .help = "the start of the worker that did it" },
    { NAME("rendered_levels"), FIELD_INT, .min = 0, .max = 255, .def = ABSENT,
      AT(message_result, rendered_levels),
      .help = "largest difference of its pixels from the stored ones; absent: not compared" },
    { NAME("rendered_psnr"), FIELD_DECIMAL, .min = 0, .max = 99000000, .def = INT64_MIN,
      AT(message_result, rendered_psnr), .help = "of its pixels against the stored ones, in dB" },
};
static const struct field_table RESULT_TABLE = TABLE(message_result, RESULT);

static const struct field RESULTS[] = {
    { NAME("results"), FIELD_RECORDS, .required = true, .most = MESSAGE_JOBS_MAX,
      .sub = &RESULT_TABLE,
      AT(message_results, results), .help = "in the order of their files" },
};
static const struct field_table RESULTS_TABLE = TABLE(message_results, RESULTS);

static const struct field FAIL[] = {
    { NAME("lease"), FIELD_INT, .required = true, .min = 1, .max = BIG, AT(message_fail, lease),
      .help = "which" },
    { NAME("code"), FIELD_TEXT, .required = true, .min = 1, .max = 32, AT(message_fail, code),
      .help = "a word of the table of errors; those with retry are tried again elsewhere" },
    { NAME("message"), FIELD_TEXT, .max = 256, AT(message_fail, message), .help = "for a person" },
};
static const struct field_table FAIL_TABLE = TABLE(message_fail, FAIL);

/* ---- broker to worker ---- */

static const struct field JOB[] = {
    { NAME("lease"), FIELD_INT, .required = true, .min = 1, .max = BIG, AT(message_job, lease),
      .help = "the broker's promise; unique within the broker's life" },
    { NAME("recipe"), FIELD_TEXT, .required = true, .min = 1, .max = RECIPE_TEXT_MAX - 1,
      AT(message_job, recipe), .help = "canonical text" },
    { NAME("priority"), FIELD_WORD, .max = 2, .def = MESSAGE_NORMAL, .words = PRIORITY_WORDS,
      AT(message_job, priority), .help = "the highest of those who wait" },
    { NAME("deadline_ms"), FIELD_INT, .min = 0, .max = 3600000, .def = 10000,
      AT(message_job, deadline_ms), .help = "from arrival at the worker" },
    { NAME("alone"), FIELD_FLAG, AT(message_job, alone),
      .help = "not to be batched: an attempt before this one died" },
    { NAME("want"), FIELD_WORD, .max = 1, .def = MESSAGE_WANT_IMAGE, .words = WANT_WORDS,
      AT(message_job, want), .help = "`receipt`: nobody waits for its file" },
    { NAME("keep"), FIELD_WORD, .max = 2, .def = MESSAGE_KEEP_IMAGE, .words = KEEP_WORDS,
      AT(message_job, keep), .help = "as in `generate`" },
    { NAME("bulk"), FIELD_INT, .min = 0, .max = BIG, AT(message_job, bulk),
      .help = "bulk job for its row" },
};
static const struct field_table JOB_TABLE = TABLE(message_job, JOB);

static const struct field JOBS[] = {
    { NAME("jobs"), FIELD_RECORDS, .required = true, .most = MESSAGE_JOBS_MAX, .sub = &JOB_TABLE,
      AT(message_jobs, jobs), .help = "transport, not a batch" },
};
static const struct field_table JOBS_TABLE = TABLE(message_jobs, JOBS);

static const struct message_info INFO[MESSAGE_TYPE_COUNT] = {
    [MESSAGE_GENERATE] = { "generate", MESSAGE_FROM_CLIENT, &GENERATE_TABLE, NULL,
                           "asks for one picture or several" },
    [MESSAGE_CANCEL] = { "cancel", MESSAGE_FROM_CLIENT, &CANCEL_TABLE, NULL,
                         "ends what is still waiting of a generate; answered by `done`" },
    [MESSAGE_LOOKUP] = { "lookup", MESSAGE_FROM_CLIENT, &LOOKUP_TABLE, NULL,
                         "asks what the ledger knows; answered by `provenance`" },
    [MESSAGE_FETCH] = { "fetch", MESSAGE_FROM_CLIENT, &FETCH_TABLE, NULL,
                        "asks for a stored file; answered by `image` or `error`" },
    [MESSAGE_MODELS] = { "models", MESSAGE_FROM_CLIENT, &EMPTY_TABLE, NULL,
                         "answered by `model_list`" },
    [MESSAGE_MODEL_USE] = { "model_use", MESSAGE_FROM_CLIENT, &MODEL_USE_TABLE, NULL,
                            "binds a name to a model for everybody; answered by `done`" },
    [MESSAGE_STATUS] = { "status", MESSAGE_FROM_CLIENT, &EMPTY_TABLE, NULL,
                         "answered by `status_report`" },
    [MESSAGE_BULK_SUBMIT] = { "bulk_submit", MESSAGE_FROM_CLIENT, &BULK_SUBMIT_TABLE, NULL,
                              "a durable job of many seeds; answered by `bulk_report`" },
    [MESSAGE_BULK_LIST] = { "bulk_list", MESSAGE_FROM_CLIENT, &BULK_LIST_TABLE, NULL,
                            "answered by `bulk_report`" },
    [MESSAGE_BULK_SHOW] = { "bulk_show", MESSAGE_FROM_CLIENT, &BULK_SHOW_TABLE, NULL,
                            "asks what a job is made of; answered by `bulk_plan`" },
    [MESSAGE_BULK_CONTROL] = { "bulk_control", MESSAGE_FROM_CLIENT, &BULK_CONTROL_TABLE, NULL,
                               "pauses, resumes, cancels; answered by `bulk_report`" },
    [MESSAGE_BULK_EXPORTED] = { "bulk_exported", MESSAGE_FROM_CLIENT, &BULK_EXPORTED_TABLE, NULL,
                                "an exporter has items safe on its disk; answered by `done`" },
    [MESSAGE_WITHDRAW] = { "withdraw", MESSAGE_FROM_CLIENT, &WITHDRAW_TABLE, NULL,
                           "takes a subject back for ever; answered by `withdrawal`" },
    [MESSAGE_PING] = { "ping", MESSAGE_FROM_CLIENT, &EMPTY_TABLE, NULL, "answered by `pong`" },
    [MESSAGE_IMAGE] = { "image", MESSAGE_FROM_BROKER, &IMAGE_TABLE, "the JPEG",
                        "one picture; the JPEG is the next frame" },
    [MESSAGE_RECEIPT] = { "receipt", MESSAGE_FROM_BROKER, &IMAGE_TABLE, NULL,
                          "an `image` without its JPEG" },
    [MESSAGE_ERROR] = { "error", MESSAGE_FROM_BROKER, &ERROR_TABLE, NULL,
                        "why there is no answer" },
    [MESSAGE_DONE] = { "done", MESSAGE_FROM_BROKER, &DONE_TABLE, NULL,
                       "after the last answer to `seeds`; answers `cancel` and `model_use`" },
    [MESSAGE_PROVENANCE] = { "provenance", MESSAGE_FROM_BROKER, &PROVENANCE_TABLE, NULL,
                             "answers `lookup`" },
    [MESSAGE_MODEL_LIST] = { "model_list", MESSAGE_FROM_BROKER, &MODEL_LIST_TABLE, NULL,
                             "answers `models`" },
    [MESSAGE_STATUS_REPORT] = { "status_report", MESSAGE_FROM_BROKER, &STATUS_REPORT_TABLE, NULL,
                                "answers `status`" },
    [MESSAGE_BULK_REPORT] = { "bulk_report", MESSAGE_FROM_BROKER, &BULK_REPORT_TABLE, NULL,
                              "how jobs stand" },
    [MESSAGE_BULK_PLAN] = { "bulk_plan", MESSAGE_FROM_BROKER, &BULK_PLAN_TABLE, NULL,
                            "answers `bulk_show`" },
    [MESSAGE_WITHDRAWAL] = { "withdrawal", MESSAGE_FROM_BROKER, &WITHDRAWAL_TABLE, NULL,
                             "answers `withdraw`" },
    [MESSAGE_PONG] = { "pong", MESSAGE_FROM_BROKER, &EMPTY_TABLE, NULL, "answers `ping`" },
    [MESSAGE_READY] = { "ready", MESSAGE_FROM_WORKER, &READY_TABLE, NULL,
                        "what a worker is and has; first message, and again after `introduce`" },
    [MESSAGE_CREDIT] = { "credit", MESSAGE_FROM_WORKER, &CREDIT_TABLE, NULL,
                         "a new bound on this broker's leases" },
    [MESSAGE_HEARTBEAT] = { "heartbeat", MESSAGE_FROM_WORKER | MESSAGE_FROM_BROKER,
                            &HEARTBEAT_TABLE, NULL, "every second, both ways" },
    [MESSAGE_STARTED] = { "started", MESSAGE_FROM_WORKER, &LEASES_TABLE, NULL,
                          "these are being rendered" },
    [MESSAGE_RENDERED] = { "rendered", MESSAGE_FROM_WORKER, &LEASES_TABLE, NULL,
                           "these have pixels and are on their way to the ledger" },
    [MESSAGE_RESULTS] = { "results", MESSAGE_FROM_WORKER, &RESULTS_TABLE,
                          "the JPEGs, one after the other",
                          "committed; the winners' JPEGs are the next frame" },
    [MESSAGE_FAIL] = { "fail", MESSAGE_FROM_WORKER, &FAIL_TABLE, NULL, "why there is no result" },
    [MESSAGE_HANDBACK] = { "handback", MESSAGE_FROM_WORKER, &LEASES_TABLE, NULL,
                           "these were not started and will not be" },
    [MESSAGE_BYE] = { "bye", MESSAGE_FROM_WORKER, &EMPTY_TABLE, NULL, "the worker leaves" },
    [MESSAGE_INTRODUCE] = { "introduce", MESSAGE_FROM_BROKER, &EMPTY_TABLE, NULL,
                            "this broker does not know you: send `ready`" },
    [MESSAGE_JOBS] = { "jobs", MESSAGE_FROM_BROKER, &JOBS_TABLE, NULL, "renders under lease" },
    [MESSAGE_RECALL] = { "recall", MESSAGE_FROM_BROKER, &LEASES_TABLE, NULL,
                         "hand these back if they have not started" },
    [MESSAGE_DRAIN] = { "drain", MESSAGE_FROM_BROKER, &EMPTY_TABLE, NULL,
                        "this broker is leaving: finish what it leased, expect nothing more" },
};

const struct message_info *message_info(enum message_type type)
{
    return &INFO[type];
}

const char *message_word(enum message_type type)
{
    return INFO[type].word;
}

/* ---- the page ---- */

static const char *kind_word(enum field_kind kind)
{
    static const char *const WORDS[] = { "int", "bool", "number", "word", "text", "digest",
                                         "list of int", "list of number", "list of float", "seeds",
                                         "list of maps" };

    return WORDS[kind];
}

static void describe_limits(const struct field *f, char *out, size_t cap)
{
    size_t len = 0;

    out[0] = '\0';
    switch (f->kind) {
    case FIELD_INT:
        snprintf(out, cap, "%" PRId64 "..%" PRId64, f->min, f->max);
        break;
    case FIELD_DECIMAL:
        snprintf(out, cap, "%" PRId64 "..%" PRId64, f->min / 1000000, f->max / 1000000);
        break;
    case FIELD_WORD:
        for (int64_t i = 0; i <= f->max && len < cap; i++)
            len += (size_t)snprintf(out + len, cap - len, "%s`%s`", i ? " " : "", f->words[i]);
        break;
    case FIELD_TEXT:
        snprintf(out, cap, "%" PRId64 "..%" PRId64 " bytes", f->min, f->max);
        break;
    case FIELD_DIGEST:
        snprintf(out, cap, "64 hex digits");
        break;
    case FIELD_NUMBERS:
    case FIELD_SEEDS:
        snprintf(out, cap, "at most %zu of %" PRId64 "..%" PRId64, f->most, f->min, f->max);
        break;
    case FIELD_DECIMALS:
        snprintf(out, cap, "%zu of %" PRId64 "..%" PRId64, f->most, f->min / 1000000,
                 f->max / 1000000);
        break;
    case FIELD_FLOATS:
        snprintf(out, cap, "%zu, finite", f->most);
        break;
    case FIELD_RECORDS:
        snprintf(out, cap, "at most %zu", f->most);
        break;
    case FIELD_FLAG:
        snprintf(out, cap, "true, false");
        break;
    }
}

static void describe_default(const struct field *f, char *out, size_t cap)
{
    if (f->required)
        snprintf(out, cap, "required");
    else if (f->kind == FIELD_FLAG)
        snprintf(out, cap, "false");
    else if (f->kind == FIELD_INT && f->def >= f->min)
        snprintf(out, cap, "%" PRId64, f->def);
    else if (f->kind == FIELD_WORD && f->def >= 0)
        snprintf(out, cap, "`%s`", f->words[f->def]);
    else if (f->kind == FIELD_DECIMAL && f->def != INT64_MIN)
        snprintf(out, cap, "%" PRId64, f->def / 1000000);
    else
        snprintf(out, cap, "-");
}

size_t message_describe(const struct field *field, char *out, size_t cap)
{
    char limits[160], absent[32];

    describe_limits(field, limits, sizeof limits);
    describe_default(field, absent, sizeof absent);
    int len = snprintf(out, cap, "| `%s` | %s | %s | %s | %s |", field->name,
                       kind_word(field->kind), limits, absent, field->help);
    return len < 0 ? 0 : (size_t)len < cap ? (size_t)len : cap - 1;
}
