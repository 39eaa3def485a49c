//===- FoldConstants.cpp - Compute at compile time what constants give -*- C++
//-*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "FoldConstantsImpl.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "nju/Dialect/NJU/Analysis/Evaluator.h"
#include "nju/Dialect/NJU/IR/ModelFolder.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "nju/Transforms/Passes.h"
#include <map>
#include <vector>

namespace nju {
#define GEN_PASS_DEF_FOLDCONSTANTS
#include "nju/Transforms/Passes.h.inc"
} // namespace nju

using namespace mlir;
using namespace nju;

/// Results of more elements become constants only if they are not larger than
/// their operands together.
static constexpr int64_t kMaxConstant = 65536;
/// Params of more elements, and what is made of them, stay out of the IR.
static constexpr int64_t kMaxParam = 1024;
/// Constants of more elements are not computed with.
static constexpr int64_t kMaxOperand = int64_t(1) << 24;

namespace {

/// Folds the ops of one function.
class Folder {
public:
  Folder(func::FuncOp function, SymbolTable &symbols, ParamReader &reader)
      : function(function), symbols(symbols), reader(reader),
        builder(function.getContext()) {}

  LogicalResult run();

  int64_t folded = 0, simplified = 0;

private:
  std::optional<HostTensor> valueOf(Value value);
  std::optional<HostTensor> readParam(ParamRefOp op);
  Attribute fold(Operation *op);
  Attribute foldContent(Operation *op);
  Attribute foldOperands(Operation *op);
  Value sameNumbers(Value value);
  LogicalResult visit(Operation *op);
  void eraseDeadOps();

  func::FuncOp function;
  SymbolTable &symbols;
  ParamReader &reader;
  OpBuilder builder;
  ShapeInference shapes;
  /// The first value of each type and content.
  std::map<std::pair<const void *, std::vector<const void *>>, Value> numbers;
};

} // namespace

std::optional<HostTensor> Folder::readParam(ParamRefOp op) {
  RankedTensorType type = cast<RankedTensorType>(op.getType());
  std::optional<int64_t> count = countElements(type.getShape());
  if (!count || *count > kMaxParam)
    return std::nullopt;
  auto param = symbols.lookup<ParamOp>(op.getParam());
  // What came quantized stays so, however small.
  if (!param || isa<UniformDataAttr>(param.getData()))
    return std::nullopt;
  // A file that cannot be read is an error of the phase that needs it.
  FailureOr<HostTensor> tensor = reader.read(param, kMaxParam * 8);
  return succeeded(tensor) ? std::optional<HostTensor>(*tensor) : std::nullopt;
}

/// The elements of a constant or a tiny param.
std::optional<HostTensor> Folder::valueOf(Value value) {
  if (auto param = value.getDefiningOp<ParamRefOp>())
    return readParam(param);
  auto constant = value.getDefiningOp<ConstantOp>();
  if (!constant)
    return std::nullopt;
  FailureOr<HostTensor> tensor = HostTensor::fromAttr(constant.getValue());
  return succeeded(tensor) ? std::optional<HostTensor>(*tensor) : std::nullopt;
}

/// Integers that follow from shapes alone.
Attribute Folder::foldContent(Operation *op) {
  auto type = dyn_cast<RankedTensorType>(op->getResult(0).getType());
  if (!type || !type.hasStaticShape() ||
      !isa<IntegerType>(type.getElementType()) ||
      !getHostElementSize(type.getElementType()))
    return {};
  auto numbers = shapes.constantContent(op->getResult(0));
  if (!numbers)
    return {};
  return HostTensor::fromInts(type.getElementType(), type.getShape(), *numbers)
      .toAttr();
}

Attribute Folder::foldOperands(Operation *op) {
  auto known = [](Value value) {
    return isa_and_present<ConstantOp, ParamRefOp>(value.getDefiningOp());
  };
  if (op->getNumOperands() == 0 || !llvm::all_of(op->getOperands(), known))
    return {};
  // First the sizes: constants may be large.
  int64_t limit = kMaxConstant, total = 0;
  bool usesParam = false;
  for (Value operand : op->getOperands()) {
    usesParam |= isa<ParamRefOp>(operand.getDefiningOp());
    auto shape = cast<RankedTensorType>(operand.getType()).getShape();
    int64_t count = countElements(shape).value_or(kMaxOperand + 1);
    if (count > kMaxOperand)
      return {};
    total += count;
  }
  limit = usesParam ? kMaxParam : std::max(limit, total);
  auto type = cast<RankedTensorType>(op->getResult(0).getType());
  if (type.hasStaticShape() &&
      countElements(type.getShape()).value_or(limit + 1) > limit)
    return {};
  llvm::SmallVector<HostTensor> operands;
  for (Value operand : op->getOperands()) {
    std::optional<HostTensor> value = valueOf(operand);
    if (!value)
      return {};
    operands.push_back(*value);
  }
  // An op without a result (a division by zero) keeps its place.
  std::string reason;
  FailureOr<HostTensor> result = evaluateOp(op, operands, reason, limit);
  return succeeded(result) ? result->toAttr() : Attribute();
}

Attribute Folder::fold(Operation *op) {
  if (isa<ConstantOp, ParamRefOp>(op) || !isPure(op))
    return {};
  if (Attribute value = foldContent(op))
    return value;
  return foldOperands(op);
}

/// An earlier value with the same elements, as far as shapes tell. So the shape
/// computations that exporters repeat in every layer become those of the
/// arguments.
Value Folder::sameNumbers(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  if (!type || !type.hasStaticShape() ||
      !isa<IntegerType>(type.getElementType()))
    return {};
  auto content = shapes.content(value);
  if (!content || content->empty())
    return {};
  std::vector<const void *> key;
  for (SymbolicExpr element : *content)
    key.push_back(element.getAsOpaquePointer());
  auto [entry, isNew] =
      numbers.try_emplace({type.getAsOpaquePointer(), std::move(key)}, value);
  return isNew ? Value() : entry->second;
}

LogicalResult Folder::visit(Operation *op) {
  if (failed(shapes.infer(op)))
    return failure();
  if (!isa_and_present<NJUDialect>(op->getDialect()) ||
      op->getNumResults() != 1)
    return success();
  Value replacement;
  if (Attribute value = fold(op)) {
    builder.setInsertionPoint(op);
    auto constant =
        ConstantOp::create(builder, op->getLoc(), cast<ElementsAttr>(value));
    replacement = constant;
    ++folded;
    if (failed(shapes.infer(constant)))
      return failure();
  } else if ((replacement = nju::detail::simplify(op, shapes, builder))) {
    ++simplified;
  } else if (!isa<ConstantOp>(op) && isPure(op) &&
             (replacement = sameNumbers(op->getResult(0)))) {
    ++simplified;
  }
  if (replacement)
    op->getResult(0).replaceAllUsesWith(replacement);
  return success();
}

/// Users come after what they use: one walk from the end is enough.
void Folder::eraseDeadOps() {
  for (Block &block : function.getBody())
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
      if (isOpTriviallyDead(&op)) {
        shapes.forget(&op);
        op.erase();
      }
}

LogicalResult Folder::run() {
  if (function.isExternal())
    return success();
  if (!llvm::hasSingleElement(function.getBody()))
    return function.emitOpError()
           << "has " << function.getBody().getBlocks().size()
           << " blocks, expected one";
  for (BlockArgument argument : function.getArguments()) {
    shapes.addArgument(argument,
                       getDimNames(function, argument.getArgNumber()));
    (void)sameNumbers(argument);
  }
  for (Block &block : function.getBody())
    for (Operation &op : llvm::make_early_inc_range(block))
      if (failed(visit(&op)))
        return failure();
  eraseDeadOps();
  updateFunctionType(function);
  return success();
}

namespace {
struct FoldConstants : nju::impl::FoldConstantsBase<FoldConstants> {
  void runOnOperation() override {
    ParamReader reader(getModelFolder(getOperation()));
    SymbolTable symbols(getOperation());
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      Folder folder(function, symbols, reader);
      if (failed(folder.run()))
        return signalPassFailure();
      numFolded += folder.folded;
      numSimplified += folder.simplified;
    }
  }
};
} // namespace
