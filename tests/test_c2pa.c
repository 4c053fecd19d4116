#include "base/c2pa.h"

#include "base/cose.h"
#include "base/credential.h"
#include "base/file.h"
#include "base/jumbf.h"
#include "base/mark.h"
#include "kernels/picture.h"
#include "tests/kit_certificate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum { SIDE = 24 };

/* ---- a picture maker with its authority ---- */

struct scene {
    struct temp temp;
    struct kit_certificate root, maker;
    struct temp_path trust, cert, key;
    struct c2pa_signer *signer;
};

static struct c2pa_signer *open_signer(const char *cert, const char *key)
{
    struct c2pa_signer *signer;
    struct err e;

    if (c2pa_signer_create(cert, key, &signer, &e))
        fail_msg("%s", e.msg);
    return signer;
}

static void open_scene(struct scene *s)
{
    struct certificate_wish wish = CERTIFICATE_WISH(&s->root);
    const struct kit_certificate *root = &s->root, *maker = &s->maker;

    s->temp = temp_create();
    s->root = certificate_make_root("Example Root");
    s->maker = certificate_make(&wish);
    s->trust = certificate_write(&s->temp, "root.pem", &root, 1);
    s->cert = certificate_write(&s->temp, "maker.pem", &maker, 1);
    s->key = certificate_write_key(&s->temp, "maker.key", maker, NULL);
    s->signer = open_signer(s->cert.text, s->key.text);
}

static void close_scene(struct scene *s)
{
    c2pa_signer_destroy(&s->signer);
    certificate_release(&s->maker);
    certificate_release(&s->root);
    temp_destroy(&s->temp);
}

/* ---- pictures ---- */

static struct recipe some_recipe(uint32_t seed)
{
    struct recipe recipe = { .seed = seed, .psi = 700000, .cutoff = 10, .class_index = -1,
                             .noise = RECIPE_NOISE_CONST, .width = SIDE, .height = SIDE,
                             .quality = 90, .mark = RECIPE_MARK_C2PA };

    memset(recipe.model.bytes, 0xa5, sizeof recipe.model.bytes);
    return recipe;
}

static struct picture unsigned_picture(uint32_t seed)
{
    static uint8_t rgb[SIDE * SIDE * 3];
    struct recipe recipe = some_recipe(seed);
    struct jpeg_encoder *encoder;
    struct picture picture;
    struct err e;

    fill_waves(rgb, SIDE, SIDE, (int)seed);
    assert_int_equal(jpeg_encoder_create(&encoder, &e), ERR_OK);
    assert_int_equal(picture_encode(encoder, &recipe, (struct picture_source){ .rgb = rgb },
                                    &picture, &e), ERR_OK);
    jpeg_encoder_destroy(&encoder);
    return picture;
}

static struct picture signed_picture(const struct c2pa_signer *signer, uint32_t seed)
{
    struct picture picture = unsigned_picture(seed);
    struct recipe recipe = some_recipe(seed);
    struct err e;

    if (picture_sign(signer, &recipe, &picture, &e))
        fail_msg("%s", e.msg);
    return picture;
}

static struct c2pa_finding check(const uint8_t *file, size_t len, const char *trust)
{
    struct c2pa_finding finding;
    struct err e;

    if (c2pa_check(file, len, trust, &finding, &e))
        fail_msg("%s", e.msg);
    return finding;
}

static struct c2pa_finding check_picture(const struct picture *picture, const char *trust)
{
    return check(picture->file, picture->len, trust);
}

static void assert_broken(const uint8_t *file, size_t len, const char *words)
{
    struct c2pa_finding finding = check(file, len, NULL);

    assert_int_equal(finding.verdict, C2PA_BROKEN);
    assert_false(finding.trusted);
    if (!strstr(finding.words, words))
        fail_msg("\"%s\" says nothing of \"%s\"", finding.words, words);
    assert_int_equal(finding.recipe.len, 0);
    assert_string_equal(finding.signer, "");
}

/* Where text stands in a file, at or behind from; it must be there. */
static size_t find(const struct picture *picture, size_t from, const void *text, size_t len)
{
    const uint8_t *at = memmem(picture->file + from, picture->len - from, text, len);

    assert_non_null(at);
    return (size_t)(at - picture->file);
}

static size_t find_text(const struct picture *picture, size_t from, const char *text)
{
    return find(picture, from, text, strlen(text));
}

/* The manifest's segments in a signed picture: what it is longer by than unsigned. */
struct span {
    size_t start, len;
};

static struct span span_of(const struct picture *picture, uint32_t seed)
{
    struct picture bare = unsigned_picture(seed);
    struct span span = { find(picture, 0, "JP\0\1\0\0\0\1", 8) - 4, picture->len - bare.len };

    picture_release(&bare);
    return span;
}

/* from's manifest in place of to's, which may be none (len 0). */
static struct picture with_manifest(const struct picture *to, struct span out,
                                    const struct picture *from, struct span in)
{
    struct picture made = { .len = to->len - out.len + in.len };

    made.file = malloc(made.len);
    assert_non_null(made.file);
    memcpy(made.file, to->file, out.start);
    memcpy(made.file + out.start, from->file + in.start, in.len);
    memcpy(made.file + out.start + in.len, to->file + out.start + out.len,
           to->len - out.start - out.len);
    return made;
}

/* ---- as made ---- */

static void a_signed_picture_is_valid_and_says_what_and_who_made_it(void **state)
{
    struct recipe recipe = some_recipe(1);
    struct recipe_text text = recipe_text(&recipe);
    struct c2pa_finding finding;
    struct picture picture;
    struct scene s;

    (void)state;
    open_scene(&s);
    picture = signed_picture(s.signer, 1);
    finding = check_picture(&picture, s.trust.text);
    assert_int_equal(finding.verdict, C2PA_VALID);
    assert_true(finding.trusted);
    assert_string_equal(finding.words, "");
    assert_string_equal(finding.signer, "Picture Maker, Example Pictures");
    assert_int_equal(finding.recipe.len, text.len);
    assert_string_equal(finding.recipe.text, text.text);

    finding = check_picture(&picture, NULL);
    assert_int_equal(finding.verdict, C2PA_VALID);
    assert_false(finding.trusted);
    assert_non_null(strstr(finding.words, "no trusted certificates"));
    picture_release(&picture);
    close_scene(&s);
}

static void the_picture_its_core_hash_and_its_xmp_stay_as_they_are(void **state)
{
    struct picture bare = unsigned_picture(1), picture;
    struct recipe_text text;
    struct digest core;
    struct span span;
    struct scene s;

    (void)state;
    open_scene(&s);
    picture = signed_picture(s.signer, 1);
    span = span_of(&picture, 1);
    assert_memory_equal(picture.file, bare.file, span.start);
    assert_memory_equal(picture.file + span.start + span.len, bare.file + span.start,
                        bare.len - span.start);
    assert_true(span.start > find_text(&picture, 0, "seedpress:Recipe"));
    assert_int_equal(picture.file[span.start], 0xff);
    assert_int_equal(picture.file[span.start + 1], 0xeb);

    assert_true(mark_core_sha256(picture.file, picture.len, &core));
    assert_true(digest_equal(&core, &bare.core_sha));
    assert_true(digest_equal(&picture.core_sha, &bare.core_sha));
    assert_false(digest_equal(&picture.file_sha, &bare.file_sha));
    core = digest_of(picture.file, picture.len);
    assert_true(digest_equal(&picture.file_sha, &core));
    assert_true(mark_find(picture.file, picture.len, &text));
    picture_release(&picture);
    picture_release(&bare);
    close_scene(&s);
}

static void what_has_no_manifest_has_none(void **state)
{
    static const uint8_t PNG[] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
    struct picture bare = unsigned_picture(1);

    (void)state;
    assert_int_equal(check(PNG, sizeof PNG, NULL).verdict, C2PA_NONE);
    assert_int_equal(check_picture(&bare, NULL).verdict, C2PA_NONE);
    assert_int_equal(check(bare.file, 0, NULL).verdict, C2PA_NONE);
    picture_release(&bare);
}

/* Certificates with a long comment: each adds 16 KB to the chain. */
static void a_manifest_beyond_64_kb_goes_into_several_segments(void **state)
{
    enum { LINKS = 6, COMMENT = 16000 };
    static char comment[COMMENT + 1];
    struct kit_certificate chain[LINKS];
    const struct kit_certificate *list[LINKS];
    struct temp_path cert, key;
    struct c2pa_signer *signer;
    struct picture picture;
    struct scene s;

    (void)state;
    open_scene(&s);
    memset(comment, 'c', COMMENT);
    for (int i = 0; i < LINKS; i++) {
        struct certificate_wish wish = CERTIFICATE_WISH(i ? &chain[i - 1] : &s.root);

        wish.is_authority = i < LINKS - 1;
        wish.name = wish.is_authority ? "Example Link" : "Picture Maker";
        wish.usage = wish.is_authority ? "critical,keyCertSign" : wish.usage;
        wish.purpose = wish.is_authority ? NULL : wish.purpose;
        wish.comment = comment;
        chain[i] = certificate_make(&wish);
        list[LINKS - 1 - i] = &chain[i];
    }
    cert = certificate_write(&s.temp, "chain.pem", list, LINKS);
    key = certificate_write_key(&s.temp, "chain.key", list[0], NULL);
    signer = open_signer(cert.text, key.text);
    picture = signed_picture(signer, 1);
    assert_true(picture.len > LINKS * COMMENT);
    find(&picture, 65535, "JP\0\1\0\0\0\2", 8);
    assert_true(check_picture(&picture, s.trust.text).trusted);

    struct digest core;

    assert_true(mark_core_sha256(picture.file, picture.len, &core));
    assert_true(digest_equal(&core, &picture.core_sha));
    /* A stranger between two of them would be left out of the hash as well. */
    struct picture stranger = { .file = (uint8_t[]){ 0xff, 0xfe, 0, 4, 'h', 'i' } }, made;
    size_t second = find(&picture, 65535, "JP\0\1\0\0\0\2", 8);

    made = with_manifest(&picture, (struct span){ second - 4, 0 }, &stranger,
                         (struct span){ 0, 6 });
    assert_broken(made.file, made.len, "not one box");
    picture_release(&made);
    picture.file[second + 7] = 3;
    assert_broken(picture.file, picture.len, "not one box");
    picture_release(&picture);
    c2pa_signer_destroy(&signer);
    for (int i = 0; i < LINKS; i++)
        certificate_release(&chain[i]);
    close_scene(&s);
}

struct writer {
    pthread_t thread;
    const struct c2pa_signer *signer;
    struct picture bare;
    uint8_t *file[20];
    size_t len[20];
};

static void *sign_many(void *arg)
{
    struct writer *w = arg;
    struct recipe recipe = some_recipe(1);
    struct recipe_text text = recipe_text(&recipe);
    struct c2pa_unsigned file = { w->bare.file, w->bare.len, w->bare.file_sha };
    struct err e;

    for (size_t i = 0; i < COUNT(w->file); i++)
        if (c2pa_sign(w->signer, &text, &file, &w->file[i], &w->len[i], &e))
            w->file[i] = NULL;
    return NULL;
}

static void threads_share_a_signer(void **state)
{
    struct writer writers[4];
    struct scene s;

    (void)state;
    open_scene(&s);
    for (size_t i = 0; i < COUNT(writers); i++) {
        writers[i] = (struct writer){ .signer = s.signer, .bare = unsigned_picture(1) };
        assert_int_equal(pthread_create(&writers[i].thread, NULL, sign_many, &writers[i]), 0);
    }
    for (size_t i = 0; i < COUNT(writers); i++) {
        assert_int_equal(pthread_join(writers[i].thread, NULL), 0);
        for (size_t k = 0; k < COUNT(writers[i].file); k++) {
            assert_non_null(writers[i].file[k]);
            assert_true(check(writers[i].file[k], writers[i].len[k], s.trust.text).trusted);
            free(writers[i].file[k]);
        }
        picture_release(&writers[i].bare);
    }
    close_scene(&s);
}

/* ---- tampering ---- */

static void every_changed_byte_is_found(void **state)
{
    struct picture picture;
    struct scene s;
    struct span span;

    (void)state;
    open_scene(&s);
    picture = signed_picture(s.signer, 1);
    span = span_of(&picture, 1);
    for (size_t i = 0; i < picture.len; i++) {
        uint8_t flip = i % 2 ? 0x80 : 0x01;

        /* The box's number is only to tell it from others: not signed, and without meaning. */
        if (i == span.start + 6 || i == span.start + 7)
            continue;
        picture.file[i] ^= flip;
        if (check_picture(&picture, NULL).verdict == C2PA_VALID)
            fail_msg("byte %zu of %zu changed, and nobody saw it", i, picture.len);
        picture.file[i] ^= flip;
    }
    assert_true(check_picture(&picture, s.trust.text).trusted);
    picture_release(&picture);
    close_scene(&s);
}

static void each_kind_of_tampering_is_named(void **state)
{
    static const struct kind {
        const char *at;             /* the first one behind the manifest's start */
        const char *words;
    } KINDS[] = {
        { "trainedAlgorithmicMedia", "the assertion \"c2pa.actions.v2\" was changed" },
        { "latent=seed:", "the assertion \"seedpress.recipe\" was changed" },
        { "jumbf manifest", "the assertion \"c2pa.hash.data\" was changed" },
        { "xmp:iid:", "the signature does not fit the claim" },
        { "created_assertions", "the signature does not fit the claim" },
    };
    struct picture picture;
    struct scene s;
    struct span span;

    (void)state;
    open_scene(&s);
    picture = signed_picture(s.signer, 1);
    span = span_of(&picture, 1);
    for (size_t k = 0; k < COUNT(KINDS); k++) {
        size_t at = find_text(&picture, span.start, KINDS[k].at) + strlen(KINDS[k].at) - 1;

        picture.file[at] ^= 1;
        assert_broken(picture.file, picture.len, KINDS[k].words);
        picture.file[at] ^= 1;
    }
    picture.file[picture.len - 20] ^= 1;                     /* of the scan */
    assert_broken(picture.file, picture.len, "the file was changed after it was signed");
    picture.file[picture.len - 20] ^= 1;
    picture.file[find_text(&picture, 0, "seedpress:Recipe")] ^= 1;       /* of the XMP */
    assert_broken(picture.file, picture.len, "the file was changed after it was signed");
    picture_release(&picture);
    close_scene(&s);
}

static void a_cut_file_is_never_valid(void **state)
{
    struct picture picture;
    struct scene s;

    (void)state;
    open_scene(&s);
    picture = signed_picture(s.signer, 1);
    for (size_t len = 0; len < picture.len; len += 7) {
        uint8_t *cut = malloc(len ? len : 1);                /* its own size: ASan sees beyond */

        assert_non_null(cut);
        memcpy(cut, picture.file, len);
        assert_int_not_equal(check(cut, len, s.trust.text).verdict, C2PA_VALID);
        free(cut);
    }
    picture_release(&picture);
    close_scene(&s);
}

static void a_manifest_of_another_file_and_a_second_one_are_found(void **state)
{
    struct picture one, two, made;
    struct span of_one, of_two;
    struct scene s;

    (void)state;
    open_scene(&s);
    one = signed_picture(s.signer, 1);
    two = signed_picture(s.signer, 2);
    of_one = span_of(&one, 1);
    of_two = span_of(&two, 2);
    made = with_manifest(&two, of_two, &one, of_one);
    assert_broken(made.file, made.len, "the manifest is another file's");
    picture_release(&made);
    made = with_manifest(&one, (struct span){ of_one.start + of_one.len, 0 }, &one, of_one);
    assert_broken(made.file, made.len, "two manifest stores");
    picture_release(&made);
    picture_release(&one);
    picture_release(&two);
    close_scene(&s);
}

static size_t der_of(const struct kit_certificate *cert, uint8_t **out)
{
    int len;

    *out = NULL;
    len = i2d_X509(cert->cert, out);
    assert_true(len > 0);
    return (size_t)len;
}

static void another_certificate_does_not_fit_the_signature(void **state)
{
    struct kit_certificate other = { NULL, NULL };
    uint8_t *der, *other_der = NULL;
    size_t len, other_len = 0;
    struct picture picture;
    struct scene s;

    (void)state;
    open_scene(&s);
    picture = signed_picture(s.signer, 1);
    len = der_of(&s.maker, &der);
    while (other_len != len) {                               /* a signature is 70 to 72 bytes */
        struct certificate_wish wish = CERTIFICATE_WISH(&s.root);

        certificate_release(&other);
        OPENSSL_free(other_der);
        other = certificate_make(&wish);
        other_len = der_of(&other, &other_der);
    }
    memcpy(picture.file + find(&picture, 0, der, len), other_der, len);
    assert_broken(picture.file, picture.len, "the signature does not fit the claim");
    OPENSSL_free(der);
    OPENSSL_free(other_der);
    certificate_release(&other);
    picture_release(&picture);
    close_scene(&s);
}

/* ---- manifests that a signer with a good certificate could write ---- */

enum forgery { GOOD, LEAVES_OUT_MORE, TWO_EXCLUSIONS, NO_HASH, UNDECLARED, NAMED_TWICE, BOX_TWICE,
               MISSING, OTHER_ALGORITHM, OTHER_SIGNATURE, NO_RECIPE, OTHER_KEY, GATHERED };

struct forge {
    enum forgery how;
    struct concise_out out;
    struct recipe_text recipe;
    struct digest file_sha, digests[4];
    size_t start, span, claim, claim_end;
    uint8_t header[4096];
    size_t header_len;
};

static const char *const LABELS[4] = { "c2pa.actions.v2", "seedpress.recipe", "c2pa.hash.data",
                                       "other.thing" };

static void forge_recipe(struct forge *f)
{
    struct digest key = digest_of(f->recipe.text, f->recipe.len);

    key.bytes[0] ^= f->how == OTHER_KEY;
    concise_put_map(&f->out, 2);
    concise_put_text(&f->out, "recipe");
    concise_put_text(&f->out, f->how == NO_RECIPE ? "a portrait in oil" : f->recipe.text);
    concise_put_text(&f->out, "recipe_key");
    concise_put_text(&f->out, digest_hex(&key).text);
}

static void forge_hash(struct forge *f)
{
    size_t count = f->how == TWO_EXCLUSIONS ? 2 : 1;

    concise_put_map(&f->out, 3);
    concise_put_text(&f->out, "alg");
    concise_put_text(&f->out, "sha256");
    concise_put_text(&f->out, "hash");
    concise_put_bytes(&f->out, f->file_sha.bytes, DIGEST_LEN);
    concise_put_text(&f->out, "exclusions");
    concise_put_array(&f->out, count);
    for (size_t i = 0; i < count; i++) {
        concise_put_map(&f->out, 2);
        concise_put_text(&f->out, "start");
        concise_put_number(&f->out, (int64_t)(f->start + i * f->span));
        concise_put_text(&f->out, "length");
        concise_put_number(&f->out, (int64_t)f->span + (f->how == LEAVES_OUT_MORE));
    }
}

static void forge_assertion(struct forge *f, int which)
{
    size_t box = jumbf_open(&f->out, "cbor", f->how == NO_HASH && which == 2 ? "other.hash"
                                                                            : LABELS[which]);
    size_t content = jumbf_open_content(&f->out, "cbor");

    if (which == 1)
        forge_recipe(f);
    else if (which == 2)
        forge_hash(f);
    else
        concise_put_map(&f->out, 0);
    jumbf_close(&f->out, content);
    jumbf_close(&f->out, box);
    f->digests[which] = jumbf_digest(&f->out, box);
}

static void forge_reference(struct forge *f, int which)
{
    char url[80];

    snprintf(url, sizeof url, "self#jumbf=c2pa.assertions/%s",
             f->how == NO_HASH && which == 2 ? "other.hash" : LABELS[which]);
    concise_put_map(&f->out, 2);
    concise_put_text(&f->out, "url");
    concise_put_text(&f->out, url);
    concise_put_text(&f->out, "hash");
    concise_put_bytes(&f->out, f->digests[which].bytes, DIGEST_LEN);
}

static void forge_claim(struct forge *f)
{
    bool gathers = f->how == GATHERED;
    size_t box = jumbf_open(&f->out, "c2cl", "c2pa.claim.v2");
    size_t content = jumbf_open_content(&f->out, "cbor");

    f->claim = f->out.len;
    concise_put_map(&f->out, gathers ? 4 : 3);
    concise_put_text(&f->out, "alg");
    concise_put_text(&f->out, f->how == OTHER_ALGORITHM ? "sha512" : "sha256");
    concise_put_text(&f->out, "signature");
    concise_put_text(&f->out, f->how == OTHER_SIGNATURE
                                  ? "self#jumbf=/c2pa/urn:c2pa:other/c2pa.signature"
                                  : "self#jumbf=c2pa.signature");
    concise_put_text(&f->out, "created_assertions");
    concise_put_array(&f->out, gathers ? 2 : f->how == NAMED_TWICE || f->how == MISSING ? 4 : 3);
    forge_reference(f, 0);
    forge_reference(f, 2);
    if (f->how == NAMED_TWICE || f->how == MISSING)
        forge_reference(f, f->how == MISSING ? 3 : 0);
    if (gathers) {
        concise_put_text(&f->out, "gathered_assertions");
        concise_put_array(&f->out, 1);
    }
    forge_reference(f, 1);
    f->claim_end = f->out.len;
    jumbf_close(&f->out, content);
    jumbf_close(&f->out, box);
}

static void forge_store(struct forge *f)
{
    size_t store, manifest, box, content;

    f->out.len = 0;
    store = jumbf_open(&f->out, "c2pa", "c2pa");
    manifest = jumbf_open(&f->out, "c2ma", "urn:c2pa:forged");
    box = jumbf_open(&f->out, "c2as", "c2pa.assertions");
    for (int i = 0; i < 3; i++)
        forge_assertion(f, i);
    if (f->how == UNDECLARED || f->how == BOX_TWICE)
        forge_assertion(f, f->how == UNDECLARED ? 3 : 0);
    jumbf_close(&f->out, box);
    forge_claim(f);
    box = jumbf_open(&f->out, "c2cs", "c2pa.signature");
    content = jumbf_open_content(&f->out, "cbor");
    cose_put(&f->out, f->header, f->header_len);
    jumbf_close(&f->out, content);
    jumbf_close(&f->out, box);
    jumbf_close(&f->out, manifest);
    jumbf_close(&f->out, store);
    assert_false(f->out.full);
}

static void sign_forgery(const struct scene *s, struct forge *f)
{
    struct credential *credential;
    struct concise_out header = { f->header, 0, sizeof f->header, false };
    struct digest digest;
    struct err e;

    assert_int_equal(credential_create(s->cert.text, s->key.text, &credential, &e), ERR_OK);
    cose_put_protected(&header, credential);
    f->header_len = header.len;
    for (size_t span = 1; f->span != span;) {
        span = f->span;
        forge_store(f);
        f->span = jumbf_segments_len(f->out.len);
    }
    assert_int_equal(cose_digest(f->header, f->header_len, f->out.data + f->claim,
                                 f->claim_end - f->claim, &digest, &e), ERR_OK);
    assert_int_equal(credential_sign(credential, &digest,
                                     f->out.data + f->out.len - CREDENTIAL_SIGNATURE_LEN, &e),
                     ERR_OK);
    credential_destroy(&credential);
}

/* bare with a manifest of that kind. */
static struct picture forged_picture(const struct scene *s, const struct picture *bare,
                                     enum forgery how)
{
    static uint8_t store[16384], segments[16384];
    static struct forge f;
    struct recipe recipe = some_recipe(1);
    struct picture manifest = { .file = segments };
    struct span none = { 0, 0 };

    f = (struct forge){ .how = how, .out = { store, 0, sizeof store, false },
                        .recipe = recipe_text(&recipe), .file_sha = bare->file_sha };
    f.start = none.start = find(bare, 0, "\xff\xdb", 2);     /* behind XMP comes DQT */
    sign_forgery(s, &f);
    assert_true(f.span <= sizeof segments);
    jumbf_write_segments(store, f.out.len, segments);
    return with_manifest(bare, none, &manifest, (struct span){ 0, f.span });
}

static void a_signed_manifest_that_does_not_prove_the_file_is_refused(void **state)
{
    static const struct {
        enum forgery how;
        const char *words;
    } CASES[] = {
        { LEAVES_OUT_MORE, "leaves out something else than the manifest" },
        { TWO_EXCLUSIONS, "leaves out something else than the manifest" },
        { NO_HASH, "not bound to the file" },
        { UNDECLARED, "the assertion \"other.thing\" is not in the claim" },
        { NAMED_TWICE, "the assertion \"c2pa.actions.v2\" is named twice" },
        { BOX_TWICE, "the assertion \"c2pa.actions.v2\" is there twice" },
        { MISSING, "the assertion \"other.thing\" is missing" },
        { OTHER_ALGORITHM, "another algorithm than sha256" },
        { OTHER_SIGNATURE, "names another signature than its own" },
        { NO_RECIPE, "recipe is none" },
        { OTHER_KEY, "recipe has another key" },
    };
    struct picture bare = unsigned_picture(1), forged;
    struct c2pa_finding finding;
    struct scene s;

    (void)state;
    open_scene(&s);
    for (size_t i = 0; i < COUNT(CASES); i++) {
        forged = forged_picture(&s, &bare, CASES[i].how);
        assert_broken(forged.file, forged.len, CASES[i].words);
        picture_release(&forged);
    }
    forged = forged_picture(&s, &bare, GOOD);
    finding = check_picture(&forged, s.trust.text);
    assert_string_equal(finding.words, "");
    assert_true(finding.trusted);
    assert_true(finding.recipe.len > 0);
    picture_release(&forged);
    forged = forged_picture(&s, &bare, GATHERED);            /* not what the signer says itself */
    finding = check_picture(&forged, s.trust.text);
    assert_int_equal(finding.verdict, C2PA_VALID);
    assert_int_equal(finding.recipe.len, 0);
    picture_release(&forged);
    picture_release(&bare);
    close_scene(&s);
}

/* ---- whom to trust ---- */

static void only_what_leads_to_a_given_certificate_is_trusted(void **state)
{
    struct kit_certificate stranger = certificate_make_root("Stranger");
    const struct kit_certificate *other = &stranger, *maker;
    struct c2pa_finding finding;
    struct temp_path path;
    struct picture picture;
    struct scene s;
    struct err e;

    (void)state;
    open_scene(&s);
    maker = &s.maker;
    picture = signed_picture(s.signer, 1);
    path = certificate_write(&s.temp, "other.pem", &other, 1);
    finding = check_picture(&picture, path.text);
    assert_int_equal(finding.verdict, C2PA_VALID);
    assert_false(finding.trusted);
    assert_non_null(strstr(finding.words, "leads to none of the trusted ones"));
    path = certificate_write(&s.temp, "itself.pem", &maker, 1);
    assert_true(check_picture(&picture, path.text).trusted);

    path = temp_path(&s.temp, "missing.pem");
    assert_int_equal(c2pa_check(picture.file, picture.len, path.text, &finding, &e), ERR_FILE);
    assert_non_null(strstr(e.msg, "missing.pem"));
    assert_int_equal(c2pa_check(picture.file, picture.len, s.key.text, &finding, &e), ERR_FILE);
    assert_non_null(strstr(e.msg, "holds no certificate"));
    picture_release(&picture);
    certificate_release(&stranger);
    close_scene(&s);
}

/* A certificate of some seconds: it is asked until they are over. */
static void an_expired_certificate_signs_nothing_and_is_not_trusted(void **state)
{
    struct certificate_wish wish;
    struct c2pa_finding finding;
    struct kit_certificate brief = { NULL, NULL };
    const struct kit_certificate *list = &brief;
    struct c2pa_signer *signer = NULL;
    struct picture picture;
    struct recipe recipe = some_recipe(1);
    struct scene s;
    struct err e;

    (void)state;
    open_scene(&s);
    picture = unsigned_picture(1);
    for (long seconds = 2; !signer; seconds *= 2) {          /* longer on a machine that stalls */
        struct temp_path cert, key;

        certificate_release(&brief);
        wish = CERTIFICATE_WISH(&s.root);
        wish.until_s = seconds;
        brief = certificate_make(&wish);
        cert = certificate_write(&s.temp, "brief.pem", &list, 1);
        key = certificate_write_key(&s.temp, "brief.key", &brief, NULL);
        if (c2pa_signer_create(cert.text, key.text, &signer, &e))
            continue;
        if (picture_sign(signer, &recipe, &picture, &e))
            c2pa_signer_destroy(&signer);
    }
    while (c2pa_signer_check(signer, &e) == ERR_OK)
        ;
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "expired on 20"));
    finding = check_picture(&picture, s.trust.text);
    assert_int_equal(finding.verdict, C2PA_VALID);
    assert_false(finding.trusted);
    assert_non_null(strstr(finding.words, "expired on 20"));
    picture_release(&picture);
    picture = unsigned_picture(1);
    assert_int_equal(picture_sign(signer, &recipe, &picture, &e), ERR_UNSUPPORTED);
    assert_int_equal(check_picture(&picture, NULL).verdict, C2PA_NONE);
    picture_release(&picture);
    c2pa_signer_destroy(&signer);
    certificate_release(&brief);
    close_scene(&s);
}

/* ---- what is no signer ---- */

static void assert_no_signer(const char *cert, const char *key, const char *words)
{
    struct c2pa_signer *signer;
    struct err e;

    if (c2pa_signer_create(cert, key, &signer, &e) != ERR_FILE)
        fail_msg("taken, or refused without \"%s\"", words);
    assert_null(signer);
    if (!strstr(e.msg, words))
        fail_msg("\"%s\" says nothing of \"%s\"", e.msg, words);
}

static void a_certificate_that_cannot_sign_is_refused_with_the_reason(void **state)
{
    struct scene s;

    (void)state;
    open_scene(&s);
    for (int k = 0; k < 9; k++) {
        static const char *const WORDS[] = {
            "expired on 20", "valid from 20", "not on the curve P-256", "key usage", "key usage",
            "extended key usage", "an authority's", "authorityKeyIdentifier", "signed itself",
        };
        struct certificate_wish wish = CERTIFICATE_WISH(&s.root);
        struct kit_certificate made;
        const struct kit_certificate *list = &made;
        struct temp_path cert, key;

        wish.until_s = k == 0 ? -1 : wish.until_s;
        wish.from_s = k == 1 ? 3600 : wish.from_s;
        wish.curve = k == 2 ? "P-384" : wish.curve;
        wish.usage = k == 3 ? "keyAgreement" : k == 4 ? NULL : wish.usage;
        wish.purpose = k == 5 ? "serverAuth" : wish.purpose;
        wish.is_authority = k == 6;
        wish.without_key_id = k == 7;
        wish.issuer = k == 8 ? NULL : wish.issuer;
        made = certificate_make(&wish);
        cert = certificate_write(&s.temp, "flawed.pem", &list, 1);
        key = certificate_write_key(&s.temp, "flawed.key", &made, NULL);
        assert_no_signer(cert.text, key.text, WORDS[k]);
        assert_no_signer(cert.text, key.text, "flawed.pem");
        certificate_release(&made);
    }
    close_scene(&s);
}

static void files_that_are_no_pair_are_refused_with_the_reason(void **state)
{
    const struct kit_certificate *wrong_order[2];
    struct kit_certificate other;
    struct certificate_wish wish;
    struct temp_path path;
    struct scene s;
    struct err e;

    (void)state;
    open_scene(&s);
    wish = CERTIFICATE_WISH(&s.root);
    other = certificate_make(&wish);
    path = certificate_write_key(&s.temp, "other.key", &other, NULL);
    assert_no_signer(s.cert.text, path.text, "is not the key of certificate");
    path = certificate_write_key(&s.temp, "locked.key", &s.maker, "secret");
    assert_no_signer(s.cert.text, path.text, "locked.key\" is encrypted");
    assert_no_signer(s.cert.text, s.cert.text, "open to others");
    assert_int_equal(chmod(s.cert.text, 0600), 0);
    assert_no_signer(s.cert.text, s.cert.text, "holds no private key");
    assert_no_signer(s.key.text, s.key.text, "holds no certificate");
    path = temp_path(&s.temp, "missing");
    assert_no_signer(path.text, s.key.text, "missing");
    assert_no_signer(s.cert.text, path.text, "missing");
    assert_int_equal(chmod(s.key.text, 0640), 0);
    assert_no_signer(s.cert.text, s.key.text, "chmod 600");
    assert_int_equal(chmod(s.key.text, 0600), 0);
    wrong_order[0] = &s.maker;
    wrong_order[1] = &other;
    path = certificate_write(&s.temp, "order.pem", wrong_order, 2);
    assert_no_signer(path.text, s.key.text, "did not issue the one before it");
    path = temp_path(&s.temp, "damaged.pem");
    assert_int_equal(file_write_atomic(path.text, "-----BEGIN CERTIFICATE-----\nAAAA\n"
                                       "-----END CERTIFICATE-----\n", 59, &e), ERR_OK);
    assert_no_signer(path.text, s.key.text, "damaged");
    certificate_release(&other);
    close_scene(&s);
}

static void without_a_signer_and_on_what_is_signed_nothing_is_signed(void **state)
{
    struct recipe recipe = some_recipe(1);
    struct recipe_text text = recipe_text(&recipe);
    struct picture picture = unsigned_picture(1);
    struct c2pa_unsigned gif = { (const uint8_t *)"GIF89a", 6, digest_of("GIF89a", 6) };
    struct scene s;
    struct err e;
    uint8_t *out;
    size_t len;

    (void)state;
    open_scene(&s);
    assert_int_equal(picture_sign(NULL, &recipe, &picture, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "none is set up"));
    recipe.mark = RECIPE_MARK_XMP;
    assert_int_equal(picture_sign(NULL, &recipe, &picture, &e), ERR_OK);
    assert_int_equal(check_picture(&picture, NULL).verdict, C2PA_NONE);
    assert_int_equal(c2pa_sign(s.signer, &text, &gif, &out, &len, &e), ERR_INVALID);
    assert_null(out);
    recipe.mark = RECIPE_MARK_C2PA;
    assert_int_equal(picture_sign(s.signer, &recipe, &picture, &e), ERR_OK);
    assert_int_equal(picture_sign(s.signer, &recipe, &picture, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "has a manifest already"));
    assert_true(check_picture(&picture, s.trust.text).trusted);
    picture_release(&picture);
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signed_picture_is_valid_and_says_what_and_who_made_it),
        cmocka_unit_test(the_picture_its_core_hash_and_its_xmp_stay_as_they_are),
        cmocka_unit_test(what_has_no_manifest_has_none),
        cmocka_unit_test(a_manifest_beyond_64_kb_goes_into_several_segments),
        cmocka_unit_test(threads_share_a_signer),
        cmocka_unit_test(every_changed_byte_is_found),
        cmocka_unit_test(each_kind_of_tampering_is_named),
        cmocka_unit_test(a_cut_file_is_never_valid),
        cmocka_unit_test(a_manifest_of_another_file_and_a_second_one_are_found),
        cmocka_unit_test(another_certificate_does_not_fit_the_signature),
        cmocka_unit_test(a_signed_manifest_that_does_not_prove_the_file_is_refused),
        cmocka_unit_test(only_what_leads_to_a_given_certificate_is_trusted),
        cmocka_unit_test(an_expired_certificate_signs_nothing_and_is_not_trusted),
        cmocka_unit_test(a_certificate_that_cannot_sign_is_refused_with_the_reason),
        cmocka_unit_test(files_that_are_no_pair_are_refused_with_the_reason),
        cmocka_unit_test(without_a_signer_and_on_what_is_signed_nothing_is_signed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
