//===- Lowering.cpp - Types and dimensions of the lowering -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "nju/Conversion/Passes.h"
#include "nju/Dialect/Exec/IR/Exec.h"

using namespace mlir;
using namespace nju::lowering;

Lowering::Lowering(func::FuncOp function, nju::ShapeInference &shapes)
    : b(function.getLoc(), function.getContext()), function(function),
      shapes(shapes) {
  Block &old = function.getBody().front();
  auto *block = new Block();
  function.getBody().push_back(block);
  b.setInsertionPointToEnd(block);
  for (BlockArgument argument : old.getArguments()) {
    auto type = dyn_cast<RankedTensorType>(argument.getType());
    Value lowered = block->addArgument(
        type ? Type(convert(type)) : argument.getType(), argument.getLoc());
    map.map(argument, lowered);
    if (type)
      setDims(lowered, shareDims(argument, dims(lowered)));
  }
}

/// Dimensions that are symbolically equal become the same SSA value.
llvm::SmallVector<Value> Lowering::shareDims(Value value,
                                             ArrayRef<Value> dims) {
  llvm::SmallVector<Value> result(dims);
  llvm::SmallVector<nju::SymbolicExpr> exprs(shapes.dims(value));
  for (auto [dim, expr] : llvm::zip(result, exprs))
    if (!getConstantIntValue(dim))
      dim = symbols.try_emplace(expr, dim).first->second;
  return result;
}

void Lowering::bind(Value value, Value lowered, ArrayRef<Value> dims) {
  RankedTensorType type = convert(value.getType());
  llvm::SmallVector<Value> own = refine(type, dims);
  llvm::SmallVector<Value> refined = shareDims(value, own);
  lowered = castTo(lowered, type);
  setDims(lowered, refined);
  for (auto [size, expected] : llvm::zip(own, refined))
    if (size != expected && hasChecks())
      claims[lowered].push_back({size, expected, b.getLoc()});
  map.map(value, lowered);
}

Type Lowering::storageType(Type elementType) {
  auto integer = dyn_cast<IntegerType>(elementType);
  if (!integer)
    return elementType;
  unsigned width = integer.getWidth() == 1 ? 8 : integer.getWidth();
  return IntegerType::get(elementType.getContext(), width);
}

Type Lowering::arithmeticType(Type elementType) {
  if (isa<Float16Type, BFloat16Type>(elementType))
    return Float32Type::get(elementType.getContext());
  if (auto integer = dyn_cast<IntegerType>(elementType))
    return IntegerType::get(elementType.getContext(), integer.getWidth());
  return elementType;
}

RankedTensorType Lowering::convert(Type tensorType) {
  auto type = cast<RankedTensorType>(tensorType);
  return type.clone(storageType(type.getElementType()));
}

Value Lowering::load(ImplicitLocOpBuilder &b, Value scalar, Type elementType) {
  if (elementType.isInteger(1))
    return b.createOrFold<arith::CmpIOp>(
        arith::CmpIPredicate::ne, scalar,
        arith::ConstantOp::create(b, b.getZeroAttr(scalar.getType())));
  Type arithmetic = arithmeticType(elementType);
  if (arithmetic != storageType(elementType))
    return b.createOrFold<arith::ExtFOp>(arithmetic, scalar);
  return scalar;
}

Value Lowering::store(ImplicitLocOpBuilder &b, Value scalar, Type elementType) {
  Type storage = storageType(elementType);
  if (scalar.getType() == storage)
    return scalar;
  if (elementType.isInteger(1))
    return b.createOrFold<arith::ExtUIOp>(storage, scalar);
  return b.createOrFold<arith::TruncFOp>(storage, scalar);
}

Value Lowering::index(int64_t value) {
  Value &constant = constants[value];
  if (!constant) {
    // At the top, so that it dominates every use.
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(b.getInsertionBlock());
    constant = arith::ConstantIndexOp::create(b, value);
  }
  return constant;
}

int64_t Lowering::numberOf(Value value) {
  return numbers.try_emplace(value, numbers.size()).first->second;
}

/// Computes on constants.
static std::optional<int64_t> foldIndex(int kind, int64_t a, int64_t b) {
  switch (kind) {
  case 0:
    return a + b;
  case 1:
    return a - b;
  case 2:
    return a * b;
  case 3:
    return b == 0 ? 0 : a / b;
  case 4:
    return std::min(a, b);
  default:
    return std::max(a, b);
  }
}

/// One value for each operation on the same operands.
Value Lowering::indexOp(IndexOp kind, Value lhs, Value rhs) {
  std::optional<int64_t> a = getConstantIntValue(lhs),
                         c = getConstantIntValue(rhs);
  int number = static_cast<int>(kind);
  if (a && c)
    return index(*foldIndex(number, *a, *c));
  bool commutes = kind != IndexOp::Sub && kind != IndexOp::Div;
  if (commutes && (a || (!c && numberOf(lhs) > numberOf(rhs)))) {
    std::swap(lhs, rhs);
    std::swap(a, c);
  }
  if (c && *c == 0 && (kind == IndexOp::Add || kind == IndexOp::Sub))
    return lhs;
  if (c && *c == 1 && (kind == IndexOp::Mul || kind == IndexOp::Div))
    return lhs;
  if (lhs == rhs && (kind == IndexOp::Min || kind == IndexOp::Max))
    return lhs;
  if (lhs == rhs && kind == IndexOp::Sub)
    return index(0);
  Value &result =
      indexOps[{number, lhs.getAsOpaquePointer(), rhs.getAsOpaquePointer()}];
  if (result)
    return result;
  switch (kind) {
  case IndexOp::Add:
    return result = arith::AddIOp::create(b, lhs, rhs);
  case IndexOp::Sub:
    return result = arith::SubIOp::create(b, lhs, rhs);
  case IndexOp::Mul:
    return result = arith::MulIOp::create(b, lhs, rhs);
  case IndexOp::Min:
    return result = arith::MinSIOp::create(b, lhs, rhs);
  case IndexOp::Max:
    return result = arith::MaxSIOp::create(b, lhs, rhs);
  case IndexOp::Div:
    break;
  }
  if (c && *c != 0)
    return result = arith::DivUIOp::create(b, lhs, rhs);
  Value zero = index(0), one = index(1);
  Value empty = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, rhs, zero);
  Value divisor = arith::SelectOp::create(b, empty, one, rhs);
  Value quotient = arith::DivUIOp::create(b, lhs, divisor);
  return result = arith::SelectOp::create(b, empty, zero, quotient);
}

Value Lowering::add(Value lhs, Value rhs) {
  return indexOp(IndexOp::Add, lhs, rhs);
}
Value Lowering::sub(Value lhs, Value rhs) {
  return indexOp(IndexOp::Sub, lhs, rhs);
}
Value Lowering::mul(Value lhs, Value rhs) {
  return indexOp(IndexOp::Mul, lhs, rhs);
}
Value Lowering::min(Value lhs, Value rhs) {
  return indexOp(IndexOp::Min, lhs, rhs);
}
Value Lowering::max(Value lhs, Value rhs) {
  return indexOp(IndexOp::Max, lhs, rhs);
}
Value Lowering::div(Value lhs, Value rhs) {
  std::optional<Product> exact = divideExactly(product({lhs}), product({rhs}));
  return exact && !isConstantIntValue(rhs, 0) ? value(*exact)
                                              : indexOp(IndexOp::Div, lhs, rhs);
}

Value Lowering::selectEqual(Value condition, int64_t value, Value a, Value c) {
  if (a == c)
    return a;
  if (std::optional<int64_t> constant = getConstantIntValue(condition))
    return *constant == value ? a : c;
  Value equal = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, condition,
                                      index(value));
  return arith::SelectOp::create(b, equal, a, c);
}

Value Lowering::toIndex(Value integer) {
  if (integer.getType().isIndex())
    return integer;
  if (std::optional<int64_t> constant = getConstantIntValue(integer))
    return index(*constant);
  if (auto it = casts.find(integer); it != casts.end())
    return it->second;
  Operation *def = integer.getDefiningOp();
  Value result;
  if (auto cast = dyn_cast_or_null<arith::IndexCastOp>(def))
    result = toIndex(cast.getIn());
  else if (auto add = dyn_cast_or_null<arith::AddIOp>(def))
    result = this->add(toIndex(add.getLhs()), toIndex(add.getRhs()));
  else if (auto sub = dyn_cast_or_null<arith::SubIOp>(def))
    result = this->sub(toIndex(sub.getLhs()), toIndex(sub.getRhs()));
  else if (auto mul = dyn_cast_or_null<arith::MulIOp>(def))
    result = this->mul(toIndex(mul.getLhs()), toIndex(mul.getRhs()));
  else
    result = arith::IndexCastOp::create(b, b.getIndexType(), integer);
  return casts[integer] = result;
}

Value Lowering::fromIndex(Value index, Type integerType) {
  if (std::optional<int64_t> constant = getConstantIntValue(index))
    return arith::ConstantOp::create(b,
                                     b.getIntegerAttr(integerType, *constant));
  return arith::IndexCastOp::create(b, integerType, index);
}

void Lowering::collectFactors(Value dim, Product &product) {
  if (std::optional<int64_t> constant = getConstantIntValue(dim)) {
    product.constant *= *constant;
  } else if (auto mul = dim.getDefiningOp<arith::MulIOp>()) {
    collectFactors(mul.getLhs(), product);
    collectFactors(mul.getRhs(), product);
  } else {
    product.factors.push_back(dim);
  }
}

Product Lowering::product(ArrayRef<Value> dims) {
  Product result;
  for (Value dim : dims)
    collectFactors(dim, result);
  for (Value factor : result.factors)
    numberOf(factor);
  llvm::sort(result.factors,
             [&](Value a, Value b) { return numberOf(a) < numberOf(b); });
  return result;
}

Value Lowering::value(const Product &product) {
  Value result;
  for (Value factor : product.factors)
    result = result ? mul(result, factor) : factor;
  if (!result || product.constant == 0)
    return index(product.constant);
  return mul(result, index(product.constant));
}

std::optional<Product> Lowering::divideExactly(const Product &a,
                                               const Product &b) {
  if (b.constant == 0 || a.constant % b.constant != 0)
    return std::nullopt;
  Product result = a;
  result.constant /= b.constant;
  for (Value factor : b.factors) {
    auto it = llvm::find(result.factors, factor);
    if (it == result.factors.end())
      return std::nullopt;
    result.factors.erase(it);
  }
  return result;
}

llvm::SmallVector<Value> Lowering::dims(Value tensor) {
  checkClaims(tensor);
  auto it = knownDims.find(tensor);
  if (it != knownDims.end())
    return it->second;
  llvm::SmallVector<Value> result;
  auto type = cast<RankedTensorType>(tensor.getType());
  for (int64_t i = 0; i < type.getRank(); ++i) {
    if (type.isDynamicDim(i))
      result.push_back(tensor::DimOp::create(b, tensor, index(i)));
    else
      result.push_back(index(type.getDimSize(i)));
  }
  knownDims[tensor] = result;
  return result;
}

Value Lowering::dim(Value tensor, int64_t i) { return dims(tensor)[i]; }

void Lowering::setDims(Value tensor, ArrayRef<Value> dims) {
  knownDims[tensor] = llvm::to_vector(dims);
}

llvm::SmallVector<Value> Lowering::refine(RankedTensorType type,
                                          ArrayRef<Value> dims) {
  llvm::SmallVector<Value> result(dims);
  for (auto [i, size] : llvm::enumerate(type.getShape()))
    if (!ShapedType::isDynamic(size)) {
      if (result[i])
        checkEqual(result[i], index(size));
      result[i] = index(size);
    }
  return result;
}

llvm::SmallVector<OpFoldResult> Lowering::fold(ArrayRef<Value> values) {
  return llvm::map_to_vector(
      values, [](Value value) { return getAsOpFoldResult(value); });
}

/// Replaces the body; names the op that nobody lowers.
static LogicalResult lowerFunction(func::FuncOp function, const Table &table,
                                   nju::ShapeInference &shapes) {
  Lowering lowering(function, shapes);
  Block &old = function.getBody().front();
  Block &block = function.getBody().back();
  for (Operation &op : old) {
    lowering.b.setLoc(op.getLoc());
    if (op.hasTrait<OpTrait::IsTerminator>()) {
      llvm::SmallVector<Value> results;
      for (Value operand : op.getOperands())
        results.push_back(lowering[operand]);
      func::ReturnOp::create(lowering.b, results);
      break;
    }
    const Table::Function *lower = table.lookup(&op);
    if (!lower)
      return op.emitOpError() << "has no lowering to linalg";
    if (failed((*lower)(&op, lowering)))
      return failure();
  }
  old.dropAllUses();
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(old))) {
    op.dropAllUses();
    op.erase();
  }
  old.erase();
  function.setFunctionType(
      FunctionType::get(function.getContext(), block.getArgumentTypes(),
                        block.getTerminator()->getOperandTypes()));
  return success();
}

namespace nju {
#define GEN_PASS_DEF_CONVERTNJUTOLINALG
#include "nju/Conversion/Passes.h.inc"

namespace {
struct ConvertNJUToLinalg : impl::ConvertNJUToLinalgBase<ConvertNJUToLinalg> {
  using ConvertNJUToLinalgBase::ConvertNJUToLinalgBase;

  void runOnOperation() override {
    Table table;
    lowering::populateElementwise(table);
    lowering::populateShape(table);
    lowering::populateIndexing(table);
    lowering::populateExperts(table);
    lowering::populateMatMul(table);
    lowering::populateReduction(table);
    lowering::populateNormalization(table);
    lowering::populateAttention(table);
    lowering::populateMLP(table);
    lowering::populateParam(table);
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      if (function.isExternal())
        continue;
      ShapeInference shapes;
      if (failed(shapes.inferFunction(function)) ||
          failed(lowerFunction(function, table, shapes)))
        return signalPassFailure();
    }
  }
};
} // namespace
} // namespace nju
