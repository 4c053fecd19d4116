/* emulated_launch -- what kernels/cuda/device.cuh leaves to the emulator: a launch, with a copy of
 * its arguments, and the block's shared memory. */
#ifndef TESTS_CUDA_EMULATOR_EMULATED_LAUNCH_H
#define TESTS_CUDA_EMULATOR_EMULATED_LAUNCH_H

#include <cuda_runtime.h>

/* Of the block that runs: exactly as many bytes as its launch asked for, 0xff at its start. */
extern unsigned char *emulated_shared;

#define DYNAMIC_SHARED(type, name) type *name = reinterpret_cast<type *>(emulated_shared)

/* Turns of a wait, each of which lets all other threads of the block run. */
enum { SPIN_LIMIT = 1 << 14 };

/* A stream, and where a launch stands in the source: that names the kernel in a message. */
struct emulated_place {
    cudaStream_t stream;
    const char *file, *function;
    int line;
    emulated_place(cudaStream_t stream_, const char *file_ = __builtin_FILE(),
                   const char *function_ = __builtin_FUNCTION(), int line_ = __builtin_LINE())
        : stream(stream_), file(file_), function(function_), line(line_)
    {
    }
};

struct emulated_launch {
    void (*run)(const struct emulated_launch *self);    /* what one thread does */
    void (*destroy)(struct emulated_launch *self);
    const void *kernel;
    dim3 grid, block;
    size_t shared_bytes;
    const char *file, *function;
    int line;
};

/* Takes *take, on failure too. */
cudaError_t emulated_launch_queue(struct emulated_launch *take, cudaStream_t stream);

template <class... P> struct emulated_call {
    struct emulated_launch head;    /* first: a pointer to it is one to the whole */
    void (*kernel)(P...);
    std::tuple<P...> values;
};

template <class... P> static void emulated_call_run(const struct emulated_launch *self)
{
    const struct emulated_call<P...> *call = (const struct emulated_call<P...> *)(const void *)self;

    std::apply(call->kernel, call->values);
}

template <class... P> static void emulated_call_destroy(struct emulated_launch *self)
{
    delete (struct emulated_call<P...> *)(void *)self;
}

template <class T> struct launch_parameter {
    typedef T type;
};

template <class... P>
static inline cudaError_t launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
                                 struct emulated_place place,
                                 typename launch_parameter<P>::type... args)
{
    struct emulated_call<P...> *call = new emulated_call<P...>{
        { emulated_call_run<P...>, emulated_call_destroy<P...>, (const void *)kernel, grid, block,
          shared_bytes, place.file, place.function, place.line },
        kernel,
        std::tuple<P...>(args...)
    };

    if (shared_bytes > 48 << 10)
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             (int)shared_bytes);
    return emulated_launch_queue(&call->head, place.stream);
}

#endif
