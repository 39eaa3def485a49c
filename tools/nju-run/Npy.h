//===- Npy.h - Arrays in NumPy's .npy format --------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUN_NPY_H
#define NJU_RUN_NPY_H

#include "nju/nju.h"

#include <string>
#include <vector>

namespace nju::run {

class OutputFile;

/// An array read from a file, in row-major order.
struct NpyArray {
  DLDataType type;
  std::vector<int64_t> shape;
  std::vector<uint8_t> data;

  /// A view for nju_model_run; valid as long as the array.
  DLTensor getTensor();
};

/// Reads a `.npy` file of version 1, 2 or 3, C or Fortran order, little-endian.
/// Types: f2 f4 f8, i1 to i8, u1 to u8, b1; V2 (which is how ml_dtypes saves
/// bfloat16) is bf16. Throws Failure that names the file.
NpyArray readNpy(const std::string &path);

/// The header of a row-major array, version 1. bf16 is written as V2.
std::string makeNpyHeader(DLDataType type, const std::vector<int64_t> &shape);

/// Writes a contiguous tensor; the file appears when it is complete.
void writeNpy(const std::string &path, const DLTensor &tensor);

} // namespace nju::run

#endif // NJU_RUN_NPY_H
