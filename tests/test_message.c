#include "proto/message.h"

#include <float.h>
#include <math.h>
#include <msgpack.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- values for any field, made from its row ---- */

enum size { SMALLEST, MIDDLING, LARGEST };

/* What filled records point to: one allocation after the other, all gone with the test. */
static char pool[8 << 20];
static size_t pool_used;

static void *take(size_t len)
{
    void *at = pool + pool_used;

    pool_used += (len + 15) / 16 * 16;
    assert_true(pool_used <= sizeof pool);
    memset(at, 0, len);
    return at;
}

static const struct field_table *parts_table(void)
{
    const struct field_table *table = message_info(MESSAGE_BULK_SUBMIT)->table;

    for (size_t i = 0; i < table->count; i++)
        if (strcmp(table->fields[i].name, "parts") == 0)
            return table->fields[i].sub;
    return NULL;
}

/* Fields that exclude each other: these are left out. */
static bool is_left_out(const struct field_table *table, const char *name)
{
    static const struct {
        enum message_type type;
        const char *name;
    } OUT[] = {
        { MESSAGE_GENERATE, "seed" }, { MESSAGE_LOOKUP, "recipe_key" },
        { MESSAGE_LOOKUP, "sha256" }, { MESSAGE_LOOKUP, "core_sha256" },
        { MESSAGE_FETCH, "sha256" }, { MESSAGE_GENERATE, "transform" },
        { MESSAGE_LOOKUP, "job" }, { MESSAGE_LOOKUP, "first" }, { MESSAGE_LOOKUP, "since" },
        { MESSAGE_LOOKUP, "like" }, { MESSAGE_WITHDRAW, "sha256" },
    };

    for (size_t i = 0; i < COUNT(OUT); i++)
        if (message_info(OUT[i].type)->table == table && strcmp(OUT[i].name, name) == 0)
            return true;
    return table == parts_table() &&
           (strcmp(name, "class_mod") == 0 || strcmp(name, "transform") == 0);
}

static struct text some_text(size_t len, int salt)
{
    char *data = take(len);

    for (size_t i = 0; i < len; i++)
        data[i] = i % 17 == 16 ? '\n' : (char)(0x20 + (i * 7 + (size_t)salt) % 95);
    return (struct text){ data, len };
}

static struct numbers some_numbers(const struct field *f, enum size size)
{
    size_t count = size == LARGEST ? f->most : 1;
    int64_t *items = take(count * sizeof *items);

    for (size_t i = 0; i < count; i++)
        items[i] = size == LARGEST ? f->max - (int64_t)i : f->min;
    return (struct numbers){ items, count };
}

static struct decimals some_decimals(const struct field *f, enum size size)
{
    struct decimals d = { .count = f->most };

    for (size_t i = 0; i < f->most; i++)
        d.items[i] = size == SMALLEST ? f->min : size == LARGEST ? f->max : 700001 + (int64_t)i;
    return d;
}

static struct floats some_floats(const struct field *f, enum size size)
{
    struct floats x = { .count = f->most };

    for (size_t i = 0; i < f->most; i++)
        x.items[i] = size == SMALLEST ? -FLT_MAX : size == LARGEST ? FLT_MAX : 0.1f * (float)i;
    return x;
}

static void fill(const struct field_table *table, void *record, enum size size);

static struct records some_records(const struct field *f, enum size size)
{
    size_t least = f->sub == parts_table();
    size_t some = f->most < 2 ? f->most : 2;
    size_t count = size == LARGEST ? f->most : size == MIDDLING ? some : least;
    char *items = take(count * f->sub->size + 1);

    for (size_t i = 0; i < count; i++)
        fill(f->sub, items + i * f->sub->size, size);
    return (struct records){ items, count };
}

static void fill_field(const struct field *f, void *at, enum size size)
{
    switch (f->kind) {
    case FIELD_INT:
    case FIELD_WORD:
        *(int64_t *)at = size == SMALLEST  ? f->min
                         : size == LARGEST ? f->max
                                           : (f->min + f->max) / 2;
        if (size == MIDDLING && *(int64_t *)at == f->def)
            *(int64_t *)at = f->max;             /* what is at its default is not written */
        break;
    case FIELD_DECIMAL:
        *(int64_t *)at = size == SMALLEST ? f->min : size == LARGEST ? f->max : 700001;
        break;
    case FIELD_FLAG:
        *(bool *)at = size != SMALLEST;
        break;
    case FIELD_TEXT:
        *(struct text *)at = some_text((size_t)(size == SMALLEST  ? f->min
                                                : size == LARGEST ? f->max
                                                                  : (f->min + f->max) / 2),
                                       (int)f->offset);
        break;
    case FIELD_DIGEST:
        memset(at, size == SMALLEST ? 1 : size == LARGEST ? 0xff : 0x5a, sizeof(struct digest));
        break;
    case FIELD_NUMBERS:
    case FIELD_SEEDS:
        *(struct numbers *)at = some_numbers(f, size);
        break;
    case FIELD_DECIMALS:
        *(struct decimals *)at = some_decimals(f, size);
        break;
    case FIELD_FLOATS:
        *(struct floats *)at = some_floats(f, size);
        break;
    case FIELD_RECORDS:
        *(struct records *)at = some_records(f, size);
        break;
    }
}

static void fill(const struct field_table *table, void *record, enum size size)
{
    for (size_t i = 0; i < table->count; i++)
        if (!is_left_out(table, table->fields[i].name))
            fill_field(&table->fields[i], (char *)record + table->fields[i].offset, size);
}

static struct message filled(enum message_type type, enum size size)
{
    struct message m;

    pool_used = 0;
    message_init(&m, type, size == SMALLEST ? 0 : (int64_t)1 << 53);
    fill(message_info(type)->table, &m.generate, size);
    return m;
}

static void assert_same(const struct field_table *table, const void *a, const void *b);

static void assert_same_field(const struct field *f, const void *a, const void *b)
{
    const struct text *ta = a, *tb = b;
    const struct numbers *na = a, *nb = b;
    const struct records *ra = a, *rb = b;
    const struct decimals *da = a, *db = b;
    const struct floats *xa = a, *xb = b;

    switch (f->kind) {
    case FIELD_INT:
    case FIELD_WORD:
    case FIELD_DECIMAL:
        assert_true(*(const int64_t *)a == *(const int64_t *)b);
        break;
    case FIELD_FLAG:
        assert_int_equal(*(const bool *)a, *(const bool *)b);
        break;
    case FIELD_TEXT:
        assert_int_equal(ta->len, tb->len);
        if (ta->len > 0)
            assert_memory_equal(ta->data, tb->data, ta->len);
        break;
    case FIELD_DIGEST:
        assert_true(digest_equal(a, b));
        break;
    case FIELD_NUMBERS:
    case FIELD_SEEDS:
        assert_int_equal(na->count, nb->count);
        if (na->count > 0)
            assert_memory_equal(na->items, nb->items, na->count * sizeof *na->items);
        break;
    case FIELD_DECIMALS:
        assert_int_equal(da->count, db->count);
        assert_memory_equal(da->items, db->items, sizeof da->items);
        break;
    case FIELD_FLOATS:
        assert_int_equal(xa->count, xb->count);
        assert_memory_equal(xa->items, xb->items, sizeof xa->items);
        break;
    case FIELD_RECORDS:
        assert_int_equal(ra->count, rb->count);
        for (size_t i = 0; i < ra->count; i++)
            assert_same(f->sub, (const char *)ra->items + i * f->sub->size,
                        (const char *)rb->items + i * f->sub->size);
        break;
    }
}

static void assert_same(const struct field_table *table, const void *a, const void *b)
{
    for (size_t i = 0; i < table->count; i++) {
        size_t offset = table->fields[i].offset;

        assert_same_field(&table->fields[i], (const char *)a + offset, (const char *)b + offset);
    }
}

static enum message_sender a_sender(enum message_type type)
{
    unsigned from = message_info(type)->from;

    return (enum message_sender)(from & (0 - from));     /* the lowest bit */
}

/* ---- bytes by hand ---- */

struct bytes {
    msgpack_sbuffer buffer;
    msgpack_packer pk;
};

static void bytes_init(struct bytes *b)
{
    msgpack_sbuffer_init(&b->buffer);
    msgpack_packer_init(&b->pk, &b->buffer, msgpack_sbuffer_write);
}

static void put_text(struct bytes *b, const char *text)
{
    msgpack_pack_str_with_body(&b->pk, text, strlen(text));
}

/* The head of a map with extra entries to come. */
static void begin(struct bytes *b, const char *type, uint32_t extra)
{
    bytes_init(b);
    msgpack_pack_map(&b->pk, 3 + extra);
    put_text(b, "v");
    msgpack_pack_int(&b->pk, 1);
    put_text(b, "type");
    put_text(b, type);
    put_text(b, "id");
    msgpack_pack_int(&b->pk, 7);
}

static enum err_code decode(struct bytes *b, enum message_sender from, struct message *m,
                            struct err *e)
{
    char *exact = malloc(b->buffer.size + 1);    /* of its own size: ASan sees one byte too far */
    enum err_code rc;

    memcpy(exact, b->buffer.data, b->buffer.size);
    exact = realloc(exact, b->buffer.size ? b->buffer.size : 1);
    rc = message_decode(exact, b->buffer.size, from, m, e);
    msgpack_sbuffer_destroy(&b->buffer);
    if (rc) {
        assert_int_equal(e->code, rc);
        message_release(m);
        free(exact);
    } else
        b->buffer.data = exact;                  /* the message borrows it: let_go frees it */
    return rc;
}

static void let_go(struct bytes *b, struct message *m)
{
    message_release(m);
    assert_null(m->zone);
    message_release(m);              /* twice is fine */
    free(b->buffer.data);
}

static void assert_refused(struct bytes *b, enum message_sender from, enum err_code code,
                           const char *words)
{
    struct message m;
    struct err e = { 0 };
    enum err_code rc = decode(b, from, &m, &e);

    if (rc != code)
        fail_msg("%s \"%s\" instead of %s (%s)", err_info(rc)->word, e.msg, err_info(code)->word,
                 words);
    if (!strstr(e.msg, words))
        fail_msg("\"%s\" does not say \"%s\"", e.msg, words);
}

/* ---- there and back ---- */

static void every_type_comes_back_with_every_field_set(void **state)
{
    (void)state;
    for (int type = 0; type < MESSAGE_TYPE_COUNT; type++)
        for (int size = SMALLEST; size <= LARGEST; size++) {
            struct message m = filled((enum message_type)type, (enum size)size), back;
            struct err e = { 0 };
            void *data;
            size_t len;

            if (message_encode(&m, &data, &len, &e))
                fail_msg("%s: %s", message_word(m.type), e.msg);
            if (message_decode(data, len, a_sender(m.type), &back, &e))
                fail_msg("%s of %zu bytes: %s", message_word(m.type), len, e.msg);
            assert_int_equal(back.type, type);
            assert_true(back.id == m.id);
            assert_same(message_info(m.type)->table, &m.generate, &back.generate);
            message_release(&back);
            free(data);
        }
}

static void a_map_encoded_once_goes_out_under_any_id(void **state)
{
    static const int64_t IDS[] = { 0, 1, 127, 128, 255, 256, 65535, 65536, INT64_C(1) << 32,
                                   INT64_C(1) << 53 };

    (void)state;
    for (size_t k = 0; k < 2 * COUNT(IDS); k++) {
        bool is_large = k % 2;                   /* a head of one byte, or of three */
        int64_t id = IDS[k / 2];
        struct message m, back;
        void *blank, *whole;
        uint8_t out[4096];
        size_t blank_len, whole_len, len;
        struct err e;

        message_init(&m, is_large ? MESSAGE_IMAGE : MESSAGE_DONE, MESSAGE_ID_BLANK);
        pool_used = 0;
        fill(message_info(m.type)->table, &m.generate, SMALLEST);
        assert_int_equal(message_encode(&m, &blank, &blank_len, &e), ERR_OK);
        m.id = id;
        assert_int_equal(message_encode(&m, &whole, &whole_len, &e), ERR_OK);
        memset(out, 0x55, sizeof out);
        len = message_with_id(blank, blank_len, id, out);
        assert_int_equal(len, whole_len);
        assert_memory_equal(out, whole, len);
        assert_int_equal(out[blank_len + MESSAGE_ID_MORE], 0x55);
        assert_int_equal(message_decode(out, len, MESSAGE_FROM_BROKER, &back, &e), ERR_OK);
        assert_int_equal(back.id, id);
        assert_same(message_info(m.type)->table, &m.generate, &back.generate);
        message_release(&back);
        free(blank);
        free(whole);
    }
}

static void what_is_at_its_default_is_left_out_and_comes_back(void **state)
{
    (void)state;
    for (int type = 0; type < MESSAGE_TYPE_COUNT; type++) {
        const struct field_table *table = message_info((enum message_type)type)->table;
        struct message m, back, plain;
        struct err e = { 0 };
        void *data;
        size_t len;

        pool_used = 0;
        message_init(&m, (enum message_type)type, 1);
        message_init(&plain, (enum message_type)type, 1);
        for (size_t i = 0; i < table->count; i++)
            if (table->fields[i].required)
                fill_field(&table->fields[i], (char *)&m.generate + table->fields[i].offset,
                           MIDDLING);
        if (type == MESSAGE_WITHDRAW)
            m.withdraw.sha256.bytes[0] = 1;
        if (type == MESSAGE_GENERATE || type == MESSAGE_LOOKUP)
            *(type == MESSAGE_GENERATE ? &m.generate.seed : &m.lookup.seed) = 5;
        if (type == MESSAGE_FETCH)
            m.fetch.sha256.bytes[0] = 1;
        assert_int_equal(message_encode(&m, &data, &len, &e), ERR_OK);
        for (size_t i = 0; i < table->count; i++) {
            const struct field *f = &table->fields[i];
            char key[64];

            key[0] = (char)(0xa0 | strlen(f->name));
            strcpy(key + 1, f->name);
            if (!f->required && strcmp(f->name, "seed") != 0 && strcmp(f->name, "sha256") != 0)
                assert_null(memmem(data, len, key, strlen(key)));
        }
        assert_int_equal(message_decode(data, len, a_sender(m.type), &back, &e), ERR_OK);
        assert_same(table, &m.generate, &back.generate);
        message_release(&back);
        free(data);
    }
}

static void the_defaults_are_those_of_the_table(void **state)
{
    struct bytes b;
    struct message m;
    struct err e;

    (void)state;
    begin(&b, "generate", 2);
    put_text(&b, "model");
    put_text(&b, "cats");
    put_text(&b, "seed");
    msgpack_pack_int(&b.pk, 3);
    assert_int_equal(decode(&b, MESSAGE_FROM_CLIENT, &m, &e), ERR_OK);
    assert_int_equal(m.type, MESSAGE_GENERATE);
    assert_int_equal(m.id, 7);
    assert_true(text_is(m.generate.model, "cats"));
    assert_int_equal(m.generate.seed, 3);
    assert_int_equal(m.generate.seeds.count, 0);
    assert_int_equal(m.generate.psi, 1000000);
    assert_int_equal(m.generate.cutoff, -1);
    assert_int_equal(m.generate.class_index, -1);
    assert_int_equal(m.generate.noise_mode, -1);
    assert_int_equal(m.generate.noise_seed, -1);
    assert_int_equal(m.generate.translate.count, 0);
    assert_true(m.generate.rotate == INT64_MIN);
    assert_int_equal(m.generate.transform.count, 0);
    assert_int_equal(m.generate.quality, 90);
    assert_int_equal(m.generate.mark, -1);
    assert_int_equal(m.generate.rev, 0);
    assert_int_equal(m.generate.priority, MESSAGE_NORMAL);
    assert_int_equal(m.generate.deadline_ms, 10000);
    assert_int_equal(m.generate.want, MESSAGE_WANT_IMAGE);
    assert_int_equal(m.generate.cache, MESSAGE_CACHE_USE);
    assert_int_equal(m.generate.require_class.len, 0);
    let_go(&b, &m);
}

static void an_image_always_says_where_it_comes_from(void **state)
{
    struct message m = filled(MESSAGE_IMAGE, SMALLEST);
    void *data;
    size_t len;

    (void)state;
    assert_int_equal(m.image.source, MESSAGE_SOURCE_RENDER);
    assert_int_equal(message_encode(&m, &data, &len, NULL), ERR_OK);
    assert_non_null(memmem(data, len, "\xa6source\xa6render", 14));
    free(data);
}

/* ---- the encoder's own limits ---- */

static void the_encoder_refuses_what_the_decoder_would(void **state)
{
    (void)state;
    for (int type = 0; type < MESSAGE_TYPE_COUNT; type++) {
        const struct field_table *table = message_info((enum message_type)type)->table;

        for (size_t i = 0; i < table->count; i++) {
            const struct field *f = &table->fields[i];
            struct message m = filled((enum message_type)type, MIDDLING);
            void *at = (char *)&m.generate + f->offset, *data;
            struct err e = { 0 };
            size_t len;

            if (f->kind == FIELD_INT || f->kind == FIELD_DECIMAL || f->kind == FIELD_WORD)
                *(int64_t *)at = f->max + 1;
            else if (f->kind == FIELD_TEXT)
                *(struct text *)at = some_text((size_t)f->max + 1, 0);
            else if (f->kind == FIELD_NUMBERS || f->kind == FIELD_SEEDS)
                *(struct numbers *)at = (struct numbers){ take((f->most + 1) * 8), f->most + 1 };
            else if (f->kind == FIELD_DECIMALS)
                *(struct decimals *)at = (struct decimals){ f->most, { f->max, f->max + 1 } };
            else if (f->kind == FIELD_FLOATS)
                *(struct floats *)at = (struct floats){ f->most, { 0, INFINITY } };
            else if (f->kind == FIELD_RECORDS)
                *(struct records *)at = (struct records){ take(f->sub->size), f->most + 1 };
            else
                continue;
            assert_int_equal(message_encode(&m, &data, &len, &e), ERR_BUG);
            assert_null(data);
            assert_non_null(strstr(e.msg, f->name));
        }
    }
}

static void the_encoder_turns_what_is_not_plain_ascii_into_question_marks(void **state)
{
    struct message m, back;
    struct err e;
    void *data;
    size_t len;

    (void)state;
    message_init(&m, MESSAGE_ERROR, 1);
    m.error.code = text_of("invalid");
    m.error.message = (struct text){ "\x01g\xc3\xbcn\nst\x7fig\0", 12 };
    assert_int_equal(message_encode(&m, &data, &len, &e), ERR_OK);
    assert_int_equal(message_decode(data, len, MESSAGE_FROM_BROKER, &back, &e), ERR_OK);
    assert_true(text_is(back.error.message, "?g??n\nst?ig?"));
    message_release(&back);
    free(data);
}

/* ---- what is refused: each field of each type ---- */

enum wrong { WRONG_TYPE, TOO_SMALL, TOO_LARGE, MISSING, NIL };

/* Packs m with its field f changed. False when that cannot be done to such a field. */
static bool pack_wrong(const struct message *m, const struct field *f, enum wrong wrong,
                       struct bytes *b)
{
    msgpack_unpacked u;
    size_t len, at = 0;
    void *data;
    bool done = true;

    assert_int_equal(message_encode(m, &data, &len, NULL), ERR_OK);
    msgpack_unpacked_init(&u);
    assert_int_equal(msgpack_unpack_next(&u, data, len, &at), MSGPACK_UNPACK_SUCCESS);
    bytes_init(b);
    msgpack_pack_map(&b->pk, u.data.via.map.size);
    for (uint32_t i = 0; i < u.data.via.map.size; i++) {
        const msgpack_object_kv *kv = &u.data.via.map.ptr[i];
        bool is_it = kv->key.via.str.size == strlen(f->name) &&
                     memcmp(kv->key.via.str.ptr, f->name, strlen(f->name)) == 0;

        if (is_it && wrong == MISSING) {
            put_text(b, "nobody_knows");
            msgpack_pack_nil(&b->pk);
            continue;
        }
        msgpack_pack_object(&b->pk, kv->key);
        if (!is_it)
            msgpack_pack_object(&b->pk, kv->val);
        else if (wrong == NIL)
            msgpack_pack_nil(&b->pk);
        else if (wrong == WRONG_TYPE && f->kind == FIELD_FLAG)
            msgpack_pack_int(&b->pk, 1);
        else if (wrong == WRONG_TYPE)
            msgpack_pack_true(&b->pk);
        else if (f->kind == FIELD_INT && wrong == TOO_SMALL)
            msgpack_pack_int64(&b->pk, f->min - 1);
        else if (f->kind == FIELD_INT)
            msgpack_pack_uint64(&b->pk, (uint64_t)f->max + 1);
        else if (f->kind == FIELD_DECIMAL)
            msgpack_pack_double(&b->pk, (double)(wrong == TOO_SMALL ? f->min - 1 : f->max + 1) /
                                            1e6);
        else if (f->kind == FIELD_TEXT && (wrong == TOO_LARGE || f->min > 0)) {
            size_t n = wrong == TOO_LARGE ? (size_t)f->max + 1 : (size_t)f->min - 1;

            msgpack_pack_str_with_body(&b->pk, some_text(n, 0).data, n);
        } else if ((f->kind == FIELD_NUMBERS || f->kind == FIELD_SEEDS) && wrong == TOO_SMALL) {
            msgpack_pack_array(&b->pk, 1);
            msgpack_pack_int64(&b->pk, f->min - 1);
        } else if ((f->kind == FIELD_DECIMALS || f->kind == FIELD_FLOATS) && wrong == TOO_SMALL) {
            msgpack_pack_array(&b->pk, f->most - 1);
            for (size_t n = 1; n < f->most; n++)
                msgpack_pack_int(&b->pk, 1);
        } else if ((f->kind == FIELD_NUMBERS || f->kind == FIELD_SEEDS ||
                    f->kind == FIELD_DECIMALS || f->kind == FIELD_FLOATS ||
                    f->kind == FIELD_RECORDS) && wrong == TOO_LARGE) {
            msgpack_pack_array(&b->pk, f->most + 1);
            for (size_t n = 0; n <= f->most; n++)
                f->kind == FIELD_RECORDS ? msgpack_pack_map(&b->pk, 0)
                                         : msgpack_pack_int(&b->pk, 1);
        } else {
            msgpack_pack_object(&b->pk, kv->val);
            done = false;
        }
    }
    msgpack_unpacked_destroy(&u);
    free(data);
    if (!done)
        msgpack_sbuffer_destroy(&b->buffer);
    return done;
}

static void for_each_field(enum wrong wrong, enum err_code code)
{
    for (int type = 0; type < MESSAGE_TYPE_COUNT; type++) {
        const struct field_table *table = message_info((enum message_type)type)->table;

        for (size_t i = 0; i < table->count; i++) {
            const struct field *f = &table->fields[i];
            struct message m = filled((enum message_type)type, MIDDLING);
            char words[80];
            struct bytes b;

            snprintf(words, sizeof words, "field \"%s\"", f->name);
            if (is_left_out(table, f->name) || !pack_wrong(&m, f, wrong, &b))
                continue;
            assert_refused(&b, a_sender((enum message_type)type), code, words);
        }
    }
}

static void a_field_of_another_type_is_refused_by_its_name(void **state)
{
    (void)state;
    for_each_field(WRONG_TYPE, ERR_INVALID);
}

static void a_field_beyond_its_limits_is_refused_by_its_name(void **state)
{
    (void)state;
    for_each_field(TOO_SMALL, ERR_RANGE);
    for_each_field(TOO_LARGE, ERR_RANGE);
}

static void a_required_field_that_is_missing_or_nil_is_refused(void **state)
{
    (void)state;
    for (int type = 0; type < MESSAGE_TYPE_COUNT; type++) {
        const struct field_table *table = message_info((enum message_type)type)->table;

        for (size_t i = 0; i < table->count; i++) {
            const struct field *f = &table->fields[i];
            struct message m = filled((enum message_type)type, MIDDLING);
            struct bytes b;
            char words[80];

            if (!f->required)
                continue;
            snprintf(words, sizeof words, "field \"%s\" is missing", f->name);
            assert_true(pack_wrong(&m, f, MISSING, &b));
            assert_refused(&b, a_sender((enum message_type)type), ERR_INVALID, words);
            assert_true(pack_wrong(&m, f, NIL, &b));
            assert_refused(&b, a_sender((enum message_type)type), ERR_INVALID, words);
        }
    }
}

static void nil_is_as_good_as_absent(void **state)
{
    (void)state;
    for (int type = 0; type < MESSAGE_TYPE_COUNT; type++) {
        const struct field_table *table = message_info((enum message_type)type)->table;

        for (size_t i = 0; i < table->count; i++) {
            const struct field *f = &table->fields[i];
            struct message m = filled((enum message_type)type, MIDDLING), back, plain;
            struct bytes b;
            struct err e;

            if (f->required || is_left_out(table, f->name) ||
                strcmp(f->name, "seeds") == 0 || type == MESSAGE_FETCH ||
                (type == MESSAGE_WITHDRAW && strcmp(f->name, "recipe_key") == 0) ||
                (type == MESSAGE_LOOKUP && strcmp(f->name, "seed") == 0))
                continue;
            message_init(&plain, (enum message_type)type, 0);
            assert_true(pack_wrong(&m, f, NIL, &b));
            if (decode(&b, a_sender((enum message_type)type), &back, &e))
                fail_msg("%s", e.msg);
            assert_same_field(f, (char *)&back.generate + f->offset,
                              (char *)&plain.generate + f->offset);
            let_go(&b, &back);
        }
    }
}

/* ---- values ---- */

static enum err_code generate_with(const char *field, void (*pack)(struct bytes *b, double v),
                                   double v, struct message *m, struct bytes *b, struct err *e)
{
    begin(b, "generate", 3);
    put_text(b, "model");
    put_text(b, "cats");
    put_text(b, "seed");
    msgpack_pack_int(&b->pk, 3);
    put_text(b, field);
    pack(b, v);
    return decode(b, MESSAGE_FROM_CLIENT, m, e);
}

static void as_double(struct bytes *b, double v)
{
    msgpack_pack_double(&b->pk, v);
}

static void as_float(struct bytes *b, double v)
{
    msgpack_pack_float(&b->pk, (float)v);
}

static void as_int(struct bytes *b, double v)
{
    msgpack_pack_int64(&b->pk, (int64_t)v);
}

static void as_large(struct bytes *b, double v)
{
    (void)v;
    msgpack_pack_uint64(&b->pk, UINT64_MAX);
}

static void as_string(struct bytes *b, double v)
{
    (void)v;
    put_text(b, "0.7");
}

static void psi_is_a_double_a_float32_or_a_whole_number(void **state)
{
    static const struct {
        void (*pack)(struct bytes *b, double v);
        double v;
        int64_t psi;
    } GOOD[] = {
        { as_double, 0.7, 700000 },
        { as_float, 0.7, 700000 },
        { as_double, -1.999999, -1999999 },
        { as_float, -1.999999, -1999999 },
        { as_int, 1, 1000000 },
        { as_int, -2, -2000000 },
        { as_double, 2, 2000000 },
        { as_double, 0.000001, 1 },
        { as_float, 0.000001, 1 },
        { as_double, -0.0, 0 },
    };
    struct message m;
    struct bytes b;
    struct err e;

    (void)state;
    for (size_t i = 0; i < COUNT(GOOD); i++) {
        if (generate_with("psi", GOOD[i].pack, GOOD[i].v, &m, &b, &e))
            fail_msg("%g: %s", GOOD[i].v, e.msg);
        assert_int_equal(m.generate.psi, GOOD[i].psi);
        let_go(&b, &m);
    }
}

static void psi_out_of_range_or_too_fine_is_refused(void **state)
{
    static const struct {
        void (*pack)(struct bytes *b, double v);
        double v;
        enum err_code code;
    } BAD[] = {
        { as_double, 2.000001, ERR_RANGE },
        { as_double, -2.1, ERR_RANGE },
        { as_int, 3, ERR_RANGE },
        { as_int, -9e18, ERR_RANGE },
        { as_large, 0, ERR_RANGE },
        { as_double, 0.7000001, ERR_RANGE },
        { as_double, 1.0 / 3, ERR_RANGE },
        { as_float, 1.0 / 3, ERR_RANGE },
        { as_double, 0.0 / 0.0, ERR_RANGE },
        { as_double, 1e308, ERR_RANGE },
        { as_double, 1e-9, ERR_RANGE },
        { as_string, 0, ERR_INVALID },
    };
    struct message m;
    struct bytes b;
    struct err e;

    (void)state;
    for (size_t i = 0; i < COUNT(BAD); i++) {
        enum err_code rc = generate_with("psi", BAD[i].pack, BAD[i].v, &m, &b, &e);

        if (rc != BAD[i].code)
            fail_msg("case %zu: %s", i, e.msg);
        assert_non_null(strstr(e.msg, "field \"psi\""));
    }
}

/* A generate with field as a list of count numbers, each packed by pack. */
static enum err_code generate_with_list(const char *field, void (*pack)(struct bytes *b, double v),
                                        const double *v, uint32_t count, struct message *m,
                                        struct bytes *b, struct err *e)
{
    begin(b, "generate", 3);
    put_text(b, "model");
    put_text(b, "cats");
    put_text(b, "seed");
    msgpack_pack_int(&b->pk, 3);
    put_text(b, field);
    msgpack_pack_array(&b->pk, count);
    for (uint32_t i = 0; i < count; i++)
        pack(b, v[i]);
    return decode(b, MESSAGE_FROM_CLIENT, m, e);
}

static void a_matrix_is_nine_numbers_of_any_width_rounded_to_float32(void **state)
{
    static const double WHOLE[9] = { 1, 0, -2, 0, 3, 0, 0, 0, 1 };
    static const double FINE[9] = { 1.0 / 3, -0.0, 1e-50, FLT_MAX, -FLT_MAX, 0.1, -0.7, 5e-324, 2 };
    void (*const packs[])(struct bytes *b, double v) = { as_double, as_float, as_int };
    struct message m;
    struct bytes b;
    struct err e;

    (void)state;
    for (size_t p = 0; p < COUNT(packs); p++) {
        assert_int_equal(generate_with_list("transform", packs[p], WHOLE, 9, &m, &b, &e), ERR_OK);
        assert_int_equal(m.generate.transform.count, 9);
        for (int i = 0; i < 9; i++)
            assert_true(m.generate.transform.items[i] == (float)WHOLE[i]);
        let_go(&b, &m);
    }
    assert_int_equal(generate_with_list("transform", as_double, FINE, 9, &m, &b, &e), ERR_OK);
    for (int i = 0; i < 9; i++)
        assert_true(m.generate.transform.items[i] == (float)FINE[i]);
    let_go(&b, &m);
    assert_int_equal(generate_with_list("transform", as_large, FINE, 9, &m, &b, &e), ERR_OK);
    assert_true(m.generate.transform.items[0] == 18446744073709551616.0f);
    let_go(&b, &m);
}

static void lists_of_another_length_or_kind_are_refused(void **state)
{
    static const struct {
        const char *field;
        void (*pack)(struct bytes *b, double v);
        double v;
        uint32_t count;
        enum err_code code;
        const char *words;
    } BAD[] = {
        { "translate", as_double, 0.5, 0, ERR_RANGE, "needs 2 numbers, not 0" },
        { "translate", as_double, 0.5, 1, ERR_RANGE, "needs 2 numbers, not 1" },
        { "translate", as_double, 0.5, 3, ERR_RANGE, "needs 2 numbers, not 3" },
        { "translate", as_double, 0.5, 60000, ERR_RANGE, "needs 2 numbers, not 60000" },
        { "translate", as_double, 0.1234567, 2, ERR_RANGE, "more than six decimal places" },
        { "translate", as_double, 1000.000001, 2, ERR_RANGE, "goes from -1000 to 1000" },
        { "translate", as_double, NAN, 2, ERR_RANGE, "goes from -1000 to 1000" },
        { "translate", as_string, 0, 2, ERR_INVALID, "needs a number" },
        { "transform", as_double, 1, 8, ERR_RANGE, "needs 9 numbers, not 8" },
        { "transform", as_double, 1, 10, ERR_RANGE, "needs 9 numbers, not 10" },
        { "transform", as_double, NAN, 9, ERR_RANGE, "no finite float32" },
        { "transform", as_float, -INFINITY, 9, ERR_RANGE, "no finite float32" },
        { "transform", as_double, 1e39, 9, ERR_RANGE, "no finite float32" },
        { "transform", as_string, 0, 9, ERR_INVALID, "needs a list of numbers" },
    };
    static double v[60000];
    struct message m;
    struct bytes b;
    struct err e;

    (void)state;
    assert_int_equal(generate_with("transform", as_int, 1, &m, &b, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "field \"transform\" needs a list of numbers"));
    for (size_t i = 0; i < COUNT(BAD); i++) {
        for (uint32_t k = 0; k < BAD[i].count; k++)
            v[k] = BAD[i].v;
        enum err_code rc =
            generate_with_list(BAD[i].field, BAD[i].pack, v, BAD[i].count, &m, &b, &e);

        if (rc != BAD[i].code || !strstr(e.msg, BAD[i].field) || !strstr(e.msg, BAD[i].words))
            fail_msg("case %zu: %s \"%s\"", i, err_info(rc)->word, e.msg);
    }
}

static void lists_hold_no_more_than_their_places(void **state)
{
    (void)state;
    for (int type = 0; type < MESSAGE_TYPE_COUNT; type++) {
        const struct field_table *table = message_info((enum message_type)type)->table;

        for (size_t i = 0; i < table->count; i++) {
            if (table->fields[i].kind == FIELD_DECIMALS)
                assert_in_range(table->fields[i].most, 1, MESSAGE_DECIMALS_MAX);
            if (table->fields[i].kind == FIELD_FLOATS)
                assert_in_range(table->fields[i].most, 1, MESSAGE_FLOATS_MAX);
        }
    }
}

static void a_matrix_goes_there_and_back_to_the_bit(void **state)
{
    struct message m, back;
    struct err e;
    void *data;
    size_t len;

    (void)state;
    message_init(&m, MESSAGE_GENERATE, 1);
    m.generate.model = text_of("cats");
    m.generate.seed = 3;
    for (int size = SMALLEST; size <= LARGEST; size++) {
        const struct field_table *table = message_info(MESSAGE_GENERATE)->table;

        for (size_t i = 0; i < table->count; i++)
            if (table->fields[i].kind == FIELD_FLOATS)
                fill_field(&table->fields[i], (char *)&m.generate + table->fields[i].offset,
                           (enum size)size);
        m.generate.transform.items[4] = -0.0f;
        m.generate.transform.items[5] = FLT_TRUE_MIN;
        if (message_encode(&m, &data, &len, &e) ||
            message_decode(data, len, MESSAGE_FROM_CLIENT, &back, &e))
            fail_msg("%s", e.msg);
        assert_memory_equal(&back.generate.transform, &m.generate.transform,
                            sizeof m.generate.transform);
        message_release(&back);
        free(data);
    }
}

static void a_matrix_goes_without_shift_and_turn(void **state)
{
    static const struct decimals NOWHERE = { 2, { 0, 0 } };
    struct message m, back;
    struct err e;

    (void)state;
    for (int with = 0; with < 3; with++) {
        void *data;
        size_t len;

        message_init(&m, MESSAGE_GENERATE, 1);
        m.generate.model = text_of("cats");
        m.generate.seed = 3;
        m.generate.transform = (struct floats){ 9, { 0 } };
        if (with == 1)
            m.generate.translate = NOWHERE;
        if (with == 2)
            m.generate.rotate = 0;
        assert_int_equal(message_encode(&m, &data, &len, &e), ERR_OK);
        assert_int_equal(message_decode(data, len, MESSAGE_FROM_CLIENT, &back, &e),
                         with ? ERR_INVALID : ERR_OK);
        if (with)
            assert_string_equal(e.msg, "give either \"transform\" or \"translate\" and "
                                       "\"rotate\"");
        message_release(&back);
        free(data);
    }
}

static void a_generate_becomes_the_request_of_a_recipe(void **state)
{
    struct message m;
    struct recipe_request r;

    (void)state;
    message_init(&m, MESSAGE_GENERATE, 1);
    r = message_recipe_request(&m.generate, 7);
    assert_int_equal(r.seed, 7);
    assert_int_equal(r.psi, 1000000);
    assert_int_equal(r.transform.kind, RECIPE_TRANSFORM_NONE);
    m.generate.rotate = 0;
    r = message_recipe_request(&m.generate, 7);
    assert_int_equal(r.transform.kind, RECIPE_TRANSFORM_TR);
    m.generate.translate = (struct decimals){ 2, { 250000, -1 } };
    m.generate.rotate = INT64_MIN;
    r = message_recipe_request(&m.generate, 7);
    assert_int_equal(r.transform.kind, RECIPE_TRANSFORM_TR);
    assert_int_equal(r.transform.tx, 250000);
    assert_int_equal(r.transform.ty, -1);
    assert_int_equal(r.transform.degrees, 0);
    m.generate.rotate = 45000000;
    r = message_recipe_request(&m.generate, 7);
    assert_int_equal(r.transform.tx, 250000);
    assert_int_equal(r.transform.degrees, 45000000);
    m.generate.transform = (struct floats){ 9, { 1, 2, 3, 4, 5, 6, 7, 8, 9 } };
    r = message_recipe_request(&m.generate, 7);
    assert_int_equal(r.transform.kind, RECIPE_TRANSFORM_MATRIX);
    assert_memory_equal(r.transform.m, m.generate.transform.items, sizeof r.transform.m);
    m.generate.cutoff = 3;
    m.generate.class_index = 4;
    m.generate.noise_mode = RECIPE_NOISE_RANDOM;
    m.generate.noise_seed = UINT32_MAX;
    r = message_recipe_request(&m.generate, 7);
    assert_int_equal(r.cutoff, 3);
    assert_int_equal(r.class_index, 4);
    assert_int_equal(r.noise, RECIPE_NOISE_RANDOM);
    assert_int_equal(r.noise_seed, UINT32_MAX);
}

static void whole_numbers_are_read_in_every_width_and_never_from_floats(void **state)
{
    static const uint8_t WIDTHS[][10] = {
        { 1, 5 }, { 2, 0xcc, 5 }, { 3, 0xcd, 0, 5 }, { 5, 0xce, 0, 0, 0, 5 },
        { 9, 0xcf, 0, 0, 0, 0, 0, 0, 0, 5 }, { 2, 0xd0, 5 }, { 3, 0xd1, 0, 5 },
        { 5, 0xd2, 0, 0, 0, 5 }, { 9, 0xd3, 0, 0, 0, 0, 0, 0, 0, 5 },
    };
    struct message m;
    struct bytes b;
    struct err e;

    (void)state;
    for (size_t i = 0; i < COUNT(WIDTHS); i++) {
        begin(&b, "cancel", 1);
        put_text(&b, "request");
        msgpack_sbuffer_write(&b.buffer, (const char *)WIDTHS[i] + 1, WIDTHS[i][0]);
        assert_int_equal(decode(&b, MESSAGE_FROM_CLIENT, &m, &e), ERR_OK);
        assert_int_equal(m.cancel.request, 5);
        let_go(&b, &m);
    }
    begin(&b, "cancel", 1);
    put_text(&b, "request");
    msgpack_pack_double(&b.pk, 5);
    assert_refused(&b, MESSAGE_FROM_CLIENT, ERR_INVALID, "field \"request\" needs a whole number");
}

static void seeds_are_a_list_or_a_range(void **state)
{
    struct message m;
    struct bytes b;
    struct err e;

    (void)state;
    begin(&b, "generate", 2);
    put_text(&b, "model");
    put_text(&b, "cats");
    put_text(&b, "seeds");
    msgpack_pack_map(&b.pk, 2);
    put_text(&b, "last");
    msgpack_pack_uint32(&b.pk, UINT32_MAX);
    put_text(&b, "first");
    msgpack_pack_uint32(&b.pk, UINT32_MAX - 999);
    assert_int_equal(decode(&b, MESSAGE_FROM_CLIENT, &m, &e), ERR_OK);
    assert_int_equal(m.generate.seeds.count, 1000);
    assert_true(m.generate.seeds.items[0] == (int64_t)UINT32_MAX - 999);
    assert_true(m.generate.seeds.items[999] == UINT32_MAX);
    assert_int_equal(m.generate.seed, -1);
    let_go(&b, &m);
}

static void a_range_that_is_none_is_refused(void **state)
{
    static const struct { int64_t first, last; enum err_code code; const char *words; } BAD[] = {
        { 5, 4, ERR_RANGE, "runs backwards: 5 to 4" }, { 0, 1000, ERR_RANGE, "has 1001 items" },
        { -1, 4, ERR_RANGE, "field \"seeds\" is out of range" },
        { 0, 4294967296, ERR_RANGE, "field \"seeds\" is out of range" },
        { 0, 4294967295, ERR_RANGE, "has 4294967296 items" },
    };
    struct bytes b;

    (void)state;
    for (size_t i = 0; i < COUNT(BAD); i++) {
        begin(&b, "generate", 2);
        put_text(&b, "model");
        put_text(&b, "cats");
        put_text(&b, "seeds");
        msgpack_pack_map(&b.pk, 2);
        put_text(&b, "first");
        msgpack_pack_int64(&b.pk, BAD[i].first);
        put_text(&b, "last");
        msgpack_pack_int64(&b.pk, BAD[i].last);
        assert_refused(&b, MESSAGE_FROM_CLIENT, BAD[i].code, BAD[i].words);
    }
    begin(&b, "generate", 2);
    put_text(&b, "model");
    put_text(&b, "cats");
    put_text(&b, "seeds");
    msgpack_pack_map(&b.pk, 1);
    put_text(&b, "first");
    msgpack_pack_int(&b.pk, 1);
    assert_refused(&b, MESSAGE_FROM_CLIENT, ERR_INVALID, "needs \"first\" and \"last\"");
}

static void digests_are_lower_case_hex_of_one_length(void **state)
{
    static const char *const BAD[] = {
        "", "ab", "00070E151c232a31383f464d545b626970777e858c939aa1a8afb6bdc4cbd2d9",
        "00070e151c232a31383f464d545b626970777e858c939aa1a8afb6bdc4cbd2d90",
        "00070e151c232a31383f464d545b626970777e858c939aa1a8afb6bdc4cbd2d ",
    };
    struct bytes b;

    (void)state;
    for (size_t i = 0; i < COUNT(BAD); i++) {
        begin(&b, "fetch", 1);
        put_text(&b, "sha256");
        put_text(&b, BAD[i]);
        assert_refused(&b, MESSAGE_FROM_CLIENT, ERR_INVALID, "needs 64 lower-case hex digits");
    }
}

static void text_that_is_not_plain_ascii_is_refused(void **state)
{
    static const char *const BAD[] = {
        "c\xc3\xa4ts", "cats\t", "cats\r", "\x7f", "\xff", "\x1b[2J"
    };
    struct bytes b;

    (void)state;
    for (size_t i = 0; i < COUNT(BAD); i++) {
        begin(&b, "generate", 2);
        put_text(&b, "seed");
        msgpack_pack_int(&b.pk, 1);
        put_text(&b, "model");
        put_text(&b, BAD[i]);
        assert_refused(&b, MESSAGE_FROM_CLIENT, ERR_INVALID, "not plain ASCII");
    }
    begin(&b, "generate", 2);
    put_text(&b, "seed");
    msgpack_pack_int(&b.pk, 1);
    put_text(&b, "model");
    msgpack_pack_str_with_body(&b.pk, "ca\0ts", 5);
    assert_refused(&b, MESSAGE_FROM_CLIENT, ERR_INVALID, "not plain ASCII");
    begin(&b, "generate", 2);
    put_text(&b, "seed");
    msgpack_pack_int(&b.pk, 1);
    put_text(&b, "model");
    msgpack_pack_bin_with_body(&b.pk, "cats", 4);
    assert_refused(&b, MESSAGE_FROM_CLIENT, ERR_INVALID, "needs a string");
}

static void fields_that_exclude_each_other_are_refused_together_and_alone(void **state)
{
    static const char *const KEY =
        "00070e151c232a31383f464d545b626970777e858c939aa1a8afb6bdc4cbd2d9";
    static const struct { const char *type, *a, *b, *words; } BAD[] = {
        { "generate", "seed", "seeds", "either \"seed\" or \"seeds\"" },
        { "generate", NULL, NULL, "either \"seed\" or \"seeds\"" },
        { "fetch", "recipe_key", "sha256", "either \"recipe_key\" or \"sha256\"" },
        { "fetch", NULL, NULL, "either \"recipe_key\" or \"sha256\"" },
        { "lookup", "seed", "sha256", "give one of" }, { "lookup", NULL, NULL, "give one of" },
        { "lookup", "core_sha256", "sha256", "give one of" },
        { "lookup", "job", "since", "give one of" }, { "lookup", "like", "seed", "give one of" },
        { "lookup", "sha256", "first", "goes with \"job\" only" },
        { "lookup", "sha256", "psi", "goes with \"seed\" only" },
        { "lookup", "sha256", "model", "goes with \"seed\" and \"since\" only" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(BAD); i++) {
        const char *names[] = { BAD[i].a, BAD[i].b };
        bool is_generate = strcmp(BAD[i].type, "generate") == 0;
        struct bytes b;

        begin(&b, BAD[i].type, (BAD[i].a ? 2 : 0) + is_generate);
        if (is_generate) {
            put_text(&b, "model");
            put_text(&b, "cats");
        }
        for (int k = 0; k < 2 && names[k]; k++) {
            put_text(&b, names[k]);
            if (strcmp(names[k], "seeds") == 0) {
                msgpack_pack_array(&b.pk, 1);
                msgpack_pack_int(&b.pk, 1);
            } else if (strstr(names[k], "sha256") || strcmp(names[k], "recipe_key") == 0 ||
                       strcmp(names[k], "like") == 0)
                put_text(&b, KEY);
            else if (strcmp(names[k], "model") == 0)
                put_text(&b, "cats");
            else
                msgpack_pack_int(&b.pk, 1);
        }
        assert_refused(&b, MESSAGE_FROM_CLIENT, ERR_INVALID, BAD[i].words);
    }
}

/* ---- the head ---- */

static void unknown_fields_are_ignored_whatever_they_hold(void **state)
{
    struct bytes b;
    struct message m;
    struct err e;

    (void)state;
    begin(&b, "ping", 4);
    put_text(&b, "later");
    msgpack_pack_array(&b.pk, 1);
    msgpack_pack_map(&b.pk, 1);
    msgpack_pack_int(&b.pk, 5);
    msgpack_pack_array(&b.pk, 0);    /* four deep */
    put_text(&b, "text");
    put_text(&b, "caf\xc3\xa9");
    msgpack_pack_int(&b.pk, 12);     /* a key that is no string */
    msgpack_pack_ext_with_body(&b.pk, "abc", 3, 9);
    msgpack_pack_nil(&b.pk);
    msgpack_pack_bin_with_body(&b.pk, "\0\1", 2);
    assert_int_equal(decode(&b, MESSAGE_FROM_CLIENT, &m, &e), ERR_OK);
    assert_int_equal(m.type, MESSAGE_PING);
    let_go(&b, &m);
}

static void types_are_refused_from_those_who_may_not_send_them(void **state)
{
    static const enum message_sender SENDERS[] = { MESSAGE_FROM_CLIENT, MESSAGE_FROM_BROKER,
                                                   MESSAGE_FROM_WORKER };

    (void)state;
    for (int type = 0; type < MESSAGE_TYPE_COUNT; type++)
        for (size_t i = 0; i < COUNT(SENDERS); i++) {
            struct bytes b;

            if (message_info((enum message_type)type)->from & (unsigned)SENDERS[i])
                continue;
            begin(&b, message_word((enum message_type)type), 0);
            assert_refused(&b, SENDERS[i], ERR_TYPE, "unknown message type");
        }
}

static void an_unknown_type_is_named(void **state)
{
    struct bytes b;

    (void)state;
    begin(&b, "generat", 0);
    assert_refused(&b, MESSAGE_FROM_CLIENT, ERR_TYPE, "unknown message type \"generat\"");
    begin(&b, "a\x1b[2J\xc3\xa4", 0);
    assert_refused(&b, MESSAGE_FROM_CLIENT, ERR_TYPE, "unknown message type \"a?[2J??\"");
    begin(&b, "a type of more than thirty-two bytes is cut", 0);
    assert_refused(&b, MESSAGE_FROM_CLIENT, ERR_TYPE, "\"a type of more than thirty-two b\"");
}

static enum err_code decode_head(void (*pack)(struct bytes *b), struct message *m, struct err *e)
{
    char exact[256];
    struct bytes b;
    enum err_code rc;

    bytes_init(&b);
    pack(&b);
    assert_true(b.buffer.size <= sizeof exact);
    memcpy(exact, b.buffer.data, b.buffer.size);
    rc = message_decode(exact, b.buffer.size, MESSAGE_FROM_CLIENT, m, e);
    msgpack_sbuffer_destroy(&b.buffer);
    message_release(m);
    return rc;
}

static void no_version(struct bytes *b)
{
    msgpack_pack_map(&b->pk, 2);
    put_text(b, "id");
    msgpack_pack_int(&b->pk, 7);
    put_text(b, "type");
    put_text(b, "ping");
}

static void other_version(struct bytes *b)
{
    msgpack_pack_map(&b->pk, 3);
    put_text(b, "type");
    put_text(b, "ping");
    put_text(b, "v");
    msgpack_pack_int(&b->pk, 2);
    put_text(b, "id");
    msgpack_pack_int(&b->pk, 7);
}

static void version_as_text(struct bytes *b)
{
    msgpack_pack_map(&b->pk, 3);
    put_text(b, "type");
    put_text(b, "ping");
    put_text(b, "v");
    put_text(b, "1");
    put_text(b, "id");
    msgpack_pack_int(&b->pk, 7);
}

static void no_type(struct bytes *b)
{
    msgpack_pack_map(&b->pk, 2);
    put_text(b, "v");
    msgpack_pack_int(&b->pk, 1);
    put_text(b, "id");
    msgpack_pack_int(&b->pk, 7);
}

static void unknown_type(struct bytes *b)
{
    msgpack_pack_map(&b->pk, 3);
    put_text(b, "v");
    msgpack_pack_int(&b->pk, 1);
    put_text(b, "id");
    msgpack_pack_int(&b->pk, 7);
    put_text(b, "type");
    put_text(b, "progress");
}

static void bad_field(struct bytes *b)
{
    msgpack_pack_map(&b->pk, 4);
    put_text(b, "v");
    msgpack_pack_int(&b->pk, 1);
    put_text(b, "id");
    msgpack_pack_int(&b->pk, 7);
    put_text(b, "type");
    put_text(b, "cancel");
    put_text(b, "request");
    msgpack_pack_int(&b->pk, -1);
}

static void the_id_of_a_refused_message_is_known(void **state)
{
    static const struct { void (*pack)(struct bytes *b); enum err_code code; const char *words; }
    CASES[] = {
        { no_version, ERR_INVALID, "field \"v\" is missing" },
        { other_version, ERR_VERSION, "protocol version 2 is not spoken here; 1 is" },
        { version_as_text, ERR_INVALID, "field \"v\" needs a whole number" },
        { no_type, ERR_INVALID, "field \"type\" is missing" },
        { unknown_type, ERR_TYPE, "unknown message type" },
        { bad_field, ERR_RANGE, "field \"request\"" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct message m;
        struct err e = { 0 };

        assert_int_equal(decode_head(CASES[i].pack, &m, &e), CASES[i].code);
        if (!strstr(e.msg, CASES[i].words))
            fail_msg("\"%s\" does not say \"%s\"", e.msg, CASES[i].words);
        assert_int_equal(m.id, 7);
    }
}

static void an_id_that_is_none_is_refused(void **state)
{
    static const struct { void (*pack)(struct bytes *b, double v); double v; } BAD[] = {
        { as_int, -1 }, { as_int, 9007199254740994.0 }, { as_large, 0 }, { as_double, 1 },
        { as_string, 0 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(BAD); i++) {
        struct message m;
        struct bytes b;
        struct err e;

        bytes_init(&b);
        msgpack_pack_map(&b.pk, 3);
        put_text(&b, "v");
        msgpack_pack_int(&b.pk, 1);
        put_text(&b, "type");
        put_text(&b, "ping");
        put_text(&b, "id");
        BAD[i].pack(&b, BAD[i].v);
        assert_int_equal(decode(&b, MESSAGE_FROM_CLIENT, &m, &e), ERR_INVALID);
        assert_non_null(strstr(e.msg, "field \"id\""));
        assert_int_equal(m.id, 0);
    }
}

static void of_a_key_that_comes_twice_the_first_counts(void **state)
{
    struct bytes b;
    struct message m;
    struct err e;

    (void)state;
    begin(&b, "cancel", 3);
    put_text(&b, "request");
    msgpack_pack_int(&b.pk, 1);
    put_text(&b, "request");
    msgpack_pack_int(&b.pk, 2);
    put_text(&b, "type");
    put_text(&b, "ping");
    assert_int_equal(decode(&b, MESSAGE_FROM_CLIENT, &m, &e), ERR_OK);
    assert_int_equal(m.type, MESSAGE_CANCEL);
    assert_int_equal(m.cancel.request, 1);
    let_go(&b, &m);
}

/* ---- bytes that are no message ---- */

static void assert_no_message(const void *data, size_t len)
{
    char *exact = malloc(len ? len : 1);
    struct message m;
    struct err e = { 0 };

    memcpy(exact, data, len);
    assert_int_equal(message_decode(exact, len, MESSAGE_FROM_CLIENT, &m, &e), ERR_INVALID);
    assert_true(strlen(e.msg) > 0);
    message_release(&m);
    free(exact);
}

static void bytes_that_are_no_map_are_refused(void **state)
{
    static const struct { size_t len; const char *bytes; } BAD[] = {
        { 0, "" }, { 1, "\xc1" }, { 1, "\xc0" }, { 1, "\x05" }, { 1, "\x90" }, { 5, "\xa4ping" },
        { 1, "\x81" }, { 2, "\x81\xa1" }, { 3, "\x81\xa1v" }, { 2, "\xde\x00" },
        { 3, "\xc4\xff\x01" }, { 2, "\xca\x00" }, { 5, "\xc6\xff\xff\xff\xff" },
        { 6, "\xc9\xff\xff\xff\xff\x01" }, { 5, "\xdb\xff\xff\xff\xff" }, { 1, "\xd8" },
        { 14, "GET / HTTP/1.1" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(BAD); i++)
        assert_no_message(BAD[i].bytes, BAD[i].len);
}

static void bytes_after_the_map_are_refused(void **state)
{
    struct message m;
    struct err e;
    void *data;
    size_t len;
    char longer[64];

    (void)state;
    message_init(&m, MESSAGE_PING, 3);
    assert_int_equal(message_encode(&m, &data, &len, NULL), ERR_OK);
    memcpy(longer, data, len);
    longer[len] = '\xc0';
    assert_int_equal(message_decode(longer, len, MESSAGE_FROM_CLIENT, &m, &e), ERR_OK);
    message_release(&m);
    assert_no_message(longer, len + 1);
    for (size_t cut = 0; cut < len; cut++)
        assert_no_message(longer, cut);
    free(data);
}

static void five_deep_is_too_deep(void **state)
{
    struct message m;
    struct err e;

    (void)state;
    for (int deep = 0; deep < 100000; deep = deep ? 10 * deep : 1) {
        struct bytes b;
        enum err_code rc;

        begin(&b, "ping", 1);
        put_text(&b, "x");
        for (int i = 0; i < deep + 3; i++)
            msgpack_pack_array(&b.pk, 1);
        msgpack_pack_int(&b.pk, 1);
        rc = decode(&b, MESSAGE_FROM_CLIENT, &m, &e);
        assert_int_equal(rc, deep == 0 ? ERR_OK : ERR_INVALID);
        if (!rc)
            let_go(&b, &m);
    }
}

static void no_more_objects_than_the_limit(void **state)
{
    struct message m;
    struct err e;

    (void)state;
    for (uint32_t over = 0; over < 2; over++) {
        uint32_t items = (1u << 16) - 9 + over;      /* nine: the map, its keys, the list */
        struct bytes b;
        enum err_code rc;

        begin(&b, "ping", 1);
        put_text(&b, "x");
        msgpack_pack_array(&b.pk, items);
        for (uint32_t i = 0; i < items; i++)
            msgpack_pack_nil(&b.pk);
        rc = decode(&b, MESSAGE_FROM_CLIENT, &m, &e);
        assert_int_equal(rc, over ? ERR_INVALID : ERR_OK);
        if (!rc)
            let_go(&b, &m);
    }
}

static void a_map_beyond_its_size_is_refused_unread(void **state)
{
    char *data = calloc(1, MESSAGE_MAP_MAX + 1);
    struct message m;
    struct err e;

    (void)state;
    assert_int_equal(message_decode(data, MESSAGE_MAP_MAX + 1, MESSAGE_FROM_CLIENT, &m, &e),
                     ERR_TOO_LARGE);
    message_release(&m);
    assert_int_equal(message_decode(data, MESSAGE_MAP_MAX, MESSAGE_FROM_CLIENT, &m, &e),
                     ERR_INVALID);
    message_release(&m);
    free(data);
}

/* Where the address sanitizer has its shadow, the address space cannot be limited: there the test
 * holds the answer only. */
static void limit_memory(struct rlimit *before, size_t more)
{
#if !defined(__SANITIZE_ADDRESS__)
    FILE *statm = fopen("/proc/self/statm", "r");
    long pages = 0;

    assert_non_null(statm);
    assert_int_equal(fscanf(statm, "%ld", &pages), 1);
    fclose(statm);
    assert_int_equal(getrlimit(RLIMIT_AS, before), 0);
    struct rlimit limit = { (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + more,
                            before->rlim_max };

    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
#else
    (void)more;
    getrlimit(RLIMIT_AS, before);
#endif
}

/* A header that promises four thousand million items must not reserve room for them: with 16 MiB to
 * spare the answer is "malformed", not "no memory". */
static void large_promises_reserve_no_memory(void **state)
{
    static const struct { size_t len; const char *bytes; } BAD[] = {
        { 5, "\xdd\xff\xff\xff\xff" }, { 5, "\xdf\xff\xff\xff\xff" }, { 3, "\xdc\xff\xff" },
        { 8, "\x81\xa1v\xdd\xff\xff\xff\xff" }, { 8, "\x81\xa1v\xdf\xff\xff\xff\xff" },
        { 12, "\x82\xa1v\x01\xa1l\xdd\x7f\xff\xff\xff\x01" },
    };
    struct rlimit before;

    (void)state;
    limit_memory(&before, 16 << 20);
    for (size_t i = 0; i < COUNT(BAD); i++)
        assert_no_message(BAD[i].bytes, BAD[i].len);
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
}

/* ---- small things ---- */

static void texts_are_compared_and_copied_by_their_length(void **state)
{
    char out[5];

    (void)state;
    assert_true(text_is((struct text){ "catsup", 4 }, "cats"));
    assert_false(text_is((struct text){ "cats", 3 }, "cats"));
    assert_true(text_is((struct text){ NULL, 0 }, ""));
    assert_string_equal(text_copy(text_of("cats"), out, sizeof out), "cats");
    assert_string_equal(text_copy(text_of("catsup"), out, sizeof out), "cats");
    assert_string_equal(text_copy((struct text){ NULL, 0 }, out, sizeof out), "");
}

static void a_field_is_described_in_one_line(void **state)
{
    const struct field_table *table = message_info(MESSAGE_GENERATE)->table;
    char line[400], cut[20];
    size_t len = message_describe(&table->fields[1], line, sizeof line);

    (void)state;
    assert_string_equal(line, "| `seed` | int | 0..4294967295 | - | one picture; either this or "
                              "`seeds` |");
    assert_int_equal(len, strlen(line));
    assert_int_equal(message_describe(&table->fields[1], cut, sizeof cut), sizeof cut - 1);
    assert_memory_equal(cut, line, sizeof cut - 1);
}

static void a_look_sees_numbers_and_strings_of_every_width(void **state)
{
    static const char MAP[] = "\x8b"
        "\xa1" "a" "\x05" "\xa1" "b" "\xff" "\xa1" "c" "\xcc\xff" "\xa1" "d" "\xd1\xff\x00"
        "\xa1" "e" "\xce\xff\xff\xff\xff" "\xa1" "f" "\xcf\xff\xff\xff\xff\xff\xff\xff\xff"
        "\xa1" "g" "\xd3\x80\x00\x00\x00\x00\x00\x00\x00"
        "\xa1" "h" "\xa2hi" "\xd9\x01" "i" "\xd9\x02ho" "\xa1" "j" "\x92\x01\x02" "\xa1" "a" "\x06";
    static const int64_t EXPECT[] = { 5, -1, 255, -256, UINT32_MAX, 0, INT64_MIN };
    static const char KEYS[][2] = { "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k" };
    struct message_peek peeks[sizeof KEYS / sizeof KEYS[0]];

    (void)state;
    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0]; i++)
        peeks[i] = (struct message_peek){ .key = KEYS[i], .found = true, .number = 77 };
    assert_true(message_peek(MAP, sizeof MAP - 1, peeks, sizeof KEYS / sizeof KEYS[0]));
    for (size_t i = 0; i < 7; i++) {
        assert_true(peeks[i].found == (i != 5));         /* beyond int64: as if it were no number */
        if (i != 5)
            assert_true(peeks[i].number == EXPECT[i]);
    }
    assert_true(peeks[7].found && text_is(peeks[7].text, "hi"));
    assert_true(peeks[8].found && text_is(peeks[8].text, "ho"));
    assert_false(peeks[9].found);                        /* a list is neither */
    assert_false(peeks[10].found);
    assert_int_equal(peeks[10].number, 0);
}

static void a_look_at_what_is_no_whole_map_says_so(void **state)
{
    static const char WHOLE[] = "\x82\xa2id\xcd\x01\x02\xa4type\xa5image";
    struct message_peek id = { .key = "id" };

    (void)state;
    assert_true(message_peek(WHOLE, sizeof WHOLE - 1, &id, 1));
    assert_int_equal(id.number, 258);
    for (size_t len = 0; len < sizeof WHOLE - 1; len++)
        assert_false(message_peek(WHOLE, len, &id, 1));
    assert_false(message_peek(WHOLE, sizeof WHOLE, &id, 1));         /* a byte too many */
    assert_false(message_peek("\x91\x01", 2, &id, 1));
    assert_false(message_peek("\x81\x01\x02", 3, &id, 1));           /* a key that is no string */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_comes_back_with_every_field_set),
        cmocka_unit_test(a_map_encoded_once_goes_out_under_any_id),
        cmocka_unit_test(what_is_at_its_default_is_left_out_and_comes_back),
        cmocka_unit_test(the_defaults_are_those_of_the_table),
        cmocka_unit_test(an_image_always_says_where_it_comes_from),
        cmocka_unit_test(the_encoder_refuses_what_the_decoder_would),
        cmocka_unit_test(the_encoder_turns_what_is_not_plain_ascii_into_question_marks),
        cmocka_unit_test(a_field_of_another_type_is_refused_by_its_name),
        cmocka_unit_test(a_field_beyond_its_limits_is_refused_by_its_name),
        cmocka_unit_test(a_required_field_that_is_missing_or_nil_is_refused),
        cmocka_unit_test(nil_is_as_good_as_absent),
        cmocka_unit_test(psi_is_a_double_a_float32_or_a_whole_number),
        cmocka_unit_test(psi_out_of_range_or_too_fine_is_refused),
        cmocka_unit_test(a_matrix_is_nine_numbers_of_any_width_rounded_to_float32),
        cmocka_unit_test(lists_of_another_length_or_kind_are_refused),
        cmocka_unit_test(lists_hold_no_more_than_their_places),
        cmocka_unit_test(a_matrix_goes_there_and_back_to_the_bit),
        cmocka_unit_test(a_matrix_goes_without_shift_and_turn),
        cmocka_unit_test(a_generate_becomes_the_request_of_a_recipe),
        cmocka_unit_test(whole_numbers_are_read_in_every_width_and_never_from_floats),
        cmocka_unit_test(seeds_are_a_list_or_a_range),
        cmocka_unit_test(a_range_that_is_none_is_refused),
        cmocka_unit_test(digests_are_lower_case_hex_of_one_length),
        cmocka_unit_test(text_that_is_not_plain_ascii_is_refused),
        cmocka_unit_test(fields_that_exclude_each_other_are_refused_together_and_alone),
        cmocka_unit_test(unknown_fields_are_ignored_whatever_they_hold),
        cmocka_unit_test(types_are_refused_from_those_who_may_not_send_them),
        cmocka_unit_test(an_unknown_type_is_named),
        cmocka_unit_test(the_id_of_a_refused_message_is_known),
        cmocka_unit_test(an_id_that_is_none_is_refused),
        cmocka_unit_test(of_a_key_that_comes_twice_the_first_counts),
        cmocka_unit_test(bytes_that_are_no_map_are_refused),
        cmocka_unit_test(bytes_after_the_map_are_refused),
        cmocka_unit_test(five_deep_is_too_deep),
        cmocka_unit_test(no_more_objects_than_the_limit),
        cmocka_unit_test(a_map_beyond_its_size_is_refused_unread),
        cmocka_unit_test(large_promises_reserve_no_memory),
        cmocka_unit_test(texts_are_compared_and_copied_by_their_length),
        cmocka_unit_test(a_field_is_described_in_one_line),
        cmocka_unit_test(a_look_sees_numbers_and_strings_of_every_width),
        cmocka_unit_test(a_look_at_what_is_no_whole_map_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
