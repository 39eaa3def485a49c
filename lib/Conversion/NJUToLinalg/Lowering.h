//===- Lowering.h - State of the lowering of one function -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// `--convert-nju-to-linalg` rebuilds a function op by op. This is what the
// lowerings of all families share: the map from nju values to lowered tensors,
// dimensions as index values that are made once each (so that equal dimensions
// are the same SSA value), and builders of linalg ops.
//
// Element types in memory are signless: i1 is stored as i8 (0 or 1), ui8 as i8
// and so on. Lowerings look at the types of the nju op to know the sign, and
// compute in the type that `arithmeticType` gives (f16 and bf16: f32).
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_CONVERSION_NJUTOLINALG_LOWERING_H
#define NJU_LIB_CONVERSION_NJUTOLINALG_LOWERING_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "nju/Dialect/NJU/Analysis/ShapeInference.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include <functional>
#include <map>
#include <optional>

namespace nju::lowering {

/// Tensors with at most this many elements, all known as scalars, are computed
/// by scalar code: shape computations never touch memory.
constexpr int64_t kScalarElements = 16;

/// A product of a constant and dimensions that are not known.
struct Product {
  int64_t constant = 1;
  /// Sorted by the number that `Lowering` gave each value.
  llvm::SmallVector<mlir::Value> factors;

  bool operator==(const Product &other) const {
    return constant == other.constant && factors == other.factors;
  }
};

class Lowering {
public:
  /// Starts a new body for `function`, in front of nothing; the old one is the
  /// first block. `shapes` knows the function's values.
  Lowering(mlir::func::FuncOp function, ShapeInference &shapes);

  /// The lowered tensor of an nju value.
  mlir::Value operator[](mlir::Value value) const { return map.lookup(value); }
  /// Says what a result of an nju op became; `dims` are its dimensions.
  void bind(mlir::Value value, mlir::Value lowered,
            llvm::ArrayRef<mlir::Value> dims);
  /// The same, with the dimensions that are already known of `lowered`.
  void bind(mlir::Value value, mlir::Value lowered) {
    bind(value, lowered, dims(lowered));
  }

  // Types.
  static mlir::Type storageType(mlir::Type elementType);
  static mlir::Type arithmeticType(mlir::Type elementType);
  static mlir::RankedTensorType convert(mlir::Type tensorType);
  /// From the type in memory to the one of arithmetic, and back.
  static mlir::Value load(mlir::ImplicitLocOpBuilder &b, mlir::Value scalar,
                          mlir::Type elementType);
  static mlir::Value store(mlir::ImplicitLocOpBuilder &b, mlir::Value scalar,
                           mlir::Type elementType);

  // Index arithmetic; results are shared and fold.
  mlir::Value index(int64_t value);
  mlir::Value add(mlir::Value lhs, mlir::Value rhs);
  mlir::Value sub(mlir::Value lhs, mlir::Value rhs);
  mlir::Value mul(mlir::Value lhs, mlir::Value rhs);
  /// Unsigned quotient; 0 where `rhs` is 0.
  mlir::Value div(mlir::Value lhs, mlir::Value rhs);
  mlir::Value min(mlir::Value lhs, mlir::Value rhs);
  mlir::Value max(mlir::Value lhs, mlir::Value rhs);
  /// `condition == value ? a : b`.
  mlir::Value selectEqual(mlir::Value condition, int64_t value, mlir::Value a,
                          mlir::Value b);
  /// Between index and integers. `toIndex` follows sums and products back, so
  /// that a dimension that went through a shape tensor stays the same value.
  mlir::Value toIndex(mlir::Value integer);
  mlir::Value fromIndex(mlir::Value index, mlir::Type integerType);
  Product product(llvm::ArrayRef<mlir::Value> dims);
  mlir::Value value(const Product &product);
  /// `a / b` if it is exact whatever the dimensions are.
  std::optional<Product> divideExactly(const Product &a, const Product &b);

  // Checks of what the caller gave, at run time. There are none in @step, whose
  // arguments the runtime checks, and none where the compiler knows that they
  // hold. `{0}` and `{1}` in a message stand for the two numbers.
  void check(mlir::Value condition, llvm::StringRef message, mlir::Value first,
             mlir::Value second);
  void checkCompare(mlir::arith::CmpIPredicate predicate, mlir::Value lhs,
                    mlir::Value rhs, llvm::StringRef message);
  void checkEqual(mlir::Value size, mlir::Value expected);
  /// That `size` is 1 or `expected`.
  void checkBroadcast(mlir::Value size, mlir::Value expected);
  /// That the inputs have the sizes of the loops along which `maps` read them;
  /// `loops` that are null take the size of their first input.
  void checkLoops(llvm::SmallVector<mlir::Value> loops,
                  llvm::ArrayRef<mlir::Value> inputs,
                  llvm::ArrayRef<mlir::AffineMap> maps);
  /// That gathering with `indices` from `size` elements stays within them.
  void checkIndices(mlir::Value indices, mlir::Value size);
  bool hasChecks() { return function.getName() != "step"; }

  // Dimensions.
  mlir::Value dim(mlir::Value tensor, int64_t i);
  llvm::SmallVector<mlir::Value> dims(mlir::Value tensor);
  void setDims(mlir::Value tensor, llvm::ArrayRef<mlir::Value> dims);
  /// `dims`, but static ones of `type` as constants, which is checked.
  llvm::SmallVector<mlir::Value> refine(mlir::RankedTensorType type,
                                        llvm::ArrayRef<mlir::Value> dims);
  static llvm::SmallVector<mlir::OpFoldResult>
  fold(llvm::ArrayRef<mlir::Value> values);

  // Tensors.
  mlir::Value empty(mlir::RankedTensorType type,
                    llvm::ArrayRef<mlir::Value> dims);
  mlir::Value filled(mlir::RankedTensorType type,
                     llvm::ArrayRef<mlir::Value> dims, mlir::Value scalar);
  mlir::Value scalar(mlir::TypedAttr value);
  /// A number as an element of `type` (a storage or arithmetic type).
  mlir::Value number(mlir::Type type, double value);
  mlir::Value castTo(mlir::Value tensor, mlir::RankedTensorType type);
  /// Elements in row-major order, in storage type, if they are scalars that
  /// the compiler or the calling thread knows without reading memory.
  std::optional<llvm::SmallVector<mlir::Value>> known(mlir::Value tensor);
  /// Elements of a small static tensor; read from memory if need be.
  llvm::SmallVector<mlir::Value> elements(mlir::Value tensor);
  mlir::Value fromElements(mlir::RankedTensorType type,
                           llvm::ArrayRef<mlir::Value> elements);

  using Body = llvm::function_ref<mlir::Value(mlir::ImplicitLocOpBuilder &,
                                              mlir::ValueRange)>;
  /// A linalg.generic whose loops are all parallel, over the dimensions of the
  /// result. `body` gets the elements in storage type.
  mlir::Value parallel(mlir::RankedTensorType type,
                       llvm::ArrayRef<mlir::Value> dims,
                       llvm::ArrayRef<mlir::Value> inputs,
                       llvm::ArrayRef<mlir::AffineMap> maps, Body body);
  /// Dimensions of the operands broadcast against each other.
  llvm::SmallVector<mlir::Value>
  broadcastDims(llvm::ArrayRef<mlir::Value> tensors, int64_t rank);
  /// How `tensor` is read where the loops are `dims`: a map of 0s and
  /// dimensions, if it is known which dimensions are broadcast.
  std::optional<mlir::AffineMap> broadcastMap(mlir::Value tensor,
                                              llvm::ArrayRef<mlir::Value> dims);
  /// The map, for `tensor` or a copy of it in which run-time broadcasts are
  /// done; replaces `tensor` then.
  mlir::AffineMap broadcast(mlir::Value &tensor,
                            llvm::ArrayRef<mlir::Value> dims);
  /// Element-wise with broadcasting; `body` in storage type.
  mlir::Value elementwise(mlir::RankedTensorType type,
                          llvm::ArrayRef<mlir::Value> inputs, Body body);
  /// Reduces dimensions `axes`; the result has the others.
  /// `combine(b, {element, accumulator})`.
  mlir::Value reduce(mlir::Value input, llvm::ArrayRef<int64_t> axes,
                     mlir::TypedAttr init, Body combine);
  /// The same elements with other dimensions.
  mlir::Value reshape(mlir::Value tensor, mlir::RankedTensorType type,
                      llvm::ArrayRef<mlir::Value> dims);
  /// A tensor permuted by `permutation`, as a copy.
  mlir::Value transpose(mlir::Value tensor,
                        llvm::ArrayRef<int64_t> permutation);
  /// Rectangles with unit steps.
  mlir::Value slice(mlir::Value tensor, llvm::ArrayRef<mlir::Value> offsets,
                    llvm::ArrayRef<mlir::Value> sizes,
                    mlir::RankedTensorType type);
  mlir::Value insert(mlir::Value source, mlir::Value into,
                     llvm::ArrayRef<mlir::Value> offsets);
  mlir::Value concat(mlir::RankedTensorType type,
                     llvm::ArrayRef<mlir::Value> tensors, int64_t axis);

  mlir::ImplicitLocOpBuilder b;
  mlir::func::FuncOp function;

private:
  enum class IndexOp { Add, Sub, Mul, Div, Min, Max };
  mlir::Value indexOp(IndexOp kind, mlir::Value lhs, mlir::Value rhs);
  void collectFactors(mlir::Value dim, Product &product);
  int64_t numberOf(mlir::Value value);
  mlir::Value collapseTo(mlir::Value tensor, mlir::RankedTensorType type,
                         llvm::ArrayRef<mlir::ReassociationIndices> groups);
  mlir::Value expandTo(mlir::Value tensor, mlir::RankedTensorType type,
                       llvm::ArrayRef<mlir::Value> dims,
                       llvm::ArrayRef<mlir::ReassociationIndices> groups);

  llvm::SmallVector<mlir::Value> shareDims(mlir::Value value,
                                           llvm::ArrayRef<mlir::Value> dims);

  void checkClaims(mlir::Value tensor);

  ShapeInference &shapes;
  mlir::IRMapping map;
  /// The first value of each dimension that is known symbolically.
  llvm::DenseMap<SymbolicExpr, mlir::Value> symbols;
  llvm::DenseMap<mlir::Value, llvm::SmallVector<mlir::Value>> knownDims;
  /// Sizes that a tensor has, where shape inference assumed that they are equal
  /// to what `knownDims` holds: checked once somebody builds on it.
  struct Claim {
    mlir::Value size, expected;
    mlir::Location loc;
  };
  llvm::DenseMap<mlir::Value, llvm::SmallVector<Claim, 1>> claims;
  llvm::DenseSet<std::tuple<int, mlir::Value, mlir::Value>> checked;
  /// Any number can be a key: DenseMap reserves two.
  std::map<int64_t, mlir::Value> constants;
  std::map<std::tuple<int, void *, void *>, mlir::Value> indexOps;
  llvm::DenseMap<mlir::Value, mlir::Value> casts;
  llvm::DenseMap<mlir::Value, int64_t> numbers;
};

/// The lowering of each op, by name.
class Table {
public:
  using Function =
      std::function<llvm::LogicalResult(mlir::Operation *, Lowering &)>;
  template <typename OpTy>
  void add(llvm::LogicalResult (*lower)(OpTy, Lowering &)) {
    functions[OpTy::getOperationName()] = [lower](mlir::Operation *op,
                                                  Lowering &lowering) {
      return lower(llvm::cast<OpTy>(op), lowering);
    };
  }
  /// One function for several ops.
  template <typename... OpTys>
  void addAll(llvm::LogicalResult (*lower)(mlir::Operation *, Lowering &)) {
    ((functions[OpTys::getOperationName()] = lower), ...);
  }
  const Function *lookup(mlir::Operation *op) const {
    auto it = functions.find(op->getName().getStringRef());
    return it == functions.end() ? nullptr : &it->second;
  }

private:
  llvm::StringMap<Function> functions;
};

/// The element of an element-wise nju op for the given operand elements, in
/// storage types.
mlir::Value emitElement(mlir::Operation *op, mlir::ImplicitLocOpBuilder &b,
                        mlir::ValueRange elements);
/// A float or integer constant of a scalar type.
mlir::Value emitNumber(mlir::ImplicitLocOpBuilder &b, mlir::Type type,
                       double value);
/// True if integers of this storage type have no sign.
inline bool isNatural(mlir::Type elementType) {
  return elementType.isUnsignedInteger() || elementType.isInteger(1);
}
/// `x` added to, multiplied by, ... what has been accumulated, both in the
/// arithmetic type of `elementType`.
mlir::Value combineElements(mlir::ImplicitLocOpBuilder &b,
                            ScatterReduction kind, mlir::Type elementType,
                            mlir::Value acc, mlir::Value x);
/// Sums of products over the loops that the last of `maps`, the result's, does
/// not name. `elementTypes` are those of the nju operands.
mlir::Value emitContraction(Lowering &lowering, mlir::RankedTensorType type,
                            llvm::ArrayRef<mlir::Value> dims,
                            llvm::ArrayRef<mlir::Value> inputs,
                            llvm::ArrayRef<mlir::AffineMap> maps,
                            llvm::ArrayRef<mlir::Type> elementTypes);
/// Softmax along the last of `tensor`'s dimensions or another one. With
/// `emptyIsZero`, it is zero where all elements are minus infinity.
mlir::Value emitSoftmax(mlir::Value tensor, int64_t axis, bool log,
                        Lowering &lowering, bool emptyIsZero = false);

// One function a family adds its ops.
void populateElementwise(Table &table);
void populateShape(Table &table);
void populateIndexing(Table &table);
void populateExperts(Table &table);
void populateMatMul(Table &table);
void populateReduction(Table &table);
void populateNormalization(Table &table);
void populateAttention(Table &table);
void populateMLP(Table &table);
void populateParam(Table &table);

} // namespace nju::lowering

#endif // NJU_LIB_CONVERSION_NJUTOLINALG_LOWERING_H
