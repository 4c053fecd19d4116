/* The broker's pictures in memory: what goes first, what comes in, what it costs. */
#include "broker/cache.h"
#include "proto/message.h"

#include "base/clock.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include <cmocka.h>

enum { BOUND = 1 << 20, SOON_MS = 1000 };

static struct digest key_of(int number)
{
    return digest_of(&number, sizeof number);
}

static const struct recipe RECIPE = { .seed = 7, .quality = 90 };

static void put_picture(struct cache *cache, const struct digest *key, const struct digest *sha,
                        struct frame *file, enum cache_interest interest)
{
    struct picture picture = { .recipe = &RECIPE, .key = *key, .file_sha = *sha, .core_sha = *sha,
                               .numerics_class = "cpu-1", .encoder = "test-1", .run = 3,
                               .batch = 2, .render_us = 9, .jpeg = file };

    cache_put(cache, &picture, interest);
}

static bool is_there(const struct cache *cache, const struct digest *key)
{
    const struct cache_entry *entry;

    DL_FOREACH(cache->recent, entry)
        if (digest_equal(&entry->key, key))
            return true;
    return false;
}

/* Whether it is there then, and was not before. */
static bool put_as(struct cache *cache, int number, size_t len, enum cache_interest interest)
{
    struct digest key = key_of(number);
    bool was_there = is_there(cache, &key);
    char *bytes = calloc(1, len);
    struct frame file;

    snprintf(bytes, len, "file %d", number);
    struct digest sha = digest_of(bytes, len);

    assert_true(frame_init_take(&file, bytes, len));
    put_picture(cache, &key, &sha, &file, interest);
    frame_release(&file);
    return !was_there && is_there(cache, &key);
}

static bool put(struct cache *cache, int number, size_t len)
{
    return put_as(cache, number, len, CACHE_ASKED);
}

static bool has(struct cache *cache, int number)
{
    struct digest key = key_of(number);
    struct cache_entry *entry = cache_find(cache, &key, SOON_MS);
    char text[32];

    snprintf(text, sizeof text, "file %d", number);
    if (entry) {
        struct picture picture = cache_picture(entry);

        assert_string_equal(frame_data(picture.jpeg), text);
        assert_string_equal(picture.numerics_class, "cpu-1");
        assert_string_equal(picture.encoder, "test-1");
        assert_int_equal(picture.recipe->seed, RECIPE.seed);
        assert_int_equal(picture.run, 3);
        assert_int_equal(picture.batch, 2);
        assert_int_equal(picture.render_us, 0);
        assert_int_equal(picture.source, MESSAGE_SOURCE_MEMORY);
    }
    return entry != NULL;
}

static void what_was_put_is_found_and_nothing_else(void **state)
{
    struct cache cache;

    (void)state;
    cache_init(&cache, BOUND, 0);
    assert_true(put(&cache, 1, 100));
    assert_true(put(&cache, 2, CACHE_SHARED_MIN));
    assert_true(has(&cache, 1));
    assert_true(has(&cache, 2));
    assert_false(has(&cache, 3));
    assert_false(put(&cache, 1, 200));       /* the first picture stays */
    struct digest key = key_of(1);

    cache_remove(&cache, &key);
    cache_remove(&cache, &key);
    assert_false(has(&cache, 1));
    cache_empty(&cache);
    assert_false(has(&cache, 2));
    assert_int_equal(cache.bytes, 0);
    cache_release(&cache);
}

static void the_least_recently_asked_for_goes_first(void **state)
{
    enum { FILE_BYTES = BOUND / 10 };
    struct cache cache;

    (void)state;
    cache_init(&cache, BOUND, 0);
    for (int i = 0; i < 9; i++)
        assert_true(put(&cache, i, FILE_BYTES));
    assert_true(has(&cache, 0));             /* asked for again */
    for (int i = 9; i < 13; i++)
        assert_true(put(&cache, i, FILE_BYTES));
    assert_true(cache.bytes <= BOUND);
    assert_true(has(&cache, 0));
    for (int i = 1; i <= 4; i++)
        assert_false(has(&cache, i));
    for (int i = 5; i < 13; i++)
        assert_true(has(&cache, i));
    cache_release(&cache);
}

static void no_file_takes_more_than_an_eighth(void **state)
{
    struct cache cache, off;

    (void)state;
    cache_init(&cache, BOUND, 0);
    cache_init(&off, 0, 0);
    assert_false(put(&cache, 1, BOUND / 8 + 1));
    assert_false(put(&cache, 2, BOUND / 8)); /* not with what it costs beside */
    assert_true(put(&cache, 3, BOUND / 8 - 1000));
    assert_true(has(&cache, 3));
    assert_false(put(&off, 1, 1));
    cache_release(&off);
    cache_release(&cache);
}

static void an_answers_map_is_kept_and_counted(void **state)
{
    char bytes[CACHE_MAP_MAX + 1] = { 0 };
    struct digest key = key_of(1);
    struct frame map, long_map;
    struct cache cache;
    size_t before;

    (void)state;
    cache_init(&cache, BOUND, 0);
    assert_true(frame_init_copy(&long_map, bytes, sizeof bytes));
    assert_true(frame_init_copy(&map, "a map", 5));
    assert_true(put(&cache, 1, 100));
    struct cache_entry *entry = cache_find(&cache, &key, SOON_MS);

    before = cache.bytes;
    cache_put_map(&cache, entry, &long_map);
    assert_null(entry->map);
    assert_int_equal(cache.bytes, before);
    cache_put_map(&cache, entry, &map);
    assert_int_equal(entry->map_len, 5);
    assert_memory_equal(entry->map, "a map", 5);
    assert_true(cache.bytes >= before + 5);
    cache_put_map(&cache, entry, &map);      /* once is enough */
    for (int i = 2; i < 20; i++)             /* the room for maps is found as that for files is */
        put(&cache, i, BOUND / 10);
    assert_true(cache.bytes <= BOUND);
    cache_empty(&cache);
    assert_int_equal(cache.bytes, 0);
    frame_release(&map);
    frame_release(&long_map);
    cache_release(&cache);
}

static void a_file_that_is_not_what_its_hash_says_is_not_given_out(void **state)
{
    struct digest key = key_of(1), sha = digest_of("a file", 6);
    struct frame file;
    struct cache cache;

    (void)state;
    cache_init(&cache, BOUND, 0);
    assert_true(frame_init_copy(&file, "a fail", 6));
    put_picture(&cache, &key, &sha, &file, CACHE_ASKED);
    assert_int_equal(HASH_COUNT(cache.by_key), 1);
    assert_null(cache_find(&cache, &key, SOON_MS));
    assert_int_equal(HASH_COUNT(cache.by_key), 0);
    assert_int_equal(cache.bytes, 0);
    frame_release(&file);
    cache_release(&cache);
}

static void a_walk_of_bulk_work_washes_nothing_out(void **state)
{
    struct cache cache;

    (void)state;
    cache_init(&cache, BOUND, 0);
    for (int i = 0; i < 100; i++)
        assert_true(put(&cache, i, 2000));
    for (int i = 1000; i < 101000; i++)
        assert_false(put_as(&cache, i, 2000, CACHE_BULK));
    for (int i = 0; i < 100; i++)
        assert_true(has(&cache, i));
    assert_true(put_as(&cache, 100999, 2000, CACHE_BULK));       /* asked for again, and soon */
    assert_true(has(&cache, 100999));
    assert_false(put_as(&cache, 1000, 2000, CACHE_BULK));        /* much later */
    cache_release(&cache);
}

static void a_time_without_the_ledger_ends_the_trust(void **state)
{
    struct digest key = key_of(1);
    struct cache cache;

    (void)state;
    cache_init(&cache, BOUND, 0);
    assert_true(put(&cache, 1, 100));
    cache_trust(&cache, 5000);
    assert_non_null(cache_find(&cache, &key, 5000 + CACHE_TRUST_MS));
    assert_null(cache_find(&cache, &key, 5000 + CACHE_TRUST_MS + 1));
    cache_trust(&cache, 5000 + CACHE_TRUST_MS);
    assert_non_null(cache_find(&cache, &key, 5000 + 2 * CACHE_TRUST_MS));
    cache_trust(&cache, 5000 + 2 * CACHE_TRUST_MS + 1);          /* who knows what was withdrawn */
    assert_null(cache_find(&cache, &key, 5000 + 2 * CACHE_TRUST_MS + 1));
    assert_int_equal(cache.bytes, 0);
    cache_release(&cache);
}

/* ---- memory, with files as they come over real connections ---- */

struct wire {
    struct link_context *context;
    struct link *from, *to;
};

static void open_wire(struct wire *w)
{
    struct link_options in = { .kind = LINK_ROUTER, .frame_max = MESSAGE_IMAGE_MAX };
    struct link_options out = { .kind = LINK_DEALER, .frame_max = MESSAGE_IMAGE_MAX };
    struct err e;

    assert_int_equal(link_context_create(&w->context, &e), ERR_OK);
    assert_int_equal(link_create(w->context, &in, &w->to, &e), ERR_OK);
    assert_int_equal(link_bind(w->to, "tcp://127.0.0.1:*", &e), ERR_OK);
    assert_int_equal(link_create(w->context, &out, &w->from, &e), ERR_OK);
    assert_int_equal(link_connect(w->from, link_endpoint(w->to), &e), ERR_OK);
}

static void close_wire(struct wire *w)
{
    link_destroy(&w->from);
    link_destroy(&w->to);
    link_context_destroy(&w->context);
}

static void send_file(struct wire *w, size_t len)
{
    struct link_wait wait = { .link = w->from, .wants_room = true };
    struct frame map, file;
    char *bytes = malloc(len);

    assert_non_null(bytes);
    memset(bytes, 7, len);
    assert_true(frame_init_take(&file, bytes, len));
    assert_true(frame_init_copy(&map, "a map", 5));
    while (link_send(w->from, NULL, &map, &file) != LINK_SENT)
        link_poll(&wait, 1, clock_ms() + 10000);
    frame_release(&map);
    frame_release(&file);
}

static void take_file(struct wire *w, struct cache *cache, int number)
{
    struct link_wait wait = { .link = w->to };
    struct digest key = key_of(number);
    struct parcel parcel;

    while (!link_receive(w->to, &parcel))
        link_poll(&wait, 1, clock_ms() + 10000);
    assert_int_equal(parcel.count, 2);
    put_picture(cache, &key, &key, &parcel.body[1], CACHE_ASKED);
    parcel_release(&parcel);
}

static size_t in_use(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

/* A sanitizer's allocator is not malloc's. */
static bool can_tell(void)
{
    size_t before = in_use();
    char *volatile bytes = malloc(1 << 20);
    bool told = in_use() >= before + (1 << 20);

    free(bytes);
    return told;
}

static size_t resident(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long all = 0, pages = 0;

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu %lu", &all, &pages), 2);
    fclose(file);
    return pages * 4096;
}

/* Without the copy of small files 64 bytes would cost 18 KB: more than ten times the bound. */
static void memory_stays_near_the_bound_whatever_the_size(void **state)
{
    enum { MEMORY = 16 << 20, SLACK = 2 << 20, AHEAD = 50, MOST = 40000 };
    static const size_t LEN[] = { 64, 1000, 5000, 9000, 20000, 70000, 200000 };
    enum { COUNT = sizeof LEN / sizeof LEN[0] };

    size_t empty = resident();

    (void)state;
    for (size_t k = 0; k <= COUNT; k++) {    /* the last: all of them, mixed */
        struct cache cache;
        struct wire wire;
        size_t before, sent = 0;

        open_wire(&wire);
        send_file(&wire, 10);
        cache_init(&cache, MEMORY, 0);
        take_file(&wire, &cache, -1);
        before = in_use();
        for (int i = 0; sent < 2 * MEMORY + MEMORY / 2 && i < MOST; i += AHEAD) {
            size_t each[AHEAD];

            for (int n = 0; n < AHEAD; n++) {
                each[n] = LEN[k < COUNT ? k : (size_t)(i * 7 + n) % COUNT];
                send_file(&wire, each[n]);
                sent += each[n];
            }
            for (int n = 0; n < AHEAD; n++)
                take_file(&wire, &cache, i + n);
        }
        assert_true(cache.bytes <= MEMORY);
        assert_true(cache.bytes >= MEMORY / 2);
        size_t used = in_use() - before;

        if (can_tell()) {
            assert_true(used <= cache.bytes + cache.bytes / 10 + SLACK);
            assert_true(used >= cache.bytes - cache.bytes / 4);
            assert_true(resident() <= empty + 2 * MEMORY + AHEAD * LEN[COUNT - 1]);
        }
        cache_release(&cache);
        close_wire(&wire);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_found_and_nothing_else),
        cmocka_unit_test(the_least_recently_asked_for_goes_first),
        cmocka_unit_test(no_file_takes_more_than_an_eighth),
        cmocka_unit_test(an_answers_map_is_kept_and_counted),
        cmocka_unit_test(a_file_that_is_not_what_its_hash_says_is_not_given_out),
        cmocka_unit_test(a_walk_of_bulk_work_washes_nothing_out),
        cmocka_unit_test(a_time_without_the_ledger_ends_the_trust),
        cmocka_unit_test(memory_stays_near_the_bound_whatever_the_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
