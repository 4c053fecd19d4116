/* whole_path -- what the queue, JPEG and ledger cost: pictures a second of the whole path (client,
 * broker, worker, PostgreSQL, and back) as a ratio to the same engine on its own in the same run.
 *
 *     whole_path [ROUNDS] [PICTURES]
 *
 * Each round renders PICTURES seeds with the engine alone (batches of 16, every core), then asks a
 * running stack for as many other seeds. Prints each round, then median, lowest and highest. */
#include "base/clock.h"
#include "kernels/backend.h"
#include "kernels/model.h"
#include "proto/number.h"
#include "tests/kit_stack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 16, ROUNDS_MAX = 99, WINDOW = 250, WAIT_MS = 600000 };

static void die(const char *words)
{
    fprintf(stderr, "whole_path: %s\n", words);
    exit(1);
}

/* ---- the engine on its own ---- */

struct bare {
    struct engine *engine;
    struct model *model;
    struct net *net;
    uint8_t *rgb;
};

static void bare_open(struct bare *self)
{
    struct backend_options options = { .threads = 0 };
    struct err e;

    if (backend_cpu.open(&options, &self->engine, &e) ||
        model_open("deploy/models/avatars64.safetensors", &self->model, &e) ||
        backend_cpu.load(self->engine, self->model, BATCH, &self->net, &e))
        die(e.msg);
    self->rgb = malloc((size_t)BATCH * 64 * 64 * 3);
}

static void bare_close(struct bare *self)
{
    free(self->rgb);
    backend_cpu.unload(&self->net);
    model_destroy(&self->model);
    backend_cpu.close(&self->engine);
}

static double bare_rate(struct bare *self, int64_t first, int64_t pictures)
{
    const struct model_facts *facts = model_facts(self->model);
    int64_t from_us = clock_us();
    struct err e;

    for (int64_t at = 0; at < pictures; at += BATCH) {
        int64_t left = pictures - at;
        int count = left < BATCH ? (int)left : BATCH;
        struct sample samples[BATCH];

        for (int i = 0; i < count; i++)
            samples[i] = (struct sample){ .seed = (uint32_t)(first + at + i), .psi = 0.7f,
                                          .cutoff = facts->num_ws, .class_index = -1,
                                          .noise = RECIPE_NOISE_CONST };
        if (backend_cpu.render(self->net, samples, count, self->rgb, NULL, &e))
            die(e.msg);
    }
    return (double)pictures * 1e6 / (double)(clock_us() - from_us);
}

/* ---- the whole path ---- */

static void ask(struct kit_asker *a, int64_t first, int64_t count)
{
    int64_t seeds[WINDOW];
    struct message m = generate_of(first + 1, -1, 700000);

    for (int64_t i = 0; i < count; i++)
        seeds[i] = first + i;
    m.generate.seeds = (struct numbers){ seeds, (size_t)count };
    m.generate.deadline_ms = WAIT_MS;
    asker_send(a, &m);
}

static double path_rate(struct kit_asker *a, int64_t first, int64_t pictures)
{
    int64_t from_us = clock_us(), got = 0;

    for (int64_t at = 0; at < pictures; at += WINDOW)
        ask(a, first + at, pictures - at < WINDOW ? pictures - at : WINDOW);
    while (got < pictures) {
        struct message m;
        struct parcel parcel;

        if (!asker_receive(a, &m, &parcel, WAIT_MS))
            die("no answer");
        if (m.type == MESSAGE_ERROR)
            die("an error instead of a picture");
        got += m.type == MESSAGE_IMAGE;
        message_release(&m);
        parcel_release(&parcel);
    }
    return (double)pictures * 1e6 / (double)(clock_us() - from_us);
}

/* ---- the figures ---- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print_spread(const char *name, double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, by_size);
    printf("%-26s median %8.2f   lowest %8.2f   highest %8.2f\n", name, values[count / 2],
           values[0], values[count - 1]);
}

int main(int argc, char **argv)
{
    double alone[ROUNDS_MAX], path[ROUNDS_MAX], ratio[ROUNDS_MAX];
    int64_t rounds = 5, pictures = 320;
    struct kit_stack stack;
    struct kit_asker asker;
    struct bare bare;

    if ((argc > 1 && !number_parse(argv[1], strlen(argv[1]), &rounds)) ||
        (argc > 2 && !number_parse(argv[2], strlen(argv[2]), &pictures)) || rounds < 1 ||
        rounds > ROUNDS_MAX || pictures < 1)
        die("usage: whole_path [ROUNDS] [PICTURES]");
    setenv("SEEDPRESS_PG_FSYNC", "on", 1);   /* as in earnest: an answer is a durable row */
    stack_start(&stack, NULL);
    stack_start_worker(&stack, 0, NULL);
    asker_open(&asker, stack.clients, LINK_DEALER);
    bare_open(&bare);
    bare_rate(&bare, 0, BATCH);      /* both warm */
    path_rate(&asker, 0, BATCH);
    for (int round = 0; round < rounds; round++) {
        int64_t first = 1000000 + round * pictures;

        alone[round] = bare_rate(&bare, first, pictures);
        path[round] = path_rate(&asker, first, pictures);
        ratio[round] = path[round] / alone[round];
        printf("round %d: engine alone %.1f images/s, whole path %.1f images/s, ratio %.2f\n",
               round + 1, alone[round], path[round], ratio[round]);
        fflush(stdout);
    }
    print_spread("engine alone, images/s", alone, (int)rounds);
    print_spread("whole path, images/s", path, (int)rounds);
    print_spread("whole path / engine alone", ratio, (int)rounds);
    bare_close(&bare);
    asker_close(&asker);
    stack_destroy(&stack);
    return 0;
}
