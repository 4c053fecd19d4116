/* The gateway's modules that need no server: URLs, permanent links, visitors and their rates, the
 * order of seeds, the gallery and the album. */
#include "client/gateway/album.h"
#include "client/gateway/gallery.h"
#include "client/gateway/permalink.h"
#include "client/gateway/permutation.h"
#include "client/gateway/picture.h"
#include "client/gateway/rates.h"
#include "client/gateway/url.h"
#include "client/gateway/visitor.h"
#include "tests/kit_temp.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* ---- seeds ---- */

static struct digest key_of(const char *text)
{
    return digest_of(text, strlen(text));
}

static void every_number_comes_once(void **state)
{
    static uint8_t seen[1 << 16];
    struct digest key = key_of("a");

    (void)state;
    for (int bits = 2; bits <= 16; bits += 2) {
        struct permutation order = permutation_of(&key, bits);
        uint32_t moved = 0;

        memset(seen, 0, sizeof seen);
        for (uint32_t n = 0; n < UINT32_C(1) << bits; n++) {
            uint32_t m = permutation_apply(&order, n);

            assert_true(m < UINT32_C(1) << bits);
            assert_false(seen[m]);
            seen[m] = 1;
            moved += m != n;
            assert_int_equal(permutation_invert(&order, m), n);
        }
        if (bits > 4)
            assert_true(moved > (UINT32_C(1) << bits) / 2);
    }
}

static void thirty_two_bits_come_back(void **state)
{
    struct digest a = key_of("a"), b = key_of("b");
    struct permutation first = permutation_of(&a, 32), second = permutation_of(&b, 32);
    int same = 0, near = 0;

    (void)state;
    for (uint32_t i = 0; i < 10000; i++) {
        uint32_t n = i * UINT32_C(429493), m = permutation_apply(&first, n);

        assert_int_equal(permutation_invert(&first, m), n);
        same += m == permutation_apply(&second, n);
        near += permutation_apply(&first, n + 1) - m < UINT32_C(1) << 16;
    }
    assert_int_equal(permutation_invert(&first, permutation_apply(&first, UINT32_MAX)), UINT32_MAX);
    assert_true(same <= 1);
    assert_true(near < 10);
}

static void a_key_file_needs_sixteen_bytes(void **state)
{
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "key");
    FILE *file = fopen(path.text, "w");
    struct digest key, other;
    struct err e;

    (void)state;
    assert_non_null(file);
    fputs("fifteen bytes..", file);
    fclose(file);
    assert_int_equal(permutation_read_key(path.text, &key, &e), ERR_RANGE);
    file = fopen(path.text, "a");
    assert_non_null(file);
    fputc('.', file);
    fclose(file);
    assert_int_equal(permutation_read_key(path.text, &key, &e), ERR_OK);
    assert_int_equal(permutation_draw_key(&other, &e), ERR_OK);
    assert_false(digest_equal(&key, &other));
    temp_destroy(&temp);
}

/* ---- URLs ---- */

static void a_url_is_taken_apart(void **state)
{
    const char *text = "/v1/cats%40ab/4%32.jpg?psi=-0.5&x&y=%26";
    struct url url;
    struct err e;

    (void)state;
    assert_int_equal(url_parse(text, strlen(text), &url, &e), ERR_OK);
    assert_int_equal(url.segment_count, 3);
    assert_string_equal(url.segment[1], "cats@ab");
    assert_string_equal(url.segment[2], "42.jpg");
    assert_false(url.is_folder);
    assert_string_equal(url_param(&url, "psi"), "-0.5");
    assert_string_equal(url_param(&url, "x"), "");
    assert_string_equal(url_param(&url, "y"), "&");
    assert_null(url_param(&url, "z"));
    assert_int_equal(url_parse("/", 1, &url, &e), ERR_OK);
    assert_int_equal(url.segment_count, 0);
    assert_true(url.is_folder);
    assert_int_equal(url_parse("/a/", 3, &url, &e), ERR_OK);
    assert_true(url.is_folder);
}

static void what_is_no_url_is_refused(void **state)
{
    static const char *const BAD[] = { "", "a", "*", "/a//b", "/./a", "/.git", "/a%2fb", "/a%00",
                                       "/a%0", "/a%", "/a%zz", "/a\x01", "/a\xff", "/a?=b",
                                       "/a?b&b", "/a#b", "/a?b#c", "/a?b&&c", "/%2e%2e" };
    char big[URL_MAX + 1];
    struct url url;
    struct err e;

    (void)state;
    for (size_t i = 0; i < COUNT(BAD); i++)
        if (url_parse(BAD[i], strlen(BAD[i]), &url, &e) != ERR_INVALID)
            fail_msg("\"%s\" is no URL", BAD[i]);
    memset(big, 'a', sizeof big);
    big[0] = '/';
    assert_int_equal(url_parse(big, URL_MAX, &url, &e), ERR_TOO_LARGE);
    assert_int_equal(url_parse(big, URL_MAX - 1, &url, &e), ERR_OK);
}

static void a_permalink_is_written_in_one_form(void **state)
{
    static const struct {
        const char *query, *written;
    } ROWS[] = {
        { "", "/v1/cats@00000000/7.jpg" },
        { "?psi=1.0", "/v1/cats@00000000/7.jpg" },
        { "?psi=+0.70", "/v1/cats@00000000/7.jpg?psi=0.7" },
        { "?q=80&class=3&psi=-2", "/v1/cats@00000000/7.jpg?psi=-2&class=3&q=80" },
        { "?class=0", "/v1/cats@00000000/7.jpg?class=0" },
        { "?psi=-0.0", "/v1/cats@00000000/7.jpg?psi=0" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        struct permalink link = { .name = "cats", .key = { .seed = 7 } };
        char text[100], out[PERMALINK_MAX];
        struct url url;
        struct err e;

        snprintf(text, sizeof text, "/x%s", ROWS[i].query);
        assert_int_equal(url_parse(text, strlen(text), &url, &e), ERR_OK);
        assert_int_equal(permalink_read_options(&url, &link, &e), ERR_OK);
        permalink_write(&link, out);
        assert_string_equal(out, ROWS[i].written);
    }
}

static void the_longest_permalink_fits(void **state)
{
    struct permalink link = { .key = { .seed = UINT32_MAX, .psi = -1999999, .class_index = 65535,
                                       .quality = 1 } };
    char out[PERMALINK_MAX];

    (void)state;
    memset(link.name, 'x', sizeof link.name - 1);
    permalink_write(&link, out);
    assert_string_equal(strstr(out, "?psi"), "?psi=-1.999999&class=65535&q=1");
}

static void psi_is_rounded_to_steps(void **state)
{
    static const int64_t ROWS[][2] = { { 0, 0 }, { 24999, 0 }, { 25000, 50000 }, { -25000, -50000 },
                                       { -24999, 0 }, { 700000, 700000 }, { 1999999, 2000000 },
                                       { -1999999, -2000000 } };
    (void)state;
    for (size_t i = 0; i < COUNT(ROWS); i++)
        assert_int_equal(permalink_round_psi(ROWS[i][0]), ROWS[i][1]);
}

static void tags_are_compared_weakly(void **state)
{
    (void)state;
    assert_true(picture_tag_is_in("W/\"ab\"", "W/\"ab\""));
    assert_true(picture_tag_is_in("\"ab\"", "W/\"ab\""));
    assert_true(picture_tag_is_in("\"x\" , W/\"ab\",\"y\"", "W/\"ab\""));
    assert_true(picture_tag_is_in("*", "W/\"ab\""));
    assert_false(picture_tag_is_in("", "W/\"ab\""));
    assert_false(picture_tag_is_in("\"abc\"", "W/\"ab\""));
    assert_false(picture_tag_is_in("W/", "W/\"ab\""));
    assert_false(picture_tag_is_in(",,,", "W/\"ab\""));
}

/* ---- visitors ---- */

static struct value {
    char text[VISITOR_MAX];
} visitor_of(const char *proxies, const char *peer, const char *forwarded)
{
    struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
    struct sockaddr_in four = { .sin_family = AF_INET };
    bool is_six = inet_pton(AF_INET6, peer, &six.sin6_addr) == 1;
    struct visitor_proxies list;
    struct value value;
    struct err e;

    assert_true(is_six || inet_pton(AF_INET, peer, &four.sin_addr) == 1);
    assert_int_equal(visitor_read_proxies(proxies, &list, &e), ERR_OK);
    visitor_name(&list, is_six ? (struct sockaddr *)&six : (struct sockaddr *)&four, forwarded,
                 value.text);
    return value;
}

static void a_visitor_is_an_address_or_a_net(void **state)
{
    static const struct {
        const char *proxies, *peer, *forwarded, *name;
    } ROWS[] = {
        { "", "192.0.2.1", NULL, "192.0.2.1" },
        { "", "192.0.2.1", "192.0.2.9", "192.0.2.1" },
        { "192.0.2.1", "192.0.2.1", "9.9.9.9, 192.0.2.9", "192.0.2.9" },
        { "192.0.2.1", "192.0.2.1", "1.1.1.1, 9.9.9.9, 192.0.2.9", "192.0.2.9" },
        { "192.0.2.1", "192.0.2.1", "192.0.2.9:4711", "192.0.2.9" },
        { "192.0.2.1", "192.0.2.1", "[2001:db8::1]:443", "2001:db8::/64" },
        { "192.0.2.1", "192.0.2.1", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64" },
        { "192.0.2.1", "192.0.2.1", "rubbish", "192.0.2.1" },
        { "192.0.2.1", "192.0.2.1", "", "192.0.2.1" },
        { "192.0.2.1", "192.0.2.2", "192.0.2.9", "192.0.2.2" },
        { "10.0.0.0/8 , 172.16.0.0/12", "172.31.255.1", "192.0.2.9", "192.0.2.9" },
        { "172.16.0.0/12", "172.32.0.1", "192.0.2.9", "172.32.0.1" },
        { "fd00::/8", "fdff::1", "192.0.2.9", "192.0.2.9" },
        { "127.0.0.1", "::ffff:127.0.0.1", "192.0.2.9", "192.0.2.9" },
        { "", "::ffff:192.0.2.3", NULL, "192.0.2.3" },
        { "", "::1", NULL, "::/64" },
        { "0.0.0.0/0", "8.8.8.8", "192.0.2.9", "192.0.2.9" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(ROWS); i++)
        assert_string_equal(visitor_of(ROWS[i].proxies, ROWS[i].peer, ROWS[i].forwarded).text,
                            ROWS[i].name);
}

static void a_list_of_proxies_is_read_strictly(void **state)
{
    static const char *const BAD[] = { "localhost", "10.0.0.0/33", "fd00::/129", "10.0.0.0/",
                                       "10.0.0.0/-1", "1.2.3" };
    struct visitor_proxies list;
    struct err e;

    (void)state;
    for (size_t i = 0; i < COUNT(BAD); i++) {
        assert_int_equal(visitor_read_proxies(BAD[i], &list, &e), ERR_INVALID);
        assert_non_null(strstr(e.msg, BAD[i]));
    }
}

static void a_rate_is_held_with_bursts(void **state)
{
    const struct rates_options options = { .rate = 10, .burst = 3, .visitors_max = 2 };
    struct rates *rates;
    struct err e;
    int retry_ms;

    (void)state;
    assert_int_equal(rates_create(&options, &rates, &e), ERR_OK);
    for (int i = 0; i < 3; i++)
        assert_true(rates_take(rates, "a", 1000, &retry_ms));
    assert_false(rates_take(rates, "a", 1000, &retry_ms));
    assert_int_equal(retry_ms, 100);
    assert_true(rates_take(rates, "b", 1000, &retry_ms));
    assert_false(rates_take(rates, "a", 1099, &retry_ms));
    assert_int_equal(retry_ms, 1);
    assert_true(rates_take(rates, "a", 1100, &retry_ms));
    assert_false(rates_take(rates, "a", 1100, &retry_ms));
    /* b is the one not seen for longest, and is forgotten for c. */
    assert_true(rates_take(rates, "c", 1100, &retry_ms));
    assert_false(rates_take(rates, "a", 1100, &retry_ms));
    for (int i = 0; i < 3; i++)
        assert_true(rates_take(rates, "b", 1100, &retry_ms));
    for (int i = 0; i < 3; i++)                  /* an hour later no more than a burst */
        assert_true(rates_take(rates, "b", 3600000, &retry_ms));
    assert_false(rates_take(rates, "b", 3600000, &retry_ms));
    rates_destroy(&rates);
}

static void what_costs_more_than_a_token_is_owed(void **state)
{
    const struct rates_options options = { .rate = 10, .burst = 3, .visitors_max = 2 };
    struct rates *rates;
    struct err e;
    int retry_ms;

    (void)state;
    assert_int_equal(rates_create(&options, &rates, &e), ERR_OK);
    assert_true(rates_take(rates, "a", 1000, &retry_ms));
    rates_charge(rates, "a", 1000, 4);
    assert_false(rates_take(rates, "a", 1000, &retry_ms));
    assert_int_equal(retry_ms, 300);
    assert_true(rates_take(rates, "a", 1300, &retry_ms));
    rates_charge(rates, "a", 1300, 1000000);     /* no more than a burst */
    assert_false(rates_take(rates, "a", 1300, &retry_ms));
    assert_int_equal(retry_ms, 400);
    rates_destroy(&rates);
}

/* ---- pictures ---- */

static struct permalink_key picture_key(uint32_t seed)
{
    return (struct permalink_key){ .psi = PERMALINK_PSI, .seed = seed, .class_index = -1,
                                   .quality = PERMALINK_QUALITY };
}

static void a_gallery_keeps_some_of_each_kind(void **state)
{
    struct permalink_key key = picture_key(0), other = picture_key(1);
    struct gallery *gallery;
    bool seen[300] = { false };
    int count = 0;
    struct err e;

    (void)state;
    assert_int_equal(gallery_create(&gallery, &e), ERR_OK);
    assert_false(gallery_pick(gallery, &key, 0));
    for (uint32_t seed = 0; seed < 300; seed++) {
        key.seed = seed;
        gallery_add(gallery, &key);
        gallery_add(gallery, &key);
    }
    for (uint32_t i = 0; i < 256; i++) {
        assert_true(gallery_pick(gallery, &key, i));
        count += !seen[key.seed];
        seen[key.seed] = true;
    }
    assert_int_equal(count, 256);                /* each once, and the oldest 44 are gone */
    assert_false(seen[0] || seen[43]);
    assert_true(seen[44] && seen[299]);
    other.psi = 0;
    assert_false(gallery_pick(gallery, &other, 0));
    other.quality = 50;
    gallery_add(gallery, &other);
    assert_false(gallery_pick(gallery, &other, 0));
    for (uint32_t seed = 44; seed < 300; seed++) {
        key.seed = seed;
        gallery_drop(gallery, &key);
    }
    assert_false(gallery_pick(gallery, &key, 0));
    gallery_destroy(&gallery);
}

static struct picture *picture_of(uint32_t seed, size_t len)
{
    static uint8_t bytes[4096];
    struct permalink_key key = picture_key(seed);
    struct seedpress_image image = { .data = bytes, .len = len };

    return picture_create(&key, &image);
}

static enum album_found look(struct album *album, uint32_t seed, int64_t now_ms)
{
    struct permalink_key key = picture_key(seed);
    struct picture *picture;
    enum album_found found = album_find(album, &key, now_ms, &picture, NULL);

    assert_int_equal(picture != NULL, found != ALBUM_NOTHING);
    picture_unref(&picture);
    return found;
}

static void an_album_trusts_for_a_while_and_is_bounded(void **state)
{
    const struct album_options options = { .bytes_max = 16 * 20000, .fresh_ms = 100 };
    struct permalink_key key = picture_key(0);
    struct album *album;
    int kept = 0;
    struct err e;

    (void)state;
    assert_int_equal(album_create(&options, &album, &e), ERR_OK);
    for (uint32_t seed = 0; seed < 16 * 10; seed++) {
        struct picture *picture = picture_of(seed, 4000);

        album_put(album, picture, 1000);
        picture_unref(&picture);
        if (seed % 16 == 0)          /* used again and again: it stays */
            assert_int_equal(look(album, 0, 1000), ALBUM_FRESH);
    }
    for (uint32_t seed = 0; seed < 16 * 10; seed++)
        kept += look(album, seed, 1000) != ALBUM_NOTHING;
    assert_int_equal(kept, 16 * 3);              /* of 5024 bytes each into 20000 a board */
    assert_int_equal(look(album, 0, 1099), ALBUM_FRESH);
    assert_int_equal(look(album, 0, 1100), ALBUM_OLD);
    album_trust(album, &key, 1100);
    assert_int_equal(look(album, 0, 1199), ALBUM_FRESH);
    album_drop(album, &key);
    assert_int_equal(look(album, 0, 1199), ALBUM_NOTHING);
    album_destroy(&album);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_comes_once),
        cmocka_unit_test(thirty_two_bits_come_back),
        cmocka_unit_test(a_key_file_needs_sixteen_bytes),
        cmocka_unit_test(a_url_is_taken_apart),
        cmocka_unit_test(what_is_no_url_is_refused),
        cmocka_unit_test(a_permalink_is_written_in_one_form),
        cmocka_unit_test(the_longest_permalink_fits),
        cmocka_unit_test(psi_is_rounded_to_steps),
        cmocka_unit_test(tags_are_compared_weakly),
        cmocka_unit_test(a_visitor_is_an_address_or_a_net),
        cmocka_unit_test(a_list_of_proxies_is_read_strictly),
        cmocka_unit_test(a_rate_is_held_with_bursts),
        cmocka_unit_test(what_costs_more_than_a_token_is_owed),
        cmocka_unit_test(a_gallery_keeps_some_of_each_kind),
        cmocka_unit_test(an_album_trusts_for_a_while_and_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
