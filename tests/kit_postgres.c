#include "tests/kit_postgres.h"

#include <fcntl.h>
#include <libpq-fe.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char SCRIPT[] = "deploy/postgres.sh";
static const char GUARD[] = "read -r line; "
                            "pid=$(sed -n 1p \"$1/data/postmaster.pid\" 2>/dev/null) && "
                            "kill -CONT $pid $(cat /proc/$pid/task/$pid/children) 2>/dev/null; "
                            "deploy/postgres.sh stop \"$1\"; rm -rf \"$1\"";

static void give_up(const char *doing, const char *why)
{
    fprintf(stderr, "kit_postgres: could not %s: %s\n", doing, why);
    exit(1);
}

/* In a child that becomes another program. */
static void set_environment(const char *stop)
{
    setenv("SEEDPRESS_PG_FSYNC", "off", 0);
    setenv("SEEDPRESS_PG_STOP", stop, 1);
}

/* Runs the script, which stops in that way; its output, if wanted, goes into out without the line's
 * end. */
static void run_script(const char *verb, const char *stop, const char *dir, char *out, size_t size)
{
    int pipe_fd[2], status;
    size_t len = 0;
    ssize_t got;

    if (pipe2(pipe_fd, O_CLOEXEC))
        give_up("run deploy/postgres.sh", "no pipe");
    pid_t pid = fork();
    if (pid == 0) {
        set_environment(stop);
        dup2(pipe_fd[1], STDOUT_FILENO);
        execl("/bin/sh", "sh", SCRIPT, verb, dir, (char *)NULL);
        _exit(127);
    }
    close(pipe_fd[1]);
    while (size > 0 && len + 1 < size && (got = read(pipe_fd[0], out + len, size - 1 - len)) > 0)
        len += (size_t)got;
    close(pipe_fd[0]);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        give_up(verb, "deploy/postgres.sh failed");
    if (size > 0) {
        out[len] = '\0';
        out[strcspn(out, "\n")] = '\0';
    }
}

static void start_guardian(struct kit_postgres *self)
{
    int pipe_fd[2];
    if (pipe2(pipe_fd, O_CLOEXEC))
        give_up("start a guardian", "no pipe");
    self->alive = pipe_fd[1];
    self->guardian = fork();
    if (self->guardian < 0)
        give_up("start a guardian", "no process");
    if (self->guardian > 0) {
        close(pipe_fd[0]);
        return;
    }
    setsid();                       /* an interrupt of the test is not meant for it */
    set_environment("immediate");
    dup2(pipe_fd[0], STDIN_FILENO);
    dup2(STDERR_FILENO, STDOUT_FILENO);
    execl("/bin/sh", "sh", "-c", GUARD, "guardian", self->dir, (char *)NULL);
    _exit(127);
}

void kit_postgres_start(struct kit_postgres *self)
{
    const char *tmp = getenv("TMPDIR");

    memset(self, 0, sizeof *self);
    snprintf(self->dir, sizeof self->dir, "%s/seedpress-test.XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(self->dir))
        give_up("make a folder", self->dir);
    chmod(self->dir, 0711);         /* the server's user passes through; its own folders are 0700 */
    start_guardian(self);
    run_script("start", "immediate", self->dir, NULL, 0);
    run_script("conninfo", "immediate", self->dir, self->conninfo, sizeof self->conninfo);
}

void kit_postgres_stop_server(struct kit_postgres *self)
{
    run_script("stop", "immediate", self->dir, NULL, 0);
}

void kit_postgres_shut_down(struct kit_postgres *self)
{
    run_script("stop", "fast", self->dir, NULL, 0);
}

static pid_t server_of(const struct kit_postgres *self)
{
    char path[512];
    int pid = 0;

    snprintf(path, sizeof path, "%s/data/postmaster.pid", self->dir);
    FILE *file = fopen(path, "r");

    if (!file || fscanf(file, "%d", &pid) != 1)
        give_up("find the server", path);
    fclose(file);
    return pid;
}

static void signal_children(pid_t server, int number)
{
    char path[64];
    int pid;

    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)server, (int)server);
    FILE *file = fopen(path, "r");

    if (!file)
        give_up("find the server's processes", path);
    while (fscanf(file, "%d", &pid) == 1)
        kill(pid, number);
    fclose(file);
}

void kit_postgres_freeze(struct kit_postgres *self)
{
    pid_t server = server_of(self);

    kill(server, SIGSTOP);           /* first, so that it makes no more of them */
    signal_children(server, SIGSTOP);
}

void kit_postgres_thaw(struct kit_postgres *self)
{
    pid_t server = server_of(self);

    signal_children(server, SIGCONT);
    kill(server, SIGCONT);
}

void kit_postgres_start_server(struct kit_postgres *self)
{
    run_script("start", "immediate", self->dir, NULL, 0);
}

void kit_postgres_destroy(struct kit_postgres *self)
{
    if (self->guardian > 0) {
        close(self->alive);
        waitpid(self->guardian, NULL, 0);
    }
    memset(self, 0, sizeof *self);
}

static PGresult *run_sql(PGconn *conn, const char *sql)
{
    PGresult *result;
    if (PQstatus(conn) != CONNECTION_OK)
        give_up("connect", PQerrorMessage(conn));
    result = PQexec(conn, sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
        give_up(sql, PQerrorMessage(conn));
    return result;
}

void kit_postgres_exec(const char *conninfo, const char *sql)
{
    PGconn *conn = PQconnectdb(conninfo);
    PQclear(run_sql(conn, sql));
    PQfinish(conn);
}

int64_t kit_postgres_int(const char *conninfo, const char *sql)
{
    PGconn *conn = PQconnectdb(conninfo);
    PGresult *result = run_sql(conn, sql);
    if (PQntuples(result) < 1 || PQgetisnull(result, 0, 0))
        give_up(sql, "no number");
    int64_t value = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    PQfinish(conn);
    return value;
}
