//===- WeightMatrix.h - Weights of a model in memory ------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_EXECUTION_WEIGHTMATRIX_H
#define NJU_EXECUTION_WEIGHTMATRIX_H

#include "mlir/IR/BuiltinOps.h"
#include "nju/Dialect/NJU/Analysis/HostTensor.h"
#include "nju/Dialect/NJU/Analysis/ParamReader.h"
#include "llvm/Support/Error.h"

namespace nju {

/// The matrix [depth, columns] that products multiply by: what a packed param
/// stores, as its file has it. Copies share the data.
class WeightMatrix {
public:
  WeightMatrix() = default;
  /// `data` is [depth, columns], or transposed [columns, depth]; f32, f64, f16
  /// or bf16.
  explicit WeightMatrix(HostTensor data, bool isTransposed = false)
      : data(std::move(data)), transposed(isTransposed) {}

  explicit operator bool() const { return static_cast<bool>(data); }
  int64_t getDepth() const { return data.getDim(transposed ? 1 : 0); }
  int64_t getColumns() const { return data.getDim(transposed ? 0 : 1); }
  const HostTensor &getData() const { return data; }
  bool isTransposed() const { return transposed; }
  /// Elements between the one at (k, n) and those at (k + 1, n), (k, n + 1).
  int64_t getDepthStride() const { return transposed ? 1 : data.getDim(1); }
  int64_t getColumnStride() const { return transposed ? data.getDim(1) : 1; }

  /// Writes the columns [column, column + count) as [depth, width], width being
  /// at least `count`, and zeros to what the rows lack.
  void writeColumns(int64_t column, int64_t count, int64_t width,
                    float *to) const;
  /// Writes column `column`, that is `depth` floats.
  void writeColumn(int64_t column, float *to) const;

private:
  HostTensor data;
  bool transposed = false;
};

/// Where an execution reads the params of a model.
class ParamSource {
public:
  virtual ~ParamSource();

  /// The value of a param without panels.
  virtual llvm::Expected<HostTensor> read(ParamOp param) = 0;
  /// The matrix of a param that is packed in panels.
  virtual llvm::Expected<WeightMatrix> readMatrix(ParamOp param) = 0;
};

/// The files of the model.
class FileParamSource : public ParamSource {
public:
  /// `folder`: what the paths of `#nju.file` are relative to.
  explicit FileParamSource(llvm::StringRef folder) : reader(folder) {}
  /// The folder that the module was imported from.
  explicit FileParamSource(mlir::ModuleOp module);

  llvm::Expected<HostTensor> read(ParamOp param) override;
  llvm::Expected<WeightMatrix> readMatrix(ParamOp param) override;

private:
  ParamReader reader;
};

} // namespace nju

#endif // NJU_EXECUTION_WEIGHTMATRIX_H
