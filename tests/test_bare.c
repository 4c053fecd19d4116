/* The stand-ins of tests/gpu/bare, with which a machine without libraries checks its GPU, against
 * the libraries: a digest or a model file must mean the same there. */
#include "proto/digest.h"
#include "tests/gpu/bare/json.h"
#include "tests/gpu/bare/sha256.h"
#include "tests/kit_arch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <cjson/cJSON.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 1 << 20, LENGTH_BYTES = 8 };

static void digests_are_libcryptos(void **state)
{
    struct kit_random random = { .state = 5 };
    static uint8_t bytes[70000];
    struct bare_sha256 bare;
    uint8_t got[32];

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)kit_random_whole(&random, 0, 255);
    for (size_t len = 0; len <= sizeof bytes; len = len < 260 ? len + 1 : len * 3) {
        struct digest expect = digest_of(bytes, len);

        bare_sha256_init(&bare);
        for (size_t at = 0, step; at < len; at += step) {
            step = (size_t)kit_random_whole(&random, 0, len < 260 ? 70 : 9000);
            step = step > len - at ? len - at : step;
            bare_sha256_add(&bare, bytes + at, step);
        }
        bare_sha256_finish(&bare, got);
        assert_memory_equal(got, expect.bytes, sizeof got);
    }
}

static bool is_same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static enum bare_json_kind kind_of(const cJSON *item)
{
    return cJSON_IsNull(item)     ? BARE_JSON_NULL
           : cJSON_IsFalse(item)  ? BARE_JSON_FALSE
           : cJSON_IsTrue(item)   ? BARE_JSON_TRUE
           : cJSON_IsNumber(item) ? BARE_JSON_NUMBER
           : cJSON_IsString(item) ? BARE_JSON_STRING
           : cJSON_IsArray(item)  ? BARE_JSON_ARRAY
                                  : BARE_JSON_OBJECT;
}

/* Of two lists of siblings. */
static bool is_same_tree(const struct bare_json *a, const cJSON *b)
{
    for (; a && b; a = a->next, b = b->next)
        if (a->kind != kind_of(b) || !is_same_text(a->string, b->string) ||
            !is_same_text(a->valuestring, b->valuestring) ||
            (a->kind == BARE_JSON_NUMBER &&
             memcmp(&a->valuedouble, &b->valuedouble, sizeof(double)) != 0) ||
            !is_same_tree(a->child, b->child))
            return false;
    return !a && !b;
}

/* How many texts were JSON. */
static int compare(const char *text, size_t len)
{
    const char *end = NULL, *expect_end = NULL;
    cJSON *expect = cJSON_ParseWithLengthOpts(text, len, &expect_end, false);
    struct bare_json *got = bare_json_parse(text, len, &end);
    int good = expect != NULL;

    if (!got != !expect || !is_same_tree(got, expect) || (got && end != expect_end))
        fail_msg("read otherwise than by cJSON: %.*s", (int)(len < 300 ? len : 300), text);
    cJSON_Delete(expect);
    bare_json_delete(got);
    return good;
}

static void json_is_read_as_cjson_reads_it(void **state)
{
    static const char *const TEXTS[] = {
        "", " ", "{}", "[]", " { } ", "null", "nul", "true", "false", "truex", "1", "-1", "+1",
        "01", "1.", ".5", "-", "1e5", "1e", "1e400", "-0", "1-2", "123456789012345678901234567890",
        "[1,2]", "[1,]", "[,1]", "[1", "[", "{", "{\"a\"}", "{\"a\":}", "{\"a\":1", "{\"a\":1,}",
        "{\"a\":1}x", "{\"a\":1,\"a\":2}", "{a:1}", "{1:1}", "\"\"", "\"", "\"\\", "\"\\\"",
        "\"\\n\\t\\b\\f\\r\\/\\\\\\\"\"", "\"\\x\"", "\"\\u0041\"", "\"\\u00e9\\u20ac\"",
        "\"\\ud83d\\ude00\"", "\"\\ud83d\"", "\"\\ude00\"", "\"\\ud83dx\"", "\"\\ud83d\\u0041\"",
        "\"\\u12\"", "\"\\uzzzz\"", "\"a\nb\"", "\xef\xbb\xbf{}", "\xef\xbb\xbf[1]", "[1 2]",
        "{\"a\" : [ 1 , { \"b\" : null } ] }\n", "[[[[[]]]]]", "{\"\":\"\"}", "'a'", "[\"\\u0000\"]",
    };
    static char deep[2 * 1100];

    (void)state;
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++)
        compare(TEXTS[i], strlen(TEXTS[i]));
    for (size_t depth = 990; depth <= 1010; depth++) {
        memset(deep, '[', depth);
        memset(deep + depth, ']', depth);
        compare(deep, 2 * depth);
    }
}

/* The file's header, and copies of it with a few bytes changed. */
static int compare_header(const uint8_t *bytes, size_t len, struct kit_random *random)
{
    static const char LIKELY[] = "{}[]\",:\\u0123456789.-+eEntf \t";
    size_t json_len = 0;
    int good;

    for (int i = LENGTH_BYTES; i-- > 0 && len >= LENGTH_BYTES;)
        json_len = json_len << 8 | bytes[i];
    if (len < LENGTH_BYTES || json_len > len - LENGTH_BYTES || json_len == 0)
        return 0;
    good = compare((const char *)bytes + LENGTH_BYTES, json_len);

    char *copy = malloc(json_len);

    assert_non_null(copy);
    for (int round = 0; round < 20; round++) {
        memcpy(copy, bytes + LENGTH_BYTES, json_len);
        for (int n = kit_random_whole(random, 1, 4); n > 0; n--)
            copy[kit_random_whole(random, 0, (int)json_len - 1)] =
                LIKELY[kit_random_whole(random, 0, (int)sizeof LIKELY - 2)];
        good += compare(copy, (size_t)kit_random_whole(random, (int)json_len / 2, (int)json_len));
    }
    free(copy);
    return good;
}

static void model_files_are_read_as_cjson_reads_them(void **state)
{
    struct kit_random random = { .state = 7 };
    static struct kit_arch arch;
    static uint8_t bytes[TEXT_MAX];
    int good = 0;
    glob_t found;

    (void)state;
    for (int i = 0; i < 30; i++) {
        size_t len;

        kit_arch_random(&arch, (enum model_arch)(i % 3), 16, true, &random);
        uint8_t *file = kit_arch_bytes(&arch, &(struct kit_weights){ .scale = 1 }, &len);

        good += compare_header(file, len, &random);
        free(file);
    }
    assert_int_equal(glob("tests/corpus/model/*", 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        FILE *file = fopen(found.gl_pathv[i], "rb");

        assert_non_null(file);
        good += compare_header(bytes, fread(bytes, 1, sizeof bytes, file), &random);
        fclose(file);
    }
    globfree(&found);
    assert_true(good > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_are_libcryptos),
        cmocka_unit_test(json_is_read_as_cjson_reads_it),
        cmocka_unit_test(model_files_are_read_as_cjson_reads_them),
    };

    return cmocka_run_group_tests_name("bare", tests, NULL, NULL);
}
