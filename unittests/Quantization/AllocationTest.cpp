//===- AllocationTest.cpp - Formats of matrices under a budget ------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Quantization/Allocation.h"

#include "gtest/gtest.h"
#include <cmath>
#include <random>

using namespace nju::lcq;

namespace {

using Matrices = std::vector<std::vector<FormatChoice>>;

Matrices makeMatrices(std::mt19937 &random, size_t count, int64_t sizes) {
  Matrices matrices(count);
  for (auto &choices : matrices) {
    size_t own = 1 + random() % 5;
    for (size_t i = 0; i < own; ++i)
      choices.push_back(
          {1 + int64_t(random() % sizes), double(random() % 1000)});
  }
  return matrices;
}

FormatChoice sum(const Matrices &matrices, const std::vector<size_t> &picked) {
  FormatChoice all;
  for (size_t i = 0; i < matrices.size(); ++i) {
    all.bytes += matrices[i][picked[i]].bytes;
    all.cost += matrices[i][picked[i]].cost;
  }
  return all;
}

/// The least cost of all combinations; infinite if none fits.
double findLeastCost(const Matrices &matrices, int64_t budget) {
  double least = std::numeric_limits<double>::infinity();
  std::vector<size_t> picked(matrices.size());
  while (true) {
    FormatChoice all = sum(matrices, picked);
    if (all.bytes <= budget)
      least = std::min(least, all.cost);
    size_t i = 0;
    while (i < picked.size() && ++picked[i] == matrices[i].size())
      picked[i++] = 0;
    if (i == picked.size())
      return least;
  }
}

TEST(Allocation, FindsTheBestOfAllCombinations) {
  std::mt19937 random(1);
  int refused = 0;
  for (int trial = 0; trial < 500; ++trial) {
    Matrices matrices = makeMatrices(random, 1 + random() % 6, 50);
    int64_t budget = int64_t(random() % (40 * matrices.size()));
    double least = findLeastCost(matrices, budget);
    auto picked = allocateFormats(matrices, budget);
    ASSERT_EQ(bool(picked), std::isfinite(least)) << trial;
    if (!picked) {
      ++refused;
      llvm::consumeError(picked.takeError());
      continue;
    }
    FormatChoice all = sum(matrices, *picked);
    EXPECT_LE(all.bytes, budget);
    EXPECT_EQ(all.cost, least) << trial;
  }
  // Both kinds of budgets were tried.
  EXPECT_GT(refused, 20);
  EXPECT_LT(refused, 400);
}

/// Matrices like those of a model: of each format less costs more.
TEST(Allocation, IsNearTheBoundOfLargeModels) {
  std::mt19937 random(2);
  Matrices matrices(300);
  int64_t elements = 0;
  for (auto &choices : matrices) {
    int64_t size = 1000 + int64_t(random() % 1000000);
    double weight = std::exp(6. * random() / 4294967296.0) * double(size);
    elements += size;
    for (double bits : {2.25, 2.5, 3.25, 3.5, 4.25, 4.5})
      choices.push_back(
          {int64_t(double(size) * bits / 8),
           weight * std::exp2(-2 * bits) * (1 + random() / 4294967296.0 / 10)});
  }
  int64_t budget = elements * 32 / 80;
  auto picked = allocateFormats(matrices, budget);
  ASSERT_TRUE(bool(picked));
  FormatChoice all = sum(matrices, *picked);
  EXPECT_LE(all.bytes, budget);
  EXPECT_GT(all.bytes, budget - budget / 1000);
  // No choice costs less than the best price of a byte says (a Lagrangian
  // bound).
  double bound = 0;
  for (double price = 1e-6; price < 1e3; price *= 1.02) {
    double own = -price * double(budget);
    for (const auto &choices : matrices) {
      double least = std::numeric_limits<double>::infinity();
      for (const FormatChoice &choice : choices)
        least = std::min(least, choice.cost + price * double(choice.bytes));
      own += least;
    }
    bound = std::max(bound, own);
  }
  EXPECT_GT(bound, 0);
  EXPECT_LT(all.cost, 1.002 * bound);
}

TEST(Allocation, RefusesBudgetsBelowTheSmallest) {
  Matrices matrices = {{{10, 1.}, {20, 0.}}, {{7, 3.}}};
  auto least = allocateFormats(matrices, 17);
  ASSERT_TRUE(bool(least));
  EXPECT_EQ(*least, (std::vector<size_t>{0, 0}));
  auto less = allocateFormats(matrices, 16);
  ASSERT_FALSE(bool(less));
  EXPECT_EQ(llvm::toString(less.takeError()),
            "the smallest formats take 17 bytes, the budget is 16");
  auto none = allocateFormats({}, 0);
  ASSERT_TRUE(bool(none));
  EXPECT_TRUE(none->empty());
}

} // namespace
