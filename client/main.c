/* seedpress -- the command. Takes the global options out, wherever they stand, finds the command in
 * the table and hands the rest to it. */
#include "client/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_BROKER "tcp://127.0.0.1:7701"

static const struct command COMMANDS[] = {
    { "generate", "make pictures through the broker", cmd_generate_help, cmd_generate_run },
    { "render", "make pictures from a model file, without a broker", cmd_render_help,
      cmd_render_run },
    { "bulk", "jobs of many pictures, made while nobody waits", cmd_bulk_help, cmd_bulk_run },
    { "provenance", "where a picture came from", cmd_provenance_help, cmd_provenance_run },
    { "verify", "render a picture's recipe again and compare", cmd_verify_help, cmd_verify_run },
    { "model", "list models, bind names to them, look into a file", cmd_model_help, cmd_model_run },
    { "status", "what the broker has to do, and its workers", cmd_status_help, cmd_status_run },
    { "bench", "load a broker, and measure its answers", cmd_bench_help, cmd_bench_run },
    { "withdraw", "take a picture back for ever", cmd_withdraw_help, cmd_withdraw_run },
    { "ledger", "the database behind the brokers", cmd_ledger_help, cmd_ledger_run },
    { "keygen", "make a pair of keys, and its line for a keyring", cmd_keygen_help,
      cmd_keygen_run },
};
enum { COMMAND_COUNT = sizeof COMMANDS / sizeof COMMANDS[0] };

/* Help of a command's words that have their own. */
static const struct {
    const char *command, *word, *help;
} WORDS[] = {
    { "bulk", "export", cmd_bulk_export_help },
};
enum { WORD_COUNT = sizeof WORDS / sizeof WORDS[0] };

static const char HELP_HEAD[] =
    "seedpress - pictures from StyleGAN models, each named by (model, seed, psi)\n"
    "\n"
    "usage: seedpress [GLOBAL OPTIONS] COMMAND [OPTIONS]\n"
    "\n"
    "commands:\n";
static const char HELP_TAIL[] =
    "\n"
    "global options, before or after the command:\n"
    "  --broker ENDPOINT  where the broker is; default: $SEEDPRESS_BROKER, else\n"
    "                     " DEFAULT_BROKER "\n"
    "  --key-file FILE    your key (see seedpress keygen --help); default:\n"
    "                     $SEEDPRESS_KEY_FILE, else none: connections stay plain\n"
    "  --broker-key KEY   the broker's public key, or the path of its .pub file; default:\n"
    "                     $SEEDPRESS_BROKER_KEY\n"
    "  --json             one JSON object a line on standard output; errors as\n"
    "                     {\"error\":{\"code\":..,\"message\":..}} on standard error\n"
    "  --help             this page, or that of the command\n"
    "  --version          the version\n"
    "\n"
    "examples:\n"
    "  seedpress generate --model avatars64 --seeds 0-99 --psi 0.7 -o pictures\n"
    "  seedpress provenance pictures/seed0000.jpg\n"
    "  seedpress verify pictures/seed0000.jpg\n"
    "  seedpress render --model-file avatars64.safetensors --seed 42 --psi 0.7 -o 42.jpg\n"
    "  seedpress render --model-file avatars64.safetensors --seeds 0-99 -o pictures\n"
    "  seedpress model inspect avatars64.safetensors\n"
    "  seedpress render --help\n"
    "\n"
    "exit codes: 0 ok; 1 the answer is no; 2 usage; 3 partly done; 4 refused now, try\n"
    "again; 5 cannot reach; 6 not allowed; 7 bad or unwritable file; 70 bug; 130 interrupted\n";

/* Set by the handler below and by nothing else; commands see it through their context. */
static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = number;
}

/* The first signal asks for an orderly end; the handler then goes, so that a second one ends the
 * program at once. */
static void watch_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };

    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

struct globals {
    struct command_context ctx;
    bool help, version;
    const char *lacks_value;        /* an option that ends the line; NULL: none */
};

/* The option with its value at argv[*i], as "--name VALUE" or "--name=VALUE". */
static bool take_value(struct globals *globals, const char *name, int *i, int argc, char **argv,
                       const char **value)
{
    size_t len = strlen(name);

    if (strncmp(argv[*i], name, len) != 0 || (argv[*i][len] != '\0' && argv[*i][len] != '='))
        return false;
    if (argv[*i][len] == '=') {
        *value = argv[*i] + len + 1;
        return true;
    }
    if (*i + 1 == argc)
        globals->lacks_value = name;
    *value = argv[++*i];
    return true;
}

/* Takes the global options out of argv, in place, and gives the new argc. Behind "--" nothing is an
 * option. */
static int take_globals(struct globals *globals, int argc, char **argv)
{
    int kept = 1;

    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];

        if (strcmp(arg, "--") == 0) {
            while (i < argc)
                argv[kept++] = argv[i++];
        } else if (strcmp(arg, "--json") == 0) {
            globals->ctx.json = true;
        } else if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            globals->help = true;
        } else if (strcmp(arg, "--version") == 0) {
            globals->version = true;
        } else if (!take_value(globals, "--broker", &i, argc, argv, &globals->ctx.broker) &&
                   !take_value(globals, "--key-file", &i, argc, argv, &globals->ctx.key_file) &&
                   !take_value(globals, "--broker-key", &i, argc, argv,
                               &globals->ctx.broker_key)) {
            argv[kept++] = argv[i];
        }
    }
    argv[kept] = NULL;
    return kept;
}

static void print_help(FILE *to)
{
    fputs(HELP_HEAD, to);
    for (int i = 0; i < COMMAND_COUNT; i++)
        fprintf(to, "  %-10s %s\n", COMMANDS[i].name, COMMANDS[i].summary);
    fputs(HELP_TAIL, to);
}

static const struct command *find_command(const char *name)
{
    for (int i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(COMMANDS[i].name, name) == 0)
            return &COMMANDS[i];
    return NULL;
}

static const char *find_help(const struct command *command, const char *word)
{
    for (int i = 0; word && i < WORD_COUNT; i++)
        if (strcmp(WORDS[i].command, command->name) == 0 && strcmp(WORDS[i].word, word) == 0)
            return WORDS[i].help;
    return command->help;
}

static int refuse_command(const struct command_context *ctx, const char *name)
{
    char known[160] = "";
    size_t len = 0;

    if (name[0] == '-')
        return command_usage(ctx, "", "unknown option %s", name);
    for (int i = 0; i < COMMAND_COUNT && len < sizeof known; i++)
        len += (size_t)snprintf(known + len, sizeof known - len, "%s%s", i ? ", " : "",
                                COMMANDS[i].name);
    return command_usage(ctx, "", "unknown command \"%.40s\"; known: %s", name, known);
}

static int run(const struct globals *globals, int argc, char **argv)
{
    const struct command_context *ctx = &globals->ctx;
    const struct command *command = argc > 1 ? find_command(argv[1]) : NULL;

    if (globals->version) {
        puts("seedpress " SEEDPRESS_VERSION);
        return EXIT_OK;
    }
    if (globals->help && (command || argc == 1)) {
        if (command)
            fputs(find_help(command, argc > 2 ? argv[2] : NULL), stdout);
        else
            print_help(stdout);
        return EXIT_OK;
    }
    if (globals->lacks_value)
        return command_usage(ctx, "", "option %s needs a value", globals->lacks_value);
    if (argc == 1) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (!command)
        return refuse_command(ctx, argv[1]);
    return command->run(ctx, argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
    const char *broker = getenv("SEEDPRESS_BROKER");
    struct globals globals = {
        .ctx = { .broker = broker && *broker ? broker : DEFAULT_BROKER,
                 .interrupted = &interrupted },
    };
    struct err e;
    int code;

    if (argc < 1)                    /* a caller may give no name at all */
        return EXIT_USAGE;
    watch_signals();
    argc = take_globals(&globals, argc, argv);
    if (globals.ctx.json)            /* who reads objects from a pipe wants each when it is there */
        setvbuf(stdout, NULL, _IOLBF, 0);
    code = run(&globals, argc, argv);
    /* What was printed is part of the answer: a full disk behind it must not look like success. */
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == EXIT_OK) {
        err_set(&e, ERR_FILE, "could not write to standard output");
        code = command_fail(&globals.ctx, &e);
    }
    return code;
}
