//===- LowerToLLVM.cpp - From lowered functions to the LLVM dialect -*- C++ -*//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "EntryPoints.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/ConvertToLLVM/ToLLVMPass.h"
#include "mlir/Conversion/FuncToLLVM/ConvertFuncToLLVM.h"
#include "mlir/Conversion/IndexToLLVM/IndexToLLVM.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/MathToLibm/MathToLibm.h"
#include "mlir/Conversion/MemRefToLLVM/MemRefToLLVM.h"
#include "mlir/Conversion/OpenMPToLLVM/ConvertOpenMPToLLVM.h"
#include "mlir/Conversion/Passes.h"
#include "mlir/Conversion/UBToLLVM/UBToLLVM.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVM.h"
#include "mlir/Dialect/AMX/AMXDialect.h"
#include "mlir/Dialect/AMX/Transforms.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Dialect/OpenMP/OpenMPDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/UB/IR/UBOps.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Dialect/Vector/Transforms/LoweringPatterns.h"
#include "mlir/Dialect/Vector/Transforms/VectorRewritePatterns.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/OpenMP/OpenMPToLLVMIRTranslation.h"
#include "mlir/Transforms/Passes.h"
#include "nju/Dialect/Exec/IR/Exec.h"
#include "nju/Dialect/Exec/IR/KernelAttributes.h"
#include "nju/Target/Passes.h"
#include "nju/Target/ToLLVM.h"

namespace nju {
#define GEN_PASS_DEF_LOWERTOLLVM
#include "nju/Target/Passes.h.inc"
} // namespace nju

using namespace mlir;

void nju::registerTargetInterfaces(DialectRegistry &registry) {
  registry.insert<affine::AffineDialect, amx::AMXDialect, arith::ArithDialect,
                  cf::ControlFlowDialect, func::FuncDialect, LLVM::LLVMDialect,
                  math::MathDialect, memref::MemRefDialect, omp::OpenMPDialect,
                  scf::SCFDialect, ub::UBDialect, vector::VectorDialect>();
  registerConvertAMXToLLVMInterface(registry);
  arith::registerConvertArithToLLVMInterface(registry);
  cf::registerConvertControlFlowToLLVMInterface(registry);
  registerConvertFuncToLLVMInterface(registry);
  index::registerConvertIndexToLLVMInterface(registry);
  registerConvertMathToLLVMInterface(registry);
  registerConvertMemRefToLLVMInterface(registry);
  registerConvertOpenMPToLLVMInterface(registry);
  ub::registerConvertUBToLLVMInterface(registry);
  vector::registerConvertVectorToLLVMInterface(registry);
  registerConvertToLLVMDependentDialectLoading(registry);
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  registerOpenMPDialectTranslation(registry);
}

namespace {

/// Elementary functions: polynomials, which LLVM vectorises, where they are
/// within a few units in the last place; libm for what LLVM has no intrinsic
/// for.
struct LowerMath : PassWrapper<LowerMath, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(LowerMath)
  StringRef getName() const override { return "LowerMath"; }
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect, func::FuncDialect, math::MathDialect,
                    vector::VectorDialect>();
  }
  void runOnOperation() override;
};

/// Conversions of bf16 become integer arithmetic. Without AVX512-BF16, LLVM
/// calls a function of the compiler's library for each element, which a model
/// is not linked with; the instruction of AVX512-BF16 takes subnormal numbers
/// as zero.
struct ExpandBFloat16 : PassWrapper<ExpandBFloat16, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(ExpandBFloat16)
  StringRef getName() const override { return "ExpandBFloat16"; }
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    arith::populateExpandBFloat16Patterns(patterns);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

/// Where an expansion makes two dynamic sizes of one, upstream's
/// --expand-strided-metadata cannot derive one of them, and crashes; it needs
/// not, for the op names every size.
struct ExpandShapeToCast : OpRewritePattern<memref::ExpandShapeOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(memref::ExpandShapeOp op,
                                PatternRewriter &rewriter) const override;
};

/// Loads of tiles whose lines are used once become TILELOADDT1, which upstream
/// has no op for: it leaves the first cache to what is used again.
struct LowerTileStreams
    : PassWrapper<LowerTileStreams, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(LowerTileStreams)
  StringRef getName() const override { return "LowerTileStreams"; }
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect, LLVM::LLVMDialect,
                    memref::MemRefDialect>();
  }
  void runOnOperation() override;
};

/// exec.slice becomes a descriptor of its own: upstream's views keep an offset,
/// for which buffers of the identity layout have no place.
struct LowerSlices : PassWrapper<LowerSlices, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(LowerSlices)
  StringRef getName() const override { return "LowerSlices"; }
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect, LLVM::LLVMDialect,
                    memref::MemRefDialect>();
  }
  void runOnOperation() override;
};

struct LowerReshapes : PassWrapper<LowerReshapes, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(LowerReshapes)
  StringRef getName() const override { return "LowerReshapes"; }
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<affine::AffineDialect, memref::MemRefDialect>();
  }
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<ExpandShapeToCast>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

/// Masks of a prefix become comparisons of lane numbers: the vector dialect's
/// interface to --convert-to-llvm leaves them alone.
struct LowerMasks : PassWrapper<LowerMasks, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(LowerMasks)
  StringRef getName() const override { return "LowerMasks"; }
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect, vector::VectorDialect>();
  }
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    vector::populateVectorMaskOpLoweringPatterns(patterns);
    vector::populateVectorMaskMaterializationPatterns(
        patterns, /*force32BitVectorIndices=*/true);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace

void LowerMath::runOnOperation() {
  RewritePatternSet polynomials(&getContext());
  populateMathPolynomialApproximationPatterns(polynomials, [](StringRef name) {
    return name == math::ExpOp::getOperationName() ||
           name == math::TanhOp::getOperationName() ||
           name == math::ErfOp::getOperationName();
  });
  if (failed(applyPatternsGreedily(getOperation(), std::move(polynomials))))
    return signalPassFailure();

  RewritePatternSet calls(&getContext());
  populateMathToLibmConversionPatterns(calls);
  ConversionTarget target(getContext());
  target.addLegalDialect<arith::ArithDialect, func::FuncDialect,
                         math::MathDialect, vector::VectorDialect>();
  target.addIllegalOp<math::AcosOp, math::AcoshOp, math::AsinOp, math::AsinhOp,
                      math::AtanOp, math::Atan2Op, math::AtanhOp, math::CbrtOp,
                      math::CoshOp, math::ErfOp, math::ErfcOp, math::SinhOp,
                      math::TanOp, math::TanhOp>();
  if (failed(applyPartialConversion(getOperation(), target, std::move(calls))))
    signalPassFailure();
}

LogicalResult
ExpandShapeToCast::matchAndRewrite(memref::ExpandShapeOp op,
                                   PatternRewriter &rewriter) const {
  MemRefType type = op.getResultType();
  auto isDynamic = [&](int64_t dim) { return type.isDynamicDim(dim); };
  if (llvm::none_of(op.getReassociationIndices(), [&](ArrayRef<int64_t> group) {
        return llvm::count_if(group, isDynamic) > 1;
      }))
    return failure();
  Location loc = op.getLoc();
  auto source =
      memref::ExtractStridedMetadataOp::create(rewriter, loc, op.getSrc());
  SmallVector<OpFoldResult> sizes = op.getMixedOutputShape();
  SmallVector<OpFoldResult> sourceStrides = source.getConstifiedMixedStrides();
  SmallVector<OpFoldResult> strides(sizes.size());
  AffineExpr product =
      rewriter.getAffineSymbolExpr(0) * rewriter.getAffineSymbolExpr(1);
  for (auto [group, stride] :
       llvm::zip(op.getReassociationIndices(), sourceStrides))
    for (int64_t dim : llvm::reverse(group)) {
      strides[dim] = stride;
      stride = affine::makeComposedFoldedAffineApply(rewriter, loc, product,
                                                     {stride, sizes[dim]});
    }
  rewriter.replaceOpWithNewOp<memref::ReinterpretCastOp>(
      op, type, source.getBaseBuffer(), source.getConstifiedMixedOffset(),
      sizes, strides);
  return success();
}

static void lowerTileStream(amx::TileLoadOp load) {
  ImplicitLocOpBuilder b(load.getLoc(), load);
  amx::TileType type = load.getTileType();
  int64_t width = type.getElementType().getIntOrFloatBitWidth() / 8;
  auto metadata = memref::ExtractStridedMetadataOp::create(b, load.getBase());
  Value at = metadata.getOffset();
  for (auto [index, stride] :
       llvm::zip_equal(load.getIndices(), metadata.getStrides()))
    at = arith::AddIOp::create(b, at, arith::MulIOp::create(b, index, stride));
  auto bytesOf = [&](Value elements) -> Value {
    Value one = arith::ConstantIndexOp::create(b, width);
    return arith::IndexCastOp::create(b, b.getI64Type(),
                                      arith::MulIOp::create(b, elements, one));
  };
  Value base = arith::IndexCastOp::create(
      b, b.getI64Type(),
      memref::ExtractAlignedPointerAsIndexOp::create(b, load.getBase()));
  Value address = arith::AddIOp::create(b, base, bytesOf(at));
  Value pointer = LLVM::IntToPtrOp::create(
      b, LLVM::LLVMPointerType::get(b.getContext()), ValueRange{address});
  auto constant = [&](int64_t value) -> Value {
    return LLVM::ConstantOp::create(b, b.getI16Type(),
                                    b.getI16IntegerAttr(value));
  };
  Value stride = load.getStride();
  if (!stride)
    stride = metadata.getStrides().drop_back().back();
  Value tile = LLVM::CallIntrinsicOp::create(
                   b, LLVM::LLVMX86AMXType::get(b.getContext()),
                   b.getStringAttr("llvm.x86.tileloaddt164.internal"),
                   ValueRange{constant(type.getDimSize(0)),
                              constant(type.getDimSize(1) * width), pointer,
                              bytesOf(stride)})
                   .getResults();
  load.replaceAllUsesWith(
      UnrealizedConversionCastOp::create(b, type, tile).getResult(0));
  load.erase();
}

void LowerTileStreams::runOnOperation() {
  SmallVector<amx::TileLoadOp> loads;
  getOperation().walk([&](amx::TileLoadOp load) {
    if (load->hasAttr(nju::exec::kStreamsAttr))
      loads.push_back(load);
  });
  for (amx::TileLoadOp load : loads)
    lowerTileStream(load);
}

/// The slice's descriptor: as that of the source, but for the address and the
/// first size.
static void lowerSlice(nju::exec::SliceOp slice) {
  ImplicitLocOpBuilder b(slice.getLoc(), slice);
  auto type = cast<MemRefType>(slice.getType());
  Type i64 = b.getI64Type();
  auto toInteger = [&](Value index) -> Value {
    return arith::IndexCastOp::create(b, i64, index);
  };
  auto constant = [&](int64_t value) -> Value {
    return arith::ConstantOp::create(b, b.getI64IntegerAttr(value));
  };
  int64_t rank = type.getRank();
  SmallVector<Value> sizes{toInteger(slice.getCount())}, strides(rank);
  for (int64_t i = 1; i < rank; ++i)
    sizes.push_back(toInteger(memref::DimOp::create(b, slice.getSource(), i)));
  strides.back() = constant(1);
  for (int64_t i = rank - 1; i > 0; --i)
    strides[i - 1] = arith::MulIOp::create(b, strides[i], sizes[i]);
  int64_t bytes = llvm::divideCeil(type.getElementTypeBitWidth(), 8);
  Value skipped =
      arith::MulIOp::create(b, toInteger(slice.getBegin()), strides.front());
  Value address = arith::AddIOp::create(
      b,
      toInteger(
          memref::ExtractAlignedPointerAsIndexOp::create(b, slice.getSource())),
      arith::MulIOp::create(b, skipped, constant(bytes)));
  auto pointer = LLVM::LLVMPointerType::get(b.getContext());
  Value begin = LLVM::IntToPtrOp::create(b, pointer, address);
  auto array = LLVM::LLVMArrayType::get(i64, rank);
  Value descriptor = LLVM::PoisonOp::create(
      b, LLVM::LLVMStructType::getLiteral(
             b.getContext(), {pointer, pointer, i64, array, array}));
  auto insert = [&](Value value, ArrayRef<int64_t> position) {
    descriptor = LLVM::InsertValueOp::create(b, descriptor, value, position);
  };
  insert(begin, 0);
  insert(begin, 1);
  insert(constant(0), 2);
  for (int64_t i = 0; i < rank; ++i) {
    insert(sizes[i], {3, i});
    insert(strides[i], {4, i});
  }
  slice.replaceAllUsesWith(
      UnrealizedConversionCastOp::create(b, type, descriptor).getResult(0));
  slice.erase();
}

void LowerSlices::runOnOperation() {
  SmallVector<nju::exec::SliceOp> slices;
  getOperation().walk(
      [&](nju::exec::SliceOp slice) { slices.push_back(slice); });
  for (nju::exec::SliceOp slice : slices)
    lowerSlice(slice);
}

static void addPasses(OpPassManager &passes) {
  passes.addPass(std::make_unique<LowerMath>());
  passes.addPass(std::make_unique<ExpandBFloat16>());
  passes.addPass(std::make_unique<LowerMasks>());
  passes.addPass(createCanonicalizerPass());
  passes.addPass(createCSEPass());
  passes.addPass(std::make_unique<LowerReshapes>());
  passes.addPass(std::make_unique<LowerTileStreams>());
  passes.addPass(std::make_unique<LowerSlices>());
  passes.addPass(memref::createExpandStridedMetadataPass());
  passes.addPass(createLowerAffinePass());
  passes.addPass(createSCFToControlFlowPass());
  passes.addPass(createCanonicalizerPass());
  passes.addPass(createCSEPass());
  passes.addPass(createConvertToLLVMPass());
  passes.addPass(createReconcileUnrealizedCastsPass());
}

/// Says what the conversion left; the entry is added after it.
static LogicalResult
finishModule(ModuleOp module, const std::optional<nju::EntryFunction> &entry) {
  for (Operation &op : *module.getBody()) {
    StringRef dialect = op.getName().getDialectNamespace();
    if (dialect != "llvm" && dialect != "nju")
      return op.emitOpError() << "is left after the conversion to LLVM";
  }
  return entry ? addEntry(module, *entry) : success();
}

/// Names and dimensions of arguments and results mean nothing to LLVM: the
/// translation would warn of each.
static void dropAttributes(func::FuncOp function) {
  function->removeAttr(nju::exec::kCheckMessagesAttr);
  auto drop = [&](auto attributes, auto remove) {
    for (unsigned i = 0; attributes && i < attributes.size(); ++i)
      for (NamedAttribute attribute : cast<DictionaryAttr>(attributes[i]))
        if (attribute.getName().getValue().starts_with("nju."))
          remove(i, attribute.getName());
  };
  drop(function.getArgAttrsAttr(),
       [&](unsigned i, StringAttr name) { function.removeArgAttr(i, name); });
  drop(function.getResAttrsAttr(), [&](unsigned i, StringAttr name) {
    function.removeResultAttr(i, name);
  });
}

namespace {
struct LowerToLLVM : nju::impl::LowerToLLVMBase<LowerToLLVM> {
  void runOnOperation() override {
    std::optional<nju::EntryFunction> entry = nju::findEntry(getOperation());
    getOperation().walk(dropAttributes);
    OpPassManager passes(ModuleOp::getOperationName());
    addPasses(passes);
    if (failed(runPipeline(passes, getOperation())) ||
        failed(finishModule(getOperation(), entry)))
      signalPassFailure();
  }
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<LLVM::LLVMDialect, math::MathDialect, vector::VectorDialect,
                    affine::AffineDialect, arith::ArithDialect,
                    cf::ControlFlowDialect, memref::MemRefDialect,
                    scf::SCFDialect, omp::OpenMPDialect>();
  }
};
} // namespace

LogicalResult nju::lowerToLLVM(ModuleOp module) {
  PassManager passes(module.getContext());
  passes.addPass(createLowerToLLVM());
  return passes.run(module);
}
