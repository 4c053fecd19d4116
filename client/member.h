/* member -- what a picture of a dataset is called, and what is written beside it. All of it follows
 * from the job and the recorded picture alone, so that it is the same whenever it is written. */
#ifndef CLIENT_MEMBER_H
#define CLIENT_MEMBER_H

#include "client/items.h"
#include "client/seedpress.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stdint.h>

struct member_name {
    char text[160];
};

/* "000000042.jpg": the item's number, as WebDataset groups members by what stands before the first
 * '.'. ending without '.'. */
struct member_name member_of_shard(int64_t item, const char *ending);

/* How the official tools name files, seed0042.jpg, and in which subfolders, where one folder would
 * mix models, psi or classes, or hold a name twice. */
struct member_folders {
    bool by_model, by_psi, by_class, by_range;
};
struct member_folders member_folders_of(const struct items *items);
/* "seed0042.jpg", or "7ab672d3-psi0.7-class3/seed0042.jpg". */
struct member_name member_of_folder(const struct items *items, const struct member_folders *folders,
                                    int64_t item);

/* One JSON object: key, seed, psi, class, model, recipe_key, sha256, core_sha256, numerics_class,
 * recipe. On success *out is the caller's to free(). ERR_NOMEM. */
enum err_code member_facts(int64_t item, const struct recipe *recipe,
                           const struct seedpress_image *image, char **out, struct err *e);

#endif
