//===- Losses.h - What refinement minimizes ---------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_REFINEMENT_LOSSES_H
#define NJU_LIB_REFINEMENT_LOSSES_H

#include "llvm/ADT/ArrayRef.h"
#include <cstdint>

namespace nju {

/// The squared difference of two tensors as a sum over all elements. With a
/// `gradient`, that of `factor` times it with respect to `values` is written.
double getSquaredError(llvm::ArrayRef<float> targets,
                       llvm::ArrayRef<float> values, double factor = 1,
                       float *gradient = nullptr);

/// The Kullback-Leibler divergence of softmax(values) from softmax(targets), in
/// nats, as a sum over rows of `columns` logits. With a `gradient`, that of
/// `factor` times it with respect to `values` is written.
double getDivergence(llvm::ArrayRef<float> targets,
                     llvm::ArrayRef<float> values, int64_t columns,
                     double factor = 1, float *gradient = nullptr);

} // namespace nju

#endif // NJU_LIB_REFINEMENT_LOSSES_H
