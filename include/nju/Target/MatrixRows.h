//===- MatrixRows.h - The rows of a weight matrix ---------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_TARGET_MATRIXROWS_H
#define NJU_TARGET_MATRIXROWS_H

#include "nju/Dialect/NJU/IR/NJU.h"
#include "nju/Quantization/WeightRows.h"
#include <memory>

namespace nju {

/// The matrix that a param with a format is made from: its rows are the output
/// channels, its columns the K of a product. A file is mapped, not read: what
/// memory it takes, the system can take back. Paths are relative to the
/// module's attribute `nju.folder`. An error if the file is missing, too short
/// or of a type that is no float.
llvm::Expected<std::unique_ptr<lcq::WeightRows>> openWeightRows(ParamOp param);

/// The matrix that a param would be made from with a format: dimension i of
/// [columns, rows] is `permutation[i]` of the data.
llvm::Expected<std::unique_ptr<lcq::WeightRows>>
openWeightRows(ParamOp param, llvm::ArrayRef<int64_t> permutation);

/// What the values of that matrix depend on, as text: the file, its size and
/// the time of its last change, the place in it, type and permutation; or the
/// checksum of the values, if the module has them.
llvm::Expected<std::string> describeWeightSource(ParamOp param);

} // namespace nju

#endif // NJU_TARGET_MATRIXROWS_H
