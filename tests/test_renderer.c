/* The two buffers between the device and the encoders: none is rendered into before the last job of
 * its batch has let go of it, however slow and in whatever order the encoders are. The backend is
 * the test's own; so are the encoders. */
#include "worker/renderer.h"

#include "kernels/jpeg_transform.h"
#include "proto/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BATCH_MAX = 4, JOBS = 200, BUFFERS = 2, SIDE = 20, BROKEN_SEED = 77 };

/* ---- the backend ---- */

static struct buffer {
    _Atomic(void *) memory;
    atomic_int users;               /* jobs that hold a picture in it */
} buffers[BUFFERS];
static atomic_int renders, overruns, wrong_qualities, pinned;

static struct buffer *buffer_of(const void *memory)
{
    for (int i = 0; i < BUFFERS; i++)
        if (!buffers[i].memory || buffers[i].memory == memory) {
            buffers[i].memory = (void *)(uintptr_t)memory;
            return &buffers[i];
        }
    return NULL;
}

/* The renderer has its buffers for itself: nobody reads in this one, and what is in it may go. */
static enum err_code begin_render(void *memory, const struct sample *samples, int count,
                                  size_t bytes, struct err *e)
{
    struct buffer *buffer = buffer_of(memory);

    atomic_fetch_add(&renders, 1);
    if (!buffer || atomic_load(&buffer->users) > 0)
        atomic_fetch_add(&overruns, 1);
    memset(memory, 0x7f, bytes);
    for (int i = 0; i < count; i++)
        if (samples[i].seed == BROKEN_SEED)
            return err_set(e, ERR_DEVICE, "broken");
    if (buffer)
        atomic_store(&buffer->users, count);
    return ERR_OK;
}

static enum err_code render(struct net *self, const struct sample *samples, int count,
                            uint8_t *rgb, const struct capture *capture, struct err *e)
{
    enum err_code rc = begin_render(rgb, samples, count, (size_t)count * SIDE * SIDE * 3, e);

    (void)self;
    (void)capture;
    for (int i = 0; !rc && i < count; i++)
        rgb[i * SIDE * SIDE * 3] = (uint8_t)samples[i].seed;
    return rc;
}

static enum err_code render_coefficients(struct net *self, const struct sample *samples,
                                         const int *qualities, int count, int16_t *coefficients,
                                         struct err *e)
{
    size_t each = jpeg_coefficients_layout(SIDE, SIDE).count;
    enum err_code rc = begin_render(coefficients, samples, count, (size_t)count * each * 2, e);

    (void)self;
    for (int i = 0; !rc && i < count; i++) {
        coefficients[(size_t)i * each] = (int16_t)samples[i].seed;
        if (qualities[i] != (int)samples[i].seed % 100 + 1)
            atomic_fetch_add(&wrong_qualities, 1);
    }
    return rc;
}

static enum err_code pin(struct engine *self, size_t bytes, void **memory, struct err *e)
{
    (void)self;
    *memory = malloc(bytes);
    atomic_fetch_add(&pinned, 1);
    return *memory ? ERR_OK : err_set(e, ERR_NOMEM, "no memory");
}

static void unpin(struct engine *self, void **memory)
{
    (void)self;
    if (*memory)
        atomic_fetch_sub(&pinned, 1);
    free(*memory);
    *memory = NULL;
}

static const struct backend PIXELS = { .abi = BACKEND_ABI, .name = "pixels", .render = render };
static const struct backend COEFFICIENTS = {
    .abi = BACKEND_ABI, .name = "coefficients", .render = render,
    .render_coefficients = render_coefficients, .pin = pin, .unpin = unpin,
};

/* ---- the stages around it ---- */

struct scene {
    struct model_facts facts;
    struct loaded_model model;
    struct library library;
    struct batcher *batcher;
    struct channel *encode, *events;
    struct renderer *renderer;
    struct job jobs[JOBS];
    struct job *held[JOBS];
    size_t held_count;
    int seen, failed;
};

static void open_scene(struct scene *s, const struct backend *backend)
{
    struct batcher_options options = { BATCH_MAX, 1000, 1000, 1000, NULL };
    struct err e;

    memset(s, 0, sizeof *s);
    for (int i = 0; i < BUFFERS; i++) {
        buffers[i].memory = NULL;
        buffers[i].users = 0;
    }
    renders = overruns = wrong_qualities = 0;
    s->facts = (struct model_facts){ .width = SIDE, .height = SIDE };
    s->model = (struct loaded_model){ .name = "fake", .facts = &s->facts };
    s->library = (struct library){ .backend = backend, .models = &s->model, .count = 1,
                                   .kind = output_kind_of(backend) };
    s->library.picture_max = output_bytes(s->library.kind, &s->facts);
    assert_int_equal(batcher_create(&options, &s->batcher, &e), ERR_OK);
    assert_int_equal(channel_create(JOBS, &s->encode, &e), ERR_OK);
    assert_int_equal(channel_create(3 * JOBS, &s->events, &e), ERR_OK);
    assert_int_equal(renderer_create(&s->library, BATCH_MAX, s->batcher, s->encode, s->events, NULL,
                                     &s->renderer, &e), ERR_OK);
}

static void close_scene(struct scene *s)
{
    renderer_destroy(&s->renderer);
    assert_int_equal(pinned, 0);
    channel_destroy(&s->events);
    channel_destroy(&s->encode);
    batcher_destroy(&s->batcher);
}

static void add_job(struct scene *s, int i, uint32_t seed)
{
    struct job *job = &s->jobs[i];

    *job = (struct job){ .model = &s->model, .level = MESSAGE_NORMAL,
                         .recipe = { .seed = seed, .quality = (int)(seed % 100) + 1 } };
    job->ended = (struct event){ .kind = EVENT_ENDED, .job = job };
    assert_true(batcher_add(s->batcher, job));
}

/* What the device made of this job is still there. */
static void let_go(struct scene *s, size_t index)
{
    struct job *job = s->held[index];
    struct picture_source source = rendered_source(job);
    const void *first = (const uint8_t *)(source.rgb ? (const void *)source.rgb
                                                     : (const void *)source.coefficients);

    s->held[index] = s->held[--s->held_count];
    if (source.coefficients)
        assert_int_equal(source.coefficients[0], (int16_t)job->recipe.seed);
    else
        assert_int_equal(source.rgb[0], (uint8_t)job->recipe.seed);
    for (int i = 0; i < BUFFERS; i++) {
        size_t bytes = BATCH_MAX * s->library.picture_max;
        const uint8_t *from = buffers[i].memory;

        if (from && (const uint8_t *)first >= from && (const uint8_t *)first < from + bytes)
            atomic_fetch_sub(&buffers[i].users, 1);
    }
    rendered_release(job);
    assert_null(job->rendered);
    s->seen++;
}

static void take_events(struct scene *s)
{
    struct event *event;

    while ((event = channel_take(s->events, 0)))
        if (event->kind == EVENT_ENDED) {
            assert_int_equal(event->job->why.code, ERR_DEVICE);
            s->failed++;
        } else
            free(event);
}

/* Holds what it gets for as long as it gets more; then lets go of one, by an order of its own. */
static void encode_slowly(struct scene *s, uint32_t order)
{
    while (s->seen + s->failed < JOBS) {
        struct job *job = channel_take(s->encode, 0);

        take_events(s);
        if (job)
            s->held[s->held_count++] = job;
        else if (s->held_count > 0)
            let_go(s, (order = order * 1664525u + 1013904223u) / 65536 % s->held_count);
        assert_true(s->held_count <= BUFFERS * BATCH_MAX);
    }
}

static void check_buffers(const struct backend *backend)
{
    struct scene *s = malloc(sizeof *s);

    assert_non_null(s);
    for (uint32_t order = 0; order < 8; order++) {
        open_scene(s, backend);
        for (int i = 0; i < JOBS; i++)
            add_job(s, i, 1000 + (uint32_t)i);
        encode_slowly(s, order);
        assert_int_equal(overruns, 0);
        assert_int_equal(wrong_qualities, 0);
        assert_int_equal(s->failed, 0);
        assert_int_equal(renderer_rendered(s->renderer), JOBS);
        assert_true(renders >= JOBS / BATCH_MAX);
        batcher_close(s->batcher);
        close_scene(s);
    }
    free(s);
}

static void coefficients_stay_until_the_last_of_their_batch_lets_go(void **state)
{
    (void)state;
    check_buffers(&COEFFICIENTS);
}

static void pixels_stay_until_the_last_of_their_batch_lets_go(void **state)
{
    (void)state;
    check_buffers(&PIXELS);
}

/* Two batches are out and held: a third one cannot have begun, since there is nothing to render it
 * into; and it begins when one of the two is free. */
static void encoders_that_hold_two_batches_stop_the_device(void **state)
{
    struct scene *s = malloc(sizeof *s);

    (void)state;
    assert_non_null(s);
    open_scene(s, &COEFFICIENTS);
    for (int i = 0; i < 4 * BATCH_MAX; i++)
        add_job(s, i, 1000 + (uint32_t)i);
    /* the first batch may be smaller: it starts with what is there */
    while (renders < BUFFERS || s->held_count < (size_t)renderer_rendered(s->renderer))
        if ((s->held[s->held_count] = channel_take(s->encode, CHANNEL_FOREVER)))
            s->held_count++;
    assert_int_equal(renders, BUFFERS);
    while (s->held_count > 0)
        let_go(s, s->held_count - 1);
    while (s->seen < 4 * BATCH_MAX) {
        s->held[s->held_count++] = channel_take(s->encode, CHANNEL_FOREVER);
        let_go(s, 0);
    }
    assert_int_equal(overruns, 0);
    take_events(s);
    batcher_close(s->batcher);
    close_scene(s);
    free(s);
}

static void a_batch_that_fails_gives_its_buffer_back(void **state)
{
    struct scene *s = malloc(sizeof *s);

    (void)state;
    assert_non_null(s);
    open_scene(s, &COEFFICIENTS);
    for (int i = 0; i < JOBS; i++)
        add_job(s, i, i % 10 == 0 ? BROKEN_SEED : 1000 + (uint32_t)i);
    encode_slowly(s, 3);
    assert_int_equal(overruns, 0);
    assert_true(s->failed >= JOBS / 10 && s->failed <= JOBS / 10 * BATCH_MAX);
    batcher_close(s->batcher);
    close_scene(s);
    free(s);
}

/* A drain that gives up: the thread ends, while encoders still read from its buffers. */
static void buffers_outlive_the_thread(void **state)
{
    struct scene *s = malloc(sizeof *s);

    (void)state;
    assert_non_null(s);
    open_scene(s, &COEFFICIENTS);
    for (int i = 0; i < BATCH_MAX; i++)
        add_job(s, i, 1000 + (uint32_t)i);
    s->held[s->held_count++] = channel_take(s->encode, CHANNEL_FOREVER);
    batcher_close(s->batcher);
    renderer_finish(s->renderer);
    while ((s->held[s->held_count] = channel_take(s->encode, 0)))
        s->held_count++;
    while (s->held_count > 0)
        let_go(s, 0);
    assert_int_equal(s->seen, BATCH_MAX);
    take_events(s);
    close_scene(s);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(coefficients_stay_until_the_last_of_their_batch_lets_go),
        cmocka_unit_test(pixels_stay_until_the_last_of_their_batch_lets_go),
        cmocka_unit_test(encoders_that_hold_two_batches_stop_the_device),
        cmocka_unit_test(a_batch_that_fails_gives_its_buffer_back),
        cmocka_unit_test(buffers_outlive_the_thread),
    };

    return cmocka_run_group_tests_name("renderer", tests, NULL, NULL);
}
