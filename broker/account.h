/* account -- who pays and takes turns: a key, a uid, whom a proxy speaks for, or else a connection.
 * Turns are start-time fair: each account has a virtual time at each level, the cost of what it was
 * given; the one with the least goes first. Who comes new, or back, starts at the level's clock, so
 * that nobody saves turns up while idle.
 *
 * An account ends with its last request, once it has nothing to remember: it is not ahead of a
 * clock, and its bucket of pictures is full again. */
#ifndef BROKER_ACCOUNT_H
#define BROKER_ACCOUNT_H

#include "proto/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uthash.h>

enum {
    ACCOUNT_KEY_MAX = 257,
    ACCOUNTS_IDLE_MAX = 10000,      /* remembered without a request; the longest idle goes first */
};

struct account_key {
    uint8_t bytes[ACCOUNT_KEY_MAX];
    size_t len;
};
enum account_kind { ACCOUNT_USER = 'u', ACCOUNT_BEHALF = 'f', ACCOUNT_CONNECTION = 'c' };
/* len is at most ACCOUNT_KEY_MAX - 1. */
struct account_key account_key(enum account_kind kind, const void *data, size_t len);

struct line;
struct account {
    struct line *lines;             /* queue.c's: where it waits */
    size_t requests;                /* that have not ended */
    size_t waiting, bytes;          /* pictures it waits for, and what that takes */
    size_t queued[MESSAGE_PRIORITY_COUNT];              /* of them in the queue */
    int64_t virtual_us[MESSAGE_PRIORITY_COUNT];
    int64_t tokens, filled_ms;      /* thousandths of a picture, and as of when */
    int64_t refused;
    struct account *idle_prev, *idle_next;
    UT_hash_handle hh;
    size_t key_len;
    uint8_t key[];
};

struct accounts {
    struct account *by_key, *idle;  /* idle: longest first */
    size_t idle_count;
    size_t active[MESSAGE_PRIORITY_COUNT];              /* accounts that have something queued */
    int64_t clock_us[MESSAGE_PRIORITY_COUNT];           /* where the last turn began */
    int64_t latest_us[MESSAGE_PRIORITY_COUNT];          /* the furthest virtual time */
    int64_t dearest_us;             /* picture */
    int64_t rate, burst;            /* pictures a second an account (0: any number), at once */
};

/* The account of that key, made when it is new; until account_hold keeps it the next call may end
 * it. NULL: no memory. */
struct account *accounts_get(struct accounts *self, const struct account_key *key, int64_t now_ms);
/* A request begins, ends. */
void account_hold(struct accounts *self, struct account *account);
void account_drop(struct accounts *self, struct account *account);
/* Forgets up to most idle accounts that have nothing to remember. */
void accounts_sweep(struct accounts *self, int64_t now_ms, size_t most);
void accounts_release(struct accounts *self);

/* Takes one picture from its bucket. False: it is empty, and *wait_ms says for how long. */
bool account_spend(struct accounts *self, struct account *account, int64_t now_ms,
                   int64_t *wait_ms);

/* A picture is queued at level, leaves the queue. */
void account_enter(struct accounts *self, struct account *account, int level);
void account_leave(struct accounts *self, struct account *account, int level);
/* It had a turn. */
void account_charge(struct accounts *self, struct account *account, int level, int64_t cost_us);

#endif
