//===- ExpandLibraryOps.cpp - Products and attention become launches -*- C++
//-*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LibraryExpansion.h"
#include "mlir/Dialect/AMX/AMXDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "nju/Codegen/CPU/KernelLibrary.h"
#include "nju/Conversion/Buffers.h"
#include "nju/Conversion/Passes.h"
#include "nju/Dialect/Exec/IR/Exec.h"
#include "nju/Dialect/NJU/IR/CacheLayout.h"
#include "nju/Dialect/NJU/IR/NJU.h"

using namespace mlir;
using namespace nju::exec;

namespace nju {
#define GEN_PASS_DEF_EXPANDLIBRARYOPS
#include "nju/Conversion/Passes.h.inc"
} // namespace nju

Value nju::exec::contiguous(ImplicitLocOpBuilder &b, Value buffer) {
  if (cast<MemRefType>(buffer.getType()).getLayout().isIdentity())
    return buffer;
  Value copy = allocLike(b, buffer);
  memref::CopyOp::create(b, buffer, copy);
  return copy;
}

Value nju::exec::flatten(ImplicitLocOpBuilder &b, Value buffer, int64_t tail) {
  auto type = cast<MemRefType>(buffer.getType());
  int64_t lead = type.getRank() - tail;
  llvm::SmallVector<ReassociationIndices> groups(tail + 1);
  if (lead == 0) {
    llvm::SmallVector<int64_t> shape(type.getShape());
    shape.insert(shape.begin(), 1);
    groups.resize(tail);
    groups[0].push_back(0);
    for (int64_t i = 0; i < tail; ++i)
      groups[i].push_back(i + 1);
    return memref::ExpandShapeOp::create(b, shape, buffer, groups);
  }
  if (lead == 1)
    return buffer;
  for (int64_t i = 0; i < type.getRank(); ++i)
    groups[std::max<int64_t>(i - lead + 1, 0)].push_back(i);
  return memref::CollapseShapeOp::create(b, buffer, groups);
}

void Expansion::launch(ImplicitLocOpBuilder &b, func::FuncOp kernel,
                       ValueRange scalars, ArrayRef<Value> ins,
                       ArrayRef<Value> outs) {
  ArrayRef<Type> types =
      kernel.getArgumentTypes().drop_front(2 + scalars.size());
  auto fit = [&](ArrayRef<Value> buffers) {
    llvm::SmallVector<Value> result;
    for (Value buffer : buffers) {
      if (buffer.getType() != types.front())
        buffer = memref::CastOp::create(b, types.front(), buffer);
      types = types.drop_front();
      result.push_back(buffer);
    }
    return result;
  };
  llvm::SmallVector<Value> inputs = fit(ins), outputs = fit(outs);
  LaunchOp::create(b, kernel.getSymName(), scalars, inputs, outputs);
}

/// The rows as products with this unit read them.
Value Expansion::packed(ImplicitLocOpBuilder &b, Value rows,
                        nju::LinearUnit unit) {
  func::FuncOp pack = library.packRows(unit);
  auto type = cast<MemRefType>(pack.getArgumentTypes().back());
  for (auto [source, copy] : packs)
    if (source == rows && copy.getType() == type)
      return copy;
  Value matrix = flatten(b, rows, 1);
  Value size = nju::KernelLibrary::countPacked(b, b.getLoc(), matrix, unit);
  Value copy = memref::AllocOp::create(b, type, ValueRange{size});
  launch(b, pack, {}, {matrix}, {copy});
  packs.push_back({rows, copy});
  return copy;
}

/// Numbers that are 0 before and after a launch. In a step they stay where they
/// are from step to step; elsewhere they are set.
Value Expansion::counter(ImplicitLocOpBuilder &b, int64_t count) {
  auto type = MemRefType::get({count}, b.getI64Type());
  auto alloc = memref::AllocOp::create(b, type);
  if (function.getName() == "step") {
    alloc->setAttr(kZeroAttr, b.getUnitAttr());
    return alloc;
  }
  Value zero = arith::ConstantOp::create(b, b.getI64IntegerAttr(0));
  for (int64_t i = 0; i < count; ++i)
    memref::StoreOp::create(b, zero, alloc,
                            Value(arith::ConstantIndexOp::create(b, i)));
  return alloc;
}

/// A matrix of codes as the kernels' line of bytes.
static Value asLine(ImplicitLocOpBuilder &b, Value codes) {
  return memref::CollapseShapeOp::create(
      b, codes, llvm::ArrayRef<ReassociationIndices>({{0, 1}}));
}

nju::LCQLinearOptions nju::exec::getOptions(nju::LCQAttr format) {
  nju::LCQLinearOptions options;
  options.bits = format.getBits();
  options.group = format.getGroup();
  options.rank = format.getRank();
  options.scaleBits = format.getScaleBits();
  options.offset = format.getOffset();
  options.zeroBits = format.getZeroBits();
  return options;
}

/// Columns of a group and of a line, which decide how rows are rounded; what
/// does not round reads nothing of that.
static std::pair<int64_t, int64_t>
roundingKey(const nju::LCQLinearOptions &options) {
  bool rounds = options.activations != nju::ActivationType::F32;
  return {rounds ? options.group : 0, options.getLineColumns()};
}

/// Place for the rows of a matrix as products with quantized weights read them,
/// which `source` calls.
Expansion::Rounded
Expansion::allocateRounded(ImplicitLocOpBuilder &b, Value source, Value matrix,
                           const nju::LCQLinearOptions &options) {
  Rounded rounded{source, roundingKey(options), {}};
  int64_t digits = options.activations == nju::ActivationType::Int16 ? 2 : 1;
  int64_t columns = cast<MemRefType>(source.getType()).getShape().back();
  int64_t groups = llvm::divideCeil(columns, options.group);
  Value count = memref::DimOp::create(b, matrix, 0);
  auto alloc = [&](Value rows, int64_t size, Type element) -> Value {
    if (rounded.key.first == 0)
      return memref::AllocOp::create(b, MemRefType::get({1, 1}, element));
    auto type = MemRefType::get({ShapedType::kDynamic, size}, element);
    return memref::AllocOp::create(b, type, ValueRange{rows});
  };
  int64_t scales = llvm::divideCeil(groups, options.getScaleGroups());
  rounded.copies = {
      alloc(library.countLCQRows(b, b.getLoc(), count, columns, options),
            digits * llvm::alignTo(columns, options.getLineColumns()),
            b.getI8Type()),
      alloc(count, scales, b.getF32Type()),
      alloc(count, digits * groups, b.getI32Type())};
  return rounded;
}

/// The rows as products with quantized weights read them: integers, with scales
/// and sums. What does not round reads nothing of these.
llvm::ArrayRef<Value> Expansion::rounded(ImplicitLocOpBuilder &b, Value rows,
                                         const nju::LCQLinearOptions &options) {
  auto key = roundingKey(options);
  bool rounds = key.first != 0;
  for (const Rounded &known : roundings)
    if ((known.source == rows || !rounds) && known.key == key)
      return known.copies;
  Value matrix = flatten(b, rows, 1);
  roundings.push_back(allocateRounded(b, rows, matrix, options));
  if (rounds)
    launch(b, library.packLCQRows(options.group, options.activations), {},
           {matrix}, roundings.back().copies);
  return roundings.back().copies;
}

namespace {
/// What an op does with a buffer.
enum class BufferUse { None, ReadsAsRows, Overwrites, Other };
} // namespace

static BufferUse getUse(Operation *op, Value root) {
  auto isRoot = [&](Value value) {
    return isa<MemRefType>(value.getType()) && rootOf(value) == root;
  };
  bool uses = false;
  op->walk([&](Operation *nested) {
    uses |= llvm::any_of(nested->getOperands(), isRoot);
  });
  if (!uses || isMemoryEffectFree(op))
    return BufferUse::None;
  if (isa<memref::DeallocOp>(op))
    return BufferUse::Overwrites;
  if (!isa<LinearOp, CachedAttentionOp>(op))
    return BufferUse::Other;
  auto own = cast<DestinationStyleOpInterface>(op);
  int64_t reads = llvm::count_if(own.getDpsInputs(),
                                 [&](Value input) { return isRoot(input); });
  bool writes = isRoot(own.getDpsInits().front());
  if (reads == 0)
    return BufferUse::Overwrites;
  auto linear = dyn_cast<LinearOp>(op);
  bool asRows = linear && reads == 1 && isRoot(linear.getInput()) && !writes;
  return asRows ? BufferUse::ReadsAsRows : BufferUse::Other;
}

/// The product with quantized weights that has what `writer` leaves in its
/// output as its rows, if that is all that becomes of it, and the rows may be
/// packed for tiles.
LinearOp Expansion::findReader(Operation *writer) const {
  Value output = cast<DestinationStyleOpInterface>(writer).getDpsInits()[0];
  Value root = rootOf(output);
  auto isPlain = [](Value buffer) {
    return cast<MemRefType>(buffer.getType()).getLayout().isIdentity();
  };
  if (!library.hasLCQTiles(activations) || !isPlain(output) ||
      !root.getDefiningOp<memref::AllocOp>())
    return {};
  LinearOp reader;
  for (Operation *op = writer->getNextNode(); op; op = op->getNextNode()) {
    BufferUse use = getUse(op, root);
    if (use == BufferUse::Overwrites)
      break;
    if (use == BufferUse::None)
      continue;
    if (use == BufferUse::Other || reader)
      return {};
    reader = cast<LinearOp>(op);
    if (!reader.getFormat() || reader.getChoices() ||
        !isPlain(reader.getInput()))
      return {};
  }
  return reader;
}

/// Place for the rows of `reader`, which `matrix` becomes.
void Expansion::prepareRows(ImplicitLocOpBuilder &b, LinearOp reader,
                            Value matrix) {
  nju::LCQLinearOptions options = getOptions(*reader.getFormat());
  options.activations = activations;
  ready = allocateRounded(b, reader.getInput(), matrix, options);
}

/// Rounds them where they are few; more are packed.
void Expansion::finishRows(ImplicitLocOpBuilder &b, Value matrix) {
  func::FuncOp pack =
      library.packLCQRows(ready->key.first, activations, /*packed=*/true);
  launch(b, pack, {}, {matrix}, ready->copies);
}

/// The kernel of a product with dense weights, and its first inputs.
func::FuncOp Expansion::expandDense(ImplicitLocOpBuilder &b, LinearOp op,
                                    nju::LinearOptions &options,
                                    llvm::SmallVector<Value> &ins) {
  auto weightType = cast<MemRefType>(op.getWeights().front().getType());
  options.weightType = weightType.getElementType();
  options.weights = op.getNumProducts();
  ins.push_back(packed(b, ins.front(), library.unitOf(options.weightType)));
  ins.front() = flatten(b, ins.front(), 1);
  llvm::append_range(ins, op.getWeights());
  return library.linear(options);
}

/// The kernel of a product with quantized weights, and its first inputs.
func::FuncOp Expansion::expandQuantized(ImplicitLocOpBuilder &b, LinearOp op,
                                        const nju::LinearOptions &epilogue,
                                        llvm::SmallVector<Value> &ins) {
  nju::LCQLinearOptions options = getOptions(*op.getFormat());
  options.activations = activations;
  options.weights = op.getNumProducts();
  options.others = epilogue.others;
  options.epilogue = epilogue.epilogue;
  options.packs = ready.has_value();
  llvm::ArrayRef<Value> copies = rounded(b, ins.front(), options);
  ins.front() = flatten(b, ins.front(), 1);
  llvm::append_range(ins, copies);
  for (auto [i, operand] : llvm::enumerate(op.getWeights()))
    ins.push_back(i % 3 == 0 ? asLine(b, operand) : operand);
  return library.lcqLinear(options);
}

/// Whether many rows are multiplied by AMX.
bool Expansion::isTiled(LinearOp op) const {
  if (op.getFormat())
    return library.hasLCQTiles(activations);
  Type type = cast<MemRefType>(op.getWeights().front().getType());
  return library.unitOf(getElementTypeOrSelf(type)) == nju::LinearUnit::Tiles;
}

void Expansion::expand(LinearOp op) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  Value output = contiguous(b, op.getOutput());
  nju::LinearOptions options;
  if (!op.getEpilogue().empty())
    options.epilogue = &op.getEpilogue();
  llvm::SmallVector<Value> others;
  for (Value other : op.getOthers()) {
    other = contiguous(b, other);
    bool full = cast<MemRefType>(other.getType()).getRank() > 1;
    options.others.push_back(full ? 2 : 1);
    others.push_back(full ? flatten(b, other, 1) : other);
  }
  llvm::SmallVector<Value> ins{contiguous(b, op.getInput())};
  Value rows = flatten(b, output, 1);
  if (LinearOp reader = op.getFormat() ? findReader(op) : LinearOp())
    prepareRows(b, reader, rows);
  func::FuncOp kernel = op.getFormat() ? expandQuantized(b, op, options, ins)
                                       : expandDense(b, op, options, ins);
  llvm::append_range(ins, others);
  llvm::SmallVector<Value> outs{rows};
  if (ready)
    outs.push_back(ready->copies[0]);
  outs.push_back(counter(b));
  launch(b, kernel, {}, ins, outs);
  if (ready)
    finishRows(b, rows);
  if (output != op.getOutput())
    memref::CopyOp::create(b, output, op.getOutput());
  op.erase();
}

void Expansion::expand(DequantizeOp op) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  Value rows = flatten(b, contiguous(b, op.getRows()), 0);
  Value output = contiguous(b, op.getOutput());
  Value channels = arith::ConstantIndexOp::create(b, op.getChannels());
  launch(b, library.lcqRows(getOptions(op.getFormat())), {channels},
         {rows, asLine(b, op.getCodes()), op.getBasis(), op.getFactors()},
         {flatten(b, output, 1)});
  if (output != op.getOutput())
    memref::CopyOp::create(b, output, op.getOutput());
  op.erase();
}

/// The layer of the cache that `op` is for.
static FailureOr<nju::CacheLayout> cacheLayer(CachedAttentionOp op) {
  ArrayAttr layers = nju::getCacheLayers(op->getParentOfType<ModuleOp>());
  int64_t layer = op.getLayer();
  if (!layers || layer < 0 || layer >= static_cast<int64_t>(layers.size()))
    return op.emitOpError()
           << "is for layer " << layer
           << ", expected the module's nju.lm to describe its cache";
  for (Attribute entry : layers.getValue().take_front(layer + 1))
    if (!nju::getCacheLayout(entry))
      return op.emitOpError()
             << "needs the module's nju.lm to say how each layer up to "
             << layer << " is kept, which " << entry << " does not";
  return *nju::getCacheLayout(layers[layer]);
}

FailureOr<nju::AttentionScratch>
Expansion::scratchOf(CachedAttentionOp op,
                     const nju::CachedAttentionOptions &options) {
  auto lm =
      op->getParentOfType<ModuleOp>()->getAttrOfType<DictionaryAttr>("nju.lm");
  auto tokens = lm.getAs<IntegerAttr>("max_tokens");
  auto batch = lm.getAs<IntegerAttr>("max_batch_tokens");
  if (!tokens || !batch || tokens.getInt() < 1 || batch.getInt() < 1)
    return op.emitOpError() << "needs the module's nju.lm to have max_tokens "
                            << "and max_batch_tokens of at least 1";
  return library.attentionScratch(options, tokens.getInt(), batch.getInt());
}

/// A buffer for all layers. It is in use for the whole step, so that no other
/// lies there and makes workers wait for what is written to it.
Value Expansion::sharedBuffer(MemRefType type) {
  Value &buffer = sharedBuffers[type];
  if (!buffer) {
    OpBuilder b = OpBuilder::atBlockBegin(&function.front());
    buffer = memref::AllocOp::create(b, function.getLoc(), type);
  }
  return buffer;
}

LogicalResult Expansion::expand(CachedAttentionOp op) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  FailureOr<nju::CacheLayout> layer = cacheLayer(op);
  if (failed(layer))
    return failure();
  if (function.getNumArguments() != kNumStepArguments)
    return op.emitOpError() << "is outside of @step, which has the cache";
  auto queryType = cast<MemRefType>(op.getQuery().getType());
  auto keyType = cast<MemRefType>(op.getKey().getType());
  nju::CachedAttentionOptions options;
  options.heads = queryType.getDimSize(2);
  options.kvHeads = keyType.getDimSize(2);
  options.headDim = keyType.getDimSize(3);
  options.cacheType = layer->type;
  options.window = op.getWindow();
  if (op.getSlopes())
    options.slopes.assign(op.getSlopes()->begin(), op.getSlopes()->end());
  if (op.getSoftcap())
    options.softcap = op.getSoftcap()->convertToDouble();
  options.tiles = hasTiles && library.hasAttentionTiles(options);
  FailureOr<nju::AttentionScratch> scratch = scratchOf(op, options);
  if (failed(scratch))
    return failure();
  Value arrivals =
      sharedBuffer(MemRefType::get({scratch->counters}, b.getI32Type()));
  arrivals.getDefiningOp()->setAttr(kZeroAttr, b.getUnitAttr());
  Value partials = sharedBuffer(
      MemRefType::get({scratch->records, scratch->recordSize}, b.getF32Type()));
  Value cache = function.getArgument(kCache);
  ArrayAttr layers = nju::getCacheLayers(op->getParentOfType<ModuleOp>());
  int64_t before =
      nju::getCacheBytes(layers.getValue().take_front(op.getLayer()));
  llvm::SmallVector<Value> scalars{arith::ConstantIndexOp::create(b, before),
                                   function.getArgument(kMaxSequences),
                                   function.getArgument(kCacheTokens)};
  Value positions = contiguous(b, op.getPositions());
  Value sequences = contiguous(b, op.getSequences());
  Value key = flatten(b, contiguous(b, op.getKey()), 2);
  Value value = flatten(b, contiguous(b, op.getValue()), 2);
  launch(
      b,
      library.cacheWrite(options.kvHeads, options.headDim, options.cacheType),
      scalars, {key, value, positions, sequences}, {cache});
  scalars.push_back(arith::ConstantOp::create(
      b, b.getF32FloatAttr(op.getScale().convertToDouble())));
  Value query = flatten(b, contiguous(b, op.getQuery()), 2);
  Value output = contiguous(b, op.getOutput());
  Value heads = flatten(b, output, 2), rows;
  llvm::SmallVector<Value> outs{heads, partials, arrivals};
  bool wholeSteps = options.headDim % 32 == 0;
  if (LinearOp reader = wholeSteps ? findReader(op) : LinearOp()) {
    rows = memref::CollapseShapeOp::create(
        b, heads, llvm::ArrayRef<ReassociationIndices>({{0}, {1, 2}}));
    prepareRows(b, reader, rows);
    options.packs = true;
    outs.push_back(ready->copies[0]);
  }
  launch(b, library.cachedAttention(options), scalars,
         {query, positions, sequences, cache}, outs);
  if (ready)
    finishRows(b, rows);
  if (output != op.getOutput())
    memref::CopyOp::create(b, output, op.getOutput());
  op.erase();
  return success();
}

void Expansion::forget(Value buffer) {
  Value root = rootOf(buffer);
  llvm::erase_if(packs, [&](auto &pack) { return rootOf(pack.first) == root; });
  llvm::erase_if(sortings, [&](const Sorted &sorted) {
    return rootOf(sorted.choices) == root;
  });
  llvm::erase_if(roundings, [&](const Rounded &rounded) {
    return rounded.key.first != 0 && rootOf(rounded.source) == root;
  });
}

/// Packed copies are stale once their source is written to.
void Expansion::forgetWritten(Operation *op) {
  op->walk([&](MemoryEffectOpInterface nested) {
    llvm::SmallVector<MemoryEffects::EffectInstance> effects;
    nested.getEffects(effects);
    for (const MemoryEffects::EffectInstance &effect : effects) {
      Value value = effect.getValue();
      if (value && isa<MemoryEffects::Write>(effect.getEffect()))
        forget(value);
    }
  });
}

LogicalResult Expansion::run() {
  hasTiles = llvm::any_of(function.front().getOps<LinearOp>(),
                          [&](LinearOp op) { return isTiled(op); });
  for (Operation &op : llvm::make_early_inc_range(function.front())) {
    if (!isa<LinearOp, DequantizeOp, CachedAttentionOp>(op)) {
      forgetWritten(&op);
      continue;
    }
    Value output = cast<DestinationStyleOpInterface>(op).getDpsInits().front();
    auto linear = dyn_cast<LinearOp>(op);
    if (linear && linear.getChoices()) {
      if (failed(expandExperts(linear)))
        return failure();
    } else if (linear)
      expand(linear);
    else if (auto dequantize = dyn_cast<DequantizeOp>(op))
      expand(dequantize);
    else if (failed(expand(cast<CachedAttentionOp>(op))))
      return failure();
    forget(output);
    if (ready)
      roundings.push_back(*std::exchange(ready, std::nullopt));
  }
  return success();
}

namespace nju {
namespace {
struct ExpandLibraryOps : impl::ExpandLibraryOpsBase<ExpandLibraryOps> {
  using ExpandLibraryOpsBase::ExpandLibraryOpsBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    llvm::Expected<CPUTarget> cpu = CPUTarget::get(target);
    if (!cpu) {
      module.emitError() << llvm::toString(cpu.takeError());
      return signalPassFailure();
    }
    llvm::Expected<ComputeType> type = getComputeType(compute, *cpu);
    if (!type) {
      module.emitError() << llvm::toString(type.takeError());
      return signalPassFailure();
    }
    KernelLibrary library(module, *cpu, *type);
    std::optional<ActivationType> rounding = getActivationType(activations);
    if (!rounding) {
      module.emitError() << "activations are '" << activations
                         << "', expected int8, int16 or f32";
      return signalPassFailure();
    }
    if (failed(checkQuantized(*rounding, library)))
      return signalPassFailure();
    llvm::SmallVector<func::FuncOp> functions;
    for (auto function : module.getOps<func::FuncOp>())
      if (!function.isExternal())
        functions.push_back(function);
    for (func::FuncOp function : functions)
      if (failed(Expansion(function, library, *rounding).run()))
        return signalPassFailure();
  }

  /// Every format must have a kernel.
  LogicalResult checkQuantized(ActivationType rounding,
                               const KernelLibrary &library) {
    WalkResult result =
        getOperation().walk([&](exec::LinearOp op) -> WalkResult {
          if (!op.getFormat())
            return WalkResult::advance();
          LCQLinearOptions options = getOptions(*op.getFormat());
          options.activations = rounding;
          if (library.supportsLCQ() && options.isValid())
            return WalkResult::advance();
          return op.emitOpError()
                 << "with weights in " << *op.getFormat() << " and "
                 << stringifyActivationType(rounding)
                 << " activations has no kernel for target '" << target << "'";
        });
    return failure(result.wasInterrupted());
  }
};
} // namespace
} // namespace nju
