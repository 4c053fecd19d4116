/* credential -- the certificate and private key that the operator signs pictures with. */
#ifndef BASE_CREDENTIAL_H
#define BASE_CREDENTIAL_H

#include "proto/digest.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CREDENTIAL_CHAIN_MAX = 8, CREDENTIAL_SIGNATURE_LEN = 64 };

struct credential;                  /* immutable, so threads may share it */

/* From PEM files: the certificate, then those that lead to its authority (a root at the end is left
 * out: whoever checks has it or does not), and the key. ERR_FILE (see c2pa_signer_create),
 * ERR_NOMEM. On failure *out is NULL. */
enum err_code credential_create(const char *cert_file, const char *key_file,
                                struct credential **out, struct err *e);
void credential_destroy(struct credential **self);

/* Whom the certificate names: certificate_name. */
const char *credential_name(const struct credential *self);
/* The last second of its validity, since 1970. */
int64_t credential_until(const struct credential *self);
/* Certificates as DER, the signer's first; index < credential_count. */
size_t credential_count(const struct credential *self);
const uint8_t *credential_der(const struct credential *self, size_t index, size_t *len);

/* ECDSA over a SHA-256 digest, as r and s of 32 bytes each (RFC 9053, 2.1). Another one each time.
 * ERR_NOMEM, ERR_BUG. */
enum err_code credential_sign(const struct credential *self, const struct digest *digest,
                              uint8_t out[CREDENTIAL_SIGNATURE_LEN], struct err *e);

#endif
