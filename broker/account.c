#include "broker/account.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum {
    TOKEN = 1000,                   /* one picture in a bucket */
    LAG_MIN_US = 1000000,
    SWEEP = 2,                      /* idle accounts looked at for each new one */
};

struct account_key account_key(enum account_kind kind, const void *data, size_t len)
{
    struct account_key key = { .len = len + 1 };

    key.bytes[0] = (uint8_t)kind;
    memcpy(key.bytes + 1, data, len);
    return key;
}

static void fill(const struct accounts *self, struct account *account, int64_t now_ms)
{
    int64_t full = self->burst * TOKEN, gone_ms = now_ms - account->filled_ms;

    if (gone_ms > full / self->rate)
        account->tokens = full;      /* and no product of a long time and a high rate */
    else
        account->tokens += gone_ms * self->rate;
    if (account->tokens > full)
        account->tokens = full;
    account->filled_ms = now_ms;
}

bool account_spend(struct accounts *self, struct account *account, int64_t now_ms,
                   int64_t *wait_ms)
{
    if (self->rate == 0)
        return true;
    fill(self, account, now_ms);
    if (account->tokens < TOKEN) {
        *wait_ms = (TOKEN - account->tokens + self->rate - 1) / self->rate;
        return false;
    }
    account->tokens -= TOKEN;
    return true;
}

static void enter_idle(struct accounts *self, struct account *account)
{
    DL_APPEND2(self->idle, account, idle_prev, idle_next);
    self->idle_count++;
}

static void leave_idle(struct accounts *self, struct account *account)
{
    DL_DELETE2(self->idle, account, idle_prev, idle_next);
    self->idle_count--;
}

static void end(struct accounts *self, struct account *account)
{
    if (account->requests == 0)
        leave_idle(self, account);
    HASH_DEL(self->by_key, account);
    free(account);
}

static bool has_nothing_to_remember(const struct accounts *self, struct account *account,
                                    int64_t now_ms)
{
    for (int level = 0; level < MESSAGE_PRIORITY_COUNT; level++)
        if (account->virtual_us[level] > self->clock_us[level])
            return false;
    if (self->rate == 0)
        return true;
    fill(self, account, now_ms);
    return account->tokens == self->burst * TOKEN;
}

void accounts_sweep(struct accounts *self, int64_t now_ms, size_t most)
{
    for (; most > 0 && self->idle; most--) {
        struct account *first = self->idle;

        if (has_nothing_to_remember(self, first, now_ms))
            end(self, first);
        else {                       /* behind the others, so that each is looked at */
            leave_idle(self, first);
            enter_idle(self, first);
        }
    }
}

struct account *accounts_get(struct accounts *self, const struct account_key *key, int64_t now_ms)
{
    struct account *a = NULL;

    HASH_FIND(hh, self->by_key, key->bytes, key->len, a);
    if (a)
        return a;
    accounts_sweep(self, now_ms, SWEEP);
    a = calloc(1, sizeof *a + key->len);
    if (!a)
        return NULL;
    memcpy(a->key, key->bytes, key->len);
    a->key_len = key->len;
    a->tokens = self->burst * TOKEN;
    a->filled_ms = now_ms;
    HASH_ADD(hh, self->by_key, key, a->key_len, a);
    enter_idle(self, a);
    return a;
}

void account_hold(struct accounts *self, struct account *account)
{
    if (account->requests++ == 0)
        leave_idle(self, account);
}

void account_drop(struct accounts *self, struct account *account)
{
    if (--account->requests > 0)
        return;
    enter_idle(self, account);
    if (self->idle_count > ACCOUNTS_IDLE_MAX)
        end(self, self->idle);
}

void accounts_release(struct accounts *self)
{
    struct account *a, *next;

    HASH_ITER(hh, self->by_key, a, next)
        end(self, a);
}

/* ---- turns ---- */

void account_enter(struct accounts *self, struct account *account, int level)
{
    if (account->queued[level]++ > 0)
        return;
    self->active[level]++;
    if (account->virtual_us[level] < self->clock_us[level])
        account->virtual_us[level] = self->clock_us[level];
}

void account_leave(struct accounts *self, struct account *account, int level)
{
    if (--account->queued[level] > 0 || --self->active[level] > 0)
        return;
    /* Nobody waits: nobody is ahead of anybody any more. */
    if (self->clock_us[level] < self->latest_us[level])
        self->clock_us[level] = self->latest_us[level];
}

void account_charge(struct accounts *self, struct account *account, int level, int64_t cost_us)
{
    int64_t *own = &account->virtual_us[level], *clock = &self->clock_us[level];

    if (cost_us > self->dearest_us)
        self->dearest_us = cost_us;
    /* Whose model few workers have falls behind the clock through no choice of its own. It may not
     * save that up without end, against those who come to its model with the clock's time. Who is
     * served in turn never falls so far behind. */
    if (*own < *clock - LAG_MIN_US - 2 * self->dearest_us)
        *own = *clock - LAG_MIN_US - 2 * self->dearest_us;
    if (*clock < *own)
        *clock = *own;
    *own += cost_us;
    if (self->latest_us[level] < *own)
        self->latest_us[level] = *own;
}
