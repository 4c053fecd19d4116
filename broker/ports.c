#include "broker/ports.h"

#include "base/key.h"
#include "base/log.h"
#include "proto/message.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

enum {
    DESCRIPTORS_OF_OURS = 64,       /* the ledger, logs, libzmq's own */
    PORTS = 2,
    HEARTBEAT_MS = 5000,            /* three without a word: the machine is gone */
};

/* Every connection is a descriptor. */
size_t ports_raise_limit(size_t connections_max)
{
    struct rlimit limit;
    size_t fit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return connections_max;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max == RLIM_INFINITY ||
        limit.rlim_max >= PORTS * connections_max + DESCRIPTORS_OF_OURS)
        return connections_max;
    fit = limit.rlim_max > DESCRIPTORS_OF_OURS + PORTS
              ? (size_t)(limit.rlim_max - DESCRIPTORS_OF_OURS) / PORTS
              : 1;
    log_event(LOG_WARN, "descriptors_few", "limit=%llu connections_max=%zu now=%zu "
              "hint=\"raise the limit of open files (ulimit -Hn, LimitNOFILE)\"",
              (unsigned long long)limit.rlim_max, connections_max, fit);
    return fit;
}

static enum err_code read_mode(const char *text, int *mode, struct err *e)
{
    size_t len = strlen(text);

    *mode = 0;
    for (size_t i = 0; i < len; i++)
        *mode = *mode * 8 + (text[i] - '0');
    if (len < 3 || len > 4 || strspn(text, "01234567") != len || *mode > 0777 || *mode == 0)
        return err_set(e, ERR_INVALID, "ipc_mode \"%.20s\" is no file mode such as 0660", text);
    return ERR_OK;
}

static enum err_code open_keyring(struct ports *self, const struct ports_options *o,
                                  struct key_pair *own, struct err *e)
{
    bool has_key = *o->key_file, has_ring = *o->keyring;
    enum err_code rc;

    if (!has_key && !has_ring)
        return ERR_OK;
    if (!has_key || !has_ring)
        return err_set(e, ERR_INVALID, "key_file and keyring go together: \"%s\" is missing",
                       has_key ? "keyring" : "key_file");
    rc = key_pair_read(o->key_file, own, e);
    return rc ? rc : keyring_create(o->keyring, &self->keyring, e);
}

static enum err_code open_links(struct ports *self, const struct ports_options *o, int ipc_mode,
                                const struct key_pair *own, struct err *e)
{
    struct link_curve curve = { .public_key = own->public_key, .secret_key = own->secret_key };
    struct link_options client_side = {
        .kind = LINK_ROUTER, .send_hwm = 8, .frame_max = MESSAGE_MAP_MAX, .linger_ms = 2000,
        .allow_plain = o->allow_plain, .watch = true, .curve = self->keyring ? &curve : NULL,
        .gate = self->gate, .domain = LINK_CLIENTS, .handshake_ms = o->handshake_ms,
        .heartbeat_ms = HEARTBEAT_MS, .ipc_mode = ipc_mode,
    };
    struct link_options worker_side = client_side;
    enum err_code rc;

    worker_side.send_hwm = 0;
    worker_side.frame_max = MESSAGE_IMAGE_MAX;
    worker_side.linger_ms = 500;
    worker_side.domain = LINK_WORKERS;
    rc = link_create(self->context, &client_side, &self->clients, e);
    return rc ? rc : link_create(self->context, &worker_side, &self->workers, e);
}

enum err_code ports_open(struct ports *self, const struct ports_options *o,
                         struct ports_memory *memory, struct err *e)
{
    struct link_gate_options gate = { .allow_plain = o->allow_plain,
                                      .connections_max = o->connections_max,
                                      .per_address_max = o->address_max };
    struct key_pair own = { "", "" };
    enum err_code rc;
    int ipc_mode;

    *self = (struct ports){ .context = NULL };
    if ((rc = read_mode(o->ipc_mode, &ipc_mode, e)) || (rc = open_keyring(self, o, &own, e)) ||
        (rc = link_context_create(&self->context, e)))
        goto done;
    gate.keyring = self->keyring;
    if ((rc = link_gate_create(self->context, &gate, &self->gate, e)) ||
        (rc = open_links(self, o, ipc_mode, &own, e)) ||
        (rc = link_bind(self->clients, *memory->clients ? memory->clients : o->listen, e)) ||
        (rc = link_bind(self->workers, *memory->workers ? memory->workers : o->worker_listen, e)))
        goto done;
    snprintf(memory->clients, sizeof memory->clients, "%s", link_endpoint(self->clients));
    snprintf(memory->workers, sizeof memory->workers, "%s", link_endpoint(self->workers));
done:
    key_pair_wipe(&own);
    if (rc)
        ports_close(self);
    return rc;
}

void ports_close(struct ports *self)
{
    link_destroy(&self->workers);
    link_destroy(&self->clients);
    link_gate_destroy(&self->gate);
    link_context_destroy(&self->context);
    keyring_destroy(&self->keyring);
}

bool ports_reload(struct ports *self)
{
    struct err e;

    if (!self->keyring) {
        log_event(LOG_WARN, "keyring_kept", "reason=\"keys are not in use\"");
        return false;
    }
    if (keyring_reload(self->keyring, &e)) {
        log_event(LOG_ERROR, "keyring_kept", "reason=\"%s\"", e.msg);
        return false;
    }
    log_event(LOG_INFO, "keyring_read", "keys=%zu", keyring_count(self->keyring));
    return true;
}
