#include "base/stop.h"

#include <signal.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <unistd.h>

static int open_set(sigset_t *set)
{
    signal(SIGPIPE, SIG_IGN);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    if (sigprocmask(SIG_BLOCK, set, NULL) != 0)
        return -1;
    return signalfd(-1, set, SFD_NONBLOCK | SFD_CLOEXEC);
}

int stop_open(void)
{
    sigset_t set;

    sigemptyset(&set);
    return open_set(&set);
}

int stop_open_reload(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    return open_set(&set);
}

bool stop_is_asked(int fd)
{
    return stop_take(fd) != STOP_NOTHING;
}

enum stop_wish stop_take(int fd)
{
    struct signalfd_siginfo info;

    if (read(fd, &info, sizeof info) != sizeof info)
        return STOP_NOTHING;
    return info.ssi_signo == SIGHUP ? STOP_RELOAD : STOP_END;
}
