//===- ShareWeights.cpp - One param for embedding and head ------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Exporters fold the transpose of a tied embedding into a matrix of its own, so
// that the graph no longer shows that it is the same. The values do.
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "nju/Dialect/NJU/Analysis/ParamReader.h"
#include "nju/Dialect/NJU/IR/ModelFolder.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "nju/Transforms/Passes.h"
#include "llvm/ADT/SetVector.h"
#include <cstring>

namespace nju {
#define GEN_PASS_DEF_SHAREWEIGHTS
#include "nju/Transforms/Passes.h.inc"
} // namespace nju

using namespace mlir;
using namespace nju;

/// Bytes of each of two matrices that are compared at once.
static constexpr int64_t kSlabBytes = 4 << 20;

/// The param behind casts and transposes, if a file holds it as it is.
static ParamOp sourceOf(Value value, SymbolTable &symbols) {
  while (isa_and_present<CastOp, TransposeOp>(value.getDefiningOp()))
    value = value.getDefiningOp()->getOperand(0);
  auto ref = value.getDefiningOp<ParamRefOp>();
  auto param = ref ? symbols.lookup<ParamOp>(ref.getParam()) : ParamOp();
  auto file = param ? dyn_cast<FileDataAttr>(param.getData()) : FileDataAttr();
  bool asItIs = file && !param.getPermutation() && !param.getPanels() &&
                file.getType() == param.getType();
  return asItIs ? param : ParamOp();
}

/// True if the matrix `other` is `matrix` transposed, to the bit.
static bool isTranspose(ParamReader &reader, FileDataAttr matrix,
                        FileDataAttr other) {
  RankedTensorType type = matrix.getType(), from = other.getType();
  int64_t rows = type.getDimSize(0), depth = type.getDimSize(1);
  if (from.getElementType() != type.getElementType() ||
      from.getShape() != ArrayRef<int64_t>{depth, rows} || rows * depth == 0)
    return false;
  int64_t step = std::max<int64_t>(
      1, kSlabBytes * 8 / (depth * type.getElementTypeBitWidth()));
  for (int64_t begin = 0; begin < rows; begin += step) {
    int64_t end = std::min(rows, begin + step);
    FailureOr<HostTensor> slab = reader.readSlab(matrix, 0, begin, end);
    FailureOr<HostTensor> columns = reader.readSlab(other, 1, begin, end);
    // What cannot be read is reported when the weights are written.
    if (failed(slab) || failed(columns))
      return false;
    HostTensor turned = permuteDimensions(*columns, {1, 0});
    if (std::memcmp(slab->bytes(), turned.bytes(), slab->getNumBytes()) != 0)
      return false;
  }
  return true;
}

namespace {
struct ShareWeights : nju::impl::ShareWeightsBase<ShareWeights> {
  void runOnOperation() override {
    SymbolTable symbols(getOperation());
    llvm::SetVector<ParamOp> tables, matrices;
    auto add = [&](llvm::SetVector<ParamOp> &params, Value value) {
      if (ParamOp param = sourceOf(value, symbols))
        if (cast<RankedTensorType>(param.getType()).getRank() == 2)
          params.insert(param);
    };
    getOperation().walk([&](Operation *op) {
      if (auto gather = dyn_cast<GatherOp>(op))
        add(tables, gather.getInput());
      if (auto matmul = dyn_cast<MatMulOp>(op))
        add(matrices, matmul.getRhs());
    });
    ParamReader reader(getModelFolder(getOperation()));
    for (ParamOp matrix : matrices)
      for (ParamOp table : tables)
        if (matrix != table &&
            isTranspose(reader, cast<FileDataAttr>(table.getData()),
                        cast<FileDataAttr>(matrix.getData()))) {
          replace(matrix, table);
          break;
        }
  }

  /// References to `matrix` become the transpose of `table`.
  void replace(ParamOp matrix, ParamOp table) {
    getOperation().walk([&](ParamRefOp ref) {
      if (ref.getParam() != matrix.getSymName())
        return;
      OpBuilder builder(ref);
      Location loc = ref.getLoc();
      Value rows =
          ParamRefOp::create(builder, loc, table.getType(), table.getSymName());
      Value columns = TransposeOp::create(builder, loc, ref.getType(), rows,
                                          ArrayRef<int64_t>{1, 0});
      ref.replaceAllUsesWith(columns);
      ref.erase();
    });
    matrix.erase();
    ++numShared;
  }
};
} // namespace
