/* simd -- versions of a hot function for several vector widths, and which of them this machine can
 * run. It changes no bit: each output element is a sum of its own in a fixed order, the lanes of a
 * vector are different elements, and products are added where the source says fmaf() and nowhere
 * else (-ffp-contract=off). A machine without fused multiply-add computes fmaf() in software: the
 * same bits, very slowly. */
#ifndef KERNELS_SIMD_H
#define KERNELS_SIMD_H

enum simd_level { SIMD_PLAIN, SIMD_AVX2, SIMD_AVX512, SIMD_LEVELS };

/* The best level that this machine has, and that simd_limit allows. */
enum simd_level simd_level(void);
/* For tests and figures: nothing above level is used from now on. Not while anything renders. */
void simd_limit(enum simd_level level);
/* "plain", "avx2", "avx512" */
const char *simd_word(enum simd_level level);

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer) ||                         \
    __has_feature(thread_sanitizer)
#define SIMD_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SIMD_SANITIZED 1
#endif

/* For the innermost loops: a sanitizer's look at each element makes them thirty times slower, and
 * with them every test that renders. What they touch is fixed by their shape; the tests of the
 * operations walk them over odd ones. */
#if defined(SIMD_SANITIZED)
#define SIMD_UNCHECKED __attribute__((no_sanitize("address", "undefined")))
#else
#define SIMD_UNCHECKED
#endif

/* A part of such a loop. Unchecked too: what a sanitizer marks on the stack for a function that is
 * inlined, the unchecked one around it would never clear. */
#define SIMD_INLINE SIMD_UNCHECKED static inline __attribute__((always_inline))

/* The loops themselves, in a function called <name>_any. */
#define SIMD_ANY SIMD_INLINE void

/* After <name>_any: makes static void name(params), which calls the best version of it.
 *     SIMD_ANY scale_any(float *x, float by, int count) { ... }
 *     SIMD_VERSIONS(scale, (float *x, float by, int count), (x, by, count)) */
#if defined(__x86_64__)
#define SIMD_TARGET_AVX2 __attribute__((target("avx2,fma")))
#if defined(__clang__)
#define SIMD_TARGET_AVX512 __attribute__((target("avx512f"), min_vector_width(512)))
#else
#define SIMD_TARGET_AVX512 __attribute__((target("avx512f,prefer-vector-width=512")))
#endif
#define SIMD_VERSIONS(name, params, args)                                                          \
    SIMD_TARGET_AVX512 SIMD_UNCHECKED static void name##_avx512 params { name##_any args; }        \
    SIMD_TARGET_AVX2 SIMD_UNCHECKED static void name##_avx2 params { name##_any args; }            \
    SIMD_UNCHECKED static void name##_plain params { name##_any args; }                            \
    static void name params                                                                        \
    {                                                                                              \
        switch (simd_level()) {                                                                    \
        case SIMD_AVX512: name##_avx512 args; break;                                               \
        case SIMD_AVX2: name##_avx2 args; break;                                                   \
        default: name##_plain args;                                                                \
        }                                                                                          \
    }
#else
#define SIMD_VERSIONS(name, params, args)                                                          \
    static void name params { name##_any args; }
#endif

#endif
