/* `seedpress model inspect` and `model convert` from outside, on the golden networks. */
#include "base/file.h"
#include "kernels/model.h"
#include "tests/kit_temp.h"

#include <cjson/cJSON.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define SG1      "tests/golden/sg1_cond_16/sg1_cond_16"
#define SG2      "tests/golden/sg2_fp16_64/sg2_fp16_64"
#define SG3      "tests/golden/sg3r_32/sg3r_32"
#define DIGEST3  "d81e953a5317cb0777933961e4c2f25ebe2601e200d432e77dee9ca167c6d227"

enum { ARGS_MAX = 16 };

/* Runs seedpress with the words of args, which ends in NULL. */
#define SEEDPRESS(...) run_seedpress((const char *const[]){ __VA_ARGS__, NULL }, NULL)

static void expect_words(struct ran ran, const char *const *words)
{
    if (ran.exit_code != 0)
        fail_msg("exit code %d: %s", ran.exit_code, ran.err);
    for (; *words; words++)
        if (!strstr(ran.out, *words))
            fail_msg("\"%s\" is not in: %s", *words, ran.out);
    ran_release(&ran);
}
#define EXPECT_WORDS(ran, ...) expect_words(ran, (const char *const[]){ __VA_ARGS__, NULL })

static cJSON *object_of(struct ran *ran)
{
    cJSON *object = cJSON_Parse(ran->out);

    if (ran->exit_code != 0 || !object)
        fail_msg("exit code %d: %s%s", ran->exit_code, ran->out, ran->err);
    return object;
}

static double number_of(const cJSON *object, const char *key)
{
    return cJSON_GetNumberValue(cJSON_GetObjectItem(object, key));
}

static const char *word_of(const cJSON *object, const char *key)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(object, key));

    return text ? text : "";
}

static void inspect_tells_each_architecture(void **state)
{
    (void)state;
    EXPECT_WORDS(SEEDPRESS("model", "inspect", SG1 ".safetensors"),
                 "architecture  stylegan1", "format        safetensors",
                 "size          16 x 16 pixels", "z_dim 48, w_dim 40, num_ws 6",
                 "classes       0..5", "noise modes   none, const", "transform     none",
                 "licence       not stated in the file");
    EXPECT_WORDS(SEEDPRESS("model", "inspect", SG2 ".safetensors"),
                 "architecture  stylegan2", "conv_clamp    1.5", "classes       none");
    EXPECT_WORDS(SEEDPRESS("model", "inspect", SG3 ".safetensors"),
                 "architecture  stylegan3", "digest        " DIGEST3, "conv_clamp    256",
                 "transform     yes", "tensors       58, 37251 parameters",
                 "backends      cpu, cuda (not ");   /* yet run on a device, or installed */
}

static void inspect_tells_a_pkl_and_whose_it_may_be(void **state)
{
    (void)state;
    EXPECT_WORDS(SEEDPRESS("model", "inspect", SG3 ".pkl"),
                 "format        pkl", "digest        " DIGEST3, "source_sha256 ",
                 "not stated in the file; the official StyleGAN weights are for non-commercial ");
}

static void inspect_with_json_is_an_object(void **state)
{
    struct ran ran = SEEDPRESS("--json", "model", "inspect", SG2 ".safetensors");
    cJSON *object = object_of(&ran);

    (void)state;
    assert_string_equal(word_of(object, "architecture"), "stylegan2");
    assert_string_equal(word_of(object, "format"), "safetensors");
    assert_true(number_of(object, "conv_clamp") == 1.5);
    assert_true(number_of(object, "num_ws") == 10);
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(object, "has_transform")));
    cJSON_Delete(object);
    ran_release(&ran);
    ran = SEEDPRESS("--json", "model", "inspect", SG1 ".safetensors");
    object = object_of(&ran);
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(object, "conv_clamp")));
    assert_true(number_of(object, "c_dim") == 6);
    cJSON_Delete(object);
    ran_release(&ran);
}

static void converted_file_is_the_same_model(void **state)
{
    static const char *const FILES[] = { SG1 ".safetensors", SG1 ".pkl", SG2 ".pkl", SG3 ".pkl" };
    struct temp temp = temp_create();
    struct temp_path out = temp_path(&temp, "out.safetensors");

    (void)state;
    for (size_t i = 0; i < COUNT(FILES); i++) {
        struct model *in, *written;
        struct err e;

        if (model_open(FILES[i], &in, &e))
            fail_msg("%s", e.msg);
        EXPECT_WORDS(SEEDPRESS("model", "convert", FILES[i], out.text), FILES[i], out.text,
                     digest_hex(&model_facts(in)->digest).text);
        if (model_open(out.text, &written, &e))
            fail_msg("%s", e.msg);
        assert_true(digest_equal(&model_facts(in)->digest, &model_facts(written)->digest));
        assert_int_equal(model_note(in, "source_sha256") != NULL,
                         model_note(written, "source_sha256") != NULL);
        model_destroy(&in);
        model_destroy(&written);
        assert_int_equal(temp_count(&temp), 1);     /* the one before was replaced */
    }
    temp_destroy(&temp);
}

static void convert_keeps_what_a_file_says_of_itself(void **state)
{
    struct temp temp = temp_create();
    struct temp_path out = temp_path(&temp, "out.safetensors");

    (void)state;
    EXPECT_WORDS(SEEDPRESS("model", "convert", "deploy/models/avatars64.safetensors", out.text),
                 "4a9f879dadf762235758a47883ce6d9ebc2e129a38ac4d79d2dac6acc74d2572");
    EXPECT_WORDS(SEEDPRESS("model", "inspect", out.text), "licence       CC0-1.0", "name  ");
    temp_destroy(&temp);
}

static void convert_with_json_is_an_object(void **state)
{
    struct temp temp = temp_create();
    struct temp_path out = temp_path(&temp, "out.safetensors");
    struct ran ran = SEEDPRESS("--json", "model", "convert", SG3 ".safetensors", out.text);
    cJSON *object = object_of(&ran);

    (void)state;
    assert_string_equal(word_of(object, "in"), SG3 ".safetensors");
    assert_string_equal(word_of(object, "out"), out.text);
    assert_string_equal(word_of(object, "digest"), DIGEST3);
    cJSON_Delete(object);
    ran_release(&ran);
    temp_destroy(&temp);
}

static void what_is_wrong_is_said_in_words_with_its_exit_code(void **state)
{
    /* What pickle.dump(os.system) writes, and then a file that only claims to be one. */
    static const char EVIL[] = "\x80\x02" "cos\nsystem\nq\x00X\x04\x00\x00\x00true\x85R.";
    struct temp temp = temp_create();
    struct temp_path out = temp_path(&temp, "out.safetensors"), evil = temp_path(&temp, "evil.pkl");
    const struct {
        const char *args[ARGS_MAX];
        int exit_code;
        const char *words;
    } CASES[] = {
        { { "model", "convert" }, 2, "model convert needs IN and OUT.safetensors" },
        { { "model", "convert", SG3 ".pkl" }, 2, "model convert needs IN and OUT.safetensors" },
        { { "model", "convert", SG3 ".pkl", "out.pkl" }, 2, "does not end in .safetensors" },
        { { "model", "convert", "--frobnicate" }, 2, "unknown option \"--frobnicate\"" },
        { { "model", "inspect", SG3 ".pkl", SG3 ".pkl" }, 2, "model inspect needs one file" },
        { { "model", "convert", "no/such.pkl", out.text }, 7, "no/such.pkl" },
        { { "model", "convert", "Makefile", out.text }, 7, "model \"Makefile\": " },
        { { "model", "convert", SG3 ".pkl", "no/such/x.safetensors" }, 7,
          "its folder does not exist" },
        { { "model", "convert", evil.text, out.text }, 7, "os.system" },
        { { "model", "inspect", evil.text }, 7, "os.system" },
    };
    struct err e;

    (void)state;
    assert_int_equal(file_write_atomic(evil.text, EVIL, sizeof EVIL - 1, &e), ERR_OK);
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct ran ran = run_seedpress(CASES[i].args, NULL);

        if (ran.exit_code != CASES[i].exit_code || strncmp(ran.err, "seedpress: ", 11) != 0 ||
            !strstr(ran.err, CASES[i].words))
            fail_msg("case %zu gives %d and says: %s", i, ran.exit_code, ran.err);
        assert_string_equal(ran.out, "");
        ran_release(&ran);
    }
    assert_int_equal(access(out.text, F_OK), -1);
    temp_destroy(&temp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inspect_tells_each_architecture),
        cmocka_unit_test(inspect_tells_a_pkl_and_whose_it_may_be),
        cmocka_unit_test(inspect_with_json_is_an_object),
        cmocka_unit_test(converted_file_is_the_same_model),
        cmocka_unit_test(convert_keeps_what_a_file_says_of_itself),
        cmocka_unit_test(convert_with_json_is_an_object),
        cmocka_unit_test(what_is_wrong_is_said_in_words_with_its_exit_code),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
