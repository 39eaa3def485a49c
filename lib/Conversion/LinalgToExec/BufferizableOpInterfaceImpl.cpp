//===- BufferizableOpInterfaceImpl.cpp - How our ops become buffers -*- C++
//-*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Conversion/BufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Arith/Transforms/BufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Bufferization/IR/BufferizableOpInterface.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Bufferization/IR/DstBufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Bufferization/Transforms/FuncBufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Linalg/Transforms/BufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/SCF/Transforms/BufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Tensor/Transforms/BufferizableOpInterfaceImpl.h"
#include "nju/Dialect/Exec/IR/Exec.h"
#include "nju/Dialect/NJU/IR/NJU.h"

using namespace mlir;
using namespace mlir::bufferization;

namespace {

/// A weight is a buffer that nobody may write to.
struct ParamRefModel
    : BufferizableOpInterface::ExternalModel<ParamRefModel, nju::ParamRefOp> {
  AliasingValueList getAliasingValues(Operation *, OpOperand &,
                                      const AnalysisState &) const {
    return {};
  }
  bool isWritable(Operation *, Value, const AnalysisState &) const {
    return false;
  }
  FailureOr<BufferLikeType> getBufferType(Operation *, Value value,
                                          const BufferizationOptions &,
                                          const BufferizationState &,
                                          SmallVector<Value> &) const {
    auto type = cast<RankedTensorType>(value.getType());
    return cast<BufferLikeType>(
        MemRefType::get(type.getShape(), type.getElementType()));
  }
  LogicalResult bufferize(Operation *op, RewriterBase &rewriter,
                          const BufferizationOptions &,
                          BufferizationState &) const {
    auto param = cast<nju::ParamRefOp>(op);
    RankedTensorType type = param.getType();
    replaceOpWithNewBufferizedOp<nju::exec::WeightOp>(
        rewriter, op, MemRefType::get(type.getShape(), type.getElementType()),
        param.getParamAttr());
    return success();
  }
};

/// exec.linear and exec.cached_attention overwrite their last operand.
template <typename OpTy>
struct DestinationModel
    : DstBufferizableOpInterfaceExternalModel<DestinationModel<OpTy>, OpTy> {
  bool bufferizesToMemoryRead(Operation *op, OpOperand &operand,
                              const AnalysisState &) const {
    return !cast<DestinationStyleOpInterface>(op).isDpsInit(&operand);
  }
  LogicalResult bufferize(Operation *op, RewriterBase &rewriter,
                          const BufferizationOptions &options,
                          BufferizationState &state) const {
    SmallVector<Value> buffers;
    for (Value operand : op->getOperands()) {
      FailureOr<Value> buffer = getBuffer(rewriter, operand, options, state);
      if (failed(buffer))
        return failure();
      buffers.push_back(*buffer);
    }
    auto buffered = OpTy::create(rewriter, op->getLoc(), TypeRange{}, buffers,
                                 cast<OpTy>(op).getProperties(),
                                 op->getDiscardableAttrDictionary().getValue());
    for (auto [from, to] :
         llvm::zip_equal(op->getRegions(), buffered->getRegions()))
      to.takeBody(from);
    replaceOpWithBufferizedValues(rewriter, op, buffers.back());
    return success();
  }
};

} // namespace

void nju::registerBufferizationModels(DialectRegistry &registry) {
  arith::registerBufferizableOpInterfaceExternalModels(registry);
  bufferization::func_ext::registerBufferizableOpInterfaceExternalModels(
      registry);
  linalg::registerBufferizableOpInterfaceExternalModels(registry);
  scf::registerBufferizableOpInterfaceExternalModels(registry);
  tensor::registerBufferizableOpInterfaceExternalModels(registry);
  registry.addExtension(+[](MLIRContext *context, NJUDialect *) {
    ParamRefOp::attachInterface<ParamRefModel>(*context);
  });
  registry.addExtension(+[](MLIRContext *context, exec::ExecDialect *) {
    exec::LinearOp::attachInterface<DestinationModel<exec::LinearOp>>(*context);
    exec::DequantizeOp::attachInterface<DestinationModel<exec::DequantizeOp>>(
        *context);
    exec::CachedAttentionOp::attachInterface<
        DestinationModel<exec::CachedAttentionOp>>(*context);
  });
}
