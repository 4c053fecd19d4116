#include "base/npy.h"

#include "base/file.h"
#include "tests/kit_temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* numpy.save of arange(6, dtype=float32).reshape(2, 3), byte for byte but for the spaces. */
static size_t numpy_file(uint8_t out[152])
{
    static const float DATA[6] = { 0, 1, 2, 3, 4, 5 };
    static const char DICT[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";

    memset(out, ' ', 128);
    memcpy(out, "\x93NUMPY\x01\x00\x76\x00", 10);
    memcpy(out + 10, DICT, sizeof DICT - 1);
    out[127] = '\n';
    memcpy(out + 128, DATA, sizeof DATA);
    return 128 + sizeof DATA;
}

static void a_file_is_as_numpy_writes_it(void **state)
{
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "a.npy");
    float data[6] = { 0, 1, 2, 3, 4, 5 };
    struct npy array = { NPY_FLOAT32, 2, { 2, 3 }, data, 6 };
    uint8_t expect[152], *got;
    size_t expect_len = numpy_file(expect), len;
    struct err e;

    (void)state;
    assert_int_equal(npy_write(path.text, &array, &e), ERR_OK);
    assert_int_equal(file_read(path.text, 1000, &got, &len, &e), ERR_OK);
    assert_int_equal(len, expect_len);
    assert_memory_equal(got, expect, len);
    free(got);
    temp_destroy(&temp);
}

static void every_dtype_and_rank_comes_back(void **state)
{
    static const int SHAPE[NPY_RANK_MAX] = { 3, 1, 5, 7 };
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "a.npy");
    double bytes[105];              /* aligned for each dtype */
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        ((uint8_t *)bytes)[i] = (uint8_t)(i * 7);
    for (int dtype = 0; dtype < NPY_DTYPE_COUNT; dtype++)
        for (int rank = 0; rank <= NPY_RANK_MAX; rank++) {
            struct npy array = { (enum npy_dtype)dtype, rank, { 0 }, bytes, 1 }, got;

            for (int i = 0; i < rank; i++) {
                array.shape[i] = SHAPE[i];
                array.count *= (size_t)SHAPE[i];
            }
            assert_int_equal(npy_write(path.text, &array, &e), ERR_OK);
            assert_int_equal(npy_read(path.text, &got, &e), ERR_OK);
            assert_int_equal(got.dtype, dtype);
            assert_int_equal(got.rank, rank);
            assert_int_equal(got.count, array.count);
            assert_memory_equal(got.shape, array.shape, sizeof got.shape);
            assert_memory_equal(got.data, bytes, array.count * npy_item_bytes(array.dtype));
            npy_release(&got);
            assert_null(got.data);
        }
    temp_destroy(&temp);
}

static void a_shape_that_cannot_be_is_not_written(void **state)
{
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "a.npy");
    uint8_t byte = 0;
    struct npy empty = { NPY_UINT8, 1, { 0 }, &byte, 0 };
    struct npy huge = { NPY_UINT8, 3, { 1 << 20, 1 << 20, 1 << 30 }, &byte, 0 };
    struct npy deep = { NPY_UINT8, 5, { 1, 1, 1, 1 }, &byte, 1 };
    struct err e;

    (void)state;
    assert_int_equal(npy_write(path.text, &empty, &e), ERR_RANGE);
    assert_int_equal(npy_write(path.text, &huge, &e), ERR_RANGE);
    assert_int_equal(npy_write(path.text, &deep, &e), ERR_RANGE);
    assert_int_equal(temp_count(&temp), 0);
    temp_destroy(&temp);
}

/* The file above with another dict, 64 bytes of header and the data that is said. */
static enum err_code read_with(const char *path, const char *dict, size_t data_len, struct err *e)
{
    uint8_t file[10 + 200 + 64] = { 0 };
    struct npy got;
    enum err_code rc;

    memcpy(file, "\x93NUMPY\x01\x00\xc8\x00", 10);
    memset(file + 10, ' ', 200);
    memcpy(file + 10, dict, strlen(dict));
    file[209] = '\n';
    assert_int_equal(file_write_atomic(path, file, 210 + data_len, e), ERR_OK);
    rc = npy_read(path, &got, e);
    if (rc)
        assert_null(got.data);
    npy_release(&got);
    return rc;
}

static void headers_are_read_in_any_order_and_hostile_ones_refused(void **state)
{
    static const struct {
        const char *dict;
        size_t data_len;
        enum err_code code;
    } CASES[] = {
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 24, ERR_OK },
        { "{'shape':(2,3),'fortran_order':False,'descr':'<f4'}", 24, ERR_OK },
        { "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }", 24, ERR_OK },
        { "{'descr': '|u1', 'fortran_order': False, 'shape': (), }", 1, ERR_OK },
        { "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", 24, ERR_UNSUPPORTED },
        { "{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }", 24, ERR_UNSUPPORTED },
        { "{'descr': '|O', 'fortran_order': False, 'shape': (2, 3), }", 24, ERR_UNSUPPORTED },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1), }", 4, ERR_UNSUPPORTED },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", 4, ERR_UNSUPPORTED },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2147483648,), }", 4,
          ERR_UNSUPPORTED },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", 4,
          ERR_UNSUPPORTED },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3", 24, ERR_UNSUPPORTED },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (0,), }", 0, ERR_INVALID },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (65536, 65536, 65536, 65536), }", 4,
          ERR_INVALID },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 23, ERR_FILE },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 25, ERR_FILE },
        { "{'descr': '<f4', 'fortran_order': False, }", 4, ERR_INVALID },
        { "{'descr': '<f4', 'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", 4,
          ERR_INVALID },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}", 4, ERR_INVALID },
        { "", 4, ERR_INVALID },
        { "{", 4, ERR_INVALID },
    };
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "a.npy");

    (void)state;
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct err e = { .code = ERR_OK };
        enum err_code rc = read_with(path.text, CASES[i].dict, CASES[i].data_len, &e);

        if (rc != CASES[i].code)
            fail_msg("%s: %s (%s)", CASES[i].dict, err_info(rc)->word, e.msg);
    }
    temp_destroy(&temp);
}

static void a_file_cut_anywhere_is_refused(void **state)
{
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "a.npy");
    uint8_t file[152];
    size_t len = numpy_file(file);
    struct npy got;
    struct err e;

    (void)state;
    for (size_t cut = 0; cut < len; cut++) {
        assert_int_equal(file_write_atomic(path.text, file, cut, &e), ERR_OK);
        assert_int_not_equal(npy_read(path.text, &got, &e), ERR_OK);
    }
    file[6] = 2;
    assert_int_equal(file_write_atomic(path.text, file, len, &e), ERR_OK);
    assert_int_equal(npy_read(path.text, &got, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "version 2.0"));
    temp_destroy(&temp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_as_numpy_writes_it),
        cmocka_unit_test(every_dtype_and_rank_comes_back),
        cmocka_unit_test(a_shape_that_cannot_be_is_not_written),
        cmocka_unit_test(headers_are_read_in_any_order_and_hostile_ones_refused),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
