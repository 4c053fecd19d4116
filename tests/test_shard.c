#include "client/loose.h"
#include "client/shard.h"

#include "base/file.h"
#include "tests/kit_temp.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void assert_ok(enum err_code rc, const struct err *e)
{
    if (rc)
        fail_msg("%s", e->msg);
}

/* ---- what reaches the disk, in which order ---- */

static char calls[16];              /* file and folder synced, renamed, disk synced: f d r s */

static void note_call(char call)
{
    size_t len = strlen(calls);

    if (len + 1 < sizeof calls)
        calls[len] = call;
}

/* These stand in for the C library's, tell that they were called, and do the same. */
int fsync(int fd)
{
    struct stat st;

    note_call(fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? 'd' : 'f');
    return (int)syscall(SYS_fsync, fd);
}

int rename(const char *from, const char *to)
{
    note_call('r');
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int syncfs(int fd)
{
    note_call('s');
    return (int)syscall(SYS_syncfs, fd);
}

/* ---- shards ---- */

static struct shard *begin(const struct temp *temp, const char *name)
{
    struct shard *shard;
    struct err e = { .code = ERR_OK };

    assert_ok(shard_create(temp->folder, name, &shard, &e), &e);
    return shard;
}

/* Members of odd lengths, more than one block of them. */
static void fill(struct shard *shard, int members)
{
    static uint8_t data[100000];
    struct err e = { .code = ERR_OK };

    for (int i = 0; i < members; i++) {
        char name[32];
        size_t len = (size_t)(i * 7919 % (int)sizeof data);

        for (size_t k = 0; k < len; k++)
            data[k] = (uint8_t)(k * 31 + (size_t)i);
        snprintf(name, sizeof name, "%09d.jpg", i);
        assert_ok(shard_add(shard, name, data, len, &e), &e);
    }
}

static struct shard_sum finish(struct shard **shard)
{
    struct shard_sum sum;
    struct err e = { .code = ERR_OK };

    assert_ok(shard_finish(shard, NULL, &sum, &e), &e);
    assert_null(*shard);
    return sum;
}

static uint8_t *load(const struct temp *temp, const char *name, size_t *len)
{
    struct err e = { .code = ERR_OK };
    uint8_t *data;

    assert_ok(file_read(temp_path(temp, name).text, 64 << 20, &data, len, &e), &e);
    return data;
}

static void the_same_members_make_the_same_bytes(void **state)
{
    struct temp temp = temp_create();
    struct shard *shard = begin(&temp, "00000.tar");
    struct shard_sum sum, again;
    struct digest hash;
    uint8_t *a, *b;
    size_t a_len, b_len;

    (void)state;
    umask(077);                      /* who makes it, and how, must not show */
    fill(shard, 60);
    sum = finish(&shard);
    umask(022);
    shard = begin(&temp, "00001.tar");
    fill(shard, 60);
    again = finish(&shard);
    a = load(&temp, "00000.tar", &a_len);
    b = load(&temp, "00001.tar", &b_len);
    assert_int_equal(a_len, b_len);
    assert_memory_equal(a, b, a_len);
    assert_int_equal(sum.bytes, a_len);
    assert_int_equal(a_len % 10240, 0);
    hash = digest_of(a, a_len);
    assert_true(digest_equal(&hash, &sum.sha256));
    assert_true(digest_equal(&hash, &again.sha256));
    assert_int_equal(temp_count(&temp), 2);
    free(a);
    free(b);
    temp_destroy(&temp);
}

static void tar_and_python_read_it_back(void **state)
{
    static const char CHECK[] =
        "import sys, tarfile\n"
        "t = tarfile.open(sys.argv[1])\n"
        "n = 0\n"
        "for i, m in enumerate(t):\n"
        "    d = t.extractfile(m).read()\n"
        "    assert m.name == '%09d.jpg' % i and len(d) == i * 7919 % 100000, m.name\n"
        "    assert d == bytes((k * 31 + i) & 255 for k in range(len(d))), m.name\n"
        "    assert (m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) == (0, 0, 0, '', '', 0o644)\n"
        "    n += 1\n"
        "print(n)\n";
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "00000.tar");
    struct shard *shard = begin(&temp, "00000.tar");
    struct ran ran;

    (void)state;
    fill(shard, 40);
    finish(&shard);
    ran = run_program((const char *const[]){ "python3", "-c", CHECK, path.text, NULL });
    if (ran.exit_code)
        fail_msg("%s", ran.err);
    assert_string_equal(ran.out, "40\n");
    ran_release(&ran);
    ran = run_program((const char *const[]){ "tar", "-tf", path.text, NULL });
    assert_int_equal(ran.exit_code, 0);
    assert_int_equal(ran.out_len, 40 * strlen("000000000.jpg\n"));
    assert_string_equal(ran.err, "");
    ran_release(&ran);
    temp_destroy(&temp);
}

static void it_has_its_name_only_when_it_is_whole(void **state)
{
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "00000.tar");
    struct temp_path hidden = temp_path(&temp, ".00000.tar.tmp");
    struct shard *shard = begin(&temp, "00000.tar");

    (void)state;
    fill(shard, 30);
    assert_int_equal(access(path.text, F_OK), -1);
    assert_int_equal(access(hidden.text, F_OK), 0);
    shard_abandon(&shard);
    assert_null(shard);
    shard_abandon(&shard);
    assert_int_equal(temp_count(&temp), 0);
    temp_destroy(&temp);
}

static void it_is_on_the_disk_before_it_has_its_name(void **state)
{
    struct temp temp = temp_create();
    struct err e = { .code = ERR_OK };
    struct shard *shard = begin(&temp, "00000.tar");
    struct loose *loose;
    int64_t bytes;

    (void)state;
    fill(shard, 2);
    memset(calls, 0, sizeof calls);
    finish(&shard);
    assert_string_equal(calls, "frd");
    memset(calls, 0, sizeof calls);
    assert_ok(loose_create(temp.folder, &loose, &e), &e);
    assert_ok(loose_add(loose, "a.jpg", "one", 3, &e), &e);
    assert_string_equal(calls, "");
    assert_ok(loose_finish(&loose, &bytes, &e), &e);
    assert_string_equal(calls, "ss");            /* before the names, and after them */
    temp_destroy(&temp);
}

static void what_an_earlier_run_left_is_replaced(void **state)
{
    struct temp temp = temp_create();
    struct err e = { .code = ERR_OK };
    struct shard *shard;
    struct shard_sum sum;
    struct stat st;

    (void)state;
    assert_ok(file_write_atomic(temp_path(&temp, ".00000.tar.tmp").text, "half", 4, &e), &e);
    assert_ok(file_write_atomic(temp_path(&temp, "00000.tar").text, "old", 3, &e), &e);
    shard = begin(&temp, "00000.tar");
    fill(shard, 1);
    sum = finish(&shard);
    assert_int_equal(stat(temp_path(&temp, "00000.tar").text, &st), 0);
    assert_int_equal(st.st_size, sum.bytes);
    assert_int_equal(temp_count(&temp), 1);
    temp_destroy(&temp);
}

static void other_bytes_than_expected_replace_nothing(void **state)
{
    struct temp temp = temp_create();
    struct err e = { .code = ERR_OK };
    struct shard *shard = begin(&temp, "00000.tar");
    struct shard_sum sum, other;
    struct digest hash;
    uint8_t *data;
    size_t len;

    (void)state;
    fill(shard, 3);
    sum = finish(&shard);
    shard = begin(&temp, "00000.tar");
    fill(shard, 4);
    assert_int_equal(shard_finish(&shard, &sum.sha256, &other, &e), ERR_NOT_REPRODUCIBLE);
    assert_null(shard);
    shard = begin(&temp, "00000.tar");
    fill(shard, 3);
    assert_ok(shard_finish(&shard, &sum.sha256, &other, &e), &e);
    data = load(&temp, "00000.tar", &len);
    hash = digest_of(data, len);
    assert_true(digest_equal(&hash, &sum.sha256));
    assert_int_equal(temp_count(&temp), 1);
    free(data);
    temp_destroy(&temp);
}

static void a_stream_is_the_same_tar(void **state)
{
    struct temp temp = temp_create();
    struct shard *shard = begin(&temp, "00000.tar");
    struct shard_sum file, stream;
    struct err e = { .code = ERR_OK };
    int fd = open(temp_path(&temp, "stream").text, O_WRONLY | O_CREAT, 0600);

    (void)state;
    fill(shard, 20);
    file = finish(&shard);
    assert_true(fd >= 0);
    assert_ok(shard_create_stream(fd, &shard, &e), &e);
    fill(shard, 20);
    stream = finish(&shard);
    assert_int_equal(close(fd), 0);              /* still the caller's */
    assert_true(digest_equal(&file.sha256, &stream.sha256));
    temp_destroy(&temp);
}

/* The limit of a process's files stands for a disk that is full: the write fails in the middle. */
static void run_limited(int (*body)(const struct temp *), const struct temp *temp)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        struct rlimit limit = { 1 << 20, 1 << 20 };

        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        _exit(body(temp));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int fill_up_tar(const struct temp *temp)
{
    static uint8_t data[1 << 20];
    enum err_code rc;
    struct shard *shard;
    struct err e;

    if (shard_create(temp->folder, "00000.tar", &shard, &e))
        return 1;
    do
        rc = shard_add(shard, "a.jpg", data, sizeof data, &e);
    while (!rc);
    shard_abandon(&shard);
    return rc == ERR_FILE && strstr(e.msg, "00000.tar") && strstr(e.msg, "larger than allowed")
               ? 0 : 2;
}

static int fill_up_tar_at_the_end(const struct temp *temp)
{
    static uint8_t data[(1 << 20) - 600];        /* fits, its padding does not */
    struct shard_sum sum;
    struct shard *shard;
    struct err e;

    if (shard_create(temp->folder, "00000.tar", &shard, &e) ||
        shard_add(shard, "a.jpg", data, sizeof data, &e))
        return 1;
    return shard_finish(&shard, NULL, &sum, &e) == ERR_FILE && !shard ? 0 : 2;
}

static int fill_up_loose(const struct temp *temp)
{
    static uint8_t data[2 << 20];
    struct loose *loose;
    struct err e;

    if (loose_create(temp->folder, &loose, &e) ||
        loose_add(loose, "a.jpg", data, 100, &e) ||
        loose_add(loose, "b.jpg", data, sizeof data, &e) != ERR_FILE)
        return 1;
    loose_abandon(&loose);
    return strstr(e.msg, "b.jpg") ? 0 : 2;
}

static void a_full_disk_leaves_nothing(void **state)
{
    struct temp temp = temp_create();

    (void)state;
    run_limited(fill_up_tar, &temp);
    assert_int_equal(temp_count(&temp), 0);
    run_limited(fill_up_tar_at_the_end, &temp);
    assert_int_equal(temp_count(&temp), 0);
    run_limited(fill_up_loose, &temp);
    assert_int_equal(temp_count(&temp), 0);
    temp_destroy(&temp);
}

static void what_cannot_be_is_said(void **state)
{
    struct temp temp = temp_create();
    struct shard *shard;
    struct err e;
    char name[SHARD_NAME_MAX + 2];

    (void)state;
    assert_int_equal(shard_create("/nonexistent", "00000.tar", &shard, &e), ERR_FILE);
    assert_null(shard);
    assert_non_null(strstr(e.msg, "/nonexistent/00000.tar"));
    shard = begin(&temp, "00000.tar");
    memset(name, 'a', sizeof name);
    name[SHARD_NAME_MAX + 1] = '\0';
    assert_int_equal(shard_add(shard, name, "", 0, &e), ERR_RANGE);
    shard_abandon(&shard);
    temp_destroy(&temp);
}

static void loose_files_get_their_names_together(void **state)
{
    struct temp temp = temp_create();
    struct temp_path a = temp_path(&temp, "seed0000.jpg"), b = temp_path(&temp, "psi0.7/b.jpg");
    struct temp_path hidden = temp_path(&temp, ".seed0000.jpg.tmp");
    struct err e = { .code = ERR_OK };
    struct loose *loose;
    int64_t bytes;
    uint8_t *data;
    size_t len;

    (void)state;
    assert_ok(file_write_atomic(hidden.text, "half", 4, &e), &e);
    assert_ok(loose_create(temp.folder, &loose, &e), &e);
    assert_ok(loose_add(loose, "seed0000.jpg", "one", 3, &e), &e);
    assert_ok(loose_add(loose, "psi0.7/b.jpg", "three", 5, &e), &e);
    assert_int_equal(access(a.text, F_OK), -1);
    assert_int_equal(access(b.text, F_OK), -1);
    assert_ok(loose_finish(&loose, &bytes, &e), &e);
    assert_null(loose);
    assert_int_equal(bytes, 8);
    data = load(&temp, "psi0.7/b.jpg", &len);
    assert_int_equal(len, 5);
    assert_memory_equal(data, "three", 5);
    free(data);
    assert_int_equal(access(a.text, F_OK), 0);
    assert_int_equal(access(hidden.text, F_OK), -1);

    assert_ok(loose_create(temp.folder, &loose, &e), &e);
    assert_ok(loose_add(loose, "c.jpg", "one", 3, &e), &e);
    loose_abandon(&loose);
    assert_int_equal(temp_count(&temp), 2);
    assert_int_equal(loose_create(b.text, &loose, &e), ERR_FILE);
    assert_null(loose);
    temp_destroy(&temp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_members_make_the_same_bytes),
        cmocka_unit_test(tar_and_python_read_it_back),
        cmocka_unit_test(it_has_its_name_only_when_it_is_whole),
        cmocka_unit_test(it_is_on_the_disk_before_it_has_its_name),
        cmocka_unit_test(what_an_earlier_run_left_is_replaced),
        cmocka_unit_test(other_bytes_than_expected_replace_nothing),
        cmocka_unit_test(a_stream_is_the_same_tar),
        cmocka_unit_test(a_full_disk_leaves_nothing),
        cmocka_unit_test(what_cannot_be_is_said),
        cmocka_unit_test(loose_files_get_their_names_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
