/* keygen -- a pair of keys, and the line that lets it in. */
#include "client/command.h"

#include "base/key.h"
#include "base/keyring.h"

#include <cjson/cJSON.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

const char cmd_keygen_help[] =
    "seedpress keygen - make a pair of keys, and its line for a keyring\n"
    "\n"
    "usage: seedpress keygen NAME [--role ROLE] [-o FOLDER]\n"
    "\n"
    "Writes NAME.key, which is yours alone (mode 0600), and NAME.pub, which is for everybody, and\n"
    "prints the line that the broker's keyring needs. Nothing is overwritten. A broker's own pair\n"
    "needs no line and no role.\n"
    "\n"
    "  --role ROLE    client (default): asks for pictures; proxy: may also name for whom;\n"
    "                 worker: makes pictures; admin: may also bind models to names\n"
    "  -o FOLDER      where the files go; default: here\n"
    "\n"
    "examples:\n"
    "  seedpress keygen broker -o /etc/seedpress\n"
    "  seedpress keygen alice >> /etc/seedpress/keyring\n"
    "  seedpress keygen gpu-1 --role worker >> /etc/seedpress/keyring\n"
    "  kill -HUP $BROKER_PID               # it reads the keyring again\n"
    "  seedpress --key-file alice.key --broker-key broker.pub status\n";

struct wish {
    const char *name, *folder;
    enum keyring_role role;
};

static int read_wish(const struct command_context *ctx, int argc, char **argv, struct wish *wish)
{
    static const struct option OPTIONS[] = { { "role", required_argument, NULL, 'r' },
                                             { "output", required_argument, NULL, 'o' },
                                             { NULL, 0, NULL, 0 } };
    int opt;

    *wish = (struct wish){ NULL, ".", KEYRING_CLIENT };
    optind = 0;
    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":o:", OPTIONS, NULL)) != -1)
        if (opt == 'o')
            wish->folder = optarg;
        else if (opt != 'r')
            return command_bad_option(ctx, argv, opt);
        else if ((wish->role = keyring_role_of_word(optarg, strlen(optarg))) == KEYRING_NONE)
            return command_usage(ctx, argv[0], "--role is client, proxy, worker or admin, not "
                                               "\"%.40s\"", optarg);
    if (argc - optind != 1)
        return command_usage(ctx, argv[0], argc == optind ? "a pair of keys needs a name"
                                                          : "one name at a time");
    wish->name = argv[optind];
    for (const char *at = wish->name; *at; at++)
        if ((unsigned char)*at <= ' ' || (unsigned char)*at >= 0x7f || *at == '/')
            return command_usage(ctx, argv[0], "name \"%.40s\" has blanks, '/' or bytes that are "
                                               "not printable ASCII", wish->name);
    if (strlen(wish->name) == 0 || strlen(wish->name) >= KEYRING_NAME_MAX)
        return command_usage(ctx, argv[0], "a name has 1 to %d characters", KEYRING_NAME_MAX - 1);
    return EXIT_OK;
}

static void print_made(const struct command_context *ctx, const struct wish *wish,
                       const char *base, const char *public_key)
{
    char line[160], path[1100];
    cJSON *out;

    snprintf(line, sizeof line, "%-6s %s %s", keyring_role_word(wish->role), public_key,
             wish->name);
    if (!ctx->json) {
        puts(line);
        fprintf(stderr, "wrote %s.key and %s.pub; the line above goes into the broker's keyring\n",
                base, base);
        return;
    }
    out = cJSON_CreateObject();
    cJSON_AddStringToObject(out, "name", wish->name);
    cJSON_AddStringToObject(out, "role", keyring_role_word(wish->role));
    cJSON_AddStringToObject(out, "public_key", public_key);
    snprintf(path, sizeof path, "%s.key", base);
    cJSON_AddStringToObject(out, "key_file", path);
    snprintf(path, sizeof path, "%s.pub", base);
    cJSON_AddStringToObject(out, "public_file", path);
    cJSON_AddStringToObject(out, "keyring_line", line);
    command_print(out);
}

int cmd_keygen_run(const struct command_context *ctx, int argc, char **argv)
{
    char base[1000];
    struct key_pair pair;
    struct wish wish;
    struct err e;
    int code = read_wish(ctx, argc, argv, &wish);

    if (code)
        return code;
    if ((size_t)snprintf(base, sizeof base, "%s/%s", wish.folder, wish.name) >= sizeof base)
        return command_usage(ctx, argv[0], "folder \"%.80s...\" is too long", wish.folder);
    if (key_pair_create(&pair, &e))
        return command_fail(ctx, &e);
    if (key_pair_write(&pair, base, wish.name, &e))
        code = command_fail(ctx, &e);
    else
        print_made(ctx, &wish, base, pair.public_key);
    key_pair_wipe(&pair);
    return code;
}
