/* Seeds against numpy's legacy generator; test_stylegan2 compares whole vectors. */
#include "kernels/seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* RandomState(seed).randn(8), as round-trip decimals. */
static const struct {
    uint32_t seed;
    double z[8];
} ROWS[] = {
    { 0, { 1.764052345967664, 0.4001572083672233, 0.9787379841057392, 2.240893199201458,
           1.8675579901499675, -0.977277879876411, 0.9500884175255894, -0.1513572082976979 } },
    { 1, { 1.6243453636632417, -0.6117564136500754, -0.5281717522634557, -1.0729686221561705,
           0.8654076293246785, -2.3015386968802827, 1.74481176421648, -0.7612069008951028 } },
    { 42, { 0.4967141530112327, -0.13826430117118466, 0.6476885381006925, 1.5230298564080254,
            -0.23415337472333597, -0.23413695694918055, 1.5792128155073915, 0.7674347291529088 } },
    { 2147483647, { 1.628680950870893, -1.1083224214197442, 1.3931666912751481, 0.6885372651891304,
                    -1.1734482800347712, -0.17520816359917246, -1.0788842665596912,
                    0.08735763874109179 } },
    { 4294967295, { 0.6484086742306527, 0.6693235306338161, -1.0805437227474493, 0.2845010447986309,
                    0.11388773652167104, 0.8676218937929382, -0.044026015448043285,
                    0.24877161740907913 } },
};

static void seeds_give_numpys_numbers_to_the_bit(void **state)
{
    (void)state;
    for (size_t row = 0; row < sizeof ROWS / sizeof ROWS[0]; row++) {
        struct seed_stream stream;

        seed_init(&stream, ROWS[row].seed);
        for (int i = 0; i < 8; i++)
            assert_true(seed_normal(&stream) == ROWS[row].z[i]);
    }
}

static void first_numbers_have_the_recorded_bit_patterns(void **state)
{
    struct seed_stream stream;

    (void)state;
    seed_init(&stream, 0);
    assert_true(seed_normal(&stream) == 0x1.c398ef3e5cfa5p+0);
    assert_true(seed_normal(&stream) == 0x1.99c2cfacc8953p-2);
    seed_init(&stream, 4294967295);
    assert_true(seed_normal(&stream) == 0x1.4bfc38c486d8ap-1);
    assert_true(seed_normal(&stream) == 0x1.56b192e507eeep-1);
}

static void streams_are_apart_and_start_anew(void **state)
{
    struct seed_stream a, b;

    (void)state;
    seed_init(&a, 7);
    seed_init(&b, 7);
    for (int i = 0; i < 2000; i++)      /* more than one refill of the 624 words */
        assert_true(seed_normal(&a) == seed_normal(&b));
    seed_init(&a, 0);                   /* the number it had kept is forgotten */
    assert_true(seed_normal(&a) == ROWS[0].z[0]);
}

static void many_numbers_have_mean_0_and_variance_1(void **state)
{
    enum { COUNT = 100000 };
    struct seed_stream stream;
    double sum = 0.0, squares = 0.0;

    (void)state;
    seed_init(&stream, 123);
    for (int i = 0; i < COUNT; i++) {
        double v = seed_normal(&stream);

        sum += v;
        squares += v * v;
    }
    assert_true(sum / COUNT > -0.01 && sum / COUNT < 0.01);         /* 3 standard errors */
    assert_true(squares / COUNT > 0.985 && squares / COUNT < 1.015);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seeds_give_numpys_numbers_to_the_bit),
        cmocka_unit_test(first_numbers_have_the_recorded_bit_patterns),
        cmocka_unit_test(streams_are_apart_and_start_anew),
        cmocka_unit_test(many_numbers_have_mean_0_and_variance_1),
    };

    return cmocka_run_group_tests_name("seed", tests, NULL, NULL);
}
