//===- Quantization.h - Scales and zero points of ONNX ----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_IMPORT_ONNX_QUANTIZATION_H
#define NJU_LIB_IMPORT_ONNX_QUANTIZATION_H

#include "NodeImporter.h"

namespace nju::onnx_import {

/// The attributes that QuantizeLinear and DequantizeLinear have in common.
struct Blocking {
  int64_t axis = 1;
  int64_t size = 0;  ///< Of a block along the axis; 0 if there are none.
  mlir::Type result; ///< Of `output_dtype`; null if there is none.
};

/// Reads `axis`, `block_size` and `output_dtype` of an op on a tensor of this
/// rank; `fits` says which types that can be, `expected` does in words.
Blocking readBlocking(NodeImporter &node, int64_t rank,
                      bool (*fits)(mlir::Type), llvm::StringRef expected);

/// A scale or zero point as it is broadcast to `x`. Null after an error.
mlir::Value spreadBlocks(NodeImporter &node, mlir::Value value, mlir::Value x,
                         const Blocking &blocking);

} // namespace nju::onnx_import

#endif // NJU_LIB_IMPORT_ONNX_QUANTIZATION_H
