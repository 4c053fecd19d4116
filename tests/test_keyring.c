/* Which key has which role, and files that do not say it. */
#include "base/keyring.h"

#include "tests/kit_temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define A "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
#define B "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
#define C "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"

static struct keyring *ring_of(const char *text)
{
    struct keyring *ring;
    struct err e;

    if (keyring_create_text(text, strlen(text), &ring, &e))
        fail_msg("%s", e.msg);
    return ring;
}

static void each_key_has_the_role_and_the_name_of_its_line(void **state)
{
    struct keyring *ring = ring_of("# who may do what\n"
                                   "\n"
                                   "client " A " alice\n"
                                   "  worker\t" B "\tgpu-1  \r\n"
                                   "   # a comment further in\n"
                                   "admin  " C "  root");
    char name[KEYRING_NAME_MAX];

    (void)state;
    assert_int_equal(keyring_count(ring), 3);
    assert_int_equal(keyring_find(ring, A, name), KEYRING_CLIENT);
    assert_string_equal(name, "alice");
    assert_int_equal(keyring_find(ring, B, name), KEYRING_WORKER);
    assert_string_equal(name, "gpu-1");
    assert_int_equal(keyring_find(ring, C, NULL), KEYRING_ADMIN);
    keyring_destroy(&ring);
    assert_null(ring);
}

static void what_is_not_on_it_has_no_role(void **state)
{
    struct keyring *ring = ring_of("client " A " alice\n"), *empty = ring_of("");
    char name[KEYRING_NAME_MAX] = "before";

    (void)state;
    assert_int_equal(keyring_find(ring, B, name), KEYRING_NONE);
    assert_string_equal(name, "");
    assert_int_equal(keyring_find(ring, "", NULL), KEYRING_NONE);
    assert_int_equal(keyring_find(ring, "uid:0", NULL), KEYRING_NONE);
    assert_int_equal(keyring_find(empty, A, NULL), KEYRING_NONE);
    keyring_destroy(&ring);
    keyring_destroy(&empty);
}

static void a_line_that_is_wrong_is_named(void **state)
{
    static const struct {
        const char *text, *line, *why;
    } BAD[] = {
        { "client " A " a\nguest " B " b\n", "line 2", "no role" },
        { "clients " A " a\n", "line 1", "no role" },
        { "\n\n" A " client a\n", "line 3", "no role" },
        { "client\n", "line 1", "no public key" },
        { "client " A "x a\n", "line 1", "no public key" },
        { "client rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf\" a\n", "line 1", "no public key" },
        { "client " A "\n", "line 1", "needs a name" },
        { "client " A " 0123456789012345678901234567890123456789012345678901234567890123X\n",
          "line 1", "needs a name" },
        { "client " A " a b\n", "line 1", "goes on" },
        { "client " A " caf\xc3\xa9\n", "line 1", "goes on" },
        { "client " A " a\nworker " B " b\nadmin " A " c\n", "lines 1 and 3", "same key" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct keyring *ring;
        struct err e;

        if (keyring_create_text(BAD[i].text, strlen(BAD[i].text), &ring, &e) != ERR_INVALID)
            fail_msg("accepted: %s", BAD[i].text);
        assert_null(ring);
        if (!strstr(e.msg, BAD[i].line) || !strstr(e.msg, BAD[i].why))
            fail_msg("\"%s\" does not say \"%s ... %s\"", e.msg, BAD[i].line, BAD[i].why);
        assert_null(strstr(e.msg, "rM>}U"));    /* a secret may have been pasted there */
    }
}

static void write_ring(const struct temp_path *path, const char *text)
{
    FILE *file = fopen(path->text, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void a_bad_file_keeps_the_old_keyring(void **state)
{
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "keyring");
    struct keyring *ring;
    struct err e;

    (void)state;
    assert_int_equal(keyring_create(path.text, &ring, &e), ERR_FILE);
    write_ring(&path, "client " A " a\n");
    assert_int_equal(keyring_create(path.text, &ring, &e), ERR_OK);
    assert_int_equal(keyring_generation(ring), 1);

    write_ring(&path, "client " B " b\nnonsense\n");
    assert_int_equal(keyring_reload(ring, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "line 2"));
    assert_non_null(strstr(e.msg, path.text));
    assert_int_equal(keyring_generation(ring), 1);
    assert_int_equal(keyring_find(ring, A, NULL), KEYRING_CLIENT);
    assert_int_equal(keyring_find(ring, B, NULL), KEYRING_NONE);

    write_ring(&path, "worker " B " b\n");
    assert_int_equal(keyring_reload(ring, &e), ERR_OK);
    assert_int_equal(keyring_generation(ring), 2);
    assert_int_equal(keyring_find(ring, A, NULL), KEYRING_NONE);
    assert_int_equal(keyring_find(ring, B, NULL), KEYRING_WORKER);
    keyring_destroy(&ring);
    temp_destroy(&temp);
}

/* Z85 of 32 bytes that hold i: eight groups of five digits. */
static void key_of(unsigned i, char out[41])
{
    static const char DIGITS[] = "0123456789abcdefghijklmnopqrstuvwxyz";

    memset(out, '0', 40);
    out[40] = '\0';
    for (int at = 39; at > 35; at--, i /= 36)
        out[at] = DIGITS[i % 36];
}

static void more_keys_than_the_bound_are_refused(void **state)
{
    char *text = NULL, key[41];
    size_t len;
    FILE *out = open_memstream(&text, &len);
    struct keyring *ring;
    struct err e;

    (void)state;
    for (unsigned i = 0; i <= KEYRING_KEYS_MAX; i++) {
        key_of(i, key);
        fprintf(out, "client %s k%u\n", key, i);
    }
    fclose(out);
    assert_int_equal(keyring_create_text(text, len, &ring, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "one too many"));
    len = (size_t)(strrchr(text, 'c') - text);      /* without the last "client" line */
    assert_int_equal(keyring_create_text(text, len, &ring, &e), ERR_OK);
    key_of(KEYRING_KEYS_MAX - 1, key);
    assert_int_equal(keyring_find(ring, key, NULL), KEYRING_CLIENT);
    keyring_destroy(&ring);
    free(text);
}

static void words_of_roles_are_read_back(void **state)
{
    (void)state;
    for (int role = KEYRING_CLIENT; role <= KEYRING_ADMIN; role++) {
        const char *word = keyring_role_word((enum keyring_role)role);

        assert_int_equal(keyring_role_of_word(word, strlen(word)), role);
    }
    assert_int_equal(keyring_role_of_word("none", 4), KEYRING_NONE);
    assert_int_equal(keyring_role_of_word("", 0), KEYRING_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_key_has_the_role_and_the_name_of_its_line),
        cmocka_unit_test(what_is_not_on_it_has_no_role),
        cmocka_unit_test(a_line_that_is_wrong_is_named),
        cmocka_unit_test(a_bad_file_keeps_the_old_keyring),
        cmocka_unit_test(more_keys_than_the_bound_are_refused),
        cmocka_unit_test(words_of_roles_are_read_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
