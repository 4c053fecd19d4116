#include "client/command.h"

#include "proto/number.h"

#include <cjson/cJSON.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* {"error":{"code":..,"message":..}}; by cJSON, because words repeat what users typed. */
static void print_error_object(const struct err *e)
{
    cJSON *root = cJSON_CreateObject();
    cJSON *error = cJSON_AddObjectToObject(root, "error");
    char *line;

    cJSON_AddStringToObject(error, "code", err_info(e->code)->word);
    cJSON_AddStringToObject(error, "message", e->msg);
    line = cJSON_PrintUnformatted(root);
    fprintf(stderr, "%s\n", line ? line : "{\"error\":{\"code\":\"no_memory\"}}");
    cJSON_free(line);
    cJSON_Delete(root);
}

int command_fail(const struct command_context *ctx, const struct err *e)
{
    if (ctx->json)
        print_error_object(e);
    else
        fprintf(stderr, "seedpress: %s\n", e->msg);
    return err_info(e->code)->exit_code;
}

enum err_code command_blame_file(struct err *e)
{
    if (e->code == ERR_INVALID || e->code == ERR_RANGE || e->code == ERR_UNSUPPORTED)
        e->code = ERR_FILE;
    return e->code;
}

int command_usage(const struct command_context *ctx, const char *command, const char *fmt, ...)
{
    struct err e = { .code = ERR_INVALID };
    va_list args;

    va_start(args, fmt);
    vsnprintf(e.msg, sizeof e.msg, fmt, args);
    va_end(args);
    command_fail(ctx, &e);
    if (!ctx->json)
        fprintf(stderr, "try: seedpress %s%s--help\n", command, *command ? " " : "");
    return EXIT_USAGE;
}

int command_bad_option(const struct command_context *ctx, char **argv, int opt)
{
    const char *text = argv[optind - 1];

    if (opt == ':')
        return command_usage(ctx, argv[0], "option %s needs a value", text);
    if (optopt > ' ' && optopt < 0x7f)   /* one letter of several, as in -xyz, may be meant */
        return command_usage(ctx, argv[0], "unknown option -%c", optopt);
    return command_usage(ctx, argv[0], "unknown option %s", text);
}

int command_run_word(const struct command_context *ctx, const struct command_word *words,
                     size_t count, int argc, char **argv)
{
    char known[120] = "";
    size_t len = 0;

    for (size_t i = 0; i < count; i++)
        if (argc > 1 && strcmp(argv[1], words[i].name) == 0) {
            argv[1] = argv[0];
            return words[i].run(ctx, argc - 1, argv + 1);
        }
    for (size_t i = 0; i < count && len < sizeof known; i++)
        len += (size_t)snprintf(known + len, sizeof known - len, "%s%s", i ? ", " : "",
                                words[i].name);
    if (argc == 1)
        return command_usage(ctx, argv[0], "%s does what? One of: %s", argv[0], known);
    return command_usage(ctx, argv[0], "unknown word \"%.40s\" after %s; known: %s", argv[1],
                         argv[0], known);
}

bool command_read_options(const struct command_context *ctx, int argc, char **argv,
                          const struct option *options, command_take *take, void *out, int *code)
{
    struct err e;
    int opt;

    *code = EXIT_OK;
    optind = 0;                      /* glibc: begin anew, also after another command line */
    opterr = 0;
    while (!*code && (opt = getopt_long(argc, argv, ":", options, NULL)) != -1)
        if (opt == '?' || opt == ':')
            *code = command_bad_option(ctx, argv, opt);
        else if (take(out, opt, &e))
            *code = command_usage(ctx, argv[0], "%s", e.msg);
    return *code == EXIT_OK;
}

void command_warn(const struct command_context *ctx, const char *words)
{
    if (ctx->json) {
        cJSON *root = cJSON_CreateObject();
        char *line;

        cJSON_AddStringToObject(root, "warning", words);
        line = cJSON_PrintUnformatted(root);
        if (line)
            fprintf(stderr, "%s\n", line);
        cJSON_free(line);
        cJSON_Delete(root);
    } else {
        fprintf(stderr, "seedpress: warning: %s\n", words);
    }
}

void command_print(struct cJSON *take_object)
{
    char *line = cJSON_PrintUnformatted(take_object);

    if (line)
        puts(line);
    fflush(stdout);                  /* who reads a pipe sees each line when it is true */
    cJSON_free(line);
    cJSON_Delete(take_object);
}

enum err_code command_read_whole(const char *option, const char *text, int64_t min, int64_t max,
                                 int64_t *out, struct err *e)
{
    int64_t v;

    if (!number_parse(text, strlen(text), &v))
        return err_set(e, ERR_INVALID, "%s needs a whole number, not \"%.40s\"", option, text);
    if (v < min || v > max)
        return err_set(e, ERR_RANGE, "%s %" PRId64 " is out of range: %" PRId64 "..%" PRId64,
                       option, v, min, max);
    *out = v;
    return ERR_OK;
}

enum err_code command_read_int(const char *option, const char *text, int min, int max, int *out,
                               struct err *e)
{
    int64_t v;
    enum err_code rc = command_read_whole(option, text, min, max, &v, e);

    if (!rc)
        *out = (int)v;
    return rc;
}

enum err_code command_read_millionths(const char *option, const char *text, int64_t *out,
                                      struct err *e)
{
    if (!number_parse_millionths(text, strlen(text), out))
        return err_set(e, ERR_INVALID,
                       "%s needs a number with at most six places, such as 0.7, not \"%.40s\"",
                       option, text);
    return ERR_OK;
}

enum err_code command_read_word(const char *option, const char *text, const char *const *words,
                                int *out, struct err *e)
{
    char known[80] = "";
    size_t len = 0;

    for (int i = 0; words[i]; i++) {
        if (strcmp(words[i], text) == 0) {
            *out = i;
            return ERR_OK;
        }
        len += (size_t)snprintf(known + len, sizeof known - len, "%s%s", i ? ", " : "", words[i]);
    }
    return err_set(e, ERR_INVALID, "%s is one of %s, not \"%.40s\"", option, known, text);
}
