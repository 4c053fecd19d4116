#include "sql/array.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

/* array_send of PostgreSQL: dimensions, whether there are NULLs, the items' type; of each dimension
 * its length and lower bound; of each item its length and bytes. Every number is an int4. */
enum { DIMENSIONS, HAS_NULL, TYPE, LENGTH, LOWER_BOUND, HEAD };

static void put_int4(uint8_t *out, uint32_t v)
{
    uint32_t wire = htobe32(v);
    memcpy(out, &wire, sizeof wire);
}

bool array_init(struct array *self, enum array_type type, size_t items, size_t item_bytes)
{
    size_t head = HEAD * sizeof(uint32_t), cap = head + items * (sizeof(uint32_t) + item_bytes);

    *self = (struct array){ .data = malloc(cap) };
    if (!self->data)
        return false;
    self->cap = cap;
    self->len = head;
    memset(self->data, 0, head);
    put_int4(self->data + DIMENSIONS * sizeof(uint32_t), 1);
    put_int4(self->data + TYPE * sizeof(uint32_t), (uint32_t)type);
    put_int4(self->data + LOWER_BOUND * sizeof(uint32_t), 1);
    return true;
}

void array_release(struct array *self)
{
    free(self->data);
    *self = (struct array){ 0 };
}

void array_add_bytes(struct array *self, const void *data, size_t len)
{
    uint8_t *count;
    uint32_t wire;

    if (!self->data || self->len + sizeof wire + len > self->cap)
        return;
    count = self->data + LENGTH * sizeof wire;
    put_int4(self->data + self->len, (uint32_t)len);
    memcpy(self->data + self->len + sizeof wire, data, len);
    self->len += sizeof wire + len;
    memcpy(&wire, count, sizeof wire);
    put_int4(count, be32toh(wire) + 1);
}

void array_add_int8(struct array *self, int64_t v)
{
    uint64_t wire = htobe64((uint64_t)v);
    array_add_bytes(self, &wire, sizeof wire);
}

void array_add_int4(struct array *self, int32_t v)
{
    uint32_t wire = htobe32((uint32_t)v);
    array_add_bytes(self, &wire, sizeof wire);
}

void params_array(struct params *params, const struct array *array)
{
    params_bytes(params, array->data, array->len);
}
