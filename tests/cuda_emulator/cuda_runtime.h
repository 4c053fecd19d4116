/* cuda_runtime -- the part of CUDA that our .cu files use, for a C++ compiler on a machine without a
 * device: README.md says what it emulates and what it cannot show.
 *
 * Numbers of errors and attributes are CUDA's own. Functions that CUDA has and this has not are an
 * error of the compiler or linker: add them here when a kernel or its caller needs them. */
#ifndef TESTS_CUDA_EMULATOR_CUDA_RUNTIME_H
#define TESTS_CUDA_EMULATOR_CUDA_RUNTIME_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <memory>
#include <tuple>

/* ---- The language. ---- */

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __restrict__ __restrict
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
/* __shared__ is missing on purpose: DYNAMIC_SHARED memory is poisoned and has an end. */

struct uint3 { unsigned x, y, z; };
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

struct alignas(8) int2 { int x, y; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(8) float2 { float x, y; };
struct int3 { int x, y, z; };
struct float3 { float x, y, z; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(4) uchar4 { unsigned char x, y, z, w; };
struct uchar3 { unsigned char x, y, z; };

static inline int2 make_int2(int x, int y) { return { x, y }; }
static inline uint2 make_uint2(unsigned x, unsigned y) { return { x, y }; }
static inline float2 make_float2(float x, float y) { return { x, y }; }
static inline int3 make_int3(int x, int y, int z) { return { x, y, z }; }
static inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return { x, y, z }; }
static inline float3 make_float3(float x, float y, float z) { return { x, y, z }; }
static inline int4 make_int4(int x, int y, int z, int w) { return { x, y, z, w }; }
static inline float4 make_float4(float x, float y, float z, float w) { return { x, y, z, w }; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
    return { x, y, z, w };
}
static inline uchar4 make_uchar4(unsigned char x, unsigned char y, unsigned char z, unsigned char w)
{
    return { x, y, z, w };
}

/* Of the thread that runs; block.cc sets them. */
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
extern unsigned emulated_lane;
static const int warpSize = 32;

/* ---- Meetings of threads. Each takes the place it is called from, for the messages. ---- */

#define EMULATED_PLACE                                                                    \
    const char *file = __builtin_FILE(), const char *function = __builtin_FUNCTION(),     \
    int line = __builtin_LINE()

/* What the last lane of mask to arrive does for all: operand[lane] is what each brought. */
typedef void emulated_meeting(void *operand[32], unsigned mask);

void emulated_barrier(const char *file, const char *function, int line);
void emulated_meet(emulated_meeting *meeting, const char *what, unsigned mask, void *operand,
                   const char *file, const char *function, int line);
/* Lets other threads of the block run, as a wait in a loop must. */
void emulated_yield(void);
void emulated_trap(const char *file, const char *function, int line) __attribute__((noreturn));

struct emulated_shuffle { uint64_t value, result; int from; };
struct emulated_vote { int value; unsigned result; };
emulated_meeting emulated_shuffle_all, emulated_vote_all, emulated_sync_all;

static inline void __syncthreads(EMULATED_PLACE)
{
    emulated_barrier(file, function, line);
}

static inline void __syncwarp(unsigned mask = 0xffffffffu, EMULATED_PLACE)
{
    emulated_meet(emulated_sync_all, "__syncwarp", mask, NULL, file, function, line);
}

/* value of lane `from`, or the own one where there is no such lane in the group of width. */
template <class T>
static inline T emulated_shuffle_of(unsigned mask, T value, int from, const char *what,
                                    const char *file, const char *function, int line)
{
    struct emulated_shuffle s = { 0, 0, from };

    static_assert(sizeof(T) <= sizeof s.value, "a shuffle moves at most 64 bits");
    memcpy(&s.value, &value, sizeof value);
    emulated_meet(emulated_shuffle_all, what, mask, &s, file, function, line);
    memcpy(&value, &s.result, sizeof value);
    return value;
}

template <class T>
static inline T __shfl_sync(unsigned mask, T value, int lane, int width = 32, EMULATED_PLACE)
{
    int from = ((int)emulated_lane & ~(width - 1)) | (lane & (width - 1));

    return emulated_shuffle_of(mask, value, from, "__shfl_sync", file, function, line);
}

template <class T>
static inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, EMULATED_PLACE)
{
    int from = (int)emulated_lane ^ bits;

    if ((from & ~(width - 1)) > ((int)emulated_lane & ~(width - 1)))
        from = (int)emulated_lane;
    return emulated_shuffle_of(mask, value, from, "__shfl_xor_sync", file, function, line);
}

template <class T>
static inline T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32,
                                 EMULATED_PLACE)
{
    int place = (int)emulated_lane & (width - 1);
    int from = (int)emulated_lane + ((int)by < width - place ? (int)by : 0);

    return emulated_shuffle_of(mask, value, from, "__shfl_down_sync", file, function, line);
}

template <class T>
static inline T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, EMULATED_PLACE)
{
    int place = (int)emulated_lane & (width - 1);
    int from = (int)emulated_lane - ((int)by <= place ? (int)by : 0);

    return emulated_shuffle_of(mask, value, from, "__shfl_up_sync", file, function, line);
}

static inline unsigned __ballot_sync(unsigned mask, int value, EMULATED_PLACE)
{
    struct emulated_vote v = { value, 0 };

    emulated_meet(emulated_vote_all, "__ballot_sync", mask, &v, file, function, line);
    return v.result;
}

static inline int __any_sync(unsigned mask, int value, EMULATED_PLACE)
{
    struct emulated_vote v = { value, 0 };

    emulated_meet(emulated_vote_all, "__any_sync", mask, &v, file, function, line);
    return v.result != 0;
}

static inline int __all_sync(unsigned mask, int value, EMULATED_PLACE)
{
    struct emulated_vote v = { value, 0 };

    emulated_meet(emulated_vote_all, "__all_sync", mask, &v, file, function, line);
    return v.result == mask;
}

static inline void __trap(EMULATED_PLACE) { emulated_trap(file, function, line); }
static inline void __nanosleep(unsigned) { emulated_yield(); }
static inline void __threadfence(void) {}
static inline void __threadfence_block(void) {}

/* ---- Arithmetic. Needs -ffp-contract=off: each of these rounds once. ---- */

static inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __frcp_rn(float a) { return 1.0f / a; }
static inline float __fsqrt_rn(float a) { return __builtin_sqrtf(a); }
static inline double __fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dsub_rn(double a, double b) { return a - b; }
static inline double __ddiv_rn(double a, double b) { return a / b; }
static inline double __dsqrt_rn(double a) { return __builtin_sqrt(a); }
/* On a device within 2 units in the last place; here the rounded quotient of a rounded root. */
#define rsqrtf emulated_rsqrtf  /* newer C libraries have one of their own */
static inline float rsqrtf(float a) { return 1.0f / __builtin_sqrtf(a); }

static inline unsigned __float_as_uint(float v)
{
    unsigned bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}
static inline int __float_as_int(float v)
{
    return (int)__float_as_uint(v);
}
static inline float __uint_as_float(unsigned bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}
static inline float __int_as_float(int bits)
{
    return __uint_as_float((unsigned)bits);
}

/* Saturating, as the device's conversions are; NaN gives 0. */
static inline int emulated_to_int(float v)
{
    if (!(v == v))
        return 0;
    return v >= 2147483648.0f ? INT32_MAX : v <= -2147483648.0f ? INT32_MIN : (int)v;
}
static inline int __float2int_rn(float v) { return emulated_to_int(rintf(v)); }
static inline int __float2int_rd(float v) { return emulated_to_int(floorf(v)); }
static inline int __float2int_ru(float v) { return emulated_to_int(ceilf(v)); }
static inline int __float2int_rz(float v) { return emulated_to_int(v); }
static inline unsigned __float2uint_rn(float v)
{
    v = rintf(v);
    return !(v > 0.0f) ? 0 : v >= 4294967296.0f ? UINT32_MAX : (unsigned)v;
}
static inline float __int2float_rn(int v) { return (float)v; }
static inline float __uint2float_rn(unsigned v) { return (float)v; }

static inline int __popc(unsigned v) { return __builtin_popcount(v); }
static inline int __clz(int v) { return v ? __builtin_clz((unsigned)v) : 32; }
static inline int __ffs(int v) { return __builtin_ffs(v); }
static inline unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)(((uint64_t)a * b) >> 32);
}
static inline int __mulhi(int a, int b) { return (int)(((int64_t)a * b) >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    __extension__ typedef unsigned __int128 wide;
    return (unsigned long long)(((wide)a * b) >> 64);
}
static inline unsigned __brev(unsigned v)
{
    unsigned r = 0;
    for (int i = 0; i < 32; i++)
        r |= (v >> i & 1) << (31 - i);
    return r;
}
/* Bytes 0..3 are a's, 4..7 b's; a nibble of `which` names each byte of the result. */
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned which)
{
    uint64_t bytes = (uint64_t)b << 32 | a;
    unsigned r = 0;
    for (int i = 0; i < 4; i++)
        r |= (unsigned)(bytes >> (which >> 4 * i & 7) * 8 & 0xff) << 8 * i;
    return r;
}
static inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned by)
{
    return (unsigned)((((uint64_t)high << 32 | low) << (by & 31)) >> 32);
}
static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by)
{
    return (unsigned)(((uint64_t)high << 32 | low) >> (by & 31));
}

template <class T> static inline T __ldg(const T *p) { return *p; }

#define EMULATED_MIN_MAX(type)                                            \
    static inline type min(type a, type b) { return b < a ? b : a; }      \
    static inline type max(type a, type b) { return a < b ? b : a; }
EMULATED_MIN_MAX(int)
EMULATED_MIN_MAX(unsigned)
EMULATED_MIN_MAX(long)
EMULATED_MIN_MAX(unsigned long)
EMULATED_MIN_MAX(long long)
EMULATED_MIN_MAX(unsigned long long)
#undef EMULATED_MIN_MAX
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }

/* One thread runs at a time, so that an atomic operation is a plain one. On integers only. */
#define EMULATED_ATOMICS(type)                                                               \
    static inline type atomicAdd(type *p, type v) { type old = *p; *p = old + v; return old; } \
    static inline type atomicMax(type *p, type v) { type old = *p; *p = max(old, v); return old; } \
    static inline type atomicMin(type *p, type v) { type old = *p; *p = min(old, v); return old; } \
    static inline type atomicOr(type *p, type v) { type old = *p; *p = old | v; return old; } \
    static inline type atomicAnd(type *p, type v) { type old = *p; *p = old & v; return old; } \
    static inline type atomicExch(type *p, type v) { type old = *p; *p = v; return old; }      \
    static inline type atomicCAS(type *p, type expect, type v)                               \
    {                                                                                        \
        type old = *p;                                                                       \
        if (old == expect)                                                                   \
            *p = v;                                                                          \
        return old;                                                                          \
    }
EMULATED_ATOMICS(int)
EMULATED_ATOMICS(unsigned)
EMULATED_ATOMICS(unsigned long long)
#undef EMULATED_ATOMICS

/* ---- The runtime. ---- */

typedef enum cudaError {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInvalidMemcpyDirection = 21,
    cudaErrorInvalidDeviceFunction = 98,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorInvalidResourceHandle = 400,
    cudaErrorIllegalState = 401,
    cudaErrorNotReady = 600,
    cudaErrorIllegalAddress = 700,
    cudaErrorLaunchFailure = 719,
    cudaErrorNotSupported = 801,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated = 901,
    cudaErrorStreamCaptureMerge = 902,
    cudaErrorStreamCaptureUnmatched = 903,
    cudaErrorStreamCaptureUnjoined = 904,
    cudaErrorStreamCaptureIsolation = 905,
    cudaErrorStreamCaptureImplicit = 906,
    cudaErrorCapturedEvent = 907,
    cudaErrorUnknown = 999
} cudaError_t;

typedef struct CUstream_st *cudaStream_t;
typedef struct CUevent_st *cudaEvent_t;
typedef struct CUgraph_st *cudaGraph_t;
typedef struct CUgraphExec_st *cudaGraphExec_t;
typedef void (*cudaHostFn_t)(void *data);

enum cudaMemcpyKind {
    cudaMemcpyHostToHost = 0,
    cudaMemcpyHostToDevice = 1,
    cudaMemcpyDeviceToHost = 2,
    cudaMemcpyDeviceToDevice = 3,
    cudaMemcpyDefault = 4
};
enum cudaStreamCaptureMode {
    cudaStreamCaptureModeGlobal = 0,
    cudaStreamCaptureModeThreadLocal = 1,
    cudaStreamCaptureModeRelaxed = 2
};
enum cudaStreamCaptureStatus {
    cudaStreamCaptureStatusNone = 0,
    cudaStreamCaptureStatusActive = 1,
    cudaStreamCaptureStatusInvalidated = 2
};
enum cudaFuncAttribute {
    cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
    cudaFuncAttributePreferredSharedMemoryCarveout = 9
};
enum cudaDeviceAttr {
    cudaDevAttrMaxThreadsPerBlock = 1,
    cudaDevAttrMaxSharedMemoryPerBlock = 8,
    cudaDevAttrWarpSize = 10,
    cudaDevAttrMaxRegistersPerBlock = 12,
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrEccEnabled = 32,
    cudaDevAttrPciBusId = 33,
    cudaDevAttrPciDeviceId = 34,
    cudaDevAttrGlobalMemoryBusWidth = 37,
    cudaDevAttrL2CacheSize = 38,
    cudaDevAttrMaxThreadsPerMultiProcessor = 39,
    cudaDevAttrPciDomainId = 50,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
    cudaDevAttrMaxSharedMemoryPerMultiprocessor = 81,
    cudaDevAttrMaxRegistersPerMultiprocessor = 82,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
    cudaDevAttrReservedSharedMemoryPerBlock = 111
};

enum {
    cudaStreamDefault = 0,
    cudaStreamNonBlocking = 1,
    cudaEventDefault = 0,
    cudaEventBlockingSync = 1,
    cudaEventDisableTiming = 2,
    cudaHostAllocDefault = 0,
    cudaHostAllocPortable = 1,
    cudaHostAllocMapped = 2,
    cudaHostAllocWriteCombined = 4,
    cudaDeviceScheduleAuto = 0,
    cudaDeviceScheduleSpin = 1,
    cudaDeviceScheduleYield = 2,
    cudaDeviceScheduleBlockingSync = 4
};

typedef struct { char bytes[16]; } cudaUUID_t;
struct cudaDeviceProp {
    char name[256];
    cudaUUID_t uuid;
    size_t totalGlobalMem, sharedMemPerBlock;
    int regsPerBlock, warpSize, maxThreadsPerBlock, maxThreadsDim[3], maxGridSize[3];
    int major, minor, multiProcessorCount, integrated, concurrentKernels, ECCEnabled;
    int pciBusID, pciDeviceID, pciDomainID, asyncEngineCount, unifiedAddressing;
    int memoryBusWidth, l2CacheSize, maxThreadsPerMultiProcessor;
    size_t sharedMemPerMultiprocessor;
    int regsPerMultiprocessor, cooperativeLaunch;
    size_t sharedMemPerBlockOptin, reservedSharedMemPerBlock;
    int maxBlocksPerMultiProcessor;
};

const char *cudaGetErrorName(cudaError_t error);
const char *cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError(void);
cudaError_t cudaPeekAtLastError(void);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);

cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int *device);
cudaError_t cudaSetDeviceFlags(unsigned flags);
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *out, int device);
cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device);
cudaError_t cudaDeviceGetPCIBusId(char *id, int len, int device);
cudaError_t cudaDeviceSynchronize(void);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes);

cudaError_t emulated_malloc(void **out, size_t bytes);
cudaError_t emulated_malloc_host(void **out, size_t bytes);
template <class T> static inline cudaError_t cudaMalloc(T **out, size_t bytes)
{
    return emulated_malloc((void **)(void *)out, bytes);
}
template <class T> static inline cudaError_t cudaMallocHost(T **out, size_t bytes, unsigned = 0)
{
    return emulated_malloc_host((void **)(void *)out, bytes);
}
template <class T> static inline cudaError_t cudaHostAlloc(T **out, size_t bytes, unsigned)
{
    return emulated_malloc_host((void **)(void *)out, bytes);
}
cudaError_t cudaFree(void *p);
cudaError_t cudaFreeHost(void *p);

enum cudaMemoryType {
    cudaMemoryTypeUnregistered = 0,
    cudaMemoryTypeHost = 1,
    cudaMemoryTypeDevice = 2,
    cudaMemoryTypeManaged = 3
};
struct cudaPointerAttributes {
    enum cudaMemoryType type;
    int device;
    void *devicePointer, *hostPointer;
};
/* Of any pointer: of memory that is neither the device's nor page-locked, Unregistered. */
cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *out, const void *p);

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream = NULL);
cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                         size_t width, size_t height, enum cudaMemcpyKind kind);
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, enum cudaMemcpyKind kind,
                              cudaStream_t stream = NULL);
cudaError_t cudaMemset(void *to, int value, size_t bytes);
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream = NULL);

cudaError_t cudaStreamCreate(cudaStream_t *out);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags);
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *out, unsigned flags, int priority);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamQuery(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data);

cudaError_t cudaEventCreate(cudaEvent_t *out);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream = NULL);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end);

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out);
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *out);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph,
                                 unsigned long long flags = 0);
cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);

cudaError_t emulated_function_shared(const void *kernel, enum cudaFuncAttribute attribute,
                                     int value);
template <class T>
static inline cudaError_t cudaFuncSetAttribute(T *kernel, enum cudaFuncAttribute attribute,
                                               int value)
{
    return emulated_function_shared((const void *)kernel, attribute, value);
}

#endif
