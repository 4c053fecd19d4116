/* `seedpress bulk export` from outside, on a real broker, worker and PostgreSQL: what is in a
 * shard, the same bytes every time, kills and what follows them, jobs that go on meanwhile, folders
 * that cannot be, and what --verify finds. */
#include "base/file.h"
#include "client/manifest.h"
#include "client/seedpress.h"
#include "tests/kit_model.h"
#include "tests/kit_stack.h"
#include "tests/kit_temp.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL_FILE "deploy/models/avatars64.safetensors"

enum { ARGS_MAX = 32, ITEMS = 120, SHARD = 25, SHARDS = 5 };

static struct kit_stack stack;
static struct temp temp;
static struct seedpress *sp;
static int64_t main_job;            /* ITEMS items of two psi; done once its first test is over */

/* ---- running it ---- */

static const char *program(void)
{
    static char path[256];
    const char *build = getenv("SEEDPRESS_BUILD");

    snprintf(path, sizeof path, "%s/seedpress", build ? build : "build");
    return path;
}

static struct ran seedpress_with(const char *const *args)
{
    const char *argv[ARGS_MAX] = { program(), "--broker", stack.clients, "bulk", "export" };
    size_t count = 5;

    while (*args) {
        assert_true(count < ARGS_MAX - 1);
        argv[count++] = *args++;
    }
    return run_program(argv);
}
#define EXPORT(...) seedpress_with((const char *const[]){ __VA_ARGS__, NULL })

static void expect(struct ran *ran, int exit_code, const char *out, const char *err)
{
    if (ran->exit_code != exit_code)
        fail_msg("exit code %d and not %d: %s%s", ran->exit_code, exit_code, ran->out, ran->err);
    if (out && !strstr(ran->out, out))
        fail_msg("\"%s\" is not on standard output: %s%s", out, ran->out, ran->err);
    if (err && !strstr(ran->err, err))
        fail_msg("\"%s\" is not on standard error: %s%s", err, ran->out, ran->err);
    ran_release(ran);
}

static void expect_script(int exit_code, const char *script, const char *a, const char *b)
{
    struct ran ran = run_program((const char *const[]){ "python3", "-c", script, a, b, NULL });

    expect(&ran, exit_code, NULL, NULL);
}

static struct temp_path folder_of(const char *name)
{
    return temp_path(&temp, name);
}

static struct temp_path path_of(const char *folder, const char *name)
{
    char both[160];

    snprintf(both, sizeof both, "%s/%s", folder, name);
    return temp_path(&temp, both);
}

static bool is_there(const char *folder, const char *name)
{
    return access(path_of(folder, name).text, F_OK) == 0;
}

static struct digest hash_of(const char *folder, const char *name)
{
    struct digest hash;
    struct err e;
    uint8_t *data;
    size_t len;

    if (file_read(path_of(folder, name).text, 64 << 20, &data, &len, &e))
        fail_msg("%s", e.msg);
    hash = digest_of(data, len);
    free(data);
    return hash;
}

static void assert_same_file(const char *a_folder, const char *b_folder, const char *name)
{
    struct digest a = hash_of(a_folder, name), b = hash_of(b_folder, name);

    if (!digest_equal(&a, &b))
        fail_msg("%s differs between %s and %s", name, a_folder, b_folder);
}

static void assert_same_shards(const char *a, const char *b)
{
    for (int i = 0; i < SHARDS; i++) {
        assert_same_file(a, b, manifest_shard_name(i).text);
        assert_same_file(a, b, manifest_list_name(i).text);
    }
}

/* No temporary file, no shard that is not in the manifest. */
static void assert_tidy(const char *folder, int shards)
{
    DIR *dir = opendir(folder_of(folder).text);
    const struct dirent *entry;
    int found = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        if (strstr(entry->d_name, ".tmp"))
            fail_msg("%s is left", entry->d_name);
        found += strstr(entry->d_name, ".tar") != NULL;
    }
    closedir(dir);
    assert_int_equal(found, shards);
}

/* ---- jobs ---- */

static void check(enum seedpress_code code, const struct seedpress_error *error)
{
    if (code)
        fail_msg("%s: %s", error->word, error->message);
}

static struct seedpress_part part_of(uint32_t first, uint32_t last, double psi)
{
    struct seedpress_part part = { .first = first, .last = last };

    seedpress_request_init(&part.request);
    part.request.model = "avatars64";
    part.request.psi = psi;
    return part;
}

static int64_t submit(const char *name, int keep, const struct seedpress_part *parts, size_t count)
{
    struct seedpress_submission submission = { .name = name, .keep = keep, .chunk = 20,
                                               .priority = SEEDPRESS_NORMAL, .parts = parts,
                                               .part_count = count };
    struct seedpress_error error;
    struct seedpress_job job;
    bool is_new;

    check(seedpress_bulk_submit(sp, &submission, &job, &is_new, &error), &error);
    assert_true(is_new);
    return job.job;
}

static int64_t submit_seeds(const char *name, int keep, uint32_t first, uint32_t last)
{
    struct seedpress_part part = part_of(first, last, 0.5);

    return submit(name, keep, &part, 1);
}

static struct seedpress_job job_now(int64_t number)
{
    const struct seedpress_job *jobs;
    struct seedpress_error error;
    size_t count;

    check(seedpress_bulk_list(sp, number, NULL, 1, &jobs, &count, &error), &error);
    assert_int_equal(count, 1);
    return jobs[0];
}

static int64_t count_rows(const char *what)
{
    return kit_postgres_int(stack.pg.conninfo, what);
}

static int start(void **state)
{
    struct seedpress_options options = { .brokers = NULL };
    struct seedpress_part parts[2] = { part_of(0, 79, 0.7), part_of(60, 99, 1) };
    struct seedpress_error error;

    (void)state;
    temp = temp_create();
    stack_start(&stack, (const char *const[]){ "--lookup-ms", "10000", NULL });
    stack_start_worker(&stack, 0, (const char *const[]){ "--threads", "2", NULL });
    options.brokers = stack.clients;
    check(seedpress_create(&options, &sp, &error), &error);
    main_job = submit("two-psi", SEEDPRESS_KEEP_IMAGE, parts, 2);
    return 0;
}

static int end(void **state)
{
    (void)state;
    seedpress_destroy(&sp);
    stack_destroy(&stack);
    temp_destroy(&temp);
    return 0;
}

/* ---- what is in it ---- */

static const char CHECK_SHARDS[] =
    "import hashlib, json, sys, tarfile\n"
    "folder = sys.argv[1]\n"
    "manifest = json.load(open(folder + '/manifest.json'))\n"
    "assert manifest['total'] == 120 and manifest['job'] > 0 and manifest['keep'] == 'image'\n"
    "assert manifest['parts'][0]['seeds'] == '0-79' and manifest['parts'][0]['psi'] == 0.7\n"
    "assert manifest['parts'][1]['seeds'] == '60-99' and manifest['failures'] == []\n"
    "item = 0\n"
    "for n, shard in enumerate(manifest['shards']):\n"
    "    path = '%s/%s' % (folder, shard['name'])\n"
    "    data = open(path, 'rb').read()\n"
    "    assert shard['name'] == '%05d.tar' % n and shard['first'] == 25 * n\n"
    "    assert len(data) == shard['bytes']\n"
    "    assert hashlib.sha256(data).hexdigest() == shard['sha256']\n"
    "    lists = open('%s/%05d.sha256' % (folder, n)).read()\n"
    "    assert hashlib.sha256(lists.encode()).hexdigest() == shard['list_sha256']\n"
    "    tar = tarfile.open(path)\n"
    "    members = tar.getmembers()\n"
    "    assert len(members) == 2 * shard['pictures']\n"
    "    for k in range(0, len(members), 2):\n"
    "        jpg = tar.extractfile(members[k]).read()\n"
    "        facts = json.load(tar.extractfile(members[k + 1]))\n"
    "        sha = hashlib.sha256(jpg).hexdigest()\n"
    "        assert members[k].name == '%09d.jpg' % item\n"
    "        assert members[k + 1].name == '%09d.json' % item\n"
    "        assert facts['sha256'] == sha and facts['key'] == '%09d' % item\n"
    "        assert lists.splitlines()[k // 2] == '%s  %09d.jpg' % (sha, item)\n"
    "        assert facts['seed'] == (item if item < 80 else item - 20)\n"
    "        assert facts['psi'] == (0.7 if item < 80 else 1) and facts['class'] is None\n"
    "        assert hashlib.sha256(facts['recipe'].encode()).hexdigest() == facts['recipe_key']\n"
    "        assert facts['model'] == manifest['parts'][0]['model'] and facts['numerics_class']\n"
    "        item += 1\n"
    "assert item == 120, item\n";

static void a_job_that_renders_is_followed_into_shards(void **state)
{
    struct ran ran = EXPORT("two-psi", "-o", folder_of("first").text, "--shard-size", "25");

    (void)state;
    expect(&ran, 0, "120 pictures in 5 shards", NULL);
    assert_tidy("first", SHARDS);
    expect_script(0, CHECK_SHARDS, folder_of("first").text, "");
    ran = EXPORT("--verify", "-o", folder_of("first").text);
    expect(&ran, 0, "5 shards, 120 pictures: all as the manifest says", NULL);
    assert_int_equal(job_now(main_job).done, ITEMS);
    /* Following renders nothing by itself, out of turn: all that is there is the job's. */
    assert_int_equal(count_rows("SELECT count(*) FROM images WHERE job_id IS NOT NULL"), ITEMS);
    assert_int_equal(count_rows("SELECT count(*) FROM images"), ITEMS);
    /* What sha256sum and tar make of it. */
    ran = run_program((const char *const[]){ "sh", "-c", "cd \"$0\" && mkdir x && for t in *.tar; "
                      "do tar -xf $t -C x; done && cd x && cat ../*.sha256 | sha256sum -c --quiet",
                      folder_of("first").text, NULL });
    expect(&ran, 0, NULL, NULL);
}

static void a_second_export_has_the_same_bytes(void **state)
{
    struct ran ran = EXPORT("two-psi", "-o", folder_of("second").text, "--shard-size", "25");

    (void)state;
    expect(&ran, 0, "120 pictures in 5 shards", NULL);
    assert_same_shards("first", "second");
    assert_same_file("first", "second", "manifest.json");
    ran = EXPORT("two-psi", "-o", folder_of("second").text);
    expect(&ran, 0, "0 pictures in 0 shards", NULL);     /* the size is the manifest's */
}

static void the_manifest_is_the_job(void **state)
{
    struct temp_path path = path_of("first", "manifest.json");
    struct ran ran = run_program((const char *const[]){ program(), "--json", "--broker",
                                 stack.clients, "bulk", "submit", "-f", path.text, NULL });
    char wanted[32];

    (void)state;
    snprintf(wanted, sizeof wanted, "\"job\":%" PRId64 ",", main_job);
    expect(&ran, 0, wanted, NULL);
    assert_int_equal(count_rows("SELECT count(*) FROM bulk_jobs"), 1);
}

static void a_shard_is_made_again_from_its_name(void **state)
{
    struct ran ran;

    (void)state;
    assert_int_equal(unlink(path_of("second", "00003.tar").text), 0);
    ran = EXPORT("two-psi", "-o", folder_of("second").text, "--shard", "00003.tar");
    expect(&ran, 0, "25 pictures in 1 shard", NULL);
    assert_same_shards("first", "second");
    ran = EXPORT("two-psi", "-o", folder_of("alone").text, "--shard", "4", "--shard-size", "25");
    expect(&ran, 0, "20 pictures in 1 shard", NULL);
    assert_same_file("first", "alone", "00004.tar");
    ran = EXPORT("two-psi", "-o", folder_of("alone").text, "--shard", "5");
    expect(&ran, 2, NULL, "--shard 5 is out of range: the job has 5 shards");
}

static void what_has_gone_is_made_again(void **state)
{
    struct ran ran;

    (void)state;
    assert_int_equal(unlink(path_of("second", "00001.tar").text), 0);
    assert_int_equal(truncate(path_of("second", "00002.tar").text, 10240), 0);
    assert_int_equal(unlink(path_of("second", "00004.sha256").text), 0);
    ran = EXPORT("two-psi", "-o", folder_of("second").text);
    expect(&ran, 0, "70 pictures in 3 shards", NULL);
    assert_same_shards("first", "second");
}

static void parts_share_a_folder(void **state)
{
    struct ran ran = EXPORT("two-psi", "-o", folder_of("parts").text, "--shard-size", "25",
                            "--part", "2/2");

    (void)state;
    expect(&ran, 0, "50 pictures in 2 shards", NULL);
    assert_false(is_there("parts", "00000.tar"));
    ran = EXPORT("two-psi", "-o", folder_of("parts").text, "--part", "1/3", "--shard-size", "25");
    expect(&ran, 1, NULL, "holds part 2 of 2");
    ran = EXPORT("two-psi", "-o", folder_of("parts").text, "--part", "1/2", "--shard-size", "25");
    expect(&ran, 0, "70 pictures in 3 shards", NULL);
    assert_same_shards("first", "parts");
    ran = EXPORT("--verify", "-o", folder_of("parts").text);
    expect(&ran, 0, "5 shards, 120 pictures", NULL);
}

static void standard_output_takes_one_tar(void **state)
{
    static const char SCRIPT[] =
        "import glob, sys, tarfile\n"
        "one = tarfile.open(sys.argv[1])\n"
        "for path in sorted(glob.glob(sys.argv[2] + '/*.tar')):\n"
        "    for wanted in tarfile.open(path):\n"
        "        got = one.next()\n"
        "        assert got.name == wanted.name and got.size == wanted.size, wanted.name\n"
        "assert one.next() is None\n";
    struct ran ran = EXPORT("two-psi", "-o", "-", "--shard-size", "25");
    struct temp_path path = temp_path(&temp, "stream.tar");
    struct err e;

    (void)state;
    assert_int_equal(file_write_atomic(path.text, ran.out, ran.out_len, &e), ERR_OK);
    expect(&ran, 0, NULL, "120 pictures in 5 shards");
    expect_script(0, SCRIPT, path.text, folder_of("first").text);
    ran = run_program((const char *const[]){ "bash", "-c", "\"$0\" --broker \"$1\" bulk export "
                      "two-psi -o - | head -c 100 >/dev/null; exit ${PIPESTATUS[0]}", program(),
                      stack.clients, NULL });
    expect(&ran, 7, NULL, "nobody reads it any more");
}

static void a_folder_has_the_official_names_and_labels(void **state)
{
    static const char SCRIPT[] =
        "import json, os, sys\n"
        "d = sys.argv[1]\n"
        "assert sorted(os.listdir(d + '/psi0.7')) == ['seed%04d.jpg' % i for i in range(80)]\n"
        "assert sorted(os.listdir(d + '/psi1')) == ['seed%04d.jpg' % i for i in range(60, 100)]\n"
        "assert json.load(open(d + '/dataset.json')) == {'labels': None}\n";
    struct ran ran = EXPORT("two-psi", "-o", folder_of("loose").text, "--format", "folder",
                            "--shard-size", "50");

    (void)state;
    expect(&ran, 0, "120 pictures in 3 shards", NULL);
    expect_script(0, SCRIPT, folder_of("loose").text, "");
    ran = EXPORT("--verify", "-o", folder_of("loose").text);
    expect(&ran, 0, "3 shards, 120 pictures: all as", NULL);
    ran = run_program((const char *const[]){ "sh", "-c", "cd \"$0\" && cat *.sha256 | sha256sum -c "
                      "--quiet", folder_of("loose").text, NULL });
    expect(&ran, 0, NULL, NULL);
    assert_int_equal(unlink(path_of("loose", "psi1/seed0061.jpg").text), 0);
    ran = EXPORT("--verify", "-o", folder_of("loose").text);
    expect(&ran, 1, "psi1/seed0061.jpg cannot be read", NULL);
}

static void w_is_what_render_dumps(void **state)
{
    static const char SCRIPT[] =
        "import sys, tarfile\n"
        "t = tarfile.open(sys.argv[1])\n"
        "assert t.extractfile('000000002.w.npy').read() == open(sys.argv[2], 'rb').read()\n"
        "assert len(t.getnames()) == 3 * 25\n";
    struct temp_path npy = temp_path(&temp, "w.npy");
    struct ran ran = EXPORT("two-psi", "-o", folder_of("w").text, "--shard-size", "25", "--shard",
                            "0", "--with-w", "--model-file", MODEL_FILE);

    (void)state;
    expect(&ran, 0, "25 pictures in 1 shard", NULL);
    ran = run_program((const char *const[]){ program(), "render", "--model-file", MODEL_FILE,
                      "--seed", "2", "--psi", "0.7", "--backend", "cpu", "--dump-ws", npy.text,
                      NULL });
    expect(&ran, 0, NULL, NULL);
    expect_script(0, SCRIPT, path_of("w", "00000.tar").text, npy.text);
    ran = EXPORT("two-psi", "-o", folder_of("w").text);
    expect(&ran, 1, NULL, "holds shards with w");
}

/* ---- kills ---- */

/* Starts an export of a job and waits until shard 00001 has its name. */
static void start_export(struct kit_program *export, const char *job, const char *folder)
{
    struct temp_path path = folder_of(folder);
    int watch = inotify_init1(IN_CLOEXEC), seen = 0;

    assert_int_equal(mkdir(path.text, 0777), 0);
    assert_true(inotify_add_watch(watch, path.text, IN_MOVED_TO) >= 0);
    program_start(export, (const char *const[]){ "seedpress", "--broker", stack.clients, "bulk",
                  "export", job, "-o", path.text, "--shard-size", "25", NULL });
    while (!seen) {
        struct pollfd fds = { watch, POLLIN, 0 };
        char events[4096];

        assert_int_equal(poll(&fds, 1, 60000), 1);
        assert_true(read(watch, events, sizeof events) > 0);
        seen = is_there(folder, "00001.tar");
    }
    close(watch);
}

static void a_kill_leaves_no_half_and_no_double_shard(void **state)
{
    struct kit_program export;
    struct ran ran;
    struct err e;

    (void)state;
    start_export(&export, "two-psi", "killed");
    program_kill(&export);
    /* What a kill may leave at the worst: a half shard, and a whole one that no manifest names. */
    assert_int_equal(file_write_atomic(path_of("killed", ".00003.tar.tmp").text, "half", 4, &e), 0);
    assert_int_equal(file_write_atomic(path_of("killed", ".seedpress-0123456789abcdef.tmp").text,
                                       "half", 4, &e), 0);
    assert_int_equal(file_write_atomic(path_of("killed", "00004.tar").text, "not in the manifest",
                                       19, &e), 0);
    ran = EXPORT("two-psi", "-o", folder_of("killed").text, "--shard-size", "25");
    expect(&ran, 0, " there already)", NULL);
    assert_tidy("killed", SHARDS);
    assert_same_shards("first", "killed");
    assert_same_file("first", "killed", "manifest.json");
}

static void an_interrupt_gives_up_the_shard_in_hand(void **state)
{
    struct kit_program export;
    struct ran ran;
    int code;

    (void)state;
    start_export(&export, "two-psi", "interrupted");
    program_signal(&export, SIGINT);
    code = program_wait(&export);
    if (code != 130 && code != 0)    /* 0: it was faster than the signal */
        fail_msg("exit code %d", code);
    assert_tidy("interrupted", code == 0 ? SHARDS
                                         : SHARDS - !is_there("interrupted", "00002.tar") -
                                               !is_there("interrupted", "00003.tar") -
                                               !is_there("interrupted", "00004.tar"));
    ran = EXPORT("two-psi", "-o", folder_of("interrupted").text, "--shard-size", "25");
    expect(&ran, 0, NULL, NULL);
    assert_same_shards("first", "interrupted");
}

/* ---- jobs that go on, or do not ---- */

static void control(int64_t job, int action)
{
    struct seedpress_error error;
    struct seedpress_job out;

    check(seedpress_bulk_control(sp, job, action, &out, &error), &error);
}

static void a_paused_job_is_waited_for(void **state)
{
    int64_t job = submit_seeds("paused", SEEDPRESS_KEEP_IMAGE, 1000, 1199);
    struct kit_program export;
    char line[512];

    (void)state;
    control(job, SEEDPRESS_BULK_PAUSE);
    program_start(&export, (const char *const[]){ "seedpress", "--broker", stack.clients, "bulk",
                  "export", "paused", "-o", folder_of("paused").text, NULL });
    program_wait_for(&export, "the job is paused", NULL, 0);
    control(job, SEEDPRESS_BULK_RESUME);
    program_wait_for(&export, "200 pictures in 1 shard", line, sizeof line);
    assert_int_equal(program_wait(&export), 0);
    /* An export stops in order while it waits. */
    job = submit_seeds("stopped", SEEDPRESS_KEEP_IMAGE, 3000, 3999);
    control(job, SEEDPRESS_BULK_PAUSE);
    program_start(&export, (const char *const[]){ "seedpress", "--broker", stack.clients, "bulk",
                  "export", "stopped", "-o", folder_of("stopped").text, NULL });
    program_wait_for(&export, "the job is paused", NULL, 0);
    program_signal(&export, SIGINT);
    assert_int_equal(program_wait(&export), 130);
    assert_tidy("stopped", 0);
}

static void a_cancelled_job_gives_what_it_has(void **state)
{
    static const char SCRIPT[] =
        "import json, sys\n"
        "m = json.load(open(sys.argv[1] + '/manifest.json'))\n"
        "made = sum(s['pictures'] for s in m['shards'])\n"
        "assert made + len(m['failures']) == 1000 and made == int(sys.argv[2]), made\n"
        "assert all(f['code'] == 'cancelled' for f in m['failures'])\n";
    const struct seedpress_job *jobs;
    struct seedpress_error error;
    struct ran ran;
    char made[24];
    size_t count;

    (void)state;
    check(seedpress_bulk_list(sp, 0, "stopped", 1, &jobs, &count, &error), &error);
    assert_int_equal(count, 1);
    control(jobs[0].job, SEEDPRESS_BULK_CANCEL);
    ran = EXPORT("stopped", "-o", folder_of("cancelled").text);
    snprintf(made, sizeof made, "%" PRId64,
             count_rows("SELECT count(*) FROM images WHERE seed BETWEEN 3000 AND 3999"));
    expect(&ran, 3, NULL, "pictures have failed and are left out");
    expect_script(0, SCRIPT, folder_of("cancelled").text, made);
}

static void pruned_files_are_rendered_again(void **state)
{
    struct ran ran;

    (void)state;
    kit_postgres_exec(stack.pg.conninfo,
                      "DELETE FROM blobs WHERE key IN (SELECT key FROM images WHERE seed < 30);"
                      "UPDATE images SET kept = false WHERE seed < 30");
    ran = EXPORT("two-psi", "-o", folder_of("pruned").text, "--shard-size", "25");
    expect(&ran, 0, "120 pictures in 5 shards", NULL);
    assert_same_shards("first", "pruned");
}

static void without_files_the_exporter_ends_the_job(void **state)
{
    int64_t job = submit_seeds("no-files", SEEDPRESS_KEEP_PROVENANCE, 5000, 5059);
    struct ran ran;

    (void)state;
    assert_int_equal(job_now(job).exporter_ms, -1);
    ran = EXPORT("no-files", "-o", folder_of("once").text, "--shard-size", "25");
    expect(&ran, 0, "60 pictures in 3 shards", NULL);
    assert_int_equal(job_now(job).state, SEEDPRESS_BULK_DONE);
    assert_int_equal(job_now(job).done, 60);
    assert_true(job_now(job).exporter_ms >= 0);
    assert_int_equal(count_rows("SELECT count(*) FROM images WHERE seed BETWEEN 5000 AND 5059 AND "
                                "NOT kept AND job_id IS NOT NULL"), 60);
    assert_int_equal(count_rows("SELECT count(*) FROM blobs b JOIN images i USING (key) WHERE "
                                "i.seed BETWEEN 5000 AND 5059"), 0);
    ran = EXPORT("no-files", "-o", folder_of("twice").text, "--shard-size", "25");
    expect(&ran, 0, "60 pictures in 3 shards", NULL);
    for (int i = 0; i < 3; i++)
        assert_same_file("once", "twice", manifest_shard_name(i).text);
}

static void a_kill_without_files_loses_nothing(void **state)
{
    int64_t job = submit_seeds("killed-job", SEEDPRESS_KEEP_PROVENANCE, 6000, 6119);
    struct kit_program export;
    struct ran ran;

    (void)state;
    start_export(&export, "killed-job", "dead");
    program_kill(&export);
    assert_int_not_equal(job_now(job).state, SEEDPRESS_BULK_DONE);
    ran = EXPORT("killed-job", "-o", folder_of("dead").text);
    expect(&ran, 0, " there already)", NULL);
    assert_tidy("dead", SHARDS);
    assert_int_equal(job_now(job).state, SEEDPRESS_BULK_DONE);
    assert_int_equal(job_now(job).done, ITEMS);
    assert_int_equal(count_rows("SELECT count(*) FROM images WHERE seed BETWEEN 6000 AND 6119"),
                     ITEMS);
    ran = EXPORT("--verify", "-o", folder_of("dead").text);
    expect(&ran, 0, "120 pictures: all as", NULL);
}

/* A conditional model, each picture of another class than the one before it. */
static void classes_follow_their_rule(void **state)
{
    static const char SCRIPT[] =
        "import json, sys, tarfile\n"
        "t = tarfile.open(sys.argv[1] + '/00000.tar')\n"
        "facts = [json.load(t.extractfile(m)) for m in t if m.name.endswith('.json')]\n"
        "assert [(f['seed'], f['class']) for f in facts] == [(s, s % 5) for s in range(7, 47)]\n"
        "labels = dict(json.load(open(sys.argv[2] + '/dataset.json'))['labels'])\n"
        "assert labels == {'class%d/seed%04d.jpg' % (s % 5, s): s % 5 for s in range(7, 47)}\n"
        "part = json.load(open(sys.argv[1] + '/manifest.json'))['parts'][0]\n"
        "assert part['class_rule'] == 'seed%5' and 'class' not in part\n";
    struct kit_model_options options = { .c_dim = 5 };
    struct temp_path models = folder_of("models");
    struct seedpress_part part = part_of(7, 46, 0.5);
    struct ran ran;
    struct err e;
    uint8_t *model;
    size_t len;

    (void)state;
    assert_int_equal(mkdir(models.text, 0777), 0);
    model = kit_model_bytes(&options, &len);
    assert_int_equal(file_write_atomic(path_of("models", "five.safetensors").text, model, len, &e),
                     ERR_OK);
    free(model);
    stack_start_worker(&stack, 1, (const char *const[]){ "--models-dir", models.text, NULL });
    part.request.model = "five";
    part.class_mod = 5;
    submit("five", SEEDPRESS_KEEP_IMAGE, &part, 1);
    ran = EXPORT("five", "-o", folder_of("five").text);
    expect(&ran, 0, "40 pictures in 1 shard", NULL);
    ran = EXPORT("five", "-o", folder_of("five-loose").text, "--format", "folder");
    expect(&ran, 0, "40 pictures in 1 shard", NULL);
    expect_script(0, SCRIPT, folder_of("five").text, folder_of("five-loose").text);
    ran = EXPORT("--verify", "-o", folder_of("five").text);
    expect(&ran, 0, NULL, NULL);
    program_kill(&stack.worker[1]);
}

static void a_withdrawn_picture_is_left_out_and_listed(void **state)
{
    static const char SCRIPT[] =
        "import json, sys\n"
        "m = json.load(open(sys.argv[1] + '/manifest.json'))\n"
        "f = m['failures']\n"
        "assert [(x['item'], x['seed'], x['code']) for x in f] == [(7, 7, 'withdrawn')], f\n"
        "assert [s['pictures'] for s in m['shards']] == [24, 25, 25, 25, 20]\n";
    struct seedpress_query query = { .has_seed = true, .seed = 7, .has_psi = true, .psi = 0.7 };
    struct seedpress_withdrawal withdrawal;
    const struct seedpress_row *rows;
    struct seedpress_error error;
    char key[SEEDPRESS_HEX];
    struct ran ran;
    size_t count;

    (void)state;
    check(seedpress_lookup(sp, &query, &rows, &count, &error), &error);
    assert_int_equal(count, 1);
    snprintf(key, sizeof key, "%s", rows[0].recipe_key);
    check(seedpress_withdraw(sp, key, NULL, "a test", &withdrawal, &error), &error);
    ran = EXPORT("two-psi", "-o", folder_of("withdrawn").text, "--shard-size", "25");
    expect(&ran, 3, NULL, "1 pictures have failed and are left out");
    expect_script(0, SCRIPT, folder_of("withdrawn").text, "");
    ran = EXPORT("--verify", "-o", folder_of("withdrawn").text);
    expect(&ran, 0, "119 pictures: all as the manifest says; 1 failed", NULL);
    /* It is known, and not made again unless asked for; what was whole before cannot be again. */
    ran = EXPORT("two-psi", "-o", folder_of("withdrawn").text);
    expect(&ran, 3, "(5 shards were there already)", NULL);
    ran = EXPORT("two-psi", "-o", folder_of("withdrawn").text, "--retry-failed");
    expect(&ran, 3, "24 pictures in 1 shard", NULL);
    ran = EXPORT("two-psi", "-o", folder_of("second").text, "--shard", "0");
    expect(&ran, 1, NULL, "came out with other pictures than before");
    assert_same_file("first", "second", "00000.tar");
}

/* A broker that was started anew knows no model, and its ledger has all files. */
static void files_come_without_a_worker(void **state)
{
    struct ran ran;

    (void)state;
    program_kill(&stack.worker[0]);
    program_kill(&stack.broker);
    stack_restart_broker(&stack, (const char *const[]){ "--lookup-ms", "10000", NULL });
    ran = EXPORT("paused", "-o", folder_of("alone2").text, "--timeout", "60");
    expect(&ran, 0, "200 pictures in 1 shard", NULL);
    assert_same_file("paused", "alone2", "00000.tar");
    ran = EXPORT("no-files", "-o", folder_of("nobody").text, "--timeout", "1");
    expect(&ran, 4, NULL, "no live worker has model");
    assert_tidy("nobody", 0);
}

/* ---- what cannot be ---- */

static void bad_folders_are_told_apart(void **state)
{
    struct temp_path file = temp_path(&temp, "file");
    struct ran ran;
    struct err e;

    (void)state;
    assert_int_equal(file_write_atomic(file.text, "x", 1, &e), ERR_OK);
    ran = EXPORT("two-psi", "-o", file.text);
    expect(&ran, 7, NULL, "is there and is no folder");
    ran = EXPORT("two-psi", "-o", path_of("nowhere", "deep").text);
    expect(&ran, 7, NULL, "could not make folder");
    ran = EXPORT("two-psi", "-o", "/proc");
    expect(&ran, 7, NULL, "could not write into folder \"/proc\"");
    ran = EXPORT("paused", "-o", folder_of("first").text);
    expect(&ran, 1, NULL, "holds shards of job");
    ran = EXPORT("two-psi", "-o", folder_of("first").text, "--shard-size", "30");
    expect(&ran, 1, NULL, "say --shard-size 25 to go on with it");
    ran = EXPORT("two-psi", "-o", folder_of("first").text, "--format", "folder");
    expect(&ran, 1, NULL, "with --format webdataset");
    assert_int_equal(mkdir(folder_of("strange").text, 0777), 0);
    assert_int_equal(file_write_atomic(path_of("strange", "00000.tar").text, "x", 1, &e), ERR_OK);
    ran = EXPORT("two-psi", "-o", folder_of("strange").text);
    expect(&ran, 1, NULL, "holds 00000.tar, but no manifest");
    assert_int_equal(file_write_atomic(path_of("strange", "manifest.json").text, "{}", 2, &e),
                     ERR_OK);
    ran = EXPORT("two-psi", "-o", folder_of("strange").text);
    expect(&ran, 7, NULL, "is broken");
    ran = EXPORT("--verify", "-o", folder_of("nowhere").text);
    expect(&ran, 7, NULL, "could not read folder");
    ran = EXPORT("no-such-job", "-o", folder_of("new").text);
    expect(&ran, 1, NULL, "there is no bulk job \"no-such-job\"");
    ran = EXPORT("99999", "-o", folder_of("new").text);
    expect(&ran, 1, NULL, NULL);
    assert_false(is_there("new", ""));
}

static void a_full_disk_is_said_and_can_be_gone_on_from(void **state)
{
    struct ran ran = run_program((const char *const[]){ "bash", "-c",
                                 "trap '' XFSZ; ulimit -f 40; exec \"$0\" --broker \"$1\" bulk "
                                 "export paused -o \"$2\" --shard-size 100", program(),
                                 stack.clients, folder_of("full").text, NULL });

    (void)state;
    expect(&ran, 7, NULL, "larger than allowed");
    assert_tidy("full", 0);
    ran = EXPORT("paused", "-o", folder_of("full").text, "--shard-size", "100");
    expect(&ran, 0, "200 pictures in 2 shards", NULL);
}

static void bad_options_are_refused(void **state)
{
    static const char *const CASES[][4] = {
        { "two-psi", NULL, NULL, "where to?" },
        { "-o", "x", NULL, "which job?" },
        { "--part", "3/2", NULL, "--part 3/2 is out of range" },
        { "--part", "0/2", NULL, "--part 0/2 is out of range" },
        { "--part", "2", NULL, "--part needs K/N" },
        { "--shard", "x", NULL, "--shard needs a shard's number" },
        { "--shard-size", "0", NULL, "--shard-size 0 is out of range" },
        { "--shard-size", "100001", NULL, "--shard-size 100001 is out of range" },
        { "--format", "zip", NULL, "--format is one of webdataset, folder" },
        { "two-psi", "extra", "-ox", "one job at a time" },
        { "two-psi", "-ox", "--with-w", "--with-w and --model-file go together" },
        { "--verify", "-o-", NULL, "--verify checks a folder" },
        { "two-psi", "--bogus", NULL, "unknown option --bogus" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct ran ran = seedpress_with((const char *const[]){ CASES[i][0], CASES[i][1],
                                        CASES[i][1] ? CASES[i][2] : NULL, NULL });

        expect(&ran, 2, NULL, CASES[i][3]);
    }
}

/* ---- --verify ---- */

/* Copies the first export, lets script spoil it, and expects --verify to say words. */
static void expect_found(const char *script, const char *words)
{
    struct ran ran = run_program((const char *const[]){ "sh", "-c", "rm -rf \"$1\"; cp -r \"$0\" "
                                 "\"$1\"", folder_of("first").text, folder_of("spoiled").text,
                                 NULL });

    expect(&ran, 0, NULL, NULL);
    expect_script(0, script, folder_of("spoiled").text, "");
    ran = EXPORT("--verify", "-o", folder_of("spoiled").text);
    expect(&ran, 1, words, NULL);
}

static void what_was_changed_is_found(void **state)
{
    static const char FLIP[] =
        "import sys, tarfile\n"
        "p = sys.argv[1] + '/00002.tar'\n"
        "m = tarfile.open(p).getmember('000000060.jpg')\n"
        "f = open(p, 'r+b'); f.seek(m.offset_data + m.size - 40); b = f.read(1)[0]\n"
        "f.seek(m.offset_data + m.size - 40); f.write(bytes([b ^ 16]))\n";
    static const char REHASHED[] =   /* a picture of another recipe, with every hash made right */
        "import hashlib, io, json, sys, tarfile\n"
        "d = sys.argv[1]; src = tarfile.open(d + '/00000.tar')\n"
        "get = lambda n: src.extractfile(n).read()\n"
        "out = tarfile.open(d + '/new', 'w', format=tarfile.USTAR_FORMAT)\n"
        "lines = ''\n"
        "for m in src.getmembers():\n"
        "    data = get(m.name.replace('000000003', '000000004'))\n"
        "    m.size = len(data); out.addfile(m, io.BytesIO(data))\n"
        "    if m.name.endswith('.jpg'):\n"
        "        lines += hashlib.sha256(data).hexdigest() + '  ' + m.name + '\\n'\n"
        "out.close()\n"
        "import os; os.rename(d + '/new', d + '/00000.tar')\n"
        "open(d + '/00000.sha256', 'w').write(lines)\n"
        "m = json.load(open(d + '/manifest.json')); s = m['shards'][0]\n"
        "data = open(d + '/00000.tar', 'rb').read()\n"
        "s['bytes'] = len(data); s['sha256'] = hashlib.sha256(data).hexdigest()\n"
        "s['list_sha256'] = hashlib.sha256(lines.encode()).hexdigest()\n"
        "json.dump(m, open(d + '/manifest.json', 'w'))\n";

    (void)state;
    expect_found(FLIP, "00002.tar: 000000060.jpg has other bytes than its list says");
    expect_found(FLIP, "00002.tar: its SHA-256 is not the manifest's");
    expect_found("import os, sys; os.remove(sys.argv[1] + '/00001.tar')",
                 "00001.tar: it cannot be opened");
    expect_found("import os, sys; os.truncate(sys.argv[1] + '/00001.tar', 30000)",
                 "00001.tar: it holds");
    expect_found("import sys; open(sys.argv[1] + '/00001.tar', 'ab').write(b'x')",
                 "00001.tar: its SHA-256 is not the manifest's");
    expect_found("import sys; open(sys.argv[1] + '/00003.sha256', 'a').write('x')",
                 "00003.tar: its list 00003.sha256 has other bytes");
    expect_found("import json, sys; p = sys.argv[1] + '/manifest.json'; m = json.load(open(p)); "
                 "m['shards'].pop(3); json.dump(m, open(p, 'w'))",
                 "00003.tar: it has not been exported yet");
    expect_found(REHASHED, "00000.tar: 000000003.jpg carries another recipe than its item");
    expect_found(REHASHED, "00000.tar: 000000003.json names another recipe than its item");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_that_renders_is_followed_into_shards),
        cmocka_unit_test(a_second_export_has_the_same_bytes),
        cmocka_unit_test(the_manifest_is_the_job),
        cmocka_unit_test(a_shard_is_made_again_from_its_name),
        cmocka_unit_test(what_has_gone_is_made_again),
        cmocka_unit_test(parts_share_a_folder),
        cmocka_unit_test(standard_output_takes_one_tar),
        cmocka_unit_test(a_folder_has_the_official_names_and_labels),
        cmocka_unit_test(w_is_what_render_dumps),
        cmocka_unit_test(a_kill_leaves_no_half_and_no_double_shard),
        cmocka_unit_test(an_interrupt_gives_up_the_shard_in_hand),
        cmocka_unit_test(what_was_changed_is_found),
        cmocka_unit_test(a_paused_job_is_waited_for),
        cmocka_unit_test(a_cancelled_job_gives_what_it_has),
        cmocka_unit_test(pruned_files_are_rendered_again),
        cmocka_unit_test(without_files_the_exporter_ends_the_job),
        cmocka_unit_test(a_kill_without_files_loses_nothing),
        cmocka_unit_test(classes_follow_their_rule),
        cmocka_unit_test(bad_folders_are_told_apart),
        cmocka_unit_test(a_full_disk_is_said_and_can_be_gone_on_from),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(a_withdrawn_picture_is_left_out_and_listed),
        cmocka_unit_test(files_come_without_a_worker),
    };

    return cmocka_run_group_tests(tests, start, end);
}
