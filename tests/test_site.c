/* The gateway's files: which paths give one, and that none leads out of the folder. */
#include "client/gateway/site.h"

#include "base/file.h"
#include "tests/kit_temp.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct temp temp;
static struct site *site;

static void put(const char *name, const char *text)
{
    struct err e;

    if (file_write_atomic(temp_path(&temp, name).text, text, strlen(text), &e))
        fail_msg("%s", e.msg);
}

static void make_folder(const char *name)
{
    assert_int_equal(mkdir(temp_path(&temp, name).text, 0700), 0);
}

static void make_link(const char *name, const char *to)
{
    assert_int_equal(symlink(to, temp_path(&temp, name).text), 0);
}

static int setup(void **state)
{
    struct err e;

    (void)state;
    temp = temp_create();
    put("secret.txt", "outside");
    make_folder("www");
    make_folder("www/wall");
    make_folder("www/.git");
    put("www/index.html", "<p>home");
    put("www/wall/index.html", "<p>wall");
    put("www/page.mjs", "export {}");
    put("www/.hidden.txt", "no");
    put("www/.git/a.txt", "no");
    put("www/notes.sql", "no");
    make_link("www/out.txt", "../secret.txt");
    make_link("www/absolute.txt", "/etc/hostname");
    make_link("www/up", "..");
    make_link("www/inside.html", "wall/index.html");
    assert_int_equal(mkfifo(temp_path(&temp, "www/pipe.txt").text, 0600), 0);
    if (site_create(temp_path(&temp, "www").text, &site, &e))
        fail_msg("%s", e.msg);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    site_destroy(&site);
    temp_destroy(&temp);
    return 0;
}

static void expect_file(const char *path, const char *type, const char *content)
{
    struct site_file file;
    char got[64] = "";

    if (site_open(site, path, &file) != SITE_FILE)
        fail_msg("%s is not there", path);
    assert_int_equal(read(file.fd, got, sizeof got - 1), file.len);
    close(file.fd);
    assert_string_equal(got, content);
    assert_string_equal(file.type, type);
    assert_memory_equal(file.etag, "W/\"", 3);
    assert_string_equal(file.modified + strlen(file.modified) - 4, " GMT");
}

static void files_and_folders_have_their_types(void **state)
{
    (void)state;
    expect_file("/", "text/html; charset=utf-8", "<p>home");
    expect_file("/index.html", "text/html; charset=utf-8", "<p>home");
    expect_file("/wall/", "text/html; charset=utf-8", "<p>wall");
    expect_file("/page.mjs", "text/javascript; charset=utf-8", "export {}");
    expect_file("/inside.html", "text/html; charset=utf-8", "<p>wall");
}

static void a_folder_without_its_slash_is_said_to_be_one(void **state)
{
    struct site_file file;

    (void)state;
    assert_int_equal(site_open(site, "/wall", &file), SITE_FOLDER);
}

static void nothing_else_is_there(void **state)
{
    static const char *const PATHS[] = {
        "", "index.html", "//", "//index.html", "/wall//index.html", "/../secret.txt",
        "/wall/../../secret.txt", "/wall/../index.html", "/./index.html", "/.hidden.txt",
        "/.git/a.txt", "/notes.sql", "/out.txt", "/absolute.txt", "/up/secret.txt", "/up/www/",
        "/pipe.txt", "/nothing.html", "/index.html/", "/wall\\index.html", "/in\ndex.html",
        "/index.htmlx", "/\\etc\\passwd", "/.",
    };
    char path[2 * SITE_PATH_MAX];
    struct site_file file;

    (void)state;
    for (size_t i = 0; i < sizeof PATHS / sizeof PATHS[0]; i++)
        if (site_open(site, PATHS[i], &file) != SITE_NOT_FOUND)
            fail_msg("\"%s\" is there", PATHS[i]);
    memset(path, 'a', sizeof path);
    path[0] = '/';
    snprintf(path + sizeof path - 6, 6, ".html");
    assert_int_equal(site_open(site, path, &file), SITE_NOT_FOUND);
}

static void a_file_that_changes_changes_its_tag(void **state)
{
    static const struct timespec THEN[2] = { { .tv_sec = 784111777 }, { .tv_sec = 784111777 } };
    struct site_file before, after;

    (void)state;
    put("www/a.txt", "one");
    assert_int_equal(site_open(site, "/a.txt", &before), SITE_FILE);
    close(before.fd);
    assert_int_equal(utimensat(AT_FDCWD, temp_path(&temp, "www/a.txt").text, THEN, 0), 0);
    assert_int_equal(site_open(site, "/a.txt", &after), SITE_FILE);
    close(after.fd);
    assert_string_not_equal(before.etag, after.etag);
    assert_string_equal(after.modified, "Sun, 06 Nov 1994 08:49:37 GMT");
}

static void too_large_a_file_is_not_given(void **state)
{
    struct temp_path path = temp_path(&temp, "www/large.txt");
    struct site_file file;

    (void)state;
    put("www/large.txt", "");
    assert_int_equal(truncate(path.text, SITE_FILE_MAX), 0);
    assert_int_equal(site_open(site, "/large.txt", &file), SITE_FILE);
    close(file.fd);
    assert_int_equal(truncate(path.text, SITE_FILE_MAX + 1), 0);
    assert_int_equal(site_open(site, "/large.txt", &file), SITE_NOT_FOUND);
}

static void no_folder_is_no_site(void **state)
{
    struct site *none;
    struct err e;

    (void)state;
    assert_int_equal(site_create(temp_path(&temp, "missing").text, &none, &e), ERR_FILE);
    assert_non_null(strstr(e.msg, "missing"));
    assert_null(none);
    assert_int_equal(site_create(temp_path(&temp, "secret.txt").text, &none, &e), ERR_FILE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_and_folders_have_their_types),
        cmocka_unit_test(a_folder_without_its_slash_is_said_to_be_one),
        cmocka_unit_test(nothing_else_is_there),
        cmocka_unit_test(a_file_that_changes_changes_its_tag),
        cmocka_unit_test(too_large_a_file_is_not_given),
        cmocka_unit_test(no_folder_is_no_site),
    };

    return cmocka_run_group_tests_name("site", tests, setup, teardown);
}
