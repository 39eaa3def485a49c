//===- BufferizableOpInterfaceImpl.h - Bufferization ------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_CONVERSION_BUFFERIZABLEOPINTERFACEIMPL_H
#define NJU_CONVERSION_BUFFERIZABLEOPINTERFACEIMPL_H

namespace mlir {
class DialectRegistry;
} // namespace mlir

namespace nju {

/// Registers how the ops of nju and exec, and of the upstream dialects that the
/// lowering uses, become ops on buffers. `--nju-bufferize` needs it.
void registerBufferizationModels(mlir::DialectRegistry &registry);

} // namespace nju

#endif // NJU_CONVERSION_BUFFERIZABLEOPINTERFACEIMPL_H
