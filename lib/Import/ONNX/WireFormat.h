//===- WireFormat.h - Reads a model without its weights -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_IMPORT_ONNX_WIREFORMAT_H
#define NJU_LIB_IMPORT_ONNX_WIREFORMAT_H

#include "onnx-ml.pb.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace nju::onnx_import {

/// Keys of `TensorProto.external_data` by which parseModel says that a tensor's
/// bytes lie in the model file itself.
constexpr llvm::StringLiteral kInlineOffset = "nju.offset";
constexpr llvm::StringLiteral kInlineLength = "nju.length";

/// Parses the serialized ModelProto `bytes`. The data of each tensor that are
/// longer than a cache line and stored as plain little-endian values (raw_data,
/// packed float_data and double_data) are not copied: the tensor refers to
/// their place in `bytes` by kInlineOffset and kInlineLength. So models of more
/// than 2 GB, the limit of protobuf's parser, can be read as well.
/// Fails with a message that says where `bytes` are malformed.
llvm::Error parseModel(llvm::StringRef bytes, onnx::ModelProto &model);

} // namespace nju::onnx_import

#endif // NJU_LIB_IMPORT_ONNX_WIREFORMAT_H
