/* What clients say of bulk jobs. All of it goes to the ledger, by the thread of bulk. */
#include "broker/core.h"

#include <stdlib.h>
#include <string.h>

enum {
    CHUNKS_MAX = 1000000,           /* of a job: its chunks are counted at every look */
    JOBS_MAX = 100,                 /* of one answer, as on the wire */
};

static void refuse(struct broker *b, const struct call *c, const struct err *e)
{
    reply_error(b, c->client, c->to, c->id, -1, e);
}

/* Whose jobs its are: a key or uid, or all whom this machine lets in without one. */
static const char *owner_of(const struct call *c)
{
    return *c->client->access.user ? c->client->access.user : "local";
}

static void ask(struct broker *b, const struct call *c, struct bulk_question question, void *extra)
{
    struct err e;

    question.to = *c->to;
    question.id = c->id;
    if (!bulk_ask(&b->bulk, &question, extra, &e))
        refuse(b, c, &e);
}

/* Who waits for the errand, unless it failed and he was told, or has gone. */
static struct client *client_of(struct broker *b, const struct errand *errand, int64_t now_ms)
{
    struct client *client = clients_get(&b->clients, &errand->to, now_ms);

    if (client && errand->rc) {
        reply_error(b, client, &errand->to, errand->id, -1, &errand->err);
        return NULL;
    }
    return client;
}

/* ---- what is told of jobs ---- */

/* One more, while all who have the model make pictures; 0: nobody knows. */
static int64_t picture_us(const struct broker *b, const struct digest *digest)
{
    const struct model_entry *model = models_find(&b->models, digest);
    int64_t workers = model ? b->roster.shared[model->index][model->index] : 0;

    return workers > 0 ? cost_picture_us(roster_cost(&b->roster, NULL, model)) / workers : 0;
}

static struct message_bulk_job tell_job(const struct broker *b, const struct ledger_job *job)
{
    return (struct message_bulk_job){
        .job = job->id, .name = text_of(job->name), .state = (int64_t)job->state,
        .keep = job->keep ? MESSAGE_KEEP_IMAGE : MESSAGE_KEEP_PROVENANCE,
        .priority = job->priority, .chunk = job->chunk, .total = job->total, .done = job->done,
        .failed = job->failed, .rendering = job->leased, .exporter_ms = job->exporter_ms,
        .picture_us = picture_us(b, &job->model), .picture_bytes = job->picture_bytes,
        .created = text_of(job->created), .finished = text_of(job->finished),
    };
}

static void reply_jobs(struct broker *b, struct client *client, const struct errand *errand,
                       const struct ledger_job *jobs, size_t count, bool is_new)
{
    struct message_bulk_job list[JOBS_MAX];
    struct message m;

    for (size_t i = 0; i < count; i++)
        list[i] = tell_job(b, &jobs[i]);
    message_init(&m, MESSAGE_BULK_REPORT, errand->id);
    m.bulk_report = (struct message_bulk_report){ { list, count }, is_new };
    reply_message(b, client, &errand->to, &m, NULL);
}

/* ---- submit ---- */

struct submit {
    struct ledger_job job;
    struct ledger_part *parts;      /* owned, [count] */
    struct digest *kinds;           /* owned, [count]: of the recipe without seed and class */
    size_t count;
    bool is_dry, is_new;
};

static void submit_end(void *extra)
{
    struct submit *self = extra;

    free(self->parts);
    free(self->kinds);
    free(self);
}

/* Where a part is wrong, before the reason. */
static enum err_code blame_part(size_t number, struct err *e)
{
    struct err why = *e;

    err_set(e, why.code, "part %zu: %.*s", number + 1, (int)(sizeof e->msg - 20), why.msg);
    return e->code;
}

/* A part as the generate of its first seed. */
static struct recipe_request request_of(const struct message_bulk_part *part, int64_t class_index)
{
    struct message_generate g = {
        .psi = part->psi, .cutoff = part->cutoff, .class_index = class_index,
        .noise_mode = part->noise_mode, .noise_seed = part->noise_seed,
        .translate = part->translate, .rotate = part->rotate, .transform = part->transform,
        .quality = part->quality, .mark = part->mark, .rev = part->rev,
    };

    return message_recipe_request(&g, (uint32_t)part->first);
}

static enum err_code resolve_part(const struct broker *b, const struct message_bulk_part *part,
                                  struct ledger_part *out, struct err *e)
{
    const struct model_entry *model;
    struct recipe_request request;
    int64_t mod = part->class_mod;
    enum err_code rc = models_resolve(&b->models, part->model, &model, e);

    if (rc)
        return rc;
    if (model->facts.c_dim == 0)
        mod = 0;                     /* as a class: without effect there */
    else if (mod > model->facts.c_dim)
        return err_set(e, ERR_RANGE, "class is seed %% %lld, but the model has %d classes",
                       (long long)mod, model->facts.c_dim);
    request = request_of(part, mod > 0 ? part->first % mod : part->class_index);
    out->first = (uint32_t)part->first;
    out->last = (uint32_t)part->last;
    out->class_mod = (int)mod;
    return recipe_resolve(&request, &model->facts, &out->recipe, NULL, e);
}

/* What two parts must have in common to make one picture twice. */
static struct digest kind_of(const struct ledger_part *part)
{
    struct recipe recipe = part->recipe;

    recipe.seed = 0;
    recipe.class_index = -1;
    return recipe_key(&recipe);
}

static uint64_t common_multiple(uint64_t a, uint64_t b)
{
    uint64_t x = a, y = b;

    while (y > 0) {
        uint64_t rest = x % y;

        x = y;
        y = rest;
    }
    return a / x * b;
}

/* The first number from lo on with that rest modulo period. */
static uint64_t next_with_rest(uint64_t lo, uint64_t period, uint64_t rest)
{
    return lo + (rest + period - lo % period) % period;
}

/* The first seed for which both make the same picture; above the seeds when there is none. */
static uint64_t first_shared(const struct ledger_part *x, const struct ledger_part *y)
{
    uint64_t lo = x->first > y->first ? x->first : y->first;
    uint64_t m = (uint64_t)x->class_mod, n = (uint64_t)y->class_mod;

    if (m == n)
        return m > 0 || x->recipe.class_index == y->recipe.class_index ? lo : UINT64_MAX;
    if (m > 0 && n > 0) {            /* seed % m == seed % n: a rest below both, modulo both */
        uint64_t period = common_multiple(m, n), lesser = m < n ? m : n;

        return lo % period < lesser ? lo : next_with_rest(lo, period, 0);
    }
    return m > 0 ? ((uint64_t)y->recipe.class_index < m
                        ? next_with_rest(lo, m, (uint64_t)y->recipe.class_index) : UINT64_MAX)
                 : ((uint64_t)x->recipe.class_index < n
                        ? next_with_rest(lo, n, (uint64_t)x->recipe.class_index) : UINT64_MAX);
}

static enum err_code check_overlap(const struct submit *self, size_t number, struct err *e)
{
    const struct ledger_part *part = &self->parts[number];

    for (size_t i = 0; i < number; i++) {
        const struct ledger_part *other = &self->parts[i];
        uint64_t last = part->last < other->last ? part->last : other->last, seed;

        if (part->first > other->last || other->first > part->last ||
            !digest_equal(&self->kinds[i], &self->kinds[number]))
            continue;
        if ((seed = first_shared(part, other)) <= last)
            return err_set(e, ERR_INVALID, "it overlaps part %zu: both make seed %llu", i + 1,
                           (unsigned long long)seed);
    }
    return ERR_OK;
}

static enum err_code fill_parts(const struct broker *b, const struct message_bulk_submit *m,
                                struct submit *self, struct err *e)
{
    const struct message_bulk_part *parts = m->parts.items;
    int64_t total = 0;

    for (size_t i = 0; i < m->parts.count; i++) {
        struct ledger_part *part = &self->parts[i];

        part->item = total;
        if (resolve_part(b, &parts[i], part, e))
            return blame_part(i, e);
        self->kinds[i] = kind_of(part);
        if (check_overlap(self, i, e))
            return blame_part(i, e);
        total += (int64_t)part->last - part->first + 1;
    }
    if (total > CHUNKS_MAX * m->chunk)
        return err_set(e, ERR_RANGE, "%lld pictures in chunks of %lld would be more than %d "
                       "chunks; give \"chunk\" (up to %d), or submit several jobs",
                       (long long)total, (long long)m->chunk, CHUNKS_MAX, LEDGER_CHUNK_MAX);
    self->job.total = total;
    return ERR_OK;
}

static enum err_code fill_submit(const struct broker *b, const struct call *c, struct submit *self,
                                 struct err *e)
{
    const struct message_bulk_submit *m = &c->message->bulk_submit;

    if (!recipe_name_is_valid(m->name.data, m->name.len))
        return err_set(e, ERR_INVALID, "\"%.*s\" is no valid name for a bulk job: 1 to %d of A-Z "
                       "a-z 0-9 . _ - and no '.' first", (int)m->name.len, m->name.data,
                       RECIPE_NAME_MAX);
    self->parts = calloc(m->parts.count + 1, sizeof *self->parts);
    self->kinds = calloc(m->parts.count + 1, sizeof *self->kinds);
    if (!self->parts || !self->kinds)
        return err_set(e, ERR_NOMEM, "no memory for a bulk job of %zu parts", m->parts.count);
    self->count = m->parts.count;
    self->is_dry = m->dry;
    text_copy(text_of(owner_of(c)), self->job.owner, sizeof self->job.owner);
    text_copy(m->name, self->job.name, sizeof self->job.name);
    self->job.keep = m->keep == MESSAGE_KEEP_IMAGE;
    self->job.priority = (int)m->priority;
    self->job.chunk = (int)m->chunk;
    self->job.exporter_ms = -1;
    return fill_parts(b, m, self, e);
}

static enum err_code submit_call(struct ledger *ledger, void *extra, struct err *e)
{
    struct submit *self = extra;

    self->job.model = self->parts[0].recipe.model;
    return self->is_dry ? ledger_bulk_picture_bytes(ledger, &self->job.model,
                                                    &self->job.picture_bytes, e)
                        : ledger_bulk_submit(ledger, &self->job, self->parts, self->count,
                                             &self->is_new, e);
}

static void take_submitted(struct broker *b, struct errand *errand, int64_t now_ms)
{
    const struct submit *s = errand->extra;
    struct client *client = client_of(b, errand, now_ms);

    if (client)
        reply_jobs(b, client, errand, &s->job, 1, s->is_new);
    bulk_wake(&b->bulk);
}

void on_bulk_submit(struct broker *b, const struct call *c)
{
    struct submit *s = calloc(1, sizeof *s);
    struct err e;

    if (s && fill_submit(b, c, s, &e)) {
        submit_end(s);
        refuse(b, c, &e);
        return;
    }
    ask(b, c, (struct bulk_question){ .call = submit_call, .end_extra = submit_end,
                                      .take = take_submitted }, s);
}

/* ---- list, and what is made of an action ---- */

struct list {
    int64_t job;
    char name[RECIPE_NAME_MAX + 1];
    char owner[80];                 /* CONTROL: who asks; "": he may all */
    bool is_control;
    enum ledger_bulk_state to;      /* CONTROL */
    size_t limit;
    struct ledger_job jobs[JOBS_MAX];
    size_t count;
};

static enum err_code list_call(struct ledger *ledger, void *extra, struct err *e)
{
    struct list *self = extra;
    enum err_code rc = ERR_OK;

    if (self->is_control)
        rc = ledger_bulk_control(ledger, self->job, self->owner, self->to, e);
    return rc ? rc : ledger_bulk_list(ledger, self->job, self->name, self->jobs, self->limit,
                                      &self->count, e);
}

static void take_list(struct broker *b, struct errand *errand, int64_t now_ms)
{
    const struct list *l = errand->extra;
    struct client *client = client_of(b, errand, now_ms);

    if (client)
        reply_jobs(b, client, errand, l->jobs, l->count, false);
    if (l->is_control)
        bulk_recheck(&b->bulk);
}

static void ask_list(struct broker *b, const struct call *c, const struct list *wanted)
{
    struct list *l = malloc(sizeof *l);

    if (l)
        *l = *wanted;
    ask(b, c, (struct bulk_question){ .call = list_call, .end_extra = free, .take = take_list }, l);
}

void on_bulk_list(struct broker *b, const struct call *c)
{
    const struct message_bulk_list *m = &c->message->bulk_list;
    struct list l = { .job = m->job, .limit = (size_t)m->limit };

    text_copy(m->name, l.name, sizeof l.name);
    ask_list(b, c, &l);
}

void on_bulk_control(struct broker *b, const struct call *c)
{
    static const enum ledger_bulk_state TO[] = {
        [MESSAGE_BULK_PAUSE] = LEDGER_BULK_PAUSED, [MESSAGE_BULK_RESUME] = LEDGER_BULK_RUNNING,
        [MESSAGE_BULK_CANCEL] = LEDGER_BULK_CANCELLED,
    };
    const struct message_bulk_control *m = &c->message->bulk_control;
    struct list l = { .job = m->job, .is_control = true, .to = TO[m->action], .limit = 1 };

    if (!access_may_administer(&c->client->access))
        text_copy(text_of(owner_of(c)), l.owner, sizeof l.owner);
    ask_list(b, c, &l);
}

/* ---- show ---- */

struct show {
    int64_t job_id, after;
    struct ledger_job job;
    struct ledger_part *parts;      /* owned, [part_count] */
    size_t part_count;
    struct ledger_failure failures[MESSAGE_FAILURES_MAX];
    size_t failure_count;
};

static void show_end(void *extra)
{
    free(((struct show *)extra)->parts);
    free(extra);
}

static enum err_code show_call(struct ledger *ledger, void *extra, struct err *e)
{
    struct show *self = extra;
    size_t count;
    enum err_code rc = ledger_bulk_parts(ledger, self->job_id, &self->parts, &self->part_count, e);

    if (!rc)
        rc = ledger_bulk_list(ledger, self->job_id, "", &self->job, 1, &count, e);
    return rc ? rc : ledger_bulk_failures(ledger, self->job_id, self->after, self->failures,
                                          MESSAGE_FAILURES_MAX, &self->failure_count, e);
}

static int64_t seed_of(const struct show *self, int64_t item)
{
    size_t part = self->part_count - 1;

    while (part > 0 && self->parts[part].item > item)
        part--;
    return ledger_part_recipe(&self->parts[part], item).seed;
}

/* Records for the message: as many as there are, or none for want of memory. */
struct plan {
    struct message_bulk_range *ranges;
    struct recipe_text *texts;
    struct message_bulk_failure *failures;
};

static bool fill_plan(const struct show *s, struct plan *out)
{
    *out = (struct plan){ calloc(s->part_count, sizeof *out->ranges),
                          calloc(s->part_count, sizeof *out->texts),
                          calloc(s->failure_count + 1, sizeof *out->failures) };
    if (!out->ranges || !out->texts || !out->failures)
        return false;
    for (size_t i = 0; i < s->part_count; i++) {
        const struct ledger_part *p = &s->parts[i];

        out->texts[i] = recipe_text(&p->recipe);
        out->ranges[i] = (struct message_bulk_range){
            .item = p->item, .first = p->first, .last = p->last, .class_mod = p->class_mod,
            .recipe = { out->texts[i].text, out->texts[i].len },
        };
    }
    for (size_t i = 0; i < s->failure_count; i++)
        out->failures[i] = (struct message_bulk_failure){
            .item = s->failures[i].item, .seed = seed_of(s, s->failures[i].item),
            .code = text_of(s->failures[i].code), .message = text_of(s->failures[i].message),
        };
    return true;
}

static void take_show(struct broker *b, struct errand *errand, int64_t now_ms)
{
    const struct show *s = errand->extra;
    struct client *client = client_of(b, errand, now_ms);
    struct message_bulk_job job = tell_job(b, &s->job);
    struct plan plan = { NULL, NULL, NULL };
    struct message m;
    struct err e;

    if (!client)
        return;
    if (fill_plan(s, &plan)) {
        message_init(&m, MESSAGE_BULK_PLAN, errand->id);
        m.bulk_plan = (struct message_bulk_plan){
            .jobs = { &job, 1 }, .parts = { plan.ranges, s->part_count },
            .failures = { plan.failures, s->failure_count },
        };
        reply_message(b, client, &errand->to, &m, NULL);
    } else {
        err_set(&e, ERR_NOMEM, "no memory for the plan of a bulk job");
        reply_error(b, client, &errand->to, errand->id, -1, &e);
    }
    free(plan.ranges);
    free(plan.texts);
    free(plan.failures);
}

void on_bulk_show(struct broker *b, const struct call *c)
{
    struct show *s = calloc(1, sizeof *s);

    if (s) {
        s->job_id = c->message->bulk_show.job;
        s->after = c->message->bulk_show.after;
    }
    ask(b, c, (struct bulk_question){ .call = show_call, .end_extra = show_end, .take = take_show },
        s);
}

/* ---- exported ---- */

struct exported {
    int64_t job, first;
    int count;
};

/* One range that fits into a chunk. */
static enum err_code tell_exported(struct ledger *ledger, struct ledger_chunk range, struct err *e)
{
    struct bulk_items items = { .owner = "" };
    enum err_code rc = ledger_bulk_parts_of(ledger, &range, &items.parts, &items.part_count, e);

    if (!rc)
        rc = bulk_items_make_keys(&items, &range, e);
    if (!rc)
        rc = ledger_bulk_exported(ledger, range.job, range.item, range.count, items.keys, e);
    bulk_items_release(&items);
    return rc;
}

static enum err_code exported_call(struct ledger *ledger, void *extra, struct err *e)
{
    const struct exported *self = extra;
    enum err_code rc = ledger_bulk_exported(ledger, self->job, 0, 0, NULL, e);

    for (int done = 0; !rc && done < self->count; done += LEDGER_CHUNK_MAX) {
        int left = self->count - done;
        struct ledger_chunk range = { .job = self->job, .item = self->first + done,
                                      .count = left < LEDGER_CHUNK_MAX ? left : LEDGER_CHUNK_MAX };

        rc = tell_exported(ledger, range, e);
    }
    return rc;
}

static void take_exported(struct broker *b, struct errand *errand, int64_t now_ms)
{
    const struct exported *x = errand->extra;
    struct client *client = client_of(b, errand, now_ms);
    struct message m;

    if (!client)
        return;
    message_init(&m, MESSAGE_DONE, errand->id);
    m.done.count = x->count;
    reply_message(b, client, &errand->to, &m, NULL);
}

void on_bulk_exported(struct broker *b, const struct call *c)
{
    const struct message_bulk_exported *m = &c->message->bulk_exported;
    struct exported *x = malloc(sizeof *x);

    if (x)
        *x = (struct exported){ m->job, m->first, (int)m->count };
    ask(b, c, (struct bulk_question){ .call = exported_call, .end_extra = free,
                                      .take = take_exported }, x);
}
