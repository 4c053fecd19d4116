/* clock -- the one source of time. Logic never calls it: now_ms is passed in, once a turn, so that
 * tests can turn the clock by hand. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

int64_t clock_ms(void);             /* monotonic, from some fixed point */
int64_t clock_us(void);
int64_t clock_wall_ms(void);        /* since 1970, UTC; for logs and names only */

#endif
