//===- AttentionTests.cpp - Attention over the key/value cache --*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelJIT.h"
#include "gtest/gtest.h"
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>

using namespace nju;
using namespace nju::test;

namespace {

using CacheWrite = void(int64_t, int64_t, int64_t, int64_t, int64_t,
                        NJU_MEMREF3(float), NJU_MEMREF3(float),
                        NJU_MEMREF1(int32_t), NJU_MEMREF1(int32_t),
                        NJU_MEMREF1(uint8_t));
using Attention = void(int64_t, int64_t, int64_t, int64_t, int64_t, float,
                       NJU_MEMREF3(float), NJU_MEMREF1(int32_t),
                       NJU_MEMREF1(int32_t), NJU_MEMREF1(uint8_t),
                       NJU_MEMREF3(float));

/// A token of a batch.
struct Token {
  int32_t sequence, position;
};

/// Layers of the cache that lie before the one under test, in elements.
constexpr int64_t kBefore = 24;
constexpr int64_t kMaxSequences = 3;
constexpr int64_t kCacheTokens = 320;

/// The usual scale, which keeps scores near 1.
float scaleOf(const CachedAttentionOptions &options) {
  return 1.0f / std::sqrt(float(options.headDim));
}

/// Random queries, keys and values of every position of every sequence.
struct Data {
  explicit Data(const CachedAttentionOptions &options) : options(options) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    size_t positions = kMaxSequences * kCacheTokens;
    for (auto [values, heads] :
         {std::pair(&q, options.heads), std::pair(&k, options.kvHeads),
          std::pair(&v, options.kvHeads)}) {
      values->resize(positions * heads * options.headDim);
      for (float &value : *values)
        value = normal(random);
    }
  }

  /// The rows of `tokens` of `values` (q, k or v).
  std::vector<float> gather(const std::vector<float> &values,
                            const std::vector<Token> &tokens,
                            int64_t heads) const {
    std::vector<float> rows;
    int64_t size = heads * options.headDim;
    for (Token t : tokens) {
      auto begin =
          values.begin() + (t.sequence * kCacheTokens + t.position) * size;
      rows.insert(rows.end(), begin, begin + size);
    }
    return rows;
  }

  CachedAttentionOptions options;
  std::vector<float> q, k, v;
};

/// The kernels for some options, with a cache full of NaN.
class Layer {
public:
  Layer(llvm::StringRef target, const CachedAttentionOptions &options)
      : options(options),
        jit(target, {[&](KernelLibrary &l) {
                       auto kernel =
                           l.cacheWrite(options.kvHeads, options.headDim);
                       writeName = kernel.getName().str();
                       return kernel;
                     },
                     [&](KernelLibrary &l) {
                       auto kernel = l.cachedAttention(options);
                       attentionName = kernel.getName().str();
                       return kernel;
                     }}) {
    int64_t elements = 2 * kMaxSequences * kCacheTokens *
                       (kBefore + options.kvHeads * options.headDim);
    cache.resize(elements, std::numeric_limits<float>::quiet_NaN());
  }

  /// Runs a batch and returns [tokens, heads, headDim].
  std::vector<float> run(const Data &data, const std::vector<Token> &tokens,
                         int64_t workers) {
    int64_t count = tokens.size(), dim = options.headDim;
    std::vector<int32_t> positions, sequences;
    for (Token token : tokens) {
      positions.push_back(token.position);
      sequences.push_back(token.sequence);
    }
    auto q = data.gather(data.q, tokens, options.heads);
    auto k = data.gather(data.k, tokens, options.kvHeads);
    auto v = data.gather(data.v, tokens, options.kvHeads);
    std::vector<float> y(q.size(), std::numeric_limits<float>::quiet_NaN());
    auto *bytes = reinterpret_cast<uint8_t *>(cache.data());
    int64_t cacheBytes = cache.size() * sizeof(float);
    for (int64_t w = 0; w < workers; ++w)
      jit.get<CacheWrite>(writeName)(
          w, workers, kBefore, kMaxSequences, kCacheTokens,
          NJU_ARG3(k.data(), count, options.kvHeads, dim),
          NJU_ARG3(v.data(), count, options.kvHeads, dim),
          NJU_ARG1(positions.data(), count), NJU_ARG1(sequences.data(), count),
          NJU_ARG1(bytes, cacheBytes));
    for (int64_t w = 0; w < workers; ++w)
      jit.get<Attention>(attentionName)(
          w, workers, kBefore, kMaxSequences, kCacheTokens, scaleOf(options),
          NJU_ARG3(q.data(), count, options.heads, dim),
          NJU_ARG1(positions.data(), count), NJU_ARG1(sequences.data(), count),
          NJU_ARG1(bytes, cacheBytes),
          NJU_ARG3(y.data(), count, options.heads, dim));
    return y;
  }

  CachedAttentionOptions options;
  std::vector<float> cache;

private:
  std::string writeName, attentionName;
  KernelJIT jit;
};

/// Attention of one token in double precision.
std::vector<double> reference(const Data &data, Token token) {
  const CachedAttentionOptions &o = data.options;
  int64_t group = o.heads / o.kvHeads, first = 0;
  if (o.window)
    first = std::max<int64_t>(0, token.position - *o.window + 1);
  std::vector<double> y(o.heads * o.headDim);
  for (int64_t h = 0; h < o.heads; ++h) {
    std::vector<double> scores;
    auto row = [&](const std::vector<float> &values, int64_t position,
                   int64_t heads, int64_t head) {
      return &values[((token.sequence * kCacheTokens + position) * heads +
                      head) *
                     o.headDim];
    };
    const float *q = row(data.q, token.position, o.heads, h);
    for (int64_t j = first; j <= token.position; ++j) {
      const float *k = row(data.k, j, o.kvHeads, h / group);
      double score =
          scaleOf(o) *
          std::inner_product(q, q + o.headDim, k, 0.0, std::plus<double>(),
                             [](double a, double b) { return a * b; });
      if (!o.slopes.empty())
        score += o.slopes[h] * double(j - token.position);
      scores.push_back(score);
    }
    double most = *std::max_element(scores.begin(), scores.end()), sum = 0;
    for (double &score : scores)
      sum += score = std::exp(score - most);
    for (size_t j = 0; j < scores.size(); ++j) {
      const float *v = row(data.v, first + j, o.kvHeads, h / group);
      for (int64_t d = 0; d < o.headDim; ++d)
        y[h * o.headDim + d] += scores[j] / sum * v[d];
    }
  }
  return y;
}

CachedAttentionOptions makeOptions(int64_t heads, int64_t kvHeads,
                                   int64_t headDim) {
  CachedAttentionOptions options;
  options.heads = heads;
  options.kvHeads = kvHeads;
  options.headDim = headDim;
  return options;
}

std::vector<Token> tokensOf(int32_t sequence, int32_t begin, int32_t end) {
  std::vector<Token> tokens;
  for (int32_t p = begin; p < end; ++p)
    tokens.push_back({sequence, p});
  return tokens;
}

/// Fills the cache up to `length` and compares every token.
void expectEqualsReference(llvm::StringRef target,
                           const CachedAttentionOptions &options,
                           int32_t length) {
  Data data(options);
  Layer layer(target, options);
  std::vector<Token> tokens = tokensOf(1, 0, length);
  std::vector<float> y = layer.run(data, tokens, 2);
  int64_t size = options.heads * options.headDim;
  for (size_t t = 0; t < tokens.size(); ++t) {
    std::vector<double> expected = reference(data, tokens[t]);
    for (int64_t i = 0; i < size; ++i)
      // Values are about 1; f32 sums of up to 300 of them.
      ASSERT_NEAR(y[t * size + i], expected[i], 4e-6)
          << "token " << t << ", element " << i << ", " << options.heads << "x"
          << options.kvHeads << "x" << options.headDim;
  }
}

class AttentionTest : public testing::TestWithParam<std::string> {};

TEST_P(AttentionTest, EqualsDoublePrecision) {
  struct {
    int64_t heads, kvHeads, headDim;
  } shapes[] = {{4, 4, 8},  {8, 4, 8},   {8, 1, 64},  {7, 1, 64},
                {6, 2, 48}, {2, 2, 80},  {4, 2, 128}, {2, 1, 256},
                {3, 1, 96}, {5, 1, 100}, {1, 1, 1},   {12, 12, 64}};
  for (auto &shape : shapes)
    expectEqualsReference(
        GetParam(), makeOptions(shape.heads, shape.kvHeads, shape.headDim),
        300);
}

TEST_P(AttentionTest, SeesTheWindowOnly) {
  for (int64_t window : {1, 5, 16, 100, 1000}) {
    CachedAttentionOptions options = makeOptions(4, 2, 32);
    options.window = window;
    expectEqualsReference(GetParam(), options, 290);
  }
}

TEST_P(AttentionTest, AddsSlopes) {
  CachedAttentionOptions options = makeOptions(4, 2, 24);
  options.slopes = {0.5f, 0.25f, 0.125f, 0.0625f};
  expectEqualsReference(GetParam(), options, 150);
}

TEST_P(AttentionTest, DoesNotDependOnTheBatchOrTheWorkers) {
  CachedAttentionOptions options = makeOptions(6, 2, 40);
  Data data(options);
  Layer alone(GetParam(), options), together(GetParam(), options);
  // Sequence by sequence and token by token.
  std::vector<float> expected;
  std::vector<Token> order;
  for (int32_t sequence = 0; sequence < kMaxSequences; ++sequence)
    for (Token token : tokensOf(sequence, 0, 200 - 30 * sequence)) {
      order.push_back(token);
      std::vector<float> y = alone.run(data, {token}, 1);
      expected.insert(expected.end(), y.begin(), y.end());
    }
  // All sequences in shuffled pieces, by several workers.
  std::vector<float> found(expected.size());
  size_t size = options.heads * options.headDim, done[kMaxSequences] = {};
  std::mt19937 random(3);
  auto unfinished = [&] {
    return done[0] < 200 || done[1] < 170 || done[2] < 140;
  };
  for (int64_t workers = 1; unfinished(); workers = workers % 5 + 1) {
    std::vector<Token> batch;
    std::vector<size_t> places;
    for (int32_t sequence = 0; sequence < kMaxSequences; ++sequence) {
      size_t length = 200 - 30 * sequence;
      size_t end = std::min(length, done[sequence] + 1 + random() % 40);
      size_t base = 0;
      for (int32_t s = 0; s < sequence; ++s)
        base += 200 - 30 * s;
      for (size_t p = done[sequence]; p < end; ++p) {
        batch.push_back({sequence, int32_t(p)});
        places.push_back(base + p);
      }
      done[sequence] = end;
    }
    std::vector<float> y = together.run(data, batch, workers);
    for (size_t t = 0; t < places.size(); ++t)
      std::copy_n(&y[t * size], size, &found[places[t] * size]);
  }
  EXPECT_EQ(0, std::memcmp(found.data(), expected.data(),
                           found.size() * sizeof(float)));
}

TEST_P(AttentionTest, WritesItsLayerOnly) {
  CachedAttentionOptions options = makeOptions(2, 1, 16);
  Data data(options);
  Layer layer(GetParam(), options);
  layer.run(data, tokensOf(2, 0, kCacheTokens), 3);
  size_t before = 2 * kMaxSequences * kCacheTokens * kBefore;
  for (size_t i = 0; i < before; ++i)
    ASSERT_TRUE(std::isnan(layer.cache[i])) << i;
  // Position 17 of sequence 2: block 1, column 1.
  size_t keys = before + 2 * kCacheTokens * 16;
  size_t values = keys + kMaxSequences * kCacheTokens * 16;
  auto row = [&](std::vector<float> &all) {
    return &all[(2 * kCacheTokens + 17) * 16];
  };
  for (size_t d = 0; d < 16; ++d) {
    EXPECT_EQ(layer.cache[keys + 16 * 16 + d * 16 + 1], row(data.k)[d]);
    EXPECT_EQ(layer.cache[values + 17 * 16 + d], row(data.v)[d]);
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, AttentionTest,
                         testing::ValuesIn(runnableTargets()),
                         [](const auto &info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

} // namespace
