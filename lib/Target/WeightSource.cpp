//===- WeightSource.cpp - Where the bytes of a weight come from -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "WeightSource.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "llvm/Support/Path.h"
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace mlir;
using namespace nju;

SourceFiles::~SourceFiles() {
  for (auto &file : files)
    ::close(file.second.descriptor);
}

llvm::Expected<SourceFiles::File> SourceFiles::open(StringRef path) {
  auto known = files.find(path);
  if (known != files.end())
    return known->second;
  llvm::SmallString<256> full(folder);
  llvm::sys::path::append(full, path);
  int descriptor = ::open(full.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status;
  if (descriptor < 0 || ::fstat(descriptor, &status) != 0) {
    int error = errno;
    if (descriptor >= 0)
      ::close(descriptor);
    return llvm::createStringError("cannot open '" + full +
                                   "': " + std::strerror(error));
  }
  File file = {descriptor, static_cast<uint64_t>(status.st_size)};
  files[path] = file;
  return file;
}

llvm::Error SourceFiles::read(StringRef path, uint64_t offset, void *data,
                              size_t size) {
  llvm::Expected<File> file = open(path);
  if (!file)
    return file.takeError();
  if (offset > file->size || size > file->size - offset)
    return llvm::createStringError(
        llvm::formatv("'{0}' has {1} bytes, expected at least {2}", path,
                      file->size, offset + size)
            .str());
  char *bytes = static_cast<char *>(data);
  while (size > 0) {
    ssize_t got = ::pread(file->descriptor, bytes, size, offset);
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0)
      return llvm::createStringError(
          "cannot read '" + path +
          "': " + (got < 0 ? std::strerror(errno) : "it became shorter"));
    bytes += got;
    offset += got;
    size -= got;
  }
  return llvm::Error::success();
}

/// The elements of an attribute as the file stores them.
static std::vector<char> storedElements(ElementsAttr attribute, int64_t width) {
  int64_t count = attribute.getNumElements();
  std::vector<char> bytes(count * width);
  auto put = [&](int64_t i, uint64_t bits) {
    std::memcpy(&bytes[i * width], &bits, width);
  };
  if (auto resource = dyn_cast<DenseResourceElementsAttr>(attribute)) {
    llvm::ArrayRef<char> data = resource.getData();
    bytes.assign(data.begin(), data.end());
    bytes.resize(count * width);
  } else if (isa<FloatType>(attribute.getElementType())) {
    for (auto [i, value] :
         llvm::enumerate(attribute.getValues<llvm::APFloat>()))
      put(i, value.bitcastToAPInt().getZExtValue());
  } else {
    for (auto [i, value] : llvm::enumerate(attribute.getValues<llvm::APInt>()))
      put(i, value.getZExtValue());
  }
  return bytes;
}

WeightSource::WeightSource(ParamOp param, SourceFiles &files)
    : files(files), file(dyn_cast<FileDataAttr>(param.getData())),
      uniform(dyn_cast<UniformDataAttr>(param.getData())),
      type(param.getDataType()),
      width(llvm::divideCeil(type.getElementTypeBitWidth(), 8)) {
  if (!file && !uniform)
    elements = storedElements(cast<ElementsAttr>(param.getData()), width);
}

/// A region of what came quantized, dequantized.
llvm::Error WeightSource::readRegion(const UniformReader::Region &region,
                                     void *data) {
  if (!reader) {
    llvm::Expected<UniformReader> opened =
        UniformReader::open(uniform, files.getFolder());
    if (!opened)
      return opened.takeError();
    reader = std::move(*opened);
  }
  return reader->read(
      region, {static_cast<float *>(data), size_t(region.getNumElements())});
}

llvm::Error WeightSource::readFlat(int64_t begin, int64_t count, void *data) {
  if (uniform) {
    // The rest of a row, whole rows, and the begin of a row.
    int64_t columns = type.getDimSize(1);
    auto *to = static_cast<float *>(data);
    while (count > 0) {
      int64_t row = begin / columns, column = begin % columns;
      bool isWhole = column == 0 && count >= columns;
      int64_t rows = isWhole ? count / columns : 1;
      int64_t end = isWhole ? columns : std::min(columns, column + count);
      if (llvm::Error error = readRegion({row, row + rows, column, end}, to))
        return error;
      int64_t size = rows * (end - column);
      begin += size;
      count -= size;
      to += size;
    }
    return llvm::Error::success();
  }
  if (file)
    return files.read(file.getPath(), file.getOffset() + begin * width, data,
                      count * width);
  std::memcpy(data, elements.data() + begin * width, count * width);
  return llvm::Error::success();
}

llvm::Error WeightSource::readSlab(int64_t dimension, int64_t begin,
                                   int64_t end, void *data) {
  if (uniform)
    return readRegion(
        dimension == 0
            ? UniformReader::Region{begin, end, 0, type.getDimSize(1)}
            : UniformReader::Region{0, type.getDimSize(0), begin, end},
        data);
  int64_t outer = 1, inner = 1, size = type.getDimSize(dimension);
  for (auto [i, extent] : llvm::enumerate(type.getShape())) {
    if (static_cast<int64_t>(i) < dimension)
      outer *= extent;
    else if (static_cast<int64_t>(i) > dimension)
      inner *= extent;
  }
  int64_t run = (end - begin) * inner;
  for (int64_t o = 0; o < outer; ++o)
    if (llvm::Error error =
            readFlat((o * size + begin) * inner, run,
                     static_cast<char *>(data) + o * run * width))
      return error;
  return llvm::Error::success();
}
