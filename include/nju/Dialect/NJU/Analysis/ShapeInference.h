//===- ShapeInference.h - Symbolic shapes of nju values -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_ANALYSIS_SHAPEINFERENCE_H
#define NJU_DIALECT_NJU_ANALYSIS_SHAPEINFERENCE_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Operation.h"
#include "nju/Dialect/NJU/Analysis/SymbolicExpr.h"
#include "llvm/ADT/DenseMap.h"
#include <string>

namespace nju {

/// Infers the dimensions of values, one op after the other in the order of the
/// block, as expressions of the arguments' dimensions. The elements of small
/// integer tensors (rank 0 or 1, at most `kMaxContent` elements) are followed
/// too, so that shape computations of the graph come out as expressions.
///
/// Where two different dimensions meet and neither is the number 1, they are
/// assumed equal, as the graph computes nothing else; two different numbers are
/// a contradiction and give a diagnostic. A slice `x[:n]` of a symbolic n is
/// assumed to be within x.
///
/// Holds pointers to the IR's values: an erased op must be forgotten (`forget`)
/// before its memory is used again. Not thread-safe.
class ShapeInference {
public:
  using Dims = llvm::SmallVector<SymbolicExpr, 4>;
  static constexpr int64_t kMaxContent = 64;

  ShapeInference() = default;

  SymbolicContext &getContext() { return context; }

  /// Sets the dimensions of a value of static or dynamic shape. `names` has one
  /// entry a dimension or is empty; an entry is parsed by
  /// SymbolicContext::parse, equal names are equal dimensions. A dynamic
  /// dimension without name is a new unknown; static ones ignore their name.
  void addArgument(mlir::Value value, llvm::ArrayRef<std::string> names = {});

  /// Infers one op whose operands are known (values never seen get new unknowns
  /// for their dynamic dimensions) and sets its result type: static where a
  /// dimension is a number. The element type of the result is derived; for
  /// `nju.cast` it is that of the type the op has. The type that the op has
  /// before may be any ranked tensor, for example one of rank 0. Ops of other
  /// dialects keep their types. A contradiction is reported on the op and
  /// leaves it unchanged.
  mlir::LogicalResult infer(mlir::Operation *op);

  /// Infers a function: adds the arguments with the names of their attributes
  /// `nju.dims`, infers every op in order, and makes the function type fit the
  /// arguments' types and its return op.
  mlir::LogicalResult inferFunction(mlir::func::FuncOp function);

  /// Dimensions of a ranked tensor value. For a value not seen yet they are
  /// made from its type. The array is valid until the next `infer`,
  /// `addArgument` or `dims`.
  llvm::ArrayRef<SymbolicExpr> dims(mlir::Value value);

  /// Elements of a small integer (or i1: 0 and 1) tensor of rank 0 or 1;
  /// elements that nobody knows are unknowns. Also those of a small float
  /// tensor if all of them are known to be integers. No value for everything
  /// else. The array is valid until the next non-const call.
  std::optional<llvm::ArrayRef<SymbolicExpr>> content(mlir::Value value);

  /// The content if all elements are numbers.
  std::optional<llvm::SmallVector<int64_t>> constantContent(mlir::Value value);

  /// Overrides what is known of a value.
  void setDims(mlir::Value value, llvm::ArrayRef<SymbolicExpr> dims);
  void setContent(mlir::Value value, llvm::ArrayRef<SymbolicExpr> elements);

  /// Drops what is known of the results of an op that is about to be erased.
  void forget(mlir::Operation *op);

private:
  SymbolicContext context;
  llvm::DenseMap<mlir::Value, Dims> dimsOf;
  /// An empty optional: looked at, has no content.
  llvm::DenseMap<mlir::Value, std::optional<Dims>> contentOf;
};

/// The value of the attribute `nju.dims` of argument `index`, one name a
/// dimension; empty if it is missing.
llvm::SmallVector<std::string> getDimNames(mlir::func::FuncOp function,
                                           unsigned index);

/// Makes the type of a function fit its arguments and its return op.
void updateFunctionType(mlir::func::FuncOp function);

} // namespace nju

#endif // NJU_DIALECT_NJU_ANALYSIS_SHAPEINFERENCE_H
