/* kit_postgres -- a PostgreSQL server for one test program, in a folder of its own under $TMPDIR,
 * on no TCP port: any number of them run at once. The working directory is the repository's root.
 *
 * A guardian process waits for this program's end, however that comes about (a failed test, a
 * signal, a sanitizer's abort): it then stops the server and deletes the folder. Processes that the
 * test forks keep the server alive until they have ended too.
 *
 * Nothing here uses cmocka, since benchmarks link it as well: what cannot go on says why on stderr
 * and exits with 1. */
#ifndef TESTS_KIT_POSTGRES_H
#define TESTS_KIT_POSTGRES_H

#include <stdint.h>
#include <sys/types.h>

struct kit_postgres {
    char dir[256];
    char conninfo[512];             /* stays true when the server is stopped and started again */
    int alive;                      /* the guardian waits for this descriptor to be closed */
    pid_t guardian;
};

/* A new, empty database; without fsync unless SEEDPRESS_PG_FSYNC says on. */
void kit_postgres_start(struct kit_postgres *self);
/* Ends the server as a crash would, and brings it back. Both return when it is done. */
void kit_postgres_stop_server(struct kit_postgres *self);
void kit_postgres_start_server(struct kit_postgres *self);
/* Ends the server as an administrator would: sessions are told, nothing is lost. */
void kit_postgres_shut_down(struct kit_postgres *self);
/* Stops all its processes where they are, as a machine that hangs would, until thaw. Connections
 * stay, and nothing answers. */
void kit_postgres_freeze(struct kit_postgres *self);
void kit_postgres_thaw(struct kit_postgres *self);
/* Stops the server, deletes the folder, zeroes *self; zeroed is fine. */
void kit_postgres_destroy(struct kit_postgres *self);

/* Over a connection of its own: sql may hold several statements. */
void kit_postgres_exec(const char *conninfo, const char *sql);
/* The first column of the first row, a whole number. */
int64_t kit_postgres_int(const char *conninfo, const char *sql);

#endif
