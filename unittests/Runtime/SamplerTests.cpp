//===- SamplerTests.cpp - Choosing tokens ---------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestUtils.h"

#include <cmath>
#include <map>

using namespace nju;
using namespace nju::test;

static nju_sampling_options makeOptions(float temperature, int32_t topK = 0,
                                        float topP = 0, float minP = 0,
                                        float penalty = 0, uint64_t seed = 1) {
  return {temperature, topK, topP, minP, penalty, seed};
}

static SamplerHandle create(const nju_sampling_options &options) {
  nju_sampler *sampler = nullptr;
  EXPECT_OK(nju_sampler_create(&options, &sampler));
  return SamplerHandle(sampler);
}

static int32_t sample(const SamplerHandle &sampler,
                      const std::vector<float> &logits,
                      const std::vector<int32_t> &history = {}) {
  int32_t token = -1;
  EXPECT_OK(nju_sampler_sample(sampler.get(), logits.data(), logits.size(),
                               history.data(), history.size(), &token));
  return token;
}

/// How often each token comes in `count` draws.
static std::map<int, int> draw(const nju_sampling_options &options,
                               const std::vector<float> &logits,
                               int count = 20000) {
  SamplerHandle sampler = create(options);
  std::map<int, int> counts;
  for (int i = 0; i < count; ++i)
    ++counts[sample(sampler, logits)];
  return counts;
}

/// Expects frequencies within five standard deviations of `probabilities`.
static void expectFrequencies(const std::map<int, int> &counts,
                              const std::map<int, double> &probabilities) {
  int total = 0;
  for (const auto &entry : counts) {
    total += entry.second;
    EXPECT_TRUE(probabilities.count(entry.first)) << "token " << entry.first;
  }
  for (const auto &entry : probabilities) {
    double p = entry.second;
    auto it = counts.find(entry.first);
    double frequency = it == counts.end() ? 0 : double(it->second) / total;
    EXPECT_NEAR(frequency, p, 5 * std::sqrt(p * (1 - p) / total))
        << "token " << entry.first;
  }
}

static const float ln2 = std::log(2.0f);
/// Probabilities 8/15, 4/15, 2/15, 1/15, out of order.
static const std::vector<float> powers = {1 * ln2, 3 * ln2, 0, 2 * ln2};

TEST(Sampler, IsGreedyByDefault) {
  nju_sampler *raw;
  ASSERT_OK(nju_sampler_create(nullptr, &raw));
  SamplerHandle sampler(raw);
  EXPECT_EQ(sample(sampler, {1, 5, 3, 5}), 1);
  EXPECT_EQ(sample(sampler, {-INFINITY, -3, -2}), 2);
  EXPECT_EQ(sample(sampler, {0, 0, 0}), 0);
}

TEST(Sampler, DrawsByProbability) {
  expectFrequencies(
      draw(makeOptions(1), powers),
      {{1, 8 / 15.0}, {3, 4 / 15.0}, {0, 2 / 15.0}, {2, 1 / 15.0}});
}

TEST(Sampler, TemperatureSharpensAndFlattens) {
  // Half the temperature squares the odds.
  expectFrequencies(
      draw(makeOptions(0.5f), powers),
      {{1, 64 / 85.0}, {3, 16 / 85.0}, {0, 4 / 85.0}, {2, 1 / 85.0}});
  expectFrequencies(draw(makeOptions(1e6f), powers),
                    {{0, 0.25}, {1, 0.25}, {2, 0.25}, {3, 0.25}});
  expectFrequencies(draw(makeOptions(1e-20f), powers), {{1, 1}});
}

TEST(Sampler, TopKKeepsTheLikeliest) {
  expectFrequencies(draw(makeOptions(1, 2), powers),
                    {{1, 2 / 3.0}, {3, 1 / 3.0}});
  expectFrequencies(draw(makeOptions(1, 1), powers), {{1, 1}});
  expectFrequencies(
      draw(makeOptions(1, 100), powers),
      {{1, 8 / 15.0}, {3, 4 / 15.0}, {0, 2 / 15.0}, {2, 1 / 15.0}});
  // Ties are broken by the lower index.
  expectFrequencies(draw(makeOptions(1, 2), {0, 1, 1, 1}),
                    {{1, 0.5}, {2, 0.5}});
}

TEST(Sampler, TopPKeepsTheFewestThatSuffice) {
  // 8/15 = 0.53, with 4/15 0.8, with 2/15 0.93.
  expectFrequencies(draw(makeOptions(1, 0, 0.5f), powers), {{1, 1}});
  expectFrequencies(draw(makeOptions(1, 0, 0.6f), powers),
                    {{1, 2 / 3.0}, {3, 1 / 3.0}});
  expectFrequencies(draw(makeOptions(1, 0, 0.9f), powers),
                    {{1, 8 / 14.0}, {3, 4 / 14.0}, {0, 2 / 14.0}});
  // After top-k the probabilities are those of what is left: 8/14 and 4/14.
  expectFrequencies(draw(makeOptions(1, 3, 0.56f), powers), {{1, 1}});
  expectFrequencies(draw(makeOptions(1, 3, 0.6f), powers),
                    {{1, 2 / 3.0}, {3, 1 / 3.0}});
}

TEST(Sampler, MinPComparesWithTheLikeliest) {
  expectFrequencies(draw(makeOptions(1, 0, 0, 0.2f), powers),
                    {{1, 8 / 14.0}, {3, 4 / 14.0}, {0, 2 / 14.0}});
  expectFrequencies(draw(makeOptions(1, 0, 0, 0.9f), powers), {{1, 1}});
}

TEST(Sampler, RepetitionPenaltyCountsATokenOnce) {
  SamplerHandle sampler = create(makeOptions(0, 0, 0, 0, 2));
  EXPECT_EQ(sample(sampler, {3, 4, -1}), 1);
  EXPECT_EQ(sample(sampler, {3, 4, -1}, {1}), 0);
  EXPECT_EQ(sample(sampler, {3, 5.9f, -1}, {1, 1, 1}), 0);
  EXPECT_EQ(sample(sampler, {3, 7, -1}, {1, 1, 1}), 1);
  // Negative logits go down, too.
  EXPECT_EQ(sample(sampler, {-1, -1.5f, -9}, {0}), 1);
}

TEST(Sampler, SameSeedSameTokens) {
  for (uint64_t seed : {0, 1, 12345}) {
    SamplerHandle a = create(makeOptions(1, 0, 0, 0, 0, seed));
    SamplerHandle b = create(makeOptions(1, 0, 0, 0, 0, seed));
    for (int i = 0; i < 100; ++i)
      EXPECT_EQ(sample(a, powers), sample(b, powers));
  }
  SamplerHandle a = create(makeOptions(1, 0, 0, 0, 0, 1));
  SamplerHandle b = create(makeOptions(1, 0, 0, 0, 0, 2));
  int same = 0;
  for (int i = 0; i < 200; ++i)
    same += sample(a, powers) == sample(b, powers);
  EXPECT_LT(same, 120);
}

TEST(Sampler, DrawsTheSameTokensOnEveryMachine) {
  std::vector<float> logits(1000);
  for (int i = 0; i < 1000; ++i)
    logits[i] = i * 7919 % 1000 * 0.004f;
  SamplerHandle sampler = create(makeOptions(0.8f, 0, 0.95f, 0.01f, 1.1f, 42));
  std::vector<int32_t> tokens;
  for (int i = 0; i < 12; ++i)
    tokens.push_back(sample(sampler, logits, tokens));
  // From an independent program; a change here changes every user's texts.
  EXPECT_EQ(tokens, (std::vector<int32_t>{457, 890, 126, 573, 871, 781, 509,
                                          646, 176, 681, 89, 865}));
}

TEST(Sampler, RefusesBadLogits) {
  SamplerHandle sampler = create(makeOptions(1));
  int32_t token;
  float bad[] = {1, NAN, INFINITY, -INFINITY, -INFINITY};
  EXPECT_FAILURE(nju_sampler_sample(sampler.get(), bad, 3, nullptr, 0, &token),
                 NJU_INVALID_ARGUMENT,
                 "logit 1 is not a number, expected a finite");
  EXPECT_FAILURE(
      nju_sampler_sample(sampler.get(), bad + 2, 1, nullptr, 0, &token),
      NJU_INVALID_ARGUMENT, "logit 0 is infinite");
  EXPECT_FAILURE(
      nju_sampler_sample(sampler.get(), bad + 3, 2, nullptr, 0, &token),
      NJU_INVALID_ARGUMENT, "every logit is minus infinity");
  EXPECT_FAILURE(nju_sampler_sample(sampler.get(), bad, 0, nullptr, 0, &token),
                 NJU_INVALID_ARGUMENT, "the vocabulary has 0 entries");
  EXPECT_FAILURE(nju_sampler_sample(nullptr, bad, 1, nullptr, 0, &token),
                 NJU_INVALID_ARGUMENT, "sampler is NULL");
  EXPECT_FAILURE(
      nju_sampler_sample(sampler.get(), nullptr, 1, nullptr, 0, &token),
      NJU_INVALID_ARGUMENT, "logits is NULL");
  EXPECT_FAILURE(nju_sampler_sample(sampler.get(), bad, 1, nullptr, 1, &token),
                 NJU_INVALID_ARGUMENT, "history is NULL");
  int32_t history = 1;
  EXPECT_FAILURE(nju_sampler_sample(sampler.get(), bad, 1, &history, 1, &token),
                 NJU_OUT_OF_RANGE, "token 0 of the history is 1");
  EXPECT_FAILURE(nju_sampler_sample(sampler.get(), bad, 1, nullptr, 0, nullptr),
                 NJU_INVALID_ARGUMENT, "out_token is NULL");
}

TEST(Sampler, RefusesBadOptions) {
  const struct {
    nju_sampling_options options;
    const char *message;
  } cases[] = {
      {makeOptions(-1), "temperature is -1, expected a finite number"},
      {makeOptions(NAN), "temperature is nan"},
      {makeOptions(INFINITY), "temperature is inf"},
      {makeOptions(1, -1), "top_k is -1, expected 0 (off) or more"},
      {makeOptions(1, 0, 1.5f), "top_p is 1.5, expected 0 to 1"},
      {makeOptions(1, 0, 0, -0.5f), "min_p is -0.5, expected 0 to 1"},
      {makeOptions(1, 0, 0, 0, -2), "repetition_penalty is -2"},
  };
  nju_sampler *sampler;
  for (const auto &entry : cases)
    EXPECT_FAILURE(nju_sampler_create(&entry.options, &sampler),
                   NJU_INVALID_ARGUMENT, entry.message);
  EXPECT_FAILURE(nju_sampler_create(nullptr, nullptr), NJU_INVALID_ARGUMENT,
                 "out_sampler is NULL");
}
