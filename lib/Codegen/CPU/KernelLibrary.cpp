//===- KernelLibrary.cpp - Hand-shaped CPU kernels --------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Codegen/CPU/KernelLibrary.h"

using namespace mlir;

static constexpr std::pair<nju::ActivationType, StringRef> kActivations[] = {
    {nju::ActivationType::Int8, "int8"},
    {nju::ActivationType::Int16, "int16"},
    {nju::ActivationType::F32, "f32"}};

std::optional<nju::ActivationType> nju::getActivationType(StringRef name) {
  for (auto [type, known] : kActivations)
    if (known == name)
      return type;
  return std::nullopt;
}

StringRef nju::stringifyActivationType(ActivationType type) {
  for (auto [known, name] : kActivations)
    if (known == type)
      return name;
  return "";
}

nju::KernelLibrary::KernelLibrary(ModuleOp module, const CPUTarget &target,
                                  ComputeType compute)
    : module(module), target(target), compute(compute) {}

nju::LinearUnit nju::KernelLibrary::unitOf(Type weightType) const {
  bool narrow = weightType.isBF16() ||
                (weightType.isF16() && compute == ComputeType::BF16);
  if (compute == ComputeType::F32 || !narrow)
    return LinearUnit::FMA;
  return target.hasAMXBF16() ? LinearUnit::Tiles : LinearUnit::Pairs;
}

func::FuncOp nju::KernelLibrary::lookup(StringRef name) {
  return module.lookupSymbol<func::FuncOp>(name);
}

func::FuncOp nju::KernelLibrary::create(StringRef name,
                                        ArrayRef<Type> arguments) {
  OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
  auto type = builder.getFunctionType(arguments, {});
  auto function = func::FuncOp::create(builder, module.getLoc(), name, type);
  function.setPrivate();
  return function;
}
