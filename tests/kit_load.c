#include "tests/kit_load.h"

#include "client/seedpress.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PATIENCE_S = 120, PAGE_MAX = 64 };

static void note(struct kit_load *self, const struct seedpress_event *event, uint32_t first,
                 bool seen[PAGE_MAX])
{
    bool is_ours = event->seed - first < (uint32_t)self->page && !seen[event->seed - first];

    pthread_mutex_lock(&self->lock);
    if (!is_ours)
        self->twice++;
    else if (event->kind == SEEDPRESS_EVENT_IMAGE)
        self->answered++;
    else {
        self->failed++;
        snprintf(self->error, sizeof self->error, "%s: %.200s", event->error.word,
                 event->error.message);
    }
    if (is_ours)
        seen[event->seed - first] = true;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

/* Asks for a page of new pictures and takes all answers. */
static void ask_page(struct kit_load *self, struct seedpress *sp, uint32_t first)
{
    bool seen[PAGE_MAX] = { false };
    struct seedpress_request request;
    struct seedpress_error error;
    struct seedpress_event event;
    int64_t id;

    seedpress_request_init(&request);
    request.model = "avatars64";
    request.psi = 0.7;
    request.seed = first;
    request.count = (size_t)self->page;
    request.deadline_ms = self->deadline_ms;
    if (seedpress_submit(sp, &request, &id, &error)) {
        fprintf(stderr, "kit_load: %s\n", error.message);
        exit(1);
    }
    while (seedpress_next(sp, -1, &event))
        if (event.kind != SEEDPRESS_EVENT_DONE)
            note(self, &event, first, seen);
}

static void *run(void *arg)
{
    struct kit_load *self = arg;
    struct seedpress_options options = { .brokers = self->brokers };
    struct seedpress_error error;
    struct seedpress *sp = NULL;

    if (seedpress_create(&options, &sp, &error)) {
        fprintf(stderr, "kit_load: %s\n", error.message);
        exit(1);
    }
    for (;;) {
        pthread_mutex_lock(&self->lock);
        uint32_t first = self->next_seed;
        bool is_ending = self->is_ending;

        self->next_seed += (uint32_t)self->page;
        pthread_mutex_unlock(&self->lock);
        if (is_ending)
            break;
        ask_page(self, sp, first);
    }
    seedpress_destroy(&sp);
    return NULL;
}

void load_start(struct kit_load *self, const char *brokers, int threads, int page,
                uint32_t first_seed, int deadline_ms)
{
    *self = (struct kit_load){ .page = page < PAGE_MAX ? page : PAGE_MAX, .threads = threads,
                               .deadline_ms = deadline_ms, .next_seed = first_seed };
    snprintf(self->brokers, sizeof self->brokers, "%s", brokers);
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->changed, NULL);
    for (int i = 0; i < threads; i++)
        if (pthread_create(&self->thread[i], NULL, run, self) != 0) {
            fprintf(stderr, "kit_load: no thread left\n");
            exit(1);
        }
}

void load_await(struct kit_load *self, int64_t more)
{
    struct timespec end;
    int64_t until;

    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&self->lock);
    until = self->answered + self->failed + more;
    while (self->answered + self->failed < until)
        if (pthread_cond_timedwait(&self->changed, &self->lock, &end) == ETIMEDOUT) {
            fprintf(stderr, "kit_load: %lld answers are missing\n",
                    (long long)(until - self->answered - self->failed));
            exit(1);
        }
    pthread_mutex_unlock(&self->lock);
}

void load_end(struct kit_load *self)
{
    pthread_mutex_lock(&self->lock);
    self->is_ending = true;
    pthread_mutex_unlock(&self->lock);
    for (int i = 0; i < self->threads; i++)
        pthread_join(self->thread[i], NULL);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
}
