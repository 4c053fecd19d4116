/* kit_proxy -- a TCP proxy in a thread of the test: what lies between two programs, to be made
 * slow, dead or broken. Every change counts at once, for the connections that are there too. What
 * cannot go on says why on stderr and exits with 1. */
#ifndef TESTS_KIT_PROXY_H
#define TESTS_KIT_PROXY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct kit_proxy_pair;

struct kit_proxy {
    char endpoint[64];              /* "tcp://127.0.0.1:port" */
    int target_port, listen_fd, wake_fd, timer_fd, epoll_fd;
    pthread_t thread;
    pthread_mutex_t lock;           /* of all below */
    pthread_cond_t changed;
    bool is_ending, is_hole, is_cut;
    int64_t delay_ms, every_ms, next_cut_ms;
    int64_t left;                   /* bytes until the cut; -1: no such cut */
    int64_t cuts;                   /* connections cut so far */
    struct kit_proxy_pair *pairs;
};

/* target is "tcp://127.0.0.1:port". */
void proxy_start(struct kit_proxy *self, const char *target);
void proxy_end(struct kit_proxy *self);

/* Bytes take that long, each way. */
void proxy_delay(struct kit_proxy *self, int64_t ms);
/* Connections stay and nothing passes, as when a cable is out; what was sent waits. */
void proxy_hole(struct kit_proxy *self, bool on);
/* All connections break, with what was on its way. */
void proxy_cut(struct kit_proxy *self);
/* The connection over which the bytes-th byte from now on comes from the target breaks there. */
void proxy_cut_after(struct kit_proxy *self, int64_t bytes);
/* All connections break every ms; 0: no more. */
void proxy_cut_every(struct kit_proxy *self, int64_t ms);
/* Waits until that many connections were cut in all. */
void proxy_await_cuts(struct kit_proxy *self, int64_t cuts);

#endif
