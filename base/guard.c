#include "base/guard.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/stop.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { AGAIN_FIRST_MS = 100, AGAIN_MAX_MS = 5000, SERVED_MS = 60000 };

struct guard {
    pid_t pid;                      /* 0: not there */
    int stop_fd, child_fd;          /* SIGTERM, SIGINT, SIGHUP; SIGCHLD */
    int64_t since_ms;
    int crashes;                    /* in a row */
    int64_t again_ms;               /* when the next one is started */
    bool is_stopping;
    int code;                       /* of its last end */
};

static sigset_t child_set(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    return set;
}

/* The signals that were blocked stay so until who serves waits for them: none is lost. SIGKILL,
 * because a port that is still held would keep the next one from starting. */
static void become_server(struct guard *self, pid_t parent)
{
    sigset_t set = child_set();

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        raise(SIGKILL);              /* it has died meanwhile */
    close(self->stop_fd);
    close(self->child_fd);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void pause_before_next(struct guard *self, int64_t now_ms)
{
    int64_t pause_ms = 0;

    if (now_ms - self->since_ms >= SERVED_MS)
        self->crashes = 0;
    if (self->crashes > 0)
        pause_ms = AGAIN_FIRST_MS << (self->crashes < 10 ? self->crashes - 1 : 9);
    self->crashes++;
    self->again_ms = now_ms + (pause_ms < AGAIN_MAX_MS ? pause_ms : AGAIN_MAX_MS);
}

/* True in the child. */
static bool start(struct guard *self, int64_t now_ms)
{
    pid_t parent = getpid(), pid = fork();

    if (pid == 0) {
        become_server(self, parent);
        return true;
    }
    self->since_ms = now_ms;
    if (pid > 0) {
        self->pid = pid;
        return false;
    }
    self->again_ms = now_ms + AGAIN_MAX_MS;
    log_event(LOG_ERROR, "guard_failed", "reason=\"%s\" again_ms=%d", strerror(errno),
              AGAIN_MAX_MS);
    return false;
}

/* False: it has ended for good. */
static bool take_end(struct guard *self, int64_t now_ms)
{
    struct signalfd_siginfo info;
    int status;

    while (read(self->child_fd, &info, sizeof info) == sizeof info)
        ;
    if (self->pid == 0 || waitpid(self->pid, &status, WNOHANG) != self->pid)
        return true;
    self->pid = 0;
    self->code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    if (self->is_stopping || !WIFSIGNALED(status))
        return false;
    pause_before_next(self, now_ms);
    log_event(LOG_ERROR, "guard_restarts", "signal=%d again_ms=%lld", WTERMSIG(status),
              (long long)(self->again_ms - now_ms));
    return true;
}

/* False: it is over, because nobody is there to be ended. */
static bool pass_on(struct guard *self)
{
    enum stop_wish wish;

    while ((wish = stop_take(self->stop_fd)) != STOP_NOTHING) {
        self->is_stopping |= wish == STOP_END;
        if (self->pid > 0)
            kill(self->pid, wish == STOP_END ? SIGTERM : SIGHUP);
        else if (wish == STOP_END)
            return false;
    }
    return true;
}

static enum guard_side look_after(struct guard *self)
{
    int64_t now_ms = clock_ms();

    if (start(self, now_ms))
        return GUARD_SERVES;
    for (;;) {
        struct pollfd fds[] = { { self->stop_fd, POLLIN, 0 }, { self->child_fd, POLLIN, 0 } };
        int64_t wait_ms = self->again_ms > now_ms ? self->again_ms - now_ms : 0;

        poll(fds, 2, self->pid > 0 ? -1 : (int)wait_ms);
        now_ms = clock_ms();
        if (!take_end(self, now_ms) || !pass_on(self))
            return GUARD_ENDED;
        if (self->pid == 0 && now_ms >= self->again_ms && start(self, now_ms))
            return GUARD_SERVES;
    }
}

enum err_code guard_run(enum guard_side *side, int *exit_code, struct err *e)
{
    struct guard self = { .stop_fd = -1, .child_fd = -1 };
    sigset_t set = child_set();

    *side = GUARD_ENDED;
    sigprocmask(SIG_BLOCK, &set, NULL);
    self.stop_fd = stop_open_reload();
    self.child_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (self.stop_fd < 0 || self.child_fd < 0) {
        if (self.stop_fd >= 0)
            close(self.stop_fd);
        return err_set(e, ERR_NOMEM, "no file descriptor for signals");
    }
    *side = look_after(&self);
    if (*side == GUARD_SERVES)
        return ERR_OK;               /* it has closed them */
    *exit_code = self.code;
    close(self.stop_fd);
    close(self.child_fd);
    return ERR_OK;
}
