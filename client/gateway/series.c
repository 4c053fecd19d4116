#include "client/gateway/series.h"

#include "proto/recipe.h"

enum { COUNT_DEFAULT = 56 };

int64_t series_psi(const struct gateway *gateway, int64_t psi)
{
    return gateway->any_psi ? psi : permalink_round_psi(psi);
}

enum err_code series_read_model(struct gateway *gateway, const struct url *url,
                                struct seedpress_model *model, struct permalink *out,
                                struct err *e)
{
    enum err_code rc = gateway_find_model(gateway, url->segment[1], model, e);

    if (!rc)
        *out = permalink_of(model, 0, PERMALINK_PSI);
    return rc;
}

enum err_code series_read_options(const struct url *url, const struct seedpress_model *model,
                                  struct permalink *out, struct err *e)
{
    int64_t class_index = -1, quality = PERMALINK_QUALITY;
    enum err_code rc;

    if ((rc = permalink_read_number(url, "class", 0, RECIPE_CLASS_MAX, &class_index, e)) ||
        (rc = permalink_read_number(url, "q", 1, 100, &quality, e)))
        return rc;
    out->key.quality = (int32_t)quality;
    return permalink_set_class(out, model, class_index, e);
}

enum err_code series_read(struct gateway *gateway, const struct url *url, struct series *out,
                          struct err *e)
{
    static const char *const NAMES[] = { "seed", "n", "psi", "class", "q" };
    int64_t seed = 0, count = COUNT_DEFAULT, psi = PERMALINK_PSI, left;
    enum err_code rc;

    if ((rc = url_check_params(url, NAMES, sizeof NAMES / sizeof NAMES[0], e)) ||
        (rc = permalink_read_number(url, "seed", 0, UINT32_MAX, &seed, e)) ||
        (rc = permalink_read_number(url, "n", 1, SERIES_MAX, &count, e)) ||
        (rc = permalink_read_psi(url, "psi", &psi, e)) ||
        (rc = series_read_model(gateway, url, &out->model, &out->first, e)) ||
        (rc = series_read_options(url, &out->model, &out->first, e)))
        return rc;
    left = (int64_t)UINT32_MAX - seed + 1;
    out->first.key.seed = (uint32_t)seed;
    out->first.key.psi = series_psi(gateway, psi);
    out->count = (int)(count < left ? count : left);
    return ERR_OK;
}
