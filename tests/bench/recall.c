/* recall -- how surely an edited picture is found again, and how often another one is taken for it.
 *
 *     recall [ROWS] [QUERIES] [CANDIDATES]
 *
 * Renders ROWS avatars (seeds 0, 1, ...; psi 0.7) and hashes them as a worker does. QUERIES of them
 * are then edited in every way of the table, and looked for with the real hashes (base/likeness)
 * and the real comparison (client/compare); so are pictures of seeds that are no rows, as they are
 * and compressed. CANDIDATES of the nearest rows are rendered and compared. Prints for each edit:
 *     first, among   share of queries whose row is the nearest, is among the candidates
 *     confirmed      share of queries of which the right row was confirmed
 *     false          queries of which another row was confirmed
 *     p95, worst     how the right row's colours differ, in levels: of 19 in 20 at most, of all
 *     correlation    lowest with the right row
 *     others         how the colours of the next row that is not the right one differ, at least,
 *                    and the highest correlation with such a row
 * The candidates are those of the broker's index. */
#include "base/likeness.h"
#include "base/likeness_index.h"
#include "client/compare.h"
#include "client/image.h"
#include "kernels/backend.h"
#include "kernels/jpeg.h"
#include "kernels/model.h"
#include "proto/number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <webp/encode.h>

enum { BATCH = 32, SIDE = 64, BYTES = SIDE * SIDE * 3, K_MAX = 20, ROWS_MAX = 10000000 };
static const uint32_t STRANGERS = 3000000000u;  /* seeds from here on are no rows */

static _Noreturn void die(const char *words)
{
    fprintf(stderr, "recall: %s\n", words);
    exit(1);
}

/* ---- the engine ---- */

struct studio {
    struct model *model;
    struct engine *engine;
    struct net *net;
    struct jpeg_encoder *encoder;
};

static void studio_open(struct studio *self)
{
    struct backend_options options = { .drop_values = true };
    struct err e;

    if (model_open("deploy/models/avatars64.safetensors", &self->model, &e) ||
        backend_cpu.open(&options, &self->engine, &e) ||
        backend_cpu.load(self->engine, self->model, BATCH, &self->net, &e) ||
        jpeg_encoder_create(&self->encoder, &e))
        die(e.msg);
}

static void studio_close(struct studio *self)
{
    jpeg_encoder_destroy(&self->encoder);
    backend_cpu.unload(&self->net);
    backend_cpu.close(&self->engine);
    model_destroy(&self->model);
}

/* rgb [count, SIDE, SIDE, 3] of seeds from first on. */
static void render(struct studio *self, uint32_t first, int count, uint8_t *rgb)
{
    struct recipe_request request = RECIPE_REQUEST_DEFAULT;
    struct sample samples[BATCH];
    struct recipe recipe;
    struct err e;

    request.psi = 700000;
    for (int i = 0; i < count; i++) {
        request.seed = first + (uint32_t)i;
        if (recipe_resolve(&request, model_facts(self->model), &recipe, NULL, &e))
            die(e.msg);
        samples[i] = sample_of_recipe(&recipe);
    }
    if (backend_cpu.render(self->net, samples, count, rgb, NULL, &e))
        die(e.msg);
}

/* ---- edits ---- */

static struct image blank(int width, int height, uint8_t level)
{
    struct image image = { .width = width, .height = height };

    image.rgb = malloc((size_t)width * (size_t)height * 3);
    if (!image.rgb)
        die("no memory");
    memset(image.rgb, level, (size_t)width * (size_t)height * 3);
    return image;
}

static uint8_t *at(const struct image *image, int x, int y)
{
    return image->rgb + ((size_t)y * (size_t)image->width + (size_t)x) * 3;
}

static struct image as_jpeg(struct studio *studio, const struct image *from, int quality)
{
    struct jpeg_picture picture = { .rgb = from->rgb, .width = from->width,
                                    .height = from->height, .quality = quality };
    struct image out;
    uint8_t *file;
    size_t len;
    struct err e;

    if (jpeg_encode(studio->encoder, &picture, &file, &len, &e) ||
        image_decode(file, len, &out, &e))
        die(e.msg);
    free(file);
    return out;
}

static struct image as_webp(const struct image *from, int quality)
{
    struct image out;
    uint8_t *file;
    size_t len = WebPEncodeRGB(from->rgb, from->width, from->height, from->width * 3,
                               (float)quality, &file);
    struct err e;

    if (len == 0 || image_decode(file, len, &out, &e))
        die("WebP");
    WebPFree(file);
    return out;
}

/* Between neighbours when it grows, the mean of what a pixel covers when it shrinks. */
static struct image resized(const struct image *from, int width, int height)
{
    struct image out = blank(width, height, 0);
    double sx = (double)from->width / width, sy = (double)from->height / height;
    int points = sx > 1 || sy > 1 ? 4 : 1;

    for (int i = 0; i < width * height * 3; i++) {
        int c = i % 3, x = i / 3 % width, y = i / 3 / width;
        double sum = 0;

        for (int k = 0; k < points * points; k++) {
            double u = (x + (k % points + 0.5) / points) * sx - 0.5;
            double v = (y + (k / points + 0.5) / points) * sy - 0.5;
            double fu = u < 0 ? 0 : u > from->width - 1 ? from->width - 1 : u;
            double fv = v < 0 ? 0 : v > from->height - 1 ? from->height - 1 : v;
            int x0 = (int)fu, y0 = (int)fv;
            int x1 = x0 + 1 < from->width ? x0 + 1 : x0, y1 = y0 + 1 < from->height ? y0 + 1 : y0;
            double top = at(from, x0, y0)[c] + (fu - x0) * (at(from, x1, y0)[c] -
                                                            at(from, x0, y0)[c]);
            double low = at(from, x0, y1)[c] + (fu - x0) * (at(from, x1, y1)[c] -
                                                            at(from, x0, y1)[c]);

            sum += top + (fv - y0) * (low - top);
        }
        out.rgb[i] = (uint8_t)(sum / (points * points) + 0.5);
    }
    return out;
}

/* A part of percent of each side, at a place that the seed decides. */
static struct image cropped(const struct image *from, int percent, uint32_t seed)
{
    int w = from->width * percent / 100, h = from->height * percent / 100;
    int x = (int)(seed * 2654435761u >> 8) % (from->width - w + 1);
    int y = (int)(seed * 2246822519u >> 8) % (from->height - h + 1);
    struct image out = blank(w, h, 0);

    for (int row = 0; row < h; row++)
        memcpy(at(&out, 0, row), at(from, x, y + row), (size_t)w * 3);
    return out;
}

/* Shown two and a half times as large on a page with a dark bar above, as a JPEG. */
static struct image screenshot(struct studio *studio, const struct image *from)
{
    struct image shown = resized(from, from->width * 5 / 2, from->height * 5 / 2);
    struct image page = blank(shown.width * 3 / 2, shown.height * 7 / 4, 245), out;

    memset(page.rgb, 40, (size_t)page.width * 3 * 12);
    for (int row = 0; row < shown.height; row++)
        memcpy(at(&page, page.width / 7, row + page.height / 5), at(&shown, 0, row),
               (size_t)shown.width * 3);
    out = as_jpeg(studio, &page, 85);
    image_release(&shown);
    image_release(&page);
    return out;
}

enum edit_kind { STRIP, QUALITY, WEBP, SCALE, CROP, SCREENSHOT };
static const struct edit {
    const char *name;
    enum edit_kind kind;
    int value;
} EDITS[] = {
    { "strip", STRIP, 0 },          { "quality 90", QUALITY, 90 },
    { "quality 75", QUALITY, 75 },  { "quality 60", QUALITY, 60 },
    { "quality 50", QUALITY, 50 },  { "quality 40", QUALITY, 40 },
    { "WebP 75", WEBP, 75 },        { "scale to half", SCALE, 50 },
    { "scale to 3x", SCALE, 300 },  { "crop 95 %", CROP, 95 },
    { "crop 90 %", CROP, 90 },      { "crop 80 %", CROP, 80 },
    { "crop 70 %", CROP, 70 },      { "crop 60 %", CROP, 60 },
    { "screenshot", SCREENSHOT, 0 },
};
enum { EDIT_COUNT = sizeof EDITS / sizeof EDITS[0] };

static struct image edited(struct studio *studio, const struct edit *edit,
                           const struct image *from, uint32_t seed)
{
    switch (edit->kind) {
    case STRIP:
        return resized(from, from->width, from->height);
    case QUALITY:
        return as_jpeg(studio, from, edit->value);
    case WEBP:
        return as_webp(from, edit->value);
    case SCALE:
        return resized(from, from->width * edit->value / 100, from->height * edit->value / 100);
    case CROP:
        return cropped(from, edit->value, seed);
    default:
        return screenshot(studio, from);
    }
}

/* ---- the rows ---- */

/* A row's id is its seed + 1. */
static struct likeness_index *rows_make(struct studio *studio, size_t count)
{
    static uint8_t rgb[BATCH * BYTES];
    uint64_t hashes[LIKENESS_STORED_MAX];
    struct likeness_index *index;
    struct err e;

    if (likeness_index_create((size_t)1 << 30, &index, &e))
        die(e.msg);
    for (size_t i = 0; i < count; i += BATCH) {
        size_t n = count - i < BATCH ? count - i : BATCH;

        render(studio, (uint32_t)i, (int)n, rgb);
        for (size_t k = 0; k < n; k++) {
            size_t len = likeness_of_stored(rgb + k * BYTES, SIDE, SIDE, SIDE * 3, hashes);

            if (likeness_index_add(index, (int64_t)(i + k) + 1, hashes, len, &e))
                die(e.msg);
        }
    }
    return index;
}

/* ---- figures ---- */

struct figures {
    size_t queries, first, among, confirmed, wrong, difference_count;
    double lowest;                  /* correlation with the right row */
    double others, other_levels;    /* with other rows */
    double *differences;            /* [difference_count] from the right row */
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static struct compare_fit fit_with(struct studio *studio, const struct image *picture,
                                   uint32_t seed)
{
    static uint8_t rgb[BYTES];
    struct image fresh = { .rgb = rgb, .width = SIDE, .height = SIDE }, stored;
    struct compare_fit fit;
    struct err e;

    render(studio, seed, 1, rgb);
    stored = as_jpeg(studio, &fresh, 90);
    if (compare_fit(picture, &stored, &fit, &e))
        die(e.msg);
    image_release(&stored);
    return fit;
}

/* seed is the right row, or no row at all. */
static void look_for(struct studio *studio, const struct likeness_index *rows,
                     const struct image *picture, uint32_t seed, size_t k, struct figures *figures)
{
    uint64_t query[LIKENESS_MAX];
    size_t count = likeness_of_query(picture->rgb, picture->width, picture->height,
                                     (size_t)picture->width * 3, query);
    struct likeness_match candidates[K_MAX];
    bool wrong = false;

    k = likeness_index_search(rows, query, count, candidates, k);
    figures->queries++;
    figures->first += k > 0 && candidates[0].id == (int64_t)seed + 1;
    for (size_t i = 0; i < k; i++) {
        uint32_t found = (uint32_t)(candidates[i].id - 1);
        struct compare_fit fit = fit_with(studio, picture, found);

        if (found == seed) {
            figures->among++;
            figures->confirmed += compare_confirms(&fit);
            figures->differences[figures->difference_count++] = fit.difference;
            figures->lowest = fmin(figures->lowest, fit.correlation);
        } else {
            wrong |= compare_confirms(&fit);
            figures->others = fmax(figures->others, fit.correlation);
            if (fit.pixels >= COMPARE_PIXELS_MIN)
                figures->other_levels = fmin(figures->other_levels, fit.difference);
        }
    }
    figures->wrong += wrong;
}

static double share(size_t part, size_t of)
{
    return of ? (double)part / (double)of : 0;
}

static void print_figures(const char *name, struct figures *f)
{
    size_t n = f->difference_count;

    qsort(f->differences, n, sizeof *f->differences, by_value);
    printf("| %s | %zu | %.3f | %.3f | %.3f | %zu | %.1f | %.1f | %.3f | %.1f, %.3f |\n", name,
           f->queries, share(f->first, f->queries), share(f->among, f->queries),
           share(f->confirmed, f->queries), f->wrong, n ? f->differences[n - 1 - n / 20] : 0,
           n ? f->differences[n - 1] : 0, f->lowest, f->other_levels, f->others);
    fflush(stdout);
}

/* One line of the table: queries of seeds from first on. */
static void measure(struct studio *studio, const struct likeness_index *rows,
                    const struct edit *edit, uint32_t first, uint32_t step, size_t queries,
                    size_t k)
{
    static uint8_t rgb[BYTES];
    struct figures figures = { .differences = calloc(queries, sizeof(double)), .lowest = 1,
                               .other_levels = 255 };
    char name[40];

    for (size_t q = 0; figures.differences && q < queries; q++) {
        uint32_t seed = first + (uint32_t)q * step;
        struct image fresh = { .rgb = rgb, .width = SIDE, .height = SIDE }, stored, picture;

        render(studio, seed, 1, rgb);
        stored = as_jpeg(studio, &fresh, 90);
        picture = edited(studio, edit, &stored, seed);
        look_for(studio, rows, &picture, seed, k, &figures);
        image_release(&stored);
        image_release(&picture);
    }
    snprintf(name, sizeof name, "%s%s", first >= STRANGERS ? "no row, " : "", edit->name);
    print_figures(name, &figures);
    free(figures.differences);
}

static size_t argument(int argc, char **argv, int index, int64_t min, int64_t max, int64_t def)
{
    int64_t v = def;

    if (argc > index &&
        (!number_parse(argv[index], strlen(argv[index]), &v) || v < min || v > max))
        die("usage: recall [ROWS] [QUERIES] [CANDIDATES]");
    return (size_t)v;
}

int main(int argc, char **argv)
{
    size_t count = argument(argc, argv, 1, 100, ROWS_MAX, 2000);
    size_t queries = argument(argc, argv, 2, 1, 1000000, 40);
    size_t k = argument(argc, argv, 3, 1, K_MAX, 10);
    uint32_t step = (uint32_t)(count / queries > 0 ? count / queries : 1);
    struct studio studio = { .model = NULL };
    struct likeness_index *rows;

    queries = queries < count ? queries : count;
    studio_open(&studio);
    rows = rows_make(&studio, count);
    printf("%zu rows, %zu queries an edit, %zu candidates, confirmed up to %.1f levels\n\n", count,
           queries, k, COMPARE_CONFIRMED_LEVELS);
    printf("| edit | queries | first | among | confirmed | false | p95 | worst | correlation | "
           "others |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < EDIT_COUNT; i++)
        measure(&studio, rows, &EDITS[i], 0, step, queries, k);
    for (size_t i = 0; i < EDIT_COUNT; i++)
        if (EDITS[i].kind != STRIP)
            measure(&studio, rows, &EDITS[i], STRANGERS, 1, queries, k);
    likeness_index_destroy(&rows);
    studio_close(&studio);
    return 0;
}
