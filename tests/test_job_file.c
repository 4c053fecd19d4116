#include "client/job_file.h"

#include "tests/kit_temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static struct job_file read_text(const char *text)
{
    struct job_file job;
    struct err e;

    if (job_file_parse(text, strlen(text), &job, &e))
        fail_msg("%s", e.msg);
    return job;
}

static void refused(const char *text, enum err_code code, const char *words)
{
    struct job_file job;
    struct err e = { .code = ERR_OK };

    assert_int_equal(job_file_parse(text, strlen(text), &job, &e), code);
    if (!strstr(e.msg, words))
        fail_msg("\"%s\" does not say \"%s\"", e.msg, words);
    assert_null(job.parts);
    assert_int_equal(job.part_count, 0);
}

static void a_part_needs_only_a_model_and_seeds(void **state)
{
    struct job_file job = read_text("{\"parts\": [{\"model\": \"cats\", \"seeds\": \"5-9\"}]}");
    struct recipe_request plain = RECIPE_REQUEST_DEFAULT;

    (void)state;
    assert_string_equal(job.name, "");
    assert_int_equal(job.keep, SEEDPRESS_KEEP_IMAGE);
    assert_int_equal(job.priority, SEEDPRESS_LOW);
    assert_int_equal(job.chunk, 1000);
    assert_int_equal(job.part_count, 1);
    assert_int_equal(job.total, 5);
    assert_string_equal(job.parts[0].model, "cats");
    assert_int_equal(job.parts[0].first, 5);
    assert_int_equal(job.parts[0].last, 9);
    assert_int_equal(job.parts[0].class_mod, 0);
    assert_memory_equal(&job.parts[0].wish.quality, &plain.quality, sizeof plain.quality);
    assert_int_equal(job.parts[0].wish.psi, plain.psi);
    assert_int_equal(job.parts[0].wish.class_index, -1);
    assert_int_equal(job.parts[0].wish.noise, -1);
    assert_int_equal(job.parts[0].wish.mark, -1);
    job_file_release(&job);
    assert_null(job.parts);
}

static const char FULL[] =
    "{\"name\": \"wall\", \"keep\": \"provenance\", \"priority\": \"normal\", \"chunk\": 50,\n"
    " \"parts\": [{\"model\": \"faces@1a2b\", \"seeds\": 7, \"psi\": -0.5, \"class\": 3,\n"
    "   \"cutoff\": 8, \"noise_mode\": \"random\", \"noise_seed\": 4294967295, \"rotate\": -90.5,\n"
    "   \"translate\": [0.25, -1], \"quality\": 75, \"mark\": \"none\", \"rev\": 2},\n"
    "  {\"model\": \"kinds\", \"seeds\": \"0-4294967295\", \"class_rule\": \"seed%10\",\n"
    "   \"transform\": [1, 0.5, 0, 0, 1, 0, 0, 0, 1]}]}\n";

static void every_key_is_read(void **state)
{
    struct job_file job = read_text(FULL);
    const struct recipe_request *wish = &job.parts[0].wish;

    (void)state;
    assert_string_equal(job.name, "wall");
    assert_int_equal(job.keep, SEEDPRESS_KEEP_PROVENANCE);
    assert_int_equal(job.priority, SEEDPRESS_NORMAL);
    assert_int_equal(job.chunk, 50);
    assert_int_equal(job.part_count, 2);
    assert_int_equal(job.total, 4294967297);
    assert_int_equal(job.parts[0].first, 7);
    assert_int_equal(job.parts[0].last, 7);
    assert_int_equal(wish->psi, -500000);
    assert_int_equal(wish->class_index, 3);
    assert_int_equal(wish->cutoff, 8);
    assert_int_equal(wish->noise, RECIPE_NOISE_RANDOM);
    assert_int_equal(wish->noise_seed, 4294967295);
    assert_int_equal(wish->transform.kind, RECIPE_TRANSFORM_TR);
    assert_int_equal(wish->transform.tx, 250000);
    assert_int_equal(wish->transform.ty, -1000000);
    assert_int_equal(wish->transform.degrees, -90500000);
    assert_int_equal(wish->quality, 75);
    assert_int_equal(wish->mark, RECIPE_MARK_NONE);
    assert_int_equal(wish->rev, 2);
    assert_int_equal(job.parts[1].class_mod, 10);
    assert_int_equal(job.parts[1].last, 4294967295);
    assert_int_equal(job.parts[1].wish.transform.kind, RECIPE_TRANSFORM_MATRIX);
    assert_true(job.parts[1].wish.transform.m[1] == 0.5f);
    job_file_release(&job);
}

/* first, last, psi of each part, in order. */
static void expands_to(const char *text, const int64_t (*expect)[3], size_t count, uint64_t total)
{
    struct job_file job = read_text(text);

    assert_int_equal(job.part_count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(job.parts[i].first, expect[i][0]);
        assert_int_equal(job.parts[i].last, expect[i][1]);
        assert_int_equal(job.parts[i].wish.psi, expect[i][2]);
    }
    assert_int_equal(job.total, total);
    job_file_release(&job);
}

static void lists_of_seeds_and_psi_become_parts(void **state)
{
    static const int64_t MANY[][3] = {
        { 0, 9, 500000 }, { 20, 20, 500000 }, { 0, 9, 1000000 }, { 20, 20, 1000000 },
    };
    static const int64_t LIST[][3] = { { 3, 5, 1000000 }, { 9, 9, 1000000 }, { 8, 8, 1000000 },
                                       { 9, 12, 1000000 }, { 13, 13, 1000000 } };
    static const int64_t END[][3] = { { 4294967295, 4294967295, 1000000 }, { 0, 0, 1000000 } };

    (void)state;
    expands_to("{\"parts\":[{\"model\":\"m\",\"seeds\":\"0-9,20\",\"psi\":[0.5,1]}]}", MANY,
               COUNT(MANY), 22);
    expands_to("{\"parts\":[{\"model\":\"m\",\"seeds\":[3,4,5,9,8,\"9-12\",13]}]}", LIST,
               COUNT(LIST), 10);
    expands_to("{\"parts\":[{\"model\":\"m\",\"seeds\":[4294967295,0]}]}", END, COUNT(END), 2);
}

static void what_is_wrong_is_said_with_part_and_key(void **state)
{
#define PART(rest) "{\"parts\":[{\"model\":\"m\",\"seeds\":1},{\"model\":\"m\"," rest "}]}"
    static const struct {
        const char *text;
        enum err_code code;
        const char *words;
    } CASES[] = {
        { "", ERR_INVALID, "line 1 is no JSON" },
        { "{\n\"parts\": [\n{]}", ERR_INVALID, "line 3 is no JSON" },
        { "{\"parts\":[{\"model\":\"m\",\"seeds\":1}]} x", ERR_INVALID, "no JSON" },
        { "[]", ERR_INVALID, "an object with \"parts\"" },
        { "{}", ERR_INVALID, "\"parts\" is missing" },
        { "{\"parts\": []}", ERR_INVALID, "\"parts\" needs a list of at least one part" },
        { "{\"parts\": [1]}", ERR_INVALID, "part 1: a part is an object" },
        { "{\"seeds\": 1}", ERR_INVALID, "unknown key \"seeds\"" },
        { "{\"name\": \"a\", \"name\": \"b\"}", ERR_INVALID, "key \"name\" is there twice" },
        { "{\"name\": \"a b\"}", ERR_INVALID, "\"name\" needs 1 to 64" },
        { "{\"name\": 5}", ERR_INVALID, "\"name\" needs" },
        { "{\"keep\": \"refill\"}", ERR_INVALID, "\"keep\" is one of image, provenance" },
        { "{\"keep\": 1}", ERR_INVALID, "\"keep\" is one of" },
        { "{\"priority\": \"urgent\"}", ERR_INVALID, "\"priority\" is one of high, normal, low" },
        { "{\"chunk\": 0}", ERR_RANGE, "\"chunk\" is out of range: 1..10000" },
        { "{\"chunk\": 1.5}", ERR_INVALID, "\"chunk\" needs a whole number" },
        { PART("\"seeds\":1,\"sede\":2"), ERR_INVALID, "part 2: unknown key \"sede\"" },
        { PART("\"seeds\":1,\"model\":\"n\""), ERR_INVALID, "part 2: key \"model\" is there twice" },
        { PART("\"psi\":1"), ERR_INVALID, "part 2: \"seeds\" is missing" },
        { "{\"parts\":[{\"seeds\":1}]}", ERR_INVALID, "part 1: \"model\" is missing" },
        { "{\"parts\":[{\"seeds\":1,\"model\":\"\"}]}", ERR_INVALID, "\"model\" needs a name" },
        { PART("\"seeds\":\"9-5\""), ERR_INVALID, "part 2: seeds \"9-5\" run backwards" },
        { PART("\"seeds\":\"5-4294967296\""), ERR_RANGE, "part 2: seed 4294967296 is out of" },
        { PART("\"seeds\":4294967296"), ERR_RANGE, "part 2: \"seeds\" is out of range" },
        { PART("\"seeds\":-1"), ERR_RANGE, "part 2: \"seeds\" is out of range" },
        { PART("\"seeds\":1e400"), ERR_RANGE, "part 2: \"seeds\" is out of range" },
        { PART("\"seeds\":0.5"), ERR_INVALID, "part 2: \"seeds\" needs whole numbers" },
        { PART("\"seeds\":[]"), ERR_INVALID, "part 2: \"seeds\" is an empty list" },
        { PART("\"seeds\":[[1]]"), ERR_INVALID, "part 2: \"seeds\" needs whole numbers" },
        { PART("\"seeds\":null"), ERR_INVALID, "part 2: \"seeds\" needs whole numbers" },
        { PART("\"seeds\":1,\"psi\":2.5"), ERR_RANGE, "part 2: \"psi\" is out of range: -2..2" },
        { PART("\"seeds\":1,\"psi\":0.1234567"), ERR_INVALID, "part 2: \"psi\" needs a number" },
        { PART("\"seeds\":1,\"psi\":[1,\"x\"]"), ERR_INVALID, "part 2: \"psi\" needs a number" },
        { PART("\"seeds\":1,\"psi\":[]"), ERR_INVALID, "part 2: \"psi\" is an empty list" },
        { PART("\"seeds\":1,\"class\":65536"), ERR_RANGE, "part 2: \"class\" is out of range" },
        { PART("\"seeds\":1,\"class_rule\":\"seed%0\""), ERR_RANGE, "part 2: class rule seed%0" },
        { PART("\"seeds\":1,\"class_rule\":\"seed/2\""), ERR_INVALID, "part 2: a class rule is" },
        { PART("\"seeds\":1,\"class_rule\":2"), ERR_INVALID, "part 2: \"class_rule\" needs" },
        { PART("\"seeds\":1,\"class\":0,\"class_rule\":\"seed%2\""), ERR_INVALID,
          "part 2: give either \"class\" or \"class_rule\"" },
        { PART("\"seeds\":1,\"noise_mode\":\"loud\""), ERR_INVALID, "part 2: \"noise_mode\" is one" },
        { PART("\"seeds\":1,\"noise_seed\":1"), ERR_INVALID, "part 2: \"noise_mode\" \"random\"" },
        { PART("\"seeds\":1,\"noise_mode\":\"random\""), ERR_INVALID, "go together" },
        { PART("\"seeds\":1,\"translate\":[1]"), ERR_INVALID, "part 2: \"translate\" needs two" },
        { PART("\"seeds\":1,\"translate\":[1,1e9]"), ERR_RANGE, "part 2: \"translate\" is out" },
        { PART("\"seeds\":1,\"rotate\":\"x\""), ERR_INVALID, "part 2: \"rotate\" needs a number" },
        { PART("\"seeds\":1,\"transform\":[1,2]"), ERR_INVALID, "part 2: \"transform\" needs nine" },
        { PART("\"seeds\":1,\"transform\":[1,0,0,0,1,0,0,0,1e39]"), ERR_INVALID, "float32" },
        { PART("\"seeds\":1,\"rotate\":1,\"transform\":[1,0,0,0,1,0,0,0,1]"), ERR_INVALID,
          "part 2: give either \"transform\"" },
        { PART("\"seeds\":1,\"quality\":0"), ERR_RANGE, "part 2: \"quality\" is out of range" },
        { PART("\"seeds\":1,\"mark\":\"x\""), ERR_INVALID, "part 2: \"mark\" is one of none, xmp" },
        { PART("\"seeds\":1,\"rev\":-1"), ERR_RANGE, "part 2: \"rev\" is out of range" },
        { PART("\"seeds\":1,\"cutoff\":65"), ERR_RANGE, "part 2: \"cutoff\" is out of range" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(CASES); i++)
        refused(CASES[i].text, CASES[i].code, CASES[i].words);
}

static void more_parts_than_a_job_has_are_refused(void **state)
{
    struct job_file job;
    enum { ROOM = 20000 };
    char *text = malloc(ROOM);
    size_t len = (size_t)snprintf(text, ROOM, "{\"parts\":[{\"model\":\"m\",\"seeds\":[0");
    struct err e;

    (void)state;
    for (int i = 1; i < SEEDPRESS_PARTS_MAX; i++)
        len += (size_t)snprintf(text + len, ROOM - len, ",%d", 2 * i);
    snprintf(text + len, ROOM - len, "]}]}");
    assert_int_equal(job_file_parse(text, strlen(text), &job, &e), ERR_OK);
    assert_int_equal(job.part_count, SEEDPRESS_PARTS_MAX);
    job_file_release(&job);
    snprintf(text + len, ROOM - len, ",9999]}]}");
    refused(text, ERR_RANGE, "part 1: more than 1000 ranges");
    free(text);
}

static void what_is_written_is_read_as_the_same(void **state)
{
    struct job_file job = read_text(FULL), again;
    char *text, *second;
    struct err e;

    (void)state;
    assert_int_equal(job_file_text(&job, &text, &e), ERR_OK);
    again = read_text(text);
    assert_int_equal(job_file_text(&again, &second, &e), ERR_OK);
    assert_string_equal(text, second);
    assert_int_equal(again.part_count, job.part_count);
    for (size_t i = 0; i < job.part_count; i++) {
        assert_string_equal(again.parts[i].model, job.parts[i].model);
        assert_int_equal(again.parts[i].last, job.parts[i].last);
        assert_int_equal(again.parts[i].class_mod, job.parts[i].class_mod);
        assert_int_equal(again.parts[i].wish.psi, job.parts[i].wish.psi);
        assert_true(recipe_transform_is_same(&again.parts[i].wish.transform,
                                             &job.parts[i].wish.transform));
    }
    free(text);
    free(second);
    job_file_release(&job);
    job_file_release(&again);
}

static void a_manifest_is_a_job_file(void **state)
{
    struct job_file job = read_text(
        "{\"name\":\"wall\",\"parts\":[{\"model\":\"m\",\"seeds\":\"0-9\"}],\"format\":{\"a\":1},"
        "\"job\":7,\"total\":10,\"made_by\":\"seedpress\",\"shards\":[{}],\"failures\":[]}");

    (void)state;
    assert_int_equal(job.total, 10);
    job_file_release(&job);
}

static void the_same_content_has_the_same_name(void **state)
{
#define NAMED(rest) "{\"parts\":[{\"model\":\"cats@1a2b\",\"seeds\":\"0-9\"" rest "}]}"
    struct job_file a = read_text(NAMED("")), b = read_text(NAMED(",\"psi\":1")),
                    c = read_text(NAMED(",\"psi\":0.7")), d = read_text(FULL),
                    odd = read_text("{\"parts\":[{\"model\":\"-!\",\"seeds\":1}]}");
    struct err e;

    (void)state;
    assert_int_equal(job_file_name(&a, &e), ERR_OK);
    assert_int_equal(job_file_name(&b, &e), ERR_OK);
    assert_int_equal(job_file_name(&c, &e), ERR_OK);
    assert_int_equal(job_file_name(&d, &e), ERR_OK);
    assert_int_equal(job_file_name(&odd, &e), ERR_OK);
    assert_int_equal(strncmp(odd.name, "job-", 4), 0);
    assert_string_equal(a.name, b.name);
    assert_string_not_equal(a.name, c.name);
    assert_string_equal(d.name, "wall");
    assert_int_equal(strncmp(a.name, "cats-", 5), 0);
    assert_int_equal(strlen(a.name), 13);
    assert_true(recipe_name_is_valid(a.name, strlen(a.name)));
    job_file_release(&a);
    job_file_release(&b);
    job_file_release(&c);
    job_file_release(&d);
    job_file_release(&odd);
}

static void the_library_gets_what_was_read(void **state)
{
    struct job_file job = read_text(FULL);
    struct job_file_matrix matrices[2];
    struct seedpress_part parts[2];
    struct seedpress_submission s = job_file_submission(&job, parts, matrices);

    (void)state;
    assert_string_equal(s.name, "wall");
    assert_int_equal(s.keep, SEEDPRESS_KEEP_PROVENANCE);
    assert_int_equal(s.priority, SEEDPRESS_NORMAL);
    assert_int_equal(s.chunk, 50);
    assert_false(s.dry);
    assert_int_equal(s.part_count, 2);
    assert_string_equal(parts[0].request.model, "faces@1a2b");
    assert_true(parts[0].request.psi == -0.5);
    assert_int_equal(parts[0].request.cutoff, 8);
    assert_int_equal(parts[0].request.class_index, 3);
    assert_int_equal(parts[0].request.noise_mode, SEEDPRESS_NOISE_RANDOM);
    assert_int_equal(parts[0].request.noise_seed, 4294967295);
    assert_true(parts[0].request.translate[0] == 0.25 && parts[0].request.translate[1] == -1);
    assert_true(parts[0].request.rotate == -90.5);
    assert_null(parts[0].request.transform);
    assert_int_equal(parts[0].request.quality, 75);
    assert_int_equal(parts[0].request.mark, SEEDPRESS_MARK_NONE);
    assert_int_equal(parts[0].request.rev, 2);
    assert_int_equal(parts[1].class_mod, 10);
    assert_int_equal(parts[1].first, 0);
    assert_int_equal(parts[1].last, 4294967295);
    assert_true(parts[1].request.transform[1] == 0.5);
    job_file_release(&job);
}

static void a_file_that_is_none_is_named(void **state)
{
    struct temp temp = temp_create();
    struct job_file job;
    char path[300];
    struct err e;
    FILE *file;

    (void)state;
    snprintf(path, sizeof path, "%s/job.json", temp.folder);
    assert_int_equal(job_file_load(path, &job, &e), ERR_FILE);
    assert_non_null(strstr(e.msg, "job.json"));
    file = fopen(path, "w");
    assert_non_null(file);
    fputs("{\"parts\":[{\"model\":\"m\",\"seeds\":\"9-5\"}]}", file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(job_file_load(path, &job, &e), ERR_FILE);
    assert_non_null(strstr(e.msg, "job.json\": part 1: seeds \"9-5\" run backwards"));
    assert_null(job.parts);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(FULL, file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(job_file_load(path, &job, &e), ERR_OK);
    assert_int_equal(job.part_count, 2);
    job_file_release(&job);
    temp_destroy(&temp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_part_needs_only_a_model_and_seeds),
        cmocka_unit_test(every_key_is_read),
        cmocka_unit_test(lists_of_seeds_and_psi_become_parts),
        cmocka_unit_test(what_is_wrong_is_said_with_part_and_key),
        cmocka_unit_test(more_parts_than_a_job_has_are_refused),
        cmocka_unit_test(what_is_written_is_read_as_the_same),
        cmocka_unit_test(a_manifest_is_a_job_file),
        cmocka_unit_test(the_same_content_has_the_same_name),
        cmocka_unit_test(the_library_gets_what_was_read),
        cmocka_unit_test(a_file_that_is_none_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
