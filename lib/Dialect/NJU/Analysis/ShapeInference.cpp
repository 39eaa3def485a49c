//===- ShapeInference.cpp - Symbolic shapes of nju values -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ShapeInferenceImpl.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace nju;
using namespace nju::detail;

//===----------------------------------------------------------------------===//
// Helpers of the families
//===----------------------------------------------------------------------===//

SymbolicExpr nju::detail::unify(SymbolicExpr a, SymbolicExpr b) {
  if (a == b)
    return a;
  if (a.isConstant() && b.isConstant())
    return {};
  if (a.isConstant() || b.isConstant())
    return a.isConstant() ? a : b;
  return !a.isKnown() && b.isKnown() ? b : a;
}

SymbolicExpr nju::detail::broadcastDim(SymbolicExpr a, SymbolicExpr b) {
  if (a.isConstant(1))
    return b;
  return b.isConstant(1) ? a : unify(a, b);
}

FailureOr<Dims> nju::detail::broadcastOperands(ShapeInference &shapes,
                                               Operation *op,
                                               ValueRange operands) {
  Dims result = dimsOf(shapes, operands.front());
  for (Value operand : operands.drop_front()) {
    Dims dims = dimsOf(shapes, operand);
    if (dims.size() > result.size())
      result.insert(result.begin(), dims.size() - result.size(),
                    shapes.getContext().constant(1));
    size_t offset = result.size() - dims.size();
    for (size_t i = 0; i < dims.size(); ++i) {
      SymbolicExpr dim = broadcastDim(result[offset + i], dims[i]);
      if (!dim) {
        auto diagnostic = op->emitOpError() << "cannot broadcast ";
        llvm::interleaveComma(operands.getTypes(), diagnostic);
        diagnostic << ": dimension " << offset + i << " of the result is "
                   << result[offset + i].str() << " and " << dims[i].str()
                   << ", expected equal sizes or 1";
        return failure();
      }
      result[offset + i] = dim;
    }
  }
  return result;
}

SymbolicExpr nju::detail::product(SymbolicContext &context,
                                  ArrayRef<SymbolicExpr> dims) {
  SymbolicExpr result = context.constant(1);
  for (SymbolicExpr dim : dims)
    result = result * dim;
  return result;
}

LogicalResult nju::detail::checkAxis(Operation *op, int64_t axis,
                                     int64_t rank) {
  if (axis >= 0 && axis < rank)
    return success();
  return op->emitOpError() << "has axis " << axis << " for an operand of rank "
                           << rank << ", expected at least 0 and less than "
                           << rank;
}

LogicalResult nju::detail::checkAxes(Operation *op, ArrayRef<int64_t> axes,
                                     int64_t rank) {
  for (auto [i, axis] : llvm::enumerate(axes)) {
    if (failed(checkAxis(op, axis, rank)))
      return failure();
    if (i > 0 && axes[i - 1] >= axis)
      return op->emitOpError()
             << "has axes [" << axes << "], expected an ascending order";
  }
  return success();
}

FailureOr<Dims> nju::detail::vectorContent(ShapeInference &shapes,
                                           Operation *op, Value operand,
                                           StringRef name) {
  Dims dims = dimsOf(shapes, operand);
  Content content = contentOf(shapes, operand);
  if (dims.size() == 1 && content)
    return *content;
  op->emitOpError() << "has " << name << " " << operand.getType()
                    << ", expected a vector of a known length of at most "
                    << ShapeInference::kMaxContent;
  return failure();
}

std::string nju::detail::toString(ArrayRef<SymbolicExpr> dims) {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << "[";
  llvm::interleaveComma(dims, os);
  os << "]";
  return text;
}

bool nju::detail::isSmall(ArrayRef<SymbolicExpr> dims) {
  if (dims.size() != 1)
    return dims.empty();
  std::optional<int64_t> size = dims[0].asConstant();
  return size && *size <= ShapeInference::kMaxContent;
}

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

/// optimum calls the length of a mask "past_sequence_length + 1" although it is
/// that of the past and of all new tokens: such a name says nothing but that
/// it is one.
static SymbolicExpr parseDim(SymbolicContext &context, StringRef name) {
  SymbolicExpr expr = context.parse(name);
  SymbolicExpr past = expr - 1;
  if (past.isNamedSymbol() && past.str().find("past") != std::string::npos)
    return context.symbol(name);
  return expr;
}

void ShapeInference::addArgument(Value value, ArrayRef<std::string> names) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  if (!type)
    return;
  Dims dims;
  for (auto [i, size] : llvm::enumerate(type.getShape())) {
    if (!ShapedType::isDynamic(size))
      dims.push_back(context.constant(size));
    else if (i < names.size() && !names[i].empty())
      dims.push_back(parseDim(context, names[i]));
    else
      dims.push_back(context.unknown());
  }
  contentOf.erase(value);
  setDims(value, dims);
}

ArrayRef<SymbolicExpr> ShapeInference::dims(Value value) {
  auto known = dimsOf.find(value);
  if (known == dimsOf.end()) {
    addArgument(value);
    known = dimsOf.try_emplace(value).first;
  }
  return known->second;
}

/// Elements of a constant; floats only if all of them are integers.
static Content constantElements(SymbolicContext &context, ElementsAttr attr) {
  Dims elements;
  Type type = attr.getElementType();
  if (isa<IntegerType>(type)) {
    auto values = attr.tryGetValues<APInt>();
    if (!values)
      return std::nullopt;
    for (const APInt &value : *values)
      elements.push_back(
          context.constant(type.isInteger(1) || type.isUnsignedInteger()
                               ? static_cast<int64_t>(value.getZExtValue())
                               : value.getSExtValue()));
    return elements;
  }
  if (!type.isF32() && !type.isF64())
    return std::nullopt;
  auto values = attr.tryGetValues<APFloat>();
  if (!values)
    return std::nullopt;
  for (const APFloat &value : *values) {
    double number = value.convertToDouble();
    // Up to here, f32 holds every integer.
    if (!(std::abs(number) <= 16777216.0) || std::trunc(number) != number)
      return std::nullopt;
    elements.push_back(context.constant(static_cast<int64_t>(number)));
  }
  return elements;
}

std::optional<ArrayRef<SymbolicExpr>> ShapeInference::content(Value value) {
  auto known = contentOf.find(value);
  if (known == contentOf.end()) {
    std::optional<Dims> elements;
    auto type = dyn_cast<RankedTensorType>(value.getType());
    Dims dims = type ? Dims(this->dims(value)) : Dims();
    if (type && isSmall(dims)) {
      if (auto constant = value.getDefiningOp<ConstantOp>()) {
        elements = constantElements(context, constant.getValue());
      } else if (isa<IntegerType>(type.getElementType())) {
        bool isBool = type.getElementType().isInteger(1);
        int64_t size = dims.empty() ? 1 : *dims[0].asConstant();
        elements.emplace();
        for (int64_t i = 0; i < size; ++i)
          elements->push_back(context.unknown(
              isBool ? 0 : std::numeric_limits<int64_t>::min()));
      }
    }
    known = contentOf.try_emplace(value, std::move(elements)).first;
  }
  if (!known->second)
    return std::nullopt;
  return ArrayRef<SymbolicExpr>(*known->second);
}

std::optional<llvm::SmallVector<int64_t>>
ShapeInference::constantContent(Value value) {
  std::optional<ArrayRef<SymbolicExpr>> elements = content(value);
  if (!elements)
    return std::nullopt;
  llvm::SmallVector<int64_t> numbers;
  for (SymbolicExpr element : *elements) {
    std::optional<int64_t> number = element.asConstant();
    if (!number)
      return std::nullopt;
    numbers.push_back(*number);
  }
  return numbers;
}

void ShapeInference::setDims(Value value, ArrayRef<SymbolicExpr> dims) {
  dimsOf[value] = Dims(dims);
}

void ShapeInference::setContent(Value value, ArrayRef<SymbolicExpr> elements) {
  contentOf[value] = Dims(elements);
}

void ShapeInference::forget(Operation *op) {
  for (Value result : op->getResults()) {
    dimsOf.erase(result);
    contentOf.erase(result);
  }
}

//===----------------------------------------------------------------------===//
// Ops and functions
//===----------------------------------------------------------------------===//

/// Ops whose type says all: their result type stays.
static std::optional<InferResult> inferParam(ShapeInference &shapes,
                                             Operation *op) {
  if (!isa<ConstantOp, ParamRefOp>(op))
    return std::nullopt;
  auto type = cast<RankedTensorType>(op->getResult(0).getType());
  Inferred inferred;
  inferred.elementType = type.getElementType();
  for (int64_t size : type.getShape())
    inferred.dims.push_back(ShapedType::isDynamic(size)
                                ? shapes.getContext().unknown()
                                : shapes.getContext().constant(size));
  return InferResult(inferred);
}

static std::optional<InferResult> inferAny(ShapeInference &shapes,
                                           Operation *op) {
  for (auto family : {inferElementwise, inferShape, inferIndexing,
                      inferReduction, inferExperts, inferMatMul,
                      inferNormalization, inferAttention, inferParam})
    if (std::optional<InferResult> result = family(shapes, op))
      return result;
  return std::nullopt;
}

/// The type of a result; failure with a diagnostic for impossible dimensions.
static FailureOr<RankedTensorType> resultType(Operation *op,
                                              const Inferred &inferred) {
  llvm::SmallVector<int64_t> shape;
  for (SymbolicExpr dim : inferred.dims) {
    std::optional<int64_t> size = dim.asConstant();
    if (size && *size < 0) {
      op->emitOpError() << "has a result of shape " << toString(inferred.dims)
                        << ", expected no negative dimension";
      return failure();
    }
    shape.push_back(size.value_or(ShapedType::kDynamic));
  }
  return RankedTensorType::get(shape, inferred.elementType);
}

LogicalResult ShapeInference::infer(Operation *op) {
  for (Value operand : op->getOperands())
    if (isa_and_present<NJUDialect>(op->getDialect()) &&
        !isa<RankedTensorType>(operand.getType()))
      return op->emitOpError() << "has an operand of type " << operand.getType()
                               << ", expected a ranked tensor";
  std::optional<InferResult> result = inferAny(*this, op);
  if (!result) {
    forget(op);
    return success();
  }
  if (failed(*result))
    return failure();
  Inferred &inferred = **result;
  FailureOr<RankedTensorType> type = resultType(op, inferred);
  if (failed(type))
    return failure();
  Value value = op->getResult(0);
  value.setType(*type);
  dimsOf[value] = std::move(inferred.dims);
  contentOf.erase(value);
  if (inferred.content)
    contentOf[value] = std::move(inferred.content);
  return success();
}

LogicalResult ShapeInference::inferFunction(func::FuncOp function) {
  if (function.isExternal())
    return success();
  for (BlockArgument argument : function.getArguments())
    addArgument(argument, getDimNames(function, argument.getArgNumber()));
  WalkResult walked = function.walk<WalkOrder::PreOrder>([&](Operation *op) {
    if (op == function.getOperation())
      return WalkResult::advance();
    return WalkResult(infer(op));
  });
  if (walked.wasInterrupted())
    return failure();
  updateFunctionType(function);
  return success();
}

void nju::updateFunctionType(func::FuncOp function) {
  auto terminator =
      dyn_cast<func::ReturnOp>(function.getBody().back().getTerminator());
  if (terminator)
    function.setType(FunctionType::get(function.getContext(),
                                       function.front().getArgumentTypes(),
                                       terminator.getOperandTypes()));
}

llvm::SmallVector<std::string> nju::getDimNames(func::FuncOp function,
                                                unsigned index) {
  llvm::SmallVector<std::string> names;
  auto attr = function.getArgAttrOfType<ArrayAttr>(index, "nju.dims");
  if (!attr)
    return names;
  for (Attribute name : attr) {
    auto text = dyn_cast<StringAttr>(name);
    names.push_back(text ? text.getValue().str() : "");
  }
  return names;
}
