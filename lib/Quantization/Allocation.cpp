//===- Allocation.cpp - Formats of matrices under a budget ----------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Quantization/Allocation.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/Twine.h"
#include <tuple>

using namespace nju::lcq;
using llvm::ArrayRef;

/// Sums that are kept after each matrix.
static constexpr size_t kMaxSums = 1 << 13;

namespace {

/// Choices for the first few matrices.
struct Sum {
  int64_t bytes = 0;
  double cost = 0;
  uint32_t before = 0; ///< Which sum of one matrix less.
  uint32_t choice = 0; ///< Of the last matrix.
};

} // namespace

/// Keeps what is smaller than all that cost less. `sums` become sorted: larger
/// ones cost less.
static void prune(std::vector<Sum> &sums) {
  llvm::sort(sums, [](const Sum &a, const Sum &b) {
    return std::tie(a.bytes, a.cost, a.before, a.choice) <
           std::tie(b.bytes, b.cost, b.before, b.choice);
  });
  size_t kept = 0;
  for (const Sum &sum : sums)
    if (kept == 0 || sum.cost < sums[kept - 1].cost)
      sums[kept++] = sum;
  sums.resize(kept);
}

/// Keeps one sum of each of `kMaxSums` ranges of bytes, the largest, which
/// costs least; and the smallest of all, which fits if any does.
static void thin(std::vector<Sum> &sums) {
  if (sums.size() <= kMaxSums)
    return;
  int64_t first = sums.front().bytes, range = sums.back().bytes - first + 1;
  auto place = [&](const Sum &sum) {
    return int64_t(double(sum.bytes - first) / double(range) * kMaxSums);
  };
  std::vector<Sum> kept = {sums.front()};
  for (size_t i = 1; i < sums.size(); ++i)
    if (i + 1 == sums.size() || place(sums[i]) != place(sums[i + 1]))
      kept.push_back(sums[i]);
  sums = std::move(kept);
}

static int64_t getLeastBytes(ArrayRef<FormatChoice> choices) {
  return llvm::min_element(choices,
                           [](auto &a, auto &b) { return a.bytes < b.bytes; })
      ->bytes;
}

llvm::Expected<std::vector<size_t>>
nju::lcq::allocateFormats(ArrayRef<std::vector<FormatChoice>> matrices,
                          int64_t budget) {
  // What the matrices behind need at least.
  int64_t behind = 0;
  for (const std::vector<FormatChoice> &choices : matrices)
    behind += getLeastBytes(choices);
  if (behind > budget)
    return llvm::createStringError(
        "the smallest formats take " + llvm::Twine(behind) +
        " bytes, the budget is " + llvm::Twine(budget));
  std::vector<std::vector<Sum>> levels = {{Sum()}};
  for (const std::vector<FormatChoice> &choices : matrices) {
    behind -= getLeastBytes(choices);
    std::vector<Sum> sums;
    for (auto [before, sum] : llvm::enumerate(levels.back()))
      for (auto [index, choice] : llvm::enumerate(choices))
        if (sum.bytes + choice.bytes + behind <= budget)
          sums.push_back({sum.bytes + choice.bytes, sum.cost + choice.cost,
                          uint32_t(before), uint32_t(index)});
    prune(sums);
    thin(sums);
    levels.push_back(std::move(sums));
  }
  std::vector<size_t> picked(matrices.size());
  size_t at = levels.back().size() - 1;
  for (size_t i = matrices.size(); i > 0; --i) {
    const Sum &sum = levels[i][at];
    picked[i - 1] = sum.choice;
    at = sum.before;
  }
  return picked;
}
