//===- LinearArithmetic.h - What products are summed with -----*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_CODEGEN_CPU_LINEARARITHMETIC_H
#define NJU_LIB_CODEGEN_CPU_LINEARARITHMETIC_H

#include "KernelBuilder.h"
#include "nju/Codegen/CPU/KernelLibrary.h"
#include <memory>

namespace nju {

/// A vector register of columns: `begin`, in elements, of a panel.
struct LinearColumns {
  mlir::Value panel, begin;
};

/// What registers of f32 sums, one lane a column, are added up with: step by
/// step, each of one or two rows of the weights. A step that is `partial` has
/// its first row only.
class LinearArithmetic {
public:
  using Value = KernelBuilder::Value;
  using Values = KernelBuilder::Values;

  /// For LinearUnit::FMA or LinearUnit::Pairs.
  static std::unique_ptr<LinearArithmetic> create(KernelBuilder &k,
                                                  LinearUnit unit);
  virtual ~LinearArithmetic() = default;

  /// Rows of the weights in a step.
  int64_t getRows() const { return rows; }
  /// Elements, of type `getType`, that a column of a step has in packed rows
  /// and in staged weights: as many as a step has rows.
  mlir::Type getType() const { return type; }

  /// The weights of a step in these columns, which are whole panels if a step
  /// has two rows: a register for each.
  virtual Values loadWeights(Value w, llvm::ArrayRef<LinearColumns> tile,
                             Value step, bool partial) = 0;
  /// What multiplies these: element `at` of the packed rows, in all lanes; or
  /// of the only row of x.
  virtual Value loadFactor(Value packed, Value at) = 0;
  virtual Value loadOnlyFactor(Value x, Value step, bool partial) = 0;
  virtual Value multiplyAdd(Value factor, Value weights, Value sum) = 0;
  /// What `loadFactor` reads, made of row `row` of x.
  virtual void packFactor(Value x, Value row, Value step, bool partial,
                          Value packed, Value at) = 0;

  /// Weights that `loadWeights` loaded, kept in `staged`
  /// (memref<?x(32 * rows)xtype>) for later.
  void stage(Value weights, Value staged, Value step, Value column);
  Value loadStaged(Value staged, Value step, Value column);

protected:
  LinearArithmetic(KernelBuilder &k, int64_t rows, mlir::Type type)
      : k(k), rows(rows), type(type) {}

  KernelBuilder &k;

private:
  int64_t rows;
  mlir::Type type;
};

} // namespace nju

#endif // NJU_LIB_CODEGEN_CPU_LINEARARITHMETIC_H
