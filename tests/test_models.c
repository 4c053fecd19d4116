#include "broker/models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct digest digest_with(uint8_t first, uint8_t second, uint8_t last)
{
    struct digest d = { { first, second } };

    d.bytes[DIGEST_LEN - 1] = last;
    return d;
}

static void put(struct models *models, const char *name, struct digest digest, int64_t now_ms)
{
    struct message_model m = { .name = text_of(name),
                               .digest = digest,
                               .arch = text_of("stylegan2"),
                               .licence = text_of("CC0"),
                               .width = 64,
                               .height = 32,
                               .num_ws = 10,
                               .z_dim = 512,
                               .w_dim = 256,
                               .c_dim = 3,
                               .noise_modes = 3,
                               .has_transform = true };

    models_put(models, &m, 1, now_ms);
}

static void bind(struct models *models, size_t count, const char *const *names,
                 const struct digest *digests)
{
    struct ledger_name *list = calloc(count, sizeof *list);

    assert_non_null(list);
    for (size_t i = 0; i < count; i++) {
        snprintf(list[i].name, sizeof list[i].name, "%s", names[i]);
        list[i].digest = digests[i];
    }
    models_take_names(models, list, count);
}

static const struct model_entry *resolved(const struct models *models, const char *spec)
{
    const struct model_entry *entry = NULL;
    struct err e;

    if (models_resolve(models, text_of(spec), &entry, &e))
        fail_msg("%s", e.msg);
    return entry;
}

static void assert_unresolved(const struct models *models, const char *spec, enum err_code code,
                              const char *words)
{
    const struct model_entry *entry;
    struct err e = { 0 };

    assert_int_equal(models_resolve(models, text_of(spec), &entry, &e), code);
    assert_string_equal(e.msg, words);
}

static void an_announcement_is_remembered_whole(void **state)
{
    struct digest cats = digest_with(0x1a, 0x2b, 1);
    struct models models = { 0 };
    const struct model_entry *entry;

    (void)state;
    put(&models, "cats", cats, 77);
    entry = models_find(&models, &cats);
    assert_non_null(entry);
    assert_string_equal(entry->name, "cats");
    assert_string_equal(entry->arch, "stylegan2");
    assert_string_equal(entry->licence, "CC0");
    assert_int_equal(entry->served_ms, 77);
    assert_int_equal(entry->facts.width, 64);
    assert_int_equal(entry->facts.height, 32);
    assert_int_equal(entry->facts.num_ws, 10);
    assert_int_equal(entry->facts.z_dim, 512);
    assert_int_equal(entry->facts.w_dim, 256);
    assert_int_equal(entry->facts.c_dim, 3);
    assert_int_equal(entry->facts.noise_modes, 3);
    assert_true(entry->facts.has_transform);
    assert_true(digest_equal(&entry->facts.digest, &cats));
    put(&models, "kittens", cats, 99);           /* the same model, announced again */
    assert_ptr_equal(models_find(&models, &cats), entry);
    assert_string_equal(entry->name, "kittens");
    assert_int_equal(HASH_COUNT(models.by_digest), 1);
    models_release(&models);
    assert_null(models.by_digest);
}

static void a_model_is_found_by_name_by_digest_and_by_the_begin_of_one(void **state)
{
    struct digest cats = digest_with(0x1a, 0x2b, 1), dogs = digest_with(0x1a, 0x2c, 1);
    struct models models = { 0 };

    (void)state;
    put(&models, "cats", cats, 0);
    put(&models, "dogs", dogs, 0);
    assert_true(digest_equal(&resolved(&models, "cats")->digest, &cats));
    assert_true(digest_equal(&resolved(&models, "dogs")->digest, &dogs));
    assert_true(digest_equal(&resolved(&models, digest_hex(&dogs).text)->digest, &dogs));
    assert_true(digest_equal(&resolved(&models, "dogs@1a2c")->digest, &dogs));
    assert_true(digest_equal(&resolved(&models, "cats@1a2b0000")->digest, &cats));
    models_release(&models);
}

static void what_is_unknown_is_refused_with_what_is_known(void **state)
{
    struct models models = { 0 };

    (void)state;
    assert_unresolved(&models, "cat", ERR_UNKNOWN_MODEL,
                      "unknown model \"cat\"; known: none, no worker has been here");
    put(&models, "cats", digest_with(0x1a, 0x2b, 1), 0);
    put(&models, "avatars64", digest_with(0x3c, 0x4d, 1), 0);
    assert_unresolved(&models, "cat", ERR_UNKNOWN_MODEL,
                      "unknown model \"cat\"; known: cats, avatars64");
    assert_unresolved(&models, "CATS", ERR_UNKNOWN_MODEL,
                      "unknown model \"CATS\"; known: cats, avatars64");
    assert_unresolved(&models, "cats@1a2", ERR_UNKNOWN_MODEL, "unknown model digest \"1a2\"");
    assert_unresolved(&models, "cats@ffff", ERR_UNKNOWN_MODEL, "unknown model digest \"ffff\"");
    assert_unresolved(&models, "cats@", ERR_UNKNOWN_MODEL, "unknown model digest \"\"");
    assert_unresolved(&models, "c/ats", ERR_INVALID, "model \"c/ats\" is no valid name");
    assert_unresolved(&models, "@1a2b", ERR_INVALID, "model \"@1a2b\" is no valid name");
    assert_unresolved(&models, "../cats", ERR_INVALID, "model \"../cats\" is no valid name");
    models_release(&models);
}

static void digits_that_begin_two_digests_are_not_enough(void **state)
{
    struct digest a = digest_with(0x1a, 0x2b, 1), b = digest_with(0x1a, 0x2b, 2);
    const struct model_entry *entry;
    struct models models = { 0 };
    struct err e;

    (void)state;
    put(&models, "a", a, 0);
    put(&models, "b", b, 0);
    assert_unresolved(&models, "a@1a2b", ERR_CONFLICT,
                      "several models begin with \"1a2b\"; give more digits");
    assert_int_equal(models_find_prefix(&models, text_of(digest_hex(&b).text), &entry, &e), ERR_OK);
    assert_true(digest_equal(&entry->digest, &b));
    models_release(&models);
}

static void a_name_of_the_ledger_goes_before_that_of_a_file(void **state)
{
    struct digest old = digest_with(1, 1, 1), new = digest_with(2, 2, 2);
    const char *names[] = { "cats", "felines" };
    struct digest digests[] = { new, new };
    const struct model_entry *entry;
    struct models models = { 0 };
    struct err e;

    (void)state;
    put(&models, "cats", old, 0);
    put(&models, "cats-2", new, 0);
    assert_true(digest_equal(&resolved(&models, "cats")->digest, &old));
    bind(&models, 2, names, digests);
    assert_true(digest_equal(&resolved(&models, "cats")->digest, &new));
    assert_true(digest_equal(&resolved(&models, "felines")->digest, &new));
    assert_true(digest_equal(&resolved(&models, "cats-2")->digest, &new));
    assert_string_equal(models_name_of(&models, &new), "cats");
    assert_string_equal(models_name_of(&models, &old), "cats");     /* its file's, and not bound: */
    assert_true(models_is_bound(&models, "cats", &new));
    assert_false(models_is_bound(&models, "cats", &old));
    assert_false(models_is_bound(&models, "cats-2", &new));
    bind(&models, 1, names, digests);            /* the ledger forgot one */
    assert_int_equal(models_resolve(&models, text_of("felines"), &entry, &e), ERR_UNKNOWN_MODEL);
    assert_non_null(strstr(e.msg, "unknown model \"felines\"; known: cats"));
    models_release(&models);
}

static void a_name_whose_model_no_worker_brought_is_no_worker(void **state)
{
    struct digest cats = digest_with(1, 1, 1);
    const char *names[] = { "cats" };
    struct models models = { 0 };
    struct digest digest;
    char words[100];
    struct err e;

    (void)state;
    snprintf(words, sizeof words, "no live worker has model cats@%.8s", digest_hex(&cats).text);
    bind(&models, 1, names, &cats);
    assert_unresolved(&models, "cats", ERR_NO_WORKER, words);
    assert_int_equal(models_digest_of(&models, text_of("cats"), &digest, &e), ERR_OK);
    assert_true(digest_equal(&digest, &cats));
    assert_string_equal(models_name_of(&models, &cats), "cats");
    models_release(&models);
}

static void the_ledgers_models_leave_room_and_facts_to_those_of_workers(void **state)
{
    struct models models = { 0 };
    struct ledger_model_row row = { .arch = "stylegan1", .licence = "CC0" };
    struct digest cats = digest_with(1, 1, 1);
    const struct model_entry *entry;

    (void)state;
    put(&models, "cats", cats, 5);
    row.facts.digest = cats;
    row.facts.width = 1024;
    assert_false(models_put_stored(&models, &row, 1, 9));
    entry = resolved(&models, "cats");
    assert_int_equal(entry->facts.width, 64);            /* as the worker said */
    assert_int_equal(entry->served_ms, 5);
    for (int i = 1; i <= MESSAGE_MODELS_MAX; i++) {
        row.facts.digest = digest_with(2, (uint8_t)i, (uint8_t)(i >> 8));
        assert_int_equal(models_put_stored(&models, &row, 1, 9), i < MODELS_STORED_MAX);
    }
    row.facts.digest = digest_with(2, 1, 0);
    assert_false(models_put_stored(&models, &row, 1, 9));        /* is known by now */
    entry = models_find(&models, &row.facts.digest);
    assert_string_equal(entry->arch, "stylegan1");
    assert_string_equal(entry->name, "");
    assert_int_equal(entry->served_ms, 9);
    for (int i = 0; i < MESSAGE_MODELS_MAX / 2; i++)     /* each of them finds room */
        put(&models, "dogs", digest_with(3, (uint8_t)i, 0), 5);
    assert_int_equal(HASH_COUNT(models.by_digest), MESSAGE_MODELS_MAX);
    put(&models, "renamed", digest_with(2, 1, 0), 20);   /* its worker has come */
    entry = models_find(&models, &row.facts.digest);
    assert_string_equal(entry->name, "renamed");
    assert_int_equal(entry->facts.width, 64);
    assert_int_equal(entry->served_ms, 20);
    models_release(&models);
}

static void a_digest_stands_for_itself_even_when_nobody_knows_it(void **state)
{
    struct digest cats = digest_with(1, 1, 1), nobody = digest_with(9, 9, 9), digest;
    struct models models = { 0 };
    struct err e;

    (void)state;
    put(&models, "cats", cats, 0);
    assert_int_equal(models_digest_of(&models, text_of(digest_hex(&nobody).text), &digest, &e),
                     ERR_OK);
    assert_true(digest_equal(&digest, &nobody));
    assert_int_equal(models_digest_of(&models, text_of("cats@0101"), &digest, &e), ERR_OK);
    assert_true(digest_equal(&digest, &cats));
    assert_int_equal(models_digest_of(&models, text_of("cat"), &digest, &e), ERR_UNKNOWN_MODEL);
    assert_null(models_find(&models, &nobody));
    assert_string_equal(models_name_of(&models, &nobody), "");
    models_release(&models);
}

static void a_list_of_known_models_that_is_too_long_is_cut(void **state)
{
    struct models models = { 0 };
    const struct model_entry *entry;
    struct err e;

    (void)state;
    for (int i = 0; i < 60; i++) {
        char name[32];

        snprintf(name, sizeof name, "a-model-with-number-%d", i);
        put(&models, name, digest_with((uint8_t)i, 7, 1), 0);
    }
    assert_int_equal(models_resolve(&models, text_of("cat"), &entry, &e), ERR_UNKNOWN_MODEL);
    assert_true(strlen(e.msg) < sizeof e.msg);
    assert_non_null(strstr(e.msg, "known: a-model-with-number-0, a-model-with-number-1, "));
    models_release(&models);
}

static void no_more_models_are_remembered_than_a_message_can_list(void **state)
{
    struct models models = { 0 };

    (void)state;
    for (int i = 0; i < MESSAGE_MODELS_MAX + 20; i++)
        put(&models, "m", digest_with((uint8_t)i, (uint8_t)(i >> 8), 1), 0);
    assert_int_equal(HASH_COUNT(models.by_digest), MESSAGE_MODELS_MAX);
    models_release(&models);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_announcement_is_remembered_whole),
        cmocka_unit_test(a_model_is_found_by_name_by_digest_and_by_the_begin_of_one),
        cmocka_unit_test(what_is_unknown_is_refused_with_what_is_known),
        cmocka_unit_test(digits_that_begin_two_digests_are_not_enough),
        cmocka_unit_test(a_name_of_the_ledger_goes_before_that_of_a_file),
        cmocka_unit_test(a_name_whose_model_no_worker_brought_is_no_worker),
        cmocka_unit_test(the_ledgers_models_leave_room_and_facts_to_those_of_workers),
        cmocka_unit_test(a_digest_stands_for_itself_even_when_nobody_knows_it),
        cmocka_unit_test(a_list_of_known_models_that_is_too_long_is_cut),
        cmocka_unit_test(no_more_models_are_remembered_than_a_message_can_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
