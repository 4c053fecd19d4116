/* c2pa -- Content Credentials: a signed manifest inside a JPEG (JUMBF in APP11 segments) that says
 * that a trained model made it and with which recipe, bound to the file by a hash. Signed with
 * ES256 and a certificate that the operator gives. C2PA specification 2.1, claim v2. */
#ifndef BASE_C2PA_H
#define BASE_C2PA_H

#include "proto/err.h"
#include "proto/recipe.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct c2pa_signer;                 /* may be used by several threads at once */

/* From PEM files: the certificate (with its chain after it) and its private key on P-256. ERR_FILE:
 * unreadable, not PEM, not P-256, key and certificate are no pair, not valid now (with the dates),
 * not allowed to sign (key usage); the words name the file and what to do. */
enum err_code c2pa_signer_create(const char *cert_file, const char *key_file,
                                 struct c2pa_signer **out, struct err *e);
void c2pa_signer_destroy(struct c2pa_signer **self);
struct c2pa_signer_facts {
    char name[128];                 /* common name and organisation, in printable ASCII */
    char until[24];                 /* "2026-11-22", the last day of the certificate */
    int64_t days_left;              /* whole ones; negative: it has expired */
};
struct c2pa_signer_facts c2pa_signer_facts(const struct c2pa_signer *self);
/* ERR_UNSUPPORTED: self is NULL (no certificate is set up), or the certificate has expired. */
enum err_code c2pa_signer_check(const struct c2pa_signer *self, struct err *e);

struct c2pa_unsigned {
    const uint8_t *jpeg;
    size_t len;
    struct digest sha;              /* of jpeg: what the manifest binds itself to */
};
/* The file with a manifest for recipe, behind JFIF, Exif and XMP; *out is the caller's to free().
 * The picture's core hash stays the same; the file is another one each time. ERR_UNSUPPORTED as
 * above, ERR_INVALID (no JPEG, or one with a manifest), ERR_NOMEM, ERR_BUG. On failure *out is
 * NULL. */
enum err_code c2pa_sign(const struct c2pa_signer *self, const struct recipe_text *recipe,
                        const struct c2pa_unsigned *file, uint8_t **out, size_t *out_len,
                        struct err *e);

enum c2pa_verdict {
    C2PA_NONE,                      /* no manifest */
    C2PA_VALID,                     /* signature and hashes hold */
    C2PA_BROKEN,                    /* there is one, but something does not hold: words say what */
};
struct c2pa_finding {
    enum c2pa_verdict verdict;
    bool trusted;                   /* VALID and signed below one of the given certificates, all of
                                       them valid now: a manifest does not prove when it was made */
    char words[200];                /* BROKEN: what does not hold; VALID: why it is not trusted */
    char signer[128];               /* VALID: common name and organisation, as the certificate says,
                                       in printable ASCII */
    struct recipe_text recipe;      /* VALID and ours: what it says; len 0: not ours */
};
/* Of a JPEG with several manifests (other programs add theirs) the last one counts. One that is
 * bound to the file or signed in another way than c2pa_sign's, or whose hash leaves more of the
 * file out than the manifest itself, is BROKEN. Every byte is hostile. trust_file: PEM certificates
 * that are trusted; NULL: none is. ERR_FILE: of trust_file; ERR_NOMEM. */
enum err_code c2pa_check(const uint8_t *jpeg, size_t len, const char *trust_file,
                         struct c2pa_finding *out, struct err *e);

#endif
