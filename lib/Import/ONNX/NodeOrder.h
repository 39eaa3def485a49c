//===- NodeOrder.h - Order of the nodes of a graph -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_IMPORT_ONNX_NODEORDER_H
#define NJU_LIB_IMPORT_ONNX_NODEORDER_H

#include "Tensor.h"
#include "llvm/ADT/SmallVector.h"

namespace nju::onnx_import {

using NodeList = google::protobuf::RepeatedPtrField<onnx::NodeProto>;

/// The name of a node for diagnostics: its own, or else that of its first
/// output.
std::string nodeName(const onnx::NodeProto &node);

/// Sorts nodes so that each comes behind those whose outputs it uses (also in
/// its subgraphs), and otherwise in the given order. Two nodes with an output
/// of the same name and cycles are errors.
mlir::FailureOr<llvm::SmallVector<const onnx::NodeProto *>>
orderNodes(const NodeList &nodes, EmitError emitError);

} // namespace nju::onnx_import

#endif // NJU_LIB_IMPORT_ONNX_NODEORDER_H
