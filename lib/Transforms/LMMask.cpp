//===- LMMask.cpp - Which tokens an attention sees -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What lies between the products of queries and keys and the softmax is
// evaluated with products that are all 0, all 1, all -3.5 and some more. From
// the results follow, for every pair of positions, whether the pair is masked,
// by what the product is scaled, whether it is capped, and what is added.
//
// The pairs of all tokens are evaluated some rows at a time, which needs little
// memory. Of very long sequences not all rows are: the first and the last ones,
// and some between them.
//
//===----------------------------------------------------------------------===//

#include "LMAttention.h"
#include "nju/Dialect/NJU/Analysis/RowEvaluator.h"
#include "llvm/ADT/Hashing.h"
#include "llvm/ADT/SetVector.h"
#include <array>
#include <cmath>

using namespace mlir;
using namespace nju;

namespace {

/// Scores this far below others have no weight: exp(-1e4) is zero in f32.
constexpr double kMasked = -1e4;
/// Products. Caps show where they are about as large: 0.1 to 3 times the cap
/// for scales of 1/16 to 1 and caps of 15 to 100. f16 has all of them.
constexpr std::array<double, 6> kProbes = {0, 1, -3.5, 40, -500, 3e4};
constexpr size_t kLargest = kProbes.size() - 1;
using ProbeResults = std::array<double, kProbes.size()>;

/// Pairs of tokens that are evaluated at once, and in all.
constexpr int64_t kPairsAtOnce = int64_t(1) << 18;
constexpr int64_t kPairs = int64_t(1) << 24;

/// Weights for the products, each `[heads or 1, rows, total]`: `count` rows of
/// new tokens from the `first` on.
struct Probes {
  std::array<HostTensor, kProbes.size()> weights;
  int64_t heads = 1;
  LMLength length;
  int64_t first = 0, count = 0;
};

/// Collects what is known of one mask from all lengths.
class Classifier {
public:
  explicit Classifier(LMAttention &attention) : attention(attention) {
    if (!attention.products)
      scale = 1.0;
  }

  /// Why the mask is not one that the cache can serve; empty if it is.
  std::string add(const Probes &probes) {
    for (int64_t head = 0; head < probes.heads; ++head)
      for (int64_t i = 0; i < probes.count; ++i) {
        std::string problem = addRow(probes, head, i);
        if (!problem.empty())
          return problem;
      }
    return "";
  }

  void finish() {
    if (attention.products)
      attention.scale = scale.value_or(1.0);
    attention.softcap = softcap;
    if (exactWindow)
      attention.window = *exactWindow;
    bool hasSlopes =
        llvm::any_of(slopes, [](auto s) { return s && *s != 0.0; });
    if (!hasSlopes)
      return;
    for (int64_t head = 0; head < attention.heads; ++head)
      attention.slopes.push_back(static_cast<float>(
          slopes[slopes.size() == 1 ? 0 : head].value_or(0.0)));
  }

private:
  LMAttention &attention;
  std::optional<double> scale, softcap;
  /// The window is at least the first and, if known, exactly the second.
  int64_t leastWindow = 1;
  std::optional<int64_t> exactWindow;
  SmallVector<std::optional<double>> slopes;

  std::string describe(int64_t query, int64_t key, const Twine &what) {
    return ("its mask " + what + " (query " + Twine(query) + ", key " +
            Twine(key) + ")")
        .str();
  }

  std::string addRow(const Probes &probes, int64_t head, int64_t row) {
    int64_t total = probes.length.total();
    int64_t position = probes.length.past + probes.first + row;
    int64_t offset = (head * probes.count + row) * total;
    auto at = [&](int probe, int64_t key) {
      return static_cast<double>(
          probes.weights[probe].elements<float>()[offset + key]);
    };
    double self = at(0, position);
    auto isMasked = [&](int64_t key) {
      if (attention.causal && key > position)
        return true;
      return at(0, key) - self <= kMasked &&
             at(1, key) - at(1, position) <= kMasked &&
             at(2, key) - at(2, position) <= kMasked;
    };
    if (!std::isfinite(self) || self <= kMasked)
      return describe(position, position, "hides a token from itself");
    for (int64_t key = position + 1; key < total; ++key)
      if (!isMasked(key))
        return describe(position, key, "shows a later token");
    int64_t first = position;
    while (first > 0 && !isMasked(first - 1))
      --first;
    for (int64_t key = 0; key < first; ++key)
      if (!isMasked(key))
        return describe(position, key, "has a gap before");
    std::string problem = addWindow(position, first);
    for (int64_t key = first; key <= position && problem.empty(); ++key)
      problem = addVisible(
          head, position, key, [&](size_t probe) { return at(probe, key); },
          self, probes.heads);
    return problem;
  }

  std::string addWindow(int64_t position, int64_t first) {
    int64_t size = position - first + 1;
    if (first == 0) {
      leastWindow = std::max(leastWindow, size);
    } else if (exactWindow.value_or(size) != size) {
      return describe(position, first, "has a window of changing size");
    } else {
      exactWindow = size;
    }
    if (exactWindow && leastWindow > *exactWindow)
      return describe(position, first, "has a window of changing size");
    return "";
  }

  /// `added`: what was added to the numbers before they were rounded to f32.
  static bool areClose(double a, double b, double added = 0) {
    return std::abs(a - b) <= 1e-5 * std::max({1.0, std::abs(a), std::abs(b)}) +
                                  5e-7 * std::abs(added);
  }

  /// What becomes of a product.
  double apply(double product) const {
    double scaled = *scale * product;
    return softcap ? *softcap * std::tanh(scaled / *softcap) : scaled;
  }

  /// Finds scale and cap from what became of the products 1 and the largest.
  void findScale(const ProbeResults &results) {
    double one = results[1], most = std::abs(results[kLargest]);
    scale = one;
    if (areClose(most, std::abs(one) * kProbes[kLargest]) || !(most > 0) ||
        !std::isfinite(most))
      return;
    // A larger cap goes with less scale and a larger result: bisection.
    double low = most, high = 1e6 * most;
    for (int i = 0; i < 200; ++i) {
      softcap = (low + high) / 2;
      scale = *softcap * std::atanh(one / *softcap);
      (std::abs(apply(kProbes[kLargest])) < most ? low : high) = *softcap;
    }
  }

  std::string addScale(const ProbeResults &results, double added) {
    if (!scale)
      findScale(results);
    for (auto [product, result] : llvm::zip(kProbes, results))
      if (!areClose(result, apply(product), added))
        return "does not scale all products alike";
    return "";
  }

  std::string addVisible(int64_t head, int64_t position, int64_t key,
                         llvm::function_ref<double(size_t)> at, double self,
                         int64_t heads) {
    double added = at(0);
    if (attention.products) {
      ProbeResults results;
      for (auto [i, result] : llvm::enumerate(results))
        result = at(i) - added;
      if (std::string problem = addScale(results, added); !problem.empty())
        return describe(position, key, problem);
    }
    slopes.resize(heads);
    std::optional<double> &slope = slopes[head];
    if (key == position)
      return "";
    if (!slope)
      slope = (added - self) / static_cast<double>(key - position);
    if (!areClose(added - self, *slope * static_cast<double>(key - position)))
      return describe(position, key, "adds numbers that no slope explains");
    return "";
  }
};

class MaskAnalysis {
public:
  MaskAnalysis(LMGraph &graph, int64_t maxTokens)
      : graph(graph), lengths(graph.sampleLengths(maxTokens)) {}

  LogicalResult run(MutableArrayRef<LMAttention> attentions) {
    // Layers share masks: what is evaluated once serves all of them.
    llvm::DenseMap<Attribute, LMAttention *> known;
    for (LMAttention &attention : attentions) {
      Attribute key = keyOf(attention);
      if (LMAttention *same = known.lookup(key)) {
        if (attention.products)
          attention.scale = same->scale;
        attention.softcap = same->softcap;
        attention.window = same->window;
        attention.slopes = same->slopes;
        continue;
      }
      if (failed(analyze(attention)))
        return failure();
      known[key] = &attention;
    }
    return success();
  }

  /// True if the masks can be computed for the full length.
  bool fits(ArrayRef<LMAttention> attentions) {
    llvm::DenseSet<Attribute> known;
    for (const LMAttention &attention : attentions) {
      std::string reason;
      auto ignore = [](const Probes &) { return std::string(); };
      if (known.insert(keyOf(attention)).second &&
          failed(probe(attention, lengths.front(), ignore, reason)))
        return false;
    }
    return true;
  }

private:
  LMGraph &graph;
  SmallVector<LMLength> lengths;
  llvm::DenseMap<Value, int64_t> numbers;

  /// Equal for attentions whose masks are computed alike from the same values.
  Attribute keyOf(const LMAttention &attention) {
    Builder builder(graph.getFunction().getContext());
    std::string text;
    llvm::raw_string_ostream os(text);
    llvm::DenseMap<Value, int64_t> inside;
    os << attention.causal << attention.heads << " ";
    if (!attention.products && attention.mask)
      os << numberOf(attention.mask);
    SmallVector<Attribute> attributes;
    if (attention.products)
      describe(attention.weights, attention.products, inside, os, attributes);
    attributes.push_back(builder.getStringAttr(text));
    return builder.getArrayAttr(attributes);
  }

  int64_t numberOf(Value value) {
    return numbers.try_emplace(value, numbers.size()).first->second;
  }

  void describe(Value value, Value products,
                llvm::DenseMap<Value, int64_t> &inside, llvm::raw_ostream &os,
                SmallVectorImpl<Attribute> &attributes) {
    if (!inside.try_emplace(value, inside.size()).second || value == products) {
      os << "v" << inside[value] << " ";
      return;
    }
    Operation *op = value.getDefiningOp();
    os << op->getName() << "(";
    attributes.push_back(op->getAttrDictionary());
    for (Value operand : op->getOperands())
      if (graph.isData(operand))
        describe(operand, products, inside, os, attributes);
      else
        os << numberOf(operand) << " ";
    os << ")";
  }

  LogicalResult analyze(LMAttention &attention) {
    Classifier classifier(attention);
    for (LMLength length : lengths) {
      std::string reason, problem;
      auto add = [&](const Probes &probes) {
        return problem = classifier.add(probes);
      };
      if (failed(probe(attention, length, add, reason)))
        return graph.refuse(attention.root->getLoc(),
                            "the mask of an attention cannot be computed for " +
                                Twine(length.tokens) + " tokens: " + reason);
      if (!problem.empty())
        return graph.refuse(attention.root->getLoc(),
                            "an attention is not causal: " + problem);
    }
    classifier.finish();
    return success();
  }

  /// Calls `use` with all rows that are looked at, until it finds a problem.
  using Use = llvm::function_ref<std::string(const Probes &)>;
  LogicalResult probe(const LMAttention &attention, LMLength length, Use use,
                      std::string &reason) {
    auto evaluator = graph.createEvaluator(length);
    RowEvaluator rows(*evaluator);
    SmallVector<int64_t> shape;
    if (attention.products) {
      // Masks are alike for all heads, mostly: try with one head first.
      shape = graph.shapeAt(attention.products, length);
      Probes probes = at(length, 0, 1);
      SmallVector<int64_t> oneHead(shape);
      std::fill(oneHead.begin(), oneHead.end() - 2, 1);
      if (succeeded(probeRows(attention, oneHead, rows, probes, reason)))
        shape = oneHead;
      rows.clear();
    }
    int64_t heads = 1;
    for (int64_t dim :
         ArrayRef<int64_t>(shape).drop_back(shape.empty() ? 0 : 2))
      heads *= dim;
    int64_t block = std::max<int64_t>(
        1, kPairsAtOnce / (length.total() * std::max<int64_t>(heads, 1)));
    int64_t blocks = llvm::divideCeil(length.tokens, block);
    int64_t wanted = std::clamp<int64_t>(kPairs / (block * length.total()), 2,
                                         std::max<int64_t>(blocks, 2));
    for (int64_t i = 0; i < std::min(wanted, blocks); ++i) {
      // Evenly from the first to the last one.
      int64_t first =
          (wanted >= blocks ? i : i * (blocks - 1) / (wanted - 1)) * block;
      Probes probes = at(length, first, std::min(block, length.tokens - first));
      if (failed(probeRows(attention, shape, rows, probes, reason)))
        return failure();
      rows.clear();
      if (!use(probes).empty())
        return success();
    }
    return success();
  }

  static Probes at(LMLength length, int64_t first, int64_t count) {
    Probes probes;
    probes.length = length;
    probes.first = first;
    probes.count = count;
    return probes;
  }

  /// Fills in the weights. `shape` is that of the products, if there are any.
  LogicalResult probeRows(const LMAttention &attention, ArrayRef<int64_t> shape,
                          RowEvaluator &rows, Probes &probes,
                          std::string &reason) {
    Type f32 = Float32Type::get(graph.getFunction().getContext());
    Value weights = attention.products ? attention.weights : attention.mask;
    HostTensor none(f32, {probes.count, probes.length.total()});
    for (auto [i, product] : llvm::enumerate(kProbes)) {
      if (attention.products)
        rows.bind(
            attention.products,
            [&, product = product](RowRange range) -> FailureOr<HostTensor> {
              SmallVector<int64_t> some(shape);
              some[range.axis] = range.count;
              HostTensor products = HostTensor::uninitialized(f32, some);
              llvm::fill(products.mutableElements<float>(),
                         static_cast<float>(product));
              return products;
            });
      FailureOr<HostTensor> value = none;
      if (weights) {
        int64_t rank = cast<RankedTensorType>(weights.getType()).getRank();
        if (rank < 2) {
          reason = "it does not cover all pairs of tokens";
          return failure();
        }
        // One row may be for all tokens.
        bool isShared = graph.shapeAt(weights, probes.length)[rank - 2] == 1;
        RowRange range{rank - 2, isShared ? 0 : probes.first,
                       isShared ? 1 : probes.count};
        value = rows.evaluate(weights, range);
        if (succeeded(value) && isShared)
          value = repeatRow(*value, probes.count);
      }
      if (failed(value)) {
        reason = rows.reason().str();
        return failure();
      }
      if (failed(store(*value, i, attention.heads, probes, reason)))
        return failure();
    }
    return success();
  }

  /// `count` times the only row of each matrix.
  static HostTensor repeatRow(const HostTensor &row, int64_t count) {
    SmallVector<int64_t> shape(row.getShape());
    shape[row.getRank() - 2] = count;
    int64_t bytes = shape.back() * row.getElementSize();
    HostTensor result = HostTensor::uninitialized(row.getElementType(), shape);
    for (int64_t i = 0; bytes && i < result.getNumElements() / shape.back();
         ++i)
      std::memcpy(result.mutableBytes() + i * bytes,
                  row.bytes() + i / count * bytes, bytes);
    return result;
  }

  LogicalResult store(const HostTensor &weights, int probe, int64_t heads,
                      Probes &probes, std::string &reason) {
    Type f32 = Float32Type::get(graph.getFunction().getContext());
    int64_t total = probes.length.total();
    int64_t pairs = probes.count * total;
    int64_t count = weights.getNumElements();
    if (weights.getRank() < 2 || weights.getShape().back() != total ||
        weights.getShape()[weights.getRank() - 2] != probes.count ||
        (count != pairs && count != pairs * heads)) {
      reason = "it does not cover all pairs of tokens";
      return failure();
    }
    probes.heads = count / pairs;
    probes.weights[probe] =
        weights.getElementType() == f32 ? weights : weights.converted(f32);
    return success();
  }
};

} // namespace

LogicalResult nju::analyzeMasks(LMGraph &graph,
                                MutableArrayRef<LMAttention> attentions,
                                int64_t maxTokens) {
  return MaskAnalysis(graph, maxTokens).run(attentions);
}

bool nju::masksFit(LMGraph &graph, ArrayRef<LMAttention> attentions,
                   int64_t maxTokens) {
  return MaskAnalysis(graph, maxTokens).fits(attentions);
}
