#include "base/file.h"

#include "tests/kit_temp.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void assert_holds(const char *path, const char *text)
{
    uint8_t *data;
    size_t len;
    struct err e;

    assert_int_equal(file_read(path, 1 << 20, &data, &len, &e), ERR_OK);
    assert_int_equal(len, strlen(text));
    assert_string_equal((char *)data, text);
    free(data);
}

static void what_is_written_is_read_back(void **state)
{
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "a.bin");
    struct stat st;
    struct err e;

    (void)state;
    umask(022);
    assert_int_equal(file_write_atomic(path.text, "first", 5, &e), ERR_OK);
    assert_holds(path.text, "first");
    assert_int_equal(file_write_atomic(path.text, "", 0, &e), ERR_OK);
    assert_holds(path.text, "");
    assert_int_equal(stat(path.text, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0644);
    assert_int_equal(temp_count(&temp), 1);
    temp_destroy(&temp);
}

static void a_file_of_exactly_the_limit_is_read_and_one_byte_more_is_not(void **state)
{
    static uint8_t blob[200000];
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "a.bin");
    uint8_t *data;
    size_t len;
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof blob; i++)
        blob[i] = (uint8_t)(i * 31);
    assert_int_equal(file_write_atomic(path.text, blob, sizeof blob, &e), ERR_OK);
    assert_int_equal(file_read(path.text, sizeof blob, &data, &len, &e), ERR_OK);
    assert_int_equal(len, sizeof blob);
    assert_memory_equal(data, blob, sizeof blob);
    free(data);
    assert_int_equal(file_read(path.text, sizeof blob - 1, &data, &len, &e), ERR_FILE);
    assert_non_null(strstr(e.msg, "larger than 199999 bytes"));
    assert_null(data);
    temp_destroy(&temp);
}

struct feed {
    const char *path;
    size_t len;
};

static void *write_feed(void *arg)
{
    const struct feed *feed = arg;
    uint8_t *data = calloc(feed->len, 1);
    int fd = open(feed->path, O_WRONLY);

    for (size_t put = 0; put < feed->len;) {
        ssize_t n = write(fd, data + put, feed->len - put);

        if (n <= 0)
            break;
        put += (size_t)n;
    }
    close(fd);
    free(data);
    return NULL;
}

/* A pipe has no size beforehand: the buffer has to grow, and still to stop at the limit. */
static void a_pipe_is_read_to_its_end(void **state)
{
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "pipe");
    struct feed feed = { path.text, 300000 };
    uint8_t *data;
    size_t len;
    pthread_t thread;
    struct err e;

    (void)state;
    assert_int_equal(mkfifo(path.text, 0600), 0);
    assert_int_equal(pthread_create(&thread, NULL, write_feed, &feed), 0);
    assert_int_equal(file_read(path.text, 300000, &data, &len, &e), ERR_OK);
    assert_int_equal(len, 300000);
    free(data);
    pthread_join(thread, NULL);

    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(pthread_create(&thread, NULL, write_feed, &feed), 0);
    assert_int_equal(file_read(path.text, 100000, &data, &len, &e), ERR_FILE);
    pthread_join(thread, NULL);
    temp_destroy(&temp);
}

static void what_cannot_be_read_is_refused_in_words(void **state)
{
    struct temp temp = temp_create();
    struct temp_path missing = temp_path(&temp, "missing");
    uint8_t *data;
    size_t len;
    struct err e;

    (void)state;
    assert_int_equal(file_read(missing.text, 10, &data, &len, &e), ERR_FILE);
    assert_non_null(strstr(e.msg, "no such file or folder"));
    assert_int_equal(file_read(temp.folder, 10, &data, &len, &e), ERR_FILE);
    assert_non_null(strstr(e.msg, "it is a folder"));
    temp_destroy(&temp);
}

static void a_missing_folder_and_a_folder_as_target_are_refused_in_words(void **state)
{
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "no/such/a.bin");
    struct err e;

    (void)state;
    assert_int_equal(file_write_atomic(path.text, "x", 1, &e), ERR_FILE);
    assert_non_null(strstr(e.msg, "its folder does not exist"));
    assert_int_equal(file_write_atomic(temp.folder, "x", 1, &e), ERR_FILE);
    assert_non_null(strstr(e.msg, "it is a folder"));
    temp_destroy(&temp);
}

static void a_device_is_written_to_and_not_replaced(void **state)
{
    struct stat st;
    struct err e;

    (void)state;
    assert_int_equal(file_write_atomic("/dev/full", "x", 1, &e), ERR_FILE);
    assert_non_null(strstr(e.msg, "the disk is full"));
    assert_int_equal(file_write_atomic("/dev/null", "x", 1, &e), ERR_OK);
    assert_int_equal(stat("/dev/null", &st), 0);
    assert_true(S_ISCHR(st.st_mode));
}

/* In a child, because the limit is the process's: a disk that takes 4 kB and then no more. */
static void a_disk_that_fills_up_leaves_the_old_file_and_nothing_else(void **state)
{
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "a.bin");
    struct err e;
    int status;
    pid_t pid;

    (void)state;
    assert_int_equal(file_write_atomic(path.text, "old", 3, &e), ERR_OK);
    pid = fork();
    if (pid == 0) {
        static const uint8_t large[100000];
        struct rlimit limit = { 4096, 4096 };

        signal(SIGXFSZ, SIG_IGN);
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
            _exit(2);
        enum err_code rc = file_write_atomic(path.text, large, sizeof large, &e);

        _exit(rc == ERR_FILE && strstr(e.msg, "larger than allowed") ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_holds(path.text, "old");
    assert_int_equal(temp_count(&temp), 1);
    temp_destroy(&temp);
}

/* In a child that gives up root where the test has it: root may write everywhere. */
static void a_folder_without_permission_is_refused_in_words(void **state)
{
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "a.bin");
    int status;
    pid_t pid;

    (void)state;
    assert_int_equal(chmod(temp.folder, 0555), 0);
    pid = fork();
    if (pid == 0) {
        enum { NOBODY = 65534 };
        struct err e;

        if (geteuid() == 0 && setresuid(NOBODY, NOBODY, NOBODY) != 0)
            _exit(2);
        enum err_code rc = file_write_atomic(path.text, "x", 1, &e);

        _exit(rc == ERR_FILE && strstr(e.msg, "no permission") ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(chmod(temp.folder, 0755), 0);
    assert_int_equal(temp_count(&temp), 0);
    temp_destroy(&temp);
}

static void a_symbolic_link_stays_and_its_target_is_replaced(void **state)
{
    struct temp temp = temp_create();
    struct temp_path target = temp_path(&temp, "target"), link_path = temp_path(&temp, "link");
    struct stat st;
    struct err e;

    (void)state;
    assert_int_equal(file_write_atomic(target.text, "old", 3, &e), ERR_OK);
    assert_int_equal(symlink("target", link_path.text), 0);
    assert_int_equal(file_write_atomic(link_path.text, "new", 3, &e), ERR_OK);
    assert_holds(target.text, "new");
    assert_int_equal(lstat(link_path.text, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    temp_destroy(&temp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(a_file_of_exactly_the_limit_is_read_and_one_byte_more_is_not),
        cmocka_unit_test(a_pipe_is_read_to_its_end),
        cmocka_unit_test(what_cannot_be_read_is_refused_in_words),
        cmocka_unit_test(a_missing_folder_and_a_folder_as_target_are_refused_in_words),
        cmocka_unit_test(a_device_is_written_to_and_not_replaced),
        cmocka_unit_test(a_disk_that_fills_up_leaves_the_old_file_and_nothing_else),
        cmocka_unit_test(a_folder_without_permission_is_refused_in_words),
        cmocka_unit_test(a_symbolic_link_stays_and_its_target_is_replaced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
