#include "kernels/notes.h"

#include "proto/number.h"

#include <stdlib.h>
#include <string.h>

struct note {
    char *key, *value;
};

struct notes {
    size_t count;
    struct note row[NOTES_MAX];
};

struct notes *notes_create(void)
{
    return calloc(1, sizeof(struct notes));
}

void notes_destroy(struct notes **self)
{
    if (!*self)
        return;
    for (size_t i = 0; i < (*self)->count; i++) {
        free((*self)->row[i].key);
        free((*self)->row[i].value);
    }
    free(*self);
    *self = NULL;
}

enum err_code notes_add(struct notes *self, const char *key, const char *value, struct err *e)
{
    struct note *note = &self->row[self->count];

    if (notes_find(self, key))
        return err_set(e, ERR_INVALID, "metadata has \"%.60s\" twice", key);
    if (self->count == NOTES_MAX)
        return err_set(e, ERR_INVALID, "metadata has more than %d keys", NOTES_MAX);
    note->key = strdup(key);
    note->value = strdup(value);
    if (!note->key || !note->value) {
        free(note->key);
        free(note->value);
        return err_set(e, ERR_NOMEM, "no memory for metadata \"%.60s\"", key);
    }
    self->count++;
    return ERR_OK;
}

size_t notes_count(const struct notes *self)
{
    return self->count;
}

void notes_at(const struct notes *self, size_t index, const char **key, const char **value)
{
    *key = self->row[index].key;
    *value = self->row[index].value;
}

const char *notes_find(const struct notes *self, const char *key)
{
    for (size_t i = 0; i < self->count; i++)
        if (strcmp(self->row[i].key, key) == 0)
            return self->row[i].value;
    return NULL;
}

enum err_code notes_need(const struct notes *self, const char *key, const char **out, struct err *e)
{
    *out = notes_find(self, key);
    if (!*out)
        return err_set(e, ERR_INVALID, "metadata lacks \"%s\"", key);
    return ERR_OK;
}

enum err_code notes_need_whole(const struct notes *self, const char *key, int min, int max,
                               int *out, struct err *e)
{
    const char *text;
    int64_t v;
    enum err_code rc = notes_need(self, key, &text, e);

    if (rc)
        return rc;
    if (!number_parse(text, strlen(text), &v))
        return err_set(e, ERR_INVALID, "metadata \"%s\" is \"%.40s\", not a whole number", key,
                       text);
    if (v < min || v > max)
        return err_set(e, ERR_RANGE, "metadata \"%s\" is %.40s; %d to %d are possible", key, text,
                       min, max);
    *out = (int)v;
    return ERR_OK;
}

enum err_code notes_need_real(const struct notes *self, const char *key, double *out,
                              struct err *e)
{
    const char *text;
    enum err_code rc = notes_need(self, key, &text, e);

    if (rc)
        return rc;
    if (!number_parse_double(text, strlen(text), out))
        return err_set(e, ERR_INVALID, "metadata \"%s\" is \"%.40s\", not a number", key, text);
    return ERR_OK;
}

enum err_code notes_need_word(const struct notes *self, const char *key, const char *word,
                              struct err *e)
{
    const char *text;
    enum err_code rc = notes_need(self, key, &text, e);

    if (rc)
        return rc;
    if (strcmp(text, word) != 0)
        return err_set(e, ERR_UNSUPPORTED, "%s \"%.40s\" is not supported; \"%s\" is", key, text,
                       word);
    return ERR_OK;
}
