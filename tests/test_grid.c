/* The sheets of pictures that people are shown are what the shipped model makes: seeds 0-15 at psi
 * 0.7, eight in a row, and four seeds over psi -0.7 to 1.3. Another numerics class may round a
 * value to the next level. */
#include "kernels/backend.h"
#include "kernels/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <png.h>
#include <cmocka.h>

enum { SIDE = 64 };

/* A sheet at path shows samples[0..count), `columns` in a row. */
static void check_sheet(const char *path, struct sample *samples, int count, int columns)
{
    size_t width = (size_t)columns * SIDE, rows = (size_t)(count / columns);
    png_image png = { .version = PNG_IMAGE_VERSION };
    uint8_t *sheet = malloc(width * SIDE * rows * 3);
    uint8_t *rgb = malloc((size_t)count * SIDE * SIDE * 3);
    struct engine *engine;
    struct model *model;
    struct net *net;
    struct err e;

    assert_true(sheet && rgb);
    assert_true(png_image_begin_read_from_file(&png, path));
    png.format = PNG_FORMAT_RGB;
    assert_int_equal(png.width, width);
    assert_int_equal(png.height, SIDE * rows);
    assert_true(png_image_finish_read(&png, NULL, sheet, 0, NULL));
    assert_int_equal(backend_cpu.open(&(struct backend_options){ 0 }, &engine, &e), ERR_OK);
    assert_int_equal(model_open("deploy/models/avatars64.safetensors", &model, &e), ERR_OK);
    assert_int_equal(backend_cpu.load(engine, model, count, &net, &e), ERR_OK);
    for (int i = 0; i < count; i++) {
        samples[i].cutoff = model_facts(model)->num_ws;
        samples[i].class_index = -1;
        samples[i].noise = RECIPE_NOISE_CONST;
    }
    assert_int_equal(backend_cpu.render(net, samples, count, rgb, NULL, &e), ERR_OK);
    for (int i = 0; i < count; i++)
        for (int y = 0; y < SIDE; y++) {
            size_t row = (size_t)(i / columns * SIDE + y) * width + (size_t)(i % columns) * SIDE;
            const uint8_t *made = rgb + ((size_t)i * SIDE + (size_t)y) * SIDE * 3;

            for (size_t x = 0; x < SIDE * 3; x++)
                assert_true(abs(sheet[row * 3 + x] - made[x]) <= 1);
        }
    backend_cpu.unload(&net);
    model_destroy(&model);
    backend_cpu.close(&engine);
    free(rgb);
    free(sheet);
}

static void the_grid_shows_seeds_0_to_15_of_the_shipped_model(void **state)
{
    struct sample samples[16];

    (void)state;
    for (uint32_t i = 0; i < 16; i++)
        samples[i] = (struct sample){ .seed = i, .psi = recipe_psi_float(700000) };
    check_sheet("deploy/models/avatars64-grid.png", samples, 16, 8);
}

static void the_strip_shows_four_seeds_over_psi(void **state)
{
    static const uint32_t SEEDS[] = { 0, 5, 9, 14 };
    enum { STEPS = 11 };
    struct sample samples[4 * STEPS];

    (void)state;
    for (int i = 0; i < 4 * STEPS; i++)
        samples[i] = (struct sample){ .seed = SEEDS[i / STEPS],
                                      .psi = recipe_psi_float(-700000 + i % STEPS * 200000) };
    check_sheet("deploy/models/avatars64-psi.png", samples, 4 * STEPS, STEPS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_grid_shows_seeds_0_to_15_of_the_shipped_model),
        cmocka_unit_test(the_strip_shows_four_seeds_over_psi),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
