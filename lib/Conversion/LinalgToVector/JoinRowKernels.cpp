//===- JoinRowKernels.cpp - Kernels of the same rows become one -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "RowLoop.h"
#include "nju/Conversion/Buffers.h"
#include "nju/Conversion/Passes.h"
#include "nju/Dialect/Exec/IR/Exec.h"
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

/// Two launches that become one.
struct Pair {
  Pair(LaunchOp first, LaunchOp second);
  /// Equal for pairs of the same kernels that share the same arguments.
  std::string getKey() const;

  std::array<LaunchOp, 2> launches;
  llvm::SmallVector<Value> scalars, ins, outs;
  /// Of the joined kernel's argument that a value becomes.
  llvm::DenseMap<Value, unsigned> numbers;
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
  func::FuncOp build(Pair &pair);
  LaunchOp join(LaunchOp first, LaunchOp second);

  SymbolTable symbols;
  /// By the key of their pair.
  llvm::StringMap<func::FuncOp> joined;
};

} // namespace

/// True if the kernel has a loop over rows for all it does.
static bool isRowKernel(func::FuncOp kernel) {
  auto isOfRows = [](linalg::LinalgOp op) {
    if (auto fill = dyn_cast<linalg::FillOp>(*op))
      return nju::vectorize::isStartValue(fill);
    auto generic = dyn_cast<linalg::GenericOp>(*op);
    return generic && nju::vectorize::findRowLoop(generic);
  };
  return kernel->hasAttr(kDealRowsAttr) &&
         llvm::all_of(kernel.front().getOps<linalg::LinalgOp>(), isOfRows);
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
          rootOf(before.buffer) != rootOf(after.buffer))
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

Pair::Pair(LaunchOp first, LaunchOp second) : launches({first, second}) {
  auto addOnce = [](llvm::SmallVectorImpl<Value> &list, Value value) {
    if (!llvm::is_contained(list, value))
      list.push_back(value);
  };
  for (LaunchOp launch : launches) {
    for (Value scalar : launch.getScalars())
      addOnce(scalars, scalar);
    for (Value buffer : launch.getOuts())
      addOnce(outs, buffer);
  }
  for (LaunchOp launch : launches)
    for (Value buffer : launch.getIns())
      if (!llvm::is_contained(outs, buffer))
        addOnce(ins, buffer);
  for (ArrayRef<Value> values :
       {ArrayRef<Value>(scalars), ArrayRef<Value>(ins), ArrayRef<Value>(outs)})
    for (Value value : values)
      numbers.try_emplace(value, 2 + numbers.size());
}

std::string Pair::getKey() const {
  std::string key;
  llvm::raw_string_ostream stream(key);
  for (LaunchOp launch : launches) {
    stream << launch.getKernel();
    for (Value operand : launch->getOperands())
      stream << ' ' << numbers.lookup(operand);
    stream << '\n';
  }
  return key;
}

/// The bodies of both kernels, one behind the other.
func::FuncOp Joiner::build(Pair &pair) {
  OpBuilder b(pair.launches[0]);
  llvm::SmallVector<Type> types(2, b.getIndexType());
  for (ArrayRef<Value> values :
       {ArrayRef<Value>(pair.scalars), ArrayRef<Value>(pair.ins),
        ArrayRef<Value>(pair.outs)})
    llvm::append_range(types, ValueRange(values).getTypes());
  auto kernel =
      func::FuncOp::create(UnknownLoc::get(b.getContext()),
                           (pair.launches[0].getKernel() + "_joined").str(),
                           b.getFunctionType(types, {}));
  kernel.setPrivate();
  kernel->setAttr(kKernelAttr, b.getUnitAttr());
  kernel->setAttr(kDealRowsAttr, b.getUnitAttr());
  symbols.insert(kernel);
  Block *body = kernel.addEntryBlock();
  b.setInsertionPointToEnd(body);
  for (LaunchOp launch : pair.launches) {
    Block &source = kernelOf(launch).front();
    IRMapping map;
    map.map(source.getArguments().take_front(2),
            body->getArguments().take_front(2));
    for (auto [operand, argument] : llvm::zip_equal(
             launch->getOperands(), source.getArguments().drop_front(2)))
      map.map(argument, body->getArgument(pair.numbers.lookup(operand)));
    for (Operation &op : source.without_terminator())
      b.clone(op, map);
  }
  func::ReturnOp::create(b, kernel.getLoc());
  return kernel;
}

LaunchOp Joiner::join(LaunchOp first, LaunchOp second) {
  Pair pair(first, second);
  func::FuncOp &kernel = joined[pair.getKey()];
  if (!kernel)
    kernel = build(pair);
  OpBuilder b(second);
  auto launch = LaunchOp::create(b, second.getLoc(), kernel.getSymName(),
                                 pair.scalars, pair.ins, pair.outs);
  first.erase();
  second.erase();
  return launch;
}

void Joiner::run(Block &block) {
  LaunchOp before;
  for (Operation &op : llvm::make_early_inc_range(block)) {
    if (auto launch = dyn_cast<LaunchOp>(op))
      before =
          before && canJoin(before, launch) ? join(before, launch) : launch;
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
    for (func::FuncOp function : programsOf(getOperation()))
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
