//===- Blocks.cpp - The layers of a model ---------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Blocks.h"

#include "Tape.h"

using namespace mlir;
using namespace nju;

namespace {

/// A point after which only one value matters of those that depend on trained
/// weights.
struct Cut {
  int64_t position; ///< Index of the op before it.
  Value value;
};

/// The ops of a function with what is known of them.
struct Outline {
  SmallVector<Cut> cuts;
  SmallVector<int64_t> attentions;
  SmallVector<std::pair<int64_t, LinearOp>> products; ///< The trained ones.
};

} // namespace

static Outline makeOutline(func::FuncOp function,
                           const llvm::StringSet<> &trained) {
  Outline outline;
  llvm::DenseMap<Operation *, int64_t> positions;
  for (auto [i, op] : llvm::enumerate(function.getBody().front()))
    positions[&op] = i;
  auto getLastUse = [&](Value value) {
    int64_t last = -1;
    for (Operation *user : value.getUsers())
      last = std::max(last, positions.lookup(user));
    return last;
  };
  llvm::DenseSet<Value> active;
  llvm::SmallVector<std::pair<Value, int64_t>> live; // With their last uses.
  for (Operation &op : function.getBody().front()) {
    int64_t position = positions[&op];
    auto linear = dyn_cast<LinearOp>(op);
    bool isTrained = linear && trained.contains(getWeightName(linear));
    if (isTrained)
      outline.products.push_back({position, linear});
    if (isa<AttentionOp, CachedAttentionOp>(op))
      outline.attentions.push_back(position);
    llvm::erase_if(live, [&](auto &value) { return value.second <= position; });
    if (isTrained || llvm::any_of(op.getOperands(), [&](Value operand) {
          return active.contains(operand);
        }))
      for (Value result : op.getResults()) {
        active.insert(result);
        if (int64_t last = getLastUse(result); last > position)
          live.push_back({result, last});
      }
    if (live.size() == 1)
      outline.cuts.push_back({position, live.front().first});
  }
  return outline;
}

/// Whether the function returns the product, at most in another shape.
static bool isHead(LinearOp op) {
  Value value = op.getResult();
  while (value.hasOneUse()) {
    Operation *user = *value.getUsers().begin();
    if (isa<func::ReturnOp>(user))
      return true;
    if (!isa<ReshapeOp, SqueezeOp, UnsqueezeOp, CastOp, TransposeOp, SliceOp>(
            user))
      return false;
    value = user->getResult(0);
  }
  return false;
}

/// The points between blocks, the end of the last one included.
static SmallVector<Cut> chooseCuts(const Outline &outline) {
  // The end: no product but heads comes later.
  int64_t lastProduct = -1;
  for (auto [position, op] : outline.products)
    if (!isHead(op))
      lastProduct = position;
  SmallVector<Cut> chosen;
  auto choose = [&](const Cut &cut) {
    if (chosen.empty() || chosen.back().position < cut.position)
      chosen.push_back(cut);
  };
  const auto *end = llvm::find_if(
      outline.cuts, [&](const Cut &cut) { return cut.position > lastProduct; });
  if (lastProduct < 0 || end == outline.cuts.end())
    return chosen;
  for (size_t i = 1; i < outline.attentions.size(); ++i) {
    // The last point before the attention, unless that is in front of the
    // attention before.
    const Cut *last = nullptr;
    for (const Cut &cut : outline.cuts)
      if (cut.position < outline.attentions[i] &&
          cut.position > outline.attentions[i - 1])
        last = &cut;
    if (last && last->position < end->position)
      choose(*last);
  }
  if (outline.attentions.empty())
    for (const Cut &cut : outline.cuts)
      if (cut.position < end->position)
        choose(cut);
  choose(*end);
  return chosen;
}

SmallVector<ModelBlock> nju::findBlocks(func::FuncOp function,
                                        const llvm::StringSet<> &trained) {
  Outline outline = makeOutline(function, trained);
  SmallVector<ModelBlock> blocks;
  Value input;
  int64_t begin = -1;
  for (const Cut &cut : chooseCuts(outline)) {
    ModelBlock block{input, cut.value, {}};
    for (auto [position, op] : outline.products)
      if (position > begin && position <= cut.position &&
          !llvm::is_contained(block.weights, getWeightName(op)))
        block.weights.push_back(getWeightName(op));
    begin = cut.position;
    // Points between which nothing is trained are of no use.
    if (block.weights.empty())
      continue;
    input = cut.value;
    blocks.push_back(std::move(block));
  }
  return blocks;
}
