/* kit_stack -- real programs for tests and benchmarks: starts them, waits for words in their logs,
 * kills them; a whole seedpress with a PostgreSQL of its own; and a plain client to ask it with.
 *
 * Programs come from $SEEDPRESS_BUILD (else "build"); the working directory is the repository's
 * root. Every program gets its own ports. What cannot go on says why on stderr and exits with 1, so
 * that benchmarks can use it too; programs that are left die with this process. */
#ifndef TESTS_KIT_STACK_H
#define TESTS_KIT_STACK_H

#include "base/link.h"
#include "proto/message.h"
#include "tests/kit_postgres.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct kit_program {
    pid_t pid;                      /* 0: not running */
    int log_fd;                     /* its standard output and error; read from the start */
    long seen;                      /* bytes of the log that program_wait_for has passed */
};
/* argv[0] is a program's name without folder. argv ends in NULL. */
void program_start(struct kit_program *self, const char *const *argv);
/* Waits for the next line that holds word; copies it into line[cap] (line may be NULL). */
void program_wait_for(struct kit_program *self, const char *word, char *line, size_t cap);
void program_signal(struct kit_program *self, int number);
/* Waits for its end; the exit code, or 128 + the signal that ended it. */
int program_wait(struct kit_program *self);
void program_kill(struct kit_program *self);        /* SIGKILL, and waits; not running: nothing */

enum { KIT_WORKERS = 4 };
struct kit_stack {
    struct kit_postgres pg;
    struct kit_program broker, worker[KIT_WORKERS];
    char clients[64], workers[64];  /* endpoints */
    char metrics[64];               /* the broker's, "127.0.0.1:4711" */
};
/* PostgreSQL with its tables, and a broker. NULL-terminated extra flags, or NULL. */
void stack_start(struct kit_stack *self, const char *const *broker_flags);
/* A broker with ledger = none and nothing else: for dummies. */
void stack_start_bare(struct kit_stack *self, const char *const *broker_flags);
/* Starts worker[index] as dummies, as in "a_us=0,b_us=0,bytes=64,count=1", and waits until count of
 * them have joined. */
void stack_start_dummies(struct kit_stack *self, int index, const char *dummy, int count);
/* Starts the broker again on the ports it had. */
void stack_restart_broker(struct kit_stack *self, const char *const *broker_flags);
/* Starts worker[index] and waits until it has joined. */
void stack_start_worker(struct kit_stack *self, int index, const char *const *flags);
void stack_destroy(struct kit_stack *self);
/* Starts worker[index] for other endpoints than the stack's own, ',' between, and waits until it
 * has joined one. */
void stack_run_worker(struct kit_stack *self, int index, const char *brokers,
                      const char *const *flags);
/* Starts another broker on the stack's database; endpoints that end in ":*" get their ports. The
 * program is the caller's to end. */
void stack_run_broker(struct kit_stack *self, struct kit_program *broker, char clients[64],
                      char workers[64], const char *const *flags);

/* Starts a gateway for the broker at that endpoint and waits until it listens; address becomes
 * "127.0.0.1:4711". It may not know a model yet. The program is the caller's to end. */
void stack_run_gateway(struct kit_program *gateway, char address[64], const char *broker,
                       const char *const *flags);

/* A client without libseedpress: one DEALER or REQ. */
struct kit_asker {
    struct link_context *context;
    struct link *link;
};
void asker_open(struct kit_asker *self, const char *endpoint, enum link_kind kind);
void asker_close(struct kit_asker *self);
void asker_send(struct kit_asker *self, const struct message *message);
/* Raw bytes as one frame. */
void asker_send_bytes(struct kit_asker *self, const void *data, size_t len);
/* The next answer, decoded, within wait_ms; false when none comes. message borrows from parcel;
 * both are to be released. */
bool asker_receive(struct kit_asker *self, struct message *message, struct parcel *parcel,
                   int64_t wait_ms);

/* A generate for the shipped model with ten minutes to the deadline; psi in millionths. */
struct message generate_of(int64_t id, int64_t seed, int64_t psi);

#endif
