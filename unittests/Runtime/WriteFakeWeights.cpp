//===- WriteFakeWeights.cpp - Write the fake model's weight file ----------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "FakeModel.h"

#include <cstdio>

int main(int argc, char **argv) {
  FILE *file = argc == 2 ? fopen(argv[1], "wb") : nullptr;
  if (!file) {
    fprintf(stderr, "usage: WriteFakeWeights FILE\n");
    return 1;
  }
  std::string bytes = nju::fake::makeWeightFile();
  bool written = fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  return fclose(file) == 0 && written ? 0 : 1;
}
