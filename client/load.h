/* load -- what a benchmark asks, and when: arrivals of a Poisson process, levels in given shares,
 * seeds that are fresh or come again. The same dice give the same load. */
#ifndef CLIENT_LOAD_H
#define CLIENT_LOAD_H

#include "proto/err.h"
#include "proto/message.h"

#include <stdint.h>

enum { LOAD_HOT_SEEDS = 64 };       /* from which duplicates are drawn */

struct load_options {
    int64_t rate;                   /* arrivals a second, on average */
    int weight[MESSAGE_PRIORITY_COUNT];         /* shares of the levels; their sum is above 0 */
    int duplicates;                 /* of a hundred seeds: drawn from the hot ones, the first
                                       LOAD_HOT_SEEDS from seeds_from on */
    uint32_t seeds_from;            /* fresh seeds follow the hot ones; behind the last comes 0 */
    uint64_t dice;
};

struct load {
    struct load_options options;
    int weights;                    /* their sum */
    uint64_t dice;
    uint32_t next_seed;
    double at_us;                   /* of the last arrival, since the first moment */
};
void load_init(struct load *self, const struct load_options *options);

/* The next arrival, in us after load_init's moment; rate must be above 0. */
int64_t load_next_arrival_us(struct load *self);
int load_next_level(struct load *self);             /* enum message_priority */
uint32_t load_next_seed(struct load *self);

/* "high=10,normal=80,low=10" into weight; levels that are not named get 0. ERR_INVALID,
 * ERR_RANGE. */
enum err_code load_parse_mix(const char *text, int weight[MESSAGE_PRIORITY_COUNT], struct err *e);

#endif
