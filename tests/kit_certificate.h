/* kit_certificate -- certificates and keys as an authority would give them out, and with every flaw
 * that tests need. Failures end the test through cmocka. */
#ifndef TESTS_KIT_CERTIFICATE_H
#define TESTS_KIT_CERTIFICATE_H

#include "tests/kit_temp.h"

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>

struct kit_certificate {
    X509 *cert;
    EVP_PKEY *key;
};
struct certificate_wish {
    const char *name, *organisation;
    const char *curve;              /* as OpenSSL calls it */
    const char *usage, *purpose;    /* as in OpenSSL's configuration; NULL: left out */
    const char *comment;            /* Netscape's; NULL: none */
    long from_s, until_s;           /* from now */
    bool is_authority;
    bool without_key_id;            /* of its authority */
    const struct kit_certificate *issuer;   /* NULL: itself */
};
/* Good for a picture until tomorrow, once it has an issuer. */
#define CERTIFICATE_WISH(of)                                                                       \
    ((struct certificate_wish){ .name = "Picture Maker", .organisation = "Example Pictures",       \
                                .curve = "P-256", .usage = "critical,digitalSignature",            \
                                .purpose = "emailProtection", .from_s = -3600, .until_s = 86400,   \
                                .issuer = (of) })

struct kit_certificate certificate_make(const struct certificate_wish *wish);
/* An authority that signed itself. */
struct kit_certificate certificate_make_root(const char *name);
void certificate_release(struct kit_certificate *self);

/* PEM files in a folder; the certificates one after the other. */
struct temp_path certificate_write(const struct temp *temp, const char *file,
                                   const struct kit_certificate *const *chain, size_t count);
/* For the owner alone; passphrase NULL: plain. */
struct temp_path certificate_write_key(const struct temp *temp, const char *file,
                                       const struct kit_certificate *self,
                                       const char *passphrase);

#endif
