#include "base/keyring.h"

#include "base/file.h"
#include "base/key.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX_BYTES = KEYRING_KEYS_MAX * 128 };

struct entry {
    char key[KEY_SIZE];
    char name[KEYRING_NAME_MAX];
    enum keyring_role role;
    int line;
};

struct entries {                    /* sorted by key */
    struct entry *items;
    size_t count;
};

struct keyring {
    char *path;                     /* NULL: made of text */
    pthread_mutex_t lock;           /* of entries */
    struct entries entries;
    _Atomic int64_t generation;
};

static const char *const WORDS[] = { [KEYRING_NONE] = "none", [KEYRING_CLIENT] = "client",
                                     [KEYRING_PROXY] = "proxy", [KEYRING_WORKER] = "worker",
                                     [KEYRING_ADMIN] = "admin" };

const char *keyring_role_word(enum keyring_role role)
{
    return WORDS[role];
}

enum keyring_role keyring_role_of_word(const char *word, size_t len)
{
    for (int role = KEYRING_CLIENT; role <= KEYRING_ADMIN; role++)
        if (strlen(WORDS[role]) == len && memcmp(WORDS[role], word, len) == 0)
            return (enum keyring_role)role;
    return KEYRING_NONE;
}

/* ---- reading ---- */

struct word {
    const char *at;
    size_t len;
};

static void skip_blanks(const char **at, const char *end)
{
    while (*at < end && (**at == ' ' || **at == '\t' || **at == '\r'))
        ++*at;
}

static struct word next_word(const char **at, const char *end)
{
    struct word word;

    skip_blanks(at, end);
    word.at = *at;
    while (*at < end && (unsigned char)**at > ' ' && (unsigned char)**at < 0x7f)
        ++*at;
    word.len = (size_t)(*at - word.at);
    return word;
}

/* What is not a key may be a secret that was pasted here by mistake: it is not repeated. */
static enum err_code read_line(const char *at, const char *end, int line, struct entry *out,
                               struct err *e)
{
    struct word role = next_word(&at, end), key = next_word(&at, end), name = next_word(&at, end);

    skip_blanks(&at, end);
    out->role = keyring_role_of_word(role.at, role.len);
    if (out->role == KEYRING_NONE)
        return err_set(e, ERR_INVALID,
                       "line %d begins with no role: client, proxy, worker or admin", line);
    if (!key_is_valid(key.at, key.len))
        return err_set(e, ERR_INVALID,
                       "line %d has no public key of 40 Z85 characters after \"%s\"", line,
                       WORDS[out->role]);
    if (name.len == 0 || name.len >= KEYRING_NAME_MAX)
        return err_set(e, ERR_INVALID, "line %d needs a name of 1 to %d characters after the key",
                       line, KEYRING_NAME_MAX - 1);
    if (at != end)
        return err_set(e, ERR_INVALID, "line %d goes on after the name, or has strange bytes",
                       line);
    memcpy(out->key, key.at, key.len);
    memcpy(out->name, name.at, name.len);
    out->key[key.len] = out->name[name.len] = '\0';
    out->line = line;
    return ERR_OK;
}

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->key, ((const struct entry *)b)->key);
}

static enum err_code check_twice(const struct entries *entries, struct err *e)
{
    for (size_t i = 1; i < entries->count; i++) {
        const struct entry *a = &entries->items[i - 1], *b = &entries->items[i];

        if (compare(a, b) == 0)
            return err_set(e, ERR_INVALID, "lines %d and %d have the same key",
                           a->line < b->line ? a->line : b->line,
                           a->line < b->line ? b->line : a->line);
    }
    return ERR_OK;
}

static enum err_code add_line(struct entries *out, size_t *room, const char *at, const char *end,
                              int line, struct err *e)
{
    if (out->count == KEYRING_KEYS_MAX)
        return err_set(e, ERR_INVALID, "line %d is one too many: a keyring holds %d keys", line,
                       KEYRING_KEYS_MAX);
    if (out->count == *room) {
        size_t next = *room ? 2 * *room : 16;
        struct entry *grown = realloc(out->items, next * sizeof *grown);

        if (!grown)
            return err_set(e, ERR_NOMEM, "no memory for %zu keys", next);
        out->items = grown;
        *room = next;
    }
    enum err_code rc = read_line(at, end, line, &out->items[out->count], e);

    out->count += !rc;
    return rc;
}

/* On failure *out is empty. */
static enum err_code read_text(const char *text, size_t len, struct entries *out, struct err *e)
{
    const char *end = text + len;
    enum err_code rc = ERR_OK;
    size_t room = 0;

    *out = (struct entries){ NULL, 0 };
    for (int line = 1; !rc && text < end; line++) {
        const char *nl = memchr(text, '\n', (size_t)(end - text)), *eol = nl ? nl : end;
        const char *at = text;

        skip_blanks(&at, eol);
        if (at < eol && *at != '#')
            rc = add_line(out, &room, at, eol, line, e);
        text = nl ? nl + 1 : end;
    }
    if (!rc && out->count > 0) {
        qsort(out->items, out->count, sizeof *out->items, compare);
        rc = check_twice(out, e);
    }
    if (rc) {
        free(out->items);
        *out = (struct entries){ NULL, 0 };
    }
    return rc;
}

static enum err_code read_path(const char *path, struct entries *out, struct err *e)
{
    uint8_t *data;
    size_t len;
    struct err inner;
    enum err_code rc = file_read(path, FILE_MAX_BYTES, &data, &len, e);

    if (rc)
        return rc;
    if ((rc = read_text((const char *)data, len, out, &inner)))
        err_set(e, rc, "keyring \"%.80s\": %.100s", path, inner.msg);
    free(data);
    return rc;
}

/* ---- life ---- */

static enum err_code wrap(struct entries *entries, const char *path, struct keyring **out,
                          struct err *e)
{
    struct keyring *self = calloc(1, sizeof *self);

    *out = NULL;
    if (self && path)
        self->path = strdup(path);
    if (!self || (path && !self->path)) {
        free(self);
        free(entries->items);
        return err_set(e, ERR_NOMEM, "no memory for a keyring");
    }
    pthread_mutex_init(&self->lock, NULL);
    self->entries = *entries;
    atomic_store(&self->generation, 1);
    *out = self;
    return ERR_OK;
}

enum err_code keyring_create(const char *path, struct keyring **out, struct err *e)
{
    struct entries entries;
    enum err_code rc = read_path(path, &entries, e);

    *out = NULL;
    return rc ? rc : wrap(&entries, path, out, e);
}

enum err_code keyring_create_text(const char *text, size_t len, struct keyring **out,
                                  struct err *e)
{
    struct entries entries;
    enum err_code rc = read_text(text, len, &entries, e);

    *out = NULL;
    return rc ? rc : wrap(&entries, NULL, out, e);
}

void keyring_destroy(struct keyring **self)
{
    if (!*self)
        return;
    pthread_mutex_destroy(&(*self)->lock);
    free((*self)->entries.items);
    free((*self)->path);
    free(*self);
    *self = NULL;
}

enum err_code keyring_reload(struct keyring *self, struct err *e)
{
    struct entries entries, old;
    enum err_code rc;

    if (!self->path)
        return err_set(e, ERR_UNSUPPORTED, "this keyring has no file");
    if ((rc = read_path(self->path, &entries, e)))
        return rc;
    pthread_mutex_lock(&self->lock);
    old = self->entries;
    self->entries = entries;
    atomic_fetch_add(&self->generation, 1);
    pthread_mutex_unlock(&self->lock);
    free(old.items);
    return ERR_OK;
}

/* ---- asking ---- */

enum keyring_role keyring_find(const struct keyring *self, const char *key,
                               char name[KEYRING_NAME_MAX])
{
    struct keyring *shared = (struct keyring *)(uintptr_t)self;     /* only its lock changes */
    enum keyring_role role = KEYRING_NONE;
    const struct entry *found = NULL;
    struct entry wanted;

    if (name)
        name[0] = '\0';
    if (strlen(key) != KEY_SIZE - 1)
        return role;
    snprintf(wanted.key, sizeof wanted.key, "%s", key);
    pthread_mutex_lock(&shared->lock);
    if (self->entries.count > 0)
        found = bsearch(&wanted, self->entries.items, self->entries.count, sizeof wanted, compare);
    if (found) {
        role = found->role;
        if (name)
            snprintf(name, KEYRING_NAME_MAX, "%s", found->name);
    }
    pthread_mutex_unlock(&shared->lock);
    return role;
}

int64_t keyring_generation(const struct keyring *self)
{
    return atomic_load(&self->generation);
}

size_t keyring_count(const struct keyring *self)
{
    struct keyring *shared = (struct keyring *)(uintptr_t)self;
    size_t count;

    pthread_mutex_lock(&shared->lock);
    count = self->entries.count;
    pthread_mutex_unlock(&shared->lock);
    return count;
}
