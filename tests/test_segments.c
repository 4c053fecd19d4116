#include "sql/segments.h"

#include "tests/kit_temp.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { HEAD = 64, RECORD_HEAD = 72, BYTES = 1000, FILE_BYTES = 1 << 20 };

struct fixture {
    struct temp temp;
    struct segments *segments;
};

/* A picture of BYTES bytes, or as many as len says, that depend on number. */
struct picture {
    uint8_t data[8192];
    struct segments_record record;
};

static void paint(struct picture *self, int number, size_t len)
{
    for (size_t i = 0; i < len; i++)
        self->data[i] = (uint8_t)(number * 31 + (int)i * 7 + (int)(i >> 8));
    self->record = (struct segments_record){ digest_of(&number, sizeof number),
                                             digest_of(self->data, len), self->data, len };
}

static int set_up(void **state)
{
    static struct fixture f;
    struct err e;

    f.temp = temp_create();
    assert_int_equal(segments_open(f.temp.folder, SEGMENTS_WRITE, FILE_BYTES, &f.segments, &e), 0);
    assert_int_equal(segments_check(f.segments, true, &e), ERR_OK);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    segments_close(&f->segments);
    temp_destroy(&f->temp);
    return 0;
}

static void begin(struct fixture *f, int32_t id)
{
    struct err e;

    if (segments_begin(f->segments, id, &e))
        fail_msg("%s", e.msg);
}

static struct segments_place append(struct fixture *f, const struct picture *p)
{
    struct segments_place at;
    struct err e;

    if (segments_append(f->segments, &p->record, 1, &at, &e))
        fail_msg("%s", e.msg);
    return at;
}

static enum err_code read_back(struct fixture *f, struct segments_place at,
                               const struct segments_record *record)
{
    uint8_t *data;
    struct err e = { 0 };
    enum err_code rc = segments_read(f->segments, at, record, &data, &e);

    assert_int_equal(rc == ERR_OK, data != NULL);
    assert_int_equal(rc == ERR_OK, e.msg[0] == '\0');
    if (data) {
        struct digest sha = digest_of(data, record->len);

        assert_true(digest_equal(&sha, &record->file_sha));
    }
    free(data);
    return rc;
}

static struct temp_path path_of(struct fixture *f, int segment)
{
    char name[32];

    snprintf(name, sizeof name, "%010d.seg", segment);
    return temp_path(&f->temp, name);
}

static void change_file(struct fixture *f, int segment, int64_t at, const void *bytes, size_t len)
{
    int fd = open(path_of(f, segment).text, O_RDWR);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, len, at), len);
    close(fd);
}

static void what_is_appended_is_read_back(void **state)
{
    struct fixture *f = *state;
    static struct picture p[SEGMENTS_BATCH_MAX];
    struct segments_record records[SEGMENTS_BATCH_MAX];
    struct segments_place places[SEGMENTS_BATCH_MAX];
    struct segments *reader;
    struct err e;

    begin(f, 7);
    for (int i = 0; i < SEGMENTS_BATCH_MAX; i++) {
        paint(&p[i], i, (size_t)i * 113 + 1);
        records[i] = p[i].record;
    }
    assert_int_equal(segments_append(f->segments, records, SEGMENTS_BATCH_MAX, places, &e), ERR_OK);
    assert_int_equal(places[0].segment, 7);
    assert_int_equal(places[0].place, HEAD);
    assert_int_equal(places[1].place, HEAD + RECORD_HEAD + 8);
    for (int i = 0; i < SEGMENTS_BATCH_MAX; i++) {
        assert_int_equal(places[i].place % 8, 0);
        assert_int_equal(read_back(f, places[i], &records[i]), ERR_OK);
    }
    assert_int_equal(segments_open(f->temp.folder, SEGMENTS_READ, 0, &reader, &e), ERR_OK);
    for (int i = 0; i < SEGMENTS_BATCH_MAX; i++) {
        uint8_t *data;

        assert_int_equal(segments_read(reader, places[i], &records[i], &data, &e), ERR_OK);
        assert_memory_equal(data, p[i].data, records[i].len);
        free(data);
    }
    segments_close(&reader);
}

static void nothing_but_the_record_itself_is_read(void **state)
{
    struct fixture *f = *state;
    struct segments_record other;
    struct picture p, q;

    begin(f, 1);
    paint(&p, 1, BYTES);
    paint(&q, 2, BYTES);
    struct segments_place at = append(f, &p), behind = append(f, &q);

    assert_int_equal(read_back(f, at, &q.record), ERR_NOT_FOUND);
    assert_int_equal(read_back(f, behind, &p.record), ERR_NOT_FOUND);
    other = p.record;
    other.key = q.record.key;
    assert_int_equal(read_back(f, at, &other), ERR_NOT_FOUND);
    other = p.record;
    other.file_sha = q.record.file_sha;
    assert_int_equal(read_back(f, at, &other), ERR_NOT_FOUND);
    for (int more = -1; more <= 1; more += 2) {
        other = p.record;
        other.len = (size_t)(BYTES + more);
        assert_int_equal(read_back(f, at, &other), ERR_NOT_FOUND);
    }
    static const int64_t NOWHERE[] = { -8, 0, 8, HEAD - 8, HEAD + 1, HEAD + 8, 1 << 20, INT64_MAX,
                                       INT64_MAX - 7, INT64_MIN };
    for (size_t i = 0; i < sizeof NOWHERE / sizeof NOWHERE[0]; i++)
        assert_int_equal(read_back(f, (struct segments_place){ 1, NOWHERE[i] }, &p.record),
                         ERR_NOT_FOUND);
    static const size_t LENGTHS[] = { 0, SEGMENTS_RECORD_MAX + 1, SIZE_MAX };
    for (size_t i = 0; i < sizeof LENGTHS / sizeof LENGTHS[0]; i++) {
        other = p.record;
        other.len = LENGTHS[i];
        assert_int_equal(read_back(f, at, &other), ERR_NOT_FOUND);
    }
    assert_int_equal(read_back(f, (struct segments_place){ 0, HEAD }, &p.record), ERR_NOT_FOUND);
    assert_int_equal(read_back(f, (struct segments_place){ 2, HEAD }, &p.record), ERR_FILE);
    assert_int_equal(read_back(f, at, &p.record), ERR_OK);
}

static void every_damaged_byte_is_seen(void **state)
{
    struct fixture *f = *state;
    uint8_t byte, bad;
    struct picture p;

    begin(f, 1);
    paint(&p, 1, 100);
    struct segments_place at = append(f, &p);
    int fd = open(path_of(f, 1).text, O_RDWR);

    for (int i = 0; i < RECORD_HEAD + 100; i++) {
        assert_int_equal(pread(fd, &byte, 1, at.place + i), 1);
        bad = byte ^ 1;
        assert_int_equal(pwrite(fd, &bad, 1, at.place + i), 1);
        assert_int_equal(read_back(f, at, &p.record), ERR_NOT_FOUND);
        assert_int_equal(pwrite(fd, &byte, 1, at.place + i), 1);
    }
    assert_int_equal(read_back(f, at, &p.record), ERR_OK);
    close(fd);
}

static void a_torn_tail_is_no_record(void **state)
{
    struct fixture *f = *state;
    struct picture p, q;

    begin(f, 1);
    paint(&p, 1, BYTES);
    paint(&q, 2, BYTES);
    struct segments_place whole = append(f, &p), torn = append(f, &q);

    for (int left = RECORD_HEAD + BYTES - 1; left >= 0; left -= 37) {
        assert_int_equal(truncate(path_of(f, 1).text, torn.place + left), 0);
        assert_int_equal(read_back(f, torn, &q.record), ERR_NOT_FOUND);
        assert_int_equal(read_back(f, whole, &p.record), ERR_OK);
    }
}

static void a_file_that_is_not_the_segment_is_refused(void **state)
{
    struct fixture *f = *state;
    struct segments *reader;
    struct picture p;
    uint8_t *data;
    struct err e;

    begin(f, 1);
    paint(&p, 1, BYTES);
    struct segments_place at = append(f, &p), there = { 2, at.place };

    assert_int_equal(segments_open(f->temp.folder, SEGMENTS_READ, 0, &reader, &e), ERR_OK);
    assert_int_equal(rename(path_of(f, 1).text, path_of(f, 2).text), 0);
    assert_int_equal(segments_read(reader, at, &p.record, &data, &e), ERR_FILE);
    assert_non_null(strstr(e.msg, "segment 1"));
    assert_int_equal(segments_read(reader, there, &p.record, &data, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "does not hold segment 2"));
    assert_int_equal(rename(path_of(f, 2).text, path_of(f, 1).text), 0);
    change_file(f, 1, 16, "\2", 1);             /* a version that is not ours */
    assert_int_equal(segments_read(reader, at, &p.record, &data, &e), ERR_NOT_FOUND);
    change_file(f, 1, 16, "\1", 1);
    change_file(f, 1, 0, "S", 1);
    assert_int_equal(segments_read(reader, at, &p.record, &data, &e), ERR_NOT_FOUND);
    assert_int_equal(truncate(path_of(f, 1).text, 10), 0);
    assert_int_equal(segments_read(reader, at, &p.record, &data, &e), ERR_NOT_FOUND);
    assert_null(data);
    segments_close(&reader);
}

static void a_segment_is_begun_once(void **state)
{
    struct fixture *f = *state;
    struct err e;

    assert_true(segments_is_full(f->segments, 1, 1));
    assert_int_equal(segments_current(f->segments), 0);
    begin(f, 1);
    assert_int_equal(segments_current(f->segments), 1);
    assert_int_equal(segments_begin(f->segments, 1, &e), ERR_FILE);
    assert_non_null(strstr(e.msg, "File exists"));
    assert_int_equal(segments_current(f->segments), 1);     /* and goes on */
}

static void a_full_file_is_followed_by_another(void **state)
{
    struct fixture *f = *state;
    static struct picture p;
    int64_t size = RECORD_HEAD + sizeof p.data;
    int fit = (int)((FILE_BYTES - HEAD) / size);
    struct err e;

    begin(f, 1);
    paint(&p, 1, sizeof p.data);
    for (int i = 0; i < fit; i++) {
        assert_false(segments_is_full(f->segments, 1, sizeof p.data));
        append(f, &p);
    }
    assert_true(segments_is_full(f->segments, 1, sizeof p.data));
    begin(f, 2);
    assert_int_equal(append(f, &p).segment, 2);
    segments_close(&f->segments);               /* a record larger than a file has its own */
    assert_int_equal(segments_open(f->temp.folder, SEGMENTS_WRITE, 1000, &f->segments, &e), ERR_OK);
    begin(f, 3);
    assert_false(segments_is_full(f->segments, 1, sizeof p.data));
    append(f, &p);
    assert_true(segments_is_full(f->segments, 1, 1));
}

static void more_files_than_are_held_open_are_read(void **state)
{
    enum { FILES = 2 * SEGMENTS_OPEN_MAX + 3 };
    struct fixture *f = *state;
    static struct picture p[FILES];
    struct segments_place at[FILES];
    struct rlimit limit, few;

    for (int i = 0; i < FILES; i++) {
        begin(f, i + 1);
        paint(&p[i], i, 10);
        at[i] = append(f, &p[i]);
    }
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    int next_fd = dup(0);

    close(next_fd);
    /* One more: the file that is written may lie above. */
    few = (struct rlimit){ (rlim_t)next_fd + SEGMENTS_OPEN_MAX + 1, limit.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < FILES; i++)
            assert_int_equal(read_back(f, at[i], &p[i].record), ERR_OK);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* The limit of a file's size stands for a full disk: the write stops half way. */
static void a_full_disk_leaves_all_as_it_was(void **state)
{
    struct fixture *f = *state;
    struct rlimit limit, small;
    struct picture p, q;
    struct segments_place at;
    struct stat st;
    struct err e;

    begin(f, 1);
    paint(&p, 1, BYTES);
    paint(&q, 2, 5000);
    struct segments_place before = append(f, &p);

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = (struct rlimit){ 3000, limit.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(segments_append(f->segments, &q.record, 1, &at, &e), ERR_FILE);
    assert_non_null(strstr(e.msg, "could not write to segment 1"));
    assert_int_equal(stat(path_of(f, 1).text, &st), 0);
    assert_int_equal(st.st_size, before.place + RECORD_HEAD + BYTES);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    at = append(f, &q);
    assert_int_equal(at.place, before.place + RECORD_HEAD + BYTES);
    assert_int_equal(read_back(f, at, &q.record), ERR_OK);
    assert_int_equal(read_back(f, before, &p.record), ERR_OK);
}

static void erased_bytes_are_gone_from_the_file(void **state)
{
    struct fixture *f = *state;
    static struct picture p[4];
    struct segments_record records[4];
    struct segments_place at[4];
    uint8_t found[sizeof p[0].data];
    struct stat before, after;
    size_t done;
    struct err e;

    begin(f, 1);
    for (int i = 0; i < 4; i++) {
        if (i == 2)
            begin(f, 2);
        paint(&p[i], i, sizeof p[i].data);
        records[i] = p[i].record;
        at[i] = append(f, &p[i]);
    }
    assert_int_equal(stat(path_of(f, 1).text, &before), 0);
    struct segments_record wrong = records[1];

    wrong.key = records[0].key;                 /* whoever errs must not remove another's picture */
    assert_int_equal(segments_erase(f->temp.folder, &at[1], &wrong, 1, &done, &e), ERR_OK);
    assert_int_equal(read_back(f, at[1], &records[1]), ERR_OK);

    assert_int_equal(segments_erase(f->temp.folder, &at[1], &records[1], 2, &done, &e), ERR_OK);
    assert_int_equal(done, 2);
    assert_int_equal(read_back(f, at[0], &records[0]), ERR_OK);
    assert_int_equal(read_back(f, at[1], &records[1]), ERR_NOT_FOUND);
    assert_int_equal(read_back(f, at[2], &records[2]), ERR_NOT_FOUND);
    assert_int_equal(read_back(f, at[3], &records[3]), ERR_OK);
    int fd = open(path_of(f, 1).text, O_RDONLY);

    assert_int_equal(pread(fd, found, sizeof found, at[1].place + RECORD_HEAD), sizeof found);
    close(fd);
    for (size_t i = 0; i < sizeof found; i++)
        assert_int_equal(found[i], 0);
    assert_int_equal(stat(path_of(f, 1).text, &after), 0);
    assert_true(after.st_blocks < before.st_blocks);
    assert_int_equal(segments_erase(f->temp.folder, &at[1], &records[1], 1, &done, &e), ERR_OK);

    assert_int_equal(unlink(path_of(f, 2).text), 0);
    assert_int_equal(segments_erase(f->temp.folder, at, records, 3, &done, &e), ERR_FILE);
    assert_int_equal(done, 2);                  /* those of segment 1 */
}

static void what_lost_a_race_is_removed(void **state)
{
    struct fixture *f = *state;
    struct picture p;

    begin(f, 1);
    paint(&p, 1, BYTES);
    struct segments_place at = append(f, &p);

    segments_forget(f->segments, at, &p.record);
    assert_int_equal(read_back(f, at, &p.record), ERR_NOT_FOUND);
}

/* A folder that its user may not write to, seen by that user: root may write everywhere. */
static void in_a_folder_of_root(const char *folder)
{
    struct segments *s;
    struct err e;

    if (geteuid() == 0 && (setgid(65534) || setuid(65534)))
        _exit(1);
    if (segments_open(folder, SEGMENTS_READ, 0, &s, &e))
        _exit(2);
    segments_close(&s);
    if (segments_open(folder, SEGMENTS_WRITE, 0, &s, &e) != ERR_FILE ||
        !strstr(e.msg, "is not for this user to write to"))
        _exit(3);
    _exit(0);
}

static void a_bad_folder_is_told_at_once(void **state)
{
    struct fixture *f = *state;
    struct temp_path file = temp_path(&f->temp, "file");
    struct segments *s;
    int status;
    struct err e;

    assert_int_equal(segments_open("/nowhere/at/all", SEGMENTS_READ, 0, &s, &e), ERR_FILE);
    assert_null(s);
    assert_non_null(strstr(e.msg, "\"/nowhere/at/all\": No such file"));
    close(open(file.text, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(segments_open(file.text, SEGMENTS_WRITE, 0, &s, &e), ERR_FILE);
    assert_int_equal(chmod(f->temp.folder, 0555), 0);
    pid_t pid = fork();

    if (pid == 0)
        in_a_folder_of_root(f->temp.folder);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(chmod(f->temp.folder, 0755), 0);
}

static void a_folder_without_its_mark_is_not_the_one(void **state)
{
    struct fixture *f = *state;
    struct err e;

    assert_int_equal(segments_check(f->segments, false, &e), ERR_OK);
    assert_int_equal(unlink(temp_path(&f->temp, "seedpress-segments").text), 0);
    assert_int_equal(segments_check(f->segments, false, &e), ERR_FILE);
    assert_non_null(strstr(e.msg, "is its disk mounted?"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_appended_is_read_back),
        TEST(nothing_but_the_record_itself_is_read),
        TEST(every_damaged_byte_is_seen),
        TEST(a_torn_tail_is_no_record),
        TEST(a_file_that_is_not_the_segment_is_refused),
        TEST(a_segment_is_begun_once),
        TEST(a_full_file_is_followed_by_another),
        TEST(more_files_than_are_held_open_are_read),
        TEST(a_full_disk_leaves_all_as_it_was),
        TEST(erased_bytes_are_gone_from_the_file),
        TEST(what_lost_a_race_is_removed),
        TEST(a_bad_folder_is_told_at_once),
        TEST(a_folder_without_its_mark_is_not_the_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
