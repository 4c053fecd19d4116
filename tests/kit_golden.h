/* kit_golden -- reads tests/golden: the cases of a folder and their arrays. Fails the test that
 * calls it when a file is not as it should be. Tests run in the repository's root. */
#ifndef TESTS_KIT_GOLDEN_H
#define TESTS_KIT_GOLDEN_H

#include "base/npy.h"
#include "kernels/backend.h"

#include <stddef.h>

enum { GOLDEN_CASES_MAX = 32, GOLDEN_FILE_MAX = 48 };

struct golden_case {
    char id[GOLDEN_FILE_MAX];
    struct sample sample;
    /* names of files in the same folder */
    char z[GOLDEN_FILE_MAX], w[GOLDEN_FILE_MAX], ws[GOLDEN_FILE_MAX], image[GOLDEN_FILE_MAX],
        rgb[GOLDEN_FILE_MAX];
};

/* Rows of tests/golden/<folder>/<table>, whose first line names the columns. What a row leaves open
 * is all rows of w, no class, the model's own noise, no transform, and "-" for a file. */
int golden_cases(const char *folder, const char *table, const struct model_facts *facts,
                 struct golden_case out[GOLDEN_CASES_MAX]);

/* tests/golden/<folder>/<file>; the caller releases it. */
struct npy golden_array(const char *folder, const char *file);

double golden_max_error(const float *got, const float *expect, size_t count);
/* PSNR in dB for a peak of 255; 200 when nothing differs. *max_error in levels. */
double golden_psnr(const uint8_t *got, const uint8_t *expect, size_t count, int *max_error);

#endif
