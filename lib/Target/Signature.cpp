//===- Signature.cpp - What a model says about itself -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Target/Signature.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "nju/Dialect/NJU/IR/WeightLayout.h"
#include "nju/abi.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/JSON.h"

using namespace mlir;
using namespace nju;

//===----------------------------------------------------------------------===//
// Reading a module
//===----------------------------------------------------------------------===//

/// "f32", "i64", "u8", ...; empty if a model cannot take or give the type.
static std::string typeName(Type type) {
  std::string name;
  llvm::raw_string_ostream out(name);
  if (auto integer = dyn_cast<IntegerType>(type)) {
    unsigned width = integer.getWidth();
    if (width != 1 && width != 8 && width != 16 && width != 32 && width != 64)
      return "";
    out << (integer.isUnsigned() ? 'u' : 'i') << width;
  } else if (type.isF16() || type.isBF16() || type.isF32() || type.isF64()) {
    out << type;
  }
  return name;
}

/// `attributes` are those of an argument or a result of `@main`.
static FailureOr<TensorSignature> readTensor(func::FuncOp function, Type type,
                                             DictionaryAttr attributes,
                                             std::string defaultName,
                                             int64_t &anonymous) {
  TensorSignature tensor;
  auto ranked = dyn_cast<RankedTensorType>(type);
  auto name = attributes ? attributes.getAs<StringAttr>("nju.name") : nullptr;
  auto dims = attributes ? attributes.getAs<ArrayAttr>("nju.dims") : nullptr;
  tensor.name = name ? name.getValue().str() : defaultName;
  tensor.type = ranked ? typeName(ranked.getElementType()) : "";
  if (tensor.type.empty() || ranked.getRank() > NJU_ABI_MAX_RANK) {
    function.emitError() << "'" << tensor.name << "' has type " << type
                         << ", expected a tensor of numbers with at most "
                         << NJU_ABI_MAX_RANK << " dimensions";
    return failure();
  }
  for (auto [i, size] : llvm::enumerate(ranked.getShape())) {
    TensorSignature::Dimension dimension;
    dimension.size = size;
    if (ShapedType::isDynamic(size)) {
      dimension.size = 0;
      if (dims && i < dims.size())
        if (auto text = dyn_cast<StringAttr>(dims[i]))
          dimension.name = text.getValue().str();
      // Equal names are equal sizes: what has no name gets one of its own.
      if (dimension.name.empty())
        dimension.name = llvm::formatv("?{0}", anonymous++).str();
    }
    tensor.shape.push_back(std::move(dimension));
  }
  return tensor;
}

static LogicalResult readTensors(func::FuncOp function,
                                 ModelSignature &signature) {
  FunctionType type = function.getFunctionType();
  int64_t anonymous = 0;
  for (auto [i, input] : llvm::enumerate(type.getInputs())) {
    auto tensor = readTensor(function, input, function.getArgAttrDict(i),
                             llvm::formatv("input{0}", i).str(), anonymous);
    if (failed(tensor))
      return failure();
    signature.inputs.push_back(std::move(*tensor));
  }
  for (auto [i, output] : llvm::enumerate(type.getResults())) {
    auto tensor = readTensor(function, output, function.getResultAttrDict(i),
                             llvm::formatv("output{0}", i).str(), anonymous);
    if (failed(tensor))
      return failure();
    signature.outputs.push_back(std::move(*tensor));
  }
  return success();
}

/// What the model was before it became a step: token ids to logits.
static void setLanguageModelTensors(ModelSignature &signature) {
  TensorSignature tokens = {
      "input_ids", "i64", {{0, "batch"}, {0, "sequence"}}};
  TensorSignature logits = {"logits", "f32", {{0, "batch"}, {0, "sequence"}}};
  logits.shape.push_back({signature.lm->vocabulary, ""});
  signature.inputs.push_back(tokens);
  signature.outputs.push_back(logits);
}

/// Bytes of weights that one token reads: a row of a table, all of a matrix,
/// its share of what experts have.
static int64_t bytesRead(OpOperand &use) {
  auto type = cast<RankedTensorType>(use.get().getType());
  int64_t bytes = getWeightBytes(type);
  // Of a quantized table, the codes of 16 rows lie together.
  if (isa<DequantizeOp>(use.getOwner()) && use.getOperandNumber() == 0)
    return bytes / type.getDimSize(0);
  if (auto experts = dyn_cast<ExpertLinearOp>(use.getOwner()))
    return bytes * experts.getNumChosen() / experts.getNumExperts();
  auto gather = dyn_cast<GatherOp>(use.getOwner());
  if (!gather || use.getOperandNumber() != 0)
    return bytes;
  int64_t axis = gather.getAxis() < 0 ? gather.getAxis() + type.getRank()
                                      : gather.getAxis();
  return bytes / std::max<int64_t>(1, type.getDimSize(axis));
}

int64_t nju::countFlops(Operation *op) {
  if (auto linear = dyn_cast<LinearOp>(op))
    return 2 * linear.getWeight().getType().getDimSize(1) *
           linear.getType().getShape().back();
  if (auto product = dyn_cast<LCQMatMulOp>(op))
    return 2 * product.getInput().getType().getShape().back() *
           product.getType().getShape().back();
  if (auto experts = dyn_cast<ExpertLinearOp>(op))
    return 2 * experts.getNumChosen() *
           experts.getInput().getType().getShape().back() *
           experts.getType().getShape().back();
  auto matmul = dyn_cast<MatMulOp>(op);
  if (!matmul)
    return 0;
  auto weights = cast<RankedTensorType>(matmul.getRhs().getType());
  return weights.hasStaticShape() ? 2 * weights.getNumElements() : 0;
}

static void countWork(func::FuncOp step, LanguageModelSignature &lm) {
  llvm::StringMap<int64_t> bytes;
  step.walk([&](Operation *op) {
    lm.flopsPerToken += countFlops(op);
    auto ref = dyn_cast<ParamRefOp>(op);
    if (!ref)
      return;
    int64_t &most = bytes[ref.getParam()];
    for (OpOperand &use : ref.getResult().getUses())
      most = std::max(most, bytesRead(use));
  });
  for (auto &entry : bytes)
    lm.bytesPerToken += entry.second;
}

static FailureOr<LanguageModelSignature> readLanguageModel(ModuleOp module) {
  LanguageModelSignature lm;
  auto dictionary = module->getAttrOfType<DictionaryAttr>("nju.lm");
  auto integer = [](DictionaryAttr from, StringRef name, int64_t &value) {
    auto attribute = from ? from.getAs<IntegerAttr>(name) : IntegerAttr();
    if (attribute)
      value = attribute.getInt();
    return static_cast<bool>(attribute);
  };
  auto layers = dictionary ? dictionary.getAs<ArrayAttr>("cache") : ArrayAttr();
  bool complete = layers && integer(dictionary, "vocabulary", lm.vocabulary) &&
                  integer(dictionary, "max_tokens", lm.maxTokens) &&
                  integer(dictionary, "max_sequences", lm.maxSequences) &&
                  integer(dictionary, "max_batch_tokens", lm.maxBatchTokens);
  for (Attribute layer : complete ? layers.getValue() : ArrayRef<Attribute>()) {
    std::optional<CacheLayout> known = getCacheLayout(layer);
    complete &= known.has_value();
    lm.cache.push_back(known.value_or(CacheLayout()));
  }
  if (complete)
    return lm;
  return module.emitError()
         << "has a function 'step' but no complete attribute 'nju.lm'";
}

FailureOr<ModelSignature> nju::readSignature(ModuleOp module, StringRef name) {
  ModelSignature signature;
  signature.name = name.str();
  if (auto step = module.lookupSymbol<func::FuncOp>("step")) {
    FailureOr<LanguageModelSignature> lm = readLanguageModel(module);
    if (failed(lm))
      return failure();
    countWork(step, *lm);
    signature.lm = std::move(*lm);
    setLanguageModelTensors(signature);
    return signature;
  }
  auto main = module.lookupSymbol<func::FuncOp>("main");
  if (!main)
    return module.emitError() << "has no function 'step' or 'main'";
  if (failed(readTensors(main, signature)))
    return failure();
  return signature;
}

//===----------------------------------------------------------------------===//
// JSON
//===----------------------------------------------------------------------===//

static void writeTensors(llvm::json::OStream &json, StringRef key,
                         ArrayRef<TensorSignature> tensors) {
  json.attributeArray(key, [&] {
    for (const TensorSignature &tensor : tensors)
      json.object([&] {
        json.attribute("name", tensor.name);
        json.attribute("type", tensor.type);
        json.attributeArray("shape", [&] {
          for (const TensorSignature::Dimension &dimension : tensor.shape) {
            if (dimension.name.empty())
              json.value(dimension.size);
            else
              json.value(dimension.name);
          }
        });
      });
  });
}

static void writeLanguageModel(llvm::json::OStream &json,
                               const LanguageModelSignature &lm) {
  json.attribute("vocabulary", lm.vocabulary);
  json.attribute("max_tokens", lm.maxTokens);
  json.attribute("max_sequences", lm.maxSequences);
  json.attribute("max_batch_tokens", lm.maxBatchTokens);
  json.attribute("arena_bytes", lm.arenaBytes);
  json.attributeArray("cache", [&] {
    for (const CacheLayout &layer : lm.cache)
      json.object([&] {
        json.attribute("heads", layer.heads);
        json.attribute("head_dim", layer.headDim);
        json.attribute("type", stringifyCacheType(layer.type));
        json.attribute("key_block_bytes", layer.getKeyBlockBytes());
        json.attribute("value_block_bytes", layer.getValueBlockBytes());
      });
  });
  json.attribute("bytes_per_token", lm.bytesPerToken);
  json.attribute("flops_per_token", lm.flopsPerToken);
}

static void writeVariants(llvm::json::OStream &json,
                          ArrayRef<CPUTarget> variants) {
  json.attributeArray("variants", [&] {
    for (const CPUTarget &variant : variants)
      json.object([&] {
        json.attribute("name", variant.getVariantName());
        json.attribute("cpu", variant.getCPU());
        json.attributeArray("features", [&] {
          for (const std::string &feature : variant.getRequiredFeatures())
            json.value(feature);
        });
      });
  });
}

std::string ModelSignature::toJSON(StringRef target,
                                   ArrayRef<CPUTarget> variants) const {
  std::string text;
  llvm::raw_string_ostream out(text);
  llvm::json::OStream json(out);
  json.object([&] {
    json.attribute("abi", NJU_ABI_VERSION);
    json.attribute("compiler", NJU_VERSION);
    json.attribute("kind", lm ? "lm" : "graph");
    json.attribute("name", llvm::json::fixUTF8(name));
    json.attributeObject("target", [&] {
      json.attribute("name", target);
      writeVariants(json, variants);
    });
    if (weightsFile.empty())
      json.attribute("weights", nullptr);
    else
      json.attributeObject("weights", [&] {
        json.attribute("file", llvm::json::fixUTF8(weightsFile));
        json.attribute("bytes", static_cast<int64_t>(weights.bytes));
        json.attribute("hash", weights.hash);
      });
    if (lm)
      json.attributeObject("lm", [&] { writeLanguageModel(json, *lm); });
    writeTensors(json, "inputs", inputs);
    writeTensors(json, "outputs", outputs);
  });
  return text;
}
