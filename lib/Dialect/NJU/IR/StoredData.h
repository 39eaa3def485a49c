//===- StoredData.h - Tensors that attributes hold --------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_DIALECT_NJU_IR_STOREDDATA_H
#define NJU_LIB_DIALECT_NJU_IR_STOREDDATA_H

#include "nju/Dialect/NJU/IR/NJU.h"

namespace nju {

/// The type of a tensor that a file or an elements attribute holds, or null.
inline mlir::RankedTensorType getStoredType(mlir::Attribute data) {
  if (auto file = mlir::dyn_cast_or_null<FileDataAttr>(data))
    return file.getType();
  if (auto elements = mlir::dyn_cast_or_null<mlir::ElementsAttr>(data))
    return mlir::dyn_cast<mlir::RankedTensorType>(elements.getShapedType());
  return nullptr;
}

} // namespace nju

#endif // NJU_LIB_DIALECT_NJU_IR_STOREDDATA_H
