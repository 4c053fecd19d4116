/* kit_load -- clients that never stop asking, each a thread with a handle of libseedpress, and what
 * became of what they asked. Nobody asks for the same picture twice. */
#ifndef TESTS_KIT_LOAD_H
#define TESTS_KIT_LOAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum { KIT_LOAD_THREADS = 8 };

struct kit_load {
    char brokers[256];
    int page, deadline_ms;
    pthread_t thread[KIT_LOAD_THREADS];
    int threads;
    pthread_mutex_t lock;           /* of all below */
    pthread_cond_t changed;
    bool is_ending;
    uint32_t next_seed;
    int64_t answered, failed, twice;/* pictures; twice: those that came again, or unasked */
    char error[256];                /* of the last one that failed */
};

/* threads clients, each with page pictures of the shipped model in flight. */
void load_start(struct kit_load *self, const char *brokers, int threads, int page,
                uint32_t first_seed, int deadline_ms);
/* Waits until that many more pictures were answered or failed than at the call. Gives up, and says
 * so on stderr, after two minutes. */
void load_await(struct kit_load *self, int64_t more);
/* Lets what is asked end, then the clients. The counts stay readable. */
void load_end(struct kit_load *self);

#endif
