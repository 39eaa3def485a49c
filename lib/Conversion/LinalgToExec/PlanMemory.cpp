//===- PlanMemory.cpp - Where every buffer lies -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "nju/Conversion/Buffers.h"
#include "nju/Conversion/Passes.h"
#include "nju/Dialect/Exec/IR/Exec.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "llvm/Support/CheckedArithmetic.h"
#include <limits>

using namespace mlir;
using namespace nju::exec;

namespace nju {
#define GEN_PASS_DEF_LAYOUTWEIGHTS
#define GEN_PASS_DEF_PLANMEMORY
#define GEN_PASS_DEF_VERIFYNOALLOC
#include "nju/Conversion/Passes.h.inc"
} // namespace nju

/// NJU_ABI_ALIGNMENT
constexpr int64_t kAlignment = 64;

static int64_t bytesOfElement(Type type) {
  return llvm::divideCeil(type.getIntOrFloatBitWidth(), 8);
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

namespace nju {
namespace {
struct LayoutWeights : impl::LayoutWeightsBase<LayoutWeights> {
  using LayoutWeightsBase::LayoutWeightsBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    SymbolTable symbols(module);
    int64_t end = 0;
    for (func::FuncOp function : programsOf(module)) {
      function.walk([&](Operation *op) {
        if (auto weight = dyn_cast<WeightOp>(op))
          place(weight, weightsOf(function), symbols, end);
        else if (auto table = dyn_cast<WeightTableOp>(op))
          place(table, symbols, end);
      });
    }
    for (auto param : llvm::make_early_inc_range(module.getOps<ParamOp>()))
      if (!param->hasAttr("nju.offset"))
        param.erase();
    module->setAttr("nju.weights_bytes",
                    Builder(module.getContext()).getI64IntegerAttr(end));
  }

  /// Offsets are given in the order of first use.
  int64_t offsetOf(StringRef name, SymbolTable &symbols, int64_t &end) {
    auto param = symbols.lookup<ParamOp>(name);
    auto type = cast<RankedTensorType>(param.getType());
    auto offset = param->getAttrOfType<IntegerAttr>("nju.offset");
    if (!offset) {
      end = llvm::alignTo(end, kAlignment);
      offset = Builder(param).getI64IntegerAttr(end);
      param->setAttr("nju.offset", offset);
      end += type.getNumElements() * bytesOfElement(type.getElementType());
    }
    return offset.getInt();
  }

  void place(WeightTableOp op, SymbolTable &symbols, int64_t &end) {
    llvm::SmallVector<int64_t> offsets;
    for (auto param : op.getParams().getAsRange<FlatSymbolRefAttr>())
      offsets.push_back(offsetOf(param.getValue(), symbols, end));
    auto type = cast<MemRefType>(op.getType());
    auto data = DenseElementsAttr::get(
        RankedTensorType::get(type.getShape(), type.getElementType()),
        ArrayRef<int64_t>(offsets));
    OpBuilder b(op);
    OpBuilder atTop = OpBuilder::atBlockBegin(getOperation().getBody());
    auto global = memref::GlobalOp::create(
        atTop, op.getLoc(), "weight_table", b.getStringAttr("private"), type,
        data, /*constant=*/true, /*alignment=*/nullptr);
    symbols.insert(global);
    op.replaceAllUsesWith(
        memref::GetGlobalOp::create(b, op.getLoc(), type, global.getSymName())
            .getResult());
    op.erase();
  }

  void place(WeightOp op, Value weights, SymbolTable &symbols, int64_t &end) {
    ImplicitLocOpBuilder b(op.getLoc(), op);
    Value start = arith::ConstantIndexOp::create(
        b, offsetOf(op.getParam(), symbols, end));
    Value view =
        memref::ViewOp::create(b, op.getType(), weights, start, ValueRange{});
    op.replaceAllUsesWith(view);
    op.erase();
  }
};
} // namespace
} // namespace nju

//===----------------------------------------------------------------------===//
// Bounds of sizes
//===----------------------------------------------------------------------===//

namespace {
/// What an index value can be.
struct Bounds {
  int64_t low, high;
};
} // namespace

/// The bounds of an operation that grows with both operands; none if one
/// overflows.
template <typename Function>
static std::optional<Bounds> combine(Bounds a, Bounds b, Function function) {
  std::optional<int64_t> low = function(a.low, b.low);
  std::optional<int64_t> high = function(a.high, b.high);
  if (!low || !high)
    return std::nullopt;
  return Bounds{*low, *high};
}

static std::optional<Bounds> boundsOf(Value value, int64_t tokens);

/// Dimension `index` of `source`.
static std::optional<Bounds> boundsOfDim(Value source, int64_t index,
                                         int64_t tokens) {
  auto type = dyn_cast<MemRefType>(source.getType());
  if (!type)
    return std::nullopt;
  if (!type.isDynamicDim(index))
    return Bounds{type.getDimSize(index), type.getDimSize(index)};
  if (auto argument = dyn_cast<BlockArgument>(source)) {
    unsigned i = argument.getArgNumber();
    if (i == kRows || i == kLogits)
      return Bounds{0, tokens};
    return Bounds{1, tokens};
  }
  if (auto alloc = source.getDefiningOp<memref::AllocOp>())
    return boundsOf(alloc.getDynamicSizes()[type.getDynamicDimIndex(index)],
                    tokens);
  if (auto collapse = source.getDefiningOp<memref::CollapseShapeOp>()) {
    Bounds product{1, 1};
    auto groups = collapse.getReassociationIndices();
    for (int64_t dim : groups[index]) {
      auto bounds = boundsOfDim(collapse.getSrc(), dim, tokens);
      auto next = bounds ? combine(product, *bounds, llvm::checkedMul<int64_t>)
                         : std::nullopt;
      if (!next)
        return std::nullopt;
      product = *next;
    }
    return product;
  }
  if (auto expand = source.getDefiningOp<memref::ExpandShapeOp>()) {
    OpFoldResult size = expand.getMixedOutputShape()[index];
    return boundsOf(cast<Value>(size), tokens);
  }
  return std::nullopt;
}

/// Interval arithmetic over what a size is computed from.
static std::optional<Bounds> boundsOf(Value value, int64_t tokens) {
  if (std::optional<int64_t> constant = getConstantIntValue(value))
    return Bounds{*constant, *constant};
  Operation *def = value.getDefiningOp();
  if (!def)
    return std::nullopt;
  if (auto dim = dyn_cast<memref::DimOp>(def)) {
    std::optional<int64_t> index = dim.getConstantIndex();
    return index ? boundsOfDim(dim.getSource(), *index, tokens) : std::nullopt;
  }
  llvm::SmallVector<Bounds> x;
  bool isSelect = isa<arith::SelectOp>(def);
  for (Value operand : def->getOperands().drop_front(isSelect)) {
    std::optional<Bounds> bounds = boundsOf(operand, tokens);
    if (!bounds)
      return std::nullopt;
    x.push_back(*bounds);
  }
  if (isa<arith::IndexCastOp>(def))
    return x[0];
  if (isSelect)
    return Bounds{std::min(x[0].low, x[1].low), std::max(x[0].high, x[1].high)};
  if (isa<arith::AddIOp>(def))
    return combine(x[0], x[1], llvm::checkedAdd<int64_t>);
  if (isa<arith::SubIOp>(def))
    return combine(x[0], Bounds{x[1].high, x[1].low},
                   llvm::checkedSub<int64_t>);
  if (isa<arith::MaxSIOp>(def))
    return Bounds{std::max(x[0].low, x[1].low), std::max(x[0].high, x[1].high)};
  if (isa<arith::MinSIOp>(def))
    return Bounds{std::min(x[0].low, x[1].low), std::min(x[0].high, x[1].high)};
  bool natural = llvm::all_of(x, [](Bounds b) { return b.low >= 0; });
  if (isa<arith::MaxUIOp>(def) && natural)
    return Bounds{std::max(x[0].low, x[1].low), std::max(x[0].high, x[1].high)};
  if (isa<arith::MinUIOp>(def) && natural)
    return Bounds{std::min(x[0].low, x[1].low), std::min(x[0].high, x[1].high)};
  if (isa<arith::MulIOp>(def) && natural)
    return combine(x[0], x[1], llvm::checkedMul<int64_t>);
  if (isa<arith::DivUIOp, arith::DivSIOp>(def) && natural && x[1].low > 0)
    return Bounds{x[0].low / x[1].high, x[0].high / x[1].low};
  return std::nullopt;
}

//===----------------------------------------------------------------------===//
// The arena of a step
//===----------------------------------------------------------------------===//

namespace {

/// A buffer from its first use to its last, by the numbers of the ops.
struct Slot {
  memref::AllocOp alloc;
  int64_t first = std::numeric_limits<int64_t>::max(), last = -1;
  int64_t bytes = 0, offset = 0;
  bool isZero = false; ///< Between steps.

  bool overlaps(const Slot &other) const {
    return first <= other.last && other.first <= last;
  }
};

} // namespace

static FailureOr<int64_t> bytesOf(memref::AllocOp alloc, int64_t tokens) {
  MemRefType type = alloc.getType();
  int64_t bytes = bytesOfElement(type.getElementType());
  unsigned dynamic = 0;
  for (int64_t size : type.getShape()) {
    if (ShapedType::isDynamic(size)) {
      auto bounds = boundsOf(alloc.getDynamicSizes()[dynamic++], tokens);
      if (!bounds)
        return alloc.emitError()
               << "a buffer of type " << type
               << " has a size that is not bounded by the number of tokens; "
               << "a step of a language model can have no such value";
      size = std::max<int64_t>(bounds->high, 0);
    }
    if (llvm::MulOverflow(bytes, size, bytes))
      return alloc.emitError()
             << "a buffer of type " << type << " for " << tokens
             << " tokens is larger than an address space";
  }
  return llvm::alignTo(std::max<int64_t>(bytes, 1), kAlignment);
}

/// Numbers of the first and the last op that touches a buffer or a view of it.
static void findLifetime(Value buffer,
                         const llvm::DenseMap<Operation *, int64_t> &numbers,
                         Slot &slot) {
  for (Operation *user : buffer.getUsers()) {
    if (isView(user)) {
      findLifetime(user->getResult(0), numbers, slot);
      continue;
    }
    Operation *top = user;
    while (!numbers.contains(top))
      top = top->getParentOp();
    if (isa<memref::DimOp>(top))
      continue;
    int64_t number = numbers.lookup(top);
    slot.first = std::min(slot.first, number);
    slot.last = std::max(slot.last, number);
  }
}

/// The most bytes alive at once: no plan needs less.
static int64_t lowerBound(ArrayRef<Slot> slots) {
  llvm::DenseMap<int64_t, int64_t> change;
  int64_t count = 0;
  for (const Slot &slot : slots) {
    if (slot.last < 0)
      continue;
    change[slot.first] += slot.bytes;
    change[slot.last + 1] -= slot.bytes;
    count = std::max(count, slot.last + 2);
  }
  int64_t now = 0, most = 0;
  for (int64_t i = 0; i < count; ++i) {
    now += change.lookup(i);
    most = std::max(most, now);
  }
  return most;
}

/// What is zero between steps lies in front; then largest first, each at the
/// lowest offset that is free in its lifetime.
/// Method: greedy by size; Pisarchyk and Lee, "Efficient Memory Management for
/// Deep Neural Net Inference", section 5.
static int64_t placeSlots(llvm::MutableArrayRef<Slot> slots) {
  llvm::SmallVector<Slot *> order, placed;
  for (Slot &slot : slots)
    order.push_back(&slot);
  llvm::sort(order, [](Slot *a, Slot *b) {
    return std::tie(b->isZero, b->bytes, a->first) <
           std::tie(a->isZero, a->bytes, b->first);
  });
  int64_t end = 0;
  for (Slot *slot : order) {
    int64_t offset = 0;
    for (Slot *other : placed) {
      if (!slot->overlaps(*other))
        continue;
      if (offset + slot->bytes <= other->offset)
        break;
      offset = std::max(offset, other->offset + other->bytes);
    }
    slot->offset = offset;
    end = std::max(end, offset + slot->bytes);
    auto after = llvm::upper_bound(
        placed, slot, [](Slot *a, Slot *b) { return a->offset < b->offset; });
    placed.insert(after, slot);
  }
  return end;
}

static void replaceByView(Slot &slot, Value arena) {
  memref::AllocOp alloc = slot.alloc;
  ImplicitLocOpBuilder b(alloc.getLoc(), alloc);
  Value offset = arith::ConstantIndexOp::create(b, slot.offset);
  auto view = memref::ViewOp::create(b, alloc.getType(), arena, offset,
                                     alloc.getDynamicSizes());
  view->setAttr(kBytesAttr, b.getI64IntegerAttr(slot.bytes));
  alloc.replaceAllUsesWith(view.getResult());
  alloc.erase();
}

/// Frees what is not returned after its last use.
static void freeBuffers(func::FuncOp function) {
  llvm::DenseMap<Operation *, int64_t> numbers;
  llvm::SmallVector<Operation *> ops;
  for (Operation &op : function.front()) {
    numbers[&op] = ops.size();
    ops.push_back(&op);
  }
  for (auto alloc :
       llvm::make_early_inc_range(function.front().getOps<memref::AllocOp>())) {
    Slot slot{alloc};
    findLifetime(alloc, numbers, slot);
    if (slot.last < 0 || isa<func::ReturnOp>(ops[slot.last]))
      continue;
    OpBuilder b(alloc.getContext());
    b.setInsertionPointAfter(ops[slot.last]);
    memref::DeallocOp::create(b, alloc.getLoc(), alloc);
  }
}

namespace nju {
namespace {
struct PlanMemory : impl::PlanMemoryBase<PlanMemory> {
  using PlanMemoryBase::PlanMemoryBase;

  void runOnOperation() override {
    for (func::FuncOp function : programsOf(getOperation())) {
      if (function.getName() != "step")
        freeBuffers(function);
      else if (failed(planStep(function)))
        return signalPassFailure();
    }
  }

  LogicalResult planStep(func::FuncOp step) {
    ModuleOp module = getOperation();
    auto lm = module->getAttrOfType<DictionaryAttr>("nju.lm");
    auto tokens =
        lm ? lm.getAs<IntegerAttr>("max_batch_tokens") : IntegerAttr();
    if (!tokens || tokens.getInt() < 1)
      return module.emitError()
             << "a module with a step needs nju.lm with max_batch_tokens of at "
             << "least 1";
    llvm::DenseMap<Operation *, int64_t> numbers;
    for (Operation &op : step.front())
      numbers.try_emplace(&op, numbers.size());
    llvm::SmallVector<Slot> slots;
    int64_t zeroBytes = 0;
    for (auto alloc : step.front().getOps<memref::AllocOp>()) {
      Slot slot{alloc};
      FailureOr<int64_t> bytes = bytesOf(alloc, tokens.getInt());
      if (failed(bytes))
        return failure();
      slot.bytes = *bytes;
      findLifetime(alloc, numbers, slot);
      if (alloc->hasAttr(kZeroAttr)) {
        slot.isZero = true;
        slot.first = 0;
        slot.last = numbers.size();
        zeroBytes += slot.bytes;
      }
      slots.push_back(slot);
    }
    int64_t bytes = placeSlots(slots);
    for (Slot &slot : slots)
      replaceByView(slot, step.getArgument(kArena));
    Builder b(module.getContext());
    module->setAttr("nju.arena_bytes", b.getI64IntegerAttr(bytes));
    module->setAttr("nju.arena_zero_bytes", b.getI64IntegerAttr(zeroBytes));
    module->setAttr("nju.arena_lower_bound",
                    b.getI64IntegerAttr(lowerBound(slots)));
    return success();
  }
};

struct VerifyNoAlloc : impl::VerifyNoAllocBase<VerifyNoAlloc> {
  using VerifyNoAllocBase::VerifyNoAllocBase;

  void runOnOperation() override {
    auto step = getOperation().lookupSymbol<func::FuncOp>("step");
    if (!step)
      return;
    step.walk([&](Operation *op) {
      if (!isa<memref::AllocOp, memref::AllocaOp>(op))
        return;
      op->emitError() << "@step allocates a buffer of type "
                      << op->getResult(0).getType()
                      << ", expected every buffer to lie in the arena";
      signalPassFailure();
    });
  }
};
} // namespace
} // namespace nju
