/* runtime -- memory, streams, events and graphs of the emulated device.
 *
 * A stream is a queue of work. Work is numbered as it is queued, so that an event is a stream and a
 * number, and waiting for it is running that stream until the number is done. Streams "at once" are
 * run after each piece that is queued; "deferred" ones when something waits for them. */
#include "inside.h"

#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

static std::recursive_mutex inside;     /* held by every function that CUDA has */
typedef std::lock_guard<std::recursive_mutex> guard;

/* ---- Settings. ---- */

/* The index of a variable's word among words, NULL-terminated; 0 when it is not set. */
static int setting_word(const char *name, const char *const *words)
{
    const char *value = getenv(name);

    if (!value || !*value)
        return 0;
    for (int i = 0; words[i]; i++)
        if (strcmp(words[i], value) == 0)
            return i;
    emulated_fail("%s has no value \"%s\"", name, value);
}

static uint64_t setting_number(const char *name, uint64_t def)
{
    const char *value = getenv(name);

    return value && *value ? strtoull(value, NULL, 0) : def;
}

struct emulated_settings *emulated_settings_now(void)
{
    static const char *const ORDERS[] = { "forward", "reverse", "shuffled", NULL };
    static const char *const COPIES[] = { "at-once", "late", "shuffled", NULL };
    static const char *const STREAMS[] = { "at-once", "deferred", NULL };
    static struct emulated_settings now;

    if (now.arch == 0) {
        now.arch = 80;
        now.order = (enum emulated_order)setting_word("EMULATED_ORDER", ORDERS);
        now.copies = (enum emulated_copies)setting_word("EMULATED_COPIES", COPIES);
        now.streams = (enum emulated_streams)setting_word("EMULATED_STREAMS", STREAMS);
        emulated_seed_set(setting_number("EMULATED_SEED", 0));
        now.memory_bytes = (size_t)setting_number("EMULATED_MEMORY_BYTES", (uint64_t)4 << 30);
        emulated_arch_set((int)setting_number("EMULATED_ARCH", 80));
    }
    return &now;
}

void emulated_order_set(enum emulated_order order)
{
    emulated_settings_now()->order = order;
}

void emulated_copies_set(enum emulated_copies copies)
{
    emulated_settings_now()->copies = copies;
}

void emulated_streams_set(enum emulated_streams streams)
{
    emulated_settings_now()->streams = streams;
}

void emulated_seed_set(uint64_t seed)
{
    emulated_settings_now()->random = seed * 0x9e3779b97f4a7c15u ^ 0xd1b54a32d192ed03u;
}

void emulated_memory_set(size_t bytes)
{
    emulated_settings_now()->memory_bytes = bytes;
}

void emulated_arch_set(int arch)
{
    if (arch != 80 && arch != 86 && arch != 89 && arch != 90)
        emulated_fail("no architecture %d", arch);
    emulated_settings_now()->arch = arch;
}

/* xorshift64* */
unsigned emulated_random(unsigned below)
{
    uint64_t *x = &emulated_settings_now()->random;

    *x ^= *x >> 12;
    *x ^= *x << 25;
    *x ^= *x >> 27;
    return (unsigned)((*x * 0x2545f4914f6cdd1du >> 32) * below >> 32);
}

size_t emulated_shared_most(void)
{
    int arch = emulated_settings_now()->arch;

    return (size_t)(arch == 80 ? 163 : arch == 90 ? 227 : 99) << 10;
}

/* ---- Errors. ---- */

static thread_local cudaError_t last_error;

static cudaError_t failed(cudaError_t error)
{
    if (error && error != cudaErrorNotReady)
        last_error = error;
    return error;
}

static const struct {
    cudaError_t error;
    const char *name, *words;
} ERRORS[] = {
    { cudaSuccess, "cudaSuccess", "no error" },
    { cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument" },
    { cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory" },
    { cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
      "invalid configuration argument" },
    { cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection",
      "invalid copy direction for memcpy" },
    { cudaErrorInvalidDeviceFunction, "cudaErrorInvalidDeviceFunction",
      "invalid device function" },
    { cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected" },
    { cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal" },
    { cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle",
      "invalid resource handle" },
    { cudaErrorIllegalState, "cudaErrorIllegalState",
      "the operation cannot be performed in the present state" },
    { cudaErrorNotReady, "cudaErrorNotReady", "device not ready" },
    { cudaErrorIllegalAddress, "cudaErrorIllegalAddress",
      "an illegal memory access was encountered" },
    { cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure" },
    { cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported" },
    { cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
      "operation not permitted when stream is capturing" },
    { cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
      "operation failed due to a previous error during capture" },
    { cudaErrorStreamCaptureMerge, "cudaErrorStreamCaptureMerge",
      "operation would result in a merge of separate capture sequences" },
    { cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched",
      "capture was not ended in the same stream as it began" },
    { cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined",
      "capturing stream has unjoined work" },
    { cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation",
      "dependency created on uncaptured work in another stream" },
    { cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit",
      "operation would make the legacy stream depend on a capturing blocking stream" },
    { cudaErrorCapturedEvent, "cudaErrorCapturedEvent",
      "operation not permitted on an event last recorded in a capturing stream" },
    { cudaErrorUnknown, "cudaErrorUnknown", "unknown error" },
};

const char *cudaGetErrorName(cudaError_t error)
{
    for (const auto &e : ERRORS)
        if (e.error == error)
            return e.name;
    return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t error)
{
    for (const auto &e : ERRORS)
        if (e.error == error)
            return e.words;
    return "unrecognized error code";
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t error = last_error;

    last_error = cudaSuccess;
    return error;
}

cudaError_t cudaPeekAtLastError(void)
{
    return last_error;
}

/* ---- Work, streams, captures. ---- */

enum work_kind { KERNEL, COPY, FILL, RECORD, WAIT, HOST, GRAPH };

/* The number-th piece of work of a stream; stream 0 is the default one. */
struct ticket { uint64_t stream, number; };

struct launch_owner {
    struct emulated_launch *launch;
    explicit launch_owner(struct emulated_launch *take) : launch(take) {}
    launch_owner(const launch_owner &) = delete;
    ~launch_owner() { launch->destroy(launch); }
};

struct node;

struct work {
    enum work_kind kind;
    std::shared_ptr<struct launch_owner> kernel;    /* KERNEL */
    char *to;                                       /* COPY, FILL */
    const char *from;                               /* COPY */
    size_t to_pitch, from_pitch, width, height;
    std::shared_ptr<std::vector<char>> staged;      /* COPY: from, when it was pageable */
    int value;                                      /* FILL */
    uint64_t event;                                 /* RECORD */
    struct ticket until;                            /* WAIT */
    cudaHostFn_t function;                          /* HOST */
    void *data;
    std::shared_ptr<std::vector<struct node>> graph;    /* GRAPH */
};

/* Of a graph; nodes come after those they need. */
struct node {
    struct work work;
    std::set<size_t> needs;
};

struct capture {
    uint64_t id;
    CUstream_st *origin;
    enum cudaStreamCaptureMode mode;
    std::thread::id thread;
    bool broken;
    std::vector<struct node> nodes;
};

struct CUstream_st {
    uint64_t id;
    bool blocking;              /* waits for the default stream, and that for it */
    std::deque<struct work> queue;
    uint64_t queued, done;      /* numbers */
    struct capture *capture;    /* borrowed from captures; NULL: none */
    std::set<size_t> tail;      /* of the capture: what the next node needs */
};

struct CUevent_st {
    uint64_t id;
    bool timed, recorded;
    struct ticket at;
    double done_ms;             /* when the record was reached */
    uint64_t capture;           /* that it was recorded in; 0: in none */
    std::set<size_t> tail;
};

struct CUgraph_st { std::shared_ptr<std::vector<struct node>> nodes; };
struct CUgraphExec_st { std::shared_ptr<std::vector<struct node>> nodes; };

/* Everything that exists; never destroyed, so that what a program leaves behind is not a leak twice. */
static struct world {
    struct CUstream_st first;                       /* the default stream */
    std::map<uint64_t, CUstream_st *> streams;      /* by id, the default one too */
    std::map<uint64_t, CUevent_st *> events;
    std::map<uint64_t, struct capture *> captures;
    std::set<cudaGraph_t> graphs;
    std::set<cudaGraphExec_t> execs;
    std::map<const char *, size_t> device, pinned;  /* pieces of memory: address, bytes */
    std::map<const void *, size_t> shared;          /* what a kernel may have */
    size_t device_bytes, host_bytes;
    uint64_t ids, kernels;
} *the_only;

static struct world *the_world(void)
{
    if (!the_only) {
        the_only = new struct world();
        the_only->first.blocking = true;
        the_only->streams[0] = &the_only->first;
        the_only->ids = 1;
    }
    return the_only;
}

static CUstream_st *stream_of(cudaStream_t stream)
{
    struct world *w = the_world();

    if (!stream || stream == (cudaStream_t)1)       /* cudaStreamLegacy */
        return &w->first;
    for (auto &s : w->streams)
        if (s.second == stream)
            return stream;
    return NULL;
}

static CUevent_st *event_of(cudaEvent_t event)
{
    for (auto &e : the_world()->events)
        if (e.second == event)
            return event;
    return NULL;
}

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* What a device might do while this thread captures, and breaks the capture: memory is taken, or
 * something is waited for. */
static cudaError_t unsafe(void)
{
    cudaError_t error = cudaSuccess;

    for (auto &c : the_world()->captures) {
        struct capture *capture = c.second;
        if (capture->mode == cudaStreamCaptureModeRelaxed ||
            (capture->mode == cudaStreamCaptureModeThreadLocal &&
             capture->thread != std::this_thread::get_id()))
            continue;
        capture->broken = true;
        error = cudaErrorStreamCaptureUnsupported;
    }
    return error;
}

/* ---- Running. ---- */

static void run_graph(const std::vector<struct node> *nodes);
static void run_until(struct ticket until);

static void run_work(const struct work *work)
{
    struct world *w = the_world();

    switch (work->kind) {
    case KERNEL:
        w->kernels++;
        emulated_run(work->kernel->launch);
        break;
    case COPY:
        for (size_t y = 0; y < work->height; y++)
            memmove(work->to + y * work->to_pitch,
                    (work->staged ? work->staged->data() : work->from) + y * work->from_pitch,
                    work->width);
        break;
    case FILL:
        memset(work->to, work->value, work->width);
        break;
    case RECORD:
        if (w->events.count(work->event))
            w->events[work->event]->done_ms = now_ms();
        break;
    case WAIT:
        run_until(work->until);
        break;
    case HOST:
        work->function(work->data);
        break;
    case GRAPH:
        run_graph(work->graph.get());
        break;
    }
}

/* In an order that the nodes allow: the first, the last or any of those that can run. */
static void run_graph(const std::vector<struct node> *nodes)
{
    std::set<size_t> left, ready;

    for (size_t i = 0; i < nodes->size(); i++)
        left.insert(i);
    while (!left.empty()) {
        size_t next;
        ready.clear();
        for (size_t i : left) {
            bool free = true;
            for (size_t need : (*nodes)[i].needs)
                free = free && !left.count(need);
            if (free)
                ready.insert(i);
            if (free && emulated_settings_now()->order == EMULATED_FORWARD)
                break;
        }
        next = *ready.begin();
        if (emulated_settings_now()->order == EMULATED_REVERSE)
            next = *ready.rbegin();
        if (emulated_settings_now()->order == EMULATED_SHUFFLED)
            next = *std::next(ready.begin(), emulated_random((unsigned)ready.size()));
        left.erase(next);
        run_work(&(*nodes)[next].work);
    }
}

static void run_one(CUstream_st *s)
{
    struct work work = s->queue.front();

    s->queue.pop_front();
    run_work(&work);
    s->done++;
}

static void run_stream(CUstream_st *s)
{
    while (!s->queue.empty())
        run_one(s);
}

static void run_until(struct ticket until)
{
    auto at = the_world()->streams.find(until.stream);

    if (at == the_world()->streams.end())               /* destroyed: done before */
        return;
    while (at->second->done < until.number && !at->second->queue.empty())
        run_one(at->second);
}

/* All streams, or those that the default stream waits for, in some order. */
static void run_streams(bool all)
{
    std::vector<CUstream_st *> streams;

    for (auto &s : the_world()->streams)
        if (all || s.second->blocking)
            streams.push_back(s.second);
    while (!streams.empty()) {
        size_t i = 0;
        if (emulated_settings_now()->order == EMULATED_REVERSE)
            i = streams.size() - 1;
        if (emulated_settings_now()->order == EMULATED_SHUFFLED)
            i = emulated_random((unsigned)streams.size());
        if (streams[i]->queue.empty())
            streams.erase(streams.begin() + (ptrdiff_t)i);
        else if (emulated_settings_now()->order == EMULATED_SHUFFLED)
            run_one(streams[i]);
        else
            run_stream(streams[i]);
    }
}

/* ---- Queuing. ---- */

static cudaError_t capture_work(CUstream_st *s, const struct work &work)
{
    struct capture *c = s->capture;

    if (c->broken)
        return cudaErrorStreamCaptureInvalidated;
    if (work.kind == GRAPH || (work.kind == COPY && work.staged)) {
        c->broken = true;
        return cudaErrorStreamCaptureUnsupported;
    }
    c->nodes.push_back({ work, s->tail });
    s->tail = { c->nodes.size() - 1 };
    return cudaSuccess;
}

/* The default stream and the blocking ones wait for each other: a capture cannot hold that. */
static cudaError_t check_legacy(const CUstream_st *s)
{
    cudaError_t error = cudaSuccess;

    if (s != &the_world()->first)
        return cudaSuccess;
    for (auto &other : the_world()->streams)
        if (other.second->capture && other.second->blocking) {
            other.second->capture->broken = true;
            error = cudaErrorStreamCaptureImplicit;
        }
    return error;
}

static cudaError_t queue_work(CUstream_st *s, const struct work &work)
{
    struct world *w = the_world();
    cudaError_t error = check_legacy(s);

    if (error)
        return error;
    if (s->capture)
        return capture_work(s, work);
    if (s == &w->first) {
        for (auto &other : w->streams)
            if (other.second != s && other.second->blocking)
                run_stream(other.second);
    } else if (s->blocking) {
        run_stream(&w->first);
    }
    s->queue.push_back(work);
    s->queued++;
    if (emulated_settings_now()->streams == EMULATED_STREAMS_AT_ONCE)
        run_stream(s);
    return cudaSuccess;
}

/* ---- Kernels. ---- */

static cudaError_t check_launch(const struct emulated_launch *l)
{
    dim3 g = l->grid, b = l->block;
    auto allowed = the_world()->shared.find(l->kernel);

    if (b.x == 0 || b.y == 0 || b.z == 0 || b.x > 1024 || b.y > 1024 || b.z > 64 ||
        (uint64_t)b.x * b.y * b.z > 1024)
        return cudaErrorInvalidConfiguration;
    if (g.x == 0 || g.y == 0 || g.z == 0 || g.x > 0x7fffffffu || g.y > 65535 || g.z > 65535)
        return cudaErrorInvalidConfiguration;
    if (l->shared_bytes > (allowed == the_world()->shared.end() ? 48 << 10 : allowed->second))
        return cudaErrorInvalidValue;
    return cudaSuccess;
}

cudaError_t emulated_launch_queue(struct emulated_launch *take, cudaStream_t stream)
{
    guard g(inside);
    CUstream_st *s = stream_of(stream);
    struct work work = {};
    cudaError_t error;

    work.kind = KERNEL;
    work.kernel = std::make_shared<struct launch_owner>(take);
    if (!s)
        return failed(cudaErrorInvalidResourceHandle);
    error = check_launch(take);
    return failed(error ? error : queue_work(s, work));
}

cudaError_t emulated_function_shared(const void *kernel, enum cudaFuncAttribute attribute,
                                     int value)
{
    guard g(inside);

    if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout)
        return cudaSuccess;
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
        (size_t)value > emulated_shared_most())
        return failed(cudaErrorInvalidValue);
    the_world()->shared[kernel] = (size_t)value;
    return cudaSuccess;
}

/* ---- Memory. ---- */

static bool is_in(const std::map<const char *, size_t> &pieces, const void *p, size_t bytes)
{
    const char *at = (const char *)p;
    auto piece = pieces.upper_bound(at);

    if (piece == pieces.begin())
        return false;
    --piece;
    return bytes <= piece->second && (size_t)(at - piece->first) <= piece->second - bytes;
}

static bool is_device(const void *p, size_t bytes)
{
    return is_in(the_world()->device, p, bytes);
}

static cudaError_t take_memory(std::map<const char *, size_t> *pieces, void **out, size_t bytes,
                               size_t most, size_t *total)
{
    cudaError_t error = unsafe();
    void *p = NULL;

    *out = NULL;
    if (error || bytes == 0)
        return error;
    if (bytes > most || *total > most - bytes || posix_memalign(&p, 256, bytes))
        return cudaErrorMemoryAllocation;
    memset(p, 0xff, bytes);
    (*pieces)[(const char *)p] = bytes;
    *total += bytes;
    *out = p;
    return cudaSuccess;
}

cudaError_t emulated_malloc(void **out, size_t bytes)
{
    guard g(inside);
    struct world *w = the_world();

    return failed(take_memory(&w->device, out, bytes, emulated_settings_now()->memory_bytes,
                              &w->device_bytes));
}

cudaError_t emulated_malloc_host(void **out, size_t bytes)
{
    guard g(inside);
    struct world *w = the_world();

    return failed(take_memory(&w->pinned, out, bytes, SIZE_MAX, &w->host_bytes));
}

/* Waits for all work first, as a device does. */
static cudaError_t give_memory(std::map<const char *, size_t> *pieces, void *p, size_t *total)
{
    cudaError_t error;

    if (!p)
        return cudaSuccess;
    error = unsafe();
    if (error)
        return error;
    auto piece = pieces->find((const char *)p);
    if (piece == pieces->end())
        return cudaErrorInvalidValue;
    run_streams(true);
    *total -= piece->second;
    pieces->erase(piece);
    free(p);
    return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    guard g(inside);
    struct world *w = the_world();

    return failed(give_memory(&w->device, p, &w->device_bytes));
}

cudaError_t cudaFreeHost(void *p)
{
    guard g(inside);
    struct world *w = the_world();

    return failed(give_memory(&w->pinned, p, &w->host_bytes));
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *out, const void *p)
{
    guard g(inside);
    bool device = is_in(the_world()->device, p, 1), host = is_in(the_world()->pinned, p, 1);
    void *same = const_cast<void *>(p);

    *out = { device ? cudaMemoryTypeDevice
                    : host ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered,
             device || host ? 0 : -2, device || host ? same : nullptr, host ? same : nullptr };
    return failed(cudaSuccess);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    guard g(inside);
    size_t total = emulated_settings_now()->memory_bytes, used = the_world()->device_bytes;

    *total_bytes = total;
    *free_bytes = used < total ? total - used : 0;
    return cudaSuccess;
}

/* ---- Copies. ---- */

enum patience { QUEUES, WAITS };

/* Which side must be the device's, by kind. */
static cudaError_t check_sides(bool to_device, bool from_device, enum cudaMemcpyKind kind)
{
    switch (kind) {
    case cudaMemcpyHostToHost:
        return to_device || from_device ? cudaErrorInvalidValue : cudaSuccess;
    case cudaMemcpyHostToDevice:
        return !to_device || from_device ? cudaErrorInvalidValue : cudaSuccess;
    case cudaMemcpyDeviceToHost:
        return to_device || !from_device ? cudaErrorInvalidValue : cudaSuccess;
    case cudaMemcpyDeviceToDevice:
        return !to_device || !from_device ? cudaErrorInvalidValue : cudaSuccess;
    case cudaMemcpyDefault:
        return cudaSuccess;
    }
    return cudaErrorInvalidMemcpyDirection;
}

/* Pinned and device memory is read and written when the copy's turn comes. Pageable memory is read
 * now; where it is written, all work of the stream is done now. */
static cudaError_t queue_copy(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, enum cudaMemcpyKind kind,
                              cudaStream_t stream, enum patience patience)
{
    guard g(inside);
    struct world *w = the_world();
    CUstream_st *s = stream_of(stream);
    struct work work = {};
    size_t to_span = height ? (height - 1) * to_pitch + width : 0;
    size_t from_span = height ? (height - 1) * from_pitch + width : 0;
    cudaError_t error;

    if (!s)
        return failed(cudaErrorInvalidResourceHandle);
    if (patience == WAITS) {
        error = check_legacy(s);
        error = error ? error : unsafe();
        if (error)
            return failed(error);
    }
    if (width == 0 || height == 0)
        return cudaSuccess;
    if (!to || !from || width > to_pitch || width > from_pitch)
        return failed(cudaErrorInvalidValue);
    bool to_device = is_device(to, to_span), from_device = is_device(from, from_span);
    error = check_sides(to_device, from_device, kind);
    /* begins in a piece of the device's memory and ends outside */
    if ((!to_device && is_device(to, 1)) || (!from_device && is_device(from, 1)))
        error = cudaErrorInvalidValue;
    if (error)
        return failed(error);
    work.kind = COPY;
    work.to = (char *)to;
    work.to_pitch = to_pitch;
    work.from = (const char *)from;
    work.from_pitch = from_pitch;
    work.width = width;
    work.height = height;
    if (!from_device && !is_in(w->pinned, from, from_span))
        work.staged = std::make_shared<std::vector<char>>(work.from, work.from + from_span);
    bool pageable = !to_device && !is_in(w->pinned, to, to_span);
    if (pageable && s->capture) {
        s->capture->broken = true;
        return failed(cudaErrorStreamCaptureUnsupported);
    }
    error = queue_work(s, work);
    if (!error && (pageable || patience == WAITS))
        run_stream(s);
    return failed(error);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    return queue_copy(to, bytes, from, bytes, bytes, 1, kind, NULL, WAITS);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    return queue_copy(to, bytes, from, bytes, bytes, 1, kind, stream, QUEUES);
}

cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                         size_t width, size_t height, enum cudaMemcpyKind kind)
{
    return queue_copy(to, to_pitch, from, from_pitch, width, height, kind, NULL, WAITS);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, enum cudaMemcpyKind kind,
                              cudaStream_t stream)
{
    return queue_copy(to, to_pitch, from, from_pitch, width, height, kind, stream, QUEUES);
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    guard g(inside);
    CUstream_st *s = stream_of(stream);
    struct work work = {};

    if (!s)
        return failed(cudaErrorInvalidResourceHandle);
    if (bytes == 0)
        return cudaSuccess;
    if (!is_device(to, bytes))
        return failed(cudaErrorInvalidValue);
    work.kind = FILL;
    work.to = (char *)to;
    work.value = value;
    work.width = bytes;
    return failed(queue_work(s, work));
}

cudaError_t cudaMemset(void *to, int value, size_t bytes)
{
    return cudaMemsetAsync(to, value, bytes, NULL);
}

/* ---- Streams. ---- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags)
{
    guard g(inside);
    struct world *w = the_world();
    CUstream_st *s = new CUstream_st();

    s->id = w->ids++;
    s->blocking = !(flags & cudaStreamNonBlocking);
    w->streams[s->id] = s;
    *out = s;
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *out)
{
    return cudaStreamCreateWithFlags(out, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *out, unsigned flags, int priority)
{
    (void)priority;
    return cudaStreamCreateWithFlags(out, flags);
}

/* Its work is done before it goes. */
cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    guard g(inside);
    CUstream_st *s = stream_of(stream);

    if (!s || s == &the_world()->first)
        return failed(cudaErrorInvalidResourceHandle);
    if (s->capture) {
        s->capture->broken = true;
        if (s->capture->origin == s) {
            struct capture *c = s->capture;
            for (auto &other : the_world()->streams)
                if (other.second->capture == c)
                    other.second->capture = NULL;
            the_world()->captures.erase(c->id);
            delete c;
        }
    }
    run_stream(s);
    the_world()->streams.erase(s->id);
    delete s;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    guard g(inside);
    CUstream_st *s = stream_of(stream);
    cudaError_t error;

    if (!s)
        return failed(cudaErrorInvalidResourceHandle);
    error = unsafe();
    if (error)
        return failed(error);
    if (s == &the_world()->first)
        run_streams(false);
    run_stream(s);
    return cudaSuccess;
}

/* Each question makes one piece of progress, so that asking until it is done comes to an end. */
cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    guard g(inside);
    CUstream_st *s = stream_of(stream);
    cudaError_t error;

    if (!s)
        return failed(cudaErrorInvalidResourceHandle);
    error = unsafe();
    if (error || s->queue.empty())
        return failed(error);
    run_one(s);
    return cudaErrorNotReady;
}

cudaError_t cudaDeviceSynchronize(void)
{
    guard g(inside);
    cudaError_t error = unsafe();

    if (!error)
        run_streams(true);
    return failed(error);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data)
{
    guard g(inside);
    CUstream_st *s = stream_of(stream);
    struct work work = {};

    if (!s)
        return failed(cudaErrorInvalidResourceHandle);
    work.kind = HOST;
    work.function = function;
    work.data = data;
    return failed(queue_work(s, work));
}

/* ---- Events. ---- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags)
{
    guard g(inside);
    struct world *w = the_world();
    CUevent_st *e = new CUevent_st();

    e->id = w->ids++;
    e->timed = !(flags & cudaEventDisableTiming);
    w->events[e->id] = e;
    *out = e;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *out)
{
    return cudaEventCreateWithFlags(out, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    guard g(inside);
    CUevent_st *e = event_of(event);

    if (!e)
        return failed(cudaErrorInvalidResourceHandle);
    the_world()->events.erase(e->id);
    delete e;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    guard g(inside);
    CUstream_st *s = stream_of(stream);
    CUevent_st *e = event_of(event);
    struct work work = {};
    cudaError_t error;

    if (!s || !e)
        return failed(cudaErrorInvalidResourceHandle);
    if (s->capture) {
        if (s->capture->broken)
            return failed(cudaErrorStreamCaptureInvalidated);
        e->capture = s->capture->id;
        e->tail = s->tail;
        return cudaSuccess;
    }
    work.kind = RECORD;
    work.event = e->id;
    e->capture = 0;
    e->recorded = true;
    e->at = { s->id, s->queued + 1 };
    error = queue_work(s, work);
    return failed(error);
}

/* Whether the work before the last record is done; of what was never recorded it is. */
static bool is_done(const CUevent_st *e)
{
    auto s = the_world()->streams.find(e->at.stream);

    return !e->recorded || s == the_world()->streams.end() || s->second->done >= e->at.number;
}

static cudaError_t check_event(const CUevent_st *e)
{
    if (!e)
        return cudaErrorInvalidResourceHandle;
    if (e->capture)
        return cudaErrorCapturedEvent;
    return unsafe();
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    guard g(inside);
    CUevent_st *e = event_of(event);
    cudaError_t error = check_event(e);

    if (error || is_done(e))
        return failed(error);
    run_one(the_world()->streams[e->at.stream]);
    return cudaErrorNotReady;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    guard g(inside);
    CUevent_st *e = event_of(event);
    cudaError_t error = check_event(e);

    if (!error && !is_done(e))
        run_until(e->at);
    return failed(error);
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end)
{
    guard g(inside);
    CUevent_st *a = event_of(start), *b = event_of(end);

    if (!a || !b || !a->timed || !b->timed || !a->recorded || !b->recorded)
        return failed(cudaErrorInvalidResourceHandle);
    if (a->capture || b->capture)
        return failed(cudaErrorCapturedEvent);
    if (!is_done(a) || !is_done(b))
        return cudaErrorNotReady;
    *ms = (float)(b->done_ms - a->done_ms);
    return cudaSuccess;
}

/* The capture that an event belongs to is joined by the stream that waits for it. */
static cudaError_t join_capture(CUstream_st *s, const CUevent_st *e)
{
    auto at = the_world()->captures.find(e->capture);

    if (at == the_world()->captures.end())
        return cudaErrorCapturedEvent;
    struct capture *c = at->second;
    if (c->broken)
        return cudaErrorStreamCaptureInvalidated;
    if (s->capture && s->capture != c) {
        s->capture->broken = c->broken = true;
        return cudaErrorStreamCaptureMerge;
    }
    if (s == &the_world()->first) {
        c->broken = true;
        return cudaErrorStreamCaptureImplicit;
    }
    if (!s->capture)
        s->tail.clear();
    s->capture = c;
    s->tail.insert(e->tail.begin(), e->tail.end());
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
    guard g(inside);
    CUstream_st *s = stream_of(stream);
    CUevent_st *e = event_of(event);
    struct work work = {};

    if (!s || !e || flags)
        return failed(!s || !e ? cudaErrorInvalidResourceHandle : cudaErrorInvalidValue);
    if (e->capture)
        return failed(join_capture(s, e));
    if (s->capture) {
        if (!e->recorded)
            return cudaSuccess;
        s->capture->broken = true;
        return failed(cudaErrorStreamCaptureIsolation);
    }
    if (is_done(e))
        return cudaSuccess;
    work.kind = WAIT;
    work.until = e->at;
    return failed(queue_work(s, work));
}

/* ---- Graphs. ---- */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    guard g(inside);
    struct world *w = the_world();
    CUstream_st *s = stream_of(stream);
    struct capture *c;

    if (!s)
        return failed(cudaErrorInvalidResourceHandle);
    if (s == &w->first)
        return failed(cudaErrorStreamCaptureUnsupported);
    if (s->capture)
        return failed(cudaErrorIllegalState);
    c = new struct capture();
    c->id = w->ids++;
    c->origin = s;
    c->mode = mode;
    c->thread = std::this_thread::get_id();
    w->captures[c->id] = c;
    s->capture = c;
    s->tail.clear();
    return cudaSuccess;
}

/* Whether all that other streams added comes before what the origin ends in. */
static bool is_joined(const struct capture *c)
{
    std::set<size_t> seen = c->origin->tail;

    for (size_t i = c->nodes.size(); i-- > 0;)
        if (seen.count(i))
            seen.insert(c->nodes[i].needs.begin(), c->nodes[i].needs.end());
    for (auto &s : the_world()->streams)
        for (size_t last : s.second->capture == c ? s.second->tail : std::set<size_t>())
            if (!seen.count(last))
                return false;
    return true;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out)
{
    guard g(inside);
    struct world *w = the_world();
    CUstream_st *s = stream_of(stream);
    cudaError_t error = cudaSuccess;

    *out = NULL;
    if (!s || !s->capture)
        return failed(s ? cudaErrorIllegalState : cudaErrorInvalidResourceHandle);
    struct capture *c = s->capture;
    if (c->origin != s) {
        c->broken = true;
        return failed(cudaErrorStreamCaptureUnmatched);
    }
    if (c->broken)
        error = cudaErrorStreamCaptureInvalidated;
    else if (!is_joined(c))
        error = cudaErrorStreamCaptureUnjoined;
    if (!error) {
        *out = new CUgraph_st();
        (*out)->nodes = std::make_shared<std::vector<struct node>>(c->nodes);
        w->graphs.insert(*out);
    }
    for (auto &other : w->streams)
        if (other.second->capture == c)
            other.second->capture = NULL;
    w->captures.erase(c->id);
    delete c;
    return failed(error);
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *out)
{
    guard g(inside);
    CUstream_st *s = stream_of(stream);

    if (!s)
        return failed(cudaErrorInvalidResourceHandle);
    *out = !s->capture          ? cudaStreamCaptureStatusNone
           : s->capture->broken ? cudaStreamCaptureStatusInvalidated
                                : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long flags)
{
    guard g(inside);

    (void)flags;
    *out = NULL;
    if (!the_world()->graphs.count(graph))
        return failed(cudaErrorInvalidValue);
    *out = new CUgraphExec_st();
    (*out)->nodes = graph->nodes;
    the_world()->execs.insert(*out);
    return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream)
{
    guard g(inside);

    if (!the_world()->execs.count(exec) || !stream_of(stream))
        return failed(cudaErrorInvalidValue);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    guard g(inside);
    CUstream_st *s = stream_of(stream);
    struct work work = {};

    if (!the_world()->execs.count(exec) || !s)
        return failed(cudaErrorInvalidValue);
    work.kind = GRAPH;
    work.graph = exec->nodes;
    return failed(queue_work(s, work));
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    guard g(inside);

    if (!the_world()->execs.erase(exec))
        return failed(cudaErrorInvalidValue);
    delete exec;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    guard g(inside);

    if (!the_world()->graphs.erase(graph))
        return failed(cudaErrorInvalidValue);
    delete graph;
    return cudaSuccess;
}

/* ---- The device. ---- */

enum { MULTIPROCESSORS = 4, L2_BYTES = 4 << 20, BUS_BITS = 384, REGISTERS = 65536 };

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    return failed(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaGetDevice(int *device)
{
    *device = 0;
    return cudaSuccess;
}

cudaError_t cudaSetDeviceFlags(unsigned flags)
{
    (void)flags;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *id, int len, int device)
{
    if (device != 0 || snprintf(id, (size_t)len, "0000:00:00.0") >= len)
        return failed(device != 0 ? cudaErrorInvalidDevice : cudaErrorInvalidValue);
    return cudaSuccess;
}

static size_t shared_multiprocessor(void)
{
    return emulated_shared_most() + 1024;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *out, int device)
{
    guard g(inside);
    struct emulated_settings *now = emulated_settings_now();

    if (device != 0)
        return failed(cudaErrorInvalidDevice);
    *out = {};
    snprintf(out->name, sizeof out->name, "emulated device");
    out->totalGlobalMem = now->memory_bytes;
    out->sharedMemPerBlock = 48 << 10;
    out->regsPerBlock = REGISTERS;
    out->warpSize = 32;
    out->maxThreadsPerBlock = 1024;
    out->maxThreadsDim[0] = out->maxThreadsDim[1] = 1024;
    out->maxThreadsDim[2] = 64;
    out->maxGridSize[0] = 0x7fffffff;
    out->maxGridSize[1] = out->maxGridSize[2] = 65535;
    out->major = now->arch / 10;
    out->minor = now->arch % 10;
    out->multiProcessorCount = MULTIPROCESSORS;
    out->concurrentKernels = 1;
    out->asyncEngineCount = 2;
    out->unifiedAddressing = 1;
    out->memoryBusWidth = BUS_BITS;
    out->l2CacheSize = L2_BYTES;
    out->maxThreadsPerMultiProcessor = 2048;
    out->sharedMemPerMultiprocessor = shared_multiprocessor();
    out->regsPerMultiprocessor = REGISTERS;
    out->sharedMemPerBlockOptin = emulated_shared_most();
    out->reservedSharedMemPerBlock = 1024;
    out->maxBlocksPerMultiProcessor = 32;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
    guard g(inside);
    int arch = emulated_settings_now()->arch;

    if (device != 0)
        return failed(cudaErrorInvalidDevice);
    switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
        *value = 1024;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
        *value = 48 << 10;
        break;
    case cudaDevAttrWarpSize:
        *value = 32;
        break;
    case cudaDevAttrMaxRegistersPerBlock:
    case cudaDevAttrMaxRegistersPerMultiprocessor:
        *value = REGISTERS;
        break;
    case cudaDevAttrMultiProcessorCount:
        *value = MULTIPROCESSORS;
        break;
    case cudaDevAttrEccEnabled:
    case cudaDevAttrPciBusId:
    case cudaDevAttrPciDeviceId:
    case cudaDevAttrPciDomainId:
        *value = 0;
        break;
    case cudaDevAttrGlobalMemoryBusWidth:
        *value = BUS_BITS;
        break;
    case cudaDevAttrL2CacheSize:
        *value = L2_BYTES;
        break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
        *value = 2048;
        break;
    case cudaDevAttrComputeCapabilityMajor:
        *value = arch / 10;
        break;
    case cudaDevAttrComputeCapabilityMinor:
        *value = arch % 10;
        break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
        *value = (int)shared_multiprocessor();
        break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = (int)emulated_shared_most();
        break;
    case cudaDevAttrReservedSharedMemoryPerBlock:
        *value = 1024;
        break;
    default:
        return failed(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

/* ---- What a test asks. ---- */

struct emulated_holdings emulated_held(void)
{
    guard g(inside);
    struct world *w = the_world();

    return { w->device_bytes,          w->host_bytes,
             (int)w->device.size(),    (int)w->pinned.size(),
             (int)w->streams.size() - 1, (int)w->events.size(),
             (int)w->graphs.size(),    (int)w->execs.size() };
}

uint64_t emulated_kernels(void)
{
    guard g(inside);

    return the_world()->kernels;
}
