//===- ParamReader.cpp - Values of nju.param -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/NJU/Analysis/ParamReader.h"
#include "StridedCopy.h"
#include "nju/Dialect/NJU/Analysis/UniformReader.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/Path.h"
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace mlir;
using namespace nju;
using namespace nju::detail;

ParamReader::~ParamReader() {
  for (const auto &file : files)
    close(file.second);
}

LogicalResult ParamReader::fail(const llvm::Twine &reason) {
  lastReason = reason.str();
  return failure();
}

/// Bytes of a tensor type; no value if a HostTensor cannot hold it.
static std::optional<int64_t> countBytes(ShapedType type) {
  int64_t size = getHostElementSize(type.getElementType()), bytes;
  if (size == 0 || !type.hasStaticShape())
    return std::nullopt;
  std::optional<int64_t> count = countElements(type.getShape());
  if (!count || llvm::MulOverflow(*count, size, bytes))
    return std::nullopt;
  return bytes;
}

/// Paths of a model stay within its folder.
static bool isWithinFolder(StringRef path) {
  return !path.empty() && !llvm::sys::path::is_absolute(path) &&
         llvm::none_of(llvm::make_range(llvm::sys::path::begin(path),
                                        llvm::sys::path::end(path)),
                       [](StringRef part) { return part == ".."; });
}

static bool readFully(int file, char *to, int64_t bytes, uint64_t offset) {
  while (bytes > 0) {
    ssize_t count = pread(file, to, bytes, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0)
      return false;
    to += count;
    bytes -= count;
    offset += count;
  }
  return true;
}

/// The open file, which holds the whole tensor.
FailureOr<int> ParamReader::open(FileDataAttr attr) {
  StringRef path = attr.getPath();
  if (!isWithinFolder(path))
    return fail("path '" + path + "' leaves the model's folder");
  auto known = files.find(path);
  if (known == files.end()) {
    llvm::SmallString<256> full(folder);
    llvm::sys::path::append(full, path);
    int file = ::open(full.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0)
      return fail("cannot open '" + full + "': " + std::strerror(errno));
    known = files.try_emplace(path, file).first;
  }
  struct stat status;
  if (fstat(known->second, &status) != 0 || !S_ISREG(status.st_mode))
    return fail("'" + path + "' is no regular file");
  uint64_t bytes = *countBytes(attr.getType()), size = status.st_size;
  if (attr.getOffset() > size || bytes > size - attr.getOffset())
    return fail("a tensor of " + llvm::Twine(bytes) + " bytes at offset " +
                llvm::Twine(attr.getOffset()) + " ends beyond '" + path +
                "' of " + llvm::Twine(size) + " bytes");
  return known->second;
}

FailureOr<HostTensor> ParamReader::readSlab(FileDataAttr attr,
                                            int64_t dimension, int64_t begin,
                                            int64_t end) {
  llvm::SmallVector<int64_t> shape(attr.getType().getShape());
  if (!countBytes(attr.getType()))
    return fail("its elements cannot be read");
  assert(dimension < int64_t(shape.size()) && 0 <= begin && begin <= end &&
         end <= shape[dimension] && "expected a slab of the tensor");
  FailureOr<int> file = open(attr);
  if (failed(file))
    return failure();
  ArrayRef<int64_t> all = attr.getType().getShape();
  int64_t outer = *countElements(all.take_front(dimension));
  shape[dimension] = end - begin;
  HostTensor slab =
      HostTensor::uninitialized(attr.getType().getElementType(), shape);
  int64_t stride =
      *countElements(all.drop_front(dimension + 1)) * slab.getElementSize();
  int64_t bytes = (end - begin) * stride;
  for (int64_t i = 0; i < outer; ++i)
    if (!readFully(*file, slab.mutableBytes() + i * bytes, bytes,
                   attr.getOffset() + (i * all[dimension] + begin) * stride))
      return fail("cannot read '" + attr.getPath() +
                  "': " + std::strerror(errno));
  return slab;
}

FailureOr<HostTensor> ParamReader::readFile(FileDataAttr attr) {
  FailureOr<int> file = open(attr);
  if (failed(file))
    return failure();
  HostTensor tensor = HostTensor::uninitialized(attr.getType().getElementType(),
                                                attr.getType().getShape());
  int64_t bytes = tensor.getNumBytes();
  if (!readFully(*file, tensor.mutableBytes(), bytes, attr.getOffset()))
    return fail("cannot read '" + attr.getPath() +
                "': " + std::strerror(errno));
  if (attr.getType().getElementType().isInteger(1))
    for (int64_t i = 0, count = bytes; i < count; ++i)
      tensor.mutableBytes()[i] = tensor.bytes()[i] != 0;
  return tensor;
}

llvm::Error ParamReader::readBytes(FileDataAttr attr, uint64_t offset,
                                   llvm::MutableArrayRef<char> to) {
  FailureOr<int> file = open(attr);
  if (failed(file))
    return llvm::createStringError(lastReason);
  if (!readFully(*file, to.data(), to.size(), attr.getOffset() + offset))
    return llvm::createStringError("cannot read '" + attr.getPath() +
                                   "': " + std::strerror(errno));
  return llvm::Error::success();
}

FailureOr<HostTensor> ParamReader::readUniform(UniformDataAttr data) {
  llvm::Expected<UniformReader> reader =
      UniformReader::create(data, [this](FileDataAttr file, uint64_t offset,
                                         llvm::MutableArrayRef<char> to) {
        return readBytes(file, offset, to);
      });
  if (!reader)
    return fail(llvm::toString(reader.takeError()));
  HostTensor values = HostTensor::uninitialized(data.getType().getElementType(),
                                                data.getType().getShape());
  if (llvm::Error error =
          reader->read({0, values.getDim(0), 0, values.getDim(1)},
                       values.mutableElements<float>()))
    return fail(llvm::toString(std::move(error)));
  return values;
}

FailureOr<HostTensor> ParamReader::readData(ParamOp param, int64_t maxBytes) {
  auto type = cast<RankedTensorType>(param.getType());
  RankedTensorType dataType = param.getDataType();
  if (!dataType)
    return fail("param '" + param.getSymName() + "' has no readable data");
  std::optional<int64_t> bytes = countBytes(type),
                         dataBytes = countBytes(dataType);
  if (!bytes || !dataBytes)
    return fail("param '" + param.getSymName() +
                "' has elements or a size that cannot be read");
  if (*bytes > maxBytes || *dataBytes > maxBytes)
    return fail("param '" + param.getSymName() + "' of " +
                llvm::Twine(std::max(*bytes, *dataBytes)) +
                " bytes is larger than " + llvm::Twine(maxBytes) + " bytes");
  if (auto file = dyn_cast<FileDataAttr>(param.getData()))
    return readFile(file);
  if (auto uniform = dyn_cast<UniformDataAttr>(param.getData()))
    return readUniform(uniform);
  FailureOr<HostTensor> tensor =
      HostTensor::fromAttr(cast<ElementsAttr>(param.getData()));
  if (failed(tensor))
    return fail("param '" + param.getSymName() + "' has unreadable elements");
  return tensor;
}

HostTensor nju::permuteDimensions(const HostTensor &data,
                                  ArrayRef<int64_t> permutation) {
  llvm::SmallVector<int64_t> shape, strides,
      from = rowMajorStrides(data.getShape());
  for (int64_t dim : permutation) {
    shape.push_back(data.getDim(dim));
    strides.push_back(from[dim]);
  }
  HostTensor result = HostTensor::uninitialized(data.getElementType(), shape);
  copyStrided(data.getElementSize(), shape, data.bytes(), strides,
              result.mutableBytes(), rowMajorStrides(shape));
  return result;
}

FailureOr<HostTensor> ParamReader::readLogical(ParamOp param,
                                               int64_t maxBytes) {
  FailureOr<HostTensor> tensor = readData(param, maxBytes);
  if (failed(tensor))
    return failure();
  if (auto permutation = param.getPermutation())
    tensor = permuteDimensions(*tensor, *permutation);
  return tensor->converted(
      cast<RankedTensorType>(param.getType()).getElementType());
}

FailureOr<HostTensor> ParamReader::read(ParamOp param, int64_t maxBytes) {
  FailureOr<HostTensor> tensor = readLogical(param, maxBytes);
  if (failed(tensor) || !param.getPanels())
    return tensor;
  // [K, N] becomes [panels, K, columns]; what the last panel lacks is zero.
  int64_t width = *param.getPanels(), depth = tensor->getDim(0),
          columns = tensor->getDim(1), size = tensor->getElementSize();
  HostTensor packed(
      tensor->getElementType(),
      {static_cast<int64_t>(llvm::divideCeil(columns, width)), depth, width});
  for (int64_t panel = 0; panel < packed.getDim(0); ++panel) {
    int64_t first = panel * width;
    copyStrided(size, {depth, std::min(width, columns - first)},
                tensor->bytes() + first * size, {columns, 1},
                packed.mutableBytes() + panel * depth * width * size,
                {width, 1});
  }
  return packed;
}
