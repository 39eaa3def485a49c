//===- BasisFit.cpp - Fits the basis of a matrix --------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "BasisFit.h"

#include "Tile.h"
#include "nju/Quantization/Baselines.h"
#include "nju/Quantization/LowRank.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Parallel.h"
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

using namespace nju::lcq;
using llvm::ArrayRef;

namespace {

constexpr int64_t kSampledWeights = int64_t(1) << 19;
constexpr int64_t kSampledTiles = 32;
/// Batches that add up their part of the normal equations: the parts are added
/// in order, so that the sum does not depend on the threads.
constexpr int64_t kBatchesOfChunk = 16;
constexpr int kRounds = 5, kRoundsAfterSearch = 2, kPowerSteps = 15;
constexpr unsigned kMaxLevels = 16;

/// The normal equations of the basis rows at each code.
struct BasisSums {
  double matrix[kMaxLevels][kMaxRank][kMaxRank] = {};
  double right[kMaxLevels][kMaxRank] = {};

  void add(const BasisSums &other) {
    auto *to = reinterpret_cast<double *>(this);
    auto *from = reinterpret_cast<const double *>(&other);
    for (size_t i = 0; i < sizeof(*this) / sizeof(double); ++i)
      to[i] += from[i];
  }
};

class BasisFitter {
public:
  BasisFitter(const LCQOptions &options)
      : options(options), levels(options.getLevels()) {}

  llvm::Error sample(const WeightRows &weights, ArrayRef<float> importance);
  Basis fit();

private:
  struct Sample {
    std::vector<float> weights, importance;
    int64_t columns;
    GroupParameters parameters;
  };

  llvm::Expected<std::vector<float>>
  chooseBatches(const WeightRows &weights, ArrayRef<float> importance) const;
  void addSample(const Tile &tile, int64_t g, float count,
                 ArrayRef<float> importance);
  GroupBatch getBatch(const Sample &sample) const;
  /// Calls `body(index of sample)` on several threads.
  template <typename Body>
  void forEachSample(Body body) {
    llvm::parallelFor(0, samples.size(), body);
  }

  void alternate(int rounds, bool start);
  void search();
  void addRank();
  void rotateToPrincipalAxes();
  void addSums(const Sample &sample, const CodeSums &sums,
               BasisSums &out) const;
  void solveBasis(const BasisSums &sums);
  void normalize();
  std::vector<double> getInitialBasis(bool isFirst) const;
  Basis roundToInt8() const;

  const LCQOptions &options;
  unsigned levels, rank = 0;
  std::vector<Sample> samples;
  std::vector<float> basis; ///< [rank, levels]
};

} // namespace

/// What the weights of each group of each tile [tiles, groups] weigh in the
/// fit: their squares, by importance.
static llvm::Expected<std::vector<double>>
getEnergies(const WeightRows &weights, const LCQOptions &options,
            ArrayRef<float> importance) {
  int64_t columns = weights.getColumns(), groups = options.getGroups(columns);
  int64_t tiles = (weights.getRows() + kLanes - 1) / kLanes;
  std::vector<double> energies(tiles * groups);
  llvm::Error failed =
      forEachTiles(weights, [&](llvm::MutableArrayRef<Tile> read) {
        for (const Tile &tile : read) {
          double *out = energies.data() + tile.getFirstRow() / kLanes * groups;
          for (int64_t j = 0; j < columns; ++j)
            for (int64_t r = 0; r < tile.getRows(); ++r) {
              double w =
                  double(tile.getWeights()[j * kLanes + r]) * tile.getUnit(r);
              out[j / options.group] +=
                  w * w * (importance.empty() ? 1 : importance[j]);
            }
        }
      });
  if (failed)
    return std::move(failed);
  return energies;
}

/// How many batches each group of each tile [tiles, groups] stands for in the
/// sample, 0 where it is not in it.
llvm::Expected<std::vector<float>>
BasisFitter::chooseBatches(const WeightRows &weights,
                           ArrayRef<float> importance) const {
  int64_t columns = weights.getColumns(), groups = options.getGroups(columns);
  int64_t tiles = (weights.getRows() + kLanes - 1) / kLanes;
  int64_t sampledTiles = std::min(tiles, kSampledTiles);
  int64_t step = 1 + sampledTiles * kLanes * columns / kSampledWeights;
  std::vector<float> counts(tiles * groups);
  int64_t even = 0;
  for (int64_t i = 0; i < sampledTiles; ++i)
    for (int64_t g = i % step; g < groups; g += step, ++even)
      counts[i * tiles / sampledTiles * groups + g] = 1;
  if (even == int64_t(counts.size()))
    return counts;

  // A single weight can outweigh all others together: whoever weighs more than
  // one of the sample does on average is not left to chance.
  llvm::Expected<std::vector<double>> energies =
      getEnergies(weights, options, importance);
  if (!energies)
    return energies.takeError();
  double limit = std::accumulate(energies->begin(), energies->end(), 0.) /
                 std::max<int64_t>(even, 1);
  auto isHeavy = [&](size_t batch) { return (*energies)[batch] > limit; };
  int64_t heavy = 0, lightInSample = 0;
  for (size_t batch = 0; batch < counts.size(); ++batch) {
    heavy += isHeavy(batch);
    lightInSample += !isHeavy(batch) && counts[batch] > 0;
  }
  if (heavy == 0)
    return counts;
  float represented =
      float(counts.size() - heavy) / float(std::max<int64_t>(lightInSample, 1));
  for (size_t batch = 0; batch < counts.size(); ++batch)
    counts[batch] = isHeavy(batch) ? 1 : counts[batch] * represented;
  return counts;
}

void BasisFitter::addSample(const Tile &tile, int64_t g, float count,
                            ArrayRef<float> importance) {
  Sample sample;
  int64_t begin = g * options.group;
  sample.columns = std::min(options.group, tile.getColumns() - begin);
  const float *first = tile.getWeights() + begin * kLanes;
  sample.weights.assign(first, first + sample.columns * kLanes);
  // Tiles are scaled row by row; the basis counts all rows as they are.
  for (size_t w = 0; w < sample.weights.size(); ++w)
    sample.weights[w] *= tile.getUnit(w % kLanes);
  if (!importance.empty()) {
    ArrayRef<float> part = importance.slice(begin, sample.columns);
    sample.importance.assign(part.begin(), part.end());
  } else if (count != 1) {
    sample.importance.assign(sample.columns, 1);
  }
  for (float &d : sample.importance)
    d *= count;
  samples.push_back(std::move(sample));
}

llvm::Error BasisFitter::sample(const WeightRows &weights,
                                ArrayRef<float> importance) {
  llvm::Expected<std::vector<float>> counts =
      chooseBatches(weights, importance);
  if (!counts)
    return counts.takeError();
  int64_t groups = options.getGroups(weights.getColumns());
  for (size_t first = 0; first < counts->size(); first += groups) {
    ArrayRef<float> ofTile = ArrayRef<float>(*counts).slice(first, groups);
    if (llvm::all_of(ofTile, [](float count) { return count == 0; }))
      continue;
    llvm::Expected<Tile> tile = readTile(weights, first / groups * kLanes);
    if (!tile)
      return tile.takeError();
    for (int64_t g = 0; g < groups; ++g)
      if (ofTile[g] > 0)
        addSample(*tile, g, ofTile[g], importance);
  }
  float magnitude = 0;
  for (const Sample &sample : samples)
    for (float w : sample.weights)
      magnitude = std::max(magnitude, std::abs(w));
  int exponent;
  std::frexp(magnitude, &exponent);
  float inverse = std::ldexp(1.f, std::clamp(-exponent, -126, 126));
  for (Sample &sample : samples)
    for (float &w : sample.weights)
      w *= inverse;
  return llvm::Error::success();
}

GroupBatch BasisFitter::getBatch(const Sample &sample) const {
  GroupBatch batch;
  batch.levels = levels;
  batch.rank = rank;
  batch.hasOffset = options.offset;
  batch.basis = basis.data();
  batch.columns = sample.columns;
  batch.weights = sample.weights.data();
  batch.importance =
      sample.importance.empty() ? nullptr : sample.importance.data();
  return batch;
}

std::vector<double> BasisFitter::getInitialBasis(bool isFirst) const {
  std::vector<double> row(levels);
  for (unsigned l = 0; l < levels; ++l)
    row[l] = getNormalQuantile((l + 0.5) / levels);
  // What a symmetric basis lacks most: a bend, and different tails.
  if (!isFirst)
    for (double &v : row)
      v = v * v - 1 + 0.3 * v * (v * v - 3);
  double largest = 0;
  for (double v : row)
    largest = std::max(largest, std::abs(v));
  for (double &v : row)
    v /= largest;
  return row;
}

//===----------------------------------------------------------------------===//
// Alternating least squares
//===----------------------------------------------------------------------===//

void BasisFitter::addSums(const Sample &sample, const CodeSums &sums,
                          BasisSums &out) const {
  const GroupParameters &p = sample.parameters;
  for (unsigned l = 0; l < levels; ++l)
    for (int lane = 0; lane < kLanes; ++lane) {
      double count = sums.count[l][lane];
      // w ~ s v - b, so s v ~ w + b.
      double sum = sums.sum[l][lane] + count * p.offset[lane];
      for (unsigned i = 0; i < rank; ++i) {
        double scale = p.scales[i][lane];
        out.right[l][i] += scale * sum;
        for (unsigned j = 0; j <= i; ++j)
          out.matrix[l][i][j] += count * scale * p.scales[j][lane];
      }
    }
}

/// Solves a x = y for the lower triangle `a` of a matrix that is positive, or
/// nearly so. False where nothing determines x.
static bool solveSmall(double (&a)[kMaxRank][kMaxRank], double (&y)[kMaxRank],
                       unsigned size) {
  constexpr double kRidge = 1e-5;
  for (unsigned i = 0; i < size; ++i) {
    a[i][i] *= 1 + kRidge;
    for (unsigned j = 0; j <= i; ++j) {
      for (unsigned k = 0; k < j; ++k)
        a[i][j] -= a[i][k] * a[j][k];
      if (i == j && !(a[i][i] > 0))
        return false;
      a[i][j] = i == j ? std::sqrt(a[i][i]) : a[i][j] / a[j][j];
    }
    for (unsigned k = 0; k < i; ++k)
      y[i] -= a[i][k] * y[k];
    y[i] /= a[i][i];
  }
  for (unsigned i = size; i-- > 0;) {
    for (unsigned k = i + 1; k < size; ++k)
      y[i] -= a[k][i] * y[k];
    y[i] /= a[i][i];
  }
  return true;
}

void BasisFitter::solveBasis(const BasisSums &sums) {
  for (unsigned l = 0; l < levels; ++l) {
    double matrix[kMaxRank][kMaxRank], right[kMaxRank];
    std::memcpy(matrix, sums.matrix[l], sizeof(matrix));
    std::memcpy(right, sums.right[l], sizeof(right));
    // A code that no weight has keeps its codeword.
    if (solveSmall(matrix, right, rank))
      for (unsigned k = 0; k < rank; ++k)
        basis[k * levels + l] = right[k];
  }
  normalize();
}

/// Makes 1 the largest magnitude of each row of the basis, and of rank 1 an
/// ascending row.
void BasisFitter::normalize() {
  float largest[kMaxRank];
  for (unsigned k = 0; k < rank; ++k) {
    float *row = basis.data() + k * levels;
    largest[k] = 0;
    for (unsigned l = 0; l < levels; ++l)
      largest[k] = std::max(largest[k], std::abs(row[l]));
    if (largest[k] == 0)
      largest[k] = 1;
    for (unsigned l = 0; l < levels; ++l)
      row[l] /= largest[k];
  }
  if (rank == 1)
    std::sort(basis.begin(), basis.end());
  for (Sample &sample : samples)
    for (unsigned k = 0; k < rank; ++k)
      for (float &scale : sample.parameters.scales[k])
        scale *= largest[k];
}

void BasisFitter::alternate(int rounds, bool start) {
  int64_t chunks = (samples.size() + kBatchesOfChunk - 1) / kBatchesOfChunk;
  std::vector<BasisSums> parts(chunks);
  for (int round = 0; round < rounds; ++round) {
    FitPlan plan{start && round == 0, 1, false};
    llvm::parallelFor(0, chunks, [&](size_t chunk) {
      parts[chunk] = BasisSums();
      size_t end =
          std::min<size_t>(samples.size(), (chunk + 1) * kBatchesOfChunk);
      for (size_t i = chunk * kBatchesOfChunk; i < end; ++i) {
        CodeSums sums;
        float errors[kLanes];
        fitGroups(getBatch(samples[i]), plan, samples[i].parameters, errors,
                  &sums);
        addSums(samples[i], sums, parts[chunk]);
      }
    });
    BasisSums all;
    for (const BasisSums &part : parts)
      all.add(part);
    solveBasis(all);
  }
}

void BasisFitter::search() {
  forEachSample([&](size_t i) {
    float errors[kLanes];
    fitGroups(getBatch(samples[i]), FitPlan{false, 1, true},
              samples[i].parameters, errors, nullptr);
  });
}

//===----------------------------------------------------------------------===//
// Ranks
//===----------------------------------------------------------------------===//

/// Adds the row that takes most of what is left: the first singular vector of
/// (mean weight of a code - its codeword), weighted by how many weights have
/// the code, by power iteration.
void BasisFitter::addRank() {
  if (rank == 0) {
    for (double v : getInitialBasis(true))
      basis.push_back(v);
    rank = 1;
    return;
  }
  // What the codewords lack, times the count, and the count: [16, 2 * levels].
  std::vector<CodeSums> sums(samples.size());
  forEachSample([&](size_t i) {
    float errors[kLanes];
    GroupParameters &p = samples[i].parameters;
    fitGroups(getBatch(samples[i]), FitPlan{false, 1, false}, p, errors,
              &sums[i]);
    for (unsigned l = 0; l < levels; ++l)
      for (int lane = 0; lane < kLanes; ++lane) {
        float codeword = -p.offset[lane];
        for (unsigned k = 0; k < rank; ++k)
          codeword += p.scales[k][lane] * basis[k * levels + l];
        sums[i].sum[l][lane] -= sums[i].count[l][lane] * codeword;
      }
  });
  std::vector<double> row = getInitialBasis(false);
  for (int step = 0; step < kPowerSteps; ++step) {
    std::vector<double> above(levels), below(levels);
    for (size_t i = 0; i < samples.size(); ++i)
      for (int lane = 0; lane < kLanes; ++lane) {
        double numerator = 0, denominator = 0;
        for (unsigned l = 0; l < levels; ++l) {
          numerator += sums[i].sum[l][lane] * row[l];
          denominator += sums[i].count[l][lane] * row[l] * row[l];
        }
        double scale = denominator > 0 ? numerator / denominator : 0;
        samples[i].parameters.scales[rank][lane] = scale;
        for (unsigned l = 0; l < levels; ++l) {
          above[l] += scale * sums[i].sum[l][lane];
          below[l] += scale * scale * sums[i].count[l][lane];
        }
      }
    double largest = 0;
    for (unsigned l = 0; l < levels; ++l) {
      row[l] = below[l] > 0 ? above[l] / below[l] : 0;
      largest = std::max(largest, std::abs(row[l]));
    }
    for (double &v : row)
      v /= largest > 0 ? largest : 1;
  }
  basis.insert(basis.end(), row.begin(), row.end());
  ++rank;
}

/// Replaces the basis by one of the same codebooks whose rows are orthogonal
/// and ordered by what they carry, so that int8 serves all of them.
void BasisFitter::rotateToPrincipalAxes() {
  double products[kMaxRank][kMaxRank] = {};
  for (const Sample &sample : samples)
    for (unsigned i = 0; i < rank; ++i)
      for (unsigned j = 0; j < rank; ++j)
        for (int lane = 0; lane < kLanes; ++lane)
          products[i][j] += double(sample.parameters.scales[i][lane]) *
                            sample.parameters.scales[j][lane];
  std::vector<double> gram(levels * levels);
  for (unsigned l = 0; l < levels; ++l)
    for (unsigned m = 0; m < levels; ++m)
      for (unsigned i = 0; i < rank; ++i)
        for (unsigned j = 0; j < rank; ++j)
          gram[l * levels + m] +=
              basis[i * levels + l] * products[i][j] * basis[j * levels + m];
  std::vector<double> axes = getPrincipalAxes(gram, levels, rank);
  basis.assign(axes.begin(), axes.end());
}

Basis BasisFitter::roundToInt8() const {
  Basis result;
  result.rank = rank;
  result.levels = levels;
  for (unsigned k = 0; k < rank; ++k) {
    ArrayRef<float> row = ArrayRef<float>(basis).slice(k * levels, levels);
    float largest = 0;
    for (float v : row)
      largest = std::max(largest, std::abs(v));
    for (float v : row)
      result.values.push_back(
          largest > 0 ? std::nearbyint(v * (kBasisMax / largest)) : 0);
  }
  return result;
}

Basis BasisFitter::fit() {
  while (rank < options.rank) {
    addRank();
    alternate(kRounds, /*start=*/rank == 1);
    search();
    alternate(kRoundsAfterSearch, /*start=*/false);
  }
  if (rank > 1)
    rotateToPrincipalAxes();
  return roundToInt8();
}

llvm::Expected<Basis> nju::lcq::fitBasis(const WeightRows &weights,
                                         const LCQOptions &options,
                                         ArrayRef<float> importance) {
  BasisFitter fitter(options);
  if (llvm::Error error = fitter.sample(weights, importance))
    return std::move(error);
  return fitter.fit();
}
