#include "base/settings.h"

#include "proto/number.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <ini.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum origin { FROM_DEFAULT, FROM_FILE, FROM_ENVIRONMENT, FROM_FLAG };
/* getopt_long gives a row's flag back as FLAG_ROW + row, beyond every character that means
 * something to it. */
enum { KEY_MAX = 64, FLAG_HELP = 0x1000, FLAG_VERSION, FLAG_PRINT, FLAG_CONFIG, FLAG_ROW = 0x2000 };

struct value {
    int64_t number;
    char *text;                     /* owned */
    enum origin origin;
};

struct settings {
    const struct setting *table;    /* borrowed, [rows] */
    size_t rows;
    struct value value[];           /* [rows], in table order */
};

/* where: the flag, variable or line that text came from, for the error. */
static enum err_code set_value(struct settings *self, size_t row, const char *text,
                               enum origin origin, const char *where, struct err *e)
{
    const struct setting *s = &self->table[row];
    struct value *v = &self->value[row];
    int64_t number = 0;

    if (s->kind == SETTING_INT) {
        if (!number_parse(text, strlen(text), &number))
            return err_set(e, ERR_INVALID, "%s needs a whole number, not \"%.60s\"", where, text);
        if (number < s->min || number > s->max)
            return err_set(e, ERR_RANGE, "%s is out of range: %" PRId64 "..%" PRId64, where, s->min,
                           s->max);
    } else if (strlen(text) > (size_t)s->max)
        return err_set(e, ERR_RANGE, "%s is too long: at most %" PRId64 " bytes", where, s->max);
    char *copy = strdup(text);

    if (!copy)
        return err_set(e, ERR_NOMEM, "no memory for %s", where);
    free(v->text);
    *v = (struct value){ number, copy, origin };
    return ERR_OK;
}

static bool find_row(const struct settings *self, const char *key, size_t *row)
{
    for (size_t i = 0; i < self->rows; i++)
        if (strcmp(self->table[i].key, key) == 0) {
            *row = i;
            return true;
        }
    return false;
}

/* ---- the file ---- */

struct file_reader {
    struct settings *self;
    const char *path;
    FILE *file;
    int line;
    enum err_code rc;
    struct err *e;
};

/* inih's own reader cuts long lines in two and takes an indented line for more of the value above,
 * both without a word; this one does neither. */
static char *read_line(char *out, int cap, void *arg)
{
    struct file_reader *reader = arg;
    size_t blanks, len;

    if (reader->rc || !fgets(out, cap, reader->file))
        return NULL;
    reader->line++;
    len = strlen(out);
    if (len == (size_t)cap - 1 && out[len - 1] != '\n' && !feof(reader->file)) {
        reader->rc = err_set(reader->e, ERR_INVALID, "line %d of \"%.80s\" is too long: at most %d "
                                                     "bytes", reader->line, reader->path, cap - 2);
        return NULL;
    }
    blanks = strspn(out, " \t");
    memmove(out, out + blanks, len - blanks + 1);
    return out;
}

static int on_line(void *arg, const char *section, const char *key, const char *text)
{
    struct file_reader *reader = arg;
    char where[KEY_MAX + 160];
    size_t row;

    if (reader->rc)
        return 1;                   /* the first complaint is the one that is shown */
    snprintf(where, sizeof where, "\"%.60s\" in \"%.80s\"", key, reader->path);
    if (*section || !find_row(reader->self, key, &row))
        reader->rc = err_set(reader->e, ERR_INVALID, "unknown setting %s", where);
    else
        reader->rc = set_value(reader->self, row, text, FROM_FILE, where, reader->e);
    return 1;
}

static enum err_code read_config(struct settings *self, const char *path, struct err *e)
{
    struct file_reader reader = { .self = self, .path = path, .file = fopen(path, "re"), .e = e };
    int line;

    if (!reader.file)
        return err_set(e, ERR_FILE, "could not open \"%.120s\": %s", path, strerror(errno));
    line = ini_parse_stream(read_line, &reader, on_line, &reader);
    if (!reader.rc && ferror(reader.file))
        reader.rc = err_set(e, ERR_FILE, "could not read \"%.120s\"", path);
    fclose(reader.file);
    if (reader.rc)
        return reader.rc;
    if (line != 0)
        return err_set(e, ERR_INVALID, "line %d of \"%.120s\": expected key = value", line, path);
    return ERR_OK;
}

/* ---- environment and flags ---- */

static enum err_code read_environment(struct settings *self, struct err *e)
{
    enum err_code rc = ERR_OK;

    for (size_t row = 0; !rc && row < self->rows; row++) {
        char name[KEY_MAX + 16] = "SEEDPRESS_";
        size_t len = strlen(name);

        for (const char *k = self->table[row].key; *k && len < sizeof name - 1; k++)
            name[len++] = (char)toupper((unsigned char)*k);
        name[len] = '\0';
        const char *text = getenv(name);

        if (text)
            rc = set_value(self, row, text, FROM_ENVIRONMENT, name, e);
    }
    return rc;
}

static void flag_of(const char *key, char *out, size_t cap)
{
    size_t i = 0;

    for (; key[i] && i < cap - 1; i++)
        out[i] = key[i] == '_' ? '-' : key[i];
    out[i] = '\0';
}

static enum err_code refuse_flag(int got, char *const *argv, struct err *e)
{
    if (got == ':')
        return err_set(e, ERR_INVALID, "flag \"%.80s\" needs a value", argv[optind - 1]);
    if (optopt > 0 && optopt < FLAG_HELP)        /* a letter, perhaps one of several: "-xy" */
        return err_set(e, ERR_INVALID, "unknown flag \"-%c\"; see --help", optopt);
    return err_set(e, ERR_INVALID, "unknown flag \"%.80s\"; see --help", argv[optind - 1]);
}

/* Two passes over the same flags: the file's name and the action first, the values last, so that
 * flags beat everything wherever they stand. */
enum pass { PASS_CONFIG, PASS_VALUES };

static enum err_code read_flags(struct settings *self, int argc, char **argv, enum pass pass,
                                const char **config, enum settings_action *action, struct err *e)
{
    enum err_code rc = ERR_OK;
    char(*names)[KEY_MAX] = calloc(self->rows, sizeof *names);
    struct option *options = calloc(self->rows + 5, sizeof *options);
    int got, index;

    if (!names || !options) {
        rc = err_set(e, ERR_NOMEM, "no memory for %zu flags", self->rows);
        goto done;
    }
    for (size_t row = 0; row < self->rows; row++) {
        flag_of(self->table[row].key, names[row], sizeof names[row]);
        options[row] = (struct option){ names[row], required_argument, NULL,
                                         FLAG_ROW + (int)row };
    }
    options[self->rows] = (struct option){ "help", no_argument, NULL, FLAG_HELP };
    options[self->rows + 1] = (struct option){ "version", no_argument, NULL, FLAG_VERSION };
    options[self->rows + 2] = (struct option){ "print-config", no_argument, NULL, FLAG_PRINT };
    options[self->rows + 3] = (struct option){ "config", required_argument, NULL, FLAG_CONFIG };
    optind = 0;
    while (!rc && (got = getopt_long(argc, argv, ":", options, &index)) != -1) {
        char where[KEY_MAX + 4];

        if (got == '?' || got == ':')
            rc = refuse_flag(got, argv, e);
        else if (got == FLAG_HELP)
            *action = SETTINGS_HELP;
        else if (got == FLAG_VERSION)
            *action = SETTINGS_VERSION;
        else if (got == FLAG_PRINT)
            *action = SETTINGS_PRINT;
        else if (got == FLAG_CONFIG)
            *config = optarg;
        else if (pass == PASS_VALUES) {
            snprintf(where, sizeof where, "--%s", names[got - FLAG_ROW]);
            rc = set_value(self, (size_t)(got - FLAG_ROW), optarg, FROM_FLAG, where, e);
        }
    }
    if (!rc && optind < argc)
        rc = err_set(e, ERR_INVALID, "unexpected argument \"%.80s\"; see --help", argv[optind]);
done:
    free(options);
    free(names);
    return rc;
}

enum err_code settings_create(const struct setting *table, size_t rows, int argc, char **argv,
                              struct settings **out, enum settings_action *action, struct err *e)
{
    struct settings *self = calloc(1, sizeof *self + rows * sizeof self->value[0]);
    const char *config = NULL;
    enum err_code rc = ERR_OK;

    *out = NULL;
    *action = SETTINGS_RUN;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for %zu settings", rows);
    self->table = table;
    self->rows = rows;
    for (size_t row = 0; !rc && row < rows; row++) {
        char number[24];

        snprintf(number, sizeof number, "%" PRId64, table[row].def);
        rc = set_value(self, row, table[row].kind == SETTING_INT ? number : table[row].text,
                       FROM_DEFAULT, table[row].key, e);
    }
    if (!rc)
        rc = read_flags(self, argc, argv, PASS_CONFIG, &config, action, e);
    if (*action == SETTINGS_HELP || *action == SETTINGS_VERSION)
        goto done;                   /* answered whatever the file and the environment hold */
    if (!rc && config)
        rc = read_config(self, config, e);
    if (!rc)
        rc = read_environment(self, e);
    if (!rc)
        rc = read_flags(self, argc, argv, PASS_VALUES, &config, action, e);
done:
    if (rc)
        settings_destroy(&self);
    *out = self;
    return rc;
}

void settings_destroy(struct settings **self)
{
    for (size_t row = 0; *self && row < (*self)->rows; row++)
        free((*self)->value[row].text);
    free(*self);
    *self = NULL;
}

int64_t settings_int(const struct settings *self, size_t row)
{
    return self->value[row].number;
}

const char *settings_text(const struct settings *self, size_t row)
{
    return self->value[row].text;
}

void settings_print_help(const struct setting *table, size_t rows, const char *program, FILE *out)
{
    fprintf(out, "usage: %s [--key value ...]\n\n", program);
    for (size_t row = 0; row < rows; row++) {
        const struct setting *s = &table[row];
        char flag[KEY_MAX];

        flag_of(s->key, flag, sizeof flag);
        fprintf(out, "  --%-22s %s\n", flag, s->help);
        if (s->kind == SETTING_INT)
            fprintf(out, "    %-22s default %" PRId64 ", %" PRId64 "..%" PRId64 "\n", "", s->def,
                    s->min, s->max);
        else if (*s->text)
            fprintf(out, "    %-22s default \"%s\"\n", "", s->text);
    }
    fprintf(out,
            "  --%-22s lines \"key = value\", keys as the flags with _ for -, comments after ;\n"
            "  --%-22s shows every setting and where it comes from\n"
            "  --help, --version\n\n"
            "Environment: SEEDPRESS_<KEY>. A flag beats the environment, which beats the file.\n",
            "config FILE", "print-config");
}

void settings_print(const struct settings *self, FILE *out)
{
    static const char *const ORIGINS[] = { "default", "file", "environment", "flag" };

    for (size_t row = 0; row < self->rows; row++) {
        const struct value *v = &self->value[row];
        bool hidden = self->table[row].kind == SETTING_SECRET && *v->text;

        if (hidden)
            fprintf(out, "; %s is set and not shown, from: %s\n", self->table[row].key,
                    ORIGINS[v->origin]);
        else
            fprintf(out, "%s = %s    ; from: %s\n", self->table[row].key, v->text,
                    ORIGINS[v->origin]);
    }
}

int settings_main(const struct setting *table, size_t rows, const char *program, int argc,
                  char **argv,
                  enum err_code (*serve)(const struct settings *settings, struct err *e))
{
    enum settings_action action;
    struct settings *self;
    struct err e = { 0 };
    enum err_code rc = settings_create(table, rows, argc, argv, &self, &action, &e);

    if (!rc && action == SETTINGS_HELP)
        settings_print_help(table, rows, program, stdout);
    else if (!rc && action == SETTINGS_VERSION)
        printf("%s %s\n", program, SEEDPRESS_VERSION);
    else if (!rc && action == SETTINGS_PRINT)
        settings_print(self, stdout);
    else if (!rc)
        rc = serve(self, &e);
    if (rc)
        fprintf(stderr, "%s: %s\n", program, e.msg);
    settings_destroy(&self);
    return err_info(rc)->exit_code;
}
