#include "broker/admission.h"

#include <utlist.h>

enum {
    RETRY_MIN_MS = 100, RETRY_MAX_MS = 60000,
    RETRY_UNKNOWN_MS = 1000,        /* while nobody knows how fast the queue empties */
    LEAVE_PART = 10,                /* a full queue is worth a try when a tenth has left */
};

/* What waits in a lane falls on a model's workers as far as they are the lane's. */
static double shared_part(const struct roster *roster, const struct lane *lane,
                          const struct model_entry *model)
{
    int index = lane->model->index;
    double workers = roster->shared[index][index];

    return workers > 0 ? roster->shared[index][model->index] / workers : 0;
}

/* What is queued ahead of a new picture of the account: higher levels whole; of its own level no
 * more than its account's turns leave to the others. */
static double ahead_us(const struct roster *roster, const struct queue *queue,
                       const struct account *account, const struct model_entry *model, int level)
{
    double higher = 0, same = 0;
    double own = (double)roster_picture_us(roster, NULL, model);
    size_t active = queue->accounts->active[level] + (account->queued[level] == 0);
    const struct lane *lane;
    const struct line *line;

    DL_FOREACH(queue->active, lane) {
        double part = shared_part(roster, lane, model);
        double each = part * (double)roster_picture_us(roster, NULL, lane->model);

        higher += each * (double)lane->front_count;
        for (int above = 0; above < level; above++)
            higher += each * (double)lane->count[above];
        same += each * (double)lane->count[level];
    }
    DL_FOREACH(account->lines, line)
        if (line->level == level)
            own += (double)line->waiters.count *
                   (double)roster_picture_us(roster, NULL, line->lane->model);
    own *= (double)active;
    return higher + (own < same ? own : same);
}

struct forecast admission_forecast(const struct roster *roster, const struct queue *queue,
                                   const struct account *account,
                                   const struct model_entry *model, int level, int64_t now_ms)
{
    const struct cost *cost = roster_cost(roster, NULL, model);
    double held_us = 0;
    size_t workers = 0;

    for (const struct worker *w = roster->by_peer; w; w = w->hh.next)
        if (worker_has_model(w, model) && w->credit > 0 && !w->stalled && !w->gone) {
            workers++;
            held_us += (double)(w->leased_us + w->others_us);
        }
    if (workers == 0 || !cost_is_fresh(cost, now_ms))
        return (struct forecast){ .is_known = false };
    held_us += ahead_us(roster, queue, account, model, level);
    return (struct forecast){
        .is_known = true, .alone_us = cost_predict_us(cost, 1),
        .total_us = (int64_t)(held_us / (double)workers) +
                    cost_predict_us(cost, held_us > 0 ? cost_usual_batch(cost) : 1),
    };
}

enum err_code admission_judge(const struct forecast *forecast, int64_t left_ms, struct err *e)
{
    int64_t late_ms = forecast->total_us / 1000 - left_ms;

    if (!forecast->is_known || late_ms <= 0)
        return ERR_OK;
    if (forecast->alone_us / 1000 > left_ms)
        return err_set(e, ERR_DEADLINE, "a picture takes about %lld ms, the deadline is %lld ms; "
                                        "give it more time",
                       (long long)(forecast->alone_us / 1000), (long long)left_ms);
    err_set(e, ERR_OVERLOADED, "would take about %lld ms, the deadline is %lld ms; ask again in "
                               "%lld ms or give it more time",
            (long long)(forecast->total_us / 1000), (long long)left_ms, (long long)late_ms);
    e->retry_after_ms = late_ms;
    return ERR_OVERLOADED;
}

bool admission_fits(const struct roster *roster, const struct worker *worker,
                    const struct model_entry *model, int64_t left_ms, int64_t now_ms)
{
    const struct cost *cost = roster_cost(roster, worker, model);

    return !cost_is_fresh(cost, now_ms) || cost_predict_us(cost, 1) / 1000 <= left_ms;
}

/* ---- bounds ---- */

static int64_t retry_after_ms(const struct queue *queue, const struct roster *roster)
{
    double queued_us = 0;
    int64_t ms;
    const struct lane *lane;

    DL_FOREACH(queue->active, lane) {
        int index = lane->model->index;
        double workers = roster->shared[index][index];
        double waiting = (double)lane->front_count;

        if (workers == 0 || !cost_is_known(&roster->cost[index]))
            return RETRY_UNKNOWN_MS;
        for (int level = 0; level < MESSAGE_PRIORITY_COUNT; level++)
            waiting += (double)lane->count[level];
        queued_us += waiting * (double)cost_picture_us(&roster->cost[index]) / workers;
    }
    ms = (int64_t)(queued_us / 1000 / LEAVE_PART);
    return ms < RETRY_MIN_MS ? RETRY_MIN_MS : ms > RETRY_MAX_MS ? RETRY_MAX_MS : ms;
}

enum err_code admission_check(const struct bound *bounds, size_t count, const struct queue *queue,
                              const struct roster *roster, struct err *e)
{
    for (size_t i = 0; i < count; i++) {
        const struct bound *b = &bounds[i];

        if (b->have + b->more <= b->most)
            continue;
        err_set(e, ERR_OVERLOADED, "%s %zu %s, and %s is %zu; ask again when some have ended",
                b->what, b->have, b->unit, b->setting, b->most);
        e->retry_after_ms = retry_after_ms(queue, roster);
        return ERR_OVERLOADED;
    }
    return ERR_OK;
}
