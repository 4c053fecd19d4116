#include "sql/columns.h"

#include <string.h>

/* As COLUMNS_TABLE lists them. */
enum column { KEY, SUBJECT, FILE_SHA, CORE_SHA, MODEL, SEED, PSI, OPTIONS, RUN, CLASS, ENCODER,
              BATCH_SIZE, RENDER_US, BYTES, KEPT, JOB, SEGMENT, PLACE, LIKENESS, DATA };
_Static_assert(DATA + 1 == COLUMNS, "every column has its array");

enum {
    TEXT_MAX = 64,                  /* more than table runs takes; cut words name no run */
    HASH_LEN = 8,                   /* perceptual hashes lie one behind the other, high byte
                                       first */
};

bool columns_init(struct columns *self, size_t rows, size_t file_bytes)
{
    static const struct { enum array_type type; size_t bytes; } KINDS[COLUMNS] = {
        [KEY] = { ARRAY_BYTEA, DIGEST_LEN }, [SUBJECT] = { ARRAY_BYTEA, DIGEST_LEN },
        [FILE_SHA] = { ARRAY_BYTEA, DIGEST_LEN }, [CORE_SHA] = { ARRAY_BYTEA, DIGEST_LEN },
        [MODEL] = { ARRAY_BYTEA, DIGEST_LEN }, [SEED] = { ARRAY_INT8, 8 },
        [PSI] = { ARRAY_INT4, 4 }, [OPTIONS] = { ARRAY_INT4, 4 }, [RUN] = { ARRAY_INT8, 8 },
        [CLASS] = { ARRAY_TEXT, TEXT_MAX }, [ENCODER] = { ARRAY_TEXT, TEXT_MAX },
        [BATCH_SIZE] = { ARRAY_INT4, 4 }, [RENDER_US] = { ARRAY_INT8, 8 },
        [BYTES] = { ARRAY_INT4, 4 }, [KEPT] = { ARRAY_INT4, 4 }, [JOB] = { ARRAY_INT8, 8 },
        [SEGMENT] = { ARRAY_INT4, 4 }, [PLACE] = { ARRAY_INT8, 8 },
        [LIKENESS] = { ARRAY_BYTEA, HASH_LEN * LEDGER_LIKENESS_MAX }, [DATA] = { ARRAY_BYTEA, 0 },
    };
    bool room = true;

    for (int i = 0; i < DATA; i++)
        room = array_init(&self->array[i], KINDS[i].type, rows, KINDS[i].bytes) && room;
    /* One item as long as all: files differ in length. */
    return array_init(&self->array[DATA], KINDS[DATA].type, 1,
                      file_bytes + rows * sizeof(uint32_t)) && room;
}

void columns_release(struct columns *self)
{
    for (int i = 0; i < COLUMNS; i++)
        array_release(&self->array[i]);
}

size_t columns_file_len(const struct columns_row *row)
{
    return row->image->keep && row->at.segment == 0 ? row->image->len : 0;
}

static void add_text(struct array *array, const char *text)
{
    array_add_bytes(array, text, strnlen(text, TEXT_MAX));
}

static void add_likeness(struct array *array, const struct ledger_image *image)
{
    uint8_t hashes[HASH_LEN * LEDGER_LIKENESS_MAX];

    for (size_t i = 0; i < image->likeness_count; i++)
        for (int b = 0; b < HASH_LEN; b++)
            hashes[HASH_LEN * i + (size_t)b] = (uint8_t)(image->likeness[i] >> (56 - 8 * b));
    array_add_bytes(array, hashes, HASH_LEN * image->likeness_count);
}

void columns_add(struct columns *self, const struct columns_row *row)
{
    const struct ledger_image *image = row->image;
    struct array *a = self->array;

    array_add_bytes(&a[KEY], row->key.bytes, DIGEST_LEN);
    array_add_bytes(&a[SUBJECT], row->subject.bytes, DIGEST_LEN);
    array_add_bytes(&a[FILE_SHA], image->file_sha.bytes, DIGEST_LEN);
    array_add_bytes(&a[CORE_SHA], image->core_sha.bytes, DIGEST_LEN);
    array_add_bytes(&a[MODEL], image->recipe.model.bytes, DIGEST_LEN);
    array_add_int8(&a[SEED], image->recipe.seed);
    array_add_int4(&a[PSI], image->recipe.psi);
    array_add_int4(&a[OPTIONS], row->options_id);
    array_add_int8(&a[RUN], image->run_id);
    add_text(&a[CLASS], image->numerics_class);
    add_text(&a[ENCODER], image->encoder);
    array_add_int4(&a[BATCH_SIZE], image->batch_size);
    array_add_int8(&a[RENDER_US], image->render_us);
    array_add_int4(&a[BYTES], (int32_t)image->len);
    array_add_int4(&a[KEPT], image->keep);
    array_add_int8(&a[JOB], image->job_id);
    array_add_int4(&a[SEGMENT], row->at.segment);
    array_add_int8(&a[PLACE], row->at.place);
    add_likeness(&a[LIKENESS], image);
    array_add_bytes(&a[DATA], columns_file_len(row) > 0 ? (const void *)image->data : "",
                    columns_file_len(row));
}

void columns_params(const struct columns *self, struct params *p)
{
    for (int i = 0; i < COLUMNS; i++)
        params_array(p, &self->array[i]);
}
