/* job_file -- what a bulk job is made of, as a JSON file that people write and that manifests of
 * exports are:
 *     {"name": "faces", "keep": "image", "priority": "low", "chunk": 1000,
 *      "parts": [{"model": "cats", "seeds": "0-999,2000", "psi": [0.5, 0.7],
 *                 "class_rule": "seed%10"}]}
 * Of a part only model and seeds are needed. seeds: a number, a text such as "0-9,12", or a list of
 * both; psi: a number or a list; class, or class_rule "seed%N"; cutoff, noise_mode, noise_seed,
 * translate [x, y], rotate, transform [nine numbers], quality, mark and rev as in a generate.
 * Several ranges and psi become several parts: for each psi, in order, all the seeds.
 *
 * What the manifest of an export has beside that (shards, made_by, format, job, total, failures) is
 * passed over; any other key is refused by its name. */
#ifndef CLIENT_JOB_FILE_H
#define CLIENT_JOB_FILE_H

#include "client/seedpress.h"
#include "proto/err.h"
#include "proto/recipe.h"

#include <stddef.h>
#include <stdint.h>

enum {
    JOB_FILE_BYTES_MAX = 64 << 20,
    JOB_FILE_MODEL_MAX = 160,       /* bytes of a model's words */
    JOB_FILE_CHUNK = 1000,          /* items, when it is not said */
};

struct job_part {
    char model[JOB_FILE_MODEL_MAX + 1];
    uint32_t first, last;
    int class_mod;                  /* 0: the wish has the class, if any */
    struct recipe_request wish;     /* but for the seed */
};

struct job_file {
    char name[RECIPE_NAME_MAX + 1]; /* "": none was given */
    int keep, priority, chunk;      /* as in struct seedpress_submission; chunk is not 0 */
    struct job_part *parts;         /* [part_count], at most SEEDPRESS_PARTS_MAX */
    size_t part_count;
    uint64_t total;                 /* pictures */
};

/* Empty, with the defaults. */
void job_file_init(struct job_file *self);
void job_file_release(struct job_file *self);   /* leaves it empty */

/* Reads text[0..len), every byte of which is hostile, or a file ("-": standard input). On failure
 * *out is empty. ERR_INVALID, ERR_RANGE, with words that name part and key; ERR_FILE; ERR_NOMEM. */
enum err_code job_file_parse(const char *text, size_t len, struct job_file *out, struct err *e);
enum err_code job_file_load(const char *path, struct job_file *out, struct err *e);

/* Adds the seeds of a list such as "0-9,12" with the part's model, class_mod and wish: a part for
 * each range. ERR_INVALID, ERR_RANGE, ERR_NOMEM. */
enum err_code job_file_add(struct job_file *self, const struct job_part *like, const char *seeds,
                           struct err *e);

/* "seed%10" gives 10. ERR_INVALID, ERR_RANGE. */
enum err_code job_file_read_rule(const char *text, int *class_mod, struct err *e);

/* As a job file, each part with one range and nothing left to defaults but what the model decides;
 * the same content is the same text. *out is the caller's to free(). ERR_NOMEM. */
enum err_code job_file_text(const struct job_file *self, char **out, struct err *e);
/* Gives a job without a name one that says its first model and its content, so that the same job
 * has the same name. ERR_NOMEM. */
enum err_code job_file_name(struct job_file *self, struct err *e);

/* As libseedpress takes it: parts[0..part_count) and matrices of the same number are the caller's
 * and stay; the submission borrows from them and from self. */
struct job_file_matrix {
    double m[9];
};
struct seedpress_submission job_file_submission(const struct job_file *self,
                                                struct seedpress_part *parts,
                                                struct job_file_matrix *matrices);

#endif
