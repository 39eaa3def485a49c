//===- ExponentialTest.cpp - Exponentials of many numbers -----------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Support/Exponential.h"

#include "gtest/gtest.h"
#include <cmath>
#include <limits>
#include <vector>

using namespace nju;

namespace {

TEST(Exponential, IsThatOfTheLibrary) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (int64_t count : {0, 1, 3, 16, 17, 1000}) {
    std::vector<float> values(count);
    for (int64_t i = 0; i < count; ++i)
      values[i] = 2.5f - 0.0867f * float(i * 617 % 1000);
    float largest = -kInfinity;
    for (float value : values)
      largest = std::max(largest, value);
    EXPECT_EQ(getLargest(values.data(), count), largest);
    std::vector<float> results = values;
    float sum = exponentiate(results.data(), count, 2.5f);
    double expectedSum = 0;
    for (int64_t i = 0; i < count; ++i) {
      double expected = std::exp(double(values[i] - 2.5f));
      EXPECT_NEAR(results[i], expected, 2.4e-7 * expected) << i;
      expectedSum += expected;
    }
    EXPECT_NEAR(sum, expectedSum, 1e-6 * expectedSum);
  }
  float special[] = {0, -kInfinity, -1e30f, 200, NAN};
  exponentiate(special, 5, 0);
  EXPECT_EQ(special[0], 1);
  EXPECT_LT(special[1], 2e-38f);
  EXPECT_LT(special[2], 2e-38f);
  EXPECT_GT(special[3], 1e38f);
  EXPECT_TRUE(std::isnan(special[4]));
}

} // namespace
