//===- KernelBuilder.cpp - Shorthand for emitting kernels -------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelBuilder.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Matchers.h"
#include "nju/Dialect/Exec/IR/KernelAttributes.h"

using namespace mlir;
using namespace nju;

using Value = KernelBuilder::Value;

Value KernelBuilder::index(int64_t value) {
  return arith::ConstantIndexOp::create(b, loc, value);
}

Value KernelBuilder::opaqueZero() {
  Type i64 = b.getI64Type();
  Value zero = arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(0));
  Value opaque =
      LLVM::InlineAsmOp::create(b, loc, i64, zero, /*asm_string=*/"",
                                /*constraints=*/"=r,0",
                                /*has_side_effects=*/false,
                                /*is_align_stack=*/false,
                                LLVM::tailcallkind::TailCallKind::None,
                                /*asm_dialect=*/nullptr,
                                /*operand_attrs=*/nullptr)
          .getResult(0);
  return arith::IndexCastOp::create(b, loc, b.getIndexType(), opaque);
}

Value KernelBuilder::intrinsic(StringRef name, Type type, ValueRange operands) {
  return LLVM::CallIntrinsicOp::create(b, loc, type, b.getStringAttr(name),
                                       operands)
      .getResults();
}

Value KernelBuilder::scratch(ArrayRef<int64_t> shape, Type element) {
  return memref::AllocaOp::create(b, loc, MemRefType::get(shape, element),
                                  b.getI64IntegerAttr(64));
}

Value KernelBuilder::f32(float value) {
  return arith::ConstantOp::create(b, loc, b.getF32FloatAttr(value));
}

Value KernelBuilder::splat(float value, int64_t size) {
  auto type = vectorType(size ? size : lanes);
  return arith::ConstantOp::create(b, loc, DenseElementsAttr::get(type, value));
}

Value KernelBuilder::add(Value x, Value y) {
  return arith::AddIOp::create(b, loc, x, y);
}
Value KernelBuilder::add(Value x, int64_t y) {
  return y == 0 ? x : add(x, index(y));
}
Value KernelBuilder::sub(Value x, Value y) {
  return arith::SubIOp::create(b, loc, x, y);
}
Value KernelBuilder::mul(Value x, Value y) {
  return arith::MulIOp::create(b, loc, x, y);
}
Value KernelBuilder::mul(Value x, int64_t y) { return mul(x, index(y)); }
Value KernelBuilder::div(Value x, Value y) {
  return arith::DivUIOp::create(b, loc, x, y);
}
Value KernelBuilder::div(Value x, int64_t y) { return div(x, index(y)); }
Value KernelBuilder::rem(Value x, Value y) {
  return arith::RemUIOp::create(b, loc, x, y);
}
Value KernelBuilder::rem(Value x, int64_t y) { return rem(x, index(y)); }
Value KernelBuilder::min(Value x, Value y) {
  return arith::MinUIOp::create(b, loc, x, y);
}

Value KernelBuilder::max(Value x, Value y) {
  return b.createOrFold<arith::MaxUIOp>(loc, x, y);
}
Value KernelBuilder::ceilDiv(Value x, Value y) {
  return div(sub(add(x, y), index(1)), y);
}
Value KernelBuilder::ceilDiv(Value x, int64_t y) {
  return div(add(x, y - 1), y);
}
Value KernelBuilder::less(Value x, Value y) {
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, x, y);
}
Value KernelBuilder::equal(Value x, Value y) {
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, x, y);
}
Value KernelBuilder::equal(Value x, int64_t y) { return equal(x, index(y)); }
Value KernelBuilder::both(Value x, Value y) {
  return arith::AndIOp::create(b, loc, x, y);
}
Value KernelBuilder::select(Value condition, Value x, Value y) {
  return arith::SelectOp::create(b, loc, condition, x, y);
}

Value KernelBuilder::dim(Value memref, int64_t dimension) {
  return b.createOrFold<memref::DimOp>(loc, memref, dimension);
}
Value KernelBuilder::load(Value memref, ValueRange indices) {
  return memref::LoadOp::create(b, loc, memref, indices);
}
Value KernelBuilder::flatten(Value memref) {
  auto type = cast<MemRefType>(memref.getType());
  OpFoldResult zero = b.getIndexAttr(0), one = b.getIndexAttr(1);
  OpFoldResult size = mul(dim(memref, 0), dim(memref, 1));
  return memref::ReinterpretCastOp::create(
      b, loc, dynamicMemRef(1, type.getElementType()), memref, zero,
      ArrayRef(size), ArrayRef(one));
}
Value KernelBuilder::loadIndex(Value memref, ValueRange indices) {
  return arith::IndexCastOp::create(b, loc, b.getIndexType(),
                                    load(memref, indices));
}
void KernelBuilder::store(Value value, Value memref, ValueRange indices) {
  memref::StoreOp::create(b, loc, value, memref, indices);
}

Value KernelBuilder::loadVector(Value memref, ValueRange indices,
                                int64_t size) {
  size = size ? size : lanes;
  Type element = cast<MemRefType>(memref.getType()).getElementType();
  Value value = vector::LoadOp::create(b, loc, VectorType::get({size}, element),
                                       memref, indices);
  if (element.isF32())
    return value;
  return arith::ExtFOp::create(b, loc, vectorType(size), value);
}
void KernelBuilder::storeVector(Value value, Value memref, ValueRange indices) {
  vector::StoreOp::create(b, loc, value, memref, indices);
}
Value KernelBuilder::loadMasked(Value memref, ValueRange indices, Value mask) {
  return vector::MaskedLoadOp::create(b, loc, vectorType(lanes), memref,
                                      indices, mask, splat(0.0f));
}
void KernelBuilder::storeMasked(Value value, Value memref, ValueRange indices,
                                Value mask) {
  vector::MaskedStoreOp::create(b, loc, memref, indices, mask, value);
}
Value KernelBuilder::broadcast(Value scalar, int64_t size) {
  auto type = VectorType::get({size ? size : lanes}, scalar.getType());
  return vector::BroadcastOp::create(b, loc, type, scalar);
}
Value KernelBuilder::broadcastI32(Value index) {
  return broadcast(arith::IndexCastOp::create(b, loc, b.getI32Type(), index));
}
Value KernelBuilder::lanesI32() {
  auto type = VectorType::get({lanes}, b.getI32Type());
  auto steps = llvm::to_vector(llvm::seq<int32_t>(0, lanes));
  return arith::ConstantOp::create(
      b, loc, DenseElementsAttr::get(type, ArrayRef<int32_t>(steps)));
}
Value KernelBuilder::firstLanes(Value count) {
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, lanesI32(),
                               broadcastI32(count));
}
Value KernelBuilder::fma(Value x, Value y, Value z) {
  return vector::FMAOp::create(b, loc, x, y, z);
}
Value KernelBuilder::mulf(Value x, Value y) {
  return arith::MulFOp::create(b, loc, x, y);
}
Value KernelBuilder::addf(Value x, Value y) {
  return arith::AddFOp::create(b, loc, x, y);
}
Value KernelBuilder::subf(Value x, Value y) {
  return arith::SubFOp::create(b, loc, x, y);
}
Value KernelBuilder::toBF16(Value low, Value high) {
  return intrinsic("llvm.x86.avx512bf16.cvtne2ps2bf16.512",
                   VectorType::get({32}, b.getBF16Type()), {high, low});
}
Value KernelBuilder::divf(Value x, Value y) {
  return arith::DivFOp::create(b, loc, x, y);
}
Value KernelBuilder::maxf(Value x, Value y) {
  Value larger = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OGT, x, y);
  return select(larger, x, y);
}
Value KernelBuilder::minf(Value x, Value y) {
  Value less = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OLT, x, y);
  return select(less, x, y);
}
Value KernelBuilder::reduce(Value vector,
                            llvm::function_ref<Value(Value, Value)> combine) {
  int64_t size = cast<VectorType>(vector.getType()).getDimSize(0);
  for (; size > 1; size /= 2) {
    auto half = [&](int64_t begin) -> Value {
      auto lanes = llvm::to_vector(llvm::seq(begin, begin + size / 2));
      return vector::ShuffleOp::create(b, loc, vector, vector, lanes);
    };
    vector = combine(half(0), half(size / 2));
  }
  return vector::ExtractOp::create(b, loc, vector, int64_t(0));
}
void KernelBuilder::prefetch(Value memref, ValueRange indices) {
  memref::PrefetchOp::create(b, loc, memref, indices, /*isWrite=*/false,
                             /*localityHint=*/3, /*isDataCache=*/true);
}

KernelBuilder::Values
KernelBuilder::loop(Value lower, Value upper, Value step, Values init,
                    llvm::function_ref<Values(Value, Values)> body) {
  auto loop = scf::ForOp::create(
      b, loc, lower, upper, step, init,
      [&](OpBuilder &inner, Location, Value iv, ValueRange carried) {
        OpBuilder::InsertionGuard guard(b);
        b.setInsertionPointToEnd(inner.getInsertionBlock());
        Values results = body(iv, Values(carried));
        scf::YieldOp::create(b, loc, results);
      });
  return Values(loop.getResults());
}

void KernelBuilder::loop(Value lower, Value upper, Value step,
                         llvm::function_ref<void(Value)> body) {
  loop(lower, upper, step, Values(), [&](Value iv, Values) {
    body(iv);
    return Values();
  });
}

void KernelBuilder::ifThen(Value condition, llvm::function_ref<void()> body) {
  auto op = scf::IfOp::create(b, loc, condition, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(op.thenBlock());
  body();
}

void KernelBuilder::ifThenElse(Value condition, llvm::function_ref<void()> body,
                               llvm::function_ref<void()> otherwise) {
  auto op = scf::IfOp::create(b, loc, condition, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(op.thenBlock());
  body();
  b.setInsertionPointToStart(op.elseBlock());
  otherwise();
}

void KernelBuilder::switchOn(Value value, int64_t first, int64_t last,
                             llvm::function_ref<void(int64_t)> body) {
  llvm::SmallVector<int64_t> cases;
  for (int64_t c = first; c < last; ++c)
    cases.push_back(c);
  auto op = scf::IndexSwitchOp::create(b, loc, TypeRange(), value, cases,
                                       cases.size());
  OpBuilder::InsertionGuard guard(b);
  auto fill = [&](Region &region, int64_t c) {
    b.setInsertionPointToStart(&region.emplaceBlock());
    body(c);
    scf::YieldOp::create(b, loc);
  };
  for (auto [region, c] : llvm::zip(op.getCaseRegions(), cases))
    fill(region, c);
  fill(op.getDefaultRegion(), last);
}

std::pair<Value, Value> KernelBuilder::share(Value count, Value worker,
                                             Value workers) {
  return exec::createShare(b, loc, count, worker, workers);
}

void KernelBuilder::deal(Value count, Value next, Value workers,
                         llvm::function_ref<void(Value)> body) {
  Value zero = index(0);
  Value one = arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(1));
  auto loop = scf::WhileOp::create(
      b, loc, TypeRange(b.getIndexType()), ValueRange(),
      [&](OpBuilder &inner, Location, ValueRange) {
        OpBuilder::InsertionGuard guard(b);
        b.setInsertionPointToEnd(inner.getInsertionBlock());
        Value ticket = memref::AtomicRMWOp::create(
            b, loc, arith::AtomicRMWKind::addi, one, next, ValueRange(zero));
        ticket = arith::IndexCastOp::create(b, loc, b.getIndexType(), ticket);
        scf::ConditionOp::create(b, loc, less(ticket, count), ticket);
      },
      [&](OpBuilder &inner, Location, ValueRange ticket) {
        OpBuilder::InsertionGuard guard(b);
        b.setInsertionPointToEnd(inner.getInsertionBlock());
        body(ticket[0]);
        scf::YieldOp::create(b, loc);
      });
  // Each worker asks once in vain; the last of them is the last to touch it.
  Value last =
      arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq,
                            add(loop.getResult(0), 1), add(count, workers));
  ifThen(last, [&] {
    store(arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(0)), next,
          zero);
  });
}

void KernelBuilder::dealApart(
    Value count, int64_t streams, Value next, Value workers,
    llvm::function_ref<void(llvm::ArrayRef<Value>)> body) {
  if (streams == 1)
    return deal(count, next, workers, [&](Value item) { body(item); });
  Value length = div(count, streams);
  Value rest = sub(count, mul(length, streams));
  deal(add(length, rest), next, workers, [&](Value ticket) {
    ifThenElse(
        less(ticket, length),
        [&] {
          Values group{ticket};
          for (int64_t s = 1; s < streams; ++s)
            group.push_back(add(group.back(), length));
          body(group);
        },
        [&] { body(add(ticket, mul(length, streams - 1))); });
  });
}

void KernelBuilder::dealRuns(Value count, Value next, Value workers,
                             llvm::function_ref<void(Value, Value)> body) {
  constexpr int64_t kRounds = 5;
  deal(mul(workers, kRounds), next, workers, [&](Value ticket) {
    auto half = [&](Value round) -> Value {
      return arith::ShRUIOp::create(b, loc, count, round);
    };
    Value round = div(ticket, workers);
    Value isLast = less(index(kRounds - 2), round);
    Value begin = sub(count, half(round));
    Value end = select(isLast, count, sub(count, half(add(round, 1))));
    auto own = share(sub(end, begin), rem(ticket, workers), workers);
    body(add(begin, own.first), add(begin, own.second));
  });
}

Value KernelBuilder::elementwise(Block &block, ValueRange arguments) {
  IRMapping map;
  map.map(block.getArguments(), arguments);
  auto asVector = [&](Value value) -> Value {
    if (Value mapped = map.lookupOrNull(value))
      return mapped;
    TypedAttr constant;
    [[maybe_unused]] bool isConstant =
        matchPattern(value, m_Constant(&constant));
    assert(isConstant && "an epilogue captures constants only");
    auto type = VectorType::get({lanes}, value.getType());
    return arith::ConstantOp::create(
        b, loc, DenseElementsAttr::get(type, Attribute(constant)));
  };
  for (Operation &op : block.without_terminator()) {
    if (op.hasTrait<OpTrait::ConstantLike>())
      continue;
    OperationState state(loc, op.getName());
    for (Value operand : op.getOperands())
      state.addOperands(asVector(operand));
    state.addTypes(VectorType::get({lanes}, op.getResult(0).getType()));
    state.addAttributes(op.getAttrs());
    map.map(op.getResult(0), b.create(state)->getResult(0));
  }
  return asVector(block.getTerminator()->getOperand(0));
}

/// 1.5 * 2^23: added to a number, it rounds to an integer and leaves it in the
/// low bits.
static constexpr float kRounding = 12582912.0f;

Value KernelBuilder::exp2OfNonPositive(Value x) {
  int64_t size = cast<VectorType>(x.getType()).getDimSize(0);
  auto constant = [&](float value) { return splat(value, size); };
  Value shifted = addf(x, constant(kRounding));
  Value r = subf(x, subf(shifted, constant(kRounding)));
  Value p = constant(9.57010132e-3f);
  for (float c :
       {5.59178603e-2f, 2.40247448e-1f, 6.93121815e-1f, 9.99999261e-1f})
    p = fma(p, r, constant(c));
  auto bits = VectorType::get({size}, b.getI32Type());
  Value places = arith::ConstantOp::create(
      b, loc, DenseElementsAttr::get(bits, llvm::APInt(32, 23)));
  Value n = arith::ShLIOp::create(
      b, loc, arith::BitcastOp::create(b, loc, bits, shifted), places);
  Value sum = arith::AddIOp::create(
      b, loc, arith::BitcastOp::create(b, loc, bits, p), n);
  Value result = arith::BitcastOp::create(b, loc, vectorType(size), sum);
  Value tiny = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OLT, x,
                                     constant(-126.0f));
  return arith::SelectOp::create(b, loc, tiny, constant(0.0f), result);
}

Value KernelBuilder::expOfNonPositive(Value x) {
  int64_t size = cast<VectorType>(x.getType()).getDimSize(0);
  auto constant = [&](float value) { return splat(value, size); };
  // Comparisons are ordered: NaN goes the way of the usual numbers.
  Value tiny = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OLT, x,
                                     constant(-87.0f));
  Value bounded = arith::SelectOp::create(b, loc, tiny, constant(-87.0f), x);
  Value magic = constant(kRounding);
  Value shifted = fma(bounded, constant(1.44269504088896341f), magic);
  Value n = subf(shifted, magic);
  // ln 2 in two parts, so that n * high is exact.
  Value r = fma(n, constant(-0.693359375f), bounded);
  r = fma(n, constant(2.12194440e-4f), r);
  Value p = constant(1.9875691500e-4f);
  for (float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f,
                  1.6666665459e-1f, 5.0000001201e-1f})
    p = fma(p, r, constant(c));
  Value y = fma(p, mulf(r, r), addf(r, constant(1.0f)));
  auto bits = VectorType::get({size}, b.getI32Type());
  auto integer = [&](uint32_t value) -> Value {
    return arith::ConstantOp::create(
        b, loc, DenseElementsAttr::get(bits, llvm::APInt(32, value)));
  };
  Value exponent = arith::BitcastOp::create(b, loc, bits, shifted);
  exponent = arith::ShLIOp::create(b, loc, exponent, integer(23));
  exponent = arith::AddIOp::create(b, loc, exponent, integer(127u << 23));
  Value power = arith::BitcastOp::create(b, loc, vectorType(size), exponent);
  Value result = mulf(y, power);
  return arith::SelectOp::create(b, loc, tiny, constant(0.0f), result);
}
