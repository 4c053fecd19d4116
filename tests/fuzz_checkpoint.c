/* Official .pkl files from hostile hands. What parses is looked at in full: every tensor is found
 * under its name and read to its last value, and all together are no larger than the file. */
#include "kernels/checkpoint.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at(const struct checkpoint_tensor *tensor)
{
    float *values = malloc(tensor->count * sizeof values[0] + 1);
    struct err e = { 0 };
    enum err_code rc;

    if (!values)
        abort();
    rc = checkpoint_floats(tensor, values, &e);
    if (rc && (e.code != rc || !strstr(e.msg, tensor->name)))
        abort();
    for (size_t i = 0; !rc && i < tensor->count; i++)
        if (!isfinite(values[i]))
            abort();
    free(values);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct checkpoint *file;
    struct notes *notes;
    struct err e = { 0 };
    size_t count = 0;
    enum err_code rc = checkpoint_parse(data, size, &file, &e);

    if (rc) {
        if (file || e.code != rc || e.msg[0] == '\0')
            abort();
        return 0;
    }
    for (size_t i = 0; i < checkpoint_count(file); i++) {
        const struct checkpoint_tensor *tensor = checkpoint_at(file, i);

        if (checkpoint_find(file, tensor->name) != tensor)
            abort();
        count += tensor->count;
        look_at(tensor);
    }
    notes = checkpoint_take_notes(file);
    if (count > size || !notes_find(notes, "arch") || !notes_find(notes, "img_resolution") ||
        !checkpoint_recognises(data, size))
        abort();
    notes_destroy(&notes);
    checkpoint_destroy(&file);
    return 0;
}
