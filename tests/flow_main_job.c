/* The main job on real programs: a seed goes in over ZeroMQ, a stored, provable JPEG comes out. */
#include "base/mark.h"
#include "proto/message.h"
#include "tests/kit_stack.h"
#include "tests/kit_temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { WAIT_MS = 300000, PSI = 700000 };

static struct kit_stack stack;

struct answer {
    struct message m;
    struct parcel parcel;
};

static struct answer receive(struct kit_asker *a)
{
    struct answer got;

    assert_true(asker_receive(a, &got.m, &got.parcel, WAIT_MS));
    return got;
}

static void drop(struct answer *got)
{
    message_release(&got->m);
    parcel_release(&got->parcel);
}

static struct answer ask(const struct message *m)
{
    struct kit_asker a;
    struct answer got;

    asker_open(&a, stack.clients, LINK_REQ);
    asker_send(&a, m);
    got = receive(&a);
    asker_close(&a);
    return got;
}

static void expect_error(struct answer *got, enum err_code code, const char *words)
{
    char text[300];

    assert_int_equal(got->m.type, MESSAGE_ERROR);
    text_copy(got->m.error.code, text, sizeof text);
    assert_string_equal(text, err_info(code)->word);
    text_copy(got->m.error.message, text, sizeof text);
    if (!strstr(text, words))
        fail_msg("\"%s\" does not say \"%s\"", text, words);
    drop(got);
}

/* What a picture promises of itself, without asking anybody. */
static void check_picture(const struct answer *got, uint32_t seed)
{
    const uint8_t *file = frame_data(&got->parcel.body[1]);
    size_t len = frame_len(&got->parcel.body[1]);
    struct digest sha = digest_of(file, len), core, key;
    struct recipe_text inside;
    struct recipe recipe;
    struct err e;

    assert_int_equal(got->m.type, MESSAGE_IMAGE);
    assert_int_equal(got->m.image.seed, seed);
    assert_int_equal(got->m.image.bytes, len);
    assert_true(digest_equal(&sha, &got->m.image.sha256));
    assert_true(mark_core_sha256(file, len, &core));
    assert_true(digest_equal(&core, &got->m.image.core_sha256));
    assert_true(mark_find(file, len, &inside));
    key = digest_of(inside.text, inside.len);
    assert_true(digest_equal(&key, &got->m.image.recipe_key));
    assert_int_equal(recipe_parse(inside.text, inside.len, &recipe, &e), ERR_OK);
    assert_int_equal(recipe.seed, seed);
}

static int64_t rows_with(const struct digest *key, const char *column, const struct digest *value)
{
    char sql[400];

    snprintf(sql, sizeof sql, "SELECT count(*) FROM images JOIN blobs USING (key) "
             "WHERE images.key = '\\x%s' AND %s = '\\x%s'", digest_hex(key).text, column,
             digest_hex(value).text);
    return kit_postgres_int(stack.pg.conninfo, sql);
}

/* ---- one picture ---- */

static void a_seed_comes_back_as_a_stored_and_provable_jpeg(void **state)
{
    struct message m = generate_of(7, 42, PSI);
    struct answer got = ask(&m);

    (void)state;
    check_picture(&got, 42);
    assert_int_equal(got.m.id, 7);
    assert_int_equal(got.m.image.source, MESSAGE_SOURCE_RENDER);
    assert_int_equal(rows_with(&got.m.image.recipe_key, "images.file_sha", &got.m.image.sha256), 1);
    assert_int_equal(rows_with(&got.m.image.recipe_key, "sha256(blobs.data)", &got.m.image.sha256),
                     1);
    drop(&got);
}

/* It would render what is stored once more, too. */
static const char *const PATIENT[] = { "--lookup-ms", "10000", NULL };

static void later_requests_answer_the_same_bytes_from_memory_and_ledger(void **state)
{
    struct message m = generate_of(1, 43, PSI);
    struct answer first = ask(&m), second = ask(&m), third;

    (void)state;
    check_picture(&second, 43);
    assert_int_equal(second.m.image.source, MESSAGE_SOURCE_MEMORY);
    program_kill(&stack.broker);             /* and its memory with it */
    stack_restart_broker(&stack, PATIENT);
    third = ask(&m);
    check_picture(&third, 43);
    assert_int_equal(third.m.image.source, MESSAGE_SOURCE_LEDGER);
    assert_true(digest_equal(&first.m.image.sha256, &second.m.image.sha256));
    assert_true(digest_equal(&first.m.image.sha256, &third.m.image.sha256));
    drop(&first);
    drop(&second);
    drop(&third);
}

static void exiftool_prints_the_text_whose_sum_is_the_key(void **state)
{
    struct message m = generate_of(1, 44, PSI);
    struct answer got = ask(&m);
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "44.jpg");
    const char *const tool[] = { "exiftool", "-b", "-XMP-seedpress:Recipe", path.text, NULL };
    const char *const source[] = { "exiftool", "-b", "-DigitalSourceType", path.text, NULL };
    FILE *file = fopen(path.text, "wb");
    struct digest key;

    (void)state;
    assert_non_null(file);
    assert_int_equal(fwrite(frame_data(&got.parcel.body[1]), 1, frame_len(&got.parcel.body[1]),
                            file), frame_len(&got.parcel.body[1]));
    fclose(file);
    struct ran ran = run_program(tool);

    assert_int_equal(ran.exit_code, 0);
    key = digest_of(ran.out, ran.out_len);
    assert_true(digest_equal(&key, &got.m.image.recipe_key));
    ran_release(&ran);
    ran = run_program(source);
    assert_string_equal(ran.out, "http://cv.iptc.org/newscodes/digitalsourcetype/"
                                 "trainedAlgorithmicMedia");
    ran_release(&ran);
    drop(&got);
    temp_destroy(&temp);
}

static void the_same_seed_alone_and_in_a_batch_gives_the_same_bytes(void **state)
{
    struct kit_asker a;
    struct message m = generate_of(1, 5000, PSI);
    struct answer alone = ask(&m);
    int64_t largest = 0;
    bool same = false;

    (void)state;
    /* The ledger must not answer for the render: it forgets the picture first. */
    kit_postgres_exec(stack.pg.conninfo,
                      "DELETE FROM blobs WHERE key IN (SELECT key FROM images WHERE seed = 5000);"
                      "DELETE FROM images WHERE seed = 5000");
    asker_open(&a, stack.clients, LINK_DEALER);
    int64_t seeds[32];

    for (int i = 0; i < 32; i++)
        seeds[i] = 5000 + i;
    m = generate_of(2, -1, PSI);
    m.generate.seeds = (struct numbers){ seeds, 32 };
    m.generate.cache = MESSAGE_CACHE_BYPASS;
    asker_send(&a, &m);
    for (int i = 0; i < 33; i++) {
        struct answer got = receive(&a);

        if (got.m.type == MESSAGE_IMAGE) {
            largest = got.m.image.batch > largest ? got.m.image.batch : largest;
            if (got.m.image.seed == 5000)
                same = got.m.image.source == MESSAGE_SOURCE_RENDER &&
                       digest_equal(&got.m.image.sha256, &alone.m.image.sha256) &&
                       digest_equal(&got.m.image.core_sha256, &alone.m.image.core_sha256);
        }
        drop(&got);
    }
    assert_true(same);
    assert_true(largest > 1);
    asker_close(&a);
    drop(&alone);
}

/* ---- many ---- */

static void a_page_of_56_is_one_request_with_56_answers_and_a_last_word(void **state)
{
    struct kit_asker a;
    struct message m = generate_of(9, -1, PSI);
    int64_t seeds[56];
    bool seen[56] = { false };

    (void)state;
    for (int i = 0; i < 56; i++)
        seeds[i] = 100 + i;
    m.generate.seeds = (struct numbers){ seeds, 56 };
    asker_open(&a, stack.clients, LINK_DEALER);
    asker_send(&a, &m);
    for (int i = 0; i < 56; i++) {
        struct answer got = receive(&a);

        check_picture(&got, (uint32_t)got.m.image.seed);
        assert_in_range(got.m.image.seed, 100, 155);
        assert_false(seen[got.m.image.seed - 100]);
        seen[got.m.image.seed - 100] = true;
        drop(&got);
    }
    struct answer last = receive(&a);

    assert_int_equal(last.m.type, MESSAGE_DONE);
    assert_int_equal(last.m.id, 9);
    assert_int_equal(last.m.done.count, 56);
    assert_int_equal(last.m.done.failed, 0);
    drop(&last);
    asker_close(&a);
}

static void several_answers_over_req_are_refused(void **state)
{
    int64_t seeds[] = { 1, 2 };
    struct message m = generate_of(1, -1, PSI);

    (void)state;
    m.generate.seeds = (struct numbers){ seeds, 2 };
    struct answer got = ask(&m);

    expect_error(&got, ERR_USE_DEALER, "DEALER");
}

static void two_clients_share_one_render(void **state)
{
    struct kit_asker a, b;
    struct message m = generate_of(1, -1, PSI), status;
    int64_t seeds[64];

    (void)state;
    for (int i = 0; i < 64; i++)
        seeds[i] = 7000 + i;
    m.generate.seeds = (struct numbers){ seeds, 64 };
    asker_open(&a, stack.clients, LINK_DEALER);
    asker_open(&b, stack.clients, LINK_DEALER);
    message_init(&status, MESSAGE_STATUS, 0);
    struct answer before = ask(&status);

    asker_send(&a, &m);
    asker_send(&b, &m);
    for (int i = 0; i < 65; i++) {
        struct answer got = receive(&a);

        drop(&got);
        got = receive(&b);
        drop(&got);
    }
    struct answer after = ask(&status);

    assert_true(after.m.status_report.joined > before.m.status_report.joined);
    assert_int_equal(after.m.status_report.answered - before.m.status_report.answered, 128);
    assert_int_equal(kit_postgres_int(stack.pg.conninfo,
                     "SELECT count(*) FROM images WHERE seed BETWEEN 7000 AND 7063"), 64);
    drop(&before);
    drop(&after);
    asker_close(&a);
    asker_close(&b);
}

/* ---- options ---- */

static void only_stored_pictures_are_answered_when_asked_so(void **state)
{
    struct message m = generate_of(1, 45, PSI);

    (void)state;
    m.generate.cache = MESSAGE_CACHE_ONLY;
    struct answer got = ask(&m);

    expect_error(&got, ERR_NOT_FOUND, "not stored");
    m.generate.cache = MESSAGE_CACHE_USE;
    got = ask(&m);
    check_picture(&got, 45);
    drop(&got);
    m.generate.cache = MESSAGE_CACHE_ONLY;
    got = ask(&m);
    check_picture(&got, 45);
    drop(&got);
}

static void a_receipt_has_everything_but_the_jpeg(void **state)
{
    struct message m = generate_of(1, 46, PSI);

    (void)state;
    m.generate.want = MESSAGE_WANT_RECEIPT;
    struct answer got = ask(&m);

    assert_int_equal(got.m.type, MESSAGE_RECEIPT);
    assert_int_equal(got.parcel.count, 1);
    assert_true(got.m.image.bytes > 0);
    drop(&got);
}

static int64_t row_of(const struct digest *key, const char *columns)
{
    char sql[300];

    snprintf(sql, sizeof sql, "SELECT %s FROM images LEFT JOIN blobs USING (key) WHERE "
                              "images.key = '\\x%s'", columns, digest_hex(key).text);
    return kit_postgres_int(stack.pg.conninfo, sql);
}

/* At the first time nothing comes into memory, as the work is low; memory does not refill. */
static void a_picture_whose_file_is_not_kept_is_made_again_and_can_be_put_back(void **state)
{
    static const struct {
        int64_t keep, files;        /* afterwards */
        enum message_source source;
    } STEPS[] = {
        { MESSAGE_KEEP_PROVENANCE, 0, MESSAGE_SOURCE_RENDER },
        { MESSAGE_KEEP_IMAGE, 0, MESSAGE_SOURCE_RENDER },
        { MESSAGE_KEEP_REFILL, 1, MESSAGE_SOURCE_RENDER },
        { MESSAGE_KEEP_REFILL, 1, MESSAGE_SOURCE_LEDGER },
    };
    struct message m = generate_of(1, 7450, PSI);
    struct digest sha256 = { .bytes = { 0 } };

    (void)state;
    m.generate.priority = MESSAGE_LOW;
    for (size_t i = 0; i < sizeof STEPS / sizeof STEPS[0]; i++) {
        m.generate.keep = STEPS[i].keep;
        struct answer got = ask(&m);

        check_picture(&got, 7450);
        assert_int_equal(got.m.image.source, STEPS[i].source);
        assert_true(i == 0 || digest_equal(&got.m.image.sha256, &sha256));
        sha256 = got.m.image.sha256;
        assert_int_equal(row_of(&got.m.image.recipe_key, "count(data)"), STEPS[i].files);
        assert_int_equal(row_of(&got.m.image.recipe_key, "kept::int::bigint"), STEPS[i].files);
        drop(&got);
    }
}

static void a_required_class_that_did_not_make_it_is_a_conflict(void **state)
{
    struct message m = generate_of(1, 47, PSI);

    (void)state;
    m.generate.require_class = text_of("cuda-sm90-fp16-1");
    struct answer got = ask(&m);

    expect_error(&got, ERR_CLASS_CONFLICT, "cpu-fp32-fma-1");
}

static void a_class_for_an_unconditional_model_is_a_warning(void **state)
{
    struct message m = generate_of(1, 48, PSI);

    (void)state;
    m.generate.class_index = 3;
    struct answer got = ask(&m);
    char text[200];

    check_picture(&got, 48);
    assert_non_null(strstr(text_copy(got.m.image.warning, text, sizeof text), "no effect"));
    drop(&got);
}

/* ---- questions ---- */

static void lookup_finds_it_by_key_file_core_and_seed(void **state)
{
    struct message m = generate_of(1, 49, PSI), l;
    struct answer got = ask(&m), row;

    (void)state;
    for (int by = 0; by < 5; by++) {
        message_init(&l, MESSAGE_LOOKUP, 3);
        if (by == 0)
            l.lookup.recipe_key = got.m.image.recipe_key;
        else if (by == 1)
            l.lookup.sha256 = got.m.image.sha256;
        else if (by == 2)
            l.lookup.core_sha256 = got.m.image.core_sha256;
        else
            l.lookup.seed = 49;
        if (by == 4) {
            l.lookup.model = text_of("avatars64");
            l.lookup.psi = PSI;
        }
        row = ask(&l);
        assert_int_equal(row.m.type, MESSAGE_PROVENANCE);
        assert_int_equal(row.m.provenance.rows.count, 1);
        const struct message_row *r = row.m.provenance.rows.items;

        assert_true(digest_equal(&r->recipe_key, &got.m.image.recipe_key));
        assert_true(digest_equal(&r->sha256, &got.m.image.sha256));
        assert_true(text_is(r->model, "avatars64"));
        assert_true(text_is(r->numerics_class, "cpu-fp32-fma-1"));
        assert_true(r->worker.len > 0 && r->device.len > 0 && r->created.len > 0);
        assert_true(r->kept);
        drop(&row);
    }
    drop(&got);
}

static void lookup_of_nothing_is_an_empty_list(void **state)
{
    struct message l;

    (void)state;
    message_init(&l, MESSAGE_LOOKUP, 3);
    l.lookup.seed = 4294967295;
    struct answer row = ask(&l);

    assert_int_equal(row.m.type, MESSAGE_PROVENANCE);
    assert_int_equal(row.m.provenance.rows.count, 0);
    drop(&row);
}

static void fetch_gives_the_stored_file(void **state)
{
    struct message m = generate_of(1, 50, PSI), f;
    struct answer got = ask(&m);

    (void)state;
    message_init(&f, MESSAGE_FETCH, 4);
    f.fetch.sha256 = got.m.image.sha256;
    struct answer file = ask(&f);

    check_picture(&file, 50);
    drop(&file);
    message_init(&f, MESSAGE_FETCH, 4);
    f.fetch.recipe_key = digest_of("nothing", 7);
    file = ask(&f);
    expect_error(&file, ERR_NOT_FOUND, "no such picture");
    drop(&got);
}

static void a_name_is_moved_for_everybody(void **state)
{
    struct message list, use, m;
    char digest[65];

    (void)state;
    message_init(&list, MESSAGE_MODELS, 1);
    struct answer models = ask(&list);

    assert_int_equal(models.m.type, MESSAGE_MODEL_LIST);
    assert_int_equal(models.m.model_list.models.count, 1);
    const struct message_model *model = models.m.model_list.models.items;

    assert_true(text_is(model->name, "avatars64"));
    assert_int_equal(model->width, 64);
    assert_int_equal(model->workers, 1);
    assert_true(model->bound);
    memcpy(digest, digest_hex(&model->digest).text, sizeof digest);
    drop(&models);

    message_init(&use, MESSAGE_MODEL_USE, 2);
    use.model_use.name = text_of("faces");
    use.model_use.digest = (struct text){ digest, 8 };
    struct answer done = ask(&use);

    assert_int_equal(done.m.type, MESSAGE_DONE);
    drop(&done);
    m = generate_of(1, 42, PSI);
    m.generate.model = text_of("faces");
    /* The broker reads the bindings again right after; a request that comes first says so. */
    struct answer got = ask(&m);

    while (got.m.type == MESSAGE_ERROR) {
        assert_true(text_is(got.m.error.code, "unknown_model"));
        drop(&got);
        got = ask(&m);
    }
    check_picture(&got, 42);
    drop(&got);
}

static void cancel_ends_what_still_waits(void **state)
{
    struct kit_asker a;
    struct message m = generate_of(77, -1, PSI), cancel;
    int64_t seeds[200], answered = 0;

    (void)state;
    for (int i = 0; i < 200; i++)
        seeds[i] = 20000 + i;
    m.generate.seeds = (struct numbers){ seeds, 200 };
    message_init(&cancel, MESSAGE_CANCEL, 78);
    cancel.cancel.request = 77;
    asker_open(&a, stack.clients, LINK_DEALER);
    asker_send(&a, &m);
    asker_send(&a, &cancel);
    for (;;) {
        struct answer got = receive(&a);
        bool is_last = got.m.type == MESSAGE_DONE;

        assert_int_equal(got.m.id, is_last ? 78 : 77);
        if (is_last)
            assert_int_equal(got.m.done.count + answered, 200);
        answered++;
        drop(&got);
        if (is_last)
            break;
    }
    assert_true(answered < 200);
    asker_close(&a);
}

/* ---- bad input ---- */

static void unknown_models_are_told_with_what_is_known(void **state)
{
    struct message m = generate_of(1, 1, PSI);

    (void)state;
    m.generate.model = text_of("cat");
    struct answer got = ask(&m);
    char text[300];

    text_copy(got.m.error.message, text, sizeof text);
    assert_non_null(strstr(text, "avatars64"));
    expect_error(&got, ERR_UNKNOWN_MODEL, "unknown model \"cat\"; known: ");
}

static void malformed_frames_are_refused_in_words_and_hurt_nobody(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        enum err_code code;
        const char *words;
    } CASES[] = {
        { "\xc1", 1, ERR_INVALID, "not one whole msgpack map" },
        { "\xdd\xff\xff\xff\xff", 5, ERR_INVALID, "not one whole" },
        { "\x93\x01\x02\x03", 4, ERR_INVALID, "a map" },
        { "\x80", 1, ERR_INVALID, "\"v\" is missing" },
        { "\x81\xa1v\x01", 4, ERR_INVALID, "\"type\" is missing" },
        { "\x82\xa1v\x63\xa4type\xa4ping", 14, ERR_VERSION, "version 99" },
        { "\x82\xa1v\x01\xa4type\xa4"
          "fly!",
          14, ERR_TYPE, "unknown message type" },
        { "\x82\xa1v\x01\xa4type\xa5ready", 15, ERR_TYPE, "unknown message type" },
        { "\x83\xa1v\x01\xa4type\xa8generate\xa4seed\x01", 24, ERR_INVALID,
          "\"model\" is missing" },
        { "\x84\xa1v\x01\xa4type\xa8generate\xa5model\xa1x\xa4seed\xff", 32, ERR_RANGE, "seed" },
        { "\x84\xa1v\x01\xa4type\xa8generate\xa5model\xa1x\xa4seed\xcf\0\0\0\1\0\0\0\0", 40,
          ERR_RANGE, "0 to 4294967295" },
        { "\x85\xa1v\x01\xa4type\xa8generate\xa5model\xa1x\xa4seed\x01\xa3psi\x03", 37, ERR_RANGE,
          "from -2 to 2" },
        { "\x85\xa1v\x01\xa4type\xa8generate\xa5model\xa1x\xa4seed\x01\xa3psi"
          "\xcb\x3f\xe6\x66\x66\x66\x70\x00\x00",
          45, ERR_RANGE, "six decimal places" },
    };
    struct kit_asker a;

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        asker_open(&a, stack.clients, LINK_REQ);
        asker_send_bytes(&a, CASES[i].bytes, CASES[i].len);
        struct answer got = receive(&a);

        expect_error(&got, CASES[i].code, CASES[i].words);
        asker_close(&a);
    }
    struct message ping;

    message_init(&ping, MESSAGE_PING, 5);
    struct answer pong = ask(&ping);

    assert_int_equal(pong.m.type, MESSAGE_PONG);
    assert_int_equal(pong.m.id, 5);
    drop(&pong);
}

/* ---- the README's five lines ---- */

/* Writes the README's Python client with this stack's endpoint into path. */
static void extract_python(const char *path)
{
    FILE *in = fopen("README.md", "r"), *out = fopen(path, "w");
    char line[1024];
    int lines = 0;
    bool inside = false;

    assert_non_null(in);
    assert_non_null(out);
    while (fgets(line, sizeof line, in)) {
        char *port = strstr(line, "tcp://127.0.0.1:7701");

        if (strncmp(line, "```", 3) == 0) {
            inside = strncmp(line, "```python", 9) == 0;
            continue;
        }
        if (!inside)
            continue;
        lines++;
        if (port)
            fprintf(out, "%.*s%s%s", (int)(port - line), line, stack.clients,
                    port + strlen("tcp://127.0.0.1:7701"));
        else
            fputs(line, out);
    }
    fclose(in);
    fclose(out);
    assert_int_equal(lines, 5);
}

static void the_five_line_client_of_the_readme_gets_a_picture(void **state)
{
    struct temp temp = temp_create();
    struct temp_path script = temp_path(&temp, "five.py"), picture = temp_path(&temp, "42.jpg");
    char shell[800];

    (void)state;
    extract_python(script.text);
    snprintf(shell, sizeof shell, "cd %s && exec /usr/bin/python3 five.py", temp.folder);
    const char *const argv[] = { "sh", "-c", shell, NULL };
    struct ran ran = run_program(argv);

    if (ran.exit_code != 0)
        fail_msg("the client failed: %s", ran.err);
    ran_release(&ran);
    FILE *file = fopen(picture.text, "rb");
    uint8_t bytes[65536];

    assert_non_null(file);
    size_t len = fread(bytes, 1, sizeof bytes, file);
    struct recipe_text text;

    fclose(file);
    assert_true(mark_find(bytes, len, &text));
    assert_non_null(strstr(text.text, "latent=seed:42\n"));
    temp_destroy(&temp);
}

static int start(void **state)
{
    /* Batches as long as they like, or a slow machine would make them of one. */
    static const char *const flags[] = { "--batch-max", "32", "--batch-ms", "600000", NULL };

    (void)state;
    stack_start(&stack, PATIENT);
    stack_start_worker(&stack, 0, flags);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    program_signal(&stack.worker[0], 15);
    program_signal(&stack.broker, 15);
    int worker = program_wait(&stack.worker[0]), broker = program_wait(&stack.broker);

    stack_destroy(&stack);
    return worker || broker;         /* both end cleanly, or this group fails */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_seed_comes_back_as_a_stored_and_provable_jpeg),
        cmocka_unit_test(later_requests_answer_the_same_bytes_from_memory_and_ledger),
        cmocka_unit_test(exiftool_prints_the_text_whose_sum_is_the_key),
        cmocka_unit_test(the_same_seed_alone_and_in_a_batch_gives_the_same_bytes),
        cmocka_unit_test(a_page_of_56_is_one_request_with_56_answers_and_a_last_word),
        cmocka_unit_test(several_answers_over_req_are_refused),
        cmocka_unit_test(two_clients_share_one_render),
        cmocka_unit_test(only_stored_pictures_are_answered_when_asked_so),
        cmocka_unit_test(a_receipt_has_everything_but_the_jpeg),
        cmocka_unit_test(a_picture_whose_file_is_not_kept_is_made_again_and_can_be_put_back),
        cmocka_unit_test(a_required_class_that_did_not_make_it_is_a_conflict),
        cmocka_unit_test(a_class_for_an_unconditional_model_is_a_warning),
        cmocka_unit_test(lookup_finds_it_by_key_file_core_and_seed),
        cmocka_unit_test(lookup_of_nothing_is_an_empty_list),
        cmocka_unit_test(fetch_gives_the_stored_file),
        cmocka_unit_test(a_name_is_moved_for_everybody),
        cmocka_unit_test(cancel_ends_what_still_waits),
        cmocka_unit_test(unknown_models_are_told_with_what_is_known),
        cmocka_unit_test(malformed_frames_are_refused_in_words_and_hurt_nobody),
        cmocka_unit_test(the_five_line_client_of_the_readme_gets_a_picture),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
