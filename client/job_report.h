/* job_report -- a bulk job for people and programs: a page, a row, a line of progress, an
 * object. */
#ifndef CLIENT_JOB_REPORT_H
#define CLIENT_JOB_REPORT_H

#include "client/seedpress.h"

#include <stdint.h>
#include <stdio.h>

enum { JOB_REPORT_SAMPLES = 64 };

/* How fast it goes, out of what was seen of it: over the last minute or so. All zero: nothing
 * yet. */
struct job_pace {
    struct job_pace_sample {
        int64_t at_ms, ended;       /* monotonic; items with a row or a failure */
    } samples[JOB_REPORT_SAMPLES];
    size_t count;                   /* ever seen; the newest JOB_REPORT_SAMPLES are held */
};
void job_pace_note(struct job_pace *self, const struct seedpress_job *job, int64_t now_ms);
/* Items a second; 0: not known yet, or it stands. */
double job_pace_rate(const struct job_pace *self);

/* "running", "waiting for exporter", "paused", "cancelled", "done". */
const char *job_report_state(const struct seedpress_job *job);
/* "1.5 GB"; 1 GB is 10^9 bytes. */
struct job_report_bytes {
    char text[32];
};
struct job_report_bytes job_report_bytes_of(double bytes);

void job_report_page(FILE *out, const struct seedpress_job *job);
void job_report_head(FILE *out);                /* of the rows that follow */
void job_report_row(FILE *out, const struct seedpress_job *job);
/* Without LF; with a bar for a terminal. */
enum job_report_style { JOB_REPORT_PLAIN, JOB_REPORT_BAR };
void job_report_progress(FILE *out, enum job_report_style style, const struct seedpress_job *job,
                         const struct job_pace *pace);
/* The caller's to print or delete; pace NULL: without a rate. */
struct cJSON *job_report_object(const struct seedpress_job *job, const struct job_pace *pace);

#endif
