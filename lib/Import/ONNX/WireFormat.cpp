//===- WireFormat.cpp - Reads a model without its weights -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "WireFormat.h"
#include "llvm/Support/FormatVariadic.h"
#include <optional>

using llvm::Error;
using llvm::StringRef;

namespace {

/// The messages in which tensors can lie; all others are copied as they are.
enum class Message {
  Model,
  Graph,
  Node,
  Attribute,
  Tensor,
  SparseTensor,
  Function,
};

/// Shorter tensors are copied: a reference would take as much room.
constexpr uint64_t kLongestCopy = 64;

/// protobuf's own limit.
constexpr unsigned kMaxDepth = 100;

enum WireType { Varint = 0, Fixed64 = 1, Bytes = 2, Fixed32 = 5 };

/// One field: its place in the file (`tag` to `end`) and, of a length-delimited
/// one, its content.
struct Field {
  uint32_t number;
  WireType type;
  const char *tag;
  const char *end;
  StringRef content;
  uint64_t value = 0;
};

class Stripper {
public:
  explicit Stripper(StringRef bytes) : file(bytes) {}

  /// Appends `bytes`, a message of the given kind, to `out` without the long
  /// data of its tensors.
  Error strip(Message kind, StringRef bytes, unsigned depth, std::string &out);

private:
  llvm::Expected<Field> readField(const char *position, const char *end);
  Error stripTensor(StringRef bytes, std::string &out);
  Error malformed(const char *position, const char *what);

  StringRef file;
};

} // namespace

/// The kind of the messages in field `number` of a message, if tensors can lie
/// in them. Numbers are those of onnx-ml.proto.
static std::optional<Message> child(Message kind, uint32_t number) {
  switch (kind) {
  case Message::Model:
    return number == onnx::ModelProto::kGraphFieldNumber
               ? std::optional(Message::Graph)
           : number == onnx::ModelProto::kFunctionsFieldNumber
               ? std::optional(Message::Function)
               : std::nullopt;
  case Message::Graph:
    return number == onnx::GraphProto::kNodeFieldNumber
               ? std::optional(Message::Node)
           : number == onnx::GraphProto::kInitializerFieldNumber
               ? std::optional(Message::Tensor)
           : number == onnx::GraphProto::kSparseInitializerFieldNumber
               ? std::optional(Message::SparseTensor)
               : std::nullopt;
  case Message::Node:
    return number == onnx::NodeProto::kAttributeFieldNumber
               ? std::optional(Message::Attribute)
               : std::nullopt;
  case Message::Attribute:
    switch (number) {
    case onnx::AttributeProto::kTFieldNumber:
    case onnx::AttributeProto::kTensorsFieldNumber:
      return Message::Tensor;
    case onnx::AttributeProto::kGFieldNumber:
    case onnx::AttributeProto::kGraphsFieldNumber:
      return Message::Graph;
    case onnx::AttributeProto::kSparseTensorFieldNumber:
    case onnx::AttributeProto::kSparseTensorsFieldNumber:
      return Message::SparseTensor;
    default:
      return std::nullopt;
    }
  case Message::SparseTensor:
    return number == onnx::SparseTensorProto::kValuesFieldNumber ||
                   number == onnx::SparseTensorProto::kIndicesFieldNumber
               ? std::optional(Message::Tensor)
               : std::nullopt;
  case Message::Function:
    return number == onnx::FunctionProto::kNodeFieldNumber
               ? std::optional(Message::Node)
           : number == onnx::FunctionProto::kAttributeProtoFieldNumber
               ? std::optional(Message::Attribute)
               : std::nullopt;
  case Message::Tensor:
    return std::nullopt;
  }
  return std::nullopt;
}

/// Reads a base-128 number; leaves `position` behind it. False if it does not
/// end before `end` or has more than 64 bits.
static bool readVarint(const char *&position, const char *end,
                       uint64_t &value) {
  value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (position == end)
      return false;
    auto byte = static_cast<uint8_t>(*position++);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80)
      return true;
  }
  return false;
}

static void writeVarint(uint64_t value, std::string &out) {
  for (; value >= 0x80; value >>= 7)
    out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

static void writeBytes(uint32_t number, StringRef content, std::string &out) {
  writeVarint(number << 3 | Bytes, out);
  writeVarint(content.size(), out);
  out.append(content.data(), content.size());
}

Error Stripper::malformed(const char *position, const char *what) {
  return llvm::createStringError(llvm::formatv("{0} at byte {1} of {2}", what,
                                               position - file.data(),
                                               file.size())
                                     .str());
}

llvm::Expected<Field> Stripper::readField(const char *position,
                                          const char *end) {
  Field field;
  field.tag = position;
  uint64_t tag;
  if (!readVarint(position, end, tag) || tag >> 3 == 0 || tag >> 32 != 0)
    return malformed(field.tag, "a malformed field");
  field.number = static_cast<uint32_t>(tag >> 3);
  field.type = static_cast<WireType>(tag & 7);
  uint64_t size = static_cast<uint64_t>(end - position);
  switch (tag & 7) {
  case Varint:
    if (!readVarint(position, end, field.value))
      return malformed(field.tag, "a malformed number");
    size = 0;
    break;
  case Fixed64:
    size = 8;
    break;
  case Fixed32:
    size = 4;
    break;
  case Bytes:
    if (!readVarint(position, end, size))
      return malformed(field.tag, "a malformed length");
    break;
  default:
    return malformed(field.tag, "a field of unknown type");
  }
  if (size > static_cast<uint64_t>(end - position))
    return malformed(field.tag, "a field that runs over the end");
  field.content = StringRef(position, size);
  field.end = position + size;
  return field;
}

/// True if the values of the tensor field `number`, packed, are the row-major
/// little-endian elements of a tensor of type `dataType`.
static bool holdsPlainData(uint32_t number, uint64_t dataType) {
  using Tensor = onnx::TensorProto;
  return number == Tensor::kRawDataFieldNumber ||
         (number == Tensor::kFloatDataFieldNumber &&
          dataType == Tensor::FLOAT) ||
         (number == Tensor::kDoubleDataFieldNumber &&
          dataType == Tensor::DOUBLE);
}

Error Stripper::stripTensor(StringRef bytes, std::string &out) {
  using Tensor = onnx::TensorProto;
  std::optional<Field> data;
  unsigned numData = 0;
  uint64_t dataType = 0;
  bool isExternal = false;
  for (const char *p = bytes.begin(); p != bytes.end();) {
    llvm::Expected<Field> field = readField(p, bytes.end());
    if (!field)
      return field.takeError();
    p = field->end;
    if (field->number == Tensor::kDataTypeFieldNumber)
      dataType = field->value;
    if (field->number == Tensor::kDataLocationFieldNumber)
      isExternal |= field->value == Tensor::EXTERNAL;
    if (field->number == Tensor::kRawDataFieldNumber ||
        field->number == Tensor::kFloatDataFieldNumber ||
        field->number == Tensor::kDoubleDataFieldNumber) {
      ++numData;
      data = *field;
    }
  }
  // Data in several pieces are left to protobuf, which knows how to join them.
  if (numData != 1 || isExternal || data->type != Bytes ||
      data->content.size() <= kLongestCopy ||
      !holdsPlainData(data->number, dataType)) {
    out.append(bytes.data(), bytes.size());
    return Error::success();
  }
  out.append(bytes.begin(), data->tag);
  out.append(data->end, bytes.end());
  std::pair<StringRef, uint64_t> entries[] = {
      {nju::onnx_import::kInlineOffset,
       static_cast<uint64_t>(data->content.data() - file.data())},
      {nju::onnx_import::kInlineLength, data->content.size()}};
  for (auto [key, value] : entries) {
    std::string entry;
    writeBytes(onnx::StringStringEntryProto::kKeyFieldNumber, key, entry);
    writeBytes(onnx::StringStringEntryProto::kValueFieldNumber,
               std::to_string(value), entry);
    writeBytes(onnx::TensorProto::kExternalDataFieldNumber, entry, out);
  }
  return Error::success();
}

Error Stripper::strip(Message kind, StringRef bytes, unsigned depth,
                      std::string &out) {
  if (depth > kMaxDepth)
    return malformed(bytes.data(), "messages nested too deeply");
  if (kind == Message::Tensor)
    return stripTensor(bytes, out);
  std::string content;
  for (const char *p = bytes.begin(); p != bytes.end();) {
    llvm::Expected<Field> field = readField(p, bytes.end());
    if (!field)
      return field.takeError();
    p = field->end;
    std::optional<Message> inner = child(kind, field->number);
    if (!inner || field->type != Bytes) {
      out.append(field->tag, field->end);
      continue;
    }
    content.clear();
    if (Error error = strip(*inner, field->content, depth + 1, content))
      return error;
    writeBytes(field->number, content, out);
  }
  return Error::success();
}

Error nju::onnx_import::parseModel(StringRef bytes, onnx::ModelProto &model) {
  std::string stripped;
  if (Error error = Stripper(bytes).strip(Message::Model, bytes, 0, stripped))
    return error;
  if (stripped.size() > static_cast<size_t>(std::numeric_limits<int>::max()))
    return llvm::createStringError(
        "a graph of more than 2 GB without its weights");
  if (!model.ParseFromArray(stripped.data(), static_cast<int>(stripped.size())))
    return llvm::createStringError(
        "fields that are not those of an ONNX model");
  return Error::success();
}
