#include "base/credential.h"

#include "base/certificate.h"
#include "base/clock.h"
#include "base/file.h"

#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { KEY_FILE_MAX = 64 << 10, DER_SIGNATURE_MAX = 80, HALF = CREDENTIAL_SIGNATURE_LEN / 2 };

struct credential {
    EVP_PKEY *key;
    int64_t until;
    char name[128];
    size_t count;
    struct {
        uint8_t *data;              /* OpenSSL's to free */
        size_t len;
    } der[CREDENTIAL_CHAIN_MAX];
};

/* ---- the certificates ---- */

static enum err_code check_leaf(X509 *leaf, const char *path, int64_t now, struct err *e)
{
    const char *why = certificate_unfit(leaf);
    struct certificate_days days;

    if (why)
        return err_set(e, ERR_FILE,
                       "certificate \"%.80s\" cannot sign pictures: %s; see \"Marking\" in "
                       "worker/README.md", path, why);
    if (!certificate_days(leaf, &days))
        return err_set(e, ERR_FILE, "certificate \"%.100s\" has no dates", path);
    if (now < days.from)
        return err_set(e, ERR_FILE, "certificate \"%.100s\" is valid from %s on only", path,
                       certificate_day(days.from).text);
    if (now > days.until)
        return err_set(e, ERR_FILE, "certificate \"%.100s\" expired on %s: have it renewed", path,
                       certificate_day(days.until).text);
    return ERR_OK;
}

/* Takes the certificates that go into a signature; each must have signed the one before it. */
static enum err_code take_chain(struct credential *self, STACK_OF(X509) *all, const char *path,
                                struct err *e)
{
    for (int i = 0; i < sk_X509_num(all); i++) {
        X509 *cert = sk_X509_value(all, i);

        if (i > 0 && X509_check_issued(cert, sk_X509_value(all, i - 1)) != X509_V_OK)
            return err_set(e, ERR_FILE,
                           "certificate %d in \"%.80s\" did not issue the one before it: the "
                           "signer's comes first, then its authority's", i + 1, path);
        if (i > 0 && X509_check_issued(cert, cert) == X509_V_OK)
            return ERR_OK;           /* a root: the end */
        if (self->count == CREDENTIAL_CHAIN_MAX)
            return err_set(e, ERR_FILE, "\"%.100s\" holds a chain of more than %d certificates",
                           path, CREDENTIAL_CHAIN_MAX);

        int len = i2d_X509(cert, &self->der[self->count].data);

        if (len < 0)
            return err_set(e, ERR_NOMEM, "no memory for a certificate");
        self->der[self->count++].len = (size_t)len;
    }
    return ERR_OK;
}

/* ---- the key ---- */

/* Called for a passphrase. There is nobody to ask: it only notes that one is needed. */
static int note_encrypted(char *buffer, int size, int writing, void *encrypted)
{
    (void)buffer;
    (void)size;
    (void)writing;
    *(bool *)encrypted = true;
    return -1;
}

static enum err_code check_mode(const char *path, struct err *e)
{
    struct stat st;

    if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 077))
        return err_set(e, ERR_FILE,
                       "key file \"%.100s\" is open to others (mode %04o): chmod 600 it", path,
                       (unsigned)(st.st_mode & 07777));
    return ERR_OK;                   /* one that is not there, file_read has words for */
}

static enum err_code read_key(const char *path, EVP_PKEY **out, struct err *e)
{
    bool encrypted = false;
    uint8_t *text = NULL;
    size_t len = 0;
    BIO *bio = NULL;
    enum err_code rc = check_mode(path, e);

    if (!rc)
        rc = file_read(path, KEY_FILE_MAX, &text, &len, e);
    if (!rc && !(bio = BIO_new_mem_buf(text, (int)len)))
        rc = err_set(e, ERR_NOMEM, "no memory for a key");
    if (!rc && !(*out = PEM_read_bio_PrivateKey(bio, NULL, note_encrypted, &encrypted)))
        rc = encrypted ? err_set(e, ERR_FILE,
                                 "key file \"%.80s\" is encrypted and nobody can be asked: write "
                                 "it plain with openssl pkey, for the owner alone", path)
                       : err_set(e, ERR_FILE,
                                 "key file \"%.100s\" holds no private key: it needs PEM, with a "
                                 "line \"-----BEGIN PRIVATE KEY-----\"", path);
    if (text)
        explicit_bzero(text, len);
    free(text);
    BIO_free(bio);
    ERR_clear_error();
    return rc;
}

enum err_code credential_create(const char *cert_file, const char *key_file,
                                struct credential **out, struct err *e)
{
    struct credential *self = calloc(1, sizeof *self);
    STACK_OF(X509) *all = NULL;
    struct certificate_days days;
    enum err_code rc = self ? certificate_read(cert_file, &all, e)
                            : err_set(e, ERR_NOMEM, "no memory for a certificate");

    *out = NULL;
    if (!rc)
        rc = check_leaf(sk_X509_value(all, 0), cert_file, clock_wall_ms() / 1000, e);
    if (!rc)
        rc = take_chain(self, all, cert_file, e);
    if (!rc)
        rc = read_key(key_file, &self->key, e);
    if (!rc && X509_check_private_key(sk_X509_value(all, 0), self->key) != 1)
        rc = err_set(e, ERR_FILE,
                     "key file \"%.70s\" is not the key of certificate \"%.70s\": one of the two "
                     "is another's", key_file, cert_file);
    if (!rc && certificate_days(sk_X509_value(all, 0), &days)) {
        self->until = days.until;
        certificate_name(sk_X509_value(all, 0), self->name, sizeof self->name);
        *out = self;
        self = NULL;
    }
    ERR_clear_error();
    sk_X509_pop_free(all, X509_free);
    credential_destroy(&self);
    return rc;
}

void credential_destroy(struct credential **self)
{
    if (!*self)
        return;
    for (size_t i = 0; i < (*self)->count; i++)
        OPENSSL_free((*self)->der[i].data);
    EVP_PKEY_free((*self)->key);
    free(*self);
    *self = NULL;
}

const char *credential_name(const struct credential *self)
{
    return self->name;
}

int64_t credential_until(const struct credential *self)
{
    return self->until;
}

size_t credential_count(const struct credential *self)
{
    return self->count;
}

const uint8_t *credential_der(const struct credential *self, size_t index, size_t *len)
{
    *len = self->der[index].len;
    return self->der[index].data;
}

/* From DER to r and s side by side. */
static bool unwrap(const uint8_t *der, size_t len, uint8_t out[CREDENTIAL_SIGNATURE_LEN])
{
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &der, (long)len);
    bool ok = pair && BN_bn2binpad(ECDSA_SIG_get0_r(pair), out, HALF) == HALF &&
              BN_bn2binpad(ECDSA_SIG_get0_s(pair), out + HALF, HALF) == HALF;

    ECDSA_SIG_free(pair);
    return ok;
}

enum err_code credential_sign(const struct credential *self, const struct digest *digest,
                              uint8_t out[CREDENTIAL_SIGNATURE_LEN], struct err *e)
{
    uint8_t der[DER_SIGNATURE_MAX];
    size_t len = sizeof der;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(self->key, NULL);
    bool ok = ctx && EVP_PKEY_sign_init(ctx) == 1 &&
              EVP_PKEY_sign(ctx, der, &len, digest->bytes, DIGEST_LEN) == 1 &&
              unwrap(der, len, out);

    EVP_PKEY_CTX_free(ctx);
    ERR_clear_error();
    return ok ? ERR_OK : err_set(e, ERR_BUG, "could not sign: OpenSSL refuses the key");
}
