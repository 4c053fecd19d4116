#include "base/certificate.h"

#include "base/file.h"

#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Extended key usages that C2PA's validators take: id-kp-documentSigning (RFC 9336) and
 * c2pa-kp-claimSigning; emailProtection OpenSSL knows itself. */
#define OID_DOCUMENT "1.3.6.1.5.5.7.3.36"
#define OID_CLAIM "1.3.6.1.4.1.62558.2.1"

/* The end of the file is no error; everything else is. */
static bool is_end_of_pem(void)
{
    unsigned long last = ERR_peek_last_error();

    return ERR_GET_LIB(last) == ERR_LIB_PEM && ERR_GET_REASON(last) == PEM_R_NO_START_LINE;
}

static enum err_code read_all(BIO *bio, const char *path, STACK_OF(X509) *out, struct err *e)
{
    X509 *cert;

    ERR_clear_error();
    while ((cert = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        if (sk_X509_num(out) == CERTIFICATE_COUNT_MAX || !sk_X509_push(out, cert)) {
            X509_free(cert);
            return err_set(e, ERR_FILE, "\"%.100s\" holds more than %d certificates", path,
                           CERTIFICATE_COUNT_MAX);
        }
    }
    if (!is_end_of_pem())
        return err_set(e, ERR_FILE, "certificate %d in \"%.100s\" is damaged", sk_X509_num(out) + 1,
                       path);
    if (sk_X509_num(out) == 0)
        return err_set(e, ERR_FILE,
                       "\"%.100s\" holds no certificate: it needs PEM, with a line \"-----BEGIN "
                       "CERTIFICATE-----\"",
                       path);
    return ERR_OK;
}

enum err_code certificate_read(const char *path, STACK_OF(X509) **out, struct err *e)
{
    STACK_OF(X509) *all = sk_X509_new_null();
    uint8_t *text = NULL;
    size_t len = 0;
    BIO *bio = NULL;
    enum err_code rc = all ? file_read(path, CERTIFICATE_FILE_MAX, &text, &len, e)
                           : err_set(e, ERR_NOMEM, "no memory for certificates");

    *out = NULL;
    if (!rc && !(bio = BIO_new_mem_buf(text, (int)len)))
        rc = err_set(e, ERR_NOMEM, "no memory for certificates");
    if (!rc)
        rc = read_all(bio, path, all, e);
    if (!rc) {
        *out = all;
        all = NULL;
    }
    ERR_clear_error();
    BIO_free(bio);
    free(text);
    sk_X509_pop_free(all, X509_free);
    return rc;
}

static bool seconds_of(const ASN1_TIME *time, int64_t *out)
{
    struct tm tm = { 0 };

    if (!time || ASN1_TIME_to_tm(time, &tm) != 1)
        return false;
    *out = (int64_t)timegm(&tm);
    return true;
}

bool certificate_days(const X509 *cert, struct certificate_days *out)
{
    return seconds_of(X509_get0_notBefore(cert), &out->from) &&
           seconds_of(X509_get0_notAfter(cert), &out->until);
}

struct certificate_day certificate_day(int64_t seconds)
{
    struct certificate_day day = { "" };
    time_t t = (time_t)seconds;
    struct tm tm;

    if (gmtime_r(&t, &tm))
        strftime(day.text, sizeof day.text, "%Y-%m-%d", &tm);
    return day;
}

static bool is_on_p256(const X509 *cert)
{
    EVP_PKEY *key = X509_get0_pubkey(cert);
    char group[32];
    size_t len = 0;

    return key && EVP_PKEY_is_a(key, "EC") &&
           EVP_PKEY_get_group_name(key, group, sizeof group, &len) == 1 &&
           strcmp(group, "prime256v1") == 0;
}

static bool has_purpose(X509 *cert)
{
    EXTENDED_KEY_USAGE *uses = X509_get_ext_d2i(cert, NID_ext_key_usage, NULL, NULL);
    bool has = false, any = false;

    for (int i = 0; i < sk_ASN1_OBJECT_num(uses); i++) {
        char oid[64] = "";

        OBJ_obj2txt(oid, sizeof oid, sk_ASN1_OBJECT_value(uses, i), 1);
        has |= OBJ_obj2nid(sk_ASN1_OBJECT_value(uses, i)) == NID_email_protect ||
               strcmp(oid, OID_DOCUMENT) == 0 || strcmp(oid, OID_CLAIM) == 0;
        any |= OBJ_obj2nid(sk_ASN1_OBJECT_value(uses, i)) == NID_anyExtendedKeyUsage;
    }
    sk_ASN1_OBJECT_pop_free(uses, ASN1_OBJECT_free);
    return has && !any;
}

const char *certificate_unfit(X509 *cert)
{
    const char *why = NULL;

    if (!is_on_p256(cert))
        why = "its key is not on the curve P-256";
    else if (X509_get_extension_flags(cert) & EXFLAG_SI)
        why = "it signed itself; C2PA wants an authority above it";
    else if (X509_get_extension_flags(cert) & EXFLAG_CA)
        why = "it is an authority's, which signs certificates";
    else if (!(X509_get_extension_flags(cert) & EXFLAG_KUSAGE) ||
             !(X509_get_key_usage(cert) & KU_DIGITAL_SIGNATURE))
        why = "its key usage is not digitalSignature";
    else if (!has_purpose(cert))
        why = "its extended key usage is neither emailProtection nor documentSigning nor C2PA's";
    else if (!X509_get0_authority_key_id(cert))
        why = "it has no authorityKeyIdentifier";
    ERR_clear_error();
    return why;
}

static void append_entry(const X509_NAME *name, int nid, char *out, size_t cap)
{
    int at = X509_NAME_get_index_by_NID((X509_NAME *)name, nid, -1);
    size_t len = strlen(out);
    uint8_t *text = NULL;
    int count = at < 0 ? 0
                       : ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(
                                                        X509_NAME_get_entry(name, at)));

    if (count > 0 && len > 0)
        for (const char *comma = ", "; *comma && len + 1 < cap; comma++)
            out[len++] = *comma;
    for (int i = 0; i < count && len + 1 < cap; i++)
        out[len++] = text[i] >= 0x20 && text[i] < 0x7f ? (char)text[i] : '?';
    out[len] = '\0';
    OPENSSL_free(text);
    ERR_clear_error();
}

void certificate_name(const X509 *cert, char *out, size_t cap)
{
    const X509_NAME *name = X509_get_subject_name(cert);

    out[0] = '\0';
    append_entry(name, NID_commonName, out, cap);
    append_entry(name, NID_organizationName, out, cap);
}

/* From r and s to DER; -1: they are none. *out is OpenSSL's to free. */
static int wrap(const uint8_t signature[64], uint8_t **out)
{
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(signature, 32, NULL), *s = BN_bin2bn(signature + 32, 32, NULL);
    int len = -1;

    if (pair && r && s && ECDSA_SIG_set0(pair, r, s) == 1) {
        r = s = NULL;                /* the pair's now */
        len = i2d_ECDSA_SIG(pair, out);
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(pair);
    return len;
}

bool certificate_verify(X509 *cert, const struct digest *digest, const uint8_t signature[64])
{
    uint8_t *der = NULL;
    int len = wrap(signature, &der);
    EVP_PKEY *key = X509_get0_pubkey(cert);
    EVP_PKEY_CTX *ctx = key && len > 0 ? EVP_PKEY_CTX_new(key, NULL) : NULL;
    bool ok = ctx && EVP_PKEY_verify_init(ctx) == 1 &&
              EVP_PKEY_verify(ctx, der, (size_t)len, digest->bytes, DIGEST_LEN) == 1;

    EVP_PKEY_CTX_free(ctx);
    OPENSSL_free(der);
    ERR_clear_error();
    return ok;
}

bool certificate_is_below(X509 *leaf, STACK_OF(X509) *others, STACK_OF(X509) *trusted,
                          int64_t seconds, const char **why)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    bool ok = store && ctx;

    for (int i = 0; ok && i < sk_X509_num(trusted); i++)
        ok = X509_STORE_add_cert(store, sk_X509_value(trusted, i)) == 1;
    *why = "no memory";
    if (ok && X509_STORE_CTX_init(ctx, store, leaf, others) == 1) {
        /* An authority's own authority need not be in the file. */
        X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_PARTIAL_CHAIN);
        X509_STORE_CTX_set_time(ctx, 0, (time_t)seconds);
        ok = X509_verify_cert(ctx) == 1;
        *why = ok ? NULL : X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx));
    } else
        ok = false;
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    ERR_clear_error();
    return ok;
}
