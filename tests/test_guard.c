/* The guard in a process of its own, and what it looks after: a script that says what becomes of
 * each process that serves. */
#include "base/guard.h"

#include "base/clock.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { STARTS_MAX = 16, PATIENCE_MS = 60000 };

struct shared {                     /* by all processes of a test */
    atomic_int starts;
    atomic_int pid[STARTS_MAX];
    _Atomic int64_t at_ms[STARTS_MAX];
    atomic_int signals;             /* that who serves has taken */
};

static struct shared *shared;
static int said[2];                 /* a byte for each start and each signal */

/* Else: ends with that code. STUBBORN is killed by the order to end instead of obeying. */
enum deed { ABORT = -1, SERVE = -2, STUBBORN = -3 };

static void on_signal(int number)
{
    char byte = (char)number;
    ssize_t ignored = write(said[1], &byte, 1);

    (void)ignored;
    atomic_fetch_add(&shared->signals, 1);
    if (number == SIGTERM)
        _exit(3);
}

static void serve(const int *deeds)
{
    int mine = atomic_fetch_add(&shared->starts, 1);
    char byte = 0;
    sigset_t none;
    ssize_t ignored;

    if (mine >= STARTS_MAX)
        _exit(99);
    shared->pid[mine] = getpid();
    shared->at_ms[mine] = clock_ms();
    if (deeds[mine] >= 0)
        _exit(deeds[mine]);
    if (deeds[mine] == ABORT)
        raise(SIGKILL);              /* as an assertion would end it, but without a core file */
    signal(SIGTERM, deeds[mine] == STUBBORN ? SIG_DFL : on_signal);
    signal(SIGHUP, on_signal);
    ignored = write(said[1], &byte, 1);
    (void)ignored;
    sigemptyset(&none);
    for (;;)
        sigsuspend(&none);
}

/* deeds: one for each start. */
static pid_t guard_over(const int *deeds)
{
    pid_t pid;

    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    assert_int_equal(pipe(said), 0);
    pid = fork();
    if (pid == 0) {
        enum guard_side side;
        int code = 98;
        struct err e;

        if (guard_run(&side, &code, &e))
            _exit(97);
        if (side == GUARD_SERVES)
            serve(deeds);
        _exit(code);
    }
    return pid;
}

static int end_of(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(said[0]);
    close(said[1]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static char hear(void)
{
    struct pollfd fd = { said[0], POLLIN, 0 };
    char byte;

    assert_int_equal(poll(&fd, 1, PATIENCE_MS), 1);
    assert_int_equal(read(said[0], &byte, 1), 1);
    return byte;
}

static void who_is_killed_is_started_again(void **state)
{
    static const int DEEDS[] = { ABORT, ABORT, ABORT, 7 };

    (void)state;
    assert_int_equal(end_of(guard_over(DEEDS)), 7);
    assert_int_equal(shared->starts, 4);
    assert_true(shared->at_ms[1] - shared->at_ms[0] < 5000);
    assert_true(shared->at_ms[2] - shared->at_ms[1] >= 100);    /* pauses that grow */
    assert_true(shared->at_ms[3] - shared->at_ms[2] >= 200);
}

static void who_ends_with_a_code_is_not_started_again(void **state)
{
    (void)state;
    assert_int_equal(end_of(guard_over((const int[]){ 0 })), 0);
    assert_int_equal(shared->starts, 1);
    assert_int_equal(end_of(guard_over((const int[]){ 2 })), 2);
    assert_int_equal(shared->starts, 1);
}

static void signals_are_passed_on(void **state)
{
    static const int DEEDS[] = { SERVE };
    pid_t pid = guard_over(DEEDS);

    (void)state;
    assert_int_equal(hear(), 0);
    kill(pid, SIGHUP);
    assert_int_equal(hear(), SIGHUP);
    kill(pid, SIGINT);               /* an order to end is one */
    assert_int_equal(hear(), SIGTERM);
    assert_int_equal(end_of(pid), 3);
    assert_int_equal(shared->starts, 1);
}

static void after_an_order_to_end_nobody_is_started_again(void **state)
{
    static const int DEEDS[] = { STUBBORN, 9 };
    pid_t pid = guard_over(DEEDS);

    (void)state;
    assert_int_equal(hear(), 0);
    kill(pid, SIGTERM);
    assert_int_equal(end_of(pid), 128 + SIGTERM);
    assert_int_equal(shared->starts, 1);
}

static void who_serves_does_not_outlive_the_guard(void **state)
{
    static const int DEEDS[] = { SERVE };
    pid_t pid = guard_over(DEEDS);
    struct pollfd served;

    (void)state;
    assert_int_equal(hear(), 0);
    served = (struct pollfd){ (int)syscall(SYS_pidfd_open, shared->pid[0], 0), POLLIN, 0 };
    assert_true(served.fd >= 0);
    kill(pid, SIGKILL);
    assert_int_equal(poll(&served, 1, PATIENCE_MS), 1);
    close(served.fd);
    assert_int_equal(end_of(pid), 128 + SIGKILL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_killed_is_started_again),
        cmocka_unit_test(who_ends_with_a_code_is_not_started_again),
        cmocka_unit_test(signals_are_passed_on),
        cmocka_unit_test(after_an_order_to_end_nobody_is_started_again),
        cmocka_unit_test(who_serves_does_not_outlive_the_guard),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
