#include "client/origin_report.h"

#include "proto/digest.h"

#include <cjson/cJSON.h>

static void add_row(cJSON *line, const struct seedpress_row *row)
{
    cJSON_AddStringToObject(line, "model_name", row->model_name);
    cJSON_AddStringToObject(line, "model", row->model);
    cJSON_AddNumberToObject(line, "seed", row->seed);
    cJSON_AddNumberToObject(line, "psi", row->psi);
    cJSON_AddStringToObject(line, "recipe_key", row->recipe_key);
    cJSON_AddStringToObject(line, "sha256", row->sha256);
    cJSON_AddStringToObject(line, "core_sha256", row->core_sha256);
    cJSON_AddNumberToObject(line, "bytes", (double)row->bytes);
    cJSON_AddBoolToObject(line, "kept", row->kept);
    cJSON_AddBoolToObject(line, "withdrawn", row->withdrawn);
    cJSON_AddStringToObject(line, "created", row->created);
    cJSON_AddNumberToObject(line, "batch", row->batch);
    cJSON_AddNumberToObject(line, "run", (double)row->run);
    cJSON_AddStringToObject(line, "worker", row->worker);
    cJSON_AddStringToObject(line, "version", row->version);
    cJSON_AddStringToObject(line, "backend", row->backend);
    cJSON_AddStringToObject(line, "device", row->device);
    cJSON_AddStringToObject(line, "driver", row->driver);
    cJSON_AddStringToObject(line, "numerics_class", row->numerics_class);
    cJSON_AddStringToObject(line, "encoder", row->encoder);
    cJSON_AddStringToObject(line, "libraries", row->libraries);
    if (row->job > 0)
        cJSON_AddNumberToObject(line, "job", (double)row->job);
}

static void add_fit(cJSON *line, const struct compare_fit *fit)
{
    cJSON *place = cJSON_CreateObject();

    cJSON_AddNumberToObject(line, "correlation", fit->correlation);
    cJSON_AddNumberToObject(line, "difference", fit->difference);
    cJSON_AddStringToObject(place, "words", origin_place_of(fit).text);
    cJSON_AddNumberToObject(place, "x", fit->x);
    cJSON_AddNumberToObject(place, "y", fit->y);
    cJSON_AddNumberToObject(place, "scale_x", fit->scale_x);
    cJSON_AddNumberToObject(place, "scale_y", fit->scale_y);
    cJSON_AddNumberToObject(place, "shows", fit->shows);
    cJSON_AddNumberToObject(place, "covers", fit->covers);
    cJSON_AddItemToObject(line, "place", place);
}

static void add_credentials(cJSON *line, const struct c2pa_finding *found)
{
    cJSON *object;

    if (found->verdict == C2PA_NONE)
        return;
    object = cJSON_AddObjectToObject(line, "credentials");
    cJSON_AddBoolToObject(object, "valid", found->verdict == C2PA_VALID);
    cJSON_AddBoolToObject(object, "trusted", found->trusted);
    cJSON_AddStringToObject(object, "signer", found->signer);
    if (*found->words)
        cJSON_AddStringToObject(object, "words", found->words);
    if (found->recipe.len > 0)
        cJSON_AddStringToObject(object, "recipe", found->recipe.text);
}

/* What the file says of itself. */
static void add_claims(cJSON *line, const struct origin *origin)
{
    const struct origin_claim *claim = &origin->claim;
    cJSON *object;

    add_credentials(line, &origin->credentials);
    if (!claim->is_made)
        return;
    object = cJSON_AddObjectToObject(line, "claim");
    cJSON_AddStringToObject(object, "recipe", claim->recipe.text);
    cJSON_AddBoolToObject(object, "refuted", claim->is_refuted);
    if (claim->is_refuted)
        add_fit(object, &claim->fit);
}

static void add_match(cJSON *line, const struct origin_match *match)
{
    struct digest key = digest_of(match->recipe.text, match->recipe.len);

    cJSON_AddStringToObject(line, "recipe", match->recipe.text);
    if (match->has_fit) {
        add_fit(line, &match->fit);
        cJSON_AddBoolToObject(line, "rendered", match->is_rendered);
    }
    if (match->why.code) {
        cJSON *why = cJSON_AddObjectToObject(line, "not_compared");

        cJSON_AddStringToObject(why, "code", err_info(match->why.code)->word);
        cJSON_AddStringToObject(why, "message", match->why.msg);
    }
    if (match->has_row)
        add_row(line, &match->row);
    else
        cJSON_AddStringToObject(line, "recipe_key", digest_hex(&key).text);
}

size_t origin_report_count(const struct origin *origin)
{
    return origin->count > 0 ? origin->count : 1;
}

struct cJSON *origin_report_object(const struct origin *origin, size_t index)
{
    const struct origin_match *match = index < origin->count ? &origin->matches[index] : NULL;
    cJSON *line = cJSON_CreateObject();

    cJSON_AddStringToObject(line, "grade",
                            origin_grade_name(match ? match->grade : ORIGIN_NO_RECORD));
    if (match)
        add_match(line, match);
    add_claims(line, origin);
    return line;
}
