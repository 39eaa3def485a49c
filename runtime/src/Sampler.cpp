//===- Sampler.cpp - Choosing the next token ------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Everything that decides is computed in ways that give the same bits on every
// machine: sums in a fixed order, an exponential of our own (libm's differs
// between versions and processors), and this file is compiled without
// contraction of multiply and add.
//
//===----------------------------------------------------------------------===//

#include "Status.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

using namespace nju;

namespace {

/// xoshiro256** (Blackman and Vigna, "Scrambled linear pseudorandom number
/// generators", 2021), its state filled by splitmix64 from the seed.
class Random {
public:
  explicit Random(uint64_t seed) {
    for (uint64_t &word : state) {
      seed += 0x9e3779b97f4a7c15;
      word = (seed ^ seed >> 30) * 0xbf58476d1ce4e5b9;
      word = (word ^ word >> 27) * 0x94d049bb133111eb;
      word ^= word >> 31;
    }
  }

  /// Uniform in [0, 1), 53 bits.
  double nextUniform() {
    uint64_t result = rotate(state[1] * 5, 7) * 9;
    uint64_t shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotate(state[3], 45);
    return double(result >> 11) * 0x1p-53;
  }

private:
  static uint64_t rotate(uint64_t word, int count) {
    return word << count | word >> (64 - count);
  }
  uint64_t state[4];
};

struct Candidate {
  int32_t token;
  double logit;
  double weight; ///< Probability times a common factor; the likeliest has 1.
};

} // namespace

struct nju_sampler {
  nju_sampling_options options;
  Random random;
  std::vector<Candidate> candidates;
  std::vector<double> logits; ///< after the repetition penalty
};

/// exp(x) for x <= 0: x = k ln 2 + r, Taylor series of exp(r), |r| <= 0.35.
static double exponential(double x) {
  if (x < -700)
    return 0;
  double k = std::nearbyint(x * 1.4426950408889634);
  double r = (x - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10;
  double sum = 1;
  for (int n = 14; n >= 1; --n)
    sum = 1 + sum * r / n;
  return std::ldexp(sum, int(k));
}

static bool isLess(const Candidate &a, const Candidate &b) {
  return a.logit != b.logit ? a.logit < b.logit : a.token > b.token;
}

static nju_status checkLogits(const float *logits, size_t vocabulary) {
  bool isFinite = false;
  for (size_t i = 0; i < vocabulary; ++i) {
    if (!(logits[i] < INFINITY))
      return fail(NJU_INVALID_ARGUMENT,
                  "logit %zu is %s, expected a finite number", i,
                  std::isnan(logits[i]) ? "not a number" : "infinite");
    isFinite |= logits[i] > -INFINITY;
  }
  return isFinite ? NJU_OK
                  : fail(NJU_INVALID_ARGUMENT,
                         "no token can be chosen: every logit is minus "
                         "infinity");
}

static nju_status applyPenalty(nju_sampler &sampler, const int32_t *history,
                               size_t length) {
  double penalty = sampler.options.repetition_penalty;
  for (size_t i = 0; i < length; ++i)
    if (history[i] < 0 || size_t(history[i]) >= sampler.logits.size())
      return fail(NJU_OUT_OF_RANGE,
                  "token %zu of the history is %" PRId32
                  ", the vocabulary has %zu",
                  i, history[i], sampler.logits.size());
  if (penalty == 0 || penalty == 1)
    return NJU_OK;
  // Once a token, however often it occurs.
  std::vector<int32_t> tokens(history, history + length);
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  for (int32_t token : tokens) {
    double &logit = sampler.logits[token];
    logit = logit > 0 ? logit / penalty : logit * penalty;
  }
  return NJU_OK;
}

static int32_t chooseGreedy(const std::vector<double> &logits) {
  return std::max_element(logits.begin(), logits.end()) - logits.begin();
}

/// Keeps the likeliest candidates that top-k and then top-p allow, in falling
/// order. Only as much is sorted as is kept.
static void keepTop(std::vector<Candidate> &candidates,
                    const nju_sampling_options &options) {
  bool hasTopK = options.top_k > 0;
  bool hasTopP = options.top_p > 0 && options.top_p < 1;
  size_t limit = candidates.size();
  double total = 0;
  if (hasTopK)
    limit = std::min<size_t>(limit, options.top_k);
  else
    for (const Candidate &candidate : candidates)
      total += candidate.weight;

  std::make_heap(candidates.begin(), candidates.end(), isLess);
  std::vector<Candidate> kept;
  double sum = 0;
  auto end = candidates.end();
  while (kept.size() < limit && (hasTopK || sum < options.top_p * total)) {
    kept.push_back(candidates.front());
    sum += candidates.front().weight;
    std::pop_heap(candidates.begin(), end--, isLess);
  }
  if (hasTopK && hasTopP) {
    total = sum;
    sum = 0;
    size_t count = 0;
    while (count < kept.size() && sum < options.top_p * total)
      sum += kept[count++].weight;
    kept.resize(count);
  }
  candidates.swap(kept);
}

static int32_t draw(nju_sampler &sampler) {
  const nju_sampling_options &options = sampler.options;
  std::vector<Candidate> &candidates = sampler.candidates;
  double best = *std::max_element(sampler.logits.begin(), sampler.logits.end());
  candidates.clear();
  for (size_t i = 0; i < sampler.logits.size(); ++i) {
    double logit = sampler.logits[i];
    if (logit > -INFINITY)
      candidates.push_back({int32_t(i), logit,
                            exponential((logit - best) / options.temperature)});
  }
  if (options.top_k > 0 || (options.top_p > 0 && options.top_p < 1))
    keepTop(candidates, options);
  double total = 0;
  for (Candidate &candidate : candidates) {
    if (candidate.weight < options.min_p)
      candidate.weight = 0;
    total += candidate.weight;
  }
  double rest = sampler.random.nextUniform() * total;
  int32_t last = candidates.front().token;
  for (const Candidate &candidate : candidates) {
    if (candidate.weight == 0)
      continue;
    last = candidate.token;
    if (rest < candidate.weight)
      return last;
    rest -= candidate.weight;
  }
  return last; // rounding left a crumb
}

static nju_status checkOptions(const nju_sampling_options &options) {
  const struct {
    const char *name;
    float value, max;
  } fields[] = {
      {"temperature", options.temperature, INFINITY},
      {"top_p", options.top_p, 1},
      {"min_p", options.min_p, 1},
      {"repetition_penalty", options.repetition_penalty, INFINITY},
  };
  for (const auto &field : fields)
    if (!(field.value >= 0 && field.value <= field.max &&
          field.value < INFINITY))
      return field.max == 1
                 ? fail(NJU_INVALID_ARGUMENT, "%s is %g, expected 0 to 1",
                        field.name, double(field.value))
                 : fail(NJU_INVALID_ARGUMENT,
                        "%s is %g, expected a finite number of at least 0",
                        field.name, double(field.value));
  if (options.top_k < 0)
    return fail(NJU_INVALID_ARGUMENT,
                "top_k is %" PRId32 ", expected 0 (off) "
                "or more",
                options.top_k);
  return NJU_OK;
}

nju_status nju_sampler_create(const nju_sampling_options *options,
                              nju_sampler **out_sampler) {
  if (!out_sampler)
    return fail(NJU_INVALID_ARGUMENT, "out_sampler is NULL");
  *out_sampler = nullptr;
  return guard([&] {
    nju_sampling_options chosen = options ? *options : nju_sampling_options{};
    if (nju_status status = checkOptions(chosen))
      return status;
    *out_sampler = new nju_sampler{chosen, Random(chosen.seed), {}, {}};
    return NJU_OK;
  });
}

void nju_sampler_release(nju_sampler *sampler) { delete sampler; }

nju_status nju_sampler_sample(nju_sampler *sampler, const float *logits,
                              size_t vocabulary, const int32_t *history,
                              size_t history_length, int32_t *out_token) {
  if (!out_token)
    return fail(NJU_INVALID_ARGUMENT, "out_token is NULL");
  *out_token = 0;
  if (!sampler || !logits || (history_length && !history))
    return fail(NJU_INVALID_ARGUMENT, "%s is NULL",
                !sampler  ? "sampler"
                : !logits ? "logits"
                          : "history");
  if (vocabulary == 0 || vocabulary > INT32_MAX)
    return fail(NJU_INVALID_ARGUMENT, "the vocabulary has %zu entries",
                vocabulary);
  return guard([&] {
    if (nju_status status = checkLogits(logits, vocabulary))
      return status;
    sampler->logits.assign(logits, logits + vocabulary);
    if (nju_status status = applyPenalty(*sampler, history, history_length))
      return status;
    *out_token = sampler->options.temperature > 0
                     ? draw(*sampler)
                     : chooseGreedy(sampler->logits);
    return NJU_OK;
  });
}
