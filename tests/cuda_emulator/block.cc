/* block -- the threads of a block as fibers: each runs until it meets others, then the next one does.
 *
 * A fiber is a stack and the registers a call keeps. All fibers belong to the host thread that runs
 * the block. A thread that is not alone at a meeting point leaves the warp's set of ready lanes and
 * jumps straight to the next ready thread; the last one to arrive does what the meeting is for and
 * makes the others ready. One warp runs for as long as one of its lanes can, so that a thread gets
 * as far ahead of the others as no barrier holds it: a missing one shows. */
#include "inside.h"

#include <emulated_mma.h>
#include <cuda_fp16.h>

#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

#if defined(__x86_64__) && !defined(EMULATED_UCONTEXT)
#define EMULATED_SWITCH_X86_64
#else
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define EMULATED_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMULATED_ASAN
#endif
#endif
#ifdef EMULATED_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

enum { THREADS_MAX = 1024, LANES = 32, WARPS_MAX = THREADS_MAX / LANES };
#ifdef EMULATED_ASAN
enum { STACK_BYTES = 256 << 10 };
#else
enum { STACK_BYTES = 64 << 10 };
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
unsigned emulated_lane;
unsigned char *emulated_shared;

/* Where a thread waits. */
struct place {
    const char *what, *file, *function;
    int line;
};

struct copy {
    void *to;
    const void *from;           /* NULL: zeros */
    unsigned group;
};

enum state { RUNS, AT_BARRIER, AT_MEETING, ENDED };

struct thread {
#ifdef EMULATED_SWITCH_X86_64
    void *sp;                   /* where it stopped */
#else
    ucontext_t context;
#endif
    uint3 index;
    unsigned warp, lane;
    enum state state;
    struct place place;
    const void *bottom;         /* of its stack; NULL: none yet */
    size_t size;
    void *fake_stack;           /* ASan's */
    std::vector<struct copy> copies;    /* under way, oldest first */
    unsigned group;             /* that the next copy belongs to */
};

/* Lanes on their way to one meeting. */
struct gathering {
    unsigned mask, arrived;
    emulated_meeting *meeting;
    int line;
    unsigned first;             /* lane, for messages */
};

struct warp {
    unsigned exists, ready;     /* sets of lanes */
    struct gathering gathering[LANES];
    unsigned gatherings;        /* more than one where parts of a warp meet apart */
    void *operand[LANES];
};

static struct thread threads[THREADS_MAX], host;
static struct warp warps[WARPS_MAX];
static struct thread *current = &host;
static unsigned thread_count, warp_count, at_barrier, ended;
static unsigned warp_order[WARPS_MAX], cursor;
static const struct emulated_launch *launched;
static size_t shared_bytes;
static struct place barrier;    /* that the first of at_barrier waits at */
static enum emulated_order order;
static enum emulated_copies copies_when;
static bool entered;            /* a jump from the host is under way */

/* ---- Messages. ---- */

static void describe(const struct thread *t)
{
    static const char *const DOES[] = { "runs", "waits", "waits", "has ended" };

    fprintf(stderr, "  thread %u %u %u %s", t->index.x, t->index.y, t->index.z, DOES[t->state]);
    if (t->state == AT_BARRIER || t->state == AT_MEETING)
        fprintf(stderr, " at %s in %s, %s:%d", t->place.what, t->place.function, t->place.file,
                t->place.line);
    fputc('\n', stderr);
}

/* One thread of each kind of place that threads are at. */
static void describe_all(void)
{
    for (unsigned i = 0; i < thread_count; i++) {
        bool known = false;
        for (unsigned k = 0; k < i && !known; k++)
            known = threads[k].state == threads[i].state &&
                    (threads[i].state == ENDED || threads[i].state == RUNS ||
                     (threads[k].place.what == threads[i].place.what &&
                      threads[k].place.line == threads[i].place.line));
        if (!known)
            describe(&threads[i]);
    }
}

void emulated_fail(const char *words, ...)
{
    va_list args;

    fflush(stdout);
    fputs("cuda emulator: ", stderr);
    if (launched)
        fprintf(stderr, "kernel launched in %s, %s:%d: block %u %u %u", launched->function,
                launched->file, launched->line, blockIdx.x, blockIdx.y, blockIdx.z);
    if (current != &host)
        fprintf(stderr, " thread %u %u %u", current->index.x, current->index.y, current->index.z);
    if (launched)
        fputs(": ", stderr);
    va_start(args, words);
    vfprintf(stderr, words, args);
    va_end(args);
    fputc('\n', stderr);
    if (launched && current != &host)
        describe_all();
    abort();
}

void emulated_trap(const char *file, const char *function, int line)
{
    emulated_fail("__trap in %s, %s:%d", function, file, line);
}

/* ---- Fibers. ---- */

#ifdef EMULATED_SWITCH_X86_64
/* Saves what a callee must keep, *from = stack pointer, and goes on where `to` was saved. */
extern "C" void emulated_switch(void **from, void *to) __attribute__((visibility("hidden")));
__asm__(".text\n"
        ".globl emulated_switch\n"
        ".hidden emulated_switch\n"
        ".type emulated_switch, @function\n"
        "emulated_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size emulated_switch, .-emulated_switch\n");
#endif

/* To be called first by whoever was jumped to; back: the fiber has run before. */
static void arrived(bool back)
{
#ifdef EMULATED_ASAN
    const void *bottom;
    size_t size;

    __sanitizer_finish_switch_fiber(back ? current->fake_stack : NULL, &bottom, &size);
    if (entered) {
        host.bottom = bottom;
        host.size = size;
    }
#else
    (void)back;
#endif
    entered = false;
}

static inline void jump(struct thread *from, struct thread *to)
{
    current = to;
    threadIdx = to->index;
    emulated_lane = to->lane;
#ifdef EMULATED_ASAN
    __sanitizer_start_switch_fiber(&from->fake_stack, to->bottom, to->size);
#endif
#ifdef EMULATED_SWITCH_X86_64
    emulated_switch(&from->sp, to->sp);
#else
    swapcontext(&from->context, &to->context);
#endif
    arrived(true);
}

/* The k-th ready lane in the order that is asked for. */
static inline unsigned pick_lane(unsigned ready)
{
    unsigned turn;

    if (__builtin_expect(order == EMULATED_FORWARD, 1))
        return (unsigned)__builtin_ctz(ready);
    switch (order) {
    case EMULATED_FORWARD:
        break;
    case EMULATED_REVERSE:
        return (unsigned)(LANES - 1 - __builtin_clz(ready));
    case EMULATED_SHUFFLED:
        turn = emulated_random(LANES);
        ready = ready >> turn | ready << (-turn & (LANES - 1));
        return ((unsigned)__builtin_ctz(ready) + turn) % LANES;
    }
    return (unsigned)__builtin_ctz(ready);
}

/* A new order of the warps, from the first of it on. */
static void order_warps(void)
{
    cursor = 0;
    for (unsigned i = 0; i < warp_count; i++)
        warp_order[i] = order == EMULATED_REVERSE ? warp_count - 1 - i : i;
    for (unsigned i = warp_count; order == EMULATED_SHUFFLED && i > 1; i--) {
        unsigned k = emulated_random(i), w = warp_order[k];
        warp_order[k] = warp_order[i - 1];
        warp_order[i - 1] = w;
    }
}

/* The thread to go on with when the warp that ran has no lane that can; the host when all ended. */
static __attribute__((noinline)) struct thread *next_of_others(void)
{
    for (;;) {
        for (unsigned i = 0; i < warp_count; i++) {
            unsigned w = warp_order[cursor];
            if (warps[w].ready)
                return &threads[w * LANES + pick_lane(warps[w].ready)];
            cursor = cursor + 1 < warp_count ? cursor + 1 : 0;
        }
        if (ended == thread_count)
            return &host;
        if (emulated_hopper_deliver())
            continue;
        if (at_barrier < thread_count)
            emulated_fail("%s", at_barrier == 0
                                    ? "lanes wait for others that never come"
                                    : "a barrier that not all threads of the block reach");
        at_barrier = 0;
        for (unsigned w = 0; w < warp_count; w++)
            warps[w].ready = warps[w].exists;
        order_warps();
    }
}

static inline struct thread *next_thread(void)
{
    unsigned w = warp_order[cursor], ready = warps[w].ready;

    return ready ? &threads[w * LANES + pick_lane(ready)] : next_of_others();
}

/* self is not ready: lets others run until it is, and has been picked. */
static inline void go_on(struct thread *self)
{
    struct thread *next = next_thread();

    if (next != self)
        jump(self, next);
    self->state = RUNS;
}

/* A fiber runs one thread of a block after another, until the process ends. */
static void fiber_main(void)
{
    arrived(false);
    for (;;) {
        struct thread *self = current;
        self->state = RUNS;
        launched->run(launched);
        self->copies.clear();
        self->state = ENDED;
        ended++;
        warps[self->warp].ready &= ~(1u << self->lane);
        jump(self, next_thread());
    }
}

/* Stacks have a page before them that nobody may touch. */
static void make_fiber(struct thread *t)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *base = (char *)mmap(NULL, page + STACK_BYTES, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (base == (char *)MAP_FAILED || mprotect(base, page, PROT_NONE))
        emulated_fail("no memory for the stack of a thread");
    t->bottom = base + page;
    t->size = STACK_BYTES;
#ifdef EMULATED_SWITCH_X86_64
    /* Tops lie at different places of a page, or all would share the same few cache lines. */
    size_t index = (size_t)(t - threads);
    void **top = (void **)(void *)(base + page + STACK_BYTES - index % 31 * 128);
    *--top = NULL;                      /* keeps the stack aligned as a call does; ends a backtrace */
    *--top = (void *)fiber_main;
    for (int i = 0; i < 6; i++)
        *--top = NULL;
    t->sp = top;
#else
    getcontext(&t->context);
    t->context.uc_stack.ss_sp = base + page;
    t->context.uc_stack.ss_size = STACK_BYTES;
    t->context.uc_link = NULL;
    makecontext(&t->context, fiber_main, 0);
#endif
}

/* ---- Meetings. ---- */

void emulated_barrier(const char *file, const char *function, int line)
{
    struct thread *self = current;

    if (self == &host)
        emulated_fail("a barrier outside of a kernel");
    self->place = { "__syncthreads", file, function, line };
    if (at_barrier == 0)
        barrier = self->place;
    if (barrier.line != line || (barrier.file != file && strcmp(barrier.file, file) != 0))
        emulated_fail("__syncthreads in %s, %s:%d, where others wait at another", function, file,
                      line);
    self->state = AT_BARRIER;
    at_barrier++;
    warps[self->warp].ready &= ~(1u << self->lane);
    go_on(self);
}

/* The one that self arrives at; a new one when it is the first. */
static struct gathering *find_gathering(struct warp *w, const struct thread *self,
                                        emulated_meeting *meeting, unsigned mask)
{
    const struct place *here = &self->place;
    struct gathering *g = w->gathering, *end = g + w->gatherings;

    if (!(mask >> self->lane & 1) || (mask & ~w->exists))
        emulated_fail("%s in %s, %s:%d: mask %08x is without this lane or has lanes that the warp "
                      "has not: %08x",
                      here->what, here->function, here->file, here->line, mask, w->exists);
    for (; g < end; g++) {
        if (g->mask == mask && g->meeting == meeting && g->line == here->line)
            return g;
        if (g->mask >> self->lane & 1) {
            const struct place *there = &threads[self->warp * LANES + g->first].place;
            emulated_fail("%s in %s, %s:%d, mask %08x, where lane %u waits for it at %s in %s, "
                          "%s:%d, mask %08x",
                          here->what, here->function, here->file, here->line, mask, g->first,
                          there->what, there->function, there->file, there->line, g->mask);
        }
    }
    w->gatherings++;
    *g = { mask, 0, meeting, here->line, self->lane };
    return g;
}

void emulated_meet(emulated_meeting *meeting, const char *what, unsigned mask, void *operand,
                   const char *file, const char *function, int line)
{
    struct thread *self = current;
    struct warp *w = &warps[self->warp];
    struct gathering *g;

    if (self == &host)
        emulated_fail("%s outside of a kernel", what);
    self->place = { what, file, function, line };
    w->operand[self->lane] = operand;
    g = find_gathering(w, self, meeting, mask);
    g->arrived |= 1u << self->lane;
    if (g->arrived != mask) {
        self->state = AT_MEETING;
        w->ready &= ~(1u << self->lane);
        go_on(self);
        return;
    }
    meeting(w->operand, mask);
    w->ready |= mask;
    *g = w->gathering[--w->gatherings];
}

unsigned emulated_thread(void)
{
    return (unsigned)(current - threads);
}

void emulated_park(const char *what, const char *file, const char *function, int line)
{
    struct thread *self = current;

    self->place = { what, file, function, line };
    self->state = AT_MEETING;
    warps[self->warp].ready &= ~(1u << self->lane);
    go_on(self);
}

void emulated_wake(unsigned thread)
{
    warps[threads[thread].warp].ready |= 1u << threads[thread].lane;
}

/* Goes round all threads that can run, so that none starves while others wait in loops. */
void emulated_yield(void)
{
    struct thread *self = current;
    unsigned w, ready;

    if (self == &host)
        return;
    w = self->warp;
    ready = warps[w].ready & ~((2u << self->lane) - 1);
    while (!ready) {
        w = w + 1 < warp_count ? w + 1 : 0;
        ready = warps[w].ready;
    }
    for (cursor = 0; warp_order[cursor] != w; cursor++)
        ;
    struct thread *next = &threads[w * LANES + (unsigned)__builtin_ctz(ready)];
    if (next != self)
        jump(self, next);
    self->state = RUNS;
}

void emulated_sync_all(void *operand[LANES], unsigned mask)
{
    (void)operand;
    (void)mask;
}

/* A lane that does not take part has no value to give: all bits. */
void emulated_shuffle_all(void *operand[LANES], unsigned mask)
{
    for (unsigned rest = mask; rest; rest &= rest - 1) {
        struct emulated_shuffle *s = (struct emulated_shuffle *)operand[__builtin_ctz(rest)];
        bool there = s->from >= 0 && s->from < LANES && (mask >> s->from & 1);
        s->result = there ? ((struct emulated_shuffle *)operand[s->from])->value : UINT64_MAX;
    }
}

void emulated_vote_all(void *operand[LANES], unsigned mask)
{
    unsigned result = 0;

    for (unsigned rest = mask; rest; rest &= rest - 1)
        if (((struct emulated_vote *)operand[__builtin_ctz(rest)])->value)
            result |= rest & -rest;
    for (unsigned rest = mask; rest; rest &= rest - 1)
        ((struct emulated_vote *)operand[__builtin_ctz(rest)])->result = result;
}

/* ---- Products. A row of eight results is a vector; sums go up k, one product at a time: products
 * of fp16 and of tf32 are exact in float32. ---- */

typedef float floats8 __attribute__((vector_size(32)));

template <int DEPTH>
static inline void multiply(void *operand[LANES], const float a[16][16], const floats8 b[DEPTH])
{
    floats8 row[16];

    for (unsigned lane = 0; lane < LANES; lane++) {
        const float *d = ((const struct emulated_mma *)operand[lane])->d;
        memcpy((float *)&row[lane / 4] + lane % 4 * 2, d, 8);
        memcpy((float *)&row[lane / 4 + 8] + lane % 4 * 2, d + 2, 8);
    }
    for (unsigned i = 0; i < 16; i++) {
        floats8 sum = row[i];
#pragma GCC unroll 16
        for (unsigned k = 0; k < DEPTH; k++)
            sum += a[i][k] * b[k];
        row[i] = sum;
    }
    for (unsigned lane = 0; lane < LANES; lane++) {
        float *d = ((const struct emulated_mma *)operand[lane])->d;
        memcpy(d, (const float *)&row[lane / 4] + lane % 4 * 2, 8);
        memcpy(d + 2, (const float *)&row[lane / 4 + 8] + lane % 4 * 2, 8);
    }
}

/* Count pairs of halves. */
static inline void widen(float *out, const uint32_t *pairs, int count)
{
#ifdef __F16C__
    if (count == 4)
        _mm256_storeu_ps(out, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)pairs)));
    else
        _mm_storeu_ps(out, _mm_cvtph_ps(_mm_loadl_epi64((const __m128i *)(const void *)pairs)));
#else
    for (int i = 0; i < 2 * count; i++)
        out[i] = emulated_half_value((uint16_t)(pairs[i / 2] >> i % 2 * 16));
#endif
}

void emulated_mma_f16_all(void *operand[LANES], unsigned mask)
{
    float a[16][16], part[8];
    floats8 b[16];

    (void)mask;
    for (unsigned lane = 0; lane < LANES; lane++) {
        const struct emulated_mma *m = (const struct emulated_mma *)operand[lane];
        unsigned g = lane / 4, t = lane % 4;
        float *column = (float *)&b[2 * t] + g;
        widen(part, m->a, 4);
        memcpy(&a[g][2 * t], part, 8);
        memcpy(&a[g + 8][2 * t], part + 2, 8);
        memcpy(&a[g][2 * t + 8], part + 4, 8);
        memcpy(&a[g + 8][2 * t + 8], part + 6, 8);
        widen(part, m->b, 2);
        column[0] = part[0];
        column[8] = part[1];
        column[8 * 8] = part[2];
        column[9 * 8] = part[3];
    }
    multiply<16>(operand, a, b);
}

void emulated_mma_tf32_all(void *operand[LANES], unsigned mask)
{
    const uint32_t kept = 0xffffe000u;
    float a[16][16];
    floats8 b[8];

    (void)mask;
    for (unsigned lane = 0; lane < LANES; lane++) {
        const struct emulated_mma *m = (const struct emulated_mma *)operand[lane];
        unsigned g = lane / 4, t = lane % 4;
        float *column = (float *)&b[t] + g;
        a[g][t] = __uint_as_float(m->a[0] & kept);
        a[g + 8][t] = __uint_as_float(m->a[1] & kept);
        a[g][t + 4] = __uint_as_float(m->a[2] & kept);
        a[g + 8][t + 4] = __uint_as_float(m->a[3] & kept);
        column[0] = __uint_as_float(m->b[0] & kept);
        column[4 * 8] = __uint_as_float(m->b[1] & kept);
    }
    multiply<8>(operand, a, b);
}

/* ---- Shared memory. ---- */

static bool is_shared(const void *p, size_t bytes)
{
    const unsigned char *at = (const unsigned char *)p;

    return at >= emulated_shared && bytes <= shared_bytes &&
           (size_t)(at - emulated_shared) <= shared_bytes - bytes;
}

/* The rows of count matrices, by the lanes that bring their addresses. */
static void load_rows(uint16_t rows[LANES][8], void *operand[LANES], int count)
{
    for (int lane = 0; lane < 8 * count; lane++) {
        const void *row = ((const struct emulated_ldmatrix *)operand[lane])->row;
        if ((uintptr_t)row % 16 != 0 || !is_shared(row, 16))
            emulated_fail("%s in %s, %s:%d: lane %d's row is not 16 aligned bytes of the block's "
                          "shared memory: offset %td of %zu",
                          current->place.what, current->place.function, current->place.file,
                          current->place.line, lane, (const unsigned char *)row - emulated_shared,
                          shared_bytes);
        memcpy(rows[lane], row, 16);
    }
}

static void ldmatrix(void *operand[LANES], int count)
{
    uint16_t rows[LANES][8];

    load_rows(rows, operand, count);
    for (int lane = 0; lane < LANES; lane++)
        for (int m = 0; m < count; m++)
            memcpy(&((struct emulated_ldmatrix *)operand[lane])->r[m],
                   &rows[8 * m + lane / 4][2 * (lane % 4)], 4);
}

void emulated_ldmatrix_x4_all(void *operand[LANES], unsigned mask)
{
    (void)mask;
    ldmatrix(operand, 4);
}

void emulated_ldmatrix_x2_all(void *operand[LANES], unsigned mask)
{
    (void)mask;
    ldmatrix(operand, 2);
}

void emulated_ldmatrix_x4_trans_all(void *operand[LANES], unsigned mask)
{
    uint16_t rows[LANES][8];

    (void)mask;
    load_rows(rows, operand, 4);
    for (int lane = 0; lane < LANES; lane++)
        for (int m = 0; m < 4; m++) {
            int row = 8 * m + 2 * (lane % 4), column = lane / 4;
            ((struct emulated_ldmatrix *)operand[lane])->r[m] =
                (uint32_t)rows[row + 1][column] << 16 | rows[row][column];
        }
}

static void copy_now(const struct copy *c)
{
    if (c->from)
        memcpy(c->to, c->from, 16);
    else
        memset(c->to, 0, 16);
    emulated_hopper_wrote(c->to);
}

void emulated_copy(void *shared, const void *global, bool valid, const char *file,
                   const char *function, int line)
{
    struct copy c = { shared, valid ? global : NULL, current->group };

    if ((uintptr_t)shared % 16 != 0 || !is_shared(shared, 16))
        emulated_fail("copy_async16 in %s, %s:%d: to what is not 16 aligned bytes of the block's "
                      "shared memory: offset %td of %zu",
                      function, file, line, (unsigned char *)shared - emulated_shared,
                      shared_bytes);
    if (valid && (!global || (uintptr_t)global % 16 != 0))
        emulated_fail("copy_async16 in %s, %s:%d: from %p, which is not aligned to 16", function,
                      file, line, global);
    if (copies_when == EMULATED_COPIES_AT_ONCE ||
        (copies_when == EMULATED_COPIES_SHUFFLED && emulated_random(2)))
        copy_now(&c);
    else
        current->copies.push_back(c);
}

void emulated_copy_commit(void)
{
    current->group++;
}

void emulated_copy_wait(unsigned newest)
{
    std::vector<struct copy> *copies = &current->copies;
    size_t kept = 0;

    /* a copy of a group that is not committed is waited for by nobody */
    for (size_t i = 0; i < copies->size(); i++) {
        struct copy c = (*copies)[i];
        bool more = copies_when == EMULATED_COPIES_SHUFFLED && emulated_random(2);
        if (more || c.group + newest < current->group)
            copy_now(&c);
        else
            (*copies)[kept++] = c;
    }
    copies->resize(kept);
}

/* ---- Blocks. ---- */

static void run_block(void)
{
    memset(emulated_shared, 0xff, shared_bytes);
    at_barrier = 0;
    ended = 0;
    for (unsigned i = 0; i < thread_count; i++) {
        threads[i].state = RUNS;
        threads[i].group = 0;
    }
    for (unsigned w = 0; w < warp_count; w++) {
        warps[w].ready = warps[w].exists;
        warps[w].gatherings = 0;
    }
    emulated_hopper_begin(shared_bytes);
    order_warps();
    entered = true;
    jump(&host, next_thread());
    emulated_hopper_end(warp_count);
}

void emulated_run(const struct emulated_launch *launch)
{
    dim3 b = launch->block;
    void *shared = NULL;

    if (current != &host)
        emulated_fail("a kernel launched in another");
    if (posix_memalign(&shared, 128, launch->shared_bytes ? launch->shared_bytes : 1))
        emulated_fail("no memory for a block's %zu bytes", launch->shared_bytes);
    emulated_shared = (unsigned char *)shared;
    shared_bytes = launch->shared_bytes;
    launched = launch;
    order = emulated_settings_now()->order;
    copies_when = emulated_settings_now()->copies;
    blockDim = launch->block;
    gridDim = launch->grid;
    thread_count = b.x * b.y * b.z;
    warp_count = (thread_count + LANES - 1) / LANES;
    for (unsigned w = 0; w < warp_count; w++)
        warps[w].exists = 0;
    for (unsigned i = 0; i < thread_count; i++) {
        struct thread *t = &threads[i];
        t->index = { i % b.x, i / b.x % b.y, i / b.x / b.y };
        t->warp = i / LANES;
        t->lane = i % LANES;
        warps[t->warp].exists |= 1u << t->lane;
        if (!t->bottom)
            make_fiber(t);
    }
    for (unsigned z = 0; z < launch->grid.z; z++)
        for (unsigned y = 0; y < launch->grid.y; y++)
            for (unsigned x = 0; x < launch->grid.x; x++) {
                blockIdx = { x, y, z };
                run_block();
            }
    launched = NULL;
    emulated_shared = NULL;
    free(shared);
}
