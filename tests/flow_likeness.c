/* Somebody holds a changed copy of a picture and asks what it was: real programs, real avatars. */
#include "base/likeness.h"
#include "kernels/jpeg.h"
#include "kernels/thumbnail.h"
#include "tests/kit_stack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PICTURES = 200, WAIT_MS = 120000, SIDE = 64 };

static struct kit_stack stack;
static struct kit_asker asker;
static struct thumbnail pictures[PICTURES];     /* by seed, at full size */
static struct digest keys[PICTURES];

static struct thumbnail decoded(const void *file, size_t len, int least)
{
    struct thumbnail out;
    struct err e = { .code = ERR_OK };

    if (thumbnail_make(file, len, least, &out, &e))
        fail_msg("%s", e.msg);
    return out;
}

static void take_picture(void)
{
    struct parcel parcel;
    struct message m;

    assert_true(asker_receive(&asker, &m, &parcel, WAIT_MS));
    assert_int_equal(m.type, MESSAGE_IMAGE);
    keys[m.image.seed] = m.image.recipe_key;
    pictures[m.image.seed] = decoded(frame_data(&parcel.body[1]), frame_len(&parcel.body[1]), SIDE);
    message_release(&m);
    parcel_release(&parcel);
}

static int set_up(void **state)
{
    (void)state;
    stack_start(&stack, NULL);
    stack_start_worker(&stack, 0, NULL);
    asker_open(&asker, stack.clients, LINK_DEALER);
    for (int seed = 0; seed < PICTURES; seed++) {
        struct message m = generate_of(seed + 1, seed, 1000000);

        asker_send(&asker, &m);
    }
    for (int i = 0; i < PICTURES; i++)
        take_picture();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < PICTURES; i++)
        free(pictures[i].rgb);
    asker_close(&asker);
    stack_destroy(&stack);
    return 0;
}

/* What the picture is once it was a JPEG of that quality; the old one is freed. */
static struct thumbnail recompressed(struct thumbnail picture, int quality, int least)
{
    struct jpeg_picture jpeg = { .rgb = picture.rgb, .width = picture.width,
                                 .height = picture.height, .quality = quality };
    struct jpeg_encoder *encoder;
    uint8_t *file;
    size_t len;
    struct err e;

    assert_int_equal(jpeg_encoder_create(&encoder, &e), ERR_OK);
    assert_int_equal(jpeg_encode(encoder, &jpeg, &file, &len, &e), ERR_OK);
    jpeg_encoder_destroy(&encoder);
    free(picture.rgb);
    picture = decoded(file, len, least);
    free(file);
    return picture;
}

/* The picture from (x, y) on with that side, and so many pixels of white around it. */
static struct thumbnail cut(const struct thumbnail *of, int x, int y, int side, int border)
{
    struct thumbnail out = { .width = side + 2 * border, .height = side + 2 * border };

    out.rgb = malloc(3 * (size_t)out.width * (size_t)out.height);
    assert_non_null(out.rgb);
    memset(out.rgb, 255, 3 * (size_t)out.width * (size_t)out.height);
    for (int i = 0; i < side; i++)
        memcpy(out.rgb + 3 * ((size_t)(border + i) * (size_t)out.width + (size_t)border),
               of->rgb + 3 * ((size_t)(y + i) * (size_t)of->width + (size_t)x), 3 * (size_t)side);
    return out;
}

/* The place of seed's row among those that are like the picture, from 0; -1: it is not there. */
static int place_of(struct thumbnail picture, int seed, int64_t *distance)
{
    char text[16 * LIKENESS_MAX + 1];
    uint64_t hashes[LIKENESS_MAX];
    size_t count = likeness_of_query(picture.rgb, picture.width, picture.height,
                                     3 * (size_t)picture.width, hashes);
    struct parcel parcel;
    struct message m;
    int place = -1;

    free(picture.rgb);
    for (size_t i = 0; i < count; i++)
        snprintf(text + 16 * i, sizeof text - 16 * i, "%016llx", (unsigned long long)hashes[i]);
    message_init(&m, MESSAGE_LOOKUP, 7);
    m.lookup.like = (struct text){ text, 16 * count };
    m.lookup.limit = 20;
    asker_send(&asker, &m);
    assert_true(asker_receive(&asker, &m, &parcel, WAIT_MS));
    assert_int_equal(m.type, MESSAGE_PROVENANCE);
    const struct message_row *rows = m.provenance.rows.items;

    for (size_t i = 0; i < m.provenance.rows.count && place < 0; i++)
        if (digest_equal(&rows[i].recipe_key, &keys[seed])) {
            place = (int)i;
            *distance = rows[i].distance;
        }
    message_release(&m);
    parcel_release(&parcel);
    return place;
}

static void a_copy_of_lower_quality_is_found(void **state)
{
    (void)state;
    for (int seed = 0; seed < PICTURES; seed += 20) {
        int64_t distance;

        assert_int_equal(place_of(recompressed(cut(&pictures[seed], 0, 0, SIDE, 0), 40, SIDE), seed,
                                  &distance), 0);
        assert_in_range(distance, 0, 8);
    }
}

static void a_copy_of_half_the_size_is_found(void **state)
{
    (void)state;
    for (int seed = 1; seed < PICTURES; seed += 20) {
        int64_t distance;

        assert_int_equal(place_of(recompressed(cut(&pictures[seed], 0, 0, SIDE, 0), 90, SIDE / 2),
                                  seed, &distance), 0);
        assert_in_range(distance, 0, 6);
    }
}

static void a_crop_is_found(void **state)
{
    int first = 0;

    (void)state;
    for (int seed = 0; seed < 20; seed++) {
        int side = 40 + seed, room = SIDE - side;
        int64_t distance;
        int place = place_of(recompressed(cut(&pictures[seed], room * (seed % 3) / 2,
                                              room * (seed % 5) / 4, side, 0), 80, side),
                             seed, &distance);

        assert_in_range(place, 0, 4);
        assert_in_range(distance, 0, 14);
        first += place == 0;
    }
    assert_true(first >= 17);
}

static void a_copy_in_a_page_is_found(void **state)
{
    (void)state;
    for (int seed = 2; seed < PICTURES; seed += 40) {
        int64_t distance;

        assert_int_equal(place_of(cut(&pictures[seed], 0, 0, SIDE, 33), seed, &distance), 0);
        assert_in_range(distance, 0, 3);
    }
}

static void what_was_made_since_the_last_question_is_found(void **state)
{
    struct message m = generate_of(1, 3, 500000);
    struct thumbnail was = pictures[3];
    struct digest key = keys[3];
    int64_t distance;

    (void)state;
    asker_send(&asker, &m);
    take_picture();
    assert_int_equal(place_of(cut(&pictures[3], 0, 0, SIDE, 0), 3, &distance), 0);
    assert_int_equal(distance, 0);
    free(pictures[3].rgb);
    pictures[3] = was;
    keys[3] = key;
}

static void a_worker_may_be_told_to_take_no_hashes(void **state)
{
    static const char COUNT[] = "SELECT count(*) FROM likenesses";
    int64_t before = kit_postgres_int(stack.pg.conninfo, COUNT);
    struct message m = generate_of(1, 5, 250000);

    (void)state;
    program_kill(&stack.worker[0]);
    stack_start_worker(&stack, 0, (const char *const[]){ "--likeness", "off", NULL });
    free(pictures[5].rgb);
    asker_send(&asker, &m);
    take_picture();
    assert_int_equal(kit_postgres_int(stack.pg.conninfo, COUNT), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_of_lower_quality_is_found),
        cmocka_unit_test(a_copy_of_half_the_size_is_found),
        cmocka_unit_test(a_crop_is_found),
        cmocka_unit_test(a_copy_in_a_page_is_found),
        cmocka_unit_test(what_was_made_since_the_last_question_is_found),
        cmocka_unit_test(a_worker_may_be_told_to_take_no_hashes),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
