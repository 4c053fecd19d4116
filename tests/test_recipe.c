#include "proto/recipe.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum { ALL_NOISE = 15, NO_NOISE = 1u << RECIPE_NOISE_NONE };

/* A conditional model with everything, to take things away from. */
static struct model_facts facts_full(void)
{
    struct model_facts facts = { .width = 256, .height = 128, .num_ws = 14, .z_dim = 512,
                                 .w_dim = 512, .c_dim = 10, .noise_modes = ALL_NOISE,
                                 .has_transform = true };

    for (int i = 0; i < DIGEST_LEN; i++)
        facts.digest.bytes[i] = (uint8_t)(i * 7);
    return facts;
}

static struct model_facts facts_plain(void)
{
    struct model_facts facts = facts_full();

    facts.c_dim = 0;
    facts.has_transform = false;
    return facts;
}

static struct recipe resolved(const struct recipe_request *request, const struct model_facts *facts)
{
    struct recipe r;
    struct err e = { 0 };

    if (recipe_resolve(request, facts, &r, NULL, &e))
        fail_msg("%s", e.msg);
    return r;
}

static void assert_refused(const struct recipe_request *request, const struct model_facts *facts,
                           enum err_code code, const char *words)
{
    struct recipe r;
    struct err e = { 0 };

    assert_int_equal(recipe_resolve(request, facts, &r, NULL, &e), code);
    assert_int_equal(e.code, code);
    if (!strstr(e.msg, words))
        fail_msg("\"%s\" does not say \"%s\"", e.msg, words);
}

/* ---- from a request to a recipe ---- */

static void a_request_of_nothing_but_a_seed_gets_every_default(void **state)
{
    struct recipe_request request = RECIPE_REQUEST_DEFAULT;
    struct model_facts facts = facts_plain();
    const char *warning = "not set";
    struct recipe r;

    (void)state;
    request.seed = 7;
    assert_int_equal(recipe_resolve(&request, &facts, &r, &warning, NULL), ERR_OK);
    assert_null(warning);
    assert_int_equal(r.seed, 7);
    assert_int_equal(r.psi, 1000000);
    assert_int_equal(r.cutoff, 14);
    assert_int_equal(r.class_index, -1);
    assert_int_equal(r.noise, RECIPE_NOISE_CONST);
    assert_int_equal(r.transform.kind, RECIPE_TRANSFORM_NONE);
    assert_int_equal(r.width, 256);
    assert_int_equal(r.height, 128);
    assert_int_equal(r.quality, 90);
    assert_int_equal(r.mark, RECIPE_MARK_XMP);
    assert_int_equal(r.rev, 0);
    assert_true(digest_equal(&r.model, &facts.digest));
}

static void a_cutoff_that_reaches_all_rows_is_written_one_way(void **state)
{
    static const struct { int asked; int64_t psi; int got; } CASES[] = {
        { -1, 700000, 14 }, { 0, 700000, 0 }, { 13, 700000, 13 }, { 14, 700000, 14 },
        { 15, 700000, 14 }, { RECIPE_WS_MAX, 700000, 14 },
        { 3, 1000000, 14 },          /* psi 1 truncates nothing, however many rows it reaches */
        { 3, 999999, 3 }, { 3, 0, 3 }, { 3, -1000000, 3 },
    };
    struct model_facts facts = facts_plain();

    (void)state;
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct recipe_request request = RECIPE_REQUEST_DEFAULT;

        request.cutoff = CASES[i].asked;
        request.psi = CASES[i].psi;
        assert_int_equal(resolved(&request, &facts).cutoff, CASES[i].got);
    }
}

static void psi_nought_keeps_its_seed(void **state)
{
    struct recipe_request request = RECIPE_REQUEST_DEFAULT;
    struct model_facts facts = facts_plain();
    struct recipe a, b;

    (void)state;
    request.psi = 0;
    request.seed = 1;
    a = resolved(&request, &facts);
    request.seed = 2;
    b = resolved(&request, &facts);
    struct digest key_a = recipe_key(&a), key_b = recipe_key(&b);

    assert_false(digest_equal(&key_a, &key_b));
}

static void a_class_where_there_are_none_is_dropped_with_a_warning(void **state)
{
    struct recipe_request request = RECIPE_REQUEST_DEFAULT;
    struct model_facts facts = facts_plain();
    const char *warning = NULL;
    struct recipe r;

    (void)state;
    request.class_index = 3;
    assert_int_equal(recipe_resolve(&request, &facts, &r, &warning, NULL), ERR_OK);
    assert_string_equal(warning, "class has no effect on an unconditional model");
    assert_int_equal(r.class_index, -1);
    assert_int_equal(resolved(&request, &facts).class_index, -1);    /* warning NULL is fine */
}

static void a_conditional_model_needs_a_class_that_it_has(void **state)
{
    struct recipe_request request = RECIPE_REQUEST_DEFAULT;
    struct model_facts facts = facts_full();

    (void)state;
    assert_refused(&request, &facts, ERR_CLASS_REQUIRED, "this model needs a class: 0..9");
    request.class_index = 10;
    assert_refused(&request, &facts, ERR_RANGE, "class 10 is out of range: the model has 0..9");
    request.class_index = -2;
    assert_refused(&request, &facts, ERR_RANGE, "class -2");
    request.class_index = 9;
    assert_int_equal(resolved(&request, &facts).class_index, 9);
    request.class_index = 0;
    assert_int_equal(resolved(&request, &facts).class_index, 0);
}

static void where_nothing_reads_noise_every_mode_is_none(void **state)
{
    struct model_facts facts = facts_plain();

    (void)state;
    facts.noise_modes = NO_NOISE;
    for (int noise = -1; noise < RECIPE_NOISE_COUNT; noise++) {
        struct recipe_request request = RECIPE_REQUEST_DEFAULT;

        request.noise = noise;
        request.noise_seed = noise == RECIPE_NOISE_RANDOM ? 5 : -1;
        struct recipe r = resolved(&request, &facts);

        assert_int_equal(r.noise, RECIPE_NOISE_NONE);
        assert_int_equal(r.noise_seed, 0);
    }
}

static void a_drawn_noise_without_effect_is_a_warning(void **state)
{
    static const struct {
        int noise, class_index;
        const char *warning;
    } CASES[] = {
        { -1, -1, NULL }, { RECIPE_NOISE_NONE, -1, NULL }, { RECIPE_NOISE_CONST, -1, NULL },
        { RECIPE_NOISE_RANDOM, -1, "noise mode has no effect on a model without noise inputs" },
        { RECIPE_NOISE_STREAM, -1, "noise mode has no effect on a model without noise inputs" },
        { RECIPE_NOISE_CONST, 3, "class has no effect on an unconditional model" },
        { RECIPE_NOISE_STREAM, 3, "class and noise mode have no effect on this model" },
    };
    struct model_facts facts = facts_plain();

    (void)state;
    facts.noise_modes = NO_NOISE;
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct recipe_request request = RECIPE_REQUEST_DEFAULT;
        const char *warning;
        struct recipe r;

        request.noise = CASES[i].noise;
        request.noise_seed = request.noise == RECIPE_NOISE_RANDOM ? 5 : -1;
        request.class_index = CASES[i].class_index;
        assert_int_equal(recipe_resolve(&request, &facts, &r, &warning, NULL), ERR_OK);
        assert_int_equal(warning != NULL, CASES[i].warning != NULL);
        if (warning)
            assert_string_equal(warning, CASES[i].warning);
    }
}

static void a_noise_mode_that_the_engine_lacks_is_refused(void **state)
{
    struct recipe_request request = RECIPE_REQUEST_DEFAULT;
    struct model_facts facts = facts_plain();

    (void)state;
    facts.noise_modes = 1u << RECIPE_NOISE_NONE | 1u << RECIPE_NOISE_CONST;
    request.noise = RECIPE_NOISE_STREAM;
    assert_refused(&request, &facts, ERR_UNSUPPORTED, "noise mode stream is not supported");
    request.noise = RECIPE_NOISE_RANDOM;
    request.noise_seed = 1;
    assert_refused(&request, &facts, ERR_UNSUPPORTED, "noise mode random is not supported");
    request.noise = RECIPE_NOISE_COUNT;
    assert_refused(&request, &facts, ERR_RANGE, "noise mode 4 is out of range");
    request.noise = -2;
    assert_refused(&request, &facts, ERR_RANGE, "noise mode -2 is out of range");
}

static void a_noise_seed_goes_with_random_and_random_with_a_seed(void **state)
{
    struct recipe_request request = RECIPE_REQUEST_DEFAULT;
    struct model_facts facts = facts_plain();

    (void)state;
    request.noise_seed = 5;
    assert_refused(&request, &facts, ERR_INVALID, "goes with noise mode random only");
    request.noise = RECIPE_NOISE_RANDOM;
    assert_int_equal(resolved(&request, &facts).noise_seed, 5);
    request.noise_seed = UINT32_MAX;
    assert_int_equal(resolved(&request, &facts).noise_seed, UINT32_MAX);
    request.noise_seed = (int64_t)UINT32_MAX + 1;
    assert_refused(&request, &facts, ERR_INVALID, "needs a noise seed, 0..4294967295");
    request.noise_seed = -1;
    assert_refused(&request, &facts, ERR_INVALID, "needs a noise seed");
    facts.noise_modes = NO_NOISE;    /* the wish itself is wrong, whatever the model */
    assert_refused(&request, &facts, ERR_INVALID, "needs a noise seed");
    request.noise = RECIPE_NOISE_STREAM;
    request.noise_seed = 5;
    assert_refused(&request, &facts, ERR_INVALID, "goes with noise mode random only");
}

static void numbers_beyond_their_limits_are_refused(void **state)
{
    struct model_facts facts = facts_plain();
    struct recipe_request request = RECIPE_REQUEST_DEFAULT;

    (void)state;
    request.psi = RECIPE_PSI_MAX + 1;
    assert_refused(&request, &facts, ERR_RANGE, "psi");
    request.psi = -RECIPE_PSI_MAX - 1;
    assert_refused(&request, &facts, ERR_RANGE, "psi");
    request.psi = INT64_MIN;
    assert_refused(&request, &facts, ERR_RANGE, "psi");
    request = RECIPE_REQUEST_DEFAULT;
    request.cutoff = RECIPE_WS_MAX + 1;
    assert_refused(&request, &facts, ERR_RANGE, "cutoff 65");
    request.cutoff = -2;
    assert_refused(&request, &facts, ERR_RANGE, "cutoff -2");
    request = RECIPE_REQUEST_DEFAULT;
    request.quality = 0;
    assert_refused(&request, &facts, ERR_RANGE, "quality 0");
    request.quality = 101;
    assert_refused(&request, &facts, ERR_RANGE, "quality 101");
    request = RECIPE_REQUEST_DEFAULT;
    request.mark = RECIPE_MARK_COUNT;
    assert_refused(&request, &facts, ERR_RANGE, "mark 3");
    request.mark = -2;
    assert_refused(&request, &facts, ERR_RANGE, "mark -2");
    request.mark = RECIPE_MARK_C2PA;              /* whether it can be had, a worker knows */
    assert_int_equal(resolved(&request, &facts).mark, RECIPE_MARK_C2PA);
}

static void a_transform_is_for_models_that_have_one(void **state)
{
    struct recipe_request request = RECIPE_REQUEST_DEFAULT;
    struct model_facts facts = facts_plain();

    (void)state;
    request.transform = (struct recipe_transform){ .kind = RECIPE_TRANSFORM_TR, .tx = 250000 };
    assert_refused(&request, &facts, ERR_UNSUPPORTED,
                   "this model has no transform to translate and rotate with; only StyleGAN 3 "
                   "models have one");
    facts.has_transform = true;
    assert_int_equal(resolved(&request, &facts).transform.tx, 250000);
    request.transform = (struct recipe_transform){ .kind = RECIPE_TRANSFORM_MATRIX };
    assert_int_equal(resolved(&request, &facts).transform.kind, RECIPE_TRANSFORM_MATRIX);
    facts.has_transform = false;
    assert_refused(&request, &facts, ERR_UNSUPPORTED,
                   "this model has no transform; only StyleGAN 3 models have one");
}

/* Also for a model without: nothing is asked of it. */
static void a_transform_that_moves_nothing_is_none(void **state)
{
    static const struct recipe_transform NOTHING[] = {
        { .kind = RECIPE_TRANSFORM_NONE, .tx = 5 },
        { .kind = RECIPE_TRANSFORM_TR },
        { .kind = RECIPE_TRANSFORM_MATRIX, .m = { 1, 0, 0, 0, 1, 0, 0, 0, 1 } },
        { .kind = RECIPE_TRANSFORM_MATRIX, .m = { 1, -0.0f, 0, 0, 1, 0, -0.0f, 0, 1 } },
    };
    struct recipe_request request = RECIPE_REQUEST_DEFAULT;
    struct model_facts facts = facts_plain();
    struct recipe plain = resolved(&request, &facts);
    struct digest key = recipe_key(&plain);

    (void)state;
    for (size_t i = 0; i < COUNT(NOTHING); i++) {
        request.transform = NOTHING[i];
        struct recipe r = resolved(&request, &facts);
        struct digest other = recipe_key(&r);

        assert_true(digest_equal(&key, &other));
        assert_true(recipe_transform_is_same(&NOTHING[i], &plain.transform));
    }
}

static void minus_nought_in_a_matrix_is_nought(void **state)
{
    struct recipe_transform with = { .kind = RECIPE_TRANSFORM_MATRIX, .m = { 2, -0.0f } };
    struct recipe_transform without = { .kind = RECIPE_TRANSFORM_MATRIX, .m = { 2 } };
    struct recipe_transform other = { .kind = RECIPE_TRANSFORM_MATRIX, .m = { 2, FLT_TRUE_MIN } };
    struct recipe_request request = RECIPE_REQUEST_DEFAULT;
    struct model_facts facts = facts_full();

    (void)state;
    request.class_index = 0;
    request.transform = with;
    struct recipe r = resolved(&request, &facts);

    assert_false(signbit(r.transform.m[1]));
    assert_true(recipe_transform_is_same(&with, &without));
    assert_false(recipe_transform_is_same(&with, &other));
    other = (struct recipe_transform){ .kind = RECIPE_TRANSFORM_TR, .tx = 1 };
    assert_false(recipe_transform_is_same(&with, &other));
}

/* What resolve lets through, recipe_parse must be able to read: a key that nobody can prove would
 * be worth nothing. */
static void a_transform_beyond_its_limits_is_refused(void **state)
{
    static const struct recipe_transform BAD[] = {
        { .kind = RECIPE_TRANSFORM_TR, .tx = RECIPE_SHIFT_MAX + 1 },
        { .kind = RECIPE_TRANSFORM_TR, .ty = -RECIPE_SHIFT_MAX - 1 },
        { .kind = RECIPE_TRANSFORM_TR, .degrees = INT64_MIN },
        { .kind = RECIPE_TRANSFORM_MATRIX, .m = { 1, 0, 0, 0, 1, 0, 0, 0, NAN } },
        { .kind = RECIPE_TRANSFORM_MATRIX, .m = { -INFINITY, 0, 0, 0, 1, 0, 0, 0, 1 } },
        { .kind = RECIPE_TRANSFORM_MATRIX + 1 },
    };
    struct model_facts facts = facts_full();

    (void)state;
    for (size_t i = 0; i < COUNT(BAD); i++) {
        struct recipe_request request = RECIPE_REQUEST_DEFAULT;

        request.class_index = 0;
        request.transform = BAD[i];
        assert_refused(&request, &facts, ERR_RANGE, "transform is out of range");
    }
}

/* Facts come over the wire from a worker, which may leave them out. */
static void a_model_announced_without_its_size_is_refused(void **state)
{
    struct recipe_request request = RECIPE_REQUEST_DEFAULT;
    struct model_facts facts = facts_plain();

    (void)state;
    facts.width = 0;
    assert_refused(&request, &facts, ERR_UNSUPPORTED, "sizes that cannot be");
    facts.width = RECIPE_SIZE_MAX + 1;
    assert_refused(&request, &facts, ERR_UNSUPPORTED, "sizes that cannot be");
    facts = facts_plain();
    facts.height = 0;
    assert_refused(&request, &facts, ERR_UNSUPPORTED, "sizes that cannot be");
    facts = facts_plain();
    facts.num_ws = RECIPE_WS_MAX + 1;
    assert_refused(&request, &facts, ERR_UNSUPPORTED, "sizes that cannot be");
}

/* ---- the text ---- */

#define MODEL "00070e151c232a31383f464d545b626970777e858c939aa1a8afb6bdc4cbd2d9"
static const char TEXT[] =
    "seedpress-recipe/1\nmodel=" MODEL "\nlatent=seed:42\npsi=700000\ncutoff=8\nclass=3\n"
    "noise=random:9\ntransform=tr:250000,-1,45000000\nsize=256x128:native\n"
    "format=jpeg:q80:420:baseline\nmark=none\nrev=2\n";

static void the_text_is_as_the_page_says_and_hashes_to_the_key(void **state)
{
    struct recipe_request request = {
        .seed = 42, .psi = 700000, .cutoff = 8, .class_index = 3, .noise = RECIPE_NOISE_RANDOM,
        .noise_seed = 9, .quality = 80, .mark = RECIPE_MARK_NONE, .rev = 2,
        .transform = { .kind = RECIPE_TRANSFORM_TR, .tx = 250000, .ty = -1, .degrees = 45000000 },
    };
    struct model_facts facts = facts_full();
    struct recipe r = resolved(&request, &facts);
    struct recipe_text text = recipe_text(&r);
    struct digest key = recipe_key(&r), sum = digest_of(TEXT, strlen(TEXT));

    (void)state;
    assert_string_equal(text.text, TEXT);
    assert_int_equal(text.len, strlen(TEXT));
    assert_true(digest_equal(&key, &sum));
}

static void the_longest_text_fits(void **state)
{
    struct recipe r = { .seed = UINT32_MAX, .psi = -RECIPE_PSI_MAX, .cutoff = RECIPE_WS_MAX,
                        .class_index = RECIPE_CLASS_MAX, .noise = RECIPE_NOISE_RANDOM,
                        .noise_seed = UINT32_MAX, .transform.kind = RECIPE_TRANSFORM_MATRIX,
                        .width = RECIPE_SIZE_MAX, .height = RECIPE_SIZE_MAX, .quality = 100,
                        .mark = RECIPE_MARK_NONE, .rev = UINT32_MAX };
    struct recipe_text text = recipe_text(&r);
    struct recipe back;

    (void)state;
    assert_true(text.len < RECIPE_TEXT_MAX);
    assert_int_equal(strlen(text.text), text.len);
    assert_int_equal(recipe_parse(text.text, text.len, &back, NULL), ERR_OK);
}

static void every_resolved_recipe_is_read_back_the_same(void **state)
{
    struct model_facts facts = facts_full();
    uint32_t random = 1;

    (void)state;
    for (int i = 0; i < 2000; i++) {
        struct recipe_request request = RECIPE_REQUEST_DEFAULT;
        struct recipe r, back;
        struct err e;

        random = random * 1664525u + 1013904223u;
        request.seed = random;
        request.psi = (int64_t)(random >> 3) % (2 * RECIPE_PSI_MAX + 1) - RECIPE_PSI_MAX;
        request.cutoff = (int)(random >> 7) % 16 - 1;
        request.class_index = (int)(random >> 9) % 10;
        request.noise = (int)(random >> 11) % RECIPE_NOISE_COUNT;
        request.noise_seed = request.noise == RECIPE_NOISE_RANDOM ? (int64_t)(random >> 1) : -1;
        request.transform.kind = (enum recipe_transform_kind)(random >> 13) % 3;
        request.transform.tx = -(int64_t)(random >> 5);
        request.transform.degrees = random >> 4;
        request.transform.tx %= RECIPE_SHIFT_MAX;
        request.transform.degrees %= RECIPE_SHIFT_MAX;
        for (int k = 0; k < 9; k++)
            request.transform.m[k] = (float)(random >> k) / 3.0f - 1e8f;
        request.quality = 1 + (int)(random >> 17) % 100;
        request.mark = (int)(random >> 19) % 2;
        request.rev = random >> 21;
        r = resolved(&request, &facts);
        struct recipe_text text = recipe_text(&r), again;

        if (recipe_parse(text.text, text.len, &back, &e))
            fail_msg("%s\n%s", e.msg, text.text);
        again = recipe_text(&back);
        assert_string_equal(text.text, again.text);
    }
}

static void the_subject_is_the_picture_whatever_its_psi_and_encoding(void **state)
{
    struct recipe_request request = RECIPE_REQUEST_DEFAULT;
    struct model_facts facts = facts_full();
    const char *plain = "seedpress-subject/1\nmodel=" MODEL "\nlatent=seed:5\nclass=3\n";
    struct digest expect = digest_of(plain, strlen(plain)), got;
    struct recipe r;

    (void)state;
    request.seed = 5;
    request.class_index = 3;
    r = resolved(&request, &facts);
    got = recipe_subject(&r);
    assert_true(digest_equal(&got, &expect));
    request.psi = 0;
    request.cutoff = 2;
    request.quality = 10;
    request.noise = RECIPE_NOISE_NONE;
    request.rev = 9;
    r = resolved(&request, &facts);
    got = recipe_subject(&r);
    assert_true(digest_equal(&got, &expect));
    request.class_index = 4;
    r = resolved(&request, &facts);
    got = recipe_subject(&r);
    assert_false(digest_equal(&got, &expect));
}

/* ---- strict reading ---- */

/* TEXT with the first from replaced by to. */
static void changed(const char *from, const char *to, char out[1024])
{
    const char *at = strstr(TEXT, from);

    assert_non_null(at);
    snprintf(out, 1024, "%.*s%s%s", (int)(at - TEXT), TEXT, to, at + strlen(from));
}

static void assert_unreadable(const char *text, size_t len)
{
    struct recipe r = { .seed = 77 };
    struct err e = { 0 };

    if (recipe_parse(text, len, &r, &e) != ERR_INVALID)
        fail_msg("this was read as a recipe:\n%.*s", (int)len, text);
    assert_int_equal(r.seed, 77);                /* untouched */
    assert_true(strlen(e.msg) > 0);
}

static void whatever_recipe_text_would_write_otherwise_is_refused(void **state)
{
    static const char *const CHANGES[][2] = {
        { "seedpress-recipe/1", "seedpress-recipe/2" },
        { "seedpress-recipe/1\n", "" },
        { MODEL, "00070E151c232a31383f464d545b626970777e858c939aa1a8afb6bdc4cbd2d9" },
        { MODEL, "00070e" },
        { "latent=seed:42", "latent=seed:042" },
        { "latent=seed:42", "latent=seed:-1" },
        { "latent=seed:42", "latent=seed:4294967296" },
        { "latent=seed:42", "latent=seed:" },
        { "latent=seed:42", "latent=w:42" },
        { "latent=seed:42", "latent=seed: 42" },
        { "psi=700000", "psi=0.7" },
        { "psi=700000", "psi=+700000" },
        { "psi=700000", "psi=-0" },
        { "psi=700000", "psi=2000001" },
        { "psi=700000", "psi=-2000001" },
        { "psi=700000", "psi=0700000" },
        { "psi=700000", "psi=7e5" },
        { "cutoff=8", "cutoff=65" },
        { "cutoff=8", "cutoff=-1" },
        { "cutoff=8", "cutoff=08" },
        { "cutoff=8\n", "" },
        { "class=3", "class=-1" },
        { "class=3", "class=65536" },
        { "class=3", "class=None" },
        { "noise=random:9", "noise=random" },
        { "noise=random:9", "noise=random:-1" },
        { "noise=random:9", "noise=random:4294967296" },
        { "noise=random:9", "noise=fixed" },
        { "noise=random:9", "noise=" },
        { "tr:250000,-1,45000000", "tr:250000,-1" },
        { "tr:250000,-1,45000000", "tr:1,2,3,4" },
        { "tr:250000,-1,45000000", "tr:1000000001,0,0" },
        { "tr:250000,-1,45000000", "tr:0,-0,0" },
        { "tr:250000,-1,45000000", "r:1" },
        { "tr:250000,-1,45000000", "tr:0,0,0" },
        { "tr:250000,-1,45000000", /* the identity */
          "m:3f800000,00000000,00000000,00000000,3f800000,00000000,00000000,00000000,3f800000" },
        { "tr:250000,-1,45000000", /* minus nought */
          "m:3f800000,80000000,00000000,00000000,3f800000,00000000,00000000,00000000,40000000" },
        { "tr:250000,-1,45000000", /* infinity */
          "m:3f800000,00000000,00000000,00000000,3f800000,00000000,00000000,00000000,7f800000" },
        { "tr:250000,-1,45000000", /* NaN */
          "m:3f800000,00000000,00000000,00000000,3f800000,00000000,00000000,00000000,ffc00000" },
        { "tr:250000,-1,45000000", /* upper case */
          "m:3F800000,00000000,00000000,00000000,3f800000,00000000,00000000,00000000,3f800000" },
        { "tr:250000,-1,45000000", /* eight */
          "m:3f800000,00000000,00000000,00000000,3f800000,00000000,00000000,00000000" },
        { "size=256x128", "size=0x128" },
        { "size=256x128", "size=256x4097" },
        { "size=256x128", "size=256*128" },
        { ":native", ":2x" },
        { ":native", "" },
        { "q80", "q0" },
        { "q80", "q101" },
        { "q80", "q080" },
        { ":420:", ":444:" },
        { ":baseline", ":progressive" },
        { "mark=none", "mark=" },
        { "mark=none", "mark=XMP" },
        { "mark=none", "mark=xmp2" },
        { "rev=2\n", "rev=2" },
        { "rev=2\n", "rev=2\n\n" },
        { "rev=2\n", "rev=2\r\n" },
        { "rev=2\n", "rev=4294967296\n" },
        { "rev=2\n", "rev=-1\n" },
        { "rev=2\n", "rev=2\nmore=1\n" },
        { "psi=700000\n", "psi=700000\npsi=700000\n" },
        { "psi=700000\ncutoff=8\n", "cutoff=8\npsi=700000\n" },
        { "\n", "\r\n" },
    };
    char text[1024];

    (void)state;
    for (size_t i = 0; i < COUNT(CHANGES); i++) {
        changed(CHANGES[i][0], CHANGES[i][1], text);
        assert_unreadable(text, strlen(text));
    }
}

static void no_part_of_a_text_is_a_text(void **state)
{
    struct recipe r;

    (void)state;
    for (size_t len = 0; len < strlen(TEXT); len++) {
        char *exact = malloc(len + 1);           /* of its own size: ASan sees one byte too far */

        memcpy(exact, TEXT, len);
        exact = realloc(exact, len ? len : 1);
        assert_unreadable(exact, len);
        free(exact);
    }
    assert_unreadable(TEXT, sizeof TEXT);        /* a NUL at its end */
    assert_int_equal(recipe_parse(TEXT, strlen(TEXT), &r, NULL), ERR_OK);
}

static void a_refusal_names_the_line(void **state)
{
    char text[1024];
    struct recipe r;
    struct err e;

    (void)state;
    changed("cutoff=8", "cutoff=x", text);
    assert_int_equal(recipe_parse(text, strlen(text), &r, &e), ERR_INVALID);
    assert_string_equal(e.msg, "recipe text is not canonical near line 5");
    memset(text, 'a', sizeof text);
    assert_int_equal(recipe_parse(text, sizeof text, &r, &e), ERR_INVALID);
    assert_string_equal(e.msg, "recipe text of 1024 bytes is too long");
}

/* ---- small things ---- */

static void psi_is_the_nearest_float32(void **state)
{
    (void)state;
    assert_true(recipe_psi_float(700000) == 0.7f);
    assert_true(recipe_psi_float(-1300000) == -1.3f);
    assert_true(recipe_psi_float(1) == 0.000001f);
    assert_true(recipe_psi_float(1000000) == 1.0f);
    assert_true(recipe_psi_float(0) == 0.0f && !signbit(recipe_psi_float(0)));
}

static void names_are_safe_in_messages_files_and_urls(void **state)
{
    static const char *const GOOD[] = { "cats", "a", "A9", "stylegan2-ffhq_1.0", "_x", "x.", "0" };
    static const char *const BAD[] = { "",      ".",   "..",   ".hidden", "-flag",
                                       "a/b",   "a b", "a@b",  "a\n",     "caf\xc3\xa9",
                                       "a%20b", "a:b", "a\\b", "a?b" };
    char longest[RECIPE_NAME_MAX + 1];

    (void)state;
    for (size_t i = 0; i < COUNT(GOOD); i++)
        assert_true(recipe_name_is_valid(GOOD[i], strlen(GOOD[i])));
    for (size_t i = 0; i < COUNT(BAD); i++)
        assert_false(recipe_name_is_valid(BAD[i], strlen(BAD[i])));
    memset(longest, 'n', sizeof longest);
    assert_true(recipe_name_is_valid(longest, RECIPE_NAME_MAX));
    assert_false(recipe_name_is_valid(longest, RECIPE_NAME_MAX + 1));
    assert_false(recipe_name_is_valid("a\0b", 3));
}

static void digests_are_read_in_one_form_only(void **state)
{
    struct digest d, untouched = { { 9 } };
    const char *abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    struct digest_state *parts = digest_create();

    (void)state;
    d = digest_of("abc", 3);
    assert_string_equal(digest_hex(&d).text, abc);
    digest_add(parts, "a", 1);
    digest_add(parts, "bc", 2);
    struct digest sum = digest_finish(&parts);

    assert_null(parts);
    assert_true(digest_equal(&d, &sum));
    assert_true(digest_parse(abc, DIGEST_HEX_LEN, &sum));
    assert_true(digest_equal(&d, &sum));

    sum = untouched;
    assert_false(digest_parse(abc, DIGEST_HEX_LEN - 1, &sum));
    assert_false(digest_parse("BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD",
                              DIGEST_HEX_LEN, &sum));
    assert_false(digest_parse("ga7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                              DIGEST_HEX_LEN, &sum));
    assert_true(digest_equal(&sum, &untouched));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_of_nothing_but_a_seed_gets_every_default),
        cmocka_unit_test(a_cutoff_that_reaches_all_rows_is_written_one_way),
        cmocka_unit_test(psi_nought_keeps_its_seed),
        cmocka_unit_test(a_class_where_there_are_none_is_dropped_with_a_warning),
        cmocka_unit_test(a_conditional_model_needs_a_class_that_it_has),
        cmocka_unit_test(where_nothing_reads_noise_every_mode_is_none),
        cmocka_unit_test(a_drawn_noise_without_effect_is_a_warning),
        cmocka_unit_test(a_noise_mode_that_the_engine_lacks_is_refused),
        cmocka_unit_test(a_noise_seed_goes_with_random_and_random_with_a_seed),
        cmocka_unit_test(numbers_beyond_their_limits_are_refused),
        cmocka_unit_test(a_transform_is_for_models_that_have_one),
        cmocka_unit_test(a_transform_that_moves_nothing_is_none),
        cmocka_unit_test(minus_nought_in_a_matrix_is_nought),
        cmocka_unit_test(a_transform_beyond_its_limits_is_refused),
        cmocka_unit_test(a_model_announced_without_its_size_is_refused),
        cmocka_unit_test(the_text_is_as_the_page_says_and_hashes_to_the_key),
        cmocka_unit_test(the_longest_text_fits),
        cmocka_unit_test(every_resolved_recipe_is_read_back_the_same),
        cmocka_unit_test(the_subject_is_the_picture_whatever_its_psi_and_encoding),
        cmocka_unit_test(whatever_recipe_text_would_write_otherwise_is_refused),
        cmocka_unit_test(no_part_of_a_text_is_a_text),
        cmocka_unit_test(a_refusal_names_the_line),
        cmocka_unit_test(psi_is_the_nearest_float32),
        cmocka_unit_test(names_are_safe_in_messages_files_and_urls),
        cmocka_unit_test(digests_are_read_in_one_form_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
