// What all kernels share: numbers and activations. bf16 in memory (`u16`), f32 in registers.
//
// Only the functions in `machine` differ when tools/kernels runs kernels on the processor, to test them where no
// GPU is.
#pragma once

typedef unsigned short u16;
typedef unsigned int u32;

#ifdef EMULATED
#include "machine.h"
#else

#define SHARED __shared__ __align__(16)

// Two f32 to bf16, rounded to nearest even; `low` in the low half.
static __device__ __forceinline__ u32 pack(float low, float high) {
  u32 pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

static __device__ __forceinline__ float as_float(u32 bits) { return __uint_as_float(bits); }

// 2^x to 2 ulp; what is below the normal numbers is 0.
static __device__ __forceinline__ float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

static __device__ __forceinline__ float shuffle_xor(float value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}

static __device__ __forceinline__ u32 shared_address(const void *at) {
  return static_cast<u32>(__cvta_generic_to_shared(at));
}

#endif

static __device__ __forceinline__ float low(u32 pair) { return as_float(pair << 16); }
static __device__ __forceinline__ float high(u32 pair) { return as_float(pair & 0xffff0000u); }

static __device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// The activations, numbered as `kind_of` in the Rust code beside this file numbers them.
template <int KIND> static __device__ __forceinline__ float activated(float x) {
  if (KIND == 0) return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
  if (KIND == 1) return x * sigmoid(1.5957691216057308f * x * (1.0f + 0.044715f * x * x));
  if (KIND == 2) return x * sigmoid(1.702f * x);
  if (KIND == 3) return x > 0.0f ? x : 0.0f;
  if (KIND == 4) return x * sigmoid(x);
  if (KIND == 5) return tanhf(x);
  return sigmoid(x);
}
