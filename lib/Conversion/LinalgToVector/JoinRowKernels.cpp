//===- JoinRowKernels.cpp - Kernels of the same rows become one -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "RowLoop.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Interfaces/ViewLikeInterface.h"
#include "nju/Conversion/Passes.h"
#include "nju/Dialect/Exec/IR/Exec.h"
#include "nju/Dialect/Exec/IR/KernelAttributes.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace nju::exec;

namespace nju {
#define GEN_PASS_DEF_JOINROWKERNELS
#include "nju/Conversion/Passes.h.inc"
} // namespace nju

namespace {

/// A buffer of a launch, and the argument of the kernel that it becomes.
struct Operand {
  Value buffer;
  BlockArgument argument;
  bool isWritten;
};

class Joiner {
public:
  explicit Joiner(ModuleOp module) : symbols(module) {}

  void run(Block &block);

private:
  func::FuncOp kernelOf(LaunchOp launch) {
    return symbols.lookup<func::FuncOp>(launch.getKernel());
  }
  llvm::SmallVector<Operand> operandsOf(LaunchOp launch);
  bool canJoin(LaunchOp first, LaunchOp second);
  LaunchOp join(LaunchOp first, LaunchOp second);

  SymbolTable symbols;
  /// Joined kernels by those they were made of, and which arguments these
  /// share.
  llvm::StringMap<func::FuncOp> joined;
};

} // namespace

static Value sourceOf(Value buffer) {
  while (auto view = buffer.getDefiningOp<ViewLikeOpInterface>())
    buffer = view.getViewSource();
  return buffer;
}

/// True if the kernel has a loop over rows for all it does.
static bool isRowKernel(func::FuncOp kernel) {
  return kernel->hasAttr(kDealRowsAttr) &&
         llvm::all_of(kernel.front().getOps<linalg::LinalgOp>(),
                      [](linalg::LinalgOp op) {
                        auto generic = dyn_cast<linalg::GenericOp>(*op);
                        return generic ? nju::vectorize::findRowLoop(generic)
                                             .has_value()
                                       : isa<linalg::FillOp>(*op) &&
                                             nju::vectorize::isStartValue(
                                                 cast<linalg::FillOp>(*op));
                      });
}

llvm::SmallVector<Operand> Joiner::operandsOf(LaunchOp launch) {
  llvm::SmallVector<Operand> operands;
  Block &body = kernelOf(launch).front();
  unsigned number = 2 + launch.getScalars().size();
  for (Value buffer : launch.getIns())
    operands.push_back({buffer, body.getArgument(number++), false});
  for (Value buffer : launch.getOuts())
    operands.push_back({buffer, body.getArgument(number++), true});
  return operands;
}

/// What either of them writes the other one may only touch at the same rows.
bool Joiner::canJoin(LaunchOp first, LaunchOp second) {
  if (!isRowKernel(kernelOf(first)) || !isRowKernel(kernelOf(second)))
    return false;
  bool sharesRows = false;
  for (const Operand &before : operandsOf(first))
    for (const Operand &after : operandsOf(second)) {
      if ((!before.isWritten && !after.isWritten) ||
          sourceOf(before.buffer) != sourceOf(after.buffer))
        continue;
      // A buffer has one start value a kernel.
      bool isWrittenTwice = before.isWritten && after.isWritten;
      auto rows = nju::vectorize::findRowDimension(before.argument);
      if (isWrittenTwice || before.buffer != after.buffer || !rows ||
          rows != nju::vectorize::findRowDimension(after.argument))
        return false;
      sharesRows = true;
    }
  return sharesRows;
}

static void addOnce(llvm::SmallVectorImpl<Value> &list, Value value) {
  if (!llvm::is_contained(list, value))
    list.push_back(value);
}

/// The second launch's kernel behind the first one's, in one launch.
LaunchOp Joiner::join(LaunchOp first, LaunchOp second) {
  llvm::SmallVector<Value> scalars, ins, outs;
  for (LaunchOp launch : {first, second}) {
    for (Value scalar : launch.getScalars())
      addOnce(scalars, scalar);
    for (Value buffer : launch.getOuts())
      addOnce(outs, buffer);
  }
  for (LaunchOp launch : {first, second})
    for (Value buffer : launch.getIns())
      if (!llvm::is_contained(outs, buffer))
        addOnce(ins, buffer);
  llvm::SmallVector<Value> all(scalars);
  llvm::append_range(all, ins);
  llvm::append_range(all, outs);
  std::string key;
  llvm::raw_string_ostream stream(key);
  for (LaunchOp launch : {first, second}) {
    stream << launch.getKernel();
    for (Value operand : launch->getOperands())
      stream << ' ' << llvm::find(all, operand) - all.begin();
    stream << '\n';
  }
  func::FuncOp &kernel = joined[key];
  OpBuilder b(second);
  if (!kernel) {
    llvm::SmallVector<Type> types(2, b.getIndexType());
    llvm::append_range(types, ValueRange(all).getTypes());
    kernel = kernelOf(first).cloneWithoutRegions();
    kernel.setFunctionType(b.getFunctionType(types, {}));
    kernel.setSymName((first.getKernel() + "_joined").str());
    symbols.insert(kernel);
    Block *body = kernel.addEntryBlock();
    OpBuilder inside = OpBuilder::atBlockEnd(body);
    for (LaunchOp launch : {first, second}) {
      Block &source = kernelOf(launch).front();
      IRMapping map;
      map.map(source.getArgument(0), body->getArgument(0));
      map.map(source.getArgument(1), body->getArgument(1));
      for (auto [i, operand] : llvm::enumerate(launch->getOperands()))
        map.map(source.getArgument(2 + i),
                body->getArgument(2 + (llvm::find(all, operand) -
                                       all.begin())));
      for (Operation &op : source.without_terminator())
        inside.clone(op, map);
    }
    func::ReturnOp::create(inside, kernel.getLoc());
  }
  auto launch = LaunchOp::create(b, second.getLoc(), kernel.getSymName(),
                                 scalars, ins, outs);
  first.erase();
  second.erase();
  return launch;
}

void Joiner::run(Block &block) {
  LaunchOp before;
  for (Operation &op : llvm::make_early_inc_range(block)) {
    if (auto launch = dyn_cast<LaunchOp>(op))
      before = before && canJoin(before, launch) ? join(before, launch)
                                                 : launch;
    else if (!isMemoryEffectFree(&op) && !isa<memref::AllocOp>(op))
      before = {};
  }
}

namespace nju {
namespace {
struct JoinRowKernels : impl::JoinRowKernelsBase<JoinRowKernels> {
  using JoinRowKernelsBase::JoinRowKernelsBase;

  void runOnOperation() override {
    Joiner joiner(getOperation());
    llvm::SmallVector<func::FuncOp> functions(
        getOperation().getOps<func::FuncOp>());
    for (func::FuncOp function : functions)
      if (!function.isExternal() && !function->hasAttr(kKernelAttr))
        joiner.run(function.front());
    removeUnused();
  }

  /// Kernels whose every launch was joined to another.
  void removeUnused() {
    llvm::StringSet<llvm::MallocAllocator> used;
    getOperation().walk(
        [&](LaunchOp launch) { used.insert(launch.getKernel()); });
    for (auto kernel :
         llvm::make_early_inc_range(getOperation().getOps<func::FuncOp>()))
      if (kernel->hasAttr(kKernelAttr) && !used.contains(kernel.getSymName()))
        kernel.erase();
  }
};
} // namespace
} // namespace nju
