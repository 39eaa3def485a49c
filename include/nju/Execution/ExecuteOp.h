//===- ExecuteOp.h - Computes one op on large tensors -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_EXECUTION_EXECUTEOP_H
#define NJU_EXECUTION_EXECUTEOP_H

#include "nju/Dialect/NJU/Analysis/HostTensor.h"
#include "nju/Execution/WeightMatrix.h"
#include "llvm/Support/Error.h"

namespace nju {

/// Computes an op that takes no packed weight; what `evaluateOp` computes, but
/// fast for large f32 tensors: such are computed in f32 (sums of norms in
/// f64), by all threads. Operands that are left out of the op are left out of
/// `operands` too.
///
/// `nju.cached_attention` is the attention within the batch: the tokens of each
/// sequence must follow each other, in the positions 0, 1, 2 and so on.
///
/// `room`: null, or one of the operands that nobody reads any more, to be
/// overwritten by the result where that is possible.
llvm::Expected<HostTensor> executeOp(mlir::Operation *op,
                                     llvm::ArrayRef<HostTensor> operands,
                                     const HostTensor *room = nullptr);

/// Computes `nju.linear` for several inputs at once. `bias`: an empty tensor
/// if the op has none.
llvm::Expected<llvm::SmallVector<HostTensor, 1>>
executeLinear(LinearOp op, llvm::ArrayRef<HostTensor> inputs,
              const WeightMatrix &weight, const HostTensor &bias);

/// Computes `nju.expert_linear`. `read(e)` gives the weight of expert e, and is
/// called once for each that some token chooses.
llvm::Expected<HostTensor>
executeExperts(ExpertLinearOp op, const HostTensor &input,
               const HostTensor &choices,
               llvm::function_ref<llvm::Expected<WeightMatrix>(int64_t)> read);

/// Computes `nju.embedding`.
llvm::Expected<HostTensor> executeEmbedding(EmbeddingOp op,
                                            const WeightMatrix &weight,
                                            const HostTensor &indices);

} // namespace nju

#endif // NJU_EXECUTION_EXECUTEOP_H
