#include "worker/fleet.h"

#include "base/clock.h"
#include "base/link.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/stop.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { AGAIN_MIN_MS = 1000, AGAIN_MAX_MS = 60000, SERVED_MS = 60000 };

struct member {                     /* one device's worker */
    pid_t pid;                      /* 0: not there */
    int64_t since_ms;
    int64_t again_ms;               /* when it is started again; 0: not at all */
    int64_t pause_ms;               /* before the next start */
};

struct fleet {
    struct member members[FLEET_MAX];
    int count, alive;
    int stop_fd, child_fd;          /* SIGTERM or SIGINT; SIGCHLD */
    bool stopping;
    struct notify notify;
};

/* ---- counting ---- */

struct counted {
    enum err_code rc;
    int devices;
    struct err e;
};

static enum err_code count_apart(enum err_code (*count)(void *arg, int *devices, struct err *e),
                                 void *arg, int *devices, struct err *e)
{
    struct counted counted = { .rc = ERR_OK };
    int ends[2];
    ssize_t len;
    pid_t pid;

    if (pipe(ends) != 0)
        return err_set(e, ERR_NOMEM, "no file descriptors for a pipe");
    pid = fork();
    if (pid == 0) {
        counted.rc = count(arg, &counted.devices, &counted.e);
        len = write(ends[1], &counted, sizeof counted);
        _exit(len == sizeof counted ? 0 : 1);
    }
    close(ends[1]);
    len = pid < 0 ? -1 : read(ends[0], &counted, sizeof counted);    /* below PIPE_BUF: whole */
    close(ends[0]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    if (pid < 0)
        return err_set(e, ERR_NOMEM, "could not start a process: %s", strerror(errno));
    if (len != sizeof counted)
        return err_set(e, ERR_DEVICE, "the process that was to count the devices died");
    if (counted.rc)
        return err_set(e, counted.rc, "%s", counted.e.msg);
    *devices = counted.devices < FLEET_MAX ? counted.devices : FLEET_MAX;
    return ERR_OK;
}

/* ---- members ---- */

static void pause_before_next(struct member *m, int64_t now_ms)
{
    if (now_ms - m->since_ms >= SERVED_MS || m->pause_ms == 0)
        m->pause_ms = AGAIN_MIN_MS;
    else
        m->pause_ms = 2 * m->pause_ms < AGAIN_MAX_MS ? 2 * m->pause_ms : AGAIN_MAX_MS;
    m->again_ms = now_ms + m->pause_ms;
}

/* In the child it leaves the fleet behind; SIGTERM stays blocked until the worker waits for it.
 * Only the first process speaks to systemd. */
static void become_worker(struct fleet *self, pid_t parent)
{
    sigset_t set;

    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        raise(SIGTERM);              /* it has died meanwhile */
    close(self->stop_fd);
    close(self->child_fd);
    notify_release(&self->notify);
    unsetenv("NOTIFY_SOCKET");
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* True in the child. */
static bool start(struct fleet *self, int device, int64_t now_ms)
{
    struct member *m = &self->members[device];
    pid_t parent = getpid(), pid = fork();

    if (pid == 0) {
        become_worker(self, parent);
        return true;
    }
    m->since_ms = now_ms;
    m->again_ms = 0;
    if (pid < 0) {
        pause_before_next(m, now_ms);
        log_event(LOG_ERROR, "fleet_worker_failed", "device=%d reason=\"%s\" again_ms=%lld",
                  device, strerror(errno), (long long)m->pause_ms);
        return false;
    }
    m->pid = pid;
    self->alive++;
    log_event(LOG_INFO, "fleet_worker_started", "device=%d pid=%d", device, (int)pid);
    return false;
}

static void take_end(struct fleet *self, pid_t pid, int status, int64_t now_ms)
{
    int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);

    for (int i = 0; i < self->count; i++) {
        struct member *m = &self->members[i];

        if (m->pid != pid)
            continue;
        m->pid = 0;
        self->alive--;
        if (code == 0 || self->stopping) {
            log_event(LOG_INFO, "fleet_worker_ended", "device=%d pid=%d code=%d", i, (int)pid,
                      code);
            return;
        }
        pause_before_next(m, now_ms);
        log_event(LOG_ERROR, "fleet_worker_lost", "device=%d pid=%d code=%d again_ms=%lld", i,
                  (int)pid, code, (long long)m->pause_ms);
    }
}

static void take_ends(struct fleet *self, int64_t now_ms)
{
    struct signalfd_siginfo info;
    int status;
    pid_t pid;

    while (read(self->child_fd, &info, sizeof info) == sizeof info)
        ;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        take_end(self, pid, status, now_ms);
}

static void stop_all(struct fleet *self)
{
    self->stopping = true;
    notify_stopping(&self->notify);
    log_event(LOG_INFO, "fleet_drain", "workers=%d", self->alive);
    for (int i = 0; i < self->count; i++)
        if (self->members[i].pid > 0)
            kill(self->members[i].pid, SIGTERM);
}

/* ---- the loop ---- */

/* Starts whom it is time for; true in the child, whose device is *place. Else *wake_ms is when the
 * next one wants to be started. */
static bool start_due(struct fleet *self, int64_t now_ms, int *place, int64_t *wake_ms)
{
    *wake_ms = INT64_MAX;
    for (int i = 0; !self->stopping && i < self->count; i++) {
        struct member *m = &self->members[i];

        if (m->pid == 0 && m->again_ms > 0 && m->again_ms <= now_ms) {
            *place = i;
            if (start(self, i, now_ms))
                return true;
        }
        if (m->pid == 0 && m->again_ms > 0 && m->again_ms < *wake_ms)
            *wake_ms = m->again_ms;
    }
    *place = FLEET_ENDED;
    return false;
}

static bool any_is_lost(const struct fleet *self)
{
    for (int i = 0; i < self->count; i++)
        if (self->members[i].again_ms > 0)
            return true;
    return false;
}

/* As fleet_run returns. */
static enum err_code look_after(struct fleet *self, int *place, struct err *e)
{
    int64_t now_ms = clock_ms(), wake_ms;

    for (int i = 0; i < self->count; i++)
        self->members[i].again_ms = now_ms;
    if (start_due(self, now_ms, place, &wake_ms))
        return ERR_OK;
    notify_ready(&self->notify);
    while (self->alive > 0) {
        struct link_wait waits[] = { { .fd = self->stop_fd }, { .fd = self->child_fd } };
        int64_t watchdog_ms = notify_turn(&self->notify, now_ms);

        link_poll(waits, 2, watchdog_ms < wake_ms ? watchdog_ms : wake_ms);
        now_ms = clock_ms();
        if (stop_is_asked(self->stop_fd) && !self->stopping)
            stop_all(self);
        take_ends(self, now_ms);
        if (self->alive > 0 && start_due(self, now_ms, place, &wake_ms))
            return ERR_OK;
    }
    if (!self->stopping && any_is_lost(self))
        return err_set(e, ERR_DEVICE, "no worker of %d devices is left: see what they said above",
                       self->count);
    return ERR_OK;
}

enum err_code fleet_run(enum err_code (*count)(void *arg, int *devices, struct err *e), void *arg,
                        int *place, struct err *e)
{
    struct fleet self = { .stop_fd = -1, .child_fd = -1, .notify = { .fd = -1 } };
    enum err_code rc = count_apart(count, arg, &self.count, e);
    sigset_t set;

    *place = FLEET_ENDED;
    if (rc)
        return rc;
    notify_init(&self.notify);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    self.stop_fd = stop_open();
    self.child_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (self.stop_fd < 0 || self.child_fd < 0)
        rc = err_set(e, ERR_NOMEM, "no file descriptor for signals");
    else
        rc = look_after(&self, place, e);
    if (*place != FLEET_ENDED)
        return rc;                   /* a worker: it has closed them */
    notify_release(&self.notify);
    if (self.stop_fd >= 0)
        close(self.stop_fd);
    if (self.child_fd >= 0)
        close(self.child_fd);
    return rc;
}
