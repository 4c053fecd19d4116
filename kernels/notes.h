/* notes -- the strings that a model file carries beside its tensors: the architecture, each value
 * in words, and what people want to know (name, licence). Whatever reads a file format fills notes;
 * what reads an architecture sees nothing else of the file. */
#ifndef KERNELS_NOTES_H
#define KERNELS_NOTES_H

#include "proto/err.h"

#include <stddef.h>
#include <stdint.h>

enum { NOTES_MAX = 1024 };

struct notes;

/* NULL when there is no memory. */
struct notes *notes_create(void);
void notes_destroy(struct notes **self);

/* Copies key and value. A key that is there already, or one note too many, is ERR_INVALID. */
enum err_code notes_add(struct notes *self, const char *key, const char *value, struct err *e);

size_t notes_count(const struct notes *self);
/* Lends the note at index, in the order in which they were added. */
void notes_at(const struct notes *self, size_t index, const char **key, const char **value);

/* NULL when there is none under that key. */
const char *notes_find(const struct notes *self, const char *key);

/* The same, but a missing key is ERR_INVALID and e names it. */
enum err_code notes_need(const struct notes *self, const char *key, const char **out,
                         struct err *e);
/* A whole number from min to max; anything else is ERR_INVALID or ERR_RANGE, and e names key. */
enum err_code notes_need_whole(const struct notes *self, const char *key, int min, int max,
                               int *out, struct err *e);
/* A number as JSON writes it, "0.25", "4.2870938501451725" or "-1e-3", to the nearest double.
 * Anything else is ERR_INVALID, and e names key. */
enum err_code notes_need_real(const struct notes *self, const char *key, double *out,
                              struct err *e);
/* Exactly that word; another is ERR_UNSUPPORTED and e says both. */
enum err_code notes_need_word(const struct notes *self, const char *key, const char *word,
                              struct err *e);

#endif
