/* Keys and the files that hold them. */
#include "base/key.h"

#include "base/file.h"
#include "tests/kit_temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct temp temp;

static int set_up(void **state)
{
    (void)state;
    temp = temp_create();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    temp_destroy(&temp);
    return 0;
}

static struct key_pair made(void)
{
    struct key_pair pair;
    struct err e;

    if (key_pair_create(&pair, &e))
        fail_msg("%s", e.msg);
    return pair;
}

static void write_file(const char *path, mode_t mode, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(chmod(path, mode), 0);
}

static void assert_refused(const char *path, const char *word, const struct key_pair *secret)
{
    struct key_pair got;
    struct err e;

    assert_int_equal(key_pair_read(path, &got, &e), ERR_FILE);
    if (!strstr(e.msg, word))
        fail_msg("\"%s\" does not say \"%s\"", e.msg, word);
    assert_null(strstr(e.msg, secret->secret_key));
    assert_int_equal(got.secret_key[0], 0);
}

static void a_pair_is_read_back_as_it_was_written(void **state)
{
    struct temp_path base = temp_path(&temp, "alice"), secret = temp_path(&temp, "alice.key"),
                     public = temp_path(&temp, "alice.pub");
    struct key_pair pair = made(), other = made(), got;
    char found[KEY_SIZE];
    struct stat st;
    struct err e;

    (void)state;
    assert_string_not_equal(pair.public_key, other.public_key);
    assert_int_equal(key_pair_write(&pair, base.text, "alice", &e), ERR_OK);
    assert_int_equal(stat(secret.text, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(key_pair_read(secret.text, &got, &e), ERR_OK);
    assert_memory_equal(&got, &pair, sizeof pair);
    assert_int_equal(key_find_public(public.text, found, &e), ERR_OK);
    assert_string_equal(found, pair.public_key);
    assert_int_equal(key_find_public(secret.text, found, &e), ERR_OK);
    assert_string_equal(found, pair.public_key);
    assert_int_equal(key_find_public(pair.public_key, found, &e), ERR_OK);
    assert_string_equal(found, pair.public_key);
}

static void the_public_file_has_no_secret(void **state)
{
    struct temp_path base = temp_path(&temp, "p"), public = temp_path(&temp, "p.pub");
    struct key_pair pair = made();
    uint8_t *text;
    size_t len;
    struct err e;

    (void)state;
    assert_int_equal(key_pair_write(&pair, base.text, "p", &e), ERR_OK);
    assert_int_equal(file_read(public.text, 4096, &text, &len, &e), ERR_OK);
    assert_non_null(strstr((char *)text, pair.public_key));
    assert_null(strstr((char *)text, pair.secret_key));
    free(text);
}

static void a_key_that_is_there_is_not_overwritten(void **state)
{
    struct temp_path base = temp_path(&temp, "b"), secret = temp_path(&temp, "b.key");
    struct key_pair first = made(), second = made(), got;
    struct err e;

    (void)state;
    assert_int_equal(key_pair_write(&first, base.text, "b", &e), ERR_OK);
    assert_int_equal(key_pair_write(&second, base.text, "b", &e), ERR_FILE);
    assert_non_null(strstr(e.msg, "there already"));
    assert_int_equal(key_pair_read(secret.text, &got, &e), ERR_OK);
    assert_string_equal(got.public_key, first.public_key);
    unlink(secret.text);             /* the other half alone keeps its place too */
    assert_int_equal(key_pair_write(&second, base.text, "b", &e), ERR_FILE);
    assert_int_not_equal(access(secret.text, F_OK), 0);
}

static void a_file_that_others_may_read_is_refused(void **state)
{
    static const mode_t MODES[] = { 0640, 0604, 0644, 0660, 0602, 0601 };
    struct temp_path base = temp_path(&temp, "m"), secret = temp_path(&temp, "m.key");
    struct key_pair pair = made(), got;
    struct err e;

    (void)state;
    assert_int_equal(key_pair_write(&pair, base.text, "m", &e), ERR_OK);
    for (size_t i = 0; i < sizeof MODES / sizeof MODES[0]; i++) {
        assert_int_equal(chmod(secret.text, MODES[i]), 0);
        assert_refused(secret.text, "chmod 600", &pair);
    }
    assert_int_equal(chmod(secret.text, 0400), 0);
    assert_int_equal(key_pair_read(secret.text, &got, &e), ERR_OK);
}

static void what_is_no_key_file_is_refused_without_its_words(void **state)
{
    struct temp_path path = temp_path(&temp, "bad.key");
    struct key_pair pair = made(), other = made();
    char text[300];

    (void)state;
    assert_refused(temp_path(&temp, "none.key").text, "No such file", &pair);
    write_file(path.text, 0600, "");
    assert_refused(path.text, "needs a line", &pair);
    snprintf(text, sizeof text, "public %s\n", pair.public_key);
    write_file(path.text, 0600, text);
    assert_refused(path.text, "needs a line", &pair);
    snprintf(text, sizeof text, "public %s\nsecret %.39s\n", pair.public_key, pair.secret_key);
    write_file(path.text, 0600, text);
    assert_refused(path.text, "needs a line", &pair);
    snprintf(text, sizeof text, "public %s\nsecret %s\n", other.public_key, pair.secret_key);
    write_file(path.text, 0600, text);
    assert_refused(path.text, "two different keys", &pair);
}

static void only_z85_is_a_key(void **state)
{
    struct key_pair pair = made();
    char text[KEY_SIZE + 1];

    (void)state;
    assert_true(key_is_valid(pair.public_key, 40));
    assert_false(key_is_valid(pair.public_key, 39));
    snprintf(text, sizeof text, "%s", pair.public_key);
    text[7] = '"';                   /* no character of Z85 */
    assert_false(key_is_valid(text, 40));
    memset(text, '#', 40);           /* each of them is, but no number below 2^32 is written so */
    assert_false(key_is_valid(text, 40));
    text[0] = '\0';
    assert_false(key_is_valid(text, 40));
}

static void who_connects_needs_both_keys_or_none(void **state)
{
    struct temp_path base = temp_path(&temp, "c"), secret = temp_path(&temp, "c.key");
    struct key_pair pair = made(), own;
    char broker[KEY_SIZE];
    struct err e;
    bool has;

    (void)state;
    assert_int_equal(key_pair_write(&pair, base.text, "c", &e), ERR_OK);
    assert_int_equal(key_find_both("", NULL, &own, broker, &has, &e), ERR_OK);
    assert_false(has);
    assert_int_equal(key_find_both(secret.text, "", &own, broker, &has, &e), ERR_INVALID);
    assert_int_equal(key_find_both(NULL, pair.public_key, &own, broker, &has, &e), ERR_INVALID);
    assert_int_equal(key_find_both(secret.text, "/nowhere.pub", &own, broker, &has, &e), ERR_FILE);
    assert_false(has);
    assert_int_equal(key_find_both(secret.text, pair.public_key, &own, broker, &has, &e), ERR_OK);
    assert_true(has);
    assert_string_equal(broker, pair.public_key);
    assert_memory_equal(&own, &pair, sizeof pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pair_is_read_back_as_it_was_written),
        cmocka_unit_test(the_public_file_has_no_secret),
        cmocka_unit_test(a_key_that_is_there_is_not_overwritten),
        cmocka_unit_test(a_file_that_others_may_read_is_refused),
        cmocka_unit_test(what_is_no_key_file_is_refused_without_its_words),
        cmocka_unit_test(only_z85_is_a_key),
        cmocka_unit_test(who_connects_needs_both_keys_or_none),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
