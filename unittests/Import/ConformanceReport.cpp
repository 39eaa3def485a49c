//===- ConformanceReport.cpp - Results of ONNX's tests of its ops ---------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ConformanceReport.h"
#include "nju/Import/ONNX/Import.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"
#include <cstdlib>

using namespace nju;
using namespace nju::test;

static const char kHead[] = R"(# ONNX conformance

The `onnx` package has tests of its operators: a model of one node (or of the
nodes that define it), inputs and expected outputs. `NJUImportTests` runs them
with the evaluator, `NJUConversionTests` compiled. This page is what the first of
them found, and the test fails where it is not: to write it anew,

    NJU_WRITE_CONFORMANCE=1 build/bin/NJUImportTests --gtest_filter='NodeConformance*'

A test is refused where the importer says that it cannot take the model, and why.
Integer inputs are constants of the model: axes and sizes are that in every
exported model, and have to be for some operators. Models of opsets after 24 are
read as opset 24. What spells an operator out by its definition counts as a test
of it: some pass where the operator itself is not known. "Types" are those of the inputs of tests that passed; the
operators take others, too.

)";

/// The operator of the one node, or of the first.
static std::string firstOperator(const NodeTest &test) {
  const onnx::GraphProto &graph = test.model.graph();
  return graph.node_size() > 0 ? graph.node(0).op_type() : "";
}

ConformanceReport::ConformanceReport(const std::vector<NodeTest> &tests) {
  for (const NodeTest &test : tests)
    operators[test.name] = firstOperator(test);
}

/// What defines an operator is a test of it: "test_gelu_expanded" of Gelu.
std::string ConformanceReport::operatorOf(const NodeTest &test) const {
  llvm::StringRef name = test.name;
  auto base = operators.find(name.take_front(name.find("_expanded")).str());
  return base == operators.end() ? operators.at(test.name) : base->second;
}

ConformanceReport::Line &ConformanceReport::lineOf(const NodeTest &test) {
  ++numTests;
  return lines[operatorOf(test)];
}

/// As the dialect calls it; "" for what it does not have.
static std::string typeName(int32_t type) {
  using Tensor = onnx::TensorProto;
  static const std::map<int32_t, const char *> kNames = {
      {Tensor::FLOAT, "f32"},        {Tensor::DOUBLE, "f64"},
      {Tensor::FLOAT16, "f16"},      {Tensor::BFLOAT16, "bf16"},
      {Tensor::BOOL, "bool"},        {Tensor::INT8, "i8"},
      {Tensor::INT16, "i16"},        {Tensor::INT32, "i32"},
      {Tensor::INT64, "i64"},        {Tensor::UINT8, "u8"},
      {Tensor::UINT16, "u16"},       {Tensor::UINT32, "u32"},
      {Tensor::UINT64, "u64"},       {Tensor::INT4, "i4"},
      {Tensor::UINT4, "u4"},         {Tensor::FLOAT8E4M3FN, "f8e4m3fn"},
      {Tensor::FLOAT8E5M2, "f8e5m2"}};
  auto found = kNames.find(type);
  return found == kNames.end() ? "" : found->second;
}

void ConformanceReport::addPassed(const NodeTest &test) {
  Line &line = lineOf(test);
  ++line.passed;
  ++numPassed;
  for (const onnx::TensorProto &input : test.inputs)
    if (std::string name = typeName(input.data_type()); !name.empty())
      line.types.insert(name);
}

void ConformanceReport::addRefused(const NodeTest &test,
                                   const std::string &reason) {
  ++lineOf(test).refused[reason];
  ++numRefused;
}

void ConformanceReport::addFailed(const NodeTest &test) {
  ++lineOf(test).failed;
  ++numFailed;
}

/// "7 to 24" for each operator of the domain.
static std::map<std::string, std::string> opsetsOf(llvm::StringRef domain) {
  std::map<std::string, std::string> opsets;
  for (const ONNXOpSupport &op : supportedONNXOps())
    if (op.domain == domain)
      opsets[op.type] = op.firstOpset == op.lastOpset
                            ? std::to_string(op.firstOpset)
                            : std::to_string(op.firstOpset) + " to " +
                                  std::to_string(op.lastOpset);
  return opsets;
}

std::string ConformanceReport::print() const {
  std::string page;
  llvm::raw_string_ostream os(page);
  auto opsets = opsetsOf("ai.onnx");
  std::map<std::string, Line> all = lines;
  for (const auto &entry : opsets)
    all.try_emplace(entry.first);
  os << kHead << "**" << numPassed << " of " << numTests << " tests pass, "
     << numRefused << " are refused, " << numFailed << " fail; "
     << opsets.size() << " operators are known.**\n\n"
     << "| operator | opsets | types | passed | refused | failed |\n"
     << "|---|---|---|---|---|---|\n";
  for (const auto &[type, line] : all) {
    auto known = opsets.find(type);
    os << "| " << type << " | "
       << (known == opsets.end() ? "none" : known->second) << " | "
       << llvm::join(line.types, ", ") << " | " << line.passed << " | ";
    llvm::ListSeparator separator;
    for (const auto &[reason, count] : line.refused)
      os << separator << count << ": " << reason;
    os << (line.refused.empty() ? "0" : "") << " | " << line.failed << " |\n";
  }
  os << "\n## Operators of ONNX Runtime\n\n"
     << "These have no tests in the `onnx` package; `test_microsoft_ops.py` "
     << "compares them with\nONNX Runtime.\n\n";
  for (const auto &entry : opsetsOf("com.microsoft"))
    os << "- `" << entry.first << "`\n";
  return page;
}

testing::AssertionResult
ConformanceReport::isPage(const std::string &path) const {
  std::string page = print();
  if (std::getenv("NJU_WRITE_CONFORMANCE")) {
    std::error_code error;
    llvm::raw_fd_ostream(path, error) << page;
  }
  auto file = llvm::MemoryBuffer::getFile(path);
  if (file && (*file)->getBuffer() == page)
    return testing::AssertionSuccess();
  return testing::AssertionFailure()
         << path << " is not what the tests found; write it anew with "
         << "NJU_WRITE_CONFORMANCE=1 in the environment";
}
