/* status -- what a broker has to do and who does it. */
#include "client/command.h"

#include "base/clock.h"
#include "client/contact.h"
#include "client/report.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char cmd_status_help[] =
    "seedpress status - what the broker has to do, and its workers\n"
    "\n"
    "usage: seedpress status [--watch] [--interval S]\n"
    "\n"
    "  --watch       again and again, with rates, until it is interrupted: a page that\n"
    "                redraws itself on a terminal, elsewhere a line each time; with\n"
    "                --json an object each time\n"
    "  --interval S  seconds between two, 0.1..3600; default: 1\n"
    "\n"
    "A line of --watch holds the queue as high/normal/low, and the wait before a\n"
    "picture's turn in the last minute: half of them, all but one in a hundred.\n"
    "\n"
    "examples:\n"
    "  seedpress status\n"
    "  seedpress --json status --watch --interval 10\n";

enum { MILLIONTHS_A_MS = 1000, INTERVAL_MS = 1000, INTERVAL_MIN_MS = 100,
       INTERVAL_MAX_MS = 3600000, SLICE_MS = 500 };

/* A screen of its own, so that what was there is there again afterwards; no cursor, no line that
 * wraps and moves the next ones down. */
#define SCREEN_BEGIN "\033[?1049h\033[?25l\033[?7l"
#define SCREEN_END   "\033[?7h\033[?25h\033[?1049l"
#define SCREEN_HOME  "\033[H"
#define LINE_END     "\033[K\n"
#define REST_END     "\033[J"

enum style { STYLE_PAGE, STYLE_LINE, STYLE_SCREEN };

/* Over what stands there: nothing flickers, and nothing of the last page is left. */
static void draw(const char *page)
{
    fputs(SCREEN_HOME, stdout);
    for (const char *nl; (nl = strchr(page, '\n')); page = nl + 1)
        printf("%.*s" LINE_END, (int)(nl - page), page);
    fputs(REST_END, stdout);
}

static void show_screen(const struct command_context *ctx, const struct seedpress_status *status,
                        const struct report *before)
{
    char *page = NULL;
    size_t len;
    FILE *out = open_memstream(&page, &len);

    if (!out)
        return;
    report_page(out, ctx->broker, status, before);
    if (fclose(out) == 0)
        draw(page);
    free(page);
}

static int show(const struct command_context *ctx, struct seedpress *sp, enum style style,
                struct report *before)
{
    struct seedpress_status status;
    struct seedpress_error error;

    if (seedpress_status(sp, &status, &error)) {
        if (style == STYLE_SCREEN)
            fputs(SCREEN_HOME REST_END, stdout);     /* what it said is no longer true */
        fflush(stdout);
        return contact_fail(ctx, &error);
    }
    if (ctx->json)
        report_json(&status, before);
    else if (style == STYLE_SCREEN)
        show_screen(ctx, &status, before);
    else if (style == STYLE_LINE)
        report_line(stdout, &status, before);
    else
        report_page(stdout, ctx->broker, &status, before);
    fflush(stdout);
    report_keep(before, &status);
    return EXIT_OK;
}

/* In slices: a signal that comes just before one is seen after it. */
static void pause_until(const struct command_context *ctx, int64_t until_ms)
{
    for (int64_t left_ms; !*ctx->interrupted && (left_ms = until_ms - clock_ms()) > 0;)
        contact_pause(left_ms < SLICE_MS ? left_ms : SLICE_MS);
}

/* A broker that is away for a while is said, and waited for. */
static int watch(const struct command_context *ctx, struct seedpress *sp, int64_t interval_ms)
{
    enum style style = !ctx->json && isatty(STDOUT_FILENO) ? STYLE_SCREEN : STYLE_LINE;
    struct report before = { .workers = NULL };

    if (style == STYLE_SCREEN)
        fputs(SCREEN_BEGIN, stdout);
    while (!*ctx->interrupted && !ferror(stdout)) {
        int64_t from_ms = clock_ms();

        show(ctx, sp, style, &before);
        pause_until(ctx, from_ms + interval_ms);
    }
    if (style == STYLE_SCREEN)
        fputs(SCREEN_END, stdout);
    fflush(stdout);
    report_release(&before);
    return err_info(ERR_CANCELLED)->exit_code;
}

static int read_interval(const struct command_context *ctx, const char *text, int64_t *out)
{
    int64_t millionths;
    struct err e;

    if (command_read_millionths("--interval", text, &millionths, &e))
        return command_fail(ctx, &e);
    *out = millionths / MILLIONTHS_A_MS;
    if (*out < INTERVAL_MIN_MS || *out > INTERVAL_MAX_MS)
        return command_usage(ctx, "status", "--interval %.20s is out of range: 0.1..3600 s", text);
    return EXIT_OK;
}

int cmd_status_run(const struct command_context *ctx, int argc, char **argv)
{
    static const struct option OPTIONS[] = {
        { "watch", no_argument, NULL, 'w' },
        { "interval", required_argument, NULL, 'i' },
        { NULL, 0, NULL, 0 },
    };
    struct report none = { .workers = NULL };
    struct seedpress *sp = NULL;
    int64_t interval_ms = INTERVAL_MS;
    bool is_watched = false;
    int opt, code;

    optind = 0;                      /* glibc: begin anew, also after another command line */
    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":", OPTIONS, NULL)) != -1) {
        if (opt == 'w')
            is_watched = true;
        else if (opt != 'i')
            return command_bad_option(ctx, argv, opt);
        else if ((code = read_interval(ctx, optarg, &interval_ms)))
            return code;
    }
    if (optind < argc)
        return command_usage(ctx, argv[0], "unexpected argument \"%.40s\"", argv[optind]);
    code = contact_open(ctx, &sp);
    if (!code)
        code = is_watched ? watch(ctx, sp, interval_ms) : show(ctx, sp, STYLE_PAGE, &none);
    report_release(&none);
    seedpress_destroy(&sp);
    return code;
}
