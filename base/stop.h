/* stop -- SIGTERM and SIGINT, and SIGHUP for who reads something again, as something a poll loop
 * can wait for. */
#ifndef BASE_STOP_H
#define BASE_STOP_H

#include <stdbool.h>

/* Blocks both signals in this thread and those it starts from now on; the descriptor becomes
 * readable when one comes. -1: no descriptor left. SIGPIPE is ignored from now on. */
int stop_open(void);
/* Takes one pending signal; false when none has come. */
bool stop_is_asked(int fd);

/* The same with SIGHUP, which does not end the program then. */
int stop_open_reload(void);
enum stop_wish { STOP_NOTHING, STOP_END, STOP_RELOAD };
/* Takes one pending signal of a descriptor of stop_open_reload. */
enum stop_wish stop_take(int fd);

#endif
