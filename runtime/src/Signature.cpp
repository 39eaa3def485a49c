//===- Signature.cpp - The signature of a model ---------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Signature.h"

#include "nju/abi.h"

#include <dlpack/dlpack.h>
#include <limits>
#include <nlohmann/json.hpp>

using namespace nju;
using Json = nlohmann::json;

static const ElementType elementTypes[] = {
    {"f32", kDLFloat, 32, "F32"},    {"f16", kDLFloat, 16, "F16"},
    {"bf16", kDLBfloat, 16, "BF16"}, {"f64", kDLFloat, 64, "F64"},
    {"i64", kDLInt, 64, "I64"},      {"i32", kDLInt, 32, "I32"},
    {"i16", kDLInt, 16, "I16"},      {"i8", kDLInt, 8, "I8"},
    {"u8", kDLUInt, 8, "U8"},        {"u16", kDLUInt, 16, "U16"},
    {"u32", kDLUInt, 32, "U32"},     {"u64", kDLUInt, 64, "U64"},
    {"i1", NJU_DL_BOOL, 8, "BOOL"},
};

const ElementType *nju::findElementType(const std::string &name) {
  for (const ElementType &type : elementTypes)
    if (name == type.name)
      return &type;
  return nullptr;
}

/// Limits that no real model reaches; they keep size computations far from
/// overflow.
static constexpr int64_t maxCount = std::numeric_limits<int32_t>::max();
static constexpr int64_t maxBytes = int64_t(1) << 50;

static nju_status bad(const std::string &field, const char *expected) {
  return fail(NJU_DATA_LOSS,
              "the model's signature is damaged: field '%s' is not %s",
              field.c_str(), expected);
}

/// Finds a member; null if `object` is no object or lacks it.
static const Json *find(const Json &object, const char *key) {
  if (!object.is_object())
    return nullptr;
  auto it = object.find(key);
  return it == object.end() ? nullptr : &*it;
}

static nju_status readString(const Json &object, const char *key,
                             std::string &value) {
  const Json *member = find(object, key);
  if (!member || !member->is_string())
    return bad(key, "a string");
  value = member->get<std::string>();
  return NJU_OK;
}

static nju_status readInteger(const Json &object, const char *key, int64_t min,
                              int64_t max, int64_t &value) {
  const Json *member = find(object, key);
  if (!member || !member->is_number_integer() ||
      (member->is_number_unsigned() && member->get<uint64_t>() > uint64_t(max)))
    return bad(key, "an integer in range");
  value = member->get<int64_t>();
  return value < min || value > max ? bad(key, "an integer in range") : NJU_OK;
}

static nju_status readFeatures(const Json &object, Variant &variant) {
  const Json *features = find(object, "features");
  if (!features || !features->is_array())
    return bad("features", "a list of strings");
  for (const Json &feature : *features) {
    if (!feature.is_string())
      return bad("features", "a list of strings");
    variant.features.push_back(feature.get<std::string>());
  }
  return NJU_OK;
}

static nju_status readTarget(const Json &root, Signature &signature) {
  const Json *target = find(root, "target");
  if (!target)
    return bad("target", "an object");
  if (nju_status status = readString(*target, "name", signature.target))
    return status;
  const Json *variants = find(*target, "variants");
  if (!variants || !variants->is_array() || variants->empty())
    return bad("target.variants", "a list of objects");
  for (const Json &entry : *variants) {
    Variant variant;
    if (nju_status status = readString(entry, "name", variant.name))
      return status;
    if (nju_status status = readFeatures(entry, variant))
      return status;
    signature.variants.push_back(std::move(variant));
  }
  return NJU_OK;
}

static nju_status readWeights(const Json &root, Signature &signature) {
  const Json *weights = find(root, "weights");
  if (!weights)
    return bad("weights", "an object or null");
  if (weights->is_null())
    return NJU_OK;
  signature.hasWeights = true;
  if (nju_status status = readString(*weights, "file", signature.weightsFile))
    return status;
  if (signature.weightsFile.empty() ||
      signature.weightsFile.find('/') != std::string::npos)
    return bad("weights.file", "a plain file name");
  int64_t bytes;
  if (nju_status status = readInteger(*weights, "bytes", 0, maxBytes, bytes))
    return status;
  signature.weightsBytes = bytes;
  return readString(*weights, "hash", signature.weightsHash);
}

static nju_status readCache(const Json &lm, Signature &signature) {
  const Json *layers = find(lm, "cache");
  if (!layers || !layers->is_array())
    return bad("lm.cache", "a list of objects");
  for (const Json &layer : *layers) {
    CacheLayer entry;
    if (nju_status status =
            readInteger(layer, "heads", 1, 1 << 16, entry.heads))
      return status;
    if (nju_status status =
            readInteger(layer, "head_dim", 1, 1 << 16, entry.headDim))
      return status;
    if (nju_status status = readString(layer, "type", entry.type))
      return status;
    if (entry.type != "f32" && entry.type != "f16" && entry.type != "q8" &&
        entry.type != "q4")
      return bad("lm.cache.type", "f32, f16, q8 or q4");
    const char *sizes[] = {"key_block_bytes", "value_block_bytes"};
    for (int part = 0; part < 2; ++part)
      if (nju_status status = readInteger(layer, sizes[part], 1, maxCount,
                                          entry.blockBytes[part]))
        return status;
    signature.cache.push_back(entry);
  }
  return NJU_OK;
}

static nju_status readLanguageModel(const Json &root, Signature &signature) {
  const Json *lm = find(root, "lm");
  if (!lm)
    return bad("lm", "an object");
  struct {
    const char *key;
    int64_t min, max;
    int64_t *value;
  } fields[] = {
      {"vocabulary", 1, maxCount, &signature.vocabulary},
      {"max_tokens", 1, maxCount - NJU_ABI_CACHE_BLOCK, &signature.maxTokens},
      {"max_sequences", 1, 1 << 20, &signature.maxSequences},
      {"max_batch_tokens", 1, 1 << 24, &signature.maxBatchTokens},
      {"arena_bytes", 0, maxBytes, &signature.arenaBytes},
  };
  for (auto &field : fields)
    if (nju_status status =
            readInteger(*lm, field.key, field.min, field.max, *field.value))
      return status;
  return readCache(*lm, signature);
}

static nju_status readShape(const Json &tensor, TensorType &result) {
  const Json *shape = find(tensor, "shape");
  if (!shape || !shape->is_array() || shape->size() > NJU_ABI_MAX_RANK)
    return bad("shape", "a list of at most 8 dimensions");
  for (const Json &entry : *shape) {
    Dimension dimension;
    if (entry.is_string())
      dimension.name = entry.get<std::string>();
    else if (entry.is_number_unsigned() &&
             entry.get<uint64_t>() <= uint64_t(maxBytes))
      dimension.size = entry.get<int64_t>();
    else
      return bad("shape", "a list of sizes and names");
    result.shape.push_back(dimension);
  }
  return NJU_OK;
}

static nju_status readTensors(const Json &root, const char *key,
                              std::vector<TensorType> &tensors) {
  const Json *list = find(root, key);
  if (!list || !list->is_array())
    return bad(key, "a list of tensors");
  for (const Json &entry : *list) {
    TensorType tensor;
    std::string type;
    if (nju_status status = readString(entry, "name", tensor.name))
      return status;
    if (nju_status status = readString(entry, "type", type))
      return status;
    tensor.type = findElementType(type);
    if (!tensor.type)
      return bad("type", "a type this runtime knows");
    if (nju_status status = readShape(entry, tensor))
      return status;
    tensors.push_back(std::move(tensor));
  }
  return NJU_OK;
}

nju_status nju::parseSignature(const char *text, size_t length,
                               Signature &signature) {
  Json root = Json::parse(text, text + length, nullptr,
                          /*allow_exceptions=*/false);
  if (root.is_discarded() || !root.is_object())
    return fail(NJU_DATA_LOSS, "the model's signature is damaged: it is not "
                               "a JSON object");
  int64_t abi;
  std::string kind;
  if (nju_status status = readInteger(root, "abi", 0, maxCount, abi))
    return status;
  if (abi != NJU_ABI_VERSION)
    return fail(NJU_INCOMPATIBLE,
                "the model's signature has ABI version %" PRId64
                ", this runtime has %d: compile the model again",
                abi, NJU_ABI_VERSION);
  if (nju_status status = readString(root, "kind", kind))
    return status;
  if (kind != "lm" && kind != "graph")
    return bad("kind", "'lm' or 'graph'");
  signature.isLanguageModel = kind == "lm";
  if (nju_status status = readString(root, "name", signature.name))
    return status;
  if (nju_status status = readTarget(root, signature))
    return status;
  if (nju_status status = readWeights(root, signature))
    return status;
  if (signature.isLanguageModel)
    if (nju_status status = readLanguageModel(root, signature))
      return status;
  if (nju_status status = readTensors(root, "inputs", signature.inputs))
    return status;
  return readTensors(root, "outputs", signature.outputs);
}
