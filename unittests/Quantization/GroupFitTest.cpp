//===- GroupFitTest.cpp - Fitting 16 groups at once -----------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GroupFit.h"
#include "RandomWeights.h"

using namespace nju::lcq;

namespace {

/// A batch with a group of zeros and one of few distinct weights.
struct RandomBatch {
  RandomBatch(unsigned levels, unsigned rank, bool offset, bool weighted,
              int64_t columns)
      : weights(makeNormal(columns * kLanes, levels + rank)),
        importance(makeNormal(columns, 9)),
        basis(makeNormal(rank * levels, 3)) {
    for (int64_t j = 0; j < columns; ++j) {
      weights[j * kLanes + 3] = 0;
      weights[j * kLanes + 5] = j % 2 - 0.25f;
      importance[j] *= importance[j];
    }
    if (rank == 1)
      std::sort(basis.begin(), basis.end());
    batch.levels = levels;
    batch.rank = rank;
    batch.hasOffset = offset;
    batch.basis = basis.data();
    batch.columns = columns;
    batch.weights = weights.data();
    batch.importance = weighted ? importance.data() : nullptr;
  }

  std::vector<float> weights, importance, basis;
  GroupBatch batch;
};

template <typename Body>
void forEachBatch(Body body) {
  for (unsigned levels : {4, 8, 16})
    for (unsigned rank = 1; rank <= 3; ++rank)
      for (bool offset : {false, true})
        for (bool weighted : {false, true})
          for (int64_t columns : {1, 7, 32})
            body(RandomBatch(levels, rank, offset, weighted, columns));
}

TEST(GroupFit, GivesTheSameBitsOnEveryProcessor) {
  llvm::ArrayRef<GroupKernels> kernels = getGroupKernels();
  ASSERT_FALSE(kernels.empty());
  forEachBatch([&](const RandomBatch &random) {
    GroupParameters expected;
    alignas(64) float expectedErrors[kLanes];
    kernels.back().fit(random.batch, FitPlan(), expected, expectedErrors,
                       nullptr);
    std::vector<uint8_t> expectedCodes(random.weights.size());
    std::vector<float> codewords = makeNormal(random.batch.levels * kLanes, 7);
    alignas(64) float expectedSums[kLanes];
    kernels.back().assign(random.batch, codewords.data(), expectedCodes.data(),
                          expectedSums);
    for (const GroupKernels &kernel : kernels.drop_back()) {
      GroupParameters found;
      alignas(64) float errors[kLanes], sums[kLanes];
      kernel.fit(random.batch, FitPlan(), found, errors, nullptr);
      EXPECT_EQ(std::memcmp(&found, &expected, sizeof(found)), 0);
      EXPECT_EQ(std::memcmp(errors, expectedErrors, sizeof(errors)), 0);
      std::vector<uint8_t> codes(random.weights.size());
      kernel.assign(random.batch, codewords.data(), codes.data(), sums);
      EXPECT_EQ(codes, expectedCodes);
      EXPECT_EQ(std::memcmp(sums, expectedSums, sizeof(sums)), 0);
    }
  });
}

TEST(GroupFit, MoreRoundsAndTheSearchNeverLose) {
  forEachBatch([&](const RandomBatch &random) {
    alignas(64) float one[kLanes], five[kLanes], searched[kLanes];
    GroupParameters parameters;
    fitGroups(random.batch, FitPlan{true, 1, false}, parameters, one, nullptr);
    fitGroups(random.batch, FitPlan{true, 5, false}, parameters, five, nullptr);
    fitGroups(random.batch, FitPlan{true, 5, true}, parameters, searched,
              nullptr);
    for (int lane = 0; lane < kLanes; ++lane) {
      // What cancels in sums of squares.
      float tolerance = 1e-4f * random.batch.columns;
      EXPECT_LE(five[lane], one[lane] + tolerance);
      EXPECT_LE(searched[lane], five[lane] + tolerance);
    }
    EXPECT_EQ(parameters.scales[0][3], 0);
  });
}

TEST(GroupFit, SumsAreThoseOfTheCodes) {
  RandomBatch random(8, 2, true, true, 32);
  GroupParameters parameters;
  CodeSums sums;
  alignas(64) float errors[kLanes];
  fitGroups(random.batch, FitPlan(), parameters, errors, &sums);
  for (int lane = 0; lane < kLanes; ++lane) {
    double count = 0, sum = 0, expectedCount = 0, expectedSum = 0;
    for (int code = 0; code < 8; ++code) {
      count += sums.count[code][lane];
      sum += sums.sum[code][lane];
    }
    for (int64_t j = 0; j < 32; ++j) {
      expectedCount += random.importance[j];
      expectedSum += random.importance[j] * random.weights[j * kLanes + lane];
    }
    EXPECT_NEAR(count, expectedCount, 1e-4);
    EXPECT_NEAR(sum, expectedSum, 1e-4);
  }
}

} // namespace
