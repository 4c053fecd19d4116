/* The grid of pictures in README.md is what the shipped model makes: seeds 0-15 at psi 0.7, eight
 * in a row; another numerics class may round a value to the next level. */
#include "kernels/backend.h"
#include "kernels/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <png.h>
#include <cmocka.h>

enum { SIDE = 64, COLUMNS = 8, COUNT = 16, WIDTH = SIDE * COLUMNS, ROWS = COUNT / COLUMNS };

static void the_grid_shows_seeds_0_to_15_of_the_shipped_model(void **state)
{
    struct backend_options options = { .threads = 0 };
    struct sample samples[COUNT];
    png_image png = { .version = PNG_IMAGE_VERSION };
    uint8_t *grid = malloc((size_t)WIDTH * SIDE * ROWS * 3);
    uint8_t *rgb = malloc((size_t)COUNT * SIDE * SIDE * 3);
    struct engine *engine;
    struct model *model;
    struct net *net;
    struct err e;

    (void)state;
    assert_true(png_image_begin_read_from_file(&png, "deploy/models/avatars64-grid.png"));
    png.format = PNG_FORMAT_RGB;
    assert_int_equal(png.width, WIDTH);
    assert_int_equal(png.height, SIDE * ROWS);
    assert_true(png_image_finish_read(&png, NULL, grid, 0, NULL));
    assert_int_equal(backend_cpu.open(&options, &engine, &e), ERR_OK);
    assert_int_equal(model_open("deploy/models/avatars64.safetensors", &model, &e), ERR_OK);
    assert_int_equal(backend_cpu.load(engine, model, COUNT, &net, &e), ERR_OK);
    for (int i = 0; i < COUNT; i++)
        samples[i] = (struct sample){ .seed = (uint32_t)i, .psi = recipe_psi_float(700000),
                                      .cutoff = model_facts(model)->num_ws, .class_index = -1,
                                      .noise = RECIPE_NOISE_CONST };
    assert_int_equal(backend_cpu.render(net, samples, COUNT, rgb, NULL, &e), ERR_OK);
    for (int i = 0; i < COUNT; i++)
        for (int y = 0; y < SIDE; y++) {
            size_t row = (size_t)(i / COLUMNS * SIDE + y) * WIDTH + (size_t)(i % COLUMNS) * SIDE;

            const uint8_t *made = rgb + ((size_t)i * SIDE + (size_t)y) * SIDE * 3;

            for (size_t x = 0; x < SIDE * 3; x++)
                assert_true(abs(grid[row * 3 + x] - made[x]) <= 1);
        }
    backend_cpu.unload(&net);
    model_destroy(&model);
    backend_cpu.close(&engine);
    free(rgb);
    free(grid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_grid_shows_seeds_0_to_15_of_the_shipped_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
