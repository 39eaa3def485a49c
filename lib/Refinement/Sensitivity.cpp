//===- Sensitivity.cpp - What a model's outputs hang on -------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Refinement/Sensitivity.h"

#include "Tape.h"
#include "nju/Support/MatrixProduct.h"
#include <cmath>
#include <random>

using namespace mlir;
using namespace nju;

namespace {

/// Squared gradients, and what they are to be divided by.
struct Squares {
  double sum = 0, divisor = 0;

  double getMean() const { return divisor > 0 ? sum / divisor : 0; }
};

class Measurement {
public:
  Measurement(func::FuncOp function, const GraphPart &part, ParamSource &params,
              unsigned seed)
      : function(function), tape(part, params), random(seed) {
    tape.setObserver([&](Operation *op, const HostTensor &gradient,
                         const HostTensor &input) {
      if (auto linear = dyn_cast<LinearOp>(op))
        addProduct(input, gradient, products[getWeightName(linear)]);
      else
        addLookUp(gradient, lookUps[getTableName(op)]);
    });
  }

  llvm::Error addSequence(std::vector<int32_t> sequence);
  llvm::StringMap<Sensitivity> finish() const;

private:
  static void addProduct(const HostTensor &input, const HostTensor &gradient,
                         Squares &squares);
  static void addLookUp(const HostTensor &gradient, Squares &squares);
  HostTensor drawGradient(const HostTensor &output);
  double drawUniform() { return (random() + 0.5) / 4294967296.0; }

  func::FuncOp function;
  Tape tape;
  std::mt19937 random;
  llvm::StringMap<Squares> products, lookUps;
};

} // namespace

/// Products of all rows of a matrix with each other.
static std::vector<float> multiplyRows(const HostTensor &matrix) {
  int64_t columns = matrix.getShape().back();
  int64_t rows = matrix.getNumElements() / columns;
  const float *from = matrix.elements<float>().data();
  std::vector<float> products(rows * rows);
  multiplyMatrices(rows, rows, columns, {from, columns}, {from, 1, columns},
                   products.data(), rows);
  return products;
}

/// What noise in the weights costs is || G'X ||^2, the squared gradient with
/// respect to the weights over a sequence: errors of one weight at several
/// tokens add up. It is the sum over tokens i, j of (g_i g_j) (x_i x_j).
void Measurement::addProduct(const HostTensor &input,
                             const HostTensor &gradient, Squares &squares) {
  std::vector<float> x = multiplyRows(input), g = multiplyRows(gradient);
  auto rows = size_t(std::sqrt(double(x.size())) + 0.5);
  double length = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    squares.sum += double(x[i]) * g[i];
    if (i % (rows + 1) == 0)
      length += x[i];
  }
  squares.divisor += length * double(gradient.getShape().back());
}

void Measurement::addLookUp(const HostTensor &gradient, Squares &squares) {
  for (float value : gradient.elements<float>())
    squares.sum += double(value) * value;
  squares.divisor += double(gradient.getNumElements());
}

/// The gradient of -log p(token) with respect to a row of logits, for a token
/// drawn by p.
static void drawRowGradient(ArrayRef<float> logits, double uniform, float *to) {
  float largest = *llvm::max_element(logits);
  double sum = 0;
  for (float logit : logits)
    sum += std::exp(double(logit) - largest);
  double rest = uniform;
  size_t drawn = logits.size() - 1;
  for (size_t i = 0; i < logits.size(); ++i) {
    double p = std::exp(double(logits[i]) - largest) / sum;
    to[i] = float(p);
    if (rest >= 0 && rest < p)
      drawn = i;
    rest -= p;
  }
  to[drawn] -= 1;
}

/// A gradient whose outer product with itself has the curvature of the loss as
/// its mean.
HostTensor Measurement::drawGradient(const HostTensor &output) {
  HostTensor gradient =
      HostTensor::uninitialized(output.getElementType(), output.getShape());
  ArrayRef<float> values = output.elements<float>();
  float *to = gradient.mutableElements<float>().data();
  if (function.getName() != "step") {
    for (size_t i = 0; i < values.size(); ++i)
      to[i] = random() & 1 ? 1.f : -1.f;
    return gradient;
  }
  size_t columns = output.getShape().back();
  for (size_t begin = 0; begin < values.size(); begin += columns)
    drawRowGradient(values.slice(begin, columns), drawUniform(), to + begin);
  return gradient;
}

llvm::Error Measurement::addSequence(std::vector<int32_t> sequence) {
  auto arguments = makeArguments(function, {{std::move(sequence)}});
  if (!arguments)
    return arguments.takeError();
  ValueMap inputs;
  for (auto [value, runs] : llvm::zip(function.getArguments(), *arguments))
    inputs[value] = runs.front();
  auto output = tape.forward(inputs, {}, /*keepsValues=*/true);
  if (!output)
    return output.takeError();
  if (!output->getElementType().isF32())
    return llvm::createStringError("the model's output is not f32");
  GradientMap none;
  return tape.backward(drawGradient(*output), {}, none);
}

llvm::StringMap<Sensitivity> Measurement::finish() const {
  llvm::StringMap<Sensitivity> result;
  for (const auto &entry : products)
    result[entry.getKey()].product = entry.getValue().getMean();
  for (const auto &entry : lookUps)
    result[entry.getKey()].lookUp = entry.getValue().getMean();
  return result;
}

/// Sequences from all over the batch.
static std::vector<std::vector<int32_t>>
pickSequences(const TokenBatch &tokens, const SensitivityOptions &options) {
  auto cut = [&](const std::vector<int32_t> &sequence) {
    auto size = std::min<int64_t>(options.length, sequence.size());
    return std::vector<int32_t>(sequence.begin(), sequence.begin() + size);
  };
  int64_t total = 0;
  for (const std::vector<int32_t> &sequence : tokens.sequences)
    total += cut(sequence).size();
  std::vector<std::vector<int32_t>> picked;
  int64_t count = 0, seen = 0;
  for (const std::vector<int32_t> &sequence : tokens.sequences) {
    std::vector<int32_t> own = cut(sequence);
    seen += own.size();
    // As many tokens of those seen as are wanted of all.
    if (own.empty() || double(count) * total >= double(seen) * options.tokens)
      continue;
    count += own.size();
    picked.push_back(std::move(own));
  }
  return picked;
}

llvm::Expected<llvm::StringMap<Sensitivity>> nju::measureSensitivities(
    func::FuncOp function, const TokenBatch &tokens, ParamSource &params,
    const SensitivityOptions &options,
    llvm::function_ref<void(int64_t done, int64_t total)> progress) {
  llvm::StringSet<> products, tables;
  auto add = [&](llvm::StringRef name, llvm::StringSet<> &to) {
    bool isAsked = options.weights.empty() || options.weights.contains(name);
    // What is no param has no name.
    if (isAsked && !name.empty())
      to.insert(name);
  };
  function.walk([&](Operation *op) {
    if (auto linear = dyn_cast<LinearOp>(op))
      add(getWeightName(linear), products);
    else
      add(getTableName(op), tables);
  });
  Value output = function.getBody().front().getTerminator()->getOperand(0);
  auto part = GraphPart::find(output, {}, products, &tables);
  if (!part)
    return part.takeError();
  Measurement measurement(function, *part, params, options.seed);
  std::vector<std::vector<int32_t>> sequences = pickSequences(tokens, options);
  for (auto [i, sequence] : llvm::enumerate(sequences)) {
    if (llvm::Error error = measurement.addSequence(std::move(sequence)))
      return std::move(error);
    if (progress)
      progress(int64_t(i) + 1, sequences.size());
  }
  return measurement.finish();
}
