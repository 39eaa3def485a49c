//===- Experts.cpp - Mixtures of experts -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// com.microsoft's MoE: the router's scores go through a softmax, each token's
// `k` best experts compute, and the results are added, weighted. QMoE is the
// same with quantized matrices.
//
//===----------------------------------------------------------------------===//

#include "BlockMatrix.h"
#include "NodeImporter.h"
#include "OpRegistry.h"
#include "nju/Dialect/NJU/IR/NJU.h"

using namespace mlir;
using namespace nju;
using namespace nju::onnx_import;

namespace {

/// Inputs of one product of the experts.
struct Matrices {
  int weight, bias;
  int scales = -1; ///< Of quantized ones.
};

constexpr int kRows = 0, kRouter = 1;

/// The first product, the second, and what multiplies the first.
constexpr Matrices kDense[] = {{2, 3}, {4, 5}, {6, 7}};
constexpr Matrices kQuantized[] = {{2, 4, 3}, {5, 7, 6}, {8, 10, 9}};

/// Emits a mixture of experts.
class MoEEmitter {
public:
  MoEEmitter(NodeImporter &node, bool isQuantized)
      : node(node), isQuantized(isQuantized),
        matrices(isQuantized ? kQuantized : kDense) {}
  void emit();

private:
  bool readAttributes();
  bool readQuantization();
  bool checkShapes();
  bool checkWeights(int number, int64_t rows, int64_t columns);
  void route();
  std::optional<BlockMatrix> readBlocks(int number, int64_t rows,
                                        int64_t columns);
  SmallVector<Value> importWeights(int number, int64_t rows, int64_t columns);
  Value product(Value input, int number, int64_t depth, int64_t columns);
  Value addBias(Value result, int bias, int64_t columns);
  Value swiGLU(Value x);
  Value activate(Value x);

  NodeImporter &node;
  bool isQuantized;
  llvm::ArrayRef<Matrices> matrices;
  std::string activation;
  int64_t chosen = 1, fusion = 0, blockSize = 0;
  int64_t bits[3] = {4, 4, 4};
  bool normalizes = false;
  std::optional<double> limit;
  double alpha = 1, beta = 0;
  int64_t experts = 0, depth = 0, hidden = 0;
  Value choices, weights;
};

} // namespace

/// Attributes of QMoE, and inputs that it has for other devices.
bool MoEEmitter::readQuantization() {
  // ONNX Runtime's shares are always of those chosen.
  normalizes = true;
  blockSize = node.intAttr("block_size", 0);
  int64_t all = node.intAttr("expert_weight_bits", 4);
  bits[0] = node.intAttr("fc1_expert_weight_bits", all);
  bits[1] = node.intAttr("fc2_expert_weight_bits", all);
  bits[2] = node.intAttr("fc3_expert_weight_bits", all);
  std::string kind = node.stringAttr("quant_type", "int");
  // What the input is rounded to is the user's choice (--activations).
  node.ignoreAttr("accuracy_level");
  bool isPacked = node.intAttr("weights_prepacked", 0) > 0;
  if (node.hasFailed())
    return false;
  for (int64_t own : bits)
    if (own != 4 && own != 8) {
      node.emitError() << "has weights of " << own << " bits, expected 4 or 8";
      return false;
    }
  if (kind != "int" || isPacked) {
    node.emitError() << "has weights of type '" << kind << "' or in the layout "
                     << "of a device, expected quant_type = 'int' and "
                     << "weights_prepacked = 0";
    return false;
  }
  if (blockSize != 0 && (blockSize < 16 || !llvm::isPowerOf2_64(blockSize))) {
    node.emitError() << "attribute 'block_size' is " << blockSize
                     << ", expected a power of two of at least 16, or 0";
    return false;
  }
  constexpr int firstOther = 11;
  for (int input = firstOther; input < node.numInputs(); ++input)
    if (node.hasInput(input)) {
      node.emitError() << "has input " << input << ", expected no zero points, "
                       << "weights of the router and scales of activations";
      return false;
    }
  return true;
}

bool MoEEmitter::readAttributes() {
  activation = node.stringAttr("activation_type", "relu");
  chosen = node.intAttr("k", 1);
  normalizes = node.boolAttr("normalize_routing_weights");
  fusion = node.intAttr("swiglu_fusion", 0);
  limit = node.floatAttr("swiglu_limit");
  alpha = node.floatAttr("activation_alpha", 1.0);
  beta = node.floatAttr("activation_beta", 0.0);
  bool isSparse = node.boolAttr("use_sparse_mixer");
  if (node.hasFailed() || (isQuantized && !readQuantization()))
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

/// Error unless the input is [experts, rows, columns], packed where it is
/// quantized.
bool MoEEmitter::checkWeights(int number, int64_t rows, int64_t columns) {
  int input = matrices[number].weight;
  Value weight = node.input(input);
  if (!weight)
    return false;
  int64_t width = isQuantized ? columns * bits[number] / 8 : columns;
  SmallVector<int64_t> expected{experts, rows, width};
  auto type = cast<RankedTensorType>(weight.getType());
  if (type.getShape() == ArrayRef<int64_t>(expected))
    return true;
  node.emitError() << "has input " << input << " " << type << ", expected ["
                   << expected << "]";
  return false;
}

/// [T, K] or [B, S, K]; [T, E]; [E, H, K] and [E, K, H / 2 or H].
bool MoEEmitter::checkShapes() {
  Value input = node.input(kRows), scores = node.input(kRouter);
  Value first = node.input(matrices[0].weight);
  if (!node.requireInput(matrices[1].weight) ||
      !node.checkFloat(input, "input 0") ||
      !node.checkRank(scores, 2, "input 1") ||
      !node.checkRank(first, 3, "the first weights") ||
      !node.checkSameType({input, scores}) ||
      (!isQuantized && !node.checkSameType({input, first})))
    return false;
  auto size = [&](Value value, int64_t index) {
    return node.staticDim(value, index).value_or(0);
  };
  int64_t rank = node.rank(input);
  experts = size(first, 0);
  hidden = size(first, 1);
  depth = rank == 2 || rank == 3 ? size(input, rank - 1) : 0;
  bool isPair = activation == "swiglu";
  if (experts < 1 || hidden < 1 || depth < 1 || size(scores, 1) != experts ||
      chosen < 1 || chosen > experts || (isPair && hidden % 2 != 0)) {
    node.emitError() << "has input " << input.getType() << ", scores "
                     << scores.getType() << ", weights " << first.getType()
                     << " and k = " << chosen << ", expected [tokens, K], "
                     << "[tokens, experts] and [experts, H, K], H even for "
                     << "swiglu, and k of at most the experts";
    return false;
  }
  return checkWeights(0, hidden, depth) &&
         checkWeights(1, depth, isPair ? hidden / 2 : hidden) &&
         (!node.hasInput(matrices[2].weight) || checkWeights(2, hidden, depth));
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

/// The matrices of all experts as the model stores them.
std::optional<BlockMatrix> MoEEmitter::readBlocks(int number, int64_t rows,
                                                  int64_t columns) {
  BlockMatrix all;
  all.rows = rows;
  all.columns = columns;
  all.blockSize = blockSize ? blockSize : columns;
  all.type = {bits[number], false};
  all.rowBits = columns * bits[number];
  all.zeroPoint = int64_t(1) << (bits[number] - 1);
  auto codes = requireStored(node, matrices[number].weight, "weights");
  auto scales = codes ? requireStored(node, matrices[number].scales, "scales")
                      : std::nullopt;
  if (!scales || !checkIsFloat(node, *scales, "scales"))
    return std::nullopt;
  if (!codes->type || !codes->type.isUnsignedInteger(8)) {
    node.emitError() << "has weights of another type than UINT8";
    return std::nullopt;
  }
  SmallVector<int64_t> expected{experts, rows};
  if (blockSize)
    expected.push_back(all.getBlocks());
  if (columns * bits[number] % 8 != 0 || scales->shape != expected) {
    node.emitError() << "has scales of shape [" << scales->shape
                     << "], expected [" << expected << "], and rows of whole "
                     << "bytes";
    return std::nullopt;
  }
  all.codes = *codes;
  all.scales = *scales;
  return all;
}

/// A matrix [columns, rows] in f32 for each expert.
SmallVector<Value> MoEEmitter::importWeights(int number, int64_t rows,
                                             int64_t columns) {
  SmallVector<Value> result;
  auto add = [&](Value matrix) {
    result.push_back(
        node.cast(node.transpose(matrix, {1, 0}), node.attrs().getF32Type()));
  };
  if (!isQuantized) {
    Value stack = node.input(matrices[number].weight);
    for (int64_t expert = 0; expert < experts; ++expert)
      add(node.create<GatherOp>({stack, node.index(expert)},
                                node.i64("axis", 0)));
    return result;
  }
  std::optional<BlockMatrix> all = readBlocks(number, rows, columns);
  for (int64_t expert = 0; all && expert < experts; ++expert) {
    BlockMatrix own = *all;
    own.codes = takePart(all->codes, expert);
    own.scales = takePart(all->scales, expert);
    add(importMatrix(node, own));
  }
  return result;
}

/// The rows times the matrices [columns, depth] of the experts of each token.
Value MoEEmitter::product(Value input, int number, int64_t depth,
                          int64_t columns) {
  SmallVector<Value> operands{input, choices};
  llvm::append_range(operands, importWeights(number, columns, depth));
  if (node.hasFailed())
    return {};
  return addBias(node.create<ExpertMatMulOp>(operands), matrices[number].bias,
                 columns);
}

Value MoEEmitter::addBias(Value result, int bias, int64_t columns) {
  if (!node.hasInput(bias))
    return result;
  Value table = node.cast(node.input(bias), node.attrs().getF32Type());
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
  Value rows =
      node.cast(node.reshape(input, {-1, depth}), node.attrs().getF32Type());
  route();
  Value inner = activate(product(rows, 0, depth, hidden));
  if (node.hasInput(matrices[2].weight))
    inner = node.create<MulOp>({inner, product(rows, 2, depth, hidden)});
  int64_t width = activation == "swiglu" ? hidden / 2 : hidden;
  Value results = product(inner, 1, width, depth);
  results = node.create<MulOp>({results, node.unsqueeze(weights, {2})});
  Value sum = node.reduce<ReduceSumOp>(results, {1}, /*keepDims=*/false);
  if (node.hasFailed())
    return;
  node.setOutput(
      node.cast(node.reshapeLike(sum, input), node.elementType(input)));
}

template <bool isQuantized>
static void importMoE(NodeImporter &node) {
  MoEEmitter(node, isQuantized).emit();
}

void nju::onnx_import::registerMicrosoftExpertOps(OpRegistry &registry) {
  registry.add("MoE", 1, {3, 8}, importMoE<false>, kMicrosoft);
  registry.add("QMoE", 1, {4, 21}, importMoE<true>, kMicrosoft);
}
