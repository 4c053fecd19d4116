#include "broker/models.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void model_set_add(struct model_set *self, const struct model_entry *model)
{
    self->bits[model->index / 64] |= UINT64_C(1) << model->index % 64;
}

bool model_set_has(const struct model_set *self, const struct model_entry *model)
{
    return self->bits[model->index / 64] >> model->index % 64 & 1;
}

/* The entry of digest, a new one where there is none and fewer than most are known; else NULL. */
static struct model_entry *get_entry(struct models *self, const struct digest *digest,
                                     unsigned most)
{
    struct model_entry *entry = NULL;

    HASH_FIND(hh, self->by_digest, digest, sizeof *digest, entry);
    if (entry || HASH_COUNT(self->by_digest) >= most)
        return entry;
    entry = calloc(1, sizeof *entry);
    if (!entry)
        return NULL;
    entry->digest = *digest;
    entry->index = (int)HASH_COUNT(self->by_digest);
    HASH_ADD(hh, self->by_digest, digest, sizeof entry->digest, entry);
    return entry;
}

void models_put(struct models *self, const struct message_model *models, size_t count,
                int64_t now_ms)
{
    for (size_t i = 0; i < count; i++) {
        const struct message_model *m = &models[i];
        struct model_entry *entry = get_entry(self, &m->digest, MESSAGE_MODELS_MAX);

        if (!entry) {
            log_event(LOG_WARN, "model_ignored", "digest=%s known=%u",
                      digest_hex(&m->digest).text, HASH_COUNT(self->by_digest));
            continue;
        }
        entry->facts = (struct model_facts){
            .digest = m->digest, .width = (int)m->width, .height = (int)m->height,
            .num_ws = (int)m->num_ws, .z_dim = (int)m->z_dim, .w_dim = (int)m->w_dim,
            .c_dim = (int)m->c_dim, .noise_modes = (unsigned)m->noise_modes,
            .has_transform = m->has_transform,
        };
        entry->served_ms = now_ms;
        text_copy(m->name, entry->name, sizeof entry->name);
        text_copy(m->arch, entry->arch, sizeof entry->arch);
        text_copy(m->licence, entry->licence, sizeof entry->licence);
    }
}

bool models_put_stored(struct models *self, const struct ledger_model_row *rows, size_t count,
                       int64_t served_ms)
{
    bool is_new = false;

    for (size_t i = 0; i < count; i++) {
        const struct ledger_model_row *row = &rows[i];
        struct model_entry *entry;

        if (models_find(self, &row->facts.digest) ||
            !(entry = get_entry(self, &row->facts.digest, MODELS_STORED_MAX)))
            continue;
        entry->facts = row->facts;
        entry->served_ms = served_ms;
        memcpy(entry->arch, row->arch, sizeof entry->arch);
        memcpy(entry->licence, row->licence, sizeof entry->licence);
        is_new = true;
    }
    return is_new;
}

void models_take_names(struct models *self, struct ledger_name *names, size_t count)
{
    free(self->names);
    self->names = names;
    self->name_count = count;
}

void models_release(struct models *self)
{
    struct model_entry *entry, *next;

    HASH_ITER(hh, self->by_digest, entry, next) {
        HASH_DEL(self->by_digest, entry);
        free(entry);
    }
    models_take_names(self, NULL, 0);
}

const struct model_entry *models_find(const struct models *self, const struct digest *digest)
{
    struct model_entry *entry = NULL;

    HASH_FIND(hh, self->by_digest, digest, sizeof *digest, entry);
    return entry;
}

const char *models_name_of(const struct models *self, const struct digest *digest)
{
    const struct model_entry *entry = models_find(self, digest);

    for (size_t i = 0; i < self->name_count; i++)
        if (digest_equal(&self->names[i].digest, digest))
            return self->names[i].name;
    return entry ? entry->name : "";
}

bool models_is_bound(const struct models *self, const char *name, const struct digest *digest)
{
    for (size_t i = 0; i < self->name_count; i++)
        if (strcmp(self->names[i].name, name) == 0)
            return digest_equal(&self->names[i].digest, digest);
    return false;
}

static bool is_name_bound(const struct models *self, const char *name)
{
    for (size_t i = 0; i < self->name_count; i++)
        if (strcmp(self->names[i].name, name) == 0)
            return true;
    return false;
}

/* Appends name, or "..." where it does not fit any more; false then. */
static bool list_name(const char *name, char *out, size_t cap, size_t *len)
{
    bool fits = *len + strlen(name) + strlen(", , ...") < cap;

    *len += (size_t)snprintf(out + *len, cap - *len, "%s%s", *len ? ", " : "",
                             fits ? name : "...");
    return fits;
}

static void list_known(const struct models *self, char *out, size_t cap)
{
    size_t len = 0;
    bool fits = true;

    out[0] = '\0';
    for (size_t i = 0; fits && i < self->name_count; i++)
        fits = list_name(self->names[i].name, out, cap, &len);
    for (struct model_entry *m = self->by_digest; fits && m; m = m->hh.next)
        if (*m->name && !is_name_bound(self, m->name))
            fits = list_name(m->name, out, cap, &len);
    if (len == 0)
        snprintf(out, cap, "none, no worker has been here");
}

/* The model that a bare name means: what the ledger binds, else what a file proposes. */
static const struct model_entry *find_name(const struct models *self, struct text name)
{
    for (size_t i = 0; i < self->name_count; i++)
        if (text_is(name, self->names[i].name))
            return models_find(self, &self->names[i].digest);
    for (struct model_entry *m = self->by_digest; m; m = m->hh.next)
        if (text_is(name, m->name))
            return m;
    return NULL;
}

enum err_code models_find_prefix(const struct models *self, struct text prefix,
                                 const struct model_entry **out, struct err *e)
{
    *out = NULL;
    if (prefix.len >= 4 && prefix.len <= DIGEST_HEX_LEN)
        for (struct model_entry *m = self->by_digest; m; m = m->hh.next) {
            if (memcmp(digest_hex(&m->digest).text, prefix.data, prefix.len) != 0)
                continue;
            if (*out)
                return err_set(e, ERR_CONFLICT, "several models begin with \"%.*s\"; give more "
                                                "digits", (int)prefix.len, prefix.data);
            *out = m;
        }
    return *out ? ERR_OK
                : err_set(e, ERR_UNKNOWN_MODEL, "unknown model digest \"%.*s\"",
                          prefix.len > 64 ? 64 : (int)prefix.len, prefix.data);
}

enum err_code models_no_worker(const char *name, const struct digest *digest, struct err *e)
{
    return err_set(e, ERR_NO_WORKER, "no live worker has model %.64s@%.8s", name,
                   digest_hex(digest).text);
}

enum err_code models_resolve(const struct models *self, struct text spec,
                             const struct model_entry **out, struct err *e)
{
    const char *at = memchr(spec.data, '@', spec.len);
    struct text name = { spec.data, at ? (size_t)(at - spec.data) : spec.len };
    struct digest digest;
    char known[120];

    if (!at && digest_parse(spec.data, spec.len, &digest))
        *out = models_find(self, &digest);
    else if (!recipe_name_is_valid(name.data, name.len))
        return err_set(e, ERR_INVALID, "model \"%.*s\" is no valid name",
                       spec.len > 64 ? 64 : (int)spec.len, spec.data);
    else if (at)
        return models_find_prefix(self, (struct text){ at + 1, spec.len - name.len - 1 }, out, e);
    else
        *out = find_name(self, name);
    if (*out)
        return ERR_OK;
    for (size_t i = 0; i < self->name_count; i++)
        if (text_is(name, self->names[i].name))
            return models_no_worker(self->names[i].name, &self->names[i].digest, e);
    list_known(self, known, sizeof known);
    return err_set(e, ERR_UNKNOWN_MODEL, "unknown model \"%.*s\"; known: %s",
                   spec.len > 64 ? 64 : (int)spec.len, spec.data, known);
}

enum err_code models_digest_of(const struct models *self, struct text spec, struct digest *out,
                               struct err *e)
{
    const struct model_entry *entry;
    enum err_code rc;

    if (digest_parse(spec.data, spec.len, out))
        return ERR_OK;
    for (size_t i = 0; i < self->name_count; i++)
        if (text_is(spec, self->names[i].name)) {
            *out = self->names[i].digest;
            return ERR_OK;
        }
    rc = models_resolve(self, spec, &entry, e);
    if (!rc)
        *out = entry->digest;
    return rc;
}
