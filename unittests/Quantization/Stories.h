//===- Stories.h - The matrices of stories260K ------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_UNITTESTS_QUANTIZATION_STORIES_H
#define NJU_UNITTESTS_QUANTIZATION_STORIES_H

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

namespace nju::lcq {

struct StoriesMatrix {
  int64_t rows, columns;
  std::vector<float> weights;
};

/// The 35 matrices of the blocks of stories260K; none where it is absent.
inline std::vector<StoriesMatrix> readStories() {
  const char *shared = std::getenv("NJU_SHARED");
  std::ifstream file(std::string(shared ? shared : NJU_SHARED_DIR) +
                         "/data/stories260K/stories260K.bin",
                     std::ios::binary);
  std::vector<StoriesMatrix> matrices;
  constexpr int64_t kDim = 64, kHidden = 172, kKeys = 32, kLayers = 5,
                    kVocabulary = 512, kHeader = 28;
  auto skip = [&](int64_t floats) { file.seekg(floats * 4, std::ios::cur); };
  auto read = [&](int64_t rows, int64_t columns) {
    for (int64_t layer = 0; layer < kLayers && file; ++layer) {
      StoriesMatrix matrix{rows, columns, std::vector<float>(rows * columns)};
      file.read(reinterpret_cast<char *>(matrix.weights.data()),
                matrix.weights.size() * 4);
      matrices.push_back(std::move(matrix));
    }
  };
  file.seekg(kHeader);
  skip(kVocabulary * kDim + kLayers * kDim);
  read(kDim, kDim);
  read(kKeys, kDim);
  read(kKeys, kDim);
  read(kDim, kDim);
  skip(kLayers * kDim);
  read(kHidden, kDim);
  read(kDim, kHidden);
  read(kHidden, kDim);
  return file ? matrices : std::vector<StoriesMatrix>();
}

} // namespace nju::lcq

#endif // NJU_UNITTESTS_QUANTIZATION_STORIES_H
