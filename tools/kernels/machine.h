// A GPU's block of threads on the processor, as far as crates/bt-model/src/ops/cuda/kernels.cu needs one: each
// thread a fiber, run in turn; what a warp does together (shuffles, matrices) and barriers wait for all.
//
// Shared memory is poisoned before each block, and asynchronous copies happen as late as they may, so that
// reading too early, or what nobody wrote, shows. It does not find races between two barriers.
#pragma once
#include <ucontext.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define SHARED alignas(16) static

struct uint4 { u32 x, y, z, w; };
inline uint4 make_uint4(u32 x, u32 y, u32 z, u32 w) { return {x, y, z, w}; }
struct Index { unsigned x = 0, y = 0, z = 0; };
inline Index threadIdx, blockIdx, blockDim, gridDim;

namespace machine {
struct Copy { u16 *to; const u16 *from; bool there; };
struct Thread {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(256 << 10);
  bool done = false;
  std::vector<std::vector<Copy>> groups = {{}};
  unsigned warp_round = 0;
};
struct Exchange {  // one for each warp: what its lanes lay down for each other
  unsigned arrived = 0, round = 0;
  alignas(16) unsigned char slots[2][32][64];
};
inline std::vector<std::unique_ptr<Thread>> threads;
inline std::vector<Exchange> warps;
inline ucontext_t scheduler;
inline unsigned current, barrier_arrived, barrier_round;

inline Thread &self() { return *threads[current]; }
inline unsigned lane() { return current % 32; }
inline void yield() { swapcontext(&self().context, &scheduler); }

// Lays `mine` down and returns all lanes' values once every lane has.
template <class T> const T *exchange(const T &mine) {
  static_assert(sizeof(T) <= 64);
  Exchange &warp = warps[current / 32];
  const unsigned round = self().warp_round++;
  auto *slots = warp.slots[round % 2];
  memcpy(slots[lane()], &mine, sizeof(T));
  if (++warp.arrived == 32) {
    warp.arrived = 0;
    warp.round++;
  }
  while (warp.round <= round) yield();
  thread_local static T all[32];
  for (int i = 0; i < 32; i++) memcpy(&all[i], slots[i], sizeof(T));
  return all;
}

// Runs a block after the other; `threads_in_block` is a multiple of 32.
inline void launch(Index grid, unsigned threads_in_block, const std::function<void()> &kernel) {
  static std::function<void()> body;
  body = kernel;
  gridDim = grid;
  blockDim = {threads_in_block, 1, 1};
  for (blockIdx.z = 0; blockIdx.z < grid.z; blockIdx.z++)
    for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
      for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) {
        threads.clear();
        warps.assign(threads_in_block / 32, Exchange());
        barrier_arrived = barrier_round = 0;
        for (unsigned i = 0; i < threads_in_block; i++) {
          threads.push_back(std::make_unique<Thread>());
          Thread &thread = *threads.back();
          getcontext(&thread.context);
          thread.context.uc_stack.ss_sp = thread.stack.data();
          thread.context.uc_stack.ss_size = thread.stack.size();
          thread.context.uc_link = &scheduler;
          makecontext(&thread.context, +[] { body(); self().done = true; }, 0);
        }
        unsigned idle = 0;
        for (bool all_done = false; !all_done;) {
          all_done = true;
          for (current = 0; current < threads_in_block; current++) {
            if (self().done) continue;
            all_done = false;
            threadIdx = {current, 0, 0};
            swapcontext(&scheduler, &self().context);
          }
          if (++idle > 100000) {
            fprintf(stderr, "the threads of a block wait for each other for ever\n");
            exit(1);
          }
        }
      }
}

inline float bf16(u16 bits) {
  u32 wide = (u32)bits << 16;
  float value;
  memcpy(&value, &wide, 4);
  return value;
}
inline u16 bf16(float value) {
  u32 bits;
  memcpy(&bits, &value, 4);
  if (value != value) return 0x7fff;
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
}  // namespace machine

inline void __syncthreads() {
  using namespace machine;
  const unsigned round = barrier_round;
  if (++barrier_arrived == blockDim.x) {
    barrier_arrived = 0;
    barrier_round++;
  }
  while (barrier_round == round) yield();
}

inline u32 pack(float low, float high) {
  return (u32)machine::bf16(low) | (u32)machine::bf16(high) << 16;
}
inline float as_float(u32 bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
inline float power_of_two(float x) { return exp2f(x); }
inline float shuffle_xor(float value, int mask) {
  return machine::exchange(value)[machine::lane() ^ mask];
}

inline void load_matrices(u32 (&to)[4], const u16 *row) {
  const u16 *const *rows = machine::exchange(row);
  const int lane = machine::lane();
  for (int i = 0; i < 4; i++) memcpy(&to[i], rows[8 * i + lane / 4] + lane % 4 * 2, 4);
}
inline void load_transposed(u32 (&to)[4], const u16 *row) {
  const u16 *const *rows = machine::exchange(row);
  const int lane = machine::lane();
  for (int i = 0; i < 4; i++)
    to[i] = rows[8 * i + lane % 4 * 2][lane / 4] | (u32)rows[8 * i + lane % 4 * 2 + 1][lane / 4] << 16;
}

// The layout of the operands is that of PTX's mma.m16n8k16 for .bf16.
inline void multiply(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  struct Parts { u32 a[4], b[2]; };
  const Parts *all = machine::exchange(Parts{{a[0], a[1], a[2], a[3]}, {b0, b1}});
  const int lane = machine::lane();
  auto half = [](u32 pair, int i) { return machine::bf16((u16)(i ? pair >> 16 : pair)); };
  for (int i = 0; i < 4; i++) {
    const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 16; k++) {
      const Parts &of_a = all[row % 8 * 4 + k % 8 / 2], &of_b = all[column * 4 + k % 8 / 2];
      d[i] += half(of_a.a[row / 8 + k / 8 * 2], k % 2) * half(of_b.b[k / 8], k % 2);
    }
  }
}

inline void copy_later(u16 *to, const u16 *from, bool there) {
  if ((size_t)to % 16 || (size_t)from % 16) {
    fprintf(stderr, "a copy of 16 bytes is not aligned\n");
    exit(1);
  }
  machine::self().groups.back().push_back({to, from, there});
}
inline void end_copies() { machine::self().groups.emplace_back(); }
template <int N> void await_copies() {
  auto &groups = machine::self().groups;
  while (groups.size() > N + 1) {
    for (const auto &copy : groups.front()) {
      if (copy.there) memcpy(copy.to, copy.from, 16);
      else memset(copy.to, 0, 16);
    }
    groups.erase(groups.begin());
  }
}
