/* kit_temp -- for tests that need files or run programs: a folder of one's own, what a program
 * printed, deterministic pictures. Failures end the test through cmocka. */
#ifndef TESTS_KIT_TEMP_H
#define TESTS_KIT_TEMP_H

#include <stddef.h>
#include <stdint.h>

struct temp {
    char folder[96];                /* under TMPDIR or /tmp; nobody else has it */
};

struct temp_path {
    char text[256];
};

struct temp temp_create(void);
/* Removes the folder with all that is in it. */
void temp_destroy(struct temp *self);
struct temp_path temp_path(const struct temp *self, const char *name);
/* Files in the folder, hidden ones too. */
int temp_count(const struct temp *self);

struct ran {
    int exit_code;                  /* 128 + N when signal N ended it */
    char *out, *err;                /* what it printed, ended by NUL */
    size_t out_len;
};

/* Runs argv[0], looked up in PATH, to its end. argv ends in NULL. */
struct ran run_program(const char *const *argv);
/* Runs the command seedpress of $SEEDPRESS_BUILD (else "build") with the words of head, then those
 * of rest. Both end in NULL; rest may be NULL. */
struct ran run_seedpress(const char *const *head, const char *const *rest);
void ran_release(struct ran *self);

/* A picture neither flat nor noise: waves whose form depends on index. [height, width, 3] */
void fill_waves(uint8_t *rgb, int width, int height, int index);

#endif
