/* json -- reads JSON where there is no cJSON: what kernels/safetensors.c needs to read a model file.
 * It takes and refuses what cJSON 1.7.15 does; tests/test_bare.c holds it to that. cjson/ beside
 * this file gives it the names that safetensors.c calls. It writes none: the functions that build
 * JSON answer NULL, as cJSON's do when memory runs out. */
#ifndef TESTS_GPU_BARE_JSON_H
#define TESTS_GPU_BARE_JSON_H

#include <stdbool.h>
#include <stddef.h>

enum bare_json_kind {
    BARE_JSON_NULL,
    BARE_JSON_FALSE,
    BARE_JSON_TRUE,
    BARE_JSON_NUMBER,
    BARE_JSON_STRING,
    BARE_JSON_ARRAY,
    BARE_JSON_OBJECT,
};

struct bare_json {
    enum bare_json_kind kind;
    char *string;                   /* its key, in an object */
    char *valuestring;
    double valuedouble;
    struct bare_json *child, *next;
};

/* One value at text[0..len); *end becomes where it ends. NULL when it is no JSON, or no memory. */
struct bare_json *bare_json_parse(const char *text, size_t len, const char **end);
void bare_json_delete(struct bare_json *self);          /* NULL is fine */

int bare_json_size(const struct bare_json *self);       /* children; NULL has none */
struct bare_json *bare_json_at(const struct bare_json *self, int index);
struct bare_json *bare_json_find(const struct bare_json *self, const char *key);

#endif
