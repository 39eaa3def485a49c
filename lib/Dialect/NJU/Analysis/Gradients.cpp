//===- Gradients.cpp - Gradients of nju ops -------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/NJU/Analysis/Gradients.h"

#include "GradientsImpl.h"

using namespace mlir;
using namespace nju;
using namespace nju::detail;

bool nju::hasGradient(Operation *op, unsigned index) {
  // Of all operands that are activations.
  if (isa<AbsOp, AddOp, AtanOp, CastOp, ConcatOp, CosOp, DivOp, ErfOp, ExpOp,
          GeluOp, LogOp, MatMulOp, MaxOp, MinOp, MulOp, NegOp, ReciprocalOp,
          ReluOp, RsqrtOp, SigmoidOp, SiluOp, SinOp, SoftmaxOp, SoftplusOp,
          SqrtOp, SubOp, SwiGLUOp, TanhOp>(op))
    return true;
  // Of the first one.
  if (isa<BroadcastToOp, GatherOp, LayerNormOp, PowOp, RMSNormOp, ReduceMeanOp,
          ReduceSumOp, ReshapeOp, RopeOp, SliceOp, SqueezeOp, TileOp,
          TransposeOp, UnsqueezeOp>(op))
    return index == 0;
  if (isa<AttentionOp, CachedAttentionOp>(op))
    return index < 3;
  return isa<SelectOp>(op) && index > 0;
}

FailureOr<SmallVector<HostTensor>>
nju::gradientOp(Operation *op, ArrayRef<HostTensor> operands,
                const HostTensor &result, const HostTensor &gradient,
                ArrayRef<bool> wanted, std::string &reason) {
  SmallVector<HostTensor> results(operands.size());
  GradientRequest request{op,     operands, result, gradient,
                          wanted, reason,   results};
  if (!gradient.getElementType().isF32() || !result.getElementType().isF32())
    return request.fail("a gradient of elements that are not f32");
  for (size_t i = 0; i < operands.size(); ++i) {
    if (!wanted[i])
      continue;
    if (!operands[i].getElementType().isF32() || !hasGradient(op, i))
      return request.fail("no gradient is known");
    results[i] =
        HostTensor(operands[i].getElementType(), operands[i].getShape());
  }
  for (auto *family :
       {gradientElementwise, gradientShape, gradientIndexing, gradientReduction,
        gradientMatMul, gradientNormalization, gradientAttention})
    if (GradientResult done = family(request)) {
      if (failed(*done))
        return failure();
      return results;
    }
  return request.fail("no gradient is known");
}
