/* check_emulator -- that the emulator finds what it is there to find. Each case is a kernel or a use of
 * the runtime with a planted fault, or the same without it, in a process of its own: what it should
 * come to is a result, a wrong result, or an end with certain words. Lines are TAP. */
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/mma.cuh"

#include "cuda_emulator.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
static const bool HAS_ASAN = true;
#else
static const bool HAS_ASAN = false;
#endif

enum { THREADS = 96 };

/* ---- A kernel in, numbers out. ---- */

typedef void int_kernel(int *out, const int *in, int fault);

/* Whether out[i] == want(i) for all; the input is in[i] = 3 i + 1, [2 * THREADS]. */
static bool run_ints(int_kernel *kernel, int fault, size_t shared_bytes, int (*want)(int i))
{
    int host[2 * THREADS], *in, *out;
    bool right = true;

    for (int i = 0; i < 2 * THREADS; i++)
        host[i] = 3 * i + 1;
    if (cudaMalloc(&in, sizeof host) || cudaMalloc(&out, THREADS * sizeof(int)) ||
        cudaMemcpy(in, host, sizeof host, cudaMemcpyHostToDevice) ||
        launch(kernel, 1, THREADS, shared_bytes, 0, out, (const int *)in, fault) ||
        cudaMemcpy(host, out, THREADS * sizeof(int), cudaMemcpyDeviceToHost))
        return false;
    for (int i = 0; i < THREADS; i++)
        right = right && host[i] == want(i);
    cudaFree(in);
    cudaFree(out);
    return right;
}

static int turned(int i)
{
    return 3 * (THREADS - 1 - i) + 1;
}

static int plain(int i)
{
    return 3 * i + 1;
}

/* Each thread reads what another wrote. */
static __global__ void turn_kernel(int *out, const int *in, int fault)
{
    DYNAMIC_SHARED(int, s);
    int i = (int)threadIdx.x;

    s[i] = in[i];
    if (!fault)
        __syncthreads();
    out[i] = s[THREADS - 1 - i];
}

/* The buffer is written again before all have read it. */
static __global__ void again_kernel(int *out, const int *in, int fault)
{
    DYNAMIC_SHARED(int, s);
    int i = (int)threadIdx.x, v;

    s[i] = in[i];
    __syncthreads();
    v = s[(i + 40) % THREADS];
    if (!fault)
        __syncthreads();
    s[i] = -1;
    __syncthreads();
    out[i] = v + 0 * s[i];
}

static int shifted(int i)
{
    return 3 * ((i + 40) % THREADS) + 1;
}

static __global__ void warp_kernel(int *out, const int *in, int fault)
{
    DYNAMIC_SHARED(int, s);
    int i = (int)threadIdx.x;

    s[i] = in[i];
    if (!fault)
        __syncwarp();
    out[i] = s[i ^ 31];
}

static int crossed(int i)
{
    return 3 * (i ^ 31) + 1;
}

/* fault 1: no wait; 2: a wait for the first of two groups only. */
static __global__ void copy_kernel(int *out, const int *in, int fault)
{
    DYNAMIC_SHARED(int, s);
    int i = (int)threadIdx.x;

    for (int k = 0; k < 2; k++) {
        if (i < THREADS / 4)
            copy_async16(&s[k * THREADS + 4 * i], &in[k * THREADS + 4 * i], true);
        copy_async_commit();
    }
    if (fault == 0)
        copy_async_wait<0>();
    if (fault == 2)
        copy_async_wait<1>();
    __syncthreads();
    out[i] = s[THREADS - 1 - i] + s[THREADS + i] - in[THREADS + i];
}

/* The next stage is copied into a buffer that others still read. */
static __global__ void stage_kernel(int *out, const int *in, int fault)
{
    DYNAMIC_SHARED(int, s);
    int i = (int)threadIdx.x, v;

    if (i < THREADS / 4)
        copy_async16(&s[4 * i], &in[4 * i], true);
    copy_async_commit();
    copy_async_wait<0>();
    __syncthreads();
    v = s[THREADS - 1 - i];
    if (!fault)
        __syncthreads();
    if (i < THREADS / 4)
        copy_async16(&s[4 * i], &in[THREADS + 4 * i], true);
    copy_async_commit();
    copy_async_wait<0>();
    out[i] = v;
}

/* A bulk copy that all wait for, by a barrier of one arrival behind it. */
static __global__ void bulk_kernel(int *out, const int *in, int fault)
{
    DYNAMIC_SHARED(int, s);
    uint64_t *barrier = (uint64_t *)(void *)(s + THREADS);
    int i = (int)threadIdx.x, bytes = THREADS * (int)sizeof(int);

    if (i == 0)
        barrier_init(barrier, 1);
    __syncthreads();
    if (i == 0) {
        barrier_expect(barrier, fault == 1 ? bytes + 16 : bytes);
        bulk_copy(s, in, fault == 2 ? bytes - 4 : bytes, barrier);
    }
    if (i == 1 && fault == 3)
        barrier_arrive(barrier);
    if (fault != 4)
        barrier_wait(barrier, 0);
    out[i] = s[THREADS - 1 - i];
    if (fault == 4)
        barrier_wait(barrier, 0);
}

enum { OPERANDS = 64 * 16 * 2 * 2 };    /* bytes of a and b */

/* Each warp its rows of a product of zeros, added to what the registers hold. */
static __global__ void product_kernel(int *out, const int *in, int fault)
{
    DYNAMIC_SHARED(char, s);
    int i = (int)threadIdx.x;
    uint64_t a = operand_descriptor(shared_address(s), 128, 256);
    uint64_t b = operand_descriptor(shared_address(s) + OPERANDS / 2, 128, fault == 5 ? 512 : 256);
    float d[8][4] = {};

    for (int k = i; k < OPERANDS / 16; k += THREADS)
        copy_async16(s + k * 16, in, false);
    copy_async_commit();
    copy_async_wait<0>();
    if (fault != 1)
        fence_async();
    __syncthreads();
    d[7][3] = (float)in[i];
    if (fault != 2)
        wgmma_fence();
    wgmma_f16<64>(d, a, b);
    wgmma_commit();
    if (fault != 3)
        wgmma_wait<0>();
    out[i] = d[7][3] > 0.0f ? (int)d[7][3] : -1;
    if (fault == 3)
        wgmma_wait<0>();
    if (fault == 4) {
        wgmma_fence();
        wgmma_f16<64>(d, a, b);
        wgmma_commit();
    }
}

/* fault 1: one element is never written. */
static __global__ void poison_kernel(int *out, const int *in, int fault)
{
    DYNAMIC_SHARED(float, s);
    int i = (int)threadIdx.x;

    if (!fault || i != 50)
        s[i] = (float)in[i];
    __syncthreads();
    out[i] = (int)(s[i] + 0.0f * s[50]) == in[i] ? in[i] : -1;
}

/* fault: how many elements too far. */
static __global__ void past_kernel(int *out, const int *in, int fault)
{
    DYNAMIC_SHARED(int, s);
    int i = (int)threadIdx.x;

    s[i + fault] = in[i];
    out[i] = s[i + fault];
}

static __global__ void past_global_kernel(int *out, const int *in, int fault)
{
    int i = (int)threadIdx.x;

    out[i] = in[i];
    if (fault && i == THREADS - 1)
        out[i + 1] = 0;
}

/* fault 1: half of a warp takes the barrier; 2: warps take different ones; 3: a thread has left;
 * 4: a shuffle of all without some; 5: lanes at different instructions; 6: a mask without oneself;
 * 7: a trap; 8: a wait for what never comes; 9: a row out of shared memory; 10: one that is not
 * aligned; 11: a copy from there. */
static __global__ void stray_kernel(int *out, const int *in, int fault)
{
    DYNAMIC_SHARED(unsigned char, s);
    int i = (int)threadIdx.x, v = in[i];
    uint32_t r[4];

    if (fault == 1 && i < 48)
        __syncthreads();
    if (fault == 2) {
        if (i < 32)
            __syncthreads();
        else
            __syncthreads();
    }
    if (fault == 3) {
        if (i == 17)
            return;
        __syncthreads();
    }
    if (fault == 4 && i != 9)
        v = __shfl_sync(0xffffffffu, v, 0);
    if (fault == 5) {
        if (i % 2)
            v = __shfl_sync(0xffffffffu, v, 0);
        else
            v = __shfl_xor_sync(0xffffffffu, v, 1);
    }
    if (fault == 6)
        __syncwarp(0xfffffffeu);
    if (fault == 7 && i == 5)
        __trap();
    if (fault == 8 && i < 32)
        for (unsigned turns = 0; v != -1;)
            spin_bound(&turns, "a flag");
    if (fault == 9)
        ldmatrix_x4(r, s + (i % 32) * 16 + 16);
    if (fault == 10)
        ldmatrix_x4(r, s + (i % 32) * 8);
    if (fault == 11)
        copy_async16(s, (const char *)in + 4, true);
    out[i] = fault > 8 && fault < 11 && r[0] == 1 ? 0 : v;
}

/* A flag that another warp sets: waits let others run. */
static __global__ void flag_kernel(int *out, const int *in, int fault)
{
    DYNAMIC_SHARED(int, s);
    int i = (int)threadIdx.x;
    volatile int *flag = s;

    (void)fault;
    if (i == 0)
        *flag = 0;
    __syncthreads();
    if (i == 40)
        *flag = 1;
    for (unsigned turns = 0; *flag != 1;)
        spin_bound(&turns, "the flag");
    out[i] = in[i];
}

/* ---- The runtime. Each returns whether all came out right. ---- */

static __global__ void add_kernel(int *value, int add)
{
    value[threadIdx.x] += add;
}

static __global__ void double_kernel(int *value)
{
    value[threadIdx.x] *= 2;
}

struct two_streams {
    cudaStream_t one, two;
    cudaEvent_t event;
    int *pinned, *device;
};

static void two_streams_begin(struct two_streams *t)
{
    if (cudaStreamCreateWithFlags(&t->one, cudaStreamNonBlocking) ||
        cudaStreamCreateWithFlags(&t->two, cudaStreamNonBlocking) ||
        cudaEventCreateWithFlags(&t->event, cudaEventDisableTiming) ||
        cudaMallocHost(&t->pinned, 32 * sizeof(int)) || cudaMalloc(&t->device, 32 * sizeof(int)))
        abort();
    for (int i = 0; i < 32; i++)
        t->pinned[i] = i;
}

static bool two_streams_end(struct two_streams *t, int times, int add)
{
    struct emulated_holdings held;
    bool right = true;

    for (int i = 0; i < 32; i++)
        right = right && t->pinned[i] == i * times + add;
    cudaFree(t->device);
    cudaFreeHost(t->pinned);
    cudaEventDestroy(t->event);
    cudaStreamDestroy(t->two);
    cudaStreamDestroy(t->one);
    held = emulated_held();
    return right && held.device_bytes == 0 && held.host_bytes == 0 && held.streams == 0 &&
           held.events == 0 && held.graphs == 0 && held.execs == 0;
}

/* fault 1: the result is read before it is there; 2: the input is changed before it was copied. */
static bool wait_story(int fault)
{
    struct two_streams t;
    enum { BYTES = 32 * sizeof(int) };

    two_streams_begin(&t);
    cudaMemcpyAsync(t.device, t.pinned, BYTES, cudaMemcpyHostToDevice, t.one);
    if (fault == 2)
        t.pinned[3] = 1000;
    launch(add_kernel, 1, 32, 0, t.one, t.device, 7);
    cudaMemcpyAsync(t.pinned, t.device, BYTES, cudaMemcpyDeviceToHost, t.one);
    if (fault != 1)
        cudaStreamSynchronize(t.one);
    return two_streams_end(&t, 1, 7);
}

/* fault 1: the second stream does not wait for the first. */
static bool streams_story(int fault)
{
    struct two_streams t;
    enum { BYTES = 32 * sizeof(int) };

    two_streams_begin(&t);
    cudaMemcpyAsync(t.device, t.pinned, BYTES, cudaMemcpyHostToDevice, t.one);
    launch(add_kernel, 1, 32, 0, t.one, t.device, 7);
    cudaEventRecord(t.event, t.one);
    if (!fault)
        cudaStreamWaitEvent(t.two, t.event, 0);
    launch(double_kernel, 1, 32, 0, t.two, t.device);
    cudaMemcpyAsync(t.pinned, t.device, BYTES, cudaMemcpyDeviceToHost, t.two);
    cudaDeviceSynchronize();
    return two_streams_end(&t, 2, 14);
}

/* fault 1: in the graph the second stream waits for the first's copy, not for its kernel. */
static bool graph_story(int fault)
{
    struct two_streams t;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    enum { BYTES = 32 * sizeof(int) };

    two_streams_begin(&t);
    cudaStreamBeginCapture(t.one, cudaStreamCaptureModeGlobal);
    cudaMemcpyAsync(t.device, t.pinned, BYTES, cudaMemcpyHostToDevice, t.one);
    if (fault)
        cudaEventRecord(t.event, t.one);
    launch(add_kernel, 1, 32, 0, t.one, t.device, 7);
    if (!fault)
        cudaEventRecord(t.event, t.one);
    cudaStreamWaitEvent(t.two, t.event, 0);
    launch(double_kernel, 1, 32, 0, t.two, t.device);
    cudaEventRecord(t.event, t.two);
    cudaStreamWaitEvent(t.one, t.event, 0);
    cudaMemcpyAsync(t.pinned, t.device, BYTES, cudaMemcpyDeviceToHost, t.one);
    if (cudaStreamEndCapture(t.one, &graph) || cudaGraphInstantiate(&exec, graph, 0))
        return false;
    if (t.pinned[5] != 5)                   /* nothing may have run yet */
        return false;
    cudaGraphLaunch(exec, t.one);
    cudaStreamSynchronize(t.one);
    cudaGraphExecDestroy(exec);
    cudaGraphDestroy(graph);
    return two_streams_end(&t, 2, 14);
}

/* What a capture does not take. fault 1: memory; 2: a wait; 3: a stream that does not come back;
 * 4: the default stream; 0: none of it. Whether the capture gave a graph. */
static bool capture_story(int fault)
{
    struct two_streams t;
    cudaStream_t blocking;
    cudaGraph_t graph = NULL;
    cudaError_t st = cudaSuccess, ended;
    int *p = NULL;

    two_streams_begin(&t);
    cudaStreamCreate(&blocking);
    cudaStreamBeginCapture(blocking, cudaStreamCaptureModeGlobal);
    launch(add_kernel, 1, 32, 0, blocking, t.device, 7);
    if (fault == 1)
        st = cudaMalloc(&p, 16);
    if (fault == 2)
        st = cudaStreamSynchronize(blocking);
    if (fault == 3) {
        cudaEventRecord(t.event, blocking);
        cudaStreamWaitEvent(t.two, t.event, 0);
        launch(add_kernel, 1, 32, 0, t.two, t.device, 7);
    }
    if (fault == 4)
        st = launch(add_kernel, 1, 32, 0, 0, t.device, 7);
    ended = cudaStreamEndCapture(blocking, &graph);
    if ((fault == 1 || fault == 2 || fault == 4) && (st == cudaSuccess || p))
        return true;
    return ended == cudaSuccess && graph;
}

static bool limits_story(int fault)
{
    void *a = NULL, *b = NULL;
    size_t free_bytes, total;
    int *none = NULL;
    bool right;

    (void)fault;
    emulated_memory_set(1 << 20);
    right = cudaMalloc(&a, 700 << 10) == cudaSuccess;
    right = right && cudaMalloc(&b, 700 << 10) == cudaErrorMemoryAllocation && !b;
    right = right && cudaMemGetInfo(&free_bytes, &total) == cudaSuccess && total == 1 << 20 &&
            free_bytes == 324 << 10;
    right = right && emulated_held().device_bytes == 700 << 10 && emulated_held().device_pieces == 1;
    right = right && ((const unsigned char *)a)[12345] == 0xff;
    right = right && cudaMemset((char *)a + 1, 0, 700 << 10) == cudaErrorInvalidValue;
    right = right && cudaFree((char *)a + 16) == cudaErrorInvalidValue;
    right = right && cudaGetLastError() == cudaErrorInvalidValue &&
            cudaGetLastError() == cudaSuccess;
    cudaFree(a);
    right = right && emulated_held().device_bytes == 0;
    right = right && launch(double_kernel, 1, dim3(32, 33), 0, 0, none) ==
                         cudaErrorInvalidConfiguration;
    right = right && launch(double_kernel, dim3(1, 1, 65536), 1, 0, 0, none) ==
                         cudaErrorInvalidConfiguration;
    right = right && launch(double_kernel, dim3(0), 1, 0, 0, none) ==
                         cudaErrorInvalidConfiguration;
    emulated_arch_set(86);
    right = right && launch(double_kernel, 1, 1, (99 << 10) + 1, 0, none) != cudaSuccess;
    emulated_arch_set(90);
    right = right && launch(double_kernel, 1, 1, (227 << 10) + 1, 0, none) != cudaSuccess;
    return right;
}

/* ---- Cases. ---- */

enum outcome {
    RIGHT,                      /* whatever the order */
    WRONG,                      /* in at least one order */
    DIES                        /* with the words, whatever the order */
};

struct trial {
    const char *name;
    int_kernel *kernel;         /* or: */
    bool (*story)(int fault);
    int fault;
    size_t shared_bytes;
    int (*want)(int i);
    enum outcome outcome;
    const char *words;
    bool needs_asan;
};

enum { INTS = THREADS * sizeof(int) };

static const struct trial TRIALS[] = {
    { "threads meet at a barrier", turn_kernel, NULL, 0, INTS, turned, RIGHT, NULL, false },
    { "a missing barrier", turn_kernel, NULL, 1, INTS, turned, WRONG, NULL, false },
    { "a buffer used again behind a barrier", again_kernel, NULL, 0, INTS, shifted, RIGHT, NULL,
      false },
    { "a buffer used again without one", again_kernel, NULL, 1, INTS, shifted, WRONG, NULL, false },
    { "lanes meet", warp_kernel, NULL, 0, INTS, crossed, RIGHT, NULL, false },
    { "a missing __syncwarp", warp_kernel, NULL, 1, INTS, crossed, WRONG, NULL, false },
    { "copies are waited for", copy_kernel, NULL, 0, 2 * INTS, turned, RIGHT, NULL, false },
    { "a missing copy_async_wait", copy_kernel, NULL, 1, 2 * INTS, turned, WRONG, NULL, false },
    { "a copy_async_wait for too few", copy_kernel, NULL, 2, 2 * INTS, turned, WRONG, NULL, false },
    { "a stage copied behind a barrier", stage_kernel, NULL, 0, INTS, turned, RIGHT, NULL, false },
    { "a stage copied without one", stage_kernel, NULL, 1, INTS, turned, WRONG, NULL, false },
    { "a bulk copy is waited for", bulk_kernel, NULL, 0, INTS + 8, turned, RIGHT, NULL, false },
    { "a bulk copy of fewer bytes than expected", bulk_kernel, NULL, 1, INTS + 8, turned, DIES,
      "lanes wait for others that never come", false },
    { "a bulk copy of no multiple of 16 bytes", bulk_kernel, NULL, 2, INTS + 8, turned, DIES,
      "bulk_copy in", false },
    { "a barrier's phase with an arrival too many", bulk_kernel, NULL, 3, INTS + 8, turned, DIES,
      "wait", false },
    { "a bulk copy that nobody waited for", bulk_kernel, NULL, 4, INTS + 8, turned, WRONG, NULL,
      false },
    { "a product is waited for", product_kernel, NULL, 0, OPERANDS, plain, RIGHT, NULL, false },
    { "operands without fence_async", product_kernel, NULL, 1, OPERANDS, plain, DIES,
      "without fence_async behind it", false },
    { "a missing wgmma_fence", product_kernel, NULL, 2, OPERANDS, plain, DIES, "no wgmma_fence",
      false },
    { "registers of a product under way", product_kernel, NULL, 3, OPERANDS, plain, WRONG, NULL,
      false },
    { "a product that nobody waited for", product_kernel, NULL, 4, OPERANDS, plain, DIES,
      "ends with products under way", false },
    { "an operand beyond shared memory", product_kernel, NULL, 5, OPERANDS, plain, DIES,
      "outside of the block's", false },
    { "shared memory is written before it is read", poison_kernel, NULL, 0, INTS, plain, RIGHT,
      NULL, false },
    { "shared memory that nobody wrote", poison_kernel, NULL, 1, INTS, plain, WRONG, NULL, false },
    { "shared memory to its end", past_kernel, NULL, 0, INTS, plain, RIGHT, NULL, false },
    { "past shared memory", past_kernel, NULL, 1, INTS, plain, DIES, "heap-buffer-overflow", true },
    { "past the device's memory", past_global_kernel, NULL, 1, 0, plain, DIES,
      "heap-buffer-overflow", true },
    { "no fault at all", stray_kernel, NULL, 0, 512, plain, RIGHT, NULL, false },
    { "a barrier for half a warp", stray_kernel, NULL, 1, 512, plain, DIES,
      "a barrier that not all threads of the block reach", false },
    { "two barriers", stray_kernel, NULL, 2, 512, plain, DIES, "where others wait at another",
      false },
    { "a barrier after a thread left", stray_kernel, NULL, 3, 512, plain, DIES,
      "a barrier that not all threads of the block reach", false },
    { "a shuffle without a lane", stray_kernel, NULL, 4, 512, plain, DIES,
      "lanes wait for others that never come", false },
    { "two shuffles", stray_kernel, NULL, 5, 512, plain, DIES, "waits for it at __shfl", false },
    { "a mask without the lane", stray_kernel, NULL, 6, 512, plain, DIES, "without this lane",
      false },
    { "a trap names its thread", stray_kernel, NULL, 7, 512, plain, DIES,
      "block 0 0 0 thread 5 0 0: __trap in stray_kernel", false },
    { "a wait has a bound", stray_kernel, NULL, 8, 512, plain, DIES, "__trap in spin_bound",
      false },
    { "a row beyond shared memory", stray_kernel, NULL, 9, 512, plain, DIES,
      "ldmatrix_x4 in stray_kernel", false },
    { "a row that is not aligned", stray_kernel, NULL, 10, 512, plain, DIES,
      "ldmatrix_x4 in stray_kernel", false },
    { "a copy from what is not aligned", stray_kernel, NULL, 11, 512, plain, DIES,
      "not aligned to 16", false },
    { "a wait lets others run", flag_kernel, NULL, 0, 16, plain, RIGHT, NULL, false },
    { "a stream is waited for", NULL, wait_story, 0, 0, NULL, RIGHT, NULL, false },
    { "a missing wait for a result", NULL, wait_story, 1, 0, NULL, WRONG, NULL, false },
    { "an input changed too early", NULL, wait_story, 2, 0, NULL, WRONG, NULL, false },
    { "a stream waits for another", NULL, streams_story, 0, 0, NULL, RIGHT, NULL, false },
    { "a missing wait between streams", NULL, streams_story, 1, 0, NULL, WRONG, NULL, false },
    { "a graph of two streams", NULL, graph_story, 0, 0, NULL, RIGHT, NULL, false },
    { "a missing edge of a graph", NULL, graph_story, 1, 0, NULL, WRONG, NULL, false },
    { "a capture", NULL, capture_story, 0, 0, NULL, RIGHT, NULL, false },
    { "memory taken in a capture", NULL, capture_story, 1, 0, NULL, WRONG, NULL, false },
    { "a wait in a capture", NULL, capture_story, 2, 0, NULL, WRONG, NULL, false },
    { "a capture that is not joined", NULL, capture_story, 3, 0, NULL, WRONG, NULL, false },
    { "the default stream in a capture", NULL, capture_story, 4, 0, NULL, WRONG, NULL, false },
    { "limits, memory, books", NULL, limits_story, 0, 0, NULL, RIGHT, NULL, false },
};

enum { SAID_BYTES = 8192 };

/* Runs t in a child, in that order; 0: right, 1: wrong, -1: it died. said: what it printed. */
static int run_trial(const struct trial *t, int order, int copies, int streams, char *said)
{
    int ends[2], status;
    size_t len = 0;
    ssize_t n;
    pid_t child;

    fflush(stdout);
    if (pipe(ends) || (child = fork()) < 0)
        return -1;
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        alarm(60);
        emulated_order_set((enum emulated_order)order);
        emulated_copies_set((enum emulated_copies)copies);
        emulated_streams_set((enum emulated_streams)streams);
        emulated_seed_set(7);
        bool right = t->kernel ? run_ints(t->kernel, t->fault, t->shared_bytes, t->want)
                               : t->story(t->fault);
        fflush(stdout);
        _exit(right ? 0 : 1);
    }
    close(ends[1]);
    while ((n = read(ends[0], said + len, SAID_BYTES - 1 - len)) > 0)
        len += (size_t)n;
    said[len] = '\0';
    close(ends[0]);
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return -1;
    /* a sanitizer ends with a code of its own */
    return WEXITSTATUS(status) <= 1 && !strstr(said, "Sanitizer") ? WEXITSTATUS(status) : -1;
}

/* 0 when t comes out as it should. */
static int check_trial(const struct trial *t)
{
    static char said[SAID_BYTES];
    int right = 0, wrong = 0, died = 0, worded = 0, total = 0;
    bool met;

    if (t->needs_asan && !HAS_ASAN) {
        printf("ok - emulator: %s # SKIP without ASan\n", t->name);
        return 0;
    }
    for (int order = EMULATED_FORWARD; order <= EMULATED_SHUFFLED; order++)
        for (int copies = EMULATED_COPIES_AT_ONCE; copies <= EMULATED_COPIES_SHUFFLED; copies++)
            for (int streams = EMULATED_STREAMS_AT_ONCE; streams <= EMULATED_STREAMS_DEFERRED;
                 streams++) {
                if (t->kernel ? streams != EMULATED_STREAMS_AT_ONCE
                              : copies != EMULATED_COPIES_AT_ONCE)
                    continue;
                if (t->outcome == DIES && copies != EMULATED_COPIES_AT_ONCE)
                    continue;
                int result = run_trial(t, order, copies, streams, said);
                total++;
                right += result == 0;
                wrong += result == 1;
                died += result == -1;
                worded += t->words && strstr(said, t->words);
            }
    met = t->outcome == RIGHT   ? right == total
          : t->outcome == WRONG ? wrong > 0 && died == 0
                                : died == total && worded == total;
    printf("%s - emulator: %s\n", met ? "ok" : "not ok", t->name);
    if (!met)
        printf("# of %d runs %d right, %d wrong, %d died, %d as they should; the last said: %s\n",
               total, right, wrong, died, worded, said);
    return !met;
}

int main(void)
{
    int missed = 0;

    printf("1..%zu\n", sizeof TRIALS / sizeof TRIALS[0]);
    for (const struct trial &t : TRIALS)
        missed += check_trial(&t);
    return missed != 0;
}
