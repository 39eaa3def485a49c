//===- Descriptor.cpp - What a model exports --------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Target/Emit.h"
#include "nju/Target/Signature.h"
#include "nju/Target/ToLLVM.h"
#include "nju/abi.h"
#include "llvm/IR/Constants.h"
#include "llvm/IR/GlobalAlias.h"
#include "llvm/Linker/Linker.h"

using namespace llvm;

/// The function that the runtime calls; null if there is none.
static Function *findEntry(Module &module) {
  for (StringRef name : {nju::kStepEntry, nju::kRunEntry})
    if (Function *function = module.getFunction(name))
      return function;
  return nullptr;
}

/// Appends `suffix` to the name of everything that the module defines.
static void addSuffix(Module &module, StringRef suffix) {
  for (GlobalValue &value : module.global_values())
    if (!value.isDeclaration() && value.hasName() &&
        !value.getName().starts_with("llvm."))
      value.setName(value.getName() + "." + suffix);
}

static Constant *makeText(Module &module, StringRef name, StringRef text) {
  Constant *bytes = ConstantDataArray::getString(module.getContext(), text);
  auto *global =
      new GlobalVariable(module, bytes->getType(), /*isConstant=*/true,
                         GlobalValue::InternalLinkage, bytes, name);
  return global;
}

/// nju_abi_variant[]
static Constant *makeVariants(Module &module, ArrayRef<std::string> entries,
                              bool isStep) {
  auto *pointer = PointerType::getUnqual(module.getContext());
  Constant *null = ConstantPointerNull::get(pointer);
  SmallVector<Constant *> variants;
  for (const std::string &name : entries) {
    Function *entry = module.getFunction(name);
    entry->setLinkage(GlobalValue::InternalLinkage);
    variants.push_back(isStep ? ConstantStruct::getAnon({entry, null})
                              : ConstantStruct::getAnon({null, entry}));
  }
  auto *type = ArrayType::get(variants[0]->getType(), variants.size());
  return new GlobalVariable(
      module, type, /*isConstant=*/true, GlobalValue::InternalLinkage,
      ConstantArray::get(type, variants), "nju_model_variants");
}

static void addDescriptor(Module &module, ArrayRef<std::string> entries,
                          bool isStep, StringRef signature, StringRef stem) {
  LLVMContext &context = module.getContext();
  auto integer = [&](unsigned bits, uint64_t value) -> Constant * {
    return ConstantInt::get(IntegerType::get(context, bits), value);
  };
  Constant *fields[] = {
      ConstantDataArray::getString(context, NJU_ABI_MAGIC, /*AddNull=*/false),
      integer(32, NJU_ABI_VERSION),
      integer(32, sizeof(nju_abi_descriptor)),
      integer(64, signature.size()),
      makeText(module, "nju_model_signature", signature),
      integer(64, entries.size()),
      makeVariants(module, entries, isStep)};
  Constant *value = ConstantStruct::getAnon(context, fields);
  auto *descriptor = new GlobalVariable(
      module, value->getType(), /*isConstant=*/true,
      GlobalValue::ExternalLinkage, value, NJU_ABI_DESCRIPTOR_SYMBOL);
  GlobalAlias::create(value->getType(), 0, GlobalValue::ExternalLinkage,
                      NJU_ABI_DESCRIPTOR_SYMBOL "_" + nju::toIdentifier(stem),
                      descriptor, &module);
}

Expected<std::unique_ptr<Module>>
nju::combineVariants(std::vector<VariantCode> variants, StringRef signature,
                     StringRef stem) {
  std::vector<std::string> entries;
  bool isStep = true;
  for (VariantCode &variant : variants) {
    Function *entry = findEntry(*variant.module);
    if (!entry)
      return createStringError(
          "the module has no lowered function 'step' or 'main'");
    isStep = entry->getName() == kStepEntry;
    if (variants.size() > 1)
      addSuffix(*variant.module, toIdentifier(variant.name));
    entries.push_back(entry->getName().str());
  }
  std::unique_ptr<Module> model = std::move(variants.front().module);
  for (VariantCode &variant : MutableArrayRef(variants).drop_front())
    if (Linker::linkModules(*model, std::move(variant.module)))
      return createStringError("cannot put the code for " + variant.name +
                               " beside that for " + variants.front().name);
  addDescriptor(*model, entries, isStep, signature, stem);
  return model;
}
