#include "tests/kit_certificate.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *extension;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(cert, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static void add_name(X509 *cert, const struct certificate_wish *wish)
{
    X509_NAME *name = X509_get_subject_name(cert);

    assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                                (const unsigned char *)wish->name, -1, -1, 0), 1);
    assert_int_equal(X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8,
                                                (const unsigned char *)wish->organisation, -1, -1,
                                                0), 1);
}

static void add_serial(X509 *cert)
{
    uint8_t bytes[16];
    BIGNUM *number;

    assert_int_equal(RAND_bytes(bytes, sizeof bytes), 1);
    bytes[0] = (bytes[0] & 0x3f) | 0x40;         /* the same length each time */
    number = BN_bin2bn(bytes, sizeof bytes, NULL);
    assert_non_null(number);
    assert_non_null(BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)));
    BN_free(number);
}

struct kit_certificate certificate_make(const struct certificate_wish *wish)
{
    struct kit_certificate self = { X509_new(), EVP_EC_gen(wish->curve) };
    const struct kit_certificate *issuer = wish->issuer ? wish->issuer : &self;

    assert_non_null(self.cert);
    assert_non_null(self.key);
    assert_int_equal(X509_set_version(self.cert, X509_VERSION_3), 1);
    add_serial(self.cert);
    add_name(self.cert, wish);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(self.cert), wish->from_s));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(self.cert), wish->until_s));
    assert_int_equal(X509_set_pubkey(self.cert, self.key), 1);
    assert_int_equal(X509_set_issuer_name(self.cert, X509_get_subject_name(issuer->cert)), 1);
    add_extension(self.cert, issuer->cert, NID_basic_constraints,
                  wish->is_authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (wish->usage)
        add_extension(self.cert, issuer->cert, NID_key_usage, wish->usage);
    if (wish->purpose)
        add_extension(self.cert, issuer->cert, NID_ext_key_usage, wish->purpose);
    if (wish->comment)
        add_extension(self.cert, issuer->cert, NID_netscape_comment, wish->comment);
    add_extension(self.cert, issuer->cert, NID_subject_key_identifier, "hash");
    if (!wish->without_key_id)
        add_extension(self.cert, issuer->cert, NID_authority_key_identifier, "keyid:always");
    assert_true(X509_sign(self.cert, issuer->key, EVP_sha256()) > 0);
    ERR_clear_error();
    return self;
}

struct kit_certificate certificate_make_root(const char *name)
{
    struct certificate_wish wish = CERTIFICATE_WISH(NULL);

    wish.name = name;
    wish.is_authority = true;
    wish.usage = "critical,keyCertSign,cRLSign";
    wish.purpose = NULL;
    return certificate_make(&wish);
}

void certificate_release(struct kit_certificate *self)
{
    X509_free(self->cert);
    EVP_PKEY_free(self->key);
    *self = (struct kit_certificate){ NULL, NULL };
}

struct temp_path certificate_write(const struct temp *temp, const char *file,
                                   const struct kit_certificate *const *chain, size_t count)
{
    struct temp_path path = temp_path(temp, file);
    FILE *out = fopen(path.text, "w");

    assert_non_null(out);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(PEM_write_X509(out, chain[i]->cert), 1);
    assert_int_equal(fclose(out), 0);
    return path;
}

struct temp_path certificate_write_key(const struct temp *temp, const char *file,
                                       const struct kit_certificate *self,
                                       const char *passphrase)
{
    struct temp_path path = temp_path(temp, file);
    FILE *out = fopen(path.text, "w");

    assert_non_null(out);
    assert_int_equal(PEM_write_PrivateKey(out, self->key, passphrase ? EVP_aes_128_cbc() : NULL,
                                          (const unsigned char *)passphrase,
                                          passphrase ? (int)strlen(passphrase) : 0, NULL, NULL), 1);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(chmod(path.text, 0600), 0);
    return path;
}
