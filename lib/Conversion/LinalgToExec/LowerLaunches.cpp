//===- LowerLaunches.cpp - Launches become calls -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Buffers.h"
#include "mlir/Dialect/OpenMP/OpenMPDialect.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "nju/Conversion/Passes.h"
#include "nju/Dialect/Exec/IR/Exec.h"

using namespace mlir;
using namespace nju::exec;

namespace nju {
#define GEN_PASS_DEF_LOWERLAUNCHES
#include "nju/Conversion/Passes.h.inc"
} // namespace nju

namespace {

/// Memory that a launch touches: bytes of the arena, or all of another buffer.
struct Extent {
  Value root;
  int64_t begin = 0, end = 0;

  bool overlaps(const Extent &other) const {
    return root == other.root && begin < other.end && other.begin < end;
  }
};

/// What was read and written since the last barrier.
struct Pending {
  llvm::SmallVector<Extent> reads, writes;

  bool conflicts(const Pending &next) const {
    auto meet = [](ArrayRef<Extent> a, ArrayRef<Extent> b) {
      return llvm::any_of(a, [&](const Extent &x) {
        return llvm::any_of(b, [&](const Extent &y) { return x.overlaps(y); });
      });
    };
    return meet(writes, next.reads) || meet(writes, next.writes) ||
           meet(reads, next.writes);
  }
};

} // namespace

static Extent regionOf(Value buffer) {
  Value root = rootOf(buffer);
  auto view = root.getDefiningOp<memref::ViewOp>();
  auto bytes =
      view ? view->getAttrOfType<IntegerAttr>(kBytesAttr) : IntegerAttr();
  if (!bytes)
    return {root, 0, 1};
  int64_t offset = *getConstantIntValue(view.getByteShift());
  return {view.getSource(), offset, offset + bytes.getInt()};
}

static Pending accessesOf(Operation &op) {
  Pending result;
  if (auto launch = dyn_cast<LaunchOp>(op)) {
    for (Value buffer : launch.getIns())
      result.reads.push_back(regionOf(buffer));
    for (Value buffer : launch.getOuts())
      result.writes.push_back(regionOf(buffer));
  } else {
    op.walk([&](memref::LoadOp load) {
      result.reads.push_back(regionOf(load.getMemRef()));
    });
  }
  return result;
}

static llvm::SmallVector<Value> callOperands(LaunchOp op, Value worker,
                                             Value workers) {
  llvm::SmallVector<Value> operands{worker, workers};
  llvm::append_range(operands, op.getOperands());
  return operands;
}

/// Every worker runs the whole step; it waits where a launch depends on one
/// that others may still be at.
static void lowerStep(func::FuncOp step) {
  Pending pending;
  for (Operation &op : llvm::make_early_inc_range(step.front())) {
    Pending accesses = accessesOf(op);
    if (pending.conflicts(accesses)) {
      OpBuilder b(&op);
      omp::BarrierOp::create(b, op.getLoc());
      pending = Pending();
    }
    llvm::append_range(pending.reads, accesses.reads);
    llvm::append_range(pending.writes, accesses.writes);
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

namespace nju {
namespace {
struct LowerLaunches : impl::LowerLaunchesBase<LowerLaunches> {
  using LowerLaunchesBase::LowerLaunchesBase;

  void runOnOperation() override {
    llvm::SmallVector<func::FuncOp> functions;
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (function.isPublic() && !function.isExternal())
        functions.push_back(function);
    for (func::FuncOp function : functions) {
      if (function.getName() == "step")
        lowerStep(function);
      else
        lowerMain(function);
    }
  }
};
} // namespace
} // namespace nju
