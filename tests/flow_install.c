/* What `make install` leaves: a header that stands alone in C and C++, a library that exports
 * nothing but its own names, and a pkg-config file with which a stranger's program builds. */
#include "client/seedpress.h"
#include "tests/kit_temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct temp temp;
static bool is_sanitized;           /* the library was: what links with it has to be, too */

static const char *build_folder(void)
{
    const char *build = getenv("SEEDPRESS_BUILD");

    return build ? build : "build";
}

/* Runs a line of shell in the repository's root, with $D the folder of the installation. */
static struct ran shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static struct ran shell(const char *fmt, ...)
{
    const char *argv[] = { "sh", "-c", NULL, NULL };
    char line[4096];
    va_list args;
    int len = snprintf(line, sizeof line,
                       "set -eu; D=%s/root; export PKG_CONFIG_PATH=$D/opt/sp/lib/pkgconfig "
                       "PKG_CONFIG_SYSROOT_DIR=$D LD_LIBRARY_PATH=$D/opt/sp/lib; SAN='%s'; ",
                       temp.folder, is_sanitized ? "-fsanitize=address,undefined" : "");

    va_start(args, fmt);
    vsnprintf(line + len, sizeof line - (size_t)len, fmt, args);
    va_end(args);
    argv[2] = line;
    return run_program(argv);
}

static void expect(struct ran *ran, const char *out)
{
    if (ran->exit_code != 0)
        fail_msg("exit code %d: %s%s", ran->exit_code, ran->out, ran->err);
    if (out)
        assert_string_equal(ran->out, out);
    ran_release(ran);
}

static void write_source(const char *name, const char *text)
{
    FILE *file = fopen(temp_path(&temp, name).text, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* Nobody serves port 9: an error in words shows that the library works without a broker. */
static const char PROGRAM[] =
    "#include <seedpress.h>\n"
    "#include <stdio.h>\n"
    "int main(void)\n"
    "{\n"
    "    struct seedpress_options options = { 0 };\n"
    "    struct seedpress_request request;\n"
    "    struct seedpress_error error;\n"
    "    struct seedpress_event event;\n"
    "    struct seedpress *sp = NULL;\n"
    "    int64_t id = 0;\n"
    "    options.brokers = \"tcp://127.0.0.1:9\";\n"
    "    seedpress_request_init(&request);\n"
    "    request.model = \"avatars64\";\n"
    "    request.deadline_ms = 1;\n"
    "    if (seedpress_create(&options, &sp, &error) ||\n"
    "        seedpress_submit(sp, &request, &id, &error))\n"
    "        return 1;\n"
    "    while (seedpress_next(sp, -1, &event))\n"
    "        printf(\"%d %s\\n\", event.kind, event.error.word);\n"
    "    seedpress_destroy(&sp);\n"
    "    return 0;\n"
    "}\n";
#define PRINTED "2 unreachable\n3 \n"

/* ---- the tests ---- */

static void shared_library_exports_only_its_own_names(void **state)
{
    struct ran ran = shell("nm -D --defined-only $D/opt/sp/lib/libseedpress.so.1");
    int count = 0;

    (void)state;
    assert_int_equal(ran.exit_code, 0);
    for (char *at, *line = strtok_r(ran.out, "\n", &at); line;
         line = strtok_r(NULL, "\n", &at), count++) {
        const char *name = strrchr(line, ' ');

        assert_non_null(name);
        if (strncmp(name + 1, "seedpress_", 10) != 0)
            fail_msg("exported: %s", line);
    }
    assert_in_range(count, 15, 40);
    ran_release(&ran);
}

static void every_name_of_the_header_is_in_the_library(void **state)
{
    struct ran ran = shell("nm -D --defined-only $D/opt/sp/lib/libseedpress.so.1 | "
                           "sed 's/.* //' | sort > %s/exported; "
                           "sed -n 's/^[a-z].*[ *]\\(seedpress_[a-z_]*\\)(.*/\\1/p' "
                           "$D/opt/sp/include/seedpress.h | sort -u | diff - %s/exported",
                           temp.folder, temp.folder);

    (void)state;
    expect(&ran, "");
}

/* Where there was nvcc, the CUDA backend is where programs look for it, and shows its table alone. */
static void installed_backend_shows_only_its_table(void **state)
{
    struct ran ran = shell("so=lib/seedpress/libseedpress-cuda.so; "
                           "if [ -f '%s/libseedpress-cuda.so' ]; then cd $D/opt/sp; "
                           "nm -D --defined-only $so | sed 's/.* //'; else cd $D/opt/sp; "
                           "[ ! -e $so ] && echo seedpress_backend; fi", build_folder());

    (void)state;
    expect(&ran, "seedpress_backend\n");
}

static void c_program_builds_with_pkg_config_and_runs(void **state)
{
    struct ran ran = shell("cd %s; ${CC:-cc} -std=c11 -Wall -Wextra -Werror -pedantic $SAN -o c "
                           "program.c $(pkg-config --cflags --libs seedpress); ./c", temp.folder);

    (void)state;
    expect(&ran, PRINTED);
}

static void cxx_program_builds_with_pkg_config_and_runs(void **state)
{
    struct ran ran = shell("cd %s; cp program.c program.cc; ${CXX:-c++} -std=c++11 -Wall -Wextra "
                           "-Wno-missing-field-initializers -Werror -pedantic $SAN -o cxx "
                           "program.cc $(pkg-config --cflags --libs seedpress); ./cxx",
                           temp.folder);

    (void)state;
    expect(&ran, PRINTED);
}

static void static_library_links_with_what_pkg_config_names(void **state)
{
    struct ran ran = shell("cd %s; unset PKG_CONFIG_SYSROOT_DIR; ${CC:-cc} $SAN -pthread -o static "
                           "program.c -I$D/opt/sp/include $D/opt/sp/lib/libseedpress.a "
                           "$(pkg-config --libs $(pkg-config --print-requires-private seedpress)) "
                           "-lm; LD_LIBRARY_PATH= ./static", temp.folder);

    (void)state;
    expect(&ran, PRINTED);
}

static void pkg_config_knows_prefix_and_version(void **state)
{
    char expected[80];
    struct ran ran;

    (void)state;
    snprintf(expected, sizeof expected, "%s\n", SEEDPRESS_VERSION);
    ran = shell("pkg-config --modversion seedpress");
    expect(&ran, expected);
    ran = shell("unset PKG_CONFIG_SYSROOT_DIR; pkg-config --variable=prefix seedpress");
    expect(&ran, "/opt/sp\n");
    ran = shell("$D/opt/sp/bin/seedpress --version");
    snprintf(expected, sizeof expected, "seedpress %s\n", SEEDPRESS_VERSION);
    expect(&ran, expected);
}

static int set_up(void **state)
{
    struct ran ran;

    (void)state;
    temp = temp_create();
    write_source("program.c", PROGRAM);
    /* MAKEFLAGS: of the make that runs the tests, and not for this one. NVCC=: what was built
     * without a CUDA backend is installed without one. */
    ran = shell("unset MAKEFLAGS MFLAGS; N=NVCC=; [ ! -f '%s/libseedpress-cuda.so' ] || N=; "
                "make -s $N B='%s' DESTDIR=$D PREFIX=/opt/sp install", build_folder(),
                build_folder());
    expect(&ran, NULL);
    ran = shell("nm -D $D/opt/sp/lib/libseedpress.so.1 | grep -q __asan_init");
    is_sanitized = ran.exit_code == 0;
    ran_release(&ran);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    temp_destroy(&temp);
    return 0;
}

int main(void)
{
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(shared_library_exports_only_its_own_names),
        cmocka_unit_test(every_name_of_the_header_is_in_the_library),
        cmocka_unit_test(installed_backend_shows_only_its_table),
        cmocka_unit_test(c_program_builds_with_pkg_config_and_runs),
        cmocka_unit_test(cxx_program_builds_with_pkg_config_and_runs),
        cmocka_unit_test(static_library_links_with_what_pkg_config_names),
        cmocka_unit_test(pkg_config_knows_prefix_and_version),
    };

    return cmocka_run_group_tests(TESTS, set_up, tear_down);
}
