#include "base/alarm.h"

#include <sys/timerfd.h>

int alarm_open(void)
{
    return timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
}

void alarm_set(int fd, int64_t at_us)
{
    struct itimerspec at = { .it_value = { at_us / 1000000, at_us % 1000000 * 1000 } };

    timerfd_settime(fd, TFD_TIMER_ABSTIME, &at, NULL);
}
