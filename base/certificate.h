/* certificate -- X.509 as signing pictures needs it: what a certificate may do, how long, who it
 * says it is, and whether a chain of them ends at one that is trusted. OpenSSL does the work; this
 * header shows its types, so only the modules that sign and check include it. */
#ifndef BASE_CERTIFICATE_H
#define BASE_CERTIFICATE_H

#include "proto/digest.h"
#include "proto/err.h"

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CERTIFICATE_FILE_MAX = 256 << 10,   /* bytes of a PEM file */
    CERTIFICATE_COUNT_MAX = 256,        /* certificates in it */
};

/* Every certificate of a PEM file, in its order. On success *out is the caller's to
 * sk_X509_pop_free(, X509_free); on failure it is NULL. ERR_FILE (unreadable, none in it, more than
 * CERTIFICATE_COUNT_MAX, one that is damaged), ERR_NOMEM. */
enum err_code certificate_read(const char *path, STACK_OF(X509) **out, struct err *e);

struct certificate_days {
    int64_t from, until;            /* seconds since 1970; valid in [from, until] */
};
/* False when the certificate's dates are none. */
bool certificate_days(const X509 *cert, struct certificate_days *out);

struct certificate_day {
    char text[24];                  /* "2026-11-22" */
};
struct certificate_day certificate_day(int64_t seconds);

/* Why a certificate may not sign a picture, by C2PA 2.1, 14.5.1 (X.509 certificates): a key on
 * P-256, signed by another, no authority itself, key usage digitalSignature, an extended key usage
 * for claims, documents or mail, the authority's key id. Static words, or NULL: it may. */
const char *certificate_unfit(X509 *cert);

/* "common name, organisation" as the certificate says, cut to cap; what is no printable ASCII
 * becomes '?': the name may stand on a terminal. "" when it has neither. */
void certificate_name(const X509 *cert, char *out, size_t cap);

/* True when signature (ECDSA's r and s, 32 bytes each) is the certificate's over digest. */
bool certificate_verify(X509 *cert, const struct digest *digest, const uint8_t signature[64]);

/* True when leaf is signed, maybe by way of others, below one of trusted, and all are valid at that
 * time; else *why is OpenSSL's word for it. */
bool certificate_is_below(X509 *leaf, STACK_OF(X509) *others, STACK_OF(X509) *trusted,
                          int64_t seconds, const char **why);

#endif
