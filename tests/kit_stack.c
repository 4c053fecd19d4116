#include "tests/kit_stack.h"

#include "base/clock.h"
#include "sql/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE_MS = 120000, LOG_MAX = 1 << 20 };

static void die(const char *what)
{
    fprintf(stderr, "kit_stack: %s: %s\n", what, strerror(errno));
    exit(1);
}

static const char *build_folder(void)
{
    const char *build = getenv("SEEDPRESS_BUILD");

    return build ? build : "build";
}

/* ---- programs ---- */

void program_start(struct kit_program *self, const char *const *argv)
{
    char path[512], name[] = "/tmp/seedpress-log-XXXXXX";
    pid_t parent = getpid();

    snprintf(path, sizeof path, "%s/%s", build_folder(), argv[0]);
    *self = (struct kit_program){ .log_fd = mkstemp(name) };
    if (self->log_fd < 0)
        die("could not make a log");
    unlink(name);
    fcntl(self->log_fd, F_SETFL, O_APPEND);
    fcntl(self->log_fd, F_SETFD, FD_CLOEXEC);
    self->pid = fork();
    if (self->pid < 0)
        die("could not fork");
    if (self->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        dup2(self->log_fd, STDOUT_FILENO);
        dup2(self->log_fd, STDERR_FILENO);
        execv(path, (char *const *)(uintptr_t)argv);
        fprintf(stderr, "could not run \"%s\": %s\n", path, strerror(errno));
        _exit(127);
    }
}

/* The next whole line from seen on that holds word. */
static bool find_line(struct kit_program *self, const char *word, char *line, size_t cap)
{
    char *text = malloc(LOG_MAX + 1);
    ssize_t len = text ? pread(self->log_fd, text, LOG_MAX, self->seen) : -1;
    bool found = false;

    if (len < 0)
        die("could not read a log");
    text[len] = '\0';
    for (char *at = text, *nl; !found && (nl = strchr(at, '\n')); at = nl + 1) {
        *nl = '\0';
        found = strstr(at, word) != NULL;
        self->seen += nl + 1 - at;
        if (found && line)
            snprintf(line, cap, "%s", at);
    }
    free(text);
    return found;
}

static void show_log(struct kit_program *self)
{
    char text[8192];
    ssize_t len = pread(self->log_fd, text, sizeof text, 0);

    fprintf(stderr, "its log:\n%.*s\n", len > 0 ? (int)len : 0, text);
}

void program_wait_for(struct kit_program *self, const char *word, char *line, size_t cap)
{
    char fd_path[64];
    int64_t give_up_ms = clock_ms() + PATIENCE_MS;
    int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), pid_fd;

    snprintf(fd_path, sizeof fd_path, "/proc/self/fd/%d", self->log_fd);
    pid_fd = (int)syscall(SYS_pidfd_open, self->pid, 0);
    if (watch < 0 || pid_fd < 0 || inotify_add_watch(watch, fd_path, IN_MODIFY) < 0)
        die("could not watch a log");
    while (!find_line(self, word, line, cap)) {
        struct pollfd fds[2] = { { watch, POLLIN, 0 }, { pid_fd, POLLIN, 0 } };
        char events[4096];

        if (poll(fds, 2, (int)(give_up_ms - clock_ms())) <= 0 ||
            (fds[1].revents && !find_line(self, word, line, cap))) {
            fprintf(stderr, "kit_stack: \"%s\" did not come from process %d\n", word,
                    (int)self->pid);
            show_log(self);
            exit(1);
        }
        if (fds[1].revents)
            break;
        while (read(watch, events, sizeof events) > 0)
            ;
    }
    close(pid_fd);
    close(watch);
}

void program_signal(struct kit_program *self, int number)
{
    if (self->pid > 0)
        kill(self->pid, number);
}

int program_wait(struct kit_program *self)
{
    int status = 0;

    if (self->pid <= 0)
        return -1;
    while (waitpid(self->pid, &status, 0) < 0 && errno == EINTR)
        ;
    self->pid = 0;
    int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);

    if (code != 0 && code != 128 + SIGKILL)
        show_log(self);              /* a sanitizer's report, most of all */
    close(self->log_fd);
    return code;
}

void program_kill(struct kit_program *self)
{
    if (self->pid <= 0)
        return;
    program_signal(self, SIGCONT);
    program_signal(self, SIGKILL);
    program_wait(self);
}

/* ---- a whole seedpress ---- */

enum { FLAGS_MAX = 32 };

static void add_flags(const char **argv, size_t *count, const char *const *flags)
{
    for (; flags && *flags && *count < FLAGS_MAX - 1; flags++)
        argv[(*count)++] = *flags;
    argv[*count] = NULL;
}

static void copy_value(const char *line, const char *key, char *out, size_t cap)
{
    const char *at = strstr(line, key);

    if (!at)
        die("a log line without its value");
    at += strlen(key);
    snprintf(out, cap, "%.*s", (int)strcspn(at, " "), at);
}

/* Returns the line that says that it is ready. */
static void run_broker(struct kit_stack *self, struct kit_program *broker, char clients[64],
                       char workers[64], const char *const *flags, char line[512])
{
    /* Without a guard: tests stop and kill the process that serves. Flags may bring it back. */
    const char *argv[FLAGS_MAX] = { "seedpress-broker", "--ledger", self->pg.conninfo, "--listen",
                                    clients, "--worker-listen", workers, "--supervise", "0",
                                    "--metrics-listen", "127.0.0.1:0" };
    size_t count = 11;

    add_flags(argv, &count, flags);
    program_start(broker, argv);
    program_wait_for(broker, " broker_ready ", line, 512);
    copy_value(line, "clients=", clients, 64);
    copy_value(line, "workers=", workers, 64);
}

void stack_run_broker(struct kit_stack *self, struct kit_program *broker, char clients[64],
                      char workers[64], const char *const *flags)
{
    char line[512];

    run_broker(self, broker, clients, workers, flags, line);
}

static void start_broker(struct kit_stack *self, const char *const *flags)
{
    char line[512];

    run_broker(self, &self->broker, self->clients, self->workers, flags, line);
    copy_value(line, "metrics=", self->metrics, sizeof self->metrics);
}

static void choose_ports(struct kit_stack *self)
{
    snprintf(self->clients, sizeof self->clients, "tcp://127.0.0.1:*");
    snprintf(self->workers, sizeof self->workers, "tcp://127.0.0.1:*");
}

void stack_start_bare(struct kit_stack *self, const char *const *broker_flags)
{
    memset(self, 0, sizeof *self);
    snprintf(self->pg.conninfo, sizeof self->pg.conninfo, "none");
    choose_ports(self);
    start_broker(self, broker_flags);
}

void stack_start_dummies(struct kit_stack *self, int index, const char *dummy, int count)
{
    const char *argv[] = { "seedpress-worker", "--brokers", self->workers, "--dummy", dummy, NULL };

    program_start(&self->worker[index], argv);
    for (int i = 0; i < count; i++)
        program_wait_for(&self->worker[index], " broker_joined ", NULL, 0);
}

void stack_start(struct kit_stack *self, const char *const *broker_flags)
{
    struct err e;

    memset(self, 0, sizeof *self);
    kit_postgres_start(&self->pg);
    if (ledger_migrate(self->pg.conninfo, false, NULL, NULL, &e)) {
        fprintf(stderr, "kit_stack: %s\n", e.msg);
        exit(1);
    }
    choose_ports(self);
    start_broker(self, broker_flags);
}

void stack_restart_broker(struct kit_stack *self, const char *const *broker_flags)
{
    start_broker(self, broker_flags);
}

void stack_run_worker(struct kit_stack *self, int index, const char *brokers,
                      const char *const *flags)
{
    const char *argv[FLAGS_MAX] = { "seedpress-worker", "--ledger", self->pg.conninfo, "--brokers",
                                    brokers, "--models-dir", "deploy/models" };
    size_t count = 7;

    add_flags(argv, &count, flags);
    program_start(&self->worker[index], argv);
    program_wait_for(&self->worker[index], " broker_joined ", NULL, 0);
}

void stack_start_worker(struct kit_stack *self, int index, const char *const *flags)
{
    stack_run_worker(self, index, self->workers, flags);
}

void stack_run_gateway(struct kit_program *gateway, char address[64], const char *broker,
                       const char *const *flags)
{
    const char *argv[FLAGS_MAX] = { "seedpress-gateway", "--listen", "127.0.0.1:0", "--broker",
                                    broker };
    size_t count = 5;
    char line[512];

    add_flags(argv, &count, flags);
    program_start(gateway, argv);
    program_wait_for(gateway, " gateway_ready ", line, sizeof line);
    copy_value(line, "listen=", address, 64);
}

void stack_destroy(struct kit_stack *self)
{
    for (int i = 0; i < KIT_WORKERS; i++)
        program_kill(&self->worker[i]);
    program_kill(&self->broker);
    kit_postgres_destroy(&self->pg);
}

/* ---- a client ---- */

void asker_open(struct kit_asker *self, const char *endpoint, enum link_kind kind)
{
    struct link_options options = { .kind = kind, .frame_max = MESSAGE_IMAGE_MAX };
    struct err e;

    if (link_context_create(&self->context, &e) ||
        link_create(self->context, &options, &self->link, &e) ||
        link_connect(self->link, endpoint, &e)) {
        fprintf(stderr, "kit_stack: %s\n", e.msg);
        exit(1);
    }
}

void asker_close(struct kit_asker *self)
{
    link_destroy(&self->link);
    link_context_destroy(&self->context);
}

/* Waits for the connection too: the socket takes nothing before it is there. */
static void post(struct kit_asker *self, struct frame *map)
{
    int64_t give_up_ms = clock_ms() + PATIENCE_MS;

    while (link_send(self->link, NULL, map, NULL) != LINK_SENT) {
        struct link_wait wait = { .link = self->link, .wants_room = true };

        if (clock_ms() > give_up_ms)
            die("could not send");
        link_poll(&wait, 1, give_up_ms);
    }
    frame_release(map);
}

void asker_send(struct kit_asker *self, const struct message *message)
{
    struct frame map;
    struct err e;

    if (frame_init_message(&map, message, &e)) {
        fprintf(stderr, "kit_stack: %s\n", e.msg);
        exit(1);
    }
    post(self, &map);
}

void asker_send_bytes(struct kit_asker *self, const void *data, size_t len)
{
    struct frame map;

    if (!frame_init_copy(&map, data, len))
        die("no memory");
    post(self, &map);
}

bool asker_receive(struct kit_asker *self, struct message *message, struct parcel *parcel,
                   int64_t wait_ms)
{
    int64_t give_up_ms = clock_ms() + wait_ms;
    struct err e;

    while (!link_receive(self->link, parcel)) {
        struct link_wait wait = { .link = self->link };

        if (clock_ms() >= give_up_ms)
            return false;
        link_poll(&wait, 1, give_up_ms);
    }
    if (message_decode(frame_data(&parcel->body[0]), frame_len(&parcel->body[0]),
                       MESSAGE_FROM_BROKER, message, &e)) {
        fprintf(stderr, "kit_stack: the broker's answer is malformed: %s\n", e.msg);
        exit(1);
    }
    return true;
}

struct message generate_of(int64_t id, int64_t seed, int64_t psi)
{
    struct message m;

    message_init(&m, MESSAGE_GENERATE, id);
    m.generate.model = text_of("avatars64");
    m.generate.seed = seed;
    m.generate.psi = psi;
    m.generate.deadline_ms = 600000;
    return m;
}
