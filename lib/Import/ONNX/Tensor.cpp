//===- Tensor.cpp - Tensors of an ONNX model -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Tensor.h"
#include "WireFormat.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace nju::onnx_import;
namespace fs = llvm::sys::fs;
namespace path = llvm::sys::path;

/// Larger tensors are weights.
constexpr int64_t kMaxConstantBytes = 64;
/// Integer vectors of up to so many elements are constants.
constexpr int64_t kMaxConstantInts = 1024;

Type nju::onnx_import::elementType(int32_t dataType, MLIRContext *context) {
  Builder b(context);
  switch (dataType) {
  case onnx::TensorProto::FLOAT:
    return b.getF32Type();
  case onnx::TensorProto::DOUBLE:
    return b.getF64Type();
  case onnx::TensorProto::FLOAT16:
    return b.getF16Type();
  case onnx::TensorProto::BFLOAT16:
    return b.getBF16Type();
  case onnx::TensorProto::BOOL:
    return b.getI1Type();
  case onnx::TensorProto::INT8:
    return b.getIntegerType(8);
  case onnx::TensorProto::INT16:
    return b.getIntegerType(16);
  case onnx::TensorProto::INT32:
    return b.getIntegerType(32);
  case onnx::TensorProto::INT64:
    return b.getIntegerType(64);
  case onnx::TensorProto::UINT8:
    return b.getIntegerType(8, /*isSigned=*/false);
  case onnx::TensorProto::UINT16:
    return b.getIntegerType(16, /*isSigned=*/false);
  case onnx::TensorProto::UINT32:
    return b.getIntegerType(32, /*isSigned=*/false);
  case onnx::TensorProto::UINT64:
    return b.getIntegerType(64, /*isSigned=*/false);
  default:
    return {};
  }
}

std::optional<PackedType> nju::onnx_import::packedType(int32_t dataType) {
  // Not all versions of onnx.proto that NJU is built with have these.
  constexpr int32_t kUInt2 = 25, kInt2 = 26;
  switch (dataType) {
  case onnx::TensorProto::UINT4:
    return PackedType{4, false};
  case onnx::TensorProto::INT4:
    return PackedType{4, true};
  case kUInt2:
    return PackedType{2, false};
  case kInt2:
    return PackedType{2, true};
  default:
    return std::nullopt;
  }
}

std::string nju::onnx_import::dataTypeName(int32_t dataType) {
  if (onnx::TensorProto::DataType_IsValid(dataType))
    return onnx::TensorProto::DataType_Name(
        static_cast<onnx::TensorProto::DataType>(dataType));
  return "data type " + std::to_string(dataType);
}

int64_t nju::onnx_import::elementSize(Type type) {
  return llvm::divideCeil(type.getIntOrFloatBitWidth(), 8);
}

FailureOr<int64_t>
nju::onnx_import::countElements(llvm::ArrayRef<int64_t> shape) {
  // Room for the bytes of any element type in an int64_t.
  constexpr int64_t kMaxElements = int64_t(1) << 59;
  int64_t count = 1;
  // A dimension of 0 does not make the product of the others smaller.
  for (int64_t dim : shape)
    if (dim != 0 &&
        (llvm::MulOverflow(count, dim, count) || count > kMaxElements))
      return failure();
  return llvm::is_contained(shape, 0) ? 0 : count;
}

bool nju::onnx_import::isConstant(RankedTensorType type) {
  int64_t count = type.getNumElements();
  Type element = type.getElementType();
  return count * elementSize(element) <= kMaxConstantBytes ||
         (element.isInteger() && type.getRank() <= 1 &&
          count <= kMaxConstantInts);
}

//===----------------------------------------------------------------------===//
// Elements in the message itself
//===----------------------------------------------------------------------===//

/// Appends the low `size` bytes of `value`.
static void appendElement(uint64_t value, int64_t size, std::string &bytes) {
  char buffer[sizeof(value)];
  llvm::support::endian::write64le(buffer, value);
  bytes.append(buffer, size);
}

template <typename Values>
static std::string packIntegers(const Values &values, int64_t size) {
  std::string bytes;
  bytes.reserve(values.size() * size);
  for (auto value : values)
    appendElement(static_cast<uint64_t>(value), size, bytes);
  return bytes;
}

/// The elements of the field in which onnx.proto stores values of this type,
/// as they would lie in `raw_data`.
static std::string packFields(const onnx::TensorProto &tensor, Type type) {
  int64_t size = elementSize(type);
  switch (tensor.data_type()) {
  case onnx::TensorProto::FLOAT: {
    std::string bytes;
    for (float value : tensor.float_data())
      appendElement(llvm::bit_cast<uint32_t>(value), size, bytes);
    return bytes;
  }
  case onnx::TensorProto::DOUBLE: {
    std::string bytes;
    for (double value : tensor.double_data())
      appendElement(llvm::bit_cast<uint64_t>(value), size, bytes);
    return bytes;
  }
  case onnx::TensorProto::INT64:
    return packIntegers(tensor.int64_data(), size);
  case onnx::TensorProto::UINT32:
  case onnx::TensorProto::UINT64:
    return packIntegers(tensor.uint64_data(), size);
  default:
    return packIntegers(tensor.int32_data(), size);
  }
}

/// Elements from bytes as they lie in `raw_data`, which fit the type.
static DenseElementsAttr makeElements(RankedTensorType type,
                                      llvm::StringRef bytes) {
  if (type.getNumElements() == 0)
    return DenseElementsAttr::get(type, llvm::ArrayRef<Attribute>());
  if (!type.getElementType().isInteger(1))
    return DenseElementsAttr::getFromRawBuffer(
        type, llvm::ArrayRef(bytes.data(), bytes.size()));
  SmallVector<bool> values;
  for (char byte : bytes)
    values.push_back(byte != 0);
  return DenseElementsAttr::get(type, values);
}

//===----------------------------------------------------------------------===//
// External data
//===----------------------------------------------------------------------===//

namespace {
/// The entries of TensorProto.external_data.
struct ExternalData {
  std::string location;
  std::optional<uint64_t> offset, length;
  /// The bytes lie in the model file.
  bool isInline = false;
};
} // namespace

static FailureOr<ExternalData> readEntries(const onnx::TensorProto &tensor,
                                           EmitError emitError) {
  ExternalData data;
  for (const onnx::StringStringEntryProto &entry : tensor.external_data()) {
    llvm::StringRef key = entry.key(), value = entry.value();
    if (key == "location") {
      data.location = value.str();
      continue;
    }
    auto *number = llvm::StringSwitch<std::optional<uint64_t> *>(key)
                       .Cases({"offset", kInlineOffset}, &data.offset)
                       .Cases({"length", kInlineLength}, &data.length)
                       .Default(nullptr);
    if (!number)
      continue;
    data.isInline |= key == kInlineOffset;
    uint64_t parsed;
    if (value.getAsInteger(10, parsed)) {
      emitError() << "has external data with " << key << " '" << value
                  << "', expected a number of bytes";
      return failure();
    }
    *number = parsed;
  }
  return data;
}

/// True if `file` lies in `folder` or below; both are canonical.
static bool isBelow(llvm::StringRef file, llvm::StringRef folder) {
  return file.consume_front(folder) &&
         (folder.ends_with("/") || file.starts_with("/"));
}

/// Checks that a location is a regular file in the model's folder, whatever
/// symbolic links lead to it. The folder of the model is that of its path and,
/// where the model is a symbolic link itself, that of the file linked to.
/// Returns the size of the file.
static FailureOr<uint64_t> checkLocation(llvm::StringRef location,
                                         const ModelSource &source,
                                         EmitError emitError) {
  if (location.empty() || location.contains('\0')) {
    emitError() << "has external data without a location";
    return failure();
  }
  auto refuse = [&]() -> FailureOr<uint64_t> {
    emitError() << "has external data in '" << location
                << "', which leaves the folder of the model; expected a "
                << "relative path to a file in it";
    return failure();
  };
  if (path::is_absolute(location) ||
      llvm::is_contained(
          llvm::make_range(path::begin(location), path::end(location)), ".."))
    return refuse();
  SmallString<256> file(source.folder), canonicalFile, folder, model;
  path::append(file, location);
  if (std::error_code error = fs::real_path(file, canonicalFile)) {
    emitError() << "has external data in '" << location
                << "', which cannot be opened: " << error.message();
    return failure();
  }
  fs::real_path(source.folder, folder);
  SmallString<256> modelFile(source.folder);
  path::append(modelFile, source.fileName);
  bool isInside = isBelow(canonicalFile, folder);
  if (!isInside && !fs::real_path(modelFile, model))
    isInside = isBelow(canonicalFile, path::parent_path(model));
  if (!isInside)
    return refuse();
  fs::file_status status;
  if (fs::status(canonicalFile, status) || !fs::is_regular_file(status)) {
    emitError() << "has external data in '" << location
                << "', which is not a regular file";
    return failure();
  }
  return status.getSize();
}

/// Reads a few bytes of the model or of an external file.
static FailureOr<std::string> readBytes(const ExternalData &data,
                                        uint64_t length,
                                        const ModelSource &source,
                                        EmitError emitError) {
  if (data.isInline)
    return source.bytes.substr(*data.offset, length).str();
  SmallString<256> file(source.folder);
  path::append(file, data.location);
  auto slice = llvm::MemoryBuffer::getFileSlice(file, length, *data.offset);
  if (!slice) {
    emitError() << "has external data in '" << data.location
                << "', which cannot be read: " << slice.getError().message();
    return failure();
  }
  return (*slice)->getBuffer().str();
}

//===----------------------------------------------------------------------===//
// loadTensor
//===----------------------------------------------------------------------===//

/// The dimensions of a tensor.
static FailureOr<SmallVector<int64_t>>
readShape(const onnx::TensorProto &tensor, EmitError emitError) {
  if (tensor.dims_size() > kMaxRank) {
    emitError() << "has rank " << tensor.dims_size() << ", expected at most "
                << kMaxRank;
    return failure();
  }
  SmallVector<int64_t> shape(tensor.dims().begin(), tensor.dims().end());
  for (int64_t dim : shape)
    if (dim < 0) {
      emitError() << "has a dimension of " << dim << ", expected 0 or more";
      return failure();
    }
  if (failed(countElements(shape))) {
    emitError() << "has dimensions [" << shape
                << "], which are more elements than fit in any memory";
    return failure();
  }
  return shape;
}

/// The type of a tensor, all of whose dimensions are static.
static FailureOr<RankedTensorType> readType(const onnx::TensorProto &tensor,
                                            MLIRContext *context,
                                            EmitError emitError) {
  Type element = elementType(tensor.data_type(), context);
  if (!element) {
    emitError() << "has element type " << dataTypeName(tensor.data_type())
                << ", expected a float, integer or BOOL type of 8 to 64 bits";
    return failure();
  }
  FailureOr<SmallVector<int64_t>> shape = readShape(tensor, emitError);
  if (failed(shape))
    return failure();
  return RankedTensorType::get(*shape, element);
}

/// A tensor whose bytes lie in the model file or another one.
static FailureOr<Attribute> loadExternal(const onnx::TensorProto &tensor,
                                         RankedTensorType type,
                                         const ModelSource &source,
                                         EmitError emitError) {
  FailureOr<ExternalData> data = readEntries(tensor, emitError);
  if (failed(data))
    return failure();
  uint64_t size = source.bytes.size();
  std::string file = source.fileName;
  if (!data->isInline) {
    FailureOr<uint64_t> fileSize =
        checkLocation(data->location, source, emitError);
    if (failed(fileSize))
      return failure();
    size = *fileSize;
    file = data->location;
  }
  uint64_t length = type.getNumElements() * elementSize(type.getElementType());
  if (data->length && *data->length != length) {
    emitError() << "has " << *data->length << " bytes of data, but its type "
                << type << " needs " << length;
    return failure();
  }
  if (!data->offset)
    data->offset = 0;
  if (*data->offset > size || length > size - *data->offset) {
    emitError() << "has data at bytes " << *data->offset << " to "
                << llvm::SaturatingAdd(*data->offset, length) << " of '" << file
                << "', which has " << size << " bytes";
    return failure();
  }
  if (!isConstant(type))
    return Attribute(
        nju::FileDataAttr::get(type.getContext(), file, *data->offset, type));
  FailureOr<std::string> bytes = readBytes(*data, length, source, emitError);
  if (failed(bytes))
    return failure();
  return Attribute(makeElements(type, *bytes));
}

/// The value of a tensor, its bytes being those of `type`.
static FailureOr<Attribute> loadAs(const onnx::TensorProto &tensor,
                                   RankedTensorType type,
                                   const ModelSource &source,
                                   EmitError emitError) {
  if (tensor.has_segment()) {
    emitError() << "is a segment of a tensor, expected a whole one";
    return failure();
  }
  bool isInline = llvm::any_of(tensor.external_data(), [](const auto &entry) {
    return entry.key() == kInlineOffset;
  });
  if (isInline || tensor.data_location() == onnx::TensorProto::EXTERNAL)
    return loadExternal(tensor, type, source, emitError);
  Type element = type.getElementType();
  std::string bytes =
      tensor.has_raw_data() ? tensor.raw_data() : packFields(tensor, element);
  uint64_t length = type.getNumElements() * elementSize(element);
  if (bytes.size() != length) {
    emitError() << "has " << bytes.size() << " bytes of data, but its type "
                << type << " needs " << length;
    return failure();
  }
  return Attribute(makeElements(type, bytes));
}

FailureOr<Attribute>
nju::onnx_import::loadTensor(const onnx::TensorProto &tensor,
                             const ModelSource &source, MLIRContext *context,
                             EmitError emitError) {
  FailureOr<RankedTensorType> type = readType(tensor, context, emitError);
  if (failed(type))
    return failure();
  return loadAs(tensor, *type, source, emitError);
}

FailureOr<Attribute>
nju::onnx_import::loadStored(const onnx::TensorProto &tensor,
                             const ModelSource &source, MLIRContext *context,
                             EmitError emitError) {
  std::optional<PackedType> packed = packedType(tensor.data_type());
  if (!packed)
    return loadTensor(tensor, source, context, emitError);
  FailureOr<SmallVector<int64_t>> shape = readShape(tensor, emitError);
  if (failed(shape))
    return failure();
  int64_t bytes =
      llvm::divideCeilSigned(*countElements(*shape) * packed->bits, 8);
  Type byte = IntegerType::get(context, 8, IntegerType::Unsigned);
  return loadAs(tensor, RankedTensorType::get({bytes}, byte), source,
                emitError);
}
