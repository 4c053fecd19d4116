/* The public calls for bulk jobs: from seedpress.h's structs to messages and back. */
#include "client/answer.h"
#include "client/handle.h"
#include "client/wish.h"

#include <stdlib.h>
#include <string.h>

#define SAME(public_code, code) _Static_assert((int)(public_code) == (int)(code), #public_code)
SAME(SEEDPRESS_PARTS_MAX, MESSAGE_PARTS_MAX);
SAME(SEEDPRESS_BULK_DONE, MESSAGE_BULK_DONE);
SAME(SEEDPRESS_BULK_CANCEL, MESSAGE_BULK_CANCEL);

/* ---- what is asked ---- */

static enum err_code read_part(const struct seedpress_part *part, struct message_bulk_part *out,
                               struct err *e)
{
    struct message m;
    const struct message_generate *g = &m.generate;
    enum err_code rc;

    message_init(&m, MESSAGE_GENERATE, 0);
    rc = wish_read(&part->request, &m.generate, e);
    *out = (struct message_bulk_part){
        .model = g->model, .first = part->first, .last = part->last, .psi = g->psi,
        .cutoff = g->cutoff, .class_index = g->class_index, .class_mod = part->class_mod,
        .noise_mode = g->noise_mode, .noise_seed = g->noise_seed, .translate = g->translate,
        .rotate = g->rotate, .transform = g->transform, .quality = g->quality, .mark = g->mark,
        .rev = g->rev,
    };
    return rc;
}

/* *parts is the caller's to free, and ask borrows from it. */
static enum err_code read_submission(const struct seedpress_submission *submission,
                                     struct message *ask, struct message_bulk_part **parts,
                                     struct err *e)
{
    struct message_bulk_submit *s = &ask->bulk_submit;
    size_t count = submission->part_count;
    struct err why;

    *parts = NULL;
    message_init(ask, MESSAGE_BULK_SUBMIT, 0);
    if (count == 0 || count > SEEDPRESS_PARTS_MAX)
        return err_set(e, ERR_RANGE, "a bulk job has 1 to %d parts, not %zu", SEEDPRESS_PARTS_MAX,
                       count);
    *parts = calloc(count, sizeof **parts);
    if (!*parts)
        return err_set(e, ERR_NOMEM, "no memory for %zu parts", count);
    for (size_t i = 0; i < count; i++)
        if (read_part(&submission->parts[i], &(*parts)[i], &why))
            return err_set(e, why.code, "part %zu: %s", i + 1, why.msg);
    s->name = wish_text(submission->name);
    s->keep = submission->keep;
    s->priority = submission->priority;
    if (submission->chunk)
        s->chunk = submission->chunk;
    s->dry = submission->dry;
    s->parts = (struct records){ *parts, count };
    return ERR_OK;
}

/* ---- what is answered ---- */

#define COPY_TEXT(text, out) text_copy((text), (out), sizeof(out))

static void answer_job(const struct message_bulk_job *job, struct seedpress_job *out)
{
    *out = (struct seedpress_job){
        .job = job->job, .state = (int)job->state, .keep = (int)job->keep,
        .priority = (int)job->priority, .chunk = (int)job->chunk, .total = job->total,
        .done = job->done, .failed = job->failed, .rendering = job->rendering,
        .exporter_ms = job->exporter_ms, .picture_us = job->picture_us,
        .picture_bytes = job->picture_bytes,
    };
    COPY_TEXT(job->name, out->name);
    COPY_TEXT(job->created, out->created);
    COPY_TEXT(job->finished, out->finished);
}

static enum seedpress_code fill_one(const struct records *jobs, struct seedpress_job *out,
                                    struct seedpress_error *error)
{
    if (jobs->count != 1)
        return handle_refuse(error, ERR_BUG, "the broker told of %zu jobs where one was meant",
                             jobs->count);
    answer_job(jobs->items, out);
    return SEEDPRESS_OK;
}

static enum seedpress_code fill_jobs(struct seedpress *self, const struct records *jobs,
                                     struct seedpress_error *error)
{
    const struct message_bulk_job *job = jobs->items;
    struct seedpress_job *list;

    if (!handle_take_list(self, jobs->count, sizeof *list, error))
        return SEEDPRESS_NO_MEMORY;
    list = self->lent_list;
    for (size_t i = 0; i < jobs->count; i++)
        answer_job(&job[i], &list[i]);
    return SEEDPRESS_OK;
}

/* NULL: the plan names each of its items once; else static words. Who uses it counts on that. */
static const char *check_plan(const struct message_bulk_plan *plan, int64_t job)
{
    const struct message_bulk_job *head = plan->jobs.items;
    const struct message_bulk_range *range = plan->parts.items;
    int64_t item = 0;

    if (plan->jobs.count != 1 || head->job != job)
        return "the broker sent another job than the one asked for";
    for (size_t i = 0; i < plan->parts.count; i++) {
        struct recipe recipe;

        if (range[i].item != item || range[i].first > range[i].last)
            return "the broker sent a job whose parts have gaps";
        if (recipe_parse(range[i].recipe.data, range[i].recipe.len, &recipe, NULL) ||
            recipe.seed != range[i].first)
            return "the broker sent a job with a damaged recipe";
        item += range[i].last - range[i].first + 1;
    }
    return item == head->total ? NULL : "the broker sent a job whose parts are not all of it";
}

/* The seed of an item of the checked plan; -1: it has no such item. */
static int64_t seed_of(const struct message_bulk_plan *plan, int64_t item)
{
    const struct message_bulk_range *range = plan->parts.items;

    for (size_t i = 0; i < plan->parts.count; i++)
        if (item >= range[i].item && item - range[i].item <= range[i].last - range[i].first)
            return range[i].first + item - range[i].item;
    return -1;
}

static const char *check_failures(const struct message_bulk_plan *plan, int64_t after)
{
    const struct message_bulk_failure *failure = plan->failures.items;

    for (size_t i = 0; i < plan->failures.count; i++) {
        if (failure[i].item <= after || failure[i].seed != seed_of(plan, failure[i].item))
            return "the broker sent failures that the job cannot have";
        after = failure[i].item;
    }
    return NULL;
}

static void answer_range(const struct message_bulk_range *range, struct seedpress_range *out)
{
    *out = (struct seedpress_range){ .item = range->item, .first = (uint32_t)range->first,
                                     .last = (uint32_t)range->last,
                                     .class_mod = (int)range->class_mod };
    COPY_TEXT(range->recipe, out->recipe);
}

static void answer_failure(const struct message_bulk_failure *failure,
                           struct seedpress_failure *out)
{
    *out = (struct seedpress_failure){ .item = failure->item, .seed = (uint32_t)failure->seed };
    COPY_TEXT(failure->code, out->code);
    COPY_TEXT(failure->message, out->message);
}

/* Ranges and, behind them, failures are lent as one. */
static enum seedpress_code fill_plan(struct seedpress *self, const struct message_bulk_plan *plan,
                                     struct seedpress_plan *out, struct seedpress_error *error)
{
    size_t bytes = plan->parts.count * sizeof(struct seedpress_range) +
                   plan->failures.count * sizeof(struct seedpress_failure);
    struct seedpress_range *ranges;
    struct seedpress_failure *failures;

    if (!handle_take_list(self, bytes, 1, error))
        return SEEDPRESS_NO_MEMORY;
    ranges = self->lent_list;
    failures = (struct seedpress_failure *)(ranges + plan->parts.count);
    for (size_t i = 0; i < plan->parts.count; i++)
        answer_range((const struct message_bulk_range *)plan->parts.items + i, &ranges[i]);
    for (size_t i = 0; i < plan->failures.count; i++)
        answer_failure((const struct message_bulk_failure *)plan->failures.items + i,
                       &failures[i]);
    answer_job(plan->jobs.items, &out->job);
    out->ranges = ranges;
    out->range_count = plan->parts.count;
    out->failures = failures;
    out->failure_count = plan->failures.count;
    return SEEDPRESS_OK;
}

/* ---- the calls ---- */

enum seedpress_code seedpress_bulk_submit(struct seedpress *self,
                                          const struct seedpress_submission *submission,
                                          struct seedpress_job *job, bool *is_new,
                                          struct seedpress_error *error)
{
    enum seedpress_code code;
    struct message_bulk_part *parts;
    struct message ask;
    struct talk t;
    struct err e;

    handle_enter(self);
    *job = (struct seedpress_job){ .job = 0 };
    *is_new = false;
    if (read_submission(submission, &ask, &parts, &e)) {
        free(parts);
        return handle_report(&e, error);
    }
    code = handle_talk(self, &ask, self->answer_ms, MESSAGE_BULK_REPORT, &t, error);
    if (!code)
        code = fill_one(&t.answer.bulk_report.jobs, job, error);
    if (!code)
        *is_new = t.answer.bulk_report.is_new;
    handle_talk_release(&t);
    free(parts);
    return handle_leave(self, code);
}

enum seedpress_code seedpress_bulk_list(struct seedpress *self, int64_t job, const char *name,
                                        int limit, const struct seedpress_job **jobs,
                                        size_t *count, struct seedpress_error *error)
{
    enum seedpress_code code;
    struct message ask;
    struct talk t;

    handle_enter(self);
    *jobs = NULL;
    *count = 0;
    message_init(&ask, MESSAGE_BULK_LIST, 0);
    ask.bulk_list.job = job;
    ask.bulk_list.name = wish_text(name);
    ask.bulk_list.limit = limit;
    code = handle_talk(self, &ask, self->answer_ms, MESSAGE_BULK_REPORT, &t, error);
    if (!code)
        code = fill_jobs(self, &t.answer.bulk_report.jobs, error);
    if (!code) {
        *jobs = self->lent_list;
        *count = t.answer.bulk_report.jobs.count;
    }
    handle_talk_release(&t);
    return handle_leave(self, code);
}

enum seedpress_code seedpress_bulk_control(struct seedpress *self, int64_t job, int action,
                                           struct seedpress_job *out,
                                           struct seedpress_error *error)
{
    enum seedpress_code code;
    struct message ask;
    struct talk t;

    handle_enter(self);
    *out = (struct seedpress_job){ .job = 0 };
    message_init(&ask, MESSAGE_BULK_CONTROL, 0);
    ask.bulk_control = (struct message_bulk_control){ job, action };
    code = handle_talk(self, &ask, self->answer_ms, MESSAGE_BULK_REPORT, &t, error);
    if (!code)
        code = fill_one(&t.answer.bulk_report.jobs, out, error);
    handle_talk_release(&t);
    return handle_leave(self, code);
}

enum seedpress_code seedpress_bulk_show(struct seedpress *self, int64_t job,
                                        int64_t failures_after, struct seedpress_plan *plan,
                                        struct seedpress_error *error)
{
    enum seedpress_code code;
    struct message ask;
    struct talk t;

    handle_enter(self);
    *plan = (struct seedpress_plan){ .ranges = NULL };
    message_init(&ask, MESSAGE_BULK_SHOW, 0);
    ask.bulk_show = (struct message_bulk_show){ job, failures_after };
    code = handle_talk(self, &ask, self->answer_ms, MESSAGE_BULK_PLAN, &t, error);
    if (!code) {
        const char *why = check_plan(&t.answer.bulk_plan, job);

        if (!why)
            why = check_failures(&t.answer.bulk_plan, failures_after);
        code = why ? handle_refuse(error, ERR_BUG, "%s", why)
                   : fill_plan(self, &t.answer.bulk_plan, plan, error);
    }
    handle_talk_release(&t);
    return handle_leave(self, code);
}

enum seedpress_code seedpress_bulk_exported(struct seedpress *self, int64_t job, int64_t first,
                                            int count, struct seedpress_error *error)
{
    enum seedpress_code code;
    struct message ask;
    struct talk t;

    handle_enter(self);
    message_init(&ask, MESSAGE_BULK_EXPORTED, 0);
    ask.bulk_exported = (struct message_bulk_exported){ job, first, count };
    code = handle_talk(self, &ask, self->answer_ms, MESSAGE_DONE, &t, error);
    handle_talk_release(&t);
    return handle_leave(self, code);
}
