/* What systemd hears: each word, the watchdog's pace, and nothing where nobody listens. */
#include "base/notify.h"

#include "tests/kit_temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static struct temp temp;
static struct temp_path path;
static int listener;

static int set_up(void **state)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    (void)state;
    temp = temp_create();
    path = temp_path(&temp, "notify");
    snprintf(address.sun_path, sizeof address.sun_path, "%.100s", path.text);
    listener = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    setenv("NOTIFY_SOCKET", path.text, 1);
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    return bind(listener, (struct sockaddr *)&address, sizeof address);
}

static int tear_down(void **state)
{
    (void)state;
    close(listener);
    temp_destroy(&temp);
    unsetenv("NOTIFY_SOCKET");
    return 0;
}

/* The next message, "" when there is none: what was sent is there. */
static void assert_hears(const char *expect)
{
    char text[64];
    ssize_t len = recv(listener, text, sizeof text - 1, MSG_DONTWAIT);

    text[len < 0 ? 0 : len] = '\0';
    assert_string_equal(text, expect);
}

static void each_word_is_a_message(void **state)
{
    struct notify n;

    (void)state;
    notify_init(&n);
    notify_ready(&n);
    notify_stopping(&n);
    assert_hears("READY=1");
    assert_hears("STOPPING=1");
    assert_hears("");
    notify_release(&n);
    notify_ready(&n);                /* released: to nobody */
    assert_hears("");
}

static void the_watchdog_hears_twice_an_interval(void **state)
{
    struct notify n;
    int64_t now_ms = 5000;

    (void)state;
    setenv("WATCHDOG_USEC", "3000000", 1);
    notify_init(&n);
    assert_int_equal(notify_turn(&n, now_ms), now_ms + 1500);
    assert_hears("WATCHDOG=1");
    assert_int_equal(notify_turn(&n, now_ms + 1499), now_ms + 1500);
    assert_hears("");
    assert_int_equal(notify_turn(&n, now_ms + 1600), now_ms + 3100);
    assert_hears("WATCHDOG=1");
    notify_release(&n);
}

static void assert_no_watchdog(void)
{
    struct notify n;

    notify_init(&n);
    assert_true(notify_turn(&n, 5000) == INT64_MAX);
    assert_hears("");
    notify_release(&n);
}

static void without_an_interval_of_its_own_there_is_no_watchdog(void **state)
{
    char pid[24];
    struct notify n;

    (void)state;
    assert_no_watchdog();
    setenv("WATCHDOG_USEC", "soon", 1);
    assert_no_watchdog();
    setenv("WATCHDOG_USEC", "0", 1);
    assert_no_watchdog();
    setenv("WATCHDOG_USEC", "3000000", 1);
    setenv("WATCHDOG_PID", "999999999", 1);      /* another process is meant */
    assert_no_watchdog();
    for (int i = 0; i < 2; i++) {                /* this one, or who looks after it */
        snprintf(pid, sizeof pid, "%d", (int)(i ? getppid() : getpid()));
        setenv("WATCHDOG_PID", pid, 1);
        notify_init(&n);
        assert_int_equal(notify_turn(&n, 5000), 6500);
        notify_release(&n);
        assert_hears("WATCHDOG=1");
    }
}

static void where_nobody_listens_nothing_is_said(void **state)
{
    static const char *const SOCKETS[] = { "", "relative", "/nonexistent/socket", "@" };
    char longer[300];
    struct notify n;

    (void)state;
    for (size_t i = 0; i < sizeof SOCKETS / sizeof SOCKETS[0]; i++) {
        setenv("NOTIFY_SOCKET", SOCKETS[i], 1);
        notify_init(&n);
        assert_int_equal(n.fd, -1);
        notify_ready(&n);
        notify_release(&n);
    }
    memset(longer, '/', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    setenv("NOTIFY_SOCKET", longer, 1);
    notify_init(&n);
    assert_int_equal(n.fd, -1);
    unsetenv("NOTIFY_SOCKET");
    notify_init(&n);
    assert_int_equal(n.fd, -1);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_word_is_a_message, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_watchdog_hears_twice_an_interval, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_an_interval_of_its_own_there_is_no_watchdog, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(where_nobody_listens_nothing_is_said, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
