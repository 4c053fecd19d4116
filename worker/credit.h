/* credit -- how the places of a worker are split between its brokers: by what each has waiting and
 * has given already, a least share for everyone, so that who has nothing yet can begin at once. */
#ifndef WORKER_CREDIT_H
#define WORKER_CREDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One broker as the split sees it. */
struct credit_side {
    bool is_there;                  /* connected, and not leaving */
    int64_t demand;                 /* pictures that wait there, smoothed, times CREDIT_UNIT */
    size_t held;                    /* its jobs that are here */
    size_t credit;                  /* out: what it may have here. In: what it was told last */
};
enum { CREDIT_UNIT = 16 };

/* The least share of each of count brokers: at least 1, which needs capacity >= count. */
size_t credit_least(size_t capacity, size_t count);
/* A broker said how much waits for this worker. */
void credit_note_demand(struct credit_side *side, int64_t demand);
/* Sets every side's credit. Their sum never exceeds capacity if it did not before (each beginning
 * with credit_least): one grows only into what the others neither have promised nor hold. Who is
 * not there keeps the least share, told or not. */
void credit_split(struct credit_side *sides, size_t count, size_t capacity);

#endif
