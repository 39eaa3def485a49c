//===- Generate.cpp - Calibration text that a model says itself -----------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Refinement/Generate.h"

#include "Tape.h"
#include "nju/Support/Exponential.h"
#include "llvm/Support/Parallel.h"
#include <cmath>
#include <random>

using namespace mlir;
using namespace nju;

namespace {

/// Keys and values of one attention, of one sequence: [positions, heads, size].
struct SequenceCache {
  std::vector<float> keys, values;
};

/// Sequences that grow side by side.
class Generator {
public:
  Generator(func::FuncOp step, const GraphPart &part, ParamSource &params,
            const GenerateOptions &options,
            llvm::function_ref<void(int64_t, int64_t)> progress)
      : step(step), params(params), tape(part, this->params), options(options),
        progress(progress),
        vocabulary(
            cast<RankedTensorType>(step.getResultTypes()[0]).getShape().back()),
        random(options.seed) {
    tape.setAttention([&](CachedAttentionOp op, ArrayRef<HostTensor> operands) {
      return attend(op, operands);
    });
  }

  llvm::Expected<TokenBatch> run();

private:
  int64_t countTokens() const;
  bool begin(int64_t slot);
  llvm::Expected<HostTensor> runStep(ArrayRef<int64_t> slots);
  HostTensor attend(CachedAttentionOp op, ArrayRef<HostTensor> operands);
  void attendToken(CachedAttentionOp op, ArrayRef<HostTensor> operands,
                   int64_t token, float *result);
  int32_t draw(const float *logits);
  double drawUniform() { return (random() + 0.5) / 4294967296.0; }

  func::FuncOp step;
  ParamCache params;
  Tape tape;
  const GenerateOptions &options;
  llvm::function_ref<void(int64_t, int64_t)> progress;
  int64_t vocabulary;
  std::mt19937 random;
  int64_t length = 0; ///< Of a sequence, at most.
  TokenBatch finished;
  std::vector<std::vector<int32_t>> growing; ///< By slot.
  /// By attention and slot.
  llvm::DenseMap<int64_t, std::vector<SequenceCache>> caches;
};

} // namespace

/// One query of each head over all that its sequence has so far.
void Generator::attendToken(CachedAttentionOp op, ArrayRef<HostTensor> operands,
                            int64_t token, float *result) {
  int64_t heads = operands[0].getDim(2), groups = operands[1].getDim(2),
          size = operands[0].getDim(3), width = groups * size;
  SequenceCache &cache = caches[op.getLayer()][operands[4].getInt(token)];
  const float *key = operands[1].elements<float>().data() + token * width;
  const float *value = operands[2].elements<float>().data() + token * width;
  cache.keys.insert(cache.keys.end(), key, key + width);
  cache.values.insert(cache.values.end(), value, value + width);
  int64_t position = operands[3].getInt(token);
  int64_t first =
      op.getWindow() ? std::max<int64_t>(0, position - *op.getWindow() + 1) : 0;
  float scale = float(op.getScale().convertToDouble());
  float softcap =
      op.getSoftcap() ? float(op.getSoftcap()->convertToDouble()) : 0;
  std::vector<float> weights(position + 1);
  for (int64_t h = 0; h < heads; ++h) {
    const float *query =
        operands[0].elements<float>().data() + (token * heads + h) * size;
    int64_t column = h / (heads / groups) * size;
    float largest = -INFINITY, sum = 0;
    for (int64_t j = first; j <= position; ++j) {
      float score = 0;
      for (int64_t d = 0; d < size; ++d)
        score += query[d] * cache.keys[j * width + column + d];
      weights[j] =
          softcap != 0 ? capScore(score * scale, softcap) : score * scale;
      if (op.getSlopes())
        weights[j] += (*op.getSlopes())[h] * float(j - position);
      largest = std::max(largest, weights[j]);
    }
    for (int64_t j = first; j <= position; ++j)
      sum += weights[j] = std::exp(weights[j] - largest);
    float *to = result + h * size;
    std::fill(to, to + size, 0.f);
    for (int64_t j = first; j <= position; ++j)
      for (int64_t d = 0; d < size; ++d)
        to[d] += weights[j] / sum * cache.values[j * width + column + d];
  }
}

HostTensor Generator::attend(CachedAttentionOp op,
                             ArrayRef<HostTensor> operands) {
  HostTensor result = HostTensor::uninitialized(operands[0].getElementType(),
                                                operands[0].getShape());
  int64_t tokens = operands[0].getDim(1),
          width = operands[0].getDim(2) * operands[0].getDim(3);
  // Made here, since threads must not.
  caches[op.getLayer()].resize(growing.size());
  float *to = result.mutableElements<float>().data();
  llvm::parallelFor(0, tokens, [&](size_t token) {
    attendToken(op, operands, token, to + token * width);
  });
  return result;
}

/// Of all sequences so far.
int64_t Generator::countTokens() const {
  int64_t count = finished.countTokens();
  for (const std::vector<int32_t> &sequence : growing)
    count += sequence.size();
  return count;
}

/// A new sequence in a slot, unless there are enough.
bool Generator::begin(int64_t slot) {
  int64_t made = finished.countTokens();
  for (const std::vector<int32_t> &sequence : growing)
    made += sequence.empty() ? 0 : length;
  if (made >= options.tokens)
    return false;
  int32_t token = options.beginning >= 0
                      ? options.beginning
                      : int32_t(drawUniform() * double(vocabulary));
  growing[slot] = {token};
  for (auto &[layer, slots] : caches)
    slots[slot] = SequenceCache();
  return true;
}

/// The logits after the last token of each slot.
llvm::Expected<HostTensor> Generator::runStep(ArrayRef<int64_t> slots) {
  ValueMap arguments;
  Type i32 = IntegerType::get(step.getContext(), 32);
  for (BlockArgument argument : step.getArguments()) {
    auto name =
        step.getArgAttrOfType<StringAttr>(argument.getArgNumber(), "nju.name");
    SmallVector<int64_t> numbers;
    for (auto [row, slot] : llvm::enumerate(slots)) {
      const std::vector<int32_t> &sequence = growing[slot];
      StringRef role = name ? name.getValue() : "";
      numbers.push_back(role == "tokens"      ? sequence.back()
                        : role == "positions" ? int64_t(sequence.size()) - 1
                        : role == "sequences" ? slot
                                              : int64_t(row));
    }
    arguments[argument] =
        HostTensor::fromInts(i32, {int64_t(numbers.size())}, numbers);
  }
  return tape.forward(arguments, {}, /*keepsValues=*/false);
}

int32_t Generator::draw(const float *logits) {
  float largest = *std::max_element(logits, logits + vocabulary);
  double sum = 0;
  for (int64_t i = 0; i < vocabulary; ++i)
    sum += std::exp(double(logits[i]) - largest);
  double rest = drawUniform() * sum;
  for (int64_t i = 0; i < vocabulary; ++i) {
    rest -= std::exp(double(logits[i]) - largest);
    if (rest < 0)
      return int32_t(i);
  }
  return int32_t(vocabulary - 1);
}

llvm::Expected<TokenBatch> Generator::run() {
  length = std::min(options.length, options.tokens);
  growing.resize(options.sequences);
  llvm::SmallVector<int64_t> slots;
  for (int64_t slot = 0; slot < options.sequences && begin(slot); ++slot)
    slots.push_back(slot);
  while (!slots.empty()) {
    auto logits = runStep(slots);
    if (!logits)
      return logits.takeError();
    const float *rows = logits->elements<float>().data();
    llvm::SmallVector<int64_t> next;
    for (auto [row, slot] : llvm::enumerate(slots)) {
      std::vector<int32_t> &sequence = growing[slot];
      int32_t token = draw(rows + row * vocabulary);
      bool isEnd = token == options.end;
      if (!isEnd)
        sequence.push_back(token);
      if (!isEnd && int64_t(sequence.size()) < length) {
        next.push_back(slot);
        continue;
      }
      finished.sequences.push_back(std::move(sequence));
      growing[slot].clear();
      if (begin(slot))
        next.push_back(slot);
    }
    slots = std::move(next);
    if (progress)
      progress(std::min(countTokens(), options.tokens), options.tokens);
  }
  return finished;
}

llvm::Expected<TokenBatch>
nju::generateTokens(func::FuncOp step, ParamSource &params,
                    const GenerateOptions &options,
                    llvm::function_ref<void(int64_t, int64_t)> progress) {
  if (options.tokens < 1 || options.length < 1 || options.sequences < 1)
    return llvm::createStringError("no tokens to generate");
  Value output = step.getBody().front().getTerminator()->getOperand(0);
  auto part = GraphPart::find(output, {}, {});
  if (!part)
    return part.takeError();
  return Generator(step, *part, params, options, progress).run();
}
