/* alarm -- a moment in microseconds as something a poll loop can wait for, where the milliseconds
 * of link_poll are too coarse. */
#ifndef BASE_ALARM_H
#define BASE_ALARM_H

#include <stdint.h>

/* A descriptor that is the caller's to close(); -1: none left. It is not set. */
int alarm_open(void);
/* Makes fd readable from at_us on (clock_us's scale; past moments count), and not before, whatever
 * it was set to. 0: never. Poll it, do not read it. */
void alarm_set(int fd, int64_t at_us);

#endif
