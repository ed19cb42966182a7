// What Hopper's own instructions do twice as fast: products with a bias and an activation, and attention of many
// queries over many keys. Compiled to PTX for sm_90a alone by build.rs; launched by hopper.rs, which checks every
// size that is assumed here and falls back to `kernels.cu` and cuBLASLt.
//
// Matrices come by the tensor memory accelerator as rows of 64 values, swizzled; warpgroups (128 threads) multiply
// them where they lie. Nothing here runs on the processor, so the tests are hopper.rs's, on a GPU.

#include "common.cuh"

typedef unsigned long long u64;

// A matrix in memory as the accelerator sees it; made by cuTensorMapEncodeTiled.
struct __align__(64) TensorMap { u64 opaque[16]; };

extern __shared__ char memory[];

// Barriers count arrivals and bytes; `parity` is that of the round which is awaited.

static __device__ __forceinline__ void barrier_init(u32 barrier, u32 arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"(barrier), "r"(arrivals) : "memory");
}

static __device__ __forceinline__ void barriers_are_there() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// Arrives, and has the round wait for so many bytes.
static __device__ __forceinline__ void barrier_expect(u32 barrier, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(barrier), "r"(bytes) : "memory");
}

// Arrives at the barrier in block `rank` of the cluster. It guards what warpgroups have read, so no store has to be
// waited for: a release of the whole cluster here costs a fifth of the kernel's speed.
static __device__ __forceinline__ void barrier_arrive(u32 barrier, u32 rank) {
  asm volatile("{\n.reg .b32 remote;\n"
               "mapa.shared::cluster.u32 remote, %0, %1;\n"
               "mbarrier.arrive.shared::cluster.b64 _, [remote];\n}"
               :: "r"(barrier), "r"(rank) : "memory");
}

static __device__ __forceinline__ void barrier_wait(u32 barrier, u32 parity) {
  asm volatile("{\n.reg .pred done;\n"
               "again:\n"
               "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
               "@!done bra again;\n}"
               :: "r"(barrier), "r"(parity) : "memory");
}

static __device__ __forceinline__ u32 rank_in_cluster() {
  u32 rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

static __device__ __forceinline__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

static __device__ __forceinline__ void load(u32 to, const TensorMap *map, u32 barrier, int column, int row) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
               "[%0], [%1, {%3, %4}], [%2];"
               :: "r"(to), "l"(map), "r"(barrier), "r"(column), "r"(row) : "memory");
}

// To the same place in both blocks of a cluster.
static __device__ __forceinline__ void load_for_both(u32 to, const TensorMap *map, u32 barrier, int column, int row) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
               "[%0], [%1, {%4, %5}], [%2], %3;"
               :: "r"(to), "l"(map), "r"(barrier), "h"((u16)3), "r"(column), "r"(row) : "memory");
}

static __device__ __forceinline__ void load(u32 to, const TensorMap *map, u32 barrier, int column, int row, int member) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
               "[%0], [%1, {%3, %4, %5}], [%2];"
               :: "r"(to), "l"(map), "r"(barrier), "r"(column), "r"(row), "r"(member) : "memory");
}

// How warpgroups find a matrix of rows of 128 bytes: eight rows an atom, atoms of 1,024 bytes, swizzled.
static __device__ __forceinline__ u64 matrix(u32 address) {
  return (u64)((address & 0x3ffff) >> 4) | (u64)1 << 16 | (u64)64 << 32 | (u64)1 << 62;
}

static __device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
static __device__ __forceinline__ void end_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Waits for all groups of products but the last `N`.
template <int N> static __device__ __forceinline__ void await_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(N) : "memory");
}

#define EIGHT(x, i) \
  "+f"(x[i]), "+f"(x[i + 1]), "+f"(x[i + 2]), "+f"(x[i + 3]), "+f"(x[i + 4]), "+f"(x[i + 5]), "+f"(x[i + 6]), "+f"(x[i + 7])
#define FIRST_32 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define FIRST_56 FIRST_32 \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55"
#define FIRST_128 FIRST_56 \
  ", %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, " \
  "%72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, " \
  "%88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, " \
  "%104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, " \
  "%120, %121, %122, %123, %124, %125, %126, %127"

// d (64 x 256) = a (64 x 16) b (16 x 256) + (more ? d : 0). A lane's d[4 n ..]: rows `lane / 4` (two values) and 8
// below (two), columns 8 n + lane % 4 * 2; a warp has 16 of the rows.
static __device__ __forceinline__ void multiply(float (&d)[128], u64 a, u64 b, bool more) {
  asm volatile("{\n.reg .pred more;\nsetp.ne.b32 more, %130, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {" FIRST_128 "}, %128, %129, more, 1, 1, 0, 0;\n}"
               : EIGHT(d, 0), EIGHT(d, 8), EIGHT(d, 16), EIGHT(d, 24), EIGHT(d, 32), EIGHT(d, 40), EIGHT(d, 48),
                 EIGHT(d, 56), EIGHT(d, 64), EIGHT(d, 72), EIGHT(d, 80), EIGHT(d, 88), EIGHT(d, 96), EIGHT(d, 104),
                 EIGHT(d, 112), EIGHT(d, 120)
               : "l"(a), "l"(b), "r"((int)more));
}

// The same of 64 x 112.
static __device__ __forceinline__ void multiply(float (&d)[56], u64 a, u64 b, bool more) {
  asm volatile("{\n.reg .pred more;\nsetp.ne.b32 more, %58, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n112k16.f32.bf16.bf16 {" FIRST_56 "}, %56, %57, more, 1, 1, 0, 0;\n}"
               : EIGHT(d, 0), EIGHT(d, 8), EIGHT(d, 16), EIGHT(d, 24), EIGHT(d, 32), EIGHT(d, 40), EIGHT(d, 48)
               : "l"(a), "l"(b), "r"((int)more));
}

// d (64 x 64) += a (64 x 16, in registers) b (16 x 64, its rows contiguous).
static __device__ __forceinline__ void multiply(float (&d)[32], const u32 *a, u64 b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" FIRST_32 "}, {%32, %33, %34, %35}, %36, 1, 1, 1, 1;"
               : EIGHT(d, 0), EIGHT(d, 8), EIGHT(d, 16), EIGHT(d, 24)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

// Four lanes side by side hold two columns each of four lots of eight: afterwards lane i has lot i.
static __device__ __forceinline__ uint4 lot_a_lane(u32 (&pairs)[4]) {
#pragma unroll
  for (int bit = 1; bit < 4; bit *= 2)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (i & bit) continue;
      const bool upper = threadIdx.x & bit;
      const u32 got = __shfl_xor_sync(0xffffffffu, upper ? pairs[i] : pairs[i | bit], bit);
      if (upper) pairs[i] = got; else pairs[i | bit] = got;
    }
  return make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

// As `activated`, but for the sigmoid, which is a tangent here: one instruction of the unit for such functions
// instead of two, 2^-11 off, where a result is rounded to 2^-9.
template <int KIND> static __device__ __forceinline__ float activated_fast(float x) {
  if (KIND != 2) return activated<KIND>(x);
  float tangent;
  asm("tanh.approx.f32 %0, %1;" : "=f"(tangent) : "f"(0.851f * x));
  const float half = 0.5f * x;
  return half + half * tangent;
}

const int TILE_ROWS = 128, TILE_COLUMNS = 256, STEP = 64, STAGES = 4;
const int X_BYTES = TILE_ROWS * STEP * 2, W_BYTES = TILE_COLUMNS * STEP * 2, STAGE_BYTES = X_BYTES + W_BYTES;

// y = activation(x W^T + b). `x`: [rows, 64 steps] in boxes of 128 rows; `w`: [outputs, 64 steps] in boxes of 128;
// `outputs` a multiple of 256. Clusters of two blocks of 384 threads and STAGES * STAGE_BYTES + 1024 bytes; as many
// clusters as there is room for, each taking tile after tile.
//
// Both blocks of a cluster work on the same columns of the result, so each brings half of the weights for both. One
// warpgroup brings, two multiply 64 rows each; while they finish a tile, the next one's operands are on their way.
template <int KIND> static __device__ __forceinline__ void
product(const TensorMap &x, const TensorMap &w, const u16 *bias, u16 *y, int rows, int outputs, int steps) {
  __shared__ __align__(8) u64 barriers[2 * STAGES];
  const u32 tiles = (shared_address(memory) + 1023) & ~1023u;
  const u32 full = shared_address(barriers), empty = full + 8 * STAGES;
  const u32 rank = rank_in_cluster();
  const int group = threadIdx.x / 128;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < STAGES; stage++) {
      barrier_init(full + 8 * stage, 1);
      barrier_init(empty + 8 * stage, 4);  // two warpgroups of each block
    }
    barriers_are_there();
  }
  cluster_sync();

  const int across = outputs / TILE_COLUMNS, all = across * ((rows + 2 * TILE_ROWS - 1) / (2 * TILE_ROWS));
  const int first = blockIdx.x / 2, clusters = gridDim.x / 2;
  int stage = 0;
  if (group == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    u32 parity = 1;
    for (int tile = threadIdx.x == 0 ? first : all; tile < all; tile += clusters) {
      const int row = (tile / across * 2 + rank) * TILE_ROWS;
      const int column = tile % across * TILE_COLUMNS + rank * (TILE_COLUMNS / 2);
      for (int step = 0; step < steps; step++) {
        barrier_wait(empty + 8 * stage, parity);
        barrier_expect(full + 8 * stage, STAGE_BYTES);
        const u32 to = tiles + stage * STAGE_BYTES;
        load(to, &x, full + 8 * stage, step * STEP, row);
        load_for_both(to + X_BYTES + rank * (W_BYTES / 2), &w, full + 8 * stage, step * STEP, column);
        if (++stage == STAGES) { stage = 0; parity ^= 1; }
      }
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    const int own = group - 1, thread = threadIdx.x % 128, lane = thread % 32, warp = thread / 32;
    float d[128];
    u32 parity = 0;
    for (int tile = first; tile < all; tile += clusters) {
      int before = -1;
      for (int step = 0; step < steps; step++) {
        barrier_wait(full + 8 * stage, parity);
        const u32 at = tiles + stage * STAGE_BYTES;
        const u64 a = matrix(at + own * (X_BYTES / 2)), b = matrix(at + X_BYTES);
        begin_products();
#pragma unroll
        for (int k = 0; k < STEP / 16; k++) multiply(d, a + 2 * k, b + 2 * k, step > 0 || k > 0);
        end_products();
        await_products<1>();
        if (before >= 0 && thread < 2) barrier_arrive(empty + 8 * before, thread);
        before = stage;
        if (++stage == STAGES) { stage = 0; parity ^= 1; }
      }
      await_products<0>();
      if (thread < 2) barrier_arrive(empty + 8 * before, thread);

      const int row = (tile / across * 2 + rank) * TILE_ROWS + own * 64 + warp * 16 + lane / 4;
      const int column = tile % across * TILE_COLUMNS, quarter = lane % 4;
#pragma unroll
      for (int n = 0; n < 32; n += 4) {
        u32 pairs[2][4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const u32 b = __ldg((const u32 *)(bias + column + (n + i) * 8 + quarter * 2));
          const float *of = &d[(n + i) * 4];
#pragma unroll
          for (int r = 0; r < 2; r++)
            pairs[r][i] = pack(activated_fast<KIND>(of[2 * r] + low(b)), activated_fast<KIND>(of[2 * r + 1] + high(b)));
        }
#pragma unroll
        for (int r = 0; r < 2; r++) {
          const uint4 lot = lot_a_lane(pairs[r]);
          if (row + 8 * r < rows)
            *(uint4 *)(y + (long long)(row + 8 * r) * outputs + column + (n + quarter) * 8) = lot;
        }
      }
    }
  }
  // The other block may still write here, and be told what was read there.
  cluster_sync();
}

extern "C" __global__ void __launch_bounds__(384, 1) __cluster_dims__(2, 1, 1)
product_gelu(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w, const u16 *bias, u16 *y,
             int rows, int outputs, int steps) {
  product<0>(x, w, bias, y, rows, outputs, steps);
}

extern "C" __global__ void __launch_bounds__(384, 1) __cluster_dims__(2, 1, 1)
product_quick_gelu(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w, const u16 *bias, u16 *y,
                   int rows, int outputs, int steps) {
  product<2>(x, w, bias, y, rows, outputs, steps);
}

const int HEAD = 64, QUERIES = 64, KEYS = 112, MOST_TILES = 7, MOST_GROUPS = 4;

// softmax(scale q k^T) v for one head of one member; heads are 64 wide. `q`, `k`, `v`: [members, tokens, heads x 64]
// in boxes of 64 columns and QUERIES or KEYS rows. `out`: [members, queries, heads x 64].
//
// Grid (heads, members); each 128 threads take 64 queries, and the next ones when those are done. All keys and
// values stay in shared memory: tiles * KEYS * 256 + groups * QUERIES * 128 + 1024 bytes, at most MOST_TILES tiles
// and MOST_GROUPS groups.
extern "C" __global__ void __launch_bounds__(128 * MOST_GROUPS, 1)
attention_many(const __grid_constant__ TensorMap q, const __grid_constant__ TensorMap k,
               const __grid_constant__ TensorMap v, u16 *out, int queries, int keys, float scale) {
  __shared__ __align__(8) u64 barriers[MOST_TILES + MOST_GROUPS];
  const int heads = gridDim.x, head = blockIdx.x, member = blockIdx.y;
  const int group = threadIdx.x / 128, groups = blockDim.x / 128;
  const int thread = threadIdx.x % 128, lane = thread % 32, warp = thread / 32, quarter = lane % 4;
  const int tiles = (keys + KEYS - 1) / KEYS, tile_bytes = KEYS * HEAD * 2;
  const u32 k_at = (shared_address(memory) + 1023) & ~1023u, v_at = k_at + tiles * tile_bytes;
  const u32 q_at = v_at + tiles * tile_bytes + group * QUERIES * HEAD * 2;
  const u32 there = shared_address(barriers), q_there = there + 8 * (MOST_TILES + group);
  if (threadIdx.x == 0) {
    for (int i = 0; i < MOST_TILES + MOST_GROUPS; i++) barrier_init(there + 8 * i, 1);
    barriers_are_there();
  }
  __syncthreads();
  auto fetch = [&](int block) {
    barrier_expect(q_there, QUERIES * HEAD * 2);
    load(q_at, &q, q_there, head * HEAD, block * QUERIES, member);
  };
  const int blocks = (queries + QUERIES - 1) / QUERIES;
  if (thread == 0 && group < blocks) fetch(group);
  if (threadIdx.x == 0)
    for (int tile = 0; tile < tiles; tile++) {
      barrier_expect(there + 8 * tile, 2 * tile_bytes);
      load(k_at + tile * tile_bytes, &k, there + 8 * tile, head * HEAD, tile * KEYS, member);
      load(v_at + tile * tile_bytes, &v, there + 8 * tile, head * HEAD, tile * KEYS, member);
    }

  const float by = scale * 1.4426950408889634f;  // log2 e
  u32 parity = 0;
  for (int block = group; block < blocks; block += groups) {
    float sums[HEAD / 2] = {}, largest[2] = {-INFINITY, -INFINITY}, weight[2] = {0, 0};
    barrier_wait(q_there, parity);
    parity ^= 1;
    for (int tile = 0; tile < tiles; tile++) {
      float scores[KEYS / 2];
      barrier_wait(there + 8 * tile, 0);
      begin_products();
#pragma unroll
      for (int i = 0; i < HEAD / 16; i++)
        multiply(scores, matrix(q_at) + 2 * i, matrix(k_at + tile * tile_bytes) + 2 * i, i > 0);
      end_products();
      await_products<0>();
      if (tile == tiles - 1) {
        // All of the warpgroup has read these queries: the next ones may come.
        asm volatile("bar.sync %0, 128;" :: "r"(group + 1) : "memory");
        if (thread == 0 && block + groups < blocks) fetch(block + groups);
        const int left = keys - tile * KEYS;
#pragma unroll
        for (int i = 0; i < KEYS / 2; i++)
          if (i / 4 * 8 + quarter * 2 + i % 2 >= left) scores[i] = -INFINITY;
      }
#pragma unroll
      for (int r = 0; r < 2; r++) {
        float most = largest[r];
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
          most = fmaxf(most, fmaxf(scores[4 * n + 2 * r], scores[4 * n + 2 * r + 1]));
        most = fmaxf(most, shuffle_xor(most, 1));
        most = fmaxf(most, shuffle_xor(most, 2));
        // A tile has at least one key, so this is finite.
        const float shrink = power_of_two((largest[r] - most) * by), base = most * by;
        largest[r] = most;
        weight[r] *= shrink;
#pragma unroll
        for (int n = 0; n < HEAD / 8; n++) {
          sums[4 * n + 2 * r] *= shrink;
          sums[4 * n + 2 * r + 1] *= shrink;
        }
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
          for (int i = 4 * n + 2 * r; i < 4 * n + 2 * r + 2; i++) {
            scores[i] = power_of_two(scores[i] * by - base);
            weight[r] += scores[i];
          }
      }
      u32 shares[KEYS / 4];
#pragma unroll
      for (int i = 0; i < KEYS / 4; i++) shares[i] = pack(scores[2 * i], scores[2 * i + 1]);
      begin_products();
#pragma unroll
      for (int i = 0; i < KEYS / 16; i++)
        multiply(sums, &shares[4 * i], matrix(v_at + tile * tile_bytes + i * 16 * HEAD * 2));
      end_products();
      await_products<0>();
    }

    const int row = block * QUERIES + warp * 16 + lane / 4;
#pragma unroll
    for (int r = 0; r < 2; r++) {
      weight[r] += shuffle_xor(weight[r], 1);
      weight[r] += shuffle_xor(weight[r], 2);
      const float share = 1.0f / weight[r];
#pragma unroll
      for (int n = 0; n < HEAD / 8; n += 4) {
        u32 pairs[4];
#pragma unroll
        for (int i = 0; i < 4; i++)
          pairs[i] = pack(sums[4 * (n + i) + 2 * r] * share, sums[4 * (n + i) + 2 * r + 1] * share);
        const uint4 lot = lot_a_lane(pairs);
        if (row + 8 * r < queries)
          *(uint4 *)(out + ((long long)member * queries + row + 8 * r) * (heads * HEAD) + head * HEAD + (n + quarter) * 8) =
              lot;
      }
    }
  }
}
