/* simd -- lets the compiler make several versions of a hot function, for wider vectors, and the
 * loader choose. It changes no bit: each output element is a sum of its own in a fixed order, the
 * lanes of a vector are different elements, and nothing is contracted (-ffp-contract=off). */
#ifndef KERNELS_SIMD_H
#define KERNELS_SIMD_H

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer) ||                         \
    __has_feature(thread_sanitizer)
#define SIMD_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SIMD_SANITIZED 1
#endif

/* The loader's choice runs before a sanitizer is ready, and clang 14 has no such clones in C. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__) &&   \
    !defined(SIMD_SANITIZED)
#define SIMD_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define SIMD_CLONES
#endif

/* For the innermost loops of a convolution: a sanitizer's look at each element makes them thirty
 * times slower, and with them every test that renders. What they touch is fixed by their shape;
 * tests/test_conv.c walks them over odd ones. */
#if defined(SIMD_SANITIZED)
#define SIMD_UNCHECKED __attribute__((no_sanitize("address", "undefined")))
#else
#define SIMD_UNCHECKED
#endif

#endif
