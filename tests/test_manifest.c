/* What an export writes down of itself: items and their recipes, names of members, the manifest. */
#include "client/manifest.h"
#include "client/member.h"

#include "base/file.h"
#include "tests/kit_temp.h"

#include <cjson/cJSON.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct recipe recipe_of(uint32_t seed, int32_t psi, int class_index)
{
    struct recipe recipe = { .seed = seed, .psi = psi, .cutoff = 8, .class_index = class_index,
                             .noise = RECIPE_NOISE_CONST, .width = 64, .height = 64,
                             .quality = 90, .mark = RECIPE_MARK_XMP };

    memset(recipe.model.bytes, 0xab, sizeof recipe.model.bytes);
    return recipe;
}

static struct seedpress_range range_of(int64_t item, uint32_t first, uint32_t last, int class_mod,
                                       const struct recipe *recipe)
{
    struct seedpress_range range = { .item = item, .first = first, .last = last,
                                     .class_mod = class_mod };

    snprintf(range.recipe, sizeof range.recipe, "%s", recipe_text(recipe).text);
    return range;
}

/* Two psi, and classes by seed: 10 + 20 + 30 items. */
static struct items three_ranges(void)
{
    struct recipe a = recipe_of(0, 700000, -1), b = recipe_of(5, 1000000, -1);
    struct recipe c = recipe_of(100, 700000, 0);
    struct seedpress_range ranges[] = { range_of(0, 0, 9, 0, &a), range_of(10, 5, 24, 0, &b),
                                        range_of(30, 100, 129, 10, &c) };
    struct items items;
    struct err e = { .code = ERR_OK };

    if (items_init(&items, ranges, COUNT(ranges), &e))
        fail_msg("%s", e.msg);
    return items;
}

static void an_item_has_its_recipe(void **state)
{
    struct items items = three_ranges();
    struct recipe first = items_recipe(&items, 0), last = items_recipe(&items, 9);
    struct recipe second = items_recipe(&items, 10), ruled = items_recipe(&items, 57);

    (void)state;
    assert_int_equal(items.total, 60);
    assert_int_equal(first.seed, 0);
    assert_int_equal(last.seed, 9);
    assert_int_equal(last.psi, 700000);
    assert_int_equal(second.seed, 5);
    assert_int_equal(second.psi, 1000000);
    assert_int_equal(ruled.seed, 127);
    assert_int_equal(ruled.class_index, 7);
    assert_int_equal(items_recipe(&items, 59).seed, 129);
    items_release(&items);
}

static void ranges_that_lie_are_refused(void **state)
{
    struct recipe a = recipe_of(0, 700000, -1), b = recipe_of(5, 700000, 3);
    const struct seedpress_range bad[][2] = {
        { range_of(1, 0, 9, 0, &a) },                                   /* begins at 1 */
        { range_of(0, 0, 9, 0, &a), range_of(11, 5, 9, 0, &b) },        /* a gap */
        { range_of(0, 0, 9, 0, &a), range_of(9, 5, 9, 0, &b) },         /* overlap */
        { range_of(0, 1, 9, 0, &a) },                                   /* another seed's recipe */
        { range_of(0, 5, 4, 0, &b) },                                   /* reversed */
        { range_of(0, 5, 9, 2, &b) },                                   /* 5 % 2 is not 3 */
    };
    static const size_t COUNTS[] = { 1, 2, 2, 1, 1, 1 };
    struct items items;
    struct err e;

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(items_init(&items, bad[i], COUNTS[i], &e), ERR_INVALID);
        assert_null(items.ranges);
    }
    assert_int_equal(items_init(&items, bad[0], 0, &e), ERR_INVALID);
}

static void a_request_asks_for_the_recipe(void **state)
{
    struct recipe recipe = recipe_of(7, -1250000, 3);
    struct seedpress_request request;
    struct items_room room;
    struct items_range range = { .first = 7, .last = 9 };

    (void)state;
    recipe.noise = RECIPE_NOISE_RANDOM;
    recipe.noise_seed = 4294967295u;
    recipe.transform = (struct recipe_transform){ .kind = RECIPE_TRANSFORM_TR, .tx = 200000,
                                                  .degrees = 15000000 };
    recipe.rev = 2;
    range.recipe = recipe;
    items_request(&range, &room, &request);
    assert_string_equal(request.model, digest_hex(&recipe.model).text);
    assert_true(request.psi == -1.25);
    assert_int_equal(request.cutoff, 8);
    assert_int_equal(request.class_index, 3);
    assert_int_equal(request.noise_mode, SEEDPRESS_NOISE_RANDOM);
    assert_int_equal(request.noise_seed, 4294967295);
    assert_true(request.translate[0] == 0.2 && request.translate[1] == 0 && request.rotate == 15);
    assert_null(request.transform);
    assert_int_equal(request.rev, 2);
    range.recipe.transform = (struct recipe_transform){ .kind = RECIPE_TRANSFORM_MATRIX,
                                                        .m = { 1, 0, 0.25f, 0, 1, 0, 0, 0, 1 } };
    items_request(&range, &room, &request);
    assert_non_null(request.transform);
    assert_true(request.transform[2] == 0.25 && request.translate[0] == 0);
}

static void folders_part_what_would_collide(void **state)
{
    struct items items = three_ranges();
    struct member_folders folders = member_folders_of(&items);
    struct recipe a = recipe_of(0, 700000, -1), b = recipe_of(5, 700000, -1);
    struct seedpress_range twice[] = { range_of(0, 0, 9, 0, &a), range_of(10, 5, 24, 0, &b) };
    struct err e;

    (void)state;
    assert_string_equal(member_of_shard(42, "jpg").text, "000000042.jpg");
    assert_string_equal(member_of_shard(INT64_C(12345678901), "json").text, "12345678901.json");
    assert_string_equal(member_of_folder(&items, &folders, 3).text, "psi0.7-noclass/seed0003.jpg");
    assert_string_equal(member_of_folder(&items, &folders, 10).text, "psi1-noclass/seed0005.jpg");
    assert_string_equal(member_of_folder(&items, &folders, 57).text, "psi0.7-class7/seed0127.jpg");
    items_release(&items);

    assert_int_equal(items_init(&items, twice, 2, &e), ERR_OK);
    folders = member_folders_of(&items);
    assert_string_equal(member_of_folder(&items, &folders, 7).text, "part1/seed0007.jpg");
    assert_string_equal(member_of_folder(&items, &folders, 12).text, "part2/seed0007.jpg");
    items_release(&items);
    assert_int_equal(items_init(&items, twice, 1, &e), ERR_OK);
    folders = member_folders_of(&items);
    assert_string_equal(member_of_folder(&items, &folders, 7).text, "seed0007.jpg");
    items_release(&items);
}

/* ---- the manifest ---- */

static struct manifest some_manifest(void)
{
    struct manifest_subject subject = { .name = "cats-60", .job = 12, .keep = 0, .priority = 2,
                                        .chunk = 1000, .kind = MANIFEST_WEBDATASET,
                                        .shard_size = 25, .part = 1, .of = 1 };
    struct items items = three_ranges();
    struct manifest manifest;

    manifest_init(&manifest, &subject, &items);
    return manifest;
}

static void add_shard(struct manifest *manifest, int64_t number, int64_t failed)
{
    struct manifest_shard shard = { .number = number, .bytes = 10240 * (number + 1),
                                    .pictures = manifest_count_of(manifest, number) - failed };
    struct manifest_failure failures[2] = { { .item = number * 25, .seed = 1, .code = "poison",
                                              .message = "the \"render\" failed" },
                                            { .item = number * 25 + 3, .seed = 2,
                                              .code = "withdrawn" } };
    struct err e;

    memset(shard.sha256.bytes, (int)number + 1, DIGEST_LEN);
    memset(shard.list_sha256.bytes, (int)number + 101, DIGEST_LEN);
    assert_int_equal(manifest_add(manifest, &shard, failures, (size_t)failed, &e), ERR_OK);
}

static void what_was_written_is_read(void **state)
{
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "manifest.json"), copy = temp_path(&temp, "copy");
    struct manifest manifest = some_manifest(), again;
    struct err e = { .code = ERR_OK };
    uint8_t *a, *b;
    size_t a_len, b_len;
    bool found;

    (void)state;
    assert_int_equal(manifest_load(path.text, &again, &found, &e), ERR_OK);
    assert_false(found);
    assert_int_equal(manifest_shards_of(&manifest), 3);
    assert_int_equal(manifest_count_of(&manifest, 2), 10);
    add_shard(&manifest, 2, 0);
    add_shard(&manifest, 0, 2);
    assert_null(manifest_find(&manifest, 1));
    assert_int_equal(manifest_save(&manifest, path.text, &e), ERR_OK);
    if (manifest_load(path.text, &again, &found, &e))
        fail_msg("%s", e.msg);
    assert_true(found);
    assert_int_equal(again.shard_count, 2);
    assert_int_equal(manifest_find(&again, 0)->pictures, 23);
    assert_int_equal(manifest_find(&again, 2)->sha256.bytes[5], 3);
    assert_int_equal(again.failure_count, 2);
    assert_string_equal(again.failures[0].message, "the \"render\" failed");
    assert_int_equal(manifest_check_same(&again, &manifest, "x", &e), ERR_OK);
    assert_int_equal(manifest_save(&again, copy.text, &e), ERR_OK);
    assert_int_equal(file_read(path.text, 1 << 20, &a, &a_len, &e), ERR_OK);
    assert_int_equal(file_read(copy.text, 1 << 20, &b, &b_len, &e), ERR_OK);
    assert_int_equal(a_len, b_len);
    assert_memory_equal(a, b, a_len);
    free(a);
    free(b);
    manifest_release(&again);
    manifest_release(&manifest);
    temp_destroy(&temp);
}

static void a_shard_made_again_takes_its_own_place(void **state)
{
    struct manifest manifest = some_manifest();

    (void)state;
    add_shard(&manifest, 0, 2);
    add_shard(&manifest, 1, 1);
    add_shard(&manifest, 0, 0);
    assert_int_equal(manifest.shard_count, 2);
    assert_int_equal(manifest_find(&manifest, 0)->pictures, 25);
    assert_int_equal(manifest.failure_count, 1);
    assert_int_equal(manifest.failures[0].item, 25);
    manifest_release(&manifest);
}

/* Its keys are those of a job file, and the rest the six that a job file lets pass. */
static void it_is_a_job_file(void **state)
{
    static const char *const KEYS[] = { "name", "keep", "priority", "chunk", "parts", "format",
                                        "job", "total", "made_by", "shards", "failures" };
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "manifest.json");
    struct manifest manifest = some_manifest();
    struct err e;
    uint8_t *data;
    size_t len, count = 0;
    cJSON *root, *part;

    (void)state;
    assert_int_equal(manifest_save(&manifest, path.text, &e), ERR_OK);
    assert_int_equal(file_read(path.text, 1 << 20, &data, &len, &e), ERR_OK);
    root = cJSON_ParseWithLength((char *)data, len);
    for (const cJSON *child = root->child; child; child = child->next)
        assert_string_equal(child->string, KEYS[count++]);
    assert_int_equal(count, COUNT(KEYS));
    part = cJSON_GetArrayItem(cJSON_GetObjectItem(root, "parts"), 2);
    assert_string_equal(cJSON_GetObjectItem(part, "seeds")->valuestring, "100-129");
    assert_string_equal(cJSON_GetObjectItem(part, "class_rule")->valuestring, "seed%10");
    assert_null(cJSON_GetObjectItem(part, "class"));
    assert_true(cJSON_GetObjectItem(part, "psi")->valuedouble == 0.7);
    assert_int_equal(strlen(cJSON_GetObjectItem(part, "model")->valuestring), 64);
    cJSON_Delete(root);
    free(data);
    manifest_release(&manifest);
    temp_destroy(&temp);
}

/* Writes a good manifest with `from` replaced by `to` and reads it. */
static enum err_code load_spoiled(const char *from, const char *to, struct err *e)
{
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "manifest.json");
    struct manifest manifest = some_manifest(), again;
    static char spoiled[1 << 16];
    enum err_code rc;
    uint8_t *data;
    char *at;
    size_t len;
    bool found;

    add_shard(&manifest, 0, 1);
    add_shard(&manifest, 1, 0);
    assert_int_equal(manifest_save(&manifest, path.text, e), ERR_OK);
    assert_int_equal(file_read(path.text, sizeof spoiled / 2, &data, &len, e), ERR_OK);
    at = strstr((char *)data, from);
    assert_non_null(at);
    len = (size_t)snprintf(spoiled, sizeof spoiled, "%.*s%s%s", (int)(at - (char *)data),
                           (char *)data, to, at + strlen(from));
    assert_int_equal(file_write_atomic(path.text, spoiled, len, e), ERR_OK);
    rc = manifest_load(path.text, &again, &found, e);
    assert_true(found);
    if (!rc)
        manifest_release(&again);
    assert_null(again.shards);
    free(data);
    manifest_release(&manifest);
    temp_destroy(&temp);
    return rc;
}

static void a_broken_manifest_says_where(void **state)
{
    static const char *const CASES[][3] = {
        { "{", "[", "no JSON object" },
        { "\"cats-60\"", "7", "\"name\"" },
        { "\"webdataset\"", "\"zip\"", "\"kind\"" },
        { "\"shard_size\":\t25", "\"shard_size\":\t0", "\"shard_size\"" },
        { "\"shard_size\":\t25", "\"shard_size\":\t1e300", "\"shard_size\"" },
        { "\"of\":\t1", "\"of\":\t2", "shards[1] has no good \"first\"" },
        { "\"total\":\t60", "\"total\":\t61", "\"total\"" },
        { "\"job\":\t12", "\"job\":\t1.5", "\"job\"" },
        { "\"version\":\t1", "\"version\":\t2", "later version" },
        { "\"item\":\t10", "\"item\":\t11", "range 1" },
        { "seedpress-recipe/1", "seedpress-recipe/9", "broken" },
        { "\"first\":\t25", "\"first\":\t26", "shards[1]" },
        { "\"first\":\t25", "\"first\":\t0", "shards[1]" },
        { "\"pictures\":\t24", "\"pictures\":\t26", "shards[0]" },
        { "0101", "01x1", "shards[0] has no good \"sha256\"" },
        { "\"code\":\t\"poison\"", "\"code\":\tnull", "failures[0]" },
        { "\"shards\"", "\"shard\"", "\"shards\"" },
    };
    struct err e;

    (void)state;
    for (size_t i = 0; i < COUNT(CASES); i++) {
        assert_int_equal(load_spoiled(CASES[i][0], CASES[i][1], &e), ERR_FILE);
        if (!strstr(e.msg, CASES[i][2]))
            fail_msg("case %zu: \"%s\" does not say %s", i, e.msg, CASES[i][2]);
    }
    assert_int_equal(load_spoiled("cats-60", "dogs-60", &e), ERR_OK);
}

static void what_is_of_something_else_is_told_apart(void **state)
{
    struct manifest there = some_manifest(), wanted = some_manifest();
    struct err e;

    (void)state;
    assert_int_equal(manifest_check_same(&there, &wanted, "out", &e), ERR_OK);
    wanted.subject.job = 13;
    assert_int_equal(manifest_check_same(&there, &wanted, "out", &e), ERR_CONFLICT);
    assert_non_null(strstr(e.msg, "\"out\" holds shards of job 12 (cats-60)"));
    wanted.subject.job = 12;
    wanted.items.ranges[1].recipe.psi++;
    assert_int_equal(manifest_check_same(&there, &wanted, "out", &e), ERR_CONFLICT);
    wanted.items.ranges[1].recipe.psi--;
    wanted.subject.shard_size = 30;
    assert_int_equal(manifest_check_same(&there, &wanted, "out", &e), ERR_CONFLICT);
    assert_non_null(strstr(e.msg, "--shard-size 25"));
    wanted.subject.shard_size = 25;
    wanted.subject.with_w = true;
    assert_int_equal(manifest_check_same(&there, &wanted, "out", &e), ERR_CONFLICT);
    wanted.subject.with_w = false;
    wanted.subject.kind = MANIFEST_FOLDER;
    assert_int_equal(manifest_check_same(&there, &wanted, "out", &e), ERR_CONFLICT);
    manifest_release(&there);
    manifest_release(&wanted);
}

static void facts_are_the_same_every_time(void **state)
{
    struct recipe recipe = recipe_of(42, 700000, 3);
    struct seedpress_image image = { .model = "abab", .recipe_key = "k", .sha256 = "s",
                                     .core_sha256 = "c", .numerics_class = "cpu-fp32-fma-1",
                                     .recipe = "line 1\nline 2\n", .source = 1, .run = 7 };
    struct err e;
    char *facts;

    (void)state;
    assert_int_equal(member_facts(7, &recipe, &image, &facts, &e), ERR_OK);
    assert_string_equal(facts, "{\"key\":\"000000007\",\"seed\":42,\"psi\":0.7,\"class\":3,"
                               "\"model\":\"abab\",\"recipe_key\":\"k\",\"sha256\":\"s\","
                               "\"core_sha256\":\"c\",\"numerics_class\":\"cpu-fp32-fma-1\","
                               "\"recipe\":\"line 1\\nline 2\\n\"}");
    free(facts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_item_has_its_recipe),
        cmocka_unit_test(ranges_that_lie_are_refused),
        cmocka_unit_test(a_request_asks_for_the_recipe),
        cmocka_unit_test(folders_part_what_would_collide),
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(a_shard_made_again_takes_its_own_place),
        cmocka_unit_test(it_is_a_job_file),
        cmocka_unit_test(a_broken_manifest_says_where),
        cmocka_unit_test(what_is_of_something_else_is_told_apart),
        cmocka_unit_test(facts_are_the_same_every_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
