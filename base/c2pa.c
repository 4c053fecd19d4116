/* A manifest is built in one buffer, from its outermost box inwards, and twice or three times: how
 * long it is stands within it, and with that its own length. Only the last one is signed.
 *
 * Keys of maps stand in the order of RFC 8949, 4.2.1, which C2PA asks of claims: the shorter first,
 * then by the alphabet. */
#include "base/c2pa.h"

#include "base/c2pa_words.h"
#include "base/certificate.h"
#include "base/clock.h"
#include "base/cose.h"
#include "base/credential.h"
#include "base/jumbf.h"
#include "base/segment.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOURCE_TYPE "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

enum {
    /* All of a manifest but certificates and the recipe is 2000 bytes. */
    REST_MAX = 4096,
    URN_CAP = sizeof "urn:c2pa:" + 36,
    DAY_S = 86400,
    BUILDS_MAX = 8,                 /* each only grows by the heads of two numbers */
};

struct c2pa_signer {
    struct credential *credential;
    uint8_t *header;                /* COSE's protected one */
    size_t header_len;
};

/* ---- the signer ---- */

enum err_code c2pa_signer_create(const char *cert_file, const char *key_file,
                                 struct c2pa_signer **out, struct err *e)
{
    struct c2pa_signer *self = calloc(1, sizeof *self);
    size_t cap = REST_MAX;
    enum err_code rc = self ? credential_create(cert_file, key_file, &self->credential, e)
                            : err_set(e, ERR_NOMEM, "no memory for a signer");

    *out = NULL;
    for (size_t i = 0; !rc && i < credential_count(self->credential); i++) {
        size_t len;

        credential_der(self->credential, i, &len);
        cap += len;
    }
    if (!rc && !(self->header = malloc(cap)))
        rc = err_set(e, ERR_NOMEM, "no memory for certificates of %zu bytes", cap);
    if (rc) {
        c2pa_signer_destroy(&self);
        return rc;
    }

    struct concise_out header = { self->header, 0, cap, false };

    cose_put_protected(&header, self->credential);
    self->header_len = header.len;
    *out = self;
    return ERR_OK;
}

void c2pa_signer_destroy(struct c2pa_signer **self)
{
    if (!*self)
        return;
    credential_destroy(&(*self)->credential);
    free((*self)->header);
    free(*self);
    *self = NULL;
}

struct c2pa_signer_facts c2pa_signer_facts(const struct c2pa_signer *self)
{
    int64_t until = credential_until(self->credential), left = until - clock_wall_ms() / 1000;
    struct c2pa_signer_facts facts = { .days_left = left < 0 ? -1 : left / DAY_S };

    snprintf(facts.name, sizeof facts.name, "%s", credential_name(self->credential));
    snprintf(facts.until, sizeof facts.until, "%s", certificate_day(until).text);
    return facts;
}

enum err_code c2pa_signer_check(const struct c2pa_signer *self, struct err *e)
{
    if (!self)
        return err_set(e, ERR_UNSUPPORTED, "mark c2pa needs a certificate, and none is set up");
    if (clock_wall_ms() / 1000 > credential_until(self->credential))
        return err_set(e, ERR_UNSUPPORTED,
                       "mark c2pa needs a certificate, and the one set up expired on %s",
                       certificate_day(credential_until(self->credential)).text);
    return ERR_OK;
}

/* ---- the manifest ---- */

struct manifest {
    const struct c2pa_signer *signer;
    const struct recipe_text *recipe;
    char urn[URN_CAP];              /* its label */
    struct digest file_sha;         /* of the file without it */
    size_t start, span;             /* of its segments in the file */
    struct concise_out out;
    size_t claim, claim_end;        /* the claim's bytes in out */
};

/* A random UUID (RFC 9562, 5.4) behind C2PA's name for them. */
static bool name_manifest(char out[URN_CAP])
{
    uint8_t id[16];

    if (RAND_bytes(id, sizeof id) != 1)
        return false;
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x40);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
    snprintf(out, URN_CAP,
             "urn:c2pa:%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", id[0],
             id[1], id[2], id[3], id[4], id[5], id[6], id[7], id[8], id[9], id[10], id[11], id[12],
             id[13], id[14], id[15]);
    return true;
}

static void put_program(struct concise_out *out)
{
    concise_put_map(out, 2);
    concise_put_text(out, "name");
    concise_put_text(out, "seedpress");
    concise_put_text(out, "version");
    concise_put_text(out, SEEDPRESS_VERSION);
}

static void put_actions(struct manifest *m)
{
    concise_put_map(&m->out, 1);
    concise_put_text(&m->out, "actions");
    concise_put_array(&m->out, 1);
    concise_put_map(&m->out, 3);
    concise_put_text(&m->out, "action");
    concise_put_text(&m->out, "c2pa.created");
    concise_put_text(&m->out, "softwareAgent");
    put_program(&m->out);
    concise_put_text(&m->out, "digitalSourceType");
    concise_put_text(&m->out, SOURCE_TYPE);
}

static void put_recipe(struct manifest *m)
{
    struct digest key = digest_of(m->recipe->text, m->recipe->len);

    concise_put_map(&m->out, 2);
    concise_put_text(&m->out, "recipe");
    concise_put_text(&m->out, m->recipe->text);
    concise_put_text(&m->out, "recipe_key");
    concise_put_text(&m->out, digest_hex(&key).text);
}

/* The hard binding: the hash of the file without the manifest's segments. */
static void put_hash(struct manifest *m)
{
    concise_put_map(&m->out, 5);
    concise_put_text(&m->out, "alg");
    concise_put_text(&m->out, "sha256");
    concise_put_text(&m->out, "pad");
    concise_put_bytes(&m->out, NULL, 0);
    concise_put_text(&m->out, "hash");
    concise_put_bytes(&m->out, m->file_sha.bytes, DIGEST_LEN);
    concise_put_text(&m->out, "name");
    concise_put_text(&m->out, "jumbf manifest");
    concise_put_text(&m->out, "exclusions");
    concise_put_array(&m->out, 1);
    concise_put_map(&m->out, 2);
    concise_put_text(&m->out, "start");
    concise_put_number(&m->out, (int64_t)m->start);
    concise_put_text(&m->out, "length");
    concise_put_number(&m->out, (int64_t)m->span);
}

static const struct assertion {
    const char *label, *url;
    void (*put)(struct manifest *m);
} ASSERTIONS[] = {
    { C2PA_ACTIONS, "self#jumbf=" C2PA_ASSERTIONS "/" C2PA_ACTIONS, put_actions },
    { C2PA_RECIPE, "self#jumbf=" C2PA_ASSERTIONS "/" C2PA_RECIPE, put_recipe },
    { C2PA_HASH, "self#jumbf=" C2PA_ASSERTIONS "/" C2PA_HASH, put_hash },
};
enum { ASSERTION_COUNT = sizeof ASSERTIONS / sizeof ASSERTIONS[0] };

static void put_assertions(struct manifest *m, struct digest digests[ASSERTION_COUNT])
{
    size_t all = jumbf_open(&m->out, C2PA_KIND_ASSERTIONS, C2PA_ASSERTIONS);

    for (int i = 0; i < ASSERTION_COUNT; i++) {
        size_t box = jumbf_open(&m->out, C2PA_KIND_CBOR, ASSERTIONS[i].label);
        size_t content = jumbf_open_content(&m->out, "cbor");

        ASSERTIONS[i].put(m);
        jumbf_close(&m->out, content);
        jumbf_close(&m->out, box);
        digests[i] = jumbf_digest(&m->out, box);
    }
    jumbf_close(&m->out, all);
}

static void put_claim(struct manifest *m, const struct digest digests[ASSERTION_COUNT])
{
    char signature[96], instance[64];
    size_t box = jumbf_open(&m->out, C2PA_KIND_CLAIM, C2PA_CLAIM);
    size_t content = jumbf_open_content(&m->out, "cbor");

    snprintf(signature, sizeof signature, "self#jumbf=/" C2PA_STORE "/%s/" C2PA_SIGNATURE, m->urn);
    snprintf(instance, sizeof instance, "xmp:iid:%s", m->urn + strlen("urn:c2pa:"));
    m->claim = m->out.len;
    concise_put_map(&m->out, 5);
    concise_put_text(&m->out, "alg");
    concise_put_text(&m->out, "sha256");
    concise_put_text(&m->out, "signature");
    concise_put_text(&m->out, signature);
    concise_put_text(&m->out, "instanceID");
    concise_put_text(&m->out, instance);
    concise_put_text(&m->out, "created_assertions");
    concise_put_array(&m->out, ASSERTION_COUNT);
    for (int i = 0; i < ASSERTION_COUNT; i++) {
        concise_put_map(&m->out, 2);
        concise_put_text(&m->out, "url");
        concise_put_text(&m->out, ASSERTIONS[i].url);
        concise_put_text(&m->out, "hash");
        concise_put_bytes(&m->out, digests[i].bytes, DIGEST_LEN);
    }
    concise_put_text(&m->out, "claim_generator_info");
    put_program(&m->out);
    m->claim_end = m->out.len;
    jumbf_close(&m->out, content);
    jumbf_close(&m->out, box);
}

static void put_store(struct manifest *m)
{
    struct digest digests[ASSERTION_COUNT];
    size_t store, manifest, box, content;

    m->out.len = 0;
    store = jumbf_open(&m->out, C2PA_KIND_STORE, C2PA_STORE);
    manifest = jumbf_open(&m->out, C2PA_KIND_MANIFEST, m->urn);
    put_assertions(m, digests);
    put_claim(m, digests);
    box = jumbf_open(&m->out, C2PA_KIND_SIGNATURE, C2PA_SIGNATURE);
    content = jumbf_open_content(&m->out, "cbor");
    cose_put(&m->out, m->signer->header, m->signer->header_len);
    jumbf_close(&m->out, content);
    jumbf_close(&m->out, box);
    jumbf_close(&m->out, manifest);
    jumbf_close(&m->out, store);
}

/* The whole manifest, signed, with its own length in it. */
static enum err_code build(struct manifest *m, struct err *e)
{
    struct digest to_sign;
    enum err_code rc;

    for (int i = 0; i < BUILDS_MAX; i++) {
        size_t span;

        put_store(m);
        if (m->out.full)
            break;
        span = jumbf_segments_len(m->out.len);
        if (span != m->span) {
            m->span = span;
            continue;
        }
        rc = cose_digest(m->signer->header, m->signer->header_len, m->out.data + m->claim,
                         m->claim_end - m->claim, &to_sign, e);
        /* The signature is the last thing in the last box. */
        return rc ? rc : credential_sign(m->signer->credential, &to_sign,
                                         m->out.data + m->out.len - CREDENTIAL_SIGNATURE_LEN, e);
    }
    return err_set(e, ERR_BUG, "a manifest does not fit into its %zu bytes", m->out.cap);
}

/* ---- the file ---- */

/* Where the manifest goes: behind JFIF, Exif and XMP. */
static enum err_code find_place(const uint8_t *jpeg, size_t len, size_t *place, struct err *e)
{
    struct jumbf_store store;
    struct segment s;
    size_t at = 0;
    enum jumbf_found found = jumbf_find_store(jpeg, len, &store);

    free(store.data);
    if (found == JUMBF_NOMEM)
        return err_set(e, ERR_NOMEM, "no memory for a manifest");
    if (found != JUMBF_NONE)
        return err_set(e, ERR_INVALID, "the picture has a manifest already");
    if (!segment_next(jpeg, len, &at, &s) || s.marker != SEGMENT_SOI)
        return err_set(e, ERR_INVALID, "only a JPEG can carry a manifest");
    do
        *place = at;
    while (segment_next(jpeg, len, &at, &s) &&
           (s.marker == SEGMENT_APP0 || s.marker == SEGMENT_APP1));
    return ERR_OK;
}

static enum err_code assemble(const struct manifest *m, const struct c2pa_unsigned *file,
                              uint8_t **out, size_t *out_len, struct err *e)
{
    size_t len = file->len + m->span;
    uint8_t *whole = malloc(len);

    if (!whole)
        return err_set(e, ERR_NOMEM, "no memory for a file of %zu bytes", len);
    memcpy(whole, file->jpeg, m->start);
    jumbf_write_segments(m->out.data, m->out.len, whole + m->start);
    memcpy(whole + m->start + m->span, file->jpeg + m->start, file->len - m->start);
    *out = whole;
    *out_len = len;
    return ERR_OK;
}

enum err_code c2pa_sign(const struct c2pa_signer *self, const struct recipe_text *recipe,
                        const struct c2pa_unsigned *file, uint8_t **out, size_t *out_len,
                        struct err *e)
{
    size_t cap = self ? self->header_len + RECIPE_TEXT_MAX + REST_MAX : 0;
    struct manifest m = { .signer = self, .recipe = recipe };
    enum err_code rc = c2pa_signer_check(self, e);

    *out = NULL;
    if (!rc)
        rc = find_place(file->jpeg, file->len, &m.start, e);
    if (!rc && !name_manifest(m.urn))
        rc = err_set(e, ERR_BUG, "OpenSSL has no random numbers");
    if (!rc && !(m.out.data = malloc(cap)))
        rc = err_set(e, ERR_NOMEM, "no memory for a manifest");
    if (!rc) {
        m.out.cap = cap;
        m.file_sha = file->sha;
        rc = build(&m, e);
    }
    if (!rc)
        rc = assemble(&m, file, out, out_len, e);
    free(m.out.data);
    return rc;
}
