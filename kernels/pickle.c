/* A pickle is a program for a machine with a stack, a stack of marks and a memo. OPCODES[] says of
 * each opcode how its argument is written and which function runs it; machine_run reads opcode and
 * argument, so that no function below reads the input itself. */
#include "kernels/pickle.h"

#include "kernels/arena.h"
#include "proto/number.h"

#include <stdlib.h>
#include <string.h>

enum { PROTO = 0x80, STOP = '.', LINE_MAX_BYTES = 255 };

struct pickle {
    struct arena arena;
    const struct pickle_value *root;
    size_t len;
};

struct machine {
    struct pickle *pickle;
    const uint8_t *data;
    size_t len, next;               /* next: the first byte that has not been read */
    size_t at;                      /* offset of the opcode that runs */
    const struct pickle_global *table;
    size_t rows;
    struct pickle_value **stack;
    size_t height, stack_room;
    size_t *mark;                   /* heights of the stack */
    size_t marks, mark_room;
    struct pickle_value **memo;     /* [memo_room], NULL: not set */
    size_t memo_room, memo_next;
    size_t values, items;           /* so far */
    bool stopped;
    struct err *e;
};

/* What stands behind an opcode. */
struct argument {
    uint64_t number;
    const uint8_t *data;            /* of a string, or the first line */
    size_t len;
    const uint8_t *more;            /* the second line */
    size_t more_len;
};

typedef enum err_code run_fn(struct machine *m, const struct argument *arg);

/* ---- the machine's memory ---- */

static enum err_code malformed(struct machine *m, const char *what)
{
    return err_set(m->e, ERR_INVALID, "pickle: %s at offset %zu", what, m->at);
}

static enum err_code no_memory(struct machine *m)
{
    return err_set(m->e, ERR_NOMEM, "no memory for a pickle of %zu bytes", m->len);
}

/* array, which has room for *room elements of `size` bytes, with room for `need`; new ones are
 * zero. NULL when there is no memory: array is then as it was. */
static void *grow(void *array, size_t *room, size_t need, size_t size)
{
    size_t more = *room * 2 > need ? *room * 2 : need + 64;
    char *bigger;

    if (need <= *room)
        return array;
    bigger = realloc(array, more * size);
    if (!bigger)
        return NULL;
    memset(bigger + *room * size, 0, (more - *room) * size);
    *room = more;
    return bigger;
}

static enum err_code new_value(struct machine *m, enum pickle_kind kind, struct pickle_value **out)
{
    if (m->values == PICKLE_VALUES_MAX)
        return malformed(m, "too many values");
    *out = arena_take(&m->pickle->arena, sizeof **out);
    if (!*out)
        return no_memory(m);
    m->values++;
    (*out)->kind = kind;
    (*out)->depth = 1;
    (*out)->offset = m->at;
    return ERR_OK;
}

/* Room for `more` items behind those that self has. */
static enum err_code make_room(struct machine *m, struct pickle_value *self, size_t more)
{
    size_t room = self->room * 2 > self->count + more ? self->room * 2 : self->count + more;
    const struct pickle_value **item;

    if (self->count + more <= self->room)
        return ERR_OK;
    item = arena_take(&m->pickle->arena, room * sizeof item[0]);
    if (!item)
        return no_memory(m);
    if (self->count)
        memcpy(item, self->item, self->count * sizeof item[0]);
    self->item = item;
    self->room = room;
    return ERR_OK;
}

/* outer holds inner from now on. */
static enum err_code deepen(struct machine *m, struct pickle_value *outer,
                            const struct pickle_value *inner)
{
    if (inner->depth >= outer->depth)
        outer->depth = inner->depth + 1;
    if (outer->depth > PICKLE_DEPTH_MAX)
        return malformed(m, "values are nested too deep");
    return ERR_OK;
}

static enum err_code add_items(struct machine *m, struct pickle_value *self,
                               struct pickle_value *const *from, size_t count)
{
    enum err_code rc;

    if (count > PICKLE_ITEMS_MAX - m->items)
        return malformed(m, "too many items");
    m->items += count;
    rc = make_room(m, self, count);
    for (size_t i = 0; !rc && i < count; i++) {
        self->item[self->count++] = from[i];
        rc = deepen(m, self, from[i]);
    }
    return rc;
}

/* ---- the stack ---- */

/* What lies below the newest mark is out of reach. */
static size_t reach(const struct machine *m)
{
    return m->height - (m->marks ? m->mark[m->marks - 1] : 0);
}

static enum err_code need_values(struct machine *m, size_t count)
{
    return reach(m) < count ? malformed(m, "too few values on the stack") : ERR_OK;
}

static enum err_code push(struct machine *m, struct pickle_value *value)
{
    void *stack;

    if (m->height == PICKLE_STACK_MAX)
        return malformed(m, "too many values on the stack");
    stack = grow(m->stack, &m->stack_room, m->height + 1, sizeof m->stack[0]);
    if (!stack)
        return no_memory(m);
    m->stack = stack;
    m->stack[m->height++] = value;
    return ERR_OK;
}

static enum err_code push_new(struct machine *m, enum pickle_kind kind, struct pickle_value **out)
{
    enum err_code rc = new_value(m, kind, out);

    return rc ? rc : push(m, *out);
}

static struct pickle_value *top(const struct machine *m, size_t below)
{
    return m->stack[m->height - 1 - below];
}

/* Takes the newest mark away: *count values lie above it. */
static enum err_code pop_mark(struct machine *m, size_t *count)
{
    *count = 0;
    if (m->marks == 0)
        return malformed(m, "no mark on the stack");
    *count = reach(m);
    m->marks--;
    return ERR_OK;
}

/* ---- opcodes: plain values ---- */

static enum err_code run_none(struct machine *m, const struct argument *arg)
{
    struct pickle_value *value;

    (void)arg;
    return push_new(m, PICKLE_NONE, &value);
}

static enum err_code push_whole(struct machine *m, enum pickle_kind kind, int64_t whole)
{
    struct pickle_value *value;
    enum err_code rc = push_new(m, kind, &value);

    if (!rc)
        value->whole = whole;
    return rc;
}

static enum err_code run_true(struct machine *m, const struct argument *arg)
{
    (void)arg;
    return push_whole(m, PICKLE_BOOL, 1);
}

static enum err_code run_false(struct machine *m, const struct argument *arg)
{
    (void)arg;
    return push_whole(m, PICKLE_BOOL, 0);
}

static enum err_code run_int(struct machine *m, const struct argument *arg)
{
    return push_whole(m, PICKLE_INT, (int64_t)arg->number);
}

static enum err_code run_signed_int(struct machine *m, const struct argument *arg)
{
    return push_whole(m, PICKLE_INT, (int32_t)(uint32_t)arg->number);
}

static enum err_code push_string(struct machine *m, enum pickle_kind kind,
                                 const struct argument *arg)
{
    struct pickle_value *value;
    enum err_code rc = push_new(m, kind, &value);

    if (!rc) {
        value->data = arg->data;
        value->len = arg->len;
    }
    return rc;
}

/* An int of any length, in two's complement. */
static enum err_code run_long(struct machine *m, const struct argument *arg)
{
    uint64_t bits = 0;

    if (arg->len > sizeof bits)
        return push_string(m, PICKLE_BIG, arg);
    if (arg->len && arg->data[arg->len - 1] & 0x80)
        bits = (uint64_t)-1;
    for (size_t i = arg->len; i-- > 0;)
        bits = bits << 8 | arg->data[i];
    return push_whole(m, PICKLE_INT, (int64_t)bits);
}

static enum err_code run_float(struct machine *m, const struct argument *arg)
{
    struct pickle_value *value;
    uint64_t bits = __builtin_bswap64(arg->number);     /* the one number that is big-endian */
    enum err_code rc = push_new(m, PICKLE_FLOAT, &value);

    if (!rc)
        memcpy(&value->real, &bits, sizeof bits);
    return rc;
}

static enum err_code run_text(struct machine *m, const struct argument *arg)
{
    return push_string(m, PICKLE_TEXT, arg);
}

static enum err_code run_bytes(struct machine *m, const struct argument *arg)
{
    return push_string(m, PICKLE_BYTES, arg);
}

/* ---- opcodes: containers ---- */

static enum err_code run_empty_list(struct machine *m, const struct argument *arg)
{
    struct pickle_value *value;

    (void)arg;
    return push_new(m, PICKLE_LIST, &value);
}

static enum err_code run_empty_tuple(struct machine *m, const struct argument *arg)
{
    struct pickle_value *value;

    (void)arg;
    return push_new(m, PICKLE_TUPLE, &value);
}

static enum err_code run_empty_dict(struct machine *m, const struct argument *arg)
{
    struct pickle_value *value;

    (void)arg;
    return push_new(m, PICKLE_DICT, &value);
}

static enum err_code run_empty_set(struct machine *m, const struct argument *arg)
{
    struct pickle_value *value;

    (void)arg;
    return push_new(m, PICKLE_SET, &value);
}

/* The highest `count` values become one. */
static enum err_code gather(struct machine *m, enum pickle_kind kind, size_t count)
{
    struct pickle_value *value;
    enum err_code rc = need_values(m, count);

    if (!rc)
        rc = new_value(m, kind, &value);
    if (!rc && count > 0)            /* a stack that never held anything is NULL */
        rc = add_items(m, value, m->stack + m->height - count, count);
    if (rc)
        return rc;
    m->height -= count;
    return push(m, value);
}

static enum err_code run_tuple(struct machine *m, const struct argument *arg)
{
    size_t count;
    enum err_code rc = pop_mark(m, &count);

    (void)arg;
    return rc ? rc : gather(m, PICKLE_TUPLE, count);
}

static enum err_code run_tuple1(struct machine *m, const struct argument *arg)
{
    (void)arg;
    return gather(m, PICKLE_TUPLE, 1);
}

static enum err_code run_tuple2(struct machine *m, const struct argument *arg)
{
    (void)arg;
    return gather(m, PICKLE_TUPLE, 2);
}

static enum err_code run_tuple3(struct machine *m, const struct argument *arg)
{
    (void)arg;
    return gather(m, PICKLE_TUPLE, 3);
}

static enum err_code run_frozenset(struct machine *m, const struct argument *arg)
{
    size_t count;
    enum err_code rc = pop_mark(m, &count);

    (void)arg;
    return rc ? rc : gather(m, PICKLE_SET, count);
}

/* The highest `count` values go into the container of that kind that lies below them. */
static enum err_code put_into(struct machine *m, enum pickle_kind kind, size_t count)
{
    enum err_code rc = need_values(m, count + 1);

    if (rc)
        return rc;
    m->height -= count;
    if (top(m, 0)->kind != kind)
        return malformed(m, "something is added to what cannot hold it");
    return add_items(m, top(m, 0), m->stack + m->height, count);
}

static enum err_code run_append(struct machine *m, const struct argument *arg)
{
    (void)arg;
    return put_into(m, PICKLE_LIST, 1);
}

static enum err_code run_appends(struct machine *m, const struct argument *arg)
{
    size_t count;
    enum err_code rc = pop_mark(m, &count);

    (void)arg;
    return rc ? rc : put_into(m, PICKLE_LIST, count);
}

static enum err_code run_additems(struct machine *m, const struct argument *arg)
{
    size_t count;
    enum err_code rc = pop_mark(m, &count);

    (void)arg;
    return rc ? rc : put_into(m, PICKLE_SET, count);
}

/* The highest `count` values are keys and values of the dict, or of the object, below them. */
static enum err_code set_pairs(struct machine *m, size_t count)
{
    struct pickle_value *into, *dict;
    enum err_code rc = need_values(m, count + 1);

    if (rc)
        return rc;
    if (count % 2)
        return malformed(m, "a key has no value");
    m->height -= count;
    into = dict = top(m, 0);
    if (into->kind == PICKLE_OBJECT) {
        if (!into->pairs)
            rc = new_value(m, PICKLE_DICT, &into->pairs);
        dict = into->pairs;
    } else if (into->kind != PICKLE_DICT) {
        return malformed(m, "a key is set in what cannot hold it");
    }
    if (rc)
        return rc;
    if (count / 2 > PICKLE_PAIRS_MAX - dict->count / 2)
        return malformed(m, "a dict has too many keys");
    rc = add_items(m, dict, m->stack + m->height, count);
    return rc || dict == into ? rc : deepen(m, into, dict);
}

static enum err_code run_setitem(struct machine *m, const struct argument *arg)
{
    (void)arg;
    return set_pairs(m, 2);
}

static enum err_code run_setitems(struct machine *m, const struct argument *arg)
{
    size_t count;
    enum err_code rc = pop_mark(m, &count);

    (void)arg;
    return rc ? rc : set_pairs(m, count);
}

/* ---- opcodes: the stack and the memo ---- */

static enum err_code run_mark(struct machine *m, const struct argument *arg)
{
    void *mark;

    (void)arg;
    if (m->marks == PICKLE_STACK_MAX)
        return malformed(m, "too many marks");
    mark = grow(m->mark, &m->mark_room, m->marks + 1, sizeof m->mark[0]);
    if (!mark)
        return no_memory(m);
    m->mark = mark;
    m->mark[m->marks++] = m->height;
    return ERR_OK;
}

static enum err_code run_pop(struct machine *m, const struct argument *arg)
{
    enum err_code rc;

    (void)arg;
    if (m->marks && reach(m) == 0) {
        m->marks--;
        return ERR_OK;
    }
    rc = need_values(m, 1);
    if (!rc)
        m->height--;
    return rc;
}

static enum err_code run_pop_mark(struct machine *m, const struct argument *arg)
{
    size_t count;
    enum err_code rc = pop_mark(m, &count);

    (void)arg;
    if (!rc)
        m->height -= count;
    return rc;
}

static enum err_code run_dup(struct machine *m, const struct argument *arg)
{
    enum err_code rc = need_values(m, 1);

    (void)arg;
    return rc ? rc : push(m, top(m, 0));
}

static enum err_code put(struct machine *m, uint64_t index)
{
    enum err_code rc = need_values(m, 1);
    void *memo;

    if (rc)
        return rc;
    /* Picklers count from 0 or 1, so an index beyond the file's length is none of theirs. */
    if (index >= PICKLE_MEMO_MAX || index > m->len)
        return malformed(m, "the memo's index is too large");
    memo = grow(m->memo, &m->memo_room, (size_t)index + 1, sizeof m->memo[0]);
    if (!memo)
        return no_memory(m);
    m->memo = memo;
    m->memo_next += !m->memo[index];        /* MEMOIZE counts what is there */
    m->memo[index] = top(m, 0);
    return ERR_OK;
}

static enum err_code get(struct machine *m, uint64_t index)
{
    if (index >= m->memo_room || !m->memo[index])
        return malformed(m, "the memo has nothing under that index");
    return push(m, m->memo[index]);
}

static enum err_code run_put(struct machine *m, const struct argument *arg)
{
    return put(m, arg->number);
}

static enum err_code run_memoize(struct machine *m, const struct argument *arg)
{
    (void)arg;
    return put(m, m->memo_next);
}

static enum err_code run_get(struct machine *m, const struct argument *arg)
{
    return get(m, arg->number);
}

static enum err_code read_line_number(struct machine *m, const struct argument *arg, int64_t *out)
{
    if (!number_parse((const char *)arg->data, arg->len, out) || *out < 0)
        return malformed(m, "the memo's index is no number");
    return ERR_OK;
}

static enum err_code run_put_line(struct machine *m, const struct argument *arg)
{
    int64_t index;
    enum err_code rc = read_line_number(m, arg, &index);

    return rc ? rc : put(m, (uint64_t)index);
}

static enum err_code run_get_line(struct machine *m, const struct argument *arg)
{
    int64_t index;
    enum err_code rc = read_line_number(m, arg, &index);

    return rc ? rc : get(m, (uint64_t)index);
}

/* ---- opcodes: globals and what they would make ---- */

static bool is_same(const char *word, const uint8_t *data, size_t len)
{
    return strlen(word) == len && memcmp(word, data, len) == 0;
}

/* data[0..len) for a message: printable, short. */
static const char *printable(const uint8_t *data, size_t len, char out[64])
{
    size_t n = len < 63 ? len : 63;

    for (size_t i = 0; i < n; i++)
        out[i] = data[i] >= 0x20 && data[i] < 0x7f ? (char)data[i] : '?';
    out[n] = '\0';
    return out;
}

static enum err_code push_global(struct machine *m, const uint8_t *module, size_t module_len,
                                 const uint8_t *name, size_t name_len)
{
    char words[2][64];

    for (size_t row = 0; row < m->rows; row++)
        if (is_same(m->table[row].module, module, module_len) &&
            is_same(m->table[row].name, name, name_len)) {
            struct pickle_value *value;
            enum err_code rc = push_new(m, PICKLE_GLOBAL, &value);

            if (!rc)
                value->global = &m->table[row];
            return rc;
        }
    return err_set(m->e, ERR_UNSUPPORTED, "refused: global %s.%s at offset %zu",
                   printable(module, module_len, words[0]), printable(name, name_len, words[1]),
                   m->at);
}

static enum err_code run_global(struct machine *m, const struct argument *arg)
{
    return push_global(m, arg->data, arg->len, arg->more, arg->more_len);
}

static enum err_code run_stack_global(struct machine *m, const struct argument *arg)
{
    const struct pickle_value *module, *name;
    enum err_code rc = need_values(m, 2);

    (void)arg;
    if (rc)
        return rc;
    module = top(m, 1);
    name = top(m, 0);
    if (module->kind != PICKLE_TEXT || name->kind != PICKLE_TEXT)
        return malformed(m, "a global's name is no text");
    m->height -= 2;
    return push_global(m, module->data, module->len, name->data, name->len);
}

/* callable and args, the two values at `base` of the stack, and what lies above become one. */
static enum err_code make_object(struct machine *m, size_t base)
{
    const struct pickle_value *callable = m->stack[base], *args = m->stack[base + 1];
    struct pickle_value *value;
    enum err_code rc;

    if (callable->kind != PICKLE_GLOBAL)
        return malformed(m, "something is called that is no global");
    if (args->kind != PICKLE_TUPLE)
        return malformed(m, "arguments are no tuple");
    rc = new_value(m, PICKLE_OBJECT, &value);
    if (!rc)
        rc = deepen(m, value, args);
    if (rc)
        return rc;
    value->callable = callable->global;
    value->args = args;
    m->height = base;
    return push(m, value);
}

static enum err_code run_reduce(struct machine *m, const struct argument *arg)
{
    enum err_code rc = need_values(m, 2);

    (void)arg;
    return rc ? rc : make_object(m, m->height - 2);
}

static enum err_code run_newobj_ex(struct machine *m, const struct argument *arg)
{
    enum err_code rc = need_values(m, 3);

    (void)arg;
    if (rc)
        return rc;
    if (top(m, 0)->kind != PICKLE_DICT || top(m, 0)->count)
        return err_set(m->e, ERR_UNSUPPORTED, "pickle: keyword arguments at offset %zu are not "
                                              "supported", m->at);
    return make_object(m, m->height - 3);
}

static enum err_code run_build(struct machine *m, const struct argument *arg)
{
    enum err_code rc = need_values(m, 2);
    struct pickle_value *object, *state;

    (void)arg;
    if (rc)
        return rc;
    object = top(m, 1);
    state = top(m, 0);
    if (object->kind != PICKLE_OBJECT || object->state)
        return malformed(m, "a state is given to what takes none");
    m->height--;
    object->state = state;
    return deepen(m, object, state);
}

static enum err_code run_persid(struct machine *m, const struct argument *arg)
{
    struct pickle_value *value, *id;
    enum err_code rc = need_values(m, 1);

    (void)arg;
    if (rc)
        return rc;
    id = top(m, 0);
    m->height--;
    rc = push_new(m, PICKLE_PERSID, &value);
    if (rc)
        return rc;
    value->args = id;
    return deepen(m, value, id);
}

/* ---- opcodes: the frame around them ---- */

/* A frame says how many bytes belong together; a reader that has them all needs no more of it. */
static enum err_code run_frame(struct machine *m, const struct argument *arg)
{
    if (arg->number > m->len - m->next)
        return err_set(m->e, ERR_FILE, "pickle: the frame at offset %zu is longer than the file",
                       m->at);
    return ERR_OK;
}

static enum err_code run_stop(struct machine *m, const struct argument *arg)
{
    (void)arg;
    if (m->height != 1 || m->marks)
        return malformed(m, "the end leaves not one value");
    m->stopped = true;
    return ERR_OK;
}

enum argument_form {
    NOTHING,
    NUMBER1, NUMBER2, NUMBER4, NUMBER8,     /* so many bytes, little-endian */
    STRING1, STRING4, STRING8,              /* its length in so many bytes, then the string */
    LINE, TWO_LINES,                        /* each ends in LF */
};

static const struct opcode {
    run_fn *run;                            /* NULL: refused */
    enum argument_form form;
} OPCODES[256] = {
    ['('] = { run_mark, NOTHING },
    [STOP] = { run_stop, NOTHING },
    ['0'] = { run_pop, NOTHING },
    ['1'] = { run_pop_mark, NOTHING },
    ['2'] = { run_dup, NOTHING },
    ['B'] = { run_bytes, STRING4 },
    ['C'] = { run_bytes, STRING1 },
    ['G'] = { run_float, NUMBER8 },
    ['J'] = { run_signed_int, NUMBER4 },
    ['K'] = { run_int, NUMBER1 },
    ['M'] = { run_int, NUMBER2 },
    ['N'] = { run_none, NOTHING },
    ['Q'] = { run_persid, NOTHING },
    ['R'] = { run_reduce, NOTHING },
    ['X'] = { run_text, STRING4 },
    [']'] = { run_empty_list, NOTHING },
    ['a'] = { run_append, NOTHING },
    ['b'] = { run_build, NOTHING },
    ['c'] = { run_global, TWO_LINES },
    ['e'] = { run_appends, NOTHING },
    ['g'] = { run_get_line, LINE },
    ['h'] = { run_get, NUMBER1 },
    ['j'] = { run_get, NUMBER4 },
    ['p'] = { run_put_line, LINE },
    ['q'] = { run_put, NUMBER1 },
    ['r'] = { run_put, NUMBER4 },
    ['s'] = { run_setitem, NOTHING },
    ['t'] = { run_tuple, NOTHING },
    ['u'] = { run_setitems, NOTHING },
    ['}'] = { run_empty_dict, NOTHING },
    [')'] = { run_empty_tuple, NOTHING },
    [0x81] = { run_reduce, NOTHING },       /* NEWOBJ: class and arguments, as REDUCE */
    [0x85] = { run_tuple1, NOTHING },
    [0x86] = { run_tuple2, NOTHING },
    [0x87] = { run_tuple3, NOTHING },
    [0x88] = { run_true, NOTHING },
    [0x89] = { run_false, NOTHING },
    [0x8a] = { run_long, STRING1 },
    [0x8b] = { run_long, STRING4 },
    [0x8c] = { run_text, STRING1 },
    [0x8d] = { run_text, STRING8 },
    [0x8e] = { run_bytes, STRING8 },
    [0x8f] = { run_empty_set, NOTHING },
    [0x90] = { run_additems, NOTHING },
    [0x91] = { run_frozenset, NOTHING },
    [0x92] = { run_newobj_ex, NOTHING },
    [0x93] = { run_stack_global, NOTHING },
    [0x94] = { run_memoize, NOTHING },
    [0x95] = { run_frame, NUMBER8 },
    [0x96] = { run_bytes, STRING8 },        /* BYTEARRAY8 */
};

static enum err_code truncated(struct machine *m)
{
    return err_set(m->e, ERR_FILE, "pickle: it ends inside what begins at offset %zu", m->at);
}

static enum err_code read_number(struct machine *m, size_t bytes, uint64_t *out)
{
    *out = 0;
    if (bytes > m->len - m->next)
        return truncated(m);
    for (size_t i = bytes; i-- > 0;)
        *out = *out << 8 | m->data[m->next + i];
    m->next += bytes;
    return ERR_OK;
}

static enum err_code read_string(struct machine *m, size_t bytes, struct argument *arg)
{
    uint64_t len;
    enum err_code rc = read_number(m, bytes, &len);

    if (rc)
        return rc;
    if (len > m->len - m->next)
        return truncated(m);
    arg->data = m->data + m->next;
    arg->len = (size_t)len;
    m->next += arg->len;
    return ERR_OK;
}

static enum err_code read_line(struct machine *m, const uint8_t **data, size_t *len)
{
    size_t left = m->len - m->next;
    size_t limit = left < LINE_MAX_BYTES ? left : LINE_MAX_BYTES;
    const uint8_t *end = memchr(m->data + m->next, '\n', limit);

    if (!end)
        return left < LINE_MAX_BYTES ? truncated(m) : malformed(m, "a line is too long");
    *data = m->data + m->next;
    *len = (size_t)(end - *data);
    m->next += *len + 1;
    return ERR_OK;
}

static enum err_code read_argument(struct machine *m, enum argument_form form,
                                   struct argument *arg)
{
    enum err_code rc;

    switch (form) {
    case NOTHING:
        return ERR_OK;
    case NUMBER1:
        return read_number(m, 1, &arg->number);
    case NUMBER2:
        return read_number(m, 2, &arg->number);
    case NUMBER4:
        return read_number(m, 4, &arg->number);
    case NUMBER8:
        return read_number(m, 8, &arg->number);
    case STRING1:
        return read_string(m, 1, arg);
    case STRING4:
        return read_string(m, 4, arg);
    case STRING8:
        return read_string(m, 8, arg);
    case LINE:
        return read_line(m, &arg->data, &arg->len);
    case TWO_LINES:
        rc = read_line(m, &arg->data, &arg->len);
        return rc ? rc : read_line(m, &arg->more, &arg->more_len);
    }
    return malformed(m, "no such argument");
}

static enum err_code read_protocol(struct machine *m)
{
    if (m->len < 2)
        return err_set(m->e, ERR_FILE, "%zu bytes are too few for a pickle", m->len);
    if (m->data[0] != PROTO)
        return malformed(m, "no protocol");
    if (m->data[1] < 2 || m->data[1] > 5)
        return err_set(m->e, ERR_UNSUPPORTED, "pickle protocol %d is not supported; 2 to 5 are",
                       m->data[1]);
    m->next = 2;
    return ERR_OK;
}

static enum err_code machine_run(struct machine *m)
{
    enum err_code rc = read_protocol(m);

    while (!rc && !m->stopped) {
        struct argument arg = { 0 };
        const struct opcode *op;

        m->at = m->next;
        if (m->next == m->len)
            return err_set(m->e, ERR_FILE, "pickle: it ends at offset %zu without its last opcode",
                           m->at);
        op = &OPCODES[m->data[m->next++]];
        if (!op->run)
            return err_set(m->e, ERR_UNSUPPORTED, "refused: opcode 0x%02x at offset %zu",
                           m->data[m->at], m->at);
        rc = read_argument(m, op->form, &arg);
        if (!rc)
            rc = op->run(m, &arg);
    }
    return rc;
}

enum err_code pickle_parse(const void *data, size_t len, const struct pickle_global *table,
                           size_t rows, struct pickle **out, struct err *e)
{
    struct machine m = { .data = data, .len = len, .table = table, .rows = rows, .e = e };
    enum err_code rc;

    *out = NULL;
    m.pickle = calloc(1, sizeof *m.pickle);
    rc = m.pickle ? machine_run(&m) : no_memory(&m);
    if (!rc) {
        m.pickle->root = m.stack[0];
        m.pickle->len = m.next;
        *out = m.pickle;
        m.pickle = NULL;
    }
    free(m.stack);
    free(m.mark);
    free(m.memo);
    pickle_destroy(&m.pickle);
    return rc;
}

void pickle_destroy(struct pickle **self)
{
    if (!*self)
        return;
    arena_release(&(*self)->arena);
    free(*self);
    *self = NULL;
}

const struct pickle_value *pickle_root(const struct pickle *self)
{
    return self->root;
}

size_t pickle_len(const struct pickle *self)
{
    return self->len;
}

const struct pickle_value *pickle_find(const struct pickle_value *value, const char *key)
{
    if (value && value->kind == PICKLE_OBJECT)
        value = value->pairs;
    if (!value || value->kind != PICKLE_DICT)
        return NULL;
    for (size_t i = value->count; i > 0; i -= 2)
        if (pickle_is_text(value->item[i - 2], key))
            return value->item[i - 1];
    return NULL;
}

bool pickle_is_text(const struct pickle_value *value, const char *text)
{
    return value && value->kind == PICKLE_TEXT && is_same(text, value->data, value->len);
}
