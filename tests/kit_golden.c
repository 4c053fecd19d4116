#include "tests/kit_golden.h"

#include "proto/number.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 12, LINE_MAX_BYTES = 1024, PATH_BYTES = 256 };

static int64_t read_number(const char *text, int64_t absent)
{
    int64_t v = absent;

    if (strcmp(text, "-") != 0)
        assert_true(number_parse(text, strlen(text), &v));
    return v;
}

static enum recipe_noise read_noise(const char *text)
{
    if (strcmp(text, "none") == 0)
        return RECIPE_NOISE_NONE;
    assert_string_equal(text, "const");
    return RECIPE_NOISE_CONST;
}

/* id seed psi cutoff class noise_mode transform z w ws img u8 ... */
static struct golden_case read_case(char *line, int num_ws)
{
    char *column[COLUMNS], *rest = line;
    struct golden_case c = { 0 };
    int64_t psi;

    for (int i = 0; i < COLUMNS; i++) {
        column[i] = strsep(&rest, "\t\n");
        assert_non_null(column[i]);
    }
    assert_true(number_parse_millionths(column[2], strlen(column[2]), &psi));
    snprintf(c.id, sizeof c.id, "%s", column[0]);
    c.sample = (struct sample){
        .seed = (uint32_t)read_number(column[1], 0),
        .psi = recipe_psi_float((int32_t)psi),
        .cutoff = (int)read_number(column[3], num_ws),
        .class_index = (int)read_number(column[4], -1),
        .noise = read_noise(column[5]),
    };
    snprintf(c.z, sizeof c.z, "%s", column[7]);
    snprintf(c.w, sizeof c.w, "%s", column[8]);
    snprintf(c.ws, sizeof c.ws, "%s", column[9]);
    snprintf(c.image, sizeof c.image, "%s", column[10]);
    snprintf(c.rgb, sizeof c.rgb, "%s", column[11]);
    return c;
}

int golden_cases(const char *folder, int num_ws, struct golden_case out[GOLDEN_CASES_MAX])
{
    char path[PATH_BYTES], line[LINE_MAX_BYTES];
    int count = 0;

    snprintf(path, sizeof path, "tests/golden/%s/cases.tsv", folder);
    FILE *file = fopen(path, "r");

    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file));   /* the columns' names */
    while (fgets(line, sizeof line, file)) {
        assert_true(count < GOLDEN_CASES_MAX);
        out[count++] = read_case(line, num_ws);
    }
    fclose(file);
    assert_true(count > 0);
    return count;
}

struct npy golden_array(const char *folder, const char *file)
{
    char path[PATH_BYTES];
    struct npy array;
    struct err e;

    snprintf(path, sizeof path, "tests/golden/%s/%s", folder, file);
    if (npy_read(path, &array, &e))
        fail_msg("%s", e.msg);
    return array;
}

double golden_max_error(const float *got, const float *expect, size_t count)
{
    double worst = 0.0;

    for (size_t i = 0; i < count; i++) {
        double d = fabs((double)got[i] - (double)expect[i]);

        if (!(d <= worst))      /* a NaN becomes the worst and stays it */
            worst = d;
    }
    return worst;
}

double golden_psnr(const uint8_t *got, const uint8_t *expect, size_t count, int *max_error)
{
    double squares = 0.0;

    *max_error = 0;
    for (size_t i = 0; i < count; i++) {
        int d = abs(got[i] - expect[i]);

        squares += (double)d * d;
        *max_error = d > *max_error ? d : *max_error;
    }
    return squares == 0.0 ? 200.0 : 10.0 * log10(255.0 * 255.0 * (double)count / squares);
}
