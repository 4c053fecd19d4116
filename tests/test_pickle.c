/* The pickle machine: what each opcode leaves, and that every kind of bad pickle is refused with
 * words that say what is wrong and where. */
#include "kernels/pickle.h"
#include "tests/kit_pickle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ANY_DICT = 7, ANY_SET = 9 };

static const struct pickle_global TABLE[] = {
    { "collections", "OrderedDict", ANY_DICT },
    { "builtins", "set", ANY_SET },
};

#define PARSE(literal) parse(literal, sizeof(literal) - 1)

static struct pickle *parse(const void *data, size_t len)
{
    struct pickle *pickle;
    struct err e = { 0 };

    if (pickle_parse(data, len, TABLE, 2, &pickle, &e))
        fail_msg("%s", e.msg);
    assert_int_equal(pickle_len(pickle), len);
    return pickle;
}

/* The pickle is refused with this code, and the words hold `says`. */
static void check_refused(const void *data, size_t len, enum err_code code, const char *says)
{
    uint8_t *copy = malloc(len ? len : 1);      /* of its own, so that ASan sees one byte too far */
    struct pickle *pickle = (struct pickle *)&copy;
    struct err e = { 0 };

    assert_non_null(copy);
    memcpy(copy, data, len);
    enum err_code rc = pickle_parse(copy, len, TABLE, 2, &pickle, &e);

    if (rc != code || !strstr(e.msg, says))
        fail_msg("%d \"%s\", not %d \"%s\"", rc, e.msg, code, says);
    assert_int_equal(e.code, code);
    assert_null(pickle);
    free(copy);
}

/* ---- what opcodes leave ---- */

static void whole_numbers_of_every_width_are_read(void **state)
{
    static const struct {
        const char *ops;
        size_t len;
        int64_t value;
    } ROWS[] = {
        { "\x80\x02K\xff.", 5, 255 },
        { "\x80\x02M\xff\xff.", 6, 65535 },
        { "\x80\x02J\xff\xff\xff\xff.", 8, -1 },
        { "\x80\x02J\x00\x00\x00\x80.", 8, -2147483647 - 1 },
        { "\x80\x02\x8a\x00.", 5, 0 },
        { "\x80\x02\x8a\x01\xff.", 6, -1 },
        { "\x80\x02\x8a\x02\xff\x00.", 7, 255 },
        { "\x80\x02\x8b\x01\x00\x00\x00\x80.", 9, -128 },
        { "\x80\x02\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80.", 13, INT64_MIN },
    };

    (void)state;
    for (size_t row = 0; row < sizeof ROWS / sizeof ROWS[0]; row++) {
        struct pickle *pickle = parse(ROWS[row].ops, ROWS[row].len);

        assert_int_equal(pickle_root(pickle)->kind, PICKLE_INT);
        assert_true(pickle_root(pickle)->whole == ROWS[row].value);
        pickle_destroy(&pickle);
    }
}

static void number_beyond_64_bits_keeps_its_bytes(void **state)
{
    static const char OPS[] = "\x80\x02\x8a\x0al\xfc\x9c" "F\xf9 j\xa8P\x19.";
    struct pickle *pickle = parse(OPS, sizeof OPS - 1);

    (void)state;
    assert_int_equal(pickle_root(pickle)->kind, PICKLE_BIG);
    assert_int_equal(pickle_root(pickle)->len, 10);
    assert_ptr_equal(pickle_root(pickle)->data, OPS + 4);
    pickle_destroy(&pickle);
    pickle_destroy(&pickle);    /* NULL is fine */
}

static void none_truths_and_floats_are_read(void **state)
{
    struct pickle *pickle = PARSE("\x80\x02(N\x88\x89G\x40\x09\x21\xfb\x54\x44\x2d\x18t.");
    const struct pickle_value *root = pickle_root(pickle);

    (void)state;
    assert_int_equal(root->kind, PICKLE_TUPLE);
    assert_int_equal(root->count, 4);
    assert_int_equal(root->item[0]->kind, PICKLE_NONE);
    assert_int_equal(root->item[1]->kind, PICKLE_BOOL);
    assert_int_equal(root->item[1]->whole, 1);
    assert_int_equal(root->item[2]->whole, 0);
    assert_int_equal(root->item[3]->kind, PICKLE_FLOAT);
    assert_true(root->item[3]->real == 3.141592653589793);
    pickle_destroy(&pickle);
}

static void strings_point_into_the_input(void **state)
{
    static const struct {
        const char *ops;
        size_t len, at;
        enum pickle_kind kind;
    } ROWS[] = {
        { "\x80\x02X\x02\x00\x00\x00" "ab.", 10, 7, PICKLE_TEXT },
        { "\x80\x04\x8c\x02" "ab.", 7, 4, PICKLE_TEXT },
        { "\x80\x04\x8d\x02\x00\x00\x00\x00\x00\x00\x00" "ab.", 14, 11, PICKLE_TEXT },
        { "\x80\x03" "B\x02\x00\x00\x00" "ab.", 10, 7, PICKLE_BYTES },
        { "\x80\x03" "C\x02" "ab.", 7, 4, PICKLE_BYTES },
        { "\x80\x04\x8e\x02\x00\x00\x00\x00\x00\x00\x00" "ab.", 14, 11, PICKLE_BYTES },
        { "\x80\x05\x96\x02\x00\x00\x00\x00\x00\x00\x00" "ab.", 14, 11, PICKLE_BYTES },
    };

    (void)state;
    for (size_t row = 0; row < sizeof ROWS / sizeof ROWS[0]; row++) {
        struct pickle *pickle = parse(ROWS[row].ops, ROWS[row].len);

        assert_int_equal(pickle_root(pickle)->kind, ROWS[row].kind);
        assert_int_equal(pickle_root(pickle)->len, 2);
        assert_ptr_equal(pickle_root(pickle)->data, ROWS[row].ops + ROWS[row].at);
        pickle_destroy(&pickle);
    }
}

static void tuples_lists_and_sets_hold_their_items_in_order(void **state)
{
    struct pickle *pickle =
        PARSE("\x80\x04(K\x01\x85K\x01K\x02\x86K\x01K\x02K\x03\x87)](K\x01K\x02" "eK\x03"
              "a\x8f(K\x01K\x02\x90(K\x01\x91t.");
    const struct pickle_value *root = pickle_root(pickle);
    static const size_t COUNTS[] = { 1, 2, 3, 0, 3, 2, 1 };
    static const enum pickle_kind KINDS[] = { PICKLE_TUPLE, PICKLE_TUPLE, PICKLE_TUPLE,
                                              PICKLE_TUPLE, PICKLE_LIST,  PICKLE_SET,
                                              PICKLE_SET };

    (void)state;
    assert_int_equal(root->count, 7);
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal(root->item[i]->kind, KINDS[i]);
        assert_int_equal(root->item[i]->count, COUNTS[i]);
        for (size_t k = 0; k < COUNTS[i]; k++)
            assert_int_equal(root->item[i]->item[k]->whole, k + 1);
    }
    pickle_destroy(&pickle);
}

static void dict_gives_what_was_set_last(void **state)
{
    struct pickle *pickle = PARSE("\x80\x04}\x8c\x01" "aK\x01s(\x8c\x01" "bK\x02\x8c\x01"
                                  "aK\x03K\x05Nu.");
    const struct pickle_value *root = pickle_root(pickle);

    (void)state;
    assert_int_equal(root->kind, PICKLE_DICT);
    assert_int_equal(root->count, 8);
    assert_int_equal(pickle_find(root, "a")->whole, 3);
    assert_int_equal(pickle_find(root, "b")->whole, 2);
    assert_null(pickle_find(root, "c"));
    assert_null(pickle_find(root->item[1], "a"));
    assert_null(pickle_find(NULL, "a"));
    pickle_destroy(&pickle);
}

static void calls_are_written_down_and_not_made(void **state)
{
    static const char *const OPS[] = {
        "\x80\x02" "ccollections\nOrderedDict\nK\x04\x85R}b\x8c\x01" "aK\x05s.",
        "\x80\x02" "ccollections\nOrderedDict\nK\x04\x85\x81}b\x8c\x01" "aK\x05s.",
        "\x80\x02" "ccollections\nOrderedDict\nK\x04\x85}\x92}b\x8c\x01" "aK\x05s.",
        "\x80\x04\x8c\x0b" "collections\x8c\x0bOrderedDict\x93K\x04\x85R}b(\x8c\x01" "aK\x05u.",
    };

    (void)state;
    for (size_t row = 0; row < sizeof OPS / sizeof OPS[0]; row++) {
        struct pickle *pickle = parse(OPS[row], strlen(OPS[row]));
        const struct pickle_value *root = pickle_root(pickle);

        assert_int_equal(root->kind, PICKLE_OBJECT);
        assert_ptr_equal(root->callable, &TABLE[0]);
        assert_int_equal(root->callable->id, ANY_DICT);
        assert_int_equal(root->args->item[0]->whole, 4);
        assert_int_equal(root->state->kind, PICKLE_DICT);
        assert_int_equal(pickle_find(root, "a")->whole, 5);
        pickle_destroy(&pickle);
    }
}

static void persistent_id_is_kept(void **state)
{
    struct pickle *pickle = PARSE("\x80\x02K\x01K\x02\x86Q.");

    (void)state;
    assert_int_equal(pickle_root(pickle)->kind, PICKLE_PERSID);
    assert_int_equal(pickle_root(pickle)->args->count, 2);
    pickle_destroy(&pickle);
}

static void memo_gives_back_the_same_value(void **state)
{
#define ROW(literal) { literal, sizeof(literal) - 1 }
    static const struct {
        const char *ops;
        size_t len;
    } ROWS[] = {
        ROW("\x80\x02]q\x07h\x07\x86."),
        ROW("\x80\x02]r\x07\x00\x00\x00j\x07\x00\x00\x00\x86."),
        ROW("\x80\x02]p7\ng7\n\x86."),
        ROW("\x80\x04]\x94h\x00\x86."),
        ROW("\x80\x04Nq\x00" "0]\x94h\x01\x86."),    /* MEMOIZE counts what is there */
        ROW("\x80\x02]2\x86."),
    };

    (void)state;
    for (size_t row = 0; row < sizeof ROWS / sizeof ROWS[0]; row++) {
        struct pickle *pickle = parse(ROWS[row].ops, ROWS[row].len);
        const struct pickle_value *root = pickle_root(pickle);

        assert_int_equal(root->count, 2);
        assert_int_equal(root->item[0]->kind, PICKLE_LIST);
        assert_ptr_equal(root->item[0], root->item[1]);
        pickle_destroy(&pickle);
    }
}

static void values_are_popped_to_the_mark(void **state)
{
    struct pickle *pickle = PARSE("\x80\x02K\x01(K\x02K\x03" "1(0K\x04" "0.");

    (void)state;
    assert_int_equal(pickle_root(pickle)->whole, 1);
    pickle_destroy(&pickle);
}

static void frames_are_passed(void **state)
{
    struct pickle *pickle = PARSE("\x80\x04\x95\x02\x00\x00\x00\x00\x00\x00\x00N.");

    (void)state;
    assert_int_equal(pickle_root(pickle)->kind, PICKLE_NONE);
    pickle_destroy(&pickle);
}

static void what_follows_the_pickle_is_not_read(void **state)
{
    struct pickle *pickle;
    struct err e;

    (void)state;
    assert_int_equal(pickle_parse("\x80\x02N.\xff\xff", 6, TABLE, 2, &pickle, &e), ERR_OK);
    assert_int_equal(pickle_len(pickle), 4);
    pickle_destroy(&pickle);
}

static void list_that_holds_itself_is_read(void **state)
{
    struct pickle *pickle = PARSE("\x80\x02]q\x00h\x00" "a.");

    (void)state;
    assert_ptr_equal(pickle_root(pickle)->item[0], pickle_root(pickle));
    pickle_destroy(&pickle);
}

static void tuple_that_holds_itself_is_read(void **state)
{
    /* As Python writes it: the tuple's list is in the memo before the tuple is. */
    struct pickle *pickle = PARSE("\x80\x02]q\x00(h\x00t\x85q\x01" "0h\x00h\x01" "a00h\x01.");
    const struct pickle_value *root = pickle_root(pickle);

    (void)state;
    assert_ptr_equal(root->item[0]->item[0]->item[0], root);
    pickle_destroy(&pickle);
}

/* ---- what is refused ---- */

static void bad_pickles_are_refused_with_words(void **state)
{
#define BAD(literal, code, says) { literal, sizeof(literal) - 1, code, says }
    static const struct {
        const char *ops;
        size_t len;
        enum err_code code;
        const char *says;
    } ROWS[] = {
        BAD("", ERR_FILE, "too few"),
        BAD("\x80", ERR_FILE, "too few"),
        BAD("N.", ERR_INVALID, "no protocol"),
        BAD("\x80\x01N.", ERR_UNSUPPORTED, "pickle protocol 1 is not supported"),
        BAD("\x80\x06N.", ERR_UNSUPPORTED, "pickle protocol 6 is not supported"),
        BAD("\x80\x02", ERR_FILE, "ends at offset 2"),
        BAD("\x80\x02N", ERR_FILE, "ends at offset 3"),
        BAD("\x80\x02.", ERR_INVALID, "not one value at offset 2"),
        BAD("\x80\x02NN.", ERR_INVALID, "not one value at offset 4"),
        BAD("\x80\x02N(.", ERR_INVALID, "not one value at offset 4"),
        BAD("\x80\x02" "cos\nsystem\n(X\x02\x00\x00\x00idtR.", ERR_UNSUPPORTED,
            "refused: global os.system"),
        BAD("\x80\x02" "cposix\nsystem\n.", ERR_UNSUPPORTED, "refused: global posix.system"),
        BAD("\x80\x02" "cbuiltins\neval\n.", ERR_UNSUPPORTED,
            "refused: global builtins.eval at offset 2"),
        BAD("\x80\x04\x8c\x02os\x8c\x06system\x93.", ERR_UNSUPPORTED,
            "refused: global os.system at offset 14"),
        BAD("\x80\x02" "ccollections\nOrderedDict.x\n.", ERR_UNSUPPORTED,
            "refused: global collections.OrderedDict.x"),
        BAD("\x80\x02" "ccollections.OrderedDict\n\n.", ERR_UNSUPPORTED, "refused: global"),
        BAD("\x80\x02" "co\x1bs\nsys\x80tem\n.", ERR_UNSUPPORTED, "refused: global o?s.sys?tem"),
        BAD("\x80\x02i.", ERR_UNSUPPORTED, "refused: opcode 0x69 at offset 2"),
        BAD("\x80\x02Pabc\n.", ERR_UNSUPPORTED, "refused: opcode 0x50 at offset 2"),
        BAD("\x80\x02\x82\x01.", ERR_UNSUPPORTED, "refused: opcode 0x82 at offset 2"),
        BAD("\x80\x05\x97.", ERR_UNSUPPORTED, "refused: opcode 0x97 at offset 2"),
        BAD("\x80\x02N\x80\x02.", ERR_UNSUPPORTED, "refused: opcode 0x80 at offset 3"),
        BAD("\x80\x02X\xff\xff\xff\xff" "abc.", ERR_FILE, "begins at offset 2"),
        BAD("\x80\x02X\x05\x00\x00\x00" "abc.", ERR_FILE, "begins at offset 2"),
        BAD("\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff" "abc.", ERR_FILE, "begins at offset 2"),
        BAD("\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f" "abc.", ERR_FILE, "begins at offset 2"),
        BAD("\x80\x02\x8b\xff\xff\xff\xff.", ERR_FILE, "begins at offset 2"),
        BAD("\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xffN.", ERR_FILE, "frame at offset 2"),
        BAD("\x80\x02K", ERR_FILE, "begins at offset 2"),
        BAD("\x80\x02" "ccollections", ERR_FILE, "begins at offset 2"),
        BAD("\x80\x02" "a.", ERR_INVALID, "too few values"),
        BAD("\x80\x02Na.", ERR_INVALID, "too few values"),
        BAD("\x80\x02N(a.", ERR_INVALID, "too few values"),
        BAD("\x80\x02]N(NNa.", ERR_INVALID, "cannot hold it"),
        BAD("\x80\x02NNa.", ERR_INVALID, "cannot hold it at offset 4"),
        BAD("\x80\x02)Na.", ERR_INVALID, "cannot hold it"),
        BAD("\x80\x02}Na.", ERR_INVALID, "cannot hold it"),
        BAD("\x80\x02](N\x90.", ERR_INVALID, "cannot hold it"),
        BAD("\x80\x02]NNs.", ERR_INVALID, "cannot hold it"),
        BAD("\x80\x02" "ccollections\nOrderedDict\nNNs.", ERR_INVALID, "cannot hold it"),
        BAD("\x80\x02}(NNNu.", ERR_INVALID, "has no value"),
        BAD("\x80\x02Nt.", ERR_INVALID, "no mark"),
        BAD("\x80\x02N1.", ERR_INVALID, "no mark"),
        BAD("\x80\x02]e.", ERR_INVALID, "no mark"),
        BAD("\x80\x02N\x86.", ERR_INVALID, "too few values"),
        BAD("\x80\x02" "0.", ERR_INVALID, "too few values"),
        BAD("\x80\x02" "2.", ERR_INVALID, "too few values"),
        BAD("\x80\x02q\x00.", ERR_INVALID, "too few values"),
        BAD("\x80\x02h\x00.", ERR_INVALID, "nothing under that index"),
        BAD("\x80\x02Nq\x01" "0h\x00.", ERR_INVALID, "nothing under that index"),
        BAD("\x80\x02Nr\xff\xff\xff\xff.", ERR_INVALID, "index is too large"),
        BAD("\x80\x02Np-1\n.", ERR_INVALID, "index is no number"),
        BAD("\x80\x02Np99999999999999999999\n.", ERR_INVALID, "index is no number"),
        BAD("\x80\x02gx\n.", ERR_INVALID, "index is no number"),
        BAD("\x80\x02N)R.", ERR_INVALID, "no global"),
        BAD("\x80\x02X\x02\x00\x00\x00os)R.", ERR_INVALID, "no global"),
        BAD("\x80\x02" "cbuiltins\nset\n)R)R.", ERR_INVALID, "no global"),
        BAD("\x80\x02" "cbuiltins\nset\n]R.", ERR_INVALID, "no tuple"),
        BAD("\x80\x02" "cbuiltins\nset\nN\x81.", ERR_INVALID, "no tuple"),
        BAD("\x80\x04" "cbuiltins\nset\n)}\x8c\x01" "aNs\x92.", ERR_UNSUPPORTED,
            "keyword arguments at offset"),
        BAD("\x80\x04" "cbuiltins\nset\n)N\x92.", ERR_UNSUPPORTED, "keyword arguments"),
        BAD("\x80\x04\x8c\x02osN\x93.", ERR_INVALID, "name is no text"),
        BAD("\x80\x02}}b.", ERR_INVALID, "takes none"),
        BAD("\x80\x02" "cbuiltins\nset\n}b.", ERR_INVALID, "takes none"),
        BAD("\x80\x02" "cbuiltins\nset\n)R}b}b.", ERR_INVALID, "takes none"),
        BAD("\x80\x02Q.", ERR_INVALID, "too few values"),
    };

    (void)state;
    for (size_t row = 0; row < sizeof ROWS / sizeof ROWS[0]; row++)
        check_refused(ROWS[row].ops, ROWS[row].len, ROWS[row].code, ROWS[row].says);
}

static void line_without_an_end_is_refused_early(void **state)
{
    char ops[1000] = "\x80\x02" "c";

    (void)state;
    memset(ops + 3, 'x', sizeof ops - 3);
    check_refused(ops, sizeof ops, ERR_INVALID, "line is too long at offset 2");
}

/* ---- bombs: `head`, then `ops` again and again ---- */

static struct kit_pickle repeat(const char *head, const char *ops, size_t ops_len, size_t times)
{
    struct kit_pickle out = { 0 };

    kit_pickle_raw(&out, "\x80\x04", 2);
    kit_pickle_raw(&out, head, strlen(head));
    for (size_t i = 0; i < times; i++)
        kit_pickle_raw(&out, ops, ops_len);
    kit_pickle_raw(&out, ".", 1);
    return out;
}

static void bombs_are_refused(void **state)
{
    enum { MILLION = 1000000 };
    static const struct {
        const char *head, *ops;
        size_t ops_len, times;
        const char *says;
    } ROWS[] = {
        { ")", "\x85", 1, MILLION, "nested too deep at offset 2" },
        { "]", "2a", 2, MILLION, "nested too deep" },             /* a list in itself */
        { "", "(", 1, MILLION, "too many marks" },
        { "", "N", 1, MILLION, "too many values on the stack" },
        { "", "N0", 2, 2 * MILLION, "too many values" },
        { "}", "NNs", 3, MILLION, "too many keys" },
        { "](", "N2222222222222222e(", 19, MILLION, "too many items" },
        { "N\x94" "0](", "h\0h\0h\0h\0h\0h\0h\0e(", 16, MILLION, "too many items" },
    };

    (void)state;
    for (size_t row = 0; row < sizeof ROWS / sizeof ROWS[0]; row++) {
        struct kit_pickle p = repeat(ROWS[row].head, ROWS[row].ops, ROWS[row].ops_len,
                                     ROWS[row].times);

        check_refused(p.bytes, p.len, ERR_INVALID, ROWS[row].says);
        free(p.bytes);
    }
}

/* Each list holds the one before it twice: 2^200 leaves, and 201 lists. */
static void lists_that_double_take_no_more_than_they_are_long(void **state)
{
    struct kit_pickle p = repeat("]", "2\x86", 2, 200);
    struct pickle *pickle = parse(p.bytes, p.len);
    const struct pickle_value *at = pickle_root(pickle);

    (void)state;
    for (int i = 0; i < 200; i++) {
        assert_ptr_equal(at->item[0], at->item[1]);
        at = at->item[0];
    }
    assert_int_equal(at->count, 0);
    pickle_destroy(&pickle);
    free(p.bytes);
}

/* Were memo or dict searched from end to end, this would take minutes. */
static void long_pickle_is_read_in_linear_time(void **state)
{
    struct kit_pickle p = repeat("(", "N\x94" "0", 3, 500000);

    (void)state;
    p.bytes[p.len - 1] = 't';
    kit_pickle_raw(&p, ".", 1);
    struct pickle *pickle = parse(p.bytes, p.len);

    pickle_destroy(&pickle);
    free(p.bytes);
}

static void pickle_cut_anywhere_is_refused(void **state)
{
    struct kit_pickle p = kit_pickle_torch(&(struct kit_net){ 0 });

    (void)state;
    for (size_t len = 0; len < 400; len++) {
        struct pickle *pickle;
        struct err e;
        uint8_t *cut = malloc(len ? len : 1);

        assert_non_null(cut);
        memcpy(cut, p.bytes, len);
        enum err_code rc = pickle_parse(cut, len, TABLE, 2, &pickle, &e);

        assert_true(rc == ERR_FILE || (rc == ERR_UNSUPPORTED && strstr(e.msg, "refused: global")));
        assert_null(pickle);
        free(cut);
    }
    free(p.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_numbers_of_every_width_are_read),
        cmocka_unit_test(number_beyond_64_bits_keeps_its_bytes),
        cmocka_unit_test(none_truths_and_floats_are_read),
        cmocka_unit_test(strings_point_into_the_input),
        cmocka_unit_test(tuples_lists_and_sets_hold_their_items_in_order),
        cmocka_unit_test(dict_gives_what_was_set_last),
        cmocka_unit_test(calls_are_written_down_and_not_made),
        cmocka_unit_test(persistent_id_is_kept),
        cmocka_unit_test(memo_gives_back_the_same_value),
        cmocka_unit_test(values_are_popped_to_the_mark),
        cmocka_unit_test(frames_are_passed),
        cmocka_unit_test(what_follows_the_pickle_is_not_read),
        cmocka_unit_test(list_that_holds_itself_is_read),
        cmocka_unit_test(tuple_that_holds_itself_is_read),
        cmocka_unit_test(bad_pickles_are_refused_with_words),
        cmocka_unit_test(line_without_an_end_is_refused_early),
        cmocka_unit_test(bombs_are_refused),
        cmocka_unit_test(lists_that_double_take_no_more_than_they_are_long),
        cmocka_unit_test(long_pickle_is_read_in_linear_time),
        cmocka_unit_test(pickle_cut_anywhere_is_refused),
    };

    return cmocka_run_group_tests_name("pickle", tests, NULL, NULL);
}
