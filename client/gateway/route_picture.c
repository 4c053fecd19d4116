/* GET /v1/cats@1a2b3c4d/42.jpg, for ever the same picture, and /v1/cats/42.jpg, that of the model
 * which the name is bound to now. From the album where it is trusted, else the broker is asked. */
#include "base/clock.h"
#include "client/gateway/gateway.h"
#include "client/gateway/routes.h"
#include "client/gateway/tally.h"

#include "proto/number.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A request for a picture that the album could not answer. */
struct hunt {
    struct agent_task task;
    struct ask ask;
    struct agent_watch watch;
    struct gateway *gateway;
    struct visit *visit;
    bool is_bare;
    int64_t end_ms;
};

static const struct picture_times FROM_ALBUM = { 0, 0, 0, 0, -1 };

/* ---- answers ---- */

static void add_times(struct response *response, const struct picture_times *t)
{
    const char *where = t->source == FROM_ALBUM.source         ? "cache;desc=\"gateway\", "
                        : t->source == SEEDPRESS_SOURCE_MEMORY ? "cache;desc=\"broker\", "
                        : t->source == SEEDPRESS_SOURCE_LEDGER ? "cache;desc=\"ledger\", "
                                                               : "";
    bool is_new = t->source == SEEDPRESS_SOURCE_RENDER;

    response_header_format(response, "Server-Timing",
                           "%squeue;dur=%" PRId64 ", render;dur=%" PRId64 ", encode;dur=%" PRId64
                           ", store;dur=%" PRId64, where, is_new ? t->queue : 0,
                           is_new ? t->render : 0, is_new ? t->encode : 0, is_new ? t->store : 0);
}

static void add_cache(const struct gateway *g, struct response *response,
                      const struct permalink *link, bool is_bare)
{
    char url[PERMALINK_MAX];

    if (!is_bare) {
        response_header(response, "Cache-Control",
                        g->immutable ? "public, max-age=31536000, immutable"
                                     : "public, max-age=31536000");
        return;
    }
    permalink_write(link, url);
    response_header(response, "Cache-Control", "public, max-age=60");
    response_header_format(response, "Link", "<%s>; rel=\"canonical\"", url);
}

static void release_picture(void *arg)
{
    struct picture *picture = arg;

    picture_unref(&picture);
}

static struct response *make_picture(const struct gateway *g, const struct permalink *link,
                                     bool is_bare, struct picture *picture,
                                     const struct picture_times *times)
{
    struct response *response = response_lend(200, "image/jpeg", picture->data, picture->len,
                                              release_picture, picture_ref(picture));
    char psi[24];

    number_format_millionths(link->key.psi, psi);
    add_cache(g, response, link, is_bare);
    response_header(response, "ETag", picture->tag);
    response_header(response, "Content-Digest", picture->digest);
    add_times(response, times);
    response_header_format(response, "X-Seed", "%" PRIu32, link->key.seed);
    response_header(response, "X-Psi", psi);
    response_header(response, "X-Recipe", picture->recipe);
    return response;
}

struct response *route_picture_ready(void *arg, struct picture *picture)
{
    const struct gateway *g = arg;
    const struct permalink link = { .key = picture->key };
    struct response *response = make_picture(g, &link, false, picture, &FROM_ALBUM);

    if (response)
        server_dress(g->server, response, server_allows(g->server, NULL));
    response_freeze(response);
    return response;
}

static struct response *make_not_modified(const struct gateway *g, const struct permalink *link,
                                          bool is_bare, const char *recipe)
{
    struct response *response = response_create(304, NULL, "", 0);
    char tag[PICTURE_TAG_MAX];

    metrics_add(g->metrics, TALLY_NOT_MODIFIED, 0, 1);
    picture_write_tag(recipe, tag);
    add_cache(g, response, link, is_bare);
    response_header(response, "ETag", tag);
    response_header(response, "X-Recipe", recipe);
    return response;
}

/* The visitor has it already, whatever way it was found. */
static bool has_it(const struct visit *visit, const char *recipe)
{
    const char *list = visit_header(visit, "If-None-Match");
    char tag[PICTURE_TAG_MAX];

    picture_write_tag(recipe, tag);
    return list && picture_tag_is_in(list, tag);
}

/* ready's shared answer goes to who asks for nothing special. */
static struct response *choose(const struct gateway *g, const struct visit *visit,
                               const struct permalink *link, bool is_bare, struct picture *picture,
                               struct response *ready, const struct picture_times *times)
{
    const char *origin = visit_origin(visit);

    if (has_it(visit, picture->recipe))
        return make_not_modified(g, link, is_bare, picture->recipe);
    if (ready && !is_bare && (!origin || strcmp(origin, "*") == 0))
        return response_ref(ready);
    return make_picture(g, link, is_bare, picture, times);
}

/* ---- asking the broker ---- */

static void finish(struct hunt *hunt, struct agent *agent, struct response *response)
{
    agent_unwatch(agent, &hunt->watch);
    visit_answer(hunt->visit, response);
    free(hunt);
}

static void ask(struct hunt *hunt, struct agent *agent, enum ask_kind kind)
{
    int64_t left_ms = hunt->end_ms - clock_ms();

    hunt->ask.kind = kind;
    hunt->ask.deadline_ms = left_ms > 1 ? (int)left_ms : 1;
    agent_ask(agent, &hunt->ask);
}

static void on_checked(struct hunt *hunt, struct agent *agent, const struct seedpress_error *error,
                       const char *recipe)
{
    const struct permalink *link = &hunt->ask.what;
    struct picture *picture;
    struct response *ready;

    if (error->code == SEEDPRESS_NOT_FOUND) {
        ask(hunt, agent, ASK_RENDER);
    } else if (error->code) {
        finish(hunt, agent, response_error(error));
    } else if (has_it(hunt->visit, recipe)) {
        finish(hunt, agent, make_not_modified(hunt->gateway, link, hunt->is_bare, recipe));
    } else {
        /* Whatever the clock says by now: the broker has just said that it stands. */
        album_find(hunt->gateway->album, &link->key, clock_ms(), &picture, &ready);
        if (picture)
            finish(hunt, agent, choose(hunt->gateway, hunt->visit, link, hunt->is_bare, picture,
                                       ready, &FROM_ALBUM));
        else
            ask(hunt, agent, ASK_RENDER);
        response_unref(&ready);
        picture_unref(&picture);
    }
}

static void on_done(struct ask *asked, struct agent *agent, const struct seedpress_error *error,
                    struct picture *picture, const struct picture_times *times, const char *recipe)
{
    struct hunt *hunt = (struct hunt *)(void *)((char *)asked - offsetof(struct hunt, ask));

    if (asked->kind == ASK_CHECK)
        on_checked(hunt, agent, error, recipe);
    else if (error->code)
        finish(hunt, agent, response_error(error));
    else
        finish(hunt, agent, choose(hunt->gateway, hunt->visit, &asked->what, hunt->is_bare, picture,
                                   NULL, times));
}

static void on_gone(struct agent_watch *watch, struct agent *agent)
{
    struct hunt *hunt = (struct hunt *)(void *)((char *)watch - offsetof(struct hunt, watch));

    agent_drop(agent, &hunt->ask);
    finish(hunt, agent, NULL);
}

static void run_hunt(struct agent_task *task, struct agent *agent)
{
    struct hunt *hunt = (struct hunt *)(void *)task;

    agent_watch(agent, &hunt->watch, visit_fd(hunt->visit));
    ask(hunt, agent, hunt->ask.kind);
}

static void begin(struct gateway *g, struct visit *visit, const struct permalink *link,
                  bool is_bare, enum ask_kind kind)
{
    struct hunt *hunt;
    struct err e;

    if (!gateway_admit(g, visit))
        return;
    hunt = calloc(1, sizeof *hunt);
    if (!hunt) {
        err_set(&e, ERR_NOMEM, "no memory for another question");
        visit_refuse(visit, &e);
        return;
    }
    hunt->task.run = run_hunt;
    hunt->watch.gone = on_gone;
    hunt->gateway = g;
    hunt->visit = visit;
    hunt->is_bare = is_bare;
    hunt->end_ms = clock_ms() + g->deadline_ms;
    hunt->ask = (struct ask){ .what = *link, .kind = kind, .priority = SEEDPRESS_NORMAL,
                              .done = on_done };
    memcpy(hunt->ask.visitor, visit_visitor(visit), sizeof hunt->ask.visitor);
    if (!gateway_post(g, visit, &hunt->task))
        free(hunt);
}

/* ---- the request ---- */

static void serve(struct gateway *g, struct visit *visit, const struct permalink *link,
                  bool is_bare)
{
    struct picture *picture;
    struct response *ready;
    enum album_found found = album_find(g->album, &link->key, clock_ms(), &picture, &ready);

    metrics_add(g->metrics, TALLY_ALBUM, (size_t)found, 1);
    if (found == ALBUM_FRESH)
        visit_answer(visit, choose(g, visit, link, is_bare, picture, ready, &FROM_ALBUM));
    else
        begin(g, visit, link, is_bare,
              found == ALBUM_OLD || visit_header(visit, "If-None-Match") ? ASK_CHECK : ASK_RENDER);
    response_unref(&ready);
    picture_unref(&picture);
}

/* What link would be called: permanently so (308), or only as long as strangers' psi goes in steps
 * (307). True: the request has been answered with that. */
static bool redirect(const struct gateway *g, struct visit *visit, struct permalink *link,
                     bool is_bare)
{
    int64_t psi = g->any_psi ? link->key.psi : permalink_round_psi(link->key.psi);
    bool is_stepped = psi != link->key.psi;
    char url[PERMALINK_MAX];
    struct response *response;

    link->key.psi = psi;
    if (is_bare)
        permalink_write_bare(link, url);
    else
        permalink_write(link, url);
    if (strcmp(url, visit_target(visit)) == 0)
        return false;
    response = response_redirect(is_stepped ? 307 : 308, url);
    response_header(response, "Cache-Control", "public, max-age=3600");
    visit_answer(visit, response);
    return true;
}

void route_picture(struct gateway *gateway, struct visit *visit)
{
    const struct url *url = visit_url(visit);
    bool is_bare = !strchr(url->segment[1], '@');
    struct seedpress_model model;
    struct permalink link;
    uint32_t seed;
    struct err e;

    if (permalink_read_seed(url->segment[2], &seed, &e) ||
        gateway_find_model(gateway, url->segment[1], &model, &e)) {
        visit_refuse(visit, &e);
        return;
    }
    link = permalink_of(&model, seed, PERMALINK_PSI);   /* one picture, one URL */
    if (permalink_read_options(url, &link, &e) ||
        permalink_set_class(&link, &model, link.key.class_index, &e)) {
        visit_refuse(visit, &e);
        return;
    }
    if (!redirect(gateway, visit, &link, is_bare))
        serve(gateway, visit, &link, is_bare);
}
