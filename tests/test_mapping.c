/* From z and a class to w, and the layers that it is made of, against their definitions in double;
 * and what pulls w toward its mean. */
#include "kernels/mapping.h"
#include "kernels/truncate.h"
#include "tests/kit_floats.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- A fully connected layer ---- */

static float weight_at(const struct fc_weights *w, int o, int i)
{
    return w->weight[w->transposed ? i * w->out + o : o * w->in + i];
}

static float bias_at(const struct fc_weights *w, int o)
{
    return w->bias ? w->bias[o] * w->bias_gain : w->bias_gain;
}

static void check_fc(int in, int out, bool transposed, bool biased)
{
    float *weight = guarded_even((size_t)(in * out), 1), *bias = guarded_even((size_t)out, 2);
    float *x = guarded_even((size_t)in, 3), *expect = guarded_create((size_t)out);
    struct fc_weights w = { in, out, weight, transposed, 0.37f, biased ? bias : NULL, 1.5f };
    struct fc fc;
    struct err e;

    assert_int_equal(fc_init(&fc, &w, &e), ERR_OK);
    for (int o = 0; o < out; o++) {
        double exact = biased ? (double)bias[o] * 1.5 : 1.5, size = fabs(exact);
        float sum = 0.0f;

        for (int i = 0; i < in; i++) {
            double term = (double)weight_at(&w, o, i) * (double)0.37f * (double)x[i];

            exact += term;
            size += fabs(term);
            sum = fmaf(x[i], weight_at(&w, o, i) * 0.37f, sum);
        }
        expect[o] = sum + bias_at(&w, o);
        assert_true(fabs(exact - (double)expect[o]) <= size * (in + 3) / (1 << 24));
    }
    guarded_clear(weight);          /* nothing of it is needed any more */
    guarded_clear(bias);
    for (int level = levels_here(); level-- > 0;) {
        float *y = guarded_create((size_t)out);

        simd_limit((enum simd_level)level);
        fc_cpu(&fc, x, y);
        assert_same_bits(y, expect, (size_t)out, simd_word((enum simd_level)level));
        guarded_release(y);
    }
    fc_release(&fc);
    guarded_release(weight);
    guarded_release(bias);
    guarded_release(x);
    guarded_release(expect);
}

static void layers_are_their_definition_at_every_width(void **state)
{
    (void)state;
    for (int out = 1; out <= 70; out++)
        for (int form = 0; form < 4; form++)
            check_fc(1 + out * 7 % 33, out, form % 2, form / 2);
    check_fc(512, 65, false, true);
}

/* ---- The mapping network ---- */

/* One network: z_dim, classes and their width, and the layers' widths. */
struct net {
    int z_dim, c_dim, labels;
    bool joint, transposed;
    float gain;
    int layers, width[4];
};

static const struct net NETS[] = {
    { 8, 0, 0, false, false, 1.41421356f, 1, { 5 } },
    { 16, 0, 0, false, false, 1.41421356f, 2, { 16, 16 } },
    { 7, 0, 0, true, true, 1.0f, 3, { 20, 3, 11 } },
    { 9, 0, 0, false, false, 1.41421356f, 4, { 3, 40, 1, 6 } },
    { 8, 3, 8, true, true, 1.0f, 2, { 12, 9 } },
    { 8, 3, 8, false, false, 1.41421356f, 2, { 12, 9 } },
    { 5, 10, 17, false, false, 1.41421356f, 4, { 9, 33, 2, 64 } },
    { 5, 10, 17, true, true, 1.0f, 3, { 64, 9, 33 } },
    { 31, 1, 2, false, false, 1.41421356f, 1, { 66 } },
};

enum { NET_COUNT = sizeof NETS / sizeof NETS[0], WIDEST = 128 };

/* Fills plan with numbers of its own; release_plan frees them. */
static void make_plan(struct plan_mapping *plan, const struct net *net)
{
    int in = net->z_dim + net->labels;

    *plan = (struct plan_mapping){ .z_dim = net->z_dim, .c_dim = net->c_dim,
                                   .w_dim = net->width[net->layers - 1], .joint = net->joint,
                                   .layers = net->layers, .gain = net->gain };
    if (net->c_dim > 0)
        plan->embed = (struct fc_weights){
            .in = net->c_dim,
            .out = net->labels,
            .weight = guarded_even((size_t)(net->c_dim * net->labels), 1),
            .transposed = net->transposed,
            .weight_gain = net->joint ? 1.0f : 1.0f / sqrtf((float)net->c_dim),
            .bias = guarded_even((size_t)net->labels, 2),
            .bias_gain = net->joint ? 0.0f : 1.0f,
        };
    for (int k = 0; k < net->layers; k++) {
        plan->layer[k] = (struct fc_weights){
            .in = in,
            .out = net->width[k],
            .weight = guarded_even((size_t)(in * net->width[k]), (uint32_t)(10 + k)),
            .transposed = net->transposed,
            .weight_gain = 2.0f / sqrtf((float)in),
            .bias = guarded_even((size_t)net->width[k], (uint32_t)(20 + k)),
            .bias_gain = 0.5f,
        };
        in = net->width[k];
    }
}

static void release_plan(struct plan_mapping *plan)
{
    guarded_release((float *)(uintptr_t)plan->embed.weight);
    guarded_release((float *)(uintptr_t)plan->embed.bias);
    for (int k = 0; k < plan->layers; k++) {
        guarded_release((float *)(uintptr_t)plan->layer[k].weight);
        guarded_release((float *)(uintptr_t)plan->layer[k].bias);
    }
}

static void exact_n2(double *v, int count)
{
    double sum = 0.0;

    for (int i = 0; i < count; i++)
        sum += v[i] * v[i];
    for (int i = 0; i < count; i++)
        v[i] *= 1.0 / sqrt(sum / count + 1e-8);
}

static void exact_layer(double *y, const double *x, const struct fc_weights *w)
{
    for (int o = 0; o < w->out; o++) {
        y[o] = (double)w->bias[o] * (double)w->bias_gain;
        for (int i = 0; i < w->in; i++)
            y[o] += (double)weight_at(w, o, i) * (double)w->weight_gain * x[i];
    }
}

/* w[] of a plan; class_index means nothing without classes. */
static void exact_mapping(double w[WIDEST], const struct plan_mapping *plan, const float *z,
                          int class_index)
{
    double v[WIDEST], c[16] = { 0 };

    for (int i = 0; i < plan->z_dim; i++)
        v[i] = (double)z[i];
    if (plan->c_dim > 0) {
        c[class_index] = 1.0;
        exact_layer(v + plan->z_dim, c, &plan->embed);
    }
    if (plan->joint) {
        exact_n2(v, plan->z_dim + plan->embed.out);
    } else {
        exact_n2(v, plan->z_dim);
        if (plan->c_dim > 0)
            exact_n2(v + plan->z_dim, plan->embed.out);
    }
    for (int k = 0; k < plan->layers; k++) {
        exact_layer(w, v, &plan->layer[k]);
        for (int i = 0; i < plan->layer[k].out; i++)
            v[i] = w[i] = (w[i] >= 0.0 ? w[i] : 0.2 * w[i]) * (double)plan->gain;
    }
}

static void check_mapping(const struct net *net)
{
    struct plan_mapping plan;
    struct mapping mapping;
    struct err e;
    float *z = guarded_even((size_t)net->z_dim, 3), *first = NULL;

    make_plan(&plan, net);
    assert_int_equal(mapping_init(&mapping, &plan, &e), ERR_OK);
    for (int c = 0; c < (net->c_dim ? net->c_dim : 1); c++) {
        double exact[WIDEST];
        size_t w_dim = (size_t)plan.w_dim;

        exact_mapping(exact, &plan, z, c);
        for (int level = levels_here(); level-- > 0;) {
            float *w = guarded_create(w_dim);
            float *scratch = guarded_create(mapping_scratch_count(&mapping));

            simd_limit((enum simd_level)level);
            mapping_cpu(&mapping, z, net->c_dim ? c : -1, w, scratch);
            for (size_t i = 0; i < w_dim; i++)
                /* 200 roundings; a layer may double what the one before is off */
                assert_true(fabs(exact[i] - (double)w[i]) < 200.0 * 16.0 / (1 << 24));
            if (first)
                assert_same_bits(w, first, w_dim, simd_word((enum simd_level)level));
            guarded_release(first);
            guarded_release(scratch);
            first = w;
        }
        guarded_release(first);
        first = NULL;
    }
    guarded_check(z);
    mapping_release(&mapping);
    guarded_release(z);
    release_plan(&plan);
}

static void networks_of_all_forms_are_their_definition(void **state)
{
    (void)state;
    for (int i = 0; i < NET_COUNT; i++)
        check_mapping(&NETS[i]);
}

/* z and class of very unlike lengths, through a layer that shows its input: apart each has the
 * length of its own, joined they keep their proportion. */
static void class_is_normalised_apart_or_with_z(void **state)
{
    static const float Z[2] = { 30.0f, 40.0f }, EMBED[2] = { 0.0f, 0.5f };
    static const float SHOW[16] = { 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1 }, NONE[4];
    struct plan_mapping plan = {
        .z_dim = 2, .c_dim = 1, .w_dim = 4, .layers = 1, .gain = 1.0f,
        .embed = { .in = 1, .out = 2, .weight = EMBED, .weight_gain = 1.0f },
        .layer = { { .in = 4, .out = 4, .weight = SHOW, .weight_gain = 1.0f, .bias = NONE } },
    };
    struct mapping mapping;
    struct err e;
    float w[4], scratch[64];

    (void)state;
    assert_int_equal(mapping_init(&mapping, &plan, &e), ERR_OK);
    assert_true(mapping_scratch_count(&mapping) <= 64);
    mapping_cpu(&mapping, Z, 0, w, scratch);
    assert_true(fabsf(w[0] - 0.6f * sqrtf(2.0f)) < 1e-6f);
    assert_true(fabsf(w[1] - 0.8f * sqrtf(2.0f)) < 1e-6f);
    assert_true(w[2] == 0.0f && fabsf(w[3] - sqrtf(2.0f)) < 1e-6f);
    mapping_release(&mapping);
    plan.joint = true;
    assert_int_equal(mapping_init(&mapping, &plan, &e), ERR_OK);
    mapping_cpu(&mapping, Z, 0, w, scratch);
    assert_true(fabsf(w[0] - 1.2f) < 1e-3f && fabsf(w[1] - 1.6f) < 1e-3f);
    assert_true(w[2] == 0.0f && fabsf(w[3] - 0.02f) < 1e-4f);
    mapping_release(&mapping);
}

/* ---- Truncation ---- */

static void truncation_is_exact_at_its_ends(void **state)
{
    enum { ROWS = 4, DIM = 9 };
    float w[ROWS * DIM], before[ROWS * DIM], w_avg[DIM];
    struct truncate_shape n = { .batch = 1, .num_ws = ROWS, .w_dim = DIM };

    (void)state;
    fill_even(w, ROWS * DIM, 1);
    fill_even(w_avg, DIM, 2);
    memcpy(before, w, sizeof w);
    truncate_cpu(w, w_avg, n, 1.0f, ROWS);
    assert_memory_equal(w, before, sizeof w);
    truncate_cpu(w, w_avg, n, 0.3f, 0);
    assert_memory_equal(w, before, sizeof w);
    truncate_cpu(w, w_avg, n, 0.0f, 2);
    assert_memory_equal(w, w_avg, sizeof w_avg);
    assert_memory_equal(w + DIM, w_avg, sizeof w_avg);
    assert_memory_equal(w + 2 * DIM, before + 2 * DIM, 2 * DIM * sizeof *w);
}

static void truncation_reaches_the_layers_before_the_cutoff(void **state)
{
    enum { BATCH = 2, ROWS = 4, DIM = 9 };
    static const float PSI[] = { -1.3f, -0.2f, 0.3f, 0.5f, 0.7f, 1.8f };
    struct truncate_shape n = { .batch = BATCH, .num_ws = ROWS, .w_dim = DIM };

    (void)state;
    for (int k = 0; k < 6; k++)
        for (int cutoff = 0; cutoff <= ROWS; cutoff++) {
            float w[BATCH * ROWS * DIM], before[BATCH * ROWS * DIM], w_avg[DIM];

            fill_even(w, BATCH * ROWS * DIM, 1);
            fill_even(w_avg, DIM, 2);
            memcpy(before, w, sizeof w);
            truncate_cpu(w, w_avg, n, PSI[k], cutoff);
            for (int i = 0; i < BATCH * ROWS * DIM; i++) {
                double avg = (double)w_avg[i % DIM], psi = (double)PSI[k];

                if (i / DIM % ROWS < cutoff)
                    assert_true(fabs(avg + psi * ((double)before[i] - avg) - (double)w[i]) < 1e-6);
                else
                    assert_true(w[i] == before[i]);
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_are_their_definition_at_every_width),
        cmocka_unit_test(networks_of_all_forms_are_their_definition),
        cmocka_unit_test(class_is_normalised_apart_or_with_z),
        cmocka_unit_test(truncation_is_exact_at_its_ends),
        cmocka_unit_test(truncation_reaches_the_layers_before_the_cutoff),
    };

    return cmocka_run_group_tests_name("mapping", tests, NULL, levels_restore);
}
