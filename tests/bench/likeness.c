/* What perceptual hashes cost: taking them, beside the JPEG of the same picture; and finding the
 * likeliest of a million, beside reading as many bytes. Ratios within one run. */
#include "base/clock.h"
#include "base/likeness.h"
#include "base/likeness_index.h"
#include "kernels/jpeg.h"

#include <stdio.h>
#include <stdlib.h>

enum { PICTURES = 1000000, HASHES = 52, QUERY = 134, ROUNDS = 9 };

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void must(enum err_code rc, const struct err *e)
{
    if (rc) {
        fprintf(stderr, "likeness: %s\n", e->msg);
        exit(1);
    }
}

/* The least of several rounds: what else the machine does only adds. */
static int64_t less(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void measure_taking(int side)
{
    uint8_t *rgb = malloc((size_t)side * (size_t)side * 3), *file;
    struct jpeg_picture picture = { .rgb = rgb, .width = side, .height = side, .quality = 90 };
    int64_t jpeg_us = INT64_MAX, stored_us = INT64_MAX, query_us = INT64_MAX;
    uint64_t hashes[LIKENESS_MAX], state = 1;
    struct jpeg_encoder *encoder;
    size_t len;
    struct err e;

    must(rgb ? ERR_OK : err_set(&e, ERR_NOMEM, "no memory"), &e);
    for (int i = 0; i < side * side * 3; i++)
        rgb[i] = (uint8_t)(i % (3 * side) * 200 / (3 * side) + i / (3 * side) * 40 / side +
                           (int)(next_random(&state) % 16));
    must(jpeg_encoder_create(&encoder, &e), &e);
    for (int i = 0; i < ROUNDS; i++) {
        int64_t from_us = clock_us();

        must(jpeg_encode(encoder, &picture, &file, &len, &e), &e);
        jpeg_us = less(jpeg_us, clock_us() - from_us);
        free(file);
        from_us = clock_us();
        likeness_of_stored(rgb, side, side, 3 * (size_t)side, hashes);
        stored_us = less(stored_us, clock_us() - from_us);
        from_us = clock_us();
        likeness_of_query(rgb, side, side, 3 * (size_t)side, hashes);
        query_us = less(query_us, clock_us() - from_us);
    }
    printf("hashes of a stored picture, %4d px: %.2f x its JPEG (%lld of %lld us); of a query %.2f x\n",
           side, (double)stored_us / (double)jpeg_us, (long long)stored_us, (long long)jpeg_us,
           (double)query_us / (double)jpeg_us);
    jpeg_encoder_destroy(&encoder);
    free(rgb);
}

static int64_t read_all(const uint64_t *words, size_t count, uint64_t *sum)
{
    int64_t from_us = clock_us();

    for (size_t i = 0; i < count; i++)
        *sum ^= words[i];
    return clock_us() - from_us;
}

static void measure_finding(void)
{
    struct likeness_match matches[LIKENESS_MATCHES_MAX];
    uint64_t hashes[HASHES], query[QUERY], state = 1, sum = 0;
    uint64_t *words = calloc(PICTURES, sizeof *words);
    int64_t whole_us = INT64_MAX, read_us = INT64_MAX, from_us;
    struct likeness_index *index;
    struct err e;

    must(words ? ERR_OK : err_set(&e, ERR_NOMEM, "no memory"), &e);
    must(likeness_index_create((size_t)1 << 30, &index, &e), &e);
    for (int64_t id = 1; id <= PICTURES; id++) {
        for (int i = 0; i < HASHES; i++)
            hashes[i] = next_random(&state);
        must(likeness_index_add(index, id, hashes, HASHES, &e), &e);
        words[id - 1] = hashes[0];
    }
    for (int i = 0; i < QUERY; i++)
        query[i] = next_random(&state);
    for (int i = 0; i < ROUNDS; i++) {
        read_us = less(read_us, read_all(words, PICTURES, &sum));
        from_us = clock_us();
        likeness_index_search(index, query, LIKENESS_WINDOW, matches, 100);
        whole_us = less(whole_us, clock_us() - from_us);
    }
    from_us = clock_us();
    likeness_index_search(index, query, QUERY, matches, 100);
    printf("whole pictures, 1e6: %.2f ms, %.1f x reading as many bytes (%.2f ms); all windows of a "
           "query %.1f s (%llx)\n", (double)whole_us / 1e3, (double)whole_us / (double)read_us,
           (double)read_us / 1e3, (double)(clock_us() - from_us) / 1e6, (unsigned long long)sum);
    likeness_index_destroy(&index);
    free(words);
}

int main(void)
{
    measure_taking(64);
    measure_taking(256);
    measure_taking(1024);
    measure_finding();
    return 0;
}
