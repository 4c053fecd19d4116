#include "worker/credit.h"

enum {
    LEAST_PART = 4,                 /* of an even split's share */
    DEMAND_MAX = 1000000,           /* more than any worker works off in a second */
};

size_t credit_least(size_t capacity, size_t count)
{
    size_t least = capacity / (LEAST_PART * count);

    return least ? least : 1;
}

/* Half of the way each time: a broker's heartbeat comes once a second. */
void credit_note_demand(struct credit_side *side, int64_t demand)
{
    int64_t now = (demand < DEMAND_MAX ? demand : DEMAND_MAX) * CREDIT_UNIT;

    int64_t step = (now - side->demand) / 2;

    side->demand = step ? side->demand + step : now;
}

static int64_t weight(const struct credit_side *side)
{
    return side->is_there ? side->demand + (int64_t)side->held * CREDIT_UNIT : 0;
}

/* What neither the others may have nor have. */
static size_t room_beside(const struct credit_side *sides, size_t count, size_t self,
                          size_t capacity)
{
    size_t taken = 0;

    for (size_t i = 0; i < count; i++)
        if (i != self)
            taken += sides[i].held > sides[i].credit ? sides[i].held : sides[i].credit;
    return taken < capacity ? capacity - taken : 0;
}

static size_t target_of(const struct credit_side *side, size_t least, size_t spare, int64_t weights,
                        size_t there)
{
    if (!side->is_there)
        return least;
    if (weights == 0)
        return least + spare / there;
    return least + (size_t)((int64_t)spare * weight(side) / weights);
}

void credit_split(struct credit_side *sides, size_t count, size_t capacity)
{
    size_t least = credit_least(capacity, count), spare = capacity - least * count, there = 0;
    int64_t weights = 0;

    for (size_t i = 0; i < count; i++) {
        weights += weight(&sides[i]);
        there += sides[i].is_there;
    }
    for (size_t i = 0; i < count; i++) {             /* first those who get less */
        size_t target = target_of(&sides[i], least, spare, weights, there);

        if (target < sides[i].credit)
            sides[i].credit = target;
    }
    for (size_t i = 0; i < count; i++) {
        size_t target = target_of(&sides[i], least, spare, weights, there);
        size_t room = room_beside(sides, count, i, capacity);

        if (target > room)
            target = room;
        if (target > sides[i].credit)
            sides[i].credit = target;
    }
}
