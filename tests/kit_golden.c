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

enum { COLUMNS_MAX = 16, LINE_MAX_BYTES = 1024, PATH_BYTES = 256 };

/* The value of a case's column, "-" when the file has no such column. */
struct row {
    char *name[COLUMNS_MAX], *value[COLUMNS_MAX];
    int columns;
};

static int split(char *line, char *out[COLUMNS_MAX])
{
    int count = 0;

    for (char *rest = line, *field; (field = strsep(&rest, "\t\n")) && count < COLUMNS_MAX;)
        if (*field)
            out[count++] = field;
    return count;
}

static const char *column(const struct row *row, const char *name)
{
    for (int i = 0; i < row->columns; i++)
        if (strcmp(row->name[i], name) == 0)
            return row->value[i];
    return "-";
}

static int64_t read_number(const char *text, int64_t absent)
{
    int64_t v = absent;

    if (strcmp(text, "-") != 0)
        assert_true(number_parse(text, strlen(text), &v));
    return v;
}

static struct recipe_transform read_transform(const char *text)
{
    struct recipe_transform t = { .kind = RECIPE_TRANSFORM_NONE };
    char *rest = NULL;

    if (strcmp(text, "-") == 0)
        return t;
    t.kind = RECIPE_TRANSFORM_MATRIX;
    for (int i = 0; i < 9; i++, text = rest + 1) {
        t.m[i] = (float)strtod(text, &rest);
        assert_int_equal(*rest, i < 8 ? ',' : '\0');
    }
    return t;
}

/* Noise as a request would come out for a model that has none. */
static enum recipe_noise read_noise(const char *text, const struct model_facts *facts)
{
    if (!(facts->noise_modes >> RECIPE_NOISE_CONST & 1) || strcmp(text, "none") == 0)
        return RECIPE_NOISE_NONE;
    assert_true(strcmp(text, "const") == 0 || strcmp(text, "-") == 0);
    return RECIPE_NOISE_CONST;
}

static struct golden_case read_case(const struct row *row, const struct model_facts *facts)
{
    const char *psi_text = column(row, "psi");
    struct golden_case c = { 0 };
    int64_t psi;

    assert_true(number_parse_millionths(psi_text, strlen(psi_text), &psi));
    c.sample = (struct sample){
        .seed = (uint32_t)read_number(column(row, "seed"), 0),
        .psi = recipe_psi_float((int32_t)psi),
        .cutoff = (int)read_number(column(row, "cutoff"), facts->num_ws),
        .class_index = (int)read_number(column(row, "class"), -1),
        .noise = read_noise(column(row, "noise_mode"), facts),
        .transform = read_transform(column(row, "transform3x3")),
    };
    if (c.sample.cutoff > facts->num_ws)    /* as a request would come out */
        c.sample.cutoff = facts->num_ws;
    snprintf(c.id, sizeof c.id, "%s", column(row, "id"));
    snprintf(c.z, sizeof c.z, "%s", column(row, "z"));
    snprintf(c.w, sizeof c.w, "%s", column(row, "w"));
    snprintf(c.ws, sizeof c.ws, "%s", column(row, "ws"));
    snprintf(c.image, sizeof c.image, "%s", column(row, "img"));
    snprintf(c.rgb, sizeof c.rgb, "%s", column(row, "u8"));
    return c;
}

int golden_cases(const char *folder, const char *table, const struct model_facts *facts,
                 struct golden_case out[GOLDEN_CASES_MAX])
{
    char path[PATH_BYTES], names[LINE_MAX_BYTES], line[LINE_MAX_BYTES];
    struct row row;
    int count = 0;

    snprintf(path, sizeof path, "tests/golden/%s/%s", folder, table);
    FILE *file = fopen(path, "r");

    assert_non_null(file);
    assert_non_null(fgets(names, sizeof names, file));
    row.columns = split(names, row.name);
    while (fgets(line, sizeof line, file)) {
        assert_true(count < GOLDEN_CASES_MAX);
        assert_int_equal(split(line, row.value), row.columns);
        out[count++] = read_case(&row, facts);
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
