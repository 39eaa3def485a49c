//===- OutlineKernels.cpp - linalg ops become kernels -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Transforms/RegionUtils.h"
#include "nju/Conversion/Buffers.h"
#include "nju/Conversion/Passes.h"
#include "nju/Dialect/Exec/IR/Exec.h"

using namespace mlir;
using namespace nju::exec;

namespace nju {
#define GEN_PASS_DEF_OUTLINEKERNELS
#include "nju/Conversion/Passes.h.inc"
} // namespace nju

namespace {

/// What one kernel does: ops in order, and the values they take from outside.
struct Group {
  llvm::SmallVector<Operation *> ops;
  bool serial = false;
  bool dealRows = false;
  llvm::SmallVector<Value> constants, scalars, ins, outs;
};

class Outliner {
public:
  Outliner(ModuleOp module) : module(module), symbols(module) {}

  LogicalResult run(func::FuncOp function);

private:
  void collectOperands(Group &group);
  func::FuncOp buildKernel(Group &group);
  func::FuncOp shared(func::FuncOp kernel);
  void outline(Group group);

  ModuleOp module;
  SymbolTable symbols;
  llvm::StringMap<func::FuncOp> byBody;
  unsigned kernels = 0;
};

} // namespace

/// memref.copy as a linalg op.
static void generalizeCopies(func::FuncOp function) {
  function.walk([](memref::CopyOp copy) {
    OpBuilder b(copy);
    linalg::CopyOp::create(b, copy.getLoc(), ValueRange{copy.getSource()},
                           ValueRange{copy.getTarget()});
    copy.erase();
  });
}

static bool writesMemory(Operation &op) {
  if (isa<memref::StoreOp>(op))
    return true;
  if (op.getNumRegions() == 0 || isa<linalg::LinalgOp>(op))
    return false;
  bool writes = false;
  op.walk([&](Operation *nested) {
    writes |= isa<memref::StoreOp, linalg::LinalgOp>(nested);
  });
  return writes;
}

/// The fills that set the start values of a reduction: nobody else looks at
/// what they write.
static llvm::SmallVector<Operation *> startValues(linalg::GenericOp op) {
  llvm::SmallVector<Operation *> fills;
  if (op.getNumReductionLoops() == 0)
    return fills;
  for (Value init : op.getDpsInits()) {
    Operation *last = nullptr;
    bool hasViews = false;
    for (Operation *user : init.getUsers()) {
      hasViews |= isView(user);
      if (user != op && user->getBlock() == op->getBlock() &&
          user->isBeforeInBlock(op) && (!last || last->isBeforeInBlock(user)))
        last = user;
    }
    if (!hasViews && isa_and_nonnull<linalg::FillOp>(last) &&
        last->getOperand(1) == init)
      fills.push_back(last);
  }
  return fills;
}

static void addOnce(llvm::SmallVectorImpl<Value> &list, Value value) {
  if (!llvm::is_contained(list, value))
    list.push_back(value);
}

static bool isReadOnly(Value buffer) {
  return isa_and_nonnull<WeightOp, memref::GetGlobalOp>(
             rootOf(buffer).getDefiningOp()) ||
         isa<BlockArgument>(rootOf(buffer));
}

/// Sorts what the group takes from outside. Serial groups write through any
/// buffer that can be written.
void Outliner::collectOperands(Group &group) {
  llvm::SmallVector<Value> used;
  for (Operation *op : group.ops) {
    for (Value operand : op->getOperands())
      addOnce(used, operand);
    llvm::SetVector<Value> captured;
    getUsedValuesDefinedAbove(op->getRegions(), captured);
    for (Value value : captured)
      addOnce(used, value);
  }
  llvm::SmallVector<Value> written;
  for (Operation *op : group.ops)
    if (auto linalgOp = dyn_cast<linalg::LinalgOp>(op))
      llvm::append_range(written, linalgOp.getDpsInits());
  for (Value value : used) {
    if (value.getDefiningOp<arith::ConstantOp>())
      group.constants.push_back(value);
    else if (!isa<MemRefType>(value.getType()))
      group.scalars.push_back(value);
    else if (llvm::is_contained(written, value) ||
             (group.serial && !isReadOnly(value)))
      group.outs.push_back(value);
    else
      group.ins.push_back(value);
  }
}

func::FuncOp Outliner::buildKernel(Group &group) {
  MLIRContext *context = module.getContext();
  Location loc = UnknownLoc::get(context);
  OpBuilder b(context);
  llvm::SmallVector<Type> types(2, b.getIndexType());
  for (ArrayRef<Value> values :
       {ArrayRef<Value>(group.scalars), ArrayRef<Value>(group.ins),
        ArrayRef<Value>(group.outs)})
    llvm::append_range(types, ValueRange(values).getTypes());
  auto kernel = func::FuncOp::create(loc, "kernel",
                                     FunctionType::get(context, types, {}));
  kernel.setPrivate();
  kernel->setAttr(kKernelAttr, b.getUnitAttr());
  if (group.serial)
    kernel->setAttr(kSerialAttr, b.getUnitAttr());
  if (group.dealRows)
    kernel->setAttr(kDealRowsAttr, b.getUnitAttr());
  Block *block = kernel.addEntryBlock();
  b.setInsertionPointToEnd(block);
  IRMapping map;
  unsigned next = 2;
  for (ArrayRef<Value> values :
       {ArrayRef<Value>(group.scalars), ArrayRef<Value>(group.ins),
        ArrayRef<Value>(group.outs)})
    for (Value value : values)
      map.map(value, block->getArgument(next++));
  for (Value constant : group.constants)
    b.clone(*constant.getDefiningOp(), map);
  for (Operation *op : group.ops)
    b.clone(*op, map);
  func::ReturnOp::create(b, loc);
  kernel.walk([&](Operation *op) { op->setLoc(loc); });
  return kernel;
}

/// The kernel, or an equal one that was made before.
func::FuncOp Outliner::shared(func::FuncOp kernel) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  kernel->print(stream, OpPrintingFlags().useLocalScope());
  auto [it, isNew] = byBody.try_emplace(text, kernel);
  if (!isNew) {
    kernel.erase();
    return it->second;
  }
  kernel.setSymName(("kernel_" + llvm::Twine(kernels++)).str());
  symbols.insert(kernel);
  return kernel;
}

void Outliner::outline(Group group) {
  collectOperands(group);
  func::FuncOp kernel = shared(buildKernel(group));
  Operation *last = group.ops.back();
  OpBuilder b(last);
  LaunchOp::create(b, last->getLoc(), kernel.getSymName(), group.scalars,
                   group.ins, group.outs);
  for (Operation *op : llvm::reverse(group.ops))
    op->erase();
}

LogicalResult Outliner::run(func::FuncOp function) {
  generalizeCopies(function);
  bool isStep = function.getNumArguments() == kNumStepArguments &&
                function.getName() == "step";
  llvm::SmallVector<Group, 0> groups;
  llvm::DenseSet<Operation *> taken;
  for (auto op : function.front().getOps<linalg::GenericOp>())
    for (Operation *fill : startValues(op))
      taken.insert(fill);
  bool run = false;
  for (Operation &op : function.front()) {
    if (isStep && writesMemory(op)) {
      if (!op.use_empty())
        return op.emitError()
               << "a loop of @step that writes memory has a result of type "
               << op.getResult(0).getType()
               << " that is used; a step of a language model can have no such "
               << "value";
      if (!run || !op.getRegions().empty())
        groups.push_back(
            {{}, /*serial=*/true, /*dealRows=*/false, {}, {}, {}, {}});
      groups.back().ops.push_back(&op);
      run = op.getRegions().empty();
      continue;
    }
    run = false;
    if (!isa<linalg::LinalgOp>(op) || taken.contains(&op))
      continue;
    Group group;
    group.dealRows = isStep;
    if (auto generic = dyn_cast<linalg::GenericOp>(op))
      group.ops = startValues(generic);
    group.ops.push_back(&op);
    groups.push_back(group);
  }
  for (Group &group : groups)
    outline(group);
  return success();
}

namespace nju {
namespace {
struct OutlineKernels : impl::OutlineKernelsBase<OutlineKernels> {
  using OutlineKernelsBase::OutlineKernelsBase;

  void runOnOperation() override {
    Outliner outliner(getOperation());
    for (func::FuncOp function : programsOf(getOperation()))
      if (failed(outliner.run(function)))
        return signalPassFailure();
  }
};
} // namespace
} // namespace nju
