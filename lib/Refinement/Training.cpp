//===- Training.cpp - Trains the matrices of a part of a model ------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Training.h"

#include "Losses.h"
#include "llvm/Support/MathExtras.h"
#include <random>

using namespace mlir;
using namespace nju;
using lcq::LCQParameters;

ValueMap Training::bind(const Sample &sample) const {
  ValueMap values = sample.arguments;
  if (input)
    values[input] = sample.input;
  return values;
}

MatrixMap Training::getMatrices() const {
  MatrixMap result;
  for (const TrainedMatrix &matrix : matrices) {
    const LCQParameters &parameters = matrix.parameters;
    HostTensor tensor = HostTensor::uninitialized(
        Float32Type::get(part.getOutput().getContext()),
        {parameters.getRows(), parameters.getColumns()});
    llvm::copy(parameters.getValues(), tensor.mutableElements<float>().data());
    result[matrix.name] = WeightMatrix(tensor, /*isTransposed=*/true);
  }
  return result;
}

void Training::update() {
  for (TrainedMatrix &matrix : matrices)
    matrix.parameters.update();
}

llvm::Expected<HostTensor> Training::getTarget(const Sample &sample) const {
  if (!targetHead || targetHead->getOps().empty())
    return sample.target;
  ValueMap values = sample.arguments;
  values[targetValue] = sample.target;
  return Tape(*targetHead, params)
      .forward(values, /*matrices=*/{}, /*keepsValues=*/false);
}

/// A mean over tokens, or of squares over those of the target.
llvm::Expected<double> Training::getLoss(const Sample &sample,
                                         const HostTensor &output,
                                         double factor,
                                         HostTensor *gradient) const {
  auto target = getTarget(sample);
  if (!target)
    return target.takeError();
  llvm::ArrayRef<float> targets = target->elements<float>(),
                        values = output.elements<float>();
  float *to = nullptr;
  if (gradient) {
    *gradient =
        HostTensor::uninitialized(output.getElementType(), output.getShape());
    to = gradient->mutableElements<float>().data();
  }
  if (kind == LossKind::Divergence)
    return factor *
           getDivergence(targets, values, output.getShape().back(), factor, to);
  return factor * getSquaredError(targets, values, factor, to);
}

/// What makes losses of some samples comparable: tokens, or squares of targets.
static double getWeight(LossKind kind, const Sample &sample) {
  if (kind == LossKind::Divergence)
    return double(sample.tokens);
  std::vector<float> zeros(sample.target.getNumElements());
  return getSquaredError(sample.target.elements<float>(), zeros);
}

llvm::Expected<double> Training::step(const SampleGroup &group, double rate) {
  update();
  MatrixMap values = getMatrices();
  GradientMap gradients;
  double weight = 0, loss = 0;
  for (const Sample &sample : group)
    weight += getWeight(kind, sample);
  double factor = weight > 0 ? 1 / weight : 0;
  Tape tape(part, params);
  for (const Sample &sample : group) {
    auto output = tape.forward(bind(sample), values, /*keepsValues=*/true);
    if (!output)
      return output.takeError();
    HostTensor gradient;
    auto own = getLoss(sample, *output, factor, &gradient);
    if (!own)
      return own.takeError();
    loss += *own;
    if (llvm::Error error = tape.backward(gradient, values, gradients))
      return std::move(error);
  }
  for (TrainedMatrix &matrix : matrices)
    if (auto found = gradients.find(matrix.name); found != gradients.end())
      matrix.parameters.step(found->second, matrix.rates * rate);
  return loss;
}

llvm::Expected<double>
Training::decide(llvm::ArrayRef<const Sample *> deciding) {
  // What will be stored is what counts.
  for (TrainedMatrix &matrix : matrices)
    matrix.parameters.setRounded(true);
  update();
  MatrixMap values = getMatrices();
  Tape tape(part, params);
  double loss = 0, weight = 0;
  for (const Sample *sample : deciding) {
    auto output = tape.forward(bind(*sample), values, /*keepsValues=*/false);
    if (!output)
      return output.takeError();
    auto own = getLoss(*sample, *output, 1, nullptr);
    if (!own)
      return own.takeError();
    weight += getWeight(kind, *sample);
    loss += *own;
  }
  return weight > 0 ? loss / weight : 0;
}

void Training::restore(const Best &best) {
  for (auto [matrix, state] : llvm::zip(matrices, best.states))
    matrix.parameters.setState(state);
}

llvm::Expected<RefineLoss>
Training::run(llvm::ArrayRef<SampleGroup> groups,
              llvm::ArrayRef<const Sample *> deciding, int steps, unsigned seed,
              llvm::function_ref<void(int, double, double)> progress) {
  // Without a gain for a twelfth of the steps, they go on from the best state
  // with a quarter of the rate: what begins near full precision needs smaller
  // steps. Those before the first gain do not count, so that the rate that
  // gives one is used for all of the schedule; but some rate must be the last.
  constexpr int kDecisions = 24, kPatience = 12, kMostTrials = 4;
  constexpr double kSlower = 0.25;
  auto getStates = [&] {
    std::vector<LCQParameters::State> states;
    for (const TrainedMatrix &matrix : matrices)
      states.push_back(matrix.parameters.getState());
    return states;
  };
  auto start = decide(deciding);
  if (!start)
    return start.takeError();
  RefineLoss result{*start, *start};
  Best best{*start, getStates()};
  std::mt19937 random(seed);
  llvm::SmallVector<size_t> order;
  int interval = std::max(1, steps / kDecisions), lastGain = 0, trials = 1;
  double factor = 1;
  for (int i = 0; i < steps; ++i) {
    if (order.empty()) {
      // Fisher and Yates; the standard leaves open how std::shuffle does it.
      for (size_t g = 0; g < groups.size(); ++g) {
        order.push_back(g);
        std::swap(order[g], order[random() % (g + 1)]);
      }
    }
    double rate = factor * 0.5 * (1 + std::cos(M_PI * i / steps));
    auto loss = step(groups[order.pop_back_val()], rate);
    if (!loss)
      return loss.takeError();
    if ((i + 1) % interval == 0 || i + 1 == steps) {
      auto decided = decide(deciding);
      if (!decided)
        return decided.takeError();
      if (*decided < best.loss) {
        best = {*decided, getStates()};
        lastGain = i + 1;
      } else if (i + 1 - lastGain >= std::max(1, steps / kPatience)) {
        restore(best);
        for (TrainedMatrix &matrix : matrices)
          matrix.parameters.resetAverages();
        factor *= kSlower;
        bool counts = best.loss < *start || trials == kMostTrials;
        lastGain = counts ? i + 1 : 0;
        if (!counts) {
          ++trials;
          i = -1;
        }
      }
    }
    if (progress)
      progress(i + 1, *loss, best.loss);
  }
  restore(best);
  update();
  result.after = best.loss;
  return result;
}
