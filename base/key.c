#include "base/key.h"

#include "base/file.h"
#include "base/link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX_BYTES = 4096, PATH_MAX_BYTES = 1024, KEY_LEN = KEY_SIZE - 1 };

bool key_is_valid(const char *text, size_t len)
{
    char copy[KEY_SIZE];

    if (len != KEY_LEN || memchr(text, '\0', len))
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    return link_curve_is_key(copy);
}

enum err_code key_pair_create(struct key_pair *out, struct err *e)
{
    if (!link_curve_pair(out->public_key, out->secret_key))
        return err_set(e, ERR_UNSUPPORTED, "%s was built without encryption (CURVE)",
                       link_library());
    return ERR_OK;
}

void key_pair_wipe(struct key_pair *self)
{
    explicit_bzero(self, sizeof *self);
}

/* ---- reading ---- */

/* The value of the line "word VALUE"; false: there is none, or it is no key. */
static bool find_line(const char *text, const char *word, char out[KEY_SIZE])
{
    size_t word_len = strlen(word);

    for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
        const char *at = text + word_len;
        size_t len;

        if (strncmp(text, word, word_len) != 0 || (*at != ' ' && *at != '\t'))
            continue;
        at += strspn(at, " \t");
        len = strcspn(at, " \t\r\n");
        if (!key_is_valid(at, len))
            return false;
        memcpy(out, at, len);
        out[len] = '\0';
        return true;
    }
    return false;
}

static enum err_code check_mode(const char *path, struct err *e)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return err_set(e, ERR_FILE, "could not open key file \"%.120s\": %s", path,
                       strerror(errno));
    if (st.st_mode & 077)
        return err_set(e, ERR_FILE,
                       "key file \"%.100s\" is open to others (mode %04o): chmod 600 it", path,
                       (unsigned)(st.st_mode & 07777));
    return ERR_OK;
}

static void free_wiped(uint8_t *data, size_t len)
{
    if (data)
        explicit_bzero(data, len);
    free(data);
}

enum err_code key_pair_read(const char *path, struct key_pair *out, struct err *e)
{
    char derived[KEY_SIZE];
    uint8_t *data = NULL;
    size_t len = 0;
    enum err_code rc = check_mode(path, e);

    if (!rc)
        rc = file_read(path, FILE_MAX_BYTES, &data, &len, e);
    if (!rc && (!find_line((const char *)data, "public", out->public_key) ||
                !find_line((const char *)data, "secret", out->secret_key)))
        rc = err_set(e, ERR_FILE,
                     "key file \"%.100s\" needs a line \"public\" and a line \"secret\" with 40 "
                     "characters of Z85 each",
                     path);
    if (!rc && (!link_curve_public(out->secret_key, derived) ||
                strcmp(derived, out->public_key) != 0))
        rc = err_set(e, ERR_FILE, "key file \"%.100s\" has halves of two different keys", path);
    free_wiped(data, len);
    if (rc)
        key_pair_wipe(out);
    return rc;
}

enum err_code key_find_public(const char *text, char out[KEY_SIZE], struct err *e)
{
    uint8_t *data;
    size_t len = strlen(text);
    enum err_code rc;

    if (key_is_valid(text, len)) {
        memcpy(out, text, len + 1);
        return ERR_OK;
    }
    rc = file_read(text, FILE_MAX_BYTES, &data, &len, e);
    if (rc)
        return rc;
    if (!find_line((const char *)data, "public", out))
        rc = err_set(e, ERR_FILE,
                     "\"%.100s\" needs a line \"public\" with 40 characters of Z85", text);
    free_wiped(data, len);
    return rc;
}

enum err_code key_find_both(const char *key_file, const char *broker_key, struct key_pair *own,
                            char broker[KEY_SIZE], bool *has, struct err *e)
{
    bool has_own = key_file && *key_file, has_broker = broker_key && *broker_key;
    enum err_code rc;

    *has = false;
    if (!has_own && !has_broker)
        return ERR_OK;
    if (!has_broker)
        return err_set(e, ERR_INVALID, "a key file needs the broker's key (broker_key) too");
    if (!has_own)
        return err_set(e, ERR_INVALID, "a broker's key needs a key of one's own (key_file) too");
    rc = key_pair_read(key_file, own, e);
    if (!rc)
        rc = key_find_public(broker_key, broker, e);
    *has = !rc;
    return rc;
}

/* ---- writing ---- */

static enum err_code write_new(const char *path, mode_t mode, const char *text, struct err *e)
{
    size_t len = strlen(text);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    bool good;

    if (fd < 0 && errno == EEXIST)
        return err_set(e, ERR_FILE, "\"%.120s\" is there already, and keys are not overwritten",
                       path);
    if (fd < 0)
        return err_set(e, ERR_FILE, "could not write \"%.120s\": %s", path, strerror(errno));
    good = write(fd, text, len) == (ssize_t)len && fsync(fd) == 0;
    good &= close(fd) == 0;
    if (good)
        return ERR_OK;
    unlink(path);
    return err_set(e, ERR_FILE, "could not write \"%.120s\": %s", path, strerror(errno));
}

enum err_code key_pair_write(const struct key_pair *self, const char *base, const char *name,
                             struct err *e)
{
    char secret_path[PATH_MAX_BYTES], public_path[PATH_MAX_BYTES], text[512];
    enum err_code rc;

    if ((size_t)snprintf(secret_path, sizeof secret_path, "%s.key", base) >= sizeof secret_path)
        return err_set(e, ERR_INVALID, "path \"%.80s...\" is too long", base);
    snprintf(public_path, sizeof public_path, "%.*s.pub", PATH_MAX_BYTES - 8, base);
    snprintf(text, sizeof text,
             "# seedpress key \"%.64s\": for its owner alone\npublic %s\nsecret %s\n", name,
             self->public_key, self->secret_key);
    rc = write_new(secret_path, 0600, text, e);
    explicit_bzero(text, sizeof text);
    if (rc)
        return rc;
    snprintf(text, sizeof text, "# seedpress key \"%.64s\": for everybody\npublic %s\n", name,
             self->public_key);
    rc = write_new(public_path, 0644, text, e);
    if (rc)
        unlink(secret_path);
    return rc;
}
