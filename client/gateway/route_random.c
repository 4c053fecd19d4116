/* GET /v1/cats/random.jpg and latest.jpg: on to a permanent URL whose picture is there by then, so
 * that what the visitor asks next comes out of memory. */
#include "base/clock.h"
#include "client/gateway/gateway.h"
#include "client/gateway/routes.h"
#include "client/gateway/tally.h"
#include "proto/number.h"
#include "proto/recipe.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_MS = 2000, WAIT_MAX_MS = 30000, TRIES_MAX = 4, EVERY_S = 10 };

/* Whose seed it is that is asked for. */
enum source {
    SOURCE_DRAWN,                   /* nobody's yet */
    SOURCE_SHARED,                  /* one of the gallery */
    SOURCE_SLOT                     /* that of a time slot, everybody's */
};

struct draw {
    struct agent_task task;
    struct ask ask;
    struct agent_watch watch;
    struct gateway *gateway;
    struct visit *visit;
    enum source source;
    bool is_latest, must;           /* must: a new picture or none */
    int64_t every_s, slot;
    int tries;
    struct seedpress_error first;   /* why there was no new one */
};

/* ---- seeds ---- */

/* The same on every gateway; attempt counts the pictures of the slot that were withdrawn. */
static uint32_t seed_of_slot(const struct permalink_key *key, int64_t every_s, int64_t slot,
                             int attempt)
{
    char text[160];
    int len = snprintf(text, sizeof text, "seedpress-latest/1\nmodel=%s\nevery=%" PRId64
                                          "\nattempt=%d\n", digest_hex(&key->model).text, every_s,
                       attempt);
    struct digest digest = digest_of(text, (size_t)len);
    struct permutation order = permutation_of(&digest, 32);

    return permutation_apply(&order, (uint32_t)slot);
}

static uint32_t draw_seed(struct gateway *g)
{
    return permutation_apply(&g->seeds, atomic_fetch_add(&g->drawn, 1));
}

/* ---- the answer ---- */

static void finish(struct draw *draw, struct agent *agent, struct response *response)
{
    agent_unwatch(agent, &draw->watch);
    visit_answer(draw->visit, response);
    free(draw);
}

static void send_on(struct draw *draw, struct agent *agent)
{
    char url[PERMALINK_MAX];
    struct response *response;

    permalink_write(&draw->ask.what, url);
    response = response_redirect(303, url);
    if (draw->is_latest) {
        int64_t left_ms = (draw->slot + 1) * draw->every_s * 1000 - clock_wall_ms();

        response_header_format(response, "Cache-Control", "public, max-age=%" PRId64,
                               left_ms > 0 ? left_ms / 1000 : 0);
    } else {
        response_header(response, "Cache-Control", "no-store");
        response_header(response, "X-Fresh", draw->source == SOURCE_DRAWN ? "1" : "0");
        metrics_add(draw->gateway->metrics, TALLY_SHARED, 0, draw->source != SOURCE_DRAWN);
    }
    finish(draw, agent, response);
}

/* What came too late is, to who waits for one picture of many, a lack of room: 503. */
static void give_up(struct draw *draw, struct agent *agent, const struct seedpress_error *error)
{
    bool is_late = error->code == SEEDPRESS_DEADLINE;

    finish(draw, agent,
           response_error_as(is_late ? 503 : (unsigned)error->http_status, error));
}

/* ---- asking ---- */

static void ask(struct draw *draw, struct agent *agent, enum ask_kind kind, int deadline_ms)
{
    draw->ask.kind = kind;
    draw->ask.deadline_ms = deadline_ms;
    agent_ask(agent, &draw->ask);
}

/* A stored picture, which may turn out to be withdrawn; at last the one of the time slot, which all
 * who wait share. */
static void share(struct draw *draw, struct agent *agent)
{
    struct gateway *g = draw->gateway;
    struct permalink_key *key = &draw->ask.what.key;
    struct picture *picture;
    enum album_found found;

    if (draw->tries++ < TRIES_MAX && gallery_pick(g->gallery, key, draw_seed(g))) {
        draw->source = SOURCE_SHARED;
        found = album_find(g->album, key, clock_ms(), &picture, NULL);
        picture_unref(&picture);
        if (found == ALBUM_FRESH)
            send_on(draw, agent);
        else
            ask(draw, agent, ASK_STORED, g->deadline_ms);
        return;
    }
    draw->source = SOURCE_SLOT;
    key->seed = seed_of_slot(key, EVERY_S, clock_wall_ms() / 1000 / EVERY_S, 0);
    ask(draw, agent, ASK_RENDER, g->deadline_ms);
}

static void redraw(struct draw *draw, struct agent *agent)
{
    struct permalink_key *key = &draw->ask.what.key;

    draw->tries++;
    if (draw->is_latest)
        key->seed = seed_of_slot(key, draw->every_s, draw->slot, draw->tries);
    else
        key->seed = draw_seed(draw->gateway);
    ask(draw, agent, ASK_RENDER, draw->ask.deadline_ms);
}

static void on_done(struct ask *asked, struct agent *agent, const struct seedpress_error *error,
                    struct picture *picture, const struct picture_times *times, const char *recipe)
{
    struct draw *draw = (struct draw *)(void *)((char *)asked - offsetof(struct draw, ask));
    struct gateway *g = draw->gateway;
    bool is_lost = error->code == SEEDPRESS_WITHDRAWN || error->code == SEEDPRESS_NOT_FOUND;

    (void)picture;
    (void)times;
    (void)recipe;
    if (!error->code) {
        gallery_add(g->gallery, &asked->what.key);
        send_on(draw, agent);
    } else if (draw->source == SOURCE_SHARED) {
        if (is_lost)
            gallery_drop(g->gallery, &asked->what.key);
        share(draw, agent);
    } else if (error->code == SEEDPRESS_WITHDRAWN && draw->tries < TRIES_MAX) {
        redraw(draw, agent);
    } else if (draw->source == SOURCE_DRAWN && !draw->must && !draw->is_latest && error->retry &&
               error->code != SEEDPRESS_UNREACHABLE) {
        draw->first = *error;
        share(draw, agent);
    } else
        give_up(draw, agent, draw->first.code ? &draw->first : error);
}

static void on_gone(struct agent_watch *watch, struct agent *agent)
{
    struct draw *draw = (struct draw *)(void *)((char *)watch - offsetof(struct draw, watch));

    agent_drop(agent, &draw->ask);
    finish(draw, agent, NULL);
}

static void run_draw(struct agent_task *task, struct agent *agent)
{
    struct draw *draw = (struct draw *)(void *)task;

    agent_watch(agent, &draw->watch, visit_fd(draw->visit));
    agent_ask(agent, &draw->ask);
}

static void begin(struct gateway *g, struct visit *visit, const struct draw *wish)
{
    struct draw *draw;
    struct err e;

    if (!gateway_admit(g, visit))
        return;
    draw = malloc(sizeof *draw);
    if (!draw) {
        err_set(&e, ERR_NOMEM, "no memory for another question");
        visit_refuse(visit, &e);
        return;
    }
    *draw = *wish;
    draw->task.run = run_draw;
    draw->watch.gone = on_gone;
    draw->gateway = g;
    draw->visit = visit;
    draw->ask.done = on_done;
    draw->ask.kind = ASK_RENDER;
    draw->ask.priority = SEEDPRESS_NORMAL;
    memcpy(draw->ask.visitor, visit_visitor(visit), sizeof draw->ask.visitor);
    if (!gateway_post(g, visit, &draw->task))
        free(draw);
}

/* ---- the request ---- */

/* Strangers' psi goes in steps. True: the request was sent on to the nearest one. */
static bool redirect_psi(const struct gateway *g, struct visit *visit, int64_t psi)
{
    const struct url *url = visit_url(visit);
    int64_t rounded = g->any_psi ? psi : permalink_round_psi(psi);
    char text[24], target[PERMALINK_MAX + 100];
    struct response *response;
    size_t len;

    if (rounded == psi)
        return false;
    number_format_millionths(rounded, text);
    len = (size_t)snprintf(target, sizeof target, "/v1/%.140s/%.16s?psi=%s", url->segment[1],
                           url->segment[2], text);
    for (size_t i = 0; i < url->param_count && len < sizeof target; i++)
        if (strcmp(url->param[i].name, "psi") != 0)
            len += (size_t)snprintf(target + len, sizeof target - len, "&%s=%.16s",
                                    url->param[i].name, url->param[i].value);
    response = response_redirect(307, target);
    response_header(response, "Cache-Control", "public, max-age=3600");
    visit_answer(visit, response);
    return true;
}

/* What both have: model, psi, class. */
static enum err_code read_what(struct gateway *g, const struct visit *visit, struct permalink *out,
                               struct err *e)
{
    const struct url *url = visit_url(visit);
    int64_t psi = PERMALINK_PSI, class_index = -1;
    struct seedpress_model model;
    enum err_code rc;

    if ((rc = gateway_find_model(g, url->segment[1], &model, e)) ||
        (rc = permalink_read_psi(url, "psi", &psi, e)) ||
        (rc = permalink_read_number(url, "class", 0, RECIPE_CLASS_MAX, &class_index, e)))
        return rc;
    *out = permalink_of(&model, 0, psi);
    return permalink_set_class(out, &model, class_index, e);
}

static enum err_code read_fresh(const struct url *url, bool *must, struct err *e)
{
    const char *text = url_param(url, "fresh");

    *must = text && strcmp(text, "must") == 0;
    if (text && !*must && strcmp(text, "prefer") != 0)
        return err_set(e, ERR_INVALID, "fresh is \"prefer\" or \"must\", not \"%.20s\"", text);
    return ERR_OK;
}

void route_random(struct gateway *gateway, struct visit *visit)
{
    static const char *const NAMES[] = { "psi", "class", "fresh", "wait_ms" };
    const struct url *url = visit_url(visit);
    struct draw draw = { .source = SOURCE_DRAWN };
    int64_t wait_ms = WAIT_MS;
    struct err e;

    if (url_check_params(url, NAMES, sizeof NAMES / sizeof NAMES[0], &e) ||
        read_fresh(url, &draw.must, &e) ||
        permalink_read_number(url, "wait_ms", 1, WAIT_MAX_MS, &wait_ms, &e) ||
        read_what(gateway, visit, &draw.ask.what, &e)) {
        visit_refuse(visit, &e);
        return;
    }
    if (redirect_psi(gateway, visit, draw.ask.what.key.psi))
        return;
    draw.ask.what.key.seed = draw_seed(gateway);
    draw.ask.deadline_ms = (int)wait_ms;
    begin(gateway, visit, &draw);
}

static enum err_code read_every(const struct url *url, int64_t *out, struct err *e)
{
    static const int64_t LIST[] = { 1, 2, 5, 10, 15, 30, 60, 300, 3600 };
    enum err_code rc = permalink_read_number(url, "every", 1, 3600, out, e);

    for (size_t i = 0; !rc && i < sizeof LIST / sizeof LIST[0]; i++)
        if (LIST[i] == *out)
            return ERR_OK;
    return rc ? rc : err_set(e, ERR_INVALID, "every is one of 1, 2, 5, 10, 15, 30, 60, 300, 3600");
}

void route_latest(struct gateway *gateway, struct visit *visit)
{
    static const char *const NAMES[] = { "psi", "class", "every" };
    const struct url *url = visit_url(visit);
    struct draw draw = { .source = SOURCE_SLOT, .is_latest = true, .every_s = EVERY_S };
    struct err e;

    if (url_check_params(url, NAMES, sizeof NAMES / sizeof NAMES[0], &e) ||
        read_every(url, &draw.every_s, &e) || read_what(gateway, visit, &draw.ask.what, &e)) {
        visit_refuse(visit, &e);
        return;
    }
    if (redirect_psi(gateway, visit, draw.ask.what.key.psi))
        return;
    draw.slot = clock_wall_ms() / 1000 / draw.every_s;
    draw.ask.what.key.seed = seed_of_slot(&draw.ask.what.key, draw.every_s, draw.slot, 0);
    draw.ask.deadline_ms = gateway->deadline_ms;
    begin(gateway, visit, &draw);
}
