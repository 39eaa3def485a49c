//===- LibraryExpansion.h - Products and attention to launches -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// State of --exec-expand-library-ops in one function, and what its families
// share.
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_CONVERSION_LINALGTOEXEC_LIBRARYEXPANSION_H
#define NJU_LIB_CONVERSION_LINALGTOEXEC_LIBRARYEXPANSION_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "nju/Codegen/CPU/KernelLibrary.h"
#include "nju/Dialect/Exec/IR/Exec.h"
#include <array>

namespace nju::exec {

/// An argument of a kernel that experts run, and the buffer that it is; weights
/// are none.
struct ExpertOperand {
  ExpertArgument argument;
  mlir::Value buffer = {};
};

class Expansion {
public:
  Expansion(mlir::func::FuncOp function, KernelLibrary &library,
            ActivationType activations)
      : function(function), library(library), activations(activations) {}

  mlir::LogicalResult run();

private:
  /// What products with quantized weights read of some rows.
  struct Rounded {
    mlir::Value source;
    std::pair<int64_t, int64_t> key;   ///< Columns of a group, of a line.
    std::array<mlir::Value, 3> copies; ///< Integers, scales, sums.
  };

  /// Choices of experts, sorted; see `KernelLibrary::sortChoices`.
  struct Sorted {
    mlir::Value choices, starts, order;
  };

  bool isTiled(LinearOp op) const;
  void expand(LinearOp op);
  void expand(DequantizeOp op);
  mlir::func::FuncOp expandDense(mlir::ImplicitLocOpBuilder &b, LinearOp op,
                                 LinearOptions &options,
                                 llvm::SmallVector<mlir::Value> &ins);
  mlir::func::FuncOp expandQuantized(mlir::ImplicitLocOpBuilder &b, LinearOp op,
                                     const LinearOptions &epilogue,
                                     llvm::SmallVector<mlir::Value> &ins);
  mlir::LogicalResult expand(CachedAttentionOp op);
  mlir::LogicalResult expandExperts(LinearOp op);
  Sorted sorted(mlir::ImplicitLocOpBuilder &b, LinearOp op);
  llvm::SmallVector<ExpertOperand> packForExperts(mlir::ImplicitLocOpBuilder &b,
                                                  LinearOp op,
                                                  const Sorted &sorted,
                                                  mlir::Value rows,
                                                  LinearOptions &options);
  llvm::SmallVector<ExpertOperand>
  roundForExperts(mlir::ImplicitLocOpBuilder &b, const Sorted &sorted,
                  mlir::Value rows, const LCQLinearOptions &options);
  void launchExperts(mlir::ImplicitLocOpBuilder &b, mlir::func::FuncOp kernel,
                     const Sorted &sorted, mlir::Value table,
                     llvm::ArrayRef<ExpertOperand> operands, unsigned outs);
  void launch(mlir::ImplicitLocOpBuilder &b, mlir::func::FuncOp kernel,
              mlir::ValueRange scalars, llvm::ArrayRef<mlir::Value> ins,
              llvm::ArrayRef<mlir::Value> outs);
  mlir::Value packed(mlir::ImplicitLocOpBuilder &b, mlir::Value rows,
                     LinearUnit unit);
  Rounded allocateRounded(mlir::ImplicitLocOpBuilder &b, mlir::Value source,
                          mlir::Value matrix, const LCQLinearOptions &options);
  llvm::ArrayRef<mlir::Value> rounded(mlir::ImplicitLocOpBuilder &b,
                                      mlir::Value rows,
                                      const LCQLinearOptions &options);
  LinearOp findReader(mlir::Operation *writer) const;
  void prepareRows(mlir::ImplicitLocOpBuilder &b, LinearOp reader,
                   mlir::Value matrix);
  void finishRows(mlir::ImplicitLocOpBuilder &b, mlir::Value matrix);
  mlir::Value counter(mlir::ImplicitLocOpBuilder &b, int64_t count = 1);
  void forgetWritten(mlir::Operation *op);
  void forget(mlir::Value buffer);
  mlir::FailureOr<AttentionScratch>
  scratchOf(CachedAttentionOp op, const CachedAttentionOptions &options);
  mlir::Value sharedBuffer(mlir::MemRefType type);

  mlir::func::FuncOp function;
  KernelLibrary &library;
  ActivationType activations;
  /// The function multiplies in bf16 by AMX, so that attention may as well.
  bool hasTiles = false;
  /// Packed copies of buffers that nobody wrote to since.
  llvm::SmallVector<std::pair<mlir::Value, mlir::Value>> packs;
  llvm::SmallVector<Rounded> roundings;
  llvm::SmallVector<Sorted> sortings;
  /// What the op at hand packs its result into.
  std::optional<Rounded> ready;
  /// What the attentions of all layers use one after the other.
  llvm::SmallDenseMap<mlir::Type, mlir::Value> sharedBuffers;
};

/// The same elements in the identity layout.
mlir::Value contiguous(mlir::ImplicitLocOpBuilder &b, mlir::Value buffer);

/// All dimensions but the last `tail` as one.
mlir::Value flatten(mlir::ImplicitLocOpBuilder &b, mlir::Value buffer,
                    int64_t tail);

/// The kernels' options for weights in this format.
LCQLinearOptions getOptions(LCQAttr format);

} // namespace nju::exec

#endif // NJU_LIB_CONVERSION_LINALGTOEXEC_LIBRARYEXPANSION_H
