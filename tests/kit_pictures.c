#include "tests/kit_pictures.h"

#include "kernels/picture.h"
#include "tests/kit_temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PSI = 700000, SQL_MAX = 4000 };
static const char CLASS[] = "cpu-fp32-test-1";

void pictures_start(struct kit_pictures *self)
{
    struct err e = { .code = ERR_OK };

    *self = (struct kit_pictures){ .run_id = 0 };
    kit_postgres_start(&self->pg);
    if (ledger_migrate(self->pg.conninfo, false, NULL, NULL, &e))
        fail_msg("%s", e.msg);
    self->facts = (struct model_facts){ .digest = digest_of("cats", 4), .width = PICTURES_SIZE,
                                        .height = PICTURES_SIZE, .num_ws = 10, .z_dim = 32,
                                        .w_dim = 32, .noise_modes = 1u << RECIPE_NOISE_CONST };
}

void pictures_destroy(struct kit_pictures *self)
{
    kit_postgres_destroy(&self->pg);
}

void pictures_open(struct kit_pictures *self)
{
    struct ledger_run run = { .worker = "host:1:2", .version = "0.1", .backend = "cpu",
                              .device = "test", .driver = "none", .libraries = "none",
                              .numerics_class = CLASS, .encoder = jpeg_encoder_name() };
    struct ledger_model model = { .name = "cats", .facts = &self->facts, .arch = "stylegan2",
                                  .licence = "CC0" };
    struct err e = { .code = ERR_OK };

    pictures_sql(self, "SET client_min_messages TO warning; TRUNCATE models, model_names, runs, "
                       "options, images, blobs, withdrawn, retention, likenesses, segments "
                       "RESTART IDENTITY CASCADE");
    if (ledger_open(self->pg.conninfo, "kit_pictures", &self->ledger, &e) ||
        ledger_put_model(self->ledger, &model, &e) ||
        ledger_start_run(self->ledger, &run, &self->run_id, &e))
        fail_msg("%s", e.msg);
}

void pictures_close(struct kit_pictures *self)
{
    ledger_close(&self->ledger);
}

struct recipe pictures_recipe(const struct kit_pictures *self, uint32_t seed, int32_t psi)
{
    return (struct recipe){ .model = self->facts.digest, .seed = seed, .psi = psi,
                            .cutoff = self->facts.num_ws,
                            .class_index = -1, .noise = RECIPE_NOISE_CONST,
                            .width = self->facts.width, .height = self->facts.height,
                            .quality = 90, .mark = RECIPE_MARK_XMP };
}

struct kit_picture picture_paint(const struct kit_pictures *self, uint32_t seed, int32_t psi,
                                 int look)
{
    int width = self->facts.width, height = self->facts.height;
    uint8_t *rgb = malloc((size_t)width * (size_t)height * 3);
    struct jpeg_encoder *encoder = NULL;
    struct picture made;
    struct kit_picture out;
    struct err e = { .code = ERR_OK };

    out = (struct kit_picture){ .image = { .recipe = pictures_recipe(self, seed, psi),
                                           .run_id = self->run_id, .numerics_class = CLASS,
                                           .encoder = jpeg_encoder_name(), .batch_size = 8,
                                           .render_us = 1000, .keep = true } };
    assert_non_null(rgb);
    fill_waves(rgb, width, height, (int)(seed % 1000) + 1000 * look);
    if (jpeg_encoder_create(&encoder, &e) ||
        picture_encode(encoder, &out.image.recipe, (struct picture_source){ .rgb = rgb }, &made,
                       &e))
        fail_msg("%s", e.msg);
    jpeg_encoder_destroy(&encoder);
    free(rgb);
    out.file = made.file;
    out.image.data = made.file;
    out.image.len = made.len;
    out.image.file_sha = made.file_sha;
    out.image.core_sha = made.core_sha;
    return out;
}

void picture_forget(struct kit_picture *self)
{
    free(self->file);
    *self = (struct kit_picture){ .file = NULL };
}

void pictures_store(struct kit_pictures *self, uint32_t first, uint32_t last)
{
    for (uint32_t seed = first; seed <= last; seed++) {
        struct kit_picture picture = picture_paint(self, seed, PSI, 0);
        struct ledger_stored stored;
        struct err e = { .code = ERR_OK };

        if (ledger_store(self->ledger, &picture.image, 1, &stored, &e))
            fail_msg("%s", e.msg);
        assert_int_equal(stored.outcome, LEDGER_STORED);
        picture_forget(&picture);
    }
}

struct digest pictures_key(const struct kit_pictures *self, uint32_t seed)
{
    struct recipe recipe = pictures_recipe(self, seed, PSI);

    return recipe_key(&recipe);
}

struct kit_literal pictures_literal(const struct kit_pictures *self, uint32_t seed)
{
    struct digest key = pictures_key(self, seed);
    struct kit_literal out;

    snprintf(out.text, sizeof out.text, "'\\x%s'", digest_hex(&key).text);
    return out;
}

static void __attribute__((format(printf, 2, 0)))
write_sql(char sql[SQL_MAX], const char *fmt, va_list args)
{
    int len = vsnprintf(sql, SQL_MAX, fmt, args);

    assert_in_range(len, 1, SQL_MAX - 1);
}

void pictures_sql(const struct kit_pictures *self, const char *fmt, ...)
{
    char sql[SQL_MAX];
    va_list args;

    va_start(args, fmt);
    write_sql(sql, fmt, args);
    va_end(args);
    kit_postgres_exec(self->pg.conninfo, sql);
}

int64_t pictures_int(const struct kit_pictures *self, const char *fmt, ...)
{
    char sql[SQL_MAX];
    va_list args;

    va_start(args, fmt);
    write_sql(sql, fmt, args);
    va_end(args);
    return kit_postgres_int(self->pg.conninfo, sql);
}
