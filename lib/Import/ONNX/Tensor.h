//===- Tensor.h - Tensors of an ONNX model -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_IMPORT_ONNX_TENSOR_H
#define NJU_LIB_IMPORT_ONNX_TENSOR_H

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Diagnostics.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "onnx-ml.pb.h"
#include <optional>
#include <string>

namespace nju::onnx_import {

/// Where a model's bytes and its other files are.
struct ModelSource {
  /// The file as the user named it, for diagnostics.
  std::string path;
  /// Absolute folder of the model.
  std::string folder;
  /// Name of the model file in `folder`.
  std::string fileName;
  /// The serialized model.
  llvm::StringRef bytes;
};

/// The element type of a TensorProto::DataType, or null for those that NJU does
/// not have (strings, complex numbers, types of less than a byte, ...). Signed
/// integers are signless, as everywhere in the nju dialect.
mlir::Type elementType(int32_t dataType, mlir::MLIRContext *context);

/// Integers of a few bits, the first in the lowest bits of a byte.
struct PackedType {
  int64_t bits;
  bool isSigned;
};

/// What a TensorProto::DataType of integers of less than a byte is; none for
/// all others.
std::optional<PackedType> packedType(int32_t dataType);

/// The name of a TensorProto::DataType, for diagnostics.
std::string dataTypeName(int32_t dataType);

/// Bytes of an element in a model file.
int64_t elementSize(mlir::Type type);

/// The highest rank of a tensor.
constexpr int64_t kMaxRank = 64;

/// Number of elements of a static shape, or failure if it is not a number of
/// elements that any memory holds.
mlir::FailureOr<int64_t> countElements(llvm::ArrayRef<int64_t> shape);

/// True for the types of constants: at most 64 bytes, or an integer scalar or
/// vector of at most 1024 elements. Larger tensors are weights.
bool isConstant(mlir::RankedTensorType type);

using EmitError = llvm::function_ref<mlir::InFlightDiagnostic()>;

/// The value of a tensor: elements for a constant, a #nju.file for a weight
/// (elements if its bytes do not lie in a file as they are). `emitError` starts
/// a diagnostic that names the tensor.
mlir::FailureOr<mlir::Attribute> loadTensor(const onnx::TensorProto &tensor,
                                            const ModelSource &source,
                                            mlir::MLIRContext *context,
                                            EmitError emitError);

/// The same, and for integers of less than a byte the bytes that hold them.
mlir::FailureOr<mlir::Attribute> loadStored(const onnx::TensorProto &tensor,
                                            const ModelSource &source,
                                            mlir::MLIRContext *context,
                                            EmitError emitError);

} // namespace nju::onnx_import

#endif // NJU_LIB_IMPORT_ONNX_TENSOR_H
