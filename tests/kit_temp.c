#include "tests/kit_temp.h"

#include <errno.h>
#include <ftw.h>
#include <math.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

extern char **environ;

enum { WORDS_MAX = 64 };

struct temp temp_create(void)
{
    const char *tmp = getenv("TMPDIR");
    struct temp self;

    snprintf(self.folder, sizeof self.folder, "%s/seedpress-test-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(self.folder));
    return self;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

void temp_destroy(struct temp *self)
{
    assert_int_equal(nftw(self->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

struct temp_path temp_path(const struct temp *self, const char *name)
{
    struct temp_path path;

    snprintf(path.text, sizeof path.text, "%s/%s", self->folder, name);
    return path;
}

static int counted;                  /* nftw hands its callback no argument of ours */

static int count_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)path;
    (void)st;
    counted += kind == FTW_F && at->level > 0;
    return 0;
}

int temp_count(const struct temp *self)
{
    counted = 0;
    assert_int_equal(nftw(self->folder, count_one, 16, FTW_PHYS), 0);
    return counted;
}

/* All of a file from its start, ended by NUL. */
static char *slurp(FILE *file, size_t *len)
{
    char *text;

    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *len = (size_t)ftell(file);
    rewind(file);
    text = malloc(*len + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, *len, file), *len);
    text[*len] = '\0';
    fclose(file);
    return text;
}

struct ran run_program(const char *const *argv)
{
    FILE *out = tmpfile(), *err = tmpfile();
    posix_spawn_file_actions_t actions;
    struct ran ran;
    size_t err_len;
    int status, failed;
    pid_t pid;

    assert_non_null(out);
    assert_non_null(err);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fileno(out), STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, fileno(err), STDERR_FILENO);
    failed = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed)
        fail_msg("could not run \"%s\": %s", argv[0], strerror(failed));
    while (waitpid(pid, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    ran.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    ran.out = slurp(out, &ran.out_len);
    ran.err = slurp(err, &err_len);
    return ran;
}

static void add_words(const char **argv, size_t *count, const char *const *words)
{
    for (; words && *words; words++) {
        assert_true(*count < WORDS_MAX - 1);
        argv[(*count)++] = *words;
    }
    argv[*count] = NULL;
}

struct ran run_seedpress(const char *const *head, const char *const *rest)
{
    const char *build = getenv("SEEDPRESS_BUILD");
    char program[256];
    const char *argv[WORDS_MAX] = { program };
    size_t count = 1;

    snprintf(program, sizeof program, "%s/seedpress", build ? build : "build");
    add_words(argv, &count, head);
    add_words(argv, &count, rest);
    return run_program(argv);
}

void ran_release(struct ran *self)
{
    free(self->out);
    free(self->err);
    *self = (struct ran){ .out = NULL };
}

void fill_waves(uint8_t *rgb, int width, int height, int index)
{
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++)
                rgb[((size_t)y * width + x) * 3 + c] =
                    (uint8_t)(127.5 + 120 * sin(0.05 * (x * (c + 1) + index * 7)) *
                                          cos(0.04 * (y * (3 - c) + index * 3)));
}
