//===- AttentionTests.cpp - Attention over the key/value cache --*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelJIT.h"
#include "llvm/ADT/APFloat.h"
#include "gtest/gtest.h"
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <thread>

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
                       NJU_MEMREF3(float), NJU_MEMREF2(float),
                       NJU_MEMREF1(int32_t));
using PackingAttention = void(int64_t, int64_t, int64_t, int64_t, int64_t,
                              float, NJU_MEMREF3(float), NJU_MEMREF1(int32_t),
                              NJU_MEMREF1(int32_t), NJU_MEMREF1(uint8_t),
                              NJU_MEMREF3(float), NJU_MEMREF2(float),
                              NJU_MEMREF1(int32_t), NJU_MEMREF2(uint8_t));

/// A token of a batch.
struct Token {
  int32_t sequence, position;
};

/// Bytes a token of the layers of the cache that lie before the one under test.
constexpr int64_t kBefore = 192;
constexpr int64_t kMaxSequences = 3;
/// Tokens a sequence, unless a test says otherwise.
constexpr int64_t kCacheTokens = 320;

float roundToHalf(float value) {
  llvm::APFloat number(value);
  bool exact;
  number.convert(llvm::APFloat::IEEEhalf(), llvm::APFloat::rmNearestTiesToEven,
                 &exact);
  return number.convertToFloat();
}

/// The usual scale, which keeps scores near 1.
float scaleOf(const CachedAttentionOptions &options) {
  return 1.0f / std::sqrt(float(options.headDim));
}

constexpr CacheType kCacheTypes[] = {CacheType::F32, CacheType::F16,
                                     CacheType::Q8, CacheType::Q4};

/// What becomes of a row (of a head) that is kept in `bits` bits, with a scale
/// and an offset for each `group` elements; `base` is added behind the offset.
void quantizeRow(float *row, int64_t size, int64_t group, int bits,
                 const float *base) {
  float most = float((1 << bits) - 1);
  for (int64_t g = 0; g < size; g += group) {
    auto [least, greatest] = std::minmax_element(row + g, row + g + group);
    float offset = roundToHalf(*least);
    float scale = roundToHalf((*greatest - offset) / most);
    for (int64_t d = g; d < g + group; ++d) {
      float code = scale == 0 ? 0 : std::nearbyint((row[d] - offset) / scale);
      code = std::clamp(code, 0.0f, most);
      row[d] = std::fma(code, scale, offset + (base ? base[d] : 0));
    }
  }
}

/// Random queries, keys and values of every position of every sequence.
struct Data {
  explicit Data(const CachedAttentionOptions &options,
                int64_t cacheTokens = kCacheTokens)
      : options(options), cacheTokens(cacheTokens) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    size_t positions = kMaxSequences * cacheTokens;
    for (auto [values, heads] :
         {std::pair(&q, options.heads), std::pair(&k, options.kvHeads),
          std::pair(&v, options.kvHeads)}) {
      values->resize(positions * heads * options.headDim);
      for (float &value : *values)
        value = normal(random);
    }
    keptK = k, keptV = v;
    for (auto *kept : {&keptK, &keptV})
      keep(*kept, /*keys=*/kept == &keptK);
  }

  /// Keys or values become what the cache makes of them.
  void keep(std::vector<float> &kept, bool keys) {
    int64_t size = options.headDim, rows = options.kvHeads;
    auto row = [&](int64_t position, int64_t head) {
      return &kept[(position * rows + head) * size];
    };
    int64_t group = std::min<int64_t>(64, size & -size);
    for (int64_t head = 0; head < rows; ++head)
      for (int64_t p = 0; p < kMaxSequences * cacheTokens; ++p) {
        float *own = row(p, head);
        if (options.cacheType == CacheType::F16)
          std::transform(own, own + size, own, roundToHalf);
        if (options.cacheType == CacheType::Q8)
          quantizeRow(own, size, group, 8, nullptr);
        if (options.cacheType != CacheType::Q4)
          continue;
        if (keys && p % 16 == 0) {
          references.assign(own, own + size);
          quantizeRow(references.data(), size, group, 8, nullptr);
        }
        for (int64_t d = 0; keys && d < size; ++d)
          own[d] -= references[d];
        quantizeRow(own, size, group, 4, keys ? references.data() : nullptr);
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
          values.begin() + (t.sequence * cacheTokens + t.position) * size;
      rows.insert(rows.end(), begin, begin + size);
    }
    return rows;
  }

  CachedAttentionOptions options;
  int64_t cacheTokens;
  std::vector<float> q, k, v;
  std::vector<float> keptK, keptV; ///< What a token sees of them.

private:
  std::vector<float> references;
};

/// The kernels for some options, with a cache full of NaN.
class Layer {
public:
  Layer(llvm::StringRef target, const CachedAttentionOptions &options,
        int64_t cacheTokens = kCacheTokens)
      : options(options), cacheTokens(cacheTokens),
        jit(target,
            {[&](KernelLibrary &l) {
               auto kernel = l.cacheWrite(options.kvHeads, options.headDim,
                                          options.cacheType);
               writeName = kernel.getName().str();
               return kernel;
             },
             [&](KernelLibrary &l) {
               auto kernel = l.cachedAttention(options);
               attentionName = kernel.getName().str();
               scratch = l.attentionScratch(options, cacheTokens, 8);
               return kernel;
             }},
            options.packs ? "auto" : "f32") {
    cache.resize(kMaxSequences * cacheTokens *
                     (kBefore + options.getCacheLayout().getTokenBytes()),
                 0xff);
    partials.resize(scratch.records * scratch.recordSize,
                    std::numeric_limits<float>::quiet_NaN());
    counters.resize(scratch.counters, 0);
  }

  /// Writes the keys and values of a batch.
  void write(const Data &data, const std::vector<Token> &tokens,
             int64_t workers) {
    int64_t count = tokens.size();
    auto k = data.gather(data.k, tokens, options.kvHeads);
    auto v = data.gather(data.v, tokens, options.kvHeads);
    auto [positions, sequences] = split(tokens);
    for (int64_t w = 0; w < workers; ++w)
      jit.get<CacheWrite>(writeName)(
          w, workers, kBefore, kMaxSequences, cacheTokens,
          NJU_ARG3(k.data(), count, options.kvHeads, options.headDim),
          NJU_ARG3(v.data(), count, options.kvHeads, options.headDim),
          NJU_ARG1(positions.data(), count), NJU_ARG1(sequences.data(), count),
          NJU_ARG1(cache.data(), int64_t(cache.size())));
  }

  /// Runs a batch, workers at the same time, and returns [tokens, heads,
  /// headDim].
  std::vector<float> run(const Data &data, const std::vector<Token> &tokens,
                         int64_t workers) {
    write(data, tokens, workers);
    int64_t count = tokens.size(), dim = options.headDim;
    auto [positions, sequences] = split(tokens);
    auto q = data.gather(data.q, tokens, options.heads);
    std::vector<float> y(q.size(), std::numeric_limits<float>::quiet_NaN());
    // Tiles of 16 tokens by 32 elements of bf16.
    int64_t size = options.heads * dim, tiles = (count + 15) / 16 * size / 32;
    packed.assign(options.packs ? tiles * 1024 : 0, 0xff);
    auto work = [&, &positions = positions,
                 &sequences = sequences](int64_t worker) {
      auto call = [&](auto *kernel, auto... rest) {
        kernel(worker, workers, kBefore, kMaxSequences, cacheTokens,
               scaleOf(options), NJU_ARG3(q.data(), count, options.heads, dim),
               NJU_ARG1(positions.data(), count),
               NJU_ARG1(sequences.data(), count),
               NJU_ARG1(cache.data(), int64_t(cache.size())),
               NJU_ARG3(y.data(), count, options.heads, dim),
               NJU_ARG2(partials.data(), scratch.records, scratch.recordSize),
               NJU_ARG1(counters.data(), scratch.counters), rest...);
      };
      if (options.packs)
        call(jit.get<PackingAttention>(attentionName),
             NJU_ARG2(packed.data(), tiles, int64_t(1024)));
      else
        call(jit.get<Attention>(attentionName));
    };
    std::vector<std::thread> others;
    for (int64_t w = 1; w < workers; ++w)
      others.emplace_back(work, w);
    work(0);
    for (std::thread &thread : others)
      thread.join();
    EXPECT_TRUE(llvm::all_of(counters, [](int32_t n) { return n == 0; }))
        << "a counter is not ready for the next launch";
    return y;
  }

  CachedAttentionOptions options;
  int64_t cacheTokens;
  AttentionScratch scratch;
  std::vector<uint8_t> cache;
  /// Of the last run, where results are packed.
  std::vector<uint8_t> packed;

private:
  static std::pair<std::vector<int32_t>, std::vector<int32_t>>
  split(const std::vector<Token> &tokens) {
    std::vector<int32_t> positions, sequences;
    for (Token token : tokens) {
      positions.push_back(token.position);
      sequences.push_back(token.sequence);
    }
    return {positions, sequences};
  }

  std::vector<float> partials;
  std::vector<int32_t> counters;
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
      return &values[((token.sequence * data.cacheTokens + position) * heads +
                      head) *
                     o.headDim];
    };
    const float *q = row(data.q, token.position, o.heads, h);
    for (int64_t j = first; j <= token.position; ++j) {
      const float *k = row(data.keptK, j, o.kvHeads, h / group);
      double score =
          scaleOf(o) *
          std::inner_product(q, q + o.headDim, k, 0.0, std::plus<double>(),
                             [](double a, double b) { return a * b; });
      if (o.softcap)
        score = *o.softcap * std::tanh(score / *o.softcap);
      if (!o.slopes.empty())
        score += o.slopes[h] * double(j - token.position);
      scores.push_back(score);
    }
    double most = *std::max_element(scores.begin(), scores.end()), sum = 0;
    for (double &score : scores)
      sum += score = std::exp(score - most);
    for (size_t j = 0; j < scores.size(); ++j) {
      const float *v = row(data.keptV, first + j, o.kvHeads, h / group);
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

std::string describe(const CachedAttentionOptions &options) {
  return std::to_string(options.heads) + "x" + std::to_string(options.kvHeads) +
         "x" + std::to_string(options.headDim) + " " +
         stringifyCacheType(options.cacheType).str();
}

/// Positions around the borders of blocks, chunks and more.
constexpr int32_t kBorders[] = {0,   14,  15,  16,  126, 127,
                                128, 255, 256, 299, 1899};

/// Fills the cache up to `length`, all at once, and compares tokens; then each
/// token at a border alone, by several numbers of workers, which must not
/// change a bit.
void expectEqualsReference(llvm::StringRef target,
                           const CachedAttentionOptions &options,
                           int32_t length) {
  int64_t cacheTokens = (length + 15) / 16 * 16;
  Data data(options, cacheTokens);
  Layer layer(target, options, cacheTokens);
  std::vector<Token> tokens = tokensOf(1, 0, length);
  std::vector<float> y = layer.run(data, tokens, 2);
  int64_t size = options.heads * options.headDim;
  for (int32_t t = 0; t < length; t += t < 300 ? 1 : 97) {
    std::vector<double> expected = reference(data, tokens[t]);
    for (int64_t i = 0; i < size; ++i)
      // Values are about 1; f32 sums of up to 128 of them, whatever the cache's
      // type: what it rounds, the reference has rounded.
      ASSERT_NEAR(y[t * size + i], expected[i], 4e-6)
          << "token " << t << ", element " << i << ", " << describe(options);
  }
  for (int32_t position : kBorders)
    for (int64_t workers : {1, 2, 3, 5}) {
      if (position >= length)
        continue;
      std::vector<float> alone = layer.run(data, {tokens[position]}, workers);
      ASSERT_EQ(0, std::memcmp(alone.data(), &y[position * size],
                               size * sizeof(float)))
          << "token " << position << " by " << workers << " workers, "
          << describe(options);
    }
}

class AttentionTest : public testing::TestWithParam<std::string> {};

TEST_P(AttentionTest, EqualsDoublePrecision) {
  struct {
    int64_t heads, kvHeads, headDim;
  } shapes[] = {{8, 4, 8},   {8, 1, 64},  {7, 1, 64}, {6, 2, 48},
                {4, 2, 128}, {2, 1, 256}, {3, 1, 37}, {5, 1, 100},
                {1, 1, 1},   {2, 2, 80},  {71, 1, 16}};
  for (auto &shape : shapes)
    expectEqualsReference(
        GetParam(), makeOptions(shape.heads, shape.kvHeads, shape.headDim),
        300);
}

TEST_P(AttentionTest, EqualsDoublePrecisionInHalfACache) {
  struct {
    int64_t heads, kvHeads, headDim;
  } shapes[] = {{8, 1, 64}, {2, 2, 80}, {3, 1, 37}};
  for (auto &shape : shapes) {
    auto options = makeOptions(shape.heads, shape.kvHeads, shape.headDim);
    options.cacheType = CacheType::F16;
    expectEqualsReference(GetParam(), options, 300);
  }
}

TEST_P(AttentionTest, EqualsDoublePrecisionInAQuantizedCache) {
  struct {
    int64_t heads, kvHeads, headDim;
  } shapes[] = {{8, 1, 64}, {3, 3, 80}, {7, 1, 24}, {4, 2, 8}, {2, 1, 128}};
  for (CacheType type : {CacheType::Q8, CacheType::Q4})
    for (auto &shape : shapes) {
      auto options = makeOptions(shape.heads, shape.kvHeads, shape.headDim);
      options.cacheType = type;
      expectEqualsReference(GetParam(), options, 300);
    }
}

TEST_P(AttentionTest, QuantizedCacheIsNearFullPrecision) {
  // A quarter of the elements has a constant part of 10, as keys of some models
  // do.
  for (auto [type, most] :
       {std::pair(CacheType::Q8, 0.02f), std::pair(CacheType::Q4, 0.25f)}) {
    CachedAttentionOptions options = makeOptions(4, 2, 32);
    Data exact(options);
    for (size_t i = 0; i < exact.k.size(); ++i)
      exact.keptK[i] = exact.k[i] += i % 4 ? 0 : 10;
    options.cacheType = type;
    Layer layer(GetParam(), options);
    std::vector<float> y = layer.run(exact, tokensOf(0, 0, 200), 2);
    double error = 0;
    size_t size = options.heads * options.headDim;
    for (size_t t = 0; t < 200; ++t) {
      std::vector<double> expected = reference(exact, {0, int32_t(t)});
      for (size_t i = 0; i < size; ++i)
        error += std::pow(y[t * size + i] - expected[i], 2);
    }
    EXPECT_LT(std::sqrt(error / (200 * size)), most)
        << stringifyCacheType(type).str();
  }
}

TEST_P(AttentionTest, SumsOverALongContext) {
  for (CacheType type : kCacheTypes) {
    CachedAttentionOptions options = makeOptions(8, 2, 24);
    options.cacheType = type;
    expectEqualsReference(GetParam(), options, 1900);
  }
}

TEST_P(AttentionTest, SeesTheWindowOfALongContextOnly) {
  CachedAttentionOptions options = makeOptions(6, 2, 20);
  options.window = 700;
  expectEqualsReference(GetParam(), options, 1900);
}

TEST_P(AttentionTest, SeesTheWindowOnly) {
  for (int64_t window : {1, 5, 16, 100, 1000}) {
    CachedAttentionOptions options = makeOptions(4, 2, 32);
    options.window = window;
    expectEqualsReference(GetParam(), options, 290);
    options.cacheType = CacheType::Q4;
    expectEqualsReference(GetParam(), options, 290);
  }
}

TEST_P(AttentionTest, AddsSlopes) {
  CachedAttentionOptions options = makeOptions(4, 2, 24);
  options.slopes = {0.5f, 0.25f, 0.125f, 0.0625f};
  expectEqualsReference(GetParam(), options, 150);
}

TEST_P(AttentionTest, CapsScores) {
  for (double cap : {0.3, 50.0}) {
    CachedAttentionOptions options = makeOptions(4, 2, 24);
    options.softcap = cap;
    expectEqualsReference(GetParam(), options, 150);
    options.slopes = {0.5f, 0.25f, 0.125f, 0.0625f};
    options.window = 40;
    expectEqualsReference(GetParam(), options, 150);
  }
}

/// Token by token and in pieces of several sequences, which cut blocks.
void expectDoesNotDependOnTheBatch(llvm::StringRef target, CacheType type) {
  CachedAttentionOptions options = makeOptions(6, 2, 40);
  options.cacheType = type;
  Data data(options);
  Layer alone(target, options), together(target, options);
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
      // Often so few that workers share a token.
      size_t count = random() % (random() % 2 ? 3 : 40);
      size_t end = std::min(length, done[sequence] + count);
      size_t base = 0;
      for (int32_t s = 0; s < sequence; ++s)
        base += 200 - 30 * s;
      for (size_t p = done[sequence]; p < end; ++p) {
        batch.push_back({sequence, int32_t(p)});
        places.push_back(base + p);
      }
      done[sequence] = end;
    }
    if (batch.empty())
      continue;
    std::vector<float> y = together.run(data, batch, workers);
    for (size_t t = 0; t < places.size(); ++t)
      std::copy_n(&y[t * size], size, &found[places[t] * size]);
  }
  EXPECT_EQ(0, std::memcmp(found.data(), expected.data(),
                           found.size() * sizeof(float)))
      << stringifyCacheType(type).str();
}

TEST_P(AttentionTest, DoesNotDependOnTheBatchOrTheWorkers) {
  for (CacheType type : kCacheTypes)
    expectDoesNotDependOnTheBatch(GetParam(), type);
}

/// A token's future is none of its business, even if it is not finite.
TEST_P(AttentionTest, LaterTokensOfTheBatchChangeNothing) {
  for (CacheType type : kCacheTypes) {
    CachedAttentionOptions options = makeOptions(4, 4, 16);
    options.cacheType = type;
    Data data(options);
    Layer alone(GetParam(), options), together(GetParam(), options);
    size_t size = options.heads * options.headDim;
    for (size_t i = 140 * size; i < 142 * size; ++i)
      data.k[i] = data.v[i] =
          i % 2 ? std::numeric_limits<float>::infinity() : std::nanf("");
    std::vector<float> y = together.run(data, tokensOf(0, 0, 150), 2);
    alone.write(data, tokensOf(0, 0, 140), 1);
    for (int32_t position : {127, 130, 139}) {
      std::vector<float> expected = alone.run(data, {{0, position}}, 1);
      EXPECT_EQ(0, std::memcmp(&y[position * size], expected.data(),
                               size * sizeof(float)))
          << position << ", " << stringifyCacheType(type).str();
    }
  }
}

/// A sequence that is cut within a block of keys and goes on otherwise is what
/// it would be if it had always been so.
TEST_P(AttentionTest, RewrittenTokensLeaveNoTrace) {
  for (CacheType type : kCacheTypes) {
    CachedAttentionOptions options = makeOptions(4, 2, 16);
    options.cacheType = type;
    Data first(options), other(options);
    size_t size = options.kvHeads * options.headDim;
    for (size_t i = 21 * size; i < 60 * size; ++i)
      other.k[i] = -3 * first.k[i], other.v[i] = 2 - first.v[i];
    Layer fresh(GetParam(), options), reused(GetParam(), options);
    std::vector<float> expected = fresh.run(other, tokensOf(0, 0, 60), 2);
    reused.run(first, tokensOf(0, 0, 50), 2);
    std::vector<float> y = reused.run(other, tokensOf(0, 21, 60), 3);
    size_t skipped = 21 * options.heads * options.headDim;
    EXPECT_EQ(
        0, std::memcmp(y.data(), &expected[skipped], y.size() * sizeof(float)))
        << stringifyCacheType(type).str();
  }
}

/// Scales and offsets of what a range does not give: one value, what f16 cannot
/// hold, and what is no number.
TEST_P(AttentionTest, QuantizesWhatIsSpecial) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (CacheType type : {CacheType::Q8, CacheType::Q4}) {
    CachedAttentionOptions options = makeOptions(1, 1, 48);
    options.cacheType = type;
    Data data(options);
    for (int d = 0; d < 48; ++d) {
      // Groups of 16: one number; both infinities; NaN among numbers.
      const float values[] = {0.75f, d % 2 ? infinity : -infinity,
                              d == 40 ? std::nanf("") : 1.0f};
      data.k[d] = 0;
      data.v[d] = values[d / 16];
    }
    // The only position has weight 1, so what is kept is the result.
    Layer layer(GetParam(), options);
    std::vector<float> y = layer.run(data, {{0, 0}}, 1);
    // The scale of the second group is rounded to 11 bits.
    for (int d = 0; d < 16; ++d) {
      EXPECT_EQ(y[d], 0.75f);
      EXPECT_NEAR(y[16 + d], d % 2 ? 65504 : -65504, 64);
      EXPECT_TRUE(std::isnan(y[32 + d]));
    }
  }
}

template <typename Element>
void expectWritesItsLayerOnly(llvm::StringRef target, CacheType type) {
  CachedAttentionOptions options = makeOptions(2, 1, 16);
  options.cacheType = type;
  Data data(options);
  Layer layer(target, options);
  layer.write(data, tokensOf(2, 0, kCacheTokens), 3);
  size_t before = kMaxSequences * kCacheTokens * kBefore;
  for (size_t i = 0; i < before; ++i)
    ASSERT_EQ(layer.cache[i], 0xff) << i;
  // Position 17 of sequence 2: block 1, column 1.
  auto *cache = reinterpret_cast<const Element *>(&layer.cache[before]);
  const Element *keys = cache + 2 * kCacheTokens * 16;
  const Element *values = keys + kMaxSequences * kCacheTokens * 16;
  auto row = [&](std::vector<float> &all) {
    return &all[(2 * kCacheTokens + 17) * 16];
  };
  for (size_t d = 0; d < 16; ++d) {
    EXPECT_EQ(float(keys[16 * 16 + d * 16 + 1]), row(data.keptK)[d]);
    EXPECT_EQ(float(values[17 * 16 + d]), row(data.keptV)[d]);
  }
}

TEST_P(AttentionTest, WritesItsLayerOnly) {
  for (CacheType type : {CacheType::Q8, CacheType::Q4}) {
    CachedAttentionOptions options = makeOptions(2, 2, 48);
    options.cacheType = type;
    Data data(options);
    Layer layer(GetParam(), options);
    layer.cache.resize(layer.cache.size() + 64, 0xff); // Another layer's.
    layer.write(data, tokensOf(2, 0, kCacheTokens), 3);
    size_t before = kMaxSequences * kCacheTokens * kBefore;
    auto isFree = [](uint8_t byte) { return byte == 0xff; };
    EXPECT_TRUE(
        std::all_of(layer.cache.begin(), layer.cache.begin() + before, isFree));
    EXPECT_TRUE(std::all_of(layer.cache.end() - 64, layer.cache.end(), isFree));
  }
  expectWritesItsLayerOnly<float>(GetParam(), CacheType::F32);
  expectWritesItsLayerOnly<_Float16>(GetParam(), CacheType::F16);
}

TEST_P(AttentionTest, RoundsAndSaturatesInHalfPrecision) {
  CachedAttentionOptions options = makeOptions(1, 1, 8);
  options.cacheType = CacheType::F16;
  Data data(options);
  const float infinity = std::numeric_limits<float>::infinity();
  const float given[] = {1.0f / 3, 65519.0f,  65520.0f, -1e30f,
                         infinity, -infinity, 1e-9f,    std::nanf("")};
  const float kept[] = {
      roundToHalf(1.0f / 3), 65504, 65504, -65504, 65504, -65504, 0,
      std::nanf("")};
  std::copy_n(given, 8, data.v.begin());
  Layer layer(GetParam(), options);
  layer.write(data, {{0, 0}}, 1);
  size_t before = kMaxSequences * kCacheTokens * (kBefore + 2 * 8);
  auto *values = reinterpret_cast<const _Float16 *>(&layer.cache[before]);
  for (int i = 0; i < 7; ++i)
    EXPECT_EQ(float(values[i]), kept[i]) << given[i];
  EXPECT_TRUE(std::isnan(float(values[7])));
}

INSTANTIATE_TEST_SUITE_P(Targets, AttentionTest,
                         testing::ValuesIn(runnableTargets()),
                         [](const auto &info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

//===----------------------------------------------------------------------===//
// Tiles
//===----------------------------------------------------------------------===//

/// Batches of more tokens than this may be computed by tiles.
constexpr int64_t kTokensBeforeTiles = 24;

/// Machines with AMX: emulated, and the host if it has it.
class AttentionTilesTest : public testing::TestWithParam<std::string> {
protected:
  void expectNearReference(CachedAttentionOptions options, int32_t length);
};

/// Queries, keys and values that bf16 holds.
Data makeRoundedData(const CachedAttentionOptions &options,
                     int64_t cacheTokens) {
  Data data(options, cacheTokens);
  for (auto *values : {&data.q, &data.k, &data.v, &data.keptK, &data.keptV})
    for (float &value : *values)
      value = roundToBF16(value);
  return data;
}

/// All at once, in pieces by several workers, and token by token.
void AttentionTilesTest::expectNearReference(CachedAttentionOptions options,
                                             int32_t length) {
  int64_t cacheTokens = (length + 15) / 16 * 16;
  bool isExact = options.cacheType == CacheType::F32;
  Data data = isExact ? makeRoundedData(options, cacheTokens)
                      : Data(options, cacheTokens);
  Layer vectors(GetParam(), options, cacheTokens);
  options.tiles = true;
  Layer layer(GetParam(), options, cacheTokens);
  std::vector<Token> tokens = tokensOf(1, 0, length);
  std::vector<float> y = layer.run(data, tokens, 2);
  int64_t size = options.heads * options.headDim;
  double error = 0, count = 0;
  for (int32_t t = 0; t < length; t += t < 300 ? 1 : 97) {
    std::vector<double> expected = reference(data, tokens[t]);
    for (int64_t i = 0; i < size; ++i) {
      double own = y[t * size + i] - expected[i];
      // Weights are rounded to 2^-9 of them, and queries times a scale that is
      // not a power of two, and what a cache gives, as much; values are up
      // to 4.
      ASSERT_NEAR(own, 0, isExact ? 0.012 : 0.04)
          << "token " << t << ", element " << i << ", " << describe(options);
      error += own * own;
      ++count;
    }
  }
  EXPECT_LT(std::sqrt(error / count), isExact ? 1e-3 : 2.5e-3)
      << describe(options);
  // However many tokens follow each other, a row's bits are the same, unless it
  // is one of the last, which are too few for tiles.
  int64_t last = std::max<int64_t>(1, 48 * options.kvHeads / options.heads);
  for (int32_t begin = 0, piece = 61; begin + piece <= length;
       begin += piece, piece = piece * 3 % 101 + 61) {
    std::vector<float> own =
        layer.run(data, tokensOf(1, begin, begin + piece), 1 + piece % 4);
    int64_t same = std::min(begin + piece, length - int32_t(last)) - begin;
    same = std::min(same, piece - last) * size;
    EXPECT_EQ(0,
              std::memcmp(own.data(), &y[begin * size], same * sizeof(float)))
        << "from " << begin << ", " << describe(options);
  }
  vectors.write(data, tokens, 2);
  for (int32_t begin : {0, 100, length - int32_t(kTokensBeforeTiles)}) {
    auto few = tokensOf(1, begin, begin + kTokensBeforeTiles);
    EXPECT_EQ(layer.run(data, few, 2), vectors.run(data, few, 2))
        << "from " << begin << ", " << describe(options);
  }
}

TEST_P(AttentionTilesTest, AreNearDoublePrecision) {
  struct {
    int64_t heads, kvHeads, headDim;
  } shapes[] = {{8, 1, 64}, {7, 1, 64},  {4, 2, 128}, {2, 2, 80},
                {6, 2, 48}, {2, 1, 256}, {71, 1, 16}, {9, 3, 96}};
  for (auto &shape : shapes)
    expectNearReference(makeOptions(shape.heads, shape.kvHeads, shape.headDim),
                        300);
}

TEST_P(AttentionTilesTest, ReadEveryCache) {
  for (CacheType type : {CacheType::F16, CacheType::Q8, CacheType::Q4})
    for (int64_t headDim : {64, 128}) {
      CachedAttentionOptions options = makeOptions(8, 2, headDim);
      options.cacheType = type;
      expectNearReference(options, 300);
    }
}

TEST_P(AttentionTilesTest, SumOverALongContext) {
  expectNearReference(makeOptions(8, 1, 64), 1000);
}

TEST_P(AttentionTilesTest, SeeTheWindowOnly) {
  for (int64_t window : {1, 16, 100, 700}) {
    CachedAttentionOptions options = makeOptions(8, 2, 64);
    options.window = window;
    expectNearReference(options, window == 700 ? 1000 : 300);
  }
}

TEST_P(AttentionTilesTest, CapScoresAndAddSlopes) {
  CachedAttentionOptions options = makeOptions(8, 4, 64);
  options.softcap = 0.3;
  expectNearReference(options, 200);
  for (int64_t h = 1; h <= 8; ++h)
    options.slopes.push_back(std::ldexp(1.0f, -h));
  expectNearReference(options, 200);
  options.window = 40;
  expectNearReference(options, 200);
}

TEST_P(AttentionTilesTest, HaveRunsOfSeveralSequences) {
  CachedAttentionOptions options = makeOptions(4, 1, 32);
  Data data = makeRoundedData(options, kCacheTokens);
  Layer vectors(GetParam(), options);
  options.tiles = true;
  Layer layer(GetParam(), options), alone(GetParam(), options);
  layer.write(data, tokensOf(0, 0, 100), 1);
  // Between two long runs tokens that have few rows.
  std::vector<Token> batch = tokensOf(1, 0, 150);
  batch.push_back({0, 70});
  llvm::append_range(batch, tokensOf(2, 0, 90));
  std::vector<float> y = layer.run(data, batch, 3);
  std::vector<float> first = alone.run(data, tokensOf(1, 0, 150), 1);
  std::vector<float> last = alone.run(data, tokensOf(2, 0, 90), 2);
  vectors.write(data, tokensOf(0, 0, 100), 1);
  std::vector<float> one = vectors.run(data, {{0, 70}}, 1);
  first.insert(first.end(), one.begin(), one.end());
  first.insert(first.end(), last.begin(), last.end());
  EXPECT_EQ(y, first);
}

TEST_P(AttentionTilesTest, LargeScoresChooseOnePosition) {
  CachedAttentionOptions options = makeOptions(8, 1, 64);
  Data data = makeRoundedData(options, kCacheTokens);
  // Scores of some thousands, the greatest of which are in later chunks.
  for (size_t i = 0; i < data.q.size(); ++i)
    data.q[i] *= 1024;
  for (size_t i = 0; i < data.keptK.size(); ++i)
    data.keptK[i] = data.k[i] *= float(1 << i / 64 % kCacheTokens / 100);
  options.tiles = true;
  Layer layer(GetParam(), options);
  std::vector<float> y = layer.run(data, tokensOf(0, 0, 300), 2);
  size_t size = options.heads * options.headDim;
  for (int32_t t = 0; t < 300; ++t) {
    std::vector<double> expected = reference(data, {0, t});
    for (size_t i = 0; i < size; ++i)
      ASSERT_NEAR(y[t * size + i], expected[i], 0.02) << t << ", " << i;
  }
}

/// As rows of the product that is next: long runs, and tokens that have few
/// rows among them.
TEST_P(AttentionTilesTest, PackTheirResult) {
  CachedAttentionOptions options = makeOptions(8, 2, 64);
  options.tiles = true;
  Data data = makeRoundedData(options, kCacheTokens);
  Layer plain(GetParam(), options);
  options.packs = true;
  Layer packing(GetParam(), options);
  std::vector<Token> many = tokensOf(0, 0, 70);
  llvm::append_range(many, tokensOf(1, 0, 2));
  llvm::append_range(many, tokensOf(2, 0, 60));
  size_t size = options.heads * options.headDim;
  for (const std::vector<Token> &tokens : {many, tokensOf(1, 2, 12)}) {
    std::vector<float> expected = plain.run(data, tokens, 2);
    std::vector<float> y = packing.run(data, tokens, 3);
    if (int64_t(tokens.size()) <= kTokensBeforeTiles) {
      EXPECT_EQ(y, expected);
      continue;
    }
    EXPECT_TRUE(llvm::all_of(y, [](float v) { return std::isnan(v); }));
    for (size_t i = 0; i < expected.size(); ++i) {
      size_t row = i / size, column = i % size;
      size_t at = (row / 16 * (size / 32) + column / 32) * 512 + row % 16 * 32 +
                  column % 32;
      uint16_t bits;
      std::memcpy(&bits, &packing.packed[2 * at], 2);
      uint32_t wide = uint32_t(bits) << 16;
      float found;
      std::memcpy(&found, &wide, 4);
      ASSERT_EQ(found, roundToBF16(expected[i])) << row << ", " << column;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Machines, AttentionTilesTest,
                         testing::ValuesIn(runnableTargetsWithTiles()),
                         [](const auto &info) {
                           return info.param == "host" ? "host" : "emulated";
                         });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(AttentionTilesTest);

} // namespace
