// The kernels for Hopper alone, each against a plain loop and timed beside what does the same without it:
//
//     nvcc -std=c++17 -O3 -gencode arch=compute_90a,code=sm_90a benches/gpu/kernels.cu -o /tmp/kernels -lcublas && /tmp/kernels
//
// Lines are NAME<tab>VALUE<tab>UNIT, as main.rs prints them. Exit status 1 when a result is wrong.
#include "../../crates/bt-model/src/ops/cuda/hopper.cu"
#include "../../crates/bt-model/src/ops/cuda/kernels.cu"

#include <cublas_v2.h>
#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

static int failed = 0;

template <class Code> static void check(Code code, const char *what) {
  if (!code) return;
  fprintf(stderr, "%s: error %d\n", what, (int)code);
  exit(1);
}
#define CHECK(call) check(call, #call)

template <class T> static T *fresh(size_t count) {
  T *at;
  CHECK(cudaMalloc(&at, count * sizeof(T)));
  CHECK(cudaMemset(at, 0xff, count * sizeof(T)));  // no numbers, to see what nobody wrote
  return at;
}

__global__ void fill(u16 *x, size_t count, float scale, u32 seed) {
  const size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;
  if (i >= count) return;
  u32 hash = (u32)i * 2654435761u ^ seed;
  hash = (hash ^ hash >> 16) * 0x85ebca6b;
  hash = (hash ^ hash >> 13) * 0xc2b2ae35;
  x[i] = pack(((hash ^ hash >> 16) / 4294967296.0f - 0.5f) * scale, 0);
}

static u16 *random_values(size_t count, float scale, u32 seed) {
  u16 *x = fresh<u16>(count);
  fill<<<(count + 255) / 256, 256>>>(x, count, scale, seed);
  return x;
}

__device__ float number(u16 bits) { return low(bits); }
__device__ void worst_of(float *worst, float off) {
  atomicMax((int *)worst, __float_as_int(off == off ? off : INFINITY));
}

// Every `apart`th row; errors relative to results, or to a twentieth where those are small.
__global__ void check_product(const u16 *x, const u16 *w, const u16 *bias, const u16 *y, int rows, int outputs,
                              int inputs, int apart, float *worst) {
  const int n = blockIdx.x * blockDim.x + threadIdx.x, m = blockIdx.y * apart;
  if (n >= outputs || m >= rows) return;
  float sum = number(bias[n]);
  for (int k = 0; k < inputs; k++) sum += number(x[(size_t)m * inputs + k]) * number(w[(size_t)n * inputs + k]);
  const float expected = activated<2>(sum);
  worst_of(worst, fabsf(expected - number(y[(size_t)m * outputs + n])) / (fabsf(expected) + 0.05f));
}

// A block a row of a head, 64 threads; queries, keys and values side by side.
__global__ void check_attention(const u16 *all, const u16 *y, int heads, int tokens, float scale, float *worst) {
  const int row = blockIdx.x, head = blockIdx.y, member = blockIdx.z, width = heads * 64;
  const u16 *own = all + (size_t)member * tokens * 3 * width + head * 64;
  __shared__ float scores[1024];
  for (int key = threadIdx.x; key < tokens; key += 64) {
    float dot = 0;
    for (int c = 0; c < 64; c++)
      dot += number(own[(size_t)row * 3 * width + c]) * number(own[(size_t)key * 3 * width + width + c]);
    scores[key] = dot * scale;
  }
  __syncthreads();
  float most = -INFINITY, weight = 0, sum = 0;
  for (int key = 0; key < tokens; key++) most = fmaxf(most, scores[key]);
  for (int key = 0; key < tokens; key++) {
    const float share = expf(scores[key] - most);
    weight += share;
    sum += share * number(own[(size_t)key * 3 * width + 2 * width + threadIdx.x]);
  }
  worst_of(worst, fabsf(sum / weight - number(y[((size_t)member * tokens + row) * width + head * 64 + threadIdx.x])));
}

static decltype(&cuTensorMapEncodeTiled) encode;

// As hopper.rs makes it.
static TensorMap map_of(u16 *values, std::vector<cuuint64_t> sizes, std::vector<cuuint64_t> strides, u32 rows) {
  CUtensorMap map;
  const cuuint32_t box[3] = {64, rows, 1}, each[3] = {1, 1, 1};
  for (auto &stride : strides) stride *= sizeof(u16);
  CHECK(encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, sizes.size(), values, sizes.data(), strides.data(), box, each,
               CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
               CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE));
  TensorMap same;
  static_assert(sizeof(same) == sizeof(map));
  memcpy(&same, &map, sizeof(same));
  return same;
}

template <class Work> static float milliseconds(Work work) {
  const int runs = 50;
  for (int i = 0; i < 5; i++) work();
  cudaEvent_t begin, end;
  CHECK(cudaEventCreate(&begin));
  CHECK(cudaEventCreate(&end));
  CHECK(cudaEventRecord(begin));
  for (int i = 0; i < runs; i++) work();
  CHECK(cudaEventRecord(end));
  CHECK(cudaEventSynchronize(end));
  float time;
  CHECK(cudaEventElapsedTime(&time, begin, end));
  return time / runs;
}

static void row(const char *what, const char *shape, double value, const char *unit) {
  printf("%s, %s\t%.4f\t%s\n", what, shape, value, unit);
}

static void judge(const char *what, const char *shape, float *worst, float most) {
  float off;
  CHECK(cudaMemcpy(&off, worst, sizeof(off), cudaMemcpyDeviceToHost));
  CHECK(cudaMemset(worst, 0, sizeof(off)));
  row(what, shape, off, "largest error");
  if (off > most) {
    fprintf(stderr, "%s, %s: FAILED, an error of %f\n", what, shape, off);
    failed++;
  }
}

static void products(size_t rows, size_t outputs, size_t inputs, cublasHandle_t blas, int blocks) {
  char shape[64];
  snprintf(shape, sizeof(shape), "%zu x %zu by %zu", rows, inputs, outputs);
  u16 *x = random_values(rows * inputs, 2, 1), *w = random_values(outputs * inputs, 0.1, 2);
  u16 *bias = random_values(outputs, 1, 3), *y = fresh<u16>(rows * outputs);
  float *worst = fresh<float>(1);
  CHECK(cudaMemset(worst, 0, sizeof(float)));
  const TensorMap x_map = map_of(x, {inputs, rows}, {inputs}, TILE_ROWS);
  const TensorMap w_map = map_of(w, {inputs, outputs}, {inputs}, TILE_COLUMNS / 2);
  const int shared = STAGES * STAGE_BYTES + 1024;
  CHECK(cudaFuncSetAttribute(product_quick_gelu, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
  auto ours = [&] {
    product_quick_gelu<<<blocks, 384, shared>>>(x_map, w_map, bias, y, rows, outputs, inputs / STEP);
  };
  ours();
  const int apart = rows > 2000 ? 97 : 1;
  check_product<<<dim3((outputs + 127) / 128, (rows + apart - 1) / apart), 128>>>(x, w, bias, y, rows, outputs,
                                                                                  inputs, apart, worst);
  judge("product with bias and activation", shape, worst, 0.02);
  row("product with bias and activation", shape, milliseconds(ours), "ms");
  const float one = 1, zero = 0;
  row("cuBLAS's product alone", shape, milliseconds([&] {
        CHECK(cublasGemmEx(blas, CUBLAS_OP_T, CUBLAS_OP_N, outputs, rows, inputs, &one, w, CUDA_R_16BF, inputs, x,
                           CUDA_R_16BF, inputs, &zero, y, CUDA_R_16BF, outputs, CUBLAS_COMPUTE_32F,
                           CUBLAS_GEMM_DEFAULT));
      }), "ms");
  const long long eights = rows * outputs / 8;
  const u32 grid = eights / 256 + 1 < 1 << 16 ? eights / 256 + 1 : 1 << 16;
  row("the activation after it", shape, milliseconds([&] { activate<<<grid, 256>>>((uint4 *)y, eights, 2); }), "ms");
  for (void *at : {(void *)x, (void *)w, (void *)bias, (void *)y, (void *)worst}) CHECK(cudaFree(at));
}

static void attentions(size_t members, size_t heads, size_t tokens, int groups) {
  char shape[64];
  snprintf(shape, sizeof(shape), "%zu x %zu heads x %zu", members, heads, tokens);
  const size_t width = heads * 64, stride = 3 * width;
  u16 *all = random_values(members * tokens * stride, 4, 5), *y = fresh<u16>(members * tokens * width);
  float *worst = fresh<float>(1);
  CHECK(cudaMemset(worst, 0, sizeof(float)));
  auto part = [&](int i, u32 rows) {
    return map_of(all + i * width, {width, tokens, members}, {stride, tokens * stride}, rows);
  };
  const TensorMap q = part(0, QUERIES), k = part(1, KEYS), v = part(2, KEYS);
  const int tiles = (tokens + KEYS - 1) / KEYS, shared = tiles * KEYS * 256 + groups * QUERIES * 128 + 1024;
  CHECK(cudaFuncSetAttribute(attention_many, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
  const dim3 rows(tokens, heads, members < 3 ? members : 3);
  auto ours = [&] { attention_many<<<dim3(heads, members), 128 * groups, shared>>>(q, k, v, y, tokens, tokens, 0.125f); };
  ours();
  check_attention<<<rows, 64>>>(all, y, heads, tokens, 0.125f, worst);
  judge("attention", shape, worst, 0.02);
  row("attention", shape, milliseconds(ours), "ms");
  auto older = [&] {
    attention_64<<<dim3((tokens + 63) / 64, heads, members), 128>>>(
        all, all + width, all + 2 * width, nullptr, y, tokens, tokens, stride, tokens * stride, stride, tokens * stride,
        stride, tokens * stride, 0, 0.125f);
  };
  older();
  check_attention<<<rows, 64>>>(all, y, heads, tokens, 0.125f, worst);
  judge("attention_64", shape, worst, 0.02);
  row("attention_64", shape, milliseconds(older), "ms");
  for (void *at : {(void *)all, (void *)y, (void *)worst}) CHECK(cudaFree(at));
}

int main() {
  cudaDriverEntryPointQueryResult found;
  CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", (void **)&encode, 12000, cudaEnableDefault, &found));
  int blocks;
  CHECK(cudaDeviceGetAttribute(&blocks, cudaDevAttrMultiProcessorCount, 0));
  blocks = blocks / 2 * 2;
  cublasHandle_t blas;
  CHECK(cublasCreate(&blas));
  CHECK(cublasSetWorkspace(blas, fresh<char>(64 << 20), 64 << 20));
  products(300, 768, 64, blas, blocks);
  products(1000, 768, 192, blas, blocks);
  // The feed-forward layers of base's and large's vision towers, 128 and 64 pictures.
  products(128 * 325, 3072, 768, blas, blocks);
  products(64 * 442, 4096, 1024, blas, blocks);
  attentions(2, 3, 65, 2);
  attentions(2, 2, 112, 2);
  attentions(128, 12, 325, 2);
  attentions(64, 16, 442, 4);
  CHECK(cudaDeviceSynchronize());
  return failed > 0;
}
