#include "proto/recipe.h"

#include "proto/number.h"

#include <math.h>
#include <string.h>

static const char *const MARK_WORDS[RECIPE_MARK_COUNT] = { "none", "xmp", "c2pa" };

float recipe_psi_float(int32_t millionths)
{
    return (float)((double)millionths / 1e6);
}

bool recipe_name_is_valid(const char *name, size_t len)
{
    if (len < 1 || len > RECIPE_NAME_MAX || name[0] == '.' || name[0] == '-')
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = name[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '.' || c == '_' || c == '-'))
            return false;
    }
    return true;
}

/* ---- from a request to a recipe ---- */

static enum err_code resolve_class(const struct recipe_request *request,
                                   const struct model_facts *facts, struct recipe *out,
                                   const char **warning, struct err *e)
{
    out->class_index = -1;
    if (facts->c_dim == 0) {
        if (request->class_index != -1 && warning)
            *warning = "class has no effect on an unconditional model";
        return ERR_OK;
    }
    if (request->class_index == -1)
        return err_set(e, ERR_CLASS_REQUIRED, "this model needs a class: 0..%d", facts->c_dim - 1);
    if (request->class_index < 0 || request->class_index >= facts->c_dim)
        return err_set(e, ERR_RANGE, "class %d is out of range: the model has 0..%d",
                       request->class_index, facts->c_dim - 1);
    out->class_index = request->class_index;
    return ERR_OK;
}

/* The official tools ignore the mode where nothing reads noise. So do we, but say so. */
static void drop_noise(int asked, struct recipe *out, const char **warning)
{
    out->noise = RECIPE_NOISE_NONE;
    out->noise_seed = 0;
    if (warning && (asked == RECIPE_NOISE_RANDOM || asked == RECIPE_NOISE_STREAM))
        *warning = *warning ? "class and noise mode have no effect on this model"
                            : "noise mode has no effect on a model without noise inputs";
}

static enum err_code resolve_noise(const struct recipe_request *request,
                                   const struct model_facts *facts, struct recipe *out,
                                   const char **warning, struct err *e)
{
    static const char *const WORDS[] = { "none", "const", "random", "stream" };
    bool has_noise = (facts->noise_modes & ~(1u << RECIPE_NOISE_NONE)) != 0;
    int noise = request->noise == -1 ? RECIPE_NOISE_CONST : request->noise;
    bool is_random = noise == RECIPE_NOISE_RANDOM;

    if (noise < 0 || noise >= RECIPE_NOISE_COUNT)
        return err_set(e, ERR_RANGE, "noise mode %d is out of range", noise);
    if (!is_random && request->noise_seed != -1)
        return err_set(e, ERR_INVALID, "a noise seed goes with noise mode random only");
    if (is_random && (request->noise_seed < 0 || request->noise_seed > UINT32_MAX))
        return err_set(e, ERR_INVALID, "noise mode random needs a noise seed, 0..4294967295");
    if (!has_noise) {
        drop_noise(request->noise, out, warning);
        return ERR_OK;
    }
    if (!(facts->noise_modes & 1u << noise))
        return err_set(e, ERR_UNSUPPORTED, "noise mode %s is not supported for this model",
                       WORDS[noise]);
    out->noise = (enum recipe_noise)noise;
    out->noise_seed = is_random ? (uint32_t)request->noise_seed : 0;
    return ERR_OK;
}

/* What moves nothing is no transform, and -0 is 0, so that one wish has one text. */
static struct recipe_transform canonical(const struct recipe_transform *t)
{
    static const float IDENTITY[9] = { 1, 0, 0, 0, 1, 0, 0, 0, 1 };
    struct recipe_transform c = { .kind = t->kind };
    bool is_identity = true;

    if (t->kind == RECIPE_TRANSFORM_TR) {
        c.tx = t->tx;
        c.ty = t->ty;
        c.degrees = t->degrees;
        is_identity = c.tx == 0 && c.ty == 0 && c.degrees == 0;
    } else if (t->kind == RECIPE_TRANSFORM_MATRIX) {
        for (int i = 0; i < 9; i++) {
            c.m[i] = t->m[i] == 0 ? 0 : t->m[i];
            is_identity &= c.m[i] == IDENTITY[i];
        }
    } else
        return c;
    return is_identity ? (struct recipe_transform){ .kind = RECIPE_TRANSFORM_NONE } : c;
}

static bool is_shift(int64_t millionths)
{
    return millionths >= -RECIPE_SHIFT_MAX && millionths <= RECIPE_SHIFT_MAX;
}

static enum err_code check_transform(const struct recipe_transform *t,
                                     const struct model_facts *facts, struct err *e)
{
    bool good = true;

    if (t->kind == RECIPE_TRANSFORM_NONE)
        return ERR_OK;
    if (!facts->has_transform)
        return err_set(e, ERR_UNSUPPORTED, "this model has no transform%s; only StyleGAN 3 models "
                                           "have one",
                       t->kind == RECIPE_TRANSFORM_TR ? " to translate and rotate with" : "");
    if (t->kind == RECIPE_TRANSFORM_TR)
        good = is_shift(t->tx) && is_shift(t->ty) && is_shift(t->degrees);
    else if (t->kind == RECIPE_TRANSFORM_MATRIX)
        for (int i = 0; i < 9; i++)
            good &= isfinite(t->m[i]) != 0;
    else
        good = false;
    return good ? ERR_OK
                : err_set(e, ERR_RANGE,
                          "the transform is out of range: shifts and degrees "
                          "go from -1000 to 1000, a matrix is finite");
}

enum err_code recipe_resolve(const struct recipe_request *request, const struct model_facts *facts,
                             struct recipe *out, const char **warning, struct err *e)
{
    enum err_code rc;

    if (warning)
        *warning = NULL;
    if (facts->width < 1 || facts->width > RECIPE_SIZE_MAX || facts->height < 1 ||
        facts->height > RECIPE_SIZE_MAX || facts->num_ws < 0 || facts->num_ws > RECIPE_WS_MAX ||
        facts->c_dim < 0 || facts->c_dim > RECIPE_CLASS_MAX + 1)
        return err_set(e, ERR_UNSUPPORTED, "this model is announced with sizes that cannot be");
    if (request->psi < -RECIPE_PSI_MAX || request->psi > RECIPE_PSI_MAX)
        return err_set(e, ERR_RANGE, "psi is out of range: it goes from -2 to 2");
    if (request->cutoff < -1 || request->cutoff > RECIPE_WS_MAX)
        return err_set(e, ERR_RANGE, "cutoff %d is out of range: 0..%d", request->cutoff,
                       RECIPE_WS_MAX);
    if (request->quality < 1 || request->quality > 100)
        return err_set(e, ERR_RANGE, "quality %d is out of range: 1..100", request->quality);
    if (request->mark < -1 || request->mark >= RECIPE_MARK_COUNT)
        return err_set(e, ERR_RANGE, "mark %d is out of range", request->mark);

    memset(out, 0, sizeof *out);
    out->transform = canonical(&request->transform);
    if ((rc = check_transform(&out->transform, facts, e)))
        return rc;
    out->model = facts->digest;
    out->seed = request->seed;
    out->psi = (int32_t)request->psi;
    out->cutoff = request->cutoff;
    if (out->cutoff == -1 || out->cutoff > facts->num_ws || out->psi == 1000000)
        out->cutoff = facts->num_ws;
    out->width = facts->width;
    out->height = facts->height;
    out->quality = request->quality;
    out->mark = request->mark == -1 ? RECIPE_MARK_XMP : (enum recipe_mark)request->mark;
    out->rev = request->rev;
    rc = resolve_class(request, facts, out, warning, e);
    return rc ? rc : resolve_noise(request, facts, out, warning, e);
}

/* ---- from a recipe to its text ----
 * Written piece by piece, because every picture's key begins here and printf takes ten times as
 * long. Every piece is bounded, and so is their sum: it fits. */

static char *put(char *at, const char *text, size_t len)
{
    memcpy(at, text, len);
    return at + len;
}

static char *put_text(char *at, const char *text)
{
    return put(at, text, strlen(text));
}

static char *put_number(char *at, int64_t v)
{
    char digits[20];
    int count = 0;
    uint64_t left = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;

    if (v < 0)
        *at++ = '-';
    do
        digits[count++] = (char)('0' + left % 10);
    while (left /= 10);
    while (count > 0)
        *at++ = digits[--count];
    return at;
}

static char *put_digest(char *at, const struct digest *digest)
{
    return put(at, digest_hex(digest).text, DIGEST_HEX_LEN);
}

static char *put_bits(char *at, float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    for (int shift = 28; shift >= 0; shift -= 4)
        *at++ = "0123456789abcdef"[bits >> shift & 15];
    return at;
}

static char *put_class(char *at, const struct recipe *self)
{
    at = put_text(at, "class=");
    at = self->class_index < 0 ? put_text(at, "none") : put_number(at, self->class_index);
    return put_text(at, "\n");
}

static char *put_noise(char *at, const struct recipe *self)
{
    switch (self->noise) {
    case RECIPE_NOISE_CONST:
        return put_text(at, "noise=const\n");
    case RECIPE_NOISE_STREAM:
        return put_text(at, "noise=stream\n");
    case RECIPE_NOISE_RANDOM:
        return put_text(put_number(put_text(at, "noise=random:"), self->noise_seed), "\n");
    default:
        return put_text(at, "noise=none\n");
    }
}

static char *put_transform(char *at, const struct recipe_transform *t)
{
    switch (t->kind) {
    case RECIPE_TRANSFORM_TR:
        at = put_text(put_number(put_text(at, "transform=tr:"), t->tx), ",");
        at = put_text(put_number(at, t->ty), ",");
        return put_text(put_number(at, t->degrees), "\n");
    case RECIPE_TRANSFORM_MATRIX:
        at = put_text(at, "transform=m:");
        for (int i = 0; i < 9; i++)
            at = put_text(put_bits(at, t->m[i]), i < 8 ? "," : "\n");
        return at;
    default:
        return put_text(at, "transform=none\n");
    }
}

bool recipe_transform_is_same(const struct recipe_transform *a, const struct recipe_transform *b)
{
    struct recipe_transform ca = canonical(a), cb = canonical(b);
    char line_a[160], line_b[160];
    size_t len_a = (size_t)(put_transform(line_a, &ca) - line_a);
    size_t len_b = (size_t)(put_transform(line_b, &cb) - line_b);

    return len_a == len_b && memcmp(line_a, line_b, len_a) == 0;
}

struct recipe_text recipe_text(const struct recipe *self)
{
    struct recipe_text t;
    char *at = put_digest(put_text(t.text, "seedpress-recipe/1\nmodel="), &self->model);

    at = put_number(put_text(at, "\nlatent=seed:"), self->seed);
    at = put_number(put_text(at, "\npsi="), self->psi);
    at = put_number(put_text(at, "\ncutoff="), self->cutoff);
    at = put_class(put_text(at, "\n"), self);
    at = put_noise(at, self);
    at = put_transform(at, &self->transform);
    at = put_number(put_text(at, "size="), self->width);
    at = put_number(put_text(at, "x"), self->height);
    at = put_number(put_text(at, ":native\nformat=jpeg:q"), self->quality);
    at = put_text(put_text(at, ":420:baseline\nmark="), MARK_WORDS[self->mark]);
    at = put_text(put_number(put_text(at, "\nrev="), self->rev), "\n");
    *at = '\0';
    t.len = (size_t)(at - t.text);
    return t;
}

struct digest recipe_key(const struct recipe *self)
{
    struct recipe_text t = recipe_text(self);

    return digest_of(t.text, t.len);
}

struct digest recipe_subject(const struct recipe *self)
{
    char text[256];
    char *at = put_digest(put_text(text, "seedpress-subject/1\nmodel="), &self->model);

    at = put_number(put_text(at, "\nlatent=seed:"), self->seed);
    at = put_class(put_text(at, "\n"), self);
    return digest_of(text, (size_t)(at - text));
}

/* ---- from a text to a recipe ----
 * The reader below is lenient about form; strictness is one comparison at the end: the text must be
 * what recipe_text makes of the recipe that was read. */

struct cursor {
    const char *at, *end;
};

/* Steps over word; false when something else stands there. */
static bool take(struct cursor *c, const char *word)
{
    size_t len = strlen(word);

    if ((size_t)(c->end - c->at) < len || memcmp(c->at, word, len) != 0)
        return false;
    c->at += len;
    return true;
}

/* A whole number lo..hi, up to the next byte that cannot belong to one. */
static bool take_number(struct cursor *c, int64_t lo, int64_t hi, int64_t *out)
{
    const char *from = c->at;
    int64_t v;

    while (c->at < c->end && (*c->at == '-' || (*c->at >= '0' && *c->at <= '9')))
        c->at++;
    if (!number_parse(from, (size_t)(c->at - from), &v) || v < lo || v > hi)
        return false;
    *out = v;
    return true;
}

static bool take_noise(struct cursor *c, struct recipe *r)
{
    int64_t v;

    if (take(c, "none"))
        r->noise = RECIPE_NOISE_NONE;
    else if (take(c, "const"))
        r->noise = RECIPE_NOISE_CONST;
    else if (take(c, "stream"))
        r->noise = RECIPE_NOISE_STREAM;
    else if (take(c, "random:") && take_number(c, 0, UINT32_MAX, &v)) {
        r->noise = RECIPE_NOISE_RANDOM;
        r->noise_seed = (uint32_t)v;
    } else
        return false;
    return true;
}

static bool take_matrix(struct cursor *c, float m[9])
{
    for (int i = 0; i < 9; i++) {
        uint32_t bits = 0;

        if (i > 0 && !take(c, ","))
            return false;
        for (int digit = 0; digit < 8; digit++, c->at++) {
            if (c->at == c->end)
                return false;
            char ch = *c->at;

            if (ch >= '0' && ch <= '9')
                bits = bits << 4 | (uint32_t)(ch - '0');
            else if (ch >= 'a' && ch <= 'f')
                bits = bits << 4 | (uint32_t)(ch - 'a' + 10);
            else
                return false;
        }
        if ((bits & 0x7f800000u) == 0x7f800000u)
            return false;            /* NaN or infinity */
        memcpy(&m[i], &bits, sizeof bits);
    }
    return true;
}

static bool take_transform(struct cursor *c, struct recipe_transform *t)
{
    int64_t max = RECIPE_SHIFT_MAX;
    struct recipe_transform read = { .kind = RECIPE_TRANSFORM_NONE };

    if (take(c, "tr:")) {
        read.kind = RECIPE_TRANSFORM_TR;
        if (!take_number(c, -max, max, &read.tx) || !take(c, ",") ||
            !take_number(c, -max, max, &read.ty) || !take(c, ",") ||
            !take_number(c, -max, max, &read.degrees))
            return false;
    } else if (take(c, "m:")) {
        read.kind = RECIPE_TRANSFORM_MATRIX;
        if (!take_matrix(c, read.m))
            return false;
    } else if (!take(c, "none"))
        return false;
    *t = canonical(&read);           /* what it changes is written otherwise, and so refused */
    return true;
}

static bool take_mark(struct cursor *c, struct recipe *r)
{
    for (int mark = 0; mark < RECIPE_MARK_COUNT; mark++)
        if (take(c, MARK_WORDS[mark])) {
            r->mark = (enum recipe_mark)mark;
            return true;
        }
    return false;
}

static bool take_recipe(struct cursor *c, struct recipe *r)
{
    int64_t seed, psi, cutoff, class_index = -1, width, height, quality, rev;

    if (!take(c, "seedpress-recipe/1\nmodel=") || c->end - c->at < DIGEST_HEX_LEN ||
        !digest_parse(c->at, DIGEST_HEX_LEN, &r->model))
        return false;
    c->at += DIGEST_HEX_LEN;
    if (!take(c, "\nlatent=seed:") || !take_number(c, 0, UINT32_MAX, &seed) ||
        !take(c, "\npsi=") || !take_number(c, -RECIPE_PSI_MAX, RECIPE_PSI_MAX, &psi) ||
        !take(c, "\ncutoff=") || !take_number(c, 0, RECIPE_WS_MAX, &cutoff) ||
        !take(c, "\nclass=") ||
        (!take(c, "none") && !take_number(c, 0, RECIPE_CLASS_MAX, &class_index)) ||
        !take(c, "\nnoise=") || !take_noise(c, r) || !take(c, "\ntransform=") ||
        !take_transform(c, &r->transform) || !take(c, "\nsize=") ||
        !take_number(c, 1, RECIPE_SIZE_MAX, &width) || !take(c, "x") ||
        !take_number(c, 1, RECIPE_SIZE_MAX, &height) || !take(c, ":native\nformat=jpeg:q") ||
        !take_number(c, 1, 100, &quality) || !take(c, ":420:baseline\nmark=") ||
        !take_mark(c, r) || !take(c, "\nrev=") || !take_number(c, 0, UINT32_MAX, &rev) ||
        !take(c, "\n"))
        return false;
    r->seed = (uint32_t)seed;
    r->psi = (int32_t)psi;
    r->cutoff = (int)cutoff;
    r->class_index = (int)class_index;
    r->width = (int)width;
    r->height = (int)height;
    r->quality = (int)quality;
    r->rev = (uint32_t)rev;
    return c->at == c->end;
}

enum err_code recipe_parse(const char *text, size_t len, struct recipe *out, struct err *e)
{
    struct cursor c = { text, text + len };
    struct recipe r;

    memset(&r, 0, sizeof r);
    if (len < RECIPE_TEXT_MAX && take_recipe(&c, &r)) {
        struct recipe_text t = recipe_text(&r);

        if (t.len == len && memcmp(t.text, text, len) == 0) {
            *out = r;
            return ERR_OK;
        }
    }
    if (len >= RECIPE_TEXT_MAX)
        return err_set(e, ERR_INVALID, "recipe text of %zu bytes is too long", len);
    int line = 1;

    for (const char *p = text; p < c.at; p++)
        line += *p == '\n';
    return err_set(e, ERR_INVALID, "recipe text is not canonical near line %d", line);
}
