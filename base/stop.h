/* stop -- SIGTERM and SIGINT as something a poll loop can wait for. */
#ifndef BASE_STOP_H
#define BASE_STOP_H

#include <stdbool.h>

/* Blocks both signals in this thread and those it starts from now on; the descriptor becomes
 * readable when one comes. -1: no descriptor left. SIGPIPE is ignored from now on. */
int stop_open(void);
/* Takes one pending signal; false when none has come. */
bool stop_is_asked(int fd);

#endif
