/* marking -- what a signed C2PA manifest costs beside the JPEG that it goes into: processor time of
 * picture_sign as a ratio to picture_encode of the same picture, in the same round.
 *
 *     marking [ROUNDS]
 *
 * Pictures are waves: like a face, neither flat nor noise. picture_encode includes XMP and both
 * hashes, of which the manifest signs one; picture_sign is ECDSA, the boxes and the hash of the new
 * file. The certificate is made by the commands of worker/README.md. */
#include "base/c2pa.h"
#include "kernels/picture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS_MAX = 99, REPEAT_US = 20000 };

static void die(const char *words)
{
    fprintf(stderr, "marking: %s\n", words);
    exit(1);
}

static double cpu_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static struct c2pa_signer *make_signer(void)
{
    char folder[] = "/tmp/seedpress-bench-XXXXXX", command[400], cert[64], key[64];
    struct c2pa_signer *signer;
    struct err e;

    if (!mkdtemp(folder))
        die("could not make a folder");
    snprintf(command, sizeof command,
             "sed -n '/^openssl req -x509/,/^```/p' worker/README.md | sed '$d' >%s/make.sh && "
             "cd %s && sh -eu make.sh >log 2>&1", folder, folder);
    if (system(command) != 0)
        die("the commands of worker/README.md made no certificate");
    snprintf(cert, sizeof cert, "%s/c2pa.pem", folder);
    snprintf(key, sizeof key, "%s/c2pa.key", folder);
    if (c2pa_signer_create(cert, key, &signer, &e))
        die(e.msg);
    snprintf(command, sizeof command, "rm -r %s", folder);
    if (system(command) != 0)
        die("could not remove the folder");
    return signer;
}

static void fill(uint8_t *rgb, int side)
{
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++)
            for (int c = 0; c < 3; c++)
                rgb[(y * side + x) * 3 + c] =
                    (uint8_t)(127.5 + 80 * sin(9.0 * x / side + c) * cos(7.0 * y / side) +
                              40 * sin(0.9 * x + 0.7 * y));
}

struct times {
    double encode_us, sign_us;      /* of one picture */
    size_t bytes;                   /* of the signed file */
};

static struct times measure(struct jpeg_encoder *encoder, const struct c2pa_signer *signer,
                            const struct recipe *recipe, const uint8_t *rgb)
{
    struct times t = { 0, 0, 0 };
    int count = 0;

    for (; t.encode_us < REPEAT_US || t.sign_us < REPEAT_US; count++) {
        struct picture picture;
        struct err e;
        double from = cpu_us(), encoded;

        if (picture_encode(encoder, recipe, (struct picture_source){ .rgb = rgb }, &picture, &e))
            die(e.msg);
        encoded = cpu_us();
        if (picture_sign(signer, recipe, &picture, &e))
            die(e.msg);
        t.sign_us += cpu_us() - encoded;
        t.encode_us += encoded - from;
        t.bytes = picture.len;
        picture_release(&picture);
    }
    t.encode_us /= count;
    t.sign_us /= count;
    return t;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print_size(const struct c2pa_signer *signer, int side, int rounds)
{
    struct recipe recipe = { .psi = 700000, .class_index = -1, .noise = RECIPE_NOISE_CONST,
                             .width = side, .height = side, .quality = 90,
                             .mark = RECIPE_MARK_C2PA };
    double ratio[ROUNDS_MAX], sign_us[ROUNDS_MAX];
    uint8_t *rgb = malloc((size_t)side * side * 3);
    struct jpeg_encoder *encoder;
    struct times t = { 0, 0, 0 };
    struct err e;

    if (!rgb || jpeg_encoder_create(&encoder, &e))
        die("no memory for a picture");
    fill(rgb, side);
    for (int i = 0; i < rounds; i++) {
        t = measure(encoder, signer, &recipe, rgb);
        ratio[i] = t.sign_us / t.encode_us;
        sign_us[i] = t.sign_us;
    }
    qsort(ratio, (size_t)rounds, sizeof ratio[0], by_size);
    qsort(sign_us, (size_t)rounds, sizeof sign_us[0], by_size);
    printf("marking %4d x %-4d  %7zu bytes  sign %6.1f us (%.1f to %.1f)  sign/encode %.3f "
           "(%.3f to %.3f)\n", side, side, t.bytes, sign_us[rounds / 2], sign_us[0],
           sign_us[rounds - 1], ratio[rounds / 2], ratio[0], ratio[rounds - 1]);
    jpeg_encoder_destroy(&encoder);
    free(rgb);
}

int main(int argc, char **argv)
{
    static const int SIDES[] = { 64, 256, 512, 1024 };
    int rounds = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 9;
    struct c2pa_signer *signer;

    if (rounds < 1 || rounds > ROUNDS_MAX)
        die("ROUNDS is 1..99");
    signer = make_signer();
    for (size_t i = 0; i < sizeof SIDES / sizeof SIDES[0]; i++)
        print_size(signer, SIDES[i], rounds);
    c2pa_signer_destroy(&signer);
    return 0;
}
