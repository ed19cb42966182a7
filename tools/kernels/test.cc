// Runs the GPU's kernels on the processor and compares them with plain loops in double precision:
//
//     c++ -O2 -std=c++17 -Itools/kernels tools/kernels/test.cc -o /tmp/kernels && /tmp/kernels
//
// The last line counts what passed and failed.
#define EMULATED
#include "../../crates/bt-model/src/ops/cuda/kernels.cu"

#include <random>

using std::vector;
static std::mt19937 source(7);
static int passed = 0, failed = 0;

static float normal() { return std::normal_distribution<float>()(source); }
static vector<u16> random_bf16(size_t n, float scale = 1) {
  vector<u16> values(n);
  for (auto &value : values) value = machine::bf16(normal() * scale);
  return values;
}
static double at(const vector<u16> &values, size_t i) { return machine::bf16(values[i]); }

// ||got - expected|| / ||expected||, bf16's own rounding being about 2e-3.
static void check(const char *what, const vector<u16> &got, const vector<double> &expected) {
  double off = 0, norm = 0;
  for (size_t i = 0; i < expected.size(); i++) {
    const double d = at(got, i) - expected[i];
    off += d * d;
    norm += expected[i] * expected[i];
  }
  const double error = std::sqrt(off / norm);
  const bool good = error < 5e-3 && got.size() == expected.size();
  (good ? passed : failed)++;
  printf("%s %s: %.2e\n", good ? "ok    " : "FAILED", what, error);
}

struct Case { int q_members, k_members, queries, keys, heads, mask_members; };

static void attention(const Case &c) {
  const int width = c.heads * 64, members = std::max(c.q_members, c.k_members);
  // Queries are the middle of a stacked projection with two rows more; keys and values stand side by side.
  const auto wide = random_bf16((size_t)c.q_members * (c.queries + 2) * 3 * width, 2);
  const auto both = random_bf16((size_t)c.k_members * c.keys * 2 * width, 2);
  vector<float> mask((size_t)c.mask_members * c.keys);
  for (size_t i = 0; i < mask.size(); i++)
    mask[i] = (int)(i % c.keys) > c.keys / 2 + (int)(i / c.keys) ? -3.4028235e38f : 0;
  vector<u16> out((size_t)members * c.queries * width, 0x7fc0);
  const long long q_batch = c.q_members == 1 ? 0 : (long long)(c.queries + 2) * 3 * width;
  const long long k_batch = c.k_members == 1 ? 0 : (long long)c.keys * 2 * width;
  machine::launch({(unsigned)(c.queries + 63) / 64, (unsigned)c.heads, (unsigned)members}, 128, [&] {
    attention_64(wide.data() + width, both.data(), both.data() + width, mask.empty() ? nullptr : mask.data(),
                 out.data(), c.queries, c.keys, 3 * width, q_batch, 2 * width, k_batch, 2 * width, k_batch,
                 c.mask_members > 1 ? c.keys : 0, 0.125f);
  });
  vector<double> expected(out.size());
  for (int b = 0; b < members; b++)
    for (int h = 0; h < c.heads; h++)
      for (int row = 0; row < c.queries; row++) {
        const size_t q = (size_t)(b % c.q_members) * (c.queries + 2) * 3 * width + (size_t)row * 3 * width + width + h * 64;
        vector<double> scores(c.keys);
        double most = -1e300, sum = 0;
        for (int key = 0; key < c.keys; key++) {
          const size_t k = ((size_t)(b % c.k_members) * c.keys + key) * 2 * width + h * 64;
          for (int i = 0; i < 64; i++) scores[key] += at(wide, q + i) * at(both, k + i);
          scores[key] *= 0.125;
          if (!mask.empty()) scores[key] += mask[(size_t)(b % c.mask_members) * c.keys + key];
          most = std::max(most, scores[key]);
        }
        for (auto &score : scores) sum += score = std::exp(score - most);
        for (int i = 0; i < 64; i++) {
          double value = 0;
          for (int key = 0; key < c.keys; key++)
            value += scores[key] / sum * at(both, ((size_t)(b % c.k_members) * c.keys + key) * 2 * width + width + h * 64 + i);
          expected[((size_t)b * c.queries + row) * width + h * 64 + i] = value;
        }
      }
  char name[120];
  snprintf(name, sizeof name, "attention of %d x %d over %d x %d, %d heads, %d masks", c.q_members, c.queries,
           c.k_members, c.keys, c.heads, c.mask_members);
  check(name, out, expected);
}

static void norm(int rows, int width) {
  auto x = random_bf16((size_t)rows * width, 3);
  for (size_t i = 0; i < x.size(); i += 97) x[i] = machine::bf16(200.0f);  // outliers, as large models have them
  const auto weight = random_bf16(width), bias = random_bf16(width);
  vector<u16> y(x.size(), 0x7fc0);
  machine::launch({(unsigned)(rows + 3) / 4, 1, 1}, 128, [&] {
    layer_norm(x.data(), weight.data(), bias.data(), y.data(), rows, width, 1e-5f);
  });
  vector<double> expected(y.size());
  for (int r = 0; r < rows; r++) {
    double mean = 0, variance = 0;
    for (int i = 0; i < width; i++) mean += at(x, (size_t)r * width + i) / width;
    for (int i = 0; i < width; i++) variance += std::pow(at(x, (size_t)r * width + i) - mean, 2) / width;
    for (int i = 0; i < width; i++)
      expected[(size_t)r * width + i] =
          (at(x, (size_t)r * width + i) - mean) / std::sqrt(variance + 1e-5) * at(weight, i) + at(bias, i);
  }
  char name[80];
  snprintf(name, sizeof name, "layer norm %d x %d", rows, width);
  check(name, y, expected);
}

static void activation(int kind, double (*plain)(double)) {
  auto x = random_bf16(8 * 333, 3);
  vector<double> expected;
  for (size_t i = 0; i < x.size(); i++) expected.push_back(plain(at(x, i)));
  machine::launch({1, 1, 1}, 256, [&] { activate((uint4 *)x.data(), 333, kind); });
  char name[80];
  snprintf(name, sizeof name, "activation %d", kind);
  check(name, x, expected);
}

static void first_layer(int members, int side, int patch, int width) {
  const int grid = side / patch, inputs = 3 * patch * patch, tokens = grid * grid + 1;
  vector<float> pixels((size_t)members * 3 * side * side);
  for (auto &pixel : pixels) pixel = normal();
  vector<u16> rows((size_t)members * grid * grid * inputs, 0x7fc0);
  const long long pairs = rows.size() / 2;
  machine::launch({(unsigned)((pairs + 255) / 256), 1, 1}, 256,
                  [&] { patches(pixels.data(), rows.data(), side, grid, patch, pairs); });
  vector<double> expected;
  for (int b = 0; b < members; b++)
    for (int r = 0; r < grid; r++)
      for (int column = 0; column < grid; column++)
        for (int channel = 0; channel < 3; channel++)
          for (int y = 0; y < patch; y++)
            for (int x = 0; x < patch; x++)
              expected.push_back(pixels[(((size_t)b * 3 + channel) * side + r * patch + y) * side + column * patch + x]);
  check("patches", rows, expected);

  const auto token = random_bf16(width), projected = random_bf16((size_t)members * (tokens - 1) * width),
             positions = random_bf16((size_t)(tokens - 1) * width);
  vector<u16> x((size_t)members * tokens * width, 0x7fc0);
  const long long eights = x.size() / 8;
  machine::launch({(unsigned)((eights + 255) / 256), 1, 1}, 256, [&] {
    first_rows((const uint4 *)token.data(), (const uint4 *)projected.data(), (const uint4 *)positions.data(),
               (uint4 *)x.data(), tokens, width / 8, eights);
  });
  expected.clear();
  for (int b = 0; b < members; b++)
    for (int t = 0; t < tokens; t++)
      for (int i = 0; i < width; i++)
        expected.push_back(t == 0 ? at(token, i)
                                  : at(projected, ((size_t)b * (tokens - 1) + t - 1) * width + i) +
                                        at(positions, (size_t)(t - 1) * width + i));
  check("first rows", x, expected);
}

int main() {
  for (const Case &c : {Case{1, 1, 1, 1, 1, 0}, Case{2, 2, 5, 9, 3, 0}, Case{1, 1, 325, 325, 2, 0},
                        Case{2, 2, 65, 64, 1, 2}, Case{1, 3, 12, 130, 2, 1}, Case{3, 1, 65, 17, 2, 3},
                        Case{1, 1, 1, 325, 1, 0}, Case{2, 2, 200, 12, 1, 2}})
    attention(c);
  for (int width : {8, 64, 192, 768, 1024, 2048}) norm(5, width);
  activation(0, [](double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); });
  activation(1, [](double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); });
  activation(2, [](double x) { return x / (1 + std::exp(-1.702 * x)); });
  activation(3, [](double x) { return std::max(x, 0.0); });
  activation(4, [](double x) { return x / (1 + std::exp(-x)); });
  activation(5, [](double x) { return std::tanh(x); });
  activation(6, [](double x) { return 1 / (1 + std::exp(-x)); });
  first_layer(2, 45, 14, 64);
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
