#include "base/cose.h"

/* Names are numbers here: RFC 9052, 3.1 and RFC 9360 (headers), RFC 9053, 2.1 (ES256). */
enum { HEADER_ALG = 1, HEADER_X5CHAIN = 33, ALG_ES256 = -7, TAG_SIGN1 = 18 };

/* ---- writing ---- */

void cose_put_protected(struct concise_out *out, const struct credential *credential)
{
    size_t count = credential_count(credential);

    concise_put_map(out, 2);
    concise_put_number(out, HEADER_ALG);
    concise_put_number(out, ALG_ES256);
    concise_put_number(out, HEADER_X5CHAIN);
    if (count > 1)                   /* one alone stands there without an array */
        concise_put_array(out, count);
    for (size_t i = 0; i < count; i++) {
        size_t len;
        const uint8_t *der = credential_der(credential, i, &len);

        concise_put_bytes(out, der, len);
    }
}

void cose_put(struct concise_out *out, const uint8_t *protected_header, size_t len)
{
    static const uint8_t NOTHING[CREDENTIAL_SIGNATURE_LEN];

    concise_put_tag(out, TAG_SIGN1);
    concise_put_array(out, 4);
    concise_put_bytes(out, protected_header, len);
    concise_put_map(out, 0);
    concise_put_null(out);           /* the payload stands in the claim's box */
    concise_put_bytes(out, NOTHING, sizeof NOTHING);
}

/* RFC 9052, 4.4: [ "Signature1", header, external data: none, payload ]. */
enum err_code cose_digest(const uint8_t *protected_header, size_t header_len,
                          const uint8_t *payload, size_t payload_len, struct digest *out,
                          struct err *e)
{
    uint8_t bytes[48];
    struct concise_out head = { bytes, 0, sizeof bytes, false };
    struct digest_state *hash = digest_create();

    if (!hash)
        return err_set(e, ERR_NOMEM, "no memory for a hash");
    concise_put_array(&head, 4);
    concise_put_text(&head, "Signature1");
    concise_put_bytes_head(&head, header_len);
    digest_add(hash, head.data, head.len);
    digest_add(hash, protected_header, header_len);
    head.len = 0;
    concise_put_bytes(&head, NULL, 0);
    concise_put_bytes_head(&head, payload_len);
    digest_add(hash, head.data, head.len);
    digest_add(hash, payload, payload_len);
    *out = digest_finish(&hash);
    return ERR_OK;
}

/* ---- reading ---- */

static const char *read_chain(struct concise_in header, struct cose_chain *out)
{
    struct concise_in at;
    struct concise_item item;
    uint64_t count = 1;

    if (!concise_find_number(header, HEADER_X5CHAIN, &at) || !concise_next(&at, &item))
        return "the signature has no certificate in its protected header";
    if (item.kind == CONCISE_ARRAY) {
        count = item.number;
        if (count == 0 || count > CREDENTIAL_CHAIN_MAX || !concise_next(&at, &item))
            return "the signature's certificates are none or too many";
    }
    for (out->count = 0;;) {
        if (item.kind != CONCISE_BYTES)
            return "the signature's certificates are malformed";
        out->cert[out->count].der = item.data;
        out->cert[out->count++].len = item.len;
        if (out->count == count)
            return NULL;
        if (!concise_next(&at, &item))
            return "the signature's certificates are malformed";
    }
}

const char *cose_read(struct concise_in in, struct cose *out)
{
    static const char MALFORMED[] = "the signature is no COSE_Sign1";
    struct concise_item item, header, signature;
    struct concise_in inside, alg, open;

    if (!concise_next(&in, &item))
        return MALFORMED;
    if (item.kind == CONCISE_TAG && (item.number != TAG_SIGN1 || !concise_next(&in, &item)))
        return MALFORMED;
    if (item.kind != CONCISE_ARRAY || item.number != 4 || !concise_next(&in, &header) ||
        header.kind != CONCISE_BYTES)
        return MALFORMED;
    open = in;                       /* the unprotected header: its time stamps are not read */
    if (!concise_skip(&in) || !concise_next(&open, &item) || item.kind != CONCISE_MAP ||
        !concise_next(&in, &item) || !concise_next(&in, &signature) ||
        signature.kind != CONCISE_BYTES || in.at != in.end)
        return MALFORMED;
    if (item.kind != CONCISE_NULL)
        return "the signature brings a payload of its own";
    inside = (struct concise_in){ header.data, header.data + header.len };
    if (!concise_find_number(inside, HEADER_ALG, &alg) || !concise_next(&alg, &item) ||
        item.kind != CONCISE_NEGATIVE || item.number != (uint64_t)(-1 - ALG_ES256))
        return "the signature is of another algorithm than ES256, which is not checked here";
    if (signature.len != CREDENTIAL_SIGNATURE_LEN)
        return "the signature is not of 64 bytes";
    out->header = header.data;
    out->header_len = header.len;
    out->signature = signature.data;
    return read_chain(inside, &out->chain);
}
