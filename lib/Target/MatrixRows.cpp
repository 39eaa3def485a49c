//===- MatrixRows.cpp - The rows of a weight matrix -------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Target/MatrixRows.h"
#include "nju/Dialect/NJU/IR/ModelFolder.h"

#include "WeightConversion.h"
#include "WeightSource.h"
#include "nju/checksum.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <mutex>
#include <vector>

using namespace mlir;
using namespace nju;

static StringRef folderOf(ParamOp param) {
  return getModelFolder(param->getParentOfType<ModuleOp>());
}

static std::string pathOf(FileDataAttr file, ParamOp param) {
  llvm::SmallString<256> path(folderOf(param));
  llvm::sys::path::append(path, file.getPath());
  return std::string(path);
}

namespace {

/// Rows that own what they read from.
class OwnedRows : public lcq::WeightRows {
public:
  OwnedRows(lcq::StridedWeights weights, llvm::sys::fs::mapped_file_region map,
            std::vector<char> copy)
      : WeightRows(weights.getRows(), weights.getColumns()), weights(weights),
        map(std::move(map)), copy(std::move(copy)) {}

  llvm::Error read(int64_t begin, int64_t end,
                   llvm::MutableArrayRef<float> out) const override {
    return weights.read(begin, end, out);
  }

private:
  lcq::StridedWeights weights;
  llvm::sys::fs::mapped_file_region map;
  std::vector<char> copy;
};

/// Rows that came quantized, dequantized.
class UniformRows : public lcq::WeightRows {
public:
  UniformRows(UniformReader reader, bool rowMajor)
      : WeightRows(getSize(reader, rowMajor ? 0 : 1),
                   getSize(reader, rowMajor ? 1 : 0)),
        reader(std::move(reader)), rowMajor(rowMajor) {}

  llvm::Error read(int64_t begin, int64_t end,
                   llvm::MutableArrayRef<float> out) const override {
    std::lock_guard<std::mutex> lock(mutex);
    if (rowMajor)
      return reader.read({begin, end, 0, getColumns()}, out);
    std::vector<float> turned(out.size());
    if (llvm::Error error = reader.read({0, getColumns(), begin, end}, turned))
      return error;
    permute(turned.data(), {getColumns(), end - begin}, {1, 0}, out.data(),
            sizeof(float));
    return llvm::Error::success();
  }

private:
  static int64_t getSize(const UniformReader &reader, int64_t dimension) {
    return reader.getData().getType().getDimSize(dimension);
  }

  UniformReader reader;
  bool rowMajor;
  mutable std::mutex mutex; ///< One thread reads at a time.
};

} // namespace

/// Maps the file's tensor; `data` is where it begins.
static llvm::Expected<llvm::sys::fs::mapped_file_region>
mapFile(FileDataAttr file, ParamOp param, uint64_t bytes, const char *&data) {
  std::string path = pathOf(file, param);
  auto failure = [&](std::error_code error) {
    return llvm::createStringError("cannot read '" + path +
                                   "': " + error.message());
  };
  llvm::Expected<llvm::sys::fs::file_t> opened =
      llvm::sys::fs::openNativeFileForRead(path);
  if (!opened)
    return failure(llvm::errorToErrorCode(opened.takeError()));
  llvm::sys::fs::file_status status;
  std::error_code error = llvm::sys::fs::status(*opened, status);
  uint64_t begin = file.getOffset();
  if (!error &&
      (begin > status.getSize() || bytes > status.getSize() - begin)) {
    llvm::sys::fs::closeFile(*opened);
    return llvm::createStringError(
        llvm::formatv("'{0}' has {1} bytes, expected at least {2}",
                      file.getPath(), status.getSize(), begin + bytes)
            .str());
  }
  uint64_t page = llvm::sys::fs::mapped_file_region::alignment();
  uint64_t before = begin % page;
  llvm::sys::fs::mapped_file_region map;
  if (!error)
    map = llvm::sys::fs::mapped_file_region(
        *opened, llvm::sys::fs::mapped_file_region::readonly, before + bytes,
        begin - before, error);
  llvm::sys::fs::closeFile(*opened);
  if (error)
    return failure(error);
  data = map.const_data() + before;
  return map;
}

static std::optional<lcq::WeightType> weightTypeOf(Type type) {
  if (type.isF32())
    return lcq::WeightType::F32;
  if (type.isF16())
    return lcq::WeightType::F16;
  if (type.isBF16())
    return lcq::WeightType::BF16;
  return std::nullopt;
}

llvm::Expected<std::unique_ptr<lcq::WeightRows>>
nju::openWeightRows(ParamOp param) {
  return openWeightRows(
      param, param.getPermutation().value_or(ArrayRef<int64_t>{0, 1}));
}

llvm::Expected<std::unique_ptr<lcq::WeightRows>>
nju::openWeightRows(ParamOp param, ArrayRef<int64_t> permutation) {
  // The matrix is [columns, rows]; dimension i of it is permutation[i].
  int64_t columnDimension = permutation[0];
  bool rowMajor = columnDimension == 1;
  if (auto uniform = dyn_cast<UniformDataAttr>(param.getData())) {
    llvm::Expected<UniformReader> reader =
        UniformReader::open(uniform, folderOf(param));
    if (!reader)
      return reader.takeError();
    return std::make_unique<UniformRows>(std::move(*reader), rowMajor);
  }
  SourceFiles files(folderOf(param));
  WeightSource source(param, files);
  RankedTensorType type = source.getType();
  int64_t count = type.getNumElements();
  Type f32 = Float32Type::get(param.getContext());
  std::optional<lcq::WeightType> stored = weightTypeOf(type.getElementType());
  llvm::sys::fs::mapped_file_region map;
  std::vector<char> copy;
  const char *data = nullptr;
  if (auto file = dyn_cast<FileDataAttr>(param.getData())) {
    auto mapped = mapFile(file, param, count * source.getWidth(), data);
    if (!mapped)
      return mapped.takeError();
    map = std::move(*mapped);
  } else {
    copy.resize(count * source.getWidth());
    if (llvm::Error error = source.readFlat(0, count, copy.data()))
      return std::move(error);
    data = copy.data();
  }
  if (!stored) {
    std::vector<char> converted(count * sizeof(float));
    if (!convertElements(data, type.getElementType(), converted.data(), f32,
                         count))
      return llvm::createStringError("cannot quantize weights of this type, "
                                     "expected floats");
    copy = std::move(converted);
    data = copy.data();
    stored = lcq::WeightType::F32;
  } else if (reinterpret_cast<uintptr_t>(data) % source.getWidth() != 0) {
    copy.assign(data, data + count * source.getWidth());
    data = copy.data();
  }
  int64_t columns = type.getDimSize(columnDimension);
  int64_t rows = type.getDimSize(1 - columnDimension);
  lcq::StridedWeights weights(data, *stored, rows, columns,
                              rowMajor ? columns : 1, rowMajor ? 1 : rows);
  return std::make_unique<OwnedRows>(weights, std::move(map), std::move(copy));
}

/// Appends what the values of `data` depend on.
static llvm::Error describe(Attribute data, ParamOp param,
                            llvm::raw_ostream &out) {
  if (auto uniform = dyn_cast<UniformDataAttr>(data)) {
    out << uniform;
    for (Attribute part : {uniform.getCodes().getData(), uniform.getScales(),
                           uniform.getZeroPoints()}) {
      if (auto packed = dyn_cast_or_null<PackedIntegersAttr>(part))
        part = packed.getData();
      if (part)
        if (llvm::Error error = describe(part, param, out << " "))
          return error;
    }
    return llvm::Error::success();
  }
  if (auto file = dyn_cast<FileDataAttr>(data)) {
    llvm::sys::fs::file_status status;
    std::string path = pathOf(file, param);
    if (std::error_code error = llvm::sys::fs::status(path, status))
      return llvm::createStringError("cannot read '" + path +
                                     "': " + error.message());
    out << file << " " << status.getSize() << " "
        << status.getLastModificationTime().time_since_epoch().count();
    return llvm::Error::success();
  }
  std::string elements;
  llvm::raw_string_ostream(elements) << data;
  Checksum checksum;
  checksum.update(elements.data(), elements.size());
  out << "elements " << checksum.hex();
  return llvm::Error::success();
}

llvm::Expected<std::string> nju::describeWeightSource(ParamOp param) {
  std::string text;
  llvm::raw_string_ostream out(text);
  if (llvm::Error error = describe(param.getData(), param, out))
    return std::move(error);
  if (auto permutation = param.getPermutation())
    llvm::interleave(*permutation, out << " permutation ", ",");
  return text;
}
