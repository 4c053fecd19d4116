/* Pictures with Content Credentials on real programs: made by a worker that has a certificate,
 * judged by validators that share no code with ours (tests/c2pa). */
#include "base/c2pa.h"
#include "base/file.h"
#include "base/mark.h"
#include "proto/message.h"
#include "tests/kit_certificate.h"
#include "tests/kit_stack.h"
#include "tests/kit_temp.h"

#include <cjson/cJSON.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum { WAIT_MS = 300000, PSI = 700000, FILES_MAX = 8 };

static struct kit_stack stack;
static struct temp temp;
static struct kit_certificate root, maker;
static struct temp_path trust, cert, key;

/* ---- asking ---- */

struct answer {
    struct message m;
    struct parcel parcel;
};

static struct answer ask(int64_t seed, enum recipe_mark mark)
{
    struct message m = generate_of(1, seed, PSI);
    struct kit_asker a;
    struct answer got;

    m.generate.mark = (int)mark;
    asker_open(&a, stack.clients, LINK_REQ);
    asker_send(&a, &m);
    assert_true(asker_receive(&a, &got.m, &got.parcel, WAIT_MS));
    asker_close(&a);
    return got;
}

static void drop(struct answer *got)
{
    message_release(&got->m);
    parcel_release(&got->parcel);
}

/* A picture of mark c2pa as a file of our own; free() it. */
static uint8_t *signed_file(int64_t seed, size_t *len)
{
    struct answer got = ask(seed, RECIPE_MARK_C2PA);
    struct digest sha;
    uint8_t *file;

    assert_int_equal(got.m.type, MESSAGE_IMAGE);
    *len = frame_len(&got.parcel.body[1]);
    file = malloc(*len);
    assert_non_null(file);
    memcpy(file, frame_data(&got.parcel.body[1]), *len);
    sha = digest_of(file, *len);
    assert_true(digest_equal(&sha, &got.m.image.sha256));
    drop(&got);
    return file;
}

static struct c2pa_finding check(const uint8_t *file, size_t len)
{
    struct c2pa_finding finding;
    struct err e;

    assert_int_equal(c2pa_check(file, len, trust.text, &finding, &e), ERR_OK);
    return finding;
}

/* ---- pictures ---- */

static void a_worker_with_a_certificate_signs_what_is_to_be_signed(void **state)
{
    struct answer plain = ask(1, RECIPE_MARK_XMP);
    struct c2pa_finding finding;
    struct digest core;
    size_t len, again_len;
    uint8_t *file = signed_file(1, &len), *again = signed_file(1, &again_len);

    (void)state;
    finding = check(file, len);
    assert_int_equal(finding.verdict, C2PA_VALID);
    assert_true(finding.trusted);
    assert_string_equal(finding.signer, "Picture Maker, Example Pictures");
    assert_non_null(strstr(finding.recipe.text, "latent=seed:1\n"));
    assert_non_null(strstr(finding.recipe.text, "mark=c2pa\n"));

    assert_int_equal(plain.m.type, MESSAGE_IMAGE);
    assert_true(mark_core_sha256(file, len, &core));
    assert_true(digest_equal(&core, &plain.m.image.core_sha256));
    assert_int_equal(check(frame_data(&plain.parcel.body[1]),
                           frame_len(&plain.parcel.body[1])).verdict, C2PA_NONE);
    assert_int_equal(len, again_len);            /* the first image wins, its signature too */
    assert_memory_equal(file, again, len);
    free(file);
    free(again);
    drop(&plain);
}

static void what_was_pruned_comes_back_as_the_same_picture_signed_anew(void **state)
{
    struct digest core, core_again;
    size_t len, again_len;
    uint8_t *file = signed_file(2, &len), *again;

    (void)state;
    kit_postgres_int(stack.pg.conninfo, "WITH b AS (DELETE FROM blobs), "
                     "i AS (UPDATE images SET kept = false RETURNING 1) SELECT count(*) FROM i");
    program_kill(&stack.broker);                 /* and its memory with it */
    stack_restart_broker(&stack, NULL);
    again = signed_file(2, &again_len);
    assert_false(len == again_len && memcmp(file, again, len) == 0);
    assert_true(check(again, again_len).trusted);
    assert_true(mark_core_sha256(file, len, &core));
    assert_true(mark_core_sha256(again, again_len, &core_again));
    assert_true(digest_equal(&core, &core_again));
    free(file);
    free(again);
}

/* ---- what others say ---- */

struct opinion {
    bool valid, trusted, has_recipe;
    char failures[200];             /* codes with ' ' between */
};

struct exhibit {
    const char *name;
    struct opinion by_wasm, by_ts;
};

static void take_opinion(const cJSON *line, struct opinion *out)
{
    const cJSON *failure;
    size_t len = 0;

    out->valid = cJSON_IsTrue(cJSON_GetObjectItem(line, "valid"));
    out->trusted = cJSON_IsTrue(cJSON_GetObjectItem(line, "trusted"));
    out->has_recipe = cJSON_IsString(cJSON_GetObjectItem(line, "recipe"));
    out->failures[0] = '\0';
    cJSON_ArrayForEach(failure, cJSON_GetObjectItem(line, "failures"))
        len += (size_t)snprintf(out->failures + len, sizeof out->failures - len, "%s%s",
                                len ? " " : "", failure->valuestring);
    assert_true(len < sizeof out->failures);
}

static void read_opinions(const char *text, struct exhibit *exhibits, size_t count)
{
    size_t lines = 0;

    for (const char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        cJSON *json = cJSON_ParseWithLength(line, (size_t)(end - line));
        const char *file = cJSON_GetStringValue(cJSON_GetObjectItem(json, "file"));
        const char *by = cJSON_GetStringValue(cJSON_GetObjectItem(json, "by"));
        size_t i = 0;

        assert_non_null(file);
        assert_non_null(by);
        while (i < count && strcmp(exhibits[i].name, file) != 0)
            i++;
        assert_true(i < count);
        take_opinion(json, strcmp(by, "c2pa-ts") == 0 ? &exhibits[i].by_ts
                                                      : &exhibits[i].by_wasm);
        cJSON_Delete(json);
        lines++;
    }
    assert_int_equal(lines, 2 * count);
}

/* Shows files of the folder to both validators. */
static void show(struct exhibit *exhibits, size_t count, const char *trusted)
{
    const char *build = getenv("SEEDPRESS_BUILD");
    struct temp_path paths[FILES_MAX];
    const char *argv[FILES_MAX + 5] = { "node", "tests/c2pa/check.mjs" };
    char folder[200], modules[220];
    struct ran ran;

    snprintf(folder, sizeof folder, "%s/c2pa", build ? build : "build");
    snprintf(modules, sizeof modules, "%s/node_modules", folder);
    ran = run_program((const char *const[]){ "tests/npm.sh", folder, "tests/c2pa", NULL });
    if (ran.exit_code != 0)
        fail_msg("%s", ran.err);
    ran_release(&ran);

    argv[2] = modules;
    argv[3] = trusted;
    for (size_t i = 0; i < count; i++) {
        paths[i] = temp_path(&temp, exhibits[i].name);
        argv[4 + i] = paths[i].text;
    }
    ran = run_program(argv);
    if (ran.exit_code != 0)
        fail_msg("%s", ran.err);
    read_opinions(ran.out, exhibits, count);
    ran_release(&ran);
}

static void put(const char *name, const uint8_t *file, size_t len)
{
    struct temp_path path = temp_path(&temp, name);
    struct err e;

    assert_int_equal(file_write_atomic(path.text, file, len, &e), ERR_OK);
}

/* file with one bit of the byte at at another, under a name. */
static void put_changed(const char *name, uint8_t *file, size_t len, size_t at)
{
    file[at] ^= 1;
    put(name, file, len);
    file[at] ^= 1;
}

/* The last place where text stands: in the manifest, which is behind the XMP. */
static size_t find_last(const uint8_t *file, size_t len, const char *text)
{
    const uint8_t *last = NULL, *at = file;

    while ((at = memmem(at, len - (size_t)(at - file), text, strlen(text))))
        last = at++;
    assert_non_null(last);
    return (size_t)(last - file);
}

static void assert_invalid(const struct exhibit *exhibit, const char *code)
{
    const struct opinion *both[] = { &exhibit->by_wasm, &exhibit->by_ts };

    for (size_t i = 0; i < COUNT(both); i++) {
        assert_false(both[i]->valid);
        assert_false(both[i]->trusted);
        if (!strstr(both[i]->failures, code))
            fail_msg("%s: \"%s\" is not \"%s\"", exhibit->name, both[i]->failures, code);
    }
}

static void independent_validators_agree_on_what_holds_and_what_does_not(void **state)
{
    struct exhibit e[] = { { .name = "made.jpg" }, { .name = "pixel.jpg" }, { .name = "xmp.jpg" },
                           { .name = "actions.jpg" }, { .name = "recipe.jpg" },
                           { .name = "claim.jpg" } };
    size_t len;
    uint8_t *file = signed_file(3, &len);

    (void)state;
    put("made.jpg", file, len);
    put_changed("pixel.jpg", file, len, len - 20);
    put_changed("xmp.jpg", file, len,
                (size_t)((uint8_t *)memmem(file, len, "seedpress:Recipe", 16) - file));
    put_changed("actions.jpg", file, len, find_last(file, len, "trainedAlgorithmicMedia"));
    put_changed("recipe.jpg", file, len, find_last(file, len, "latent=seed:") + 12);
    put_changed("claim.jpg", file, len, find_last(file, len, "xmp:iid:") + 8);
    free(file);
    show(e, COUNT(e), trust.text);

    assert_true(e[0].by_wasm.valid);
    assert_true(e[0].by_wasm.trusted);
    assert_true(e[0].by_wasm.has_recipe);
    assert_string_equal(e[0].by_wasm.failures, "");
    assert_true(e[0].by_ts.valid);
    assert_string_equal(e[0].by_ts.failures, "");
    assert_invalid(&e[1], "assertion.dataHash.mismatch");
    assert_invalid(&e[2], "assertion.dataHash.mismatch");
    assert_invalid(&e[3], "assertion.hashedURI.mismatch");
    assert_invalid(&e[4], "assertion.hashedURI.mismatch");
    assert_invalid(&e[5], "claimSignature.mismatch");
}

/* ---- a certificate of one's own ---- */

static void the_commands_of_the_readme_make_a_certificate_that_signs(void **state)
{
    static const char READ[] =
        "sed -n '/^openssl req -x509/,/^```/p' worker/README.md | sed '$d' >\"$1/make.sh\" && "
        "cd \"$1\" && sh -eu make.sh";
    struct ran ran = run_program((const char *const[]){ "sh", "-c", READ, "sh", temp.folder,
                                                        NULL });
    struct temp_path own_cert = temp_path(&temp, "c2pa.pem"), ca = temp_path(&temp, "ca.pem");
    struct temp_path own_key = temp_path(&temp, "c2pa.key");
    struct recipe recipe;
    struct recipe_text text;
    struct c2pa_signer *signer;
    struct c2pa_finding finding;
    struct c2pa_unsigned file;
    struct answer plain = ask(5, RECIPE_MARK_XMP);
    uint8_t *out;
    size_t len;
    struct err e;

    (void)state;
    if (ran.exit_code != 0)
        fail_msg("%s", ran.err);
    ran_release(&ran);
    if (c2pa_signer_create(own_cert.text, own_key.text, &signer, &e))
        fail_msg("%s", e.msg);
    assert_int_equal(plain.m.type, MESSAGE_IMAGE);
    assert_int_equal(recipe_parse(plain.m.image.recipe.data, plain.m.image.recipe.len, &recipe, &e),
                     ERR_OK);
    text = recipe_text(&recipe);
    file = (struct c2pa_unsigned){ frame_data(&plain.parcel.body[1]),
                                   frame_len(&plain.parcel.body[1]), plain.m.image.sha256 };
    assert_int_equal(c2pa_sign(signer, &text, &file, &out, &len, &e), ERR_OK);
    assert_int_equal(c2pa_check(out, len, ca.text, &finding, &e), ERR_OK);
    assert_int_equal(finding.verdict, C2PA_VALID);
    assert_true(finding.trusted);
    assert_string_equal(finding.signer, "My pictures, Me");
    put("own.jpg", out, len);
    free(out);
    drop(&plain);
    c2pa_signer_destroy(&signer);

    struct exhibit own = { .name = "own.jpg" };

    show(&own, 1, ca.text);
    assert_true(own.by_wasm.valid && own.by_wasm.trusted && own.by_ts.valid);
}

/* ---- without a certificate ---- */

static void without_a_certificate_it_is_unsupported_at_once_and_others_go_on(void **state)
{
    struct answer got;
    char text[200];

    (void)state;
    program_signal(&stack.worker[0], SIGTERM);
    assert_int_equal(program_wait(&stack.worker[0]), 0);
    stack_start_worker(&stack, 0, NULL);
    got = ask(4, RECIPE_MARK_C2PA);
    assert_int_equal(got.m.type, MESSAGE_ERROR);
    text_copy(got.m.error.code, text, sizeof text);
    assert_string_equal(text, "unsupported");    /* after three tries it would be poison */
    text_copy(got.m.error.message, text, sizeof text);
    assert_non_null(strstr(text, "needs a certificate, and none is set up"));
    drop(&got);
    got = ask(4, RECIPE_MARK_XMP);
    assert_int_equal(got.m.type, MESSAGE_IMAGE);
    drop(&got);
}

static void a_worker_does_not_start_with_a_certificate_that_cannot_sign(void **state)
{
    struct kit_program worker;
    char line[400];

    (void)state;
    program_start(&worker, (const char *const[]){ "seedpress-worker", "--c2pa-cert", cert.text,
                                                  NULL });
    program_wait_for(&worker, "c2pa_key is missing", line, sizeof line);
    assert_int_equal(program_wait(&worker), 2);
    program_start(&worker, (const char *const[]){ "seedpress-worker", "--c2pa-cert", cert.text,
                                                  "--c2pa-key", cert.text, NULL });
    program_wait_for(&worker, "chmod 600", line, sizeof line);
    assert_int_equal(program_wait(&worker), 7);
}

/* ---- the fixture ---- */

static int start(void **state)
{
    struct certificate_wish wish = CERTIFICATE_WISH(&root);
    const struct kit_certificate *list[] = { &root, &maker };
    const char *flags[] = { "--c2pa-cert", NULL, "--c2pa-key", NULL, NULL };

    (void)state;
    temp = temp_create();
    root = certificate_make_root("Example Root");
    maker = certificate_make(&wish);
    trust = certificate_write(&temp, "root.pem", &list[0], 1);
    cert = certificate_write(&temp, "maker.pem", &list[1], 1);
    key = certificate_write_key(&temp, "maker.key", &maker, NULL);
    flags[1] = cert.text;
    flags[3] = key.text;
    stack_start(&stack, NULL);
    stack_start_worker(&stack, 0, flags);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    stack_destroy(&stack);
    certificate_release(&maker);
    certificate_release(&root);
    temp_destroy(&temp);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_with_a_certificate_signs_what_is_to_be_signed),
        cmocka_unit_test(what_was_pruned_comes_back_as_the_same_picture_signed_anew),
        cmocka_unit_test(independent_validators_agree_on_what_holds_and_what_does_not),
        cmocka_unit_test(the_commands_of_the_readme_make_a_certificate_that_signs),
        cmocka_unit_test(a_worker_does_not_start_with_a_certificate_that_cannot_sign),
        cmocka_unit_test(without_a_certificate_it_is_unsupported_at_once_and_others_go_on),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
