//===- WeightFile.cpp - The safetensors file of a model -------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "WeightFile.h"

#include "Memory.h"

#include "nju/abi.h"
#include "nju/checksum.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <sys/mman.h>

using namespace nju;
using Json = nlohmann::json;

/// The format's own limit for the header.
static constexpr uint64_t maxHeaderSize = 100'000'000;

namespace {
struct Extent {
  uint64_t begin, end;
  const std::string *name;
};
} // namespace

static nju_status damaged(const std::string &path, const char *what) {
  return fail(NJU_DATA_LOSS, "weight file '%s' is damaged: %s", path.c_str(),
              what);
}

/// Bits of one element of a safetensors type; 0 if unknown.
static uint64_t getElementBits(const std::string &type) {
  static const struct {
    const char *name;
    uint64_t bits;
  } types[] = {{"BOOL", 8},    {"U8", 8},      {"I8", 8},   {"F8_E5M2", 8},
               {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"I16", 16}, {"U16", 16},
               {"F16", 16},    {"BF16", 16},   {"I32", 32}, {"U32", 32},
               {"F32", 32},    {"F64", 64},    {"I64", 64}, {"U64", 64}};
  for (const auto &entry : types)
    if (type == entry.name)
      return entry.bits;
  return 0;
}

static nju_status tensorError(const std::string &path, const std::string &name,
                              const char *what) {
  return fail(NJU_DATA_LOSS, "weight file '%s' is damaged: tensor '%s' %s",
              path.c_str(), name.c_str(), what);
}

/// Bytes that the shape and type of a tensor ask for; false if malformed.
static bool computeBytes(const Json &tensor, uint64_t &bytes) {
  auto type = tensor.find("dtype"), shape = tensor.find("shape");
  if (type == tensor.end() || shape == tensor.end() || !type->is_string() ||
      !shape->is_array())
    return false;
  uint64_t bits = getElementBits(type->get_ref<const std::string &>());
  if (!bits)
    return false;
  for (const Json &size : *shape)
    if (!size.is_number_unsigned() ||
        __builtin_mul_overflow(bits, size.get<uint64_t>(), &bits))
      return false;
  bytes = bits / 8;
  return true;
}

static nju_status readExtent(const std::string &path, const std::string &name,
                             const Json &tensor, uint64_t dataSize,
                             Extent &extent) {
  if (!tensor.is_object())
    return tensorError(path, name, "is not described by an object");
  auto offsets = tensor.find("data_offsets");
  if (offsets == tensor.end() || !offsets->is_array() || offsets->size() != 2 ||
      !(*offsets)[0].is_number_unsigned() ||
      !(*offsets)[1].is_number_unsigned())
    return tensorError(path, name, "has no valid 'data_offsets'");
  extent = {(*offsets)[0].get<uint64_t>(), (*offsets)[1].get<uint64_t>(),
            &name};
  if (extent.begin > extent.end || extent.end > dataSize)
    return tensorError(path, name, "lies outside the file");
  uint64_t bytes;
  if (!computeBytes(tensor, bytes))
    return tensorError(path, name, "has no valid 'dtype' and 'shape'");
  if (bytes != extent.end - extent.begin)
    return tensorError(path, name,
                       "has 'data_offsets' that do not match its shape");
  return NJU_OK;
}

/// The tensors must cover the data section without holes or overlaps.
static nju_status checkCover(const std::string &path,
                             std::vector<Extent> &extents, uint64_t dataSize) {
  std::sort(extents.begin(), extents.end(),
            [](const Extent &a, const Extent &b) {
              return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
            });
  uint64_t end = 0;
  for (const Extent &extent : extents) {
    if (extent.begin != end)
      return tensorError(path, *extent.name,
                         extent.begin < end ? "overlaps the one before it"
                                            : "leaves a hole before it");
    end = extent.end;
  }
  if (end != dataSize)
    return fail(NJU_DATA_LOSS,
                "weight file '%s' is damaged: its tensors end at byte %" PRIu64
                " of a data section of %" PRIu64 " bytes",
                path.c_str(), end, dataSize);
  return NJU_OK;
}

nju_status WeightFile::readHeader(const std::string &path, std::string &hash) {
  uint64_t headerSize;
  if (file.getSize() < sizeof(headerSize))
    return damaged(path, "it is shorter than a safetensors header");
  memcpy(&headerSize, file.getData(), sizeof(headerSize));
  if (headerSize > maxHeaderSize ||
      headerSize > file.getSize() - sizeof(headerSize))
    return damaged(path, "its header is longer than the file");
  const char *text = reinterpret_cast<const char *>(file.getData() + 8);
  data = file.getData() + 8 + headerSize;
  dataSize = file.getSize() - 8 - headerSize;

  Json header = Json::parse(text, text + headerSize, nullptr,
                            /*allow_exceptions=*/false);
  if (!header.is_object()) // a discarded value is none either
    return damaged(path, "its header is not a JSON object");
  std::vector<Extent> extents;
  for (auto it = header.begin(); it != header.end(); ++it) {
    if (it.key() == "__metadata__")
      continue;
    Extent extent;
    if (nju_status status =
            readExtent(path, it.key(), it.value(), dataSize, extent))
      return status;
    extents.push_back(extent);
  }
  if (nju_status status = checkCover(path, extents, dataSize))
    return status;

  auto metadata = header.find("__metadata__");
  if (metadata != header.end() && metadata->is_object()) {
    auto recorded = metadata->find("nju.hash");
    if (recorded != metadata->end() && recorded->is_string())
      hash = recorded->get<std::string>();
  }
  return NJU_OK;
}

/// Compares what the header says with what the model was compiled with.
nju_status WeightFile::checkHeader(const std::string &path,
                                   const Signature &signature,
                                   const std::string &hash) const {
  if (hash.empty())
    return fail(NJU_INCOMPATIBLE,
                "weight file '%s' was not written by nju-compile: its metadata "
                "has no 'nju.hash'",
                path.c_str());
  if (hash != signature.weightsHash)
    return fail(NJU_INCOMPATIBLE,
                "weight file '%s' is not the one compiled with model '%s': its "
                "hash is %s, the model expects %s",
                path.c_str(), signature.name.c_str(), hash.c_str(),
                signature.weightsHash.c_str());
  if (dataSize != signature.weightsBytes)
    return fail(NJU_DATA_LOSS,
                "weight file '%s' has %" PRIu64
                " bytes of data, model '%s' expects %" PRIu64,
                path.c_str(), dataSize, signature.name.c_str(),
                signature.weightsBytes);
  if (reinterpret_cast<uintptr_t>(data) % NJU_ABI_ALIGNMENT)
    return fail(NJU_INCOMPATIBLE,
                "weight file '%s' has its data section at byte %td of the "
                "file, which is not a multiple of %d",
                path.c_str(), data - file.getData(), NJU_ABI_ALIGNMENT);
  return NJU_OK;
}

nju_status WeightFile::load(const std::string &path,
                            const nju_model_options &options) {
  LoadProgress progress;
  if (options.progress)
    progress = [&options](uint64_t done, uint64_t total) {
      return options.progress(options.progress_context, done, total) != 0;
    };
  if (nju_status status = loaded.load(path, file, "weight file", progress))
    return status;
  data = loaded.getData() + (data - file.getData());
  file.close();
  return NJU_OK;
}

/// Brings the weights to where `options` want them.
nju_status WeightFile::place(const std::string &path,
                             const nju_model_options &options) {
  // Without a wish, they leave a quarter of the memory that there is.
  bool fits = dataSize < getAvailableMemory() / 4 * 3;
  if (options.weights_mode == NJU_WEIGHTS_LOAD)
    return load(path, options);
  if (options.weights_mode == NJU_WEIGHTS_DEFAULT && fits) {
    nju_status status = load(path, options);
    if (status != NJU_RESOURCE_EXHAUSTED)
      return status;
  }
  // Start reading ahead, unless that would push out what is in use.
  if (fits)
    madvise(const_cast<uint8_t *>(file.getData()), file.getSize(),
            MADV_WILLNEED);
  return NJU_OK;
}

nju_status WeightFile::verify(const std::string &path,
                              const Signature &signature) const {
  Checksum checksum;
  checksum.update(data, dataSize);
  if (checksum.hex() == signature.weightsHash)
    return NJU_OK;
  return fail(NJU_DATA_LOSS,
              "weight file '%s' is damaged: its data has the checksum %s, "
              "expected %s",
              path.c_str(), checksum.hex().c_str(),
              signature.weightsHash.c_str());
}

nju_status WeightFile::open(const std::string &path, const Signature &signature,
                            const nju_model_options &options) {
  if (unsigned(options.weights_mode) > NJU_WEIGHTS_LOAD)
    return fail(NJU_INVALID_ARGUMENT,
                "weights_mode is %d, expected a nju_weights_mode of 0 to %d",
                int(options.weights_mode), int(NJU_WEIGHTS_LOAD));
  if (nju_status status = file.open(path, "weight file"))
    return status;
  std::string hash;
  if (nju_status status = readHeader(path, hash))
    return status;
  if (nju_status status = checkHeader(path, signature, hash))
    return status;
  if (nju_status status = place(path, options))
    return status;
  return options.verify_weights ? verify(path, signature) : NJU_OK;
}
