#include "base/likeness.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PI 3.14159265358979323846

struct shot {                       /* a picture of the test's own, exactly as large as it says */
    int width, height;
    uint8_t *rgb;
};

static struct shot shot_new(int width, int height)
{
    struct shot s = { width, height, calloc((size_t)width * (size_t)height, 3) };

    assert_non_null(s.rgb);
    return s;
}

static uint8_t *at(const struct shot *s, int x, int y)
{
    return s->rgb + 3 * ((size_t)y * (size_t)s->width + (size_t)x);
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}

/* A dozen soft coloured blobs: the same picture for a seed at any size. */
static struct shot shot_of(uint32_t seed, int width, int height)
{
    enum { BLOBS = 12 };
    double blob[BLOBS][6];
    uint32_t state = seed * 7919 + 1;
    struct shot s = shot_new(width, height);

    for (int i = 0; i < BLOBS; i++)
        for (int j = 0; j < 6; j++)
            blob[i][j] = next_random(&state) % 1000 / 999.0;
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++) {
                double v = 60 + 40 * c;

                for (int i = 0; i < BLOBS; i++) {
                    double dx = (x + 0.5) / width - blob[i][0], dy = (y + 0.5) / height -
                    blob[i][1]; double size = 0.06 + 0.12 * blob[i][2];

                    v += 300 * (blob[i][3 + c] - 0.5) * exp(-(dx * dx + dy * dy) / (size * size));
                }
                at(&s, x, y)[c] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
            }
    return s;
}

static struct shot shot_cut(const struct shot *of, int x, int y, int width, int height)
{
    struct shot s = shot_new(width, height);

    for (int i = 0; i < height; i++)
        memcpy(at(&s, 0, i), at(of, x, y + i), 3 * (size_t)width);
    return s;
}

/* Every pixel k times in each direction less. */
static struct shot shot_less(const struct shot *of, int k)
{
    struct shot s = shot_new(of->width / k, of->height / k);

    for (int y = 0; y < s.height; y++)
        for (int x = 0; x < s.width; x++)
            for (int c = 0; c < 3; c++) {
                int sum = 0;

                for (int i = 0; i < k * k; i++)
                    sum += at(of, x * k + i % k, y * k + i / k)[c];
                at(&s, x, y)[c] = (uint8_t)(sum / (k * k));
            }
    return s;
}

static struct shot shot_in_page(const struct shot *of, int left, int top, int right, int bottom)
{
    struct shot s = shot_new(of->width + left + right, of->height + top + bottom);

    for (int i = 0; i < s.width * s.height; i++)
        memcpy(s.rgb + 3 * i, (uint8_t[]){ 250, 250, 245 }, 3);
    for (int y = 0; y < of->height; y++)
        memcpy(at(&s, left, top + y), at(of, 0, y), 3 * (size_t)of->width);
    return s;
}

static size_t query_of(const struct shot *s, uint64_t hashes[LIKENESS_MAX])
{
    return likeness_of_query(s->rgb, s->width, s->height, 3 * (size_t)s->width, hashes);
}

static size_t stored_of(const struct shot *s, uint64_t hashes[LIKENESS_STORED_MAX])
{
    return likeness_of_stored(s->rgb, s->width, s->height, 3 * (size_t)s->width, hashes);
}

/* The nearest two windows of a picture and a query. */
static int nearest(const struct shot *stored, const struct shot *query)
{
    uint64_t a[LIKENESS_STORED_MAX], b[LIKENESS_MAX];
    size_t a_count = stored_of(stored, a), b_count = query_of(query, b);
    int best = 64;

    assert_true(a_count > 0 && b_count > 0);
    for (size_t i = 0; i < a_count; i += LIKENESS_WINDOW)
        for (size_t j = 0; j < b_count; j += LIKENESS_WINDOW) {
            int d = likeness_distance(a + i, b + j);

            best = d < best ? d : best;
        }
    return best;
}

/* ---- by definition ---- */

/* A channel of a picture of 32 x 32, of which each pixel is an area. */
static double channel(const struct shot *s, int x, int y, int plane)
{
    static const double WEIGHTS[3][3] = { { 77, 150, 29 }, { -43, -85, 128 }, { 128, -107, -21 } };
    const uint8_t *p = at(s, x, y);

    return (WEIGHTS[plane][0] * p[0] + WEIGHTS[plane][1] * p[1] + WEIGHTS[plane][2] * p[2]) / 256;
}

static double coefficient(const struct shot *s, int plane, int f, int g)
{
    double sum = 0;

    for (int y = 0; y < 32; y++)
        for (int x = 0; x < 32; x++)
            sum += channel(s, x, y, plane) * cos((2 * x + 1) * f * PI / 64) *
                   cos((2 * y + 1) * g * PI / 64);
    return sum;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The bits of hash from first on must say which of values are above their median. What is nearer to
 * it than integer arithmetic can tell is left out; few may be. */
static void assert_bits(uint64_t hash, int first, const double *values, int count)
{
    double sorted[64];
    int told = 0;

    memcpy(sorted, values, (size_t)count * sizeof *values);
    qsort(sorted, (size_t)count, sizeof sorted[0], by_size);
    for (int i = 0; i < count; i++) {
        double above = values[i] - sorted[(count - 1) / 2];

        if (fabs(above) < 8)        /* of 256 for a wave of one level */
            continue;
        assert_int_equal(hash >> (first + i) & 1, above > 0);
        told++;
    }
    assert_true(told >= count - 4);
}

static void hashes_are_what_the_definition_says(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 20; seed++) {
        struct shot s = shot_of(seed, 32, 32);
        uint64_t hashes[LIKENESS_STORED_MAX];
        double values[64];

        assert_true(stored_of(&s, hashes) >= LIKENESS_WINDOW);
        for (int i = 1; i < 64; i++)
            values[i - 1] = coefficient(&s, 0, i % 8, i / 8);
        assert_int_equal(hashes[0] & 1, 0);
        assert_bits(hashes[0], 1, values, 63);
        for (int plane = 1; plane < 3; plane++) {
            int count = 0, f = 1, g = 0;    /* JPEG's zigzag: up and to the right, and back */

            while (count < 32) {
                values[count++] = coefficient(&s, plane, f, g);
                bool up = (f + g) % 2 == 0;

                if (up && g == 0)
                    f++;
                else if (!up && f == 0)
                    g++;
                else {
                    f += up ? 1 : -1;
                    g += up ? -1 : 1;
                }
            }
            assert_bits(hashes[1], 32 * (plane - 1), values, 32);
        }
        free(s.rgb);
    }
}

static void the_same_picture_has_the_same_hashes_on_every_machine(void **state)
{
    static const uint64_t EXPECTED[2] = { UINT64_C(0xb56ab56ad4aa54a0), UINT64_C(0x878c3e1d38f1c6e2) };   /* NumPy's and
                                       SciPy's, by the definition, in double */
    struct shot s = shot_new(48, 40);
    uint64_t hashes[LIKENESS_STORED_MAX];
    uint32_t random = 5;

    (void)state;
    for (int i = 0; i < 48 * 40; i++)
        for (int c = 0; c < 3; c++)
            s.rgb[3 * i + c] = (uint8_t)(i % 48 * (c + 2) + i / 48 * (4 - c) + next_random(&random) % 32);
    assert_int_equal(stored_of(&s, hashes), LIKENESS_STORED_MAX);
    assert_true(hashes[0] == EXPECTED[0] && hashes[1] == EXPECTED[1]);
    free(s.rgb);
}

/* ---- what it is for ---- */

static void a_query_finds_what_was_scaled(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 10; seed++) {
        struct shot whole = shot_of(seed, 256, 256), half = shot_less(&whole, 2);
        struct shot tiny = shot_less(&whole, 8), large = shot_of(seed, 700, 700);

        assert_true(nearest(&whole, &half) <= 1);
        assert_true(nearest(&whole, &tiny) <= 3);
        assert_true(nearest(&whole, &large) <= 3);
        free(whole.rgb);
        free(half.rgb);
        free(tiny.rgb);
        free(large.rgb);
    }
}

static void a_query_finds_what_was_cropped_anywhere(void **state)
{
    uint32_t random = 3;

    (void)state;
    for (uint32_t seed = 1; seed <= 60; seed++) {
        struct shot whole = shot_of(seed, 128, 128), other = shot_of(seed + 100, 128, 128);
        int side = 77 + (int)(next_random(&random) % 45);   /* 60 to 95 % */
        int x = (int)(next_random(&random) % (uint32_t)(129 - side));
        int y = (int)(next_random(&random) % (uint32_t)(129 - side));
        struct shot crop = shot_cut(&whole, x, y, side, side);

        assert_true(nearest(&whole, &crop) <= 10);
        assert_true(nearest(&other, &crop) > 10);
        free(whole.rgb);
        free(other.rgb);
        free(crop.rgb);
    }
}

static void a_query_finds_what_stands_in_a_page(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 10; seed++) {
        struct shot whole = shot_of(seed, 96, 96), page = shot_in_page(&whole, 100, 31, 40, 77);
        struct shot band = shot_in_page(&whole, 0, 30, 0, 30);
        struct shot part = shot_cut(&whole, 10, 20, 70, 70);
        struct shot both = shot_in_page(&part, 40, 40, 40, 40);

        assert_true(nearest(&whole, &page) <= 1);
        assert_true(nearest(&whole, &band) <= 6);   /* its own edge may be as pale */
        assert_true(nearest(&whole, &both) <= 10);
        free(whole.rgb);
        free(page.rgb);
        free(band.rgb);
        free(part.rgb);
        free(both.rgb);
    }
}

static void a_grey_copy_is_told_by_brightness_alone(void **state)
{
    struct shot whole = shot_of(4, 64, 64), grey = shot_cut(&whole, 0, 0, 64, 64);
    uint64_t a[LIKENESS_STORED_MAX], b[LIKENESS_STORED_MAX];

    (void)state;
    for (int i = 0; i < 64 * 64; i++) {
        uint8_t *p = grey.rgb + 3 * i;

        memset(p, (77 * p[0] + 150 * p[1] + 29 * p[2]) / 256, 3);
    }
    assert_true(stored_of(&whole, a) > 0 && stored_of(&grey, b) > 0);
    assert_true(a[1] != 0);
    assert_true(b[1] == 0);
    assert_true(likeness_distance(a, b) <= 2);
    free(whole.rgb);
    free(grey.rgb);
}

static void distance_counts_half_the_bits(void **state)
{
    static const uint64_t a[] = { 0xff, 0xf0 }, b[] = { 0x0f, 0x0f }, grey[] = { 0x0f, 0 };

    (void)state;
    assert_int_equal(likeness_distance(a, a), 0);
    assert_int_equal(likeness_distance(a, b), 6);
    assert_int_equal(likeness_distance(a, grey), 4);
    assert_int_equal(likeness_distance(grey, a), 4);
}

/* ---- bad input ---- */

static void windows_without_contrast_are_left_away(void **state)
{
    struct shot s = shot_new(64, 64);
    uint64_t hashes[LIKENESS_MAX];

    (void)state;
    memset(s.rgb, 200, 3 * 64 * 64);
    assert_int_equal(stored_of(&s, hashes), LIKENESS_WINDOW);
    assert_true(hashes[0] == 0 && hashes[1] == 0);
    assert_int_equal(query_of(&s, hashes), LIKENESS_WINDOW);
    for (int y = 0; y < 24; y++)    /* something in one corner: windows of the others stay away */
        memset(at(&s, y, y), 10, 3 * 24);
    size_t count = stored_of(&s, hashes);

    assert_true(count > LIKENESS_WINDOW && count < LIKENESS_STORED_MAX);
    free(s.rgb);
}

static void every_size_is_safe(void **state)
{
    static const int SIZES[][2] = { { 8, 8 }, { 9, 8 }, { 8, 3000 }, { 3000, 9 }, { 65500, 8 },
                                    { 8, 65500 }, { 127, 129 }, { 257, 255 }, { 1023, 700 },
                                    { 31, 33 }, { 500000, 8 } };
    uint64_t hashes[LIKENESS_MAX];

    (void)state;
    for (int width = 1; width <= 8; width++)
        for (int height = 1; height <= 8; height++) {
            struct shot s = shot_of(1, width, height);
            bool fits = width == 8 && height == 8;

            assert_int_equal(stored_of(&s, hashes) >= LIKENESS_WINDOW, fits);
            assert_int_equal(query_of(&s, hashes) >= LIKENESS_WINDOW, fits);
            free(s.rgb);
        }
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        struct shot s = shot_new(SIZES[i][0], SIZES[i][1]);
        size_t count;

        for (size_t k = 0; k < 3 * (size_t)s.width * (size_t)s.height; k++)
            s.rgb[k] = (uint8_t)(k * k / 7);
        count = stored_of(&s, hashes);
        assert_true(count >= LIKENESS_WINDOW && count <= LIKENESS_STORED_MAX && count % 2 == 0);
        count = query_of(&s, hashes);
        assert_true(count >= LIKENESS_WINDOW && count <= LIKENESS_MAX && count % 2 == 0);
        free(s.rgb);
    }
    assert_int_equal(likeness_of_query((const uint8_t *)"", 500001, 8, 0, hashes), 0);
    assert_int_equal(likeness_of_query((const uint8_t *)"", 0, 0, 0, hashes), 0);
    assert_int_equal(likeness_of_stored((const uint8_t *)"", -5, 8, 0, hashes), 0);
}

static void rows_may_lie_apart(void **state)
{
    struct shot wide = shot_of(9, 100, 60), part = shot_cut(&wide, 0, 0, 60, 60);
    uint64_t a[LIKENESS_STORED_MAX], b[LIKENESS_STORED_MAX];
    size_t count = stored_of(&part, a);

    (void)state;
    assert_int_equal(likeness_of_stored(wide.rgb, 60, 60, 300, b), count);
    assert_memory_equal(a, b, count * sizeof *a);
    free(wide.rgb);
    free(part.rgb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_are_what_the_definition_says),
        cmocka_unit_test(the_same_picture_has_the_same_hashes_on_every_machine),
        cmocka_unit_test(a_query_finds_what_was_scaled),
        cmocka_unit_test(a_query_finds_what_was_cropped_anywhere),
        cmocka_unit_test(a_query_finds_what_stands_in_a_page),
        cmocka_unit_test(a_grey_copy_is_told_by_brightness_alone),
        cmocka_unit_test(distance_counts_half_the_bits),
        cmocka_unit_test(windows_without_contrast_are_left_away),
        cmocka_unit_test(every_size_is_safe),
        cmocka_unit_test(rows_may_lie_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
