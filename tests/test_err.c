#include "proto/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void err_set_returns_its_code_and_keeps_the_words(void **state)
{
    struct err e;

    (void)state;
    assert_int_equal(err_set(&e, ERR_RANGE, "seed %d is too large", 7), ERR_RANGE);
    assert_int_equal(e.code, ERR_RANGE);
    assert_string_equal(e.msg, "seed 7 is too large");
}

static void nobody_has_to_listen(void **state)
{
    (void)state;
    assert_int_equal(err_set(NULL, ERR_FILE, "could not open \"%s\"", "x"), ERR_FILE);
}

static void words_that_are_too_long_are_cut_and_end(void **state)
{
    char longer[2 * sizeof(struct err)];
    struct err e;

    (void)state;
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(err_set(&e, ERR_BUG, "%s", longer), ERR_BUG);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
}

static void each_code_has_one_word_that_leads_back_to_it(void **state)
{
    (void)state;
    for (int code = 0; code < ERR_COUNT; code++) {
        const struct err_info *info = err_info((enum err_code)code);

        assert_non_null(info->word);
        assert_int_equal(err_from_word(info->word, strlen(info->word)), code);
        assert_true(strspn(info->word, "abcdefghijklmnopqrstuvwxyz_") == strlen(info->word));
        assert_true(strlen(info->word) <= 32);       /* the field `code` holds no more */
        assert_true(strlen(info->words) > 0);
        assert_int_equal(info->exit_code == 0, code == ERR_OK);
        assert_int_equal(info->http_status == 200, code == ERR_OK);
        assert_in_range(info->http_status, 200, 599);
    }
}

/* The numbers and words are in ledgers, logs and other people's programs. */
static void numbers_and_words_never_change(void **state)
{
    static const char *const WORDS[] = {
        "ok", "invalid", "range", "no_memory", "device", "unknown_type", "version", "use_dealer",
        "unknown_model", "class_required", "unsupported", "not_found", "class_conflict",
        "wrong_class", "not_reproducible", "withdrawn", "overloaded", "deadline", "no_worker",
        "ledger_down", "retry", "poison", "cancelled", "too_large", "unreachable", "denied", "file",
        "bug", "conflict",
    };

    (void)state;
    assert_true(ERR_COUNT >= sizeof WORDS / sizeof WORDS[0]);
    for (size_t code = 0; code < sizeof WORDS / sizeof WORDS[0]; code++)
        assert_string_equal(err_info((enum err_code)code)->word, WORDS[code]);
}

static void what_may_pass_is_refused_now_and_not_for_ever(void **state)
{
    (void)state;
    for (int code = 0; code < ERR_COUNT; code++) {
        const struct err_info *info = err_info((enum err_code)code);

        if (info->retry)             /* no 4xx: those say that the request itself is wrong */
            assert_in_range(info->http_status, 500, 599);
        if (info->exit_code == 4)    /* "refused now, try again" */
            assert_true(info->retry);
    }
}

static void a_code_from_nowhere_is_a_bug(void **state)
{
    (void)state;
    assert_ptr_equal(err_info(ERR_COUNT), err_info(ERR_BUG));
    assert_ptr_equal(err_info((enum err_code)-1), err_info(ERR_BUG));
    assert_ptr_equal(err_info((enum err_code)10000), err_info(ERR_BUG));
}

static void words_that_nobody_knows_are_told_apart(void **state)
{
    (void)state;
    assert_int_equal(err_from_word("", 0), ERR_COUNT);
    assert_int_equal(err_from_word("rang", 4), ERR_COUNT);
    assert_int_equal(err_from_word("ranges", 6), ERR_COUNT);
    assert_int_equal(err_from_word("ranges", 5), ERR_RANGE);     /* len counts, not a NUL */
    assert_int_equal(err_from_word("Range", 5), ERR_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(err_set_returns_its_code_and_keeps_the_words),
        cmocka_unit_test(nobody_has_to_listen),
        cmocka_unit_test(words_that_are_too_long_are_cut_and_end),
        cmocka_unit_test(each_code_has_one_word_that_leads_back_to_it),
        cmocka_unit_test(numbers_and_words_never_change),
        cmocka_unit_test(what_may_pass_is_refused_now_and_not_for_ever),
        cmocka_unit_test(a_code_from_nowhere_is_a_bug),
        cmocka_unit_test(words_that_nobody_knows_are_told_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
