#include "worker/dials.h"

#include "proto/message.h"

#include <string.h>

static const char *const PROGRESS[] = { "started", "rendered", "stored" };
static const char *const LEFTS[] = { "empty", "batch_max", "batch_ms", "fill_ms", "bulk_batch_ms",
                                     "alone", "other_model" };
static const char *const STAGES[] = { "render", "encode", "store" };
enum replay { REPLAY_EQUAL, REPLAY_DIFFERS, REPLAY_OTHER_CLASS, REPLAY_COUNT };
static const char *const REPLAYS[] = { "equal", "differs", "other_class" };

static const int64_t PICTURES[] = { 1, 2, 4, 8, 16, 32, 64, 128, 256 };
static const int64_t STAGE_US[] = { 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000,
                                    250000, 500000, 1000000, 2500000, 5000000, 10000000, 60000000 };

#define LABELLED(name, list)                                                                       \
    .label = { name }, .words = list, .series = sizeof list / sizeof list[0]
#define BOUNDED(list) .bounds = list, .bound_count = sizeof list / sizeof list[0]

const struct metric DIALS_TABLE[DIALS_ROWS] = {
    [DIALS_WORKER_UP] = { .name = "seedpress_worker_up", .kind = METRIC_GAUGE,
        .help = "1 while it takes work, 0 while it drains." },
    [DIALS_BROKERS] = { .name = "seedpress_brokers", .kind = METRIC_GAUGE,
        .help = "Brokers that know this worker." },
    [DIALS_PICTURES] = { .name = "seedpress_pictures_total", .kind = METRIC_COUNTER,
        LABELLED("stage", PROGRESS), .help = "Pictures that have come so far." },
    [DIALS_BATCH_SIZE] = { .name = "seedpress_batch_size", .kind = METRIC_HISTOGRAM,
        BOUNDED(PICTURES), .help = "Pictures rendered together." },
    [DIALS_BATCH_LEFT] = { .name = "seedpress_batch_left_total", .kind = METRIC_COUNTER,
        LABELLED("reason", LEFTS),
        .help = "Why a batch was not larger: nothing more waited, or what bounded it." },
    [DIALS_STAGE] = { .name = "seedpress_stage_seconds", .kind = METRIC_HISTOGRAM, .per = 1000000,
        LABELLED("stage", STAGES), BOUNDED(STAGE_US),
        .help = "Time of a batch on the device, of a picture's JPEG and hashes, of a "
                "transaction." },
    [DIALS_REPLAY] = { .name = "seedpress_replay_checks_total", .kind = METRIC_COUNTER,
        LABELLED("outcome", REPLAYS),
        .help = "Renders of what was stored already, beside what is stored; differs is an alarm." },
    [DIALS_LEDGER_UP] = { .name = "seedpress_ledger_up", .kind = METRIC_GAUGE,
        .help = "1 while the ledger takes what is stored." },
    [DIALS_LEDGER_LAG] = { .name = "seedpress_ledger_lag_seconds", .kind = METRIC_GAUGE,
        .per = 1000, .help = "How long the oldest picture has waited to be stored." },
    [DIALS_MODEL_BYTES] = { .name = "seedpress_model_loaded_bytes", .kind = METRIC_GAUGE,
        .label = { "model" }, .series = MESSAGE_MODELS_MAX,
        .help = "Of a loaded model's parameters, as float32." },
    [DIALS_BUILD_INFO] = { .name = "seedpress_build_info", .kind = METRIC_GAUGE,
        .label = { "version", "numerics_class" }, .series = 1, .help = "Always 1." },
};

_Static_assert(sizeof LEFTS / sizeof LEFTS[0] == DIALS_LEFT_COUNT, "a word for each reason");
_Static_assert(sizeof STAGES / sizeof STAGES[0] == DIALS_STAGE_COUNT, "a word for each stage");
_Static_assert(sizeof REPLAYS / sizeof REPLAYS[0] == REPLAY_COUNT, "a word for each outcome");

enum err_code dials_init(struct dials *self, int64_t now_ms, const char *numerics_class,
                         struct err *e)
{
    enum err_code rc = metrics_create(DIALS_TABLE, DIALS_ROWS, &self->metrics, e);

    if (rc)
        return rc;
    health_init(&self->health, now_ms);
    metrics_name(self->metrics, DIALS_BUILD_INFO, 0, SEEDPRESS_VERSION, numerics_class);
    metrics_set(self->metrics, DIALS_BUILD_INFO, 0, 1);
    return ERR_OK;
}

void dials_release(struct dials *self)
{
    metrics_destroy(&self->metrics);
}

static struct metrics *metrics_of(struct dials *self)
{
    return self ? self->metrics : NULL;
}

void dials_batch(struct dials *self, size_t count, enum dials_left left)
{
    metrics_observe(metrics_of(self), DIALS_BATCH_SIZE, 0, (int64_t)count);
    metrics_add(metrics_of(self), DIALS_BATCH_LEFT, left, 1);
}

void dials_took(struct dials *self, enum dials_stage stage, int64_t us)
{
    metrics_observe(metrics_of(self), DIALS_STAGE, stage, us);
}

void dials_stored(struct dials *self, const struct ledger_stored *stored,
                  const char *numerics_class, const char *encoder)
{
    bool is_ours = strcmp(stored->numerics_class, numerics_class) == 0 &&
                   strcmp(stored->encoder, encoder) == 0;
    enum replay outcome = is_ours ? REPLAY_EQUAL : REPLAY_OTHER_CLASS;

    if (stored->alarm)
        outcome = REPLAY_DIFFERS;
    else if (stored->outcome == LEDGER_SAME)
        outcome = REPLAY_EQUAL;
    else if (stored->outcome != LEDGER_WINNER && stored->why.code != ERR_WRONG_CLASS)
        return;                      /* there was nothing to compare with */
    metrics_add(metrics_of(self), DIALS_REPLAY, outcome, 1);
}

void dials_replayed(struct dials *self, bool is_same)
{
    metrics_add(metrics_of(self), DIALS_REPLAY, is_same ? REPLAY_EQUAL : REPLAY_DIFFERS, 1);
}

void dials_model(struct dials *self, size_t index, const char *name, int64_t bytes)
{
    metrics_name(self->metrics, DIALS_MODEL_BYTES, index, name, NULL);
    metrics_set(self->metrics, DIALS_MODEL_BYTES, index, bytes);
}

void dials_turn(struct dials *self, int64_t now_ms, const struct dials_state *state)
{
    struct metrics *m = self->metrics;
    int64_t lag_ms = state->oldest_ms ? now_ms - state->oldest_ms : 0;

    health_turn(&self->health, now_ms, state->draining    ? "draining"
                                       : !state->ledger_up ? "ledger down"
                                       : !state->brokers   ? "no broker"
                                                           : NULL);
    metrics_set(m, DIALS_WORKER_UP, 0, !state->draining);
    metrics_set(m, DIALS_BROKERS, 0, (int64_t)state->brokers);
    metrics_set(m, DIALS_PICTURES, 0, state->started);
    metrics_set(m, DIALS_PICTURES, 1, state->rendered);
    metrics_set(m, DIALS_PICTURES, 2, state->stored);
    metrics_set(m, DIALS_LEDGER_UP, 0, state->ledger_up);
    metrics_set(m, DIALS_LEDGER_LAG, 0, lag_ms > 0 ? lag_ms : 0);
}
