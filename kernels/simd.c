#include "kernels/simd.h"

#include <stdatomic.h>

static atomic_int limit = SIMD_LEVELS - 1;

static enum simd_level machine_level(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        return SIMD_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return SIMD_AVX2;
#endif
    return SIMD_PLAIN;
}

enum simd_level simd_level(void)
{
    enum simd_level machine = machine_level();
    int allowed = atomic_load_explicit(&limit, memory_order_relaxed);

    return (int)machine < allowed ? machine : (enum simd_level)allowed;
}

void simd_limit(enum simd_level level)
{
    atomic_store(&limit, level);
}

const char *simd_word(enum simd_level level)
{
    static const char *const WORDS[] = { "plain", "avx2", "avx512" };

    return WORDS[level];
}
