//===- GraphRunner.cpp - Evaluates whole graphs in tests -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GraphRunner.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"
#include "nju/Dialect/NJU/Analysis/Evaluator.h"
#include "nju/Transforms/Passes.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include <cmath>
#include <gtest/gtest.h>

using namespace mlir;
using namespace nju;

const char *const nju::test::kRecognitionPipeline =
    "nju-infer-shapes,nju-widen-floats,nju-fold-constants,nju-infer-shapes,"
    "nju-recognize";

std::vector<nju::test::Fixture> nju::test::allFixtures() {
  std::string folder = NJU_SOURCE_DIR "/test/fixtures/";
  auto buffer = llvm::MemoryBuffer::getFile(folder + "manifest.json");
  if (!buffer)
    return {};
  llvm::Expected<llvm::json::Value> manifest =
      llvm::json::parse((*buffer)->getBuffer());
  if (!manifest) {
    ADD_FAILURE() << llvm::toString(manifest.takeError());
    return {};
  }
  std::vector<Fixture> fixtures;
  for (const llvm::json::Value &value : *manifest->getAsArray()) {
    const llvm::json::Object &object = *value.getAsObject();
    Fixture fixture;
    fixture.name = object.getString("name")->str();
    fixture.path = folder + object.getString("file")->str();
    fixture.kind = object.getString("kind")->str();
    fixture.type = object.getString("dtype")->str();
    if (const llvm::json::Array *prompt = object.getArray("prompt"))
      for (const llvm::json::Value &token : *prompt)
        fixture.prompt.push_back(*token.getAsInteger());
    fixtures.push_back(fixture);
  }
  return fixtures;
}

LogicalResult nju::test::runPipeline(ModuleOp module, llvm::StringRef passes) {
  static bool registered = [] {
    nju::registerTransformsPasses();
    mlir::registerTransformsPasses();
    return true;
  }();
  (void)registered;
  PassManager manager = PassManager::on<ModuleOp>(module.getContext());
  if (failed(parsePassPipeline(passes, manager)))
    return failure();
  return manager.run(module);
}

/// A number in [-1, 1), the same in every run.
static double pseudoRandom(uint64_t seed) {
  seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
  seed ^= seed >> 33;
  seed *= 0xff51afd7ed558ccdULL;
  seed ^= seed >> 33;
  return static_cast<double>(seed >> 11) / static_cast<double>(1ULL << 52) -
         1.0;
}

static HostTensor makeInput(llvm::StringRef name, RankedTensorType type,
                            ArrayRef<int64_t> shape, ArrayRef<int64_t> tokens,
                            int64_t past, uint64_t seed) {
  Type i64 = IntegerType::get(type.getContext(), 64);
  int64_t count = *countElements(shape);
  SmallVector<int64_t> numbers(count);
  for (int64_t i = 0; i < count; ++i) {
    int64_t column = shape.empty() ? 0 : i % shape.back();
    if (name.contains("mask"))
      numbers[i] = 1;
    else if (name.contains("position"))
      numbers[i] = past + column;
    else if (name.contains("type"))
      numbers[i] = column % 2;
    else
      numbers[i] = tokens[column % tokens.size()];
  }
  if (!isa<FloatType>(type.getElementType()) || name.contains("mask"))
    return HostTensor::fromInts(i64, shape, numbers)
        .converted(type.getElementType());
  SmallVector<double> floats(count);
  for (int64_t i = 0; i < count; ++i)
    floats[i] = pseudoRandom(seed * 1000003 + i);
  return HostTensor::fromFloats(Float64Type::get(type.getContext()), shape,
                                floats)
      .converted(type.getElementType());
}

std::vector<HostTensor> nju::test::makeInputs(func::FuncOp function,
                                              ArrayRef<int64_t> tokens,
                                              int64_t batch, int64_t past) {
  std::vector<HostTensor> inputs;
  int64_t sequence = tokens.size();
  auto nameOf = [&](unsigned index) {
    return function.getArgAttrOfType<StringAttr>(index, "nju.name").getValue();
  };
  bool hasPast =
      llvm::any_of(llvm::seq(function.getNumArguments()),
                   [&](unsigned i) { return nameOf(i).contains("past"); });
  for (auto [index, type] : llvm::enumerate(function.getArgumentTypes())) {
    auto tensor = cast<RankedTensorType>(type);
    llvm::StringRef name = nameOf(index);
    SmallVector<int64_t> shape(tensor.getShape());
    bool isEncoder = name.starts_with("encoder") || name.contains(".encoder.");
    int64_t length = isEncoder                          ? sequence
                     : name.contains("past")            ? past
                     : name.contains("mask") && hasPast ? past + sequence
                                                        : sequence;
    bool seenBatch = false;
    for (int64_t &dim : shape)
      if (ShapedType::isDynamic(dim)) {
        dim = seenBatch ? length : batch;
        seenBatch = true;
      }
    inputs.push_back(makeInput(name, tensor, shape, tokens, past, index));
  }
  return inputs;
}

std::vector<HostTensor> nju::test::evaluate(func::FuncOp function,
                                            ArrayRef<HostTensor> inputs) {
  Evaluator evaluator;
  for (auto [argument, input] : llvm::zip(function.getArguments(), inputs))
    evaluator.bind(argument, input);
  std::vector<HostTensor> results;
  for (Value value :
       function.getBody().front().getTerminator()->getOperands()) {
    FailureOr<HostTensor> result = evaluator.evaluate(value);
    if (failed(result)) {
      ADD_FAILURE() << evaluator.reason().str();
      return {};
    }
    results.push_back(*result);
  }
  return results;
}

double nju::test::relativeDifference(const HostTensor &expected,
                                     const HostTensor &actual) {
  if (expected.getShape() != actual.getShape())
    return HUGE_VAL;
  double greatest = 1e-30, difference = 0.0;
  for (int64_t i = 0; i < expected.getNumElements(); ++i) {
    double a = expected.getFloat(i), b = actual.getFloat(i);
    if (std::isnan(a) != std::isnan(b))
      return HUGE_VAL;
    greatest = std::max(greatest, std::abs(a));
    difference = std::max(difference, std::abs(a - b));
  }
  return difference / greatest;
}
