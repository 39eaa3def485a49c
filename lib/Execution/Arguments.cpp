//===- Arguments.cpp - Arguments of a model for given tokens --------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Execution/Executor.h"

#include <numeric>

using namespace mlir;
using namespace nju;

using Integers = llvm::SmallVector<int64_t>;

int64_t TokenBatch::countTokens() const {
  int64_t count = 0;
  for (const std::vector<int32_t> &sequence : sequences)
    count += sequence.size();
  return count;
}

//===----------------------------------------------------------------------===//
// Roles
//===----------------------------------------------------------------------===//

namespace {
enum class Role { Tokens, Mask, Positions, Types, Sequences, Rows, Unknown };
} // namespace

static StringRef nameOf(func::FuncOp function, unsigned index) {
  auto name = function.getArgAttrOfType<StringAttr>(index, "nju.name");
  return name ? name.getValue() : "";
}

static Role roleOf(func::FuncOp function, unsigned index) {
  StringRef name = nameOf(function, index);
  auto type = cast<RankedTensorType>(function.getArgumentTypes()[index]);
  if (name.contains("mask"))
    return Role::Mask;
  if (!isa<IntegerType>(type.getElementType()))
    return Role::Unknown;
  if (name == "sequences")
    return Role::Sequences;
  if (name == "rows")
    return Role::Rows;
  if (name.contains("position"))
    return Role::Positions;
  if (name.contains("type") || name.contains("segment"))
    return Role::Types;
  if (name.contains("ids") || name.contains("tokens"))
    return Role::Tokens;
  return Role::Unknown;
}

/// How many tokens the tables have that `value` looks up in; nothing if it
/// looks up in none.
static std::optional<int64_t> findVocabulary(Value value) {
  std::optional<int64_t> least;
  auto add = [&](std::optional<int64_t> size) {
    if (size)
      least = least ? std::min(*least, *size) : *size;
  };
  for (OpOperand &use : value.getUses()) {
    Operation *user = use.getOwner();
    if (isa<CastOp, ReshapeOp, SqueezeOp, UnsqueezeOp>(user) &&
        use.getOperandNumber() == 0)
      add(findVocabulary(user->getResult(0)));
    else if (auto embedding = dyn_cast<EmbeddingOp>(user))
      add(embedding.getColumns());
    else if (auto gather = dyn_cast<GatherOp>(user);
             gather && use.getOperandNumber() == 1 &&
             !gather.getInput().getType().isDynamicDim(gather.getAxis()))
      add(gather.getInput().getType().getDimSize(gather.getAxis()));
  }
  return least;
}

static llvm::Error checkTokens(Value argument, const TokenBatch &tokens) {
  std::optional<int64_t> vocabulary = findVocabulary(argument);
  for (auto [i, sequence] : llvm::enumerate(tokens.sequences))
    for (int32_t token : sequence)
      if (token < 0 || (vocabulary && token >= *vocabulary))
        return llvm::createStringError(
            "token " + llvm::Twine(token) + " of sequence " + llvm::Twine(i) +
            " is not in the model's vocabulary of " +
            llvm::Twine(vocabulary.value_or(0)) + " tokens");
  return llvm::Error::success();
}

//===----------------------------------------------------------------------===//
// Arguments
//===----------------------------------------------------------------------===//

/// The numbers of the step's arguments: all sequences, one after the other.
static Integers makeNumbers(Role role, const TokenBatch &tokens) {
  Integers numbers;
  for (auto [i, sequence] : llvm::enumerate(tokens.sequences))
    for (auto [position, token] : llvm::enumerate(sequence))
      numbers.push_back(role == Role::Tokens      ? token
                        : role == Role::Positions ? int64_t(position)
                        : role == Role::Sequences ? int64_t(i)
                                                  : int64_t(numbers.size()));
  return numbers;
}

static RunTensors makeStepArgument(func::FuncOp step, unsigned index,
                                   const TokenBatch &tokens) {
  Integers numbers = makeNumbers(roleOf(step, index), tokens);
  Type i32 = IntegerType::get(step.getContext(), 32);
  return {HostTensor::fromInts(i32, {int64_t(numbers.size())}, numbers)};
}

/// An argument of a graph for one sequence.
static HostTensor makeGraphArgument(Role role, RankedTensorType type,
                                    ArrayRef<int32_t> sequence) {
  int64_t length = sequence.size();
  Integers numbers(length, role == Role::Mask ? 1 : 0);
  if (role == Role::Positions)
    std::iota(numbers.begin(), numbers.end(), 0);
  if (role == Role::Tokens)
    numbers.assign(sequence.begin(), sequence.end());
  Integers shape(type.getRank(), 1);
  shape.back() = length;
  Type i64 = IntegerType::get(type.getContext(), 64);
  return HostTensor::fromInts(i64, shape, numbers)
      .converted(type.getElementType());
}

/// Why an argument of a graph cannot be made of tokens; empty if it can.
static std::string findObstacle(func::FuncOp function, unsigned index) {
  auto type = cast<RankedTensorType>(function.getArgumentTypes()[index]);
  std::string name = ("input '" + nameOf(function, index) + "'").str();
  if (roleOf(function, index) == Role::Unknown)
    return name + " is not made of tokens";
  bool fits = type.getRank() == 1 || type.getRank() == 2;
  if (fits && !type.isDynamicDim(type.getRank() - 1))
    fits = false;
  if (fits && type.getRank() == 2 && !type.isDynamicDim(0) &&
      type.getDimSize(0) != 1)
    fits = false;
  if (fits)
    return "";
  llvm::raw_string_ostream(name)
      << " is a " << type << ", expected one sequence of any length";
  return name;
}

llvm::Expected<llvm::SmallVector<RunTensors>>
nju::makeArguments(func::FuncOp function, const TokenBatch &tokens) {
  unsigned count = function.getNumArguments();
  auto roles = llvm::map_to_vector(llvm::seq(count), [&](unsigned index) {
    return roleOf(function, index);
  });
  const auto *found = llvm::find(roles, Role::Tokens);
  if (found == roles.end())
    return llvm::createStringError(
        "the model has no input for token numbers, so there is nothing that "
        "text can be fed to");
  if (llvm::Error failed =
          checkTokens(function.getArgument(found - roles.begin()), tokens))
    return failed;
  bool isStep = llvm::is_contained(roles, Role::Sequences);
  llvm::SmallVector<RunTensors> arguments;
  for (unsigned index = 0; index < count; ++index) {
    if (isStep) {
      arguments.push_back(makeStepArgument(function, index, tokens));
      continue;
    }
    if (std::string obstacle = findObstacle(function, index); !obstacle.empty())
      return llvm::createStringError("the model cannot be run on text: " +
                                     obstacle);
    arguments.emplace_back();
    auto type = cast<RankedTensorType>(function.getArgumentTypes()[index]);
    for (const std::vector<int32_t> &sequence : tokens.sequences)
      arguments.back().push_back(
          makeGraphArgument(roles[index], type, sequence));
  }
  return arguments;
}
