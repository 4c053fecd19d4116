#include "tests/gpu/check.h"

#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORDS_MAX = 400, LINE_MAX_BYTES = 700, MISSES_MAX = 60 };

static const char REPORT[] = "SEEDPRESS_CHECK_REPORT";  /* a descriptor: what a part tells its parent */
static const char TAP[] = "SEEDPRESS_CHECK_TAP";
static const char SCALE[] = "SEEDPRESS_CHECK_SCALE";
static const char OFF[] = "SEEDPRESS_CUDA_OFF";
static const char *const SCALES[] = { "full", "short", "tiny" };

/* Of the part that runs in this process. */
static struct {
    const char *part;
    int report;                     /* -1: nobody listens */
    int rows;                       /* checks and skips so far */
} here = { .part = "", .report = -1 };

/* ---- What a part asks ---- */

bool check_is_emulated(void)
{
#ifdef CHECK_EMULATED
    return true;
#else
    return false;
#endif
}

enum check_scale check_scale(void)
{
    const char *word = getenv(SCALE);

    for (int i = CHECK_FULL; word && i <= CHECK_TINY; i++)
        if (strcmp(word, SCALES[i]) == 0)
            return (enum check_scale)i;
#ifdef __SANITIZE_ADDRESS__
    return CHECK_TINY;
#endif
    return check_is_emulated() ? CHECK_SHORT : CHECK_FULL;
}

static bool is_tap(void)
{
    return getenv(TAP) != NULL;
}

/* ---- Rows ---- */

/* A line for the parent: "held", "missed <the row>", "skipped", "off <path>". */
static void report(const char *word, const char *text)
{
    char line[LINE_MAX_BYTES];
    int len = snprintf(line, sizeof line, "%s %s", word, text);

    len = len < (int)sizeof line ? len : (int)sizeof line - 1;
    for (int i = 0; i < len; i++)
        if (line[i] == '\n')
            line[i] = ' ';
    line[len++] = '\n';
    if (here.report >= 0 && write(here.report, line, (size_t)len) != len)
        _exit(1);                   /* the parent is gone */
}

/* One line: the verdict, the words, and what was measured. */
static int row(bool holds, const char *measured, const char *words, va_list args)
{
    char text[WORDS_MAX], line[LINE_MAX_BYTES];

    vsnprintf(text, sizeof text, words, args);
    if (is_tap())
        snprintf(line, sizeof line, "%s%s%s", text, *measured ? "  " : "", measured);
    else
        snprintf(line, sizeof line, *measured ? "%-62s %s" : "%s", text, measured);
    if (is_tap())
        printf("%s - %s: %s\n", holds ? "ok" : "not ok", here.part, line);
    else
        printf("  %s  %s\n", holds ? "ok  " : "MISS", line);
    fflush(stdout);
    report(holds ? "held" : "missed", holds ? "" : line);
    here.rows++;
    return !holds;
}

int check_within(double error, double tolerance, const char *words, ...)
{
    char measured[96];
    va_list args;
    int missed;

    snprintf(measured, sizeof measured, "error %.3g, at most %.3g", error, tolerance);
    va_start(args, words);
    missed = row(error <= tolerance, measured, words, args);
    va_end(args);
    return missed;
}

int check_at_least(double value, double least, const char *words, ...)
{
    char measured[96];
    va_list args;
    int missed;

    snprintf(measured, sizeof measured, "%.4g, at least %.4g", value, least);
    va_start(args, words);
    missed = row(value >= least, measured, words, args);
    va_end(args);
    return missed;
}

int check_same(const void *got, const void *expect, size_t bytes, const char *words, ...)
{
    const unsigned char *a = got, *b = expect;
    char measured[96] = "";
    size_t first = 0, others = 0;
    va_list args;
    int missed;

    for (size_t i = bytes; i-- > 0;)
        if (a[i] != b[i]) {
            first = i;
            others++;
        }
    if (others)
        snprintf(measured, sizeof measured, "%zu of %zu bytes differ, the first at %zu", others,
                 bytes, first);
    va_start(args, words);
    missed = row(others == 0, measured, words, args);
    va_end(args);
    return missed;
}

int check_that(bool holds, const char *words, ...)
{
    va_list args;
    int missed;

    va_start(args, words);
    missed = row(holds, "", words, args);
    va_end(args);
    return missed;
}

int check_no_error(int code, const char *message, const char *words, ...)
{
    va_list args;
    int missed;

    va_start(args, words);
    missed = row(code == 0, code == 0 ? "" : message, words, args);
    va_end(args);
    return missed;
}

void check_note(const char *words, ...)
{
    va_list args;

    va_start(args, words);
    fputs(is_tap() ? "# " : "        ", stdout);
    vprintf(words, args);
    putchar('\n');
    fflush(stdout);
    va_end(args);
}

void check_skip(const char *words, ...)
{
    char text[WORDS_MAX];
    va_list args;

    va_start(args, words);
    vsnprintf(text, sizeof text, words, args);
    va_end(args);
    printf(is_tap() ? "# skipped: %s\n" : "  skip  %s\n", text);
    fflush(stdout);
    report("skipped", "");
    here.rows++;
}

void check_switch_off(const char *path)
{
    report("off", path);
    check_note("%s is switched off for the parts that follow", path);
}

double check_max_error(const float *got, const float *expect, size_t count)
{
    double worst = 0.0;

    for (size_t i = 0; i < count; i++) {
        double d = fabs((double)got[i] - (double)expect[i]);

        if (!(d <= worst))          /* a NaN becomes the worst and stays it */
            worst = d;
        if (isnan(worst))
            return worst;
    }
    return worst;
}

double check_peak(const float *values, size_t count)
{
    double peak = 0.0;

    for (size_t i = 0; i < count; i++)
        peak = fmax(peak, fabs((double)values[i]));
    return peak;
}

/* ---- Parts in processes ---- */

struct tally {
    int checks, misses, skips, exit_status;     /* the last one of the part: 0, 1 or 2 */
    double seconds;
};

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void switch_off(const char *path)
{
    const char *before = getenv(OFF);
    char text[WORDS_MAX];

    snprintf(text, sizeof text, "%s%s%s", before ? before : "", before ? "," : "", path);
    setenv(OFF, text, 1);
}

/* Said again at the end: a long run's rows are far up by then. */
static struct {
    char line[MISSES_MAX][LINE_MAX_BYTES];
    int count;
} missed;

static void remember_miss(const char *part, const char *words)
{
    if (missed.count < MISSES_MAX)
        snprintf(missed.line[missed.count], sizeof missed.line[0], "%s: %s", part, words);
    missed.count++;
}

static void hear(const char *part, struct tally *tally, const char *line)
{
    if (strncmp(line, "held ", 5) == 0) {
        tally->checks++;
    } else if (strncmp(line, "missed ", 7) == 0) {
        tally->checks++;
        tally->misses++;
        remember_miss(part, line + 7);
    } else if (strncmp(line, "skipped ", 8) == 0) {
        tally->skips++;
    } else if (strncmp(line, "off ", 4) == 0) {
        switch_off(line + 4);
    }
}

/* Reads what the part says until it ends; false when the deadline came first. */
static bool listen_to(const char *part, int fd, double deadline_s, struct tally *tally)
{
    char text[4096];
    size_t len = 0;

    for (;;) {
        double left_s = deadline_s - now_s();
        struct pollfd ready = { .fd = fd, .events = POLLIN };

        if (left_s <= 0)
            return false;
        if (poll(&ready, 1, (int)(left_s * 1000) + 1) <= 0)
            continue;
        ssize_t got = read(fd, text + len, sizeof text - 1 - len);

        if (got <= 0)
            return true;
        len += (size_t)got;
        text[len] = '\0';
        char *from = text;

        for (char *end; (end = strchr(from, '\n')); from = end + 1) {
            *end = '\0';
            hear(part, tally, from);
        }
        len = strlen(from);
        memmove(text, from, len + 1);
    }
}

/* A miss of the part as a whole. */
static void part_missed(const char *part, const char *words, struct tally *tally)
{
    printf(is_tap() ? "not ok - %s: %s\n" : "  MISS  %s %s\n", part, words);
    fflush(stdout);
    tally->misses++;
    remember_miss(part, words);
}

static pid_t start(const char *part, int pipe_ends[2])
{
    pid_t pid = fork();
    char number[16];

    if (pid != 0)
        return pid;
    setpgid(0, 0);                  /* so that what the part starts ends with it */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(pipe_ends[0]);
    snprintf(number, sizeof number, "%d", pipe_ends[1]);
    setenv(REPORT, number, 1);
    execl("/proc/self/exe", "check", "--part", part, (char *)NULL);
    _exit(127);
}

static void judge(const char *part, int status, struct tally *tally)
{
    char words[96];

    tally->exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (WIFSIGNALED(status))
        snprintf(words, sizeof words, "died of signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else if (tally->exit_status == 2)
        snprintf(words, sizeof words, "found no device");
    else if (tally->exit_status != 0 && tally->misses == 0)
        snprintf(words, sizeof words, "ended with status %d", tally->exit_status);
    else if (tally->checks + tally->skips == 0)
        snprintf(words, sizeof words, "checked nothing");
    else
        return;
    part_missed(part, words, tally);
}

static struct tally run_part(const struct check_part *part, int limit_s)
{
    struct tally tally = { 0 };
    int pipe_ends[2], status = 0;
    double from_s = now_s();
    pid_t pid;

    if (is_tap())
        printf("# %s: %s\n", part->name, part->words);
    else
        printf("\n== %s: %s (at most %d s)\n", part->name, part->words, limit_s);
    fflush(stdout);
    if (pipe(pipe_ends) != 0 || (pid = start(part->name, pipe_ends)) < 0) {
        part_missed(part->name, "could not be started", &tally);
        return tally;
    }
    close(pipe_ends[1]);
    if (listen_to(part->name, pipe_ends[0], from_s + limit_s, &tally)) {
        /* A part that has closed its pipe and still does not end is a hang as well. */
        while (waitpid(pid, &status, WNOHANG) == 0 && now_s() < from_s + limit_s)
            poll(NULL, 0, 10);
    }
    close(pipe_ends[0]);
    if (waitpid(pid, &status, WNOHANG) == 0) {
        char words[64];

        kill(-pid, SIGKILL);
        kill(pid, SIGKILL);         /* when it had no time to make a group of its own */
        waitpid(pid, &status, 0);
        snprintf(words, sizeof words, "was stopped after its %d s", limit_s);
        part_missed(part->name, words, &tally);
    } else {
        kill(-pid, SIGKILL);        /* what it left behind */
        judge(part->name, status, &tally);
    }
    tally.seconds = now_s() - from_s;
    return tally;
}

/* In this process, for the parent above, for a debugger or for compute-sanitizer. */
static int run_here(const struct check_part *part)
{
    const char *report_to = getenv(REPORT);

    here.part = part->name;
    if (report_to) {
        here.report = (int)strtol(report_to, NULL, 10);
        fcntl(here.report, F_SETFD, FD_CLOEXEC);
        unsetenv(REPORT);
    }
    return part->run() != 0;
}

static const struct check_part *find(const struct check_part *parts, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(parts[i].name, name) == 0 && parts[i].run)
            return &parts[i];
    fprintf(stderr, "check: no part \"%s\" in this build\n", name);
    exit(2);
}

/* What a part may take: its own limit, but no more than is left of the whole. */
static int limit_of(const struct check_part *part, double until_s)
{
    int own_s = check_is_emulated() || part->limit_s == 0 ? CHECK_EMULATED_LIMIT_S : part->limit_s;
    double left_s = until_s - now_s();

    return left_s < own_s ? (int)left_s : own_s;
}

static int run_all(const struct check_part *parts, int count, char *const *names, int named,
                   int total_s)
{
    const char *mark = is_tap() ? "# " : "";
    struct tally sum = { 0 };
    double from_s = now_s();
    char table[8192] = "";
    size_t len = 0;

    for (int i = 0; i < (named ? named : count); i++) {
        const struct check_part *part = named ? find(parts, count, names[i]) : &parts[i];

        if (!part->run || (!named && part->limit_s == 0))
            continue;
        struct tally t = run_part(part, limit_of(part, from_s + total_s));

        sum.checks += t.checks;
        sum.misses += t.misses;
        sum.skips += t.skips;
        len += (size_t)snprintf(table + len, sizeof table - len,
                                "%s%-16s %6d checks %5d missed %4d skipped %7.1f s\n", mark,
                                part->name, t.checks, t.misses, t.skips, t.seconds);
        if (len >= sizeof table)
            len = sizeof table - 1;
    }
    printf("\n%s", table);
    for (int i = 0; i < missed.count && i < MISSES_MAX; i++)
        printf("%smissed %s\n", mark, missed.line[i]);
    printf("%scheck: %d checks, %d missed, %d skipped, %.1f s\n", mark, sum.checks, sum.misses,
           sum.skips, now_s() - from_s);
    return sum.misses != 0;
}

static int usage(void)
{
    fprintf(stderr, "usage: check [--tap] [--scale full|short|tiny] [--total SECONDS] [--list] "
                    "[PART...]\n"
                    "       check [--tap] [--scale ...] --part PART\n");
    return 2;
}

int check_main(int argc, char **argv, const struct check_part *parts, int count)
{
    int at = 1, total_s = 24 * 60 * 60;

    for (; at < argc && strncmp(argv[at], "--", 2) == 0; at++) {
        if (strcmp(argv[at], "--tap") == 0) {
            setenv(TAP, "1", 1);
        } else if (strcmp(argv[at], "--scale") == 0 && at + 1 < argc) {
            setenv(SCALE, argv[++at], 1);
        } else if (strcmp(argv[at], "--total") == 0 && at + 1 < argc) {
            total_s = (int)strtol(argv[++at], NULL, 10);
        } else if (strcmp(argv[at], "--list") == 0) {
            for (int i = 0; i < count; i++)
                if (parts[i].run)
                    printf("%-16s %4d s  %s\n", parts[i].name, parts[i].limit_s, parts[i].words);
            return 0;
        } else if (strcmp(argv[at], "--part") == 0 && at + 2 == argc) {
            return run_here(find(parts, count, argv[at + 1]));
        } else {
            return usage();
        }
    }
    return run_all(parts, count, argv + at, argc - at, total_s);
}
