/* Where pictures came from, and whether their recipes make them. What is asked of a file takes
 * long, and runs at a desk of its own; look-ups have another. */
#include "client/gateway/desk.h"
#include "client/gateway/gateway.h"
#include "client/gateway/routes.h"
#include "client/origin.h"
#include "client/origin_report.h"
#include "client/verdict.h"

#include <cjson/cJSON.h>
#include <string.h>

enum { LIMIT_DEFAULT = 10, MATCHES_MAX = 10 };

static struct response *make_answer(struct cJSON *json)
{
    struct response *response = response_json(200, json);

    response_header(response, "Cache-Control", "no-store");
    return response;
}

/* The lines that the command prints. */
static void add_lines(struct cJSON *top, const char *name, const struct origin *origin)
{
    struct cJSON *list = cJSON_AddArrayToObject(top, name);

    for (size_t i = 0; i < origin_report_count(origin); i++)
        cJSON_AddItemToArray(list, origin_report_object(origin, i));
}

/* ---- POST /v1/verify ---- */

static struct response *verify(struct desk_seat *seat, struct visit *visit)
{
    struct seedpress *sp = desk_handle(seat);
    struct seedpress_error error;
    struct response *response;
    struct verdict verdict;
    size_t len;
    const void *file = visit_body(visit, &len);

    verdict_init(&verdict, file, len);
    verdict.go_on = desk_goes_on;
    verdict.arg = seat;
    verdict.visitor = visit_visitor(visit);
    if (verdict_find(&verdict, sp, &error) ||
        (verdict.found && verdict_render(&verdict, sp, &error))) {
        response = response_error(&error);
    } else {
        verdict_conclude(&verdict);
        response = make_answer(verdict_object(&verdict));
    }
    verdict_release(&verdict);
    return response;
}

/* Says what is wrong with a visit that sends a file, before it waits for anything. */
static enum err_code check_file(const struct visit *visit, const char *const *names, size_t count,
                                struct err *e)
{
    enum err_code rc = url_check_params(visit_url(visit), names, count, e);
    size_t len;

    visit_body(visit, &len);
    if (!rc && len == 0)
        rc = err_set(e, ERR_INVALID, "the body is empty; send the picture's file as it is");
    return rc;
}

void route_verify(struct gateway *gateway, struct visit *visit)
{
    struct err e;

    if (check_file(visit, NULL, 0, &e))
        visit_refuse(visit, &e);
    else if (gateway_admit(gateway, visit))
        desk_hand(gateway->proofs, visit, verify);
}

/* ---- POST /v1/provenance ---- */

static bool goes_on(void *seat, size_t done, size_t count)
{
    (void)done;
    (void)count;
    return desk_goes_on(seat);
}

static enum err_code read_limit(const struct url *url, int64_t max, int *out, struct err *e)
{
    int64_t limit = LIMIT_DEFAULT;
    enum err_code rc = permalink_read_number(url, "limit", 1, max, &limit, e);

    *out = (int)limit;
    return rc;
}

static struct response *grade(struct desk_seat *seat, struct visit *visit)
{
    struct origin_search search = { .sp = desk_handle(seat), .name = "this file",
                                    .visitor = visit_visitor(visit), .go_on = goes_on,
                                    .arg = seat };
    struct seedpress_error error;
    struct response *response;
    struct origin origin;
    struct cJSON *top;
    struct err e;
    size_t len;
    const void *file = visit_body(visit, &len);

    if (read_limit(visit_url(visit), MATCHES_MAX, &search.limit, &e))
        return response_refuse(&e);
    if (origin_find(&search, file, len, &origin, &error)) {
        response = response_error(&error);
    } else {
        top = cJSON_CreateObject();
        cJSON_AddStringToObject(top, "grade", origin_grade_name(origin.grade));
        add_lines(top, "matches", &origin);
        response = make_answer(top);
    }
    origin_release(&origin);
    return response;
}

void route_grade(struct gateway *gateway, struct visit *visit)
{
    static const char *const NAMES[] = { "limit" };
    struct err e;

    if (check_file(visit, NAMES, sizeof NAMES / sizeof NAMES[0], &e))
        visit_refuse(visit, &e);
    else if (gateway_admit(gateway, visit))
        desk_hand(gateway->proofs, visit, grade);
}

/* ---- GET /v1/provenance ---- */

static enum err_code check_hash(const char *name, const char *text, struct err *e)
{
    struct digest digest;

    if (!text || digest_parse(text, strlen(text), &digest))
        return ERR_OK;
    return err_set(e, ERR_INVALID, "%s needs 64 hex digits in lower case", name);
}

static enum err_code read_query(const struct url *url, struct seedpress_query *out, struct err *e)
{
    static const char *const NAMES[] = { "seed", "model", "psi", "sha256", "recipe", "limit" };
    int64_t seed = 0, psi = 0;
    enum err_code rc;

    *out = (struct seedpress_query){ .sha256 = url_param(url, "sha256"),
                                     .recipe_key = url_param(url, "recipe"),
                                     .model = url_param(url, "model"),
                                     .has_seed = url_param(url, "seed"),
                                     .has_psi = url_param(url, "psi") };
    if ((rc = url_check_params(url, NAMES, sizeof NAMES / sizeof NAMES[0], e)) ||
        (rc = permalink_read_number(url, "seed", 0, UINT32_MAX, &seed, e)) ||
        (rc = permalink_read_psi(url, "psi", &psi, e)) ||
        (rc = read_limit(url, SEEDPRESS_ROWS_MAX, &out->limit, e)) ||
        (rc = check_hash("sha256", out->sha256, e)) ||
        (rc = check_hash("recipe", out->recipe_key, e)))
        return rc;
    if (!!out->sha256 + !!out->recipe_key + out->has_seed != 1)
        return err_set(e, ERR_INVALID, "of what? Say one of seed, sha256 and recipe");
    if (!out->has_seed && (out->model || out->has_psi))
        return err_set(e, ERR_INVALID, "model and psi go with seed");
    out->seed = (uint32_t)seed;
    out->psi = (double)psi / PERMALINK_PSI;
    return ERR_OK;
}

static struct response *look_up(struct desk_seat *seat, struct visit *visit)
{
    struct seedpress_query query;
    struct seedpress_error error;
    struct response *response;
    struct origin origin;
    struct cJSON *top;
    struct err e;

    if (read_query(visit_url(visit), &query, &e))
        return response_refuse(&e);
    if (origin_look_up(desk_handle(seat), &query, &origin, &error)) {
        response = response_error(&error);
    } else {
        top = cJSON_CreateObject();
        add_lines(top, "rows", &origin);
        response = make_answer(top);
    }
    origin_release(&origin);
    return response;
}

void route_provenance(struct gateway *gateway, struct visit *visit)
{
    struct seedpress_query query;
    struct err e;

    if (read_query(visit_url(visit), &query, &e))
        visit_refuse(visit, &e);
    else if (gateway_admit(gateway, visit))
        desk_hand(gateway->look_ups, visit, look_up);
}
