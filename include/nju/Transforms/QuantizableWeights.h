//===- QuantizableWeights.h - Matrices that can be quantized ----*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_TRANSFORMS_QUANTIZABLEWEIGHTS_H
#define NJU_TRANSFORMS_QUANTIZABLEWEIGHTS_H

#include "mlir/IR/BuiltinOps.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "llvm/ADT/SmallVector.h"

namespace nju {

/// The attribute of a param that `nju-quantize-weights` asks: an #nju.lcq.
constexpr llvm::StringLiteral kQuantizeAttr = "nju.quantize";
/// A unit attribute beside it: the format is that of the param's data, an
/// #nju.uniform, and takes over its codes, scales and zero points.
constexpr llvm::StringLiteral kExactAttr = "nju.exact";

/// A weight matrix whose uses all exist for quantized matrices.
struct QuantizableWeight {
  ParamOp param;
  int64_t columns = 0; ///< Of a row: K of the product it is used in.
  int64_t rows = 0;    ///< Output channels, or tokens of an embedding.
  /// How dimensions of the matrix [columns, rows] are those of the data.
  llvm::SmallVector<int64_t, 2> permutation;
  bool isProduct = false;   ///< A product multiplies it,
  bool isEmbedding = false; ///< rows of it are looked up (both, if tied),
  bool isHead = false;      ///< its product is the logits.
};

/// All of a module after `nju-pack-weights`, in the order of the first use.
llvm::SmallVector<QuantizableWeight>
collectQuantizableWeights(mlir::ModuleOp module);

} // namespace nju

#endif // NJU_TRANSFORMS_QUANTIZABLEWEIGHTS_H
