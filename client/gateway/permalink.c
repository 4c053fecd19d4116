#include "client/gateway/permalink.h"

#include "proto/number.h"
#include "proto/recipe.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PSI_STEP = 50000, DIGEST_LEAST = 8 };

struct permalink permalink_of(const struct seedpress_model *model, uint32_t seed, int64_t psi)
{
    struct permalink self = { .key = { .psi = psi, .seed = seed, .class_index = -1,
                                       .quality = PERMALINK_QUALITY } };

    snprintf(self.name, sizeof self.name, "%s", model->name);
    digest_parse(model->digest, DIGEST_HEX_LEN, &self.key.model);
    return self;
}

/* ---- reading ---- */

enum err_code permalink_read_model(const char *text, char name[65], char digest[65],
                                   struct err *e)
{
    const char *at = strchr(text, '@');
    size_t len = at ? (size_t)(at - text) : strlen(text), digits = at ? strlen(at + 1) : 0;

    if (!recipe_name_is_valid(text, len))
        return err_set(e, ERR_INVALID, "\"%.70s\" is no model's name", text);
    if (at && (digits < DIGEST_LEAST || digits > DIGEST_HEX_LEN ||
               strspn(at + 1, "0123456789abcdefABCDEF") != digits))
        return err_set(e, ERR_INVALID, "what follows '@' needs to be 8 to 64 hex digits");
    memcpy(name, text, len);
    name[len] = '\0';
    for (size_t i = 0; i < digits; i++)
        digest[i] = (char)(at[1 + i] >= 'A' && at[1 + i] <= 'F' ? at[1 + i] + ('a' - 'A')
                                                                : at[1 + i]);
    digest[digits] = '\0';
    return ERR_OK;
}

enum err_code permalink_read_seed(const char *file, uint32_t *out, struct err *e)
{
    size_t len = strlen(file);
    int64_t seed = -1;

    if (len < 5 || strcmp(file + len - 4, ".jpg") != 0 || !number_parse(file, len - 4, &seed))
        return err_set(e, ERR_NOT_FOUND, "\"%.60s\" is no picture: they are called 42.jpg", file);
    if (seed < 0 || seed > UINT32_MAX)
        return err_set(e, ERR_RANGE, "seed %" PRId64 " is outside 0..4294967295", seed);
    *out = (uint32_t)seed;
    return ERR_OK;
}

/* "0.70" and "+0.7" mean something, and are put right by a redirection; "1e3" does not. */
static bool read_loose_decimal(const char *text, int64_t *out)
{
    const char *dot = strchr(text, '.');
    char copy[24];
    size_t len;

    text += *text == '+';
    len = strlen(text);
    if (dot)
        while (len > 0 && text[len - 1] == '0')
            len--;
    if (dot && len > 0 && text[len - 1] == '.')
        len--;
    if (len >= sizeof copy)
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    return number_parse_millionths(strcmp(copy, "-0") == 0 ? "0" : copy,
                                   strcmp(copy, "-0") == 0 ? 1 : len, out);
}

enum err_code permalink_read_psi(const struct url *url, const char *name, int64_t *out,
                                 struct err *e)
{
    const char *text = url_param(url, name);
    int64_t psi;

    if (!text)
        return ERR_OK;
    if (!read_loose_decimal(text, &psi))
        return err_set(e, ERR_INVALID, "%s=%.40s is no decimal number with at most six places",
                       name, text);
    if (psi < -RECIPE_PSI_MAX || psi > RECIPE_PSI_MAX)
        return err_set(e, ERR_RANGE, "%s=%.40s is outside -2..2", name, text);
    *out = psi;
    return ERR_OK;
}

enum err_code permalink_read_number(const struct url *url, const char *name, int64_t min,
                                    int64_t max, int64_t *out, struct err *e)
{
    const char *text = url_param(url, name);
    int64_t value;

    if (!text)
        return ERR_OK;
    if (!number_parse(text, strlen(text), &value))
        return err_set(e, ERR_INVALID, "%s=%.40s is no whole number", name, text);
    if (value < min || value > max)
        return err_set(e, ERR_RANGE, "%s=%.40s is outside %" PRId64 "..%" PRId64, name, text, min,
                       max);
    *out = value;
    return ERR_OK;
}

enum err_code permalink_read_options(const struct url *url, struct permalink *self, struct err *e)
{
    static const char *const NAMES[] = { "psi", "class", "q" };
    int64_t class_index = -1, quality = PERMALINK_QUALITY;
    enum err_code rc;

    self->key.psi = PERMALINK_PSI;
    if ((rc = url_check_params(url, NAMES, sizeof NAMES / sizeof NAMES[0], e)) ||
        (rc = permalink_read_psi(url, "psi", &self->key.psi, e)) ||
        (rc = permalink_read_number(url, "class", 0, RECIPE_CLASS_MAX, &class_index, e)) ||
        (rc = permalink_read_number(url, "q", 1, 100, &quality, e)))
        return rc;
    self->key.class_index = (int32_t)class_index;
    self->key.quality = (int32_t)quality;
    return ERR_OK;
}

enum err_code permalink_set_class(struct permalink *self, const struct seedpress_model *model,
                                  int64_t class_index, struct err *e)
{
    self->key.class_index = model->c_dim > 0 ? (int32_t)class_index : -1;
    if (model->c_dim == 0)
        return ERR_OK;
    if (class_index < 0)
        return err_set(e, ERR_CLASS_REQUIRED, "model %s needs a class: 0..%d", model->name,
                       model->c_dim - 1);
    if (class_index >= model->c_dim)
        return err_set(e, ERR_RANGE, "class %" PRId64 " is out of range: model %s has 0..%d",
                       class_index, model->name, model->c_dim - 1);
    return ERR_OK;
}

/* ---- writing ---- */

static void write_with(const struct permalink *self, const char *at, const char *digest,
                       char out[PERMALINK_MAX])
{
    const struct permalink_key *k = &self->key;
    char psi[24];
    int len = snprintf(out, PERMALINK_MAX, "/v1/%s%s%.*s/%" PRIu32 ".jpg", self->name, at,
                       PERMALINK_DIGEST8, digest, k->seed);
    char sep = '?';

    number_format_millionths(k->psi, psi);
    if (k->psi != PERMALINK_PSI) {
        len += snprintf(out + len, PERMALINK_MAX - (size_t)len, "%cpsi=%s", sep, psi);
        sep = '&';
    }
    if (k->class_index >= 0) {
        len += snprintf(out + len, PERMALINK_MAX - (size_t)len, "%cclass=%d", sep, k->class_index);
        sep = '&';
    }
    if (k->quality != PERMALINK_QUALITY)
        snprintf(out + len, PERMALINK_MAX - (size_t)len, "%cq=%d", sep, k->quality);
}

void permalink_write(const struct permalink *self, char out[PERMALINK_MAX])
{
    write_with(self, "@", digest_hex(&self->key.model).text, out);
}

void permalink_write_bare(const struct permalink *self, char out[PERMALINK_MAX])
{
    write_with(self, "", "", out);
}

void permalink_fill(const struct permalink *self, char model[SEEDPRESS_HEX],
                    struct seedpress_request *out)
{
    memcpy(model, digest_hex(&self->key.model).text, SEEDPRESS_HEX);
    seedpress_request_init(out);
    out->model = model;
    out->seed = self->key.seed;
    out->psi = (double)self->key.psi / PERMALINK_PSI;
    out->class_index = self->key.class_index;
    out->quality = self->key.quality;
}

int64_t permalink_round_psi(int64_t psi)
{
    int64_t half = psi < 0 ? -PSI_STEP / 2 : PSI_STEP / 2;

    return (psi + half) / PSI_STEP * PSI_STEP;
}
