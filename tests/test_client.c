/* libseedpress against a broker that the test plays itself: a real ROUTER socket that answers what
 * a real broker never would, falls silent, goes and comes back. Nobody sleeps: the broker's side
 * waits for the message that must come, the library's for its own short deadlines. */
#include "base/clock.h"
#include "base/link.h"
#include "client/seedpress.h"
#include "proto/message.h"

#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    SILENCE_MS = 200,               /* for those that wait for it; a busy machine is silent so
                                       long, too */
    PATIENCE_MS = 10000,            /* what must come comes within it, on the slowest machine */
};

/* ---- the broker that the test plays ---- */

struct stage {
    struct link_context *context;
    struct link *broker, *other;    /* other: NULL where a test needs none */
    struct seedpress *client;
};

static struct link *listen_on(struct link_context *context, const char *endpoint)
{
    struct link_options options = { .kind = LINK_ROUTER, .frame_max = MESSAGE_IMAGE_MAX };
    struct link *link;
    struct err e = { .code = ERR_OK };
    int64_t end_ms = clock_ms() + PATIENCE_MS;
    enum err_code rc;

    if (link_create(context, &options, &link, &e))
        fail_msg("%s", e.msg);
    do                               /* a port that was just given up is taken for a moment more */
        rc = link_bind(link, endpoint, &e);
    while (rc == ERR_CONFLICT && clock_ms() < end_ms);
    assert_int_equal(rc, ERR_OK);
    return link;
}

static struct seedpress *connect_for(const char *brokers, int silence_ms)
{
    struct seedpress_options options = { .brokers = brokers, .silence_ms = silence_ms };
    struct seedpress *client;

    assert_int_equal(seedpress_create(&options, &client, NULL), SEEDPRESS_OK);
    return client;
}

static struct seedpress *connect_to(const char *brokers)
{
    return connect_for(brokers, 10 * PATIENCE_MS);
}

static int set_up(void **state)
{
    struct stage *s = calloc(1, sizeof *s);

    assert_int_equal(link_context_create(&s->context, NULL), ERR_OK);
    s->broker = listen_on(s->context, "tcp://127.0.0.1:*");
    s->client = connect_to(link_endpoint(s->broker));
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct stage *s = *state;

    seedpress_destroy(&s->client);
    link_destroy(&s->broker);
    link_destroy(&s->other);
    link_context_destroy(&s->context);
    free(s);
    return 0;
}

/* What the broker got: the message borrows from the parcel. */
struct heard {
    struct parcel parcel;
    struct message m;
};

static void heard_release(struct heard *heard)
{
    message_release(&heard->m);
    parcel_release(&heard->parcel);
}

static void send_bytes(struct link *broker, const struct address *to, const void *data, size_t len,
                       const char *file)
{
    struct frame map, payload;

    assert_true(frame_init_copy(&map, data, len));
    if (file)
        assert_true(frame_init_copy(&payload, file, strlen(file)));
    assert_int_equal(link_send(broker, to, &map, file ? &payload : NULL), LINK_SENT);
    frame_release(&map);
    if (file)
        frame_release(&payload);
}

static void send_message(struct link *broker, const struct address *to, const struct message *m,
                         const char *file)
{
    void *data;
    size_t len;
    struct err e = { .msg = "" };

    if (message_encode(m, &data, &len, &e))
        fail_msg("%s", e.msg);
    send_bytes(broker, to, data, len, file);
    free(data);
}

/* The next message that is no ping; pings are answered. False: none by then. */
static bool hear_until(struct link *broker, int64_t end_ms, struct heard *out)
{
    struct link_wait wait = { .link = broker };
    struct message pong;

    for (;;) {
        while (link_receive(broker, &out->parcel)) {
            assert_int_equal(message_decode(frame_data(&out->parcel.body[0]),
                                            frame_len(&out->parcel.body[0]), MESSAGE_FROM_CLIENT,
                                            &out->m, NULL), ERR_OK);
            if (out->m.type != MESSAGE_PING)
                return true;
            message_init(&pong, MESSAGE_PONG, out->m.id);
            send_message(broker, &out->parcel.from, &pong, NULL);
            heard_release(out);
        }
        if (clock_ms() >= end_ms)
            return false;
        link_poll(&wait, 1, end_ms);
    }
}

/* Both sides share this thread: the client gets a turn, then the broker listens. */
static void hear(struct seedpress *client, struct link *broker, struct heard *out)
{
    int64_t end_ms = clock_ms() + PATIENCE_MS;
    struct seedpress_event event;

    for (;;) {
        assert_false(seedpress_next(client, 0, &event));
        if (hear_until(broker, clock_ms() + 5, out))
            return;
        assert_true(clock_ms() < end_ms);
    }
}

/* ---- pictures ---- */

struct shot {
    struct recipe_text recipe;
    char file[64];
    struct message m;               /* borrows from recipe */
};

static struct recipe recipe_of(const char *model, uint32_t seed, int32_t psi)
{
    return (struct recipe){ .model = digest_of(model, strlen(model)), .seed = seed, .psi = psi,
                            .cutoff = 10, .class_index = -1, .noise = RECIPE_NOISE_CONST,
                            .width = 64, .height = 64, .quality = 90, .mark = RECIPE_MARK_XMP };
}

/* An image message as a good broker would send it. */
static void take_shot_of(struct shot *shot, int64_t id, const struct recipe *recipe)
{
    struct message_image *image = &shot->m.image;

    snprintf(shot->file, sizeof shot->file, "the picture of seed %u", (unsigned)recipe->seed);
    shot->recipe = recipe_text(recipe);
    message_init(&shot->m, MESSAGE_IMAGE, id);
    *image = (struct message_image){
        .seed = recipe->seed, .psi = recipe->psi, .model = recipe->model,
        .recipe_key = recipe_key(recipe), .sha256 = digest_of(shot->file, strlen(shot->file)),
        .core_sha256 = digest_of("core", 4),
        .recipe = { shot->recipe.text, shot->recipe.len },
        .numerics_class = text_of("cpu-fp32-fma-1"), .encoder = text_of("libjpeg-turbo-2.1.5"),
        .run = 3, .bytes = (int64_t)strlen(shot->file), .source = MESSAGE_SOURCE_LEDGER,
        .queue_ms = 1, .render_ms = 20, .encode_ms = 3, .store_ms = 4, .batch = 8,
    };
}

static void take_shot(struct shot *shot, int64_t id, uint32_t seed, int32_t psi)
{
    struct recipe recipe = recipe_of("cats", seed, psi);

    take_shot_of(shot, id, &recipe);
}

static void answer_picture(struct link *broker, const struct heard *heard, uint32_t seed)
{
    struct shot shot;

    take_shot(&shot, heard->m.id, seed, (int32_t)heard->m.generate.psi);
    send_message(broker, &heard->parcel.from, &shot.m, shot.file);
}

static void answer_done(struct link *broker, const struct heard *heard)
{
    struct message done;

    message_init(&done, MESSAGE_DONE, heard->m.id);
    send_message(broker, &heard->parcel.from, &done, NULL);
}

static struct seedpress_request request_of(uint32_t seed)
{
    struct seedpress_request request;

    seedpress_request_init(&request);
    request.model = "cats";
    request.seed = seed;
    request.deadline_ms = PATIENCE_MS;
    return request;
}

static int64_t submit(struct seedpress *client, const struct seedpress_request *request)
{
    struct seedpress_error error;
    int64_t id;

    if (seedpress_submit(client, request, &id, &error))
        fail_msg("%s", error.message);
    return id;
}

static void expect_picture(struct seedpress *client, int64_t id, uint32_t seed)
{
    struct seedpress_event event;
    char file[64];

    assert_true(seedpress_next(client, PATIENCE_MS, &event));
    if (event.kind == SEEDPRESS_EVENT_ERROR)
        fail_msg("%s", event.error.message);
    assert_int_equal(event.kind, SEEDPRESS_EVENT_IMAGE);
    assert_int_equal(event.id, id);
    assert_int_equal(event.seed, seed);
    assert_int_equal(event.image.seed, seed);
    snprintf(file, sizeof file, "the picture of seed %u", (unsigned)seed);
    assert_int_equal(event.image.len, strlen(file));
    assert_memory_equal(event.image.data, file, strlen(file));
}

static void expect_error(struct seedpress *client, int64_t id, enum seedpress_code code,
                         struct seedpress_error *out)
{
    struct seedpress_event event;

    assert_true(seedpress_next(client, PATIENCE_MS, &event));
    assert_int_equal(event.kind, SEEDPRESS_EVENT_ERROR);
    assert_int_equal(event.id, id);
    assert_int_equal(event.error.code, code);
    if (out)
        *out = event.error;
}

static void expect_done(struct seedpress *client, int64_t id, size_t count, size_t failed)
{
    struct seedpress_event event;

    assert_true(seedpress_next(client, PATIENCE_MS, &event));
    assert_int_equal(event.kind, SEEDPRESS_EVENT_DONE);
    assert_int_equal(event.id, id);
    assert_int_equal(event.count, count);
    assert_int_equal(event.failed, failed);
    assert_false(seedpress_next(client, 0, &event));
}

/* ---- what is asked and what comes ---- */

static void request_goes_out_with_its_defaults(void **state)
{
    struct stage *s = *state;
    struct seedpress_request request = request_of(7);
    struct heard heard;

    submit(s->client, &request);
    hear(s->client, s->broker, &heard);
    assert_int_equal(heard.m.type, MESSAGE_GENERATE);
    assert_true(text_is(heard.m.generate.model, "cats"));
    assert_int_equal(heard.m.generate.seed, 7);
    assert_int_equal(heard.m.generate.seeds.count, 0);
    assert_int_equal(heard.m.generate.psi, 1000000);
    assert_int_equal(heard.m.generate.cutoff, -1);
    assert_int_equal(heard.m.generate.class_index, -1);
    assert_int_equal(heard.m.generate.noise_mode, -1);
    assert_int_equal(heard.m.generate.noise_seed, -1);
    assert_int_equal(heard.m.generate.translate.count, 0);
    assert_true(heard.m.generate.rotate == INT64_MIN);
    assert_int_equal(heard.m.generate.transform.count, 0);
    assert_int_equal(heard.m.generate.quality, 90);
    assert_int_equal(heard.m.generate.mark, -1);
    assert_int_equal(heard.m.generate.priority, MESSAGE_NORMAL);
    assert_in_range(heard.m.generate.deadline_ms, 1, PATIENCE_MS);
    assert_int_equal(heard.m.generate.want, MESSAGE_WANT_IMAGE);
    assert_int_equal(heard.m.generate.cache, MESSAGE_CACHE_USE);
    assert_int_equal(heard.m.generate.on_behalf.len, 0);
    heard_release(&heard);
}

static void options_go_out_as_they_were_set(void **state)
{
    static const double MATRIX[9] = { 0.1, 0, -0.5, 0, 1, 0, 0, 0, 1 };
    struct stage *s = *state;
    struct seedpress_request request = request_of(7);
    struct heard heard;

    request.cutoff = 8;
    request.class_index = 3;
    request.noise_mode = SEEDPRESS_NOISE_RANDOM;
    request.noise_seed = 4294967295;
    request.translate[1] = -0.25;
    request.rotate = 12.5;
    request.visitor = "2001:db8::/64";
    submit(s->client, &request);
    hear(s->client, s->broker, &heard);
    assert_int_equal(heard.m.generate.cutoff, 8);
    assert_int_equal(heard.m.generate.class_index, 3);
    assert_int_equal(heard.m.generate.noise_mode, RECIPE_NOISE_RANDOM);
    assert_int_equal(heard.m.generate.noise_seed, 4294967295);
    assert_int_equal(heard.m.generate.translate.count, 2);
    assert_int_equal(heard.m.generate.translate.items[0], 0);
    assert_int_equal(heard.m.generate.translate.items[1], -250000);
    assert_int_equal(heard.m.generate.rotate, 12500000);
    assert_true(text_is(heard.m.generate.on_behalf, "2001:db8::/64"));
    heard_release(&heard);

    request = request_of(7);
    request.transform = MATRIX;
    submit(s->client, &request);
    hear(s->client, s->broker, &heard);
    assert_int_equal(heard.m.generate.transform.count, 9);
    for (int i = 0; i < 9; i++)
        assert_true(heard.m.generate.transform.items[i] == (float)MATRIX[i]);
    assert_int_equal(heard.m.generate.translate.count, 0);
    assert_true(heard.m.generate.rotate == INT64_MIN);
    heard_release(&heard);
}

static void picture_arrives_whole(void **state)
{
    struct stage *s = *state;
    struct seedpress_request request = request_of(7);
    struct seedpress_event event;
    struct heard heard;
    struct shot shot;
    int64_t id;

    request.psi = 0.7;
    id = submit(s->client, &request);
    hear(s->client, s->broker, &heard);
    answer_picture(s->broker, &heard, 7);
    assert_true(seedpress_next(s->client, PATIENCE_MS, &event));
    assert_int_equal(event.kind, SEEDPRESS_EVENT_IMAGE);
    take_shot(&shot, id, 7, 700000);
    assert_string_equal(event.image.recipe, shot.recipe.text);
    assert_string_equal(event.image.recipe_key, digest_hex(&shot.m.image.recipe_key).text);
    assert_string_equal(event.image.sha256, digest_hex(&shot.m.image.sha256).text);
    assert_string_equal(event.image.core_sha256, digest_hex(&shot.m.image.core_sha256).text);
    assert_string_equal(event.image.model, digest_hex(&shot.m.image.model).text);
    assert_string_equal(event.image.numerics_class, "cpu-fp32-fma-1");
    assert_string_equal(event.image.encoder, "libjpeg-turbo-2.1.5");
    assert_true(event.image.psi == 0.7);
    assert_int_equal(event.image.source, SEEDPRESS_SOURCE_LEDGER);
    assert_int_equal(event.image.run, 3);
    assert_int_equal(event.image.batch, 8);
    assert_memory_equal(event.image.data, shot.file, strlen(shot.file));
    expect_done(s->client, id, 1, 0);
    heard_release(&heard);
}

static void range_and_list_give_a_picture_each(void **state)
{
    static const uint32_t LIST[] = { 5, 4294967295u, 5 };
    struct stage *s = *state;
    struct seedpress_request request = request_of(4294967294u);
    struct heard heard;
    int64_t id;

    request.count = 2;
    id = submit(s->client, &request);
    hear(s->client, s->broker, &heard);
    assert_int_equal(heard.m.generate.seeds.count, 2);
    assert_int_equal(heard.m.generate.seeds.items[1], 4294967295);
    answer_picture(s->broker, &heard, 4294967295u);
    answer_picture(s->broker, &heard, 4294967294u);
    answer_done(s->broker, &heard);
    expect_picture(s->client, id, 4294967295u);
    expect_picture(s->client, id, 4294967294u);
    expect_done(s->client, id, 2, 0);
    heard_release(&heard);

    request.seeds = LIST;
    request.count = 3;
    id = submit(s->client, &request);
    hear(s->client, s->broker, &heard);
    for (size_t i = 0; i < 3; i++)   /* named twice, answered twice */
        answer_picture(s->broker, &heard, LIST[i]);
    for (size_t i = 0; i < 3; i++)
        expect_picture(s->client, id, LIST[i]);
    expect_done(s->client, id, 3, 0);
    heard_release(&heard);
}

static void receipt_comes_without_bytes(void **state)
{
    struct stage *s = *state;
    struct seedpress_request request = request_of(7);
    struct seedpress_event event;
    struct heard heard;
    struct shot shot;

    request.want = SEEDPRESS_WANT_RECEIPT;
    submit(s->client, &request);
    hear(s->client, s->broker, &heard);
    assert_int_equal(heard.m.generate.want, MESSAGE_WANT_RECEIPT);
    take_shot(&shot, heard.m.id, 7, 1000000);
    shot.m.type = MESSAGE_RECEIPT;
    send_message(s->broker, &heard.parcel.from, &shot.m, NULL);
    assert_true(seedpress_next(s->client, PATIENCE_MS, &event));
    assert_int_equal(event.kind, SEEDPRESS_EVENT_IMAGE);
    assert_null(event.image.data);
    assert_int_equal(event.image.len, strlen(shot.file));
    heard_release(&heard);
}

static void requests_that_cannot_be_meant_are_refused(void **state)
{
    static const double INFINITE[9] = { 1, 0, 0, 0, 1, 0, 0, 0, INFINITY };
    static const double TOO_LARGE[9] = { -1e39 }, NOWHERE[9] = { 1, 0, 0, 0, 1, 0, 0, 0, 1 };
    struct stage *s = *state;
    struct seedpress_request r;
    struct seedpress_event event;
    struct seedpress_error error;
    int64_t id;

    r = request_of(1), r.model = NULL;
    assert_int_equal(seedpress_submit(s->client, &r, &id, &error), SEEDPRESS_INVALID);
    r = request_of(1), r.count = 0;
    assert_int_equal(seedpress_submit(s->client, &r, &id, &error), SEEDPRESS_INVALID);
    r = request_of(1), r.count = SEEDPRESS_SEEDS_MAX + 1;
    assert_int_equal(seedpress_submit(s->client, &r, &id, &error), SEEDPRESS_RANGE);
    r = request_of(4294967295u), r.count = 2;
    assert_int_equal(seedpress_submit(s->client, &r, &id, &error), SEEDPRESS_RANGE);
    r = request_of(1), r.psi = 0.1234567;
    assert_int_equal(seedpress_submit(s->client, &r, &id, &error), SEEDPRESS_RANGE);
    r = request_of(1), r.psi = 2.5;
    assert_int_equal(seedpress_submit(s->client, &r, &id, &error), SEEDPRESS_RANGE);
    assert_string_equal(error.message, "psi is out of range: it goes from -2 to 2");
    assert_string_equal(error.word, "range");
    assert_int_equal(error.exit_code, 2);
    r = request_of(1), r.quality = 0;
    assert_int_equal(seedpress_submit(s->client, &r, &id, &error), SEEDPRESS_RANGE);
    r = request_of(1), r.cutoff = -2;
    assert_int_equal(seedpress_submit(s->client, &r, &id, NULL), SEEDPRESS_RANGE);
    r = request_of(1), r.translate[0] = 1000.5;
    assert_int_equal(seedpress_submit(s->client, &r, &id, &error), SEEDPRESS_RANGE);
    assert_string_equal(error.message, "translate is out of range: it goes from -1000 to 1000");
    r = request_of(1), r.translate[1] = NAN;
    assert_int_equal(seedpress_submit(s->client, &r, &id, &error), SEEDPRESS_RANGE);
    assert_string_equal(error.message,
                        "translate needs to be a number with at most six decimal places");
    r = request_of(1), r.rotate = -1001;
    assert_int_equal(seedpress_submit(s->client, &r, &id, &error), SEEDPRESS_RANGE);
    assert_string_equal(error.message, "rotate is out of range: it goes from -1000 to 1000");
    r = request_of(1), r.rotate = 0.0000001;
    assert_int_equal(seedpress_submit(s->client, &r, &id, &error), SEEDPRESS_RANGE);
    r = request_of(1), r.transform = INFINITE;
    assert_int_equal(seedpress_submit(s->client, &r, &id, &error), SEEDPRESS_RANGE);
    assert_string_equal(error.message, "transform needs nine numbers that float32 can hold");
    r = request_of(1), r.transform = TOO_LARGE;
    assert_int_equal(seedpress_submit(s->client, &r, &id, &error), SEEDPRESS_RANGE);
    r = request_of(1), r.transform = NOWHERE, r.rotate = 1;
    assert_int_equal(seedpress_submit(s->client, &r, &id, &error), SEEDPRESS_INVALID);
    assert_string_equal(error.message, "give either transform or translate and rotate");
    r = request_of(1), r.noise_seed = 4294967296;
    assert_int_equal(seedpress_submit(s->client, &r, &id, &error), SEEDPRESS_RANGE);
    r = request_of(1);
    r.visitor = "12345678901234567890123456789012345678901234567890123456789012345";
    assert_int_equal(seedpress_submit(s->client, &r, &id, &error), SEEDPRESS_RANGE);
    assert_string_equal(error.message, "for has 65 bytes: 0 to 64 are allowed");
    r = request_of(1), r.deadline_ms = 0;
    assert_int_equal(seedpress_submit(s->client, &r, &id, NULL), SEEDPRESS_RANGE);
    r = request_of(1), r.priority = 3;
    assert_int_equal(seedpress_submit(s->client, &r, &id, NULL), SEEDPRESS_RANGE);
    assert_false(seedpress_next(s->client, -1, &event));    /* nothing is pending */
}

static void endpoints_that_cannot_be_meant_are_refused(void **state)
{
    static const struct {
        const char *brokers;
        enum seedpress_code code;
    } CASES[] = {
        { ",", SEEDPRESS_INVALID },
        { "tcp://127.0.0.1:7701,", SEEDPRESS_INVALID },
        { "nonsense", SEEDPRESS_DENIED },           /* not known to be on this machine */
        { "tcp://127.0.0.1:7701,ipc", SEEDPRESS_DENIED },
        { "tcp://127.0.0.1", SEEDPRESS_INVALID },
        { "tcp://192.0.2.1:7701", SEEDPRESS_DENIED },
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct seedpress_options options = { .brokers = CASES[i].brokers };
        struct seedpress *client;

        assert_int_equal(seedpress_create(&options, &client, NULL), CASES[i].code);
        assert_null(client);
    }
}

/* ---- hostile brokers ---- */

enum spoil { OTHER_SEED, OTHER_PSI, OTHER_MODEL, OTHER_QUALITY, OTHER_CUTOFF, OTHER_CLASS,
             OTHER_NOISE, OTHER_NOISE_SEED, OTHER_SHIFT, OTHER_MATRIX, OTHER_MARK, DAMAGED_FILE,
             NO_FILE, EMPTY_FILE, DAMAGED_RECIPE, LYING_MODEL, LYING_SEED, RECEIPT, SPOIL_COUNT };

static struct seedpress_request request_with_options(const char *model)
{
    struct seedpress_request request = request_of(7);

    request.model = model;
    request.psi = 0.5;
    request.cutoff = 8;
    request.class_index = 2;
    request.noise_mode = SEEDPRESS_NOISE_RANDOM;
    request.noise_seed = 5;
    request.translate[0] = 0.25;
    request.mark = SEEDPRESS_MARK_C2PA;
    return request;
}

/* What it should become, but for one thing. */
static struct recipe recipe_with_options(enum spoil how)
{
    struct recipe r = recipe_of(how == OTHER_MODEL ? "dogs" : "cats", how == OTHER_SEED ? 8 : 7,
                                how == OTHER_PSI ? 600000 : 500000);

    r.quality = how == OTHER_QUALITY ? 10 : 90;
    r.cutoff = how == OTHER_CUTOFF ? 9 : 8;
    r.class_index = how == OTHER_CLASS ? 1 : 2;
    r.mark = how == OTHER_MARK ? RECIPE_MARK_XMP : RECIPE_MARK_C2PA;
    r.noise = how == OTHER_NOISE ? RECIPE_NOISE_STREAM : RECIPE_NOISE_RANDOM;
    r.noise_seed = how == OTHER_NOISE_SEED ? 6 : 5;
    r.transform = (struct recipe_transform){ .kind = RECIPE_TRANSFORM_TR, .tx = 250000 };
    if (how == OTHER_SHIFT)
        r.transform.ty = -1;
    if (how == OTHER_MATRIX)
        r.transform = (struct recipe_transform){ .kind = RECIPE_TRANSFORM_MATRIX };
    return r;
}

/* Spoils the message or its file. Returns what is sent as the file. */
static const char *spoil_shot(struct shot *shot, enum spoil how)
{
    switch (how) {
    case DAMAGED_FILE:
        shot->file[0] = 'T';
        return shot->file;
    case NO_FILE:
        return NULL;
    case EMPTY_FILE:
        return "";
    case DAMAGED_RECIPE:
        shot->recipe.text[shot->recipe.len - 2] ^= 1;
        return shot->file;
    case LYING_MODEL:
        shot->m.image.model = digest_of("dogs", 4);
        return shot->file;
    case LYING_SEED:
        shot->m.image.seed = 8;
        return shot->file;
    case RECEIPT:
        shot->m.type = MESSAGE_RECEIPT;
        return NULL;
    default:
        return shot->file;
    }
}

static void picture_that_lies_is_refused(void **state)
{
    struct stage *s = *state;
    struct digest cats = digest_of("cats", 4);
    char model[80];

    snprintf(model, sizeof model, "cats@%.8s", digest_hex(&cats).text);
    for (int how = 0; how <= SPOIL_COUNT; how++) {
        struct seedpress_request request = request_with_options(model);
        struct recipe recipe = recipe_with_options((enum spoil)how);
        struct seedpress_error error;
        struct heard heard;
        struct shot shot;
        const char *file;
        int64_t id = submit(s->client, &request);

        hear(s->client, s->broker, &heard);
        take_shot_of(&shot, heard.m.id, &recipe);
        file = spoil_shot(&shot, (enum spoil)how);
        send_message(s->broker, &heard.parcel.from, &shot.m, file);
        if (how == SPOIL_COUNT) {    /* no lie */
            expect_picture(s->client, id, 7);
            expect_done(s->client, id, 1, 0);
            heard_release(&heard);
            break;
        }
        expect_error(s->client, id, SEEDPRESS_BUG, &error);
        assert_int_equal(strncmp(error.message, "the broker sent", 15), 0);
        expect_done(s->client, id, 1, 1);
        heard_release(&heard);
    }
}

static void garbage_is_dropped_and_an_unreadable_answer_ends_its_request(void **state)
{
    static const char GARBAGE[] = "\xc1\xff garbage";
    /* {v: 1, type: "image", id: 1}: all that an image needs is missing */
    static const char HALF[] = "\x83\xa1v\x01\xa4type\xa5image\xa2id\x01";
    struct stage *s = *state;
    struct seedpress_request request = request_of(7);
    struct heard heard;
    int64_t id = submit(s->client, &request);

    assert_int_equal(id, 1);
    hear(s->client, s->broker, &heard);
    send_bytes(s->broker, &heard.parcel.from, GARBAGE, sizeof GARBAGE - 1, NULL);
    send_bytes(s->broker, &heard.parcel.from, GARBAGE, 0, "");
    send_bytes(s->broker, &heard.parcel.from, HALF, sizeof HALF - 1, "x");
    expect_error(s->client, id, SEEDPRESS_BUG, NULL);
    expect_done(s->client, id, 1, 1);
    heard_release(&heard);
}

static void second_answers_are_dropped(void **state)
{
    struct stage *s = *state;
    struct seedpress_request request = request_of(0);
    struct heard heard;
    int64_t id;

    request.count = 2;
    id = submit(s->client, &request);
    hear(s->client, s->broker, &heard);
    answer_picture(s->broker, &heard, 0);
    answer_picture(s->broker, &heard, 0);
    answer_picture(s->broker, &heard, 9);       /* never asked for */
    answer_picture(s->broker, &heard, 1);
    answer_picture(s->broker, &heard, 1);       /* its request has ended */
    expect_picture(s->client, id, 0);
    expect_picture(s->client, id, 1);
    expect_done(s->client, id, 2, 0);
    heard_release(&heard);
}

static void done_too_early_ends_what_is_missing(void **state)
{
    struct stage *s = *state;
    struct seedpress_request request = request_of(0);
    struct seedpress_error error;
    struct heard heard;
    int64_t id;

    request.count = 2;
    id = submit(s->client, &request);
    hear(s->client, s->broker, &heard);
    answer_picture(s->broker, &heard, 1);
    answer_done(s->broker, &heard);
    expect_picture(s->client, id, 1);
    expect_error(s->client, id, SEEDPRESS_RETRY, &error);
    assert_true(error.retry);
    expect_done(s->client, id, 2, 1);
    heard_release(&heard);
}

/* ---- errors ---- */

static void answer_error(struct link *broker, const struct heard *heard, const char *code,
                         int64_t seed)
{
    struct message m;

    message_init(&m, MESSAGE_ERROR, heard->m.id);
    m.error = (struct message_error){ .code = text_of(code), .message = text_of("words"),
                                      .retry = true, .retry_after_ms = 1500, .seed = seed };
    send_message(broker, &heard->parcel.from, &m, NULL);
}

static void errors_are_of_a_seed_or_of_all(void **state)
{
    struct stage *s = *state;
    struct seedpress_request request = request_of(0);
    struct seedpress_error error;
    struct heard heard;
    int64_t id;

    request.count = 4;
    id = submit(s->client, &request);
    hear(s->client, s->broker, &heard);
    answer_error(s->broker, &heard, "overloaded", 2);
    answer_picture(s->broker, &heard, 1);
    answer_error(s->broker, &heard, "unknown_model", -1);
    expect_error(s->client, id, SEEDPRESS_OVERLOADED, &error);
    assert_string_equal(error.word, "overloaded");
    assert_string_equal(error.message, "words");
    assert_true(error.retry);
    assert_int_equal(error.retry_after_ms, 1500);
    assert_int_equal(error.exit_code, 4);
    assert_int_equal(error.http_status, 503);
    expect_picture(s->client, id, 1);
    expect_error(s->client, id, SEEDPRESS_UNKNOWN_MODEL, NULL);
    expect_error(s->client, id, SEEDPRESS_UNKNOWN_MODEL, NULL);
    expect_done(s->client, id, 4, 3);
    heard_release(&heard);
}

static void newer_brokers_error_keeps_its_word(void **state)
{
    struct stage *s = *state;
    struct seedpress_request request = request_of(0);
    struct seedpress_error error;
    struct heard heard;
    int64_t id = submit(s->client, &request);

    hear(s->client, s->broker, &heard);
    answer_error(s->broker, &heard, "out_of_ink", -1);
    expect_error(s->client, id, SEEDPRESS_BUG, &error);
    assert_string_equal(error.word, "out_of_ink");
    assert_true(error.retry);
    heard_release(&heard);
}

static void cancel_ends_what_waits_and_tells_the_broker(void **state)
{
    struct stage *s = *state;
    struct seedpress_request request = request_of(0);
    struct heard heard, cancel;
    int64_t id;

    request.count = 3;
    id = submit(s->client, &request);
    hear(s->client, s->broker, &heard);
    answer_picture(s->broker, &heard, 1);
    expect_picture(s->client, id, 1);
    assert_int_equal(seedpress_cancel(s->client, id, NULL), SEEDPRESS_OK);
    expect_error(s->client, id, SEEDPRESS_CANCELLED, NULL);
    expect_error(s->client, id, SEEDPRESS_CANCELLED, NULL);
    expect_done(s->client, id, 3, 2);
    hear(s->client, s->broker, &cancel);
    assert_int_equal(cancel.m.type, MESSAGE_CANCEL);
    assert_int_equal(cancel.m.cancel.request, id);
    assert_int_equal(seedpress_cancel(s->client, id, NULL), SEEDPRESS_NOT_FOUND);
    answer_picture(s->broker, &heard, 0);       /* too late: nobody is told */
    answer_done(s->broker, &heard);
    heard_release(&cancel);
    heard_release(&heard);
}

/* ---- brokers that go ---- */

static void silent_broker_is_asked_again_with_the_time_that_is_left(void **state)
{
    struct stage *s = *state;
    struct seedpress_request request = request_of(0);
    struct seedpress_event event;
    struct heard first, second = { .parcel.count = 0 };
    int64_t id, end_ms = clock_ms() + PATIENCE_MS;

    seedpress_destroy(&s->client);
    s->client = connect_for(link_endpoint(s->broker), SILENCE_MS);
    request.count = 2;
    id = submit(s->client, &request);
    hear(s->client, s->broker, &first);
    answer_picture(s->broker, &first, 1);
    expect_picture(s->client, id, 1);
    /* From here on nobody answers its pings, until it comes over another socket. */
    for (bool is_again = false; !is_again; ) {
        assert_true(clock_ms() < end_ms);
        assert_false(seedpress_next(s->client, SILENCE_MS / 10, &event));
        while (!is_again && link_receive(s->broker, &second.parcel)) {
            message_decode(frame_data(&second.parcel.body[0]), frame_len(&second.parcel.body[0]),
                           MESSAGE_FROM_CLIENT, &second.m, NULL);
            is_again = second.m.type == MESSAGE_GENERATE;
            if (!is_again)
                heard_release(&second);
        }
    }
    assert_false(address_same_peer(&first.parcel.from, &second.parcel.from));
    assert_int_equal(second.m.id, id);
    assert_int_equal(second.m.generate.seeds.count, 1);     /* seed 1 is not owed any more */
    assert_int_equal(second.m.generate.seeds.items[0], 0);
    assert_true(second.m.generate.deadline_ms <= first.m.generate.deadline_ms - SILENCE_MS);
    answer_picture(s->broker, &second, 0);
    expect_picture(s->client, id, 0);
    expect_done(s->client, id, 2, 0);
    heard_release(&second);
    heard_release(&first);
}

/* It answers pings and knows of nothing: only the broken connection tells. Several rounds, because
 * a socket whose connection is just going still takes messages, and loses them. */
static void restarted_broker_is_asked_again(void **state)
{
    struct stage *s = *state;
    struct seedpress_request request = request_of(7);
    struct seedpress_event event;
    char endpoint[64];
    struct heard heard;
    int64_t id = submit(s->client, &request);

    snprintf(endpoint, sizeof endpoint, "%s", link_endpoint(s->broker));
    hear(s->client, s->broker, &heard);
    for (int round = 0; round < 10; round++) {
        heard_release(&heard);
        link_destroy(&s->broker);
        for (int turn = 0; turn < 20; turn++)   /* the client sees it go */
            assert_false(seedpress_next(s->client, 1, &event));
        s->broker = listen_on(s->context, endpoint);
        hear(s->client, s->broker, &heard);
        assert_int_equal(heard.m.type, MESSAGE_GENERATE);
        assert_int_equal(heard.m.id, id);
    }
    answer_picture(s->broker, &heard, 7);
    expect_picture(s->client, id, 7);
    expect_done(s->client, id, 1, 0);
    heard_release(&heard);
}

static void next_endpoint_takes_over(void **state)
{
    struct stage *s = *state;
    struct seedpress_request request = request_of(7);
    char brokers[128];
    struct heard heard;
    int64_t id;

    s->other = listen_on(s->context, "tcp://127.0.0.1:*");
    snprintf(brokers, sizeof brokers, "%s,%s", link_endpoint(s->broker), link_endpoint(s->other));
    seedpress_destroy(&s->client);
    s->client = connect_to(brokers);
    id = submit(s->client, &request);
    hear(s->client, s->broker, &heard);
    heard_release(&heard);
    link_destroy(&s->broker);
    hear(s->client, s->other, &heard);
    answer_picture(s->other, &heard, 7);
    expect_picture(s->client, id, 7);
    expect_done(s->client, id, 1, 0);
    heard_release(&heard);
}

static void answer_retry(struct link *broker, const struct heard *heard, int64_t seed,
                         int64_t retry_after_ms)
{
    struct message m;

    message_init(&m, MESSAGE_ERROR, heard->m.id);
    m.error = (struct message_error){ .code = text_of("retry"), .message = text_of("going away"),
                                      .retry = true, .retry_after_ms = retry_after_ms,
                                      .seed = seed };
    send_message(broker, &heard->parcel.from, &m, NULL);
}

static void broker_that_goes_away_is_left_for_the_next_one(void **state)
{
    struct stage *s = *state;
    struct seedpress_request request = request_of(0);
    char brokers[128];
    struct heard first, second;
    int64_t id;

    s->other = listen_on(s->context, "tcp://127.0.0.1:*");
    snprintf(brokers, sizeof brokers, "%s,%s", link_endpoint(s->broker), link_endpoint(s->other));
    seedpress_destroy(&s->client);
    s->client = connect_to(brokers);
    request.count = 3;
    id = submit(s->client, &request);
    hear(s->client, s->broker, &first);
    answer_picture(s->broker, &first, 0);
    expect_picture(s->client, id, 0);
    answer_retry(s->broker, &first, 1, 0);
    hear(s->client, s->other, &second);
    assert_int_equal(second.m.id, id);
    assert_int_equal(second.m.generate.seeds.count, 2);     /* what was refused and what was owed */
    assert_int_equal(second.m.generate.seeds.items[0], 1);
    assert_int_equal(second.m.generate.seeds.items[1], 2);
    assert_true(second.m.generate.deadline_ms <= first.m.generate.deadline_ms);
    answer_picture(s->other, &second, 2);
    answer_picture(s->other, &second, 1);
    answer_done(s->other, &second);
    expect_picture(s->client, id, 2);
    expect_picture(s->client, id, 1);
    expect_done(s->client, id, 3, 0);
    heard_release(&second);
    heard_release(&first);
}

/* Its last word of the first asking comes too, and ends nothing. */
static void only_broker_that_goes_away_is_asked_until_it_is_back(void **state)
{
    struct stage *s = *state;
    struct seedpress_request request = request_of(0);
    struct heard heard;
    int64_t id;

    request.count = 2;
    id = submit(s->client, &request);
    hear(s->client, s->broker, &heard);
    answer_retry(s->broker, &heard, 0, 20);
    answer_retry(s->broker, &heard, 1, 20);
    answer_done(s->broker, &heard);
    for (int round = 0; round < 3; round++) {
        heard_release(&heard);
        hear(s->client, s->broker, &heard);
        assert_int_equal(heard.m.type, MESSAGE_GENERATE);
        assert_int_equal(heard.m.id, id);
        assert_int_equal(heard.m.generate.seeds.count, 2);
        answer_retry(s->broker, &heard, -1, 20);            /* of all */
    }
    heard_release(&heard);
    hear(s->client, s->broker, &heard);
    answer_picture(s->broker, &heard, 0);
    answer_picture(s->broker, &heard, 1);
    expect_picture(s->client, id, 0);
    expect_picture(s->client, id, 1);
    expect_done(s->client, id, 2, 0);
    heard_release(&heard);
}

static void retry_is_told_when_there_is_no_time_for_it(void **state)
{
    struct stage *s = *state;
    struct seedpress_request request = request_of(7);
    struct seedpress_error error;
    struct heard heard;
    int64_t id;

    request.deadline_ms = 1000;
    id = submit(s->client, &request);
    hear(s->client, s->broker, &heard);
    answer_retry(s->broker, &heard, -1, 1500);
    expect_error(s->client, id, SEEDPRESS_RETRY, &error);
    assert_non_null(strstr(error.message, "going away"));
    expect_done(s->client, id, 1, 1);
    heard_release(&heard);
}

static void full_broker_is_not_asked_again(void **state)
{
    struct stage *s = *state;
    struct seedpress_request request = request_of(7);
    struct heard heard;
    int64_t id = submit(s->client, &request);

    hear(s->client, s->broker, &heard);
    answer_error(s->broker, &heard, "overloaded", -1);
    expect_error(s->client, id, SEEDPRESS_OVERLOADED, NULL);
    expect_done(s->client, id, 1, 1);
    heard_release(&heard);
}

static void endpoint_where_nobody_is_is_passed_over(void **state)
{
    struct stage *s = *state;
    struct seedpress_options options = { .silence_ms = 10 * PATIENCE_MS };
    struct seedpress_request request = request_of(7);
    char brokers[128];
    struct heard heard;
    int64_t id;

    s->other = listen_on(s->context, "tcp://127.0.0.1:*");
    snprintf(brokers, sizeof brokers, "%s,%s", link_endpoint(s->broker), link_endpoint(s->other));
    link_destroy(&s->broker);
    seedpress_destroy(&s->client);
    options.brokers = brokers;
    assert_int_equal(seedpress_create(&options, &s->client, NULL), SEEDPRESS_OK);
    id = submit(s->client, &request);
    hear(s->client, s->other, &heard);
    answer_picture(s->other, &heard, 7);
    expect_picture(s->client, id, 7);
    heard_release(&heard);
}

static void request_waits_for_a_broker_that_comes_later(void **state)
{
    struct stage *s = *state;
    struct seedpress_request request = request_of(7);
    char endpoint[64];
    struct heard heard;
    int64_t id;

    snprintf(endpoint, sizeof endpoint, "%s", link_endpoint(s->broker));
    link_destroy(&s->broker);
    id = submit(s->client, &request);
    s->broker = listen_on(s->context, endpoint);
    hear(s->client, s->broker, &heard);
    answer_picture(s->broker, &heard, 7);
    expect_picture(s->client, id, 7);
    heard_release(&heard);
}

static void nobody_there_is_unreachable(void **state)
{
    struct stage *s = *state;
    struct seedpress_request request = request_of(7);
    struct seedpress_error error;
    struct seedpress_image image;
    char expected[160];

    snprintf(expected, sizeof expected,
             "no broker answered at %s within 0.6 s; is seedpress-broker running?",
             link_endpoint(s->broker));
    link_destroy(&s->broker);
    request.deadline_ms = 100;
    assert_int_equal(seedpress_generate(s->client, &request, &image, &error),
                     SEEDPRESS_UNREACHABLE);
    assert_string_equal(error.word, "unreachable");
    assert_int_equal(error.exit_code, 5);
    /* 0.6: deadline and grace, if the machine is not too busy to wake us in time */
    if (strstr(error.message, "within 0.6 s"))
        assert_string_equal(error.message, expected);
    assert_int_equal(seedpress_ping(s->client, 50, &error), SEEDPRESS_UNREACHABLE);
}

static void silence_ends_requests_long_before_their_deadline(void **state)
{
    struct stage *s = *state;
    struct seedpress_options options = { .brokers = link_endpoint(s->broker), .silence_ms = 20,
                                         .unreachable_ms = 100 };
    struct seedpress_request request = request_of(7);
    struct seedpress *client;
    int64_t id;

    assert_int_equal(seedpress_create(&options, &client, NULL), SEEDPRESS_OK);
    request.deadline_ms = 3600000;
    id = submit(client, &request);   /* the broker is bound but never looks */
    expect_error(client, id, SEEDPRESS_UNREACHABLE, NULL);
    expect_done(client, id, 1, 1);
    seedpress_destroy(&client);
}

static void broker_that_only_pongs_is_too_late(void **state)
{
    struct stage *s = *state;
    struct seedpress_request request = request_of(7);
    struct seedpress_event event;
    struct heard heard, nothing;
    int64_t id, end_ms = clock_ms() + PATIENCE_MS;

    seedpress_destroy(&s->client);
    s->client = connect_for(link_endpoint(s->broker), SILENCE_MS);
    request.deadline_ms = SILENCE_MS;           /* and half a second of grace: several pings */
    id = submit(s->client, &request);
    hear(s->client, s->broker, &heard);
    while (!seedpress_next(s->client, 10, &event)) {
        assert_true(clock_ms() < end_ms);
        assert_false(hear_until(s->broker, clock_ms(), &nothing));      /* answers pings */
    }
    assert_int_equal(event.kind, SEEDPRESS_EVENT_ERROR);
    assert_int_equal(event.id, id);
    assert_string_equal(event.error.word, "deadline");
    expect_done(s->client, id, 1, 1);
    heard_release(&heard);
}

/* ---- other loops, other questions ---- */

static void descriptor_is_readable_until_everything_is_taken(void **state)
{
    struct stage *s = *state;
    struct pollfd poll_fd = { .fd = seedpress_fd(s->client), .events = POLLIN };
    struct seedpress_request request = request_of(0);
    struct seedpress_event event;
    int64_t end_ms = clock_ms() + PATIENCE_MS;
    struct heard heard;

    assert_true(poll_fd.fd >= 0);
    assert_int_equal(seedpress_fd(s->client), poll_fd.fd);
    request.count = 3;
    submit(s->client, &request);
    /* Only the descriptor says when the library has to do something, such as sending this. */
    while (!hear_until(s->broker, clock_ms() + 5, &heard)) {
        assert_true(clock_ms() < end_ms);
        if (poll(&poll_fd, 1, 0) == 1)
            assert_false(seedpress_next(s->client, 0, &event));
    }
    for (uint32_t seed = 0; seed < 3; seed++)
        answer_picture(s->broker, &heard, seed);
    for (int events = 0; events < 4; ) {        /* three pictures, one done */
        assert_int_equal(poll(&poll_fd, 1, PATIENCE_MS), 1);
        events += seedpress_next(s->client, 0, &event);
    }
    assert_int_equal(event.kind, SEEDPRESS_EVENT_DONE);
    heard_release(&heard);
}

/* A broker in a thread of its own, for calls that block: one answer to each question, then it ends
 * with the first `cancel`. */
static void answer_question(struct link *broker, const struct heard *heard)
{
    struct recipe recipe = recipe_of("cats", 7, 1000000);
    struct recipe_text text = recipe_text(&recipe);
    struct message_row row = { .recipe_key = recipe_key(&recipe), .sha256 = digest_of("f", 1),
                               .core_sha256 = digest_of("c", 1), .recipe = { text.text, text.len },
                               .model = text_of("cats"), .worker = text_of("host:1:2"),
                               .created = text_of("2026-11-22T00:00:00Z"), .kept = true };
    struct message_model model = { .name = text_of("cats"), .digest = recipe.model, .width = 64,
                                   .noise_modes = 3, .bound = true, .workers = 2 };
    struct message_worker worker = { .worker = text_of("host:1:2"), .credit = 32 };
    struct shot shot;
    struct message m;

    switch (heard->m.type) {
    case MESSAGE_GENERATE:
        answer_picture(broker, heard, 7);
        return;
    case MESSAGE_FETCH:
        take_shot(&shot, heard->m.id, 7, 1000000);
        send_message(broker, &heard->parcel.from, &shot.m, shot.file);
        return;
    case MESSAGE_LOOKUP:
        message_init(&m, MESSAGE_PROVENANCE, heard->m.id);
        m.provenance.rows = (struct records){ &row, 1 };
        break;
    case MESSAGE_MODELS:
        message_init(&m, MESSAGE_MODEL_LIST, heard->m.id);
        m.model_list.models = (struct records){ &model, 1 };
        break;
    case MESSAGE_STATUS:
        message_init(&m, MESSAGE_STATUS_REPORT, heard->m.id);
        m.status_report.version = text_of("1.2.3");
        m.status_report.queued_low = 5;
        m.status_report.memory_hits = 6;
        m.status_report.wait_p99_ms = 7;
        m.status_report.workers = (struct records){ &worker, 1 };
        break;
    default:
        message_init(&m, MESSAGE_DONE, heard->m.id);
        break;
    }
    send_message(broker, &heard->parcel.from, &m, NULL);
}

static void *serve(void *arg)
{
    struct link *broker = arg;
    struct heard heard;
    bool is_last = false;

    while (!is_last && hear_until(broker, clock_ms() + PATIENCE_MS, &heard)) {
        is_last = heard.m.type == MESSAGE_CANCEL;
        if (!is_last)
            answer_question(broker, &heard);
        heard_release(&heard);
    }
    return NULL;
}

static void end_server(struct stage *s, pthread_t thread)
{
    struct seedpress_request request = request_of(8);
    struct seedpress_event event;
    int64_t id = submit(s->client, &request);   /* answered with seed 7: ends as an error */

    while (seedpress_next(s->client, PATIENCE_MS, &event) && event.kind != SEEDPRESS_EVENT_DONE)
        assert_int_equal(event.id, id);
    request.count = 2;
    id = submit(s->client, &request);
    assert_int_equal(seedpress_cancel(s->client, id, NULL), SEEDPRESS_OK);
    pthread_join(thread, NULL);
}

static void every_question_has_its_answer(void **state)
{
    struct stage *s = *state;
    struct recipe recipe = recipe_of("cats", 7, 1000000);
    struct digest key = recipe_key(&recipe);
    struct digest_hex hex = digest_hex(&key);
    struct seedpress_request request = request_of(7);
    struct seedpress_query query = { .has_seed = true, .seed = 7 };
    const struct seedpress_row *rows;
    const struct seedpress_model *models;
    struct seedpress_status status;
    struct seedpress_image image;
    struct seedpress_error error;
    pthread_t thread;
    size_t count;

    pthread_create(&thread, NULL, serve, s->broker);
    assert_int_equal(seedpress_ping(s->client, PATIENCE_MS, &error), SEEDPRESS_OK);
    assert_int_equal(error.code, SEEDPRESS_OK);

    assert_int_equal(seedpress_generate(s->client, &request, &image, &error), SEEDPRESS_OK);
    assert_memory_equal(image.data, "the picture of seed 7", image.len);

    assert_int_equal(seedpress_fetch(s->client, hex.text, NULL, &image, &error), SEEDPRESS_OK);
    assert_memory_equal(image.data, "the picture of seed 7", image.len);
    recipe.psi = 0;                  /* the answer is of another one */
    key = recipe_key(&recipe);
    assert_int_equal(seedpress_fetch(s->client, digest_hex(&key).text, NULL, &image, &error),
                     SEEDPRESS_BUG);
    assert_int_equal(seedpress_fetch(s->client, NULL, NULL, &image, &error), SEEDPRESS_INVALID);
    assert_int_equal(seedpress_fetch(s->client, "abc", NULL, &image, &error), SEEDPRESS_INVALID);

    assert_int_equal(seedpress_lookup(s->client, &query, &rows, &count, &error), SEEDPRESS_OK);
    assert_int_equal(count, 1);
    assert_int_equal(rows[0].seed, 7);
    assert_true(rows[0].psi == 1.0);
    assert_string_equal(rows[0].recipe_key, hex.text);
    assert_string_equal(rows[0].model_name, "cats");
    assert_string_equal(rows[0].worker, "host:1:2");
    query.seed = 8;                  /* the answer is of another one */
    assert_int_equal(seedpress_lookup(s->client, &query, &rows, &count, &error), SEEDPRESS_BUG);
    query.recipe_key = hex.text;
    assert_int_equal(seedpress_lookup(s->client, &query, &rows, &count, &error),
                     SEEDPRESS_INVALID);

    assert_int_equal(seedpress_models(s->client, &models, &count, &error), SEEDPRESS_OK);
    assert_int_equal(count, 1);
    assert_string_equal(models[0].name, "cats");
    assert_int_equal(models[0].workers, 2);

    assert_int_equal(seedpress_status(s->client, &status, &error), SEEDPRESS_OK);
    assert_string_equal(status.version, "1.2.3");
    assert_int_equal(status.queued_low, 5);
    assert_int_equal(status.memory_hits, 6);
    assert_int_equal(status.wait_p99_ms, 7);
    assert_int_equal(status.worker_count, 1);
    assert_int_equal(status.workers[0].credit, 32);

    assert_int_equal(seedpress_model_use(s->client, "cats", "1a2b", &error), SEEDPRESS_OK);
    assert_int_equal(seedpress_model_use(s->client, "cats", "1", &error), SEEDPRESS_RANGE);
    end_server(s, thread);
}

/* A handle that is dropped with everything in flight leaks nothing: the sanitizer build looks. */
static void handle_may_go_at_any_time(void **state)
{
    struct stage *s = *state;
    struct seedpress_request request = request_of(0);
    struct heard heard;
    struct seedpress *other = connect_to(link_endpoint(s->broker));

    request.count = 5;
    submit(s->client, &request);
    submit(other, &request);
    hear(s->client, s->broker, &heard);
    answer_picture(s->broker, &heard, 0);
    expect_picture(s->client, 1, 0);
    answer_picture(s->broker, &heard, 1);
    seedpress_destroy(&other);
    seedpress_destroy(&other);       /* twice is fine */
    heard_release(&heard);
}

int main(void)
{
#define AT_STAGE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    static const struct CMUnitTest TESTS[] = {
        AT_STAGE(request_goes_out_with_its_defaults),
        AT_STAGE(options_go_out_as_they_were_set),
        AT_STAGE(picture_arrives_whole),
        AT_STAGE(range_and_list_give_a_picture_each),
        AT_STAGE(receipt_comes_without_bytes),
        AT_STAGE(requests_that_cannot_be_meant_are_refused),
        AT_STAGE(endpoints_that_cannot_be_meant_are_refused),
        AT_STAGE(picture_that_lies_is_refused),
        AT_STAGE(garbage_is_dropped_and_an_unreadable_answer_ends_its_request),
        AT_STAGE(second_answers_are_dropped),
        AT_STAGE(done_too_early_ends_what_is_missing),
        AT_STAGE(errors_are_of_a_seed_or_of_all),
        AT_STAGE(newer_brokers_error_keeps_its_word),
        AT_STAGE(cancel_ends_what_waits_and_tells_the_broker),
        AT_STAGE(silent_broker_is_asked_again_with_the_time_that_is_left),
        AT_STAGE(restarted_broker_is_asked_again),
        AT_STAGE(next_endpoint_takes_over),
        AT_STAGE(broker_that_goes_away_is_left_for_the_next_one),
        AT_STAGE(only_broker_that_goes_away_is_asked_until_it_is_back),
        AT_STAGE(retry_is_told_when_there_is_no_time_for_it),
        AT_STAGE(full_broker_is_not_asked_again),
        AT_STAGE(endpoint_where_nobody_is_is_passed_over),
        AT_STAGE(request_waits_for_a_broker_that_comes_later),
        AT_STAGE(nobody_there_is_unreachable),
        AT_STAGE(silence_ends_requests_long_before_their_deadline),
        AT_STAGE(broker_that_only_pongs_is_too_late),
        AT_STAGE(descriptor_is_readable_until_everything_is_taken),
        AT_STAGE(every_question_has_its_answer),
        AT_STAGE(handle_may_go_at_any_time),
    };

    return cmocka_run_group_tests(TESTS, NULL, NULL);
}
