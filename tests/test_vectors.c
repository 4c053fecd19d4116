/* The files of proto/vectors, replayed over the C code here and, by replay_vectors.py, over none of
 * it. They are compared with, never written. */
#include "base/file.h"
#include "proto/message.h"
#include "tests/kit_temp.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FOLDER "proto/vectors"

static cJSON *load(const char *name)
{
    char path[64];
    uint8_t *data;
    size_t len;
    struct err e;
    cJSON *json;

    snprintf(path, sizeof path, FOLDER "/%s", name);
    if (file_read(path, 1 << 20, &data, &len, &e))
        fail_msg("%s", e.msg);
    json = cJSON_ParseWithLength((const char *)data, len);
    if (!json)
        fail_msg("%s is no JSON", path);
    free(data);
    return json;
}

static const char *word_of(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

/* An item that is there and not null. */
static const cJSON *item_of(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

    return cJSON_IsNull(item) ? NULL : item;
}

static int64_t integer(const cJSON *item)
{
    double v = cJSON_GetNumberValue(item);

    assert_true(v == floor(v));
    return (int64_t)v;
}

static int64_t integer_or(const cJSON *object, const char *name, int64_t absent)
{
    const cJSON *item = item_of(object, name);

    return item ? integer(item) : absent;
}

static int64_t millionths(const cJSON *item)
{
    return llround(cJSON_GetNumberValue(item) * 1e6);
}

static struct digest digest_item(const cJSON *item)
{
    struct digest d;
    const char *hex = cJSON_GetStringValue(item);

    assert_true(digest_parse(hex, strlen(hex), &d));
    return d;
}

static uint8_t *bytes_of(const char *hex, size_t *len)
{
    uint8_t *bytes = malloc(strlen(hex) / 2 + 1);

    assert_non_null(bytes);
    *len = strlen(hex) / 2;
    for (size_t i = 0; i < *len; i++) {
        unsigned byte;

        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        bytes[i] = (uint8_t)byte;
    }
    return realloc(bytes, *len ? *len : 1);      /* of its own size: ASan sees one byte too far */
}

/* ---- messages ---- */

static enum message_sender sender_of(const char *word)
{
    if (strcmp(word, "client") == 0)
        return MESSAGE_FROM_CLIENT;
    assert_true(strcmp(word, "broker") == 0 || strcmp(word, "worker") == 0);
    return strcmp(word, "broker") == 0 ? MESSAGE_FROM_BROKER : MESSAGE_FROM_WORKER;
}

static bool is_same(const struct field_table *table, const void *record, const cJSON *json);

static bool is_same_list(const struct numbers *n, const cJSON *json)
{
    if (cJSON_IsObject(json)) {
        int64_t first = integer(item_of(json, "first")), last = integer(item_of(json, "last"));

        if (n->count != (size_t)(last - first + 1))
            return false;
        for (size_t i = 0; i < n->count; i++)
            if (n->items[i] != first + (int64_t)i)
                return false;
        return true;
    }
    for (size_t i = 0; i < n->count; i++)
        if (n->items[i] != integer(cJSON_GetArrayItem(json, (int)i)))
            return false;
    return n->count == (size_t)cJSON_GetArraySize(json);
}

static bool is_same_value(const struct field *f, const void *at, const cJSON *json)
{
    const struct decimals *moved = at;
    const struct records *r = at;
    const struct floats *x = at;
    struct digest d;

    switch (f->kind) {
    case FIELD_INT:
        return *(const int64_t *)at == integer(json);
    case FIELD_DECIMAL:
        return *(const int64_t *)at == millionths(json);
    case FIELD_FLAG:
        return *(const bool *)at == (bool)cJSON_IsTrue(json);
    case FIELD_WORD:
        return strcmp(f->words[*(const int64_t *)at], cJSON_GetStringValue(json)) == 0;
    case FIELD_TEXT:
        return text_is(*(const struct text *)at, cJSON_GetStringValue(json));
    case FIELD_DIGEST:
        d = digest_item(json);
        return digest_equal(at, &d);
    case FIELD_NUMBERS:
    case FIELD_SEEDS:
        return is_same_list(at, json);
    case FIELD_DECIMALS:
        for (size_t i = 0; i < f->most; i++)
            if (moved->items[i] != millionths(cJSON_GetArrayItem(json, (int)i)))
                return false;
        return moved->count == (size_t)cJSON_GetArraySize(json);
    case FIELD_FLOATS:
        for (size_t i = 0; i < f->most; i++)
            if (x->items[i] != (float)cJSON_GetNumberValue(cJSON_GetArrayItem(json, (int)i)))
                return false;
        return x->count == (size_t)cJSON_GetArraySize(json);
    case FIELD_RECORDS:
        for (size_t i = 0; i < r->count; i++)
            if (!is_same(f->sub, (const char *)r->items + i * f->sub->size,
                         cJSON_GetArrayItem(json, (int)i)))
                return false;
        return r->count == (size_t)cJSON_GetArraySize(json);
    }
    return false;
}

static bool is_default(const struct field *f, const void *at)
{
    static const struct digest none;

    switch (f->kind) {
    case FIELD_FLAG:
        return !*(const bool *)at;
    case FIELD_TEXT:
        return ((const struct text *)at)->len == 0;
    case FIELD_DIGEST:
        return digest_equal(at, &none);
    case FIELD_NUMBERS:
    case FIELD_SEEDS:
        return ((const struct numbers *)at)->count == 0;
    case FIELD_DECIMALS:
        return ((const struct decimals *)at)->count == 0;
    case FIELD_FLOATS:
        return ((const struct floats *)at)->count == 0;
    case FIELD_RECORDS:
        return ((const struct records *)at)->count == 0;
    default:
        return *(const int64_t *)at == f->def;
    }
}

/* Every field of the table is as json says, or at its default where json says nothing. */
static bool is_same(const struct field_table *table, const void *record, const cJSON *json)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct field *f = &table->fields[i];
        const void *at = (const char *)record + f->offset;
        const cJSON *item = item_of(json, f->name);

        if (item ? !is_same_value(f, at, item) : !is_default(f, at)) {
            print_error("field \"%s\" differs\n", f->name);
            return false;
        }
    }
    return true;
}

static void assert_canonical(const char *name, const struct message *m, const uint8_t *data,
                             size_t len)
{
    void *again;
    size_t again_len;
    struct err e;

    if (message_encode(m, &again, &again_len, &e))
        fail_msg("%s: %s", name, e.msg);
    if (again_len != len || memcmp(again, data, len) != 0)
        fail_msg("%s: seedpress writes other bytes", name);
    free(again);
}

static void check_refused(const char *name, const cJSON *vector, enum err_code rc,
                          const struct err *e)
{
    const char *word = word_of(vector, "error"), *field = word_of(vector, "field");
    char quoted[64];

    if (strcmp(err_info(rc)->word, word) != 0)
        fail_msg("%s: %s \"%s\" instead of %s", name, err_info(rc)->word, e->msg, word);
    snprintf(quoted, sizeof quoted, "field \"%s\"", field ? field : "");
    if (field && !strstr(e->msg, quoted))
        fail_msg("%s: \"%s\" does not name %s", name, e->msg, quoted);
}

static void messages_decode_as_the_vectors_say(void **state)
{
    cJSON *vectors = load("messages.json");
    bool seen[MESSAGE_TYPE_COUNT] = { false };
    const cJSON *vector;

    (void)state;
    cJSON_ArrayForEach(vector, vectors) {
        const char *name = word_of(vector, "name");
        const cJSON *decoded = item_of(vector, "decoded");
        size_t len;
        uint8_t *data = bytes_of(word_of(vector, "hex"), &len);
        struct message m;
        struct err e = { 0 };
        enum err_code rc = message_decode(data, len, sender_of(word_of(vector, "from")), &m, &e);

        if (item_of(vector, "error")) {
            check_refused(name, vector, rc, &e);
        } else {
            if (rc)
                fail_msg("%s: %s", name, e.msg);
            seen[m.type] = true;
            assert_string_equal(message_word(m.type), word_of(decoded, "type"));
            assert_true(m.id == integer_or(decoded, "id", 0));
            if (!is_same(message_info(m.type)->table, &m.generate, decoded))
                fail_msg("%s", name);
            if (cJSON_IsTrue(item_of(vector, "canonical")))
                assert_canonical(name, &m, data, len);
        }
        message_release(&m);
        free(data);
    }
    for (int type = 0; type < MESSAGE_TYPE_COUNT; type++)
        if (!seen[type])
            fail_msg("no vector shows \"%s\"", message_word((enum message_type)type));
    cJSON_Delete(vectors);
}

/* ---- recipes ---- */

static int index_of(const char *word, const char *const *words, int count)
{
    for (int i = 0; word && i < count; i++)
        if (strcmp(words[i], word) == 0)
            return i;
    assert_null(word);
    return -1;
}

/* The fields of the request that a generate has under the same names. */
static struct recipe_transform transform_of(const cJSON *request)
{
    const cJSON *translate = item_of(request, "translate"), *rotate = item_of(request, "rotate"),
                *transform = item_of(request, "transform");
    struct message m;

    message_init(&m, MESSAGE_GENERATE, 0);
    for (int i = 0; translate && i < 2; i++)
        m.generate.translate.items[m.generate.translate.count++] =
            millionths(cJSON_GetArrayItem(translate, i));
    if (rotate)
        m.generate.rotate = millionths(rotate);
    for (int i = 0; transform && i < 9; i++)
        m.generate.transform.items[m.generate.transform.count++] =
            (float)cJSON_GetNumberValue(cJSON_GetArrayItem(transform, i));
    return message_recipe_request(&m.generate, 0).transform;
}

static struct recipe_request request_of(const cJSON *json)
{
    static const char *const NOISE[] = { "none", "const", "random", "stream" };
    static const char *const MARK[] = { "none", "xmp", "c2pa" };
    struct recipe_request request = RECIPE_REQUEST_DEFAULT;
    const cJSON *psi = item_of(json, "psi");

    request.seed = (uint32_t)integer(item_of(json, "seed"));
    if (psi)
        request.psi = millionths(psi);
    request.cutoff = (int)integer_or(json, "cutoff", -1);
    request.class_index = (int)integer_or(json, "class", -1);
    request.noise = index_of(word_of(json, "noise_mode"), NOISE, 4);
    request.noise_seed = integer_or(json, "noise_seed", -1);
    request.transform = transform_of(json);
    request.quality = (int)integer_or(json, "quality", 90);
    request.mark = index_of(word_of(json, "mark"), MARK, 3);
    request.rev = (uint32_t)integer_or(json, "rev", 0);
    return request;
}

static struct model_facts facts_of(const cJSON *json)
{
    return (struct model_facts){
        .digest = digest_item(item_of(json, "digest")),
        .width = (int)integer(item_of(json, "width")),
        .height = (int)integer(item_of(json, "height")),
        .num_ws = (int)integer(item_of(json, "num_ws")),
        .c_dim = (int)integer(item_of(json, "c_dim")),
        .noise_modes = (unsigned)integer(item_of(json, "noise_modes")),
        .has_transform = cJSON_IsTrue(item_of(json, "has_transform")),
    };
}

static void check_recipe(const char *name, const cJSON *vector, const struct recipe *recipe)
{
    struct recipe_text text = recipe_text(recipe);
    struct digest key = recipe_key(recipe), subject = recipe_subject(recipe);
    struct recipe back;
    struct err e;

    if (strcmp(text.text, word_of(vector, "text")) != 0)
        fail_msg("%s: the text is\n%s", name, text.text);
    assert_string_equal(digest_hex(&key).text, word_of(vector, "key"));
    assert_string_equal(digest_hex(&subject).text, word_of(vector, "subject"));
    if (recipe_parse(text.text, text.len, &back, &e))
        fail_msg("%s: %s", name, e.msg);
}

static void recipes_resolve_as_the_vectors_say(void **state)
{
    cJSON *vectors = load("recipes.json");
    const cJSON *vector;
    int checked = 0;

    (void)state;
    cJSON_ArrayForEach(vector, item_of(vectors, "resolve")) {
        const char *name = word_of(vector, "name"), *error = word_of(vector, "error"), *warning;
        struct recipe_request request = request_of(item_of(vector, "request"));
        struct model_facts facts = facts_of(item_of(vector, "facts"));
        struct recipe recipe;
        struct err e = { 0 };
        enum err_code rc = recipe_resolve(&request, &facts, &recipe, &warning, &e);

        if (strcmp(err_info(rc)->word, error ? error : "ok") != 0)
            fail_msg("%s: %s \"%s\"", name, err_info(rc)->word, e.msg);
        if (!rc) {
            check_recipe(name, vector, &recipe);
            assert_int_equal(warning != NULL, cJSON_IsTrue(item_of(vector, "warning")));
        }
        checked++;
    }
    assert_true(checked > 0);
    cJSON_Delete(vectors);
}

static void texts_that_are_no_recipes_are_refused(void **state)
{
    cJSON *vectors = load("recipes.json");
    const cJSON *vector;
    int checked = 0;

    (void)state;
    cJSON_ArrayForEach(vector, item_of(vectors, "refused_texts")) {
        const char *text = word_of(vector, "text");
        struct recipe recipe;

        if (recipe_parse(text, strlen(text), &recipe, NULL) != ERR_INVALID)
            fail_msg("%s was read", word_of(vector, "name"));
        checked++;
    }
    assert_true(checked > 0);
    cJSON_Delete(vectors);
}

/* ---- errors ---- */

static void errors_are_those_of_the_table(void **state)
{
    cJSON *vectors = load("errors.json");
    const cJSON *vector;
    int code = 0;

    (void)state;
    assert_int_equal(cJSON_GetArraySize(vectors), ERR_COUNT);
    cJSON_ArrayForEach(vector, vectors) {
        const struct err_info *info = err_info((enum err_code)code);

        assert_int_equal(integer(item_of(vector, "number")), code);
        assert_string_equal(word_of(vector, "code"), info->word);
        assert_string_equal(word_of(vector, "words"), info->words);
        assert_int_equal(integer(item_of(vector, "http_status")), info->http_status);
        assert_int_equal(integer(item_of(vector, "exit_code")), info->exit_code);
        assert_int_equal(cJSON_IsTrue(item_of(vector, "retry")), info->retry);
        code++;
    }
    cJSON_Delete(vectors);
}

/* ---- without the C code ---- */

static void another_language_agrees(void **state)
{
    const char *const argv[] = { "/usr/bin/python3", "tests/replay_vectors.py", FOLDER, NULL };
    struct ran ran = run_program(argv);

    (void)state;
    if (ran.exit_code != 0)
        fail_msg("%s%s", ran.out, ran.err);
    assert_non_null(strstr(ran.out, ": 0 failed\n"));
    ran_release(&ran);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_decode_as_the_vectors_say),
        cmocka_unit_test(recipes_resolve_as_the_vectors_say),
        cmocka_unit_test(texts_that_are_no_recipes_are_refused),
        cmocka_unit_test(errors_are_those_of_the_table),
        cmocka_unit_test(another_language_agrees),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
