/* series -- seeds in a row of one model with the same options, as a URL names them:
 *     /v1/cats/page?seed=1000&n=56&psi=0.7 */
#ifndef GATEWAY_SERIES_H
#define GATEWAY_SERIES_H

#include "client/gateway/gateway.h"

enum { SERIES_MAX = 100 };

struct series {
    struct seedpress_model model;
    struct permalink first;         /* with the psi that strangers may ask for */
    int count;                      /* 1..SERIES_MAX; the last seed is 2^32 - 1 at most */
};

/* Other parameters than seed, n, psi, class and q are refused. */
enum err_code series_read(struct gateway *gateway, const struct url *url, struct series *out,
                          struct err *e);

/* The model of the URL's second segment, and a permalink of it with psi 1 and seed 0. */
enum err_code series_read_model(struct gateway *gateway, const struct url *url,
                                struct seedpress_model *model, struct permalink *out,
                                struct err *e);
/* class and q. */
enum err_code series_read_options(const struct url *url, const struct seedpress_model *model,
                                  struct permalink *out, struct err *e);
/* What psi becomes for strangers: the nearest step of 0.05, unless every psi is allowed. */
int64_t series_psi(const struct gateway *gateway, int64_t psi);

#endif
