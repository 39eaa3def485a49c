//===- Variants.cpp - One model's code for several processors ---*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Variants.h"

#include "mlir/IR/OperationSupport.h"
#include "mlir/Pass/PassManager.h"
#include "nju/Conversion/Pipelines.h"
#include "nju/Dialect/NJU/IR/WeightLayout.h"
#include "nju/Target/Emit.h"
#include "nju/Target/ToLLVM.h"

using namespace mlir;
using namespace nju;

/// All variants read one weight file: the lowering must not have moved or added
/// a weight.
static LogicalResult checkWeights(ModuleOp base,
                                  const LoweredVariant &variant) {
  ModuleOp module = *variant.module;
  for (auto param : module.getOps<ParamOp>()) {
    auto original = base.lookupSymbol<ParamOp>(param.getSymName());
    std::optional<int64_t> offset = getWeightOffset(param);
    if (!original || !offset || offset != getWeightOffset(original) ||
        original.getType() != param.getType())
      return param.emitOpError()
             << "has another place or type in the code for "
             << variant.target.getVariantName() << " than in the weight file";
  }
  return success();
}

/// Whether `variant` gains nothing from what it needs beyond `lesser`. What
/// LLVM makes of the same operations depends on the width of vectors.
static bool isSameCode(const LoweredVariant &variant,
                       const LoweredVariant &lesser) {
  return variant.target.getVectorLanes() == lesser.target.getVectorLanes() &&
         OperationEquivalence::isEquivalentTo(
             variant.module.get(), lesser.module.get(),
             OperationEquivalence::IgnoreLocations);
}

llvm::Error nju::checkCompute(StringRef compute, ArrayRef<CPUTarget> targets) {
  for (const CPUTarget &target : targets) {
    llvm::Expected<ComputeType> type = getComputeType(compute, target);
    if (type)
      return llvm::Error::success();
    if (&target == &targets.back())
      return type.takeError();
    llvm::consumeError(type.takeError());
  }
  return llvm::Error::success();
}

/// What `target` computes in: f32 if it cannot compute in `compute`.
static StringRef chooseCompute(StringRef compute, const CPUTarget &target) {
  llvm::Expected<ComputeType> type = getComputeType(compute, target);
  if (type)
    return compute;
  llvm::consumeError(type.takeError());
  return "f32";
}

FailureOr<std::vector<LoweredVariant>>
nju::lowerVariants(ModuleOp module, ArrayRef<CPUTarget> targets,
                   StringRef compute, StringRef activations) {
  std::vector<LoweredVariant> variants;
  for (const CPUTarget &target : llvm::reverse(targets)) {
    LoweredVariant variant = {target, module.clone(), {}};
    PassManager manager(module.getContext());
    LoweringOptions options;
    options.target = target.getName().str();
    options.compute = chooseCompute(compute, target).str();
    options.activations = activations.str();
    buildKernelPipeline(manager, options);
    if (failed(manager.run(*variant.module)) ||
        failed(checkWeights(module, variant)))
      return failure();
    variant.costs = readLoweredCosts(*variant.module);
    if (variants.empty() || !isSameCode(variant, variants.back()))
      variants.push_back(std::move(variant));
  }
  std::reverse(variants.begin(), variants.end());
  return variants;
}

std::string nju::listProcessors(ArrayRef<LoweredVariant> variants) {
  std::string names;
  for (const LoweredVariant &variant : variants)
    names += (names.empty() ? "" : ", ") +
             (variants.size() > 1 ? variant.target.getVariantName()
                                  : variant.target.getCPU())
                 .str();
  return names;
}

std::unique_ptr<llvm::Module>
nju::translateVariants(llvm::MutableArrayRef<LoweredVariant> variants,
                       llvm::LLVMContext &context, StringRef signature,
                       StringRef stem) {
  MLIRContext *mlirContext = variants.front().module->getContext();
  std::vector<VariantCode> codes;
  for (LoweredVariant &variant : variants) {
    if (failed(lowerToLLVM(*variant.module)))
      return nullptr;
    codes.push_back(
        {variant.target.getVariantName().str(),
         translateToLLVMIR(*variant.module, context, variant.target)});
    if (!codes.back().module)
      return nullptr;
    variant.module = {};
  }
  llvm::Expected<std::unique_ptr<llvm::Module>> model =
      combineVariants(std::move(codes), signature, stem);
  if (model)
    return std::move(*model);
  emitError(UnknownLoc::get(mlirContext)) << llvm::toString(model.takeError());
  return nullptr;
}
