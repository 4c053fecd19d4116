/* Reads first, then proves: the manifest's parts are found and their form is checked before any
 * hash or signature is, so that what comes after works on known places. */
#include "base/c2pa.h"

#include "base/c2pa_words.h"
#include "base/certificate.h"
#include "base/clock.h"
#include "base/cose.h"
#include "base/jumbf.h"

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ASSERTIONS_MAX = 64 };

struct assertion {
    struct jumbf_super box;
    bool declared;                  /* the claim names it, and the hash is its own */
    bool created;                   /* by the signer, not gathered from elsewhere */
};

/* One file's check on its way, with the parts of the store's last manifest. */
struct check {
    const uint8_t *jpeg;
    size_t len;
    struct jumbf_store store;
    STACK_OF(X509) *trusted;        /* NULL: none */
    struct c2pa_finding *out;
    enum err_code rc;               /* what is no fault of the file's */
    struct err *e;

    const char *label;              /* the manifest's */
    struct concise_in claim;
    struct cose cose;
    STACK_OF(X509) *chain;          /* of cose; the signer's first */
    struct assertion assertion[ASSERTIONS_MAX];
    size_t count;
};

/* Gives false, so that a caller can return it. */
static bool broken(struct check *c, const char *words)
{
    c->out->verdict = C2PA_BROKEN;
    snprintf(c->out->words, sizeof c->out->words, "%s", words);
    return false;
}

static bool failed(struct check *c, enum err_code rc, const char *words)
{
    c->rc = err_set(c->e, rc, "%s", words);
    return false;
}

/* The same for words with the label of an assertion, which may hold anything. */
static bool broken_assertion(struct check *c, const char *label, size_t len, const char *words)
{
    char plain[64];
    size_t i;

    for (i = 0; i < len && i + 1 < sizeof plain; i++)
        plain[i] = label[i] >= 0x20 && label[i] < 0x7f ? label[i] : '?';
    plain[i] = '\0';
    c->out->verdict = C2PA_BROKEN;
    snprintf(c->out->words, sizeof c->out->words, "the assertion \"%s\" %s", plain, words);
    return false;
}

/* ---- the parts ---- */

static bool is_called(const struct jumbf_super *box, const char *kind, const char *label)
{
    return jumbf_is_kind(box, kind) && strcmp(box->label, label) == 0;
}

static bool find_manifest(struct check *c, struct jumbf_super *out)
{
    struct jumbf_in in = { c->store.data, c->store.data + c->store.len };
    struct jumbf_super top;
    bool found = false;

    if (!jumbf_next_super(&in, &top) || in.at != in.end || !is_called(&top, C2PA_KIND_STORE,
                                                                      C2PA_STORE))
        return broken(c, "the manifest store is malformed");
    while (top.boxes.at < top.boxes.end) {
        if (!jumbf_next_super(&top.boxes, out))
            return broken(c, "a manifest is malformed");
        found = true;
    }
    if (!found)
        return broken(c, "the manifest store is empty");
    if (!jumbf_is_kind(out, C2PA_KIND_MANIFEST))
        return broken(c, "the manifest is of a kind that is not checked here");
    return true;
}

static bool read_assertions(struct check *c, struct jumbf_in in)
{
    while (in.at < in.end) {
        struct jumbf_super box;

        if (c->count == ASSERTIONS_MAX)
            return broken(c, "the manifest has more than 64 assertions");
        if (!jumbf_next_super(&in, &box))
            return broken(c, "an assertion is malformed");
        for (size_t i = 0; i < c->count; i++)
            if (strcmp(c->assertion[i].box.label, box.label) == 0)
                return broken_assertion(c, box.label, strlen(box.label), "is there twice");
        c->assertion[c->count++].box = box;
    }
    return true;
}

/* Each part once; what else a manifest holds (credentials, data boxes) is not ours to judge. */
static bool find_parts(struct check *c, const struct jumbf_super *manifest)
{
    struct jumbf_in in = manifest->boxes;
    struct jumbf_super box;
    struct concise_in signature;
    int claims = 0, signatures = 0, stores = 0;
    const char *why;

    c->label = manifest->label;
    while (in.at < in.end) {
        if (!jumbf_next_super(&in, &box))
            return broken(c, "the manifest is malformed");
        if (jumbf_is_kind(&box, C2PA_KIND_CLAIM)) {
            claims++;
            if (!is_called(&box, C2PA_KIND_CLAIM, C2PA_CLAIM) ||
                !jumbf_only_content(&box, "cbor", &c->claim))
                return broken(c, "the claim is malformed or of another version than 2");
        } else if (is_called(&box, C2PA_KIND_SIGNATURE, C2PA_SIGNATURE)) {
            signatures++;
            if (!jumbf_only_content(&box, "cbor", &signature))
                return broken(c, "the signature is malformed");
        } else if (is_called(&box, C2PA_KIND_ASSERTIONS, C2PA_ASSERTIONS)) {
            stores++;
            if (stores == 1 && !read_assertions(c, box.boxes))
                return false;
        }
    }
    if (claims != 1 || signatures != 1 || stores != 1)
        return broken(c, "the manifest lacks claim, signature or assertions, or has two");
    why = cose_read(signature, &c->cose);
    return why ? broken(c, why) : true;
}

/* What a reference within the manifest names: behind "self#jumbf=" and, when it is absolute, store
 * and manifest. NULL: it leads out of it. */
static const char *local_part(const struct concise_item *url, const char *label, size_t *len)
{
    static const char SELF[] = "self#jumbf=", STORE[] = "/" C2PA_STORE "/";
    const char *at = (const char *)url->data;
    size_t left = url->len, label_len = strlen(label);

    if (left < strlen(SELF) || memcmp(at, SELF, strlen(SELF)) != 0)
        return NULL;
    at += strlen(SELF);
    left -= strlen(SELF);
    if (left > 0 && *at == '/') {
        size_t above = strlen(STORE) + label_len + 1;

        if (left < above || memcmp(at, STORE, strlen(STORE)) != 0 ||
            memcmp(at + strlen(STORE), label, label_len) != 0 || at[above - 1] != '/')
            return NULL;
        at += above;
        left -= above;
    }
    *len = left;
    return at;
}

static bool is_sha256(struct concise_in map, struct concise_in claim)
{
    struct concise_item alg;

    if (!concise_find_kind(map, "alg", CONCISE_TEXT, &alg) &&
        !concise_find_kind(claim, "alg", CONCISE_TEXT, &alg))
        return false;
    return concise_is_text(&alg, "sha256");
}

/* ---- the proofs ---- */

static bool check_signature(struct check *c)
{
    const struct concise_in *claim = &c->claim;
    X509 *leaf = sk_X509_value(c->chain, 0);
    struct concise_item item;
    struct digest digest;
    const char *unfit = certificate_unfit(leaf), *local;
    size_t len;

    if (unfit) {
        broken(c, "");
        snprintf(c->out->words, sizeof c->out->words, "the certificate cannot sign pictures: %s",
                 unfit);
        return false;
    }
    if (!concise_find_kind(*claim, "signature", CONCISE_TEXT, &item) ||
        !(local = local_part(&item, c->label, &len)) || len != strlen(C2PA_SIGNATURE) ||
        memcmp(local, C2PA_SIGNATURE, len) != 0)
        return broken(c, "the claim names another signature than its own");
    c->rc = cose_digest(c->cose.header, c->cose.header_len, claim->at,
                        (size_t)(claim->end - claim->at), &digest, c->e);
    if (c->rc)
        return false;
    if (!certificate_verify(leaf, &digest, c->cose.signature))
        return broken(c, "the signature does not fit the claim: one of them was changed");
    return true;
}

/* One entry of a list of assertions: { url, hash, maybe alg }, which *list stands before. */
static bool check_reference(struct check *c, struct concise_in *list, bool created)
{
    static const char FOLDER[] = C2PA_ASSERTIONS "/";
    struct concise_in entry = *list;
    struct concise_item url, hash;
    const char *local;
    size_t len;

    if (!concise_skip(list) || !concise_find_kind(entry, "url", CONCISE_TEXT, &url) ||
        !concise_find_kind(entry, "hash", CONCISE_BYTES, &hash) ||
        !(local = local_part(&url, c->label, &len)) || len < strlen(FOLDER) ||
        memcmp(local, FOLDER, strlen(FOLDER)) != 0)
        return broken(c, "the claim's list of assertions is malformed");
    local += strlen(FOLDER);
    len -= strlen(FOLDER);
    if (!is_sha256(entry, c->claim))
        return broken_assertion(c, local, len, "is hashed by another algorithm than sha256");
    for (size_t i = 0; i < c->count; i++) {
        struct assertion *a = &c->assertion[i];
        struct digest digest;

        if (strlen(a->box.label) != len || memcmp(a->box.label, local, len) != 0)
            continue;
        if (a->declared)
            return broken_assertion(c, local, len, "is named twice");
        digest = digest_of(a->box.body, a->box.body_len);
        if (hash.len != DIGEST_LEN || memcmp(hash.data, digest.bytes, DIGEST_LEN) != 0)
            return broken_assertion(c, local, len, "was changed");
        a->declared = true;
        a->created = created;
        return true;
    }
    return broken_assertion(c, local, len, "is missing");
}

static bool check_assertions(struct check *c)
{
    static const struct list {
        const char *name;
        bool created;
    } LISTS[] = { { "created_assertions", true }, { "gathered_assertions", false } };

    for (size_t k = 0; k < sizeof LISTS / sizeof LISTS[0]; k++) {
        struct concise_in list;
        struct concise_item head;

        if (!concise_find(c->claim, LISTS[k].name, &list))
            continue;
        if (!concise_next(&list, &head) || head.kind != CONCISE_ARRAY)
            return broken(c, "the claim's list of assertions is malformed");
        for (uint64_t i = 0; i < head.number; i++)
            if (!check_reference(c, &list, LISTS[k].created))
                return false;
    }
    for (size_t i = 0; i < c->count; i++) {
        const char *label = c->assertion[i].box.label;

        if (!c->assertion[i].declared)
            return broken_assertion(c, label, strlen(label), "is not in the claim");
    }
    return true;
}

static const struct assertion *find_assertion(const struct check *c, const char *label)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->assertion[i].box.label, label) == 0)
            return &c->assertion[i];
    return NULL;
}

static bool is_number(struct concise_in map, const char *key, size_t value)
{
    struct concise_item item;

    return concise_find_kind(map, key, CONCISE_NUMBER, &item) && item.number == value;
}

/* The hash leaves out the manifest's segments and nothing else: what more it left out could be
 * changed by anybody. */
static bool check_binding(struct check *c)
{
    const struct assertion *a = find_assertion(c, C2PA_HASH);
    size_t behind = c->store.start + c->store.span;
    struct concise_in map, list;
    struct concise_item head, hash;
    struct digest_state *state;
    struct digest digest;

    if (!a)
        return broken(c, "the manifest is not bound to the file by " C2PA_HASH);
    if (!jumbf_only_content(&a->box, "cbor", &map) || !is_sha256(map, c->claim) ||
        !concise_find_kind(map, "hash", CONCISE_BYTES, &hash) || hash.len != DIGEST_LEN ||
        !concise_find(map, "exclusions", &list) || !concise_next(&list, &head) ||
        head.kind != CONCISE_ARRAY)
        return broken(c, "the hash of the file is malformed or of a kind not checked here");
    if (head.number != 1 || !is_number(list, "start", c->store.start) ||
        !is_number(list, "length", c->store.span))
        return broken(c, "the hash of the file leaves out something else than the manifest");
    if (!(state = digest_create()))
        return failed(c, ERR_NOMEM, "no memory for a hash");
    digest_add(state, c->jpeg, c->store.start);
    digest_add(state, c->jpeg + behind, c->len - behind);
    digest = digest_finish(&state);
    if (memcmp(hash.data, digest.bytes, DIGEST_LEN) != 0)
        return broken(c, "the file was changed after it was signed, or the manifest is another "
                           "file's");
    return true;
}

static bool read_recipe(struct check *c)
{
    struct c2pa_finding *out = c->out;
    const struct assertion *a = find_assertion(c, C2PA_RECIPE);
    struct concise_in map;
    struct concise_item text, key;
    struct recipe recipe;
    struct digest digest;

    if (!a || !a->created)
        return true;                 /* not ours */
    if (!jumbf_only_content(&a->box, "cbor", &map) ||
        !concise_find_kind(map, "recipe", CONCISE_TEXT, &text) ||
        recipe_parse((const char *)text.data, text.len, &recipe, NULL))
        return broken(c, "the manifest's recipe is none");
    digest = digest_of(text.data, text.len);
    if (!concise_find_kind(map, "recipe_key", CONCISE_TEXT, &key) ||
        !concise_is_text(&key, digest_hex(&digest).text))
        return broken(c, "the manifest's recipe has another key");
    memcpy(out->recipe.text, text.data, text.len);   /* canonical, so it fits */
    out->recipe.text[text.len] = '\0';
    out->recipe.len = text.len;
    return true;
}

/* ---- whose it is ---- */

/* Gives false also where a certificate is malformed. */
static bool parse_chain(struct check *c)
{
    c->chain = sk_X509_new_null();
    if (!c->chain)
        return failed(c, ERR_NOMEM, "no memory for certificates");
    for (size_t i = 0; i < c->cose.chain.count; i++) {
        const uint8_t *at = c->cose.chain.cert[i].der, *end = at + c->cose.chain.cert[i].len;
        X509 *cert = d2i_X509(NULL, &at, (long)c->cose.chain.cert[i].len);

        if (!cert || at != end) {
            X509_free(cert);
            ERR_clear_error();
            return broken(c, "the signature's certificates are malformed");
        }
        if (!sk_X509_push(c->chain, cert)) {
            X509_free(cert);
            return failed(c, ERR_NOMEM, "no memory for certificates");
        }
    }
    return true;
}

static void judge_signer(struct check *c)
{
    struct c2pa_finding *out = c->out;
    X509 *leaf = sk_X509_value(c->chain, 0);
    int64_t now = clock_wall_ms() / 1000;
    struct certificate_days days;
    const char *why;

    certificate_name(leaf, out->signer, sizeof out->signer);
    if (!certificate_days(leaf, &days))
        snprintf(out->words, sizeof out->words, "its certificate has no dates");
    else if (now > days.until)
        snprintf(out->words, sizeof out->words,
                 "its certificate expired on %s, and nothing proves that it was signed before",
                 certificate_day(days.until).text);
    else if (now < days.from)
        snprintf(out->words, sizeof out->words, "its certificate is valid from %s on only",
                 certificate_day(days.from).text);
    else if (!c->trusted)
        snprintf(out->words, sizeof out->words, "no trusted certificates were given");
    else if (!certificate_is_below(leaf, c->chain, c->trusted, now, &why))
        snprintf(out->words, sizeof out->words,
                 "its certificate leads to none of the trusted ones: %s", why);
    else
        out->trusted = true;
}

/* ---- all of it ---- */

static void check_store(struct check *c)
{
    struct jumbf_super manifest;

    if (find_manifest(c, &manifest) && find_parts(c, &manifest) && parse_chain(c) &&
        check_signature(c) && check_assertions(c) && check_binding(c) && read_recipe(c)) {
        c->out->verdict = C2PA_VALID;
        judge_signer(c);
    }
}

enum err_code c2pa_check(const uint8_t *jpeg, size_t len, const char *trust_file,
                         struct c2pa_finding *out, struct err *e)
{
    struct check *c = calloc(1, sizeof *c);
    enum err_code rc;

    *out = (struct c2pa_finding){ .verdict = C2PA_NONE };
    if (!c)
        return err_set(e, ERR_NOMEM, "no memory for a manifest");
    *c = (struct check){ .jpeg = jpeg, .len = len, .out = out, .e = e };
    if (trust_file)
        c->rc = certificate_read(trust_file, &c->trusted, e);
    switch (c->rc ? JUMBF_NONE : jumbf_find_store(jpeg, len, &c->store)) {
    case JUMBF_NONE:
        break;
    case JUMBF_BROKEN:
        broken(c, c->store.why);
        break;
    case JUMBF_NOMEM:
        failed(c, ERR_NOMEM, "no memory for a manifest");
        break;
    default:
        check_store(c);
    }
    rc = c->rc;
    free(c->store.data);
    sk_X509_pop_free(c->chain, X509_free);
    sk_X509_pop_free(c->trusted, X509_free);
    free(c);
    return rc;
}
