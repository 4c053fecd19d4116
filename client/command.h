/* command -- what the subcommands of `seedpress` have in common. A new one is a file cmd_<name>.c
 * with a run function and a help text, declared below, and a row in COMMANDS[] of main.c. */
#ifndef CLIENT_COMMAND_H
#define CLIENT_COMMAND_H

#include "proto/err.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EXIT_OK = 0, EXIT_NO = 1, EXIT_USAGE = 2, EXIT_PARTLY = 3 };   /* the rest: err_info() */

struct command_context {
    const char *broker;             /* endpoint: --broker, SEEDPRESS_BROKER or the default */
    const char *key_file, *broker_key;      /* as seedpress_options has them; NULL: not given */
    bool json;                      /* NDJSON on stdout, an error object on stderr */
    const volatile sig_atomic_t *interrupted;   /* not 0 after SIGINT or SIGTERM: stop in order */
};

/* argv[0] is the command's name; the global options are taken out. Gives the exit code. */
typedef int command_run(const struct command_context *ctx, int argc, char **argv);

struct command {
    const char *name;
    const char *summary;            /* one line of `seedpress --help` */
    const char *help;               /* all of `seedpress NAME --help`, ends in LF */
    command_run *run;
};

command_run cmd_bench_run, cmd_bulk_run, cmd_generate_run, cmd_keygen_run, cmd_ledger_run,
    cmd_model_run, cmd_provenance_run, cmd_render_run, cmd_status_run, cmd_verify_run,
    cmd_withdraw_run;
extern const char cmd_bench_help[], cmd_bulk_help[], cmd_generate_help[], cmd_keygen_help[],
    cmd_ledger_help[], cmd_model_help[], cmd_provenance_help[], cmd_render_help[],
    cmd_status_help[], cmd_verify_help[], cmd_withdraw_help[];

/* What `bulk` hands to files of their own: argv[0] is "submit", "export". */
command_run cmd_bulk_submit_run, cmd_bulk_export_run;
extern const char cmd_bulk_export_help[];

/* The words after a command, such as `list` in `model list`. argv[0] stays the command's name, so
 * that errors point to its help. */
struct command_word {
    const char *name;
    command_run *run;
};
int command_run_word(const struct command_context *ctx, const struct command_word *words,
                     size_t count, int argc, char **argv);

/* Reads a command line of long options; take is given each one, with optarg. Afterwards optind is
 * where the arguments begin. False: something was wrong and was said, *code is the exit code. */
struct option;
typedef enum err_code command_take(void *out, int opt, struct err *e);
bool command_read_options(const struct command_context *ctx, int argc, char **argv,
                          const struct option *options, command_take *take, void *out, int *code);

/* Says e on stderr, as "seedpress: words" or {"error":{"code":...,"message":...}}, and gives its
 * exit code: `return command_fail(ctx, &e);` */
int command_fail(const struct command_context *ctx, const struct err *e);

/* To the engine a malformed or strange model file is invalid input; to a command it is the file
 * that is bad, not the command line: such a code becomes ERR_FILE, in e too. e holds what failed. */
enum err_code command_blame_file(struct err *e);

/* The same as command_fail for a command line that cannot be meant so; points to the help of
 * command. */
int command_usage(const struct command_context *ctx, const char *command, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* What getopt_long's '?' or ':' is about; opterr is 0 and the short options begin with ':'. */
int command_bad_option(const struct command_context *ctx, char **argv, int opt);

/* Something the user should know, though all goes on. */
void command_warn(const struct command_context *ctx, const char *words);

/* A line of NDJSON on standard output. The object is cJSON's; NULL (no memory) prints nothing. */
struct cJSON;
void command_print(struct cJSON *take_object);

/* Values of options; e names the option, as in "--batch". ERR_INVALID, ERR_RANGE. */
enum err_code command_read_whole(const char *option, const char *text, int64_t min, int64_t max,
                                 int64_t *out, struct err *e);
enum err_code command_read_int(const char *option, const char *text, int min, int max, int *out,
                               struct err *e);
enum err_code command_read_millionths(const char *option, const char *text, int64_t *out,
                                      struct err *e);
/* *out is the index of text in words, which end in NULL. */
enum err_code command_read_word(const char *option, const char *text, const char *const *words,
                                int *out, struct err *e);

#endif
