//===- HostTensor.cpp - Tensors in memory at compile time -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/NJU/Analysis/HostTensor.h"
#include "HostElements.h"
#include "mlir/IR/DialectResourceBlobManager.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace nju;
using namespace nju::detail;

int64_t nju::getHostElementSize(Type type) {
  if (type.isF32() || type.isF64() || type.isF16() || type.isBF16())
    return type.getIntOrFloatBitWidth() / 8;
  if (!isa<IntegerType>(type))
    return 0;
  switch (type.getIntOrFloatBitWidth()) {
  case 1:
    return 1;
  case 8:
  case 16:
  case 32:
  case 64:
    return type.getIntOrFloatBitWidth() / 8;
  default:
    return 0;
  }
}

std::optional<int64_t> nju::countElements(ArrayRef<int64_t> shape) {
  int64_t count = 1;
  for (int64_t size : shape)
    if (size == 0)
      return 0;
  for (int64_t size : shape)
    if (size < 0 || llvm::MulOverflow(count, size, count))
      return std::nullopt;
  return count;
}

HostTensor HostTensor::uninitialized(Type elementType,
                                     ArrayRef<int64_t> shape) {
  HostTensor tensor;
  tensor.elementType = elementType;
  tensor.shape.assign(shape.begin(), shape.end());
  // new[] aligns for every element type.
  tensor.storage.reset(new char[std::max<int64_t>(tensor.getNumBytes(), 1)]);
  return tensor;
}

HostTensor::HostTensor(Type elementType, ArrayRef<int64_t> shape)
    : HostTensor(uninitialized(elementType, shape)) {
  std::memset(mutableBytes(), 0, getNumBytes());
}

int64_t HostTensor::getNumElements() const {
  return countElements(shape).value_or(0);
}

/// Converts `values` into a new tensor.
template <typename V>
static HostTensor fromValues(Type type, ArrayRef<int64_t> shape,
                             ArrayRef<V> values) {
  HostTensor tensor = HostTensor::uninitialized(type, shape);
  assert(static_cast<int64_t>(values.size()) == tensor.getNumElements());
  visitElementType(type, [&](auto zero) {
    using T = decltype(zero);
    auto *to = reinterpret_cast<T *>(tensor.mutableBytes());
    for (size_t i = 0; i < values.size(); ++i)
      to[i] = convertElement<T>(values[i]);
  });
  return tensor;
}

HostTensor HostTensor::fromInts(Type elementType, ArrayRef<int64_t> shape,
                                ArrayRef<int64_t> values) {
  return fromValues(elementType, shape, values);
}

HostTensor HostTensor::fromFloats(Type elementType, ArrayRef<int64_t> shape,
                                  ArrayRef<double> values) {
  return fromValues(elementType, shape, values);
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

/// Fills a tensor with raw bytes, those of one element for a splat.
static LogicalResult fill(HostTensor &tensor, ArrayRef<char> raw) {
  int64_t size = tensor.getElementSize(), bytes = tensor.getNumBytes();
  if (static_cast<int64_t>(raw.size()) == bytes) {
    if (bytes > 0) // An empty array may have no address.
      std::memcpy(tensor.mutableBytes(), raw.data(), bytes);
    return success();
  }
  if (static_cast<int64_t>(raw.size()) != size)
    return failure();
  for (int64_t i = 0; i < bytes; i += size)
    std::memcpy(tensor.mutableBytes() + i, raw.data(), size);
  return success();
}

FailureOr<HostTensor> HostTensor::fromAttr(ElementsAttr attr) {
  Type type = attr.getElementType();
  if (!getHostElementSize(type) || !attr.getShapedType().hasStaticShape())
    return failure();
  HostTensor tensor = uninitialized(type, attr.getShapedType().getShape());
  if (auto resource = dyn_cast<DenseResourceElementsAttr>(attr)) {
    AsmResourceBlob *blob = resource.getRawHandle().getBlob();
    if (!blob || failed(fill(tensor, blob->getData())))
      return failure();
    return tensor;
  }
  if (type.isInteger(1)) {
    auto values = attr.tryGetValues<bool>();
    if (!values)
      return failure();
    llvm::copy(*values, reinterpret_cast<bool *>(tensor.mutableBytes()));
    return tensor;
  }
  auto dense = dyn_cast<DenseElementsAttr>(attr);
  if (!dense || failed(fill(tensor, dense.getRawData())))
    return failure();
  return tensor;
}

DenseElementsAttr HostTensor::toAttr() const {
  RankedTensorType type = getType();
  int64_t count = getNumElements(), size = getElementSize();
  if (count == 0)
    return DenseElementsAttr::get(type, ArrayRef<Attribute>());
  // Equal bytes at a distance of one element: all elements are equal.
  bool isSplat = std::memcmp(bytes(), bytes() + size, (count - 1) * size) == 0;
  if (elementType.isInteger(1)) {
    ArrayRef<bool> values = elements<bool>();
    return DenseElementsAttr::get(type, isSplat ? values.take_front() : values);
  }
  return DenseElementsAttr::getFromRawBuffer(
      type, ArrayRef<char>(bytes(), isSplat ? size : count * size));
}

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

template <typename To>
static To elementAs(const HostTensor &tensor, int64_t index) {
  return visitElementType(tensor.getElementType(), [&](auto zero) {
    using T = decltype(zero);
    return convertElement<To>(
        reinterpret_cast<const T *>(tensor.bytes())[index]);
  });
}

int64_t HostTensor::getInt(int64_t index) const {
  return elementAs<int64_t>(*this, index);
}

double HostTensor::getFloat(int64_t index) const {
  return elementAs<double>(*this, index);
}

llvm::SmallVector<int64_t> HostTensor::getInts() const {
  llvm::SmallVector<int64_t> values;
  for (int64_t i = 0, count = getNumElements(); i < count; ++i)
    values.push_back(getInt(i));
  return values;
}

HostTensor HostTensor::reshaped(ArrayRef<int64_t> newShape) const {
  assert(countElements(newShape) == countElements(shape));
  HostTensor tensor = *this;
  tensor.shape.assign(newShape.begin(), newShape.end());
  return tensor;
}

HostTensor HostTensor::converted(Type newElementType) const {
  if (newElementType == elementType)
    return *this;
  HostTensor result = uninitialized(newElementType, shape);
  int64_t count = getNumElements();
  visitElementType(elementType, [&](auto fromZero) {
    visitElementType(newElementType, [&](auto toZero) {
      using From = decltype(fromZero);
      using To = decltype(toZero);
      auto *from = reinterpret_cast<const From *>(bytes());
      auto *to = reinterpret_cast<To *>(result.mutableBytes());
      for (int64_t i = 0; i < count; ++i)
        to[i] = convertElement<To>(from[i]);
    });
  });
  return result;
}
