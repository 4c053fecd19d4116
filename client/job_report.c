#include "client/job_report.h"

#include "client/progress.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <string.h>

enum { PACE_MS = 60000, BAR_CELLS = 24,
       EXPORTER_GONE_MS = 15000 };  /* it gives a sign of life every 5 s */

static const char *const STATES[] = { "running", "paused", "cancelled", "done" };
static const char *const KEEPS[] = { "image", "provenance" };
static const char *const PRIORITIES[] = { "high", "normal", "low" };

static int64_t ended_of(const struct seedpress_job *job)
{
    return job->done + job->failed;
}

/* ---- pace ---- */

void job_pace_note(struct job_pace *self, const struct seedpress_job *job, int64_t now_ms)
{
    self->samples[self->count++ % JOB_REPORT_SAMPLES] =
        (struct job_pace_sample){ now_ms, ended_of(job) };
}

/* Items are counted by the chunk: over a few seconds there would be none, or a thousand. */
double job_pace_rate(const struct job_pace *self)
{
    size_t held = self->count < JOB_REPORT_SAMPLES ? self->count : JOB_REPORT_SAMPLES;
    const struct job_pace_sample *last, *from;

    if (held < 2)
        return 0;
    last = from = &self->samples[(self->count - 1) % JOB_REPORT_SAMPLES];
    for (size_t i = 2; i <= held; i++) {
        const struct job_pace_sample *s = &self->samples[(self->count - i) % JOB_REPORT_SAMPLES];

        if (last->at_ms - s->at_ms > PACE_MS)
            break;
        from = s;
    }
    if (last->at_ms <= from->at_ms || last->ended <= from->ended)
        return 0;
    return (double)(last->ended - from->ended) * 1000 / (double)(last->at_ms - from->at_ms);
}

static bool lacks_exporter(const struct seedpress_job *job)
{
    return job->keep == SEEDPRESS_KEEP_PROVENANCE && job->state == SEEDPRESS_BULK_RUNNING &&
           (job->exporter_ms < 0 || job->exporter_ms > EXPORTER_GONE_MS);
}

/* Seconds till the end by what was seen, else by what the workers say; -1: unknown, or it
 * stands. */
static int64_t left_s(const struct seedpress_job *job, double rate)
{
    double left = (double)(job->total - ended_of(job));

    if (job->state != SEEDPRESS_BULK_RUNNING || lacks_exporter(job))
        return -1;
    if (rate > 0)
        return (int64_t)(left / rate + 0.5);
    return job->picture_us > 0 ? (int64_t)(left * (double)job->picture_us / 1e6 + 0.5) : -1;
}

/* ---- words ---- */

const char *job_report_state(const struct seedpress_job *job)
{
    return lacks_exporter(job) ? "waiting for exporter" : STATES[job->state];
}

struct job_report_bytes job_report_bytes_of(double bytes)
{
    static const char *const UNITS[] = { "bytes", "kB", "MB", "GB", "TB", "PB" };
    struct job_report_bytes out;
    size_t unit = 0;

    for (; bytes >= 1000 && unit + 1 < sizeof UNITS / sizeof UNITS[0]; unit++)
        bytes /= 1000;
    snprintf(out.text, sizeof out.text, unit ? "%.1f %s" : "%.0f %s", bytes, UNITS[unit]);
    return out;
}

static double percent(const struct seedpress_job *job)
{
    return job->total > 0 ? (double)ended_of(job) * 100 / (double)job->total : 0;
}

void job_report_page(FILE *out, const struct seedpress_job *job)
{
    int64_t left = left_s(job, 0);

    fprintf(out, "%-12s%" PRId64 " %s, %s\n", "job", job->job, job->name, job_report_state(job));
    fprintf(out, "%-12s%" PRId64 " of %" PRId64 " (%.1f %%)", "pictures", job->done, job->total,
            percent(job));
    if (job->failed > 0)
        fprintf(out, ", %" PRId64 " failed", job->failed);
    if (job->rendering > 0)
        fprintf(out, ", %" PRId64 " being made", job->rendering);
    fprintf(out, "\n%-12s%s, priority %s, %d a chunk\n", "keeps",
            job->keep == SEEDPRESS_KEEP_IMAGE ? "files and provenance"
                                              : "provenance; files go to an exporter",
            PRIORITIES[job->priority], job->chunk);
    if (left >= 0) {
        fprintf(out, "%-12s", "left");
        progress_print_duration(out, left);
        fputs(", by what the workers that are there take\n", out);
    }
    fprintf(out, "%-12s%s\n", "submitted", job->created);
    if (*job->finished)
        fprintf(out, "%-12s%s\n", "finished", job->finished);
}

void job_report_head(FILE *out)
{
    fprintf(out, "%6s  %-20s  %23s  %8s  %s\n", "job", "state", "done", "failed", "name");
}

void job_report_row(FILE *out, const struct seedpress_job *job)
{
    char done[48];

    snprintf(done, sizeof done, "%" PRId64 " of %" PRId64, job->done, job->total);
    fprintf(out, "%6" PRId64 "  %-20s  %23s  %8" PRId64 "  %s\n", job->job, job_report_state(job),
            done, job->failed, job->name);
}

static void print_bar(FILE *out, const struct seedpress_job *job)
{
    int full = (int)(percent(job) * BAR_CELLS / 100);

    fputc('[', out);
    for (int i = 0; i < BAR_CELLS; i++)
        fputc(i < full ? '#' : '-', out);
    fputs("] ", out);
}

void job_report_progress(FILE *out, enum job_report_style style, const struct seedpress_job *job,
                         const struct job_pace *pace)
{
    double rate = job_pace_rate(pace);
    int64_t left = left_s(job, rate);

    if (style == JOB_REPORT_BAR)
        print_bar(out, job);
    fprintf(out, "%" PRId64 " of %" PRId64 " pictures (%.1f %%)", ended_of(job), job->total,
            percent(job));
    if (rate > 0)
        fprintf(out, ", %.1f/s", rate);
    if (left >= 0) {
        fputs(", ", out);
        progress_print_duration(out, left);
        fputs(" left", out);
    }
    if (job->failed > 0)
        fprintf(out, ", %" PRId64 " failed", job->failed);
    if (strcmp(job_report_state(job), STATES[SEEDPRESS_BULK_RUNNING]) != 0)
        fprintf(out, ", %s", job_report_state(job));
}

/* ---- an object ---- */

/* What is not known is null. */
static void add_known(cJSON *object, const char *name, int64_t value, bool is_known)
{
    if (is_known)
        cJSON_AddNumberToObject(object, name, (double)value);
    else
        cJSON_AddNullToObject(object, name);
}

cJSON *job_report_object(const struct seedpress_job *job, const struct job_pace *pace)
{
    cJSON *o = cJSON_CreateObject();
    double rate = pace ? job_pace_rate(pace) : 0;
    int64_t left = left_s(job, rate);

    cJSON_AddNumberToObject(o, "job", (double)job->job);
    cJSON_AddStringToObject(o, "name", job->name);
    cJSON_AddStringToObject(o, "state", STATES[job->state]);
    cJSON_AddBoolToObject(o, "waiting_for_exporter", lacks_exporter(job));
    cJSON_AddStringToObject(o, "keep", KEEPS[job->keep]);
    cJSON_AddStringToObject(o, "priority", PRIORITIES[job->priority]);
    cJSON_AddNumberToObject(o, "chunk", job->chunk);
    cJSON_AddNumberToObject(o, "total", (double)job->total);
    cJSON_AddNumberToObject(o, "done", (double)job->done);
    cJSON_AddNumberToObject(o, "failed", (double)job->failed);
    cJSON_AddNumberToObject(o, "rendering", (double)job->rendering);
    add_known(o, "exporter_ms", job->exporter_ms, job->exporter_ms >= 0);
    add_known(o, "picture_us", job->picture_us, job->picture_us > 0);
    add_known(o, "picture_bytes", job->picture_bytes, job->picture_bytes > 0);
    if (rate > 0)
        cJSON_AddNumberToObject(o, "per_s", rate);
    add_known(o, "left_s", left, left >= 0);
    cJSON_AddStringToObject(o, "created", job->created);
    if (*job->finished)
        cJSON_AddStringToObject(o, "finished", job->finished);
    return o;
}
