//===- GroupFit.cpp - Fits the scales of 16 groups at once ----------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GroupFit.h"

#include <cstring>

using namespace nju::lcq;

namespace {

/// Everything below is inlined to the variants for processors; a function of
/// its own would be compiled for the least of them.
#define NJU_INLINE inline __attribute__((always_inline))

/// A lane for each group; the compiler splits it where registers are narrower.
using Lanes = float __attribute__((vector_size(64)));
using Mask = int32_t __attribute__((vector_size(64)));
constexpr int kMaxScales = 3, kMaxParameters = 4;
/// What is added to the diagonal of the normal equations, relative to it.
constexpr float kRidge = 1e-5f;
/// Multiples of the scales that the search tries.
constexpr float kMultiples[] = {0.7f,  0.8f,  0.88f, 0.94f,
                                1.06f, 1.12f, 1.2f,  1.35f};
/// Parts of the first scale that the search adds to another.
constexpr float kSteps[] = {-0.4f, -0.15f, 0.15f, 0.4f};

NJU_INLINE Lanes load(const float *from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof(lanes));
  return lanes;
}
NJU_INLINE void store(float *to, const Lanes &lanes) {
  std::memcpy(to, &lanes, sizeof(lanes));
}
NJU_INLINE Lanes splat(float value) { return Lanes{} + value; }

/// Fits one batch. `Width` is the number of lanes of a register.
template <int Levels, int Width>
class Fitter {
public:
  NJU_INLINE explicit Fitter(const GroupBatch &batch)
      : batch(batch), rank(batch.rank), parameters(rank + batch.hasOffset) {
    for (int64_t j = 0; j < batch.columns; ++j) {
      Lanes w = load(batch.weights + j * batch.stride);
      float d = batch.importance ? batch.importance[j] : 1;
      total += d;
      sum += d * w;
      square += d * w * w;
    }
  }

  /// Scales with which the codebook reaches the largest magnitude, whose sign
  /// they have.
  NJU_INLINE void start() {
    offset = Lanes{};
    if (batch.hasOffset)
      offset = -sum / (total > 0 ? total : splat(1));
    Lanes low{}, high{};
    for (int64_t j = 0; j < batch.columns; ++j) {
      Lanes w = load(batch.weights + j * batch.stride) + offset;
      low = w < low ? w : low;
      high = w > high ? w : high;
    }
    float bottom = batch.basis[0], top = batch.basis[0];
    for (int l = 1; l < Levels; ++l) {
      bottom = batch.basis[l] < bottom ? batch.basis[l] : bottom;
      top = batch.basis[l] > top ? batch.basis[l] : top;
    }
    float reach = top > -bottom ? top : bottom;
    scales[0] = (high > -low ? high : low) / reach;
    for (unsigned k = 1; k < rank; ++k)
      scales[k] = Lanes{};
  }

  NJU_INLINE void setParameters(const GroupParameters &from) {
    for (unsigned k = 0; k < rank; ++k)
      scales[k] = load(from.scales[k]);
    offset = load(from.offset);
  }
  NJU_INLINE void getParameters(GroupParameters &to) const {
    for (unsigned k = 0; k < rank; ++k)
      store(to.scales[k], scales[k]);
    store(to.offset, offset);
  }

  /// Assigns codes and solves for the scales; returns the errors after it.
  NJU_INLINE Lanes round() {
    sortCodewords();
    countCodes();
    return solve();
  }

  /// Tries multiples of the scales, then other proportions between them;
  /// `error` is that of the scales as they are.
  NJU_INLINE void search(Lanes &error) {
    for (unsigned k = 0; k < rank; ++k)
      base[k] = best[k] = scales[k];
    baseOffset = bestOffset = offset;
    for (float multiple : kMultiples) {
      for (unsigned k = 0; k < rank; ++k)
        scales[k] = base[k] * multiple;
      offset = baseOffset;
      tryRound(error);
    }
    // The first scale is about right now, the others may have begun at zero.
    for (unsigned moved = 1; moved < rank; ++moved) {
      for (unsigned k = 0; k < rank; ++k)
        base[k] = best[k];
      baseOffset = bestOffset;
      for (float step : kSteps) {
        for (unsigned k = 0; k < rank; ++k)
          scales[k] = base[k];
        scales[moved] += step * base[0];
        offset = baseOffset;
        tryRound(error);
      }
    }
    for (unsigned k = 0; k < rank; ++k)
      scales[k] = best[k];
    offset = bestOffset;
  }

  NJU_INLINE void getSums(CodeSums &sums) const {
    for (int l = 0; l < Levels; ++l)
      for (int lane = 0; lane < kLanes; ++lane) {
        int code = codes[l][lane];
        sums.count[code][lane] = count[l][lane];
        sums.sum[code][lane] = codeSum[l][lane];
      }
  }

private:
  /// Keeps in `best` what a round makes of the scales, where that is better.
  NJU_INLINE void tryRound(Lanes &error) {
    Lanes found = round();
    Mask better = found < error;
    error = better ? found : error;
    bestOffset = better ? offset : bestOffset;
    for (unsigned k = 0; k < rank; ++k)
      best[k] = better ? scales[k] : best[k];
  }

  NJU_INLINE void exchange(Lanes &a, Lanes &b, Mask swap) {
    Lanes x = a, y = b;
    a = swap ? y : x;
    b = swap ? x : y;
  }

  /// Fills `values`, `codes` and `thresholds` in the order of the codewords.
  NJU_INLINE void sortCodewords() {
    Lanes codewords[Levels];
    for (int l = 0; l < Levels; ++l) {
      codes[l] = splat(l);
      codewords[l] = Lanes{};
      for (unsigned k = 0; k < rank; ++k) {
        values[k][l] = splat(batch.basis[k * Levels + l]);
        codewords[l] += scales[k] * values[k][l];
      }
    }
    if (rank == 1) {
      // The basis ascends, or with a negative scale descends.
      Mask swap = scales[0] < 0;
      for (int l = 0; l < Levels / 2; ++l) {
        exchange(codewords[l], codewords[Levels - 1 - l], swap);
        exchange(values[0][l], values[0][Levels - 1 - l], swap);
        exchange(codes[l], codes[Levels - 1 - l], swap);
      }
    } else {
      sortByNetwork(codewords);
    }
    for (int l = 0; l + 1 < Levels; ++l)
      thresholds[l] = (codewords[l] + codewords[l + 1]) * 0.5f - offset;
  }

  /// Batcher's odd-even merge sort.
  NJU_INLINE void sortByNetwork(Lanes *codewords) {
    for (int p = 1; p < Levels; p *= 2)
      for (int k = p; k >= 1; k /= 2)
        for (int j = k % p; j + k < Levels; j += 2 * k)
          for (int i = j; i < j + k && i + k < Levels; ++i)
            if (i / (2 * p) == (i + k) / (2 * p)) {
              Mask swap = codewords[i] > codewords[i + k];
              exchange(codewords[i], codewords[i + k], swap);
              exchange(codes[i], codes[i + k], swap);
              for (unsigned r = 0; r < rank; ++r)
                exchange(values[r][i], values[r][i + k], swap);
            }
  }

  /// Importance and weighted sum of the weights above each threshold, a few
  /// thresholds and `Width` lanes at a time, so that all stays in registers.
  template <int Block>
  NJU_INLINE void countAbove(int first, Lanes *above, Lanes *sumAbove) const {
    using Part = float __attribute__((vector_size(Width * 4)));
    using PartMask = int32_t __attribute__((vector_size(Width * 4)));
    for (int lane = 0; lane < kLanes; lane += Width) {
      Part limit[Block], n[Block] = {}, m[Block] = {};
      for (int i = 0; i < Block; ++i)
        std::memcpy(&limit[i],
                    reinterpret_cast<const float *>(&thresholds[first + i]) +
                        lane,
                    sizeof(Part));
      for (int64_t j = 0; j < batch.columns; ++j) {
        Part w;
        std::memcpy(&w, batch.weights + j * batch.stride + lane, sizeof(Part));
        Part d = Part{} + (batch.importance ? batch.importance[j] : 1.f);
        Part product = batch.importance ? d * w : w;
        for (int i = 0; i < Block; ++i) {
          PartMask mask = w > limit[i];
          if constexpr (Width == kLanes) {
            // One masked addition each.
            n[i] = mask ? n[i] + d : n[i];
            m[i] = mask ? m[i] + product : m[i];
          } else {
            n[i] += Part(mask & PartMask(d));
            m[i] += Part(mask & PartMask(product));
          }
        }
      }
      for (int i = 0; i < Block; ++i) {
        std::memcpy(reinterpret_cast<float *>(&above[first + i]) + lane, &n[i],
                    sizeof(Part));
        std::memcpy(reinterpret_cast<float *>(&sumAbove[first + i]) + lane,
                    &m[i], sizeof(Part));
      }
    }
  }

  NJU_INLINE void countCodes() {
    Lanes above[Levels], sumAbove[Levels];
    constexpr int block = Levels == 16 ? 5 : Levels == 8 ? 7 : 3;
    static_assert((Levels - 1) % block == 0);
    for (int first = 0; first < Levels - 1; first += block)
      countAbove<block>(first, above, sumAbove);
    above[Levels - 1] = sumAbove[Levels - 1] = Lanes{};
    for (int l = 0; l < Levels; ++l) {
      count[l] = (l == 0 ? total : above[l - 1]) - above[l];
      codeSum[l] = (l == 0 ? sum : sumAbove[l - 1]) - sumAbove[l];
    }
  }

  /// Solves the normal equations of scales and offset for the present codes.
  NJU_INLINE Lanes solve() {
    Lanes matrix[kMaxParameters][kMaxParameters] = {},
          right[kMaxParameters] = {};
    for (int l = 0; l < Levels; ++l) {
      Lanes v[kMaxParameters];
      for (unsigned p = 0; p < parameters; ++p)
        v[p] = p < rank ? values[p][l] : splat(-1);
      for (unsigned p = 0; p < parameters; ++p) {
        right[p] += v[p] * codeSum[l];
        for (unsigned q = 0; q <= p; ++q)
          matrix[p][q] += count[l] * v[p] * v[q];
      }
    }
    Lanes solution[kMaxParameters];
    solveCholesky(matrix, right, solution);
    for (unsigned k = 0; k < rank; ++k)
      scales[k] = solution[k];
    if (batch.hasOffset)
      offset = solution[rank];
    // |w - F x|^2 = w'w - 2 x'F'w + x'F'F x.
    Lanes error = square;
    for (unsigned p = 0; p < parameters; ++p) {
      error -= 2 * solution[p] * right[p];
      for (unsigned q = 0; q <= p; ++q)
        error +=
            (p == q ? 1.f : 2.f) * solution[p] * solution[q] * matrix[p][q];
    }
    return error;
  }

  /// Solves with the lower triangle `matrix`; what nothing determines is zero.
  NJU_INLINE void solveCholesky(const Lanes matrix[][kMaxParameters],
                                const Lanes *right, Lanes *x) const {
    // Of one parameter exactly; else what is nearly dependent is held back.
    float ridge = parameters == 1 ? 0 : kRidge;
    Lanes factor[kMaxParameters][kMaxParameters], inverse[kMaxParameters];
    for (unsigned p = 0; p < parameters; ++p) {
      Lanes y = right[p];
      for (unsigned q = 0; q <= p; ++q) {
        Lanes a = matrix[p][q];
        if (p == q)
          a += ridge * a;
        for (unsigned i = 0; i < q; ++i)
          a -= factor[p][i] * factor[q][i] * inverse[i];
        factor[p][q] = a;
        if (q < p)
          y -= a * inverse[q] * x[q];
      }
      Lanes pivot = factor[p][p];
      Mask usable = pivot > 0.5f * ridge * matrix[p][p];
      inverse[p] = usable ? 1.f / (usable ? pivot : splat(1)) : Lanes{};
      x[p] = y;
    }
    for (unsigned p = parameters; p-- > 0;) {
      x[p] *= inverse[p];
      for (unsigned i = p + 1; i < parameters; ++i)
        x[p] -= factor[i][p] * inverse[p] * x[i];
    }
  }

  const GroupBatch &batch;
  unsigned rank, parameters;
  Lanes total{}, sum{}, square{};
  Lanes scales[kMaxScales], offset{};
  /// Of a search: where it began, and the best found.
  Lanes base[kMaxScales], baseOffset, best[kMaxScales], bestOffset;
  /// In the order of the codewords.
  Lanes values[kMaxScales][Levels], codes[Levels], thresholds[Levels];
  Lanes count[Levels], codeSum[Levels];
};

template <int Levels, int Width>
NJU_INLINE void fitBatch(const GroupBatch &batch, const FitPlan &plan,
                         GroupParameters &parameters, float *errors,
                         CodeSums *sums) {
  Fitter<Levels, Width> fitter(batch);
  if (plan.start)
    fitter.start();
  else
    fitter.setParameters(parameters);
  Lanes error{};
  for (int i = 0; i < plan.rounds; ++i)
    error = fitter.round();
  if (plan.search) {
    fitter.search(error);
    error = fitter.round();
  }
  fitter.getParameters(parameters);
  store(errors, error);
  if (sums)
    fitter.getSums(*sums);
}

template <int Width>
NJU_INLINE void fitAnyBatch(const GroupBatch &batch, const FitPlan &plan,
                            GroupParameters &parameters, float *errors,
                            CodeSums *sums) {
  if (batch.levels == 16)
    fitBatch<16, Width>(batch, plan, parameters, errors, sums);
  else if (batch.levels == 8)
    fitBatch<8, Width>(batch, plan, parameters, errors, sums);
  else
    fitBatch<4, Width>(batch, plan, parameters, errors, sums);
}

/// The codewords are the same for all columns; a few columns share their load.
NJU_INLINE void assignBatch(const GroupBatch &batch, const float *codewords,
                            uint8_t *codes, float *errors) {
  Lanes error{};
  for (int64_t j = 0; j < batch.columns; ++j) {
    Lanes w = load(batch.weights + j * batch.stride);
    Lanes best = load(codewords) - w;
    best = best < 0 ? -best : best;
    Mask code{};
    for (unsigned l = 1; l < batch.levels; ++l) {
      Lanes distance = load(codewords + l * kLanes) - w;
      distance = distance < 0 ? -distance : distance;
      Mask nearer = distance < best;
      best = nearer ? distance : best;
      code = nearer ? Mask{} + int(l) : code;
    }
    error += best * best;
    for (int lane = 0; lane < kLanes; ++lane)
      codes[j * kLanes + lane] = code[lane];
  }
  store(errors, error);
}

//===----------------------------------------------------------------------===//
// Variants for processors
//===----------------------------------------------------------------------===//

#define NJU_DEFINE_VARIANT(NAME, ATTRIBUTE, WIDTH)                             \
  ATTRIBUTE void fit##NAME(const GroupBatch &batch, const FitPlan &plan,       \
                           GroupParameters &parameters, float *errors,         \
                           CodeSums *sums) {                                   \
    fitAnyBatch<WIDTH>(batch, plan, parameters, errors, sums);                 \
  }                                                                            \
  ATTRIBUTE void assign##NAME(const GroupBatch &batch, const float *codewords, \
                              uint8_t *codes, float *errors) {                 \
    assignBatch(batch, codewords, codes, errors);                              \
  }
#if defined(__x86_64__)
NJU_DEFINE_VARIANT(
    AVX512, __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq"))), 16)
NJU_DEFINE_VARIANT(AVX2, __attribute__((target("avx2"))), 8)
#endif
NJU_DEFINE_VARIANT(Baseline, , 4)
#undef NJU_DEFINE_VARIANT

} // namespace

llvm::ArrayRef<GroupKernels> nju::lcq::getGroupKernels() {
  static const GroupKernels all[] = {
#if defined(__x86_64__)
      {fitAVX512, assignAVX512},
      {fitAVX2, assignAVX2},
#endif
      {fitBaseline, assignBaseline}};
  static const size_t first = [] {
#if defined(__x86_64__)
    bool hasAVX512 = __builtin_cpu_supports("avx512f") &&
                     __builtin_cpu_supports("avx512vl") &&
                     __builtin_cpu_supports("avx512bw") &&
                     __builtin_cpu_supports("avx512dq");
    return hasAVX512 ? 0 : __builtin_cpu_supports("avx2") ? 1 : 2;
#else
    return 0;
#endif
  }();
  return llvm::ArrayRef<GroupKernels>(all).drop_front(first);
}

void nju::lcq::fitGroups(const GroupBatch &batch, const FitPlan &plan,
                         GroupParameters &parameters, float *errors,
                         CodeSums *sums) {
  getGroupKernels().front().fit(batch, plan, parameters, errors, sums);
}

void nju::lcq::assignCodes(const GroupBatch &batch, const float *codewords,
                           uint8_t *codes, float *errors) {
  getGroupKernels().front().assign(batch, codewords, codes, errors);
}
