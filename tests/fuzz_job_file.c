/* Any bytes as a job file: what is read is written as a text that says the same again, and its
 * seeds add up. */
#include "client/job_file.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_sums(const struct job_file *job)
{
    uint64_t total = 0;

    if (job->part_count == 0 || job->part_count > SEEDPRESS_PARTS_MAX)
        abort();
    for (size_t i = 0; i < job->part_count; i++) {
        if (job->parts[i].first > job->parts[i].last)
            abort();
        total += (uint64_t)job->parts[i].last - job->parts[i].first + 1;
    }
    if (total != job->total)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct job_file job, again;
    char *text, *second;
    struct err e = { 0 };

    if (job_file_parse((const char *)data, len, &job, &e)) {
        if ((e.code != ERR_INVALID && e.code != ERR_RANGE && e.code != ERR_NOMEM) || job.parts)
            abort();
        return 0;
    }
    check_sums(&job);
    if (job_file_name(&job, &e) || job_file_text(&job, &text, &e))
        return 0;                    /* no memory */
    if (job_file_parse(text, strlen(text), &again, &e) || job_file_text(&again, &second, &e) ||
        strcmp(text, second) != 0)
        abort();
    free(text);
    free(second);
    job_file_release(&job);
    job_file_release(&again);
    return 0;
}
