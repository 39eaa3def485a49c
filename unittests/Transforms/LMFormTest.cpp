//===- LMFormTest.cpp - The step computes what the graph computes -*- C++
//-*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GraphRunner.h"
#include "nju/Dialect/NJU/Analysis/Evaluator.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "nju/Import/ONNX/Import.h"
#include <cmath>
#include <gtest/gtest.h>

using namespace mlir;
using namespace nju;
using namespace nju::test;

namespace {

struct Token {
  int64_t id, position, sequence;
};

/// Runs `@step` on the host, with a cache of its own.
class StepRunner {
public:
  explicit StepRunner(func::FuncOp step) : step(step) {
    step.walk([&](CachedAttentionOp op) { attentions.push_back(op); });
  }

  /// Logits `[rows, vocabulary]` of the tokens that `rows` names.
  HostTensor run(ArrayRef<Token> tokens, ArrayRef<int64_t> rows) {
    Evaluator evaluator;
    auto bind = [&](unsigned argument, auto get) {
      SmallVector<int64_t> numbers;
      for (const Token &token : tokens)
        numbers.push_back(get(token));
      bindInts(evaluator, argument, numbers);
    };
    bind(0, [](const Token &token) { return token.id; });
    bind(1, [](const Token &token) { return token.position; });
    bind(2, [](const Token &token) { return token.sequence; });
    bindInts(evaluator, 3, rows);
    for (CachedAttentionOp op : attentions)
      evaluator.bind(op.getResult(), attend(op, tokens, evaluator));
    Value logits = step.getBody().front().getTerminator()->getOperand(0);
    return get(evaluator, logits);
  }

private:
  func::FuncOp step;
  SmallVector<CachedAttentionOp> attentions;
  /// Layer, sequence and position -> key and value of all groups.
  std::map<std::tuple<int64_t, int64_t, int64_t>,
           std::pair<std::vector<float>, std::vector<float>>>
      cache;

  void bindInts(Evaluator &evaluator, unsigned argument,
                ArrayRef<int64_t> numbers) {
    Type i32 = IntegerType::get(step.getContext(), 32);
    evaluator.bind(step.getArgument(argument),
                   HostTensor::fromInts(
                       i32, {static_cast<int64_t>(numbers.size())}, numbers));
  }

  HostTensor get(Evaluator &evaluator, Value value) {
    FailureOr<HostTensor> tensor = evaluator.evaluate(value);
    if (succeeded(tensor))
      return *tensor;
    ADD_FAILURE() << evaluator.reason().str();
    return HostTensor(Float32Type::get(step.getContext()), {1, 1});
  }

  HostTensor attend(CachedAttentionOp op, ArrayRef<Token> tokens,
                    Evaluator &evaluator) {
    HostTensor query = get(evaluator, op.getQuery());
    HostTensor key = get(evaluator, op.getKey());
    HostTensor value = get(evaluator, op.getValue());
    int64_t layer = op.getLayer(), rowSize = key.getDim(2) * key.getDim(3);
    for (size_t i = 0; i < tokens.size(); ++i) {
      const Token &token = tokens[i];
      auto row = [&](const HostTensor &tensor) {
        auto all = tensor.elements<float>().slice(i * rowSize, rowSize);
        return std::vector<float>(all.begin(), all.end());
      };
      cache[{layer, token.sequence, token.position}] = {row(key), row(value)};
    }
    HostTensor result(query.getElementType(), query.getShape());
    for (auto [i, token] : llvm::enumerate(tokens))
      for (int64_t head = 0; head < query.getDim(2); ++head)
        attendHead(op, token, i, head, query, key.getDim(2), result);
    return result;
  }

  void attendHead(CachedAttentionOp op, const Token &token, int64_t index,
                  int64_t head, const HostTensor &query, int64_t groups,
                  HostTensor &result) {
    int64_t heads = query.getDim(2), width = query.getDim(3);
    int64_t group = head / (heads / groups);
    int64_t offset = (index * heads + head) * width;
    int64_t first =
        op.getWindow()
            ? std::max<int64_t>(0, token.position - *op.getWindow() + 1)
            : 0;
    double scale = op.getScale().convertToDouble(), sum = 0.0;
    std::vector<double> scores, mixed(width);
    for (int64_t j = first; j <= token.position; ++j) {
      const auto &[keys, values] = cache.at({op.getLayer(), token.sequence, j});
      double score = 0.0;
      for (int64_t d = 0; d < width; ++d)
        score += query.elements<float>()[offset + d] * keys[group * width + d];
      score *= scale;
      if (op.getSoftcap()) {
        double cap = op.getSoftcap()->convertToDouble();
        score = cap * std::tanh(score / cap);
      }
      if (auto slopes = op.getSlopes())
        score += (*slopes)[head] * static_cast<double>(j - token.position);
      scores.push_back(score);
    }
    double greatest = *std::max_element(scores.begin(), scores.end());
    for (int64_t j = first; j <= token.position; ++j) {
      const auto &[keys, values] = cache.at({op.getLayer(), token.sequence, j});
      double weight = std::exp(scores[j - first] - greatest);
      sum += weight;
      for (int64_t d = 0; d < width; ++d)
        mixed[d] += weight * values[group * width + d];
    }
    for (int64_t d = 0; d < width; ++d)
      result.mutableElements<float>()[offset + d] =
          static_cast<float>(mixed[d] / sum);
  }
};

/// Row `index` of the last two dimensions of logits `[1, S, V]`, as `[1, V]`.
HostTensor rowOf(const HostTensor &logits, int64_t index) {
  int64_t width = logits.getShape().back();
  HostTensor row(logits.getElementType(), {1, width});
  std::memcpy(row.mutableBytes(), logits.bytes() + index * row.getNumBytes(),
              row.getNumBytes());
  return row;
}

/// The logits of all tokens. A graph that gives those of the last token only is
/// asked for every prefix.
HostTensor allLogits(func::FuncOp main, const std::vector<int64_t> &ids) {
  int64_t length = ids.size();
  std::vector<HostTensor> outputs = evaluate(main, makeInputs(main, ids, 1, 0));
  if (outputs.empty())
    return HostTensor();
  int64_t width = outputs[0].getShape().back();
  if (outputs[0].getNumElements() == length * width)
    return outputs[0];
  HostTensor all(outputs[0].getElementType(), {1, length, width});
  for (int64_t i = 0; i < length; ++i) {
    std::vector<int64_t> prefix(ids.begin(), ids.begin() + i + 1);
    HostTensor row = evaluate(main, makeInputs(main, prefix, 1, 0)).at(0);
    std::memcpy(all.mutableBytes() + i * row.getNumBytes(), row.bytes(),
                row.getNumBytes());
  }
  return all;
}

std::string pipeline() {
  return std::string(kRecognitionPipeline) +
         ",nju-to-lm-form{max-tokens=64},canonicalize,nju-pack-weights";
}

const std::vector<int64_t> kFirst = {1, 5, 9, 2, 7, 3, 11, 4, 8};
const std::vector<int64_t> kSecond = {6, 6, 2, 10};

class LMForm : public testing::TestWithParam<Fixture> {};

/// Two sequences, prefilled in pieces and decoded token by token in common
/// steps, give the logits of the whole sequences.
TEST_P(LMForm, ComputesTheLogitsOfTheGraph) {
  const Fixture &fixture = GetParam();
  MLIRContext context;
  OwningOpRef<ModuleOp> module = importONNX(fixture.path, &context);
  ASSERT_TRUE(module);
  ASSERT_TRUE(
      succeeded(runPipeline(*module, "nju-infer-shapes,nju-widen-floats")));
  auto main = module->lookupSymbol<func::FuncOp>("main");
  HostTensor first = allLogits(main, kFirst);
  HostTensor second = allLogits(main, kSecond);
  ASSERT_TRUE(first && second);

  ASSERT_TRUE(succeeded(runPipeline(*module, pipeline())));
  auto step = module->lookupSymbol<func::FuncOp>("step");
  ASSERT_TRUE(step);
  EXPECT_FALSE(module->lookupSymbol("main"));
  StepRunner runner(step);
  auto expectRows =
      [&](const HostTensor &logits,
          std::vector<std::pair<const HostTensor *, int64_t>> rows) {
        ASSERT_EQ(logits.getDim(0), static_cast<int64_t>(rows.size()));
        for (auto [i, row] : llvm::enumerate(rows))
          EXPECT_LE(relativeDifference(rowOf(*row.first, row.second),
                                       rowOf(logits, i)),
                    fixture.type == "f32" ? 1e-4 : 1e-2)
              << "position " << row.second;
      };
  auto token = [](const std::vector<int64_t> &ids, int64_t position,
                  int64_t sequence) {
    return Token{ids[position], position, sequence};
  };
  // Three tokens of one sequence; two of the other one before the rest.
  expectRows(runner.run({token(kFirst, 0, 2), token(kFirst, 1, 2),
                         token(kFirst, 2, 2)},
                        {0, 2}),
             {{&first, 0}, {&first, 2}});
  expectRows(runner.run({token(kSecond, 0, 0), token(kFirst, 3, 2),
                         token(kSecond, 1, 0), token(kFirst, 4, 2)},
                        {3, 2}),
             {{&first, 4}, {&second, 1}});
  expectRows(runner.run({token(kFirst, 5, 2)}, {0}), {{&first, 5}});
  expectRows(runner.run({token(kSecond, 2, 0), token(kSecond, 3, 0),
                         token(kFirst, 6, 2), token(kFirst, 7, 2),
                         token(kFirst, 8, 2)},
                        {0, 1, 4}),
             {{&second, 2}, {&second, 3}, {&first, 8}});
}

std::vector<Fixture> languageModels() {
  std::vector<Fixture> fixtures = allFixtures();
  llvm::erase_if(fixtures, [](const Fixture &f) { return !f.isLM(); });
  return fixtures;
}

INSTANTIATE_TEST_SUITE_P(Fixtures, LMForm, testing::ValuesIn(languageModels()),
                         [](const testing::TestParamInfo<Fixture> &info) {
                           std::string name = info.param.name;
                           for (char &c : name)
                             c = std::isalnum(static_cast<unsigned char>(c))
                                     ? c
                                     : '_';
                           return name;
                         });

TEST(ToLMForm, LeavesOtherGraphsAlone) {
  for (const Fixture &fixture : allFixtures()) {
    if (fixture.isLM())
      continue;
    SCOPED_TRACE(fixture.name);
    MLIRContext context;
    OwningOpRef<ModuleOp> module = importONNX(fixture.path, &context);
    ASSERT_TRUE(module);
    ASSERT_TRUE(succeeded(runPipeline(*module, pipeline())));
    EXPECT_TRUE(module->lookupSymbol("main"));
    EXPECT_FALSE(module->lookupSymbol("step"));
    EXPECT_FALSE((*module)->hasAttr("nju.lm"));
  }
}

} // namespace
