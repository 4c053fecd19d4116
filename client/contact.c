#include "client/contact.h"

#include "proto/number.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

enum { ANSWER_WITHIN_MS = 3000 };

int contact_open(const struct command_context *ctx, struct seedpress **out)
{
    struct seedpress_options options = { .brokers = ctx->broker, .key_file = ctx->key_file,
                                         .broker_key = ctx->broker_key };
    struct seedpress_error error;
    int code;

    if (seedpress_create(&options, out, &error))
        return contact_fail(ctx, &error);
    if (!seedpress_ping(*out, ANSWER_WITHIN_MS, &error))
        return EXIT_OK;
    code = contact_fail(ctx, &error);
    seedpress_destroy(out);
    return code;
}

int contact_fail(const struct command_context *ctx, const struct seedpress_error *error)
{
    struct err e;

    err_set(&e, (enum err_code)error->code, "%s", error->message);
    return command_fail(ctx, &e);
}

enum seedpress_code contact_find_job(struct seedpress *sp, const char *word,
                                     struct seedpress_job *out, struct seedpress_error *error)
{
    const struct seedpress_job *jobs;
    enum seedpress_code code = SEEDPRESS_OK;
    size_t count = 0;
    int64_t number;

    if (number_parse(word, strlen(word), &number) && number > 0)
        code = seedpress_bulk_list(sp, number, NULL, 1, &jobs, &count, error);
    if (!code && count == 0)
        code = seedpress_bulk_list(sp, 0, word, 2, &jobs, &count, error);
    if (code)
        return code;
    if (count == 1) {
        *out = jobs[0];
        return SEEDPRESS_OK;
    }
    *error = (struct seedpress_error){ .code = count ? SEEDPRESS_CONFLICT : SEEDPRESS_NOT_FOUND };
    snprintf(error->message, sizeof error->message,
             count ? "several clients have a job \"%.64s\": say which by its number, see seedpress "
                     "bulk list"
                   : "there is no bulk job \"%.64s\"; seedpress bulk list shows those that are",
             word);
    return (enum seedpress_code)error->code;
}

struct contact_model contact_model_of(const char *name, const char *digest)
{
    struct contact_model model;

    snprintf(model.text, sizeof model.text, "%s%s%.8s", name, *name ? "@" : "", digest);
    return model;
}

struct contact_psi contact_psi_of(double psi)
{
    struct contact_psi out;
    int64_t millionths = 0;

    number_millionths_of(psi, &millionths);
    number_format_millionths(millionths, out.text);
    return out;
}

void contact_pause(int64_t wait_ms)
{
    poll(NULL, 0, wait_ms < 0 ? 0 : wait_ms > 60000 ? 60000 : (int)wait_ms);
}
