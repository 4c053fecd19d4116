/* replay -- main of a fuzz target where there is no libFuzzer: runs the files it is given through
 * the target, one after the other, and says how many there were, in TAP. A folder is all its files;
 * no file at all is a failure, so that a lost corpus is seen.
 * Usage: fuzz_x FILE|FOLDER... */
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int fail(const char *path)
{
    perror(path);
    return -1;
}

/* Returns 1, the number of files that were run; -1 when path cannot be read. */
static int replay_file(const char *path, size_t size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(size ? size : 1);    /* of its own size: ASan sees one byte too far */
    int ran = -1;

    if (!file || !data || fread(data, 1, size, file) != size) {
        fail(path);
    } else {
        LLVMFuzzerTestOneInput(data, size);
        ran = 1;
    }
    free(data);
    if (file)
        fclose(file);
    return ran;
}

static int replay_path(const char *path);

static int replay_folder(const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *entry;
    int sum = 0, ran = 0;

    if (!folder)
        return fail(path);
    while (ran >= 0 && (entry = readdir(folder))) {
        char inside[4096];

        if (entry->d_name[0] == '.')
            continue;
        snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name);
        ran = replay_path(inside);
        sum += ran;
    }
    closedir(folder);
    return ran < 0 ? -1 : sum;
}

static int replay_path(const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return fail(path);
    return S_ISDIR(st.st_mode) ? replay_folder(path) : replay_file(path, (size_t)st.st_size);
}

int main(int argc, char **argv)
{
    int sum = 0, ran = 0;

    for (int i = 1; i < argc && ran >= 0; i++) {
        ran = replay_path(argv[i]);
        sum += ran;
    }
    bool good = ran >= 0 && sum > 0;

    printf("1..1\n%s 1 - %s: %d inputs\n", good ? "ok" : "not ok", argv[0], ran < 0 ? 0 : sum);
    return good ? 0 : 1;
}
