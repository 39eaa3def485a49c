//===- Activation.cpp - Activation functions of ONNX -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "NodeImporter.h"

using namespace mlir;
using namespace nju;
using namespace nju::onnx_import;

template <typename OpTy>
static void importActivation(NodeImporter &node) {
  Value x = node.input(0);
  if (node.checkFloat(x, "input 0"))
    node.setOutput(node.create<OpTy>(x));
}

/// Relu is the only one that integers have too.
static void importRelu(NodeImporter &node) {
  node.setOutput(node.create<ReluOp>(node.input(0)));
}

/// `x * sigmoid(alpha * x)`.
static Value emitSwish(NodeImporter &node, Value x, double alpha) {
  if (alpha == 1)
    return node.create<SiluOp>(x);
  Value scaled = node.create<MulOp>({x, node.scalarLike(x, alpha)});
  return node.create<MulOp>({x, node.create<SigmoidOp>(scaled)});
}

static void importSwish(NodeImporter &node) {
  double alpha = node.floatAttr("alpha", 1);
  Value x = node.input(0);
  if (node.checkFloat(x, "input 0"))
    node.setOutput(emitSwish(node, x, alpha));
}

static void importQuickGelu(NodeImporter &node) {
  double alpha = node.floatAttr("alpha", 1.702);
  Value x = node.input(0);
  if (node.checkFloat(x, "input 0"))
    node.setOutput(emitSwish(node, x, alpha));
}

static Value emitGelu(NodeImporter &node, Value x, bool tanh) {
  SmallVector<NamedAttribute> attributes;
  if (tanh)
    attributes.push_back(node.unit("tanh"));
  return node.create<GeluOp>(x, attributes);
}

static void importGelu(NodeImporter &node) {
  std::string approximate = node.stringAttr("approximate", "none");
  Value x = node.input(0);
  if (!node.checkFloat(x, "input 0"))
    return;
  if (approximate != "none" && approximate != "tanh") {
    node.emitError() << "attribute 'approximate' is '" << approximate
                     << "', expected 'none' or 'tanh'";
    return;
  }
  node.setOutput(emitGelu(node, x, approximate == "tanh"));
}

/// com.microsoft's Gelu, BiasGelu and FastGelu.
template <bool tanh>
static void importBiasGelu(NodeImporter &node) {
  Value x = node.input(0), bias = node.input(1);
  if (!node.checkFloat(x, "input 0"))
    return;
  if (bias && node.checkSameType({x, bias}))
    x = node.create<AddOp>({x, bias});
  node.setOutput(emitGelu(node, x, tanh));
}

/// `x < 0 ? negative : x`.
static Value selectNegative(NodeImporter &node, Value x, Value negative) {
  Value isNegative =
      node.compare(ComparePredicate::lt, x, node.scalarLike(x, 0));
  return node.create<SelectOp>({isNegative, negative, x}, {},
                               node.elementType(x));
}

static void importLeakyRelu(NodeImporter &node) {
  double alpha = node.floatAttr("alpha", 0.01);
  Value x = node.input(0);
  if (!node.checkFloat(x, "input 0"))
    return;
  Value scaled = node.create<MulOp>({x, node.scalarLike(x, alpha)});
  node.setOutput(selectNegative(node, x, scaled));
}

static void importPRelu(NodeImporter &node) {
  Value x = node.input(0), slope = node.input(1);
  if (!node.checkFloat(x, "input 0") || !node.checkSameType({x, slope}))
    return;
  node.setOutput(selectNegative(node, x, node.create<MulOp>({x, slope})));
}

/// `alpha * (exp(x) - 1)`.
static Value emitExpMinusOne(NodeImporter &node, Value x, double alpha) {
  Value shifted =
      node.create<SubOp>({node.create<ExpOp>(x), node.scalarLike(x, 1)});
  return node.create<MulOp>({shifted, node.scalarLike(x, alpha)});
}

static void importElu(NodeImporter &node) {
  double alpha = node.floatAttr("alpha", 1);
  Value x = node.input(0);
  if (node.checkFloat(x, "input 0"))
    node.setOutput(selectNegative(node, x, emitExpMinusOne(node, x, alpha)));
}

static void importSelu(NodeImporter &node) {
  double alpha = node.floatAttr("alpha", 1.67326319217681884765625);
  double gamma = node.floatAttr("gamma", 1.05070102214813232421875);
  Value x = node.input(0);
  if (!node.checkFloat(x, "input 0"))
    return;
  Value elu = selectNegative(node, x, emitExpMinusOne(node, x, alpha));
  node.setOutput(node.create<MulOp>({elu, node.scalarLike(x, gamma)}));
}

/// `max(0, min(1, alpha * x + beta))`.
static Value emitHardSigmoid(NodeImporter &node, Value x, double alpha,
                             double beta) {
  Value line =
      node.create<AddOp>({node.create<MulOp>({x, node.scalarLike(x, alpha)}),
                          node.scalarLike(x, beta)});
  Value capped = node.create<MinOp>({line, node.scalarLike(x, 1)});
  return node.create<MaxOp>({capped, node.scalarLike(x, 0)});
}

static void importHardSigmoid(NodeImporter &node) {
  double alpha = node.floatAttr("alpha", 0.2);
  double beta = node.floatAttr("beta", 0.5);
  Value x = node.input(0);
  if (node.checkFloat(x, "input 0"))
    node.setOutput(emitHardSigmoid(node, x, alpha, beta));
}

static void importHardSwish(NodeImporter &node) {
  Value x = node.input(0);
  if (node.checkFloat(x, "input 0"))
    node.setOutput(
        node.create<MulOp>({x, emitHardSigmoid(node, x, 1.0 / 6, 0.5)}));
}

static void importSoftsign(NodeImporter &node) {
  Value x = node.input(0);
  if (!node.checkFloat(x, "input 0"))
    return;
  Value divisor =
      node.create<AddOp>({node.create<AbsOp>(x), node.scalarLike(x, 1)});
  node.setOutput(node.create<DivOp>({x, divisor}));
}

static void importMish(NodeImporter &node) {
  Value x = node.input(0);
  if (node.checkFloat(x, "input 0"))
    node.setOutput(node.create<MulOp>(
        {x, node.create<TanhOp>(node.create<SoftplusOp>(x))}));
}

/// `max(0, x) + min(0, alpha * (exp(x / alpha) - 1))`.
static void importCelu(NodeImporter &node) {
  double alpha = node.floatAttr("alpha", 1);
  Value x = node.input(0);
  if (!node.checkFloat(x, "input 0"))
    return;
  Value scaled = node.create<DivOp>({x, node.scalarLike(x, alpha)});
  node.setOutput(selectNegative(node, x, emitExpMinusOne(node, scaled, alpha)));
}

/// Towards 0 by `bias` where `|x| > lambd`, 0 elsewhere.
static void importShrink(NodeImporter &node) {
  double bias = node.floatAttr("bias", 0),
         threshold = node.floatAttr("lambd", 0.5);
  Value x = node.input(0);
  if (!x)
    return;
  Type type = node.elementType(x);
  Value zero = node.scalarLike(x, 0);
  auto select = [&](ComparePredicate predicate, double bound, double added,
                    Value other) {
    Value isBeyond = node.compare(predicate, x, node.scalarLike(x, bound));
    Value moved = node.create<AddOp>({x, node.scalarLike(x, added)});
    return node.create<SelectOp>({isBeyond, moved, other}, {}, type);
  };
  Value above = select(ComparePredicate::gt, threshold, -bias, zero);
  node.setOutput(select(ComparePredicate::lt, -threshold, bias, above));
}

static void importThresholdedRelu(NodeImporter &node) {
  double alpha = node.floatAttr("alpha", 1);
  Value x = node.input(0);
  if (!node.checkFloat(x, "input 0"))
    return;
  Value isAbove =
      node.compare(ComparePredicate::gt, x, node.scalarLike(x, alpha));
  node.setOutput(node.create<SelectOp>({isAbove, x, node.scalarLike(x, 0)}, {},
                                       node.elementType(x)));
}

void nju::onnx_import::registerActivationOps(OpRegistry &registry) {
  registry.add("BiasGelu", 1, 2, importBiasGelu<false>, kMicrosoft);
  registry.add("Celu", 12, 1, importCelu);
  registry.add("Elu", 6, 1, importElu);
  registry.add("FastGelu", 1, {1, 2}, importBiasGelu<true>, kMicrosoft);
  registry.add("Gelu", 20, 1, importGelu);
  registry.add("Gelu", 1, 1, importBiasGelu<false>, kMicrosoft);
  registry.add("HardSigmoid", 6, 1, importHardSigmoid);
  registry.add("HardSwish", 14, 1, importHardSwish);
  registry.add("LeakyRelu", 6, 1, importLeakyRelu);
  registry.add("Mish", 18, 1, importMish);
  registry.add("PRelu", 7, 2, importPRelu);
  registry.add("QuickGelu", 1, 1, importQuickGelu, kMicrosoft);
  registry.add("Relu", 6, 1, importRelu);
  registry.add("Selu", 6, 1, importSelu);
  registry.add("Shrink", 9, 1, importShrink);
  registry.add("Sigmoid", 6, 1, importActivation<SigmoidOp>);
  registry.add("Softplus", 1, 1, importActivation<SoftplusOp>);
  registry.add("Softsign", 1, 1, importSoftsign);
  registry.add("Swish", 24, 1, importSwish);
  registry.add("Tanh", 6, 1, importActivation<TanhOp>);
  registry.add("ThresholdedRelu", 10, 1, importThresholdedRelu);
}
