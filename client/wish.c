#include "client/wish.h"

#include "proto/number.h"

#include <float.h>
#include <math.h>
#include <string.h>

struct text wish_text(const char *string)
{
    return string ? text_of(string) : (struct text){ NULL, 0 };
}

enum err_code wish_read_decimal(const char *name, double value, int64_t *out, struct err *e)
{
    if (!number_millionths_of(value, out))
        return err_set(e, ERR_RANGE, "%s needs to be a number with at most six decimal places",
                       name);
    return ERR_OK;
}

static enum err_code read_matrix(const double *matrix, struct floats *out, struct err *e)
{
    out->count = MESSAGE_FLOATS_MAX;
    for (size_t i = 0; i < out->count; i++) {
        if (!(fabs(matrix[i]) <= FLT_MAX))       /* also refuses NaN */
            return err_set(e, ERR_RANGE, "transform needs nine numbers that float32 can hold");
        out->items[i] = (float)matrix[i];
    }
    return ERR_OK;
}

/* What is 0 is left out: it moves nothing. */
static enum err_code read_transform(const struct seedpress_request *request,
                                    struct message_generate *out, struct err *e)
{
    const double *shift = request->translate;
    bool is_shifted = shift[0] != 0 || shift[1] != 0, is_turned = request->rotate != 0;
    enum err_code rc = ERR_OK;

    if (request->transform && (is_shifted || is_turned))
        return err_set(e, ERR_INVALID, "give either transform or translate and rotate");
    if (request->transform)
        return read_matrix(request->transform, &out->transform, e);
    if (is_shifted) {
        out->translate.count = 2;
        for (int i = 0; !rc && i < 2; i++)
            rc = wish_read_decimal("translate", shift[i], &out->translate.items[i], e);
    }
    if (!rc && is_turned)
        rc = wish_read_decimal("rotate", request->rotate, &out->rotate, e);
    return rc;
}

enum err_code wish_read_digest(const char *name, const char *hex, struct digest *out,
                               struct err *e)
{
    if (hex && !digest_parse(hex, strlen(hex), out))
        return err_set(e, ERR_INVALID, "%s needs 64 lower-case hex digits", name);
    return ERR_OK;
}

enum err_code wish_read(const struct seedpress_request *request, struct message_generate *out,
                        struct err *e)
{
    enum err_code rc;

    if (!request->model || !*request->model)
        return err_set(e, ERR_INVALID, "a request needs a model");
    out->model = text_of(request->model);
    out->cutoff = request->cutoff;
    out->class_index = request->class_index;
    out->noise_mode = request->noise_mode;
    out->noise_seed = request->noise_seed;
    out->quality = request->quality;
    out->mark = request->mark;
    out->rev = request->rev;
    rc = wish_read_decimal("psi", request->psi, &out->psi, e);
    return rc ? rc : read_transform(request, out, e);
}
