// What candle and cuBLAS have no single kernel for, in bf16: attention that keeps scores on the chip, layer
// norm, activations, patches of a picture, the first layer's sum. Compiled to PTX by build.rs; launched by
// the files beside this one, which check every size that is assumed here.

#include "common.cuh"

#ifndef EMULATED

// Four 8 x 8 matrices of bf16, rows of 16 bytes at the addresses that lanes 8 i .. 8 i + 7 give for matrix i.
static __device__ __forceinline__ void load_matrices(u32 (&to)[4], const u16 *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row)));
}

// The same, each matrix transposed.
static __device__ __forceinline__ void load_transposed(u32 (&to)[4], const u16 *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row)));
}

// d (16 x 8) += a (16 x 16) b (16 x 8).
static __device__ __forceinline__ void multiply(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
               "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// 16 bytes to shared memory, later; zeros when there is nothing to read.
static __device__ __forceinline__ void copy_later(u16 *to, const u16 *from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :: "r"(shared_address(to)), "l"(from), "r"(there ? 16 : 0));
}

static __device__ __forceinline__ void end_copies() { asm volatile("cp.async.commit_group;"); }

// Waits for all groups of copies but the last `N`.
template <int N> static __device__ __forceinline__ void await_copies() {
  asm volatile("cp.async.wait_group %0;" :: "n"(N) : "memory");
}

#endif

static __device__ __forceinline__ float sum_of_warp(float value) {
  for (int step = 16; step > 0; step /= 2) value += shuffle_xor(value, step);
  return value;
}

// softmax(scale q k^T + mask) v for one head of one pair and 64 queries; heads are 64 wide.
//
// Rows of q, k and v are `*_row` values apart, members of the batch `*_batch` (0 where one serves for all).
// `mask` may be null: [members, keys], added to the scores. `out`: [members, queries, heads x 64].
// Grid (queries / 64, heads, members), 128 threads: a warp has 16 queries, the block goes over the keys 64 at
// a time, the next ones on their way while these are worked on.
extern "C" __global__ void __launch_bounds__(128)
attention_64(const u16 *q, const u16 *k, const u16 *v, const float *mask, u16 *out, int queries, int keys,
             int q_row, long long q_batch, int k_row, long long k_batch, int v_row, long long v_batch,
             int mask_batch, float scale) {
  const int D = 64, TILE = 64, ROW = D + 8;  // rows of 144 bytes: eight of them lie in different banks
  const float LOG2_E = 1.4426950408889634f, LEAST = -1e30f;
  SHARED u16 k_tile[2][TILE][ROW];
  SHARED u16 v_tile[2][TILE][ROW];

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int head = blockIdx.y, member = blockIdx.z, heads = gridDim.y;
  // Where this lane's elements are in a 16 x 8 accumulator: rows `own` and `own + 8`, columns `pair`, `pair + 1`.
  const int first = blockIdx.x * 64 + warp * 16, own = lane / 4, pair = lane % 4 * 2;
  q += member * q_batch + head * D;
  k += member * k_batch + head * D;
  v += member * v_batch + head * D;
  if (mask) mask += (long long)member * mask_batch;

  u32 q_part[D / 16][4];
#pragma unroll
  for (int step = 0; step < D / 16; step++)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int row = first + own + i % 2 * 8, column = step * 16 + pair + i / 2 * 8;
      q_part[step][i] = row < queries ? *(const u32 *)(q + (long long)row * q_row + column) : 0;
    }

  float sums[D / 8][4] = {};
  float largest[2] = {-INFINITY, -INFINITY}, weight[2] = {0, 0};

  auto fetch = [&](int tile, int buffer) {
    for (int i = threadIdx.x; i < TILE * (D / 8); i += 128) {
      const int row = i / (D / 8), column = i % (D / 8) * 8, key = tile * TILE + row;
      const bool there = key < keys;
      const long long from = there ? key : 0;
      copy_later(&k_tile[buffer][row][column], k + from * k_row + column, there);
      copy_later(&v_tile[buffer][row][column], v + from * v_row + column, there);
    }
  };

  const int tiles = (keys + TILE - 1) / TILE;
  fetch(0, 0);
  end_copies();
  for (int tile = 0; tile < tiles; tile++) {
    const int buffer = tile % 2, left = keys - tile * TILE;
    if (tile + 1 < tiles) fetch(tile + 1, 1 - buffer);
    end_copies();
    await_copies<1>();
    __syncthreads();
    if (first < queries) {
      float scores[TILE / 8][4];
      float most[2] = {-INFINITY, -INFINITY};
#pragma unroll
      for (int n = 0; n < TILE / 8; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) scores[n][i] = 0;
        if (n * 8 >= left) continue;
#pragma unroll
        for (int half = 0; half < D / 32; half++) {
          u32 part[4];
          load_matrices(part, &k_tile[buffer][n * 8 + lane % 8][half * 32 + lane / 8 * 8]);
          multiply(scores[n], q_part[2 * half], part[0], part[1]);
          multiply(scores[n], q_part[2 * half + 1], part[2], part[3]);
        }
      }
#pragma unroll
      for (int n = 0; n < TILE / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int column = n * 8 + pair + i % 2;
          float score = -INFINITY;
          if (column < left) {
            score = scores[n][i] * (scale * LOG2_E);
            if (mask) score = fmaxf(score + mask[tile * TILE + column] * LOG2_E, LEAST);
          }
          scores[n][i] = score;
          most[i / 2] = fmaxf(most[i / 2], score);
        }
#pragma unroll
      for (int r = 0; r < 2; r++) {
        most[r] = fmaxf(most[r], shuffle_xor(most[r], 1));
        most[r] = fmaxf(most[r], shuffle_xor(most[r], 2));
        // A tile has at least one key, so this is finite.
        most[r] = fmaxf(most[r], largest[r]);
        const float shrink = power_of_two(largest[r] - most[r]);
        largest[r] = most[r];
        weight[r] *= shrink;
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
          sums[n][2 * r] *= shrink;
          sums[n][2 * r + 1] *= shrink;
        }
      }
#pragma unroll
      for (int n = 0; n < TILE / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
          scores[n][i] = power_of_two(scores[n][i] - largest[i / 2]);
          weight[i / 2] += scores[n][i];
        }
#pragma unroll
      for (int step = 0; step < TILE / 16; step++) {
        if (step * 16 >= left) continue;
        const float(&a)[4] = scores[2 * step], (&b)[4] = scores[2 * step + 1];
        const u32 p_part[4] = {pack(a[0], a[1]), pack(a[2], a[3]), pack(b[0], b[1]), pack(b[2], b[3])};
#pragma unroll
        for (int n = 0; n < D / 16; n++) {
          u32 part[4];
          load_transposed(part, &v_tile[buffer][step * 16 + lane % 16][n * 16 + lane / 16 * 8]);
          multiply(sums[2 * n], p_part, part[0], part[1]);
          multiply(sums[2 * n + 1], p_part, part[2], part[3]);
        }
      }
    }
    __syncthreads();
  }

  if (first >= queries) return;
#pragma unroll
  for (int r = 0; r < 2; r++) {
    weight[r] += shuffle_xor(weight[r], 1);
    weight[r] += shuffle_xor(weight[r], 2);
    const int row = first + own + r * 8;
    if (row >= queries) continue;
    const float share = 1.0f / weight[r];
    u16 *to = out + ((long long)member * queries + row) * (heads * D) + head * D + pair;
#pragma unroll
    for (int n = 0; n < D / 8; n++)
      *(u32 *)(to + n * 8) = pack(sums[n][2 * r] * share, sums[n][2 * r + 1] * share);
  }
}

// (x - mean) / sqrt(variance + eps) * weight + bias; a warp a row, 128 threads a block, `width` a multiple of
// 8 and at most 2048.
extern "C" __global__ void __launch_bounds__(128)
layer_norm(const u16 *x, const u16 *weight, const u16 *bias, u16 *y, int rows, int width, float eps) {
  const int MOST = 8;
  const int lane = threadIdx.x % 32, row = blockIdx.x * 4 + threadIdx.x / 32;
  if (row >= rows) return;
  x += (long long)row * width;
  y += (long long)row * width;
  uint4 values[MOST];
  float sum = 0;
#pragma unroll
  for (int step = 0; step < MOST; step++) {
    const int at = (step * 32 + lane) * 8;
    values[step] = at < width ? *(const uint4 *)(x + at) : make_uint4(0, 0, 0, 0);
    const u32 pairs[4] = {values[step].x, values[step].y, values[step].z, values[step].w};
#pragma unroll
    for (int i = 0; i < 4; i++) sum += low(pairs[i]) + high(pairs[i]);
  }
  const float mean = sum_of_warp(sum) / width;
  float squares = 0;
#pragma unroll
  for (int step = 0; step < MOST; step++) {
    if ((step * 32 + lane) * 8 >= width) continue;
    const u32 pairs[4] = {values[step].x, values[step].y, values[step].z, values[step].w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const float a = low(pairs[i]) - mean, b = high(pairs[i]) - mean;
      squares += a * a + b * b;
    }
  }
  const float scale = 1.0f / sqrtf(sum_of_warp(squares) / width + eps);
#pragma unroll
  for (int step = 0; step < MOST; step++) {
    const int at = (step * 32 + lane) * 8;
    if (at >= width) continue;
    const uint4 w = *(const uint4 *)(weight + at), b = *(const uint4 *)(bias + at);
    const u32 pairs[4] = {values[step].x, values[step].y, values[step].z, values[step].w};
    const u32 ws[4] = {w.x, w.y, w.z, w.w}, bs[4] = {b.x, b.y, b.z, b.w};
    u32 to[4];
#pragma unroll
    for (int i = 0; i < 4; i++)
      to[i] = pack((low(pairs[i]) - mean) * scale * low(ws[i]) + low(bs[i]),
                   (high(pairs[i]) - mean) * scale * high(ws[i]) + high(bs[i]));
    *(uint4 *)(y + at) = make_uint4(to[0], to[1], to[2], to[3]);
  }
}

template <int KIND> static __device__ __forceinline__ void activate_all(uint4 *x, long long eights) {
  const long long stride = (long long)gridDim.x * blockDim.x;
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < eights; i += stride) {
    const uint4 value = x[i];
    u32 pairs[4] = {value.x, value.y, value.z, value.w};
#pragma unroll
    for (int j = 0; j < 4; j++)
      pairs[j] = pack(activated<KIND>(low(pairs[j])), activated<KIND>(high(pairs[j])));
    x[i] = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
  }
}

// In place, on 8 x `eights` values.
extern "C" __global__ void __launch_bounds__(256) activate(uint4 *x, long long eights, int kind) {
  switch (kind) {
    case 0: return activate_all<0>(x, eights);
    case 1: return activate_all<1>(x, eights);
    case 2: return activate_all<2>(x, eights);
    case 3: return activate_all<3>(x, eights);
    case 4: return activate_all<4>(x, eights);
    case 5: return activate_all<5>(x, eights);
    default: return activate_all<6>(x, eights);
  }
}

// Pictures [members, 3, side, side] in f32 to rows of patches [members, grid x grid, 3 x patch x patch]; what
// is left over at the right and at the bottom is not looked at. A thread a pair of values: `patch` is even.
extern "C" __global__ void __launch_bounds__(256)
patches(const float *pixels, u16 *rows, int side, int grid, int patch, long long pairs) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= pairs) return;
  const int half = patch / 2;
  long long rest = i;
  const int x = rest % half * 2; rest /= half;
  const int y = rest % patch; rest /= patch;
  const int channel = rest % 3; rest /= 3;
  const int column = rest % grid; rest /= grid;
  const int row = rest % grid; rest /= grid;
  const float *from =
      pixels + ((rest * 3 + channel) * side + row * patch + y) * side + column * patch + x;
  ((u32 *)rows)[i] = pack(from[0], from[1]);
}

// The first layer's rows [members, tokens, width]: the class token, then each patch's projection
// [members, tokens - 1, width] and its position [tokens - 1, width]. `eights`: width / 8.
extern "C" __global__ void __launch_bounds__(256)
first_rows(const uint4 *class_token, const uint4 *projected, const uint4 *positions, uint4 *x, int tokens,
           int eights, long long all) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= all) return;
  const int column = i % eights;
  const long long row = i / eights, member = row / tokens;
  const int token = row % tokens;
  if (token == 0) {
    x[i] = class_token[column];
    return;
  }
  const uint4 a = projected[(member * (tokens - 1) + token - 1) * eights + column];
  const uint4 b = positions[(long long)(token - 1) * eights + column];
  const u32 as[4] = {a.x, a.y, a.z, a.w}, bs[4] = {b.x, b.y, b.z, b.w};
  u32 to[4];
#pragma unroll
  for (int j = 0; j < 4; j++) to[j] = pack(low(as[j]) + low(bs[j]), high(as[j]) + high(bs[j]));
  x[i] = make_uint4(to[0], to[1], to[2], to[3]);
}
