//===- BlockMatrix.h - Matrices quantized in blocks -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_IMPORT_ONNX_BLOCKMATRIX_H
#define NJU_LIB_IMPORT_ONNX_BLOCKMATRIX_H

#include "NodeImporter.h"

namespace nju::onnx_import {

/// A matrix [rows, columns] in blocks of columns, in the form of MatMulNBits,
/// GatherBlockQuantized and QMoE.
struct BlockMatrix {
  int64_t rows, columns, blockSize;
  PackedType type;
  int64_t rowBits;
  StoredTensor codes, scales;
  mlir::Attribute zeroPoints;
  int64_t zeroPoint = 0;
  mlir::DenseI64ArrayAttr columnOrder;

  int64_t getBlocks() const {
    return llvm::divideCeilSigned(columns, blockSize);
  }
};

/// The matrix in f32.
mlir::Value importMatrix(NodeImporter &node, const BlockMatrix &matrix);

/// An input that has to be stored in the model.
std::optional<StoredTensor> requireStored(NodeImporter &node, int index,
                                          llvm::StringRef what);

/// Part `index` of the first dimension of a tensor of at least whole bytes.
StoredTensor takePart(const StoredTensor &tensor, int64_t index);

/// Error unless the elements are f32, f16 or bf16.
bool checkIsFloat(NodeImporter &node, const StoredTensor &tensor,
                  llvm::StringRef what);

} // namespace nju::onnx_import

#endif // NJU_LIB_IMPORT_ONNX_BLOCKMATRIX_H
