//===- LinalgToVector.cpp - Kernels become loops over vectors -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "BodyEmitter.h"
#include "RowLoop.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Linalg/Transforms/Transforms.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "nju/Conversion/Passes.h"
#include "nju/Dialect/Exec/IR/KernelAttributes.h"

using namespace mlir;
using namespace nju::vectorize;

namespace nju {
#define GEN_PASS_DEF_CONVERTKERNELSTOVECTOR
#include "nju/Conversion/Passes.h.inc"
} // namespace nju

namespace {

/// Elements of the vector loop that are one unit of work: shorter for products,
/// whose elements cost more.
constexpr int64_t kChunk = 512, kReductionChunk = 64;

/// Emits the loops of one linalg.generic of a kernel. Every worker gets a
/// contiguous range of rows if there is a loop over rows; else one of units,
/// where a unit is a point of the outer parallel loops, or a chunk of the
/// vector loop there. Nests of the same rows can share the loop over them. What
/// is computed for an element, and in which order, does not depend on how units
/// are dealt out.
class NestEmitter {
public:
  NestEmitter(linalg::GenericOp op, ArrayRef<Value> starts, Value worker,
              Value workers, std::optional<int64_t> rowLoop)
      : op(op), starts(starts), worker(worker), workers(workers),
        rowLoop(rowLoop), b(op.getLoc(), op), body(op, -1) {}

  void runUnits();
  /// Loops over the rows; for each of them comes this nest, then the others.
  void runRows(llvm::MutableArrayRef<NestEmitter> others);

private:
  using Accumulators = llvm::SmallVector<Value>;
  using Innermost =
      llvm::function_ref<Accumulators(ArrayRef<Value>, ArrayRef<Value>)>;

  void prepare(bool sharesRows);
  void chooseLoop(bool sharesRows);
  bool vectorizable(int64_t loop) const;
  Operation *combiner() const;
  Value index(int64_t value) {
    return arith::ConstantIndexOp::create(b, value);
  }
  bool isReduction(int64_t loop) const {
    return op.getIteratorTypesArray()[loop] == utils::IteratorType::reduction;
  }
  Value sizeOf(int64_t loop);
  void forLoop(Value from, Value to, int64_t step,
               llvm::function_ref<void(Value)> emit);
  Accumulators
  forLoop(Value from, Value to, int64_t step, ArrayRef<Value> state,
          llvm::function_ref<Accumulators(Value, ArrayRef<Value>)> emit);
  void emitUnits();
  void emitUnit(Value unit);
  void emitRow(Value row);
  void emitRow(ArrayRef<int64_t> loops, llvm::SmallVector<Value> position,
               Value from, Value to);
  void emitParallel(ArrayRef<Value> position, Value from, Value to);
  void emitParallelRun(ArrayRef<Value> position, Value from, Value to);
  void emitPoints(ArrayRef<Value> position, const IRMapping *uniform,
                  int64_t count, Value mask, const BodyEmitter &emitter);
  void emitReductions(ArrayRef<Value> position);
  Value mainEnd(Value from, Value to, int64_t step);
  Accumulators reductionLoops(ArrayRef<int64_t> loops,
                              llvm::SmallVector<Value> position,
                              ArrayRef<Value> state, Innermost innermost);
  Accumulators startValues(ArrayRef<Value> position, int64_t count, Value mask,
                           bool scalar);
  Accumulators reduceRun(ArrayRef<Value> position, ArrayRef<Value> state);
  Value horizontal(Value vector);
  Value firstLanes(Value count);
  Value combine(Value lhs, Value rhs);
  void storeResults(ArrayRef<Value> position, ArrayRef<Value> values,
                    Value mask, bool scalar);

  mutable linalg::GenericOp op; // Its accessors are not const.
  ArrayRef<Value> starts;
  Value worker, workers;
  std::optional<int64_t> rowLoop;
  ImplicitLocOpBuilder b;
  BodyEmitter body;
  /// The innermost loop, or -1: that of vectors, or of scalars if `lanes` is 1.
  int64_t inner = -1;
  int64_t lanes = 1;
  llvm::SmallVector<int64_t> outer, reductions;
  llvm::SmallVector<Value> sizes;
};

} // namespace

/// The op that adds an element to the accumulator, if the body ends with one
/// whose order does not matter.
Operation *NestEmitter::combiner() const {
  if (op.getNumDpsInits() != 1)
    return nullptr;
  BlockArgument accumulator = op.getRegionOutputArgs()[0];
  Operation *last =
      op.getBody()->getTerminator()->getOperand(0).getDefiningOp();
  if (!last || last->getBlock() != op.getBody() || !accumulator.hasOneUse() ||
      *accumulator.user_begin() != last || last->getNumOperands() != 2)
    return nullptr;
  return arith::getNeutralElement(last) ? last : nullptr;
}

bool NestEmitter::vectorizable(int64_t loop) const {
  if (isReduction(loop) && !combiner())
    return false;
  return BodyEmitter(op, loop).classify();
}

/// The loop along which memory is contiguous: rather a long one, rather a
/// parallel one.
void NestEmitter::chooseLoop(bool sharesRows) {
  llvm::SmallVector<int64_t> extents = op.getStaticLoopRanges();
  int64_t best = -1, bestScore = -1;
  for (int64_t loop = 0, e = op.getNumLoops(); loop < e; ++loop) {
    if (!vectorizable(loop) || (sharesRows && loop == rowLoop))
      continue;
    int64_t extent =
        ShapedType::isDynamic(extents[loop]) ? kChunk : extents[loop];
    int64_t score = std::min(extent, kChunk) * 4 + 2 * !isReduction(loop);
    if (score >= bestScore)
      best = loop, bestScore = score;
  }
  if (best >= 0 && bestScore >= 4 * 4) {
    inner = best;
    lanes = kLanes;
    body = BodyEmitter(op, best);
    body.classify();
    return;
  }
  // A scalar has no loop at all.
  for (int64_t loop = int64_t(op.getNumLoops()) - 1; loop >= 0 && inner < 0;
       --loop)
    if (!isReduction(loop))
      inner = loop;
}

Value NestEmitter::sizeOf(int64_t loop) {
  for (OpOperand &operand : op->getOpOperands()) {
    auto type = dyn_cast<MemRefType>(operand.get().getType());
    AffineMap map = op.getMatchingIndexingMap(&operand);
    for (auto [i, expr] : llvm::enumerate(map.getResults())) {
      auto dim = dyn_cast<AffineDimExpr>(expr);
      if (!type || !dim || dim.getPosition() != loop)
        continue;
      if (!type.isDynamicDim(i))
        return index(type.getDimSize(i));
    }
  }
  for (OpOperand &operand : op->getOpOperands()) {
    AffineMap map = op.getMatchingIndexingMap(&operand);
    for (auto [i, expr] : llvm::enumerate(map.getResults())) {
      auto dim = dyn_cast<AffineDimExpr>(expr);
      if (dim && dim.getPosition() == loop)
        return memref::DimOp::create(b, operand.get(), i);
    }
  }
  llvm_unreachable("linalg verifies that every loop has a size");
}

void NestEmitter::forLoop(Value from, Value to, int64_t step,
                          llvm::function_ref<void(Value)> emit) {
  forLoop(from, to, step, {}, [&](Value i, ArrayRef<Value>) -> Accumulators {
    emit(i);
    return {};
  });
}

NestEmitter::Accumulators NestEmitter::forLoop(
    Value from, Value to, int64_t step, ArrayRef<Value> state,
    llvm::function_ref<Accumulators(Value, ArrayRef<Value>)> emit) {
  auto loop = scf::ForOp::create(b, from, to, index(step), state);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  Accumulators next = emit(loop.getInductionVar(),
                           llvm::to_vector_of<Value>(loop.getRegionIterArgs()));
  if (!state.empty())
    scf::YieldOp::create(b, next);
  return llvm::to_vector_of<Value>(loop.getResults());
}

/// Chooses the loops.
void NestEmitter::prepare(bool sharesRows) {
  chooseLoop(sharesRows);
  for (int64_t loop = 0, e = op.getNumLoops(); loop < e; ++loop) {
    sizes.push_back(sizeOf(loop));
    if (loop != inner)
      (isReduction(loop) ? reductions : outer).push_back(loop);
  }
}

void NestEmitter::runUnits() {
  prepare(/*sharesRows=*/false);
  emitUnits();
  op.erase();
}

void NestEmitter::runRows(llvm::MutableArrayRef<NestEmitter> others) {
  prepare(/*sharesRows=*/!others.empty());
  for (NestEmitter &other : others)
    other.prepare(/*sharesRows=*/true);
  // Behind what any of them has prepared.
  if (!others.empty())
    b.setInsertionPoint(others.back().op);
  auto [first, end] =
      nju::exec::createShare(b, b.getLoc(), sizes[*rowLoop], worker, workers);
  if (inner == *rowLoop && others.empty())
    emitRow(outer, llvm::SmallVector<Value>(op.getNumLoops(), index(0)), first,
            end);
  else
    forLoop(first, end, 1, [&](Value row) {
      emitRow(row);
      for (NestEmitter &other : others) {
        other.b.setInsertionPoint(b.getInsertionBlock(), b.getInsertionPoint());
        other.emitRow(row);
      }
    });
  for (NestEmitter &other : others)
    other.op.erase();
  op.erase();
}

void NestEmitter::emitRow(Value row) {
  llvm::SmallVector<Value> position(op.getNumLoops(), index(0));
  position[*rowLoop] = row;
  if (inner == *rowLoop) {
    Value next = arith::AddIOp::create(b, row, index(1));
    return emitRow(outer, position, row, next);
  }
  llvm::SmallVector<int64_t> loops;
  for (int64_t loop : outer)
    if (loop != *rowLoop)
      loops.push_back(loop);
  if (inner >= 0 && !isReduction(inner))
    emitRow(loops, position, index(0), sizes[inner]);
  else
    emitRow(loops, position, {}, {});
}

/// The points of `loops`; there [from, to) of the inner loop, or a reduction.
void NestEmitter::emitRow(ArrayRef<int64_t> loops,
                          llvm::SmallVector<Value> position, Value from,
                          Value to) {
  if (loops.empty())
    return from ? emitParallel(position, from, to) : emitReductions(position);
  int64_t loop = loops.front();
  if (getConstantIntValue(sizes[loop]) == 1)
    return emitRow(loops.drop_front(), position, from, to);
  forLoop(index(0), sizes[loop], 1, [&](Value i) {
    position[loop] = i;
    emitRow(loops.drop_front(), position, from, to);
  });
}

void NestEmitter::emitUnits() {
  Value units = index(1);
  for (int64_t loop : outer)
    units = b.createOrFold<arith::MulIOp>(units, sizes[loop]);
  if (inner >= 0 && !isReduction(inner)) {
    int64_t chunk = reductions.empty() ? kChunk : kReductionChunk;
    Value chunks =
        b.createOrFold<arith::CeilDivUIOp>(sizes[inner], index(chunk));
    units = b.createOrFold<arith::MulIOp>(units, chunks);
  }
  auto [first, end] =
      nju::exec::createShare(b, b.getLoc(), units, worker, workers);
  forLoop(first, end, 1, [&](Value unit) { emitUnit(unit); });
}

/// Cuts the number of a unit into positions of the outer loops.
void NestEmitter::emitUnit(Value unit) {
  Value from, to;
  if (inner >= 0 && !isReduction(inner)) {
    int64_t chunk = reductions.empty() ? kChunk : kReductionChunk;
    std::optional<int64_t> size = getConstantIntValue(sizes[inner]);
    from = index(0), to = sizes[inner];
    if (!size || *size > chunk) {
      Value chunks =
          b.createOrFold<arith::CeilDivUIOp>(sizes[inner], index(chunk));
      Value which = arith::RemUIOp::create(b, unit, chunks);
      unit = arith::DivUIOp::create(b, unit, chunks);
      from = arith::MulIOp::create(b, which, index(chunk));
      to = arith::MinUIOp::create(
          b, arith::AddIOp::create(b, from, index(chunk)), to);
    }
  }
  llvm::SmallVector<Value> position(op.getNumLoops(), index(0));
  for (int64_t loop : llvm::reverse(outer)) {
    if (loop == outer.front()) {
      position[loop] = unit;
      break;
    }
    position[loop] = b.createOrFold<arith::RemUIOp>(unit, sizes[loop]);
    unit = b.createOrFold<arith::DivUIOp>(unit, sizes[loop]);
  }
  if (from)
    emitParallel(position, from, to);
  else
    emitReductions(position);
}

Value NestEmitter::mainEnd(Value from, Value to, int64_t step) {
  Value length = b.createOrFold<arith::SubIOp>(to, from);
  Value rest = b.createOrFold<arith::RemUIOp>(length, index(step));
  return b.createOrFold<arith::SubIOp>(to, rest);
}

/// The inner loop is parallel: blocks of several vectors, then vectors, then
/// what is left, masked or element by element.
void NestEmitter::emitParallel(ArrayRef<Value> position, Value from, Value to) {
  IRMapping uniform;
  bool hoist = reductions.empty() && lanes > 1;
  if (hoist)
    body.emitUniform(b, uniform, position, {});
  const IRMapping *hoisted = hoist ? &uniform : nullptr;
  llvm::SmallVector<Value> at(position);
  auto run = [&](int64_t count) {
    Value end = mainEnd(from, to, count * lanes);
    forLoop(from, end, count * lanes, [&](Value i) {
      at[inner] = i;
      emitPoints(at, hoisted, count, {}, body);
    });
    from = end;
  };
  if (lanes == 1) {
    run(1);
    return;
  }
  size_t ops = std::distance(op.getBody()->begin(), op.getBody()->end());
  if (!reductions.empty())
    run(4);
  else if (ops <= 12)
    run(4);
  run(1);
  std::optional<int64_t> size = getConstantIntValue(sizes[inner]);
  if (size && *size % lanes == 0)
    return;
  if (!body.canMask()) {
    BodyEmitter scalar(op, -1);
    forLoop(from, to, 1, [&](Value i) {
      at[inner] = i;
      emitPoints(at, nullptr, 1, {}, scalar);
    });
    return;
  }
  Value rest = arith::SubIOp::create(b, to, from);
  Value any =
      arith::CmpIOp::create(b, arith::CmpIPredicate::ne, rest, index(0));
  auto tail = scf::IfOp::create(b, any, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(tail.thenBlock());
  Value mask = firstLanes(rest);
  at[inner] = from;
  emitPoints(at, hoisted, 1, mask, body);
}

/// `count` vectors side by side (or one scalar) at `position`.
void NestEmitter::emitPoints(ArrayRef<Value> position, const IRMapping *uniform,
                             int64_t count, Value mask,
                             const BodyEmitter &emitter) {
  bool scalar = emitter.isScalar();
  auto shifted = [&](ArrayRef<Value> position, int64_t i) {
    llvm::SmallVector<Value> at(position);
    if (i > 0)
      at[inner] = arith::AddIOp::create(b, at[inner], index(i * lanes));
    return at;
  };
  if (reductions.empty()) {
    IRMapping own;
    if (!uniform)
      emitter.emitUniform(b, own, position, {});
    for (int64_t i = 0; i < count; ++i) {
      llvm::SmallVector<Value> at = shifted(position, i);
      auto results = emitter.emit(b, uniform ? *uniform : own, at, {}, mask);
      storeResults(at, results, mask, scalar);
    }
    return;
  }
  size_t outputs = op.getNumDpsInits();
  Accumulators state;
  for (int64_t i = 0; i < count; ++i)
    llvm::append_range(state,
                       startValues(shifted(position, i), 1, mask, scalar));
  state = reductionLoops(
      reductions, llvm::SmallVector<Value>(position), state,
      [&](ArrayRef<Value> at, ArrayRef<Value> accumulators) {
        IRMapping own;
        emitter.emitUniform(b, own, at,
                            scalar ? accumulators : ArrayRef<Value>());
        Accumulators next;
        for (int64_t i = 0; i < count; ++i)
          llvm::append_range(
              next,
              emitter.emit(b, own, shifted(at, i),
                           accumulators.slice(i * outputs, outputs), mask));
        return next;
      });
  for (int64_t i = 0; i < count; ++i)
    storeResults(shifted(position, i),
                 ArrayRef<Value>(state).slice(i * outputs, outputs), mask,
                 scalar);
}

NestEmitter::Accumulators
NestEmitter::reductionLoops(ArrayRef<int64_t> loops,
                            llvm::SmallVector<Value> position,
                            ArrayRef<Value> state, Innermost innermost) {
  if (loops.empty())
    return innermost(position, state);
  return forLoop(index(0), sizes[loops[0]], 1, state,
                 [&](Value i, ArrayRef<Value> inside) {
                   position[loops[0]] = i;
                   return reductionLoops(loops.drop_front(), position, inside,
                                         innermost);
                 });
}

NestEmitter::Accumulators NestEmitter::startValues(ArrayRef<Value> position,
                                                   int64_t count, Value mask,
                                                   bool scalar) {
  Accumulators result;
  for (OpOperand &init : op.getDpsInitsMutable()) {
    Value start = starts[op.getMatchingBlockArgument(&init).getArgNumber() -
                         op.getNumDpsInputs()];
    if (!start && scalar)
      start = memref::LoadOp::create(b, init.get(),
                                     body.indices(b, init, position));
    else if (!start)
      start = BodyEmitter::loadVector(b, init.get(),
                                      body.indices(b, init, position), mask);
    else if (!scalar)
      start = vector::BroadcastOp::create(
          b, VectorType::get(lanes, start.getType()), start);
    result.push_back(start);
  }
  return result;
}

void NestEmitter::storeResults(ArrayRef<Value> position, ArrayRef<Value> values,
                               Value mask, bool scalar) {
  for (auto [init, value] : llvm::zip(op.getDpsInitsMutable(), values)) {
    llvm::SmallVector<Value> indices = body.indices(b, init, position);
    if (scalar)
      memref::StoreOp::create(b, value, init.get(), indices);
    else
      BodyEmitter::storeVector(b, value, init.get(), indices, mask);
  }
}

Value NestEmitter::combine(Value lhs, Value rhs) {
  OperationState state(b.getLoc(), combiner()->getName());
  state.addOperands({lhs, rhs});
  state.addTypes(lhs.getType());
  state.addAttributes(combiner()->getAttrs());
  return b.create(state)->getResult(0);
}

/// The mask of the first `count` lanes.
Value NestEmitter::firstLanes(Value count) {
  auto type = VectorType::get(lanes, b.getI32Type());
  auto numbers = llvm::to_vector(llvm::seq<int32_t>(0, lanes));
  Value lane = arith::ConstantOp::create(
      b, DenseElementsAttr::get(type, ArrayRef<int32_t>(numbers)));
  Value end = vector::BroadcastOp::create(
      b, type, arith::IndexCastOp::create(b, b.getI32Type(), count));
  return arith::CmpIOp::create(b, arith::CmpIPredicate::slt, lane, end);
}

/// Halves are combined until one element is left: always in the same order.
Value NestEmitter::horizontal(Value vector) {
  for (int64_t width = lanes / 2; width >= 1; width /= 2) {
    llvm::SmallVector<int64_t> low, high;
    for (int64_t i = 0; i < width; ++i)
      low.push_back(i), high.push_back(i + width);
    Value left = vector::ShuffleOp::create(b, vector, vector, low);
    Value right = vector::ShuffleOp::create(b, vector, vector, high);
    vector = combine(left, right);
  }
  return vector::ExtractOp::create(b, vector, llvm::ArrayRef<int64_t>{0});
}

/// Adds a run of the inner loop, which reduces, to `state`: several vectors.
NestEmitter::Accumulators NestEmitter::reduceRun(ArrayRef<Value> position,
                                                 ArrayRef<Value> state) {
  llvm::SmallVector<Value> at(position);
  Value from = index(0), to = sizes[inner];
  Accumulators result(state);
  auto step = [&](Value i, Value accumulator, Value mask) {
    at[inner] = i;
    IRMapping uniform;
    body.emitUniform(b, uniform, at, {});
    Value next = body.emit(b, uniform, at, {accumulator}, mask)[0];
    if (mask)
      next = arith::SelectOp::create(b, mask, next, accumulator);
    return next;
  };
  auto run = [&](int64_t count) {
    Value end = mainEnd(from, to, count * lanes);
    ArrayRef<Value> carried = ArrayRef<Value>(result).take_front(count);
    Accumulators next = forLoop(
        from, end, count * lanes, carried,
        [&](Value i, ArrayRef<Value> accumulators) {
          Accumulators inside;
          for (int64_t k = 0; k < count; ++k) {
            Value here =
                k == 0 ? i
                       : Value(arith::AddIOp::create(b, i, index(k * lanes)));
            inside.push_back(step(here, accumulators[k], {}));
          }
          return inside;
        });
    llvm::copy(next, result.begin());
    from = end;
  };
  run(result.size());
  run(1);
  std::optional<int64_t> size = getConstantIntValue(to);
  if (size && *size % lanes == 0)
    return result;
  Value rest = arith::SubIOp::create(b, to, from);
  Value mask = firstLanes(rest);
  result[0] = step(from, result[0], mask);
  return result;
}

/// No parallel inner loop: one result at `position`.
void NestEmitter::emitReductions(ArrayRef<Value> position) {
  Accumulators start = startValues(position, 1, {}, /*scalar=*/true);
  if (lanes == 1) {
    Accumulators results =
        reductionLoops(reductions, llvm::SmallVector<Value>(position), start,
                       [&](ArrayRef<Value> at, ArrayRef<Value> accumulators) {
                         IRMapping own;
                         body.emitUniform(b, own, at, accumulators);
                         return body.emit(b, own, at, accumulators, {});
                       });
    storeResults(position, results, {}, /*scalar=*/true);
    return;
  }
  constexpr int64_t chains = 4;
  TypedAttr neutral = *arith::getNeutralElement(combiner());
  auto type = VectorType::get(lanes, neutral.getType());
  Value zero =
      arith::ConstantOp::create(b, DenseElementsAttr::get(type, neutral));
  Accumulators vectors =
      reductionLoops(reductions, llvm::SmallVector<Value>(position),
                     Accumulators(chains, zero),
                     [&](ArrayRef<Value> at, ArrayRef<Value> accumulators) {
                       return reduceRun(at, accumulators);
                     });
  Value sum =
      combine(combine(vectors[0], vectors[1]), combine(vectors[2], vectors[3]));
  storeResults(position, {combine(start[0], horizontal(sum))}, {},
               /*scalar=*/true);
}

/// The generic's start values that fills of the same kernel give: they are
/// taken into the reduction.
static llvm::SmallVector<Value> takeStarts(linalg::GenericOp op) {
  llvm::SmallVector<Value> starts;
  for (Value init : op.getDpsInits()) {
    Value start;
    if (op.getNumReductionLoops() > 0)
      for (Operation *user : llvm::make_early_inc_range(init.getUsers()))
        if (auto fill = dyn_cast<linalg::FillOp>(user)) {
          start = fill.value();
          fill.erase();
        }
    starts.push_back(start);
  }
  return starts;
}

/// Only worker 0 goes on.
static void guardSerial(func::FuncOp kernel) {
  Block &block = kernel.front();
  ImplicitLocOpBuilder b =
      ImplicitLocOpBuilder::atBlockBegin(kernel.getLoc(), &block);
  Value zero = arith::ConstantIndexOp::create(b, 0);
  Value first = arith::CmpIOp::create(b, arith::CmpIPredicate::eq,
                                      kernel.getArgument(0), zero);
  auto choice = scf::IfOp::create(b, first, /*withElseRegion=*/false);
  Block *then = choice.thenBlock();
  while (choice->getNextNode() != block.getTerminator())
    choice->getNextNode()->moveBefore(then->getTerminator());
}

namespace nju {
namespace {
struct ConvertKernelsToVector
    : impl::ConvertKernelsToVectorBase<ConvertKernelsToVector> {
  using ConvertKernelsToVectorBase::ConvertKernelsToVectorBase;

  void runOnOperation() override {
    for (auto kernel : getOperation().getOps<func::FuncOp>()) {
      if (!kernel->hasAttr(exec::kKernelAttr))
        continue;
      if (kernel->hasAttr(exec::kSerialAttr))
        guardSerial(kernel);
      else if (failed(lower(kernel)))
        return signalPassFailure();
      for (StringRef name :
           {exec::kKernelAttr, exec::kSerialAttr, exec::kDealRowsAttr})
        kernel->removeAttr(name);
    }
  }

  LogicalResult lower(func::FuncOp kernel) {
    llvm::SmallVector<linalg::LinalgOp> ops(
        kernel.front().getOps<linalg::LinalgOp>());
    llvm::SmallVector<std::pair<linalg::GenericOp, llvm::SmallVector<Value>>>
        generics;
    // Reductions take their fills along.
    llvm::erase_if(ops, [](linalg::LinalgOp op) {
      auto fill = dyn_cast<linalg::FillOp>(*op);
      return fill && isStartValue(fill);
    });
    IRRewriter rewriter(&getContext());
    for (linalg::LinalgOp op : ops) {
      rewriter.setInsertionPoint(op);
      auto generic = dyn_cast<linalg::GenericOp>(*op);
      if (!generic) {
        FailureOr<linalg::GenericOp> made =
            linalg::generalizeNamedOp(rewriter, op);
        if (failed(made))
          return op->emitOpError() << "has no form as a linalg.generic";
        generic = *made;
      }
      generics.push_back({generic, takeStarts(generic)});
    }
    bool dealRows = kernel->hasAttr(exec::kDealRowsAttr) &&
                    llvm::all_of(generics, [](const auto &nest) {
                      return findRowLoop(nest.first).has_value();
                    });
    if (dealRows)
      markRowArguments(kernel);
    llvm::SmallVector<NestEmitter, 2> nests;
    for (auto &[generic, starts] : generics) {
      std::optional<int64_t> rowLoop;
      if (dealRows)
        rowLoop = findRowLoop(generic);
      linalg::GenericOp flat = flatten(generic, rowLoop);
      nests.emplace_back(flat, starts, kernel.getArgument(0),
                         kernel.getArgument(1), rowLoop);
    }
    if (dealRows && !nests.empty())
      nests.front().runRows(llvm::MutableArrayRef(nests).drop_front());
    else
      for (NestEmitter &nest : nests)
        nest.runUnits();
    return success();
  }
};
} // namespace
} // namespace nju
