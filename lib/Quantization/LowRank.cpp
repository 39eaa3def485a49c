//===- LowRank.cpp - Codebooks of low rank --------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Quantization/LowRank.h"

#include "llvm/ADT/STLExtras.h"
#include <algorithm>
#include <cmath>
#include <numeric>

using llvm::ArrayRef;

/// Rotates rows and columns p and q of `a` so that a[p][q] becomes zero, and
/// rows p and q of `vectors`.
static void rotate(std::vector<double> &a, std::vector<double> &vectors,
                   unsigned size, unsigned p, unsigned q) {
  double off = a[p * size + q];
  if (off == 0)
    return;
  double theta = (a[q * size + q] - a[p * size + p]) / (2 * off);
  double t =
      (theta < 0 ? -1 : 1) / (std::abs(theta) + std::sqrt(theta * theta + 1));
  double c = 1 / std::sqrt(t * t + 1), s = t * c;
  auto turn = [&](double &x, double &y) {
    double old = x;
    x = c * old - s * y;
    y = s * old + c * y;
  };
  for (unsigned i = 0; i < size; ++i)
    turn(a[i * size + p], a[i * size + q]);
  for (unsigned i = 0; i < size; ++i)
    turn(a[p * size + i], a[q * size + i]);
  for (unsigned i = 0; i < size; ++i)
    turn(vectors[p * size + i], vectors[q * size + i]);
}

std::vector<double> nju::lcq::getPrincipalAxes(ArrayRef<double> matrix,
                                               unsigned size, unsigned rank) {
  // Jacobi's method: for the few rows of a codebook there is none simpler.
  constexpr int kSweeps = 12;
  std::vector<double> a(matrix.begin(), matrix.end());
  std::vector<double> vectors(size * size);
  for (unsigned i = 0; i < size; ++i)
    vectors[i * size + i] = 1;
  for (int sweep = 0; sweep < kSweeps; ++sweep)
    for (unsigned p = 0; p < size; ++p)
      for (unsigned q = p + 1; q < size; ++q)
        rotate(a, vectors, size, p, q);

  std::vector<unsigned> order(size);
  std::iota(order.begin(), order.end(), 0);
  llvm::sort(order, [&](unsigned x, unsigned y) {
    double left = a[x * size + x], right = a[y * size + y];
    return left != right ? left > right : x < y;
  });
  std::vector<double> axes;
  for (unsigned k = 0; k < rank; ++k) {
    ArrayRef<double> axis =
        ArrayRef<double>(vectors).slice(order[k] * size, size);
    double largest =
        *std::max_element(axis.begin(), axis.end(), [](double x, double y) {
          return std::abs(x) < std::abs(y);
        });
    for (double value : axis)
      axes.push_back(largest < 0 ? -value : value);
  }
  return axes;
}

std::vector<double> nju::lcq::factorizeCodebooks(ArrayRef<double> codebooks,
                                                 int64_t groups,
                                                 unsigned levels, unsigned rank,
                                                 std::vector<double> &scales) {
  std::vector<double> gram(levels * levels);
  for (int64_t g = 0; g < groups; ++g)
    for (unsigned i = 0; i < levels; ++i)
      for (unsigned j = 0; j < levels; ++j)
        gram[i * levels + j] +=
            codebooks[g * levels + i] * codebooks[g * levels + j];
  std::vector<double> basis = getPrincipalAxes(gram, levels, rank);
  // The axes are orthonormal: coordinates are inner products.
  scales.assign(rank * groups, 0);
  for (unsigned k = 0; k < rank; ++k)
    for (int64_t g = 0; g < groups; ++g)
      for (unsigned l = 0; l < levels; ++l)
        scales[k * groups + g] +=
            codebooks[g * levels + l] * basis[k * levels + l];
  return basis;
}
