/* What kernels/safetensors.c calls of cJSON, by json; see there for what is missing. */
#ifndef TESTS_GPU_BARE_CJSON_H
#define TESTS_GPU_BARE_CJSON_H

#include "tests/gpu/bare/json.h"

#include <stdlib.h>

typedef struct bare_json cJSON;

#define cJSON_ArrayForEach(item, array) \
    for (item = (array) ? (array)->child : NULL; item; item = item->next)

static inline cJSON *cJSON_ParseWithLengthOpts(const char *text, size_t len, const char **end,
                                               int must_end)
{
    (void)must_end;                 /* always false here */
    return bare_json_parse(text, len, end);
}

static inline void cJSON_Delete(cJSON *self)
{
    bare_json_delete(self);
}

static inline void cJSON_free(void *text)
{
    free(text);
}

static inline bool cJSON_IsNumber(const cJSON *self)
{
    return self && self->kind == BARE_JSON_NUMBER;
}

static inline bool cJSON_IsString(const cJSON *self)
{
    return self && self->kind == BARE_JSON_STRING;
}

static inline bool cJSON_IsArray(const cJSON *self)
{
    return self && self->kind == BARE_JSON_ARRAY;
}

static inline bool cJSON_IsObject(const cJSON *self)
{
    return self && self->kind == BARE_JSON_OBJECT;
}

static inline int cJSON_GetArraySize(const cJSON *self)
{
    return bare_json_size(self);
}

static inline cJSON *cJSON_GetArrayItem(const cJSON *self, int index)
{
    return bare_json_at(self, index);
}

static inline cJSON *cJSON_GetObjectItemCaseSensitive(const cJSON *self, const char *key)
{
    return bare_json_find(self, key);
}

/* ---- Writing: not here ---- */

static inline cJSON *cJSON_CreateObject(void)
{
    return NULL;
}

static inline cJSON *cJSON_CreateDoubleArray(const double *values, int count)
{
    (void)values, (void)count;
    return NULL;
}

static inline cJSON *cJSON_CreateIntArray(const int *values, int count)
{
    (void)values, (void)count;
    return NULL;
}

static inline cJSON *cJSON_AddObjectToObject(cJSON *self, const char *key)
{
    (void)self, (void)key;
    return NULL;
}

static inline cJSON *cJSON_AddStringToObject(cJSON *self, const char *key, const char *value)
{
    (void)self, (void)key, (void)value;
    return NULL;
}

static inline bool cJSON_AddItemToObject(cJSON *self, const char *key, cJSON *item)
{
    (void)self, (void)key, (void)item;
    return false;
}

static inline char *cJSON_PrintUnformatted(const cJSON *self)
{
    (void)self;
    return NULL;
}

#endif
