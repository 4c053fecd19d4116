/* permalink -- all that a picture's URL says of it, in the one form that is canonical:
 *     /v1/cats@1a2b3c4d/42.jpg?psi=0.7&class=3&q=80
 * psi, class and q in this order, each only where it is not the default (1, none, 90). */
#ifndef GATEWAY_PERMALINK_H
#define GATEWAY_PERMALINK_H

#include "client/gateway/url.h"
#include "client/seedpress.h"
#include "proto/digest.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stdint.h>

enum { PERMALINK_MAX = 192, PERMALINK_PSI = 1000000, PERMALINK_QUALITY = 90,
       PERMALINK_DIGEST8 = 8 };

/* What makes a picture another one, without padding: its bytes are a key. */
struct permalink_key {
    struct digest model;
    int64_t psi;                    /* millionths */
    uint32_t seed;
    int32_t class_index;            /* -1: none */
    int32_t quality;
    int32_t zero;
};

struct permalink {
    char name[65];
    struct permalink_key key;
};

struct permalink permalink_of(const struct seedpress_model *model, uint32_t seed, int64_t psi);

/* "cats@1a2b3c4d" into its halves; digest is "" for a bare name. ERR_INVALID. */
enum err_code permalink_read_model(const char *text, char name[65], char digest[65],
                                   struct err *e);
/* "42.jpg": ERR_NOT_FOUND for what is no seed. */
enum err_code permalink_read_seed(const char *file, uint32_t *out, struct err *e);
/* The parameter name, a decimal of -2..2; what stands in *out stays when it is not there. */
enum err_code permalink_read_psi(const struct url *url, const char *name, int64_t *out,
                                 struct err *e);
/* A whole number of min..max, likewise. */
enum err_code permalink_read_number(const struct url *url, const char *name, int64_t min,
                                    int64_t max, int64_t *out, struct err *e);
/* psi, class and q; other parameters are refused. */
enum err_code permalink_read_options(const struct url *url, struct permalink *self, struct err *e);

/* The class that was asked for (-1: none) of self's model; a model without classes takes any for
 * none. ERR_CLASS_REQUIRED, ERR_RANGE. */
enum err_code permalink_set_class(struct permalink *self, const struct seedpress_model *model,
                                  int64_t class_index, struct err *e);

/* "/v1/cats@1a2b3c4d/42.jpg?psi=0.7". */
void permalink_write(const struct permalink *self, char out[PERMALINK_MAX]);
/* The same under the bare name. */
void permalink_write_bare(const struct permalink *self, char out[PERMALINK_MAX]);
/* The request for it; model holds the digest's text as long as out is used. */
void permalink_fill(const struct permalink *self, char model[SEEDPRESS_HEX],
                    struct seedpress_request *out);

/* The nearest multiple of 0.05. */
int64_t permalink_round_psi(int64_t psi);

#endif
