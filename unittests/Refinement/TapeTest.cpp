//===- TapeTest.cpp - Gradients of whole models ---------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Tape.h"

#include "Blocks.h"
#include "Losses.h"
#include "TinyModel.h"

using namespace mlir;
using namespace nju;

namespace {

llvm::StringSet<> getNames(func::FuncOp function) {
  llvm::StringSet<> names;
  function.walk([&](LinearOp op) { names.insert(getWeightName(op)); });
  return names;
}

ValueMap bind(func::FuncOp function, const TokenBatch &tokens) {
  ValueMap values;
  auto arguments = expectValue(makeArguments(function, tokens));
  for (auto [argument, runs] : llvm::zip(function.getArguments(), arguments))
    values[argument] = runs.front();
  return values;
}

Value getOutput(func::FuncOp function) {
  return function.getBody().front().getTerminator()->getOperand(0);
}

TEST(Tape, GradientsAreThoseOfFiniteDifferences) {
  TinyModel model(2);
  llvm::StringSet<> names = getNames(model.step);
  EXPECT_EQ(names.size(), 15u);
  GraphPart part =
      expectValue(GraphPart::find(getOutput(model.step), {}, names));
  FileParamSource source("");
  Tape tape(part, source);
  ValueMap arguments = bind(model.step, TinyModel::makeTokens({5, 3, 7}));
  // All matrices in memory, so that they can be changed.
  MatrixMap matrices;
  llvm::StringMap<std::vector<float>> numbers;
  auto replace = [&](llvm::StringRef name) {
    auto param = model.module->lookupSymbol<ParamOp>(name);
    WeightMatrix own = expectValue(source.readMatrix(param));
    std::vector<float> &values = numbers[name];
    int64_t depth = own.getDepth(), columns = own.getColumns();
    if (values.empty()) {
      values.resize(depth * columns);
      for (int64_t n = 0; n < columns; ++n)
        own.writeColumn(n, values.data() + n * depth);
    }
    HostTensor tensor(Float32Type::get(&model.context), {columns, depth});
    llvm::copy(values, tensor.mutableElements<float>().data());
    matrices[name] = WeightMatrix(tensor, /*isTransposed=*/true);
  };
  for (auto &name : names)
    replace(name.getKey());
  HostTensor output = expectValue(tape.forward(arguments, matrices, true));
  ASSERT_EQ(output.getShape(), llvm::ArrayRef<int64_t>({15, 20}));
  // Without a matrix replaced, it is the executor's result.
  Executor executor(model.step, source);
  auto executed = expectValue(executor.run(expectValue(
      makeArguments(model.step, TinyModel::makeTokens({5, 3, 7})))));
  for (int64_t i = 0; i < output.getNumElements(); ++i)
    EXPECT_NEAR(output.getFloat(i), executed[0].front().getFloat(i), 1e-5);

  std::mt19937 random(3);
  std::vector<double> weights(output.getNumElements());
  for (double &weight : weights)
    weight = float(random() / 4294967296.0 - 0.5);
  GradientMap gradients;
  ASSERT_FALSE(tape.backward(
      HostTensor::fromFloats(output.getElementType(), {15, 20}, weights),
      matrices, gradients));
  auto getLoss = [&] {
    HostTensor y = expectValue(tape.forward(arguments, matrices, false));
    double loss = 0;
    for (size_t i = 0; i < weights.size(); ++i)
      loss += weights[i] * y.getFloat(i);
    return loss;
  };
  constexpr float kStep = 4e-3f;
  for (auto &name : names) {
    std::vector<float> &values = numbers[name.getKey()];
    ASSERT_EQ(gradients[name.getKey()].size(), values.size());
    for (int sample = 0; sample < 12; ++sample) {
      size_t i = random() % values.size();
      float value = values[i];
      values[i] = value + kStep;
      replace(name.getKey());
      double above = getLoss();
      values[i] = value - kStep;
      replace(name.getKey());
      double below = getLoss();
      values[i] = value;
      replace(name.getKey());
      double difference = (above - below) / (2 * kStep);
      EXPECT_NEAR(gradients[name.getKey()][i], difference,
                  2e-3 * std::max(1., std::abs(difference)))
          << name.getKey().str() << " " << i;
    }
  }
}

TEST(Tape, NamesAnOpWithoutGradient) {
  // Only where a trained weight lies before it.
  TinyModel model(1, 1, "round");
  llvm::StringSet<> names = getNames(model.step), late;
  late.insert("wd0");
  EXPECT_TRUE(bool(GraphPart::find(getOutput(model.step), {}, late)));
  auto part = GraphPart::find(getOutput(model.step), {}, names);
  ASSERT_FALSE(bool(part));
  std::string text = llvm::toString(part.takeError());
  EXPECT_EQ(text.find("nju.round at "), 0u) << text;
  EXPECT_NE(text.find(": has no gradient, but lies behind a weight that is to "
                      "be refined; quantize without refinement"),
            std::string::npos)
      << text;
}

TEST(Blocks, BeginBeforeEachAttention) {
  TinyModel model(3);
  llvm::SmallVector<ModelBlock> blocks =
      findBlocks(model.step, getNames(model.step));
  ASSERT_EQ(blocks.size(), 3u);
  EXPECT_FALSE(blocks[0].input);
  for (int i = 0; i < 3; ++i) {
    std::string l = std::to_string(i);
    llvm::SmallVector<std::string> names;
    for (llvm::StringRef name : blocks[i].weights)
      names.push_back(name.str());
    EXPECT_EQ(names, (llvm::SmallVector<std::string>{
                         "wq" + l, "wk" + l, "wv" + l, "wo" + l, "wg" + l,
                         "wu" + l, "wd" + l}));
    EXPECT_TRUE(isa<AddOp>(blocks[i].output.getDefiningOp()));
    if (i > 0)
      EXPECT_EQ(blocks[i].input, blocks[i - 1].output);
  }
  // Nothing is trained in the middle layer: it belongs to a neighbour.
  llvm::StringSet<> some;
  some.insert("wq0");
  some.insert("wd2");
  blocks = findBlocks(model.step, some);
  ASSERT_EQ(blocks.size(), 2u);
  EXPECT_EQ(blocks[0].weights[0], "wq0");
  EXPECT_EQ(blocks[1].weights[0], "wd2");
  EXPECT_EQ(blocks[1].input, blocks[0].output);
  // The head alone is no block.
  llvm::StringSet<> head;
  head.insert("wh");
  EXPECT_TRUE(findBlocks(model.step, head).empty());
}

TEST(Losses, GradientsAreThoseOfFiniteDifferences) {
  std::mt19937 random(5);
  auto make = [&] {
    std::vector<float> values(3 * 7);
    for (float &value : values)
      value = float(4 * (random() / 4294967296.0 - 0.5));
    return values;
  };
  std::vector<float> targets = make(), values = make(), gradient(values.size());
  for (bool isDivergence : {false, true}) {
    auto getLoss = [&](float *to) {
      return isDivergence ? getDivergence(targets, values, 7, 0.5, to)
                          : getSquaredError(targets, values, 0.5, to);
    };
    EXPECT_GT(getLoss(gradient.data()), 0);
    for (size_t i = 0; i < values.size(); ++i) {
      float value = values[i];
      values[i] = value + 1e-2f;
      double above = getLoss(nullptr), high = values[i];
      values[i] = value - 1e-2f;
      double below = getLoss(nullptr), low = values[i];
      values[i] = value;
      EXPECT_NEAR(gradient[i], 0.5 * (above - below) / (high - low), 2e-4);
    }
  }
  EXPECT_NEAR(getDivergence(targets, targets, 7), 0, 1e-6);
  // A logit may be minus infinity in both.
  targets[3] = values[3] = -INFINITY;
  EXPECT_TRUE(std::isfinite(getDivergence(targets, values, 7)));
}

} // namespace
