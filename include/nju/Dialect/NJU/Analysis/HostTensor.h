//===- HostTensor.h - Tensors in memory at compile time -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_ANALYSIS_HOSTTENSOR_H
#define NJU_DIALECT_NJU_ANALYSIS_HOSTTENSOR_H

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include <memory>
#include <optional>

namespace nju {

/// Bytes of an element in a HostTensor: i1 is one byte (0 or 1), f16 and bf16
/// are their two bytes. 0 for types that a HostTensor cannot hold; it holds i1,
/// 8 to 64 bit integers of any signedness, f16, bf16, f32 and f64.
int64_t getHostElementSize(mlir::Type type);

/// A dense row-major tensor of this machine's byte order. Copies share the
/// data; who writes does so before the first copy (`mutableBytes`). An empty
/// one (default-constructed) has no type.
class HostTensor {
public:
  HostTensor() = default;
  /// A tensor whose elements are zero. The element type must be one that
  /// `getHostElementSize` knows, the dimensions not negative.
  HostTensor(mlir::Type elementType, llvm::ArrayRef<int64_t> shape);
  /// The same, with elements of any value: the caller writes all of them.
  static HostTensor uninitialized(mlir::Type elementType,
                                  llvm::ArrayRef<int64_t> shape);
  /// Scalars and vectors of integers, most of all shapes.
  static HostTensor fromInts(mlir::Type elementType,
                             llvm::ArrayRef<int64_t> shape,
                             llvm::ArrayRef<int64_t> values);
  static HostTensor fromFloats(mlir::Type elementType,
                               llvm::ArrayRef<int64_t> shape,
                               llvm::ArrayRef<double> values);
  /// A copy of the attribute's elements; fails for types that a HostTensor
  /// cannot hold and attributes whose elements cannot be read.
  static mlir::FailureOr<HostTensor> fromAttr(mlir::ElementsAttr attr);

  /// A dense attribute of the same type and elements (a splat if all are
  /// equal).
  mlir::DenseElementsAttr toAttr() const;

  explicit operator bool() const { return static_cast<bool>(elementType); }
  mlir::Type getElementType() const { return elementType; }
  mlir::RankedTensorType getType() const {
    return mlir::RankedTensorType::get(shape, elementType);
  }
  llvm::ArrayRef<int64_t> getShape() const { return shape; }
  int64_t getRank() const { return static_cast<int64_t>(shape.size()); }
  int64_t getDim(int64_t index) const { return shape[index]; }
  int64_t getNumElements() const;
  int64_t getElementSize() const { return getHostElementSize(elementType); }
  int64_t getNumBytes() const { return getNumElements() * getElementSize(); }

  const char *bytes() const { return storage.get(); }
  /// The data, to be written while no copy shares it.
  char *mutableBytes() { return storage.get(); }
  /// Elements as T, whose size must be the element size (bool: i1, uint16_t:
  /// f16 and bf16).
  template <typename T>
  llvm::ArrayRef<T> elements() const {
    assert(static_cast<int64_t>(sizeof(T)) == getElementSize());
    return llvm::ArrayRef<T>(reinterpret_cast<const T *>(bytes()),
                             static_cast<size_t>(getNumElements()));
  }
  template <typename T>
  llvm::MutableArrayRef<T> mutableElements() {
    assert(static_cast<int64_t>(sizeof(T)) == getElementSize());
    return llvm::MutableArrayRef<T>(reinterpret_cast<T *>(mutableBytes()),
                                    static_cast<size_t>(getNumElements()));
  }

  /// Element `index` in row-major order, converted: floats to integers by
  /// truncation (clamped to int64), i1 to 0 or 1.
  int64_t getInt(int64_t index) const;
  double getFloat(int64_t index) const;
  /// All elements by getInt.
  llvm::SmallVector<int64_t> getInts() const;

  /// The same data with another shape of as many elements.
  HostTensor reshaped(llvm::ArrayRef<int64_t> newShape) const;
  /// Elements converted as `nju.cast` does: to floats rounded to the nearest
  /// even, to integers truncated towards zero and wrapped (from floats out of
  /// range: the nearest number; NaN: 0), to i1 true for every value but zero.
  HostTensor converted(mlir::Type newElementType) const;

private:
  mlir::Type elementType;
  llvm::SmallVector<int64_t> shape;
  std::shared_ptr<char[]> storage;
};

/// Number of elements of a shape, or no value if that does not fit an int64.
std::optional<int64_t> countElements(llvm::ArrayRef<int64_t> shape);

} // namespace nju

#endif // NJU_DIALECT_NJU_ANALYSIS_HOSTTENSOR_H
