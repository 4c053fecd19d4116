/* cose -- COSE_Sign1 (RFC 9052) as C2PA 2.1, 13.2 uses it: ES256, the certificates in the protected
 * header (x5chain, RFC 9360), the payload elsewhere. */
#ifndef BASE_COSE_H
#define BASE_COSE_H

#include "base/concise.h"
#include "base/credential.h"
#include "proto/digest.h"

#include <stddef.h>
#include <stdint.h>

/* ---- writing ---- */

/* The protected header, which is the same in every signature of a credential. */
void cose_put_protected(struct concise_out *out, const struct credential *credential);
/* The whole with that header and a signature of zeros, which are its last
 * CREDENTIAL_SIGNATURE_LEN bytes. */
void cose_put(struct concise_out *out, const uint8_t *protected_header, size_t len);

/* What is signed: SHA-256 of Sig_structure over header and payload. ERR_NOMEM. */
enum err_code cose_digest(const uint8_t *protected_header, size_t header_len,
                          const uint8_t *payload, size_t payload_len, struct digest *out,
                          struct err *e);

/* ---- reading: every byte is hostile ---- */

struct cose_chain {
    size_t count;                   /* at least 1; the signer's first */
    struct {
        const uint8_t *der;         /* lent by the input */
        size_t len;
    } cert[CREDENTIAL_CHAIN_MAX];
};
struct cose {
    const uint8_t *header;          /* the protected one; lent by the input, as all here */
    size_t header_len;
    const uint8_t *signature;       /* [CREDENTIAL_SIGNATURE_LEN] */
    struct cose_chain chain;
};
/* Why in is no COSE_Sign1 of the kind above: static words; NULL: *out is filled in. */
const char *cose_read(struct concise_in in, struct cose *out);

#endif
