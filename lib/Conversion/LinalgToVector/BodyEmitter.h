//===- BodyEmitter.h - Bodies of linalg ops on vectors -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_CONVERSION_LINALGTOVECTOR_BODYEMITTER_H
#define NJU_LIB_CONVERSION_LINALGTOVECTOR_BODYEMITTER_H

#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include <optional>

namespace nju::vectorize {

/// Elements of a vector. Wider than a register where a register is narrower:
/// LLVM splits it.
constexpr int64_t kLanes = 16;

/// How a value of the body changes along the vector loop.
enum class Kind {
  Uniform, ///< Not at all: it is a scalar.
  Linear,  ///< An index or integer that grows by one: the first one is kept.
  Varying, ///< A vector.
};

/// Emits the body of a linalg.generic on memrefs: for one point of the loops,
/// or for `kLanes` points that are neighbours in the loop `vectorLoop`.
class BodyEmitter {
public:
  /// With `vectorLoop` -1 everything is scalar.
  BodyEmitter(mlir::linalg::GenericOp op, int64_t vectorLoop)
      : op(op), loop(vectorLoop) {}

  /// Finds the kinds of all values; false if the body cannot be a vector.
  bool classify();
  /// True if all memory accesses of vectors are of 32 or 64 bits: these can be
  /// masked well.
  bool canMask() const;

  /// Emits what does not change along the vector loop. `accumulators` are
  /// scalars for the outputs (if empty, outputs that the body reads are
  /// loaded).
  void emitUniform(mlir::ImplicitLocOpBuilder &b, mlir::IRMapping &map,
                   llvm::ArrayRef<mlir::Value> position,
                   llvm::ArrayRef<mlir::Value> accumulators) const;
  /// Emits the rest from `position` on and returns what the body yields, as
  /// vectors (scalars where the emitter is scalar). `map` has the uniform
  /// values; it is not changed.
  llvm::SmallVector<mlir::Value> emit(mlir::ImplicitLocOpBuilder &b,
                                      const mlir::IRMapping &map,
                                      llvm::ArrayRef<mlir::Value> position,
                                      llvm::ArrayRef<mlir::Value> accumulators,
                                      mlir::Value mask) const;

  /// Indices of an operand at `position`.
  llvm::SmallVector<mlir::Value>
  indices(mlir::ImplicitLocOpBuilder &b, mlir::OpOperand &operand,
          llvm::ArrayRef<mlir::Value> position) const;
  static mlir::Value loadVector(mlir::ImplicitLocOpBuilder &b,
                                mlir::Value buffer, mlir::ValueRange indices,
                                mlir::Value mask);
  static void storeVector(mlir::ImplicitLocOpBuilder &b, mlir::Value vector,
                          mlir::Value buffer, mlir::ValueRange indices,
                          mlir::Value mask);

  bool isScalar() const { return loop < 0; }

private:
  std::optional<Kind> kindOfOperand(mlir::OpOperand &operand) const;
  std::optional<Kind> kindOfOp(mlir::Operation &nested) const;
  std::optional<Kind> kindOfLoad(mlir::Operation &nested) const;
  Kind kindOf(mlir::Value value) const {
    auto it = kinds.find(value);
    return it == kinds.end() ? Kind::Uniform : it->second;
  }
  mlir::Value asVector(mlir::ImplicitLocOpBuilder &b,
                       const mlir::IRMapping &map, mlir::Value value) const;

  mutable mlir::linalg::GenericOp op; // Its accessors are not const.
  int64_t loop;
  llvm::DenseMap<mlir::Value, Kind> kinds;
};

} // namespace nju::vectorize

#endif // NJU_LIB_CONVERSION_LINALGTOVECTOR_BODYEMITTER_H
