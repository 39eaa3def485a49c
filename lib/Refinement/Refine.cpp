//===- Refine.cpp - Trains quantized weights by outputs -------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Refinement/Refine.h"

#include "Blocks.h"
#include "Training.h"
#include <random>

using namespace mlir;
using namespace nju;
using namespace nju::lcq;

RefineOptions::RefineOptions() : blockSteps(60), steps(300) {
  // By measurement: docs/rationale-quantization.md.
  LCQRates base;
  for (LCQRates *own : {blockRates, rates}) {
    own[2] = own[3] = own[4] = base;
    own[2].weights = 1e-2;
    own[4].weights = 0;
  }
}

namespace {

/// One call of `refine`.
class Refinement {
public:
  Refinement(func::FuncOp function, ParamSource &source,
             QuantizedParams &matrices, const RefineOptions &options,
             llvm::function_ref<void(const RefineProgress &)> progress)
      : function(function), source(source), params(source), matrices(matrices),
        options(options), progress(progress) {}

  llvm::Error run(const TokenBatch &tokens, RefineReport &report);

private:
  llvm::Error prepare(const TokenBatch &tokens);
  llvm::Error addGroup(llvm::ArrayRef<const std::vector<int32_t> *> sequences,
                       llvm::SmallVector<SampleGroup> &to);
  llvm::Error refineBlock(const ModelBlock &block, RefineReport &report);
  llvm::Error refineModel(RefineReport &report);
  llvm::Error prepareTargets(const GraphPart &part, Value input);
  llvm::Expected<std::vector<TrainedMatrix>>
  createMatrices(llvm::function_ref<bool(llvm::StringRef)> isPart,
                 const LCQRates *rates);
  llvm::Expected<RefineLoss> train(Training &training, int steps);
  llvm::Error forEachSample(llvm::function_ref<llvm::Error(Sample &)> body);
  void finish(std::vector<TrainedMatrix> &trained);
  bool isLanguageModel() { return function.getName() == "step"; }

  func::FuncOp function;
  ParamSource &source;
  ParamCache params;
  QuantizedParams &matrices;
  const RefineOptions &options;
  llvm::function_ref<void(const RefineProgress &)> progress;
  llvm::StringSet<> names;
  llvm::SmallVector<SampleGroup> groups, heldOut;
  int block = 0, blocks = 0;
};

} // namespace

//===----------------------------------------------------------------------===//
// Samples
//===----------------------------------------------------------------------===//

/// Puts sequences together to what one step is trained by. A language model
/// takes all of them at once, another graph one after the other.
llvm::Error
Refinement::addGroup(llvm::ArrayRef<const std::vector<int32_t> *> sequences,
                     llvm::SmallVector<SampleGroup> &to) {
  std::vector<TokenBatch> batches;
  for (const std::vector<int32_t> *sequence : sequences) {
    if (batches.empty() || !isLanguageModel())
      batches.emplace_back();
    batches.back().sequences.push_back(*sequence);
  }
  SampleGroup group;
  for (const TokenBatch &batch : batches) {
    auto arguments = makeArguments(function, batch);
    if (!arguments)
      return arguments.takeError();
    Sample sample;
    sample.tokens = batch.countTokens();
    for (auto [value, runs] : llvm::zip(function.getArguments(), *arguments))
      sample.arguments[value] = runs.front();
    group.push_back(std::move(sample));
  }
  to.push_back(std::move(group));
  return llvm::Error::success();
}

llvm::Error Refinement::prepare(const TokenBatch &tokens) {
  llvm::SmallVector<const std::vector<int32_t> *> order;
  std::mt19937 random(options.seed);
  for (const std::vector<int32_t> &sequence : tokens.sequences) {
    if (sequence.empty())
      continue;
    order.push_back(&sequence);
    std::swap(order.back(), order[random() % order.size()]);
  }
  if (order.empty())
    return llvm::createStringError(
        "no calibration tokens to refine by; give a text with --calibration");
  size_t kept = order.size();
  if (kept >= 10)
    kept -= size_t(double(kept) * options.heldOut);
  llvm::SmallVector<const std::vector<int32_t> *> group;
  int64_t count = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    group.push_back(order[i]);
    count += order[i]->size();
    bool isLast = i + 1 == kept || i + 1 == order.size();
    if (!isLast && count + int64_t(order[i + 1]->size()) <= options.batchTokens)
      continue;
    if (llvm::Error error = addGroup(group, i < kept ? groups : heldOut))
      return error;
    group.clear();
    count = 0;
  }
  return llvm::Error::success();
}

llvm::Error
Refinement::forEachSample(llvm::function_ref<llvm::Error(Sample &)> body) {
  for (auto *all : {&groups, &heldOut})
    for (SampleGroup &group : *all)
      for (Sample &sample : group)
        if (llvm::Error error = body(sample))
          return error;
  return llvm::Error::success();
}

/// What the part gives in full precision.
llvm::Error Refinement::prepareTargets(const GraphPart &part, Value input) {
  Tape tape(part, params);
  return forEachSample([&](Sample &sample) -> llvm::Error {
    ValueMap values = sample.arguments;
    if (input)
      values[input] = sample.input;
    auto target = tape.forward(values, {}, /*keepsValues=*/false);
    if (!target)
      return target.takeError();
    sample.target = *target;
    return llvm::Error::success();
  });
}

//===----------------------------------------------------------------------===//
// Matrices
//===----------------------------------------------------------------------===//

/// The rows of [columns, depth], as they were before they were quantized.
static llvm::Expected<LCQParameters>
createParameters(const QuantizedMatrix &start, const WeightMatrix &weight,
                 llvm::StringRef name) {
  HostTensor data = weight.getData();
  Type type = data.getElementType();
  if (type.isF64())
    data = data.converted(Float32Type::get(type.getContext()));
  WeightType stored = type.isF16()    ? WeightType::F16
                      : type.isBF16() ? WeightType::BF16
                                      : WeightType::F32;
  auto parameters = LCQParameters::create(
      start, StridedWeights(data.bytes(), stored, weight.getColumns(),
                            weight.getDepth(), weight.getColumnStride(),
                            weight.getDepthStride()));
  if (!parameters)
    return llvm::createStringError("cannot refine '" + name + "': " +
                                   llvm::toString(parameters.takeError()));
  return parameters;
}

llvm::Expected<std::vector<TrainedMatrix>>
Refinement::createMatrices(llvm::function_ref<bool(llvm::StringRef)> isPart,
                           const LCQRates *rates) {
  std::vector<TrainedMatrix> result;
  SymbolTable symbols(function->getParentOfType<ModuleOp>());
  for (auto &[name, matrix] : matrices) {
    if (!isPart(name))
      continue;
    auto param = symbols.lookup<ParamOp>(name);
    if (!param)
      return llvm::createStringError("cannot refine '" + name +
                                     "': the model has no such param");
    auto weight = source.readMatrix(param);
    if (!weight)
      return weight.takeError();
    auto parameters = createParameters(matrix, *weight, name);
    if (!parameters)
      return parameters.takeError();
    LCQRates own = rates[matrix.bits];
    parameters->setCodesFrozen(own.weights == 0);
    parameters->setRounded(true);
    result.push_back({name, std::move(*parameters), own});
  }
  return result;
}

void Refinement::finish(std::vector<TrainedMatrix> &trained) {
  for (TrainedMatrix &matrix : trained)
    matrices[matrix.name] = matrix.parameters.finalize();
}

//===----------------------------------------------------------------------===//
// Blocks and the model
//===----------------------------------------------------------------------===//

llvm::Expected<RefineLoss> Refinement::train(Training &training, int steps) {
  llvm::SmallVector<const Sample *> deciding;
  for (const SampleGroup &group : heldOut.empty() ? groups : heldOut)
    for (const Sample &sample : group)
      deciding.push_back(&sample);
  return training.run(groups, deciding, steps, options.seed,
                      [&](int step, double loss, double least) {
                        if (progress)
                          progress({block, blocks, step, steps, loss, least});
                      });
}

llvm::Error Refinement::refineBlock(const ModelBlock &block,
                                    RefineReport &report) {
  llvm::SmallVector<Value> inputs;
  if (block.input)
    inputs.push_back(block.input);
  auto part = GraphPart::find(block.output, inputs, names);
  if (!part)
    return part.takeError();
  if (llvm::Error error = prepareTargets(*part, block.input))
    return error;
  auto trained = createMatrices(
      [&](llvm::StringRef name) {
        return llvm::is_contained(block.weights, name);
      },
      options.blockRates);
  if (!trained)
    return trained.takeError();
  Training training(*part, block.input, params, LossKind::SquaredError,
                    *trained);
  auto loss = train(training, options.blockSteps);
  if (!loss)
    return loss.takeError();
  report.blocks.push_back(*loss);
  finish(*trained);
  // The next block gets what this one gives now.
  MatrixMap values = training.getMatrices();
  Tape tape(*part, params);
  llvm::Error error = forEachSample([&](Sample &sample) -> llvm::Error {
    ValueMap bound = sample.arguments;
    if (block.input)
      bound[block.input] = sample.input;
    auto output = tape.forward(bound, values, /*keepsValues=*/false);
    if (!output)
      return output.takeError();
    sample.input = *output;
    return llvm::Error::success();
  });
  params.clear();
  return error;
}

/// What the head of a language model makes `logits` of. Kept for all tokens,
/// logits would take the size of the vocabulary for each.
static Value findHeadInput(Value logits) {
  for (Value value = logits;;) {
    Operation *op = value.getDefiningOp();
    if (auto linear = dyn_cast_or_null<LinearOp>(op)) {
      bool isNarrower = linear.getInput().getType().getShape().back() <
                        linear.getType().getShape().back();
      return isNarrower ? linear.getInput() : logits;
    }
    if (!op)
      return logits;
    auto changing =
        llvm::make_filter_range(op->getOperands(), [](Value operand) {
          return !operand.getDefiningOp<ParamRefOp>() &&
                 !matchPattern(operand, m_Constant());
        });
    if (!llvm::hasSingleElement(changing))
      return logits;
    value = *changing.begin();
  }
}

llvm::Error Refinement::refineModel(RefineReport &report) {
  Value output = function.getBody().front().getTerminator()->getOperand(0);
  auto part = GraphPart::find(output, {}, names);
  if (!part)
    return part.takeError();
  Value kept = isLanguageModel() ? findHeadInput(output) : output;
  auto body = GraphPart::find(kept, {}, {}),
       head = GraphPart::find(output, kept, {});
  if (!body || !head)
    return llvm::joinErrors(body.takeError(), head.takeError());
  if (llvm::Error error = prepareTargets(*body, Value()))
    return error;
  params.clear();
  auto trained =
      createMatrices([](llvm::StringRef) { return true; }, options.rates);
  if (!trained)
    return trained.takeError();
  Training training(*part, Value(), params,
                    isLanguageModel() ? LossKind::Divergence
                                      : LossKind::SquaredError,
                    *trained);
  training.setTargetHead(kept, &*head);
  auto loss = train(training, options.steps);
  if (!loss)
    return loss.takeError();
  report.model = *loss;
  finish(*trained);
  return llvm::Error::success();
}

llvm::Error Refinement::run(const TokenBatch &tokens, RefineReport &report) {
  for (auto &entry : matrices)
    names.insert(entry.first);
  if (llvm::Error error = prepare(tokens))
    return error;
  llvm::SmallVector<ModelBlock> found;
  if (options.blockSteps > 0)
    found = findBlocks(function, names);
  blocks = int(found.size());
  for (const ModelBlock &own : found) {
    if (llvm::Error error = refineBlock(own, report))
      return error;
    ++block;
  }
  (void)forEachSample([](Sample &sample) {
    sample.input = HostTensor();
    return llvm::Error::success();
  });
  return options.steps > 0 ? refineModel(report) : llvm::Error::success();
}

llvm::Error
nju::refine(func::FuncOp function, const TokenBatch &tokens,
            ParamSource &params, QuantizedParams &matrices,
            const RefineOptions &options, RefineReport *report,
            llvm::function_ref<void(const RefineProgress &)> progress) {
  RefineReport unused;
  return Refinement(function, params, matrices, options, progress)
      .run(tokens, report ? *report : unused);
}
