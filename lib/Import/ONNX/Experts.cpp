//===- Experts.cpp - Mixtures of experts -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// com.microsoft's MoE: the router's scores go through a softmax, each token's
// `k` best experts compute, and the results are added, weighted.
//
//===----------------------------------------------------------------------===//

#include "NodeImporter.h"
#include "OpRegistry.h"
#include "nju/Dialect/NJU/IR/NJU.h"

using namespace mlir;
using namespace nju;
using namespace nju::onnx_import;

namespace {

/// Inputs of MoE.
enum MoEInput { kRows, kRouter, kFC1, kBias1, kFC2, kBias2, kFC3, kBias3 };

/// Emits a mixture of experts.
class MoEEmitter {
public:
  explicit MoEEmitter(NodeImporter &node) : node(node) {}
  void emit();

private:
  bool readAttributes();
  bool checkShapes();
  void route();
  Value product(Value rows, int weight, int bias, int64_t columns);
  Value swiGLU(Value x);
  Value activate(Value x);

  NodeImporter &node;
  std::string activation;
  int64_t chosen = 1, fusion = 0;
  bool normalizes = false;
  std::optional<double> limit;
  double alpha = 1, beta = 0;
  int64_t experts = 0, depth = 0, hidden = 0;
  Value rows, choices, weights;
};

} // namespace

bool MoEEmitter::readAttributes() {
  activation = node.stringAttr("activation_type", "relu");
  chosen = node.intAttr("k", 1);
  normalizes = node.boolAttr("normalize_routing_weights");
  fusion = node.intAttr("swiglu_fusion", 0);
  limit = node.floatAttr("swiglu_limit");
  alpha = node.floatAttr("activation_alpha", 1.0);
  beta = node.floatAttr("activation_beta", 0.0);
  bool isSparse = node.boolAttr("use_sparse_mixer");
  if (node.hasFailed())
    return false;
  static const llvm::StringRef kKnown[] = {"relu", "gelu", "silu", "identity",
                                           "swiglu"};
  if (!llvm::is_contained(kKnown, llvm::StringRef(activation)))
    node.emitError() << "attribute 'activation_type' is '" << activation
                     << "', expected relu, gelu, silu, identity or swiglu";
  else if (isSparse)
    node.emitError() << "chooses experts by the sparse mixer, expected "
                     << "use_sparse_mixer = 0";
  else if (activation == "swiglu" && fusion != 1 && fusion != 2)
    node.emitError() << "attribute 'swiglu_fusion' is " << fusion
                     << ", expected 1 (alternating) or 2 (one after the other)";
  else
    return true;
  return false;
}

/// [T, K] or [B, S, K]; [T, E]; [E, H, K] and [E, K, H / 2 or H].
bool MoEEmitter::checkShapes() {
  Value input = node.input(kRows), scores = node.input(kRouter);
  Value first = node.input(kFC1), second = node.input(kFC2);
  if (!node.requireInput(kFC2) || !node.checkFloat(input, "input 0") ||
      !node.checkRank(scores, 2, "input 1") ||
      !node.checkRank(first, 3, "input 2") ||
      !node.checkRank(second, 3, "input 4") ||
      !node.checkSameType({input, scores, first, second}))
    return false;
  auto size = [&](Value value, int64_t index) {
    return node.staticDim(value, index).value_or(0);
  };
  experts = size(first, 0);
  hidden = size(first, 1);
  depth = size(first, 2);
  int64_t width = activation == "swiglu" ? hidden / 2 : hidden;
  bool fits = (node.rank(input) == 2 || node.rank(input) == 3) && experts > 0 &&
              size(input, node.rank(input) - 1) == depth &&
              size(scores, 1) == experts && size(second, 0) == experts &&
              size(second, 1) == depth && size(second, 2) == width &&
              chosen > 0 && chosen <= experts &&
              (activation != "swiglu" || hidden % 2 == 0);
  if (!fits)
    node.emitError() << "has input " << input.getType() << ", scores "
                     << scores.getType() << ", weights " << first.getType()
                     << " and " << second.getType() << " and k = " << chosen
                     << ", expected [tokens, K], [tokens, experts], [experts, "
                     << "H, K] and [experts, K, H], with H once more in the "
                     << "first for swiglu, and k of at most the experts";
  return fits;
}

/// The experts of each token, and how much each counts.
void MoEEmitter::route() {
  Value scores = node.cast(node.input(kRouter), node.attrs().getF32Type());
  Value shares = node.create<SoftmaxOp>(scores, node.i64("axis", 1));
  choices = node.create<TopKOp>(
      shares, {node.i64("axis", 1), node.i64("count", chosen)},
      node.attrs().getI64Type());
  weights =
      node.create<GatherElementsOp>({shares, choices}, node.i64("axis", 1));
  if (normalizes)
    weights = node.create<DivOp>(
        {weights, node.reduce<ReduceSumOp>(weights, {1}, /*keepDims=*/true)});
}

/// The rows times the matrices [columns, K] of the experts of each token.
Value MoEEmitter::product(Value rows, int weight, int bias, int64_t columns) {
  Type f32 = node.attrs().getF32Type();
  Value stack = node.input(weight);
  SmallVector<Value> operands{rows, choices};
  for (int64_t expert = 0; expert < experts; ++expert) {
    Value matrix =
        node.create<GatherOp>({stack, node.index(expert)}, node.i64("axis", 0));
    operands.push_back(node.cast(node.transpose(matrix, {1, 0}), f32));
  }
  Value result = node.create<ExpertMatMulOp>(operands);
  if (!node.hasInput(bias))
    return result;
  Value table = node.cast(node.input(bias), f32);
  if (!node.checkRank(table, 2, "a bias"))
    return {};
  if (node.staticDim(table, 0) != experts ||
      node.staticDim(table, 1) != columns) {
    node.emitError() << "has a bias " << table.getType() << ", expected ["
                     << experts << ", " << columns << "]";
    return {};
  }
  Value added = node.create<GatherOp>({table, choices}, node.i64("axis", 0));
  return node.create<AddOp>({result, added});
}

/// g sigmoid(alpha g) (x + beta), with both within the limit.
Value MoEEmitter::swiGLU(Value x) {
  int64_t half = hidden / 2;
  Value gate =
      fusion == 1 ? node.slice(x, 2, 0, hidden, 2) : node.slice(x, 2, 0, half);
  Value linear = fusion == 1 ? node.slice(x, 2, 1, hidden, 2)
                             : node.slice(x, 2, half, hidden);
  if (limit) {
    Value most = node.scalarLike(x, *limit);
    gate = node.create<MinOp>({gate, most});
    linear = node.create<MinOp>({linear, most});
    linear = node.create<MaxOp>({linear, node.scalarLike(x, -*limit)});
  }
  Value inner = alpha == 1.0
                    ? gate
                    : node.create<MulOp>({gate, node.scalarLike(x, alpha)});
  Value swish = node.create<MulOp>({gate, node.create<SigmoidOp>(inner)});
  if (beta != 0.0)
    linear = node.create<AddOp>({linear, node.scalarLike(x, beta)});
  return node.create<MulOp>({swish, linear});
}

Value MoEEmitter::activate(Value x) {
  if (activation == "relu")
    return node.create<ReluOp>(x);
  // ONNX Runtime's is the approximation.
  if (activation == "gelu")
    return node.create<GeluOp>(x, node.unit("tanh"));
  if (activation == "silu")
    return node.create<SiluOp>(x);
  return activation == "swiglu" ? swiGLU(x) : x;
}

void MoEEmitter::emit() {
  if (!readAttributes() || !checkShapes())
    return;
  Value input = node.input(kRows);
  rows = node.cast(node.reshape(input, {-1, depth}), node.attrs().getF32Type());
  route();
  Value inner = activate(product(rows, kFC1, kBias1, hidden));
  if (node.hasInput(kFC3)) {
    Value first = node.input(kFC1), third = node.input(kFC3);
    if (third.getType() != first.getType()) {
      node.emitError() << "has input 6 " << third.getType() << ", expected "
                       << first.getType();
      return;
    }
    inner = node.create<MulOp>({inner, product(rows, kFC3, kBias3, hidden)});
  }
  Value results = product(inner, kFC2, kBias2, depth);
  results = node.create<MulOp>({results, node.unsqueeze(weights, {2})});
  Value sum = node.reduce<ReduceSumOp>(results, {1}, /*keepDims=*/false);
  if (node.hasFailed())
    return;
  node.setOutput(
      node.cast(node.reshapeLike(sum, input), node.elementType(input)));
}

static void importMoE(NodeImporter &node) { MoEEmitter(node).emit(); }

void nju::onnx_import::registerMicrosoftExpertOps(OpRegistry &registry) {
  registry.add("MoE", 1, {3, 8}, importMoE, kMicrosoft);
}
