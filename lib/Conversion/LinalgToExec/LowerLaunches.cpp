//===- LowerLaunches.cpp - Launches become calls -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/OpenMP/OpenMPDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/UB/IR/UBOps.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "nju/Conversion/Buffers.h"
#include "nju/Conversion/Passes.h"
#include "nju/Dialect/Exec/IR/Exec.h"

using namespace mlir;
using namespace nju::exec;

namespace nju {
#define GEN_PASS_DEF_LOWERLAUNCHES
#include "nju/Conversion/Passes.h.inc"
} // namespace nju

namespace {

/// Rows that are dealt out to the workers: how many there are, and the size of
/// one in bytes.
struct Rows {
  Value count;
  int64_t bytes = 0;

  bool operator==(const Rows &other) const {
    return count && count == other.count && bytes == other.bytes;
  }
};

/// Memory that a launch touches: bytes of the arena, or all of another buffer.
/// With rows, each worker touches its own only.
struct Access {
  Value root;
  int64_t begin = 0, end = 0;
  Rows rows;
  bool writes = false;
  /// If set, nothing is touched where this number of rows is 1.
  Value idleForOne;

  bool conflicts(const Access &next) const {
    bool overlap = root == next.root && begin < next.end && next.begin < end;
    bool same = begin == next.begin && end == next.end && rows == next.rows;
    return overlap && (writes || next.writes) && !same;
  }
};

/// Puts barriers between the launches of a step: every worker runs the whole
/// step, and waits where a launch depends on one that others may still be at.
class StepLowering {
public:
  StepLowering(func::FuncOp step) : step(step) {}

  void run();

private:
  Value rowCount(Value buffer, int64_t dimension);
  Access accessOf(Value buffer);
  void collect(LaunchOp launch, func::FuncOp kernel);
  void collect(Operation &op);
  void addBarrier(Operation &op);

  func::FuncOp step;
  /// Since the last barrier, and of the op at hand.
  llvm::SmallVector<Access> pending, next;
};

} // namespace

/// What the size of the dimension is equal to wherever it is the same value,
/// if that can be told: the size of an argument of @step, or a size given to a
/// view.
Value StepLowering::rowCount(Value buffer, int64_t dimension) {
  Operation *def = buffer.getDefiningOp();
  if (!def) {
    // Positions and sequences are as many as the tokens.
    unsigned number = cast<BlockArgument>(buffer).getArgNumber();
    if (dimension != 0)
      return nullptr;
    if (number == kPositions || number == kSequences)
      number = kTokens;
    return step.getArgument(number == kLogits ? kRows : number);
  }
  auto isOne = [](Value value, int64_t i) {
    return cast<MemRefType>(value.getType()).getDimSize(i) == 1;
  };
  if (isa<memref::CastOp>(def))
    return rowCount(def->getOperand(0), dimension);
  if (auto expand = dyn_cast<memref::ExpandShapeOp>(def)) {
    for (auto [i, group] : llvm::enumerate(expand.getReassociationIndices()))
      if (llvm::is_contained(group, dimension))
        return llvm::all_of(group,
                            [&](int64_t d) {
                              return d == dimension || isOne(buffer, d);
                            })
                   ? rowCount(expand.getSrc(), i)
                   : nullptr;
    return nullptr;
  }
  if (auto collapse = dyn_cast<memref::CollapseShapeOp>(def)) {
    Value source = collapse.getSrc();
    llvm::SmallVector<int64_t> sized;
    for (int64_t d : collapse.getReassociationIndices()[dimension])
      if (!isOne(source, d))
        sized.push_back(d);
    return sized.size() == 1 ? rowCount(source, sized[0]) : nullptr;
  }
  auto view = dyn_cast<memref::ViewOp>(def);
  auto type = cast<MemRefType>(buffer.getType());
  if (!view || !type.isDynamicDim(dimension))
    return nullptr;
  Value size = view.getSizes()[type.getDynamicDimIndex(dimension)];
  if (auto dim = size.getDefiningOp<memref::DimOp>())
    if (std::optional<int64_t> number = dim.getConstantIndex())
      return rowCount(dim.getSource(), *number);
  return size;
}

/// All of the memory behind `buffer`, as a read.
Access StepLowering::accessOf(Value buffer) {
  Value root = rootOf(buffer);
  auto view = root.getDefiningOp<memref::ViewOp>();
  auto bytes =
      view ? view->getAttrOfType<IntegerAttr>(kBytesAttr) : IntegerAttr();
  if (!bytes)
    return {root, 0, 1, {}, false, {}};
  int64_t offset = *getConstantIntValue(view.getByteShift());
  return {view.getSource(), offset, offset + bytes.getInt(), {}, false, {}};
}

/// Bytes of what lies behind `dimension`, 0 if that is unknown.
static int64_t bytesOfRow(Value buffer, int64_t dimension) {
  while (auto cast = buffer.getDefiningOp<memref::CastOp>())
    buffer = cast.getSource();
  auto type = cast<MemRefType>(buffer.getType());
  int64_t bytes = llvm::divideCeil(type.getElementTypeBitWidth(), 8);
  for (int64_t size : type.getShape().drop_front(dimension + 1))
    bytes *= ShapedType::isDynamic(size) ? 0 : size;
  return bytes;
}

void StepLowering::collect(LaunchOp launch, func::FuncOp kernel) {
  bool mayIdle = kernel->hasAttr(kIdleForOneRowAttr);
  Value idle;
  unsigned number = 2 + launch.getScalars().size();
  auto add = [&](Value buffer, bool writes) {
    Access access = accessOf(buffer);
    access.writes = writes;
    auto dimension = kernel.getArgAttrOfType<IntegerAttr>(number++, kRowsAttr);
    if (dimension) {
      Value count = rowCount(buffer, dimension.getInt());
      if (mayIdle && count)
        idle = count;
      if (int64_t bytes = bytesOfRow(buffer, dimension.getInt()))
        access.rows = {count, bytes};
    }
    next.push_back(access);
  };
  for (Value buffer : launch.getIns())
    add(buffer, /*writes=*/false);
  for (Value buffer : launch.getOuts())
    add(buffer, /*writes=*/true);
  for (Access &access : next)
    access.idleForOne = idle;
}

void StepLowering::collect(Operation &op) {
  next.clear();
  if (auto launch = dyn_cast<LaunchOp>(op)) {
    auto kernel = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(
        launch, launch.getKernelAttr());
    return collect(launch, kernel);
  }
  op.walk(
      [&](memref::LoadOp load) { next.push_back(accessOf(load.getMemRef())); });
}

/// A barrier before `op` if it needs one; where only launches that do nothing
/// for one row need it, it depends on the number of rows.
void StepLowering::addBarrier(Operation &op) {
  Value several;
  bool always = false, any = false;
  for (const Access &before : pending)
    for (const Access &now : next) {
      if (!before.conflicts(now))
        continue;
      any = true;
      Value idle = before.idleForOne ? before.idleForOne : now.idleForOne;
      always |= !idle || (several && several != idle);
      several = idle;
    }
  if (!any)
    return;
  ImplicitLocOpBuilder b(op.getLoc(), &op);
  if (always) {
    omp::BarrierOp::create(b);
    pending.clear();
    return;
  }
  Value rows = isa<MemRefType>(several.getType())
                   ? memref::DimOp::create(b, several, 0)
                   : several;
  Value one = arith::ConstantIndexOp::create(b, 1);
  Value wait = arith::CmpIOp::create(b, arith::CmpIPredicate::ugt, rows, one);
  auto branch = scf::IfOp::create(b, wait, /*withElseRegion=*/false);
  b.setInsertionPointToStart(branch.thenBlock());
  omp::BarrierOp::create(b);
  llvm::erase_if(pending, [&](const Access &access) {
    return access.idleForOne == several;
  });
}

static llvm::SmallVector<Value> callOperands(LaunchOp op, Value worker,
                                             Value workers) {
  llvm::SmallVector<Value> operands{worker, workers};
  llvm::append_range(operands, op.getOperands());
  return operands;
}

void StepLowering::run() {
  for (Operation &op : llvm::make_early_inc_range(step.front())) {
    collect(op);
    addBarrier(op);
    llvm::append_range(pending, next);
    auto launch = dyn_cast<LaunchOp>(op);
    if (!launch)
      continue;
    OpBuilder b(launch);
    func::CallOp::create(b, launch.getLoc(), launch.getKernel(), TypeRange{},
                         callOperands(launch, step.getArgument(kWorker),
                                      step.getArgument(kWorkers)));
    launch.erase();
  }
}

static func::FuncOp declare(ModuleOp module, StringRef name) {
  if (auto function = module.lookupSymbol<func::FuncOp>(name))
    return function;
  OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
  auto function = func::FuncOp::create(b, module.getLoc(), name,
                                       b.getFunctionType({}, {b.getI32Type()}));
  function.setPrivate();
  return function;
}

/// Elements of the largest buffer of a launch: a measure of its work.
static Value workOf(ImplicitLocOpBuilder &b, LaunchOp launch) {
  Value work = arith::ConstantIndexOp::create(b, 0);
  for (Value operand : launch.getOperands())
    if (isa<MemRefType>(operand.getType()))
      work = b.createOrFold<arith::MaxUIOp>(work, countElements(b, operand));
  return work;
}

/// A team of threads for each launch that is worth it.
static void lowerMain(func::FuncOp main) {
  auto module = main->getParentOfType<ModuleOp>();
  func::FuncOp number = declare(module, "omp_get_thread_num");
  func::FuncOp count = declare(module, "omp_get_num_threads");
  constexpr int64_t worthATeam = 8192;
  for (auto launch :
       llvm::make_early_inc_range(main.front().getOps<LaunchOp>())) {
    ImplicitLocOpBuilder b(launch.getLoc(), launch);
    Value threads =
        arith::IndexCastOp::create(b, b.getI32Type(), main.getArgument(0));
    Value enough = arith::ConstantIndexOp::create(b, worthATeam);
    omp::ParallelOperands clauses;
    clauses.ifExpr = b.createOrFold<arith::CmpIOp>(arith::CmpIPredicate::uge,
                                                   workOf(b, launch), enough);
    clauses.numThreads = threads;
    auto parallel = omp::ParallelOp::create(b, clauses);
    b.createBlock(&parallel.getRegion());
    auto index = [&](func::FuncOp function) -> Value {
      Value result = func::CallOp::create(b, function).getResult(0);
      return arith::IndexCastOp::create(b, b.getIndexType(), result);
    };
    Value worker = index(number), workers = index(count);
    func::CallOp::create(b, launch.getKernel(), TypeRange{},
                         callOperands(launch, worker, workers));
    omp::TerminatorOp::create(b);
    launch.erase();
  }
}

/// How @main gives back what a check found: three results behind its own, 0 or
/// where the message begins in `kCheckMessagesAttr`, and the two numbers.
static void returnChecks(func::FuncOp main, ArrayRef<CheckOp> checks,
                         ArrayRef<llvm::SmallVector<Value>> live) {
  auto results = cast<func::ReturnOp>(main.front().getTerminator());
  ImplicitLocOpBuilder b(main.getLoc(), results);
  llvm::SmallVector<Type> own(results.getOperandTypes());
  Value zero = arith::ConstantIndexOp::create(b, 0);
  results->insertOperands(own.size(), {zero, zero, zero});
  // The first byte stands for no message.
  std::string messages(1, '\0');
  // From the last, so that the first block is always the one to split.
  for (size_t i = checks.size(); i-- > 0;) {
    CheckOp check = checks[i];
    Block *before = check->getBlock();
    Block *after = before->splitBlock(check->getNextNode());
    Block *failed = b.createBlock(after);
    b.setLoc(check.getLoc());
    for (Value alloc : live[i])
      memref::DeallocOp::create(b, alloc);
    llvm::SmallVector<Value> values;
    for (Type type : own)
      values.push_back(ub::PoisonOp::create(b, type));
    values.push_back(arith::ConstantIndexOp::create(b, messages.size()));
    values.append({check.getFirst(), check.getSecond()});
    func::ReturnOp::create(b, values);
    messages += check.getMessage().str() + '\0';
    b.setInsertionPoint(check);
    cf::CondBranchOp::create(b, check.getCondition(), after, failed);
    check.erase();
  }
  main->setAttr(kCheckMessagesAttr, b.getStringAttr(messages));
  for (int i = 0; i < 3; ++i)
    (void)main.insertResult(main.getNumResults(), b.getIndexType(), {});
}

/// Checks become branches to an early return, which frees what is allocated by
/// then.
static void lowerChecks(func::FuncOp main) {
  llvm::SmallVector<CheckOp> checks;
  llvm::SmallVector<llvm::SmallVector<Value>> live;
  llvm::SetVector<Value> allocated;
  for (Operation &op : main.front()) {
    if (auto alloc = dyn_cast<memref::AllocOp>(op))
      allocated.insert(alloc);
    else if (auto dealloc = dyn_cast<memref::DeallocOp>(op))
      allocated.remove(dealloc.getMemref());
    else if (auto check = dyn_cast<CheckOp>(op)) {
      checks.push_back(check);
      live.push_back(llvm::to_vector(allocated));
    }
  }
  if (!checks.empty())
    returnChecks(main, checks, live);
}

namespace nju {
namespace {
struct LowerLaunches : impl::LowerLaunchesBase<LowerLaunches> {
  using LowerLaunchesBase::LowerLaunchesBase;

  void runOnOperation() override {
    for (func::FuncOp function : programsOf(getOperation())) {
      if (function.getName() == "step") {
        StepLowering(function).run();
      } else {
        lowerMain(function);
        lowerChecks(function);
      }
    }
    for (auto function : getOperation().getOps<func::FuncOp>())
      removeKernelAttributes(function);
  }
};
} // namespace
} // namespace nju
