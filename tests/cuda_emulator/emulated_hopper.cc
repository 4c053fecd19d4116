#include "inside.h"

#include <cuda_fp16.h>
#include <emulated_hopper.h>

#include <map>
#include <vector>

enum { LANES = 32, WARPS_MAX = 32, GROUP_WARPS = 4, RESERVED_BYTES = 1024, CELL_BYTES = 16 };
enum { MASK = 0x3ffff };

/* A barrier in shared memory; what lies there is no use to anybody. */
struct phases {
    int count, missing;         /* arrivals of a phase, and those that it still waits for */
    long bytes;                 /* that it still waits for */
    uint32_t phase;
    std::vector<unsigned> sleepers;
};

struct bulk {
    unsigned char *to;
    const void *from;
    size_t bytes;
    struct phases *barrier;
};

/* A warp's part of a product: 16 of its 64 rows. */
struct product {
    uint64_t a, b;
    int n;
    float *d;                   /* lane 0's */
    unsigned group;
    bool done;
};

/* Registers of products under way: what they will hold. */
struct held {
    float *d[LANES];
    int n;
    float sum[16][128];
};

struct products {
    std::vector<struct product> started;        /* and not waited for, oldest first */
    std::map<float *, struct held> held;        /* by lane 0's */
    unsigned group, count;      /* that the next one belongs to; all of the block so far */
    bool fenced;
};

/* Descriptors of the products of a warpgroup, as its first warp had them. */
struct wanted { uint64_t a, b; int n; };

static std::map<size_t, struct phases> barriers;        /* by offset */
static std::vector<struct bulk> bulks;                  /* under way */
static struct products products[WARPS_MAX];
static std::vector<struct wanted> wanted[WARPS_MAX / GROUP_WARPS];
/* Cells of shared memory that were written and not fenced: by whom. */
static std::vector<unsigned> writer;
static std::vector<size_t> written[WARPS_MAX * LANES];  /* by thread; a cell may come twice */
static bool any_written;
static size_t shared_bytes;

static const unsigned NOBODY = ~0u;

static bool happens_now(void)
{
    enum emulated_copies when = emulated_settings_now()->copies;

    return when == EMULATED_COPIES_AT_ONCE ||
           (when == EMULATED_COPIES_SHUFFLED && emulated_random(2));
}

/* An offset into the block's memory; aborts where bytes of it do not lie inside. */
static size_t offset_of(const void *shared, size_t bytes, size_t aligned, const char *what)
{
    size_t at = (size_t)((const unsigned char *)shared - emulated_shared);

    if (at > shared_bytes || bytes > shared_bytes - at || at % aligned != 0)
        emulated_fail("%s: %zu bytes at offset %td of %zu of the block's shared memory", what, bytes,
                      (const unsigned char *)shared - emulated_shared, shared_bytes);
    return at;
}

uint32_t shared_address(const void *shared)
{
    return (uint32_t)offset_of(shared, 0, 1, "shared_address") + RESERVED_BYTES;
}

/* ---- Barriers. ---- */

static struct phases *barrier_at(const uint64_t *barrier, const char *what)
{
    size_t at = offset_of(barrier, sizeof *barrier, sizeof *barrier, what);
    std::map<size_t, struct phases>::iterator found = barriers.find(at);

    if (found == barriers.end())
        emulated_fail("%s: there is no barrier at offset %zu", what, at);
    return &found->second;
}

static void end_phase(struct phases *b)
{
    if (b->missing > 0 || b->bytes != 0)
        return;
    b->missing = b->count;
    b->phase++;
    for (size_t i = 0; i < b->sleepers.size(); i++)
        emulated_wake(b->sleepers[i]);
    b->sleepers.clear();
}

void emulated_barrier_init(uint64_t *barrier, int count)
{
    size_t at = offset_of(barrier, sizeof *barrier, sizeof *barrier, "barrier_init");

    barriers[at] = { count, count, 0, 0, {} };
}

void emulated_barrier_arrive(uint64_t *barrier, int bytes, const char *file, const char *function,
                             int line)
{
    struct phases *b = barrier_at(barrier, "barrier_arrive");

    if (b->missing == 0)
        emulated_fail("barrier_arrive in %s, %s:%d: one more than the %d that the phase waits for",
                      function, file, line, b->count);
    b->missing--;
    b->bytes += bytes;
    end_phase(b);
}

static void deliver(size_t index)
{
    struct bulk c = bulks[index];

    bulks.erase(bulks.begin() + (ptrdiff_t)index);
    memcpy(c.to, c.from, c.bytes);
    c.barrier->bytes -= (long)c.bytes;
    end_phase(c.barrier);
}

/* A thread that would have to look again sleeps until there is something to see. */
void emulated_barrier_wait(uint64_t *barrier, uint32_t parity, const char *file,
                           const char *function, int line)
{
    struct phases *b = barrier_at(barrier, "barrier_wait");

    if (parity > 1)
        emulated_fail("barrier_wait in %s, %s:%d: parity %u", function, file, line, parity);
    while (!bulks.empty() && emulated_settings_now()->copies == EMULATED_COPIES_SHUFFLED &&
           emulated_random(2))
        deliver(emulated_random((unsigned)bulks.size()));
    while ((b->phase & 1) == parity) {
        b->sleepers.push_back(emulated_thread());
        emulated_park("barrier_wait", file, function, line);
    }
}

/* ---- Copies and the two proxies. ---- */

void emulated_hopper_wrote(const void *shared)
{
    size_t cell = (size_t)((const unsigned char *)shared - emulated_shared) / CELL_BYTES;
    unsigned self = emulated_thread();

    any_written = true;
    writer[cell] = self;
    written[self].push_back(cell);
}

void emulated_fence_async(void)
{
    unsigned self = emulated_thread();
    std::vector<size_t> *cells = &written[self];

    for (size_t i = 0; i < cells->size(); i++)
        if (writer[(*cells)[i]] == self)
            writer[(*cells)[i]] = NOBODY;
    cells->clear();
}

void emulated_bulk_copy(void *shared, const void *global, int bytes, uint64_t *barrier,
                        const char *file, const char *function, int line)
{
    size_t at = offset_of(shared, (size_t)bytes, CELL_BYTES, "bulk_copy");

    if (bytes <= 0 || bytes % CELL_BYTES != 0 || (uintptr_t)global % CELL_BYTES != 0)
        emulated_fail("bulk_copy in %s, %s:%d: %d bytes from %p", function, file, line, bytes,
                      global);
    for (size_t cell = at / CELL_BYTES; cell < (at + (size_t)bytes) / CELL_BYTES; cell++)
        writer[cell] = NOBODY;
    bulks.push_back({ (unsigned char *)shared, global, (size_t)bytes,
                      barrier_at(barrier, "bulk_copy") });
    if (happens_now())
        deliver(bulks.size() - 1);
}

/* ---- Products. ---- */

typedef float floats8 __attribute__((vector_size(32)));

/* 8 values of k of a row of an operand, as floats. */
static void read_row(float out[8], uint64_t descriptor, int row, int k)
{
    uint32_t address = (uint32_t)(descriptor & 0x3fff) << 4;
    uint32_t k_step = (uint32_t)(descriptor >> 16 & 0x3fff) << 4;
    uint32_t row_step = (uint32_t)(descriptor >> 32 & 0x3fff) << 4;
    uint16_t bits[8];
    size_t at;

    if (descriptor & ~0x00003fff3fff3fffu)
        emulated_fail("wgmma_f16: descriptor %016llx: bits that are not emulated",
                      (unsigned long long)descriptor);
    address += (uint32_t)(row / 8) * row_step + (uint32_t)(row % 8) * CELL_BYTES +
               (uint32_t)(k / 8) * k_step;
    at = (size_t)(address & MASK) - RESERVED_BYTES;
    if (at > shared_bytes || shared_bytes - at < CELL_BYTES)
        emulated_fail("wgmma_f16: row %d, k %d is at %u, outside of the block's %zu bytes", row, k,
                      address, shared_bytes);
    if (writer[at / CELL_BYTES] != NOBODY)
        emulated_fail("wgmma_f16: row %d, k %d, offset %zu, was written by thread %u without "
                      "fence_async behind it",
                      row, k, at, writer[at / CELL_BYTES]);
    memcpy(bits, emulated_shared + at, sizeof bits);
    for (int i = 0; i < 8; i++)
        out[i] = emulated_half_value(bits[i]);
}

/* Sums go up k, one product at a time, as in emulated_mma_f16_all. */
static void multiply(struct held *h, const struct product *p, int first_row)
{
    alignas(32) static float b[16][128];
    float a[16][16], row[8];

    for (int n = 0; n < p->n; n++)
        for (int k = 0; k < 16; k += 8) {
            read_row(row, p->b, n, k);
            for (int i = 0; i < 8; i++)
                b[k + i][n] = row[i];
        }
    for (int r = 0; r < 16; r++)
        for (int k = 0; k < 16; k += 8)
            read_row(&a[r][k], p->a, first_row + r, k);
    for (int r = 0; r < 16; r++)
        for (int n = 0; n < p->n; n += 8) {
            floats8 sum, right;

            memcpy(&sum, &h->sum[r][n], sizeof sum);
            for (int k = 0; k < 16; k++) {
                memcpy(&right, &b[k][n], sizeof right);
                sum += a[r][k] * right;
            }
            memcpy(&h->sum[r][n], &sum, sizeof sum);
        }
}

/* Where lane has row r, column n of a warp's 16 rows. */
static float *value_of(const struct held *h, int r, int n)
{
    int lane = r % 8 * 4 + n % 8 / 2;

    return h->d[lane] + n / 8 * 4 + r / 8 * 2 + n % 2;
}

static void multiply_until(struct products *w, size_t end, unsigned warp)
{
    for (size_t i = 0; i < end; i++) {
        struct product *p = &w->started[i];

        if (!p->done)
            multiply(&w->held[p->d], p, (int)(warp % GROUP_WARPS) * 16);
        p->done = true;
    }
}

static struct held *hold(struct products *w, void *operand[LANES])
{
    const struct emulated_product *first = (const struct emulated_product *)operand[0];
    struct held *h;

    if (w->held.count(first->d)) {
        if (w->held[first->d].n != first->n)
            emulated_fail("wgmma_f16: registers of a product of another shape that is under way");
        return &w->held[first->d];
    }
    if (!w->fenced)
        emulated_fail("wgmma_f16: no wgmma_fence since its registers were used otherwise");
    h = &w->held[first->d];
    h->n = first->n;
    for (int lane = 0; lane < LANES; lane++)
        h->d[lane] = ((const struct emulated_product *)operand[lane])->d;
    for (int r = 0; r < 16; r++)
        for (int n = 0; n < h->n; n++) {
            h->sum[r][n] = *value_of(h, r, n);
            *value_of(h, r, n) = __uint_as_float(0x7fffffff);
        }
    return h;
}

void emulated_product_all(void *operand[LANES], unsigned mask)
{
    const struct emulated_product *p = (const struct emulated_product *)operand[0];
    unsigned warp = emulated_thread() / LANES, group = warp / GROUP_WARPS;
    struct products *w = &products[warp];

    (void)mask;
    for (int lane = 1; lane < LANES; lane++) {
        const struct emulated_product *o = (const struct emulated_product *)operand[lane];
        if (o->a != p->a || o->b != p->b)
            emulated_fail("wgmma_f16: lane %d has other descriptors", lane);
    }
    if (w->count == wanted[group].size())
        wanted[group].push_back({ p->a, p->b, p->n });
    const struct wanted *as = &wanted[group][w->count++];
    if (as->a != p->a || as->b != p->b || as->n != p->n)
        emulated_fail("wgmma_f16: warp %u has other descriptors than its warpgroup", warp);
    hold(w, operand);
    w->started.push_back({ p->a, p->b, p->n, p->d, w->group, false });
    if (happens_now())
        multiply_until(w, w->started.size(), warp);
}

void emulated_product_fence_all(void *operand[LANES], unsigned mask)
{
    (void)operand;
    (void)mask;
    products[emulated_thread() / LANES].fenced = true;
}

void emulated_product_commit_all(void *operand[LANES], unsigned mask)
{
    (void)operand;
    (void)mask;
    products[emulated_thread() / LANES].group++;
}

void emulated_product_wait_all(void *operand[LANES], unsigned mask)
{
    unsigned newest = *(const unsigned *)operand[0], warp = emulated_thread() / LANES;
    struct products *w = &products[warp];
    size_t end = 0;

    (void)mask;
    while (end < w->started.size() && w->started[end].group + newest < w->group)
        end++;
    multiply_until(w, end, warp);
    w->started.erase(w->started.begin(), w->started.begin() + (ptrdiff_t)end);
    for (std::map<float *, struct held>::iterator i = w->held.begin(); i != w->held.end();) {
        struct held *h = &i->second;
        bool busy = false;

        for (size_t k = 0; k < w->started.size(); k++)
            busy |= w->started[k].d == i->first;
        for (int r = 0; !busy && r < 16; r++)
            for (int n = 0; n < h->n; n++)
                *value_of(h, r, n) = h->sum[r][n];
        if (busy)
            ++i;
        else
            i = w->held.erase(i);
    }
    w->fenced = false;
}

/* ---- Of a block. ---- */

void emulated_hopper_begin(size_t bytes)
{
    shared_bytes = bytes;
    barriers.clear();
    bulks.clear();
    if (any_written || writer.size() != bytes / CELL_BYTES + 1) {
        writer.assign(bytes / CELL_BYTES + 1, NOBODY);
        for (int i = 0; i < WARPS_MAX * LANES; i++)
            written[i].clear();
    }
    any_written = false;
    for (int w = 0; w < WARPS_MAX; w++) {
        products[w].started.clear();
        products[w].held.clear();
        products[w].group = products[w].count = 0;
        products[w].fenced = false;
        wanted[w / GROUP_WARPS].clear();
    }
}

/* When no thread can run: something that is under way arrives. */
bool emulated_hopper_deliver(void)
{
    if (bulks.empty())
        return false;
    deliver(emulated_settings_now()->copies == EMULATED_COPIES_LATE
                ? bulks.size() - 1
                : emulated_random((unsigned)bulks.size()));
    return true;
}

void emulated_hopper_end(unsigned warps)
{
    if (!bulks.empty())
        emulated_fail("the block ends with %zu bulk copies under way", bulks.size());
    for (unsigned w = 0; w < warps; w++) {
        struct products *p = &products[w], *first = &products[w / GROUP_WARPS * GROUP_WARPS];

        if (!p->started.empty() || !p->held.empty())
            emulated_fail("warp %u ends with products under way", w);
        if (p->count != first->count)
            emulated_fail("warp %u took part in %u products, its warpgroup in %u", w, p->count,
                          first->count);
    }
}
