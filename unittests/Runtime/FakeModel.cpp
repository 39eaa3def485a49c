//===- FakeModel.cpp - A model by hand for the runtime's tests ------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "FakeModel.h"

#include "nju/checksum.h"

#include <cstdlib>
#include <cstring>
#include <unistd.h>

using namespace nju;

namespace {
struct Layer {
  int heads, headDim;
};
constexpr Layer layers[] = {{2, 4}, {1, 8}};

/// One head of one layer of one sequence of the cache.
struct Head {
  float *keys, *values;
  int headDim;

  float &key(int64_t position, int dim) const {
    return keys[(position / NJU_ABI_CACHE_BLOCK * headDim + dim) *
                    NJU_ABI_CACHE_BLOCK +
                position % NJU_ABI_CACHE_BLOCK];
  }
  float &value(int64_t position, int dim) const {
    return values[position * headDim + dim];
  }
};
} // namespace

static Head getHead(const nju_abi_step_args &args, int layer, int head,
                    int64_t sequence) {
  auto *region = reinterpret_cast<float *>(args.cache);
  int64_t headSize = 0, regionSize = 0;
  for (int i = 0; i <= layer; ++i) {
    headSize = args.cache_tokens * layers[i].headDim;
    regionSize = args.max_sequences * layers[i].heads * headSize;
    if (i < layer)
      region += 2 * regionSize;
  }
  int64_t offset = (sequence * layers[layer].heads + head) * headSize;
  return {region + offset, region + regionSize + offset, layers[layer].headDim};
}

static int getKey(int token, int layer, int head, int dim) {
  return token * 3 + layer + 2 * head + dim + 1;
}
static int getValue(int token, int layer, int head, int dim) {
  return token + 5 * layer + head + 3 * dim;
}

/// What a position adds to the state of a sequence.
static int64_t addPosition(int64_t state, int64_t position, int64_t key,
                           int64_t value) {
  return (state + (position + 1) * key + value) % 10007;
}

static int toToken(int64_t state) {
  // The failing tokens come only from the tests.
  return (state + fake::makeWeights()[4]) % (fake::wrongShapeValue);
}

int fake::predict(const std::vector<int> &tokens) {
  int64_t state = 0;
  for (size_t position = 0; position < tokens.size(); ++position)
    for (int layer = 0; layer < 2; ++layer)
      for (int head = 0; head < layers[layer].heads; ++head)
        for (int dim = 0; dim < layers[layer].headDim; ++dim)
          state = addPosition(state, position,
                              getKey(tokens[position], layer, head, dim),
                              getValue(tokens[position], layer, head, dim));
  return toToken(state);
}

std::vector<float> fake::makeLogits(int next) {
  std::vector<float> logits(vocabulary);
  for (int i = 0; i < vocabulary; ++i)
    logits[i] = -((i - next + vocabulary) % vocabulary) * 0.25f;
  return logits;
}

int32_t fake::step(const nju_abi_step_args *args) {
  if (args->num_tokens < 1 || args->num_tokens > maxBatchTokens ||
      args->num_rows > args->num_tokens || args->num_threads < 1 ||
      args->cache_tokens % NJU_ABI_CACHE_BLOCK)
    return 1;
  if (memcmp(args->weights, makeWeights().data(), 256))
    return 2;
  memset(args->arena, 0xff, arenaBytes);
#ifdef NJU_FAKE_STEP_MILLISECONDS
  usleep(NJU_FAKE_STEP_MILLISECONDS * 1000);
#endif
  for (int64_t i = 0; i < args->num_tokens; ++i) {
    if (args->tokens[i] == failingToken)
      return failureCode;
    for (int layer = 0; layer < 2; ++layer)
      for (int head = 0; head < layers[layer].heads; ++head) {
        Head cached = getHead(*args, layer, head, args->sequences[i]);
        for (int dim = 0; dim < cached.headDim; ++dim) {
          cached.key(args->positions[i], dim) =
              getKey(args->tokens[i], layer, head, dim);
          cached.value(args->positions[i], dim) =
              getValue(args->tokens[i], layer, head, dim);
        }
      }
  }
  for (int64_t row = 0; row < args->num_rows; ++row) {
    int32_t token = args->rows[row];
    int64_t state = 0;
    for (int64_t position = 0; position <= args->positions[token]; ++position)
      for (int layer = 0; layer < 2; ++layer)
        for (int head = 0; head < layers[layer].heads; ++head) {
          Head cached = getHead(*args, layer, head, args->sequences[token]);
          for (int dim = 0; dim < cached.headDim; ++dim)
            state = addPosition(state, position, cached.key(position, dim),
                                cached.value(position, dim));
        }
    std::vector<float> logits = makeLogits(toToken(state));
    memcpy(args->logits + row * vocabulary, logits.data(),
           logits.size() * sizeof(float));
  }
  return 0;
}

/// sum[n, 3] = a[n, 3] + b[n]; positive[n] = b > 0.
int32_t fake::run(nju_abi_run_args *args) {
  const nju_abi_tensor &a = args->inputs[0], &b = args->inputs[1];
  int64_t n = a.shape[0];
  auto *sum = static_cast<float *>(malloc(n * 3 * sizeof(float) + 1));
  args->outputs[0].data = sum;
  args->outputs[0].shape[0] = n;
  args->outputs[0].shape[1] = 3;
  for (int64_t i = 0; i < n; ++i) {
    int32_t value = static_cast<const int32_t *>(b.data)[i];
    if (value == failingToken)
      return failureCode;
    if (value == contradictingValue) {
      args->error = "node '{0}': found a size of {0}, expected {1}";
      args->error_values[0] = 3;
      args->error_values[1] = -5;
      return 1;
    }
    if (value == wrongShapeValue)
      args->outputs[0].shape[1] = 4;
    for (int64_t j = 0; j < 3; ++j)
      sum[i * 3 + j] = static_cast<const float *>(a.data)[i * 3 + j] + value;
  }
  auto *positive = static_cast<unsigned char *>(malloc(n + 1));
  args->outputs[1].data = positive;
  args->outputs[1].shape[0] = n;
  for (int64_t i = 0; i < n; ++i)
    positive[i] = static_cast<const int32_t *>(b.data)[i] > 0;
  return 0;
}

std::vector<unsigned char> fake::makeWeights() {
  std::vector<unsigned char> bytes(256);
  for (int i = 0; i < 256; ++i)
    bytes[i] = i * 7 + 3;
  return bytes;
}

static std::string getHash() {
  Checksum checksum;
  std::vector<unsigned char> weights = fake::makeWeights();
  checksum.update(weights.data(), weights.size());
  return checksum.hex();
}

std::string fake::makeWeightFile(const std::string &hash) {
  std::string header =
      R"({"__metadata__":{"nju.hash":")" + (hash.empty() ? getHash() : hash) +
      R"(","nju.abi":"4"},)"
      R"("a":{"dtype":"F32","shape":[2,8],"data_offsets":[0,64]},)"
      R"("b":{"dtype":"BF16","shape":[96],"data_offsets":[64,256]}})";
  header.append((128 - (8 + header.size()) % 64) % 64, ' ');
  uint64_t size = header.size();
  std::vector<unsigned char> weights = makeWeights();
  std::string file(reinterpret_cast<const char *>(&size), 8);
  file += header;
  file.append(weights.begin(), weights.end());
  return file;
}

std::string fake::makeVariants(
    const std::vector<std::pair<std::string, std::string>> &variants) {
  std::string text;
  for (const auto &[name, features] : variants)
    text += (text.empty() ? "" : ",") + (R"({"name":")" + name) +
            R"(","cpu":")" + name + R"(","features":)" + features + "}";
  return text;
}

std::string fake::makeLanguageModelSignature(const std::string &variants) {
  return R"({"abi":4,"compiler":"0.1.0","kind":"lm","name":"fake",)"
         R"("target":{"name":"fake-cpu","variants":[)" +
         variants +
         R"(]},"weights":{"file":"fake.safetensors","bytes":256,"hash":")" +
         getHash() + R"("},"lm":{"vocabulary":)" + std::to_string(vocabulary) +
         R"(,"max_tokens":)" + std::to_string(maxTokens) +
         R"(,"max_sequences":)" + std::to_string(maxSequences) +
         R"(,"max_batch_tokens":)" + std::to_string(maxBatchTokens) +
         R"(,"arena_bytes":)" + std::to_string(arenaBytes) +
         R"(,"cache":[{"heads":2,"head_dim":4,"type":"f32","key_block_bytes":256,"value_block_bytes":256},)"
         R"({"heads":1,"head_dim":8,"type":"f32","key_block_bytes":512,"value_block_bytes":512}],)"
         R"("bytes_per_token":256,"flops_per_token":512},)"
         R"("inputs":[{"name":"tokens","type":"i64","shape":["b","s"]}],)"
         R"("outputs":[{"name":"logits","type":"f32","shape":["b","s",64]}]})";
}

std::string fake::makeGraphSignature() {
  return R"({"abi":4,"kind":"graph","name":"fake-graph",)"
         R"("target":{"name":"fake-cpu","variants":[)"
         R"({"name":"fake-cpu","cpu":"fake-cpu","features":[]}]},)"
         R"("weights":null,)"
         R"("inputs":[{"name":"a","type":"f32","shape":["n",3]},)"
         R"({"name":"b","type":"i32","shape":["n"]}],)"
         R"("outputs":[{"name":"sum","type":"f32","shape":["n",3]},)"
         R"({"name":"positive","type":"i1","shape":["n"]}]})";
}

nju_abi_descriptor fake::makeDescriptor(const std::string &signature) {
  nju_abi_descriptor descriptor = {};
  memcpy(descriptor.magic, NJU_ABI_MAGIC, sizeof(descriptor.magic));
  descriptor.abi_version = NJU_ABI_VERSION;
  descriptor.descriptor_size = sizeof(descriptor);
  descriptor.signature_length = signature.size();
  descriptor.signature = signature.c_str();
  static const nju_abi_variant graph[] = {{nullptr, fake::run}};
  static const nju_abi_variant steps[] = {
      {fake::step, nullptr}, {fake::step, nullptr}, {fake::step, nullptr}};
  bool isGraph = signature.find(R"("kind":"graph")") != std::string::npos;
  descriptor.variants = isGraph ? graph : steps;
  // Each has its name and its CPU's in the signature.
  for (size_t at = 0;
       (at = signature.find(R"("cpu":)", at)) != std::string::npos; ++at)
    ++descriptor.num_variants;
  return descriptor;
}
