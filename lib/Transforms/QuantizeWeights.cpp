//===- QuantizeWeights.cpp - Matrices become quantized ----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "nju/Transforms/Passes.h"
#include "nju/Transforms/QuantizableWeights.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/TypeSwitch.h"

namespace nju {
#define GEN_PASS_DEF_QUANTIZEWEIGHTS
#include "nju/Transforms/Passes.h.inc"
} // namespace nju

using namespace mlir;
using namespace nju;

/// Whether the product's elements become the logits of a language model.
static bool isHead(LinearOp linear) {
  auto lm = linear->getParentOfType<ModuleOp>()->getAttrOfType<DictionaryAttr>(
      "nju.lm");
  auto vocabulary = lm ? lm.getAs<IntegerAttr>("vocabulary") : IntegerAttr();
  return vocabulary &&
         linear.getType().getShape().back() == vocabulary.getInt();
}

/// Whether these are token numbers that the caller gives. Positions are none:
/// their tables, of rotary embeddings or learned, are small, and errors in them
/// are in every token.
static bool areTokens(Value indices) {
  while (Operation *op = indices.getDefiningOp()) {
    if (!isa<CastOp, ReshapeOp, SqueezeOp, UnsqueezeOp, SliceOp, MaxOp, MinOp>(
            op))
      return false;
    indices = op->getOperand(0);
  }
  auto argument = cast<BlockArgument>(indices);
  auto function = dyn_cast<func::FuncOp>(argument.getOwner()->getParentOp());
  auto name = function ? function.getArgAttrOfType<StringAttr>(
                             argument.getArgNumber(), "nju.name")
                       : StringAttr();
  return !name || !name.getValue().contains("position");
}

/// Adds what one use of the weight says. False if there is no such use of a
/// quantized matrix.
static bool addUse(Operation *user, Value ref, QuantizableWeight &weight) {
  if (auto linear = dyn_cast<LinearOp>(user)) {
    if (linear.getWeight() != ref)
      return false;
    weight.isProduct = true;
    weight.isHead |= isHead(linear);
    return true;
  }
  if (auto experts = dyn_cast<ExpertLinearOp>(user)) {
    weight.isProduct = true;
    return !experts.getFormat();
  }
  weight.isEmbedding = true;
  if (auto embedding = dyn_cast<EmbeddingOp>(user))
    return embedding.getWeight() == ref && areTokens(embedding.getIndices());
  auto gather = dyn_cast<GatherOp>(user);
  return gather && gather.getInput() == ref && gather.getAxis() == 0 &&
         areTokens(gather.getIndices());
}

SmallVector<QuantizableWeight> nju::collectQuantizableWeights(ModuleOp module) {
  SymbolTable symbols(module);
  llvm::MapVector<ParamOp, SmallVector<ParamRefOp>> refs;
  module.walk([&](ParamRefOp ref) {
    refs[symbols.lookup<ParamOp>(ref.getParam())].push_back(ref);
  });
  SmallVector<QuantizableWeight> weights;
  for (auto &[param, uses] : refs) {
    QuantizableWeight weight;
    weight.param = param;
    bool isMatrix = isa<FloatType>(getElementTypeOrSelf(param.getType())) &&
                    !param.getFormat();
    SmallVector<int64_t> shape = param.getMatrixShape();
    if (!isMatrix || shape.size() != 2 || shape[0] < 1 || shape[1] < 1)
      continue;
    bool fits = llvm::all_of(uses, [&](ParamRefOp ref) {
      return llvm::all_of(ref->getUsers(), [&](Operation *user) {
        return addUse(user, ref, weight);
      });
    });
    if (!fits || (!weight.isProduct && !weight.isEmbedding))
      continue;
    weight.permutation = {0, 1};
    if (auto permutation = param.getPermutation())
      weight.permutation.assign(permutation->begin(), permutation->end());
    // A table that is only looked up is stored [rows, columns].
    if (!param.getPanels()) {
      std::swap(shape[0], shape[1]);
      std::swap(weight.permutation[0], weight.permutation[1]);
    }
    weight.columns = shape[0];
    weight.rows = shape[1];
    weights.push_back(weight);
  }
  return weights;
}

namespace {

/// The params of a matrix that is quantized.
struct Parts {
  ParamOp codes, basis, factors;
};

struct QuantizeWeights : nju::impl::QuantizeWeightsBase<QuantizeWeights> {
  using QuantizeWeightsBase::QuantizeWeightsBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    SmallVector<QuantizableWeight> weights = collectQuantizableWeights(module);
    SymbolTable symbols(module);
    for (auto param : module.getOps<ParamOp>())
      if (failed(checkRequest(param, weights)))
        return signalPassFailure();
    SmallVector<ExpertLinearOp> experts;
    module.walk([&](ExpertLinearOp op) { experts.push_back(op); });
    for (ExpertLinearOp op : experts)
      if (failed(checkExperts(op, symbols)))
        return signalPassFailure();
    llvm::DenseMap<StringAttr, SmallVector<ParamRefOp>> refs;
    module.walk([&](ParamRefOp ref) {
      refs[ref.getParamAttr().getAttr()].push_back(ref);
    });
    for (const QuantizableWeight &weight : weights)
      if (auto format = weight.param->getAttrOfType<LCQAttr>(kQuantizeAttr)) {
        ParamOp param = weight.param;
        quantize(symbols, weight, format, refs[param.getSymNameAttr()]);
        ++numQuantized;
      }
    for (ExpertLinearOp op : experts)
      joinParts(op);
    expertParts.clear();
    expertFormats.clear();
  }

  LogicalResult checkRequest(ParamOp param,
                             ArrayRef<QuantizableWeight> weights);
  LogicalResult checkExperts(ExpertLinearOp op, SymbolTable &symbols);
  void quantize(SymbolTable &symbols, const QuantizableWeight &weight,
                LCQAttr format, ArrayRef<ParamRefOp> refs);
  void joinParts(ExpertLinearOp op);
  Parts createParts(SymbolTable &symbols, const QuantizableWeight &weight,
                    LCQAttr format);

  /// What the weights of experts become, which are replaced all at once.
  llvm::DenseMap<Value, std::array<Value, 3>> expertParts;
  llvm::DenseMap<Value, LCQAttr> expertFormats;
};

} // namespace

/// What is looked up is f32 now: casts of the stored type to it vanish.
static void replaceRows(Operation *lookUp, Value rows) {
  Value old = lookUp->getResult(0);
  for (Operation *user : llvm::make_early_inc_range(old.getUsers()))
    if (isa<CastOp>(user) && user->getResult(0).getType() == rows.getType()) {
      user->getResult(0).replaceAllUsesWith(rows);
      user->erase();
    }
  if (old.use_empty())
    return;
  OpBuilder builder(lookUp);
  if (old.getType() != rows.getType())
    rows = CastOp::create(builder, lookUp->getLoc(), old.getType(), rows);
  old.replaceAllUsesWith(rows);
}

LogicalResult
QuantizeWeights::checkRequest(ParamOp param,
                              ArrayRef<QuantizableWeight> weights) {
  Attribute request = param->getAttr(kQuantizeAttr);
  if (!request)
    return success();
  if (!isa<LCQAttr>(request))
    return param.emitOpError() << "has " << kQuantizeAttr << " = " << request
                               << ", expected an #nju.lcq";
  auto isParam = [&](const QuantizableWeight &weight) {
    return weight.param == param;
  };
  if (llvm::any_of(weights, isParam))
    return success();
  return param.emitOpError()
         << "cannot be quantized, expected a matrix that products multiply "
         << "or whose rows tokens look up, and nothing else";
}

Parts QuantizeWeights::createParts(SymbolTable &symbols,
                                   const QuantizableWeight &weight,
                                   LCQAttr format) {
  ParamOp source = weight.param;
  OpBuilder builder(source);
  DenseI64ArrayAttr permutation;
  if (weight.permutation[0] != 0)
    permutation = builder.getDenseI64ArrayAttr(weight.permutation);
  auto create = [&](LCQPart part) {
    std::string name = source.getSymName().str();
    if (part != LCQPart::Codes)
      name += "." + stringifyLCQPart(part).str();
    auto param = ParamOp::create(
        builder, source.getLoc(), name,
        format.getPartType(part, weight.columns, weight.rows), source.getData(),
        permutation, /*panels=*/nullptr, format,
        LCQPartAttr::get(builder.getContext(), part),
        source->hasAttr(kExactAttr), source.getSymVisibilityAttr());
    symbols.insert(param);
    return param;
  };
  // They are read in this order.
  ParamOp basis = create(LCQPart::Basis), factors = create(LCQPart::Factors);
  symbols.remove(source);
  return {create(LCQPart::Codes), basis, factors};
}

void QuantizeWeights::quantize(SymbolTable &symbols,
                               const QuantizableWeight &weight, LCQAttr format,
                               ArrayRef<ParamRefOp> refs) {
  ParamOp source = weight.param;
  Parts parts = createParts(symbols, weight, format);
  for (ParamRefOp ref : refs) {
    OpBuilder builder(ref);
    auto refer = [&](ParamOp param) -> Value {
      return ParamRefOp::create(builder, ref.getLoc(), param.getType(),
                                param.getSymName());
    };
    Value basis = refer(parts.basis), factors = refer(parts.factors),
          codes = refer(parts.codes);
    for (Operation *user : llvm::make_early_inc_range(ref->getUsers())) {
      if (isa<ExpertLinearOp>(user)) {
        expertParts[ref.getResult()] = {codes, basis, factors};
        expertFormats[ref.getResult()] = format;
        continue;
      }
      OpBuilder at(user);
      if (auto linear = dyn_cast<LinearOp>(user)) {
        auto product = LCQMatMulOp::create(
            at, linear.getLoc(), linear.getType(), linear.getInput(), codes,
            basis, factors, linear.getBias(), format);
        linear.replaceAllUsesWith(product.getResult());
      } else {
        Value indices = isa<EmbeddingOp>(user)
                            ? cast<EmbeddingOp>(user).getIndices()
                            : cast<GatherOp>(user).getIndices();
        auto type = cast<RankedTensorType>(user->getResult(0).getType());
        Value rows = DequantizeOp::create(
            at, user->getLoc(), type.clone(at.getF32Type()), codes, basis,
            factors, indices, format, weight.rows);
        replaceRows(user, rows);
      }
      user->erase();
    }
    if (ref->use_empty())
      ref.erase();
  }
  source.erase();
}

/// The kernels of a product are the same for all of its experts.
LogicalResult QuantizeWeights::checkExperts(ExpertLinearOp op,
                                            SymbolTable &symbols) {
  SmallVector<Attribute> formats;
  for (Value weight : op.getWeights()) {
    auto ref = weight.getDefiningOp<ParamRefOp>();
    formats.push_back(
        ref ? symbols.lookup(ref.getParam())->getAttr(kQuantizeAttr)
            : Attribute());
  }
  if (llvm::all_equal(formats))
    return success();
  return op.emitOpError() << "has experts of different formats, expected the "
                          << "same for all of them";
}

void QuantizeWeights::joinParts(ExpertLinearOp op) {
  SmallVector<Value> old(op.getWeights()), parts;
  if (!expertParts.contains(old.front()))
    return;
  for (size_t part = 0; part < 3; ++part)
    for (Value weight : old)
      parts.push_back(expertParts[weight][part]);
  OpBuilder builder(op);
  auto product = ExpertLinearOp::create(builder, op.getLoc(), op.getType(),
                                        op.getInput(), op.getChoices(), parts,
                                        expertFormats[old.front()]);
  op.replaceAllUsesWith(product.getResult());
  op.erase();
  // Experts can share a weight.
  llvm::SetVector<Value> unique(old.begin(), old.end());
  for (Value weight : unique)
    if (weight.use_empty())
      weight.getDefiningOp()->erase();
}
