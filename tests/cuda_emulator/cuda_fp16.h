/* cuda_fp16 -- CUDA's half precision for the host: conversions round to nearest, ties to even, keep
 * subnormals, overflow to infinity; a NaN becomes 0x7fff. */
#ifndef TESTS_CUDA_EMULATOR_CUDA_FP16_H
#define TESTS_CUDA_EMULATOR_CUDA_FP16_H

#include <cuda_runtime.h>
#ifdef __F16C__
#include <immintrin.h>
#endif

static inline uint16_t emulated_half_bits(float v)
{
    uint32_t bits = __float_as_uint(v), magnitude = bits & 0x7fffffffu;
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);

    if (magnitude > 0x7f800000u)
        return 0x7fff;
#ifdef __F16C__
    (void)sign;
    return (uint16_t)_cvtss_sh(v, _MM_FROUND_TO_NEAREST_INT);
#else
    if (magnitude >= 0x477ff000u)               /* 65520: halfway beyond the largest */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u)                /* below 2^-14: units of 2^-24, exactly rounded */
        return (uint16_t)(sign | (uint16_t)rintf(__uint_as_float(magnitude) * 0x1p24f));
    magnitude += 0xfffu + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (magnitude - 0x38000000u) >> 13);
#endif
}

static inline float emulated_half_value(uint16_t bits)
{
#ifdef __F16C__
    return _cvtsh_ss(bits);
#else
    uint32_t sign = (uint32_t)(bits & 0x8000u) << 16, rest = bits & 0x7fffu;

    if (rest >= 0x7c00u)
        return __uint_as_float(sign | 0x7f800000u | (rest & 0x3ffu) << 13 |
                               (rest > 0x7c00u ? 0x400000u : 0));
    if (rest < 0x400u) {
        float v = (float)rest * 0x1p-24f;
        return sign ? -v : v;
    }
    return __uint_as_float(sign | ((rest << 13) + 0x38000000u));
#endif
}

struct __half {
    uint16_t bits;
    __half() = default;
    __half(float v) : bits(emulated_half_bits(v)) {}
    operator float() const { return emulated_half_value(bits); }
};
typedef __half half;
struct alignas(4) __half2 { __half x, y; };
typedef __half2 half2;

static inline __half __float2half_rn(float v) { return __half(v); }
static inline __half __float2half(float v) { return __half(v); }
static inline float __half2float(__half v) { return (float)v; }
static inline __half2 __floats2half2_rn(float low, float high) { return { low, high }; }
static inline __half2 __float22half2_rn(float2 v) { return { v.x, v.y }; }
static inline float2 __half22float2(__half2 v) { return { (float)v.x, (float)v.y }; }
static inline float __low2float(__half2 v) { return (float)v.x; }
static inline float __high2float(__half2 v) { return (float)v.y; }
static inline __half __low2half(__half2 v) { return v.x; }
static inline __half __high2half(__half2 v) { return v.y; }
static inline __half2 __halves2half2(__half low, __half high) { return { low, high }; }
static inline __half2 __half2half2(__half v) { return { v, v }; }
static inline unsigned short __half_as_ushort(__half v) { return v.bits; }
static inline __half __ushort_as_half(unsigned short bits)
{
    __half v;
    v.bits = bits;
    return v;
}

static inline bool __hisnan(__half v) { return (v.bits & 0x7fffu) > 0x7c00u; }
static inline bool __hisinf(__half v) { return (v.bits & 0x7fffu) == 0x7c00u; }
static inline __half __hneg(__half v) { return __ushort_as_half(v.bits ^ 0x8000u); }
static inline __half __habs(__half v) { return __ushort_as_half(v.bits & 0x7fffu); }
/* Of a number and a NaN the number. Sums and products of two halves are exact, or rounded once, in
 * float32, and a second rounding to 11 bits cannot show: 24 >= 2 * 11 + 2. */
static inline __half __hmax(__half a, __half b) { return __half(fmaxf((float)a, (float)b)); }
static inline __half __hmin(__half a, __half b) { return __half(fminf((float)a, (float)b)); }
static inline __half __hadd(__half a, __half b) { return __half((float)a + (float)b); }
static inline __half __hsub(__half a, __half b) { return __half((float)a - (float)b); }
static inline __half __hmul(__half a, __half b) { return __half((float)a * (float)b); }
static inline __half2 __hmax2(__half2 a, __half2 b) { return { __hmax(a.x, b.x), __hmax(a.y, b.y) }; }
static inline __half2 __hmin2(__half2 a, __half2 b) { return { __hmin(a.x, b.x), __hmin(a.y, b.y) }; }
static inline __half2 __hadd2(__half2 a, __half2 b) { return { __hadd(a.x, b.x), __hadd(a.y, b.y) }; }
static inline __half2 __hsub2(__half2 a, __half2 b) { return { __hsub(a.x, b.x), __hsub(a.y, b.y) }; }
static inline __half2 __hmul2(__half2 a, __half2 b) { return { __hmul(a.x, b.x), __hmul(a.y, b.y) }; }
/* One rounding: the sum is exact in double, and on its way through float32 it is rounded to odd, which
 * the rounding to 11 bits then sees as what it was. */
static inline __half __hfma(__half a, __half b, __half c)
{
    double sum = (double)((float)a * (float)b) + (double)(float)c;
    float v = (float)sum;

    if (isfinite(v) && (double)v != sum)
        v = __uint_as_float((__float_as_uint(v) - (fabs((double)v) > fabs(sum))) | 1u);
    return __half(v);
}
static inline __half2 __hfma2(__half2 a, __half2 b, __half2 c)
{
    return { __hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y) };
}

#endif
